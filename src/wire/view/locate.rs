//! From an offset in the original bytes to the node and the part of it that lies there.

use std::ops::Range;

use super::{Attr, NONE, NodeId, View};
use crate::field::Fields;
use crate::otlp::{self, Role};

/// A part of a node, as it was in the original bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Key of the `i`-th attribute, its headers included.
    AttrKey(usize),
    /// Value of the `i`-th attribute, its headers included.
    AttrValue(usize),
    /// Body of a log record, its header included.
    Body,
    /// Another field of the node's message, by number.
    Field(u32),
}

impl View<'_> {
    /// The innermost node that an original offset lies in, and the part of it. `None` outside of all nodes, in a node's
    /// own header, in what was removed, and beyond the index's depth of a group.
    ///
    /// Indices are those of the map as it came, whatever was written to it since: check [`View::map_edited`].
    /// Cost: two binary searches; for other fields a walk over the node.
    pub fn locate(&self, offset: usize) -> Option<(NodeId, Part)> {
        let (n, part) = self.locate_node(offset)?;
        let part = part.or_else(|| self.field_at(n, offset, None).map(|(part, _)| part))?;
        Some((n, part))
    }

    /// Calls `found` for each part that a range of the original bytes touches, in order; what lies between parts is left
    /// out. For candidates that begin in a header or reach from one value into the next. A part is looked up once
    /// however long it is, and a node's fields are walked once.
    pub fn locate_range(&self, range: Range<usize>, mut found: impl FnMut(NodeId, Part)) {
        let mut offset = range.start;
        let mut last = None;
        let mut walked = None;
        while offset < range.end.min(self.bytes.len()) {
            let at = offset;
            offset += 1;
            let Some((n, part)) = self.locate_node(at) else {
                continue;
            };
            let (part, end) = match part {
                Some(part) => (part, self.extent(n, part).map_or(offset, |e| e.end)),
                None => {
                    let from = walked.filter(|&(node, _)| node == n).map(|(_, from)| from);
                    let Some((part, end)) = self.field_at(n, at, from) else {
                        continue;
                    };
                    walked = Some((n, end));
                    (part, end)
                }
            };
            offset = offset.max(end);
            if last != Some((n, part)) {
                last = Some((n, part));
                found(n, part);
            }
        }
    }

    /// The innermost node, and the part if that is an attribute.
    fn locate_node(&self, offset: usize) -> Option<(NodeId, Option<Part>)> {
        let at = u32::try_from(offset).ok()?;
        let nodes = &self.s.nodes;
        // Nodes begin in ascending order, and what a node holds lies within it.
        let after = nodes.partition_point(|n| n.start - u32::from(n.header) <= at);
        let mut n = after.checked_sub(1)? as NodeId;
        while self.node(n).end <= at {
            n = self.parent(n)?;
        }
        let node = self.node(n);
        if at < node.start || node.removed {
            return None;
        }
        let attrs = &self.s.attrs[node.attrs as usize..(node.attrs + node.attrs_len) as usize];
        let next = attrs.partition_point(|a| self.entry_range(a).start <= offset);
        let Some(i) = next
            .checked_sub(1)
            .filter(|&i| self.entry_range(&attrs[i]).contains(&offset))
        else {
            return Some((n, None));
        };
        let attr = &attrs[i];
        let in_key = if attr.val_off < attr.key_off {
            offset >= (attr.val_off + attr.val_len) as usize
        } else {
            offset < attr.key_off as usize + attr.key_len()
        };
        Some((
            n,
            Some(if in_key {
                Part::AttrKey(i)
            } else {
                Part::AttrValue(i)
            }),
        ))
    }

    /// Where the content of a part lies in the original bytes: of a key its text, of a value or a body its `AnyValue`
    /// message.
    pub fn extent(&self, n: NodeId, part: Part) -> Option<Range<usize>> {
        let node = self.node(n);
        let attr = |i: usize| {
            let attrs = &self.s.attrs[node.attrs as usize..(node.attrs + node.attrs_len) as usize];
            attrs.get(i)
        };
        let (off, len) = match part {
            Part::AttrKey(i) => attr(i).map(|a| (a.key_off, a.key_len() as u32))?,
            Part::AttrValue(i) => attr(i).map(|a| (a.val_off, a.val_len))?,
            Part::Body if node.body != NONE => (node.body, node.body_len),
            Part::Body => return None,
            Part::Field(number) => {
                return [false, true].into_iter().find_map(|framed| {
                    let (start, end) = self.bounds(n, framed)?;
                    Fields::new(&self.bytes[..end], start)
                        .map_while(Result::ok)
                        .find(|f| f.number == number)
                        .map(|f| f.value..f.end)
                });
            }
        };
        Some(off as usize..(off + len) as usize)
    }

    /// The field of a node, or of its frame, that an offset lies in, and its end; the walk may begin at a known border.
    fn field_at(&self, n: NodeId, offset: usize, from: Option<usize>) -> Option<(Part, usize)> {
        let framed = self
            .bounds(n, true)
            .is_some_and(|(start, end)| (start..end).contains(&offset));
        let (start, end) = self.bounds(n, framed)?;
        let from = from.filter(|from| (start..=offset).contains(from));
        let field = Fields::new(&self.bytes[..end], from.unwrap_or(start))
            .map_while(Result::ok)
            .find(|f| f.end > offset)?;
        let row = otlp::node(self.signal, self.kind(n)).field(field.number);
        match row.map(|row| row.role).filter(|_| !framed) {
            Some(Role::Body) => Some((Part::Body, field.end)),
            // The header of the frame; what is in it is found by itself.
            Some(Role::Inner) if offset < field.value => None,
            _ => Some((Part::Field(field.number), field.end)),
        }
    }

    /// Where an entry of the original index lies. Such an entry is always found.
    fn entry_range(&self, attr: &Attr) -> Range<usize> {
        self.s.entry_range(attr).unwrap_or_default()
    }
}

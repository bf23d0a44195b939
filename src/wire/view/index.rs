//! Builds the flat index: one pass over the structure, 16 bytes an attribute.

use std::ops::Range;

use super::{Attr, BYTES_MAX, Depth, Frame, IRREGULAR, Kind, NONE, Node, Odd, Scratch};
use crate::Signal;
use crate::field::{self, Field, LEN, Malformed, Reason};
use crate::otlp::{self, Message, Role};
use crate::varint;

/// Fills nodes, attributes and frames of a cleared scratch. Log records and spans that do not pass become nodes that are
/// removed, one for those that lie beside each other.
pub(super) fn build(
    scratch: &mut Scratch,
    signal: Signal,
    bytes: &[u8],
    depth: Depth,
    passes: impl FnMut(&[u8]) -> bool,
) -> Result<(), Malformed> {
    if bytes.len() > BYTES_MAX {
        return Err(Malformed::new(BYTES_MAX, Reason::Size));
    }
    // Profiles refer to a dictionary; they are passed through, not viewed.
    if depth == Depth::None || signal == Signal::Profiles {
        return Ok(());
    }
    let message = otlp::request(signal);
    let mut builder = Builder {
        bytes,
        depth,
        passes,
        s: scratch,
    };
    let mut pos = 0;
    while pos < bytes.len() {
        let field = field::next(bytes, &mut pos)?;
        if let Some(Role::Node(kind)) = message.field(field.number).map(|f| f.role) {
            builder.container(otlp::node(signal, kind), kind, &field, NONE)?;
        }
    }
    scratch.odd.sort_unstable_by_key(|o| o.key_off);
    Ok(())
}

impl Scratch {
    /// Where an entry lies, tag included, if key and value are those of one original entry.
    pub(super) fn entry_range(&self, attr: &Attr) -> Option<Range<usize>> {
        if attr.key_len & IRREGULAR == 0 {
            let end = (attr.val_off + attr.val_len) as usize;
            return Some(regular_start(attr)?..end);
        }
        let i = self.odd.binary_search_by_key(&attr.key_off, |o| o.key_off).ok()?;
        let odd = &self.odd[i];
        (odd.val_off == attr.val_off).then_some(odd.start as usize..odd.end as usize)
    }
}

struct Builder<'a, F> {
    bytes: &'a [u8],
    depth: Depth,
    passes: F,
    s: &'a mut Scratch,
}

impl<F: FnMut(&[u8]) -> bool> Builder<'_, F> {
    fn push(&mut self, kind: Kind, field: &Field, parent: u32) -> Result<u32, Malformed> {
        expect_len(field)?;
        let id = self.s.nodes.len() as u32;
        let attrs = self.s.attrs.len() as u32;
        self.s.nodes.push(Node {
            start: field.value as u32,
            end: field.end as u32,
            attrs,
            attrs_len: 0,
            parent,
            subtree_end: id + 1,
            edit: NONE,
            frame: NONE,
            body: NONE,
            body_len: 0,
            kind,
            header: (field.value - field.start) as u8,
            removed: false,
        });
        Ok(id)
    }

    /// A resource or scope group: attributes are in its inner message.
    fn container(
        &mut self,
        message: &'static Message,
        kind: Kind,
        field: &Field,
        parent: u32,
    ) -> Result<(), Malformed> {
        let id = self.push(kind, field, parent)?;
        let buf = &self.bytes[..field.end];
        let children = match kind {
            Kind::Resource => self.depth >= Depth::Scope,
            _ => self.depth >= Depth::Record,
        };
        let mut pos = field.value;
        while pos < buf.len() {
            let field = field::next(buf, &mut pos)?;
            let Some(row) = message.field(field.number) else {
                continue;
            };
            match (row.role, row.kind) {
                (Role::Inner, otlp::Kind::Message(inner)) => {
                    self.frame(id, &field)?;
                    let attrs = self.s.attrs.len() as u32;
                    let buf = &buf[..field.end];
                    let mut at = field.value;
                    while at < buf.len() {
                        if inner.attributes_tag() != 0 && buf[at] == inner.attributes_tag() {
                            at = attributes(buf, at, self.s)?;
                        } else {
                            let field = field::next(buf, &mut at)?;
                            self.odd_tag(&field, inner, buf)?;
                        }
                    }
                    let len = self.s.attrs.len() as u32 - attrs;
                    let node = &mut self.s.nodes[id as usize];
                    (node.attrs, node.attrs_len) = (attrs, len);
                }
                (Role::Node(kind), otlp::Kind::Message(message)) if children => {
                    if kind == Kind::Scope {
                        self.container(message, kind, &field, id)?;
                    } else if kind.is_item() && !(self.passes)(&buf[field.value..field.end]) {
                        self.turned_away(kind, &field, id)?;
                    } else {
                        self.record(message, kind, &field, id)?;
                    }
                }
                _ => {}
            }
        }
        self.s.nodes[id as usize].subtree_end = self.s.nodes.len() as u32;
        Ok(())
    }

    fn turned_away(&mut self, kind: Kind, field: &Field, parent: u32) -> Result<(), Malformed> {
        expect_len(field)?;
        match self.s.nodes.last_mut() {
            Some(last) if last.removed && last.parent == parent && last.end as usize == field.start => {
                last.end = field.end as u32;
            }
            _ => {
                let id = self.push(kind, field, parent)?;
                self.s.nodes[id as usize].removed = true;
            }
        }
        Ok(())
    }

    /// A record or what it holds. Its own attributes are gathered first, so that they lie together; then what it holds.
    fn record(
        &mut self,
        message: &'static Message,
        kind: Kind,
        field: &Field,
        parent: u32,
    ) -> Result<(), Malformed> {
        let id = self.push(kind, field, parent)?;
        let buf = &self.bytes[..field.end];
        let tag = message.attributes_tag();
        let mut first_child = None;
        let mut pos = field.value;
        while pos < buf.len() {
            if buf[pos] == tag {
                pos = attributes(buf, pos, self.s)?;
                continue;
            }
            let field = field::next(buf, &mut pos)?;
            match message.field(field.number).map(|f| f.role) {
                Some(Role::Node(_) | Role::Inner) => {
                    first_child.get_or_insert(field.start);
                }
                Some(Role::Body) => {
                    expect_len(&field)?;
                    let node = &mut self.s.nodes[id as usize];
                    node.body = field.value as u32;
                    node.body_len = (field.end - field.value) as u32;
                }
                Some(Role::Attributes) => self.odd_tag(&field, message, buf)?,
                _ => {}
            }
        }
        let node = &mut self.s.nodes[id as usize];
        node.attrs_len = self.s.attrs.len() as u32 - node.attrs;
        // What a metric holds are records; what others hold is deeper.
        if let (Some(first), true) = (first_child, self.depth == Depth::All || kind == Kind::Metric) {
            self.children(message, id, first, buf)?;
            self.s.nodes[id as usize].subtree_end = self.s.nodes.len() as u32;
        }
        Ok(())
    }

    fn children(
        &mut self,
        message: &'static Message,
        id: u32,
        mut pos: usize,
        buf: &[u8],
    ) -> Result<(), Malformed> {
        let first = self.s.nodes.len();
        let attrs = self.s.attrs.len();
        while pos < buf.len() {
            let field = field::next(buf, &mut pos)?;
            let Some(row) = message.field(field.number) else {
                continue;
            };
            match (row.role, row.kind) {
                (Role::Node(kind), otlp::Kind::Message(message)) => self.record(message, kind, &field, id)?,
                (Role::Inner, otlp::Kind::Message(inner)) => {
                    // Of two data members the last counts, so what an earlier one held is forgotten.
                    self.s.nodes.truncate(first);
                    self.s.attrs.truncate(attrs);
                    self.frame(id, &field)?;
                    self.children(inner, id, field.value, &buf[..field.end])?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn frame(&mut self, id: u32, field: &Field) -> Result<(), Malformed> {
        expect_len(field)?;
        self.s.nodes[id as usize].frame = self.s.frames.len() as u32;
        self.s.frames.push(Frame {
            number: field.number,
            header: (field.value - field.start) as u8,
            start: field.value as u32,
            end: field.end as u32,
        });
        Ok(())
    }

    /// An attribute whose tag was written in more than one byte.
    #[cold]
    fn odd_tag(&mut self, field: &Field, message: &'static Message, buf: &[u8]) -> Result<(), Malformed> {
        if message
            .field(field.number)
            .is_some_and(|f| f.role == Role::Attributes)
        {
            expect_len(field)?;
            entry(buf, field, self.s)?;
        }
        Ok(())
    }
}

fn expect_len(field: &Field) -> Result<(), Malformed> {
    if field.wire == LEN {
        Ok(())
    } else {
        Err(Malformed::new(field.start, Reason::WireType))
    }
}

/// Indexes the run of attributes that begins at `pos`, all with the tag byte there; gives the position behind it.
#[inline(always)]
fn attributes(buf: &[u8], mut pos: usize, s: &mut Scratch) -> Result<usize, Malformed> {
    let tag = buf[pos];
    loop {
        while let Some((key_len, value)) = short_entry(buf, pos, tag) {
            let val_len = value.len() - 2;
            let key_off = pos + 4;
            let val_off = key_off + key_len + 2;
            s.attrs.push(Attr {
                key_off: key_off as u32,
                key_len: key_len as u32,
                val_off: val_off as u32,
                val_len: val_len as u32,
            });
            pos = val_off + val_len;
        }
        if buf.get(pos) != Some(&tag) {
            return Ok(pos);
        }
        let field = field::next(buf, &mut pos)?;
        expect_len(&field)?;
        entry(buf, &field, s)?;
    }
}

/// Length of the key, and header and content of the value, of the entry at `pos`, if it is of the usual form: one byte of
/// tag, key, then value, each length in one byte, nothing else. The value then has fewer than 128 bytes.
///
/// The hottest lines of the crate: fixed bytes are compared as words.
#[inline(always)]
pub(crate) fn short_entry(buf: &[u8], pos: usize, tag: u8) -> Option<(usize, &[u8])> {
    let rest = buf.get(pos..)?;
    let head = u32::from_le_bytes(*rest.first_chunk()?);
    // Tag, length below 128, 0x0a, key length below 128.
    if head & 0x80ff_80ff != 0x000a_0000 | u32::from(tag) {
        return None;
    }
    let (len, key_len) = ((head >> 8 & 0x7f) as usize, (head >> 24) as usize);
    let tail = rest.get(4 + key_len..2 + len)?;
    let header = u16::from_le_bytes(*tail.first_chunk()?);
    (header as usize == 0x12 | (tail.len() - 2) << 8).then_some((key_len, tail))
}

/// Indexes one entry of any form.
fn entry(buf: &[u8], field: &Field, s: &mut Scratch) -> Result<(), Malformed> {
    let buf = &buf[..field.end];
    // Absent parts are empty and lie at the entry's start, so that positions stay in order.
    let (mut key, mut value) = ((field.value, field.value), (field.value, field.value));
    let mut pos = field.value;
    while pos < buf.len() {
        let part = field::next(buf, &mut pos)?;
        match part.number {
            1 => {
                expect_len(&part)?;
                key = (part.value, part.end);
            }
            2 => {
                expect_len(&part)?;
                value = (part.value, part.end);
            }
            _ => {}
        }
    }
    let mut attr = Attr {
        key_off: key.0 as u32,
        key_len: (key.1 - key.0) as u32,
        val_off: value.0 as u32,
        val_len: (value.1 - value.0) as u32,
    };
    if regular_start(&attr) != Some(field.start) || value.1 != field.end {
        attr.key_len |= IRREGULAR;
        s.odd.push(Odd {
            start: field.start as u32,
            key_off: attr.key_off,
            val_off: attr.val_off,
            end: field.end as u32,
        });
    }
    s.attrs.push(attr);
    Ok(())
}

/// Where the tag of an entry stands if key and value lie the way we write them; none if they do not.
#[inline(always)]
pub(super) fn regular_start(attr: &Attr) -> Option<usize> {
    let (key_len, val_len) = (attr.key_len(), attr.val_len as usize);
    let (key_off, val_off) = (attr.key_off as usize, attr.val_off as usize);
    let key_header = 1 + varint::len(key_len as u64);
    let val_header = 1 + varint::len(val_len as u64);
    if val_off != key_off + key_len + val_header {
        return None;
    }
    let len = key_header + key_len + val_header + val_len;
    key_off.checked_sub(key_header + varint::len(len as u64) + 1)
}

//! View to bytes: what was touched is encoded, the lengths around it are fixed, the rest is copied as ranges.
//!
//! Nodes are visited backwards, so that what a node holds is settled before its own length. Each change is a patch (a
//! range to leave out and bytes to put there); patches of untouched parts do not exist, and one forward pass of copies
//! applies them.

use super::{Attr, Depth, FieldEdit, Finished, Kind, NONE, Node, NodeId, Scratch, View};
use crate::field::{Fields, LEN};
use crate::otlp::{self, Role};
use crate::{split, varint};

/// Replaces `start..end` of the original bytes by a range of the arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    start: u32,
    end: u32,
    /// Whose it is: of two insertions at one place the deeper node's comes first.
    node: u32,
    seq: u32,
    data: usize,
    len: usize,
}

impl Patch {
    fn key(&self) -> (u32, u32, u32, u32) {
        (self.start, self.end, !self.node, self.seq)
    }
}

pub(super) fn finish(view: View<'_>) -> Finished {
    let View {
        signal,
        depth,
        bytes,
        s,
        removed,
        ..
    } = view;
    let mut splice = Splice { signal, bytes, s };
    if removed {
        splice.remove_empty();
    }
    let mut grown = 0i64;
    for n in (0..splice.s.nodes.len() as NodeId).rev() {
        if splice.s.nodes[n as usize].edit != NONE {
            grown += splice.node(n);
        }
    }
    let patches = &mut splice.s.patches;
    patches.reverse();
    if !patches.is_sorted_by_key(Patch::key) {
        patches.sort_unstable_by_key(Patch::key);
    }
    let mut out = Vec::with_capacity((bytes.len() as i64 + grown).max(0) as usize);
    let mut pos = 0;
    for patch in &*patches {
        debug_assert!(pos <= patch.start as usize && patch.start <= patch.end);
        out.extend_from_slice(bytes.get(pos..patch.start as usize).unwrap_or(&[]));
        out.extend_from_slice(&splice.s.arena[patch.data..patch.data + patch.len]);
        pos = patch.end as usize;
    }
    out.extend_from_slice(&bytes[pos..]);
    let items = if depth >= Depth::Record {
        let nodes = splice.s.nodes.iter();
        nodes.filter(|n| n.kind.is_item() && !n.removed).count() as u32
    } else {
        split::count_items(signal, &out)
    };
    Finished::Edited { bytes: out, items }
}

struct Splice<'a> {
    signal: crate::Signal,
    bytes: &'a [u8],
    s: &'a mut Scratch,
}

impl Splice<'_> {
    /// Removes groups and metrics that lost a node and have none left.
    fn remove_empty(&mut self) {
        for n in (0..self.s.nodes.len()).rev() {
            let node = self.s.nodes[n];
            let mut gone = node.removed;
            if !gone && node.edit != NONE && node.kind.is_container() {
                let edit = &self.s.edits[node.edit as usize];
                gone = edit.bereft && edit.live == 0;
                self.s.nodes[n].removed = gone;
            }
            if node.parent == NONE {
                continue;
            }
            let above = self.s.nodes[node.parent as usize].edit;
            if above != NONE {
                let above = &mut self.s.edits[above as usize];
                if gone {
                    above.bereft = true;
                } else {
                    above.live += 1;
                }
            }
        }
    }

    /// Patches of one node; gives the growth of the whole request if the node has no parent.
    fn node(&mut self, n: NodeId) -> i64 {
        let node = self.s.nodes[n as usize];
        let grown = if node.removed {
            let above_removed = node.parent != NONE && self.s.nodes[node.parent as usize].removed;
            if above_removed {
                return 0;
            }
            let start = node.start - u32::from(node.header);
            self.patch(n, start, node.end, self.s.arena.len());
            -i64::from(node.end - start)
        } else {
            self.content(n, &node)
        };
        if node.parent == NONE {
            return grown;
        }
        let parent = &self.s.nodes[node.parent as usize];
        if parent.edit != NONE {
            let edit = &mut self.s.edits[parent.edit as usize];
            if parent.kind == Kind::Metric {
                edit.frame_delta += grown;
            } else {
                edit.delta += grown;
            }
        }
        0
    }

    fn content(&mut self, n: NodeId, node: &Node) -> i64 {
        let first = self.s.patches.len();
        let edit = self.s.edits[node.edit as usize];
        let (mut delta, mut frame_delta) = (edit.delta, edit.frame_delta);
        let message = otlp::node(self.signal, node.kind);
        let attrs_framed = matches!(node.kind, Kind::Resource | Kind::Scope);
        let has_frame = node.frame != NONE;
        let new_frame = self.s.arena.len();

        // What goes into a frame that does not exist yet is gathered in the arena, then framed.
        if edit.map != NONE && attrs_framed {
            let inner = inner_message(message);
            if has_frame {
                let end = self.s.frames[node.frame as usize].end;
                frame_delta += self.map(n, inner.attributes_tag(), end);
            } else {
                for i in 0..edit.map_len {
                    let attr = self.s.edited[(edit.map + i) as usize];
                    self.encode(inner.attributes_tag(), &attr);
                }
            }
        }
        // Twice: first what stands in the frame, so that an absent frame's content stays together, and what is appended
        // to a frame comes before what is appended to the node, which may end where its frame does.
        for framed in [true, false] {
            if !framed && edit.map != NONE && !attrs_framed {
                delta += self.map(n, message.attributes_tag(), node.end);
            }
            if !framed && edit.body != NONE {
                let body = message.with_role(Role::Body).map_or(0, |f| f.number);
                let change = FieldEdit {
                    number: body,
                    wire: LEN,
                    off: edit.body,
                    len: edit.body_len,
                    next: NONE,
                };
                delta += self.field(n, change, node.start, node.end, true);
            }
            let mut next = edit.fields;
            while next != NONE {
                let change = self.s.fields[next as usize];
                next = change.next;
                if self.is_framed(node, &change) != framed {
                    continue;
                }
                if !framed {
                    delta += self.field(n, change, node.start, node.end, false);
                } else if has_frame {
                    let frame = self.s.frames[node.frame as usize];
                    frame_delta += self.field(n, change, frame.start, frame.end, false);
                } else if node.kind != Kind::Metric {
                    self.encode_field(&change, false);
                }
            }
            if framed && !has_frame {
                delta += self.new_frame(n, node, message, new_frame);
            }
        }
        if has_frame {
            let frame = self.s.frames[node.frame as usize];
            delta += self.header(n, frame.start, frame.end, frame.header, frame_delta);
        }
        let grown = self.header(n, node.start, node.end, node.header, delta);
        // Descending, like the nodes.
        let own = &mut self.s.patches[first..];
        if own.len() > 1 {
            own.sort_unstable_by_key(|p| std::cmp::Reverse(p.key()));
        }
        grown
    }

    /// Frames what was encoded from `start` on, and puts it at the begin of a resource or scope group.
    fn new_frame(&mut self, n: NodeId, node: &Node, message: &otlp::Message, start: usize) -> i64 {
        let data = self.s.arena.len();
        let inner = message.with_role(Role::Inner);
        let Some(field) = inner.filter(|_| node.kind != Kind::Metric && data > start) else {
            return 0;
        };
        crate::field::write_header(field.number, data - start, &mut self.s.arena);
        self.s.arena.extend_from_within(start..data);
        self.patch(n, node.start, node.start, data)
    }

    fn is_framed(&self, node: &Node, change: &FieldEdit) -> bool {
        match node.kind {
            Kind::Resource | Kind::Scope => {
                let message = otlp::node(self.signal, node.kind);
                change.wire != LEN || message.named("schema_url").map(|f| f.number) != Some(change.number)
            }
            Kind::Metric => change.wire != LEN,
            _ => false,
        }
    }

    /// Notes a patch whose content is the arena from `data` on; gives the growth.
    fn patch(&mut self, node: NodeId, start: u32, end: u32, data: usize) -> i64 {
        let len = self.s.arena.len() - data;
        let seq = self.s.patches.len() as u32;
        self.s.patches.push(Patch {
            start,
            end,
            node,
            seq,
            data,
            len,
        });
        len as i64 - i64::from(end - start)
    }

    /// A message's new length; gives the growth of the message with its header.
    fn header(&mut self, n: NodeId, start: u32, end: u32, header: u8, delta: i64) -> i64 {
        if delta == 0 {
            return 0;
        }
        let mut pos = (start - u32::from(header)) as usize;
        // The tag was read when the message was indexed.
        if varint::read(self.bytes, &mut pos).is_err() {
            return delta;
        }
        let len = (i64::from(end - start) + delta).max(0) as u64;
        let data = self.s.arena.len();
        varint::write(len, &mut self.s.arena);
        delta + self.patch(n, pos as u32, start, data)
    }

    /// Patches that turn the attributes as they came into those of the map; gives the growth. Entries that stayed in
    /// their place are not touched.
    fn map(&mut self, n: NodeId, tag: u8, end: u32) -> i64 {
        let node = self.s.nodes[n as usize];
        let edit = self.s.edits[node.edit as usize];
        let (old, old_len) = (node.attrs as usize, node.attrs_len as usize);
        let (new, new_len) = (edit.map as usize, edit.map_len as usize);
        let mut grown = 0;
        let (mut i, mut j) = (0, 0);
        while i < old_len {
            let attr = self.s.attrs[old + i];
            if j < new_len && self.s.edited[new + j] == attr {
                i += 1;
                j += 1;
                continue;
            }
            let (start, stop) = self.raw(&attr);
            let data = self.s.arena.len();
            if j < new_len && self.takes_slot(new + j, new + new_len, old + i, old + old_len) {
                let attr = self.s.edited[new + j];
                self.encode(tag, &attr);
                j += 1;
            }
            grown += self.patch(n, start as u32, stop as u32, data);
            i += 1;
        }
        if j < new_len {
            let data = self.s.arena.len();
            for j in j..new_len {
                let attr = self.s.edited[new + j];
                self.encode(tag, &attr);
            }
            // Behind the last entry that was there; the end of the message if there was none.
            let at = match old_len.checked_sub(1) {
                Some(last) => self.raw(&self.s.attrs[old + last]).1 as u32,
                None => end,
            };
            grown += self.patch(n, at, at, data);
        }
        grown
    }

    /// Whether entry `j` shall be written over entry `i`, rather than `i` left out. Any answer gives the same map; the
    /// right one moves fewer bytes.
    fn takes_slot(&self, j: usize, new_end: usize, i: usize, old_end: usize) -> bool {
        let (edited, attrs) = (&self.s.edited, &self.s.attrs);
        let moved_here = edited[j].key_off > attrs[i].key_off && self.is_original(&edited[j]);
        !moved_here
            || (j + 1 < new_end && i + 1 < old_end && edited[j + 1] == attrs[i + 1])
            || j + 1 == new_end
    }

    fn is_original(&self, attr: &Attr) -> bool {
        let end = self.bytes.len();
        (attr.key_off as usize) < end && (attr.val_off as usize) < end
    }

    fn raw(&self, attr: &Attr) -> (usize, usize) {
        // Entries of the original index are always found.
        let range = self.s.entry_range(attr).unwrap_or_default();
        (range.start, range.end)
    }

    /// Appends an entry to the arena: as it came, if it is as it came.
    fn encode(&mut self, tag: u8, attr: &Attr) {
        if self.is_original(attr)
            && let Some(range) = self.s.entry_range(attr)
        {
            self.s.arena.extend_from_slice(&self.bytes[range]);
            return;
        }
        let (key_len, val_len) = (attr.key_len(), attr.val_len as usize);
        let len = 2 + varint::len(key_len as u64) + key_len + varint::len(val_len as u64) + val_len;
        let arena = &mut self.s.arena;
        arena.push(tag);
        varint::write(len as u64, arena);
        arena.push(0x0a);
        varint::write(key_len as u64, arena);
        self.push(attr.key_off, key_len);
        let arena = &mut self.s.arena;
        arena.push(0x12);
        varint::write(val_len as u64, arena);
        self.push(attr.val_off, val_len);
    }

    /// Appends bytes that lie in the payload or in the arena.
    fn push(&mut self, off: u32, len: usize) {
        let off = off as usize;
        match self.bytes.get(off..off + len) {
            Some(slice) => self.s.arena.extend_from_slice(slice),
            None => {
                let at = off - self.bytes.len();
                self.s.arena.extend_from_within(at..at + len);
            }
        }
    }

    fn encode_field(&mut self, change: &FieldEdit, keep_empty: bool) {
        // A number has at least one byte; without any it was cleared.
        if change.len == 0 && !keep_empty {
            return;
        }
        varint::write(
            u64::from(change.number) << 3 | u64::from(change.wire),
            &mut self.s.arena,
        );
        if change.wire == LEN {
            varint::write(u64::from(change.len), &mut self.s.arena);
        }
        self.push(change.off, change.len as usize);
    }

    /// Replaces a field where it stands, or appends it to the message; all other copies of it go.
    fn field(&mut self, n: NodeId, change: FieldEdit, start: u32, end: u32, keep_empty: bool) -> i64 {
        let mut grown = 0;
        let mut written = false;
        let bytes = self.bytes;
        for field in Fields::new(&bytes[..end as usize], start as usize).map_while(Result::ok) {
            if field.number != change.number {
                continue;
            }
            let data = self.s.arena.len();
            if !std::mem::replace(&mut written, true) {
                self.encode_field(&change, keep_empty);
            }
            grown += self.patch(n, field.start as u32, field.end as u32, data);
        }
        if !written {
            let data = self.s.arena.len();
            self.encode_field(&change, keep_empty);
            grown += self.patch(n, end, end, data);
        }
        grown
    }
}

fn inner_message(message: &'static otlp::Message) -> &'static otlp::Message {
    match message.with_role(Role::Inner).map(|f| f.kind) {
        Some(otlp::Kind::Message(inner)) => inner,
        _ => message,
    }
}

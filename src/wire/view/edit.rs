//! Writing to a view: attribute maps as Go's pdata treats them, bodies, fields, removal.

use super::{Attr, Edit, FieldEdit, Kind, NONE, NewValue, NodeId, Value, View, any_encode};
use crate::field::{FIXED32, FIXED64, LEN, VARINT};
use crate::otlp;
use crate::varint;

impl View<'_> {
    /// Overwrites the value of the `i`-th attribute. Nothing happens beyond the end.
    pub fn set(&mut self, n: NodeId, i: usize, value: NewValue<'_>) {
        if i >= self.attrs(n) {
            return;
        }
        let (val_off, val_len) = self.store_value(value);
        let at = self.materialise(n) + i;
        let attr = &mut self.s.edited[at];
        (attr.val_off, attr.val_len) = (val_off, val_len);
    }

    /// Overwrites the first attribute with this key in its place, or appends one.
    pub fn put(&mut self, n: NodeId, key: &[u8], value: NewValue<'_>) {
        match self.find(n, key) {
            Some(i) => self.set(n, i, value),
            None => {
                let (val_off, val_len) = self.store_value(value);
                self.append(n, key, val_off, val_len);
            }
        }
    }

    /// Removes the `i`-th attribute; the last one takes its place. Nothing happens beyond the end.
    pub fn remove(&mut self, n: NodeId, i: usize) {
        let len = self.attrs(n);
        if i >= len {
            return;
        }
        let start = self.materialise(n);
        self.s.edited.swap(start + i, start + len - 1);
        self.edit_mut(n).map_len -= 1;
    }

    /// Keeps the attributes for which `keep` says so, in their order.
    pub fn retain(&mut self, n: NodeId, mut keep: impl FnMut(&[u8], Value<'_>) -> bool) {
        let len = self.attrs(n);
        let Some(mut kept) = (0..len).find(|&i| !keep(self.key(n, i), self.value(n, i))) else {
            return;
        };
        let start = self.materialise(n);
        for i in kept + 1..len {
            if keep(self.key(n, i), self.value(n, i)) {
                self.s.edited[start + kept] = self.s.edited[start + i];
                kept += 1;
            }
        }
        self.edit_mut(n).map_len = kept as u32;
    }

    /// Puts the value of another attribute under `key`, by reference: nothing is encoded again. Nothing happens if there
    /// is no such attribute.
    pub fn copy_value(&mut self, from: (NodeId, usize), to: NodeId, key: &[u8]) {
        let Some(&Attr { val_off, val_len, .. }) = self.entries(from.0).get(from.1) else {
            return;
        };
        match self.find(to, key) {
            Some(i) => {
                let at = self.materialise(to) + i;
                let attr = &mut self.s.edited[at];
                (attr.val_off, attr.val_len) = (val_off, val_len);
            }
            None => self.append(to, key, val_off, val_len),
        }
    }

    /// Replaces the key of the `i`-th attribute in its place. Nothing happens beyond the end.
    pub fn rename(&mut self, n: NodeId, i: usize, key: &[u8]) {
        if i >= self.attrs(n) {
            return;
        }
        let (key_off, key_len) = self.store(key);
        let at = self.materialise(n) + i;
        let attr = &mut self.s.edited[at];
        (attr.key_off, attr.key_len) = (key_off, key_len);
    }

    /// Replaces the body of a log record. Nothing happens to other nodes.
    pub fn set_body(&mut self, n: NodeId, value: NewValue<'_>) {
        if self.kind(n) != Kind::LogRecord {
            return;
        }
        let (off, len) = self.store_value(value);
        let edit = self.edit_mut(n);
        (edit.body, edit.body_len) = (off, len);
    }

    /// Replaces a string or bytes field; numbers as in [`View::text`]. Empty content removes the field, which means the
    /// same. Nothing happens if the node's message has no such field.
    pub fn set_text(&mut self, n: NodeId, field: u32, content: &[u8]) {
        let (_, table) = self.home(n, field, false);
        if table
            .and_then(|t| t.field(field))
            .is_none_or(|f| !is_text(f.kind))
        {
            return;
        }
        let (off, len) = self.store(content);
        self.set_field(n, field, LEN, off, len);
    }

    /// Replaces the content of a nested message or of a packed list of numbers; numbers as in [`View::text`], which reads
    /// it. Empty content removes the field. Nothing happens if the node's message has no such field, or if it is a node
    /// or the attributes.
    pub fn set_content(&mut self, n: NodeId, field: u32, content: &[u8]) {
        let (framed, table) = self.home(n, field, false);
        let Some(row) = table.and_then(|t| t.field(field)) else {
            return;
        };
        let packed = row.rule == otlp::Rule::Repeated && row.kind.wire() != LEN;
        let message = row.rule == otlp::Rule::Single && matches!(row.kind, otlp::Kind::Message(_));
        if framed || row.role != otlp::Role::Plain || !(packed || message) {
            return;
        }
        let (off, len) = self.store(content);
        self.set_field(n, field, LEN, off, len);
    }

    /// Removes a numeric field; numbers as in [`View::number`]. Nothing happens if the node's message has no such field.
    pub fn clear_number(&mut self, n: NodeId, field: u32) {
        let (_, table) = self.home(n, field, true);
        let Some(row) = table.and_then(|t| t.field(field)) else {
            return;
        };
        let wire = row.kind.wire();
        if wire != LEN && row.rule != otlp::Rule::Repeated {
            self.set_field(n, field, wire, self.bytes.len() as u32, 0);
        }
    }

    /// Replaces a numeric field; numbers and representation as in [`View::number`]. Nothing happens if the node's message
    /// has no such field.
    pub fn set_number(&mut self, n: NodeId, field: u32, value: u64) {
        let (_, table) = self.home(n, field, true);
        let Some(row) = table.and_then(|t| t.field(field)) else {
            return;
        };
        let wire = row.kind.wire();
        let value = if self.fits(10) { value } else { 0 };
        let start = self.s.arena.len();
        match wire {
            VARINT => varint::write(value, &mut self.s.arena),
            FIXED64 => self.s.arena.extend_from_slice(&value.to_le_bytes()),
            FIXED32 => self.s.arena.extend_from_slice(&(value as u32).to_le_bytes()),
            _ => return,
        }
        let (off, len) = (
            (self.bytes.len() + start) as u32,
            (self.s.arena.len() - start) as u32,
        );
        self.set_field(n, field, wire, off, len);
    }

    /// Removes a node and all that it holds. Groups and metrics that are left empty go when the view is finished.
    pub fn remove_node(&mut self, n: NodeId) {
        if self.is_removed(n) {
            return;
        }
        let (from, to) = (n as usize, self.subtree_end(n) as usize);
        for node in &mut self.s.nodes[from..to] {
            node.removed = true;
        }
        self.bereave(n);
    }

    /// Tells those above a removed node.
    pub(super) fn bereave(&mut self, n: NodeId) {
        self.touch(n);
        self.removed = true;
        if let Some(parent) = self.parent(n) {
            self.edit_mut(parent).bereft = true;
        }
    }

    /// Gives a node and all above it an edit.
    fn touch(&mut self, n: NodeId) -> usize {
        let first = self.node(n).edit;
        if first != NONE {
            return first as usize;
        }
        let id = self.s.edits.len();
        let mut next = n;
        while next != NONE && self.node(next).edit == NONE {
            let edit = self.s.edits.len() as u32;
            let node = &mut self.s.nodes[next as usize];
            node.edit = edit;
            next = node.parent;
            self.s.edits.push(Edit {
                map: NONE,
                map_len: 0,
                map_cap: 0,
                body: NONE,
                body_len: 0,
                fields: NONE,
                live: 0,
                bereft: false,
                delta: 0,
                frame_delta: 0,
            });
        }
        id
    }

    fn edit_mut(&mut self, n: NodeId) -> &mut Edit {
        let edit = self.touch(n);
        &mut self.s.edits[edit]
    }

    /// Copies the map's offsets at the first write; gives where they are in `edited`.
    fn materialise(&mut self, n: NodeId) -> usize {
        let edit = self.touch(n);
        if self.s.edits[edit].map == NONE {
            let node = self.node(n);
            let (from, len) = (node.attrs as usize, node.attrs_len as usize);
            let start = self.s.edited.len();
            self.s.edited.extend_from_slice(&self.s.attrs[from..from + len]);
            let edit = &mut self.s.edits[edit];
            (edit.map, edit.map_len, edit.map_cap) = (start as u32, len as u32, len as u32);
        }
        self.s.edits[edit].map as usize
    }

    fn append(&mut self, n: NodeId, key: &[u8], val_off: u32, val_len: u32) {
        let (key_off, key_len) = self.store(key);
        let attr = Attr {
            key_off,
            key_len,
            val_off,
            val_len,
        };
        self.materialise(n);
        let edit = *self.edit_mut(n);
        let (start, len) = (edit.map as usize, edit.map_len as usize);
        let s = &mut *self.s;
        if start + len == s.edited.len() {
            // The last map grows where it is.
            s.edited.push(attr);
        } else if edit.map_len < edit.map_cap {
            s.edited[start + len] = attr;
        } else {
            let moved = s.edited.len();
            let cap = (len * 2).max(len + 8);
            s.edited.extend_from_within(start..start + len);
            s.edited.push(attr);
            s.edited.resize(moved + cap, attr);
            let edit = self.edit_mut(n);
            (edit.map, edit.map_cap) = (moved as u32, cap as u32);
        }
        let edit = self.edit_mut(n);
        edit.map_len += 1;
        edit.map_cap = edit.map_cap.max(edit.map_len);
    }

    fn set_field(&mut self, n: NodeId, number: u32, wire: u8, off: u32, len: u32) {
        let head = self.edit_mut(n).fields;
        let mut next = head;
        while next != NONE {
            let edit = &mut self.s.fields[next as usize];
            if edit.number == number && (edit.wire == LEN) == (wire == LEN) {
                (edit.off, edit.len) = (off, len);
                return;
            }
            next = edit.next;
        }
        let id = self.s.fields.len() as u32;
        self.s.fields.push(FieldEdit {
            number,
            wire,
            off,
            len,
            next: head,
        });
        self.edit_mut(n).fields = id;
    }

    /// Whether so many more bytes of edits can be addressed; else notes that one was refused.
    fn fits(&mut self, more: usize) -> bool {
        let fits = self.bytes.len() + self.s.arena.len() + more < NONE as usize;
        self.overflowed |= !fits;
        fits
    }

    fn store(&mut self, content: &[u8]) -> (u32, u32) {
        let content = if self.fits(content.len()) { content } else { &[] };
        let off = self.bytes.len() + self.s.arena.len();
        self.s.arena.extend_from_slice(content);
        (off as u32, content.len() as u32)
    }

    fn store_value(&mut self, value: NewValue<'_>) -> (u32, u32) {
        let value = if self.fits(value.len_max()) {
            value
        } else {
            NewValue::Empty
        };
        let start = self.s.arena.len();
        any_encode(value, &mut self.s.arena);
        (
            (self.bytes.len() + start) as u32,
            (self.s.arena.len() - start) as u32,
        )
    }
}

fn is_text(kind: otlp::Kind) -> bool {
    matches!(kind, otlp::Kind::Text | otlp::Kind::Bytes)
}

//! Splitting: requests cut at record boundaries, resource and scope headers written again for each piece.
//!
//! In: a payload and the most a piece may hold. Out: pieces in order, that together hold every record once. Records are
//! copied as ranges; a piece that begins and ends between resource groups is a slice of the chunk. A metric may be cut
//! between its points.

use bytes::Bytes;

use crate::field::{self, LEN};
use crate::otlp::{self, Message, NodeKind, Role, Rule};
use crate::{Chunk, Payload, Shape, Signal, normalize};

/// The most that a piece may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Items; `None` = no limit. At least one is taken always.
    pub items_max: Option<usize>,
    /// Encoded bytes; `None` = no limit. A single item that is larger stays alone in a piece.
    pub bytes_max: Option<usize>,
}

/// Log records, spans, data points or samples in one encoded request. Walks boundaries only; whatever cannot be read is
/// not counted.
pub fn count_items(signal: Signal, bytes: &[u8]) -> u32 {
    count_below(otlp::request(signal), bytes, 0)
}

/// Items in the message that begins at `start` and ends with `buf`.
pub(crate) fn count_below(message: &'static Message, buf: &[u8], start: usize) -> u32 {
    let mut items = 0;
    let mut pos = start;
    while pos < buf.len() {
        if let Some(end) = plain_item(message, buf, pos) {
            items += 1;
            pos = end;
            continue;
        }
        let Ok(field) = field::next(buf, &mut pos) else {
            break;
        };
        let Some(row) = message.field(field.number) else {
            continue;
        };
        items += match (row.role, row.kind) {
            (Role::Item, _) => 1,
            (Role::Node(kind), _) if kind.is_item() => 1,
            (_, otlp::Kind::Message(nested)) if holds_items(row) => {
                count_below(nested, &buf[..field.end], field.value)
            }
            _ => 0,
        };
    }
    items
}

/// The end of the field at `pos` if it is an item with the usual one-byte tag.
#[inline(always)]
fn plain_item(message: &'static Message, buf: &[u8], pos: usize) -> Option<usize> {
    if message.items_tag() == 0 || buf[pos] != message.items_tag() {
        return None;
    }
    field::length(buf, &mut (pos + 1)).ok()
}

/// Whether there are items somewhere in the field, and only within.
fn holds_items(row: &otlp::Field) -> bool {
    match row.role {
        Role::Node(kind) => kind.is_container(),
        Role::Inner => row.rule == Rule::Oneof,
        _ => matches!(row.name, "resource_profiles" | "scope_profiles" | "profiles"),
    }
}

/// Cuts a payload into pieces that hold no more than `limit`, each as full as it can be.
///
/// Chunks keep their order and origin; one that fits is handed on as it is. Profiles are returned whole. Cost: about
/// a walk over record boundaries, and one copy of what is re-framed.
pub fn split(payload: Payload, limit: Cut) -> Vec<Payload> {
    if payload.signal == Signal::Profiles || fits(limit, payload.items, payload.len()) {
        return vec![payload];
    }
    let Payload {
        signal,
        chunks,
        context,
        ..
    } = payload;
    let mut out: Vec<Payload> = Vec::new();
    let mut open: Vec<Chunk> = Vec::new();
    let (mut items, mut bytes) = (0, 0);
    let mut close = |open: &mut Vec<Chunk>, items: &mut usize, bytes: &mut usize| {
        if !open.is_empty() {
            let mut piece = Payload {
                signal,
                chunks: std::mem::take(open),
                items: *items,
                context: context.clone(),
            };
            if piece.chunks.len() > 1 {
                piece.drop_twins();
            }
            out.push(piece);
        }
        (*items, *bytes) = (0, 0);
    };
    for chunk in chunks {
        let (chunk_items, chunk_bytes) = (chunk.shape.items as usize, chunk.bytes.len());
        if fits(limit, items + chunk_items, bytes + chunk_bytes) {
            items += chunk_items;
            bytes += chunk_bytes;
            open.push(chunk);
            continue;
        }
        let room = Cut {
            items_max: limit.items_max.map(|max| max.max(1) - items.min(max)),
            bytes_max: limit.bytes_max.map(|max| max.saturating_sub(bytes)),
        };
        let pieces = cut(signal, &chunk, room, limit, !open.is_empty());
        let last = pieces.len().saturating_sub(1);
        for (i, piece) in pieces.into_iter().enumerate() {
            // The first piece fills what is open (it is empty if nothing fits there); the others begin anew.
            if i > 0 {
                close(&mut open, &mut items, &mut bytes);
            }
            if !piece.bytes.is_empty() || last == 0 {
                items += piece.shape.items as usize;
                bytes += piece.bytes.len();
                open.push(piece);
            }
        }
    }
    close(&mut open, &mut items, &mut bytes);
    out
}

/// Cuts one chunk; the pieces keep its origin. Profiles and what fits are returned whole.
pub fn split_chunk(signal: Signal, chunk: &Chunk, limit: Cut) -> Vec<Chunk> {
    if signal == Signal::Profiles || fits(limit, chunk.shape.items as usize, chunk.bytes.len()) {
        return vec![chunk.clone()];
    }
    cut(signal, chunk, limit, limit, false)
}

fn fits(limit: Cut, items: usize, bytes: usize) -> bool {
    limit.items_max.is_none_or(|max| items <= max) && limit.bytes_max.is_none_or(|max| bytes <= max)
}

/// Cuts a chunk: the first piece within `room` (empty, if `may_skip` and nothing fits), the others within `limit`.
fn cut(signal: Signal, chunk: &Chunk, room: Cut, limit: Cut, may_skip: bool) -> Vec<Chunk> {
    let mut shape = chunk.shape;
    let mut bytes = chunk.bytes.clone();
    if shape.non_canonical {
        // A group's deprecated scopes cannot be cut apart without changing which reader sees them.
        if let Ok(canonical) = normalize(signal, &bytes, false) {
            bytes = canonical.into();
            shape.non_canonical = false;
        }
    }
    let mut cutter = Cutter {
        bytes: &bytes,
        room,
        limit,
        may_skip,
        ops: Vec::new(),
        frames: Vec::new(),
        heads: Vec::new(),
        stack: Vec::new(),
        lens: Vec::new(),
        base: 0,
        items: 0,
        pieces: Vec::new(),
    };
    cutter.walk(otlp::request(signal), bytes.len(), 0);
    cutter.flush();
    let pieces = cutter.pieces.into_iter();
    pieces
        .map(|(bytes, items)| Chunk {
            bytes,
            shape: Shape { items, ..shape },
            origin: chunk.origin.clone(),
            twin: None,
        })
        .collect()
}

/// What a piece is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// A frame's header and its own fields; what follows, until `Close`, is in it.
    Open(usize),
    Raw(usize, usize),
    Close,
}

/// A message that holds items: group, scope, metric, data.
#[derive(Clone, Copy, Debug)]
struct Frame {
    number: u32,
    start: usize,
    value: usize,
    end: usize,
    is: &'static Message,
    /// Its own fields, in `Cutter::heads`, once they were looked for.
    heads: Option<(usize, usize)>,
    /// Where the current piece opened it.
    op: usize,
    /// Whether no piece before the current one holds a part of it.
    whole: bool,
    /// Whether the current piece holds something of it.
    filled: bool,
    /// Content in the current piece, in bytes.
    len: usize,
}

struct Cutter<'a> {
    bytes: &'a Bytes,
    room: Cut,
    limit: Cut,
    may_skip: bool,
    ops: Vec<Op>,
    frames: Vec<Frame>,
    heads: Vec<(usize, usize)>,
    stack: Vec<usize>,
    lens: Vec<usize>,
    /// Bytes of the current piece outside of open frames.
    base: usize,
    items: usize,
    pieces: Vec<(Bytes, u32)>,
}

impl Cutter<'_> {
    /// Walks a message's children. No deeper than group, scope, metric, data, point.
    fn walk(&mut self, message: &'static Message, end: usize, start: usize) {
        let bytes = self.bytes;
        let buf = &bytes[..end];
        let mut pos = start;
        while pos < buf.len() {
            if let Some(end) = plain_item(message, buf, pos) {
                self.item(pos, end);
                pos = end;
                continue;
            }
            let Ok(field) = field::next(buf, &mut pos) else {
                break;
            };
            let row = message.field(field.number).filter(|_| field.wire == LEN);
            match row.map(|r| (r.role, r.kind, holds_items(r))) {
                Some((Role::Node(kind), ..)) if kind.is_item() => self.item(field.start, field.end),
                Some((_, otlp::Kind::Message(nested), true)) => {
                    self.enter(&field, nested);
                    self.walk(nested, field.end, field.value);
                    self.leave();
                }
                // Beside groups there is nothing but unknown fields.
                _ if self.stack.is_empty() => {
                    self.base += field.end - field.start;
                    self.raw(field.start, field.end);
                }
                _ => {}
            }
        }
    }

    #[inline]
    fn item(&mut self, start: usize, end: usize) {
        let full = self.room.items_max.is_some_and(|max| self.items >= max)
            || self
                .room
                .bytes_max
                .is_some_and(|max| self.len_with(end - start) > max);
        if full && (self.items > 0 || self.may_skip) {
            self.flush();
        }
        self.raw(start, end);
        self.items += 1;
        for i in 0..self.stack.len() {
            self.frames[self.stack[i]].filled = true;
        }
        if let Some(&top) = self.stack.last() {
            self.frames[top].len += end - start;
        }
    }

    fn enter(&mut self, field: &field::Field, is: &'static Message) {
        let id = self.frames.len();
        self.frames.push(Frame {
            number: field.number,
            start: field.start,
            value: field.value,
            end: field.end,
            is,
            heads: None,
            op: self.ops.len(),
            whole: true,
            filled: false,
            len: 0,
        });
        self.ops.push(Op::Open(id));
        self.stack.push(id);
        if self.limit.bytes_max.is_some() {
            self.frames[id].len = self.heads_len(id);
        }
    }

    fn leave(&mut self) {
        let Some(id) = self.stack.pop() else { return };
        let frame = self.frames[id];
        let len = if frame.whole {
            self.ops.truncate(frame.op);
            self.raw(frame.start, frame.end);
            frame.end - frame.start
        } else if frame.filled {
            self.ops.push(Op::Close);
            field::framed_len(frame.number, frame.len)
        } else {
            // Opened again after a cut, but nothing of it was left.
            self.ops.truncate(frame.op);
            return;
        };
        match self.stack.last() {
            Some(&above) => {
                self.frames[above].len += len;
                self.frames[above].filled = true;
            }
            None => self.base += len,
        }
    }

    /// Appends a range to the piece; ranges that touch become one.
    #[inline]
    fn raw(&mut self, start: usize, end: usize) {
        if let Some(Op::Raw(_, last)) = self.ops.last_mut()
            && *last == start
        {
            *last = end;
            return;
        }
        self.ops.push(Op::Raw(start, end));
    }

    /// Length of the piece if so many bytes were added to the innermost frame.
    fn len_with(&self, more: usize) -> usize {
        let mut len = more;
        for &id in self.stack.iter().rev() {
            let frame = &self.frames[id];
            len = field::framed_len(frame.number, frame.len + len);
        }
        self.base + len
    }

    /// Finds a frame's own fields: all that hold no items.
    fn heads(&mut self, id: usize) -> (usize, usize) {
        let frame = self.frames[id];
        if let Some(heads) = frame.heads {
            return heads;
        }
        let first = self.heads.len();
        let bytes = self.bytes;
        let buf = &bytes[..frame.end];
        let mut pos = frame.value;
        while pos < buf.len() {
            if let Some(end) = plain_item(frame.is, buf, pos) {
                pos = end;
                continue;
            }
            let Ok(field) = field::next(buf, &mut pos) else {
                break;
            };
            let row = frame.is.field(field.number).filter(|_| field.wire == LEN);
            let child = row.is_some_and(|r| holds_items(r) || matches!(r.role, Role::Node(k) if k.is_item()));
            if child {
                continue;
            }
            match self.heads[first..].last_mut() {
                Some((_, end)) if *end == field.start => *end = field.end,
                _ => self.heads.push((field.start, field.end)),
            }
        }
        let heads = (first, self.heads.len());
        self.frames[id].heads = Some(heads);
        heads
    }

    fn heads_len(&mut self, id: usize) -> usize {
        let (first, last) = self.heads(id);
        self.heads[first..last].iter().map(|(s, e)| e - s).sum()
    }

    /// Ends the piece; the frames that are open go on in the next one.
    fn flush(&mut self) {
        for i in (0..self.stack.len()).rev() {
            let id = self.stack[i];
            let frame = &mut self.frames[id];
            if frame.filled {
                frame.whole = false;
                self.ops.push(Op::Close);
            } else {
                self.ops.truncate(frame.op);
            }
        }
        let first = self.pieces.is_empty();
        if !self.ops.is_empty() || (first && (self.may_skip || self.stack.is_empty())) {
            let piece = self.render();
            self.pieces.push((piece, self.items as u32));
        }
        self.ops.clear();
        for i in 0..self.stack.len() {
            let id = self.stack[i];
            let len = if self.limit.bytes_max.is_some() {
                self.heads_len(id)
            } else {
                0
            };
            let frame = &mut self.frames[id];
            (frame.op, frame.filled, frame.len) = (i, false, len);
            self.ops.push(Op::Open(id));
        }
        (self.items, self.base) = (0, 0);
        self.room = self.limit;
        self.may_skip = false;
    }

    /// The bytes of the current piece.
    fn render(&mut self) -> Bytes {
        match self.ops.as_slice() {
            [] => return Bytes::new(),
            [Op::Raw(start, end)] => return self.bytes.slice(*start..*end),
            _ => {}
        }
        // Lengths first, backwards: a frame's length is that of its own fields and of what is in it.
        self.lens.clear();
        let mut open: Vec<usize> = Vec::with_capacity(8);
        let mut total = 0;
        for i in (0..self.ops.len()).rev() {
            match self.ops[i] {
                Op::Close => {
                    open.push(total);
                    total = 0;
                }
                Op::Raw(start, end) => total += end - start,
                Op::Open(id) => {
                    let len = total + self.heads_len(id);
                    self.lens.push(len);
                    total = open.pop().unwrap_or(0) + field::framed_len(self.frames[id].number, len);
                }
            }
        }
        let mut out = Vec::with_capacity(total);
        for &op in &self.ops {
            match op {
                Op::Close => {}
                Op::Raw(start, end) => out.extend_from_slice(&self.bytes[start..end]),
                Op::Open(id) => {
                    let frame = &self.frames[id];
                    field::write_header(frame.number, self.lens.pop().unwrap_or(0), &mut out);
                    let (first, last) = frame.heads.unwrap_or((0, 0));
                    for &(start, end) in &self.heads[first..last] {
                        out.extend_from_slice(&self.bytes[start..end]);
                    }
                }
            }
        }
        debug_assert_eq!(out.len(), total);
        out.into()
    }
}

/// Scope groups stand below resource groups in every signal; the table must agree with what `walk` relies on.
const _: () = assert!(NodeKind::Scope.is_container() && !NodeKind::Scope.is_item());

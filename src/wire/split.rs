//! Splitting: requests cut at record boundaries, resource and scope headers written again for each piece.
//!
//! In: a payload and the most a piece may hold. Out: pieces in order, that together hold every record once. No record is
//! copied (but for short runs, which are cheaper so): a piece is made of headers written anew and slices of the chunk,
//! and keeps it alive. A metric may be cut between its points.

use bytes::Bytes;

use crate::field::{self, LEN};
use crate::otlp::{self, Message, NodeKind, Role, Rule};
use crate::{Chunk, Payload, Shape, Signal, normalize};

/// The most that a piece may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Items; `None` = no limit. At least one is taken always.
    pub items_max: Option<usize>,
    /// Encoded bytes; `None` = no limit. A single item that is larger stays alone in a piece; what belongs to no item
    /// (groups without any, unknown fields beside them) rides along uncounted.
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
            fetch_ahead(buf, pos, end);
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
pub(crate) fn plain_item(message: &'static Message, buf: &[u8], pos: usize) -> Option<usize> {
    if message.items_tag() == 0 || buf[pos] != message.items_tag() {
        return None;
    }
    field::length(buf, &mut (pos + 1)).ok()
}

/// Items are of similar length: a look at where the next ones should begin lets the processor fetch those lines while
/// this one is read. A hint; nothing is made of what is seen.
#[inline(always)]
fn fetch_ahead(buf: &[u8], start: usize, end: usize) {
    let len = end - start;
    for next in [end.wrapping_add(len), end.wrapping_add(2 * len)] {
        std::hint::black_box(buf.get(next).copied());
    }
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
/// Chunks keep their order and origin; one that fits is handed on as it is. Profiles are returned whole. Cost: a walk
/// over record boundaries.
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
        let (chunk_items, chunk_bytes) = (chunk.shape.items as usize, chunk.len());
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
            if !piece.is_empty() || last == 0 {
                items += piece.shape.items as usize;
                bytes += piece.len();
                open.push(piece);
            }
        }
    }
    close(&mut open, &mut items, &mut bytes);
    out
}

/// Cuts one chunk; the pieces keep its origin. Profiles and what fits are returned whole.
pub fn split_chunk(signal: Signal, chunk: &Chunk, limit: Cut) -> Vec<Chunk> {
    if signal == Signal::Profiles || fits(limit, chunk.shape.items as usize, chunk.len()) {
        return vec![chunk.clone()];
    }
    cut(signal, chunk, limit, limit, false)
}

/// The items `from..to` of a chunk as a chunk of their own; `None` if it has no such items. Profiles have no parts: it is
/// all of it then.
pub fn slice(signal: Signal, chunk: &Chunk, from: u32, to: u32) -> Option<Chunk> {
    let to = to.min(chunk.shape.items);
    if from >= to {
        return None;
    }
    if signal == Signal::Profiles || (from == 0 && to == chunk.shape.items) {
        return Some(chunk.clone());
    }
    let items = |n: u32| Cut {
        items_max: Some(n as usize),
        bytes_max: None,
    };
    let room = if from > 0 { from } else { to };
    let mut pieces = cut(signal, chunk, items(room), items(to - from), false).into_iter();
    if from > 0 {
        pieces.next();
    }
    pieces.next().filter(|piece| piece.shape.items == to - from)
}

fn fits(limit: Cut, items: usize, bytes: usize) -> bool {
    limit.items_max.is_none_or(|max| items <= max) && limit.bytes_max.is_none_or(|max| bytes <= max)
}

/// Cuts a chunk: the first piece within `room` (empty, if `may_skip` and nothing fits), the others within `limit`.
fn cut(signal: Signal, chunk: &Chunk, room: Cut, limit: Cut, may_skip: bool) -> Vec<Chunk> {
    let mut shape = chunk.shape;
    let mut bytes = chunk.bytes();
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
        children: Vec::new(),
        runs: Vec::new(),
        ends: Vec::new(),
        stack: Vec::new(),
        base: 0,
        items: 0,
        lens: Vec::new(),
        outer: Vec::new(),
        made: Vec::new(),
        parts: Vec::new(),
        pieces: Vec::new(),
    };
    cutter.walk(otlp::request(signal));
    cutter.flush();
    let Cutter {
        made, parts, pieces, ..
    } = cutter;
    let made = Bytes::from(made);
    let mut first = 0;
    let mut origin = chunk.origin.clone();
    let chunks = pieces.into_iter().map(|(last, items)| {
        let parts = parts[first..last].iter().map(|part| match *part {
            Part::Made(start, end) => made.slice(start..end),
            Part::Slice(start, end) => bytes.slice(start..end),
        });
        first = last;
        let piece = Chunk::in_parts(parts, Shape { items, ..shape }, origin.clone());
        origin.first = origin.first.saturating_add(items);
        piece
    });
    chunks.collect()
}

/// Shorter runs of records are copied behind their headers: a slice of their own would cost more. The samples of the
/// tests are small.
pub(crate) const SLICE_BYTES_MIN: usize = if cfg!(test) { 64 } else { 4 << 10 };

/// What a piece is made of, by structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// A frame's header and its own fields; what follows, until `Close`, is in it.
    Open(usize),
    Raw(usize, usize),
    Close,
}

/// What a piece is made of, as bytes: of what was written anew, or of the chunk.
#[derive(Clone, Copy, Debug)]
enum Part {
    Made(usize, usize),
    Slice(usize, usize),
}

/// A message that holds items: group, scope, metric, data.
#[derive(Clone, Copy, Debug)]
struct Frame {
    number: u32,
    start: usize,
    end: usize,
    /// Its own fields, all that hold no items: a range of `Cutter::heads`, and their length.
    heads: (usize, usize),
    heads_len: usize,
    /// By how much its own header is longer than it has to be: it stays so if the frame is handed on whole.
    slack: usize,
    /// Where the current piece opened it.
    op: usize,
    /// Whether no piece before the current one holds a part of it.
    whole: bool,
    /// Whether the current piece holds something of it.
    filled: bool,
    /// Content in the current piece, in bytes.
    len: usize,
}

/// Items that follow each other without a gap: `count` of them, whose ends begin at `first` in `Cutter::ends`.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: usize,
    first: usize,
    count: usize,
}

struct Cutter<'a> {
    bytes: &'a Bytes,
    room: Cut,
    limit: Cut,
    may_skip: bool,
    ops: Vec<Op>,
    frames: Vec<Frame>,
    heads: Vec<(usize, usize)>,
    children: Vec<(field::Field, &'static Message)>,
    runs: Vec<Run>,
    ends: Vec<usize>,
    stack: Vec<usize>,
    /// Bytes of the current piece outside of open frames.
    base: usize,
    items: usize,
    lens: Vec<usize>,
    outer: Vec<usize>,
    made: Vec<u8>,
    parts: Vec<Part>,
    /// For each piece: where its parts end, and its items.
    pieces: Vec<(usize, u32)>,
}

impl Cutter<'_> {
    /// Walks the groups of a request. Beside them there is nothing but unknown fields.
    fn walk(&mut self, request: &'static Message) {
        let bytes = self.bytes;
        let mut pos = 0;
        while pos < bytes.len() {
            let Ok(field) = field::next(bytes, &mut pos) else {
                break;
            };
            match container(request, &field) {
                Some(nested) => self.frame(&field, nested),
                None => {
                    self.base += field.end - field.start;
                    self.raw(field.start, field.end);
                }
            }
        }
    }

    /// A message that holds items, at some depth: one walk over its fields, then what it holds is laid into pieces. No
    /// deeper than group, scope, metric, data.
    fn frame(&mut self, field: &field::Field, is: &'static Message) {
        let bytes = self.bytes;
        let buf = &bytes[..field.end];
        let (first_head, first_child) = (self.heads.len(), self.children.len());
        let (first_run, first_end) = (self.runs.len(), self.ends.len());
        let mut heads_len = 0;
        let mut pos = field.value;
        while pos < buf.len() {
            let run = self.run(is, buf, &mut pos);
            if run.count > 0 {
                self.runs.push(run);
                continue;
            }
            let Ok(own) = field::next(buf, &mut pos) else {
                break;
            };
            let row = is.field(own.number).filter(|_| own.wire == LEN);
            if row.is_some_and(|r| matches!(r.role, Role::Node(kind) if kind.is_item())) {
                self.ends.push(own.end);
                self.runs.push(Run {
                    start: own.start,
                    first: self.ends.len() - 1,
                    count: 1,
                });
            } else if let Some(nested) = container(is, &own) {
                self.children.push((own, nested));
            } else {
                heads_len += own.end - own.start;
                match self.heads[first_head..].last_mut() {
                    Some((_, end)) if *end == own.start => *end = own.end,
                    _ => self.heads.push((own.start, own.end)),
                }
            }
        }
        let id = self.frames.len();
        self.frames.push(Frame {
            number: field.number,
            start: field.start,
            end: field.end,
            heads: (first_head, self.heads.len()),
            heads_len,
            slack: (field.end - field.start)
                .saturating_sub(field::framed_len(field.number, field.end - field.value)),
            op: self.ops.len(),
            whole: true,
            filled: false,
            len: heads_len,
        });
        self.ops.push(Op::Open(id));
        self.stack.push(id);
        let (last_child, last_run) = (self.children.len(), self.runs.len());
        for i in first_child..last_child {
            let (child, nested) = self.children[i];
            self.frame(&child, nested);
        }
        for i in first_run..last_run {
            self.fill(self.runs[i]);
        }
        self.children.truncate(first_child);
        self.runs.truncate(first_run);
        self.ends.truncate(first_end);
        self.leave();
    }

    /// The items with the usual tag that follow each other from `pos` on.
    fn run(&mut self, is: &'static Message, buf: &[u8], pos: &mut usize) -> Run {
        let (start, first) = (*pos, self.ends.len());
        while *pos < buf.len()
            && let Some(end) = plain_item(is, buf, *pos)
        {
            self.ends.push(end);
            fetch_ahead(buf, *pos, end);
            *pos = end;
        }
        Run {
            start,
            first,
            count: self.ends.len() - first,
        }
    }

    /// Lays a run of items into the current piece and as many further ones as it takes.
    fn fill(&mut self, run: Run) {
        let (mut start, mut i, last) = (run.start, run.first, run.first + run.count);
        while i < last {
            let fit = self.fit(start, i, last);
            if fit == 0 && (self.items > 0 || self.may_skip) {
                self.flush();
                continue;
            }
            // One that is larger than a piece stays alone.
            let taken = fit.max(1);
            let end = self.ends[i + taken - 1];
            self.raw(start, end);
            self.items += taken;
            for &id in &self.stack {
                self.frames[id].filled = true;
            }
            if let Some(&top) = self.stack.last() {
                self.frames[top].len += end - start;
            }
            (start, i) = (end, i + taken);
        }
    }

    /// How many of the items from the `i`th on, which begins at `start`, the current piece has room for.
    fn fit(&self, start: usize, i: usize, last: usize) -> usize {
        let room = self
            .room
            .items_max
            .map_or(usize::MAX, |max| max.saturating_sub(self.items));
        let ends = &self.ends[i..i + room.min(last - i)];
        match self.room.bytes_max {
            None => ends.len(),
            Some(max) => ends.partition_point(|end| self.len_with(end - start) <= max),
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
            let slack = if frame.whole { frame.slack } else { 0 };
            len = field::framed_len(frame.number, frame.len + len) + slack;
        }
        self.base + len
    }

    /// Ends the piece; the frames that are open go on in the next one.
    fn flush(&mut self) {
        for i in (0..self.stack.len()).rev() {
            let frame = &mut self.frames[self.stack[i]];
            if frame.filled {
                frame.whole = false;
                self.ops.push(Op::Close);
            } else {
                self.ops.truncate(frame.op);
            }
        }
        let first = self.pieces.is_empty();
        if !self.ops.is_empty() || (first && (self.may_skip || self.stack.is_empty())) {
            self.render();
            self.pieces.push((self.parts.len(), self.items as u32));
        }
        self.ops.clear();
        for (op, &id) in self.stack.iter().enumerate() {
            let frame = &mut self.frames[id];
            (frame.op, frame.filled, frame.len) = (op, false, frame.heads_len);
            self.ops.push(Op::Open(id));
        }
        (self.items, self.base) = (0, 0);
        self.room = self.limit;
        self.may_skip = false;
    }

    /// Writes the current piece as parts.
    fn render(&mut self) {
        // Lengths first, backwards: a frame's length is that of its own fields and of what is in it.
        self.lens.clear();
        let mut total = 0;
        for &op in self.ops.iter().rev() {
            match op {
                Op::Close => {
                    self.outer.push(total);
                    total = 0;
                }
                Op::Raw(start, end) => total += end - start,
                Op::Open(id) => {
                    let frame = &self.frames[id];
                    let len = total + frame.heads_len;
                    self.lens.push(len);
                    total = self.outer.pop().unwrap_or(0) + field::framed_len(frame.number, len);
                }
            }
        }
        let mut from = self.made.len();
        for &op in &self.ops {
            match op {
                Op::Close => {}
                Op::Raw(start, end) if end - start < SLICE_BYTES_MIN && self.ops.len() > 1 => {
                    self.made.extend_from_slice(&self.bytes[start..end]);
                }
                Op::Raw(start, end) => {
                    if self.made.len() > from {
                        self.parts.push(Part::Made(from, self.made.len()));
                        from = self.made.len();
                    }
                    self.parts.push(Part::Slice(start, end));
                }
                Op::Open(id) => {
                    let frame = &self.frames[id];
                    field::write_header(frame.number, self.lens.pop().unwrap_or(0), &mut self.made);
                    for &(start, end) in &self.heads[frame.heads.0..frame.heads.1] {
                        self.made.extend_from_slice(&self.bytes[start..end]);
                    }
                }
            }
        }
        if self.made.len() > from {
            self.parts.push(Part::Made(from, self.made.len()));
        }
    }
}

/// The message in a field, if there are items somewhere in it, and only within.
pub(crate) fn container(message: &'static Message, field: &field::Field) -> Option<&'static Message> {
    let row = message
        .field(field.number)
        .filter(|row| field.wire == LEN && holds_items(row))?;
    match row.kind {
        otlp::Kind::Message(nested) => Some(nested),
        _ => None,
    }
}

/// Scope groups stand below resource groups in every signal; the table must agree with what `walk` relies on.
const _: () = assert!(NodeKind::Scope.is_container() && !NodeKind::Scope.is_item());

//! Dividing: one request becomes several, by a label for each of its groups, metrics or items.
//!
//! In: a canonical chunk, and labels in the order of the bytes, as a walk over a view of it finds them. Out: a chunk for
//! each label, made of whole slices of the first: a record is never read nor encoded anew, and keeps its order, its
//! resource and its scope, which are written again for each chunk that needs them. What is labelled alike from one end
//! to the other stays the very same bytes.

use bytes::Bytes;

use crate::field::{self, Field, LEN};
use crate::otlp::{self, Message, NodeKind, Role};
use crate::split::{container, count_below, plain_item};
use crate::{Chunk, Context, Payload, Shape, Signal};

/// The label of what goes nowhere.
pub const NOWHERE: u16 = u16::MAX;

/// What has a label of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A resource with all that it holds.
    Resource,
    /// A scope with all that it holds.
    Scope,
    /// A metric; in other signals an item.
    Metric,
    /// A log record, span or data point.
    Item,
}

impl Part {
    /// Whether a node of this kind has a label: with [`View::nodes`](crate::view::View::nodes), which are in the order
    /// of the bytes, that is all it takes to make the list.
    #[inline]
    pub fn is(self, kind: NodeKind) -> bool {
        match self {
            Part::Resource => kind == NodeKind::Resource,
            Part::Scope => kind == NodeKind::Scope,
            Part::Metric => kind == NodeKind::Metric || matches!(kind, NodeKind::LogRecord | NodeKind::Span),
            Part::Item => kind.is_item(),
        }
    }
}

/// Makes a chunk for each label but [`NOWHERE`], by ascending label.
///
/// `labels`: one for each part, in the order of the bytes. Groups without any part go nowhere, and fields beside the
/// groups of a request, which only an unknown version of OTLP has, go with every chunk. A chunk of profiles has no
/// parts: it goes whole, where the first label says.
///
/// Cost: a walk over the boundaries of parts, and a copy of those that do not lie beside each other.
///
/// # Panics
/// If there are more or fewer labels than parts: they were not made of this chunk, or it is not canonical
/// ([`Chunk::make_canonical`]).
pub fn divide(signal: Signal, chunk: &Chunk, by: Part, labels: &[u16]) -> Vec<(u16, Chunk)> {
    let whole = |label: u16| match label {
        NOWHERE => Vec::new(),
        label => vec![(label, chunk.clone())],
    };
    if signal == Signal::Profiles {
        return labels.first().map_or_else(Vec::new, |label| whole(*label));
    }
    if let [first, rest @ ..] = labels
        && rest.iter().all(|label| label == first)
    {
        return whole(*first);
    }
    let bytes = chunk.bytes();
    let mut walk = Walk {
        bytes: &bytes,
        by,
        labels,
        next: 0,
        units: Vec::new(),
        frames: Vec::new(),
        heads: Vec::new(),
        children: Vec::new(),
    };
    walk.request(otlp::request(signal));
    assert_eq!(walk.next, labels.len(), "one label for each part");
    let Walk {
        units, frames, heads, ..
    } = walk;
    let mut writer = Writer {
        bytes: &bytes,
        frames: &frames,
        heads: &heads,
        ops: Vec::new(),
        open: Vec::new(),
        lens: Vec::new(),
        outer: Vec::new(),
    };
    let sorted = sort(&units);
    let pieces = sorted.chunk_by(|a, b| units[*a as usize].label == units[*b as usize].label);
    let pieces = pieces.map(|piece| {
        let label = units[piece[0] as usize].label;
        let (parts, items) = writer.write(&units, piece);
        let shape = Shape { items, ..chunk.shape };
        (
            label,
            Chunk::in_parts(parts.into_iter(), shape, chunk.origin.clone()),
        )
    });
    pieces.collect()
}

/// Chunks that come from several requests or chunks of one, gathered by label.
#[derive(Debug)]
pub struct Sorted {
    signal: Signal,
    context: std::sync::Arc<Context>,
    payloads: Vec<(u16, Payload)>,
}

impl Sorted {
    /// Nothing yet.
    pub fn new(signal: Signal, context: std::sync::Arc<Context>) -> Sorted {
        Sorted {
            signal,
            context,
            payloads: Vec::new(),
        }
    }

    /// Adds a chunk behind those that have this label.
    pub fn add(&mut self, label: u16, chunk: Chunk) {
        match self.payloads.binary_search_by_key(&label, |(known, _)| *known) {
            Ok(at) => self.payloads[at].1.push(chunk),
            Err(at) => {
                let payload = Payload::new(self.signal, chunk, self.context.clone());
                self.payloads.insert(at, (label, payload));
            }
        }
    }

    /// A payload for each label, by ascending label.
    pub fn finish(self) -> Vec<(u16, Payload)> {
        self.payloads
    }
}

/// Places of units, by label, those of one label in their order; without those that go nowhere.
fn sort(units: &[Unit]) -> Vec<u32> {
    let goes = |unit: &Unit| unit.label != NOWHERE;
    let most = units
        .iter()
        .filter(|unit| goes(unit))
        .map(|unit| unit.label)
        .max();
    let Some(most) = most else { return Vec::new() };
    let mut places = vec![0u32; usize::from(most) + 2];
    for unit in units.iter().filter(|unit| goes(unit)) {
        places[usize::from(unit.label) + 1] += 1;
    }
    for at in 1..places.len() {
        places[at] += places[at - 1];
    }
    let mut sorted = vec![0; places[places.len() - 1] as usize];
    for (at, unit) in units.iter().enumerate().filter(|(_, unit)| goes(unit)) {
        let place = &mut places[usize::from(unit.label)];
        sorted[*place as usize] = at as u32;
        *place += 1;
    }
    sorted
}

/// No frame: directly in the request.
const TOP: u32 = u32::MAX;

/// Parts of one label that lie beside each other, or a frame that holds nothing else.
#[derive(Clone, Copy, Debug)]
struct Unit {
    start: usize,
    end: usize,
    frame: u32,
    label: u16,
    items: u32,
}

/// A message that holds parts: group, scope, metric, data.
#[derive(Clone, Copy, Debug)]
struct Frame {
    number: u32,
    above: u32,
    /// Its own fields, all that hold no parts: a range of `heads`, and their length.
    heads: (usize, usize),
    heads_len: usize,
}

/// Which labels were met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    None,
    One(u16),
    Many,
}

impl Met {
    fn and(self, other: Met) -> Met {
        match (self, other) {
            (Met::None, met) | (met, Met::None) => met,
            (Met::One(a), Met::One(b)) if a == b => self,
            _ => Met::Many,
        }
    }
}

struct Walk<'a> {
    bytes: &'a Bytes,
    by: Part,
    labels: &'a [u16],
    next: usize,
    units: Vec<Unit>,
    frames: Vec<Frame>,
    heads: Vec<(usize, usize)>,
    children: Vec<(Field, &'static Message)>,
}

impl Walk<'_> {
    /// The request itself is a frame without a header.
    fn request(&mut self, is: &'static Message) {
        let all = Field {
            number: 0,
            wire: LEN,
            start: 0,
            value: 0,
            end: self.bytes.len(),
        };
        self.frame(&all, is, TOP);
    }

    /// One walk over the fields of a message; then what they hold. No deeper than group, scope, metric, data. A message
    /// holds parts or messages that hold them, never both.
    fn frame(&mut self, field: &Field, is: &'static Message, above: u32) -> (Met, u32) {
        let bytes = self.bytes;
        let buf = &bytes[..field.end];
        let (first_head, first_child, first_unit) = (self.heads.len(), self.children.len(), self.units.len());
        let id = self.frames.len() as u32;
        self.frames.push(Frame {
            number: field.number,
            above,
            heads: (first_head, first_head),
            heads_len: 0,
        });
        let (mut met, mut items) = (Met::None, 0);
        let mut pos = field.value;
        while pos < buf.len() {
            if self.by == Part::Item
                && let Some(end) = plain_item(is, buf, pos)
            {
                met = met.and(self.unit(pos, end, id, 1));
                items += 1;
                pos = end;
                continue;
            }
            let Ok(own) = field::next(buf, &mut pos) else {
                break;
            };
            let row = is.field(own.number).filter(|_| own.wire == LEN);
            let kind = row.and_then(|row| match row.role {
                Role::Node(kind) => Some(kind),
                _ => None,
            });
            if kind.is_some_and(|kind| self.by.is(kind)) {
                let count = match row.map(|row| row.kind) {
                    Some(otlp::Kind::Message(nested)) if !kind.is_some_and(NodeKind::is_item) => {
                        count_below(nested, &buf[..own.end], own.value)
                    }
                    _ => 1,
                };
                met = met.and(self.unit(own.start, own.end, id, count));
                items += count;
            } else if let Some(nested) = container(is, &own) {
                self.children.push((own, nested));
            } else {
                self.frames[id as usize].heads_len += own.end - own.start;
                match self.heads[first_head..].last_mut() {
                    Some((_, end)) if *end == own.start => *end = own.end,
                    _ => self.heads.push((own.start, own.end)),
                }
            }
        }
        self.frames[id as usize].heads.1 = self.heads.len();
        for at in first_child..self.children.len() {
            let (child, nested) = self.children[at];
            let (below, count) = self.frame(&child, nested, id);
            met = met.and(below);
            items += count;
        }
        self.children.truncate(first_child);
        if let (Met::One(label), false) = (met, above == TOP && field.number == 0) {
            // All of it goes one way: as it is.
            self.units.truncate(first_unit);
            self.frames.truncate(id as usize);
            self.heads.truncate(first_head);
            self.push(Unit {
                start: field.start,
                end: field.end,
                frame: above,
                label,
                items,
            });
        }
        (met, items)
    }

    fn unit(&mut self, start: usize, end: usize, frame: u32, items: u32) -> Met {
        let label = *self.labels.get(self.next).expect("one label for each part");
        self.next += 1;
        self.push(Unit {
            start,
            end,
            frame,
            label,
            items,
        });
        Met::One(label)
    }

    fn push(&mut self, unit: Unit) {
        match self.units.last_mut() {
            Some(last) if last.frame == unit.frame && last.label == unit.label && last.end == unit.start => {
                last.end = unit.end;
                last.items += unit.items;
            }
            _ => self.units.push(unit),
        }
    }
}

/// What a piece is made of, by structure.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// A frame's header and its own fields; what follows, until `Close`, is in it.
    Open(u32),
    Raw(usize, usize),
    Close,
}

struct Writer<'a> {
    bytes: &'a Bytes,
    frames: &'a [Frame],
    heads: &'a [(usize, usize)],
    ops: Vec<Op>,
    open: Vec<u32>,
    lens: Vec<usize>,
    outer: Vec<usize>,
}

/// Frames within each other: request, group, scope, metric, data.
const FRAMES_MAX: usize = 5;

impl Writer<'_> {
    /// The parts of one piece, and its items.
    fn write(&mut self, units: &[Unit], piece: &[u32]) -> (Vec<Bytes>, u32) {
        self.ops.clear();
        let mut items = 0;
        for unit in piece.iter().map(|at| &units[*at as usize]) {
            self.enter(unit.frame);
            match self.ops.last_mut() {
                Some(Op::Raw(_, end)) if *end == unit.start => *end = unit.end,
                _ => self.ops.push(Op::Raw(unit.start, unit.end)),
            }
            items += unit.items;
        }
        self.ops.extend(self.open.drain(..).map(|_| Op::Close));
        (self.render(), items)
    }

    /// Closes and opens frames until it is this one that is open.
    fn enter(&mut self, frame: u32) {
        let (mut way, mut depth, mut at) = ([TOP; FRAMES_MAX], 0, frame);
        while at != TOP {
            way[depth] = at;
            depth += 1;
            at = self.frames[at as usize].above;
        }
        way[..depth].reverse();
        let common = way[..depth]
            .iter()
            .zip(&self.open)
            .take_while(|(a, b)| a == b)
            .count();
        while self.open.len() > common {
            self.open.pop();
            self.ops.push(Op::Close);
        }
        for &id in &way[common..depth] {
            self.open.push(id);
            self.ops.push(Op::Open(id));
        }
    }

    fn render(&mut self) -> Vec<Bytes> {
        // Lengths first, backwards: a frame's length is that of its own fields and of what is in it.
        self.lens.clear();
        let (mut total, mut copied) = (0, 0);
        for &op in self.ops.iter().rev() {
            match op {
                Op::Close => {
                    self.outer.push(total);
                    total = 0;
                }
                Op::Raw(start, end) => {
                    total += end - start;
                    copied += if end - start < crate::split::SLICE_BYTES_MIN {
                        end - start
                    } else {
                        0
                    };
                }
                Op::Open(id) => {
                    let frame = &self.frames[id as usize];
                    let len = total + frame.heads_len;
                    self.lens.push(len);
                    let framed = framed_len(frame, len);
                    copied += framed - total;
                    total = self.outer.pop().unwrap_or(0) + framed;
                }
            }
        }
        let mut made: Vec<u8> = Vec::with_capacity(copied);
        let mut cuts: Vec<(usize, usize, usize)> = Vec::new();
        for &op in &self.ops {
            match op {
                Op::Close => {}
                Op::Raw(start, end) if end - start < crate::split::SLICE_BYTES_MIN => {
                    made.extend_from_slice(&self.bytes[start..end]);
                }
                Op::Raw(start, end) => cuts.push((made.len(), start, end)),
                Op::Open(id) => {
                    let frame = &self.frames[id as usize];
                    let len = self.lens.pop().unwrap_or(0);
                    if frame.number > 0 {
                        field::write_header(frame.number, len, &mut made);
                    }
                    for &(start, end) in &self.heads[frame.heads.0..frame.heads.1] {
                        made.extend_from_slice(&self.bytes[start..end]);
                    }
                }
            }
        }
        let made = Bytes::from(made);
        let mut parts = Vec::with_capacity(2 * cuts.len() + 1);
        let mut from = 0;
        for (at, start, end) in cuts {
            if at > from {
                parts.push(made.slice(from..at));
                from = at;
            }
            parts.push(self.bytes.slice(start..end));
        }
        if made.len() > from {
            parts.push(made.slice(from..));
        }
        parts
    }
}

/// With its header; the request has none.
fn framed_len(frame: &Frame, len: usize) -> usize {
    match frame.number {
        0 => len,
        number => field::framed_len(number, len),
    }
}

//! What is kept: for each resource the points of three metrics, told apart by their dimensions.
//!
//! Memory is drawn from the gateway's budget. A point that finds no room, or passes the cardinality limit, is counted in
//! the resource's one overflow point; a resource that finds none, in one resource for all of them. So counts stay
//! complete whatever comes.

use std::collections::HashMap;
use std::sync::Arc;

use component::{Class, Memory, Reservation};
use wire::field::Fields;
use wire::view::NewValue;
use wire::write;

use super::shape::{Distribution, Form};

/// Key of the attribute of overflow points, and the key under which they are kept.
const OVERFLOW: &[u8] = b"otel.metric.overflow";

/// Bytes that a point costs beside its content, about.
const POINT_BYTES: usize = 256;
/// Bytes of one exemplar.
const EXEMPLAR_BYTES: usize = 48;

/// A span as an example.
#[derive(Clone, Debug)]
pub(super) struct Exemplar {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) value: f64,
}

/// What decides on points.
pub(super) struct Limits {
    pub(super) memory: Arc<Memory>,
    /// Points of one metric and resource; 0: no limit.
    pub(super) points_max: usize,
    /// Exemplars of one point; 0: none.
    pub(super) exemplars_max: usize,
    pub(super) form: Form,
}

/// One point.
pub(super) struct Point<T> {
    /// `KeyValue` messages, each as field 1.
    attributes: Vec<u8>,
    pub(super) value: T,
    exemplars: Vec<Exemplar>,
    start: u64,
    last_seen: u64,
    born: u64,
    /// Whether it has gone on before.
    is_told: bool,
    bytes: usize,
}

/// The points of one metric.
pub(super) struct Points<T>(HashMap<Box<[u8]>, Point<T>>);

/// One resource.
pub(super) struct Resource {
    pub(super) owner: Option<Arc<str>>,
    /// Its attributes, `KeyValue` messages as field 1.
    pub(super) attributes: Vec<u8>,
    pub(super) calls: Points<u64>,
    pub(super) durations: Points<Distribution>,
    pub(super) events: Points<u64>,
    pub(super) last_seen: u64,
    pub(super) born: u64,
    bytes: usize,
}

/// Memory of all points, and a counter of what was made.
#[derive(Default)]
pub(super) struct Room {
    taken: Option<Reservation>,
    pub(super) born: u64,
}

impl Room {
    /// Whether there is room for so many bytes; they are taken then.
    pub(super) fn take(&mut self, memory: &Arc<Memory>, bytes: usize) -> bool {
        match &mut self.taken {
            Some(taken) => taken.grow(bytes),
            none => {
                *none = memory.reserve(Class::Nodes, bytes);
                none.is_some()
            }
        }
    }

    fn give_back(&mut self, bytes: usize) {
        if let Some(taken) = &mut self.taken {
            taken.shrink(bytes);
        }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.born += 1;
        self.born
    }
}

impl<T> Points<T> {
    /// The point of a key, made of `attributes` if it is new; and whether it is the overflow point instead.
    pub(super) fn point(
        &mut self,
        key: &[u8],
        (limits, room): (&Limits, &mut Room),
        now: u64,
        attributes: impl FnOnce() -> Vec<u8>,
        value: impl FnOnce() -> T,
        value_bytes: usize,
    ) -> (&mut Point<T>, bool) {
        let exemplars = limits.exemplars_max.saturating_mul(EXEMPLAR_BYTES);
        let fixed = exemplars.saturating_add(POINT_BYTES + value_bytes);
        let is_full = |count: usize| limits.points_max > 0 && count >= limits.points_max;
        let mut overflow = false;
        let mut made = None;
        if !self.0.contains_key(key) {
            let attributes = attributes();
            let bytes = fixed.saturating_add(key.len() + attributes.len());
            overflow = is_full(self.0.len()) || !room.take(&limits.memory, bytes);
            if !overflow {
                made = Some((attributes, bytes));
            } else if !self.0.contains_key(OVERFLOW) {
                let mut attributes = Vec::new();
                write::attribute(1, OVERFLOW, NewValue::Bool(true), &mut attributes);
                // One a metric and resource: it is there whatever the budget says.
                let bytes = if room.take(&limits.memory, fixed) {
                    fixed
                } else {
                    0
                };
                made = Some((attributes, bytes));
            }
        }
        let key = if overflow { OVERFLOW } else { key };
        if let Some((attributes, bytes)) = made {
            let point = Point {
                attributes,
                value: value(),
                exemplars: Vec::new(),
                start: now,
                last_seen: now,
                born: room.next(),
                is_told: false,
                bytes,
            };
            self.0.insert(key.into(), point);
        }
        let point = self.0.get_mut(key).expect("it was there, or was just made");
        point.last_seen = now;
        (point, overflow)
    }

    /// Points with their keys, in the order in which they were made.
    pub(super) fn in_order(&mut self) -> Vec<(&[u8], &mut Point<T>)> {
        let mut all: Vec<_> = self.0.iter_mut().map(|(key, point)| (&**key, point)).collect();
        all.sort_unstable_by_key(|(_, point)| point.born);
        all
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets exemplars, and points that nothing came to since `before`.
    fn settle(&mut self, before: Option<u64>, room: &mut Room) {
        self.0.retain(|_, point| {
            point.exemplars.clear();
            let stays = before.is_none_or(|before| point.last_seen > before);
            if !stays {
                room.give_back(point.bytes);
            }
            stays
        });
    }

    fn bytes(&self) -> usize {
        self.0.values().map(|p| p.bytes).sum()
    }
}

impl<T> Point<T> {
    /// Adds an example, if there is room for one.
    pub(super) fn exemplify(&mut self, limits: &Limits, exemplar: Option<&Exemplar>) {
        if self.exemplars.len() < limits.exemplars_max {
            self.exemplars.extend(exemplar.cloned());
        }
    }

    /// Whether it goes on for the first time; from now on it does not.
    pub(super) fn is_first(&mut self) -> bool {
        !std::mem::replace(&mut self.is_told, true)
    }

    /// When it began, nanoseconds since 1970.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Appends its attributes, and its exemplars as of `now`, under these numbers.
    pub(super) fn write_attributes(&self, number: u32, out: &mut Vec<u8>) {
        write_attributes(&self.attributes, number, out);
    }

    /// Appends its exemplars, as of `now`.
    pub(super) fn write_exemplars(&self, number: u32, now: u64, out: &mut Vec<u8>) {
        for exemplar in &self.exemplars {
            write::message(number, out, |out| {
                write::fixed(2, now, out);
                write::double(3, exemplar.value, out);
                write::bytes(4, &exemplar.span_id, out);
                write::bytes(5, &exemplar.trace_id, out);
            });
        }
    }
}

/// Appends `KeyValue` messages that are kept as field 1 under another number.
fn write_attributes(kept: &[u8], number: u32, out: &mut Vec<u8>) {
    for field in Fields::new(kept, 0).map_while(Result::ok) {
        write::bytes(number, &kept[field.value..field.end], out);
    }
}

impl Resource {
    /// A resource without points, that takes so many bytes.
    pub(super) fn new(
        owner: Option<Arc<str>>,
        attributes: Vec<u8>,
        bytes: usize,
        now: u64,
        born: u64,
    ) -> Resource {
        Resource {
            owner,
            attributes,
            calls: Points(HashMap::new()),
            durations: Points(HashMap::new()),
            events: Points(HashMap::new()),
            last_seen: now,
            born,
            bytes,
        }
    }

    /// Points of all metrics.
    pub(super) fn points(&self) -> usize {
        self.calls.len() + self.durations.len() + self.events.len()
    }

    /// As [`Points::settle`].
    pub(super) fn settle(&mut self, before: Option<u64>, room: &mut Room) {
        self.calls.settle(before, room);
        self.durations.settle(before, room);
        self.events.settle(before, room);
    }

    /// Gives all of its memory back.
    pub(super) fn forget(self, room: &mut Room) {
        let points = self.calls.bytes() + self.durations.bytes() + self.events.bytes();
        room.give_back(self.bytes + points);
    }
}

//! Through a view: from candidates to the texts that hold them, and what is written back.

use component::prelude::*;
use wire::field::write_header;
use wire::view::{Any, Kind, NewValue, NodeId, Part, Value, View, any_encode};

use super::super::body::{ANY_LIST, ANY_MAP, KEY, VALUE, VALUES, insert_header};
use super::super::find::Patterns;
use super::{Action, Detection, Fate, Path, Place, Scratch};

/// Values nested deeper than this go: the door refuses them, so no honest one gets here.
const DEPTH_MAX: usize = 256;

/// Texts of nodes that are looked at, by the number of their field, with the key that `keys` and `except_keys` know them
/// by.
pub(super) const FIELDS: &[(Kind, u32, &[u8])] = &[
    (Kind::Scope, 1, b"scope.name"),
    (Kind::Scope, 2, b"scope.version"),
    (Kind::LogRecord, 3, b"severity_text"),
    (Kind::LogRecord, 12, b"event_name"),
    (Kind::Span, 3, b"trace_state"),
    (Kind::Span, 5, b"span.name"),
    (Kind::Span, STATUS, b"status.message"),
    (Kind::Event, 2, b"event.name"),
    (Kind::Link, 3, b"trace_state"),
    (Kind::Metric, 2, b"metric.description"),
];

/// The key that bodies are known by.
const BODY: &[u8] = b"body";

/// The status of a span, and the message in it.
const STATUS: u32 = 15;
const STATUS_MESSAGE: u32 = 2;

impl Detection {
    /// Finds, and redacts, in one chunk.
    pub(in super::super) fn run(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>, s: &mut Scratch) {
        s.counts.clear();
        s.counts.resize(self.rules.len(), 0);
        let root = self.root(cx.tenant);
        if root.in_force != 0 {
            self.candidates(view, s);
            self.written(view, root, cx, s);
            for i in 0..s.candidates.len() {
                let (n, part, kinds) = s.candidates[i];
                let stale = s.written.binary_search(&n).is_ok();
                if !stale && !view.is_removed(n) {
                    self.part(view, (n, part, kinds), root, cx, s);
                }
            }
            // From the last one on: what takes a removed one's place is looked at already.
            s.removed.sort_unstable_by(|a, b| b.cmp(a));
            for (n, i) in s.removed.drain(..) {
                view.remove(n, i);
            }
        }
        for (rule, count) in s.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.counters[rule].add(*count);
            // What drops its record is booked as dropped.
            if self.dry_run || !matches!(self.rules[rule].action, Action::DropRecord) {
                cx.touched(&self.booked[rule], *count);
            }
        }
    }

    /// Parts of the chunk as it came that may hold something. A key speaks for its value.
    fn candidates(&self, view: &View<'_>, s: &mut Scratch) {
        let Scratch {
            regions, candidates, ..
        } = s;
        self.finder.search(view.bytes(), regions);
        candidates.clear();
        for region in &regions.list {
            view.locate_range(region.start..region.end, |n, part| {
                let part = match part {
                    Part::AttrKey(i) => Part::AttrValue(i),
                    part => part,
                };
                match candidates.last_mut() {
                    Some((node, last, kinds)) if (*node, *last) == (n, part) => *kinds |= region.patterns,
                    _ => candidates.push((n, part, region.patterns)),
                }
            });
        }
    }

    /// Nodes that were written to before this stage: the chunk's bytes say nothing about them.
    fn written(&self, view: &mut View<'_>, root: Path, cx: &mut SegmentCx<'_>, s: &mut Scratch) {
        s.written.clear();
        if !view.is_edited() {
            return;
        }
        let touched = view
            .nodes()
            .filter(|n| !view.is_removed(*n) && view.is_written(*n));
        s.written.extend(touched);
        for i in 0..s.written.len() {
            let n = s.written[i];
            for attribute in 0..view.attrs(n) {
                let kinds = self.kinds(view.key(n, attribute), view.value(n, attribute), s);
                if !view.is_removed(n) {
                    self.part(view, (n, Part::AttrValue(attribute), kinds), root, cx, s);
                }
            }
            if let Some(body) = view.body(n) {
                let kinds = self.kinds(b"", body, s);
                if !view.is_removed(n) {
                    self.part(view, (n, Part::Body, kinds), root, cx, s);
                }
            }
            let kind = view.kind(n);
            for (_, number, _) in FIELDS.iter().filter(|(k, ..)| *k == kind) {
                if !view.is_removed(n) {
                    self.part(view, (n, Part::Field(*number), Patterns::MAX), root, cx, s);
                }
            }
        }
    }

    /// Detectors that may find something in a value, searched by itself.
    fn kinds(&self, key: &[u8], value: Value<'_>, s: &mut Scratch) -> Patterns {
        match value.any() {
            Any::Str(text) | Any::Bytes(text) => {
                let hits = &mut s.regions.hits;
                self.finder.search_one(text, hits) | self.finder.search_one(key, hits)
            }
            Any::Map(_) | Any::List(_) => Patterns::MAX,
            _ => 0,
        }
    }

    /// The place of a value that is in no other.
    fn place<'k>(&self, root: Path, kinds: Patterns, key: &'k [u8]) -> Place<'k> {
        Place {
            kinds,
            path: self.enter(root, key),
            key,
            depth: DEPTH_MAX,
        }
    }

    /// One part of a node.
    fn part(
        &self,
        view: &mut View<'_>,
        (n, part, kinds): (NodeId, Part, Patterns),
        root: Path,
        cx: &mut SegmentCx<'_>,
        s: &mut Scratch,
    ) {
        let mut out = std::mem::take(&mut s.value);
        out.clear();
        let fate = match part {
            _ if kinds == 0 => Fate::Same,
            Part::AttrKey(_) => Fate::Same,
            Part::AttrValue(i) => {
                let fate = self.whole(
                    view.value(n, i),
                    self.place(root, kinds, view.key(n, i)),
                    s,
                    &mut out,
                );
                match fate {
                    Fate::Changed => view.set(n, i, NewValue::Encoded(&out)),
                    Fate::Gone => s.removed.push((n, i)),
                    Fate::Same | Fate::Dropped(_) => {}
                }
                fate
            }
            Part::Body => {
                let body = view.body(n).unwrap_or(Value::new(&[]));
                let fate = self.whole(body, self.place(root, kinds, BODY), s, &mut out);
                match fate {
                    Fate::Changed => view.set_body(n, NewValue::Encoded(&out)),
                    Fate::Gone => view.set_body(n, NewValue::Empty),
                    Fate::Same | Fate::Dropped(_) => {}
                }
                fate
            }
            Part::Field(number) => self.field(view, (n, number, kinds), root, s),
        };
        s.value = out;
        if let Fate::Dropped(rule) = fate {
            // The record that it belongs to; of what belongs to no record, all that is below it.
            let mut target = n;
            while !view.kind(target).is_item() {
                match view.parent(target) {
                    Some(parent) => target = parent,
                    None => {
                        target = n;
                        break;
                    }
                }
            }
            let items = u64::from(view.items(target));
            view.remove_node(target);
            if items > 0 {
                cx.dropped(&self.booked[rule], items);
            }
        }
    }

    /// A name or a message.
    fn field(
        &self,
        view: &mut View<'_>,
        (n, number, kinds): (NodeId, u32, Patterns),
        root: Path,
        s: &mut Scratch,
    ) -> Fate {
        let kind = view.kind(n);
        let row = FIELDS.iter().find(|(k, f, _)| (*k, *f) == (kind, number));
        let Some((.., key)) = row else {
            return Fate::Same;
        };
        let content = view.text(n, number);
        let status = kind == Kind::Span && number == STATUS;
        let text = match status {
            true => content_of(content, STATUS_MESSAGE),
            false => content,
        };
        let fate = self.text(text, self.place(root, kinds, key), s);
        let new: &[u8] = match fate {
            Fate::Changed => &s.found.text,
            Fate::Gone => &[],
            Fate::Same | Fate::Dropped(_) => return fate,
        };
        if status {
            let mut message = Vec::with_capacity(content.len() + new.len());
            replace_field(content, STATUS_MESSAGE, new, &mut message);
            view.set_content(n, number, &message);
        } else {
            view.set_text(n, number, new);
        }
        fate
    }

    /// A value; what it becomes is appended to `out` if it changed. Nothing is written but where something was found.
    fn whole(&self, value: Value<'_>, place: Place<'_>, s: &mut Scratch, out: &mut Vec<u8>) -> Fate {
        let nested = matches!(value.any(), Any::Map(_) | Any::List(_));
        if nested && !self.holds(value, place, s) {
            return Fate::Same;
        }
        self.value(value, place, s, out)
    }

    /// Whether anything is found within.
    fn holds(&self, value: Value<'_>, place: Place<'_>, s: &mut Scratch) -> bool {
        if place.depth == 0 {
            return true;
        }
        match value.any() {
            Any::Str(text) | Any::Bytes(text) => self.search(text, place, &mut s.found),
            Any::Map(mut entries) => entries.any(|(key, value)| self.holds(value, self.inner(place, key), s)),
            Any::List(mut values) => values.any(|value| self.holds(value, deeper(place), s)),
            _ => false,
        }
    }

    fn value(&self, value: Value<'_>, place: Place<'_>, s: &mut Scratch, out: &mut Vec<u8>) -> Fate {
        if place.depth == 0 {
            return Fate::Gone;
        }
        let start = out.len();
        let mut fate = Fate::Same;
        match value.any() {
            Any::Str(text) => {
                fate = self.text(text, place, s);
                if fate == Fate::Changed {
                    any_encode(NewValue::Str(&s.found.text), out);
                }
                return fate;
            }
            Any::Bytes(text) => {
                fate = self.text(text, place, s);
                if fate == Fate::Changed {
                    any_encode(NewValue::Bytes(&s.found.text), out);
                }
                return fate;
            }
            Any::Map(entries) => {
                for (key, value) in entries {
                    let entry = out.len();
                    write_header(KEY, key.len(), out);
                    out.extend_from_slice(key);
                    let at = out.len();
                    match self.value(value, self.inner(place, key), s, out) {
                        Fate::Same => out.extend_from_slice(value.raw()),
                        Fate::Changed => fate = Fate::Changed,
                        Fate::Gone => {
                            out.truncate(entry);
                            fate = Fate::Changed;
                            continue;
                        }
                        dropped => return dropped,
                    }
                    insert_header(out, at, VALUE);
                    insert_header(out, entry, VALUES);
                }
                insert_header(out, start, ANY_MAP);
            }
            Any::List(values) => {
                for value in values {
                    let at = out.len();
                    match self.value(value, deeper(place), s, out) {
                        Fate::Same => out.extend_from_slice(value.raw()),
                        Fate::Changed => fate = Fate::Changed,
                        Fate::Gone => {
                            out.truncate(at);
                            fate = Fate::Changed;
                            continue;
                        }
                        dropped => return dropped,
                    }
                    insert_header(out, at, VALUES);
                }
                insert_header(out, start, ANY_LIST);
            }
            _ => {}
        }
        if fate == Fate::Same {
            out.truncate(start);
        }
        fate
    }
}

/// The place of an element of a list.
fn deeper(place: Place<'_>) -> Place<'_> {
    Place {
        depth: place.depth - 1,
        ..place
    }
}

/// The content of a text field of an encoded message; empty if absent.
fn content_of(message: &[u8], number: u32) -> &[u8] {
    let fields = wire::field::Fields::new(message, 0).map_while(Result::ok);
    let last = fields.filter(|f| f.number == number).last();
    last.map_or(&[], |f| &message[f.value..f.end])
}

/// Copies a message with another content of one field.
fn replace_field(message: &[u8], number: u32, content: &[u8], out: &mut Vec<u8>) {
    let mut copied = 0;
    for field in wire::field::Fields::new(message, 0).map_while(Result::ok) {
        match field.number == number {
            true => {
                write_header(number, content.len(), out);
                out.extend_from_slice(content);
            }
            false => out.extend_from_slice(&message[copied..field.end]),
        }
        copied = field.end;
    }
}

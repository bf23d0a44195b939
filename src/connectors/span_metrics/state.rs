//! Spans in, metrics out: what each span adds to the points of its resource, and all points as a request.

use std::collections::HashMap;
use std::sync::Arc;

use codec::pattern::PatternCache;
use component::prelude::*;
use wire::view::identity::{self, Order};
use wire::view::{Kind, NodeId, Value, View};
use wire::{Shape as Found, otlp, write};

use super::dimensions::{self, Attributes, Dimensions, Source};
use super::sampling::Chance;
use super::series::{Exemplar, Limits, Point, Points, Resource, Room};
use super::shape::Distribution;

/// Scope of the metrics that come out.
pub(super) const SCOPE: &[u8] = b"spanmetricsconnector";

/// What a connector does, compiled.
pub(super) struct Program {
    pub(super) limits: Limits,
    /// Of all metrics, of calls, of durations, of events.
    pub(super) all: Dimensions,
    pub(super) calls: Dimensions,
    pub(super) durations: Option<Dimensions>,
    pub(super) events: Option<Dimensions>,
    pub(super) excluded: Vec<String>,
    pub(super) scopes: Vec<String>,
    pub(super) resource_keys: Vec<String>,
    pub(super) resources_max: usize,
    pub(super) tells_sampling: bool,
    pub(super) is_delta: bool,
    pub(super) starts_max: usize,
    /// Nanoseconds in the unit of durations, and its name.
    pub(super) unit: (f64, &'static str),
    pub(super) namespace: String,
    /// `collector.instance.id`.
    pub(super) instance: String,
    pub(super) metrics_expiration: u64,
    pub(super) series_expiration: u64,
}

/// Everything since the beginning, or since the last flush where metrics are deltas.
pub(super) struct State {
    resources: HashMap<Box<[u8]>, Resource>,
    room: Room,
    /// Where metrics are deltas: when each point was last told.
    starts: HashMap<Box<[u8]>, u64>,
    chance: Chance,
    order: Order,
    key: Vec<u8>,
    caches: [Vec<PatternCache>; 4],
}

/// What a chunk came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Took {
    /// Spans that became part of metrics.
    pub(super) spans: u64,
    /// Spans of resources without `service.name`.
    pub(super) nameless: u64,
}

/// A span, while it is counted.
struct Seen<'v> {
    source: Source<'v>,
    scope: NodeId,
    count: u64,
    is_adjusted: bool,
    duration: f64,
    exemplar: Option<Exemplar>,
}

/// Number of the attributes of a number data point.
const NUMBER_ATTRIBUTES: u32 = 7;

impl State {
    pub(super) fn new(program: &Program, seed: u64) -> State {
        let of = |dimensions: Option<&Dimensions>| dimensions.map(Dimensions::caches).unwrap_or_default();
        State {
            resources: HashMap::new(),
            room: Room::default(),
            starts: HashMap::new(),
            chance: Chance::new(seed),
            order: Order::default(),
            key: Vec::new(),
            caches: [
                of(Some(&program.all)),
                of(Some(&program.calls)),
                of(program.durations.as_ref()),
                of(program.events.as_ref()),
            ],
        }
    }

    /// Adds the spans of one view at `now`, nanoseconds since 1970.
    pub(super) fn add(
        &mut self,
        program: &Program,
        view: &View<'_>,
        owner: Option<&Arc<str>>,
        now: u64,
    ) -> Took {
        let mut took = Took::default();
        let mut next = view.nodes();
        while let Some(resource) = next.next() {
            let end = view.subtree_end(resource);
            next = end..view.nodes().end;
            let Some(service) = view.get(resource, b"service.name") else {
                took.nameless += u64::from(view.items(resource));
                continue;
            };
            let service = service.as_str().unwrap_or_default();
            let key = self.resource(program, view, resource, owner, now);
            let mut scope = resource;
            for n in resource + 1..end {
                match view.kind(n) {
                    Kind::Scope => scope = n,
                    Kind::Span => {
                        took.spans += 1;
                        self.span(program, &key, service, (view, resource, scope, n), now);
                    }
                    _ => {}
                }
            }
        }
        took
    }

    /// The key of a resource that is there.
    fn resource(
        &mut self,
        program: &Program,
        view: &View<'_>,
        n: NodeId,
        owner: Option<&Arc<str>>,
        now: u64,
    ) -> Box<[u8]> {
        let mut key = vec![u8::from(owner.is_some())];
        identity::text(owner.map_or(&[], |o| o.as_bytes()), &mut key);
        let outer = key.len();
        if program.resource_keys.is_empty() {
            self.order.attributes(view, n, &mut key);
        } else {
            for name in &program.resource_keys {
                match view.get(n, name.as_bytes()) {
                    Some(value) => identity::value(value, &mut key),
                    None => key.push(u8::MAX),
                }
            }
        }
        if let Some(known) = self.resources.get_mut(key.as_slice()) {
            known.last_seen = now;
            return key.into();
        }
        let mut attributes = Vec::new();
        for i in 0..view.attrs(n) {
            write::message(1, &mut attributes, |out| {
                write::bytes(1, view.key(n, i), out);
                write::bytes(2, view.value(n, i).raw(), out);
            });
        }
        let mut bytes = 512 + key.len() + attributes.len();
        if !self.room.take(&program.limits.memory, bytes) {
            // No room: one resource without attributes for all that find none.
            key.truncate(outer);
            (attributes, bytes) = (Vec::new(), 0);
        }
        let born = self.room.next();
        let owner = owner.cloned();
        let fresh = || Resource::new(owner, attributes, bytes, now, born);
        self.resources
            .entry(key.as_slice().into())
            .or_insert_with(fresh)
            .last_seen = now;
        key.into()
    }

    fn span(
        &mut self,
        program: &Program,
        resource: &[u8],
        service: &[u8],
        (view, outer, scope, n): (&View<'_>, NodeId, NodeId, NodeId),
        now: u64,
    ) {
        // Start, end, trace state, ids: by their numbers in `otlp::SPAN`.
        let (start, end) = (view.number(n, 7).unwrap_or(0), view.number(n, 8).unwrap_or(0));
        let duration = end.saturating_sub(start) as f64 / program.unit.0;
        let (count, is_adjusted) = self.chance.count(view.text(n, 3));
        let exemplar = match (
            <[u8; 16]>::try_from(view.text(n, 1)),
            <[u8; 8]>::try_from(view.text(n, 2)),
        ) {
            (Ok(trace_id), span_id) if trace_id != [0; 16] => Some(Exemplar {
                trace_id,
                span_id: span_id.unwrap_or_default(),
                value: duration,
            }),
            _ => None,
        };
        let mut seen = Seen {
            source: Source {
                view,
                span: n,
                event: None,
                resource: outer,
            },
            scope,
            count,
            is_adjusted,
            duration,
            exemplar,
        };
        let Some(kept) = self.resources.get_mut(resource) else {
            return;
        };
        let [all, calls, durations, events] = &mut self.caches;
        let mut add = Add {
            program,
            service,
            key: &mut self.key,
            room: &mut self.room,
            now,
        };
        add.number(&mut kept.calls, &seen, (&program.calls, all, calls));
        if let Some(dimensions) = &program.durations {
            add.distribution(&mut kept.durations, &seen, (dimensions, all, durations));
        }
        if let Some(dimensions) = &program.events {
            for event in n + 1..view.subtree_end(n) {
                if view.kind(event) == Kind::Event {
                    seen.source.event = Some(event);
                    add.number(&mut kept.events, &seen, (dimensions, all, events));
                }
            }
        }
    }

    // --- out ---

    /// All points as of `now`, a chunk for each owner. Then what is to be forgotten is. `is_last`: no later flush will
    /// tell the rest.
    pub(super) fn flush(&mut self, program: &Program, now: u64, is_last: bool) -> Vec<Chunk> {
        let mut chunks: Vec<(Option<Arc<str>>, Vec<u8>, u32)> = Vec::new();
        let mut told: Vec<Box<[u8]>> = Vec::new();
        let mut resources: Vec<&mut Resource> = self.resources.values_mut().collect();
        resources.sort_unstable_by_key(|r| r.born);
        for resource in resources {
            if resource.points() == 0 {
                continue;
            }
            let at = chunks.iter().position(|(owner, ..)| *owner == resource.owner);
            let at = at.unwrap_or_else(|| {
                chunks.push((resource.owner.clone(), Vec::new(), 0));
                chunks.len() - 1
            });
            let (_, bytes, items) = &mut chunks[at];
            *items += resource.points() as u32;
            let mut tell = Tell {
                program,
                starts: &self.starts,
                told: &mut told,
                now,
                is_last,
            };
            write::message(1, bytes, |out| {
                write::bytes(1, &resource.attributes, out);
                write::message(otlp::SCOPES, out, |out| {
                    write::message(1, out, |out| write::bytes(1, SCOPE, out));
                    tell.numbers("calls", &mut resource.calls, out);
                    tell.distributions(&mut resource.durations, out);
                    tell.numbers("events", &mut resource.events, out);
                });
            });
        }
        self.settle(program, told, now);
        let chunk = |(owner, bytes, items): (Option<Arc<str>>, Vec<u8>, u32)| {
            let shape = Found {
                items,
                // Values are taken over as they came.
                unknown_fields: true,
                ..Found::default()
            };
            let mut chunk = Chunk::new(bytes.into(), shape);
            chunk.origin.tenant = owner;
            chunk
        };
        chunks.into_iter().map(chunk).collect()
    }

    fn settle(&mut self, program: &Program, told: Vec<Box<[u8]>>, now: u64) {
        if program.is_delta {
            for (_, resource) in self.resources.drain() {
                resource.forget(&mut self.room);
            }
            for key in told {
                self.starts.insert(key, now);
            }
            let over = self.starts.len().saturating_sub(program.starts_max);
            if over > 0 {
                let mut times: Vec<u64> = self.starts.values().copied().collect();
                let (_, last, _) = times.select_nth_unstable(over - 1);
                let last = *last;
                let mut over = over;
                self.starts.retain(|_, at| {
                    let goes = *at <= last && over > 0;
                    over -= usize::from(goes);
                    !goes
                });
            }
            return;
        }
        let before = |expiration: u64| (expiration > 0).then(|| now.saturating_sub(expiration));
        let (resources_before, points_before) = (
            before(program.metrics_expiration),
            before(program.series_expiration),
        );
        let mut gone: Vec<(u64, Box<[u8]>)> = Vec::new();
        let mut stay: Vec<(u64, u64, Box<[u8]>)> = Vec::new();
        for (key, resource) in &mut self.resources {
            resource.settle(points_before, &mut self.room);
            match resources_before.is_some_and(|before| resource.last_seen <= before) {
                true => gone.push((0, key.clone())),
                false => stay.push((resource.last_seen, resource.born, key.clone())),
            }
        }
        let over = stay.len().saturating_sub(program.resources_max);
        if over > 0 {
            stay.sort_unstable();
            gone.extend(stay.into_iter().take(over).map(|(seen, _, key)| (seen, key)));
        }
        for (_, key) in gone {
            if let Some(resource) = self.resources.remove(&key) {
                resource.forget(&mut self.room);
            }
        }
    }
}

/// Adds spans to points.
struct Add<'a> {
    program: &'a Program,
    service: &'a [u8],
    key: &'a mut Vec<u8>,
    room: &'a mut Room,
    now: u64,
}

/// Dimensions of one metric beside those of all, and the room that both search with.
type Beside<'a> = (
    &'a Dimensions,
    &'a mut Vec<PatternCache>,
    &'a mut Vec<PatternCache>,
);

impl Add<'_> {
    fn number(&mut self, points: &mut Points<u64>, seen: &Seen<'_>, beside: Beside<'_>) {
        let point = self.point(points, seen, beside, || 0, 8);
        point.value = point.value.saturating_add(seen.count);
    }

    fn distribution(&mut self, points: &mut Points<Distribution>, seen: &Seen<'_>, beside: Beside<'_>) {
        let form = &self.program.limits.form;
        let point = self.point(points, seen, beside, || form.empty(), form.bytes());
        form.observe(&mut point.value, seen.duration, seen.count);
    }

    /// The point of a span. Attributes are put together for new ones alone.
    fn point<'p, T>(
        &mut self,
        points: &'p mut Points<T>,
        seen: &Seen<'_>,
        (beside, all, own): Beside<'_>,
        value: impl FnOnce() -> T,
        value_bytes: usize,
    ) -> &'p mut Point<T> {
        let (program, service) = (self.program, self.service);
        self.key.clear();
        describe(
            program,
            service,
            seen,
            (beside, all, own),
            &mut |name, piece| match piece {
                Piece::Text(text) => identity::text(text, self.key),
                Piece::Value(value) => dimensions::key(name, value, self.key),
            },
        );
        let attributes = || {
            let mut attributes = Attributes::default();
            describe(
                program,
                service,
                seen,
                (beside, all, own),
                &mut |name, piece| match piece {
                    Piece::Text(text) => attributes.put_text(name, text),
                    Piece::Value(value) => attributes.put(name, value),
                },
            );
            attributes.encode()
        };
        let limits = &program.limits;
        let held = (limits, &mut *self.room);
        let (point, overflow) = points.point(self.key, held, self.now, attributes, value, value_bytes);
        if !overflow {
            point.exemplify(limits, seen.exemplar.as_ref());
        }
        point
    }
}

/// A part of what tells points apart.
enum Piece<'v> {
    /// What is there by default.
    Text(&'v [u8]),
    /// Of a dimension that was named.
    Value(Value<'v>),
}

/// Gives all dimensions of a span, in the order of the attributes.
fn describe(
    program: &Program,
    service: &[u8],
    seen: &Seen<'_>,
    (beside, all, own): Beside<'_>,
    give: &mut dyn FnMut(&[u8], Piece<'_>),
) {
    let (view, span) = (seen.source.view, seen.source.span);
    let mut text = |name: &str, text: &[u8]| {
        if !program.excluded.iter().any(|excluded| excluded == name) {
            give(name.as_bytes(), Piece::Text(text));
        }
    };
    text("service.name", service);
    text("span.name", view.text(span, 5));
    let kind = name_of(&otlp::SPAN, "kind", view.number(span, 6).unwrap_or(0));
    text("span.kind", kind.as_bytes());
    text("status.code", status(view.text(span, 15)).as_bytes());
    text("collector.instance.id", program.instance.as_bytes());
    let scope = match program.scopes.is_empty() {
        true => &[],
        false => view.text(seen.scope, 1),
    };
    if !scope.is_empty() && program.scopes.iter().any(|name| name.as_bytes() == scope) {
        text("span.instrumentation.scope.name", scope);
        let version = view.text(seen.scope, 2);
        if !version.is_empty() {
            text("span.instrumentation.scope.version", version);
        }
    }
    if program.tells_sampling {
        let method: &[u8] = match seen.is_adjusted {
            true => b"extrapolated",
            false => b"counted",
        };
        text("sampling.method", method);
    }
    program
        .all
        .each(seen.source, all, |name, value| give(name, Piece::Value(value)));
    beside.each(seen.source, own, |name, value| give(name, Piece::Value(value)));
}

/// Writes points.
struct Tell<'a> {
    program: &'a Program,
    starts: &'a HashMap<Box<[u8]>, u64>,
    told: &'a mut Vec<Box<[u8]>>,
    now: u64,
    is_last: bool,
}

impl Tell<'_> {
    fn name(&self, name: &str) -> String {
        match self.program.namespace.as_str() {
            "" => name.to_owned(),
            namespace => format!("{namespace}.{name}"),
        }
    }

    fn temporality(&self) -> u64 {
        if self.program.is_delta { 1 } else { 2 }
    }

    /// When a point began: where metrics are deltas, when it was last told.
    fn start<T>(&mut self, key: &[u8], point: &Point<T>) -> u64 {
        if !self.program.is_delta {
            return point.start();
        }
        self.told.push(key.into());
        self.starts.get(key).copied().unwrap_or_else(|| point.start())
    }

    fn numbers(&mut self, name: &str, points: &mut Points<u64>, out: &mut Vec<u8>) {
        if points.len() == 0 {
            return;
        }
        write::message(2, out, |out| {
            write::bytes(1, self.name(name).as_bytes(), out);
            write::message(7, out, |out| {
                for (key, point) in points.in_order() {
                    let start = self.start(key, point);
                    // A sum begins at zero, so that whoever takes differences sees its first value.
                    let is_zero = !self.program.is_delta && point.is_first() && !self.is_last;
                    let value = if is_zero { 0 } else { point.value };
                    write::message(1, out, |out| {
                        write::fixed(2, start, out);
                        write::fixed(3, self.now, out);
                        point.write_exemplars(5, self.now, out);
                        write::fixed(6, value, out);
                        point.write_attributes(NUMBER_ATTRIBUTES, out);
                    });
                }
                write::int(2, self.temporality(), out);
                write::int(3, 1, out);
            });
        });
    }

    fn distributions(&mut self, points: &mut Points<Distribution>, out: &mut Vec<u8>) {
        if points.len() == 0 {
            return;
        }
        let form = &self.program.limits.form;
        let (data, attributes, exemplars) = Distribution::numbers(form);
        write::message(2, out, |out| {
            write::bytes(1, self.name("duration").as_bytes(), out);
            write::bytes(3, self.program.unit.1.as_bytes(), out);
            write::message(data, out, |out| {
                for (key, point) in points.in_order() {
                    let start = self.start(key, point);
                    write::message(1, out, |out| {
                        write::fixed(2, start, out);
                        write::fixed(3, self.now, out);
                        point.value.write(form, out);
                        point.write_exemplars(exemplars, self.now, out);
                        point.write_attributes(attributes, out);
                    });
                }
                write::int(2, self.temporality(), out);
            });
        });
    }
}

/// The name of an enum's number in a field; empty for one without.
fn name_of(message: &'static otlp::Message, field: &str, number: u64) -> &'static str {
    match message.named(field).map(|f| f.kind) {
        Some(otlp::Kind::Enum(names)) => {
            let found = names.iter().find(|(_, n)| *n as u64 == number);
            found.map_or("", |(name, _)| name)
        }
        _ => "",
    }
}

/// The name of a status code, of a `Status` message.
fn status(message: &[u8]) -> &'static str {
    let mut fields = wire::field::Fields::new(message, 0).map_while(Result::ok);
    let code = fields.find(|f| f.number == 3);
    let number = code.and_then(|f| wire::varint::read(&message[f.value..f.end], &mut 0).ok());
    name_of(&otlp::STATUS, "code", number.unwrap_or(0))
}

//! A batch as the body of one `_bulk` request: an action and a document a line.
//!
//! In: a payload, the settings, and the mapping mode that the client asked for. Out: the lines, and for each of them
//! which items it stands for, so that an answer can be read back: a span is as many documents as it has events and one,
//! a document of metrics stands for several points. Items that no document can be made of are refused here, with the
//! reason. Cost: one pass; no allocation per log record once the buffers are warm.

use aws_lc_rs::digest;
use bytes::Bytes;
use codec::otlp_json::quote;
use wire::view::{Any, Value};
use wire::{Payload, Signal};

use super::fields::Message;
use super::flat::{Document, Item, Mark};
use super::json::{self, Pairs, plain_key};
use super::metrics::{self, Groups, Held, Kind, Point};
use super::otel::{self, Log};
use super::plain::{self, Style};
use super::route::{self, Around, Hints, Naming, Places, Route};

/// How documents are shaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Otel,
    Ecs,
    None,
    Raw,
    BodyMap,
}

impl Mode {
    pub(super) const ALL: [Mode; 5] = [Mode::Otel, Mode::Ecs, Mode::None, Mode::Raw, Mode::BodyMap];

    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Otel => "otel",
            Mode::Ecs => "ecs",
            Mode::None => "none",
            Mode::Raw => "raw",
            Mode::BodyMap => "bodymap",
        }
    }

    /// By its name in any case; `no` and nothing are `none`.
    pub(super) fn parse(name: &[u8]) -> Option<Mode> {
        if name.is_empty() || name.eq_ignore_ascii_case(b"no") {
            return Some(Mode::None);
        }
        Mode::ALL
            .into_iter()
            .find(|mode| name.eq_ignore_ascii_case(mode.name().as_bytes()))
    }

    fn naming(self) -> Naming {
        match self {
            Mode::Otel => Naming::Otel,
            Mode::BodyMap => Naming::Typed,
            _ => Naming::Plain,
        }
    }

    fn style(self) -> Option<Style> {
        match self {
            Mode::Ecs => Some(Style::Ecs),
            Mode::None => Some(Style::None),
            Mode::Raw => Some(Style::Raw),
            Mode::Otel | Mode::BodyMap => None,
        }
    }
}

/// What the configuration says about documents.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) mode: Mode,
    /// Those that scopes and clients may ask for.
    pub(super) allowed: Vec<Mode>,
    pub(super) logs: Places,
    pub(super) traces: Places,
    pub(super) metrics: Places,
    pub(super) logs_id: bool,
    pub(super) traces_id: bool,
    pub(super) logs_pipeline: bool,
}

/// Items that no document can be made of, or that Elasticsearch does not take: why, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) rule: String,
    pub(super) message: String,
}

/// What becomes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Stored,
    /// To be sent again.
    Owed,
    /// Never: an index into the reasons.
    Refused(u16),
}

/// Lines to send, and what they stand for.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    pub(super) body: Vec<u8>,
    /// Of each document: where its items begin in `members`, and how many they are.
    pub(super) documents: Vec<(u32, u32)>,
    pub(super) members: Vec<u32>,
    /// Of each item, in the order of the payload.
    pub(super) fates: Vec<Fate>,
    pub(super) reasons: Vec<Reason>,
    /// Whether all documents are in mode `otel`, whose places are data streams.
    pub(super) is_otel: bool,
    /// The lines are more than one request may have; the rest was not written.
    pub(super) is_full: bool,
}

/// Most bytes of lines: each document repeats its resource, so that a batch may become a multiple of what it was.
/// Elasticsearch takes 100 MB unless it is told otherwise. The batches of the tests are small.
const BODY_BYTES_MAX: usize = if cfg!(test) { 1 << 20 } else { 32 << 20 };
/// Longest id in bytes: for a longer one Elasticsearch refuses the whole request.
const ID_BYTES_MAX: usize = 512;
/// Reasons that are told apart in one batch.
const REASONS_MAX: usize = 64;

impl Bulk {
    pub(super) fn clear(&mut self) {
        self.body.clear();
        self.documents.clear();
        self.members.clear();
        self.fates.clear();
        self.reasons.clear();
        self.is_otel = true;
        self.is_full = false;
    }

    /// The number of a reason, which is noted if it is new.
    pub(super) fn reason(&mut self, rule: &str, message: &str) -> u16 {
        let same = |r: &Reason| r.rule == rule && r.message == message;
        if let Some(at) = self.reasons.iter().position(same) {
            return at as u16;
        }
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(Reason {
                rule: rule.to_owned(),
                message: message.to_owned(),
            });
        }
        (self.reasons.len() - 1) as u16
    }

    pub(super) fn refuse(&mut self, item: u32, rule: &str, message: &str) {
        let reason = self.reason(rule, message);
        if let Some(fate) = self.fates.get_mut(item as usize) {
            *fate = Fate::Refused(reason);
        }
    }

    /// A line's end, and the document's only item.
    fn end(&mut self, item: u32) {
        self.end_of(std::iter::once(item));
    }

    /// A line's end, and the document's items.
    fn end_of(&mut self, items: impl Iterator<Item = u32>) {
        self.body.push(b'\n');
        let from = self.members.len();
        self.members.extend(items);
        self.documents
            .push((from as u32, (self.members.len() - from) as u32));
        self.is_full |= self.body.len() > BODY_BYTES_MAX;
    }
}

/// The rule under which items are booked that no document can be made of.
const UNMAPPABLE: &str = "unmappable";

/// Writes a batch's lines into `out`, whatever was in it. `mode`: what the client asked for. Where they are too much for
/// one request `out` says so, and is good for nothing else.
///
/// Errors: a chunk cannot be read, which none is that passed the door.
pub(super) fn encode(
    settings: &Settings,
    mode: Mode,
    batch: &Payload,
    out: &mut Bulk,
) -> Result<(), wire::Malformed> {
    out.clear();
    out.fates.resize(batch.items, Fate::Stored);
    let bytes = batch.chunks.iter().map(|chunk| match chunk.shape.non_canonical {
        true => wire::normalize(batch.signal, &chunk.bytes(), false).map(Bytes::from),
        false => Ok(chunk.bytes()),
    });
    let bytes: Vec<Bytes> = bytes.collect::<Result<_, _>>()?;
    let mut writer = Writer {
        settings,
        mode,
        out,
        item: 0,
        pairs: Pairs::default(),
        document: Document::default(),
        mark: Mark::default(),
        around: Vec::new(),
        action: Vec::new(),
        route: Route::default(),
        other: Route::default(),
    };
    let mut first = 0;
    for (chunk, bytes) in batch.chunks.iter().zip(&bytes) {
        if writer.out.is_full {
            break;
        }
        writer.item = first;
        writer.request(batch.signal, Message(bytes));
        first += chunk.shape.items;
    }
    Ok(())
}

/// Writes the lines of the chunks.
struct Writer<'a, 'o> {
    settings: &'o Settings,
    mode: Mode,
    out: &'o mut Bulk,
    /// The next item's place among all.
    item: u32,
    pairs: Pairs<'a>,
    document: Document<'a>,
    /// Where the fields begin that are a record's own.
    mark: Mark,
    /// What documents of a scope have in common in mode `otel`.
    around: Vec<u8>,
    /// The action of a scope's documents that say nothing of their own.
    action: Vec<u8>,
    route: Route,
    other: Route,
}

/// Resource, scope and what they say.
#[derive(Clone, Copy)]
struct Group<'a> {
    mode: Mode,
    around: Around<'a>,
    resource: Message<'a>,
    scope: Message<'a>,
    schemas: [&'a [u8]; 2],
}

impl<'a> Writer<'a, '_> {
    fn request(&mut self, signal: Signal, request: Message<'a>) {
        for group in request.each(1) {
            let resource = group.sub(1);
            let hints = Hints::of(resource.attributes(1));
            for inner in group.each(2) {
                if self.out.is_full {
                    return;
                }
                let scope = inner.sub(1);
                let of_scope = Hints::of(scope.attributes(3));
                let mode = match of_scope.mode {
                    Some(wish) => wish.as_str().and_then(Mode::parse),
                    None => Some(self.mode),
                };
                let mode =
                    mode.filter(|mode| of_scope.mode.is_none() || self.settings.allowed.contains(mode));
                let Some(mode) = mode else {
                    self.refuse_all(
                        signal,
                        inner,
                        "the scope's elastic.mapping.mode is none that is allowed",
                    );
                    continue;
                };
                let group = Group {
                    mode,
                    around: Around {
                        scope_name: scope.sub(1).0,
                        scope: of_scope,
                        resource: hints,
                    },
                    resource,
                    scope,
                    schemas: [group.sub(3).0, inner.sub(3).0],
                };
                self.out.is_otel &= mode == Mode::Otel;
                match signal {
                    Signal::Logs => self.logs(group, inner),
                    Signal::Traces => self.spans(group, inner),
                    Signal::Metrics => self.metrics(group, inner),
                    Signal::Profiles => {}
                }
            }
        }
    }

    fn refuse_all(&mut self, signal: Signal, inner: Message<'a>, message: &str) {
        let mut refuse = |_: Message<'a>| {
            self.out.refuse(self.item, UNMAPPABLE, message);
            self.item += 1;
        };
        if signal != Signal::Metrics {
            return inner.each(2).for_each(refuse);
        }
        for metric in inner.each(2) {
            let data = Kind::of(metric);
            data.into_iter()
                .flat_map(|(_, data)| data.each(1))
                .for_each(&mut refuse);
        }
    }

    /// What a scope's records have in common.
    fn begin(&mut self, group: Group<'a>, places: &Places, as_text: bool) -> Result<(), &'static str> {
        self.around.clear();
        self.pairs.all.clear();
        match group.mode.style() {
            Some(style) => plain::around(style, group.resource, group.scope, &mut self.document),
            None if group.mode == Mode::Otel => otel::around(
                (group.resource, group.schemas[0]),
                (group.scope, group.schemas[1]),
                as_text,
                &mut self.pairs,
                &mut self.around,
            ),
            None => {}
        }
        self.mark = self.document.mark();
        places.find(
            group.mode.naming(),
            &Hints::default(),
            &group.around,
            0,
            &mut self.route,
        )?;
        self.action.clear();
        action(&self.route, None, None, |_| {}, &mut self.action);
        Ok(())
    }

    fn logs(&mut self, group: Group<'a>, inner: Message<'a>) {
        let settings = self.settings;
        let places = &settings.logs;
        let begun = self.begin(group, places, false);
        for record in inner.each(2) {
            if self.out.is_full {
                return;
            }
            let item = self.item;
            self.item += 1;
            self.pairs.all.clear();
            let mut hints = Hints::default();
            let pairs = &mut self.pairs.all;
            let log = Log::read(record, |key, value| {
                hints.note(key, value);
                pairs.push(Some((key, value)));
            });
            if hints.forbids() {
                continue;
            }
            let start = self.out.body.len();
            let own = places.dated.is_some() || places.depends_on(&hints) || begun.is_err();
            if own
                && let Err(why) = places.find(
                    group.mode.naming(),
                    &hints,
                    &group.around,
                    now_if_zero(log.at()),
                    &mut self.other,
                )
            {
                self.out.refuse(item, UNMAPPABLE, why);
                continue;
            }
            let route = if own { &self.other } else { &self.route };
            let id = hints.id.filter(|_| settings.logs_id);
            if id.is_some_and(is_long) {
                self.out.refuse(item, UNMAPPABLE, LONG_ID);
                continue;
            }
            let pipeline = hints.pipeline.filter(|_| settings.logs_pipeline);
            if own || id.is_some() || pipeline.is_some() {
                action(route, id.map(Id::Said), pipeline, |_| {}, &mut self.out.body);
            } else {
                self.out.body.extend_from_slice(&self.action);
            }
            match group.mode.style() {
                Some(style) => {
                    self.document.rewind(self.mark);
                    plain::log(style, &log, route, &mut self.pairs, &mut self.document);
                    style.write(&mut self.document, &mut self.pairs, &mut self.out.body);
                    if self.document.is_overflowed() {
                        self.out.body.truncate(start);
                        self.out.refuse(item, UNMAPPABLE, OVERFLOW);
                        continue;
                    }
                }
                None if group.mode == Mode::Otel => {
                    otel::log(&log, route, &self.around, &mut self.pairs, &mut self.out.body);
                }
                None => {
                    if !matches!(log.body.any(), Any::Map(_)) {
                        self.out.body.truncate(start);
                        self.out
                            .refuse(item, UNMAPPABLE, "mode bodymap: the body is no map");
                        continue;
                    }
                    self.pairs.all.clear();
                    json::value(log.body, &mut self.pairs, &mut self.out.body);
                }
            }
            self.out.end(item);
        }
    }

    fn spans(&mut self, group: Group<'a>, inner: Message<'a>) {
        let settings = self.settings;
        let places = &settings.traces;
        let begun = self.begin(group, places, false);
        for span in inner.each(2) {
            if self.out.is_full {
                return;
            }
            let item = self.item;
            self.item += 1;
            if group.mode == Mode::BodyMap {
                self.out
                    .refuse(item, UNMAPPABLE, "mode bodymap is for logs alone");
                continue;
            }
            self.pairs.all.clear();
            let mut hints = Hints::default();
            for (key, value) in span.attributes(9) {
                hints.note(key, value);
                self.pairs.all.push(Some((key, value)));
            }
            let start = self.out.body.len();
            let own = places.dated.is_some() || places.depends_on(&hints) || begun.is_err();
            if own
                && let Err(why) = places.find(
                    group.mode.naming(),
                    &hints,
                    &group.around,
                    now_if_zero(span.number(7)),
                    &mut self.other,
                )
            {
                self.out.refuse(item, UNMAPPABLE, why);
                continue;
            }
            let route = if own { &self.other } else { &self.route };
            let said = hints.id.filter(|_| settings.traces_id);
            if said.is_some_and(is_long) {
                self.out.refuse(item, UNMAPPABLE, LONG_ID);
                continue;
            }
            let said = said.map(Id::Said);
            let has_events = matches!(group.mode, Mode::Otel | Mode::Ecs);
            // A span and its events are stored each by itself: with ids, none of them is stored twice when another has to
            // be sent again.
            let digest = span.each(11).next().filter(|_| has_events).map(|_| {
                let mut all = digest::Context::new(&digest::SHA256);
                // The same span of another resource is another one.
                for part in [group.resource, group.scope, span] {
                    all.update(&(part.0.len() as u64).to_le_bytes());
                    all.update(part.0);
                }
                all.finish()
            });
            if !hints.forbids() {
                let made = digest.as_ref().map(|digest| Id::Made(digest.as_ref(), 0));
                action(route, said.or(made), None, |_| {}, &mut self.out.body);
                match group.mode.style() {
                    None => otel::span(span, route, &self.around, &mut self.pairs, &mut self.out.body),
                    Some(style) => {
                        self.document.rewind(self.mark);
                        plain::span(style, span, route, &mut self.pairs, &mut self.document);
                        style.write(&mut self.document, &mut self.pairs, &mut self.out.body);
                        if self.document.is_overflowed() {
                            self.out.body.truncate(start);
                            self.out.refuse(item, UNMAPPABLE, OVERFLOW);
                            continue;
                        }
                    }
                }
                self.out.end(item);
            }
            if let Some(digest) = digest {
                self.events(group, span, item, digest.as_ref());
            }
        }
    }

    fn events(&mut self, group: Group<'a>, span: Message<'a>, item: u32, digest: &[u8]) {
        let places = &self.settings.logs;
        let ids = [span.sub(1).0, span.sub(2).0];
        let service = group.resource.attribute(1, b"service.name");
        let service = service.and_then(|name| name.as_str()).unwrap_or_default();
        for (at, event) in span.each(11).enumerate() {
            if self.out.is_full {
                return;
            }
            let hints = Hints::of(event.attributes(3));
            if hints.forbids() {
                continue;
            }
            let said = hints.id.filter(|_| self.settings.traces_id);
            if said.is_some_and(is_long) {
                self.out.refuse(item, UNMAPPABLE, LONG_ID);
                continue;
            }
            let id = said.map_or(Id::Made(digest, at as u32 + 1), Id::Said);
            let start = self.out.body.len();
            self.pairs.all.clear();
            if group.mode == Mode::Ecs {
                let is_error = plain::is_exception(event);
                route::ecs_event(&hints, &group.around, is_error, service, &mut self.other);
                action(&self.other, Some(id), None, |_| {}, &mut self.out.body);
                self.document.rewind(self.mark);
                plain::ecs_event(span, event, &self.other, &mut self.document);
                Style::Ecs.write(&mut self.document, &mut self.pairs, &mut self.out.body);
                if self.document.is_overflowed() {
                    self.out.body.truncate(start);
                    self.out.refuse(item, UNMAPPABLE, OVERFLOW);
                    continue;
                }
            } else {
                let nanos = now_if_zero(event.number(1));
                let found = places.find(group.mode.naming(), &hints, &group.around, nanos, &mut self.other);
                if found.is_err() {
                    continue;
                }
                action(&self.other, Some(id), None, |_| {}, &mut self.out.body);
                let (pairs, out) = (&mut self.pairs, &mut self.out.body);
                otel::event(ids, event, &self.other, &self.around, pairs, out);
            }
            self.out.end(item);
        }
    }

    fn metrics(&mut self, group: Group<'a>, inner: Message<'a>) {
        let settings = self.settings;
        let places = &settings.metrics;
        if !matches!(group.mode, Mode::Otel | Mode::Ecs) {
            let message = format!("mode {} is not for metrics", group.mode.name());
            return self.refuse_all(Signal::Metrics, inner, &message);
        }
        // Neither of the two modes can be told a type that is wrong.
        if let Err(why) = self.begin(group, places, true) {
            return self.refuse_all(Signal::Metrics, inner, why);
        }
        let mut groups = Groups::default();
        for metric in inner.each(2) {
            let Some((kind, data)) = Kind::of(metric) else {
                continue;
            };
            let (name, unit) = (metric.sub(1).0, metric.sub(3).0);
            for point in data.each(1) {
                let item = self.item;
                self.item += 1;
                let kind = match kind {
                    Ok(kind) => kind,
                    Err(why) => {
                        self.out.refuse(item, UNMAPPABLE, why);
                        continue;
                    }
                };
                let point = Point {
                    name,
                    unit,
                    kind,
                    point,
                    hints: Hints::of(point.attributes(kind.attributes())),
                    item,
                };
                if point.hints.forbids() {
                    continue;
                }
                let nanos = now_if_zero(point.time());
                let found = places.find(
                    group.mode.naming(),
                    &point.hints,
                    &group.around,
                    nanos,
                    &mut self.other,
                );
                match found {
                    Ok(()) => groups.add(&self.other.index, point, group.mode == Mode::Otel),
                    Err(why) => self.out.refuse(item, UNMAPPABLE, why),
                }
            }
        }
        for points in groups.groups {
            if self.out.is_full {
                return;
            }
            self.points(group, points);
        }
    }

    fn points(&mut self, group: Group<'a>, points: Vec<Point<'a>>) {
        let mut held: Vec<(Point<'a>, Held)> = Vec::with_capacity(points.len());
        for point in points {
            match point.held() {
                Ok(value) => held.push((point, value)),
                Err(why) => self.out.refuse(point.item, UNMAPPABLE, why),
            }
        }
        let Some((first, _)) = held.first() else {
            return;
        };
        let nanos = now_if_zero(first.time());
        let places = &self.settings.metrics;
        // The same place was found before.
        if places
            .find(
                group.mode.naming(),
                &first.hints,
                &group.around,
                nanos,
                &mut self.other,
            )
            .is_err()
        {
            return;
        }
        let start = self.out.body.len();
        let route = &self.other;
        if group.mode == Mode::Otel {
            action(
                route,
                None,
                None,
                |out| metrics::templates(&held, out),
                &mut self.out.body,
            );
            let data_stream = |out: &mut Vec<u8>| otel::data_stream(route, out);
            metrics::otel(
                &held,
                data_stream,
                &self.around,
                &mut self.pairs,
                &mut self.out.body,
            );
        } else {
            action(route, None, None, |_| {}, &mut self.out.body);
            self.document.clear();
            plain::ecs_resource(group.resource, &mut self.document);
            self.document.add(b"", b"@timestamp", Item::Time(first.time()));
            for (key, value) in first.attributes() {
                self.document.attribute(b"", key, value);
            }
            plain::data_stream(Style::Ecs, route, &mut self.document);
            let mut doc_count = None;
            for (point, held) in &held {
                self.document.written(b"", point.name, |out| held.write(out));
                doc_count = point.doc_count().or(doc_count);
            }
            if let Some(count) = doc_count.filter(|count| *count > 0) {
                self.document
                    .written(b"", b"_doc_count", |out| json::unsigned(count, out));
            }
            Style::Ecs.write(&mut self.document, &mut self.pairs, &mut self.out.body);
            if self.document.is_overflowed() {
                self.out.body.truncate(start);
                let items = held.iter().map(|(point, _)| point.item);
                return items.for_each(|item| self.out.refuse(item, UNMAPPABLE, OVERFLOW));
            }
        }
        self.out.end_of(held.iter().map(|(point, _)| point.item));
    }
}

const LONG_ID: &str = "the document's id is longer than 512 bytes";
const OVERFLOW: &str = "the names of its fields are too long together";

/// A document's id.
#[derive(Clone, Copy)]
enum Id<'a> {
    /// By an attribute.
    Said(Value<'a>),
    /// Of the content, and the number of the document among those made of it.
    Made(&'a [u8], u32),
}

fn is_long(id: Value<'_>) -> bool {
    match id.as_str() {
        Some(text) => text.len() > ID_BYTES_MAX,
        None => {
            let mut text = Vec::new();
            id.as_string(&mut text);
            text.len() > ID_BYTES_MAX
        }
    }
}

/// The line before a document. Data streams take `create` alone.
fn action(
    route: &Route,
    id: Option<Id<'_>>,
    pipeline: Option<Value<'_>>,
    more: impl FnOnce(&mut Vec<u8>),
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"create\":{\"_index\":");
    quote(&route.index, out);
    let text = |name: &str, value: Value<'_>, out: &mut Vec<u8>| {
        plain_key(name, out);
        match value.as_str() {
            Some(text) => quote(text, out),
            None => {
                let mut text = Vec::new();
                value.as_string(&mut text);
                quote(&text, out);
            }
        }
    };
    match id {
        Some(Id::Said(value)) if value.as_str() != Some(b"") => text("_id", value, out),
        Some(Id::Made(digest, number)) => {
            plain_key("_id", out);
            json::hex(&digest[..digest.len().min(16)], out);
            if number > 0 {
                out.pop();
                out.push(b'-');
                json::unsigned(u64::from(number), out);
                out.push(b'"');
            }
        }
        _ => {}
    }
    if let Some(pipeline) = pipeline.filter(|value| value.as_str() != Some(b"")) {
        text("pipeline", pipeline, out);
    }
    more(out);
    out.extend_from_slice(b"}}\n");
}

/// The moment of a record for the name of its index: now, if it does not say.
fn now_if_zero(nanos: u64) -> u64 {
    if nanos != 0 {
        return nanos;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos() as u64)
}

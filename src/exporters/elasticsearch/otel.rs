//! Mapping mode `otel`: documents in the shape of OTLP, for data streams `{logs,traces,metrics}-*.otel-*`.
//!
//! What is the same for all records of a scope (`data_stream`, `resource`, `scope`) is written once and copied. Field
//! names and forms are those of the collector's exporter (v0.157).

use wire::field::LEN;
use wire::view::{Any, DEPTH_MAX, Value};

use super::fields::{Message, read_number};
use super::json::{self, Pairs, comma, id_field, number_field, plain_key, text_field};
use super::route::{Route, is_hint};

/// A log record's own fields, and its attributes but for what says where it goes.
#[derive(Clone, Copy, Default)]
pub(super) struct Log<'a> {
    pub(super) time: u64,
    pub(super) observed: u64,
    pub(super) severity: u64,
    pub(super) severity_text: &'a [u8],
    pub(super) body: Value<'a>,
    pub(super) dropped: u64,
    pub(super) flags: u64,
    pub(super) trace: &'a [u8],
    pub(super) span: &'a [u8],
    pub(super) event_name: &'a [u8],
}

impl<'a> Log<'a> {
    /// Reads a record in one walk; `attribute` is given each of its attributes.
    #[inline]
    pub(super) fn read(record: Message<'a>, mut attribute: impl FnMut(&'a [u8], Value<'a>)) -> Log<'a> {
        let mut log = Log::default();
        for (number, wire, value) in record.fields() {
            match (number, wire) {
                (6, LEN) => {
                    let (key, value) = Message(value).entry();
                    attribute(key, value);
                }
                (5, LEN) => log.body = Value::new(value),
                (3, LEN) => log.severity_text = value,
                (9, LEN) => log.trace = value,
                (10, LEN) => log.span = value,
                (12, LEN) => log.event_name = value,
                (1, _) => log.time = read_number(wire, value),
                (2, _) => log.severity = read_number(wire, value),
                (7, _) => log.dropped = read_number(wire, value),
                (8, _) => log.flags = read_number(wire, value),
                (11, _) => log.observed = read_number(wire, value),
                _ => {}
            }
        }
        log
    }

    /// When it happened, else when it was seen.
    pub(super) fn at(&self) -> u64 {
        if self.time == 0 { self.observed } else { self.time }
    }
}

/// `"data_stream":{...}`, if it is one.
pub(super) fn data_stream(route: &Route, out: &mut Vec<u8>) {
    if route.kind.is_empty() {
        return;
    }
    plain_key("data_stream", out);
    out.push(b'{');
    text_field("type", route.kind.as_bytes(), out);
    text_field("dataset", &route.dataset, out);
    text_field("namespace", &route.namespace, out);
    out.push(b'}');
}

/// `,"resource":{...},"scope":{...}` of a group of records. `as_text`: maps among the attributes are texts, since the
/// dimensions of metrics must be plain.
pub(super) fn around<'a>(
    resource: (Message<'a>, &[u8]),
    scope: (Message<'a>, &[u8]),
    as_text: bool,
    pairs: &mut Pairs<'a>,
    out: &mut Vec<u8>,
) {
    let ((resource, resource_schema), (scope, scope_schema)) = (resource, scope);
    out.extend_from_slice(b",\"resource\":{");
    text_field("schema_url", resource_schema, out);
    pairs.all.extend(resource.attributes(1).map(Some));
    attributes(as_text, pairs, out);
    number_field("dropped_attributes_count", resource.number(2), out);
    out.extend_from_slice(b"},\"scope\":{");
    text_field("schema_url", scope_schema, out);
    text_field("name", scope.sub(1).0, out);
    text_field("version", scope.sub(2).0, out);
    pairs.all.extend(scope.attributes(3).map(Some));
    attributes(as_text, pairs, out);
    number_field("dropped_attributes_count", scope.number(4), out);
    out.push(b'}');
}

/// `"attributes":{...}` of the pairs that were gathered, which are gone then.
pub(super) fn attributes<'a>(as_text: bool, pairs: &mut Pairs<'a>, out: &mut Vec<u8>) {
    let all = pairs.all.len();
    if all == 0 {
        return;
    }
    pairs.last_counts(0);
    plain_key("attributes", out);
    out.push(b'{');
    let (mut places, mut has_place) = (false, false);
    for at in 0..all {
        let Some((key, value)) = pairs.all[at] else {
            continue;
        };
        if is_hint(key) {
            continue;
        }
        if is_coordinate(key) && matches!(value.any(), Any::Double(_)) {
            places = true;
            continue;
        }
        has_place |= before(key, PLACE).is_some();
        json::key(key, out);
        match as_text {
            true => dimension(value, DEPTH_MAX, pairs, out),
            false => json::value(value, pairs, out),
        }
    }
    if places {
        geo_points(pairs, all, !has_place, out);
    }
    out.push(b'}');
    pairs.all.clear();
}

/// A value without maps: those are texts, in lists as well.
fn dimension<'a>(value: Value<'a>, depth: u32, pairs: &mut Pairs<'a>, out: &mut Vec<u8>) {
    match (value.any(), depth.checked_sub(1)) {
        (Any::Map(_), _) => text(value, pairs, out),
        (Any::List(values), Some(depth)) => {
            out.push(b'[');
            for value in values {
                comma(out);
                dimension(value, depth, pairs, out);
            }
            out.push(b']');
        }
        _ => json::value(value, pairs, out),
    }
}

/// A map as the text that Go makes of it.
fn text<'a>(value: Value<'a>, pairs: &mut Pairs<'a>, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    value.as_string(&mut text);
    if text.is_empty() {
        // Go makes nothing of what holds a number that JSON does not know.
        json::value(value, pairs, &mut text);
    }
    codec::otlp_json::quote(&text, out);
}

const PLACE: &[u8] = b"geo.location";
const LONGITUDE: &[u8] = b"geo.location.lon";
const LATITUDE: &[u8] = b"geo.location.lat";

#[inline]
fn is_coordinate(key: &[u8]) -> bool {
    before(key, LONGITUDE).or(before(key, LATITUDE)).is_some()
}

/// What stands before this name in a key: nothing, or something that ends with a dot.
#[inline]
fn before<'k>(key: &'k [u8], name: &[u8]) -> Option<&'k [u8]> {
    let prefix = key.strip_suffix(name)?;
    (prefix.is_empty() || prefix.ends_with(b".")).then_some(prefix)
}

/// Two coordinates that belong together are one point, if that `may_be`: its key would otherwise stand there twice. One
/// alone stays what it is.
#[cold]
fn geo_points<'a>(pairs: &Pairs<'a>, all: usize, may_be: bool, out: &mut Vec<u8>) {
    let double = |value: Value<'a>| match value.any() {
        Any::Double(number) => Some(number),
        _ => None,
    };
    let of = |name: &'static [u8]| {
        let pairs = pairs.all[..all].iter().flatten();
        pairs.filter_map(move |(key, value)| Some((before(key, name)?, *key, double(*value)?)))
    };
    let mut latitudes: Vec<(&[u8], &[u8], f64)> = of(LATITUDE).collect();
    latitudes.sort_unstable_by_key(|(prefix, ..)| *prefix);
    for (prefix, key, longitude) in of(LONGITUDE) {
        let found = latitudes.binary_search_by_key(&prefix, |(prefix, ..)| *prefix);
        match found {
            Ok(at) if may_be => {
                let (.., latitude) = latitudes.remove(at);
                json::key(&[prefix, PLACE].concat(), out);
                out.push(b'[');
                json::double(longitude, out);
                out.push(b',');
                json::double(latitude, out);
                out.push(b']');
            }
            _ => {
                json::key(key, out);
                json::double(longitude, out);
            }
        }
    }
    for (_, key, latitude) in latitudes {
        json::key(key, out);
        json::double(latitude, out);
    }
}

/// A log record, whose attributes are `pairs`; `around` is what its scope's records have in common.
pub(super) fn log<'a>(log: &Log<'a>, route: &Route, around: &[u8], pairs: &mut Pairs<'a>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"@timestamp\":");
    json::epoch_millis(log.at(), out);
    plain_key("observed_timestamp", out);
    json::epoch_millis(log.observed, out);
    data_stream(route, out);
    text_field("severity_text", log.severity_text, out);
    number_field("severity_number", log.severity, out);
    id_field("trace_id", log.trace, out);
    id_field("span_id", log.span, out);
    let mut event_name = log.event_name;
    if event_name.is_empty() {
        let mut found = pairs.all.iter().flatten();
        let found = found.find(|(key, _)| *key == b"event.name");
        event_name = found.and_then(|(_, value)| value.as_str()).unwrap_or_default();
    }
    attributes(false, pairs, out);
    number_field("dropped_attributes_count", log.dropped, out);
    text_field("event_name", event_name, out);
    out.extend_from_slice(around);
    body(log.body, pairs, out);
    out.push(b'}');
}

fn body<'a>(body: Value<'a>, pairs: &mut Pairs<'a>, out: &mut Vec<u8>) {
    let (before, after): (&str, &str) = match body.any() {
        Any::Empty => return,
        Any::Map(_) => ("{\"structured\":", "}"),
        Any::List(values) if values.into_iter().all(|value| matches!(value.any(), Any::Map(_))) => {
            ("{\"structured\":", "}")
        }
        // An array of other than objects has no place of its own.
        Any::List(_) => ("{\"structured\":{\"value\":", "}}"),
        _ => ("{\"text\":", "}"),
    };
    plain_key("body", out);
    out.extend_from_slice(before.as_bytes());
    json::value(body, pairs, out);
    out.extend_from_slice(after.as_bytes());
}

const KINDS: [&str; 6] = [
    "Unspecified",
    "Internal",
    "Server",
    "Client",
    "Producer",
    "Consumer",
];
/// A status that is not set has no code.
const CODES: [&str; 3] = ["", "Ok", "Error"];

fn name_of(number: u64, names: &[&'static str]) -> &'static str {
    names.get(number as usize).copied().unwrap_or_default()
}

/// A span without its events, which are documents of their own.
pub(super) fn span<'a>(
    span: Message<'a>,
    route: &Route,
    around: &[u8],
    pairs: &mut Pairs<'a>,
    out: &mut Vec<u8>,
) {
    let (start, end) = (span.number(7), span.number(8));
    out.extend_from_slice(b"{\"@timestamp\":");
    json::epoch_millis(start, out);
    data_stream(route, out);
    id_field("trace_id", span.sub(1).0, out);
    id_field("span_id", span.sub(2).0, out);
    text_field("trace_state", span.sub(3).0, out);
    id_field("parent_span_id", span.sub(4).0, out);
    text_field("name", span.sub(5).0, out);
    text_field("kind", name_of(span.number(6), &KINDS).as_bytes(), out);
    plain_key("duration", out);
    json::unsigned(end.saturating_sub(start), out);
    attributes(false, pairs, out);
    number_field("dropped_attributes_count", span.number(10), out);
    number_field("dropped_events_count", span.number(12), out);
    plain_key("links", out);
    out.push(b'[');
    for link in span.each(13) {
        comma(out);
        out.push(b'{');
        id_field("trace_id", link.sub(1).0, out);
        id_field("span_id", link.sub(2).0, out);
        text_field("trace_state", link.sub(3).0, out);
        pairs.all.extend(link.attributes(4).map(Some));
        attributes(false, pairs, out);
        number_field("dropped_attributes_count", link.number(5), out);
        out.push(b'}');
    }
    out.push(b']');
    number_field("dropped_links_count", span.number(14), out);
    let status = span.sub(15);
    out.extend_from_slice(b",\"status\":{");
    text_field("message", status.sub(2).0, out);
    text_field("code", name_of(status.number(3), &CODES).as_bytes(), out);
    out.push(b'}');
    out.extend_from_slice(around);
    out.push(b'}');
}

/// An event of the span with these ids.
pub(super) fn event<'a>(
    [trace_id, span_id]: [&[u8]; 2],
    event: Message<'a>,
    route: &Route,
    around: &[u8],
    pairs: &mut Pairs<'a>,
    out: &mut Vec<u8>,
) {
    let name = event.sub(2).0;
    out.extend_from_slice(b"{\"@timestamp\":");
    json::epoch_millis(event.number(1), out);
    data_stream(route, out);
    id_field("trace_id", trace_id, out);
    id_field("span_id", span_id, out);
    number_field("dropped_attributes_count", event.number(4), out);
    text_field("event_name", name, out);
    // Its name is an attribute, too, in place of one that it has.
    pairs.all.extend(event.attributes(3).map(Some));
    if name.is_empty() {
        attributes(false, pairs, out);
    } else {
        for pair in &mut pairs.all {
            pair.take_if(|(key, _)| *key == b"event.name");
        }
        let start = out.len();
        attributes(false, pairs, out);
        if out.len() == start {
            out.extend_from_slice(b",\"attributes\":{}");
        }
        out.pop();
        text_field("event.name", name, out);
        out.push(b'}');
    }
    out.extend_from_slice(around);
    out.push(b'}');
}

//! Splitting: one payload becomes pieces, one for each tenant and class that is in it.
//!
//! In: a payload and [`Rules`]. Out: pieces in order of first appearance, with the facts about their records. A payload
//! of one piece (nearly all are) keeps its bytes; of others, pieces are whole slices put together anew. A function of the
//! bytes and the rules alone: it gives the same pieces before a crash and after it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use component::prelude::*;
use evidence::names::OWN_TENANT;
use wire::field::Fields;
use wire::view::{Any, Depth, Kind, Scratch, View};
use wire::{NOWHERE, Part, divide};

use super::facts::{self, Facts};
use super::rules::{AUDIT, EVIDENCE, Needs, Rules, STD, Source};

/// What of a payload goes into one partition.
#[derive(Debug)]
pub(super) struct Piece {
    /// Place in [`Rules::classes`].
    pub(super) class: u16,
    pub(super) tenant: Arc<str>,
    /// Messages; each in the parts that it lies in.
    pub(super) messages: Vec<Vec<Bytes>>,
    pub(super) facts: Facts,
}

/// Names longer than this, escaped, are no names.
const TENANT_BYTES_MAX: usize = 128;
/// As many as labels can name; the last is for those of the default tenant, and of all that come when there are so many.
const PIECES_MAX: usize = NOWHERE as usize - 1;

/// Which number a class of a tenant has, in the order of the first of each.
#[derive(Default)]
struct Numbers {
    known: HashMap<(u16, Arc<str>), usize>,
    last: Option<(u16, Arc<str>, usize)>,
}

impl Numbers {
    /// Its number; a new one if it is the first.
    fn of(&mut self, class: u16, tenant: &Arc<str>) -> usize {
        if let Some((c, t, number)) = &self.last
            && *c == class
            && t == tenant
        {
            return *number;
        }
        let next = self.known.len();
        let number = *self.known.entry((class, tenant.clone())).or_insert(next);
        self.last = Some((class, tenant.clone(), number));
        number
    }
}

/// Splits a payload; `services`: whether the facts shall name them.
///
/// A payload without records gives one piece without records.
pub(super) fn split(rules: &Rules, payload: &Payload, services: bool) -> Vec<Piece> {
    let mut pieces = Pieces {
        signal: payload.signal,
        services,
        all: Vec::new(),
        numbers: Numbers::default(),
    };
    let needs = rules.class_needs(payload.signal);
    for chunk in &payload.chunks {
        if chunk.origin.tenant.as_deref() == Some(OWN_TENANT) {
            let class = match is_evidence(payload.signal, chunk) {
                true => EVIDENCE,
                false => AUDIT,
            };
            pieces.add(rules.own_class(class), OWN_TENANT.into(), chunk);
            continue;
        }
        let known = tenant_of_chunk(rules, chunk);
        let by = match (&known, needs) {
            _ if payload.signal == Signal::Profiles => Needs::Nothing,
            (_, Needs::Record) => Needs::Record,
            (Some(_), _) => Needs::Nothing,
            (None, _) if has_resource_source(rules) => Needs::Resource,
            (None, needs) => needs,
        };
        let divided = match by {
            Needs::Nothing => false,
            by => divided(rules, payload.signal, chunk, known.as_ref(), by, &mut pieces),
        };
        if !divided {
            let tenant = known.unwrap_or_else(|| rules.default_tenant().clone());
            let class = class_of(rules, payload.signal, &tenant, || 0, |_, _| false);
            pieces.add(class, tenant, chunk);
        }
    }
    for piece in &mut pieces.all {
        piece.tenant = rules.called(piece.tenant.clone());
    }
    pieces.all
}

fn has_resource_source(rules: &Rules) -> bool {
    let mut sources = rules.sources().iter();
    sources.any(|source| matches!(source, Source::Resource(_)))
}

/// The tenant of all that is in a chunk, if that can be known without looking at it.
fn tenant_of_chunk(rules: &Rules, chunk: &Chunk) -> Option<Arc<str>> {
    match rules.sources().first() {
        Some(Source::Processor) => chunk.origin.tenant.clone().filter(|name| is_name(name)),
        _ => None,
    }
}

/// Whether a chunk of the gateway's own is what its audit trail refers to: its scope says so.
fn is_evidence(signal: Signal, chunk: &Chunk) -> bool {
    const SCOPE: &[u8] = b"weir.evidence";
    let bytes = chunk.bytes();
    let mut scratch = Scratch::default();
    // Name of the scope.
    let is_it = |view: &View<'_>, n| view.kind(n) == Kind::Scope && view.text(n, 1) == SCOPE;
    View::new(&mut scratch, signal, &bytes, Depth::Scope)
        .is_ok_and(|view| view.nodes().any(|n| is_it(&view, n)))
}

/// Whether a text may be a tenant's name.
fn is_name(text: &str) -> bool {
    let escaped = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' => 1,
        _ => 3,
    };
    let len: usize = text.bytes().map(escaped).sum();
    (1..=TENANT_BYTES_MAX).contains(&len) && text != OWN_TENANT
}

/// Divides a chunk by what its resources and records say; false if it cannot be seen.
fn divided(
    rules: &Rules,
    signal: Signal,
    chunk: &Chunk,
    known: Option<&Arc<str>>,
    by: Needs,
    pieces: &mut Pieces,
) -> bool {
    let mut chunk = chunk.clone();
    let original = chunk.shape.non_canonical.then(|| chunk.clone());
    if chunk.make_canonical(signal).is_err() {
        return false;
    }
    let bytes = chunk.bytes();
    let mut scratch = Scratch::default();
    let (part, depth) = match by {
        Needs::Record => (Part::Item, Depth::Record),
        _ => (Part::Resource, Depth::Resource),
    };
    let Ok(view) = View::new(&mut scratch, signal, &bytes, depth) else {
        return false;
    };
    let mut kinds: Vec<(u16, Arc<str>)> = Vec::new();
    let mut numbers = Numbers::default();
    let mut labels = Vec::new();
    let mut tenant = known.cloned();
    let mut resource = 0;
    for n in view.nodes() {
        let kind = view.kind(n);
        if kind == Kind::Resource {
            resource = n;
            if known.is_none() {
                tenant = Some(tenant_of_resource(rules, &chunk, &view, n));
            }
        }
        if !part.is(kind) {
            continue;
        }
        let tenant = tenant.as_ref().unwrap_or_else(|| rules.default_tenant());
        let severity = || match by {
            // `severity_number` of a log record.
            Needs::Record => view.number(n, 2).map_or(0, |number| number as u32),
            _ => 0,
        };
        let has = |key: &str, text: &str| {
            let own = view
                .get(n, key.as_bytes())
                .or_else(|| view.get(resource, key.as_bytes()));
            own.is_some_and(|value| value.as_str() == Some(text.as_bytes()))
        };
        let class = class_of(rules, signal, tenant, severity, has);
        let label = numbers.of(class, tenant);
        if label == kinds.len() && label < PIECES_MAX {
            kinds.push((class, tenant.clone()));
        }
        labels.push(label.min(PIECES_MAX) as u16);
    }
    match kinds.as_slice() {
        [] => false,
        [(class, tenant)] => {
            // All of one kind: the bytes as they came.
            pieces.add(*class, tenant.clone(), original.as_ref().unwrap_or(&chunk));
            true
        }
        kinds => {
            let others = (rules.own_class(STD), rules.default_tenant().clone());
            for (label, piece) in divide(signal, &chunk, part, &labels) {
                let (class, tenant) = kinds.get(usize::from(label)).unwrap_or(&others);
                pieces.add(*class, tenant.clone(), &piece);
            }
            true
        }
    }
}

fn tenant_of_resource(rules: &Rules, chunk: &Chunk, view: &View<'_>, resource: u32) -> Arc<str> {
    let named = rules.sources().iter().find_map(|source| match source {
        Source::Processor => chunk.origin.tenant.clone().filter(|name| is_name(name)),
        Source::Resource(key) => {
            let value = view.get(resource, key.as_bytes())?;
            let text = match value.any() {
                Any::Str(text) => std::str::from_utf8(text).ok()?.to_owned(),
                Any::Int(number) => number.to_string(),
                _ => return None,
            };
            is_name(&text).then(|| text.into())
        }
    });
    named.unwrap_or_else(|| rules.default_tenant().clone())
}

fn class_of(
    rules: &Rules,
    signal: Signal,
    tenant: &str,
    severity: impl Fn() -> u32,
    has: impl Fn(&str, &str) -> bool,
) -> u16 {
    let classes = rules.classes();
    let first = classes
        .iter()
        .position(|class| class.matches().holds(signal, tenant, &severity, &has));
    // The class of all others is among them.
    first.unwrap_or_default() as u16
}

struct Pieces {
    signal: Signal,
    services: bool,
    all: Vec<Piece>,
    numbers: Numbers,
}

impl Pieces {
    fn add(&mut self, class: u16, tenant: Arc<str>, chunk: &Chunk) {
        let at = self.numbers.of(class, &tenant);
        if at == self.all.len() {
            self.all.push(Piece {
                class,
                tenant,
                messages: Vec::new(),
                facts: Facts::default(),
            });
        }
        let piece = &mut self.all[at];
        piece.facts.items += u64::from(chunk.shape.items);
        if chunk.is_empty() {
            return;
        }
        let (signal, services, once) = (self.signal, self.services, !chunk.shape.non_canonical);
        // Parts are put together only where a group begins in one and ends in another.
        match chunk.parts() {
            parts if parts.iter().all(is_whole) => {
                let all = parts.iter();
                all.for_each(|part| facts::add(&mut piece.facts, signal, part, services, once));
            }
            _ => facts::add(&mut piece.facts, signal, &chunk.bytes(), services, once),
        }
        piece.messages.push(chunk.parts().to_vec());
    }
}

/// Whether these bytes are fields, and nothing beside them.
fn is_whole(part: &Bytes) -> bool {
    Fields::new(part, 0).all(|field| field.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archiver::config::Config;
    use component::test_kit::section;
    use wire::test_kit::{Request, Rng};

    fn rules(yaml: &str) -> Rules {
        let yaml = format!("archive: a\nstate_dir: /x\nstore: {{file: {{path: /a}}}}\n{yaml}");
        let config: Config = section(&yaml)
            .parse_valid()
            .unwrap_or_else(|faults| panic!("{faults}"));
        Rules::new(&config)
    }

    /// One resource with its tenant, and one record a severity; no tenant if that is empty.
    fn logs(resources: &[(&str, &[i32])]) -> Payload {
        use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
        use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
        use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
        use opentelemetry_proto::tonic::resource::v1::Resource;
        use prost::Message;
        let attribute = |key: &str, text: &str| KeyValue {
            key: key.into(),
            value: Some(AnyValue {
                value: Some(Value::StringValue(text.into())),
            }),
            ..KeyValue::default()
        };
        let resource = |(tenant, severities): &(&str, &[i32])| {
            let attributes = match *tenant {
                "" => vec![attribute("service.name", "s")],
                tenant => vec![attribute("service.name", "s"), attribute("tenant.id", tenant)],
            };
            let records = severities.iter().map(|severity| LogRecord {
                severity_number: *severity,
                time_unix_nano: 1000 + *severity as u64,
                attributes: vec![attribute("level", &severity.to_string())],
                ..LogRecord::default()
            });
            ResourceLogs {
                resource: Some(Resource {
                    attributes,
                    ..Resource::default()
                }),
                scope_logs: vec![ScopeLogs {
                    log_records: records.collect(),
                    ..ScopeLogs::default()
                }],
                ..ResourceLogs::default()
            }
        };
        let request = ExportLogsServiceRequest {
            resource_logs: resources.iter().map(resource).collect(),
        };
        payload(Signal::Logs, request.encode_to_vec())
    }

    fn payload(signal: Signal, bytes: Vec<u8>) -> Payload {
        let shape = wire::validate(signal, &bytes, &wire::Limits::default()).expect("it is valid");
        Payload::new(signal, Chunk::new(bytes.into(), shape), Arc::default())
    }

    fn sketch(pieces: &[Piece]) -> Vec<(u16, String, u64)> {
        let of = |piece: &Piece| (piece.class, piece.tenant.to_string(), piece.facts.items);
        pieces.iter().map(of).collect()
    }

    #[track_caller]
    fn check(yaml: &str, payload: &Payload, expected: &[(u16, &str, u64)]) {
        let rules = rules(yaml);
        let pieces = split(&rules, payload, true);
        let expected: Vec<_> = expected
            .iter()
            .map(|(c, t, n)| (*c, (*t).to_owned(), *n))
            .collect();
        assert_eq!(sketch(&pieces), expected);
        // The same again, from what its text says.
        let again = Rules::parse(&rules.text()).expect("it reads back");
        assert_eq!(sketch(&split(&again, payload, true)), expected);
        for piece in &pieces {
            let bytes = piece.messages.concat().concat();
            assert_eq!(
                u64::from(wire::count_items(payload.signal, &bytes)),
                piece.facts.items
            );
        }
    }

    #[test]
    fn records_are_split_by_tenant_and_class_in_order_of_appearance() {
        let two = logs(&[("b", &[1, 2]), ("a", &[17]), ("b", &[9])]);
        check("", &two, &[(0, "b", 3), (0, "a", 1)]);
        check("tenant: {from: []}", &two, &[(0, "default", 4)]);
        check(
            "tenant: {from: [context:tenant], default: x}",
            &two,
            &[(0, "x", 4)],
        );
        check("tenant: {from: ['resource:no.such']}", &two, &[(0, "default", 4)]);
        let severe = "lock: {classes: [{name: sev, match: {severity_number: '>=17'}}]}";
        check(severe, &two, &[(1, "b", 3), (0, "a", 1)]);
        check(
            severe,
            &logs(&[("a", &[1, 17, 2, 24])]),
            &[(1, "a", 2), (0, "a", 2)],
        );
        check(severe, &logs(&[("a", &[17, 18])]), &[(0, "a", 2)]);
        let first =
            "lock: {classes: [{name: p, match: {tenant: [a]}}, {name: q, match: {severity_number: '>=1'}}]}";
        check(first, &two, &[(1, "b", 3), (0, "a", 1)]);
        let attribute = "lock: {classes: [{name: p, match: {attribute: {level: '2'}}}]}";
        check(attribute, &two, &[(1, "b", 2), (0, "b", 1), (1, "a", 1)]);
        let resource = "lock: {classes: [{name: p, match: {attribute: {tenant.id: a}}}]}";
        check(resource, &two, &[(1, "b", 3), (0, "a", 1)]);
        let traces = "lock: {classes: [{name: p, match: {signal: [traces]}}]}";
        check(traces, &two, &[(1, "b", 3), (1, "a", 1)]);
        check("", &logs(&[]), &[(0, "default", 0)]);
        check("", &logs(&[("a", &[])]), &[(0, "a", 0)]);
    }

    #[test]
    fn what_the_tenant_processor_said_comes_first_where_it_is_named_first() {
        let mut named = logs(&[("b", &[1]), ("a", &[2])]);
        named.chunks[0].origin.tenant = Some("t".into());
        check("", &named, &[(0, "t", 2)]);
        check(
            "tenant: {from: ['resource:tenant.id', 'context:tenant']}",
            &named,
            &[(0, "b", 1), (0, "a", 1)],
        );
        let mut half = logs(&[("b", &[1]), ("", &[2])]);
        half.chunks[0].origin.tenant = Some("t".into());
        check(
            "tenant: {from: ['resource:tenant.id', 'context:tenant']}",
            &half,
            &[(0, "b", 1), (0, "t", 1)],
        );
    }

    #[test]
    fn the_gateways_own_records_are_of_their_own_classes_whatever_the_rules_say() {
        use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
        use prost::Message;
        let own = |scope: &str| {
            let mut own = logs(&[("a", &[17])]);
            let bytes = own.chunks[0].bytes();
            let mut request = ExportLogsServiceRequest::decode(&*bytes).expect("it is one");
            request.resource_logs[0].scope_logs[0].scope =
                Some(opentelemetry_proto::tonic::common::v1::InstrumentationScope {
                    name: scope.into(),
                    ..Default::default()
                });
            own = payload(Signal::Logs, request.encode_to_vec());
            own.chunks[0].origin.tenant = Some("_weir".into());
            own
        };
        let greedy = "tenant: {from: ['resource:tenant.id']}\nlock: {retention: 30d, classes: [{name: all, match: {signal: [logs]}}]}";
        check(greedy, &own("weir.audit"), &[(2, "_weir", 1)]);
        check(greedy, &own("weir.evidence"), &[(3, "_weir", 1)]);
        check("", &own("weir.audit"), &[(1, "_weir", 1)]);
        let rules = rules(greedy);
        let names: Vec<_> = rules.classes().iter().map(|c| (&*c.name, c.retention)).collect();
        let days = crate::archiver::units::Retention::days;
        assert_eq!(
            names,
            [
                ("all", days(30)),
                ("std", days(30)),
                ("audit", days(60)),
                ("evidence", days(60))
            ]
        );
        assert_eq!(rules.own_class("audit"), 2);
        let older = rules.text().replace("\"audit\"", "\"other\"");
        assert_eq!(Rules::parse(&older).expect("it reads back").own_class("audit"), 1);
    }

    #[test]
    fn hostile_names_are_no_names() {
        let long = "x".repeat(129);
        let escapes = "/".repeat(43);
        for hostile in [
            "_weir",
            long.as_str(),
            escapes.as_str(),
            "\u{e9}\u{e9}".repeat(11).as_str(),
        ] {
            check("", &logs(&[(hostile, &[1])]), &[(0, "default", 1)]);
        }
        for odd in ["..", "a/b=c", "é", &"x".repeat(128), &"/".repeat(42)] {
            check("", &logs(&[(odd, &[1])]), &[(0, odd, 1)]);
        }
    }

    #[test]
    fn one_piece_keeps_its_bytes() {
        let severe = "lock: {classes: [{name: sev, match: {severity_number: '>=17'}}]}";
        for yaml in ["", severe] {
            let payload = logs(&[("a", &[1, 2]), ("a", &[3])]);
            let pieces = split(&rules(yaml), &payload, true);
            let [piece] = pieces.as_slice() else {
                panic!("one piece");
            };
            assert_eq!(piece.messages[0][0].as_ptr(), payload.chunks[0].bytes().as_ptr());
            assert_eq!(piece.facts.services, [Bytes::from_static(b"s")]);
            assert_eq!(piece.facts.event_ns, Some((1001, 1003)));
        }
    }

    #[test]
    fn no_record_is_lost_or_doubled_whatever_the_rules() {
        let mut rng = Rng(11);
        let rules = rules(concat!(
            "tenant: {from: ['resource:key']}\n",
            "lock: {classes: [{name: a, match: {severity_number: '>=9'}}, {name: b, match: {attribute: {a: b}}}, ",
            "{name: c, match: {signal: [metrics]}}]}",
        ));
        for _ in 0..300 {
            let signal = *rng.pick(&[Signal::Logs, Signal::Traces, Signal::Metrics]);
            let payload = payload(signal, Request::random(signal, &mut rng).encode());
            let pieces = split(&rules, &payload, true);
            let items: u64 = pieces.iter().map(|piece| piece.facts.items).sum();
            assert_eq!(items, payload.items as u64);
            for piece in &pieces {
                let bytes = piece.messages.concat().concat();
                assert_eq!(u64::from(wire::count_items(signal, &bytes)), piece.facts.items);
            }
            let again = split(&rules, &payload, true);
            assert_eq!(sketch(&again), sketch(&pieces));
        }
    }
}

//! Ways around redaction, one row each: a planted secret must be nowhere in what leaves.
//!
//! The rows of the last test are facts too: where the collector's redaction does not look, ours does not either, and a user
//! has to know. A row moves from there to the others when that changes.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::Message as _;
use wire::field::write_header;

use super::tests::redaction;
use super::*;
use crate::test_kit::{map, run, run_all};

const SECRET: &str = "tok-hidden";
const VALUES: &str = "{allow_all_keys: true, blocked_values: ['tok-[a-z]+']}";
const ALL_TYPES: &str =
    "{allow_all_keys: true, blocked_values: ['tok-[a-z]+', '4111\\d{12}'], redact_all_types: true}";
const KEYS: &str = "{allow_all_keys: true, blocked_key_patterns: ['^pass']}";
const ALLOWED: &str = "{allowed_keys: [ok, plain]}";
const SUMMARY: &str = "{allow_all_keys: true, blocked_values: ['tok-[a-z]+'], summary: debug}";

// --- Bytes by hand: what no well-behaved encoder makes ---

fn len(number: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(number, content.as_ref().len(), &mut out);
    out.extend_from_slice(content.as_ref());
    out
}

/// The same, with tag and length in the longest form.
fn long_len(number: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let tag = u64::from(number) << 3 | 2;
    let mut out = Vec::new();
    for (value, bytes) in [(tag, 5), (content.len() as u64, 5)] {
        for i in 0..bytes {
            let more = if i + 1 < bytes { 0x80 } else { 0 };
            out.push((value >> (7 * i)) as u8 & 0x7F | more);
        }
    }
    out.extend_from_slice(content);
    out
}

fn text(value: impl AsRef<[u8]>) -> Vec<u8> {
    len(1, value)
}

fn entry(key: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    [len(1, key), len(2, value)].concat()
}

/// A request of one log record with these fields.
fn record(fields: impl AsRef<[u8]>) -> Vec<u8> {
    len(1, len(2, len(2, fields)))
}

fn attribute(key: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    record(len(6, entry(key, value)))
}

fn body(value: impl AsRef<[u8]>) -> Vec<u8> {
    record(len(5, value))
}

fn int(value: u64) -> Vec<u8> {
    let mut out = vec![3 << 3];
    wire::varint::write(value, &mut out);
    out
}

fn traces(span: Span) -> Vec<u8> {
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: vec![span],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    request.encode_to_vec()
}

fn secret_map() -> Vec<opentelemetry_proto::tonic::common::v1::KeyValue> {
    map(&format!("{{plain: p, k: {SECRET}}}"))
}

struct Row {
    way: &'static str,
    rules: &'static str,
    signal: Signal,
    bytes: Vec<u8>,
}

fn logs_row(way: &'static str, rules: &'static str, bytes: Vec<u8>) -> Row {
    Row {
        way,
        rules,
        signal: Signal::Logs,
        bytes,
    }
}

fn rows() -> Vec<Row> {
    let s = || text(SECRET);
    let repeated_in_any = [s(), text("harmless")].concat();
    let hidden_behind = [text("harmless"), s()].concat();
    let nested = (0..30).fold(s(), |inner, _| len(5, len(1, inner)));
    let mut broken = vec![0xFF];
    broken.extend_from_slice(SECRET.as_bytes());
    broken.extend_from_slice(&[0xC3, 0xFF]);
    let split_map = [
        len(6, entry("a", text("x"))),
        len(3, "INFO"),
        len(6, entry("b", s())),
        len(5, text("body")),
        len(6, entry("c", s())),
    ]
    .concat();
    let many: Vec<u8> = (0..300)
        .flat_map(|i| len(6, entry(&format!("key{i}"), text(format!("@@@@ {SECRET}")))))
        .collect();
    vec![
        logs_row("plain value", VALUES, attribute("k", s())),
        logs_row("plain body", VALUES, body(s())),
        logs_row("with a summary", SUMMARY, attribute("k", s())),
        logs_row(
            "repeated body, the last is harmless",
            VALUES,
            record([len(5, s()), len(5, text("x"))].concat()),
        ),
        logs_row(
            "repeated body, the last is the secret",
            VALUES,
            record([len(5, text("x")), len(5, s())].concat()),
        ),
        logs_row(
            "value set twice, the last is harmless",
            VALUES,
            attribute("k", repeated_in_any),
        ),
        logs_row(
            "value set twice, the last is the secret",
            VALUES,
            attribute("k", hidden_behind),
        ),
        logs_row(
            "value repeated in its entry",
            VALUES,
            record(len(6, [len(1, "k"), len(2, s()), len(2, text("x"))].concat())),
        ),
        logs_row(
            "key repeated: a blocked one first",
            KEYS,
            record(len(6, [len(1, "x"), len(1, "password"), len(2, s())].concat())),
        ),
        logs_row(
            "resource repeated",
            VALUES,
            len(
                1,
                [
                    len(1, len(1, entry("a", s()))),
                    len(1, len(1, entry("b", s()))),
                    len(2, len(2, len(5, text("x")))),
                ]
                .concat(),
            ),
        ),
        logs_row(
            "scope repeated",
            VALUES,
            len(
                1,
                len(
                    2,
                    [len(1, len(3, entry("a", s()))), len(1, len(3, entry("b", s())))].concat(),
                ),
            ),
        ),
        logs_row(
            "deprecated field 1000",
            VALUES,
            len(1, len(1000, len(2, len(5, s())))),
        ),
        logs_row(
            "unknown field of a record",
            VALUES,
            record([len(5, text("x")), len(999, SECRET)].concat()),
        ),
        logs_row(
            "unknown field of a value",
            VALUES,
            attribute("k", [text("x"), len(99, SECRET)].concat()),
        ),
        logs_row(
            "unknown field of an entry",
            VALUES,
            record(len(6, [entry("k", text("x")), len(77, SECRET)].concat())),
        ),
        logs_row(
            "unknown field of the request",
            VALUES,
            [body(text("x")), len(5, SECRET)].concat(),
        ),
        logs_row("unknown field of a group", VALUES, len(1, len(500, SECRET))),
        logs_row(
            "unknown group",
            VALUES,
            [vec![0x7B], len(1, SECRET), vec![0x7C]].concat(),
        ),
        logs_row(
            "value before its key",
            VALUES,
            record(len(6, [len(2, s()), len(1, "k")].concat())),
        ),
        logs_row(
            "value before a blocked key",
            KEYS,
            record(len(6, [len(2, s()), len(1, "password")].concat())),
        ),
        logs_row("no key at all", VALUES, record(len(6, len(2, s())))),
        logs_row(
            "numbers in long form",
            VALUES,
            long_len(
                1,
                long_len(
                    2,
                    long_len(
                        2,
                        long_len(6, [long_len(1, "k"), long_len(2, long_len(1, SECRET))].concat()),
                    ),
                ),
            ),
        ),
        logs_row(
            "numbers in long form, blocked key",
            KEYS,
            record(long_len(
                6,
                [long_len(1, "password"), long_len(2, long_len(1, SECRET))].concat(),
            )),
        ),
        logs_row(
            "the same key twice",
            VALUES,
            record([len(6, entry("k", text("x"))), len(6, entry("k", s()))].concat()),
        ),
        logs_row(
            "the same denied key twice",
            ALLOWED,
            record(
                [
                    len(6, entry("k", s())),
                    len(6, entry("ok", text("x"))),
                    len(6, entry("k", s())),
                ]
                .concat(),
            ),
        ),
        logs_row(
            "attributes here and there in the record",
            VALUES,
            record(split_map),
        ),
        logs_row("a map of hundreds", VALUES, record(many)),
        logs_row(
            "broken bytes beside it",
            VALUES,
            attribute("k", text(broken.clone())),
        ),
        logs_row("broken bytes beside it, in the body", VALUES, body(text(broken))),
        logs_row(
            "broken bytes within what is matched",
            "{allow_all_keys: true, blocked_values: ['user=.*']}",
            attribute("k", text([&b"user=\xff\xfe "[..], SECRET.as_bytes()].concat())),
        ),
        logs_row(
            "JSON in a string",
            VALUES,
            attribute("k", text(format!(r#"{{"a":"{SECRET}"}}"#))),
        ),
        logs_row("a list in the body", VALUES, body(len(5, len(1, s())))),
        logs_row("a map in the body", VALUES, body(len(6, len(1, entry("k", s()))))),
        logs_row("thirty lists in the body", VALUES, body(nested)),
        logs_row(
            "a blocked key deep in the body",
            KEYS,
            body(len(6, len(1, entry("a", len(6, len(1, entry("password", s()))))))),
        ),
        logs_row(
            "a key that is not allowed deep in the body",
            ALLOWED,
            body(len(6, len(1, entry("ok", len(6, len(1, entry("k", s()))))))),
        ),
        logs_row(
            "a map under a blocked key",
            KEYS,
            attribute("password", len(6, len(1, entry("k", s())))),
        ),
        logs_row(
            "bytes under a blocked key",
            KEYS,
            attribute("password", len(7, SECRET)),
        ),
        logs_row(
            "a map, all types",
            ALL_TYPES,
            attribute("k", len(6, len(1, entry("k", s())))),
        ),
        logs_row(
            "a list, all types",
            ALL_TYPES,
            attribute("k", len(5, len(1, s()))),
        ),
        logs_row(
            "several in one value",
            VALUES,
            attribute("k", text(format!("{SECRET},{SECRET} {SECRET}"))),
        ),
        logs_row("at the very end", VALUES, [body(text("x")), body(s())].concat()),
        Row {
            way: "resource, scope, span and event",
            rules: VALUES,
            signal: Signal::Traces,
            bytes: ExportTraceServiceRequest {
                resource_spans: vec![ResourceSpans {
                    resource: Some(Resource {
                        attributes: secret_map(),
                        ..Default::default()
                    }),
                    scope_spans: vec![ScopeSpans {
                        scope: Some(InstrumentationScope {
                            attributes: secret_map(),
                            ..Default::default()
                        }),
                        spans: vec![Span {
                            attributes: secret_map(),
                            events: vec![span::Event {
                                attributes: secret_map(),
                                ..Default::default()
                            }],
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
            }
            .encode_to_vec(),
        },
        Row {
            way: "deprecated field 1000, in traces",
            rules: VALUES,
            signal: Signal::Traces,
            bytes: len(
                1,
                len(
                    1000,
                    [len(1, len(1, "name")), len(2, len(9, entry("k", s())))].concat(),
                ),
            ),
        },
    ]
}

fn is_leaked(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"hidden").is_some()
}

#[test]
fn no_way_around() {
    for row in rows() {
        assert!(is_leaked(&row.bytes), "{}: the row plants nothing", row.way);
        let out = run(&redaction(row.rules, row.signal), row.signal, &row.bytes);
        assert!(!is_leaked(&out), "{}: {}", row.way, out.escape_ascii());
    }
}

#[test]
fn numbers_are_no_way_around() {
    let card = 4111_1111_1111_1111u64;
    for (way, bytes) in [
        ("attribute", attribute("k", int(card))),
        ("body", body(int(card))),
        (
            "set twice, text first",
            attribute("k", [text("a"), int(card)].concat()),
        ),
        ("in a list", attribute("k", len(5, len(1, int(card))))),
    ] {
        let out = run(&redaction(ALL_TYPES, Signal::Logs), Signal::Logs, &bytes);
        let mut encoded = Vec::new();
        wire::varint::write(card, &mut encoded);
        assert!(memchr::memmem::find(&bytes, &encoded).is_some(), "{way}");
        assert!(memchr::memmem::find(&out, &encoded).is_none(), "{way}");
    }
}

#[test]
fn what_an_earlier_stage_wrote_is_no_way_around() {
    let stage = |yaml: &str| {
        let section = Section::from_yaml(yaml).unwrap();
        let cx = build_context();
        match (crate::attributes::FACTORY.build)(section, &cx, Signal::Logs).unwrap() {
            Processor::Tree(tree) => tree,
            _ => panic!("a tree"),
        }
    };
    let context = Context {
        metadata: vec![("token".into(), vec![SECRET.into()])],
        ..Context::default()
    };
    let input = attribute("source", text("user tok;hidden"));
    for actions in [
        format!("{{actions: [{{key: k, value: {SECRET}, action: insert}}]}}"),
        format!("{{actions: [{{key: source, value: {SECRET}, action: update}}]}}"),
        format!(
            "{{actions: [{{key: source, value: [{SECRET}], action: update}}, {{key: source, converted_type: string, action: convert}}]}}"
        ),
        "{actions: [{key: k, from_context: metadata.token, action: upsert}]}".to_owned(),
        format!(
            "{{actions: [{{key: k, value: 'x-{SECRET}', action: upsert}}, {{key: k, pattern: '^x-(?P<source>.*)$', action: extract}}, {{key: k, action: delete}}]}}"
        ),
        format!(
            "{{actions: [{{key: a, value: {SECRET}, action: upsert}}, {{key: b, from_attribute: a, action: upsert}}]}}"
        ),
    ] {
        let first = stage(&actions);
        for rules in [VALUES, ALL_TYPES, SUMMARY] {
            let second = redaction(rules, Signal::Logs);
            let between = run_all(&[&*first], Signal::Logs, &input, &context).unwrap();
            assert!(
                memchr::memmem::find(&between, SECRET.as_bytes()).is_some(),
                "{actions}"
            );
            let out = run_all(&[&*first, &second], Signal::Logs, &input, &context).unwrap();
            assert!(
                memchr::memmem::find(&out, SECRET.as_bytes()).is_none(),
                "{actions} {rules}"
            );
        }
    }
}

/// Ways to hide from detectors: none of these may leave.
#[test]
fn no_way_around_detectors() {
    const DETECT: &str =
        "{allow_all_keys: true, detect: {rules: [{find: [card, email, bearer, private_key]}]}}";
    const DIGITS: &str = "4111111111111111";
    let entry_of = |value: Vec<u8>| record(len(6, entry("k", value)));
    let list = |value: Vec<u8>| len(5, len(1, value));
    let nested = (0..60).fold(text(DIGITS), |inner, i| match i % 2 {
        0 => len(5, len(1, inner)),
        _ => len(6, len(1, entry("k", inner))),
    });
    let twice_escaped = DIGITS.replace('4', r"\\u0034");
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("plain", entry_of(text(DIGITS))),
        ("spaces", entry_of(text("4111 1111 1111 1111"))),
        ("hyphens", entry_of(text("4111-1111-1111-1111"))),
        (
            "no-break spaces",
            entry_of(text("4111\u{a0}1111\u{a0}1111\u{a0}1111")),
        ),
        (
            "typographic hyphens",
            entry_of(text("4111\u{2011}1111\u{2011}1111\u{2011}1111")),
        ),
        (
            "full-width digits",
            entry_of(text("４１１１１１１１１１１１１１１１")),
        ),
        ("Arabic digits", entry_of(text("٤١١١١١١١١١١١١١١١"))),
        (
            "digits of several kinds",
            entry_of(text("4１11١111111111\u{200b}11")),
        ),
        (
            "zero-width spaces",
            entry_of(text(
                "4\u{200b}1\u{200b}1\u{200b}1\u{200b}1\u{200b}1\u{200b}1\u{200b}1\u{200b}1\u{200b}1\u{200b}1\u{200b}1\u{200b}1\u{200b}1\u{200b}1\u{200b}1",
            )),
        ),
        (
            "soft hyphens",
            entry_of(text("4111\u{ad}1111\u{ad}1111\u{ad}1111")),
        ),
        (
            "escapes of JSON",
            entry_of(text(r#"{"a":"\u0034\u0031\u0031\u0031111111111111"}"#)),
        ),
        ("escapes of JSON, escaped", entry_of(text(twice_escaped))),
        (
            "behind an escaped line break",
            entry_of(text(r#"{"a":"x\n4111111111111111"}"#)),
        ),
        (
            "JSON in JSON in JSON",
            entry_of(text(r#""{\"a\":\"{\\\"b\\\":\\\"4111111111111111\\\"}\"}""#)),
        ),
        ("a list", entry_of(list(text(DIGITS)))),
        ("a list in the body", body(list(text(DIGITS)))),
        ("sixty levels", entry_of(nested.clone())),
        ("sixty levels in the body", body(nested)),
        ("bytes", entry_of(len(7, DIGITS))),
        ("bytes in the body", body(len(7, DIGITS))),
        ("severity", record(len(3, DIGITS))),
        ("event name", record(len(12, DIGITS))),
        (
            "scope name",
            len(
                1,
                len(2, [len(1, len(1, DIGITS)), len(2, len(5, text("x")))].concat()),
            ),
        ),
        (
            "value set twice",
            entry_of([text("harmless"), text(DIGITS)].concat()),
        ),
        (
            "value before its key",
            record(len(6, [len(2, text(DIGITS)), len(1, "k")].concat())),
        ),
        (
            "unknown field",
            record([len(5, text("x")), len(999, DIGITS)].concat()),
        ),
        (
            "numbers in long form",
            long_len(
                1,
                long_len(
                    2,
                    long_len(
                        2,
                        long_len(6, [long_len(1, "k"), long_len(2, long_len(1, DIGITS))].concat()),
                    ),
                ),
            ),
        ),
        (
            "next to the mask",
            entry_of(text("**** 4111111111111111****4111111111111111")),
        ),
        (
            "next to another finding",
            entry_of(text("a@b.co 4111111111111111,a@b.co")),
        ),
        (
            "broken bytes beside it",
            entry_of(text(
                [b"\xff\xc3".as_slice(), DIGITS.as_bytes(), b"\xe2\x80"].concat(),
            )),
        ),
        ("in a URL", entry_of(text("https://x/?c=4111111111111111&d"))),
        (
            "in a very long text",
            entry_of(text(format!(
                "{}{DIGITS} {}",
                "x ".repeat(5000),
                "1 ".repeat(5000)
            ))),
        ),
    ];
    // Ten ones in a row, whatever stands for them, but for what no reader sees.
    let has_digits = |bytes: &[u8]| {
        let seen = String::from_utf8_lossy(bytes).replace("\\u0031", "1");
        let kept = seen.chars().filter_map(|c| match c {
            '1' | '１' | '١' => Some('1'),
            c => c.is_ascii_alphabetic().then_some(c),
        });
        kept.collect::<String>().contains("1111111111")
    };
    for (way, bytes) in rows {
        if way != "in a very long text" {
            assert!(has_digits(&bytes), "{way}: the row plants nothing");
            let out = run(&redaction(DETECT, Signal::Logs), Signal::Logs, &bytes);
            assert!(!has_digits(&out), "{way}: {}", out.escape_ascii());
        } else {
            let out = run(&redaction(DETECT, Signal::Logs), Signal::Logs, &bytes);
            assert!(memchr::memmem::find(&out, DIGITS.as_bytes()).is_none(), "{way}");
        }
    }
}

/// What detectors do not see is known too.
#[test]
fn the_gaps_of_detectors_are_known() {
    const DETECT: &str = "{allow_all_keys: true, detect: {rules: [{find: [card, email]}]}}";
    let list = [len(1, text("4111 1111")), len(1, text("1111 1111"))].concat();
    for (gap, bytes) in [
        (
            "what is split over elements is not put together",
            attribute("k", len(5, list)),
        ),
        (
            "numbers are not looked at",
            attribute("card", int(4111_1111_1111_1111)),
        ),
        (
            "base64 is not read",
            attribute("k", text("NDExMTExMTExMTExMTExMQ==")),
        ),
        (
            "percent signs are not resolved",
            attribute("k", text("4111%201111%201111%201111")),
        ),
        ("keys are not searched", attribute("4111111111111111", text("x"))),
        (
            "schema URLs are not looked at",
            len(1, [len(2, len(2, len(5, text("x")))), len(3, "a@b.co")].concat()),
        ),
        ("words are not numbers", attribute("k", text("four one one one"))),
    ] {
        let out = run(&redaction(DETECT, Signal::Logs), Signal::Logs, &bytes);
        assert!(out == bytes, "closed: {gap}");
    }
}

fn build_context() -> BuildContext {
    BuildContext {
        id: ComponentId {
            kind: "attributes".into(),
            name: String::new(),
        },
        telemetry: Default::default(),
        memory: Arc::new(Memory::new(1 << 20)),
        info: BuildInfo {
            command: "weir",
            version: "test",
        },
        gates: Arc::default(),
    }
}

#[test]
fn the_gaps_of_the_collector_are_known() {
    let span = |f: fn(&mut Span)| {
        let mut span = Span::default();
        f(&mut span);
        traces(span)
    };
    let exemplar = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![Metric {
                    data: Some(metric::Data::Gauge(Gauge {
                        data_points: vec![NumberDataPoint {
                            exemplars: vec![Exemplar {
                                filtered_attributes: secret_map(),
                                ..Default::default()
                            }],
                            ..Default::default()
                        }],
                    })),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    let gaps: Vec<(&str, Signal, Vec<u8>)> = vec![
        (
            "attributes of span links are not looked at",
            Signal::Traces,
            span(|s| {
                s.links = vec![span::Link {
                    attributes: secret_map(),
                    ..Default::default()
                }];
            }),
        ),
        (
            "names of spans are not looked at",
            Signal::Traces,
            span(|s| s.name = SECRET.into()),
        ),
        (
            "trace state is not looked at",
            Signal::Traces,
            span(|s| s.trace_state = SECRET.into()),
        ),
        (
            "status messages are not looked at",
            Signal::Traces,
            span(|s| {
                s.status = Some(Status {
                    message: SECRET.into(),
                    ..Default::default()
                });
            }),
        ),
        (
            "names of events are not looked at",
            Signal::Traces,
            span(|s| {
                s.events = vec![span::Event {
                    name: SECRET.into(),
                    ..Default::default()
                }];
            }),
        ),
        (
            "attributes of exemplars are not looked at",
            Signal::Metrics,
            exemplar.encode_to_vec(),
        ),
        (
            "severity texts are not looked at",
            Signal::Logs,
            record(len(3, SECRET)),
        ),
        (
            "event names of log records are not looked at",
            Signal::Logs,
            record(len(12, SECRET)),
        ),
        (
            "names of scopes are not looked at",
            Signal::Logs,
            len(1, len(2, [len(1, len(1, SECRET)), len(2, [])].concat())),
        ),
        (
            "schema URLs are not looked at",
            Signal::Logs,
            len(1, len(3, SECRET)),
        ),
        (
            "keys are not searched, only allowed or blocked",
            Signal::Logs,
            attribute(SECRET, text("x")),
        ),
        (
            "maps in attributes are not searched without redact_all_types",
            Signal::Logs,
            attribute("k", len(6, len(1, entry("k", text(SECRET))))),
        ),
        (
            "bytes are searched as base64",
            Signal::Logs,
            attribute("k", len(7, SECRET)),
        ),
        (
            "bytes in bodies are searched as base64",
            Signal::Logs,
            body(len(7, SECRET)),
        ),
    ];
    for (gap, signal, bytes) in gaps {
        let out = run(&redaction(VALUES, signal), signal, &bytes);
        assert!(is_leaked(&out), "closed: {gap}");
    }
    // By these rules a text is searched as it is: what it stands for once it is read as JSON is not.
    let escaped = attribute("k", text(r#"{"a":"tok\u002dhidden"}"#));
    assert!(is_leaked(&run(
        &redaction(VALUES, Signal::Logs),
        Signal::Logs,
        &escaped
    )));
}

use std::sync::atomic::{AtomicU32, Ordering};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use proptest::prelude::*;
use prost::Message as _;

use super::super::tests::redaction;
use super::super::{Config as Whole, Redaction};
use super::*;
use crate::test_kit::{
    first_record, logs, map, run, run_booked, run_on_attributes, show, show_any, value_of,
};

const CARD: &str = "4111 1111 1111 1111";

/// The whole configuration around rules.
fn around(detect: &str) -> String {
    format!("{{allow_all_keys: true, detect: {detect}}}")
}

fn rules(rules: &str) -> String {
    around(&format!("{{rules: [{rules}]}}"))
}

#[track_caller]
fn check(yaml: &str, input: &str, expected: &str) {
    let out = run_on_attributes(&redaction(yaml, Signal::Logs), map(input), &Context::default());
    assert_eq!(show(&out), show(&map(expected)), "{yaml}\non {input}");
}

#[track_caller]
fn check_body(yaml: &str, body: &str, expected: &str) {
    let record = LogRecord {
        body: Some(value_of(body)),
        ..Default::default()
    };
    let out = first_record(&run(
        &redaction(yaml, Signal::Logs),
        Signal::Logs,
        &logs(record).encode_to_vec(),
    ));
    let shown = out.body.as_ref().map_or("none".to_owned(), show_any);
    assert_eq!(shown, show_any(&value_of(expected)), "{yaml}\non {body}");
}

#[track_caller]
fn fault(yaml: &str) -> String {
    let config: Whole = Section::from_yaml(yaml).and_then(Section::parse).unwrap();
    let (key, message) = Redaction::new(&config, Signal::Logs, |_, _| Counter::default())
        .err()
        .unwrap();
    assert_eq!(key, "detect", "{yaml}");
    message
}

/// A file with a key, gone with the guard.
struct KeyFile(std::path::PathBuf);

impl KeyFile {
    fn new(key: &str) -> KeyFile {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "weir-hmac-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, key).unwrap();
        KeyFile(path)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn findings_are_masked_in_their_place() {
    let all = rules("{find: [card, email]}");
    check(
        &all,
        &format!("{{a: 'x {CARD} y', b: none, n: 5}}"),
        "{a: 'x **** y', b: none, n: 5}",
    );
    check(&all, "{a: 'a@b.co, 4111111111111111'}", "{a: '****, ****'}");
    check(
        &rules("{find: [card], mask: '[card]'}"),
        &format!("{{a: '{CARD}'}}"),
        "{a: '[card]'}",
    );
    check(
        &rules("{find: [card], mask: ''}"),
        &format!("{{a: '<{CARD}>'}}"),
        "{a: '<>'}",
    );
    check(
        &rules("{find: [bearer]}"),
        "{a: 'Bearer abcdef0123456789'}",
        "{a: 'Bearer ****'}",
    );
}

#[test]
fn values_are_searched_at_every_depth() {
    let yaml = rules("{find: [card]}");
    check(
        &yaml,
        &format!("{{m: {{k: [a, '{CARD}', {{d: 'x {CARD}', n: 1}}], e: []}}, l: [[['{CARD}']]]}}"),
        "{m: {k: [a, '****', {d: 'x ****', n: 1}], e: []}, l: [[['****']]]}",
    );
    check_body(&yaml, &format!("pay {CARD}"), "pay ****");
    check_body(
        &yaml,
        &format!("{{a: {{b: ['{CARD}', 2, true]}}}}"),
        "{a: {b: ['****', 2, true]}}",
    );
}

#[test]
fn json_in_texts_keeps_its_form() {
    let yaml = rules("{find: [card]}");
    let text =
        r#"{ "a" : "4111111111111111" ,"b":[ 1,"4\u00311111111111111\u0031"], "c":"\n4111111111111111" }"#;
    let masked = r#"{ "a" : "****" ,"b":[ 1,"****"], "c":"\n****" }"#;
    check(&yaml, &format!("{{a: '{text}'}}"), &format!("{{a: '{masked}'}}"));
    let escaped = r#"{\"msg\":\"{\\\"card\\\":\\\"4111111111111111\\\"}\"}"#;
    check(
        &yaml,
        &format!("{{a: '{escaped}'}}"),
        &format!("{{a: '{}'}}", escaped.replace("4111111111111111", "****")),
    );
}

#[test]
fn rules_pick_keys() {
    let picked = rules("{find: [card], keys: [card, 'pay.*']}");
    check(
        &picked,
        &format!(
            "{{card: '{CARD}', pay.pan: '{CARD}', other: '{CARD}', m: {{card: ['{CARD}'], x: '{CARD}'}}}}"
        ),
        &format!("{{card: '****', pay.pan: '****', other: '{CARD}', m: {{card: ['****'], x: '{CARD}'}}}}"),
    );
    check(
        &picked,
        r#"{a: '{"x":"4111111111111111","card":{"n":"4111111111111111"}}'}"#,
        r#"{a: '{"x":"4111111111111111","card":{"n":"****"}}'}"#,
    );
    check(
        &rules("{find: [card], except_keys: [test, body]}"),
        &format!("{{test: '{CARD}', a: '{CARD}', m: {{test: {{b: '{CARD}'}}}}}}"),
        &format!("{{test: '{CARD}', a: '****', m: {{test: {{b: '{CARD}'}}}}}}"),
    );
    check_body(&rules("{find: [card], except_keys: [body]}"), CARD, CARD);
    check_body(&rules("{find: [card], keys: [body]}"), CARD, "'****'");
    // The first rule that speaks of the place holds.
    check(
        &rules("{find: [card], keys: [last], keep_last: 4}, {name: rest, find: [card, email], mask: x}"),
        &format!("{{last: '{CARD}', other: '{CARD}', mail: 'a@b.co'}}"),
        "{last: '**** **** **** 1111', other: x, mail: x}",
    );
}

#[test]
fn the_last_characters_stay_if_asked_for() {
    let yaml = |n: usize| {
        rules(&format!(
            "{{find: [card, iban, us_ssn, aws_key], keep_last: {n}}}"
        ))
    };
    check(
        &yaml(4),
        "{a: '4111-1111-1111-1111'}",
        "{a: '****-****-****-1111'}",
    );
    check(
        &yaml(2),
        "{a: 'GB29 NWBK 6016 1331 9268 19'}",
        "{a: '**** **** **** **** **** 19'}",
    );
    check(&yaml(4), "{a: '123-45-6789'}", "{a: '***-**-6789'}");
    // Never more than half of it.
    check(&yaml(5), "{a: '123-45-6789'}", "{a: '***-**-****'}");
    check(
        &yaml(4),
        "{a: AKIAIOSFODNN7EXAMPLE}",
        "{a: '****************MPLE'}",
    );
}

#[test]
fn keyed_hashes_join_what_is_the_same() {
    let key = KeyFile::new(&format!("{}\n", "k".repeat(32)));
    let yaml = rules(&format!(
        "{{find: [card, email, iban], hmac: {{key_file: {}, key_id: k1}}}}",
        key.0.display()
    ));
    let card = "hmac:k1:68461c4333f0d6ffc13ab17a895ccb61b6a8864e96602c4e91c869cfb9ccc6f1";
    let mail = "hmac:k1:424fcebed56d1a1762e3175fea30fbd87e9c531e85f60569194f7c5c26176857";
    let iban = "hmac:k1:5a8e57d7ec78a45373fb9d834adbee4f368e20255b75102d2fea2b1e3d0ca49c";
    check(
        &yaml,
        "{a: 'x 4111 1111 1111 1111', b: '4111-1111-1111-1111', c: 'Jane@Example.com', d: 'DE89 3704 0044 0532 0130 00', e: de89370400440532013000}",
        &format!("{{a: 'x {card}', b: '{card}', c: '{mail}', d: '{iban}', e: '{iban}'}}"),
    );
    // What is hashed is not found again.
    check(&yaml, &format!("{{a: '{card}'}}"), &format!("{{a: '{card}'}}"));
}

#[test]
fn what_holds_a_finding_goes_if_asked_for() {
    let yaml = rules("{find: [card], remove: true}");
    check(
        &yaml,
        &format!("{{a: 'x {CARD}', b: 1, c: '{CARD}', d: 2}}"),
        "{d: 2, b: 1}",
    );
    check(
        &yaml,
        &format!("{{m: {{k: '{CARD}', l: [a, '{CARD}', b]}}}}"),
        "{m: {l: [a, b]}}",
    );
    check_body(&yaml, &format!("pay {CARD}"), "null");
}

fn traces() -> ExportTraceServiceRequest {
    let card = |key: &str| map(&format!("{{{key}: 'x {CARD}'}}"));
    let text = format!("at {CARD}");
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: card("r"),
                ..Default::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: text.clone(),
                    version: text.clone(),
                    attributes: card("s"),
                    ..Default::default()
                }),
                spans: vec![Span {
                    name: text.clone(),
                    trace_state: text.clone(),
                    attributes: card("a"),
                    events: vec![span::Event {
                        name: text.clone(),
                        attributes: card("e"),
                        ..Default::default()
                    }],
                    links: vec![span::Link {
                        trace_state: text.clone(),
                        attributes: card("l"),
                        ..Default::default()
                    }],
                    status: Some(Status {
                        message: text,
                        code: 2,
                    }),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

fn metrics() -> ExportMetricsServiceRequest {
    let card = |key: &str| map(&format!("{{{key}: '{CARD}'}}"));
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![Metric {
                    name: "m".into(),
                    description: CARD.into(),
                    metadata: card("metadata"),
                    data: Some(metric::Data::Gauge(Gauge {
                        data_points: vec![NumberDataPoint {
                            attributes: card("p"),
                            exemplars: vec![Exemplar {
                                filtered_attributes: card("x"),
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
    }
}

fn holds_card(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"4111").is_some()
}

#[test]
fn names_messages_links_and_exemplars_are_searched() {
    let yaml = rules("{find: [card]}");
    let out = run(
        &redaction(&yaml, Signal::Traces),
        Signal::Traces,
        &traces().encode_to_vec(),
    );
    assert!(!holds_card(&out), "{}", out.escape_ascii());
    let masked = traces().encode_to_vec();
    let expected = String::from_utf8_lossy(&masked)
        .replace(CARD, "****")
        .matches("****")
        .count();
    assert_eq!(String::from_utf8_lossy(&out).matches("****").count(), expected);
    let out = ExportTraceServiceRequest::decode(&out[..]).unwrap();
    let span = &out.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(
        (span.name.as_str(), span.trace_state.as_str()),
        ("at ****", "at ****")
    );
    let status = span.status.clone().unwrap();
    assert_eq!((status.message.as_str(), status.code), ("at ****", 2));

    let out = run(
        &redaction(&yaml, Signal::Metrics),
        Signal::Metrics,
        &metrics().encode_to_vec(),
    );
    assert!(!holds_card(&out), "{}", out.escape_ascii());

    let record = LogRecord {
        severity_text: CARD.into(),
        event_name: CARD.into(),
        ..Default::default()
    };
    let out = run(
        &redaction(&yaml, Signal::Logs),
        Signal::Logs,
        &logs(record).encode_to_vec(),
    );
    assert!(!holds_card(&out), "{}", out.escape_ascii());
}

#[test]
fn removed_names_and_messages_are_empty() {
    let yaml = rules("{find: [card], remove: true}");
    let out = run(
        &redaction(&yaml, Signal::Traces),
        Signal::Traces,
        &traces().encode_to_vec(),
    );
    assert!(!holds_card(&out), "{}", out.escape_ascii());
    let out = ExportTraceServiceRequest::decode(&out[..]).unwrap();
    let span = &out.resource_spans[0].scope_spans[0].spans[0];
    assert!(span.name.is_empty() && span.attributes.is_empty());
    assert_eq!(span.status.as_ref().unwrap().code, 2);
}

fn record(text: &str) -> LogRecord {
    LogRecord {
        attributes: map(&format!("{{a: '{text}'}}")),
        ..Default::default()
    }
}

#[test]
fn dropped_records_are_booked_under_the_rule() {
    let yaml = rules("{name: no-cards, find: [card], drop_record: true}");
    let mut request = logs(record(CARD));
    let records = &mut request.resource_logs[0].scope_logs[0].log_records;
    records.extend([record("fine"), record(CARD), record("fine too")]);
    records[0].severity_text = CARD.into();
    let redaction = redaction(&yaml, Signal::Logs);
    let (out, mut drops) = run_booked(
        &[&redaction],
        Signal::Logs,
        &request.encode_to_vec(),
        &Context::default(),
    )
    .unwrap();
    assert_eq!(drops.take(), [("redaction:no-cards".to_owned(), 2)]);
    let out = ExportLogsServiceRequest::decode(&out[..]).unwrap();
    let left = &out.resource_logs[0].scope_logs[0].log_records;
    assert_eq!(
        left.iter().map(|r| show(&r.attributes)).collect::<Vec<_>>(),
        [r#"{a:"fine"}"#, r#"{a:"fine too"}"#]
    );
    // What belongs to no record takes all that is below it.
    let mut request = logs(record("fine"));
    request.resource_logs[0].scope_logs[0]
        .log_records
        .push(record("fine"));
    request.resource_logs[0].resource = Some(Resource {
        attributes: map(&format!("{{r: '{CARD}'}}")),
        ..Default::default()
    });
    let (out, mut drops) = run_booked(
        &[&redaction],
        Signal::Logs,
        &request.encode_to_vec(),
        &Context::default(),
    )
    .unwrap();
    assert_eq!(drops.take(), [("redaction:no-cards".to_owned(), 2)]);
    assert!(!holds_card(&out));
}

#[test]
fn events_and_exemplars_take_their_record_along() {
    let yaml = rules("{find: [card], drop_record: true, keys: [e, x]}");
    for (signal, bytes) in [
        (Signal::Traces, traces().encode_to_vec()),
        (Signal::Metrics, metrics().encode_to_vec()),
    ] {
        let redaction = redaction(&yaml, signal);
        let (out, mut drops) = run_booked(&[&redaction], signal, &bytes, &Context::default()).unwrap();
        assert_eq!(drops.take(), [("redaction:card".to_owned(), 1)]);
        assert_eq!(wire::count_items(signal, &out), 0);
    }
}

#[test]
fn tenants_have_rules_of_their_own() {
    let yaml =
        around("{rules: [{find: [card]}, {find: [email], mask: mail}], tenants: {acme: [email], open: []}}");
    let redaction = redaction(&yaml, Signal::Logs);
    let input = logs(record(&format!("{CARD} a@b.co"))).encode_to_vec();
    for (tenant, expected) in [
        (None, "**** mail"),
        (Some("other"), "**** mail"),
        (Some("acme"), "4111 1111 1111 1111 mail"),
        (Some("open"), "4111 1111 1111 1111 a@b.co"),
    ] {
        let tenant: Option<Arc<str>> = tenant.map(Into::into);
        let mut scratch = wire::view::Scratch::default();
        let mut view = wire::view::View::new(&mut scratch, Signal::Logs, &input, Depth::Record).unwrap();
        let mut drops = Drops::default();
        let mut cx = SegmentCx {
            context: &Context::default(),
            tenant: tenant.as_ref(),
            drops: &mut drops,
        };
        redaction.apply(&mut view, &mut cx).unwrap();
        let node = view
            .nodes()
            .find(|n| view.kind(*n) == wire::view::Kind::LogRecord)
            .unwrap();
        let value = view.value(node, 0);
        assert_eq!(
            value.as_str().map(String::from_utf8_lossy),
            Some(expected.into()),
            "{tenant:?}"
        );
    }
}

#[test]
fn counts_are_by_rule_and_a_dry_run_changes_nothing() {
    for (mode, action) in [(Mode::Redact, "mask"), (Mode::DryRun, "dry_run")] {
        let detect = Config {
            mode,
            ..Section::from_yaml("{rules: [{find: [card]}, {name: drop, find: [email], drop_record: true}]}")
                .and_then(Section::parse)
                .unwrap()
        };
        let config = Whole {
            allow_all_keys: true,
            detect,
            ..Whole::default()
        };
        let counters: Mutex<Vec<(String, &str, Counter)>> = Mutex::default();
        let make = |rule: &str, action: &'static str| {
            let counter = Counter::default();
            counters.lock().push((rule.to_owned(), action, counter.clone()));
            counter
        };
        let redaction = Redaction::new(&config, Signal::Logs, make).unwrap();
        let bytes = logs(record(&format!("{CARD} {CARD} {{\"a@b.co\":\"{CARD}\"}}"))).encode_to_vec();
        let (out, mut drops) = run_booked(&[&redaction], Signal::Logs, &bytes, &Context::default()).unwrap();
        let counted: Vec<_> = counters
            .lock()
            .iter()
            .map(|(rule, action, c)| (rule.clone(), *action, c.get()))
            .collect();
        let second = if mode == Mode::DryRun {
            "dry_run"
        } else {
            "drop_record"
        };
        assert_eq!(
            counted,
            [("card".to_owned(), action, 3), ("drop".to_owned(), second, 1)]
        );
        assert_eq!(out == bytes, mode == Mode::DryRun);
        assert_eq!(drops.take().len(), usize::from(mode == Mode::Redact));
        // In the books what drops its record stands as dropped, and nothing else.
        let touched: &[(&str, u64)] = match mode {
            Mode::Redact => &[("redaction:card", 3)],
            Mode::DryRun => &[("redaction:card:dry_run", 3), ("redaction:drop:dry_run", 1)],
        };
        let touched: Vec<(String, u64)> = touched.iter().map(|(rule, n)| (rule.to_string(), *n)).collect();
        assert_eq!(drops.take_touched(), touched);
    }
}

#[test]
fn shapes_show_no_letter() {
    assert_eq!(shape(b"John.Doe-7@ex\xc3\xa4.org"), "aaaa.aaa-9@aa??.aaa");
    assert_eq!(shape(&[b'x'; 100]).len(), SAMPLE_BYTES_MAX);
}

#[test]
fn contradictions_are_refused() {
    for (yaml, words) in [
        ("{mode: dry_run}", "no rules"),
        ("{rules: [{}]}", "rules[0]: find names no detector"),
        (
            "{rules: [{find: [card], mask: x, remove: true}]}",
            "mask and remove contradict each other",
        ),
        (
            "{rules: [{find: [card], keep_last: 4, drop_record: true}]}",
            "keep_last and drop_record",
        ),
        ("{rules: [{find: [card], keep_last: 0}]}", "keep_last is 0"),
        ("{rules: [{find: [card], keep_last: 9}]}", "keep_last is 9"),
        (
            "{rules: [{find: [email], keep_last: 4}]}",
            "keep_last does not go with email",
        ),
        ("{rules: [{find: [card], mask: '\"'}]}", "quotes"),
        (
            "{rules: [{find: [card], mask: 'a@b.co'}]}",
            "itself what a detector finds",
        ),
        (
            "{rules: [{find: [card]}, {find: [card]}]}",
            "rules[1]: there is another rule named \"card\"",
        ),
        ("{rules: [{name: 'a b', find: [card]}]}", "name \"a b\""),
        (
            "{rules: [{find: [card]}], tenants: {t: [cards]}}",
            "tenants::t: there is no rule named \"cards\"",
        ),
        ("{rules: [{find: [card], hmac: {}}]}", "key_id"),
        (
            "{rules: [{find: [card], hmac: {key_id: k}}]}",
            "key_file or key_env",
        ),
        (
            "{rules: [{find: [card], hmac: {key_id: k, key_env: WEIR_NO_SUCH_KEY}}]}",
            "key_env WEIR_NO_SUCH_KEY: it is not set",
        ),
        (
            "{rules: [{find: [card], hmac: {key_id: k, key_file: /no/such/key}}]}",
            "key_file /no/such/key",
        ),
    ] {
        let message = fault(&around(yaml));
        assert!(message.contains(words), "{yaml}\n{message}");
    }
    let many = vec!["{find: [card]}"; 65].join(", ");
    assert!(fault(&rules(&many)).contains("at most 64"));
    let short = KeyFile::new("not-long-enough");
    let message = fault(&rules(&format!(
        "{{find: [card], hmac: {{key_id: k, key_file: {}}}}}",
        short.0.display()
    )));
    assert!(
        message.contains("at least 32 bytes") && !message.contains("not-long"),
        "{message}"
    );
    for unknown in [
        "{rules: [{find: [cards]}]}",
        "{rules: [{find: [card], hash: x}]}",
        "{mode: dry}",
    ] {
        let parsed = Section::from_yaml(&around(unknown)).and_then(Section::parse::<Whole>);
        assert!(parsed.is_err(), "{unknown}");
    }
}

/// Texts in which what one finding leaves was once part of another.
#[test]
fn masked_texts_hold_nothing() {
    let yaml = rules(&every_rule(""));
    for text in [
        "4111 1111 1111 1111+49 30 901820123-45-6789",
        "+49 30 901820123-45-6789",
        "4111 1111 1111 1111+49 30 901820",
        "4111 1111 1111 1111123-45-6789",
    ] {
        let once = run(
            &redaction(&yaml, Signal::Logs),
            Signal::Logs,
            &request(&[text.to_owned()]),
        );
        let twice = run(&redaction(&yaml, Signal::Logs), Signal::Logs, &once);
        assert_eq!(
            twice.escape_ascii().to_string(),
            once.escape_ascii().to_string(),
            "{text}"
        );
    }
}

/// A mask that leaves nothing lets findings be nested: each round takes one.
#[test]
fn a_text_that_never_ends_is_masked_whole() {
    let yaml = rules("{find: [private_key], mask: ''}");
    let nested = |depth: usize| {
        let (head, tail) = (
            "-----BEGIN PRIV".repeat(depth),
            "ATE KEY-----END A-----".repeat(depth),
        );
        format!("{{a: 'x {head}-----BEGIN PRIVATE KEY-----END A-----{tail} y'}}")
    };
    check(&yaml, &nested(0), "{a: 'x  y'}");
    check(&yaml, &nested(ROUNDS_MAX), "{a: 'x  y'}");
    check(&yaml, &nested(ROUNDS_MAX + 1), "{a: '****'}");
    check(&yaml, &nested(100), "{a: '****'}");
}

#[test]
fn the_collectors_rules_come_first() {
    let yaml =
        "{blocked_values: ['secret.*'], allowed_keys: [a, b, c], detect: {rules: [{find: [card], mask: x}]}}";
    check(
        yaml,
        &format!("{{a: 'secret {CARD}', b: '{CARD}', d: '{CARD}', c: 'secretly {CARD}'}}"),
        "{a: '****', b: x, c: '****'}",
    );
}

#[test]
fn every_detector_may_be_asked_for() {
    let names: Vec<&str> = Detector::ALL.iter().map(|d| d.as_str()).collect();
    let yaml = rules(&format!("{{name: all, find: [{}]}}", names.join(", ")));
    check(&yaml, "{a: 'a@b.co 10.1.2.3'}", "{a: '**** ****'}");
    assert_eq!(Detector::ALL.map(|d| d as usize), std::array::from_fn(|i| i));
}

/// What the guards' rows mark is found through the gates too, and only that goes.
#[test]
fn gates_let_every_true_row_through() {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    for row in guard::rows(include_str!("testdata/true.txt")) {
        let mut parts = row.splitn(3, '|');
        let (name, key, text) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let (text, ranges) = guard::marked(text);
        let mut expected = text.clone();
        for range in ranges.into_iter().rev() {
            expected.replace_range(range, "****");
        }
        let attribute = KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(Any::StringValue(text)),
            }),
            ..Default::default()
        };
        let yaml = rules(&format!("{{find: [{name}]}}"));
        let redaction = redaction(&yaml, Signal::Logs);
        let out = run_on_attributes(&redaction, vec![attribute], &Context::default());
        let value = out[0].value.clone().and_then(|v| v.value);
        assert_eq!(value, Some(Any::StringValue(expected)), "{row}");
    }
}

// --- Properties ---

/// Pieces of which texts are made, some of them halves of findings.
const PIECES: &[&str] = &[
    "4111 1111 1111 1111",
    "4111111111111111",
    "4111-1111",
    "1111",
    " ",
    "-",
    "+49 30 901820",
    "a@b.co",
    "@",
    "x",
    "Bearer ",
    "abcdef0123456789",
    "eyJhbGciOiJIUzI1NiJ9",
    ".",
    "AKIAIOSFODNN7EXAMPLE",
    "secret=",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEK3Y",
    "123-45-6789",
    "203.0.113.7",
    "2001:db8::1",
    "::",
    ":",
    "\\n",
    "\\u0034",
    "\\",
    "\"",
    "{\"a\":",
    "}",
    "\u{200b}",
    "４",
    "é",
    "GB29 NWBK 6016 1331 9268 19",
    "https://u:p@h",
    "Basic dXNlcjpwYXNz",
    "-----BEGIN PRIVATE KEY-----",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "sk_live_",
    "xoxb-",
    "card ",
    "ssn ",
    "phone: ",
    "0",
    "7",
    "*",
    "hmac:k:",
];

fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(PIECES).prop_map(str::to_owned),
        1 => "[ -~]{0,6}",
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

fn every_rule(more: &str) -> String {
    let names: Vec<&str> = Detector::ALL.iter().map(|d| d.as_str()).collect();
    format!("{{name: all, find: [{}]{more}}}", names.join(", "))
}

fn request(texts: &[String]) -> Vec<u8> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
    let text = |text: &String| {
        Some(AnyValue {
            value: Some(Any::StringValue(text.clone())),
        })
    };
    let list = AnyValue {
        value: Some(Any::ArrayValue(ArrayValue {
            values: texts.iter().filter_map(text).collect(),
        })),
    };
    let attributes = texts.iter().enumerate().map(|(i, t)| KeyValue {
        key: format!("k{i}"),
        value: text(t),
        ..Default::default()
    });
    let record = |t: &String| LogRecord {
        body: text(t),
        attributes: attributes.clone().collect(),
        severity_text: t.clone(),
        ..Default::default()
    };
    let mut records: Vec<LogRecord> = texts.iter().map(record).collect();
    records.push(LogRecord {
        body: Some(list),
        ..Default::default()
    });
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: records,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
    .encode_to_vec()
}

proptest! {
    #[test]
    fn gates_hide_nothing_and_masked_texts_hold_nothing(texts in prop::collection::vec(texts(), 0..4)) {
        let yaml = rules(&every_rule(""));
        let bytes = request(&texts);
        let gated = run(&redaction(&yaml, Signal::Logs), Signal::Logs, &bytes);
        // The naive twin looks at every text.
        let mut plain = redaction(&yaml, Signal::Logs);
        let all = [(u64::MAX, Some(vec![Gate::Run(Default::default())]))];
        plain.detection.as_mut().unwrap().finder = Finder::of(all);
        let naive = run(&plain, Signal::Logs, &bytes);
        prop_assert_eq!(&gated, &naive);
        let again = run(&redaction(&yaml, Signal::Logs), Signal::Logs, &gated);
        prop_assert_eq!(&again, &gated, "{}", gated.escape_ascii());
    }

    #[test]
    fn a_dry_run_is_as_if_it_were_not(texts in prop::collection::vec(texts(), 0..4)) {
        let yaml = around(&format!("{{mode: dry_run, rules: [{}]}}", every_rule(", drop_record: true")));
        let bytes = request(&texts);
        let (out, mut drops) =
            run_booked(&[&redaction(&yaml, Signal::Logs)], Signal::Logs, &bytes, &Context::default()).unwrap();
        prop_assert_eq!(out, bytes);
        prop_assert_eq!(drops.take(), []);
    }

    #[test]
    fn any_bytes_may_come(bytes in prop::collection::vec(any::<u8>(), 0..200), text in texts()) {
        let mut folded = Folded::default();
        for text in [&bytes[..], text.as_bytes()] {
            let is_folded = folded.fold(text);
            let (mut runs, mut found) = (Runs::default(), Vec::new());
            runs.read(folded.seen(text, is_folded));
            for detector in Detector::ALL {
                detector.find(folded.seen(text, is_folded), &bytes, &runs, &mut found);
            }
            for range in &found {
                let origin = if is_folded { folded.origin(range) } else { range.clone() };
                prop_assert!(range.start < range.end && origin.end <= text.len());
            }
        }
    }
}

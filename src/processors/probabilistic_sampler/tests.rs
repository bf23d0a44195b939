use component::test_kit::context;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message as _;
use wire::test_kit::Rng;

use super::*;
use crate::test_kit::{logs, map, run_booked, show};

component::component_tests!(FACTORY, "sampling_percentage: 10");

const KNOWN: u128 = 0x4bf92f3577b34da6a3ce929d0e0e4736;

fn sampler(yaml: &str, signal: Signal) -> Sampler {
    let config: Config = Section::from_yaml(yaml).and_then(Section::parse).unwrap();
    Sampler::new(
        config.rules(signal).unwrap(),
        &context("probabilistic_sampler"),
        signal,
    )
}

fn spans(spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

/// What became of one span: its `tracestate`, or the rule that ended it.
fn span(yaml: &str, id: u128, state: &str, attributes: &str) -> String {
    let id = match id {
        0 => Vec::new(),
        id => id.to_be_bytes().to_vec(),
    };
    let span = Span {
        trace_id: id,
        trace_state: state.into(),
        attributes: map(attributes),
        ..Default::default()
    };
    let bytes = spans(vec![span]).encode_to_vec();
    let stage = sampler(yaml, Signal::Traces);
    let (out, mut drops) = run_booked(&[&stage], Signal::Traces, &bytes, &Context::default()).unwrap();
    let out = ExportTraceServiceRequest::decode(&out[..]).unwrap();
    match (out.resource_spans.first(), &drops.take()[..]) {
        (Some(group), []) => group.scope_spans[0].spans[0].trace_state.clone(),
        (None, [(rule, 1)]) => (*rule).to_owned(),
        other => panic!("{other:?}"),
    }
}

/// What became of one log record: its attributes, or the rule that ended it.
fn record(yaml: &str, id: u128, attributes: &str) -> String {
    let record = LogRecord {
        trace_id: match id {
            0 => Vec::new(),
            id => id.to_be_bytes().to_vec(),
        },
        attributes: map(attributes),
        ..Default::default()
    };
    let bytes = logs(record).encode_to_vec();
    let stage = sampler(yaml, Signal::Logs);
    let (out, mut drops) = run_booked(&[&stage], Signal::Logs, &bytes, &Context::default()).unwrap();
    let out = ExportLogsServiceRequest::decode(&out[..]).unwrap();
    match (out.resource_logs.first(), &drops.take()[..]) {
        (Some(group), []) => show(&group.scope_logs[0].log_records[0].attributes),
        (None, [(rule, 1)]) => (*rule).to_owned(),
        other => panic!("{other:?}"),
    }
}

const BY_SHARE: &str = "probabilistic_sampler";

#[test]
fn shares_of_spans_are_the_collectors() {
    #[track_caller]
    fn check(percent: u32, more: &str, id: u128, state: &str, equalizing: &str, proportional: &str) {
        for (mode, expected) in [("equalizing", equalizing), ("proportional", proportional)] {
            let yaml = format!("{{sampling_percentage: {percent}, mode: {mode}, {more}}}");
            assert_eq!(span(&yaml, id, state, "{}"), expected, "{mode}");
        }
    }
    let low = KNOWN >> 56 << 56;
    check(30, "", KNOWN, "", "ot=th:b333", "ot=th:b333");
    check(60, "", KNOWN, "", "ot=th:6666", "ot=th:6666");
    let rv = "ot=rv:f00000000000ab;th:cccd";
    check(20, "", KNOWN, "ot=rv:f00000000000ab", rv, rv);
    check(20, "", KNOWN, rv, rv, BY_SHARE);
    check(
        60,
        "sampling_precision: 6",
        KNOWN,
        "ot=th:4",
        "ot=th:666666",
        "ot=th:8ccccd",
    );
    let high = "ot=rv:ffffffffffffff;th:c";
    check(
        5,
        "",
        KNOWN,
        high,
        "ot=rv:ffffffffffffff;th:f3333",
        "ot=rv:ffffffffffffff;th:fcccd",
    );
    check(100, "", KNOWN, "ot=th:a", "ot=th:a", "ot=th:a");
    check(70, "", low, "", BY_SHARE, BY_SHARE);
    let lie = "ot=rv:50000000000000;th:c";
    let open = "ot=rv:50000000000000;th:0";
    check(30, "fail_closed: false", KNOWN, lie, open, open);
    let rule = "probabilistic_sampler:inconsistent_threshold";
    check(30, "", KNOWN, lie, rule, rule);
    let rule = "probabilistic_sampler:missing_randomness";
    check(100, "", 0, "a=1", rule, rule);
    check(1, "fail_closed: false", 0, "a=1", "ot=th:0,a=1", "ot=th:0,a=1");
    let rule = "probabilistic_sampler:unreadable_state";
    check(100, "", KNOWN, "a", rule, rule);
    check(1, "fail_closed: false", KNOWN, "a", "a", "a");
    check(0, "", KNOWN, "", BY_SHARE, BY_SHARE);
    check(300, "", KNOWN, "b=2,ot=x:1", "ot=th:0;x:1,b=2", "ot=th:0;x:1,b=2");
}

#[test]
fn hashes_of_spans_are_the_collectors() {
    #[track_caller]
    fn check(yaml: &str, id: u128, state: &str, attributes: &str, expected: &str) {
        assert_eq!(span(yaml, id, state, attributes), expected, "{yaml} {attributes}");
    }
    let counted = 0x0102030405060708090a0b0c0d0e0f10;
    check(
        "sampling_percentage: 60",
        1,
        "",
        "{}",
        "ot=rv:74f42e348fe2c2;th:6668",
    );
    check("sampling_percentage: 20", 1, "", "{}", BY_SHARE);
    check(
        "sampling_percentage: 20",
        KNOWN,
        "",
        "{}",
        "ot=rv:fdc80d0b42008d;th:ccd",
    );
    check(
        "{sampling_percentage: 90, hash_seed: 22, mode: hash_seed}",
        KNOWN,
        "a=1",
        "{}",
        "ot=rv:3e50158161306b;th:199c,a=1",
    );
    check(
        "{sampling_percentage: 15.3, hash_seed: 22}",
        KNOWN,
        "",
        "{}",
        BY_SHARE,
    );
    // 900 of 16384: kept from 901 buckets on.
    check(
        "{sampling_percentage: 5.5, hash_seed: 4321}",
        counted,
        "",
        "{}",
        "ot=rv:f1ec3a93a74384;th:f1ec",
    );
    check(
        "{sampling_percentage: 5.49, hash_seed: 4321}",
        counted,
        "",
        "{}",
        BY_SHARE,
    );
    check("sampling_percentage: 0.006", KNOWN, "", "{}", BY_SHARE);
    let in_use = "probabilistic_sampler:randomness_in_use";
    check(
        "sampling_percentage: 100",
        KNOWN,
        "ot=rv:ffffffffffffff;th:0",
        "{}",
        in_use,
    );
    let in_use = "probabilistic_sampler:threshold_in_use";
    check("sampling_percentage: 100", KNOWN, "ot=th:0", "{}", in_use);
    check(
        "{sampling_percentage: 100, fail_closed: false}",
        KNOWN,
        " ot=th:0 ",
        "{}",
        " ot=th:0 ",
    );
    check(
        "{sampling_percentage: 1, fail_closed: false}",
        0,
        "",
        "{}",
        "ot=rv:ffffffffffffff;th:0",
    );
    // A span's own wish comes before share and trouble.
    let rescued = "ot=rv:74f42e348fe2c2;th:0";
    let refused = "probabilistic_sampler:sampling_priority";
    for (wish, expected) in [
        ("1", rescued),
        ("0.5", rescued),
        ("\"2\"", rescued),
        ("0", refused),
        ("\"0.0\"", refused),
        ("-1", BY_SHARE),
        ("\"high\"", BY_SHARE),
        ("\"1e999\"", BY_SHARE),
        ("true", BY_SHARE),
    ] {
        let attributes = format!("{{sampling.priority: {wish}}}");
        check("sampling_percentage: 20", 1, "", &attributes, expected);
    }
    let rescued = "ot=rv:ffffffffffffff;th:0";
    check(
        "sampling_percentage: 20",
        0,
        "",
        "{sampling.priority: 1}",
        rescued,
    );
    check(
        "sampling_percentage: 0",
        1,
        "a=1",
        "{sampling.priority: 1}",
        "a=1",
    );
}

#[test]
fn log_records_are_the_collectors() {
    #[track_caller]
    fn check(yaml: &str, id: u128, attributes: &str, expected: &str) {
        assert_eq!(record(yaml, id, attributes), expected, "{yaml} {attributes}");
    }
    check(
        "sampling_percentage: 60",
        1,
        "{a: 1}",
        r#"{a:1, sampling.randomness:"74f42e348fe2c2", sampling.threshold:"6668"}"#,
    );
    let by_attribute = "{sampling_percentage: 50, attribute_source: record, from_attribute: id}";
    check(by_attribute, KNOWN, "{id: abc}", "probabilistic_sampler");
    check(
        "{sampling_percentage: 80, attribute_source: record, from_attribute: id}",
        KNOWN,
        "{id: abc}",
        r#"{id:"abc", sampling.randomness:"4b10026e9bad3b", sampling.threshold:"3334"}"#,
    );
    let missing = "probabilistic_sampler:missing_randomness";
    check(by_attribute, KNOWN, "{id: ''}", missing);
    check(by_attribute, KNOWN, "{}", missing);
    // No trace id: the attribute takes its place.
    check(
        "{sampling_percentage: 80, from_attribute: id}",
        0,
        "{id: order-1}",
        r#"{id:"order-1", sampling.randomness:"73080eedbba33d", sampling.threshold:"3334"}"#,
    );
    let open = "{sampling_percentage: 1, fail_closed: false}";
    check(open, 0, "{}", r#"{sampling.threshold:"0"}"#);
    check(
        open,
        KNOWN,
        "{sampling.threshold: c}",
        r#"{sampling.threshold:"c"}"#,
    );
    check(
        open,
        KNOWN,
        "{sampling.randomness: c}",
        r#"{sampling.randomness:"c"}"#,
    );
    let even = "{sampling_percentage: 60, mode: equalizing, sampling_precision: 6}";
    check(
        even,
        KNOWN,
        "{sampling.threshold: '4', b: 1}",
        r#"{sampling.threshold:"666666", b:1}"#,
    );
    check(
        even,
        0,
        "{sampling.randomness: c}",
        "probabilistic_sampler:unreadable_state",
    );
    // A lie is taken away; what takes its place stands at the end.
    check(
        "{sampling_percentage: 60, mode: equalizing, fail_closed: false}",
        KNOWN,
        "{sampling.threshold: ffff, b: 1, c: 2}",
        r#"{c:2, b:1, sampling.threshold:"0"}"#,
    );
    let wish = "{sampling_percentage: 0, sampling_priority: p}";
    check(wish, KNOWN, "{p: 0.01}", "{p:0.01}");
    check(wish, KNOWN, "{p: 0}", "probabilistic_sampler");
    check(wish, KNOWN, "{p: 101}", "probabilistic_sampler");
    check(wish, KNOWN, "{p: '50'}", "probabilistic_sampler");
    let wish = "{sampling_percentage: 100, sampling_priority: p}";
    check(wish, 1, "{p: 20}", "probabilistic_sampler:sampling_priority");
    check(
        wish,
        1,
        "{p: 100.0}",
        r#"{p:100.0, sampling.randomness:"74f42e348fe2c2", sampling.threshold:"0"}"#,
    );
}

#[test]
fn wrong_settings_are_refused_with_their_key() {
    #[track_caller]
    fn check(yaml: &str, expected: &str) {
        let section = Section::from_yaml(yaml).unwrap();
        let Err(fault) = (FACTORY.build)(section, &context("probabilistic_sampler"), Signal::Logs) else {
            panic!("{yaml} was taken");
        };
        assert!(fault.to_string().contains(expected), "{fault}");
    }
    check("sampling_percentage: -1", "negative sampling rate: -1.00%");
    check("sampling_percentage: .nan", "sampling rate is invalid");
    check("sampling_percentage: .inf", "sampling rate is invalid");
    check("sampling_percentage: 1e-16", "sampling rate is too small");
    check(
        "attribute_source: span",
        "invalid attribute source: span. Expected: traceID or record",
    );
    check("sampling_precision: 0", "invalid sampling precision: 0");
    check(
        "sampling_precision: 15",
        "sampling precision is too great, should be <= 14: 15",
    );
    check(
        "{sampling_percentage: 1, mode: equal}",
        "unsupported sampler mode \"equal\"",
    );
    check("mode: equal", "unsupported sampler mode \"equal\"");
}

#[test]
fn decisions_are_counted_by_what_made_them() {
    let cx = context("probabilistic_sampler");
    let config: Config = Section::from_yaml("sampling_percentage: 20")
        .and_then(Section::parse)
        .unwrap();
    let stage = Sampler::new(config.rules(Signal::Traces).unwrap(), &cx, Signal::Traces);
    let of = |id: u128, priority: i64| Span {
        trace_id: id.to_be_bytes().to_vec(),
        attributes: map(&format!("{{sampling.priority: {priority}}}")),
        ..Default::default()
    };
    let request = spans(vec![of(KNOWN, -1), of(1, -1), of(2, 0), of(1, 1), of(0, -1)]);
    let bytes = request.encode_to_vec();
    let (out, mut drops) = run_booked(&[&stage], Signal::Traces, &bytes, &Context::default()).unwrap();
    let out = ExportTraceServiceRequest::decode(&out[..]).unwrap();
    assert_eq!(out.resource_spans[0].scope_spans[0].spans.len(), 2);
    let drops = drops.take();
    let drops: Vec<_> = drops
        .iter()
        .map(|(rule, items)| (rule.as_str(), *items))
        .collect();
    assert_eq!(
        drops,
        [
            ("probabilistic_sampler", 1),
            ("probabilistic_sampler:sampling_priority", 1),
            ("probabilistic_sampler:missing_randomness", 1)
        ]
    );
    let count = |policy: &str, sampled: &str| {
        let labels = vec![("policy", policy.to_owned()), ("sampled", sampled.to_owned())];
        let name = "otelcol_processor_probabilistic_sampler_count_traces_sampled";
        cx.telemetry.metrics.counter(name, labels).get()
    };
    assert_eq!(
        (count("trace_id_hash", "true"), count("trace_id_hash", "false")),
        (1, 1)
    );
    assert_eq!(
        (
            count("sampling_priority", "true"),
            count("sampling_priority", "false")
        ),
        (1, 1)
    );
    assert_eq!(count("missing_randomness", "false"), 1);
}

/// The same, but looks at records in the view alone.
struct Whole<'a>(&'a Sampler);

impl Tree for Whole<'_> {
    fn touches(&self) -> Touches {
        self.0.touches()
    }

    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        self.0.apply(view, cx)
    }
}

/// All that a sampler counted, and what it left.
fn outcome(yaml: &str, signal: Signal, bytes: &[u8], sifts: bool) -> (Vec<u8>, Vec<(String, u64)>, Vec<u64>) {
    let stage = sampler(yaml, signal);
    let tree: &dyn Tree = if sifts { &stage } else { &Whole(&stage) };
    let (out, mut drops) = run_booked(&[tree], signal, bytes, &Context::default()).unwrap();
    let mut drops = drops.take();
    drops.sort();
    let counted = stage.counters.iter().flatten().chain(&stage.undecidable);
    (out, drops, counted.map(Counter::get).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What is decided by an item's bytes is what is decided in the view: bytes, books and metrics.
    #[test]
    fn records_are_turned_away_as_they_are_removed(seed: u64) {
        let rng = &mut Rng(seed);
        let signal = *rng.pick(&[Signal::Logs, Signal::Traces]);
        let yaml = format!(
            "{{sampling_percentage: {}, mode: '{}', fail_closed: {}, attribute_source: {}, \
             from_attribute: '{}', sampling_priority: '{}'}}",
            rng.pick(&["0", "0.01", "10", "50", "100"]),
            rng.pick(&["", "hash_seed", "equalizing", "proportional"]),
            rng.chance(50),
            rng.pick(&["traceID", "record"]),
            rng.pick(&["", "id"]),
            rng.pick(&["", "p"]),
        );
        let attributes = |rng: &mut Rng| {
            let mut text = String::from("{a: 1");
            for (key, values) in [
                ("id", ["abc", "7", "''"]),
                ("p", ["0.5", "'90'", "100"]),
                ("sampling.priority", ["0", "1", "'x'"]),
                ("sampling.threshold", ["'8'", "'zz'", "5"]),
                ("sampling.randomness", ["'4b10026e9bad3b'", "'1'", "''"]),
            ] {
                if rng.chance(20) {
                    text += &format!(", {key}: {}", rng.pick(&values));
                }
            }
            map(&(text + "}"))
        };
        let id = |rng: &mut Rng| match rng.below(6) {
            0 => Vec::new(),
            1 => vec![0; 16],
            _ => [rng.bits(), rng.bits()].iter().flat_map(|b| b.to_le_bytes()).collect(),
        };
        let states = ["", "", "", "a=1", "ot=th:8", "ot=rv:4b10026e9bad3b;th:4", "ot=rv:1", "?", "ot=th:0,b=2"];
        let count = rng.below(40);
        let bytes = match signal {
            Signal::Logs => {
                let mut request = logs(LogRecord::default());
                request.resource_logs[0].scope_logs[0].log_records = (0..count)
                    .map(|_| LogRecord { trace_id: id(rng), attributes: attributes(rng), ..Default::default() })
                    .collect();
                request.encode_to_vec()
            }
            _ => spans((0..count)
                .map(|_| Span {
                    trace_id: id(rng),
                    trace_state: (*rng.pick(&states)).into(),
                    attributes: attributes(rng),
                    ..Default::default()
                })
                .collect())
            .encode_to_vec(),
        };
        let expected = outcome(&yaml, signal, &bytes, false);
        prop_assert_eq!(outcome(&yaml, signal, &bytes, true), expected, "{}", yaml);
    }
}

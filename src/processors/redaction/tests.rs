use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::test_kit::{first_record, logs, map, run, run_on_attributes, show, show_any, value_of};

pub(super) fn redaction(yaml: &str, signal: Signal) -> Redaction {
    let config: Config = Section::from_yaml(yaml).and_then(Section::parse).unwrap();
    Redaction::new(&config, signal, |_, _| Counter::default())
        .unwrap_or_else(|(key, what)| panic!("{key}: {what}"))
}

/// The ways through the rules that must agree: by regions, by map with gates, by map with every pattern on every value.
fn ways(yaml: &str, signal: Signal) -> [Redaction; 3] {
    let [by_region, mut by_map, mut plain] = [(); 3].map(|()| redaction(yaml, signal));
    let program = |redaction: &mut Redaction, change: fn(&mut Program)| {
        redaction.program.iter_mut().for_each(change);
    };
    program(&mut by_map, |p| p.by_region = false);
    program(&mut plain, |p| {
        p.by_region = false;
        p.rules.finder.always = u64::MAX;
        assert!(p.rules.blocked_values.len() < 64);
    });
    [by_region, by_map, plain]
}

#[track_caller]
fn check(yaml: &str, input: &str, expected: &str) {
    for redaction in ways(yaml, Signal::Logs) {
        let out = run_on_attributes(&redaction, map(input), &Context::default());
        assert_eq!(show(&out), show(&map(expected)), "{yaml}\non {input}");
    }
}

#[track_caller]
fn check_body(yaml: &str, body: &str, expected: &str, attributes: &str) {
    for redaction in ways(yaml, Signal::Logs) {
        let record = LogRecord {
            body: Some(value_of(body)),
            ..Default::default()
        };
        let out = first_record(&run(&redaction, Signal::Logs, &logs(record).encode_to_vec()));
        assert_eq!(
            show_any(&out.body.unwrap()),
            show_any(&value_of(expected)),
            "{yaml}\non {body}"
        );
        assert_eq!(show(&out.attributes), show(&map(attributes)), "{yaml}\non {body}");
    }
}

#[test]
fn keys_that_are_not_allowed_go() {
    check("{}", "{a: 1, b: x}", "{}");
    check(
        "{allowed_keys: [id, name], summary: debug}",
        r#"{id: 5, dob: "1990", name: x, tel: "1"}"#,
        r#"{id: 5, name: x, redaction.redacted.keys: "dob,tel", redaction.redacted.count: 2}"#,
    );
    check(
        "{allowed_keys: [m, k]}",
        "{d1: 1, k: 2, d2: 3, m: 4}",
        "{m: 4, k: 2}",
    );
    check("{allowed_keys: [a]}", "{a: 1}", "{a: 1}");
    check(
        "{ignored_keys: [x], allowed_keys: ['y'], summary: debug}",
        "{x: s, 'y': t}",
        "{x: s, 'y': t, redaction.ignored.count: 1}",
    );
    check(
        "{ignored_key_patterns: ['^http'], summary: silent}",
        "{http.url: a, x.http: b}",
        "{http.url: a}",
    );
}

#[test]
fn duplicates_of_a_denied_key_all_go() {
    let twice = |keys: &[&str]| -> Vec<KeyValue> {
        let entry = |(i, key): (usize, &&str)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue {
                value: Some(Any::IntValue(i as i64)),
            }),
            ..Default::default()
        };
        keys.iter().enumerate().map(entry).collect()
    };
    let r = redaction("{allowed_keys: [k, m]}", Signal::Logs);
    let out = run_on_attributes(&r, twice(&["d", "k", "d", "m", "d"]), &Context::default());
    assert_eq!(show(&out), "{m:3, k:1}");
}

#[test]
fn values_are_masked_where_they_match() {
    let yaml = r"{allow_all_keys: true, blocked_values: ['\d{3}-\d{2}-\d{4}'], summary: info}";
    check(
        yaml,
        r#"{note: "ssn 123-45-6789 ok"}"#,
        r#"{note: "ssn **** ok", redaction.masked.count: 1}"#,
    );
    check(yaml, "{note: none, n: 5}", "{note: none, n: 5}");
    let order = "{allow_all_keys: true, blocked_values: [abc, 'a', '\\*+x'], summary: debug}";
    check(
        order,
        "{a: abc, b: bac, c: abcx}",
        r#"{a: "****", b: "b****c", c: "****", redaction.masked.keys: "a,b,c", redaction.masked.count: 3}"#,
    );
    // A hash may hold what a later pattern looks for.
    let later = "{allow_all_keys: true, blocked_values: ['tok-[a-z]+', 'e64'], hash_function: md5}";
    let once = md5_hex("tok-x");
    let twice = once.replace("e64", &md5_hex("e64"));
    check(
        later,
        "{a: none, b: 'tok-x'}",
        &format!("{{a: none, b: '{twice}'}}"),
    );
    check(
        "{allow_all_keys: true, blocked_values: ['\\*\\*\\*\\*'], summary: info}",
        "{a: 'x**** y'}",
        "{a: 'x**** y'}",
    );
}

fn md5_hex(text: &str) -> String {
    codec::md5::hash(text.as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[test]
fn allowed_values_stay() {
    let yaml =
        "{allow_all_keys: true, blocked_values: ['@corp'], allowed_values: ['ok@corp'], summary: debug}";
    check(
        yaml,
        r#"{m: "ok@corp bad@corp"}"#,
        r#"{m: "ok@corp bad@corp", redaction.allowed.keys: m, redaction.allowed.count: 1}"#,
    );
    check(
        yaml,
        "{m: 'bad@corp', n: 1}",
        "{m: 'bad****', n: 1, redaction.masked.keys: m, redaction.masked.count: 1}",
    );
    let silent = "{allow_all_keys: true, blocked_values: ['@corp'], allowed_values: ['ok@corp']}";
    check(
        silent,
        "{m: 'ok@corp', n: 'no@corp'}",
        "{m: 'ok@corp', n: 'no****'}",
    );
    check(
        "{allow_all_keys: true, blocked_key_patterns: [m], allowed_values: ['.*'], summary: info}",
        "{m: 1, n: x}",
        "{m: 1, n: x, redaction.allowed.count: 2}",
    );
}

#[test]
fn blocked_keys_have_their_values_masked_whole() {
    check(
        "{allow_all_keys: true, blocked_key_patterns: ['.*secret.*'], hash_function: md5}",
        "{my_secret: abc}",
        "{my_secret: 900150983cd24fb0d6963f7d28e17f72}",
    );
    let pin = "{allow_all_keys: true, blocked_key_patterns: [pin]}";
    check(pin, "{pin: 1234}", "{pin: '****'}");
    check(pin, "{pin: ''}", "{pin: '****'}");
    check(
        pin,
        "{pin: [1, 2], pinned: {a: b}}",
        "{pin: '****', pinned: '****'}",
    );
    check(pin, r#"{pin: "a\nb", x: 1}"#, r#"{pin: "****\n****", x: 1}"#);
    check(
        "{allowed_keys: [pin], blocked_key_patterns: [pin], hash_function: sha1, redact_all_types: true}",
        "{pin: 1234, pin2: 1}",
        "{pin: '7110eda4d09e062aa5e4a390b0a572ac0d2c0220'}",
    );
}

#[test]
fn types_other_than_text_are_searched_if_asked_for() {
    let all =
        r"{allow_all_keys: true, blocked_values: ['\d{16}', 'x+'], redact_all_types: true, summary: info}";
    check(
        all,
        "{card: 5500005555555559, b: true, l: [xx, 1], n: {k: x}, e: ok}",
        r#"{card: "****", b: true, l: "[\"****\",1]", n: "{\"k\":\"****\"}", e: ok, redaction.masked.count: 3}"#,
    );
    check(
        r"{allow_all_keys: true, blocked_values: ['\d{16}', 'x+']}",
        "{card: 5500005555555559, l: [xx, 1], n: {k: x}}",
        "{card: 5500005555555559, l: [xx, 1], n: {k: x}}",
    );
}

#[test]
fn a_pattern_that_matches_nothing_matches_all_that_is_no_text() {
    let yaml = r"{allow_all_keys: true, blocked_values: ['\d*']}";
    check(
        yaml,
        "{n: 7, e: '', t: ab}",
        "{n: '****', e: '****', t: '****a****b****'}",
    );
}

#[test]
fn a_second_summary_adds_to_the_first() {
    check(
        "{allow_all_keys: true, blocked_values: [x], summary: debug}",
        "{a: x, redaction.masked.keys: 'b,a', redaction.masked.count: 2}",
        "{a: '****', redaction.masked.keys: 'a,a,b', redaction.masked.count: 3}",
    );
    check(
        "{allowed_keys: [a], summary: info}",
        "{a: x, b: 1, redaction.redacted.keys: z, redaction.redacted.count: n}",
        "{a: x, redaction.redacted.count: 1, redaction.redacted.keys: z}",
    );
    check("{summary: DEBUG}", "{a: 1}", "{}");
}

#[test]
fn bodies_are_searched_at_every_depth() {
    let yaml = "{allow_all_keys: true, blocked_values: ['tok-[a-z]+'], summary: debug}";
    check_body(
        yaml,
        "{a: {b: [tok-x, ok]}}",
        "{a: {b: ['****', ok]}}",
        "{redaction.body.masked.keys: 'a.b.[0]', redaction.body.masked.count: 1}",
    );
    check_body(
        yaml,
        "say tok-x",
        "say ****",
        "{redaction.body.masked.keys: body, redaction.body.masked.count: 1}",
    );
    check_body(
        yaml,
        "[1, [tok-a], {k: tok-b}]",
        "[1, ['****'], {k: '****'}]",
        "{redaction.body.masked.keys: '[1].[0],[2].k', redaction.body.masked.count: 2}",
    );
    check_body(yaml, "{a: 1, b: [x]}", "{a: 1, b: [x]}", "{}");
    let numbers = r"{allow_all_keys: true, blocked_values: ['^\d{3}$', 'true'], summary: info}";
    check_body(numbers, "123", "'****'", "{redaction.body.masked.count: 1}");
    check_body(
        numbers,
        "{a: 123, b: 12, c: true}",
        "{a: '****', b: 12, c: '****'}",
        "{redaction.body.masked.count: 2}",
    );
}

#[test]
fn rules_on_keys_hold_within_bodies() {
    check_body(
        "{allowed_keys: [a, c], summary: debug}",
        "{x: 1, a: {y: 2, c: 3}, z: 4}",
        "{a: {c: 3}}",
        "{redaction.body.redacted.keys: 'a.y,x,z', redaction.body.redacted.count: 3}",
    );
    check_body(
        "{allowed_keys: [c, d]}",
        "{x: 1, c: 2, 'y': 3, d: 4}",
        "{d: 4, c: 2}",
        "{}",
    );
    check_body(
        "{allow_all_keys: true, blocked_key_patterns: [pin], ignored_keys: [id], blocked_values: [x], summary: debug}",
        "{id: x, a: [{pin: 5, t: x}]}",
        "{id: x, a: [{pin: '****', t: '****'}]}",
        "{redaction.body.masked.keys: 'a.[0].pin,a.[0].t', redaction.body.masked.count: 2, redaction.body.ignored.count: 1}",
    );
    check_body("{}", "text stays", "text stays", "{}");
}

#[test]
fn allowed_bodies_stay() {
    let yaml = "{allow_all_keys: true, blocked_values: [x], allowed_values: ['^ok'], summary: debug}";
    check_body(yaml, "ok x", "ok x", "{}");
    check_body(
        yaml,
        "{a: ok x, b: x}",
        "{a: ok x, b: '****'}",
        "{redaction.body.masked.keys: b, redaction.body.masked.count: 1, redaction.body.allowed.keys: a, redaction.body.allowed.count: 1}",
    );
}

#[test]
fn urls_become_routes() {
    let yaml =
        "{allow_all_keys: true, url_sanitizer: {enabled: true, attributes: [http.url]}, summary: info}";
    check(
        yaml,
        "{http.url: '/v1/products/22j?x=1', other: '/v1/products/22j', n: 5}",
        "{http.url: '/v1/products/*', other: '/v1/products/22j', n: 5, redaction.masked.count: 1}",
    );
    check(
        yaml,
        "{http.url: '/v1/products', b: x}",
        "{http.url: '/v1/products', b: x}",
    );
    // After the blocked values, and only where no allowed value is.
    check(
        "{allow_all_keys: true, blocked_values: ['tok-[a-z]+'], allowed_values: [keep], url_sanitizer: {enabled: true, attributes: [u, v]}}",
        "{u: '/a/tok-x/22?tok-y', v: '/keep/22', w: 'tok-z'}",
        "{u: '/a/*/*', v: '/keep/22', w: '****'}",
    );
    // As text, a number is a segment that is no word.
    let all =
        "{allow_all_keys: true, redact_all_types: true, url_sanitizer: {enabled: true, attributes: [n]}}";
    check(all, "{n: 5, m: 5}", "{n: '*', m: 5}");
    check_body(
        "{allow_all_keys: true, url_sanitizer: {enabled: true}, summary: debug}",
        "{a: '/x1/22', b: ['GET /cart?x', 7, true], c: {}}",
        "{a: '/x1/*', b: ['GET /cart', '*', true], c: {}}",
        "{redaction.body.masked.keys: 'a,b.[0],b.[1]', redaction.body.masked.count: 3}",
    );
    check_body(
        "{allow_all_keys: true, url_sanitizer: {enabled: true}}",
        "/orders/1234",
        "/orders/*",
        "{}",
    );
}

#[test]
fn names_of_spans_become_routes() {
    let name_of = |yaml: &str, kind: i32, name: &str, attributes: &str| {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    spans: vec![Span {
                        name: name.into(),
                        kind,
                        attributes: map(attributes),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        let out = run(
            &redaction(yaml, Signal::Traces),
            Signal::Traces,
            &request.encode_to_vec(),
        );
        let out = ExportTraceServiceRequest::decode(&out[..]).unwrap();
        out.resource_spans[0].scope_spans[0].spans[0].name.clone()
    };
    let on = "{allow_all_keys: true, url_sanitizer: {enabled: true}}";
    let off = "{allow_all_keys: true, url_sanitizer: {enabled: true, sanitize_span_name: false}}";
    let allowed = "{allow_all_keys: true, allowed_values: [cart], url_sanitizer: {enabled: true}}";
    let no_keys = "{url_sanitizer: {enabled: true}}";
    for (yaml, kind, name, attributes, expected) in [
        (on, 2, "GET /cart/22", "{}", "GET /cart/*"),
        (on, 3, "GET /cart/22", "{}", "GET /cart/*"),
        (on, 1, "GET /cart/22", "{}", "GET /cart/22"),
        (on, 0, "GET /cart/22", "{}", "GET /cart/22"),
        (on, 2, "xq9z7", "{http.method: GET}", "xq9z7"),
        (on, 2, "op?x=1", "{http.method: GET}", "op"),
        (on, 2, "op?x=1", "{method: GET}", "op?x=1"),
        (no_keys, 2, "op?x=1", "{http.method: GET}", "op?x=1"),
        (on, 2, "/22/33", "{}", "/22/33"),
        (on, 2, "?x/y", "{}", "?x/y"),
        (off, 2, "GET /cart/22", "{}", "GET /cart/22"),
        (allowed, 2, "GET /cart/22", "{}", "GET /cart/22"),
        (allowed, 2, "GET /list/22", "{}", "GET /list/*"),
    ] {
        assert_eq!(name_of(yaml, kind, name, attributes), expected, "{yaml} {name}");
    }
}

#[test]
fn refuses_what_it_cannot_do() {
    for (yaml, key) in [
        (
            "db_sanitizer: {sql: {enabled: true, attributes: [q]}}",
            "db_sanitizer",
        ),
        ("skip_conditions: ['true']", "skip_conditions"),
        ("blocked_values: ['(']", "blocked_values"),
        ("allowed_values: ['(?=x)']", "allowed_values"),
        ("blocked_key_patterns: ['[']", "blocked_key_patterns"),
        ("ignored_key_patterns: ['\\8']", "ignored_key_patterns"),
        ("hash_function: sha512", "hash_function"),
        ("{hash_function: hmac-sha256, hmac_key: short}", "hmac_key"),
    ] {
        let config: Config = Section::from_yaml(yaml).and_then(Section::parse).unwrap();
        let (at, message) = Redaction::new(&config, Signal::Logs, |_, _| Counter::default())
            .err()
            .unwrap();
        assert_eq!(at, key, "{yaml}");
        assert!(!message.contains("short"), "{message}");
    }
    let config: Config =
        Section::from_yaml("{url_sanitizer: {enabled: false}, db_sanitizer: {sanitize_span_name: false}}")
            .and_then(Section::parse)
            .unwrap();
    assert!(Redaction::new(&config, Signal::Traces, |_, _| Counter::default()).is_ok());
    assert!(
        Section::from_yaml("blocked_value: [x]")
            .and_then(Section::parse::<Config>)
            .is_err()
    );
}

#[test]
fn defaults_match_otelcol() {
    let config: Config = Section::from_yaml("{}").and_then(Section::parse).unwrap();
    assert!(!config.allow_all_keys && !config.redact_all_types && config.summary.is_empty());
    assert!(!config.url_sanitizer.enabled && config.url_sanitizer.sanitize_span_name);
}

const SECRET: &str = "tok-secret";

fn secret(key: &str) -> Vec<KeyValue> {
    map(&format!("{{plain: p, {key}: 'a {SECRET}'}}"))
}

fn is_clean(map: &[KeyValue]) -> bool {
    show(map).contains("a ****") && !show(map).contains(SECRET)
}

#[test]
fn looks_at_spans_and_events_but_not_at_links() {
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: secret("r"),
                ..Default::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    attributes: secret("s"),
                    ..Default::default()
                }),
                spans: vec![Span {
                    name: SECRET.into(),
                    attributes: secret("sp"),
                    events: vec![span::Event {
                        attributes: secret("e"),
                        ..Default::default()
                    }],
                    links: vec![span::Link {
                        attributes: secret("l"),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    for r in ways(
        "{allow_all_keys: true, blocked_values: ['tok-[a-z]+']}",
        Signal::Traces,
    ) {
        let out = run(&r, Signal::Traces, &request.encode_to_vec());
        let out = ExportTraceServiceRequest::decode(&out[..]).unwrap();
        let group = &out.resource_spans[0];
        let span = &group.scope_spans[0].spans[0];
        assert!(is_clean(&group.resource.as_ref().unwrap().attributes));
        assert!(is_clean(&group.scope_spans[0].scope.as_ref().unwrap().attributes));
        assert!(is_clean(&span.attributes));
        assert!(is_clean(&span.events[0].attributes));
        // As in the collector: not looked at.
        assert_eq!(span.links[0].attributes, secret("l"));
        assert_eq!(span.name, SECRET);
    }
}

#[test]
fn looks_at_points_but_not_at_exemplars() {
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![Metric {
                    name: "m".into(),
                    data: Some(metric::Data::Gauge(Gauge {
                        data_points: vec![NumberDataPoint {
                            attributes: secret("p"),
                            exemplars: vec![Exemplar {
                                filtered_attributes: secret("x"),
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
    for r in ways(
        "{allow_all_keys: true, blocked_values: ['tok-[a-z]+']}",
        Signal::Metrics,
    ) {
        let out = run(&r, Signal::Metrics, &request.encode_to_vec());
        let out = ExportMetricsServiceRequest::decode(&out[..]).unwrap();
        let Some(metric::Data::Gauge(gauge)) = &out.resource_metrics[0].scope_metrics[0].metrics[0].data
        else {
            panic!("a gauge");
        };
        assert!(is_clean(&gauge.data_points[0].attributes));
        assert_eq!(gauge.data_points[0].exemplars[0].filtered_attributes, secret("x"));
    }
}

#[test]
fn untouched_payloads_leave_as_they_came() {
    let record = LogRecord {
        attributes: map("{a: x, b: [1, {c: d}]}"),
        body: Some(value_of("{k: [v, 1]}")),
        ..Default::default()
    };
    let bytes = logs(record).encode_to_vec();
    for r in ways(
        "{allow_all_keys: true, blocked_values: ['tok-[a-z]+', '@']}",
        Signal::Logs,
    ) {
        assert_eq!(run(&r, Signal::Logs, &bytes), bytes);
    }
}

// --- Every way gives the same ---

fn configs() -> impl Strategy<Value = String> {
    let list = |of: Vec<&'static str>, max: usize| {
        prop::collection::vec(prop::sample::select(of), 0..max).prop_map(|v| {
            let quoted: Vec<String> = v.iter().map(|p| format!("'{p}'")).collect();
            format!("[{}]", quoted.join(", "))
        })
    };
    let values = vec![
        "tok-[a-z]+",
        "@",
        r"\d{3}",
        r"\d+-\d+",
        "(?i)bearer x",
        "a|b",
        "^x",
        r"\*+",
        "é.",
        ".b.",
        r"x*y",
        "[^a-z]{4}",
    ];
    let keys = vec!["^a", "b$", "sec"];
    (
        any::<bool>(),
        any::<bool>(),
        list(values.clone(), 5),
        list(vec!["^ok", "7"], 2),
        list(keys.clone(), 2),
        list(keys, 2),
        prop::sample::select(vec!["debug", "info", "silent"]),
        prop::sample::select(vec!["", "md5"]),
    )
        .prop_map(|(open, all, blocked, allowed, ignored, keys, summary, hash)| {
            format!(
                "{{allow_all_keys: {open}, allowed_keys: [a, b, ab, sec], redact_all_types: {all}, blocked_values: {blocked}, \
                 allowed_values: {allowed}, ignored_key_patterns: {ignored}, blocked_key_patterns: {keys}, \
                 summary: '{summary}', hash_function: '{hash}'}}"
            )
        })
}

fn text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "tok-", "a", "b", "x", "123", "-", "@", "BEARER x", "é", "ok", "7", "*", " ", "\n", "secret", "y",
    ]);
    prop::collection::vec(word, 0..5).prop_map(|v| v.concat())
}

fn value() -> impl Strategy<Value = AnyValue> {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    let leaf = prop_oneof![
        6 => text().prop_map(Any::StringValue),
        1 => (0i64..2000).prop_map(Any::IntValue),
        1 => any::<bool>().prop_map(Any::BoolValue),
        1 => prop::collection::vec(any::<u8>(), 0..5).prop_map(Any::BytesValue),
        1 => (0i32..2000).prop_map(|d| Any::DoubleValue(f64::from(d) / 8.0)),
    ]
    .prop_map(|v| AnyValue { value: Some(v) });
    let leaf = prop_oneof![9 => leaf, 1 => Just(AnyValue { value: None })];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| AnyValue {
                value: Some(Any::ArrayValue(ArrayValue { values })),
            }),
            entries(inner).prop_map(|values| AnyValue {
                value: Some(Any::KvlistValue(KeyValueList { values })),
            }),
        ]
    })
}

fn entries(value: impl Strategy<Value = AnyValue>) -> impl Strategy<Value = Vec<KeyValue>> {
    let key = prop::sample::select(vec!["a", "b", "ab", "sec", "c", "dd", "redaction.masked.keys"]);
    let entry = (key, value).prop_map(|(key, value)| KeyValue {
        key: key.to_owned(),
        value: Some(value),
        ..Default::default()
    });
    prop::collection::vec(entry, 0..6)
}

fn requests() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let record = (entries(value()), prop::option::of(value())).prop_map(|(attributes, body)| LogRecord {
        attributes,
        body,
        ..Default::default()
    });
    (prop::collection::vec(record, 0..4), entries(value())).prop_map(|(records, resource)| {
        let mut request = logs(LogRecord::default());
        request.resource_logs[0].resource = Some(Resource {
            attributes: resource,
            ..Default::default()
        });
        request.resource_logs[0].scope_logs[0].log_records = records;
        request
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_way_gives_what_the_naive_way_gives(config in configs(), request in requests()) {
        let bytes = request.encode_to_vec();
        let rules: Config = Section::from_yaml(&config).and_then(Section::parse).unwrap();
        let expected = oracle::redact(&rules, request);
        for (i, r) in ways(&config, Signal::Logs).iter().enumerate() {
            let out = run(r, Signal::Logs, &bytes);
            let out = ExportLogsServiceRequest::decode(&out[..]).unwrap();
            prop_assert_eq!(&out, &expected, "way {} with {}", i, config);
        }
    }
}

/// The rules on decoded trees, written as plainly as possible.
mod oracle {
    use super::*;

    struct Naive<'a> {
        config: &'a Config,
        mask: Mask,
        tally: [Vec<String>; 4],
    }

    fn matches(patterns: &[String], text: &str) -> bool {
        patterns.iter().any(|p| {
            let p = Pattern::new(p).unwrap();
            p.is_match(&mut p.cache(), text.as_bytes())
        })
    }

    pub(super) fn redact(config: &Config, mut request: ExportLogsServiceRequest) -> ExportLogsServiceRequest {
        let mut naive = Naive {
            config,
            mask: Mask::new(&config.hash_function, "").unwrap(),
            tally: Default::default(),
        };
        for group in &mut request.resource_logs {
            if let Some(resource) = &mut group.resource {
                naive.attributes(&mut resource.attributes);
            }
            for record in group.scope_logs.iter_mut().flat_map(|s| &mut s.log_records) {
                naive.attributes(&mut record.attributes);
                naive.tally = Default::default();
                let mut body = record.body.clone().unwrap_or_default();
                let changed = match &mut body.value {
                    Some(Any::KvlistValue(_) | Any::ArrayValue(_)) => naive.nested(&mut body, ""),
                    _ => {
                        let text = as_string(&body);
                        match matches(&config.allowed_values, &text) {
                            true => false,
                            false => naive.scalar(&mut body, &text, "body"),
                        }
                    }
                };
                if changed {
                    record.body = Some(body);
                }
                naive.summary(&mut record.attributes, "redaction.body.");
            }
        }
        request
    }

    pub(super) fn as_string(value: &AnyValue) -> String {
        let mut out = Vec::new();
        wire::view::Value::new(&value.encode_to_vec()).as_string(&mut out);
        String::from_utf8(out).unwrap()
    }

    impl Naive<'_> {
        fn attributes(&mut self, map: &mut Vec<KeyValue>) {
            self.tally = Default::default();
            let mut denied = Vec::new();
            for entry in map.iter_mut() {
                let key = entry.key.clone();
                let value = entry.value.as_mut().unwrap();
                let text = match &value.value {
                    Some(Any::StringValue(s)) => s.clone(),
                    _ if self.config.redact_all_types => as_string(value),
                    _ => String::new(),
                };
                if self.is_ignored(&key) {
                    self.tally[3].push(key);
                } else if !self.is_allowed_key(&key) {
                    self.tally[0].push(key.clone());
                    denied.push(key);
                } else if matches(&self.config.allowed_values, &text) {
                    self.tally[2].push(key);
                } else if matches(&self.config.blocked_key_patterns, &key) {
                    *value = self.whole(&text);
                    self.tally[1].push(key);
                } else {
                    self.scalar(value, &text, &key);
                }
            }
            remove(map, &denied);
            self.summary(map, "redaction.");
        }

        fn is_ignored(&self, key: &str) -> bool {
            self.config.ignored_keys.iter().any(|k| k == key)
                || matches(&self.config.ignored_key_patterns, key)
        }

        fn is_allowed_key(&self, key: &str) -> bool {
            self.config.allow_all_keys
                || self.config.allowed_keys.iter().any(|k| k == key)
                || key.starts_with("redaction.")
        }

        fn whole(&self, text: &str) -> AnyValue {
            let mut out = Vec::new();
            let p = Pattern::new(".*").unwrap();
            p.replace_all(&mut p.cache(), text.as_bytes(), &mut out, |m, out| {
                self.mask.append(m, out)
            });
            string(out)
        }

        fn scalar(&mut self, value: &mut AnyValue, text: &str, name: &str) -> bool {
            let mut now = text.as_bytes().to_vec();
            for p in &self.config.blocked_values {
                let p = Pattern::new(p).unwrap();
                let mut next = Vec::new();
                if p.replace_all(&mut p.cache(), &now, &mut next, |m, out| self.mask.append(m, out)) {
                    now = next;
                }
            }
            if now == text.as_bytes() {
                return false;
            }
            *value = string(now);
            self.tally[1].push(name.to_owned());
            true
        }

        fn nested(&mut self, value: &mut AnyValue, path: &str) -> bool {
            let at = |name: &str| match path {
                "" => name.to_owned(),
                path => format!("{path}.{name}"),
            };
            match &mut value.value {
                Some(Any::KvlistValue(list)) => {
                    let (mut denied, mut changed) = (Vec::new(), false);
                    for entry in &mut list.values {
                        let (key, path) = (entry.key.clone(), at(&entry.key));
                        let value = entry.value.as_mut().unwrap();
                        if self.is_ignored(&key) {
                            self.tally[3].push(path);
                        } else if !self.is_allowed_key(&key) {
                            self.tally[0].push(path);
                            denied.push(key);
                        } else if matches(&self.config.blocked_key_patterns, &key) {
                            let text = match &value.value {
                                Some(Any::StringValue(s)) => s.clone(),
                                _ => String::new(),
                            };
                            *value = self.whole(&text);
                            self.tally[1].push(path);
                            changed = true;
                        } else {
                            changed |= self.nested(value, &path);
                        }
                    }
                    remove(&mut list.values, &denied);
                    changed || !denied.is_empty()
                }
                Some(Any::ArrayValue(list)) => {
                    let mut changed = false;
                    for (i, value) in list.values.iter_mut().enumerate() {
                        changed |= self.nested(value, &at(&format!("[{i}]")));
                    }
                    changed
                }
                _ => {
                    let text = as_string(value);
                    if matches(&self.config.allowed_values, &text) {
                        self.tally[2].push(path.to_owned());
                        return false;
                    }
                    self.scalar(value, &text, path)
                }
            }
        }

        fn summary(&mut self, map: &mut Vec<KeyValue>, prefix: &str) {
            if !["debug", "info"].contains(&self.config.summary.as_str()) {
                return;
            }
            for (names, word) in self
                .tally
                .iter_mut()
                .zip(["redacted", "masked", "allowed", "ignored"])
            {
                if names.is_empty() {
                    continue;
                }
                let count = names.len() as i64;
                if self.config.summary == "debug" && word != "ignored" {
                    let key = format!("{prefix}{word}.keys");
                    let before = map.iter().find(|e| e.key == key).and_then(|e| e.value.clone());
                    if let Some(Any::StringValue(s)) = before.and_then(|v| v.value)
                        && !s.is_empty()
                    {
                        names.extend(s.split(',').map(str::to_owned));
                    }
                    names.sort();
                    put(map, &key, Any::StringValue(names.join(",")));
                }
                let key = format!("{prefix}{word}.count");
                let before = map.iter().find(|e| e.key == key).and_then(|e| e.value.clone());
                let before = match before.and_then(|v| v.value) {
                    Some(Any::IntValue(n)) => n,
                    _ => 0,
                };
                put(map, &key, Any::IntValue(before + count));
            }
        }
    }

    fn string(text: Vec<u8>) -> AnyValue {
        AnyValue {
            value: Some(Any::StringValue(String::from_utf8(text).unwrap())),
        }
    }

    fn remove(map: &mut Vec<KeyValue>, denied: &[String]) {
        for key in denied {
            let at = map.iter().position(|e| e.key == *key).unwrap();
            map.swap_remove(at);
        }
    }

    fn put(map: &mut Vec<KeyValue>, key: &str, value: Any) {
        let value = Some(AnyValue { value: Some(value) });
        match map.iter_mut().find(|e| e.key == key) {
            Some(entry) => entry.value = value,
            None => map.push(KeyValue {
                key: key.to_owned(),
                value,
                ..Default::default()
            }),
        }
    }
}

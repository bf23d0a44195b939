use std::collections::VecDeque;
use std::net::SocketAddr;

use component::test_kit::{Lonely, context, section};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as V;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

component::component_tests!(FACTORY, "endpoint: http://127.0.0.1:1");

// --- What Loki reads ---

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Pair>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

fn read(body: &[u8]) -> PushRequest {
    let plain = snap::raw::Decoder::new()
        .decompress_vec(body)
        .expect("a block of snappy");
    PushRequest::decode(&plain[..]).expect("a push")
}

/// `LABELS nanoseconds line {name=value,...}`, a line each.
fn shown(push: &PushRequest) -> Vec<String> {
    let entry = |stream: &Stream, entry: &Entry| {
        let time = entry.timestamp.unwrap_or_default();
        let pairs = entry
            .metadata
            .iter()
            .map(|pair| format!("{}={}", pair.name, pair.value));
        let pairs: Vec<String> = pairs.collect();
        let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
        format!("{} {nanos} {} {{{}}}", stream.labels, entry.line, pairs.join(","))
    };
    let streams = push.streams.iter();
    streams
        .flat_map(|stream| stream.entries.iter().map(move |one| entry(stream, one)))
        .collect()
}

// --- What is sent ---

fn text(text: &str) -> AnyValue {
    any(V::StringValue(text.into()))
}

fn any(value: V) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn attr(key: &str, value: AnyValue) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(value),
        ..Default::default()
    }
}

fn texts(all: &[(&str, &str)]) -> Vec<KeyValue> {
    all.iter().map(|(key, value)| attr(key, text(value))).collect()
}

fn record(time: u64, body: &str, attributes: Vec<KeyValue>) -> LogRecord {
    LogRecord {
        time_unix_nano: time,
        body: Some(text(body)),
        attributes,
        ..Default::default()
    }
}

fn group(resource: Vec<KeyValue>, log_records: Vec<LogRecord>) -> ResourceLogs {
    ResourceLogs {
        resource: Some(Resource {
            attributes: resource,
            ..Default::default()
        }),
        scope_logs: vec![ScopeLogs {
            scope: None,
            log_records,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn payload(groups: Vec<ResourceLogs>) -> Payload {
    let request = ExportLogsServiceRequest {
        resource_logs: groups,
    }
    .encode_to_vec();
    let shape = wire::validate(Signal::Logs, &request, &wire::Limits::default()).expect("it is well formed");
    Payload::new(Signal::Logs, Chunk::new(request.into(), shape), Arc::default())
}

fn build(yaml: &str) -> Result<Loki, Fault> {
    Loki::build(
        section(&format!("{{endpoint: 'http://loki:3100', {yaml}}}")),
        &context("loki/test"),
    )
}

const NOW: u64 = 1_700_000_000_000_000_000;

fn encoded(yaml: &str, payload: &Payload) -> Encoded {
    let loki = build(yaml).unwrap_or_else(|fault| panic!("{fault}"));
    let batch = Batch {
        own_tenant: "acme",
        tenant: b"",
        now: NOW,
    };
    loki.encode(payload, batch).expect("it can be read")
}

fn pushed(yaml: &str, payload: &Payload) -> Pushed {
    match encoded(yaml, payload) {
        Encoded::Push(push) => push,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(yaml: &str, groups: Vec<ResourceLogs>, expected: &[&str]) {
    let push = pushed(yaml, &payload(groups));
    assert_eq!(shown(&read(&push.body)), expected, "{yaml}");
}

const SERVICE: [(&str, &str); 3] = [
    ("service.namespace", "shop"),
    ("service.name", "cart"),
    ("service.instance.id", "7"),
];

fn full() -> ResourceLogs {
    let mut all = group(
        texts(&SERVICE),
        vec![LogRecord {
            severity_number: 9,
            severity_text: "Info".into(),
            trace_id: vec![0xab; 16],
            span_id: vec![1; 8],
            flags: 1,
            observed_time_unix_nano: 8,
            dropped_attributes_count: 2,
            event_name: "bought".into(),
            ..record(
                7,
                "a \"b\"",
                vec![
                    attr("z", any(V::IntValue(-5))),
                    attr("a.b", any(V::BoolValue(true))),
                    attr("none", AnyValue::default()),
                    attr("raw", any(V::BytesValue(b"ab".to_vec()))),
                    attr(
                        "map",
                        any(V::KvlistValue(KeyValueList {
                            values: vec![
                                attr("x.y", text("1")),
                                attr(
                                    "list",
                                    any(V::ArrayValue(ArrayValue {
                                        values: vec![any(V::DoubleValue(0.5)), text("two")],
                                    })),
                                ),
                            ],
                        })),
                    ),
                ],
            )
        }],
    );
    all.scope_logs[0].scope = Some(InstrumentationScope {
        name: "lib".into(),
        version: "1.2".into(),
        attributes: texts(&[("in.scope", "s")]),
        dropped_attributes_count: 3,
    });
    all
}

const LABELS: &str = r#"{exporter="OTLP", instance="7", job="shop/cart", level="INFO"}"#;

#[test]
fn a_line_is_contribs_unless_told_otherwise() {
    let resources =
        r#""resources":{"service.instance.id":"7","service.name":"cart","service.namespace":"shop"}"#;
    let json = format!(
        concat!(
            r#"{} 7 {{"body":"a \"b\"","traceid":"abababababababababababababababab","spanid":"0101010101010101","#,
            r#""severity":"Info","flags":1,"attributes":{{"a.b":true,"map":{{"list":[0.5,"two"],"x.y":"1"}},"none":null,"#,
            r#""raw":"YWI=","z":-5}},{},"instrumentation_scope":{{"name":"lib","version":"1.2","#,
            r#""attributes":{{"in.scope":"s"}}}}}} {{}}"#
        ),
        LABELS, resources
    );
    check("", vec![full()], &[&json]);
    let logfmt = format!(
        "{LABELS} 7 {} {{}}",
        concat!(
            r#"msg="a \"b\"" traceID=abababababababababababababababab spanID=0101010101010101 severity=Info flags=1 "#,
            r#"attribute_z=-5 attribute_a.b=true attribute_raw="YWI=" attribute_map_x.y=1 attribute_map_list_0=0.5 "#,
            r#"attribute_map_list_1=two resource_service.namespace=shop resource_service.name=cart "#,
            r#"resource_service.instance.id=7 instrumentation_scope_name=lib instrumentation_scope_version=1.2 "#,
            r#"instrumentation_scope_attribute_in.scope=s"#
        )
    );
    check("format: logfmt", vec![full()], &[&logfmt]);
    let none = format!("{LABELS} 7 a \"b\" {{}}");
    check(
        "format: raw, structured_metadata: {mode: none}",
        vec![full()],
        &[&none],
    );
}

#[test]
fn metadata_is_what_loki_makes_of_otlp() {
    let metadata = concat!(
        "z=-5,a_b=true,raw=YWI=,map_x_y=1,map_list=[0.5,\"two\"],observed_timestamp=8,severity_number=9,",
        "severity_text=Info,dropped_attributes_count=2,flags=1,trace_id=abababababababababababababababab,",
        "span_id=0101010101010101,event_name=bought,service_namespace=shop,service_name=cart,service_instance_id=7,",
        "in_scope=s,scope_name=lib,scope_version=1.2,scope_dropped_attributes_count=3"
    );
    check(
        "format: raw",
        vec![full()],
        &[&format!("{LABELS} 7 a \"b\" {{{metadata}}}")],
    );
    let fewer = metadata
        .replace("z=-5,", "")
        .replace("service_name=cart,", "")
        .replace("in_scope=s,", "");
    check(
        "format: raw, structured_metadata: {drop: [z, service.name, in.scope]}",
        vec![full()],
        &[&format!("{LABELS} 7 a \"b\" {{{fewer}}}")],
    );
}

#[test]
fn a_number_that_json_does_not_know_hides_nothing_else() {
    let numbers = |values: &[f64]| {
        any(V::ArrayValue(ArrayValue {
            values: values.iter().map(|value| any(V::DoubleValue(*value))).collect(),
        }))
    };
    let body = || {
        any(V::KvlistValue(KeyValueList {
            values: vec![
                attr("z", text("kept \"")),
                attr("a", numbers(&[1.5, f64::NAN, f64::INFINITY])),
                attr("z", text("last")),
                attr("n", AnyValue::default()),
            ],
        }))
    };
    let groups = || {
        let mut one = record(1, "", vec![attr("list", numbers(&[f64::NAN]))]);
        one.body = Some(body());
        vec![group(vec![], vec![one])]
    };
    let json = r#"{"a":[1.5,null,null],"n":null,"z":"last"}"#;
    let labels = r#"{exporter="OTLP"}"#;
    check(
        "format: raw",
        groups(),
        &[&format!("{labels} 1 {json} {{list=[null]}}")],
    );
    check(
        "",
        groups(),
        &[&format!(
            r#"{labels} 1 {{"body":{json},"attributes":{{"list":[null]}}}} {{}}"#
        )],
    );
}

#[test]
fn labels_are_made_of_attributes_and_texts() {
    let groups = || {
        vec![group(
            texts(&[("service.name", "cart"), ("k8s.pod.name", "p1")]),
            vec![record(1, "x", texts(&[("http.route", "/a"), ("user", "u")]))],
        )]
    };
    let raw = "format: raw, ";
    check(
        &format!(
            "{raw} labels: {{resource: {{service.name: app, k8s.pod.name: '', absent: x}}, attributes: {{http.route: ''}}, \
             static: {{cluster: eu1, by: '%{{tenant}}/%{{resource.service.name}}/%{{attribute.user}}', no: '%{{resource.gone}}'}}}}"
        ),
        groups(),
        &[
            r#"{app="cart", by="acme/cart/u", cluster="eu1", http_route="/a", k8s_pod_name="p1"} 1 x {user=u}"#,
        ],
    );
    // Default labels stand beside them where they are named.
    check(
        &format!(
            "{raw} labels: {{static: {{a: b}}}}, default_labels_enabled: {{job: true}}, structured_metadata: {{mode: none}}"
        ),
        groups(),
        &[r#"{a="b", job="cart"} 1 x {}"#],
    );
    check(
        &format!("{raw} default_labels_enabled: {{exporter: false}}, structured_metadata: {{mode: none}}"),
        groups(),
        &[r#"{job="cart"} 1 x {}"#],
    );
}

#[test]
fn hints_are_contribs() {
    let resource = |more: &[(&str, &str)]| {
        let mut all = texts(&[("service.name", "cart"), ("host.name", "h1")]);
        all.extend(texts(more));
        all
    };
    let check = |resource: Vec<KeyValue>, attributes: Vec<KeyValue>, expected: &str| {
        let groups = vec![group(resource, vec![record(1, "x", attributes)])];
        check(
            "default_labels_enabled: {exporter: false, job: false}",
            groups,
            &[expected],
        );
    };
    check(
        resource(&[("loki.resource.labels", "host.name, service.name")]),
        texts(&[("a", "1")]),
        r#"{host_name="h1", service_name="cart"} 1 {"body":"x","attributes":{"a":"1"}} {}"#,
    );
    check(
        resource(&[]),
        texts(&[
            ("a", "1"),
            ("b", "2"),
            ("loki.resource.labels", "host.name"),
            ("loki.attribute.labels", "b"),
        ]),
        r#"{b="2", host_name="h1"} 1 {"body":"x","attributes":{"a":"1"},"resources":{"service.name":"cart"}} {}"#,
    );
    let list = any(V::ArrayValue(ArrayValue {
        values: vec![text("a"), text("m.deep")],
    }));
    let map = any(V::KvlistValue(KeyValueList {
        values: vec![attr("deep", text("d"))],
    }));
    check(
        resource(&[("loki.format", "raw")]),
        vec![
            attr("a", text("1")),
            attr("m", map),
            attr("loki.attribute.labels", list),
        ],
        r#"{a="1", m_deep="d"} 1 x {}"#,
    );
    // Names of maps, and those in them, may have dots.
    let map = any(V::KvlistValue(KeyValueList {
        values: vec![attr("c.d", text("x")), attr("c", text("y"))],
    }));
    check(
        resource(&[("loki.format", "raw")]),
        vec![
            attr("a.b", map),
            attr("a", text("1")),
            attr("loki.attribute.labels", text("a.b.c.d, a.b.c, a.c, a.b.c.e, a.")),
        ],
        r#"{a_b_c="y", a_b_c_d="x"} 1 x {}"#,
    );
    // The resource's word outranks the record's; an unknown format is none.
    check(
        resource(&[("loki.format", "raw"), ("loki.resource.labels", "host.name")]),
        texts(&[("loki.format", "logfmt")]),
        r#"{host_name="h1"} 1 x {}"#,
    );
    check(
        resource(&[("loki.format", "xml"), ("loki.resource.labels", "host.name")]),
        vec![],
        r#"{host_name="h1"} 1 {"body":"x","resources":{"service.name":"cart"}} {}"#,
    );
}

#[test]
fn a_hint_of_one_record_leaves_its_neighbours_alone() {
    let hinted = texts(&[("loki.resource.labels", "host")]);
    let groups = vec![group(
        texts(&[("service.name", "cart"), ("host", "h")]),
        vec![
            record(1, "a", vec![]),
            record(2, "b", hinted),
            record(3, "c", vec![]),
        ],
    )];
    check(
        "default_labels_enabled: {exporter: false}",
        groups,
        &[
            r#"{job="cart"} 1 {"body":"a","resources":{"host":"h","service.name":"cart"}} {}"#,
            r#"{job="cart"} 3 {"body":"c","resources":{"host":"h","service.name":"cart"}} {}"#,
            r#"{host="h", job="cart"} 2 {"body":"b","resources":{"service.name":"cart"}} {}"#,
        ],
    );
    let unheeded = group(
        texts(&[("service.name", "s")]),
        vec![record(1, "a", texts(&[("loki.format", "raw")]))],
    );
    check(
        "hints: false, default_labels_enabled: {exporter: false}",
        vec![unheeded],
        &[
            r#"{job="s"} 1 {"body":"a","attributes":{"loki.format":"raw"},"resources":{"service.name":"s"}} {}"#,
        ],
    );
}

#[test]
fn levels_are_an_attribute_or_the_severitys_name() {
    let severe = |number: i32, attributes| LogRecord {
        severity_number: number,
        ..record(1, "x", attributes)
    };
    let check = |record: LogRecord, expected: &str| {
        let yaml = "format: raw, structured_metadata: {mode: none}, default_labels_enabled: {exporter: true}";
        check(
            yaml,
            vec![group(vec![], vec![record])],
            &[&format!("{expected} 1 x {{}}")],
        );
    };
    check(severe(0, texts(&[("level", "own")])), r#"{exporter="OTLP"}"#);
    check(
        severe(9, texts(&[("level", "own")])),
        r#"{exporter="OTLP", level="own"}"#,
    );
    for (number, name) in [
        (1, "TRACE"),
        (8, "DEBUG4"),
        (9, "INFO"),
        (13, "WARN"),
        (18, "ERROR2"),
        (24, "FATAL4"),
    ] {
        check(
            severe(number, vec![]),
            &format!(r#"{{exporter="OTLP", level="{name}"}}"#),
        );
    }
    check(severe(25, vec![]), r#"{exporter="OTLP"}"#);
}

#[test]
fn records_stand_in_the_order_of_their_times_and_streams_once() {
    let service = |name: &str| texts(&[("service.name", name)]);
    let groups = vec![
        group(
            service("a"),
            vec![
                record(30, "3", vec![]),
                record(10, "1", vec![]),
                record(10, "1 too", vec![]),
            ],
        ),
        group(service("b"), vec![record(5, "b", vec![])]),
        group(service("a"), vec![record(20, "2", vec![])]),
    ];
    check(
        "format: raw, structured_metadata: {mode: none}, default_labels_enabled: {exporter: false}",
        groups,
        &[
            r#"{job="a"} 10 1 {}"#,
            r#"{job="a"} 10 1 too {}"#,
            r#"{job="a"} 20 2 {}"#,
            r#"{job="a"} 30 3 {}"#,
            r#"{job="b"} 5 b {}"#,
        ],
    );
}

#[test]
fn a_record_without_a_time_takes_what_there_is() {
    let check = |time, observed, expected: u64| {
        let one = LogRecord {
            observed_time_unix_nano: observed,
            ..record(time, "x", vec![])
        };
        let line = format!("{{exporter=\"OTLP\"}} {expected} x {{}}");
        check(
            "format: raw, structured_metadata: {mode: none}",
            vec![group(vec![], vec![one])],
            &[&line],
        );
    };
    check(3, 5, 3);
    check(0, 5, 5);
    check(0, 0, NOW);
    check(1_700_000_000_123_456_789, 0, 1_700_000_000_123_456_789);
}

#[test]
fn json_is_the_same_push() {
    let groups = || {
        vec![
            full(),
            group(
                texts(&[("service.name", "b")]),
                vec![record(1, "x", vec![]), record(2, "\u{1}\"", vec![])],
            ),
        ]
    };
    let json = pushed("format: raw, encoding: json", &payload(groups()));
    let json: serde_json::Value = serde_json::from_slice(&json.body).expect("it is JSON");
    let proto = read(&pushed("format: raw", &payload(groups())).body);
    let mut lines = Vec::new();
    for stream in json["streams"].as_array().expect("streams") {
        let labels = stream["stream"].as_object().expect("labels");
        let labels = labels.iter().map(|(name, value)| format!("{name}={value}"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        for value in stream["values"].as_array().expect("values") {
            // Objects have no order here.
            let pairs: std::collections::BTreeMap<_, _> =
                value[2].as_object().into_iter().flatten().collect();
            let (time, line) = (value[0].as_str().expect("text"), value[1].as_str().expect("text"));
            lines.push(format!("{{{labels}}} {time} {line} {pairs:?}"));
        }
    }
    let expected: Vec<String> = proto
        .streams
        .iter()
        .flat_map(|stream| {
            stream.entries.iter().map(|entry| {
                let time = entry.timestamp.unwrap_or_default();
                let pairs: std::collections::BTreeMap<_, _> = entry
                    .metadata
                    .iter()
                    .map(|pair| (pair.name.clone(), serde_json::Value::from(pair.value.clone())))
                    .collect();
                let nanos = time.seconds * 1_000_000_000 + i64::from(time.nanos);
                format!("{} {nanos} {} {pairs:?}", stream.labels, entry.line)
            })
        })
        .collect();
    assert_eq!(lines, expected);
    assert_eq!(lines.len(), 3);
}

#[test]
fn what_loki_would_refuse_is_not_sent() {
    let check = |yaml: &str, one: LogRecord, expected: &str| {
        let all = payload(vec![group(texts(&[("service.name", "cart")]), vec![one])]);
        match encoded(&format!("format: raw, {yaml}"), &all) {
            Encoded::Rejected(rule) => assert_eq!(rule, expected, "{yaml}"),
            Encoded::Push(push) => assert_eq!(format!("{} cut", push.cut), expected, "{yaml}"),
            other => panic!("{other:?}"),
        }
        assert!(
            expected.ends_with(" cut") || told(expected) != told(""),
            "{expected} has words"
        );
    };
    let line = |len: usize| record(NOW, &"x".repeat(len), texts(&[("a", "b")]));
    check("limits: {max_line_size: 10}", line(10), "0 cut");
    check("limits: {max_line_size: 10}", line(11), "1 cut");
    check(
        "limits: {max_line_size: 10, oversize: reject}",
        line(11),
        "line_too_long",
    );
    check("limits: {max_line_size: 0}", line(300_000), "0 cut");
    check("", line(262_145), "1 cut");
    check(
        "default_labels_enabled: {exporter: false, job: false}",
        line(1),
        "no_labels",
    );
    check("limits: {max_label_names: 1}", line(1), "too_many_labels");
    check(
        "limits: {max_label_name_length: 7}",
        line(1),
        "label_name_too_long",
    );
    check(
        "limits: {max_label_value_length: 3}",
        line(1),
        "label_value_too_long",
    );
    check(
        "limits: {max_structured_metadata_entries: 1}",
        line(1),
        "too_much_metadata",
    );
    check("limits: {max_structured_metadata_entries: 2}", line(1), "0 cut");
    // `a` and `b`, `service_name` and `cart`.
    check(
        "limits: {max_structured_metadata_size: 17}",
        line(1),
        "metadata_too_large",
    );
    check("limits: {max_structured_metadata_size: 18}", line(1), "0 cut");
    let at = |time| record(time, "x", vec![]);
    check("limits: {max_age: 1h}", at(NOW - 3_600_000_000_001), "too_old");
    check("limits: {max_age: 1h}", at(NOW - 3_600_000_000_000), "0 cut");
    check("limits: {max_age: 1h}, backfill_shard: s", at(1), "0 cut");
    check("limits: {max_ahead: 10m}", at(NOW + 600_000_000_001), "too_new");
    check(
        "tenant: {from: attribute, key: who}",
        record(1, "x", texts(&[("who", "a/b")])),
        "tenant_invalid",
    );
}

#[test]
fn a_line_is_cut_between_characters() {
    let check = |body: &str, max: usize, expected: &str| {
        let all = payload(vec![group(vec![], vec![record(1, body, vec![])])]);
        let push = pushed(&format!("format: raw, limits: {{max_line_size: {max}}}"), &all);
        assert_eq!(read(&push.body).streams[0].entries[0].line, expected);
    };
    check("aaaaaaaaaaaaaaaa", 12, "aaaa...[cut]");
    check("aaaéaaaaaaaaaaaa", 12, "aaa...[cut]");
    check("aaéaaaaaaaaaaaaa", 12, "aaé...[cut]");
    check("aaaaaaaaaaaaaaaa", 4, "...[");
}

#[test]
fn records_that_do_not_go_together_are_told_apart() {
    let by = |who: &str, body: &str| record(1, body, texts(&[("who", who)]));
    let all = payload(vec![
        group(
            vec![],
            vec![by("a", "1"), by("b", "2"), by("a", "3"), by("a/b", "4")],
        ),
        group(texts(&[("who", "b")]), vec![by("a", "5")]),
    ]);
    let yaml = "format: raw, structured_metadata: {mode: none}, tenant: {from: attribute, key: who}";
    let Encoded::Apart(pieces) = encoded(yaml, &all) else {
        panic!("they go together");
    };
    assert_eq!(pieces.iter().map(|piece| piece.items).sum::<usize>(), all.items);
    let told: Vec<String> = pieces
        .iter()
        .map(|piece| match encoded(yaml, piece) {
            Encoded::Push(push) => {
                let entries = read(&push.body)
                    .streams
                    .into_iter()
                    .flat_map(|stream| stream.entries);
                let lines: Vec<String> = entries.map(|entry| entry.line).collect();
                format!("{}: {}", String::from_utf8_lossy(&push.tenant), lines.join(","))
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["a: 1,3", "b: 2,5", "Rejected(\"tenant_invalid\")"]);
}

#[test]
fn the_tenant_hint_names_an_attribute() {
    let check = |resource: &[(&str, &str)], own: &[(&str, &str)], expected: &str| {
        let all = payload(vec![group(texts(resource), vec![record(1, "x", texts(own))])]);
        let push = pushed("format: raw", &all);
        let labels = read(&push.body).streams[0].labels.clone();
        assert_eq!(
            format!("{} {labels}", String::from_utf8_lossy(&push.tenant)),
            expected
        );
    };
    check(&[], &[], r#" {exporter="OTLP"}"#);
    let (plain, said) = (r#" {exporter="OTLP"}"#, r#"t {exporter="OTLP"}"#);
    // The attribute stays what it is, and is no label.
    check(&[("loki.tenant", "who"), ("who", "t")], &[], said);
    check(&[("loki.tenant", "who")], &[("who", "t")], said);
    check(&[], &[("loki.tenant", "who"), ("who", "t")], said);
    check(&[("who", "t")], &[("loki.tenant", "who")], said);
    check(
        &[("loki.tenant", "host"), ("host", "t")],
        &[("loki.tenant", "who"), ("who", "w"), ("host", "other")],
        said,
    );
    check(&[("loki.tenant", "gone")], &[], plain);
    check(
        &[("loki.tenant", "gone")],
        &[("loki.tenant", "who"), ("who", "w")],
        plain,
    );
    check(&[("loki.tenant", "who"), ("who", "")], &[("who", "w")], plain);
    check(&[("loki.tenant", "a,b"), ("a", "t"), ("b", "t")], &[], plain);
}

#[test]
fn too_much_for_a_push_goes_in_pieces() {
    let records = |n: u64| (0..n).map(|i| record(i + 1, &"x".repeat(1000), vec![])).collect();
    let all = payload(vec![group(vec![], records(100))]);
    let yaml = "format: raw, limits: {max_push_bytes: 20000}";
    let mut work = vec![all];
    let mut seen = Vec::new();
    while let Some(payload) = work.pop() {
        match encoded(yaml, &payload) {
            Encoded::Push(push) => {
                assert!(push.bytes <= 22_000, "{}", push.bytes);
                seen.extend(
                    read(&push.body)
                        .streams
                        .into_iter()
                        .flat_map(|stream| stream.entries),
                );
            }
            Encoded::Apart(pieces) => {
                assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.items > 0));
                work.extend(pieces);
            }
            other => panic!("{other:?}"),
        }
    }
    seen.sort_by_key(|entry| entry.timestamp.map(|time| time.nanos));
    let times: Vec<i32> = seen
        .iter()
        .map(|entry| entry.timestamp.map_or(0, |time| time.nanos))
        .collect();
    assert_eq!(times, (1..=100).collect::<Vec<i32>>());
    // One record that is larger than a push goes alone.
    let large = payload(vec![group(vec![], vec![record(1, &"x".repeat(30_000), vec![])])]);
    assert!(matches!(encoded(yaml, &large), Encoded::Push(_)));
    // Those behind it are not forgotten, in its chunk or another.
    let long = record(1, &"x".repeat(30_000), vec![]);
    let mut behind = payload(vec![group(
        vec![],
        vec![long, record(2, "b", vec![]), record(3, "c", vec![])],
    )]);
    behind.push(payload(vec![group(vec![], records(2))]).chunks[0].clone());
    let Encoded::Apart(pieces) = encoded(yaml, &behind) else {
        panic!("more than a push");
    };
    let mut items: Vec<usize> = pieces.iter().map(|piece| piece.items).collect();
    items.sort_unstable();
    assert_eq!(items, [1, 4]);
    // Streams are a limit too.
    let streams = (0..4).map(|i| group(texts(&[("service.name", &format!("s{i}"))]), records(1)));
    let streams = payload(streams.collect());
    assert!(matches!(
        encoded("limits: {max_push_streams: 4}", &streams),
        Encoded::Push(_)
    ));
    let Encoded::Apart(pieces) = encoded("limits: {max_push_streams: 3}", &streams) else {
        panic!("four streams");
    };
    assert_eq!(pieces.iter().map(|piece| piece.items).collect::<Vec<_>>(), [2, 2]);
}

/// All pushes that come of a payload, whatever pieces it goes in: tenant and lines.
fn all_pushes(yaml: &str, payload: Payload) -> Vec<(String, Vec<String>)> {
    let mut work = vec![payload];
    let mut out = Vec::new();
    while let Some(payload) = work.pop() {
        match encoded(yaml, &payload) {
            Encoded::Push(push) => {
                let streams = read(&push.body).streams.into_iter();
                let lines = streams.flat_map(|stream| stream.entries).map(|entry| entry.line);
                out.push((String::from_utf8(push.tenant).unwrap(), lines.collect()));
            }
            Encoded::Apart(pieces) => work.extend(pieces),
            Encoded::TooLarge => {
                let cut = wire::Cut {
                    items_max: Some(payload.items / 2),
                    bytes_max: None,
                };
                work.extend(wire::split(payload, cut));
            }
            other => panic!("{other:?}"),
        }
    }
    out
}

#[test]
fn what_stands_behind_a_record_larger_than_a_push_is_pushed_too() {
    let large = "x".repeat(30_000);
    let yaml = "format: raw, limits: {max_push_bytes: 20000}";
    for at in 0..3 {
        let mut bodies = ["a", "b", "c"];
        bodies[at] = &large;
        let records = bodies.iter().map(|body| record(1, body, vec![])).collect();
        let mut lines: Vec<String> = all_pushes(yaml, payload(vec![group(vec![], records)]))
            .into_iter()
            .flat_map(|(_, lines)| lines)
            .collect();
        lines.sort();
        bodies.sort_unstable();
        assert_eq!(lines, bodies, "the large one is number {at}");
    }
}

#[test]
fn labels_count_as_bytes_of_a_push() {
    let records: Vec<LogRecord> = (0..100)
        .map(|i| record(i + 1, "x", texts(&[("user", &format!("{i:01000}"))])))
        .collect();
    let yaml = "format: raw, labels: {attributes: {user: ''}}, limits: {max_push_bytes: 20000}";
    let mut work = vec![payload(vec![group(vec![], records)])];
    let mut lines = 0;
    while let Some(payload) = work.pop() {
        match encoded(yaml, &payload) {
            Encoded::Push(push) => {
                assert!(push.bytes <= 22_000, "{}", push.bytes);
                lines += read(&push.body).streams.len();
            }
            Encoded::Apart(pieces) => work.extend(pieces),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lines, 100);
}

#[test]
fn more_tenants_than_are_told_apart_at_once_go_in_pieces() {
    let names: Vec<String> = (0..1500).map(|i| format!("t{i:04}")).collect();
    let records = names.iter().map(|name| record(1, name, texts(&[("who", name)])));
    let all = payload(vec![group(vec![], records.collect())]);
    let yaml = "format: raw, tenant: {from: attribute, key: who}";
    let Encoded::Apart(pieces) = encoded(yaml, &all) else {
        panic!("they do not go together");
    };
    assert!(pieces[0].items < 1025, "{}", pieces[0].items);
    let mut pushes = all_pushes(yaml, all);
    pushes.sort();
    let expected: Vec<_> = names
        .iter()
        .map(|name| (name.clone(), vec![name.clone()]))
        .collect();
    assert_eq!(pushes, expected);
}

/// A map whose only way in is `depth` long keys, and which has `count` entries at its end.
fn deep_map(depth: usize, count: usize) -> AnyValue {
    let entries = (0..count).map(|i| attr(&format!("k{i}"), text("v"))).collect();
    let mut map = any(V::KvlistValue(KeyValueList { values: entries }));
    for _ in 0..depth {
        let values = vec![attr(&"k".repeat(1000), map)];
        map = any(V::KvlistValue(KeyValueList { values }));
    }
    map
}

#[test]
fn keys_that_nested_maps_repeat_are_bounded() {
    // 50 KiB as it comes, 100 MB with each key written out.
    let one = || {
        vec![group(
            vec![],
            vec![record(1, "x", vec![attr("m", deep_map(20, 5000))])],
        )]
    };
    for (yaml, expected) in [
        ("format: raw", "metadata_too_large"),
        (
            "format: raw, limits: {max_structured_metadata_entries: 0, max_structured_metadata_size: 0}",
            "metadata_too_large",
        ),
        ("format: logfmt, limits: {oversize: reject}", "line_too_long"),
        ("format: logfmt, limits: {max_line_size: 0}", "line_too_long"),
    ] {
        match encoded(yaml, &payload(one())) {
            Encoded::Rejected(rule) => assert_eq!(rule, expected, "{yaml}"),
            other => panic!("{yaml}: {}", format!("{other:?}").len()),
        }
    }
    let loki = build("format: logfmt").unwrap_or_else(|fault| panic!("{fault}"));
    let mut scratch = Scratch::default();
    let batch = Batch {
        own_tenant: "acme",
        tenant: b"",
        now: NOW,
    };
    let made = encode::encode(&loki.rules, &payload(one()), batch, &mut scratch).unwrap();
    let Encoded::Push(push) = made else {
        panic!("it is cut");
    };
    assert_eq!(
        (push.cut, read(&push.body).streams[0].entries[0].line.len()),
        (1, 256 << 10)
    );
    assert!(scratch.line_len() < 300_000, "{}", scratch.line_len());
}

#[test]
fn of_a_hint_so_many_names_are_heeded() {
    let names: Vec<String> = (0..200).map(|i| format!("a{i:03}")).collect();
    let mut attributes: Vec<KeyValue> = names.iter().map(|name| attr(name, text("v"))).collect();
    attributes.push(attr("loki.attribute.labels", text(&names.join(","))));
    let yaml = "format: raw, limits: {max_label_names: 0}, default_labels_enabled: {exporter: false}";
    let push = pushed(
        yaml,
        &payload(vec![group(vec![], vec![record(1, "x", attributes)])]),
    );
    let stream = &read(&push.body).streams[0];
    assert_eq!(
        (
            stream.labels.matches("=\"v\"").count(),
            stream.entries[0].metadata.len()
        ),
        (128, 72)
    );
}

#[test]
fn what_comes_out_of_an_archive_is_a_backfill() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    let marked = || texts(&[("weir.replay.id", "r1")]);
    let shard = |yaml: &str, groups| pushed(yaml, &payload(groups)).shard;
    let one = |time| vec![record(time, "x", vec![])];
    assert_eq!(shard("", vec![group(vec![], one(NOW))]), None);
    assert_eq!(
        shard("", vec![group(marked(), one(NOW))]).as_deref(),
        Some("restore-2023-11-14T22")
    );
    assert_eq!(
        shard("backfill_shard: mine", vec![group(vec![], one(NOW))]).as_deref(),
        Some("mine")
    );
    assert_eq!(
        shard("backfill_shard: 'a-%{hour}'", vec![group(vec![], one(HOUR_NS))]).as_deref(),
        Some("a-1970-01-01T01")
    );
    // Hours are apart, as is what did not come out of an archive.
    let all = payload(vec![
        group(
            marked(),
            vec![record(NOW, "a", vec![]), record(NOW + HOUR_NS, "b", vec![])],
        ),
        group(vec![], one(NOW)),
    ]);
    let Encoded::Apart(pieces) = encoded("", &all) else {
        panic!("they go together");
    };
    assert_eq!(pieces.len(), 3);
}

#[test]
fn a_backfill_is_one_where_loki_makes_the_push_too() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    let marked = || texts(&[("service.name", "a"), ("weir.replay.id", "r1")]);
    let whole = |yaml: &str, payload: &Payload| {
        let loki = build(&format!("api: otlp, {yaml}")).unwrap_or_else(|fault| panic!("{fault}"));
        apart::whole(&loki.rules, payload, NOW).expect("it can be read")
    };
    let shard = |yaml: &str, groups| match whole(yaml, &payload(groups)) {
        Whole::Push(shard) => shard,
        Whole::Not(encoded) => panic!("{yaml}: {encoded:?}"),
    };
    let one = |time| vec![record(time, "x", vec![])];
    assert_eq!(shard("", vec![group(vec![], one(NOW))]), None);
    assert_eq!(shard("", vec![group(marked(), vec![])]), None);
    assert_eq!(
        shard("", vec![group(marked(), one(NOW)), group(marked(), one(NOW + 1))]).as_deref(),
        Some("restore-2023-11-14T22")
    );
    let mixed = || vec![group(vec![], one(1)), group(marked(), one(NOW))];
    assert_eq!(shard("backfill_shard: mine", mixed()).as_deref(), Some("mine"));
    assert_eq!(
        shard("backfill_shard: 'a-%{hour}'", vec![group(vec![], one(HOUR_NS))]).as_deref(),
        Some("a-1970-01-01T01")
    );
    // Who says no time is of now.
    assert_eq!(
        shard("backfill_shard: '%{hour}'", vec![group(vec![], one(0))]).as_deref(),
        Some("2023-11-14T22")
    );
    let apart = |yaml: &str, payload: &Payload, expected: &[usize]| match whole(yaml, payload) {
        Whole::Not(Encoded::Apart(pieces)) => {
            let items: Vec<usize> = pieces.iter().map(|piece| piece.items).collect();
            assert_eq!(items, expected, "{yaml}");
            for piece in &pieces {
                assert!(matches!(whole(yaml, piece), Whole::Push(_)), "{yaml}");
            }
        }
        _ => panic!("{yaml}: they go together"),
    };
    apart("", &payload(mixed()), &[1, 1]);
    let hours = [0, 1, 0, 1]
        .map(|hour| record(NOW + hour * HOUR_NS, "x", vec![]))
        .to_vec();
    let mut hours = payload(vec![group(marked(), hours)]);
    apart("", &hours, &[2, 2]);
    // Of all chunks together.
    hours.push(payload(vec![group(vec![], one(1))]).chunks[0].clone());
    apart("", &hours, &[2, 2, 1]);
    apart("backfill_shard: '%{hour}'", &hours, &[2, 2, 1]);
}

/// Loki answers 204 and has none of its records.
#[test]
fn by_otlp_a_label_that_is_no_text_is_rejected_with_its_records_alone() {
    let one =
        |key: &str, value: &str, body: &str| group(texts(&[(key, value)]), vec![record(1, body, vec![])]);
    let odd = |groups: Vec<ResourceLogs>| {
        let mut bytes = payload(groups).to_bytes().to_vec();
        while let Some(at) = bytes.windows(4).position(|four| four == b"@@@@") {
            bytes[at..at + 4].fill(0xff);
        }
        let shape =
            wire::validate(Signal::Logs, &bytes, &wire::Limits::default()).expect("it is well formed");
        Payload::new(Signal::Logs, Chunk::new(bytes.into(), shape), Arc::default())
    };
    for yaml in ["", "backfill_shard: mine", "backfill_shard: '%{hour}'"] {
        let loki = build(&format!("api: otlp, {yaml}")).unwrap_or_else(|fault| panic!("{fault}"));
        let whole = |payload: &Payload| apart::whole(&loki.rules, payload, NOW).expect("it can be read");
        assert!(matches!(
            whole(&odd(vec![one("host", "@@@@", "x")])),
            Whole::Push(_)
        ));
        let long = "é".repeat(200);
        assert!(matches!(
            whole(&odd(vec![one("service.name", &long, "x")])),
            Whole::Push(_)
        ));
        let mixed = odd(vec![
            one("service.name", "a", "x"),
            one("service.name", "@@@@", "y"),
            one("k8s.pod.name", "b", "@@@@"),
        ]);
        let Whole::Not(Encoded::Apart(pieces)) = whole(&mixed) else {
            panic!("{yaml}: they go together");
        };
        assert_eq!(
            pieces.iter().map(|piece| piece.items).collect::<Vec<_>>(),
            [2, 1],
            "{yaml}"
        );
        assert!(matches!(whole(&pieces[0]), Whole::Push(_)), "{yaml}");
        let Whole::Not(Encoded::Rejected(rule)) = whole(&pieces[1]) else {
            panic!("{yaml}: Loki would drop it");
        };
        assert_ne!(told(rule), told(""));
    }
}

#[test]
fn labels_take_any_text_and_metadata_any_name() {
    let odd = texts(&[("1.a", "\"\n\\"), ("..", "nameless"), ("é", "")]);
    check(
        "format: raw, labels: {attributes: {'1.a': ''}}, default_labels_enabled: {exporter: true}",
        vec![group(vec![], vec![record(1, "x", odd)])],
        &["{exporter=\"OTLP\", key_1_a=\"\\\"\\n\\\\\"} 1 x {key_=nameless}"],
    );
}

#[test]
fn nothing_is_nothing() {
    assert!(matches!(encoded("", &payload(vec![])), Encoded::Nothing));
    assert!(matches!(
        encoded("", &payload(vec![group(vec![], vec![])])),
        Encoded::Nothing
    ));
}

#[test]
fn endpoints_are_bases_or_whole() {
    let check = |endpoint: &str, api: Api, expected: Result<&str, &str>| {
        let found = url(endpoint, api).map(|url| url.to_string());
        assert_eq!(found.as_deref().map_err(|e| e.as_str()), expected, "{endpoint}");
    };
    let push = "http://loki:3100/loki/api/v1/push";
    let otlp = "http://loki:3100/otlp/v1/logs";
    check("http://loki:3100", Api::Push, Ok(push));
    check("http://loki:3100/", Api::Push, Ok(push));
    check(push, Api::Push, Ok(push));
    check(
        "https://h/insert/loki/api/v1/push?x=1",
        Api::Push,
        Ok("https://h/insert/loki/api/v1/push?x=1"),
    );
    check("http://loki:3100", Api::Otlp, Ok(otlp));
    check(push, Api::Otlp, Ok(otlp));
    check("http://loki:3100/otlp", Api::Otlp, Ok(otlp));
    check("http://loki:3100/otlp/", Api::Otlp, Ok(otlp));
    check(otlp, Api::Otlp, Ok(otlp));
    check(
        "http://h/insert/opentelemetry/v1/logs",
        Api::Otlp,
        Ok("http://h/insert/opentelemetry/v1/logs"),
    );
    check("", Api::Push, Err("requires a non-empty \"endpoint\""));
    check(
        "loki:3100",
        Api::Push,
        Err("the URL must begin with http:// or https://"),
    );
    check(
        "http://u:p@loki",
        Api::Push,
        Err("credentials in the URL are not supported; use auth"),
    );
    let template = "%{tenant} can stand in tenant.default and headers, not in the endpoint";
    check("http://%{tenant}/", Api::Push, Err(template));
}

#[test]
fn keys_that_do_not_fit_together_are_refused() {
    let check = |yaml: &str, expected: &str| {
        let fault = match build(yaml) {
            Ok(_) => "none".to_owned(),
            Err(fault) => fault.to_string(),
        };
        assert!(fault.contains(expected), "{yaml}: {fault}");
    };
    check("", "none");
    check("api: otlp", "none");
    check("api: otlp, labels: {}", "labels: has no meaning with api: otlp");
    check("api: otlp, format: raw", "format: has no meaning with api: otlp");
    check(
        "api: otlp, tenant: {from: attribute, key: a}",
        "attribute has no meaning with api: otlp",
    );
    check(
        "api: otlp, limits: {max_line_size: 5}",
        "limits: has no meaning with api: otlp",
    );
    check("api: otlp, limits: {max_push_bytes: 5}", "none");
    check("api: otlp, backfill_shard: 'a-%{hour}'", "none");
    check(
        "api: otlp, compression: snappy",
        "Loki reads OTLP plain, with gzip, zstd and lz4",
    );
    check("compression: gzip", "a push is always snappy");
    check("compression: snappy", "none");
    check(
        "encoding: json, compression: zstd",
        "Loki reads JSON plain and with gzip",
    );
    check("tenant: {key: a}", "needs from: attribute or metadata");
    check("tenant: {from: metadata}", "must name the attribute or header");
    check("tenant: {default: a/b}", "cannot be the name of a tenant of Loki");
    check(
        "tenant: {default: 'a:1'}",
        "cannot be the name of a tenant of Loki",
    );
    check("tenant: {default: '%{tenant}-x'}", "none");
    check("tenant: {default: '%{tenant}:0'}", "none");
    check("tenant: {default: '12:%{tenant}'}", "none");
    check(
        "labels: {static: {a: '%{body}'}}",
        "labels::static::a: %{body} is none of",
    );
    check(
        &format!("backfill_shard: {}", "x".repeat(129)),
        "at most 128 visible characters",
    );
    check("backfill_shard: '%{hour}'", "none");
    check("labels: {record: {severity: x}}", "record");
}

#[test]
fn names_of_tenants_are_lokis_or_the_numbers_of_victorialogs() {
    let accounts = ["0:0", "12:3", "4294967295:4294967295"];
    for name in ["a", "A-1_b.c!*'()", &"x".repeat(150)]
        .into_iter()
        .chain(accounts)
    {
        assert!(is_tenant(name.as_bytes()), "{name}");
    }
    for name in [
        "",
        ".",
        "..",
        "a/b",
        "a b",
        "a|b",
        "é",
        "a\r\nx: y",
        &"x".repeat(151),
        ":",
        "1:",
        ":1",
        "a:1",
        "1:a",
        "+1:1",
        "1:2:3",
        "1:4294967296",
        "1:00000000000000000001",
    ] {
        assert!(!is_tenant(name.as_bytes()), "{name}");
    }
}

// --- Over a socket ---

struct Call {
    head: String,
    body: Vec<u8>,
}

/// Answers each request with the next text, then with 204.
async fn peer(script: &[&str]) -> (SocketAddr, tokio::sync::mpsc::Receiver<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (tx, calls) = tokio::sync::mpsc::channel(100);
    let script: VecDeque<String> = script.iter().map(|text| (*text).to_owned()).collect();
    let script = Arc::new(Mutex::new(script));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (script, tx) = (script.clone(), tx.clone());
            tokio::spawn(async move {
                let mut read = Vec::new();
                loop {
                    let end = loop {
                        if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                            break end + 4;
                        }
                        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                            return;
                        }
                    };
                    let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
                    let len = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "));
                    let len: usize = len.expect("a length").parse().unwrap();
                    while read.len() < end + len {
                        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
                    }
                    let body = read[end..end + len].to_vec();
                    read.drain(..end + len);
                    tx.send(Call { head, body }).await.unwrap();
                    let answer = script.lock().pop_front();
                    let answer = answer.unwrap_or_else(|| "HTTP/1.1 204 No Content\r\n\r\n".into());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (addr, calls)
}

async fn started(yaml: &str, addr: SocketAddr) -> Loki {
    let yaml = format!("{{endpoint: 'http://{addr}', {yaml}}}");
    let loki = Loki::build(section(&yaml), &context("loki/test")).unwrap_or_else(|fault| panic!("{fault}"));
    loki.start(Arc::new(Lonely::default())).await.unwrap();
    loki
}

#[tokio::test]
async fn a_push_says_what_it_is_and_whose() {
    let (addr, mut calls) = peer(&[]).await;
    let mut all = payload(vec![group(texts(&SERVICE), vec![record(1, "x", vec![])])]);
    let check = async |yaml: &str,
                       all: &Payload,
                       calls: &mut tokio::sync::mpsc::Receiver<Call>,
                       expected: &[&str]| {
        let loki = started(yaml, addr).await;
        loki.export(all).await.unwrap();
        let call = calls.recv().await.unwrap();
        for line in expected {
            match line.strip_prefix('!') {
                Some(absent) => assert!(!call.head.contains(absent), "{yaml}: {}", call.head),
                None => assert!(call.head.contains(line), "{yaml}: {line} is not in {}", call.head),
            }
        }
        call
    };
    let proto = "content-type: application/x-protobuf\r\n";
    let call = check(
        "",
        &all,
        &mut calls,
        &[
            "post /loki/api/v1/push ",
            proto,
            "!content-encoding",
            "!x-scope-orgid",
        ],
    )
    .await;
    assert_eq!(read(&call.body).streams.len(), 1);
    check(
        "tenant: {default: acme}",
        &all,
        &mut calls,
        &["x-scope-orgid: acme\r\n", "!backfill"],
    )
    .await;
    check(
        "headers: {X-Scope-OrgID: mine}",
        &all,
        &mut calls,
        &["x-scope-orgid: mine\r\n"],
    )
    .await;
    check(
        "backfill_shard: s1",
        &all,
        &mut calls,
        &["x-loki-backfill-shard: s1\r\n"],
    )
    .await;
    let json = ["content-type: application/json\r\n", "content-encoding: gzip\r\n"];
    check("encoding: json", &all, &mut calls, &json).await;
    check(
        "encoding: json, compression: none",
        &all,
        &mut calls,
        &["!content-encoding"],
    )
    .await;
    let call = check(
        "api: otlp, compression: none",
        &all,
        &mut calls,
        &["post /otlp/v1/logs ", proto],
    )
    .await;
    assert_eq!(call.body, all.to_bytes());
    check(
        "api: otlp, backfill_shard: 's-%{hour}'",
        &all,
        &mut calls,
        &["x-loki-backfill-shard: s-1970-01-01t00\r\n"],
    )
    .await;
    check("api: otlp", &all, &mut calls, &["content-encoding: gzip\r\n"]).await;
    // What a client said, and what the gateway knows of it.
    all.context = Arc::new(Context {
        metadata: vec![("x-scope-orgid".into(), vec!["of-client".into()])],
        ..Context::default()
    });
    let metadata = "tenant: {from: metadata, key: X-Scope-OrgID, default: other}";
    check(metadata, &all, &mut calls, &["x-scope-orgid: of-client\r\n"]).await;
    all.context = Arc::default();
    check(metadata, &all, &mut calls, &["x-scope-orgid: other\r\n"]).await;
    all.chunks[0].origin.tenant = Some("team-1".into());
    check(
        "tenant: {default: '%{tenant}'}",
        &all,
        &mut calls,
        &["x-scope-orgid: team-1\r\n"],
    )
    .await;
    check(
        "headers: {X-Scope-OrgID: 'w-%{tenant}'}",
        &all,
        &mut calls,
        &["x-scope-orgid: w-team-1\r\n"],
    )
    .await;
    let call = check(
        "labels: {static: {team: '%{tenant}'}}",
        &all,
        &mut calls,
        &[proto],
    )
    .await;
    assert_eq!(read(&call.body).streams[0].labels, "{team=\"team-1\"}");
}

#[tokio::test]
async fn otlp_answers_speak_protobuf() {
    // google.rpc.Status { message: "entry for stream '{}' has timestamp too old: x" }
    let message = "entry for stream '{}' has timestamp too old: x";
    let body = format!("\x12{}{message}", message.len() as u8 as char);
    let answer = format!("HTTP/1.1 400 X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (addr, _calls) = peer(&[&answer]).await;
    let loki = started("api: otlp", addr).await;
    let all = payload(vec![group(
        vec![],
        vec![record(1, "a", vec![]), record(2, "b", vec![])],
    )]);
    let outcome = loki.export(&all).await.unwrap();
    assert_eq!(outcome.rejected_items(), 1);
    assert!(
        outcome
            .message()
            .ends_with(&format!("/otlp/v1/logs answered 400: {message}")),
        "{}",
        outcome.message()
    );
    assert_eq!(loki.export(&payload(vec![])).await.unwrap(), Outcome::all());
}

#[test]
fn who_depends_on_tenants_says_so() {
    let check = |yaml: &str, by_tenant: bool, keys: &[&str]| {
        let loki = build(yaml).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(
            (loki.by_tenant(), loki.context_keys()),
            (by_tenant, keys.iter().map(|k| (*k).to_owned()).collect()),
            "{yaml}"
        );
    };
    check("", false, &[]);
    check("tenant: {default: acme}", false, &[]);
    check("tenant: {default: '%{tenant}'}", true, &[]);
    check("headers: {a: '%{tenant}'}", true, &[]);
    check("labels: {static: {a: '%{tenant}'}}", true, &[]);
    check("tenant: {from: metadata, key: X-Team}", false, &["x-team"]);
}

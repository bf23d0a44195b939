//! Tables over small requests: what goes where, and that it is all booked.

use component::test_kit::{Branches, context, faults, section, totals};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use telemetry::Column;
use wire::{Limits, validate};

use super::*;

component::component_tests!(FACTORY, "table: [{statement: route(), pipelines: [x]}]");

fn text(value: &str) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(value.into())),
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(text(value)),
        ..Default::default()
    }
}

fn resource(name: &str) -> Option<Resource> {
    Some(Resource {
        attributes: vec![attribute("name", name), attribute("t", "a")],
        ..Default::default()
    })
}

fn scope(name: &str) -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: name.into(),
        ..Default::default()
    })
}

/// R1 and R2, each with S1 and S2, each with p and q: as log bodies, span names, or points of two metrics with these
/// names, `1` and `2`.
fn request(signal: Signal) -> Vec<u8> {
    let point = |n: i64| NumberDataPoint {
        value: Some(number_data_point::Value::AsInt(n)),
        ..Default::default()
    };
    match signal {
        Signal::Traces => {
            let span = |name: &str| Span {
                name: name.into(),
                ..Default::default()
            };
            let spans = |name: &str| ScopeSpans {
                scope: scope(name),
                spans: vec![span("p"), span("q")],
                schema_url: "s".into(),
            };
            let group = |name: &str| ResourceSpans {
                resource: resource(name),
                scope_spans: vec![spans("S1"), spans("S2")],
                schema_url: "r".into(),
            };
            let resource_spans = vec![group("R1"), group("R2")];
            ExportTraceServiceRequest { resource_spans }.encode_to_vec()
        }
        Signal::Metrics => {
            let metric = |name: &str| Metric {
                name: name.into(),
                data: Some(Data::Gauge(Gauge {
                    data_points: vec![point(1), point(2)],
                })),
                ..Default::default()
            };
            let metrics = |name: &str| ScopeMetrics {
                scope: scope(name),
                metrics: vec![metric("p"), metric("q")],
                schema_url: "s".into(),
            };
            let group = |name: &str| ResourceMetrics {
                resource: resource(name),
                scope_metrics: vec![metrics("S1"), metrics("S2")],
                schema_url: "r".into(),
            };
            let resource_metrics = vec![group("R1"), group("R2")];
            ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
        }
        _ => {
            let record = |body: &str| LogRecord {
                body: Some(text(body)),
                ..Default::default()
            };
            let records = |name: &str| ScopeLogs {
                scope: scope(name),
                log_records: vec![record("p"), record("q")],
                schema_url: "s".into(),
            };
            let group = |name: &str| ResourceLogs {
                resource: resource(name),
                scope_logs: vec![records("S1"), records("S2")],
                schema_url: "r".into(),
            };
            let resource_logs = vec![group("R1"), group("R2")];
            ExportLogsServiceRequest { resource_logs }.encode_to_vec()
        }
    }
}

fn show_text(value: &Option<AnyValue>) -> String {
    match value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// `R1{S1{p,q} S2{p,q}}`; a resource that lost `t` is `R1-t`.
fn show(payload: &Payload) -> String {
    fn head(resource: &Option<Resource>, schema: &str) -> String {
        let attributes = &resource.as_ref().expect("each has one").attributes;
        assert_eq!(schema, "r", "schema urls stay");
        let lost = if attributes.len() == 2 { "" } else { "-t" };
        show_text(&attributes[0].value) + lost
    }
    fn within(name: &str, parts: Vec<String>, between: &str) -> String {
        format!("{name}{{{}}}", parts.join(between))
    }
    let bytes = payload.to_bytes();
    let scope_name = |scope: &Option<InstrumentationScope>, schema: &str| {
        assert_eq!(schema, "s", "schema urls stay");
        scope.as_ref().expect("each has one").name.clone()
    };
    let groups: Vec<String> = match payload.signal {
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(bytes).expect("well formed");
            let group = |r: &ResourceSpans| {
                let scopes = r.scope_spans.iter().map(|s| {
                    let spans = s.spans.iter().map(|span| span.name.clone()).collect();
                    within(&scope_name(&s.scope, &s.schema_url), spans, ",")
                });
                within(&head(&r.resource, &r.schema_url), scopes.collect(), " ")
            };
            request.resource_spans.iter().map(group).collect()
        }
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(bytes).expect("well formed");
            let metric = |m: &Metric| {
                let Some(Data::Gauge(gauge)) = &m.data else {
                    panic!("a gauge stays one")
                };
                let points = gauge.data_points.iter().map(|p| match p.value {
                    Some(number_data_point::Value::AsInt(n)) => n.to_string(),
                    _ => panic!("an integer stays one"),
                });
                within(&m.name, points.collect(), ",")
            };
            let group = |r: &ResourceMetrics| {
                let scopes = r.scope_metrics.iter().map(|s| {
                    let metrics = s.metrics.iter().map(metric).collect();
                    within(&scope_name(&s.scope, &s.schema_url), metrics, ",")
                });
                within(&head(&r.resource, &r.schema_url), scopes.collect(), " ")
            };
            request.resource_metrics.iter().map(group).collect()
        }
        _ => {
            let request = ExportLogsServiceRequest::decode(bytes).expect("well formed");
            let group = |r: &ResourceLogs| {
                let scopes = r.scope_logs.iter().map(|s| {
                    let records = s.log_records.iter().map(|r| show_text(&r.body)).collect();
                    within(&scope_name(&s.scope, &s.schema_url), records, ",")
                });
                within(&head(&r.resource, &r.schema_url), scopes.collect(), " ")
            };
            request.resource_logs.iter().map(group).collect()
        }
    };
    groups.join(" ")
}

fn payload(signal: Signal, metadata: &[(&str, &str)]) -> Payload {
    let bytes = request(signal);
    let shape = validate(signal, &bytes, &Limits::default()).expect("well formed");
    let metadata = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), vec![(*v).to_owned()]));
    let context = Context {
        metadata: metadata.collect(),
        ..Context::default()
    };
    Payload::new(signal, Chunk::new(bytes.into(), shape), Arc::new(context))
}

const ALL: &str = "R1{S1{p,q} S2{p,q}} R2{S1{p,q} S2{p,q}}";

/// Sends the request through a table whose routes are `CONTEXT | STATEMENT OR CONDITION | PIPELINES | ACTION`, the last
/// line being the default; answers what came to 1, 2, 3 and `def`, and the books: out, created, dropped.
async fn route(
    signal: Signal,
    table: &str,
    metadata: &[(&str, &str)],
) -> (Result<Outcome, Refusal>, [String; 4], (u64, u64, u64)) {
    let name = |id: &str| format!("{}/{id}", signal.as_str());
    let mut yaml = String::from("table:\n");
    let mut cx = context("routing");
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(default) = line.strip_prefix("default ") {
            yaml += &format!("default_pipelines: [{}]\n", name(default));
            continue;
        }
        if let Some(mode) = line.strip_prefix("mode ") {
            yaml += &format!("error_mode: {mode}\n");
            continue;
        }
        if let Some(gate) = line.strip_prefix("gate ") {
            cx.gates = Arc::new(Gates::with(&[gate]));
            continue;
        }
        let mut parts = line.split('|').map(str::trim);
        let mut next = || parts.next().unwrap_or_default();
        let (context, what, to, action) = (next(), next(), next(), next());
        let key = match what.contains("route()") || what.contains("delete_") {
            true => "statement",
            false => "condition",
        };
        let to: Vec<String> = to.split_whitespace().map(name).collect();
        yaml += &format!(
            "- {{context: '{context}', {key}: '{what}', pipelines: [{}]",
            to.join(", ")
        );
        if !action.is_empty() {
            yaml += &format!(", action: {action}");
        }
        yaml += "}\n";
    }
    let ids = ["1", "2", "3", "def"].map(name);
    let branches = Branches::new(&ids.each_ref().map(String::as_str));
    let joint = branches.joint(&cx.telemetry, signal, signal);
    let built = (FACTORY.build)(section(&yaml), &cx, joint);
    let connector = match built.unwrap_or_else(|fault| panic!("{yaml}{fault}")) {
        Connector::Plain(connector) => connector,
        Connector::Node(_) => panic!("it owns nothing"),
    };
    let answer = connector.consume(payload(signal, metadata)).await;
    let mut out = 0;
    let came = ids.map(|id| {
        let taken = branches.sink(&id).taken();
        assert!(taken.len() <= 1, "one payload a pipeline");
        out += taken.iter().map(|payload| payload.items as u64).sum::<u64>();
        taken.iter().map(show).collect()
    });
    let books = totals(&cx.telemetry, "connector", signal);
    (
        answer,
        came,
        (out, books.get(Column::Created), books.dropped_all()),
    )
}

#[track_caller]
fn check(signal: Signal, table: &str, expected: [&str; 4]) {
    check_with(signal, table, &[], expected);
}

#[track_caller]
fn check_with(signal: Signal, table: &str, metadata: &[(&str, &str)], expected: [&str; 4]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let (answer, came, (out, created, dropped)) = runtime.block_on(route(signal, table, metadata));
    assert_eq!(answer, Ok(Outcome::all()), "{table}");
    assert_eq!(came, expected.map(str::to_owned), "{table}");
    let items = payload(signal, &[]).items as u64;
    assert_eq!(items + created, out + dropped, "the books balance: {table}");
}

#[test]
fn the_cases_of_the_collector() {
    use Signal::Logs;
    check(
        Logs,
        r#"resource | attributes["name"] == "R1" | 1
           log | body == "p" | 2
           default def"#,
        ["R1{S1{p,q} S2{p,q}}", "R2{S1{p} S2{p}}", "", "R2{S1{q} S2{q}}"],
    );
    check(
        Logs,
        "log | body == \"p\" | 1\nlog | true | 2\ndefault def",
        [
            "R1{S1{p} S2{p}} R2{S1{p} S2{p}}",
            "R1{S1{q} S2{q}} R2{S1{q} S2{q}}",
            "",
            "",
        ],
    );
    check(
        Logs,
        "log | instrumentation_scope.name == \"S1\" | 1\ndefault def",
        ["R1{S1{p,q}} R2{S1{p,q}}", "", "", "R1{S2{p,q}} R2{S2{p,q}}"],
    );
    check(
        Logs,
        "log | body == \"p\" | 1\nrequest | request[\"tenant\"] == \"x\" | 2\ndefault def",
        [
            "R1{S1{p} S2{p}} R2{S1{p} S2{p}}",
            "",
            "",
            "R1{S1{q} S2{q}} R2{S1{q} S2{q}}",
        ],
    );
    check(
        Logs,
        "resource | attributes[\"name\"] == \"R1\" | 1 | copy\nresource | true | 2\ndefault def",
        ["R1{S1{p,q} S2{p,q}}", ALL, "", ""],
    );
    check(
        Logs,
        "resource | delete_key(attributes, \"t\") where attributes[\"name\"] == \"R1\" | 1\ndefault def",
        ["R1-t{S1{p,q} S2{p,q}}", "", "", "R2{S1{p,q} S2{p,q}}"],
    );
    check(
        Logs,
        "resource | attributes[\"name\"] == \"R3\" | 1",
        ["", "", "", ""],
    );
}

#[test]
fn contexts_of_other_signals() {
    check(
        Signal::Traces,
        "span | name == \"q\" | 1\n | attributes[\"name\"] == \"R2\" | 2\ndefault def",
        [
            "R1{S1{q} S2{q}} R2{S1{q} S2{q}}",
            "R2{S1{p} S2{p}}",
            "",
            "R1{S1{p} S2{p}}",
        ],
    );
    check(
        Signal::Traces,
        "log | body == \"p\" | 1\n | span.name == \"p\" | 2",
        ["", "R1{S1{p} S2{p}} R2{S1{p} S2{p}}", "", ""],
    );
    check(
        Signal::Metrics,
        "metric | name == \"p\" | 1\nresource | route() where attributes[\"name\"] == \"R1\" | 2\ndefault def",
        [
            "R1{S1{p{1,2}} S2{p{1,2}}} R2{S1{p{1,2}} S2{p{1,2}}}",
            "R1{S1{q{1,2}} S2{q{1,2}}}",
            "",
            "R2{S1{q{1,2}} S2{q{1,2}}}",
        ],
    );
    check(
        Signal::Metrics,
        "metric | name == \"p\" | 1\ndatapoint | value_int == 1 | 2\ndefault def",
        [
            "R1{S1{p{1,2}} S2{p{1,2}}} R2{S1{p{1,2}} S2{p{1,2}}}",
            "R1{S1{q{1}} S2{q{1}}} R2{S1{q{1}} S2{q{1}}}",
            "",
            "R1{S1{q{2}} S2{q{2}}} R2{S1{q{2}} S2{q{2}}}",
        ],
    );
}

#[test]
fn the_request_itself_may_be_asked() {
    let table = "request | request[\"X-Tenant\"] == \"a\" | 1\nrequest | request[\"x-tenant\"] != \"a\" | 2\ndefault def";
    check_with(Signal::Logs, table, &[("x-tenant", "a")], [ALL, "", "", ""]);
    check_with(Signal::Logs, table, &[("x-tenant", "b")], ["", ALL, "", ""]);
    check_with(Signal::Logs, table, &[], ["", "", "", ALL]);
    let table = "otelcol | otelcol.client.metadata[\"x-tenant\"][0] == \"a\" | 1\ndefault def";
    check_with(Signal::Logs, table, &[("x-tenant", "a")], [ALL, "", "", ""]);
    check_with(Signal::Logs, table, &[("x-tenant", "b")], ["", "", "", ALL]);
}

#[test]
fn copies_stay_for_the_routes_that_follow() {
    check(
        Signal::Logs,
        "log | body == \"p\" | 1 | copy\nlog | body == \"p\" | 2 | move\nrequest | request[\"a\"] == \"b\" | 3 | copy\ndefault def",
        [
            "R1{S1{p} S2{p}} R2{S1{p} S2{p}}",
            "R1{S1{p} S2{p}} R2{S1{p} S2{p}}",
            "",
            "R1{S1{q} S2{q}} R2{S1{q} S2{q}}",
        ],
    );
    // To two pipelines at once, and of two routes to one: each gets one payload.
    check(
        Signal::Logs,
        "resource | attributes[\"name\"] == \"R1\" | 1 2\nresource | true | 2 3",
        ["R1{S1{p,q} S2{p,q}}", ALL, "R2{S1{p,q} S2{p,q}}", ""],
    );
}

#[test]
fn a_route_that_stands_twice_has_the_pipelines_of_the_last() {
    check(
        Signal::Logs,
        "log | body == \"p\" | 1\nlog | true | 2\nlog | body == \"p\" | 3",
        [
            "",
            "R1{S1{q} S2{q}} R2{S1{q} S2{q}}",
            "R1{S1{p} S2{p}} R2{S1{p} S2{p}}",
            "",
        ],
    );
}

#[test]
fn what_no_route_takes_is_dropped_and_booked() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let (answer, _, books) = runtime.block_on(route(Signal::Logs, "log | body == \"p\" | 1", &[]));
    assert_eq!(answer, Ok(Outcome::all()));
    assert_eq!(books, (4, 0, 4));
}

#[test]
fn errors_refuse_or_do_not_match() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let table = "log | body == \"p\" | 1\nlog | body[\"x\"][\"y\"] == 1 | 2\ndefault def";
    let (answer, came, books) = runtime.block_on(route(Signal::Logs, table, &[]));
    let refusal = answer.expect_err("an error is one by default");
    assert!(
        !refusal.is_retryable() && refusal.message().starts_with("routing: "),
        "{refusal:?}"
    );
    assert_eq!(
        (came.concat(), books),
        (String::new(), (0, 0, 0)),
        "nothing went anywhere"
    );
    for mode in [
        "mode ignore",
        "mode silent",
        "gate connector.routing.defaultErrorModeIgnore",
    ] {
        check(
            Signal::Logs,
            &format!("{table}\n{mode}"),
            [
                "R1{S1{p} S2{p}} R2{S1{p} S2{p}}",
                "",
                "",
                "R1{S1{q} S2{q}} R2{S1{q} S2{q}}",
            ],
        );
    }
}

#[tokio::test]
async fn a_refusal_behind_is_the_answer_and_books_nothing() {
    let cx = context("routing");
    let branches = Branches::new(&["logs/1", "logs/def"]);
    branches
        .sink("logs/def")
        .refuse(Some(Refusal::Busy { retry_after: None }));
    let yaml = "{table: [{context: log, condition: body == \"p\", action: copy, pipelines: [logs/1]}], default_pipelines: [logs/def]}";
    let joint = branches.joint(&cx.telemetry, Signal::Logs, Signal::Logs);
    let Ok(Connector::Plain(connector)) = (FACTORY.build)(section(yaml), &cx, joint) else {
        panic!("it is built")
    };
    let answer = connector.consume(payload(Signal::Logs, &[])).await;
    assert_eq!(answer, Err(Refusal::Busy { retry_after: None }));
    assert_eq!(
        totals(&cx.telemetry, "connector", Signal::Logs).get(Column::Created),
        0
    );
    branches.sink("logs/def").refuse(None);
    connector
        .consume(payload(Signal::Logs, &[]))
        .await
        .expect("taken");
    assert_eq!(
        totals(&cx.telemetry, "connector", Signal::Logs).get(Column::Created),
        4
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let check = |yaml: &str, expected: &[&str]| {
        let cx = context("routing");
        let joint = Branches::new(&["logs/1", "logs/2"]).joint(&cx.telemetry, Signal::Logs, Signal::Logs);
        let told = faults((FACTORY.build)(section(yaml), &cx, joint));
        for expected in expected {
            assert!(told.contains(expected), "{yaml}: {told}");
        }
    };
    check("{}", &["the routing table is empty"]);
    check("table: [{pipelines: [logs/1]}]", &["no condition or statement"]);
    check(
        "table: [{statement: route(), condition: 'true', pipelines: [logs/1]}]",
        &["both condition and statement"],
    );
    check("table: [{statement: route()}]", &["no pipelines defined"]);
    check(
        "table: [{statement: route(), context: scope, pipelines: [logs/1]}]",
        &["invalid context: scope"],
    );
    check(
        "table: [{statement: route(), action: clone, pipelines: [logs/1]}]",
        &["move or copy"],
    );
    check(
        "{match_once: false, table: [{statement: route(), pipelines: [logs/1]}]}",
        &["action: copy"],
    );
    check(
        "{error_mode: explode, table: [{statement: route(), pipelines: [logs/1]}]}",
        &["unknown error mode"],
    );
    check(
        "{table: [{statement: route(), pipelines: [logs/1, logs/3]}], default_pipelines: [traces]}",
        &["missing consumer: \"logs/3\"", "missing consumer: \"traces\""],
    );
    check(
        "table: [{statement: 'route() where no.such == 1', pipelines: [logs/1]}]",
        &["table::0::statement"],
    );
    check(
        "table: [{context: request, condition: 'attributes[\"a\"] == \"b\"', pipelines: [logs/1]}]",
        &["must have format"],
    );
}

#[test]
fn a_table_for_everything_moves_the_very_bytes() {
    let cx = context("routing");
    let branches = Branches::new(&["logs/1"]);
    let yaml = "{match_once: true, table: [{condition: 'attributes[\"t\"] == \"a\"', pipelines: [logs/1]}]}";
    let joint = branches.joint(&cx.telemetry, Signal::Logs, Signal::Logs);
    let Ok(Connector::Plain(connector)) = (FACTORY.build)(section(yaml), &cx, joint) else {
        panic!("it is built")
    };
    let sent = payload(Signal::Logs, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(connector.consume(sent.clone())).expect("taken");
    let taken = branches.sink("logs/1").taken();
    assert_eq!(
        taken[0].chunks[0].bytes().as_ptr(),
        sent.chunks[0].bytes().as_ptr()
    );
}

use component::Drops;
use component::test_kit::{context, section};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric;
use prost::Message as _;
use wire::view::{Finished, Scratch};

use super::*;
use crate::test_kit::show_any;

/// What became of a payload: whether its bytes are the same, the items booked, and what is left.
#[derive(Debug)]
struct After {
    untouched: bool,
    booked: u64,
    counted: u64,
    left: String,
}

fn filter(yaml: &str, signal: Signal) -> Result<(Arc<dyn Tree>, BuildContext), String> {
    filter_in(context("filter/t"), yaml, signal)
}

fn filter_in(cx: BuildContext, yaml: &str, signal: Signal) -> Result<(Arc<dyn Tree>, BuildContext), String> {
    match (FACTORY.build)(section(yaml), &cx, signal) {
        Ok(Processor::Tree(tree)) => Ok((tree, cx)),
        Ok(_) => panic!("a filter is a tree"),
        Err(fault) => Err(fault.to_string()),
    }
}

fn run(yaml: &str, signal: Signal, json: &str) -> Result<After, Refusal> {
    run_in(context("filter/t"), yaml, signal, json)
}

fn run_in(cx: BuildContext, yaml: &str, signal: Signal, json: &str) -> Result<After, Refusal> {
    let (tree, cx) = filter_in(cx, yaml, signal).unwrap_or_else(|e| panic!("{yaml}: {e}"));
    let mut bytes = Vec::new();
    codec::otlp_json::read(signal, json.as_bytes(), &mut bytes).unwrap();
    let mut scratch = Scratch::default();
    let mut view = View::new(&mut scratch, signal, &bytes, tree.touches().depth).unwrap();
    let mut drops = Drops::default();
    let client = Context::default();
    tree.apply(
        &mut view,
        &mut SegmentCx {
            context: &client,
            tenant: None,
            drops: &mut drops,
        },
    )?;
    let (untouched, bytes) = match view.finish() {
        Finished::Unchanged => (true, bytes),
        Finished::Edited { bytes, .. } => (false, bytes),
    };
    let booked = drops.take();
    assert!(booked.iter().all(|(rule, _)| *rule == "filter"), "{booked:?}");
    let labels = vec![("filter", "filter/t".to_owned())];
    Ok(After {
        untouched,
        booked: booked.iter().map(|(_, items)| items).sum(),
        counted: cx.telemetry.metrics.counter(filtered_name(signal), labels).get(),
        left: left(signal, &bytes),
    })
}

/// `resource{scope[item item]} ...`; of a metric its points, of a span its events behind it.
fn left(signal: Signal, bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let group = |name: &str, items: Vec<String>| format!("{name}[{}]", items.join(" "));
    let resource = |resource: Option<opentelemetry_proto::tonic::resource::v1::Resource>,
                    scopes: Vec<String>| {
        let name = resource.unwrap_or_default().attributes;
        let name = name.first().and_then(|kv| kv.value.clone()).unwrap_or_default();
        format!("{}{{{}}}", show_any(&name).trim_matches('"'), scopes.join(" "))
    };
    match signal {
        Signal::Logs => {
            for r in ExportLogsServiceRequest::decode(bytes).unwrap().resource_logs {
                let scopes = r.scope_logs.into_iter().map(|s| {
                    let body = |r: &opentelemetry_proto::tonic::logs::v1::LogRecord| {
                        let body = show_any(&r.body.clone().unwrap_or_default());
                        body.trim_matches('"').to_owned()
                    };
                    let records = s.log_records.iter().map(body).collect();
                    group(&s.scope.unwrap_or_default().name, records)
                });
                out.push(resource(r.resource, scopes.collect()));
            }
        }
        Signal::Traces => {
            for r in ExportTraceServiceRequest::decode(bytes).unwrap().resource_spans {
                let scopes = r.scope_spans.into_iter().map(|s| {
                    let span = |s: &opentelemetry_proto::tonic::trace::v1::Span| {
                        let events: Vec<&str> = s.events.iter().map(|e| e.name.as_str()).collect();
                        format!("{}({})", s.name, events.join(" "))
                    };
                    let spans = s.spans.iter().map(span).collect();
                    group(&s.scope.unwrap_or_default().name, spans)
                });
                out.push(resource(r.resource, scopes.collect()));
            }
        }
        _ => {
            for r in ExportMetricsServiceRequest::decode(bytes)
                .unwrap()
                .resource_metrics
            {
                let scopes = r.scope_metrics.into_iter().map(|s| {
                    let metric = |m: &opentelemetry_proto::tonic::metrics::v1::Metric| {
                        let points = match &m.data {
                            Some(metric::Data::Gauge(g)) => g.data_points.len(),
                            Some(metric::Data::Sum(s)) => s.data_points.len(),
                            Some(metric::Data::Histogram(h)) => h.data_points.len(),
                            _ => 0,
                        };
                        format!("{}({points})", m.name)
                    };
                    let metrics = s.metrics.iter().map(metric).collect();
                    group(&s.scope.unwrap_or_default().name, metrics)
                });
                out.push(resource(r.resource, scopes.collect()));
            }
        }
    }
    out.join(" ")
}

const LOGS: &str = r#"{"resourceLogs": [
  {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]}, "scopeLogs": [
    {"scope": {"name": "web"}, "logRecords": [
      {"body": {"stringValue": "a"}, "severityNumber": 5, "severityText": "debug",
       "attributes": [{"key": "k", "value": {"stringValue": "x"}}]},
      {"body": {"stringValue": "b"}, "severityNumber": 9, "severityText": "info",
       "attributes": [{"key": "n", "value": {"intValue": "7"}}]}]},
    {"scope": {"name": "db"}, "logRecords": [{"body": {"stringValue": "c"}, "severityNumber": 17}]}]},
  {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "auth"}}]}, "scopeLogs": [
    {"scope": {"name": "web"}, "logRecords": [{"body": {"stringValue": "d"}}]}]}]}"#;

const TRACES: &str = r#"{"resourceSpans": [
  {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]}, "scopeSpans": [
    {"scope": {"name": "web"}, "spans": [
      {"name": "get", "kind": 2, "attributes": [{"key": "http.route", "value": {"stringValue": "/health"}}],
       "events": [{"name": "e1"}, {"name": "e2"}]},
      {"name": "put", "kind": 3, "events": [{"name": "e1"}]}]},
    {"scope": {"name": "db"}, "spans": [{"name": "select", "kind": 3}]}]},
  {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "auth"}}]}, "scopeSpans": [
    {"scope": {"name": "web"}, "spans": [{"name": "login", "kind": 1}]}]}]}"#;

const METRICS: &str = r#"{"resourceMetrics": [
  {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]}, "scopeMetrics": [
    {"scope": {"name": "rt"}, "metrics": [
      {"name": "cpu", "unit": "s", "gauge": {"dataPoints": [
        {"asInt": "1", "attributes": [{"key": "core", "value": {"stringValue": "0"}}]},
        {"asInt": "9", "attributes": [{"key": "core", "value": {"stringValue": "1"}}]}]}},
      {"name": "req", "sum": {"dataPoints": [{"asDouble": 2.5}], "isMonotonic": true}},
      {"name": "lat", "histogram": {"dataPoints": [{"count": "4", "sum": 2.0}]}},
      {"name": "none"},
      {"name": "empty", "gauge": {}}]}]},
  {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "auth"}}]}, "scopeMetrics": [
    {"scope": {"name": "rt"}, "metrics": [{"name": "cpu", "gauge": {"dataPoints": [{"asInt": "3"}]}}]}]}]}"#;

const ALL_LOGS: &str = "cart{web[a b] db[c]} auth{web[d]}";
const ALL_TRACES: &str = "cart{web[get(e1 e2) put(e1)] db[select()]} auth{web[login()]}";
const ALL_METRICS: &str = "cart{rt[cpu(2) req(1) lat(1) none(0) empty(0)]} auth{rt[cpu(1)]}";

#[track_caller]
fn check(signal: Signal, yaml: &str, expected: &str, dropped: u64) {
    let (json, all) = match signal {
        Signal::Logs => (LOGS, ALL_LOGS),
        Signal::Traces => (TRACES, ALL_TRACES),
        _ => (METRICS, ALL_METRICS),
    };
    let after = run(yaml, signal, json).unwrap_or_else(|e| panic!("{yaml}: {e:?}"));
    assert_eq!(after.left, expected, "{yaml}");
    assert_eq!((after.booked, after.counted), (dropped, dropped), "{yaml}");
    assert_eq!(after.untouched, expected == all, "{yaml}");
}

#[test]
fn log_records() {
    let check = |yaml: &str, expected: &str, dropped| check(Signal::Logs, yaml, expected, dropped);
    check("{}", ALL_LOGS, 0);
    check("{traces: {span: ['true']}}", ALL_LOGS, 0);
    // Nothing matches: the bytes stay as they are.
    check("{logs: {log_record: ['body == \"z\"']}}", ALL_LOGS, 0);
    check("{logs: {log_record: []}}", ALL_LOGS, 0);
    check(
        "{logs: {log_record: ['severity_number < SEVERITY_NUMBER_INFO and severity_number > 0']}}",
        "cart{web[b] db[c]} auth{web[d]}",
        1,
    );
    check(
        "{logs: {log_record: ['log.body == \"a\"', 'body == \"c\"']}}",
        "cart{web[b]} auth{web[d]}",
        2,
    );
    check(
        "{logs: {log_record: ['resource.attributes[\"service.name\"] == \"cart\"']}}",
        "auth{web[d]}",
        3,
    );
    check(
        "{logs: {resource: ['attributes[\"service.name\"] == \"cart\"']}}",
        "auth{web[d]}",
        3,
    );
    check(
        "{logs: {resource: ['attributes[\"service.name\"] == \"auth\"'], log_record: ['instrumentation_scope.name == \"web\"']}}",
        "cart{db[c]}",
        3,
    );
    check(
        "{log_conditions: ['log.body == \"a\"', 'resource.attributes[\"service.name\"] == \"auth\"']}",
        "cart{web[b] db[c]}",
        2,
    );
    check(
        "{log_conditions: ['resource.attributes[\"service.name\"] == \"auth\"']}",
        "cart{web[a b] db[c]}",
        1,
    );
    check("{log_conditions: ['scope.name == \"web\"']}", "cart{db[c]}", 3);
    check(
        "{log_conditions: [{conditions: ['scope.name == \"db\"']}, {context: LOG, conditions: ['body == \"b\"']}]}",
        "cart{web[a]} auth{web[d]}",
        2,
    );
    check("{log_conditions: ['log.severity_number >= 0']}", "", 4);
    check(
        "{log_conditions: ['IsMatch(log.body, \"^[ab]$\")']}",
        "cart{db[c]} auth{web[d]}",
        2,
    );
}

#[test]
fn log_records_by_their_properties() {
    let check = |yaml: &str, expected: &str, dropped| check(Signal::Logs, yaml, expected, dropped);
    let attribute = "{key: service.name, value: auth}";
    check(
        &format!("{{logs: {{include: {{match_type: strict, resource_attributes: [{attribute}]}}}}}}"),
        "auth{web[d]}",
        3,
    );
    check(
        &format!("{{logs: {{exclude: {{match_type: strict, resource_attributes: [{attribute}]}}}}}}"),
        "cart{web[a b] db[c]}",
        1,
    );
    check(
        "{logs: {include: {match_type: regexp, bodies: ['^[bc]$']}}}",
        "cart{web[b] db[c]}",
        2,
    );
    check(
        "{logs: {exclude: {match_type: strict, severity_texts: [debug, trace]}}}",
        "cart{web[b] db[c]} auth{web[d]}",
        1,
    );
    check(
        "{logs: {include: {match_type: strict, severity_number: {min: info}}}}",
        "cart{web[b] db[c]}",
        2,
    );
    check(
        "{logs: {include: {match_type: strict, severity_number: {min: '10', match_undefined: true}}}}",
        "cart{db[c]} auth{web[d]}",
        2,
    );
    check(
        "{logs: {include: {match_type: strict, record_attributes: [{key: n, value: 7}]}}}",
        "cart{web[b]}",
        3,
    );
    check(
        "{logs: {include: {match_type: strict}, exclude: {match_type: strict}}}",
        ALL_LOGS,
        0,
    );
}

#[test]
fn spans_and_events() {
    let check = |yaml: &str, expected: &str, dropped| check(Signal::Traces, yaml, expected, dropped);
    check(
        "{traces: {span: ['attributes[\"http.route\"] == \"/health\"']}}",
        "cart{web[put(e1)] db[select()]} auth{web[login()]}",
        1,
    );
    check(
        "{traces: {span: ['span.kind != SPAN_KIND_CLIENT or span.attributes[\"db.system\"] != nil']}}",
        "cart{web[put(e1)] db[select()]}",
        2,
    );
    // Events are no items; a span without any stays.
    check(
        "{traces: {spanevent: ['name == \"e1\"']}}",
        "cart{web[get(e2) put()] db[select()]} auth{web[login()]}",
        0,
    );
    check(
        "{traces: {span: ['name == \"put\"'], spanevent: ['span.name == \"get\"']}}",
        "cart{web[get()] db[select()]} auth{web[login()]}",
        1,
    );
    check(
        "{trace_conditions: [{conditions: ['spanevent.name == \"e2\"']}, {conditions: ['span.name == \"login\"']}]}",
        "cart{web[get(e1) put(e1)] db[select()]}",
        1,
    );
    check(
        "{trace_conditions: ['IsRootSpan() and span.kind == SPAN_KIND_INTERNAL']}",
        "cart{web[get(e1 e2) put(e1)] db[select()]}",
        1,
    );
    check(
        "{spans: {include: {match_type: strict, span_names: [get, login]}}}",
        "cart{web[get(e1 e2)]} auth{web[login()]}",
        2,
    );
    check(
        "{spans: {exclude: {match_type: regexp, services: ['^ca']}}}",
        "auth{web[login()]}",
        3,
    );
    check(
        "{spans: {include: {match_type: strict, span_kinds: [SPAN_KIND_CLIENT]}, exclude: {match_type: strict, libraries: [{name: db}]}}}",
        "cart{web[put(e1)]}",
        3,
    );
    // Where conditions stand, properties are not looked at.
    check(
        "{trace_conditions: ['span.name == \"get\"'], spans: {include: {match_type: strict, span_names: [get]}}}",
        "cart{web[put(e1)] db[select()]} auth{web[login()]}",
        1,
    );
}

#[test]
fn metrics_and_points() {
    let check = |yaml: &str, expected: &str, dropped| check(Signal::Metrics, yaml, expected, dropped);
    check(
        "{metrics: {metric: ['name == \"cpu\"']}}",
        "cart{rt[req(1) lat(1) none(0) empty(0)]}",
        3,
    );
    check(
        "{metrics: {metric: ['type == METRIC_DATA_TYPE_SUM and is_monotonic == true']}}",
        "cart{rt[cpu(2) lat(1) none(0) empty(0)]} auth{rt[cpu(1)]}",
        1,
    );
    // With conditions for points, a metric without any goes; one that is of no type has none to lose.
    check(
        "{metrics: {datapoint: ['attributes[\"core\"] == \"0\"']}}",
        "cart{rt[cpu(1) req(1) lat(1) none(0)]} auth{rt[cpu(1)]}",
        1,
    );
    check(
        "{metrics: {datapoint: ['metric.name == \"cpu\"']}}",
        "cart{rt[req(1) lat(1) none(0)]}",
        3,
    );
    check(
        "{metrics: {resource: ['attributes[\"service.name\"] == \"auth\"'], metric: ['unit == \"s\"'], datapoint: ['count > 3']}}",
        "cart{rt[req(1) none(0)]}",
        4,
    );
    check(
        "{metrics: {metric: ['HasAttrKeyOnDatapoint(\"core\")']}}",
        "cart{rt[req(1) lat(1) none(0) empty(0)]} auth{rt[cpu(1)]}",
        2,
    );
    check(
        "{metrics: {metric: ['HasAttrOnDatapoint(\"core\", \"1\")']}}",
        "cart{rt[req(1) lat(1) none(0) empty(0)]} auth{rt[cpu(1)]}",
        2,
    );
    check(
        "{metric_conditions: ['metric.name == \"cpu\"', 'metric.name == \"lat\"']}",
        "cart{rt[req(1) none(0) empty(0)]}",
        4,
    );
    check(
        "{metric_conditions: ['datapoint.value_int > 2']}",
        "cart{rt[cpu(1) req(1) lat(1) none(0)]}",
        2,
    );
    check(
        "{metrics: {include: {match_type: strict, metric_names: [cpu, lat]}}}",
        "cart{rt[cpu(2) lat(1)]} auth{rt[cpu(1)]}",
        1,
    );
    check(
        "{metrics: {exclude: {match_type: regexp, metric_names: ['^c', lat]}}}",
        "cart{rt[req(1) none(0) empty(0)]}",
        4,
    );
    check(
        "{metrics: {include: {match_type: strict, metric_names: [cpu], resource_attributes: [{key: service.name, value: auth}]}}}",
        "auth{rt[cpu(1)]}",
        4,
    );
    check(
        "{metrics: {exclude: {match_type: regexp, resource_attributes: [{key: service.name, value: au}]}}}",
        "cart{rt[cpu(2) req(1) lat(1) none(0) empty(0)]}",
        1,
    );
}

#[test]
fn metrics_by_expressions() {
    let check = |which: &str, expressions: &str, expected: &str, dropped| {
        let yaml = format!("{{metrics: {{{which}: {{match_type: expr, expressions: [{expressions}]}}}}}}");
        check(Signal::Metrics, &yaml, expected, dropped);
    };
    check(
        "include",
        r#"'MetricType == "Sum"', 'Label("core") == "1"'"#,
        "cart{rt[cpu(2) req(1)]}",
        2,
    );
    // What has no points is meant by none.
    check(
        "exclude",
        r#"'MetricName == "cpu"'"#,
        "cart{rt[req(1) lat(1) none(0) empty(0)]}",
        3,
    );
    check(
        "exclude",
        r#"'HasLabel("core")'"#,
        "cart{rt[req(1) lat(1) none(0) empty(0)]} auth{rt[cpu(1)]}",
        2,
    );
    let yaml = "{metrics: {include: {match_type: expr, expressions: ['true', 'count > 3']}}}";
    let error = filter(yaml, Signal::Metrics).err().unwrap();
    assert!(error.contains("metrics::include::expressions::1"), "{error}");
}

#[test]
fn groups_that_came_empty_go_with_what_could_have_emptied_them() {
    let json = r#"{"resourceLogs": [{"scopeLogs": [{"scope": {"name": "s"}}]}, {"scopeLogs": [{"logRecords": [{}]}]}, {}]}"#;
    for (yaml, expected) in [
        ("{logs: {log_record: ['body == \"z\"']}}", "null{[null]}"),
        (
            "{log_conditions: ['scope.name == \"z\"']}",
            "null{s[]} null{[null]}",
        ),
        (
            "{logs: {resource: ['attributes[\"z\"] == 1']}}",
            "null{s[]} null{[null]} null{}",
        ),
    ] {
        assert_eq!(run(yaml, Signal::Logs, json).unwrap().left, expected, "{yaml}");
    }
}

#[test]
fn records_are_not_looked_at_for_what_their_resource_decides() {
    let depth = |yaml: &str, signal: Signal, expected: Depth| {
        let (tree, _) = filter(yaml, signal).unwrap_or_else(|e| panic!("{yaml}: {e}"));
        assert_eq!(tree.touches().depth, expected, "{yaml}");
    };
    let of_resource = "'resource.attributes[\"service.name\"] == \"cart\"'";
    for (yaml, expected) in [
        (
            format!("{{logs: {{log_record: [{of_resource}]}}}}"),
            Depth::Resource,
        ),
        (format!("{{log_conditions: [{of_resource}]}}"), Depth::Resource),
        (
            format!("{{log_conditions: [{of_resource}, 'scope.name == \"x\"']}}"),
            Depth::Scope,
        ),
        (
            format!("{{logs: {{log_record: [{of_resource}, 'body == 1']}}}}"),
            Depth::Record,
        ),
        (
            "{logs: {log_record: ['attributes[\"service.name\"] == \"cart\"']}}".to_owned(),
            Depth::Record,
        ),
        (
            format!("{{error_mode: propagate, logs: {{log_record: [{of_resource}]}}}}"),
            Depth::Record,
        ),
        ("{}".to_owned(), Depth::None),
    ] {
        depth(&yaml, Signal::Logs, expected);
    }
    depth(
        &format!("{{metrics: {{datapoint: [{of_resource}]}}}}"),
        Signal::Metrics,
        Depth::Record,
    );
    depth(
        &format!("{{metrics: {{metric: [{of_resource}]}}}}"),
        Signal::Metrics,
        Depth::Resource,
    );
    check(
        Signal::Logs,
        &format!("{{logs: {{log_record: [{of_resource}, 'body == \"d\"']}}}}"),
        "",
        4,
    );
}

#[test]
fn an_error_keeps_the_item_or_refuses_the_request() {
    let yaml = |mode: &str, of_group: &str| {
        format!(
            "{{{mode} log_conditions: [{{{of_group} conditions: ['Int(log.body) + Len(log.severity_number) > 0', 'log.body == \"c\"']}}]}}"
        )
    };
    for (mode, of_group) in [
        ("", ""),
        ("error_mode: ignore,", ""),
        ("error_mode: Silent,", ""),
        ("error_mode: propagate,", "error_mode: ignore,"),
    ] {
        check(
            Signal::Logs,
            &yaml(mode, of_group),
            "cart{web[a b]} auth{web[d]}",
            1,
        );
    }
    for (mode, of_group) in [("error_mode: propagate,", ""), ("", "error_mode: propagate,")] {
        let refusal = run(&yaml(mode, of_group), Signal::Logs, LOGS).unwrap_err();
        assert!(
            matches!(&refusal, Refusal::Unavailable { message: text, .. } if text.starts_with("filter/t: ")),
            "{refusal:?}"
        );
    }
}

#[test]
fn a_gate_says_what_an_error_mode_is_that_nobody_wrote() {
    let is_refused = |argument: &str, mode: &str| {
        let (gates, _) = Gates::parse([argument]).unwrap();
        let cx = BuildContext {
            gates: Arc::new(gates),
            ..context("filter/t")
        };
        let yaml = format!("{{{mode} log_conditions: ['Int(log.body) + Len(log.severity_number) > 0']}}");
        run_in(cx, &yaml, Signal::Logs, LOGS).is_err()
    };
    let off = "-processor.filter.defaultErrorModeIgnore";
    assert!(!is_refused("", ""));
    assert!(is_refused(off, ""));
    assert!(!is_refused(off, "error_mode: ignore,"));
    assert!(!is_refused("-processor.transform.defaultErrorModeIgnore", ""));
}

#[test]
fn what_is_wrong_is_found_for_every_signal_and_has_its_place() {
    let check = |yaml: &str, expected: &[&str]| {
        let error = filter(yaml, Signal::Logs)
            .err()
            .unwrap_or_else(|| panic!("{yaml} was built"));
        for part in expected {
            assert!(error.contains(part), "{yaml}: {error}");
        }
    };
    check(
        "{trace_conditions: ['span.nam == \"x\"']}",
        &["trace_conditions::0", "^^^"],
    );
    check(
        "{metrics: {datapoint: ['true', 'valu_int == 1']}}",
        &["metrics::datapoint::1"],
    );
    check(
        "{log_conditions: [{conditions: ['log.body == 1']}, {conditions: ['true', 'log.body ==']}]}",
        &["log_conditions::1::conditions::1"],
    );
    check(
        "{log_conditions: [{context: body, conditions: ['true']}]}",
        &["log_conditions::0::context", "unknown context body"],
    );
    check(
        "{log_conditions: [{context: span, conditions: ['true']}]}",
        &["log_conditions::0", "does not belong"],
    );
    check(
        "{log_conditions: ['true']}",
        &["log_conditions", "unable to infer context"],
    );
    check(
        "{log_conditions: ['log.body == 1'], logs: {log_record: ['true']}}",
        &["log_conditions", "at the same time"],
    );
    check(
        "{logs: {log_record: ['true'], include: {match_type: strict}}}",
        &["logs", "at the same time"],
    );
    check(
        "{metric_conditions: ['metric.name == \"a\"'], metrics: {include: {match_type: strict}}}",
        &["at the same time"],
    );
    check(
        "{traces: {span: ['true']}, spans: {include: {match_type: strict}}}",
        &["at the same time"],
    );
    check(
        "{logs: {include: {match_type: strict, severity_number: {min: loud}}}}",
        &[
            "logs::include::severity_number::min",
            "'loud' is not a valid severity",
        ],
    );
    check("{logs: {include: {bodies: [a]}}}", &["logs::include::match_type"]);
    check("{logs: {record: ['true']}}", &["record"]);
    check("{log_conditions: ['set(log.body, 1)']}", &["log_conditions::0"]);
}

#[test]
fn severities_have_names_and_numbers() {
    for (text, expected) in [
        ("", Some(0)),
        ("trace", Some(1)),
        ("TRACE4", Some(4)),
        ("Info", Some(9)),
        ("warn2", Some(14)),
        ("FATAL4", Some(24)),
        ("24", Some(24)),
        ("0", None),
        ("25", None),
        ("info5", None),
        ("info1", None),
    ] {
        let severity = Severity {
            min: text.into(),
            match_undefined: false,
        };
        assert_eq!(severity.number(), expected, "{text}");
    }
}

component::component_tests!(FACTORY);

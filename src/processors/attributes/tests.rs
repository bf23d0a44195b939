use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use super::*;
use crate::test_kit::{logs, map, run, show, value_of};

fn build(yaml: &str, signal: Signal) -> Result<Attributes, String> {
    let section = Section::from_yaml(yaml).map_err(|e| e.to_string())?;
    let config: Config = section.clone().parse().map_err(|e| e.to_string())?;
    Attributes::new(&config, &section, signal).map_err(|e| e.to_string())
}

fn with_filter(filter: &str, signal: Signal) -> Attributes {
    build(
        &format!("{{actions: [{{key: hit, value: 1, action: insert}}], {filter}}}"),
        signal,
    )
    .unwrap()
}

/// Whether the record of this log is acted on.
#[track_caller]
fn check_log(filter: &str, expected: bool) {
    let mut request = logs(LogRecord {
        attributes: map("{a: x, n: 5, f: 1.5, b: true, l: [1]}"),
        severity_number: 9,
        severity_text: "INFO".into(),
        body: Some(value_of("hello 12")),
        ..Default::default()
    });
    request.resource_logs[0].resource = Some(Resource {
        attributes: map("{service.name: cart, r: 1}"),
        ..Default::default()
    });
    request.resource_logs[0].scope_logs[0].scope = Some(InstrumentationScope {
        name: "lib".into(),
        version: "1.2".into(),
        ..Default::default()
    });
    let stage = with_filter(filter, Signal::Logs);
    let out = run(&stage, Signal::Logs, &request.encode_to_vec());
    let out = ExportLogsServiceRequest::decode(&out[..]).unwrap();
    let record = &out.resource_logs[0].scope_logs[0].log_records[0];
    let is_hit = show(&record.attributes).contains("hit");
    assert_eq!(is_hit, expected, "{filter}");
}

#[test]
fn log_records_are_told_by_their_properties() {
    for (properties, expected) in [
        ("match_type: strict, attributes: [{key: a}]", true),
        (
            "match_type: strict, attributes: [{key: a, value: x}, {key: n, value: 5}]",
            true,
        ),
        (
            "match_type: strict, attributes: [{key: a, value: x}, {key: n, value: '5'}]",
            false,
        ),
        (
            "match_type: strict, attributes: [{key: f, value: 1.5}, {key: b, value: true}]",
            true,
        ),
        ("match_type: strict, attributes: [{key: none}]", false),
        (
            "match_type: regexp, attributes: [{key: n, value: '^5$'}, {key: f, value: '^1\\.5$'}]",
            true,
        ),
        ("match_type: regexp, attributes: [{key: b, value: 'tru'}]", true),
        ("match_type: regexp, attributes: [{key: l, value: '.*'}]", false),
        (
            "match_type: strict, resources: [{key: service.name, value: cart}]",
            true,
        ),
        (
            "match_type: strict, resources: [{key: service.name, value: car}]",
            false,
        ),
        (
            "match_type: regexp, resources: [{key: service.name, value: ca}]",
            true,
        ),
        ("match_type: strict, libraries: [{name: lib}]", true),
        (
            "match_type: strict, libraries: [{name: lib, version: '1.2'}]",
            true,
        ),
        ("match_type: strict, libraries: [{name: lib, version: ''}]", false),
        (
            "match_type: regexp, libraries: [{name: x}, {name: '^l', version: '^1'}]",
            true,
        ),
        ("match_type: strict, log_bodies: [hello 12]", true),
        ("match_type: strict, log_bodies: [hello]", false),
        ("match_type: regexp, log_bodies: ['\\d+']", true),
        ("match_type: strict, log_severity_texts: [WARN, INFO]", true),
        ("match_type: strict, log_severity_number: {min: 9}", true),
        ("match_type: strict, log_severity_number: {min: 10}", false),
        (
            "match_type: strict, log_severity_texts: [INFO], attributes: [{key: none}]",
            false,
        ),
        (
            "match_type: regexp, regexp: {cacheenabled: true, cachemaxnumentries: 10}, log_bodies: [h]",
            true,
        ),
    ] {
        check_log(&format!("include: {{{properties}}}"), expected);
        check_log(&format!("exclude: {{{properties}}}"), !expected);
    }
    let (a, b) = (
        "{match_type: strict, attributes: [{key: a}]}",
        "{match_type: strict, attributes: [{key: none}]}",
    );
    check_log(&format!("include: {a}, exclude: {b}"), true);
    check_log(&format!("include: {a}, exclude: {a}"), false);
    check_log(&format!("include: {b}, exclude: {b}"), false);
}

#[test]
fn spans_are_told_by_name_kind_and_service() {
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: map("{service.name: cart}"),
                ..Default::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans: vec![Span {
                    name: "GET /".into(),
                    kind: 2,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
    .encode_to_vec();
    for (properties, expected) in [
        ("match_type: strict, services: [cart]", true),
        ("match_type: strict, services: [car]", false),
        ("match_type: regexp, services: [car], span_names: ['^GET']", true),
        ("match_type: strict, span_names: [GET]", false),
        (
            "match_type: strict, span_kinds: [SPAN_KIND_CLIENT, SPAN_KIND_SERVER]",
            true,
        ),
        ("match_type: regexp, span_kinds: [CLIENT]", false),
    ] {
        let stage = with_filter(&format!("include: {{{properties}}}"), Signal::Traces);
        let out = run(&stage, Signal::Traces, &request);
        let out = ExportTraceServiceRequest::decode(&out[..]).unwrap();
        let attributes = &out.resource_spans[0].scope_spans[0].spans[0].attributes;
        assert_eq!(!attributes.is_empty(), expected, "{properties}");
    }
}

#[test]
fn metrics_are_told_by_name_and_their_points_changed() {
    let metric = |name: &str, data| Metric {
        name: name.into(),
        data: Some(data),
        ..Default::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![
                    metric(
                        "one",
                        metric::Data::Gauge(Gauge {
                            data_points: vec![NumberDataPoint::default(), NumberDataPoint::default()],
                        }),
                    ),
                    metric(
                        "two",
                        metric::Data::Histogram(Histogram {
                            data_points: vec![HistogramDataPoint::default()],
                            ..Default::default()
                        }),
                    ),
                ],
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
    .encode_to_vec();
    for (filter, expected) in [
        ("", [true, true]),
        (
            "include: {match_type: strict, metric_names: [one]}",
            [true, false],
        ),
        ("exclude: {match_type: regexp, metric_names: [ne]}", [false, true]),
        // Allowed and without effect, as in the collector.
        (
            "include: {match_type: strict, resources: [{key: a, value: b}]}",
            [true, true],
        ),
        (
            "exclude: {match_type: strict, resources: [{key: a, value: b}]}",
            [true, true],
        ),
    ] {
        let out = run(&with_filter(filter, Signal::Metrics), Signal::Metrics, &request);
        let out = ExportMetricsServiceRequest::decode(&out[..]).unwrap();
        let hits: Vec<bool> = out.resource_metrics[0].scope_metrics[0]
            .metrics
            .iter()
            .map(|m| match m.data.as_ref().unwrap() {
                metric::Data::Gauge(g) => g.data_points.iter().all(|p| p.attributes.len() == 1),
                metric::Data::Histogram(h) => h.data_points.iter().all(|p| p.attributes.len() == 1),
                _ => unreachable!("two kinds"),
            })
            .collect();
        assert_eq!(hits, expected, "{filter}");
    }
}

#[test]
fn faults_are_told_all_at_once() {
    for (yaml, signal, expected) in [
        ("{}", Signal::Logs, &["actions"][..]),
        (
            "{actions: [{key: a, action: insert}, {action: x}]}",
            Signal::Logs,
            &["0-th", "1-th"],
        ),
        (
            "{actions: [{key: a, action: delete}], include: {attributes: [{key: a}]}}",
            Signal::Logs,
            &["match_type"],
        ),
        (
            "{actions: [{key: a, action: delete}], include: {match_type: strict, services: [x]}}",
            Signal::Logs,
            &["services should not"],
        ),
        (
            "{actions: [{key: a, action: delete}], include: {match_type: strict}, exclude: {match_type: regexp, span_names: ['(']}}",
            Signal::Traces,
            &["at least one of", "regexp"],
        ),
        (
            "{actions: [{key: a, action: delete}], include: {match_type: strict, span_kinds: [SERVER]}}",
            Signal::Traces,
            &["SPAN_KIND_INTERNAL"],
        ),
        (
            "{actions: [{key: a, action: delete}], include: {match_type: strict, attributes: [{key: a}]}}",
            Signal::Metrics,
            &[
                "include::attributes",
                "and \"libraries\" are not valid for metrics",
            ],
        ),
        (
            "{actions: [{key: a, action: delete}], exclude: {match_type: strict}}",
            Signal::Metrics,
            &["at least one of \"metric_names\" or \"resources\" field must be specified"],
        ),
        ("{action: []}", Signal::Logs, &["actions"]),
    ] {
        let error = build(yaml, signal).err().unwrap();
        for part in expected {
            assert!(error.contains(part), "{yaml}: {error}");
        }
    }
}

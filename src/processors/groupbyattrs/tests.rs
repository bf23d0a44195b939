use component::test_kit::context;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1 as m;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message as _;
use wire::test_kit::{KEYS, Request, Rng, disguise};
use wire::{Limits, validate};

use wire::view::Value;
use wire::view::identity::Order;

use super::*;
use crate::test_kit::{map, show};

fn build(keys: &[&str], signal: Signal) -> (GroupByAttrs, BuildContext) {
    let cx = context("groupbyattrs");
    let config = Config {
        keys: keys.iter().map(|k| (*k).to_owned()).collect(),
    };
    (GroupByAttrs::new(&config, &cx, signal), cx)
}

fn chunk(signal: Signal, bytes: Vec<u8>) -> Chunk {
    let shape = validate(signal, &bytes, &Limits::default()).unwrap();
    Chunk::new(bytes.into(), shape)
}

fn payload(signal: Signal, chunks: Vec<Chunk>) -> Payload {
    Payload {
        signal,
        items: chunks.iter().map(|c| c.shape.items as usize).sum(),
        chunks,
        context: Arc::default(),
    }
}

// --- the naive twin ---

fn sorted(attributes: &[KeyValue]) -> Vec<u8> {
    let bytes: Vec<_> = attributes
        .iter()
        .map(|a| {
            (
                a.key.as_bytes().to_vec(),
                a.value.clone().unwrap_or_default().encode_to_vec(),
            )
        })
        .collect();
    let (mut out, mut order) = (Vec::new(), Order::default());
    order.entries(bytes.len(), |i| (&bytes[i].0, Value::new(&bytes[i].1)), &mut out);
    out
}

/// Takes the keys out of an item; the attributes that its resource then has.
fn moved(keys: &[&str], resource: &Option<Resource>, item: &mut Vec<KeyValue>) -> Vec<KeyValue> {
    let mut attributes = resource.clone().unwrap_or_default().attributes;
    // All are taken before any is removed: a key may stand there twice.
    for entry in keys.iter().filter_map(|key| item.iter().find(|a| a.key == *key)) {
        match attributes.iter_mut().find(|a| a.key == entry.key) {
            Some(known) => known.value.clone_from(&entry.value),
            None => attributes.push(entry.clone()),
        }
    }
    for key in keys {
        if let Some(i) = item.iter().position(|a| a.key == *key) {
            item.swap_remove(i);
        }
    }
    attributes
}

fn named(a: &Option<InstrumentationScope>, b: &Option<InstrumentationScope>) -> bool {
    let name = |s: &Option<InstrumentationScope>| s.clone().map(|s| (s.name, s.version)).unwrap_or_default();
    name(a) == name(b)
}

macro_rules! naive {
    ($name:ident, $resources:ident, $scopes:ident, $items:ident, $group:ident, $scope:ident, $request:ident) => {
        fn $name(keys: &[&str], request: $request) -> $request {
            let mut out: Vec<$group> = Vec::new();
            for group in request.$resources {
                for scope in group.$scopes {
                    for mut item in scope.$items {
                        let attributes = moved(keys, &group.resource, &mut item.attributes);
                        let same = |g: &$group| {
                            sorted(&g.resource.as_ref().unwrap().attributes) == sorted(&attributes)
                        };
                        let at = out.iter().position(same).unwrap_or_else(|| {
                            let resource = Resource {
                                attributes: attributes.clone(),
                                ..Default::default()
                            };
                            out.push($group {
                                resource: Some(resource),
                                ..Default::default()
                            });
                            out.len() - 1
                        });
                        let scopes = &mut out[at].$scopes;
                        let at = scopes
                            .iter()
                            .position(|s| named(&s.scope, &scope.scope))
                            .unwrap_or_else(|| {
                                let header = Some(scope.scope.clone().unwrap_or_default());
                                scopes.push($scope {
                                    scope: header,
                                    ..Default::default()
                                });
                                scopes.len() - 1
                            });
                        scopes[at].$items.push(item);
                    }
                }
            }
            $request { $resources: out }
        }
    };
}

naive!(
    naive_logs,
    resource_logs,
    scope_logs,
    log_records,
    ResourceLogs,
    ScopeLogs,
    ExportLogsServiceRequest
);
naive!(
    naive_spans,
    resource_spans,
    scope_spans,
    spans,
    ResourceSpans,
    ScopeSpans,
    ExportTraceServiceRequest
);

/// A metric as several with one point each, and that point's attributes.
fn points(metric: &m::Metric) -> Vec<m::Metric> {
    macro_rules! each {
        ($variant:ident, $inner:expr) => {
            $inner
                .data_points
                .iter()
                .map(|p| {
                    let mut one = $inner.clone();
                    one.data_points = vec![p.clone()];
                    m::Metric {
                        data: Some(Data::$variant(one)),
                        ..metric.clone()
                    }
                })
                .collect()
        };
    }
    match &metric.data {
        None => Vec::new(),
        Some(Data::Gauge(d)) => each!(Gauge, d),
        Some(Data::Sum(d)) => each!(Sum, d),
        Some(Data::Histogram(d)) => each!(Histogram, d),
        Some(Data::ExponentialHistogram(d)) => each!(ExponentialHistogram, d),
        Some(Data::Summary(d)) => each!(Summary, d),
    }
}

fn attributes_of(metric: &mut m::Metric) -> &mut Vec<KeyValue> {
    match metric.data.as_mut().unwrap() {
        Data::Gauge(d) => &mut d.data_points[0].attributes,
        Data::Sum(d) => &mut d.data_points[0].attributes,
        Data::Histogram(d) => &mut d.data_points[0].attributes,
        Data::ExponentialHistogram(d) => &mut d.data_points[0].attributes,
        Data::Summary(d) => &mut d.data_points[0].attributes,
    }
}

fn merge(into: &mut m::Metric, from: m::Metric) -> Option<m::Metric> {
    if into.name != from.name {
        return Some(from);
    }
    match (into.data.as_mut().unwrap(), from.data.clone().unwrap()) {
        (Data::Gauge(a), Data::Gauge(b)) => a.data_points.extend(b.data_points),
        (Data::Sum(a), Data::Sum(b)) => a.data_points.extend(b.data_points),
        (Data::Histogram(a), Data::Histogram(b)) => a.data_points.extend(b.data_points),
        (Data::ExponentialHistogram(a), Data::ExponentialHistogram(b)) => a.data_points.extend(b.data_points),
        (Data::Summary(a), Data::Summary(b)) => a.data_points.extend(b.data_points),
        _ => return Some(from),
    }
    None
}

fn naive_metrics(keys: &[&str], request: ExportMetricsServiceRequest) -> ExportMetricsServiceRequest {
    let mut out: Vec<m::ResourceMetrics> = Vec::new();
    for group in request.resource_metrics {
        for scope in group.scope_metrics {
            for mut point in scope.metrics.iter().flat_map(points) {
                let attributes = moved(keys, &group.resource, attributes_of(&mut point));
                let same = |g: &m::ResourceMetrics| {
                    sorted(&g.resource.as_ref().unwrap().attributes) == sorted(&attributes)
                };
                let at = out.iter().position(same).unwrap_or_else(|| {
                    let resource = Resource {
                        attributes: attributes.clone(),
                        ..Default::default()
                    };
                    out.push(m::ResourceMetrics {
                        resource: Some(resource),
                        ..Default::default()
                    });
                    out.len() - 1
                });
                let scopes = &mut out[at].scope_metrics;
                let at = scopes
                    .iter()
                    .position(|s| named(&s.scope, &scope.scope))
                    .unwrap_or_else(|| {
                        scopes.push(m::ScopeMetrics {
                            scope: Some(scope.scope.clone().unwrap_or_default()),
                            ..Default::default()
                        });
                        scopes.len() - 1
                    });
                let metrics = &mut scopes[at].metrics;
                let left = metrics
                    .iter_mut()
                    .try_fold(point, |point, known| merge(known, point).ok_or(()));
                metrics.extend(left.ok());
            }
        }
    }
    ExportMetricsServiceRequest {
        resource_metrics: out,
    }
}

fn naive(keys: &[&str], request: Request) -> Request {
    match request {
        Request::Logs(r) => Request::Logs(naive_logs(keys, r)),
        Request::Traces(r) => Request::Traces(naive_spans(keys, r)),
        Request::Metrics(r) => Request::Metrics(naive_metrics(keys, r)),
    }
}

fn strip(attributes: &mut [KeyValue]) {
    for a in attributes {
        a.key_strindex = 0;
        a.value.get_or_insert_default();
    }
}

/// What neither side keeps of attributes that are written again: an absent value is an empty one.
fn plain(mut request: Request) -> Request {
    match &mut request {
        Request::Logs(r) => r
            .resource_logs
            .iter_mut()
            .for_each(|g| strip(&mut g.resource.as_mut().unwrap().attributes)),
        Request::Traces(r) => {
            r.resource_spans
                .iter_mut()
                .for_each(|g| strip(&mut g.resource.as_mut().unwrap().attributes));
        }
        Request::Metrics(r) => {
            r.resource_metrics
                .iter_mut()
                .for_each(|g| strip(&mut g.resource.as_mut().unwrap().attributes));
        }
    }
    request
}

#[test]
fn does_what_the_naive_twin_does() {
    let mut rng = Rng(7);
    for round in 0..900 {
        let signal = [Signal::Logs, Signal::Traces, Signal::Metrics][round % 3];
        let count = rng.below(4);
        let mut keys: Vec<&str> = Vec::new();
        for _ in 0..count {
            let key = *rng.pick(&KEYS);
            if !key.is_empty() && !keys.contains(&key) {
                keys.push(key);
            }
        }
        let request = Request::random(signal, &mut rng);
        let bytes = match rng.chance(30) {
            true => disguise(signal, &request.encode(), false, &mut rng),
            false => request.encode(),
        };
        let (stage, cx) = build(&keys, signal);
        let came = payload(signal, vec![chunk(signal, bytes)]);
        let items = came.items;
        let out = stage.run(came).unwrap();
        if items == 0 {
            continue;
        }
        let got = Request::decode(signal, &out.chunks[0].bytes()).unwrap();
        assert!(
            plain(got) == plain(naive(&keys, request)),
            "round {round} keys {keys:?}"
        );
        let again = validate(signal, &out.chunks[0].bytes(), &Limits::default()).unwrap();
        assert_eq!(
            (again.items as usize, again.non_canonical),
            (items, false),
            "round {round}"
        );
        assert_eq!(out.items, items);
        let counted = stage.grouped.get() + stage.plain.get();
        assert_eq!(counted as usize, items);
        drop(cx);
    }
}

// --- rows ---

fn record(attributes: &str) -> LogRecord {
    LogRecord {
        attributes: map(attributes),
        ..Default::default()
    }
}

fn group(resource: &str, scope: &str, records: &[&str]) -> ResourceLogs {
    ResourceLogs {
        resource: Some(Resource {
            attributes: map(resource),
            dropped_attributes_count: 3,
            ..Default::default()
        }),
        scope_logs: vec![ScopeLogs {
            scope: Some(InstrumentationScope {
                name: scope.into(),
                ..Default::default()
            }),
            log_records: records.iter().map(|r| record(r)).collect(),
            schema_url: "scope".into(),
        }],
        schema_url: "resource".into(),
    }
}

/// One line a resource: its attributes, then each scope with the attributes of its records.
fn told(bytes: &[u8]) -> Vec<String> {
    let request = ExportLogsServiceRequest::decode(bytes).unwrap();
    let groups = request.resource_logs.iter().map(|g| {
        assert_eq!(g.schema_url, "");
        let resource = g.resource.clone().unwrap();
        assert_eq!(resource.dropped_attributes_count, 0);
        let scopes = g.scope_logs.iter().map(|s| {
            assert_eq!(s.schema_url, "");
            let records: Vec<_> = s.log_records.iter().map(|r| show(&r.attributes)).collect();
            format!(" {}{}", s.scope.clone().unwrap().name, records.concat())
        });
        format!("{}{}", show(&resource.attributes), scopes.collect::<String>())
    });
    groups.collect()
}

fn run(keys: &[&str], groups: Vec<ResourceLogs>) -> (Vec<String>, GroupByAttrs) {
    let bytes = ExportLogsServiceRequest {
        resource_logs: groups,
    }
    .encode_to_vec();
    let (stage, _) = build(keys, Signal::Logs);
    let out = stage
        .run(payload(Signal::Logs, vec![chunk(Signal::Logs, bytes)]))
        .unwrap();
    (told(&out.chunks[0].bytes()), stage)
}

#[track_caller]
fn check(keys: &[&str], groups: Vec<ResourceLogs>, expected: &[&str]) {
    assert_eq!(run(keys, groups).0, expected);
}

#[test]
fn moves_keys_to_resources() {
    check(
        &["host", "", "host", "zone"],
        vec![group(
            "{r: 1, zone: x}",
            "s",
            &[
                "{a: 1, host: h, b: 2}",
                "{host: h}",
                "{zone: y, host: h}",
                "{c: 3}",
            ],
        )],
        &[
            r#"{r:1, zone:"x", host:"h"} s{a:1, b:2}{}"#,
            r#"{r:1, zone:"y", host:"h"} s{}"#,
            r#"{r:1, zone:"x"} s{c:3}"#,
        ],
    );
    // The last one takes the place of what goes.
    check(
        &["b"],
        vec![group("{}", "s", &["{a: 1, b: 2, c: 3, d: 4}"])],
        &["{b:2} s{a:1, d:4, c:3}"],
    );
}

#[test]
fn compacts_without_keys() {
    check(
        &[],
        vec![
            group("{a: 1, b: 2}", "s", &["{n: 1}"]),
            group("{b: 2, a: 1}", "t", &["{n: 2}"]),
            group("{a: 1}", "s", &["{n: 3}"]),
            group("{a: 1, b: 2}", "s", &["{n: 4}"]),
            group("{a: 1, b: '2'}", "s", &["{n: 5}"]),
        ],
        &[
            "{a:1, b:2} s{n:1}{n:4} t{n:2}",
            "{a:1} s{n:3}",
            r#"{a:1, b:"2"} s{n:5}"#,
        ],
    );
}

#[test]
fn counts_what_it_did() {
    let (_, stage) = run(&["k"], vec![group("{}", "s", &["{k: 1}", "{k: 2}", "{}"])]);
    assert_eq!((stage.grouped.get(), stage.plain.get()), (2, 1));
}

#[test]
fn requests_of_one_owner_meet_and_tenants_never() {
    let of = |tenant: &str, records: &[&str]| {
        let request = ExportLogsServiceRequest {
            resource_logs: vec![group("{r: 1}", "s", records)],
        };
        let mut chunk = chunk(Signal::Logs, request.encode_to_vec());
        chunk.origin.tenant = (!tenant.is_empty()).then(|| tenant.into());
        chunk
    };
    let (stage, _) = build(&[], Signal::Logs);
    let chunks = vec![
        of("a", &["{n: 1}"]),
        of("", &["{n: 2}"]),
        of("b", &["{n: 3}"]),
        of("a", &["{n: 4}"]),
    ];
    let out = stage.run(payload(Signal::Logs, chunks)).unwrap();
    let told: Vec<_> = out
        .chunks
        .iter()
        .map(|c| {
            (
                c.origin.tenant.as_deref().unwrap_or(""),
                c.shape.items,
                told(&c.bytes()).concat(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("a", 2, "{r:1} s{n:1}{n:4}".to_owned()),
            ("", 1, "{r:1} s{n:2}".to_owned()),
            ("b", 1, "{r:1} s{n:3}".to_owned()),
        ]
    );
    assert_eq!(out.items, 4);
}

#[test]
fn what_would_grow_without_end_is_refused() {
    let big = "x".repeat(1 << 20);
    let records: Vec<String> = (0..300).map(|i| format!("{{k: {i}}}")).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let request = ExportLogsServiceRequest {
        resource_logs: vec![group(&format!("{{big: {big}}}"), "s", &records)],
    };
    let (stage, _) = build(&["k"], Signal::Logs);
    let refusal = stage
        .run(payload(
            Signal::Logs,
            vec![chunk(Signal::Logs, request.encode_to_vec())],
        ))
        .unwrap_err();
    assert_eq!(
        refusal,
        Refusal::Invalid("groupbyattrs: resources and scopes of one request pass 256 MiB".into())
    );
}

component::component_tests!(FACTORY);

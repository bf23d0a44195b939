use component::test_kit::{Branches, context, faults, section, totals};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{self as m, AggregationTemporality};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span};
use prost::Message as _;
use telemetry::Column;
use wire::test_kit::{Request, Rng, disguise};
use wire::{Limits, validate};

use super::*;

const NOW: u64 = 999;

struct Rig {
    connector: Count,
    branches: Arc<Branches>,
    cx: BuildContext,
}

fn rig(yaml: &str, from: Signal) -> Rig {
    let cx = context("count");
    let branches = Branches::new(&["metrics"]);
    let section = section(yaml);
    let config: Config = section.clone().parse().unwrap();
    let joint = branches.joint(&cx.telemetry, from, Signal::Metrics);
    let mut connector = Count::new(&config, &section, &cx, joint).unwrap_or_else(|fault| panic!("{fault}"));
    connector.clock = || NOW;
    Rig {
        connector,
        branches,
        cx,
    }
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

fn show(attributes: &[KeyValue]) -> String {
    let each = attributes.iter().map(|a| {
        let value = match a.value.as_ref().and_then(|v| v.value.as_ref()) {
            Some(Any::StringValue(text)) => format!("{text:?}"),
            Some(Any::IntValue(i)) => i.to_string(),
            Some(Any::DoubleValue(d)) => format!("{d:?}"),
            Some(Any::BoolValue(b)) => b.to_string(),
            other => format!("{other:?}"),
        };
        format!("{}={value}", a.key)
    });
    each.collect::<Vec<_>>().join(",")
}

fn told(payload: &Payload) -> Vec<String> {
    assert_eq!(payload.signal, Signal::Metrics);
    let mut lines = Vec::new();
    for chunk in &payload.chunks {
        let again = validate(Signal::Metrics, &chunk.bytes(), &Limits::default()).unwrap();
        assert_eq!((again.items, again.non_canonical), (chunk.shape.items, false));
        assert!(chunk.shape.unknown_fields || !again.unknown_fields);
        let request = ExportMetricsServiceRequest::decode(chunk.bytes()).unwrap();
        for group in request.resource_metrics {
            let resource = show(&group.resource.unwrap().attributes);
            for scope in group.scope_metrics {
                assert_eq!(scope.scope.unwrap().name.as_bytes(), SCOPE);
                for metric in scope.metrics {
                    let Some(Data::Sum(sum)) = metric.data else {
                        panic!("a sum")
                    };
                    assert!(sum.is_monotonic);
                    assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Delta);
                    for point in sum.data_points {
                        let Some(Value::AsInt(value)) = point.value else {
                            panic!("an integer")
                        };
                        lines.push(format!(
                            "{}[{resource}] {} ({}) {value} [{}] {}..{}",
                            chunk.origin.tenant.as_deref().unwrap_or(""),
                            metric.name,
                            metric.description,
                            show(&point.attributes),
                            point.start_time_unix_nano,
                            point.time_unix_nano,
                        ));
                    }
                }
            }
        }
    }
    lines
}

impl Rig {
    async fn give(&self, payload: Payload) -> Result<Vec<String>, Refusal> {
        let before = self.branches.sink("metrics").taken().len();
        self.connector.consume(payload).await?;
        Ok(self.branches.sink("metrics").taken()[before..]
            .iter()
            .flat_map(told)
            .collect())
    }
}

fn attributes(text: &str) -> Vec<KeyValue> {
    let entries = text.split(',').filter(|e| !e.is_empty());
    let value = |text: &str| match text.parse::<i64>() {
        Ok(number) => Any::IntValue(number),
        Err(_) => Any::StringValue(text.into()),
    };
    entries
        .map(|entry| entry.split_once('=').unwrap())
        .map(|(key, text)| KeyValue {
            key: key.into(),
            value: Some(AnyValue {
                value: Some(value(text)),
            }),
            ..Default::default()
        })
        .collect()
}

fn logs(groups: &[(&str, &[&str])]) -> Payload {
    let groups = groups.iter().map(|(resource, records)| ResourceLogs {
        resource: Some(Resource {
            attributes: attributes(resource),
            dropped_attributes_count: 5,
            ..Default::default()
        }),
        scope_logs: vec![ScopeLogs {
            scope: Some(InstrumentationScope {
                attributes: attributes("lib=l"),
                ..Default::default()
            }),
            log_records: records
                .iter()
                .enumerate()
                .map(|(i, r)| LogRecord {
                    time_unix_nano: 100 - 10 * i as u64,
                    attributes: attributes(r),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    });
    let request = ExportLogsServiceRequest {
        resource_logs: groups.collect(),
    };
    payload(Signal::Logs, vec![chunk(Signal::Logs, request.encode_to_vec())])
}

#[tokio::test]
async fn counts_log_records() {
    let check = async |yaml: &str, expected: &[&str]| {
        let came = logs(&[
            ("r=1", &["k=a", "k=b,n=2", "k=a", ""]),
            ("r=2", &["k=7"]),
            ("r=3", &[]),
        ]);
        assert_eq!(
            rig(yaml, Signal::Logs).give(came).await.unwrap(),
            expected,
            "{yaml}"
        );
    };
    let (name, text) = ("log.record.count", "The number of log records observed.");
    check(
        "{}",
        &[
            &format!("[r=1] {name} ({text}) 4 [] 70..100"),
            &format!("[r=2] {name} ({text}) 1 [] 100..100"),
        ],
    )
    .await;
    check("{logs: {}}", &[]).await;
    check(
        "{logs: {c: {attributes: [{key: k}]}}}",
        &[
            "[r=1] c () 2 [k=\"a\"] 70..100",
            "[r=1] c () 1 [k=\"b\"] 70..100",
            "[r=2] c () 1 [k=7] 100..100",
        ],
    )
    .await;
    check(
        "{logs: {c: {attributes: [{key: k, default_value: other}, {key: lib}, {key: r}]}}}",
        &[
            "[r=1] c () 2 [k=\"a\",lib=\"l\",r=1] 70..100",
            "[r=1] c () 1 [k=\"b\",lib=\"l\",r=1] 70..100",
            "[r=1] c () 1 [k=\"other\",lib=\"l\",r=1] 70..100",
            "[r=2] c () 1 [k=7,lib=\"l\",r=2] 100..100",
        ],
    )
    .await;
    check(
        "{logs: {c: {attributes: [{key: n, default_value: 1.5}]}, d: {attributes: [{key: n, default_value: true}]}}}",
        &[
            "[r=1] c () 3 [n=1.5] 70..100",
            "[r=1] c () 1 [n=2] 70..100",
            "[r=1] d () 3 [n=true] 70..100",
            "[r=1] d () 1 [n=2] 70..100",
            "[r=2] c () 1 [n=1.5] 100..100",
            "[r=2] d () 1 [n=true] 100..100",
        ],
    )
    .await;
    check(
        "{logs: {b: {description: of b, conditions: ['attributes[\"k\"] == \"b\"', 'log.attributes[\"k\"] == 7']}}}",
        &["[r=1] b (of b) 1 [] 70..100", "[r=2] b (of b) 1 [] 100..100"],
    )
    .await;
    // A condition that fails counts nothing, and costs nobody else anything.
    check(
        "{logs: {a: {conditions: ['Int(attributes) > 1']}, b: {}}}",
        &["[r=1] b () 4 [] 70..100", "[r=2] b () 1 [] 100..100"],
    )
    .await;
}

fn spans() -> Payload {
    let event = |time_unix_nano, attributes: Vec<KeyValue>| span::Event {
        time_unix_nano,
        attributes,
        ..Default::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: vec![
                    Span {
                        start_time_unix_nano: 10,
                        end_time_unix_nano: 30,
                        name: "a".into(),
                        events: vec![event(15, attributes("e=x")), event(0, attributes("e=y"))],
                        links: vec![span::Link::default()],
                        ..Default::default()
                    },
                    Span {
                        start_time_unix_nano: 5,
                        name: "b".into(),
                        ..Default::default()
                    },
                ],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    payload(
        Signal::Traces,
        vec![chunk(Signal::Traces, request.encode_to_vec())],
    )
}

#[tokio::test]
async fn counts_spans_and_their_events() {
    let check = async |yaml: &str, expected: &[&str]| {
        assert_eq!(
            rig(yaml, Signal::Traces).give(spans()).await.unwrap(),
            expected,
            "{yaml}"
        );
    };
    check(
        "{}",
        &[
            "[] trace.span.count (The number of spans observed.) 2 [] 5..30",
            "[] trace.span.event.count (The number of span events observed.) 2 [] 15..15",
        ],
    )
    .await;
    check(
        "{spans: {s: {conditions: ['name == \"b\"']}}, spanevents: {e: {attributes: [{key: e}], conditions: \
         ['span.name == \"a\" and attributes[\"e\"] == \"y\"']}}}",
        &["[] s () 1 [] 5..30", "[] e () 1 [e=\"y\"] 15..15"],
    )
    .await;
}

#[tokio::test]
async fn counts_metrics_and_points() {
    let point = |time_unix_nano, text: &str| m::NumberDataPoint {
        time_unix_nano,
        attributes: attributes(text),
        exemplars: vec![m::Exemplar::default()],
        ..Default::default()
    };
    let metric = |name: &str, data: Option<Data>| m::Metric {
        name: name.into(),
        metadata: attributes("k=meta"),
        data,
        ..Default::default()
    };
    let gauge = Data::Gauge(m::Gauge {
        data_points: vec![point(0, "k=1"), point(0, "k=2")],
    });
    let summary = Data::Summary(m::Summary {
        data_points: vec![m::SummaryDataPoint::default()],
    });
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![m::ResourceMetrics {
            scope_metrics: vec![m::ScopeMetrics {
                metrics: vec![
                    metric("g", Some(gauge)),
                    metric("s", Some(summary)),
                    metric("none", None),
                ],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    let came = payload(
        Signal::Metrics,
        vec![chunk(Signal::Metrics, request.encode_to_vec())],
    );
    let check = async |yaml: &str, expected: &[&str]| {
        assert_eq!(
            rig(yaml, Signal::Metrics).give(came.clone()).await.unwrap(),
            expected,
            "{yaml}"
        );
    };
    check(
        "{}",
        &[
            "[] metric.count (The number of metrics observed.) 3 [] 999..999",
            "[] metric.datapoint.count (The number of data points observed.) 3 [] 999..999",
        ],
    )
    .await;
    check(
        "{metrics: {m: {conditions: ['metric.name == \"g\"']}}, datapoints: {p: {attributes: [{key: k}], conditions: \
         ['metric.name == \"g\"']}}}",
        &["[] m () 1 [] 999..999", "[] p () 1 [k=1] 999..999", "[] p () 1 [k=2] 999..999"],
    )
    .await;
}

#[tokio::test]
async fn books_what_came_and_what_was_made_by_tenant() {
    let rig = rig("{logs: {c: {attributes: [{key: k}]}}}", Signal::Logs);
    let of = |tenant: &str, records: &[&str]| {
        let mut chunk = logs(&[("", records)]).chunks.remove(0);
        chunk.origin.tenant = Some(tenant.into());
        chunk
    };
    let came = vec![
        of("a", &["k=1", "k=2"]),
        of("b", &["k=1", ""]),
        of("a", &["k=1"]),
        of("c", &[""]),
    ];
    let told = rig.give(payload(Signal::Logs, came)).await.unwrap();
    assert_eq!(
        told,
        [
            "a[] c () 1 [k=1] 90..100",
            "a[] c () 1 [k=2] 90..100",
            "a[] c () 1 [k=1] 100..100",
            "b[] c () 1 [k=1] 90..100",
        ]
    );
    let came = totals(&rig.cx.telemetry, "connector", Signal::Logs);
    let made = totals(&rig.cx.telemetry, "connector", Signal::Metrics);
    assert_eq!((came.get(Column::Merged), came.get(Column::Created)), (6, 0));
    assert_eq!((made.get(Column::Merged), made.get(Column::Created)), (0, 4));
}

#[tokio::test]
async fn what_is_refused_behind_is_refused_and_leaves_no_trace() {
    let rig = rig("{}", Signal::Logs);
    let refusal = Refusal::unavailable("no");
    rig.branches.sink("metrics").refuse(Some(refusal.clone()));
    assert_eq!(rig.give(logs(&[("", &[""])])).await, Err(refusal));
    assert_eq!(
        totals(&rig.cx.telemetry, "connector", Signal::Logs).get(Column::Merged),
        0
    );
    assert_eq!(
        totals(&rig.cx.telemetry, "connector", Signal::Metrics).get(Column::Created),
        0
    );
}

#[test]
fn says_all_that_is_wrong() {
    let check = |yaml: &str, expected: &[&str]| {
        let cx = context("count");
        let joint = Branches::new(&["metrics"]).joint(&cx.telemetry, Signal::Logs, Signal::Metrics);
        let told = faults((FACTORY.build)(section(yaml), &cx, joint));
        for text in expected {
            assert!(told.contains(text), "{yaml}: {told}");
        }
    };
    check(
        "{spans: {'': {}}, metrics: {m: {attributes: [{key: a}]}}, logs: {l: {attributes: [{default_value: 1}], \
         conditions: ['body ==']}}}",
        &[
            "spans: metric name missing",
            "metrics attributes not supported: metric \"m\"",
            "logs attributes: metric \"l\": attribute key missing",
            "logs condition: metric \"l\"",
        ],
    );
}

/// How many items of each kind a request has, by resource.
fn naive(request: &Request) -> Vec<(usize, usize)> {
    match request {
        Request::Logs(r) => {
            let of = |g: &ResourceLogs| g.scope_logs.iter().map(|s| s.log_records.len()).sum();
            r.resource_logs.iter().map(|g| (of(g), 0)).collect()
        }
        Request::Traces(r) => {
            let of = |g: &ResourceSpans| {
                let spans = || g.scope_spans.iter().flat_map(|s| &s.spans);
                (spans().count(), spans().map(|s| s.events.len()).sum())
            };
            r.resource_spans.iter().map(of).collect()
        }
        Request::Metrics(r) => {
            let points = |metric: &m::Metric| match &metric.data {
                None => 0,
                Some(Data::Gauge(d)) => d.data_points.len(),
                Some(Data::Sum(d)) => d.data_points.len(),
                Some(Data::Histogram(d)) => d.data_points.len(),
                Some(Data::ExponentialHistogram(d)) => d.data_points.len(),
                Some(Data::Summary(d)) => d.data_points.len(),
            };
            let of = |g: &m::ResourceMetrics| {
                let metrics = || g.scope_metrics.iter().flat_map(|s| &s.metrics);
                (metrics().count(), metrics().map(points).sum())
            };
            r.resource_metrics.iter().map(of).collect()
        }
    }
}

#[tokio::test]
async fn counts_what_a_naive_twin_counts() {
    let mut rng = Rng(11);
    for round in 0..300 {
        let signal = [Signal::Logs, Signal::Traces, Signal::Metrics][round % 3];
        let request = Request::random(signal, &mut rng);
        let bytes = match rng.chance(30) {
            true => disguise(signal, &request.encode(), true, &mut rng),
            false => request.encode(),
        };
        let rig = rig("{}", signal);
        let told = rig
            .give(payload(signal, vec![chunk(signal, bytes)]))
            .await
            .unwrap();
        let counts: Vec<usize> = told
            .iter()
            .map(|line| {
                line.split("observed.) ")
                    .nth(1)
                    .unwrap()
                    .split(' ')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        let expected: Vec<usize> = naive(&request)
            .into_iter()
            .flat_map(|(outer, inner)| [outer, inner])
            .filter(|n| *n > 0)
            .collect();
        assert_eq!(counts, expected, "round {round}");
    }
}

component::component_tests!(FACTORY);

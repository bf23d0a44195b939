use component::test_kit::{Lonely, context, faults, section};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, MetricsData, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
    exemplar, exponential_histogram_data_point::Buckets, metric, number_data_point,
    summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData, span};
use wire::Limits;

use super::*;

component::component_tests!(FACTORY);

#[test]
fn defaults_match_otelcol() {
    let config: Config = section("{}").parse().unwrap();
    assert_eq!(config, Config::default());
    let config: Config = section("verbosity: Detailed").parse().unwrap();
    assert_eq!(config.verbosity, Verbosity::Detailed);
}

#[test]
fn tells_faults() {
    #[track_caller]
    fn check(yaml: &str, expected: &str) {
        let told = faults((FACTORY.build)(section(yaml), &context("debug")).map(|_| ()));
        assert!(told.contains(expected), "{told}");
    }
    check("verbosity: none", "verbosity level \"None\" is not supported");
    check("verbosity: loud", "unknown verbosity level");
    check(
        "output_paths: [stdout]",
        "output_paths is not supported when use_internal_logger is true",
    );
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(value: &str) -> any_value::Value {
    any_value::Value::StringValue(value.into())
}

fn resource() -> Option<Resource> {
    Some(Resource {
        attributes: vec![attribute("service.name", text("shop"))],
        ..Resource::default()
    })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "lib".into(),
        version: "1.2".into(),
        attributes: vec![attribute("a", any_value::Value::BoolValue(true))],
        ..InstrumentationScope::default()
    })
}

fn payload(signal: Signal, message: &impl prost::Message) -> Payload {
    let bytes = bytes::Bytes::from(message.encode_to_vec());
    let shape = wire::validate(signal, &bytes, &Limits::default()).unwrap();
    Payload::new(signal, Chunk::new(bytes, shape), Arc::new(Context::default()))
}

fn logs() -> Payload {
    let record = LogRecord {
        time_unix_nano: 1_581_452_773_000_000_789,
        severity_number: 9,
        severity_text: "Info".into(),
        body: Some(AnyValue {
            value: Some(text("hello")),
        }),
        attributes: vec![
            attribute("n", any_value::Value::IntValue(-1)),
            attribute("d", any_value::Value::DoubleValue(1.5)),
        ],
        flags: 1,
        trace_id: vec![8; 16],
        span_id: vec![9; 8],
        ..LogRecord::default()
    };
    payload(
        Signal::Logs,
        &LogsData {
            resource_logs: vec![ResourceLogs {
                resource: resource(),
                scope_logs: vec![ScopeLogs {
                    scope: scope(),
                    log_records: vec![record, LogRecord::default()],
                    schema_url: "https://x".into(),
                }],
                schema_url: String::new(),
            }],
        },
    )
}

fn traces() -> Payload {
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        trace_state: "a=b".into(),
        name: "GET /".into(),
        kind: 2,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_500_000_000,
        attributes: vec![attribute("k", text("v"))],
        events: vec![span::Event {
            name: "e".into(),
            attributes: vec![attribute("k", text("v"))],
            ..span::Event::default()
        }],
        dropped_events_count: 3,
        links: vec![span::Link {
            trace_id: vec![3; 16],
            span_id: vec![4; 8],
            ..span::Link::default()
        }],
        status: Some(Status {
            message: "bad".into(),
            code: 2,
        }),
        ..Span::default()
    };
    payload(
        Signal::Traces,
        &TracesData {
            resource_spans: vec![ResourceSpans {
                resource: resource(),
                scope_spans: vec![ScopeSpans {
                    spans: vec![span],
                    ..ScopeSpans::default()
                }],
                schema_url: "https://y".into(),
            }],
        },
    )
}

fn metrics() -> Payload {
    let point = |value| NumberDataPoint {
        attributes: vec![attribute("k", text("v")), attribute("l", text("w"))],
        value: Some(value),
        exemplars: vec![Exemplar {
            value: Some(exemplar::Value::AsDouble(0.5)),
            filtered_attributes: vec![attribute("u", text("x"))],
            ..Exemplar::default()
        }],
        ..NumberDataPoint::default()
    };
    let data = [
        metric::Data::Gauge(Gauge {
            data_points: vec![point(number_data_point::Value::AsDouble(0.25))],
        }),
        metric::Data::Sum(Sum {
            data_points: vec![point(number_data_point::Value::AsInt(-7))],
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        metric::Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint {
                count: 9,
                sum: Some(10.5),
                bucket_counts: vec![3, 4, 2],
                explicit_bounds: vec![1., 5.],
                min: Some(0.),
                ..HistogramDataPoint::default()
            }],
            aggregation_temporality: 1,
        }),
        metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![ExponentialHistogramDataPoint {
                count: 6,
                scale: 0,
                zero_count: 2,
                positive: Some(Buckets {
                    offset: 2,
                    bucket_counts: vec![3],
                }),
                negative: Some(Buckets {
                    offset: 1,
                    bucket_counts: vec![1, 0],
                }),
                ..ExponentialHistogramDataPoint::default()
            }],
            aggregation_temporality: 2,
        }),
        metric::Data::Summary(Summary {
            data_points: vec![SummaryDataPoint {
                count: 1,
                sum: 2.,
                quantile_values: vec![ValueAtQuantile {
                    quantile: 0.5,
                    value: 1.,
                }],
                ..SummaryDataPoint::default()
            }],
        }),
    ];
    let metrics = data.map(|data| Metric {
        name: "m".into(),
        unit: "1".into(),
        data: Some(data),
        ..Metric::default()
    });
    payload(
        Signal::Metrics,
        &MetricsData {
            resource_metrics: vec![ResourceMetrics {
                scope_metrics: vec![ScopeMetrics {
                    metrics: metrics.to_vec(),
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        },
    )
}

/// What is written to a file of its own.
async fn written(keys: &str, batches: &[Payload]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let yaml = format!(
        "use_internal_logger: false\noutput_paths: [{}]\n{keys}",
        path.display()
    );
    let Ok(Exporter::Push(debug)) = (FACTORY.build)(section(&yaml), &context("debug")) else {
        panic!("not a push");
    };
    debug.start(Arc::new(Lonely::default())).await.unwrap();
    for batch in batches {
        assert_eq!(debug.export(batch).await.unwrap(), Outcome::all());
    }
    debug.stop().await;
    std::fs::read_to_string(&path).unwrap()
}

#[tokio::test]
async fn basic_counts() {
    assert_eq!(
        written("", &[logs(), traces(), metrics()]).await,
        concat!(
            "Logs\t{\"resource logs\": 1, \"log records\": 2}\n",
            "Traces\t{\"resource spans\": 1, \"spans\": 1}\n",
            "Metrics\t{\"resource metrics\": 1, \"metrics\": 5, \"data points\": 5}\n",
        )
    );
}

#[tokio::test]
async fn normal_has_a_line_a_record() {
    let text = written("verbosity: normal", &[logs(), traces(), metrics()]).await;
    assert_eq!(
        text,
        concat!(
            "Logs\t{\"resource logs\": 1, \"log records\": 2}\n",
            "ResourceLog #0 service.name=shop\n",
            "ScopeLog #0 lib@1.2 [https://x] a=true\n",
            "hello n=-1 d=1.5\n",
            "\n",
            "Traces\t{\"resource spans\": 1, \"spans\": 1}\n",
            "ResourceTraces #0 [https://y] service.name=shop\n",
            "ScopeTraces #0\n",
            "GET / 01010101010101010101010101010101 0202020202020202 k=v\n",
            "Metrics\t{\"resource metrics\": 1, \"metrics\": 5, \"data points\": 5}\n",
            "ResourceMetrics #0\n",
            "ScopeMetrics #0\n",
            "m{k=v,l=w} 0.25\n",
            "m{k=v,l=w} -7\n",
            "m{} count=9 sum=10.5 min=0 le1=3 le5=4 2\n",
            "m{} count=6 le-2=1 zero=2 le8=3\n",
            "m{} count=1 sum=2.000000 q0.5=1\n",
        )
        .replace("\n\nTraces", "\nTraces"),
        "an empty record's line is trimmed at the end"
    );
}

#[tokio::test]
async fn detailed_has_every_field() {
    let text = written("verbosity: detailed", &[logs(), traces(), metrics()]).await;
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/debug_detailed.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata")).unwrap();
        std::fs::write(golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap());
}

#[tokio::test]
async fn sampling_limits_equal_lines() {
    let batches = vec![logs(); 10];
    let all = written("", &batches).await;
    assert_eq!(all.lines().count(), 10, "thereafter 1 writes every line");
    let few = written("sampling_initial: 3\nsampling_thereafter: 0", &batches).await;
    // A second may end in between, once.
    assert!((3..=6).contains(&few.lines().count()), "{few}");
}

#[test]
fn broken_bytes_print_what_can_be_read() {
    let whole = metrics().to_bytes();
    for len in 0..whole.len() {
        for signal in Signal::ALL {
            let mut out = String::new();
            normal::write(signal, &whole[..len], &mut out);
            detailed::write(signal, &whole[..len], &mut out);
        }
    }
}

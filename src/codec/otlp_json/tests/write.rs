use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, metric, number_data_point,
    summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use wire::{Reason, Signal};

use crate::otlp_json::write;

fn json(signal: Signal, message: &impl prost::Message) -> String {
    let mut out = Vec::new();
    write(signal, &message.encode_to_vec(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn attributes() -> Vec<KeyValue> {
    use any_value::Value;
    let any = |value| AnyValue { value: Some(value) };
    vec![
        attribute("s", Value::StringValue("a \"b\"\\\n\u{1}\u{1f600} <&>".into())),
        attribute("empty", Value::StringValue(String::new())),
        attribute("b", Value::BoolValue(false)),
        attribute("i", Value::IntValue(i64::MIN)),
        attribute("d", Value::DoubleValue(0.)),
        attribute("inf", Value::DoubleValue(f64::NEG_INFINITY)),
        attribute("bytes", Value::BytesValue(vec![0, 255, 1, 2])),
        attribute(
            "list",
            Value::ArrayValue(ArrayValue {
                values: vec![
                    any(Value::IntValue(1)),
                    AnyValue::default(),
                    any(Value::BoolValue(true)),
                ],
            }),
        ),
        attribute(
            "map",
            Value::KvlistValue(KeyValueList {
                values: vec![
                    attribute("x", Value::DoubleValue(1e-7)),
                    attribute("y", Value::DoubleValue(1.5e21)),
                ],
            }),
        ),
    ]
}

#[test]
fn logs() {
    let record = LogRecord {
        time_unix_nano: 1_581_452_773_000_000_789,
        observed_time_unix_nano: u64::MAX,
        severity_number: 9,
        severity_text: "Info".into(),
        body: Some(AnyValue {
            value: Some(any_value::Value::StringValue("hello".into())),
        }),
        attributes: attributes(),
        dropped_attributes_count: u32::MAX,
        flags: 1,
        trace_id: (0..16).collect(),
        span_id: (0xf8..=0xff).collect(),
        ..LogRecord::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![
            ResourceLogs {
                resource: Some(Resource {
                    attributes: attributes()[..1].to_vec(),
                    dropped_attributes_count: 0,
                    entity_refs: vec![],
                }),
                scope_logs: vec![ScopeLogs {
                    scope: Some(InstrumentationScope {
                        name: "n".into(),
                        ..InstrumentationScope::default()
                    }),
                    log_records: vec![record, LogRecord::default()],
                    schema_url: "u".into(),
                }],
                schema_url: String::new(),
            },
            ResourceLogs::default(),
        ],
    };
    let expected = concat!(
        r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"s","value":{"stringValue":"a \"b\"\\\n\u0001😀 <&>"}}]},"#,
        r#""scopeLogs":[{"scope":{"name":"n"},"logRecords":[{"timeUnixNano":"1581452773000000789","severityNumber":9,"#,
        r#""severityText":"Info","body":{"stringValue":"hello"},"attributes":["#,
        r#"{"key":"s","value":{"stringValue":"a \"b\"\\\n\u0001😀 <&>"}},{"key":"empty","value":{"stringValue":""}},"#,
        r#"{"key":"b","value":{"boolValue":false}},{"key":"i","value":{"intValue":"-9223372036854775808"}},"#,
        r#"{"key":"d","value":{"doubleValue":0}},{"key":"inf","value":{"doubleValue":"-Infinity"}},"#,
        r#"{"key":"bytes","value":{"bytesValue":"AP8BAg=="}},"#,
        r#"{"key":"list","value":{"arrayValue":{"values":[{"intValue":"1"},{},{"boolValue":true}]}}},"#,
        r#"{"key":"map","value":{"kvlistValue":{"values":[{"key":"x","value":{"doubleValue":1e-7}},"#,
        r#"{"key":"y","value":{"doubleValue":1.5e21}}]}}}],"droppedAttributesCount":4294967295,"flags":1,"#,
        r#""traceId":"000102030405060708090a0b0c0d0e0f","spanId":"f8f9fafbfcfdfeff","#,
        r#""observedTimeUnixNano":"18446744073709551615"},{"body":{}}],"schemaUrl":"u"}]},{"resource":{}}]}"#,
    );
    let got = json(Signal::Logs, &request);
    assert_eq!(got, expected);
    serde_json::from_str::<serde_json::Value>(&got).unwrap();
}

/// A reader that we did not write reads the same message out of our text.
#[track_caller]
fn check<M: prost::Message + PartialEq + serde::de::DeserializeOwned>(signal: Signal, message: &M) {
    let text = json(signal, message);
    let read: M = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(&read == message, "{text}");
}

fn plain_attributes() -> Vec<KeyValue> {
    // The foreign reader takes no non-finite double and no empty value.
    let keep = |kv: &KeyValue| !matches!(kv.key.as_str(), "inf" | "list");
    attributes().into_iter().filter(keep).collect()
}

#[test]
fn traces_are_read_by_another() {
    let span = Span {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        parent_span_id: vec![9; 8],
        trace_state: "a=b".into(),
        name: "GET /".into(),
        kind: 2,
        start_time_unix_nano: 1,
        end_time_unix_nano: u64::MAX,
        attributes: plain_attributes(),
        dropped_attributes_count: 1,
        events: vec![span::Event {
            time_unix_nano: 5,
            name: "e".into(),
            attributes: plain_attributes(),
            dropped_attributes_count: 2,
        }],
        dropped_events_count: 3,
        links: vec![span::Link {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            trace_state: "c=d".into(),
            attributes: plain_attributes(),
            dropped_attributes_count: 4,
            flags: 0x301,
        }],
        dropped_links_count: 5,
        status: Some(Status {
            message: "no".into(),
            code: 2,
        }),
        flags: 769,
    };
    check(
        Signal::Traces,
        &ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: plain_attributes(),
                    dropped_attributes_count: 6,
                    entity_refs: vec![],
                }),
                scope_spans: vec![ScopeSpans {
                    scope: Some(InstrumentationScope {
                        name: "n".into(),
                        version: "v".into(),
                        attributes: plain_attributes(),
                        dropped_attributes_count: 7,
                    }),
                    spans: vec![span],
                    schema_url: "s".into(),
                }],
                schema_url: "r".into(),
            }],
        },
    );
}

#[test]
fn metrics_are_read_by_another() {
    let exemplar = Exemplar {
        filtered_attributes: plain_attributes(),
        time_unix_nano: 3,
        span_id: vec![1; 8],
        trace_id: vec![2; 16],
        value: Some(exemplar::Value::AsInt(i64::MIN)),
    };
    let point = |value| NumberDataPoint {
        attributes: plain_attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        exemplars: vec![exemplar.clone()],
        flags: 1,
        value: Some(value),
    };
    let data = [
        metric::Data::Gauge(Gauge {
            data_points: vec![point(number_data_point::Value::AsDouble(0.1))],
        }),
        metric::Data::Sum(Sum {
            data_points: vec![point(number_data_point::Value::AsInt(-5))],
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        metric::Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint {
                count: 3,
                sum: Some(0.),
                bucket_counts: vec![0, u64::MAX, 2],
                explicit_bounds: vec![0., 1.5],
                min: Some(0.),
                max: Some(-1.),
                ..HistogramDataPoint::default()
            }],
            aggregation_temporality: 1,
        }),
        metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![ExponentialHistogramDataPoint {
                scale: -3,
                zero_count: 4,
                positive: Some(Buckets {
                    offset: -7,
                    bucket_counts: vec![300, 0, 1],
                }),
                negative: Some(Buckets {
                    offset: i32::MAX,
                    bucket_counts: vec![1],
                }),
                zero_threshold: 1e-9,
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
                    value: 3.,
                }],
                ..SummaryDataPoint::default()
            }],
        }),
    ];
    let metrics = data.map(|data| Metric {
        name: "m".into(),
        description: "d".into(),
        unit: "By".into(),
        metadata: plain_attributes(),
        data: Some(data),
    });
    check(
        Signal::Metrics,
        &ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource::default()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(InstrumentationScope::default()),
                    metrics: metrics.to_vec(),
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        },
    );
}

#[test]
fn odd_bytes() {
    #[track_caller]
    fn check(bytes: &[u8], expected: Option<&str>) {
        let mut out = b"x".to_vec();
        let got = write(Signal::Logs, bytes, &mut out).ok();
        assert_eq!(
            got.map(|()| std::str::from_utf8(&out[1..]).unwrap()),
            expected,
            "{bytes:?}"
        );
        assert!(expected.is_some() || out == b"x");
    }
    check(&[], Some("{}"));
    check(&[0x0a, 0], Some(r#"{"resourceLogs":[{"resource":{}}]}"#));
    check(&[0x0a, 1], None);
    // An unknown field, and a known one of another wire type.
    check(&[0x7a, 1, 9, 0x08, 1], Some("{}"));
    // Not UTF-8; the last of two schema urls counts.
    check(
        &[0x0a, 7, 0x1a, 1, b'a', 0x1a, 2, 0xff, b'b'],
        Some("{\"resourceLogs\":[{\"resource\":{},\"schemaUrl\":\"\u{fffd}b\"}]}"),
    );
    // Interleaved repeated fields stay together.
    check(
        &[0x0a, 0, 0x7a, 1, 9, 0x0a, 0],
        Some(r#"{"resourceLogs":[{"resource":{}},{"resource":{}}]}"#),
    );
}

#[test]
fn refuses_to_recurse_without_end() {
    // Lists in lists: AnyValue { array_value { values: [..] } }.
    let mut bytes = Vec::new();
    for _ in 0..600 {
        for number in [1, 5] {
            let mut outer = Vec::new();
            wire::field::write_header(number, bytes.len(), &mut outer);
            outer.extend_from_slice(&bytes);
            bytes = outer;
        }
    }
    for number in [5, 2, 2, 1] {
        let mut outer = Vec::new();
        wire::field::write_header(number, bytes.len(), &mut outer);
        outer.extend_from_slice(&bytes);
        bytes = outer;
    }
    let mut out = Vec::new();
    assert_eq!(
        write(Signal::Logs, &bytes, &mut out).unwrap_err().reason,
        Reason::Depth
    );
    assert!(out.is_empty());
}

//! Messages with everything OTLP can say, as opentelemetry-proto's types.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
    summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

pub fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

pub fn text(value: &str) -> AnyValue {
    any(Value::StringValue(value.to_owned()))
}

pub fn attr(key: &str, value: AnyValue) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(value),
        ..KeyValue::default()
    }
}

/// Every attribute type, the extremes, nesting, unicode.
pub fn every_attribute() -> Vec<KeyValue> {
    let list = ArrayValue {
        values: vec![text("a"), any(Value::IntValue(-1)), any(Value::BoolValue(false))],
    };
    let inner = KeyValueList {
        values: vec![attr("deep", any(Value::ArrayValue(list.clone())))],
    };
    vec![
        attr("text", text("grüße, 世界 🌊")),
        attr("empty", text("")),
        attr("true", any(Value::BoolValue(true))),
        attr("false", any(Value::BoolValue(false))),
        attr("int.min", any(Value::IntValue(i64::MIN))),
        attr("int.max", any(Value::IntValue(i64::MAX))),
        attr("double", any(Value::DoubleValue(-0.1))),
        attr("double.inf", any(Value::DoubleValue(f64::INFINITY))),
        attr("bytes", any(Value::BytesValue(vec![0, 255, 1]))),
        attr("list", any(Value::ArrayValue(list))),
        attr("map", any(Value::KvlistValue(inner))),
        attr("nothing", AnyValue { value: None }),
    ]
}

fn resource() -> Option<Resource> {
    let mut attributes = vec![attr("service.name", text("checkout"))];
    attributes.extend(every_attribute());
    Some(Resource {
        attributes,
        dropped_attributes_count: 1,
        ..Resource::default()
    })
}

fn scope() -> Option<InstrumentationScope> {
    let attributes = vec![attr("scope", text("yes"))];
    Some(InstrumentationScope {
        name: "lib".into(),
        version: "1.2".into(),
        attributes,
        dropped_attributes_count: 2,
    })
}

const NS: u64 = 1_760_000_000_123_456_789;

/// `n` log records; record k carries the time `NS + k`.
pub fn logs(n: u64) -> ExportLogsServiceRequest {
    let record = |k: u64| LogRecord {
        time_unix_nano: NS + k,
        observed_time_unix_nano: u64::MAX - k,
        severity_number: 9,
        severity_text: "INFO".into(),
        body: Some(match k % 3 {
            0 => text(&format!("line {k}")),
            1 => any(Value::KvlistValue(KeyValueList {
                values: every_attribute(),
            })),
            _ => any(Value::IntValue(k as i64)),
        }),
        attributes: every_attribute(),
        dropped_attributes_count: 3,
        flags: 1,
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        event_name: "event".into(),
    };
    let scope_logs = vec![ScopeLogs {
        scope: scope(),
        log_records: (0..n).map(record).collect(),
        schema_url: "s".into(),
    }];
    let resource_logs = vec![ResourceLogs {
        resource: resource(),
        scope_logs,
        schema_url: "r".into(),
    }];
    ExportLogsServiceRequest { resource_logs }
}

/// `n` spans with events and links.
pub fn traces(n: u64) -> ExportTraceServiceRequest {
    let span = |k: u64| Span {
        trace_id: vec![1; 16],
        span_id: (k + 1).to_be_bytes().to_vec(),
        trace_state: "a=b".into(),
        parent_span_id: vec![3; 8],
        flags: 0x301,
        name: format!("GET /{k}"),
        kind: 2,
        start_time_unix_nano: NS,
        end_time_unix_nano: NS + k,
        attributes: every_attribute(),
        dropped_attributes_count: 1,
        events: vec![Event {
            time_unix_nano: NS,
            name: "event".into(),
            attributes: every_attribute(),
            dropped_attributes_count: 1,
        }],
        dropped_events_count: 2,
        links: vec![Link {
            trace_id: vec![4; 16],
            span_id: vec![5; 8],
            trace_state: "c=d".into(),
            attributes: every_attribute(),
            dropped_attributes_count: 1,
            flags: 1,
        }],
        dropped_links_count: 3,
        status: Some(Status {
            message: "bad".into(),
            code: 2,
        }),
    };
    let scope_spans = vec![ScopeSpans {
        scope: scope(),
        spans: (0..n).map(span).collect(),
        schema_url: "s".into(),
    }];
    let resource_spans = vec![ResourceSpans {
        resource: resource(),
        scope_spans,
        schema_url: "r".into(),
    }];
    ExportTraceServiceRequest { resource_spans }
}

/// One metric of each kind, with exemplars: six data points.
pub fn metrics() -> ExportMetricsServiceRequest {
    let exemplars = vec![Exemplar {
        filtered_attributes: every_attribute(),
        time_unix_nano: NS,
        span_id: vec![1; 8],
        trace_id: vec![2; 16],
        value: Some(exemplar::Value::AsInt(i64::MIN)),
    }];
    let number = |value| NumberDataPoint {
        attributes: every_attribute(),
        start_time_unix_nano: NS - 1,
        time_unix_nano: NS,
        exemplars: exemplars.clone(),
        flags: 1,
        value: Some(value),
    };
    let data = vec![
        Data::Gauge(Gauge {
            data_points: vec![
                number(number_data_point::Value::AsDouble(1.5)),
                number(number_data_point::Value::AsInt(i64::MAX)),
            ],
        }),
        Data::Sum(Sum {
            data_points: vec![number(number_data_point::Value::AsInt(-3))],
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint {
                attributes: every_attribute(),
                start_time_unix_nano: NS,
                time_unix_nano: NS,
                count: 6,
                sum: Some(7.5),
                bucket_counts: vec![1, 2, 3],
                explicit_bounds: vec![0.5, 1.5],
                exemplars: exemplars.clone(),
                flags: 0,
                min: Some(-1.0),
                max: Some(2.0),
            }],
            aggregation_temporality: 1,
        }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![ExponentialHistogramDataPoint {
                attributes: every_attribute(),
                time_unix_nano: NS,
                count: 3,
                sum: Some(1.0),
                scale: -2,
                zero_count: 1,
                positive: Some(Buckets {
                    offset: -3,
                    bucket_counts: vec![1, 0, 1],
                }),
                negative: Some(Buckets {
                    offset: 4,
                    bucket_counts: vec![u64::MAX],
                }),
                zero_threshold: 0.25,
                exemplars,
                ..ExponentialHistogramDataPoint::default()
            }],
            aggregation_temporality: 2,
        }),
        Data::Summary(Summary {
            data_points: vec![SummaryDataPoint {
                attributes: every_attribute(),
                time_unix_nano: NS,
                count: 2,
                sum: 3.0,
                quantile_values: vec![ValueAtQuantile {
                    quantile: 0.5,
                    value: 1.0,
                }],
                ..SummaryDataPoint::default()
            }],
        }),
    ];
    let metric = |data| Metric {
        name: "m".into(),
        description: "d".into(),
        unit: "1".into(),
        data: Some(data),
        metadata: every_attribute(),
    };
    let scope_metrics = vec![ScopeMetrics {
        scope: scope(),
        metrics: data.into_iter().map(metric).collect(),
        schema_url: "s".into(),
    }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: resource(),
            scope_metrics,
            schema_url: "r".into(),
        }],
    }
}

//! One request of each signal with something in every field, and values as text.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as V;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1 as m;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::Message as _;
use wire::view::{Any, Depth, Finished, NodeId, Scratch as ViewScratch, Value, View};
use wire::{Limits, Signal};

use crate::value::{Map, Val, hex};
use crate::{Context, Env, ErrorMode, Expression, Functions, Group, Program, Scratch, Time};

pub(super) fn any(value: V) -> AnyValue {
    AnyValue { value: Some(value) }
}

pub(super) fn kv(key: &str, value: V) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

fn str(text: &str) -> V {
    V::StringValue(text.into())
}

/// `s`, `i`, `d`, `b`, `y` (bytes), `l` (list), `m` (map with `x`, `deep.y`), `e` (empty).
fn attributes() -> Vec<KeyValue> {
    let deep = V::KvlistValue(KeyValueList {
        values: vec![kv("y", V::IntValue(7))],
    });
    vec![
        kv("s", str("text")),
        kv("i", V::IntValue(5)),
        kv("d", V::DoubleValue(1.5)),
        kv("b", V::BoolValue(true)),
        kv("y", V::BytesValue(vec![1, 255])),
        kv(
            "l",
            V::ArrayValue(ArrayValue {
                values: vec![any(V::IntValue(1)), any(str("two"))],
            }),
        ),
        kv(
            "m",
            V::KvlistValue(KeyValueList {
                values: vec![kv("x", str("in")), kv("deep", deep)],
            }),
        ),
        KeyValue {
            key: "e".into(),
            value: Some(AnyValue::default()),
            ..KeyValue::default()
        },
    ]
}

fn resource() -> Option<Resource> {
    Some(Resource {
        attributes: vec![kv("host", str("h1"))],
        dropped_attributes_count: 3,
        ..Resource::default()
    })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "lib".into(),
        version: "1.2".into(),
        attributes: vec![kv("k", str("v"))],
        dropped_attributes_count: 4,
    })
}

pub(super) fn logs(records: Vec<LogRecord>) -> Vec<u8> {
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: resource(),
            scope_logs: vec![ScopeLogs {
                scope: scope(),
                log_records: records,
                schema_url: "scope-url".into(),
            }],
            schema_url: "resource-url".into(),
        }],
    };
    request.encode_to_vec()
}

pub(super) fn log() -> LogRecord {
    LogRecord {
        time_unix_nano: 1_700_000_000_123_456_789,
        observed_time_unix_nano: 1_700_000_001_000_000_000,
        severity_number: 9,
        severity_text: "INFO".into(),
        body: Some(any(str("hello world"))),
        attributes: attributes(),
        dropped_attributes_count: 2,
        flags: 1,
        trace_id: (1..=16).collect(),
        span_id: (1..=8).collect(),
        event_name: "event".into(),
    }
}

pub(super) fn traces() -> Vec<u8> {
    let event = |name: &str| span::Event {
        time_unix_nano: 9,
        name: name.into(),
        attributes: attributes(),
        dropped_attributes_count: 1,
    };
    let span = Span {
        trace_id: (1..=16).collect(),
        span_id: (1..=8).collect(),
        trace_state: "a=1,b=2".into(),
        parent_span_id: vec![9; 8],
        name: "GET /".into(),
        kind: 2,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 3_500_000_000,
        attributes: attributes(),
        dropped_attributes_count: 1,
        events: vec![event("one"), event("two")],
        dropped_events_count: 2,
        links: vec![span::Link::default()],
        dropped_links_count: 3,
        status: Some(Status {
            message: "bad".into(),
            code: 2,
        }),
        flags: 257,
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: resource(),
            scope_spans: vec![ScopeSpans {
                scope: scope(),
                spans: vec![span],
                schema_url: "scope-url".into(),
            }],
            schema_url: "resource-url".into(),
        }],
    };
    request.encode_to_vec()
}

/// A sum, a gauge, a histogram, an exponential histogram and a summary, with one point each.
pub(super) fn metrics() -> Vec<u8> {
    let metric = |name: &str, data| m::Metric {
        name: name.into(),
        description: "what".into(),
        unit: "1".into(),
        metadata: vec![kv("meta", str("data"))],
        data: Some(data),
    };
    let number = |value| m::NumberDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        flags: 1,
        value: Some(value),
        exemplars: vec![m::Exemplar::default()],
    };
    let buckets = |offset| {
        Some(m::exponential_histogram_data_point::Buckets {
            offset,
            bucket_counts: vec![1, 300],
        })
    };
    let data = [
        (
            "sum",
            m::metric::Data::Sum(m::Sum {
                data_points: vec![number(m::number_data_point::Value::AsInt(-4))],
                aggregation_temporality: 2,
                is_monotonic: true,
            }),
        ),
        (
            "gauge",
            m::metric::Data::Gauge(m::Gauge {
                data_points: vec![number(m::number_data_point::Value::AsDouble(2.5))],
            }),
        ),
        (
            "histogram",
            m::metric::Data::Histogram(m::Histogram {
                data_points: vec![m::HistogramDataPoint {
                    attributes: attributes(),
                    count: 6,
                    sum: Some(12.5),
                    bucket_counts: vec![1, 2, 3],
                    explicit_bounds: vec![0.5, 1.5],
                    ..Default::default()
                }],
                aggregation_temporality: 1,
            }),
        ),
        (
            "exp",
            m::metric::Data::ExponentialHistogram(m::ExponentialHistogram {
                data_points: vec![m::ExponentialHistogramDataPoint {
                    attributes: attributes(),
                    count: 8,
                    sum: Some(3.5),
                    scale: -2,
                    zero_count: 4,
                    positive: buckets(-3),
                    negative: buckets(5),
                    ..Default::default()
                }],
                aggregation_temporality: 2,
            }),
        ),
        (
            "summary",
            m::metric::Data::Summary(m::Summary {
                data_points: vec![m::SummaryDataPoint {
                    attributes: attributes(),
                    count: 2,
                    sum: 9.0,
                    quantile_values: vec![m::summary_data_point::ValueAtQuantile::default(); 3],
                    ..Default::default()
                }],
            }),
        ),
    ];
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![m::ResourceMetrics {
            resource: resource(),
            scope_metrics: vec![m::ScopeMetrics {
                scope: scope(),
                metrics: data.map(|(name, data)| metric(name, data)).into(),
                schema_url: "scope-url".into(),
            }],
            schema_url: "resource-url".into(),
        }],
    };
    request.encode_to_vec()
}

/// A request for a context.
pub(super) fn request(context: Context) -> (Signal, Vec<u8>) {
    match context {
        Context::Span | Context::SpanEvent => (Signal::Traces, traces()),
        Context::Metric | Context::DataPoint => (Signal::Metrics, metrics()),
        _ => (Signal::Logs, logs(vec![log()])),
    }
}

pub(super) fn client() -> wire::Context {
    wire::Context {
        metadata: vec![("x-tenant".into(), vec!["a".into(), "b".into()])],
        auth: vec![("sub".into(), "me".into())],
        peer: Some("10.0.0.1:99".parse().expect("it is an address")),
        ..wire::Context::default()
    }
}

pub(super) const NOW: i64 = 1_704_067_200_000_000_000;

pub(super) fn with_env<R>(run: impl FnOnce(&Env<'_>) -> R) -> R {
    let context = client();
    run(&Env {
        context: &context,
        now: &|| Time::from_unix_nano(NOW),
        random: &|bytes| bytes.fill(0xab),
    })
}

/// A value with its type.
pub(super) fn show(value: &Val<'_>) -> String {
    let bytes = |b: &[u8]| {
        let mut out = Vec::new();
        hex(b, &mut out);
        format!("0x{}", String::from_utf8_lossy(&out))
    };
    match value {
        Val::Nil => "nil".into(),
        Val::Bool(b) => b.to_string(),
        Val::Int(i) => i.to_string(),
        Val::Float(f) => format!("{f:?}"),
        Val::Str(text) => format!("{:?}", String::from_utf8_lossy(text)),
        Val::Bytes(b) => bytes(b),
        Val::Time(t) => format!("time {}", t.rfc3339_nano()),
        Val::Duration(d) => format!("{d}ns"),
        Val::TraceId(id) => format!("trace {}", bytes(id)),
        Val::ProfileId(id) => format!("profile {}", bytes(id)),
        Val::SpanId(id) => format!("span {}", bytes(id)),
        Val::Map(map) => show_map(map),
        Val::List(_) => {
            let items: Vec<_> = value.items().into_iter().flatten().map(show_any).collect();
            format!("[{}]", items.join(", "))
        }
        Val::Opaque(opaque) => format!("{} {:?}", value.type_name(), opaque.len),
    }
}

fn show_map(map: &Map<'_>) -> String {
    let mut entries = Vec::new();
    map.each(|key, value| entries.push(format!("{}: {}", String::from_utf8_lossy(key), show_any(value))));
    format!("{{{}}}", entries.join(", "))
}

pub(super) fn show_any(value: Value<'_>) -> String {
    match value.any() {
        Any::Empty => "nil".into(),
        _ => show(&Val::from_any(value)),
    }
}

/// The first item of a context.
pub(super) fn first(view: &View<'_>, context: Context) -> NodeId {
    view.nodes()
        .find(|n| context.is_item(view.kind(*n)))
        .expect("there is one")
}

/// What a value is on the `nth` item of a context; or what is wrong with it.
pub(super) fn value_of(context: Context, nth: usize, text: &str) -> String {
    let (signal, bytes) = request(context);
    let expression = match Expression::new(signal, Functions::Transform, Some(context), text) {
        Ok(expression) => expression,
        Err(faults) => return format!("fault: {}", faults.0[0].message),
    };
    let mut scratch = ViewScratch::default();
    let view = View::new(&mut scratch, signal, &bytes, Depth::All).expect("it is well formed");
    let mut items = view.nodes().filter(|n| context.is_item(view.kind(*n)));
    let n = items.nth(nth).expect("there are so many");
    with_env(|env| {
        expression.with(&view, n, env, |value| match value {
            Ok(value) => show(&value),
            Err(error) => format!("error: {error}"),
        })
    })
}

/// Compiles statements of a context; panics with the faults.
pub(super) fn program(context: Context, statements: &[&str]) -> Program {
    let (signal, _) = request(context);
    let group = Group {
        signal,
        functions: Functions::Transform,
        context: Some(context),
        conditions: &[],
        statements,
    };
    Program::new(&group).unwrap_or_else(|faults| panic!("{faults}"))
}

/// What a value is on the `nth` item after statements ran on all, before and after the view was finished; or the error.
pub(super) fn after(context: Context, nth: usize, statements: &[&str], shown: &str) -> String {
    let (signal, bytes) = request(context);
    let program = program(context, statements);
    let expression =
        Expression::new(signal, Functions::Transform, Some(context), shown).expect("it compiles");
    let mut scratch = ViewScratch::default();
    let mut view = View::new(&mut scratch, signal, &bytes, Depth::All).expect("it is well formed");
    let mut errors = Vec::new();
    let ran = with_env(|env| {
        let mut failed = |_: &str, e: &crate::Error| errors.push(e.to_string());
        program.run(
            &mut view,
            env,
            &mut Scratch::default(),
            ErrorMode::Ignore,
            &mut failed,
        )
    });
    ran.expect("errors are ignored");
    let nth_of = |view: &View<'_>| {
        view.nodes()
            .filter(|n| context.is_item(view.kind(*n)))
            .nth(nth)
            .expect("there are so many")
    };
    let look = |view: &View<'_>| {
        with_env(|env| {
            expression.with(view, nth_of(view), env, |value| match value {
                Ok(value) => show(&value),
                Err(error) => format!("error: {error}"),
            })
        })
    };
    let seen = look(&view);
    let finished = match view.finish() {
        Finished::Unchanged => bytes,
        Finished::Edited { bytes, .. } => bytes,
    };
    let shape =
        wire::validate(signal, &finished, &Limits::default()).expect("what was written is well formed");
    assert!(!shape.non_canonical);
    let mut scratch = ViewScratch::default();
    let view = View::new(&mut scratch, signal, &finished, Depth::All).expect("it is well formed");
    assert_eq!(
        look(&view),
        seen,
        "{statements:?}: written otherwise than it was seen"
    );
    match errors.is_empty() {
        true => seen,
        false => format!("error: {}", errors[0]),
    }
}

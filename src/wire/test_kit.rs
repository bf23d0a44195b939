//! Random requests for tests: built from prost types, so that a second implementation knows what is in them.
//!
//! Out: [`Request`]s of every shape OTLP has, from a seed; [`disguise`] encodes one anew in a form that means the same
//! but that no encoder writes. Keys come from a small pool, so that they meet, also twice in one map.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1 as m;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::{DecodeError, Message as _};

use crate::Signal;
use crate::field::{Fields, LEN};
use crate::otlp::{self, Message, Role, Rule};

/// splitmix64: small, seedable, good enough to choose shapes.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several; there must be one.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn many<T>(&mut self, max: usize, mut make: impl FnMut(&mut Rng) -> T) -> Vec<T> {
        let n = self.below(max + 1);
        (0..n).map(|_| make(self)).collect()
    }

    fn maybe<T>(&mut self, percent: usize, make: impl FnOnce(&mut Rng) -> T) -> Option<T> {
        if self.chance(percent) {
            Some(make(self))
        } else {
            None
        }
    }

    fn number(&mut self) -> u64 {
        let bits = self.bits();
        bits >> (bits % 64)
    }
}

/// An export request as prost types.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Logs.
    Logs(ExportLogsServiceRequest),
    /// Traces.
    Traces(ExportTraceServiceRequest),
    /// Metrics.
    Metrics(ExportMetricsServiceRequest),
}

impl Request {
    /// A random request; profiles give logs, since they have no view.
    pub fn random(signal: Signal, rng: &mut Rng) -> Request {
        match signal {
            Signal::Traces => Request::Traces(ExportTraceServiceRequest {
                resource_spans: rng.many(3, resource_spans),
            }),
            Signal::Metrics => Request::Metrics(ExportMetricsServiceRequest {
                resource_metrics: rng.many(3, resource_metrics),
            }),
            Signal::Logs | Signal::Profiles => Request::Logs(ExportLogsServiceRequest {
                resource_logs: rng.many(3, resource_logs),
            }),
        }
    }

    /// Its signal.
    pub fn signal(&self) -> Signal {
        match self {
            Request::Logs(_) => Signal::Logs,
            Request::Traces(_) => Signal::Traces,
            Request::Metrics(_) => Signal::Metrics,
        }
    }

    /// Encoded by prost: canonical, every entry in its usual form.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Request::Logs(r) => r.encode_to_vec(),
            Request::Traces(r) => r.encode_to_vec(),
            Request::Metrics(r) => r.encode_to_vec(),
        }
    }

    /// Decoded by prost.
    pub fn decode(signal: Signal, bytes: &[u8]) -> Result<Request, DecodeError> {
        Ok(match signal {
            Signal::Traces => Request::Traces(ExportTraceServiceRequest::decode(bytes)?),
            Signal::Metrics => Request::Metrics(ExportMetricsServiceRequest::decode(bytes)?),
            Signal::Logs | Signal::Profiles => Request::Logs(ExportLogsServiceRequest::decode(bytes)?),
        })
    }
}

/// Keys that random attributes have.
pub const KEYS: [&str; 8] = [
    "a",
    "b",
    "key",
    "http.method",
    "",
    "user.note",
    "größe",
    "k8s.pod.annotation.with.a.name.that.is.so.long.that.its.length.does.not.fit.into.one.byte.of.varint/0123456789/0123456789/0123456789",
];

/// Random text: mostly short, now and then beyond 127 bytes.
pub fn text(rng: &mut Rng) -> String {
    const WORDS: [&str; 8] = [
        "",
        "x",
        "GET",
        "4111 1111 1111 1111",
        "élan \u{1F600}",
        "{\"a\":1}",
        "0123456789",
        "a@b.example",
    ];
    if rng.chance(6) {
        return "long ".repeat(26 + rng.below(700));
    }
    (0..rng.below(3)).map(|_| *rng.pick(&WORDS)).collect()
}

/// A random value, nested up to `depth`.
pub fn any(rng: &mut Rng, depth: usize) -> AnyValue {
    let value = match rng.below(if depth == 0 { 7 } else { 9 }) {
        0 => None,
        1 | 2 => Some(Value::StringValue(text(rng))),
        3 => Some(Value::BoolValue(rng.chance(50))),
        4 => Some(Value::IntValue(rng.number() as i64)),
        5 => Some(Value::DoubleValue(rng.number() as f64 / 8.0)),
        6 => Some(Value::BytesValue(text(rng).into_bytes())),
        7 => Some(Value::ArrayValue(ArrayValue {
            values: rng.many(3, |rng| any(rng, depth - 1)),
        })),
        _ => Some(Value::KvlistValue(KeyValueList {
            values: rng.many(3, |rng| key_value(rng, depth - 1)),
        })),
    };
    AnyValue { value }
}

fn key_value(rng: &mut Rng, depth: usize) -> KeyValue {
    KeyValue {
        key: (*rng.pick(&KEYS)).into(),
        value: rng.maybe(95, |rng| any(rng, depth)),
        key_strindex: if rng.chance(2) { 7 } else { 0 },
    }
}

fn attributes(rng: &mut Rng) -> Vec<KeyValue> {
    rng.many(6, |rng| key_value(rng, 2))
}

fn resource(rng: &mut Rng) -> Resource {
    Resource {
        attributes: attributes(rng),
        dropped_attributes_count: rng.below(3) as u32,
        ..Resource::default()
    }
}

fn scope(rng: &mut Rng) -> InstrumentationScope {
    InstrumentationScope {
        name: text(rng),
        version: text(rng),
        attributes: attributes(rng),
        dropped_attributes_count: rng.below(3) as u32,
    }
}

fn id(rng: &mut Rng, len: usize) -> Vec<u8> {
    if rng.chance(30) {
        return Vec::new();
    }
    (0..len).map(|_| rng.bits() as u8).collect()
}

fn resource_logs(rng: &mut Rng) -> ResourceLogs {
    ResourceLogs {
        resource: rng.maybe(80, resource),
        scope_logs: rng.many(3, |rng| ScopeLogs {
            scope: rng.maybe(80, scope),
            log_records: rng.many(4, log_record),
            schema_url: text(rng),
        }),
        schema_url: text(rng),
    }
}

fn log_record(rng: &mut Rng) -> LogRecord {
    LogRecord {
        time_unix_nano: rng.number(),
        observed_time_unix_nano: rng.number(),
        severity_number: rng.below(25) as i32,
        severity_text: text(rng),
        body: rng.maybe(80, |rng| any(rng, 3)),
        attributes: attributes(rng),
        dropped_attributes_count: rng.below(3) as u32,
        flags: rng.number() as u32,
        trace_id: id(rng, 16),
        span_id: id(rng, 8),
        event_name: text(rng),
    }
}

fn resource_spans(rng: &mut Rng) -> ResourceSpans {
    ResourceSpans {
        resource: rng.maybe(80, resource),
        scope_spans: rng.many(3, |rng| ScopeSpans {
            scope: rng.maybe(80, scope),
            spans: rng.many(4, one_span),
            schema_url: text(rng),
        }),
        schema_url: text(rng),
    }
}

fn one_span(rng: &mut Rng) -> Span {
    Span {
        trace_id: id(rng, 16),
        span_id: id(rng, 8),
        trace_state: text(rng),
        parent_span_id: id(rng, 8),
        flags: rng.number() as u32,
        name: text(rng),
        kind: rng.below(6) as i32,
        start_time_unix_nano: rng.number(),
        end_time_unix_nano: rng.number(),
        attributes: attributes(rng),
        dropped_attributes_count: rng.below(3) as u32,
        events: rng.many(2, |rng| span::Event {
            time_unix_nano: rng.number(),
            name: text(rng),
            attributes: attributes(rng),
            dropped_attributes_count: rng.below(3) as u32,
        }),
        dropped_events_count: rng.below(3) as u32,
        links: rng.many(2, |rng| span::Link {
            trace_id: id(rng, 16),
            span_id: id(rng, 8),
            trace_state: text(rng),
            attributes: attributes(rng),
            dropped_attributes_count: rng.below(3) as u32,
            flags: rng.number() as u32,
        }),
        dropped_links_count: rng.below(3) as u32,
        status: rng.maybe(50, |rng| Status {
            message: text(rng),
            code: rng.below(3) as i32,
        }),
    }
}

fn resource_metrics(rng: &mut Rng) -> m::ResourceMetrics {
    m::ResourceMetrics {
        resource: rng.maybe(80, resource),
        scope_metrics: rng.many(3, |rng| m::ScopeMetrics {
            scope: rng.maybe(80, scope),
            metrics: rng.many(4, metric),
            schema_url: text(rng),
        }),
        schema_url: text(rng),
    }
}

fn metric(rng: &mut Rng) -> m::Metric {
    use m::metric::Data;
    let aggregation_temporality = rng.below(3) as i32;
    let data = match rng.below(6) {
        0 => None,
        1 => Some(Data::Gauge(m::Gauge {
            data_points: rng.many(3, number_point),
        })),
        2 => Some(Data::Sum(m::Sum {
            data_points: rng.many(3, number_point),
            aggregation_temporality,
            is_monotonic: rng.chance(50),
        })),
        3 => Some(Data::Histogram(m::Histogram {
            data_points: rng.many(3, histogram_point),
            aggregation_temporality,
        })),
        4 => Some(Data::ExponentialHistogram(m::ExponentialHistogram {
            data_points: rng.many(3, exp_histogram_point),
            aggregation_temporality,
        })),
        _ => Some(Data::Summary(m::Summary {
            data_points: rng.many(3, summary_point),
        })),
    };
    m::Metric {
        name: text(rng),
        description: text(rng),
        unit: text(rng),
        metadata: attributes(rng),
        data,
    }
}

fn number_point(rng: &mut Rng) -> m::NumberDataPoint {
    use m::number_data_point::Value;
    m::NumberDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: rng.number(),
        time_unix_nano: rng.number(),
        exemplars: rng.many(2, exemplar),
        flags: rng.below(2) as u32,
        value: match rng.below(3) {
            0 => None,
            1 => Some(Value::AsDouble(rng.number() as f64)),
            _ => Some(Value::AsInt(rng.number() as i64)),
        },
    }
}

fn histogram_point(rng: &mut Rng) -> m::HistogramDataPoint {
    m::HistogramDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: rng.number(),
        time_unix_nano: rng.number(),
        count: rng.number(),
        sum: rng.maybe(50, |rng| rng.number() as f64),
        bucket_counts: rng.many(4, Rng::number),
        explicit_bounds: rng.many(4, |rng| rng.number() as f64),
        exemplars: rng.many(2, exemplar),
        flags: rng.below(2) as u32,
        min: rng.maybe(50, |_| 0.0),
        max: rng.maybe(50, |rng| rng.number() as f64),
    }
}

fn exp_histogram_point(rng: &mut Rng) -> m::ExponentialHistogramDataPoint {
    use m::exponential_histogram_data_point::Buckets;
    let buckets = |rng: &mut Rng| Buckets {
        offset: rng.below(9) as i32 - 4,
        bucket_counts: rng.many(4, Rng::number),
    };
    m::ExponentialHistogramDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: rng.number(),
        time_unix_nano: rng.number(),
        count: rng.number(),
        sum: rng.maybe(50, |rng| rng.number() as f64),
        scale: rng.below(9) as i32 - 4,
        zero_count: rng.number(),
        positive: rng.maybe(50, buckets),
        negative: rng.maybe(50, buckets),
        flags: rng.below(2) as u32,
        exemplars: rng.many(2, exemplar),
        min: rng.maybe(50, |_| 0.0),
        max: rng.maybe(50, |rng| rng.number() as f64),
        zero_threshold: rng.number() as f64,
    }
}

fn summary_point(rng: &mut Rng) -> m::SummaryDataPoint {
    m::SummaryDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: rng.number(),
        time_unix_nano: rng.number(),
        count: rng.number(),
        sum: rng.number() as f64,
        quantile_values: rng.many(2, |rng| m::summary_data_point::ValueAtQuantile {
            quantile: 0.5,
            value: rng.number() as f64,
        }),
        flags: rng.below(2) as u32,
    }
}

fn exemplar(rng: &mut Rng) -> m::Exemplar {
    use m::exemplar::Value;
    m::Exemplar {
        filtered_attributes: attributes(rng),
        time_unix_nano: rng.number(),
        span_id: id(rng, 8),
        trace_id: id(rng, 16),
        value: rng.maybe(80, |rng| Value::AsInt(rng.number() as i64)),
    }
}

/// Encodes a request anew so that it means the same: fields out of order, tags and lengths in long form, unknown fields
/// in between if asked. Fields of one number, members of a oneof and nodes keep their order.
pub fn disguise(signal: Signal, bytes: &[u8], unknown: bool, rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    disguise_message(otlp::request(signal), bytes, unknown, rng, &mut out);
    out
}

fn disguise_message(
    message: &'static Message,
    bytes: &[u8],
    unknown: bool,
    rng: &mut Rng,
    out: &mut Vec<u8>,
) {
    // One queue for what must keep its order.
    let mut queues: Vec<(u32, Vec<Vec<u8>>)> = Vec::new();
    for field in Fields::new(bytes, 0).map_while(Result::ok) {
        let row = message.field(field.number);
        let class = match row.map(|r| (r.role, r.rule)) {
            Some((Role::Node(_), _)) => 10_000,
            Some((_, Rule::Oneof)) => 10_001,
            _ => field.number,
        };
        let mut encoded = Vec::new();
        let long = rng.chance(5);
        long_varint(
            u64::from(field.number) << 3 | u64::from(field.wire),
            long,
            &mut encoded,
        );
        let content = &bytes[field.value..field.end];
        if field.wire == LEN {
            let mut inner = Vec::new();
            match row.map(|r| r.kind) {
                Some(otlp::Kind::Message(nested)) => {
                    disguise_message(nested, content, unknown, rng, &mut inner);
                }
                _ => inner.extend_from_slice(content),
            }
            long_varint(inner.len() as u64, rng.chance(5), &mut encoded);
            encoded.append(&mut inner);
        } else {
            encoded.extend_from_slice(content);
        }
        match queues.iter_mut().find(|(c, _)| *c == class) {
            Some((_, queue)) => queue.push(encoded),
            None => queues.push((class, vec![encoded])),
        }
    }
    for (_, queue) in &mut queues {
        queue.reverse();
    }
    let shuffle = rng.chance(30);
    while !queues.is_empty() {
        if unknown && rng.chance(5) {
            const FOREIGN: [&[u8]; 2] = [&[0xf8, 0x07, 0x05], &[0xfb, 0x07, 0x08, 0x01, 0xfc, 0x07]];
            out.extend_from_slice(FOREIGN[rng.below(2)]);
        }
        let i = if shuffle { rng.below(queues.len()) } else { 0 };
        if let Some(field) = queues[i].1.pop() {
            out.extend(field);
        }
        if queues[i].1.is_empty() {
            queues.remove(i);
        }
    }
}

fn long_varint(mut value: u64, long: bool, out: &mut Vec<u8>) {
    if !long {
        return crate::varint::write(value, out);
    }
    loop {
        out.push(value as u8 | 0x80);
        value >>= 7;
        if value == 0 {
            out.push(0);
            return;
        }
    }
}

//! The shapes of OTLP: one row per field, from which reading, writing, validation and path names follow.
//!
//! Source: opentelemetry-proto v1.10.0, `opentelemetry/proto/**`; each message names its file. Field 1000 of the
//! resource groups (`instrumentation_library_*` before 0.15) is not in today's files but the collector still reads it.

use crate::Signal;
use crate::field::{FIXED32, FIXED64, LEN, VARINT};

/// One message type.
#[derive(Debug)]
pub struct Message {
    /// Name in its file.
    pub name: &'static str,
    /// File that defines it, below `opentelemetry/proto/`.
    pub source: &'static str,
    /// Its fields, by ascending number.
    pub fields: &'static [Field],
    slots: [u8; SLOTS],
    deprecated: u8,
    attributes_tag: u8,
    items_tag: u8,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Number on the wire.
    pub number: u32,
    /// Name in the proto file.
    pub name: &'static str,
    /// Name in JSON.
    pub camel: Camel,
    /// Type.
    pub kind: Kind,
    /// How often it may stand there.
    pub rule: Rule,
    /// What it is for.
    pub role: Role,
}

/// Type of a field.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Varint that is 0 or 1.
    Bool,
    /// int32, a varint of 64 bits if negative.
    Int32,
    /// uint32, a varint.
    Uint32,
    /// int64, a varint.
    Int64,
    /// uint64, a varint.
    Uint64,
    /// As int32; the numbers that have a name.
    Enum(&'static [(&'static str, i32)]),
    /// sint32, a zigzag varint.
    Sint32,
    /// fixed32.
    Fixed32,
    /// fixed64.
    Fixed64,
    /// sfixed64.
    Sfixed64,
    /// double.
    Double,
    /// string.
    Text,
    /// bytes.
    Bytes,
    /// A nested message.
    Message(&'static Message),
}

/// A field's name in lowerCamelCase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Camel {
    bytes: [u8; CAMEL_MAX],
    len: usize,
}

/// The longest name.
const CAMEL_MAX: usize = 29;

impl Camel {
    const fn of(snake: &str) -> Camel {
        let snake = snake.as_bytes();
        let mut camel = Camel {
            bytes: [0; CAMEL_MAX],
            len: 0,
        };
        let mut i = 0;
        while i < snake.len() {
            let mut byte = snake[i];
            if byte == b'_' {
                i += 1;
                byte = snake[i].to_ascii_uppercase();
            }
            camel.bytes[camel.len] = byte;
            camel.len += 1;
            i += 1;
        }
        camel
    }

    /// The name as text.
    pub const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.as_bytes()) {
            Ok(name) => name,
            Err(_) => "",
        }
    }

    /// The name.
    #[inline(always)]
    pub const fn as_bytes(&self) -> &[u8] {
        self.bytes.split_at(self.len).0
    }
}

/// How often a field may stand in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// At most once in canonical form.
    Single,
    /// Any number of times; numbers may be packed.
    Repeated,
    /// At most one of the message's fields with this rule (no message has two such groups).
    Oneof,
}

/// What a field is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing in particular.
    Plain,
    /// The `KeyValue` list of its node.
    Attributes,
    /// An `AnyValue` that is a record's content.
    Body,
    /// 0 or 16 bytes.
    TraceId,
    /// 0 or 8 bytes.
    SpanId,
    /// A message that is a node of the view.
    Node(NodeKind),
    /// The one message in which a node keeps its attributes or its points.
    Inner,
    /// Counted, but not a node: a profile sample.
    Item,
    /// The scopes of a resource group as they were called before 0.15.
    Deprecated,
}

/// What a node of the view is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NodeKind {
    /// `ResourceLogs`, `ResourceSpans`, `ResourceMetrics`; attributes are the resource's.
    Resource,
    /// `ScopeLogs`, `ScopeSpans`, `ScopeMetrics`; attributes are the scope's.
    Scope,
    /// A log record.
    LogRecord,
    /// A span.
    Span,
    /// An event of a span.
    Event,
    /// A link of a span.
    Link,
    /// A metric; attributes are its metadata.
    Metric,
    /// A data point of a gauge or a sum.
    NumberPoint,
    /// A data point of a histogram.
    HistogramPoint,
    /// A data point of an exponential histogram.
    ExpHistogramPoint,
    /// A data point of a summary.
    SummaryPoint,
    /// An exemplar of a point; attributes are the filtered ones.
    Exemplar,
}

impl NodeKind {
    /// Whether it counts as one item.
    #[inline]
    pub const fn is_item(self) -> bool {
        use NodeKind::*;
        matches!(
            self,
            LogRecord | Span | NumberPoint | HistogramPoint | ExpHistogramPoint | SummaryPoint
        )
    }

    /// Whether it only holds others, and goes when the last of them is removed.
    #[inline]
    pub const fn is_container(self) -> bool {
        matches!(self, NodeKind::Resource | NodeKind::Scope | NodeKind::Metric)
    }
}

/// Numbers up to this one less are found by an array; all of OTLP but 1000.
const SLOTS: usize = 17;
const NONE: u8 = u8::MAX;

/// Number of the deprecated scope list in a resource group.
pub const DEPRECATED_SCOPES: u32 = 1000;
/// Number of the scope list in a resource group.
pub const SCOPES: u32 = 2;

impl Message {
    const fn new(name: &'static str, source: &'static str, fields: &'static [Field]) -> Message {
        let mut slots = [NONE; SLOTS];
        let mut deprecated = NONE;
        let mut attributes_tag = 0;
        let mut items_tag = 0;
        let mut i = 0;
        assert!(fields.len() < SLOTS + 1, "normal.rs holds a place for each field");
        while i < fields.len() {
            if fields[i].number == DEPRECATED_SCOPES {
                deprecated = i as u8;
            } else {
                slots[fields[i].number as usize] = i as u8;
            }
            if matches!(fields[i].role, Role::Attributes) {
                // All attribute lists have numbers below 16, so the tag is one byte.
                attributes_tag = (fields[i].number as u8) << 3 | LEN;
            }
            if let Role::Node(kind) = fields[i].role
                && kind.is_item()
            {
                items_tag = (fields[i].number as u8) << 3 | LEN;
            }
            i += 1;
        }
        Message {
            name,
            source,
            fields,
            slots,
            deprecated,
            attributes_tag,
            items_tag,
        }
    }

    /// Place of a field in [`Message::fields`].
    #[inline(always)]
    pub fn slot(&self, number: u32) -> Option<usize> {
        let slot = match self.slots.get(number as usize) {
            Some(&slot) => slot,
            None if number == DEPRECATED_SCOPES => self.deprecated,
            None => NONE,
        };
        (slot != NONE).then_some(slot as usize)
    }

    /// The field with this number.
    #[inline]
    pub fn field(&self, number: u32) -> Option<&'static Field> {
        self.slot(number).map(|slot| &self.fields[slot])
    }

    /// The field with this name.
    pub fn named(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// Place in [`Message::fields`] of the field that JSON calls `key`, in camel or snake case. Looks from place `from`
    /// on, where whoever writes fields in order has the next one.
    #[inline]
    pub fn json_slot(&self, key: &[u8], from: usize) -> Option<usize> {
        let is = |slot: &usize| {
            let field = &self.fields[*slot];
            field.camel.as_bytes() == key || field.name.as_bytes() == key
        };
        let count = self.fields.len();
        (from.min(count)..count).chain(0..from.min(count)).find(is)
    }

    /// The field with this role.
    pub fn with_role(&self, role: Role) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.role == role)
    }

    /// The one tag byte of the list of items; 0 if there is none.
    #[inline(always)]
    pub const fn items_tag(&self) -> u8 {
        self.items_tag
    }

    /// The one tag byte of the attribute list; 0 if there is none.
    #[inline(always)]
    pub const fn attributes_tag(&self) -> u8 {
        self.attributes_tag
    }
}

impl Kind {
    /// Wire type of one value.
    #[inline(always)]
    pub const fn wire(self) -> u8 {
        match self {
            Bool | Int32 | Uint32 | Int64 | Uint64 | Enum(_) | Sint32 => VARINT,
            Fixed32 => FIXED32,
            Fixed64 | Sfixed64 | Double => FIXED64,
            Text | Bytes | Message(_) => LEN,
        }
    }
}

/// The export request of a signal.
pub fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Logs => &EXPORT_LOGS,
        Signal::Traces => &EXPORT_TRACES,
        Signal::Metrics => &EXPORT_METRICS,
        Signal::Profiles => &EXPORT_PROFILES,
    }
}

/// What answers the export request of a signal.
pub fn response(signal: Signal) -> &'static Message {
    match signal {
        Signal::Logs => &LOGS_RESPONSE,
        Signal::Traces => &TRACES_RESPONSE,
        Signal::Metrics => &METRICS_RESPONSE,
        Signal::Profiles => &PROFILES_RESPONSE,
    }
}

/// Path of the gRPC method that takes the export request of a signal.
pub const fn export_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Profiles => "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
    }
}

/// The message of a node. Resource and scope groups have the same numbers in all signals but for the type of what is in
/// them, so they need to know the signal.
pub fn node(signal: Signal, kind: NodeKind) -> &'static Message {
    match (kind, signal) {
        (NodeKind::Resource, Signal::Logs) => &RESOURCE_LOGS,
        (NodeKind::Resource, Signal::Traces) => &RESOURCE_SPANS,
        (NodeKind::Resource, Signal::Metrics) => &RESOURCE_METRICS,
        (NodeKind::Resource, Signal::Profiles) => &RESOURCE_PROFILES,
        (NodeKind::Scope, Signal::Logs) => &SCOPE_LOGS,
        (NodeKind::Scope, Signal::Traces) => &SCOPE_SPANS,
        (NodeKind::Scope, Signal::Metrics) => &SCOPE_METRICS,
        (NodeKind::Scope, Signal::Profiles) => &SCOPE_PROFILES,
        (NodeKind::LogRecord, _) => &LOG_RECORD,
        (NodeKind::Span, _) => &SPAN,
        (NodeKind::Event, _) => &EVENT,
        (NodeKind::Link, _) => &LINK,
        (NodeKind::Metric, _) => &METRIC,
        (NodeKind::NumberPoint, _) => &NUMBER_POINT,
        (NodeKind::HistogramPoint, _) => &HISTOGRAM_POINT,
        (NodeKind::ExpHistogramPoint, _) => &EXP_HISTOGRAM_POINT,
        (NodeKind::SummaryPoint, _) => &SUMMARY_POINT,
        (NodeKind::Exemplar, _) => &EXEMPLAR,
    }
}

const fn row(number: u32, name: &'static str, kind: Kind, rule: Rule, role: Role) -> Field {
    Field {
        number,
        name,
        camel: Camel::of(name),
        kind,
        rule,
        role,
    }
}
const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    row(number, name, kind, Rule::Single, Role::Plain)
}
const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    row(number, name, kind, Rule::Repeated, Role::Plain)
}
const fn either(number: u32, name: &'static str, kind: Kind) -> Field {
    row(number, name, kind, Rule::Oneof, Role::Plain)
}
const fn attributes(number: u32, name: &'static str) -> Field {
    row(
        number,
        name,
        Message(&KEY_VALUE),
        Rule::Repeated,
        Role::Attributes,
    )
}
const fn nodes(number: u32, name: &'static str, message: &'static Message, kind: NodeKind) -> Field {
    row(number, name, Message(message), Rule::Repeated, Role::Node(kind))
}
const fn inner(number: u32, name: &'static str, message: &'static Message) -> Field {
    row(number, name, Message(message), Rule::Single, Role::Inner)
}
const fn deprecated(name: &'static str, message: &'static Message) -> Field {
    row(
        DEPRECATED_SCOPES,
        name,
        Message(message),
        Rule::Repeated,
        Role::Deprecated,
    )
}
const fn data(number: u32, name: &'static str, message: &'static Message) -> Field {
    row(number, name, Message(message), Rule::Oneof, Role::Inner)
}
const fn trace_id(number: u32, name: &'static str) -> Field {
    row(number, name, Bytes, Rule::Single, Role::TraceId)
}
const fn span_id(number: u32, name: &'static str) -> Field {
    row(number, name, Bytes, Rule::Single, Role::SpanId)
}

macro_rules! messages {
    ($source:literal $($(#[$doc:meta])* $ident:ident $name:literal [$($field:expr),* $(,)?])*) => {
        $($(#[$doc])* pub static $ident: Message = Message::new($name, $source, &[$($field),*]);)*
    };
}

use Kind::*;

/// Names of `SeverityNumber`.
const SEVERITIES: &[(&str, i32)] = &[
    ("SEVERITY_NUMBER_UNSPECIFIED", 0),
    ("SEVERITY_NUMBER_TRACE", 1),
    ("SEVERITY_NUMBER_TRACE2", 2),
    ("SEVERITY_NUMBER_TRACE3", 3),
    ("SEVERITY_NUMBER_TRACE4", 4),
    ("SEVERITY_NUMBER_DEBUG", 5),
    ("SEVERITY_NUMBER_DEBUG2", 6),
    ("SEVERITY_NUMBER_DEBUG3", 7),
    ("SEVERITY_NUMBER_DEBUG4", 8),
    ("SEVERITY_NUMBER_INFO", 9),
    ("SEVERITY_NUMBER_INFO2", 10),
    ("SEVERITY_NUMBER_INFO3", 11),
    ("SEVERITY_NUMBER_INFO4", 12),
    ("SEVERITY_NUMBER_WARN", 13),
    ("SEVERITY_NUMBER_WARN2", 14),
    ("SEVERITY_NUMBER_WARN3", 15),
    ("SEVERITY_NUMBER_WARN4", 16),
    ("SEVERITY_NUMBER_ERROR", 17),
    ("SEVERITY_NUMBER_ERROR2", 18),
    ("SEVERITY_NUMBER_ERROR3", 19),
    ("SEVERITY_NUMBER_ERROR4", 20),
    ("SEVERITY_NUMBER_FATAL", 21),
    ("SEVERITY_NUMBER_FATAL2", 22),
    ("SEVERITY_NUMBER_FATAL3", 23),
    ("SEVERITY_NUMBER_FATAL4", 24),
];
/// Names of `Span.SpanKind`.
const SPAN_KINDS: &[(&str, i32)] = &[
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
];
/// Names of `Status.StatusCode`.
const STATUS_CODES: &[(&str, i32)] = &[
    ("STATUS_CODE_UNSET", 0),
    ("STATUS_CODE_OK", 1),
    ("STATUS_CODE_ERROR", 2),
];
/// Names of `AggregationTemporality`.
const TEMPORALITIES: &[(&str, i32)] = &[
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
];

messages! { "common/v1/common.proto"
    /// A value of any type.
    ANY_VALUE "AnyValue" [
        either(1, "string_value", Text),
        either(2, "bool_value", Bool),
        either(3, "int_value", Int64),
        either(4, "double_value", Double),
        either(5, "array_value", Message(&ARRAY_VALUE)),
        either(6, "kvlist_value", Message(&KEY_VALUE_LIST)),
        either(7, "bytes_value", Bytes),
        either(8, "string_value_strindex", Int32),
    ]
    /// A list of values.
    ARRAY_VALUE "ArrayValue" [many(1, "values", Message(&ANY_VALUE))]
    /// A map.
    KEY_VALUE_LIST "KeyValueList" [many(1, "values", Message(&KEY_VALUE))]
    /// A map entry.
    KEY_VALUE "KeyValue" [
        one(1, "key", Text),
        one(2, "value", Message(&ANY_VALUE)),
        one(3, "key_strindex", Int32),
    ]
    /// Who produced records.
    INSTRUMENTATION_SCOPE "InstrumentationScope" [
        one(1, "name", Text),
        one(2, "version", Text),
        attributes(3, "attributes"),
        one(4, "dropped_attributes_count", Uint32),
    ]
    /// Which attributes name an entity.
    ENTITY_REF "EntityRef" [
        one(1, "schema_url", Text),
        one(2, "type", Text),
        many(3, "id_keys", Text),
        many(4, "description_keys", Text),
    ]
}

messages! { "resource/v1/resource.proto"
    /// What produced telemetry.
    RESOURCE "Resource" [
        attributes(1, "attributes"),
        one(2, "dropped_attributes_count", Uint32),
        many(3, "entity_refs", Message(&ENTITY_REF)),
    ]
}

messages! { "collector/logs/v1/logs_service.proto"
    /// A request with logs.
    EXPORT_LOGS "ExportLogsServiceRequest" [nodes(1, "resource_logs", &RESOURCE_LOGS, NodeKind::Resource)]
}
messages! { "collector/logs/v1/logs_service.proto"
    /// The answer to a request with logs.
    LOGS_RESPONSE "ExportLogsServiceResponse" [one(1, "partial_success", Message(&LOGS_PARTIAL))]
    /// What was rejected.
    LOGS_PARTIAL "ExportLogsPartialSuccess" [
        one(1, "rejected_log_records", Int64),
        one(2, "error_message", Text),
    ]
}
messages! { "collector/trace/v1/trace_service.proto"
    /// The answer to a request with spans.
    TRACES_RESPONSE "ExportTraceServiceResponse" [one(1, "partial_success", Message(&TRACES_PARTIAL))]
    /// What was rejected.
    TRACES_PARTIAL "ExportTracePartialSuccess" [one(1, "rejected_spans", Int64), one(2, "error_message", Text)]
}
messages! { "collector/metrics/v1/metrics_service.proto"
    /// The answer to a request with metrics.
    METRICS_RESPONSE "ExportMetricsServiceResponse" [one(1, "partial_success", Message(&METRICS_PARTIAL))]
    /// What was rejected.
    METRICS_PARTIAL "ExportMetricsPartialSuccess" [
        one(1, "rejected_data_points", Int64),
        one(2, "error_message", Text),
    ]
}
messages! { "collector/profiles/v1development/profiles_service.proto"
    /// The answer to a request with profiles.
    PROFILES_RESPONSE "ExportProfilesServiceResponse" [one(1, "partial_success", Message(&PROFILES_PARTIAL))]
    /// What was rejected.
    PROFILES_PARTIAL "ExportProfilesPartialSuccess" [
        one(1, "rejected_profiles", Int64),
        one(2, "error_message", Text),
    ]
}
messages! { "../../google/rpc/status.proto"
    /// What OTLP over HTTP answers with when it refuses, but for `details`.
    RPC_STATUS "Status" [one(1, "code", Int32), one(2, "message", Text)]
}
messages! { "logs/v1/logs.proto"
    /// Logs of one resource.
    RESOURCE_LOGS "ResourceLogs" [
        inner(1, "resource", &RESOURCE),
        nodes(2, "scope_logs", &SCOPE_LOGS, NodeKind::Scope),
        one(3, "schema_url", Text),
        deprecated("instrumentation_library_logs", &SCOPE_LOGS),
    ]
    /// Logs of one scope.
    SCOPE_LOGS "ScopeLogs" [
        inner(1, "scope", &INSTRUMENTATION_SCOPE),
        nodes(2, "log_records", &LOG_RECORD, NodeKind::LogRecord),
        one(3, "schema_url", Text),
    ]
    /// A log record.
    LOG_RECORD "LogRecord" [
        one(1, "time_unix_nano", Fixed64),
        one(2, "severity_number", Enum(SEVERITIES)),
        one(3, "severity_text", Text),
        row(5, "body", Message(&ANY_VALUE), Rule::Single, Role::Body),
        attributes(6, "attributes"),
        one(7, "dropped_attributes_count", Uint32),
        one(8, "flags", Fixed32),
        trace_id(9, "trace_id"),
        span_id(10, "span_id"),
        one(11, "observed_time_unix_nano", Fixed64),
        one(12, "event_name", Text),
    ]
}

messages! { "collector/trace/v1/trace_service.proto"
    /// A request with spans.
    EXPORT_TRACES "ExportTraceServiceRequest" [nodes(1, "resource_spans", &RESOURCE_SPANS, NodeKind::Resource)]
}
messages! { "trace/v1/trace.proto"
    /// Spans of one resource.
    RESOURCE_SPANS "ResourceSpans" [
        inner(1, "resource", &RESOURCE),
        nodes(2, "scope_spans", &SCOPE_SPANS, NodeKind::Scope),
        one(3, "schema_url", Text),
        deprecated("instrumentation_library_spans", &SCOPE_SPANS),
    ]
    /// Spans of one scope.
    SCOPE_SPANS "ScopeSpans" [
        inner(1, "scope", &INSTRUMENTATION_SCOPE),
        nodes(2, "spans", &SPAN, NodeKind::Span),
        one(3, "schema_url", Text),
    ]
    /// A span.
    SPAN "Span" [
        trace_id(1, "trace_id"),
        span_id(2, "span_id"),
        one(3, "trace_state", Text),
        span_id(4, "parent_span_id"),
        one(5, "name", Text),
        one(6, "kind", Enum(SPAN_KINDS)),
        one(7, "start_time_unix_nano", Fixed64),
        one(8, "end_time_unix_nano", Fixed64),
        attributes(9, "attributes"),
        one(10, "dropped_attributes_count", Uint32),
        nodes(11, "events", &EVENT, NodeKind::Event),
        one(12, "dropped_events_count", Uint32),
        nodes(13, "links", &LINK, NodeKind::Link),
        one(14, "dropped_links_count", Uint32),
        one(15, "status", Message(&STATUS)),
        one(16, "flags", Fixed32),
    ]
    /// An event of a span.
    EVENT "Span.Event" [
        one(1, "time_unix_nano", Fixed64),
        one(2, "name", Text),
        attributes(3, "attributes"),
        one(4, "dropped_attributes_count", Uint32),
    ]
    /// A link of a span.
    LINK "Span.Link" [
        trace_id(1, "trace_id"),
        span_id(2, "span_id"),
        one(3, "trace_state", Text),
        attributes(4, "attributes"),
        one(5, "dropped_attributes_count", Uint32),
        one(6, "flags", Fixed32),
    ]
    /// How a span ended.
    STATUS "Status" [one(2, "message", Text), one(3, "code", Enum(STATUS_CODES))]
}

messages! { "collector/metrics/v1/metrics_service.proto"
    /// A request with metrics.
    EXPORT_METRICS "ExportMetricsServiceRequest" [
        nodes(1, "resource_metrics", &RESOURCE_METRICS, NodeKind::Resource),
    ]
}
messages! { "metrics/v1/metrics.proto"
    /// Metrics of one resource.
    RESOURCE_METRICS "ResourceMetrics" [
        inner(1, "resource", &RESOURCE),
        nodes(2, "scope_metrics", &SCOPE_METRICS, NodeKind::Scope),
        one(3, "schema_url", Text),
        deprecated("instrumentation_library_metrics", &SCOPE_METRICS),
    ]
    /// Metrics of one scope.
    SCOPE_METRICS "ScopeMetrics" [
        inner(1, "scope", &INSTRUMENTATION_SCOPE),
        nodes(2, "metrics", &METRIC, NodeKind::Metric),
        one(3, "schema_url", Text),
    ]
    /// A metric.
    METRIC "Metric" [
        one(1, "name", Text),
        one(2, "description", Text),
        one(3, "unit", Text),
        data(5, "gauge", &GAUGE),
        data(7, "sum", &SUM),
        data(9, "histogram", &HISTOGRAM),
        data(10, "exponential_histogram", &EXP_HISTOGRAM),
        data(11, "summary", &SUMMARY),
        attributes(12, "metadata"),
    ]
    /// Points of a gauge.
    GAUGE "Gauge" [nodes(1, "data_points", &NUMBER_POINT, NodeKind::NumberPoint)]
    /// Points of a sum.
    SUM "Sum" [
        nodes(1, "data_points", &NUMBER_POINT, NodeKind::NumberPoint),
        one(2, "aggregation_temporality", Enum(TEMPORALITIES)),
        one(3, "is_monotonic", Bool),
    ]
    /// Points of a histogram.
    HISTOGRAM "Histogram" [
        nodes(1, "data_points", &HISTOGRAM_POINT, NodeKind::HistogramPoint),
        one(2, "aggregation_temporality", Enum(TEMPORALITIES)),
    ]
    /// Points of an exponential histogram.
    EXP_HISTOGRAM "ExponentialHistogram" [
        nodes(1, "data_points", &EXP_HISTOGRAM_POINT, NodeKind::ExpHistogramPoint),
        one(2, "aggregation_temporality", Enum(TEMPORALITIES)),
    ]
    /// Points of a summary.
    SUMMARY "Summary" [nodes(1, "data_points", &SUMMARY_POINT, NodeKind::SummaryPoint)]
    /// A point of a gauge or a sum.
    NUMBER_POINT "NumberDataPoint" [
        one(2, "start_time_unix_nano", Fixed64),
        one(3, "time_unix_nano", Fixed64),
        either(4, "as_double", Double),
        nodes(5, "exemplars", &EXEMPLAR, NodeKind::Exemplar),
        either(6, "as_int", Sfixed64),
        attributes(7, "attributes"),
        one(8, "flags", Uint32),
    ]
    /// A point of a histogram.
    HISTOGRAM_POINT "HistogramDataPoint" [
        one(2, "start_time_unix_nano", Fixed64),
        one(3, "time_unix_nano", Fixed64),
        one(4, "count", Fixed64),
        one(5, "sum", Double),
        many(6, "bucket_counts", Fixed64),
        many(7, "explicit_bounds", Double),
        nodes(8, "exemplars", &EXEMPLAR, NodeKind::Exemplar),
        attributes(9, "attributes"),
        one(10, "flags", Uint32),
        one(11, "min", Double),
        one(12, "max", Double),
    ]
    /// A point of an exponential histogram.
    EXP_HISTOGRAM_POINT "ExponentialHistogramDataPoint" [
        attributes(1, "attributes"),
        one(2, "start_time_unix_nano", Fixed64),
        one(3, "time_unix_nano", Fixed64),
        one(4, "count", Fixed64),
        one(5, "sum", Double),
        one(6, "scale", Sint32),
        one(7, "zero_count", Fixed64),
        one(8, "positive", Message(&BUCKETS)),
        one(9, "negative", Message(&BUCKETS)),
        one(10, "flags", Uint32),
        nodes(11, "exemplars", &EXEMPLAR, NodeKind::Exemplar),
        one(12, "min", Double),
        one(13, "max", Double),
        one(14, "zero_threshold", Double),
    ]
    /// Buckets of an exponential histogram.
    BUCKETS "ExponentialHistogramDataPoint.Buckets" [one(1, "offset", Sint32), many(2, "bucket_counts", Uint64)]
    /// A point of a summary.
    SUMMARY_POINT "SummaryDataPoint" [
        one(2, "start_time_unix_nano", Fixed64),
        one(3, "time_unix_nano", Fixed64),
        one(4, "count", Fixed64),
        one(5, "sum", Double),
        many(6, "quantile_values", Message(&QUANTILE)),
        attributes(7, "attributes"),
        one(8, "flags", Uint32),
    ]
    /// A quantile of a summary.
    QUANTILE "SummaryDataPoint.ValueAtQuantile" [one(1, "quantile", Double), one(2, "value", Double)]
    /// An example of what a point sums up.
    EXEMPLAR "Exemplar" [
        one(2, "time_unix_nano", Fixed64),
        either(3, "as_double", Double),
        span_id(4, "span_id"),
        trace_id(5, "trace_id"),
        either(6, "as_int", Sfixed64),
        attributes(7, "filtered_attributes"),
    ]
}

messages! { "collector/profiles/v1development/profiles_service.proto"
    /// A request with profiles.
    EXPORT_PROFILES "ExportProfilesServiceRequest" [
        many(1, "resource_profiles", Message(&RESOURCE_PROFILES)),
        one(2, "dictionary", Message(&PROFILES_DICTIONARY)),
    ]
}
messages! { "profiles/v1development/profiles.proto"
    /// What all profiles of a request refer to.
    PROFILES_DICTIONARY "ProfilesDictionary" [
        many(1, "mapping_table", Message(&MAPPING)),
        many(2, "location_table", Message(&LOCATION)),
        many(3, "function_table", Message(&FUNCTION)),
        many(4, "link_table", Message(&PROFILE_LINK)),
        many(5, "string_table", Text),
        many(6, "attribute_table", Message(&KEY_VALUE_AND_UNIT)),
        many(7, "stack_table", Message(&STACK)),
    ]
    /// Profiles of one resource.
    RESOURCE_PROFILES "ResourceProfiles" [
        one(1, "resource", Message(&RESOURCE)),
        many(2, "scope_profiles", Message(&SCOPE_PROFILES)),
        one(3, "schema_url", Text),
    ]
    /// Profiles of one scope.
    SCOPE_PROFILES "ScopeProfiles" [
        one(1, "scope", Message(&INSTRUMENTATION_SCOPE)),
        many(2, "profiles", Message(&PROFILE)),
        one(3, "schema_url", Text),
    ]
    /// A profile.
    PROFILE "Profile" [
        one(1, "sample_type", Message(&VALUE_TYPE)),
        row(2, "samples", Message(&SAMPLE), Rule::Repeated, Role::Item),
        one(3, "time_unix_nano", Fixed64),
        one(4, "duration_nano", Uint64),
        one(5, "period_type", Message(&VALUE_TYPE)),
        one(6, "period", Int64),
        one(7, "profile_id", Bytes),
        one(8, "dropped_attributes_count", Uint32),
        one(9, "original_payload_format", Text),
        one(10, "original_payload", Bytes),
        many(11, "attribute_indices", Int32),
    ]
    /// The span that a sample belongs to.
    PROFILE_LINK "Link" [trace_id(1, "trace_id"), span_id(2, "span_id")]
    /// What a value counts.
    VALUE_TYPE "ValueType" [one(1, "type_strindex", Int32), one(2, "unit_strindex", Int32)]
    /// A sample.
    SAMPLE "Sample" [
        one(1, "stack_index", Int32),
        many(2, "attribute_indices", Int32),
        one(3, "link_index", Int32),
        many(4, "values", Int64),
        many(5, "timestamps_unix_nano", Fixed64),
    ]
    /// A mapped file.
    MAPPING "Mapping" [
        one(1, "memory_start", Uint64),
        one(2, "memory_limit", Uint64),
        one(3, "file_offset", Uint64),
        one(4, "filename_strindex", Int32),
        many(5, "attribute_indices", Int32),
    ]
    /// A call stack.
    STACK "Stack" [many(1, "location_indices", Int32)]
    /// A place in code.
    LOCATION "Location" [
        one(1, "mapping_index", Int32),
        one(2, "address", Uint64),
        many(3, "lines", Message(&LINE)),
        many(4, "attribute_indices", Int32),
    ]
    /// A line of source.
    LINE "Line" [one(1, "function_index", Int32), one(2, "line", Int64), one(3, "column", Int64)]
    /// A function.
    FUNCTION "Function" [
        one(1, "name_strindex", Int32),
        one(2, "system_name_strindex", Int32),
        one(3, "filename_strindex", Int32),
        one(4, "start_line", Int64),
    ]
    /// An attribute with a unit.
    KEY_VALUE_AND_UNIT "KeyValueAndUnit" [
        one(1, "key_strindex", Int32),
        one(2, "value", Message(&ANY_VALUE)),
        one(3, "unit_strindex", Int32),
    ]
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
    use opentelemetry_proto::tonic::common::v1::EntityRef;
    use opentelemetry_proto::tonic::profiles::v1development as p;
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use prost::Message as _;

    use super::*;
    use crate::{Limits, Shape, validate};

    fn all(message: &'static Message, seen: &mut Vec<&'static Message>) {
        if seen.iter().any(|m| std::ptr::eq(*m, message)) {
            return;
        }
        seen.push(message);
        for field in message.fields {
            if let Message(nested) = field.kind {
                all(nested, seen);
            }
        }
    }

    #[test]
    fn rows_are_in_order_and_found() {
        let mut seen = Vec::new();
        for signal in Signal::ALL {
            all(request(signal), &mut seen);
        }
        assert_eq!(seen.len(), 48);
        for message in seen {
            assert!(
                message.fields.is_sorted_by(|a, b| a.number < b.number),
                "{}",
                message.name
            );
            for field in message.fields {
                assert_eq!(message.field(field.number).map(|f| f.name), Some(field.name));
                assert_eq!(message.named(field.name).map(|f| f.number), Some(field.number));
                for from in [0, 1, 99] {
                    let slot = message.json_slot(field.camel.as_bytes(), from);
                    assert_eq!(slot.map(|s| message.fields[s].number), Some(field.number));
                    assert_eq!(message.json_slot(field.name.as_bytes(), from), slot);
                }
            }
            assert!(message.field(0).is_none() && message.field(17).is_none());
            assert!(message.field(u32::MAX).is_none());
        }
    }

    #[test]
    fn names_in_json() {
        let check = |name: &str, expected: &str| assert_eq!(Camel::of(name).as_bytes(), expected.as_bytes());
        check("key", "key");
        check("time_unix_nano", "timeUnixNano");
        check("instrumentation_library_metrics", "instrumentationLibraryMetrics");
        assert_eq!(LOG_RECORD.json_slot(b"timeUnixNanos", 0), None);
        assert_eq!(LOG_RECORD.json_slot(b"", 0), None);
    }

    /// What random requests do not hold: profiles and entities.
    #[test]
    fn knows_every_field_of_profiles() {
        let request = ExportProfilesServiceRequest {
            resource_profiles: vec![p::ResourceProfiles {
                resource: Some(Resource {
                    entity_refs: vec![EntityRef {
                        schema_url: "u".into(),
                        r#type: "t".into(),
                        id_keys: vec!["i".into()],
                        description_keys: vec!["d".into()],
                    }],
                    ..Resource::default()
                }),
                scope_profiles: vec![p::ScopeProfiles {
                    profiles: vec![p::Profile {
                        sample_type: Some(p::ValueType {
                            type_strindex: 1,
                            unit_strindex: 2,
                        }),
                        samples: vec![p::Sample {
                            stack_index: 1,
                            attribute_indices: vec![1, 2],
                            link_index: 1,
                            values: vec![3],
                            timestamps_unix_nano: vec![4, 5],
                        }],
                        time_unix_nano: 1,
                        duration_nano: 2,
                        period_type: Some(p::ValueType::default()),
                        period: 3,
                        profile_id: vec![1; 16],
                        dropped_attributes_count: 1,
                        original_payload_format: "f".into(),
                        original_payload: vec![1],
                        attribute_indices: vec![1],
                    }],
                    schema_url: "u".into(),
                    ..p::ScopeProfiles::default()
                }],
                schema_url: "u".into(),
            }],
            dictionary: Some(p::ProfilesDictionary {
                mapping_table: vec![p::Mapping {
                    memory_start: 1,
                    memory_limit: 2,
                    file_offset: 3,
                    filename_strindex: 4,
                    attribute_indices: vec![5],
                }],
                location_table: vec![p::Location {
                    mapping_index: 1,
                    address: 2,
                    lines: vec![p::Line {
                        function_index: 1,
                        line: 2,
                        column: 3,
                    }],
                    attribute_indices: vec![4],
                }],
                function_table: vec![p::Function {
                    name_strindex: 1,
                    system_name_strindex: 2,
                    filename_strindex: 3,
                    start_line: 4,
                }],
                link_table: vec![p::Link {
                    trace_id: vec![1; 16],
                    span_id: vec![1; 8],
                }],
                string_table: vec!["s".into()],
                attribute_table: vec![p::KeyValueAndUnit {
                    key_strindex: 1,
                    value: None,
                    unit_strindex: 2,
                }],
                stack_table: vec![p::Stack {
                    location_indices: vec![1],
                }],
            }),
        };
        let limits = Limits {
            strict_utf8: true,
            ..Limits::default()
        };
        let expected = Shape {
            items: 1,
            ..Shape::default()
        };
        assert_eq!(
            validate(Signal::Profiles, &request.encode_to_vec(), &limits),
            Ok(expected)
        );
    }
}

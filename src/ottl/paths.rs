//! Contexts and the paths that each of them has, resolved to places in the view.

use wire::Signal;
use wire::otlp::{self, Message};
use wire::view::{Depth, Kind};

use crate::value::OpaqueKind;

/// What a statement runs on, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Each resource of any signal.
    Resource,
    /// Each instrumentation scope of any signal.
    Scope,
    /// Each log record.
    Log,
    /// Each span.
    Span,
    /// Each event of a span.
    SpanEvent,
    /// Each metric.
    Metric,
    /// Each data point of a metric.
    DataPoint,
}

/// Where the nodes of a context stand in the chain of nodes that hold each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Level {
    Resource,
    Scope,
    /// Log records, spans and metrics.
    Record,
    /// What a span or a metric holds.
    Point,
}

/// A part of a node, and the type that it has when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Attrs,
    Cache,
    Text,
    /// uint32 that is cut off when set.
    U32,
    /// fixed32 that refuses what does not fit.
    Flags,
    I32,
    U64,
    Zigzag,
    Double,
    ValueInt,
    ValueDouble,
    Time,
    TraceId,
    TraceIdText,
    SpanId,
    SpanIdText,
    TraceState,
    KindText,
    KindDeprecated,
    Status,
    StatusCode,
    StatusMessage,
    Body,
    BodyText,
    MetricType,
    Temporality,
    Monotonic,
    Slice(OpaqueKind),
    EventIndex,
    U64List,
    F64List,
    Buckets,
    BucketsOffset,
    BucketsCounts,
    ClientAddr,
    ClientMetadata,
    ClientAuth,
}

impl Place {
    /// Whether keys may follow.
    pub(crate) fn takes_keys(self) -> bool {
        use Place::{Attrs, Body, Cache, ClientAuth, ClientMetadata, TraceState};
        matches!(
            self,
            Attrs | Cache | Body | TraceState | ClientMetadata | ClientAuth
        )
    }

    /// Whether nothing can be written there.
    pub(crate) fn is_read_only(self) -> bool {
        use Place::{ClientAddr, ClientAuth, ClientMetadata, EventIndex};
        matches!(self, EventIndex | ClientAddr | ClientMetadata | ClientAuth)
    }
}

/// One path: what is written behind the context's name, the place, and the field's name in the proto file.
type Row = (&'static str, Place, &'static str);

const RESOURCE: &[Row] = &[
    ("attributes", Place::Attrs, ""),
    ("cache", Place::Cache, ""),
    ("dropped_attributes_count", Place::U32, "dropped_attributes_count"),
    ("schema_url", Place::Text, "schema_url"),
];
const SCOPE: &[Row] = &[
    ("attributes", Place::Attrs, ""),
    ("cache", Place::Cache, ""),
    ("name", Place::Text, "name"),
    ("version", Place::Text, "version"),
    ("dropped_attributes_count", Place::U32, "dropped_attributes_count"),
    ("schema_url", Place::Text, "schema_url"),
];
const LOG: &[Row] = &[
    ("attributes", Place::Attrs, ""),
    ("cache", Place::Cache, ""),
    ("time_unix_nano", Place::U64, "time_unix_nano"),
    ("observed_time_unix_nano", Place::U64, "observed_time_unix_nano"),
    ("time", Place::Time, "time_unix_nano"),
    ("observed_time", Place::Time, "observed_time_unix_nano"),
    ("severity_number", Place::I32, "severity_number"),
    ("severity_text", Place::Text, "severity_text"),
    ("body", Place::Body, ""),
    ("body.string", Place::BodyText, ""),
    ("dropped_attributes_count", Place::U32, "dropped_attributes_count"),
    ("flags", Place::U32, "flags"),
    ("trace_id", Place::TraceId, "trace_id"),
    ("trace_id.string", Place::TraceIdText, "trace_id"),
    ("span_id", Place::SpanId, "span_id"),
    ("span_id.string", Place::SpanIdText, "span_id"),
    ("event_name", Place::Text, "event_name"),
];
const SPAN: &[Row] = &[
    ("attributes", Place::Attrs, ""),
    ("cache", Place::Cache, ""),
    ("trace_id", Place::TraceId, "trace_id"),
    ("trace_id.string", Place::TraceIdText, "trace_id"),
    ("span_id", Place::SpanId, "span_id"),
    ("span_id.string", Place::SpanIdText, "span_id"),
    ("parent_span_id", Place::SpanId, "parent_span_id"),
    ("parent_span_id.string", Place::SpanIdText, "parent_span_id"),
    ("trace_state", Place::TraceState, "trace_state"),
    ("name", Place::Text, "name"),
    ("kind", Place::I32, "kind"),
    ("kind.string", Place::KindText, "kind"),
    ("kind.deprecated_string", Place::KindDeprecated, "kind"),
    ("start_time_unix_nano", Place::U64, "start_time_unix_nano"),
    ("end_time_unix_nano", Place::U64, "end_time_unix_nano"),
    ("start_time", Place::Time, "start_time_unix_nano"),
    ("end_time", Place::Time, "end_time_unix_nano"),
    ("dropped_attributes_count", Place::U32, "dropped_attributes_count"),
    ("dropped_events_count", Place::U32, "dropped_events_count"),
    ("dropped_links_count", Place::U32, "dropped_links_count"),
    ("events", Place::Slice(OpaqueKind::Events), "events"),
    ("links", Place::Slice(OpaqueKind::Links), "links"),
    ("status", Place::Status, "status"),
    ("status.code", Place::StatusCode, "status"),
    ("status.message", Place::StatusMessage, "status"),
    ("flags", Place::Flags, "flags"),
];
const SPAN_EVENT: &[Row] = &[
    ("attributes", Place::Attrs, ""),
    ("cache", Place::Cache, ""),
    ("time_unix_nano", Place::U64, "time_unix_nano"),
    ("time", Place::Time, "time_unix_nano"),
    ("name", Place::Text, "name"),
    ("dropped_attributes_count", Place::U32, "dropped_attributes_count"),
    ("event_index", Place::EventIndex, ""),
];
const METRIC: &[Row] = &[
    ("metadata", Place::Attrs, ""),
    ("cache", Place::Cache, ""),
    ("name", Place::Text, "name"),
    ("description", Place::Text, "description"),
    ("unit", Place::Text, "unit"),
    ("type", Place::MetricType, ""),
    (
        "aggregation_temporality",
        Place::Temporality,
        "aggregation_temporality",
    ),
    ("is_monotonic", Place::Monotonic, "is_monotonic"),
    ("data_points", Place::Slice(OpaqueKind::DataPoints), ""),
];
const DATA_POINT: &[Row] = &[
    ("attributes", Place::Attrs, ""),
    ("cache", Place::Cache, ""),
    ("start_time_unix_nano", Place::U64, "start_time_unix_nano"),
    ("time_unix_nano", Place::U64, "time_unix_nano"),
    ("start_time", Place::Time, "start_time_unix_nano"),
    ("time", Place::Time, "time_unix_nano"),
    ("value_double", Place::ValueDouble, "as_double"),
    ("value_int", Place::ValueInt, "as_int"),
    ("exemplars", Place::Slice(OpaqueKind::Exemplars), "exemplars"),
    ("flags", Place::U32, "flags"),
    ("count", Place::U64, "count"),
    ("sum", Place::Double, "sum"),
    ("explicit_bounds", Place::F64List, "explicit_bounds"),
    ("bucket_counts", Place::U64List, "bucket_counts"),
    ("scale", Place::Zigzag, "scale"),
    ("zero_count", Place::U64, "zero_count"),
    ("positive", Place::Buckets, "positive"),
    ("positive.offset", Place::BucketsOffset, "positive"),
    ("positive.bucket_counts", Place::BucketsCounts, "positive"),
    ("negative", Place::Buckets, "negative"),
    ("negative.offset", Place::BucketsOffset, "negative"),
    ("negative.bucket_counts", Place::BucketsCounts, "negative"),
    (
        "quantile_values",
        Place::Slice(OpaqueKind::Quantiles),
        "quantile_values",
    ),
];
const OTELCOL: &[Row] = &[
    ("client.addr", Place::ClientAddr, ""),
    ("client.metadata", Place::ClientMetadata, ""),
    ("client.auth.attributes", Place::ClientAuth, ""),
    ("grpc.metadata", Place::ClientMetadata, ""),
];

/// Names that a path may begin with, from the one that decides most about a group's context.
pub(crate) const PRIORITY: [&str; 10] = [
    "log",
    "exemplar",
    "datapoint",
    "metric",
    "spanevent",
    "span",
    "profile",
    "scope",
    "instrumentation_scope",
    "resource",
];

impl Context {
    /// All, none before one that it holds.
    pub(crate) const ALL: [Context; 7] = [
        Context::Log,
        Context::DataPoint,
        Context::Metric,
        Context::SpanEvent,
        Context::Span,
        Context::Scope,
        Context::Resource,
    ];

    /// As a user writes it.
    pub fn name(self) -> &'static str {
        match self {
            Context::Resource => "resource",
            Context::Scope => "scope",
            Context::Log => "log",
            Context::Span => "span",
            Context::SpanEvent => "spanevent",
            Context::Metric => "metric",
            Context::DataPoint => "datapoint",
        }
    }

    /// The context with this name.
    pub fn named(name: &str) -> Option<Context> {
        Context::ALL.into_iter().find(|c| c.name() == name)
    }

    /// Whether requests of a signal have such items.
    pub fn is_of(self, signal: Signal) -> bool {
        match self {
            Context::Resource | Context::Scope => signal != Signal::Profiles,
            Context::Log => signal == Signal::Logs,
            Context::Span | Context::SpanEvent => signal == Signal::Traces,
            Context::Metric | Context::DataPoint => signal == Signal::Metrics,
        }
    }

    /// The contexts whose items hold this one's, nearest first.
    fn above(self) -> &'static [Context] {
        match self {
            Context::Resource => &[],
            Context::Scope => &[Context::Resource],
            Context::Log | Context::Span | Context::Metric => &[Context::Scope, Context::Resource],
            Context::SpanEvent => &[Context::Span, Context::Scope, Context::Resource],
            Context::DataPoint => &[Context::Metric, Context::Scope, Context::Resource],
        }
    }

    /// The names that its paths may begin with.
    pub(crate) fn prefixes(self) -> Vec<&'static str> {
        let mut names = vec![self.name()];
        names.extend(self.above().iter().map(|c| c.name()));
        if self != Context::Scope && names.contains(&"scope") {
            names.push("instrumentation_scope");
        }
        names.push("otelcol");
        names
    }

    /// The context that a path's first name means here; `Err(())` for `otelcol`, none for a name that is no context.
    fn of_prefix(self, name: &str) -> Option<Option<Context>> {
        match name {
            "otelcol" => Some(None),
            "instrumentation_scope" if self.above().contains(&Context::Scope) => Some(Some(Context::Scope)),
            _ if name == self.name() => Some(Some(self)),
            _ => self.above().iter().find(|c| c.name() == name).map(|c| Some(*c)),
        }
    }

    pub(crate) fn is_prefix(self, name: &str) -> bool {
        self.of_prefix(name).is_some()
    }

    pub(crate) fn level(self) -> Level {
        match self {
            Context::Resource => Level::Resource,
            Context::Scope => Level::Scope,
            Context::Log | Context::Span | Context::Metric => Level::Record,
            Context::SpanEvent | Context::DataPoint => Level::Point,
        }
    }

    /// Whether a node is an item of this context.
    pub(crate) fn is_item(self, kind: Kind) -> bool {
        match self {
            Context::Resource => kind == Kind::Resource,
            Context::Scope => kind == Kind::Scope,
            Context::Log => kind == Kind::LogRecord,
            Context::Span => kind == Kind::Span,
            Context::SpanEvent => kind == Kind::Event,
            Context::Metric => kind == Kind::Metric,
            Context::DataPoint => matches!(
                kind,
                Kind::NumberPoint | Kind::HistogramPoint | Kind::ExpHistogramPoint | Kind::SummaryPoint
            ),
        }
    }

    /// How deep the view must go.
    pub(crate) fn depth(self) -> Depth {
        match self {
            Context::Resource => Depth::Resource,
            Context::Scope => Depth::Scope,
            Context::Log | Context::Span | Context::Metric | Context::DataPoint => Depth::Record,
            Context::SpanEvent => Depth::All,
        }
    }

    fn rows(self) -> &'static [Row] {
        match self {
            Context::Resource => RESOURCE,
            Context::Scope => SCOPE,
            Context::Log => LOG,
            Context::Span => SPAN,
            Context::SpanEvent => SPAN_EVENT,
            Context::Metric => METRIC,
            Context::DataPoint => DATA_POINT,
        }
    }

    /// Messages that hold its fields; for a data point one for each kind, in the order of [`point_kind`].
    fn messages(self) -> Vec<&'static Message> {
        match self {
            Context::Resource => vec![&otlp::RESOURCE, &otlp::RESOURCE_LOGS],
            Context::Scope => vec![&otlp::INSTRUMENTATION_SCOPE, &otlp::SCOPE_LOGS],
            Context::Log => vec![&otlp::LOG_RECORD],
            Context::Span => vec![&otlp::SPAN],
            Context::SpanEvent => vec![&otlp::EVENT],
            Context::Metric => vec![&otlp::METRIC, &otlp::SUM],
            Context::DataPoint => vec![
                &otlp::NUMBER_POINT,
                &otlp::HISTOGRAM_POINT,
                &otlp::EXP_HISTOGRAM_POINT,
                &otlp::SUMMARY_POINT,
            ],
        }
    }

    fn fields(self, name: &str) -> [u8; 4] {
        let number = |m: &Message| m.named(name).map(|f| f.number as u8);
        if self == Context::DataPoint {
            let mut fields = [0; 4];
            for (field, message) in fields.iter_mut().zip(self.messages()) {
                *field = number(message).unwrap_or(0);
            }
            return fields;
        }
        [self.messages().into_iter().find_map(number).unwrap_or(0); 4]
    }

    /// Number of an enum's symbol.
    pub(crate) fn symbol(self, name: &str) -> Option<i64> {
        let kinds: &[(&Message, &str)] = match self {
            Context::Log => &[(&otlp::LOG_RECORD, "severity_number")],
            Context::Span | Context::SpanEvent => &[(&otlp::SPAN, "kind"), (&otlp::STATUS, "code")],
            Context::Metric | Context::DataPoint => &[(&otlp::SUM, "aggregation_temporality")],
            Context::Resource | Context::Scope => &[],
        };
        let named = kinds
            .iter()
            .find_map(|(message, field)| match message.named(field)?.kind {
                otlp::Kind::Enum(names) => names.iter().find(|(n, _)| *n == name).map(|(_, i)| i64::from(*i)),
                _ => None,
            });
        named.or_else(|| {
            let own: &[(&str, i64)] = match self {
                Context::Metric => &METRIC_TYPES,
                Context::DataPoint => &[METRIC_TYPES.as_slice(), &FLAGS].concat(),
                _ => &[],
            };
            own.iter().find(|(n, _)| *n == name).map(|(_, i)| *i)
        })
    }
}

const METRIC_TYPES: [(&str, i64); 6] = [
    ("METRIC_DATA_TYPE_NONE", 0),
    ("METRIC_DATA_TYPE_GAUGE", 1),
    ("METRIC_DATA_TYPE_SUM", 2),
    ("METRIC_DATA_TYPE_HISTOGRAM", 3),
    ("METRIC_DATA_TYPE_EXPONENTIAL_HISTOGRAM", 4),
    ("METRIC_DATA_TYPE_SUMMARY", 5),
];
const FLAGS: [(&str, i64); 2] = [("FLAG_NONE", 0), ("FLAG_NO_RECORDED_VALUE", 1)];

/// A path without its keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Resolved {
    pub(crate) level: Level,
    pub(crate) place: Place,
    /// Field number, by kind of data point; all alike for other nodes, 0 for none.
    pub(crate) fields: [u8; 4],
}

/// Why a path is none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Unresolved {
    /// The place among the names at which no path goes on, and what might have been meant there.
    Segment(usize, Option<String>),
    /// The scratch map of another context.
    Cache,
}

/// The place that a path's names mean in a context. `names[0]` is a context's name if `prefixed`.
pub(crate) fn resolve(context: Context, names: &[&str], prefixed: bool) -> Result<Resolved, Unresolved> {
    let (owner, from) = match names.first() {
        Some(first) if prefixed => (context.of_prefix(first).ok_or(Unresolved::Segment(0, None))?, 1),
        _ => (Some(context), 0),
    };
    let rows = owner.map_or(OTELCOL, Context::rows);
    let rest = names[from..].join(".");
    let Some((_, place, field)) = rows.iter().find(|(path, ..)| *path == rest) else {
        // The longest beginning that some path has.
        let fits = |n: usize| {
            let begin = names[from..from + n].join(".");
            rows.iter()
                .any(|(p, ..)| *p == begin || p.starts_with(&format!("{begin}.")))
        };
        let good = (1..=names.len() - from).take_while(|n| fits(*n)).count();
        let at = (from + good).min(names.len().saturating_sub(1));
        return Err(Unresolved::Segment(
            at,
            near(rows.iter().map(|(p, ..)| *p), &rest),
        ));
    };
    if *place == Place::Cache && owner != Some(context) {
        return Err(Unresolved::Cache);
    }
    Ok(Resolved {
        level: owner.unwrap_or(context).level(),
        place: *place,
        fields: owner.map_or([0; 4], |o| o.fields(field)),
    })
}

/// The one that differs least from what was written, if it differs little.
pub(crate) fn near<'n>(names: impl Iterator<Item = &'n str>, written: &str) -> Option<String> {
    let most = (written.len() + 2) / 4;
    let (distance, name) = names.map(|n| (distance(n, written), n)).min()?;
    (distance <= most).then(|| name.to_owned())
}

/// Letters to change, insert or leave out.
fn distance(a: &str, b: &str) -> usize {
    // A name that long is not near to anything.
    if a.len().abs_diff(b.len()) > 16 || b.len() > 256 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Place of a data point's kind in [`Resolved::fields`].
pub(crate) fn point_kind(kind: Kind) -> usize {
    match kind {
        Kind::HistogramPoint => 1,
        Kind::ExpHistogramPoint => 2,
        Kind::SummaryPoint => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_in_the_table_of_its_message() {
        for context in Context::ALL {
            for (path, place, field) in context.rows() {
                let found = context.fields(field) != [0; 4];
                assert_eq!(found, !field.is_empty(), "{} {path} {place:?}", context.name());
            }
        }
        let check = |path: &[&str], expected: [u8; 4]| {
            assert_eq!(
                resolve(Context::DataPoint, path, false).map(|r| r.fields),
                Ok(expected),
                "{path:?}"
            );
        };
        check(&["value_double"], [4, 0, 0, 0]);
        check(&["count"], [0, 4, 4, 4]);
        check(&["bucket_counts"], [0, 6, 0, 0]);
        check(&["positive", "offset"], [0, 0, 8, 0]);
        check(&["flags"], [8, 10, 10, 8]);
        check(&["exemplars"], [5, 8, 11, 0]);
    }

    #[test]
    fn paths_are_those_of_the_context_and_of_what_holds_it() {
        let check = |context, path: &str, prefixed, expected: Result<(Level, Place), Unresolved>| {
            let names: Vec<_> = path.split('.').collect();
            let found = resolve(context, &names, prefixed).map(|r| (r.level, r.place));
            assert_eq!(found, expected, "{path}");
        };
        check(Context::Log, "log.body", true, Ok((Level::Record, Place::Body)));
        check(
            Context::Log,
            "body.string",
            false,
            Ok((Level::Record, Place::BodyText)),
        );
        check(
            Context::Log,
            "resource.attributes",
            true,
            Ok((Level::Resource, Place::Attrs)),
        );
        check(
            Context::Log,
            "instrumentation_scope.name",
            true,
            Ok((Level::Scope, Place::Text)),
        );
        check(
            Context::Scope,
            "instrumentation_scope.name",
            true,
            Err(Unresolved::Segment(0, None)),
        );
        check(Context::Log, "span.name", true, Err(Unresolved::Segment(0, None)));
        check(
            Context::SpanEvent,
            "span.name",
            true,
            Ok((Level::Record, Place::Text)),
        );
        check(
            Context::DataPoint,
            "metric.type",
            true,
            Ok((Level::Record, Place::MetricType)),
        );
        check(Context::Log, "resource.cache", true, Err(Unresolved::Cache));
        check(Context::Log, "log.cache", true, Ok((Level::Record, Place::Cache)));
        check(
            Context::Log,
            "otelcol.client.metadata",
            true,
            Ok((Level::Record, Place::ClientMetadata)),
        );
        check(
            Context::Log,
            "log.atributes",
            true,
            Err(Unresolved::Segment(1, Some("attributes".into()))),
        );
        check(
            Context::Log,
            "log.body.x",
            true,
            Err(Unresolved::Segment(2, Some("body".into()))),
        );
        check(
            Context::Log,
            "log.trace_id.strin",
            true,
            Err(Unresolved::Segment(2, Some("trace_id.string".into()))),
        );
        check(Context::Log, "log.x", true, Err(Unresolved::Segment(1, None)));
        check(Context::Log, "log", true, Err(Unresolved::Segment(0, None)));
    }

    #[test]
    fn symbols_are_those_of_the_context() {
        let check = |context: Context, name, expected| assert_eq!(context.symbol(name), expected, "{name}");
        check(Context::Log, "SEVERITY_NUMBER_WARN2", Some(14));
        check(Context::Span, "SPAN_KIND_CONSUMER", Some(5));
        check(Context::SpanEvent, "STATUS_CODE_ERROR", Some(2));
        check(Context::Metric, "AGGREGATION_TEMPORALITY_CUMULATIVE", Some(2));
        check(Context::Metric, "METRIC_DATA_TYPE_SUMMARY", Some(5));
        check(Context::Metric, "FLAG_NONE", None);
        check(Context::DataPoint, "FLAG_NO_RECORDED_VALUE", Some(1));
        check(Context::Resource, "SPAN_KIND_CLIENT", None);
        check(Context::Log, "SPAN_KIND_CLIENT", None);
    }
}

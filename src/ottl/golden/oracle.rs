//! Random programs on random requests: run on the view, and by a naive interpreter on prost types.

use opentelemetry_proto::tonic::common::v1::any_value::Value as V;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1 as m;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as N;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, span};
use proptest::prelude::*;
use wire::Signal;
use wire::test_kit::{KEYS, Request, Rng};
use wire::view::{Finished, Scratch as ViewScratch, View};

use super::kit::{any, with_env};
use crate::{Context, ErrorMode, Functions, Group, Program, Scratch};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Level {
    Resource,
    Scope,
    /// The span of an event, the metric of a point.
    Upper,
    Own,
}

#[derive(Clone, Debug)]
enum Path {
    Attr(Level, &'static str),
    Deep(&'static str, &'static str),
    Field(Level, &'static str),
}

/// The contexts whose items are records or lie in them, and the fields that programs use.
const CONTEXTS: [(Context, Signal, &[&str], &[&str]); 5] = [
    (
        Context::Log,
        Signal::Logs,
        &[
            "body",
            "severity_text",
            "severity_number",
            "flags",
            "time_unix_nano",
            "event_name",
        ],
        &[],
    ),
    (
        Context::Span,
        Signal::Traces,
        &[
            "name",
            "kind",
            "trace_state",
            "start_time_unix_nano",
            "dropped_events_count",
        ],
        &[],
    ),
    (
        Context::SpanEvent,
        Signal::Traces,
        &["name", "time_unix_nano", "dropped_attributes_count"],
        &["name", "kind"],
    ),
    (
        Context::Metric,
        Signal::Metrics,
        &["name", "description", "unit"],
        &[],
    ),
    (
        Context::DataPoint,
        Signal::Metrics,
        &[
            "value_int",
            "value_double",
            "time_unix_nano",
            "flags",
            "count",
            "sum",
        ],
        &["name", "unit"],
    ),
];

/// Where a program runs.
#[derive(Clone, Copy, Debug)]
struct Place {
    context: Context,
    fields: &'static [&'static str],
    upper: &'static [&'static str],
}

#[derive(Clone, Debug)]
enum Expr {
    Literal(Option<V>),
    Path(Path),
    Sum(Box<Expr>, Box<Expr>),
}

#[derive(Clone, Debug)]
enum Edit {
    Set(Path, Expr),
    DeleteKey(Level, &'static str),
    KeepKeys(Level, Vec<&'static str>),
    Merge(Level, Level, &'static str),
    Limit(Level, usize),
}

#[derive(Clone, Debug)]
struct Statement {
    edit: Edit,
    condition: Option<(&'static str, Expr, Expr)>,
}

// --- At random, and as text ---

fn key(rng: &mut Rng) -> &'static str {
    let at = rng.below(KEYS.len());
    KEYS[at]
}

fn level(rng: &mut Rng, place: Place) -> Level {
    match *rng.pick(&[
        Level::Resource,
        Level::Scope,
        Level::Upper,
        Level::Own,
        Level::Own,
    ]) {
        Level::Upper if place.upper.is_empty() => Level::Own,
        level => level,
    }
}

fn path(rng: &mut Rng, place: Place) -> Path {
    match rng.below(8) {
        0..=2 => Path::Field(Level::Own, rng.pick::<&str>(place.fields)),
        3 if !place.upper.is_empty() => Path::Field(Level::Upper, rng.pick::<&str>(place.upper)),
        4 => Path::Deep(key(rng), key(rng)),
        _ => Path::Attr(level(rng, place), key(rng)),
    }
}

fn expr(rng: &mut Rng, place: Place) -> Expr {
    match rng.below(9) {
        0 => Expr::Literal(None),
        1 => Expr::Literal(Some(V::IntValue(rng.below(4) as i64))),
        2 => Expr::Literal(Some(V::DoubleValue(rng.below(3) as f64 / 2.0))),
        3 => Expr::Literal(Some(V::BoolValue(rng.chance(50)))),
        4 => Expr::Literal(Some(V::StringValue(key(rng).into()))),
        5 => Expr::Sum(Box::new(number(rng, place)), Box::new(number(rng, place))),
        _ => Expr::Path(path(rng, place)),
    }
}

fn number(rng: &mut Rng, place: Place) -> Expr {
    match rng.below(3) {
        0 | 1 => Expr::Path(path(rng, place)),
        _ => Expr::Literal(Some(V::IntValue(rng.below(100) as i64))),
    }
}

fn statement(rng: &mut Rng, place: Place) -> Statement {
    let edit = match rng.below(9) {
        0 => Edit::DeleteKey(level(rng, place), key(rng)),
        1 => Edit::KeepKeys(level(rng, place), vec![key(rng), key(rng)]),
        2 => Edit::Merge(
            level(rng, place),
            level(rng, place),
            ["insert", "update", "upsert"][rng.below(3)],
        ),
        3 => Edit::Limit(level(rng, place), rng.below(4)),
        _ => Edit::Set(path(rng, place), expr(rng, place)),
    };
    let op = *rng.pick(&["==", "!=", "<", "<=", ">", ">="]);
    let condition = rng.chance(50).then(|| (op, expr(rng, place), expr(rng, place)));
    Statement { edit, condition }
}

impl Place {
    /// The name of what a level's items are.
    fn name(self, level: Level) -> &'static str {
        match (level, self.context) {
            (Level::Resource, _) => "resource",
            (Level::Scope, _) => "scope",
            (Level::Upper, Context::SpanEvent) => "span",
            (Level::Upper, _) => "metric",
            (Level::Own, context) => context.name(),
        }
    }

    /// The path of a level's attributes.
    fn attrs(self, level: Level) -> String {
        match self.name(level) {
            "metric" => "metric.metadata".into(),
            name => format!("{name}.attributes"),
        }
    }
}

fn path_text(path: &Path, place: Place) -> String {
    match path {
        Path::Attr(level, key) => format!("{}[{key:?}]", place.attrs(*level)),
        Path::Deep(one, two) => format!("{}[{one:?}][{two:?}]", place.attrs(Level::Own)),
        Path::Field(level, field) => format!("{}.{field}", place.name(*level)),
    }
}

fn expr_text(e: &Expr, place: Place) -> String {
    match e {
        Expr::Literal(None) => "nil".into(),
        Expr::Literal(Some(V::StringValue(text))) => format!("{text:?}"),
        Expr::Literal(Some(V::IntValue(i))) => i.to_string(),
        Expr::Literal(Some(V::DoubleValue(f))) => format!("{f:?}"),
        Expr::Literal(Some(V::BoolValue(b))) => b.to_string(),
        Expr::Literal(other) => panic!("no such literal is made: {other:?}"),
        Expr::Path(path) => path_text(path, place),
        Expr::Sum(a, b) => format!("{} + {}", expr_text(a, place), expr_text(b, place)),
    }
}

fn text(s: &Statement, place: Place) -> String {
    let edit = match &s.edit {
        Edit::Set(path, e) => format!("set({}, {})", path_text(path, place), expr_text(e, place)),
        Edit::DeleteKey(level, key) => format!("delete_key({}, {key:?})", place.attrs(*level)),
        Edit::KeepKeys(level, keys) => format!("keep_keys({}, {keys:?})", place.attrs(*level)),
        Edit::Merge(to, from, how) => {
            format!(
                "merge_maps({}, {}, {how:?})",
                place.attrs(*to),
                place.attrs(*from)
            )
        }
        Edit::Limit(level, n) => format!("limit({}, {n}, [])", place.attrs(*level)),
    };
    match &s.condition {
        Some((op, a, b)) => format!(
            "{edit} where {} {op} {}",
            expr_text(a, place),
            expr_text(b, place)
        ),
        None => edit,
    }
}

// --- Naive ---

struct Item<'a> {
    resource: &'a mut Resource,
    scope: &'a mut InstrumentationScope,
    upper: Option<Own<'a>>,
    own: Own<'a>,
}

/// A record, or what lies in one.
enum Own<'a> {
    Log(&'a mut LogRecord),
    Span(&'a mut Span),
    Event(&'a mut span::Event),
    Metric(&'a mut m::Metric),
    Number(&'a mut m::NumberDataPoint),
    Histogram(&'a mut m::HistogramDataPoint),
    Exponential(&'a mut m::ExponentialHistogramDataPoint),
    Summary(&'a mut m::SummaryDataPoint),
}

/// A field by its type.
enum Field<'a> {
    Any(&'a mut Option<AnyValue>),
    Text(&'a mut String),
    I32(&'a mut i32),
    U32(&'a mut u32),
    U64(&'a mut u64),
    Double(&'a mut f64),
    MaybeDouble(&'a mut Option<f64>),
    Int(&'a mut Option<N>),
    Float(&'a mut Option<N>),
    /// Of another kind of point.
    None,
}

impl Own<'_> {
    fn attrs(&mut self) -> &mut Vec<KeyValue> {
        match self {
            Own::Log(log) => &mut log.attributes,
            Own::Span(span) => &mut span.attributes,
            Own::Event(event) => &mut event.attributes,
            Own::Metric(metric) => &mut metric.metadata,
            Own::Number(point) => &mut point.attributes,
            Own::Histogram(point) => &mut point.attributes,
            Own::Exponential(point) => &mut point.attributes,
            Own::Summary(point) => &mut point.attributes,
        }
    }

    fn field(&mut self, name: &str) -> Field<'_> {
        use Field::{Any, Double, Float, I32, Int, MaybeDouble, Text, U32, U64};
        match (self, name) {
            (Own::Log(log), "body") => Any(&mut log.body),
            (Own::Log(log), "severity_text") => Text(&mut log.severity_text),
            (Own::Log(log), "severity_number") => I32(&mut log.severity_number),
            (Own::Log(log), "flags") => U32(&mut log.flags),
            (Own::Log(log), "time_unix_nano") => U64(&mut log.time_unix_nano),
            (Own::Log(log), "event_name") => Text(&mut log.event_name),
            (Own::Span(span), "name") => Text(&mut span.name),
            (Own::Span(span), "kind") => I32(&mut span.kind),
            (Own::Span(span), "trace_state") => Text(&mut span.trace_state),
            (Own::Span(span), "start_time_unix_nano") => U64(&mut span.start_time_unix_nano),
            (Own::Span(span), "dropped_events_count") => U32(&mut span.dropped_events_count),
            (Own::Event(event), "name") => Text(&mut event.name),
            (Own::Event(event), "time_unix_nano") => U64(&mut event.time_unix_nano),
            (Own::Event(event), "dropped_attributes_count") => U32(&mut event.dropped_attributes_count),
            (Own::Metric(metric), "name") => Text(&mut metric.name),
            (Own::Metric(metric), "description") => Text(&mut metric.description),
            (Own::Metric(metric), "unit") => Text(&mut metric.unit),
            (Own::Number(point), "value_int") => Int(&mut point.value),
            (Own::Number(point), "value_double") => Float(&mut point.value),
            (Own::Number(point), "time_unix_nano") => U64(&mut point.time_unix_nano),
            (Own::Histogram(point), "time_unix_nano") => U64(&mut point.time_unix_nano),
            (Own::Exponential(point), "time_unix_nano") => U64(&mut point.time_unix_nano),
            (Own::Summary(point), "time_unix_nano") => U64(&mut point.time_unix_nano),
            (Own::Number(point), "flags") => U32(&mut point.flags),
            (Own::Histogram(point), "flags") => U32(&mut point.flags),
            (Own::Exponential(point), "flags") => U32(&mut point.flags),
            (Own::Summary(point), "flags") => U32(&mut point.flags),
            (Own::Histogram(point), "count") => U64(&mut point.count),
            (Own::Exponential(point), "count") => U64(&mut point.count),
            (Own::Summary(point), "count") => U64(&mut point.count),
            (Own::Histogram(point), "sum") => MaybeDouble(&mut point.sum),
            (Own::Exponential(point), "sum") => MaybeDouble(&mut point.sum),
            (Own::Summary(point), "sum") => Double(&mut point.sum),
            _ => Field::None,
        }
    }
}

impl Field<'_> {
    fn get(self) -> Option<V> {
        Some(match self {
            Field::Any(value) => return inner(value.as_ref()),
            Field::Text(text) => V::StringValue(text.clone()),
            Field::I32(i) => V::IntValue((*i).into()),
            Field::U32(i) => V::IntValue((*i).into()),
            Field::U64(i) => V::IntValue(*i as i64),
            Field::Double(f) => V::DoubleValue(*f),
            Field::MaybeDouble(f) => V::DoubleValue(f.unwrap_or(0.0)),
            Field::Int(Some(N::AsInt(i))) => V::IntValue(*i),
            Field::Int(_) => V::IntValue(0),
            Field::Float(Some(N::AsDouble(f))) => V::DoubleValue(*f),
            Field::Float(_) => V::DoubleValue(0.0),
            Field::None => return None,
        })
    }

    fn set(self, value: V) -> Result<(), ()> {
        match (self, value) {
            (Field::Any(field), value) => *field = Some(any(value)),
            (Field::Text(field), V::StringValue(text)) => *field = text,
            (Field::I32(field), V::IntValue(i)) => *field = i as i32,
            (Field::U32(field), V::IntValue(i)) => *field = i as u32,
            (Field::U64(field), V::IntValue(i)) => *field = i as u64,
            (Field::Double(field), V::DoubleValue(f)) => *field = f,
            (Field::MaybeDouble(field), V::DoubleValue(f)) => *field = Some(f),
            (Field::Int(field), V::IntValue(i)) => *field = Some(N::AsInt(i)),
            (Field::Float(field), V::DoubleValue(f)) => *field = Some(N::AsDouble(f)),
            _ => return Err(()),
        }
        Ok(())
    }
}

fn inner(value: Option<&AnyValue>) -> Option<V> {
    value
        .and_then(|v| v.value.clone())
        .filter(|v| !matches!(v, V::StringValueStrindex(_)))
}

fn find<'a>(attrs: &'a [KeyValue], key: &str) -> Option<&'a KeyValue> {
    attrs.iter().find(|kv| kv.key == key)
}

fn put(attrs: &mut Vec<KeyValue>, key: &str, value: AnyValue) {
    match attrs.iter_mut().find(|kv| kv.key == key) {
        Some(kv) => kv.value = Some(value),
        None => attrs.push(KeyValue {
            key: key.into(),
            value: Some(value),
            ..KeyValue::default()
        }),
    }
}

impl Item<'_> {
    fn attrs(&mut self, level: Level) -> &mut Vec<KeyValue> {
        match level {
            Level::Resource => &mut self.resource.attributes,
            Level::Scope => &mut self.scope.attributes,
            Level::Upper => self.upper.as_mut().expect("the context has one").attrs(),
            Level::Own => self.own.attrs(),
        }
    }

    fn field(&mut self, level: Level, name: &str) -> Field<'_> {
        match level {
            Level::Upper => self.upper.as_mut().expect("the context has one").field(name),
            _ => self.own.field(name),
        }
    }

    fn get(&mut self, path: &Path) -> Result<Option<V>, ()> {
        Ok(match path {
            Path::Attr(level, key) => find(self.attrs(*level), key).and_then(|kv| inner(kv.value.as_ref())),
            Path::Deep(one, two) => match find(self.own.attrs(), one) {
                None => None,
                Some(kv) => match inner(kv.value.as_ref()) {
                    Some(V::KvlistValue(map)) => {
                        find(&map.values, two).and_then(|kv| inner(kv.value.as_ref()))
                    }
                    _ => return Err(()),
                },
            },
            Path::Field(level, name) => self.field(*level, name).get(),
        })
    }

    fn eval(&mut self, e: &Expr) -> Result<Option<V>, ()> {
        match e {
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Path(path) => self.get(path),
            Expr::Sum(a, b) => match (self.eval(a)?, self.eval(b)?) {
                (Some(V::IntValue(a)), Some(V::IntValue(b))) => Ok(Some(V::IntValue(a.wrapping_add(b)))),
                (Some(V::DoubleValue(a)), Some(V::IntValue(b))) => Ok(Some(V::DoubleValue(a + b as f64))),
                (Some(V::IntValue(a)), Some(V::DoubleValue(b))) => Ok(Some(V::DoubleValue(a as f64 + b))),
                (Some(V::DoubleValue(a)), Some(V::DoubleValue(b))) => Ok(Some(V::DoubleValue(a + b))),
                _ => Err(()),
            },
        }
    }

    fn set(&mut self, path: &Path, value: V) -> Result<(), ()> {
        match (path, value) {
            (Path::Attr(level, key), value) => put(self.attrs(*level), key, any(value)),
            (Path::Deep(one, two), value) => {
                let old = find(self.own.attrs(), one).and_then(|kv| inner(kv.value.as_ref()));
                let mut map = match old {
                    None => Vec::new(),
                    Some(V::KvlistValue(map)) => map.values,
                    Some(_) => return Err(()),
                };
                put(&mut map, two, any(value));
                let map = opentelemetry_proto::tonic::common::v1::KeyValueList { values: map };
                put(self.own.attrs(), one, any(V::KvlistValue(map)));
            }
            (Path::Field(level, name), value) => return self.field(*level, name).set(value),
        }
        Ok(())
    }

    fn run(&mut self, s: &Statement) -> Result<(), ()> {
        if let Some((op, a, b)) = &s.condition {
            let (a, b) = (self.eval(a)?, self.eval(b)?);
            if !holds(op, a.as_ref(), b.as_ref()) {
                return Ok(());
            }
        }
        match &s.edit {
            Edit::Set(path, e) => match self.eval(e)? {
                Some(value) => return self.set(path, value),
                None => return Ok(()),
            },
            Edit::DeleteKey(level, key) => {
                let attrs = self.attrs(*level);
                if let Some(i) = attrs.iter().position(|kv| kv.key == *key) {
                    attrs.swap_remove(i);
                }
            }
            Edit::KeepKeys(level, keys) => self.attrs(*level).retain(|kv| keys.contains(&kv.key.as_str())),
            Edit::Merge(to, from, how) => {
                let source = self.attrs(*from).clone();
                let target = self.attrs(*to);
                for kv in source {
                    let there = find(target, &kv.key).is_some();
                    if *how == "upsert" || there == (*how == "update") {
                        put(target, &kv.key, kv.value.unwrap_or_default());
                    }
                }
            }
            Edit::Limit(level, n) => self.attrs(*level).truncate(*n),
        }
        Ok(())
    }
}

fn holds(op: &str, a: Option<&V>, b: Option<&V>) -> bool {
    use std::cmp::Ordering;
    let ordering = match (a, b) {
        (None, None) => Some(Ordering::Equal),
        (Some(V::BoolValue(a)), Some(V::BoolValue(b))) => Some(a.cmp(b)),
        (Some(V::IntValue(a)), Some(V::IntValue(b))) => Some(a.cmp(b)),
        (Some(V::IntValue(a)), Some(V::DoubleValue(b))) => (*a as f64).partial_cmp(b),
        (Some(V::DoubleValue(a)), Some(V::IntValue(b))) => a.partial_cmp(&(*b as f64)),
        (Some(V::DoubleValue(a)), Some(V::DoubleValue(b))) => a.partial_cmp(b),
        (Some(V::StringValue(a)), Some(V::StringValue(b))) => Some(a.cmp(b)),
        (Some(V::BytesValue(a)), Some(V::BytesValue(b))) => Some(a.cmp(b)),
        _ => {
            let equal = same(a, b);
            return if op == "==" { equal } else { op == "!=" && !equal };
        }
    };
    match op {
        "==" => ordering == Some(Ordering::Equal),
        "!=" => ordering != Some(Ordering::Equal),
        "<" => ordering == Some(Ordering::Less),
        "<=" => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        ">" => ordering == Some(Ordering::Greater),
        _ => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
    }
}

/// Deep equality; maps have no order, and of equal keys the first counts.
fn same(a: Option<&V>, b: Option<&V>) -> bool {
    match (a, b) {
        (Some(V::ArrayValue(a)), Some(V::ArrayValue(b))) => {
            let pairs = a.values.iter().zip(&b.values);
            a.values.len() == b.values.len() && { pairs }
                .all(|(a, b)| same(inner(Some(a)).as_ref(), inner(Some(b)).as_ref()))
        }
        (Some(V::KvlistValue(a)), Some(V::KvlistValue(b))) => {
            a.values.len() == b.values.len()
                && a.values.iter().all(|kv| {
                    let other = find(&b.values, &kv.key);
                    other.is_some_and(|o| {
                        same(
                            inner(kv.value.as_ref()).as_ref(),
                            inner(o.value.as_ref()).as_ref(),
                        )
                    })
                })
        }
        _ => a == b,
    }
}

/// A program on its way over a request.
struct Naive<'p> {
    program: &'p [Statement],
    failed: usize,
}

impl Naive<'_> {
    fn item<'a>(
        &mut self,
        (resource, scope): (&'a mut Resource, &'a mut InstrumentationScope),
        upper: Option<Own<'a>>,
        own: Own<'a>,
    ) {
        let mut item = Item {
            resource,
            scope,
            upper,
            own,
        };
        for statement in self.program {
            self.failed += usize::from(item.run(statement).is_err());
        }
    }

    fn metric(
        &mut self,
        metric: &mut m::Metric,
        resource: &mut Resource,
        scope: &mut InstrumentationScope,
        context: Context,
    ) {
        if context == Context::Metric {
            return self.item((resource, scope), None, Own::Metric(metric));
        }
        let mut data = metric.data.take();
        macro_rules! each {
            ($points:expr, $own:path) => {
                for point in &mut $points {
                    self.item((resource, scope), Some(Own::Metric(metric)), $own(point));
                }
            };
        }
        match &mut data {
            None => {}
            Some(Data::Gauge(d)) => each!(d.data_points, Own::Number),
            Some(Data::Sum(d)) => each!(d.data_points, Own::Number),
            Some(Data::Histogram(d)) => each!(d.data_points, Own::Histogram),
            Some(Data::ExponentialHistogram(d)) => each!(d.data_points, Own::Exponential),
            Some(Data::Summary(d)) => each!(d.data_points, Own::Summary),
        }
        metric.data = data;
    }
}

/// Runs a program on each item in turn, as the language says.
fn naive(request: &mut Request, program: &[Statement], context: Context) -> usize {
    let mut run = Naive { program, failed: 0 };
    // A message comes into being when something is in it.
    macro_rules! groups {
        ($groups:expr, $scopes:ident, $items:ident, ($item:ident, $resource:ident, $scope:ident) => $body:expr) => {
            for group in &mut $groups {
                let mut resource = group.resource.clone().unwrap_or_default();
                for scoped in &mut group.$scopes {
                    let mut scope = scoped.scope.clone().unwrap_or_default();
                    for $item in &mut scoped.$items {
                        let ($resource, $scope) = (&mut resource, &mut scope);
                        $body
                    }
                    if scoped.scope.is_some() || scope != InstrumentationScope::default() {
                        scoped.scope = Some(scope);
                    }
                }
                if group.resource.is_some() || resource != Resource::default() {
                    group.resource = Some(resource);
                }
            }
        };
    }
    match request {
        Request::Logs(logs) => {
            groups!(logs.resource_logs, scope_logs, log_records, (log, resource, scope) => {
                run.item((resource, scope), None, Own::Log(log));
            })
        }
        Request::Traces(traces) => {
            groups!(traces.resource_spans, scope_spans, spans, (span, resource, scope) => {
                if context == Context::Span {
                    run.item((resource, scope), None, Own::Span(span));
                    continue;
                }
                for i in 0..span.events.len() {
                    let mut event = std::mem::take(&mut span.events[i]);
                    run.item((resource, scope), Some(Own::Span(span)), Own::Event(&mut event));
                    span.events[i] = event;
                }
            })
        }
        Request::Metrics(metrics) => {
            groups!(metrics.resource_metrics, scope_metrics, metrics, (metric, resource, scope) => {
                run.metric(metric, resource, scope, context);
            });
        }
    }
    run.failed
}

/// What means the same in two forms gets one: indices into a dictionary mean nothing here, and an absent value is an empty
/// one.
fn plain(request: &mut Request) {
    fn clear(attrs: &mut [KeyValue]) {
        for kv in attrs {
            kv.key_strindex = 0;
            value(kv.value.get_or_insert_default());
        }
    }
    fn value(v: &mut AnyValue) {
        match &mut v.value {
            Some(V::ArrayValue(list)) => list.values.iter_mut().for_each(value),
            Some(V::KvlistValue(map)) => clear(&mut map.values),
            _ => {}
        }
    }
    macro_rules! groups {
        ($groups:expr, $scopes:ident, $items:ident, $each:expr) => {
            for group in &mut $groups {
                group
                    .resource
                    .iter_mut()
                    .for_each(|r| clear(&mut r.attributes));
                for scoped in &mut group.$scopes {
                    scoped
                        .scope
                        .iter_mut()
                        .for_each(|s| clear(&mut s.attributes));
                    scoped.$items.iter_mut().for_each($each);
                }
            }
        };
    }
    match request {
        Request::Logs(logs) => groups!(
            logs.resource_logs,
            scope_logs,
            log_records,
            |log: &mut LogRecord| {
                clear(&mut log.attributes);
                log.body.iter_mut().for_each(value);
            }
        ),
        Request::Traces(traces) => groups!(traces.resource_spans, scope_spans, spans, |span: &mut Span| {
            clear(&mut span.attributes);
            span.events
                .iter_mut()
                .for_each(|event| clear(&mut event.attributes));
        }),
        Request::Metrics(metrics) => {
            groups!(
                metrics.resource_metrics,
                scope_metrics,
                metrics,
                |metric: &mut m::Metric| {
                    clear(&mut metric.metadata);
                    match &mut metric.data {
                        None => {}
                        Some(Data::Gauge(d)) => {
                            d.data_points.iter_mut().for_each(|p| clear(&mut p.attributes))
                        }
                        Some(Data::Sum(d)) => d.data_points.iter_mut().for_each(|p| clear(&mut p.attributes)),
                        Some(Data::Histogram(d)) => {
                            d.data_points.iter_mut().for_each(|p| clear(&mut p.attributes))
                        }
                        Some(Data::ExponentialHistogram(d)) => {
                            d.data_points.iter_mut().for_each(|p| clear(&mut p.attributes));
                        }
                        Some(Data::Summary(d)) => {
                            d.data_points.iter_mut().for_each(|p| clear(&mut p.attributes))
                        }
                    }
                }
            );
        }
    }
}

/// Both sides of one random program; whether it did anything.
fn compare(seed: u64) -> bool {
    let rng = &mut Rng(seed);
    let &(context, signal, fields, upper) = rng.pick(&CONTEXTS);
    let place = Place {
        context,
        fields,
        upper,
    };
    let mut request = Request::random(signal, rng);
    plain(&mut request);
    let bytes = request.encode();
    let count = 1 + rng.below(6);
    let program: Vec<Statement> = (0..count).map(|_| statement(rng, place)).collect();
    let texts: Vec<String> = program.iter().map(|s| text(s, place)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let compiled = Program::new(&Group {
        signal,
        functions: Functions::Transform,
        context: Some(context),
        conditions: &[],
        statements: &texts,
    });
    let compiled = compiled.unwrap_or_else(|faults| panic!("{faults}"));
    let before = request.clone();
    let failed = naive(&mut request, &program, context);
    let mut scratch = ViewScratch::default();
    let mut view = View::new(&mut scratch, signal, &bytes, compiled.depth()).expect("it is well formed");
    let mut errors = 0;
    let ran = with_env(|env| {
        compiled.run(
            &mut view,
            env,
            &mut Scratch::default(),
            ErrorMode::Ignore,
            &mut |_, _| errors += 1,
        )
    });
    assert_eq!((ran, errors), (Ok(()), failed), "{texts:?}");
    let bytes = match view.finish() {
        Finished::Unchanged => bytes,
        Finished::Edited { bytes, .. } => bytes,
    };
    let got = Request::decode(signal, &bytes).expect("what was written can be read");
    // NaN is not equal to itself, so what is compared is the text.
    let (got, expected) = (format!("{got:?}"), format!("{request:?}"));
    if let Some(at) = got.bytes().zip(expected.bytes()).position(|(a, b)| a != b) {
        let around = |text: &str| {
            let (from, to) = (
                text.floor_char_boundary(at.saturating_sub(200)),
                text.ceil_char_boundary(at + 100),
            );
            text[from..to.min(text.len())].to_owned()
        };
        panic!(
            "{texts:?}\n     got {}\nexpected {}",
            around(&got),
            around(&expected)
        );
    }
    assert_eq!(got.len(), expected.len(), "{texts:?}");
    format!("{before:?}") != format!("{request:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn programs_do_the_same_as_on_prost_types(seed: u64) {
        compare(seed);
    }
}

/// Random programs are no good if they do nothing.
#[test]
fn most_programs_change_something() {
    let changed = (0..200).filter(|seed| compare(*seed)).count();
    assert!(changed > 60, "{changed} of 200");
}

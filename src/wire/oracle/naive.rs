//! The naive twin of a view: the nodes of a prost request, in the view's order.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric};

use crate::test_kit::Request;
use crate::view::Kind;

/// What a node has that can be read and written.
pub(crate) struct Node<'a> {
    pub(crate) kind: Kind,
    pub(crate) attrs: &'a mut Vec<KeyValue>,
    pub(crate) body: Option<&'a mut Option<AnyValue>>,
    pub(crate) texts: Vec<(u32, &'a mut String)>,
    pub(crate) numbers: Vec<(u32, Number<'a>)>,
}

pub(crate) enum Number<'a> {
    U64(&'a mut u64),
    U32(&'a mut u32),
    I32(&'a mut i32),
}

impl Number<'_> {
    pub(crate) fn get(&self) -> u64 {
        match self {
            Number::U64(n) => **n,
            Number::U32(n) => u64::from(**n),
            Number::I32(n) => **n as i64 as u64,
        }
    }

    pub(crate) fn set(&mut self, value: u64) {
        match self {
            Number::U64(n) => **n = value,
            Number::U32(n) => **n = value as u32,
            Number::I32(n) => **n = value as i32,
        }
    }
}

/// Writes through a default where a message is absent, and keeps it only if something was written.
fn within<T: Default + PartialEq>(slot: &mut Option<T>, f: impl FnOnce(&mut T)) {
    let absent = slot.is_none();
    let value = slot.get_or_insert_default();
    f(value);
    if absent && *value == T::default() {
        *slot = None;
    }
}

macro_rules! groups {
    ($request:expr, $f:expr, $groups:ident, $scopes:ident, $records:ident, $visit:expr) => {
        for group in &mut $request.$groups {
            let schema_url = &mut group.schema_url;
            within(&mut group.resource, |r| {
                $f(Node {
                    kind: Kind::Resource,
                    attrs: &mut r.attributes,
                    body: None,
                    texts: vec![(3, schema_url)],
                    numbers: vec![(2, Number::U32(&mut r.dropped_attributes_count))],
                })
            });
            for scope in &mut group.$scopes {
                let schema_url = &mut scope.schema_url;
                within(&mut scope.scope, |s| {
                    $f(Node {
                        kind: Kind::Scope,
                        attrs: &mut s.attributes,
                        body: None,
                        texts: vec![(1, &mut s.name), (2, &mut s.version), (3, schema_url)],
                        numbers: vec![(4, Number::U32(&mut s.dropped_attributes_count))],
                    })
                });
                for record in &mut scope.$records {
                    $visit(record, $f);
                }
            }
        }
    };
}

/// Calls `f` for every node, in pre-order.
pub(crate) fn visit(request: &mut Request, f: &mut dyn FnMut(Node<'_>)) {
    match request {
        Request::Logs(r) => groups!(r, f, resource_logs, scope_logs, log_records, log_record),
        Request::Traces(r) => groups!(r, f, resource_spans, scope_spans, spans, span),
        Request::Metrics(r) => groups!(r, f, resource_metrics, scope_metrics, metrics, metric),
    }
}

fn log_record(r: &mut opentelemetry_proto::tonic::logs::v1::LogRecord, f: &mut dyn FnMut(Node<'_>)) {
    f(Node {
        kind: Kind::LogRecord,
        attrs: &mut r.attributes,
        body: Some(&mut r.body),
        texts: vec![(3, &mut r.severity_text), (12, &mut r.event_name)],
        numbers: vec![
            (1, Number::U64(&mut r.time_unix_nano)),
            (2, Number::I32(&mut r.severity_number)),
            (8, Number::U32(&mut r.flags)),
        ],
    });
}

fn span(s: &mut opentelemetry_proto::tonic::trace::v1::Span, f: &mut dyn FnMut(Node<'_>)) {
    f(Node {
        kind: Kind::Span,
        attrs: &mut s.attributes,
        body: None,
        texts: vec![(3, &mut s.trace_state), (5, &mut s.name)],
        numbers: vec![
            (6, Number::I32(&mut s.kind)),
            (7, Number::U64(&mut s.start_time_unix_nano)),
            (16, Number::U32(&mut s.flags)),
        ],
    });
    for e in &mut s.events {
        f(Node {
            kind: Kind::Event,
            attrs: &mut e.attributes,
            body: None,
            texts: vec![(2, &mut e.name)],
            numbers: vec![(1, Number::U64(&mut e.time_unix_nano))],
        });
    }
    for l in &mut s.links {
        f(Node {
            kind: Kind::Link,
            attrs: &mut l.attributes,
            body: None,
            texts: vec![(3, &mut l.trace_state)],
            numbers: vec![(6, Number::U32(&mut l.flags))],
        });
    }
}

fn metric(m: &mut Metric, f: &mut dyn FnMut(Node<'_>)) {
    let mut numbers = Vec::new();
    match &mut m.data {
        Some(Data::Sum(d)) => numbers.push((2, Number::I32(&mut d.aggregation_temporality))),
        Some(Data::Histogram(d)) => numbers.push((2, Number::I32(&mut d.aggregation_temporality))),
        Some(Data::ExponentialHistogram(d)) => numbers.push((2, Number::I32(&mut d.aggregation_temporality))),
        _ => {}
    }
    f(Node {
        kind: Kind::Metric,
        attrs: &mut m.metadata,
        body: None,
        texts: vec![(1, &mut m.name), (2, &mut m.description), (3, &mut m.unit)],
        numbers,
    });
    macro_rules! points {
        ($points:expr, $kind:ident, $flags:literal) => {
            for p in $points {
                f(Node {
                    kind: Kind::$kind,
                    attrs: &mut p.attributes,
                    body: None,
                    texts: vec![],
                    numbers: vec![
                        (3, Number::U64(&mut p.time_unix_nano)),
                        ($flags, Number::U32(&mut p.flags)),
                    ],
                });
                points!(@exemplars $kind, p);
            }
        };
        (@exemplars SummaryPoint, $p:ident) => {};
        (@exemplars $kind:ident, $p:ident) => {
            for e in &mut $p.exemplars {
                exemplar(e, f);
            }
        };
    }
    match &mut m.data {
        None => {}
        Some(Data::Gauge(d)) => points!(&mut d.data_points, NumberPoint, 8),
        Some(Data::Sum(d)) => points!(&mut d.data_points, NumberPoint, 8),
        Some(Data::Histogram(d)) => points!(&mut d.data_points, HistogramPoint, 10),
        Some(Data::ExponentialHistogram(d)) => points!(&mut d.data_points, ExpHistogramPoint, 10),
        Some(Data::Summary(d)) => points!(&mut d.data_points, SummaryPoint, 8),
    }
}

fn exemplar(e: &mut Exemplar, f: &mut dyn FnMut(Node<'_>)) {
    f(Node {
        kind: Kind::Exemplar,
        attrs: &mut e.filtered_attributes,
        body: None,
        texts: vec![],
        numbers: vec![(2, Number::U64(&mut e.time_unix_nano))],
    });
}

/// Removes nodes by number, and what is left empty by that.
pub(crate) fn prune(request: &mut Request, removed: &[u32]) {
    let mut next = 0;
    let mut gone = move || {
        next += 1;
        removed.contains(&(next - 1))
    };
    fn leaf<T, G>(_: &mut T, _: &mut G) -> bool {
        false
    }
    match request {
        Request::Logs(r) => {
            prune_list(&mut r.resource_logs, &mut gone, |g, gone| {
                prune_list(&mut g.scope_logs, gone, |s, gone| {
                    prune_list(&mut s.log_records, gone, leaf)
                })
            });
        }
        Request::Traces(r) => {
            prune_list(&mut r.resource_spans, &mut gone, |g, gone| {
                prune_list(&mut g.scope_spans, gone, |s, gone| {
                    prune_list(&mut s.spans, gone, |s, gone| {
                        prune_list(&mut s.events, gone, leaf);
                        prune_list(&mut s.links, gone, leaf);
                        false
                    })
                })
            });
        }
        Request::Metrics(r) => {
            prune_list(&mut r.resource_metrics, &mut gone, |g, gone| {
                prune_list(&mut g.scope_metrics, gone, |s, gone| {
                    prune_list(&mut s.metrics, gone, |m, gone| match &mut m.data {
                        None => false,
                        Some(Data::Gauge(d)) => prune_list(&mut d.data_points, gone, |p, gone| {
                            prune_list(&mut p.exemplars, gone, leaf);
                            false
                        }),
                        Some(Data::Sum(d)) => prune_list(&mut d.data_points, gone, |p, gone| {
                            prune_list(&mut p.exemplars, gone, leaf);
                            false
                        }),
                        Some(Data::Histogram(d)) => prune_list(&mut d.data_points, gone, |p, gone| {
                            prune_list(&mut p.exemplars, gone, leaf);
                            false
                        }),
                        Some(Data::ExponentialHistogram(d)) => {
                            prune_list(&mut d.data_points, gone, |p, gone| {
                                prune_list(&mut p.exemplars, gone, leaf);
                                false
                            })
                        }
                        Some(Data::Summary(d)) => prune_list(&mut d.data_points, gone, leaf),
                    })
                })
            });
        }
    }
}

/// Keeps the children that are not gone; true if one went and none is left.
fn prune_list<T, G: FnMut() -> bool>(
    list: &mut Vec<T>,
    gone: &mut G,
    mut below: impl FnMut(&mut T, &mut G) -> bool,
) -> bool {
    let before = list.len();
    list.retain_mut(|item| {
        let this = gone();
        let bereft = below(item, gone);
        !this && !bereft
    });
    list.len() < before && list.is_empty()
}

/// Evens out what a write may change without changing a meaning: an entry that is written again has a value.
pub(crate) fn fill_values(request: &mut Request) {
    visit(request, &mut |node| {
        for kv in node.attrs {
            kv.value.get_or_insert_default();
            // Refers to a dictionary that these signals do not have; not kept by a write.
            kv.key_strindex = 0;
        }
    });
    // An empty resource or scope says as much as none.
    macro_rules! drop_empty {
        ($groups:expr, $scopes:ident) => {
            for group in $groups {
                group.resource.take_if(|r| *r == Default::default());
                for scope in &mut group.$scopes {
                    scope.scope.take_if(|s| *s == Default::default());
                }
            }
        };
    }
    match request {
        Request::Logs(r) => drop_empty!(&mut r.resource_logs, scope_logs),
        Request::Traces(r) => drop_empty!(&mut r.resource_spans, scope_spans),
        Request::Metrics(r) => drop_empty!(&mut r.resource_metrics, scope_metrics),
    }
}

/// Items as the collector counts them.
pub(crate) fn items(request: &mut Request) -> u32 {
    let mut items = 0;
    visit(request, &mut |node| items += u32::from(node.kind.is_item()));
    items
}

//! What is counted: definitions of metrics compiled, and the counts of one resource.

use std::collections::{BTreeMap, HashMap};

use component::prelude::*;
use component::statements::Ignored;
use ottl::{Env, ErrorMode, Program};
use wire::view::{NewValue, NodeId, Value, View, any_encode, identity};
use wire::write;

use super::config::{Metric, Scalar};

/// Metrics over items of one kind.
pub(super) struct Table {
    definitions: Vec<Definition>,
    /// Whether the items' own attributes count: those of metrics are metadata, and do not.
    has_attributes: bool,
}

struct Definition {
    name: Box<str>,
    description: Box<str>,
    attributes: Vec<Attribute>,
    conditions: Option<Program>,
}

struct Attribute {
    key: Box<[u8]>,
    /// Encoded, if there is one.
    default: Option<Vec<u8>>,
}

/// Counts of one resource.
#[derive(Default)]
pub(super) struct Counts {
    /// By definition, in the order in which sets of attributes appeared.
    points: Vec<Vec<Point>>,
    /// Place of a set of attributes among the points of a definition.
    places: HashMap<(usize, Box<[u8]>), usize>,
    /// Earliest and latest time of the items, also of those not counted; 0 if none has one.
    times: (u64, u64),
}

struct Point {
    /// `KeyValue` fields of a number data point.
    attributes: Vec<u8>,
    count: u64,
}

/// What items are looked at with, kept from one to the next.
pub(super) struct Look<'a, 'e> {
    pub(super) env: &'a Env<'e>,
    pub(super) searches: &'a mut ottl::Scratch,
    pub(super) ignored: &'a mut Ignored,
    pub(super) content: Vec<u8>,
}

/// An item and what holds it.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) node: NodeId,
    pub(super) scope: NodeId,
    pub(super) resource: NodeId,
}

// Field numbers of a number data point.
const START: u32 = 2;
const TIME: u32 = 3;
const AS_INT: u32 = 6;
const ATTRIBUTES: u32 = 7;

impl Table {
    /// Compiles what stands under `key`. Faults are pushed with their places.
    pub(super) fn new(
        key: &str,
        (signal, context): (Signal, ottl::Context),
        metrics: &BTreeMap<String, Metric>,
        section: &Section,
        wrong: &mut Vec<config::Diag>,
    ) -> Table {
        let has_attributes = context != ottl::Context::Metric;
        let mut definitions = Vec::new();
        for (name, metric) in metrics {
            let place = format!("{key}.{name}");
            if name.is_empty() {
                wrong.push(section.diag(key, format!("{key}: metric name missing")));
            }
            if !has_attributes && !metric.attributes.is_empty() {
                let text = format!("metrics attributes not supported: metric {name:?}");
                wrong.push(section.diag(&place, text));
            }
            if metric.attributes.iter().any(|a| a.key.is_empty()) {
                let text = format!("{key} attributes: metric {name:?}: attribute key missing");
                wrong.push(section.diag(&place, text));
            }
            let conditions: Vec<&str> = metric.conditions.iter().map(String::as_str).collect();
            let group = ottl::Group {
                signal,
                functions: ottl::Functions::Conditions,
                context: Some(context),
                conditions: &conditions,
                statements: &[],
            };
            let program = Program::new(&group).map_err(|faults| {
                let tell = |fault: ottl::Fault| {
                    section.diag(&place, format!("{key} condition: metric {name:?}: {fault}"))
                };
                wrong.extend(faults.0.into_iter().map(tell));
            });
            definitions.push(Definition {
                name: name.as_str().into(),
                description: metric.description.as_str().into(),
                attributes: metric.attributes.iter().map(Attribute::new).collect(),
                conditions: program.ok().filter(|_| !conditions.is_empty()),
            });
        }
        Table {
            definitions,
            has_attributes,
        }
    }

    /// Counts an item for each definition that it fits.
    pub(super) fn count(&self, counts: &mut Counts, view: &View<'_>, item: Item, look: &mut Look<'_, '_>) {
        counts.points.resize_with(self.definitions.len(), Vec::new);
        for (i, definition) in self.definitions.iter().enumerate() {
            look.content.clear();
            let has_all = definition.attributes.iter().all(|attribute| {
                let value = self.value(view, item, attribute);
                value
                    .map(|value| identity::value(value, &mut look.content))
                    .is_some()
            });
            if !has_all {
                continue;
            }
            if let Some(conditions) = &definition.conditions {
                let ignored = &mut *look.ignored;
                let mut note = |text: &str, error: &ottl::Error| ignored.note(text, error);
                let mode = ErrorMode::Ignore;
                let holds = conditions.matches(view, item.node, look.env, look.searches, mode, &mut note);
                if !holds.unwrap_or(false) {
                    continue;
                }
            }
            let points = &mut counts.points[i];
            let key = (i, look.content.as_slice().into());
            let place = *counts.places.entry(key).or_insert_with(|| {
                let mut attributes = Vec::new();
                for attribute in &definition.attributes {
                    let Some(value) = self.value(view, item, attribute) else {
                        continue;
                    };
                    write::message(ATTRIBUTES, &mut attributes, |out| {
                        write::bytes(1, &attribute.key, out);
                        write::bytes(2, value.raw(), out);
                    });
                }
                points.push(Point { attributes, count: 0 });
                points.len() - 1
            });
            points[place].count += 1;
        }
    }

    fn value<'v>(&'v self, view: &'v View<'_>, item: Item, attribute: &'v Attribute) -> Option<Value<'v>> {
        let own = self.has_attributes.then_some(item.node);
        let nodes = own.into_iter().chain([item.scope, item.resource]);
        let found = nodes.filter_map(|n| view.get(n, &attribute.key)).next();
        found.or_else(|| attribute.default.as_deref().map(Value::new))
    }

    /// Appends the metrics of one resource to its scope, and gives how many points they have. `now` is the time of what
    /// has none.
    pub(super) fn write(&self, counts: &Counts, now: u64, out: &mut Vec<u8>) -> u64 {
        let (start, end) = match counts.times {
            (0, _) => (now, now),
            times => times,
        };
        let mut made = 0;
        for (definition, points) in self.definitions.iter().zip(&counts.points) {
            if points.is_empty() {
                continue;
            }
            made += points.len() as u64;
            write::message(2, out, |out| {
                write::bytes(1, definition.name.as_bytes(), out);
                if !definition.description.is_empty() {
                    write::bytes(2, definition.description.as_bytes(), out);
                }
                // A sum: delta, monotonic.
                write::message(7, out, |out| {
                    for point in points {
                        write::message(1, out, |out| {
                            write::fixed(START, start, out);
                            write::fixed(TIME, end, out);
                            write::fixed(AS_INT, point.count, out);
                            out.extend_from_slice(&point.attributes);
                        });
                    }
                    write::int(2, 1, out);
                    write::int(3, 1, out);
                });
            });
        }
        made
    }
}

impl Counts {
    /// Notes the time of an item; 0 is none.
    pub(super) fn at(&mut self, time: Option<u64>) {
        let Some(time) = time.filter(|&time| time != 0) else {
            return;
        };
        let (start, end) = &mut self.times;
        if *start == 0 {
            (*start, *end) = (time, time);
        } else {
            (*start, *end) = ((*start).min(time), (*end).max(time));
        }
    }

    /// Whether nothing was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.points.iter().all(Vec::is_empty)
    }
}

impl Attribute {
    fn new(written: &super::config::Attribute) -> Attribute {
        let default = written.default_value.as_ref().map(|value| {
            let mut out = Vec::new();
            let value = match value {
                Scalar::Bool(value) => NewValue::Bool(*value),
                Scalar::Int(value) => NewValue::Int(*value),
                Scalar::Double(value) => NewValue::Double(*value),
                Scalar::Text(text) => NewValue::Str(text.as_bytes()),
            };
            any_encode(value, &mut out);
            out
        });
        Attribute {
            key: written.key.as_bytes().into(),
            default,
        }
    }
}

//! Points that become one, since they no longer differ in an attribute.

use std::collections::HashMap;

use super::message::{Message, fixed_list, packed, varint_list};
use super::*;
use crate::functions::{Kind, Ready, of, opt, strs};
use wire::view::{NewValue, Value, any_encode};

pub(crate) const DEFS: &[Def] = &[
    Def::edit(
        "aggregate_on_attributes",
        &[
            of("aggregation_function", Kind::Str),
            opt("attributes", Kind::Strs),
        ],
        |args, cx| {
            with_metric(cx, |metric, _| {
                let attributes = attributes_of(metric.kind);
                // None listed at all keeps all, an empty list none.
                if let Arg::Ready(Ready::Strs(keys)) = &args[1] {
                    edit_points(metric, |point| {
                        point.retain_fields(|f| {
                            f.number != attributes || keys.iter().any(|k| k == key_of(&f.content))
                        });
                    })?;
                }
                merge(metric, &args[0])
            })
        },
    )
    .prepared(|args, _| {
        if matches!(args[1], Arg::List(_)) {
            args[1] = Arg::Ready(Ready::Strs(crate::compile::texts(&args[1])));
        }
        function(&args[0]).map(|_| ())
    })
    .shaping(METRIC),
    Def::edit(
        "aggregate_on_attribute_value",
        &[
            of("aggregation_function", Kind::Str),
            of("attribute", Kind::Str),
            of("values", Kind::Strs),
            of("new_value", Kind::Str),
        ],
        |args, cx| {
            with_metric(cx, |metric, _| {
                let attributes = attributes_of(metric.kind);
                let (key, values) = (lit_str(&args[1]).unwrap_or(b""), strs(&args[2]));
                let mut new = Vec::new();
                any_encode(NewValue::Str(lit_str(&args[3]).unwrap_or(b"")), &mut new);
                edit_points(metric, |point| {
                    let fields = point.fields_mut().iter_mut();
                    for field in fields.filter(|f| f.number == attributes && key_of(&f.content) == key) {
                        field.edit(|entry| {
                            let old = Value::new(entry.bytes(2)).as_str().unwrap_or(b"").to_vec();
                            if values.contains(&old) {
                                entry.set_bytes(2, new.clone());
                            }
                        });
                    }
                })?;
                merge(metric, &args[0])
            })
        },
    )
    .prepared(|args, _| {
        args[2] = Arg::Ready(Ready::Strs(crate::compile::texts(&args[2])));
        function(&args[0]).map(|_| ())
    })
    .shaping(METRIC),
];

/// How values become one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Sum,
    Max,
    Min,
    Mean,
    Median,
    Count,
}

fn function(arg: &Arg) -> std::result::Result<Function, String> {
    Ok(match lit_str(arg) {
        Some(b"sum") => Function::Sum,
        Some(b"max") => Function::Max,
        Some(b"min") => Function::Min,
        Some(b"mean") => Function::Mean,
        Some(b"median") => Function::Median,
        Some(b"count") => Function::Count,
        _ => {
            return Err(
                "the function must be \"sum\", \"max\", \"min\", \"mean\", \"median\" or \"count\"".into(),
            );
        }
    })
}

fn key_of(entry: &[u8]) -> &[u8] {
    let mut key = &[][..];
    for field in Fields::new(entry, 0).map_while(std::result::Result::ok) {
        if field.number == 1 {
            key = &entry[field.value..field.end];
        }
    }
    key
}

fn edit_points(metric: &mut Metric<'_>, mut change: impl FnMut(&mut Message<'_>)) -> Result<()> {
    if matches!(metric.kind, 0 | SUMMARY) {
        return Err(Error::text(format!(
            "a metric of type {} cannot be aggregated",
            metric.kind_name()
        )));
    }
    for field in metric.data.fields_mut().iter_mut().filter(|f| f.number == POINTS) {
        field.edit(&mut change);
    }
    Ok(())
}

/// What points must have in common to become one: attributes, time, and what their values depend on.
fn group_key(kind: u32, is_delta: bool, point: &Message<'_>) -> Vec<u8> {
    let mut attributes: Vec<&[u8]> = point.all(attributes_of(kind)).collect();
    attributes.sort_unstable();
    let mut key = Vec::new();
    for attribute in attributes {
        key.extend_from_slice(&(attribute.len() as u64).to_le_bytes());
        key.extend_from_slice(attribute);
    }
    let mut number = |n: u64| key.extend_from_slice(&n.to_le_bytes());
    number(point.fixed(TIME).unwrap_or(0));
    if is_delta {
        number(point.fixed(START).unwrap_or(0));
    }
    let extremes =
        |min, max| u64::from(point.fixed(min).is_some()) | u64::from(point.fixed(max).is_some()) << 1;
    match kind {
        HISTOGRAM => {
            number(extremes(11, 12));
            number(point.varint(10));
            fixed_list(point.bytes(7)).into_iter().for_each(number);
        }
        EXPONENTIAL => {
            number(extremes(12, 13));
            number(point.varint(10));
            number(point.varint(6));
            for side in [8, 9] {
                number(Message::read(point.bytes(side)).varint(1));
            }
        }
        _ => {}
    }
    key
}

/// Makes one point of those that have a key in common, in the order of the first ones.
fn merge(metric: &mut Metric<'_>, arg: &Arg) -> Result<bool> {
    if matches!(metric.kind, 0 | SUMMARY) {
        return Err(Error::text(format!(
            "a metric of type {} cannot be aggregated",
            metric.kind_name()
        )));
    }
    let function = function(arg).map_err(Error::text)?;
    let (kind, is_delta) = (
        metric.kind,
        metric.kind != GAUGE && metric.data.varint(TEMPORALITY) == 1,
    );
    let mut groups: Vec<Vec<Message<'_>>> = Vec::new();
    let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
    let data = std::mem::take(&mut metric.data);
    for raw in data.all(POINTS) {
        let point = Message::read(raw);
        let at = *known
            .entry(group_key(kind, is_delta, &point))
            .or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(point),
            None => groups.push(vec![point]),
        }
    }
    let mut merged = data.clone();
    merged.retain(|n| n != POINTS);
    for group in groups {
        merged.add(POINTS, one_of(kind, function, &group).write());
    }
    metric.data = merged;
    Ok(true)
}

fn one_of<'m>(kind: u32, function: Function, points: &[Message<'m>]) -> Message<'m> {
    let mut one = points[0].clone();
    let starts = points.iter().filter_map(|p| p.fixed(START));
    match kind {
        GAUGE | SUM => number_of(&mut one, function, points),
        _ => histogram_of(&mut one, kind, points),
    }
    if let Some(start) = starts.min() {
        one.set_fixed(START, start);
    }
    one
}

fn number_of(one: &mut Message<'_>, function: Function, points: &[Message<'_>]) {
    if points.len() < 2 {
        return;
    }
    let int = |p: &Message<'_>| match (p.fixed(AS_INT), p.double(AS_DOUBLE)) {
        (Some(bits), _) => bits as i64,
        (None, Some(value)) => value as i64,
        _ => 0,
    };
    let double = |p: &Message<'_>| match (p.double(AS_DOUBLE), p.fixed(AS_INT)) {
        (Some(value), _) => value,
        (None, Some(bits)) => bits as i64 as f64,
        _ => 0.0,
    };
    // The first point says of which kind the value is.
    if one.fixed(AS_INT).is_some() {
        let mut values: Vec<i64> = points.iter().map(int).collect();
        values.sort_unstable();
        let (n, middle) = (values.len(), values.len() / 2);
        let sum = values.iter().fold(0i64, |a, b| a.wrapping_add(*b));
        let value = match function {
            Function::Sum => sum,
            Function::Mean => sum / n as i64,
            Function::Max => values[n - 1],
            Function::Min => values[0],
            Function::Median if n % 2 == 1 => values[middle],
            Function::Median => values[middle - 1].wrapping_add(values[middle]) / 2,
            Function::Count => n as i64,
        };
        one.set_fixed(AS_INT, value as u64);
    } else if one.double(AS_DOUBLE).is_some() {
        let mut values: Vec<f64> = points.iter().map(double).collect();
        // In the order of the points, as sums of doubles depend on it.
        let sum: f64 = values.iter().skip(1).fold(values[0], |a, b| a + b);
        values.sort_unstable_by(f64::total_cmp);
        let (n, middle) = (values.len(), values.len() / 2);
        let value = match function {
            Function::Sum => sum,
            Function::Mean => sum / n as f64,
            Function::Max => values[n - 1],
            Function::Min => values[0],
            Function::Median if n % 2 == 1 => values[middle],
            Function::Median => (values[middle - 1] + values[middle]) / 2.0,
            Function::Count => n as f64,
        };
        one.set_double(AS_DOUBLE, value);
    }
}

/// Histograms are added whatever the function is: nothing else can be said of their buckets.
fn histogram_of(one: &mut Message<'_>, kind: u32, points: &[Message<'_>]) {
    let (min, max, exemplars) = if kind == HISTOGRAM {
        (11, 12, 8)
    } else {
        (12, 13, 11)
    };
    let add = |into: &mut Vec<u64>, more: Vec<u64>| {
        into.resize(into.len().max(more.len()), 0);
        into.iter_mut()
            .zip(more)
            .for_each(|(a, b)| *a = a.wrapping_add(b));
    };
    for point in points.iter().skip(1).filter(|p| p.fixed(COUNT).unwrap_or(0) != 0) {
        one.set_fixed(
            COUNT,
            one.fixed(COUNT)
                .unwrap_or(0)
                .wrapping_add(point.fixed(COUNT).unwrap_or(0)),
        );
        if let Some(sum) = point.double(POINT_SUM) {
            one.set_double(POINT_SUM, one.double(POINT_SUM).unwrap_or(0.0) + sum);
        }
        if let (Some(a), Some(b)) = (one.double(min), point.double(min)) {
            one.set_double(min, a.min(b));
        }
        if let (Some(a), Some(b)) = (one.double(max), point.double(max)) {
            one.set_double(max, a.max(b));
        }
        if kind == HISTOGRAM {
            let mut counts = fixed_list(one.bytes(6));
            add(&mut counts, fixed_list(point.bytes(6)));
            one.set_bytes(6, packed(counts));
        } else {
            let zeros = one
                .fixed(7)
                .unwrap_or(0)
                .wrapping_add(point.fixed(7).unwrap_or(0));
            if zeros != 0 {
                one.set_fixed(7, zeros);
            }
            for side in [8, 9] {
                let more = varint_list(Message::read(point.bytes(side)).bytes(2));
                if more.is_empty() {
                    continue;
                }
                let mut buckets = Message::read(one.bytes(side));
                let mut counts = varint_list(buckets.bytes(2));
                add(&mut counts, more);
                let mut content = Vec::new();
                counts.iter().for_each(|c| wire::varint::write(*c, &mut content));
                buckets.set_bytes(2, content);
                let written = buckets.write();
                one.set_bytes(side, written);
            }
        }
        for exemplar in point.all(exemplars) {
            one.add(exemplars, exemplar.to_vec());
        }
    }
}

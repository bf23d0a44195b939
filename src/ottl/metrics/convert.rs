//! Metrics of one kind that become another, are scaled or copied.

use super::message::{Message, fixed_list, packed};
use super::*;
use crate::functions::{Kind, any, lit_bool, lit_float, of, opt};
use crate::value::Val;
use wire::view::Kind as NodeKind;

pub(crate) const DEFS: &[Def] = &[
    Def::edit("convert_sum_to_gauge", &[], |_, cx| {
        with_metric(cx, |metric, _| {
            let applies = metric.kind == SUM;
            if applies {
                metric.kind = GAUGE;
                metric.data.retain(|n| n == POINTS);
            }
            Ok(applies)
        })
    })
    .shaping(METRIC),
    Def::edit(
        "convert_gauge_to_sum",
        &[
            of("aggregation_temporality", Kind::Str),
            of("is_monotonic", Kind::Bool),
        ],
        |args, cx| {
            with_metric(cx, |metric, _| {
                let applies = metric.kind == GAUGE;
                if applies {
                    metric.kind = SUM;
                    metric
                        .data
                        .set_varint(TEMPORALITY, temporality(&args[0]).unwrap_or(0));
                    metric
                        .data
                        .set_varint(MONOTONIC, u64::from(lit_bool(&args[1]) == Some(true)));
                }
                Ok(applies)
            })
        },
    )
    .prepared(|args, _| known_temporality(&args[0]))
    .shaping(METRIC),
    Def::edit(
        "copy_metric",
        &[
            opt("name", Kind::Value),
            opt("description", Kind::Value),
            opt("unit", Kind::Value),
        ],
        |args, cx| {
            let texts = [NAME, DESCRIPTION, UNIT].into_iter().enumerate();
            let texts = texts.map(|(i, number)| Ok((number, text(args, i, cx)?)));
            let texts = texts.collect::<Result<Vec<_>>>()?;
            with_metric(cx, |metric, made| {
                let head = metric.head.clone();
                for (number, text) in texts {
                    if let Some(text) = text {
                        metric.head.set_bytes(number, text);
                    }
                }
                made.push(metric.write());
                metric.head = head;
                Ok(false)
            })
        },
    )
    .shaping(METRIC),
    Def::edit(
        "scale_metric",
        &[of("multiplier", Kind::Float), opt("unit", Kind::Value)],
        |args, cx| {
            let unit = text(args, 1, cx)?;
            let factor = lit_float(&args[0]).unwrap_or(1.0);
            with_metric(cx, |metric, _| {
                match metric.kind {
                    EXPONENTIAL => return Err(Error::new("exponential histograms cannot be scaled")),
                    0 => return Err(Error::new("a metric without data cannot be scaled")),
                    _ => {}
                }
                let kind = metric.kind;
                for point in metric.data.fields_mut().iter_mut().filter(|f| f.number == POINTS) {
                    point.edit(|point| scale(kind, point, factor));
                }
                if let Some(unit) = unit {
                    metric.head.set_bytes(UNIT, unit);
                }
                Ok(true)
            })
        },
    )
    .shaping(METRIC),
    Def::edit(
        "merge_histogram_buckets",
        &[any("target_value"), opt("method", Kind::Str)],
        merge_buckets,
    )
    .prepared(|args, _| {
        match lit_str(&args[1]) {
            None | Some(b"remove_explicit_bound") => return Ok(()),
            Some(b"limit_buckets") => {}
            Some(_) => {
                return Err("the method must be \"remove_explicit_bound\" or \"limit_buckets\"".into());
            }
        }
        let constant = match &args[0] {
            Arg::Value(node) => node.constant(),
            _ => None,
        };
        let number = constant.map(|value| most_buckets(value).map_err(|e| e.to_string()));
        number.transpose().map(|_| ())
    })
    .in_contexts(&[Context::DataPoint]),
];

/// Multiplies what a point has measured; counts stay.
fn scale(kind: u32, point: &mut Message<'_>, factor: f64) {
    match kind {
        HISTOGRAM => {
            for number in [POINT_SUM, 11, 12] {
                scale_double(point, number, factor);
            }
            let bounds = fixed_list(point.bytes(7));
            let bounds = packed(bounds.iter().map(|b| (f64::from_bits(*b) * factor).to_bits()));
            point.set_bytes(7, bounds);
            for exemplar in point.fields_mut().iter_mut().filter(|f| f.number == 8) {
                exemplar.edit(|exemplar| {
                    scale_double(exemplar, 3, factor);
                    scale_int(exemplar, 6, factor);
                });
            }
        }
        SUMMARY => {
            scale_double(point, POINT_SUM, factor);
            for quantile in point.fields_mut().iter_mut().filter(|f| f.number == 6) {
                quantile.edit(|quantile| scale_double(quantile, 2, factor));
            }
        }
        _ => {
            scale_double(point, AS_DOUBLE, factor);
            scale_int(point, AS_INT, factor);
        }
    }
}

fn scale_double(message: &mut Message<'_>, number: u32, factor: f64) {
    if let Some(value) = message.double(number) {
        message.set_double(number, value * factor);
    }
}

fn scale_int(message: &mut Message<'_>, number: u32, factor: f64) {
    if let Some(bits) = message.fixed(number) {
        let scaled = (bits as i64 as f64 * factor) as i64;
        message.set_fixed(number, scaled as u64);
    }
}

/// How far a bound may be from the one that is written.
const NEAR: f64 = 1e-12;

fn merge_buckets(args: &[Arg], cx: &mut Cx<'_, '_>) -> Result<()> {
    let n = cx.item[Level::Point as usize];
    if cx.view.kind(n) != NodeKind::HistogramPoint {
        return Ok(());
    }
    let target = read(args, cx).any(0)?.into_static();
    let (mut counts, mut bounds) = (fixed_list(cx.view.text(n, 6)), fixed_list(cx.view.text(n, 7)));
    if bounds.is_empty() || bounds.len() + 1 != counts.len() {
        return Ok(());
    }
    if lit_str(&args[1]) == Some(b"limit_buckets") {
        let most = most_buckets(&target)?;
        let ascending = bounds
            .windows(2)
            .all(|pair| f64::from_bits(pair[0]) < f64::from_bits(pair[1]));
        if counts.len() as u64 <= most || !ascending {
            return Ok(());
        }
        let together = counts.len().div_ceil(most as usize);
        let sum = |part: &[u64]| part.iter().fold(0u64, |a, b| a.wrapping_add(*b));
        counts = counts.chunks(together).map(sum).collect();
        bounds = bounds.into_iter().skip(together - 1).step_by(together).collect();
    } else {
        let bound = number(&target)?;
        let Some(at) = bounds
            .iter()
            .position(|b| (f64::from_bits(*b) - bound).abs() < NEAR)
        else {
            return Ok(());
        };
        bounds.remove(at);
        let count = counts.remove(at);
        counts[at] = counts[at].wrapping_add(count);
    }
    cx.view.set_content(n, 6, &packed(counts));
    cx.view.set_content(n, 7, &packed(bounds));
    Ok(())
}

fn most_buckets(value: &Val<'_>) -> Result<u64> {
    let most = number(value)?;
    if most < 1.0 || most.fract() != 0.0 || most > i64::MAX as f64 {
        return Err(Error::new("the number of buckets must be whole and above 0"));
    }
    Ok(most as u64)
}

fn number(value: &Val<'_>) -> Result<f64> {
    match crate::functions::float_like(value)? {
        Some(number) => Ok(number),
        None => Err(Error::new("the target value must not be nil")),
    }
}

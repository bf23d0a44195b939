//! Metrics made out of what histograms and summaries have counted.

use super::exponential::bound as exponential_bound;
use super::message::{Message, fixed_list, varint_list};
use super::*;
use crate::functions::{Kind, lit_bool, lit_float, of, opt};

const IS_MONOTONIC: crate::functions::Param = of("is_monotonic", Kind::Bool);
const SUFFIX: crate::functions::Param = opt("suffix", Kind::Str);
const AGGREGATION: crate::functions::Param = of("aggregation_temporality", Kind::Str);

pub(crate) const DEFS: &[Def] = &[
    Def::edit("extract_count_metric", &[IS_MONOTONIC, SUFFIX], |args, cx| {
        with_metric(cx, |metric, made| {
            let temporality = own_temporality("extract_count_metric", metric)?;
            let suffix = suffix(&args[1], "_count");
            let sum = sum_of(metric, &suffix, b"1", (temporality, &args[0]), |point, made| {
                made.set_fixed(AS_INT, point.fixed(COUNT).unwrap_or(0));
                true
            });
            made.extend(sum);
            Ok(false)
        })
    })
    .shaping(METRIC),
    Def::edit("extract_sum_metric", &[IS_MONOTONIC, SUFFIX], |args, cx| {
        with_metric(cx, |metric, made| {
            let temporality = own_temporality("extract_sum_metric", metric)?;
            let (suffix, unit) = (suffix(&args[1], "_sum"), metric.head.bytes(UNIT).to_vec());
            // A summary always has a sum; one that is 0 may not be on the wire.
            let absent = (metric.kind == SUMMARY).then_some(0.0);
            let sum = sum_of(metric, &suffix, &unit, (temporality, &args[0]), |point, made| {
                let Some(sum) = point.double(POINT_SUM).or(absent) else {
                    return false;
                };
                made.set_double(AS_DOUBLE, sum);
                true
            });
            made.extend(sum);
            Ok(false)
        })
    })
    .shaping(METRIC),
    Def::edit(
        "extract_percentile_metric",
        &[of("percentile", Kind::Float), SUFFIX],
        |args, cx| {
            let percentile = lit_float(&args[0]).unwrap_or(0.0);
            with_metric(cx, |metric, made| {
                let value: fn(&Message<'_>, f64) -> Result<f64> = match metric.kind {
                    HISTOGRAM => of_histogram,
                    EXPONENTIAL => of_exponential,
                    _ => return Ok(false),
                };
                let suffix =
                    lit_str(&args[1]).map_or_else(|| format!("_p{percentile}").into_bytes(), <[u8]>::to_vec);
                let unit = metric.head.bytes(UNIT).to_vec();
                let mut gauge = Metric::made(metric, &suffix, &unit, GAUGE);
                let description = metric.head.bytes(DESCRIPTION);
                let description = match description {
                    b"" => format!("p{percentile}").into_bytes(),
                    text => [text, format!(" (p{percentile})").as_bytes()].concat(),
                };
                gauge.head.set_bytes(DESCRIPTION, description);
                for raw in metric.data.all(POINTS) {
                    let point = Message::read(raw);
                    let mut new = number_point(metric.kind, &point);
                    new.set_double(AS_DOUBLE, value(&point, percentile)?);
                    gauge.data.add(POINTS, new.write());
                }
                if gauge.data.all(POINTS).next().is_some() {
                    made.push(gauge.write());
                }
                Ok(false)
            })
        },
    )
    .prepared(|args, _| match lit_float(&args[0]) {
        Some(percentile) if (0.0..=100.0).contains(&percentile) => Ok(()),
        _ => Err("the percentile must be between 0 and 100".into()),
    })
    .shaping(METRIC),
    Def::edit(
        "convert_summary_count_val_to_sum",
        &[AGGREGATION, IS_MONOTONIC, SUFFIX],
        |args, cx| {
            with_metric(cx, |metric, made| {
                let (suffix, unit) = (suffix(&args[2], "_count"), metric.head.bytes(UNIT).to_vec());
                let how = (temporality(&args[0]).unwrap_or(0), &args[1]);
                if metric.kind == SUMMARY {
                    made.extend(sum_of(metric, &suffix, &unit, how, |point, made| {
                        made.set_fixed(AS_INT, point.fixed(COUNT).unwrap_or(0));
                        true
                    }));
                }
                Ok(false)
            })
        },
    )
    .prepared(|args, _| known_temporality(&args[0]))
    .shaping(METRIC),
    Def::edit(
        "convert_summary_sum_val_to_sum",
        &[AGGREGATION, IS_MONOTONIC, SUFFIX],
        |args, cx| {
            with_metric(cx, |metric, made| {
                let (suffix, unit) = (suffix(&args[2], "_sum"), metric.head.bytes(UNIT).to_vec());
                let how = (temporality(&args[0]).unwrap_or(0), &args[1]);
                if metric.kind == SUMMARY {
                    made.extend(sum_of(metric, &suffix, &unit, how, |point, made| {
                        made.set_double(AS_DOUBLE, point.double(POINT_SUM).unwrap_or(0.0));
                        true
                    }));
                }
                Ok(false)
            })
        },
    )
    .prepared(|args, _| known_temporality(&args[0]))
    .shaping(METRIC),
    Def::edit(
        "convert_summary_quantile_val_to_gauge",
        &[opt("attribute_key", Kind::Str), SUFFIX],
        |args, cx| {
            with_metric(cx, |metric, made| {
                if metric.kind == SUMMARY {
                    made.extend(quantiles(metric, &args[0], &args[1]));
                }
                Ok(false)
            })
        },
    )
    .shaping(METRIC),
];

/// The temporality of the histogram, or the one that summaries have. Errors: another kind of metric, or it says none.
fn own_temporality(function: &str, metric: &Metric<'_>) -> Result<u64> {
    let temporality = match metric.kind {
        HISTOGRAM | EXPONENTIAL => metric.data.varint(TEMPORALITY),
        SUMMARY => CUMULATIVE,
        _ => 0,
    };
    if temporality == 0 {
        return Err(Error::text(format!(
            "{function} requires an input metric of type Histogram, ExponentialHistogram or Summary, got {}",
            metric.kind_name()
        )));
    }
    Ok(temporality)
}

/// A sum with a point for each one that `fill` gives a value to; none if there is no such point.
fn sum_of(
    metric: &Metric<'_>,
    suffix: &[u8],
    unit: &[u8],
    (temporality, is_monotonic): (u64, &Arg),
    mut fill: impl FnMut(&Message<'_>, &mut Message<'static>) -> bool,
) -> Option<Vec<u8>> {
    let mut sum = Metric::made(metric, suffix, unit, SUM);
    for raw in metric.data.all(POINTS) {
        let point = Message::read(raw);
        let mut new = number_point(metric.kind, &point);
        if fill(&point, &mut new) {
            sum.data.add(POINTS, new.write());
        }
    }
    let any = sum.data.all(POINTS).next().is_some();
    sum.data.set_varint(TEMPORALITY, temporality);
    sum.data
        .set_varint(MONOTONIC, u64::from(lit_bool(is_monotonic) == Some(true)));
    any.then(|| sum.write())
}

/// A gauge with a point for each quantile of each point.
fn quantiles(metric: &Metric<'_>, key: &Arg, suffix_arg: &Arg) -> Option<Vec<u8>> {
    let key = lit_str(key).unwrap_or(b"quantile");
    let unit = metric.head.bytes(UNIT).to_vec();
    let mut gauge = Metric::made(metric, &suffix(suffix_arg, ".quantiles"), &unit, GAUGE);
    for raw in metric.data.all(POINTS) {
        let point = Message::read(raw);
        for quantile in point.all(6).map(Message::read) {
            let mut new = number_point(SUMMARY, &point);
            let mut entry = Message::default();
            entry.add(1, key.to_vec());
            let mut any = Vec::new();
            wire::view::any_encode(
                wire::view::NewValue::Double(quantile.double(1).unwrap_or(0.0)),
                &mut any,
            );
            entry.add(2, any);
            let entry = entry.write();
            let same = |content: &[u8]| Message::read(content).bytes(1) == key;
            let mut attributes = new.fields_mut().iter_mut();
            match attributes.find(|f| f.number == attributes_of(GAUGE) && same(&f.content)) {
                Some(old) => old.content = entry.into(),
                None => new.add(attributes_of(GAUGE), entry),
            }
            new.set_double(AS_DOUBLE, quantile.double(2).unwrap_or(0.0));
            gauge.data.add(POINTS, new.write());
        }
    }
    let any = gauge.data.all(POINTS).next().is_some();
    any.then(|| gauge.write())
}

// --- Percentiles ---

/// How many of the values lie at or below the percentile.
fn rank(count: u64, percentile: f64) -> u64 {
    (count as f64 * (percentile / 100.0)).ceil() as u64
}

/// How far into a bucket the rank lies, from 0 to 1.
fn within(rank: u64, before: u64, count: u64) -> f64 {
    rank.saturating_sub(before) as f64 / count as f64
}

fn not_found() -> Error {
    Error::new("the buckets hold fewer values than the point counts")
}

/// The percentile of an explicit histogram: even spread within a bucket, the first of which begins at 0.
fn of_histogram(point: &Message<'_>, percentile: f64) -> Result<f64> {
    let count = point.fixed(COUNT).unwrap_or(0);
    let counts = fixed_list(point.bytes(6));
    let bounds: Vec<f64> = fixed_list(point.bytes(7))
        .into_iter()
        .map(f64::from_bits)
        .collect();
    if count == 0 || counts.is_empty() || bounds.is_empty() {
        return Ok(f64::NAN);
    }
    let rank = rank(count, percentile);
    let mut sum = 0u64;
    for (i, count) in counts.iter().enumerate() {
        let before = sum;
        sum = sum.saturating_add(*count);
        if sum < rank {
            continue;
        }
        let lower = if i == 0 {
            0.0
        } else {
            bounds.get(i - 1).copied().ok_or_else(not_found)?
        };
        // The last bucket has no end, but for the largest value seen.
        let max = point.double(12).filter(|max| *max > lower);
        let Some(upper) = bounds.get(i).copied().or(max) else {
            return Ok(lower);
        };
        return Ok(lower + within(rank, before, *count) * (upper - lower));
    }
    Err(not_found())
}

/// The percentile of an exponential histogram: even spread of the logarithm within a bucket.
fn of_exponential(point: &Message<'_>, percentile: f64) -> Result<f64> {
    let side = |number: u32| {
        let buckets = Message::read(point.bytes(number));
        (buckets.zigzag(1), varint_list(buckets.bytes(2)))
    };
    let ((offset, positive), (negative_offset, negative)) = (side(8), side(9));
    let (count, zeros) = (point.fixed(COUNT).unwrap_or(0), point.fixed(7).unwrap_or(0));
    if count == 0 || (positive.is_empty() && negative.is_empty() && zeros == 0) {
        return Ok(f64::NAN);
    }
    let (rank, scale) = (rank(count, percentile), point.zigzag(6));
    let bound = |offset: i32, i: usize| exponential_bound(i64::from(offset) + i as i64, scale);
    let between = |lower: f64, upper: f64, ratio: f64| {
        let (lower, upper) = (lower.log2(), upper.log2());
        (lower + (upper - lower) * ratio).exp2()
    };
    let mut sum = 0u64;
    for (i, count) in negative.iter().enumerate() {
        let before = sum;
        sum = sum.saturating_add(*count);
        if sum >= rank {
            let ratio = 1.0 - within(rank, before, *count);
            return Ok(-between(
                bound(negative_offset, i),
                bound(negative_offset, i + 1),
                ratio,
            ));
        }
    }
    let before = sum;
    sum = sum.saturating_add(zeros);
    if sum >= rank {
        let threshold = point.double(14).unwrap_or(0.0);
        let lower = if negative.is_empty() && !positive.is_empty() {
            0.0
        } else {
            -threshold
        };
        let upper = if positive.is_empty() && !negative.is_empty() {
            0.0
        } else {
            threshold
        };
        return Ok(lower + within(rank, before, zeros) * (upper - lower));
    }
    for (i, count) in positive.iter().enumerate() {
        let before = sum;
        sum = sum.saturating_add(*count);
        if sum >= rank {
            return Ok(between(
                bound(offset, i),
                bound(offset, i + 1),
                within(rank, before, *count),
            ));
        }
    }
    Err(not_found())
}

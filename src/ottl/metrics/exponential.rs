//! Exponential histograms made explicit: each bucket's count goes to the buckets between the bounds that it overlaps.
//!
//! All counts arrive: the zero bucket's where 0 lies, those of negative buckets mirrored, what is above the last bound in
//! the bucket behind it.

use super::message::{Message, packed, varint_list};
use super::*;
use crate::eval::Node;
use crate::functions::{Kind, Ready, of};
use crate::value::Val;

pub(crate) const DEFS: &[Def] = &[Def::edit(
    "convert_exponential_histogram_to_histogram",
    &[of("distribution", Kind::Str), of("explicit_bounds", Kind::List)],
    |args, cx| {
        let Arg::Ready(Ready::Floats(bounds)) = &args[1] else {
            return Err(Error::new("the bounds are no list of numbers"));
        };
        let how = lit_str(&args[0]).unwrap_or(b"").to_vec();
        let env = cx.env;
        with_metric(cx, |metric, _| {
            if metric.kind != EXPONENTIAL {
                return Ok(false);
            }
            metric.kind = HISTOGRAM;
            for field in metric.data.fields_mut().iter_mut().filter(|f| f.number == POINTS) {
                let point = Message::read(&field.content);
                let random = &mut || {
                    let mut bytes = [0; 8];
                    (env.random)(&mut bytes);
                    u64::from_le_bytes(bytes)
                };
                let counts = counts(&point, bounds, &how, random);
                let content = explicit(&point, bounds, counts);
                field.content = content.into();
            }
            Ok(true)
        })
    },
)
.prepared(|args, _| {
    if !matches!(
        lit_str(&args[0]),
        Some(b"upper" | b"midpoint" | b"uniform" | b"random")
    ) {
        return Err("the distribution must be \"upper\", \"midpoint\", \"uniform\" or \"random\"".into());
    }
    let Arg::List(nodes) = &args[1] else {
        return Err("the bounds must be a list".into());
    };
    let bounds = nodes.iter().map(|node| match node {
        Node::Const(Val::Float(f)) => Ok(*f),
        _ => Err("the bounds must be numbers with a decimal point".to_owned()),
    });
    let bounds = bounds.collect::<std::result::Result<Vec<f64>, _>>()?;
    if bounds.is_empty() || !bounds.is_sorted_by(|a, b| a < b) {
        return Err("the bounds must not be empty, and each must be above the one before".into());
    }
    args[1] = Arg::Ready(Ready::Floats(bounds));
    Ok(())
})
.shaping(METRIC)];

/// Lower bound of the bucket with an index: 2^(index / 2^scale).
pub(super) fn bound(index: i64, scale: i32) -> f64 {
    (index as f64 * (-f64::from(scale)).exp2()).exp2()
}

/// The point of the explicit histogram.
fn explicit(point: &Message<'_>, bounds: &[f64], counts: Vec<u64>) -> Vec<u8> {
    let mut made = Message::default();
    // Of the fields that mean the same, from the one number to the other.
    for (from, to) in [
        (START, START),
        (TIME, TIME),
        (COUNT, COUNT),
        (POINT_SUM, POINT_SUM),
        (12, 11),
        (13, 12),
    ] {
        if let Some(bits) = point.fixed(from) {
            made.set_fixed(to, bits);
        }
    }
    made.set_bytes(6, packed(counts));
    made.set_bytes(7, packed(bounds.iter().map(|b| b.to_bits())));
    for exemplar in point.all(11) {
        made.add(8, exemplar);
    }
    for attribute in point.all(attributes_of(EXPONENTIAL)) {
        made.add(attributes_of(HISTOGRAM), attribute);
    }
    made.set_varint(10, point.varint(10));
    made.write()
}

/// Counts between the bounds, and behind the last.
fn counts(point: &Message<'_>, bounds: &[f64], how: &[u8], random: &mut dyn FnMut() -> u64) -> Vec<u64> {
    let scale = point.zigzag(6);
    let mut counts = vec![0u64; bounds.len() + 1];
    let bucket_of = |value: f64| bounds.partition_point(|bound| *bound < value);
    let zeros = point.fixed(7).unwrap_or(0);
    counts[bucket_of(0.0)] += zeros;
    for (number, is_negative) in [(8, false), (9, true)] {
        let buckets = Message::read(point.bytes(number));
        let offset = i64::from(buckets.zigzag(1));
        for (i, count) in varint_list(buckets.bytes(2)).into_iter().enumerate() {
            let index = offset + i as i64;
            let (mut lower, mut upper) = (bound(index, scale), bound(index + 1, scale));
            if is_negative {
                (lower, upper) = (-upper, -lower);
            }
            // The buckets that it overlaps; one that ends at a bound does not reach beyond it.
            let last = bucket_of(upper);
            let first = bounds.partition_point(|bound| *bound <= lower).min(last);
            let mut add = |at: usize, count: u64| counts[at] = counts[at].wrapping_add(count);
            match how {
                b"upper" => add(last, count),
                b"midpoint" => add(bucket_of(lower + (upper - lower) / 2.0), count),
                b"uniform" => {
                    let n = (last - first + 1) as u64;
                    for at in first..=last {
                        let rest = u64::from((at - first) as u64 % n < count % n);
                        add(at, count / n + rest);
                    }
                }
                _ => {
                    // Shares by overlap, what is left by chance: less than one a bucket.
                    let mut left = count;
                    for at in first..=last {
                        let from = if at == first { lower } else { bounds[at - 1] };
                        let to = if at == last { upper } else { bounds[at] };
                        let share = (count as f64 * ((to - from) / (upper - lower))) as u64;
                        let share = share.min(left);
                        left -= share;
                        add(at, share);
                    }
                    let n = (last - first + 1) as u64;
                    add(first + (random() % n) as usize, left / n.max(1) * n);
                    for _ in 0..left % n {
                        add(first + (random() % n) as usize, 1);
                    }
                }
            }
        }
    }
    counts
}

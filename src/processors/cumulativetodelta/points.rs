//! Values read from data points, and deltas written to them.

use wire::field::{FIXED64, Fields, LEN};
use wire::view::{Kind, NodeId, View};
use wire::{varint, write};

use super::value::{Buckets, Exponential, Histogram, Value};

/// When a point began, in all kinds of points.
const START: u32 = 2;
/// When it was taken.
const TIME: u32 = 3;

/// Times of a point: start, and when it was taken; nanoseconds since 1970.
pub(super) fn times(view: &View<'_>, n: NodeId) -> (u64, u64) {
    (
        view.number(n, START).unwrap_or(0),
        view.number(n, TIME).unwrap_or(0),
    )
}

/// Whether a point says that nothing was recorded.
pub(super) fn is_empty(view: &View<'_>, n: NodeId) -> bool {
    let flags = match view.kind(n) {
        Kind::NumberPoint => 8,
        _ => 10,
    };
    view.number(n, flags).unwrap_or(0) & 1 == 1
}

/// The value of a point; none for a summary.
pub(super) fn read(view: &View<'_>, n: NodeId) -> Option<Value> {
    let double = |field: u32| f64::from_bits(view.number(n, field).unwrap_or(0));
    Some(match view.kind(n) {
        Kind::NumberPoint => match view.number(n, 4) {
            Some(bits) => Value::Double(f64::from_bits(bits)),
            None => Value::Int(view.number(n, 6).unwrap_or(0) as i64),
        },
        Kind::HistogramPoint => Value::Histogram(Histogram {
            count: view.number(n, 4).unwrap_or(0),
            sum: double(5),
            bounds: fixed(view.raw(n), 7),
            counts: fixed(view.raw(n), 6),
        }),
        Kind::ExpHistogramPoint => Value::Exponential(Box::new(Exponential {
            count: view.number(n, 4).unwrap_or(0),
            sum: double(5),
            scale: write::unzigzag(view.number(n, 6).unwrap_or(0)),
            zeros: view.number(n, 7).unwrap_or(0),
            zero_threshold: double(14),
            positive: buckets(view.text(n, 8)),
            negative: buckets(view.text(n, 9)),
        })),
        _ => return None,
    })
}

/// Numbers of eight bytes in a message, packed or not.
fn fixed(message: &[u8], number: u32) -> Vec<u64> {
    let mut out = Vec::new();
    for field in Fields::new(message, 0).map_while(Result::ok) {
        if field.number == number && matches!(field.wire, LEN | FIXED64) {
            let (all, _) = message[field.value..field.end].as_chunks::<8>();
            out.extend(all.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        }
    }
    out
}

fn buckets(message: &[u8]) -> Buckets {
    let mut all = Buckets::default();
    for field in Fields::new(message, 0).map_while(Result::ok) {
        let mut pos = field.value;
        while pos < field.end {
            let Ok(value) = varint::read(&message[..field.end], &mut pos) else {
                break;
            };
            match field.number {
                1 => all.offset = write::unzigzag(value),
                2 => all.counts.push(value),
                _ => {}
            }
        }
    }
    all
}

/// Writes a delta that began at `start`. Least and greatest values go: nobody knows those of the time between.
pub(super) fn write(view: &mut View<'_>, n: NodeId, start: u64, delta: &Value) {
    view.set_number(n, START, start);
    match delta {
        Value::Int(value) => view.set_number(n, 6, *value as u64),
        Value::Double(value) => view.set_number(n, 4, value.to_bits()),
        Value::Histogram(delta) => {
            view.set_number(n, 4, delta.count);
            set_sum(view, n, delta.sum);
            let counts: Vec<u8> = delta.counts.iter().flat_map(|c| c.to_le_bytes()).collect();
            view.set_content(n, 6, &counts);
            view.clear_number(n, 11);
            view.clear_number(n, 12);
        }
        Value::Exponential(delta) => {
            view.set_number(n, 4, delta.count);
            set_sum(view, n, delta.sum);
            view.set_number(n, 7, delta.zeros);
            for (field, buckets) in [(8, &delta.positive), (9, &delta.negative)] {
                let mut out = Vec::new();
                if !buckets.counts.is_empty() {
                    write::sint(1, buckets.offset, &mut out);
                    write::packed_ints(2, buckets.counts.iter().copied(), &mut out);
                }
                view.set_content(n, field, &out);
            }
            view.clear_number(n, 12);
            view.clear_number(n, 13);
        }
    }
}

/// A point without a sum, or with none to add to, stays so.
fn set_sum(view: &mut View<'_>, n: NodeId, sum: f64) {
    if view
        .number(n, 5)
        .is_some_and(|bits| !f64::from_bits(bits).is_nan())
    {
        view.set_number(n, 5, sum.to_bits());
    }
}

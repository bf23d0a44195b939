//! Values of points: cumulative ones, and what lies between two of them.

/// What a point says so far.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Of a sum.
    Int(i64),
    /// Of a sum.
    Double(f64),
    /// Of a histogram.
    Histogram(Histogram),
    /// Of an exponential histogram.
    Exponential(Box<Exponential>),
}

/// A histogram with fixed bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    pub(super) count: u64,
    /// NaN where there is none to add to.
    pub(super) sum: f64,
    /// Bits of the bounds.
    pub(super) bounds: Vec<u64>,
    pub(super) counts: Vec<u64>,
}

/// A histogram with exponential buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Exponential {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) scale: i32,
    pub(super) zeros: u64,
    pub(super) zero_threshold: f64,
    pub(super) positive: Buckets,
    pub(super) negative: Buckets,
}

/// Counts of neighbouring buckets, the first at `offset`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Buckets {
    pub(super) offset: i32,
    pub(super) counts: Vec<u64>,
}

/// What follows from a value and the one before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// This much was added.
    Delta(Value),
    /// The value went back: nobody knows what was added.
    Reset,
    /// The buckets are others.
    Mismatch,
}

impl Value {
    /// Bytes beside the value itself, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Value::Int(_) | Value::Double(_) => 0,
            Value::Histogram(h) => 8 * (h.bounds.len() + h.counts.len()),
            Value::Exponential(e) => 8 * (e.positive.counts.len() + e.negative.counts.len()) + 128,
        }
    }

    /// What was added since `before`. A sum that the point lacks becomes that of `before`, to go on from.
    pub(super) fn since(&mut self, before: &Value) -> Step {
        match (self, before) {
            (Value::Int(now), Value::Int(before)) if *now >= *before => {
                Step::Delta(Value::Int(now.wrapping_sub(*before)))
            }
            (Value::Double(now), Value::Double(before)) if *now >= *before => {
                Step::Delta(Value::Double(*now - *before))
            }
            (Value::Histogram(now), Value::Histogram(before)) => now.since(before),
            (Value::Exponential(now), Value::Exponential(before)) => now.since(before),
            _ => Step::Reset,
        }
    }

    /// Takes back what was added, where that has not arrived and a later value was stored since.
    pub(super) fn less(&mut self, delta: &Value) {
        match (self, delta) {
            (Value::Int(now), Value::Int(delta)) => *now = now.wrapping_sub(*delta),
            (Value::Double(now), Value::Double(delta)) => *now -= *delta,
            (Value::Histogram(now), Value::Histogram(delta)) if now.bounds == delta.bounds => {
                now.count = now.count.saturating_sub(delta.count);
                now.sum -= delta.sum;
                now.counts = less(&now.counts, &delta.counts);
            }
            // Buckets that may have grown coarser since: what was lost stays lost.
            _ => {}
        }
    }
}

fn less(now: &[u64], before: &[u64]) -> Vec<u64> {
    let pairs = now.iter().zip(before);
    pairs.map(|(now, before)| now.saturating_sub(*before)).collect()
}

impl Histogram {
    fn since(&mut self, before: &Histogram) -> Step {
        if self.sum.is_nan() {
            self.sum = before.sum;
        }
        if self.counts.len() != before.counts.len() || self.bounds != before.bounds {
            return Step::Mismatch;
        }
        if self.count < before.count {
            // It began anew, so all of it was added since.
            return Step::Delta(Value::Histogram(self.clone()));
        }
        Step::Delta(Value::Histogram(Histogram {
            count: self.count - before.count,
            sum: self.sum - before.sum,
            bounds: self.bounds.clone(),
            counts: less(&self.counts, &before.counts),
        }))
    }
}

impl Exponential {
    fn since(&self, before: &Exponential) -> Step {
        // Merging makes counts and threshold grow, and the scale coarser.
        let went_back = self.count < before.count
            || self.zero_threshold < before.zero_threshold
            || self.scale > before.scale;
        if went_back {
            return Step::Reset;
        }
        let mut before = before.clone();
        if self.zero_threshold > before.zero_threshold {
            let last = last_below(self.zero_threshold, before.scale);
            before.zeros += before.positive.cut(last) + before.negative.cut(last);
        }
        let shift = before.scale.abs_diff(self.scale).min(31);
        before.positive.coarsen(shift);
        before.negative.coarsen(shift);
        Step::Delta(Value::Exponential(Box::new(Exponential {
            count: self.count - before.count,
            sum: self.sum - before.sum,
            scale: self.scale,
            zeros: self.zeros.saturating_sub(before.zeros),
            zero_threshold: self.zero_threshold,
            positive: self.positive.since(&before.positive),
            negative: self.negative.since(&before.negative),
        })))
    }
}

/// The bucket that a threshold falls into.
fn last_below(threshold: f64, scale: i32) -> i64 {
    let factor = std::f64::consts::LOG2_E * f64::from(scale).exp2();
    (threshold.ln() * factor).ceil() as i64 - 1
}

impl Buckets {
    /// Joins `2^shift` neighbours each.
    fn coarsen(&mut self, shift: u32) {
        if shift == 0 || self.counts.is_empty() {
            self.offset >>= shift;
            return;
        }
        let at = |i: usize| (i64::from(self.offset) + i as i64) >> shift;
        let (first, last) = (at(0), at(self.counts.len() - 1));
        let mut counts = vec![0u64; (last - first + 1) as usize];
        for (i, count) in self.counts.iter().enumerate() {
            let to = &mut counts[(at(i) - first) as usize];
            *to = to.saturating_add(*count);
        }
        (self.offset, self.counts) = (first as i32, counts);
    }

    /// Removes the buckets up to this one, and gives what they held.
    fn cut(&mut self, last: i64) -> u64 {
        let cut = (last - i64::from(self.offset) + 1).clamp(0, self.counts.len() as i64) as usize;
        self.offset = self.offset.saturating_add(cut as i32);
        self.counts.drain(..cut).sum()
    }

    /// What was added since, from the first bucket that grew to the last.
    fn since(&self, before: &Buckets) -> Buckets {
        let grown = |i: usize| {
            let at = i64::from(self.offset) + i as i64 - i64::from(before.offset);
            let had = usize::try_from(at).ok().and_then(|at| before.counts.get(at));
            self.counts[i].saturating_sub(had.copied().unwrap_or(0))
        };
        let counts: Vec<u64> = (0..self.counts.len()).map(grown).collect();
        let Some(first) = counts.iter().position(|n| *n > 0) else {
            return Buckets::default();
        };
        let last = counts.iter().rposition(|n| *n > 0).unwrap_or(first);
        Buckets {
            offset: self.offset.saturating_add(first as i32),
            counts: counts[first..=last].to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::test_kit::Rng;

    use super::*;

    fn buckets(offset: i32, counts: &[u64]) -> Buckets {
        Buckets {
            offset,
            counts: counts.to_vec(),
        }
    }

    #[test]
    fn buckets_grow_coarser() {
        let check = |offset, counts: &[u64], shift, expected: Buckets| {
            let mut all = buckets(offset, counts);
            all.coarsen(shift);
            assert_eq!(all, expected);
        };
        check(-3, &[1, 2, 3, 4, 5], 1, buckets(-2, &[1, 5, 9]));
        check(-3, &[1, 2, 3, 4, 5], 2, buckets(-1, &[6, 9]));
        check(5, &[1], 31, buckets(0, &[1]));
        check(-5, &[1], 31, buckets(-1, &[1]));
        check(6, &[], 1, buckets(3, &[]));
        check(6, &[1, 2], 0, buckets(6, &[1, 2]));
        check(i32::MAX - 1, &[1, 2], 1, buckets(i32::MAX >> 1, &[3]));
    }

    #[test]
    fn buckets_have_what_was_added() {
        let check =
            |now: Buckets, before: Buckets, expected: Buckets| assert_eq!(now.since(&before), expected);
        check(
            buckets(0, &[1, 2, 3]),
            buckets(0, &[1, 1, 1]),
            buckets(1, &[1, 2]),
        );
        check(
            buckets(-2, &[1, 0, 5, 7]),
            buckets(0, &[5, 6, 9]),
            buckets(-2, &[1, 0, 0, 1]),
        );
        check(buckets(0, &[1, 2]), buckets(0, &[1, 2]), buckets(0, &[]));
        check(buckets(4, &[3]), buckets(-4, &[1]), buckets(4, &[3]));
        let mut cut = buckets(-2, &[1, 2, 3]);
        assert_eq!((cut.cut(-1), cut), (3, buckets(0, &[3])));
        let mut none = buckets(3, &[1]);
        assert_eq!((none.cut(2), none), (0, buckets(3, &[1])));
        let mut all = buckets(0, &[1, 1]);
        assert_eq!((all.cut(9), all), (2, buckets(2, &[])));
    }

    /// Random values come in; a histogram of all of them, and one of the later ones alone, differ by the earlier ones.
    #[test]
    fn exponential_histograms_differ_by_what_came_between() {
        let mut rng = Rng(17);
        for round in 0..500 {
            let of = |values: &[i32], scale: i32| {
                let at: Vec<i32> = values.iter().map(|v| v >> (4 - scale)).collect();
                let (low, high) = (
                    at.iter().min().copied().unwrap_or(0),
                    at.iter().max().copied().unwrap_or(-1),
                );
                let mut counts = vec![0; (high - low + 1).max(0) as usize];
                at.iter().for_each(|i| counts[(i - low) as usize] += 1);
                Exponential {
                    count: values.len() as u64,
                    scale,
                    positive: buckets(low, &counts),
                    ..Exponential::default()
                }
            };
            let values: Vec<i32> = (0..rng.below(40)).map(|_| rng.below(200) as i32 - 100).collect();
            let cut = rng.below(values.len() + 1);
            let fine = rng.below(5) as i32;
            let coarse = fine - rng.below(fine as usize + 1) as i32;
            let mut now = Value::Exponential(Box::new(of(&values, coarse)));
            let before = Value::Exponential(Box::new(of(&values[..cut], fine)));
            let mut expected = of(&values[cut..], coarse);
            if expected.positive.counts.is_empty() {
                expected.positive = Buckets::default();
            }
            let expected = Step::Delta(Value::Exponential(Box::new(expected)));
            assert_eq!(now.since(&before), expected, "round {round}");
        }
    }

    #[test]
    fn a_wider_zero_bucket_takes_what_it_covers() {
        let before = Exponential {
            count: 6,
            zeros: 1,
            // (1, 2], (2, 4] and (4, 8] at scale 0.
            positive: buckets(0, &[1, 2, 2]),
            ..Exponential::default()
        };
        let now = Exponential {
            count: 9,
            zeros: 6,
            zero_threshold: 4.0,
            positive: buckets(2, &[3]),
            ..Exponential::default()
        };
        let delta = Exponential {
            count: 3,
            zeros: 2,
            zero_threshold: 4.0,
            positive: buckets(2, &[1]),
            ..Exponential::default()
        };
        assert_eq!(
            now.since(&before),
            Step::Delta(Value::Exponential(Box::new(delta)))
        );
        assert_eq!(before.since(&now), Step::Reset);
    }

    #[test]
    fn sums_and_histograms() {
        let check = |mut now: Value, before: Value, expected: Step| assert_eq!(now.since(&before), expected);
        check(Value::Int(7), Value::Int(3), Step::Delta(Value::Int(4)));
        check(Value::Int(3), Value::Int(3), Step::Delta(Value::Int(0)));
        check(Value::Int(2), Value::Int(3), Step::Reset);
        check(
            Value::Double(7.5),
            Value::Double(3.0),
            Step::Delta(Value::Double(4.5)),
        );
        check(Value::Double(2.0), Value::Double(3.0), Step::Reset);
        let histogram = |count, sum, counts: &[u64]| {
            Value::Histogram(Histogram {
                count,
                sum,
                bounds: vec![1; counts.len().saturating_sub(1)],
                counts: counts.to_vec(),
            })
        };
        let early = histogram(3, 4.0, &[1, 2]);
        check(
            histogram(7, 9.0, &[4, 3]),
            early.clone(),
            Step::Delta(histogram(4, 5.0, &[3, 1])),
        );
        check(
            histogram(2, 1.0, &[1, 1]),
            early.clone(),
            Step::Delta(histogram(2, 1.0, &[1, 1])),
        );
        check(histogram(7, 9.0, &[4, 3, 0]), early.clone(), Step::Mismatch);
        let mut nameless = histogram(7, f64::NAN, &[4, 3]);
        assert_eq!(nameless.since(&early), Step::Delta(histogram(4, 0.0, &[3, 1])));
        assert_eq!(nameless, histogram(7, 4.0, &[4, 3]));
        nameless.less(&histogram(4, 1.0, &[3, 1]));
        assert_eq!(nameless, histogram(3, 3.0, &[1, 2]));
    }
}

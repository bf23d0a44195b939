//! Distributions of durations: fixed buckets, and exponential ones that grow coarser as the range grows.

use wire::write;

/// Scale at which an exponential distribution begins, the finest there is.
const SCALE_MAX: i32 = 20;
/// Buckets of an exponential distribution, where nothing else was said.
pub(super) const SIZE_DEFAULT: u32 = 160;

/// What a distribution has of one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Distribution {
    /// Counts at or below each bound and above the one before; the last: above all.
    Explicit { counts: Vec<u64>, count: u64, sum: f64 },
    /// Adapts.
    Exponential(Exponential),
}

/// Counts by powers of `2^(2^-scale)`: bucket `i` holds what is above the power `i` and not above the next one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exponential {
    size_max: usize,
    scale: i32,
    zeros: u64,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    /// Index of the first bucket.
    offset: i32,
    buckets: Vec<u64>,
}

/// What distributions of one connector look like.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// Upper bounds, ascending.
    Explicit(Vec<f64>),
    /// Most buckets.
    Exponential(u32),
}

impl Form {
    /// One without observations.
    pub(super) fn empty(&self) -> Distribution {
        match self {
            Form::Explicit(bounds) => Distribution::Explicit {
                counts: vec![0; bounds.len() + 1],
                count: 0,
                sum: 0.0,
            },
            Form::Exponential(size_max) => Distribution::Exponential(Exponential {
                // With fewer than two, most ranges have no scale at which they fit.
                size_max: (*size_max).max(2) as usize,
                scale: SCALE_MAX,
                zeros: 0,
                count: 0,
                sum: 0.0,
                min: 0.0,
                max: 0.0,
                offset: 0,
                buckets: Vec::new(),
            }),
        }
    }

    /// Bytes that one takes, at most.
    pub(super) fn bytes(&self) -> usize {
        8 * match self {
            Form::Explicit(bounds) => bounds.len() + 1,
            Form::Exponential(size_max) => *size_max as usize,
        }
    }

    /// Adds `n` observations of a value that is not negative.
    pub(super) fn observe(&self, distribution: &mut Distribution, value: f64, n: u64) {
        match (self, distribution) {
            (Form::Explicit(bounds), Distribution::Explicit { counts, count, sum }) => {
                counts[bounds.partition_point(|bound| *bound < value)] += n;
                *count += n;
                *sum += value * n as f64;
            }
            (_, Distribution::Exponential(exponential)) => exponential.observe(value, n),
            (Form::Exponential(_), Distribution::Explicit { .. }) => {
                unreachable!("a connector has one form, and makes its distributions of it")
            }
        }
    }
}

impl Distribution {
    /// Field of `Metric` that holds such points, and the number of their attributes and exemplars.
    pub(super) fn numbers(form: &Form) -> (u32, u32, u32) {
        match form {
            Form::Explicit(_) => (9, 9, 8),
            Form::Exponential(_) => (10, 1, 11),
        }
    }

    /// Appends the fields of a point that tell of it.
    pub(super) fn write(&self, form: &Form, out: &mut Vec<u8>) {
        match self {
            Distribution::Explicit { counts, count, sum } => {
                write::fixed(4, *count, out);
                write::double(5, *sum, out);
                write::packed_fixed(6, counts.iter().copied(), out);
                if let Form::Explicit(bounds) = form {
                    write::packed_fixed(7, bounds.iter().map(|b| b.to_bits()), out);
                }
            }
            Distribution::Exponential(e) => e.write(out),
        }
    }
}

impl Exponential {
    fn observe(&mut self, value: f64, n: u64) {
        if n == 0 {
            return;
        }
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        }
        (self.min, self.max) = (self.min.min(value), self.max.max(value));
        self.count += n;
        self.sum += value * n as f64;
        if value == 0.0 {
            self.zeros += n;
            return;
        }
        let index = index(value, self.scale);
        if self.buckets.is_empty() {
            self.offset = index;
            self.buckets.push(n);
            return;
        }
        let (mut low, mut high) = (
            i64::from(self.offset),
            i64::from(self.offset) + self.buckets.len() as i64 - 1,
        );
        (low, high) = (low.min(i64::from(index)), high.max(i64::from(index)));
        let mut shift = 0;
        while high - low >= self.size_max as i64 {
            (low, high, shift) = (low >> 1, high >> 1, shift + 1);
        }
        self.coarsen(shift);
        let at = i64::from(index >> shift) - i64::from(self.offset);
        if at < 0 {
            let missing = at.unsigned_abs() as usize;
            self.buckets.splice(..0, std::iter::repeat_n(0, missing));
            self.offset -= missing as i32;
            self.buckets[0] += n;
        } else {
            let at = at as usize;
            if at >= self.buckets.len() {
                self.buckets.resize(at + 1, 0);
            }
            self.buckets[at] += n;
        }
    }

    /// Joins `2^shift` neighbours each.
    fn coarsen(&mut self, shift: u32) {
        if shift == 0 {
            return;
        }
        let offset = self.offset >> shift;
        for i in 0..self.buckets.len() {
            let count = std::mem::take(&mut self.buckets[i]);
            let to = ((self.offset + i as i32) >> shift) - offset;
            self.buckets[to as usize] += count;
        }
        let last = (self.offset + self.buckets.len() as i32 - 1) >> shift;
        self.buckets.truncate((last - offset + 1) as usize);
        self.offset = offset;
        self.scale -= shift as i32;
    }

    fn write(&self, out: &mut Vec<u8>) {
        write::fixed(4, self.count, out);
        write::double(5, self.sum, out);
        write::sint(6, self.scale, out);
        write::fixed(7, self.zeros, out);
        if !self.buckets.is_empty() {
            write::message(8, out, |out| {
                write::sint(1, self.offset, out);
                write::packed_ints(2, self.buckets.iter().copied(), out);
            });
        }
        if self.count > 0 {
            write::double(12, self.min, out);
            write::double(13, self.max, out);
        }
    }
}

/// Bucket of a positive value. Powers of two belong to the bucket below, exactly.
fn index(value: f64, scale: i32) -> i32 {
    let bits = value.max(f64::MIN_POSITIVE).to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let is_power = bits & ((1 << 52) - 1) == 0;
    if scale > 0 {
        if is_power {
            return (exponent << scale) - 1;
        }
        let factor = std::f64::consts::LOG2_E * f64::from(1u32 << scale);
        return (value.ln() * factor).floor() as i32;
    }
    (exponent - i32::from(is_power)) >> -scale
}

#[cfg(test)]
mod tests {
    use wire::test_kit::Rng;

    use super::*;

    fn of(values: &[f64], size_max: u32) -> Exponential {
        let form = Form::Exponential(size_max);
        let mut all = form.empty();
        values.iter().for_each(|v| form.observe(&mut all, *v, 1));
        match all {
            Distribution::Exponential(e) => e,
            Distribution::Explicit { .. } => panic!("the other form"),
        }
    }

    #[test]
    fn bounds_belong_to_the_bucket_below() {
        let form = Form::Explicit(vec![1.0, 2.5, 10.0]);
        let mut all = form.empty();
        for value in [0.0, 1.0, 1.1, 2.5, 10.0, 10.1, 11.0] {
            form.observe(&mut all, value, 2);
        }
        let expected = Distribution::Explicit {
            counts: vec![4, 4, 2, 4],
            count: 14,
            sum: 71.4,
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn indices_are_those_of_the_scale() {
        let check = |value: f64, scale: i32, expected: i32| {
            assert_eq!(index(value, scale), expected, "{value} {scale}")
        };
        check(1.0, 0, -1);
        check(1.5, 0, 0);
        check(2.0, 0, 0);
        check(2.1, 0, 1);
        check(4.0, 0, 1);
        check(4.0, -1, 0);
        check(4.1, -1, 1);
        check(0.25, -1, -2);
        check(0.3, -1, -1);
        check(2.0, 3, 7);
        check(2.01, 3, 8);
        check(1.0, 20, -1);
        check(4.0, 20, (2 << 20) - 1);
        check(f64::MAX, -10, 0);
        check(f64::MIN_POSITIVE, -10, -1);
    }

    #[test]
    fn grows_coarser_as_it_must() {
        let one = of(&[3.0], 4);
        assert_eq!((one.scale, one.buckets.as_slice()), (20, &[1][..]));
        // 1, 2, 4, 8 are the tops of four neighbours at scale 0.
        let four = of(&[1.0, 2.0, 4.0, 8.0], 4);
        assert_eq!(
            (four.scale, four.offset, four.buckets.as_slice()),
            (0, -1, &[1, 1, 1, 1][..])
        );
        let five = of(&[1.0, 2.0, 4.0, 8.0, 16.0, 0.0], 4);
        assert_eq!(
            (five.scale, five.offset, five.buckets.as_slice()),
            (-1, -1, &[1, 2, 2][..])
        );
        assert_eq!(
            (five.zeros, five.count, five.sum, five.min, five.max),
            (1, 6, 31.0, 0.0, 16.0)
        );
        let down = of(&[16.0, 8.0, 4.0, 2.0, 1.0], 4);
        assert_eq!(
            (down.scale, down.offset, down.buckets.as_slice()),
            (-1, -1, &[1, 2, 2][..])
        );
    }

    /// Every value is in the bucket whose bounds hold it, and no finer scale would do.
    #[test]
    fn agrees_with_counting_each_value() {
        let mut rng = Rng(5);
        for round in 0..400 {
            let size = 2 + rng.below(160) as u32;
            let values: Vec<f64> = (0..1 + rng.below(50))
                .map(|_| ((rng.bits() >> rng.below(40)) % 1_000_000_000_000) as f64 / 1e6)
                .collect();
            let got = of(&values, size);
            let positive: Vec<f64> = values.iter().copied().filter(|v| *v > 0.0).collect();
            assert_eq!(got.zeros as usize, values.len() - positive.len());
            let fits = |scale: i32| {
                let all = positive.iter().map(|v| i64::from(index(*v, 20)) >> (20 - scale));
                let (low, high) = (all.clone().min(), all.max());
                high.zip(low)
                    .is_none_or(|(high, low)| high - low < i64::from(size))
            };
            let scale = (-10..=20).rev().find(|scale| fits(*scale)).unwrap();
            assert_eq!(got.scale, scale, "round {round}");
            let mut expected = vec![0; got.buckets.len()];
            for value in &positive {
                expected[((index(*value, 20) >> (20 - scale)) - got.offset) as usize] += 1;
            }
            assert_eq!(got.buckets, expected, "round {round}");
            assert!(got.buckets.len() <= size as usize);
            if let (Some(first), Some(last)) = (got.buckets.first(), got.buckets.last()) {
                assert!(*first > 0 && *last > 0);
            }
        }
    }
}

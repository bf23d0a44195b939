//! How much a tenant may send: a bucket for records and one for bytes.
//!
//! Whoever passes takes what it needs, and may leave a debt: a request of more than a bucket holds passes when that is
//! full, and requests that were asked about at the same time pass together. Those that come next wait until it is paid,
//! so the rate holds. Time is what the caller says it is.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::Rate;

/// The buckets of one tenant.
pub(super) struct Bucket {
    /// What is gained in a second; infinite without a limit.
    per_second: Amount,
    full: Amount,
    level: Mutex<Level>,
}

/// So many records, so many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Amount {
    pub(super) records: f64,
    pub(super) bytes: f64,
}

impl Amount {
    pub(super) fn new(records: u64, bytes: usize) -> Amount {
        Amount {
            records: records as f64,
            bytes: bytes as f64,
        }
    }

    fn zip(self, other: Amount, f: impl Fn(f64, f64) -> f64) -> Amount {
        Amount {
            records: f(self.records, other.records),
            bytes: f(self.bytes, other.bytes),
        }
    }
}

struct Level {
    left: Amount,
    at: Instant,
}

impl Bucket {
    /// Full; `None` if nothing is limited.
    pub(super) fn new(rate: &Rate, now: Instant) -> Option<Bucket> {
        let per_second = Amount {
            records: rate.records_per_second.unwrap_or(f64::INFINITY),
            bytes: rate.bytes_per_second.map_or(f64::INFINITY, |n| n.0 as f64),
        };
        let burst = rate.burst.0.as_secs_f64();
        // At least one record, however slow.
        let full = per_second.zip(
            Amount {
                records: 1.0,
                bytes: 1.0,
            },
            |rate, least| (rate * burst).max(least),
        );
        rate.is_limit().then(|| Bucket {
            per_second,
            full,
            level: Mutex::new(Level { left: full, at: now }),
        })
    }

    /// How long until so much may pass; zero if it may now. Takes nothing.
    pub(super) fn wait(&self, amount: Amount, now: Instant) -> Duration {
        let left = self.level.lock().at(now, self);
        // What passes with a full bucket need not wait for more.
        let missing = amount
            .zip(self.full, f64::min)
            .zip(left, |wanted, left| wanted - left);
        let seconds = missing.zip(self.per_second, |missing, rate| {
            match rate.is_finite() && missing > EPSILON {
                true => missing / rate,
                false => 0.0,
            }
        });
        Duration::try_from_secs_f64(seconds.records.max(seconds.bytes)).unwrap_or(Duration::MAX)
    }

    /// Takes it, whatever is there.
    pub(super) fn take(&self, amount: Amount, now: Instant) {
        let mut level = self.level.lock();
        level.at(now, self);
        level.left = level.left.zip(amount, |left, taken| left - taken);
    }

    /// Puts back what was taken for nothing.
    pub(super) fn give_back(&self, amount: Amount) {
        let mut level = self.level.lock();
        level.left = level
            .left
            .zip(amount, |left, taken| left + taken)
            .zip(self.full, f64::min);
    }

    /// Whether forgetting it changes nothing.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.level.lock().at(now, self) == self.full
    }
}

/// Sums of fractions are not exact; no record costs less.
const EPSILON: f64 = 1e-6;

impl Level {
    /// What is left by now.
    fn at(&mut self, now: Instant, of: &Bucket) -> Amount {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        let gained = self.left.zip(of.per_second, |left, rate| match rate.is_finite() {
            true => left + rate * seconds,
            false => f64::INFINITY,
        });
        self.left = gained.zip(of.full, f64::min);
        self.left
    }
}

#[cfg(test)]
mod tests {
    use component::prelude::{ByteSize, Duration as Span};
    use proptest::prelude::*;

    use super::*;

    fn rate(records: Option<f64>, bytes: Option<u64>, burst_ms: u64) -> Rate {
        Rate {
            records_per_second: records,
            bytes_per_second: bytes.map(ByteSize),
            burst: Span(Duration::from_millis(burst_ms)),
        }
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_wait_is_what_the_slower_of_both_needs() {
        let start = Instant::now();
        let check =
            |rate: Rate, taken: (u64, usize), wanted: (u64, usize), after_ms: u64, expected: Duration| {
                let bucket = Bucket::new(&rate, start).unwrap();
                bucket.take(Amount::new(taken.0, taken.1), start);
                let wait = bucket.wait(Amount::new(wanted.0, wanted.1), start + MS(after_ms));
                assert_eq!(
                    wait.as_millis(),
                    expected.as_millis(),
                    "{rate:?} {taken:?} {wanted:?}"
                );
            };
        let both = rate(Some(10.0), Some(1000), 1000);
        check(both, (0, 0), (10, 1000), 0, MS(0));
        check(both, (10, 0), (1, 1), 0, MS(100));
        check(both, (10, 0), (1, 1), 100, MS(0));
        check(both, (1, 1000), (1, 500), 0, MS(500));
        check(both, (0, 0), (1000, 0), 0, MS(0));
        check(both, (1000, 0), (1, 0), 0, MS(99_100));
        check(both, (1, 0), (1000, 0), 0, MS(100));
        check(
            rate(Some(10.0), None, 2000),
            (20, usize::MAX),
            (20, usize::MAX),
            1000,
            MS(1000),
        );
        check(rate(Some(0.5), None, 1000), (1, 0), (1, 0), 0, MS(2000));
        check(rate(None, Some(1), 1), (u64::MAX, 0), (u64::MAX, 1), 0, MS(0));
        assert!(Bucket::new(&rate(None, None, 1), start).is_none());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more_than_that() {
        let start = Instant::now();
        let bucket = Bucket::new(&rate(Some(10.0), None, 1000), start).unwrap();
        bucket.take(Amount::new(10, 5), start);
        assert!(!bucket.is_full(start) && bucket.is_full(start + MS(1000)));
        bucket.give_back(Amount::new(10, 5));
        bucket.take(Amount::new(10, 5), start + MS(1000));
        bucket.give_back(Amount::new(100, 5));
        assert_eq!(bucket.wait(Amount::new(10, 0), start + MS(1000)), MS(0));
        bucket.take(Amount::new(10, 0), start + MS(1000));
        assert!(
            bucket.wait(Amount::new(1, 0), start + MS(1000)) > MS(0),
            "it holds no more than a burst"
        );
        // A clock that seems to go back gains nothing.
        assert!(bucket.wait(Amount::new(1, 0), start) > MS(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is asked when: in any time no more passes than the rate, a burst, and one request.
        #[test]
        fn the_rate_holds(requests in prop::collection::vec((0u64..300, 1u64..40), 1..200)) {
            let start = Instant::now();
            let bucket = Bucket::new(&rate(Some(20.0), None, 1000), start).unwrap();
            let (mut now, mut passed) = (start, 0u64);
            for (pause, records) in requests {
                now += MS(pause);
                let amount = Amount::new(records, 0);
                if bucket.wait(amount, now).is_zero() {
                    bucket.take(amount, now);
                    passed += records;
                }
                let most = 20.0 * (now - start).as_secs_f64() + 20.0 + 40.0;
                prop_assert!(passed as f64 <= most, "{passed} in {:?}", now - start);
            }
        }
    }
}

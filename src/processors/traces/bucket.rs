//! A bucket of tokens that fills over time: a rate with room for bursts.

use tokio::time::Instant;

/// Full at first.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    capacity: f64,
    tokens: f64,
    last: Option<Instant>,
}

impl Bucket {
    /// A bucket that takes in so many tokens a second and holds no more than `capacity`.
    pub(crate) fn new(per_second: u64, capacity: u64) -> Bucket {
        Bucket {
            per_second: per_second as f64,
            capacity: capacity as f64,
            tokens: capacity as f64,
            last: None,
        }
    }

    /// Takes so many tokens, or none if there are not enough.
    pub(crate) fn take(&mut self, now: Instant, tokens: u64) -> bool {
        if let Some(last) = self.last {
            let since = now.saturating_duration_since(last).as_secs_f64();
            self.tokens = (self.tokens + since * self.per_second).min(self.capacity);
        }
        self.last = Some(now);
        let fits = tokens as f64 <= self.tokens;
        if fits {
            self.tokens -= tokens as f64;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bursts_are_let_pass_up_to_the_capacity() {
        let start = Instant::now();
        let mut bucket = Bucket::new(5, 10);
        let mut check = |after_ms: u64, tokens: u64, expected: bool| {
            let now = start + Duration::from_millis(after_ms);
            assert_eq!(bucket.take(now, tokens), expected, "{tokens} after {after_ms} ms");
        };
        check(0, 11, false);
        check(0, 6, true);
        check(0, 5, false);
        check(0, 4, true);
        check(100, 1, false);
        check(200, 1, true);
        check(60_000, 10, true);
        check(60_000, 1, false);
        check(59_000, 0, true);
    }
}

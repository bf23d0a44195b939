//! When an export is tried again: the collector's backoff, the far side's own wish, and when to give up.
//!
//! Nothing here sleeps: a [`Backoff`] says how long, the queue parks the batch (which frees its consumer) or the direct
//! path waits with its caller. A [`Breaker`] holds back the other batches of a partition whose far side has said no
//! several times in a row, so that one tenant's trouble costs nobody else an attempt.
//! Source of the formula: opentelemetry-collector exporterhelper, retry_sender.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use tokio::time::Instant;

/// Refusals in a row after which a partition is tried with one batch at a time.
pub(crate) const BREAKER_FAILURES: u32 = 5;
/// First and longest pause after the far side said that we may not send.
const UNAUTHORIZED_MIN: Duration = Duration::from_secs(30);
const UNAUTHORIZED_MAX: Duration = Duration::from_secs(300);
/// Longest pause that a far side can wish for.
const HINT_MAX: Duration = Duration::from_secs(3600);

/// `retry_on_failure`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct RetrySettings {
    /// First pause.
    pub initial: Duration,
    /// A pause varies by this part of itself, up and down; 0 to 1.
    pub randomization: f64,
    /// Each pause is this many times the one before.
    pub multiplier: f64,
    /// No pause is longer, before it varies.
    pub max: Duration,
    /// Give up after this long; `None` = never.
    pub elapsed_max: Option<Duration>,
    /// Give up after so many further attempts; `None` = however many.
    pub retries_max: Option<u32>,
}

/// Why it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The far side is unwell, and may have said when to come again.
    Unwell(Option<Duration>),
    /// We may not send: a configuration state. Time spent on it never leads to giving up.
    Unauthorized,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try again after this long.
    Wait(Duration),
    /// For this reason there is no further attempt.
    GiveUp(&'static str),
}

/// The retry state of one batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    interval: Option<Duration>,
    since: Option<Instant>,
    unauthorized: Option<Duration>,
    retries: u32,
}

impl Backoff {
    /// What to do after a failed attempt at `now`. `chance` is uniform in 0..1.
    pub(crate) fn next(
        &mut self,
        settings: Option<&RetrySettings>,
        trouble: Trouble,
        now: Instant,
        chance: f64,
    ) -> Next {
        let Some(settings) = settings else {
            return Next::GiveUp("retry_disabled");
        };
        let hint = match trouble {
            Trouble::Unauthorized => {
                let pause = self
                    .unauthorized
                    .map_or(UNAUTHORIZED_MIN, |p| (p * 2).min(UNAUTHORIZED_MAX));
                self.unauthorized = Some(pause);
                self.since = None;
                return Next::Wait(pause);
            }
            Trouble::Unwell(hint) => hint.unwrap_or_default().min(HINT_MAX),
        };
        self.unauthorized = None;
        if settings.retries_max.is_some_and(|max| self.retries >= max) {
            return Next::GiveUp("retries_exhausted");
        }
        self.retries = self.retries.saturating_add(1);
        let since = *self.since.get_or_insert(now);
        let current = self.interval.unwrap_or(settings.initial);
        let next = seconds(current.as_secs_f64() * settings.multiplier).min(settings.max);
        self.interval = Some(next);
        let spread = settings.randomization * (2.0 * chance - 1.0);
        let delay = seconds(current.as_secs_f64() * (1.0 + spread)).max(hint);
        match settings.elapsed_max {
            Some(max) if now + delay > since + max => Next::GiveUp("retries_exhausted"),
            _ => Next::Wait(delay),
        }
    }
}

/// Whole batches of one partition that were refused in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    closed_until: Option<Instant>,
}

impl Breaker {
    /// The far side took a batch, or judged it: it is there.
    pub(crate) fn answered(&mut self) {
        *self = Breaker::default();
    }

    /// The far side did not take it, and the batch waits until `due`.
    pub(crate) fn refused(&mut self, due: Instant, asked: bool) {
        self.failures = self.failures.saturating_add(1);
        if asked || self.failures >= BREAKER_FAILURES {
            self.closed_until = self.closed_until.max(Some(due));
        }
    }

    /// Until when no batch may be started; `None` = now.
    pub(crate) fn closed(&self, now: Instant) -> Option<Instant> {
        self.closed_until.filter(|until| *until > now)
    }

    /// Whether its last answer was a refusal.
    pub(crate) fn is_unwell(&self) -> bool {
        self.failures > 0
    }

    /// Whether one batch at a time is enough to find out.
    pub(crate) fn is_probing(&self) -> bool {
        self.failures >= BREAKER_FAILURES
    }
}

/// A number in 0..1, different each time.
pub(crate) fn chance() -> f64 {
    // A fresh hasher is randomly keyed by std; good enough to spread retries, of no use for secrets.
    let bits = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or(HINT_MAX * 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> RetrySettings {
        RetrySettings {
            initial: Duration::from_secs(5),
            randomization: 0.5,
            multiplier: 1.5,
            max: Duration::from_secs(30),
            elapsed_max: Some(Duration::from_secs(300)),
            retries_max: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_as_the_collectors() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for expected in [5.0, 7.5, 11.25, 16.875, 25.3125, 30.0, 30.0] {
            let Next::Wait(delay) = backoff.next(Some(&settings()), Trouble::Unwell(None), now, 0.5) else {
                panic!("gave up");
            };
            assert!(
                (delay.as_secs_f64() - expected).abs() < 1e-6,
                "{delay:?}, not {expected}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn varies_within_the_factor() {
        let now = Instant::now();
        for (chance, expected) in [(0.0, 2.5), (1.0, 7.5)] {
            let next = Backoff::default().next(Some(&settings()), Trouble::Unwell(None), now, chance);
            assert_eq!(next, Next::Wait(Duration::from_secs_f64(expected)));
        }
        for _ in 0..100 {
            assert!((0.0..1.0).contains(&chance()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_far_sides_wish_is_a_lower_bound() {
        let now = Instant::now();
        let hint = |s| Trouble::Unwell(Some(Duration::from_secs(s)));
        let check = |trouble, expected| {
            let next = Backoff::default().next(Some(&settings()), trouble, now, 0.5);
            assert_eq!(next, expected);
        };
        check(hint(1), Next::Wait(Duration::from_secs(5)));
        check(hint(60), Next::Wait(Duration::from_secs(60)));
        check(hint(301), Next::GiveUp("retries_exhausted"));
        check(hint(u64::MAX), Next::GiveUp("retries_exhausted"));
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_when_the_next_try_would_be_too_late() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        backoff.next(Some(&settings()), Trouble::Unwell(None), start, 0.5);
        let late = start + Duration::from_secs(295);
        let next = backoff.next(Some(&settings()), Trouble::Unwell(None), late, 0.5);
        assert_eq!(next, Next::GiveUp("retries_exhausted"));
        let forever = RetrySettings {
            elapsed_max: None,
            ..settings()
        };
        let next = backoff.next(Some(&forever), Trouble::Unwell(None), late, 0.5);
        assert!(matches!(next, Next::Wait(_)));
        let next = backoff.next(None, Trouble::Unwell(None), late, 0.5);
        assert_eq!(next, Next::GiveUp("retry_disabled"));
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_after_so_many_retries() {
        let now = Instant::now();
        for max in 0..4 {
            let settings = RetrySettings {
                elapsed_max: None,
                retries_max: Some(max),
                ..settings()
            };
            let mut backoff = Backoff::default();
            for _ in 0..max {
                let next = backoff.next(Some(&settings), Trouble::Unwell(None), now, 0.5);
                assert!(matches!(next, Next::Wait(_)), "{max}");
                // Attempts that we were not let in for are none of them.
                let next = backoff.next(Some(&settings), Trouble::Unauthorized, now, 0.5);
                assert!(matches!(next, Next::Wait(_)), "{max}");
            }
            let next = backoff.next(Some(&settings), Trouble::Unwell(None), now, 0.5);
            assert_eq!(next, Next::GiveUp("retries_exhausted"), "{max}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn never_gives_up_for_want_of_permission() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        for (at, expected) in [
            (0, 30),
            (100, 60),
            (1000, 120),
            (5000, 240),
            (9000, 300),
            (90000, 300),
        ] {
            let now = start + Duration::from_secs(at);
            let next = backoff.next(Some(&settings()), Trouble::Unauthorized, now, 0.5);
            assert_eq!(next, Next::Wait(Duration::from_secs(expected)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_closes_on_request_or_after_five() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        let due = now + Duration::from_secs(5);
        for _ in 1..BREAKER_FAILURES {
            breaker.refused(due, false);
            assert_eq!(breaker.closed(now), None);
        }
        breaker.refused(due, false);
        assert_eq!(breaker.closed(now), Some(due));
        assert_eq!(breaker.closed(due), None);
        assert!(breaker.is_probing());
        breaker.answered();
        assert_eq!(breaker.closed(now), None);
        breaker.refused(due, true);
        assert_eq!(breaker.closed(now), Some(due));
        assert!(!breaker.is_probing());
    }
}

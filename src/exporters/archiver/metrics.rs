//! What an archive counts.

use std::collections::VecDeque;
use std::time::Duration as Span;

use component::prelude::*;
use evidence::entry::Obj;
use evidence::time::Time;
use parking_lot::Mutex;
use telemetry::metrics::{Counter, Gauge, Histogram};
use tokio::time::Instant;

/// Counters and gauges of one exporter.
pub(super) struct Metrics {
    telemetry: telemetry::Telemetry,
    exporter: String,
    raw_bytes: Counter,
    stored_bytes: Counter,
    archived: Counter,
    lost: Counter,
    pub(super) put_seconds: Histogram,
    pub(super) put_denied: Counter,
    key_conflicts: Counter,
    pub(super) fenced: Counter,
    pub(super) imbalance: Counter,
    pub(super) buffer_bytes: Gauge,
    pub(super) spool_bytes: Gauge,
    pub(super) open_partitions: Gauge,
    pub(super) oldest_unsealed_s: Gauge,
    pub(super) last_checkpoint: Gauge,
    pub(super) log_size: Gauge,
    pub(super) worm_ok: Gauge,
    selftest_at: Gauge,
    puts_month: Gauge,
    pub(super) oldest_owed_s: Gauge,
    rate: Mutex<Rate>,
    pub(super) clock_skew_s: Gauge,
    pub(super) owed_records: Gauge,
}

impl Metrics {
    pub(super) fn new(cx: &BuildContext) -> Metrics {
        let exporter = cx.id.to_string();
        let with = |more: Option<(&'static str, &str)>| {
            let mut labels = vec![("exporter", exporter.clone())];
            labels.extend(more.map(|(name, value)| (name, value.to_owned())));
            labels
        };
        let all = &cx.telemetry.metrics;
        let gauge = |name| all.gauge(name, with(None));
        let counter = |name| all.counter(name, with(None));
        Metrics {
            raw_bytes: all.counter("weir_archive_bytes", with(Some(("kind", "raw")))),
            stored_bytes: all.counter("weir_archive_bytes", with(Some(("kind", "stored")))),
            archived: all.counter("weir_archive_records", with(Some(("result", "archived")))),
            lost: all.counter("weir_archive_records", with(Some(("result", "lost")))),
            put_seconds: all.histogram("weir_archive_put_seconds", with(None)),
            put_denied: counter("weir_archive_put_denied"),
            key_conflicts: counter("weir_archive_key_conflicts"),
            fenced: counter("weir_archive_fenced"),
            imbalance: counter("weir_archive_ledger_imbalance"),
            buffer_bytes: gauge("weir_archive_buffer_bytes"),
            spool_bytes: gauge("weir_archive_spool_bytes"),
            open_partitions: gauge("weir_archive_open_partitions"),
            oldest_unsealed_s: gauge("weir_archive_oldest_unsealed_seconds"),
            last_checkpoint: gauge("weir_archive_last_checkpoint_timestamp_seconds"),
            log_size: gauge("weir_archive_log_size"),
            worm_ok: gauge("weir_archive_worm_ok"),
            selftest_at: gauge("weir_archive_selftest_timestamp_seconds"),
            puts_month: gauge("weir_archive_puts_month"),
            oldest_owed_s: gauge("weir_archive_oldest_owed_seconds"),
            rate: Mutex::new(Rate::new(Instant::now())),
            clock_skew_s: gauge("weir_archive_clock_skew_seconds"),
            owed_records: gauge("weir_archive_owed_records"),
            telemetry: cx.telemetry.clone(),
            exporter,
        }
    }

    /// An object is in the store and in the log.
    pub(super) fn object(&self, class: &str, obj: &Obj) {
        self.raw_bytes.add(obj.raw);
        self.stored_bytes.add(obj.size);
        self.archived.add(obj.n);
        // By tenant only where the log tells: names of tenants are the user's, and there may be many.
        let labels = vec![
            ("exporter", self.exporter.clone()),
            ("class", class.to_owned()),
            ("signal", obj.signal.clone()),
        ];
        self.telemetry
            .metrics
            .counter("weir_archive_objects", labels)
            .add(1);
    }

    /// Whether the lock holds was found out just now.
    pub(super) fn proved(&self, holds: bool, now: Time) {
        self.worm_ok.set(i64::from(holds));
        self.selftest_at.set(now.millis() / 1000);
    }

    /// A key was made, changed or used.
    pub(super) fn key_op(&self, op: &'static str, is_ok: bool) {
        let result = if is_ok { "ok" } else { "error" };
        let labels = vec![
            ("exporter", self.exporter.clone()),
            ("op", op.to_owned()),
            ("result", result.to_owned()),
        ];
        self.telemetry
            .metrics
            .counter("weir_archive_key_ops", labels)
            .add(1);
    }

    /// So many requests to write went out.
    pub(super) fn puts(&self, n: u64) {
        self.rate.lock().add(n, Instant::now());
    }

    /// What is worked out now and then.
    pub(super) fn look(&self) {
        let a_month = self.rate.lock().a_month(Instant::now());
        self.puts_month.set(a_month.cast_signed());
    }

    pub(super) fn lost(&self, records: u64) {
        self.lost.add(records);
    }

    pub(super) fn key_conflict(&self) {
        self.key_conflicts.add(1);
    }

    pub(super) fn frames(&self, why: &'static str) {
        self.by("weir_archive_frames", "why", why);
    }

    pub(super) fn roll(&self, why: &'static str) {
        self.by("weir_archive_rolls", "why", why);
    }

    pub(super) fn put_retry(&self, code: &str) {
        self.by("weir_archive_put_retries", "code", code);
    }

    fn by(&self, name: &'static str, label: &'static str, value: &str) {
        let labels = vec![("exporter", self.exporter.clone()), (label, value.to_owned())];
        self.telemetry.metrics.counter(name, labels).add(1);
    }
}

/// Requests of the last hour, by minute.
struct Rate {
    began: Instant,
    /// Minutes since then, and the requests in each.
    minutes: VecDeque<(u64, u64)>,
}

/// A month as price lists have it.
const MONTH: Span = Span::from_secs(30 * 24 * 60 * 60);
const HOUR_MINUTES: u64 = 60;

impl Rate {
    fn new(began: Instant) -> Rate {
        Rate {
            began,
            minutes: VecDeque::new(),
        }
    }

    fn minute(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / 60
    }

    fn add(&mut self, n: u64, now: Instant) {
        let minute = self.minute(now);
        match self.minutes.back_mut() {
            Some((at, all)) if *at == minute => *all += n,
            _ => self.minutes.push_back((minute, n)),
        }
        while self
            .minutes
            .front()
            .is_some_and(|(at, _)| *at + HOUR_MINUTES <= minute)
        {
            self.minutes.pop_front();
        }
    }

    /// Requests in a month if it goes on as in the last hour, or since the start; 0 until there was a minute.
    fn a_month(&self, now: Instant) -> u64 {
        let minute = self.minute(now);
        let all = self.minutes.iter().filter(|(at, _)| *at + HOUR_MINUTES > minute);
        let all: u64 = all.map(|(_, n)| n).sum();
        match now.saturating_duration_since(self.began).as_secs() {
            0..60 => 0,
            seconds => {
                // The last hour begins with a whole minute.
                let seen = seconds.min((HOUR_MINUTES - 1) * 60 + seconds % 60).max(60);
                all.saturating_mul(MONTH.as_secs()) / seen
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_month_is_like_the_last_hour() {
        let began = Instant::now();
        let mut rate = Rate::new(began);
        let after = |seconds: u64| began + Span::from_secs(seconds);
        let check = |rate: &Rate, seconds: u64, expected: u64| {
            assert_eq!(rate.a_month(after(seconds)), expected, "after {seconds} s");
        };
        rate.add(30, after(0));
        check(&rate, 59, 0);
        check(&rate, 60, 30 * 30 * 24 * 60);
        check(&rate, 120, 15 * 30 * 24 * 60);
        // Two a minute for two hours: what was before does not count any more.
        for minute in 1..120 {
            rate.add(2, after(minute * 60));
        }
        check(&rate, 120 * 60 - 1, 2 * 60 * 30 * 24 * 60 * 60 / 3599);
        assert_eq!(rate.minutes.len(), 60);
        check(&rate, 400 * 60, 0);
    }
}

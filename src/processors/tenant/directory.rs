//! The tenants that are known: each name once, with its rate and its counter.
//!
//! Names come from clients, so there is a bound. Those of the configuration stay; of the others, when there are too many,
//! those go that have been silent for [`IDLE`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use component::BuildContext;
use parking_lot::{Mutex, RwLock};
use telemetry::{Counter, Gauge};
use tokio::time::Instant;
use wire::Signal;

use super::config::{Config, Limits};
use super::rate::Bucket;

/// Silent for so long, a tenant may be forgotten.
const IDLE: Duration = Duration::from_secs(600);
/// Looked for at most this often.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Tenants with a series of their own; the rest are counted together.
const SERIES_MAX: usize = 200;

/// One tenant.
pub(super) struct Known {
    pub(super) name: Arc<str>,
    pub(super) bucket: Option<Bucket>,
    pub(super) items: Counter,
    /// In seconds since the directory was made.
    used: AtomicU64,
    stays: bool,
}

/// All tenants that one processor of one pipeline knows.
pub(super) struct Directory {
    all: RwLock<HashMap<Arc<str>, Arc<Known>>>,
    /// With those that stay.
    most: usize,
    limits: Limits,
    start: Instant,
    swept: Mutex<Option<Instant>>,
    counters: Counters,
    known: Gauge,
    warned: AtomicBool,
    id: String,
}

struct Counters {
    metrics: telemetry::Telemetry,
    processor: String,
    signal: Signal,
    given: AtomicUsize,
}

impl Counters {
    fn of(&self, name: &str) -> Counter {
        let own = self.given.fetch_add(1, Relaxed) < SERIES_MAX;
        let labels = vec![
            ("processor", self.processor.clone()),
            ("signal", self.signal.as_str().to_owned()),
            ("tenant", if own { name } else { "other" }.to_owned()),
        ];
        self.metrics.metrics.counter("weir_tenant_items", labels)
    }
}

impl Directory {
    pub(super) fn new(config: &Config, cx: &BuildContext, signal: Signal) -> Directory {
        let names = config.names();
        let processor = cx.id.to_string();
        let labels = vec![
            ("processor", processor.clone()),
            ("signal", signal.as_str().to_owned()),
        ];
        let directory = Directory {
            all: RwLock::default(),
            most: config.max_tenants + names.len(),
            limits: config.limits.clone(),
            start: Instant::now(),
            swept: Mutex::default(),
            known: cx.telemetry.metrics.gauge("weir_tenant_known", labels),
            counters: Counters {
                metrics: cx.telemetry.clone(),
                processor: processor.clone(),
                signal,
                given: AtomicUsize::new(0),
            },
            warned: AtomicBool::new(false),
            id: processor,
        };
        for name in names {
            let known = directory.make(name, directory.start, true);
            directory.all.write().insert(known.name.clone(), known);
        }
        directory.known.set(directory.all.read().len() as i64);
        directory
    }

    /// The tenant of a valid name; `None` if there are too many.
    pub(super) fn get(&self, name: &str, now: Instant) -> Option<Arc<Known>> {
        let seconds = now.saturating_duration_since(self.start).as_secs();
        if let Some(known) = self.all.read().get(name) {
            known.used.store(seconds, Relaxed);
            return Some(known.clone());
        }
        let mut all = self.all.write();
        if let Some(known) = all.get(name) {
            return Some(known.clone());
        }
        if all.len() >= self.most {
            self.sweep(&mut all, now);
        }
        if all.len() >= self.most {
            if !self.warned.swap(true, Relaxed) {
                tracing::warn!(
                    processor = self.id,
                    max_tenants = self.most,
                    "more tenants than may be known: those that come now have no name"
                );
            }
            return None;
        }
        let known = self.make(name, now, false);
        all.insert(known.name.clone(), known.clone());
        self.known.set(all.len() as i64);
        Some(known)
    }

    fn make(&self, name: &str, now: Instant, stays: bool) -> Arc<Known> {
        let rate = self.limits.tenants.get(name).unwrap_or(&self.limits.default);
        Arc::new(Known {
            bucket: Bucket::new(rate, now),
            items: self.counters.of(name),
            name: name.into(),
            used: AtomicU64::new(now.saturating_duration_since(self.start).as_secs()),
            stays,
        })
    }

    fn sweep(&self, all: &mut HashMap<Arc<str>, Arc<Known>>, now: Instant) {
        let mut swept = self.swept.lock();
        if swept.is_some_and(|at| now.saturating_duration_since(at) < SWEEP_PAUSE) {
            return;
        }
        *swept = Some(now);
        let seconds = now.saturating_duration_since(self.start).as_secs();
        let is_silent = |known: &Known| {
            let silent = seconds.saturating_sub(known.used.load(Relaxed)) >= IDLE.as_secs();
            // Who is in debt does not get rid of it by silence.
            silent && known.bucket.as_ref().is_none_or(|bucket| bucket.is_full(now))
        };
        all.retain(|_, known| known.stays || !is_silent(known));
        self.known.set(all.len() as i64);
    }
}

//! The whole exporter, with a journal that keeps debts as the harness does, and a store that can be told to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A place in an archive's work at which the power fails: nothing that asks behind it ever goes on.
#[derive(Clone, Default)]
pub(super) struct Cut(Arc<CutInner>);

#[derive(Default)]
struct CutInner {
    /// Steps that are passed before it; 0 = never.
    at: AtomicUsize,
    passed: AtomicUsize,
    /// Or every step of this name.
    name: parking_lot::Mutex<Option<&'static str>>,
}

impl Cut {
    /// Cuts at the `n`-th step, counted from 1.
    pub(super) fn set(&self, n: usize) {
        self.0.at.store(n, Relaxed);
    }

    /// Cuts whatever comes to a step of this name, and nothing else.
    pub(super) fn set_at(&self, name: &'static str) {
        *self.0.name.lock() = Some(name);
    }

    /// Steps that were passed.
    pub(super) fn passed(&self) -> usize {
        self.0.passed.load(Relaxed)
    }

    pub(super) async fn pass(&self, name: &'static str) {
        let at = self.0.at.load(Relaxed);
        let passed = self.0.passed.fetch_add(1, Relaxed) + 1;
        if at > 0 && passed >= at || *self.0.name.lock() == Some(name) {
            std::future::pending::<()>().await;
        }
    }
}

mod bounds;
mod buckets;
mod crash;
mod faults;
mod fences;
mod keys;
mod lost;
mod peers;
pub(super) mod rig;
mod whole;

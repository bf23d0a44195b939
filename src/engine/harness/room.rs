//! Room in a queue: capacity in units of its sizer, and memory. Both are held until the request's last piece is done.
//!
//! Partitions (tenants, metadata values) share the capacity: one may hold at most three times what it leaves free, so a
//! partition that cannot be delivered ends at three quarters of the queue, two of them at three sevenths each, and there
//! is always some room for the others.

use std::collections::HashMap;
use std::sync::Arc;

use component::{Class, Memory, Refusal, Reservation};
use parking_lot::Mutex;
use telemetry::{Counter, Gauge};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wire::Payload;

use super::batch::{Key, Portion};
use super::wait;

/// What a queue's size is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizer {
    /// Each request is one.
    Requests,
    /// Log records, spans, data points, samples.
    Items,
    /// Encoded bytes.
    Bytes,
}

/// How many times what it leaves free one partition may hold.
const SHARE: usize = 3;

/// What each partition holds of a queue.
#[derive(Default)]
pub(crate) struct Shares {
    held: Mutex<HashMap<Key, usize>>,
    freed: Notify,
}

/// A partition's part of a [`Room`].
struct Share {
    shares: Arc<Shares>,
    key: Key,
    units: usize,
}

impl Shares {
    /// `None`: it would be more than its share of `free` units.
    fn take(self: &Arc<Shares>, key: &Key, units: usize, free: usize) -> Option<Share> {
        let mut all = self.held.lock();
        let held = all.get(key).copied().unwrap_or(0);
        let left = free.saturating_sub(units);
        if held > 0 && held.saturating_add(units) > left.saturating_mul(SHARE) {
            return None;
        }
        all.insert(key.clone(), held + units);
        Some(Share {
            shares: self.clone(),
            key: key.clone(),
            units,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.shares.held.lock();
        if let Some(held) = all.get_mut(&self.key) {
            *held = held.saturating_sub(self.units);
            if *held == 0 {
                all.remove(&self.key);
            }
        }
        drop(all);
        self.shares.freed.notify_waiters();
    }
}

/// The bound of a queue.
pub(crate) struct Capacity {
    pub(crate) size: usize,
    pub(crate) sizer: Sizer,
    pub(crate) block: bool,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) class: Class,
    pub(crate) used: Gauge,
    pub(crate) refused: Counter,
}

/// One request's share of a queue; given back on drop.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
    _shares: Vec<Share>,
    _memory: Reservation,
    used: Gauge,
    units: i64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.used.add(-self.units);
    }
}

impl Capacity {
    /// Room for a payload that falls to these partitions.
    pub(crate) async fn reserve(&self, payload: &Payload, portions: &[Portion]) -> Result<Room, Refusal> {
        let room = self.try_reserve(payload, portions).await;
        if room.is_err() {
            self.refused.add(payload.items as u64);
        }
        room
    }

    /// The caller has its answer, and it is no.
    pub(crate) fn count_failed(&self, items: usize) {
        self.refused.add(items as u64);
    }

    fn units(&self, items: usize, bytes: usize) -> usize {
        match self.sizer {
            Sizer::Requests => 1,
            Sizer::Items => items.max(1),
            Sizer::Bytes => bytes.max(1),
        }
    }

    async fn try_reserve(&self, payload: &Payload, portions: &[Portion]) -> Result<Room, Refusal> {
        let bytes = payload.len();
        let units = self.units(payload.items, bytes);
        let permits = match u32::try_from(units) {
            Ok(permits) if units <= self.size => permits,
            _ => {
                return Err(Refusal::Invalid(format!(
                    "element size too large: {units} in a queue of {}; send less at once or raise queue_size",
                    self.size
                )));
            }
        };
        let busy = Refusal::Busy { retry_after: None };
        let mut shares = Vec::with_capacity(portions.len());
        for portion in portions {
            if let Some(key) = &portion.key {
                let units = self.units(portion.items, portion.bytes);
                let share = self.share(key, units, payload).await;
                shares.push(share.ok_or_else(|| busy.clone())?);
            }
        }
        let permit = match self.permits.clone().try_acquire_many_owned(permits) {
            Ok(permit) => permit,
            Err(_) if self.block => {
                let until = wait::until(&payload.context, Instant::now());
                let acquired =
                    tokio::time::timeout_at(until, self.permits.clone().acquire_many_owned(permits));
                match acquired.await {
                    Ok(Ok(permit)) => permit,
                    _ => return Err(busy),
                }
            }
            Err(_) => return Err(busy),
        };
        let Some(memory) = self.memory.reserve(self.class, bytes) else {
            return Err(busy);
        };
        let units = units as i64;
        self.used.add(units);
        Ok(Room {
            _permit: permit,
            _shares: shares,
            _memory: memory,
            used: self.used.clone(),
            units,
        })
    }

    /// The share of a partition; where callers wait for room they wait for this too.
    async fn share(&self, key: &Key, units: usize, payload: &Payload) -> Option<Share> {
        let until = wait::until(&payload.context, Instant::now());
        loop {
            let freed = self.shares.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let share = self.shares.take(key, units, self.permits.available_permits());
            if share.is_some() || !self.block || tokio::time::timeout_at(until, freed).await.is_err() {
                return share;
            }
        }
    }
}

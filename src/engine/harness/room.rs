//! Room in a queue: capacity in units of its sizer, and memory. Both are held until the request's last piece is done.

use std::sync::Arc;

use component::{Class, Memory, Refusal, Reservation};
use telemetry::{Counter, Gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wire::Payload;

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

/// The bound of a queue.
pub(crate) struct Capacity {
    pub(crate) size: usize,
    pub(crate) sizer: Sizer,
    pub(crate) block: bool,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) class: Class,
    pub(crate) used: Gauge,
    pub(crate) refused: Counter,
}

/// One request's share of a queue; given back on drop.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
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
    pub(crate) async fn reserve(&self, payload: &Payload) -> Result<Room, Refusal> {
        let room = self.try_reserve(payload).await;
        if room.is_err() {
            self.refused.add(payload.items as u64);
        }
        room
    }

    async fn try_reserve(&self, payload: &Payload) -> Result<Room, Refusal> {
        let bytes = payload.len();
        let units = match self.sizer {
            Sizer::Requests => 1,
            Sizer::Items => payload.items.max(1),
            Sizer::Bytes => bytes.max(1),
        };
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
            _memory: memory,
            used: self.used.clone(),
            units,
        })
    }
}

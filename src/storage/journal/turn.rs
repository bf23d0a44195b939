//! Who reads for a destination: one reader at a time, and the next one waits until the one before has let go.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Queue, OwnedMutexGuard};

use super::DestId;

/// Turns at the destinations of one journal.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<DestId, Arc<Queue<bool>>>>);

impl Turns {
    pub(super) async fn turn(&self, destination: DestId) -> Turn {
        let queue = self.0.lock().entry(destination).or_default().clone();
        let mut guard = queue.lock_owned().await;
        let is_first = !std::mem::replace(&mut *guard, true);
        Turn {
            _guard: guard,
            is_first,
        }
    }

    /// Somebody has it now.
    pub(super) fn is_held(&self, destination: DestId) -> bool {
        let queue = self.0.lock().get(&destination).cloned();
        queue.is_some_and(|queue| queue.try_lock().is_err())
    }
}

/// The right to read for a destination. Given back when dropped.
pub struct Turn {
    _guard: OwnedMutexGuard<bool>,
    /// Nobody had it since the journal was opened.
    pub is_first: bool,
}

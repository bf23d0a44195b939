//! Who reads for a destination: one reader at a time, and the next one waits until the one before has let go.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use super::DestId;

/// Turns at the destinations of one journal.
#[derive(Default)]
pub(super) struct Claims(Mutex<HashMap<DestId, Arc<Turn<bool>>>>);

impl Claims {
    pub(super) async fn claim(&self, destination: DestId) -> Claim {
        let turn = self.0.lock().entry(destination).or_default().clone();
        let mut guard = turn.lock_owned().await;
        let is_first = !std::mem::replace(&mut *guard, true);
        Claim {
            _guard: guard,
            is_first,
        }
    }

    /// Somebody has it now.
    pub(super) fn is_held(&self, destination: DestId) -> bool {
        let turn = self.0.lock().get(&destination).cloned();
        turn.is_some_and(|turn| turn.try_lock().is_err())
    }
}

/// The right to read for a destination. Given back when dropped.
pub struct Claim {
    _guard: OwnedMutexGuard<bool>,
    /// Nobody had it since the journal was opened.
    pub is_first: bool,
}

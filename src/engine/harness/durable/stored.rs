//! A record that is loaded, as the tickets of its pieces see it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use component::Reservation;
use parking_lot::Mutex;
use storage::journal::Seq;

use super::{Durable, Label};

/// Stands for a record that is loaded; its pieces share it.
pub(crate) struct Stored {
    queue: Weak<Durable>,
    pub(crate) seq: Seq,
    pub(super) label: Label,
    /// In the journal.
    pub(super) bytes: usize,
    /// In the window, with what is reserved for it.
    held: Mutex<(usize, Reservation)>,
    /// Items that are owed.
    left: AtomicU64,
    state: Mutex<Sending>,
}

#[derive(Default)]
struct Sending {
    attempts: u32,
    dropped: bool,
}

impl Stored {
    pub(super) fn new(
        queue: &Arc<Durable>,
        seq: Seq,
        label: &Label,
        bytes: usize,
        left: u64,
        memory: Reservation,
    ) -> Stored {
        Stored {
            queue: Arc::downgrade(queue),
            seq,
            label: label.clone(),
            bytes,
            held: Mutex::new((bytes, memory)),
            left: AtomicU64::new(left),
            state: Mutex::default(),
        }
    }

    /// Bytes of the window that it holds.
    pub(super) fn held(&self) -> usize {
        self.held.lock().0
    }

    /// Bytes of a piece are in memory no more.
    pub(crate) fn shelve(&self, bytes: usize) {
        let given = {
            let mut held = self.held.lock();
            let given = bytes.min(held.0);
            held.0 -= given;
            held.1.shrink(given);
            given
        };
        if let Some(queue) = self.queue.upgrade() {
            queue.unload(&self.label, given);
        }
    }

    /// Where it is read again; `None` if the queue is gone.
    pub(crate) fn queue(&self) -> Option<Arc<Durable>> {
        self.queue.upgrade()
    }

    /// Whether something of it waits to be sent.
    pub(super) fn is_owed(&self) -> bool {
        self.left.load(Relaxed) > 0 && !self.state.lock().dropped
    }

    /// An attempt with a piece of it begins; false if it was dropped meanwhile.
    pub(crate) fn begin(&self) -> bool {
        let mut state = self.state.lock();
        if !state.dropped {
            state.attempts += 1;
        }
        !state.dropped
    }

    /// The journal notes that it may have been sent; to be awaited before that.
    pub(crate) async fn announce(&self) {
        let Some(queue) = self.queue.upgrade() else { return };
        if let Some(opened) = queue.opened() {
            opened.journal.dispatched(opened.dest, self.seq).await;
        }
    }

    /// It is dropped, unless a piece of it is being sent.
    pub(super) fn give_up(&self) -> bool {
        let mut state = self.state.lock();
        let idle = state.attempts == 0 && !state.dropped;
        state.dropped |= idle;
        idle
    }

    /// That attempt has ended.
    pub(crate) fn finish(&self) {
        let mut state = self.state.lock();
        state.attempts = state.attempts.saturating_sub(1);
    }

    /// These items ended, and are booked.
    pub(crate) fn complete(&self, items: Range<u32>) {
        let count = u64::from(items.end.saturating_sub(items.start));
        if count == 0 {
            return;
        }
        let before = self.left.fetch_sub(count, Relaxed);
        debug_assert!(before >= count, "{count} items of {before} ended");
        if let Some(queue) = self.queue.upgrade() {
            let last_of = (before <= count).then_some(self.bytes);
            queue.complete(self.seq, items, count, last_of);
        }
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.released(self);
        }
    }
}

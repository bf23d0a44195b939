//! The one memory budget: a cap per class, over which the door says `Busy`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Who holds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Class {
    /// Bodies being received and inflated.
    Door,
    /// Payloads whose callers wait for an answer.
    Waiting,
    /// Memory queues.
    Queues,
    /// The archive's spool.
    Spool,
    /// Nodes that hold data.
    Nodes,
}

const CLASSES: usize = 5;

/// Bytes held, by class.
#[derive(Debug)]
pub struct Memory {
    used: [AtomicUsize; CLASSES],
    caps: [usize; CLASSES],
}

impl Memory {
    /// A budget with the same cap for every class.
    pub fn new(bytes_max: usize) -> Memory {
        Memory {
            used: Default::default(),
            caps: [bytes_max; CLASSES],
        }
    }

    /// Sets the cap of one class.
    pub fn cap(mut self, class: Class, bytes_max: usize) -> Memory {
        self.caps[class as usize] = bytes_max;
        self
    }

    /// Bytes held by a class.
    pub fn used(&self, class: Class) -> usize {
        self.used[class as usize].load(Relaxed)
    }

    /// Takes bytes from a class, or `None` if that would pass its cap. Given back on drop.
    pub fn reserve(self: &Arc<Memory>, class: Class, bytes: usize) -> Option<Reservation> {
        self.try_take(class, bytes).then(|| Reservation {
            memory: self.clone(),
            class,
            bytes,
        })
    }

    fn try_take(&self, class: Class, bytes: usize) -> bool {
        let used = &self.used[class as usize];
        let before = used.fetch_add(bytes, Relaxed);
        let fits = before.saturating_add(bytes) <= self.caps[class as usize];
        if !fits {
            used.fetch_sub(bytes, Relaxed);
        }
        fits
    }
}

/// Bytes taken from the budget; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    memory: Arc<Memory>,
    class: Class,
    bytes: usize,
}

impl Reservation {
    /// Takes more into the same reservation; false (and nothing taken) if that would pass the cap.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let taken = self.memory.try_take(self.class, bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.used[self.class as usize].fetch_sub(self.bytes, Relaxed);
    }
}

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

    /// What a machine of this size can spare: half of its memory for each class, a quarter for the door.
    pub fn of_machine() -> Memory {
        let bytes = machine_bytes();
        Memory::new(bytes / 2).cap(Class::Door, bytes / 4)
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

/// Memory this process may use: the control group's limit if there is one, else the machine's. 1 GiB if neither can be
/// read.
pub fn machine_bytes() -> usize {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<usize>().ok();
    let group = number("/sys/fs/cgroup/memory.max")
        .or_else(|| number("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
        .unwrap_or(usize::MAX);
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    group.min(total.map_or(1 << 30, |kib| kib * 1024))
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

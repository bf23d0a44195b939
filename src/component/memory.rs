//! The one memory budget: a cap per class, over which the door says `Busy`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use config::ComponentId;
use parking_lot::Mutex;

use crate::limiter::{self, Limiter};

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
    limiters: Mutex<Vec<(&'static str, Weak<Limiter>)>>,
    /// Nobody gets in.
    is_shut: AtomicBool,
}

impl Memory {
    /// A budget with the same cap for every class.
    pub fn new(bytes_max: usize) -> Memory {
        Memory {
            used: Default::default(),
            caps: [bytes_max; CLASSES],
            limiters: Mutex::default(),
            is_shut: AtomicBool::new(false),
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

    /// Whether the door is shut: nothing of [`Class::Door`] is given out while it is, and callers hear `Busy`.
    pub fn shut_door(&self, shut: bool) {
        self.is_shut.store(shut, Relaxed);
    }

    /// Bytes held by a class.
    pub fn used(&self, class: Class) -> usize {
        self.used[class as usize].load(Relaxed)
    }

    /// Bytes held by all classes.
    pub fn held(&self) -> usize {
        self.used.iter().map(|used| used.load(Relaxed)).sum()
    }

    /// The limiter of a component, made at first use: one id is one limiter in every pipeline that names it. Other
    /// limits make another one. It lives as long as somebody asks it.
    pub fn limiter(
        self: &Arc<Memory>,
        kind: &'static str,
        id: &ComponentId,
        config: &limiter::Config,
    ) -> Arc<Limiter> {
        let mut limiters = self.limiters.lock();
        limiters.retain(|(_, limiter)| limiter.strong_count() > 0);
        let is_it = |limiter: &Arc<Limiter>| limiter.id() == id && limiter.config() == config;
        let of_kind = limiters.iter().filter(|(k, _)| *k == kind);
        if let Some(known) = of_kind.filter_map(|(_, l)| l.upgrade()).find(is_it) {
            return known;
        }
        let fresh = Arc::new(Limiter::new(kind, id.clone(), config, Arc::downgrade(self)));
        limiters.push((kind, Arc::downgrade(&fresh)));
        fresh
    }

    /// Every limiter there is: the service looks after each at its interval.
    pub fn limiters(&self) -> Vec<Arc<Limiter>> {
        let limiters = self.limiters.lock();
        limiters.iter().filter_map(|(_, l)| l.upgrade()).collect()
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
        if class == Class::Door && self.is_shut.load(Relaxed) {
            return false;
        }
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
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_bytes(Path::new("/sys/fs/cgroup"), &groups).unwrap_or(usize::MAX);
    group.min(total.map_or(1 << 30, |kib| kib * 1024))
}

/// The smallest memory limit of our control groups and those above them; `groups` is `/proc/self/cgroup`.
///
/// Version 2 has one line `0::/path` and a file `memory.max` (`max` = none); version 1 a line with the controller
/// `memory`. In a container the path is often that of the host and not to be found here: then only the root counts.
fn group_bytes(root: &Path, groups: &str) -> Option<usize> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (mount, file) = if controllers.is_empty() {
            (root.to_path_buf(), "memory.max")
        } else if controllers.split(',').any(|c| c == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            return None;
        };
        let own = mount.join(path.trim_start_matches('/'));
        let within = own.ancestors().take_while(|dir| dir.starts_with(&mount));
        within.filter_map(|dir| number(&dir.join(file))).min()
    });
    limits.min()
}

fn number(path: &Path) -> Option<usize> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
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

    /// Takes over what another one of the same budget and class has.
    ///
    /// # Panics
    /// If it is of another class.
    pub fn absorb(&mut self, mut other: Reservation) {
        assert!(
            self.class == other.class && Arc::ptr_eq(&self.memory, &other.memory),
            "reservations are joined within one class of one budget"
        );
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives a part back; never more than was taken.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.memory.used[self.class as usize].fetch_sub(bytes, Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.used[self.class as usize].fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_control_group_counts() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("memory.max", "900\n");
        put("kube/memory.max", "max\n");
        put("kube/pod/memory.max", "500\n");
        put("kube/pod/box/memory.max", "max\n");
        put("memory/memory.limit_in_bytes", "9223372036854771712\n");
        put("memory/docker/memory.limit_in_bytes", "300\n");
        let check = |groups: &str, expected: Option<usize>| {
            assert_eq!(group_bytes(dir.path(), groups), expected, "{groups}");
        };
        check("0::/kube/pod/box\n", Some(500));
        check("0::/kube\n", Some(900));
        check("0::/\n", Some(900));
        check("0::/not/here\n", Some(900));
        check("0::/../../elsewhere\n", Some(900));
        check("5:cpu,memory:/docker\n4:pids:/docker\n", Some(300));
        check("5:memory:/\n", Some(9_223_372_036_854_771_712));
        check("4:pids:/docker\n", None);
        check("", None);
    }

    #[test]
    fn a_class_has_a_cap_and_all_are_counted() {
        let memory = Arc::new(Memory::new(100).cap(Class::Door, 10));
        assert!(memory.reserve(Class::Door, 11).is_none());
        let mut door = memory.reserve(Class::Door, 6).unwrap();
        assert!(!door.grow(5));
        assert!(door.grow(4));
        let queue = memory.reserve(Class::Queues, 100).unwrap();
        door.shrink(3);
        assert_eq!((memory.used(Class::Door), memory.held()), (7, 107));
        assert!(door.grow(3));
        assert_eq!((memory.used(Class::Door), memory.held()), (10, 110));
        let mut queue = queue;
        queue.shrink(50);
        queue.absorb(memory.reserve(Class::Queues, 20).unwrap());
        assert_eq!((memory.used(Class::Queues), memory.held()), (70, 80));
        drop((door, queue));
        assert_eq!(memory.held(), 0);
    }
}

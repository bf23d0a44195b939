//! What was tried and whose end is not known: the same batch again goes under the same key, so that an upload whose
//! answer was lost is found instead of written twice.

use std::collections::VecDeque;
use std::sync::Arc;

use objects::Lock;
use parking_lot::Mutex;
use wire::Signal;

use super::places::Place;

/// What is remembered at most; the oldest goes first, and is written anew if it comes again.
const TRIES_MAX: usize = 1024;

/// Which object it is: of equal bytes for one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct What {
    pub(super) signal: Signal,
    pub(super) place: Place,
    pub(super) sha256: [u8; 32],
}

/// How it was tried first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) key: String,
    pub(super) lock: Lock,
}

/// All tries without an end.
#[derive(Clone, Debug, Default)]
pub(super) struct Tries(Arc<Mutex<VecDeque<(What, Target)>>>);

/// A try; remembered when dropped, unless its end is known.
#[derive(Debug)]
pub(super) struct Try {
    all: Tries,
    held: Option<(What, Target)>,
}

impl Tries {
    /// Begins where the last try of the same ended, if it is not going on at this moment.
    pub(super) fn take(&self, what: &What) -> Option<Target> {
        let mut tries = self.0.lock();
        let at = tries.iter().position(|(known, _)| known == what)?;
        tries.remove(at).map(|(_, target)| target)
    }

    /// Tries.
    pub(super) fn begin(&self, what: What, target: Target) -> Try {
        Try {
            all: self.clone(),
            held: Some((what, target)),
        }
    }
}

impl Try {
    /// Its end is known.
    pub(super) fn end(mut self) {
        self.held = None;
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let mut tries = self.all.0.lock();
            if tries.len() == TRIES_MAX {
                tries.pop_front();
            }
            tries.push_back(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_remembered_once() {
        let tries = Tries::default();
        let what = |n: u32| {
            let mut sha256 = [0; 32];
            sha256[..4].copy_from_slice(&n.to_be_bytes());
            What {
                signal: Signal::Logs,
                place: Place::default(),
                sha256,
            }
        };
        let target = |n: u32| Target {
            key: n.to_string(),
            lock: Lock::default(),
        };
        tries.begin(what(1), target(1)).end();
        assert_eq!(tries.take(&what(1)), None);
        drop(tries.begin(what(1), target(1)));
        let running = tries.take(&what(1)).expect("it is remembered");
        assert_eq!(running, target(1));
        assert_eq!(tries.take(&what(1)), None, "it goes on");
        for n in 0..=1024 {
            drop(tries.begin(what(n), target(n)));
        }
        assert_eq!(tries.take(&what(0)), None, "the oldest is forgotten");
        assert_eq!(tries.take(&what(1)), Some(target(1)));
        assert_eq!(tries.take(&what(1024)), Some(target(1024)));
    }
}

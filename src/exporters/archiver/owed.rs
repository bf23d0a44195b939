//! Since when objects that gather no more are owed: from the oldest record in each until the head above it is in the
//! store.

use std::collections::BTreeMap;

use component::prelude::*;
use parking_lot::Mutex;

/// When the oldest records of objects came, in milliseconds since 1970, and how many objects are as old.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed(Arc<Mutex<BTreeMap<u64, usize>>>);

/// One object, owed until this is dropped.
#[derive(Debug)]
pub(super) struct Since {
    all: Owed,
    ms: u64,
}

impl Owed {
    /// One more object is owed.
    pub(super) fn since(&self, ms: u64) -> Since {
        *self.0.lock().entry(ms).or_default() += 1;
        Since {
            all: self.clone(),
            ms,
        }
    }

    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.0.lock().keys().next().copied()
    }
}

impl Drop for Since {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        if let Some(n) = all.get_mut(&self.ms) {
            *n -= 1;
            if *n == 0 {
                all.remove(&self.ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_counts_until_all_as_old_are_gone() {
        let owed = Owed::default();
        let (young, old, as_old) = (owed.since(9), owed.since(5), owed.since(5));
        assert_eq!(owed.oldest_ms(), Some(5));
        drop(old);
        assert_eq!(owed.oldest_ms(), Some(5));
        drop(as_old);
        assert_eq!(owed.oldest_ms(), Some(9));
        drop(young);
        assert_eq!(owed.oldest_ms(), None);
    }
}

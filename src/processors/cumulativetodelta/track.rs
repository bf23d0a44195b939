//! The series: what each was when it was last seen, and what its next point comes to.
//!
//! Series are told apart by a hash of 128 bits, seeded anew by each process, over owner, resource, scope, metric,
//! attributes and start time: a new start is another series. Memory is drawn from the gateway's budget.

use std::collections::HashMap;
use std::sync::Arc;

use component::{Class, Memory, Reservation};

use super::value::{Step, Value};

/// Hash of what a series is.
pub(super) type Key = u128;

/// Bytes that a series costs beside its buckets, about.
const SERIES_BYTES: usize = 160;

/// What becomes of the first point of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Initial {
    /// It goes on if the series began while we ran, and not at its own time.
    Auto,
    /// It goes on.
    Keep,
    /// It is where the next one begins.
    Drop,
}

/// What becomes of a point.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It goes on with this value, begun at this time.
    Delta(u64, Value),
    /// It ends, under this rule.
    Dropped(&'static str),
}

/// The value went back.
pub(super) const RESET: &str = "cumulativetodelta:reset";
/// It was the first of its series.
pub(super) const INITIAL: &str = "cumulativetodelta:initial";
/// The buckets are others than those before.
pub(super) const MISMATCH: &str = "cumulativetodelta:bucket_mismatch";
/// It says that nothing was recorded.
pub(super) const NO_VALUE: &str = "cumulativetodelta:no_value";
/// It is the first of its series, and there is no memory for more of them.
pub(super) const NO_ROOM: &str = "cumulativetodelta:no_room";

struct Last {
    time: u64,
    value: Value,
    /// Which point it was, of all.
    number: u64,
}

/// How to take back what a point changed, where its request is refused.
pub(super) struct Undo {
    key: Key,
    number: u64,
    /// What there was; none if the series is new.
    before: Option<Last>,
    /// What was added, and has not arrived.
    delta: Option<Value>,
}

/// All series.
pub(super) struct Tracker {
    series: HashMap<Key, Last>,
    initial: Initial,
    /// When we began, nanoseconds since 1970.
    began: u64,
    memory: Arc<Memory>,
    room: Option<Reservation>,
    number: u64,
}

impl Tracker {
    pub(super) fn new(initial: Initial, began: u64, memory: Arc<Memory>) -> Tracker {
        Tracker {
            series: HashMap::new(),
            initial,
            began,
            memory,
            room: None,
            number: 0,
        }
    }

    /// What becomes of a point of a series that began at `start`; and how to take it back.
    pub(super) fn convert(
        &mut self,
        key: Key,
        (start, time): (u64, u64),
        mut value: Value,
    ) -> (Verdict, Option<Undo>) {
        self.number += 1;
        let number = self.number;
        let Some(last) = self.series.get_mut(&key) else {
            if !self.take(SERIES_BYTES + value.bytes()) {
                return (Verdict::Dropped(NO_ROOM), None);
            }
            let verdict = self.first(start, time, &value);
            let delta = matches!(verdict, Verdict::Delta(..)).then(|| value.clone());
            self.series.insert(key, Last { time, value, number });
            let undo = Undo {
                key,
                number,
                before: None,
                delta,
            };
            return (verdict, Some(undo));
        };
        let step = value.since(&last.value);
        let (had, has) = (last.value.bytes(), value.bytes());
        let before = std::mem::replace(last, Last { time, value, number });
        // A histogram that changed its buckets; what it costs is small against what it cost before.
        if has > had {
            self.take(has - had);
        } else {
            self.give_back(had - has);
        }
        let verdict = match step {
            Step::Delta(delta) => Verdict::Delta(before.time, delta),
            Step::Reset => Verdict::Dropped(RESET),
            Step::Mismatch => Verdict::Dropped(MISMATCH),
        };
        let delta = match &verdict {
            Verdict::Delta(_, delta) => Some(delta.clone()),
            Verdict::Dropped(_) => None,
        };
        let undo = Undo {
            key,
            number,
            before: Some(before),
            delta,
        };
        (verdict, Some(undo))
    }

    fn first(&self, start: u64, time: u64, value: &Value) -> Verdict {
        match self.initial {
            Initial::Auto if start < self.began || time == start => Verdict::Dropped(INITIAL),
            Initial::Auto => Verdict::Delta(start, value.clone()),
            // As in the collector: nobody knows since when.
            Initial::Keep => Verdict::Delta(0, value.clone()),
            Initial::Drop => Verdict::Dropped(INITIAL),
        }
    }

    /// Takes back what points changed, the last one first: the same request comes again.
    pub(super) fn undo(&mut self, all: Vec<Undo>) {
        for undo in all.into_iter().rev() {
            let Some(last) = self.series.get_mut(&undo.key) else {
                continue;
            };
            if last.number != undo.number {
                // A later point counts from ours. What ours added is still owed: the next one brings it.
                if let Some(delta) = &undo.delta {
                    last.value.less(delta);
                }
                continue;
            }
            match undo.before {
                Some(before) => *last = before,
                None => {
                    let bytes = SERIES_BYTES + last.value.bytes();
                    self.series.remove(&undo.key);
                    self.give_back(bytes);
                }
            }
        }
    }

    /// Forgets the series without a point since `before`, nanoseconds since 1970.
    pub(super) fn forget(&mut self, before: u64) {
        let mut bytes = 0;
        self.series.retain(|_, last| {
            let stays = last.time >= before;
            if !stays {
                bytes += SERIES_BYTES + last.value.bytes();
            }
            stays
        });
        self.give_back(bytes);
    }

    /// How many series there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    fn take(&mut self, bytes: usize) -> bool {
        match &mut self.room {
            Some(room) => room.grow(bytes),
            none => {
                *none = self.memory.reserve(Class::Nodes, bytes);
                none.is_some()
            }
        }
    }

    fn give_back(&mut self, bytes: usize) {
        if let Some(room) = &mut self.room {
            room.shrink(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(initial: Initial) -> Tracker {
        Tracker::new(initial, 100, Arc::new(Memory::new(1000)))
    }

    fn delta(start: u64, value: i64) -> Verdict {
        Verdict::Delta(start, Value::Int(value))
    }

    #[test]
    fn first_points() {
        let check = |initial: Initial, times: (u64, u64), expected: Verdict| {
            let (verdict, _) = tracker(initial).convert(1, times, Value::Int(5));
            assert_eq!(verdict, expected, "{initial:?} {times:?}");
        };
        let dropped = || Verdict::Dropped(INITIAL);
        check(Initial::Auto, (100, 101), delta(100, 5));
        check(Initial::Auto, (99, 101), dropped());
        check(Initial::Auto, (0, 101), dropped());
        check(Initial::Auto, (101, 101), dropped());
        check(Initial::Keep, (99, 101), delta(0, 5));
        check(Initial::Drop, (100, 101), dropped());
    }

    #[test]
    fn what_was_refused_comes_again() {
        let mut all = tracker(Initial::Drop);
        let give = |all: &mut Tracker, time: u64, value: i64| all.convert(1, (0, time), Value::Int(value));
        let (_, first) = give(&mut all, 10, 5);
        assert_eq!(give(&mut all, 20, 9).0, delta(10, 4));
        // Nothing came after it: as if it had not been there.
        let (_, undo) = give(&mut all, 30, 12);
        all.undo(vec![undo.unwrap()]);
        assert_eq!(give(&mut all, 30, 12).0, delta(20, 3));
        // Something came after it: the next one brings what it would have brought.
        let (verdict, undo) = give(&mut all, 40, 20);
        assert_eq!(verdict, delta(30, 8));
        assert_eq!(give(&mut all, 50, 21).0, delta(40, 1));
        all.undo(vec![undo.unwrap()]);
        assert_eq!(give(&mut all, 60, 24).0, delta(50, 11));
        // A first one that was refused is a first one again, unless another has come.
        all.undo(vec![first.unwrap()]);
        assert_eq!(give(&mut all, 70, 25).0, delta(60, 1));
        let (_, other) = all.convert(2, (0, 10), Value::Int(1));
        all.undo(vec![other.unwrap()]);
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let mut all = tracker(Initial::Keep);
        let verdicts: Vec<_> = (0..8)
            .map(|key| all.convert(key, (0, key as u64), Value::Int(1)).0)
            .collect();
        assert_eq!(verdicts[5], delta(0, 1));
        assert_eq!(verdicts[6], Verdict::Dropped(NO_ROOM));
        assert_eq!((all.len(), all.memory.used(Class::Nodes)), (6, 960));
        all.forget(4);
        assert_eq!((all.len(), all.memory.used(Class::Nodes)), (2, 320));
        all.forget(u64::MAX);
        assert_eq!((all.len(), all.memory.used(Class::Nodes)), (0, 0));
    }

    #[test]
    fn goes_on_after_a_reset() {
        let mut all = tracker(Initial::Drop);
        all.convert(1, (0, 10), Value::Double(5.0));
        assert_eq!(
            all.convert(1, (0, 20), Value::Double(2.0)).0,
            Verdict::Dropped(RESET)
        );
        let (verdict, _) = all.convert(1, (0, 30), Value::Double(3.5));
        assert_eq!(verdict, Verdict::Delta(20, Value::Double(1.5)));
    }
}

//! Traces that wait, in the order in which they are due: a table with two queues, without a clock of its own.
//!
//! Time is counted in ticks. A trace is due a set number of ticks after its first span came, or sooner if it is
//! [moved](Store::hasten). At most a set number of traces are known; the oldest makes room, decided or not. What was
//! decided of a trace stays with it, for spans that come later, unless it is [forgotten](Store::forget).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::TraceId;
use super::pieces::Piece;

/// A trace: ids of different tenants are different traces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) id: TraceId,
}

/// What is known of a trace. `D` is what is decided about it.
#[derive(Debug)]
pub(crate) struct Entry<D> {
    /// In order of coming.
    number: u64,
    /// Tick at which it is due; none once it was decided.
    due: Option<u64>,
    /// When its first span came.
    pub(crate) since: Instant,
    /// What it is made of, until it is decided.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) spans: u64,
    /// Encoded.
    pub(crate) bytes: u64,
    /// What was decided, and when.
    pub(crate) decision: Option<(D, Instant)>,
    /// What was noted before it is decided.
    pub(crate) noted: Option<D>,
}

/// All traces that are known.
#[derive(Debug)]
pub(crate) struct Store<D> {
    traces: HashMap<Key, Entry<D>>,
    /// In order of coming; of those that are known no more, some.
    order: VecDeque<(u64, Key)>,
    /// Those that are due at the next tick, at the one after it, and so on.
    due: VecDeque<Vec<Key>>,
    /// Ticks so far.
    tick: u64,
    next: u64,
    wait_ticks: usize,
    traces_max: usize,
    pending: usize,
}

/// What became of spans that were added.
#[derive(Debug)]
pub(crate) enum Added<'s, D> {
    /// They wait. True if the trace is new.
    Waits(&'s mut Entry<D>, bool),
    /// Their trace was decided before: how, and when.
    Late(D, Instant, Piece),
}

impl<D: Copy> Store<D> {
    /// No traces. `wait_ticks` pass between the tick behind a trace's first span and its own.
    pub(crate) fn new(wait_ticks: usize, traces_max: usize) -> Store<D> {
        Store {
            traces: HashMap::new(),
            order: VecDeque::new(),
            due: VecDeque::new(),
            tick: 0,
            next: 0,
            wait_ticks,
            traces_max: traces_max.max(1),
            pending: 0,
        }
    }

    /// Traces that are known.
    pub(crate) fn len(&self) -> usize {
        self.traces.len()
    }

    /// Traces that wait.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Whether the trace is known.
    pub(crate) fn knows(&self, key: &Key) -> bool {
        self.traces.contains_key(key)
    }

    /// Takes out the oldest trace if there is no room for another one; of those that were decided, if `decided`.
    pub(crate) fn make_room(&mut self, decided: bool) -> Option<(Key, Entry<D>)> {
        if self.traces.len() < self.traces_max {
            return None;
        }
        if decided {
            let traces = &self.traces;
            let is_decided = |(number, key): &(u64, Key)| {
                let known = traces.get(key);
                known.is_some_and(|e| e.number == *number && e.due.is_none())
            };
            let at = self.order.iter().position(is_decided)?;
            let (_, key) = self.order.remove(at)?;
            let entry = self.forget(&key)?;
            return Some((key, entry));
        }
        while let Some((number, key)) = self.order.pop_front() {
            if self.traces.get(&key).is_some_and(|e| e.number == number) {
                let entry = self.forget(&key)?;
                return Some((key, entry));
            }
        }
        None
    }

    /// Adds spans to their trace, or makes it. Room was made before.
    pub(crate) fn add(&mut self, key: Key, piece: Piece, now: Instant) -> Added<'_, D> {
        let (spans, bytes) = (u64::from(piece.spans()), piece.bytes());
        let is_new = !self.traces.contains_key(&key);
        if is_new {
            self.order.push_back((self.next, key.clone()));
            let due = self.put_at(self.wait_ticks, key.clone());
            self.pending += 1;
            self.traces.insert(
                key.clone(),
                Entry {
                    number: self.next,
                    due: Some(due),
                    since: now,
                    pieces: Vec::with_capacity(1),
                    spans: 0,
                    bytes: 0,
                    decision: None,
                    noted: None,
                },
            );
            self.next += 1;
            self.tidy();
        }
        let entry = self.traces.get_mut(&key).expect("it was put there if it was not");
        if let Some((decision, at)) = entry.decision {
            return Added::Late(decision, at, piece);
        }
        entry.spans += spans;
        entry.bytes += bytes;
        entry.pieces.push(piece);
        Added::Waits(entry, is_new)
    }

    /// Bytes that the tables take, without what pieces take beyond their place in them.
    #[cfg(test)]
    pub(crate) fn footprint(&self) -> usize {
        const ALLOCATION: usize = 16;
        let pieces = |entry: &Entry<D>| entry.pieces.capacity() * size_of::<Piece>() + ALLOCATION;
        // The table is at most 7/8 full, and has a byte beside each entry.
        let slots = (self.traces.capacity() * 8 / 7).next_power_of_two();
        slots * (size_of::<(Key, Entry<D>)>() + 1)
            + self.traces.values().map(pieces).sum::<usize>()
            + self.order.capacity() * size_of::<(u64, Key)>()
            + self
                .due
                .iter()
                .map(|keys| keys.capacity() * size_of::<Key>())
                .sum::<usize>()
    }

    fn put_at(&mut self, ticks: usize, key: Key) -> u64 {
        if self.due.len() <= ticks {
            self.due.resize_with(ticks + 1, Vec::new);
        }
        self.due[ticks].push(key);
        self.tick + 1 + ticks as u64
    }

    /// Makes a trace due after so many ticks, if it is due later.
    pub(crate) fn hasten(&mut self, key: &Key, ticks: usize) {
        let sooner = self.tick + 1 + ticks as u64;
        let Some(entry) = self.traces.get_mut(key) else {
            return;
        };
        if entry.due.is_some_and(|due| due > sooner) {
            entry.due = Some(sooner);
            self.put_at(ticks, key.clone());
        }
    }

    /// A tick: the traces that are due now.
    pub(crate) fn tick(&mut self) -> Vec<Key> {
        self.tick += 1;
        let now = self.tick;
        let mut due = self.due.pop_front().unwrap_or_default();
        due.retain(|key| self.traces.get(key).is_some_and(|e| e.due == Some(now)));
        due
    }

    /// All that wait, in order of coming; they are due now.
    pub(crate) fn all_due(&mut self) -> Vec<Key> {
        let traces = &self.traces;
        let waits = |(number, key): &&(u64, Key)| {
            let known = traces.get(key);
            known.is_some_and(|e| e.number == *number && e.due.is_some())
        };
        self.order
            .iter()
            .filter(waits)
            .map(|(_, key)| key.clone())
            .collect()
    }

    /// A trace that waits.
    pub(crate) fn get(&mut self, key: &Key) -> Option<&mut Entry<D>> {
        self.traces.get_mut(key)
    }

    /// Notes what was decided; returns what the trace was made of.
    pub(crate) fn decide(&mut self, key: &Key, decision: D, now: Instant) -> Vec<Piece> {
        let Some(entry) = self.traces.get_mut(key) else {
            return Vec::new();
        };
        self.pending -= usize::from(entry.due.take().is_some());
        entry.decision = Some((decision, now));
        std::mem::take(&mut entry.pieces)
    }

    /// Takes a trace out; spans of it that come later make a new one.
    pub(crate) fn forget(&mut self, key: &Key) -> Option<Entry<D>> {
        let entry = self.traces.remove(key)?;
        self.pending -= usize::from(entry.due.is_some());
        Some(entry)
    }

    /// Keeps the queues from growing with traces that are known no more.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.traces.len() + 1024 {
            let traces = &self.traces;
            self.order
                .retain(|(number, key)| traces.get(key).is_some_and(|e| e.number == *number));
        }
    }
}

/// Decisions of traces that are known no more, the most recently asked for last to go.
#[derive(Debug)]
pub(crate) struct Recent<D> {
    size: usize,
    stamp: u64,
    known: HashMap<Key, (u64, D)>,
    order: VecDeque<(u64, Key)>,
}

impl<D: Copy> Recent<D> {
    /// At most `size` decisions; 0 remembers nothing.
    pub(crate) fn new(size: usize) -> Recent<D> {
        Recent {
            size,
            stamp: 0,
            known: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Whether anything is remembered.
    pub(crate) fn is_on(&self) -> bool {
        self.size > 0
    }

    /// What was decided.
    pub(crate) fn get(&mut self, key: &Key) -> Option<D> {
        let (_, decision) = *self.known.get(key)?;
        self.put(key.clone(), decision);
        Some(decision)
    }

    /// Remembers a decision.
    pub(crate) fn put(&mut self, key: Key, decision: D) {
        if self.size == 0 {
            return;
        }
        self.stamp += 1;
        self.known.insert(key.clone(), (self.stamp, decision));
        self.order.push_back((self.stamp, key));
        while self.known.len() > self.size || self.order.len() > 2 * self.size + 16 {
            let Some((stamp, key)) = self.order.pop_front() else {
                return;
            };
            match self.known.get(&key) {
                Some((last, _)) if *last == stamp && self.known.len() > self.size => {
                    self.known.remove(&key);
                }
                // The only one of it in the queue, and there is room: it goes to the end.
                Some((last, _)) if *last == stamp => self.order.push_back((stamp, key)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pieces::{Held, cut};
    use super::*;

    fn key(id: u8) -> Key {
        Key {
            tenant: None,
            id: [id; 16],
        }
    }

    fn piece(id: u8) -> Piece {
        let span = [&[0x12, 18, 0x0a, 16][..], &[id; 16]].concat();
        let scope = [&[0x12, span.len() as u8][..], &span].concat();
        let request = [&[0x0a, scope.len() as u8][..], &scope].concat();
        let mut cuts = cut(request.into(), Held::default()).unwrap();
        cuts.pop().unwrap().piece
    }

    fn add(store: &mut Store<u8>, id: u8) {
        let _ = store.add(key(id), piece(id), Instant::now());
    }

    fn ids(keys: &[Key]) -> Vec<u8> {
        keys.iter().map(|k| k.id[0]).collect()
    }

    #[test]
    fn traces_are_due_after_their_ticks_or_sooner() {
        let mut store = Store::new(2, 10);
        add(&mut store, 1);
        add(&mut store, 2);
        assert_eq!(ids(&store.tick()), [0u8; 0]);
        add(&mut store, 3);
        add(&mut store, 1);
        store.hasten(&key(3), 0);
        store.hasten(&key(1), 5);
        assert_eq!(ids(&store.tick()), [3]);
        assert_eq!(store.decide(&key(3), 7, Instant::now()).len(), 1);
        assert_eq!(ids(&store.all_due()), [1, 2]);
        assert_eq!(ids(&store.tick()), [1, 2]);
        assert_eq!(store.decide(&key(1), 7, Instant::now()).len(), 2);
        assert_eq!((store.len(), store.pending()), (3, 1));
        let Added::Late(decision, ..) = store.add(key(1), piece(1), Instant::now()) else {
            panic!("it was decided");
        };
        assert_eq!(decision, 7);
        assert_eq!(ids(&store.tick()), [0u8; 0]);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut store = Store::new(2, 2);
        add(&mut store, 1);
        assert!(store.make_room(false).is_none());
        add(&mut store, 2);
        let (gone, entry) = store.make_room(false).unwrap();
        assert_eq!((gone, entry.spans), (key(1), 1));
        add(&mut store, 3);
        store.decide(&key(2), 0, Instant::now());
        // Known again, it is the youngest.
        store.forget(&key(2));
        add(&mut store, 2);
        assert!(store.make_room(true).is_none());
        assert_eq!(store.make_room(false).unwrap().0, key(3));
        assert_eq!((store.len(), store.pending()), (1, 1));
        assert_eq!(ids(&store.all_due()), [2]);
    }

    #[test]
    fn queues_do_not_grow_with_what_is_forgotten() {
        let mut store = Store::new(1, 100);
        for _ in 0..5000 {
            add(&mut store, 1);
            store.forget(&key(1));
        }
        assert!(store.order.len() <= 1026, "{}", store.order.len());
    }

    #[test]
    fn the_decision_that_was_asked_for_last_stays() {
        let mut recent = Recent::new(2);
        recent.put(key(1), 'a');
        recent.put(key(2), 'b');
        assert_eq!(recent.get(&key(1)), Some('a'));
        recent.put(key(3), 'c');
        assert_eq!(recent.get(&key(2)), None);
        assert_eq!((recent.get(&key(1)), recent.get(&key(3))), (Some('a'), Some('c')));
        for _ in 0..1000 {
            recent.get(&key(1));
        }
        assert!(recent.order.len() <= 20);
        assert_eq!(recent.get(&key(3)), Some('c'));
        let mut off = Recent::new(0);
        off.put(key(1), 'a');
        assert_eq!(off.get(&key(1)), None);
    }
}

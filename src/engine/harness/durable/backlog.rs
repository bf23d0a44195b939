//! What of a queue waits on disk and what is loaded, by tenant: who may be loaded next.
//!
//! Only data and its moves. Bounds: the window in bytes; what waits is a number and a length for each record that the
//! journal knows anyway.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Weak;

use storage::journal::Seq;
use tokio::time::Instant;

use super::Label;
use crate::harness::wait::Ticket;

/// Bytes of records that one queue has loaded, more or less; at most twice as much.
pub(super) const WINDOW_BYTES: usize = if cfg!(test) { 64 << 10 } else { 16 << 20 };
/// Records of one lane that are loaded, or shelved.
const LANE_RECORDS_MAX: usize = 4096;
/// Read at once by the feeder.
const READ_BYTES: usize = 4 << 20;
const READ_RECORDS: usize = 64;

#[derive(Default)]
pub(super) struct Backlog {
    pub(super) lanes: HashMap<Label, Lane>,
    /// Lanes with something to load.
    pub(super) turn: VecDeque<Label>,
    /// Bytes that are loaded.
    pub(super) used: usize,
    /// What was there before is not all noted yet.
    pub(super) scanning: bool,
    /// Nothing is loaded before the scan is over: another harness may have appended meanwhile.
    pub(super) held_back: bool,
    /// What is in the hub.
    pub(super) loaded: BTreeMap<Seq, Weak<Ticket>>,
    pub(super) closed: bool,
    /// No loading before: something did not go as it should.
    pub(super) pause_until: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Lane {
    pub(super) waiting: VecDeque<(Seq, usize)>,
    pub(super) loaded: usize,
    pub(super) records: usize,
    pub(super) in_turn: bool,
}

impl Backlog {
    /// A record waits on disk. One that is noted already is not noted twice.
    pub(super) fn note(&mut self, seq: Seq, label: &Label, bytes: usize) {
        let lane = self.lanes.entry(label.clone()).or_default();
        match lane.waiting.back() {
            Some((last, _)) if *last >= seq => {
                let Err(at) = lane.waiting.binary_search_by_key(&seq, |(seq, _)| *seq) else {
                    return;
                };
                lane.waiting.insert(at, (seq, bytes));
            }
            _ => lane.waiting.push_back((seq, bytes)),
        }
        if !lane.in_turn {
            lane.in_turn = true;
            self.turn.push_back(label.clone());
        }
    }

    /// Whether a record of this lane may be loaded: each has a share, and at least one record.
    pub(super) fn fits(&self, label: &Label, bytes: usize) -> bool {
        let (loaded, records) = self.lanes.get(label).map_or((0, 0), |l| (l.loaded, l.records));
        let lanes = self.lanes.len() + usize::from(!self.lanes.contains_key(label));
        let share = WINDOW_BYTES / (lanes + 1);
        self.used == 0
            || (self.used + bytes <= 2 * WINDOW_BYTES
                && records < LANE_RECORDS_MAX
                && (records == 0 || loaded + bytes <= share))
    }

    pub(super) fn load(&mut self, label: &Label, bytes: usize) {
        let lane = self.lanes.entry(label.clone()).or_default();
        lane.loaded += bytes;
        lane.records += 1;
        self.used += bytes;
    }

    pub(super) fn shrink(&mut self, label: &Label, bytes: usize, records: usize) {
        self.used -= bytes;
        if let Some(lane) = self.lanes.get_mut(label) {
            lane.loaded -= bytes;
            lane.records -= records;
            if lane.records == 0 && lane.waiting.is_empty() && !lane.in_turn {
                self.lanes.remove(label);
            }
        }
    }

    /// What is to be read next, lanes taking turns.
    pub(super) fn next(&mut self, now: Instant) -> Vec<(Seq, Label, usize)> {
        let mut out = Vec::new();
        let mut bytes = 0;
        let paused = self.pause_until.is_some_and(|until| now < until);
        if self.closed || paused || (self.scanning && self.held_back) {
            return out;
        }
        let mut idle = 0;
        while idle < self.turn.len() && out.len() < READ_RECORDS && bytes < READ_BYTES {
            let Some(label) = self.turn.pop_front() else { break };
            let first = self.lanes.get(&label).and_then(|l| l.waiting.front().copied());
            let Some((seq, len)) = first else {
                if let Some(lane) = self.lanes.get_mut(&label) {
                    lane.in_turn = false;
                    if lane.records == 0 {
                        self.lanes.remove(&label);
                    }
                }
                continue;
            };
            if self.fits(&label, len) {
                if let Some(lane) = self.lanes.get_mut(&label) {
                    lane.waiting.pop_front();
                }
                self.load(&label, len);
                bytes += len;
                idle = 0;
                out.push((seq, label.clone(), len));
            } else {
                idle += 1;
            }
            self.turn.push_back(label);
        }
        out
    }

    /// Bytes of a record that waits though its lane has none loaded: the window is full of what others cannot send.
    pub(super) fn pressing(&self, now: Instant) -> Option<usize> {
        let paused = self.pause_until.is_some_and(|until| now < until);
        if self.closed || paused || (self.scanning && self.held_back) {
            return None;
        }
        let starved = self.lanes.values().filter(|lane| lane.records == 0);
        starved
            .filter_map(|lane| lane.waiting.front())
            .map(|(_, bytes)| *bytes)
            .min()
    }

    /// The oldest record that waits on disk.
    pub(super) fn first_waiting(&self) -> Option<Seq> {
        let waiting = self.lanes.values().filter_map(|l| l.waiting.front());
        waiting.map(|(seq, _)| *seq).min()
    }

    /// Takes it out, with its bytes.
    pub(super) fn pop_waiting(&mut self) -> Option<(Seq, usize)> {
        let first = self.first_waiting()?;
        let holds = |lane: &&mut Lane| lane.waiting.front().is_some_and(|(seq, _)| *seq == first);
        self.lanes.values_mut().find(holds)?.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

    fn label(name: &str) -> Label {
        Some(name.into())
    }

    fn seqs(taken: Vec<(Seq, Label, usize)>) -> Vec<u64> {
        taken.into_iter().map(|(seq, ..)| seq.0).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_take_turns_each_in_order() {
        let mut backlog = Backlog::default();
        for seq in [5, 1, 3, 5, 9] {
            backlog.note(Seq(seq), &label("a"), 100);
        }
        for seq in [2, 4] {
            backlog.note(Seq(seq), &label("b"), 100);
        }
        let now = Instant::now();
        assert_eq!(seqs(backlog.next(now)), [1, 2, 3, 4, 5, 9], "and none twice");
        assert_eq!(backlog.used, 600);
        assert_eq!(seqs(backlog.next(now)), NONE);
        for (name, records) in [("a", 4), ("b", 2)] {
            for _ in 0..records {
                backlog.shrink(&label(name), 100, 1);
            }
        }
        assert_eq!(
            (backlog.used, backlog.lanes.len()),
            (0, 0),
            "nothing is left behind"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_has_a_share_and_at_least_one_record() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        let half = WINDOW_BYTES / 4;
        for seq in 0..10 {
            backlog.note(Seq(seq), &label("a"), half);
        }
        assert_eq!(seqs(backlog.next(now)), [0, 1], "half of the window, alone");
        backlog.note(Seq(20), &label("b"), WINDOW_BYTES);
        assert_eq!(seqs(backlog.next(now)), [20], "one, whatever its size");
        assert_eq!(backlog.pressing(now), None);
        backlog.note(Seq(30), &label("c"), WINDOW_BYTES);
        assert_eq!(seqs(backlog.next(now)), NONE, "twice the window is the end");
        assert_eq!(backlog.pressing(now), Some(WINDOW_BYTES));
        backlog.shrink(&label("b"), WINDOW_BYTES, 0);
        assert_eq!(seqs(backlog.next(now)), [30], "what is shelved makes room");
        backlog.closed = true;
        backlog.shrink(&label("c"), WINDOW_BYTES, 1);
        assert_eq!(seqs(backlog.next(now)), NONE);
        assert_eq!(backlog.pressing(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_the_window_is_loaded_alone() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        backlog.note(Seq(1), &None, 5 * WINDOW_BYTES);
        backlog.note(Seq(2), &None, 1);
        assert_eq!(seqs(backlog.next(now)), [1]);
        backlog.shrink(&None, 5 * WINDOW_BYTES, 1);
        assert_eq!(backlog.first_waiting(), Some(Seq(2)));
        assert_eq!(backlog.pop_waiting(), Some((Seq(2), 1)));
        assert_eq!(backlog.pop_waiting(), None);
    }
}

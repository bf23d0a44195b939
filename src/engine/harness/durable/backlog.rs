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
const WINDOW_BYTES: usize = 16 << 20;
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
        self.used == 0 || (self.used + bytes <= 2 * WINDOW_BYTES && (records == 0 || loaded + bytes <= share))
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

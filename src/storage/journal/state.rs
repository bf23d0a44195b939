//! What the journal knows in memory: destinations, segments, and where each record that is owed lies.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::append::Job;
use super::completion::Remaining;
use super::disk::File;
use super::format::{DestId, Done, Entry, Head, Seq};
use super::{Destination, Owed, Quota, Shortage};

/// An amount of what is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) records: u64,
    pub(super) items: u64,
    pub(super) bytes: u64,
}

struct Target {
    name: String,
    quota: Quota,
    held: Held,
    reserved: Held,
}

/// A file of records, and the log of what of them is done.
pub(super) struct Segment {
    pub(super) file: Arc<dyn File>,
    pub(super) done: Option<Arc<dyn File>>,
    pub(super) done_len: u64,
    /// Length of the file.
    pub(super) size: u64,
    /// Bytes of records that somebody is owed.
    pub(super) live: u64,
    /// Records that were written to it, in order.
    pub(super) seqs: Vec<Seq>,
    /// Nothing more will be written to it.
    pub(super) sealed: bool,
    /// It was not closed in order: some of what can be read of it may never have reached the disk, and no later sync
    /// would say so. What is owed of it is written once more.
    pub(super) suspect: bool,
    /// Something in it cannot be read: it stays until nobody is owed anything.
    pub(super) damaged: bool,
}

impl Segment {
    fn must_be_copied(&self) -> bool {
        self.sealed && self.suspect && !self.damaged && self.live > 0
    }
}

struct Record {
    segment: u64,
    entry: Entry,
    owed: Vec<(DestId, Remaining)>,
}

#[derive(Default)]
pub(super) struct State {
    targets: Vec<Target>,
    pub(super) segments: BTreeMap<u64, Segment>,
    records: BTreeMap<Seq, Record>,
    /// Number of the next segment.
    pub(super) next_segment: u64,
    pub(super) jobs: VecDeque<Job>,
    /// Completions that are not in a log yet, with the segment whose log they go to.
    pub(super) dones: Vec<(u64, Done)>,
    pub(super) closing: bool,
    reserved: u64,
}

/// A segment with less than this share of live bytes is copied forward.
const LIVE_SHARE_MIN: u64 = 4;

impl State {
    pub(super) fn find(&self, name: &str) -> Option<DestId> {
        let at = self.targets.iter().position(|t| t.name == name)?;
        Some(DestId(at as u16))
    }

    pub(super) fn set_quota(&mut self, id: DestId, quota: Quota) {
        self.targets[id.0 as usize].quota = quota;
    }

    /// All names in order of their numbers, and one more.
    pub(super) fn table_with(&self, name: &str) -> Vec<String> {
        let names = self.targets.iter().map(|t| t.name.clone());
        names.chain([name.to_owned()]).collect()
    }

    pub(super) fn add(&mut self, name: String, quota: Quota) -> DestId {
        let id =
            DestId(u16::try_from(self.targets.len()).expect("a journal has fewer than 65536 destinations"));
        self.targets.push(Target {
            name,
            quota,
            held: Held::default(),
            reserved: Held::default(),
        });
        id
    }

    pub(super) fn knows(&self, id: DestId) -> bool {
        (id.0 as usize) < self.targets.len()
    }

    pub(super) fn owed_records(&self) -> u64 {
        self.records.len() as u64
    }

    pub(super) fn destinations(&self) -> Vec<Destination> {
        let all = self.targets.iter().enumerate();
        all.map(|(i, t)| Destination {
            id: DestId(i as u16),
            name: t.name.clone(),
            records: t.held.records,
            items: t.held.items,
            bytes: t.held.bytes,
        })
        .collect()
    }

    pub(super) fn owed(&self, destination: DestId) -> Vec<Owed> {
        let mine = |owed: &[(DestId, Remaining)]| {
            owed.iter()
                .find(|(id, _)| *id == destination)
                .map(|(_, remaining)| remaining.ranges().to_vec())
        };
        let records = self.records.values();
        records
            .filter_map(|record| {
                Some(Owed {
                    seq: record.entry.seq,
                    kind: record.entry.head.kind,
                    items: record.entry.head.items,
                    tenant: record.entry.head.tenant.clone(),
                    bytes: record.entry.room(),
                    remaining: mine(&record.owed)?,
                })
            })
            .collect()
    }

    pub(super) fn remaining(&self, seq: Seq, destination: DestId) -> Vec<Range<u32>> {
        let owed = self.records.get(&seq).map_or(&[][..], |r| &r.owed);
        let mine = owed.iter().find(|(id, _)| *id == destination);
        mine.map_or_else(Vec::new, |(_, remaining)| remaining.ranges().to_vec())
    }

    pub(super) fn last(&self) -> Option<Seq> {
        self.records.last_key_value().map(|(seq, _)| *seq)
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|s| s.size + s.done_len).sum()
    }

    pub(super) fn reserve(&mut self, to: &[DestId], new: Held, max: Option<u64>) -> Result<(), Shortage> {
        let live: u64 = self.segments.values().map(|s| s.live).sum();
        if max.is_some_and(|max| live + self.reserved + new.bytes > max) {
            return Err(Shortage::Journal);
        }
        let full = |t: &Target| {
            let over =
                |max: Option<u64>, held, reserved, new| max.is_some_and(|max| held + reserved + new > max);
            over(t.quota.records, t.held.records, t.reserved.records, new.records)
                || over(t.quota.items, t.held.items, t.reserved.items, new.items)
                || over(t.quota.bytes, t.held.bytes, t.reserved.bytes, new.bytes)
        };
        let short: Vec<DestId> = to
            .iter()
            .copied()
            .filter(|id| full(&self.targets[id.0 as usize]))
            .collect();
        if !short.is_empty() {
            return Err(Shortage::Destinations(short));
        }
        self.reserved += new.bytes;
        for id in to {
            self.targets[id.0 as usize].reserved.add(new);
        }
        Ok(())
    }

    pub(super) fn unreserve(&mut self, to: &[DestId], held: Held) {
        self.reserved -= held.bytes;
        for id in to {
            self.targets[id.0 as usize].reserved.sub(held);
        }
    }

    /// A record lies safe in a segment. Not for one that is known already: see [`State::moved`].
    pub(super) fn insert(&mut self, segment: u64, entry: Entry) {
        let owed: Vec<(DestId, Remaining)> = entry
            .head
            .destinations
            .iter()
            .map(|id| (*id, Remaining::all(entry.head.items)))
            .collect();
        for (id, remaining) in &owed {
            let held = Held {
                records: 1,
                items: remaining.items(),
                bytes: entry.room(),
            };
            self.targets[id.0 as usize].held.add(held);
        }
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.seqs.push(entry.seq);
            if !owed.is_empty() {
                segment.live += entry.room();
            }
        }
        if !owed.is_empty() {
            self.records.insert(entry.seq, Record { segment, entry, owed });
        }
    }

    pub(super) fn locate(&self, seq: Seq) -> Option<(Arc<dyn File>, u64, usize)> {
        let record = self.records.get(&seq)?;
        let segment = self.segments.get(&record.segment)?;
        Some((
            segment.file.clone(),
            record.entry.offset,
            record.entry.len as usize,
        ))
    }

    /// Books a completion, and says whether the writer has to be woken for it.
    pub(super) fn complete(&mut self, seq: Seq, destination: DestId, items: Range<u32>) -> bool {
        let Some(record) = self.records.get_mut(&seq) else {
            return false;
        };
        let Some(at) = record.owed.iter().position(|(id, _)| *id == destination) else {
            return false;
        };
        let done = record.owed[at].1.complete(items.clone());
        if done == 0 {
            return false;
        }
        let (segment, room) = (record.segment, record.entry.room());
        let held = &mut self.targets[destination.0 as usize].held;
        held.items -= done;
        if record.owed[at].1.is_empty() {
            record.owed.swap_remove(at);
            held.records -= 1;
            held.bytes -= room;
        }
        if record.owed.is_empty() {
            self.records.remove(&seq);
            if let Some(segment) = self.segments.get_mut(&segment) {
                segment.live -= room;
            }
        }
        let was_idle = self.dones.is_empty();
        let done = Done {
            seq,
            destination,
            items,
        };
        self.dones.push((segment, done));
        was_idle
    }

    /// The records of a segment that somebody is owed.
    pub(super) fn live_in(&self, segment: u64) -> Vec<Entry> {
        let Some(seqs) = self.segments.get(&segment).map(|s| &s.seqs) else {
            return Vec::new();
        };
        let records = seqs.iter().filter_map(|seq| self.records.get(seq));
        records
            .filter(|r| r.segment == segment)
            .map(|r| r.entry.clone())
            .collect()
    }

    /// What is done already of a record that is being copied.
    pub(super) fn completed(&self, entry: &Entry) -> Vec<Done> {
        let owed = self.records.get(&entry.seq).map_or(&[][..], |r| &r.owed);
        let Head {
            items, destinations, ..
        } = &entry.head;
        let done_of = |id: &DestId| match owed.iter().find(|(other, _)| other == id) {
            Some((_, remaining)) => remaining.completed(*items),
            None => Remaining::all(*items).ranges().to_vec(),
        };
        let all = destinations
            .iter()
            .flat_map(|id| done_of(id).into_iter().map(|items| (*id, items)));
        all.map(|(destination, items)| Done {
            seq: entry.seq,
            destination,
            items,
        })
        .collect()
    }

    /// A record lies elsewhere now; completions that are not in a log yet follow it.
    pub(super) fn moved(&mut self, entry: Entry, to: u64) {
        let (seq, room) = (entry.seq, entry.room());
        for (segment, _) in self.dones.iter_mut().filter(|(_, done)| done.seq == seq) {
            *segment = to;
        }
        if let Some(target) = self.segments.get_mut(&to) {
            target.seqs.push(seq);
        }
        let Some(record) = self.records.get_mut(&seq) else {
            return;
        };
        let from = std::mem::replace(&mut record.segment, to);
        record.entry = entry;
        if let Some(segment) = self.segments.get_mut(&from) {
            segment.live -= room;
        }
        if let Some(segment) = self.segments.get_mut(&to) {
            segment.live += room;
        }
    }

    /// Sealed segments that nobody is owed anything of. Never the last one: from its name the next start knows which
    /// numbers were used. Nor a suspect one beside another that is still needed, for it may hold the better copy.
    pub(super) fn dead(&self) -> Vec<u64> {
        let in_doubt = self.segments.values().any(Segment::must_be_copied);
        let older = self.segments.iter().rev().skip(1);
        let dead = older.filter(|(_, s)| s.sealed && s.live == 0 && !(s.suspect && in_doubt));
        dead.map(|(number, _)| *number).collect()
    }

    /// A sealed segment that is to be copied forward: a suspect one, else the emptiest if it is worth it.
    pub(super) fn to_copy(&self) -> Option<u64> {
        let suspect = self.segments.iter().find(|(_, s)| s.must_be_copied());
        let sparse = |s: &Segment| s.sealed && !s.damaged && s.live > 0 && s.live * LIVE_SHARE_MIN < s.size;
        let older = self.segments.iter().rev().skip(1).filter(|(_, s)| sparse(s));
        suspect
            .or_else(|| older.min_by_key(|(_, s)| s.live))
            .map(|(number, _)| *number)
    }

    pub(super) fn has_work(&self) -> bool {
        !self.jobs.is_empty() || !self.dones.is_empty() || self.closing
    }
}

impl Held {
    fn add(&mut self, other: Held) {
        self.records += other.records;
        self.items += other.items;
        self.bytes += other.bytes;
    }

    fn sub(&mut self, other: Held) {
        self.records -= other.records;
        self.items -= other.items;
        self.bytes -= other.bytes;
    }
}

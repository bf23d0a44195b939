//! What the journal knows in memory: destinations, segments, and where each record that is owed lies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::append::Job;
use super::claim::{Claimed, Wish};
use super::completion::Remaining;
use super::crypt::Cipher;
use super::disk::File;
use super::format::{self, DestId, Done, Entry, Head, Seq};
use super::health::Condition;
use super::mark::Asked;
use super::{Destination, Owed, Quota, Shortage};

/// Whose a record is.
type Label = Option<Arc<str>>;

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
    /// What is owed to it.
    owed: BTreeSet<Seq>,
    /// Records up to this one may have been sent, says the file of marks.
    mark: Option<Seq>,
    /// What it said when the journal was opened.
    sent_before: Option<Seq>,
}

/// A file of records, and the log of what of them is done.
pub(super) struct Segment {
    pub(super) file: Arc<dyn File>,
    /// Its key; `None` if it lies in clear.
    pub(super) cipher: Option<Arc<Cipher>>,
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
    /// What of it cannot be read: as long as that is owed to somebody, it stays.
    pub(super) damaged: Option<Seq>,
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
    pub(super) marks: Vec<Asked>,
    pub(super) wishes: Vec<Wish>,
    pub(super) claimed: Claimed,
    pub(super) closing: bool,
    pub(super) condition: Condition,
    reserved: u64,
    live: u64,
}

/// A segment with less than this share of live bytes, in percent, is copied forward.
const LIVE_PERCENT_MIN: u64 = 25;

/// The same when there is no room for another segment otherwise.
const LIVE_PERCENT_MIN_PRESSED: u64 = 75;

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
            owed: BTreeSet::new(),
            mark: None,
            sent_before: None,
        });
        id
    }

    /// What the file of marks says, on opening.
    pub(super) fn marked_before(&mut self, marks: Vec<Option<Seq>>) {
        // Nothing that was written later can have been sent: its segment has a number of its own.
        let last = Seq(Seq::new(self.next_segment, 0).0 - 1);
        for (target, mark) in self.targets.iter_mut().zip(marks) {
            target.mark = mark.map(|mark| mark.min(last));
            target.sent_before = target.mark;
        }
    }

    pub(super) fn mark(&self, id: DestId) -> Option<Seq> {
        self.targets[id.0 as usize].mark
    }

    pub(super) fn set_mark(&mut self, id: DestId, mark: Seq) {
        self.targets[id.0 as usize].mark = Some(mark);
    }

    pub(super) fn next_destination(&self) -> usize {
        self.targets.len()
    }

    pub(super) fn owed_records(&self) -> u64 {
        self.records.len() as u64
    }

    pub(super) fn destinations(&self) -> Vec<Destination> {
        let written = |seq: Option<&Seq>| Some(self.records.get(seq?)?.entry.written_ms);
        let all = self.targets.iter().enumerate();
        all.map(|(i, t)| Destination {
            id: DestId(i as u16),
            name: t.name.clone(),
            records: t.held.records,
            items: t.held.items,
            bytes: t.held.bytes,
            oldest_ms: written(t.owed.first()),
            newest_ms: written(t.owed.last()),
        })
        .collect()
    }

    pub(super) fn owed_after(&self, destination: DestId, after: Option<Seq>, max: usize) -> Vec<Owed> {
        let Some(target) = self.targets.get(destination.0 as usize) else {
            return Vec::new();
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let seqs = target.owed.range((from, Bound::Unbounded)).take(max);
        seqs.filter_map(|seq| {
            let record = self.records.get(seq)?;
            let (_, remaining) = record.owed.iter().find(|(id, _)| *id == destination)?;
            let entry = &record.entry;
            Some(Owed {
                seq: entry.seq,
                kind: entry.head.kind,
                items: entry.head.items,
                tenant: entry.head.tenant.clone(),
                bytes: entry.room(),
                written_ms: entry.written_ms,
                maybe_sent: target.sent_before >= Some(entry.seq),
                remaining: remaining.ranges().to_vec(),
            })
        })
        .collect()
    }

    /// Records in a range that a destination is owed something of, whose they are, how many items each has, and bytes.
    pub(super) fn owed_in(&self, destination: DestId, seqs: Range<Seq>) -> Vec<(Seq, Label, u32, u64)> {
        let Some(target) = self.targets.get(destination.0 as usize) else {
            return Vec::new();
        };
        let records = target.owed.range(seqs).filter_map(|seq| self.records.get(seq));
        records
            .map(|r| (&r.entry, &r.entry.head))
            .map(|(entry, head)| (entry.seq, head.tenant.clone(), head.items, entry.room()))
            .collect()
    }

    pub(super) fn written_ms(&self, seq: Seq) -> Option<u64> {
        Some(self.records.get(&seq)?.entry.written_ms)
    }

    pub(super) fn last_owed(&self, destination: DestId) -> Option<Seq> {
        self.targets[destination.0 as usize].owed.last().copied()
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

    /// Bytes of records that somebody is owed.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    pub(super) fn reserve(&mut self, to: &[DestId], new: Held, max: Option<u64>) -> Result<(), Shortage> {
        if max.is_some_and(|max| self.live + self.reserved + new.bytes > max) {
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
        for id in entry.head.destinations.iter() {
            self.targets[id.0 as usize].owed.insert(entry.seq);
        }
        if let Some((seq, record)) = self.hold(segment, entry) {
            self.records.insert(seq, record);
        }
    }

    /// Many of them, in order, where there are none yet: millions may be owed at a start.
    pub(super) fn load(&mut self, entries: Vec<(u64, Entry)>) {
        let mut owed: Vec<Vec<Seq>> = self.targets.iter().map(|_| Vec::new()).collect();
        let mut records = Vec::with_capacity(entries.len());
        for (segment, entry) in entries {
            for id in entry.head.destinations.iter() {
                owed[id.0 as usize].push(entry.seq);
            }
            records.extend(self.hold(segment, entry));
        }
        self.records = records.into_iter().collect();
        for (target, owed) in self.targets.iter_mut().zip(owed) {
            target.owed = owed.into_iter().collect();
        }
    }

    /// Counts a record, and makes what is known of it; `None` if nobody is owed it.
    fn hold(&mut self, segment: u64, entry: Entry) -> Option<(Seq, Record)> {
        let destinations = entry.head.destinations.iter();
        let owed: Vec<(DestId, Remaining)> = destinations
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
                self.live += entry.room();
            }
        }
        (!owed.is_empty()).then_some((entry.seq, Record { segment, entry, owed }))
    }

    pub(super) fn locate(&self, seq: Seq) -> Option<Place> {
        let record = self.records.get(&seq)?;
        let segment = self.segments.get(&record.segment)?;
        Some(Place {
            file: segment.file.clone(),
            cipher: segment.cipher.clone(),
            offset: record.entry.offset,
            len: record.entry.len as usize,
        })
    }

    /// Books a completion, and says how many items of it were owed until now.
    pub(super) fn complete(&mut self, seq: Seq, destination: DestId, items: Range<u32>) -> u64 {
        let Some(record) = self.records.get_mut(&seq) else {
            return 0;
        };
        let Some(at) = record.owed.iter().position(|(id, _)| *id == destination) else {
            return 0;
        };
        let done = record.owed[at].1.complete(items.clone());
        if done == 0 {
            return 0;
        }
        let (segment, room) = (record.segment, record.entry.room());
        let target = &mut self.targets[destination.0 as usize];
        target.held.items -= done;
        if record.owed[at].1.is_empty() {
            record.owed.swap_remove(at);
            target.owed.remove(&seq);
            target.held.records -= 1;
            target.held.bytes -= room;
        }
        if record.owed.is_empty() {
            self.records.remove(&seq);
            if let Some(segment) = self.segments.get_mut(&segment) {
                segment.live -= room;
                self.live -= room;
            }
        }
        let entry = Done {
            seq,
            destination,
            items,
        };
        self.dones.push((segment, entry));
        done
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

    /// A record lies elsewhere now, perhaps with another length; completions that are not in a log yet follow it.
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
        let before = std::mem::replace(&mut record.entry, entry).room();
        for (id, _) in &record.owed {
            let held = &mut self.targets[id.0 as usize].held.bytes;
            *held = *held - before + room;
        }
        self.live = self.live - before + room;
        if let Some(segment) = self.segments.get_mut(&from) {
            segment.live -= before;
        }
        if let Some(segment) = self.segments.get_mut(&to) {
            segment.live += room;
        }
    }

    /// Sealed segments that nobody is owed anything of. Never the last one: from its name the next start knows which
    /// numbers were used. Nor a suspect one beside another that is still needed, for it may hold the better copy.
    pub(super) fn dead(&self) -> Vec<u64> {
        let in_doubt = self.segments.values().any(|s| self.must_be_copied(s));
        let older = self.segments.iter().rev().skip(1);
        let dead = older.filter(|(_, s)| s.sealed && s.live == 0 && !(s.suspect && in_doubt));
        dead.map(|(number, _)| *number).collect()
    }

    /// A sealed segment that is to be copied forward: a suspect one, else the emptiest if it is worth it, which it is
    /// sooner when the journal is `pressed` for room.
    pub(super) fn to_copy(&self, pressed: bool) -> Option<u64> {
        let suspect = self.segments.iter().find(|(_, s)| self.must_be_copied(s));
        let percent = if pressed {
            LIVE_PERCENT_MIN_PRESSED
        } else {
            LIVE_PERCENT_MIN
        };
        let sparse = |s: &Segment| s.live > 0 && s.live * 100 < s.size * percent && self.may_be_copied(s);
        let older = self.segments.iter().rev().skip(1).filter(|(_, s)| sparse(s));
        suspect
            .or_else(|| older.min_by_key(|(_, s)| s.live))
            .map(|(number, _)| *number)
    }

    fn must_be_copied(&self, segment: &Segment) -> bool {
        segment.suspect && segment.live > 0 && self.may_be_copied(segment)
    }

    fn may_be_copied(&self, segment: &Segment) -> bool {
        segment.sealed && !segment.damaged.is_some_and(|seq| self.records.contains_key(&seq))
    }

    pub(super) fn has_work(&self) -> bool {
        let is_idle = self.jobs.is_empty() && self.dones.is_empty() && self.marks.is_empty();
        !(is_idle && self.wishes.is_empty()) || self.closing
    }
}

/// Where a record lies.
pub(super) struct Place {
    pub(super) file: Arc<dyn File>,
    pub(super) cipher: Option<Arc<Cipher>>,
    pub(super) offset: u64,
    pub(super) len: usize,
}

impl Place {
    /// The record and its data; `None` if it is damaged. Blocks on the disk.
    pub(super) fn read(&self) -> std::io::Result<Option<(Entry, Bytes)>> {
        let mut buf = vec![0; self.len];
        let read = self.file.read_at(&mut buf, self.offset)?;
        buf.truncate(read);
        let decoded = format::record_decode(&mut buf, self.offset, self.cipher.as_deref(), None);
        Ok(decoded.map(|(entry, range)| (entry, Bytes::from(buf).slice(range))))
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

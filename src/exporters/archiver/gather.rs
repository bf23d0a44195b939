//! What is being gathered: partitions, the memory that they hold, and which of them want something done.
//!
//! Whoever appends takes room here, in the same breath as it gives its bytes away: an append that is given up while it
//! waits has taken nothing. What it takes to get rid of the bytes again is somebody else's work (`run`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use component::prelude::*;
use component::{Receipt, Set};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::buffer::{SLAB_BYTES, Segment, Slabs};
use super::partition::{Bounds, Key, Partition, Roll, jitter};
use super::rules::Rules;
use super::split::Piece;
use super::spool::Part;

/// Everything that is open.
pub(super) struct Gather {
    table: Mutex<Table>,
    /// There is room again.
    room: Notify,
    /// There is something to do.
    pub(super) work: Notify,
    /// Nothing is taken any more.
    shut: AtomicBool,
    /// Nothing is taken for a moment: who comes waits.
    paused: AtomicBool,
    /// How many wait for room.
    waiting: AtomicUsize,
    slabs: Arc<Slabs>,
    /// Bytes of parts, open and whole.
    pub(super) spool_bytes: AtomicU64,
    pub(super) limits: Limits,
}

/// Bounds of all objects together, and of each.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) writer: String,
    /// Name of the present rules.
    pub(super) rules: Arc<str>,
    pub(super) bounds: Bounds,
    pub(super) chunk_bytes: usize,
    pub(super) buffer_bytes_max: usize,
    /// When so much waits to be compressed, whoever appends waits too. Who compresses is slower than whoever appends: what
    /// is taken in the meantime would lie cold in memory, and be no sooner in the archive.
    pub(super) leaving_bytes_max: usize,
    pub(super) spool_bytes_max: u64,
    pub(super) partitions_max: usize,
}

#[derive(Default)]
struct Table {
    partitions: HashMap<Key, Partition<Set>>,
    /// Memory of buffers that gather.
    in_hand: usize,
    /// Memory of buffers that are full or on their way to be compressed.
    leaving: usize,
    /// Partitions whose buffers are full.
    full: Vec<Key>,
}

impl Table {
    /// Memory of all buffers.
    fn buffered(&self) -> usize {
        self.in_hand + self.leaving
    }

    /// So much leaves.
    fn leave(&mut self, capacity: usize) {
        self.in_hand -= capacity;
        self.leaving += capacity;
    }
}

/// A buffer to be compressed into its part.
pub(super) struct Framing {
    pub(super) key: Key,
    pub(super) part: Part,
    pub(super) segments: Vec<Segment>,
    /// Uncompressed bytes, and the memory that they hold.
    pub(super) bytes: u64,
    pub(super) capacity: usize,
    pub(super) why: &'static str,
}

/// An object that gathers no more.
pub(super) struct Closed {
    pub(super) key: Key,
    pub(super) partition: Partition<Set>,
    pub(super) why: Roll,
}

/// Somebody waits for room, as long as it lives.
struct Waits<'a>(&'a AtomicUsize);

impl Waits<'_> {
    fn new(waiting: &AtomicUsize) -> Waits<'_> {
        waiting.fetch_add(1, Relaxed);
        Waits(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Above this share of `max_spool_bytes` objects are finished early; in percent.
const SPOOL_HIGH: u64 = 80;

impl Gather {
    pub(super) fn new(limits: Limits) -> Gather {
        Gather {
            table: Mutex::default(),
            room: Notify::new(),
            work: Notify::new(),
            shut: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            slabs: Arc::default(),
            spool_bytes: AtomicU64::new(0),
            limits,
        }
    }

    /// Takes what is owed of a record, as soon as there is room; `make`: a new part. `taken` is told of each piece.
    pub(super) async fn take(
        &self,
        rules: &Rules,
        signal: Signal,
        pieces: Vec<Piece>,
        receipt: &Receipt,
        make: impl Fn() -> Part,
        taken: impl Fn(&Arc<str>, u64),
    ) -> Result<(), Refusal> {
        // A piece may need slabs of its own.
        let bytes = pieces
            .iter()
            .map(|piece| bytes_of(piece).next_multiple_of(SLAB_BYTES))
            .sum();
        let mut waits = None;
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.shut.load(Relaxed) {
                return Err(Refusal::unavailable("the archive takes nothing at present"));
            }
            {
                let mut table = self.table.lock();
                if self.has_room(&table, bytes) {
                    self.add(&mut table, rules, signal, pieces, receipt, make, taken);
                    return Ok(());
                }
                // Where much is leaving there will be room; else somebody has to go.
                match self.is_leaving(&table) {
                    true => waits = None,
                    false => _ = waits.get_or_insert_with(|| Waits::new(&self.waiting)),
                }
            }
            self.work.notify_one();
            room.await;
        }
    }

    fn has_room(&self, table: &Table, bytes: usize) -> bool {
        let buffered = table.buffered();
        if self.paused.load(Relaxed) || self.is_leaving(table) {
            return false;
        }
        let fits = buffered == 0 || buffered.saturating_add(bytes) <= self.limits.buffer_bytes_max;
        fits && self.spool_bytes.load(Relaxed) < self.limits.spool_bytes_max
    }

    fn is_leaving(&self, table: &Table) -> bool {
        table.leaving >= self.limits.leaving_bytes_max
    }

    #[expect(clippy::too_many_arguments, reason = "all of them are one record")]
    fn add(
        &self,
        table: &mut Table,
        rules: &Rules,
        signal: Signal,
        pieces: Vec<Piece>,
        receipt: &Receipt,
        make: impl Fn() -> Part,
        taken: impl Fn(&Arc<str>, u64),
    ) {
        let of = pieces.len() as u32;
        let whole = pieces.iter().map(bytes_of).sum();
        for (n, piece) in (0..).zip(pieces).filter(|(n, _)| receipt.owed.contains(*n)) {
            let key = Key {
                hour: receipt.admitted_ms / 3_600_000,
                signal,
                class: rules.classes()[usize::from(piece.class)].name.clone(),
                tenant: piece.tenant.clone(),
                rules: receipt.rules.as_ref().unwrap_or(&self.limits.rules).clone(),
            };
            let partition = match table.partitions.entry(key) {
                Entry::Occupied(there) => there,
                Entry::Vacant(gap) => {
                    let share = jitter(&self.limits.writer, gap.key());
                    gap.insert_entry(Partition::new(make(), Set::new(), share, Instant::now()))
                }
            };
            let mut entry = partition;
            let partition = entry.get_mut();
            let mut raw = 0;
            let was_full = self.is_full(partition);
            let mut grown = 0;
            for message in &piece.messages {
                raw += message.iter().map(|part| part.len() as u64).sum::<u64>();
                grown += partition.buffer.push(message, whole, &self.slabs);
            }
            let is_full = self.is_full(partition);
            let capacity = partition.buffer.capacity();
            partition.summary.add(&piece.facts, raw, receipt.admitted_ms);
            partition.set.add_piece(receipt.seq, n, of);
            taken(&piece.tenant, piece.facts.items);
            let due =
                signal == Signal::Profiles || partition.due(&self.limits.bounds, Instant::now()).is_some();
            if due || is_full {
                if signal == Signal::Profiles {
                    // Two messages of profiles are not one: each is an object.
                    partition.roll = Some(Roll::Records);
                }
                table.full.push(entry.key().clone());
            }
            table.in_hand += grown;
            match (was_full, is_full) {
                (false, true) => table.leave(capacity),
                (true, _) => table.leave(grown),
                (false, false) => {}
            }
        }
        // Slabs that wait for use count, too.
        self.slabs
            .keep(self.limits.buffer_bytes_max.saturating_sub(table.buffered()));
        if !table.full.is_empty() || table.buffered() > self.limits.buffer_bytes_max / 10 * 9 {
            self.work.notify_one();
        }
    }

    /// Buffers that should be compressed now: full ones, and the largest ones where memory is short.
    pub(super) fn framings(&self) -> Vec<Framing> {
        let mut table = self.table.lock();
        let mut framings = Vec::new();
        for key in std::mem::take(&mut table.full) {
            framings.extend(self.framing(&mut table, &key, "full"));
        }
        let high = self.limits.buffer_bytes_max / 10 * 9;
        let in_hand = table.in_hand;
        // What is being compressed is on its way out.
        let short = table.buffered() > high && in_hand > high / 2;
        if short || (self.waiting.load(Relaxed) > 0 && in_hand > 0) {
            let mut largest: Vec<(usize, Key)> = table
                .partitions
                .iter()
                .filter(|(_, p)| p.part.is_some() && p.buffer.capacity() > 0)
                .map(|(key, p)| (p.buffer.capacity(), key.clone()))
                .collect();
            largest.sort_unstable_by(|a, b| b.cmp(a));
            let mut excess = in_hand.saturating_sub(high / 2).max(1);
            for (capacity, key) in largest {
                framings.extend(self.framing(&mut table, &key, "pressure"));
                excess = excess.saturating_sub(capacity);
                if excess == 0 {
                    break;
                }
            }
        }
        framings
    }

    fn framing(&self, table: &mut Table, key: &Key, why: &'static str) -> Option<Framing> {
        let partition = table.partitions.get_mut(key)?;
        if partition.buffer.len() == 0 {
            return None;
        }
        // While somebody compresses, the buffer grows; it is asked for again when that is done.
        let part = partition.part.take()?;
        let (bytes, capacity) = (partition.buffer.len() as u64, partition.buffer.capacity());
        let is_full = self.is_full(partition);
        let segments = partition.buffer.take();
        if !is_full {
            table.leave(capacity);
        }
        Some(Framing {
            key: key.clone(),
            part,
            segments,
            bytes,
            capacity,
            why,
        })
    }

    fn is_full(&self, partition: &Partition<Set>) -> bool {
        partition.buffer.len() >= self.limits.chunk_bytes
    }

    /// A buffer is in its part.
    pub(super) fn framed(&self, key: &Key, part: Part, bytes: u64, capacity: usize) {
        let mut table = self.table.lock();
        table.leaving -= capacity;
        if let Some(partition) = table.partitions.get_mut(key) {
            let grown = part.len() - partition.stored_bytes;
            partition.stored_bytes = part.len();
            partition.framed_bytes += bytes;
            partition.part = Some(part);
            self.spool_bytes.fetch_add(grown, Relaxed);
            if self.is_full(partition) {
                table.full.push(key.clone());
            }
        }
        drop(table);
        self.room.notify_waiters();
        self.work.notify_one();
    }

    /// The last buffer of an object is in its part, which grew by so much.
    pub(super) fn let_go(&self, capacity: usize, grown: u64) {
        self.table.lock().leaving -= capacity;
        self.spool_bytes.fetch_add(grown, Relaxed);
        self.room.notify_waiters();
    }

    /// A part is gone.
    pub(super) fn free_spool(&self, bytes: u64) {
        // Of what was lost or changed by others less may be known than is freed.
        let _ = self
            .spool_bytes
            .fetch_update(Relaxed, Relaxed, |all| Some(all.saturating_sub(bytes)));
        self.room.notify_waiters();
        self.work.notify_one();
    }

    /// Takes out the partitions that are due, and those that have to go for want of room.
    pub(super) fn closed(&self, now: Instant) -> Vec<Closed> {
        let mut table = self.table.lock();
        let bounds = &self.limits.bounds;
        let mut due: Vec<(Key, Roll)> = Vec::new();
        for (key, partition) in &mut table.partitions {
            if let Some(why) = partition.roll.or_else(|| partition.due(bounds, now)) {
                partition.roll = Some(why);
                if partition.part.is_some() {
                    due.push((key.clone(), why));
                }
            }
        }
        let left = table.partitions.len() - due.len();
        let mut early = left.saturating_sub(self.limits.partitions_max);
        let mut why = Roll::Limit;
        if early == 0 && self.spool_bytes.load(Relaxed) >= self.limits.spool_bytes_max / 100 * SPOOL_HIGH {
            (early, why) = (1, Roll::Quota);
        }
        if early > 0 {
            let idle = table
                .partitions
                .iter()
                .filter(|(_, p)| p.part.is_some() && p.roll.is_none());
            let mut order: Vec<(Key, u64, Instant)> = idle
                .map(|(key, p)| {
                    (
                        key.clone(),
                        p.set.runs().next().map_or(0, |run| run.first().0),
                        p.deadline(bounds),
                    )
                })
                .collect();
            match why {
                Roll::Quota => order.sort_unstable_by_key(|(_, oldest, _)| *oldest),
                // Hours that are over first, for nothing is added to them.
                _ => order.sort_unstable_by_key(|(key, _, deadline)| (key.hour, *deadline)),
            }
            due.extend(order.into_iter().take(early).map(|(key, ..)| (key, why)));
        }
        let mut closed = Vec::with_capacity(due.len());
        for (key, why) in due {
            if let Some(partition) = table.partitions.remove(&key) {
                if !self.is_full(&partition) {
                    table.leave(partition.buffer.capacity());
                }
                closed.push(Closed { key, partition, why });
            }
        }
        closed
    }

    /// Everything that is open is due.
    pub(super) fn flush(&self) {
        for partition in self.table.lock().partitions.values_mut() {
            partition.roll.get_or_insert(Roll::Flush);
        }
        self.work.notify_one();
    }

    /// Nothing is taken any more, or is again.
    pub(super) fn shut(&self, shut: bool) {
        self.shut.store(shut, Relaxed);
        self.room.notify_waiters();
    }

    /// Whoever appends waits, or goes on.
    pub(super) fn pause(&self, paused: bool) {
        self.paused.store(paused, Relaxed);
        self.room.notify_waiters();
    }

    /// Gives back memory that is not in use any more.
    pub(super) fn look(&self) {
        self.slabs.look(Instant::now());
    }

    /// Memory of buffers, also of those that are being compressed.
    pub(super) fn buffered(&self) -> usize {
        self.table.lock().buffered()
    }

    pub(super) fn open_partitions(&self) -> usize {
        self.table.lock().partitions.len()
    }

    #[cfg(test)]
    pub(super) fn state_bytes(&self) -> Vec<usize> {
        self.table
            .lock()
            .partitions
            .iter()
            .map(|(key, partition)| partition.state_bytes(key))
            .collect()
    }

    /// When the oldest record that is open came, in milliseconds since 1970.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let table = self.table.lock();
        table
            .partitions
            .values()
            .filter_map(|p| Some(p.summary.admitted_ms?.0))
            .min()
    }
}

/// Bytes of all messages of a piece.
fn bytes_of(piece: &Piece) -> usize {
    piece.messages.iter().flatten().map(bytes::Bytes::len).sum()
}

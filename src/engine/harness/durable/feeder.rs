//! From the disk to the hub: notes what was there before, then reads what there is room for, in order.

use std::sync::{Arc, Weak};

use component::Class;
use storage::Journal;
use storage::journal::{self, DestId, Owed, Seq};
use telemetry::Column;
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::{Chunk, Payload};

use super::{Durable, Label, MIXED, Opened};
use crate::harness::keys::Keys;
use crate::harness::record;
use crate::harness::tally::Tally;
use crate::harness::wait::Ticket;

/// Records asked for at once when the backlog is noted.
const PAGE: usize = 1024;

impl Durable {
    /// Waits for its turn to read. Says whether nobody has read since the journal was opened, and which records were there
    /// before this one comes.
    pub(super) async fn take_turn(&self, opened: &Opened) -> (bool, Option<Seq>) {
        let turn = opened.journal.turn(opened.dest).await;
        let is_first = turn.is_first;
        *self.turn.lock() = Some(turn);
        let mut boundary = opened.boundary.lock();
        if !is_first {
            *boundary = opened.journal.last();
        }
        (is_first, *boundary)
    }

    /// Books what was there before; says how many items.
    pub(super) async fn carry(&self, opened: &Opened, owed: &Owed) -> u64 {
        let tally = self.tally_of(opened, owed).await;
        let row = &self.hub.sender.books.row;
        tally.add(row, Column::CarriedIn);
        tally.add(row, Column::Held);
        if owed.maybe_sent {
            tally.add(row, Column::PossibleDuplicates);
        }
        tally.items()
    }

    pub(super) fn tell_carried(&self, items: u64, repeated: u64) {
        if items > 0 {
            tracing::info!(
                component = %self.hub.sender.id,
                signal = self.hub.sender.signal.as_str(),
                items,
                possibly_sent = repeated,
                "carries on with what is on disk"
            );
        }
    }

    pub(super) fn tell_damaged(&self, seq: Seq) {
        self.meters.unreadable.add(1);
        tracing::error!(
            component = %self.hub.sender.id,
            signal = self.hub.sender.signal.as_str(),
            record = seq.0,
            "a record on disk cannot be read; it stays there"
        );
    }

    /// Notes what was there before.
    async fn scan(&self) {
        let Some(opened) = self.opened.get() else { return };
        let (is_first, boundary) = self.take_turn(opened).await;
        self.state.lock().held_back = !is_first;
        let (mut items, mut repeated, mut after) = (0, 0, None);
        loop {
            let mut page = opened.journal.owed_after(opened.dest, after, PAGE);
            page.retain(|owed| Some(owed.seq) <= boundary);
            let Some(last) = page.last() else { break };
            after = Some(last.seq);
            for owed in page {
                if is_first {
                    let carried = self.carry(opened, &owed).await;
                    items += carried;
                    repeated += if owed.maybe_sent { carried } else { 0 };
                }
                self.state
                    .lock()
                    .note(owed.seq, &owed.tenant, owed.bytes as usize);
            }
            self.work.notify_one();
            tokio::task::yield_now().await;
        }
        self.meters.repeated.add(repeated);
        self.state.lock().scanning = false;
        self.work.notify_one();
        self.tell_carried(items, repeated);
    }

    async fn tally_of(&self, opened: &Opened, owed: &Owed) -> Tally {
        let items = owed.remaining.iter().map(|r| u64::from(r.end - r.start)).sum();
        match owed.tenant.as_deref() {
            Some(MIXED) => {
                let (journal, dest, seq, keys) = (opened.journal.clone(), opened.dest, owed.seq, self.keys());
                let read = tokio::task::spawn_blocking(move || load(&journal, dest, seq, &keys)).await;
                match read {
                    Ok(Ok(loaded)) => Tally::of(&loaded.payload),
                    _ => Tally::nobody(items),
                }
            }
            Some(tenant) if !tenant.starts_with('~') => {
                let mut tally = Tally::default();
                tally.plus(owed.tenant.as_ref(), items);
                tally
            }
            _ => Tally::nobody(items),
        }
    }

    /// Reads the pieces of a batch again that was shelved; what is owed no more, or cannot be read, is left out. `None`:
    /// not now.
    pub(crate) async fn unshelve(&self, owners: &[Arc<Ticket>], chunks: &[Chunk]) -> Option<Vec<Chunk>> {
        let opened = self.opened.get()?;
        let (journal, dest, keys) = (opened.journal.clone(), opened.dest, self.keys());
        let wanted = chunks.iter().filter(|c| c.shape.items > 0).filter_map(|chunk| {
            let origin = &chunk.origin;
            let seq = owners.get(origin.slot as usize)?.as_stored()?.seq;
            Some((origin.slot, seq, origin.first..origin.first + chunk.shape.items))
        });
        let wanted: Vec<_> = wanted.collect();
        let reading = tokio::task::spawn_blocking(move || {
            let mut out: Vec<Chunk> = Vec::with_capacity(wanted.len());
            let mut last: Option<(Seq, Payload)> = None;
            for (slot, seq, items) in wanted {
                if last.as_ref().is_none_or(|(known, _)| *known != seq) {
                    last = match whole(&journal, dest, seq, &keys) {
                        Ok((payload, _)) => Some((seq, payload)),
                        Err(Unloaded::NotNow(_)) => return None,
                        Err(_) => None,
                    };
                }
                let piece = last
                    .as_ref()
                    .and_then(|(_, p)| record::part(p.clone(), std::slice::from_ref(&items)));
                out.extend(piece.into_iter().flat_map(|p| p.chunks).map(|mut chunk| {
                    chunk.origin.slot = slot;
                    chunk
                }));
            }
            Some(out)
        });
        reading.await.ok().flatten()
    }

    /// Reads records, and hands them over.
    async fn read(self: &Arc<Durable>, wanted: Vec<(Seq, Label, usize)>) {
        let Some(opened) = self.opened.get() else { return };
        let (journal, dest, keys) = (opened.journal.clone(), opened.dest, self.keys());
        let reading = tokio::task::spawn_blocking(move || {
            let read = |(seq, label, bytes)| (seq, label, bytes, load(&journal, dest, seq, &keys));
            wanted.into_iter().map(read).collect::<Vec<_>>()
        });
        let Ok(all) = reading.await else { return };
        for (seq, label, bytes, loaded) in all {
            let again = match loaded {
                Ok(loaded) => {
                    let policy = self.policy(&loaded.batch);
                    let memory = self.memory.reserve(Class::Queues, bytes);
                    // With nothing loaded one goes on, whatever others hold.
                    let alone = || self.state.lock().used <= bytes;
                    let memory =
                        memory.or_else(|| alone().then(|| self.memory.reserve(Class::Queues, 0)).flatten());
                    match policy.zip(memory) {
                        Some((policy, memory)) => {
                            let left = loaded.payload.items as u64;
                            let ticket = self.stored(seq, &label, bytes, left, memory);
                            self.hand_over(&policy, loaded.payload, ticket);
                            continue;
                        }
                        None => {
                            self.pause();
                            true
                        }
                    }
                }
                Err(Unloaded::Gone) => false,
                Err(Unloaded::Damaged) => {
                    self.tell_damaged(seq);
                    false
                }
                Err(Unloaded::NotNow(error)) => {
                    tracing::warn!(component = %self.hub.sender.id, %error, "cannot read from the disk, will try again");
                    self.pause();
                    true
                }
            };
            let mut st = self.state.lock();
            st.shrink(&label, bytes, 1);
            if again {
                st.note(seq, &label, bytes);
            }
        }
    }
}

pub(super) struct Loaded {
    pub(super) payload: Payload,
    pub(super) batch: String,
}

pub(super) enum Unloaded {
    Gone,
    Damaged,
    NotNow(journal::Error),
}

/// What is owed of a record. Blocks on the disk.
pub(super) fn load(journal: &Journal, dest: DestId, seq: Seq, keys: &Keys) -> Result<Loaded, Unloaded> {
    let remaining = journal.remaining(seq, dest);
    let (payload, batch) = whole(journal, dest, seq, keys)?;
    let payload = record::part(payload, &remaining).ok_or(Unloaded::Damaged)?;
    Ok(Loaded { payload, batch })
}

/// A record of which something is owed, and the id of its `batch` processor.
pub(super) fn whole(
    journal: &Journal,
    dest: DestId,
    seq: Seq,
    keys: &Keys,
) -> Result<(Payload, String), Unloaded> {
    if journal.remaining(seq, dest).is_empty() {
        return Err(Unloaded::Gone);
    }
    let data = journal.read(seq).map_err(|error| match error {
        journal::Error::Gone { .. } => Unloaded::Gone,
        journal::Error::Damaged { .. } => Unloaded::Damaged,
        error => Unloaded::NotNow(error),
    })?;
    record::decode(&data, keys).ok_or(Unloaded::Damaged)
}

pub(super) async fn feed(queue: Weak<Durable>, work: Arc<Notify>) {
    let scan = async {
        if let Some(queue) = queue.upgrade() {
            queue.scan().await;
        }
    };
    tokio::join!(scan, load_all(&queue, &work));
}

async fn load_all(queue: &Weak<Durable>, work: &Notify) {
    loop {
        let (wanted, pause) = {
            let Some(queue) = queue.upgrade() else { return };
            let mut st = queue.state.lock();
            let now = Instant::now();
            let pause = st.pause_until.filter(|until| *until > now);
            if pause.is_none() {
                st.pause_until = None;
            }
            (st.next(now), pause)
        };
        if wanted.is_empty() {
            let Some(strong) = queue.upgrade() else { return };
            let pressing = strong.state.lock().pressing(Instant::now());
            if pressing.is_some_and(|bytes| strong.hub.shelve(bytes) > 0) {
                continue;
            }
            drop(strong);
            match pause {
                Some(until) => tokio::time::sleep_until(until).await,
                None => work.notified().await,
            }
            continue;
        }
        let Some(queue) = queue.upgrade() else { return };
        queue.read(wanted).await;
    }
}

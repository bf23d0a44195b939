//! The queue on disk of one exporter and signal: a window of loaded records in front of the journal.
//!
//! ```text
//! append (see pipeline::journal_fanout) -> arrive -> hub, while the window has room and nothing older waits
//!                                             \----> noted -> feeder reads it from the journal -> hub
//! ```
//!
//! What a record is owed stands in the journal alone; here is only which records wait on disk, by tenant, and which are
//! loaded. A tenant has a share of the window, so that one whose data cannot be sent does not keep out the others. A
//! [`Stored`] stands for a loaded record; a piece that ends is completed in the journal, and a record that leaves the
//! hub while something of it is owed is noted once more. At the end of the process nothing is given up: what was not
//! sent stays where it is.

mod backlog;
mod feeder;
mod gather;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use component::{Class, Fault, Host, Memory, Reservation};
use config::ComponentId;
use parking_lot::{Mutex, RwLock};
use storage::Journal;
use storage::journal::{DestId, Quota, Seq, Turn};
use telemetry::{Column, Counter, Gauge};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use wire::Payload;

use backlog::Backlog;
use feeder::Unloaded;
pub(crate) use gather::Gather;
pub(crate) use stored::Stored;

use super::batch::Policy;
use super::config::Overflow;
use super::keys::Keys;
use super::queue::Hub;
use super::room::Sizer;
use super::tally::Tally;
use super::wait::Ticket;

/// After the disk or the hub did not do as asked.
const PAUSE: Duration = Duration::from_secs(1);

/// Whose a record is, as its head says: a tenant, or what stands for its metadata.
pub(crate) type Label = Option<Arc<str>>;

/// The queue on disk of one exporter and signal.
pub(crate) struct Durable {
    pub(crate) hub: Arc<Hub>,
    storage: ComponentId,
    bounds: Bounds,
    memory: Arc<Memory>,
    meters: Meters,
    keys: RwLock<Arc<Keys>>,
    keeps_secrets: bool,
    /// By id of the `batch` processor; empty for what comes without one.
    policies: Mutex<HashMap<String, Arc<Policy>>>,
    opened: OnceLock<Opened>,
    state: Mutex<Backlog>,
    work: Arc<Notify>,
    /// Appends that have not been handed over yet.
    appending: AtomicUsize,
    /// Nothing is appended any more.
    has_let_go: AtomicBool,
    appended: Notify,
    feeder: Mutex<Option<AbortHandle>>,
    turn: Mutex<Option<Turn>>,
    /// Of an exporter that gathers: then nothing goes to the hub.
    gather: Option<Gather>,
}

/// What it may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) size: usize,
    pub(crate) sizer: Sizer,
    pub(crate) block: bool,
    pub(crate) overflow: Overflow,
}

/// What it counts.
pub(crate) struct Meters {
    pub(crate) used: Gauge,
    pub(crate) refused: Counter,
    pub(crate) repeated: Counter,
    pub(crate) unreadable: Counter,
}

pub(crate) struct Opened {
    pub(crate) journal: Journal,
    pub(crate) dest: DestId,
    /// Records up to here were there before we came; they are noted by the feeder, not by who appended them.
    boundary: Mutex<Option<Seq>>,
}

impl Durable {
    pub(crate) fn new(
        hub: Arc<Hub>,
        storage: ComponentId,
        bounds: Bounds,
        memory: &Arc<Memory>,
        meters: Meters,
        (keys, keeps_secrets): (Keys, bool),
        gather: Option<Gather>,
    ) -> Arc<Durable> {
        let durable = Durable {
            hub,
            storage,
            bounds,
            memory: memory.clone(),
            meters,
            keys: RwLock::default(),
            keeps_secrets,
            policies: Mutex::default(),
            opened: OnceLock::new(),
            state: Mutex::default(),
            work: Arc::default(),
            appending: AtomicUsize::new(0),
            has_let_go: AtomicBool::new(false),
            appended: Notify::new(),
            feeder: Mutex::default(),
            turn: Mutex::default(),
            gather,
        };
        durable.keep(keys);
        Arc::new(durable)
    }

    /// These keys of client metadata go to the disk too.
    fn keep(&self, mut keys: Keys) {
        if !self.keeps_secrets {
            keys.split_secrets();
        }
        let mut known = self.keys.write();
        let mut all = (**known).clone();
        all.merge(&keys);
        *known = Arc::new(all);
    }

    pub(crate) fn keys(&self) -> Arc<Keys> {
        self.keys.read().clone()
    }

    /// A way in: what comes by the `batch` processor of this id follows this policy.
    pub(crate) fn register(&self, batch: &str, policy: &Arc<Policy>) {
        if let Some(flush) = &policy.flush {
            self.keep(Keys::of(&flush.metadata_keys));
        }
        self.policies.lock().insert(batch.to_owned(), policy.clone());
    }

    fn policy(&self, batch: &str) -> Option<Arc<Policy>> {
        let policies = self.policies.lock();
        policies.get(batch).or_else(|| policies.get("")).cloned()
    }

    /// The journal and our place in it; `None` before the start.
    pub(crate) fn opened(&self) -> Option<&Opened> {
        self.opened.get()
    }

    pub(crate) fn storage(&self) -> &ComponentId {
        &self.storage
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Finds the journal. Blocks on the disk for a new destination.
    pub(crate) async fn open(&self, host: &dyn Host) -> Result<(), Fault> {
        if self.opened.get().is_some() {
            return Ok(());
        }
        let id = &self.storage;
        let extension = host
            .extension(id)
            .map_err(|_| Fault::World(format!("no storage client extension found: {id}")))?;
        let journal = extension
            .journal()
            .ok_or_else(|| Fault::World(format!("requested extension is not a storage extension: {id}")))?;
        let sender = &self.hub.sender;
        let name = format!("exporter/{}/{}", sender.id, sender.signal.as_str());
        let size = Some(self.bounds.size as u64);
        let quota = match self.bounds.sizer {
            Sizer::Requests => Quota {
                records: size,
                ..Quota::default()
            },
            Sizer::Items => Quota {
                items: size,
                ..Quota::default()
            },
            Sizer::Bytes => Quota {
                bytes: size,
                ..Quota::default()
            },
        };
        let opening = {
            let journal = journal.clone();
            tokio::task::spawn_blocking(move || journal.destination(&name, quota))
        };
        let dest = opening
            .await
            .map_err(|e| Fault::World(e.to_string()))?
            .map_err(|e| Fault::World(format!("storage {id}: {e}")))?;
        let owed = journal.destinations().into_iter().find(|d| d.id == dest);
        if let Some(owed) = owed {
            self.meters.used.set(match self.bounds.sizer {
                Sizer::Requests => owed.records,
                Sizer::Items => owed.items,
                Sizer::Bytes => owed.bytes,
            } as i64);
        }
        {
            let mut st = self.state.lock();
            (st.scanning, st.held_back) = (true, true);
        }
        let boundary = Mutex::new(journal.last());
        let _ = self.opened.set(Opened {
            journal,
            dest,
            boundary,
        });
        Ok(())
    }

    /// Begins to read what is owed.
    pub(crate) fn start(self: &Arc<Durable>) {
        let mut feeder = self.feeder.lock();
        if feeder.is_none() && self.gather.is_none() && self.opened.get().is_some() {
            *feeder =
                Some(tokio::spawn(feeder::feed(Arc::downgrade(self), self.work.clone())).abort_handle());
        }
    }

    // --- what comes ---

    /// An append begins; it is over when the guard is dropped. `None` once this one has let go: nobody would read what
    /// is appended.
    pub(crate) fn appending(self: &Arc<Durable>) -> Option<Appending> {
        self.appending.fetch_add(1, SeqCst);
        let guard = Appending(self.clone());
        (!self.has_let_go.load(SeqCst)).then_some(guard)
    }

    /// A record was refused for want of room.
    pub(crate) fn refused(&self, items: usize) {
        self.meters.refused.add(items as u64);
    }

    /// A record of ours lies safe in the journal.
    pub(crate) fn arrive(
        self: &Arc<Durable>,
        policy: &Arc<Policy>,
        seq: Seq,
        label: &Label,
        bytes: usize,
        payload: Payload,
    ) {
        let tally = Tally::of(&payload);
        let row = &self.hub.sender.books.row;
        tally.add(row, Column::In);
        tally.add(row, Column::Held);
        self.meters
            .used
            .add(self.units(1, payload.items as u64, bytes as u64));
        let known = |o: &Opened| Some(seq) <= *o.boundary.lock();
        if let Some(gather) = &self.gather {
            let is_known = self.opened.get().is_some_and(known);
            return gather.arrive((seq, bytes), payload, is_known, &self.memory);
        }
        let memory = {
            let mut st = self.state.lock();
            if st.closed || (!st.scanning && self.opened.get().is_some_and(known)) {
                return;
            }
            let behind = st.scanning || st.lanes.get(label).is_some_and(|l| !l.waiting.is_empty());
            let memory = (!behind && st.fits(label, bytes))
                .then(|| self.memory.reserve(Class::Queues, bytes))
                .flatten();
            match &memory {
                Some(_) => st.load(label, bytes),
                None => st.note(seq, label, bytes),
            }
            memory
        };
        match memory {
            Some(memory) => {
                let ticket = self.stored(seq, label, bytes, payload.items as u64, memory);
                self.hand_over(policy, payload, ticket);
            }
            None => self.work.notify_one(),
        }
    }

    fn stored(
        self: &Arc<Durable>,
        seq: Seq,
        label: &Label,
        bytes: usize,
        left: u64,
        memory: Reservation,
    ) -> Arc<Ticket> {
        let ticket = Ticket::stored(Stored::new(self, seq, label, bytes, left, memory));
        self.state.lock().loaded.insert(seq, Arc::downgrade(&ticket));
        ticket
    }

    fn hand_over(&self, policy: &Arc<Policy>, payload: Payload, ticket: Arc<Ticket>) {
        if let Err(refusal) = self.hub.take_in(policy, payload, ticket, Instant::now()) {
            // Dropped with its ticket, it is noted again.
            tracing::debug!(component = %self.hub.sender.id, error = %refusal.message(), "a record waits on disk");
            self.pause();
        }
    }

    fn pause(&self) {
        self.state.lock().pause_until = Some(Instant::now() + PAUSE);
    }

    fn units(&self, records: u64, items: u64, bytes: u64) -> i64 {
        (match self.bounds.sizer {
            Sizer::Requests => records,
            Sizer::Items => items,
            Sizer::Bytes => bytes,
        }) as i64
    }

    // --- what goes ---

    /// Items of a record are done with, and booked.
    fn complete(&self, seq: Seq, items: Range<u32>, count: u64, last_of: Option<usize>) {
        let Some(opened) = self.opened.get() else { return };
        opened.journal.complete(seq, opened.dest, items);
        let (records, bytes) = last_of.map_or((0, 0), |bytes| (1, bytes as u64));
        self.meters.used.add(-self.units(records, count, bytes));
    }

    /// Something of the window can be let go of, which could not before.
    pub(crate) fn look(&self) {
        self.work.notify_one();
    }

    /// A loaded record holds less of the window.
    fn unload(&self, label: &Label, bytes: usize) {
        self.state.lock().shrink(label, bytes, 0);
        self.work.notify_one();
    }

    /// A record has left the hub.
    fn released(&self, stored: &Stored) {
        let mut st = self.state.lock();
        st.loaded.remove(&stored.seq);
        st.shrink(&stored.label, stored.held(), 1);
        if !st.closed && stored.is_owed() {
            st.note(stored.seq, &stored.label, stored.bytes);
        }
        drop(st);
        self.work.notify_one();
    }

    /// The oldest record of which nothing is being sent, taken out, with its bytes.
    fn pop_oldest(&self) -> Option<(Seq, usize)> {
        // Tickets are let go without the lock, for they take it themselves.
        let older: Vec<Arc<Ticket>> = {
            let st = self.state.lock();
            let first = st.first_waiting();
            let older = st
                .loaded
                .iter()
                .take_while(|(seq, _)| first.is_none_or(|first| **seq < first));
            older.filter_map(|(_, ticket)| ticket.upgrade()).collect()
        };
        let mut idle = older.iter().filter_map(|ticket| ticket.as_stored());
        match idle.find(|stored| stored.give_up()) {
            Some(stored) => Some((stored.seq, stored.bytes)),
            None => self.state.lock().pop_waiting(),
        }
    }

    /// Gives up the oldest record of which nothing is being sent, booked as dropped. False if there is none.
    pub(crate) async fn drop_oldest(&self) -> bool {
        let Some(opened) = self.opened.get() else {
            return false;
        };
        loop {
            let Some((seq, bytes)) = self.pop_oldest() else {
                return false;
            };
            let (journal, dest, keys) = (opened.journal.clone(), opened.dest, self.keys());
            let read = tokio::task::spawn_blocking(move || feeder::load(&journal, dest, seq, &keys));
            let Ok(loaded) = read.await else { return false };
            let tally = match &loaded {
                Ok(loaded) => Tally::of(&loaded.payload),
                Err(Unloaded::Gone) => continue,
                // It cannot be read: whose it was is not known.
                Err(_) => {
                    let ranges = opened.journal.remaining(seq, opened.dest);
                    Tally::nobody(ranges.iter().map(|r| u64::from(r.end - r.start)).sum())
                }
            };
            let row = &self.hub.sender.books.row;
            tally.release(row);
            tally.drop_under(row, "drop_oldest");
            self.complete(seq, 0..u32::MAX, tally.items(), Some(bytes));
            return true;
        }
    }

    /// Loads nothing more.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        if let Some(gather) = &self.gather {
            gather.close();
        }
        if let Some(feeder) = self.feeder.lock().take() {
            feeder.abort();
        }
    }

    /// Of what is owed here hands over what it can, for half of the time; then nothing more. For a queue that loads and
    /// sends it is [`Durable::close`].
    pub(crate) async fn finish(&self, deadline: Instant) {
        let is_fed = self.feeder.lock().is_some();
        if let Some(gather) = self.gather.as_ref().filter(|_| is_fed) {
            let now = Instant::now();
            let half = now + deadline.saturating_duration_since(now) / 2;
            let _ = tokio::time::timeout_at(half, gather.idle()).await;
        }
        self.close();
    }

    /// Waits for appends that have begun, and lets another one read for this destination.
    pub(crate) async fn let_go(&self, deadline: Instant) {
        self.has_let_go.store(true, SeqCst);
        loop {
            let appended = self.appended.notified();
            tokio::pin!(appended);
            appended.as_mut().enable();
            if self.appending.load(SeqCst) == 0 || tokio::time::timeout_at(deadline, appended).await.is_err()
            {
                break;
            }
        }
        self.turn.lock().take();
        let Some(opened) = self.opened.get() else { return };
        let mine = opened.journal.destinations().into_iter();
        if let Some(owed) = mine.filter(|d| d.id == opened.dest && d.records > 0).last() {
            tracing::info!(
                component = %self.hub.sender.id,
                signal = self.hub.sender.signal.as_str(),
                items = owed.items,
                requests = owed.records,
                storage = %self.storage,
                "what was not delivered stays on disk"
            );
        }
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        if let Some(feeder) = self.feeder.get_mut().take() {
            feeder.abort();
        }
    }
}

/// An append that has begun.
pub(crate) struct Appending(Arc<Durable>);

impl Drop for Appending {
    fn drop(&mut self) {
        self.0.appending.fetch_sub(1, SeqCst);
        self.0.appended.notify_waiters();
    }
}

/// In a record's head: its chunks are of several tenants.
const MIXED: &str = "~*";

/// Whose a record is.
pub(crate) fn label(payload: &Payload, keys: &Keys) -> Label {
    use std::hash::{Hash, Hasher};
    let first = payload.chunks.first().and_then(|c| c.origin.tenant.as_ref());
    let is_one = payload.chunks.iter().all(|c| c.origin.tenant.as_ref() == first);
    match first {
        Some(tenant) if is_one && !tenant.starts_with('~') => Some(tenant.clone()),
        None if is_one => {
            // Stands for the values without naming them; two that share it share a share.
            let mut hasher = std::hash::DefaultHasher::new();
            let mut known = keys.pick(&payload.context).peekable();
            known.peek()?;
            known.for_each(|pair| pair.hash(&mut hasher));
            Some(format!("~{:04x}", hasher.finish() & 0xffff).into())
        }
        _ => Some(MIXED.into()),
    }
}

//! What is sent together: batches, the requests they owe an answer, and what gathers in front of them.
//!
//! A [`Pending`] gathers requests of one partition until its policy says that they go, a [`Batch`] is ready to be sent.
//! Both keep a table of tickets; a chunk's slot is its place in that table. A batch that is dropped unfinished books
//! its items as failed by the shutdown, so the books balance whatever ends a task; what lies in a journal stays there,
//! and is held.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component::{FlushPolicy, Refusal, Rejection};
use telemetry::{Column, Counter, Gauge, Histogram};
use tokio::time::Instant;
use wire::{Chunk, Context, Payload, Signal};

use super::cut::Limits;
use super::dead_letter::Letter;
use super::durable::Stored;
use super::retry::Backoff;
use super::send::Sender;
use super::tally::Tally;
use super::verdict::{self, Books};
use super::wait::{End, HOLD, Ticket};

/// With callers waiting, a batch goes after this long without a further request. Longer than the gap between two
/// requests of a busy client, far shorter than anybody's timeout.
pub(crate) const QUIET: Duration = Duration::from_millis(5);

/// One way to batch: the exporter's own, or that of one pipeline's `batch` processor.
pub(crate) struct Policy {
    /// Place among the hub's policies, and the partition of requests without keys.
    pub(crate) index: usize,
    /// `None`: requests are sent as they came.
    pub(crate) flush: Option<FlushPolicy>,
    /// Counters of the `batch` processor whose policy this is.
    pub(crate) processor: Option<ProcessorMetrics>,
}

/// The collector's counters of a `batch` processor.
pub(crate) struct ProcessorMetrics {
    pub(crate) by_size: Counter,
    pub(crate) by_timeout: Counter,
    pub(crate) items: Histogram,
    pub(crate) bytes: Histogram,
    pub(crate) combinations: Gauge,
}

impl Policy {
    /// The policy, unless requests of this signal are sent as they came.
    pub(crate) fn gathers(&self, signal: Signal) -> Option<&FlushPolicy> {
        self.flush
            .as_ref()
            .filter(|f| signal != Signal::Profiles && !f.timeout.is_zero())
    }

    /// A combination of metadata values came or went.
    pub(crate) fn count_partitions(&self, more: i64) {
        if let Some(metrics) = &self.processor {
            metrics.combinations.add(more);
        }
    }

    /// The cut for batches of this policy: its own words, else the exporter's.
    pub(crate) fn limits(&self, exporter: Limits) -> Limits {
        let (items, bytes) = self
            .flush
            .as_ref()
            .map_or((None, None), |f| (f.items_max, f.bytes_max));
        Limits {
            items: items.or(exporter.items),
            bytes: bytes.or(exporter.bytes),
        }
    }
}

/// What must not meet in one batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) policy: usize,
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) values: Vec<Vec<String>>,
}

/// What of a payload falls to one partition.
pub(crate) struct Portion {
    /// `None` if nothing sets it apart.
    pub(crate) key: Option<Key>,
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

impl Portion {
    /// One for each tenant in a payload, in the order in which they first come.
    pub(crate) fn of_all(policy: &Policy, payload: &Payload) -> Vec<Portion> {
        let mut out: Vec<(Option<&Arc<str>>, Portion)> = Vec::with_capacity(1);
        for chunk in &payload.chunks {
            let tenant = chunk.origin.tenant.as_ref();
            let at = out.iter().position(|(known, _)| *known == tenant);
            let at = at.unwrap_or_else(|| {
                let key = Key::of(policy, payload, tenant);
                let (items, bytes) = (0, 0);
                out.push((tenant, Portion { key, items, bytes }));
                out.len() - 1
            });
            let portion = &mut out[at].1;
            portion.items += chunk.shape.items as usize;
            portion.bytes += chunk.len();
        }
        out.into_iter().map(|(_, portion)| portion).collect()
    }
}

impl Key {
    /// The key of what a tenant has in a payload; `None` if nothing sets it apart.
    pub(crate) fn of(policy: &Policy, payload: &Payload, tenant: Option<&Arc<str>>) -> Option<Key> {
        let names = policy.flush.as_ref().map_or(&[][..], |f| &f.metadata_keys);
        let tenant = tenant.cloned();
        if names.is_empty() && tenant.is_none() {
            return None;
        }
        Some(Key {
            policy: policy.index,
            tenant,
            values: names
                .iter()
                .map(|name| payload.context.metadata(name).to_vec())
                .collect(),
        })
    }

    /// What a batch of this partition still knows of its clients.
    pub(crate) fn context(&self, policy: &Policy) -> Arc<Context> {
        let names = policy.flush.as_ref().map_or(&[][..], |f| &f.metadata_keys);
        let known = names
            .iter()
            .zip(&self.values)
            .filter(|(_, values)| !values.is_empty());
        Arc::new(Context {
            metadata: known
                .map(|(name, values)| (name.to_ascii_lowercase(), values.clone()))
                .collect(),
            ..Context::default()
        })
    }
}

/// Requests that gather.
pub(crate) struct Pending {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) owners: Vec<Arc<Ticket>>,
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    last: Instant,
    flush_at: Instant,
}

impl Pending {
    pub(crate) fn open(policy: &FlushPolicy, now: Instant) -> Pending {
        Pending {
            chunks: Vec::new(),
            owners: Vec::new(),
            items: 0,
            bytes: 0,
            last: now,
            flush_at: now + policy.timeout,
        }
    }

    /// What a cut left over, as the start of the next batch.
    pub(crate) fn reopen(
        policy: &FlushPolicy,
        rest: Payload,
        owners: &[Arc<Ticket>],
        now: Instant,
    ) -> Pending {
        let mut pending = Pending::open(policy, now);
        let (rest, owners) = own(rest, owners);
        pending.items = rest.items;
        pending.bytes = rest.len();
        pending.chunks = rest.chunks;
        for owner in &owners {
            pending.hurry(owner, now);
        }
        pending.owners = owners;
        pending
    }

    pub(crate) fn push(&mut self, payload: Payload, owner: Arc<Ticket>, now: Instant) {
        let slot = u32::try_from(self.owners.len()).expect("a queue holds fewer than 4 billion requests");
        self.items += payload.items;
        self.bytes += payload.len();
        self.last = now;
        self.hurry(&owner, now);
        self.owners.push(owner);
        for mut chunk in payload.chunks {
            chunk.origin.slot = slot;
            self.chunks.push(chunk);
        }
    }

    /// A caller that waits is not held longer than [`HOLD`], nor beyond half of the time it has.
    fn hurry(&mut self, owner: &Ticket, now: Instant) {
        if let Some(until) = owner.until() {
            let patience = HOLD.min(until.saturating_duration_since(now) / 2);
            self.flush_at = self.flush_at.min(now + patience);
        }
    }

    pub(crate) fn is_due(&self, waiting: bool, now: Instant) -> bool {
        self.due(waiting) <= now
    }

    /// When it goes if nothing more comes.
    pub(crate) fn due(&self, waiting: bool) -> Instant {
        if waiting {
            self.flush_at.min(self.last + QUIET)
        } else {
            self.flush_at
        }
    }
}

/// True once the policy says that this is enough.
pub(crate) fn is_enough(policy: &FlushPolicy, items: usize, bytes: usize) -> bool {
    items >= policy.items_min
        || policy.bytes_min.is_some_and(|min| bytes >= min)
        || policy.items_max.is_some_and(|max| items >= max)
        || policy.bytes_max.is_some_and(|max| bytes >= max)
}

/// Ready to be sent.
pub(crate) struct Batch {
    pub(crate) payload: Payload,
    pub(crate) owners: Vec<Arc<Ticket>>,
    pub(crate) partition: usize,
    pub(crate) backoff: Backoff,
    /// Was cut out of a rejected batch, and is not cut along chunk borders again.
    pub(crate) alone: bool,
    /// Its bytes are on disk alone, and read again before it is sent.
    pub(crate) shelved: bool,
    /// Given up: it waits for the dead letter.
    pub(crate) letter: Option<Box<Letter>>,
    pub(crate) sender: Arc<Sender>,
}

impl Batch {
    pub(crate) fn new(
        payload: Payload,
        owners: Vec<Arc<Ticket>>,
        partition: usize,
        sender: &Arc<Sender>,
    ) -> Batch {
        Batch {
            payload,
            owners,
            partition,
            backoff: Backoff::default(),
            alone: false,
            shelved: false,
            letter: None,
            sender: sender.clone(),
        }
    }

    /// A batch of a piece of this one, with its history.
    pub(crate) fn piece(&self, payload: Payload) -> Batch {
        let (payload, owners) = own(payload, &self.owners);
        let mut piece = Batch::new(payload, owners, self.partition, &self.sender);
        piece.backoff = self.backoff.clone();
        piece.alone = self.alone;
        piece
    }

    /// Takes the payload out; nothing is owed by this batch any more.
    pub(crate) fn take(&mut self) -> Payload {
        let empty = Payload {
            signal: self.payload.signal,
            chunks: Vec::new(),
            items: 0,
            context: self.payload.context.clone(),
        };
        std::mem::replace(&mut self.payload, empty)
    }

    /// Whether callers wait for this batch.
    pub(crate) fn is_awaited(&self) -> bool {
        self.owners.first().is_some_and(|o| o.until().is_some())
    }

    /// Whether it lies in a journal: what does not end stays there.
    pub(crate) fn is_stored(&self) -> bool {
        self.owners.first().is_some_and(|o| o.as_stored().is_some())
    }

    /// Lets go of the bytes of what lies in a journal, and says how many.
    pub(crate) fn shelve(&mut self) -> usize {
        if self.shelved || !self.is_stored() {
            return 0;
        }
        self.shelved = true;
        let mut given = 0;
        for chunk in &mut self.payload.chunks {
            let bytes = chunk.len();
            chunk.set_bytes(Bytes::new());
            let owner = self.owners.get(chunk.origin.slot as usize);
            if let Some(stored) = owner.and_then(|o| o.as_stored()) {
                stored.shelve(bytes);
            }
            given += bytes;
        }
        given
    }

    /// The youngest record that it has a part of.
    pub(crate) fn last_stored(&self) -> Option<&Stored> {
        let stored = self.owners.iter().filter_map(|o| o.as_stored());
        stored.max_by_key(|stored| stored.seq)
    }

    /// These items ended and are booked: the journal is done with them.
    pub(crate) fn complete(&self, part: &Payload) {
        for chunk in &part.chunks {
            let owner = self.owners.get(chunk.origin.slot as usize);
            if let Some(stored) = owner.and_then(|o| o.as_stored()) {
                let first = chunk.origin.first;
                stored.complete(first..first.saturating_add(chunk.shape.items));
            }
        }
    }

    /// All of it ended like this.
    pub(crate) fn end(mut self, how: &End<'_>) {
        let payload = self.take();
        self.end_part(&payload, how);
    }

    /// This part of it ended; the part was taken out before.
    pub(crate) fn end_part(&self, part: &Payload, how: &End<'_>) {
        let books = &self.sender.books;
        if !self.is_awaited() {
            book_queued(books, &Tally::of(part), how);
            return self.complete(part);
        }
        for chunk in &part.chunks {
            let mut tally = Tally::default();
            tally.plus(chunk.origin.tenant.as_ref(), u64::from(chunk.shape.items));
            self.resolve(chunk.origin.slot, tally, how);
        }
    }

    /// The far side took all of it, but for some items. It says how many, not which: they count as the first ones.
    pub(crate) fn end_delivered(mut self, rejected: &[Rejection]) {
        if rejected.is_empty() {
            return self.end(&End::Delivered);
        }
        let payload = self.take();
        if !self.is_awaited() {
            book_arrived(&self.sender.books, Tally::of(&payload), rejected);
            return self.complete(&payload);
        }
        let mut left: Vec<u64> = rejected.iter().map(|r| r.items).collect();
        for chunk in &payload.chunks {
            let mut tally = Tally::default();
            tally.plus(chunk.origin.tenant.as_ref(), u64::from(chunk.shape.items));
            self.resolve_arrived(chunk.origin.slot, tally, rejected, &mut left);
        }
    }

    /// Items of one slot have arrived; of those that were rejected `left` says how many are still to be counted.
    pub(crate) fn resolve_arrived(
        &self,
        slot: u32,
        mut tally: Tally,
        rejected: &[Rejection],
        left: &mut [u64],
    ) {
        for (rejection, left) in rejected.iter().zip(left) {
            let part = tally.take(*left);
            *left -= part.items();
            if !part.is_zero() {
                self.resolve(slot, part, &End::Rejected(rejection));
            }
        }
        if !tally.is_zero() {
            self.resolve(slot, tally, &End::Delivered);
        }
    }

    /// Items of one slot ended.
    pub(crate) fn resolve(&self, slot: u32, tally: Tally, how: &End<'_>) {
        if let Some(owner) = self.owners.get(slot as usize) {
            owner.resolve(tally, how, &self.sender.books);
        }
    }

    /// Takes chunks out by their ticket, and returns them.
    pub(crate) fn extract(&mut self, pick: impl Fn(&Ticket) -> bool) -> Payload {
        let mut all = self.take();
        let owners = &self.owners;
        let (out, keep): (Vec<Chunk>, Vec<Chunk>) = std::mem::take(&mut all.chunks)
            .into_iter()
            .partition(|c| owners.get(c.origin.slot as usize).is_some_and(|o| pick(o)));
        let count = |chunks: &[Chunk]| chunks.iter().map(|c| c.shape.items as usize).sum();
        self.payload.items = count(&keep);
        self.payload.chunks = keep;
        Payload {
            items: count(&out),
            chunks: out,
            ..all
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if self.payload.chunks.is_empty() || self.is_stored() {
            return;
        }
        let payload = self.take();
        let refusal = Refusal::unavailable("the gateway stopped before it was delivered");
        if self.is_awaited() {
            self.end_part(&payload, &End::Later(&refusal));
        } else {
            self.end_part(&payload, &End::Failed("shutdown", &refusal));
        }
    }
}

/// Books items for which nobody waits and that have arrived, but for those that were rejected.
pub(crate) fn book_arrived(books: &Books, mut tally: Tally, rejected: &[Rejection]) {
    for rejection in rejected {
        book_queued(books, &tally.take(rejection.items), &End::Rejected(rejection));
    }
    book_queued(books, &tally, &End::Delivered);
}

fn book_queued(books: &Books, tally: &Tally, how: &End<'_>) {
    tally.release(&books.row);
    match how {
        End::Delivered => tally.add(&books.row, Column::Out),
        End::Rejected(rejection) => tally.fail(&books.row, &verdict::rejected_reason(&rejection.rule)),
        End::Failed(reason, _) | End::Laid(reason, _) => tally.fail(&books.row, reason),
        End::Later(_) => tally.fail(&books.row, "shutdown"),
    }
}

/// Gives a piece a ticket table of its own: only the tickets that it needs.
pub(crate) fn own(mut piece: Payload, owners: &[Arc<Ticket>]) -> (Payload, Vec<Arc<Ticket>>) {
    let mut table: Vec<Arc<Ticket>> = Vec::new();
    let mut last = None;
    for chunk in &mut piece.chunks {
        let slot = chunk.origin.slot;
        if last != Some(slot) {
            let owner = owners
                .get(slot as usize)
                .expect("a slot is a place in its batch's table");
            table.push(owner.clone());
            last = Some(slot);
        }
        chunk.origin.slot = (table.len() - 1) as u32;
    }
    (piece, table)
}

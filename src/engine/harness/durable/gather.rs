//! The queue on disk of an exporter that gathers: what is owed and in no claim is handed over in order, one record at a
//! time; its completions come as sets.
//!
//! What waits is known by number. What came a moment ago is kept in memory too, within the window; all else is read from
//! the journal when its turn comes. A record that was handed over is the collector's until it is complete, or until the
//! claim that it is in is released: then it waits again. What a collector claims as it starts, because it has it from its
//! life before, waits no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use component::collect::{Claim, Collect, Debts, Ending, Pieces, Receipt, Run, Seq, Set, StoreError};
use component::{BoxFuture, Class, Fault, Memory, Reservation};
use parking_lot::Mutex;
use storage::Journal;
use storage::journal::DestId;
use tokio::sync::Notify;
use wire::{Payload, Signal};

use super::backlog::WINDOW_BYTES;
use super::feeder::{Unloaded, whole};
use super::{Durable, MIXED, Opened, PAUSE};
use crate::harness::collect::{Lane, book, hand_over};
use crate::harness::tally::Tally;

/// Records asked for at once when what is owed is noted.
const PAGE: usize = 1024;

/// What waits to be handed over.
pub(crate) struct Gather {
    state: Mutex<State>,
    work: Arc<Notify>,
    /// Told when the last that waited is handed over.
    idle: Notify,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<Seq, Waiting>,
    /// What is owed from before is noted.
    is_scanned: bool,
    /// One is being handed over.
    is_busy: bool,
    closed: bool,
    /// Bytes of what waits that are kept in memory.
    here: usize,
}

struct Waiting {
    owed: Pieces,
    rules: Option<Arc<str>>,
    here: Option<(Payload, Reservation, usize)>,
}

/// Which pieces claims have.
#[derive(Default)]
struct Claimed {
    /// First record, and behind the last one.
    whole: BTreeMap<Seq, Seq>,
    parts: BTreeMap<Seq, (u32, BTreeSet<u32>, Arc<str>)>,
}

impl Claimed {
    fn of(claims: &[Claim]) -> Claimed {
        let mut all = Claimed::default();
        for claim in claims {
            let rules: Arc<str> = claim.rules.as_str().into();
            for run in claim.set.runs() {
                match run {
                    Run::Whole { first, .. } => drop(all.whole.insert(first, run.end())),
                    Run::Part { seq, of, pieces } => {
                        let known = all.parts.entry(seq);
                        let known = known.or_insert_with(|| (of, BTreeSet::new(), rules.clone()));
                        known.1.extend(pieces);
                    }
                }
            }
        }
        all
    }

    fn has_whole(&self, seq: Seq) -> bool {
        self.whole
            .range(..=seq)
            .next_back()
            .is_some_and(|(_, end)| seq < *end)
    }

    /// Of what is owed of a record, what is in no claim; and the rules by which it was cut.
    fn due(&self, journal: &Journal, dest: DestId, seq: Seq) -> Option<(Pieces, Option<Arc<str>>)> {
        if self.has_whole(seq) {
            return None;
        }
        let (cut, part) = (journal.cut(dest, seq), self.parts.get(&seq));
        let (of, rules) = match (&cut, part) {
            // Given up without a claim, it has no rules of its own.
            (Some(cut), Some((_, _, rules))) if cut.rules.is_empty() => (cut.of, rules.clone()),
            (Some(cut), _) => (cut.of, cut.rules.clone()),
            (None, Some((of, _, rules))) => (*of, rules.clone()),
            (None, None) => return Some((Pieces::All, None)),
        };
        let owed = cut.map_or_else(|| (0..of).collect(), |cut| cut.owed);
        let is_free = |piece: &u32| part.is_none_or(|(_, claimed, _)| !claimed.contains(piece));
        let pieces: Vec<u32> = owed.into_iter().filter(is_free).collect();
        (!pieces.is_empty()).then_some((Pieces::Some { of, pieces }, Some(rules)))
    }
}

/// Both together.
fn union(a: Pieces, b: Pieces) -> Pieces {
    match (a, b) {
        (Pieces::Some { of, mut pieces }, Pieces::Some { pieces: more, .. }) => {
            pieces.extend(more);
            pieces.sort_unstable();
            pieces.dedup();
            Pieces::Some { of, pieces }
        }
        _ => Pieces::All,
    }
}

impl Gather {
    pub(crate) fn new() -> Gather {
        Gather {
            state: Mutex::default(),
            work: Arc::default(),
            idle: Notify::new(),
        }
    }

    /// A record of ours lies safe in the journal. What another one noted at its start is not noted twice.
    pub(super) fn arrive(
        &self,
        (seq, bytes): (Seq, usize),
        payload: Payload,
        is_known: bool,
        memory: &Arc<Memory>,
    ) {
        let mut st = self.state.lock();
        if st.closed || (st.is_scanned && is_known) {
            return;
        }
        let fits = st.here + bytes <= WINDOW_BYTES;
        let held = fits.then(|| memory.reserve(Class::Queues, bytes)).flatten();
        let here = held.map(|held| (payload, held, bytes));
        st.here += here.as_ref().map_or(0, |(.., bytes)| *bytes);
        let waiting = Waiting {
            owed: Pieces::All,
            rules: None,
            here,
        };
        if let Some(before) = st.waiting.insert(seq, waiting) {
            st.here -= before.here.map_or(0, |(.., bytes)| bytes);
        }
        drop(st);
        self.work.notify_one();
    }

    /// These pieces of a record wait, beside those that do already.
    fn note(&self, seq: Seq, owed: Pieces, rules: Option<Arc<str>>) {
        let mut st = self.state.lock();
        match st.waiting.get_mut(&seq) {
            Some(known) => {
                let before = std::mem::replace(&mut known.owed, Pieces::All);
                known.owed = union(before, owed);
                known.rules = known.rules.take().or(rules);
            }
            None => {
                let here = None;
                st.waiting.insert(seq, Waiting { owed, rules, here });
            }
        }
        drop(st);
        self.work.notify_one();
    }

    /// A claim has these: they wait no more.
    fn claimed(&self, claim: &Claim) {
        let mut st = self.state.lock();
        let mut free = 0;
        for run in claim.set.runs() {
            let theirs: Vec<Seq> = st
                .waiting
                .range(run.first()..run.end())
                .map(|(seq, _)| *seq)
                .collect();
            for seq in theirs {
                let Some(waiting) = st.waiting.get_mut(&seq) else {
                    continue;
                };
                let left = match &run {
                    Run::Whole { .. } => None,
                    Run::Part { of, pieces, .. } => waiting.owed.without(pieces, *of),
                };
                match left {
                    Some(left) => {
                        waiting.owed = left;
                        waiting.rules.get_or_insert_with(|| claim.rules.as_str().into());
                    }
                    None => {
                        let gone = st.waiting.remove(&seq).and_then(|waiting| waiting.here);
                        free += gone.map_or(0, |(.., bytes)| bytes);
                    }
                }
            }
        }
        st.here -= free;
    }

    fn next(&self) -> Option<(Seq, Waiting)> {
        let mut st = self.state.lock();
        if st.closed {
            return None;
        }
        let (seq, waiting) = st.waiting.pop_first()?;
        st.here -= waiting.here.as_ref().map_or(0, |(.., bytes)| *bytes);
        st.is_busy = true;
        Some((seq, waiting))
    }

    /// What [`Gather::next`] gave is handed over, or waits again.
    fn handed(&self) {
        let mut st = self.state.lock();
        st.is_busy = false;
        if st.waiting.is_empty() {
            self.idle.notify_waiters();
        }
    }

    /// Waits until all that is owed here is handed over, or nothing is any more. The caller bounds it.
    pub(super) async fn idle(&self) {
        loop {
            let told = self.idle.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            let is_idle = {
                let st = self.state.lock();
                st.closed || (st.waiting.is_empty() && !st.is_busy)
            };
            if is_idle {
                return;
            }
            told.await;
        }
    }

    /// Hands over nothing more.
    pub(super) fn close(&self) {
        let mut st = self.state.lock();
        st.closed = true;
        // What is kept in memory lies on disk too.
        st.waiting.clear();
        st.here = 0;
        drop(st);
        self.idle.notify_waiters();
    }
}

impl Durable {
    /// Waits for its turn, and notes what was there before.
    async fn note_owed(&self, gather: &Gather, opened: &Opened) {
        let (is_first, boundary) = self.take_turn(opened).await;
        let (journal, dest) = (&opened.journal, opened.dest);
        let claimed = Claimed::of(&journal.claims(dest));
        let (mut items, mut after) = (0, None);
        loop {
            let mut page = journal.owed_after(dest, after, PAGE);
            page.retain(|owed| Some(owed.seq) <= boundary);
            let Some(last) = page.last() else { break };
            after = Some(last.seq);
            for owed in page {
                if is_first {
                    items += self.carry(opened, &owed).await;
                }
                if let Some((pieces, rules)) = claimed.due(journal, dest, owed.seq) {
                    gather.note(owed.seq, pieces, rules);
                }
            }
            tokio::task::yield_now().await;
        }
        gather.state.lock().is_scanned = true;
        self.tell_carried(items, 0);
    }

    /// Hands one record over.
    async fn gather_one(
        &self,
        opened: &Opened,
        collect: &dyn Collect,
        seq: Seq,
        waiting: Waiting,
    ) -> Result<(), Waiting> {
        let (journal, dest) = (&opened.journal, opened.dest);
        let Waiting {
            mut owed,
            rules,
            here,
        } = waiting;
        let Some(admitted_ms) = journal.written_ms(seq) else {
            return Ok(());
        };
        if let (Pieces::Some { pieces, .. }, Some(cut)) = (&mut owed, journal.cut(dest, seq)) {
            pieces.retain(|piece| cut.owed.binary_search(piece).is_ok());
            if pieces.is_empty() {
                return Ok(());
            }
        }
        let (payload, held) = match here {
            Some((payload, held, _)) => (payload, Some(held)),
            None => {
                let (journal, keys) = (journal.clone(), self.keys());
                let reading = tokio::task::spawn_blocking(move || whole(&journal, dest, seq, &keys));
                match reading.await {
                    Ok(Ok((payload, _))) => (payload, None),
                    Ok(Err(Unloaded::Gone)) => return Ok(()),
                    Ok(Err(Unloaded::Damaged)) => {
                        self.tell_damaged(seq);
                        return Ok(());
                    }
                    Ok(Err(Unloaded::NotNow(error))) => {
                        tracing::warn!(component = %self.hub.sender.id, %error, "cannot read from the disk, will try again");
                        return Err(Waiting {
                            owed,
                            rules,
                            here: None,
                        });
                    }
                    Err(_) => {
                        return Err(Waiting {
                            owed,
                            rules,
                            here: None,
                        });
                    }
                }
            }
        };
        let receipt = Receipt {
            seq,
            admitted_ms,
            owed,
            rules,
        };
        if let Err(refusal) = hand_over(collect, &payload, &receipt).await {
            tracing::error!(
                component = %self.hub.sender.id,
                signal = self.hub.sender.signal.as_str(),
                record = seq.0,
                error = %refusal.message(),
                "a record is not taken, and given up"
            );
            let mut set = Set::new();
            match &receipt.owed {
                Pieces::All => set.add(seq),
                Pieces::Some { of, pieces } => {
                    pieces.iter().for_each(|piece| set.add_piece(seq, *piece, *of))
                }
            }
            // What the disk does not note now is given up at the next start.
            let _ = self.complete_set("", &set, Ending::Failed("rejected")).await;
        }
        drop(held);
        Ok(())
    }

    /// Completes a set in the journal, and books it.
    async fn complete_set(&self, token: &str, set: &Set, how: Ending<'_>) -> Result<(), StoreError> {
        let opened = self.opened.get().ok_or(StoreError::Closed)?;
        let mut mixed = self.mixed(opened, set).await;
        let settled = opened.journal.settle(opened.dest, token, set).await?;
        let mut tally = Tally::default();
        for sum in settled {
            self.meters
                .used
                .add(-self.units(sum.records, sum.items, sum.bytes));
            match sum.tenant.as_deref() {
                Some(MIXED) => {
                    let known = mixed.take(sum.items);
                    tally.merge(&Tally::nobody(sum.items - known.items()));
                    tally.merge(&known);
                }
                Some(tenant) if !tenant.starts_with('~') => tally.plus(sum.tenant.as_ref(), sum.items),
                _ => tally.merge(&Tally::nobody(sum.items)),
            }
        }
        book(&self.hub.sender.books.row, &tally, how);
        Ok(())
    }

    /// Whose the items of a set are, of records of several tenants.
    async fn mixed(&self, opened: &Opened, set: &Set) -> Tally {
        let records = opened.journal.owed_of(opened.dest, set, MIXED);
        if records.is_empty() {
            return Tally::default();
        }
        let (journal, dest, keys) = (opened.journal.clone(), opened.dest, self.keys());
        let reading = tokio::task::spawn_blocking(move || {
            let mut tally = Tally::default();
            for (seq, ranges) in records {
                if let Ok((payload, _)) = whole(&journal, dest, seq, &keys) {
                    for chunk in &payload.chunks {
                        let (first, end) = (chunk.origin.first, chunk.origin.first + chunk.shape.items);
                        let both = ranges
                            .iter()
                            .map(|r| r.end.min(end).saturating_sub(r.start.max(first)));
                        tally.plus(chunk.origin.tenant.as_ref(), both.map(u64::from).sum());
                    }
                }
            }
            tally
        });
        reading.await.unwrap_or_default()
    }

    /// Takes a claim back; what of it is owed and in no other claim waits again.
    async fn release_claim(&self, token: &str) -> Result<(), StoreError> {
        let (Some(opened), Some(gather)) = (self.opened.get(), &self.gather) else {
            return Err(StoreError::Closed);
        };
        let (journal, dest) = (&opened.journal, opened.dest);
        let Some(claim) = journal
            .claims(dest)
            .into_iter()
            .find(|claim| claim.token == token)
        else {
            return Ok(());
        };
        journal.release(dest, token).await?;
        let others = Claimed::of(&journal.claims(dest));
        for run in claim.set.runs() {
            let mut after = run.first().0.checked_sub(1).map(Seq);
            loop {
                let mut page = journal.owed_after(dest, after, PAGE);
                page.retain(|owed| owed.seq < run.end());
                let Some(last) = page.last() else { break };
                after = Some(last.seq);
                for owed in page {
                    let Some((due, rules)) = others.due(journal, dest, owed.seq) else {
                        continue;
                    };
                    match &run {
                        Run::Whole { .. } => gather.note(owed.seq, due, rules),
                        Run::Part { of, pieces, .. } => {
                            let pieces: Vec<u32> =
                                pieces.iter().copied().filter(|p| due.contains(*p)).collect();
                            if !pieces.is_empty() {
                                let rules = rules.filter(|rules| !rules.is_empty());
                                let rules = rules.unwrap_or_else(|| claim.rules.as_str().into());
                                gather.note(owed.seq, Pieces::Some { of: *of, pieces }, Some(rules));
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Lane for Durable {
    fn debts(self: Arc<Self>) -> BoxFuture<'static, Result<Arc<dyn Debts>, Fault>> {
        Box::pin(async move {
            let (Some(opened), Some(gather)) = (self.opened.get(), &self.gather) else {
                return Err(Fault::World("the queue on disk is not open".into()));
            };
            let storage = |e| Fault::World(format!("storage {}: {e}", self.storage));
            let journal = opened.journal.identity().await.map_err(storage)?;
            self.note_owed(gather, opened).await;
            let debts = JournalDebts {
                queue: Arc::downgrade(&self),
                signal: self.hub.sender.signal,
                journal,
            };
            Ok(Arc::new(debts) as Arc<dyn Debts>)
        })
    }

    fn feed(self: Arc<Self>, collect: Arc<dyn Collect>) {
        let Some(gather) = &self.gather else { return };
        let mut feeder = self.feeder.lock();
        if feeder.is_none() && !gather.state.lock().closed {
            let run = run(Arc::downgrade(&self), gather.work.clone(), collect);
            *feeder = Some(tokio::spawn(run).abort_handle());
        }
    }
}

async fn run(queue: Weak<Durable>, work: Arc<Notify>, collect: Arc<dyn Collect>) {
    loop {
        let Some(strong) = queue.upgrade() else { return };
        let (Some(opened), Some(gather)) = (strong.opened.get(), &strong.gather) else {
            return;
        };
        match gather.next() {
            Some((seq, waiting)) => {
                let rest = strong.gather_one(opened, &*collect, seq, waiting).await.err();
                let is_left = rest.is_some();
                if let Some(waiting) = rest {
                    gather.note(seq, waiting.owed, waiting.rules);
                }
                gather.handed();
                drop(strong);
                if is_left {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            None => {
                drop(strong);
                work.notified().await;
            }
        }
    }
}

/// A collector's word about a queue on disk, as long as that is there.
struct JournalDebts {
    queue: Weak<Durable>,
    signal: Signal,
    journal: u128,
}

impl JournalDebts {
    /// The journal, and our place in it.
    fn place(&self) -> Option<(Journal, DestId)> {
        let queue = self.queue.upgrade()?;
        let opened = queue.opened.get()?;
        Some((opened.journal.clone(), opened.dest))
    }
}

impl Debts for JournalDebts {
    fn signal(&self) -> Signal {
        self.signal
    }

    fn journal(&self) -> Option<u128> {
        Some(self.journal)
    }

    fn claims(&self) -> Vec<Claim> {
        let place = self.place();
        place.map_or_else(Vec::new, |(journal, dest)| journal.claims(dest))
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let queue = self.queue.upgrade().ok_or(StoreError::Closed)?;
            let (Some(opened), Some(gather)) = (queue.opened.get(), &queue.gather) else {
                return Err(StoreError::Closed);
            };
            opened.journal.claim(opened.dest, claim.clone()).await?;
            gather.claimed(&claim);
            Ok(())
        })
    }

    fn release<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let queue = self.queue.upgrade().ok_or(StoreError::Closed)?;
            queue.release_claim(token).await
        })
    }

    fn complete<'a>(
        &'a self,
        token: &'a str,
        set: &'a Set,
        how: Ending<'a>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let queue = self.queue.upgrade().ok_or(StoreError::Closed)?;
            queue.complete_set(token, set, how).await
        })
    }

    fn note<'a>(&'a self, name: &'a str, text: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let (journal, dest) = self.place().ok_or(StoreError::Closed)?;
            journal.note(dest, name, text).await
        })
    }

    fn notes(&self) -> Vec<(String, String)> {
        let place = self.place();
        place.map_or_else(Vec::new, |(journal, dest)| journal.notes(dest))
    }
}

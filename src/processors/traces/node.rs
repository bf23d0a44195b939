//! The node: takes spans in, and at every tick decides on the traces that are due.
//!
//! Traces are spread over shards by their id; each has its table, its memory and its task, so that traces of different
//! shards are decided on side by side. What is sampled goes to the shard's outbox, which hands it on between ticks:
//! while the next consumer cannot take it, ticks of that shard wait, and once the memory for held spans is full new
//! ones are refused.

use std::sync::Arc;
use std::time::Duration;

use component::{
    Books, BoxFuture, Class, Consumer, Fault, Hold, Host, Memory, Node, Outcome, Refusal, Reservation, Stop,
    StopSwitch,
};
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Notify};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};
use tracing::{error, warn};
use wire::{Chunk, Payload, Signal};

use super::judge::{Candidate, Decision, Desk, Judge, Reason, Release};
use super::meters::Meters;
use super::policy::Verdict;
use crate::traces::durable;
use crate::traces::outbox::{Out, Outbox};
use crate::traces::pieces::{Cut, Held, PIECE_BYTES, Piece, SPAN_BYTES, cut};
use crate::traces::store::{Added, Entry, Key, Recent, Store};

/// Traces that are decided on while nobody else may touch the shard.
const AT_ONCE: usize = 64;
/// Longest wait for room, where the caller does not say when it stops waiting.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Pause before what is on disk is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How the node behaves.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What books and metrics call it.
    pub(crate) kind: &'static str,
    pub(crate) tick: Duration,
    pub(crate) wait_ticks: usize,
    /// After a root was seen.
    pub(crate) root_ticks: Option<usize>,
    pub(crate) traces_max: usize,
    /// Callers wait while as many traces wait as there may be.
    pub(crate) blocks: bool,
    /// Policies are asked when spans come, not when the trace is due.
    pub(crate) at_ingest: bool,
    pub(crate) drops_at_stop: bool,
    /// 0 = no limit.
    pub(crate) trace_bytes_max: u64,
    pub(crate) sampled_cache: usize,
    pub(crate) other_cache: usize,
    /// Nothing is remembered of a trace that was decided.
    pub(crate) forgets: bool,
    pub(crate) shards: usize,
}

/// The node of `tail_sampling` and `groupbytrace`.
pub(crate) struct Gathering {
    inner: Arc<Inner>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    switch: StopSwitch,
    stop: Stop,
}

struct Inner {
    settings: Settings,
    judge: Judge,
    meters: Meters,
    /// Rules of the books, by policy.
    rules: Vec<String>,
    memory: Arc<Memory>,
    next: Arc<dyn Consumer>,
    books: Books,
    shards: Vec<Shard>,
    storage: Option<durable::Store>,
    /// Told when traces were decided.
    freed: Notify,
    /// Who waits for room for its traces takes it before the next one looks.
    turn: tokio::sync::Mutex<()>,
}

struct Shard {
    state: Mutex<State>,
    outbox: Outbox,
    /// Something is in the outbox before its tick.
    work: Notify,
}

struct State {
    traces: Store<Decision>,
    sampled: Recent<Decision>,
    others: Recent<Decision>,
    desk: Desk,
}

impl Gathering {
    pub(crate) fn new(
        settings: Settings,
        judge: Judge,
        meters: Meters,
        memory: Arc<Memory>,
        storage: Option<durable::Store>,
        next: Arc<dyn Consumer>,
        books: Books,
    ) -> Gathering {
        let rules = judge
            .policies
            .iter()
            .map(|p| format!("sampled_out:{}", p.name))
            .collect();
        let each = |all: usize| all.div_ceil(settings.shards);
        let shard = || Shard {
            state: Mutex::new(State {
                traces: Store::new(settings.wait_ticks, each(settings.traces_max)),
                sampled: Recent::new(each(settings.sampled_cache)),
                others: Recent::new(each(settings.other_cache)),
                desk: Desk::default(),
            }),
            outbox: Outbox::default(),
            work: Notify::new(),
        };
        let shards = (0..settings.shards).map(|_| shard()).collect();
        let (switch, stop) = Stop::new();
        Gathering {
            inner: Arc::new(Inner {
                settings,
                judge,
                meters,
                rules,
                memory,
                next,
                books,
                shards,
                storage,
                freed: Notify::new(),
                turn: tokio::sync::Mutex::default(),
            }),
            tasks: Mutex::default(),
            switch,
            stop,
        }
    }
}

impl Consumer for Gathering {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            self.inner.take(payload).await?;
            Ok(Outcome::all())
        })
    }
}

impl Node for Gathering {
    fn start(&self, host: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let inner = &self.inner;
            if let Some(storage) = &inner.storage {
                storage.open(&*host).await?;
                for (tenant, items) in storage.found() {
                    inner.books.carried_in(tenant.as_ref(), items);
                    inner.books.held(tenant.as_ref(), items);
                }
            }
            let mut tasks = self.tasks.lock();
            if inner.storage.is_some() {
                tasks.push(tokio::spawn(inner.clone().read_back(self.stop.clone())));
            }
            for shard in 0..inner.shards.len() {
                tasks.push(tokio::spawn(inner.clone().run(shard, self.stop.clone())));
            }
            Ok(())
        })
    }

    fn held_max(&self) -> Duration {
        let settings = &self.inner.settings;
        settings.tick * (settings.wait_ticks as u32 + 1)
    }

    fn hold(&self) -> Option<Hold> {
        self.inner.storage.is_some().then_some(Hold::HeldDurable)
    }

    fn drain(&self, mut stop: Stop) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.switch.stop();
            let tasks = std::mem::take(&mut *self.tasks.lock());
            for mut task in tasks {
                tokio::select! {
                    // One that panicked has nothing more to say.
                    _ = &mut task => {}
                    () = stop.stopped() => task.abort(),
                }
            }
            let inner = &self.inner;
            // What is on disk is decided on in the next life.
            if inner.storage.is_none() {
                for shard in &inner.shards {
                    inner.decide_all(shard);
                }
            }
            let mut late = stop.clone();
            let flush = async {
                for shard in &inner.shards {
                    shard.outbox.flush(&*inner.next, &inner.books, &mut late).await;
                }
            };
            tokio::select! {
                () = flush => {}
                () = stop.stopped() => {}
            }
            if inner.storage.is_none() {
                for shard in &inner.shards {
                    shard.outbox.give_up(&inner.books, "shutdown");
                }
            }
        })
    }
}

impl Inner {
    async fn take(&self, payload: Payload) -> Result<(), Refusal> {
        let mut payload = payload;
        payload.detach();
        for chunk in &mut payload.chunks {
            canonical(chunk)?;
        }
        let _turn = match self.settings.blocks {
            true => Some(self.wait_for_room(&payload).await?),
            false => None,
        };
        let mut held = Vec::with_capacity(payload.chunks.len());
        for chunk in &payload.chunks {
            held.push(self.reserve(chunk).ok_or(Refusal::Busy { retry_after: None })?);
        }
        let mut records = Vec::new();
        if let Some(storage) = &self.storage {
            for chunk in &payload.chunks {
                match storage.append(chunk).await {
                    Ok(record) => records.push(record),
                    Err(refusal) => {
                        // Nothing of a refused payload is owed.
                        records
                            .iter()
                            .for_each(|record: &durable::Record| record.complete(0..u32::MAX));
                        return Err(refusal);
                    }
                }
            }
        }
        let mut records = records.into_iter();
        let mut cuts = Vec::new();
        for (mut chunk, memory) in payload.chunks.into_iter().zip(held) {
            let held = Held {
                tenant: chunk.origin.tenant.take(),
                record: records.next(),
                _memory: Some(memory),
                owed: None,
                wants_root: self.settings.root_ticks.is_some(),
            };
            match cut(chunk.bytes(), held) {
                Ok(more) => cuts.extend(more),
                Err(error) => {
                    for cut in &cuts {
                        let cut: &Cut = cut;
                        cut.piece.done();
                    }
                    return Err(Refusal::Invalid(error.to_string()));
                }
            }
        }
        for cut in &cuts {
            self.books
                .held(cut.piece.source.tenant(), u64::from(cut.piece.spans()));
        }
        self.add(cuts);
        Ok(())
    }

    /// Memory for a chunk and what stands around its spans.
    fn reserve(&self, chunk: &Chunk) -> Option<Reservation> {
        let around = chunk.shape.items as usize * (PIECE_BYTES + SPAN_BYTES);
        self.memory.reserve(Class::Nodes, chunk.len() + around)
    }

    /// Waits until there is room for the traces of this payload beside those that wait, and keeps others from taking it.
    async fn wait_for_room(&self, payload: &Payload) -> Result<MutexGuard<'_, ()>, Refusal> {
        let deadline = payload
            .context
            .deadline
            .map_or_else(|| Instant::now() + WAIT_MAX, Instant::from_std);
        let busy = |_| Refusal::Busy { retry_after: None };
        let turn = timeout_at(deadline, self.turn.lock()).await.map_err(busy)?;
        let mut traces = 0;
        for chunk in &payload.chunks {
            let cuts = cut(chunk.bytes(), Held::default());
            traces += cuts.map_err(|e| Refusal::Invalid(e.to_string()))?.len();
        }
        loop {
            let freed = self.freed.notified();
            let waiting: usize = self.shards.iter().map(|s| s.state.lock().traces.pending()).sum();
            // A payload with more traces than there may be comes in alone.
            if waiting == 0 || waiting + traces <= self.settings.traces_max {
                return Ok(turn);
            }
            timeout_at(deadline, freed).await.map_err(busy)?;
        }
    }

    fn add(&self, cuts: Vec<Cut>) {
        let now = Instant::now();
        let shards = self.shards.len();
        let mut by_shard: Vec<Vec<Cut>> = (0..shards).map(|_| Vec::new()).collect();
        for cut in cuts {
            let at = u64::from_ne_bytes(*cut.id.last_chunk().unwrap_or(&[0; 8])) % shards as u64;
            by_shard[at as usize].push(cut);
        }
        for (shard, cuts) in self.shards.iter().zip(by_shard) {
            if cuts.is_empty() {
                continue;
            }
            let mut state = shard.state.lock();
            for cut in cuts {
                self.add_one(shard, &mut state, cut, now);
            }
            drop(state);
            if !shard.outbox.is_empty() {
                shard.work.notify_one();
            }
        }
    }

    fn add_one(&self, shard: &Shard, state: &mut State, cut: Cut, now: Instant) {
        let Cut { id, piece, has_root } = cut;
        let key = Key {
            tenant: piece.source.tenant().cloned(),
            id,
        };
        let cached = state.sampled.get(&key).or_else(|| state.others.get(&key));
        if let Some(decision) = cached {
            self.meters.remembered(decision.is_sampled());
            return self.end(shard, &mut state.desk, vec![piece], decision, Release::Cached);
        }
        if !state.traces.knows(&key)
            && let Some((_, entry)) = state.traces.make_room(self.settings.blocks)
        {
            self.evict(entry, now);
        }
        let piece_again = self.settings.at_ingest.then(|| piece.clone());
        let entry = match state.traces.add(key.clone(), piece, now) {
            Added::Late(decision, since, piece) => {
                let age = now.saturating_duration_since(since);
                self.meters.late_age.observe(age.as_secs() as f64);
                return self.end(shard, &mut state.desk, vec![piece], decision, Release::Late);
            }
            Added::Waits(entry, is_new) => {
                self.meters.new_traces.add(u64::from(is_new));
                entry
            }
        };
        let most = self.settings.trace_bytes_max;
        if most > 0 && entry.bytes > most {
            self.meters.too_large.add(1);
            let decision = Decision::of(Verdict::NotSampled, Reason::TooLarge);
            return self.conclude(shard, state, &key, decision, now);
        }
        if let Some(piece) = piece_again {
            let said = self.judge.decide(
                id,
                std::slice::from_ref(&piece),
                now,
                &mut state.desk,
                &self.meters,
            );
            let is_final = match said.verdict {
                Verdict::Dropped => true,
                Verdict::Sampled => !self.judge.drops() || said.reason == Reason::Keep,
                Verdict::NotSampled => false,
            };
            if is_final {
                return self.conclude(shard, state, &key, said, now);
            }
            // What was sampled once is not overruled by a later no; of several noes the last one counts.
            if said.is_sampled() || !entry.noted.is_some_and(|noted| noted.is_sampled()) {
                entry.noted = Some(said);
            }
        }
        if has_root && let Some(ticks) = self.settings.root_ticks {
            state.traces.hasten(&key, ticks);
        }
    }

    /// A trace makes room for another one.
    fn evict(&self, entry: Entry<Decision>, now: Instant) {
        let age = now.saturating_duration_since(entry.since);
        self.meters.removal_age.observe(age.as_secs() as f64);
        if entry.decision.is_none() {
            self.meters.too_early.add(1);
            self.drop(&entry.pieces, &format!("{}:evicted", self.settings.kind));
        }
    }

    fn drop(&self, pieces: &[Piece], rule: &str) {
        for piece in pieces {
            let (tenant, spans) = (piece.source.tenant(), u64::from(piece.spans()));
            self.books.released(tenant, spans);
            self.books.dropped(rule, tenant, spans);
            piece.done();
        }
    }

    fn rule(&self, reason: Reason) -> &str {
        match reason {
            Reason::Policy(i) => self
                .rules
                .get(usize::from(i))
                .map_or("sampled_out", String::as_str),
            Reason::Budget => "sampled_out:budget",
            Reason::TooLarge => "sampled_out:trace_too_large",
            Reason::Keep | Reason::Nothing => "sampled_out",
        }
    }

    /// Spans of a trace that is decided: handed on or dropped.
    fn end(&self, shard: &Shard, desk: &mut Desk, pieces: Vec<Piece>, decision: Decision, release: Release) {
        if decision.is_sampled() {
            desk.lay_out(&pieces);
            let bytes = desk.take(decision.threshold, self.judge.marks(&decision, release));
            shard.outbox.put(Out { bytes, pieces });
        } else {
            self.drop(&pieces, self.rule(decision.reason));
        }
    }

    /// Remembers what was decided, and does it.
    fn conclude(&self, shard: &Shard, state: &mut State, key: &Key, decision: Decision, now: Instant) {
        let pieces = state.traces.decide(key, decision, now);
        let spans = pieces.iter().map(|p| u64::from(p.spans())).sum();
        self.meters.decided(decision.verdict, spans);
        let cache = match decision.is_sampled() {
            true => &mut state.sampled,
            false => &mut state.others,
        };
        if cache.is_on() {
            cache.put(key.clone(), decision);
        }
        if cache.is_on() || self.settings.forgets {
            state.traces.forget(key);
        }
        self.end(shard, &mut state.desk, pieces, decision, Release::Due);
    }

    /// The task of a shard.
    async fn run(self: Arc<Self>, number: usize, mut stop: Stop) {
        let shard = &self.shards[number];
        let tick = self.settings.tick;
        let mut ticks = interval_at(Instant::now() + tick, tick);
        // A tick that comes late is made up for: traces are due after ticks, not after time.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let due = shard.state.lock().traces.tick();
                    self.decide(shard, due);
                }
                () = shard.work.notified() => {}
                () = stop.stopped() => return,
            }
            shard.outbox.flush(&*self.next, &self.books, &mut stop).await;
        }
    }

    /// Decides on traces that are due.
    fn decide(&self, shard: &Shard, due: Vec<Key>) {
        let begun = Instant::now();
        let has_budget = self.judge.budget.is_some();
        if has_budget {
            let seconds = self.settings.tick.as_secs_f64();
            self.judge.refill(&mut shard.state.lock().desk, seconds);
        }
        let mut candidates: Vec<Candidate<Key>> = Vec::new();
        for some in due.chunks(AT_ONCE) {
            let mut state = shard.state.lock();
            let now = Instant::now();
            for key in some {
                let State { traces, desk, .. } = &mut *state;
                let Some(entry) = traces.get(key) else { continue };
                let decision = match entry.noted {
                    Some(noted) => {
                        if has_budget {
                            desk.lay_out(&entry.pieces);
                        }
                        noted
                    }
                    None => self.judge.decide(key.id, &entry.pieces, now, desk, &self.meters),
                };
                match self
                    .judge
                    .candidate(key.clone(), key.tenant.as_ref(), key.id, decision, desk)
                {
                    Ok(candidate) => candidates.push(candidate),
                    Err(key) => self.conclude(shard, &mut state, &key, decision, now),
                }
            }
        }
        if !candidates.is_empty() {
            self.judge
                .within_budget(&mut candidates, &mut shard.state.lock().desk);
            for some in candidates.chunks(AT_ONCE) {
                let mut state = shard.state.lock();
                let now = Instant::now();
                for candidate in some {
                    self.conclude(shard, &mut state, &candidate.key, candidate.decision, now);
                }
            }
        }
        let known: usize = self.shards.iter().map(|s| s.state.lock().traces.len()).sum();
        self.meters.on_memory.set(known as i64);
        self.meters
            .decision_ms
            .observe(begun.elapsed().as_millis() as f64);
        self.freed.notify_waiters();
    }

    /// At the stop: all that waits is decided on with what is there, or dropped.
    fn decide_all(&self, shard: &Shard) {
        let due = shard.state.lock().traces.all_due();
        if !self.settings.drops_at_stop {
            return self.decide(shard, due);
        }
        let mut state = shard.state.lock();
        for key in due {
            if let Some(entry) = state.traces.forget(&key) {
                self.drop(&entry.pieces, &format!("{}:shutdown", self.settings.kind));
            }
        }
    }

    /// What an earlier life left on disk is taken in again, as far as there is memory.
    async fn read_back(self: Arc<Self>, mut stop: Stop) {
        while !stop.is_stopped() {
            let reading = self.clone();
            let read =
                tokio::task::spawn_blocking(move || reading.storage.as_ref().and_then(durable::Store::next));
            let Ok(Some(back)) = read.await else { return };
            let mut chunk = match back.chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.meters.unreadable.add(1);
                    error!(
                        error,
                        items = back.items,
                        "a record cannot be read, and stays on disk"
                    );
                    continue;
                }
            };
            let memory = loop {
                match self.reserve(&chunk) {
                    Some(memory) => break memory,
                    None if timeout(PAUSE, stop.stopped()).await.is_ok() => return,
                    None => {}
                }
            };
            if back.maybe_sent {
                self.meters.repeated.add(back.items);
            }
            let held = Held {
                tenant: back.tenant,
                record: Some(back.record),
                _memory: Some(memory),
                owed: Some(back.owed),
                wants_root: self.settings.root_ticks.is_some(),
            };
            let cuts = canonical(&mut chunk)
                .map_err(|refusal| refusal.message())
                .and_then(|()| cut(chunk.bytes(), held).map_err(|e| e.to_string()));
            match cuts {
                Ok(cuts) => self.add(cuts),
                Err(error) => warn!(
                    error,
                    items = back.items,
                    "a record on disk is no request, and stays there"
                ),
            }
        }
    }
}

/// Rewrites what a reader of content could be deceived by.
fn canonical(chunk: &mut Chunk) -> Result<(), Refusal> {
    if chunk.shape.non_canonical {
        let bytes = wire::normalize(Signal::Traces, &chunk.bytes(), false)
            .map_err(|error| Refusal::Invalid(error.to_string()))?;
        chunk.set_bytes(bytes.into());
        chunk.shape.non_canonical = false;
    }
    Ok(())
}

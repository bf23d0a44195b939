//! The memory queue, and the batches that callers wait for: one [`Hub`] an exporter and signal.
//!
//! ```text
//! offer -> room -> partition -> [pending -> ] ready -> a consumer's attempt -> done
//!                                               ^              |
//!                                               +--- parked <--+  a retry is due later and frees its consumer
//! ```
//!
//! Room (capacity and memory) is held until a request's last piece is done, so `queue_size` counts what is in flight
//! too, as the collector does. Consumers are tasks that exist while there is something to send. Partitions (tenant,
//! metadata values) take turns; one that is refused again and again is tried with one batch at a time, and no partition
//! has more than half of the consumers while there are others.
//! With `waiting`, callers are answered with the fate of their own pieces; else they have their answer already.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use component::{Class, ExportError, Memory, Outcome, Refusal, Reservation};
use parking_lot::Mutex;
use telemetry::{Column, Counter, Gauge, Histogram};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use wire::{Context, Payload};

use super::batch::{self, Batch, Key, Pending, Policy};
use super::cut;
use super::retry::{self, Breaker, Next, Trouble};
use super::send::{Attempt, Owed, Sender, retryable, still_owed};
use super::tally::Tally;
use super::verdict::Refused;
use super::wait::{self, End, Ticket};

/// Most partitions of a policy that names no limit.
const PARTITIONS_MAX: usize = 10_000;
/// A partition without work is forgotten after this many times its batch timeout.
const IDLE_TIMEOUTS: u32 = 10;

// --- Room ---

/// What a queue's size is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizer {
    /// Each request is one.
    Requests,
    /// Log records, spans, data points, samples.
    Items,
    /// Encoded bytes.
    Bytes,
}

/// The bound of a queue.
pub(crate) struct Capacity {
    pub(crate) size: usize,
    pub(crate) sizer: Sizer,
    pub(crate) block: bool,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) class: Class,
    pub(crate) used: Gauge,
    pub(crate) refused: Counter,
}

/// One request's share of a queue; given back on drop.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
    _memory: Reservation,
    used: Gauge,
    units: i64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.used.add(-self.units);
    }
}

impl Capacity {
    async fn reserve(&self, payload: &Payload) -> Result<Room, Refusal> {
        let room = self.try_reserve(payload).await;
        if room.is_err() {
            self.refused.add(payload.items as u64);
        }
        room
    }

    async fn try_reserve(&self, payload: &Payload) -> Result<Room, Refusal> {
        let bytes = payload.len();
        let units = match self.sizer {
            Sizer::Requests => 1,
            Sizer::Items => payload.items.max(1),
            Sizer::Bytes => bytes.max(1),
        };
        let permits = match u32::try_from(units) {
            Ok(permits) if units <= self.size => permits,
            _ => {
                return Err(Refusal::Invalid(format!(
                    "element size too large: {units} in a queue of {}; send less at once or raise queue_size",
                    self.size
                )));
            }
        };
        let busy = Refusal::Busy { retry_after: None };
        let permit = match self.permits.clone().try_acquire_many_owned(permits) {
            Ok(permit) => permit,
            Err(_) if self.block => {
                let until = wait::until(&payload.context, Instant::now());
                let acquired =
                    tokio::time::timeout_at(until, self.permits.clone().acquire_many_owned(permits));
                match acquired.await {
                    Ok(Ok(permit)) => permit,
                    _ => return Err(busy),
                }
            }
            Err(_) => return Err(busy),
        };
        let Some(memory) = self.memory.reserve(self.class, bytes) else {
            return Err(busy);
        };
        let units = units as i64;
        self.used.add(units);
        Ok(Room {
            _permit: permit,
            _memory: memory,
            used: self.used.clone(),
            units,
        })
    }
}

// --- Hub ---

/// What is queued, gathered, parked and sent for one exporter and signal.
pub(crate) struct Hub {
    sender: Arc<Sender>,
    capacity: Option<Capacity>,
    waiting: bool,
    consumers: usize,
    sizes: Option<(Histogram, Histogram)>,
    state: Mutex<State>,
    driver: Arc<Notify>,
    idle: Notify,
}

/// How a hub is made.
pub(crate) struct HubSettings {
    /// `None`: no queue, callers wait.
    pub(crate) capacity: Option<Capacity>,
    /// Callers are answered when their data has arrived.
    pub(crate) waiting: bool,
    /// Attempts at the same time.
    pub(crate) consumers: usize,
    /// Items and bytes of each batch.
    pub(crate) sizes: Option<(Histogram, Histogram)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Receivers stop: nobody is held any more.
    Closing,
    /// One last attempt for everything.
    Draining,
    Closed,
}

struct State {
    phase: Phase,
    partitions: Vec<Option<Partition>>,
    free: Vec<usize>,
    keys: HashMap<Key, usize>,
    turn: VecDeque<usize>,
    parked: BinaryHeap<Reverse<Parked>>,
    parked_count: u64,
    running: usize,
    wake_at: Option<Instant>,
    /// The driver itself is at work and will look at `wake_at`.
    ticking: bool,
    tasks: JoinSet<()>,
    driver: Option<AbortHandle>,
}

struct Partition {
    policy: Arc<Policy>,
    key: Option<Key>,
    context: Arc<Context>,
    pending: Option<Pending>,
    ready: VecDeque<Batch>,
    in_turn: bool,
    running: usize,
    parked: usize,
    breaker: Breaker,
    used: Instant,
}

impl Partition {
    fn new(policy: &Arc<Policy>, key: Option<Key>, now: Instant) -> Partition {
        Partition {
            policy: policy.clone(),
            context: key.as_ref().map_or_else(Arc::default, |k| k.context(policy)),
            key,
            pending: None,
            ready: VecDeque::new(),
            in_turn: false,
            running: 0,
            parked: 0,
            breaker: Breaker::default(),
            used: now,
        }
    }

    fn is_idle(&self) -> bool {
        self.pending.is_none() && self.ready.is_empty() && self.running == 0 && self.parked == 0
    }
}

struct Parked {
    due: Instant,
    number: u64,
    batch: Batch,
}

impl PartialEq for Parked {
    fn eq(&self, other: &Parked) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Parked {}

impl PartialOrd for Parked {
    fn partial_cmp(&self, other: &Parked) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Parked {
    fn cmp(&self, other: &Parked) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// What came of one attempt, still to be put back into the state.
struct Judged {
    again: Vec<Batch>,
    parked: Option<(Duration, Batch)>,
    /// `Some(asked)`: the far side was unwell; it may have asked for a pause.
    refused: Option<bool>,
}

impl Judged {
    fn done() -> Judged {
        Judged {
            again: Vec::new(),
            parked: None,
            refused: None,
        }
    }

    fn again(pieces: Vec<Batch>) -> Judged {
        Judged {
            again: pieces,
            ..Judged::done()
        }
    }
}

impl Hub {
    pub(crate) fn new(sender: Arc<Sender>, settings: HubSettings) -> Arc<Hub> {
        Arc::new(Hub {
            sender,
            capacity: settings.capacity,
            waiting: settings.waiting,
            consumers: settings.consumers.max(1),
            sizes: settings.sizes,
            state: Mutex::new(State {
                phase: Phase::Open,
                partitions: Vec::new(),
                free: Vec::new(),
                keys: HashMap::new(),
                turn: VecDeque::new(),
                parked: BinaryHeap::new(),
                parked_count: 0,
                running: 0,
                wake_at: None,
                ticking: false,
                tasks: JoinSet::new(),
                driver: None,
            }),
            driver: Arc::new(Notify::new()),
            idle: Notify::new(),
        })
    }

    /// Makes a policy known; before the first request.
    pub(crate) fn add_policy(&self, make: impl FnOnce(usize) -> Policy) -> Arc<Policy> {
        let mut st = self.state.lock();
        let index = st.partitions.len();
        let policy = Arc::new(make(index));
        st.partitions
            .push(Some(Partition::new(&policy, None, Instant::now())));
        policy
    }

    /// Takes room for a payload; `None` where there is no queue.
    pub(crate) async fn reserve(&self, payload: &Payload) -> Result<Option<Room>, Refusal> {
        match &self.capacity {
            Some(capacity) if payload.items > 0 => capacity.reserve(payload).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Takes the payload, and answers when it is queued or, where callers wait, when its fate is known.
    pub(crate) async fn offer(
        self: &Arc<Hub>,
        policy: &Arc<Policy>,
        mut payload: Payload,
        room: Option<Room>,
    ) -> Result<Outcome, Refused> {
        if payload.items == 0 {
            // Nothing that could be owed: sent as it is.
            return self.sender.direct(payload).await;
        }
        if self.capacity.is_some() {
            payload.drop_twins();
        }
        let now = Instant::now();
        let (ticket, answer) = if self.waiting {
            let until = wait::until(&payload.context, now);
            let (ticket, answer) = Ticket::waiting(room, &payload, until);
            (ticket, Some(answer))
        } else {
            (Ticket::queued(room), None)
        };
        self.take_in(policy, payload, ticket, now)?;
        match answer {
            Some(answer) => answer.wait(&self.sender.books).await,
            None => Ok(Outcome::all()),
        }
    }

    fn take_in(
        self: &Arc<Hub>,
        policy: &Arc<Policy>,
        payload: Payload,
        ticket: Arc<Ticket>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let mut st = self.state.lock();
        if st.phase >= Phase::Draining {
            return Err(Refusal::unavailable("the gateway is shutting down"));
        }
        let at = st.partition(policy, &payload, now)?;
        if !self.waiting {
            let row = &self.sender.books.row;
            row.add(Column::In, &payload);
            row.add(Column::Held, &payload);
        }
        let closing = st.phase == Phase::Closing;
        let partition = st.partitions[at].as_mut().expect("just looked up");
        partition.used = now;
        match policy.gathers(payload.signal) {
            None => {
                let pieces = cut::within(slotted(payload), policy.limits(self.sender.limits));
                let owners = vec![ticket];
                for piece in pieces {
                    let batch = Batch::new(piece, owners.clone(), at, &self.sender);
                    self.measure(policy, &batch.payload, false);
                    partition.ready.push_back(batch);
                }
                st.line_up(at);
            }
            Some(flush) => {
                let pending = partition.pending.get_or_insert_with(|| Pending::open(flush, now));
                pending.push(payload, ticket, now);
                if closing || batch::is_enough(flush, pending.items, pending.bytes) {
                    self.flush(&mut st, at, now, !closing);
                } else {
                    let due = pending.due(self.waiting);
                    self.wake(&mut st, due);
                }
            }
        }
        self.pump(&mut st, now);
        Ok(())
    }

    /// Makes batches of what gathered. `by_size`: what is too little for a batch goes on gathering.
    fn flush(&self, st: &mut State, at: usize, now: Instant, by_size: bool) {
        let partition = st.partitions[at]
            .as_mut()
            .expect("a partition with pending work is kept");
        let policy = partition.policy.clone();
        let (Some(pending), Some(flush)) = (partition.pending.take(), &policy.flush) else {
            return;
        };
        let mut payload = Payload {
            signal: self.sender.signal,
            chunks: pending.chunks,
            items: pending.items,
            context: partition.context.clone(),
        };
        if payload.chunks.len() > 1 {
            payload.drop_twins();
        }
        let mut pieces = cut::within(payload, policy.limits(self.sender.limits));
        if let [_, .., rest] = pieces.as_slice()
            && by_size
            && !batch::is_enough(flush, rest.items, rest.len())
            && let Some(rest) = pieces.pop()
        {
            let pending = Pending::reopen(flush, rest, &pending.owners, now);
            let due = pending.due(self.waiting);
            partition.pending = Some(pending);
            self.wake(st, due);
        }
        let partition = st.partitions[at].as_mut().expect("as above");
        for piece in pieces {
            self.measure(&policy, &piece, by_size);
            let (piece, owners) = batch::own(piece, &pending.owners);
            partition
                .ready
                .push_back(Batch::new(piece, owners, at, &self.sender));
        }
        st.line_up(at);
    }

    fn measure(&self, policy: &Policy, payload: &Payload, by_size: bool) {
        if policy.flush.is_none() {
            return;
        }
        let bytes = payload.len() as f64;
        if let Some((items, sizes)) = &self.sizes {
            items.observe(payload.items as f64);
            sizes.observe(bytes);
        }
        if let Some(metrics) = &policy.processor {
            if by_size {
                &metrics.by_size
            } else {
                &metrics.by_timeout
            }
            .add(1);
            metrics.items.observe(payload.items as f64);
            metrics.bytes.observe(bytes);
        }
    }

    /// Starts consumers while there is something to send and one is free.
    fn pump(self: &Arc<Hub>, st: &mut State, now: Instant) {
        while st.tasks.try_join_next().is_some() {}
        while st.running < self.consumers {
            let Some(batch) = self.next(st, now) else { return };
            st.running += 1;
            st.tasks.spawn(consume(self.clone(), batch));
        }
    }

    /// The next batch that may be sent, partitions taking turns.
    fn next(&self, st: &mut State, now: Instant) -> Option<Batch> {
        if st.phase == Phase::Closed {
            return None;
        }
        let others = st.keys.len() > 1;
        while let Some(at) = st.turn.pop_front() {
            let draining = st.phase >= Phase::Draining;
            let Some(partition) = st.partitions[at].as_mut() else {
                continue;
            };
            partition.in_turn = false;
            if let Some(until) = partition.breaker.closed(now).filter(|_| !draining) {
                if !partition.ready.is_empty() {
                    self.wake(st, until);
                }
                continue;
            }
            let most = match (draining, partition.breaker.is_probing()) {
                (true, _) => self.consumers,
                (false, true) => 1,
                (false, false) if others => (self.consumers / 2).max(1),
                (false, false) => self.consumers,
            };
            if partition.running >= most {
                continue; // lines up again when one of its batches is done
            }
            let Some(batch) = partition.ready.pop_front() else {
                continue;
            };
            partition.running += 1;
            st.line_up(at);
            return Some(batch);
        }
        None
    }

    /// Puts back what came of an attempt, and takes the next batch.
    fn after(self: &Arc<Hub>, at: usize, judged: Judged) -> Option<Batch> {
        let now = Instant::now();
        let mut st = self.state.lock();
        if st.phase == Phase::Closed {
            return None; // dropped here, what is left is booked as failed
        }
        let draining = st.phase >= Phase::Draining;
        let partition = st.partitions[at]
            .as_mut()
            .expect("a partition with a running batch is kept");
        partition.running -= 1;
        partition.used = now;
        match (judged.refused, &judged.parked) {
            (Some(asked), Some((delay, _))) => partition.breaker.refused(now + *delay, asked),
            (Some(_), None) => {}
            (None, _) => partition.breaker.answered(),
        }
        for batch in judged.again.into_iter().rev() {
            partition.ready.push_front(batch);
        }
        match judged.parked {
            // The last attempt was this one's next.
            Some((_, batch)) if draining => partition.ready.push_back(batch),
            Some((delay, batch)) => {
                partition.parked += 1;
                self.sender.in_flight.add(1);
                let due = now + delay;
                st.parked_count += 1;
                let number = st.parked_count;
                st.parked.push(Reverse(Parked { due, number, batch }));
                self.wake(&mut st, due);
            }
            None => {}
        }
        st.line_up(at);
        let next = self.next(&mut st, now);
        if next.is_none() {
            st.running -= 1;
            if st.running == 0 {
                self.idle.notify_waiters();
            }
        }
        // Pieces may be work for more than this consumer.
        self.pump(&mut st, now);
        next
    }

    async fn attempt(&self, mut batch: Batch) -> Judged {
        let begun: Vec<Arc<Ticket>> = if batch.is_awaited() {
            let begun: Vec<_> = batch
                .owners
                .iter()
                .map(|o| o.begin().then(|| o.clone()))
                .collect();
            if begun.iter().any(Option::is_none) {
                let owners = batch.owners.clone();
                batch.extract(|ticket| {
                    let at = owners.iter().position(|o| std::ptr::eq(&**o, ticket));
                    at.is_some_and(|at| begun[at].is_none())
                });
            }
            begun.into_iter().flatten().collect()
        } else {
            Vec::new()
        };
        if batch.payload.chunks.is_empty() {
            return Judged::done();
        }
        let result = self.sender.attempt(&batch.payload).await;
        let judged = self.judge(batch, result);
        for ticket in begun {
            ticket.finish_attempt(&self.sender.books);
        }
        judged
    }

    fn judge(&self, mut batch: Batch, result: Attempt) -> Judged {
        let error = match result {
            Ok(outcome) => {
                batch.end_delivered(&outcome.rejected);
                return Judged::done();
            }
            Err(error) => error,
        };
        let refusal = Refusal::from(&error);
        let trouble = match error {
            ExportError::Rejected { .. } => return self.rejected(batch, &refusal),
            ExportError::TooLarge { .. } => {
                return match cut::halves(batch.take()) {
                    Ok(pieces) => Judged::again(pieces.into_iter().map(|p| batch.piece(p)).collect()),
                    Err(whole) => {
                        batch.payload = whole;
                        self.give_up(batch, "too_large", &refusal, false);
                        Judged::done()
                    }
                };
            }
            ExportError::Retry { after, remaining, .. } => {
                match still_owed(&batch.payload, remaining) {
                    Owed::All => {}
                    Owed::Part(owed) => batch = partly_delivered(batch, owed),
                    Owed::Nothing => {
                        batch.end(&End::Delivered);
                        return Judged::done();
                    }
                }
                Trouble::Unwell(after)
            }
            ExportError::Unauthorized { .. } => Trouble::Unauthorized,
        };
        let asked = matches!(trouble, Trouble::Unauthorized | Trouble::Unwell(Some(_)));
        let now = Instant::now();
        let phase = self.state.lock().phase;
        if phase >= Phase::Draining || (phase == Phase::Closing && self.waiting) {
            self.give_up(batch, "shutdown", &refusal, true);
            return Judged::done();
        }
        let next = batch
            .backoff
            .next(self.sender.retry.as_ref(), trouble, now, retry::chance());
        let delay = match next {
            Next::Wait(delay) => delay,
            Next::GiveUp(reason) => {
                self.give_up(batch, reason, &refusal, true);
                return Judged {
                    refused: Some(asked),
                    ..Judged::done()
                };
            }
        };
        if batch.is_awaited() {
            // Callers that would be gone by then are told now.
            let due = now + delay;
            let gone = batch.extract(|ticket| ticket.until().is_some_and(|until| until < due));
            batch.end_part(&gone, &End::Later(&retryable(refusal.clone())));
        }
        tracing::info!(
            component = %self.sender.id,
            signal = self.sender.signal.as_str(),
            interval_ms = delay.as_millis() as u64,
            items = batch.payload.items,
            error = %refusal.message(),
            "Exporting failed. Will retry the request after interval."
        );
        Judged {
            parked: (!batch.payload.chunks.is_empty()).then_some((delay, batch)),
            refused: Some(asked),
            ..Judged::done()
        }
    }

    /// Never, as a whole: each caller's part, or each chunk, goes once more by itself.
    fn rejected(&self, mut batch: Batch, refusal: &Refusal) -> Judged {
        if !batch.alone {
            let whole = batch.take();
            let mut pieces = if batch.is_awaited() {
                cut::by_slot(whole)
            } else {
                cut::by_chunk(whole)
            };
            if pieces.len() > 1 {
                batch.alone = true;
                return Judged::again(pieces.into_iter().map(|p| batch.piece(p)).collect());
            }
            batch.payload = pieces.pop().expect("a batch has a chunk");
        }
        self.give_up(batch, "rejected", refusal, false);
        Judged::done()
    }

    /// No further attempt. `later`: one that waits may come again.
    fn give_up(&self, batch: Batch, reason: &'static str, refusal: &Refusal, later: bool) {
        let awaited = batch.is_awaited();
        let (id, signal, items) = (&self.sender.id, self.sender.signal.as_str(), batch.payload.items);
        let error = refusal.message();
        match (awaited, later) {
            (true, true) => {
                tracing::warn!(component = %id, signal, rejected_items = items, error, "Exporting failed. Rejecting data.");
                return batch.end(&End::Later(&retryable(refusal.clone())));
            }
            (true, false) => {
                tracing::warn!(component = %id, signal, rejected_items = items, error, "Exporting failed. Rejecting data.");
            }
            (false, _) => {
                tracing::error!(component = %id, signal, dropped_items = items, reason, error, "Exporting failed. Dropping data.");
            }
        }
        batch.end(&End::Failed(reason, refusal));
    }

    // --- time ---

    /// Sees to it that the driver is up at `due`.
    fn wake(&self, st: &mut State, due: Instant) {
        if st.wake_at.is_none_or(|at| due < at) {
            st.wake_at = Some(due);
            if !st.ticking {
                self.driver.notify_one();
            }
        }
    }

    /// Starts what watches the clock.
    pub(crate) fn start(self: &Arc<Hub>) {
        let mut st = self.state.lock();
        if st.driver.is_none() {
            let (weak, notify) = (Arc::downgrade(self), self.driver.clone());
            let driver = async move {
                loop {
                    let Some(hub) = weak.upgrade() else { return };
                    let due = hub.tick();
                    drop(hub);
                    match due {
                        Some(due) => {
                            let _ = tokio::time::timeout_at(due, notify.notified()).await;
                        }
                        None => notify.notified().await,
                    }
                }
            };
            st.driver = Some(tokio::spawn(driver).abort_handle());
        }
    }

    /// Does what is due, and says when the next thing is.
    fn tick(self: &Arc<Hub>) -> Option<Instant> {
        let now = Instant::now();
        let mut st = self.state.lock();
        st.wake_at = None;
        st.ticking = true;
        while let Some(Reverse(first)) = st.parked.peek() {
            let due = first.due;
            if due > now {
                self.wake(&mut st, due);
                break;
            }
            if let Some(Reverse(parked)) = st.parked.pop() {
                st.unpark(parked.batch);
            }
        }
        for at in 0..st.partitions.len() {
            let Some(partition) = &st.partitions[at] else {
                continue;
            };
            let pending = partition
                .pending
                .as_ref()
                .map(|p| (p.is_due(self.waiting, now), p.due(self.waiting)));
            let closed = partition.breaker.closed(now);
            match pending {
                Some((true, _)) => self.flush(&mut st, at, now, false),
                Some((false, due)) => self.wake(&mut st, due),
                None => {}
            }
            let has_ready = st.partitions[at].as_ref().is_some_and(|p| !p.ready.is_empty());
            match closed {
                Some(until) if has_ready => self.wake(&mut st, until),
                _ => st.line_up(at),
            }
        }
        self.pump(&mut st, now);
        st.ticking = false;
        st.wake_at
    }

    // --- the end ---

    /// Receivers are about to stop: what gathers goes now.
    pub(crate) fn close(self: &Arc<Hub>) {
        self.advance(Phase::Closing);
    }

    fn advance(self: &Arc<Hub>, phase: Phase) {
        let now = Instant::now();
        let mut st = self.state.lock();
        st.phase = st.phase.max(phase);
        for at in 0..st.partitions.len() {
            if st.partitions[at].as_ref().is_some_and(|p| p.pending.is_some()) {
                self.flush(&mut st, at, now, false);
            }
        }
        if phase >= Phase::Draining {
            while let Some(Reverse(parked)) = st.parked.pop() {
                st.unpark(parked.batch);
            }
            for at in 0..st.partitions.len() {
                st.line_up(at);
            }
        }
        self.pump(&mut st, now);
    }

    /// Sends everything once more, and returns when that is done or `deadline` has come. What is left then is booked
    /// as failed.
    pub(crate) async fn drain(self: &Arc<Hub>, deadline: Instant) {
        self.advance(Phase::Draining);
        let rest = async {
            loop {
                let idle = self.idle.notified();
                tokio::pin!(idle);
                idle.as_mut().enable();
                if self.state.lock().running == 0 {
                    return;
                }
                idle.await;
            }
        };
        let in_time = tokio::time::timeout_at(deadline, rest).await.is_ok();
        let (mut tasks, left) = {
            let mut st = self.state.lock();
            st.phase = Phase::Closed;
            if let Some(driver) = st.driver.take() {
                driver.abort();
            }
            let left: Vec<Batch> = st
                .partitions
                .iter_mut()
                .flatten()
                .flat_map(|p| p.ready.drain(..))
                .collect();
            (std::mem::take(&mut st.tasks), left)
        };
        let items: usize = left.iter().map(|b| b.payload.items).sum();
        if !in_time {
            tracing::error!(
                component = %self.sender.id,
                signal = self.sender.signal.as_str(),
                queued_items = items,
                "not delivered before the shutdown deadline, dropping what is queued and in flight"
            );
        }
        drop(left);
        tasks.shutdown().await;
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(driver) = self.state.get_mut().driver.take() {
            driver.abort();
        }
    }
}

async fn consume(hub: Arc<Hub>, first: Batch) {
    let mut next = Some(first);
    while let Some(batch) = next {
        let at = batch.partition;
        let judged = hub.attempt(batch).await;
        next = hub.after(at, judged);
        tokio::task::coop::consume_budget().await;
    }
}

/// Delivers what of a batch is not in `owed`, which stays.
fn partly_delivered(mut batch: Batch, mut owed: Payload) -> Batch {
    let known = |c: &wire::Chunk| (c.origin.slot as usize) < batch.owners.len();
    if !owed.chunks.iter().all(known) {
        return batch; // not cut out of this batch: all of it is owed
    }
    let sent = batch.take();
    if batch.is_awaited() {
        for slot in 0..batch.owners.len() as u32 {
            let of = |payload: &Payload| {
                let mut tally = Tally::default();
                for c in payload.chunks.iter().filter(|c| c.origin.slot == slot) {
                    tally.plus(c.origin.tenant.as_ref(), u64::from(c.shape.items));
                }
                tally
            };
            let mut done = of(&sent);
            done.minus(&of(&owed));
            batch.resolve(slot, done, &End::Delivered);
        }
    } else {
        let mut done = Tally::of(&sent);
        done.minus(&Tally::of(&owed));
        done.release(&batch.sender.books.row);
        done.add(&batch.sender.books.row, Column::Out);
    }
    owed.context = sent.context;
    batch.payload = owed;
    batch
}

fn slotted(mut payload: Payload) -> Payload {
    for chunk in &mut payload.chunks {
        chunk.origin.slot = 0;
    }
    payload
}

impl State {
    /// The partition of a payload, made at need.
    fn partition(&mut self, policy: &Arc<Policy>, payload: &Payload, now: Instant) -> Result<usize, Refusal> {
        let Some(key) = Key::of(policy, payload) else {
            return Ok(policy.index);
        };
        if let Some(at) = self.keys.get(&key) {
            return Ok(*at);
        }
        let limit = policy.flush.as_ref().and_then(|f| f.cardinality_max);
        let most = limit.unwrap_or(PARTITIONS_MAX);
        let of_policy = |st: &State| st.keys.keys().filter(|k| k.policy == policy.index).count();
        if self.keys.len() >= most && of_policy(self) >= most {
            self.forget_idle(policy, now);
            if of_policy(self) >= most {
                return match (limit, key.values.is_empty()) {
                    // Tenants without keys may meet: the books keep them apart.
                    (_, true) => Ok(policy.index),
                    (Some(_), _) => Err(Refusal::Invalid(
                        "too many batcher metadata-value combinations".into(),
                    )),
                    (None, _) => Err(Refusal::Busy { retry_after: None }),
                };
            }
        }
        let partition = Partition::new(policy, Some(key.clone()), now);
        let at = match self.free.pop() {
            Some(at) => {
                self.partitions[at] = Some(partition);
                at
            }
            None => {
                self.partitions.push(Some(partition));
                self.partitions.len() - 1
            }
        };
        self.keys.insert(key, at);
        policy.count_partitions(1);
        Ok(at)
    }

    fn forget_idle(&mut self, policy: &Policy, now: Instant) {
        let timeout = policy
            .flush
            .as_ref()
            .map_or(Duration::from_millis(200), |f| f.timeout);
        for at in 0..self.partitions.len() {
            let old = self.partitions[at].as_ref().is_some_and(|p| {
                p.key.as_ref().is_some_and(|k| k.policy == policy.index)
                    && p.is_idle()
                    && now.saturating_duration_since(p.used) >= timeout * IDLE_TIMEOUTS
            });
            if old && let Some(key) = self.partitions[at].take().and_then(|p| p.key) {
                self.keys.remove(&key);
                policy.count_partitions(-1);
                self.free.push(at);
            }
        }
    }

    /// Gives a partition a place among those whose turn comes.
    fn line_up(&mut self, at: usize) {
        if let Some(partition) = &mut self.partitions[at]
            && !partition.in_turn
            && !partition.ready.is_empty()
        {
            partition.in_turn = true;
            self.turn.push_back(at);
        }
    }

    fn unpark(&mut self, batch: Batch) {
        let at = batch.partition;
        let partition = self.partitions[at]
            .as_mut()
            .expect("a partition with a parked batch is kept");
        partition.parked -= 1;
        batch.sender.in_flight.add(-1);
        partition.ready.push_back(batch);
        self.line_up(at);
    }
}

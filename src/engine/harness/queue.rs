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

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use component::host::StopSwitch;
use component::{Outcome, Refusal, Stop};
use parking_lot::Mutex;
use telemetry::{Column, Histogram};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::Payload;

use super::batch::{self, Batch, Key, Pending, Policy, Portion};
use super::cut;
use super::dead_letter;
use super::durable::Stored;
use super::judge::{Health, Judged};
use super::partition::{Parked, Phase, State};
use super::retry::Backoff;
use super::room::{Capacity, Room};
use super::send::Sender;
use super::verdict::Refused;
use super::wait::{self, Ticket};

/// What is queued, gathered, parked and sent for one exporter and signal.
pub(crate) struct Hub {
    pub(super) sender: Arc<Sender>,
    capacity: Option<Capacity>,
    pub(super) waiting: bool,
    /// What is queued lies in a journal, and stays there at the end.
    stored: bool,
    consumers: usize,
    sizes: Option<(Histogram, Histogram)>,
    enqueued: Option<(Histogram, Histogram)>,
    pub(super) state: Mutex<State>,
    driver: Arc<Notify>,
    idle: Notify,
    /// Ends attempts, once a drain is over and there is a dead letter.
    pub(super) cut_off: (StopSwitch, Stop),
}

/// How a hub is made.
pub(crate) struct HubSettings {
    /// `None`: no queue, callers wait.
    pub(crate) capacity: Option<Capacity>,
    /// Callers are answered when their data has arrived.
    pub(crate) waiting: bool,
    /// What is queued lies in a journal.
    pub(crate) stored: bool,
    /// Attempts at the same time.
    pub(crate) consumers: usize,
    /// Items and bytes of each batch.
    pub(crate) sizes: Option<(Histogram, Histogram)>,
    /// Items and bytes of each request that was queued.
    pub(crate) enqueued: Option<(Histogram, Histogram)>,
}

impl Hub {
    pub(crate) fn new(sender: Arc<Sender>, settings: HubSettings) -> Arc<Hub> {
        Arc::new(Hub {
            sender,
            capacity: settings.capacity,
            waiting: settings.waiting,
            stored: settings.stored,
            consumers: settings.consumers.max(1),
            sizes: settings.sizes,
            enqueued: settings.enqueued,
            state: Mutex::new(State {
                phase: Phase::Open,
                partitions: Vec::new(),
                free: Vec::new(),
                keys: HashMap::new(),
                turn: VecDeque::new(),
                unwell: 0,
                held_back: VecDeque::new(),
                parked: BinaryHeap::new(),
                parked_count: 0,
                running: 0,
                wake_at: None,
                ticking: false,
                tasks: JoinSet::new(),
                driver: None,
                successor: None,
                carried: None,
            }),
            driver: Arc::new(Notify::new()),
            idle: Notify::new(),
            cut_off: Stop::new(),
        })
    }

    /// Makes a policy known; before the first request.
    pub(crate) fn add_policy(&self, make: impl FnOnce(usize) -> Policy) -> Arc<Policy> {
        self.state.lock().add_policy(make)
    }

    /// Takes room for a payload; `None` where there is no queue.
    pub(crate) async fn reserve(&self, policy: &Policy, payload: &Payload) -> Result<Option<Room>, Refusal> {
        match &self.capacity {
            Some(capacity) if payload.items > 0 => {
                let portions = Portion::of_all(policy, payload);
                capacity.reserve(payload, &portions).await.map(Some)
            }
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
            // Nothing that could be owed: a queue drops it, as the collector's does; else it is sent as it is.
            return match self.capacity {
                Some(_) => Ok(Outcome::all()),
                None => self.sender.direct(payload).await,
            };
        }
        if self.capacity.is_some() {
            payload.detach();
        }
        let now = Instant::now();
        let (ticket, answer) = if self.waiting {
            let until = wait::until(&payload.context, now);
            let (ticket, answer) = Ticket::waiting(room, &payload, until);
            (ticket, Some(answer))
        } else {
            (Ticket::queued(room), None)
        };
        let (count, bytes) = (payload.items, payload.len());
        if let Err(refusal) = self.take_in(policy, payload, ticket, now) {
            self.count_failed(count);
            return Err(refusal.into());
        }
        if let Some((items, sizes)) = &self.enqueued {
            items.observe(count as f64);
            sizes.observe(bytes as f64);
        }
        let Some(answer) = answer else {
            return Ok(Outcome::all());
        };
        let result = answer.wait(&self.sender.books).await;
        if result.is_err() {
            self.count_failed(count);
        }
        result
    }

    /// What callers are told no for counts as not enqueued, as in the collector.
    fn count_failed(&self, items: usize) {
        if let Some(capacity) = &self.capacity {
            capacity.count_failed(items);
        }
    }

    /// Takes what is queued from now on. What lies in a journal is booked already.
    pub(super) fn take_in(
        self: &Arc<Hub>,
        policy: &Arc<Policy>,
        payload: Payload,
        ticket: Arc<Ticket>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let mut st = self.state.lock();
        if let Some(next) = st.successor.clone() {
            drop(st);
            return next.take_in_carried(payload, ticket, now);
        }
        if st.phase >= Phase::Draining {
            return Err(Refusal::unavailable("the gateway is shutting down"));
        }
        // Each tenant's part goes its own way, once all of them have one.
        let parts = cut::by_tenant(payload);
        let mut places = Vec::with_capacity(parts.len());
        for part in &parts {
            let tenant = part.chunks.first().and_then(|c| c.origin.tenant.as_ref());
            let at = st.partition(policy, Key::of(policy, part, tenant), now)?;
            let partition = st.partitions[at].as_mut().expect("just looked up");
            partition.used = now;
            if let (Some(until), Some(closed)) = (ticket.until(), partition.breaker.closed(now))
                && closed > until
            {
                return Err(Refusal::Unavailable {
                    retry_after: Some(closed - now),
                    message: "the far side asked for a pause".into(),
                });
            }
            places.push(at);
        }
        for (part, at) in parts.into_iter().zip(places) {
            self.line(&mut st, at, policy, part, &ticket, now);
        }
        self.pump(&mut st, now);
        Ok(())
    }

    /// Takes what falls to one partition.
    fn line(
        &self,
        st: &mut State,
        at: usize,
        policy: &Policy,
        payload: Payload,
        ticket: &Arc<Ticket>,
        now: Instant,
    ) {
        if ticket.until().is_none() && ticket.as_stored().is_none() {
            let row = &self.sender.books.row;
            row.add(Column::In, &payload);
            row.add(Column::Held, &payload);
        }
        let closing = st.phase == Phase::Closing;
        let partition = st.partitions[at].as_mut().expect("the caller looked it up");
        match policy.gathers(payload.signal) {
            None => {
                let pieces = self
                    .sender
                    .cut(slotted(payload), policy.limits(self.sender.limits));
                let owners = vec![ticket.clone()];
                for piece in pieces {
                    let batch = Batch::new(piece, owners.clone(), at, &self.sender);
                    self.measure(policy, &batch.payload, false);
                    partition.ready.push_back(batch);
                }
                st.line_up(at);
            }
            Some(flush) => {
                let pending = partition.pending.get_or_insert_with(|| Pending::open(flush, now));
                pending.push(payload, ticket.clone(), now);
                if closing || batch::is_enough(flush, pending.items, pending.bytes) {
                    self.flush(st, at, now, !closing);
                } else {
                    let due = pending.due(self.waiting);
                    self.wake(st, due);
                }
            }
        }
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
        let mut pieces = self.sender.cut(payload, policy.limits(self.sender.limits));
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
        if st.phase == Phase::Closed || (self.stored && st.phase >= Phase::Draining) {
            return None;
        }
        let others = st.keys.len() > 1;
        let half = (self.consumers / 2).max(1);
        while let Some(at) = st.turn.pop_front() {
            let draining = st.phase >= Phase::Draining;
            let enough_unwell = others && !draining && st.unwell >= half;
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
                (false, false) if others => half,
                (false, false) => self.consumers,
            };
            if partition.running >= most {
                continue; // lines up again when one of its batches is done
            }
            if enough_unwell && partition.breaker.is_unwell() {
                partition.in_turn = true;
                st.held_back.push_back(at);
                continue;
            }
            let Some(batch) = partition.ready.pop_front() else {
                continue;
            };
            partition.running += 1;
            st.unwell += usize::from(partition.breaker.is_unwell());
            st.line_up(at);
            return Some(batch);
        }
        None
    }

    /// Whether the payload would find a place among the partitions; where it is refused later, it is too late to say so.
    pub(crate) fn admits(&self, policy: &Arc<Policy>, payload: &Payload) -> Result<(), Refusal> {
        let now = Instant::now();
        let mut st = self.state.lock();
        let mut portions = Portion::of_all(policy, payload).into_iter();
        portions.try_for_each(|portion| st.partition(policy, portion.key, now).map(|_| ()))
    }

    /// Puts back what came of an attempt, and takes the next batch.
    fn after(self: &Arc<Hub>, at: usize, judged: Judged) -> Option<Batch> {
        let now = Instant::now();
        let mut st = self.state.lock();
        if let Some(next) = st.successor.clone() {
            st.running -= 1;
            if st.running == 0 {
                self.idle.notify_waiters();
            }
            drop(st);
            let parked = judged.parked.map(|(_, batch)| batch);
            next.take_over(judged.again.into_iter().chain(parked).collect());
            return None;
        }
        if st.phase == Phase::Closed {
            return None; // dropped here, what is left is booked as failed
        }
        let draining = st.phase >= Phase::Draining;
        let partition = st.partitions[at]
            .as_mut()
            .expect("a partition with a running batch is kept");
        let unwell = partition.unwell();
        partition.running -= 1;
        partition.used = now;
        match (judged.health, judged.pause) {
            (Health::Well, _) => partition.breaker.answered(),
            (Health::Unwell { asked }, Some(pause)) => partition.breaker.refused(now + pause, asked),
            _ => {}
        }
        let unwell_now = partition.unwell();
        // From now on its bytes can be had, if somebody wants them.
        let parked = judged.parked.as_ref().map(|(_, batch)| batch);
        let stored = parked.and_then(Batch::last_stored).and_then(Stored::queue);
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
        st.unwell = st.unwell - unwell + unwell_now;
        st.line_up(at);
        st.let_go();
        let next = self.next(&mut st, now);
        if next.is_none() {
            st.running -= 1;
            if st.running == 0 {
                self.idle.notify_waiters();
            }
        }
        // Pieces may be work for more than this consumer.
        self.pump(&mut st, now);
        drop(st);
        if let Some(queue) = stored {
            queue.look();
        }
        next
    }

    /// Lets go of the bytes of what waits for its turn and lies on disk as well: at least so many, if there are. What is
    /// parked goes first, then what is ready where the far side was unwell. Says how many.
    pub(super) fn shelve(&self, wanted: usize) -> usize {
        let mut st = self.state.lock();
        let mut given = 0;
        let mut parked = std::mem::take(&mut st.parked).into_vec();
        for Reverse(parked) in &mut parked {
            if given < wanted {
                given += parked.batch.shelve();
            }
        }
        st.parked = parked.into();
        let unwell = st
            .partitions
            .iter_mut()
            .flatten()
            .filter(|p| p.parked > 0 || p.breaker.is_probing());
        for batch in unwell.flat_map(|p| p.ready.iter_mut().rev()) {
            if given < wanted {
                given += batch.shelve();
            }
        }
        given
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
    pub(super) fn tick(self: &Arc<Hub>) -> Option<Instant> {
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
            st.forget_if_idle(at, now);
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

    // --- a reload ---

    /// Gives all that waits here to `next`, and from now on what comes and what running attempts leave over.
    pub(crate) fn hand_over(self: &Arc<Hub>, next: &Arc<Hub>) {
        let batches = {
            let mut st = self.state.lock();
            let now = Instant::now();
            for at in 0..st.partitions.len() {
                if st.partitions[at].as_ref().is_some_and(|p| p.pending.is_some()) {
                    self.flush(&mut st, at, now, false);
                }
            }
            while let Some(Reverse(parked)) = st.parked.pop() {
                st.unpark(parked.batch);
            }
            st.turn.clear();
            st.successor = Some(next.clone());
            let partitions = st.partitions.iter_mut().flatten();
            partitions.flat_map(|p| p.ready.drain(..)).collect()
        };
        next.take_over(batches);
    }

    /// Sends batches of a predecessor, each at once: what made them wait may be what has changed.
    fn take_over(self: &Arc<Hub>, batches: Vec<Batch>) {
        let mut st = self.state.lock();
        if let Some(next) = st.successor.clone() {
            drop(st);
            return next.take_over(batches);
        }
        if st.phase == Phase::Closed {
            return; // dropped here, and booked as failed
        }
        let now = Instant::now();
        let policy = st.carried_policy();
        for mut batch in batches {
            let tenant = batch
                .payload
                .chunks
                .first()
                .and_then(|c| c.origin.tenant.as_ref());
            let key = Key::of(&policy, &batch.payload, tenant);
            let at = st.partition(&policy, key, now).unwrap_or(policy.index);
            batch.partition = at;
            batch.sender = self.sender.clone();
            batch.backoff = Backoff::default();
            let partition = st.partitions[at].as_mut().expect("just looked up");
            partition.used = now;
            partition.ready.push_back(batch);
            st.line_up(at);
        }
        self.pump(&mut st, now);
    }

    /// Takes a payload that was on its way to a predecessor.
    fn take_in_carried(
        self: &Arc<Hub>,
        payload: Payload,
        ticket: Arc<Ticket>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let policy = self.state.lock().carried_policy();
        self.take_in(&policy, payload, ticket, now)
    }

    // --- the end ---

    /// Receivers are about to stop: what gathers goes now.
    pub(crate) fn close(self: &Arc<Hub>) {
        if self.state.lock().successor.is_some() {
            return; // nothing waits here
        }
        self.advance(Phase::Closing);
    }

    /// Sends nothing more of what lies in a journal: it stays there.
    pub(crate) fn forget(self: &Arc<Hub>) {
        self.advance(Phase::Draining);
    }

    fn advance(self: &Arc<Hub>, phase: Phase) {
        let now = Instant::now();
        let mut st = self.state.lock();
        st.phase = st.phase.max(phase);
        if phase >= Phase::Draining && self.stored {
            let left = st.forget();
            drop(st);
            return drop(left);
        }
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
            st.let_go();
        }
        self.pump(&mut st, now);
    }

    /// Sends everything once more, and returns when that is done or `deadline` has come. What is left then is booked
    /// as failed.
    ///
    /// One that was [handed over](Hub::hand_over) waits for its running attempts only; those that do not end are cut
    /// off, and what they had is its successor's.
    pub(crate) async fn drain(self: &Arc<Hub>, deadline: Instant) {
        let was_handed_over = self.state.lock().successor.is_some();
        if !was_handed_over {
            self.advance(Phase::Draining);
        }
        let mut in_time = tokio::time::timeout_at(deadline, self.at_rest()).await.is_ok();
        if !in_time && !self.stored && (was_handed_over || self.sender.dead_letter.load().is_some()) {
            self.cut_off.0.stop();
            let last = deadline + dead_letter::LAST;
            in_time = tokio::time::timeout_at(last, self.at_rest()).await.is_ok();
        }
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
        if !in_time && !self.stored {
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

    /// Sends what gathers, and waits until nothing is left to be sent, retries included.
    pub(crate) async fn emptied(self: &Arc<Hub>) {
        self.close();
        self.until(|st| {
            let is_ready = |p: &super::partition::Partition| !p.ready.is_empty();
            st.running == 0 && st.parked.is_empty() && !st.partitions.iter().flatten().any(is_ready)
        })
        .await;
    }

    /// Nothing is being sent.
    async fn at_rest(&self) {
        self.until(|st| st.running == 0).await;
    }

    /// Looks each time that the last running attempt has ended.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if holds(&self.state.lock()) {
                return;
            }
            idle.await;
        }
    }

    /// Whether another hub has taken over.
    pub(super) fn is_handed_over(&self) -> bool {
        self.state.lock().successor.is_some()
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

fn slotted(mut payload: Payload) -> Payload {
    for chunk in &mut payload.chunks {
        chunk.origin.slot = 0;
    }
    payload
}

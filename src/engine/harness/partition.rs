//! What a hub knows at a moment: partitions that take turns, and batches that are parked until a retry is due.
//!
//! Only data and its moves; what decides about them is the hub's.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use component::Refusal;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use wire::Context;

use super::batch::{Batch, Key, Pending, Policy};
use super::queue::Hub;
use super::retry::Breaker;

/// Most partitions of a policy that names no limit.
const PARTITIONS_MAX: usize = 10_000;
/// A partition without work is forgotten after this many times its batch timeout.
const IDLE_TIMEOUTS: u32 = 10;
/// Of a batch timeout, for this purpose.
const IDLE_MIN: Duration = Duration::from_millis(200);

/// How far a hub is on its way down.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Open,
    /// Receivers stop: nobody is held any more.
    Closing,
    /// One last attempt for everything.
    Draining,
    Closed,
}

pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) partitions: Vec<Option<Partition>>,
    pub(super) free: Vec<usize>,
    pub(super) keys: HashMap<Key, usize>,
    pub(super) turn: VecDeque<usize>,
    /// Attempts that run for partitions whose last answer was a refusal.
    pub(super) unwell: usize,
    /// Partitions whose turn came while there were enough of those.
    pub(super) held_back: VecDeque<usize>,
    pub(super) parked: BinaryHeap<Reverse<Parked>>,
    pub(super) parked_count: u64,
    pub(super) running: usize,
    pub(super) wake_at: Option<Instant>,
    /// The driver itself is at work and will look at `wake_at`.
    pub(super) ticking: bool,
    pub(super) tasks: JoinSet<()>,
    pub(super) driver: Option<AbortHandle>,
    /// Who takes over all that is here and comes.
    pub(super) successor: Option<Arc<Hub>>,
    /// For what was taken over: sent as it is, tenants apart.
    pub(super) carried: Option<Arc<Policy>>,
}

pub(super) struct Partition {
    pub(super) policy: Arc<Policy>,
    pub(super) key: Option<Key>,
    pub(super) context: Arc<Context>,
    pub(super) pending: Option<Pending>,
    pub(super) ready: VecDeque<Batch>,
    pub(super) in_turn: bool,
    pub(super) running: usize,
    pub(super) parked: usize,
    pub(super) breaker: Breaker,
    pub(super) used: Instant,
}

impl Partition {
    pub(super) fn new(policy: &Arc<Policy>, key: Option<Key>, now: Instant) -> Partition {
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

    /// Its part of [`State::unwell`].
    pub(super) fn unwell(&self) -> usize {
        if self.breaker.is_unwell() { self.running } else { 0 }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_none() && self.ready.is_empty() && self.running == 0 && self.parked == 0
    }
}

pub(super) struct Parked {
    pub(super) due: Instant,
    pub(super) number: u64,
    pub(super) batch: Batch,
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

impl State {
    /// Makes a policy known.
    pub(super) fn add_policy(&mut self, make: impl FnOnce(usize) -> Policy) -> Arc<Policy> {
        let index = self.partitions.len();
        let policy = Arc::new(make(index));
        self.partitions
            .push(Some(Partition::new(&policy, None, Instant::now())));
        policy
    }

    /// The policy for what was taken over from a predecessor.
    pub(super) fn carried_policy(&mut self) -> Arc<Policy> {
        if let Some(policy) = &self.carried {
            return policy.clone();
        }
        let policy = self.add_policy(|index| Policy {
            index,
            flush: None,
            processor: None,
        });
        self.carried.insert(policy).clone()
    }

    /// The partition of a key, made at need.
    pub(super) fn partition(
        &mut self,
        policy: &Arc<Policy>,
        key: Option<Key>,
        now: Instant,
    ) -> Result<usize, Refusal> {
        let Some(key) = key else {
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
        for at in 0..self.partitions.len() {
            let is_of_policy = |p: &Partition| p.policy.index == policy.index;
            if self.partitions[at].as_ref().is_some_and(is_of_policy) {
                self.forget_if_idle(at, now);
            }
        }
    }

    /// Forgets a partition of a tenant or of metadata values that has had nothing to do for long.
    pub(super) fn forget_if_idle(&mut self, at: usize, now: Instant) {
        let is_old = |p: &Partition| {
            let timeout = p.policy.flush.as_ref().map_or(Duration::ZERO, |f| f.timeout);
            let long = timeout.max(IDLE_MIN) * IDLE_TIMEOUTS;
            p.key.is_some()
                && p.is_idle()
                && p.breaker.closed(now).is_none()
                && now.saturating_duration_since(p.used) >= long
        };
        if self.partitions[at].as_ref().is_some_and(is_old)
            && let Some(partition) = self.partitions[at].take()
            && let Some(key) = partition.key
        {
            self.keys.remove(&key);
            partition.policy.count_partitions(-1);
            self.free.push(at);
        }
    }

    /// Gives those that were held back their turn.
    pub(super) fn let_go(&mut self) {
        self.turn.extend(self.held_back.drain(..));
    }

    /// Gives a partition a place among those whose turn comes.
    pub(super) fn line_up(&mut self, at: usize) {
        if let Some(partition) = &mut self.partitions[at]
            && !partition.in_turn
            && !partition.ready.is_empty()
        {
            partition.in_turn = true;
            self.turn.push_back(at);
        }
    }

    /// Takes out everything that is not being sent.
    pub(super) fn forget(&mut self) -> (Vec<Batch>, Vec<Pending>) {
        let mut batches = Vec::new();
        let mut pending = Vec::new();
        while let Some(Reverse(parked)) = self.parked.pop() {
            if let Some(partition) = &mut self.partitions[parked.batch.partition] {
                partition.parked -= 1;
            }
            parked.batch.sender.in_flight.add(-1);
            batches.push(parked.batch);
        }
        for partition in self.partitions.iter_mut().flatten() {
            batches.extend(partition.ready.drain(..));
            pending.extend(partition.pending.take());
        }
        (batches, pending)
    }

    pub(super) fn unpark(&mut self, batch: Batch) {
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

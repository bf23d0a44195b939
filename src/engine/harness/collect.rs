//! Exporters that gather, as the harness drives them: one [`Gathering`] for an exporter, one lane for each signal.
//!
//! A lane hands payloads over one at a time, in order, and gives none up; it keeps what is owed until the collector says
//! that it is complete. Here is the lane in memory; the one on disk is [`super::durable::gather`]. The collector is
//! started when the lanes know what is owed and its predecessor of an earlier configuration has stopped, and is stopped
//! when all lanes have ended.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use component::collect::{Claim, Collect, Debts, Ending, Pieces, Receipt, Run, Seal, Seq, Set, StoreError};
use component::{BoxFuture, Code, ExportError, Fault, Host, Outcome, Push, Refusal, Status};
use parking_lot::Mutex;
use telemetry::{Column, Row};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use wire::{Payload, Signal};

use super::room::{Capacity, Room};
use super::tally::Tally;
use super::verdict::Refused;

/// After a refusal that does not say when to come again.
const PAUSE: Duration = Duration::from_secs(1);

/// Why what was left at the end is lost.
const LEFT: &str = "shutdown";

/// A collector and its life.
pub struct Gathering {
    id: String,
    collect: Arc<dyn Collect>,
    life: watch::Sender<Life>,
    /// Held while it starts, and while it stops.
    turn: tokio::sync::Mutex<()>,
    /// The one before it, of the same id.
    before: Mutex<Option<watch::Receiver<Life>>>,
    /// Lanes that have not ended.
    lanes: AtomicUsize,
    /// Somebody wants it stopped.
    is_leaving: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    New,
    Running,
    Failed,
    /// It starts no more; the one before it has not stopped.
    Leaving,
    Stopped,
}

/// One signal's way to a collector.
pub(crate) trait Lane: Send + Sync {
    /// Finds out what is owed; then its debts.
    fn debts(self: Arc<Self>) -> BoxFuture<'static, Result<Arc<dyn Debts>, Fault>>;

    /// The collector is there.
    fn feed(self: Arc<Self>, collect: Arc<dyn Collect>);
}

impl fmt::Debug for Gathering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gathering({})", self.id)
    }
}

impl PartialEq for Gathering {
    fn eq(&self, other: &Gathering) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Gathering {
    /// Around a collector.
    pub fn new(id: String, collect: Arc<dyn Collect>) -> Arc<Gathering> {
        Arc::new(Gathering {
            id,
            collect,
            life: watch::Sender::new(Life::New),
            turn: tokio::sync::Mutex::default(),
            before: Mutex::default(),
            lanes: AtomicUsize::new(0),
            is_leaving: AtomicBool::new(false),
        })
    }

    /// Starts the collector, and has the lanes feed it. Behind a predecessor that has not stopped it waits for that, and
    /// what goes wrong then is reported.
    pub(crate) async fn begin(
        self: &Arc<Gathering>,
        lanes: Vec<Arc<dyn Lane>>,
        host: Arc<dyn Host>,
        before: Option<&Arc<Gathering>>,
    ) -> Result<(), Fault> {
        self.lanes.store(lanes.len(), SeqCst);
        let Some(before) = before else {
            return self.start(lanes, host).await;
        };
        let before = before.life.subscribe();
        *self.before.lock() = Some(before.clone());
        let this = Arc::downgrade(self);
        tokio::spawn(async move {
            stopped(before).await;
            let Some(this) = this.upgrade() else { return };
            if let Err(fault) = this.start(lanes, host.clone()).await {
                tracing::error!(component = %this.id, error = %fault, "the exporter did not start after a reload");
                host.report(
                    &format!("exporter:{}", this.id),
                    Status::Permanent(fault.to_string()),
                );
            }
        });
        Ok(())
    }

    async fn start(&self, lanes: Vec<Arc<dyn Lane>>, host: Arc<dyn Host>) -> Result<(), Fault> {
        let _turn = self.turn.lock().await;
        if *self.life.borrow() != Life::New {
            return Ok(());
        }
        let started = async {
            let mut debts = Vec::with_capacity(lanes.len());
            for lane in &lanes {
                debts.push(lane.clone().debts().await?);
            }
            self.collect.start(host, debts).await
        };
        let started = started.await;
        if self.is_leaving.load(SeqCst) {
            // Whoever wanted that did not wait.
            self.collect.stop(Instant::now()).await;
            self.life.send_replace(Life::Stopped);
            return started;
        }
        let life = if started.is_ok() {
            Life::Running
        } else {
            Life::Failed
        };
        self.life.send_replace(life);
        if started.is_ok() {
            lanes.into_iter().for_each(|lane| lane.feed(self.collect.clone()));
        }
        started
    }

    /// A lane has ended; with the last of them the collector stops. Returns when it has, or at the deadline.
    pub(super) async fn end(&self, deadline: Instant) {
        if self.lanes.fetch_sub(1, SeqCst) == 1 {
            self.finish(deadline).await;
        } else {
            let _ = tokio::time::timeout_at(deadline, stopped(self.life.subscribe())).await;
        }
    }

    async fn finish(&self, deadline: Instant) {
        self.is_leaving.store(true, SeqCst);
        // One that is being started may wait for its turn at a journal for longer than there is time.
        let Ok(_turn) = tokio::time::timeout_at(deadline + PAUSE, self.turn.lock()).await else {
            return;
        };
        let life = *self.life.borrow();
        match life {
            Life::Leaving | Life::Stopped => return,
            Life::New => {
                // Whoever follows waits for the one before too.
                if let Some(before) = self.before.lock().take() {
                    self.life.send_replace(Life::Leaving);
                    let life = self.life.clone();
                    tokio::spawn(async move {
                        stopped(before).await;
                        life.send_replace(Life::Stopped);
                    });
                    return;
                }
            }
            Life::Running | Life::Failed => {
                let stopping = self.collect.stop(deadline);
                // It has the deadline; this is for one that does not keep it.
                if tokio::time::timeout_at(deadline + PAUSE, stopping).await.is_err() {
                    tracing::warn!(component = %self.id, "the exporter does not stop, going on without it");
                }
            }
        }
        self.life.send_replace(Life::Stopped);
    }

    /// Rolls what is open, for the successor.
    pub(super) async fn seal(&self) {
        if *self.life.borrow() == Life::Running {
            self.collect.seal(Seal::HandOver).await;
        }
    }
}

async fn stopped(mut life: watch::Receiver<Life>) {
    // Gone is stopped too.
    let _ = life.wait_for(|life| *life == Life::Stopped).await;
}

/// As what the graph starts and stops. Nothing is pushed: what comes goes by the lanes.
impl Push for Gathering {
    fn export<'a>(&'a self, _: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        component::ready(Err(ExportError::Rejected {
            code: Code::UNIMPLEMENTED,
            source: "an exporter that gathers takes no batches".into(),
        }))
    }

    fn context_keys(&self) -> Vec<String> {
        self.collect.context_keys()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.finish(Instant::now()))
    }
}

/// Hands a payload over, however often it takes. `Err`: it will never be taken.
pub(super) async fn hand_over(
    collect: &dyn Collect,
    payload: &Payload,
    receipt: &Receipt,
) -> Result<(), Refusal> {
    loop {
        match collect.append(payload.clone(), receipt.clone()).await {
            Err(refusal) if refusal.is_retryable() => {
                tokio::time::sleep(refusal.retry_after().unwrap_or(PAUSE)).await;
            }
            result => return result,
        }
    }
}

/// Books what ended.
pub(super) fn book(row: &Row, tally: &Tally, how: Ending<'_>) {
    tally.release(row);
    match how {
        Ending::Stored => tally.add(row, Column::Out),
        Ending::Failed(reason) => tally.fail(row, reason),
        Ending::Dropped(rule) => tally.drop_under(row, rule),
    }
}

// --- in memory ---

/// The lane of one signal that keeps what waits in memory, or that has no queue.
pub(crate) struct MemoryLane {
    gathering: Arc<Gathering>,
    signal: Signal,
    row: Arc<Row>,
    /// `None`: callers wait until the collector has taken it.
    capacity: Option<Capacity>,
    state: Mutex<State>,
    work: Arc<Notify>,
    /// Told when nothing waits any more, and when something is complete.
    moved: Notify,
    feeder: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct State {
    collect: Option<Arc<dyn Collect>>,
    next: u64,
    waiting: VecDeque<Waiting>,
    owed: BTreeMap<Seq, Owed>,
    is_busy: bool,
    closed: bool,
}

struct Waiting {
    payload: Payload,
    receipt: Receipt,
    room: Option<Room>,
}

/// A request that is not complete.
struct Owed {
    left: Tally,
    /// How many pieces it has, and which are done; once it is known to have several.
    cut: Option<(u32, Vec<u32>)>,
    /// It is being taken, and not booked before it is: how parts of it have ended meanwhile.
    early: Option<Vec<(Tally, End)>>,
}

/// [`Ending`] with a name of its own.
enum End {
    Stored,
    Failed(String),
    Dropped(String),
}

impl End {
    fn of(how: Ending<'_>) -> End {
        match how {
            Ending::Stored => End::Stored,
            Ending::Failed(reason) => End::Failed(reason.to_owned()),
            Ending::Dropped(rule) => End::Dropped(rule.to_owned()),
        }
    }

    fn how(&self) -> Ending<'_> {
        match self {
            End::Stored => Ending::Stored,
            End::Failed(reason) => Ending::Failed(reason),
            End::Dropped(rule) => Ending::Dropped(rule),
        }
    }
}

impl Owed {
    /// Takes out what a run says of it.
    fn settle(&mut self, run: &Run) -> Tally {
        let Run::Part { of, pieces, .. } = run else {
            return self.left.take(u64::MAX);
        };
        let (of, done) = self.cut.get_or_insert_with(|| (*of, Vec::new()));
        let mut out = Tally::default();
        for piece in pieces.iter().filter(|piece| **piece < *of) {
            if let Err(at) = done.binary_search(piece) {
                done.insert(at, *piece);
                // Each counts as one item, and the last of all as what is left.
                let items = if done.len() == *of as usize { u64::MAX } else { 1 };
                out.merge(&self.left.take(items));
            }
        }
        out
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

impl MemoryLane {
    pub(super) fn new(
        gathering: Arc<Gathering>,
        signal: Signal,
        row: Arc<Row>,
        capacity: Option<Capacity>,
    ) -> Arc<MemoryLane> {
        Arc::new(MemoryLane {
            gathering,
            signal,
            row,
            capacity,
            state: Mutex::default(),
            work: Arc::default(),
            moved: Notify::new(),
            feeder: Mutex::default(),
        })
    }

    /// Room for a payload, where there is a queue.
    pub(super) async fn reserve(&self, payload: &Payload) -> Result<Option<Room>, Refusal> {
        if self.state.lock().closed {
            return Err(Refusal::unavailable("the gateway stops"));
        }
        match &self.capacity {
            Some(capacity) => capacity.reserve(payload, &[]).await.map(Some),
            None => Ok(None),
        }
    }

    /// Queues a payload; without a queue, hands it over at once.
    pub(super) async fn offer(&self, payload: Payload, room: Option<Room>) -> Result<Outcome, Refused> {
        let room = match room {
            Some(room) => Some(room),
            None => self.reserve(&payload).await?,
        };
        let tally = Tally::of(&payload);
        let is_direct = self.capacity.is_none();
        let (receipt, collect) = {
            let mut st = self.state.lock();
            let collect = st.collect.clone().filter(|_| is_direct);
            if st.closed || (is_direct && collect.is_none()) {
                return Err(Refusal::unavailable("the exporter is not running").into());
            }
            st.next += 1;
            let seq = Seq(st.next - 1);
            let owed = Owed {
                left: tally.clone(),
                cut: None,
                early: is_direct.then(Vec::new),
            };
            st.owed.insert(seq, owed);
            let receipt = Receipt {
                seq,
                admitted_ms: now_ms(),
                owed: Pieces::All,
                rules: None,
            };
            if !is_direct {
                tally.add(&self.row, Column::In);
                tally.add(&self.row, Column::Held);
                st.waiting.push_back(Waiting {
                    payload: payload.clone(),
                    receipt: receipt.clone(),
                    room,
                });
            }
            (receipt, collect)
        };
        let Some(collect) = collect else {
            self.work.notify_one();
            return Ok(Outcome::default());
        };
        // If the caller goes away while it waits, nothing was taken.
        let mut taking = Taking(Some(self), receipt.seq);
        let taken = collect.append(payload, receipt.clone()).await;
        taking.0 = None;
        let mut st = self.state.lock();
        if let Err(refusal) = taken {
            st.owed.remove(&receipt.seq);
            self.moved.notify_waiters();
            return Err(refusal.into());
        }
        tally.add(&self.row, Column::In);
        tally.add(&self.row, Column::Held);
        if let Some(owed) = st.owed.get_mut(&receipt.seq) {
            for (tally, end) in owed.early.take().unwrap_or_default() {
                book(&self.row, &tally, end.how());
            }
            if owed.left.is_zero() {
                st.owed.remove(&receipt.seq);
                self.moved.notify_waiters();
            }
        }
        Ok(Outcome::default())
    }

    fn settle(&self, set: &Set, how: Ending<'_>) {
        let mut st = self.state.lock();
        for run in set.runs() {
            let seqs: Vec<Seq> = st
                .owed
                .range(run.first()..run.end())
                .map(|(seq, _)| *seq)
                .collect();
            for seq in seqs {
                let Some(owed) = st.owed.get_mut(&seq) else {
                    continue;
                };
                let tally = owed.settle(&run);
                match &mut owed.early {
                    Some(early) => early.push((tally, End::of(how))),
                    None => {
                        book(&self.row, &tally, how);
                        if owed.left.is_zero() {
                            st.owed.remove(&seq);
                        }
                    }
                }
            }
        }
        drop(st);
        self.moved.notify_waiters();
    }

    fn next(&self) -> Option<(Waiting, Arc<dyn Collect>)> {
        let mut st = self.state.lock();
        st.is_busy = false;
        let collect = st.collect.clone()?;
        let next = st.waiting.pop_front();
        st.is_busy = next.is_some();
        next.zip(Some(collect))
    }

    async fn take(&self, waiting: Waiting, collect: &dyn Collect) {
        let Waiting {
            payload,
            receipt,
            room,
        } = waiting;
        if let Err(refusal) = hand_over(collect, &payload, &receipt).await {
            tracing::error!(component = %self.gathering.id, error = %refusal.message(), "a request is not taken, and lost");
            self.settle(&Set::from_iter([receipt.seq]), Ending::Failed("rejected"));
        }
        drop(room);
    }

    async fn until(&self, deadline: Instant, is_over: impl Fn(&State) -> bool) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if is_over(&self.state.lock()) || tokio::time::timeout_at(deadline, moved).await.is_err() {
                return;
            }
        }
    }

    /// Waits until all that came is complete; rolls it first.
    pub(super) async fn emptied(&self) {
        let never = Instant::now() + Duration::from_secs(86_400);
        self.until(never, |st| st.waiting.is_empty() && !st.is_busy).await;
        self.gathering.seal().await;
        self.until(never, |st| st.owed.is_empty()).await;
    }

    /// Nothing more comes in.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
    }

    /// What waits goes to the lane that follows, which has a queue.
    pub(super) fn hand_over(&self, next: &MemoryLane) {
        if next.capacity.is_none() {
            return;
        }
        let mut st = self.state.lock();
        let waiting = std::mem::take(&mut st.waiting);
        let owed: Vec<Option<Owed>> = waiting.iter().map(|w| st.owed.remove(&w.receipt.seq)).collect();
        drop(st);
        let mut st = next.state.lock();
        for (mut waiting, owed) in waiting.into_iter().zip(owed) {
            waiting.receipt.seq = Seq(st.next);
            st.next += 1;
            st.owed.extend(owed.map(|owed| (waiting.receipt.seq, owed)));
            st.waiting.push_back(waiting);
        }
        drop(st);
        next.work.notify_one();
    }

    /// Hands over what waits, has the collector end, and books what is left at the deadline.
    pub(super) async fn drain(&self, deadline: Instant) {
        self.close();
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        self.until(half, |st| {
            st.collect.is_none() || (st.waiting.is_empty() && !st.is_busy)
        })
        .await;
        if let Some(feeder) = self.feeder.lock().take() {
            feeder.abort();
        }
        self.gathering.end(deadline).await;
        let (owed, waiting) = {
            let mut st = self.state.lock();
            st.collect = None;
            (std::mem::take(&mut st.owed), std::mem::take(&mut st.waiting))
        };
        drop(waiting);
        let mut lost = Tally::default();
        owed.values()
            .filter(|o| o.early.is_none())
            .for_each(|o| lost.merge(&o.left));
        if !lost.is_zero() {
            tracing::error!(component = %self.gathering.id, items = lost.items(), "lost at the end: it was not complete");
            book(&self.row, &lost, Ending::Failed(LEFT));
        }
    }
}

impl Drop for MemoryLane {
    fn drop(&mut self) {
        if let Some(feeder) = self.feeder.get_mut().take() {
            feeder.abort();
        }
    }
}

/// A request that its caller waits for.
struct Taking<'a>(Option<&'a MemoryLane>, Seq);

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        if let Some(lane) = self.0 {
            lane.state.lock().owed.remove(&self.1);
            lane.moved.notify_waiters();
        }
    }
}

impl Lane for MemoryLane {
    fn debts(self: Arc<Self>) -> BoxFuture<'static, Result<Arc<dyn Debts>, Fault>> {
        let debts = MemoryDebts {
            lane: Arc::downgrade(&self),
            signal: self.signal,
            notes: Mutex::default(),
        };
        component::ready(Ok(Arc::new(debts) as Arc<dyn Debts>))
    }

    fn feed(self: Arc<Self>, collect: Arc<dyn Collect>) {
        self.state.lock().collect = Some(collect);
        if self.capacity.is_some() {
            let mut feeder = self.feeder.lock();
            let run = run(Arc::downgrade(&self), self.work.clone());
            *feeder = Some(tokio::spawn(run).abort_handle());
        }
    }
}

/// Lets the lane go while it waits.
async fn run(lane: Weak<MemoryLane>, work: Arc<Notify>) {
    loop {
        let Some(strong) = lane.upgrade() else { return };
        match strong.next() {
            Some((waiting, collect)) => strong.take(waiting, &*collect).await,
            None => {
                strong.moved.notify_waiters();
                drop(strong);
                work.notified().await;
            }
        }
    }
}

struct MemoryDebts {
    lane: Weak<MemoryLane>,
    signal: Signal,
    notes: Mutex<BTreeMap<String, String>>,
}

impl Debts for MemoryDebts {
    fn signal(&self) -> Signal {
        self.signal
    }

    fn journal(&self) -> Option<u128> {
        None
    }

    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    fn claim(&self, _: Claim) -> BoxFuture<'_, Result<(), StoreError>> {
        component::ready(Ok(()))
    }

    fn release<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        component::ready(Ok(()))
    }

    fn complete<'a>(
        &'a self,
        _: &'a str,
        set: &'a Set,
        how: Ending<'a>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        if let Some(lane) = self.lane.upgrade() {
            lane.settle(set, how);
        }
        component::ready(Ok(()))
    }

    fn note<'a>(&'a self, name: &'a str, text: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let mut notes = self.notes.lock();
        match text.is_empty() {
            true => notes.remove(name),
            false => notes.insert(name.to_owned(), text.to_owned()),
        };
        component::ready(Ok(()))
    }

    fn notes(&self) -> Vec<(String, String)> {
        self.notes.lock().clone().into_iter().collect()
    }
}

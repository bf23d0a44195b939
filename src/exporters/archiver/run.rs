//! The one task that does an archive's work: it hands buffers to compressors, ends objects, signs heads, completes.
//!
//! It owns every task that it starts, and stops when all is done or the time is up; whatever is left then is owed, and
//! comes again after the next start.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration as Time;

use arc_swap::ArcSwap;
use component::prelude::*;
use component::{Claim, Debts, Ending};
use evidence::entry::Kind;
use evidence::time::{Second, Time as Moment};
use objects::{Class, ObjectStore, StoreError};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::acts::Acts;
use super::buffer::Segment;
use super::config::{Config, Shorter};
use super::disk::Lines;
use super::frames::Compressor;
use super::gather::{Framing, Gather, Limits};
use super::keys::{self, Keys};
use super::metrics::Metrics;
use super::object::{self, Logged};
use super::owed::Owed;
use super::recover::Before;
use super::rules::Rules;
use super::spool::Part;
use super::state::{Begun, Line, Live, State};
use super::units::Retention;
use super::writer::{At, Trouble, Writer, backoff};
use super::{adopt, fence, peers, selftest, start};

/// What all tasks of an archive share.
pub(super) struct Shared {
    pub(super) id: String,
    pub(super) config: Config,
    pub(super) rules: Rules,
    pub(super) rules_id: Arc<str>,
    /// Rules of before, by name.
    pub(super) rules_before: HashMap<String, Arc<Rules>>,
    pub(super) store: Arc<dyn ObjectStore>,
    /// The same store by who may delete canaries, and must fail to.
    pub(super) deleter: Option<Arc<dyn ObjectStore>>,
    pub(super) writer: ArcSwap<Writer>,
    pub(super) lines: Lines,
    pub(super) line_bytes: AtomicU64,
    pub(super) debts: [Option<Arc<dyn Debts>>; 4],
    pub(super) gather: Gather,
    /// None: parts are in memory.
    pub(super) spool: Option<PathBuf>,
    pub(super) puts: Semaphore,
    pub(super) workers: Semaphore,
    /// Threads that wait for the disk until a part is whole.
    pub(super) seals: Semaphore,
    pub(super) compressors: Mutex<Vec<Compressor>>,
    pub(super) metrics: Metrics,
    pub(super) host: Arc<dyn Host>,
    pub(super) clock: Clock,
    pub(super) locking: Locking,
    /// The store's latest date, in seconds since 1970.
    pub(super) store_date: AtomicU64,
    /// The store's clock minus ours, in milliseconds; `NEVER` until it showed one.
    pub(super) skew_ms: AtomicI64,
    pub(super) told: AtomicBool,
    pub(super) keys: Arc<Keys>,
    pub(super) acts: Acts,
    /// What the last proof of the lock found, for each session's log.
    pub(super) worm: ArcSwap<evidence::entry::Worm>,
    /// Since when objects that are on their way are owed.
    pub(super) owed: Owed,
    #[cfg(test)]
    pub(super) cut: super::tests::Cut,
}

/// What is known of the store's locks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Locking {
    /// Whether locks are asked for at all.
    pub(super) asks: bool,
    /// The bucket's own retention, in days.
    pub(super) default_days: Option<u64>,
}

/// No skew is known.
pub(super) const NEVER: i64 = i64::MIN;

/// Milliseconds since 1970.
#[derive(Clone)]
pub(super) struct Clock(pub(super) Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The system's.
    pub(super) fn system() -> Clock {
        Clock(Arc::new(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(0, |since| since.as_millis() as u64)
        }))
    }
}

/// How long a disk is left alone that took no write.
const DISK_RETRY: Time = Time::from_secs(1);
/// The state journal is written anew when it has grown by so much.
const COMPACT_BYTES: u64 = 64 << 20;
/// Objects on their way at a time; beyond it they gather on.
const OBJECTS_MAX: usize = 16_384;

impl Shared {
    pub(super) fn writer(&self) -> Arc<Writer> {
        self.writer.load_full()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.gather.limits
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_millis((self.clock.0)().cast_signed())
    }

    pub(super) fn debts(&self, signal: Signal) -> Option<Arc<dyn Debts>> {
        self.debts[signal.index()].clone()
    }

    pub(super) fn indexes_services(&self) -> bool {
        !self.config.log.index.is_empty()
    }

    /// A place at which a test may cut the power.
    pub(super) async fn step(&self, name: &'static str) {
        storage::crash::point(name);
        #[cfg(test)]
        self.cut.pass(name).await;
    }

    pub(super) fn new_part(&self) -> Part {
        let mut id = [0; 8];
        // Without random bytes the clock and the address of something of ours tell parts apart well enough.
        if aws_lc_rs::rand::fill(&mut id).is_err() {
            id = ((self.clock.0)() ^ (&raw const id as u64) << 20).to_le_bytes();
        }
        Part::new(evidence::digest::hex(&id), self.spool.as_deref())
    }

    /// Adds a line to the state journal; returns when it is on the disk.
    pub(super) async fn line(&self, line: &Line) {
        let bytes = line.bytes();
        self.line_bytes.fetch_add(bytes.len() as u64, Relaxed);
        let ticket = self.lines.push(&bytes);
        while let Err(error) = self.lines.sync(ticket).await {
            self.disk_trouble(&error).await;
        }
    }

    /// Compresses into a part, however long the disk takes.
    pub(super) async fn compress(&self, part: Part, segments: Vec<Segment>) -> Part {
        if segments.is_empty() {
            return part;
        }
        // Who compresses writes too: hundreds of buffers that are full at once would else be written by as many threads,
        // and each thread keeps memory of its own.
        let Ok(mut permit) = self.workers.acquire().await else {
            return part;
        };
        let compressor = self.compressors.lock().pop();
        let (config, chunk_bytes) = (&self.config, self.limits().chunk_bytes);
        let (compression, level) = (config.compression, config.compression_level);
        let mut part = part;
        let work = tokio::task::spawn_blocking(move || {
            let mut compressor = match compressor {
                Some(compressor) => compressor,
                None => Compressor::new(compression, level, chunk_bytes)?,
            };
            compressor.frames(&segments)?;
            drop(segments);
            let done = part.append(&compressor.out);
            let frames = match done {
                Ok(()) => Vec::new(),
                // They wait for the disk, and the compressor goes to the next one.
                Err(_) => compressor.out.as_slice().to_vec(),
            };
            std::io::Result::Ok((compressor, part, frames, done))
        });
        let (mut part, mut frames, mut done) = match work.await {
            Ok(Ok((compressor, part, frames, done))) => {
                self.compressors.lock().push(compressor);
                (part, frames, done)
            }
            // Levels are checked, and memory is there or the process is not: nothing else can fail.
            Ok(Err(error)) => {
                tracing::error!(exporter = self.id, %error, "cannot compress, the records stay owed");
                std::future::pending().await
            }
            Err(_) => std::future::pending().await,
        };
        while let Err(error) = done {
            // What is smaller may fit where this does not.
            drop(permit);
            self.disk_trouble(&error).await;
            permit = match self.workers.acquire().await {
                Ok(permit) => permit,
                Err(_) => std::future::pending().await,
            };
            let work = tokio::task::spawn_blocking(move || {
                let done = part.append(&frames);
                (part, frames, done)
            });
            let Ok(again) = work.await else {
                std::future::pending().await
            };
            (part, frames, done) = again;
        }
        drop(permit);
        part
    }

    /// Says once that the disk is in trouble, and waits.
    pub(super) async fn disk_trouble(&self, error: &std::io::Error) {
        self.trouble(&format!("the state directory takes no writes: {error}"));
        tokio::time::sleep(DISK_RETRY).await;
    }

    pub(super) fn journal_trouble(&self, error: &component::StoreError) {
        self.trouble(&format!("the journal takes no claims: {error}"));
    }

    fn trouble(&self, what: &str) {
        if !self.told.swap(true, Relaxed) {
            tracing::error!(
                exporter = self.id,
                error = what,
                "the archive waits, nothing is lost"
            );
            let status = Status::Recoverable(what.to_owned());
            self.host.report(&format!("exporter:{}", self.id), status);
        }
    }

    /// A request went well.
    pub(super) fn works(&self) {
        if self.told.swap(false, Relaxed) {
            self.acts.works();
            tracing::info!(exporter = self.id, "the archive goes on");
            self.host.report(&format!("exporter:{}", self.id), Status::Ok);
        }
    }

    /// Books an attempt that failed; gives the time until the next.
    pub(super) fn put_failed(&self, error: &StoreError, tries: u32) -> Time {
        let code = match (&error.code, error.status) {
            (code, _) if !code.is_empty() => code.clone(),
            (_, Some(status)) => status.to_string(),
            _ => "none".to_owned(),
        };
        self.metrics.put_retry(&code);
        if matches!(error.class, Class::Denied | Class::Unauthorized) {
            self.metrics.put_denied.add(1);
            self.acts.denied(&code);
        }
        if !error.may_pass() || tries > 2 {
            self.trouble(&format!("the store takes no objects: {error}"));
        }
        let mut chance = [0; 8];
        let _ = aws_lc_rs::rand::fill(&mut chance);
        object::wait(error, tries, u64::from_le_bytes(chance))
    }

    /// The store showed its clock.
    pub(super) fn saw_date(&self, date: Option<u64>) {
        self.works();
        if let Some(date) = date {
            self.store_date.fetch_max(date, Relaxed);
            let skew = (date * 1000).cast_signed() - (self.clock.0)().cast_signed();
            // Dates are whole seconds.
            let skew = if skew.abs() < 1000 { 0 } else { skew };
            self.skew_ms.store(skew, Relaxed);
            self.metrics.clock_skew_s.set(skew / 1000);
        }
    }

    fn until(&self, retention: Retention) -> Second {
        let now = self
            .now()
            .millis()
            .max((self.store_date.load(Relaxed) * 1000).cast_signed());
        let after = |seconds: u64| {
            let millis = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000);
            Second::midnight_after(Moment::from_millis(now.saturating_add(millis)))
        };
        let own = after(retention.0);
        match (
            self.locking.default_days,
            self.config.lock.shorter_than_bucket_default,
        ) {
            (Some(days), Shorter::Reject) => own.max(after(days.saturating_mul(86_400))),
            _ => own,
        }
    }

    /// The lock of an object of this class, from now on; `rules`: of whom the class may be, if it is none any more.
    pub(super) fn lock_of(&self, class: &str, rules: &str) -> Option<evidence::entry::Lock> {
        if !self.locking.asks {
            return None;
        }
        let all = [
            Some(&self.rules),
            self.rules_before.get(rules).map(|rules| &**rules),
        ];
        let classes = all.into_iter().flatten().flat_map(Rules::classes);
        // Of a class that nobody knows any more: as long as any.
        let longest = self.rules.classes().iter().max_by_key(|class| class.retention);
        let own = { classes }.find(|own| &*own.name == class).or(longest)?;
        Some(evidence::entry::Lock {
            mode: own.mode.as_str().to_owned(),
            until: self.until(own.retention),
            hold: self.config.lock.legal_hold,
        })
    }

    /// A lock as the store is told it.
    pub(super) fn lock_sent(&self, lock: Option<&evidence::entry::Lock>) -> objects::Lock {
        let retention = lock.map(|lock| objects::Retention {
            mode: match lock.mode.as_str() {
                "GOVERNANCE" => objects::Mode::Governance,
                _ => objects::Mode::Compliance,
            },
            until: lock.until.seconds().max(0).cast_unsigned(),
        });
        objects::Lock {
            retention,
            legal_hold: lock.is_some_and(|lock| lock.hold),
        }
    }

    /// The moment of a checkpoint.
    pub(super) fn at(&self) -> At {
        let until = self.until(self.config.evidence_retention());
        let retention = self.locking.asks.then(|| objects::Retention {
            mode: self.config.lock.mode,
            until: until.seconds().max(0).cast_unsigned(),
        });
        let skew = self.skew_ms.load(Relaxed);
        At {
            now: self.now(),
            skew_ms: (skew != NEVER).then_some(skew),
            lock: objects::Lock {
                retention,
                legal_hold: false,
            },
        }
    }

    /// Nothing more is signed for this session; the next one begins when everything that is open is finished.
    fn fenced(&self, trouble: &Trouble) {
        self.metrics.fenced.add(1);
        self.acts.fenced(&trouble.to_string());
        tracing::error!(exporter = self.id, error = %trouble, "the archive is not alone under its name");
        self.told.store(true, Relaxed);
        let status = Status::Recoverable(trouble.to_string());
        self.host.report(&format!("exporter:{}", self.id), status);
    }
}

/// What the task is told.
pub(super) enum Order {
    /// Do what can be done until then, and end.
    Stop {
        deadline: Instant,
        done: oneshot::Sender<()>,
    },
}

/// What there is to do from the start.
pub(super) struct Begin {
    /// Objects of the life before.
    pub(super) live: Vec<Live>,
    /// Claims of lives that are forgotten.
    pub(super) claims: Vec<(Signal, Claim)>,
    /// A session whose end has to be explained, and what of it is.
    pub(super) rescue: Option<(Before, BTreeSet<u64>)>,
}

/// Runs until it is told to stop.
pub(super) async fn run(shared: Arc<Shared>, mut orders: mpsc::Receiver<Order>, begin: Begin) {
    let Begin { live, claims, rescue } = begin;
    let config = &shared.config;
    let period = (config.roll.max_age.0 / 10).clamp(Time::from_millis(20), Time::from_secs(1));
    let period = period.min(config.log.checkpoint_interval.0);
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut work = Work {
        frames: JoinSet::new(),
        objects: JoinSet::new(),
        heads: JoinSet::new(),
        completions: JoinSet::new(),
        logged: BTreeMap::new(),
        next_head: Instant::now(),
        failures: 0,
        closing: false,
        closed: false,
        rolling: false,
        rolls: JoinSet::new(),
        rescues: JoinSet::new(),
        asides: JoinSet::new(),
        shared: shared.clone(),
    };
    let (rescued, mut found) = mpsc::channel(16);
    if let Some((before, explained)) = rescue {
        let shared = shared.clone();
        work.rescues.spawn(async move {
            adopt::rescue(&shared, before, explained, rescued).await;
        });
    }
    let (say, mut said) = mpsc::channel(4);
    let (own, say_own) = (shared.clone(), say.clone());
    work.asides
        .spawn(async move { peers::follow(&own, say_own).await });
    let own = shared.clone();
    work.asides
        .spawn(async move { selftest::repeat(&own, say).await });
    for live in live {
        let shared = shared.clone();
        work.objects.spawn(async move {
            let owed = shared.owed.since(live.sealed.obj.ad[0].millis().cast_unsigned());
            object::resume(&shared, live)
                .await
                .map(|logged| logged.owed(owed))
        });
    }
    for (signal, claim) in claims {
        let shared = shared.clone();
        work.objects
            .spawn(async move { adopt::adopt(&shared, signal, claim).await });
    }
    let mut stop: Option<(Instant, oneshot::Sender<()>)> = None;
    loop {
        work.begin(stop.is_some());
        if stop.is_some() && work.is_over() {
            break;
        }
        let deadline = stop.as_ref().map(|(deadline, _)| *deadline);
        let until = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(_) = work.frames.join_next() => {}
            Some(done) = work.objects.join_next() => work.logged(done.ok().flatten()),
            Some(done) = work.heads.join_next() => work.head(done.ok()),
            Some(_) = work.completions.join_next() => {}
            Some(done) = work.rolls.join_next() => work.rolled(done.ok()),
            Some(_) = work.rescues.join_next() => {}
            Some(_) = work.asides.join_next() => {}
            Some(logged) = found.recv() => work.logged(Some(logged)),
            // Who stops says no more: an entry behind the last head would look like a crash.
            Some(kind) = said.recv(), if stop.is_none() => work.say(kind),
            () = shared.gather.work.notified() => {}
            _ = tick.tick() => work.look(),
            order = orders.recv(), if stop.is_none() => match order {
                Some(Order::Stop { deadline, done }) => {
                    shared.gather.shut(true);
                    shared.gather.flush();
                    stop = Some((deadline, done));
                }
                None => break,
            },
            () = until => break,
        }
    }
    drop(work);
    if let Some((_, done)) = stop {
        let _ = done.send(());
    }
}

struct Work {
    shared: Arc<Shared>,
    frames: JoinSet<()>,
    objects: JoinSet<Option<Logged>>,
    heads: JoinSet<Result<u64, Trouble>>,
    completions: JoinSet<()>,
    /// Not under a head yet, by the index of their entries, and by number: of two that are told the same index one has
    /// moved to a lower place since.
    logged: BTreeMap<(u64, u64), Logged>,
    next_head: Instant,
    failures: u32,
    /// The head under way is the last.
    closing: bool,
    closed: bool,
    /// A new session is to begin: everything that is open ends first.
    rolling: bool,
    rolls: JoinSet<Result<Vec<Logged>, Trouble>>,
    /// What takes over the objects of a session before.
    rescues: JoinSet<()>,
    /// What nobody waits for.
    asides: JoinSet<()>,
}

impl Work {
    /// Begins what is to be done.
    fn begin(&mut self, stopping: bool) {
        let shared = &self.shared;
        for framing in shared.gather.framings() {
            let shared = shared.clone();
            self.frames.spawn(async move { frame(&shared, framing).await });
        }
        if self.objects.len() < OBJECTS_MAX {
            for closed in shared.gather.closed(Instant::now()) {
                shared.metrics.roll(closed.why.as_str());
                let shared = shared.clone();
                self.objects.spawn(async move {
                    let oldest = closed.partition.summary.admitted_ms;
                    let owed = shared.owed.since(oldest.unwrap_or_default().0);
                    object::live(&shared, closed)
                        .await
                        .map(|logged| logged.owed(owed))
                });
            }
        }
        // Who stops waits only for a store that said no.
        let early = Instant::now() < self.next_head && (!stopping || self.failures > 0);
        let writer = shared.writer();
        let fenced = writer.is_fenced();
        if !self.heads.is_empty() || !self.rolls.is_empty() || (early && !fenced) {
            return;
        }
        if !stopping && !self.rolling && (fenced || writer.is_due_to_roll(shared.now())) {
            self.rolling = true;
            shared.gather.pause(true);
            shared.gather.flush();
        }
        // What rescues writes to this session too.
        let is_done = self.is_idle() && self.completions.is_empty() && self.rescues.is_empty();
        if self.rolling && !stopping && is_done && (fenced || self.logged.is_empty()) {
            let logged = std::mem::take(&mut self.logged).into_values().collect();
            let shared = shared.clone();
            self.rolls.spawn(async move {
                match fenced {
                    true => Ok(fence::leave(&shared, logged).await),
                    false => start::roll(&shared).await.map(|()| Vec::new()),
                }
            });
            return;
        }
        if fenced {
            return;
        }
        let heartbeat = shared.config.log.heartbeat_interval.0;
        let last = stopping && self.is_idle() && !self.closed;
        if last || (!stopping && writer.is_due(heartbeat)) {
            self.closing = last;
            let shared = shared.clone();
            self.heads.spawn(async move {
                if last {
                    return writer.close(shared.at()).await;
                }
                keys::rotate(&shared).await;
                writer.checkpoint(shared.at(), heartbeat).await
            });
        }
    }

    /// No object is open or on its way.
    fn is_idle(&self) -> bool {
        self.frames.is_empty() && self.objects.is_empty() && self.shared.gather.open_partitions() == 0
    }

    fn is_over(&self) -> bool {
        let fenced = self.shared.writer().is_fenced();
        self.is_idle()
            && self.rolls.is_empty()
            && (self.closed || fenced)
            && self.heads.is_empty()
            && self.completions.is_empty()
    }

    /// Adds an entry that nobody waits for; objects and heads wait until it is there.
    fn say(&mut self, kind: Kind) {
        let shared = self.shared.clone();
        self.frames.spawn(async move {
            // A session that takes no entry has ended: what is known is said again in the next one.
            let _ = shared.writer().append(kind, shared.now()).await;
        });
    }

    fn logged(&mut self, logged: Option<Logged>) {
        if let Some(logged) = logged {
            self.logged.insert((logged.index, logged.seq), logged);
            // One of the life before may be under a head already.
            self.complete(self.shared.writer().covered());
        }
    }

    /// A head is in the store, or is not.
    fn head(&mut self, done: Option<Result<u64, Trouble>>) {
        let now = Instant::now();
        match done {
            Some(Ok(size)) => {
                self.failures = 0;
                self.closed = self.closing;
                self.next_head = now + self.shared.config.log.checkpoint_interval.0;
                self.shared.works();
                self.shared.metrics.key_op("sign", true);
                // The segment's request and the head's.
                self.shared.metrics.puts(2);
                self.shared
                    .metrics
                    .last_checkpoint
                    .set(self.shared.now().millis() / 1000);
                self.shared.metrics.log_size.set(size.cast_signed());
                self.complete(size);
            }
            Some(Err(trouble @ Trouble::Fenced { .. })) => self.shared.fenced(&trouble),
            Some(Err(trouble)) => {
                self.next_head = now + backoff(self.failures);
                self.failures += 1;
                if self.failures > 2 || !matches!(&trouble, Trouble::Store(error) if error.may_pass()) {
                    self.shared
                        .trouble(&format!("the log cannot be signed: {trouble}"));
                }
            }
            None => self.next_head = now + backoff(0),
        }
    }

    /// A new session has begun, or not yet.
    fn rolled(&mut self, done: Option<Result<Vec<Logged>, Trouble>>) {
        match done {
            Some(Ok(waiting)) => {
                self.rolling = false;
                self.next_head = Instant::now();
                let waiting = waiting
                    .into_iter()
                    .map(|logged| ((logged.index, logged.seq), logged));
                self.logged.extend(waiting);
                self.shared.gather.pause(false);
            }
            Some(Err(trouble)) => self.head(Some(Err(trouble))),
            None => self.next_head = Instant::now() + backoff(0),
        }
    }

    /// Completes what is below `size`, and frees its parts.
    fn complete(&mut self, size: u64) {
        let left = self.logged.split_off(&(size, 0));
        let covered = std::mem::replace(&mut self.logged, left);
        if covered.is_empty() {
            return;
        }
        let shared = self.shared.clone();
        self.completions.spawn(async move {
            shared.step("archive.covered").await;
            let mut calls = JoinSet::new();
            let seqs: Vec<u64> = covered.values().map(|logged| logged.seq).collect();
            for logged in covered.into_values() {
                let shared = shared.clone();
                calls.spawn(async move {
                    complete(&shared, &logged).await;
                    logged
                });
            }
            let mut done = Vec::new();
            while let Some(call) = calls.join_next().await {
                done.extend(call.ok());
            }
            shared.step("archive.complete").await;
            // A line that is lost is no harm: it is completed again.
            shared.lines_unsynced(&Line::Done { seqs });
            for logged in done {
                if let Some(part) = &logged.part {
                    let _ = tokio::fs::remove_file(part).await;
                }
                shared.gather.free_spool(logged.bytes);
            }
        });
    }

    /// What is looked at now and then.
    fn look(&mut self) {
        let shared = &self.shared;
        let metrics = &shared.metrics;
        metrics.buffer_bytes.set(shared.gather.buffered() as i64);
        shared.gather.look();
        metrics
            .spool_bytes
            .set(shared.gather.spool_bytes.load(Relaxed).cast_signed());
        metrics
            .open_partitions
            .set(shared.gather.open_partitions() as i64);
        let now = (shared.clock.0)();
        let oldest = shared
            .gather
            .oldest_ms()
            .map_or(0, |oldest| now.saturating_sub(oldest) / 1000);
        metrics.oldest_unsealed_s.set(oldest.cast_signed());
        let on_the_way = shared
            .owed
            .oldest_ms()
            .map_or(0, |since| now.saturating_sub(since) / 1000);
        metrics.oldest_owed_s.set(oldest.max(on_the_way).cast_signed());
        metrics.look();
        let (held, balanced) = shared
            .writer()
            .with_books(|books| (books.held(), books.balance()));
        metrics.owed_records.set(held.cast_signed());
        if !balanced {
            metrics.imbalance.add(1);
        }
        if shared.line_bytes.load(Relaxed) > COMPACT_BYTES {
            shared.line_bytes.store(0, Relaxed);
            let shared = shared.clone();
            self.frames.spawn(async move {
                let compact = |content: Vec<u8>| match State::read(&content) {
                    Ok((state, _)) => state.lines(),
                    Err(_) => content,
                };
                if let Err(error) = shared.lines.rewrite_with(compact).await {
                    shared.disk_trouble(&error).await;
                }
            });
        }
    }
}

impl Shared {
    fn lines_unsynced(&self, line: &Line) {
        let bytes = line.bytes();
        self.line_bytes.fetch_add(bytes.len() as u64, Relaxed);
        // Goes to the disk with the next line that matters.
        let _ = self.lines.push(&bytes);
    }
}

async fn frame(shared: &Shared, framing: Framing) {
    let Framing {
        key,
        part,
        segments,
        bytes,
        capacity,
        why,
    } = framing;
    shared.metrics.frames(why);
    if part.len() == 0 {
        let j = shared.debts(key.signal).and_then(|debts| debts.journal());
        let begun = Begun {
            part: part.id().to_owned(),
            class: key.class.to_string(),
            tenant: key.tenant.to_string(),
            signal: key.signal.as_str().to_owned(),
            hour: key.hour,
            rules: key.rules.to_string(),
            j: j.map(super::state::journal_name),
        };
        // A part that nobody knows of could not be salvaged.
        shared.line(&Line::Part(begun)).await;
    }
    let part = shared.compress(part, segments).await;
    shared.step("archive.frame").await;
    shared.gather.framed(&key, part, bytes, capacity);
}

/// Says that an object's records are safe, for as long as it takes.
async fn complete(shared: &Shared, logged: &Logged) {
    let Some(debts) = shared.debts(logged.signal) else {
        return;
    };
    while let Err(error) = debts.complete(&logged.token, &logged.set, Ending::Stored).await {
        if matches!(error, component::StoreError::Closed) {
            return;
        }
        shared.journal_trouble(&error);
        tokio::time::sleep(DISK_RETRY).await;
    }
}

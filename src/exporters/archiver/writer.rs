//! The log: entries reach the local disk, segments and signed heads the store.
//!
//! An entry counts once it is synced in `next.jsonl`. At each checkpoint the open segment is sealed and put, then a head
//! over it is signed and put; then `session.json` says so, and its lines leave `next.jsonl`. The name of a segment is
//! taken once: whoever finds other bytes under it is not alone, and never signs for this session again. A segment that
//! the store does not have after minutes is opened again and goes on: its end would be older than its arrival, which is
//! what entries that were dated back look like.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use component::Audit;
use evidence::digest::Digest;
use evidence::entry::{self, Kind};
use evidence::log::{Log, LogError, Segment};
use evidence::names::Origin;
use evidence::time::Time;
use objects::{Body, Class, ObjectStore, Put, PutOutcome, StoreError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::books::{self, Books};
use super::disk::{self, Lines, Ticket};
use super::edges::Edges;
use super::keys::{Keys, Signs};

/// `session.json`: what is known of a session whose last head is in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) v: u32,
    pub(super) origin: String,
    /// The log as far as that head.
    pub(super) log: evidence::log::State,
    pub(super) books: books::Saved,
    /// All numbers below it were given to objects,
    pub(super) next_seq: u64,
    /// but for these, which no entry names yet.
    pub(super) unnamed: Vec<u64>,
    /// Objects under that head, number and index, of which the state journal may not say so yet.
    pub(super) named: Vec<[u64; 2]>,
    /// The same of numbers that stand for nothing.
    pub(super) gaps: Vec<u64>,
    /// The last stop was orderly.
    pub(super) clean: bool,
    /// The journals of that time, one a signal.
    pub(super) journals: Vec<String>,
    /// Which key signs after that head.
    #[serde(default)]
    pub(super) signs: Signs,
}

/// Why a log goes no further.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Another process writes this session, or somebody took a name of it.
    #[error("the store has another segment under {key}: the session ends here")]
    Fenced { key: String },
    /// Our own disk.
    #[error("the state directory: {0}")]
    Disk(#[from] io::Error),
    /// It would be no log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store says no; what it may have, it has.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Writes one session's log.
pub(super) struct Writer {
    state: Mutex<State>,
    next: Lines,
    session_file: PathBuf,
    store: Arc<dyn ObjectStore>,
    keys: Arc<Keys>,
}

struct State {
    log: Log,
    keys: Arc<Keys>,
    /// Sealed, not under a head yet.
    sealed: VecDeque<Sealed>,
    books: Books,
    seqs: Seqs,
    /// When the last segment was sealed.
    beat: Instant,
    last_ledger: Instant,
    fenced: bool,
    /// Size under the last head in the store.
    covered: u64,
    /// Where the last segment in the store ends, and the tree's hash there.
    stored: (u64, Digest),
    journals: Vec<String>,
    /// Entries that name a number, until the state journal has that on the disk: by number their index, and whether it
    /// stands for nothing.
    untold: std::collections::BTreeMap<u64, (u64, bool)>,
    /// The gateway's audit trail; each segment names its newest record.
    audit: Option<Arc<dyn Audit>>,
    /// The record that the open segment names.
    anchored: Option<(u64, [u8; 32])>,
    edges: Edges,
}

struct Sealed {
    segment: Segment,
    session: Session,
    /// The log as it was before.
    before: Option<Log>,
}

/// Numbers of objects: dense, each given once.
#[derive(Clone, Debug, Default)]
pub(super) struct Seqs {
    next: u64,
    /// Below `next` and given to nobody.
    free: std::collections::BTreeSet<u64>,
    /// Given, and not named by an entry.
    unnamed: std::collections::BTreeSet<u64>,
}

impl Seqs {
    /// `unnamed` below `next`, of which those not in `used` are free again.
    pub(super) fn new(next: u64, unnamed: impl Iterator<Item = u64>, used: impl Fn(u64) -> bool) -> Seqs {
        let (unnamed, free) = unnamed.partition(|seq| used(*seq));
        Seqs { next, free, unnamed }
    }

    pub(super) fn give(&mut self) -> u64 {
        let seq = self.free.pop_first().unwrap_or(self.next);
        self.next = self.next.max(seq + 1);
        self.unnamed.insert(seq);
        seq
    }

    fn named(&mut self, seq: u64) {
        self.unnamed.remove(&seq);
    }

    /// Given and not named, as ranges.
    fn pend(&self) -> Vec<[u64; 2]> {
        let mut ranges: Vec<[u64; 2]> = Vec::new();
        // A number that is free was below one that was given: it will be given too.
        for seq in self.unnamed.union(&self.free) {
            match ranges.last_mut() {
                Some([_, to]) if *to + 1 == *seq => *to = *seq,
                _ => ranges.push([*seq, *seq]),
            }
        }
        ranges
    }
}

/// What a writer is made with.
pub(super) struct Begin<'a> {
    pub(super) dir: &'a Path,
    pub(super) log: Log,
    /// What `next.jsonl` held, sealed;
    pub(super) segments: Vec<Segment>,
    /// the log before the last of them was.
    pub(super) unsealed: Option<Log>,
    /// Bytes of it that count.
    pub(super) next_bytes: u64,
    pub(super) books: Books,
    pub(super) seqs: Seqs,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) keys: Arc<Keys>,
    pub(super) journals: Vec<String>,
    pub(super) covered: u64,
    pub(super) audit: Option<Arc<dyn Audit>>,
    pub(super) edges: Edges,
    /// The tree's hash there.
    pub(super) root: Digest,
}

/// The moment of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) now: Time,
    /// The store's clock minus ours.
    pub(super) skew_ms: Option<i64>,
    /// What protects what is put.
    pub(super) lock: objects::Lock,
}

/// How long the store is left alone after it said no.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A segment that waits for longer is opened again, in milliseconds: a verifier is content with 5 minutes.
const STALE_MS: i64 = 4 * 60_000;
/// Names of heads that strangers may have taken before it is for later.
const SQUATTED_MAX: usize = 8;

/// Whether a segment with this last entry is too old to be put as it is.
pub(super) fn is_stale(last: Time, now: Time) -> bool {
    now.since(last) > STALE_MS
}

impl Writer {
    pub(super) fn begin(begin: Begin<'_>) -> io::Result<Writer> {
        let mut state = State {
            log: begin.log,
            keys: begin.keys.clone(),
            sealed: VecDeque::new(),
            books: begin.books,
            seqs: begin.seqs,
            beat: Instant::now(),
            last_ledger: Instant::now(),
            fenced: false,
            covered: begin.covered,
            stored: (begin.covered, begin.root),
            journals: begin.journals,
            untold: Default::default(),
            audit: begin.audit,
            anchored: None,
            edges: begin.edges,
        };
        let last = begin.segments.len();
        let mut unsealed = begin.unsealed;
        for (n, segment) in begin.segments.into_iter().enumerate() {
            // The head goes over the last one, which is the whole log.
            let session = state.session(false);
            debug_assert!(n + 1 < last || segment.size == session.log.size);
            state.sealed.push_back(Sealed {
                segment,
                session,
                before: unsealed.take_if(|_| n + 1 == last),
            });
        }
        Ok(Writer {
            state: Mutex::new(state),
            next: Lines::open(&begin.dir.join("next.jsonl"), begin.next_bytes)?,
            session_file: begin.dir.join("session.json"),
            store: begin.store,
            keys: begin.keys,
        })
    }

    /// Writes a session down that is new.
    pub(super) async fn save_if_new(&self) -> io::Result<()> {
        let text = {
            let state = self.state.lock();
            if state.log.size() > 0 {
                return Ok(());
            }
            serde_json::to_vec(&state.session(false))?
        };
        let path = self.session_file.clone();
        disk::blocking(move || disk::replace(&path, &text)).await
    }

    /// Adds an entry; returns its index when it is on the disk.
    pub(super) async fn append(&self, kind: Kind, now: Time) -> Result<u64, Trouble> {
        let (index, ticket) = self.push(kind, now)?;
        self.sync(ticket).await;
        Ok(index)
    }

    /// The state journal has on the disk what the entry of this number says.
    pub(super) fn told(&self, seq: u64) {
        self.state.lock().untold.remove(&seq);
    }

    fn push(&self, kind: Kind, now: Time) -> Result<(u64, Ticket), Trouble> {
        let mut state = self.state.lock();
        let (named, archived) = match &kind {
            Kind::Obj(obj) => (
                Some(obj.seq),
                Some((obj.tenant.clone(), obj.signal.clone(), obj.n)),
            ),
            Kind::Gap(gap) => (gap.seq, None),
            _ => (None, None),
        };
        let appended = state.append(kind, now)?;
        if let Some(seq) = named {
            state.seqs.named(seq);
            state.untold.insert(seq, (appended.index, archived.is_none()));
        }
        if let Some((tenant, signal, n)) = archived {
            state.books.archive(&tenant, &signal, n);
        }
        Ok((appended.index, self.next.push(&appended.bytes)))
    }

    /// Tries until the disk takes it: what was appended cannot be taken back.
    async fn sync(&self, ticket: Ticket) {
        let mut told = false;
        while let Err(error) = self.next.sync(ticket).await {
            if !std::mem::replace(&mut told, true) {
                tracing::error!(%error, "the archive's log cannot be written, will retry");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    pub(super) fn with_books<T>(&self, work: impl FnOnce(&mut Books) -> T) -> T {
        work(&mut self.state.lock().books)
    }

    pub(super) fn give_seq(&self) -> u64 {
        self.state.lock().seqs.give()
    }

    pub(super) fn origin(&self) -> Origin {
        self.state.lock().log.origin().clone()
    }

    pub(super) fn journals(&self) -> Vec<String> {
        self.state.lock().journals.clone()
    }

    pub(super) fn size(&self) -> u64 {
        self.state.lock().log.size()
    }

    /// The session as far as the store has it.
    pub(super) fn stored(&self) -> entry::Head {
        let state = self.state.lock();
        entry::Head {
            session: state.log.origin().session().to_string(),
            size: state.stored.0,
            root: state.stored.1,
        }
    }

    /// What it tells of the rest of the gateway.
    pub(super) fn edges(&self) -> Edges {
        self.state.lock().edges.clone()
    }

    /// Its books.
    pub(super) fn books(&self) -> Books {
        self.state.lock().books.clone()
    }

    /// Entries under the last head in the store.
    pub(super) fn covered(&self) -> u64 {
        self.state.lock().covered
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.state.lock().fenced
    }

    /// The session is old or long enough.
    pub(super) fn is_due_to_roll(&self, now: Time) -> bool {
        let state = self.state.lock();
        !state.fenced && !state.log.is_closed() && state.log.is_due_to_roll(now)
    }

    /// Ends the session for good: nothing of it is on its way. Gives its head, which the next one names.
    pub(super) async fn end(&self, at: At) -> Result<entry::Head, Trouble> {
        if !self.state.lock().log.is_closed() {
            let ledgers = self.seal(at, Duration::ZERO, false)?;
            self.sync(ledgers).await;
            let close = Kind::Close(entry::Close {
                why: "rollover".into(),
                next_session: None,
            });
            self.append(close, at.now).await?;
        }
        self.close(at).await?;
        let state = self.state.lock();
        Ok(entry::Head {
            session: state.log.origin().session().to_string(),
            size: state.log.size(),
            root: state.log.root(),
        })
    }

    /// Whether a checkpoint would say something: there are entries behind the last head, or it is time for a sign of life.
    pub(super) fn is_due(&self, heartbeat: Duration) -> bool {
        let state = self.state.lock();
        !state.fenced
            && (state.log.open_entries() > 0
                || !state.sealed.is_empty()
                || state.books.len() > 0
                || state.beat.elapsed() >= heartbeat)
    }

    /// Writes the books down (unless the store still owes us the last head), seals, and puts segments and a head. Returns
    /// the size that is covered.
    ///
    /// Errors of the store may pass: the same again goes on where it stopped.
    pub(super) async fn checkpoint(&self, at: At, heartbeat: Duration) -> Result<u64, Trouble> {
        if self.is_fenced() {
            let key = self.state.lock().log.origin().to_string();
            return Err(Trouble::Fenced { key });
        }
        let ticket = self.seal(at, heartbeat, false)?;
        self.settle(ticket, at).await
    }

    /// Ends the session, or this process's part of it.
    pub(super) async fn close(&self, at: At) -> Result<u64, Trouble> {
        if self.is_fenced() {
            let key = self.state.lock().log.origin().to_string();
            return Err(Trouble::Fenced { key });
        }
        let ticket = self.seal(at, Duration::ZERO, true)?;
        self.settle(ticket, at).await
    }

    fn seal(&self, at: At, heartbeat: Duration, clean: bool) -> Result<Ticket, Trouble> {
        let mut state = self.state.lock();
        let bytes = state.seal(at, heartbeat, clean)?;
        Ok(self.next.push(&bytes))
    }

    /// Puts what is sealed, and a head over the last of it.
    async fn settle(&self, ticket: Ticket, at: At) -> Result<u64, Trouble> {
        self.sync(ticket).await;
        let mut squatted = 0;
        loop {
            let (segment, last, stale) = {
                let state = self.state.lock();
                let Some(first) = state.sealed.front() else {
                    return Ok(state.covered);
                };
                let stale = first.before.is_some() && is_stale(first.segment.last, at.now);
                (first.segment.clone(), state.sealed.len() == 1, stale)
            };
            if stale && self.is_missing(&segment.key).await? {
                let ticket = {
                    let mut state = self.state.lock();
                    state.reopen(at)?.map(|lines| self.next.push_anew(lines))
                };
                if let Some(ticket) = ticket {
                    self.sync(ticket).await;
                    continue;
                }
            }
            self.put_segment(&segment, at.lock).await?;
            storage::crash::point("archive.segment");
            self.state.lock().stored = (segment.size, segment.root);
            if last && !self.put_head(&segment, at.lock).await? {
                squatted += 1;
                if squatted > SQUATTED_MAX {
                    return Err(conflict(&segment.key).into());
                }
                let ticket = {
                    let mut state = self.state.lock();
                    let bytes = state.step_over(segment.size, at)?;
                    self.next.push(&bytes)
                };
                self.sync(ticket).await;
                continue;
            }
            storage::crash::point("archive.checkpoint");
            let done = self.state.lock().sealed.pop_front();
            if let (true, Some(done)) = (last, done) {
                return self.covered_now(&done).await;
            }
        }
    }

    async fn is_missing(&self, key: &str) -> Result<bool, StoreError> {
        match self.store.head(key, None).await {
            Ok(_) => Ok(false),
            Err(error) if error.class == Class::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Signs and puts a head over a segment; false if somebody else took its name.
    async fn put_head(&self, segment: &Segment, lock: objects::Lock) -> Result<bool, Trouble> {
        let signers = self.keys.signers(segment.size);
        let signers: Vec<_> = signers.iter().map(|signer| &**signer).collect();
        let signed = self.state.lock().log.checkpoint(segment, &signers);
        let signed = signed.map_err(|e| io::Error::other(e.to_string()))?;
        let (body, put) = put(signed.note.clone().into(), "text/plain; charset=utf-8", lock);
        match self.store.put(&signed.key, body, &put).await? {
            PutOutcome::Stored(_) => Ok(true),
            PutOutcome::Conflict => Err(conflict(&signed.key).into()),
            PutOutcome::Exists => {
                let ours = self.holds(&signed.key, signed.note.as_bytes()).await?;
                if !ours {
                    tracing::error!(
                        key = signed.key,
                        "somebody took the name of a head of the archive's log"
                    );
                }
                Ok(ours)
            }
        }
    }

    /// Whether the store has these bytes under a key.
    async fn holds(&self, key: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        let found = self.store.get(key, None).await?;
        Ok(match found.head.size == bytes.len() as u64 {
            true => found.body.collect(bytes.len() as u64).await? == bytes,
            false => false,
        })
    }

    /// A head is in the store: says so on the disk.
    async fn covered_now(&self, done: &Sealed) -> Result<u64, Trouble> {
        let mut session = done.session.clone();
        // Their lines leave `next.jsonl`, and the state journal may be behind.
        for (seq, (index, gap)) in &self.state.lock().untold {
            match gap {
                _ if *index >= done.segment.size => {}
                true => session.gaps.push(*seq),
                false => session.named.push([*seq, *index]),
            }
        }
        let text = serde_json::to_vec(&session).map_err(io::Error::from)?;
        let path = self.session_file.clone();
        disk::blocking(move || disk::replace(&path, &text)).await?;
        storage::crash::point("archive.key.covered");
        if let Err(error) = self.keys.covered(done.segment.size, &done.session.signs).await {
            tracing::error!(%error, "the log's new key signs, and is not at its place on the disk yet");
        }
        self.state.lock().covered = done.segment.size;
        self.trim(done.segment.size).await?;
        Ok(done.segment.size)
    }

    /// Takes the lines below `size` out of `next.jsonl`.
    async fn trim(&self, size: u64) -> Result<(), Trouble> {
        let keep = move |content: Vec<u8>| from_index(&content, size).to_vec();
        self.next.rewrite_with(keep).await?;
        Ok(())
    }

    async fn put_segment(&self, segment: &Segment, lock: objects::Lock) -> Result<(), Trouble> {
        let (body, put) = put(segment.bytes.clone().into(), "application/jsonl", lock);
        match self.store.put(&segment.key, body, &put).await? {
            PutOutcome::Stored(_) => Ok(()),
            PutOutcome::Conflict => Err(conflict(&segment.key).into()),
            PutOutcome::Exists => {
                if self.holds(&segment.key, &segment.bytes).await? {
                    return Ok(());
                }
                self.state.lock().fenced = true;
                let key = segment.key.clone();
                Err(Trouble::Fenced { key })
            }
        }
    }
}

fn put(bytes: bytes::Bytes, content_type: &str, lock: objects::Lock) -> (Body, Put) {
    let put = Put {
        sha256: evidence::digest::sha256(&bytes).0,
        content_type: content_type.to_owned(),
        lock,
        if_absent: true,
        ..Put::default()
    };
    (Body::Bytes(bytes), put)
}

fn conflict(key: &str) -> StoreError {
    let message = format!("somebody writes {key} at this moment");
    StoreError::new(Class::Retry { after: None }, "put", message)
}

/// How long to wait before the `tries`-th time.
pub(super) fn backoff(tries: u32) -> Duration {
    RETRY.saturating_mul(1 << tries.min(5)).min(RETRY_MAX)
}

impl State {
    /// Appends, sealing a full segment first. The newest audit record is named as soon as a segment has begun.
    fn append(&mut self, kind: Kind, now: Time) -> Result<evidence::log::Appended, LogError> {
        let (is_last, is_key) = (matches!(kind, Kind::Close(_)), matches!(kind, Kind::Key(_)));
        let mut before = match is_last && self.anchored.is_none() {
            true => self.anchor(now)?,
            false => Vec::new(),
        };
        let mut appended = match self.log.append(kind.clone(), now) {
            Err(LogError::Full) => {
                self.seal_segment(false);
                self.log.append(kind, now)?
            }
            done => done?,
        };
        if is_key {
            self.keys.announced(appended.index);
        }
        if !before.is_empty() {
            before.append(&mut appended.bytes);
            appended.bytes = before;
        }
        if self.anchored.is_none() && !is_last {
            appended.bytes.append(&mut self.anchor(now)?);
        }
        Ok(appended)
    }

    /// Names the newest audit record, unless the segment does so already. Gives the lines, if there are any.
    fn anchor(&mut self, now: Time) -> Result<Vec<u8>, LogError> {
        let head = self.audit.as_ref().and_then(|audit| audit.head());
        let Some((seq, hash)) = head.filter(|_| head != self.anchored) else {
            return Ok(Vec::new());
        };
        let hash_of = Digest(hash);
        let appended = self
            .log
            .append(Kind::Audit(entry::Audit { seq, hash: hash_of }), now)?;
        self.anchored = Some((seq, hash));
        Ok(appended.bytes)
    }

    /// Ends the open segment, if there is one.
    fn seal_segment(&mut self, clean: bool) {
        let before = (self.log.open_entries() > 0).then(|| self.log.clone());
        if let Some(segment) = self.log.seal() {
            let session = self.session(clean);
            self.sealed.push_back(Sealed {
                segment,
                session,
                before,
            });
            self.anchored = None;
        }
    }

    /// Writes the books down, and seals; gives the lines that this took.
    fn seal(&mut self, at: At, heartbeat: Duration, clean: bool) -> Result<Vec<u8>, LogError> {
        /// With more rows than this the books are written at heartbeats only.
        const ROWS_EACH_TIME: usize = 500;
        let beats = self.beat.elapsed() >= heartbeat;
        let writes_books = self.books.len() + self.edges.len() <= ROWS_EACH_TIME
            || self.last_ledger.elapsed() >= heartbeat
            || clean;
        let mut bytes = Vec::new();
        if self.sealed.is_empty() && writes_books && !self.log.is_closed() {
            let anyway = beats || self.log.open_entries() > 0;
            bytes = self.write_books(at, anyway)?;
        }
        bytes.extend(self.anchor_last(at.now)?);
        if self.log.open_entries() > 0 {
            self.seal_segment(clean);
            self.beat = Instant::now();
        }
        Ok(bytes)
    }

    /// Names the newest audit record in a segment that is about to end.
    fn anchor_last(&mut self, now: Time) -> Result<Vec<u8>, LogError> {
        if self.log.open_entries() == 0 || self.log.is_closed() {
            return Ok(Vec::new());
        }
        match self.anchor(now) {
            // It names one already, if an older one.
            Err(LogError::Full) => Ok(Vec::new()),
            done => done,
        }
    }

    fn write_books(&mut self, at: At, anyway: bool) -> Result<Vec<u8>, LogError> {
        let mut bytes = Vec::new();
        let pend = self.seqs.pend();
        for ledger in self
            .books
            .close(at.now, pend, at.skew_ms, anyway, || self.edges.since())
        {
            bytes.extend(self.append(Kind::Ledger(ledger), at.now)?.bytes);
            self.last_ledger = Instant::now();
        }
        Ok(bytes)
    }

    /// Opens the first sealed segment again, which the store does not have, and ends it with an entry of now; gives all
    /// lines that no head covers. None if it cannot be: the log has ended, or something before it is in the store.
    ///
    /// Entries move to lower places, for a segment's head goes away: who was told a place knows one that is no lower.
    fn reopen(&mut self, at: At) -> Result<Option<Vec<u8>>, LogError> {
        let starts_there = |first: &Sealed| first.segment.start == self.covered;
        if self.log.is_closed() || !self.sealed.front().is_some_and(starts_there) {
            return Ok(None);
        }
        let clean = self.sealed.back().is_some_and(|last| last.session.clean);
        let Some(before) = self.sealed.front_mut().and_then(|first| first.before.take()) else {
            return Ok(None);
        };
        let mut later: Vec<u8> = Vec::new();
        for sealed in self.sealed.drain(..).skip(1) {
            later.extend(sealed.segment.bytes);
        }
        later.extend_from_slice(self.log.open_bytes());
        (self.log, self.anchored) = (before, None);
        let mut lines = self.log.open_bytes().to_vec();
        for line in later.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let entry = entry::Entry::parse(line)?;
            let seq = match &entry.kind {
                // Made again, as they are by then.
                Kind::Seg(_) | Kind::Audit(_) => continue,
                Kind::Obj(obj) => Some(obj.seq),
                Kind::Gap(gap) => gap.seq,
                _ => None,
            };
            let appended = self.append(entry.kind, entry.t)?;
            if let Some(untold) = seq.and_then(|seq| self.untold.get_mut(&seq)) {
                untold.0 = appended.index;
            }
            lines.extend(appended.bytes);
        }
        lines.extend(self.write_books(at, true)?);
        lines.extend(self.anchor_last(at.now)?);
        self.seal_segment(clean);
        Ok(Some(lines))
    }

    /// The head over this size has no name of its own: the next one is over more.
    fn step_over(&mut self, size: u64, at: At) -> Result<Vec<u8>, LogError> {
        self.sealed.pop_front();
        let mut bytes = Vec::new();
        if self.log.open_entries() == 0 && !self.log.is_closed() {
            let note = entry::Note {
                by: None,
                text: format!("the name of the head over {size} entries is taken by a stranger"),
            };
            bytes = self.append(Kind::Note(note), at.now)?.bytes;
        }
        self.seal_segment(false);
        Ok(bytes)
    }

    /// What is true once a head over all that is sealed is in the store.
    fn session(&self, clean: bool) -> Session {
        let log = self.log.state().expect("the open segment was just sealed");
        Session {
            v: 1,
            origin: self.log.origin().to_string(),
            books: self.books.save(),
            next_seq: self.seqs.next,
            unnamed: self.seqs.unnamed.union(&self.seqs.free).copied().collect(),
            named: Vec::new(),
            gaps: Vec::new(),
            clean,
            journals: self.journals.clone(),
            signs: self.keys.signs_after(log.size, log.last),
            log,
        }
    }
}

/// The lines of entries from this index on.
pub(super) fn from_index(lines: &[u8], size: u64) -> &[u8] {
    let mut at = 0;
    for line in lines.split_inclusive(|b| *b == b'\n') {
        match entry::Entry::parse(line.strip_suffix(b"\n").unwrap_or(line)) {
            Ok(entry) if entry.i < size => at += line.len(),
            _ => break,
        }
    }
    &lines[at..]
}

//! The log: entries reach the local disk, segments and signed heads the store.
//!
//! An entry counts once it is synced in `next.jsonl`. At each checkpoint the open segment is sealed and put, then a head
//! over it is signed and put; then `session.json` says so, and its lines leave `next.jsonl`. The name of a segment is
//! taken once: whoever finds other bytes under it is not alone, and never signs for this session again.

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
use evidence::note::Signer;
use evidence::time::Time;
use objects::{Body, Class, ObjectStore, Put, PutOutcome, StoreError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::books::{self, Books};
use super::disk::{self, Lines, Ticket};

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
    signer: Arc<Signer>,
}

struct State {
    log: Log,
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
    journals: Vec<String>,
    /// Entries that name a number, by index, until the state journal has that on the disk: the number, and whether it
    /// stands for nothing.
    untold: std::collections::BTreeMap<u64, (u64, bool)>,
    /// The gateway's audit trail; each segment names its newest record.
    audit: Option<Arc<dyn Audit>>,
    /// The record that the open segment names.
    anchored: Option<(u64, [u8; 32])>,
}

struct Sealed {
    segment: Segment,
    session: Session,
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
    /// What `next.jsonl` held, sealed.
    pub(super) segments: Vec<Segment>,
    /// Bytes of it that count.
    pub(super) next_bytes: u64,
    pub(super) books: Books,
    pub(super) seqs: Seqs,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) signer: Arc<Signer>,
    pub(super) journals: Vec<String>,
    pub(super) covered: u64,
    pub(super) audit: Option<Arc<dyn Audit>>,
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

impl Writer {
    pub(super) fn begin(begin: Begin<'_>) -> io::Result<Writer> {
        let mut state = State {
            log: begin.log,
            sealed: VecDeque::new(),
            books: begin.books,
            seqs: begin.seqs,
            beat: Instant::now(),
            last_ledger: Instant::now(),
            fenced: false,
            covered: begin.covered,
            journals: begin.journals,
            untold: Default::default(),
            audit: begin.audit,
            anchored: None,
        };
        let last = begin.segments.len();
        for (n, segment) in begin.segments.into_iter().enumerate() {
            // The head goes over the last one, which is the whole log.
            let session = state.session(false);
            debug_assert!(n + 1 < last || segment.size == session.log.size);
            state.sealed.push_back(Sealed { segment, session });
        }
        Ok(Writer {
            state: Mutex::new(state),
            next: Lines::open(&begin.dir.join("next.jsonl"), begin.next_bytes)?,
            session_file: begin.dir.join("session.json"),
            store: begin.store,
            signer: begin.signer,
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

    /// The state journal has on the disk what this entry says.
    pub(super) fn told(&self, index: u64) {
        self.state.lock().untold.remove(&index);
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
            state.untold.insert(appended.index, (seq, archived.is_none()));
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
        self.settle(ticket, at.lock).await
    }

    /// Ends the session, or this process's part of it.
    pub(super) async fn close(&self, at: At) -> Result<u64, Trouble> {
        if self.is_fenced() {
            let key = self.state.lock().log.origin().to_string();
            return Err(Trouble::Fenced { key });
        }
        let ticket = self.seal(at, Duration::ZERO, true)?;
        self.settle(ticket, at.lock).await
    }

    fn seal(&self, at: At, heartbeat: Duration, clean: bool) -> Result<Ticket, Trouble> {
        let At { now, skew_ms, .. } = at;
        /// With more rows than this the books are written at heartbeats only.
        const ROWS_EACH_TIME: usize = 500;
        let mut state = self.state.lock();
        let mut bytes = Vec::new();
        let beats = state.beat.elapsed() >= heartbeat;
        let writes_books =
            state.books.len() <= ROWS_EACH_TIME || state.last_ledger.elapsed() >= heartbeat || clean;
        if state.sealed.is_empty() && writes_books && !state.log.is_closed() {
            let anyway = beats || state.log.open_entries() > 0;
            let pend = state.seqs.pend();
            for ledger in state.books.close(now, pend, skew_ms, anyway) {
                let appended = state.append(Kind::Ledger(ledger), now)?;
                bytes.extend_from_slice(&appended.bytes);
                state.last_ledger = Instant::now();
            }
        }
        if state.log.open_entries() > 0 && !state.log.is_closed() {
            match state.anchor(now) {
                Ok(anchor) => bytes.extend_from_slice(&anchor),
                // It names one already, if an older one.
                Err(LogError::Full) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if state.seal(clean) {
            state.beat = Instant::now();
        }
        Ok(self.next.push(&bytes))
    }

    /// Puts what is sealed, and a head over the last of it.
    async fn settle(&self, ticket: Ticket, lock: objects::Lock) -> Result<u64, Trouble> {
        self.sync(ticket).await;
        loop {
            let head = {
                let state = self.state.lock();
                let Some(first) = state.sealed.front() else {
                    return Ok(state.covered);
                };
                (first.segment.clone(), state.sealed.len() == 1)
            };
            let (segment, last) = head;
            self.put_segment(&segment, lock).await?;
            if last {
                let signed = {
                    let state = self.state.lock();
                    state.log.checkpoint(&segment, &[&self.signer])
                };
                let signed = signed.map_err(|e| io::Error::other(e.to_string()))?;
                let (body, put) = put(signed.note.clone().into(), "text/plain; charset=utf-8", lock);
                match self.store.put(&signed.key, body, &put).await? {
                    // A name that somebody else took is covered by the next head: ours is above more by then.
                    PutOutcome::Stored(_) | PutOutcome::Exists => {}
                    PutOutcome::Conflict => return Err(conflict(&signed.key).into()),
                }
            }
            let done = self.state.lock().sealed.pop_front();
            if let (true, Some(done)) = (last, done) {
                return self.covered_now(&done).await;
            }
        }
    }

    /// A head is in the store: says so on the disk.
    async fn covered_now(&self, done: &Sealed) -> Result<u64, Trouble> {
        let mut session = done.session.clone();
        // Their lines leave `next.jsonl`, and the state journal may be behind.
        for (index, (seq, gap)) in self.state.lock().untold.range(..done.segment.size) {
            match gap {
                true => session.gaps.push(*seq),
                false => session.named.push([*seq, *index]),
            }
        }
        let text = serde_json::to_vec(&session).map_err(io::Error::from)?;
        let path = self.session_file.clone();
        disk::blocking(move || disk::replace(&path, &text)).await?;
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
                let found = self.store.get(&segment.key, None).await?;
                let max = evidence::log::SEGMENT_BYTES_MAX as u64;
                let same = match found.head.size == segment.bytes.len() as u64 {
                    true => found.body.collect(max).await? == segment.bytes,
                    false => false,
                };
                if same {
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
        sha256: super::spool::sha256(&bytes),
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
        let is_last = matches!(kind, Kind::Close(_));
        let mut before = match is_last && self.anchored.is_none() {
            true => self.anchor(now)?,
            false => Vec::new(),
        };
        let mut appended = match self.log.append(kind.clone(), now) {
            Err(LogError::Full) => {
                self.seal(false);
                self.log.append(kind, now)?
            }
            done => done?,
        };
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

    /// Ends the open segment; false if there is none.
    fn seal(&mut self, clean: bool) -> bool {
        let Some(segment) = self.log.seal() else {
            return false;
        };
        let session = self.session(clean);
        self.sealed.push_back(Sealed { segment, session });
        self.anchored = None;
        true
    }

    /// What is true once a head over all that is sealed is in the store.
    fn session(&self, clean: bool) -> Session {
        Session {
            v: 1,
            origin: self.log.origin().to_string(),
            log: self.log.state().expect("the open segment was just sealed"),
            books: self.books.save(),
            next_seq: self.seqs.next,
            unnamed: self.seqs.unnamed.union(&self.seqs.free).copied().collect(),
            named: Vec::new(),
            gaps: Vec::new(),
            clean,
            journals: self.journals.clone(),
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

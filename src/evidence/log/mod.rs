//! The writer's side: entries become a tree, segments and heads. Pure state; who calls it writes the files.
//!
//! The order that loses nothing: [`Log::append`], make the bytes durable in `next.jsonl`; [`Log::seal`], put the segment,
//! then put the [`SignedHead`] over it; then save [`Log::state`] and drop the segment's lines from `next.jsonl`. After a
//! crash [`Log::resume`] reads the last state and whatever `next.jsonl` holds, and gives the segments that the store may
//! or may not have, byte for byte as they were. A state that is lost is made again of the segments by [`Log::replay`].

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, sha256};
use crate::entry::{Entry, EntryError, Kind, LINE_BYTES_MAX, Prev, Seg};
use crate::names::Origin;
use crate::note::{NoteError, SignedHead, Signer};
use crate::time::Time;
use crate::tree::Tree;

/// A segment is at most this long.
pub const SEGMENT_BYTES_MAX: usize = 4 << 20;
/// A segment has at most so many entries.
pub const SEGMENT_ENTRIES_MAX: u64 = 1_000;
/// A session has at most so many entries,
pub const SESSION_ENTRIES_MAX: u64 = 1_000_000;
/// and lives at most so long, in milliseconds: 30 days.
pub const SESSION_MILLIS_MAX: i64 = 30 * 86_400_000;

/// A session's log as its writer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    origin: Origin,
    tree: Tree,
    /// Index of the open segment's first entry.
    start: u64,
    /// Lines of the open segment, each with its newline.
    open: Vec<u8>,
    prev: Option<Prev>,
    last: Option<Time>,
    first: Option<Time>,
    closed: bool,
}

/// What is left of a log when its last segment is sealed; a few hundred bytes, to be kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Entries.
    pub size: u64,
    /// Hashes of the tree's complete subtrees.
    pub subtrees: Vec<Digest>,
    /// The last segment, and the root above it.
    pub prev: Option<Prev>,
    /// Time of the first entry.
    pub first: Option<Time>,
    /// Time of the last entry.
    pub last: Option<Time>,
    /// Whether the session has ended.
    pub closed: bool,
}

/// What an append has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The entry's index.
    pub index: u64,
    /// Its time.
    pub t: Time,
    /// To be appended to `next.jsonl`: the entry's line and newline, before it that of the segment if it is the first.
    pub bytes: Vec<u8>,
}

/// A segment as it goes into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Key below the store's prefix.
    pub key: String,
    /// Index of its first entry.
    pub start: u64,
    /// Entries of the log with it.
    pub size: u64,
    /// Of the whole file.
    pub sha256: Digest,
    /// The tree's hash at `size`.
    pub root: Digest,
    /// Content of the file.
    pub bytes: Vec<u8>,
    /// Time of its last entry.
    pub last: Time,
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Seal first.
    #[error("the segment is full")]
    Full,
    /// Open another session.
    #[error("the session is closed")]
    Closed,
    /// Segments begin by themselves.
    #[error("a log writes its own seg entries")]
    Seg,
    /// It would be no entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// What is on disk is not what was written.
    #[error("line {line} of the log: {what}")]
    Corrupt {
        /// Counted from 1 within what was given.
        line: usize,
        /// For people.
        what: String,
    },
}

/// A log after a restart.
#[derive(Debug)]
pub struct Resumed {
    /// Ready to append to a new segment.
    pub log: Log,
    /// What `next.jsonl` held, in order: put each (the store may have it already), and a head over each or over the last.
    pub segments: Vec<Segment>,
    /// Entries that they hold, in order.
    pub entries: Vec<Entry>,
    /// Bytes of whole lines; what comes after is a torn line that nobody was promised, to be cut off.
    pub whole: usize,
    /// The log with the last of the segments still open: for whoever knows that the store does not have it.
    pub unsealed: Option<Log>,
}

impl Log {
    /// A new session's log. Its first entry should be [`Kind::Open`].
    pub fn open(origin: Origin) -> Log {
        Log {
            origin,
            tree: Tree::default(),
            start: 0,
            open: Vec::new(),
            prev: None,
            last: None,
            first: None,
            closed: false,
        }
    }

    /// A log after a restart: its last saved state, and the lines of `next.jsonl`, which are all sealed, for the store
    /// may have them as they are.
    ///
    /// Errors: [`LogError::Corrupt`] if the state fits no tree, or a whole line does not follow from what is before it.
    pub fn resume(origin: Origin, state: &State, next: &[u8]) -> Result<Resumed, LogError> {
        let tree = Tree::resume(state.size, state.subtrees.clone());
        let tree = tree.ok_or_else(|| corrupt(0, "the state's hashes do not fit its size"))?;
        let fits = match &state.prev {
            None => state.size == 0,
            Some(prev) => prev.start < state.size && prev.root == tree.root(),
        };
        if !fits {
            return Err(corrupt(0, "the state's last segment does not fit its tree"));
        }
        let log = Log {
            origin,
            tree,
            start: state.size,
            open: Vec::new(),
            prev: state.prev.clone(),
            last: state.last,
            first: state.first,
            closed: state.closed,
        };
        log.follow(next)
    }

    /// A log whose state is lost, made again of its segments' bytes in order. They must all be there, from 0.
    pub fn replay<'a>(origin: Origin, segments: impl IntoIterator<Item = &'a [u8]>) -> Result<Log, LogError> {
        let mut log = Log::open(origin);
        for bytes in segments {
            let resumed = log.follow(bytes)?;
            if resumed.whole != bytes.len() {
                return Err(corrupt(resumed.entries.len() + 1, "no newline at the end"));
            }
            log = resumed.log;
        }
        Ok(log)
    }

    fn follow(mut self, next: &[u8]) -> Result<Resumed, LogError> {
        let whole = next.iter().rposition(|c| *c == b'\n').map_or(0, |at| at + 1);
        let (mut segments, mut entries) = (Vec::new(), Vec::new());
        for (n, line) in next[..whole].split_inclusive(|c| *c == b'\n').enumerate() {
            let line = &line[..line.len() - 1];
            let entry = Entry::parse(line).map_err(|e| corrupt(n + 1, &e.to_string()))?;
            if let Kind::Seg(seg) = &entry.kind {
                segments.extend(self.seal());
                if *seg != self.seg() {
                    return Err(corrupt(n + 1, "the segment does not follow the one before"));
                }
            } else if self.open.is_empty() {
                return Err(corrupt(n + 1, "a segment begins without a seg entry"));
            }
            if entry.i != self.tree.size() || self.last.is_some_and(|last| entry.t < last) {
                return Err(corrupt(n + 1, "an index or a time out of order"));
            }
            self.take(&entry, line);
            entries.push(entry);
        }
        let unsealed = (!self.open.is_empty()).then(|| self.clone());
        segments.extend(self.seal());
        Ok(Resumed {
            unsealed,
            log: self,
            segments,
            entries,
            whole,
        })
    }

    /// Adds an entry. Its time is `now`, or that of the entry before if that is later.
    ///
    /// Errors: nothing has changed then. After [`LogError::Full`] seal and try again.
    pub fn append(&mut self, kind: Kind, now: Time) -> Result<Appended, LogError> {
        if self.closed {
            return Err(LogError::Closed);
        }
        if matches!(kind, Kind::Seg(_)) {
            return Err(LogError::Seg);
        }
        let t = self.last.map_or(now, |last| last.max(now));
        let seg = self.open.is_empty().then(|| Entry {
            i: self.tree.size(),
            t,
            kind: Kind::Seg(self.seg()),
        });
        let entry = Entry {
            i: self.tree.size() + u64::from(seg.is_some()),
            t,
            kind,
        };
        let line = entry.write()?;
        if !self.has_room(line.len()) {
            return Err(LogError::Full);
        }
        let mut bytes = Vec::with_capacity(line.len() + 1);
        if let Some(seg) = seg {
            let line = seg.write()?;
            self.take(&seg, line.as_bytes());
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        self.take(&entry, line.as_bytes());
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        let index = entry.i;
        Ok(Appended { index, t, bytes })
    }

    /// Ends the open segment; none if it has no entry.
    pub fn seal(&mut self) -> Option<Segment> {
        let last = self.last?;
        if self.open.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.open);
        let segment = Segment {
            key: self.origin.segment_key(self.start),
            start: self.start,
            size: self.tree.size(),
            sha256: sha256(&bytes),
            root: self.tree.root(),
            bytes,
            last,
        };
        self.prev = Some(Prev {
            start: segment.start,
            sha256: segment.sha256,
            root: segment.root,
        });
        self.start = segment.size;
        Some(segment)
    }

    /// A signed head over a sealed segment, by one key, or by two when a `key` entry stands under it for the first time.
    pub fn checkpoint(&self, segment: &Segment, signers: &[&Signer]) -> Result<SignedHead, NoteError> {
        SignedHead::new(&self.origin, segment.size, segment.root, signers)
    }

    /// Whose log it is.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Entries, those of the open segment among them.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Entries of the open segment, its `seg` entry among them.
    pub fn open_entries(&self) -> u64 {
        self.tree.size() - self.start
    }

    /// The open segment's lines: what `next.jsonl` must hold.
    pub fn open_bytes(&self) -> &[u8] {
        &self.open
    }

    /// Whether a line of the greatest length would still fit the open segment. If not, seal.
    pub fn is_full(&self) -> bool {
        !self.has_room(LINE_BYTES_MAX)
    }

    /// Whether the session should be closed and succeeded: it is 30 days old, or one more segment might not fit.
    pub fn is_due_to_roll(&self, now: Time) -> bool {
        let old = self
            .first
            .is_some_and(|first| now.since(first) >= SESSION_MILLIS_MAX);
        old || self.size() >= SESSION_ENTRIES_MAX - 2 * SEGMENT_ENTRIES_MAX
    }

    /// Whether it ended with a `close` entry.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// What to keep on disk once the last segment is sealed. None while one is open.
    pub fn state(&self) -> Option<State> {
        self.open.is_empty().then(|| State {
            size: self.tree.size(),
            subtrees: self.tree.subtrees().to_vec(),
            prev: self.prev.clone(),
            first: self.first,
            last: self.last,
            closed: self.closed,
        })
    }

    /// The tree's hash over all entries.
    pub fn root(&self) -> Digest {
        self.tree.root()
    }

    fn seg(&self) -> Seg {
        Seg {
            start: self.start,
            prev: self.prev.clone(),
        }
    }

    fn has_room(&self, line_bytes: usize) -> bool {
        // A seg entry takes about 250 bytes.
        let bytes = self.open.len().max(300) + line_bytes + 1;
        self.open_entries().max(1) < SEGMENT_ENTRIES_MAX && bytes <= SEGMENT_BYTES_MAX
    }

    fn take(&mut self, entry: &Entry, line: &[u8]) {
        self.tree.push(line);
        self.open.extend_from_slice(line);
        self.open.push(b'\n');
        self.last = Some(entry.t);
        self.first.get_or_insert(entry.t);
        self.closed |= matches!(entry.kind, Kind::Close(_));
    }
}

fn corrupt(line: usize, what: &str) -> LogError {
    let what = what.to_owned();
    LogError::Corrupt { line, what }
}

#[cfg(test)]
mod tests;

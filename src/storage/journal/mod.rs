//! One append-only log for all durable queues of a storage: each record is written once, for many destinations.
//!
//! ```text
//! reserve (room in every destination) -> append (one write, one sync for all who came meanwhile) -> the answer is safe
//! read -> complete (destination, items) ... until nobody is owed anything: then the segment goes
//! ```
//!
//! A record is opaque but for its [`Head`]. A destination may complete it in pieces. After a crash everything that was
//! answered is there again, and what was completed in the last moments may be owed once more. After a failed sync the
//! file is never written again: what it owed its callers goes to a new one.

pub mod disk;
pub mod sim;

mod append;
mod claim;
mod completion;
mod format;
mod recover;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use append::Job;
pub use claim::Claim;
use claim::Claims;
use disk::Disk;
pub use format::{DestId, Head, Seq};
pub use recover::Found;
use state::{Held, State};

/// How a journal behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Size of a segment. A record that is larger has one of its own.
    pub segment_bytes: u64,
    /// The most that all files may take; beyond it the journal is full.
    pub bytes_max: Option<u64>,
    /// Answers only what is safe against a power failure. Without it: against the end of the process.
    pub sync: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            bytes_max: None,
            sync: true,
        }
    }
}

/// The most that one destination may be owed. `None` = no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Records.
    pub records: Option<u64>,
    /// Items.
    pub items: Option<u64>,
    /// Bytes of records, with what stands around them.
    pub bytes: Option<u64>,
}

/// Why something could not be done. None of it has been taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk, or what the journal may take of it.
    #[error("the disk is full")]
    Full,
    /// The file system takes no writes.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The record is larger than any may be.
    #[error("{len} bytes are more than the journal takes at once")]
    TooLarge {
        /// Its length.
        len: usize,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// What lies on the disk is not what was written.
    #[error("record {} is damaged", seq.0)]
    Damaged {
        /// Which.
        seq: Seq,
    },
    /// Nobody is owed this record any more.
    #[error("record {} is not in the journal", seq.0)]
    Gone {
        /// Which.
        seq: Seq,
    },
    /// Written by another version of Weir.
    #[error(
        "{file} has format version {version}, and this is made for {}",
        format::VERSION
    )]
    Version {
        /// Which file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// Anything else that a disk says.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    fn io(doing: &'static str, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full,
            io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly,
            _ => Error::Io { doing, source },
        }
    }

    /// The same for one more caller.
    fn again(&self) -> Error {
        match self {
            Error::Full => Error::Full,
            Error::ReadOnly => Error::ReadOnly,
            Error::Io { doing, source } => Error::Io {
                doing,
                source: io::Error::new(source.kind(), source.to_string()),
            },
            _ => Error::Closed,
        }
    }
}

/// Who has no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// These destinations are owed as much as they may be.
    Destinations(Vec<DestId>),
    /// The journal as a whole.
    Journal,
}

/// What a destination is owed, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Number.
    pub id: DestId,
    /// Name.
    pub name: String,
    /// Records that are owed, whole or in part.
    pub records: u64,
    /// Items that are owed.
    pub items: u64,
    /// Bytes of these records.
    pub bytes: u64,
}

/// A record that is owed to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Number; in order of writing.
    pub seq: Seq,
    /// What the writer said that it holds.
    pub kind: u8,
    /// Items of the whole record.
    pub items: u32,
    /// Whose it is.
    pub tenant: Option<Arc<str>>,
    /// Bytes in the journal.
    pub bytes: u64,
    /// Which items are owed.
    pub remaining: Vec<Range<u32>>,
}

/// A journal. Clones are the same one; it is closed by [`Journal::close`], or when the last of them goes.
#[derive(Clone)]
pub struct Journal(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    options: Options,
    state: Mutex<State>,
    /// Told when there is something to do.
    work: Condvar,
    claims: Claims,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close(self.committer.lock().take());
    }
}

impl Shared {
    fn close(&self, committer: Option<JoinHandle<()>>) {
        self.state.lock().closing = true;
        self.work.notify_all();
        if let Some(committer) = committer
            && committer.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
    }
}

/// Room that is set aside for one record. Given back when dropped.
pub struct Room {
    shared: Arc<Shared>,
    destinations: Vec<DestId>,
    held: Held,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shared.state.lock().unreserve(&self.destinations, self.held);
    }
}

impl Journal {
    /// Opens what is there, or begins anew; starts the thread that writes. Blocks while it reads: indexes, and the
    /// records of the last segment.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Journal, Found), Error> {
        let (state, found) = recover::recover(&*disk)?;
        let shared = Arc::new(Shared {
            disk,
            options,
            state: Mutex::new(state),
            work: Condvar::new(),
            claims: Claims::default(),
        });
        let writer = append::Writer::new(shared.clone());
        let committer = std::thread::Builder::new()
            .name("weir-journal".into())
            .spawn(move || writer.run())
            .map_err(|e| Error::io("start the journal's thread", e))?;
        let handle = Handle {
            shared,
            committer: Mutex::new(Some(committer)),
        };
        Ok((Journal(Arc::new(handle)), found))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// The destination of this name, made if it is new; with this quota from now on. Blocks on the disk.
    pub fn destination(&self, name: &str, quota: Quota) -> Result<DestId, Error> {
        let mut state = self.shared().state.lock();
        if let Some(id) = state.find(name) {
            state.set_quota(id, quota);
            return Ok(id);
        }
        let table = state.table_with(name);
        recover::write_table(&*self.shared().disk, &table)?;
        Ok(state.add(name.to_owned(), quota))
    }

    /// All destinations that there ever were, with what they are owed.
    pub fn destinations(&self) -> Vec<Destination> {
        self.shared().state.lock().destinations()
    }

    /// What a destination is owed, in order.
    pub fn owed(&self, destination: DestId) -> Vec<Owed> {
        self.shared().state.lock().owed(destination)
    }

    /// Which items of a record are owed to a destination; none if it is done with it.
    pub fn remaining(&self, seq: Seq, destination: DestId) -> Vec<Range<u32>> {
        self.shared().state.lock().remaining(seq, destination)
    }

    /// The last record that somebody is owed. Records that are appended later have higher numbers.
    pub fn last(&self) -> Option<Seq> {
        self.shared().state.lock().last()
    }

    /// Waits for the right to read for a destination: there is one reader at a time.
    pub async fn claim(&self, destination: DestId) -> Claim {
        self.shared().claims.claim(destination).await
    }

    /// The most that all files may take.
    pub fn bytes_max(&self) -> Option<u64> {
        self.shared().options.bytes_max
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.shared().state.lock().bytes()
    }

    /// Sets room aside in every destination, or in none.
    pub fn reserve(&self, head: &Head, data_len: usize) -> Result<Room, Shortage> {
        let held = Held {
            records: 1,
            items: u64::from(head.items.max(1)),
            bytes: format::padded(format::record_len(head, data_len)) as u64,
        };
        let shared = self.shared();
        shared
            .state
            .lock()
            .reserve(&head.destinations, held, shared.options.bytes_max)?;
        Ok(Room {
            shared: shared.clone(),
            destinations: head.destinations.clone(),
            held,
        })
    }

    /// Writes a record; returns when it is safe. A caller that stops waiting takes nothing back.
    pub async fn append(&self, head: Head, data: Vec<Bytes>, room: Room) -> Result<Seq, Error> {
        let len = format::record_len(&head, data.iter().map(Bytes::len).sum());
        if len > format::RECORD_MAX {
            return Err(Error::TooLarge { len });
        }
        let (done, answer) = oneshot::channel();
        {
            let mut state = self.shared().state.lock();
            if state.closing {
                return Err(Error::Closed);
            }
            state.jobs.push_back(Job {
                head,
                data,
                room,
                done,
            });
        }
        self.shared().work.notify_one();
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// The data of a record. Blocks on the disk.
    pub fn read(&self, seq: Seq) -> Result<Bytes, Error> {
        let (file, offset, len) = self
            .shared()
            .state
            .lock()
            .locate(seq)
            .ok_or(Error::Gone { seq })?;
        let mut buf = vec![0; len];
        let read = file
            .read_at(&mut buf, offset)
            .map_err(|e| Error::io("read the journal", e))?;
        buf.truncate(read);
        let (entry, range) = format::record_decode(&buf, offset).ok_or(Error::Damaged { seq })?;
        if entry.seq != seq {
            return Err(Error::Damaged { seq });
        }
        Ok(Bytes::from(buf).slice(range))
    }

    /// A destination is done with these items of a record: delivered, or given up and booked.
    pub fn complete(&self, seq: Seq, destination: DestId, items: Range<u32>) {
        let wake = self.shared().state.lock().complete(seq, destination, items);
        if wake {
            self.shared().work.notify_one();
        }
    }

    /// Writes what is not written yet, and ends. Records that are appended from now on are refused. Blocks.
    pub fn close(&self) {
        let committer = self.0.committer.lock().take();
        self.shared().close(committer);
    }
}

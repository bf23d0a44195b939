//! One append-only log for all durable queues of a storage: each record is written once, for many destinations.
//!
//! ```text
//! reserve (room in every destination) -> append (one write, one sync for all who came meanwhile) -> the answer is safe
//! read -> complete (destination, items) ... until nobody is owed anything: then the segment goes
//! ```
//!
//! A record is opaque but for its [`Head`]. A destination may complete it in pieces. After a crash everything that was
//! answered is there again, and what was completed in the last moments may be owed once more. After a failed sync the
//! file is never written again: what it owed its callers goes to a new one. What the disk refuses, callers are refused;
//! each next record tries again, so the journal recovers when its disk does.

pub mod disk;
pub mod sim;

mod append;
mod blob;
mod claim;
mod completion;
mod crypt;
mod error;
mod format;
mod health;
mod log;
mod mark;
mod recover;
mod room;
mod set;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use append::Job;
pub use blob::BLOB_MAX;
pub use claim::{Claim, Cut, Settled};
pub use crypt::{Key, NotAKey};
use disk::{Disk, RealDisk};
pub use error::Error;
pub use format::{DestId, Head, Seq};
pub use health::{Counts, Health, LATENCY_BOUNDS, Latency, Trouble};
use mark::Asked;
pub use recover::Found;
pub use set::{Run, SET_MAX, Set};
use state::{Held, State};
pub use turn::Turn;
use turn::Turns;

/// How a journal behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Size of a segment, at most 1 GiB and a quarter of `bytes_max`. A record that is larger has one of its own.
    pub segment_bytes: u64,
    /// The most that all files may take; beyond it the journal is full.
    pub bytes_max: Option<u64>,
    /// Answers only what is safe against a power failure. Without it: against the end of the process.
    pub sync: bool,
    /// Encrypts tenants, data and blobs from now on. What lies there in clear is read all the same.
    pub key: Option<Key>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            bytes_max: None,
            sync: true,
            key: None,
        }
    }
}

/// Larger segments gain nothing: one that was not closed in order is read whole.
const SEGMENT_MAX: u64 = 1 << 30;

impl Options {
    /// Size of a segment: a bounded journal has several, or none could ever be given back.
    fn segment(&self) -> u64 {
        let bound = self.bytes_max.map_or(u64::MAX, |max| max / 4);
        self.segment_bytes.min(bound).min(SEGMENT_MAX)
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
    /// When the first of them was written, in milliseconds since 1970. `None` if nothing is owed.
    pub oldest_ms: Option<u64>,
    /// When the last of them was written.
    pub newest_ms: Option<u64>,
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
    /// When it was written, in milliseconds since 1970.
    pub written_ms: u64,
    /// It may have been sent to this destination before the journal was opened: sending it again may make a duplicate.
    pub maybe_sent: bool,
    /// Which items are owed.
    pub remaining: Vec<Range<u32>>,
}

/// What somebody was owed and is no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// Whose it was.
    pub tenant: Option<Arc<str>>,
    /// What the writer said that the records hold.
    pub kind: u8,
    /// Records of which something was owed.
    pub records: u64,
    /// Items that were owed.
    pub items: u64,
}

/// A file of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentIs {
    /// Number; it stands in the file's name.
    pub number: u64,
    /// Length of the file, and of the log beside it.
    pub bytes: u64,
    /// Bytes of records that somebody is owed.
    pub live_bytes: u64,
    /// Records that were written to it.
    pub records: u64,
    /// Nothing more is written to it.
    pub is_sealed: bool,
    /// It was closed in order. Else what is owed of it is written once more at the next start.
    pub has_index: bool,
    /// It is encrypted.
    pub is_encrypted: bool,
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
    turns: Turns,
    /// Told when there may be room again.
    freed: Notify,
    /// One at a time writes the table of destinations, and one the blobs.
    names: Mutex<()>,
    blobs: Mutex<()>,
    /// Opened beside a gateway that does not run: nothing is moved before something is completed.
    is_offline: bool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Handle {
    fn close(&self) {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_all();
        // Whoever closes it too waits here until it is closed.
        let mut committer = self.committer.lock();
        if let Some(committer) = committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
        // The last ones to write beside it.
        drop((self.shared.names.lock(), self.shared.blobs.lock()));
        self.shared.disk.release();
    }
}

/// Room that is set aside for one record. Given back when dropped.
pub struct Room {
    shared: Arc<Shared>,
    destinations: Arc<[DestId]>,
    held: Held,
}

impl Room {
    /// Bytes that the record will take.
    pub fn bytes(&self) -> u64 {
        self.held.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shared.state.lock().unreserve(&self.destinations, self.held);
        self.shared.freed.notify_waiters();
    }
}

impl Journal {
    /// Opens what is there, or begins anew; starts the thread that writes. Blocks while it reads: indexes, and the
    /// records of the last segment.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Journal, Found), Error> {
        Journal::open_as(disk, options, false)
    }

    /// Opens the journal of a gateway that does not run, to look into it or to complete what is owed.
    ///
    /// Everything works as ever, but nothing on the disk changes before the first completion. [`Error::InUse`] if a
    /// gateway has it; there must have been a journal. Blocks like [`Journal::open`].
    pub fn open_offline(directory: &Path, key: Option<Key>) -> Result<(Journal, Found), Error> {
        if !directory.join(table::TABLE).exists() {
            // Not even a lock is left where there is none.
            return Err(Error::io("find a journal there", ErrorKind::NotFound.into()));
        }
        let disk = RealDisk::open(directory).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => Error::InUse {
                directory: directory.display().to_string(),
            },
            _ => Error::io("open the journal's directory", error),
        })?;
        let options = Options {
            key,
            ..Options::default()
        };
        Journal::open_as(Arc::new(disk), options, true)
    }

    fn open_as(disk: Arc<dyn Disk>, options: Options, is_offline: bool) -> Result<(Journal, Found), Error> {
        let (mut state, found) = recover::recover(&*disk, options.key.as_ref())?;
        if is_offline {
            // The next one who opens it finds them again.
            state.dones.clear();
        } else {
            claim::secure(&*disk, &options, &mut state);
            for stray in &found.strays {
                // It would be found again.
                let _ = disk.remove(stray);
            }
        }
        let shared = Arc::new(Shared {
            disk,
            options,
            state: Mutex::new(state),
            work: Condvar::new(),
            turns: Turns::default(),
            freed: Notify::new(),
            names: Mutex::new(()),
            blobs: Mutex::new(()),
            is_offline,
        });
        let writer = append::Writer::new(shared.clone());
        let committer = std::thread::Builder::new()
            .name("weir-journal".into())
            .spawn(move || append::run(writer))
            .map_err(|e| Error::io("start the journal's thread", e))?;
        let handle = Handle {
            shared,
            committer: Mutex::new(Some(committer)),
        };
        Ok((Journal(Arc::new(handle)), found))
    }

    /// Whether both are the same one.
    pub fn is(&self, other: &Journal) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// The destination of this name, made if it is new; with this quota from now on. Blocks on the disk.
    pub fn destination(&self, name: &str, quota: Quota) -> Result<DestId, Error> {
        let shared = self.shared();
        let _one = shared.names.lock();
        let table = {
            let mut state = shared.state.lock();
            if state.closing {
                return Err(Error::Closed);
            }
            if let Some(id) = state.find(name) {
                state.set_quota(id, quota);
                return Ok(id);
            }
            state.table_with(name)
        };
        if table.len() > usize::from(u16::MAX) {
            return Err(Error::TooManyDestinations);
        }
        table::write(&*shared.disk, &table)?;
        Ok(shared.state.lock().add(name.to_owned(), quota))
    }

    /// All destinations that there ever were, with what they are owed.
    pub fn destinations(&self) -> Vec<Destination> {
        self.shared().state.lock().destinations()
    }

    /// What a destination is owed, in order.
    pub fn owed(&self, destination: DestId) -> Vec<Owed> {
        self.owed_after(destination, None, usize::MAX)
    }

    /// The first `max` records that a destination is owed behind `after`, in order; `None` = from the beginning. Costs
    /// what it answers, however much more is owed.
    pub fn owed_after(&self, destination: DestId, after: Option<Seq>, max: usize) -> Vec<Owed> {
        self.shared().state.lock().owed_after(destination, after, max)
    }

    /// The first `max` records that a destination is owed.
    pub fn oldest(&self, destination: DestId, max: usize) -> Vec<Owed> {
        self.owed_after(destination, None, max)
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
    pub async fn turn(&self, destination: DestId) -> Turn {
        self.shared().turns.turn(destination).await
    }

    /// Somebody reads for this destination. One that is owed something and that nobody reads for is an orphan.
    pub fn is_read(&self, destination: DestId) -> bool {
        self.shared().turns.is_held(destination)
    }

    /// Items that are owed to destinations that nobody reads for.
    pub fn orphan_items(&self) -> u64 {
        let all = self.destinations().into_iter();
        let orphans = all.filter(|d| d.records > 0 && !self.is_read(d.id));
        orphans.map(|d| d.items).sum()
    }

    /// The most that all files may take.
    pub fn bytes_max(&self) -> Option<u64> {
        self.shared().options.bytes_max
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.shared().state.lock().bytes()
    }

    /// How it is, and what it has done.
    pub fn health(&self) -> Health {
        let shared = self.shared();
        let state = shared.state.lock();
        let bytes = state.bytes();
        Health {
            trouble: state.condition.trouble(),
            bytes,
            live_bytes: state.live(),
            free_bytes: shared.options.bytes_max.map(|max| max.saturating_sub(bytes)),
            counts: state.condition.counts,
            syncs: state.condition.syncs.clone(),
        }
    }

    /// All files of records, in order.
    pub fn segments(&self) -> Vec<SegmentIs> {
        let state = self.shared().state.lock();
        let all = state.segments.iter();
        all.map(|(number, segment)| SegmentIs {
            number: *number,
            bytes: segment.size + segment.done_len,
            live_bytes: segment.live,
            records: segment.seqs.len() as u64,
            is_sealed: segment.sealed,
            has_index: segment.sealed && !segment.suspect,
            is_encrypted: segment.cipher.is_some(),
        })
        .collect()
    }

    /// Ends when there may be room again: something was completed, or room that was set aside came back. Take it before
    /// trying to reserve, then nothing is missed in between:
    ///
    /// ```text
    /// loop { let room = journal.room(); match journal.reserve(..) { Err(_) => room.await, Ok(room) => break room } }
    /// ```
    pub fn room(&self) -> impl Future<Output = ()> + Send + '_ {
        self.shared().freed.notified()
    }

    /// Sets room aside in every destination, or in none.
    pub fn reserve(&self, head: &Head, data_len: usize) -> Result<Room, Shortage> {
        let held = Held {
            records: 1,
            items: u64::from(head.items.max(1)),
            bytes: format::padded(self.record_len(head, data_len)) as u64,
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

    fn record_len(&self, head: &Head, data_len: usize) -> usize {
        format::record_len(head, data_len, self.shared().options.key.is_some())
    }

    /// Writes a record; returns when it is safe. A caller that stops waiting takes nothing back.
    ///
    /// Nothing is held back for others: a lone record costs one write and one sync, and waits for at most one group of
    /// up to 16 MiB that is being written when it comes.
    pub async fn append(&self, head: Head, data: Vec<Bytes>, room: Room) -> Result<Seq, Error> {
        let len = self.record_len(&head, data.iter().map(Bytes::len).sum());
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

    /// The data of a record. Blocks on the disk. One that is [`Error::Damaged`] stays owed until it is completed.
    pub fn read(&self, seq: Seq) -> Result<Bytes, Error> {
        let place = self
            .shared()
            .state
            .lock()
            .locate(seq)
            .ok_or(Error::Gone { seq })?;
        match place.read() {
            Ok(Some((entry, data))) if entry.seq == seq => Ok(data),
            Ok(_) => {
                self.shared().state.lock().condition.counts.damaged += 1;
                Err(Error::Damaged { seq })
            }
            Err(error) => Err(Error::io("read the journal", error)),
        }
    }

    /// To be awaited before a record is sent: returns once a file says that records of this destination up to this one
    /// may have been sent, so that after a crash [`Owed::maybe_sent`] tells what a duplicate could be.
    ///
    /// Marks are written some way ahead; mostly this returns at once. The mark survives the end of the process at once,
    /// and a power failure after a second. A disk that takes no mark keeps nobody from sending.
    pub async fn dispatched(&self, destination: DestId, seq: Seq) {
        let answer = {
            let mut state = self.shared().state.lock();
            if state.closing {
                return;
            }
            let known = state.mark(destination);
            let (done, answer) = match known >= Some(seq) {
                true if !mark::is_near(known, seq) => return,
                true => (None, None),
                false => {
                    let (done, answer) = oneshot::channel();
                    (Some(done), Some(answer))
                }
            };
            if done.is_none() && state.marks.iter().any(|asked| asked.destination == destination) {
                return;
            }
            state.marks.push(Asked {
                destination,
                seq,
                done,
            });
            answer
        };
        self.shared().work.notify_one();
        if let Some(answer) = answer {
            // The writer ends only after it has answered, or without; sending goes on either way.
            let _ = answer.await;
        }
    }

    /// A destination is done with these items of a record: delivered, or given up and booked.
    pub fn complete(&self, seq: Seq, destination: DestId, items: Range<u32>) {
        let (done, wake) = {
            let mut state = self.shared().state.lock();
            let was_idle = state.dones.is_empty();
            let done = state.complete(seq, destination, items);
            (done, was_idle && done > 0)
        };
        if wake {
            self.shared().work.notify_one();
        }
        if done > 0 {
            self.shared().freed.notify_waiters();
        }
    }

    /// Completes all that a destination is owed at this moment, and says what that was, by tenant and kind.
    pub fn discard(&self, destination: DestId) -> Vec<Discarded> {
        let last = self.shared().state.lock().last_owed(destination);
        let mut sums: BTreeMap<(Option<Arc<str>>, u8), (u64, u64)> = BTreeMap::new();
        loop {
            // Others get their turn in between.
            let mut owed = self.owed_after(destination, None, 1024);
            owed.retain(|owed| Some(owed.seq) <= last);
            if owed.is_empty() {
                break;
            }
            let mut state = self.shared().state.lock();
            for Owed {
                seq, tenant, kind, ..
            } in owed
            {
                let items = state.complete(seq, destination, 0..u32::MAX);
                let sum = sums.entry((tenant, kind)).or_default();
                *sum = (sum.0 + u64::from(items > 0), sum.1 + items);
            }
        }
        self.shared().work.notify_one();
        self.shared().freed.notify_waiters();
        let sums = sums.into_iter();
        sums.map(|((tenant, kind), (records, items))| Discarded {
            tenant,
            kind,
            records,
            items,
        })
        .collect()
    }

    /// Keeps something small under a name, in place of what had it; returns when it is safe. After a crash there is the
    /// old one or the new one. At most [`BLOB_MAX`] bytes; names are of `a-z 0-9 - _`. Not counted in
    /// [`Journal::bytes`]. Blocks on the disk.
    pub fn put_blob(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let _one = self.shared().blobs.lock();
        if self.shared().state.lock().closing {
            return Err(Error::Closed);
        }
        blob::put(&*self.shared().disk, &self.shared().options, name, content)
    }

    /// What was kept under a name; `None` if nothing was, [`Error::DamagedFile`] if it is not what was written. Blocks
    /// on the disk.
    pub fn blob(&self, name: &str) -> Result<Option<Bytes>, Error> {
        blob::get(&*self.shared().disk, self.shared().options.key.as_ref(), name)
    }

    /// Writes what is not written yet, and ends: nothing is taken or written from now on, what can be read can be read
    /// on, and another one may open the directory. Blocks.
    pub fn close(&self) {
        self.0.close();
    }
}

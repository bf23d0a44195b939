//! Spans that are held on disk too: each chunk is a record of the storage's journal, until the last span of it ended.
//!
//! A record is written before the chunk is answered for, and completed span by span as they are handed on or dropped.
//! What was not completed is read back at the next start and decided on anew. After a crash the last completions may be
//! missing: such spans are handed on once more, and counted as possible duplicates.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use component::{Fault, Host, Refusal};
use config::ComponentId;
use parking_lot::Mutex;
use storage::Journal;
use storage::journal::{DestId, Head, Owed, Quota, Seq, Turn};
use wire::{Chunk, Shape};

/// Chunks whose encoding a reader of content must not trust: the record's kind.
const PLAIN: u8 = 0;
const NON_CANONICAL: u8 = 1;

/// A chunk's record.
#[derive(Clone)]
pub(crate) struct Record {
    journal: Journal,
    destination: DestId,
    seq: Seq,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Record").field(&self.seq).finish()
    }
}

impl Record {
    /// These spans of it are not owed any more.
    pub(crate) fn complete(&self, spans: Range<u32>) {
        self.journal.complete(self.seq, self.destination, spans);
    }

    /// It may be handed on from now on; to be awaited before that.
    pub(crate) async fn announce(&self) {
        self.journal.dispatched(self.destination, self.seq).await;
    }
}

/// Where the records of one node go.
pub(crate) struct Store {
    storage: ComponentId,
    name: String,
    opened: OnceLock<Opened>,
    /// What was read back last. Everything up to the boundary was there at the start.
    read: Mutex<Option<Seq>>,
}

struct Opened {
    journal: Journal,
    destination: DestId,
    boundary: Option<Seq>,
    /// Nobody else reads it meanwhile.
    _turn: Turn,
}

impl Store {
    /// The store of a node called `name`, in the storage with this id.
    pub(crate) fn new(storage: ComponentId, name: String) -> Store {
        Store {
            storage,
            name,
            opened: OnceLock::new(),
            read: Mutex::default(),
        }
    }

    /// Opens it; waits until a node of that name which is about to stop has let go.
    pub(crate) async fn open(&self, host: &dyn Host) -> Result<(), Fault> {
        let id = &self.storage;
        let found = host.extension(id).map_err(|_| {
            Fault::World(format!(
                "failed to get storage client: storage extension '{id}' not found"
            ))
        })?;
        let none = || Fault::World(format!("non-storage extension '{id}' found"));
        let journal = found.journal().ok_or_else(none)?;
        let (opening, name) = (journal.clone(), self.name.clone());
        let made = tokio::task::spawn_blocking(move || opening.destination(&name, Quota::default())).await;
        let made = made.map_err(|e| Fault::World(e.to_string()))?;
        let destination = made.map_err(|e| Fault::World(format!("{id}: {e}")))?;
        let turn = journal.turn(destination).await;
        let opened = Opened {
            boundary: journal.last(),
            journal,
            destination,
            _turn: turn,
        };
        let _ = self.opened.set(opened);
        Ok(())
    }

    /// Writes a chunk; safe once this returns.
    pub(crate) async fn append(&self, chunk: &Chunk) -> Result<Record, Refusal> {
        let Some(opened) = self.opened.get() else {
            return Err(Refusal::unavailable("the storage is not open"));
        };
        let head = Head {
            kind: match chunk.shape.non_canonical {
                true => NON_CANONICAL,
                false => PLAIN,
            },
            items: chunk.shape.items,
            tenant: chunk.origin.tenant.clone(),
            destinations: [opened.destination].into(),
        };
        let room = opened.journal.reserve(&head, chunk.len());
        let room = room.map_err(|_| Refusal::Busy { retry_after: None })?;
        let written = opened.journal.append(head, chunk.parts().to_vec(), room).await;
        let seq = written.map_err(|e| Refusal::unavailable(format!("{}: {e}", self.storage)))?;
        Ok(Record {
            journal: opened.journal.clone(),
            destination: opened.destination,
            seq,
        })
    }

    /// Items by tenant that were there at the start.
    pub(crate) fn found(&self) -> Vec<(Option<Arc<str>>, u64)> {
        let mut sums: Vec<(Option<Arc<str>>, u64)> = Vec::new();
        let Some(opened) = self.opened.get() else {
            return sums;
        };
        let mut after = None;
        loop {
            let some = self.owed(opened, after, 1024);
            let Some(last) = some.last() else {
                return sums;
            };
            after = Some(last.seq);
            for owed in &some {
                let owes = items(&owed.remaining);
                match sums.iter_mut().find(|(tenant, _)| *tenant == owed.tenant) {
                    Some((_, items)) => *items += owes,
                    None => sums.push((owed.tenant.clone(), owes)),
                }
            }
        }
    }

    fn owed(&self, opened: &Opened, after: Option<Seq>, max: usize) -> Vec<Owed> {
        let mut some = opened.journal.owed_after(opened.destination, after, max);
        some.retain(|owed| Some(owed.seq) <= opened.boundary);
        some
    }

    /// The next chunk that was there at the start; none once all were read. Blocks on the disk.
    pub(crate) fn next(&self) -> Option<Back> {
        let opened = self.opened.get()?;
        let mut read = self.read.lock();
        let owed = self.owed(opened, *read, 1).pop()?;
        *read = Some(owed.seq);
        let record = Record {
            journal: opened.journal.clone(),
            destination: opened.destination,
            seq: owed.seq,
        };
        let chunk = opened.journal.read(owed.seq).map(|bytes: Bytes| {
            let shape = Shape {
                items: owed.items,
                non_canonical: owed.kind != PLAIN,
                unknown_fields: false,
            };
            let mut chunk = Chunk::new(bytes, shape);
            chunk.origin.tenant = owed.tenant.clone();
            chunk
        });
        Some(Back {
            record,
            tenant: owed.tenant,
            items: items(&owed.remaining),
            maybe_sent: owed.maybe_sent,
            owed: owed.remaining,
            chunk: chunk.map_err(|e| e.to_string()),
        })
    }
}

/// What was read back.
pub(crate) struct Back {
    pub(crate) record: Record,
    pub(crate) tenant: Option<Arc<str>>,
    /// Spans that are owed: how many, and which.
    pub(crate) items: u64,
    pub(crate) owed: Vec<Range<u32>>,
    /// They may have been handed on before.
    pub(crate) maybe_sent: bool,
    /// In words why not, if it could not be read; it stays on disk.
    pub(crate) chunk: Result<Chunk, String>,
}

fn items(ranges: &[Range<u32>]) -> u64 {
    ranges.iter().map(|r| u64::from(r.end - r.start)).sum()
}

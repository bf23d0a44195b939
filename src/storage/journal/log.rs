//! The logs of completions beside the segments. One that is lost costs a duplicate after a restart, never a record.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Error;
use super::append::Writer;
use super::disk::File;
use super::format::Done;
use super::health::Task;
use super::recover::done_name;
use crate::crash;

/// How often the logs are made safe against a power failure.
const DONE_SYNC: Duration = Duration::from_secs(1);

/// After the disk took no completions, the next attempt.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// Completions that are kept while the disk takes none; beyond them the oldest are forgotten, which costs duplicates
/// after a restart.
const UNLOGGED_MAX: usize = 1 << 20;

/// What is to be written and synced.
pub(super) struct Logs {
    /// Completions that are in no log, with the segment whose log they belong to.
    unlogged: Vec<(u64, Done)>,
    /// Not before.
    log_after: Option<Instant>,
    /// Written since they were synced.
    unsynced: BTreeSet<u64>,
    /// Segments that were closed since then.
    closed: Vec<Arc<dyn File>>,
    synced_at: Instant,
}

impl Logs {
    pub(super) fn new() -> Logs {
        Logs {
            unlogged: Vec::new(),
            log_after: None,
            unsynced: BTreeSet::new(),
            closed: Vec::new(),
            synced_at: Instant::now(),
        }
    }

    /// Syncs a segment with its turn.
    pub(super) fn sync_later(&mut self, segment: Arc<dyn File>) {
        self.closed.push(segment);
    }
}

impl Writer {
    /// There is something to do even if nobody asks for anything.
    pub(super) fn has_unfinished(&self) -> bool {
        !(self.logs.unsynced.is_empty() && self.logs.closed.is_empty() && self.logs.unlogged.is_empty())
            || self.marks.is_unsynced
            || self.names_changed
            || self.room_after.is_some()
    }

    /// Writes completions, and those that could not be written before. What cannot be written is known in memory all
    /// the same: only a restart would see these records again.
    pub(super) fn log(&mut self, dones: Vec<(u64, Done)>) -> Result<(), Error> {
        self.logs.unlogged.extend(dones);
        if self.logs.unlogged.is_empty() || self.logs.log_after.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        self.logs.log_after = None;
        let mut by_segment: BTreeMap<u64, Vec<Done>> = BTreeMap::new();
        for (number, done) in self.logs.unlogged.drain(..) {
            by_segment.entry(number).or_default().push(done);
        }
        let mut result = Ok(());
        for (number, dones) in by_segment {
            let mut out = Vec::with_capacity(dones.len() * super::format::DONE);
            dones.iter().for_each(|done| done.encode(&mut out));
            if let Err(error) = self.log_to(number, &out) {
                let dones = dones.into_iter().map(|done| (number, done));
                self.logs.unlogged.extend(dones);
                result = Err(Error::io("write the journal", error));
            }
        }
        let forgotten = self.logs.unlogged.len().saturating_sub(UNLOGGED_MAX);
        self.logs.unlogged.drain(..forgotten);
        match &result {
            Ok(()) => self.works(Task::Note),
            Err(error) => {
                self.logs.log_after = Some(Instant::now() + LOG_PAUSE);
                self.fails(Task::Note, error);
            }
        }
        result
    }

    /// Tries at once what was put off.
    pub(super) fn log_now(&mut self, dones: Vec<(u64, Done)>) -> Result<(), Error> {
        self.logs.log_after = None;
        self.log(dones)
    }

    fn log_to(&mut self, number: u64, bytes: &[u8]) -> std::io::Result<()> {
        let (file, at) = {
            let state = self.shared.state.lock();
            let Some(segment) = state.segments.get(&number) else {
                return Ok(());
            };
            (segment.done.clone(), segment.done_len)
        };
        let file = match file {
            Some(file) => file,
            None => {
                self.names_changed = true;
                self.shared.disk.create(&done_name(number), 0)?
            }
        };
        crash::point("journal.done.before_write");
        let written = file.write_at(&[IoSlice::new(bytes)], at);
        crash::point("journal.done.after_write");
        if let Some(segment) = self.shared.state.lock().segments.get_mut(&number) {
            segment.done = Some(file);
            if written.is_ok() {
                segment.done_len = at + bytes.len() as u64;
            }
        }
        self.logs.unsynced.insert(number);
        written
    }

    /// How long nothing has to be synced.
    pub(super) fn sync_pause(&self) -> Duration {
        DONE_SYNC.saturating_sub(self.logs.synced_at.elapsed())
    }

    /// Syncs one file if it is time: clients wait meanwhile, so the next one has its turn after them.
    pub(super) fn sync_logs_in_time(&mut self) {
        if self.sync_pause().is_zero() && !matches!(self.sync_one(), Some(Ok(()))) {
            self.logs.synced_at = Instant::now();
        }
    }

    /// Makes logs and marks safe against a power failure.
    pub(super) fn sync_logs(&mut self) -> Result<(), Error> {
        self.logs.synced_at = Instant::now();
        while let Some(synced) = self.sync_one() {
            synced?;
        }
        Ok(())
    }

    /// Syncs one file, if there is any to sync. What fails is told.
    fn sync_one(&mut self) -> Option<Result<(), Error>> {
        let synced = if self.marks.is_unsynced {
            self.sync_marks()
        } else if self.names_changed {
            let synced = self.shared.disk.sync_names();
            self.names_changed = synced.is_err();
            synced
        } else if let Some(segment) = self.logs.closed.pop() {
            segment.sync()
        } else {
            let number = self.logs.unsynced.pop_first()?;
            let file = {
                let state = self.shared.state.lock();
                state.segments.get(&number).and_then(|s| s.done.clone())
            };
            let synced = file.map_or(Ok(()), |file| file.sync());
            crash::point("journal.done.after_sync");
            synced
        };
        let synced = synced.map_err(|error| Error::io("sync the journal", error));
        if let Err(error) = &synced {
            self.fails(Task::Note, error);
        }
        Some(synced)
    }
}

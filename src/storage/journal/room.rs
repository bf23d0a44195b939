//! Making room: segments that nobody is owed anything of go, and what is owed of mostly empty ones is written once more,
//! so that one dead destination does not pin the disk.

use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::append::Writer;
use super::format::{self, Done, Entry, padded};
use super::health::Task;
use super::recover::{done_name, segment_name};
use super::{Error, state};
use crate::crash;

/// After the disk did not let a segment go, the next attempt.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// Bytes that are copied while clients wait: a segment as a whole would take as long as a client waits.
const COPY_STEP: u64 = if cfg!(test) { 2000 } else { 8 << 20 };

const ZEROS: [u8; 8] = [0; 8];

impl Writer {
    /// Copies forward what is owed of suspect and of mostly empty segments, and removes segments that nobody is owed
    /// anything of. When `pressed`, somebody is about to be refused: less empty ones are worth it too.
    pub(super) fn make_room(&mut self, pressed: bool) {
        if self.room_after.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.room_after = None;
        // First what costs nothing: there may be no room to copy anything to.
        let made = self
            .remove_dead()
            .and_then(|()| self.copy_sparse(pressed))
            .and_then(|()| self.remove_dead());
        match made {
            Ok(()) => self.works(Task::MakeRoom),
            Err(error) => {
                self.fails(Task::MakeRoom, &error);
                self.room_after = Some(Instant::now() + ROOM_PAUSE);
            }
        }
    }

    fn copy_sparse(&mut self, pressed: bool) -> Result<(), Error> {
        loop {
            let (next, is_awaited) = {
                let state = self.shared.state.lock();
                (state.to_copy(pressed), !state.jobs.is_empty())
            };
            let Some(number) = next else { return Ok(()) };
            let step = if pressed { u64::MAX } else { COPY_STEP };
            match self.copy_forward(number, step) {
                // Callers are not kept waiting for more than one step.
                Ok(()) if is_awaited || pressed => return Ok(()),
                Ok(()) => {}
                Err(Error::Damaged { seq }) => {
                    let record = seq.0;
                    tracing::error!(
                        record,
                        "a record of the journal is damaged; its segment stays for now"
                    );
                    let mut state = self.shared.state.lock();
                    state.condition.counts.damaged += 1;
                    if let Some(segment) = state.segments.get_mut(&number) {
                        segment.damaged = Some(seq);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn remove_dead(&mut self) -> Result<(), Error> {
        let dead = self.shared.state.lock().dead();
        for number in dead {
            self.remove(number)
                .map_err(|error| Error::io("remove a segment of the journal", error))?;
        }
        Ok(())
    }

    /// The records first and their log later: the log alone does no harm, the records alone would come back.
    fn remove(&mut self, number: u64) -> std::io::Result<()> {
        let disk = &self.shared.disk;
        crash::point("journal.remove.before");
        match disk.remove(&segment_name(number)) {
            // An attempt before this one came so far.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            removed => removed?,
        }
        disk.sync_names()?;
        crash::point("journal.remove.after_records");
        match disk.remove(&done_name(number)) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            removed => removed?,
        }
        crash::point("journal.remove.after_log");
        drop(self.shared.state.lock().segments.remove(&number));
        self.shared.freed.notify_waiters();
        Ok(())
    }

    /// Writes what is owed of a segment once more, with what is done of it: one record, or several in at most `step`
    /// bytes. Only when both are safe the copies count.
    fn copy_forward(&mut self, from: u64, step: u64) -> Result<(), Error> {
        let mut live = self.shared.state.lock().live_in(from);
        let mut bytes = 0;
        let beyond = live.iter().position(|entry| {
            bytes += entry.room();
            bytes > step
        });
        live.truncate(beyond.unwrap_or(live.len()).max(1));
        let mut copies: Vec<(Entry, u64)> = Vec::with_capacity(live.len());
        for entry in live {
            let Some(place) = self.shared.state.lock().locate(entry.seq) else {
                continue;
            };
            let data = read(&place, &entry)?;
            // It may be encrypted here and not there.
            let need = padded(format::record_len(&entry.head, data.len(), self.encrypts())) as u64;
            if !self.active.as_ref().is_some_and(|a| a.has_room(need)) {
                // A sync that fails takes copies along, and the next one would not say so.
                self.seal()?;
                self.rotate(need, None)?;
            }
            let Some(active) = &mut self.active else { continue };
            let copy = match active.copy(&entry, data) {
                Ok(copy) => copy,
                Err(error) => {
                    self.abandon(&[]);
                    return Err(error);
                }
            };
            let number = active.number;
            let done: Vec<(u64, Done)> = {
                let done = self.shared.state.lock().completed(&copy);
                done.into_iter().map(|done| (number, done)).collect()
            };
            self.log_now(done)?;
            copies.push((copy, number));
        }
        crash::point("journal.copy.before_sync");
        self.sync_active()?;
        self.sync_logs()?;
        crash::point("journal.copy.after_sync");
        {
            let mut state = self.shared.state.lock();
            state.condition.counts.copied += copies.len() as u64;
            for (entry, to) in copies {
                state.moved(entry, to);
            }
        }
        crash::point("journal.copy.after_publish");
        Ok(())
    }
}

/// The data of a record that is to be copied. One that cannot be read stays where it is.
fn read(place: &state::Place, entry: &Entry) -> Result<Bytes, Error> {
    let damaged = Error::Damaged { seq: entry.seq };
    match place.read() {
        Ok(Some((found, data))) if found.seq == entry.seq => Ok(data),
        _ => Err(damaged),
    }
}

impl super::append::Active {
    fn copy(&mut self, entry: &Entry, data: Bytes) -> Result<Entry, Error> {
        let encoded = format::record_encode(
            (entry.seq, entry.written_ms),
            &entry.head,
            std::slice::from_ref(&data),
            self.spot(self.offset),
        );
        let body = encoded.sealed.as_deref().unwrap_or(&data);
        let padding = &ZEROS[..padded(encoded.len) - encoded.len];
        let slices = [&encoded.front[..], body, padding].map(IoSlice::new);
        self.file
            .write_at(&slices, self.offset)
            .map_err(|e| Error::io("write the journal", e))?;
        let copy = Entry {
            offset: self.offset,
            len: encoded.len as u32,
            ..entry.clone()
        };
        self.offset += copy.room();
        self.entries.push(copy.clone());
        Ok(copy)
    }
}

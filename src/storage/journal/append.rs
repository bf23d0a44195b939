//! The one thread that writes: groups of records with one sync each, logs of completions, and what makes room again.

use std::collections::{BTreeSet, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::disk::File;
use super::format::{self, Done, Entry, Head, RECORDS_MAX, Seq, padded};
use super::recover::{done_name, segment_name};
use super::state::Segment;
use super::{Error, Room, Shared};

/// One record that waits to be written.
pub(super) struct Job {
    pub(super) head: Head,
    pub(super) data: Vec<Bytes>,
    pub(super) room: Room,
    pub(super) done: oneshot::Sender<Result<Seq, Error>>,
}

/// Bytes that are written with one sync at most: more would keep the first caller waiting.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// Completions wait this long for more of them; lost in a crash, they are owed once more.
const DONE_PAUSE: Duration = Duration::from_millis(20);

/// How often the logs of completions are made safe against a power failure.
const DONE_SYNC: Duration = Duration::from_secs(1);

/// After the disk did not let a segment go, the next attempt.
const ROOM_PAUSE: Duration = Duration::from_secs(5);

const ZEROS: [u8; 8] = [0; 8];

pub(super) struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    /// Logs of completions that were written since they were synced.
    unsynced: BTreeSet<u64>,
    synced_at: Instant,
    /// Logs were created since names were synced.
    names_changed: bool,
    /// No segment is removed or copied before: the disk did not let us.
    room_after: Option<Instant>,
}

/// The segment that is written.
struct Active {
    number: u64,
    file: Arc<dyn File>,
    offset: u64,
    room: u64,
    index: u64,
    entries: Vec<Entry>,
}

/// What the state asks for.
struct Work {
    jobs: VecDeque<Job>,
    dones: Vec<(u64, Done)>,
    closing: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Writer {
        Writer {
            shared,
            active: None,
            unsynced: BTreeSet::new(),
            synced_at: Instant::now(),
            names_changed: false,
            room_after: None,
        }
    }

    /// Works until the journal is closed and nothing is left.
    pub(super) fn run(mut self) {
        loop {
            self.make_room();
            let work = self.wait();
            self.append(work.jobs);
            let _ = self.log(&work.dones);
            if self.synced_at.elapsed() >= DONE_SYNC {
                let _ = self.sync_logs();
            }
            if work.closing && !self.has_more() {
                break;
            }
        }
        // Both say in the log what they could not do; there is nobody else to tell.
        let _ = (self.seal(), self.sync_logs());
    }

    fn has_more(&self) -> bool {
        let state = self.shared.state.lock();
        !state.jobs.is_empty() || !state.dones.is_empty()
    }

    /// Waits for something to do.
    fn wait(&self) -> Work {
        let mut state = self.shared.state.lock();
        while !state.has_work() {
            if self.unsynced.is_empty() {
                self.shared.work.wait(&mut state);
            } else if self.shared.work.wait_for(&mut state, DONE_SYNC).timed_out() {
                break;
            }
        }
        if state.jobs.is_empty() && !state.closing && !state.dones.is_empty() {
            self.shared.work.wait_for(&mut state, DONE_PAUSE);
        }
        let (mut jobs, mut bytes) = (VecDeque::new(), 0);
        while bytes < GROUP_BYTES_MAX
            && let Some(job) = state.jobs.pop_front()
        {
            bytes += job.len();
            jobs.push_back(job);
        }
        Work {
            jobs,
            dones: std::mem::take(&mut state.dones),
            closing: state.closing,
        }
    }

    /// Writes the jobs, and answers each. What one file cannot take, a new one is tried with, once.
    fn append(&mut self, mut jobs: VecDeque<Job>) {
        let mut failed = false;
        while let Some(first) = jobs.front() {
            let need = padded(first.len()) as u64;
            if !self.active.as_ref().is_some_and(|a| a.has_room(need))
                && let Err(error) = self.rotate(need)
            {
                return refuse(jobs, &error);
            }
            let Some(active) = &mut self.active else { return };
            let mut group: Vec<Job> = Vec::new();
            let mut bytes = 0;
            while let Some(job) = jobs.front() {
                let len = padded(job.len()) as u64;
                if !active.has_room(bytes + len) || active.index + group.len() as u64 >= RECORDS_MAX {
                    break;
                }
                bytes += len;
                group.extend(jobs.pop_front());
            }
            match active.write(&group, self.shared.options.sync) {
                Ok(entries) => self.publish(group, entries),
                Err(error) => {
                    tracing::error!(%error, "The journal cannot write to a segment; it begins another one.");
                    self.abandon(&group);
                    for job in group.into_iter().rev() {
                        jobs.push_front(job);
                    }
                    if failed {
                        return refuse(jobs, &error);
                    }
                    failed = true;
                }
            }
        }
    }

    fn publish(&mut self, group: Vec<Job>, entries: Vec<Entry>) {
        let Some(active) = &mut self.active else { return };
        active.entries.extend(entries.iter().cloned());
        let mut answers = Vec::with_capacity(group.len());
        {
            let mut state = self.shared.state.lock();
            for entry in entries {
                answers.push(entry.seq);
                state.insert(active.number, entry);
            }
        }
        for (job, seq) in group.into_iter().zip(answers) {
            let Job { room, done, .. } = job;
            // What was reserved is held now.
            drop(room);
            let _ = done.send(Ok(seq));
        }
    }

    /// Never again on this file. What of the group may lie in it all the same is nobody's: it goes elsewhere.
    fn abandon(&mut self, group: &[Job]) {
        let Some(active) = self.active.take() else { return };
        let mut dones = Vec::new();
        for (i, job) in group.iter().enumerate() {
            for destination in &job.head.destinations {
                dones.push((
                    active.number,
                    Done {
                        seq: Seq::new(active.number, active.index + i as u64),
                        destination: *destination,
                        items: 0..u32::MAX,
                    },
                ));
            }
        }
        if let Some(segment) = self.shared.state.lock().segments.get_mut(&active.number) {
            segment.sealed = true;
            segment.suspect = true;
        }
        let _ = self.log(&dones);
    }

    /// Seals the active segment and begins another one with at least this room.
    fn rotate(&mut self, need: u64) -> Result<(), Error> {
        // What it holds is safe without its index.
        let _ = self.seal();
        let header = format::SEGMENT_HEADER as u64;
        let room = self.shared.options.segment_bytes.max(header + need);
        let number = {
            let mut state = self.shared.state.lock();
            let max = self.shared.options.bytes_max;
            if max.is_some_and(|max| state.bytes() + room > max) {
                return Err(Error::Full);
            }
            // Counted up even if it fails: a number is never used twice.
            state.next_segment += 1;
            state.next_segment - 1
        };
        let file = new_segment(&self.shared, number, room)?;
        self.shared.state.lock().segments.insert(
            number,
            Segment {
                file: file.clone(),
                done: None,
                done_len: 0,
                size: room,
                live: 0,
                seqs: Vec::new(),
                sealed: false,
                suspect: false,
                damaged: false,
            },
        );
        self.active = Some(Active {
            number,
            file,
            offset: header,
            room,
            index: 0,
            entries: Vec::new(),
        });
        Ok(())
    }

    /// Closes the active segment with its index. Without one it can be read all the same, only slower.
    fn seal(&mut self) -> Result<(), Error> {
        let Some(active) = self.active.take() else {
            return Ok(());
        };
        let index = format::index_encode(&active.entries);
        let size = active.offset + index.len() as u64;
        let written = active
            .file
            .set_len(size)
            .and_then(|()| active.file.write_at(&[IoSlice::new(&index)], active.offset))
            .and_then(|()| active.file.sync());
        if let Err(error) = &written {
            tracing::warn!(%error, "A segment of the journal has no index; the next start reads all of it.");
        }
        if let Some(segment) = self.shared.state.lock().segments.get_mut(&active.number) {
            segment.sealed = true;
            segment.size = size;
        }
        written.map_err(|e| Error::io("close a segment of the journal", e))
    }

    /// Writes completions to the logs beside their segments. What cannot be written is known in memory all the same:
    /// only a restart would see these records again.
    fn log(&mut self, dones: &[(u64, Done)]) -> Result<(), Error> {
        let numbers: BTreeSet<u64> = dones.iter().map(|(number, _)| *number).collect();
        let mut result = Ok(());
        for number in numbers {
            let mut out = Vec::new();
            for (_, done) in dones.iter().filter(|(n, _)| *n == number) {
                done.encode(&mut out);
            }
            if let Err(error) = self.log_to(number, &out) {
                tracing::warn!(%error, "The journal cannot note what is done; a restart may send it once more.");
                result = Err(Error::io("write the journal", error));
            }
        }
        result
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
            None => self.shared.disk.create(&done_name(number), 0)?,
        };
        self.names_changed = true;
        let written = file.write_at(&[IoSlice::new(bytes)], at);
        if let Some(segment) = self.shared.state.lock().segments.get_mut(&number) {
            segment.done = Some(file);
            if written.is_ok() {
                segment.done_len = at + bytes.len() as u64;
            }
        }
        self.unsynced.insert(number);
        written
    }

    fn sync_logs(&mut self) -> Result<(), Error> {
        self.synced_at = Instant::now();
        let mut result = Ok(());
        for number in std::mem::take(&mut self.unsynced) {
            let state = self.shared.state.lock();
            let file = state.segments.get(&number).and_then(|s| s.done.clone());
            drop(state);
            if let Some(file) = file {
                result = result.and(file.sync());
            }
        }
        if std::mem::take(&mut self.names_changed) {
            result = result.and(self.shared.disk.sync_names());
        }
        result.map_err(|error| {
            tracing::warn!(%error, "The journal cannot make safe what is done; a restart may send it once more.");
            Error::io("sync the journal", error)
        })
    }

    /// Copies forward what is owed of suspect and of mostly empty segments, and removes segments that nobody is owed
    /// anything of.
    fn make_room(&mut self) {
        if self.room_after.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.room_after = None;
        loop {
            let (next, is_awaited) = {
                let state = self.shared.state.lock();
                (state.to_copy(), !state.jobs.is_empty())
            };
            let Some(number) = next else { break };
            match self.copy_forward(number) {
                // Callers are not kept waiting for more than one.
                Ok(()) if is_awaited => break,
                Ok(()) => {}
                Err(Error::Damaged { seq }) => {
                    let record = seq.0;
                    tracing::error!(
                        record,
                        "A record of the journal is damaged; its segment stays as it is."
                    );
                    if let Some(segment) = self.shared.state.lock().segments.get_mut(&number) {
                        segment.damaged = true;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "A segment of the journal stays, for it cannot be copied.");
                    self.room_after = Some(Instant::now() + ROOM_PAUSE);
                    return;
                }
            }
        }
        let dead = self.shared.state.lock().dead();
        for number in dead {
            self.remove(number);
        }
    }

    /// The records first and their log later: the log alone does no harm, the records alone would come back.
    fn remove(&mut self, number: u64) {
        let disk = &self.shared.disk;
        let removed = disk
            .remove(&segment_name(number))
            .and_then(|()| disk.sync_names())
            .and_then(|()| match disk.remove(&done_name(number)) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            });
        match removed {
            Ok(()) => drop(self.shared.state.lock().segments.remove(&number)),
            Err(error) => {
                tracing::warn!(%error, "The journal cannot remove a segment; it tries again later.");
                self.room_after = Some(Instant::now() + ROOM_PAUSE);
            }
        }
    }

    /// Writes what is owed of a segment once more, with what is done of it. Only when both are safe the copies count.
    fn copy_forward(&mut self, from: u64) -> Result<(), Error> {
        let live = self.shared.state.lock().live_in(from);
        let mut copies: Vec<(Entry, u64)> = Vec::with_capacity(live.len());
        for entry in live {
            let Some((file, offset, len)) = self.shared.state.lock().locate(entry.seq) else {
                continue;
            };
            let mut bytes = vec![0; len];
            let read = file
                .read_at(&mut bytes, offset)
                .map_err(|e| Error::io("read the journal", e))?;
            bytes.truncate(read);
            if format::record_decode(&bytes, offset).is_none() {
                return Err(Error::Damaged { seq: entry.seq });
            }
            bytes.resize(padded(len), 0);
            let need = entry.room();
            if !self.active.as_ref().is_some_and(|a| a.has_room(need)) {
                // A sync that fails takes copies along, and the next one would not say so.
                self.seal()?;
                self.rotate(need)?;
            }
            let Some(active) = &mut self.active else { continue };
            let entry = Entry {
                offset: active.offset,
                ..entry
            };
            if let Err(error) = active.file.write_at(&[IoSlice::new(&bytes)], active.offset) {
                self.abandon(&[]);
                return Err(Error::io("write the journal", error));
            }
            active.offset += need;
            active.entries.push(entry.clone());
            let number = active.number;
            let done: Vec<(u64, Done)> = {
                let done = self.shared.state.lock().completed(&entry);
                done.into_iter().map(|done| (number, done)).collect()
            };
            self.log(&done)?;
            copies.push((entry, number));
        }
        if let Some(active) = &self.active
            && let Err(error) = active.file.sync()
        {
            self.abandon(&[]);
            return Err(Error::io("sync the journal", error));
        }
        self.sync_logs()?;
        let mut state = self.shared.state.lock();
        for (entry, to) in copies {
            state.moved(entry, to);
        }
        Ok(())
    }
}

fn refuse(jobs: VecDeque<Job>, error: &Error) {
    for Job { room, done, .. } in jobs {
        drop(room);
        let _ = done.send(Err(error.again()));
    }
}

fn new_segment(shared: &Shared, number: u64, room: u64) -> Result<Arc<dyn File>, Error> {
    let name = segment_name(number);
    let file = shared
        .disk
        .create(&name, room)
        .map_err(|e| Error::io("create a segment of the journal", e))?;
    let made = file
        .write_at(&[IoSlice::new(&format::segment_header(number))], 0)
        .and_then(|()| file.sync())
        .and_then(|()| shared.disk.sync_names());
    if let Err(error) = made {
        let _ = shared.disk.remove(&name);
        return Err(Error::io("create a segment of the journal", error));
    }
    Ok(file)
}

impl Job {
    fn len(&self) -> usize {
        format::record_len(&self.head, self.data.iter().map(Bytes::len).sum())
    }
}

impl Active {
    fn has_room(&self, need: u64) -> bool {
        self.offset + need <= self.room && self.index < RECORDS_MAX
    }

    /// Writes a group behind what is there, and makes it safe.
    fn write(&mut self, group: &[Job], sync: bool) -> Result<Vec<Entry>, Error> {
        let fronts: Vec<Vec<u8>> = group
            .iter()
            .enumerate()
            .map(|(i, job)| {
                format::record_front(Seq::new(self.number, self.index + i as u64), &job.head, &job.data)
            })
            .collect();
        let mut slices = Vec::with_capacity(group.len() * 3);
        let mut entries = Vec::with_capacity(group.len());
        let mut offset = self.offset;
        for (i, (job, front)) in group.iter().zip(&fronts).enumerate() {
            let len = job.len();
            slices.push(IoSlice::new(front));
            slices.extend(job.data.iter().map(|part| IoSlice::new(part)));
            slices.push(IoSlice::new(&ZEROS[..padded(len) - len]));
            entries.push(Entry {
                seq: Seq::new(self.number, self.index + i as u64),
                offset,
                len: len as u32,
                head: job.head.clone(),
            });
            offset += padded(len) as u64;
        }
        self.file
            .write_at(&slices, self.offset)
            .map_err(|e| Error::io("write the journal", e))?;
        if sync {
            self.file.sync().map_err(|e| Error::io("sync the journal", e))?;
        }
        self.offset = offset;
        self.index += group.len() as u64;
        Ok(entries)
    }
}

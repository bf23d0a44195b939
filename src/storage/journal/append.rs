//! The one thread that writes: groups of records with one sync each. It takes what is there and waits for nobody, so a
//! lone record is written at once; those that come while it syncs are the next group.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::claim::{ClaimLog, Wish};
use super::crypt::{Cipher, Lock};
use super::disk::File;
use super::format::{self, Done, Encoded, Entry, Head, RECORDS_MAX, Seq, Spot, padded};
use super::health::{Task, now_ms};
use super::log::Logs;
use super::mark::{Asked, Marks};
use super::recover::segment_name;
use super::state::Segment;
use super::{Error, Room, Shared};
use crate::crash;

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

const ZEROS: [u8; 8] = [0; 8];

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) active: Option<Active>,
    pub(super) logs: Logs,
    pub(super) marks: Marks,
    pub(super) claims: ClaimLog,
    /// Files beside the segments were created since names were synced.
    pub(super) names_changed: bool,
    /// No segment is removed or copied before: the disk did not let us.
    pub(super) room_after: Option<Instant>,
    /// A segment that could neither be begun nor removed.
    debris: Option<u64>,
}

/// The segment that is written.
pub(super) struct Active {
    pub(super) number: u64,
    pub(super) file: Arc<dyn File>,
    pub(super) cipher: Option<Arc<Cipher>>,
    pub(super) offset: u64,
    /// Up to here all of it is safe.
    pub(super) synced: u64,
    room: u64,
    index: u64,
    pub(super) entries: Vec<Entry>,
}

/// Lets the writer work until the journal is closed. If it panics, nobody waits for it for ever.
pub(super) fn run(writer: Writer) {
    let shared = writer.shared.clone();
    if std::panic::catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
        tracing::error!("the journal's writer panicked; the journal is closed");
        let left = {
            let mut state = shared.state.lock();
            state.closing = true;
            let (jobs, marks) = (std::mem::take(&mut state.jobs), std::mem::take(&mut state.marks));
            (jobs, marks, std::mem::take(&mut state.wishes))
        };
        drop(left);
    }
}

/// What the state asks for.
struct Work {
    jobs: VecDeque<Job>,
    dones: Vec<(u64, Done)>,
    marks: Vec<Asked>,
    wishes: Vec<Wish>,
    closing: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Writer {
        Writer {
            shared,
            active: None,
            logs: Logs::new(),
            marks: Marks::default(),
            claims: ClaimLog::default(),
            names_changed: false,
            room_after: None,
            debris: None,
        }
    }

    /// Works until the journal is closed and nothing is left.
    fn run(mut self) {
        let mut is_touched = !self.shared.is_offline;
        loop {
            if is_touched {
                self.make_room(false);
            }
            let work = self.wait();
            is_touched |= !(work.dones.is_empty() && work.wishes.is_empty());
            self.write_marks(work.marks);
            self.append(work.jobs);
            // What it could not do is told already.
            let _ = self.log(work.dones);
            self.write_claims(work.wishes);
            self.sync_logs_in_time();
            if work.closing && !self.has_more() {
                break;
            }
        }
        // Each says in the log what it could not do; there is nobody else to tell.
        let _ = (self.seal(), self.log_now(Vec::new()), self.sync_logs());
    }

    fn has_more(&self) -> bool {
        let state = self.shared.state.lock();
        !(state.jobs.is_empty()
            && state.dones.is_empty()
            && state.marks.is_empty()
            && state.wishes.is_empty())
    }

    /// Waits for something to do.
    fn wait(&self) -> Work {
        let mut state = self.shared.state.lock();
        while !state.has_work() {
            if !self.has_unfinished() {
                self.shared.work.wait(&mut state);
            } else if self
                .shared
                .work
                .wait_for(&mut state, self.sync_pause())
                .timed_out()
            {
                break;
            }
        }
        let is_urgent =
            !(state.jobs.is_empty() && state.marks.is_empty() && state.wishes.is_empty()) || state.closing;
        if !is_urgent && !state.dones.is_empty() {
            self.shared.work.wait_for(&mut state, DONE_PAUSE);
        }
        let (mut jobs, mut bytes) = (VecDeque::new(), 0);
        while bytes < GROUP_BYTES_MAX
            && let Some(job) = state.jobs.pop_front()
        {
            bytes += job.len(false);
            jobs.push_back(job);
        }
        Work {
            jobs,
            dones: std::mem::take(&mut state.dones),
            marks: std::mem::take(&mut state.marks),
            wishes: std::mem::take(&mut state.wishes),
            closing: state.closing,
        }
    }

    pub(super) fn encrypts(&self) -> bool {
        self.shared.options.key.is_some()
    }

    /// Says in the log what does not work, once.
    pub(super) fn fails(&self, task: Task, error: &Error) {
        let error = error.to_string();
        if self.shared.state.lock().condition.fails(task, &error) {
            match task {
                Task::Append => tracing::error!(error, "the journal takes no records; it tries again"),
                Task::Note => tracing::warn!(
                    error,
                    "the journal cannot note what is done; a restart may send it again"
                ),
                Task::MakeRoom => tracing::warn!(error, "the journal cannot give room back; it tries again"),
            }
        }
    }

    /// Says in the log what works again, once.
    pub(super) fn works(&self, task: Task) {
        if self.shared.state.lock().condition.works(task) {
            tracing::info!(?task, "the journal's disk works again");
        }
    }

    /// Writes the jobs, and answers each. What one file cannot take, a new one is tried with, once.
    fn append(&mut self, mut jobs: VecDeque<Job>) {
        let mut failed = false;
        while let Some(first) = jobs.front() {
            let need = padded(first.len(self.encrypts())) as u64;
            if !self.active.as_ref().is_some_and(|a| a.has_room(need))
                && let Err(error) = self.begin_segment(need)
            {
                return self.refuse(jobs, &error);
            }
            let group = self.group(&mut jobs);
            crash::point("journal.append.before_write");
            let Some(active) = &mut self.active else { return };
            match active.write(&group, self.shared.options.sync) {
                Ok((entries, took)) => {
                    // Told before the answers: who has one must not find trouble that is over.
                    self.works(Task::Append);
                    self.publish(group, entries, took);
                }
                Err(error) => {
                    self.fails(Task::Append, &error);
                    self.abandon(&group);
                    for job in group.into_iter().rev() {
                        jobs.push_front(job);
                    }
                    if failed {
                        return self.refuse(jobs, &error);
                    }
                    failed = true;
                }
            }
        }
    }

    /// As many of the jobs as the active segment takes.
    fn group(&self, jobs: &mut VecDeque<Job>) -> Vec<Job> {
        let mut group: Vec<Job> = Vec::with_capacity(jobs.len());
        let Some(active) = &self.active else { return group };
        let mut bytes = 0;
        while let Some(job) = jobs.front() {
            let len = padded(job.len(self.encrypts())) as u64;
            if !active.has_room(bytes + len) || active.index + group.len() as u64 >= RECORDS_MAX {
                break;
            }
            bytes += len;
            group.extend(jobs.pop_front());
        }
        group
    }

    fn refuse(&self, jobs: VecDeque<Job>, error: &Error) {
        self.fails(Task::Append, error);
        self.shared.state.lock().condition.counts.refused += jobs.len() as u64;
        for Job { room, done, .. } in jobs {
            drop(room);
            let _ = done.send(Err(error.again()));
        }
    }

    /// A new segment with at least this room, and when there is none for it, after making some.
    fn begin_segment(&mut self, need: u64) -> Result<(), Error> {
        // Room for one more stays free: without it nothing could be copied forward any more, and full would be for ever.
        let spare = Some(self.shared.options.segment());
        match self.rotate(need, spare) {
            Err(Error::Full) => {
                self.make_room(true);
                if self.active.as_ref().is_some_and(|a| a.has_room(need)) {
                    return Ok(());
                }
                self.rotate(need, spare)
            }
            rotated => rotated,
        }
    }

    fn publish(&mut self, group: Vec<Job>, entries: Vec<Entry>, took: Option<Duration>) {
        let Some(active) = &mut self.active else { return };
        active.entries.extend(entries.iter().cloned());
        let mut answers = Vec::with_capacity(group.len());
        crash::point("journal.append.before_publish");
        {
            let mut state = self.shared.state.lock();
            took.into_iter().for_each(|took| state.condition.synced(took));
            for entry in entries {
                answers.push(entry.seq);
                state.condition.counts.appended += 1;
                state.condition.counts.appended_bytes += entry.room();
                state.insert(active.number, entry);
            }
        }
        crash::point("journal.append.before_answer");
        for (job, seq) in group.into_iter().zip(answers) {
            let Job { room, done, .. } = job;
            // What was reserved is held now.
            drop(room);
            let _ = done.send(Ok(seq));
        }
        crash::point("journal.append.after_answer");
    }

    /// Never again on this file. What of the group may lie in it all the same is nobody's: it goes elsewhere.
    pub(super) fn abandon(&mut self, group: &[Job]) {
        let Some(active) = self.active.take() else { return };
        let mut dones = Vec::new();
        for (i, job) in group.iter().enumerate() {
            for destination in job.head.destinations.iter() {
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
        let _ = self.log_now(dones);
    }

    /// Seals the active segment and begins another one with at least this room, if `spare` bytes remain free then. For
    /// copies, which make room, there is no bound: the journal is larger by what they take until they are safe.
    pub(super) fn rotate(&mut self, need: u64, spare: Option<u64>) -> Result<(), Error> {
        // What it holds is safe without its index.
        let _ = self.seal();
        let header = format::SEGMENT_HEADER as u64;
        let shared = self.shared.clone();
        let options = &shared.options;
        let room = options.segment().max(header + need);
        let number = {
            let mut state = self.shared.state.lock();
            if let Some((max, spare)) = options.bytes_max.zip(spare)
                && state.bytes() + room + spare > max
            {
                return Err(Error::Full);
            }
            // Counted up even if it fails: a number is never used twice.
            state.next_segment += 1;
            state.next_segment - 1
        };
        let lock = options.key.as_ref().map(Lock::new).transpose()?;
        let file = self.new_segment(number, room, lock.as_ref())?;
        let cipher = options
            .key
            .as_ref()
            .zip(lock)
            .map(|(key, lock)| Arc::new(key.cipher(&lock.salt)));
        self.shared.state.lock().segments.insert(
            number,
            Segment {
                file: file.clone(),
                cipher: cipher.clone(),
                done: None,
                done_len: 0,
                size: room,
                live: 0,
                seqs: Vec::new(),
                sealed: false,
                suspect: false,
                damaged: None,
            },
        );
        self.active = Some(Active {
            number,
            file,
            cipher,
            offset: header,
            synced: header,
            room,
            index: 0,
            entries: Vec::new(),
        });
        Ok(())
    }

    fn new_segment(&mut self, number: u64, room: u64, lock: Option<&Lock>) -> Result<Arc<dyn File>, Error> {
        let doing = "create a segment of the journal";
        let disk = self.shared.disk.clone();
        if let Some(debris) = self.debris {
            disk.remove(&segment_name(debris))
                .map_err(|e| Error::io("remove a segment of the journal", e))?;
            self.debris = None;
        }
        let name = segment_name(number);
        let file = disk.create(&name, room).map_err(|e| Error::io(doing, e))?;
        crash::point("journal.rotate.after_create");
        // The first group's sync makes the header safe too. Where there is none, an encrypted segment without its header
        // would be lost as a whole.
        let is_synced_later = self.shared.options.sync;
        let made = file
            .write_at(&[IoSlice::new(&format::segment_header(number, lock))], 0)
            .and_then(|()| if is_synced_later { Ok(()) } else { file.sync() })
            .and_then(|()| {
                crash::point("journal.rotate.after_header");
                disk.sync_names()
            });
        if let Err(error) = made {
            if disk.remove(&name).is_err() {
                self.debris = Some(number);
            }
            return Err(Error::io(doing, error));
        }
        crash::point("journal.rotate.after_names_sync");
        Ok(file)
    }

    /// Makes what was written to the active segment safe, or never writes to it again.
    pub(super) fn sync_active(&mut self) -> Result<(), Error> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        if let Err(error) = active.file.sync() {
            self.abandon(&[]);
            return Err(Error::io("sync the journal", error));
        }
        active.synced = active.offset;
        Ok(())
    }

    /// Closes the active segment with its index. Without one it can be read all the same, only slower; so it is synced
    /// when there is time.
    pub(super) fn seal(&mut self) -> Result<(), Error> {
        // An index says that all of it is safe.
        if self.active.as_ref().is_some_and(|a| a.synced < a.offset) {
            self.sync_active()?;
        }
        let Some(active) = self.active.take() else {
            return Ok(());
        };
        let index = format::index_encode(&active.entries, (active.cipher.as_deref(), active.offset));
        let size = active.offset + index.len() as u64;
        crash::point("journal.seal.before_index");
        let written = active
            .file
            .set_len(size)
            .and_then(|()| active.file.write_at(&[IoSlice::new(&index)], active.offset));
        crash::point("journal.seal.after_index");
        self.logs.sync_later(active.file);
        if let Err(error) = &written {
            tracing::warn!(%error, "a segment of the journal has no index; the next start reads all of it");
        }
        if let Some(segment) = self.shared.state.lock().segments.get_mut(&active.number) {
            segment.sealed = true;
            segment.size = size;
        }
        written.map_err(|e| Error::io("close a segment of the journal", e))
    }
}

impl Job {
    fn len(&self, encrypted: bool) -> usize {
        let data = self.data.iter().map(Bytes::len).sum();
        format::record_len(&self.head, data, encrypted)
    }
}

impl Active {
    pub(super) fn has_room(&self, need: u64) -> bool {
        self.offset + need <= self.room && self.index < RECORDS_MAX
    }

    pub(super) fn spot(&self, offset: u64) -> Spot<'_> {
        Spot {
            cipher: self.cipher.as_deref(),
            offset,
            safe: self.synced,
        }
    }

    /// Writes a group behind what is there, and makes it safe; says how long that took.
    fn write(&mut self, group: &[Job], sync: bool) -> Result<(Vec<Entry>, Option<Duration>), Error> {
        let written_ms = now_ms();
        let mut encoded: Vec<Encoded> = Vec::with_capacity(group.len());
        let mut entries = Vec::with_capacity(group.len());
        let mut offset = self.offset;
        for (job, index) in group.iter().zip(self.index..) {
            let seq = Seq::new(self.number, index);
            let spot = self.spot(offset);
            let record = format::record_encode((seq, written_ms), &job.head, &job.data, spot);
            let entry = Entry {
                seq,
                offset,
                len: record.len as u32,
                written_ms,
                head: job.head.clone(),
            };
            offset += entry.room();
            encoded.push(record);
            entries.push(entry);
        }
        let mut slices = Vec::with_capacity(group.len() * 3);
        for (job, record) in group.iter().zip(&encoded) {
            slices.push(IoSlice::new(&record.front));
            match &record.sealed {
                Some(text) => slices.push(IoSlice::new(text)),
                None => slices.extend(job.data.iter().map(|part| IoSlice::new(part))),
            }
            slices.push(IoSlice::new(&ZEROS[..padded(record.len) - record.len]));
        }
        self.file
            .write_at(&slices, self.offset)
            .map_err(|e| Error::io("write the journal", e))?;
        crash::point("journal.append.before_sync");
        let took = if sync {
            let start = Instant::now();
            self.file.sync().map_err(|e| Error::io("sync the journal", e))?;
            Some(start.elapsed())
        } else {
            None
        };
        self.offset = offset;
        if sync {
            self.synced = offset;
        }
        self.index += group.len() as u64;
        Ok((entries, took))
    }
}

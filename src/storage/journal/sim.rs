//! A disk that tears, reorders, fills up and dies on command.
//!
//! What was written and not synced may be lost, in whole or by the sector, in any order; names that were not synced
//! likewise. A failed sync loses what it should have written, and the next one succeeds all the same without it, as on
//! Linux, where the pages that could not be written count as clean.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, File};

const SECTOR: usize = 512;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Writing and syncing give an I/O error; what was not synced is gone.
    Io,
    /// Nothing can be written, created or removed.
    ReadOnly,
    /// Syncing fails, and what it should have written is gone.
    Sync,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: BTreeMap<String, Shared>,
    synced_names: BTreeMap<String, Shared>,
    pending_names: Vec<NameOp>,
    /// Bytes that all files together may have.
    capacity: Option<u64>,
    failure: Option<Failure>,
    /// Operations until another failure begins.
    later: Option<(u64, Failure)>,
    /// Operations until everything stops answering, as if the power were gone.
    fuse: Option<u64>,
    written: u64,
    syncs: u64,
}

type Shared = Arc<Mutex<Content>>;

#[derive(Clone)]
enum NameOp {
    Set(String, Shared),
    Remove(String),
}

#[derive(Clone, Default)]
struct Content {
    /// As programs see it.
    seen: Vec<u8>,
    /// As it is on the platter.
    synced: Vec<u8>,
    pending: Vec<Write>,
}

/// What was written and not synced.
#[derive(Clone)]
struct Write {
    at: usize,
    data: Vec<u8>,
    /// It was under way when everything ended: no program saw it done.
    is_torn: bool,
}

/// splitmix64: the same seed, the same accident.
struct Rng(u64);

impl Rng {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn chance(&mut self) -> bool {
        self.bits() & 1 == 0
    }
}

impl SimDisk {
    /// An empty disk of this size.
    pub fn with_capacity(bytes: u64) -> SimDisk {
        let disk = SimDisk::default();
        disk.0.lock().capacity = Some(bytes);
        disk
    }

    /// Another size; `None` = without end.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// From now on this goes wrong; `None` = nothing does.
    pub fn fail(&self, failure: Option<Failure>) {
        let mut state = self.0.lock();
        (state.failure, state.later) = (failure, None);
    }

    /// After so many further operations this goes wrong.
    pub fn fail_after(&self, operations: u64, failure: Failure) {
        self.0.lock().later = Some((operations, failure));
    }

    /// After so many further operations nothing works any more.
    pub fn burn_after(&self, operations: u64) {
        self.0.lock().fuse = Some(operations);
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.0.lock().written
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Flips one bit of one file that is on the platter, if there are any bytes.
    pub fn flip(&self, seed: u64) {
        let rng = &mut Rng(seed);
        let state = self.0.lock();
        let files: Vec<_> = state
            .names
            .values()
            .filter(|f| !f.lock().seen.is_empty())
            .collect();
        if files.is_empty() {
            return;
        }
        let mut content = files[(rng.bits() % files.len() as u64) as usize].lock();
        let at = (rng.bits() % content.seen.len() as u64) as usize;
        let bit = 1 << (rng.bits() % 8);
        content.seen[at] ^= bit;
        if let Some(byte) = content.synced.get_mut(at) {
            *byte ^= bit;
        }
    }

    /// What the next process finds when this one ends at this moment and the power stays: all that was written, some of
    /// it still unsynced.
    pub fn kill(&self) -> SimDisk {
        let state = self.0.lock();
        let mut copies: Vec<(Shared, Shared)> = Vec::new();
        let mut copy = |of: &Shared| {
            if let Some((_, copy)) = copies.iter().find(|(other, _)| Arc::ptr_eq(other, of)) {
                return copy.clone();
            }
            let mut content = of.lock().clone();
            content.pending.retain(|write| !write.is_torn);
            let copy = Arc::new(Mutex::new(content));
            copies.push((of.clone(), copy.clone()));
            copy
        };
        let mut all = |names: &BTreeMap<String, Shared>| -> BTreeMap<String, Shared> {
            names.iter().map(|(name, of)| (name.clone(), copy(of))).collect()
        };
        let (names, synced_names) = (all(&state.names), all(&state.synced_names));
        let pending_names = state.pending_names.iter().map(|op| match op {
            NameOp::Set(name, of) => NameOp::Set(name.clone(), copy(of)),
            NameOp::Remove(name) => NameOp::Remove(name.clone()),
        });
        SimDisk(Arc::new(Mutex::new(State {
            names,
            synced_names,
            pending_names: pending_names.collect(),
            capacity: state.capacity,
            ..State::default()
        })))
    }

    /// Bytes that all files have.
    pub fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// True if these bytes lie in any file, be it only in what was cut off or overwritten since it was last synced.
    pub fn holds(&self, needle: &[u8]) -> bool {
        let has = |bytes: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
        self.0.lock().names.values().any(|file| {
            let content = file.lock();
            has(&content.seen) || has(&content.synced) || content.pending.iter().any(|write| has(&write.data))
        })
    }

    /// What is found after a power failure at this moment.
    pub fn crash(&self, seed: u64) -> SimDisk {
        let rng = &mut Rng(seed);
        let state = self.0.lock();
        let mut names = state.synced_names.clone();
        for op in &state.pending_names {
            if rng.chance() {
                match op.clone() {
                    NameOp::Set(name, content) => {
                        names.retain(|_, other| !Arc::ptr_eq(other, &content));
                        names.insert(name, content);
                    }
                    NameOp::Remove(name) => drop(names.remove(&name)),
                }
            }
        }
        let survived = |content: &Content, rng: &mut Rng| {
            let mut bytes = content.synced.clone();
            let mut writes: Vec<(usize, &[u8])> = Vec::new();
            for write in &content.pending {
                let mut at = write.at;
                let mut rest = write.data.as_slice();
                while !rest.is_empty() {
                    let n = rest.len().min(SECTOR - at % SECTOR);
                    writes.push((at, &rest[..n]));
                    (at, rest) = (at + n, &rest[n..]);
                }
            }
            let all = rng.chance() && rng.chance();
            for (at, data) in writes {
                if all || rng.chance() {
                    if bytes.len() < at + data.len() {
                        bytes.resize(at + data.len(), 0);
                    }
                    bytes[at..at + data.len()].copy_from_slice(data);
                }
            }
            bytes
        };
        let names: BTreeMap<_, _> = names
            .into_iter()
            .map(|(name, content)| {
                let bytes = survived(&content.lock(), rng);
                let content = Content {
                    seen: bytes.clone(),
                    synced: bytes,
                    pending: Vec::new(),
                };
                (name, Arc::new(Mutex::new(content)))
            })
            .collect();
        SimDisk(Arc::new(Mutex::new(State {
            synced_names: names.clone(),
            names,
            capacity: state.capacity,
            ..State::default()
        })))
    }
}

impl State {
    /// One operation happens, or does not.
    fn operate(&mut self, writes: bool) -> io::Result<()> {
        if let Some(left) = &mut self.fuse {
            if *left == 0 {
                return Err(io::Error::other("the disk is gone"));
            }
            *left -= 1;
        }
        match &mut self.later {
            Some((0, failure)) => self.failure = Some(*failure),
            Some((left, _)) => *left -= 1,
            None => {}
        }
        match self.failure {
            Some(Failure::ReadOnly) if writes => Err(ErrorKind::ReadOnlyFilesystem.into()),
            Some(Failure::Io) if writes => Err(io::Error::other("input/output error")),
            _ => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|f| f.lock().seen.len() as u64).sum()
    }

    fn name(&mut self, op: NameOp) {
        match op.clone() {
            NameOp::Set(name, content) => drop(self.names.insert(name, content)),
            NameOp::Remove(name) => drop(self.names.remove(&name)),
        }
        self.pending_names.push(op);
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.0.lock();
        state.operate(false)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, room: u64) -> io::Result<Arc<dyn File>> {
        let mut state = self.0.lock();
        state.operate(true)?;
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if state.capacity.is_some_and(|max| state.used() + room > max) {
            return Err(ErrorKind::StorageFull.into());
        }
        let content = Arc::new(Mutex::new(Content {
            seen: vec![0; room as usize],
            ..Content::default()
        }));
        state.name(NameOp::Set(name.to_owned(), content.clone()));
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            content,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.0.lock();
        state.operate(false)?;
        let content = state.names.get(name).ok_or(ErrorKind::NotFound)?.clone();
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            content,
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate(true)?;
        if !state.names.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        state.name(NameOp::Remove(name.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate(true)?;
        let content = state.names.get(from).ok_or(ErrorKind::NotFound)?.clone();
        // One operation: after a crash there is the old or the new.
        state.names.remove(from);
        state.name(NameOp::Set(to.to_owned(), content));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operate(true)?;
        if state.failure == Some(Failure::Sync) {
            return Err(io::Error::other("input/output error"));
        }
        state.pending_names.clear();
        state.synced_names = state.names.clone();
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    content: Shared,
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.0.lock().operate(false)?;
        let content = self.content.lock();
        let start = content.seen.len().min(offset as usize);
        let n = buf.len().min(content.seen.len() - start);
        buf[..n].copy_from_slice(&content.seen[start..start + n]);
        Ok(n)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let done = state.operate(true);
        let data: Vec<u8> = slices.iter().flat_map(|s| s.to_vec()).collect();
        let at = offset as usize;
        let end = at + data.len();
        let grows = end.saturating_sub(self.content.lock().seen.len()) as u64;
        if done.is_ok()
            && state
                .capacity
                .is_some_and(|max| grows > 0 && state.used() + grows > max)
        {
            return Err(ErrorKind::StorageFull.into());
        }
        let mut content = self.content.lock();
        if done.is_err() && state.failure.is_none() {
            // The power went during this write: as much of it as a crash makes of it.
            content.pending.push(Write {
                at,
                data,
                is_torn: true,
            });
            return done;
        }
        done?;
        state.written += data.len() as u64;
        if content.seen.len() < end {
            content.seen.resize(end, 0);
        }
        content.seen[at..end].copy_from_slice(&data);
        content.pending.push(Write {
            at,
            data,
            is_torn: false,
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let mut content = self.content.lock();
        let failed = state.operate(true).is_err() && state.failure.is_some();
        if failed || state.failure == Some(Failure::Sync) {
            content.pending.clear();
            return Err(io::Error::other("input/output error"));
        }
        if state.fuse == Some(0) {
            return Err(io::Error::other("the disk is gone"));
        }
        state.syncs += 1;
        let Content { synced, pending, .. } = &mut *content;
        for Write { at, data, .. } in pending.drain(..) {
            let end = at + data.len();
            if synced.len() < end {
                synced.resize(end, 0);
            }
            synced[at..end].copy_from_slice(&data);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.0.lock().operate(true)?;
        let mut content = self.content.lock();
        // A length is taken as safe at once: what lies beyond was never promised to anybody.
        content.seen.resize(len as usize, 0);
        content.synced.truncate(len as usize);
        content.pending.retain_mut(|write| {
            write.data.truncate((len as usize).saturating_sub(write.at));
            !write.data.is_empty()
        });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().seen.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_synced_survives_and_what_is_not_may_not() {
        let (mut lost, mut torn, mut kept) = (0, 0, 0);
        for seed in 0..200 {
            let disk = SimDisk::default();
            let file = disk.create("a", 0).unwrap();
            file.write_at(&[IoSlice::new(&[1; 2000])], 0).unwrap();
            file.sync().unwrap();
            disk.sync_names().unwrap();
            file.write_at(&[IoSlice::new(&[2; 2000])], 2000).unwrap();
            let after = disk.crash(seed);
            let found = after.open("a").unwrap();
            let mut buf = vec![0; 4000];
            let n = found.read_at(&mut buf, 0).unwrap();
            assert!(buf[..2000].iter().all(|b| *b == 1));
            match (n, buf[2000..].iter().all(|b| *b == 2)) {
                (2000, _) => lost += 1,
                (4000, true) => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(lost > 2 && torn > 50 && kept > 20, "{lost} {torn} {kept}");
    }

    #[test]
    fn names_survive_when_they_are_synced() {
        let mut found = [0; 2];
        for seed in 0..50 {
            let disk = SimDisk::default();
            disk.create("a", 10).unwrap();
            disk.sync_names().unwrap();
            disk.rename("a", "b").unwrap();
            let names = disk.crash(seed).list().unwrap();
            assert_eq!(names.len(), 1);
            found[usize::from(names[0] == "b")] += 1;
        }
        assert!(found[0] > 5 && found[1] > 5, "{found:?}");
    }

    #[test]
    fn what_a_failed_sync_lost_no_later_one_brings_back() {
        let disk = SimDisk::default();
        let file = disk.create("a", 0).unwrap();
        disk.sync_names().unwrap();
        let write = |byte: u8, at| file.write_at(&[IoSlice::new(&[byte; 4])], at);
        write(1, 0).unwrap();
        disk.fail(Some(Failure::Sync));
        file.sync().unwrap_err();
        disk.fail(None);
        write(2, 4).unwrap();
        file.sync().unwrap();
        let read = |disk: &SimDisk| {
            let mut buf = [9; 8];
            disk.open("a").unwrap().read_at(&mut buf, 0).unwrap();
            buf
        };
        assert_eq!(read(&disk), [1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(read(&disk.kill()), [1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(read(&disk.crash(1)), [0, 0, 0, 0, 2, 2, 2, 2]);
        assert_eq!(read(&disk.kill().crash(1)), [0, 0, 0, 0, 2, 2, 2, 2]);
    }

    #[test]
    fn a_killed_process_loses_nothing_until_the_power_goes() {
        let mut lost = 0;
        for seed in 0..50 {
            let disk = SimDisk::default();
            let file = disk.create("a", 0).unwrap();
            file.write_at(&[IoSlice::new(b"data")], 0).unwrap();
            let killed = disk.kill();
            // It is another disk from now on.
            disk.remove("a").unwrap();
            let mut buf = [0; 4];
            killed.open("a").unwrap().read_at(&mut buf, 0).unwrap();
            assert_eq!(&buf, b"data");
            assert!(killed.holds(b"ata") && !killed.holds(b"tad"));
            lost += u64::from(!killed.crash(seed).holds(b"data"));
        }
        assert!((10..50).contains(&lost), "{lost}");
    }

    #[test]
    fn fails_on_command() {
        let disk = SimDisk::with_capacity(100);
        let file = disk.create("a", 80).unwrap();
        assert_eq!(disk.create("b", 80).err().unwrap().kind(), ErrorKind::StorageFull);
        let write = |at| file.write_at(&[IoSlice::new(b"0123456789")], at);
        write(70).unwrap();
        assert_eq!(write(95).unwrap_err().kind(), ErrorKind::StorageFull);
        disk.fail(Some(Failure::ReadOnly));
        assert_eq!(write(0).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
        disk.fail(Some(Failure::Sync));
        write(0).unwrap();
        file.sync().unwrap_err();
        disk.fail(None);
        file.sync().unwrap();
        disk.burn_after(1);
        write(0).unwrap();
        write(0).unwrap_err();
        disk.list().unwrap_err();
    }
}

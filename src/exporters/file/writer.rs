//! One file, written by whole records: what is in it never ends in the middle of one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::rotate;
use super::{Compression, Format, Rotation};

const IN_USE: &str = "another process writes to it, or another exporter of this one: take another path";
const OTHER_FORM: &str = "the exporter whose place this one takes writes it in another format or compression: \
                          take another path, or restart the process";

/// How the file is opened.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) path: PathBuf,
    /// Empties what is there.
    pub(super) truncate: bool,
    pub(super) rotation: Option<Rotation>,
    /// Makes missing directories with this mode.
    pub(super) directory_mode: Option<u32>,
    /// Forces each record to disk.
    pub(super) sync: bool,
    /// How records stand in it.
    pub(super) form: (Format, Compression),
}

/// One exporter's way to its file.
pub(super) struct Writer {
    how: Open,
    file: OnceLock<Arc<Slot>>,
    is_open: AtomicBool,
}

/// The file, while it is open; exclusive by a lock, so that no second gateway writes between our records. An exporter
/// and the one that takes its place at a reload share it, so that both write whole records, one behind the other.
#[derive(Default)]
pub(super) struct Slot(Mutex<Option<Current>>);

struct Current {
    file: File,
    /// Length up to the end of the last whole record.
    len: u64,
    /// Something behind `len` must be cut off first.
    torn: bool,
    /// Pipes and devices have no locks, no length and nothing to sync; `/dev/stdout` is a usual path in containers.
    regular: bool,
    form: (Format, Compression),
    /// Writers that have it open.
    users: usize,
}

impl Writer {
    pub(super) fn new(how: Open) -> Writer {
        Writer {
            how,
            file: OnceLock::new(),
            is_open: AtomicBool::new(false),
        }
    }

    /// Shares the file with whoever has this slot too; before it is opened.
    pub(super) fn share(&self, slot: Arc<Slot>) {
        // Started twice, the first one stays.
        let _ = self.file.set(slot);
    }

    pub(super) fn path(&self) -> &Path {
        &self.how.path
    }

    /// Opens the file, or goes on with that of the exporter whose place this one takes, which is not emptied then.
    pub(super) fn open(&self) -> io::Result<()> {
        let mut slot = self.slot().0.lock();
        if self.is_open.load(Relaxed) {
            return Ok(());
        }
        match &mut *slot {
            Some(current) if current.form != self.how.form => return Err(io::Error::other(OTHER_FORM)),
            Some(current) => current.users += 1,
            None => {
                if let (Some(mode), Some(parent)) = (self.how.directory_mode, self.how.path.parent()) {
                    fs::DirBuilder::new().recursive(true).mode(mode).create(parent)?;
                }
                *slot = Some(Current::open(&self.how, self.how.truncate)?);
            }
        }
        self.is_open.store(true, Relaxed);
        Ok(())
    }

    fn slot(&self) -> &Slot {
        self.file.get_or_init(Arc::default)
    }

    /// Writes one record, whole or not at all.
    pub(super) fn append(&self, record: &[u8]) -> io::Result<()> {
        let mut slot = self.slot().0.lock();
        let current = slot
            .as_mut()
            .filter(|_| self.is_open.load(Relaxed))
            .ok_or_else(|| io::Error::other("the file is closed"))?;
        current.mend()?;
        if let Some(rotation) = &self.how.rotation {
            let len_max = rotation.max_megabytes.saturating_mul(1 << 20);
            if current.len > 0 && current.len.saturating_add(record.len() as u64) > len_max {
                rotate::set_aside(&self.how.path, SystemTime::now())?;
                let users = current.users;
                *current = Current::open(&self.how, false)?;
                current.users = users;
                rotate::clean(&self.how.path, rotation, SystemTime::now());
            }
        }
        current.append(record, self.how.sync)
    }

    /// Syncs, and closes unless another one has it open. Safe to call twice.
    pub(super) fn close(&self) -> io::Result<()> {
        let mut slot = self.slot().0.lock();
        if !self.is_open.swap(false, Relaxed) {
            return Ok(());
        }
        let Some(current) = slot.as_mut() else {
            return Ok(());
        };
        current.users -= 1;
        let (is_last, regular) = (current.users == 0, current.regular);
        let synced = match regular {
            true => current.mend().and(current.file.sync_all()),
            false => Ok(()),
        };
        if is_last {
            *slot = None;
        }
        synced
    }
}

impl Current {
    fn open(how: &Open, truncate: bool) -> io::Result<Current> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&how.path)?;
        let regular = file.metadata()?.is_file();
        if regular {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::other(IN_USE));
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if truncate {
                file.set_len(0)?;
            }
        }
        let len = if regular { file.metadata()?.len() } else { 0 };
        Ok(Current {
            file,
            len,
            torn: false,
            regular,
            form: how.form,
            users: 1,
        })
    }

    fn append(&mut self, record: &[u8], sync: bool) -> io::Result<()> {
        let written = self.file.write_all(record);
        if let Err(error) = written.and_then(|()| {
            if sync && self.regular {
                self.file.sync_data()
            } else {
                Ok(())
            }
        }) {
            self.torn = self.regular;
            // Tried again before the next record if it does not work now.
            let _ = self.mend();
            return Err(error);
        }
        self.len += record.len() as u64;
        Ok(())
    }

    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.len)?;
            self.file.seek(SeekFrom::End(0))?;
            self.torn = false;
        }
        Ok(())
    }
}

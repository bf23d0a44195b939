//! One file, written by whole records: what is in it never ends in the middle of one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::Rotation;
use super::rotate;

const IN_USE: &str = "another process writes to it, or this one until it is restarted: \
                      restart it to change an exporter of the same path, or take another path";

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
}

/// The file, once it is open; exclusive by a lock, so that no second gateway writes between our records.
pub(super) struct Writer {
    how: Open,
    file: Mutex<Option<Current>>,
}

struct Current {
    file: File,
    /// Length up to the end of the last whole record.
    len: u64,
    /// Something behind `len` must be cut off first.
    torn: bool,
    /// Pipes and devices have no locks, no length and nothing to sync; `/dev/stdout` is a usual path in containers.
    regular: bool,
}

impl Writer {
    pub(super) fn new(how: Open) -> Writer {
        Writer {
            how,
            file: Mutex::new(None),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.how.path
    }

    pub(super) fn open(&self) -> io::Result<()> {
        let mut current = self.file.lock();
        if current.is_none() {
            if let (Some(mode), Some(parent)) = (self.how.directory_mode, self.how.path.parent()) {
                fs::DirBuilder::new().recursive(true).mode(mode).create(parent)?;
            }
            *current = Some(Current::open(&self.how.path, self.how.truncate)?);
        }
        Ok(())
    }

    /// Writes one record, whole or not at all.
    pub(super) fn append(&self, record: &[u8]) -> io::Result<()> {
        let mut slot = self.file.lock();
        let current = slot
            .as_mut()
            .ok_or_else(|| io::Error::other("the file is closed"))?;
        current.mend()?;
        if let Some(rotation) = &self.how.rotation {
            let len_max = rotation.max_megabytes.saturating_mul(1 << 20);
            if current.len > 0 && current.len.saturating_add(record.len() as u64) > len_max {
                rotate::set_aside(&self.how.path, SystemTime::now())?;
                *current = Current::open(&self.how.path, false)?;
                rotate::clean(&self.how.path, rotation, SystemTime::now());
            }
        }
        current.append(record, self.how.sync)
    }

    /// Syncs and closes. Safe to call twice.
    pub(super) fn close(&self) -> io::Result<()> {
        match self.file.lock().take() {
            Some(mut current) if current.regular => current.mend().and(current.file.sync_all()),
            _ => Ok(()),
        }
    }
}

impl Current {
    fn open(path: &Path, truncate: bool) -> io::Result<Current> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
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

//! The files below the journal, as a trait, so that a disk that tears, fills and fails can stand in for the real one.
//!
//! Names are plain file names in one directory. Everything blocks: callers are on threads that may.

use std::fs;
use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

use crate::crash;

/// A directory of files.
pub trait Disk: Send + Sync {
    /// Names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a new file; `room` bytes of it are set aside, so that writing them cannot find the disk full.
    fn create(&self, name: &str, room: u64) -> io::Result<Arc<dyn File>>;

    /// Opens a file that is there, to read and to write.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, in place of whatever had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creating, renaming and removing safe against a crash.
    fn sync_names(&self) -> io::Result<()>;

    /// Lets another process have the directory; files that are open can be read on.
    fn release(&self) {}
}

/// One file.
pub trait File: Send + Sync {
    /// Fills the buffer from `offset` on; fewer bytes only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of the slices, one behind the other, from `offset` on.
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Makes what was written safe against a crash.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file off, or lengthens it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length in bytes, with what was set aside.
    fn len(&self) -> io::Result<u64>;

    /// True if it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A directory of the machine, locked for this process until it is released or dropped.
pub struct RealDisk {
    dir: PathBuf,
    names: fs::File,
    // Holds the lock for as long as it is open.
    lock: Mutex<Option<fs::File>>,
}

const LOCK: &str = "lock";
/// Nobody else is to read what passes through.
const MODE: u32 = 0o600;

impl RealDisk {
    /// Opens a directory and locks it. Errors: it is not there, or another process has it.
    pub fn open(dir: &Path) -> io::Result<RealDisk> {
        let names = fs::File::open(dir)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(MODE)
            .open(dir.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock => io::Error::new(
                ErrorKind::WouldBlock,
                format!("{} is in use by another process", dir.display()),
            ),
            _ => e.into(),
        })?;
        // It may have been made a moment ago. Where its parent cannot be opened or synced, others saw to it.
        if let Some(Ok(parent)) = fs::canonicalize(dir)?.parent().map(fs::File::open) {
            let _ = parent.sync_all();
        }
        Ok(RealDisk {
            dir: dir.to_owned(),
            names,
            lock: Mutex::new(Some(lock)),
        })
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            // Names that are not text are not ours.
            if let Ok(name) = entry.file_name().into_string()
                && name != LOCK
                && entry.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, room: u64) -> io::Result<Arc<dyn File>> {
        let path = self.dir.join(name);
        let file = fs::OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(MODE)
            .open(&path)?;
        if room > 0
            && let Err(error) = fallocate(&file, FallocateFlags::empty(), 0, room)
        {
            // A file system that cannot set room aside is no reason to refuse: writing may find it full then.
            if error != rustix::io::Errno::OPNOTSUPP {
                let _ = fs::remove_file(&path);
                return Err(error.into());
            }
            file.set_len(room)?;
        }
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.dir.join(name);
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.names.sync_all()
    }

    fn release(&self) {
        drop(self.lock.lock().take());
    }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buf.len() {
            match self.0.read_at(&mut buf[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(read)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut left: Vec<IoSlice<'_>> = slices.to_vec();
        let (mut left, mut at) = (left.as_mut_slice(), offset);
        // Empty slices at the front are no progress, and so no reason to stop.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let some = &left[..left.len().min(SLICES_MAX)];
            match rustix::io::pwritev(&self.0, some, at) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    IoSlice::advance_slices(&mut left, n);
                    at += n as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// All bytes of a file.
pub(super) fn read_all(file: &dyn File) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; file.len()? as usize];
    let n = file.read_at(&mut buf, 0)?;
    buf.truncate(n);
    Ok(buf)
}

/// Puts a file of this content in place of another: after a crash there is the old one or the new one. Passes the crash
/// points before and after the new one has its name.
pub(super) fn replace(
    disk: &dyn Disk,
    name: &str,
    content: &[IoSlice<'_>],
    [before, after]: [&'static str; 2],
) -> io::Result<()> {
    let new = format!("{name}.new");
    match disk.remove(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = disk.create(&new, 0)?;
    let written = file.write_at(content, 0).and_then(|()| file.sync());
    if let Err(error) = written {
        // It takes room and is of no use; the next attempt would remove it too.
        let _ = disk.remove(&new);
        return Err(error);
    }
    crash::point(before);
    disk.rename(&new, name)?;
    disk.sync_names()?;
    crash::point(after);
    Ok(())
}

/// The kernel's IOV_MAX.
const SLICES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let first = RealDisk::open(dir.path()).unwrap();
        let second = RealDisk::open(dir.path()).err().unwrap();
        assert_eq!(second.kind(), ErrorKind::WouldBlock);
        assert!(
            second.to_string().contains("in use by another process"),
            "{second}"
        );
        first.release();
        let third = RealDisk::open(dir.path()).unwrap();
        assert!(RealDisk::open(dir.path()).is_err());
        drop((first, third));
        RealDisk::open(dir.path()).unwrap();
    }

    #[test]
    fn files_are_written_in_place_and_renamed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        let file = disk.create("a", 100).unwrap();
        assert_eq!(file.len().unwrap(), 100);
        for name in ["a", LOCK] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let many = vec![b'x'; 3000];
        let mut slices: Vec<IoSlice<'_>> = many.chunks(1).map(IoSlice::new).collect();
        slices.insert(0, IoSlice::new(b""));
        file.write_at(&slices, 50).unwrap();
        file.sync().unwrap();
        let mut buf = vec![0; 4000];
        assert_eq!(file.read_at(&mut buf, 40).unwrap(), 3010);
        assert!(buf[..10].iter().all(|b| *b == 0) && buf[10..3010] == many);
        assert_eq!(
            disk.create("a", 0).err().unwrap().kind(),
            ErrorKind::AlreadyExists
        );
        disk.rename("a", "b").unwrap();
        disk.sync_names().unwrap();
        assert_eq!(disk.list().unwrap(), ["b"]);
        assert_eq!(disk.open("b").unwrap().len().unwrap(), 3050);
        disk.remove("b").unwrap();
        assert!(disk.list().unwrap().is_empty());
        assert!(disk.open("b").is_err());
    }
}

//! Files of the state directory: lines that are synced in groups, and small files that are replaced whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::spool::sync_directory_of;

/// A file that only grows. Lines pushed while another group is being synced become the next group.
#[derive(Clone)]
pub(super) struct Lines(Arc<Inner>);

struct Inner {
    pending: Mutex<Pending>,
    file: Arc<tokio::sync::Mutex<Open>>,
}

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// Groups begun; the one that `bytes` will be has this number.
    group: u64,
    /// `bytes` take the place of all that was there.
    anew: bool,
}

struct Open {
    path: PathBuf,
    file: File,
    /// What is known to be on the disk.
    synced: u64,
    /// Groups that are.
    groups: u64,
    /// A group that could not be written yet,
    left: Vec<u8>,
    /// and takes the place of what is there.
    anew: bool,
}

/// What was pushed; synced once [`Lines::sync`] of it has returned.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) struct Ticket(u64);

impl Lines {
    /// Opens a file of which the first `whole` bytes count, and cuts off the rest.
    pub(super) fn open(path: &Path, whole: u64) -> io::Result<Lines> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        file.set_len(whole)?;
        file.sync_all()?;
        sync_directory_of(path)?;
        let open = Open {
            path: path.to_owned(),
            file,
            synced: whole,
            groups: 0,
            left: Vec::new(),
            anew: false,
        };
        Ok(Lines(Arc::new(Inner {
            pending: Mutex::default(),
            file: Arc::new(tokio::sync::Mutex::new(open)),
        })))
    }

    /// Adds bytes behind all that were pushed before. They reach the disk with the next [`Lines::sync`].
    pub(super) fn push(&self, bytes: &[u8]) -> Ticket {
        let mut pending = self.0.pending.lock();
        pending.bytes.extend_from_slice(bytes);
        Ticket(pending.group)
    }

    /// Puts bytes in the place of all that was ever pushed, with the next [`Lines::sync`].
    pub(super) fn push_anew(&self, bytes: Vec<u8>) -> Ticket {
        let mut pending = self.0.pending.lock();
        (pending.bytes, pending.anew) = (bytes, true);
        Ticket(pending.group)
    }

    /// Returns when what the ticket stands for is on the disk. After an error nothing of it counts yet, and the next
    /// `sync` tries again with all that was pushed: nothing is lost but time.
    pub(super) async fn sync(&self, ticket: Ticket) -> io::Result<()> {
        let mut open = self.0.file.clone().lock_owned().await;
        if open.groups > ticket.0 {
            return Ok(());
        }
        let (bytes, group, anew) = {
            let mut pending = self.0.pending.lock();
            pending.group += 1;
            let anew = std::mem::take(&mut pending.anew);
            (std::mem::take(&mut pending.bytes), pending.group, anew)
        };
        blocking(move || {
            if anew {
                open.left.clear();
                open.anew = true;
            }
            open.left.extend_from_slice(&bytes);
            open.write()?;
            open.groups = group;
            Ok(())
        })
        .await
    }

    /// Puts other content in the place of all that is on the disk, made of it. What was pushed and not synced comes
    /// behind it.
    pub(super) async fn rewrite_with(
        &self,
        work: impl FnOnce(Vec<u8>) -> Vec<u8> + Send + 'static,
    ) -> io::Result<()> {
        let mut open = self.0.file.clone().lock_owned().await;
        blocking(move || {
            let content = open.content()?;
            open.rewrite(work(content))
        })
        .await
    }
}

impl Open {
    fn write(&mut self) -> io::Result<()> {
        if self.anew {
            self.rewrite(self.left.clone())?;
            (self.left, self.anew) = (Vec::new(), false);
            return Ok(());
        }
        if self.left.is_empty() {
            return Ok(());
        }
        let synced = self.synced;
        let done = self.file.seek(SeekFrom::Start(synced)).and_then(|_| {
            self.file.write_all(&self.left)?;
            self.file.sync_data()
        });
        if done.is_err() {
            // A file whose sync failed is never trusted again: a new one with what is known, and the group.
            let mut content = self.content()?;
            content.extend_from_slice(&self.left);
            let left = std::mem::take(&mut self.left);
            let rewritten = self.rewrite(content);
            if rewritten.is_err() {
                self.left = left;
            }
            return rewritten;
        }
        self.synced += self.left.len() as u64;
        self.left.clear();
        Ok(())
    }

    /// What is known to be on the disk.
    fn content(&self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(&self.path)?
            .take(self.synced)
            .read_to_end(&mut content)?;
        if content.len() as u64 != self.synced {
            return Err(io::Error::other("a file of the state directory became shorter"));
        }
        Ok(content)
    }

    fn rewrite(&mut self, content: Vec<u8>) -> io::Result<()> {
        replace(&self.path, &content)?;
        self.file = OpenOptions::new().write(true).open(&self.path)?;
        self.synced = content.len() as u64;
        Ok(())
    }
}

/// Writes a small file anew: whole and on the disk under its name, or as it was.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_directory_of(path)
}

/// Content of a file; none if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Work that waits for a disk or takes long.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        // The runtime ends, and whoever waits with it: that is no fault of the disk.
        Err(ended) if ended.is_cancelled() => std::future::pending().await,
        done => done.map_err(io::Error::other)?,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_synced_is_there_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lines");
        fs::write(&path, "old\ntorn").expect("it is written");
        let lines = Lines::open(&path, 4).expect("it opens");
        let (a, b) = (lines.push(b"a\n"), lines.push(b"b\n"));
        lines.sync(b).await.expect("it is written");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "old\na\nb\n");
        lines.sync(a).await.expect("it is there already");
        let _ = lines.push(b"late\n");
        let anew = lines.push_anew(b"anew\n".to_vec());
        let more = lines.push(b"more\n");
        lines.sync(anew).await.expect("it is replaced");
        lines.sync(more).await.expect("with it");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "anew\nmore\n");
        let c = lines.push(b"c\n");
        lines
            .rewrite_with(|_| b"kept\n".to_vec())
            .await
            .expect("it is replaced");
        lines.sync(c).await.expect("it is written");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "kept\nc\n");
    }

    #[tokio::test]
    async fn a_file_that_takes_no_writes_is_made_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lines");
        let lines = Lines::open(&path, 0).expect("it opens");
        let a = lines.push(b"a\n");
        lines.sync(a).await.expect("it is written");
        lines.0.file.lock().await.file = File::open(&path).expect("for reading only");
        let b = lines.push(b"b\n");
        lines.sync(b).await.expect("it is written elsewhere");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "a\nb\n");
        // Nowhere to go: it waits for the next try.
        lines.0.file.lock().await.file = File::open(&path).expect("for reading only");
        fs::create_dir(path.with_extension("new")).expect("in the way");
        let c = lines.push(b"c\n");
        assert!(lines.sync(c).await.is_err());
        fs::remove_dir(path.with_extension("new")).expect("it is empty");
        let d = lines.push(b"d\n");
        lines.sync(d).await.expect("it is written");
        lines.sync(c).await.expect("with it");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "a\nb\nc\nd\n");
    }
}

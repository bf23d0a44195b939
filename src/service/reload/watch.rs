//! Looks at the files of the configuration, and reloads when what they say has changed.
//!
//! Polling sees what change notices do not: files on network mounts, and links that are moved to another directory, as
//! Kubernetes does. A file is read only if its metadata differ, and a reload begins only if its content does. What
//! cannot be read counts as changed once, so that the fault is told.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Service;

impl Service {
    /// Watches as `service::reload::watch` says, which a reload may change; never ends.
    pub async fn watch(&self) {
        let mut life = self.life.subscribe();
        let mut seen = Vec::new();
        loop {
            let every = life.borrow_and_update().reload.watch.0;
            if every.is_zero() {
                // The sender is ours.
                let _ = life.changed().await;
                continue;
            }
            tokio::select! {
                _ = life.changed() => continue,
                () = tokio::time::sleep(every) => {}
            }
            if self.look(&mut seen).await {
                let _ = self.reload("file").await;
            }
        }
    }

    /// Whether a file is another than it was when it was looked at last, or else when it was read.
    async fn look(&self, seen: &mut Vec<Stamp>) -> bool {
        let files = self.files.lock().clone();
        let before = std::mem::take(seen);
        let looked = tokio::task::spawn_blocking(move || look(files, &before));
        let Ok((now, changed)) = looked.await else {
            return false;
        };
        *seen = now;
        changed
    }
}

/// A file of the configuration, as it was just before it was read: a change after that is seen whenever it comes.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    path: PathBuf,
    /// Inode, size, time of the last change; `None` = it cannot be looked at.
    meta: Option<(u64, u64, i64, i64)>,
    content: u64,
}

impl Stamp {
    /// Of a file as it is now. What is no regular file is not read, as a pipe gives its text once.
    pub fn of(path: PathBuf) -> Stamp {
        let meta = std::fs::metadata(&path).ok();
        let content = match &meta {
            Some(meta) if !meta.is_file() => 0,
            _ => hash(&path),
        };
        let meta = meta.map(|m| (m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
        Stamp { path, meta, content }
    }

    /// Of the same file now, which is read only if its metadata differ.
    fn again(self) -> Stamp {
        let meta = std::fs::metadata(&self.path).ok();
        let meta = meta.map(|m| (m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
        match meta == self.meta {
            true => self,
            false => Stamp::of(self.path),
        }
    }
}

fn look(files: Vec<Stamp>, before: &[Stamp]) -> (Vec<Stamp>, bool) {
    let mut changed = false;
    let now = files.into_iter().map(|read| {
        let known = before.iter().find(|stamp| stamp.path == read.path);
        let known = known.cloned().unwrap_or(read);
        let content = known.content;
        let now = known.again();
        changed |= now.content != content;
        now
    });
    (now.collect(), changed)
}

fn hash(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    crate::service::providers::read(path).ok().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_another_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.yaml");
        std::fs::write(&path, "a: nothing").unwrap();
        let files = vec![Stamp::of(path.clone())];
        let mut seen = Vec::new();
        let mut check = |expected: bool, why: &str| {
            let (now, changed) = look(files.clone(), &seen);
            assert_eq!(changed, expected, "{why}");
            seen = now;
        };
        std::fs::write(&path, "a: 1").unwrap();
        check(true, "other content than was read");
        check(false, "nothing happened");
        std::fs::write(&path, "a: 1").unwrap();
        check(false, "written, with the same content");
        std::fs::write(&path, "a: 22").unwrap();
        check(true, "other content");
        std::fs::remove_file(&path).unwrap();
        check(true, "gone");
        check(false, "still gone");
        let other = dir.path().join("other.yaml");
        std::fs::write(&other, "a: 3").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        check(true, "a link to another file");
    }
}

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
        self.look(&mut seen).await;
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
                // Other files may belong to it now.
                self.look(&mut seen).await;
            }
        }
    }

    /// Whether a file that was seen before has changed.
    async fn look(&self, seen: &mut Vec<Stamp>) -> bool {
        let files = self.files.lock().clone();
        let before = std::mem::take(seen);
        let looked = tokio::task::spawn_blocking(move || look(&files, &before));
        let Ok((now, changed)) = looked.await else {
            return false;
        };
        *seen = now;
        changed
    }
}

/// A file as it was last seen.
#[derive(Clone, Debug, PartialEq)]
struct Stamp {
    path: PathBuf,
    /// Inode, size, time of the last change; `None` = it cannot be looked at.
    meta: Option<(u64, u64, i64, i64)>,
    content: u64,
}

fn look(files: &[PathBuf], before: &[Stamp]) -> (Vec<Stamp>, bool) {
    let mut changed = false;
    let now = files.iter().map(|path| {
        let known = before.iter().find(|stamp| stamp.path == *path);
        let meta = std::fs::metadata(path).ok();
        let meta = meta.map(|m| (m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
        let content = match known {
            Some(known) if known.meta == meta => known.content,
            _ => hash(path),
        };
        changed |= known.is_some_and(|known| known.content != content);
        Stamp {
            path: path.clone(),
            meta,
            content,
        }
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
        let files = [path.clone()];
        let mut seen = Vec::new();
        let mut check = |expected: bool, why: &str| {
            let (now, changed) = look(&files, &seen);
            assert_eq!(changed, expected, "{why}");
            seen = now;
        };
        std::fs::write(&path, "a: 1").unwrap();
        check(false, "seen for the first time");
        check(false, "nothing happened");
        std::fs::write(&path, "a: 1").unwrap();
        check(false, "written, with the same content");
        std::fs::write(&path, "a: 2").unwrap();
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

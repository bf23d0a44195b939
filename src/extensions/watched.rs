//! Files that hold credentials: read at start, and again whenever they have changed.
//!
//! The whole file is read at most once a second, when somebody asks for its content: that sees in-place edits and the
//! symlink swaps of Kubernetes alike, and needs no task. What cannot be read or parsed leaves the last good content in
//! force, and is told to the log once.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use config::Secret;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

/// Content of a file, as it is now.
pub(crate) struct Watched<T> {
    path: PathBuf,
    parse: Parse<T>,
    current: ArcSwap<T>,
    last: Mutex<Last>,
}

type Parse<T> = Box<dyn Fn(&str) -> Result<T, String> + Send + Sync>;

struct Last {
    at: Instant,
    /// SHA-256 of what was read; secrets are not kept twice.
    seen: [u8; 32],
    failing: bool,
}

/// Longer ones are refused: credentials are short.
const BYTES_MAX: u64 = 1 << 20;
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl<T> Watched<T> {
    /// Reads it for the first time. Errors name the path and never the content, if those of `parse` do not.
    pub(crate) fn open(
        path: &str,
        parse: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Watched<T>, String> {
        let path = PathBuf::from(path);
        let text = read(&path)?;
        let content = parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Watched {
            path,
            parse: Box::new(parse),
            current: ArcSwap::from_pointee(content),
            last: Mutex::new(Last {
                at: Instant::now(),
                seen: fingerprint(&text),
                failing: false,
            }),
        })
    }

    /// What it holds, at most a second old.
    pub(crate) fn get(&self) -> Arc<T> {
        // Who comes while another reads takes what there is.
        if let Some(mut last) = self.last.try_lock()
            && last.at.elapsed() >= LOOK_AGAIN
        {
            self.look(&mut last);
        }
        self.current.load_full()
    }

    /// Reads it now. True if it has changed since it was last read.
    pub(crate) fn refresh(&self) -> bool {
        self.look(&mut self.last.lock())
    }

    fn look(&self, last: &mut Last) -> bool {
        last.at = Instant::now();
        let read = read(&self.path).and_then(|text| {
            let seen = fingerprint(&text);
            let same = seen == last.seen;
            Ok((!same).then_some((seen, (self.parse)(&text)?)))
        });
        match read {
            Ok(None) => {
                last.failing = false;
                false
            }
            Ok(Some((seen, content))) => {
                last.seen = seen;
                last.failing = false;
                self.current.store(Arc::new(content));
                info!(file = %self.path.display(), "credentials were read again");
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut last.failing, true) {
                    warn!(file = %self.path.display(), %error, "credentials cannot be read again, the last ones stay");
                }
                false
            }
        }
    }
}

fn read(path: &PathBuf) -> Result<String, String> {
    let fault = |e: std::io::Error| format!("open {}: {e}", path.display());
    let file = std::fs::File::open(path).map_err(fault)?;
    let mut text = String::new();
    let len = file
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(fault)?;
    if len as u64 > BYTES_MAX {
        return Err(format!("{} is longer than {BYTES_MAX} bytes", path.display()));
    }
    Ok(text)
}

fn fingerprint(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    out
}

/// A credential that stands in the configuration or in a file; the file wins.
pub(crate) enum Credential {
    /// As written.
    Fixed(Secret<String>),
    /// The file's content without white space around it.
    File(Watched<Secret<String>>),
}

impl Credential {
    /// Reads the file, if one is named.
    pub(crate) fn open(value: &Secret<String>, file: &str) -> Result<Credential, String> {
        if file.is_empty() {
            return Ok(Credential::Fixed(value.clone()));
        }
        let parse = |text: &str| match text.trim() {
            "" => Err("the file is empty".to_owned()),
            text => Ok(Secret::new(text.to_owned())),
        };
        Ok(Credential::File(Watched::open(file, parse)?))
    }

    /// The credential, as it is now.
    pub(crate) fn get(&self) -> Secret<String> {
        match self {
            Credential::Fixed(value) => value.clone(),
            Credential::File(file) => (*file.get()).clone(),
        }
    }

    /// [`Watched::refresh`].
    pub(crate) fn refresh(&self) -> bool {
        match self {
            Credential::Fixed(_) => false,
            Credential::File(file) => file.refresh(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sees_changes_and_outlives_faults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, " one\n").unwrap();
        let file = path.to_str().unwrap();
        let credential = Credential::open(&Secret::new("fixed".into()), file).unwrap();
        let check = |expected: &str| assert_eq!(credential.get().expose(), expected);
        check("one");

        std::fs::write(&path, "two").unwrap();
        check("one");
        tokio::time::advance(LOOK_AGAIN).await;
        check("two");

        // As Kubernetes does it: another file under the same name.
        std::fs::write(folder.path().join("next"), "three").unwrap();
        std::fs::rename(folder.path().join("next"), &path).unwrap();
        assert!(credential.refresh());
        assert!(!credential.refresh());
        check("three");

        for bad in ["", " \n"] {
            std::fs::write(&path, bad).unwrap();
            tokio::time::advance(LOOK_AGAIN).await;
            check("three");
        }
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(LOOK_AGAIN).await;
        check("three");
        std::fs::write(&path, "four").unwrap();
        tokio::time::advance(LOOK_AGAIN).await;
        check("four");
    }

    #[test]
    fn tells_what_it_cannot_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        std::fs::write(&path, vec![b'x'; BYTES_MAX as usize + 1]).unwrap();
        let check = |path: &std::path::Path, expected: &str| {
            let told = Credential::open(&Secret::new(String::new()), path.to_str().unwrap()).err();
            assert!(told.as_ref().is_some_and(|t| t.contains(expected)), "{told:?}");
        };
        check(&path, "is longer than 1048576 bytes");
        check(&folder.path().join("none"), "No such file");
        check(folder.path(), "directory");
    }
}

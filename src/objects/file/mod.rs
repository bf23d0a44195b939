//! Store `file`: objects as files below a directory, written once and never replaced.
//!
//! An object is written beside the others, compared with its digest, made read-only, forced to disk, and only then
//! linked to its name, so a name is either whole or not there. There are no versions, no locks, no media types and no
//! metadata: a lock that is asked for is refused, a version that is asked for is taken for the only one. So a copy of a
//! bucket, downloaded file by file, reads like the bucket.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use bytes::Bytes;

use crate::error::{Class, StoreError};
use crate::store::{
    Body, BoxFuture, Chunks, Facts, Get, Head, Listed, Lock, ObjectStore, Put, PutOutcome, Retention, Stored,
    Version, VersionMark, Versioning,
};

/// Where objects are written before they have their name; below the root, and no key.
const INCOMING: &str = ".incoming";
/// What lies there longer belongs to nobody.
const INCOMING_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of a key and of a part of it, as S3 and Linux have them.
const KEY_BYTES_MAX: usize = 1024;
const PART_BYTES_MAX: usize = 255;
/// Objects in a page of a listing.
const PAGE: usize = 10_000;
/// Directories that are remembered as forced to disk with all above them.
const DIRECTORIES_MAX: usize = 16_384;
/// Read and hashed at once.
const COPY_BYTES: usize = 256 * 1024;

/// Objects below a directory. Clones share everything.
#[derive(Clone, Debug)]
pub struct FileStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    place: String,
    /// Directories that are on disk.
    durable: Mutex<HashSet<PathBuf>>,
    /// Distinguishes what this process writes.
    next: AtomicU64,
}

impl FileStore {
    /// The store below `root`. Nothing is read or made before it is used; the first write makes the directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self(Arc::new(Inner {
            place: format!("file:{}", root.display()),
            root,
            durable: Mutex::default(),
            next: AtomicU64::new(0),
        }))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.0.clone();
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or_else(|e| {
            Err(StoreError::new(
                Class::Retry { after: None },
                operation,
                e.to_string(),
            ))
        })
    }
}

impl ObjectStore for FileStore {
    fn place(&self) -> &str {
        &self.0.place
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Body,
        put: &'a Put,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        Box::pin(async move {
            if put.lock != Lock::default() {
                return Err(no_locks("put"));
            }
            let (key, sha256) = (key.to_owned(), put.sha256);
            self.blocking("put", move |inner| inner.put(&key, body, &sha256))
                .await
        })
    }

    fn get<'a>(&'a self, key: &'a str, _version: Option<&'a str>) -> BoxFuture<'a, Result<Get, StoreError>> {
        Box::pin(async move {
            let key = key.to_owned();
            let opened = self.blocking("open", move |inner| inner.open(&key)).await?;
            Ok(Get {
                head: opened.1,
                body: Chunks::of_file(tokio::fs::File::from_std(opened.0)),
            })
        })
    }

    fn head<'a>(
        &'a self,
        key: &'a str,
        _version: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Head, StoreError>> {
        Box::pin(async move {
            let key = key.to_owned();
            self.blocking("read", move |inner| {
                let (mut file, mut head) = inner.open(&key)?;
                let (size, sha256) = copy(&mut file, &mut io::sink()).map_err(|e| failed("read", &e))?;
                head.size = size;
                head.sha256 = Some(sha256);
                Ok(head)
            })
            .await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, StoreError>> {
        Box::pin(async move {
            let (prefix, after) = (prefix.to_owned(), after.to_owned());
            self.blocking("list", move |inner| inner.list(&prefix, &after))
                .await
        })
    }

    fn list_versions<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a VersionMark>,
    ) -> BoxFuture<'a, Result<(Vec<Version>, Option<VersionMark>), StoreError>> {
        Box::pin(async move {
            let after = after.map_or("", |mark| &mark.key);
            let page = self.list(prefix, after).await?;
            let next = page.last().map(|last| VersionMark {
                key: last.key.clone(),
                version: String::new(),
            });
            let versions = page.into_iter().map(|object| Version {
                key: object.key,
                version: None,
                is_latest: true,
                delete_marker: false,
                size: object.size,
                last_modified: object.last_modified,
            });
            Ok((versions.collect(), next))
        })
    }

    fn delete<'a>(&'a self, _key: &'a str, _version: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let error = StoreError::new(
            Class::Denied,
            "delete",
            "a store on disk has no versions to delete",
        );
        Box::pin(std::future::ready(Err(error)))
    }

    fn put_legal_hold<'a>(
        &'a self,
        _key: &'a str,
        _version: Option<&'a str>,
        _on: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(std::future::ready(Err(no_locks("hold"))))
    }

    fn put_retention<'a>(
        &'a self,
        _key: &'a str,
        _version: Option<&'a str>,
        _retention: Retention,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(std::future::ready(Err(no_locks("retain"))))
    }

    fn facts(&self) -> BoxFuture<'_, Facts> {
        Box::pin(std::future::ready(Facts {
            versioning: Ok(Versioning::Off),
            lock: Ok(None),
            region: None,
            clock: None,
        }))
    }
}

impl Inner {
    fn put(&self, key: &str, body: Body, sha256: &[u8; 32]) -> Result<PutOutcome, StoreError> {
        let path = self.path("put", key)?;
        // Costs nothing where it is so, and spares writing it all out.
        if path.symlink_metadata().is_ok() {
            return Ok(PutOutcome::Exists);
        }
        let incoming = self.incoming().map_err(|e| failed("put", &e))?;
        let outcome = self.write(&incoming, &path, body, sha256);
        // Whatever happened: it has its own name by now or is of no use.
        if let Err(error) = fs::remove_file(&incoming)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %incoming.display(), %error, "cannot remove a temporary file");
        }
        outcome
    }

    fn write(
        &self,
        incoming: &Path,
        path: &Path,
        body: Body,
        sha256: &[u8; 32],
    ) -> Result<PutOutcome, StoreError> {
        let io = |e: io::Error| failed("put", &e);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o440)
            .open(incoming)
            .map_err(io)?;
        let (expected, (written, found)) = match body {
            Body::Bytes(bytes) => (bytes.len() as u64, write(&[bytes], &mut file).map_err(io)?),
            Body::Parts(parts) => {
                let length = parts.iter().map(|part| part.len() as u64).sum();
                (length, write(&parts, &mut file).map_err(io)?)
            }
            Body::File { path, length } => {
                let mut from = File::open(&path).map_err(|e| {
                    StoreError::new(
                        Class::Rejected,
                        "put",
                        format!("cannot open {}: {e}", path.display()),
                    )
                })?;
                (length, copy(&mut from, &mut file).map_err(io)?)
            }
        };
        if written != expected {
            let message = format!("{written} bytes where {expected} were announced");
            return Err(StoreError::new(Class::Rejected, "put", message).with_code("IncompleteBody"));
        }
        if found != *sha256 {
            let message = "the bytes do not have the digest that came with them";
            return Err(StoreError::new(Class::Retry { after: None }, "put", message).with_code("BadDigest"));
        }
        file.set_permissions(fs::Permissions::from_mode(0o440))
            .map_err(io)?;
        file.sync_all().map_err(io)?;
        let folder = path.parent().unwrap_or(&self.root);
        self.make(folder).map_err(io)?;
        match name(incoming, path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(PutOutcome::Exists),
            Err(error) => return Err(io(error)),
        }
        // Until here it could be gone after a crash of the machine.
        sync(folder).map_err(io)?;
        let now = SystemTime::now();
        Ok(PutOutcome::Stored(Stored {
            version: None,
            date: now.duration_since(UNIX_EPOCH).ok().map(|d| d.as_secs()),
        }))
    }

    /// A name for something new, in a directory that is there; the first also clears away what a crash left behind.
    fn incoming(&self) -> io::Result<PathBuf> {
        let folder = self.root.join(INCOMING);
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        create(&folder)?;
        if n == 0 {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let age = entry.metadata().and_then(|m| m.modified()).map(|at| at.elapsed());
                if matches!(age, Ok(Ok(age)) if age > INCOMING_AGE_MAX) {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
        Ok(folder.join(format!("{n}-{:016x}", u64::from_le_bytes(random))))
    }

    /// Makes a directory and all above it, and has them on disk.
    fn make(&self, folder: &Path) -> io::Result<()> {
        if self
            .durable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(folder)
        {
            return Ok(());
        }
        create(folder)?;
        // Whoever made them may not have got to forcing them to disk.
        for above in folder.ancestors() {
            sync(above)?;
            if above == self.root {
                break;
            }
        }
        match self.root.parent() {
            Some(above) if above.as_os_str().is_empty() => sync(Path::new("."))?,
            Some(above) => sync(above)?,
            None => {}
        }
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.len() == DIRECTORIES_MAX {
            durable.clear();
        }
        durable.insert(folder.to_owned());
        Ok(())
    }

    fn open(&self, key: &str) -> Result<(File, Head), StoreError> {
        let path = self.path("open", key)?;
        let open = || -> io::Result<(File, fs::Metadata)> {
            let file = File::open(&path)?;
            let metadata = file.metadata()?;
            Ok((file, metadata))
        };
        let (file, metadata) = open().map_err(|e| failed("open", &e))?;
        if !metadata.is_file() {
            return Err(StoreError::new(Class::NotFound, "open", "not a file"));
        }
        let head = Head {
            size: metadata.len(),
            last_modified: modified(&metadata),
            ..Head::default()
        };
        Ok((file, head))
    }

    fn list(&self, prefix: &str, after: &str) -> Result<Vec<Listed>, StoreError> {
        let mut page = Vec::new();
        // A prefix may end within a name: the walk begins at the directory above.
        let folder = &prefix[..prefix.rfind('/').map_or(0, |slash| slash + 1)];
        let root = match folder {
            "" => self.root.clone(),
            folder => match self.path("list", folder.trim_end_matches('/')) {
                Ok(path) => path,
                // Nothing can have such a key.
                Err(_) => return Ok(page),
            },
        };
        match walk(&root, folder, prefix, after, &mut page) {
            Ok(()) => Ok(page),
            Err(e) if !folder.is_empty() && failed("list", &e).class == Class::NotFound => Ok(page),
            Err(e) => Err(failed("list", &e)),
        }
    }

    /// Where the object of a key is: below the root, whatever the key.
    fn path(&self, operation: &'static str, key: &str) -> Result<PathBuf, StoreError> {
        let is_part = |part: &str| {
            !matches!(part, "" | "." | "..") && part.len() <= PART_BYTES_MAX && !part.contains(['\0', '\\'])
        };
        let is_key = key.len() <= KEY_BYTES_MAX
            && key.split('/').all(is_part)
            && key.split('/').next() != Some(INCOMING);
        match is_key {
            true => Ok(self.root.join(key)),
            false => Err(StoreError::new(
                Class::Rejected,
                operation,
                format!("{key:?} is no key of a file"),
            )),
        }
    }
}

/// Gives a file its name, unless something has it.
fn name(incoming: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(incoming, path) {
        // Not every file system has links.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) =>
        {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            Ok(renameat_with(CWD, incoming, CWD, path, RenameFlags::NOREPLACE)?)
        }
        linked => linked,
    }
}

fn create(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes everything; returns how much it was and its SHA-256.
fn write(parts: &[Bytes], to: &mut impl Write) -> io::Result<(u64, [u8; 32])> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut size = 0;
    // Piece by piece, while it is in the cache: from cold memory the kernel copies several times slower.
    for piece in parts.iter().flat_map(|part| part.chunks(COPY_BYTES)) {
        hash.update(piece);
        to.write_all(piece)?;
        size += piece.len() as u64;
    }
    Ok((size, fixed(hash.finish())))
}

/// Copies everything; returns how much it was and its SHA-256.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, [u8; 32])> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; COPY_BYTES];
    let mut size = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        size += read as u64;
    }
    Ok((size, fixed(hash.finish())))
}

fn fixed(digest: digest::Digest) -> [u8; 32] {
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Adds to `page` what is below `folder` (as a key: `at`, empty or ending in `/`), in order of key, until it is full.
/// As deep as keys are long.
fn walk(folder: &Path, at: &str, prefix: &str, after: &str, page: &mut Vec<Listed>) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // What is not UTF-8 is nobody's key, and links lead elsewhere.
        let (Ok(name), kind) = (entry.file_name().into_string(), entry.file_type()?) else {
            continue;
        };
        if name.contains('\\') || (at.is_empty() && name == INCOMING) {
            continue;
        }
        // A directory stands in the order where its keys do.
        let slash = if kind.is_dir() { "/" } else { "" };
        let key = format!("{at}{name}{slash}");
        let is_wanted = match kind.is_dir() {
            true => {
                (key.starts_with(prefix) || prefix.starts_with(&key))
                    && (key.as_str() > after || after.starts_with(&key))
            }
            false => kind.is_file() && key.starts_with(prefix) && key.as_str() > after,
        };
        if is_wanted && key.len() <= KEY_BYTES_MAX {
            entries.push(key);
        }
    }
    entries.sort_unstable();
    for key in entries {
        if page.len() == PAGE {
            break;
        }
        let path = folder.join(key[at.len()..].trim_end_matches('/'));
        let result = match key.ends_with('/') {
            true => walk(&path, &key, prefix, after, page),
            false => fs::metadata(&path).map(|metadata| {
                page.push(Listed {
                    key,
                    size: metadata.len(),
                    last_modified: modified(&metadata),
                });
            }),
        };
        match result {
            // Gone since the directory was read.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

fn modified(metadata: &fs::Metadata) -> Option<u64> {
    let at = metadata.modified().ok()?;
    at.duration_since(UNIX_EPOCH).ok().map(|d| d.as_secs())
}

fn no_locks(operation: &'static str) -> StoreError {
    StoreError::new(Class::Config, operation, "a store on disk has no locks")
}

fn failed(operation: &'static str, error: &io::Error) -> StoreError {
    use io::ErrorKind as Kind;
    let class = match error.kind() {
        Kind::NotFound | Kind::NotADirectory | Kind::IsADirectory => Class::NotFound,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Class::Denied,
        Kind::InvalidFilename => Class::Rejected,
        _ => Class::Retry { after: None },
    };
    StoreError::new(class, operation, error.to_string())
}

#[cfg(test)]
mod tests;

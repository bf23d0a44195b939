//! Reading from a store: with patience, with bounds, and several files ahead of who wants them in order.

use std::collections::VecDeque;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use evidence::audit::{self, Record};
use evidence::digest::Digest;
use evidence::founding::{FOUNDING_BYTES_MAX, Founding};
use evidence::names::{ARCHIVE, Compression, Layout};
use evidence::time::{Second, Time};
use evidence::verify::{Expected, Facts, File, Level, Listed, LockFacts};
use net::compression::{Encoding, decode};
use objects::{Class, Head, ObjectStore, StoreError, Version, patiently};
use tokio::task::JoinHandle;

use super::Failure;
use super::object::{self, Stored};
use super::which::Archive;

/// Files of a log that are being read before they are wanted.
const AHEAD: usize = 16;
/// An object of audit records as it is stored, and inflated.
pub(in crate::cli) const OWN_BYTES_MAX: usize = 64 << 20;
pub(in crate::cli) const OWN_RAW_MAX: usize = 512 << 20;

/// A store as a verifier wants it.
#[derive(Clone)]
pub(in crate::cli) struct Reading {
    store: Arc<dyn ObjectStore>,
    is_copy: bool,
}

impl Reading {
    pub(in crate::cli) fn of(archive: &Archive) -> Reading {
        Reading {
            store: archive.store.clone(),
            is_copy: archive.is_copy,
        }
    }

    /// Every version below a prefix, page by page, to `take`.
    pub(in crate::cli) async fn list(
        &self,
        prefix: &str,
        mut take: impl FnMut(Listed),
    ) -> Result<(), Failure> {
        let mut mark = None;
        loop {
            let page = patiently(|| self.store.list_versions(prefix, mark.as_ref())).await;
            let (versions, next) = page.map_err(|e| self.unreadable(prefix, &e))?;
            for version in versions {
                take(self.listed(version));
            }
            match next {
                Some(next) => mark = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn listed(&self, version: Version) -> Listed {
        Listed {
            key: version.key,
            version: version.version,
            modified: version.last_modified.and_then(time).filter(|_| !self.is_copy),
            deleted: version.delete_marker,
        }
    }

    /// A file, or one byte more than `max` of it: whoever reads that knows that it is too long.
    pub(in crate::cli) async fn bytes(
        &self,
        key: &str,
        version: Option<&str>,
        max: usize,
    ) -> Result<Bytes, Failure> {
        let read = patiently(|| async move {
            let mut body = self.store.get(key, version).await?.body;
            let mut all = BytesMut::new();
            while all.len() <= max
                && let Some(piece) = body.next().await?
            {
                let wanted = piece.len().min(max + 1 - all.len());
                all.extend_from_slice(&piece[..wanted]);
            }
            Ok(all.freeze())
        });
        read.await.map_err(|e| self.unreadable(key, &e))
    }

    /// How its objects are called, as `archive.json` says; none if it does not say so, or cannot be read. It helps to find
    /// things, and is no source of trust.
    pub(in crate::cli) async fn layout(&self) -> Option<Layout> {
        let found = self.store.get(ARCHIVE, None).await.ok()?;
        let bytes = found.body.collect(FOUNDING_BYTES_MAX as u64).await.ok()?;
        Layout::parse(&Founding::parse(&bytes).ok()?.layout)
    }

    /// Files one after the other, with those that follow already on their way.
    pub(in crate::cli) fn in_order(&self, files: Vec<File>, max: usize) -> InOrder {
        let reading = self.clone();
        InOrder {
            reading,
            max,
            files: files.into_iter(),
            coming: VecDeque::new(),
        }
    }

    /// What the store says of an object; on level `full`, of the bytes themselves. None if it is not there.
    pub(in crate::cli) async fn facts(
        &self,
        expected: &Expected,
        level: Level,
    ) -> Result<Option<Facts>, StoreError> {
        let (key, version) = (expected.key.as_str(), expected.version.as_deref());
        let version = version.filter(|_| !self.is_copy);
        let found = patiently(|| async move {
            match level {
                Level::Full | Level::Decode => Ok(self.hashed(key, version, 0).await?.0),
                Level::Log | Level::Heads => self.store.head(key, version).await,
            }
        });
        match found.await {
            Ok(head) => Ok(Some(self.told(head))),
            Err(StoreError {
                class: Class::NotFound,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same of an object with records of the gateway's own, and these.
    pub(super) async fn own(
        &self,
        expected: &Expected,
        compression: Compression,
    ) -> Result<(Option<Facts>, Option<Own>), StoreError> {
        let (key, version) = (expected.key.as_str(), expected.version.as_deref());
        let version = version.filter(|_| !self.is_copy);
        let found = patiently(|| self.hashed(key, version, OWN_BYTES_MAX));
        match found.await {
            Ok((head, bytes)) => Ok((Some(self.told(head)), Some(own(&bytes, compression)))),
            Err(StoreError {
                class: Class::NotFound,
                ..
            }) => Ok((None, None)),
            Err(error) => Err(error),
        }
    }

    /// The same of the bytes themselves, with the bytes.
    pub(super) async fn facts_and_bytes(
        &self,
        expected: &Expected,
    ) -> Result<Option<(Facts, Stored)>, StoreError> {
        let (key, version) = (expected.key.as_str(), expected.version.as_deref());
        let version = version.filter(|_| !self.is_copy);
        let found = patiently(|| async move {
            let mut head = self.store.head(key, version).await?;
            let (stored, size, digest) = object::whole(&*self.store, key, version, expected.size).await?;
            (head.size, head.sha256) = (size, Some(digest.0));
            Ok((head, stored))
        });
        match found.await {
            Ok((head, stored)) => Ok(Some((self.told(head), stored))),
            Err(error) if error.class == Class::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the bytes themselves say, and the first `keep` of them.
    async fn hashed(
        &self,
        key: &str,
        version: Option<&str>,
        keep: usize,
    ) -> Result<(Head, Bytes), StoreError> {
        let objects::Get { mut head, mut body } = self.store.get(key, version).await?;
        let (mut hash, mut size, mut kept) = (Context::new(&SHA256), 0, BytesMut::new());
        while let Some(piece) = body.next().await? {
            hash.update(&piece);
            size += piece.len() as u64;
            kept.extend_from_slice(&piece[..piece.len().min(keep - kept.len())]);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.finish().as_ref());
        (head.size, head.sha256) = (size, Some(digest));
        Ok((head, kept.freeze()))
    }

    fn told(&self, head: Head) -> Facts {
        // Only a store with versions can have locks.
        let lock = head.version.is_some().then(|| LockFacts {
            retention: head.lock.retention.map(|r| {
                let until = i64::try_from(r.until).unwrap_or(i64::MAX);
                (r.mode.as_str().to_owned(), Second::from_seconds(until))
            }),
            hold: head.lock.legal_hold,
        });
        Facts {
            size: head.size,
            sha256: head.sha256.map(Digest),
            lock,
            modified: head.last_modified.and_then(time).filter(|_| !self.is_copy),
        }
    }

    pub(super) fn store(&self) -> &dyn ObjectStore {
        &*self.store
    }

    /// Whether versions and locks are those of the archive.
    pub(in crate::cli) fn is_copy(&self) -> bool {
        self.is_copy
    }

    fn unreadable(&self, what: &str, error: &StoreError) -> Failure {
        Failure::unknown(format!("{}/{what}: {error}", self.store.place()))
    }
}

/// Records of the gateway's own, or why they cannot be read.
pub(super) type Own = Result<Vec<Record>, String>;

/// The records in an object's bytes.
fn own(bytes: &Bytes, compression: Compression) -> Own {
    audit::records(&inflated(bytes, compression, OWN_RAW_MAX)?)
}

/// What an object of the gateway's own holds; not more than so many bytes.
pub(in crate::cli) fn inflated(bytes: &Bytes, compression: Compression, max: usize) -> Result<Bytes, String> {
    let encoding = match compression {
        Compression::None => return Ok(bytes.clone()),
        Compression::Zstd => Encoding::Zstd,
        Compression::Gzip => Encoding::Gzip,
    };
    let plain = decode(encoding, bytes, max.min(OWN_RAW_MAX)).map_err(|e| e.to_string())?;
    Ok(plain.bytes)
}

fn time(seconds: u64) -> Option<Time> {
    let millis = i64::try_from(seconds).ok()?.checked_mul(1_000)?;
    Some(Time::from_millis(millis))
}

/// See [`Reading::in_order`].
pub(in crate::cli) struct InOrder {
    reading: Reading,
    max: usize,
    files: std::vec::IntoIter<File>,
    coming: VecDeque<(File, JoinHandle<Result<Bytes, Failure>>)>,
}

impl InOrder {
    /// The next file and its bytes.
    pub(in crate::cli) async fn next(&mut self) -> Result<Option<(File, Bytes)>, Failure> {
        while self.coming.len() < AHEAD
            && let Some(file) = self.files.next()
        {
            let (reading, max) = (self.reading.clone(), self.max);
            let (key, version) = (file.key.clone(), file.version.clone());
            let read = async move { reading.bytes(&key, version.as_deref(), max).await };
            self.coming.push_back((file, tokio::spawn(read)));
        }
        let Some((file, read)) = self.coming.pop_front() else {
            return Ok(None);
        };
        let bytes = read
            .await
            .map_err(|e| Failure::unknown(format!("{}: {e}", file.key)))??;
        Ok(Some((file, bytes)))
    }
}

impl Drop for InOrder {
    fn drop(&mut self) {
        for (_, read) in &self.coming {
            read.abort();
        }
    }
}

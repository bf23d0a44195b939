//! The contract of a store: what can be asked of it and what it answers.
//!
//! Keys are relative to the prefix that a store was opened with, `/` between the parts. Times are whole Unix seconds,
//! UTC. An object is never changed: a store may gain versions of a key, by others, but the writer's own second write of
//! a key is answered with [`PutOutcome::Exists`].

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::error::{Class, StoreError};

/// A future that a store returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store of objects, for as many callers at once as there are. Calls neither retry nor wait longer than the store's
/// timeout; one that is dropped half way may have happened or not.
pub trait ObjectStore: Send + Sync + fmt::Debug {
    /// Where this is, for messages: `s3://bucket/prefix`, `file:/path`.
    fn place(&self) -> &str;

    /// Another bucket of the same store, by the same client; `None` where there are no buckets.
    fn sibling(&self, bucket: &str) -> Option<Arc<dyn ObjectStore>> {
        let _ = bucket;
        None
    }

    /// Writes an object whole, or nothing. `Stored` means that it is durable as far as the store can say.
    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Body,
        put: &'a Put,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>>;

    /// Reads an object, or a version of it; without `version` the current one.
    fn get<'a>(&'a self, key: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Get, StoreError>>;

    /// What [`get`](Self::get) says of an object without reading it.
    fn head<'a>(&'a self, key: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Head, StoreError>>;

    /// A page of the current objects whose keys begin with `prefix`, in order of key (bytewise), those after the key
    /// `after` (`""`: from the first). An empty page is the end; the next begins after the last key of this one, or
    /// after any other key, to step over what is not wanted.
    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, StoreError>>;

    /// A page of all versions and delete markers whose keys begin with `prefix`, in order of key, newest first within
    /// one; with the mark of the next page, if there is one.
    fn list_versions<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a VersionMark>,
    ) -> BoxFuture<'a, Result<(Vec<Version>, Option<VersionMark>), StoreError>>;

    /// Deletes a version. For the self-test's probe alone, which must be refused with [`Class::Denied`].
    fn delete<'a>(&'a self, key: &'a str, version: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Sets or lifts the legal hold of a version.
    fn put_legal_hold<'a>(
        &'a self,
        key: &'a str,
        version: Option<&'a str>,
        on: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Sets the retention of a version; one under COMPLIANCE can only become longer.
    fn put_retention<'a>(
        &'a self,
        key: &'a str,
        version: Option<&'a str>,
        retention: Retention,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// What the store says of itself. Each fact stands alone: one may be refused and the next be given.
    fn facts(&self) -> BoxFuture<'_, Facts>;
}

/// What an object is made of.
#[derive(Clone, Debug)]
pub enum Body {
    /// In memory.
    Bytes(Bytes),
    /// In memory, in pieces that follow each other.
    Parts(Vec<Bytes>),
    /// A file that nobody changes meanwhile.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its bytes; a file of another length is refused.
        length: u64,
    },
}

/// How an object is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// SHA-256 of the body: the store compares before it stores.
    pub sha256: [u8; 32],
    /// Media type; empty: the store's default.
    pub content_type: String,
    /// E.g. `gzip`; empty: none.
    pub content_encoding: String,
    /// What protects it.
    pub lock: Lock,
    /// Names (lower case) and values kept beside it, 2 KB in all. A store on disk keeps none.
    pub meta: Vec<(String, String)>,
    /// Overrides the store's storage class; empty: the store's.
    pub storage_class: String,
    /// At most ten names and values.
    pub tags: Vec<(String, String)>,
    /// Only if the key has no current object. Without it an existing object gets a newer version, where the store has
    /// versions; a store on disk never replaces anything.
    pub if_absent: bool,
}

/// How a write that reached the store ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is there.
    Stored(Stored),
    /// The key has an object already, perhaps our own from a try whose answer was lost: [`ObjectStore::head`] tells by
    /// its digest.
    Exists,
    /// Somebody writes this key at this moment; the same again finds out.
    Conflict,
}

/// What a store says of an object that it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The version, where the store has them.
    pub version: Option<String>,
    /// The store's clock when it answered, Unix seconds.
    pub date: Option<u64>,
}

/// Who may shorten a retention.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// Whoever has the permission to bypass it.
    #[serde(alias = "governance")]
    Governance,
    /// Nobody.
    #[serde(alias = "compliance")]
    Compliance,
}

impl Mode {
    /// `GOVERNANCE`, `COMPLIANCE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

/// A version cannot be deleted before a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Who may shorten it.
    pub mode: Mode,
    /// The date, Unix seconds.
    pub until: u64,
}

/// What protects a version; by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Until a date.
    pub retention: Option<Retention>,
    /// Until somebody lifts it.
    pub legal_hold: bool,
}

/// What a store says of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, where the store knows it of the whole object.
    pub sha256: Option<[u8; 32]>,
    /// The version, where the store has them.
    pub version: Option<String>,
    /// When it was written, by the store's clock, Unix seconds.
    pub last_modified: Option<u64>,
    /// What protects it, as far as the credentials may know: a store that does not show it looks like one without.
    pub lock: Lock,
    /// Names and values kept beside it, in order of name.
    pub meta: Vec<(String, String)>,
    /// Empty if unknown.
    pub content_type: String,
    /// Empty if none.
    pub content_encoding: String,
    /// The store's clock when it answered, Unix seconds.
    pub date: Option<u64>,
}

/// An object that is being read.
#[derive(Debug)]
pub struct Get {
    /// What it is.
    pub head: Head,
    /// Its bytes.
    pub body: Chunks,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the store's clock, Unix seconds.
    pub last_modified: Option<u64>,
}

/// A version in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its key.
    pub key: String,
    /// The version, where the store has them.
    pub version: Option<String>,
    /// A plain read of the key finds this one.
    pub is_latest: bool,
    /// It hides what is older, and holds nothing.
    pub delete_marker: bool,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the store's clock, Unix seconds.
    pub last_modified: Option<u64>,
}

/// Where a listing of versions goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionMark {
    /// After this key, or within it.
    pub key: String,
    /// After this version of the key; empty: after all of them.
    pub version: String,
}

/// Whether a store keeps what a second write would replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It does.
    Enabled,
    /// It did.
    Suspended,
    /// It never did.
    Off,
}

impl Versioning {
    /// In S3's words; empty for one that never did.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Suspended => "Suspended",
            Self::Off => "",
        }
    }
}

/// Object lock of a bucket that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRules {
    /// What an object gets that comes without a retention of its own.
    pub default: Option<DefaultRetention>,
}

/// A bucket's default retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRetention {
    /// Who may shorten it.
    pub mode: Mode,
    /// Days; a year is 365 of them.
    pub days: u64,
}

/// What a store says of itself. A local store answers at once.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether it keeps versions.
    pub versioning: Result<Versioning, StoreError>,
    /// Its object lock; `None` if it has none.
    pub lock: Result<Option<LockRules>, StoreError>,
    /// Where its bucket is; `None` for a store without regions.
    pub region: Option<String>,
    /// Its clock, if it showed one.
    pub clock: Option<Clock>,
}

/// A store's clock beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// What it said, Unix seconds.
    pub date: u64,
    /// Ours when the question went out, Unix seconds.
    pub asked: u64,
    /// Ours when the answer was there, Unix seconds.
    pub answered: u64,
}

impl Clock {
    /// Seconds that the store is ahead of us, as far as that is certain: 0 if its clock can have been between question
    /// and answer.
    pub fn ahead(&self) -> i64 {
        let (date, asked, answered) = (self.date as i64, self.asked as i64, self.answered as i64);
        if date < asked {
            date - asked
        } else {
            (date - answered).max(0)
        }
    }
}

/// The bytes of an object, piece by piece.
pub struct Chunks(Source);

enum Source {
    Whole(Option<Bytes>),
    File(tokio::fs::File),
    #[cfg(feature = "aws")]
    Aws(aws_sdk_s3::primitives::ByteStream),
}

/// Bytes read from a file at once.
const READ_BYTES: usize = 256 * 1024;

impl Chunks {
    /// Of an object that is in memory.
    pub fn of(bytes: Bytes) -> Self {
        Self(Source::Whole(Some(bytes)))
    }

    pub(crate) fn of_file(file: tokio::fs::File) -> Self {
        Self(Source::File(file))
    }

    #[cfg(feature = "aws")]
    pub(crate) fn of_aws(body: aws_sdk_s3::primitives::ByteStream) -> Self {
        Self(Source::Aws(body))
    }

    /// The next piece, never an empty one; `None` at the end. An error ends it.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        use tokio::io::AsyncReadExt;
        let retry = |e: &dyn fmt::Display| {
            StoreError::new(
                Class::Retry { after: None },
                "read",
                format!("the object broke off: {e}"),
            )
        };
        match &mut self.0 {
            Source::Whole(bytes) => Ok(bytes.take().filter(|b| !b.is_empty())),
            Source::File(file) => {
                let mut buffer = BytesMut::with_capacity(READ_BYTES);
                let read = file.read_buf(&mut buffer).await.map_err(|e| retry(&e))?;
                Ok((read > 0).then(|| buffer.freeze()))
            }
            #[cfg(feature = "aws")]
            Source::Aws(body) => loop {
                match body.next().await {
                    Some(Ok(piece)) if piece.is_empty() => {}
                    Some(Ok(piece)) => return Ok(Some(piece)),
                    Some(Err(e)) => return Err(retry(&e)),
                    None => return Ok(None),
                }
            },
        }
    }

    /// All of it, at most `max` bytes: a larger object is an error, and no more than that is held.
    pub async fn collect(mut self, max: u64) -> Result<Bytes, StoreError> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if (all.len() + piece.len()) as u64 > max {
                return Err(StoreError::new(
                    Class::Rejected,
                    "read",
                    format!("the object is larger than {max} bytes"),
                ));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chunks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_wrong_only_if_it_cannot_be_right() {
        let check = |date, asked, answered, ahead| {
            assert_eq!(
                Clock {
                    date,
                    asked,
                    answered
                }
                .ahead(),
                ahead
            );
        };
        check(100, 100, 100, 0);
        check(105, 100, 110, 0);
        check(110, 100, 110, 0);
        check(111, 100, 110, 1);
        check(99, 100, 110, -1);
        check(40, 100, 110, -60);
    }

    #[tokio::test]
    async fn an_object_is_collected_up_to_a_bound() {
        let all = Chunks::of(Bytes::from_static(b"abc")).collect(3).await;
        assert_eq!(all.as_deref(), Ok(&b"abc"[..]));
        let error = Chunks::of(Bytes::from_static(b"abcd"))
            .collect(3)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "read: the object is larger than 3 bytes");
        assert_eq!(Chunks::of(Bytes::new()).next().await, Ok(None));
    }
}

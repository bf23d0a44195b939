//! Write-once object stores with locks.
//!
//! [`ObjectStore`] is all that an archive, a verifier and a replay need of a store: conditional writes under a lock,
//! reads by version, listings in order of key, and the facts of a bucket. [`file`] keeps objects below a directory and
//! protects nothing; `s3`, behind the feature `aws`, speaks to S3 and everything like it. [`check`] finds out at start
//! whether a store keeps the promise of its lock. Nothing here retries and nothing queues: an error says whether
//! trying again can help, and the caller decides. This is the only crate that may know a cloud's SDK.

pub mod blocks;
pub mod check;
pub mod error;
pub mod file;
mod naming;
pub mod partition;
mod patience;
#[cfg(feature = "aws")]
pub mod s3;
pub mod store;
#[cfg(all(feature = "aws", any(test, feature = "test-kit")))]
pub mod test_kit;

pub use error::{Class, StoreError};
pub use file::FileStore;
pub use naming::{Name, Naming};
pub use partition::Partition;
pub use patience::patiently;
#[cfg(feature = "aws")]
pub use s3::S3Store;
pub use store::{
    Body, BoxFuture, Chunks, Clock, DefaultRetention, Facts, Get, Head, Listed, Lock, LockRules, Mode,
    ObjectStore, Put, PutOutcome, Retention, Stored, Version, VersionMark, Versioning,
};

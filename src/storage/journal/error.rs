//! Why the journal did not do something.

use std::io;

use super::format::{self, Seq};

/// Why something could not be done. None of it has been taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk, or what the journal may take of it.
    #[error("the disk is full")]
    Full,
    /// The file system takes no writes.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The record is larger than any may be.
    #[error("{len} bytes are more than the journal takes at once")]
    TooLarge {
        /// Its length.
        len: usize,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// What lies on the disk is not what was written.
    #[error("record {} is damaged", seq.0)]
    Damaged {
        /// Which.
        seq: Seq,
    },
    /// The same of something that is kept beside the records.
    #[error("{file} is damaged")]
    DamagedFile {
        /// Which.
        file: String,
    },
    /// It was written with a key.
    #[error("{file} is encrypted, and no key is configured")]
    KeyMissing {
        /// Which file.
        file: String,
    },
    /// It was written with another key.
    #[error("{file} is encrypted with another key than the configured one")]
    KeyWrong {
        /// Which file.
        file: String,
    },
    /// Another process has it.
    #[error(
        "{directory} is in use, it seems by a running gateway: ask that one over its admin endpoint, or stop it"
    )]
    InUse {
        /// Which directory.
        directory: String,
    },
    /// There are as many destinations as there can be.
    #[error("the journal has no number for another destination")]
    TooManyDestinations,
    /// Nobody is owed this record any more.
    #[error("record {} is not in the journal", seq.0)]
    Gone {
        /// Which.
        seq: Seq,
    },
    /// Written by a newer version of Weir.
    #[error(
        "{file} has format version {version}, and this knows those up to {}",
        format::VERSION
    )]
    Version {
        /// Which file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// Anything else that a disk says.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io(doing: &'static str, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full,
            io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly,
            _ => Error::Io { doing, source },
        }
    }

    /// The same for one more caller.
    pub(super) fn again(&self) -> Error {
        match self {
            Error::Full => Error::Full,
            Error::ReadOnly => Error::ReadOnly,
            Error::Io { doing, source } => Error::Io {
                doing,
                source: io::Error::new(source.kind(), source.to_string()),
            },
            _ => Error::Closed,
        }
    }
}

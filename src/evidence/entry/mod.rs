//! Entries: one JSON object on one line, whose exact bytes are a leaf of the tree.
//!
//! [`Entry::write`] gives the bytes once; from then on they are only copied. [`Entry::parse`] reads lines of any
//! writer: unknown kinds and keys pass, while duplicate keys, another version, raw control characters, numbers beyond
//! 2^53 and lines above 60,000 bytes are refused, since two readers could take them for two things.

mod kinds;
mod ledger;
mod strict;

pub use kinds::{
    Adopted, Anchor, Audit, BucketLock, Canary, Cfg, Close, Enc, Gap, Head, Hold, Key, Lock, Note, Obj, Open,
    Peer, PeerHead, Prev, Restore, Retention, Seg, Shred, Start, Worm,
};
pub use ledger::{DoorRow, EdgeRow, Ledger, Row, Unknown};

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// A longer line is no entry; entry bundles of tiles could not carry it.
pub const LINE_BYTES_MAX: usize = 60_000;
/// Integers are at most this far from zero, so that every reader of JSON keeps them exact.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Something that happened, with its place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Zero-based, equal to the leaf's index.
    pub i: u64,
    /// The writer's clock, never decreasing within a session.
    pub t: Time,
    /// What happened.
    pub kind: Kind,
}

/// Why a line is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Above [`LINE_BYTES_MAX`].
    #[error("{0} bytes, at most 60000")]
    TooLong(usize),
    /// A byte below 0x20.
    #[error("a raw control character at byte {0}")]
    Control(usize),
    /// Not JSON, a key twice, a number out of range, or a known key with another type.
    #[error("{0}")]
    Malformed(String),
    /// `v` is not 1.
    #[error("not of version 1")]
    Version,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $body:ty = $text:literal,)*) => {
        /// What an entry says.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Kind {
            $($(#[$doc])* $name($body),)*
            /// A kind that this version does not know; still a leaf.
            Other(String),
        }

        impl Kind {
            /// As `k` says it.
            pub fn name(&self) -> &str {
                match self {
                    $(Kind::$name(_) => $text,)*
                    Kind::Other(name) => name,
                }
            }

            fn parse(name: &str, line: &str) -> Result<Kind, serde_json::Error> {
                Ok(match name {
                    $($text => Kind::$name(serde_json::from_str(line)?),)*
                    other => {
                        serde_json::from_str::<serde::de::IgnoredAny>(line)?;
                        Kind::Other(other.to_owned())
                    }
                })
            }

            fn body(&self) -> Result<String, serde_json::Error> {
                match self {
                    $(Kind::$name(body) => serde_json::to_string(body),)*
                    Kind::Other(_) => Ok("{}".to_owned()),
                }
            }
        }
    };
}

kinds! {
    /// A segment begins.
    Seg Seg = "seg",
    /// A session begins; always entry 1.
    Open Open = "open",
    /// A process begins.
    Start Start = "start",
    /// What the store's lock is worth.
    Worm Worm = "worm",
    /// An object is in the store.
    Obj Box<Obj> = "obj",
    /// A number that no object has.
    Gap Gap = "gap",
    /// Who came in and where they went.
    Ledger Ledger = "ledger",
    /// The head of the audit chain.
    Audit Audit = "audit",
    /// Heads of other sessions.
    Peer Peer = "peer",
    /// The next signing key.
    Key Key = "key",
    /// A legal hold was put or lifted.
    Hold Hold = "hold",
    /// Locks were extended.
    Retain Hold = "retain",
    /// Keys were destroyed.
    Shred Shred = "shred",
    /// Somebody read the archive.
    Restore Restore = "restore",
    /// Another configuration.
    Cfg Cfg = "cfg",
    /// Somebody outside vouches for a head.
    Anchor Anchor = "anchor",
    /// An operator's words.
    Note Note = "note",
    /// The session ends.
    Close Close = "close",
}

/// The keys that every entry has.
#[derive(Deserialize, Serialize)]
struct Common {
    v: u64,
    i: u64,
    t: Time,
    k: String,
}

impl Entry {
    /// Its line, without a newline.
    ///
    /// Errors: what would be too long to read again, or hold a number above 2^53 - 1.
    pub fn write(&self) -> Result<String, EntryError> {
        let malformed = |e: serde_json::Error| EntryError::Malformed(e.to_string());
        let common = Common {
            v: 1,
            i: self.i,
            t: self.t,
            k: self.kind.name().to_owned(),
        };
        let mut line = serde_json::to_string(&common).map_err(malformed)?;
        let body = self.kind.body().map_err(malformed)?;
        if body.len() > 2 {
            line.pop();
            line.push(',');
            line.push_str(&body[1..]);
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(EntryError::TooLong(line.len()));
        }
        strict::check(&line)?;
        Ok(line)
    }

    /// Refuses a text that is not one JSON object which every reader takes for the same.
    pub(crate) fn check_json(text: &str) -> Result<(), EntryError> {
        strict::check(text)
    }

    /// Reads a line without its newline.
    pub fn parse(line: &[u8]) -> Result<Entry, EntryError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(EntryError::TooLong(line.len()));
        }
        // Asked of all bytes at once, which is quick; where it stands is for the message.
        if line.iter().fold(false, |found, c| found | (*c < 0x20)) {
            let at = line.iter().position(|c| *c < 0x20).unwrap_or_default();
            return Err(EntryError::Control(at));
        }
        let text = std::str::from_utf8(line).map_err(|_| EntryError::Malformed("not UTF-8".to_owned()))?;
        strict::check(text)?;
        let malformed = |e: serde_json::Error| EntryError::Malformed(e.to_string());
        if let Some((i, t, k)) = beginning(text) {
            let kind = Kind::parse(k, text).map_err(malformed)?;
            return Ok(Entry { i, t, kind });
        }
        let common: Common = serde_json::from_str(text).map_err(malformed)?;
        if common.v != 1 {
            return Err(EntryError::Version);
        }
        let kind = Kind::parse(&common.k, text).map_err(malformed)?;
        Ok(Entry {
            i: common.i,
            t: common.t,
            kind,
        })
    }
}

/// The keys that every entry has, where they stand as we write them: at the beginning, in their order, without spaces.
/// As no key stands twice, they are what a parser would find.
fn beginning(text: &str) -> Option<(u64, Time, &str)> {
    let rest = text.strip_prefix("{\"v\":1,\"i\":")?;
    let (i, rest) = rest.split_once(",\"t\":\"")?;
    let (t, rest) = rest.split_once("\",\"k\":\"")?;
    let (k, _) = rest.split_once('"')?;
    let digits = i.len() < 16 && i.bytes().all(|c| c.is_ascii_digit()) && (i == "0" || !i.starts_with('0'));
    let plain = k.bytes().all(|c| c != b'\\');
    if digits && plain {
        Some((i.parse().ok()?, t.parse().ok()?, k))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;

//! What each kind of entry says, in the order in which its keys are written.

use serde::{Deserialize, Serialize};

use crate::digest::{self, Digest};
use crate::names::class_of;
use crate::time::{Second, Time};

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The first entry of each segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seg {
    /// Index of this entry.
    pub start: u64,
    /// The segment before; none exactly at 0.
    pub prev: Option<Prev>,
}

/// How a segment hangs on the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prev {
    /// Where it began.
    pub start: u64,
    /// Of the whole file.
    pub sha256: Digest,
    /// The tree's hash where the new segment begins.
    #[serde(with = "digest::base64")]
    pub root: Digest,
}

/// A session begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Name of the archive.
    pub archive: String,
    /// Who writes.
    pub writer: String,
    /// A version 7 UUID.
    pub session: String,
    /// Bucket, or the path of a directory.
    pub bucket: String,
    /// Empty for a directory.
    pub region: String,
    /// The first signing key.
    pub vkey: String,
    /// This writer's session before, as far as it is known.
    pub prev_session: Option<Head>,
}

/// The head of a session of the same writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// A version 7 UUID.
    pub session: String,
    /// Entries.
    pub size: u64,
    /// The tree's hash at that size.
    #[serde(with = "digest::base64")]
    pub root: Digest,
}

/// A process begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Of the program.
    pub version: String,
    /// Of the configuration as it runs.
    pub config_sha256: Digest,
    /// Whether the last stop was orderly.
    pub clean: bool,
    /// Objects put again from the spool.
    pub recovered: u64,
    /// Commit of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
    /// Operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// The machine's present boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// `same`, `new` or `lost`: which journal this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
}

/// What a start-up check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worm {
    /// The bucket's own lock.
    pub bucket_lock: BucketLock,
    /// `Enabled`, `Suspended` or empty.
    pub versioning: String,
    /// The object that was written to try; none if there was no trial.
    pub canary: Option<Canary>,
    /// `s3-compliance`, `s3-governance`, `external` or `none`.
    pub worm: String,
}

/// The bucket's own lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketLock {
    /// Whether the bucket can lock at all.
    pub enabled: bool,
    /// What objects get that ask for nothing.
    pub default: Option<Retention>,
}

/// A bucket's default retention: days or years.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// `COMPLIANCE` or `GOVERNANCE`.
    pub mode: String,
    /// Days, unless in years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Years, unless in days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub years: Option<u32>,
}

/// What became of the object that was written to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Its key.
    pub key: String,
    /// Its version.
    pub ver: Option<String>,
    /// The lock mode that the store reported.
    pub mode: Option<String>,
    /// The end of the lock that the store reported.
    pub until: Option<Second>,
    /// Whether mode, date and checksum came back as sent.
    pub readback: bool,
    /// Whether the second write was refused.
    pub conditional: bool,
    /// Whether deleting it was refused; none if nobody tried.
    pub delete_refused: Option<bool>,
}

/// An object is in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obj {
    /// The session's dense number of it.
    pub seq: u64,
    /// Full key below the store's prefix.
    pub key: String,
    /// Version that the store gave it.
    pub ver: Option<String>,
    /// Stored bytes.
    pub size: u64,
    /// Of the stored bytes.
    pub sha256: Digest,
    /// `otlp_proto`, `otlp_json` or `parquet`.
    pub fmt: String,
    /// `zstd`, `gzip` or `none`.
    pub cmp: String,
    /// How it is encrypted.
    pub enc: Option<Enc>,
    /// Whose records.
    pub tenant: String,
    /// `logs`, `traces`, `metrics` or `profiles`.
    pub signal: String,
    /// Records.
    pub n: u64,
    /// Bytes before compression.
    pub raw: u64,
    /// Smallest and largest event time.
    pub ev: Option<[Time; 2]>,
    /// Smallest and largest time of admission.
    pub ad: [Time; 2],
    /// Log records by severity: unspecified, TRACE, DEBUG, INFO, WARN, ERROR, FATAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sev: Option<[u64; 7]>,
    /// Distinct service names, sorted, at most 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub svc: Option<Vec<String>>,
    /// Whether there were more than 32.
    #[serde(default, skip_serializing_if = "is_false")]
    pub svc_more: bool,
    /// The lock as it was asked for.
    pub lock: Option<Lock>,
    /// The retention class, in a layout whose keys name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// For a derived object: the numbers of those that it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Vec<u64>>,
    /// Where it was first meant to be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
}

impl Obj {
    /// Its retention class, by its entry or by its key; none if neither says.
    pub fn class(&self) -> Option<&str> {
        self.class.as_deref().or_else(|| class_of(&self.key))
    }
}

/// How an object is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enc {
    /// `age-v1` or `sse-kms`.
    pub alg: String,
    /// The keys that open it.
    pub kid: Vec<String>,
}

/// A lock as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// `COMPLIANCE` or `GOVERNANCE`.
    pub mode: String,
    /// Until when nobody can delete it.
    pub until: Second,
    /// Whether it is under a legal hold as well.
    pub hold: bool,
}

/// An object that another session wrote and did not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Whose it was.
    pub origin: String,
    /// Its number there.
    pub seq: u64,
}

/// Numbers that no object has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// One number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Or a range, both ends inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seqs: Option<[u64; 2]>,
    /// `key_conflict`, `spool_lost` or `operator`.
    pub why: String,
    /// Records lost; none if unknown.
    pub n: Option<u64>,
    /// For people.
    pub detail: String,
    /// The number of another session that this one explains: nothing was stored under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
}

impl Gap {
    /// The numbers, both ends inside; none if neither or both are said, or the range is turned around.
    pub fn range(&self) -> Option<[u64; 2]> {
        match (self.seq, self.seqs) {
            (Some(seq), None) => Some([seq, seq]),
            (None, Some([from, to])) if from <= to => Some([from, to]),
            _ => None,
        }
    }
}

/// The head of the audit chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Its number in the session's chain.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
}

/// Heads of other sessions, from their newest verified checkpoints; at most 50.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The heads.
    pub heads: Vec<PeerHead>,
}

/// The head of some session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerHead {
    /// Whose.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// The tree's hash at that size.
    #[serde(with = "digest::base64")]
    pub root: Digest,
}

/// The next signing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The new key under the session's name.
    pub vkey: String,
    /// `schedule`, `compromise` or `operator`.
    pub why: String,
}

/// A legal hold was put or lifted (`hold`), or locks were extended (`retain`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its name.
    pub id: String,
    /// Put or lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// The new end, for `retain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Second>,
    /// What was selected.
    pub filter: String,
    /// Objects.
    pub n: u64,
    /// Key of the file that lists them: lines of [`HoldItem`](crate::verify::HoldItem).
    pub list_key: String,
    /// Of that file.
    pub list_sha256: Digest,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Keys were destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shred {
    /// Which.
    pub kids: Vec<String>,
    /// How.
    pub method: String,
    /// Objects.
    pub n: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From when on nobody can read them.
    pub effective: Second,
    /// Of what the key store answered.
    pub receipt_sha256: Digest,
    /// Ids of the keys that agreed.
    pub approvals: Vec<String>,
    /// Of the reason, which stays outside.
    pub reason_sha256: Digest,
    /// Whether it was tried again after `effective`.
    pub confirmed: bool,
}

/// Somebody read the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// What was selected.
    pub filter: String,
    /// Records.
    pub n: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Where they went.
    pub to: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Another configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cfg {
    /// Of the new one.
    pub config_sha256: Digest,
    /// Of the one before.
    pub prev_config_sha256: Digest,
    /// Who.
    pub by: String,
    /// `sighup`, `opamp` or `start`.
    pub source: String,
}

/// Somebody outside vouches for a head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Of the head.
    pub size: u64,
    /// `rfc3161`, `witness` or `external`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of the token.
    pub sha256: Digest,
}

/// An operator's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What.
    pub text: String,
}

/// The session ends; only a checkpoint follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close {
    /// `shutdown`, `rollover` or `fenced`.
    pub why: String,
    /// The one that goes on.
    pub next_session: Option<String>,
}

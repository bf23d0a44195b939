//! The start-up check: whether a store keeps the promise of its lock, found out before any data is taken.
//!
//! What a bucket says of itself is not believed alone. A canary, 32 random bytes, is written under the lock that objects
//! will have and read back by its version; a second write of its key must be refused; and where somebody with the
//! permission to delete is at hand, the deletion must be refused too. The first thing that is not so ends the check with
//! a text that names fact and remedy, or, where no lock is required, becomes a note and the verdict [`Worm::None`].

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, rand};
use bytes::Bytes;

use crate::error::{Class, StoreError};
use crate::store::{
    Body, Facts, Head, Lock, LockRules, Mode, ObjectStore, Put, PutOutcome, Retention, Versioning,
};

/// Written once by whoever founds an archive; marks a prefix as one.
pub const ARCHIVE: &str = "_weir/v1/archive.json";
/// Where canaries are; who may delete for the check may do so here alone.
pub const SELFTEST: &str = "_weir/v1/selftest/";
/// How long a canary is locked, in seconds.
const CANARY_SECONDS: u64 = 24 * 60 * 60;
/// Seconds between the clocks that are worth a note, and those that are too many.
const CLOCK_NOTE: u64 = 2;
const CLOCK_MAX: u64 = 60;
const CANARY_BYTES: usize = 32;
/// Where a canary has this second's name already another one within so many is drawn: starts may follow each other fast.
const CANARY_NAMES: u64 = 3600;

/// What a store must keep.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Whether the check fails where the lock does not hold.
    pub required: bool,
    /// The mode that objects get; `None`: the store locks by rules of its own, outside of its S3 side.
    pub mode: Option<Mode>,
    /// Whether [`ARCHIVE`] may be missing.
    pub create: bool,
    /// Names the canary, beside the time.
    pub session: &'a str,
}

/// How a store protects what it holds, as far as was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worm {
    /// Nobody can shorten the lock.
    Compliance,
    /// Only who may bypass it can.
    Governance,
    /// By rules of its own, and a deletion was refused.
    External,
    /// Not: tampering shows, and is possible.
    None,
}

impl Worm {
    /// As the archive's log has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compliance => "s3-compliance",
            Self::Governance => "s3-governance",
            Self::External => "external",
            Self::None => "none",
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The verdict.
    pub worm: Worm,
    /// What the store says of its object lock; `None`: that it has none, or nothing.
    pub bucket_lock: Option<LockRules>,
    /// What the store says of versions; `None`: nothing.
    pub versioning: Option<Versioning>,
    /// The canary, if it could be written.
    pub canary: Option<Canary>,
    /// Whether [`ARCHIVE`] is there.
    pub is_founded: bool,
    /// Seconds that the store's clock is ahead of ours; `None`: it shows none.
    pub clock_ahead: Option<i64>,
    /// What is to be said aloud: one line for each thing that is not as it should be.
    pub notes: Vec<String>,
}

/// The canary, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Its key.
    pub key: String,
    /// Its version, where the store has them.
    pub version: Option<String>,
    /// The lock that it was written with.
    pub retention: Option<Retention>,
    /// Read by version, it showed that lock or a longer one, and its digest.
    pub readback: bool,
    /// A second write of its key was refused.
    pub conditional: bool,
    /// Its deletion was refused; `None`: nobody tried who may.
    pub delete_refused: Option<bool>,
}

/// Why a store is not to be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckError {
    /// Fact and remedy, the first line without the place where it is said.
    pub text: String,
    /// Whether the same check again may succeed without anybody changing anything.
    pub may_pass: bool,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CheckError {}

/// Checks a store. `deleter` is the same store by other credentials, which may delete below [`SELFTEST`]: by the
/// writer's own a refusal would prove nothing. Costs five calls, and two more with a deleter.
pub async fn check(
    store: &dyn ObjectStore,
    deleter: Option<&dyn ObjectStore>,
    wanted: Wanted<'_>,
) -> Result<Found, CheckError> {
    let facts = store.facts().await;
    let mut run = Run {
        store,
        name: name(store.place()),
        wanted,
        found: Found {
            worm: Worm::None,
            bucket_lock: facts.lock.clone().ok().flatten(),
            versioning: facts.versioning.clone().ok(),
            canary: None,
            is_founded: false,
            clock_ahead: facts.clock.map(|clock| clock.ahead()),
            notes: Vec::new(),
        },
        failed: false,
    };
    // First, since a clock that is far off is what S3 refuses everything for.
    run.clock()?;
    if wanted.mode.is_some() {
        run.versioning(&facts)?;
        run.lock(&facts)?;
    }
    run.founded().await?;
    run.canary().await?;
    if let Some(deleter) = deleter {
        run.deletion(deleter).await?;
    }
    let is_deletion_refused = run.found.canary.as_ref().and_then(|canary| canary.delete_refused);
    run.found.worm = match (run.failed, wanted.mode) {
        (false, Some(Mode::Compliance)) => Worm::Compliance,
        (false, Some(Mode::Governance)) => Worm::Governance,
        (false, None) if is_deletion_refused == Some(true) => Worm::External,
        (false, None) => {
            run.fail(
                format!(
                    "{} locks by rules of its own, and nobody tried to delete (selftest.role_arn)",
                    run.name
                ),
                "Name a role that may delete below _weir/v1/selftest/: selftest.role_arn",
            )?;
            Worm::None
        }
        (true, _) => Worm::None,
    };
    if run.failed {
        run.found.notes.push(format!(
            "{}: tamper-evident, not WORM (lock.required: false)",
            run.name
        ));
    }
    Ok(run.found)
}

/// A bucket's name, or a directory.
fn name(place: &str) -> String {
    match place.strip_prefix("s3://") {
        Some(rest) => format!("bucket {:?}", rest.split('/').next().unwrap_or_default()),
        None => place.to_owned(),
    }
}

struct Run<'a> {
    store: &'a dyn ObjectStore,
    name: String,
    wanted: Wanted<'a>,
    found: Found,
    /// Something that a lock needs is not so.
    failed: bool,
}

impl Run<'_> {
    /// Something is not so: the end where a lock is required, a note where it is not.
    fn fail(&mut self, fact: String, remedy: &str) -> Result<(), CheckError> {
        if !self.wanted.required {
            self.failed = true;
            self.found.notes.push(fact);
            return Ok(());
        }
        let remedy = if remedy.is_empty() {
            String::new()
        } else {
            format!("\n  {remedy}")
        };
        Err(CheckError {
            text: format!(
                "{fact}.\n  WORM storage is promised here (lock.required: true), so nothing is written.{remedy}\n  Or accept an \
                 unlocked archive: lock.required: false  (reports will then say \"tamper-evident, not WORM\")"
            ),
            may_pass: false,
        })
    }

    /// The same for an error: one that may pass ends the check even where no lock is required, for it shows nothing.
    fn fail_by(&mut self, fact: String, error: &StoreError, remedy: &str) -> Result<(), CheckError> {
        let fact = format!("{fact} ({error})");
        match error.may_pass() {
            true => Err(CheckError {
                text: format!("{fact}.\n  It is tried again."),
                may_pass: true,
            }),
            false => self.fail(fact, remedy),
        }
    }

    fn bucket(&self) -> String {
        let rest = self.store.place().strip_prefix("s3://").unwrap_or_default();
        rest.split('/').next().unwrap_or_default().to_owned()
    }

    fn clock(&mut self) -> Result<(), CheckError> {
        let Some(ahead) = self.found.clock_ahead else {
            return Ok(());
        };
        let (off, way) = (
            ahead.unsigned_abs(),
            if ahead > 0 { "ahead of" } else { "behind" },
        );
        let fact = format!("the clock of {} is {off} s {way} ours", self.name);
        if off > CLOCK_MAX {
            return Err(CheckError {
                text: format!(
                    "{fact}; at most {CLOCK_MAX} s are allowed, since dates of retention come from both.\n  Set this machine's \
                     clock: chronyc tracking, timedatectl"
                ),
                may_pass: true,
            });
        }
        if off > CLOCK_NOTE {
            self.found.notes.push(fact);
        }
        Ok(())
    }

    fn versioning(&mut self, facts: &Facts) -> Result<(), CheckError> {
        let (name, bucket) = (self.name.clone(), self.bucket());
        let remedy = format!(
            "Enable it:  aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled"
        );
        match &facts.versioning {
            Ok(Versioning::Enabled) => Ok(()),
            Ok(state) if bucket.is_empty() => {
                debug_assert_eq!(*state, Versioning::Off);
                self.fail(
                    format!("{name} is a store without versions and locks"),
                    "Use a bucket: store.s3",
                )
            }
            Ok(Versioning::Suspended) => self.fail(
                format!("{name} has suspended its versioning (GetBucketVersioning: Suspended)"),
                &remedy,
            ),
            Ok(Versioning::Off) => self.fail(
                format!("{name} keeps no versions (GetBucketVersioning: no status)"),
                &remedy,
            ),
            Err(error) => self.fail_by(
                format!("{name} does not say whether it keeps versions"),
                error,
                "A store that cannot tell cannot keep the lock; credentials need s3:GetBucketVersioning",
            ),
        }
    }

    fn lock(&mut self, facts: &Facts) -> Result<(), CheckError> {
        let (name, bucket) = (self.name.clone(), self.bucket());
        match &facts.lock {
            Ok(Some(_)) => Ok(()),
            // Said already.
            Ok(None) if bucket.is_empty() => Ok(()),
            Ok(None) => self.fail(
                format!("{name} has no Object Lock (GetObjectLockConfiguration: ObjectLockConfigurationNotFoundError)"),
                &format!(
                    "Enable it:  aws s3api put-object-lock-configuration --bucket {bucket} --object-lock-configuration \
                     ObjectLockEnabled=Enabled\n  (versioning must be on first; neither can be turned off again)"
                ),
            ),
            Err(error) => self.fail_by(
                format!("{name} does not say whether it has Object Lock"),
                error,
                "A store that cannot tell cannot keep the lock; credentials need s3:GetBucketObjectLockConfiguration",
            ),
        }
    }

    async fn founded(&mut self) -> Result<(), CheckError> {
        match self.store.head(ARCHIVE, None).await {
            Ok(_) => self.found.is_founded = true,
            Err(error) if error.class == Class::NotFound && self.wanted.create => {}
            Err(error) if error.class == Class::NotFound => {
                return Err(CheckError {
                    text: format!(
                        "{} holds no archive: {ARCHIVE} is missing.\n  Found one:  weir archive init\n  Or have it founded at start: \
                         create: true",
                        self.store.place()
                    ),
                    may_pass: false,
                });
            }
            Err(error) => {
                return Err(CheckError {
                    text: format!("{} cannot be read ({error})", self.name),
                    may_pass: error.may_pass(),
                });
            }
        }
        Ok(())
    }

    async fn canary(&mut self) -> Result<(), CheckError> {
        let name = self.name.clone();
        let now = now();
        let mut key = format!("{SELFTEST}{}-{now}", self.wanted.session);
        let mut bytes = [0; CANARY_BYTES];
        if rand::fill(&mut bytes).is_err() {
            return Err(CheckError {
                text: "no random numbers for the canary".into(),
                may_pass: true,
            });
        }
        // Later than both clocks say.
        let store_now = self.found.clock_ahead.unwrap_or(0).max(0).unsigned_abs() + now;
        // A bucket without locks would refuse one.
        let mode = self.wanted.mode.filter(|_| self.found.bucket_lock.is_some());
        let retention = mode.map(|mode| Retention {
            mode,
            until: store_now + CANARY_SECONDS,
        });
        let put = Put {
            sha256: sha256(&bytes),
            content_type: "application/octet-stream".into(),
            lock: Lock {
                retention,
                legal_hold: false,
            },
            if_absent: true,
            ..Put::default()
        };
        let body = Body::Bytes(Bytes::copy_from_slice(&bytes));
        let mut others = bytes
            .as_chunks()
            .0
            .iter()
            .map(|two| u64::from(u16::from_le_bytes(*two)));
        let answer = loop {
            let answer = self.store.put(&key, body.clone(), &put).await;
            // A session that was started a moment ago has left its own.
            match (&answer, others.next()) {
                (Ok(PutOutcome::Exists), Some(other)) => {
                    key = format!("{SELFTEST}{}-{}", self.wanted.session, now + other % CANARY_NAMES);
                }
                _ => break answer,
            }
        };
        let stored = match answer {
            Ok(PutOutcome::Stored(stored)) => stored,
            Ok(PutOutcome::Exists | PutOutcome::Conflict) => {
                return Err(CheckError {
                    text: format!(
                        "{name}: the canary {key} is there already: somebody else writes as this session"
                    ),
                    may_pass: true,
                });
            }
            Err(error) => {
                return self.fail_by(format!("{name} does not take a canary under lock"), &error, "");
            }
        };
        let mut canary = Canary {
            key,
            version: stored.version,
            retention,
            readback: false,
            conditional: false,
            delete_refused: None,
        };
        let readback = match self.store.head(&canary.key, canary.version.as_deref()).await {
            Ok(head) => shown(&canary, &head, &put),
            Err(error) if error.may_pass() => {
                return self.fail_by(format!("{name} does not show the canary"), &error, "");
            }
            Err(error) => Err(error.to_string()),
        };
        canary.readback = readback.is_ok();
        let again = self.store.put(&canary.key, body, &put).await;
        canary.conditional = again == Ok(PutOutcome::Exists);
        self.found.canary = Some(canary);
        if let Err(why) = readback {
            self.fail(
                format!("{name} took a canary and does not show it as it was written: {why}"),
                "A store that takes the lock's headers and forgets them protects nothing; credentials need \
                 s3:GetObjectRetention to see them",
            )?;
        }
        match again {
            Ok(PutOutcome::Exists) => Ok(()),
            Ok(_) => self.fail(
                format!("{name} ignores conditional writes: a second PUT of the same key with If-None-Match: * was taken"),
                "Two writers could hide each other's objects; use a store, or a release of it, that answers 412",
            ),
            Err(error) => self.fail_by(format!("{name} does not answer a second PUT of the same key with 412"), &error, ""),
        }
    }

    async fn deletion(&mut self, deleter: &dyn ObjectStore) -> Result<(), CheckError> {
        let Some(canary) = self.found.canary.clone() else {
            return Ok(());
        };
        let Some(version) = canary.version.as_deref() else {
            return Ok(());
        };
        let name = self.name.clone();
        let refused = match deleter.delete(&canary.key, version).await {
            Ok(()) => false,
            Err(error) if error.class == Class::Denied => {
                // Refused is what it says; whether it is still there is what counts.
                let read = || self.store.head(&canary.key, Some(version));
                let mut left = read().await;
                for wait_ms in [100, 300, 1000, 3000] {
                    if !left.as_ref().is_err_and(StoreError::may_pass) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                    left = read().await;
                }
                match left {
                    Ok(_) => true,
                    Err(error) if error.class == Class::NotFound => false,
                    Err(error) => {
                        return self.fail_by(format!("{name} does not show the canary"), &error, "");
                    }
                }
            }
            Err(error) => {
                self.found.notes.push(format!(
                    "{name}: the deletion of the canary could not be tried ({error})"
                ));
                return Ok(());
            }
        };
        if let Some(canary) = &mut self.found.canary {
            canary.delete_refused = Some(refused);
        }
        match refused {
            true => Ok(()),
            false => self.fail(
                format!("{name} deleted a version under lock ({})", canary.key),
                "The lock is shown and not kept: this store is no WORM storage",
            ),
        }
    }
}

/// Whether a canary shows what it was written with; else what it shows.
fn shown(canary: &Canary, head: &Head, put: &Put) -> Result<(), String> {
    let Some(sent) = canary.retention else {
        return match head.sha256 {
            Some(found) if found != put.sha256 => Err("another SHA-256".into()),
            _ => Ok(()),
        };
    };
    if canary.version.is_none() {
        return Err("the PUT was answered without a version".into());
    }
    match head.lock.retention {
        None => return Err("no lock is shown".into()),
        Some(found) if found.mode != sent.mode => {
            return Err(format!(
                "{} is shown where {} was sent",
                found.mode.as_str(),
                sent.mode.as_str()
            ));
        }
        Some(found) if found.until < sent.until => {
            return Err(format!(
                "locked {} s shorter than was sent",
                sent.until - found.until
            ));
        }
        Some(_) => {}
    }
    match head.sha256 {
        Some(found) if found == put.sha256 => Ok(()),
        Some(_) => Err("another SHA-256".into()),
        None => Err("no SHA-256 is shown".into()),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests;

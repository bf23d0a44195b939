//! `weir archive doctor`: the check of a start without the start, and what else of a store can be known beforehand.
//!
//! It writes one canary, as every start does. Whether a deletion is refused shows only by credentials that may delete; with
//! the writer's own it is asked whether they may, by deleting a version that does not exist.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use evidence::names::{Layout, Session};
use evidence::time::Second;
use objects::blocks::Store;
use objects::check::{self, Found, SELFTEST, Worm};
use objects::{Class, Mode, ObjectStore, Versioning};
use serde_json::{Value, json};

use super::logs::{Believed, Logs, Wanted};
use super::reading::Reading;
use super::which::{Configured, Part, Which, now};
use super::{Failure, text};
use crate::cli::{Sources, say};

/// Options of `weir archive doctor`.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// The lock that objects are to have; default: that of the exporter in --config, else compliance
    #[arg(long, value_enum, value_name = "MODE")]
    lock: Option<LockMode>,
    /// A role that may delete below _weir/v1/selftest/ alone: the deletion of the canary is tried with it
    #[arg(long, value_name = "ARN")]
    selftest_role: Option<String>,
    /// Tenants times signals, for the costs; default: those of the last 24 hours
    #[arg(long, value_name = "N")]
    partitions: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What a lock is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LockMode {
    /// Nobody can shorten it
    Compliance,
    /// Who may bypass it can
    Governance,
    /// No lock is promised
    None,
}

/// Objects of a partition in an hour, as an exporter with defaults makes them at the least.
const OBJECTS_AN_HOUR: u64 = 5;
const HOURS_A_MONTH: u64 = 720;
/// US dollars for a thousand PUTs, by Amazon's price table of 2025.
const DOLLARS_FOR_1000: f64 = 0.005;

/// All that was found out.
#[derive(Debug)]
struct Diagnosis {
    place: String,
    region: Option<String>,
    required: bool,
    found: Found,
    /// Who tried to delete.
    role: Option<String>,
    rights: Rights,
    partitions: Option<u64>,
    objects_an_hour: u64,
    ack: Option<String>,
}

/// Whether the writer may delete versions.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rights {
    /// It may not, as it should be.
    None,
    /// It may.
    Delete,
    /// That could not be found out, and why.
    Unknown(String),
}

/// Runs it; the exit code.
pub(super) async fn run(sources: &Sources, arguments: &Arguments) -> Result<u8, Failure> {
    let (store, known) = arguments.which.named(sources)?;
    let archive = arguments.which.opened(&store, known).await?;
    archive.tell_other_layout().await;
    if archive.is_copy {
        return Err(Failure::usage("a copy has no lock: --store"));
    }
    let deleter = deleter(&store, arguments.selftest_role.as_deref()).await?;
    let (required, mode) = promised(arguments.lock, archive.configured.as_ref());
    let mut diagnosis = diagnose(&*archive.store, deleter.as_deref(), required, mode).await?;
    diagnosis.role.clone_from(&arguments.selftest_role);
    diagnosis.objects_an_hour = objects_an_hour(archive.configured.as_ref());
    diagnosis.ack = archive.configured.as_ref().map(ack);
    diagnosis.partitions = match arguments.partitions {
        Some(n) => Some(n),
        None => seen(&Reading::of(&archive)).await,
    };
    match arguments.json {
        true => say(&diagnosis.json().to_string()),
        false => say(diagnosis.text().trim_end()),
    }
    Ok(diagnosis.exit())
}

/// Whether a lock is promised, and which.
fn promised(asked: Option<LockMode>, configured: Option<&Configured>) -> (bool, Mode) {
    let (required, mode) = configured.map_or((true, Mode::Compliance), |known| {
        (known.lock.required, known.lock.mode)
    });
    match asked {
        None => (required, mode),
        Some(LockMode::Compliance) => (true, Mode::Compliance),
        Some(LockMode::Governance) => (true, Mode::Governance),
        Some(LockMode::None) => (false, mode),
    }
}

/// The same store by another role.
async fn deleter(store: &Store, role: Option<&str>) -> Result<Option<Arc<dyn ObjectStore>>, Failure> {
    let (Some(role), Some(s3)) = (role, &store.s3) else {
        return match role {
            Some(_) => Err(Failure::usage("--selftest-role is for buckets")),
            None => Ok(None),
        };
    };
    let mut s3 = s3.clone();
    role.clone_into(&mut s3.role_arn);
    let store = Store {
        s3: Some(s3),
        file: None,
    };
    let opened = store.open().await;
    opened
        .map(Some)
        .map_err(|e| Failure::unknown(format!("{role}: {e}")))
}

async fn diagnose(
    store: &dyn ObjectStore,
    deleter: Option<&dyn ObjectStore>,
    required: bool,
    mode: Mode,
) -> Result<Diagnosis, Failure> {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Failure::unknown("no random bytes"))?;
    let session = Session::new(now(), random);
    // All of it is looked at, whatever comes first.
    let wanted = check::Wanted {
        required: false,
        mode: Some(mode),
        create: true,
        session: session.as_str(),
    };
    let found = check::check(store, deleter, wanted).await;
    let found = found.map_err(|e| Failure::unknown(e.to_string()))?;
    Ok(Diagnosis {
        place: store.place().to_owned(),
        region: store.facts().await.region,
        required,
        rights: rights(store, &found, &session).await,
        found,
        role: None,
        partitions: None,
        objects_an_hour: OBJECTS_AN_HOUR,
        ack: None,
    })
}

/// Asks whether these credentials may delete versions, of a version that nobody has.
async fn rights(store: &dyn ObjectStore, found: &Found, session: &Session) -> Rights {
    if found.versioning.is_none_or(|state| state == Versioning::Off) {
        return Rights::Unknown("the store has no versions".to_owned());
    }
    match store.delete(&format!("{SELFTEST}{session}-rights"), "null").await {
        Ok(()) => Rights::Delete,
        Err(error) if error.class == Class::Denied => Rights::None,
        // It was looked for, so it might have been deleted.
        Err(error) if error.class == Class::NotFound => Rights::Delete,
        Err(error) => Rights::Unknown(error.to_string()),
    }
}

/// Partitions of the last day; none if that cannot be said.
async fn seen(reading: &Reading) -> Option<u64> {
    let wanted = Wanted {
        part: Part {
            from: Some("-24h".to_owned()),
            ..Part::default()
        },
        is_quiet: true,
        ..Wanted::default()
    };
    let logs = Logs::read(reading, &Believed::default(), &wanted).await.ok()?;
    let objects = logs.objects.iter();
    let partitions: BTreeSet<_> = objects
        .map(|named| (&named.obj.tenant, &named.obj.signal))
        .collect();
    (!partitions.is_empty()).then_some(partitions.len() as u64)
}

/// Objects are cut a fifth earlier than their age says, at the most.
fn objects_an_hour(configured: Option<&Configured>) -> u64 {
    let Some(known) = configured else {
        return OBJECTS_AN_HOUR;
    };
    let small = known.roll.max_age_small.filter(|age| !age.0.is_zero());
    // These wait for no more by default.
    let is_early = known.ack == "memory" || known.layout == Layout::Awss3;
    let age = match (is_early, small, known.roll.max_age) {
        (true, None, Some(age)) | (_, Some(age), _) => age.0.as_secs(),
        (true, None, None) => 60,
        _ => 900,
    };
    (4_500 / age.max(1)).max(1)
}

fn ack(known: &Configured) -> String {
    let how = match known.ack.as_str() {
        "" => "wal",
        own => own,
    };
    match (&known.storage, how) {
        (Some(storage), _) => format!("{how}: {storage}"),
        (None, "memory") => "memory: what is in memory is lost with the process".to_owned(),
        (None, _) => format!("{how}: sending_queue.storage"),
    }
}

impl Diagnosis {
    fn exit(&self) -> u8 {
        match self.found.worm {
            Worm::None if self.required => 3,
            _ => 0,
        }
    }

    fn result(&self) -> &'static str {
        match (self.found.worm, self.required) {
            (Worm::Compliance | Worm::External, _) => "WORM",
            (Worm::Governance, _) => "WORM, but for who may bypass GOVERNANCE",
            (Worm::None, true) => "NOT WORM: an exporter with lock.required does not start",
            (Worm::None, false) => "tamper-evident, not WORM",
        }
    }

    /// Of a month.
    fn puts(&self) -> Option<u64> {
        self.partitions?
            .checked_mul(self.objects_an_hour)?
            .checked_mul(HOURS_A_MONTH)
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let found = &self.found;
        let region = self
            .region
            .as_ref()
            .map_or_else(String::new, |region| format!(" ({region})"));
        let versioning = match found.versioning {
            Some(Versioning::Off) => "off",
            Some(state) => state.as_str(),
            None => "not told",
        };
        let lock = match found.bucket_lock {
            Some(rules) => match rules.default {
                Some(default) => format!("Enabled, default {} {} d", default.mode.as_str(), default.days),
                None => "Enabled, no default".to_owned(),
            },
            None => "none".to_owned(),
        };
        let (conditional, canary, refused) = match &found.canary {
            None => (
                "not tried".to_owned(),
                "not written".to_owned(),
                "not tried".to_owned(),
            ),
            Some(canary) => {
                let conditional = match canary.conditional {
                    true => "ok (refused on second write)",
                    false => "IGNORED: a second write was taken",
                };
                let until = canary.retention.map(|r| {
                    let until = Second::from_seconds(i64::try_from(r.until).unwrap_or(i64::MAX));
                    format!("{} until {until}, ", r.mode.as_str())
                });
                let read = if canary.readback {
                    "read back ok"
                } else {
                    "NOT READ BACK as written"
                };
                let refused = match (canary.delete_refused, &self.role) {
                    (Some(true), Some(role)) => format!("yes ({role})"),
                    (Some(true), None) => "yes".to_owned(),
                    (Some(false), _) => "NO: a version under lock was deleted".to_owned(),
                    (None, _) => "not tried: --selftest-role".to_owned(),
                };
                (
                    conditional.to_owned(),
                    until.unwrap_or_else(|| "no lock, ".to_owned()) + read,
                    refused,
                )
            }
        };
        let clock = found
            .clock_ahead
            .map_or_else(|| "not told".to_owned(), |s| format!("{s} s"));
        let rights = match &self.rights {
            Rights::None => "ok; may not delete versions".to_owned(),
            Rights::Delete => "MAY DELETE VERSIONS: take s3:DeleteObjectVersion away".to_owned(),
            Rights::Unknown(why) => format!("not known ({why})"),
        };
        let requests = match (self.partitions, self.puts()) {
            (Some(partitions), Some(puts)) => format!(
                "{} partitions x {} objects/h: {} PUTs a month, about {:.2} US dollars at 0.005 per 1,000 (price table of 2025)",
                text::grouped(partitions),
                self.objects_an_hour,
                text::grouped(puts),
                puts as f64 / 1_000.0 * DOLLARS_FOR_1000
            ),
            _ => "no objects in the last 24 h: --partitions N".to_owned(),
        };
        let founded = if found.is_founded {
            "founded"
        } else {
            "not founded: weir archive init"
        };
        let mut lines = vec![
            ("bucket", format!("{}{region}", self.place)),
            ("archive", founded.to_owned()),
            ("versioning", versioning.to_owned()),
            ("object lock", lock),
            ("conditional PUT", conditional),
            ("canary", canary),
            ("delete refused", refused),
            ("clock skew", clock),
            ("writer rights", rights),
            ("requests", requests),
        ];
        lines.extend(self.ack.clone().map(|ack| ("ack", ack)));
        lines.extend(found.notes.iter().map(|note| ("note", note.clone())));
        lines.push(("result", self.result().to_owned()));
        lines
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (name, told) in self.lines() {
            out.push_str(&text::printable(&format!("{name:<17}{told}")));
            out.push('\n');
        }
        out
    }

    fn json(&self) -> Value {
        let found = &self.found;
        let default = found.bucket_lock.and_then(|rules| rules.default);
        let canary = found.canary.as_ref().map(|canary| {
            json!({
                "key": canary.key, "version": canary.version, "readback": canary.readback,
                "mode": canary.retention.map(|r| r.mode.as_str()), "until": canary.retention.map(|r| r.until),
                "conditional": canary.conditional, "delete_refused": canary.delete_refused,
            })
        });
        json!({
            "v": 1, "place": self.place, "region": self.region, "founded": found.is_founded,
            "versioning": found.versioning.map(Versioning::as_str),
            "object_lock": {
                "enabled": found.bucket_lock.is_some(),
                "default": default.map(|d| json!({"mode": d.mode.as_str(), "days": d.days})),
            },
            "canary": canary, "clock_ahead_s": found.clock_ahead,
            "writer_may_delete": match self.rights {
                Rights::None => Some(false),
                Rights::Delete => Some(true),
                Rights::Unknown(_) => None,
            },
            "partitions": self.partitions, "puts_a_month": self.puts(), "ack": self.ack,
            "worm": found.worm.as_str(), "required": self.required, "notes": found.notes, "exit": self.exit(),
        })
    }
}

#[cfg(all(test, feature = "aws"))]
mod tests;

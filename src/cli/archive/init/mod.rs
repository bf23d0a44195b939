//! `weir archive init`: founds an archive, with a root key that vouches for the keys of its writers.
//!
//! The root key's private half goes to a file, to be kept elsewhere; `archive.json` and the endorsement go to the store,
//! under lock where it has one; the trust policy is for whoever verifies. Run again with the same root key it endorses
//! another writer. What a bucket needs is printed and never applied.

mod policies;

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use evidence::founding::{FOUNDING_BYTES_MAX, Founding};
use evidence::names::{ARCHIVE, check_archive};
use evidence::note::{Endorsement, Signer};
use evidence::time::{Second, Time};
use objects::{Class, Lock, Mode, Retention, patiently};
use serde_json::json;

use super::Failure;
use super::own_log::{put, signer};
use super::reading::Reading;
use super::which::{Archive, Configured, Which, days, now};
use crate::cli::{Sources, say};
use policies::Bucket;

/// Options of `weir archive init`.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Name of the archive, such as logs.example.com/prod; default: that of the exporter in --config
    #[arg(long, value_name = "NAME")]
    archive: Option<String>,
    /// The root key, to be kept offline; made if the file is not there
    #[arg(long, value_name = "FILE", default_value = "archive-root.key")]
    root_key: PathBuf,
    /// The key that signs the writer's log, made if the file is not there; default: the exporter's of --config
    #[arg(long, value_name = "FILE")]
    writer_key: Option<PathBuf>,
    /// Whose key it is; * for all writers
    #[arg(long, value_name = "NAME", default_value = "*")]
    writer: String,
    /// For how long the root key vouches for it
    #[arg(long, value_name = "DURATION", default_value = "10y")]
    valid: String,
    /// How long archive.json is locked, as long as the longest retention at least
    #[arg(long, value_name = "DURATION", default_value = "10y")]
    retention: String,
    /// Where to write the trust policy, for whoever verifies
    #[arg(long, value_name = "FILE", default_value = "trust.policy")]
    policy: PathBuf,
    /// Prints the policies of bucket, writer and verifier as JSON, and does nothing
    #[arg(long, conflicts_with_all = ["print_lifecycle", "terraform"])]
    print_policy: bool,
    /// Prints the bucket's lifecycle as JSON, and does nothing
    #[arg(long, conflicts_with = "terraform")]
    print_lifecycle: bool,
    /// Prints the bucket with all of this for Terraform, and does nothing
    #[arg(long)]
    terraform: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs it; the exit code.
pub(super) async fn run(sources: &Sources, arguments: &Arguments) -> Result<u8, Failure> {
    let (store, known) = arguments.which.named(sources)?;
    let configured = known.as_ref().map(|(_, configured)| configured.clone());
    if arguments.print_policy || arguments.print_lifecycle || arguments.terraform {
        let Some(s3) = &store.s3 else {
            return Err(Failure::usage(
                "policies are for buckets: --store s3://BUCKET/PREFIX",
            ));
        };
        let bucket = Bucket::of(s3, configured.as_ref())?;
        let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap_or_default();
        match (arguments.print_policy, arguments.print_lifecycle) {
            (true, _) => say(&pretty(&bucket.policies())),
            (_, true) => say(&pretty(&bucket.lifecycle()?)),
            _ => say(bucket.terraform()?.trim_end()),
        }
        return Ok(0);
    }
    if let Some(directory) = &store.file {
        std::fs::create_dir_all(&directory.path)
            .map_err(|e| Failure::unknown(format!("{}: {e}", directory.path.display())))?;
    }
    let archive = arguments.which.opened(&store, known).await?;
    if archive.is_copy {
        return Err(Failure::usage("a copy is no archive: --store"));
    }
    let founded = found(&archive, arguments, configured.as_ref()).await?;
    match arguments.json {
        true => say(&founded.json().to_string()),
        false => say(founded.text(arguments).trim_end()),
    }
    Ok(0)
}

/// What was done.
#[derive(Debug)]
struct Founded {
    archive: String,
    is_new: bool,
    root: String,
    writer_key: PathBuf,
    endorsement: String,
    until: Option<Second>,
}

impl Founded {
    fn json(&self) -> serde_json::Value {
        json!({
            "v": 1, "archive": self.archive, "founded": self.is_new, "root_vkey": self.root,
            "writer_key": self.writer_key, "endorsement": self.endorsement,
            "locked_until": self.until.map(|until| until.to_string()),
        })
    }

    fn text(&self, arguments: &Arguments) -> String {
        let what = if self.is_new {
            "founded"
        } else {
            "was founded before"
        };
        let lock = match self.until {
            Some(until) => format!("locked until {until}"),
            None => "not locked: the store locks nothing".to_owned(),
        };
        format!(
            "archive      {} {what}, {lock}\nroot key     {}  (keep it offline: it vouches for writers)\nwriter key   {}  \
             (log.signer.file of the exporter)\nendorsement  {}\npolicy       {}  (for verify --policy)\n",
            self.archive,
            arguments.root_key.display(),
            self.writer_key.display(),
            self.endorsement,
            arguments.policy.display()
        )
    }
}

async fn found(
    archive: &Archive,
    arguments: &Arguments,
    configured: Option<&Configured>,
) -> Result<Founded, Failure> {
    let name = arguments
        .archive
        .clone()
        .or_else(|| Some(configured?.archive.clone()));
    let name =
        name.ok_or_else(|| Failure::usage("which name has the archive? --archive logs.example.com/prod"))?;
    check_archive(&name).map_err(|e| Failure::usage(e.to_string()))?;
    let duration = |option: &str, text: &str| {
        days(text).ok_or_else(|| Failure::usage(format!("--{option} {text}: say 400d or 10y")))
    };
    let (valid, retention) = (
        duration("valid", &arguments.valid)?,
        duration("retention", &arguments.retention)?,
    );
    let writer_key = arguments
        .writer_key
        .clone()
        .or_else(|| configured?.key.clone())
        .ok_or_else(|| Failure::usage("which key signs the writer's log? --writer-key FILE, or --config"))?;
    let store = &*archive.store;
    let fault =
        |key: &str, e: &dyn std::fmt::Display| Failure::unknown(format!("{}/{key}: {e}", store.place()));
    let before = match patiently(|| store.head(ARCHIVE, None)).await {
        Ok(_) => {
            let bytes = Reading::of(archive)
                .bytes(ARCHIVE, None, FOUNDING_BYTES_MAX)
                .await?;
            Some(Founding::parse(&bytes).map_err(|e| fault(ARCHIVE, &e))?)
        }
        Err(error) if error.class == Class::NotFound => None,
        Err(error) => return Err(fault(ARCHIVE, &error)),
    };
    if let Some(before) = &before {
        check_before(before, &name, &arguments.root_key)?;
        let own = configured.map(|known| known.layout.as_str());
        if own.is_some_and(|own| own != before.layout) {
            let told = format!(
                "an archive of layout {} is there, and exporter {} writes {}: give it a prefix of its own",
                before.layout,
                configured.map_or("", |known| &known.id),
                own.unwrap_or_default()
            );
            return Err(Failure::usage(told));
        }
    }
    let root = signer(&arguments.root_key)?;
    let vkey = root
        .vkey(&name)
        .map_err(|e| Failure::usage(e.to_string()))?
        .to_string();
    if let Some(before) = &before
        && !before.root_vkeys.contains(&vkey)
    {
        let told = format!(
            "{} is not a root key of {name}: archive.json has {}",
            arguments.root_key.display(),
            match before.root_vkeys.is_empty() {
                true => "none; add a line `log VKEY` for each writer to the policy".to_owned(),
                false => before.root_vkeys.join(", "),
            }
        );
        return Err(Failure::usage(told));
    }
    write_policy(&arguments.policy, &vkey)?;
    let writer = signer(&writer_key)?;
    let endorsement = endorse(&name, &arguments.writer, &writer, valid);
    let note = endorsement
        .sign(&root)
        .map_err(|e| Failure::usage(format!("--writer {}: {e}", arguments.writer)))?;
    let lock = lock(archive, configured, retention).await?;
    if before.is_none() {
        let layout = configured.map(|known| known.layout).unwrap_or_default();
        let founding = Founding::new(&name, now(), layout, vec![vkey.clone()]);
        let text = founding.line().map_err(|e| fault(ARCHIVE, &e))?;
        put(store, ARCHIVE, text.into(), "application/json", lock)
            .await
            .map_err(|e| fault(ARCHIVE, &e))?;
    }
    let key = endorsement.key();
    let reading = Reading::of(archive);
    // Endorsed before, for as long as it says: what is under lock cannot be said again.
    let is_there = patiently(|| reading.store().head(&key, None)).await.is_ok();
    if !is_there {
        put(store, &key, note.into(), "text/plain; charset=utf-8", lock)
            .await
            .map_err(|e| fault(&key, &e))?;
    }
    let until = lock
        .retention
        .map(|r| Second::from_seconds(i64::try_from(r.until).unwrap_or(i64::MAX)));
    Ok(Founded {
        archive: name,
        is_new: before.is_none(),
        root: vkey,
        writer_key,
        endorsement: key,
        until,
    })
}

/// An archive that is there already takes no other name and no new root key.
fn check_before(before: &Founding, name: &str, root_key: &Path) -> Result<(), Failure> {
    if before.archive != name {
        let told = format!("an archive of another name is there: {}", before.archive);
        return Err(Failure::usage(told));
    }
    if !root_key.exists() {
        let told = format!(
            "{name} is founded already. To endorse another writer give its root key: --root-key FILE ({} is not there)",
            root_key.display()
        );
        return Err(Failure::usage(told));
    }
    Ok(())
}

fn endorse(archive: &str, writer: &str, key: &Signer, days: u64) -> Endorsement {
    let from = now();
    let millis = i64::try_from(days).unwrap_or_default() * 86_400_000;
    Endorsement {
        archive: archive.to_owned(),
        writer: writer.to_owned(),
        public: *key.public(),
        from,
        until: Time::from_millis(from.millis() + millis),
    }
}

/// The policy that trusts the root key, unless the file says so already.
fn write_policy(path: &Path, vkey: &str) -> Result<(), Failure> {
    let fault = |e: &dyn std::fmt::Display| Failure::usage(format!("{}: {e}", path.display()));
    let line = format!("root {vkey}");
    match std::fs::read_to_string(path) {
        Ok(text) if text.lines().any(|known| known == line) => return Ok(()),
        Ok(_) => {
            return Err(fault(&format_args!(
                "it is there and does not trust this root key; add the line\n{line}"
            )));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(fault(&e)),
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .map_err(|e| fault(&e))?;
    let text = format!("{line}\nquorum none\n");
    file.write_all(text.as_bytes()).map_err(|e| fault(&e))
}

/// As the store has locks: until the day after the last that it must hold.
async fn lock(archive: &Archive, configured: Option<&Configured>, days: u64) -> Result<Lock, Failure> {
    let facts = archive.store.facts().await;
    let has_lock = match facts.lock {
        Ok(rules) => rules.is_some(),
        Err(error) if error.may_pass() => {
            return Err(Failure::unknown(format!("{}: {error}", archive.store.place())));
        }
        // Not known is not there: doctor says why.
        Err(_) => false,
    };
    let end = Time::from_millis(now().millis() + i64::try_from(days).unwrap_or_default() * 86_400_000);
    let until = u64::try_from(Second::midnight_after(end).seconds()).unwrap_or_default();
    let mode = configured.map_or(Mode::Compliance, |known| known.lock.mode);
    Ok(Lock {
        retention: has_lock.then_some(Retention { mode, until }),
        legal_hold: false,
    })
}

#[cfg(test)]
mod tests;

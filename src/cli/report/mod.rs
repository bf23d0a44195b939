//! `weir report`: what an archive and the audit trail in it show of a period, for people who judge it.
//!
//! The archive is verified first, by the code of `weir archive verify`; while its logs are read their entries are added
//! up, then the audit trail's objects are read. From these facts alone the same report is written as JSON, CSV and HTML,
//! with the populations behind it, so that everybody who may read the archive gets the same one.

mod controls;
mod csv;
mod document;
mod fold;
mod html;
mod lists;
mod proofs;
mod snapshots;
mod texts;
mod trail;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, Subcommand};
use evidence::audit::{self, Record};
use evidence::digest::sha256;
use evidence::entry::Entry;
use evidence::names::{Compression, Origin, Session};
use evidence::note::{Checkpoint, NOTE_BYTES_MAX, Note, Policy, Signer};
use evidence::time::Time;
use evidence::verify::{File, Options, Report, Watch};
use parking_lot::Mutex;

use super::archive::progress::Progress;
use super::archive::reading::{OWN_BYTES_MAX, OWN_RAW_MAX, Reading, inflated};
use super::archive::verify::{self, Depth, Watcher};
use super::archive::which::{Part, Which, now};
use super::archive::{Failure, ended, interrupted};
use super::{Sources, say};
use controls::{CRITERIA, document};
use document::Input;
use fold::{AuditObject, Facts, Fold, List, Period};
use texts::Texts;
use trail::Trail;

/// A larger file is no key.
const SIGNER_BYTES_MAX: u64 = 64 << 10;

/// What `weir report` can write.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Figures, populations and exceptions of a period, for a SOC 2 report
    #[command(
        after_help = "Exit code: that of weir archive verify over the same archive (0 verified, 1 integrity, \
        2 completeness, 3 policy, 4 unknown, 64 wrong usage). The report is written whatever the verdict; only when a \
        log could not be read (4) or the usage is wrong (64) there is none."
    )]
    Soc2(Arguments),
}

/// Options of `weir report soc2`.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Begin of the period: RFC 3339 in UTC, a date, or how long ago as in -30d
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Its end; not inside
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Where to write: a directory that is empty or not there yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only these, as in CC7.2,PI1.3
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    criteria: Vec<String>,
    /// Whose report it is
    #[arg(long, value_name = "NAME")]
    entity: Option<String>,
    /// An Ed25519 private key that signs report.note
    #[arg(long, value_name = "FILE")]
    signer: Option<PathBuf>,
    /// Whom to trust: a file of lines such as log VKEY, root VKEY, pin ORIGIN SIZE ROOT
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Heads that must still be part of the logs, as weir archive head --json printed them
    #[arg(long, value_name = "FILE")]
    pin: Vec<PathBuf>,
    /// How closely to look at objects: not at all, by what the store says of them, by reading them
    #[arg(long, value_enum, default_value_t = Depth::Heads)]
    level: Depth,
    /// Objects that are looked up at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Exit with 3 where there are only warnings
    #[arg(long)]
    warnings_as_errors: bool,
    /// The language of the page
    #[arg(long, value_name = "LANGUAGE", default_value = "en", value_parser = ["en"])]
    lang: String,
    /// Not there yet: archives take records alone
    #[arg(long, hide = true)]
    archive: bool,
}

/// Runs one of them.
pub(super) fn run(sources: &Sources, command: &Command) -> ExitCode {
    match command {
        Command::Soc2(arguments) => ended(soc2(sources, arguments)),
    }
}

async fn soc2(sources: &Sources, arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.archive {
        return Err(Failure::usage(
            "--archive: an archive takes records alone so far; keep the directory of --out, for whose files report.note \
             vouches",
        ));
    }
    if let Some(id) = controls::unknown(&arguments.criteria) {
        let known = CRITERIA.join(", ");
        return Err(Failure::usage(format!("--criteria {id}: it is none of {known}")));
    }
    let started = now();
    let part = Part {
        from: arguments.from.clone(),
        to: arguments.to.clone(),
        ..Part::default()
    };
    let (from, to) = part.range(started)?;
    let period = Period {
        from,
        to: to.unwrap_or(started),
    };
    if period.from.is_some_and(|from| from >= period.to) {
        return Err(Failure::usage("--from must be before now"));
    }
    let mut policy = verify::policy(&arguments.policy).await?;
    for path in &arguments.pin {
        policy.pins.append(&mut verify::pins(path).await?);
    }
    let signer = match &arguments.signer {
        Some(path) => Some(signer(path).await?),
        None => None,
    };
    vacant(&arguments.out).await?;
    let archive = arguments.which.open(sources).await?;
    let mut options = Options {
        level: arguments.level.into(),
        from,
        to: Some(period.to),
        warnings_as_errors: arguments.warnings_as_errors,
        ..Options::new(started)
    };
    if let Some(intervals) = archive.intervals {
        options.checkpoint_interval_ms = intervals.checkpoint;
        options.heartbeat_ms = intervals.heartbeat;
    }
    let made = Making {
        reading: Reading::of(&archive),
        policy,
        options,
        parallel: arguments.parallel.into(),
        period,
        made: started,
        entity: arguments.entity.clone(),
        criteria: arguments.criteria.clone(),
        signer,
    };
    let Made { files, verified, key } = tokio::select! {
        made = made.files() => made?,
        failure = interrupted() => return Err(failure),
    };
    for (name, bytes) in &files {
        write(&arguments.out, name, bytes).await?;
    }
    let out = arguments.out.display();
    say(&format!(
        "wrote {} files to {out}: report.html, report.json, figures.csv, evidence/",
        files.len()
    ));
    say(&match key {
        Some(key) => format!("report.note is signed by {key}"),
        None => "not signed: no --signer was given".to_owned(),
    });
    say(&format!(
        "{}   exit {}",
        verified.verdict.to_uppercase().replace('_', " "),
        verified.exit
    ));
    Ok(verified.exit)
}

/// A key of a file that its owner keeps.
async fn signer(path: &Path) -> Result<Signer, Failure> {
    let fault = |e: &dyn std::fmt::Display| Failure::usage(format!("{}: {e}", path.display()));
    let size = tokio::fs::metadata(path).await.map_err(|e| fault(&e))?.len();
    if size > SIGNER_BYTES_MAX {
        return Err(fault(&"too long for a key"));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(|e| fault(&e))?;
    let text = zeroize::Zeroizing::new(text);
    Signer::from_text(&text).map_err(|e| fault(&e))
}

/// Makes the directory; refuses one with something in it, for a reader could not tell what belongs to the report.
async fn vacant(out: &Path) -> Result<(), Failure> {
    let fault = |e: std::io::Error| Failure::usage(format!("{}: {e}", out.display()));
    tokio::fs::create_dir_all(out).await.map_err(fault)?;
    let mut there = tokio::fs::read_dir(out).await.map_err(fault)?;
    match there.next_entry().await.map_err(fault)? {
        None => Ok(()),
        Some(_) => Err(Failure::usage(format!(
            "--out {}: it is not empty",
            out.display()
        ))),
    }
}

async fn write(out: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let path = out.join(name);
    let fault = |e: std::io::Error| Failure::unknown(format!("{}: {e}", path.display()));
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(fault)?;
    }
    tokio::fs::write(&path, bytes).await.map_err(fault)
}

/// All that a report is made of, before anything was read.
struct Making {
    reading: Reading,
    policy: Policy,
    options: Options,
    parallel: usize,
    period: Period,
    made: Time,
    entity: Option<String>,
    criteria: Vec<String>,
    signer: Option<Signer>,
}

/// A report.
struct Made {
    /// By name below its directory.
    files: BTreeMap<String, Vec<u8>>,
    verified: Report,
    /// Who signed it.
    key: Option<String>,
}

/// The logs that are being read, by writer and session.
struct Folding {
    period: Period,
    logs: Mutex<BTreeMap<(String, String), Arc<Mutex<Fold>>>>,
}

impl Watcher for Folding {
    fn log(&self, writer: &str, session: &Session) -> Watch {
        let fold = Arc::new(Mutex::new(Fold::new(self.period, writer, session)));
        let name = (writer.to_owned(), session.to_string());
        self.logs.lock().insert(name, fold.clone());
        Box::new(move |index, entry: &Entry| fold.lock().entry(index, entry))
    }
}

impl Making {
    async fn files(self) -> Result<Made, Failure> {
        let folding = Arc::new(Folding {
            period: self.period,
            logs: Mutex::new(BTreeMap::new()),
        });
        let (now, policy) = (self.options.now, self.policy.clone());
        let watcher: Arc<dyn Watcher> = folding.clone();
        let work = verify::watched(
            &self.reading,
            policy,
            &self.options,
            self.parallel,
            || now,
            Some(watcher),
        );
        let verified = work.await?;
        let logs = std::mem::take(&mut *folding.logs.lock());
        let logs = logs.into_iter().map(|(name, fold)| {
            let empty = Fold::new(self.period, &name.0, &Session::new(now, [0; 10]));
            let fold = std::mem::replace(&mut *fold.lock(), empty);
            (name, fold.finish())
        });
        let facts = Facts::join(logs);
        let trail = self.trail(&facts).await;
        let mut files = BTreeMap::new();
        self.checkpoints(&verified, &mut files).await;
        let (proofs, unproved) = self.proofs(&verified, &facts, &mut files).await;
        let texts = self.texts(&facts).await;
        for (sha256, text) in &texts.kept {
            files.insert(
                format!("evidence/configs/{sha256}.yaml"),
                text.clone().into_bytes(),
            );
        }
        let name = verified.archive.clone().unwrap_or_else(|| "unknown".to_owned());
        let key = self
            .signer
            .as_ref()
            .map(|signer| signer.vkey(&name).map(|key| key.to_string()));
        let key = key
            .transpose()
            .map_err(|e| Failure::usage(format!("--signer: {e}")))?;
        let mut json = serde_json::to_vec(&verified).map_err(|e| Failure::unknown(e.to_string()))?;
        json.push(b'\n');
        let input = Input {
            facts: &facts,
            trail: &trail,
            verified: &verified,
            texts: &texts,
            proofs,
            unproved: &unproved,
            verify_sha256: sha256(&json).to_string(),
            period: self.period,
            made: self.made,
            entity: self.entity.as_deref(),
            signed_by: key.clone(),
            criteria: &self.criteria,
        };
        let (document, lists) = document(&input);
        files.insert("evidence/verify.json".to_owned(), json);
        for list in &lists {
            files.insert(list.file.to_owned(), csv::listing(list).into_bytes());
        }
        files.insert("evidence/SHA256SUMS".to_owned(), sums(&files).into_bytes());
        let mut json = serde_json::to_vec_pretty(&document).map_err(|e| Failure::unknown(e.to_string()))?;
        json.push(b'\n');
        files.insert("report.json".to_owned(), json);
        files.insert("figures.csv".to_owned(), csv::figures(&document).into_bytes());
        files.insert("report.html".to_owned(), html::page(&document).into_bytes());
        if let Some(signer) = &self.signer {
            let note = self.note(&name, signer, &files);
            let note = note.map_err(|e| Failure::unknown(format!("report.note: {e}")))?;
            files.insert("report.note".to_owned(), note.into_bytes());
        }
        Ok(Made { files, verified, key })
    }

    /// Reads the audit trail's objects, one after another.
    async fn trail(&self, facts: &Facts) -> Trail {
        let mut trail = Trail::default();
        let files = facts.audit_objects.iter().map(|object| File {
            number: object.seq,
            key: object.key.clone(),
            version: object.version.clone().filter(|_| !self.reading.is_copy()),
            modified: None,
        });
        let mut progress = Progress::new("objects of the audit trail read");
        let mut reads = self.reading.in_order(files.collect(), OWN_BYTES_MAX);
        for object in &facts.audit_objects {
            match reads.next().await {
                Ok(Some((_, bytes))) => match records(object, &bytes) {
                    Ok(records) => trail.object(self.period, object, &records),
                    Err(why) => trail.unreadable(object, &why),
                },
                Ok(None) => trail.unreadable(object, "it was not read"),
                Err(failure) => trail.unreadable(object, &failure.told),
            }
            progress.add(1);
        }
        progress.end();
        trail.compare(self.period, &facts.anchors);
        trail
    }

    /// Reads the configurations' texts.
    async fn texts(&self, facts: &Facts) -> Texts {
        let mut texts = Texts::default();
        for object in &facts.texts {
            let version = object.version.as_deref().filter(|_| !self.reading.is_copy());
            let read = self.reading.bytes(&object.key, version, OWN_BYTES_MAX).await;
            let read = read.map_err(|failure| failure.told);
            texts.take(object, read.and_then(|bytes| plain(object, &bytes)));
        }
        texts
    }

    /// Proofs of single entries, a file each; how many, and logs without.
    async fn proofs(
        &self,
        verified: &Report,
        facts: &Facts,
        files: &mut BTreeMap<String, Vec<u8>>,
    ) -> (u64, List) {
        let (mut n, mut without) = (0, List::default());
        let wanted = proofs::wanted(facts);
        for session in &verified.sessions {
            let (Ok(origin), Some(root)) = (session.origin.parse::<Origin>(), session.root) else {
                continue;
            };
            let log = (origin.writer().to_owned(), origin.session().to_string());
            let name = format!("{}-{}", log.0, log.1);
            let Some(wanted) = wanted.get(&log) else { continue };
            let note = files.get(&format!("evidence/checkpoints/{name}-{}.txt", session.size));
            let Some(note) = note.and_then(|note| std::str::from_utf8(note).ok()) else {
                continue;
            };
            let head = proofs::Head {
                origin: &origin,
                size: session.size,
                root,
                note,
            };
            match proofs::of_log(&self.reading, &head, wanted).await {
                Ok(made) => {
                    n += made.len() as u64;
                    for (index, proof) in made {
                        let file = format!("evidence/proofs/{name}-{index}.tlog-proof");
                        files.insert(file, proof.text().into_bytes());
                    }
                }
                Err(failure) => without.push(self.options.now, &session.origin, vec![failure.told]),
            }
        }
        (n, without)
    }

    /// The newest good head of each log, as it lies in the store. One that cannot be read is left out: `verify.json` has
    /// its root.
    async fn checkpoints(&self, verified: &Report, files: &mut BTreeMap<String, Vec<u8>>) {
        for session in &verified.sessions {
            let (Ok(origin), Some(root)) = (session.origin.parse::<Origin>(), session.root) else {
                continue;
            };
            let key = origin.checkpoint_key(session.size);
            let mut versions = Vec::new();
            let listed = self.reading.list(&key, |listed| {
                if listed.key == key && !listed.deleted {
                    versions.push(listed.version);
                }
            });
            if listed.await.is_err() {
                continue;
            }
            // Others may have put newer versions on it.
            for version in versions {
                let Ok(bytes) = self.reading.bytes(&key, version.as_deref(), NOTE_BYTES_MAX).await else {
                    continue;
                };
                let note = Note::parse(&bytes).ok();
                let head = note.and_then(|note| Checkpoint::parse(note.text()).ok());
                if head.is_some_and(|head| head.root == root && head.size == session.size) {
                    let name = format!("{}-{}-{}", origin.writer(), origin.session(), session.size);
                    files.insert(format!("evidence/checkpoints/{name}.txt"), bytes.to_vec());
                    break;
                }
            }
        }
    }

    /// A signed note over the digests of the files, with one for all of `evidence/`.
    fn note(
        &self,
        name: &str,
        signer: &Signer,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<String, evidence::note::NoteError> {
        let from = self
            .period
            .from
            .map_or_else(|| "begin".to_owned(), |t| t.to_string());
        let mut text = format!(
            "weir.dev/report/v1\narchive {name}\nperiod {from} {}\nmade {}\n",
            self.period.to, self.made
        );
        for file in ["evidence/SHA256SUMS", "figures.csv", "report.html", "report.json"] {
            let bytes = files.get(file).expect("written just before the note");
            text.push_str(&format!("sha256 {} {file}\n", sha256(bytes)));
        }
        let mut note = Note::new(text)?;
        note.sign(name, signer)?;
        Ok(note.to_string())
    }
}

/// As `sha256sum` reads it, in the directory `evidence`.
fn sums(files: &BTreeMap<String, Vec<u8>>) -> String {
    let below = files
        .iter()
        .filter_map(|(name, bytes)| Some((name.strip_prefix("evidence/")?, bytes)));
    below
        .map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes)))
        .collect()
}

/// The records in an object of the audit trail, or why there are none.
fn records(object: &AuditObject, bytes: &Bytes) -> Result<Vec<Record>, String> {
    audit::records(&plain(object, bytes)?)
}

/// What an object of the gateway's own holds, or why it cannot be used.
fn plain(object: &AuditObject, bytes: &Bytes) -> Result<Bytes, String> {
    if bytes.len() > OWN_BYTES_MAX || object.raw > OWN_RAW_MAX as u64 {
        return Err("it is too large".to_owned());
    }
    if !object.is_plain {
        return Err("it is encrypted, or in a form that is not read here".to_owned());
    }
    let found = sha256(bytes);
    if found != object.sha256 || bytes.len() as u64 != object.size {
        return Err(format!("it is not what was sealed: {found}"));
    }
    let compression = Compression::parse(&object.compression);
    let compression = compression.ok_or_else(|| format!("compression {}", object.compression))?;
    inflated(
        bytes,
        compression,
        usize::try_from(object.raw).unwrap_or(usize::MAX),
    )
}

#[cfg(test)]
mod tests;

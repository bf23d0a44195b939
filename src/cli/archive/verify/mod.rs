//! `weir archive verify`: reads logs side by side, looks up the objects that they name, and says what holds.
//!
//! What of the logs cannot be read ends it without a verdict: a log with a hole that the network made would look like
//! one that somebody cut. What of the objects cannot be read is told beside the verdict.

mod content;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use evidence::entry::{Entry, Kind};
use evidence::log::SEGMENT_BYTES_MAX;
use evidence::names::{DATA, EVIDENCE, Layout, Numbered, Session, escape_tenant};
use evidence::note::{NOTE_BYTES_MAX, Pin, Policy, Proof};
use evidence::time::Time;
use evidence::verify::{
    Expected, Facts, Inventory, Level, Listed, Options, Report, SessionFiles, SessionOutcome, SessionReader,
    Trust, Verifier, Watch,
};
use objects::StoreError;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use super::head::Heads;
use super::later::Identity;
use super::logs::declared;
use super::progress::Progress;
use super::reading::{Own, Reading};
use super::which::{Part, Which, now};
use super::{Failure, UNKNOWN, interrupted, text};
use crate::cli::{Sources, say};

/// Logs that are read at a time.
const LOGS_AT_A_TIME: usize = 4;
/// What is found out waits here for the verifier.
const NEWS_MAX: usize = 1_024;
/// A hold's list: a million objects of 200 bytes.
const HOLD_LIST_BYTES_MAX: usize = 256 << 20;

/// Options of `weir archive verify`.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    identity: Identity,
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
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Accepted: this command logs nothing
    #[arg(long)]
    no_log: bool,
    /// One object as a file, with --proof; no store is asked
    #[arg(long, value_name = "FILE", requires = "proof", conflicts_with_all = ["store", "from_dir", "exporter"])]
    object: Option<PathBuf>,
    /// Its proof: a tlog-proof with the entry's line
    #[arg(long, value_name = "FILE", requires = "object")]
    proof: Option<PathBuf>,
}

/// How closely objects are looked at.
#[derive(Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Depth {
    /// The logs alone
    Log,
    /// By what the store says
    Heads,
    /// By reading and hashing them
    Full,
    /// By decompressing them as well, and counting their records
    Decode,
}

impl From<Depth> for Level {
    fn from(depth: Depth) -> Level {
        match depth {
            Depth::Log => Level::Log,
            Depth::Heads => Level::Heads,
            Depth::Full => Level::Full,
            Depth::Decode => Level::Decode,
        }
    }
}

/// Sees the entries of logs while they are checked.
pub(in crate::cli) trait Watcher: Send + Sync {
    /// Who sees those of one log. Logs are read side by side.
    fn log(&self, writer: &str, session: &Session) -> Watch;
}

/// What readers tell the verifier.
enum News {
    Object(Box<Expected>, Result<(Option<Facts>, Option<Own>), StoreError>),
    Content(Box<Expected>, Option<String>),
    /// A file of a log was read, and names so many objects that are looked up.
    Read(u64),
    Log(Box<SessionOutcome>),
    Failed(Failure),
}

/// Runs it; the exit code.
pub(super) async fn run(sources: &Sources, arguments: &Arguments) -> Result<u8, Failure> {
    arguments.identity.refused()?;
    let mut policy = policy(&arguments.policy).await?;
    for path in &arguments.pin {
        policy.pins.append(&mut pins(path).await?);
    }
    if let (Some(object), Some(proof)) = (&arguments.object, &arguments.proof) {
        return one_object(&policy, object, proof, arguments.json).await;
    }
    let archive = arguments.which.open(sources).await?;
    let started = now();
    let (from, to) = arguments.part.range(started)?;
    let mut options = Options {
        level: arguments.level.into(),
        from,
        to,
        tenant: arguments.part.tenant.clone(),
        signal: arguments.part.signal.clone(),
        class: arguments.part.class.clone(),
        warnings_as_errors: arguments.warnings_as_errors,
        ..Options::new(started)
    };
    if let Some(intervals) = archive.intervals {
        options.checkpoint_interval_ms = intervals.checkpoint;
        options.heartbeat_ms = intervals.heartbeat;
    }
    let reading = Reading::of(&archive);
    let done = tokio::select! {
        done = verify(&reading, policy, &options, arguments.parallel.into(), now) => done,
        failure = interrupted() => Err(failure),
    };
    match done {
        Ok(report) => {
            match arguments.json {
                true => say(&serde_json::to_string(&report).unwrap_or_default()),
                false => say(text::report(&report).trim_end()),
            }
            Ok(report.exit)
        }
        Err(failure) => {
            if arguments.json {
                let told = [&failure.told];
                let verdict = json!({"v": 1, "verdict": "unknown", "exit": UNKNOWN, "troubles": told});
                say(&verdict.to_string());
            }
            Err(failure)
        }
    }
}

async fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = tokio::fs::read(path).await;
    read.map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

pub(in crate::cli) async fn policy(path: &Path) -> Result<Policy, Failure> {
    let text = String::from_utf8(file(path).await?)
        .map_err(|_| Failure::usage(format!("{}: it is no text", path.display())))?;
    Policy::parse(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

pub(in crate::cli) async fn pins(path: &Path) -> Result<Vec<Pin>, Failure> {
    let fault = |e: &dyn std::fmt::Display| Failure::usage(format!("{}: {e}", path.display()));
    let Heads { heads } = serde_json::from_slice(&file(path).await?).map_err(|e| fault(&e))?;
    let pins = heads.into_iter().map(|head| {
        Ok(Pin {
            origin: head
                .origin
                .parse()
                .map_err(|e: evidence::names::BadName| fault(&e))?,
            size: head.size,
            root: evidence::digest::Digest::from_base64(&head.root).map_err(|e| fault(&e))?,
        })
    });
    pins.collect()
}

/// Writes the keys that the logs of an archive in a directory name themselves into a policy, and judges it by that.
///
/// Errors: what could not be read or written.
pub(in crate::cli) async fn believed(directory: &str, policy: &Path) -> Result<Report, String> {
    let judged = async {
        let archive = Which::in_directory(directory.into()).await?;
        let reading = Reading::of(&archive);
        let mut listing = Vec::new();
        reading.list(EVIDENCE, |listed| listing.push(listed)).await?;
        let text = declared(&reading, &Inventory::of(listing)).await?;
        let written = tokio::fs::write(policy, &text).await;
        written.map_err(|e| Failure::unknown(format!("{}: {e}", policy.display())))?;
        let options = Options {
            level: Level::Decode,
            ..Options::new(now())
        };
        verify(&reading, self::policy(policy).await?, &options, 4, now).await
    };
    judged.await.map_err(|failure: Failure| failure.told)
}

/// Reads all of it and gives the verdict.
pub(super) async fn verify(
    reading: &Reading,
    policy: Policy,
    options: &Options,
    parallel: usize,
    clock: impl Fn() -> Time,
) -> Result<Report, Failure> {
    watched(reading, policy, options, parallel, clock, None).await
}

/// The same, with somebody who sees every entry.
pub(in crate::cli) async fn watched(
    reading: &Reading,
    policy: Policy,
    options: &Options,
    parallel: usize,
    clock: impl Fn() -> Time,
    watcher: Option<Arc<dyn Watcher>>,
) -> Result<Report, Failure> {
    let mut listing = Vec::new();
    reading.list(EVIDENCE, |listed| listing.push(listed)).await?;
    let mut inventory = Inventory::of(listing);
    let mut trust = Trust::new(policy);
    for key in &inventory.keys {
        let bytes = reading
            .bytes(&key.key, key.version.as_deref(), NOTE_BYTES_MAX)
            .await?;
        // One that no trusted root signed lets nobody in, and anyone may have put it there.
        let _ = trust.endorse(&bytes);
    }
    let mut verifier = Verifier::new(trust.clone(), options.clone(), &inventory);
    let logs = Semaphore::new(LOGS_AT_A_TIME);
    let (tell, mut told) = mpsc::channel(NEWS_MAX);
    let shared = Arc::new(Shared {
        reading: reading.clone(),
        trust,
        options: options.clone(),
        logs,
        lookups: Arc::new(Semaphore::new(parallel)),
        readers: Arc::new(Semaphore::new(
            std::thread::available_parallelism().map_or(1, usize::from),
        )),
        tell,
        watcher,
    });
    let mut progress = Progress::new("log files and objects");
    for files in inventory.logs.values() {
        progress.expect(files.segments.len() as u64);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for ((writer, session), files) in std::mem::take(&mut inventory.logs) {
        let shared = shared.clone();
        tasks.spawn(async move { shared.log(&writer, &session, files).await });
    }
    drop(shared);
    while let Some(news) = told.recv().await {
        match news {
            News::Read(found) => {
                progress.expect(found);
                progress.add(1);
            }
            News::Log(outcome) => verifier.session(*outcome),
            News::Failed(failure) => return Err(failure),
            News::Object(expected, Ok((facts, own))) => {
                progress.add(1);
                verifier.object(&expected, facts.as_ref());
                if let Some(own) = own {
                    verifier.audit(&expected, own);
                }
            }
            News::Content(expected, differs) => verifier.content(&expected, differs.as_deref()),
            News::Object(expected, Err(error)) => {
                progress.add(1);
                verifier.trouble(format!("{}: {error}", expected.key));
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|e| Failure::unknown(format!("a log was not read to its end: {e}")))?;
    }
    progress.end();
    let lists: Vec<String> = verifier.hold_lists().into_iter().map(str::to_owned).collect();
    for key in lists {
        match reading.bytes(&key, None, HOLD_LIST_BYTES_MAX).await {
            Ok(bytes) => verifier.hold_list(&key, &bytes),
            Err(failure) => verifier.trouble(failure.told),
        }
    }
    if options.level != Level::Log {
        let wanted = Wanted::of(options);
        let is_new = |listed: &Listed| listed.modified.is_some_and(|modified| modified > options.now);
        // Where others may write beside the archive, its objects have no folder of their own.
        if reading.layout().await == Some(Layout::Awss3) {
            verifier.shared();
        }
        let all = if verifier.is_shared() { "" } else { DATA };
        let take = |listed: Listed| {
            if !listed.key.starts_with("_weir/") && wanted.is_it(&listed.key) && !is_new(&listed) {
                verifier.data(&listed);
            }
        };
        reading.list(all, take).await?;
    }
    Ok(verifier.finish(options.now, clock()))
}

/// What all readers of logs share.
struct Shared {
    reading: Reading,
    trust: Trust,
    options: Options,
    logs: Semaphore,
    lookups: Arc<Semaphore>,
    /// Objects that are taken apart at a time: more than there are cores take memory and no less time.
    readers: Arc<Semaphore>,
    tell: mpsc::Sender<News>,
    watcher: Option<Arc<dyn Watcher>>,
}

impl Shared {
    async fn log(self: Arc<Self>, writer: &str, session: &Session, files: SessionFiles) {
        let Ok(_turn) = self.logs.acquire().await else {
            return;
        };
        let news = match self.read(writer, session, files).await {
            Ok(outcome) => News::Log(Box::new(outcome)),
            Err(failure) => News::Failed(failure),
        };
        // Nobody listens once another log has failed.
        let _ = self.tell.send(news).await;
    }

    async fn read(
        &self,
        writer: &str,
        session: &Session,
        files: SessionFiles,
    ) -> Result<SessionOutcome, Failure> {
        let reader = SessionReader::new(&self.trust, &self.options, writer, session);
        let mut reader = reader.map_err(|e| Failure::unknown(format!("{writer}/{session}: {e}")))?;
        if let Some(watcher) = &self.watcher {
            reader.watch(watcher.log(writer, session));
        }
        let mut heads = self.reading.in_order(files.checkpoints, NOTE_BYTES_MAX);
        while let Some((file, bytes)) = heads.next().await? {
            reader.checkpoint(file.number, &bytes);
        }
        let mut segments = self.reading.in_order(files.segments, SEGMENT_BYTES_MAX);
        while let Some((file, bytes)) = segments.next().await? {
            // On level `log` it expects nothing.
            let expected = reader.segment(file.number, &bytes, file.modified);
            // Nobody listens once another log has failed.
            let _ = self.tell.send(News::Read(expected.len() as u64)).await;
            for expected in expected {
                self.look_up(expected).await;
            }
        }
        Ok(reader.finish())
    }

    /// Asks the store, as soon as fewer than the permitted number are being asked.
    async fn look_up(&self, mut expected: Expected) {
        if self.reading.is_copy() {
            expected.version = None;
        }
        let Ok(turn) = self.lookups.clone().acquire_owned().await else {
            return;
        };
        let (reading, level, tell) = (self.reading.clone(), self.options.level, self.tell.clone());
        let readers = self.readers.clone();
        tokio::spawn(async move {
            let found = match (expected.audit, expected.entry.clone()) {
                (Some(compression), _) => reading.own(&expected, compression).await,
                (None, None) => reading.facts(&expected, level).await.map(|facts| (facts, None)),
                (None, Some(entry)) => match reading.facts_and_bytes(&expected).await {
                    Ok(Some((facts, stored))) => {
                        let is_it = facts.sha256 == Some(expected.sha256) && facts.size == expected.size;
                        if is_it && content::can_be_read(&entry) {
                            let turn = readers.acquire().await;
                            let differs = content::differs(stored, *entry).await;
                            drop(turn);
                            let news = News::Content(Box::new(expected.clone()), differs);
                            let _ = tell.send(news).await;
                        }
                        Ok((Some(facts), None))
                    }
                    Ok(None) => Ok((None, None)),
                    Err(error) => Err(error),
                },
            };
            let _ = tell.send(News::Object(Box::new(expected), found)).await;
            drop(turn);
        });
    }
}

/// Which keys lie in the range, as far as their names say.
struct Wanted {
    parts: Vec<String>,
    signal: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

impl Wanted {
    fn of(options: &Options) -> Wanted {
        let tenant = options
            .tenant
            .as_ref()
            .and_then(|tenant| escape_tenant(tenant).ok());
        let parts = tenant.map(|tenant| format!("/tenant={tenant}/"));
        let parts = parts
            .into_iter()
            .chain(options.signal.iter().map(|signal| format!("/signal={signal}/")))
            .chain(options.class.iter().map(|class| format!("/class={class}/")));
        let hour = |time: Time| {
            let text = time.to_string();
            format!("dt={}/hour={}", &text[..10], &text[11..13])
        };
        Wanted {
            parts: parts.collect(),
            signal: options.signal.clone(),
            from: options.from.map(hour),
            to: options.to.map(hour),
        }
    }

    fn is_it(&self, key: &str) -> bool {
        if !key.starts_with(DATA) {
            // Of the layout `awss3/v1` names say the signal alone.
            let found = Numbered::parse(key).map(|found| found.signal.as_str());
            return found.is_none_or(|found| self.signal.as_ref().is_none_or(|wanted| wanted == found));
        }
        let hour = key.find("/dt=").and_then(|at| key.get(at + 1..at + 22));
        self.parts.iter().all(|part| key.contains(part.as_str()))
            && self
                .from
                .as_deref()
                .is_none_or(|from| hour.is_none_or(|hour| hour >= from))
            && self
                .to
                .as_deref()
                .is_none_or(|to| hour.is_none_or(|hour| hour <= to))
    }
}

/// One object, its entry and a proof that the entry is in a signed log.
async fn one_object(policy: &Policy, object: &Path, proof: &Path, as_json: bool) -> Result<u8, Failure> {
    let (bytes, proof_bytes) = (file(object).await?, file(proof).await?);
    let fault = |e: &dyn std::fmt::Display| Failure::usage(format!("{}: {e}", proof.display()));
    let parsed = Proof::parse(&proof_bytes).map_err(|e| fault(&e))?;
    let line = parsed
        .extra
        .as_deref()
        .ok_or_else(|| fault(&"it has no entry: a line `extra` is missing"))?;
    let checked = checked(policy, &parsed, line, &bytes);
    let exit = u8::from(checked.is_err());
    let verdict = if exit == 0 {
        "verified"
    } else {
        "integrity_failure"
    };
    let detail = checked.unwrap_or_else(|why| why);
    match as_json {
        true => say(&json!({"v": 1, "verdict": verdict, "exit": exit, "detail": detail}).to_string()),
        false => say(&format!(
            "{detail}\n{}",
            if exit == 0 { "VERIFIED" } else { "FAILED" }
        )),
    }
    Ok(exit)
}

fn checked(policy: &Policy, proof: &Proof, line: &[u8], bytes: &[u8]) -> Result<String, String> {
    let head = proof
        .verify(line, &policy.logs)
        .map_err(|e| format!("I2 the proof does not hold: {e}"))?;
    let entry = Entry::parse(line).map_err(|e| format!("I2 the entry cannot be read: {e}"))?;
    let Kind::Obj(obj) = &entry.kind else {
        return Err("I1 the entry names no object".to_owned());
    };
    let found = evidence::digest::sha256(bytes);
    let at = format!("{}#{}", head.origin, entry.i);
    if found != obj.sha256 || bytes.len() as u64 != obj.size {
        return Err(format!(
            "I1 altered  {}  entry {at}  expected {} found {found}",
            obj.key, obj.sha256
        ));
    }
    Ok(format!(
        "{}  entry {at}, under the head of {} entries, logged {}",
        obj.key, head.size, entry.t
    ))
}

#[cfg(test)]
mod tests;

//! `weir archive restore`: sends what an archive holds to where OTLP is taken, object by object in order of admission.
//!
//! Every object is compared with its digest before its first record goes out. With a job file the way is picked up again
//! where it ended: the file remembers the heads of all logs, so that the list of objects is the same, and the last request
//! that was taken. What is sent twice is what was under way when the process died.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use component::Consumer;
use evidence::digest::Digest;
use evidence::names::{DEFAULT_TENANT, OWN_TENANT};
use evidence::time::Time;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use wire::view::{Depth, Finished, NewValue, View};
use wire::{Chunk, Context, Cut, Payload, Signal};

use super::later::{Identity, Pipeline};
use super::logs::{Believed, LogHead, Logs, Named, Wanted};
use super::object::{self, Stored};
use super::own_log::{OwnLog, Who, restored};
use super::progress::Progress;
use super::reading::Reading;
use super::select::{self, Where};
use super::which::{Part, Which, now};
use super::{Failure, UNKNOWN, interrupted, text};
use crate::cli::journal::send::{self, deliver};
use crate::cli::{Sources, say, say_error};

/// Options of `weir archive restore`.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    believed: Believed,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    pipeline: Pipeline,
    /// Only records for which this holds, as processor filter has conditions: severity_number >= 17
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Where to: host:port for gRPC, http://host:port for HTTP (port 4317 is gRPC's), or an exporter of --config
    #[arg(long, value_name = "ENDPOINT|EXPORTER", required_unless_present = "pipeline")]
    to_otlp: Option<String>,
    /// At most so many records a second, as in 20000/s
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<u64>,
    /// Remembers in this file how far it is, and goes on from there if it exists
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Adds the attributes weir.replay.id and weir.replay.object to every resource
    #[arg(long)]
    mark: bool,
}

/// Encoded bytes that are sent at a time; a single record may be larger.
const SEND_BYTES: usize = 2 << 20;
/// How often the job file is written while an object is sent.
const SAVE: Duration = Duration::from_secs(1);
const STOP: Duration = Duration::from_secs(5);

fn rate(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse() {
        Ok(rate @ 1..) => Ok(rate),
        _ => Err("say how many records a second, such as 20000/s".to_owned()),
    }
}

// --- Job ---

/// How far it is; what a job file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Job {
    v: u64,
    /// Names this replay, in marked resources and in the job.
    id: String,
    /// What was asked for, and where it goes: the same job has the same.
    filter: String,
    to: String,
    /// Times of admission, once and for all: `-24h` is another time tomorrow.
    range: [Option<Time>; 2],
    /// The logs as they were when it began.
    heads: Vec<JobHead>,
    /// The last object that something was sent of.
    object: Option<String>,
    /// Requests of it that were taken.
    requests: u64,
    /// Records that were taken.
    records: u64,
    /// Bytes of objects that were read.
    bytes: u64,
    finished: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct JobHead {
    origin: String,
    size: u64,
    #[serde(with = "evidence::digest::base64")]
    root: Digest,
}

impl Job {
    fn new(filter: &str, to: &str, part: &Part) -> Result<Job, Failure> {
        let (from, until) = part.range(now())?;
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Failure::unknown("no random bytes"))?;
        Ok(Job {
            v: 1,
            id: evidence::digest::hex(&random),
            filter: filter.to_owned(),
            to: to.to_owned(),
            range: [from, until],
            heads: Vec::new(),
            object: None,
            requests: 0,
            records: 0,
            bytes: 0,
            finished: false,
        })
    }

    /// That of the file, if there is one, or a new one.
    fn open(path: Option<&Path>, filter: &str, to: &str, part: &Part) -> Result<Job, Failure> {
        let Some(path) = path else {
            return Job::new(filter, to, part);
        };
        let fault = |e: &dyn std::fmt::Display| Failure::usage(format!("{}: {e}", path.display()));
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Job::new(filter, to, part),
            Err(e) => return Err(fault(&e)),
        };
        let job: Job = serde_json::from_slice(&text).map_err(|e| fault(&e))?;
        if job.v != 1 || (job.filter.as_str(), job.to.as_str()) != (filter, to) {
            let (filter, to) = (&job.filter, &job.to);
            return Err(fault(&format_args!(
                "it is the job of another restore: {filter:?} to {to}"
            )));
        }
        Ok(job)
    }

    /// Written whole beside the file and then put in its place.
    fn save(&self, path: Option<&Path>) -> Result<(), Failure> {
        let Some(path) = path else { return Ok(()) };
        let fault = |e: &dyn std::fmt::Display| Failure::unknown(format!("{}: {e}", path.display()));
        let text = serde_json::to_vec(self).map_err(|e| fault(&e))?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let written = std::fs::File::create(&beside).and_then(|mut file| {
            std::io::Write::write_all(&mut file, &text)?;
            file.sync_all()?;
            std::fs::rename(&beside, path)
        });
        written.map_err(|e| fault(&e))
    }

    /// Takes the heads of the first time; the second time they must still be part of the logs.
    fn settle(&mut self, logs: &mut Logs) -> Result<(), Failure> {
        if self.heads.is_empty() {
            self.heads = logs.heads.iter().map(JobHead::of).collect();
            return Ok(());
        }
        for head in &self.heads {
            let root = logs.roots.get(&(head.origin.clone(), head.size));
            if root != Some(&head.root) {
                let told = format!(
                    "C5 the log {} is not the one that this job began with, at {} entries",
                    head.origin, head.size
                );
                return Err(Failure { exit: 2, told });
            }
        }
        let size = |named: &Named| {
            let end = format!("/{}/{}", named.writer, named.session);
            let head = self.heads.iter().find(|head| head.origin.ends_with(&end));
            head.map_or(0, |head| head.size)
        };
        logs.objects.retain(|named| named.index < size(named));
        Ok(())
    }
}

impl JobHead {
    fn of(head: &LogHead) -> JobHead {
        JobHead {
            origin: head.origin.clone(),
            size: head.size,
            root: head.root,
        }
    }
}

// --- The command ---

/// Runs it; the exit code.
pub(super) async fn run(sources: &Sources, arguments: &Arguments) -> Result<u8, Failure> {
    arguments.identity.refused()?;
    arguments.pipeline.refused()?;
    let filter = filter(&arguments.part, arguments.condition.as_deref());
    let to_otlp = arguments.to_otlp.as_deref().unwrap_or_default();
    let mut job = Job::open(arguments.resume.as_deref(), &filter, to_otlp, &arguments.part)?;
    if job.finished {
        say(&format!(
            "{} records were sent already: this job is done",
            text::grouped(job.records)
        ));
        return Ok(0);
    }
    let archive = arguments.which.open(sources).await?;
    let (service, exporter) = send::service(sources, to_otlp).map_err(Failure::usage)?;
    let reading = Reading::of(&archive);
    let roots: Vec<(String, u64)> = job.heads.iter().map(|h| (h.origin.clone(), h.size)).collect();
    let [from, to] = job.range.map(|time| time.map(|time| time.to_string()));
    let wanted = Wanted {
        part: Part {
            from,
            to,
            ..arguments.part.clone()
        },
        roots: &roots,
        ..Wanted::default()
    };
    let mut logs = Logs::read(&reading, &arguments.believed, &wanted).await?;
    let is_broken = logs.tell();
    job.settle(&mut logs)?;
    if arguments.part.tenant.is_none() {
        // What the gateway says of itself came from nobody.
        logs.objects.retain(|named| named.obj.tenant != OWN_TENANT);
    }
    let conditions = Conditions::new(arguments.condition.as_deref(), &logs.objects)?;
    for told in old(&logs.objects, now()) {
        say_error(&told);
    }
    let log = match archive.is_copy {
        true => {
            say_error("this is a copy of an archive: nothing is logged in it");
            None
        }
        false => {
            let intent = format!("restore of {filter} to {to_otlp}");
            Some(OwnLog::open(&archive, &logs, &arguments.who, &intent).await?)
        }
    };
    let before = (job.records, job.bytes);
    let mut sending = Sending {
        reading: &reading,
        job: &mut job,
        job_file: arguments.resume.as_deref(),
        conditions,
        rate: arguments.rate.map(Rate::new),
        mark: arguments.mark,
        log,
        rejected: 0,
        objects: 0,
        saved: Instant::now(),
        progress: Progress::new("records sent"),
    };
    let work = async {
        let fault = |fault: component::Fault| Failure::unknown(fault.to_string());
        service.start().await.map_err(fault)?;
        let consumer = service.host().exporter(&exporter).map_err(fault)?;
        sending.all(&logs.objects, &consumer).await
    };
    // What is under way at an end is sent again by who goes on with the job.
    let sent = tokio::select! {
        sent = work => sent,
        failure = interrupted() => Err(failure),
    };
    sending.progress.end();
    let (rejected, objects, log) = (sending.rejected, sending.objects, sending.log.take());
    let failed = sending.conditions.failed();
    service.stop(STOP).await;
    job.finished = sent.is_ok();
    let saved = job.save(arguments.resume.as_deref());
    let (records, bytes) = (job.records - before.0, job.bytes - before.1);
    let told = format!(
        "sent {} records of {} objects ({}) to {to_otlp}",
        text::grouped(records),
        text::grouped(objects),
        text::bytes(bytes)
    );
    say(&told);
    if let Some(log) = log {
        let line = log.policy_line()?;
        let to = format!("otlp {to_otlp}");
        let closed = log.close(restored(&filter, &to, records, bytes, &arguments.who));
        match (&sent, closed.await) {
            // Why it ended comes first.
            (Err(_), Err(failure)) => say_error(&failure.told),
            (_, place) => say(&format!("logged {}", place?)),
        }
        say_error(&format!(
            "a policy that trusts its key by no root needs the line: {line}"
        ));
    }
    sent.and(saved)?;
    if failed > 0 {
        say_error(&format!(
            "on {} records the condition failed; they were left out",
            text::grouped(failed)
        ));
    }
    if rejected > 0 {
        let n = text::grouped(rejected);
        return Err(Failure::unknown(format!(
            "{n} records were left out by the far side"
        )));
    }
    match (is_broken, failed) {
        (true, _) => Ok(1),
        (false, 1..) => Ok(UNKNOWN),
        (false, 0) => Ok(0),
    }
}

/// What some stores do with records of such an age, by their defaults: they take them and keep nothing.
fn old(objects: &[Named], now: Time) -> Vec<String> {
    const HOUR: i64 = 3_600_000;
    let limits = [
        (
            Signal::Logs,
            168 * HOUR,
            "Loki drops what is older than 168h (reject_old_samples_max_age)",
        ),
        (
            Signal::Metrics,
            HOUR,
            "Prometheus and Mimir drop what is older than the newest sample of its series (out_of_order_time_window)",
        ),
    ];
    let told = limits.into_iter().filter_map(|(signal, age, what)| {
        let of_signal = objects.iter().filter(|named| named.obj.signal == signal.as_str());
        // Times of events as far as the entry has them; of derived objects too, which costs nothing.
        let oldest = of_signal
            .map(|named| named.obj.ev.unwrap_or(named.obj.ad)[0])
            .min()?;
        (now.since(oldest) > age).then(|| {
            format!(
                "the oldest of these {} are of {oldest}: by its defaults {what}",
                signal.as_str()
            )
        })
    });
    told.collect()
}

/// What was asked for, in a line.
pub(super) fn filter(part: &Part, condition: Option<&str>) -> String {
    let parts = [
        ("from", part.from.as_deref()),
        ("to", part.to.as_deref()),
        ("tenant", part.tenant.as_deref()),
        ("signal", part.signal.as_deref()),
        ("class", part.class.as_deref()),
        ("where", condition),
    ];
    let said: Vec<String> = parts
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", (*value)?)))
        .collect();
    match said.is_empty() {
        true => "all".to_owned(),
        false => said.join(" "),
    }
}

/// A condition for each signal that there is.
pub(super) struct Conditions([Option<Where>; 4]);

impl Conditions {
    /// Compiles it for the signals of these objects.
    pub(super) fn new(text: Option<&str>, objects: &[Named]) -> Result<Conditions, Failure> {
        let mut compiled = [const { None }; 4];
        let Some(text) = text else {
            return Ok(Conditions(compiled));
        };
        for signal in Signal::ALL {
            if objects.iter().any(|named| named.obj.signal == signal.as_str()) {
                compiled[signal.index()] = Some(Where::new(text, signal)?);
            }
        }
        Ok(Conditions(compiled))
    }

    /// Whether an object may have a record that is meant.
    pub(super) fn may_be_in(&self, named: &Named) -> bool {
        let signal = Signal::parse(&named.obj.signal);
        let condition = signal.and_then(|signal| self.0[signal.index()].as_ref());
        condition.is_none_or(|condition| condition.may_be_in(&named.obj))
    }

    pub(super) fn keep(&mut self, signal: Signal, chunk: &mut Chunk) -> Result<(), String> {
        match &mut self.0[signal.index()] {
            Some(condition) => condition.keep(chunk),
            None => Ok(()),
        }
    }

    /// Records on which it failed.
    pub(super) fn failed(&self) -> u64 {
        self.0.iter().flatten().map(|condition| condition.failed).sum()
    }
}

/// Lets so many records through a second.
struct Rate {
    per_second: u64,
    begin: Instant,
    let_through: u64,
}

impl Rate {
    fn new(per_second: u64) -> Rate {
        Rate {
            per_second,
            begin: Instant::now(),
            let_through: 0,
        }
    }

    /// Records that go at a time: a tenth of a second's.
    fn piece(&self) -> usize {
        usize::try_from((self.per_second / 10).max(1)).unwrap_or(usize::MAX)
    }

    /// Waits until these may go.
    async fn wait(&mut self, records: u64) {
        let due = Duration::from_secs_f64(self.let_through as f64 / self.per_second as f64);
        self.let_through += records;
        tokio::time::sleep_until(self.begin + due).await;
    }
}

struct Sending<'a> {
    reading: &'a Reading,
    job: &'a mut Job,
    job_file: Option<&'a Path>,
    conditions: Conditions,
    rate: Option<Rate>,
    mark: bool,
    log: Option<OwnLog>,
    rejected: u64,
    objects: u64,
    saved: Instant,
    progress: Progress,
}

impl Sending<'_> {
    async fn all(&mut self, objects: &[Named], consumer: &Arc<dyn Consumer>) -> Result<(), Failure> {
        let begin = match &self.job.object {
            None => 0,
            Some(key) => {
                let at = objects.iter().position(|named| named.obj.key == *key);
                at.ok_or_else(|| {
                    Failure::usage(format!(
                        "the job's object {key} is not among those that are meant"
                    ))
                })?
            }
        };
        let conditions = &self.conditions;
        let meant: Vec<&Named> = objects[begin..]
            .iter()
            .filter(|named| conditions.may_be_in(named))
            .collect();
        // The next object comes while this one goes.
        let mut coming = meant.first().map(|named| self.fetch(named));
        for (at, named) in meant.iter().enumerate() {
            let Some(fetched) = coming.take() else { break };
            coming = meant.get(at + 1).map(|named| self.fetch(named));
            let stored = fetched
                .await
                .map_err(|e| Failure::unknown(format!("{}: {e}", named.obj.key)))??;
            let sent = self.object(named, stored, consumer).await;
            if let (Err(_), Some(next)) = (&sent, &coming) {
                next.abort();
            }
            sent?;
            self.job.save(self.job_file)?;
        }
        Ok(())
    }

    fn fetch(&self, named: &Named) -> tokio::task::JoinHandle<Result<Stored, Failure>> {
        let (reading, obj) = (self.reading.clone(), named.obj.clone());
        tokio::spawn(async move { object::fetch(&reading, &obj, false).await })
    }

    async fn object(
        &mut self,
        named: &Named,
        stored: Stored,
        consumer: &Arc<dyn Consumer>,
    ) -> Result<(), Failure> {
        let key = &named.obj.key;
        let damaged = |why: String| Failure::unknown(format!("{key}: {why}"));
        let Some(signal) = Signal::parse(&named.obj.signal) else {
            return Err(damaged(format!("no such signal: {:?}", named.obj.signal)));
        };
        let done = match self.job.object.as_deref() == Some(key) {
            true => self.job.requests,
            false => 0,
        };
        if done == 0 {
            self.job.bytes += named.obj.size;
        }
        self.objects += 1;
        let mut requests = object::requests(stored, &named.obj);
        let mut number = 0;
        while let Some(bytes) = requests.recv().await {
            let bytes = bytes.map_err(damaged)?;
            number += 1;
            if number <= done {
                continue;
            }
            let mut chunk = select::chunk(signal, bytes).map_err(damaged)?;
            self.conditions.keep(signal, &mut chunk).map_err(damaged)?;
            if chunk.shape.items > 0 && self.mark {
                mark(signal, &mut chunk, &self.job.id, key).map_err(damaged)?;
            }
            chunk.origin.tenant = Some(named.obj.tenant.as_str())
                .filter(|tenant| *tenant != DEFAULT_TENANT)
                .map(Arc::from);
            if chunk.shape.items > 0 || signal == Signal::Profiles {
                self.send(
                    Payload::new(signal, chunk, Arc::new(Context::default())),
                    key,
                    consumer,
                )
                .await?;
            }
            (self.job.object, self.job.requests) = (Some(key.clone()), number);
            if self.saved.elapsed() >= SAVE {
                self.saved = Instant::now();
                self.job.save(self.job_file)?;
            }
        }
        (self.job.object, self.job.requests) = (Some(key.clone()), number);
        Ok(())
    }

    async fn send(
        &mut self,
        payload: Payload,
        key: &str,
        consumer: &Arc<dyn Consumer>,
    ) -> Result<(), Failure> {
        let cut = Cut {
            items_max: self.rate.as_ref().map(Rate::piece),
            bytes_max: Some(SEND_BYTES),
        };
        for piece in wire::split(payload, cut) {
            let items = piece.items as u64;
            if let Some(rate) = &mut self.rate {
                rate.wait(items).await;
            }
            let refused = deliver(consumer, piece).await.map_err(|failure| {
                let (send::Failure::ForGood(why) | send::Failure::ForNow(why)) = failure;
                Failure::unknown(format!("{key}: not taken: {why}"))
            })?;
            self.rejected += refused;
            self.job.records += items - refused.min(items);
            self.progress.add(items);
        }
        Ok(())
    }
}

/// Adds what says where a record comes from to each resource.
fn mark(signal: Signal, chunk: &mut Chunk, id: &str, key: &str) -> Result<(), String> {
    if signal == Signal::Profiles {
        return Err("profiles cannot be marked: leave --mark out, or say --signal".to_owned());
    }
    chunk.make_canonical(signal).map_err(|e| e.to_string())?;
    let bytes = chunk.make_whole();
    let mut room = wire::view::Scratch::default();
    let mut view = View::new(&mut room, signal, &bytes, Depth::Resource).map_err(|e| e.to_string())?;
    for n in view.nodes() {
        view.put(n, b"weir.replay.id", NewValue::Str(id.as_bytes()));
        view.put(n, b"weir.replay.object", NewValue::Str(key.as_bytes()));
    }
    if let Finished::Edited { bytes, .. } = view.finish() {
        chunk.set_bytes(bytes.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! A journal, a store and a clock for the exporter, and a reader of what it wrote.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use component::prelude::*;
use component::test_kit::{Lonely, context, section};
use component::{Claim, Debts, Ending, Pieces, Seq, Set, StoreError as JournalError};
use evidence::test_kit::Store as Copy;
use evidence::time::Time;
use evidence::verify::{Level, Options, Report};
use objects::{
    Body, Class, Facts, FileStore, Get, Head, Listed, Naming, ObjectStore, Put, PutOutcome, Retention,
    StoreError, Version, VersionMark,
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use parking_lot::Mutex;
use prost::Message;
use tokio::time::Instant;

use super::super::layout::{Awss3, Layout};
use super::super::run::Clock;
use super::super::{Archive, Config};
use super::Cut;

// --- Records ---

fn text(text: &str) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(text.into())),
    }
}

/// A request with a resource for each tenant, each with records of these names.
pub(in crate::archiver) fn logs(resources: &[(&str, &[String])]) -> Payload {
    let resource = |(tenant, names): &(&str, &[String])| ResourceLogs {
        resource: Some(Resource {
            attributes: vec![KeyValue {
                key: "tenant.id".into(),
                value: Some(text(tenant)),
                ..KeyValue::default()
            }],
            ..Resource::default()
        }),
        scope_logs: vec![ScopeLogs {
            log_records: names
                .iter()
                .map(|name| LogRecord {
                    time_unix_nano: 1_700_000_000_000_000_000,
                    body: Some(text(name)),
                    ..LogRecord::default()
                })
                .collect(),
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: resources.iter().map(resource).collect(),
    };
    let bytes = request.encode_to_vec();
    let shape = wire::validate(Signal::Logs, &bytes, &wire::Limits::default()).expect("it is valid");
    Payload::new(Signal::Logs, Chunk::new(bytes.into(), shape), Arc::default())
}

// --- Journal ---

/// Debts as the harness keeps them: what is complete, what is claimed, what was appended in this life.
#[derive(Default)]
pub(super) struct Journal {
    id: Option<u128>,
    state: Mutex<JournalState>,
}

#[derive(Clone, Default)]
struct JournalState {
    records: Vec<(Payload, u64)>,
    /// Pieces that are done with, by record: how many there are, and which.
    complete: BTreeMap<u64, Pile>,
    claims: BTreeMap<String, Claim>,
    appended: HashSet<u64>,
    notes: BTreeMap<String, String>,
    /// Name of the rules that a record was claimed under.
    rules: BTreeMap<u64, String>,
    failures: usize,
}

type Pile = (u32, BTreeSet<u32>);

fn add(piles: &mut BTreeMap<u64, Pile>, set: &Set) {
    for run in set.runs() {
        match run {
            Run::Whole { first, len } => (first.0..first.0 + len).for_each(|seq| {
                piles.insert(seq, (0, BTreeSet::new()));
            }),
            Run::Part { seq, of, pieces } => {
                let pile = piles.entry(seq.0).or_insert((of, BTreeSet::new()));
                if pile.0 > 0 {
                    pile.1.extend(pieces);
                    if pile.1.len() == of as usize {
                        *pile = (0, BTreeSet::new());
                    }
                }
            }
        }
    }
}

impl Journal {
    pub(super) fn new(id: Option<u128>) -> Arc<Journal> {
        Arc::new(Journal {
            id,
            ..Journal::default()
        })
    }

    /// A copy of the disk that it is on.
    fn cloned(&self) -> Arc<Journal> {
        Arc::new(Journal {
            id: self.id,
            state: Mutex::new(self.state.lock().clone()),
        })
    }

    pub(super) fn push(&self, payload: Payload, admitted_ms: u64) {
        self.state.lock().records.push((payload, admitted_ms));
    }

    /// A process ends: what it appended comes again.
    pub(super) fn forget(&self) {
        self.state.lock().appended.clear();
    }

    /// The next calls fail.
    pub(super) fn fail(&self, times: usize) {
        self.state.lock().failures = times;
    }

    /// Records of which nothing is complete or claimed, or not all.
    fn owed(&self) -> Option<(u64, Payload, Receipt)> {
        let mut state = self.state.lock();
        let mut piles = state.complete.clone();
        for claim in state.claims.values() {
            add(&mut piles, &claim.set);
        }
        for seq in 0..state.records.len() as u64 {
            let (owed, of) = match piles.get(&seq) {
                None => (Pieces::All, None),
                Some((0, _)) => continue,
                Some((of, there)) => {
                    let pieces = (0..*of).filter(|piece| !there.contains(piece)).collect();
                    (Pieces::Some { of: *of, pieces }, Some(*of))
                }
            };
            if !state.appended.insert(seq) {
                continue;
            }
            let (payload, admitted_ms) = state.records[seq as usize].clone();
            let rules = of
                .and_then(|_| state.rules.get(&seq))
                .map(|name| name.as_str().into());
            let receipt = Receipt {
                seq: Seq(seq),
                admitted_ms,
                owed,
                rules,
            };
            return Some((seq, payload, receipt));
        }
        None
    }

    /// Appends all that is owed now.
    pub(super) async fn pump(&self, archive: &Archive) {
        while let Some((seq, payload, receipt)) = self.owed() {
            let appended =
                tokio::time::timeout(Duration::from_secs(30), archive.append(payload, receipt)).await;
            if !matches!(appended, Ok(Ok(()))) {
                self.state.lock().appended.remove(&seq);
                return;
            }
        }
    }

    pub(super) fn is_done(&self) -> bool {
        let state = self.state.lock();
        let whole = |seq: &u64| state.complete.get(seq).is_some_and(|(of, _)| *of == 0);
        (0..state.records.len() as u64).all(|seq| whole(&seq)) && state.claims.is_empty()
    }

    /// For people.
    pub(super) fn sketch(&self) -> String {
        let state = self.state.lock();
        let claims: Vec<_> = state
            .claims
            .values()
            .map(|c| (&c.token, c.set.runs().collect::<Vec<_>>()))
            .collect();
        let (complete, appended) = (&state.complete, &state.appended);
        format!("complete {complete:?}, claims {claims:?}, appended {appended:?}")
    }

    pub(super) fn claims(&self) -> usize {
        self.state.lock().claims.len()
    }

    fn failing(&self) -> Result<(), JournalError> {
        let mut state = self.state.lock();
        match state.failures {
            0 => Ok(()),
            _ => {
                state.failures -= 1;
                Err(JournalError::Full)
            }
        }
    }
}

impl Debts for Journal {
    fn signal(&self) -> Signal {
        Signal::Logs
    }

    fn journal(&self) -> Option<u128> {
        self.id
    }

    fn claims(&self) -> Vec<Claim> {
        self.state.lock().claims.values().cloned().collect()
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<(), JournalError>> {
        ready(self.failing().map(|()| {
            let mut state = self.state.lock();
            for run in claim.set.runs() {
                for seq in run.first().0..run.end().0 {
                    state.rules.insert(seq, claim.rules.clone());
                }
            }
            state.claims.insert(claim.token.clone(), claim);
        }))
    }

    fn release<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<(), JournalError>> {
        ready(self.failing().map(|()| {
            let mut state = self.state.lock();
            if let Some(claim) = state.claims.remove(token) {
                for run in claim.set.runs() {
                    (run.first().0..run.end().0).for_each(|seq| {
                        state.appended.remove(&seq);
                    });
                }
            }
        }))
    }

    fn complete<'a>(
        &'a self,
        token: &'a str,
        set: &'a Set,
        _how: Ending<'a>,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        ready(self.failing().map(|()| {
            let mut state = self.state.lock();
            state.claims.remove(token);
            add(&mut state.complete, set);
        }))
    }

    fn note<'a>(&'a self, name: &'a str, text: &'a str) -> BoxFuture<'a, Result<(), JournalError>> {
        self.state.lock().notes.insert(name.into(), text.into());
        ready(Ok(()))
    }

    fn notes(&self) -> Vec<(String, String)> {
        let state = self.state.lock();
        state
            .notes
            .iter()
            .map(|(name, text)| (name.clone(), text.clone()))
            .collect()
    }
}

// --- Store ---

/// What a store does instead of what it should.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Fail(Class),
    /// It stores, and the answer is lost.
    Lost,
    /// Somebody else was first.
    Squatted,
    Conflict,
}

/// A directory, with a script of answers to writes of keys with this prefix; one that begins with `/` may stand anywhere.
#[derive(Clone, Debug)]
pub(super) struct Scripted {
    pub(super) below: FileStore,
    script: Arc<Mutex<VecDeque<(String, Answer)>>>,
    /// Keys written so far.
    pub(super) puts: Arc<Mutex<Vec<String>>>,
    /// Keys that were asked for, and when.
    pub(super) heads: Arc<Mutex<Vec<(String, u64)>>>,
    /// When a key was written, by the store's clock.
    times: Arc<Mutex<BTreeMap<String, u64>>>,
    clock: StoreClock,
    away: Arc<AtomicBool>,
}

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct StoreClock(Instant);

impl StoreClock {
    fn now(self) -> u64 {
        NOW_MS + self.0.elapsed().as_millis() as u64
    }
}

impl Scripted {
    pub(super) fn new(dir: &Path) -> Scripted {
        Scripted {
            below: FileStore::new(dir),
            script: Arc::default(),
            puts: Arc::default(),
            heads: Arc::default(),
            times: Arc::default(),
            clock: StoreClock(Instant::now()),
            away: Arc::default(),
        }
    }

    /// From now on nobody reaches it, or all do again.
    pub(super) fn set_away(&self, away: bool) {
        self.away.store(away, Relaxed);
    }

    fn reached(&self, operation: &'static str) -> Result<(), StoreError> {
        match self.away.load(Relaxed) {
            true => Err(StoreError::new(
                Class::Retry { after: None },
                operation,
                "nobody answers",
            )),
            false => Ok(()),
        }
    }

    async fn write(&self, key: &str, body: Body, put: &Put) -> Result<PutOutcome, StoreError> {
        let outcome = self.below.put(key, body, put).await?;
        if let PutOutcome::Stored(_) = outcome {
            self.times.lock().insert(key.to_owned(), self.clock.now());
        }
        Ok(outcome)
    }

    pub(super) fn tell(&self, prefix: &str, answers: impl IntoIterator<Item = Answer>) {
        let answers = answers.into_iter().map(|answer| (prefix.to_owned(), answer));
        self.script.lock().extend(answers);
    }

    /// From now on it does what it should.
    pub(super) fn forgive(&self) {
        self.script.lock().clear();
    }

    fn answer(&self, key: &str) -> Option<Answer> {
        let mut script = self.script.lock();
        let at = script
            .iter()
            .position(|(prefix, _)| match prefix.starts_with('/') {
                true => key.contains(prefix.as_str()),
                false => key.starts_with(prefix.as_str()),
            })?;
        script.remove(at).map(|(_, answer)| answer)
    }
}

impl ObjectStore for Scripted {
    fn place(&self) -> &str {
        self.below.place()
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Body,
        put: &'a Put,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        Box::pin(async move {
            self.reached("put")?;
            self.puts.lock().push(key.to_owned());
            match self.answer(key) {
                None => self.write(key, body, put).await,
                Some(Answer::Fail(class)) => Err(StoreError::new(class, "put", "as told")),
                Some(Answer::Conflict) => Ok(PutOutcome::Conflict),
                Some(Answer::Lost) => {
                    self.write(key, body, put).await?;
                    Err(StoreError::new(
                        Class::Retry { after: None },
                        "put",
                        "the answer was lost",
                    ))
                }
                Some(Answer::Squatted) => {
                    let other = Put {
                        sha256: evidence::digest::sha256(b"squatter").0,
                        if_absent: true,
                        ..Put::default()
                    };
                    self.write(key, Body::Bytes("squatter".into()), &other).await?;
                    self.write(key, body, put).await
                }
            }
        })
    }

    fn get<'a>(&'a self, key: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Get, StoreError>> {
        Box::pin(async move {
            self.reached("get")?;
            self.below.get(key, version).await
        })
    }

    fn head<'a>(&'a self, key: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Head, StoreError>> {
        Box::pin(async move {
            self.reached("head")?;
            self.heads.lock().push((key.to_owned(), self.clock.now()));
            self.below.head(key, version).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, StoreError>> {
        Box::pin(async move {
            self.reached("list")?;
            self.below.list(prefix, after).await
        })
    }

    fn list_versions<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a VersionMark>,
    ) -> BoxFuture<'a, Result<(Vec<Version>, Option<VersionMark>), StoreError>> {
        self.below.list_versions(prefix, after)
    }

    fn delete<'a>(&'a self, key: &'a str, version: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.below.delete(key, version)
    }

    fn put_legal_hold<'a>(
        &'a self,
        key: &'a str,
        version: Option<&'a str>,
        on: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.below.put_legal_hold(key, version, on)
    }

    fn put_retention<'a>(
        &'a self,
        key: &'a str,
        version: Option<&'a str>,
        retention: Retention,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.below.put_retention(key, version, retention)
    }

    fn facts(&self) -> BoxFuture<'_, Facts> {
        self.below.facts()
    }
}

// --- Rig ---

/// Both layouts, and what the keys of their objects begin with.
pub(super) fn layouts() -> [(Layout, &'static str); 2] {
    let uploader = section("{s3_partition_timezone: UTC}").parse();
    let uploader = uploader.unwrap_or_else(|faults| panic!("{faults}"));
    let awss3 = Awss3 {
        naming: Naming::new(&uploader).expect("it is right"),
        content_encoding: true,
    };
    [
        (Layout::Hive, "data/"),
        (
            Layout::Awss3(Box::new(awss3)),
            "year=2025/month=11/day=20/hour=14/minute=",
        ),
    ]
}

/// Directories, a journal, a store: what survives a life of the exporter.
pub(super) struct Rig {
    pub(super) dir: Arc<tempfile::TempDir>,
    pub(super) journal: Arc<Journal>,
    pub(super) store: Scripted,
    pub(super) host: Arc<Lonely>,
    pub(super) yaml: String,
    pub(super) names: Arc<Mutex<Vec<String>>>,
    pub(super) layout: Layout,
    state: &'static str,
    clock: Clock,
    /// How far the gateway's clock is ahead of the store's, in milliseconds.
    pub(super) ahead: Arc<AtomicI64>,
}

/// 20 November 2025, 14:05 UTC.
pub(super) const NOW_MS: u64 = 1_763_647_500_000;

impl Rig {
    pub(super) fn new(yaml: &str) -> Rig {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Scripted::new(&dir.path().join("store"));
        let memory = yaml.contains("ack: memory");
        let ahead = Arc::new(AtomicI64::new(0));
        let (time, offset) = (store.clock, ahead.clone());
        Rig {
            journal: Journal::new((!memory).then_some(7)),
            store,
            host: Arc::default(),
            yaml: yaml.to_owned(),
            names: Arc::default(),
            layout: Layout::Hive,
            state: "state",
            clock: Clock(Arc::new(move || {
                time.now().saturating_add_signed(offset.load(Relaxed))
            })),
            ahead,
            dir: Arc::new(dir),
        }
    }

    /// The same with another layout.
    pub(super) fn laid_out(self, layout: Layout) -> Rig {
        Rig { layout, ..self }
    }

    /// The same gateway from a copy of all its disks, beside the same store.
    pub(super) fn twin(&self) -> Rig {
        let twin = Rig {
            dir: self.dir.clone(),
            journal: self.journal.cloned(),
            store: self.store.clone(),
            host: Arc::default(),
            yaml: self.yaml.clone(),
            names: self.names.clone(),
            layout: self.layout.clone(),
            state: "twin",
            clock: self.clock.clone(),
            ahead: self.ahead.clone(),
        };
        let copy = |from: &Path, to: &Path| {
            std::fs::create_dir_all(to).expect("a directory");
            for entry in std::fs::read_dir(from).expect("it is there").flatten() {
                if entry.path().is_file() {
                    std::fs::copy(entry.path(), to.join(entry.file_name())).expect("it is copied");
                }
            }
        };
        copy(&self.state_dir(), &twin.state_dir());
        copy(&self.state_dir().join("spool"), &twin.state_dir().join("spool"));
        twin
    }

    /// Another gateway beside the same store, with disks of its own.
    pub(super) fn beside(&self, yaml: &str) -> Rig {
        Rig {
            dir: self.dir.clone(),
            journal: Journal::new(self.journal.id.map(|id| id + 100)),
            store: self.store.clone(),
            host: Arc::default(),
            yaml: yaml.to_owned(),
            names: self.names.clone(),
            layout: self.layout.clone(),
            state: "beside",
            clock: self.clock.clone(),
            ahead: self.ahead.clone(),
        }
    }

    /// The disk of the journal is lost: another one takes its place.
    pub(super) fn lose_journal(&mut self) {
        self.journal = Journal::new(self.journal.id.map(|id| id + 1));
    }

    pub(super) fn state_dir(&self) -> std::path::PathBuf {
        self.dir.path().join(self.state)
    }

    pub(super) fn config(&self) -> Config {
        let yaml = format!(
            "archive: logs.example.com/test\n{}create: true\nstate_dir: {}\nstore: {{file: {{path: {}}}}}\n{}",
            match self.yaml.contains("writer:") {
                true => "",
                false => "writer: gw-0\n",
            },
            self.state_dir().display(),
            self.dir.path().join("store").display(),
            match self.yaml.contains("lock:") {
                true => self.yaml.clone(),
                false => format!("lock: {{required: false}}\n{}", self.yaml),
            }
        );
        let config: Config = section(&yaml)
            .parse_valid()
            .unwrap_or_else(|faults| panic!("{faults}"));
        Config {
            layout: self.layout.clone(),
            ..config
        }
    }

    /// One more record for the journal: a request with `n` log records of each tenant.
    pub(super) fn record(&self, tenants: &[&str], n: usize) {
        let mut names = self.names.lock();
        let own: Vec<Vec<String>> = tenants
            .iter()
            .map(|tenant| {
                let own: Vec<String> = (0..n).map(|i| format!("{tenant}/{}", names.len() + i)).collect();
                names.extend(own.iter().cloned());
                own
            })
            .collect();
        let resources: Vec<(&str, &[String])> = tenants
            .iter()
            .zip(&own)
            .map(|(tenant, own)| (*tenant, own.as_slice()))
            .collect();
        self.journal.push(logs(&resources), (self.clock.0)());
    }

    /// Starts a life; the power fails at its `cut`-th step, 0 = never.
    pub(super) async fn start(&self, cut: usize) -> Result<Archive, String> {
        self.start_on(Arc::new(self.store.clone()), None, cut).await
    }

    /// The same on this store; `deleter`: who may delete canaries.
    pub(super) async fn start_on(
        &self,
        store: Arc<dyn ObjectStore>,
        deleter: Option<Arc<dyn ObjectStore>>,
        cut: usize,
    ) -> Result<Archive, String> {
        let mut archive = Archive::new(self.config(), &context("archive"), self.clock.clone());
        archive.store = Some(store);
        archive.deleter = deleter;
        archive.cut = Cut::default();
        archive.cut.set(cut);
        let debts: Vec<Arc<dyn Debts>> = vec![self.journal.clone()];
        archive
            .start(self.host.clone(), debts)
            .await
            .map_err(|fault| fault.to_string())?;
        Ok(archive)
    }

    /// Appends what is owed until nothing is any more, or nothing moves.
    pub(super) async fn pump(&self, archive: &Archive) {
        for _ in 0..200 {
            self.journal.pump(archive).await;
            archive.seal(Seal::Flush).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            if self.journal.is_done() {
                return;
            }
        }
    }

    /// A life that does what it can, and is gone: by order or by the cut.
    pub(super) async fn live(&self, cut: usize) -> usize {
        self.journal.forget();
        let started = tokio::time::timeout(Duration::from_secs(3600), self.start(cut)).await;
        let archive = match started {
            // The power failed before it had started.
            Err(_) if cut > 0 => return 0,
            started => started
                .expect("it starts within an hour")
                .unwrap_or_else(|fault| panic!("{fault}")),
        };
        match cut {
            0 => self.pump(&archive).await,
            _ => self.journal.pump(&archive).await,
        }
        archive.stop(Instant::now() + Duration::from_secs(120)).await;
        // Whatever a thread was writing is written.
        tokio::time::sleep(Duration::from_secs(1)).await;
        archive.cut.passed()
    }

    /// The process is gone in the middle of it.
    pub(super) async fn kill(&self, archive: Archive) {
        drop(archive);
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.journal.forget();
    }

    /// All files of the store.
    pub(super) fn copy(&self) -> Copy {
        let mut copy = Copy::default();
        let root = self.dir.path().join("store");
        let mut directories = vec![root.clone()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let key = path
                    .strip_prefix(&root)
                    .expect("below it")
                    .to_string_lossy()
                    .into_owned();
                let bytes = std::fs::read(&path).expect("it is there");
                if !key.starts_with('.') {
                    let modified = self.store.times.lock().get(&key).copied();
                    let modified = modified.map(|ms| Time::from_millis(ms.cast_signed()));
                    copy.put(&key, &bytes, modified, None);
                }
            }
        }
        for versions in copy.files.values_mut() {
            versions.iter_mut().for_each(|version| version.id = None);
        }
        copy
    }

    /// What the verifier says of the store.
    pub(super) fn verify(&self) -> Report {
        let copy = self.copy();
        let vkeys: BTreeSet<String> = entries(&copy)
            .into_iter()
            .filter_map(|entry| match entry.kind {
                evidence::entry::Kind::Open(open) => Some(format!("log {}", open.vkey)),
                _ => None,
            })
            .collect();
        let policy: Vec<String> = vkeys.into_iter().collect();
        let now = Time::from_millis(self.store.clock.now().cast_signed());
        let options = Options {
            level: Level::Full,
            ..Options::new(now)
        };
        copy.verify(&policy.join("\n"), &options)
    }

    /// Every record once, the books balanced, the verifier content.
    #[track_caller]
    pub(super) fn assert_whole(&self, what: &str) {
        assert!(
            self.journal.is_done(),
            "{what}: something is owed: {}",
            self.journal.sketch()
        );
        let mut found = archived(&self.copy());
        found.sort();
        let mut expected = self.names.lock().clone();
        expected.sort();
        assert_eq!(found, expected, "{what}");
        self.assert_proved(what);
    }

    /// No record twice, the books balanced, the verifier content, nothing left over; gives what it says.
    #[track_caller]
    pub(super) fn assert_proved(&self, what: &str) -> Report {
        let found = archived(&self.copy());
        let once: BTreeSet<&String> = found.iter().collect();
        assert_eq!(once.len(), found.len(), "{what}: records are there twice");
        let report = self.verify();
        assert_eq!(
            report.exit, 0,
            "{what}: {} {:#?}",
            report.verdict, report.findings
        );
        let left: Vec<_> = std::fs::read_dir(self.state_dir().join("spool"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert!(left.is_empty(), "{what}: parts are left: {left:?}");
        report
    }
}

/// Entries of all logs in a store.
pub(super) fn entries(copy: &Copy) -> Vec<evidence::entry::Entry> {
    let segments = copy.files.iter().filter(|(key, _)| key.contains("/seg/"));
    let bytes = segments.filter_map(|(_, versions)| versions[0].bytes.as_deref());
    let lines = bytes.flat_map(|bytes| bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()));
    lines
        .filter_map(|line| evidence::entry::Entry::parse(line).ok())
        .collect()
}

/// Names of all records in all objects that a log names.
pub(super) fn archived(copy: &Copy) -> Vec<String> {
    let mut names = Vec::new();
    for entry in entries(copy) {
        let evidence::entry::Kind::Obj(obj) = entry.kind else {
            continue;
        };
        let stored = copy.files[&obj.key][0].bytes.as_deref().expect("it is there");
        let plain = zstd::decode_all(stored).expect("it is zstd");
        assert_eq!(plain.len() as u64, obj.raw);
        let request = ExportLogsServiceRequest::decode(&plain[..]).expect("it is one request");
        let mut own = Vec::new();
        for group in request.resource_logs {
            for record in group.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                if let Some(Value::StringValue(name)) = record.body.and_then(|body| body.value) {
                    let own_tenant = name.starts_with(&format!("{}/", obj.tenant));
                    assert!(own_tenant || obj.tenant == "all", "{name} of {}", obj.tenant);
                    own.push(name);
                }
            }
        }
        assert_eq!(own.len() as u64, obj.n);
        names.extend(own);
    }
    names
}

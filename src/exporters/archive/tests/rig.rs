//! A journal, a store and a clock for the exporter, and a reader of what it wrote.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use component::prelude::*;
use component::test_kit::{Lonely, context, section};
use component::{Claim, Debts, Ending, Pieces, Seq, Set, StoreError as JournalError};
use evidence::test_kit::Store as Copy;
use evidence::time::Time;
use evidence::verify::{Level, Options, Report};
use objects::{
    Body, Class, Facts, FileStore, Get, Head, Listed, ObjectStore, Put, PutOutcome, Retention, StoreError,
    Version, VersionMark,
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use parking_lot::Mutex;
use prost::Message;
use tokio::time::Instant;

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
pub(super) fn logs(resources: &[(&str, &[String])]) -> Payload {
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

#[derive(Default)]
struct JournalState {
    records: Vec<(Payload, u64)>,
    /// Pieces that are done with, by record: how many there are, and which.
    complete: BTreeMap<u64, Pile>,
    claims: BTreeMap<String, Claim>,
    appended: HashSet<u64>,
    notes: BTreeMap<String, String>,
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
            let claimed = state
                .claims
                .values()
                .next()
                .map(|claim| claim.rules.as_str().into());
            let rules =
                of.and(claimed.or_else(|| state.notes.keys().next().map(|name| name.as_str().into())));
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
            self.state.lock().claims.insert(claim.token.clone(), claim);
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

/// A directory, with a script of answers to writes of keys with this prefix.
#[derive(Clone, Debug)]
pub(super) struct Scripted {
    pub(super) below: FileStore,
    script: Arc<Mutex<VecDeque<(String, Answer)>>>,
    /// Keys written so far.
    pub(super) puts: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub(super) fn new(dir: &Path) -> Scripted {
        Scripted {
            below: FileStore::new(dir),
            script: Arc::default(),
            puts: Arc::default(),
        }
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
            .position(|(prefix, _)| key.starts_with(prefix.as_str()))?;
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
            self.puts.lock().push(key.to_owned());
            match self.answer(key) {
                None => self.below.put(key, body, put).await,
                Some(Answer::Fail(class)) => Err(StoreError::new(class, "put", "as told")),
                Some(Answer::Conflict) => Ok(PutOutcome::Conflict),
                Some(Answer::Lost) => {
                    self.below.put(key, body, put).await?;
                    Err(StoreError::new(
                        Class::Retry { after: None },
                        "put",
                        "the answer was lost",
                    ))
                }
                Some(Answer::Squatted) => {
                    let other = Put {
                        sha256: super::super::spool::sha256(b"squatter"),
                        if_absent: true,
                        ..Put::default()
                    };
                    self.below
                        .put(key, Body::Bytes("squatter".into()), &other)
                        .await?;
                    self.below.put(key, body, put).await
                }
            }
        })
    }

    fn get<'a>(&'a self, key: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Get, StoreError>> {
        self.below.get(key, version)
    }

    fn head<'a>(&'a self, key: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Head, StoreError>> {
        self.below.head(key, version)
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, StoreError>> {
        self.below.list(prefix, after)
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

/// Directories, a journal, a store: what survives a life of the exporter.
pub(super) struct Rig {
    pub(super) dir: tempfile::TempDir,
    pub(super) journal: Arc<Journal>,
    pub(super) store: Scripted,
    pub(super) host: Arc<Lonely>,
    yaml: String,
    names: Mutex<Vec<String>>,
    clock: Clock,
}

/// 20 November 2025, 14:05 UTC.
pub(super) const NOW_MS: u64 = 1_763_647_500_000;

impl Rig {
    pub(super) fn new(yaml: &str) -> Rig {
        let dir = tempfile::tempdir().expect("a directory");
        let began = Instant::now();
        let memory = yaml.contains("ack: memory");
        Rig {
            journal: Journal::new((!memory).then_some(7)),
            store: Scripted::new(&dir.path().join("store")),
            host: Arc::default(),
            yaml: yaml.to_owned(),
            names: Mutex::default(),
            clock: Clock(Arc::new(move || NOW_MS + began.elapsed().as_millis() as u64)),
            dir,
        }
    }

    pub(super) fn state_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("state")
    }

    pub(super) fn config(&self) -> Config {
        let yaml = format!(
            "archive: logs.example.com/test\nwriter: gw-0\ncreate: true\nstate_dir: {}\nstore: {{file: {{path: {}}}}}\n{}",
            self.state_dir().display(),
            self.dir.path().join("store").display(),
            match self.yaml.contains("lock:") {
                true => self.yaml.clone(),
                false => format!("lock: {{required: false}}\n{}", self.yaml),
            }
        );
        section(&yaml)
            .parse_valid()
            .unwrap_or_else(|faults| panic!("{faults}"))
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
        let mut archive = Archive::new(self.config(), &context("archive"), self.clock.clone());
        archive.store = Some(Arc::new(self.store.clone()));
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
        let archive = self.start(cut).await.unwrap_or_else(|fault| panic!("{fault}"));
        match cut {
            0 => self.pump(&archive).await,
            _ => self.journal.pump(&archive).await,
        }
        archive.stop(Instant::now() + Duration::from_secs(120)).await;
        // Whatever a thread was writing is written.
        tokio::time::sleep(Duration::from_secs(1)).await;
        archive.cut.passed()
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
                if !key.starts_with('.') && (key.starts_with("data/") || key.starts_with("_weir/")) {
                    copy.put(&key, &bytes, None, None);
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
        let now = Time::from_millis((self.clock.0)().cast_signed());
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
        let copy = self.copy();
        let mut found = archived(&copy);
        found.sort();
        let mut expected = self.names.lock().clone();
        expected.sort();
        assert_eq!(found, expected, "{what}");
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
                    assert!(
                        name.starts_with(&format!("{}/", obj.tenant)),
                        "{name} of {}",
                        obj.tenant
                    );
                    own.push(name);
                }
            }
        }
        assert_eq!(own.len() as u64, obj.n);
        names.extend(own);
    }
    names
}

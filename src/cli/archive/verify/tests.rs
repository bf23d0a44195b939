use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use evidence::names::Origin;
use evidence::note::Signer;
use evidence::test_kit::{Store, Writer};
use objects::{
    Body, BoxFuture, Chunks, Class, FileStore, Get, Head as Told, Lock, Mode, ObjectStore, Put, PutOutcome,
    Retention, Version, VersionMark,
};

use super::super::which::Archive;
use super::*;
use crate::cli::runtime;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/evidence/testdata/vectors");
const BASE: &str = "_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab";
const HOUR: &str = "data/v1/class=std/tenant=acme/signal=logs/dt=2025-11-20/hour=14";
const PIN: &str = "pin logs.example.com/prod/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab 8 \
                   HwkvB47F/9nMDr/ZmrwMVZf7Fx8AEedsvm8eCr8Max0=\n";

fn at(text: &str) -> Time {
    text.parse().expect("a time of the test")
}

/// What somebody downloaded.
fn copy_in(dir: &Path) -> Archive {
    Archive {
        store: Arc::new(FileStore::new(dir)),
        is_copy: true,
        intervals: None,
        configured: None,
    }
}

/// The vectors after a change, and what they are for a policy that has their key.
fn changed(change: impl FnOnce(&Path), level: Level) -> Report {
    let dir = tempfile::tempdir().expect("a directory");
    copy(Path::new(VECTORS), dir.path());
    change(dir.path());
    let vkey = fs::read_to_string(dir.path().join("vkeys.txt")).expect("a key");
    let options = Options {
        level,
        ..Options::new(at("2025-11-20T14:10:00.000Z"))
    };
    let policy = Policy::parse(&format!("log {vkey}")).expect("a policy");
    run_it(&copy_in(dir.path()), policy, &options).expect("it can be read")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("the vectors") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(&from, &to).expect("a copy")),
        }
    }
}

/// The vectors as somebody downloaded them, changed, and verified at a time when all of it is under lock.
fn check(change: impl FnOnce(&Path), extra: &str, expected: (u8, &[&str])) -> Report {
    let dir = tempfile::tempdir().expect("a directory");
    copy(Path::new(VECTORS), dir.path());
    let vkey = fs::read_to_string(dir.path().join("vkeys.txt")).expect("a key");
    change(dir.path());
    let archive = copy_in(dir.path());
    let policy = Policy::parse(&format!("log {vkey}{extra}")).expect("a policy");
    let now = at("2025-11-20T14:10:00.000Z");
    let options = Options {
        level: Level::Full,
        ..Options::new(now)
    };
    let report = run_it(&archive, policy, &options).expect("it can be read");
    let words: BTreeSet<String> = report
        .findings
        .iter()
        .map(|f| format!("{:?} {:?} {}", f.claim, f.severity, f.what))
        .collect();
    let found: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(
        (report.exit, found.as_slice()),
        expected,
        "{:#?}",
        report.findings
    );
    report
}

fn run_it(archive: &Archive, policy: Policy, options: &Options) -> Result<Report, Failure> {
    let reading = Reading::of(archive);
    let work = verify(&reading, policy, options, 4, || options.now);
    runtime().expect("a runtime").block_on(work)
}

fn edit(path: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let bytes = fs::read(path).expect("a file of the vectors");
    fs::remove_file(path).expect("it may be removed");
    fs::write(path, change(bytes)).expect("it may be written");
}

fn object(dir: &Path, number: usize) -> PathBuf {
    let names = [
        "logs_gw-0_0123456789ab_0000000000.binpb.zst",
        "logs_gw-0_0123456789ab_0000000001.binpb.zst.age",
    ];
    dir.join(HOUR).join(names[number])
}

// Each row of the table of negative vectors, on a downloaded copy.

#[test]
fn a_copy_verifies() {
    let report = check(|_| {}, "", (0, &[]));
    assert_eq!((report.verdict, report.totals.present), ("verified", 2));
    let text = text::report(&report);
    for line in [
        "archive   logs.example.com/prod   period begin .. now",
        "sessions  1 (gw-0 1)   checkpoints 2   entries 8",
        "objects   2 named, 2 present, 0 missing, 0 altered   622 B   4 records",
        "I1 object integrity      PASS          read and equal for 2 of 2 (level full)",
        "I3 signatures            PASS          keys 5d6e9680",
        "C3 ledger                PASS          in 5, archived 4, removed 1, lost 0",
        "P1 lock                  NOT CHECKED",
        "VERIFIED   exit 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn a_copy_is_taken_apart() {
    let report = changed(|_| {}, Level::Decode);
    assert_eq!(report.exit, 0, "{:#?}", report.findings);
    // The other one is encrypted.
    assert_eq!((report.totals.present, report.totals.decoded), (2, 1));
    let text = text::report(&report);
    let line =
        "I1 object integrity      PASS          1 taken apart, read and equal for 2 of 2 (level decode)";
    assert!(text.lines().any(|l| l == line), "{text}");
    let change = |bytes: Vec<u8>| {
        bytes
            .iter()
            .enumerate()
            .map(|(i, b)| b ^ u8::from(i == 100))
            .collect()
    };
    let report = changed(|dir| edit(&object(dir, 0), change), Level::Decode);
    assert_eq!((report.exit, report.totals.decoded), (1, 0));
}

#[test]
fn a_byte_of_an_object() {
    let change = |bytes: Vec<u8>| {
        bytes
            .iter()
            .enumerate()
            .map(|(i, b)| b ^ u8::from(i == 200))
            .collect()
    };
    let report = check(|dir| edit(&object(dir, 1), change), "", (1, &["I1 Fail altered"]));
    let text = text::report(&report);
    let line = text
        .lines()
        .find(|line| line.starts_with("FAIL"))
        .expect("a finding");
    assert!(
        line.starts_with(&format!(
            "FAIL I1 altered  {HOUR}/logs_gw-0_0123456789ab_0000000001."
        )),
        "{line}"
    );
    assert!(line.contains("#6: expected d4709b38"), "{line}");
    assert!(text.ends_with("INTEGRITY FAILURE   exit 1\n"), "{text}");
}

#[test]
fn an_object_gone() {
    check(
        |dir| fs::remove_file(object(dir, 0)).expect("removed"),
        "",
        (2, &["C2 Fail missing"]),
    );
}

#[test]
fn a_count_changed() {
    let change = |bytes: Vec<u8>| {
        String::from_utf8(bytes)
            .expect("text")
            .replacen("\"n\":2", "\"n\":1", 1)
            .into_bytes()
    };
    let segment = |dir: &Path| dir.join(BASE).join("seg/00000000000000000000.jsonl");
    let expected = [
        "C3 Fail arch_differs",
        "I2 Fail chain_broken",
        "I2 Fail root_mismatch",
    ];
    check(|dir| edit(&segment(dir), change), "", (1, &expected));
}

#[test]
fn a_segment_gone() {
    let gone =
        |dir: &Path| fs::remove_file(dir.join(BASE).join("seg/00000000000000000000.jsonl")).expect("removed");
    let report = changed(gone, Level::Log);
    assert_eq!(report.exit, 1);
    assert!(
        report.findings.iter().any(|f| f.what == "segment_gap"),
        "{:#?}",
        report.findings
    );
}

#[test]
fn a_head_over_another() {
    let change = |dir: &Path| {
        let heads = dir.join(BASE).join("cp");
        let old = fs::read(heads.join("00000000000000000005.txt")).expect("a head");
        edit(&heads.join("00000000000000000008.txt"), |_| old);
    };
    check(change, "", (1, &["I2 Fail unsealed", "I3 Warn misnamed"]));
}

#[test]
fn the_end_cut_off_is_known_by_a_pin_alone() {
    let cut = |dir: &Path| {
        let base = dir.join(BASE);
        fs::remove_file(base.join("cp/00000000000000000008.txt")).expect("removed");
        fs::remove_file(base.join("seg/00000000000000000005.jsonl")).expect("removed");
        fs::remove_file(object(dir, 1)).expect("removed");
    };
    check(cut, "", (0, &[]));
    check(cut, PIN, (2, &["C5 Fail cut_off"]));
    check(|_| {}, PIN, (0, &[]));
}

#[test]
fn an_index_changed() {
    let change = |bytes: Vec<u8>| {
        String::from_utf8(bytes)
            .expect("text")
            .replacen("\"i\":5", "\"i\":6", 1)
            .into_bytes()
    };
    let segment = |dir: &Path| dir.join(BASE).join("seg/00000000000000000005.jsonl");
    let report = changed(|dir| edit(&segment(dir), change), Level::Full);
    assert_eq!(report.exit, 1);
}

#[test]
fn a_strangers_signature() {
    let change = |dir: &Path| {
        let stranger = Signer::from_seed(&[9; 32]).expect("a key");
        for size in ["00000000000000000005", "00000000000000000008"] {
            let path = dir.join(BASE).join(format!("cp/{size}.txt"));
            edit(&path, |bytes| {
                let text = evidence::note::Note::parse(&bytes)
                    .expect("a note")
                    .text()
                    .to_owned();
                let origin = text.lines().next().expect("an origin").to_owned();
                let mut note = evidence::note::Note::new(text).expect("a note");
                note.sign(&origin, &stranger).expect("signed");
                note.to_string().into_bytes()
            });
        }
    };
    let report = changed(change, Level::Log);
    assert_eq!(report.exit, 1);
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.claim == evidence::verify::Claim::I3),
        "{:#?}",
        report.findings
    );
}

// A store with versions and locks.

/// The archive of a test as a store: pages of two, and errors on demand.
#[derive(Debug, Default)]
struct Memory {
    kept: Store,
    /// Keys that cannot be read, and how often that is said before they can.
    refused: Vec<(String, Class, usize)>,
    asked: AtomicUsize,
    /// Objects that are being asked for, and the most there were at a time.
    open: AtomicUsize,
    most: Arc<AtomicUsize>,
}

impl Memory {
    /// Lets others ask meanwhile.
    async fn turn(&self, key: &str) {
        if !key.starts_with(DATA) {
            return;
        }
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn find(&self, key: &str, version: Option<&str>) -> Result<Told, StoreError> {
        let seconds = |time: Time| u64::try_from(time.millis() / 1_000).ok();
        let told = |v: &evidence::test_kit::Version| Told {
            size: v.bytes.as_ref().map_or(0, |b| b.len() as u64),
            sha256: v.bytes.as_ref().map(|b| evidence::digest::sha256(b).0),
            version: v.id.clone(),
            last_modified: v.modified.and_then(seconds),
            lock: v.lock.as_ref().map_or_else(Lock::default, |lock| Lock {
                retention: lock.retention.as_ref().map(|(_, until)| Retention {
                    mode: Mode::Compliance,
                    until: u64::try_from(until.seconds()).expect("after 1970"),
                }),
                legal_hold: lock.hold,
            }),
            ..Told::default()
        };
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        if let Some((_, class, _)) = self
            .refused
            .iter()
            .find(|(k, _, until)| k == key && asked < *until)
        {
            return Err(StoreError::new(*class, "GetObject", "no"));
        }
        self.version(key, version).map(told)
    }

    fn version(&self, key: &str, id: Option<&str>) -> Result<&evidence::test_kit::Version, StoreError> {
        let versions = self.kept.files.get(key).into_iter().flatten();
        let mut fit =
            versions.filter(|v| v.bytes.is_some() && id.is_none_or(|id| v.id.as_deref() == Some(id)));
        fit.next_back()
            .ok_or_else(|| StoreError::new(Class::NotFound, "GetObject", ""))
    }
}

impl ObjectStore for Memory {
    fn place(&self) -> &str {
        "memory"
    }

    fn put<'a>(&'a self, _: &'a str, _: Body, _: &'a Put) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        unreachable!("a verifier writes nothing")
    }

    fn get<'a>(&'a self, key: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Get, StoreError>> {
        Box::pin(async move {
            self.turn(key).await;
            let head = self.find(key, version)?;
            let bytes = self.version(key, version)?.bytes.clone().unwrap_or_default();
            Ok(Get {
                head,
                body: Chunks::of(bytes.into()),
            })
        })
    }

    fn head<'a>(&'a self, key: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Told, StoreError>> {
        Box::pin(async move {
            self.turn(key).await;
            self.find(key, version)
        })
    }

    fn list<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Vec<objects::Listed>, StoreError>> {
        unreachable!("a verifier lists versions")
    }

    fn list_versions<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a VersionMark>,
    ) -> BoxFuture<'a, Result<(Vec<Version>, Option<VersionMark>), StoreError>> {
        let from: usize = after.map_or(0, |mark| mark.version.parse().expect("our own mark"));
        let all = self.kept.list(prefix);
        let page = all.iter().skip(from).take(2).map(|listed| Version {
            key: listed.key.clone(),
            version: listed.version.clone(),
            is_latest: false,
            delete_marker: listed.deleted,
            size: 0,
            last_modified: listed
                .modified
                .and_then(|t| u64::try_from(t.millis() / 1_000).ok()),
        });
        let next = (from + 2 < all.len()).then(|| VersionMark {
            key: prefix.to_owned(),
            version: (from + 2).to_string(),
        });
        Box::pin(std::future::ready(Ok((page.collect(), next))))
    }

    fn delete<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        unreachable!("a verifier deletes nothing")
    }

    fn put_legal_hold<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
        _: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        unreachable!("a verifier holds nothing")
    }

    fn put_retention<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
        _: Retention,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        unreachable!("a verifier locks nothing")
    }

    fn facts(&self) -> BoxFuture<'_, objects::Facts> {
        unreachable!("a verifier asks for objects")
    }
}

/// Two writers of a bucket with locks, some 40 objects in 20 segments each; what their policy is.
fn bucket() -> (Store, String, Time) {
    let (mut store, mut policy) = (Store::default(), String::new());
    let begin = at("2025-11-20T14:00:00.000Z");
    let mut now = begin;
    for (writer, seed) in [("gw-0", 1), ("gw-1", 2)] {
        let session = Session::new(begin, [seed; 10]);
        let origin = Origin::new("a/b", writer, session).expect("a name");
        let signer = Signer::from_seed(&[seed; 32]).expect("a key");
        let mut writer = Writer::open(origin, signer, begin, None);
        for n in 0..20_u8 {
            for (tenant, byte) in [("acme", n), ("zeta", n + 100)] {
                writer.object(&mut store, tenant, 1, &[byte, seed]);
            }
            writer.seal(&mut store);
            writer.wait(60_000);
        }
        writer.close(&mut store, "stop", None);
        policy.push_str(&writer.log_line());
        now = writer.now;
    }
    (store, policy, now)
}

fn of_bucket(memory: Memory, policy: &str, options: &Options) -> Result<Report, Failure> {
    let archive = Archive {
        store: Arc::new(memory),
        is_copy: false,
        intervals: None,
        configured: None,
    };
    run_it(&archive, Policy::parse(policy).expect("a policy"), options)
}

#[track_caller]
fn check_bucket(change: impl FnOnce(&mut Store), options: &Options, expected: (u8, &[&str])) -> Report {
    let (mut kept, policy, _) = bucket();
    change(&mut kept);
    let report = of_bucket(
        Memory {
            kept,
            ..Memory::default()
        },
        &policy,
        options,
    )
    .expect("it can be read");
    let words: Vec<String> = report
        .findings
        .iter()
        .map(|f| format!("{:?} {:?} {}", f.claim, f.severity, f.what))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(
        (report.exit, words.as_slice()),
        expected,
        "{:#?}",
        report.findings
    );
    report
}

fn first_object(store: &Store) -> String {
    store.list(DATA).first().expect("an object").key.clone()
}

#[test]
fn a_bucket_with_what_an_administrator_did_to_it() {
    let (_, _, now) = bucket();
    let heads = Options::new(now);
    let report = check_bucket(|_| {}, &heads, (0, &[]));
    let totals = report.totals;
    assert_eq!((totals.objects, totals.present, totals.records), (80, 80, 80));
    let full = Options {
        level: Level::Full,
        ..heads.clone()
    };
    check_bucket(|_| {}, &full, (0, &[]));
    let log = Options {
        level: Level::Log,
        ..heads.clone()
    };
    assert_eq!(check_bucket(|_| {}, &log, (0, &[])).totals.present, 0);

    let again = |store: &mut Store| {
        let key = first_object(store);
        store.put(&key, b"another", Some(now), None);
    };
    check_bucket(again, &heads, (0, &["C2 Warn shadowed"]));
    let strict = Options {
        warnings_as_errors: true,
        ..heads.clone()
    };
    check_bucket(again, &strict, (3, &["C2 Warn shadowed"]));
    let marked = |store: &mut Store| {
        let key = first_object(store);
        let marker = evidence::test_kit::Version {
            id: Some("m".into()),
            bytes: None,
            modified: Some(now),
            lock: None,
        };
        store.files.get_mut(&key).expect("an object").push(marker);
    };
    check_bucket(marked, &heads, (0, &["C2 Warn delete_marked"]));
    let removed = |store: &mut Store| drop(store.files.remove(&first_object(store)));
    check_bucket(removed, &heads, (2, &["C2 Fail missing"]));
    let shortened = |store: &mut Store| {
        let key = first_object(store);
        let lock = store.files.get_mut(&key).expect("an object")[0]
            .lock
            .as_mut()
            .expect("a lock");
        lock.retention.as_mut().expect("a retention").1 = "2026-01-01T00:00:00Z".parse().expect("a second");
    };
    check_bucket(shortened, &heads, (3, &["P1 Fail weaker_lock"]));
    let unlocked = |store: &mut Store| {
        let key = first_object(store);
        store.files.get_mut(&key).expect("an object")[0].lock = None;
    };
    check_bucket(unlocked, &heads, (3, &["P1 Fail no_lock"]));
    let unnamed = |store: &mut Store| {
        drop(store.put("data/v1/stray", b"x", Some(at("2025-11-17T00:00:00.000Z")), None))
    };
    check_bucket(unnamed, &heads, (2, &["C2 Fail orphan"]));
    let young = |store: &mut Store| drop(store.put("data/v1/stray", b"x", Some(now), None));
    check_bucket(young, &heads, (0, &["C2 Warn orphan"]));
    let later = Time::from_millis(now.millis() + 1_000);
    check_bucket(
        |store| drop(store.put("data/v1/stray", b"x", Some(later), None)),
        &heads,
        (0, &[]),
    );
}

#[test]
fn a_part_of_a_bucket() {
    let (_, _, now) = bucket();
    let part = |options: Options, named: u64| {
        let totals = check_bucket(|_| {}, &options, (0, &[])).totals;
        assert_eq!((totals.objects, totals.present), (named, named));
    };
    part(
        Options {
            tenant: Some("acme".into()),
            ..Options::new(now)
        },
        40,
    );
    for (class, named) in [("std", 80), ("pci", 0)] {
        let class = Some(class.to_owned());
        part(
            Options {
                class,
                ..Options::new(now)
            },
            named,
        );
    }
    part(
        Options {
            signal: Some("traces".into()),
            ..Options::new(now)
        },
        0,
    );
    part(
        Options {
            from: Some(at("2025-11-20T14:10:00.000Z")),
            ..Options::new(now)
        },
        40,
    );
    part(
        Options {
            to: Some(at("2025-11-20T14:01:00.000Z")),
            ..Options::new(now)
        },
        4,
    );
    let acme = Options {
        tenant: Some("acme".into()),
        ..Options::new(now)
    };
    let stray =
        |tenant: &str| format!("data/v1/class=std/tenant={tenant}/signal=logs/dt=2025-11-20/hour=14/x");
    check_bucket(
        |store| drop(store.put(&stray("zeta"), b"x", Some(now), None)),
        &acme,
        (0, &[]),
    );
    check_bucket(
        |store| drop(store.put(&stray("acme"), b"x", Some(now), None)),
        &acme,
        (0, &["C2 Warn orphan"]),
    );
    let early = Options {
        to: Some(at("2025-11-20T13:59:00.000Z")),
        ..Options::new(now)
    };
    check_bucket(
        |store| drop(store.put(&stray("acme"), b"x", Some(now), None)),
        &early,
        (0, &[]),
    );
}

#[test]
fn what_cannot_be_read_is_no_failure_of_the_archive() {
    let (kept, policy, now) = bucket();
    let options = Options::new(now);
    let object = first_object(&kept);
    let segment = kept
        .list(EVIDENCE)
        .into_iter()
        .find(|l| l.key.contains("/seg/"))
        .expect("a segment")
        .key;
    let with = |key: &str, class: Class| Memory {
        kept: kept.clone(),
        refused: vec![(key.to_owned(), class, usize::MAX)],
        ..Memory::default()
    };
    let report = of_bucket(with(&object, Class::Denied), &policy, &options).expect("a report");
    assert_eq!(
        (report.verdict, report.exit, report.troubles.len()),
        ("unknown", 4, 1)
    );
    assert!(report.troubles[0].starts_with(&object), "{:?}", report.troubles);
    assert!(text::report(&report).ends_with("UNKNOWN   exit 4\n"));
    let failure = of_bucket(with(&segment, Class::Denied), &policy, &options).expect_err("no verdict");
    assert_eq!(
        failure,
        Failure::unknown(format!("memory/{segment}: GetObject: no"))
    );
    let failure = of_bucket(with(&segment, Class::NotFound), &policy, &options).expect_err("no verdict");
    assert_eq!(failure.exit, 4);
    let nothing = of_bucket(Memory::default(), &policy, &options).expect("a report");
    assert_eq!((nothing.verdict, nothing.exit), ("unknown", 4));
}

#[test]
fn files_that_are_too_long_are_read_as_far_as_they_may_be() {
    let (mut kept, _, _) = bucket();
    kept.put("long", &[7; 100], None, None);
    let archive = Archive {
        store: Arc::new(Memory {
            kept,
            ..Memory::default()
        }),
        is_copy: false,
        intervals: None,
        configured: None,
    };
    let reading = Reading::of(&archive);
    let runtime = runtime().expect("a runtime");
    let check = |max: usize, expected: usize| {
        let read = runtime.block_on(reading.bytes("long", None, max));
        assert_eq!(read.expect("it is there").len(), expected);
    };
    check(99, 100);
    check(10, 11);
    check(100, 100);
    check(200, 100);
}

#[test]
fn so_many_objects_are_looked_up_at_a_time_and_no_more() {
    let (kept, policy, now) = bucket();
    for level in [Level::Heads, Level::Full] {
        let most = Arc::new(AtomicUsize::new(0));
        let memory = Memory {
            kept: kept.clone(),
            most: most.clone(),
            ..Memory::default()
        };
        let options = Options {
            level,
            ..Options::new(now)
        };
        let report = of_bucket(memory, &policy, &options).expect("it can be read");
        assert_eq!((report.exit, report.totals.present), (0, 80));
        // `run_it` says four.
        assert_eq!(most.load(Ordering::Relaxed), 4, "{level:?}");
    }
}

/// What JSON says at each level, for programs that read it.
#[test]
fn json_has_the_keys_that_it_is_known_by() {
    for level in ["log", "heads", "full"] {
        let options: Level = serde_json::from_value(level.into()).expect("a level");
        let report = serde_json::to_value(changed(|_| {}, options)).expect("it serializes");
        let keys: Vec<&str> = report
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        for key in [
            "v",
            "tool",
            "archive",
            "from",
            "to",
            "level",
            "started",
            "finished",
            "policy_sha256",
            "verdict",
            "exit",
            "claims",
            "sessions",
            "totals",
            "findings",
        ] {
            assert!(keys.contains(&key), "{key} of {keys:?}");
        }
        assert_eq!((&report["v"], &report["exit"]), (&1.into(), &0.into()));
        assert_eq!(
            (&report["verdict"], &report["level"]),
            (&"verified".into(), &level.into())
        );
        let mut claims: Vec<&String> = report["claims"].as_object().expect("claims").keys().collect();
        claims.sort_unstable();
        assert_eq!(
            claims,
            ["C1", "C2", "C3", "C4", "C5", "I1", "I2", "I3", "P1", "P2"]
        );
        let i1 = match level {
            "log" => "not_checked",
            _ => "pass",
        };
        assert_eq!(report["claims"]["I1"]["result"], i1, "{level}");
        let session = &report["sessions"][0];
        assert_eq!(
            session["origin"],
            "logs.example.com/prod/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab"
        );
        assert_eq!(
            (&session["size"], &session["keys"]),
            (&8.into(), &json!(["5d6e9680"]))
        );
        let totals = &report["totals"];
        assert_eq!((&totals["objects"], &totals["records"]), (&2.into(), &4.into()));
    }
}

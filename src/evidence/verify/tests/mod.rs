use super::*;
use crate::entry::{Adopted, Audit, Gap, Hold, Key, Kind, Ledger, Peer, PeerHead, Row, Start, Worm};
use crate::names::Session;
use crate::note::{Endorsement, Policy, SignedHead, Signer};
use crate::test_kit::{Store, Writer, options};

const BASE: &str = "_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab";
const DATA: &str = "data/v1/class=std/tenant=acme/signal=logs/dt=2025-11-20/hour=14/";
const OBJECT_0: &str = "logs_gw-0_0123456789ab_0000000000.binpb.zst";
const OBJECT_1: &str = "logs_gw-0_0123456789ab_0000000001.binpb.zst.age";
const ORIGIN: &str = "logs.example.com/prod/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab";
const VKEY: &str = include_str!("../../testdata/vectors/vkeys.txt");
const PIN: &str = "pin logs.example.com/prod/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab 8 \
                   HwkvB47F/9nMDr/ZmrwMVZf7Fx8AEedsvm8eCr8Max0=\n";

macro_rules! vector {
    ($path:literal) => {
        include_bytes!(concat!("../../testdata/vectors/", $path))
    };
}

/// The vectors as a store would hold them.
fn vectors() -> Store {
    let mut store = Store::default();
    let until = "2026-11-21T00:00:00Z".parse().expect("a second");
    let lock = LockFacts {
        retention: Some(("COMPLIANCE".to_owned(), until)),
        hold: false,
    };
    let mut file = |key: String, bytes: &[u8], version: &str, at: &str, lock: Option<LockFacts>| {
        store.put(&key, bytes, Some(at.parse().expect("a time")), lock);
        let versions = store.files.get_mut(&key).expect("put there just now");
        versions[0].id = Some(version.to_owned());
    };
    file(
        format!("{DATA}{OBJECT_0}"),
        vector!(
            "data/v1/class=std/tenant=acme/signal=logs/dt=2025-11-20/hour=14/logs_gw-0_0123456789ab_0000000000.binpb.zst"
        ),
        "3HL4kqtJvjVBH40Nrjfkd0wyWd1ubG1q",
        "2025-11-20T14:05:31.000Z",
        Some(lock.clone()),
    );
    file(
        format!("{DATA}{OBJECT_1}"),
        vector!(
            "data/v1/class=std/tenant=acme/signal=logs/dt=2025-11-20/hour=14/logs_gw-0_0123456789ab_0000000001.binpb.zst.age"
        ),
        "Bv2mXyJ8C1dQkR7sT0uWzE5aHf9gLpNo",
        "2025-11-20T14:06:31.000Z",
        Some(lock),
    );
    let at = "2025-11-20T14:07:00.000Z";
    let evidence: [(&str, &[u8]); 4] = [
        (
            "seg/00000000000000000000.jsonl",
            vector!("_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/seg/00000000000000000000.jsonl"),
        ),
        (
            "seg/00000000000000000005.jsonl",
            vector!("_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/seg/00000000000000000005.jsonl"),
        ),
        (
            "cp/00000000000000000005.txt",
            vector!("_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/cp/00000000000000000005.txt"),
        ),
        (
            "cp/00000000000000000008.txt",
            vector!("_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab/cp/00000000000000000008.txt"),
        ),
    ];
    for (name, bytes) in evidence {
        file(format!("{BASE}/{name}"), bytes, name, at, None);
    }
    store
}

fn later() -> Time {
    "2025-11-20T14:10:00.000Z".parse().expect("a time")
}

fn policy() -> String {
    format!("log {VKEY}")
}

fn words(report: &Report) -> Vec<String> {
    let word = |f: &Finding| format!("{:?} {:?} {}", f.claim, f.severity, f.what);
    report.findings.iter().map(word).collect()
}

#[track_caller]
fn check(store: &Store, policy: &str, exit: u8, expected: &[&str]) -> Report {
    let report = store.verify(policy, &options(later()));
    assert_eq!(words(&report), expected, "{:#?}", report.findings);
    assert_eq!(report.exit, exit);
    report
}

#[test]
fn the_vectors_verify() {
    let report = check(&vectors(), &policy(), 0, &[]);
    assert_eq!(report.verdict, "verified");
    assert_eq!(report.archive.as_deref(), Some("logs.example.com/prod"));
    assert_eq!(
        report.sessions,
        [SessionResult {
            origin: ORIGIN.to_owned(),
            size: 8,
            root: Digest::from_base64("HwkvB47F/9nMDr/ZmrwMVZf7Fx8AEedsvm8eCr8Max0=").ok(),
            keys: vec!["5d6e9680".to_owned()],
            closed: false,
        }]
    );
    let totals = report.totals;
    assert_eq!(
        (totals.objects, totals.present, totals.bytes, totals.records),
        (2, 2, 622, 4)
    );
    assert_eq!((totals.entries, totals.checkpoints), (8, 2));
    assert_eq!((totals.admitted, totals.removed, totals.lost), (5, 1, 0));
    assert_eq!(report.earliest_unlock, "2026-11-21T00:00:00Z".parse().ok());
    for (claim, result) in &report.claims {
        assert_eq!(result.result, Outcome::Pass, "{claim:?}");
    }
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["claims"]["I1"]["result"], "pass");
    assert_eq!(json["claims"]["I1"]["checked"], 2);
    assert_eq!(json["level"], "full");
    assert_eq!(
        json["sessions"][0]["root"],
        "HwkvB47F/9nMDr/ZmrwMVZf7Fx8AEedsvm8eCr8Max0="
    );
    assert!(
        json["not_proved"][0]
            .as_str()
            .is_some_and(|s| s.contains("source"))
    );
    // On level log nothing is said of objects.
    let report = vectors().verify(
        &policy(),
        &Options {
            level: Level::Log,
            ..options(later())
        },
    );
    assert_eq!(report.exit, 0);
    assert_eq!(report.claims[&Claim::I1].result, Outcome::NotChecked);
    assert_eq!(report.claims[&Claim::P1].result, Outcome::NotChecked);
    assert_eq!(report.totals.objects, 2);
}

// Each row of the table of negative vectors.

#[test]
fn one_byte_of_an_object_changed() {
    let mut store = vectors();
    store.bytes(&format!("{DATA}{OBJECT_1}"))[200] ^= 1;
    let report = check(&store, &policy(), 1, &["I1 Fail altered"]);
    assert_eq!(report.findings[0].place, format!("{DATA}{OBJECT_1}"));
    assert!(
        report.findings[0].detail.contains("#6: expected d4709b38"),
        "{}",
        report.findings[0].detail
    );
    assert_eq!(report.totals.altered, 1);
}

#[test]
fn an_object_removed() {
    let mut store = vectors();
    store.files.remove(&format!("{DATA}{OBJECT_0}"));
    let report = check(&store, &policy(), 2, &["C2 Fail missing"]);
    assert_eq!(report.totals.missing, 1);
    let at = |now: &str| {
        let now = now.parse().expect("a time");
        store.verify(&policy(), &options(now)).totals
    };
    assert_eq!(at("2026-11-21T00:00:00.000Z").missing, 1);
    let after = at("2026-11-21T00:00:00.001Z");
    assert_eq!((after.missing, after.expired), (0, 1));
}

#[test]
fn a_count_in_an_entry_changed() {
    let mut store = vectors();
    let key = format!("{BASE}/seg/00000000000000000000.jsonl");
    let text = String::from_utf8(store.bytes(&key).clone())
        .expect("text")
        .replacen("\"n\":2", "\"n\":1", 1);
    *store.bytes(&key) = text.into_bytes();
    let report = check(
        &store,
        &policy(),
        1,
        &[
            "I2 Fail root_mismatch",
            "I2 Fail chain_broken",
            "I2 Fail root_mismatch",
            "C3 Fail arch_differs",
        ],
    );
    assert!(report.findings[0].place.ends_with("cp/00000000000000000005.txt"));
    assert!(
        report.findings[1]
            .place
            .ends_with("seg/00000000000000000005.jsonl")
    );
    assert!(report.findings[2].place.ends_with("cp/00000000000000000008.txt"));
}

#[test]
fn a_segment_removed() {
    let mut store = vectors();
    store
        .files
        .remove(&format!("{BASE}/seg/00000000000000000000.jsonl"));
    let report = store.verify(&policy(), &options(later()));
    assert_eq!(report.exit, 1);
    let words = words(&report);
    assert!(words.contains(&"C1 Fail segment_gap".to_owned()), "{words:?}");
    assert_eq!(
        words.iter().filter(|w| *w == "I2 Fail root_mismatch").count(),
        2,
        "{words:?}"
    );
}

#[test]
fn a_head_copied_over_another() {
    let mut store = vectors();
    let old = store
        .bytes(&format!("{BASE}/cp/00000000000000000005.txt"))
        .clone();
    *store.bytes(&format!("{BASE}/cp/00000000000000000008.txt")) = old;
    let report = check(&store, &policy(), 1, &["I2 Fail unsealed", "I3 Warn misnamed"]);
    assert!(
        report.findings[0].detail.starts_with("entries 5..7 "),
        "{}",
        report.findings[0].detail
    );
    let young = "2025-11-20T14:07:30.000Z".parse().expect("a time");
    let report = store.verify(&policy(), &options(young));
    assert_eq!(words(&report), ["I2 Warn unsealed", "I3 Warn misnamed"]);
    assert_eq!(report.exit, 0);
}

#[test]
fn the_tail_cut_off() {
    let mut store = vectors();
    store
        .files
        .remove(&format!("{BASE}/seg/00000000000000000005.jsonl"));
    store.files.remove(&format!("{BASE}/cp/00000000000000000008.txt"));
    // What nobody outside remembers cannot be missed; its object can.
    let report = check(&store, &policy(), 0, &["C2 Warn orphan"]);
    assert_eq!(report.sessions[0].size, 5);
    check(
        &store,
        &format!("{}{PIN}", policy()),
        2,
        &["C2 Warn orphan", "C5 Fail cut_off"],
    );
    check(&vectors(), &format!("{}{PIN}", policy()), 0, &[]);
}

#[test]
fn an_index_changed() {
    let mut store = vectors();
    let key = format!("{BASE}/seg/00000000000000000005.jsonl");
    let text = String::from_utf8(store.bytes(&key).clone())
        .expect("text")
        .replacen("\"i\":5", "\"i\":6", 1);
    *store.bytes(&key) = text.into_bytes();
    check(&store, &policy(), 1, &["I2 Fail index", "I2 Fail root_mismatch"]);
}

#[test]
fn signed_with_another_key() {
    let mut store = vectors();
    let origin: Origin = ORIGIN.parse().expect("an origin");
    let root = Digest::from_base64("HwkvB47F/9nMDr/ZmrwMVZf7Fx8AEedsvm8eCr8Max0=").expect("a digest");
    let stranger = Signer::generate().expect("a key");
    let forged = SignedHead::new(&origin, 8, root, &[&stranger]).expect("a head");
    *store.bytes(&forged.key) = forged.note.into_bytes();
    check(&store, &policy(), 1, &["I2 Fail unsealed", "I3 Fail unsigned"]);
    // The right name and id, the wrong signature.
    let text = String::from_utf8(vectors().bytes(&forged.key).clone())
        .expect("text")
        .replace("gJWW", "gJWX");
    *store.bytes(&forged.key) = text.into_bytes();
    check(
        &store,
        &policy(),
        1,
        &["I2 Fail unsealed", "I3 Fail bad_signature"],
    );
    // Nobody is trusted.
    let report = vectors().verify("", &options(later()));
    assert_eq!(report.exit, 1);
    assert_eq!(report.claims[&Claim::I3].result, Outcome::Fail);
}

#[test]
fn a_lock_shorter_than_promised() {
    let check_lock = |mode: &str, until: &str, expected: &[&str]| {
        let mut store = vectors();
        let until = until.parse().expect("a second");
        let versions = store
            .files
            .get_mut(&format!("{DATA}{OBJECT_0}"))
            .expect("an object");
        versions[0].lock = Some(LockFacts {
            retention: Some((mode.to_owned(), until)),
            hold: false,
        });
        check(
            &store,
            &policy(),
            if expected.is_empty() { 0 } else { 3 },
            expected,
        );
    };
    check_lock("COMPLIANCE", "2026-11-21T00:00:00Z", &[]);
    check_lock("COMPLIANCE", "2030-11-21T00:00:00Z", &[]);
    check_lock("COMPLIANCE", "2026-11-20T23:59:59Z", &["P1 Fail weaker_lock"]);
    check_lock("GOVERNANCE", "2026-11-21T00:00:00Z", &["P1 Fail weaker_lock"]);
    let mut store = vectors();
    let versions = store
        .files
        .get_mut(&format!("{DATA}{OBJECT_0}"))
        .expect("an object");
    versions[0].lock = Some(LockFacts {
        retention: None,
        hold: true,
    });
    check(&store, &policy(), 3, &["P1 Fail no_lock"]);
}

// Beyond the table.

#[test]
fn what_hides_a_version_is_told_and_does_no_harm() {
    let mut store = vectors();
    let object = format!("{DATA}{OBJECT_0}");
    let segment = format!("{BASE}/seg/00000000000000000005.jsonl");
    store.put(&object, b"newer", Some(later()), None);
    store.put(&segment, b"newer", Some(later()), None);
    for key in [
        format!("{DATA}{OBJECT_1}"),
        format!("{BASE}/cp/00000000000000000008.txt"),
    ] {
        let marker = crate::test_kit::Version {
            id: Some("marker".to_owned()),
            bytes: None,
            modified: Some(later()),
            lock: None,
        };
        store.files.get_mut(&key).expect("a file").push(marker);
    }
    check(
        &store,
        &policy(),
        0,
        &[
            "I2 Warn delete_marked",
            "I2 Warn shadowed",
            "C2 Warn shadowed",
            "C2 Warn delete_marked",
        ],
    );
    let strict = Options {
        warnings_as_errors: true,
        ..options(later())
    };
    assert_eq!(store.verify(&policy(), &strict).exit, 3);
}

#[test]
fn clocks_are_compared() {
    let check_clock = |at: &str, expected: &[&str]| {
        let mut store = vectors();
        let versions = store
            .files
            .get_mut(&format!("{DATA}{OBJECT_0}"))
            .expect("an object");
        versions[0].modified = Some(at.parse().expect("a time"));
        let exit = if expected.iter().any(|w| w.contains("Fail")) {
            3
        } else {
            0
        };
        check(&store, &policy(), exit, expected);
    };
    check_clock("2025-11-20T14:10:31.480Z", &[]);
    check_clock("2025-11-20T14:10:31.481Z", &["P2 Warn clock"]);
    check_clock("2025-11-20T14:20:31.480Z", &["P2 Warn clock"]);
    check_clock("2025-11-20T14:20:31.481Z", &["P2 Fail clock"]);
    // Stored before its last record was admitted, at 14:05:00.200.
    check_clock("2025-11-20T14:00:00.200Z", &[]);
    check_clock("2025-11-20T14:00:00.199Z", &["P2 Warn clock"]);
    check_clock("2025-11-20T13:50:00.199Z", &["P2 Fail clock"]);
}

#[test]
fn an_orphan_ages() {
    let mut store = vectors();
    store.put(
        "data/v1/x",
        b"x",
        Some("2025-11-18T14:10:00.000Z".parse().expect("a time")),
        None,
    );
    check(&store, &policy(), 0, &["C2 Warn orphan"]);
    store.put(
        "data/v1/y",
        b"y",
        Some("2025-11-18T14:09:59.999Z".parse().expect("a time")),
        None,
    );
    let report = check(&store, &policy(), 2, &["C2 Fail orphan", "C2 Warn orphan"]);
    assert_eq!(report.totals.orphans, 2);
}

#[test]
fn what_cannot_be_read_leaves_the_verdict_open() {
    let options = options(later());
    let trust = Trust::new(Policy::parse(&policy()).expect("a policy"));
    let mut verifier = Verifier::new(trust.clone(), options.clone(), &Inventory::default());
    verifier.trouble("access denied".to_owned());
    let report = verifier.finish(later(), later());
    assert_eq!((report.verdict, report.exit), ("unknown", 4));
    // A failure that is certain is said all the same.
    let mut verifier = Verifier::new(trust, options, &Inventory::default());
    verifier.data(&Listed {
        key: "data/x".to_owned(),
        modified: Some(Time::from_millis(0)),
        ..Listed::default()
    });
    verifier.trouble("access denied".to_owned());
    assert_eq!(verifier.finish(later(), later()).exit, 2);
}

// Archives of the test's own.

fn at(millis: i64) -> Time {
    Time::from_millis(1_763_647_500_000 + millis)
}

fn origin(writer: &str, n: u8) -> Origin {
    Origin::new("logs.example.com/prod", writer, Session::new(at(0), [n; 10])).expect("names")
}

fn key(n: u8) -> Signer {
    Signer::from_seed(&[n; 32]).expect("a key")
}

fn writer(name: &str, n: u8) -> Writer {
    Writer::open(origin(name, n), key(n), at(0), None)
}

#[track_caller]
fn verified(store: &Store, policy: &str, now: Time, expected: &[&str]) -> Report {
    let report = store.verify(policy, &options(now));
    assert_eq!(words(&report), expected, "{:#?}", report.findings);
    report
}

#[test]
fn gaps_and_what_is_in_flight_are_declared() {
    let finish = |pend: Vec<[u64; 2]>, gap: Option<u64>, close: bool, expected: &[&str]| {
        let mut store = Store::default();
        let mut w = writer("gw-0", 1);
        w.object(&mut store, "acme", 3, b"one");
        w.seq = 2;
        w.object(&mut store, "acme", 3, b"three");
        if let Some(seq) = gap {
            w.append(Kind::Gap(Gap {
                seq: Some(seq),
                seqs: None,
                why: "spool_lost".to_owned(),
                n: Some(0),
                detail: String::new(),
                adopted: None,
            }));
        }
        let ledger = w.ledger(pend);
        w.append(Kind::Ledger(ledger));
        w.seal_bare(&mut store, true);
        if close {
            w.append(Kind::Close(crate::entry::Close {
                why: "shutdown".to_owned(),
                next_session: None,
            }));
            w.seal_bare(&mut store, true);
        }
        verified(&store, &w.log_line(), w.now, expected);
    };
    finish(Vec::new(), Some(1), true, &[]);
    finish(vec![[1, 1]], None, false, &[]);
    finish(vec![[1, 1], [3, 4]], None, false, &[]);
    finish(vec![[1, 1]], None, true, &["C2 Fail seq_missing"]);
    finish(vec![[3, 3]], Some(1), true, &["C2 Fail seq_missing"]);
    finish(vec![[1, 3]], Some(1), false, &[]);
    finish(Vec::new(), None, false, &["C2 Fail seq_missing"]);
    finish(
        Vec::new(),
        Some(2),
        false,
        &["C2 Fail seq_missing", "C2 Fail seq_twice"],
    );
}

#[test]
fn a_successor_adopts_what_was_in_flight() {
    let mut store = Store::default();
    let mut old = writer("gw-0", 1);
    old.object(&mut store, "acme", 3, b"one");
    let orphan = old.stored(&mut store, "acme", 4, b"two");
    let ledger = old.ledger(vec![[1, 1]]);
    old.append(Kind::Ledger(ledger));
    old.seal_bare(&mut store, true);
    let succeed = |store: &mut Store, adopt: bool| {
        let mut new = Writer::open(origin("gw-0", 2), key(2), old.now, Some(&old));
        if adopt {
            let mut obj = orphan.clone();
            obj.seq = 0;
            obj.adopted = Some(Adopted {
                origin: old.log.origin().to_string(),
                seq: 1,
            });
            new.append(Kind::Obj(Box::new(obj)));
            new.books.insert("acme".to_owned(), [4, 4, 0]);
        }
        new.seal(store);
        new
    };
    let mut adopted = store.clone();
    let new = succeed(&mut adopted, true);
    let policy = format!("{}{}", old.log_line(), new.log_line());
    verified(&adopted, &policy, at(0), &[]);
    let mut lost = store.clone();
    succeed(&mut lost, false);
    verified(&lost, &policy, at(0), &["C2 Fail seq_missing", "C2 Warn orphan"]);
}

#[test]
fn beside_others_an_orphan_is_known_by_its_name() {
    let mut store = Store::default();
    let mut w = writer("gw-0", 1);
    let mut obj = w.stored(&mut store, "acme", 3, b"one");
    let session = w.log.origin().session().clone();
    let named = |seq| {
        let unique = Numbered::unique("gw-0", &session, seq);
        format!("year=2025/minute=05/logs_{unique}.binpb.zst")
    };
    let stored = store.files.remove(&obj.key).expect("it is there");
    store.files.insert(named(0), stored);
    (obj.key, obj.class) = (named(0), Some("pci".to_owned()));
    w.books.insert("acme".to_owned(), [3, 3, 0]);
    w.append(Kind::Obj(Box::new(obj)));
    w.seal(&mut store);
    let policy = w.log_line();
    for other in ["logs_482910334.json", "data/other"] {
        store.put(other, b"x", Some(at(0)), None);
    }
    let report = verified(&store, &policy, w.now, &[]);
    assert_eq!((report.totals.orphans, report.totals.others), (0, 2));
    assert_eq!((report.totals.present, report.not_proved.len()), (1, 4));
    let of_class = |class: &str| {
        let options = Options {
            class: Some(class.to_owned()),
            ..options(w.now)
        };
        store.verify(&policy, &options).totals.objects
    };
    assert_eq!((of_class("pci"), of_class("std")), (1, 0));
    for orphan in [named(1).as_str(), "data/v1/class=std/x"] {
        store.put(orphan, b"x", Some(at(0)), None);
    }
    let report = verified(&store, &policy, w.now, &["C2 Warn orphan", "C2 Warn orphan"]);
    assert_eq!((report.totals.orphans, report.totals.others), (2, 2));
}

#[test]
fn books_that_do_not_balance_are_told() {
    let base = |ledger: &mut dyn FnMut(&mut Ledger)| {
        let mut store = Store::default();
        let mut w = writer("gw-0", 1);
        w.object(&mut store, "acme", 3, b"one");
        w.books.insert("initech".to_owned(), [5, 0, 0]);
        w.wait(60_000);
        w.seal(&mut store);
        w.object(&mut store, "acme", 2, b"two");
        w.wait(60_000);
        let mut second = w.ledger(Vec::new());
        ledger(&mut second);
        w.append(Kind::Ledger(second));
        w.seal_bare(&mut store, true);
        let report = store.verify(&w.log_line(), &options(w.now));
        assert!(report.exit == if report.findings.is_empty() { 0 } else { 2 });
        words(&report)
    };
    let check = |edit: fn(&mut Ledger), expected: &[&str]| {
        assert_eq!(base(&mut |ledger| edit(ledger)), expected);
    };
    check(|_| {}, &[]);
    check(|l| l.rows[0].admitted += 1, &["C3 Fail unbalanced"]);
    check(
        |l| {
            l.rows[0].admitted -= 1;
            l.rows[0].arch -= 1;
        },
        &["C3 Fail arch_differs"],
    );
    check(
        |l| {
            l.rows[1].open -= 5;
            l.rows[1].held -= 5;
        },
        &["C3 Fail open_differs"],
    );
    check(|l| drop(l.rows.remove(1)), &["C3 Fail row_missing"]);
    check(|l| drop(l.rows.remove(0)), &["C3 Fail arch_differs"]);
    check(|l| l.rows.push(l.rows[1].clone()), &["C3 Fail row_twice"]);
    check(
        |l| {
            l.rows[1].carried_in = 1;
            l.rows[1].held += 1;
        },
        &["C3 Fail carried_in"],
    );
    check(
        |l| l.f = Time::from_millis(l.f.millis() + 1),
        &["C3 Fail interval"],
    );
    check(
        |l| l.f = Time::from_millis(l.f.millis() - 1),
        &["C3 Fail interval"],
    );
    check(|l| l.part = Some([2, 2]), &["C3 Fail parts"]);
    check(
        |l| {
            l.door.push(crate::entry::DoorRow {
                offered: 1,
                ..Default::default()
            });
            l.edges.push(crate::entry::EdgeRow {
                lost: 1,
                ..Default::default()
            });
        },
        &["C3 Fail edge_unbalanced", "C3 Fail door_unbalanced"],
    );
}

#[test]
fn books_go_on_after_a_crash_and_in_parts() {
    let mut store = Store::default();
    let mut w = writer("gw-0", 1);
    w.books.insert("acme".to_owned(), [5, 0, 0]);
    w.wait(60_000);
    w.seal(&mut store);
    w.append(Kind::Start(Start {
        version: "0.1.0".to_owned(),
        config_sha256: sha256(b"config"),
        clean: false,
        recovered: 0,
        git: None,
        os: None,
        boot_id: None,
        journal: None,
    }));
    w.wait(60_000);
    w.object(&mut store, "acme", 7, b"one");
    let mut ledger = w.ledger(Vec::new());
    // Two were admitted after the last row and before the crash.
    ledger.f = w.now;
    ledger.rows[0].admitted = 0;
    ledger.rows[0].carried_in = 2;
    ledger.rows[0].held = 0;
    let bulk = |n: usize| Row {
        tenant: format!("{n:0>120}"),
        signal: "logs".to_owned(),
        admitted: 1,
        drop: [("filter".to_owned(), 1)].into(),
        ..Row::default()
    };
    ledger.rows.extend((0..700).map(bulk));
    w.ledger_from = w.now;
    let parts = ledger.split();
    assert!(parts.len() >= 3);
    let forget = parts.len() - 2;
    for part in &parts {
        w.append(Kind::Ledger(part.clone()));
    }
    let mut whole = store.clone();
    w.seal_bare(&mut whole, true);
    let report = verified(&whole, &w.log_line(), w.now, &[]);
    assert_eq!((report.totals.admitted, report.totals.removed), (705, 700));
    let mut w = {
        let mut again = writer("gw-0", 1);
        again.now = w.now;
        again
    };
    let mut store = Store::default();
    for (n, part) in parts.into_iter().enumerate().filter(|(n, _)| *n != forget) {
        let _ = n;
        w.append(Kind::Ledger(part));
    }
    w.seal_bare(&mut store, true);
    let report = store.verify(&w.log_line(), &options(w.now));
    assert!(words(&report).contains(&"C3 Fail parts".to_owned()));
}

#[test]
fn heads_that_others_remember_must_be_there() {
    let mut store = Store::default();
    let mut a = writer("gw-0", 1);
    let mut b = writer("gw-1", 2);
    a.object(&mut store, "acme", 1, b"a");
    a.seal(&mut store);
    let (size, root) = (a.log.size(), a.log.root());
    b.append(Kind::Peer(Peer {
        heads: vec![PeerHead {
            origin: a.log.origin().to_string(),
            size,
            root,
        }],
    }));
    b.seal(&mut store);
    a.object(&mut store, "acme", 1, b"b");
    a.seal(&mut store);
    let policy = format!("{}{}", a.log_line(), b.log_line());
    verified(&store, &policy, at(0), &[]);
    // The whole of a's log is gone: nothing but b remembers it, and the objects that lie around.
    let mut gone = store.clone();
    gone.files
        .retain(|key, _| !key.contains("/log/gw-0/") && !key.starts_with("data/"));
    verified(&gone, &policy, at(0), &["C5 Fail session_missing"]);
    // Cut back to before the head that b saw.
    let mut forked = gone.clone();
    let mut other = writer("gw-0", 1);
    other.object(&mut forked, "acme", 1, b"other");
    other.seal(&mut forked);
    verified(&forked, &policy, at(0), &["C5 Fail other_history"]);
    let mut shorter = gone;
    let mut other = writer("gw-0", 1);
    other.seal(&mut shorter);
    verified(&shorter, &policy, at(0), &["C5 Fail cut_off"]);
}

#[test]
fn a_fenced_session_ends_where_its_successor_says() {
    let mut store = Store::default();
    let mut old = writer("gw-0", 1);
    old.object(&mut store, "acme", 1, b"a");
    old.seal(&mut store);
    // A stranger without the key takes the next names.
    let origin_old = old.log.origin().clone();
    store.put(
        &origin_old.segment_key(old.log.size()),
        b"{}\n",
        Some(old.now),
        None,
    );
    store.put(
        &origin_old.checkpoint_key(old.log.size() + 3),
        b"nothing",
        Some(old.now),
        None,
    );
    let report = store.verify(&old.log_line(), &options(at(0)));
    assert_eq!(words(&report), ["I2 Fail chain_broken", "I3 Fail unsigned"]);
    let mut new = Writer::open(origin("gw-0", 2), key(2), old.now, Some(&old));
    new.seal(&mut store);
    let policy = format!("{}{}", old.log_line(), new.log_line());
    let report = verified(&store, &policy, at(0), &["I2 Warn foreign", "I3 Warn foreign"]);
    assert_eq!(report.exit, 0);
}

#[test]
fn keys_follow_each_other() {
    let next = key(9);
    let build = |first: &[&Signer], then: &Signer| {
        let mut store = Store::default();
        let mut w = writer("gw-0", 1);
        w.seal(&mut store);
        let vkey = key(9).vkey(w.log.origin().as_str()).expect("a name").to_string();
        w.append(Kind::Key(Key {
            vkey,
            why: "schedule".to_owned(),
        }));
        let segment = w.log.seal().expect("a segment");
        store.put(&segment.key, &segment.bytes, None, None);
        let head = w.log.checkpoint(&segment, first).expect("a head");
        store.put(&head.key, head.note.as_bytes(), None, None);
        w.object(&mut store, "acme", 1, b"x");
        w.signer = Signer::from_seed(&[0; 32]).expect("a key");
        let ledger = w.ledger(Vec::new());
        w.append(Kind::Ledger(ledger));
        let segment = w.log.seal().expect("a segment");
        store.put(&segment.key, &segment.bytes, None, None);
        let head = w.log.checkpoint(&segment, &[then]).expect("a head");
        store.put(&head.key, head.note.as_bytes(), None, None);
        words(&store.verify(&writer("gw-0", 1).log_line(), &options(at(0))))
    };
    let old = key(1);
    assert_eq!(build(&[&old, &next], &next), Vec::<String>::new());
    assert_eq!(
        build(&[&old, &next], &old),
        ["I2 Warn unsealed", "I3 Fail untrusted_key"]
    );
    assert_eq!(build(&[&old], &next), ["I3 Fail key_handover"]);
    assert_eq!(build(&[&next], &next)[1], "I3 Fail untrusted_key");
    assert_eq!(
        build(&[&old, &next], &key(5)),
        ["I2 Warn unsealed", "I3 Fail unsigned"]
    );
}

#[test]
fn a_root_and_a_revocation_decide_who_counts() {
    let root = key(7);
    let root_vkey = root.vkey("logs.example.com/prod").expect("a name");
    let build = |from: i64, until: i64, extra: &str| {
        let mut store = Store::default();
        let mut w = writer("gw-0", 1);
        w.seal(&mut store);
        w.object(&mut store, "acme", 1, b"x");
        w.seal(&mut store);
        let endorsement = Endorsement {
            archive: "logs.example.com/prod".to_owned(),
            writer: "*".to_owned(),
            public: *w.signer.public(),
            from: at(from),
            until: at(until),
        };
        let note = endorsement.sign(&root).expect("a note");
        store.put(&endorsement.key(), note.as_bytes(), None, None);
        words(&store.verify(&format!("root {root_vkey}\n{extra}"), &options(at(0))))
    };
    assert_eq!(build(0, 1, ""), Vec::<String>::new());
    assert_eq!(build(1, 2, ""), ["I3 Fail untrusted_key"]);
    assert_eq!(build(-1, 0, ""), ["I3 Fail untrusted_key"]);
    let public = key(1);
    let id = |name: &str| hex(&public.vkey(name).expect("a name").id());
    let session = id(origin("gw-0", 1).as_str());
    let archive = id("logs.example.com/prod");
    let revoked = ["I2 Warn unsealed", "I3 Fail untrusted_key"];
    assert_eq!(build(0, 1, &format!("revoked {session} from-size 5\n")), revoked);
    assert_eq!(
        build(0, 1, &format!("revoked {session} from-size 8\n")),
        Vec::<String>::new()
    );
    assert_eq!(build(0, 1, &format!("revoked {archive} from-size 7\n")), revoked);
    assert_eq!(
        build(0, 1, "revoked 00000000 from-size 0\n"),
        Vec::<String>::new()
    );
}

#[test]
fn time_without_a_writer_is_listed() {
    let mut store = Store::default();
    let mut w = writer("gw-0", 1);
    w.seal(&mut store);
    w.wait(600_000);
    w.seal(&mut store);
    w.wait(600_001);
    w.append(Kind::Start(Start {
        version: "0.1.0".to_owned(),
        config_sha256: sha256(b"config"),
        clean: false,
        recovered: 0,
        git: None,
        os: None,
        boot_id: None,
        journal: None,
    }));
    w.seal(&mut store);
    let line = w.log_line();
    let report = verified(&store, &line, w.now, &["C4 Warn uncovered_interval"]);
    let hole = |from, to, why| Hole {
        writer: "gw-0".to_owned(),
        from,
        to,
        why,
    };
    let restart = hole(at(600_000), Some(at(1_200_001)), "unclean_restart");
    assert_eq!(report.claims[&Claim::C4].holes, std::slice::from_ref(&restart));
    assert_eq!(report.exit, 0);
    let now = at(1_200_001 + 900_000);
    verified(&store, &line, now, &["C4 Warn uncovered_interval"]);
    let report = store.verify(&line, &options(at(1_200_001 + 900_001)));
    let stopped = hole(at(1_200_001), None, "stopped");
    assert_eq!(report.claims[&Claim::C4].holes, [restart.clone(), stopped]);
    // A successor ends the wait; how long it took is told.
    w.wait(700_000);
    let mut next = Writer::open(origin("gw-0", 2), key(2), w.now, Some(&w));
    next.close(&mut store, "shutdown", None);
    let report = store.verify(&format!("{line}{}", next.log_line()), &options(at(86_400_000)));
    let between = hole(at(1_200_001), Some(at(1_900_001)), "between_sessions");
    assert_eq!(report.claims[&Claim::C4].holes, [restart, between]);
}

#[test]
fn an_archive_without_locks_is_called_that() {
    let mut store = Store::default();
    let mut w = writer("gw-0", 1);
    w.append(Kind::Worm(Worm {
        bucket_lock: crate::entry::BucketLock {
            enabled: false,
            default: None,
        },
        versioning: String::new(),
        canary: None,
        worm: "none".to_owned(),
    }));
    let mut obj = w.stored(&mut store, "acme", 1, b"x");
    obj.lock = None;
    w.books.insert("acme".to_owned(), [1, 1, 0]);
    w.append(Kind::Obj(Box::new(obj)));
    w.close(&mut store, "shutdown", None);
    let report = verified(&store, &w.log_line(), w.now, &["P1 Warn unlocked"]);
    assert_eq!(report.claims[&Claim::P1].result, Outcome::NotMet);
    assert_eq!((report.verdict, report.exit), ("verified", 0));
}

#[test]
fn holds_are_compared_with_the_store() {
    let build = |held: bool, lifted: bool, spoil: bool| {
        let mut store = Store::default();
        let mut w = writer("gw-0", 1);
        w.object(&mut store, "acme", 1, b"x");
        let (key, versions) = store
            .files
            .iter_mut()
            .find(|(key, _)| key.starts_with("data/"))
            .expect("an object");
        let key = key.clone();
        versions[0].lock.as_mut().expect("a lock").hold = held;
        let list = format!("{{\"key\":\"{key}\",\"ver\":\"v1\"}}\n");
        for (n, on) in [(1, true), (2, false)].into_iter().take(1 + usize::from(lifted)) {
            let list_key = format!("_weir/v1/holds/case/{}-{n:020}.jsonl", w.log.origin().session());
            store.put(&list_key, list.as_bytes(), None, None);
            w.append(Kind::Hold(Hold {
                id: "case".to_owned(),
                on: Some(on),
                until: None,
                filter: String::new(),
                n: 1,
                list_key: list_key.clone(),
                list_sha256: sha256(list.as_bytes()),
                by: "ana".to_owned(),
                reason: String::new(),
            }));
            w.wait(1);
            if spoil {
                store.bytes(&list_key).push(b'\n');
            }
        }
        w.close(&mut store, "shutdown", None);
        words(&store.verify(&w.log_line(), &options(w.now)))
    };
    assert_eq!(build(true, false, false), Vec::<String>::new());
    assert_eq!(build(false, false, false), ["P1 Fail no_hold"]);
    assert_eq!(build(false, true, false), Vec::<String>::new());
    assert_eq!(build(true, false, true), ["I1 Fail altered"]);
}

/// Three records of a trail, as the requests that carry them.
fn trail(now: Time) -> (Vec<Record>, Vec<Vec<u8>>) {
    use crate::audit::{Act, Actor, Out, Trail};
    let actor = Actor {
        kind: "system".to_owned(),
        id: "weir".to_owned(),
    };
    let mut trail = Trail::default();
    let records: Vec<_> = (0..3)
        .map(|n| {
            let act = Act {
                t: now,
                act: "process.start",
                actor: &actor,
                out: Out::Success,
                obj: "",
                d: serde_json::json!({ "n": n }),
            };
            trail.record(&act).expect("a record")
        })
        .collect();
    let requests = records.iter().map(carried).collect();
    (records, requests)
}

/// A record as an OTLP request.
fn carried(record: &Record) -> Vec<u8> {
    let field = |number: u8, content: &[u8]| {
        let mut bytes = vec![number << 3 | 2];
        let mut len = content.len();
        while len > 127 {
            bytes.push(len as u8 | 128);
            len >>= 7;
        }
        bytes.push(len as u8);
        bytes.extend_from_slice(content);
        bytes
    };
    let attribute = |key: &str, value: &[u8]| {
        let pair = [field(1, key.as_bytes()), field(2, value)].concat();
        field(6, &pair)
    };
    let text = |text: &str| field(1, text.as_bytes());
    let log = [
        field(5, &text(&record.body)),
        attribute("weir.audit.seq", &[3 << 3, record.seq as u8]),
        attribute("weir.audit.prev", &text(&record.prev.to_string())),
        attribute("weir.audit.hash", &text(&record.hash.to_string())),
    ];
    field(1, &field(2, &field(2, &log.concat())))
}

/// Words of the report on an archive with these objects of audit records, each before the anchor of the newest record,
/// after so long.
#[track_caller]
fn check_trail(change: impl FnOnce(&mut Vec<Vec<u8>>), closed: bool, hours: i64, expected: &[&str]) {
    let mut store = Store::default();
    let mut w = writer("gw-0", 1);
    let (records, mut requests) = trail(w.now);
    change(&mut requests);
    for request in &requests {
        w.object(&mut store, "_weir", 1, request);
    }
    let (seq, hash) = (2, records[2].hash);
    w.append(Kind::Audit(Audit { seq, hash }));
    match closed {
        true => w.close(&mut store, "shutdown", None),
        false => drop(w.seal(&mut store)),
    }
    w.wait(hours * 3_600_000);
    let report = store.verify(&w.log_line(), &options(w.now));
    let words: Vec<String> = words(&report)
        .into_iter()
        .filter(|w| !w.starts_with("C4"))
        .collect();
    assert_eq!(words, expected);
    // Without the records nothing is said of them.
    let options = Options {
        level: Level::Heads,
        ..options(w.now)
    };
    let report = store.verify(&w.log_line(), &options);
    assert!(!report.findings.iter().any(|f| f.what.starts_with("audit")));
}

#[test]
fn audit_trails_hang_together_and_meet_their_anchors() {
    check_trail(|_| {}, true, 0, &[]);
    check_trail(|requests| requests.reverse(), true, 0, &[]);
    check_trail(|requests| requests.extend_from_within(..), true, 0, &[]);
    check_trail(
        |requests| drop(requests.remove(0)),
        true,
        0,
        &["I2 Fail audit_chain"],
    );
    check_trail(
        |requests| drop(requests.remove(1)),
        true,
        0,
        &["I2 Fail audit_chain"],
    );
    let forge = |requests: &mut Vec<Vec<u8>>| {
        let at = requests[1]
            .windows(5)
            .position(|w| w == b"\"n\":1")
            .expect("it is there");
        requests[1][at + 4] = b'7';
    };
    check_trail(forge, true, 0, &["I2 Fail audit_chain", "I2 Fail audit_chain"]);
    let cut = |requests: &mut Vec<Vec<u8>>| requests[1].truncate(9);
    check_trail(cut, true, 0, &["I2 Fail audit_unreadable"]);
    // The newest record may still be on its way.
    let newest = |requests: &mut Vec<Vec<u8>>| drop(requests.pop());
    check_trail(newest, true, 0, &["I2 Fail audit_anchor"]);
    check_trail(newest, false, 0, &[]);
    check_trail(newest, false, 2, &["I2 Warn audit_anchor"]);
    check_trail(newest, false, 49, &["I2 Fail audit_anchor"]);
    check_trail(|requests| requests.clear(), false, 49, &["I2 Fail audit_anchor"]);
}

#[test]
fn audit_trails_are_judged_as_far_as_the_range_goes() {
    let mut store = Store::default();
    let mut w = writer("gw-0", 1);
    let (records, requests) = trail(w.now);
    w.object(&mut store, "_weir", 1, &requests[0]);
    w.wait(10_000);
    w.object(&mut store, "_weir", 1, &requests[1]);
    w.append(Kind::Audit(Audit {
        seq: 2,
        hash: records[2].hash,
    }));
    w.close(&mut store, "shutdown", None);
    let verify = |change: &dyn Fn(&mut Options)| {
        let mut options = options(w.now);
        change(&mut options);
        words(&store.verify(&w.log_line(), &options))
    };
    let anchor = ["I2 Fail audit_anchor"];
    assert_eq!(verify(&|_| {}), anchor);
    assert_eq!(verify(&|options| options.tenant = Some("_weir".into())), anchor);
    assert_eq!(verify(&|options| options.signal = Some("logs".into())), anchor);
    let none: [&str; 0] = [];
    assert_eq!(verify(&|options| options.from = Some(w.now)), none);
    assert_eq!(verify(&|options| options.to = Some(w.now)), none);
    assert_eq!(verify(&|options| options.tenant = Some("acme".into())), none);
    assert_eq!(verify(&|options| options.signal = Some("traces".into())), none);
    assert_eq!(verify(&|options| options.level = Level::Log), none);
}

#[test]
fn audit_records_that_a_kill_took_are_a_warning() {
    let mut store = Store::default();
    let mut w = writer("gw-0", 1);
    let (records, _) = trail(w.now);
    let hash = records[0].hash;
    w.append(Kind::Audit(Audit { seq: 0, hash }));
    w.append(Kind::Start(Start {
        version: "0.1.0".to_owned(),
        config_sha256: sha256(b"config"),
        clean: false,
        recovered: 0,
        git: None,
        os: None,
        boot_id: None,
        journal: None,
    }));
    w.close(&mut store, "shutdown", None);
    assert_eq!(
        words(&store.verify(&w.log_line(), &options(w.now))),
        ["I2 Warn audit_anchor"]
    );
}

#[test]
fn findings_are_bounded_and_all_counted() {
    let mut store = Store::default();
    let mut w = writer("gw-0", 1);
    for n in 0..2_000u32 {
        if w.log.is_full() {
            w.seal_bare(&mut store, true);
        }
        w.object(&mut store, "acme", 1, &n.to_be_bytes());
    }
    if w.log.is_full() {
        w.seal_bare(&mut store, true);
    }
    w.close(&mut store, "shutdown", None);
    store.files.retain(|key, _| !key.starts_with("data/"));
    let report = store.verify(&w.log_line(), &options(w.now));
    assert_eq!(report.findings.len(), FINDINGS_MAX);
    assert_eq!(report.claims[&Claim::C2].failed, 2_000);
    assert_eq!(report.totals.missing, 2_000);
    assert_eq!(report.exit, 2);
}

mod changed;

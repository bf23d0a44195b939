use std::fs;

use evidence::audit::{self, Act, Actor, Out};
use evidence::digest::Digest;
use evidence::entry::{Audit, BucketLock, Canary, Gap, Kind, Ledger, Restore, Retention, Row, Start, Worm};
use evidence::names::EVIDENCE;
use evidence::test_kit::{self, Store, Writer};
use evidence::verify::{Level, Outcome};
use objects::FileStore;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde_json::{Value, json};

use super::super::archive::which::Archive;
use super::super::runtime;
use super::document::Document;
use super::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/report/testdata/report.json");
/// A name that would like to be more than a name.
const HOSTILE: &str = "<img src=x onerror=alert(1)>\u{202e}\"'&";
const OLD: &str = "3f0a7c1d5b9e2846aa10c7d3e5f6b8091a2b3c4d5e6f708192a3b4c5d6e7f809";
const NEW: &str = "9a8b7c6d5b9e2846aa10c7d3e5f6b8091a2b3c4d5e6f708192a3b4c5d6e7f809";

/// A configuration as it works.
const CONFIG: &str = "service:\n  pipelines: {}\n";

fn at(text: &str) -> Time {
    text.parse().expect("a time of the test")
}

fn text(text: &str) -> AnyValue {
    AnyValue {
        value: Some(Any::StringValue(text.to_owned())),
    }
}

fn pair(key: &str, value: AnyValue) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(value),
        ..KeyValue::default()
    }
}

/// What happened to the gateway, as its trail tells it.
struct Told {
    trail: audit::Trail,
    records: Vec<Record>,
}

impl Told {
    fn new() -> Told {
        Told {
            trail: audit::Trail::default(),
            records: Vec::new(),
        }
    }

    fn act(&mut self, t: &str, act: &str, out: Out, d: Value) {
        let actor = Actor {
            kind: "client".to_owned(),
            id: "203.0.113.9".to_owned(),
        };
        let act = Act {
            t: at(t),
            act,
            actor: &actor,
            out,
            obj: "x",
            d,
        };
        self.records.push(self.trail.record(&act).expect("it serializes"));
    }

    /// The bytes of an object of these records.
    fn bytes(&self) -> Vec<u8> {
        let records = self.records.iter().map(|record| LogRecord {
            body: Some(text(&record.body)),
            attributes: vec![
                pair(
                    "weir.audit.seq",
                    AnyValue {
                        value: Some(Any::IntValue(record.seq as i64)),
                    },
                ),
                pair("weir.audit.prev", text(&record.prev.to_string())),
                pair("weir.audit.hash", text(&record.hash.to_string())),
            ],
            ..LogRecord::default()
        });
        request(records.collect())
    }
}

/// A request of the gateway's own.
fn request(log_records: Vec<LogRecord>) -> Vec<u8> {
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: vec![pair("service.instance.id", text("gw-0"))],
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                log_records,
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    request.encode_to_vec()
}

/// A text beside the chain, as it is called.
fn beside(body: &str, name: &str) -> LogRecord {
    LogRecord {
        body: Some(text(body)),
        attributes: vec![pair("weir.evidence.sha256", text(name))],
        ..LogRecord::default()
    }
}

fn told() -> Told {
    let mut told = Told::new();
    let ok = Out::Success;
    // What a processor drops is told of its pipeline too; the other rule has no processor's line.
    let drop = |n: u64| {
        let own = json!({"filter/health": n});
        let all = json!({"filter/health": n, "rate_limit": 1});
        json!({"edges": [
            {"edge": "pipeline logs", "signal": "logs", "tenant": HOSTILE, "drop": all},
            {"edge": "processor filter/health in logs", "signal": "logs", "tenant": HOSTILE, "drop": own},
        ]})
    };
    told.act(
        "2025-11-30T23:00:01.000Z",
        "process.start",
        ok,
        json!({"config_sha256": OLD}),
    );
    told.act(
        "2025-11-30T23:10:00.000Z",
        "authn.failure",
        Out::Failure,
        json!({"scheme": "bearer", "reason": "unknown_token", "count": 3}),
    );
    told.act(
        "2025-11-30T23:11:00.000Z",
        "authn.success",
        ok,
        json!({"scheme": "basic"}),
    );
    told.act("2025-11-30T23:20:00.000Z", "pipeline.drop", ok, drop(5));
    told.act(
        "2025-11-30T23:30:00.000Z",
        "config.reject",
        Out::Failure,
        json!({"trigger": "hangup"}),
    );
    told.act("2025-11-30T23:31:00.000Z", "config.reload", ok, json!({"trigger": "hangup", "old_sha256": OLD, "new_sha256": NEW, "change_id": "CHG-2211", "changed": ["exporters.archive.lock.retention: 400d -> 30d"], "text_sha256": sha256(CONFIG.as_bytes()).to_string()}));
    told.act(
        "2025-11-30T23:32:00.000Z",
        "config.reload",
        ok,
        json!({"trigger": "hangup", "old_sha256": NEW, "new_sha256": OLD, "text_sha256": OLD}),
    );
    told.act(
        "2025-11-30T23:33:00.000Z",
        "admin.call",
        ok,
        json!({"call": "reload", "verb": "POST", "parameters_sha256": OLD}),
    );
    let metrics = json!({
        "otelcol_process_uptime": 2_400,
        "otelcol_process_cpu_seconds": 600.0,
        "otelcol_process_memory_rss": 1_000,
    });
    let doors = json!([{"door": "door otlp (http)", "offered": 20, "accepted": 14, "refused": 6}]);
    let snapshot = json!({"metrics": metrics, "doors": doors});
    told.act("2025-11-30T23:40:00.000Z", "metrics.snapshot", ok, snapshot);
    told.act("2025-12-01T00:10:00.000Z", "pipeline.drop", ok, drop(2));
    told
}

/// An archive over the end of a month: two sessions of one writer, with a crash, a gap, a lock that was tried, and an
/// audit trail.
struct Made {
    store: Store,
    policy: String,
    now: Time,
}

fn worm(canary: Option<bool>) -> Kind {
    Kind::Worm(Worm {
        bucket_lock: BucketLock {
            enabled: true,
            default: Some(Retention {
                mode: "COMPLIANCE".to_owned(),
                days: Some(365),
                years: None,
            }),
        },
        versioning: "Enabled".to_owned(),
        canary: canary.map(|refused| Canary {
            key: "_weir/v1/selftest/x".to_owned(),
            ver: None,
            mode: Some("COMPLIANCE".to_owned()),
            until: None,
            readback: true,
            conditional: true,
            delete_refused: Some(refused),
        }),
        worm: "s3-compliance".to_owned(),
    })
}

/// Puts records of the gateway's own into an object.
fn own_object(store: &mut Store, writer: &mut Writer, class: &str, n: u64, plain: &[u8]) {
    let bytes = zstd::stream::encode_all(plain, 1).expect("into memory");
    let mut obj = writer.stored(store, "_weir", n, &bytes);
    let versions = store.files.remove(&obj.key).expect("stored just now");
    obj.key = obj.key.replace("class=std", &format!("class={class}"));
    obj.raw = plain.len() as u64;
    store.files.insert(obj.key.clone(), versions);
    let book = writer.books.entry("_weir".to_owned()).or_default();
    *book = [book[0] + n, book[1] + n, book[2]];
    writer.append(Kind::Obj(Box::new(obj)));
}

/// Puts the records of the trail into an object of their class.
fn audit_object(store: &mut Store, writer: &mut Writer, told: &Told) {
    own_object(store, writer, "audit", told.records.len() as u64, &told.bytes());
    let last = told.records.last().expect("a record");
    writer.append(Kind::Audit(Audit {
        seq: last.seq,
        hash: last.hash,
    }));
}

fn archive(told: &Told) -> Made {
    let mut store = Store::default();
    store.inflate = Some(|bytes| zstd::stream::decode_all(bytes).unwrap_or_default());
    let begin = at("2025-11-30T23:00:00.000Z");
    let session = |seed: u8| Session::new(begin, [seed; 10]);
    let origin = |seed| Origin::new("logs.example.com/prod", "gw-0", session(seed)).expect("a name");
    let signer = |seed| Signer::from_seed(&[seed; 32]).expect("a key");
    let mut first = Writer::open(origin(1), signer(1), begin, None);
    first.append(worm(Some(true)));
    // Half an hour of November, with a record every minute that waits for the next.
    for n in 0..30_u8 {
        first.object(&mut store, "acme", 10, &[n]);
        if n == 3 {
            first.object(&mut store, HOSTILE, 4, &[n, n]);
        }
        first.wait(2_000);
        first.seal(&mut store);
        first.wait(58_000);
    }
    let gap = Gap {
        seq: Some(first.seq),
        seqs: None,
        why: "key_conflict".to_owned(),
        n: Some(0),
        detail: "key held foreign bytes".to_owned(),
        adopted: None,
    };
    first.seq += 1;
    first.append(Kind::Gap(gap));
    first.seal(&mut store);
    // A crash: some minutes later another process goes on with the log.
    first.wait(700_000);
    first.append(Kind::Start(Start {
        version: "0.1.1".to_owned(),
        config_sha256: sha256(b"another"),
        clean: false,
        recovered: 2,
        git: None,
        os: None,
        boot_id: None,
        journal: Some("same".to_owned()),
    }));
    first.append(worm(Some(false)));
    first.object(&mut store, "acme", 7, b"x");
    // Admitted and not yet in an object.
    first.books.get_mut("acme").expect("known")[0] += 3;
    first.seal(&mut store);
    first.wait(60_000);
    first.close(&mut store, "rollover", Some(session(2).to_string()));
    // The next session begins with what the one before held, and is over in December.
    let mut next = Writer::open(origin(2), signer(2), first.now, Some(&first));
    next.seq = 0;
    next.ledger_from = first.now;
    next.books.insert("acme".to_owned(), [0, 0, 3]);
    next.wait(60_000);
    while next.now < at("2025-12-01T00:12:00.000Z") {
        next.seal(&mut store);
        next.wait(240_000);
    }
    let obj = next.stored(&mut store, "acme", 3, b"later");
    next.append(Kind::Obj(Box::new(obj)));
    next.books.get_mut("acme").expect("known")[1] += 3;
    let config = beside(CONFIG, &sha256(CONFIG.as_bytes()).to_string());
    own_object(&mut store, &mut next, "evidence", 1, &request(vec![config]));
    audit_object(&mut store, &mut next, told);
    next.append(Kind::Restore(Restore {
        filter: "tenant=acme".to_owned(),
        n: 7,
        bytes: 1,
        to: "otlp http://localhost:4317".to_owned(),
        by: "ana".to_owned(),
        reason: "INC-77".to_owned(),
    }));
    next.close(&mut store, "shutdown", None);
    Made {
        store,
        policy: first.log_line() + &next.log_line(),
        now: next.now,
    }
}

/// What the logs of a store say.
fn facts_of(store: &Store, period: Period) -> Facts {
    let mut logs: BTreeMap<(String, String), Fold> = BTreeMap::new();
    for listed in store.list(EVIDENCE) {
        let mut parts = listed.key.trim_start_matches("_weir/v1/log/").split('/');
        let (Some(writer), Some(session), Some("seg")) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let name = (writer.to_owned(), session.to_owned());
        let fold = logs
            .entry(name)
            .or_insert_with(|| Fold::new(period, writer, &session.parse().expect("a session")));
        let bytes = store.files[&listed.key][0].bytes.as_deref().expect("a file");
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let entry = Entry::parse(line).expect("an entry");
            fold.entry(entry.i, &entry);
        }
    }
    Facts::join(logs.into_iter().map(|(name, fold)| (name, fold.finish())))
}

fn trail_of(store: &Store, facts: &Facts, period: Period) -> Trail {
    let mut trail = Trail::default();
    for object in &facts.audit_objects {
        let bytes = store.files[&object.key][0].bytes.clone().expect("a file");
        match records(object, &bytes.into()) {
            Ok(records) => trail.object(period, object, &records),
            Err(why) => trail.unreadable(object, &why),
        }
    }
    trail.compare(period, &facts.anchors);
    trail
}

fn texts_of(store: &Store, facts: &Facts) -> Texts {
    let mut texts = Texts::default();
    for object in &facts.texts {
        let bytes = store.files[&object.key][0].bytes.clone().expect("a file");
        texts.take(object, plain(object, &bytes.into()));
    }
    texts
}

fn report_of(made: &Made, period: Period, level: Level) -> (Document, Vec<document::Listing>) {
    let facts = facts_of(&made.store, period);
    let (trail, texts) = (
        trail_of(&made.store, &facts, period),
        texts_of(&made.store, &facts),
    );
    let options = Options {
        level,
        from: period.from,
        to: Some(period.to),
        tool: "weir 0".to_owned(),
        ..test_kit::options(made.now)
    };
    let verified = made.store.verify(&made.policy, &options);
    document(&Input {
        facts: &facts,
        trail: &trail,
        verified: &verified,
        texts: &texts,
        proofs: 0,
        unproved: &List::default(),
        verify_sha256: Digest([7; 32]).to_string(),
        period,
        made: at("2026-01-02T03:04:05.000Z"),
        entity: Some("Acme GmbH"),
        signed_by: None,
        criteria: &[],
    })
}

/// All of it, as far as one period goes.
fn whole() -> Period {
    Period {
        from: Some(at("2025-11-01T00:00:00.000Z")),
        to: at("2026-01-01T00:00:00.000Z"),
    }
}

fn figure(document: &Document, title: &str) -> String {
    let figures = document.controls.iter().flat_map(|control| &control.figures);
    let mut found = figures.filter(|figure| figure.title() == title);
    found.next().unwrap_or_else(|| panic!("no figure {title}")).text()
}

#[test]
fn a_report_is_as_it_was() {
    let (document, _) = report_of(&archive(&told()), whole(), Level::Full);
    let mut json = serde_json::to_string_pretty(&document).expect("it serializes");
    json.push('\n');
    if std::env::var_os("UPDATE").is_some() {
        fs::write(GOLDEN, &json).expect("the golden file can be written");
    }
    let golden = fs::read_to_string(GOLDEN).expect("the golden file is there");
    for (n, (ours, golden)) in json.lines().zip(golden.lines()).enumerate() {
        assert_eq!(ours, golden, "line {}", n + 1);
    }
    assert_eq!(json, golden);
}

#[test]
fn figures_are_what_the_archive_holds() {
    let made = archive(&told());
    let (document, lists) = report_of(&made, whole(), Level::Full);
    assert_eq!(
        (document.verify.verdict, document.verify.exit),
        ("verified", 0),
        "{:#?}",
        document.verify
    );
    let audit = told().records.len() as u64;
    // And a text beside it.
    let own = audit + 1;
    let records = 30 * 10 + 4 + 7 + 3 + own;
    for (title, expected) in [
        ("records_in", records.to_string()),
        ("archived", records.to_string()),
        ("lost", "0".to_owned()),
        ("held_at_begin", "0".to_owned()),
        ("held_at_end", "0".to_owned()),
        ("records", records.to_string()),
        ("objects", 35.to_string()),
        ("objects_equal", 35.to_string()),
        ("objects_missing", "0".to_owned()),
        ("objects_with_lock_ok", 35.to_string()),
        ("objects_below_policy", "0".to_owned()),
        ("gaps", "1".to_owned()),
        ("gap_records", "0".to_owned()),
        ("ledger_imbalances", "0".to_owned()),
        ("dropped", "0".to_owned()),
        ("dropped_before", "9".to_owned()),
        ("dropped_before{rule=filter/health}", "7".to_owned()),
        ("dropped_before{rule=rate_limit}", "2".to_owned()),
        ("uncovered_seconds", "700".to_owned()),
        ("recovery_seconds_p95", "700".to_owned()),
        ("restarts_clean", "2".to_owned()),
        ("restarts_unclean", "1".to_owned()),
        ("objects_recovered", "2".to_owned()),
        ("worm_selftests_ok", "1".to_owned()),
        ("worm_selftests_failed", "1".to_owned()),
        ("worm_deletes_tried", "2".to_owned()),
        ("worm_deletes_refused", "1".to_owned()),
        ("audit_records", audit.to_string()),
        ("audit_chain_faults", "0".to_owned()),
        ("audit_anchors", "1".to_owned()),
        ("audit_anchors_met", "1".to_owned()),
        ("authn_failures", "3".to_owned()),
        ("authn_failures{reason=unknown_token}", "3".to_owned()),
        ("authn_methods_in_use{scheme=basic}", "1".to_owned()),
        ("admin_calls{verb=reload}", "1".to_owned()),
        ("config_changes", "2".to_owned()),
        ("changes_without_change_id", "1".to_owned()),
        ("rejected_configs", "1".to_owned()),
        ("processes_by_version{version=0.1.0}", "2".to_owned()),
        ("processes_by_version{version=0.1.1}", "1".to_owned()),
        ("restore_jobs", "1".to_owned()),
        ("restores_by_actor{actor=ana}", "1".to_owned()),
        (
            "records_per_destination{destination=archive}",
            records.to_string(),
        ),
        ("shred_count", "0".to_owned()),
        (
            "detectors_active",
            "not available: no detector told the audit trail anything".to_owned(),
        ),
        ("records_offered", "20".to_owned()),
        ("records_accepted", "14".to_owned()),
        ("records_refused", "6".to_owned()),
        ("refusals{receiver=otlp (http)}", "6".to_owned()),
        ("snapshots", "1".to_owned()),
        ("cpu_p95", "0.25".to_owned()),
        ("memory_p95", "1000".to_owned()),
        (
            "spool_p95",
            "not available: the snapshots of this period do not tell it".to_owned(),
        ),
        ("config_texts", "1".to_owned()),
        ("config_texts_missing", "1".to_owned()),
        (
            "sources_expected",
            "not available: no list of expected sources is kept".to_owned(),
        ),
        (
            "clock_skew_max",
            "not available: no books tell the store's clock".to_owned(),
        ),
    ] {
        assert_eq!(figure(&document, title), expected, "{title}");
    }
    let find = |name: &str| {
        let mut figures = document.controls.iter().flat_map(|control| &control.figures);
        figures.find(|figure| figure.name == name).expect(name)
    };
    let parts = |parts: &[document::Part]| -> Vec<(String, u64)> {
        parts.iter().map(|part| (part.of.clone(), part.value)).collect()
    };
    let month = |name: &str, n: u64| (name.to_owned(), n);
    assert_eq!(
        parts(&find("records_in").months),
        [month("2025-11", 314), month("2025-12", own)]
    );
    assert_eq!(
        parts(&find("dropped_before").months),
        [month("2025-11", 6), month("2025-12", 3)]
    );
    assert_eq!(
        parts(&find("records_in").tenants),
        [month(HOSTILE, 4), month("_weir", own), month("acme", 310)]
    );
    let removed = lists
        .iter()
        .find(|list| list.file == "evidence/pi1.3-removed.csv")
        .expect("a list");
    let row = |rule: &str, edge: &str, n: &str| {
        let cells = ["2025-11-30T23:20:00.000Z", rule, edge, HOSTILE, OLD, "", n];
        cells.map(str::to_owned).to_vec()
    };
    assert_eq!(
        removed.rows,
        [
            row("filter/health", "processor filter/health in logs", "7"),
            row("rate_limit", "pipeline logs", "2")
        ]
    );
    let text = format!("{:?}", document.summary);
    assert!(
        text.contains("Removed by rules before it: 7 by rule filter/health (configuration 3f0a7c1d); 2 by rule rate_limit (configuration 3f0a7c1d)."),
        "{text}"
    );
    assert!(!html::page(&document).to_lowercase().contains("compliant"));
}

#[test]
fn a_period_has_its_own_figures() {
    let made = archive(&told());
    // From the crash to the end of the month.
    let period = Period {
        from: Some(at("2025-11-30T23:31:00.000Z")),
        to: at("2025-12-01T00:00:00.000Z"),
    };
    let (document, _) = report_of(&made, period, Level::Log);
    for (title, expected) in [
        ("held_at_begin", "0"),
        ("records_in", "10"),
        ("archived", "7"),
        ("held_at_end", "3"),
        ("objects", "1"),
        ("restarts_unclean", "1"),
        (
            "objects_equal",
            "not available: objects were not looked at (--level log)",
        ),
        (
            "audit_records",
            "not available: the archive has no audit trail of this period",
        ),
        (
            "dropped_before",
            "not available: the archive has no audit trail of this period",
        ),
    ] {
        assert_eq!(figure(&document, title), expected, "{title}");
    }
    let nothing = Period {
        from: None,
        to: at("2025-11-01T00:00:00.000Z"),
    };
    let (document, _) = report_of(&made, nothing, Level::Log);
    for (title, expected) in [
        ("records_in", "not available: no books were closed in this period"),
        (
            "uncovered_seconds",
            "not available: no log has an entry in this period",
        ),
        (
            "admission_to_sealed_p50",
            "not available: no object is of this period",
        ),
        (
            "worm_selftests_ok",
            "not available: no lock was tried in this period",
        ),
    ] {
        assert_eq!(figure(&document, title), expected, "{title}");
    }
    assert!(document.controls.iter().all(|control| control.operating != "yes"));
}

/// The faults of a trail that somebody changed.
#[track_caller]
fn check_trail(change: impl FnOnce(&mut Vec<Record>), expected: &[&str], twice: u64) {
    let mut told = told();
    let anchor = told.records.last().expect("a record").clone();
    change(&mut told.records);
    let object = AuditObject {
        index: 0,
        writer: "gw-0".to_owned(),
        admitted: at("2025-12-01T00:00:00.000Z"),
        session: "s".to_owned(),
        seq: 0,
        key: String::new(),
        version: None,
        sha256: Digest([0; 32]),
        size: 0,
        raw: 0,
        records: told.records.len() as u64,
        is_plain: true,
        compression: "none".to_owned(),
    };
    let mut trail = Trail::default();
    let records = audit::records(&told.bytes()).expect("a request");
    trail.object(whole(), &object, &records);
    let anchor = fold::Anchor {
        t: at("2025-12-01T00:20:00.000Z"),
        seq: anchor.seq,
        hash: anchor.hash,
        place: "gw-0/s#9".to_owned(),
    };
    trail.compare(whole(), &[anchor]);
    let faults: Vec<String> = trail.faults.rows.iter().map(|row| row.cells.concat()).collect();
    assert_eq!(faults, expected);
    assert_eq!(trail.twice, twice);
}

#[test]
fn a_changed_trail_is_noticed() {
    check_trail(|_| {}, &[], 0);
    check_trail(
        |records| drop(records.remove(3)),
        &["the record before it is not there (record 4)"],
        0,
    );
    check_trail(
        |records| drop(records.pop()),
        &["record 9 is vouched for and not in the archive"],
        0,
    );
    check_trail(
        |records| records[1].body = records[1].body.replace("\"count\":3", "\"count\":1"),
        &[
            "the hash is not that of the text (record 1)",
            "the record before it is not there (record 2)",
        ],
        0,
    );
    check_trail(
        |records| {
            let again = records[2..5].to_vec();
            records.extend(again);
        },
        &[],
        3,
    );
    check_trail(
        |records| records[4].body = "[]".to_owned(),
        &[
            "a text that is no audit record",
            "the record before it is not there (record 5)",
        ],
        0,
    );
}

#[test]
fn an_object_of_the_trail_that_is_not_what_was_sealed_gives_no_figures() {
    let mut made = archive(&told());
    let key = made.store.list("data/v1/class=audit").remove(0).key;
    made.store.bytes(&key)[20] ^= 1;
    let (document, _) = report_of(&made, whole(), Level::Full);
    assert_eq!(
        figure(&document, "authn_failures"),
        "not available: 1 of 1 objects of the audit trail were not read"
    );
    assert_eq!(
        (document.verify.verdict, document.verify.exit),
        ("integrity_failure", 1)
    );
    let control = document
        .controls
        .iter()
        .find(|c| c.control.starts_with("LOG-13"))
        .expect("a control");
    let told = control
        .exceptions
        .iter()
        .any(|e| e.what.starts_with("audit trail: it is not what was sealed"));
    assert!(told, "{:#?}", control.exceptions);
    let control = document
        .controls
        .iter()
        .find(|c| c.control.starts_with("LOG-05"))
        .expect("a control");
    assert_eq!(
        (control.operating, control.exceptions_total),
        ("with exceptions", 1)
    );
}

#[test]
fn texts_are_what_they_are_called_or_told() {
    let object = facts_of(&archive(&told()).store, whole()).texts.remove(0);
    let name = sha256(CONFIG.as_bytes()).to_string();
    let mut texts = Texts::default();
    let mut take = |records: Vec<LogRecord>, kept: usize, faults: &[String]| {
        texts.take(&object, Ok(request(records).into()));
        let found: Vec<String> = texts.faults.rows.iter().map(|row| row.cells.concat()).collect();
        assert_eq!((texts.kept.len(), found.as_slice()), (kept, faults));
    };
    take(vec![LogRecord::default()], 0, &[]);
    take(vec![beside(CONFIG, &name), beside(CONFIG, &name)], 1, &[]);
    let wrong = format!("it is not what it is called: {OLD}");
    take(vec![beside(CONFIG, OLD)], 1, std::slice::from_ref(&wrong));
    take(
        vec![beside(CONFIG, "x")],
        1,
        &[wrong, "a text is incomplete".to_owned()],
    );
}

#[test]
fn a_configuration_of_before_the_period_is_kept_too() {
    let made = archive(&told());
    let later = Period {
        from: Some(at("2025-12-15T00:00:00.000Z")),
        to: at("2026-01-01T00:00:00.000Z"),
    };
    let earlier = Period {
        from: None,
        to: at("2025-11-30T23:59:00.000Z"),
    };
    let kept = |period| texts_of(&made.store, &facts_of(&made.store, period)).kept.len();
    assert_eq!((kept(later), kept(earlier), kept(whole())), (1, 0, 1));
}

#[test]
fn hostile_names_stay_names() {
    let (document, lists) = report_of(&archive(&told()), whole(), Level::Full);
    let page = html::page(&document);
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;\u{fffd}&quot;&#39;&amp;"));
    for bad in [
        "<img",
        "<script",
        "\u{202e}",
        "http://www",
        "src=\"",
        "url(",
        "@import",
    ] {
        assert!(!page.contains(bad), "{bad}");
    }
    let csv = csv::figures(&document);
    let quoted = format!("\"records_in{{tenant={}}}\"", HOSTILE.replace('"', "\"\""));
    assert!(csv.contains(&quoted), "{csv}");
    let columns = "criterion,control_id,figure,value,unit,from,to,source,evidence_ref\n";
    assert!(csv.starts_with(columns));
    let books = lists
        .iter()
        .find(|list| list.file == "evidence/pi1.3-books.csv")
        .expect("a list");
    assert!(books.rows.iter().all(|row| row.len() == books.columns.len()));
    assert!(
        lists
            .iter()
            .all(|list| list.rows.iter().all(|row| row.len() == list.columns.len()))
    );
}

/// A directory with the store's files.
fn on_disk(store: &Store) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (key, versions) in &store.files {
        let path = dir.path().join(key);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, versions[0].bytes.as_deref().expect("a file")).expect("written");
    }
    dir
}

fn making(made: &Made, dir: &Path, signer: Option<Signer>) -> Making {
    let archive = Archive {
        store: Arc::new(FileStore::new(dir)),
        is_copy: true,
        intervals: None,
        configured: None,
    };
    let period = whole();
    Making {
        reading: Reading::of(&archive),
        policy: Policy::parse(&made.policy).expect("a policy"),
        options: Options {
            level: Level::Full,
            from: period.from,
            to: Some(period.to),
            ..Options::new(made.now)
        },
        parallel: 4,
        period,
        made: made.now,
        entity: None,
        criteria: vec!["PI1.3".to_owned()],
        signer,
    }
}

#[test]
fn a_copy_on_disk_gives_the_same_files_twice_and_a_note_over_them() {
    let made = archive(&told());
    let dir = on_disk(&made.store);
    let make = || {
        let signer = Signer::from_seed(&[5; 32]).expect("a key");
        let work = making(&made, dir.path(), Some(signer)).files();
        runtime()
            .expect("a runtime")
            .block_on(work)
            .expect("it can be read")
    };
    let (one, two) = (make(), make());
    assert_eq!(one.files, two.files);
    assert_eq!(one.verified.exit, 0, "{:#?}", one.verified.findings);
    assert_eq!(
        one.verified.claims[&evidence::verify::Claim::P1].result,
        Outcome::NotChecked
    );
    let names: Vec<&str> = one.files.keys().map(String::as_str).collect();
    for name in [
        "report.html",
        "report.json",
        "report.note",
        "figures.csv",
        "evidence/verify.json",
        "evidence/cc6.1-authn.csv",
    ] {
        assert!(names.contains(&name), "{name} of {names:?}");
    }
    assert_eq!(
        names
            .iter()
            .filter(|name| name.starts_with("evidence/checkpoints/gw-0-"))
            .count(),
        2
    );
    let config = format!("evidence/configs/{}.yaml", sha256(CONFIG.as_bytes()));
    assert_eq!(one.files[&config], CONFIG.as_bytes());
    // Three starts, two trials of the lock, a gap, a restore and the object with the text.
    let proofs = one
        .files
        .iter()
        .filter(|(name, _)| name.starts_with("evidence/proofs/gw-0-"));
    let proofs: Vec<_> = proofs
        .map(|(_, bytes)| evidence::note::Proof::parse(bytes).expect("a proof"))
        .collect();
    assert_eq!(proofs.len(), 8);
    let keys = made.policy.lines().filter_map(|line| line.strip_prefix("log "));
    let keys: Vec<_> = keys.map(|key| key.parse().expect("a key")).collect();
    let mut kinds: Vec<&str> = Vec::new();
    for proof in &proofs {
        let line = proof.extra.as_deref().expect("it carries its entry");
        proof.verify(line, &keys).expect("it holds");
        let entry = Entry::parse(line).expect("an entry");
        assert_eq!(entry.i, proof.index);
        kinds.push(match entry.kind {
            Kind::Start(_) => "start",
            Kind::Worm(_) => "worm",
            Kind::Gap(_) => "gap",
            Kind::Restore(_) => "restore",
            Kind::Obj(_) => "obj",
            other => panic!("{other:?}"),
        });
    }
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        ["gap", "obj", "restore", "start", "start", "start", "worm", "worm"]
    );
    let document: Value = serde_json::from_slice(&one.files["report.json"]).expect("JSON");
    let ids: Vec<&Value> = document["controls"]
        .as_array()
        .expect("controls")
        .iter()
        .map(|c| &c["id"])
        .collect();
    assert_eq!(ids, ["PI1.3"]);
    assert_eq!(
        document["verify"]["sha256"],
        sha256(&one.files["evidence/verify.json"]).to_string()
    );

    let note = Note::parse(&one.files["report.note"]).expect("a note");
    let key = one.key.expect("signed").parse().expect("a key");
    assert_eq!(note.signed_by(&key), evidence::note::Signed::Yes);
    for name in ["evidence/SHA256SUMS", "figures.csv", "report.html", "report.json"] {
        let line = format!("sha256 {} {name}", sha256(&one.files[name]));
        assert!(note.text().lines().any(|l| l == line), "{line}");
    }
    let sums = String::from_utf8(one.files["evidence/SHA256SUMS"].clone()).expect("text");
    for (name, bytes) in one.files.iter().filter(|(name, _)| name.starts_with("evidence/")) {
        let name = &name["evidence/".len()..];
        let line = format!("{}  {name}", sha256(bytes));
        assert!(name == "SHA256SUMS" || sums.lines().any(|l| l == line), "{line}");
    }

    let bare = making(&made, dir.path(), None).files();
    let bare = runtime()
        .expect("a runtime")
        .block_on(bare)
        .expect("it can be read");
    assert!(!bare.files.contains_key("report.note"));
    let document: Value = serde_json::from_slice(&bare.files["report.json"]).expect("JSON");
    assert_eq!(document["signature"]["not_available"], "no --signer was given");
}

#[test]
fn books_that_do_not_join_are_an_exception() {
    let mut made = archive(&told());
    // Only what the facts say of it is asked here; the verifier has its own word.
    let ledger = |open: u64, held: u64| Ledger {
        f: at("2025-11-30T20:00:00.000Z"),
        to: at("2025-11-30T21:00:00.000Z"),
        rows: vec![Row {
            tenant: "acme".to_owned(),
            signal: "logs".to_owned(),
            open,
            held,
            ..Row::default()
        }],
        pend: Vec::new(),
        part: None,
        edges: Vec::new(),
        door: Vec::new(),
        unknown: Vec::new(),
        skew_ms: Some(-1_500),
    };
    let mut other = Writer::open(
        Origin::new("logs.example.com/prod", "gw-1", Session::new(made.now, [9; 10])).expect("a name"),
        Signer::from_seed(&[9; 32]).expect("a key"),
        at("2025-11-30T20:00:00.000Z"),
        None,
    );
    other.append(Kind::Ledger(ledger(4, 4)));
    other.append(Kind::Ledger(ledger(4, 3)));
    other.seal_bare(&mut made.store, true);
    made.policy += &other.log_line();
    let (document, _) = report_of(&made, whole(), Level::Log);
    assert_eq!(figure(&document, "ledger_imbalances"), "1");
    assert_eq!(figure(&document, "clock_skew_max"), "1.5");
    let books = document
        .controls
        .iter()
        .find(|c| c.control.starts_with("LOG-06"))
        .expect("a control");
    let told = books
        .exceptions
        .iter()
        .filter(|e| e.what.starts_with("over the period "))
        .count();
    assert_eq!(told, 1, "{:#?}", books.exceptions);
}

#[test]
fn a_trial_without_a_lock_is_none() {
    let begin = at("2025-11-30T23:00:00.000Z");
    let origin = Origin::new("a/b", "gw-0", Session::new(begin, [1; 10])).expect("a name");
    let mut writer = Writer::open(origin, Signer::from_seed(&[1; 32]).expect("a key"), begin, None);
    let Kind::Worm(tried) = worm(None) else {
        unreachable!("it is one")
    };
    writer.append(Kind::Worm(Worm {
        canary: Some(Canary {
            key: "_weir/v1/selftest/x".to_owned(),
            ver: None,
            mode: None,
            until: None,
            readback: true,
            conditional: true,
            delete_refused: None,
        }),
        worm: "none".to_owned(),
        ..tried
    }));
    let mut store = Store::default();
    writer.close(&mut store, "shutdown", None);
    let made = Made {
        store,
        policy: writer.log_line(),
        now: begin,
    };
    let (document, lists) = report_of(&made, whole(), Level::Full);
    let expected = "not available: no lock was tried in this period";
    assert_eq!(figure(&document, "worm_selftests_ok"), expected);
    assert_eq!(figure(&document, "worm_checks{lock=none}"), "1");
    let tests = lists
        .iter()
        .find(|list| list.file == "evidence/cc7.2-tests.csv")
        .expect("a list");
    assert_eq!(tests.rows[0][1..3], ["none", "no lock"]);
}

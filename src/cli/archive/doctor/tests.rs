use objects::S3Store;
use objects::test_kit::{ADMIN, Bucket, FakeS3, Quirks};

use super::*;
use crate::cli::archive::which::RollKeys;

const BUCKET: &str = "acme-weir-logs";

async fn of(fake: &FakeS3, required: bool, deletes: bool) -> Diagnosis {
    let store = S3Store::open(&fake.config(BUCKET)).await.expect("a store");
    let admin = S3Store::open(&fake.config_of(BUCKET, ADMIN))
        .await
        .expect("a store");
    let deleter = deletes.then_some(&admin as &dyn ObjectStore);
    let done = diagnose(&store, deleter, required, Mode::Compliance).await;
    done.expect("the store answers")
}

fn line(diagnosis: &Diagnosis, name: &str) -> String {
    let lines = diagnosis.lines();
    let found = lines.into_iter().find(|(known, _)| *known == name);
    found.expect(name).1
}

#[tokio::test]
async fn a_bucket_that_keeps_its_lock_is_worm() {
    let fake = FakeS3::start().await;
    fake.add(BUCKET, Bucket::locked());
    let mut diagnosis = of(&fake, true, true).await;
    diagnosis.role = Some("arn:aws:iam::1:role/selftest".to_owned());
    diagnosis.partitions = Some(3_000);
    assert_eq!((diagnosis.exit(), diagnosis.result()), (0, "WORM"));
    assert_eq!(line(&diagnosis, "versioning"), "Enabled");
    assert_eq!(
        line(&diagnosis, "conditional PUT"),
        "ok (refused on second write)"
    );
    assert_eq!(
        line(&diagnosis, "delete refused"),
        "yes (arn:aws:iam::1:role/selftest)"
    );
    assert_eq!(line(&diagnosis, "clock skew"), "0 s");
    assert_eq!(
        line(&diagnosis, "requests"),
        "3,000 partitions x 5 objects/h: 10,800,000 PUTs a month, about 54.00 US dollars at 0.005 per 1,000 (price table of 2025)"
    );
    let canary = line(&diagnosis, "canary");
    assert!(canary.starts_with("COMPLIANCE until 20"), "{canary}");
    assert!(canary.ends_with(", read back ok"), "{canary}");
    let json = diagnosis.json();
    assert_eq!(
        (&json["worm"], &json["exit"]),
        (&json!("s3-compliance"), &json!(0))
    );
    assert_eq!(json["canary"]["delete_refused"], true);
    assert_eq!(json["puts_a_month"], 10_800_000);
    assert!(diagnosis.text().ends_with("result           WORM\n"));
}

#[tokio::test]
async fn what_no_one_tried_is_not_told_as_refused() {
    let fake = FakeS3::start().await;
    fake.add(BUCKET, Bucket::locked());
    let diagnosis = of(&fake, true, false).await;
    assert_eq!(line(&diagnosis, "delete refused"), "not tried: --selftest-role");
    assert_eq!(diagnosis.json()["canary"]["delete_refused"], Value::Null);
}

#[tokio::test]
async fn a_store_that_only_seems_to_lock_is_found_out() {
    let check = async |quirks: Quirks, name: &str, expected: &str| {
        let fake = FakeS3::start().await;
        fake.add(
            BUCKET,
            Bucket {
                quirks,
                ..Bucket::locked()
            },
        );
        let diagnosis = of(&fake, true, true).await;
        assert_eq!(diagnosis.exit(), 3, "{name}");
        let told = line(&diagnosis, name);
        assert!(told.ends_with(expected), "{told}");
        assert!(!diagnosis.found.notes.is_empty());
    };
    let quirks = Quirks::default;
    let ignores = Quirks {
        ignores_conditions: true,
        ..quirks()
    };
    check(ignores, "conditional PUT", "IGNORED: a second write was taken").await;
    let forgets = Quirks {
        forgets_locks: true,
        ..quirks()
    };
    check(forgets, "canary", "NOT READ BACK as written").await;
    let deletes = Quirks {
        deletes_locked: true,
        ..quirks()
    };
    check(deletes, "delete refused", "NO: a version under lock was deleted").await;
}

#[tokio::test]
async fn a_bucket_without_a_lock_is_told_by_what_was_promised() {
    let fake = FakeS3::start().await;
    fake.add(BUCKET, Bucket::plain());
    let diagnosis = of(&fake, true, false).await;
    assert_eq!(diagnosis.exit(), 3);
    assert_eq!(line(&diagnosis, "object lock"), "none");
    assert_eq!(
        line(&diagnosis, "result"),
        "NOT WORM: an exporter with lock.required does not start"
    );
    let diagnosis = of(&fake, false, false).await;
    assert_eq!(
        (diagnosis.exit(), diagnosis.result()),
        (0, "tamper-evident, not WORM")
    );
}

#[tokio::test]
async fn whether_the_writer_may_delete_is_asked_without_deleting() {
    let fake = FakeS3::start().await;
    fake.add(BUCKET, Bucket::locked());
    let diagnosis = of(&fake, true, false).await;
    let deleted = fake
        .requests()
        .into_iter()
        .filter(|r| r.method == http::Method::DELETE);
    let deleted: Vec<(String, String)> = deleted.map(|r| (r.path, r.query)).collect();
    assert_eq!(deleted.len(), 1);
    assert!(deleted[0].0.ends_with("-rights"), "{deleted:?}");
    assert!(deleted[0].1.contains("versionId=null"), "{deleted:?}");
    assert_eq!(diagnosis.rights, Rights::None);
    assert_eq!(line(&diagnosis, "writer rights"), "ok; may not delete versions");
    let admin = S3Store::open(&fake.config_of(BUCKET, ADMIN))
        .await
        .expect("a store");
    let diagnosis = diagnose(&admin, None, true, Mode::Compliance)
        .await
        .expect("the store answers");
    assert_eq!(diagnosis.rights, Rights::Delete);
    assert_eq!(diagnosis.json()["writer_may_delete"], true);
}

#[test]
fn a_configuration_says_how_many_objects_there_will_be() {
    let known = |ack: &str, seconds: Option<u64>| Configured {
        id: "archive".to_owned(),
        archive: "a/b".to_owned(),
        writer: String::new(),
        key: None,
        lock: Default::default(),
        create: false,
        ack: ack.to_owned(),
        roll: RollKeys {
            max_age: None,
            max_age_small: seconds.map(|s| config::Duration(std::time::Duration::from_secs(s))),
        },
        storage: Some("file_storage/journal".to_owned()),
        layout: Layout::Hive,
        data: String::new(),
    };
    assert_eq!(objects_an_hour(None), 5);
    let awss3 = Configured {
        layout: Layout::Awss3,
        ..known("wal", None)
    };
    assert_eq!(objects_an_hour(Some(&awss3)), 75);
    assert_eq!(objects_an_hour(Some(&known("", None))), 5);
    assert_eq!(objects_an_hour(Some(&known("wal", Some(60)))), 75);
    assert_eq!(objects_an_hour(Some(&known("memory", None))), 75);
    assert_eq!(objects_an_hour(Some(&known("memory", Some(0)))), 75);
    assert_eq!(ack(&known("", None)), "wal: file_storage/journal");
    assert_eq!(promised(None, Some(&known("", None))), (true, Mode::Compliance));
    assert_eq!(promised(Some(LockMode::None), None), (false, Mode::Compliance));
    assert_eq!(
        promised(Some(LockMode::Governance), None),
        (true, Mode::Governance)
    );
}

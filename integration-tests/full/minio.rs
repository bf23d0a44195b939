//! MinIO, which enforces locks: what tier 1 believes of a store holds there too, a gateway archives into it and is
//! killed, and what an administrator does to the archive is refused or found.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use objects::blocks::S3;
use objects::test_kit::{Administrator, conformance};
use objects::{Class, Mode, ObjectStore, Retention, Version};
use storage::crash::ARCHIVE_POINTS;

use super::bucket::{Archive, bucket_at, send};
use super::kills::{End, Setup, World};
use super::server::Server;
use super::{free_port, get, installed, until};

/// A server with nothing in it, and how its administrator reaches it.
async fn minio(bucket: &str) -> Option<(Server, S3)> {
    minio_at(bucket, free_port(), Path::new("{dir}")).await
}

/// One with what lies in `data`.
pub async fn minio_at(bucket: &str, port: u16, data: &Path) -> Option<(Server, S3)> {
    let program = installed("minio/minio")?;
    let address = format!("127.0.0.1:{port}");
    let data = data.to_str().expect("text");
    let arguments = ["server", "--quiet", "--address", &address, data];
    let environment = [
        ("MINIO_ROOT_USER", "weir"),
        ("MINIO_ROOT_PASSWORD", "weir-weir"),
        ("MINIO_BROWSER", "off"),
        ("MINIO_UPDATE", "off"),
    ];
    let ready = || async move {
        let answer = get(port, "/minio/health/ready").await;
        answer.is_some_and(|(status, _)| status == 200)
    };
    let server = Server::start(program, &arguments, &environment, ready).await;
    let root = bucket_at(port, bucket, "weir", "weir-weir");
    // It calls itself ready a moment before it is.
    let probe = Administrator::of(&S3 {
        bucket: "probe".into(),
        ..root.clone()
    })
    .await;
    until("the server takes requests", || async {
        let answer = probe.store().list("", "").await;
        answer.is_err_and(|error| !matches!(error.class, Class::Retry { .. }))
    })
    .await;
    Some((server, root))
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_kept_against_an_administrator() {
    let Some((_minio, root)) = minio("").await else {
        return;
    };
    conformance::enforces_locks(&root, &root).await;
}

/// The only object of each tenant.
async fn objects_of(admin: &Administrator) -> BTreeMap<String, Version> {
    let mut objects = BTreeMap::new();
    for version in admin.versions("data/").await {
        let tenant = version
            .key
            .split("/tenant=")
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        let tenant = tenant.expect("a key names its tenant").to_owned();
        let before = objects.insert(tenant.clone(), version);
        // Of the gateway's own there are more.
        assert!(before.is_none() || tenant == "_weir", "{before:?}");
    }
    objects
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_administrator_does_to_a_locked_archive_is_refused_or_told() {
    let Some((_minio, root)) = minio("weir-locked").await else {
        return;
    };
    let admin = Administrator::of(&root).await;
    admin.make_bucket(true).await;
    let classes = "{retention: 2d, classes: [{name: gov, match: {tenant: [gov-gone, gov-less, gov-held]}, mode: GOVERNANCE}]}";
    let archive = Archive::new(&root, classes, "");
    archive.found().await;
    let mut gateway = archive.serve().await;
    for tenant in ["hidden", "covered", "kept", "gov-gone", "gov-less", "gov-held"] {
        send(&gateway, tenant).await;
    }
    gateway.stop().await;
    let objects = objects_of(&admin).await;
    let of = |tenant: &str| {
        let object = &objects[tenant];
        (object.key.as_str(), object.version.as_deref().expect("a version"))
    };
    let mut expected = Vec::new();
    let check = async |expected: &mut Vec<String>, exit: i32| {
        expected.sort();
        let (code, mut found) = archive.verified().await;
        found.sort();
        assert_eq!((code, &found), (exit, &*expected));
    };
    check(&mut expected, 0).await;
    // All of it lies under lock, the log and what the gateway says of itself as well.
    for version in [admin.versions("data/").await, admin.versions("_weir/").await].concat() {
        let mode = if version.key.contains("/class=gov/") {
            Mode::Governance
        } else {
            Mode::Compliance
        };
        let head = admin.store().head(&version.key, version.version.as_deref()).await;
        let retention = head.expect("it is there").lock.retention;
        assert_eq!(
            retention.map(|retention| retention.mode),
            Some(mode),
            "{}",
            version.key
        );
    }

    // A newer version, and a marker that hides an object from whoever lists: it is still what it was.
    let (key, _) = of("covered");
    admin.put(key, b"another").await.expect("a version");
    expected.push(format!("warn C2 shadowed {key}"));
    check(&mut expected, 0).await;
    let (key, _) = of("hidden");
    admin.hide(key).await.expect("a marker");
    expected.push(format!("warn C2 delete_marked {key}"));
    check(&mut expected, 0).await;

    // COMPLIANCE: neither deleted nor shortened, whoever asks.
    let (key, version) = of("kept");
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3_600;
    let less = |mode| Retention { mode, until: soon };
    assert!(!admin.destroy(key, version).await);
    assert!(!admin.retain(key, version, less(Mode::Compliance)).await);
    assert!(!admin.retain(key, version, less(Mode::Governance)).await);
    check(&mut expected, 0).await;

    // GOVERNANCE under a legal hold: not deleted by anybody, until somebody lifts the hold.
    let (key, version) = of("gov-held");
    let hold = async |on| admin.store().put_legal_hold(key, Some(version), on).await;
    hold(true).await.expect("a hold");
    assert!(!admin.destroy(key, version).await);
    check(&mut expected, 0).await;
    hold(false).await.expect("no hold");
    assert!(admin.destroy(key, version).await);
    expected.push(format!("fail C2 missing {key}"));
    check(&mut expected, 2).await;

    // GOVERNANCE: deleted and shortened by whoever may bypass it, and that is told.
    let (key, version) = of("gov-gone");
    assert!(admin.store().delete(key, version).await.is_err());
    assert!(admin.destroy(key, version).await);
    expected.push(format!("fail C2 missing {key}"));
    let (key, version) = of("gov-less");
    assert!(admin.retain(key, version, less(Mode::Governance)).await);
    expected.push(format!("fail P1 weaker_lock {key}"));
    check(&mut expected, 2).await;

    // The log written anew over the old one: the old one is still there, and what is read.
    let log: Vec<String> = admin
        .versions("_weir/v1/log/")
        .await
        .into_iter()
        .map(|file| file.key)
        .collect();
    let is_of = |part: &str, key: &&String| key.contains(part);
    let segment = log.iter().find(|key| is_of("/seg/", key)).expect("a segment");
    let head = log.iter().rfind(|key| is_of("/cp/", key)).expect("a head");
    for key in [segment, head] {
        admin
            .put(key, b"nothing ever happened\n")
            .await
            .expect("a version");
        expected.push(format!("warn I2 shadowed {key}"));
    }
    admin.hide(segment).await.expect("a marker");
    expected.push(format!("warn I2 delete_marked {segment}"));
    check(&mut expected, 2).await;
    for file in admin.versions(segment).await {
        let version = file.version.as_deref().expect("a version");
        // Only the administrator's own versions have no lock.
        assert_eq!(
            admin.destroy(segment, version).await,
            file.is_latest || file.size == 22
        );
    }
    expected.retain(|found| !found.ends_with(segment.as_str()));
    check(&mut expected, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_administrator_does_to_an_archive_without_locks_is_told() {
    let Some((_minio, root)) = minio("weir-plain").await else {
        return;
    };
    let admin = Administrator::of(&root).await;
    admin.make_bucket(false).await;
    let archive = Archive::new(&root, "{required: false}", "");
    archive.found().await;
    for tenants in [["gone", "changed", "kept"], ["a", "b", "c"]] {
        let mut gateway = archive.serve().await;
        for tenant in tenants {
            send(&gateway, tenant).await;
        }
        gateway.stop().await;
    }
    let (exit, found) = archive.verified().await;
    let unlocked = |found: &String| found.starts_with("warn P1 unlocked ");
    assert!(exit == 0 && found.iter().all(unlocked), "{exit} {found:#?}");
    let (code, head, said) = archive
        .weir("head", &["--policy", &archive.at("trust.policy"), "--json"])
        .await;
    assert_eq!(code, 0, "{said}");
    let objects = objects_of(&admin).await;
    let key = |tenant: &str| objects[tenant].key.clone();
    let failed = async || {
        let (exit, mut found) = archive.verified().await;
        found.retain(|found| found.starts_with("fail "));
        (exit, found)
    };

    // Objects deleted and written over, for good.
    admin.hide(&key("gone")).await;
    let missing = format!("fail C2 missing {}", key("gone"));
    assert_eq!(failed().await, (2, vec![missing.clone()]));
    admin.put(&key("changed"), b"another").await;
    let altered = format!("fail I1 altered {}", key("changed"));
    let (exit, mut found) = failed().await;
    found.sort();
    assert_eq!((exit, found), (1, vec![missing, altered]));

    // A log written anew: an entry less, as its writer might have written it.
    let log = admin.versions("_weir/v1/log/").await;
    let mut found = None;
    for file in log.iter().filter(|file| file.key.contains("/seg/")) {
        let read = admin.store().get(&file.key, None).await.expect("a segment");
        let lines = read.body.collect(1 << 20).await.expect("its lines");
        let lines = String::from_utf8(lines.to_vec()).expect("text");
        if lines.contains(&key("gone")) {
            found = Some((&file.key, lines));
        }
    }
    let (segment, lines) = found.expect("an entry names it");
    let without: String = lines
        .split_inclusive('\n')
        .filter(|line| !line.contains(&key("gone")))
        .collect();
    admin.put(segment, without.as_bytes()).await;
    let (exit, found) = failed().await;
    assert_eq!(exit, 1, "{found:#?}");
    assert!(
        found.iter().any(|found| found.starts_with("fail I2 ")),
        "{found:#?}"
    );

    // A whole log and its objects gone: whoever kept its head knows.
    let session = segment.split("/seg/").next().expect("a log").to_owned();
    for file in log.iter().filter(|file| file.key.starts_with(&session)) {
        admin.hide(&file.key).await;
    }
    std::fs::write(archive.at("head.json"), head).unwrap();
    let (policy, pin) = (archive.at("trust.policy"), archive.at("head.json"));
    let (exit, told, _) = archive
        .weir("verify", &["--policy", &policy, "--pin", &pin])
        .await;
    assert_eq!(exit, 2, "{told}");
    assert!(told.contains("FAIL C5 session_missing"), "{told}");
}

/// Killed at every step of an object's life, and at random.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_once_whenever_the_gateway_is_killed() {
    let Some((_minio, root)) = minio("weir-kills").await else {
        return;
    };
    let admin = Administrator::of(&root).await;
    admin.make_bucket(true).await;
    let setup = Setup {
        archive: true,
        bucket: Some(root.clone()),
        ..Setup::default()
    };
    let mut world = World::begin(setup).await;
    for point in ARCHIVE_POINTS {
        assert!(world.live(End::At(point, 1)).await, "{point} never comes by");
        let time = Duration::from_millis(world.rng.below(1_000));
        world.live(End::Listening(time)).await;
    }
    let report = world.finish().await;
    assert_eq!(report.kills["at random"], ARCHIVE_POINTS.len(), "{report:?}");
    assert!(report.acknowledged > 0, "{report:?}");
    // Nothing was written twice, under the same key either.
    for version in [admin.versions("data/").await, admin.versions("_weir/").await].concat() {
        assert!(version.is_latest && !version.delete_marker, "{version:?}");
    }
}

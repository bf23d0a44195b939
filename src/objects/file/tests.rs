use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;

use super::*;
use crate::store::Mode;

fn sha256(bytes: &[u8]) -> [u8; 32] {
    copy(&mut &bytes[..], &mut io::sink()).unwrap().1
}

fn put_of(bytes: &[u8]) -> Put {
    Put {
        sha256: sha256(bytes),
        if_absent: true,
        ..Put::default()
    }
}

async fn put(store: &FileStore, key: &str, bytes: &'static [u8]) -> Result<PutOutcome, StoreError> {
    store
        .put(key, Body::Bytes(Bytes::from_static(bytes)), &put_of(bytes))
        .await
}

async fn keys(store: &FileStore, prefix: &str, after: &str) -> Vec<String> {
    let page = store.list(prefix, after).await.unwrap();
    page.into_iter().map(|object| object.key).collect()
}

#[tokio::test]
async fn an_object_is_written_once_and_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path().join("archive"));
    assert_eq!(store.place(), format!("file:{}/archive", dir.path().display()));
    let stored = put(&store, "data/a=1/x.bin", b"first").await.unwrap();
    assert!(matches!(
        stored,
        PutOutcome::Stored(Stored {
            version: None,
            date: Some(_)
        })
    ));
    assert_eq!(
        put(&store, "data/a=1/x.bin", b"second").await,
        Ok(PutOutcome::Exists)
    );
    let again = Put {
        if_absent: false,
        ..put_of(b"second")
    };
    let body = Body::Bytes(Bytes::from_static(b"second"));
    assert_eq!(
        store.put("data/a=1/x.bin", body, &again).await,
        Ok(PutOutcome::Exists)
    );

    let head = store.head("data/a=1/x.bin", Some("any")).await.unwrap();
    assert_eq!((head.size, head.sha256), (5, Some(sha256(b"first"))));
    assert_eq!(head.lock, Lock::default());
    let get = store.get("data/a=1/x.bin", None).await.unwrap();
    assert_eq!(get.head.size, 5);
    assert_eq!(get.body.collect(5).await.unwrap(), "first");

    let path = dir.path().join("archive/data/a=1/x.bin");
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o440);
    let left: Vec<_> = fs::read_dir(dir.path().join("archive/.incoming"))
        .unwrap()
        .collect();
    assert!(left.is_empty());
}

#[tokio::test]
async fn a_file_is_copied_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("part");
    let bytes = vec![7; 3 * COPY_BYTES + 1];
    fs::write(&part, &bytes).unwrap();
    let store = FileStore::new(dir.path().join("archive"));
    let body = |length| Body::File {
        path: part.clone(),
        length,
    };
    let length = bytes.len() as u64;
    let short = store
        .put("x", body(length - 1), &put_of(&bytes))
        .await
        .unwrap_err();
    assert_eq!(
        (short.class, short.code.as_str()),
        (Class::Rejected, "IncompleteBody")
    );
    assert!(matches!(
        store.put("x", body(length), &put_of(&bytes)).await,
        Ok(PutOutcome::Stored(_))
    ));
    assert_eq!(store.head("x", None).await.unwrap().size, length);
    assert_eq!(fs::read(&part).unwrap(), bytes);
    let missing = Body::File {
        path: dir.path().join("none"),
        length,
    };
    let error = store.put("y", missing, &put_of(&bytes)).await.unwrap_err();
    assert_eq!(error.class, Class::Rejected);
}

#[tokio::test]
async fn parts_are_one_object() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path());
    let parts = [vec![1; COPY_BYTES + 1], Vec::new(), vec![2; 3]];
    let body = Body::Parts(parts.iter().cloned().map(Bytes::from).collect());
    let outcome = store.put("x", body, &put_of(&parts.concat())).await;
    assert!(matches!(outcome, Ok(PutOutcome::Stored(_))), "{outcome:?}");
    assert_eq!(fs::read(dir.path().join("x")).unwrap(), parts.concat());
}

#[tokio::test]
async fn what_has_another_digest_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path());
    let parts = [&b"flip"[..], b"ped"].map(Bytes::from_static).to_vec();
    for body in [Body::Bytes(Bytes::from_static(b"flipped")), Body::Parts(parts)] {
        let error = store.put("x", body, &put_of(b"flopped")).await.unwrap_err();
        assert_eq!(
            (error.class, error.code.as_str()),
            (Class::Retry { after: None }, "BadDigest")
        );
    }
    assert_eq!(store.head("x", None).await.unwrap_err().class, Class::NotFound);
    assert_eq!(fs::read_dir(dir.path().join(INCOMING)).unwrap().count(), 0);
}

#[tokio::test]
async fn of_two_writers_of_a_key_one_wins_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path());
    let (a, b) = tokio::join!(put(&store, "k/x", b"one"), put(&store, "k/x", b"two"));
    let won = [&a, &b].map(|outcome| matches!(outcome, Ok(PutOutcome::Stored(_))));
    assert!(won == [true, false] || won == [false, true], "{a:?} {b:?}");
    let stored = store
        .get("k/x", None)
        .await
        .unwrap()
        .body
        .collect(10)
        .await
        .unwrap();
    assert_eq!(stored, if won[0] { "one" } else { "two" });
}

#[tokio::test]
async fn no_key_leads_out_of_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path().join("archive"));
    fs::write(dir.path().join("secret"), "s").unwrap();
    let check = async |key: &str| {
        for error in [
            put(&store, key, b"x").await.unwrap_err(),
            store.head(key, None).await.unwrap_err(),
            store.get(key, None).await.unwrap_err(),
        ] {
            assert_eq!(error.class, Class::Rejected, "{key:?}");
        }
    };
    check("../secret").await;
    check("a/../../secret").await;
    check("/etc/passwd").await;
    check("").await;
    check("a//b").await;
    check("a/").await;
    check(".").await;
    check("a/./b").await;
    check("a\0b").await;
    check("a\\b").await;
    check(".incoming/x").await;
    check(&"x".repeat(256)).await;
    check(&"x/".repeat(600)).await;
    assert_eq!(keys(&store, "../", "").await, [""; 0]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made");
}

#[tokio::test]
async fn listings_are_in_order_of_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path());
    // A directory stands after a file whose name continues with a byte below `/`.
    let all = ["a", "b-c", "b/1", "b/2/x", "b/2/y", "b0", "c=1/é"];
    for key in all.iter().rev() {
        put(&store, key, b"x").await.unwrap();
    }
    std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
    let check = async |prefix: &str, after: &str, expected: &[&str]| {
        assert_eq!(
            keys(&store, prefix, after).await,
            expected,
            "{prefix:?} after {after:?}"
        );
    };
    check("", "", &all).await;
    for n in 0..all.len() {
        check("", all[n], &all[n + 1..]).await;
    }
    check("b", "", &["b-c", "b/1", "b/2/x", "b/2/y", "b0"]).await;
    check("b/", "", &["b/1", "b/2/x", "b/2/y"]).await;
    check("b/2", "", &["b/2/x", "b/2/y"]).await;
    check("b/2/x", "", &["b/2/x"]).await;
    check("b/", "b/2/\u{10ffff}", &[]).await;
    check("", "b/2/\u{10ffff}", &["b0", "c=1/é"]).await;
    check("none/", "", &[]).await;
    check("a/", "", &[]).await;
    let (versions, next) = store.list_versions("b/2/", None).await.unwrap();
    assert_eq!(versions.len(), 2);
    assert!(
        versions
            .iter()
            .all(|v| v.is_latest && !v.delete_marker && v.size == 1)
    );
    let (rest, end) = store.list_versions("b/2/", next.as_ref()).await.unwrap();
    assert_eq!((rest, end), (vec![], None));
    let missing = FileStore::new(dir.path().join("missing"));
    assert_eq!(missing.list("", "").await.unwrap_err().class, Class::NotFound);
}

#[tokio::test]
async fn nothing_is_promised_that_a_disk_does_not_keep() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path());
    let retention = Retention {
        mode: Mode::Compliance,
        until: 4_000_000_000,
    };
    let locked = |lock| Put { lock, ..put_of(b"x") };
    for lock in [
        Lock {
            retention: Some(retention),
            legal_hold: false,
        },
        Lock {
            retention: None,
            legal_hold: true,
        },
    ] {
        let body = Body::Bytes(Bytes::from_static(b"x"));
        assert_eq!(
            store.put("x", body, &locked(lock)).await.unwrap_err().class,
            Class::Config
        );
    }
    assert_eq!(
        store.put_legal_hold("x", None, true).await.unwrap_err().class,
        Class::Config
    );
    assert_eq!(
        store.put_retention("x", None, retention).await.unwrap_err().class,
        Class::Config
    );
    assert_eq!(store.delete("x", "1").await.unwrap_err().class, Class::Denied);
    let facts = store.facts().await;
    assert_eq!(
        (facts.versioning, facts.lock, facts.region),
        (Ok(Versioning::Off), Ok(None), None)
    );
}

#[tokio::test]
async fn what_a_crash_left_is_cleared_away_a_day_later() {
    let dir = tempfile::tempdir().unwrap();
    let incoming = dir.path().join(INCOMING);
    fs::create_dir(&incoming).unwrap();
    let file = |name: &str, age: Duration| {
        let file = File::create(incoming.join(name)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    };
    file("old", INCOMING_AGE_MAX + Duration::from_secs(60));
    file("young", INCOMING_AGE_MAX - Duration::from_secs(3600));
    put(&FileStore::new(dir.path()), "x", b"x").await.unwrap();
    let left: Vec<_> = fs::read_dir(&incoming)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["young"]);
}

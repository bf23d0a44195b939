use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::Method;

use super::*;
use crate::blocks::{Auth, S3Tls, Sse};
use crate::test_kit::{ADMIN, Bucket, EXTERNAL_ID, FakeS3, Fault, ROLE, Seen as Request, WEB_TOKEN, WRITER};

const UNTIL: u64 = 4_102_444_800;
const LOCK: Lock = Lock {
    retention: Some(Retention {
        mode: Mode::Compliance,
        until: UNTIL,
    }),
    legal_hold: false,
};

async fn fake() -> FakeS3 {
    let fake = FakeS3::start().await;
    fake.add("locked", Bucket::locked());
    fake
}

async fn locked(fake: &FakeS3) -> S3Store {
    S3Store::open(&fake.config("locked")).await.unwrap()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

fn put_of(bytes: &[u8]) -> Put {
    Put {
        sha256: sha256(bytes),
        content_type: "application/x-protobuf".into(),
        lock: LOCK,
        if_absent: true,
        ..Put::default()
    }
}

fn body(bytes: &'static [u8]) -> Body {
    Body::Bytes(Bytes::from_static(bytes))
}

async fn put(store: &S3Store, key: &str, bytes: &'static [u8]) -> Result<PutOutcome, StoreError> {
    store.put(key, body(bytes), &put_of(bytes)).await
}

async fn stored(store: &S3Store, key: &str, bytes: &'static [u8]) -> String {
    match put(store, key, bytes).await {
        Ok(PutOutcome::Stored(stored)) => stored.version.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn last(fake: &FakeS3) -> Request {
    fake.requests().pop().unwrap()
}

#[tokio::test]
async fn an_object_goes_up_in_one_request_with_its_lock_and_digest() {
    let fake = fake().await;
    let config = S3 {
        prefix: "prod/eu".into(),
        ..fake.config("locked")
    };
    let store = S3Store::open(&config).await.unwrap();
    assert_eq!(store.place(), "s3://locked/prod/eu");
    let meta = vec![
        ("weir-origin".into(), "logs.example.com/prod".into()),
        ("weir-seq".into(), "0".into()),
    ];
    let put = Put {
        meta: meta.clone(),
        ..put_of(b"hello")
    };
    let Ok(PutOutcome::Stored(stored)) = store
        .put("data/v1/class=std/x.binpb.zst", body(b"hello"), &put)
        .await
    else {
        panic!("not stored");
    };
    let seen = last(&fake);
    assert_eq!(fake.requests().len(), 1);
    assert_eq!(
        (seen.method.as_str(), &*seen.path),
        ("PUT", "/locked/prod/eu/data/v1/class=std/x.binpb.zst")
    );
    let check = |name: &str, expected: &str| assert_eq!(seen.header(name), expected, "{name}");
    check("content-length", "5");
    check("content-type", "application/x-protobuf");
    check("if-none-match", "*");
    check("x-amz-sdk-checksum-algorithm", "SHA256");
    check(
        "x-amz-checksum-sha256",
        "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
    );
    check("x-amz-object-lock-mode", "COMPLIANCE");
    check("x-amz-object-lock-retain-until-date", "2100-01-01T00:00:00Z");
    check("x-amz-object-lock-legal-hold", "");
    check("x-amz-meta-weir-origin", "logs.example.com/prod");
    check("x-amz-meta-weir-seq", "0");
    for absent in [
        "x-amz-trailer",
        "content-encoding",
        "x-amz-checksum-crc32",
        "x-amz-storage-class",
        "x-amz-acl",
    ] {
        assert_eq!(seen.headers.get(absent), None, "{absent}");
    }

    let version = stored.version.unwrap();
    let head = store
        .head("data/v1/class=std/x.binpb.zst", Some(&version))
        .await
        .unwrap();
    assert_eq!(head.sha256, Some(sha256(b"hello")));
    assert_eq!(
        (head.size, head.lock, head.version.as_deref()),
        (5, LOCK, Some(&*version))
    );
    assert_eq!((head.meta, &*head.content_type), (meta, "application/x-protobuf"));
    assert!(stored.date.is_some() && head.date >= stored.date && head.last_modified.is_some());
}

#[tokio::test]
async fn a_file_goes_up_as_memory_does() {
    let fake = fake().await;
    let store = locked(&fake).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part");
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let length = bytes.len() as u64;
    let file = |length| Body::File {
        path: path.clone(),
        length,
    };
    let outcome = store.put("x", file(length), &put_of(&bytes)).await.unwrap();
    assert!(matches!(outcome, PutOutcome::Stored(_)), "{outcome:?}");
    let seen = last(&fake);
    assert_eq!(seen.header("content-length"), "300000");
    assert_eq!(
        (seen.header("x-amz-trailer"), seen.header("content-encoding")),
        ("", "")
    );
    let get = store.get("x", None).await.unwrap();
    assert_eq!(get.head.size, length);
    assert_eq!(get.body.collect(length).await.unwrap(), bytes);

    // As do parts.
    let parts = bytes.chunks(70_000).map(Bytes::copy_from_slice).collect();
    let outcome = store.put("z", Body::Parts(parts), &put_of(&bytes)).await;
    assert!(matches!(outcome, Ok(PutOutcome::Stored(_))), "{outcome:?}");
    let seen = last(&fake);
    assert_eq!(seen.header("content-length"), "300000");
    assert_eq!(
        (seen.header("x-amz-trailer"), seen.header("transfer-encoding")),
        ("", "")
    );
    let get = store.get("z", None).await.unwrap();
    assert_eq!(get.body.collect(length).await.unwrap(), bytes);

    let error = store
        .put("y", file(length + 1), &put_of(&bytes))
        .await
        .unwrap_err();
    assert_eq!((error.class, &*error.code), (Class::Rejected, "IncompleteBody"));
    let none = Body::File {
        path: dir.path().join("none"),
        length,
    };
    assert_eq!(
        store.put("y", none, &put_of(&bytes)).await.unwrap_err().class,
        Class::Rejected
    );
    let huge = Body::File {
        path: path.clone(),
        length: OBJECT_BYTES_MAX + 1,
    };
    assert_eq!(
        store.put("y", huge, &put_of(&bytes)).await.unwrap_err().class,
        Class::Rejected
    );
}

#[tokio::test]
async fn what_is_configured_goes_with_every_object() {
    let fake = fake().await;
    let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    let config = S3 {
        storage_class: "GLACIER_IR".into(),
        acl: "bucket-owner-full-control".into(),
        expected_bucket_owner: "111122223333".into(),
        tags: pairs(&[("a b", "c&d")]),
        sse: Sse {
            kind: "aws:kms".into(),
            kms_key_id: "key-1".into(),
            context: pairs(&[("tenant", "acme")]),
            bucket_key: true,
        },
        ..fake.config("locked")
    };
    let store = S3Store::open(&config).await.unwrap();
    let put = Put {
        tags: vec![("weir-class".into(), "std".into())],
        content_encoding: "gzip".into(),
        lock: Lock {
            legal_hold: true,
            ..LOCK
        },
        ..put_of(b"x")
    };
    store.put("x", body(b"x"), &put).await.unwrap();
    let seen = last(&fake);
    let check = |name: &str, expected: &str| assert_eq!(seen.header(name), expected, "{name}");
    check("x-amz-storage-class", "GLACIER_IR");
    check("x-amz-acl", "bucket-owner-full-control");
    check("x-amz-expected-bucket-owner", "111122223333");
    check("x-amz-tagging", "a%20b=c%26d&weir-class=std");
    check("x-amz-server-side-encryption", "aws:kms");
    check("x-amz-server-side-encryption-aws-kms-key-id", "key-1");
    check(
        "x-amz-server-side-encryption-context",
        &base64::encode("{\"tenant\":\"acme\"}"),
    );
    check("x-amz-server-side-encryption-bucket-key-enabled", "true");
    check("x-amz-object-lock-legal-hold", "ON");
    check("content-encoding", "gzip");
    let head = store.head("x", None).await.unwrap();
    assert!(head.lock.legal_hold);
    assert_eq!(head.content_encoding, "gzip");

    let other = S3 {
        expected_bucket_owner: "999999999999".into(),
        ..fake.config("locked")
    };
    let other = S3Store::open(&other).await.unwrap();
    assert_eq!(put_class(&other).await, Class::Denied);
    let class = Put {
        storage_class: "DEEP_ARCHIVE".into(),
        ..put_of(b"x")
    };
    store.put("y", body(b"x"), &class).await.unwrap();
    assert_eq!(last(&fake).header("x-amz-storage-class"), "DEEP_ARCHIVE");
}

async fn put_class(store: &S3Store) -> Class {
    put(store, "z", b"z").await.unwrap_err().class
}

#[tokio::test]
async fn without_a_checksum_there_is_no_lock() {
    let fake = fake().await;
    fake.add("plain", Bucket::plain());
    let config = S3 {
        checksum: Checksum::None,
        ..fake.config("plain")
    };
    let store = S3Store::open(&config).await.unwrap();
    assert_eq!(put_class(&store).await, Class::Config);
    assert!(fake.requests().is_empty());
    let plain = Put {
        lock: Lock::default(),
        ..put_of(b"x")
    };
    let outcome = store.put("x", body(b"x"), &plain).await.unwrap();
    assert!(
        matches!(
            outcome,
            PutOutcome::Stored(Stored {
                version: None,
                date: Some(_)
            })
        ),
        "{outcome:?}"
    );
    let seen = last(&fake);
    assert_eq!(
        (
            seen.header("x-amz-checksum-sha256"),
            seen.header("x-amz-sdk-checksum-algorithm")
        ),
        ("", "")
    );
    assert_eq!(seen.header("x-amz-checksum-crc32"), "");
}

#[tokio::test]
async fn each_answer_to_a_put_has_its_class_and_is_tried_once() {
    let fake = fake().await;
    let store = locked(&fake).await;
    let retry = |seconds: Option<u64>| Class::Retry {
        after: seconds.map(Duration::from_secs),
    };
    let mut requests = 0;
    let mut check = async |status, code, headers: Vec<(&'static str, String)>, expected| {
        fake.script(Method::PUT, "/z", Fault::Answer(status, code, headers));
        let error = put(&store, "z", b"z").await.unwrap_err();
        assert_eq!(error.class, expected, "{status} {code}: {error}");
        assert_eq!((error.status, &*error.code), (Some(status), code), "{error}");
        requests += 1;
        assert_eq!(
            fake.requests().len(),
            requests,
            "{status} {code} is not tried again here"
        );
    };
    check(500, "InternalError", vec![], retry(None)).await;
    check(502, "", vec![], retry(None)).await;
    check(503, "SlowDown", vec![("retry-after", "7".into())], retry(Some(7))).await;
    check(
        503,
        "ServiceUnavailable",
        vec![("x-amz-retry-after", "3000".into())],
        retry(Some(3)),
    )
    .await;
    check(429, "", vec![], retry(None)).await;
    check(400, "RequestTimeout", vec![], retry(None)).await;
    check(409, "OperationAborted", vec![], retry(None)).await;
    check(403, "RequestTimeTooSkewed", vec![], retry(None)).await;
    check(400, "BadDigest", vec![], retry(None)).await;
    check(
        400,
        "InvalidArgument",
        vec![("x-amz-retry-after", "1000".into())],
        retry(Some(1)),
    )
    .await;
    check(403, "AccessDenied", vec![], Class::Denied).await;
    check(400, "ExpiredToken", vec![], Class::Unauthorized).await;
    check(403, "InvalidAccessKeyId", vec![], Class::Unauthorized).await;
    check(403, "SignatureDoesNotMatch", vec![], Class::Unauthorized).await;
    check(
        301,
        "PermanentRedirect",
        vec![("x-amz-bucket-region", "eu-west-1".into())],
        Class::Config,
    )
    .await;
    check(400, "AuthorizationHeaderMalformed", vec![], Class::Config).await;
    check(404, "NoSuchBucket", vec![], Class::Config).await;
    check(400, "EntityTooLarge", vec![], Class::TooLarge).await;
    check(400, "InvalidArgument", vec![], Class::Rejected).await;

    fake.script(
        Method::PUT,
        "/z",
        Fault::Answer(409, "ConditionalRequestConflict", vec![]),
    );
    assert_eq!(put(&store, "z", b"z").await, Ok(PutOutcome::Conflict));
    stored(&store, "z", b"z").await;
    assert_eq!(put(&store, "z", b"other").await, Ok(PutOutcome::Exists));
}

#[tokio::test]
async fn errors_say_what_might_help() {
    let fake = fake().await;
    let store = locked(&fake).await;
    let check = async |fault: Fault, parts: &[&str]| {
        fake.script(Method::PUT, "/z", fault);
        let text = put(&store, "z", b"z").await.unwrap_err().to_string();
        for part in parts {
            assert!(text.contains(part), "{text}");
        }
    };
    let denied = Fault::Answer(403, "AccessDenied", vec![]);
    check(
        denied,
        &[
            "PutObject 403 AccessDenied: scripted",
            "s3:PutObjectRetention",
            "kms:GenerateDataKey",
        ],
    )
    .await;
    let redirect = Fault::Answer(
        301,
        "PermanentRedirect",
        vec![("x-amz-bucket-region", "eu-west-1".into())],
    );
    check(redirect, &["the bucket is in region eu-west-1"]).await;
    let unlocked = S3Store::open(&fake.config("plain")).await.unwrap();
    let text = put(&unlocked, "z", b"z").await.unwrap_err().to_string();
    assert_eq!(
        text,
        "PutObject 404 NoSuchBucket: The specified bucket does not exist"
    );
    fake.add("plain", Bucket::plain());
    let error = put(&unlocked, "z", b"z").await.unwrap_err();
    assert_eq!(error.class, Class::Config);
    assert_eq!(
        error.to_string(),
        "PutObject 400 InvalidRequest: Bucket is missing Object Lock Configuration"
    );
}

#[tokio::test]
async fn a_lost_answer_is_found_out_by_the_same_write_again() {
    let fake = fake().await;
    let store = locked(&fake).await;
    let check = async |key: &str, fault: Fault| {
        fake.script(Method::PUT, key, fault);
        let error = put(&store, key, b"once").await.unwrap_err();
        assert_eq!(error.class, Class::Retry { after: None }, "{error}");
        assert_eq!(put(&store, key, b"once").await, Ok(PutOutcome::Exists), "{error}");
        let head = store.head(key, None).await.unwrap();
        assert_eq!(
            (head.sha256, head.size, head.lock),
            (Some(sha256(b"once")), 4, LOCK)
        );
        let (versions, _) = store.list_versions(key, None).await.unwrap();
        assert_eq!(versions.len(), 1);
    };
    check("dropped", Fault::DoThenDrop).await;
    check("answered", Fault::DoThenAnswer(500, "InternalError")).await;
    check("gateway", Fault::DoThenAnswer(504, "")).await;

    fake.script(Method::PUT, "lost", Fault::Drop);
    let error = put(&store, "lost", b"once").await.unwrap_err();
    assert_eq!((error.class, error.status), (Class::Retry { after: None }, None));
    stored(&store, "lost", b"once").await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_made_up_for() {
    let fake = fake().await;
    let store = locked(&fake).await;
    fake.set_ahead(3600);
    fake.script(
        Method::PUT,
        "/z",
        Fault::Answer(403, "RequestTimeTooSkewed", vec![]),
    );
    assert_eq!(put_class(&store).await, Class::Retry { after: None });
    stored(&store, "z", b"z").await;
    let signed = |request: &Request| {
        let date = request.header("x-amz-date").to_owned();
        let (day, time) = (&date[..8], &date[9..15]);
        let iso = format!(
            "{}-{}-{}T{}:{}:{}Z",
            &day[..4],
            &day[4..6],
            &day[6..],
            &time[..2],
            &time[2..4],
            &time[4..]
        );
        seconds(&DateTime::from_str(&iso, DateTimeFormat::DateTime).unwrap()).unwrap()
    };
    let requests = fake.requests();
    let moved = signed(&requests[1]) - signed(&requests[0]);
    assert!((3590..3700).contains(&moved), "{moved}");
}

#[tokio::test]
async fn silence_and_absence_may_pass() {
    let fake = fake().await;
    let short = S3 {
        timeout: config::Duration(Duration::from_millis(300)),
        ..fake.config("locked")
    };
    let store = S3Store::open(&short).await.unwrap();
    fake.script(Method::PUT, "/z", Fault::Hang);
    let error = put(&store, "z", b"z").await.unwrap_err();
    assert_eq!(error.class, Class::Retry { after: None });
    assert!(
        error.to_string().starts_with("PutObject: no answer in time"),
        "{error}"
    );
    let config = fake.config("locked");
    drop(fake);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let config = S3 {
        endpoint: format!("http://{nobody}"),
        ..config
    };
    let store = S3Store::open(&config).await.unwrap();
    assert_eq!(put_class(&store).await, Class::Retry { after: None });
    let facts = store.facts().await;
    assert_eq!(facts.versioning.unwrap_err().class, Class::Retry { after: None });
    assert_eq!(facts.clock, None);
}

#[tokio::test]
async fn a_stranger_is_told_so() {
    let fake = fake().await;
    let stranger = S3Store::open(&fake.config_of("locked", "STRANGER"))
        .await
        .unwrap();
    assert_eq!(put_class(&stranger).await, Class::Unauthorized);
    assert_eq!(format!("{stranger:?}"), "s3://locked");
}

#[tokio::test]
async fn versions_are_read_whatever_lies_over_them() {
    let fake = fake().await;
    let store = locked(&fake).await;
    let admin = S3Store::open(&fake.config_of("locked", ADMIN)).await.unwrap();
    let first = stored(&store, "x", b"first").await;
    let over = Put {
        if_absent: false,
        lock: Lock::default(),
        ..put_of(b"second")
    };
    admin.put("x", body(b"second"), &over).await.unwrap();
    let marker = admin
        .0
        .client
        .delete_object()
        .bucket("locked")
        .key("x")
        .send()
        .await
        .unwrap();
    assert_eq!(marker.delete_marker, Some(true));

    let get = store.get("x", Some(&first)).await.unwrap();
    assert_eq!(
        (get.head.version.as_deref(), get.head.lock),
        (Some(&*first), LOCK)
    );
    assert_eq!(get.body.collect(100).await.unwrap(), "first");
    for version in [None, Some("nonsense"), marker.version_id.as_deref()] {
        assert_eq!(
            store.get("x", version).await.unwrap_err().class,
            Class::NotFound,
            "{version:?}"
        );
        assert_eq!(
            store.head("x", version).await.unwrap_err().class,
            Class::NotFound,
            "{version:?}"
        );
    }
    assert_eq!(store.list("", "").await.unwrap(), []);
    let (versions, next) = store.list_versions("", None).await.unwrap();
    let shown: Vec<_> = versions
        .iter()
        .map(|v| (v.is_latest, v.delete_marker, v.size))
        .collect();
    assert_eq!(shown.first(), Some(&(true, true, 0)));
    assert_eq!(shown.len(), 3);
    assert!(shown.contains(&(false, false, 5)) && shown.contains(&(false, false, 6)));
    assert_eq!(next, None);

    assert_eq!(
        store.delete("x", &first).await.unwrap_err().class,
        Class::Denied,
        "no permission"
    );
    assert_eq!(
        admin.delete("x", &first).await.unwrap_err().class,
        Class::Denied,
        "under lock"
    );
    assert_eq!(
        admin.delete("x", versions[0].version.as_deref().unwrap()).await,
        Ok(()),
        "markers are not"
    );
}

#[tokio::test]
async fn retention_only_grows_and_holds_come_and_go() {
    let fake = fake().await;
    let (store, admin) = (
        locked(&fake).await,
        S3Store::open(&fake.config_of("locked", ADMIN)).await.unwrap(),
    );
    let version = stored(&store, "x", b"x").await;
    let version = Some(&*version);
    let of = |mode, until| Retention { mode, until };
    let later = of(Mode::Compliance, UNTIL + 1);
    assert_eq!(store.put_retention("x", version, later).await, Ok(()));
    for weaker in [of(Mode::Compliance, UNTIL), of(Mode::Governance, UNTIL + 2)] {
        assert_eq!(
            admin.put_retention("x", version, weaker).await.unwrap_err().class,
            Class::Denied
        );
    }
    let lock = async || store.head("x", version).await.unwrap().lock;
    assert_eq!(
        lock().await,
        Lock {
            retention: Some(later),
            legal_hold: false
        }
    );
    assert_eq!(store.put_legal_hold("x", version, true).await, Ok(()));
    assert!(lock().await.legal_hold);
    assert_eq!(store.put_legal_hold("x", version, false).await, Ok(()));
    assert!(!lock().await.legal_hold);
    assert_eq!(
        store.put_legal_hold("none", None, true).await.unwrap_err().class,
        Class::NotFound
    );
}

#[tokio::test]
async fn listings_come_in_pages() {
    let fake = fake().await;
    fake.change("locked", |bucket| bucket.page = 2);
    let config = S3 {
        prefix: "p".into(),
        ..fake.config("locked")
    };
    let store = S3Store::open(&config).await.unwrap();
    let outside = locked(&fake).await;
    stored(&outside, "q", b"x").await;
    for key in ["a/1", "a/2", "a/3", "b/<&>", "b/2"] {
        stored(&store, key, b"x").await;
    }
    let all = async |prefix: &str| {
        let (mut keys, mut after) = (Vec::new(), String::new());
        loop {
            let page = store.list(prefix, &after).await.unwrap();
            assert!(page.len() <= 2);
            let Some(last) = page.last() else { return keys };
            after.clone_from(&last.key);
            keys.extend(page.into_iter().map(|object| object.key));
        }
    };
    assert_eq!(all("").await, ["a/1", "a/2", "a/3", "b/2", "b/<&>"]);
    assert_eq!(all("a/").await, ["a/1", "a/2", "a/3"]);
    assert_eq!(all("c").await, [""; 0]);
    let page = store.list("", "a/\u{10ffff}").await.unwrap();
    assert_eq!(
        page.iter().map(|object| &*object.key).collect::<Vec<_>>(),
        ["b/2", "b/<&>"]
    );

    let (mut versions, mut mark, mut pages) = (Vec::new(), None, 0);
    loop {
        let (page, next) = store.list_versions("", mark.as_ref()).await.unwrap();
        versions.extend(page.into_iter().map(|version| version.key));
        pages += 1;
        mark = next;
        if mark.is_none() {
            break;
        }
    }
    assert_eq!((versions.len(), pages), (5, 3));
    assert!(versions.is_sorted());
}

#[tokio::test]
async fn a_bucket_says_what_it_is() {
    let fake = fake().await;
    let default = Some(DefaultRetention {
        mode: Mode::Governance,
        days: 30,
    });
    let check = async |bucket: Bucket, versioning, lock| {
        fake.add("b", bucket);
        let store = S3Store::open(&fake.config("b")).await.unwrap();
        let facts = store.facts().await;
        assert_eq!((facts.versioning, facts.lock), (Ok(versioning), Ok(lock)));
        assert_eq!(facts.region.as_deref(), Some("us-east-1"));
        assert_eq!(facts.clock.map(|clock| clock.ahead()), Some(0));
    };
    check(Bucket::plain(), Versioning::Off, None).await;
    check(
        Bucket::locked(),
        Versioning::Enabled,
        Some(LockRules { default: None }),
    )
    .await;
    check(
        Bucket {
            default,
            ..Bucket::locked()
        },
        Versioning::Enabled,
        Some(LockRules { default }),
    )
    .await;
    let suspended = Bucket {
        versioning: Versioning::Suspended,
        ..Bucket::plain()
    };
    check(suspended, Versioning::Suspended, None).await;
    fake.change("b", |bucket| bucket.quirks.knows_no_settings = true);
    let store = S3Store::open(&fake.config("b")).await.unwrap().with_bucket("b");
    let facts = store.facts().await;
    assert_eq!(
        facts.versioning.unwrap_err().to_string().split(':').next(),
        Some("GetBucketVersioning 501 NotImplemented")
    );
    assert_eq!(facts.lock.unwrap_err().class, Class::Config);
    fake.set_ahead(-90_000);
    let ahead = store.facts().await.clock.unwrap().ahead();
    assert!((-90_001..=-89_900).contains(&ahead), "{ahead}");
}

#[tokio::test]
async fn a_proxy_is_gone_through() {
    let fake = fake().await;
    let config = S3 {
        endpoint: "http://s3.example.invalid".into(),
        proxy_url: fake.endpoint().into(),
        ..fake.config_of("locked", WRITER)
    };
    let store = S3Store::open(&config).await.unwrap();
    stored(&store, "x", b"x").await;
    assert_eq!(last(&fake).header("host"), "s3.example.invalid");
}

#[tokio::test]
async fn a_store_of_ones_own_authority_is_believed() {
    let (fake, pem) = FakeS3::start_tls().await;
    fake.add("locked", Bucket::locked());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, &pem).unwrap();
    let by_file = S3Tls {
        ca_file: path.to_str().unwrap().to_owned(),
        ..S3Tls::default()
    };
    let in_line = S3Tls {
        ca_pem: pem.into(),
        ..S3Tls::default()
    };
    for (key, tls) in [("by-file", by_file), ("in-line", in_line)] {
        let store = S3Store::open(&S3 {
            tls,
            ..fake.config("locked")
        })
        .await
        .unwrap();
        stored(&store, key, b"x").await;
    }
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = S3Tls {
        ca_pem: other.cert.pem().into(),
        ..S3Tls::default()
    };
    let store = S3Store::open(&S3 {
        tls,
        ..fake.config("locked")
    })
    .await
    .unwrap();
    let error = put(&store, "stranger", b"x").await.unwrap_err();
    assert_eq!(error.class, Class::Retry { after: None });
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// Where the service that gives roles is, is said by the environment, which belongs to a whole process: so this test runs
/// itself once more with it.
#[test]
fn roles_are_taken_on() {
    const CHILD: &str = "WEIR_TEST_ROLES";
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fake = runtime.block_on(fake());
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, WEB_TOKEN).unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "s3::tests::as_a_role_in_a_process_of_its_own",
            "--nocapture",
        ])
        .env(CHILD, fake.endpoint())
        .env("WEIR_TEST_TOKEN", &token)
        .env("AWS_ENDPOINT_URL_STS", fake.endpoint())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", dir.path().join("none"))
        .env("AWS_SHARED_CREDENTIALS_FILE", dir.path().join("none"))
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    let stored = fake
        .requests()
        .into_iter()
        .filter(|request| request.method == Method::PUT);
    let paths: Vec<String> = stored.map(|request| request.path).collect();
    assert_eq!(paths, ["/locked/by-role", "/locked/by-token"]);
    let tokens = fake
        .requests()
        .into_iter()
        .filter(|request| request.method == Method::PUT);
    assert!(
        tokens.clone().count() == 2
            && tokens
                .into_iter()
                .all(|r| r.header("x-amz-security-token") == "of-role")
    );
}

/// The other half of `roles_are_taken_on`, which looks at what this did.
#[tokio::test]
async fn as_a_role_in_a_process_of_its_own() {
    let Ok(endpoint) = std::env::var("WEIR_TEST_ROLES") else {
        return;
    };
    let base = S3 {
        bucket: "locked".into(),
        endpoint,
        force_path_style: true,
        role_arn: ROLE.into(),
        ..S3::default()
    };
    let keys = Auth {
        access_key_id: "BASE".into(),
        secret_access_key: "secret".to_owned().into(),
        ..Auth::default()
    };
    let by_role = S3 {
        auth: keys.clone(),
        external_id: EXTERNAL_ID.into(),
        ..base.clone()
    };
    stored(&S3Store::open(&by_role).await.unwrap(), "by-role", b"x").await;
    let token = Auth {
        web_identity_token_file: std::env::var("WEIR_TEST_TOKEN").unwrap(),
        ..Auth::default()
    };
    stored(
        &S3Store::open(&S3 {
            auth: token,
            ..base.clone()
        })
        .await
        .unwrap(),
        "by-token",
        b"x",
    )
    .await;
    // A role that is refused, and no credentials at all.
    for refused in [
        S3 {
            auth: keys,
            ..base.clone()
        },
        S3 {
            role_arn: String::new(),
            ..base
        },
    ] {
        let error = put(&S3Store::open(&refused).await.unwrap(), "refused", b"x")
            .await
            .unwrap_err();
        assert_eq!(error.class, Class::Unauthorized, "{error}");
    }
}

#[tokio::test]
async fn an_object_that_must_be_restored_first_says_where_it_lies() {
    let fake = fake().await;
    let store = locked(&fake).await;
    let version = stored(&store, "x", b"x").await;
    let check = async |head: Fault, expected: &str| {
        let asleep = Fault::Answer(403, "InvalidObjectState", Vec::new());
        fake.script(Method::GET, "/locked/x", asleep);
        fake.script(Method::HEAD, "/locked/x", head);
        let error = store.get("x", Some(&version)).await.unwrap_err();
        assert_eq!(error.class, Class::Rejected);
        let told = error.to_string();
        assert!(told.starts_with("GetObject 403 InvalidObjectState: "), "{told}");
        assert!(told.contains(expected), "{told}");
        assert!(last(&fake).query.contains(&version), "{:?}", last(&fake));
    };
    let head = |headers: &[(&'static str, &str)]| {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Fault::Answer(200, "", headers.collect())
    };
    let class = ("x-amz-storage-class", "GLACIER");
    check(
        head(&[class]),
        "in storage class GLACIER, from which nothing is read; ask for",
    )
    .await;
    let copy = ("x-amz-restore", "ongoing-request=\"true\"");
    check(head(&[class, copy]), "a copy is being restored").await;
    // What cannot be found out is left out.
    check(Fault::Answer(403, "", Vec::new()), "scripted").await;
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_is_a_fault_at_start() {
    let check = async |tls: &str, part: &str| {
        let yaml = format!("{{bucket: b, tls: {tls}}}");
        let config: S3 = config::Section::from_yaml(&yaml).unwrap().parse().unwrap();
        let error = S3Store::open(&config).await.unwrap_err();
        assert_eq!(error.class, Class::Config);
        assert!(error.to_string().contains(part), "{error}");
    };
    check("{ca_file: /nonexistent/ca.pem}", "ca_file").await;
    check("{ca_pem: nonsense}", "tls").await;
}

//! What a store that enforces locks must do, as one run against any of them: the one in this process, and real ones.
//!
//! So what the tests of tier 1 believe of a store is held against stores that others wrote. Every object is left behind
//! under a lock of some minutes, in buckets with new names.

use std::fmt::Debug;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use super::admin::Administrator;
use crate::blocks::S3;
use crate::check::{Wanted, Worm, check};
use crate::error::{Class, StoreError};
use crate::s3::{S3Store, now};
use crate::store::{Body, Lock, LockRules, Mode, ObjectStore, Put, PutOutcome, Retention, Versioning};

/// Seconds that what is left behind stays locked.
const LOCKED: u64 = 900;

/// The part that a store must do whose locks can be seen and undone: for servers that only pretend.
pub async fn shows_locks(writer: &S3, admin: &S3) {
    run(writer, admin, false).await;
}

/// Runs all of it; `admin` may make buckets, delete and bypass GOVERNANCE, `writer` may be the same. The buckets that
/// they name are ignored. Panics at the first thing that is not so.
pub async fn enforces_locks(writer: &S3, admin: &S3) {
    run(writer, admin, true).await;
}

async fn run(writer: &S3, admin: &S3, is_strict: bool) {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).expect("random numbers");
    let id = u64::from_le_bytes(random);
    let (locked, plain) = (format!("weir-locked-{id:016x}"), format!("weir-plain-{id:016x}"));
    let admin_of = async |bucket: &str| {
        let bucket = bucket.to_owned();
        Administrator::of(&S3 {
            bucket,
            ..admin.clone()
        })
        .await
    };
    admin_of(&plain).await.make_bucket(false).await;
    let admin = admin_of(&locked).await;
    admin.make_bucket(true).await;
    let writer = S3Store::open(&S3 {
        bucket: locked,
        ..writer.clone()
    })
    .await
    .expect("the writer");
    if is_strict {
        is_checked(&writer, admin.store(), &writer.with_bucket(&plain)).await;
    }
    writes_once(&writer, is_strict).await;
    for mode in [Mode::Compliance, Mode::Governance] {
        keeps(&writer, &admin, mode, is_strict).await;
    }
    holds(&writer, &admin).await;
}

async fn is_checked(writer: &S3Store, admin: &S3Store, plain: &S3Store) {
    let facts = writer.facts().await;
    assert_eq!(facts.versioning, Ok(Versioning::Enabled));
    assert_eq!(facts.lock, Ok(Some(LockRules { default: None })));
    assert_eq!(facts.clock.map(|clock| clock.ahead()), Some(0));
    let wanted = Wanted {
        required: true,
        mode: Some(Mode::Compliance),
        create: true,
        session: "s",
    };
    let found = check(writer, Some(admin), wanted).await;
    let found = found.expect("a locked bucket passes the check");
    assert_eq!((found.worm, found.notes), (Worm::Compliance, vec![]));
    let canary = found.canary.expect("a canary");
    assert_eq!(
        (canary.readback, canary.conditional, canary.delete_refused),
        (true, true, Some(true))
    );

    assert_eq!(plain.facts().await.versioning, Ok(Versioning::Off));
    assert_eq!(plain.facts().await.lock, Ok(None));
    let refused = check(plain, None, wanted)
        .await
        .expect_err("a plain bucket does not pass");
    assert!(refused.text.contains("keeps no versions"), "{refused}");
    let put = put(
        b"x",
        Lock {
            retention: Some(retention(Mode::Compliance)),
            legal_hold: false,
        },
    );
    assert_class(plain.put("x", body(b"x"), &put).await, Class::Config);
}

async fn writes_once(writer: &S3Store, is_strict: bool) {
    let put = put(
        b"first",
        Lock {
            retention: Some(retention(Mode::Compliance)),
            legal_hold: false,
        },
    );
    let version = stored(writer.put("once", body(b"first"), &put).await);
    assert_eq!(
        writer.put("once", body(b"first"), &put).await,
        Ok(PutOutcome::Exists)
    );
    // A refused write leaves no connection behind that the next call meets.
    let head = writer
        .head("once", Some(&version))
        .await
        .expect("what was stored");
    assert_eq!(
        (head.sha256, head.size, head.lock),
        (Some(put.sha256), 5, put.lock)
    );
    assert_eq!(
        (head.meta, &*head.content_type),
        (put.meta.clone(), "application/x-protobuf")
    );
    if is_strict {
        let broken = Put {
            sha256: [7; 32],
            ..put.clone()
        };
        assert_class(
            writer.put("broken", body(b"first"), &broken).await,
            Class::Retry { after: None },
        );
        assert_class(writer.head("broken", None).await, Class::NotFound);
    }
    assert_class(
        writer
            .get("once", Some("00000000-0000-0000-0000-000000000000"))
            .await,
        Class::NotFound,
    );
    let listed = writer.list("on", "").await.expect("a listing");
    assert_eq!(
        listed
            .iter()
            .map(|object| (&*object.key, object.size))
            .collect::<Vec<_>>(),
        [("once", 5)]
    );
    assert_eq!(writer.list("on", "once").await, Ok(vec![]));
}

/// A version under retention survives being written over, marked as deleted, and deleted.
async fn keeps(writer: &S3Store, admin: &Administrator, mode: Mode, is_strict: bool) {
    let key = format!("kept/{}", mode.as_str());
    let lock = Lock {
        retention: Some(retention(mode)),
        legal_hold: false,
    };
    let version = stored(writer.put(&key, body(b"kept"), &put(b"kept", lock)).await);
    admin
        .put(&key, b"over")
        .await
        .expect("a locked bucket has versions");
    let marker = admin.hide(&key).await.expect("a marker has a version");
    let read = async || {
        let get = writer
            .get(&key, Some(&version))
            .await
            .expect("it is there by its version");
        assert_eq!(get.body.collect(100).await.as_deref(), Ok(&b"kept"[..]));
    };
    read().await;
    assert_class(writer.get(&key, None).await, Class::NotFound);
    assert_class(writer.head(&key, Some(&marker)).await, Class::NotFound);
    let (versions, next) = writer.list_versions("kept/", None).await.expect("a listing");
    let of_key: Vec<_> = versions
        .iter()
        .filter(|v| v.key == key)
        .map(|v| (v.delete_marker, v.size))
        .collect();
    assert_eq!((of_key.len(), of_key.first(), next), (3, Some(&(true, 0)), None));

    assert_class(admin.store().delete(&key, &version).await, Class::Denied);
    if is_strict {
        let shorter = Retention {
            mode,
            until: now() + LOCKED / 2,
        };
        assert_class(
            admin.store().put_retention(&key, Some(&version), shorter).await,
            Class::Denied,
        );
        let longer = Retention {
            mode,
            until: now() + 2 * LOCKED,
        };
        assert_eq!(writer.put_retention(&key, Some(&version), longer).await, Ok(()));
        let head = writer
            .head(&key, Some(&version))
            .await
            .expect("it is there by its version");
        assert_eq!(head.lock.retention, Some(longer));
    }
    read().await;

    let bypassed = admin.destroy(&key, &version).await;
    match mode {
        Mode::Compliance => {
            assert!(!bypassed, "COMPLIANCE cannot be bypassed");
            read().await;
        }
        Mode::Governance => {
            assert!(bypassed, "GOVERNANCE can be bypassed by whoever may");
            assert_class(writer.head(&key, Some(&version)).await, Class::NotFound);
        }
    }
}

async fn holds(writer: &S3Store, admin: &Administrator) {
    let put = put(
        b"held",
        Lock {
            retention: None,
            legal_hold: true,
        },
    );
    let version = stored(writer.put("held", body(b"held"), &put).await);
    let head = writer
        .head("held", Some(&version))
        .await
        .expect("what was stored");
    assert_eq!(head.lock, put.lock);
    assert_class(admin.store().delete("held", &version).await, Class::Denied);
    assert!(
        !admin.destroy("held", &version).await,
        "a hold cannot be bypassed"
    );
    assert_eq!(writer.put_legal_hold("held", Some(&version), false).await, Ok(()));
    assert_eq!(admin.store().delete("held", &version).await, Ok(()));
}

fn retention(mode: Mode) -> Retention {
    Retention {
        mode,
        until: now() + LOCKED,
    }
}

fn put(bytes: &[u8], lock: Lock) -> Put {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Put {
        sha256,
        content_type: "application/x-protobuf".into(),
        lock,
        meta: vec![("weir-seq".into(), "0".into())],
        if_absent: true,
        ..Put::default()
    }
}

fn body(bytes: &'static [u8]) -> Body {
    Body::Bytes(Bytes::from_static(bytes))
}

fn stored(outcome: Result<PutOutcome, StoreError>) -> String {
    match outcome {
        Ok(PutOutcome::Stored(stored)) => stored.version.expect("a locked bucket has versions"),
        other => panic!("not stored: {other:?}"),
    }
}

#[track_caller]
fn assert_class<T: Debug>(result: Result<T, StoreError>, expected: Class) {
    match result {
        Err(error) => assert_eq!(error.class, expected, "{error}"),
        Ok(value) => panic!("{value:?} where {expected:?} was due"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ADMIN, FakeS3};

    #[tokio::test]
    async fn the_store_in_this_process_does() {
        let fake = FakeS3::start().await;
        super::enforces_locks(&fake.config(""), &fake.config_of("", ADMIN)).await;
    }
}

use super::*;
use crate::file::FileStore;

fn wanted(required: bool, mode: Mode) -> Wanted<'static> {
    Wanted {
        required,
        mode: Some(mode),
        create: true,
        session: "019aa1c2",
    }
}

#[tokio::test]
async fn a_directory_is_no_worm_storage() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path());
    let error = check(&store, None, wanted(true, Mode::Compliance))
        .await
        .unwrap_err();
    assert_eq!(
        error.text,
        format!(
            "file:{} is a store without versions and locks.\n  WORM storage is promised here (lock.required: true), so nothing is \
             written.\n  Use a bucket: store.s3\n  Or accept an unlocked archive: lock.required: false  (reports will then say \
             \"tamper-evident, not WORM\")",
            dir.path().display()
        )
    );
    assert!(!error.may_pass);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

    let found = check(&store, None, wanted(false, Mode::Compliance))
        .await
        .unwrap();
    assert_eq!(
        (found.worm, found.is_founded, found.notes.len()),
        (Worm::None, false, 2)
    );
    let canary = found.canary.unwrap();
    assert!(
        canary.key.starts_with("_weir/v1/selftest/019aa1c2-"),
        "{}",
        canary.key
    );
    assert_eq!(
        (canary.readback, canary.conditional, canary.retention),
        (true, true, None)
    );

    let must_be_there = Wanted {
        create: false,
        ..wanted(false, Mode::Compliance)
    };
    let error = check(&store, None, must_be_there).await.unwrap_err();
    assert!(
        error
            .text
            .contains("holds no archive: _weir/v1/archive.json is missing."),
        "{error}"
    );
}

#[tokio::test]
async fn a_session_may_start_a_hundred_times_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path());
    for start in 0..300 {
        let done = check(&store, None, wanted(false, Mode::Compliance)).await;
        assert!(done.is_ok(), "start {start}: {:?}", done.err().map(|e| e.text));
    }
}

#[cfg(feature = "aws")]
mod in_buckets {
    use http::Method;

    use super::*;
    use crate::s3::S3Store;
    use crate::store::DefaultRetention;
    use crate::test_kit::{ADMIN, Bucket, FakeS3, Fault, Quirks};

    struct Case {
        fake: FakeS3,
        store: S3Store,
        deleter: S3Store,
    }

    async fn case(bucket: Bucket) -> Case {
        let fake = FakeS3::start().await;
        fake.add("acme", bucket);
        Case {
            store: S3Store::open(&fake.config("acme")).await.unwrap(),
            deleter: S3Store::open(&fake.config_of("acme", ADMIN)).await.unwrap(),
            fake,
        }
    }

    fn quirk(quirks: Quirks) -> Bucket {
        Bucket {
            quirks,
            ..Bucket::locked()
        }
    }

    #[tokio::test]
    async fn a_locked_bucket_passes() {
        let case = case(Bucket::locked()).await;
        let run = async |mode, deleter: Option<&dyn ObjectStore>| {
            check(&case.store, deleter, wanted(true, mode)).await.unwrap()
        };
        let found = run(Mode::Compliance, None).await;
        assert_eq!(
            (found.worm, found.versioning),
            (Worm::Compliance, Some(Versioning::Enabled))
        );
        assert_eq!(
            (found.bucket_lock, found.notes),
            (Some(LockRules { default: None }), vec![])
        );
        let canary = found.canary.unwrap();
        assert_eq!(
            (canary.readback, canary.conditional, canary.delete_refused),
            (true, true, None)
        );
        let head = case
            .store
            .head(&canary.key, canary.version.as_deref())
            .await
            .unwrap();
        assert_eq!(head.lock.retention, canary.retention);
        assert_eq!(head.size, 32);
        let until = canary.retention.unwrap().until;
        assert!((86_000..=86_400).contains(&(until - now())), "{until}");

        // Each run has its own canary: the second of the clock is in its key.
        let second = Wanted {
            session: "019aa1c3",
            ..wanted(true, Mode::Compliance)
        };
        let found = check(&case.store, Some(&case.deleter), second).await.unwrap();
        assert_eq!(found.canary.unwrap().delete_refused, Some(true));
        let third = Wanted {
            session: "019aa1c4",
            ..wanted(true, Mode::Governance)
        };
        let found = check(&case.store, Some(&case.deleter), third).await.unwrap();
        assert_eq!(
            (found.worm, found.worm.as_str()),
            (Worm::Governance, "s3-governance")
        );
    }

    #[tokio::test]
    async fn what_does_not_hold_is_refused_and_named() {
        let check = async |bucket: Bucket, has_deleter: bool, part: &str| {
            let case = case(bucket).await;
            let deleter: Option<&dyn ObjectStore> = if has_deleter { Some(&case.deleter) } else { None };
            let error = check(&case.store, deleter, wanted(true, Mode::Compliance))
                .await
                .unwrap_err();
            assert!(error.text.starts_with("bucket \"acme\" "), "{error}");
            assert!(error.text.contains(part), "{error}");
            assert!(error.text.contains("lock.required: false"), "{error}");
            assert!(!error.may_pass, "{error}");
            // The same without the promise is said aloud, and passes.
            let relaxed = Wanted {
                session: "019aa1c3",
                ..wanted(false, Mode::Compliance)
            };
            let found = check(&case.store, deleter, relaxed).await.unwrap();
            assert_eq!(found.worm, Worm::None, "{part}");
            assert_eq!(
                found.notes.last().map(String::as_str),
                Some("bucket \"acme\": tamper-evident, not WORM (lock.required: false)")
            );
        };
        let no_lock = Bucket {
            lock: false,
            ..Bucket::locked()
        };
        check(
            no_lock.clone(),
            false,
            "has no Object Lock (GetObjectLockConfiguration: ObjectLock",
        )
        .await;
        check(
            no_lock,
            false,
            "aws s3api put-object-lock-configuration --bucket acme ",
        )
        .await;
        check(Bucket::plain(), false, "keeps no versions").await;
        check(
            Bucket::plain(),
            false,
            "aws s3api put-bucket-versioning --bucket acme ",
        )
        .await;
        let suspended = Bucket {
            versioning: Versioning::Suspended,
            ..Bucket::plain()
        };
        check(suspended, false, "has suspended its versioning").await;
        let knows_no_settings = Quirks {
            knows_no_settings: true,
            forgets_locks: true,
            ..Quirks::default()
        };
        check(
            quirk(knows_no_settings),
            false,
            "GetBucketVersioning 501 NotImplemented",
        )
        .await;
        let forgets_locks = Quirks {
            forgets_locks: true,
            ..Quirks::default()
        };
        check(quirk(forgets_locks), false, "no lock is shown").await;
        let only_governance = Quirks {
            only_governance: true,
            ..Quirks::default()
        };
        check(
            quirk(only_governance),
            false,
            "GOVERNANCE is shown where COMPLIANCE was sent",
        )
        .await;
        let hides_digests = Quirks {
            hides_digests: true,
            ..Quirks::default()
        };
        check(quirk(hides_digests), false, "no SHA-256 is shown").await;
        let ignores_conditions = Quirks {
            ignores_conditions: true,
            ..Quirks::default()
        };
        check(quirk(ignores_conditions), false, "ignores conditional writes").await;
        let deletes_locked = Quirks {
            deletes_locked: true,
            ..Quirks::default()
        };
        check(quirk(deletes_locked), true, "deleted a version under lock").await;
    }

    #[tokio::test]
    async fn a_longer_default_is_remembered_and_no_fault() {
        let default = Some(DefaultRetention {
            mode: Mode::Compliance,
            days: 3650,
        });
        let case = case(Bucket {
            default,
            ..Bucket::locked()
        })
        .await;
        let found = check(&case.store, None, wanted(true, Mode::Compliance))
            .await
            .unwrap();
        assert_eq!(
            (found.worm, found.bucket_lock),
            (Worm::Compliance, Some(LockRules { default }))
        );
    }

    #[tokio::test]
    async fn clocks_agree_or_nothing_is_dated() {
        let case = case(Bucket::locked()).await;
        let run = async |ahead, session| {
            case.fake.set_ahead(ahead);
            check(
                &case.store,
                None,
                Wanted {
                    session,
                    ..wanted(true, Mode::Compliance)
                },
            )
            .await
        };
        let found = run(30, "a").await.unwrap();
        assert_eq!((found.worm, found.notes.len()), (Worm::Compliance, 1));
        assert!(found.notes[0].ends_with("s ahead of ours"), "{:?}", found.notes);
        // Ours and the store's are both 24 h before the canary's end.
        let until = found.canary.unwrap().retention.unwrap().until;
        assert!(until > now() + 86_400, "{until}");
        let found = run(-30, "b").await.unwrap();
        assert!(found.notes[0].ends_with("s behind ours"), "{:?}", found.notes);
        for ahead in [120, -120] {
            let error = run(ahead, "c").await.unwrap_err();
            assert!(
                error.may_pass && error.text.contains("at most 60 s are allowed"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn what_may_pass_is_no_verdict() {
        let case = case(Bucket::locked()).await;
        let check = async |method: Method, path: &str, fault: Fault, required| {
            case.fake.script(method, path, fault);
            let error = check(&case.store, None, wanted(required, Mode::Compliance))
                .await
                .unwrap_err();
            assert!(error.may_pass, "{error}");
        };
        let busy = || Fault::Answer(503, "SlowDown", vec![]);
        for required in [true, false] {
            check(Method::GET, "/acme", busy(), required).await;
            check(Method::HEAD, "archive.json", busy(), required).await;
            check(Method::PUT, "selftest", busy(), required).await;
            check(Method::PUT, "selftest", Fault::DoThenDrop, required).await;
        }
    }

    #[tokio::test]
    async fn an_archive_is_founded_or_must_be() {
        let case = case(Bucket::locked()).await;
        let closed = |session| Wanted {
            create: false,
            session,
            ..wanted(true, Mode::Compliance)
        };
        let error = check(&case.store, None, closed("a")).await.unwrap_err();
        assert!(error.text.contains("weir archive init"), "{error}");
        let put = Put {
            sha256: sha256(b"{}"),
            if_absent: true,
            ..Put::default()
        };
        case.store
            .put(ARCHIVE, Body::Bytes(Bytes::from_static(b"{}")), &put)
            .await
            .unwrap();
        assert!(check(&case.store, None, closed("b")).await.unwrap().is_founded);
    }

    #[tokio::test]
    async fn rules_of_a_stores_own_are_shown_by_a_deletion_alone() {
        let external = |session| Wanted {
            mode: None,
            session,
            ..wanted(true, Mode::Compliance)
        };
        let case = case(Bucket {
            versioning: Versioning::Enabled,
            ..Bucket::plain()
        })
        .await;
        let error = check(&case.store, None, external("a")).await.unwrap_err();
        assert!(error.text.contains("selftest.role_arn"), "{error}");
        let error = check(&case.store, Some(&case.deleter), external("b"))
            .await
            .unwrap_err();
        assert!(error.text.contains("deleted a version"), "{error}");
        case.fake.change("acme", |bucket| {
            (bucket.lock, bucket.default) = (
                true,
                Some(DefaultRetention {
                    mode: Mode::Compliance,
                    days: 1,
                }),
            );
        });
        let found = check(&case.store, Some(&case.deleter), external("c"))
            .await
            .unwrap();
        assert_eq!((found.worm, found.worm.as_str()), (Worm::External, "external"));
    }
}

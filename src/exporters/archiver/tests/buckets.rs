//! On a bucket that locks: the proof is repeated, and orphans are told apart by what lies beside an object.

use std::sync::Arc;

use component::Collect;
use evidence::digest::sha256;
use objects::test_kit::{ADMIN, Bucket, FakeS3, Quirks};
use objects::{Body, ObjectStore, Put, S3Store};
use tokio::time::Instant;

use super::super::layout::Layout;
use super::super::recover::{self, session_of};
use super::super::run::Shared;
use super::super::{Archive, adopt, selftest};
use super::rig::{Rig, layouts};

const LOCKED: &str = "lock: {required: true}\nlog: {checkpoint_interval: 1s}";

struct Case {
    fake: FakeS3,
    store: Arc<dyn ObjectStore>,
    rig: Rig,
    archive: Archive,
}

impl Case {
    async fn new(yaml: &str, has_deleter: bool) -> Case {
        Case::of(Rig::new(yaml), has_deleter).await
    }

    async fn of(rig: Rig, has_deleter: bool) -> Case {
        let fake = FakeS3::start().await;
        fake.add("acme", Bucket::locked());
        let store = S3Store::open(&fake.config("acme")).await.expect("it opens");
        let admin = S3Store::open(&fake.config_of("acme", ADMIN))
            .await
            .expect("it opens");
        let store: Arc<dyn ObjectStore> = Arc::new(store);
        let deleter = has_deleter.then(|| Arc::new(admin) as Arc<dyn ObjectStore>);
        // The bucket has its own clock, which is the machine's.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let ahead = now.expect("it is after 1970").as_millis() as i64 - super::rig::NOW_MS as i64;
        rig.ahead.store(ahead, std::sync::atomic::Ordering::Relaxed);
        let archive = rig.start_on(store.clone(), deleter, 0).await.expect("it starts");
        Case {
            fake,
            store,
            rig,
            archive,
        }
    }

    fn shared(&self) -> Arc<Shared> {
        self.archive.running(None).expect("it runs").0
    }

    async fn stop(self) -> (FakeS3, Rig) {
        self.archive
            .stop(Instant::now() + std::time::Duration::from_secs(30))
            .await;
        (self.fake, self.rig)
    }
}

#[tokio::test]
async fn a_deletion_is_tried_and_must_be_refused() {
    for has_deleter in [false, true] {
        let case = Case::new(LOCKED, has_deleter).await;
        let shared = case.shared();
        let refused = has_deleter.then_some(true);
        let first = shared.worm.load_full();
        let canary = first.canary.clone().expect("there is one");
        assert_eq!(
            (first.worm.as_str(), canary.delete_refused),
            ("s3-compliance", refused)
        );
        let again = selftest::again(&shared).await.expect("it comes to an end");
        let next = again.canary.clone().expect("there is one");
        assert_eq!(
            (again.worm.as_str(), next.delete_refused),
            ("s3-compliance", refused)
        );
        assert_ne!(next.key, canary.key);
        drop(shared);
        case.stop().await;
    }
}

#[tokio::test]
async fn a_lock_that_holds_no_more_is_said_and_what_comes_is_kept() {
    let case = Case::new(LOCKED, true).await;
    let shared = case.shared();
    assert_eq!(shared.metrics.worm_ok.get(), 1);
    case.fake.change("acme", |bucket| {
        bucket.quirks = Quirks {
            deletes_locked: true,
            ..Quirks::default()
        };
    });
    let found = selftest::again(&shared).await.expect("it comes to an end");
    assert_eq!(found.worm, "none");
    assert_eq!(found.canary.expect("there is one").delete_refused, Some(false));
    assert_eq!(shared.metrics.worm_ok.get(), 0);
    assert_eq!(shared.worm.load().worm, "none");
    case.fake
        .change("acme", |bucket| bucket.quirks = Quirks::default());
    let found = selftest::again(&shared).await.expect("it comes to an end");
    assert_eq!(found.worm, "s3-compliance");
    assert_eq!(shared.metrics.worm_ok.get(), 1);
    // Of a store that does not answer nothing is known.
    case.fake.set_ahead(3600);
    assert_eq!(selftest::again(&shared).await, None);
    assert_eq!(shared.metrics.worm_ok.get(), 1);
    drop(shared);
    case.stop().await;
}

#[tokio::test]
async fn an_orphan_is_ours_if_its_metadata_say_so() {
    for (layout, begin) in layouts() {
        orphans_of(layout, begin.split('2').next().expect("it begins")).await;
    }
}

async fn orphans_of(layout: Layout, begin: &str) {
    let case = Case::of(Rig::new(LOCKED).laid_out(layout.clone()), false).await;
    case.rig.record(&["a"], 2);
    case.rig.pump(&case.archive).await;
    let shared = case.shared();
    let origin = shared.writer().origin();
    let before = session_of(&*case.store, origin.writer(), origin.session()).await;
    let before: recover::Before = before.expect("it reads").expect("it has a head");
    let found = adopt::orphans(&shared, &before).await.expect("it lists");
    let [named] = &found[..] else { panic!("{found:?}") };
    assert_eq!((named.seq, before.named.contains(&0)), (0, true));
    let (obj, version) = adopt::read(&shared, named, &origin)
        .await
        .expect("it reads")
        .expect("ours");
    assert!(version.is_some());
    assert!(obj.key.starts_with(begin), "{}", obj.key);
    assert_eq!(obj.class(), Some("std"));
    assert_eq!(
        (obj.tenant.as_str(), obj.signal.as_str(), obj.n),
        ("a", "logs", 2)
    );
    assert_eq!(obj.lock.map(|lock| lock.mode).as_deref(), Some("COMPLIANCE"));
    // The same bytes under the names of later numbers: by others, by nobody, and by us.
    let bytes = case.store.get(&obj.key, None).await.expect("it is there");
    let bytes = bytes.body.collect(1 << 20).await.expect("it is read");
    for (seq, says) in [
        (1, Some("logs.example.com/test/gw-1/x")),
        (2, None),
        (3, Some(origin.as_str())),
    ] {
        let key = layout
            .name()
            .renumbered(&obj.key, 0, seq)
            .expect("it has a number");
        let put = Put {
            sha256: sha256(&bytes).0,
            meta: says
                .map(|says| ("weir-origin".to_owned(), says.to_owned()))
                .into_iter()
                .chain([("weir-seq".to_owned(), seq.to_string())])
                .chain(layout.meta("std", "a", obj.ad[0]))
                .collect(),
            if_absent: true,
            ..Put::default()
        };
        case.store
            .put(&key, Body::Bytes(bytes.clone()), &put)
            .await
            .expect("it is put");
    }
    let mut ours = Vec::new();
    for orphan in adopt::orphans(&shared, &before).await.expect("it lists") {
        if adopt::read(&shared, &orphan, &origin)
            .await
            .expect("it reads")
            .is_some()
        {
            ours.push(orphan.seq);
        }
    }
    assert_eq!(ours, [0, 3]);
    drop(shared);
    case.stop().await;
}

//! An archive in a directory, as somebody sees it who has only its files: the verifier judges it, zstd and prost read it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use evidence::entry::{Audit, Entry, Kind, Obj, Restore};
use evidence::names::OWN_TENANT;
use evidence::test_kit::Store;
use evidence::time::Time;
use evidence::verify::{Level, Options};
use objects::blocks::{S3, Store as Place};

use super::records;

/// What a directory holds, once the verifier has nothing to say against it.
pub struct Archived {
    store: Store,
    objects: Vec<Obj>,
    own: Vec<Obj>,
    anchors: Vec<Audit>,
    policy: String,
}

impl Archived {
    /// Reads and verifies all of it, trusting the keys that the logs themselves name: who wrote it is not what is asked.
    #[track_caller]
    pub fn verified(root: &Path) -> Archived {
        let (mut store, policy, objects) = (read(root), declared(root), objects(root));
        let (mut own, mut anchors) = (Vec::new(), Vec::new());
        for kind in entries(root) {
            // A copy of a bucket has the only version of each.
            if let Kind::Obj(obj) = &kind
                && let Some(versions) = store.files.get_mut(&obj.key)
            {
                versions[0].id.clone_from(&obj.ver);
            }
            match kind {
                Kind::Obj(obj) if obj.tenant == OWN_TENANT => own.push(*obj),
                Kind::Audit(audit) => anchors.push(audit),
                _ => {}
            }
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("the clock is past 1970").as_millis() as i64;
        let options = Options {
            level: Level::Full,
            ..Options::new(Time::from_millis(now))
        };
        let report = store.verify(&policy, &options);
        assert_eq!(report.exit, 0, "{} {:#?}", report.verdict, report.findings);
        Archived {
            store,
            objects,
            own,
            anchors,
            policy,
        }
    }

    /// Records of the gateway's own, as requests, in the order of the log.
    pub fn own(&self) -> Vec<Bytes> {
        let plain = |obj: &Obj| {
            let stored = self.store.files[&obj.key][0].bytes.as_deref();
            Bytes::from(zstd::stream::decode_all(stored.expect("it is there")).expect("frames of zstd"))
        };
        self.own.iter().map(plain).collect()
    }

    /// Numbers and hashes of audit records that the log names, in its order.
    pub fn anchors(&self) -> &[Audit] {
        &self.anchors
    }

    /// Lines of a policy that trusts the keys which the logs themselves name.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Records of a signal, as the log counts them.
    pub fn records(&self, signal: &str) -> u64 {
        let objects = self.objects.iter().filter(|obj| obj.signal == signal);
        objects.map(|obj| obj.n).sum()
    }

    /// Keys of the objects, in the order of the log.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.objects.iter().map(|obj| obj.key.as_str())
    }

    /// How often each numbered record is in the objects of logs and spans.
    pub fn numbers(&self) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for obj in &self.objects {
            let stored = self.store.files[&obj.key][0].bytes.as_deref();
            let plain = zstd::stream::decode_all(stored.expect("it is there")).expect("frames of zstd");
            for n in records::read(&obj.signal, Bytes::from(plain)).numbers {
                *counts.entry(n).or_default() += 1;
            }
        }
        counts
    }
}

/// What the logs in a directory say, entry by entry.
fn entries(root: &Path) -> Vec<Kind> {
    let store = read(root);
    let segments = store.files.iter().filter(|(key, _)| key.contains("/seg/"));
    let lines = segments.flat_map(|(_, versions)| {
        let bytes = versions[0].bytes.as_deref().expect("a directory has no markers");
        bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty())
    });
    lines
        .map(|line| Entry::parse(line).expect("an entry").kind)
        .collect()
}

/// What the logs say of the rest of the gateway.
#[derive(Default)]
pub struct Others {
    /// What receivers were offered, by receiver and signal.
    pub offered: BTreeMap<(String, String), u64>,
    /// What came to each node, by node and signal.
    pub came: BTreeMap<(String, String), u64>,
}

/// Adds up the rows of all intervals.
pub fn others(root: &Path) -> Others {
    let mut others = Others::default();
    for kind in entries(root) {
        let Kind::Ledger(ledger) = kind else { continue };
        for row in ledger.door {
            *others.offered.entry((row.receiver, row.signal)).or_default() += row.offered;
        }
        for row in ledger.edges {
            *others.came.entry((row.edge, row.signal)).or_default() += row.admitted;
        }
    }
    others
}

/// A policy that trusts the keys that the logs themselves name.
fn declared(root: &Path) -> String {
    let entries = entries(root).into_iter();
    entries
        .filter_map(|kind| match kind {
            Kind::Open(open) => Some(format!("log {}\n", open.vkey)),
            _ => None,
        })
        .collect()
}

/// The objects that are named, but for the gateway's own, which the verifier looks at.
pub fn objects(root: &Path) -> Vec<Obj> {
    let entries = entries(root).into_iter();
    entries
        .filter_map(|kind| match kind {
            Kind::Obj(obj) if obj.tenant != OWN_TENANT => Some(*obj),
            _ => None,
        })
        .collect()
}

/// Who read it.
#[allow(dead_code, reason = "not every tier restores")]
pub fn restores(root: &Path) -> Vec<Restore> {
    let entries = entries(root).into_iter();
    entries
        .filter_map(|kind| match kind {
            Kind::Restore(restore) => Some(restore),
            _ => None,
        })
        .collect()
}

/// The files of a store in a directory.
fn read(root: &Path) -> Store {
    let mut store = Store::default();
    store.inflate = Some(|bytes| zstd::stream::decode_all(bytes).expect("frames of zstd"));
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            let key = path.strip_prefix(root).expect("below it").display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if key.starts_with("data/") || key.starts_with("_weir/") {
                store.put(&key, &fs::read(&path).expect("a file"), None, None);
            }
        }
    }
    // A directory keeps one version of a file, without an id.
    let versions = store.files.values_mut().flatten();
    versions.for_each(|version| version.id = None);
    store
}

/// A bucket as keys of a store in a configuration, and more of them.
pub fn keys(bucket: &S3, more: &str) -> String {
    let (name, endpoint, auth) = (&bucket.bucket, &bucket.endpoint, &bucket.auth);
    let (id, secret) = (&auth.access_key_id, auth.secret_access_key.expose());
    format!(
        "{{bucket: {name}, endpoint: '{endpoint}', force_path_style: {}, auth: {{access_key_id: {id}, secret_access_key: {secret}}}{more}}}",
        bucket.force_path_style
    )
}

/// Copies the newest of what lies in a bucket into a directory.
pub async fn download(bucket: &S3, to: &Path) {
    let place = Place {
        s3: Some(bucket.clone()),
        file: None,
    };
    let store = place.open().await.expect("a store");
    let mut after = String::new();
    loop {
        let page = store.list("", &after).await.expect("a listing");
        let Some(last) = page.last() else {
            return;
        };
        after.clone_from(&last.key);
        for listed in &page {
            let read = store.get(&listed.key, None).await.expect("an object");
            let bytes = read.body.collect(listed.size).await.expect("its bytes");
            let path = to.join(&listed.key);
            fs::create_dir_all(path.parent().expect("it is below one")).expect("a folder");
            fs::write(path, bytes).expect("a file");
        }
    }
}

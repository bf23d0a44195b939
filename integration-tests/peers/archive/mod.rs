//! A verifier that shares nothing with ours (`verify.py`) takes what we write, and sees what was changed; DuckDB, zstd and
//! the OTLP schema (`read.py`) read it.

use std::fs;
use std::path::Path;
use std::process::Command;

use evidence::entry::{Entry, Kind};
use evidence::names::{Origin, Session};
use evidence::note::Signer;
use evidence::test_kit::{Store, Writer};
use evidence::time::Time;
use storage::crash::ARCHIVE_POINTS;

use super::kills::archive::Archived;
use super::kills::{End, Setup, World};
use super::programs::{output, run};
use super::{beside, installed};

const BASE: &str = "_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab";
const DATA: &str = "data/v1/class=std/tenant=acme/signal=logs/dt=2025-11-20/hour=14";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

async fn verify(python: &Path, root: &Path, base: &str, keys: &Path) -> (i32, String) {
    let mut command = Command::new(python);
    command
        .arg(beside("archive/verify.py"))
        .arg(root)
        .arg(base)
        .arg(keys);
    let (code, out, err) = output(command).await;
    (code, out + &err)
}

/// The vectors with one thing changed.
async fn changed(python: &Path, change: impl FnOnce(&Path)) -> (i32, String) {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/evidence/testdata/vectors");
    let dir = tempfile::tempdir().unwrap();
    copy(&vectors, dir.path());
    change(dir.path());
    verify(python, dir.path(), BASE, &dir.path().join("vkeys.txt")).await
}

type Change<'a> = Box<dyn Fn(&Path) + 'a>;

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from));
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[tokio::test]
async fn the_vectors_and_what_was_changed_in_them() {
    let Some(python) = installed("venv/bin/python") else {
        return;
    };
    let (code, said) = changed(&python, |_| {}).await;
    assert_eq!(
        (code, said.as_str()),
        (0, "entries 8 checkpoints 2 objects 2\nVERIFIED\n")
    );
    let seg_0 = format!("{BASE}/seg/00000000000000000000.jsonl");
    let seg_5 = format!("{BASE}/seg/00000000000000000005.jsonl");
    let cp_5 = format!("{BASE}/cp/00000000000000000005.txt");
    let cp_8 = format!("{BASE}/cp/00000000000000000008.txt");
    let object_0 = format!("{DATA}/logs_gw-0_0123456789ab_0000000000.binpb.zst");
    let object_1 = format!("{DATA}/logs_gw-0_0123456789ab_0000000001.binpb.zst.age");
    let changes: [(&str, Change<'_>); 7] = [
        (
            "ALTERED",
            Box::new(|root| {
                let path = root.join(&object_1);
                let mut bytes = fs::read(&path).unwrap();
                bytes[200] ^= 1;
                fs::write(path, bytes).unwrap();
            }),
        ),
        (
            "MISSING",
            Box::new(|root| fs::remove_file(root.join(&object_0)).unwrap()),
        ),
        (
            "root mismatch",
            Box::new(|root| replace(&root.join(&seg_0), "\"n\":2", "\"n\":1")),
        ),
        (
            "segment gap",
            Box::new(|root| fs::remove_file(root.join(&seg_0)).unwrap()),
        ),
        (
            "3 entries not covered",
            Box::new(|root| {
                fs::copy(root.join(&cp_5), root.join(&cp_8)).unwrap();
            }),
        ),
        (
            "index 6 at position 5",
            Box::new(|root| replace(&root.join(&seg_5), "\"i\":5", "\"i\":6")),
        ),
        (
            "wrong signature",
            Box::new(|root| replace(&root.join(&cp_8), "gJWW", "gJWX")),
        ),
    ];
    for (expected, change) in changes {
        let (code, said) = changed(&python, change).await;
        assert_eq!((code, said.contains(expected)), (1, true), "{expected}: {said}");
    }
}

#[tokio::test]
async fn what_we_write_is_verified_by_another() {
    let Some(python) = installed("venv/bin/python") else {
        return;
    };
    let now = Time::from_millis(1_763_647_500_000);
    let origin = Origin::new("logs.example.com/prod", "gw-7", Session::new(now, [7; 10])).unwrap();
    let base = format!("_weir/v1/log/gw-7/{}", origin.session());
    let mut store = Store::default();
    let mut writer = Writer::open(origin, Signer::generate().unwrap(), now, None);
    for n in 0..1_500u32 {
        if n % 40 == 39 {
            writer.seal(&mut store);
            writer.wait(60_000);
        }
        let tenant = ["acme", "Zürich/9", "a=b"][n as usize % 3];
        writer.object(&mut store, tenant, u64::from(n), format!("object {n}").as_bytes());
    }
    writer.close(&mut store, "shutdown", None);
    let dir = tempfile::tempdir().unwrap();
    for (key, versions) in &store.files {
        let path = dir.path().join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, versions[0].bytes.as_deref().unwrap()).unwrap();
    }
    let keys = dir.path().join("vkeys.txt");
    fs::write(&keys, writer.log_line().trim_start_matches("log ")).unwrap();
    let (code, said) = verify(&python, dir.path(), &base, &keys).await;
    assert!(said.contains("objects 1500"), "{said}");
    assert_eq!((code, said.lines().last()), (0, Some("VERIFIED")), "{said}");
    let report = store.verify(&writer.log_line(), &evidence::test_kit::options(writer.now));
    assert_eq!((report.exit, report.findings.len()), (0, 0));
}

/// The logs in an archive, each with the key that it names first.
fn logs(root: &Path) -> Vec<(String, String)> {
    let folders = |path: &Path| -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(path).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let sessions = folders(&root.join("_weir/v1/log"))
        .into_iter()
        .flat_map(|writer| folders(&writer));
    let log = |session: std::path::PathBuf| {
        let text = fs::read_to_string(session.join("seg/00000000000000000000.jsonl")).unwrap();
        let opens = text
            .lines()
            .find_map(|line| match Entry::parse(line.as_bytes()).unwrap().kind {
                Kind::Open(open) => Some(open.vkey),
                _ => None,
            });
        let base = session.strip_prefix(root).unwrap().display().to_string();
        (base, opens.unwrap())
    };
    sessions.map(log).collect()
}

/// What a gateway archived that was killed at every step of an object's life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_gateway_archives_is_verified_and_read_by_others() {
    let Some(python) = installed("venv/bin/python") else {
        return;
    };
    let setup = Setup {
        archive: true,
        ..Setup::default()
    };
    let mut world = World::begin(setup).await;
    for point in ARCHIVE_POINTS {
        assert!(world.live(End::At(point, 3)).await, "{point} never comes by");
    }
    world.live(End::Stop).await;
    let root = world.path().join("archive");
    let keys = world.path().join("vkeys.txt");

    let logs = logs(&root);
    assert!(!logs.is_empty());
    for (base, key) in &logs {
        fs::write(&keys, key).unwrap();
        let (code, said) = verify(&python, &root, base, &keys).await;
        assert_eq!((code, said.lines().last()), (0, Some("VERIFIED")), "{said}");
    }

    let mut command = Command::new(&python);
    command.arg(beside("archive/read.py")).arg(&root);
    let told: serde_json::Value = serde_json::from_str(&run(command).await).unwrap();
    let archived = Archived::verified(&root);
    // What a gateway says of itself lies beside it: at least that it started, so often.
    assert_eq!(told["own"]["counted"], told["own"]["held"]);
    assert!(told["own"]["held"].as_u64() > Some(ARCHIVE_POINTS.len() as u64));
    let mut numbers = Vec::new();
    for signal in ["logs", "traces"] {
        let of = &told[signal];
        let records = archived.records(signal);
        assert!(records > 0, "{signal}");
        assert_eq!(
            (&of["counted"], &of["held"]),
            (&records.into(), &records.into()),
            "{signal}"
        );
        numbers.extend(
            of["numbers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n.as_u64().unwrap()),
        );
    }
    numbers.sort_unstable();
    let ours: Vec<u64> = archived
        .numbers()
        .into_iter()
        .flat_map(|(n, count)| vec![n; count])
        .collect();
    assert_eq!(numbers, ours);

    // A bit of an object, and an object.
    let (base, key) = &logs[0];
    fs::write(&keys, key).unwrap();
    let copied = tempfile::tempdir().unwrap();
    copy(&root, copied.path());
    let victim = archived.keys().next().unwrap();
    let path = copied.path().join(victim);
    let mut bytes = fs::read(&path).unwrap();
    bytes[10] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (code, said) = verify(&python, copied.path(), base, &keys).await;
    assert_eq!(
        (code, said.contains(&format!("ALTERED {victim}"))),
        (1, true),
        "{said}"
    );
    fs::remove_file(&path).unwrap();
    let (code, said) = verify(&python, copied.path(), base, &keys).await;
    assert_eq!(
        (code, said.contains(&format!("MISSING {victim}"))),
        (1, true),
        "{said}"
    );

    // Whoever was answered is in it, once.
    world.finish().await;
}

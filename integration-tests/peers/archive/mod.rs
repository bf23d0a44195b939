//! A verifier that shares nothing with ours (`verify.py`): it takes what we write, and sees what was changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use evidence::names::{Origin, Session};
use evidence::note::Signer;
use evidence::test_kit::{Store, Writer};
use evidence::time::Time;

use super::programs::output;
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

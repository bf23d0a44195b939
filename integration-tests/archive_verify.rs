//! `weir archive verify` as the shell has it: what it prints, and how it ends; over files, and over a bucket.

use std::fs;
use std::path::{Path, PathBuf};

use evidence::note::Proof;
use evidence::tree::{leaf_hash, prove_inclusion};
use objects::test_kit::{ADMIN, Bucket, FakeS3, WRITER};
use objects::{Body, ObjectStore, Put, S3Store};
use prost::Message;
use serde_json::Value;

use crate::archive::weir;
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::{client, sample};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/evidence/testdata/vectors");
const LOG: &str = "_weir/v1/log/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab";
const ORIGIN: &str = "logs.example.com/prod/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab";

/// A folder with a policy that trusts the vectors.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk {
            folder: tempfile::tempdir().unwrap(),
        };
        let vkey = fs::read_to_string(Path::new(VECTORS).join("vkeys.txt")).unwrap();
        desk.write("trust.policy", &format!("log {vkey}"));
        desk
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.folder.path().join(name), text).unwrap();
        self.at(name)
    }
}

#[tokio::test]
async fn a_command_line_that_is_wrong_is_told_and_ends_with_64() {
    let desk = Desk::new();
    let policy = desk.at("trust.policy");
    let no_policy = desk.write("no.policy", "trust everybody\n");
    let no_pins = desk.write("pins.json", "[]");
    let check = async |arguments: &[&str], expected: &str| {
        let (exit, printed, said) = weir(arguments).await;
        assert_eq!((exit, printed.as_str()), (64, ""), "{arguments:?}: {said}");
        assert!(
            said.contains("Error: ") && said.contains(expected),
            "{arguments:?}: {said}"
        );
    };
    let with = |more: &[&'static str]| -> Vec<&str> { [&["verify", "--policy", &policy], more].concat() };
    check(&["verify", "--from-dir", VECTORS], "--policy").await;
    check(&with(&[]), "which archive?").await;
    check(
        &with(&["--store", "/a", "--from-dir", "/b"]),
        "cannot be used with",
    )
    .await;
    check(&with(&["--from-dir", VECTORS, "--from", "soon"]), "--from soon").await;
    check(
        &with(&[
            "--from-dir",
            VECTORS,
            "--from",
            "2025-11-21",
            "--to",
            "2025-11-20",
        ]),
        "--from must be before",
    )
    .await;
    check(&with(&["--from-dir", VECTORS, "--level", "deep"]), "deep").await;
    check(&with(&["--from-dir", VECTORS, "--parallel", "0"]), "0").await;
    check(
        &with(&["--store", "/a", "--region", "r"]),
        "--region and --endpoint are for",
    )
    .await;
    check(&with(&["--object", "/a"]), "--proof").await;
    check(&["verify", "--policy", "/none", "--from-dir", VECTORS], "/none").await;
    check(
        &["verify", "--policy", &no_policy, "--from-dir", VECTORS],
        "line 1",
    )
    .await;
    check(
        &[
            "verify",
            "--policy",
            &policy,
            "--pin",
            &no_pins,
            "--from-dir",
            VECTORS,
        ],
        "pins.json",
    )
    .await;
    check(
        &["cat", "-o", "raw", "--where", "true", "--from-dir", VECTORS],
        "-o raw",
    )
    .await;
    check(&["cat", "gw-0#9", "--from-dir", VECTORS], "no signed log names").await;
    check(
        &["init", "--store", "/a", "--print-policy"],
        "policies are for buckets",
    )
    .await;
    check(
        &["restore", "--from-dir", VECTORS, "--to-otlp", "nowhere"],
        "--to nowhere",
    )
    .await;
    check(&["restore", "--from-dir", VECTORS], "--to-otlp").await;
    for command in [
        &["cat", "--from-dir", VECTORS][..],
        &["restore", "--from-dir", VECTORS, "--to-otlp", "a:1"],
        &with(&["--from-dir", VECTORS]),
    ] {
        check(
            &[command, &["--identity", "acme.txt"]].concat(),
            "neither encrypts objects with age",
        )
        .await;
    }
    check(
        &["restore", "--from-dir", VECTORS, "--pipeline", "logs/replay"],
        "--pipeline logs/replay: a gateway takes records by its receivers",
    )
    .await;
    check(
        &[
            "restore",
            "--from-dir",
            VECTORS,
            "--to-otlp",
            "a:1",
            "--rate",
            "0",
        ],
        "records a second",
    )
    .await;
    let (exit, printed, said) = weir(&["verify", "--policy", &policy, "--store", "/none/such"]).await;
    assert_eq!((exit, printed.as_str()), (4, ""), "{said}");
}

#[tokio::test]
async fn a_copy_is_verified_with_heads_of_before() {
    let desk = Desk::new();
    let policy = desk.at("trust.policy");
    let pin = |size: u64| {
        let root = "HwkvB47F/9nMDr/ZmrwMVZf7Fx8AEedsvm8eCr8Max0=";
        let text = format!("{{\"heads\":[{{\"origin\":\"{ORIGIN}\",\"size\":{size},\"root\":\"{root}\"}}]}}");
        desk.write(&format!("pin-{size}.json"), &text)
    };
    let (good, other) = (pin(8), pin(5));
    let verify = [
        "verify",
        "--policy",
        &policy,
        "--from-dir",
        VECTORS,
        "--level",
        "full",
        "--json",
    ];
    let run = async |pins: &[&str]| {
        let pins = pins.iter().flat_map(|pin| ["--pin", *pin]);
        let arguments: Vec<&str> = verify.into_iter().chain(pins).collect();
        let (exit, printed, _) = weir(&arguments).await;
        let told: Value = serde_json::from_str(&printed).expect("one document");
        assert_eq!(told["exit"], exit);
        told
    };
    let told = run(&[&good]).await;
    assert_eq!(told["verdict"], "verified", "{told}");
    assert_eq!(
        (&told["v"], &told["archive"]),
        (&1.into(), &"logs.example.com/prod".into())
    );
    assert_eq!(told["totals"]["records"], 4);
    assert_eq!(told["claims"]["I1"]["checked"], 2);
    assert_eq!(told["sessions"][0]["origin"], ORIGIN);
    let told = run(&[&good, &other]).await;
    assert_eq!(
        (&told["verdict"], &told["exit"]),
        (&"completeness_failure".into(), &2.into())
    );
    let findings = told["findings"].as_array().expect("a list");
    let failed: Vec<&Value> = findings
        .iter()
        .filter(|found| found["severity"] == "fail")
        .collect();
    assert_eq!(failed.len(), 1, "{told}");
    assert_eq!(
        (&failed[0]["claim"], &failed[0]["what"]),
        (&"C5".into(), &"other_history".into())
    );

    // What head prints is such a file.
    let (exit, heads, _) = weir(&["head", "--policy", &policy, "--from-dir", VECTORS, "--json"]).await;
    assert_eq!(exit, 0);
    assert_eq!(heads.trim_end(), fs::read_to_string(&good).unwrap());
}

#[tokio::test]
async fn one_object_is_checked_by_its_proof_alone() {
    let desk = Desk::new();
    let policy = desk.at("trust.policy");
    let log = Path::new(VECTORS).join(LOG);
    let lines: Vec<Vec<u8>> = ["00000000000000000000", "00000000000000000005"]
        .iter()
        .map(|start| fs::read(log.join(format!("seg/{start}.jsonl"))).unwrap())
        .flat_map(|bytes| {
            let lines = bytes.split(|c| *c == b'\n').filter(|line| !line.is_empty());
            lines.map(<[u8]>::to_vec).collect::<Vec<_>>()
        })
        .collect();
    let leaves: Vec<_> = lines.iter().map(|line| leaf_hash(line)).collect();
    let index = lines
        .iter()
        .position(|line| line.windows(9).any(|w| w == b"\"k\":\"obj\""))
        .expect("an object");
    let proof = |line: &[u8]| Proof {
        extra: Some(line.to_vec()),
        index: index as u64,
        hashes: prove_inclusion(&leaves, index).expect("it is in the tree"),
        note: fs::read_to_string(log.join("cp/00000000000000000008.txt")).unwrap(),
    };
    let good = desk.write("good.tlog-proof", &proof(&lines[index]).text());
    let entry: Value = serde_json::from_slice(&lines[index]).unwrap();
    let object = PathBuf::from(VECTORS).join(entry["key"].as_str().unwrap());
    let run = async |object: &str, proof: &str| {
        weir(&[
            "verify", "--policy", &policy, "--object", object, "--proof", proof, "--json",
        ])
        .await
    };
    let (exit, printed, said) = run(object.to_str().unwrap(), &good).await;
    assert_eq!(exit, 0, "{printed}{said}");
    assert!(printed.contains("\"verdict\":\"verified\""), "{printed}");
    let mut bytes = fs::read(&object).unwrap();
    bytes[20] ^= 1;
    fs::write(desk.at("altered"), bytes).unwrap();
    let (exit, printed, _) = run(&desk.at("altered"), &good).await;
    assert_eq!(exit, 1);
    assert!(printed.contains("I1 altered"), "{printed}");
    // Another line under the same proof.
    let line = String::from_utf8(lines[index].clone())
        .unwrap()
        .replacen("\"n\":2", "\"n\":3", 1);
    let bad = desk.write("bad.tlog-proof", &proof(line.as_bytes()).text());
    let (exit, printed, _) = run(object.to_str().unwrap(), &bad).await;
    assert_eq!(exit, 1);
    assert!(printed.contains("I2 the proof does not hold"), "{printed}");
    let (exit, _, said) = run(object.to_str().unwrap(), &policy).await;
    assert_eq!(exit, 64, "{said}");
}

pub const BUCKET: &str = "acme-weir-logs";

/// A gateway that archives to a bucket with Object Lock.
pub fn in_bucket(fake: &FakeS3, folder: &Path) -> String {
    let (endpoint, folder) = (fake.endpoint(), folder.display());
    format!(
        "extensions:\n  file_storage: {{directory: {folder}/journal, create_directory: true}}\n\
         receivers:\n  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{{http}}'}}}}}}\n\
         exporters:\n  archive:\n    archive: example/prod\n    writer: gw-0\n    create: true\n    state_dir: {folder}/state\n    \
         storage: file_storage\n    lock: {{retention: 1d}}\n    store:\n      s3:\n        bucket: {BUCKET}\n        \
         endpoint: {endpoint}\n        force_path_style: true\n        \
         auth: {{access_key_id: {WRITER}, secret_access_key: secret}}\n\
         service:\n  extensions: [file_storage]\n  telemetry: {{metrics: {{level: none}}}}\n  \
         pipelines:\n    logs: {{receivers: [otlp], exporters: [archive]}}\n"
    )
}

#[tokio::test]
async fn a_bucket_is_founded_examined_verified_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeS3::start().await;
    fake.add(BUCKET, Bucket::locked());
    let text = in_bucket(&fake, folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (config, policy, root) = (at("weir.yaml"), at("trust.policy"), at("root.key"));
    fs::write(&config, text.replace("{http}", "4318")).unwrap();
    let (exit, told, said) = weir(&[
        "init",
        "--config",
        &config,
        "--root-key",
        &root,
        "--policy",
        &policy,
    ])
    .await;
    assert_eq!(exit, 0, "{said}");
    assert!(
        told.contains("archive      example/prod founded, locked until 20"),
        "{told}"
    );
    let (exit, told, said) = weir(&["doctor", "--config", &config, "--partitions", "10"]).await;
    assert_eq!(exit, 0, "{told}{said}");
    for line in [
        "archive          founded",
        "writer rights    ok; may not delete versions",
        "result           WORM",
    ] {
        assert!(told.lines().any(|l| l == line), "{line:?} is not in\n{told}");
    }

    let gateway = Gateway::start(&text).await;
    let answer = client::post_otlp(gateway.http, "/v1/logs", &sample::logs(7).encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
    let with = |command: &'static str| [command, "--config", &config, "--policy", &policy];
    for level in ["heads", "full", "decode"] {
        let (exit, told, said) = weir(&[&with("verify")[..], &["--level", level]].concat()).await;
        assert_eq!(exit, 0, "{told}{said}");
        let lock = told.lines().find(|line| line.starts_with("P1")).expect("a claim");
        assert!(lock.contains("PASS"), "{lock}");
        assert!(told.contains(" present, 0 missing, 0 altered"), "{told}");
    }
    let sink = Peer::start().await;
    let to = sink.addr.to_string();
    let (exit, told, said) = weir(&[&with("restore")[..], &["--to-otlp", &to]].concat()).await;
    assert_eq!(exit, 0, "{told}{said}");
    assert_eq!(sink.logs(), [sample::logs(7)]);
    // Its own log lies under lock like any other.
    let (exit, told, said) = weir(&with("verify")).await;
    assert_eq!(exit, 0, "{told}{said}");
    let unlocked = fake.requests().into_iter().filter(|request| {
        request.method == http::Method::PUT && request.header("x-amz-object-lock-mode") != "COMPLIANCE"
    });
    let paths: Vec<String> = unlocked.map(|request| request.path).collect();
    assert!(paths.is_empty(), "{paths:?}");

    // An administrator hides the object behind another and behind a marker: it is still the one that was sealed.
    let (exit, listed, _) = weir(&[&with("ls")[..], &["--json", "--tenant", "default"]].concat()).await;
    assert_eq!(exit, 0);
    let entry: Value = serde_json::from_str(listed.lines().next().expect("an object")).unwrap();
    let key = entry["key"].as_str().expect("a key");
    let admin = S3Store::open(&fake.config_of(BUCKET, ADMIN))
        .await
        .expect("a store");
    let put = Put {
        sha256: evidence::digest::sha256(b"another").0,
        ..Put::default()
    };
    let body = Body::Bytes("another".into());
    admin.put(key, body, &put).await.expect("a newer version");
    let (exit, told, _) = weir(&with("verify")).await;
    assert_eq!(exit, 0, "{told}");
    assert!(told.contains("WARN C2 shadowed"), "{told}");
    let (exit, rows, said) = weir(&[&with("cat")[..], &["--tenant", "default"]].concat()).await;
    assert_eq!((exit, rows.lines().count()), (0, 7), "{said}");
}

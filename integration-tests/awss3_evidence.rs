//! Buckets with evidence through the whole gateway: what `awss3` acknowledges with `weir: {evidence: true}` is proved, and
//! lies where the collector's receiver looks for it, however the gateway ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::Method;
use objects::blocks::Store;
use objects::test_kit::{Bucket, FakeS3, Seen, WRITER};
use objects::{Body, Put};
use telemetry::Place;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use wire::Signal;

use crate::archive::numbers;
use crate::awss3::{BUCKET, at, now, objects, reads};
use crate::support::gateway::{Gateway, free_port};
use crate::support::kills::archive;
use crate::support::kills::process::Process;
use crate::support::kills::records::Batch;
use crate::support::peer::Peer;
use crate::support::{client, until};

/// A gateway that writes with evidence: more keys of `s3uploader`, and where everything lies.
fn proves(s3: &FakeS3, uploader: &str, folder: &Path, ports: [u16; 2]) -> String {
    let [http, grpc] = ports;
    let folder = folder.display();
    format!(
        "
extensions:
  file_storage: {{directory: '{folder}/journal', create_directory: true}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc}'}}
      http: {{endpoint: '127.0.0.1:{http}'}}
exporters:
  awss3:
    s3uploader: {{{}{uploader}}}
    marshaler: otlp_proto
    storage: file_storage
    weir:
      evidence: true
      archive: example/bucket
      writer: gw-0
      state_dir: '{folder}/state'
      lock: {{required: true, mode: COMPLIANCE, retention: 1d}}
      roll: {{max_age: 300ms}}
      log: {{checkpoint_interval: 300ms}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [awss3]}}
    traces: {{receivers: [otlp], exporters: [awss3]}}
",
        at(s3, BUCKET)
    )
}

/// `weir`, with arguments, and keys for the bucket; its exit code, what it printed and what it said.
async fn weir(arguments: &[&str]) -> (i32, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments).env("USER", "ana");
    command
        .env("AWS_ACCESS_KEY_ID", WRITER)
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().expect("it was not killed");
    (code, text(output.stdout), text(output.stderr))
}

/// A life of the gateway as a process, once it listens or has killed itself.
async fn life(folder: &Path, http: u16, crash_at: Option<&str>) -> Process {
    let mut process = Process::start(&folder.join("weir.yaml"), folder.join("weir.log"), crash_at);
    let end = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", http)).await.is_err() && process.ended().is_none() {
        assert!(Instant::now() < end, "it does not listen: {}", process.said());
        sleep(Duration::from_millis(10)).await;
    }
    process
}

/// What is acknowledged with evidence lies where the collector's receiver looks for it, once, and is proved: whatever
/// the gateway was doing with an object when it was killed.
#[tokio::test]
async fn with_evidence_all_that_was_acknowledged_is_proved_and_read_again_once() {
    for (compression, ending) in [("gzip", ".binpb.gz"), ("zstd", ".binpb.zst"), ("none", ".binpb")] {
        let s3 = FakeS3::start().await;
        s3.add(BUCKET, Bucket::locked());
        let folder = tempfile::tempdir().unwrap();
        let (http, grpc) = (free_port(), free_port());
        let uploader =
            format!(", compression: {compression}, s3_base_prefix: base, s3_prefix: own, file_prefix: f-");
        let text = proves(&s3, &uploader, folder.path(), [http, grpc]);
        fs::write(folder.path().join("weir.yaml"), text).unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let (config, policy, root, pin) = (
            at("weir.yaml"),
            at("trust.policy"),
            at("root.key"),
            at("heads.json"),
        );
        let init = [
            "archive",
            "init",
            "--config",
            &config,
            "--root-key",
            &root,
            "--policy",
            &policy,
        ];
        let (exit, told, said) = weir(&init).await;
        assert_eq!(exit, 0, "{said}");
        assert!(
            told.starts_with("archive      example/bucket founded, locked"),
            "{told}"
        );

        let address = SocketAddr::from(([127, 0, 0, 1], http));
        let mut acknowledged = BTreeMap::new();
        let mut first = 0;
        let mut post = async |first: u64| {
            let batch = Batch {
                records: 20,
                is_trace: first % 40 == 20,
                text: 100,
                ..Batch::of_one(first)
            };
            let answer = client::post_otlp(address, batch.path(false), &batch.message()).await;
            assert_eq!(answer.status, 200);
            acknowledged.extend(batch.numbers().map(|n| (n, 1)));
        };
        let range = now();
        // Between the seal and the request, behind the request, behind the log's entry, and at any moment.
        // The second time it is a new object: the one of the life before comes first.
        for point in ["archive.claimed", "archive.put:2", "archive.logged:2", ""] {
            let crash_at = (!point.is_empty()).then_some(point);
            let mut gateway = life(folder.path(), http, crash_at).await;
            assert!(gateway.ended().is_none(), "{point}: {}", gateway.said());
            post(first).await;
            first += 20;
            match crash_at {
                Some(_) => {
                    let ended = gateway.ends_within(Duration::from_secs(30)).await;
                    assert!(
                        ended.is_some_and(|ended| !ended.success()),
                        "{point}: {}",
                        gateway.said()
                    );
                }
                None => gateway.kill(),
            }
        }
        let mut gateway = life(folder.path(), http, None).await;
        for _ in 0..3 {
            post(first).await;
            first += 20;
        }
        gateway.stop().await;

        let verify = [
            "archive", "verify", "--policy", &policy, "--level", "full", "--config", &config,
        ];
        let (exit, told, said) = weir(&verify).await;
        assert_eq!(exit, 0, "{told}{said}");
        assert!(
            told.contains(&format!("{} records", acknowledged.len())),
            "{told}"
        );
        assert!(
            told.contains("\nnot proved: that objects with names that no archive gives"),
            "{told}"
        );
        assert!(!told.contains("orphan"), "{told}");
        let all = objects(&s3, BUCKET).await;
        let own: Vec<&String> = all.keys().filter(|key| !key.contains("/_weir/")).collect();
        assert!(own.len() >= 5, "{own:?}");
        for key in own {
            let file = key
                .strip_prefix("base/own/year=")
                .and_then(|key| key.rsplit('/').next());
            let file = file.and_then(|file| file.strip_prefix("f-")).unwrap_or_default();
            let is_ours = ["logs_gw-0-", "traces_gw-0-"]
                .iter()
                .any(|begin| file.starts_with(begin));
            assert!(is_ours && file.ends_with(ending), "{key}");
        }
        let header = |seen: &Seen| seen.header("content-encoding").to_owned();
        let puts = s3
            .requests()
            .into_iter()
            .filter(|seen| seen.method == Method::PUT && seen.path.contains("/f-"));
        let headers: BTreeSet<String> = puts.map(|seen| header(&seen)).collect();
        assert_eq!(headers, BTreeSet::from([compression.replace("none", "")]));

        // Others may write beside it; what is called as its own objects are and is in no log is told.
        let opened = Store {
            s3: Some(s3.config(BUCKET)),
            file: None,
        }
        .open()
        .await
        .unwrap();
        let put = |bytes: &'static str| {
            let sha256 = evidence::digest::sha256(bytes.as_bytes()).0;
            (
                Body::Bytes(bytes.into()),
                Put {
                    sha256,
                    ..Put::default()
                },
            )
        };
        let (body, how) = put("{}");
        opened
            .put("base/own/other/logs_482910334.json", body, &how)
            .await
            .unwrap();
        let (exit, told, _) = weir(&verify).await;
        assert_eq!(exit, 0, "{told}");
        assert!(
            told.contains("1 others' objects beside them not looked at"),
            "{told}"
        );
        let stray = format!("base/own/year=2026/f-logs_gw-0-0123456789ab-0000000000{ending}");
        let (body, how) = put("x");
        opened.put(&stray, body, &how).await.unwrap();
        let store = format!("s3://{BUCKET}/base/own");
        let by_store = [
            "--store",
            &store,
            "--endpoint",
            &s3.endpoint(),
            "--policy",
            &policy,
        ];
        let (exit, told, _) = weir(&[&["archive", "verify"], &by_store[..]].concat()).await;
        assert_eq!(exit, 0, "{told}");
        assert!(told.contains("1 orphans"), "{told}");

        // The other commands find what it holds, by its log.
        let by_config = ["--config", config.as_str(), "--policy", policy.as_str()];
        let (exit, listed, said) =
            weir(&[&["archive", "ls", "--class", "std"], &by_config[..]].concat()).await;
        assert_eq!(exit, 0, "{said}");
        assert!(listed.lines().count() > 5, "{listed}");
        let (exit, rows, said) =
            weir(&[&["archive", "cat", "--signal", "logs"], &by_config[..]].concat()).await;
        assert_eq!(
            (exit, rows.lines().count()),
            (0, acknowledged.len() - 60),
            "{said}"
        );
        let sink = Peer::start().await;
        let to = sink.addr.to_string();
        let (exit, told, said) =
            weir(&[&["archive", "restore", "--to-otlp", &to], &by_config[..]].concat()).await;
        assert_eq!(exit, 0, "{told}{said}");
        assert_eq!(numbers(&sink), acknowledged);
        let (exit, heads, said) = weir(&[&["archive", "head", "--json"], &by_config[..]].concat()).await;
        assert_eq!(exit, 0, "{said}");
        fs::write(&pin, heads).unwrap();
        let (exit, told, _) = weir(&[&verify[..], &["--pin", &pin]].concat()).await;
        assert_eq!(exit, 0, "{told}");
        let (exit, told, said) = weir(&["archive", "doctor", "--config", &config]).await;
        assert_eq!(exit, 0, "{told}{said}");
        assert!(
            told.contains("result           WORM") && told.contains("archive          founded"),
            "{told}"
        );
        // An exporter of the other layout would not start there, and who asks by it hears that.
        let other = at("other.yaml");
        let bucket = archive::keys(&s3.config(BUCKET), ", prefix: base/own");
        let text = format!(
            "receivers: {{nop: }}\nexporters: {{archive: {{archive: example/bucket, state_dir: /x, ack: memory, store: {{s3: {bucket}}}}}}}\n\
             service: {{pipelines: {{logs: {{receivers: [nop], exporters: [archive]}}}}}}\n"
        );
        fs::write(&other, text).unwrap();
        for command in ["head", "doctor"] {
            let (exit, _, said) = weir(&["archive", command, "--config", &other]).await;
            assert_eq!(exit, 0, "{said}");
            let expected = "holds an archive of layout awss3/v1, exporter archive writes hive/v1: it will not start there";
            assert!(said.contains(expected), "{command}: {said}");
        }
        let out = at("report");
        let report = ["report", "soc2", "--from=-1d", "--level", "full", "--out", &out];
        let (exit, told, said) = weir(&[&report[..], &by_config[..]].concat()).await;
        assert_eq!(exit, 0, "{told}{said}");
        let report: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.path().join("report/report.json")).unwrap()).unwrap();
        assert_eq!(report["verify"]["verdict"], "verified", "{report}");

        // The collector's own way to read it: from minute to minute.
        let peer = Peer::start().await;
        let downloader = ", s3_prefix: base/own, file_prefix: f-";
        let gateway =
            Gateway::start(&reads(&s3, &peer, &range, &[("all", BUCKET, downloader, "")], "")).await;
        until("all of it has come out", || {
            numbers(&peer).len() == acknowledged.len()
        })
        .await;
        until("and nothing is on its way", || {
            let door = Place::Door {
                receiver: "awss3/all".into(),
                transport: "s3",
            };
            let accepted = |signal| gateway.books(door.clone(), signal).accepted();
            accepted(Signal::Logs) + accepted(Signal::Traces) == acknowledged.len() as u64
        })
        .await;
        gateway.stop().await;
        assert_eq!(numbers(&peer), acknowledged);
    }
}

/// `configs/awss3-evidence.yaml` as it is, but for its places, its credentials and its patience.
#[tokio::test]
async fn the_example_proves_what_it_writes() {
    let s3 = FakeS3::start().await;
    s3.add("telemetry", Bucket::locked());
    let folder = tempfile::tempdir().unwrap();
    let (http, grpc) = (free_port(), free_port());
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/awss3-evidence.yaml");
    let mut text = fs::read_to_string(example).unwrap();
    let auth = format!("auth: {{access_key_id: {WRITER}, secret_access_key: secret}}");
    for (from, to) in [
        (
            "${env:WEIR_STATE:-/var/lib/weir}",
            folder.path().display().to_string(),
        ),
        ("${env:WEIR_S3_ENDPOINT:-http://127.0.0.1:9000}", s3.endpoint()),
        ("127.0.0.1:4317", format!("127.0.0.1:{grpc}")),
        ("127.0.0.1:4318", format!("127.0.0.1:{http}")),
        (
            "      compression: zstd\n",
            format!("      compression: zstd\n      {auth}\n"),
        ),
        (
            "      lock: {",
            "      roll: {max_age: 300ms}\n      log: {checkpoint_interval: 300ms}\n      lock: {".to_owned(),
        ),
        (
            "\nservice:\n",
            "\nservice:\n  telemetry: {metrics: {level: none}}\n".to_owned(),
        ),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    fs::write(folder.path().join("weir.yaml"), text).unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (config, root, policy) = (at("weir.yaml"), at("root.key"), at("trust.policy"));
    let places = ["--config", config.as_str(), "--policy", policy.as_str()];
    let (exit, told, said) = weir(&[&["archive", "init", "--root-key", &root], &places[..]].concat()).await;
    assert_eq!(exit, 0, "{told}{said}");
    let mut gateway = life(folder.path(), http, None).await;
    let batch = Batch {
        records: 20,
        text: 100,
        ..Batch::of_one(0)
    };
    let address = SocketAddr::from(([127, 0, 0, 1], http));
    let answer = client::post_otlp(address, batch.path(false), &batch.message()).await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
    let verify = ["archive", "verify", "--level", "decode"];
    let (exit, told, said) = weir(&[&verify[..], &places[..]].concat()).await;
    assert_eq!(exit, 0, "{told}{said}");
    assert!(
        told.contains("20 records") && told.contains("P1 lock                  PASS"),
        "{told}"
    );
    let keys = objects(&s3, "telemetry").await.into_keys();
    let own: Vec<String> = keys.filter(|key| key.starts_with("gateway/year=")).collect();
    assert!(
        own.iter().all(|key| key.ends_with(".binpb.zst")) && own.len() == 1,
        "{own:?}"
    );
}

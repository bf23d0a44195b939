//! The archive through the whole gateway. What becomes of it in a kill is `crash`'s.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::support::gateway::{Gateway, free_port};
use crate::support::kills::archive::{self, Archived};
use crate::support::kills::process::Process;
use crate::support::kills::records::{self, Batch};
use crate::support::peer::{Answer, Peer};
use crate::support::{client, sample};

/// `configs/archive.yaml` as it is, but for its places.
pub fn config(folder: &Path) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/archive.yaml");
    let mut text = fs::read_to_string(path).expect("the example is there");
    for (from, to) in [
        ("${env:WEIR_ARCHIVE:-/var/lib/weir}", folder.display().to_string()),
        ("127.0.0.1:4317", "127.0.0.1:{grpc}".to_owned()),
        ("127.0.0.1:4318", "127.0.0.1:{http}".to_owned()),
        ("port: 8888", format!("port: {}", free_port())),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    text
}

#[tokio::test]
async fn the_example_archives_what_it_acknowledges_and_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let records = || {
        let archived = Archived::verified(&folder.path().join("archive"));
        ["logs", "traces", "metrics"].map(|signal| archived.records(signal))
    };
    let gateway = Gateway::start(&config(folder.path())).await;
    for n in 1..4 {
        let answer = client::post_otlp(gateway.http, "/v1/logs", &sample::logs(n).encode_to_vec()).await;
        assert_eq!(answer.status, 200);
    }
    let answer = client::post_otlp(gateway.http, "/v1/traces", &sample::traces(5).encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
    assert_eq!(records(), [6, 5, 0]);

    let gateway = Gateway::start(&config(folder.path())).await;
    let metrics = sample::metrics().encode_to_vec();
    let points = u64::from(wire::count_items(wire::Signal::Metrics, &metrics));
    let answer = client::post_otlp(gateway.http, "/v1/metrics", &metrics).await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
    assert_eq!(records(), [6, 5, points]);

    // The log tells what all lives were offered, and what came to the pipelines.
    let others = archive::others(&folder.path().join("archive"));
    for (signal, n) in [("logs", 6), ("traces", 5), ("metrics", points)] {
        let door = ("otlp".to_owned(), signal.to_owned());
        assert_eq!(others.offered.get(&door), Some(&n), "{signal}");
        let pipeline = (format!("pipeline {signal}"), signal.to_owned());
        assert_eq!(others.came.get(&pipeline), Some(&n), "{signal}");
    }
}

#[tokio::test]
async fn a_changed_archive_exporter_takes_over_what_the_last_one_held() {
    let folder = tempfile::tempdir().unwrap();
    let text = config(folder.path());
    let gateway = Gateway::start(&text).await;
    let mut sent = 0;
    for level in [3, 1, 9, 1] {
        let next = text.replace(
            "    create: true\n",
            &format!("    create: true\n    compression_level: {level}\n"),
        );
        assert_ne!(next, text);
        gateway.reload(&next).await.expect("it takes over");
        for n in 1..4 {
            let answer = client::post_otlp(gateway.http, "/v1/logs", &sample::logs(n).encode_to_vec()).await;
            assert_eq!(answer.status, 200);
            sent += n;
        }
    }
    // The last one may not have had its turn: what it owes is on disk.
    gateway.stop_holding_some().await;
    Gateway::start(&config(folder.path())).await.stop().await;
    let archived = Archived::verified(&folder.path().join("archive"));
    assert_eq!(archived.records("logs"), sent);
}

/// `weir archive`, with arguments; its exit code, what it printed and what it said.
pub async fn weir(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("archive").args(arguments).env("USER", "ana");
    let run = tokio::task::spawn_blocking(move || command.output());
    let output: Output = run.await.expect("it is waited for").expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("it was not killed");
    (code, text(output.stdout), text(output.stderr))
}

/// A life of the gateway as a process, once it listens.
async fn life(folder: &Path, http: SocketAddr) -> Process {
    let process = Process::start(&folder.join("weir.yaml"), folder.join("weir.log"), None);
    let end = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(http).await.is_err() {
        assert!(Instant::now() < end, "it does not listen: {}", process.said());
        sleep(Duration::from_millis(10)).await;
    }
    process
}

/// How often each numbered record came to a peer.
pub fn numbers(peer: &Peer) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for request in peer.taken() {
        for n in records::read(&request.path, request.message).numbers {
            *counts.entry(n).or_default() += 1;
        }
    }
    counts
}

#[tokio::test]
async fn what_was_acknowledged_before_and_after_a_kill_is_restored_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let http = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = config(folder.path())
        .replace("{http}", &http.port().to_string())
        .replace("{grpc}", &free_port().to_string());
    fs::write(folder.path().join("weir.yaml"), text).unwrap();
    let mut acknowledged = BTreeMap::new();
    let mut post = async |batch: Batch| {
        let answer = client::post_otlp(http, batch.path(false), &batch.message()).await;
        assert_eq!(answer.status, 200);
        acknowledged.extend(batch.numbers().map(|n| (n, 1)));
    };
    let batch = |first: u64, is_trace: bool| Batch {
        records: 50,
        is_trace,
        text: 200,
        ..Batch::of_one(first)
    };
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (store, policy, key, job) = (
        at("archive"),
        at("trust.policy"),
        at("state/signer.key"),
        at("job.json"),
    );
    let (config, root) = (at("weir.yaml"), at("root.key"));
    let init = [
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
        told.starts_with("archive      example/gateway founded, not locked"),
        "{told}"
    );
    let mut gateway = life(folder.path(), http).await;
    for n in 0..6 {
        post(batch(n * 50, n % 2 == 1)).await;
    }
    gateway.kill();
    let mut gateway = life(folder.path(), http).await;
    for n in 6..10 {
        post(batch(n * 50, n % 2 == 1)).await;
    }
    gateway.stop().await;

    // What the gateway says of itself is in the archive as well.
    let verify = [
        "verify", "--policy", &policy, "--store", &store, "--level", "full", "--tenant", "default",
    ];
    let (exit, told, _) = weir(&verify).await;
    assert_eq!(exit, 0, "{told}");
    assert!(told.contains("500 records"), "{told}");

    // All of it, over gRPC; the far side is unwell at first.
    let sink = Peer::scripted([Answer::Grpc {
        code: 14,
        message: "not yet",
        retry_ms: Some(1),
    }])
    .await;
    let to = sink.addr.to_string();
    let restore = [
        "restore",
        "--store",
        &store,
        "--policy",
        &policy,
        "--key",
        &key,
        "--to-otlp",
        &to,
    ];
    let (exit, told, said) =
        weir(&[&restore[..], &["--mark", "--resume", &job, "--reason", "INC-77"]].concat()).await;
    assert_eq!(exit, 0, "{told}{said}");
    assert!(told.starts_with("sent 500 records of "), "{told}");
    assert_eq!(numbers(&sink), acknowledged);
    let marked = sink
        .taken()
        .into_iter()
        .filter(|request| request.path == client::LOGS);
    let marked: Vec<_> = marked
        .map(|request| ExportLogsServiceRequest::decode(request.message).expect("logs"))
        .collect();
    let attributes = marked.iter().flat_map(|request| &request.resource_logs);
    let keys: Vec<&str> = attributes
        .flat_map(|group| &group.resource.as_ref().expect("it is marked").attributes)
        .map(|attribute| attribute.key.as_str())
        .collect();
    assert!(!keys.is_empty());
    assert_eq!(
        keys,
        ["weir.replay.id", "weir.replay.object"].repeat(keys.len() / 2)
    );
    // The job is done, and does nothing more.
    let (exit, told, _) = weir(&[&restore[..], &["--mark", "--resume", &job]].concat()).await;
    assert_eq!(
        (exit, told.as_str()),
        (0, "500 records were sent already: this job is done\n")
    );
    assert_eq!(numbers(&sink), acknowledged);

    // It left a session of its own, by a key that the root endorsed: all of it verifies, with a pin.
    let (exit, heads, _) = weir(&["head", "--store", &store, "--policy", &policy, "--json"]).await;
    assert_eq!(exit, 0);
    let pin = at("head.json");
    fs::write(&pin, heads).unwrap();
    let decode = [
        "verify", "--policy", &policy, "--store", &store, "--level", "decode",
    ];
    let (exit, told, _) = weir(&[&decode[..], &["--pin", &pin]].concat()).await;
    assert_eq!(exit, 0, "{told}");
    assert!(told.contains("sessions  2 (cli-ana-"), "{told}");
    let restored = archive::restores(Path::new(&store));
    assert_eq!(restored.len(), 1);
    let restore = &restored[0];
    assert_eq!(
        (restore.n, restore.by.as_str(), restore.reason.as_str()),
        (500, "ana", "INC-77")
    );

    // Some of it, over HTTP, at a rate.
    let sink = Peer::start().await;
    let to = format!("http://{}", sink.addr);
    let some = [
        "restore",
        "--store",
        &store,
        "--policy",
        &policy,
        "--key",
        &key,
        "--to-otlp",
        &to,
        "--signal",
        "logs",
        "--where",
        "attributes[\"n\"] >= 400",
        "--rate",
        "5000/s",
    ];
    let (exit, told, said) = weir(&some).await;
    assert_eq!(exit, 0, "{told}{said}");
    let logs = (400..450).map(|n| (n, 1)).collect();
    assert_eq!(numbers(&sink), logs);

    // The same as text.
    let cat = [
        "cat", "--store", &store, "--policy", &policy, "--key", &key, "--signal", "traces",
    ];
    let (exit, rows, said) = weir(&cat).await;
    assert_eq!(exit, 0, "{said}");
    assert_eq!(rows.lines().count(), 250);
    let (exit, listed, _) = weir(&[
        "ls", "--store", &store, "--policy", &policy, "--tenant", "default", "--json",
    ])
    .await;
    assert_eq!(exit, 0);
    let records: u64 = listed
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["n"]
                .as_u64()
                .expect("a count")
        })
        .sum();
    assert_eq!(records, 500);
}

#[tokio::test]
async fn what_is_not_what_was_sealed_is_never_sent() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(folder.path())).await;
    let answer = client::post_otlp(gateway.http, "/v1/logs", &sample::logs(1).encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (store, key) = (at("archive"), at("cli.key"));
    let object = archive::objects(Path::new(&store)).remove(0);
    let path = Path::new(&store).join(&object.key);
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let sink = Peer::start().await;
    let to = sink.addr.to_string();
    let restore = ["restore", "--store", &store, "--key", &key, "--to-otlp", &to];
    let (exit, _, said) = weir(&restore).await;
    assert_eq!(exit, 1, "{said}");
    assert!(said.contains(&format!("I1 altered  {}", object.key)), "{said}");
    assert!(sink.received().is_empty());
    let (exit, rows, said) = weir(&["cat", "--store", &store, "--key", &key, "--tenant", "default"]).await;
    assert_eq!((exit, rows.as_str()), (1, ""), "{said}");
    fs::remove_file(&path).unwrap();
    let (exit, _, said) = weir(&restore).await;
    assert_eq!(exit, 2, "{said}");
    assert!(sink.received().is_empty());
}

#[tokio::test]
async fn what_cannot_be_logged_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(folder.path())).await;
    let answer = client::post_otlp(gateway.http, "/v1/logs", &sample::logs(1).encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let store = at("archive");
    // Where the log of a command would begin is a file.
    let logs = Path::new(&store).join("_weir/v1/log");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let writer = evidence::names::writer_of_host(&format!("cli-ana-{}", host.trim()));
    fs::write(logs.join(writer), "").unwrap();
    let sink = Peer::start().await;
    let to = sink.addr.to_string();
    let key = at("cli.key");
    let (exit, told, said) = weir(&["restore", "--store", &store, "--key", &key, "--to-otlp", &to]).await;
    assert_eq!((exit, told.as_str()), (4, ""), "{said}");
    assert!(said.contains("cannot be written"), "{said}");
    assert!(sink.received().is_empty());
    // A copy is nobody's archive: nothing is logged in it.
    let (exit, rows, said) = weir(&["cat", "--from-dir", &store, "--tenant", "default"]).await;
    assert_eq!((exit, rows.lines().count()), (0, 1), "{said}");
}

//! Queues on disk, through the whole gateway: outage, restart, a full disk, and what of a client reaches the disk.

use std::path::Path;

use prost::Message;
use telemetry::{Column, Node, Place};
use wire::Signal;

use crate::support::child::Child;
use crate::support::client::{self, Grpc, LOGS};
use crate::support::gateway::Gateway;
use crate::support::peer::{Answer, Peer};
use crate::support::sample;
use crate::support::until;

const DOWN: Answer = Answer::Http {
    status: 503,
    retry_after: None,
};

/// A gateway whose exporters `exporters` (id, block) keep their queues in `directory`.
fn config(directory: &Path, storage: &str, exporters: &[(&str, String)]) -> String {
    let ids: Vec<&str> = exporters.iter().map(|(id, _)| *id).collect();
    let blocks: String = exporters
        .iter()
        .map(|(id, block)| format!("  {id}: {block}\n"))
        .collect();
    format!(
        r#"
extensions:
  file_storage: {{directory: "{}", segment_size: 65536{storage}}}
  headers_setter: {{headers: [{{key: x-scope-orgid, from_context: x-tenant, default_value: nobody}}]}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}", include_metadata: true}}
      http: {{endpoint: "127.0.0.1:{{http}}", include_metadata: true}}
exporters:
{blocks}
service:
  extensions: [file_storage, headers_setter]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [{}]}}
"#,
        directory.display(),
        ids.join(", ")
    )
}

const FAST: &str = "retry_on_failure: {initial_interval: 10ms, max_interval: 50ms, max_elapsed_time: 0}";

fn to(peer: &Peer, queue: &str, more: &str) -> String {
    let addr = peer.addr;
    format!(
        "{{endpoint: \"http://{addr}\", compression: none, {FAST}, sending_queue: {{storage: file_storage{queue}}}{more}}}"
    )
}

fn owed(gateway: &Gateway, exporter: &str) -> u64 {
    let place = Place::Node(Node::Exporter(exporter.into()));
    gateway.books(place, Signal::Logs).held()
}

/// Log requests, each with a name of its own.
fn named(n: usize) -> Vec<u8> {
    let mut request = sample::logs(3);
    request.resource_logs[0].schema_url = format!("request {n}");
    request.encode_to_vec()
}

/// The names of the requests that a peer took, in order.
fn names(peer: &Peer) -> Vec<String> {
    let requests = peer.logs();
    let groups = requests.iter().flat_map(|r| &r.resource_logs);
    groups.map(|group| group.schema_url.clone()).collect()
}

fn all(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("request {n}")).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[tokio::test]
async fn an_outage_costs_disk_and_no_data() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start().await;
    peer.always(DOWN);
    let config = config(folder.path(), "", &[("otlp_http", to(&peer, "", ""))]);
    let gateway = Gateway::start(&config).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    for n in 0..20 {
        assert_eq!(grpc.export(LOGS, &named(n)).await.code, 0);
    }
    assert_eq!(owed(&gateway, "otlp_http"), 60);
    until("it was tried", || peer.received().len() > 5).await;
    peer.always(Answer::Ok);
    until("all delivered", || owed(&gateway, "otlp_http") == 0).await;
    assert_eq!(sorted(names(&peer)), sorted(all(20)));
    gateway.stop().await;
}

#[tokio::test]
async fn a_restart_carries_on_where_the_last_life_ended() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start().await;
    peer.always(DOWN);
    let one = [("otlp_http", to(&peer, ", num_consumers: 1", ""))];
    let config = config(folder.path(), "", &one);
    let gateway = Gateway::start(&config).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    for n in 0..10 {
        assert_eq!(grpc.export(LOGS, &named(n)).await.code, 0);
    }
    gateway.stop_holding(30).await;
    assert!(names(&peer).is_empty());
    peer.always(Answer::Ok);
    let gateway = Gateway::start(&config).await;
    until("all delivered", || names(&peer).len() == 10).await;
    assert_eq!(names(&peer), all(10), "in order");
    until("all booked", || owed(&gateway, "otlp_http") == 0).await;
    let totals = gateway.books(Place::Node(Node::Exporter("otlp_http".into())), Signal::Logs);
    assert_eq!((totals.get(Column::CarriedIn), totals.get(Column::Out)), (30, 30));
    gateway.stop().await;
    let gateway = Gateway::start(&config).await;
    gateway.stop().await;
    assert_eq!(names(&peer).len(), 10, "nothing comes a second time");
}

#[tokio::test]
async fn one_dead_destination_does_not_stop_two_others() {
    let folder = tempfile::tempdir().unwrap();
    let peers = [Peer::start().await, Peer::start().await, Peer::start().await];
    peers[2].always(DOWN);
    let exporters = [
        ("otlp_http/a", to(&peers[0], "", "")),
        ("otlp_http/b", to(&peers[1], "", "")),
        (
            "otlp_http/dead",
            to(&peers[2], ", queue_size: 4, overflow: drop_oldest", ""),
        ),
    ];
    let gateway = Gateway::start(&config(folder.path(), "", &exporters)).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    for n in 0..40 {
        assert_eq!(grpc.export(LOGS, &named(n)).await.code, 0);
    }
    for (id, peer) in [("otlp_http/a", &peers[0]), ("otlp_http/b", &peers[1])] {
        until("delivered", || owed(&gateway, id) == 0).await;
        assert_eq!(sorted(names(peer)), sorted(all(40)));
    }
    let dead = gateway.books(Place::Node(Node::Exporter("otlp_http/dead".into())), Signal::Logs);
    assert_eq!(dead.dropped.get("drop_oldest"), Some(&108));
    assert_eq!(dead.held(), 12);
    peers[2].always(Answer::Ok);
    until("delivered", || owed(&gateway, "otlp_http/dead") == 0).await;
    assert_eq!(names(&peers[2]).len(), 4);
    gateway.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_busy_with_a_hint_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start().await;
    peer.always(DOWN);
    let exporters = [("otlp_http", to(&peer, ", queue_size: 1000000", ""))];
    let gateway = Gateway::start(&config(folder.path(), ", max_size: 1048576", &exporters)).await;
    let body = sample::logs(50).encode_to_vec();
    let mut taken = 0;
    let refused = loop {
        let answer = client::post_otlp(gateway.http, "/v1/logs", &body).await;
        match answer.status {
            200 => taken += 1,
            _ => break answer,
        }
    };
    assert_eq!(refused.status, 503);
    let hint = refused.header("retry-after").expect("there is a hint");
    assert!((1..=5).contains(&hint.parse().unwrap_or(0)), "{hint}");
    assert!(taken * body.len() > 500 << 10, "{taken} requests fit");
    peer.always(Answer::Ok);
    until("delivered", || owed(&gateway, "otlp_http") == 0).await;
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while client::post_otlp(gateway.http, "/v1/logs", &body).await.status != 200 {
        assert!(tokio::time::Instant::now() < end, "it does not recover");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    until("delivered", || owed(&gateway, "otlp_http") == 0).await;
    assert_eq!(names(&peer).len(), taken + 1);
    gateway.stop().await;
}

/// Whether a text stands in any file below.
fn is_on_disk(folder: &Path, text: &str) -> bool {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files = entries.map(|entry| entry.unwrap().path());
    files.any(|file| {
        let bytes = std::fs::read(&file).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

/// Sends one request with everything that a client could say, while the peer is down; what is on the disk then, and
/// what the peer is told after a restart.
async fn with_secrets(storage: &str, check: impl Fn(&Path)) -> http::HeaderMap {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start().await;
    peer.always(DOWN);
    let more = ", auth: {authenticator: headers_setter}";
    let exporters = [("otlp_http", to(&peer, "", more))];
    let config = config(folder.path(), storage, &exporters);
    let gateway = Gateway::start(&config).await;
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("authorization", "Bearer hunter2"),
        ("x-api-key", "hunter3"),
        ("cookie", "session=hunter4"),
        ("x-team", "nobody-asked-for-it"),
        ("x-tenant", "acme-and-sons"),
    ];
    let answer = client::post(gateway.http, "/v1/logs", &headers, &named(0)).await;
    assert_eq!(answer.status, 200);
    until("it was tried", || !peer.received().is_empty()).await;
    check(folder.path());
    gateway.stop_holding(3).await;
    check(folder.path());
    peer.always(Answer::Ok);
    let gateway = Gateway::start(&config).await;
    until("delivered", || {
        owed(&gateway, "otlp_http") == 0 && !peer.taken().is_empty()
    })
    .await;
    check(folder.path());
    gateway.stop().await;
    check(folder.path());
    peer.taken()[0].headers.clone()
}

#[tokio::test]
async fn no_secret_reaches_the_disk_and_the_named_key_survives() {
    let headers = with_secrets("", |folder| {
        for secret in ["hunter2", "hunter3", "hunter4", "nobody-asked-for-it"] {
            assert!(!is_on_disk(folder, secret), "{secret}");
        }
    })
    .await;
    assert_eq!(headers["x-scope-orgid"], "acme-and-sons");
    with_secrets("", |folder| {
        assert!(
            is_on_disk(folder, "acme-and-sons"),
            "the search finds what is there"
        )
    })
    .await;
}

#[tokio::test]
async fn an_encrypted_disk_shows_nothing() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "5".repeat(64)).unwrap();
    let storage = format!(", encryption: {{key_file: '{}'}}", key.path().display());
    let headers = with_secrets(&storage, |folder| {
        for text in ["hunter2", "acme-and-sons", "request 0", "line 0"] {
            assert!(!is_on_disk(folder, text), "{text}");
        }
    })
    .await;
    assert_eq!(headers["x-scope-orgid"], "acme-and-sons");
}

/// What the peer is told of the client's credentials before a kill and after it. They are in no file in any case.
async fn credentials_told(storage: &str) -> [http::HeaderValue; 2] {
    let folder = tempfile::tempdir().unwrap();
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "5".repeat(64)).unwrap();
    let storage = format!(", encryption: {{key_file: '{}'}}{storage}", key.path().display());
    let peer = Peer::start().await;
    peer.always(DOWN);
    let exporters = [(
        "otlp_http",
        to(&peer, "", ", auth: {authenticator: headers_setter}"),
    )];
    let config = config(folder.path(), &storage, &exporters).replace(
        "headers: [{key",
        "headers: [{key: authorization, from_context: authorization}, {key",
    );
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("authorization", "Bearer hunter2"),
    ];
    let gateway = Child::start(&config).await;
    let answer = client::post(gateway.http, "/v1/logs", &headers, &named(0)).await;
    assert_eq!(answer.status, 200);
    until("it was tried", || !peer.received().is_empty()).await;
    let before = peer.received()[0].headers["authorization"].clone();
    drop(gateway);
    assert!(!is_on_disk(folder.path(), "hunter2"));
    peer.always(Answer::Ok);
    let gateway = Child::start(&config).await;
    until("delivered", || !peer.taken().is_empty()).await;
    drop(gateway);
    assert!(!is_on_disk(folder.path(), "hunter2"));
    assert_eq!(names(&peer), all(1));
    [before, peer.taken()[0].headers["authorization"].clone()]
}

#[tokio::test]
async fn credentials_survive_a_kill_where_that_is_asked_for() {
    let told = credentials_told(", persist_sensitive_metadata: true").await;
    assert_eq!(told, ["Bearer hunter2"; 2]);
    assert_eq!(
        credentials_told("").await,
        [""; 2],
        "no attempt has what is not kept"
    );
}

#[tokio::test]
async fn what_nobody_reads_is_kept_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start().await;
    peer.always(DOWN);
    let both = [
        ("otlp_http/gone", to(&peer, "", "")),
        ("otlp_http/kept", to(&peer, "", "")),
    ];
    let gateway = Gateway::start(&config(folder.path(), "", &both)).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    assert_eq!(grpc.export(LOGS, &named(0)).await.code, 0);
    gateway.stop_holding(6).await;
    peer.always(Answer::Ok);
    let gateway = Gateway::start(&config(folder.path(), "", &both[1..])).await;
    until("delivered", || {
        owed(&gateway, "otlp_http/kept") == 0 && names(&peer).len() == 1
    })
    .await;
    let metrics = gateway.metrics();
    let line = "weir_journal_orphan_items{extension=\"file_storage\"";
    let shown = metrics.lines().find(|l| l.starts_with(line));
    assert!(shown.is_some_and(|l| l.ends_with(" 3")), "{shown:?}");
    gateway.stop().await;
    let gateway = Gateway::start(&config(folder.path(), "", &both)).await;
    until("delivered", || names(&peer).len() == 2).await;
    until("booked", || owed(&gateway, "otlp_http/gone") == 0).await;
    gateway.stop().await;
}

/// What the first metric says whose line begins so.
fn metric(gateway: &Gateway, start: &str) -> Option<f64> {
    let metrics = gateway.metrics();
    let line = metrics.lines().find(|line| line.starts_with(start))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test]
async fn a_flipped_bit_costs_one_request_and_is_told() {
    for is_sealed in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let peer = Peer::start().await;
        peer.always(DOWN);
        let config = config(folder.path(), "", &[("otlp_http", to(&peer, "", ""))]);
        let gateway = Gateway::start(&config).await;
        let grpc = Grpc::connect(gateway.grpc).await;
        for n in 0..200 {
            assert_eq!(grpc.export(LOGS, &named(n)).await.code, 0);
        }
        gateway.stop_holding(600).await;
        assert!(
            folder.path().join("0000000002.segment").exists(),
            "the first is full"
        );
        let file = folder.path().join("0000000001.segment");
        let mut bytes = std::fs::read(&file).unwrap();
        let name = b"request 7";
        let at = bytes
            .windows(name.len())
            .position(|window| window == name)
            .unwrap();
        bytes[at] ^= 1;
        if !is_sealed {
            // Without its index it is read whole, and the damage is met at the start.
            let len = bytes.len();
            bytes[len - 1] ^= 1;
        }
        std::fs::write(&file, bytes).unwrap();
        peer.always(Answer::Ok);
        let gateway = Gateway::start(&config).await;
        let others: Vec<String> = all(200).into_iter().filter(|name| name != "request 7").collect();
        let left = if is_sealed { 3 } else { 0 };
        until("all others delivered", || {
            names(&peer).len() == 199 && owed(&gateway, "otlp_http") == left
        })
        .await;
        assert_eq!(sorted(names(&peer)), sorted(others));
        let unreadable = metric(&gateway, "weir_exporter_unreadable_records");
        let places = metric(&gateway, "weir_journal_damaged_places");
        let expected = if is_sealed { (1.0, 0.0) } else { (0.0, 1.0) };
        assert_eq!((unreadable.unwrap_or(0.0), places.unwrap()), expected);
        gateway.stop_holding(left).await;
    }
}

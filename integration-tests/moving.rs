//! Queues that move at a reload: from memory to disk, back, and to another storage.

use std::path::Path;

use prost::Message;
use telemetry::{Column, Node, Place, Totals};
use wire::Signal;

use crate::support::client::{Grpc, LOGS};
use crate::support::gateway::Gateway;
use crate::support::peer::{Answer, Peer};
use crate::support::sample;
use crate::support::until;

const DOWN: Answer = Answer::Http {
    status: 503,
    retry_after: None,
};

/// Two storages in `folder`, and one exporter with this queue.
fn config(folder: &Path, peer: &Peer, queue: &str, deadline: &str) -> String {
    let (folder, addr) = (folder.display(), peer.addr);
    format!(
        r#"
extensions:
  file_storage/a: {{directory: "{folder}/a", create_directory: true}}
  file_storage/b: {{directory: "{folder}/b", create_directory: true}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}}}}}
exporters:
  otlp_http:
    endpoint: "http://{addr}"
    retry_on_failure: {{initial_interval: 10ms, max_interval: 50ms, max_elapsed_time: 0}}
    sending_queue: {{{queue}}}
service:
  extensions: [file_storage/a, file_storage/b]
  shutdown: {{deadline: {deadline}}}
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [otlp_http]}}
"#
    )
}

/// Ten requests of one item, by their numbers.
async fn send(grpc: &Grpc, sent: &mut Vec<String>) {
    for _ in 0..10 {
        let mut request = sample::logs(1);
        sent.push(format!("request {}", sent.len()));
        request.resource_logs[0].schema_url = sent.last().unwrap().clone();
        assert_eq!(grpc.export(LOGS, &request.encode_to_vec()).await.code, 0);
    }
}

fn books(gateway: &Gateway) -> Totals {
    gateway.books(Place::Node(Node::Exporter("otlp_http".into())), Signal::Logs)
}

/// Names of the requests that the peer took, sorted.
fn taken(peer: &Peer) -> Vec<String> {
    let requests = peer.logs();
    let groups = requests.iter().flat_map(|r| &r.resource_logs);
    let mut names: Vec<String> = groups.map(|group| group.schema_url.clone()).collect();
    names.sort_by_key(|name| name["request ".len()..].parse::<usize>().unwrap());
    names
}

const MEMORY: &str = "queue_size: 100000";
const A: &str = "storage: file_storage/a";
const B: &str = "storage: file_storage/b";

#[tokio::test]
async fn a_queue_that_moves_loses_nothing_and_sends_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start().await;
    let at = |queue: &str| config(folder.path(), &peer, queue, "30s");
    let gateway = Gateway::start(&at(MEMORY)).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let mut sent = Vec::new();
    for next in [A, MEMORY, B, A, B, MEMORY] {
        peer.always(DOWN);
        send(&grpc, &mut sent).await;
        gateway.reload(&at(next)).await.unwrap();
        send(&grpc, &mut sent).await;
        assert_eq!(books(&gateway).held(), 20, "to {next}");
        peer.always(Answer::Ok);
        until("all delivered", || books(&gateway).held() == 0).await;
        assert_eq!(taken(&peer), sent, "to {next}");
    }
    let totals = books(&gateway);
    let count = sent.len() as u64;
    assert_eq!((totals.get(Column::In), totals.get(Column::Out)), (count, count));
    gateway.stop().await;
    let gateway = Gateway::start(&at(A)).await;
    gateway.stop().await;
    assert_eq!(taken(&peer), sent, "no storage has anything left");
}

#[tokio::test]
async fn what_a_storage_keeps_past_the_deadline_is_an_orphan_until_it_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start().await;
    peer.always(DOWN);
    let at = |queue: &str| config(folder.path(), &peer, queue, "100ms");
    let orphans = |gateway: &Gateway| {
        let metrics = gateway.metrics();
        let line = "weir_journal_orphan_items{extension=\"file_storage/a\"";
        let line = metrics.lines().find(|l| l.starts_with(line)).map(str::to_owned);
        line.and_then(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok())
    };
    let gateway = Gateway::start(&at(A)).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let mut sent = Vec::new();
    send(&grpc, &mut sent).await;
    until("it is read", || orphans(&gateway) == Some(0.0)).await;
    gateway.reload(&at(MEMORY)).await.unwrap();
    until("the old queue has stopped", || orphans(&gateway) == Some(10.0)).await;
    assert_eq!(books(&gateway).held(), 10);
    peer.always(Answer::Ok);
    send(&grpc, &mut sent).await;
    until("the new ones arrive", || taken(&peer).len() == 10).await;
    assert_eq!(taken(&peer), sent[10..]);
    gateway.reload(&at(A)).await.unwrap();
    until("all delivered", || books(&gateway).held() == 0).await;
    assert_eq!(orphans(&gateway), Some(0.0));
    assert_eq!(taken(&peer), sent);
    assert_eq!(
        books(&gateway).get(Column::CarriedIn),
        0,
        "this life took them in itself"
    );
    gateway.stop().await;
}

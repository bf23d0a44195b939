//! A real Envoy (`envoy.yaml`): each access log record goes to the peer twice, once directly and once through the gateway,
//! and the two must be equal; spans go through the gateway and must be those that the records name.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::gateway::{Gateway, Out};
use super::peer::{Peer, Received};
use super::{beside, free_port, get, installed, until};

/// A running Envoy; killed when dropped.
struct Envoy {
    child: Child,
    dir: tempfile::TempDir,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const REQUESTS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn access_logs_and_spans_arrive() {
    let Some(program) = installed("venv/bin/envoy") else {
        return;
    };
    let (direct, behind) = (Peer::start().await, Peer::start().await);
    let mut gateway = Gateway::start(Out::Grpc, behind.addr).await;
    let [admin, over_grpc, over_http] = std::array::from_fn(|_| free_port());
    let mut yaml = fs::read_to_string(beside("envoy.yaml")).unwrap();
    for (name, port) in [
        ("{ADMIN}", admin),
        ("{LISTEN_GRPC}", over_grpc),
        ("{LISTEN_HTTP}", over_http),
        ("{DIRECT}", direct.addr.port()),
        ("{BEHIND_GRPC}", gateway.grpc),
        ("{BEHIND_HTTP}", gateway.http),
    ] {
        yaml = yaml.replace(name, &port.to_string());
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("envoy.yaml"), yaml).unwrap();
    let child = Command::new(program)
        .arg("-c")
        .arg(dir.path().join("envoy.yaml"))
        .args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"])
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.path().join("envoy.log")).unwrap())
        .spawn()
        .unwrap();
    let mut envoy = Envoy { child, dir };
    until("envoy is ready", || {
        if let Ok(Some(status)) = envoy.child.try_wait() {
            let log = fs::read_to_string(envoy.dir.path().join("envoy.log")).unwrap_or_default();
            panic!("envoy ended with {status}: {log}");
        }
        async move {
            get(admin, "/ready")
                .await
                .is_some_and(|(status, _)| status == 200)
        }
    })
    .await;

    for n in 0..REQUESTS {
        let port = if n % 2 == 0 { over_grpc } else { over_http };
        let path = format!("/p%20{n}?q=%E6%97%A5&n={n}");
        assert_eq!(get(port, &path).await.map(|(status, _)| status), Some(200));
    }
    // Each request is logged over both protocols.
    let all = 2 * REQUESTS;
    until("all records and spans came", || {
        let came = records(&direct).len() == all
            && records(&behind).len() == all
            && spans(&behind).len() >= REQUESTS;
        async move { came }
    })
    .await;

    let (sent, arrived) = (records(&direct), records(&behind));
    assert_eq!(arrived, sent);
    let logged: BTreeSet<_> = requests::<ExportLogsServiceRequest>(&direct, "logs")
        .flat_map(|request| request.resource_logs)
        .flat_map(|group| group.scope_logs)
        .flat_map(|group| group.log_records)
        .map(|record| (record.trace_id, record.span_id))
        .collect();
    let traced: BTreeSet<_> = spans(&behind).into_iter().collect();
    assert_eq!(logged.len(), REQUESTS);
    let ids: BTreeSet<_> = traced
        .iter()
        .map(|(_, trace, span)| (trace.clone(), span.clone()))
        .collect();
    assert_eq!(ids, logged);
    for service in ["edge-grpc", "edge-http"] {
        assert_eq!(
            traced.iter().filter(|(name, ..)| name == service).count(),
            REQUESTS / 2,
            "{service}"
        );
    }

    let stats = get(admin, "/stats?usedonly&filter=opentelemetry|open_telemetry")
        .await
        .unwrap()
        .1;
    for line in stats
        .lines()
        .filter(|line| line.contains("dropped") || line.contains("failed"))
    {
        assert!(line.ends_with(": 0"), "envoy says {line}");
    }
    drop(envoy);
    gateway.stop().await;
}

/// Requests of one signal that the peer took.
fn requests<M: Message + Default>(peer: &Peer, signal: &'static str) -> impl Iterator<Item = M> {
    let of_signal = move |r: &Received| r.path.to_lowercase().contains(signal);
    peer.taken()
        .into_iter()
        .filter(of_signal)
        .map(|r| M::decode(r.message).expect("a peer gets valid protobuf"))
}

/// Every log record with its resource, as text, sorted: batches differ between the two ways.
fn records(peer: &Peer) -> Vec<String> {
    let mut all: Vec<String> = requests::<ExportLogsServiceRequest>(peer, "logs")
        .flat_map(|request| request.resource_logs)
        .flat_map(|group| {
            let head = format!("{:?} {}", group.resource, group.schema_url);
            group.scope_logs.into_iter().flat_map(move |scope| {
                let head = format!("{head} {:?} {}", scope.scope, scope.schema_url);
                scope
                    .log_records
                    .into_iter()
                    .map(move |record| format!("{head} {record:?}"))
            })
        })
        .collect();
    all.sort_unstable();
    all
}

/// Service, trace id and span id of each span.
fn spans(peer: &Peer) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    requests::<ExportTraceServiceRequest>(peer, "trace")
        .flat_map(|request| request.resource_spans)
        .flat_map(|group| {
            let service = text(group.resource.as_ref(), "service.name");
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.map(move |span| (service.clone(), span.trace_id, span.span_id))
        })
        .collect()
}

fn text(resource: Option<&Resource>, key: &str) -> String {
    let named = |kv: &&KeyValue| kv.key == key;
    let found = resource.and_then(|resource| resource.attributes.iter().find(named));
    match found.and_then(|kv| kv.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

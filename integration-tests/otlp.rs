//! OTLP in, OTLP out: what no rule touches arrives byte for byte.

use prost::Message;

use crate::support::client::{self, Grpc, LOGS, METRICS, TRACES};
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::sample;

/// Receives on both protocols; sends by gRPC and by HTTP to one peer, answered after delivery.
fn through(peer: &Peer, exporter: &str, processors: &str) -> String {
    let peer = peer.addr;
    format!(
        r#"
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}
      http: {{endpoint: "127.0.0.1:{{http}}"}}
processors:
  resource: {{attributes: [{{key: added, value: yes, action: insert}}]}}
  attributes: {{actions: [{{key: empty, action: update, value: filled}}]}}
  batch:
exporters:
  otlp_grpc:
    endpoint: "{peer}"
    tls: {{insecure: true}}
    compression: none
    sending_queue: {{enabled: false}}
  otlp_http:
    endpoint: "http://{peer}"
    compression: none
    sending_queue: {{enabled: false}}
  otlp/alias: {{endpoint: "{peer}", tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}
  otlphttp/alias: {{endpoint: "http://{peer}", sending_queue: {{enabled: false}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], processors: [{processors}], exporters: [{exporter}]}}
    traces: {{receivers: [otlp], processors: [{processors}], exporters: [{exporter}]}}
    metrics: {{receivers: [otlp], processors: [{processors}], exporters: [{exporter}]}}
"#
    )
}

async fn arrives_unchanged(exporter: &str, processors: &str) {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&through(&peer, exporter, processors)).await;
    let bodies = [
        (LOGS, "/v1/logs", sample::logs(7).encode_to_vec()),
        (TRACES, "/v1/traces", sample::traces(3).encode_to_vec()),
        (METRICS, "/v1/metrics", sample::metrics().encode_to_vec()),
    ];
    let grpc = Grpc::connect(gateway.grpc).await;
    let mut sent = Vec::new();
    for (method, path, body) in &bodies {
        let answer = grpc.export(method, body).await;
        assert_eq!((answer.code, answer.body.len()), (0, 5), "{answer:?}");
        let answer = client::post_otlp(gateway.http, path, body).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        assert_eq!(
            answer.header("content-type").as_deref(),
            Some("application/x-protobuf")
        );
        sent.extend([body.clone(), body.clone()]);
    }
    let got: Vec<Vec<u8>> = peer.taken().iter().map(|r| r.message.to_vec()).collect();
    assert_eq!(got, sent, "{exporter} [{processors}]");
    for received in peer.taken() {
        let agent = received.headers["user-agent"].to_str().unwrap();
        assert!(agent.starts_with("Weir/"), "says who it is: {agent}");
        let known = [
            "LogsService/Export",
            "TraceService/Export",
            "MetricsService/Export",
            "/v1/",
        ];
        assert!(
            known.iter().any(|k| received.path.contains(k)),
            "{}",
            received.path
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn grpc_out_is_byte_for_byte() {
    arrives_unchanged("otlp_grpc", "").await;
}

#[tokio::test]
async fn http_out_is_byte_for_byte() {
    arrives_unchanged("otlp_http", "").await;
}

#[tokio::test]
async fn old_spellings_load_and_compress() {
    arrives_unchanged("otlp/alias", "").await;
    arrives_unchanged("otlphttp/alias", "").await;
}

#[tokio::test]
async fn a_batch_processor_changes_no_byte_of_a_request_that_is_alone() {
    arrives_unchanged("otlp_grpc", "batch").await;
}

#[tokio::test]
async fn a_processor_changes_what_it_names_and_nothing_else() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&through(&peer, "otlp_grpc", "resource, attributes")).await;
    let mut want = sample::logs(5);
    let answer = Grpc::connect(gateway.grpc)
        .await
        .export(LOGS, &want.encode_to_vec())
        .await;
    assert_eq!(answer.code, 0);
    for group in &mut want.resource_logs {
        group
            .resource
            .as_mut()
            .unwrap()
            .attributes
            .push(sample::attr("added", sample::text("yes")));
        for record in group.scope_logs.iter_mut().flat_map(|s| &mut s.log_records) {
            let empty = record.attributes.iter_mut().find(|a| a.key == "empty").unwrap();
            empty.value = Some(sample::text("filled"));
        }
    }
    assert_eq!(peer.logs(), [want]);
    gateway.stop().await;
}

#[tokio::test]
async fn gzip_goes_through_as_it_came() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&through(&peer, "otlp/alias", "")).await;
    let body = sample::logs(40).encode_to_vec();
    let zipped = gzip(&body);
    let grpc = Grpc::connect(gateway.grpc).await;
    let answer = grpc
        .call(
            LOGS,
            client::frame(1, &zipped),
            &[("grpc-encoding", "gzip")],
            true,
        )
        .await;
    assert_eq!(answer.code, 0, "{answer:?}");
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "gzip"),
    ];
    let answer = client::post(gateway.http, "/v1/logs", &headers, &zipped).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    for received in peer.taken() {
        assert_eq!(received.wire, zipped, "the very bytes that came");
        assert_eq!(received.message, body);
    }
    // two members: legal to read, never sent on as they are
    let two = [gzip(&body), gzip(&body)].concat();
    let answer = client::post(gateway.http, "/v1/logs", &headers, &two).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let last = peer.taken().pop().unwrap();
    assert_eq!(last.message, [body.clone(), body].concat());
    assert_ne!(last.wire, two);
    gateway.stop().await;
}

pub fn gzip(body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    out.write_all(body).unwrap();
    out.finish().unwrap()
}

#[tokio::test]
async fn an_empty_request_succeeds_and_goes_nowhere() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&through(&peer, "otlp_grpc", "")).await;
    assert_eq!(Grpc::connect(gateway.grpc).await.export(LOGS, &[]).await.code, 0);
    assert_eq!(client::post_otlp(gateway.http, "/v1/logs", &[]).await.status, 200);
    assert!(peer.received().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_never_half_closes_is_answered() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&through(&peer, "otlp_grpc", "")).await;
    let body = sample::logs(2).encode_to_vec();
    let grpc = Grpc::connect(gateway.grpc).await;
    let answer = grpc.call(LOGS, client::frame(0, &body), &[], false).await;
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(peer.taken().len(), 1);
    gateway.stop().await;
}

//! Callers that go away, that have little time, or that share a batch with others: what the far side gets, and who is
//! told what.

use bytes::Bytes;
use prost::Message;
use telemetry::{Node, Place, Totals};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use wire::Signal;

use crate::support::client::{self, Grpc, LOGS, frame};
use crate::support::gateway::Gateway;
use crate::support::peer::{Answer, Peer};
use crate::support::{sample, until};

fn config(peer: &Peer, keys: &str) -> String {
    format!(
        r#"
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}
      http: {{endpoint: "127.0.0.1:{{http}}"}}
exporters:
  otlp_grpc: {{endpoint: "{}", tls: {{insecure: true}}, {keys}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [otlp_grpc]}}
"#,
        peer.addr
    )
}

fn books(gateway: &Gateway) -> Totals {
    gateway.books(Place::Node(Node::Exporter("otlp_grpc".into())), Signal::Logs)
}

#[tokio::test]
async fn an_attempt_outlives_the_client_that_went_away() {
    for queue in ["{enabled: false}", "{wait_for_result: true}"] {
        for over_http in [true, false] {
            let peer = Peer::start().await;
            peer.always(Answer::Hold);
            let gateway = Gateway::start(&config(&peer, &format!("sending_queue: {queue}"))).await;
            let want = sample::logs(3);
            let body = want.encode_to_vec();
            if over_http {
                let mut socket = TcpStream::connect(gateway.http).await.unwrap();
                let head = format!(
                    "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                socket
                    .write_all(&[head.as_bytes(), &body].concat())
                    .await
                    .unwrap();
                until("the peer has the request", || peer.received().len() == 1).await;
            } else {
                let grpc = Grpc::connect(gateway.grpc).await;
                let call = tokio::spawn(async move { grpc.export(LOGS, &body).await });
                until("the peer has the request", || peer.received().len() == 1).await;
                call.abort(); // resets the stream and closes the connection
                let _ = call.await;
            }
            peer.release();
            let what = format!("{queue}: the attempt ends as if nothing had happened");
            until(&what, || books(&gateway).get(telemetry::Column::Out) == 3).await;
            assert_eq!(peer.logs(), [want], "once, and whole");
            gateway.stop().await;
        }
    }
}

/// A request with 300 ms to go, over either protocol: `(is unavailable, ms)`.
async fn in_a_hurry(gateway: &Gateway, over_http: bool, body: &[u8]) -> (bool, u128) {
    let began = Instant::now();
    let unavailable = if over_http {
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("x-envoy-expected-rq-timeout-ms", "300"),
        ];
        client::post(gateway.http, "/v1/logs", &headers, body)
            .await
            .status
            == 503
    } else {
        let headers = [("grpc-timeout", "300m")];
        let grpc = Grpc::connect(gateway.grpc).await;
        grpc.call(LOGS, frame(0, body), &headers, true).await.code == 14
    };
    (unavailable, began.elapsed().as_millis())
}

#[tokio::test]
async fn a_caller_without_time_is_told_before_a_retry_that_comes_too_late() {
    for queue in ["{enabled: false}", "{wait_for_result: true}"] {
        for over_http in [true, false] {
            let down = Answer::Grpc {
                code: 14,
                message: "down",
                retry_ms: None,
            };
            let peer = Peer::scripted([down]).await;
            let retry = "retry_on_failure: {initial_interval: 2s}";
            let gateway = Gateway::start(&config(&peer, &format!("sending_queue: {queue}, {retry}"))).await;
            let body = sample::logs(3).encode_to_vec();
            let (unavailable, ms) = in_a_hurry(&gateway, over_http, &body).await;
            assert!(
                unavailable && ms < 1900,
                "{queue} {over_http}: {unavailable} {ms}"
            );
            gateway.stop().await;
            assert_eq!(peer.received().len(), 1, "not sent again behind its back");
        }
    }
}

#[tokio::test]
async fn a_caller_without_time_leaves_the_queue_unsent() {
    for over_http in [true, false] {
        let peer = Peer::start().await;
        peer.always(Answer::Hold);
        let keys = "timeout: 20s, sending_queue: {wait_for_result: true, num_consumers: 1}";
        let gateway = Gateway::start(&config(&peer, keys)).await;
        let first = Grpc::connect(gateway.grpc).await;
        let want = sample::logs(1);
        let body: Bytes = want.encode_to_vec().into();
        let first = tokio::spawn(async move { first.export(LOGS, &body).await.code });
        until("the only consumer is at work", || peer.received().len() == 1).await;
        let (unavailable, ms) = in_a_hurry(&gateway, over_http, &sample::logs(3).encode_to_vec()).await;
        assert!(
            unavailable && (250..5000).contains(&ms),
            "{over_http}: {unavailable} {ms}"
        );
        peer.release();
        assert_eq!(first.await.unwrap(), 0);
        gateway.stop().await;
        assert_eq!(peer.logs(), [want], "what was given back is not sent");
    }
}

#[tokio::test]
async fn the_bad_one_of_a_merged_batch_hears_it_and_nobody_else() {
    let peer = Peer::start().await;
    peer.always(Answer::RefuseText("poison"));
    let keys = "sending_queue: {wait_for_result: true, batch: {min_size: 9, flush_timeout: 2s}}";
    let gateway = Gateway::start(&config(&peer, keys)).await;
    let good = sample::logs(3);
    let mut bad = sample::logs(3);
    bad.resource_logs[0].scope_logs[0].log_records[0].severity_text = "poison".into();
    let bodies: [Bytes; 3] = [&good, &bad, &good].map(|m| m.encode_to_vec().into());
    // Whether the three meet in one batch depends on when they come; sooner or later they do.
    for round in 0.. {
        assert!(round < 50, "three clients never met in a batch");
        let before = peer.received().len();
        let calls = bodies.clone().map(|body| {
            let addr = gateway.grpc;
            tokio::spawn(async move { Grpc::connect(addr).await.export(LOGS, &body).await.code })
        });
        let mut codes = Vec::new();
        for call in calls {
            codes.push(call.await.unwrap());
        }
        assert_eq!(codes, [0, 3, 0]);
        let sent: Vec<Bytes> = peer.received()[before..]
            .iter()
            .map(|r| r.message.clone())
            .collect();
        let whole: usize = bodies.iter().map(Bytes::len).sum();
        if sent[0].len() == whole {
            let mut pieces = sent[1..].to_vec();
            pieces.sort();
            let mut expected = bodies.to_vec();
            expected.sort();
            assert_eq!(pieces, expected, "each chunk once more, byte for byte");
            break;
        }
    }
    gateway.stop().await;
}

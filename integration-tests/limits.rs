//! Bad input: a clear answer, counted, nobody else harmed, memory bounded.

use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::otlp::gzip;
use crate::support::client::{self, Grpc, LOGS, frame};
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::sample;

fn config(peer: &Peer) -> String {
    format!(
        r#"
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}", max_recv_msg_size_mib: 1}}
      http: {{endpoint: "127.0.0.1:{{http}}", max_request_body_size: 1048576, read_timeout: 500ms}}
exporters:
  otlp_grpc: {{endpoint: "{}", tls: {{insecure: true}}, compression: none, sending_queue: {{enabled: false}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [otlp_grpc]}}
"#,
        peer.addr
    )
}

/// A gateway that has been mistreated still serves, and nothing of the bad input came through.
async fn still_serves(gateway: Gateway, peer: &Peer) {
    let want = sample::logs(2);
    let before = peer.taken().len();
    assert_eq!(
        Grpc::connect(gateway.grpc)
            .await
            .export(LOGS, &want.encode_to_vec())
            .await
            .code,
        0
    );
    let answer = client::post_otlp(gateway.http, "/v1/logs", &want.encode_to_vec()).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(peer.taken().len(), before + 2);
    gateway.stop().await;
}

/// `depth` lists within lists as the body of one log record.
fn nested(depth: usize) -> Vec<u8> {
    let wrap = |field: u8, inner: &[u8]| {
        let mut out = vec![field << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut out);
        out.extend_from_slice(inner);
        out
    };
    let mut value = Vec::new();
    for _ in 0..depth {
        value = wrap(5, &wrap(1, &value));
    }
    let record = wrap(5, &value);
    wrap(1, &wrap(2, &wrap(2, &record)))
}

#[tokio::test]
async fn grpc_refuses_bad_messages_with_the_right_code() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(&peer)).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let good = sample::logs(3).encode_to_vec();
    let truncated = &good[..good.len() - 1];
    let big = sample::logs(4000).encode_to_vec();
    assert!(big.len() > 1 << 20);
    let bad_id = {
        let mut request = sample::logs(1);
        request.resource_logs[0].scope_logs[0].log_records[0].trace_id = vec![1; 15];
        request.encode_to_vec()
    };
    let cases: Vec<(&str, Bytes, Vec<(&str, &str)>, u8)> = vec![
        ("truncated", frame(0, truncated), vec![], 3),
        ("noise", frame(0, b"this is not protobuf at all"), vec![], 3),
        ("trace id of 15 bytes", frame(0, &bad_id), vec![], 3),
        ("nested 10,000 deep", frame(0, &nested(10_000)), vec![], 3),
        ("too large", frame(0, &big), vec![], 8),
        (
            "too large once inflated",
            frame(1, &gzip(&big)),
            vec![("grpc-encoding", "gzip")],
            8,
        ),
        (
            "a bomb",
            frame(1, &gzip(&vec![0; 64 << 20])),
            vec![("grpc-encoding", "gzip")],
            8,
        ),
        ("not gzip", frame(1, &good), vec![("grpc-encoding", "gzip")], 3),
        (
            "unknown encoding",
            frame(1, &good),
            vec![("grpc-encoding", "brotli")],
            3,
        ),
        (
            "garbage behind gzip",
            frame(1, &[gzip(&good), b"xyz".to_vec()].concat()),
            vec![("grpc-encoding", "gzip")],
            3,
        ),
    ];
    for (what, body, headers, code) in cases {
        let answer = grpc.call(LOGS, body, &headers, true).await;
        assert_eq!(answer.code, code, "{what}: {answer:?}");
        assert!(!answer.message.is_empty(), "{what}: says nothing");
        let hint = answer.trailers.contains_key("grpc-status-details-bin");
        assert!(!hint, "{what}: must not invite a retry");
    }
    let answer = grpc
        .export("/opentelemetry.proto.collector.trace.v1.TraceService/Export", &[])
        .await;
    assert_eq!(answer.code, 12, "a signal without a pipeline: {answer:?}");
    let text = gateway.metrics();
    assert!(
        text.contains("malformed"),
        "malformed requests are counted:\n{text}"
    );
    still_serves(gateway, &peer).await;
}

#[tokio::test]
async fn http_refuses_bad_requests_with_the_right_status() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(&peer)).await;
    let good = sample::logs(3).encode_to_vec();
    let big = sample::logs(4000).encode_to_vec();
    let pb = ("content-type", "application/x-protobuf");
    let zip = ("content-encoding", "gzip");
    let cases: Vec<(&str, &str, Vec<(&str, &str)>, Vec<u8>, u16)> = vec![
        (
            "truncated",
            "/v1/logs",
            vec![pb],
            good[..good.len() - 1].to_vec(),
            400,
        ),
        ("nested 10,000 deep", "/v1/logs", vec![pb], nested(10_000), 400),
        ("too large", "/v1/logs", vec![pb], big.clone(), 413),
        (
            "too large once inflated",
            "/v1/logs",
            vec![pb, zip],
            gzip(&big),
            413,
        ),
        ("a bomb", "/v1/logs", vec![pb, zip], gzip(&vec![0; 64 << 20]), 413),
        ("not gzip", "/v1/logs", vec![pb, zip], good.clone(), 400),
        (
            "unknown encoding",
            "/v1/logs",
            vec![pb, ("content-encoding", "br")],
            good.clone(),
            400,
        ),
        (
            "garbage behind gzip",
            "/v1/logs",
            vec![pb, zip],
            [gzip(&good), b"xyz".to_vec()].concat(),
            400,
        ),
        (
            "wrong content type",
            "/v1/logs",
            vec![("content-type", "text/plain")],
            good.clone(),
            415,
        ),
        ("no content type", "/v1/logs", vec![], good.clone(), 415),
        ("unknown path", "/v2/logs", vec![pb], good.clone(), 404),
        (
            "a signal without a pipeline",
            "/v1/traces",
            vec![pb],
            good.clone(),
            404,
        ),
    ];
    for (what, path, headers, body, status) in cases {
        let answer = client::post(gateway.http, path, &headers, &body).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.head);
        assert!(
            answer.header("retry-after").is_none(),
            "{what}: must not invite a retry"
        );
        assert!(!answer.body.is_empty(), "{what}: says nothing");
    }
    let get = client::raw(
        gateway.http,
        b"GET /v1/logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(get.status, 405, "{}", get.head);
    still_serves(gateway, &peer).await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(&peer)).await;
    // chunked, for ever: the size limit ends it
    let mut socket = TcpStream::connect(gateway.http).await.unwrap();
    let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[0x0a; 0x10000], b"\r\n"].concat();
    let mut sent = 0usize;
    while sent < 256 << 20 {
        match socket.write_all(&chunk).await {
            Ok(()) => sent += chunk.len(),
            Err(_) => break,
        }
    }
    assert!(sent < 128 << 20, "took {sent} bytes of an endless body");
    // a body that stands still: the read timeout ends it
    let mut socket = TcpStream::connect(gateway.http).await.unwrap();
    let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 100\r\n\r\nabc";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), read).await;
    assert!(ended.is_ok(), "a slow body holds its connection for ever");
    still_serves(gateway, &peer).await;
}

#[tokio::test]
async fn http1_on_the_grpc_port_is_told_so() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(&peer)).await;
    let body = sample::logs(1).encode_to_vec();
    let answer = client::post(
        gateway.grpc,
        LOGS,
        &[("content-type", "application/grpc")],
        &frame(0, &body),
    )
    .await;
    assert!((400..600).contains(&answer.status), "{}", answer.head);
    assert!(
        String::from_utf8_lossy(&answer.body).contains("HTTP/2"),
        "names the cause: {answer:?}"
    );
    still_serves(gateway, &peer).await;
}

#[tokio::test]
async fn connections_that_say_nothing_harm_nobody() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(&peer)).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(gateway.grpc).await.unwrap());
        idle.push(TcpStream::connect(gateway.http).await.unwrap());
    }
    still_serves(gateway, &peer).await;
}

#[tokio::test]
async fn the_memory_limiter_refuses_for_now_and_counts() {
    let peer = Peer::start().await;
    let with = |mib: u32| {
        config(&peer)
            .replace(
                "exporters:\n",
                &format!(
                    "processors:\n  memory_limiter: {{check_interval: 10ms, limit_mib: {mib}}}\nexporters:\n"
                ),
            )
            .replace(
                "receivers: [otlp], ",
                "receivers: [otlp], processors: [memory_limiter], ",
            )
    };
    let body = sample::logs(3).encode_to_vec();
    let counter = |text: &str, name: &str| {
        let name =
            format!("otelcol_processor_memory_limiter_{name}_log_records{{processor=\"memory_limiter\"}} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&name))
            .map(str::to_owned)
    };
    // no process fits into one MiB
    let gateway = Gateway::start(&with(1)).await;
    let answer = Grpc::connect(gateway.grpc).await.export(LOGS, &body).await;
    assert_eq!(answer.code, 14, "{answer:?}");
    assert!(
        answer.message.contains("data refused due to high memory usage"),
        "{answer:?}"
    );
    assert!(
        answer.trailers.contains_key("grpc-status-details-bin"),
        "says when to come again"
    );
    let text = gateway.metrics();
    assert_eq!(counter(&text, "refused").as_deref(), Some("3"), "{text}");
    assert!(peer.received().is_empty());
    gateway.stop().await;
    let gateway = Gateway::start(&with(1 << 20)).await;
    assert_eq!(
        Grpc::connect(gateway.grpc).await.export(LOGS, &body).await.code,
        0
    );
    assert_eq!(counter(&gateway.metrics(), "accepted").as_deref(), Some("3"));
    gateway.stop().await;
}

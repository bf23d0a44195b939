use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration as StdDuration;

use ::http::{HeaderMap, Response};
use component::test_kit::{Lonely, context, section};
use h2::server::SendResponse;
use net::compression::{decode, encode};
use net::grpc::{self, Status, prefix};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use wire::{Shape, payload::Twin};

use super::*;

component::component_tests!(FACTORY, "endpoint: 127.0.0.1:1\ntls: {insecure: true}");

/// What the peer does with one call.
enum Act {
    Ok(&'static [u8]),
    Status(Status),
    /// Status in the trailers behind headers.
    Late(Status),
    Http(u16),
    Reset(h2::Reason),
    /// GOAWAY, then an answer to this call.
    GoAway,
    /// Closes the connection.
    Die,
    Silence,
}

struct Call {
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
    connection: usize,
}

/// A peer that does as it is told; by default it answers OK with an empty message.
struct Peer {
    addr: SocketAddr,
    calls: mpsc::Receiver<Call>,
    acts: Arc<parking_lot::Mutex<VecDeque<Act>>>,
}

async fn peer(acts: Vec<Act>) -> Peer {
    peer_at("127.0.0.1:0", acts).await
}

async fn peer_at(addr: &str, acts: Vec<Act>) -> Peer {
    let listener = TcpListener::bind(addr).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let acts: Arc<parking_lot::Mutex<VecDeque<Act>>> = Arc::new(parking_lot::Mutex::new(acts.into()));
    let (tx, calls) = mpsc::channel(100);
    let script = acts.clone();
    tokio::spawn(async move {
        for connection in 0.. {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            tokio::spawn(serve(stream, connection, script.clone(), tx.clone()));
        }
    });
    Peer { addr, calls, acts }
}

async fn serve(
    stream: tokio::net::TcpStream,
    connection: usize,
    script: Arc<parking_lot::Mutex<VecDeque<Act>>>,
    calls: mpsc::Sender<Call>,
) {
    let mut h2 = h2::server::Builder::new()
        .max_frame_size(1 << 20)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    // Bodies are read beside the connection, which must be polled for their bytes to come.
    let (done, mut finished) = mpsc::channel::<(Call, SendResponse<Bytes>)>(10);
    loop {
        let (call, respond) = tokio::select! {
            accepted = h2.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                let done = done.clone();
                tokio::spawn(async move {
                    let (head, mut stream) = request.into_parts();
                    let mut body = Vec::new();
                    while let Some(Ok(data)) = stream.data().await {
                        let _ = stream.flow_control().release_capacity(data.len());
                        body.extend_from_slice(&data);
                    }
                    let call = Call { path: head.uri.path().into(), headers: head.headers, body, connection };
                    let _ = done.send((call, respond)).await;
                });
                continue;
            }
            Some(finished) = finished.recv() => finished,
        };
        let act = script.lock().pop_front().unwrap_or(Act::Ok(b""));
        calls.send(call).await.unwrap();
        match act {
            Act::Die => return,
            Act::Silence => std::mem::forget(respond),
            Act::GoAway => {
                answer(respond, Act::Ok(b""));
                h2.graceful_shutdown();
            }
            act => answer(respond, act),
        }
    }
}

fn answer(mut respond: SendResponse<Bytes>, act: Act) {
    let plain = |status: u16| {
        Response::builder()
            .status(status)
            .header("content-type", "application/grpc")
            .body(())
            .unwrap()
    };
    let trailers = |status: &Status| grpc::error(status).headers().clone();
    match act {
        Act::Ok(message) => {
            let mut stream = respond.send_response(plain(200), false).unwrap();
            let framed = [&prefix(message.len(), false)[..], message].concat();
            stream.send_data(framed.into(), false).unwrap();
            stream
                .send_trailers(trailers(&Status::new(Code::OK, "")))
                .unwrap();
        }
        Act::Late(status) => {
            let mut stream = respond.send_response(plain(200), false).unwrap();
            stream.send_trailers(trailers(&status)).unwrap();
        }
        Act::Status(status) => {
            let mut response = plain(200);
            *response.headers_mut() = trailers(&status);
            respond.send_response(response, true).unwrap();
        }
        Act::Http(status) => drop(respond.send_response(plain(status), true).unwrap()),
        Act::Reset(reason) => respond.send_reset(reason),
        Act::GoAway | Act::Die | Act::Silence => unreachable!("handled where the connection is"),
    }
}

fn build(yaml: &str) -> Result<OtlpGrpc, Fault> {
    OtlpGrpc::build(section(yaml), &context("otlp/test"))
}

async fn exporter(addr: SocketAddr, more: &str) -> OtlpGrpc {
    let yaml = format!("{{endpoint: '{addr}', tls: {{insecure: true}}, {more}}}");
    let exporter = build(&yaml).unwrap();
    exporter.start(Arc::new(Lonely::default())).await.unwrap();
    exporter
}

fn payload(chunks: &[&[u8]]) -> Payload {
    let shape = Shape {
        items: 1,
        ..Shape::default()
    };
    let chunk = |bytes: &&[u8]| Chunk::new(Bytes::copy_from_slice(bytes), shape);
    Payload {
        signal: Signal::Logs,
        chunks: chunks.iter().map(chunk).collect(),
        items: chunks.len(),
        context: Arc::default(),
    }
}

#[test]
fn defaults_and_faults_are_otelcols() {
    let exporter = build("{endpoint: 'https://x:4317'}").unwrap();
    assert_eq!(exporter.compression, Some(("gzip", Encoding::Gzip)));
    assert_eq!(
        exporter.agent,
        format!("Weir/0.0.0 (linux/{})", std::env::consts::ARCH)
    );
    let check = |yaml: &str, expected: &str| {
        let fault = build(yaml).err().unwrap().to_string();
        assert!(fault.contains(expected), "{yaml}: {fault}");
    };
    check("{}", "requires a non-empty \"endpoint\"");
    check("{endpoint: 'x'}", "missing port");
    check("{endpoint: 'x:y'}", "invalid port \"y\"");
    check(
        "{endpoint: 'x:1', compression: lz4}",
        "unsupported compression type \"lz4\"",
    );
    check(
        "{endpoint: 'x:1', authority: a, tls: {server_name_override: b}}",
        "authority and tls.server_name_override must not differ",
    );
    check("{endpoint: 'x:1', authority: 'a b'}", "invalid authority");
    check("{endpoint: 'xds:///x:1'}", "the scheme \"xds\" is not supported");
    check("{endpoint: 'x:1', middlewares: [{id: 'a b'}]}", "a b");
    check(
        "{endpoint: 'x:1', balancer_name: best}",
        "invalid balancer_name: best",
    );
    check(
        "{endpoint: 'x:1', auth: {}}",
        "authenticator must be the id of an extension",
    );
    check("{endpoint: 'x:1', tls: {insecur: true}}", "insecure");
    check("{endpoint: 'x:1', headers: {'a b': c}}", "invalid header name");
}

#[tokio::test]
async fn sends_chunks_as_one_message() {
    let mut peer = peer(vec![]).await;
    let exporter = exporter(peer.addr, "compression: none, headers: {x-key: s3cret, te: gzip}").await;
    // Several frames, and more than the windows of h2's defaults.
    let large = vec![7; 3 << 20];
    assert_eq!(
        exporter
            .export(&payload(&[b"one", b"two", &large]))
            .await
            .unwrap(),
        Outcome::all()
    );
    let call = peer.calls.recv().await.unwrap();
    let message = [&b"onetwo"[..], &large].concat();
    assert_eq!(
        call.path,
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
    );
    assert_eq!(call.body, [&prefix(message.len(), false)[..], &message].concat());
    assert_eq!(call.headers["content-type"], "application/grpc");
    assert_eq!(call.headers["te"], "trailers");
    assert_eq!(call.headers["x-key"], "s3cret");
    assert!(
        call.headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("Weir/0.0.0 (linux/")
    );
    assert!(!call.headers.contains_key("grpc-encoding"));
}

#[tokio::test(start_paused = true)]
async fn tells_the_peer_until_when_the_answer_is_awaited() {
    let mut peer = peer(vec![]).await;
    let exporter = exporter(peer.addr, "").await;
    let batch = payload(&[b"x"]);
    // A connection first: the clock may run while it is made.
    exporter.export(&batch).await.unwrap();
    assert!(
        !peer
            .calls
            .recv()
            .await
            .unwrap()
            .headers
            .contains_key("grpc-timeout")
    );
    let deadline = Instant::now() + StdDuration::from_secs(7);
    exporter.export_until(&batch, Some(deadline)).await.unwrap();
    assert_eq!(
        peer.calls.recv().await.unwrap().headers["grpc-timeout"],
        "7000000u"
    );
}

#[tokio::test]
async fn compresses_into_one_member_or_forwards_the_body_as_it_came() {
    for (name, encoding) in [
        ("gzip", Encoding::Gzip),
        ("zstd", Encoding::Zstd),
        ("snappy", Encoding::SnappyFramed),
    ] {
        let mut peer = peer(vec![]).await;
        let exporter = exporter(peer.addr, &format!("compression: {name}")).await;
        exporter.export(&payload(&[b"one", b"two"])).await.unwrap();
        let call = peer.calls.recv().await.unwrap();
        assert_eq!(
            (call.body[0], call.headers["grpc-encoding"].to_str().unwrap()),
            (1, name)
        );
        let decoded = decode(encoding, &call.body[5..], 100).unwrap();
        assert!(decoded.single && &decoded.bytes[..] == b"onetwo", "{name}");

        let mut twin = payload(&[b"one"]);
        let bytes = encode(encoding, 9, &["one".into()]);
        twin.chunks[0].twin = Some(Arc::new(Twin {
            encoding,
            bytes: bytes.clone(),
        }));
        exporter.export(&twin).await.unwrap();
        assert_eq!(peer.calls.recv().await.unwrap().body[5..], bytes);
        // In another encoding it is of no use.
        twin.chunks[0].twin = Some(Arc::new(Twin {
            encoding: Encoding::Lz4,
            bytes,
        }));
        exporter.export(&twin).await.unwrap();
        let call = peer.calls.recv().await.unwrap();
        assert_eq!(&decode(encoding, &call.body[5..], 100).unwrap().bytes[..], b"one");
    }
}

#[tokio::test]
async fn classifies_every_answer() {
    let with = |code, after: Option<u64>| Status {
        code,
        message: "grpc: received message larger than max".into(),
        retry_after: after.map(StdDuration::from_millis),
    };
    let rows = vec![
        (Act::Status(with(Code::UNAVAILABLE, None)), "retry None"),
        (
            Act::Status(with(Code::UNAVAILABLE, Some(1500))),
            "retry Some(1.5s)",
        ),
        (Act::Late(with(Code::UNAVAILABLE, Some(1500))), "retry Some(1.5s)"),
        (
            Act::Late(with(Code::RESOURCE_EXHAUSTED, Some(1))),
            "retry Some(1ms)",
        ),
        (Act::Late(with(Code::RESOURCE_EXHAUSTED, None)), "too large"),
        (Act::Status(with(Code::UNAUTHENTICATED, None)), "unauthorized"),
        (Act::Status(with(Code::PERMISSION_DENIED, None)), "unauthorized"),
        (
            Act::Status(with(Code::INVALID_ARGUMENT, None)),
            "rejected INVALID_ARGUMENT",
        ),
        (
            Act::Status(with(Code::UNIMPLEMENTED, None)),
            "rejected UNIMPLEMENTED",
        ),
        (Act::Http(503), "retry None"),
        (Act::Http(404), "rejected UNIMPLEMENTED"),
        (Act::Http(403), "unauthorized"),
        (Act::Http(200), "retry None"),
        (Act::Reset(h2::Reason::INTERNAL_ERROR), "retry None"),
        (Act::Die, "retry None"),
    ];
    let peer = peer(vec![]).await;
    let exporter = exporter(peer.addr, "").await;
    for (act, expected) in rows {
        peer.acts.lock().push_back(act);
        let got = match exporter.export(&payload(&[b"x"])).await.unwrap_err() {
            ExportError::Retry { after, .. } => format!("retry {after:?}"),
            ExportError::TooLarge { .. } => "too large".into(),
            ExportError::Rejected { code, .. } => format!("rejected {code}"),
            ExportError::Unauthorized { .. } => "unauthorized".into(),
            ExportError::Apart { .. } => "apart".into(),
        };
        assert_eq!(got, expected);
        // The next call finds a connection.
        exporter.export(&payload(&[b"x"])).await.unwrap();
    }
}

#[tokio::test]
async fn partial_success_is_success_with_rejections() {
    let peer = peer(vec![
        Act::Ok(b"\x0a\x06\x08\x03\x12\x02no"),
        Act::Ok(b"\x0a\x04\x12\x02hm"),
        Act::Ok(b"<html>"),
    ])
    .await;
    let exporter = exporter(peer.addr, "").await;
    let outcome = exporter.export(&payload(&[b"x"])).await.unwrap();
    assert_eq!((outcome.rejected_items(), outcome.message().as_str()), (3, "no"));
    assert_eq!(exporter.export(&payload(&[b"x"])).await.unwrap(), Outcome::all());
    assert_eq!(exporter.export(&payload(&[b"x"])).await.unwrap(), Outcome::all());
}

#[tokio::test]
async fn calls_that_reached_nobody_are_sent_again_on_a_new_connection() {
    let mut peer = peer(vec![
        Act::GoAway,
        Act::Ok(b""),
        Act::Reset(h2::Reason::REFUSED_STREAM),
    ])
    .await;
    let exporter = exporter(peer.addr, "compression: none").await;
    for _ in 0..3 {
        exporter.export(&payload(&[b"x"])).await.unwrap();
    }
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(peer.calls.recv().await.unwrap().connection);
    }
    assert_eq!(connections[0], 0);
    assert!(
        connections[1] >= 1 && connections[3] > connections[1],
        "{connections:?}"
    );
}

#[tokio::test]
async fn silence_ends_with_the_caller_and_resets_the_stream() {
    let mut peer = peer(vec![Act::Silence]).await;
    let exporter = exporter(peer.addr, "").await;
    let batch = payload(&[b"x"]);
    let mut pending = exporter.export(&batch);
    tokio::select! {
        _ = &mut pending => panic!("nobody answers"),
        call = peer.calls.recv() => assert!(call.is_some()),
    }
    drop(pending);
    exporter.export(&batch).await.unwrap();
}

#[tokio::test]
async fn an_unreachable_peer_is_tried_again_and_found_when_it_is_back() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = gone.local_addr().unwrap();
    drop(gone);
    let exporter = exporter(addr, "").await;
    for _ in 0..3 {
        let error = exporter.export(&payload(&[b"x"])).await.unwrap_err();
        assert!(matches!(error, ExportError::Retry { .. }));
        assert!(
            error
                .source()
                .to_string()
                .contains(&format!("cannot connect to {addr}")),
            "{}",
            error.source()
        );
    }
    let _peer = peer_at(&addr.to_string(), vec![]).await;
    while exporter.export(&payload(&[b"x"])).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn middlewares_must_be_extensions() {
    let exporter = build("{endpoint: 'x:1', tls: {insecure: true}, middlewares: [{id: some/one}]}").unwrap();
    let error = exporter
        .start(Arc::new(Lonely::default()))
        .await
        .unwrap_err()
        .to_string();
    let expected = "failed to resolve middleware \"some/one\": middleware not found";
    assert!(error.contains(expected), "{error}");
}

#[tokio::test]
async fn headers_may_name_the_tenant() {
    let mut peer = peer(Vec::new()).await;
    let keys = format!(
        "{{endpoint: '{}', tls: {{insecure: true}}, headers: {{X-Scope-OrgID: '%{{tenant}}', x-plain: same}}}}",
        peer.addr
    );
    let exporter = build(&keys).unwrap();
    assert!(exporter.by_tenant());
    exporter.start(Arc::new(Lonely::default())).await.unwrap();
    for tenant in ["acme", "b"] {
        let mut payload = Payload::new(
            Signal::Logs,
            Chunk::new("".into(), Shape::default()),
            Arc::default(),
        );
        payload.chunks[0].origin.tenant = Some(tenant.into());
        assert_eq!(exporter.export(&payload).await.unwrap(), Outcome::all());
        let call = peer.calls.recv().await.unwrap();
        assert_eq!(
            (&call.headers["x-scope-orgid"], &call.headers["x-plain"]),
            (&tenant.parse().unwrap(), &"same".parse().unwrap())
        );
        assert_eq!(call.connection, 0, "tenants share connections");
    }
    let fault = build("{endpoint: '%{tenant}:4317'}").err().unwrap().to_string();
    assert!(
        fault.contains("invalid authority"),
        "one endpoint has one set of connections: {fault}"
    );
}

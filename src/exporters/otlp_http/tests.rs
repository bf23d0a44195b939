use std::collections::VecDeque;
use std::net::SocketAddr;

use component::test_kit::{Lonely, context, section};
use net::compression::{decode, encode};
use net::grpc::{Status, encode_status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use wire::Shape;
use wire::payload::Twin;

use super::*;

component::component_tests!(FACTORY, "endpoint: http://127.0.0.1:1");

struct Call {
    head: String,
    body: Vec<u8>,
}

/// A peer that answers each request with the next of its texts, and closes the connection where a text is empty.
/// Without texts left it answers 200.
struct Peer {
    addr: SocketAddr,
    calls: mpsc::Receiver<Call>,
    answers: Arc<parking_lot::Mutex<VecDeque<Vec<u8>>>>,
}

async fn peer() -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let answers = Arc::new(parking_lot::Mutex::new(VecDeque::<Vec<u8>>::new()));
    let (tx, calls) = mpsc::channel(100);
    let script = answers.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, script.clone(), tx.clone()));
        }
    });
    Peer { addr, calls, answers }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<parking_lot::Mutex<VecDeque<Vec<u8>>>>,
    calls: mpsc::Sender<Call>,
) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(read[..end].to_vec())
            .unwrap()
            .to_ascii_lowercase();
        let len: usize = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "))
            .expect("a length, not chunks")
            .parse()
            .unwrap();
        while read.len() < end + len {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0);
        }
        let body = read[end..end + len].to_vec();
        read.drain(..end + len);
        calls.send(Call { head, body }).await.unwrap();
        let answer = script.lock().pop_front();
        let answer = answer.unwrap_or_else(|| answer_of(200, "", b""));
        if answer.is_empty() {
            return;
        }
        stream.write_all(&answer).await.unwrap();
    }
}

fn answer_of(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const TYPED: &str = "content-type: application/x-protobuf\r\n";
const TYPED_JSON: &str = "content-type: application/json\r\n";

fn build(yaml: &str) -> Result<OtlpHttp, Fault> {
    OtlpHttp::build(section(yaml), &context("otlphttp/test"))
}

async fn exporter(addr: SocketAddr, more: &str) -> OtlpHttp {
    let exporter = build(&format!("{{endpoint: 'http://{addr}', {more}}}")).unwrap();
    exporter.start(Arc::new(Lonely::default())).await.unwrap();
    exporter
}

fn payload(signal: Signal, chunks: &[&'static str]) -> Payload {
    let shape = Shape {
        items: 1,
        ..Shape::default()
    };
    Payload {
        signal,
        chunks: chunks
            .iter()
            .map(|c| Chunk::new(Bytes::from_static(c.as_bytes()), shape))
            .collect(),
        items: chunks.len(),
        context: Arc::default(),
    }
}

fn name(error: &ExportError) -> String {
    match error {
        ExportError::Retry { after, .. } => format!("retry {after:?}"),
        ExportError::TooLarge { .. } => "too large".into(),
        ExportError::Rejected { code, .. } => format!("rejected {code}"),
        ExportError::Unauthorized { .. } => "unauthorized".into(),
        ExportError::Apart { .. } => "apart".into(),
    }
}

#[test]
fn urls_follow_the_collectors_rules() {
    let check = |yaml: &str, expected: [&str; 4]| {
        let urls = build(yaml)
            .unwrap()
            .urls
            .map(|u| u.map(|u| u.shown.to_string()).unwrap_or_default());
        assert_eq!(urls, expected, "{yaml}");
    };
    check(
        "{endpoint: 'http://a:1'}",
        [
            "http://a:1/v1/logs",
            "http://a:1/v1/traces",
            "http://a:1/v1/metrics",
            "http://a:1/v1development/profiles",
        ],
    );
    check(
        "{endpoint: 'https://a/x/', logs_endpoint: 'http://b/own?k=v'}",
        [
            "http://b/own?k=v",
            "https://a/x/v1/traces",
            "https://a/x/v1/metrics",
            "https://a/x/v1development/profiles",
        ],
    );
    check("{metrics_endpoint: 'http://b/m'}", ["", "", "http://b/m", ""]);
}

#[test]
fn faults_name_the_key() {
    let check = |yaml: &str, expected: &str| {
        let fault = build(yaml).err().unwrap().to_string();
        assert!(fault.contains(expected), "{yaml}: {fault}");
    };
    check("{}", "at least one endpoint must be specified");
    check("{endpoint: 'a:1'}", "not a URL");
    check("{endpoint: 'ftp://a:1'}", "must begin with http");
    check("{endpoint: 'http://u:secret@a:1'}", "credentials in the URL");
    check(
        "{endpoint: 'http://a', encoding: xml}",
        "invalid encoding type: xml",
    );
    check("{endpoint: 'http://a', compression: br}", "br");
    check(
        "{endpoint: 'http://a', compression: snappy, compression_params: {level: 3}}",
        "unsupported parameters",
    );
    check(
        "{endpoint: 'http://a', compression_params: {level: 10}}",
        "unsupported parameters",
    );
    check(
        "{endpoint: 'http://a', proxy_url: 'ftp://u:s3cret@p'}",
        "the proxy's URL must begin with http",
    );
}

#[tokio::test]
async fn posts_each_signal_with_our_headers_and_the_users() {
    let mut peer = peer().await;
    let exporter = exporter(peer.addr, "compression: none, headers: {X-Key: s3cret}").await;
    for (signal, path) in [(Signal::Logs, "/v1/logs"), (Signal::Traces, "/v1/traces")] {
        assert_eq!(
            exporter.export(&payload(signal, &["one", "two"])).await.unwrap(),
            Outcome::all()
        );
        let call = peer.calls.recv().await.unwrap();
        assert!(
            call.head.starts_with(&format!("post {path} http/1.1\r\n")),
            "{}",
            call.head
        );
        for header in [TYPED, "x-key: s3cret\r\n", "user-agent: weir/0.0.0 (linux/"] {
            assert!(call.head.contains(header), "{}", call.head);
        }
        assert!(!call.head.contains("content-encoding"));
        assert_eq!(call.body, b"onetwo");
    }
}

#[tokio::test]
async fn compresses_into_one_member_or_forwards_the_body_as_it_came() {
    let all = [
        ("gzip", Encoding::Gzip),
        ("zstd", Encoding::Zstd),
        ("zlib", Encoding::Deflate),
        ("deflate", Encoding::Deflate),
        ("snappy", Encoding::SnappyBlock),
        ("x-snappy-framed", Encoding::SnappyFramed),
        ("lz4", Encoding::Lz4),
    ];
    let mut peer = peer().await;
    for (token, encoding) in all {
        let exporter = exporter(peer.addr, &format!("compression: {token}")).await;
        exporter
            .export(&payload(Signal::Logs, &["one", "two"]))
            .await
            .unwrap();
        let call = peer.calls.recv().await.unwrap();
        assert!(
            call.head.contains(&format!("content-encoding: {token}\r\n")),
            "{}",
            call.head
        );
        let decoded = decode(encoding, &call.body, 100).unwrap();
        assert!(decoded.single && &decoded.bytes[..] == b"onetwo", "{token}");
        let mut twin = payload(Signal::Logs, &["one"]);
        let bytes = encode(encoding, 9, &["one".into()]);
        twin.chunks[0].twin = Some(Arc::new(Twin {
            encoding,
            bytes: bytes.clone(),
        }));
        exporter.export(&twin).await.unwrap();
        assert_eq!(peer.calls.recv().await.unwrap().body, bytes);
    }
}

#[tokio::test]
async fn json_is_one_object_plain_or_compressed() {
    // A group with a schema url, given twice in the second chunk: as many as the collector sees.
    let chunks = ["\x0a\x03\x1a\x01a", "\x0a\x06\x1a\x01b\x1a\x01c"];
    let text = r#"{"resourceLogs":[{"resource":{},"schemaUrl":"a"},{"resource":{},"schemaUrl":"c"}]}"#;
    let mut batch = payload(Signal::Logs, &chunks);
    batch.chunks[1].shape.non_canonical = true;
    let mut peer = peer().await;
    let plain = exporter(peer.addr, "encoding: json, compression: none").await;
    plain.export(&batch).await.unwrap();
    let call = peer.calls.recv().await.unwrap();
    assert!(call.head.contains(TYPED_JSON), "{}", call.head);
    assert!(!call.head.contains("content-encoding"), "{}", call.head);
    assert_eq!(String::from_utf8(call.body).unwrap(), text);
    let zipped = exporter(peer.addr, "encoding: json").await;
    // The twin is protobuf, so it may not go out.
    batch.chunks.truncate(1);
    batch.chunks[0].twin = Some(Arc::new(Twin {
        encoding: Encoding::Gzip,
        bytes: "twin".into(),
    }));
    zipped.export(&batch).await.unwrap();
    let call = peer.calls.recv().await.unwrap();
    assert!(call.head.contains("content-encoding: gzip\r\n"), "{}", call.head);
    let decoded = decode(Encoding::Gzip, &call.body, 100).unwrap();
    assert_eq!(
        &decoded.bytes[..],
        br#"{"resourceLogs":[{"resource":{},"schemaUrl":"a"}]}"#
    );
    // Large ones, on another thread.
    let chunk = "\x0a\x03\x1a\x01a".repeat(INLINE_BYTES_MAX / 5 + 1);
    let large = payload(Signal::Logs, &[chunk.leak()]);
    plain.export(&large).await.unwrap();
    let call = peer.calls.recv().await.unwrap();
    assert_eq!(call.body.len(), 18 + large.len() / 5 * 32);
    // What no door lets in.
    let error = plain
        .export(&payload(Signal::Logs, &["\x0a\x09"]))
        .await
        .unwrap_err();
    assert_eq!(name(&error), "rejected INVALID_ARGUMENT");
}

#[tokio::test]
async fn classifies_every_answer() {
    let theirs = encode_status(&Status::new(Code::INVALID_ARGUMENT, "what is this"));
    let rows: Vec<(Vec<u8>, &str, &str)> = vec![
        (
            answer_of(429, "retry-after: 7\r\n", b"slow"),
            "retry Some(7s)",
            "Message=slow",
        ),
        (answer_of(429, "", b""), "retry None", ""),
        (
            answer_of(503, "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", b""),
            "retry None",
            "",
        ),
        (
            answer_of(503, "retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n", b""),
            "retry Some(",
            "",
        ),
        (answer_of(502, "retry-after: 7\r\n", b""), "retry None", ""),
        (answer_of(504, "", b""), "retry None", ""),
        (
            answer_of(500, "", b"oops"),
            "rejected UNKNOWN",
            "HTTP Status Code 500, Message=oops",
        ),
        (
            answer_of(400, TYPED, &theirs),
            "rejected INVALID_ARGUMENT",
            "Message=what is this",
        ),
        (
            answer_of(
                400,
                TYPED_JSON,
                br#"{"code":3,"message":"what is \"this\"","details":[{"@type":"x"}]}"#,
            ),
            "rejected INVALID_ARGUMENT",
            "Message=what is \"this\"",
        ),
        (
            answer_of(400, TYPED_JSON, b"{oops"),
            "rejected INVALID_ARGUMENT",
            "Message={oops",
        ),
        (answer_of(413, "", b""), "too large", ""),
        (answer_of(401, "", b""), "unauthorized", ""),
        (answer_of(403, "", b""), "unauthorized", ""),
        (answer_of(404, "", b""), "rejected UNIMPLEMENTED", ""),
        (
            answer_of(302, "location: /elsewhere\r\n", b""),
            "rejected UNKNOWN",
            "",
        ),
        (
            answer_of(307, "location: http://other.test/\r\n", b""),
            "retry None",
            "redirected to another host",
        ),
        (answer_of(307, "", b""), "rejected UNKNOWN", ""),
        (Vec::new(), "retry None", ""),
        (b"HTTP/1.1 200 OK\r\ncontent-le".to_vec(), "retry None", ""),
        (b"SMTP ready\r\n\r\n".to_vec(), "retry None", ""),
    ];
    let peer = peer().await;
    let exporter = exporter(peer.addr, "timeout: 5s").await;
    for (answer, expected, words) in rows {
        let cut = answer.starts_with(b"HTTP/1.1 200");
        peer.answers.lock().push_back(answer);
        if cut {
            // The connection must end there, or the client waits for the rest.
            let error = cut_off().await;
            peer.answers.lock().clear();
            assert!(name(&error).starts_with(expected));
            continue;
        }
        let error = exporter.export(&payload(Signal::Logs, &["x"])).await.unwrap_err();
        assert!(name(&error).starts_with(expected), "{} {expected}", name(&error));
        assert!(error.source().to_string().contains(words), "{}", error.source());
    }
}

/// A reply that ends within its head.
async fn cut_off() -> ExportError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let exporter = exporter(listener.local_addr().unwrap(), "").await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 512];
            let _ = stream.read(&mut some).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await;
        }
    });
    exporter.export(&payload(Signal::Logs, &["x"])).await.unwrap_err()
}

#[tokio::test]
async fn any_2xx_is_success_and_partial_success_is_read() {
    let partial = b"\x0a\x06\x08\x03\x12\x02no";
    let peer = peer().await;
    let exporter = exporter(peer.addr, "").await;
    for (answer, rejected) in [
        (answer_of(200, TYPED, partial), 3),
        (answer_of(200, "content-type: text/plain\r\n", partial), 0),
        (answer_of(202, "", b""), 0),
        (answer_of(200, TYPED, b"<html>"), 0),
        (answer_of(200, TYPED, b"\x0a\x00"), 0),
        (answer_of(200, TYPED_JSON, br#"{"partialSuccess":{}}"#), 0),
        (
            answer_of(
                200,
                TYPED_JSON,
                br#"{"partialSuccess":{"rejectedLogRecords":"3"}}"#,
            ),
            3,
        ),
        (answer_of(200, TYPED_JSON, b""), 0),
        (answer_of(200, TYPED_JSON, b"<html>"), 0),
    ] {
        peer.answers.lock().push_back(answer);
        let outcome = exporter.export(&payload(Signal::Logs, &["x"])).await.unwrap();
        assert_eq!(outcome.rejected_items(), rejected);
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let exporter = exporter(listener.local_addr().unwrap(), "timeout: 7s").await;
    let error = exporter.export(&payload(Signal::Logs, &["x"])).await.unwrap_err();
    assert_eq!(name(&error), "retry None");
    assert!(
        error.source().to_string().contains("no answer within 7s"),
        "{}",
        error.source()
    );
}

#[tokio::test]
async fn a_refused_connection_is_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let error = exporter(addr, "")
        .await
        .export(&payload(Signal::Logs, &["x"]))
        .await
        .unwrap_err();
    assert_eq!(name(&error), "retry None");
    assert!(
        error.source().to_string().contains("refused"),
        "{}",
        error.source()
    );
}

#[tokio::test]
async fn a_signal_without_url_is_rejected() {
    let exporter = build("{metrics_endpoint: 'http://127.0.0.1:1/m'}").unwrap();
    exporter.start(Arc::new(Lonely::default())).await.unwrap();
    let error = exporter.export(&payload(Signal::Logs, &["x"])).await.unwrap_err();
    assert!(
        error
            .source()
            .to_string()
            .contains("either endpoint or logs_endpoint"),
        "{}",
        error.source()
    );
}

#[tokio::test]
async fn middlewares_must_be_extensions() {
    let exporter =
        build("{endpoint: 'http://x', tls: {insecure: true}, middlewares: [{id: some/one}]}").unwrap();
    let error = exporter
        .start(Arc::new(Lonely::default()))
        .await
        .unwrap_err()
        .to_string();
    let expected = "failed to resolve middleware \"some/one\": middleware not found";
    assert!(error.contains(expected), "{error}");
}

fn of_tenant(tenant: &str) -> Payload {
    let mut payload = payload(Signal::Logs, &["one"]);
    payload.chunks[0].origin.tenant = Some(tenant.into());
    payload
}

#[tokio::test]
async fn a_tenant_has_its_own_path_and_headers() {
    let mut peer = peer().await;
    let more = format!(
        "compression: none, logs_endpoint: 'http://{}/t/%{{tenant}}/logs?of=%{{tenant}}', \
         headers: {{X-Scope-OrgID: '%{{tenant}}', x-plain: same}}",
        peer.addr
    );
    let exporter = exporter(peer.addr, &more).await;
    assert!(exporter.by_tenant());
    for (payload, name) in [
        (of_tenant("Acme-1"), "Acme-1"),
        (payload(Signal::Logs, &["one"]), "default"),
        (of_tenant("b.c"), "b.c"),
    ] {
        assert_eq!(exporter.export(&payload).await.unwrap(), Outcome::all());
        let call = peer.calls.recv().await.unwrap();
        let name = name.to_ascii_lowercase();
        assert!(
            call.head
                .starts_with(&format!("post /t/{name}/logs?of={name} http/1.1\r\n")),
            "{}",
            call.head
        );
        assert_eq!(call.head.matches("x-scope-orgid").count(), 1);
        assert!(
            call.head.contains(&format!("x-scope-orgid: {name}\r\n")),
            "{}",
            call.head
        );
        assert!(call.head.contains("x-plain: same\r\n"));
    }
    let mut mixed = of_tenant("a");
    mixed.chunks.extend(of_tenant("b").chunks);
    assert_eq!(
        name(&exporter.export(&mixed).await.unwrap_err()),
        "rejected INTERNAL"
    );
    assert!(
        !build("{endpoint: 'http://a/%{other}', headers: {a: '%{b}'}}")
            .unwrap()
            .by_tenant()
    );
}

#[test]
fn a_tenant_chooses_no_host() {
    for url in [
        "http://%{tenant}/x",
        "https://%{tenant}.example.com",
        "http://a.%{tenant}:4318/%{tenant}",
    ] {
        let fault = build(&format!("{{logs_endpoint: '{url}'}}"))
            .err()
            .unwrap()
            .to_string();
        assert!(fault.contains("not in the host"), "{url}: {fault}");
    }
    assert!(build("{endpoint: 'http://a:1/%{tenant}'}").is_ok());
}

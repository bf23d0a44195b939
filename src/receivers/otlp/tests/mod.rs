use std::collections::VecDeque;
use std::io::Write as _;
use std::net::SocketAddr;

use ::http::{HeaderMap, Request};
use bytes::Bytes;
use component::test_kit::Lonely;
use net::compression::{Encoding, encode};
use net::grpc::{self, prefix};
use telemetry::{Place, Telemetry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::*;

mod json;

component::component_tests!(FACTORY, "protocols:\n  grpc: {endpoint: '127.0.0.1:0'}");

// --- A pipeline that does as it is told ---

#[derive(Default)]
struct Pipeline {
    verdicts: Mutex<VecDeque<Result<Outcome, Refusal>>>,
    seen: Mutex<Vec<Payload>>,
    arrived: Notify,
    /// Each payload waits for a permit.
    gate: Option<tokio::sync::Semaphore>,
    panics: bool,
}

impl Consumer for Pipeline {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            self.seen.lock().push(payload);
            self.arrived.notify_one();
            assert!(!self.panics, "as it was told");
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            self.verdicts.lock().pop_front().unwrap_or(Ok(Outcome::all()))
        })
    }
}

struct Running {
    receiver: Otlp,
    pipeline: Arc<Pipeline>,
    telemetry: Telemetry,
    grpc: SocketAddr,
    http: SocketAddr,
}

const BOTH: &str = "{protocols: {grpc: {endpoint: '127.0.0.1:0'}, http: {endpoint: '127.0.0.1:0'}}}";

fn context(memory: usize) -> BuildContext {
    BuildContext {
        id: ComponentId::parse("otlp/test").unwrap(),
        telemetry: Telemetry::default(),
        memory: Arc::new(Memory::new(memory)),
        info: BuildInfo {
            command: "weir",
            version: "0.0.0",
        },
        gates: Arc::default(),
    }
}

async fn start_with(yaml: &str, pipeline: Pipeline, memory: usize) -> Running {
    let cx = context(memory);
    let receiver = Otlp::build(Section::from_yaml(yaml).unwrap(), &cx).unwrap();
    let pipeline = Arc::new(pipeline);
    let mut outputs = Outputs::default();
    for signal in [Signal::Logs, Signal::Traces] {
        outputs.set(signal, pipeline.clone());
    }
    receiver
        .start(outputs, Arc::new(Lonely::default()))
        .await
        .unwrap();
    let addresses: Vec<_> = receiver.servers.lock().iter().map(Server::local_addr).collect();
    Running {
        receiver,
        pipeline,
        telemetry: cx.telemetry,
        grpc: addresses[0],
        http: *addresses.last().unwrap(),
    }
}

async fn start() -> Running {
    start_with(BOTH, Pipeline::default(), 1 << 30).await
}

impl Running {
    fn next_verdict(&self, verdict: Result<Outcome, Refusal>) {
        self.pipeline.verdicts.lock().push_back(verdict);
    }

    fn door(&self, transport: &'static str) -> (u64, u64, u64) {
        let receiver = "otlp/test".into();
        let row = self
            .telemetry
            .ledger
            .row(Place::Door { receiver, transport }, Signal::Logs);
        let t = row.total();
        (t.offered(), t.accepted(), t.refused())
    }

    fn counted(&self, transport: &str, reason: &str) -> u64 {
        self.counted_as("weir_receiver_malformed_requests", transport, reason)
    }

    fn counted_as(&self, name: &'static str, transport: &str, reason: &str) -> u64 {
        let labels = vec![
            ("receiver", "otlp/test".to_owned()),
            ("transport", transport.to_owned()),
            ("reason", reason.to_owned()),
        ];
        self.telemetry.metrics.counter(name, labels).get()
    }
}

// --- Clients ---

/// An export request with `n` empty log records.
fn logs(n: usize) -> Vec<u8> {
    fn wrap(number: u32, inner: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        wire::field::write_header(number, inner.len(), &mut out);
        out.extend_from_slice(inner);
        out
    }
    wrap(1, &wrap(2, &[0x12, 0].repeat(n)))
}

const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

fn framed(message: &[u8], compressed: bool) -> Bytes {
    [&prefix(message.len(), compressed)[..], message].concat().into()
}

struct Answer {
    http: u16,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Answer {
    /// Code, message and hint in milliseconds.
    fn status(&self) -> (u8, String, Option<u128>) {
        let status = grpc::read_status(&self.trailers)
            .or_else(|| grpc::read_status(&self.headers))
            .unwrap();
        (
            status.code.0,
            status.message,
            status.retry_after.map(|d| d.as_millis()),
        )
    }
}

/// One HTTP/2 request in as many DATA frames as given; `end` half-closes.
async fn h2_call(
    addr: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    frames: Vec<Bytes>,
    end: bool,
) -> Answer {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut request = Request::post(format!("http://{addr}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut sender = sender.ready().await.unwrap();
    let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
    let last = frames.len();
    for (i, frame) in frames.into_iter().enumerate() {
        body.send_data(frame, end && i + 1 == last).unwrap();
    }
    if end && last == 0 {
        body.send_data(Bytes::new(), true).unwrap();
    }
    let (head, mut answer) = response.await.unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = answer.data().await {
        let data = data.unwrap();
        answer.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    let trailers = answer.trailers().await.unwrap().unwrap_or_default();
    driver.abort();
    Answer {
        http: head.status.as_u16(),
        headers: head.headers,
        body: bytes.into(),
        trailers,
    }
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

async fn grpc_call(addr: SocketAddr, message: &[u8]) -> Answer {
    h2_call(addr, LOGS, &[GRPC], vec![framed(message, false)], true).await
}

/// One HTTP/1.1 exchange on a connection of its own: status, headers in lower case, body.
async fn http_raw(addr: SocketAddr, request: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // A server that has said all may stop reading: what it said counts.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, head.to_ascii_lowercase(), answer[end + 4..].to_vec())
}

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const PROTOBUF: &str = "content-type: application/x-protobuf\r\n";

async fn http_post(addr: SocketAddr, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    http_raw(addr, &post("/v1/logs", &format!("{PROTOBUF}{headers}"), body)).await
}

// --- Config ---

#[test]
fn defaults_match_otelcol() {
    let build = |yaml: &str| Otlp::build(Section::from_yaml(yaml).unwrap(), &context(0));
    let both = build("{protocols: {grpc: , http: }}").unwrap();
    assert_eq!(both.grpc.unwrap().endpoint, "localhost:4317");
    let (http, paths) = both.http.unwrap();
    assert_eq!(http.endpoint, "localhost:4318");
    let paths: Vec<_> = paths.iter().map(|(p, _)| p.as_str()).collect();
    assert_eq!(
        paths,
        ["/v1/traces", "/v1/metrics", "/v1/logs", "/v1development/profiles"]
    );
    let one = build("{protocols: {http: {logs_url_path: 'http://x/a/b?c', endpoint: ':1'}}}").unwrap();
    assert!(one.grpc.is_none());
    assert_eq!(one.http.unwrap().1[2].0, "/a/b");
}

#[test]
fn refuses_bad_configs_naming_the_key() {
    let check = |yaml: &str, expected: &str| {
        let fault = Otlp::build(Section::from_yaml(yaml).unwrap(), &context(0))
            .err()
            .unwrap()
            .to_string();
        assert!(fault.contains(expected), "{yaml}: {fault}");
    };
    check("{}", "must specify at least one protocol");
    check("{protocols: {}}", "must specify at least one protocol");
    check(
        "{protocols: {grpc: {enabled: false}}}",
        "must specify at least one protocol",
    );
    check("{protocols: {arrow: {}}}", "arrow");
    check("{protocols: {grpc: {endpont: x}}}", "endpoint");
    check("{protocols: {grpc: {endpoint: 'x:y'}}}", "invalid port");
    check("{protocols: {http: {log_url_path: /x}}}", "logs_url_path");
    check(
        "{protocols: {http: {logs_url_path: /v1/traces}}}",
        "share the path",
    );
    check(
        "{protocols: {http: {cors: {exposed_headers: ['a b']}}}}",
        "invalid header name",
    );
    check(
        "{protocols: {grpc: {tls: {cert_file: x}}}}",
        "both certificate and key",
    );
}

// --- Answers ---

fn verdicts() -> Vec<(Result<Outcome, Refusal>, (u8, Option<u128>), (u16, Option<u8>))> {
    let ms = |n| Some(StdDuration::from_millis(n));
    let status = |code, retry_after| {
        let message = "theirs".to_owned();
        Refusal::Status(code, Box::new(StatusDetails { message, retry_after }))
    };
    let unavailable = |retry_after| Refusal::Unavailable {
        retry_after,
        message: "down".into(),
    };
    vec![
        (Ok(Outcome::all()), (0, None), (200, None)),
        (
            Err(Refusal::Busy { retry_after: None }),
            (14, Some(1000)),
            (503, Some(1)),
        ),
        (
            Err(Refusal::Busy {
                retry_after: ms(1500),
            }),
            (14, Some(1500)),
            (503, Some(2)),
        ),
        (Err(unavailable(ms(90_000))), (14, Some(3000)), (503, Some(3))),
        (Err(unavailable(ms(10))), (14, Some(10)), (503, Some(1))),
        (Err(Refusal::Invalid("never".into())), (3, None), (400, None)),
        (Err(status(Code::UNAUTHENTICATED, None)), (16, None), (401, None)),
        (Err(status(Code::PERMISSION_DENIED, None)), (7, None), (403, None)),
        (
            Err(status(Code::RESOURCE_EXHAUSTED, None)),
            (8, None),
            (429, None),
        ),
        (
            Err(status(Code::RESOURCE_EXHAUSTED, ms(2000))),
            (8, Some(2000)),
            (429, Some(2)),
        ),
        (Err(status(Code::INTERNAL, None)), (13, None), (500, None)),
        (Err(status(Code::UNIMPLEMENTED, None)), (12, None), (404, None)),
        (
            Err(status(Code::UNAVAILABLE, None)),
            (14, Some(1000)),
            (503, Some(1)),
        ),
    ]
}

#[tokio::test]
async fn says_every_verdict_in_both_protocols() {
    let running = start().await;
    for (verdict, (code, hint), (http, retry_after)) in verdicts() {
        running.next_verdict(verdict.clone());
        let answer = grpc_call(running.grpc, &logs(3)).await;
        let (got, message, got_hint) = answer.status();
        assert_eq!((answer.http, got, got_hint), (200, code, hint), "{verdict:?}");
        assert_eq!(answer.headers["content-type"], "application/grpc");
        if let Err(refusal) = &verdict {
            assert_eq!(message, refusal.message());
            // Python reads this trailer, the others the details.
            assert_eq!(
                answer.headers.contains_key("google.rpc.retryinfo-bin"),
                hint.is_some()
            );
            assert_eq!(
                answer.headers.contains_key("grpc-status-details-bin"),
                hint.is_some()
            );
        } else {
            assert_eq!(answer.body, framed(b"", false));
        }

        running.next_verdict(verdict.clone());
        let (status, head, body) = http_post(running.http, "", &logs(3)).await;
        assert_eq!(status, http, "{verdict:?}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        let wanted = retry_after.map(|n| format!("retry-after: {n}"));
        assert_eq!(
            wanted.is_some(),
            head.contains("retry-after"),
            "{verdict:?} {head}"
        );
        assert!(wanted.is_none_or(|w| head.contains(&w)), "{verdict:?} {head}");
        match &verdict {
            Ok(_) => assert!(body.is_empty()),
            Err(refusal) => {
                let status = grpc::decode_status(&body).unwrap();
                assert_eq!((status.code.0, status.message), (code, refusal.message()));
            }
        }
    }
    let n = verdicts().len() as u64 * 3;
    assert_eq!(running.door("grpc"), (n, 3, n - 3));
    assert_eq!(running.door("http"), (n, 3, n - 3));
    running.telemetry.ledger.check().unwrap();
}

#[tokio::test]
async fn tells_partial_success() {
    let running = start().await;
    let outcome = Outcome {
        rejected: vec![Rejection {
            rule: "r".into(),
            items: 2,
            message: "over the rate".into(),
        }],
    };
    let expected = b"\x0a\x11\x08\x02\x12\x0dover the rate";
    running.next_verdict(Ok(outcome.clone()));
    let answer = grpc_call(running.grpc, &logs(3)).await;
    assert_eq!((answer.status().0, answer.body), (0, framed(expected, false)));
    running.next_verdict(Ok(outcome));
    let (status, _, body) = http_post(running.http, "", &logs(3)).await;
    assert_eq!((status, body.as_slice()), (200, &expected[..]));
}

#[tokio::test]
async fn takes_every_encoding_and_keeps_what_may_be_forwarded() {
    let running = start().await;
    let body = logs(4000);
    let all = [
        ("gzip", "gzip", Encoding::Gzip),
        ("zstd", "zstd", Encoding::Zstd),
        ("deflate", "deflate", Encoding::Deflate),
        ("", "zlib", Encoding::Deflate),
        ("", "snappy", Encoding::SnappyBlock),
        ("snappy", "x-snappy-framed", Encoding::SnappyFramed),
        ("", "snappy", Encoding::SnappyFramed),
        ("", "lz4", Encoding::Lz4),
    ];
    for (grpc_token, http_token, encoding) in all {
        let packed = encode(encoding, 0, &[body.clone().into()]);
        let mut expected = vec![];
        let (status, _, _) = http_post(
            running.http,
            &format!("content-encoding: {http_token}\r\n"),
            &packed,
        )
        .await;
        assert_eq!(status, 200, "{http_token}");
        expected.push(encoding);
        if !grpc_token.is_empty() {
            let headers = [GRPC, ("grpc-encoding", grpc_token)];
            let answer = h2_call(running.grpc, LOGS, &headers, vec![framed(&packed, true)], true).await;
            assert_eq!(answer.status().0, 0, "{grpc_token}");
            expected.push(encoding);
            // Announced, but this message is not compressed.
            let answer = h2_call(running.grpc, LOGS, &headers, vec![framed(&body, false)], true).await;
            assert_eq!(answer.status().0, 0, "{grpc_token}");
            let plain = running.pipeline.seen.lock().pop().unwrap();
            assert!(plain.chunks[0].twin.is_none() && plain.chunks[0].bytes() == body);
        }
        for (payload, encoding) in running.pipeline.seen.lock().drain(..).zip(expected) {
            assert_eq!((payload.items, &payload.chunks[0].bytes()[..]), (4000, &body[..]));
            assert_eq!(payload.twin(encoding), Some(&packed));
        }
    }
}

#[tokio::test]
async fn reads_every_member_but_forwards_only_single_ones() {
    let running = start().await;
    let member = |n| encode(Encoding::Gzip, 0, &[logs(n).into()]);
    let body = [member(2), member(3)].concat();
    let (status, ..) = http_post(running.http, "content-encoding: gzip\r\n", &body).await;
    let payload = running.pipeline.seen.lock().pop().unwrap();
    assert_eq!((status, payload.items), (200, 5));
    assert!(payload.chunks[0].twin.is_none());
    let (status, ..) = http_post(
        running.http,
        "content-encoding: gzip\r\n",
        &[&member(1)[..], b"junk"].concat(),
    )
    .await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn refuses_what_is_no_request() {
    let running = start().await;
    let good = logs(1);
    let h = |headers: &str| format!("{PROTOBUF}{headers}");
    let gz = encode(Encoding::Gzip, 0, &[good.clone().into()]);
    let long_name = format!("content-encoding: {}\r\n", "x".repeat(500));
    let rows: Vec<(&str, Vec<u8>, u16, &str, &str)> = vec![
        (
            "get",
            b"GET /v1/logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(),
            405,
            "405 method not allowed, supported: [POST]",
            "method",
        ),
        (
            "path",
            post("/v1/log", &h(""), &good),
            404,
            "404 page not found\n",
            "unknown_path",
        ),
        (
            "no pipeline",
            post("/v1/metrics", &h(""), &good),
            404,
            "404 page not found\n",
            "unknown_path",
        ),
        (
            "xml",
            post("/v1/logs", "content-type: application/xml\r\n", b"{}"),
            415,
            "415 unsupported media type, supported: [application/json, application/x-protobuf]",
            "content_type",
        ),
        (
            "no type",
            post("/v1/logs", "", &good),
            415,
            "415 unsupported",
            "content_type",
        ),
        (
            "unknown encoding",
            post("/v1/logs", &h("content-encoding: br\r\n"), &good),
            400,
            "unsupported Content-Encoding: br",
            "malformed",
        ),
        (
            "two encodings",
            post("/v1/logs", &h("content-encoding: gzip, gzip\r\n"), &gz),
            400,
            "unsupported Content-Encoding: gzip, gzip",
            "malformed",
        ),
        (
            "long encoding",
            post("/v1/logs", &h(&long_name), &gz),
            400,
            "unsupported Content-Encoding: xxx",
            "malformed",
        ),
        (
            "not gzip",
            post("/v1/logs", &h("content-encoding: gzip\r\n"), &good),
            400,
            "corrupt gzip data",
            "malformed",
        ),
        (
            "gzip cut",
            post("/v1/logs", &h("content-encoding: gzip\r\n"), &gz[..gz.len() - 3]),
            400,
            "corrupt gzip data",
            "malformed",
        ),
        (
            "snappy claims",
            post(
                "/v1/logs",
                &h("content-encoding: snappy\r\n"),
                b"\xff\xff\xff\xff\x0f",
            ),
            413,
            "http: request body too large",
            "too_large",
        ),
        (
            "truncated",
            post("/v1/logs", &h(""), &good[..good.len() - 1]),
            400,
            "",
            "malformed",
        ),
        ("html", post("/v1/logs", &h(""), b"<html>"), 400, "", "malformed"),
    ];
    for (name, request, code, text, reason) in rows {
        let before = running.counted("http", reason);
        let (got, _, body) = http_raw(running.http, &request).await;
        assert_eq!(got, code, "{name}");
        let words = match grpc::decode_status(&body) {
            Some(status) if code == 400 || code == 413 => status.message,
            _ => String::from_utf8(body).unwrap(),
        };
        assert!(words.starts_with(text) || words.contains(text), "{name}: {words}");
        assert_eq!(running.counted("http", reason), before + 1, "{name}");
    }
    // Parameters and case of the content type do not matter; identity is no encoding.
    let ok = "content-type: Application/X-Protobuf; charset=x\r\ncontent-encoding: identity\r\n";
    assert_eq!(http_raw(running.http, &post("/v1/logs", ok, &good)).await.0, 200);
    // An empty request succeeds and goes nowhere.
    running.pipeline.seen.lock().clear();
    for empty in [vec![], vec![0x0a, 0]] {
        assert_eq!(http_post(running.http, "", &empty).await.0, 200);
        assert_eq!(grpc_call(running.grpc, &empty).await.status().0, 0);
    }
    assert!(running.pipeline.seen.lock().is_empty());
    running.telemetry.ledger.check().unwrap();
}

#[tokio::test]
async fn refuses_what_is_no_call() {
    let running = start().await;
    let good = framed(&logs(1), false);
    let gzip = ("grpc-encoding", "gzip");
    let service = "opentelemetry.proto.collector.metrics.v1.MetricsService";
    let rows: Vec<(&str, String, Vec<(&str, &str)>, Vec<u8>, u8, &str)> = vec![
        (
            "unknown",
            "/a.B/C".into(),
            vec![GRPC],
            good.to_vec(),
            12,
            "unknown service a.B",
        ),
        (
            "no pipeline",
            format!("/{service}/Export"),
            vec![GRPC],
            good.to_vec(),
            12,
            "unknown service opentelemetry.proto.collector.metrics.v1.MetricsService",
        ),
        (
            "method",
            LOGS.replace("Export", "Import"),
            vec![GRPC],
            good.to_vec(),
            12,
            "unknown method Import",
        ),
        (
            "no path",
            "/".into(),
            vec![GRPC],
            good.to_vec(),
            12,
            "malformed method name",
        ),
        (
            "cut",
            LOGS.into(),
            vec![GRPC],
            good[..good.len() - 1].to_vec(),
            3,
            "within a message",
        ),
        ("nothing", LOGS.into(), vec![GRPC], vec![], 3, "within a message"),
        (
            "flag",
            LOGS.into(),
            vec![GRPC],
            vec![7, 0, 0, 0, 0],
            3,
            "invalid compressed flag",
        ),
        (
            "flag without encoding",
            LOGS.into(),
            vec![GRPC],
            framed(b"x", true).to_vec(),
            3,
            "compressed flag set",
        ),
        (
            "unknown encoding",
            LOGS.into(),
            vec![GRPC, ("grpc-encoding", "br")],
            framed(b"x", true).to_vec(),
            3,
            "not installed for grpc-encoding \"br\"",
        ),
        (
            "not gzip",
            LOGS.into(),
            vec![GRPC, gzip],
            framed(b"x", true).to_vec(),
            3,
            "corrupt gzip",
        ),
        (
            "malformed",
            LOGS.into(),
            vec![GRPC],
            framed(b"<html>", false).to_vec(),
            3,
            "",
        ),
        (
            "prefix too large",
            LOGS.into(),
            vec![GRPC],
            vec![0, 0, 0x40, 0, 1],
            8,
            "grpc: received message larger than max (4194305 vs. 4194304)",
        ),
    ];
    for (name, path, headers, body, code, text) in rows {
        let answer = h2_call(running.grpc, &path, &headers, vec![body.into()], true).await;
        let (got, message, hint) = answer.status();
        assert_eq!((got, hint), (code, None), "{name}: {message}");
        assert!(message.contains(text), "{name}: {message}");
    }
    let answer = h2_call(
        running.grpc,
        LOGS,
        &[("content-type", "text/html")],
        vec![good],
        true,
    )
    .await;
    assert_eq!(answer.http, 415);
    assert!(running.pipeline.seen.lock().is_empty());
}

#[tokio::test]
async fn bombs_and_large_bodies_are_refused_for_good() {
    let running = start().await;
    let bomb = encode(Encoding::Gzip, 9, &[vec![0; 64 << 20].into()]);
    let headers = [GRPC, ("grpc-encoding", "gzip")];
    let answer = h2_call(running.grpc, LOGS, &headers, vec![framed(&bomb, true)], true).await;
    let (code, message, hint) = answer.status();
    assert_eq!((code, hint), (8, None));
    assert_eq!(
        message,
        "grpc: received message after decompression larger than max 4194304"
    );
    for (token, encoding) in [
        ("gzip", Encoding::Gzip),
        ("zstd", Encoding::Zstd),
        ("lz4", Encoding::Lz4),
    ] {
        let bomb = encode(encoding, 0, &[vec![0; 64 << 20].into()]);
        let (status, ..) = http_post(running.http, &format!("content-encoding: {token}\r\n"), &bomb).await;
        assert_eq!(status, 413, "{token}");
    }
    // Announced: refused before the body comes.
    let announced =
        format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\n{PROTOBUF}content-length: 20971521\r\n\r\n");
    assert_eq!(http_raw(running.http, announced.as_bytes()).await.0, 413);
    // Not announced: refused when it passes the limit.
    let mut chunked =
        format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\n{PROTOBUF}transfer-encoding: chunked\r\n\r\n")
            .into_bytes();
    for _ in 0..21 {
        write!(chunked, "{:x}\r\n", 1 << 20).unwrap();
        chunked.extend(vec![0; 1 << 20]);
        chunked.extend_from_slice(b"\r\n");
    }
    let mut stream = TcpStream::connect(running.http).await.unwrap();
    let _ = stream.write_all(&chunked).await;
    let mut head = [0; 12];
    // The server may reset the connection with the answer still under way; counted it is in any case.
    if stream.read_exact(&mut head).await.is_ok() {
        assert_eq!(&head, b"HTTP/1.1 413");
    }
    while running.counted("http", "too_large") < 5 {
        tokio::task::yield_now().await;
    }
    assert!(running.pipeline.seen.lock().is_empty());
    assert_eq!(running.receiver.cx.memory.used(Class::Door), 0);
}

#[tokio::test]
async fn takes_chunked_bodies_and_http2_on_the_http_port() {
    let running = start().await;
    let body = logs(3);
    let mut chunked = format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{PROTOBUF}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for byte in &body {
        chunked.extend_from_slice(b"1\r\n");
        chunked.push(*byte);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(http_raw(running.http, &chunked).await.0, 200);
    let headers = [("content-type", "application/x-protobuf")];
    let answer = h2_call(
        running.http,
        "/v1/logs",
        &headers,
        vec![body.clone().into()],
        true,
    )
    .await;
    assert_eq!((answer.http, answer.body.len()), (200, 0));
    for payload in running.pipeline.seen.lock().drain(..) {
        assert_eq!(payload.chunks[0].bytes(), body);
    }
}

#[tokio::test]
async fn answers_clients_that_never_half_close() {
    let running = start().await;
    let (a, b) = (logs(2), logs(3));
    let answer = h2_call(running.grpc, LOGS, &[GRPC], vec![framed(&a, false)], false).await;
    assert_eq!(answer.status().0, 0);
    // A second message that came along is taken too, and the worst verdict counts.
    running.next_verdict(Ok(Outcome::all()));
    running.next_verdict(Err(Refusal::Busy { retry_after: None }));
    let both = [framed(&a, false), framed(&b, false)].concat();
    let answer = h2_call(running.grpc, LOGS, &[GRPC], vec![both.into()], false).await;
    assert_eq!(answer.status().0, 14);
    let items: Vec<_> = running.pipeline.seen.lock().iter().map(|p| p.items).collect();
    assert_eq!(items, [2, 2, 3]);
    assert_eq!(running.door("grpc"), (7, 4, 3));
}

#[tokio::test]
async fn says_what_is_wrong_to_http1_on_the_grpc_port() {
    let running = start().await;
    let (status, head, body) = http_raw(
        running.grpc,
        &post(LOGS, "content-type: application/grpc\r\n", &[0; 5]),
    )
    .await;
    assert_eq!(status, 505);
    assert!(head.contains("connection: close"));
    assert!(String::from_utf8(body).unwrap().contains("HTTP/2"));
    assert_eq!(running.counted("grpc", "http1_on_grpc_port"), 1);
}

// --- Life ---

#[tokio::test]
async fn a_client_that_goes_away_cancels_nothing() {
    let gated = Pipeline {
        gate: Some(tokio::sync::Semaphore::new(0)),
        ..Pipeline::default()
    };
    let running = start_with(BOTH, gated, 1 << 30).await;
    let call = tokio::spawn(async move { grpc_call(running.grpc, &logs(5)).await.http });
    running.pipeline.arrived.notified().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    let mut post = TcpStream::connect(running.http).await.unwrap();
    post.write_all(&self::post("/v1/logs", PROTOBUF, &logs(4)))
        .await
        .unwrap();
    running.pipeline.arrived.notified().await;
    drop(post);
    running.pipeline.gate.as_ref().unwrap().add_permits(2);
    while running.door("grpc").1 + running.door("http").1 < 9 {
        tokio::task::yield_now().await;
    }
    running.telemetry.ledger.check().unwrap();
    assert_eq!(running.receiver.cx.memory.used(Class::Door), 0);
}

#[tokio::test]
async fn a_reset_amid_the_body_harms_nobody_else() {
    let running = start().await;
    let stream = TcpStream::connect(running.grpc).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let call = || {
        Request::post(format!("http://x{LOGS}"))
            .header("content-type", "application/grpc")
            .body(())
            .unwrap()
    };
    let (_, mut body) = sender.send_request(call(), false).unwrap();
    body.send_data(Bytes::from_static(&[0, 0, 0, 1, 0, 1, 2, 3]), false)
        .unwrap();
    let (answer, mut other) = sender.send_request(call(), false).unwrap();
    body.send_reset(h2::Reason::CANCEL);
    other.send_data(framed(&logs(1), false), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    let mut cut = TcpStream::connect(running.http).await.unwrap();
    let request = post("/v1/logs", PROTOBUF, &logs(9));
    cut.write_all(&request[..request.len() - 3]).await.unwrap();
    drop(cut);
    while running.receiver.cx.memory.used(Class::Door) > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.pipeline.seen.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn slow_bodies_are_told_to_come_again() {
    let running = start().await;
    let answer = h2_call(
        running.grpc,
        LOGS,
        &[GRPC],
        vec![Bytes::from_static(&[0, 0, 0, 0, 9, 1])],
        false,
    )
    .await;
    assert_eq!(answer.status().0, 14);
    assert_eq!(running.counted("grpc", "slow"), 1);
    let request = post("/v1/logs", PROTOBUF, &logs(9));
    let (status, head, _) = http_raw(running.http, &request[..request.len() - 3]).await;
    assert_eq!(status, 503);
    assert!(head.contains("retry-after: 1"));
}

#[tokio::test(start_paused = true)]
async fn connections_that_say_nothing_are_closed() {
    let running = start().await;
    for silent in [&b""[..], b"PRI * HTTP", b"POST /v1/logs HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(running.http).await.unwrap();
        stream.write_all(silent).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
}

#[tokio::test]
async fn connections_that_are_cut_off_are_counted() {
    let yaml = "{protocols: {grpc: {endpoint: '127.0.0.1:0'}, \
                http: {endpoint: '127.0.0.1:0', read_header_timeout: 50ms}}}";
    let running = start_with(yaml, Pipeline::default(), 1 << 30).await;
    let counted =
        |transport, reason| running.counted_as("weir_receiver_cut_off_connections", transport, reason);
    for silent in [&b""[..], b"PRI * HTTP", b"POST /v1/logs HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(running.http).await.unwrap();
        stream.write_all(silent).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    while counted("http", "slow_head") < 3 {
        tokio::task::yield_now().await;
    }
    // A client of gRPC that pings as it likes; the policy is grpc-go's where nothing is said.
    let mut stream = TcpStream::connect(running.grpc).await.unwrap();
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let ping = b"\0\0\x08\x06\0\0\0\0\0--------".repeat(4);
    stream.write_all(&[&hello[..], &ping].concat()).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.ends_with(b"\0\0\0\x0btoo_many_pings"));
    while counted("grpc", "too_many_pings") < 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_memory_budget_is_busy() {
    let running = start_with(BOTH, Pipeline::default(), 1000).await;
    let answer = grpc_call(running.grpc, &logs(1000)).await;
    assert_eq!((answer.status().0, answer.status().2), (14, Some(1000)));
    let (status, head, _) = http_post(running.http, "", &logs(1000)).await;
    assert_eq!(status, 503);
    assert!(head.contains("retry-after: 1"));
    // Small on the wire, large within.
    let packed = encode(Encoding::Gzip, 0, &[logs(5000).into()]);
    assert!(packed.len() < 200);
    assert_eq!(
        http_post(running.http, "content-encoding: gzip\r\n", &packed)
            .await
            .0,
        503
    );
    assert_eq!(http_post(running.http, "", &logs(1)).await.0, 200);
    assert_eq!(running.counted("http", "busy"), 2);
    assert_eq!(running.receiver.cx.memory.used(Class::Door), 0);
}

#[tokio::test]
async fn streams_that_never_end_hold_no_more_than_the_budget() {
    const BUDGET: usize = 1 << 20;
    const PART: usize = 64 << 10;
    let running = start_with(BOTH, Pipeline::default(), BUDGET).await;
    let stream = TcpStream::connect(running.grpc).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    // Each claims 128 KiB and sends half of it: sixteen halves fill the budget.
    let part = [&prefix(2 * PART, false)[..], &[0; PART]].concat();
    let mut open = Vec::new();
    for _ in 0..64 {
        let request = Request::post(format!("http://x{LOGS}")).header("content-type", "application/grpc");
        let (answer, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from(part.clone()), false).unwrap();
        open.push((answer, body));
    }
    while running.counted("grpc", "busy") < 48 {
        assert!(running.receiver.cx.memory.used(Class::Door) <= BUDGET);
        tokio::task::yield_now().await;
    }
    // The others go on: fewer than sixteen, for each frame is taken as it comes.
    assert!(running.counted("grpc", "busy") < 64);
    drop((open, sender));
    driver.abort();
    while running.receiver.cx.memory.used(Class::Door) > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(grpc_call(running.grpc, &logs(1)).await.status().0, 0);
}

#[tokio::test]
async fn a_pipeline_that_panics_refuses() {
    let broken = Pipeline {
        panics: true,
        ..Pipeline::default()
    };
    let running = start_with(BOTH, broken, 1 << 30).await;
    assert_eq!(grpc_call(running.grpc, &logs(2)).await.status().0, 14);
    assert_eq!(running.door("grpc"), (2, 0, 2));
    assert_eq!(running.receiver.cx.memory.used(Class::Door), 0);
}

#[tokio::test]
async fn what_is_known_of_the_client_goes_along() {
    let yaml = "{protocols: {grpc: {endpoint: '127.0.0.1:0', include_metadata: true}, \
                http: {endpoint: '127.0.0.1:0', include_metadata: true, response_headers: {X-A: b}}}}";
    let running = start_with(yaml, Pipeline::default(), 1 << 30).await;
    let before = std::time::SystemTime::now();
    let headers = [GRPC, ("x-tenant", "a"), ("x-tenant", "b"), ("grpc-timeout", "3S")];
    h2_call(running.grpc, LOGS, &headers, vec![framed(&logs(1), false)], true).await;
    let payload = running.pipeline.seen.lock().pop().unwrap();
    let context = &payload.context;
    assert_eq!(context.metadata("X-Tenant"), ["a", "b"]);
    assert_eq!(context.metadata("host"), [running.grpc.to_string()]);
    assert!(context.peer.unwrap().ip().is_loopback());
    let left = context.deadline.unwrap() - tokio::time::Instant::now().into_std();
    let spent = before.elapsed().unwrap();
    assert!(
        left <= StdDuration::from_secs(3) && left + spent >= StdDuration::from_secs(2),
        "{left:?}"
    );
    let (_, head, _) = http_post(
        running.http,
        "x-envoy-expected-rq-timeout-ms: 5000\r\nx-tenant: c\r\n",
        &logs(1),
    )
    .await;
    assert!(head.contains("x-a: b"));
    let payload = running.pipeline.seen.lock().pop().unwrap();
    assert_eq!(payload.context.metadata("x-tenant"), ["c"]);
    assert!(payload.context.deadline.is_some());
    let plain = start().await;
    grpc_call(plain.grpc, &logs(1)).await;
    let payload = plain.pipeline.seen.lock().pop().unwrap();
    assert!(payload.context.metadata.is_empty() && payload.context.deadline.is_none());
}

#[tokio::test]
async fn scripts_of_other_origins_may_post() {
    let yaml = "{protocols: {http: {endpoint: '127.0.0.1:0', response_headers: {X-A: b}, \
                cors: {allowed_origins: ['https://*.x.org'], allowed_headers: [x-token]}}}}";
    let running = start_with(yaml, Pipeline::default(), 1 << 30).await;
    let preflight = "OPTIONS /v1/logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\norigin: https://a.x.org\r\n\
                     access-control-request-method: POST\r\n\
                     access-control-request-headers: content-type,x-token\r\n\r\n";
    let (code, head, body) = http_raw(running.http, preflight.as_bytes()).await;
    assert_eq!((code, body.len()), (204, 0));
    assert!(
        head.contains("access-control-allow-origin: https://a.x.org"),
        "{head}"
    );
    assert!(head.contains("x-a: b"), "{head}");
    let (code, head, _) = http_post(running.http, "origin: https://a.x.org\r\n", &logs(1)).await;
    assert_eq!(code, 200);
    assert!(
        head.contains("access-control-allow-origin: https://a.x.org"),
        "{head}"
    );
    assert!(head.contains("access-control-allow-credentials: true"), "{head}");
    // Refusals are marked too, or a script could not read why; strangers get nothing.
    let (code, head, _) = http_post(running.http, "origin: https://a.x.org\r\n", b"?").await;
    assert!(
        code == 400 && head.contains("access-control-allow-origin"),
        "{head}"
    );
    let (code, head, _) = http_post(running.http, "origin: https://x.com\r\n", &logs(1)).await;
    assert!(code == 200 && !head.contains("access-control-allow"), "{head}");
    let without = start().await;
    let (code, head, _) = http_raw(without.http, preflight.as_bytes()).await;
    assert!(code == 405 && !head.contains("access-control"), "{head}");
}

#[tokio::test]
async fn only_enabled_encodings_are_taken() {
    let body = encode(Encoding::Gzip, 1, &[logs(1).into()]);
    let gzip = "content-encoding: gzip\r\n";
    let check = async |algorithms: &str, plain: u16, zipped: u16| {
        let yaml = format!("{{protocols: {{http: {{endpoint: '127.0.0.1:0'{algorithms}}}}}}}");
        let running = start_with(&yaml, Pipeline::default(), 1 << 30).await;
        let got = http_post(running.http, "", &logs(1)).await.0;
        assert_eq!((got, "plain"), (plain, "plain"), "{algorithms}");
        let got = http_post(running.http, gzip, &body).await.0;
        assert_eq!((got, "gzip"), (zipped, "gzip"), "{algorithms}");
    };
    check("", 200, 200).await;
    check(", compression_algorithms:", 200, 200).await;
    check(", compression_algorithms: ['', gzip]", 200, 200).await;
    check(", compression_algorithms: ['', zstd]", 200, 400).await;
    check(", compression_algorithms: [gzip]", 400, 200).await;
    // Nothing is decoded: a compressed body is no message.
    check(", compression_algorithms: []", 200, 400).await;
    let yaml = "{protocols: {http: {endpoint: '127.0.0.1:0', compression_algorithms: []}}}";
    let running = start_with(yaml, Pipeline::default(), 1 << 30).await;
    assert_eq!(http_post(running.http, gzip, &logs(1)).await.0, 200);
}

#[tokio::test]
async fn stopping_answers_what_is_in_flight() {
    let gated = Pipeline {
        gate: Some(tokio::sync::Semaphore::new(0)),
        ..Pipeline::default()
    };
    let running = Arc::new(start_with(BOTH, gated, 1 << 30).await);
    let grpc = running.grpc;
    let call = tokio::spawn(async move { grpc_call(grpc, &logs(5)).await.status().0 });
    running.pipeline.arrived.notified().await;
    let stopping = tokio::spawn({
        let running = running.clone();
        async move { running.receiver.stop().await }
    });
    while TcpStream::connect(grpc).await.is_ok() {
        tokio::task::yield_now().await;
    }
    running.pipeline.gate.as_ref().unwrap().add_permits(1);
    assert_eq!(call.await.unwrap(), 0);
    stopping.await.unwrap();
    running.receiver.stop().await;
    assert_eq!(running.door("grpc"), (5, 5, 0));
}

#[tokio::test]
async fn a_taken_port_is_a_fault_that_names_it() {
    let running = start().await;
    let yaml = format!("{{protocols: {{grpc: {{endpoint: '{}'}}}}}}", running.grpc);
    let second = Otlp::build(Section::from_yaml(&yaml).unwrap(), &context(0)).unwrap();
    let fault = second
        .start(Outputs::default(), Arc::new(Lonely::default()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        fault.contains(&running.grpc.to_string()) && fault.contains("otlp/test"),
        "{fault}"
    );
}

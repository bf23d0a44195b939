//! Clients that mean harm, against the gateway as a process of its own: what they cost in memory, and that others are
//! served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use net::compression::{Encoding, encode};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::child::Child;
use crate::support::client::{self, Grpc, LOGS, frame};
use crate::support::sample;

const CONFIG: &str = r#"
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:{grpc}", max_recv_msg_size_mib: 1, max_concurrent_streams: 100}
      http: {endpoint: "127.0.0.1:{http}", max_request_body_size: 1048576, idle_timeout: 500ms}
exporters:
  nop:
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    logs: {receivers: [otlp], exporters: [nop]}
"#;

const PATIENCE: Duration = Duration::from_secs(60);

/// A client that behaves, all the while.
struct Neighbour {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(u32, Duration)>,
}

impl Neighbour {
    fn of(child: &Child) -> Neighbour {
        let stop = Arc::new(AtomicBool::new(false));
        let (grpc, http, done) = (child.grpc, child.http, stop.clone());
        let task = tokio::spawn(async move {
            let body = sample::logs(3).encode_to_vec();
            let kept = Grpc::connect(grpc).await;
            let (mut served, mut worst) = (0, Duration::ZERO);
            while !done.load(Relaxed) || served < 5 {
                let began = Instant::now();
                assert_eq!(kept.export(LOGS, &body).await.code, 0);
                let answer = client::post_otlp(http, "/v1/logs", &body).await;
                assert_eq!(answer.status, 200, "{}", answer.head);
                served += 1;
                worst = worst.max(began.elapsed());
            }
            (served, worst)
        });
        Neighbour { stop, task }
    }

    /// At least five times served, each time within ten seconds (on a machine that is busy with other tests).
    async fn was_served(self) {
        self.stop.store(true, Relaxed);
        let (served, worst) = self.task.await.unwrap();
        assert!(
            served >= 5 && worst < Duration::from_secs(10),
            "{served} {worst:?}"
        );
    }
}

/// Everything until the server closes; what a reset cuts off is lost.
async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let read = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(n) = socket.read(&mut buffer).await {
            if n == 0 {
                break;
            }
            got.extend_from_slice(&buffer[..n]);
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the server closes");
    got
}

/// Writes until all is written or the server has enough, reading all the while.
async fn pour(socket: TcpStream, bytes: Bytes) -> Vec<u8> {
    let (mut read, mut write) = socket.into_split();
    let writer = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        // Kept: the server is the one to close.
        write
    });
    let mut got = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(n) = read.read(&mut buffer).await {
            if n == 0 {
                break;
            }
            got.extend_from_slice(&buffer[..n]);
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("the server closes");
    writer.abort();
    got
}

// --- HTTP/2 by hand ---

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

fn h2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

fn hello(settings: &[u8]) -> Vec<u8> {
    [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &h2(SETTINGS, 0, 0, settings),
    ]
    .concat()
}

/// The headers of a call, with nothing remembered between two of them.
fn call_headers() -> Vec<u8> {
    let literal = |out: &mut Vec<u8>, text: &str| {
        out.push(text.len() as u8);
        out.extend_from_slice(text.as_bytes());
    };
    let mut out = vec![0x83, 0x86, 0x04];
    literal(&mut out, LOGS);
    out.push(0x01);
    literal(&mut out, "x");
    out.extend_from_slice(&[0x0f, 0x10]);
    literal(&mut out, "application/grpc");
    out
}

/// Kind, stream and payload of each whole frame.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut out = Vec::new();
    while bytes.len() >= 9 {
        let len = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let Some(payload) = bytes.get(9..9 + len) else {
            break;
        };
        let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
        out.push((bytes[3], stream, payload.to_vec()));
        bytes = &bytes[9 + len..];
    }
    out
}

// --- Slowness ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_and_bodies_lose_their_connections() {
    let config = CONFIG.replace("idle_timeout: 500ms", "read_timeout: 1500ms");
    let child = Child::start(&config).await;
    let before = child.memory();
    let neighbour = Neighbour::of(&child);
    let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n";
    let with_body = format!("{head}content-length: 1000000\r\n\r\n");
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    let mut clients = JoinSet::new();
    for n in 0..600 {
        let (first, then) = match n % 3 {
            0 => ("", "POST /v1/logs HTTP/1.1\r\nx-a: "),
            1 => (with_body.as_str(), "a"),
            _ => (chunked.as_str(), "1\r\na\r\n"),
        };
        let (first, then) = (first.to_owned(), then.to_owned());
        let addr = child.http;
        clients.spawn(async move {
            let began = Instant::now();
            let mut socket = TcpStream::connect(addr).await.unwrap();
            socket.write_all(first.as_bytes()).await.unwrap();
            let (mut read, mut write) = socket.split();
            let drip = async {
                for byte in then.bytes().chain(std::iter::repeat_with(|| b'a')) {
                    if write.write_all(&[byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            let mut buffer = [0; 1024];
            let closed = async { while read.read(&mut buffer).await.is_ok_and(|n| n > 0) {} };
            tokio::select! {
                () = drip => {}
                () = closed => {}
            }
            began.elapsed()
        });
    }
    while let Some(took) = clients.join_next().await {
        let took = took.unwrap();
        assert!(took < Duration::from_secs(20), "held a connection for {took:?}");
    }
    let grown = child.memory_peak() - before;
    assert!(grown < 64, "{grown} MiB for 600 slow clients");
    neighbour.was_served().await;
}

// --- Floods ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_number_cost_little() {
    let child = Child::start(CONFIG).await;
    let before = child.memory();
    let neighbour = Neighbour::of(&child);
    let mut held = Vec::new();
    for n in 0..1500 {
        let mut grpc = TcpStream::connect(child.grpc).await.unwrap();
        if n % 2 == 0 {
            grpc.write_all(&hello(&[])).await.unwrap();
        }
        let http = TcpStream::connect(child.http).await.unwrap();
        held.push((grpc, http));
    }
    let grown = child.memory_peak() - before;
    assert!(grown < 64, "{grown} MiB for 3000 connections");
    neighbour.was_served().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_end_in_goaway() {
    let child = Child::start(CONFIG).await;
    let before = child.memory();
    let neighbour = Neighbour::of(&child);
    let mut resets = Vec::new();
    let mut half_open = Vec::new();
    for n in 0..20_000 {
        resets.extend_from_slice(&h2(HEADERS, END_HEADERS, 2 * n + 1, &call_headers()));
        resets.extend_from_slice(&h2(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]));
        half_open.extend_from_slice(&h2(HEADERS, END_HEADERS, 2 * n + 1, &call_headers()));
    }
    let endless = h2(
        CONTINUATION,
        0,
        1,
        &[&[0, 1, b'a', 0x7f, 0x81, 0x7e][..], &[b'v'; 16_256]].concat(),
    );
    let floods = [
        ("resets", resets),
        ("pings", h2(PING, 0, 0, &[0; 8]).repeat(100_000)),
        ("settings", h2(SETTINGS, 0, 0, &[]).repeat(100_000)),
        (
            "window updates",
            h2(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(100_000),
        ),
        (
            "empty data",
            [
                h2(HEADERS, END_HEADERS, 1, &call_headers()),
                h2(DATA, 0, 1, &[]).repeat(100_000),
            ]
            .concat(),
        ),
        (
            "continuations",
            [h2(HEADERS, 0, 1, &call_headers()), endless.repeat(1000)].concat(),
        ),
        ("streams", half_open),
    ];
    for addr in [child.grpc, child.http] {
        for (what, flood) in &floods {
            if *what == "streams" && addr == child.http {
                continue;
            }
            let socket = TcpStream::connect(addr).await.unwrap();
            let got = pour(socket, [hello(&[]), flood.clone()].concat().into()).await;
            // Where a reset overtakes it the GOAWAY is lost; where it arrives, it says why.
            let told = frames(&got).into_iter().find(|f| f.0 == GOAWAY);
            if let Some((_, _, payload)) = told {
                assert_eq!(payload[4..8], [0, 0, 0, 11], "{what}: {payload:?}");
            }
        }
    }
    let grown = child.memory_peak() - before;
    assert!(grown < 64, "{grown} MiB for floods of frames");
    neighbour.was_served().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_never_end_hold_what_they_sent_and_no_more() {
    let child = Child::start(CONFIG).await;
    let before = child.memory();
    let neighbour = Neighbour::of(&child);
    // Each stream claims a message of 1 MiB and sends 4 KiB of it; nobody takes an answer either (a window of 0).
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut bytes = hello(&[0, 4, 0, 0, 0, 0]);
        let part = [&[0, 0, 0x10, 0, 0][..], &[0; 4096]].concat();
        for n in 0..100 {
            bytes.extend_from_slice(&h2(HEADERS, END_HEADERS, 2 * n + 1, &call_headers()));
            bytes.extend_from_slice(&h2(DATA, 0, 2 * n + 1, &part));
        }
        let mut socket = TcpStream::connect(child.grpc).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        held.push(socket);
    }
    // Whole requests whose answers are not taken.
    let small = frame(0, &sample::logs(1).encode_to_vec());
    for _ in 0..20 {
        let mut bytes = hello(&[0, 4, 0, 0, 0, 0]);
        for n in 0..100 {
            bytes.extend_from_slice(&h2(HEADERS, END_HEADERS, 2 * n + 1, &call_headers()));
            bytes.extend_from_slice(&h2(DATA, END_STREAM, 2 * n + 1, &small));
        }
        let mut socket = TcpStream::connect(child.grpc).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        held.push(socket);
    }
    // All have been read once their settings and the last stream's answer or window came.
    for socket in &mut held {
        let mut one = [0; 1];
        tokio::time::timeout(PATIENCE, socket.read_exact(&mut one))
            .await
            .expect("the server says hello")
            .unwrap();
    }
    neighbour.was_served().await;
    let grown = child.memory_peak() - before;
    assert!(grown < 128, "{grown} MiB for 4000 streams");
}

// --- Bombs ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_at_the_limit() {
    const INFLATED: usize = 128 << 20;
    let child = Child::start(CONFIG).await;
    let zeros = Bytes::from(vec![0; INFLATED]);
    let packed = |encoding| encode(encoding, 9, std::slice::from_ref(&zeros));
    let gzip = packed(Encoding::Gzip);
    let nested = encode(Encoding::Gzip, 9, std::slice::from_ref(&gzip));
    let members = encode(Encoding::Gzip, 9, &[Bytes::new()]).repeat(40_000);
    let mut claims = vec![0xff, 0xff, 0xff, 0xff, 0x0f];
    claims.extend_from_slice(&[0; 64]);
    let trailing = [
        &encode(Encoding::Gzip, 1, &[sample::logs(1).encode_to_vec().into()])[..],
        b"x",
    ]
    .concat();
    let snappy = packed(Encoding::SnappyBlock).slice(..1 << 19);
    let cases: Vec<(&str, &str, Bytes, u16)> = vec![
        ("gzip", "gzip", gzip, 413),
        ("deflate", "deflate", packed(Encoding::Deflate), 413),
        ("zstd", "zstd", packed(Encoding::Zstd), 413),
        ("lz4", "lz4", packed(Encoding::Lz4), 413),
        ("a snappy block, cut off", "snappy", snappy, 413),
        ("a snappy block that claims 4 GiB", "snappy", claims.into(), 413),
        ("gzip in gzip", "gzip", nested.clone(), 400),
        ("gzip twice by name", "gzip, gzip", nested, 400),
        ("members without number", "gzip", members.into(), 400),
        ("bytes behind the end", "gzip", trailing.into(), 400),
    ];
    let before = child.memory();
    let neighbour = Neighbour::of(&child);
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        for (what, encoding, body, status) in cases.clone() {
            let addr = child.http;
            clients.spawn(async move {
                assert!(body.len() <= 1 << 20, "{what}: {} bytes", body.len());
                let headers = [
                    ("content-type", "application/x-protobuf"),
                    ("content-encoding", encoding),
                ];
                let answer = client::post(addr, "/v1/logs", &headers, &body).await;
                assert_eq!(answer.status, status, "{what}: {}", answer.head);
                assert!(answer.header("retry-after").is_none(), "{what}");
            });
        }
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let grown = child.memory_peak() - before;
    assert!(grown < 96, "{grown} MiB for 80 bombs of 128 MiB");
    neighbour.was_served().await;
}

// --- Requests within requests ---

/// The statuses of all that a connection is answered, until the server closes it.
async fn statuses(child: &Child, bytes: &[u8]) -> Vec<u16> {
    let mut socket = TcpStream::connect(child.http).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let got = rest(&mut socket).await;
    let text = String::from_utf8_lossy(&got);
    let lines = text.split("HTTP/1.1 ").skip(1);
    lines.map(|line| line[..3].parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hides_a_request_in_another() {
    let child = Child::start(CONFIG).await;
    let good = {
        let body = sample::logs(1).encode_to_vec();
        let head = format!(
            "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), &body].concat()
    };
    // Two good ones in a row are both answered: that is what a hidden one would look like.
    assert_eq!(statuses(&child, &good.repeat(2)).await, [200, 200]);
    let post = |headers: &str, body: &str| {
        let head = format!(
            "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n{headers}\r\n{body}"
        );
        [head.as_bytes(), &good].concat()
    };
    let chunked = "transfer-encoding: chunked\r\n";
    let cases: Vec<(Vec<u8>, &[u16])> = vec![
        // Both framings: chunked counts, and nothing behind it is read.
        (
            post("content-length: 5\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
            &[200],
        ),
        (
            post("transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"),
            &[200],
        ),
        (
            post("content-length: 5\r\ncontent-length: 6\r\n", "aaaaa"),
            &[400],
        ),
        (post("content-length: 5, 6\r\n", "aaaaa"), &[400]),
        (post("content-length: +5\r\n", "aaaaa"), &[400]),
        (post("content-length: 0x5\r\n", "aaaaa"), &[400]),
        (post("content-length: -5\r\n", "aaaaa"), &[400]),
        (post("content-length: 99999999999999999999\r\n", ""), &[400]),
        (post("content-length: 5 5\r\n", "aaaaa"), &[400]),
        (post("transfer-encoding: identity\r\n", "aaaaa"), &[400]),
        (
            post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
            &[400],
        ),
        (post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"), &[400]),
        (post("transfer-encoding : chunked\r\n", "0\r\n\r\n"), &[400]),
        (post("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n"), &[400]),
        (post("x-folded: a\r\n b\r\ncontent-length: 0\r\n", ""), &[400]),
        (post("x-cr: a\rb\r\ncontent-length: 0\r\n", ""), &[400]),
        (post("x-nul: a\0b\r\ncontent-length: 0\r\n", ""), &[400]),
        (post("no colon\r\ncontent-length: 0\r\n", ""), &[400]),
        (post(chunked, "zz\r\naaaaa\r\n0\r\n\r\n"), &[400]),
        (post(chunked, "-1\r\na\r\n0\r\n\r\n"), &[400]),
        (post(chunked, "0x1\r\na\r\n0\r\n\r\n"), &[400]),
        (post(chunked, "1ffffffffffffffff\r\na\r\n0\r\n\r\n"), &[400]),
        (post(chunked, "fffffffffffffffff\r\na\r\n0\r\n\r\n"), &[400]),
        (post(chunked, "1\r\naa\r\n0\r\n\r\n"), &[400]),
        (
            post(chunked, &format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(40_000))),
            &[400],
        ),
        (
            [
                b"POST /v1/logs HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                &good[..],
            ]
            .concat(),
            &[400],
        ),
        ([b"POST /v1/logs HTTP/9.9\r\n\r\n", &good[..]].concat(), &[400]),
        ([b"\0\0\0\r\n\r\n", &good[..]].concat(), &[400]),
    ];
    for (bytes, expected) in cases {
        let got = statuses(&child, &bytes).await;
        assert_eq!(
            got,
            expected,
            "{}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(300)])
        );
    }
    assert_eq!(statuses(&child, &good).await, [200]);
}

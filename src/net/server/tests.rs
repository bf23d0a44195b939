//! Clients that behave badly, on raw sockets, and what the server lets them have.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::frames::HEADERS;
use super::*;

/// Answers at once with what came; `/wait` waits for a permit, `/big` answers more than any socket buffers, `/refuse`
/// reads nothing.
struct Toy {
    calls: AtomicUsize,
    gate: Semaphore,
    cut_off: Mutex<Vec<&'static str>>,
}

impl Toy {
    /// Waits until connections were cut off for these reasons, and forgets them.
    async fn has_cut_off(&self, expected: &[&'static str]) {
        let until = Instant::now() + Duration::from_secs(10);
        while self.cut_off.lock().len() < expected.len() && Instant::now() < until {
            tokio::task::yield_now().await;
        }
        let mut got = std::mem::take(&mut *self.cut_off.lock());
        got.sort_unstable();
        assert_eq!(got, expected);
    }
}

const BIG: usize = 32 << 20;

impl Service for Toy {
    fn call(self: Arc<Self>, request: http::Request<Incoming>, _: Peer) -> BoxFuture<http::Response<Body>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Relaxed);
            let (head, body) = request.into_parts();
            if head.uri.path() == "/wait" {
                self.gate.acquire().await.unwrap().forget();
            }
            if head.uri.path() == "/big" {
                return http::Response::new(Body::from(Bytes::from(vec![b'x'; BIG])));
            }
            if head.uri.path() == "/refuse" {
                let mut refused = http::Response::new(Body::from("too large"));
                *refused.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
                return refused;
            }
            let body = body.collect().await.map(|b| b.to_bytes());
            http::Response::new(Body::from(body.unwrap_or_default()))
        })
    }

    fn cut_off(&self, reason: &'static str) {
        self.cut_off.lock().push(reason);
    }
}

async fn serve(settings: Settings) -> (Server, Arc<Toy>) {
    let toy = Arc::new(Toy {
        calls: AtomicUsize::new(0),
        gate: Semaphore::new(0),
        cut_off: Mutex::default(),
    });
    let server = Server::bind("127.0.0.1:0", settings, toy.clone()).await.unwrap();
    (server, toy)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Until the other end closes; what it said.
async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let read = async {
        let mut buffer = [0; 65536];
        while let Ok(n) = socket.read(&mut buffer).await {
            if n == 0 {
                break;
            }
            got.extend_from_slice(&buffer[..n]);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .expect("the server closes");
    got
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.local_addr()).await.unwrap()
}

const POST: &[u8] = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nok";

/// One exchange on HTTP/1.1; panics unless it is answered as it should be.
async fn ask(socket: &mut TcpStream) {
    socket.write_all(POST).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\nok") {
        let mut byte = [0; 512];
        let n = socket.read(&mut byte).await.unwrap();
        assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&byte[..n]);
    }
    assert!(got.starts_with(b"HTTP/1.1 200 "));
}

// --- HTTP/2 by hand ---

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A POST's header block, nothing of it remembered.
fn block(path: &str) -> Vec<u8> {
    let mut out = vec![0x83, 0x86, 0x04, path.len() as u8];
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(&[0x01, 1, b'x']);
    out
}

async fn connect_h2(server: &Server, settings: &[u8]) -> TcpStream {
    let mut socket = connect(server).await;
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
    socket.write_all(&hello).await.unwrap();
    socket
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

/// Code and text of the last GOAWAY.
fn goodbye(bytes: &[u8]) -> Option<(u32, String)> {
    let (_, _, payload) = frames(bytes).into_iter().rfind(|f| f.0 == GOAWAY)?;
    let code = u32::from_be_bytes(payload[4..8].try_into().ok()?);
    Some((code, String::from_utf8_lossy(&payload[8..]).into_owned()))
}

fn calm(text: &str) -> Option<(u32, String)> {
    Some((11, text.to_owned()))
}

// --- Pings and floods ---

#[tokio::test]
async fn a_client_that_pings_too_often_is_told_so() {
    let pings = |min_interval, without_stream| Settings {
        ping_policy: Some(PingPolicy {
            min_interval,
            without_stream,
        }),
        ..Settings::default()
    };
    // Four at once: the first is free, and three strikes are one too many.
    let check = async |settings: Settings, pings: usize, expected: Option<(u32, String)>| {
        let (server, toy) = serve(settings).await;
        let mut socket = connect_h2(&server, &[]).await;
        for n in 0..pings {
            socket.write_all(&frame(PING, 0, 0, &[n as u8; 8])).await.unwrap();
        }
        socket.shutdown().await.unwrap();
        assert_eq!(goodbye(&rest(&mut socket).await), expected, "{pings}");
        let reasons: &[_] = if expected.is_some() {
            &["too_many_pings"]
        } else {
            &[]
        };
        toy.has_cut_off(reasons).await;
    };
    let hour = Duration::from_secs(3600);
    check(pings(hour, true), 3, None).await;
    check(pings(hour, true), 4, calm("too_many_pings")).await;
    check(pings(Duration::ZERO, false), 4, calm("too_many_pings")).await;
    check(pings(Duration::ZERO, true), 100, None).await;
    check(Settings::default(), 100, None).await;
}

#[tokio::test]
async fn frames_that_carry_nothing_end_the_connection_that_sends_them() {
    let (server, toy) = serve(Settings::default()).await;
    let window_update = frame(8, 0, 0, &[0, 0, 0, 1]);
    for flood in [
        frame(PING, 0, 0, &[0; 8]),
        frame(SETTINGS, 0, 0, &[]),
        frame(PING, 1, 0, &[0; 8]),
        window_update,
    ] {
        let mut socket = connect_h2(&server, &[]).await;
        let many = flood.repeat(3000);
        let _ = socket.write_all(&many).await;
        let got = rest(&mut socket).await;
        assert_eq!(goodbye(&got), calm("too_many_control_frames"), "{flood:?}");
        assert!(frames(&got).len() < 1100);
    }
    ask(&mut connect(&server).await).await;
    assert_eq!(toy.calls.load(Relaxed), 1);
    toy.has_cut_off(&["too_many_control_frames"; 4]).await;
}

#[tokio::test]
async fn streams_opened_to_be_reset_end_the_connection() {
    let (server, toy) = serve(Settings::default()).await;
    let mut socket = connect_h2(&server, &[]).await;
    let mut bytes = Vec::new();
    for n in 0..50_000u32 {
        bytes.extend_from_slice(&frame(HEADERS, END_HEADERS, 2 * n + 1, &block("/wait")));
        bytes.extend_from_slice(&frame(3, 0, 2 * n + 1, &[0, 0, 0, 8]));
    }
    let _ = socket.write_all(&bytes).await;
    let got = rest(&mut socket).await;
    if let Some((code, _)) = goodbye(&got) {
        assert_eq!(code, 11);
    }
    let calls = toy.calls.load(Relaxed);
    assert!(calls <= 501, "{calls} calls for streams that were reset");
    ask(&mut connect(&server).await).await;
}

// --- Slow ones ---

#[tokio::test]
async fn a_head_that_does_not_end_in_time_ends_the_connection() {
    let timeout = ms(150);
    let (server, toy) = serve(Settings {
        header_timeout: timeout,
        ..Settings::default()
    })
    .await;
    // A byte now and then helps nobody.
    let drip = async |mut socket: TcpStream, bytes: &[u8]| {
        let began = Instant::now();
        let (mut read, mut write) = socket.split();
        let sending = async {
            for byte in bytes.iter().cycle() {
                if write.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(ms(5)).await;
            }
        };
        let mut one = [0; 64];
        let ended = async { while read.read(&mut one).await.is_ok_and(|n| n > 0) {} };
        tokio::select! {
            () = sending => {}
            () = ended => {}
        }
        began.elapsed()
    };
    let check = |took: Duration| {
        assert!(took >= timeout && took < timeout * 20, "{took:?}");
    };
    check(drip(connect(&server).await, b"P").await);
    let mut second = connect(&server).await;
    ask(&mut second).await;
    tokio::time::sleep(timeout).await;
    ask(&mut second).await;
    check(
        drip(
            second,
            b"POST / HTTP/1.1\r\na: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        )
        .await,
    );
    // Headers of HTTP/2 that go on and never end, and half a frame.
    for bytes in [
        frame(HEADERS, 0, 1, &block("/")),
        frame(PING, 0, 0, &[0; 8])[..12].to_vec(),
    ] {
        let mut socket = connect_h2(&server, &[]).await;
        let began = Instant::now();
        socket.write_all(&bytes).await.unwrap();
        rest(&mut socket).await;
        check(began.elapsed());
    }
    assert_eq!(toy.calls.load(Relaxed), 2);
    toy.has_cut_off(&["slow_head"; 4]).await;
}

#[tokio::test]
async fn silence_before_the_first_request_ends_the_connection() {
    let (server, toy) = serve(Settings {
        header_timeout: ms(60),
        ..Settings::default()
    })
    .await;
    for first in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"GET"] {
        let mut socket = connect(&server).await;
        let began = Instant::now();
        socket.write_all(first).await.unwrap();
        assert_eq!(rest(&mut socket).await, b"");
        assert!(began.elapsed() >= ms(60));
    }
    toy.has_cut_off(&["slow_head"; 4]).await;
}

#[tokio::test]
async fn idle_connections_are_closed_and_busy_ones_are_not() {
    let (server, toy) = serve(Settings {
        idle_max: Some(ms(80)),
        ..Settings::default()
    })
    .await;
    let mut socket = connect(&server).await;
    ask(&mut socket).await;
    let began = Instant::now();
    assert_eq!(rest(&mut socket).await, b"");
    assert!(began.elapsed() >= ms(70));
    // HTTP/2: asked to go, without blame.
    let mut socket = connect_h2(&server, &[]).await;
    socket
        .write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block("/wait")))
        .await
        .unwrap();
    while toy.calls.load(Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    let waited = tokio::time::timeout(ms(300), async {
        let mut got = Vec::new();
        while goodbye(&got).is_none() {
            socket.read_buf(&mut got).await.unwrap();
        }
    });
    assert!(waited.await.is_err(), "a busy connection was asked to go");
    toy.gate.add_permits(1);
    let mut got = Vec::new();
    while goodbye(&got).is_none() {
        socket.read_buf(&mut got).await.unwrap();
    }
    assert_eq!(goodbye(&got), Some((0, String::new())));
    toy.has_cut_off(&[]).await;
}

#[tokio::test]
async fn answers_that_nobody_takes_end_the_connection() {
    let (server, toy) = serve(Settings {
        write_timeout: ms(100),
        ..Settings::default()
    })
    .await;
    // A window of nothing: the answer's body can never be sent.
    let mut socket = connect_h2(&server, &[0, 4, 0, 0, 0, 0]).await;
    for n in 0..200 {
        let stream = 2 * n + 1;
        socket
            .write_all(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block("/big")))
            .await
            .unwrap();
        if n == 3 {
            break;
        }
    }
    let began = Instant::now();
    let got = rest(&mut socket).await;
    assert!(began.elapsed() >= ms(90));
    let heads = frames(&got).iter().filter(|f| f.0 == HEADERS).count();
    let data = frames(&got).iter().filter(|f| f.0 == 0).count();
    assert_eq!((heads, data), (4, 0));
    toy.has_cut_off(&["answer_not_taken"]).await;
    // HTTP/1.1, and nobody reads.
    let mut socket = connect(&server).await;
    socket
        .write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    while toy.calls.load(Relaxed) < 5 {
        tokio::task::yield_now().await;
    }
    server.stop(Duration::from_secs(10)).await;
    let got = rest(&mut socket).await;
    assert!(got.len() < BIG, "took all of it");
    assert_eq!(toy.calls.load(Relaxed), 5);
    toy.has_cut_off(&["answer_not_taken"]).await;
}

#[tokio::test]
async fn refusals_are_heard_although_the_body_was_not_read() {
    let (server, _) = serve(Settings::default()).await;
    for _ in 0..20 {
        let mut socket = connect(&server).await;
        let head = format!(
            "POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            1 << 20
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        // All is sent before anything is read: a server that just closes resets, and its answer is lost.
        let _ = socket.write_all(&[0; 1 << 20]).await;
        let got = rest(&mut socket).await;
        assert!(
            got.starts_with(b"HTTP/1.1 413 "),
            "{:?}",
            String::from_utf8_lossy(&got)
        );
    }
}

// --- Too many ---

#[tokio::test]
async fn beyond_the_cap_idle_connections_make_room_and_busy_ones_do_not() {
    let (server, toy) = serve(Settings {
        connections_max: 3,
        ..Settings::default()
    })
    .await;
    let mut known = connect(&server).await;
    ask(&mut known).await;
    let mut strangers = Vec::new();
    for _ in 0..50 {
        strangers.push(connect(&server).await);
    }
    // Whoever has something to say is served, and who was served before stays.
    ask(&mut connect(&server).await).await;
    ask(&mut known).await;
    for stranger in strangers.iter_mut().take(40) {
        assert_eq!(rest(stranger).await, b"");
    }
    assert!(toy.cut_off.lock().iter().all(|reason| *reason == "no_room"));
    assert!(toy.cut_off.lock().len() >= 40);
    drop(strangers);
    // All busy: the next one waits.
    let wait = b"GET /wait HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut busy = Vec::new();
    for _ in 0..3 {
        let before = toy.calls.load(Relaxed);
        let mut socket = connect(&server).await;
        socket.write_all(wait).await.unwrap();
        while toy.calls.load(Relaxed) == before {
            tokio::task::yield_now().await;
        }
        busy.push(socket);
    }
    let mut next = connect(&server).await;
    next.write_all(POST).await.unwrap();
    let mut one = [0];
    let early = tokio::time::timeout(ms(50), next.read(&mut one)).await;
    assert!(early.is_err(), "served although all are busy");
    toy.gate.add_permits(3);
    for mut socket in busy {
        assert!(rest(&mut socket).await.starts_with(b"HTTP/1.1 200 "));
    }
    assert_eq!(next.read(&mut one).await.unwrap(), 1);
}

#[tokio::test]
async fn heads_have_a_size() {
    let (server, toy) = serve(Settings::default()).await;
    let mut socket = connect(&server).await;
    let big = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "a".repeat(70_000));
    let _ = socket.write_all(big.as_bytes()).await;
    let got = rest(&mut socket).await;
    assert!(
        got.starts_with(b"HTTP/1.1 431 "),
        "{:?}",
        String::from_utf8_lossy(&got)
    );
    // One entry of 4 KiB in HPACK's table, then named again and again: 80 KiB, then a bomb of 16 MiB in 8 KiB.
    let named = |times: usize| {
        let entry = [&block("/")[..], &[0x40, 1, b'a', 0x7f, 0x81, 0x1e], &[b'v'; 3968]].concat();
        [entry, vec![0xbe; times]].concat()
    };
    let mut socket = connect_h2(&server, &[]).await;
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &named(19));
    socket.write_all(&request).await.unwrap();
    let mut got = Vec::new();
    let head = loop {
        if let Some(head) = frames(&got).into_iter().find(|f| f.0 == HEADERS) {
            break head;
        }
        assert!(socket.read_buf(&mut got).await.unwrap() > 0, "{:?}", frames(&got));
    };
    assert_eq!(head.2[..5], [0x48, 0x83, 0x69, 0x90, 0xff], "431 in HPACK");
    let mut socket = connect_h2(&server, &[]).await;
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &named(4096));
    socket.write_all(&request).await.unwrap();
    let got = rest(&mut socket).await;
    assert_eq!(goodbye(&got), calm("header_list_way_too_large"));
    assert_eq!(toy.calls.load(Relaxed), 0);
}

#[tokio::test]
async fn requests_that_contradict_themselves_are_not_answered() {
    let (server, _) = serve(Settings::default()).await;
    // A content-length that the body does not keep, and headers that HTTP/2 has no place for.
    let named = |name: &str, value: &str| {
        let mut out = vec![0x00, name.len() as u8];
        out.extend_from_slice(name.as_bytes());
        out.push(value.len() as u8);
        out.extend_from_slice(value.as_bytes());
        out
    };
    for (extra, body) in [
        (named("content-length", "5"), &b"a"[..]),
        (named("content-length", "1"), b"aaaaa"),
        (named("content-length", "x"), b"a"),
        (
            [named("content-length", "1"), named("content-length", "2")].concat(),
            b"a",
        ),
        (named("transfer-encoding", "chunked"), b"0\r\n\r\n"),
        (named("connection", "keep-alive"), b"a"),
        (named("Upper", "a"), b"a"),
        (named("a b", "a"), b"a"),
        (named("a", "b\r\nc: d"), b"a"),
        (named(":path", "/again"), b"a"),
    ] {
        let mut socket = connect_h2(&server, &[]).await;
        let head = [block("/echo"), extra.clone()].concat();
        let request = [
            frame(HEADERS, END_HEADERS, 1, &head),
            frame(0, END_STREAM, 1, body),
        ];
        socket.write_all(&request.concat()).await.unwrap();
        // The stream is reset, or the connection ends; nothing of the body comes back.
        let mut got = Vec::new();
        let ended = |got: &[u8]| {
            frames(got)
                .iter()
                .any(|f| (f.0 == 3 && f.1 == 1) || f.0 == GOAWAY)
        };
        while !ended(&got) {
            let n = socket.read_buf(&mut got).await.unwrap_or(0);
            assert!(n > 0, "{:?}: {:?}", String::from_utf8_lossy(&extra), frames(&got));
        }
        let data = frames(&got).into_iter().any(|f| f.0 == 0 && !f.2.is_empty());
        assert!(!data, "{:?}: {:?}", String::from_utf8_lossy(&extra), frames(&got));
    }
}

#[tokio::test]
async fn headers_that_never_end_end_the_connection() {
    let (server, toy) = serve(Settings::default()).await;
    let mut socket = connect_h2(&server, &[]).await;
    let mut sent = 0;
    let mut next = frame(HEADERS, 0, 1, &block("/"));
    let part = [&[0x00, 1, b'a', 0x7f, 0x81, 0x7e][..], &[b'v'; 16_256]].concat();
    while socket.write_all(&next).await.is_ok() {
        sent += next.len();
        assert!(sent < 256 << 20, "headers without end");
        next = frame(9, 0, 1, &part);
    }
    let _ = rest(&mut socket).await;
    assert_eq!(toy.calls.load(Relaxed), 0);
    toy.has_cut_off(&["flood"]).await;
    ask(&mut connect(&server).await).await;
}

//! HTTP: what is kept and for how long, proxies, cookies, redirects.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use config::{MapList, Optional, Secret};
use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use wire::Context;

use super::{Names, Tunnels, read_head};
use crate::blocks::{Cookies, HttpClientConfig, HttpServerConfig};
use crate::client::{CallError, HttpClient, HttpReply, Means};
use crate::server::Server;
use crate::tests::{Echo, Pki};
use crate::tls::ClientTls;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A request as a peer saw it, on which of its connections.
#[derive(Debug)]
struct Seen {
    head: String,
    body: Vec<u8>,
    connection: usize,
}

/// A peer that answers each request on each connection with what `answer` says about it; an empty answer closes.
/// Requests wait until a permit is there.
struct Peer {
    addr: SocketAddr,
    seen: mpsc::Receiver<Seen>,
    open: Arc<AtomicUsize>,
    gate: Arc<tokio::sync::Semaphore>,
}

async fn peer(answer: impl Fn(&Seen) -> String + Send + Sync + 'static) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (tx, seen) = mpsc::channel(1000);
    let (open, gate) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(tokio::sync::Semaphore::new(1000)),
    );
    let (answer, theirs, gates) = (Arc::new(answer), open.clone(), gate.clone());
    tokio::spawn(async move {
        for connection in 0.. {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            let (tx, answer, open, gate) = (tx.clone(), answer.clone(), theirs.clone(), gates.clone());
            tokio::spawn(async move {
                open.fetch_add(1, Relaxed);
                serve(stream, connection, tx, &*answer, &gate).await;
                open.fetch_sub(1, Relaxed);
            });
        }
    });
    Peer {
        addr,
        seen,
        open,
        gate,
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    tx: mpsc::Sender<Seen>,
    answer: &(dyn Fn(&Seen) -> String + Send + Sync),
    gate: &tokio::sync::Semaphore,
) {
    loop {
        let head = read_head(&mut stream).await.to_ascii_lowercase();
        if head.is_empty() {
            return;
        }
        let len = head.lines().find_map(|l| l.strip_prefix("content-length: "));
        let mut body = vec![0; len.map_or(0, |l| l.parse().unwrap())];
        stream.read_exact(&mut body).await.unwrap();
        let request = Seen {
            head,
            body,
            connection,
        };
        let text = answer(&request);
        tx.send(request).await.unwrap();
        gate.acquire().await.unwrap().forget();
        if text.is_empty() {
            return;
        }
        stream.write_all(text.as_bytes()).await.unwrap();
    }
}

impl Peer {
    async fn next(&mut self) -> Seen {
        self.seen.recv().await.unwrap()
    }

    fn means(&self) -> Means {
        Names::of(&[self.addr]).means()
    }

    /// Until so many connections are open.
    async fn until_open(&self, expected: usize) {
        while self.open.load(Relaxed) != expected {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn client(config: &HttpClientConfig, means: Means) -> HttpClient {
    HttpClient::with(config, "Weir/1", Duration::from_secs(30), false, means).unwrap()
}

async fn post(client: &HttpClient, url: &str) -> Result<HttpReply, CallError> {
    let url: Uri = url.parse().unwrap();
    let body = vec![Bytes::from_static(b"some"), Bytes::from_static(b"thing")];
    client
        .post(&url, "text/plain", None, body, &Context::default())
        .await
}

const URL: &str = "http://backend.test/v1/logs?k=v";

#[tokio::test]
async fn sends_what_http_1_wants_and_takes_one_connection_for_all() {
    let mut peer = peer(|_| OK.into()).await;
    let client = client(&HttpClientConfig::default(), peer.means());
    for _ in 0..3 {
        let reply = post(&client, URL).await.unwrap();
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"ok"[..]));
        let seen = peer.next().await;
        assert_eq!((seen.connection, &seen.body[..]), (0, &b"something"[..]));
        assert!(
            seen.head.starts_with("post /v1/logs?k=v http/1.1\r\n"),
            "{}",
            seen.head
        );
        for line in [
            "host: backend.test\r\n",
            "content-length: 9\r\n",
            "user-agent: weir/1\r\n",
        ] {
            assert!(seen.head.contains(line), "{}", seen.head);
        }
        assert!(!seen.head.contains("connection:"), "{}", seen.head);
    }
}

#[tokio::test]
async fn a_host_header_of_the_user_is_sent_instead_of_ours() {
    let mut peer = peer(|_| OK.into()).await;
    let config = HttpClientConfig {
        headers: MapList(vec![("Host".into(), Secret::new("other.test".into()))]),
        ..HttpClientConfig::default()
    };
    post(&client(&config, peer.means()), URL).await.unwrap();
    let head = peer.next().await.head;
    assert!(
        head.contains("host: other.test\r\n") && !head.contains("backend.test"),
        "{head}"
    );
}

#[tokio::test]
async fn without_keep_alives_each_request_has_its_connection() {
    let mut peer = peer(|_| OK.into()).await;
    let config = HttpClientConfig {
        disable_keep_alives: true,
        ..HttpClientConfig::default()
    };
    let client = client(&config, peer.means());
    for connection in 0..3 {
        post(&client, URL).await.unwrap();
        let seen = peer.next().await;
        assert_eq!(seen.connection, connection);
        assert!(seen.head.contains("connection: close\r\n"), "{}", seen.head);
    }
    peer.until_open(0).await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_in_time() {
    let mut peer = peer(|_| OK.into()).await;
    let config = HttpClientConfig {
        idle_conn_timeout: config::Duration(Duration::from_secs(20)),
        ..HttpClientConfig::default()
    };
    let client = client(&config, peer.means());
    for (pause, connection) in [(0, 0), (19, 0), (19, 0), (21, 1)] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        post(&client, URL).await.unwrap();
        assert_eq!(peer.next().await.connection, connection, "after {pause} s");
    }
    peer.until_open(1).await;
    let began = tokio::time::Instant::now();
    peer.until_open(0).await;
    let took = began.elapsed().as_secs();
    assert!((19..=21).contains(&took), "closed after {took} s");
}

#[tokio::test]
async fn as_many_connections_are_kept_as_the_config_says() {
    let check = async |per_host: i64, in_all: i64, hosts: &[&str], expected: usize| {
        let mut peer = peer(|_| OK.into()).await;
        peer.gate.forget_permits(1000);
        let config = HttpClientConfig {
            max_idle_conns_per_host: per_host,
            max_idle_conns: in_all,
            ..HttpClientConfig::default()
        };
        let client = client(&config, peer.means());
        let mut posts = tokio::task::JoinSet::new();
        for i in 0..6 {
            let (client, url) = (client.clone(), format!("http://{}/", hosts[i % hosts.len()]));
            posts.spawn(async move { post(&client, &url).await });
        }
        for _ in 0..6 {
            peer.next().await;
        }
        peer.gate.add_permits(6);
        while let Some(reply) = posts.join_next().await {
            reply.unwrap().unwrap();
        }
        peer.until_open(expected).await;
    };
    check(0, 100, &["a.test"], 6).await;
    check(2, 100, &["a.test"], 2).await;
    check(2, 0, &["a.test", "b.test"], 4).await;
    check(0, 3, &["a.test", "b.test"], 3).await;
}

#[tokio::test]
async fn no_more_connections_than_max_conns_per_host() {
    let mut peer = peer(|_| OK.into()).await;
    peer.gate.forget_permits(1000);
    let config = HttpClientConfig {
        max_conns_per_host: 2,
        ..HttpClientConfig::default()
    };
    let client = client(&config, peer.means());
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        posts.spawn(async move { post(&client, URL).await });
    }
    for _ in 0..20 {
        let seen = peer.next().await;
        assert!(seen.connection < 2, "connection {}", seen.connection);
        peer.gate.add_permits(1);
    }
    while let Some(reply) = posts.join_next().await {
        reply.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_the_peer_closed_meanwhile_costs_nothing() {
    // Closes behind every answer, without a word.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_head(&mut stream).await;
            let mut body = [0; 9];
            stream.read_exact(&mut body).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    });
    let client = client(&HttpClientConfig::default(), Names::of(&[addr]).means());
    for _ in 0..20 {
        post(&client, URL).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_to_half_a_request_is_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stop = Arc::new(tokio::sync::Notify::new());
    let stopped = stop.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let answer = "HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stopped.notified().await;
    });
    let client = client(&HttpClientConfig::default(), Names::of(&[addr]).means());
    let body = vec![Bytes::from(vec![0; 64 << 20])];
    let url = URL.parse().unwrap();
    let reply = client
        .post(&url, "text/plain", None, body, &Context::default())
        .await;
    assert_eq!(reply.unwrap().status.as_u16(), 413);
    stop.notify_one();
}

#[tokio::test]
async fn a_proxy_is_told_the_whole_url() {
    let mut proxy = peer(|_| OK.into()).await;
    let names = Names::of(&[proxy.addr]);
    let from_environment = client(
        &HttpClientConfig::default(),
        names.behind("HTTP_PROXY", "http://u:p@proxy.test:3128"),
    );
    post(&from_environment, URL).await.unwrap();
    let head = proxy.next().await.head;
    assert!(
        head.starts_with("post http://backend.test/v1/logs?k=v http/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("host: backend.test\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: basic dtpw\r\n"), "{head}");
    // Which no other host is told.
    let direct = client(
        &HttpClientConfig::default(),
        names.behind("HTTPS_PROXY", "u:p@x.test:1"),
    );
    post(&direct, URL).await.unwrap();
    let head = proxy.next().await.head;
    assert!(
        head.starts_with("post /v1/logs?k=v http/1.1\r\n") && !head.contains("proxy-"),
        "{head}"
    );
    // The config outranks the environment, and has no exceptions.
    let config = HttpClientConfig {
        proxy_url: Secret::new(format!("http://{}", proxy.addr)),
        ..HttpClientConfig::default()
    };
    let means = Means {
        resolver: Arc::new(crate::resolve::System),
        ..names.behind("HTTP_PROXY", "u:p@x.test:1")
    };
    post(&client(&config, means), "http://127.0.0.1:1/x")
        .await
        .unwrap();
    let head = proxy.next().await.head;
    assert!(
        head.starts_with("post http://127.0.0.1:1/x http/1.1\r\n") && !head.contains("proxy-"),
        "{head}"
    );
}

async fn tls_echo(pki: &Pki) -> (Server, Arc<Echo>) {
    let config = HttpServerConfig {
        tls: Optional::Some(pki.server(false)),
        ..HttpServerConfig::default()
    };
    let echo = Arc::new(Echo::default());
    let server = Server::bind("127.0.0.1:0", config.settings().unwrap(), echo.clone()).await;
    (server.unwrap(), echo)
}

/// Distinct connections that calls came on.
fn connections(echo: &Echo) -> usize {
    let mut ports: Vec<_> = echo.peers.lock().iter().filter_map(|p| p.addr).collect();
    ports.sort();
    ports.dedup();
    ports.len()
}

#[tokio::test]
async fn https_goes_through_a_tunnel_on_one_http_2_connection() {
    let pki = Pki::new();
    let (server, echo) = tls_echo(&pki).await;
    let proxy = Tunnels::to(server.local_addr()).await;
    let names = Names::of(&[proxy.addr]);
    let config = HttpClientConfig {
        tls: ClientTls {
            server_name_override: "localhost".into(),
            ..pki.client(false)
        },
        ..HttpClientConfig::default()
    };
    let means = names.behind("https_proxy", "proxy.test:3128");
    let client = HttpClient::with(&config, "Weir/1", Duration::from_secs(30), true, means).unwrap();
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let client = client.clone();
        posts.spawn(async move { post(&client, "https://backend.test/x").await });
    }
    while let Some(reply) = posts.join_next().await {
        assert_eq!(&reply.unwrap().unwrap().body[..], b"not gRPC");
    }
    assert_eq!((echo.calls.load(Relaxed), connections(&echo)), (10, 1));
    assert_eq!(
        proxy.heads(),
        ["CONNECT backend.test:443 HTTP/1.1\r\nHost: backend.test:443\r\nUser-Agent: Weir/1\r\n\r\n"]
    );
}

#[tokio::test]
async fn a_proxy_may_itself_be_behind_tls() {
    // The proxy's own TLS ends in a task that hands plain bytes on to it.
    let pki = Pki::new();
    let mut proxy = peer(|_| OK.into()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let acceptor = pki.server(false).load(&[b"h2", b"http/1.1"]).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(acceptor.config().await);
    let inside = proxy.addr;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut plain = TcpStream::connect(inside).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
    });
    let config = HttpClientConfig {
        tls: pki.client(false),
        proxy_url: Secret::new("https://localhost:1".into()),
        ..HttpClientConfig::default()
    };
    let means = Names::of(&[addr]).means();
    let client = HttpClient::with(&config, "Weir/1", Duration::from_secs(30), true, means).unwrap();
    post(&client, URL).await.unwrap();
    assert!(
        proxy
            .next()
            .await
            .head
            .starts_with("post http://backend.test/v1/logs?k=v ")
    );
}

#[tokio::test]
async fn https_without_http_2_has_a_connection_for_each_request_at_a_time() {
    let pki = Pki::new();
    let (server, echo) = tls_echo(&pki).await;
    let names = Names::of(&[server.local_addr()]);
    let config = HttpClientConfig {
        tls: pki.client(false),
        force_attempt_http2: false,
        ..HttpClientConfig::default()
    };
    let client = HttpClient::with(&config, "Weir/1", Duration::from_secs(30), true, names.means()).unwrap();
    for _ in 0..5 {
        post(&client, "https://localhost/x").await.unwrap();
    }
    assert_eq!((echo.calls.load(Relaxed), connections(&echo)), (5, 1));
}

#[tokio::test]
async fn cookies_come_back_where_they_are_wanted() {
    for (cookies, expected) in [
        (Optional::None, ""),
        (Optional::Some(Cookies {}), "cookie: lb=one\r\n"),
    ] {
        let mut peer = peer(|_| {
            "HTTP/1.1 200 OK\r\nset-cookie: lb=one; Path=/; HttpOnly\r\ncontent-length: 0\r\n\r\n".into()
        })
        .await;
        let config = HttpClientConfig {
            cookies,
            ..HttpClientConfig::default()
        };
        let client = client(&config, peer.means());
        for line in ["", expected] {
            post(&client, URL).await.unwrap();
            let head = peer.next().await.head;
            let got = head.lines().find(|l| l.starts_with("cookie")).unwrap_or_default();
            assert_eq!(got, line.trim_end());
        }
    }
}

#[tokio::test]
async fn redirects_that_keep_the_request_are_followed_on_the_same_host() {
    let to = |status: u16, location: &str| {
        format!("HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
    };
    let mut peer = peer(move |seen| {
        let path = seen.head.split(' ').nth(1).unwrap_or_default();
        match path {
            "/a" => to(307, "/b?x"),
            "/b?x" => to(308, "http://backend.test/c"),
            "/c" => OK.into(),
            "/seen" => to(303, "/c"),
            "/away" => to(307, "http://other.test/c"),
            _ => to(307, "/loop"),
        }
    })
    .await;
    let client = client(&HttpClientConfig::default(), peer.means());
    assert_eq!(
        &post(&client, "http://backend.test/a").await.unwrap().body[..],
        b"ok"
    );
    for path in ["/a", "/b?x", "/c"] {
        let seen = peer.next().await;
        assert!(seen.head.starts_with(&format!("post {path} ")), "{}", seen.head);
        assert_eq!(seen.body, b"something");
    }
    let reply = post(&client, "http://backend.test/seen").await.unwrap();
    assert_eq!(reply.status.as_u16(), 303);
    let error = async |path: &str| {
        let url = format!("http://backend.test{path}");
        post(&client, &url).await.unwrap_err().to_string()
    };
    assert!(error("/away").await.contains("redirected to another host"));
    assert_eq!(error("/loop").await, "stopped after 10 redirects");
}

#[tokio::test(start_paused = true)]
async fn an_http_2_connection_is_closed_when_nobody_uses_it() {
    let pki = Pki::new();
    let (server, echo) = tls_echo(&pki).await;
    let config = HttpClientConfig {
        tls: pki.client(false),
        idle_conn_timeout: config::Duration(Duration::from_secs(20)),
        ..HttpClientConfig::default()
    };
    let means = Names::of(&[server.local_addr()]).means();
    let client = HttpClient::with(&config, "Weir/1", Duration::from_secs(30), true, means).unwrap();
    for (pause, expected) in [(0, 1), (19, 1), (19, 1), (41, 2)] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        post(&client, "https://localhost/x").await.unwrap();
        assert_eq!(connections(&echo), expected, "after {pause} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_http_2_peer_is_pinged_and_left() {
    let pki = Pki::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let acceptor = pki.server(false).load(&[b"h2"]).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(acceptor.config().await);
        let mut stream = acceptor.accept(stream).await.unwrap();
        // Empty SETTINGS, and not a word more.
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut sink = tokio::io::sink();
        let _ = tokio::io::copy(&mut stream, &mut sink).await;
    });
    let config = HttpClientConfig {
        tls: pki.client(false),
        timeout: Some(config::Duration(Duration::ZERO)),
        http2_read_idle_timeout: config::Duration(Duration::from_secs(30)),
        http2_ping_timeout: config::Duration(Duration::from_secs(4)),
        ..HttpClientConfig::default()
    };
    let means = Names::of(&[addr]).means();
    let client = HttpClient::with(&config, "Weir/1", Duration::from_secs(30), true, means).unwrap();
    let began = tokio::time::Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(600), post(&client, "https://localhost/x")).await;
    ended.expect("ended by the ping").unwrap_err();
    let took = began.elapsed().as_secs();
    assert!((34..=35).contains(&took), "{took} s");
}

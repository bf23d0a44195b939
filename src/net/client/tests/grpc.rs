//! gRPC: balancing, proxies, keepalive, names and certificates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use config::Optional;
use tokio::net::TcpListener;

use super::{Names, Tunnels, at, until};
use crate::blocks::{ClientKeepalive, GrpcClientConfig};
use crate::client::{GrpcClient, Means};
use crate::server::{Server, Settings};
use crate::tests::{Echo, Pki, call, insecure, tls_server};
use crate::tls::ClientTls;

const NAME: &str = "backend.test:4317";

async fn echo_at(address: SocketAddr) -> (Server, Arc<Echo>) {
    let echo = Arc::new(Echo::default());
    let server = Server::bind(&address.to_string(), Settings::default(), echo.clone()).await;
    (server.unwrap(), echo)
}

fn calls(echo: &Echo) -> usize {
    echo.calls.load(Relaxed)
}

fn client(config: &GrpcClientConfig, means: Means) -> GrpcClient {
    GrpcClient::with(config, "test", means).unwrap()
}

#[tokio::test]
async fn calls_go_round_all_addresses_and_around_those_that_are_down() {
    let (first, a) = echo_at(at([127, 0, 0, 1], 0)).await;
    let (_second, b) = echo_at(at([127, 0, 0, 1], 0)).await;
    let addresses = [first.local_addr(), _second.local_addr()];
    let client = client(&insecure(NAME), Names::of(&addresses).means());
    while calls(&a) < 3 || calls(&b) < 3 {
        assert_eq!(call(&client).await.unwrap(), "hello");
    }
    first.stop(Duration::ZERO).await;
    // Whoever was on the closing connection learns it; from then on the other serves alone.
    while call(&client).await.is_err() {}
    let before = calls(&b);
    for _ in 0..6 {
        assert_eq!(call(&client).await.unwrap(), "hello");
    }
    assert_eq!(calls(&b), before + 6);
    // Back on its address, it has its share again.
    let (_again, c) = echo_at(addresses[0]).await;
    while calls(&c) < 3 {
        assert_eq!(call(&client).await.unwrap(), "hello");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_looked_up_again_while_calls_are_made() {
    let (_first, a) = echo_at(at([127, 0, 0, 1], 0)).await;
    let (_second, b) = echo_at(at([127, 0, 0, 1], 0)).await;
    let names = Names::of(&[_first.local_addr()]);
    let client = client(&insecure(&format!("dns:///{NAME}")), names.means());
    assert_eq!((call(&client).await.unwrap(), names.asked()), ("hello".into(), 1));
    names.set(&[_second.local_addr()]);
    tokio::time::advance(Duration::from_secs(29)).await;
    call(&client).await.unwrap();
    assert_eq!((names.asked(), calls(&a), calls(&b)), (1, 2, 0));
    tokio::time::advance(Duration::from_secs(2)).await;
    // The call itself does not wait for the look-up.
    call(&client).await.unwrap();
    until(|| names.asked() == 2).await;
    while calls(&b) == 0 {
        call(&client).await.unwrap();
    }
    let before = calls(&a);
    for _ in 0..4 {
        call(&client).await.unwrap();
    }
    assert_eq!((calls(&a), names.asked()), (before, 2), "the old address is left");
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_makes_the_name_be_looked_up_soon() {
    let (first, _) = echo_at(at([127, 0, 0, 1], 0)).await;
    let (_second, b) = echo_at(at([127, 0, 0, 1], 0)).await;
    let (_third, c) = echo_at(at([127, 0, 0, 1], 0)).await;
    let names = Names::of(&[first.local_addr(), _second.local_addr()]);
    let client = client(&insecure(NAME), names.means());
    for _ in 0..4 {
        call(&client).await.unwrap();
    }
    assert_eq!(names.asked(), 1);
    names.set(&[_second.local_addr(), _third.local_addr()]);
    first.stop(Duration::ZERO).await;
    while call(&client).await.is_err() {}
    // Long before the 30 s of a quiet client.
    tokio::time::advance(Duration::from_secs(2)).await;
    let before = calls(&b);
    while calls(&c) == 0 {
        call(&client).await.unwrap();
    }
    assert!(names.asked() >= 2 && calls(&b) > before);
}

#[tokio::test]
async fn pick_first_stays_until_the_connection_is_lost() {
    let (first, a) = echo_at(at([127, 0, 0, 1], 0)).await;
    let (_second, b) = echo_at(at([127, 0, 0, 1], 0)).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let config = GrpcClientConfig {
        balancer_name: "pick_first".into(),
        ..insecure(NAME)
    };
    let names = Names::of(&[nobody, first.local_addr(), _second.local_addr()]);
    let client = client(&config, names.means());
    for _ in 0..5 {
        call(&client).await.unwrap();
    }
    assert_eq!((calls(&a), calls(&b)), (5, 0));
    first.stop(Duration::ZERO).await;
    while call(&client).await.is_err() {}
    assert!(calls(&b) > 0);
}

#[tokio::test(start_paused = true)]
async fn passthrough_looks_up_for_each_connection() {
    let (first, a) = echo_at(at([127, 0, 0, 1], 0)).await;
    let (_second, b) = echo_at(at([127, 0, 0, 1], 0)).await;
    let names = Names::of(&[first.local_addr(), _second.local_addr()]);
    let client = client(&insecure(&format!("passthrough:///{NAME}")), names.means());
    for _ in 0..4 {
        call(&client).await.unwrap();
    }
    assert_eq!((calls(&a), calls(&b), names.asked()), (4, 0, 1));
    first.stop(Duration::ZERO).await;
    while call(&client).await.is_err() {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!((calls(&b), names.asked() >= 2), (1, true));
}

#[tokio::test(start_paused = true)]
async fn wait_for_ready_waits_and_others_fail_fast() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let names = Names::of(&[address]);
    let impatient = client(&insecure(NAME), names.means());
    let error = call(&impatient).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot connect to {address}")),
        "{error}"
    );
    names.set(&[]);
    let config = GrpcClientConfig {
        wait_for_ready: true,
        ..insecure(NAME)
    };
    let patient = client(&config, names.means());
    let waiting = tokio::spawn(async move { call(&patient).await });
    // No address, then one that is dead, then one that answers.
    while names.asked() < 5 {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    names.set(&[address]);
    for _ in 0..20 {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let (_server, echo) = echo_at(address).await;
    assert_eq!(waiting.await.unwrap().unwrap(), "hello");
    assert_eq!(calls(&echo), 1);
}

#[tokio::test]
async fn proxies_of_the_environment_are_asked_for_a_tunnel() {
    let (server, echo) = echo_at(at([127, 0, 0, 1], 0)).await;
    let proxy = Tunnels::to(server.local_addr()).await;
    // The name is the proxy's to look up: ours knows only where the proxy is.
    let names = Names::of(&[proxy.addr]);
    let means = names.behind("https_proxy", "http://user:s3cret@proxy.test:3128");
    let ours = client(&insecure(NAME), means);
    assert_eq!(call(&ours).await.unwrap(), "hello");
    assert_eq!(
        proxy.heads(),
        [
            "CONNECT backend.test:4317 HTTP/1.1\r\nHost: backend.test:4317\r\nUser-Agent: test\r\n\
             Proxy-Authorization: Basic dXNlcjpzM2NyZXQ=\r\n\r\n"
        ]
    );
    // HTTP_PROXY does not concern gRPC, and a loopback address needs no proxy.
    let direct = Names::of(&[server.local_addr()]);
    let plain = client(
        &insecure(NAME),
        direct.behind("HTTP_PROXY", "http://nowhere.test:1"),
    );
    assert_eq!(call(&plain).await.unwrap(), "hello");
    let nowhere = direct.behind("HTTPS_PROXY", "http://nowhere.test:1");
    let local = client(&insecure(&server.local_addr().to_string()), nowhere);
    assert_eq!(call(&local).await.unwrap(), "hello");
    assert_eq!((proxy.heads().len(), calls(&echo)), (1, 3));
    let bad = names.behind("HTTPS_PROXY", "socks5://user:s3cret@proxy.test");
    let error = GrpcClient::with(&insecure(NAME), "test", bad).err().unwrap();
    assert_eq!(
        error,
        "HTTPS_PROXY: a socks5 proxy is not supported; use one that speaks HTTP"
    );
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_and_checks_the_far_end() {
    let pki = Pki::new();
    let (server, _) = tls_server(pki.server(false)).await;
    let proxy = Tunnels::to(server.local_addr()).await;
    let names = Names::of(&[proxy.addr]);
    let config = |name: &str| GrpcClientConfig {
        endpoint: NAME.into(),
        tls: ClientTls {
            server_name_override: name.into(),
            ..pki.client(false)
        },
        ..GrpcClientConfig::default()
    };
    let means = || names.behind("HTTPS_PROXY", "proxy.test:1");
    assert_eq!(
        call(&client(&config("localhost"), means())).await.unwrap(),
        "hello"
    );
    assert!(call(&client(&config(""), means())).await.is_err());
    assert_eq!(proxy.heads().len(), 2);
}

#[tokio::test]
async fn the_authority_is_what_the_config_says_and_names_the_certificate() {
    let check =
        async |endpoint: &str, authority: &str, name: &str, insecure: bool, expected: Result<&str, &str>| {
            let seen = Arc::new(parking_lot::Mutex::new(String::new()));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let pki = Pki::new();
            let acceptor = pki.server(false).load(&[b"h2"]).unwrap();
            let theirs = seen.clone();
            tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                if insecure {
                    note_authority(stream, &theirs).await;
                } else if let Ok(stream) = tokio_rustls::TlsAcceptor::from(acceptor.config().await)
                    .accept(stream)
                    .await
                {
                    note_authority(stream, &theirs).await;
                }
            });
            let config = GrpcClientConfig {
                endpoint: endpoint.into(),
                authority: authority.into(),
                tls: ClientTls {
                    insecure,
                    server_name_override: name.into(),
                    ..if insecure {
                        ClientTls::default()
                    } else {
                        pki.client(false)
                    }
                },
                ..GrpcClientConfig::default()
            };
            let got = match GrpcClient::with(&config, "test", Names::of(&[address]).means()) {
                Ok(client) => call(&client)
                    .await
                    .map_err(|e| e.to_string())
                    .map(|_| seen.lock().clone()),
                Err(error) => Err(error),
            };
            match expected {
                Ok(authority) => assert_eq!(got.as_deref(), Ok(authority), "{endpoint} {authority} {name}"),
                Err(words) => assert!(got.as_ref().is_err_and(|e| e.contains(words)), "{got:?}"),
            }
        };
    check(NAME, "", "", true, Ok(NAME)).await;
    check(NAME, "other.test", "", true, Ok("other.test")).await;
    check(NAME, "", "ignored.test", true, Ok(NAME)).await;
    check("localhost:1", "", "", false, Ok("localhost:1")).await;
    check(NAME, "", "", false, Err("certificate")).await;
    check(NAME, "", "localhost", false, Ok("localhost")).await;
    check(NAME, "localhost", "", false, Ok("localhost")).await;
    check(NAME, "localhost:9", "", false, Ok("localhost:9")).await;
    check(NAME, "a.test", "localhost", false, Err("must not differ")).await;
}

/// Answers one call, and keeps its `:authority`.
async fn note_authority<S>(stream: S, seen: &parking_lot::Mutex<String>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut h2 = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = h2.accept().await {
        *seen.lock() = request.uri().authority().unwrap().to_string();
        let head = http::Response::builder()
            .header("grpc-status", "0")
            .body(())
            .unwrap();
        respond.send_response(head, true).unwrap();
    }
}

#[tokio::test]
async fn certificates_are_read_again_when_they_are_due() {
    let pki = Pki::new();
    let (server, _) = tls_server(pki.server(true)).await;
    let port = server.local_addr().port();
    let config = |reload: Duration| GrpcClientConfig {
        endpoint: format!("localhost:{port}"),
        tls: ClientTls {
            reload_interval: config::Duration(reload),
            ..pki.client(true)
        },
        ..GrpcClientConfig::default()
    };
    let (eager, lazy) = (
        GrpcClient::new(&config(Duration::from_nanos(1)), "test").unwrap(),
        GrpcClient::new(&config(Duration::from_secs(3600)), "test").unwrap(),
    );
    // A stranger's certificate: whoever reads it now is not let in.
    let strangers = Pki::new();
    let good = std::fs::read(pki.file("client.pem")).unwrap();
    let key = std::fs::read(pki.file("client.key")).unwrap();
    std::fs::copy(strangers.file("client.pem"), pki.file("client.pem")).unwrap();
    std::fs::copy(strangers.file("client.key"), pki.file("client.key")).unwrap();
    assert!(call(&eager).await.is_err());
    assert_eq!(call(&lazy).await.unwrap(), "hello");
    std::fs::write(pki.file("client.pem"), good).unwrap();
    std::fs::write(pki.file("client.key"), key).unwrap();
    while call(&eager).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn certificates_that_cannot_be_used_change_nothing() {
    let pki = Pki::new();
    let tls = ClientTls {
        reload_interval: config::Duration(Duration::from_secs(60)),
        ..pki.client(true)
    };
    let reloading = tls.reloading(&[]).unwrap();
    let first = reloading.current().await;
    let key = std::fs::read(pki.file("client.key")).unwrap();
    std::fs::copy(Pki::new().file("client.key"), pki.file("client.key")).unwrap();
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(Arc::ptr_eq(&reloading.current().await, &first), "not due");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(Arc::ptr_eq(&reloading.current().await, &first), "half of a pair");
    std::fs::write(pki.file("client.key"), key).unwrap();
    assert!(Arc::ptr_eq(&reloading.current().await, &first), "not due");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(!Arc::ptr_eq(&reloading.current().await, &first));
}

/// A peer that accepts and never says a word after its settings; counts the pings that it leaves unanswered.
async fn mute(pings: Arc<AtomicUsize>) -> SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let pings = pings.clone();
            tokio::spawn(async move {
                // Empty SETTINGS, then the client's frames are read and thrown away.
                stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
                let mut preface = [0; 24];
                stream.read_exact(&mut preface).await.unwrap();
                let mut head = [0; 9];
                while stream.read_exact(&mut head).await.is_ok() {
                    let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                    let mut body = vec![0; len];
                    if stream.read_exact(&mut body).await.is_err() {
                        return;
                    }
                    const PING: u8 = 6;
                    if head[3] == PING && head[4] == 0 {
                        pings.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_left() {
    let pings = Arc::new(AtomicUsize::new(0));
    let address = mute(pings.clone()).await;
    let config = GrpcClientConfig {
        keepalive: Optional::Some(ClientKeepalive {
            time: config::Duration(Duration::from_secs(30)),
            timeout: config::Duration(Duration::from_secs(5)),
            permit_without_stream: false,
        }),
        ..insecure(NAME)
    };
    let client = client(&config, Names::of(&[address]).means());
    let began = tokio::time::Instant::now();
    let error = tokio::time::timeout(Duration::from_secs(600), call(&client)).await;
    let error = error.expect("ended by the ping").unwrap_err();
    let took = began.elapsed().as_secs();
    assert!((35..=36).contains(&took), "{took} s: {error}");
    assert_eq!(pings.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_pinged_only_where_that_is_permitted() {
    for (permit_without_stream, expected) in [(false, 0), (true, 3)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pings = Arc::new(AtomicUsize::new(0));
        let theirs = pings.clone();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = CountsPings {
                stream,
                pings: theirs,
            };
            let mut h2 = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = h2.accept().await {
                let head = http::Response::builder()
                    .header("grpc-status", "0")
                    .body(())
                    .unwrap();
                respond.send_response(head, true).unwrap();
            }
        });
        let config = GrpcClientConfig {
            keepalive: Optional::Some(ClientKeepalive {
                // Below the floor: every 10 s.
                time: config::Duration(Duration::from_secs(1)),
                permit_without_stream,
                ..ClientKeepalive::default()
            }),
            ..insecure(NAME)
        };
        let client = client(&config, Names::of(&[address]).means());
        assert_eq!(call(&client).await.unwrap(), Bytes::new());
        tokio::time::sleep(Duration::from_secs(35)).await;
        assert_eq!(pings.load(Relaxed), expected);
        assert_eq!(call(&client).await.unwrap(), Bytes::new());
    }
}

/// Counts the PING frames that a client writes, each of which comes in a write of its own.
struct CountsPings {
    stream: tokio::net::TcpStream,
    pings: Arc<AtomicUsize>,
}

impl tokio::io::AsyncRead for CountsPings {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = std::pin::Pin::new(&mut self.stream).poll_read(cx, buf);
        // Length 8, type 6, no flags.
        if buf.filled()[before..].starts_with(&[0, 0, 8, 6, 0]) {
            self.pings.fetch_add(1, Relaxed);
        }
        polled
    }
}

impl tokio::io::AsyncWrite for CountsPings {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn each_key_of_tls_has_its_effect() {
    let pki = Pki::new();
    let (server, _) = tls_server(pki.server(false)).await;
    let (mutual, _) = tls_server(pki.server(true)).await;
    let text = |name: &str| std::fs::read_to_string(pki.file(name)).unwrap();
    let secret = |name: &str| config::Secret::new(text(name));
    let check = async |server: &Server, tls: ClientTls, expected: bool| {
        let config = GrpcClientConfig {
            endpoint: format!("localhost:{}", server.local_addr().port()),
            tls,
            ..GrpcClientConfig::default()
        };
        let client = GrpcClient::new(&config, "test").unwrap();
        let got = call(&client).await;
        assert_eq!(got.is_ok(), expected, "{:?} {got:?}", config.tls);
    };
    let good = || pki.client(false);
    let all = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    check(&server, good(), true).await;
    let in_line = ClientTls {
        ca_pem: secret("ca.pem"),
        ..ClientTls::default()
    };
    check(&server, in_line.clone(), true).await;
    // Beside the system's authorities, not instead of them.
    let both = ClientTls {
        include_system_ca_certs_pool: true,
        ..in_line
    };
    check(&server, both.clone(), true).await;
    // An authority turns TLS on in spite of `insecure`.
    let insecure = ClientTls {
        insecure: true,
        ..good()
    };
    check(&server, insecure, true).await;
    let identity = ClientTls {
        cert_pem: secret("client.pem"),
        key_pem: secret("client.key"),
        ..good()
    };
    check(&mutual, identity, true).await;
    check(&mutual, good(), false).await;
    for (min, max, suites, curves, expected) in [
        ("1.3", "", &[][..], &[][..], true),
        (
            "",
            "1.2",
            &["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"][..],
            &["P256"][..],
            true,
        ),
        // The server's key is for ECDSA.
        (
            "",
            "1.2",
            &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"][..],
            &[][..],
            false,
        ),
        ("", "", &[][..], &["X25519MLKEM768"][..], true),
    ] {
        let tls = ClientTls {
            min_version: min.into(),
            max_version: max.into(),
            cipher_suites: all(suites),
            curve_preferences: all(curves),
            ..good()
        };
        check(&server, tls, expected).await;
    }
}

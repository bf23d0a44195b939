//! Servers and clients against each other: TLS, unix sockets, ages, balancing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use config::Optional;
use http::uri::PathAndQuery;
use http::{Request, Response};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use crate::blocks::{GrpcClientConfig, GrpcServerConfig, HttpClientConfig, HttpServerConfig};
use crate::client::{CallError, GrpcClient, HttpClient};
use crate::grpc;
use crate::server::{Body, BoxFuture, Incoming, Peer, Server, Service, Settings, Transport};
use crate::tls::{ClientTls, ServerTls};

/// Answers every unary call with the message that it got; counts connections by their peers.
#[derive(Default)]
pub(crate) struct Echo {
    pub(crate) calls: AtomicUsize,
    pub(crate) peers: parking_lot::Mutex<Vec<Peer>>,
}

impl Service for Echo {
    fn call(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> BoxFuture<Response<Body>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Relaxed);
            self.peers.lock().push(peer);
            let mut body = request.into_body();
            match grpc::read_unary(&mut body, 1 << 20, |_| true).await {
                Ok(messages) => grpc::ok(&messages[0].bytes),
                Err(_) => Response::new(Body::from("not gRPC")),
            }
        })
    }
}

pub(crate) const PATH: PathAndQuery = PathAndQuery::from_static("/a.B/C");

pub(crate) async fn call(client: &GrpcClient) -> Result<Bytes, CallError> {
    Ok(client
        .unary(&PATH, None, &["hello".into()], &wire::Context::default())
        .await?
        .message)
}

pub(crate) fn insecure(endpoint: &str) -> GrpcClientConfig {
    GrpcClientConfig {
        endpoint: endpoint.into(),
        tls: ClientTls {
            insecure: true,
            ..ClientTls::default()
        },
        ..GrpcClientConfig::default()
    }
}

/// A CA, a server's certificate for `localhost`, and a client's, as PEM files.
pub(crate) struct Pki {
    pub(crate) dir: tempfile::TempDir,
}

impl Pki {
    pub(crate) fn new() -> Pki {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        for (name, usage) in [
            ("server", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &ca).unwrap();
            std::fs::write(dir.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Pki { dir }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn server(&self, clients: bool) -> ServerTls {
        ServerTls {
            cert_file: self.file("server.pem"),
            key_file: self.file("server.key"),
            client_ca_file: if clients {
                self.file("ca.pem")
            } else {
                String::new()
            },
            ..ServerTls::default()
        }
    }

    pub(crate) fn client(&self, with_certificate: bool) -> ClientTls {
        let own = |name: &str| {
            if with_certificate {
                self.file(name)
            } else {
                String::new()
            }
        };
        ClientTls {
            ca_file: self.file("ca.pem"),
            cert_file: own("client.pem"),
            key_file: own("client.key"),
            ..ClientTls::default()
        }
    }
}

pub(crate) async fn tls_server(tls: ServerTls) -> (Server, Arc<Echo>) {
    let config = GrpcServerConfig {
        tls: Optional::Some(tls),
        ..GrpcServerConfig::default()
    };
    let echo = Arc::new(Echo::default());
    let server = Server::bind("127.0.0.1:0", config.settings().unwrap(), echo.clone())
        .await
        .unwrap();
    (server, echo)
}

fn tls_client(port: u16, tls: ClientTls) -> GrpcClient {
    let config = GrpcClientConfig {
        endpoint: format!("localhost:{port}"),
        tls,
        ..GrpcClientConfig::default()
    };
    GrpcClient::new(&config, "test").unwrap()
}

#[tokio::test]
async fn grpc_over_tls_checks_both_ends() {
    let pki = Pki::new();
    let (server, echo) = tls_server(pki.server(false)).await;
    let port = server.local_addr().port();
    assert_eq!(call(&tls_client(port, pki.client(false))).await.unwrap(), "hello");
    assert!(echo.peers.lock().iter().all(|p| p.tls));
    // A stranger's CA, unless nobody is to be checked.
    let strangers = Pki::new();
    assert!(call(&tls_client(port, strangers.client(false))).await.is_err());
    let trusting = ClientTls {
        insecure_skip_verify: true,
        ..strangers.client(false)
    };
    assert_eq!(call(&tls_client(port, trusting)).await.unwrap(), "hello");
    let other_name = ClientTls {
        server_name_override: "other".into(),
        ..pki.client(false)
    };
    assert!(call(&tls_client(port, other_name)).await.is_err());

    let (server, _) = tls_server(pki.server(true)).await;
    let port = server.local_addr().port();
    assert!(call(&tls_client(port, pki.client(false))).await.is_err());
    assert_eq!(call(&tls_client(port, pki.client(true))).await.unwrap(), "hello");
    let old = ServerTls {
        max_version: "1.2".into(),
        ..pki.server(false)
    };
    let (server, _) = tls_server(old).await;
    let port = server.local_addr().port();
    assert_eq!(call(&tls_client(port, pki.client(false))).await.unwrap(), "hello");
    let new = ClientTls {
        min_version: "1.3".into(),
        ..pki.client(false)
    };
    assert!(call(&tls_client(port, new)).await.is_err());
}

#[tokio::test]
async fn http_over_tls_posts_to_either_version() {
    let pki = Pki::new();
    let config = HttpServerConfig {
        tls: Optional::Some(pki.server(false)),
        ..HttpServerConfig::default()
    };
    let echo = Arc::new(Echo::default());
    let server = Server::bind("localhost:0", config.settings().unwrap(), echo.clone())
        .await
        .unwrap();
    for force_attempt_http2 in [true, false] {
        let config = HttpClientConfig {
            tls: pki.client(false),
            force_attempt_http2,
            ..HttpClientConfig::default()
        };
        let client = HttpClient::new(&config, "test", Duration::from_secs(5), true).unwrap();
        let uri = format!("https://localhost:{}/x", server.local_addr().port())
            .parse()
            .unwrap();
        let reply = client
            .post(
                &uri,
                "text/plain",
                None,
                vec!["no".into(), "thing".into()],
                &wire::Context::default(),
            )
            .await
            .unwrap();
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"not gRPC"[..]));
    }
    assert_eq!(echo.calls.load(Relaxed), 2);
}

#[test]
fn certificates_that_cannot_be_read_are_named() {
    let pki = Pki::new();
    let check = |tls: ServerTls, expected: &str| {
        let error = tls.load(&[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(
        ServerTls {
            cert_file: "/no/such.pem".into(),
            ..pki.server(false)
        },
        "/no/such.pem",
    );
    check(
        ServerTls {
            cert_file: pki.file("server.key"),
            ..pki.server(false)
        },
        "holds no certificate",
    );
    check(
        ServerTls {
            key_file: pki.file("client.key"),
            ..pki.server(false)
        },
        "server certificate",
    );
}

#[tokio::test]
async fn serves_unix_sockets_and_removes_them() {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("s.sock");
    let settings = Settings {
        transport: Transport::Unix,
        ..Settings::default()
    };
    // Left over from a process that died.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = Server::bind(
        path.to_str().unwrap(),
        settings.clone(),
        Arc::new(Echo::default()),
    )
    .await
    .unwrap();
    let client = GrpcClient::new(&insecure(&format!("unix://{}", path.display())), "test").unwrap();
    assert_eq!(call(&client).await.unwrap(), "hello");
    // One that somebody answers on is not taken over.
    assert!(
        Server::bind(path.to_str().unwrap(), settings, Arc::new(Echo::default()))
            .await
            .is_err()
    );
    server.stop(Duration::from_secs(5)).await;
    assert!(!path.exists());
    assert!(call(&client).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn old_connections_are_told_to_go_and_clients_come_again() {
    let settings = Settings {
        age_max: Some(Duration::from_secs(60)),
        ..Settings::default()
    };
    let echo = Arc::new(Echo::default());
    let server = Server::bind("127.0.0.1:0", settings, echo.clone()).await.unwrap();
    let client = GrpcClient::new(&insecure(&server.local_addr().to_string()), "test").unwrap();
    for _ in 0..3 {
        assert_eq!(call(&client).await.unwrap(), "hello");
        assert_eq!(call(&client).await.unwrap(), "hello");
        tokio::time::advance(Duration::from_secs(70)).await;
        // Until the connection has gone.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    let mut ports: Vec<u16> = echo
        .peers
        .lock()
        .iter()
        .filter_map(|p| p.addr)
        .map(|a| a.port())
        .collect();
    ports.dedup();
    assert_eq!((echo.calls.load(Relaxed), ports.len()), (6, 3));
}

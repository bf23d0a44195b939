//! Servers: one listener that speaks HTTP/1.1 and HTTP/2 (prior knowledge, or ALPN under TLS) to one [`Service`].
//!
//! What a peer can make us hold is bounded: connections, streams, header bytes, time until the first request line.
//! Bodies are bounded by the service that reads them. `stop` says GOAWAY, waits for what is in flight, then closes.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

pub use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

pub use crate::body::Body;

/// A future in a box that owns what it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// One request, one answer. The future is dropped when the client goes away.
    fn call(self: Arc<Self>, request: http::Request<Incoming>, peer: Peer)
    -> BoxFuture<http::Response<Body>>;
}

/// The other end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address; none for unix sockets.
    pub addr: Option<SocketAddr>,
    /// The connection is encrypted.
    pub tls: bool,
    /// The certificate that it showed and that was verified.
    pub certificate: Option<Arc<rustls::pki_types::CertificateDer<'static>>>,
}

/// How a server listens.
#[derive(Clone, Debug)]
pub struct Settings {
    /// TCP or a unix socket.
    pub transport: Transport,
    /// Encrypts; its ALPN list must hold `h2` for gRPC.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// HTTP/2 streams open at once on a connection.
    pub streams_max: u32,
    /// Connections open at once; further ones wait in the kernel.
    pub connections_max: usize,
    /// From accepting a connection, or from the last answer on HTTP/1.1, to the end of the next request's head.
    pub header_timeout: Duration,
    /// HTTP/1.1 connections are used again.
    pub keep_alive: bool,
    /// HTTP/2 pings: after how long without a sign of life, and how long to wait for the answer.
    pub ping: Option<(Duration, Duration)>,
    /// A connection is asked to close (GOAWAY) at this age, give or take a tenth.
    pub age_max: Option<Duration>,
    /// How long requests in flight may take after that.
    pub age_grace: Option<Duration>,
}

/// What a listener binds to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Either address family.
    #[default]
    Tcp,
    /// IPv4 only.
    Tcp4,
    /// IPv6 only.
    Tcp6,
    /// A path.
    Unix,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            transport: Transport::Tcp,
            tls: None,
            streams_max: 1024,
            connections_max: 16_384,
            // SDKs read metrics every 60 s: shorter, and their kept connection closes just when they use it.
            header_timeout: Duration::from_secs(75),
            keep_alive: true,
            ping: Some((Duration::from_secs(7200), Duration::from_secs(20))),
            age_max: None,
            age_grace: None,
        }
    }
}

/// A listener that serves until it is stopped. Dropping it stops it at once.
pub struct Server {
    addr: SocketAddr,
    phase: watch::Sender<Phase>,
    connections: Arc<Semaphore>,
    connections_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    Closed,
}

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const FRAME_SIZE_MAX: u32 = 1 << 20;
const HEADER_LIST_MAX: u32 = 16 << 10;
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Length of HTTP/2's preface: until that much has come, nobody knows what a connection will speak.
const PREFACE_LEN: usize = 24;

impl Server {
    /// Binds (`host:port`, `:port`, or a path for unix sockets) and serves from then on.
    pub async fn bind(endpoint: &str, settings: Settings, service: Arc<dyn Service>) -> io::Result<Server> {
        let connections_max = settings
            .connections_max
            .clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let (listener, addr) = listen(endpoint, settings.transport).await?;
        let (phase, watched) = watch::channel(Phase::Serving);
        let connections = Arc::new(Semaphore::new(connections_max));
        let shared = Arc::new(Shared {
            http: http_builder(&settings),
            settings,
            service,
        });
        tokio::spawn(accept(listener, shared, connections.clone(), watched));
        Ok(Server {
            addr,
            phase,
            connections,
            connections_max,
        })
    }

    /// Where it listens: the port that was given for port 0. Unspecified for unix sockets.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no new connection, says GOAWAY on those there are, waits at most `grace` for requests in flight, and
    /// closes what is left. Safe to call twice.
    pub async fn stop(&self, grace: Duration) {
        self.phase.send_if_modified(|p| {
            let first = *p == Phase::Serving;
            *p = (*p).max(Phase::Draining);
            first
        });
        let all = self.connections_max as u32;
        let gone = tokio::time::timeout(grace, self.connections.acquire_many(all)).await;
        self.phase.send_replace(Phase::Closed);
        if gone.is_err() {
            let _ = self.connections.acquire_many(all).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Closed);
    }
}

struct Shared {
    http: auto::Builder<TokioExecutor>,
    settings: Settings,
    service: Arc<dyn Service>,
}

fn http_builder(settings: &Settings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .keep_alive(settings.keep_alive)
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .max_concurrent_streams(settings.streams_max);
    if let Some((interval, timeout)) = settings.ping {
        builder
            .http2()
            .keep_alive_interval(interval)
            .keep_alive_timeout(timeout);
    }
    builder
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, std::path::PathBuf),
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn listen(endpoint: &str, transport: Transport) -> io::Result<(Listener, SocketAddr)> {
    if transport == Transport::Unix {
        let path = std::path::PathBuf::from(endpoint);
        // A socket that nobody answers on is left over from a process that died.
        if path.exists() && UnixStream::connect(&path).await.is_err() {
            std::fs::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        return Ok((
            Listener::Unix(listener, path),
            SocketAddr::from(([0, 0, 0, 0], 0)),
        ));
    }
    let mut failure = io::Error::new(io::ErrorKind::InvalidInput, format!("no address for {endpoint}"));
    for addr in crate::resolve::listen_addresses(endpoint, transport).await? {
        match TcpListener::bind(addr).await {
            Ok(listener) => {
                let addr = listener.local_addr()?;
                return Ok((Listener::Tcp(listener), addr));
            }
            Err(e) => failure = io::Error::new(e.kind(), format!("listen tcp {addr}: {e}")),
        }
    }
    Err(failure)
}

async fn accept(
    listener: Listener,
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
    mut phase: watch::Receiver<Phase>,
) {
    loop {
        let next = async {
            let permit = connections.clone().acquire_owned().await;
            let stream = match &listener {
                Listener::Tcp(l) => l.accept().await.map(|(s, a)| (Stream::Tcp(s), Some(a))),
                Listener::Unix(l, _) => l.accept().await.map(|(s, _)| (Stream::Unix(s), None)),
            };
            (permit, stream)
        };
        let (permit, stream) = tokio::select! {
            _ = phase.wait_for(|p| *p > Phase::Serving) => return,
            next = next => next,
        };
        let Ok(permit) = permit else { return };
        match stream {
            Ok((stream, addr)) => {
                if let Stream::Tcp(s) = &stream {
                    let _ = s.set_nodelay(true);
                }
                tokio::spawn(connection(stream, addr, shared.clone(), permit, phase.clone()));
            }
            Err(error) => {
                // Too many open files, or a connection that was gone before we took it.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: Stream,
    addr: Option<SocketAddr>,
    shared: Arc<Shared>,
    permit: OwnedSemaphorePermit,
    mut phase: watch::Receiver<Phase>,
) {
    let settings = &shared.settings;
    let io = match &settings.tls {
        None => Io::Plain(stream),
        Some(config) => {
            let handshake = TlsAcceptor::from(config.clone()).accept(stream);
            match tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => Io::Tls(Box::new(stream)),
                Ok(Err(error)) => return debug!(?addr, %error, "TLS handshake failed"),
                Err(_) => return debug!(?addr, "TLS handshake took too long"),
            }
        }
    };
    let certificate = match &io {
        Io::Tls(stream) => stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first()),
        Io::Plain(_) => None,
    };
    let certificate = certificate.map(|c| Arc::new(c.clone()));
    let io = Impatient {
        io,
        seen: 0,
        patience: Some(Box::pin(tokio::time::sleep(settings.header_timeout))),
    };
    let peer = Peer {
        addr,
        tls: settings.tls.is_some(),
        certificate,
    };
    let service = Adapter {
        service: shared.service.clone(),
        peer,
    };
    let mut conn = std::pin::pin!(shared.http.serve_connection(TokioIo::new(io), service));
    // Whether GOAWAY was said, and when the connection is closed whatever it does.
    let mut draining = false;
    let mut close_at: Option<Instant> = None;
    let mut old_at = settings.age_max.map(|age| Instant::now() + jittered(age));
    loop {
        let timer = async {
            match if draining { close_at } else { old_at } {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ended = conn.as_mut() => {
                if let Err(error) = ended {
                    debug!(?addr, %error, "connection ended");
                }
                break;
            }
            changed = phase.changed() => {
                if changed.is_err() || *phase.borrow() == Phase::Closed {
                    break;
                }
                draining = true;
                close_at = None;
                conn.as_mut().graceful_shutdown();
            }
            () = timer => {
                if draining {
                    break;
                }
                draining = true;
                old_at = None;
                close_at = settings.age_grace.map(|grace| Instant::now() + grace);
                conn.as_mut().graceful_shutdown();
            }
        }
    }
    drop(permit);
}

/// Give or take a tenth, so that connections opened together do not close together.
fn jittered(age: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let tenth = age / 10;
    let random = RandomState::new().hash_one(0u8) % 2001;
    age - tenth + tenth.mul_f64(random as f64 / 1000.0)
}

struct Adapter {
    service: Arc<dyn Service>,
    peer: Peer,
}

impl hyper::service::Service<http::Request<Incoming>> for Adapter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: http::Request<Incoming>) -> Answer {
        Answer(self.service.clone().call(request, self.peer.clone()))
    }
}

struct Answer(BoxFuture<http::Response<Body>>);

impl Future for Answer {
    type Output = Result<http::Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

// --- Streams ---

/// An accepted socket.
#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

enum Io {
    Plain(Stream),
    Tls(Box<tokio_rustls::server::TlsStream<Stream>>),
}

/// Fails when a peer has not sent as much as HTTP/2's preface (or a short HTTP/1.1 head) in time; hyper's own timer
/// begins only after that.
struct Impatient {
    io: Io,
    seen: usize,
    patience: Option<Pin<Box<Sleep>>>,
}

macro_rules! delegate {
    ($type:ty, $($variant:path),+) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(s) => Pin::new(s).poll_read(cx, buf),)+
                }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($variant(s) => Pin::new(s).poll_write(cx, buf),)+
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($variant(s) => Pin::new(s).poll_write_vectored(cx, bufs),)+
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $($variant(s) => s.is_write_vectored(),)+
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(s) => Pin::new(s).poll_flush(cx),)+
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(s) => Pin::new(s).poll_shutdown(cx),)+
                }
            }
        }
    };
}

delegate!(Stream, Stream::Tcp, Stream::Unix);
delegate!(Io, Io::Plain, Io::Tls);

impl AsyncRead for Impatient {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        let Some(patience) = &mut this.patience else {
            return polled;
        };
        this.seen += buf.filled().len() - before;
        if this.seen >= PREFACE_LEN {
            this.patience = None;
        } else if polled.is_pending() && patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

//! Servers: one listener that speaks HTTP/1.1 and HTTP/2 (prior knowledge, or ALPN under TLS) to one [`Service`].
//!
//! What a peer can make us hold is bounded: connections, streams, header bytes, the time for a head to come and for an
//! answer to be taken, frames that carry nothing. Bodies are bounded by the service that reads them. Where all
//! connections are in use, the one that was asked least lately makes room. `stop` says GOAWAY, waits for what is in
//! flight, then closes.

mod connection;
mod frames;
mod listener;
mod pulse;
mod stream;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, watch};
use tracing::warn;

pub use self::frames::PingPolicy;
use self::listener::Acceptor;
pub use self::listener::{Listener, WeakListener};
pub(crate) use self::pulse::Call;
use self::pulse::Pulse;
use self::stream::Stream;
pub use crate::body::Body;
use crate::tls;

/// A future in a box that owns what it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// One request, one answer. The future is dropped when the client goes away.
    fn call(self: Arc<Self>, request: http::Request<Incoming>, peer: Peer)
    -> BoxFuture<http::Response<Body>>;

    /// Told of each connection that was ended for what its client did, or left undone: `slow_handshake`, `slow_head`,
    /// `answer_not_taken`, `too_many_pings`, `too_many_resets`, `too_many_control_frames`, `flood` (HTTP/2's own
    /// limits); or `no_room`.
    fn cut_off(&self, _reason: &'static str) {}
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
    /// The names in that.
    pub names: Option<Arc<wire::CertificateNames>>,
    /// On a unix socket: the user that it runs as.
    pub uid: Option<u32>,
}

/// How a server listens.
#[derive(Clone, Debug)]
pub struct Settings {
    /// TCP or a unix socket.
    pub transport: Transport,
    /// Permissions of a unix socket, from its first moment on; `None` = as the process's umask has it.
    pub unix_mode: Option<u32>,
    /// Encrypts; its ALPN list must hold `h2` for gRPC.
    pub tls: Option<Arc<tls::Acceptor>>,
    /// HTTP/2 streams open at once on a connection.
    pub streams_max: u32,
    /// Connections open at once. Beyond them one without a request in flight is closed, or new ones wait.
    pub connections_max: usize,
    /// For what a client sends in one go: a connection's first bytes, a request's head, an HTTP/2 frame but DATA.
    pub header_timeout: Duration,
    /// For a client to take an answer that is there.
    pub write_timeout: Duration,
    /// A connection without a request in flight is asked to close after that long.
    pub idle_max: Option<Duration>,
    /// HTTP/1.1 connections are used again.
    pub keep_alive: bool,
    /// HTTP/2 pings: after how long without a sign of life, and how long to wait for the answer.
    pub ping: Option<(Duration, Duration)>,
    /// How often a client may ping on HTTP/2; more often, and it gets GOAWAY `too_many_pings`. `None` = as it likes.
    pub ping_policy: Option<PingPolicy>,
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
            unix_mode: None,
            tls: None,
            streams_max: 1024,
            connections_max: connections_max(),
            header_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            // SDKs read metrics every 60 s: shorter, and their kept connection closes just when they use it.
            idle_max: Some(Duration::from_secs(75)),
            keep_alive: true,
            ping: Some((Duration::from_secs(7200), Duration::from_secs(20))),
            ping_policy: None,
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
/// Of headers in all: tokens with many groups in them pass 16 KiB.
const HEADER_LIST_MAX: u32 = 64 << 10;
const HTTP1_HEAD_MAX: usize = 64 << 10;
const CONNECTIONS_MAX: usize = 16_384;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Server {
    /// Binds (`host:port`, `:port`, or a path for unix sockets) and serves from then on.
    pub async fn bind(endpoint: &str, settings: Settings, service: Arc<dyn Service>) -> io::Result<Server> {
        let listener = Listener::bind(endpoint, settings.transport, settings.unix_mode).await?;
        Server::serve(&listener, settings, service)
    }

    /// Serves what comes to a socket from then on. It stays open at least as long as this server accepts.
    ///
    /// Errors: there is no further file descriptor.
    pub fn serve(listener: &Listener, settings: Settings, service: Arc<dyn Service>) -> io::Result<Server> {
        let connections_max = settings
            .connections_max
            .clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let (addr, acceptor) = (listener.local_addr(), listener.acceptor()?);
        let (phase, watched) = watch::channel(Phase::Serving);
        let connections = Arc::new(Semaphore::new(connections_max));
        let shared = Arc::new(Shared {
            http1: http1_builder(&settings),
            http2: http2_builder(&settings),
            settings,
            service,
            pulses: Mutex::default(),
        });
        tokio::spawn(accept(acceptor, shared, connections.clone(), watched));
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
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    settings: Settings,
    service: Arc<dyn Service>,
    /// Of all connections, by their number.
    pulses: Mutex<HashMap<u64, Arc<Pulse>>>,
}

impl Shared {
    /// Closes the connection that is the least missed; false if all have work to do.
    fn make_room(&self) -> bool {
        let pulses = self.pulses.lock();
        let ranked = pulses.values().filter_map(|pulse| Some((pulse.rank()?, pulse)));
        let least = ranked.min_by_key(|(rank, _)| *rank);
        least.inspect(|(_, pulse)| pulse.evict()).is_some()
    }
}

fn http1_builder(settings: &Settings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Ours begins with the first byte of a head, not with the wait for it.
        .header_read_timeout(None)
        .max_header_size(HTTP1_HEAD_MAX)
        .keep_alive(settings.keep_alive)
        .half_close(true);
    builder
}

fn http2_builder(settings: &Settings) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .max_concurrent_streams(settings.streams_max);
    if let Some((interval, timeout)) = settings.ping {
        builder.keep_alive_interval(interval).keep_alive_timeout(timeout);
    }
    builder
}

/// A quarter of the files that this process may open is left to others.
fn connections_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 4 * 3).map_or(CONNECTIONS_MAX, |files| files.clamp(1, CONNECTIONS_MAX))
}

/// Lets this process open as many files as it is allowed to ask for, as Go programs do: systems start them with 1024.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        // Where that is refused, the number of connections is what the lower one bears.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

async fn accept(
    acceptor: Acceptor,
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut number = 0;
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            _ = phase.wait_for(|p| *p > Phase::Serving) => return,
            accepted = acceptor.accept() => accepted,
        };
        let (stream, addr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files, or a connection that was gone before we took it.
                let room = shared.make_room();
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, room, "cannot accept a connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failing = false;
        let permit = match connections.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                shared.make_room();
                tokio::select! {
                    _ = phase.wait_for(|p| *p > Phase::Serving) => return,
                    permit = connections.clone().acquire_owned() => match permit {
                        Ok(permit) => permit,
                        Err(_) => return,
                    },
                }
            }
        };
        if let Stream::Tcp(s) = &stream {
            let _ = s.set_nodelay(true);
        }
        number += 1;
        let pulse = Pulse::new();
        shared.pulses.lock().insert(number, pulse.clone());
        let (shared, phase) = (shared.clone(), phase.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = pulse.evicted.notified() => pulse.cut_off("no_room"),
                () = connection::serve(stream, addr, &shared, &pulse, phase) => {}
            }
            if let Some(reason) = pulse.reason() {
                tracing::debug!(?addr, reason, "connection was cut off");
                shared.service.cut_off(reason);
            }
            shared.pulses.lock().remove(&number);
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests;

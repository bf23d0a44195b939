//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::pulse::{Call, Due, Pulse};
use super::stream::{Io, NOT_TAKEN, Stream, Version, Wire};
use super::{Body, BoxFuture, Peer, Phase, Service, Settings, Shared};

const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const SLOW_HANDSHAKE: &str = "slow_handshake";
const FLOOD: &str = "flood";
/// For a client that is just writing a request to a server that stops: it cannot know yet. Over HTTP/1.1 nobody says
/// GOAWAY, so an idle connection waits that long, and is closed with the next answer. A client on a busy machine may
/// need some time between connecting and its first byte.
const LINGER: Duration = Duration::from_secs(1);
/// For a client to close a connection on which nothing is in flight, once it was asked to.
const IDLE_GRACE: Duration = Duration::from_secs(10);

/// Serves until the client goes, the server stops, or time is up. Dropping it closes the connection.
pub(super) async fn serve(
    stream: Stream,
    addr: Option<SocketAddr>,
    shared: &Shared,
    pulse: &Arc<Pulse>,
    phase: watch::Receiver<Phase>,
) {
    let settings = &shared.settings;
    let mut early = phase.clone();
    let leaving = async {
        let _ = early.wait_for(|p| *p > Phase::Serving).await;
        let _ = tokio::time::timeout(LINGER, early.wait_for(|p| *p == Phase::Closed)).await;
    };
    // In this order: bytes that came in time are read, however late this task is.
    let opened = tokio::select! {
        biased;
        opened = open(stream, addr, settings, pulse) => opened,
        () = leaving => return,
    };
    let Some((wire, version, peer)) = opened else {
        return;
    };
    let service = Adapter {
        service: shared.service.clone(),
        peer,
        pulse: pulse.clone(),
        leaving: (version == Version::Http1).then(|| phase.clone()),
    };
    let linger = match version {
        Version::Http1 => LINGER,
        Version::Http2 => Duration::ZERO,
    };
    let io = TokioIo::new(wire);
    let ended = match version {
        Version::Http1 => {
            drive(
                shared.http1.serve_connection(io, service),
                settings,
                pulse,
                phase,
                linger,
            )
            .await
        }
        Version::Http2 => {
            drive(
                shared.http2.serve_connection(io, service),
                settings,
                pulse,
                phase,
                linger,
            )
            .await
        }
    };
    if let Err(error) = ended {
        // h2 has limits of its own.
        let source = std::error::Error::source(&error).and_then(|e| e.downcast_ref::<h2::Error>());
        if source.and_then(h2::Error::reason) == Some(h2::Reason::ENHANCE_YOUR_CALM) {
            pulse.cut_off(FLOOD);
        }
        debug!(?addr, %error, "connection ended");
    }
}

/// TLS where it is wanted, then as many bytes as it takes to know the protocol.
async fn open(
    stream: Stream,
    addr: Option<SocketAddr>,
    settings: &Settings,
    pulse: &Arc<Pulse>,
) -> Option<(Wire, Version, Peer)> {
    let uid = match &stream {
        Stream::Unix(stream) => stream.peer_cred().ok().map(|cred| cred.uid()),
        Stream::Tcp(_) => None,
    };
    let io = match &settings.tls {
        None => Io::Plain(stream),
        Some(tls) => {
            let handshake = async { TlsAcceptor::from(tls.config().await).accept(stream).await };
            match tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => Io::Tls(Box::new(stream)),
                Ok(Err(error)) => {
                    debug!(?addr, %error, "TLS handshake failed");
                    return None;
                }
                Err(_) => {
                    pulse.cut_off(SLOW_HANDSHAKE);
                    return None;
                }
            }
        }
    };
    let certificate = match &io {
        Io::Tls(stream) => {
            let chain = stream.get_ref().1.peer_certificates();
            chain.and_then(|chain| chain.first())
        }
        Io::Plain(_) => None,
    };
    let peer = Peer {
        addr,
        tls: settings.tls.is_some(),
        certificate: certificate.map(|c| Arc::new(c.clone())),
        names: certificate.and_then(crate::tls::names_of).map(Arc::new),
        uid,
    };
    let mut wire = Wire::new(io, pulse.clone(), settings.header_timeout, settings.write_timeout);
    match wire.version(settings.ping_policy).await {
        Ok(version) => Some((wire, version, peer)),
        Err(error) => {
            debug!(?addr, %error, "connection ended before its first request");
            None
        }
    }
}

/// Runs a connection and keeps its times: age, idleness, answers that are not taken.
async fn drive<C: GracefulConnection<Error = hyper::Error>>(
    conn: C,
    settings: &Settings,
    pulse: &Pulse,
    mut phase: watch::Receiver<Phase>,
    linger: Duration,
) -> Result<(), hyper::Error> {
    let mut conn = std::pin::pin!(conn);
    // Whether GOAWAY was said, and when the connection is closed whatever it does.
    let mut draining = false;
    let mut was_idle = false;
    let mut close_at: Option<Instant> = None;
    // When an idle connection of a server that stops is closed.
    let mut shut_at: Option<Instant> = None;
    let mut old_at = settings.age_max.map(|age| Instant::now() + jittered(age));
    loop {
        let idle_max = settings.idle_max.filter(|_| !draining);
        let due = pulse.due(idle_max, settings.write_timeout);
        let now = Instant::now();
        let over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let next = match due {
            Due::Stuck => {
                pulse.cut_off(NOT_TAKEN);
                return Ok(());
            }
            Due::Idle => {
                (draining, was_idle) = (true, true);
                close_at = Some(now + IDLE_GRACE);
                conn.as_mut().graceful_shutdown();
                continue;
            }
            // A request that came just then has its time.
            Due::Later(_) if draining && over(close_at) && was_idle && !pulse.is_idle() => {
                close_at = Some(now + IDLE_GRACE);
                continue;
            }
            Due::Later(_) if draining && over(close_at) => return Ok(()),
            Due::Later(_) if !draining && over(old_at) => {
                draining = true;
                close_at = settings.age_grace.map(|grace| now + grace);
                conn.as_mut().graceful_shutdown();
                continue;
            }
            Due::Later(at) => {
                let other = if draining { close_at } else { old_at };
                other.map_or(at, |other| other.min(at))
            }
        };
        tokio::select! {
            biased;
            ended = conn.as_mut() => return ended,
            changed = phase.changed() => {
                if changed.is_err() || *phase.borrow() == Phase::Closed {
                    return Ok(());
                }
                draining = true;
                close_at = None;
                old_at = None;
                if !linger.is_zero() && pulse.is_idle() {
                    shut_at = Some(Instant::now() + linger);
                } else {
                    conn.as_mut().graceful_shutdown();
                }
            }
            () = sleep_until(shut_at.map_or(next, |at| at.min(next))) => {
                if shut_at.is_some_and(|at| at <= Instant::now()) {
                    shut_at = None;
                    conn.as_mut().graceful_shutdown();
                }
            }
        }
    }
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
    pulse: Arc<Pulse>,
    /// Says in answers that the connection will close; `None` where the protocol says so itself.
    leaving: Option<watch::Receiver<Phase>>,
}

impl hyper::service::Service<http::Request<Incoming>> for Adapter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: http::Request<Incoming>) -> Answer {
        let call = Call::begin(&self.pulse);
        Answer {
            future: self.service.clone().call(request, self.peer.clone()),
            call: Some(call),
            leaving: self.leaving.clone(),
        }
    }
}

/// An answer to come. Its call ends with the last byte of its body, or when it is dropped.
struct Answer {
    future: BoxFuture<http::Response<Body>>,
    call: Option<Call>,
    leaving: Option<watch::Receiver<Phase>>,
}

impl Future for Answer {
    type Output = Result<http::Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = std::task::ready!(self.future.as_mut().poll(cx));
        if self
            .leaving
            .as_ref()
            .is_some_and(|phase| *phase.borrow() > Phase::Serving)
        {
            let close = http::HeaderValue::from_static("close");
            response.headers_mut().insert(http::header::CONNECTION, close);
        }
        Poll::Ready(Ok(match self.call.take() {
            Some(mut call) => {
                call.answered(response.status().as_u16() >= 400);
                response.map(|body| body.with_call(call))
            }
            None => response,
        }))
    }
}

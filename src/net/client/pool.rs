//! HTTP connections that are kept: HTTP/1.1 ones one request at a time, one HTTP/2 connection for many.
//!
//! A request takes the connection that was used last, else makes one. How many are kept, for how long, and how many
//! there may be is confighttp's to say; a connection that was given back is closed by a task that lives as long as there
//! is something to close.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::debug;

use super::dial::{self, CONNECT_TIMEOUT, Stream};
use super::{BoxError, CallError, Means};
use crate::body::Body;
use crate::proxy::Proxy;
use crate::resolve::host_port;
use crate::tls::Reloading;

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Largest head of an answer, HTTP/1.1 and HTTP/2.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How long a connection whose answer is read may take to be ready for the next request before nobody waits for it.
const READY_SOON: Duration = Duration::from_millis(2);

/// How connections are made and kept.
pub(super) struct Settings {
    /// Connections serve more than one request.
    pub(super) keeps: bool,
    /// Kept in all; `None` = any number.
    pub(super) idle_max: Option<usize>,
    /// Kept for each host.
    pub(super) idle_per_host_max: usize,
    /// Open at once for each host, in use or kept; `None` = any number.
    pub(super) per_host_max: Option<usize>,
    /// How long a connection is kept; `None` = as long as the peer likes.
    pub(super) idle_for: Option<Duration>,
    /// Pings on HTTP/2: after how long without a byte, and how long the answer may take.
    pub(super) ping: Option<(Duration, Duration)>,
    /// For `https`; offers HTTP/2 if that is wanted.
    pub(super) tls: Option<Reloading>,
    pub(super) offers_http2: bool,
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) means: Means,
    pub(super) agent: String,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) tls: bool,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// All connections of one client.
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    settings: Settings,
    hosts: Mutex<HashMap<Origin, Host>>,
    /// A task closes what was kept too long.
    sweeping: AtomicBool,
}

struct Host {
    /// The last one was given back last.
    idle: Vec<Idle>,
    http2: Option<Multiplexed>,
    /// It once agreed to HTTP/1.1 although HTTP/2 was offered.
    speaks_http1: bool,
    room: Option<Arc<Semaphore>>,
    /// Held by whoever finds out what the host speaks.
    asking: Arc<tokio::sync::Mutex<()>>,
}

struct Idle {
    sender: http1::SendRequest<Body>,
    since: Instant,
}

struct Multiplexed {
    sender: http2::SendRequest<Body>,
    /// One more than the requests that hold it.
    users: Arc<()>,
    used: Instant,
}

/// A connection for one request.
pub(super) struct Lease {
    pub(super) sender: Sender,
    /// It has served before, so the peer may have closed it meanwhile.
    pub(super) used: bool,
    /// Requests name the whole URL, and carry this.
    pub(super) proxy: Option<Proxy>,
    room: Option<OwnedSemaphorePermit>,
}

pub(super) enum Sender {
    Http1(http1::SendRequest<Body>),
    /// Its second half counts as a user.
    Http2(
        http2::SendRequest<Body>,
        #[expect(dead_code, reason = "counted")] Arc<()>,
    ),
}

impl Pool {
    pub(super) fn new(settings: Settings) -> Pool {
        Pool(Arc::new(Shared {
            settings,
            hosts: Mutex::default(),
            sweeping: AtomicBool::new(false),
        }))
    }

    /// A connection to send one request on. Waits for room where `max_conns_per_host` says so.
    pub(super) async fn lease(&self, origin: &Origin) -> Result<Lease, BoxError> {
        let shared = &self.0;
        let proxy = shared.proxy(origin)?.filter(|_| !origin.tls).cloned();
        if let Some(sender) = shared.multiplexed(origin) {
            return Ok(Lease::new(sender, true, proxy, None));
        }
        let (room, asking) = shared.host(origin, |host| (host.room.clone(), host.asking.clone()));
        let room = match room {
            Some(room) => Some(room.acquire_owned().await?),
            None => None,
        };
        if let Some(sender) = shared.idle(origin) {
            return Ok(Lease::new(Sender::Http1(sender), true, proxy, room));
        }
        // Whether one connection will do for all is known after the first: the others wait for it.
        let is_open = || shared.may_multiplex(origin) && !shared.host(origin, |host| host.speaks_http1);
        let _asking = match is_open() {
            true => Some(asking.lock().await).filter(|_| is_open()),
            false => None,
        };
        if let Some(sender) = shared.multiplexed(origin) {
            return Ok(Lease::new(sender, true, proxy, None));
        }
        let made = tokio::time::timeout(CONNECT_TIMEOUT, shared.connect(origin)).await;
        let sender = made.map_err(|_| "connecting took too long")??;
        if let Sender::Http2(..) = sender {
            return Ok(Lease::new(sender, false, proxy, None));
        }
        shared.host(origin, |host| host.speaks_http1 = true);
        Ok(Lease::new(sender, false, proxy, room))
    }

    /// Keeps a connection whose answer was read to its end, unless it is closing.
    ///
    /// Where the peer answered before it had read all of the request, a task waits for the rest to go out.
    pub(super) async fn give_back(&self, origin: &Origin, lease: Lease) {
        let mut sender = match lease.sender {
            Sender::Http1(sender) if self.0.settings.keeps => sender,
            Sender::Http1(_) => return,
            Sender::Http2(..) => {
                return self.0.host(origin, |host| {
                    if let Some(http2) = &mut host.http2 {
                        http2.used = Instant::now();
                    }
                });
            }
        };
        // Held until the connection is kept, so that no more are made than may be.
        let room = lease.room;
        match tokio::time::timeout(READY_SOON, sender.ready()).await {
            Ok(Ok(())) => self.0.keep(origin, sender),
            Ok(Err(_)) => {}
            Err(_) => {
                let (shared, origin) = (self.0.clone(), origin.clone());
                tokio::spawn(async move {
                    if let Ok(Ok(())) = tokio::time::timeout(CONNECT_TIMEOUT, sender.ready()).await {
                        shared.keep(&origin, sender);
                    }
                    drop(room);
                });
            }
        }
    }
}

impl Origin {
    /// The host in lower case, and the port that the scheme has unless another is given.
    pub(super) fn of(uri: &Uri) -> Result<Origin, CallError> {
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => {
                return Err(CallError::transport(
                    "the URL must begin with http:// or https://",
                ));
            }
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(CallError::transport("the URL has no host"));
        }
        Ok(Origin {
            tls,
            host: host.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        })
    }

    /// What `Host` says.
    pub(super) fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) if self.host.contains(':') => format!("[{}]", self.host),
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => host_port(&self.host, port),
        }
    }
}

impl Sender {
    /// One request. The error holds it if nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        match self {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender, _) => sender.try_send_request(request).await,
        }
    }
}

impl Lease {
    fn new(sender: Sender, used: bool, proxy: Option<Proxy>, room: Option<OwnedSemaphorePermit>) -> Lease {
        Lease {
            sender,
            used,
            proxy,
            room,
        }
    }
}

impl Shared {
    fn host<T>(&self, origin: &Origin, see: impl FnOnce(&mut Host) -> T) -> T {
        let mut hosts = self.hosts.lock();
        if !hosts.contains_key(origin) {
            let room = self.settings.per_host_max.map(|n| Arc::new(Semaphore::new(n)));
            let host = Host {
                idle: Vec::new(),
                http2: None,
                speaks_http1: false,
                room,
                asking: Arc::default(),
            };
            hosts.insert(origin.clone(), host);
        }
        see(hosts.get_mut(origin).expect("it is there by now"))
    }

    fn proxy(&self, origin: &Origin) -> Result<Option<&Proxy>, String> {
        let proxies = &self.settings.means.proxies;
        proxies.before(origin.tls, &origin.host, origin.port)
    }

    fn may_multiplex(&self, origin: &Origin) -> bool {
        origin.tls && self.settings.offers_http2 && self.settings.keeps
    }

    fn multiplexed(&self, origin: &Origin) -> Option<Sender> {
        self.host(origin, |host| {
            let http2 = host.http2.as_mut()?;
            if http2.sender.is_closed() {
                host.http2 = None;
                return None;
            }
            http2.used = Instant::now();
            Some(Sender::Http2(http2.sender.clone(), http2.users.clone()))
        })
    }

    fn idle(&self, origin: &Origin) -> Option<http1::SendRequest<Body>> {
        let idle_for = self.settings.idle_for;
        self.host(origin, |host| {
            while let Some(idle) = host.idle.pop() {
                let fresh = idle_for.is_none_or(|most| idle.since.elapsed() < most);
                if fresh && !idle.sender.is_closed() {
                    return Some(idle.sender);
                }
            }
            None
        })
    }

    fn keep(self: &Arc<Shared>, origin: &Origin, sender: http1::SendRequest<Body>) {
        let since = Instant::now();
        self.host(origin, |host| {
            host.idle.retain(|idle| !idle.sender.is_closed());
            host.idle.push(Idle { sender, since });
            if host.idle.len() > self.settings.idle_per_host_max {
                host.idle.remove(0);
            }
        });
        if let Some(most) = self.settings.idle_max {
            let mut hosts = self.hosts.lock();
            if hosts.values().map(|host| host.idle.len()).sum::<usize>() > most {
                let oldest = hosts.values_mut().filter(|host| !host.idle.is_empty());
                if let Some(host) = oldest.min_by_key(|host| host.idle[0].since) {
                    host.idle.remove(0);
                }
            }
        }
        self.sweep_later();
    }

    /// Sees to it that what is kept is closed in time.
    fn sweep_later(self: &Arc<Shared>) {
        let Some(idle_for) = self.settings.idle_for else {
            return;
        };
        if self.sweeping.swap(true, Relaxed) {
            return;
        }
        let shared = Arc::downgrade(self);
        // Ends when nothing is kept any more, at the latest after the client.
        tokio::spawn(async move {
            let mut wake_at = Instant::now() + idle_for;
            loop {
                tokio::time::sleep_until(wake_at).await;
                match Weak::upgrade(&shared).and_then(|shared| shared.sweep(idle_for)) {
                    Some(next) => wake_at = next,
                    None => return,
                }
            }
        });
    }

    /// Closes what was kept too long; says when to look again.
    fn sweep(&self, idle_for: Duration) -> Option<Instant> {
        let now = Instant::now();
        let mut hosts = self.hosts.lock();
        let mut next: Option<Instant> = None;
        for host in hosts.values_mut() {
            host.idle
                .retain(|idle| idle.since + idle_for > now && !idle.sender.is_closed());
            let unused = |http2: &mut Multiplexed| {
                if Arc::strong_count(&http2.users) > 1 {
                    http2.used = now;
                }
                http2.sender.is_closed() || http2.used + idle_for <= now
            };
            host.http2.take_if(unused);
            let kept = host.idle.first().map(|idle| idle.since);
            for since in kept
                .into_iter()
                .chain(host.http2.as_ref().map(|http2| http2.used))
            {
                let due = since + idle_for;
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        if next.is_none() {
            // Under the lock, so that whoever keeps one next starts a new task.
            self.sweeping.store(false, Relaxed);
        }
        next
    }

    async fn connect(self: &Arc<Shared>, origin: &Origin) -> Result<Sender, BoxError> {
        let settings = &self.settings;
        let resolver = &*settings.means.resolver;
        let tls = match &settings.tls {
            Some(tls) => Some(tls.current().await),
            None if origin.tls => return Err("no certificates were read for https".into()),
            None => None,
        };
        let stream: Stream = match self.proxy(origin)? {
            Some(proxy) => {
                let stream = dial::to_proxy(resolver, proxy, tls.as_ref()).await?;
                match origin.tls {
                    true => dial::tunnel(stream, proxy, &origin.host, origin.port, &settings.agent).await?,
                    false => stream,
                }
            }
            None => Box::new(dial::to_name(resolver, &origin.host, origin.port).await?),
        };
        let Some(config) = tls.filter(|_| origin.tls) else {
            return http1_over(stream).await;
        };
        let name = match &settings.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(origin.host.clone()).map_err(|e| format!("server name: {e}"))?,
        };
        let stream = dial::secure(stream, config, name).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return http1_over(Box::new(stream)).await;
        }
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_BYTES_MAX as u32);
        if let Some((every, timeout)) = settings.ping {
            builder
                .keep_alive_interval(every)
                .keep_alive_timeout(timeout)
                .keep_alive_while_idle(true);
        }
        let (sender, connection) = builder
            .handshake(TokioIo::new(Box::new(stream) as Stream))
            .await?;
        // Ends when the connection does, at the latest when no sender is left.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "connection ended");
            }
        });
        let users = Arc::new(());
        if !settings.keeps {
            return Ok(Sender::Http2(sender, users));
        }
        self.host(origin, |host| {
            host.http2 = Some(Multiplexed {
                sender: sender.clone(),
                users: users.clone(),
                used: Instant::now(),
            });
        });
        self.sweep_later();
        Ok(Sender::Http2(sender, users))
    }
}

async fn http1_over(stream: Stream) -> Result<Sender, BoxError> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    // Ends when the connection does, at the latest when its sender is gone.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "connection ended");
        }
    });
    Ok(Sender::Http1(sender))
}

//! Which connection a call takes: one for each address of the target, in turn.
//!
//! Names are looked up at the first call, every 30 s while calls are made, soon after a connection was lost, and when no
//! address can be reached. A failed address is tried again after a pause that doubles from 100 ms to 10 s; the others
//! serve meanwhile. Attempts to connect run beside the calls that wait for them, and outlive them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use h2::client::{Connection, SendRequest};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::dial::{self, CONNECT_TIMEOUT, Stream};
use super::heard::{Heard, Listening};
use super::{BoxError, CallError};
use crate::blocks::ClientKeepalive;
use crate::body::Parts;
use crate::proxy::Proxy;
use crate::resolve::{Resolve, Target, host_port};
use crate::tls::Reloading;

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const FRAME_SIZE_MAX: u32 = 1 << 20;
const HEADER_LIST_MAX: u32 = 16 << 10;
const RESOLVE_AGAIN: Duration = Duration::from_secs(30);
/// After a connection was lost.
const RESOLVE_SOON: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Addresses beyond these are not used.
const ADDRESSES_MAX: usize = 64;

static CONNECTION_ID: AtomicU64 = AtomicU64::new(0);

/// How connections are made.
pub(super) struct Settings {
    pub(super) target: Target,
    /// The target in messages.
    pub(super) shown: String,
    /// And the name to ask for.
    pub(super) tls: Option<(Reloading, ServerName<'static>)>,
    pub(super) ping: Option<Ping>,
    pub(super) pick_first: bool,
    pub(super) wait_for_ready: bool,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) proxy: Option<Proxy>,
    /// What a proxy is told.
    pub(super) agent: String,
}

/// `keepalive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ping {
    every: Duration,
    timeout: Duration,
    without_calls: bool,
}

impl Ping {
    /// With grpc-go's floor of 10 s, and its 20 s for a timeout that is not set.
    pub(super) fn new(block: &ClientKeepalive) -> Ping {
        Ping {
            every: block.time.0.max(Duration::from_secs(10)),
            timeout: match block.timeout.0 {
                Duration::ZERO => Duration::from_secs(20),
                given => given,
            },
            without_calls: block.permit_without_stream,
        }
    }
}

/// All connections of one target. They close when it is gone.
pub(super) struct Balancer(Arc<Inner>);

struct Inner {
    settings: Settings,
    pool: Mutex<Pool>,
    resolving: tokio::sync::Mutex<()>,
    /// A background look-up runs.
    refreshing: AtomicBool,
    /// A connection was lost, or could not be made, since the last look-up.
    lost: AtomicBool,
    next: AtomicUsize,
    /// Counts ended attempts to connect.
    attempts: watch::Sender<u64>,
}

#[derive(Default)]
struct Pool {
    slots: Arc<[Arc<Slot>]>,
    resolved_at: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp(SocketAddr),
    /// Looked up for each connection.
    Name(String, u16),
    /// The same, by the proxy.
    Proxied(String, u16),
    Unix(String),
}

/// One address and the connection to it.
struct Slot {
    address: Address,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    connecting: bool,
    failures: u32,
    not_before: Option<Instant>,
    why: String,
}

#[derive(Clone)]
struct Live {
    id: u64,
    sender: SendRequest<Parts>,
    calls: Arc<AtomicUsize>,
}

/// What a slot has for a caller.
enum Found {
    Live(Live),
    Connecting,
    /// Not before then, because.
    Pausing(Instant, String),
}

/// A connection for one call.
pub(super) struct Held {
    slot: Arc<Slot>,
    live: Live,
}

impl Held {
    fn new(slot: &Arc<Slot>, live: Live) -> Held {
        live.calls.fetch_add(1, Relaxed);
        Held {
            slot: slot.clone(),
            live,
        }
    }

    pub(super) fn sender(&self) -> SendRequest<Parts> {
        self.live.sender.clone()
    }

    /// It takes no more calls.
    pub(super) fn forget(&self) {
        self.slot.forget(self.live.id);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.live.calls.fetch_sub(1, Relaxed);
    }
}

impl Balancer {
    pub(super) fn new(settings: Settings) -> Balancer {
        Balancer(Arc::new(Inner {
            settings,
            pool: Mutex::default(),
            resolving: tokio::sync::Mutex::default(),
            refreshing: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            attempts: watch::Sender::new(0),
        }))
    }

    /// A live connection: the next in turn, else the first that can be made.
    ///
    /// Errors: no address can be reached, or none is known. With `wait_for_ready` it waits until one can, as long as
    /// the caller does.
    pub(super) async fn connection(&self) -> Result<Held, CallError> {
        let inner = &self.0;
        let mut ended = inner.attempts.subscribe();
        let mut again = false;
        loop {
            let slots = match inner.slots(again).await {
                Ok(slots) => slots,
                Err(_) if inner.settings.wait_for_ready => {
                    tokio::time::sleep(RESOLVE_SOON).await;
                    continue;
                }
                Err(error) => return Err(CallError::transport(error)),
            };
            loop {
                ended.mark_unchanged();
                match inner.pick(&slots) {
                    Picked::Held(held) => return Ok(held),
                    Picked::Connecting => {
                        // The other half is ours, so this ends with an attempt.
                        let _ = ended.changed().await;
                    }
                    Picked::Pausing(..) if !again => {
                        again = true;
                        break;
                    }
                    Picked::Pausing(until, _) if inner.settings.wait_for_ready => {
                        tokio::time::sleep_until(until).await;
                        again = false;
                        break;
                    }
                    Picked::Pausing(_, why) => return Err(CallError::transport(why)),
                }
            }
        }
    }
}

enum Picked {
    Held(Held),
    /// An attempt runs.
    Connecting,
    /// Every address failed just now; the first is tried again then.
    Pausing(Instant, String),
}

impl Inner {
    fn pick(self: &Arc<Inner>, slots: &[Arc<Slot>]) -> Picked {
        let first = self.settings.pick_first;
        if first {
            let live = |slot: &Arc<Slot>| Some(Held::new(slot, slot.state.lock().live.clone()?));
            if let Some(held) = slots.iter().find_map(live) {
                return Picked::Held(held);
            }
        }
        let start = if first { 0 } else { self.next.fetch_add(1, Relaxed) };
        let mut connecting = false;
        let mut pausing: Option<(Instant, String)> = None;
        for i in 0..slots.len() {
            let slot = &slots[start.wrapping_add(i) % slots.len()];
            match self.look(slot) {
                Found::Live(live) => return Picked::Held(Held::new(slot, live)),
                Found::Connecting => {
                    connecting = true;
                    if first {
                        break;
                    }
                }
                Found::Pausing(until, why) => {
                    if pausing.as_ref().is_none_or(|(at, _)| until < *at) {
                        pausing = Some((until, why));
                    }
                }
            }
        }
        match pausing {
            Some((until, why)) if !connecting => Picked::Pausing(until, why),
            _ => Picked::Connecting,
        }
    }

    /// The slot's connection; begins to make one if it has none and may.
    fn look(self: &Arc<Inner>, slot: &Arc<Slot>) -> Found {
        let mut state = slot.state.lock();
        if let Some(live) = &state.live {
            return Found::Live(live.clone());
        }
        if state.connecting {
            return Found::Connecting;
        }
        if let Some(until) = state.not_before.filter(|at| *at > Instant::now()) {
            return Found::Pausing(until, state.why.clone());
        }
        state.connecting = true;
        // Ends within CONNECT_TIMEOUT; whoever waits for it is told by `attempts`.
        tokio::spawn(self.clone().connect(slot.clone()));
        Found::Connecting
    }

    async fn connect(self: Arc<Inner>, slot: Arc<Slot>) {
        let made = match tokio::time::timeout(CONNECT_TIMEOUT, self.dial(&slot)).await {
            Ok(made) => made,
            Err(_) => Err("connecting took too long".into()),
        };
        let (target, address) = (&self.settings.shown, &slot.address);
        let mut state = slot.state.lock();
        state.connecting = false;
        match made {
            Ok(live) => {
                if state.failures > 0 {
                    info!(%target, %address, "connected again");
                }
                *state = State {
                    live: Some(live),
                    ..State::default()
                };
            }
            Err(error) => {
                if state.failures == 0 {
                    warn!(%target, %address, %error, "cannot connect");
                }
                let pause = BACKOFF_MIN.saturating_mul(1 << state.failures.min(10));
                state.failures += 1;
                state.not_before = Some(Instant::now() + pause.min(BACKOFF_MAX));
                state.why = format!("cannot connect to {address}: {error}");
                self.lost.store(true, Relaxed);
            }
        }
        drop(state);
        self.attempts.send_modify(|n| *n += 1);
    }

    async fn dial(self: &Arc<Inner>, slot: &Arc<Slot>) -> Result<Live, BoxError> {
        let settings = &self.settings;
        let resolver = &*settings.resolver;
        let config = match &settings.tls {
            Some((tls, name)) => Some((tls.current().await, name.clone())),
            None => None,
        };
        let stream: Stream = match (&slot.address, &settings.proxy) {
            (Address::Tcp(address), _) => Box::new(dial::to_address(*address).await?),
            (Address::Unix(path), _) => Box::new(dial::to_socket(path).await?),
            (Address::Proxied(host, port), Some(proxy)) => {
                let tls = config.as_ref().map(|(config, _)| config);
                let stream = dial::to_proxy(resolver, proxy, tls).await?;
                dial::tunnel(stream, proxy, host, *port, &settings.agent).await?
            }
            (Address::Name(host, port) | Address::Proxied(host, port), _) => {
                Box::new(dial::to_name(resolver, host, *port).await?)
            }
        };
        let Some((config, name)) = config else {
            return self.handshake(slot, stream).await;
        };
        let stream = dial::secure(stream, config, name).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err("the peer did not agree to HTTP/2 (ALPN)".into());
        }
        self.handshake(slot, stream).await
    }

    async fn handshake<S>(self: &Arc<Inner>, slot: &Arc<Slot>, stream: S) -> Result<Live, BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let heard = Heard::now();
        let stream = Listening::new(stream, heard.clone());
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME_SIZE_MAX)
            .max_header_list_size(HEADER_LIST_MAX)
            .enable_push(false)
            .handshake(stream)
            .await?;
        let live = Live {
            id: CONNECTION_ID.fetch_add(1, Relaxed),
            sender,
            calls: Arc::default(),
        };
        let life = Life {
            id: live.id,
            slot: Arc::downgrade(slot),
            inner: Arc::downgrade(self),
            heard,
            calls: live.calls.clone(),
        };
        // Ends when the connection does, at the latest when the client and its calls are gone.
        tokio::spawn(life.lead(connection, self.settings.ping));
        Ok(live)
    }

    /// The addresses as they are known, looked up first where that is due; `again` if none of them answers.
    async fn slots(self: &Arc<Inner>, again: bool) -> Result<Arc<[Arc<Slot>]>, String> {
        let (slots, age) = {
            let pool = self.pool.lock();
            (pool.slots.clone(), pool.resolved_at.map(|at| at.elapsed()))
        };
        let kept_for = match again {
            true => BACKOFF_MIN,
            false if self.lost.load(Relaxed) => RESOLVE_SOON,
            false => RESOLVE_AGAIN,
        };
        if age.is_some_and(|age| age <= kept_for) {
            return Ok(slots);
        }
        if slots.is_empty() || again {
            let _one = self.resolving.lock().await;
            let known = self.pool.lock().slots.clone();
            return match self.resolve().await {
                Err(error) if known.is_empty() => Err(error),
                Err(_) => Ok(known),
                found => found,
            };
        }
        if !self.refreshing.swap(true, Relaxed) {
            let inner = self.clone();
            // Ends within CONNECT_TIMEOUT.
            tokio::spawn(async move {
                if let Err(error) = inner.resolve().await {
                    debug!(target = %inner.settings.shown, %error, "cannot resolve again, addresses stay");
                }
                inner.refreshing.store(false, Relaxed);
            });
        }
        Ok(slots)
    }

    async fn resolve(&self) -> Result<Arc<[Arc<Slot>]>, String> {
        let settings = &self.settings;
        self.lost.store(false, Relaxed);
        let addresses = match &settings.target {
            Target::Unix(path) => vec![Address::Unix(path.clone())],
            Target::Dns { host, port } | Target::Passthrough { host, port } if settings.proxy.is_some() => {
                vec![Address::Proxied(host.clone(), *port)]
            }
            Target::Passthrough { host, port } => vec![Address::Name(host.clone(), *port)],
            Target::Dns { host, port } => {
                let found = settings.resolver.resolve(host, *port);
                let found = tokio::time::timeout(CONNECT_TIMEOUT, found).await;
                let found = found
                    .map_err(|_| format!("resolving {host} took too long"))?
                    .map_err(|e| format!("cannot resolve {host}: {e}"))?;
                found.into_iter().take(ADDRESSES_MAX).map(Address::Tcp).collect()
            }
        };
        if addresses.is_empty() {
            return Err(format!("no address for {}", settings.shown));
        }
        let mut pool = self.pool.lock();
        pool.resolved_at = Some(Instant::now());
        let same = addresses.len() == pool.slots.len()
            && addresses
                .iter()
                .all(|a| pool.slots.iter().any(|s| s.address == *a));
        if !same {
            let kept = |a: Address| {
                let known = pool.slots.iter().find(|s| s.address == a).cloned();
                known.unwrap_or_else(|| Slot::new(a))
            };
            let slots: Arc<[Arc<Slot>]> = addresses.into_iter().map(kept).collect();
            pool.slots = slots;
        }
        Ok(pool.slots.clone())
    }
}

impl Slot {
    fn new(address: Address) -> Arc<Slot> {
        Arc::new(Slot {
            address,
            state: Mutex::default(),
        })
    }

    /// Unless somebody has connected anew.
    fn forget(&self, id: u64) {
        let mut state = self.state.lock();
        if state.live.as_ref().is_some_and(|l| l.id == id) {
            state.live = None;
        }
    }
}

/// What a connection's own task knows.
struct Life {
    id: u64,
    slot: Weak<Slot>,
    inner: Weak<Inner>,
    heard: Heard,
    calls: Arc<AtomicUsize>,
}

impl Life {
    async fn lead<S>(self, mut connection: Connection<S, Parts>, ping: Option<Ping>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let pings = connection.ping_pong();
        let silence = async {
            match ping.zip(pings) {
                Some((ping, mut pings)) => self.silence(ping, &mut pings).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = &mut connection => if let Err(error) = ended {
                debug!(%error, "connection ended");
            },
            () = silence => debug!("no answer to a ping, connection closed"),
        }
        if let Some(slot) = self.slot.upgrade() {
            slot.forget(self.id);
        }
        if let Some(inner) = self.inner.upgrade() {
            inner.lost.store(true, Relaxed);
        }
    }

    /// Ends when a ping stays without an answer. Pings go out after `every` without a byte from the peer.
    async fn silence(&self, ping: Ping, pings: &mut h2::PingPong) {
        loop {
            let due = self.heard.at() + ping.every;
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
                continue;
            }
            if !ping.without_calls && self.calls.load(Relaxed) == 0 {
                tokio::time::sleep(ping.every).await;
                continue;
            }
            // One may be under way: its answer counts as well.
            let _ = pings.send_ping(h2::Ping::opaque());
            let pong = std::future::poll_fn(|cx| pings.poll_pong(cx));
            let pong = tokio::time::timeout(ping.timeout, pong).await;
            if !matches!(pong, Ok(Ok(_))) && self.heard.at() + ping.every <= Instant::now() {
                return;
            }
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Name(host, port) => f.write_str(&host_port(host, *port)),
            Address::Proxied(host, port) => write!(f, "{} by its proxy", host_port(host, *port)),
            Address::Unix(path) => f.write_str(path),
        }
    }
}

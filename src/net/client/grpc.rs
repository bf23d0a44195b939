//! Unary gRPC calls over h2.
//!
//! One connection for each address of the target, taken in turn. Names are resolved at the first call, again when no
//! connection is left, and otherwise every 30 s while calls are made. A failed address is tried again after a pause
//! that doubles from 100 ms to 10 s; other addresses serve meanwhile.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::{Connection, SendRequest};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tracing::{debug, info, warn};
use wire::Context;

use super::{BoxError, CallError};
use crate::auth::ClientAuth;
use crate::blocks::{GrpcClientConfig, header};
use crate::body::Parts;
use crate::compression;
use crate::grpc::{self, Code, PREFIX_LEN, Status};
use crate::resolve::{self, Target};

/// An answer with code `OK`.
#[derive(Debug)]
pub struct GrpcReply {
    /// The message; empty if the peer sent none.
    pub message: Bytes,
}

/// A client of one target. Cheap to clone; connections close when the last clone is gone.
#[derive(Clone)]
pub struct GrpcClient(Arc<Inner>, Option<Arc<dyn ClientAuth>>);

struct Inner {
    target: Target,
    authority: Authority,
    scheme: Scheme,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    headers: HeaderMap,
    ping: Option<Ping>,
    pick_first: bool,
    pool: Mutex<Pool>,
    resolving: tokio::sync::Mutex<()>,
    /// A background look-up runs.
    refreshing: AtomicBool,
    next: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Ping {
    every: Duration,
    timeout: Duration,
}

#[derive(Default)]
struct Pool {
    slots: Arc<[Arc<Slot>]>,
    resolved_at: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp(SocketAddr),
    Unix(String),
}

/// One address and the connection to it.
struct Slot {
    address: Address,
    live: Mutex<Option<Live>>,
    connecting: tokio::sync::Mutex<Backoff>,
}

#[derive(Clone)]
struct Live {
    id: u64,
    sender: SendRequest<Parts>,
}

#[derive(Default)]
struct Backoff {
    failures: u32,
    not_before: Option<Instant>,
    why: String,
}

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const FRAME_SIZE_MAX: u32 = 1 << 20;
const HEADER_LIST_MAX: u32 = 16 << 10;
const REPLY_BYTES_MAX: usize = 4 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RESOLVE_AGAIN: Duration = Duration::from_secs(30);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const PING_MIN: Duration = Duration::from_secs(10);
/// How long sent bytes may stay unacknowledged before the kernel gives a connection up.
const UNACKED_MAX: Duration = Duration::from_secs(20);
/// Addresses beyond these are not used.
const ADDRESSES_MAX: usize = 64;

static CONNECTION_ID: AtomicU64 = AtomicU64::new(0);

impl GrpcClient {
    /// Reads the certificates; connects to nothing. `agent` is sent unless the config names one.
    pub fn new(config: &GrpcClientConfig, agent: &str) -> Result<GrpcClient, String> {
        let target = Target::parse(&config.endpoint)?;
        let tls = if config.endpoint.starts_with("https://") || config.tls.is_on() {
            let loaded = config.tls.load(&[b"h2"]).map_err(|e| e.to_string())?;
            let name = match (&target, config.tls.server_name_override.as_str()) {
                (_, name) if !name.is_empty() => name.to_owned(),
                (Target::Dns { host, .. }, _) => host.clone(),
                (Target::Unix(_), _) => "localhost".to_owned(),
            };
            let name = ServerName::try_from(name).map_err(|e| format!("server name: {e}"))?;
            Some((TlsConnector::from(loaded), name))
        } else {
            None
        };
        let authority = match config.authority.as_str() {
            "" => target.authority(),
            given => given.to_owned(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip,zstd,identity"));
        let agent = if config.user_agent.is_empty() {
            agent
        } else {
            &config.user_agent
        };
        headers.insert(
            USER_AGENT,
            HeaderValue::from_str(agent).map_err(|_| "invalid user_agent")?,
        );
        for (name, value) in config.headers.iter() {
            let (name, value) = header(name, value.expose())?;
            headers.entry(name).or_insert(value);
        }
        Ok(GrpcClient(
            Arc::new(Inner {
                authority: authority
                    .parse()
                    .map_err(|_| format!("invalid authority \"{authority}\""))?,
                scheme: if tls.is_some() {
                    Scheme::HTTPS
                } else {
                    Scheme::HTTP
                },
                target,
                tls,
                headers,
                ping: config.keepalive.get().map(|k| Ping {
                    every: k.time.0.max(PING_MIN),
                    timeout: if k.timeout.0.is_zero() {
                        UNACKED_MAX
                    } else {
                        k.timeout.0
                    },
                }),
                pick_first: config.balancer_name == "pick_first",
                pool: Mutex::default(),
                resolving: tokio::sync::Mutex::default(),
                refreshing: AtomicBool::new(false),
                next: AtomicUsize::new(0),
            }),
            None,
        ))
    }

    /// Every call says who we are. An error if that must not travel in plain text and would.
    pub fn with_auth(self, auth: Arc<dyn ClientAuth>) -> Result<GrpcClient, String> {
        if auth.needs_tls() && self.0.tls.is_none() {
            return Err("the credentials require transport level security: use tls".into());
        }
        Ok(GrpcClient(self.0, Some(auth)))
    }

    /// A plaintext client of fixed addresses: names with two of them are rare on a loopback.
    #[cfg(test)]
    pub(crate) fn for_addresses(addresses: &[SocketAddr]) -> GrpcClient {
        let config = GrpcClientConfig {
            endpoint: "localhost:1".into(),
            tls: crate::tls::ClientTls {
                insecure: true,
                ..Default::default()
            },
            ..GrpcClientConfig::default()
        };
        let client = GrpcClient::new(&config, "test").expect("the config is fixed");
        *client.0.pool.lock() = Pool {
            slots: addresses.iter().map(|a| Slot::new(Address::Tcp(*a))).collect(),
            resolved_at: Some(Instant::now()),
        };
        client
    }

    /// One call. `encoding` names how `message` is compressed; its parts are one message, sent without copying.
    ///
    /// A call that certainly did not reach the peer (a connection that was closing) is sent again once on another
    /// connection; one that was answered `UNAUTHENTICATED`, if the authenticator has something else to say. Dropping
    /// the future resets the stream; the peer may have seen the message. `context` is what the authenticator sees of
    /// the payload.
    pub async fn unary(
        &self,
        path: &PathAndQuery,
        encoding: Option<&'static str>,
        message: &[Bytes],
        context: &Context,
    ) -> Result<GrpcReply, CallError> {
        self.unary_until(path, encoding, message, context, None).await
    }

    /// The same, telling the peer until when the answer is awaited. Who waits no longer drops the future.
    pub async fn unary_until(
        &self,
        path: &PathAndQuery,
        encoding: Option<&'static str>,
        message: &[Bytes],
        context: &Context,
        deadline: Option<Instant>,
    ) -> Result<GrpcReply, CallError> {
        let first = self.call(path, encoding, message, context, deadline).await;
        match (&first, &self.1) {
            (Err(CallError::Status(status)), Some(auth))
                if status.code == Code::UNAUTHENTICATED && auth.refused().await =>
            {
                self.call(path, encoding, message, context, deadline).await
            }
            _ => first,
        }
    }

    async fn call(
        &self,
        path: &PathAndQuery,
        encoding: Option<&'static str>,
        message: &[Bytes],
        context: &Context,
        deadline: Option<Instant>,
    ) -> Result<GrpcReply, CallError> {
        let mut headers = self.0.headers.clone();
        if let Some(encoding) = encoding {
            headers.insert(ENCODING, HeaderValue::from_static(encoding));
        }
        if let Some(auth) = &self.1 {
            auth.authorize(&mut headers, context)
                .await
                .map_err(CallError::Transport)?;
        }
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            headers.insert(TIMEOUT, grpc::write_timeout(left));
        }
        let mut last = None;
        for _ in 0..2 {
            let (slot, live) = self.connection().await?;
            match self.attempt(&live, path, &headers, message).await {
                Ok(reply) => return Ok(reply),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Unsent(error)) => {
                    slot.forget(live.id);
                    last = Some(error);
                }
            }
        }
        let error = last.map_or_else(|| "not connected".into(), BoxError::from);
        Err(CallError::Transport(error))
    }

    async fn attempt(
        &self,
        live: &Live,
        path: &PathAndQuery,
        headers: &HeaderMap,
        message: &[Bytes],
    ) -> Result<GrpcReply, Failed> {
        let mut sender = live.sender.clone().ready().await.map_err(Failed::Unsent)?;
        let request = self.request(path, headers).map_err(Failed::Final)?;
        let len: usize = message.iter().map(Bytes::len).sum();
        if u32::try_from(len).is_err() {
            let status = Status::new(
                Code::RESOURCE_EXHAUSTED,
                format!("a message of {len} bytes cannot be framed"),
            );
            return Err(Failed::Final(CallError::Status(status)));
        }
        let prefix = Bytes::copy_from_slice(&grpc::prefix(len, headers.contains_key(ENCODING)));
        let (response, mut stream) = sender.send_request(request, false).map_err(Failed::Unsent)?;
        stream
            .send_data(
                Parts::new(std::iter::once(prefix).chain(message.iter().cloned())),
                true,
            )
            .map_err(failed)?;
        let response = response.await.map_err(failed)?;
        reply(response).await.map_err(Failed::Final)
    }

    fn request(&self, path: &PathAndQuery, headers: &HeaderMap) -> Result<Request<()>, CallError> {
        let uri = Uri::builder()
            .scheme(self.0.scheme.clone())
            .authority(self.0.authority.clone())
            .path_and_query(path.clone())
            .build()
            .map_err(|e| CallError::Transport(e.into()))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers.clone();
        Ok(request)
    }

    /// A live connection: the next in turn, else the first address that can be reached.
    async fn connection(&self) -> Result<(Arc<Slot>, Live), CallError> {
        let mut slots = self.slots(false).await?;
        let start = if self.0.pick_first {
            0
        } else {
            self.0.next.fetch_add(1, Relaxed)
        };
        let mut live = None;
        for i in 0..slots.len() {
            let slot = &slots[(start.wrapping_add(i)) % slots.len()];
            let found = slot.live.lock().clone();
            match found {
                Some(found) => {
                    live = Some((slot.clone(), found));
                    break;
                }
                None => self.connect_in_background(slot),
            }
        }
        if let Some(found) = live {
            return Ok(found);
        }
        let mut why = None;
        for fresh in [false, true] {
            if fresh {
                slots = self.slots(true).await?;
            }
            for i in 0..slots.len() {
                let slot = &slots[(start.wrapping_add(i)) % slots.len()];
                match self.0.connect(slot).await {
                    Ok(live) => return Ok((slot.clone(), live)),
                    Err(error) => why = Some(error),
                }
            }
        }
        Err(CallError::transport(why.unwrap_or_else(|| "no address".into())))
    }

    /// Only worthwhile where another address serves meanwhile: alone, a caller waits for its connection itself.
    fn connect_in_background(&self, slot: &Arc<Slot>) {
        let idle = match slot.connecting.try_lock() {
            Ok(backoff) => backoff.not_before.is_none_or(|at| at <= Instant::now()),
            Err(_) => false,
        };
        if idle && self.0.pool.lock().slots.len() > 1 && !self.0.pick_first {
            let (inner, slot) = (self.0.clone(), slot.clone());
            tokio::spawn(async move {
                let _ = inner.connect(&slot).await;
            });
        }
    }

    async fn slots(&self, again: bool) -> Result<Arc<[Arc<Slot>]>, CallError> {
        let (slots, age) = {
            let pool = self.0.pool.lock();
            (pool.slots.clone(), pool.resolved_at.map(|at| at.elapsed()))
        };
        let is_old = age.is_none_or(|age| age > if again { BACKOFF_MIN } else { RESOLVE_AGAIN });
        if !is_old {
            return Ok(slots);
        }
        if slots.is_empty() || again {
            let _one = self.0.resolving.lock().await;
            return self.0.resolve().await.or_else(|e| {
                let known = self.0.pool.lock().slots.clone();
                if known.is_empty() {
                    Err(CallError::transport(e))
                } else {
                    Ok(known)
                }
            });
        }
        if !self.0.refreshing.swap(true, Relaxed) {
            let inner = self.0.clone();
            tokio::spawn(async move {
                if let Err(error) = inner.resolve().await {
                    debug!(target = %inner.authority, %error, "cannot resolve again, addresses stay");
                }
                inner.refreshing.store(false, Relaxed);
            });
        }
        Ok(slots)
    }
}

/// `Unsent` = the peer certainly saw nothing that it acts upon.
enum Failed {
    Unsent(h2::Error),
    Final(CallError),
}

fn failed(error: h2::Error) -> Failed {
    if error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
        return Failed::Unsent(error);
    }
    Failed::Final(CallError::Transport(error.into()))
}

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

async fn reply(response: http::Response<h2::RecvStream>) -> Result<GrpcReply, CallError> {
    let (head, mut body) = response.into_parts();
    if head.headers.contains_key("grpc-status") && body.is_end_stream() {
        return finish(grpc::read_status(&head.headers), BytesMut::new(), &head.headers);
    }
    if head.status != http::StatusCode::OK {
        return Err(CallError::Status(Status::new(
            code_of_http(head.status.as_u16()),
            format!(
                "unexpected HTTP status code received from server: {}",
                head.status.as_u16()
            ),
        )));
    }
    let mut message = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|e| CallError::Transport(e.into()))?;
        if message.len() + data.len() > REPLY_BYTES_MAX {
            return Err(CallError::transport("the answer is larger than 4 MiB"));
        }
        message.extend_from_slice(&data);
        let _ = body.flow_control().release_capacity(data.len());
    }
    let trailers = body
        .trailers()
        .await
        .map_err(|e| CallError::Transport(e.into()))?;
    let status = trailers
        .as_ref()
        .and_then(grpc::read_status)
        .or_else(|| grpc::read_status(&head.headers));
    finish(status, message, &head.headers)
}

fn finish(
    status: Option<Status>,
    mut message: BytesMut,
    headers: &HeaderMap,
) -> Result<GrpcReply, CallError> {
    let status = status.ok_or_else(|| CallError::transport("the answer has no grpc-status"))?;
    if status.code != Code::OK {
        return Err(CallError::Status(status));
    }
    if message.is_empty() {
        return Ok(GrpcReply {
            message: Bytes::new(),
        });
    }
    let malformed = || CallError::transport("the answer is not one message");
    let prefix: [u8; PREFIX_LEN] = message
        .get(..PREFIX_LEN)
        .and_then(|p| p.try_into().ok())
        .ok_or_else(malformed)?;
    let message = message.split_off(PREFIX_LEN).freeze();
    if u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize != message.len() {
        return Err(malformed());
    }
    if prefix[0] == 0 {
        return Ok(GrpcReply { message });
    }
    let encoding = headers
        .get(ENCODING)
        .and_then(|v| v.to_str().ok())
        .and_then(compression::from_grpc_token);
    let encoding =
        encoding.ok_or_else(|| CallError::transport("the answer is compressed in an unknown way"))?;
    let decoded = compression::decode(encoding, &message, REPLY_BYTES_MAX);
    let decoded = decoded.map_err(|e| CallError::Transport(e.into()))?;
    Ok(GrpcReply {
        message: decoded.bytes,
    })
}

/// gRPC's own table for answers that are not gRPC.
fn code_of_http(status: u16) -> Code {
    match status {
        400 => Code::INTERNAL,
        401 => Code::UNAUTHENTICATED,
        403 => Code::PERMISSION_DENIED,
        404 => Code::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => Code::UNAVAILABLE,
        _ => Code::UNKNOWN,
    }
}

// --- Connecting ---

impl Slot {
    fn new(address: Address) -> Arc<Slot> {
        Arc::new(Slot {
            address,
            live: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        })
    }

    /// Unless somebody has connected anew.
    fn forget(&self, id: u64) {
        let mut live = self.live.lock();
        if live.as_ref().is_some_and(|l| l.id == id) {
            *live = None;
        }
    }
}

impl Inner {
    async fn resolve(&self) -> Result<Arc<[Arc<Slot>]>, String> {
        let addresses = match &self.target {
            Target::Unix(path) => vec![Address::Unix(path.clone())],
            Target::Dns { host, port } => {
                let found = tokio::time::timeout(CONNECT_TIMEOUT, resolve::addresses(host, *port)).await;
                let found = found
                    .map_err(|_| format!("resolving {host} took too long"))?
                    .map_err(|e| format!("cannot resolve {host}: {e}"))?;
                found.into_iter().take(ADDRESSES_MAX).map(Address::Tcp).collect()
            }
        };
        if addresses.is_empty() {
            return Err(format!("no address for {}", self.authority));
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

    /// The slot's connection, made if need be; callers at the same time share one attempt.
    async fn connect(&self, slot: &Arc<Slot>) -> Result<Live, String> {
        let mut backoff = slot.connecting.lock().await;
        if let Some(live) = slot.live.lock().clone() {
            return Ok(live);
        }
        if backoff.not_before.is_some_and(|at| at > Instant::now()) {
            return Err(backoff.why.clone());
        }
        let made = match tokio::time::timeout(CONNECT_TIMEOUT, self.dial(slot)).await {
            Ok(made) => made,
            Err(_) => Err("connecting took too long".into()),
        };
        match made {
            Ok(live) => {
                if backoff.failures > 0 {
                    info!(target = %self.authority, address = %slot.address, "connected again");
                }
                *backoff = Backoff::default();
                *slot.live.lock() = Some(live.clone());
                Ok(live)
            }
            Err(error) => {
                if backoff.failures == 0 {
                    warn!(target = %self.authority, address = %slot.address, %error, "cannot connect");
                }
                let pause = BACKOFF_MIN
                    .saturating_mul(1 << backoff.failures.min(10))
                    .min(BACKOFF_MAX);
                backoff.failures += 1;
                backoff.not_before = Some(Instant::now() + pause);
                backoff.why = format!("cannot connect to {}: {error}", slot.address);
                Err(backoff.why.clone())
            }
        }
    }

    async fn dial(&self, slot: &Arc<Slot>) -> Result<Live, BoxError> {
        match &slot.address {
            Address::Tcp(addr) => {
                let stream = TcpStream::connect(addr).await?;
                prepare(&stream)?;
                self.secure(slot, stream).await
            }
            Address::Unix(path) => self.secure(slot, UnixStream::connect(path).await?).await,
        }
    }

    async fn secure<S>(&self, slot: &Arc<Slot>, stream: S) -> Result<Live, BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match &self.tls {
            None => self.handshake(slot, stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err("the peer did not agree to HTTP/2 (ALPN)".into());
                }
                self.handshake(slot, stream).await
            }
        }
    }

    async fn handshake<S>(&self, slot: &Arc<Slot>, stream: S) -> Result<Live, BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME_SIZE_MAX)
            .max_header_list_size(HEADER_LIST_MAX)
            .enable_push(false)
            .handshake(stream)
            .await?;
        let id = CONNECTION_ID.fetch_add(1, Relaxed);
        // Ends when the connection does, at the latest when the client and its calls are gone.
        tokio::spawn(drive(connection, self.ping, Arc::downgrade(slot), id));
        Ok(Live { id, sender })
    }
}

async fn drive<S>(
    mut connection: Connection<S, Parts>,
    ping: Option<Ping>,
    slot: std::sync::Weak<Slot>,
    id: u64,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pings = connection.ping_pong();
    let silence = async {
        match ping.zip(pings) {
            Some((ping, mut pings)) => loop {
                tokio::time::sleep(ping.every).await;
                let pong = tokio::time::timeout(ping.timeout, pings.ping(h2::Ping::opaque())).await;
                if !matches!(pong, Ok(Ok(_))) {
                    return;
                }
            },
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = &mut connection => if let Err(error) = ended {
            debug!(%error, "connection ended");
        },
        () = silence => debug!("no answer to a ping, connection closed"),
    }
    if let Some(slot) = slot.upgrade() {
        slot.forget(id);
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(UNACKED_MAX))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKED_MAX))?;
    Ok(())
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(addr) => addr.fmt(f),
            Address::Unix(path) => f.write_str(path),
        }
    }
}

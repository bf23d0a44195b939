//! Blocks of servers.

use std::sync::Arc;
use std::time::Duration as StdDuration;

use config::{Duration, MapList, Optional, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AuthBlock, KeyFault, MiddlewareBlock, fault, header};
use crate::server::{PingPolicy, Service, Settings, Transport};
use crate::tls::{self, ServerTls};

const MIB: usize = 1 << 20;
const GRPC_MESSAGE_MIB_DEFAULT: usize = 4;
const HTTP_BODY_BYTES_DEFAULT: usize = 20 * MIB;
/// How often a client of a gRPC server may ping where the user does not say.
const PING_INTERVAL_MIN: StdDuration = StdDuration::from_secs(300);
/// Messages and bodies are bounded by what a length of 32 bits can say.
const MESSAGE_MIB_MAX: usize = 4095;

/// `protocols.grpc` of a receiver: configgrpc's server block.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcServerConfig {
    /// `host:port`, or a path for unix sockets.
    pub endpoint: String,
    /// `tcp` (default), `tcp4`, `tcp6`, `unix`.
    pub transport: String,
    /// Unused when listening.
    pub dialer: Dialer,
    /// Encrypts.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub tls: Optional<ServerTls>,
    /// Largest message in MiB, compressed and inflated; 0 = 4.
    pub max_recv_msg_size_mib: i64,
    /// HTTP/2 streams open at once on a connection; 0 = 1024.
    pub max_concurrent_streams: u32,
    /// Accepted, without effect.
    pub read_buffer_size: u64,
    /// Accepted, without effect.
    pub write_buffer_size: u64,
    /// Pings and connection ages.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub keepalive: Optional<ServerKeepalive>,
    /// Who may send, by an extension.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub auth: Optional<AuthBlock>,
    /// Request metadata goes along with the payload.
    pub include_metadata: bool,
    /// What decides before a body is read, by extensions.
    pub middlewares: Vec<MiddlewareBlock>,
}

impl Default for GrpcServerConfig {
    fn default() -> GrpcServerConfig {
        GrpcServerConfig {
            endpoint: String::new(),
            transport: String::new(),
            dialer: Dialer::default(),
            tls: Optional::None,
            max_recv_msg_size_mib: 0,
            max_concurrent_streams: 0,
            read_buffer_size: 0,
            write_buffer_size: 0,
            keepalive: Optional::None,
            auth: Optional::None,
            include_metadata: false,
            middlewares: Vec::new(),
        }
    }
}

/// `protocols.http` of a receiver: confighttp's server block.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpServerConfig {
    /// `host:port`, or a path for unix sockets.
    pub endpoint: String,
    /// `tcp` (default), `tcp4`, `tcp6`, `unix`.
    pub transport: String,
    /// Unused when listening.
    pub dialer: Dialer,
    /// Encrypts.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub tls: Optional<ServerTls>,
    /// Lets scripts of other origins post.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub cors: Optional<CorsBlock>,
    /// Who may send, by an extension.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub auth: Optional<AuthBlock>,
    /// Largest body in bytes, on the wire and inflated; 0 or less = 20 MiB.
    pub max_request_body_size: i64,
    /// Request headers go along with the payload.
    pub include_metadata: bool,
    /// Set on every answer.
    pub response_headers: MapList<Secret<String>>,
    /// Understood `Content-Encoding`s, `""` for none; absent = all, an empty list = bodies are taken as they are.
    pub compression_algorithms: Option<Vec<String>>,
    /// For a whole request; 0 = 60 s.
    pub read_timeout: Duration,
    /// For the head of a request, from its first byte; 0 = `read_timeout`, or 75 s.
    pub read_header_timeout: Duration,
    /// For a client to take an answer; 0 = 60 s.
    pub write_timeout: Duration,
    /// A connection without a request for that long is closed; 0 = `read_timeout`, or 75 s.
    pub idle_timeout: Duration,
    /// HTTP/1.1 connections are used again.
    pub keep_alives_enabled: bool,
    /// What decides before a body is read, by extensions.
    pub middlewares: Vec<MiddlewareBlock>,
}

impl Default for HttpServerConfig {
    fn default() -> HttpServerConfig {
        HttpServerConfig {
            endpoint: String::new(),
            transport: String::new(),
            dialer: Dialer::default(),
            tls: Optional::None,
            cors: Optional::None,
            auth: Optional::None,
            max_request_body_size: 0,
            include_metadata: false,
            response_headers: MapList::default(),
            compression_algorithms: None,
            read_timeout: Duration::default(),
            read_header_timeout: Duration::default(),
            write_timeout: Duration::default(),
            idle_timeout: Duration::default(),
            keep_alives_enabled: true,
            middlewares: Vec::new(),
        }
    }
}

/// `dialer`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dialer {
    /// Accepted, without effect when listening.
    pub timeout: Duration,
}

/// `cors`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CorsBlock {
    /// With one `*` each; none = no CORS.
    pub allowed_origins: Vec<String>,
    /// Beside the safe ones.
    pub allowed_headers: Vec<String>,
    /// That scripts may read.
    pub exposed_headers: Vec<String>,
    /// For browsers to keep an answer, in seconds; 0 = not said.
    pub max_age: i64,
}

/// `keepalive` of a server.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerKeepalive {
    /// What the server does.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub server_parameters: Optional<ServerParameters>,
    /// How often clients may ping; absent = once in five minutes, and only while they have streams open.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub enforcement_policy: Optional<EnforcementPolicy>,
}

impl Default for ServerKeepalive {
    fn default() -> ServerKeepalive {
        ServerKeepalive {
            server_parameters: Optional::None,
            enforcement_policy: Optional::None,
        }
    }
}

/// `keepalive.server_parameters`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerParameters {
    /// A connection without a request for that long is asked to close; 0 = never.
    pub max_connection_idle: Duration,
    /// GOAWAY at this age, give or take a tenth; 0 = never.
    pub max_connection_age: Duration,
    /// How long streams may take after that; 0 = as long as they need.
    pub max_connection_age_grace: Duration,
    /// Ping after this long without a sign of life; 0 = 2 h.
    pub time: Duration,
    /// Close if the answer takes longer; 0 = 20 s.
    pub timeout: Duration,
}

/// `keepalive.enforcement_policy`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnforcementPolicy {
    /// Shortest time between a client's pings; 0 = 5 min. Who pings more often gets GOAWAY `too_many_pings`.
    pub min_time: Duration,
    /// The same holds without streams; else once in two hours is often enough.
    pub permit_without_stream: bool,
}

fn transport(text: &str) -> Result<Transport, String> {
    Ok(match text {
        "" | "tcp" => Transport::Tcp,
        "tcp4" => Transport::Tcp4,
        "tcp6" => Transport::Tcp6,
        "unix" => Transport::Unix,
        "unixpacket" => return Err("transport \"unixpacket\" is not supported; use unix".into()),
        other => return Err(format!("unsupported transport type \"{other}\"")),
    })
}

fn listen_faults(faults: &mut Vec<KeyFault>, endpoint: &str, kind: &str, tls: &Optional<ServerTls>) {
    match transport(kind) {
        Err(text) => fault(faults, "transport", text),
        Ok(Transport::Unix) => {}
        Ok(_) => {
            if let Err(text) = crate::resolve::split_port(endpoint) {
                fault(faults, "endpoint", text);
            }
        }
    }
    for (key, text) in tls.get().map(ServerTls::faults).unwrap_or_default() {
        fault(faults, &format!("tls.{key}"), text);
    }
}

fn guard_faults(faults: &mut Vec<KeyFault>, auth: &Optional<AuthBlock>, middlewares: &[MiddlewareBlock]) {
    if let Some(text) = auth.get().and_then(AuthBlock::fault) {
        fault(faults, "auth", text);
    }
    for middleware in middlewares {
        if let Err(error) = config::ComponentId::parse(&middleware.id) {
            fault(faults, "middlewares", error.to_string());
        }
    }
}

impl GrpcServerConfig {
    /// Every fault that shows without I/O.
    pub fn faults(&self) -> Vec<KeyFault> {
        let mut faults = Vec::new();
        listen_faults(&mut faults, &self.endpoint, &self.transport, &self.tls);
        if !(0..=MESSAGE_MIB_MAX as i64).contains(&self.max_recv_msg_size_mib) {
            let text =
                format!("invalid max_recv_msg_size_mib value, must be between 1 and {MESSAGE_MIB_MAX}");
            fault(&mut faults, "max_recv_msg_size_mib", text);
        }
        guard_faults(&mut faults, &self.auth, &self.middlewares);
        faults
    }

    /// Largest message in bytes, compressed and inflated.
    pub fn message_bytes_max(&self) -> usize {
        match usize::try_from(self.max_recv_msg_size_mib).unwrap_or(0) {
            0 => GRPC_MESSAGE_MIB_DEFAULT * MIB,
            mib => mib.min(MESSAGE_MIB_MAX) * MIB,
        }
    }

    /// How to listen; reads the certificates.
    pub fn settings(&self) -> Result<Settings, tls::Error> {
        let defaults = Settings::default();
        let given = self.keepalive.get().and_then(|k| k.server_parameters.get());
        let (age_max, age_grace, idle_max, ping) = match given {
            None => (None, None, None, defaults.ping),
            Some(p) => (
                set(p.max_connection_age),
                set(p.max_connection_age_grace),
                set(p.max_connection_idle),
                defaults
                    .ping
                    .map(|(time, timeout)| (set(p.time).unwrap_or(time), set(p.timeout).unwrap_or(timeout))),
            ),
        };
        let policy = self.keepalive.get().and_then(|k| k.enforcement_policy.get());
        let policy = policy.cloned().unwrap_or_default();
        Ok(Settings {
            transport: transport(&self.transport).map_err(tls::Error)?,
            tls: self.tls.get().map(|t| t.load(&[b"h2"])).transpose()?,
            streams_max: match self.max_concurrent_streams {
                0 => defaults.streams_max,
                n => n,
            },
            idle_max,
            age_max,
            age_grace,
            ping,
            ping_policy: Some(PingPolicy {
                min_interval: set(policy.min_time).unwrap_or(PING_INTERVAL_MIN),
                without_stream: policy.permit_without_stream,
            }),
            ..defaults
        })
    }
}

/// 0 = not set.
fn set(duration: Duration) -> Option<StdDuration> {
    Some(duration.0).filter(|d| !d.is_zero())
}

impl HttpServerConfig {
    /// Every fault that shows without I/O.
    pub fn faults(&self) -> Vec<KeyFault> {
        let mut faults = Vec::new();
        listen_faults(&mut faults, &self.endpoint, &self.transport, &self.tls);
        for token in self.compression_algorithms.iter().flatten() {
            if !token.is_empty() && crate::compression::from_http_token(token).is_none() {
                fault(
                    &mut faults,
                    "compression_algorithms",
                    format!("unsupported compression type \"{token}\""),
                );
            }
        }
        for (name, value) in self.response_headers.iter() {
            if let Err(text) = header(name, value.expose()) {
                fault(&mut faults, "response_headers", text);
            }
        }
        let exposed = self.cors.get().map(|c| c.exposed_headers.as_slice());
        for name in exposed.unwrap_or_default() {
            if let Err(text) = header(name, "") {
                fault(&mut faults, "cors.exposed_headers", text);
            }
        }
        guard_faults(&mut faults, &self.auth, &self.middlewares);
        faults
    }

    /// A service with `response_headers` and `cors` before it.
    pub fn fronted(&self, inner: Arc<dyn Service>) -> Arc<dyn Service> {
        crate::cors::fronted(self, inner)
    }

    /// Largest body in bytes, on the wire and inflated.
    pub fn body_bytes_max(&self) -> usize {
        match usize::try_from(self.max_request_body_size).unwrap_or(0) {
            0 => HTTP_BODY_BYTES_DEFAULT,
            n => n.min(MESSAGE_MIB_MAX * MIB),
        }
    }

    /// How to listen; reads the certificates.
    pub fn settings(&self) -> Result<Settings, tls::Error> {
        let defaults = Settings::default();
        Ok(Settings {
            transport: transport(&self.transport).map_err(tls::Error)?,
            tls: self
                .tls
                .get()
                .map(|t| t.load(&[b"h2", b"http/1.1"]))
                .transpose()?,
            // As in Go, what is not said follows the whole request's time.
            header_timeout: set(self.read_header_timeout)
                .or(set(self.read_timeout))
                .unwrap_or(defaults.header_timeout),
            idle_max: set(self.idle_timeout)
                .or(set(self.read_timeout))
                .or(defaults.idle_max),
            write_timeout: set(self.write_timeout).unwrap_or(defaults.write_timeout),
            keep_alive: self.keep_alives_enabled,
            ..defaults
        })
    }
}

//! The config blocks of servers and clients, with the collector's keys and defaults (configgrpc, confighttp).
//!
//! Keys that this version cannot honour are known, so that a typo is told apart from a lack: [`GrpcServerConfig::faults`]
//! and its siblings name them. Buffer sizes and idle limits that have no meaning here are accepted and change nothing.

use std::time::Duration as StdDuration;

use config::{Duration, MapList, Optional, Secret};
use serde::Deserialize;

use crate::compression::Encoding;
use crate::server::{Settings, Transport};
use crate::tls::{self, ClientTls, ServerTls};

/// A key below a block, and what is wrong with it.
pub type KeyFault = (String, String);

const MIB: usize = 1 << 20;
const GRPC_MESSAGE_MIB_DEFAULT: usize = 4;
const HTTP_BODY_BYTES_DEFAULT: usize = 20 * MIB;
/// Messages and bodies are bounded by what a length of 32 bits can say.
const MESSAGE_MIB_MAX: usize = 4095;

/// `protocols.grpc` of a receiver: configgrpc's server block.
#[derive(Clone, Debug, PartialEq, Deserialize)]
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
    /// Not supported yet.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub auth: Optional<AuthBlock>,
    /// Request metadata goes along with the payload.
    pub include_metadata: bool,
    /// Not supported yet.
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
#[derive(Clone, Debug, PartialEq, Deserialize)]
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
    /// Not supported yet.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub cors: Optional<CorsBlock>,
    /// Not supported yet.
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
    /// For the head of a request; 0 = 75 s. Also ends idle connections.
    pub read_header_timeout: Duration,
    /// Accepted, without effect: answers are small.
    pub write_timeout: Duration,
    /// Accepted; `read_header_timeout` ends idle connections.
    pub idle_timeout: Duration,
    /// HTTP/1.1 connections are used again.
    pub keep_alives_enabled: bool,
    /// Not supported yet.
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dialer {
    /// Accepted, without effect when listening.
    pub timeout: Duration,
}

/// `auth`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthBlock {
    /// Id of an extension.
    pub authenticator: String,
    /// Query parameters that the authenticator sees as headers.
    pub request_params: Vec<String>,
}

/// `cors`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsBlock {
    /// With one `*` each.
    pub allowed_origins: Vec<String>,
    /// Beside the safe ones.
    pub allowed_headers: Vec<String>,
    /// That scripts may read.
    pub exposed_headers: Vec<String>,
    /// In seconds.
    pub max_age: i64,
}

/// One of `middlewares`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MiddlewareBlock {
    /// Id of an extension.
    pub id: String,
}

/// `keepalive` of a server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerKeepalive {
    /// What the server does.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub server_parameters: Optional<ServerParameters>,
    /// Accepted, without effect: pings are answered however often they come, within h2's flood limits.
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerParameters {
    /// Accepted, without effect.
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnforcementPolicy {
    /// Shortest time between a client's pings.
    pub min_time: Duration,
    /// Pings are allowed without streams.
    pub permit_without_stream: bool,
}

fn fault(faults: &mut Vec<KeyFault>, key: &str, message: impl Into<String>) {
    faults.push((key.to_owned(), message.into()));
}

const NOT_YET: &str = "not supported yet";

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
        if self.auth.is_on() {
            fault(&mut faults, "auth", NOT_YET);
        }
        if !self.middlewares.is_empty() {
            fault(&mut faults, "middlewares", NOT_YET);
        }
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
        let (age_max, age_grace, ping) = match given {
            None => (None, None, defaults.ping),
            Some(p) => (
                set(p.max_connection_age),
                set(p.max_connection_age_grace),
                defaults
                    .ping
                    .map(|(time, timeout)| (set(p.time).unwrap_or(time), set(p.timeout).unwrap_or(timeout))),
            ),
        };
        Ok(Settings {
            transport: transport(&self.transport).map_err(tls::Error)?,
            tls: self.tls.get().map(|t| t.load(&[b"h2"])).transpose()?,
            streams_max: match self.max_concurrent_streams {
                0 => defaults.streams_max,
                n => n,
            },
            age_max,
            age_grace,
            ping,
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
        for (key, on) in [
            ("cors", self.cors.is_on()),
            ("auth", self.auth.is_on()),
            ("middlewares", !self.middlewares.is_empty()),
        ] {
            if on {
                fault(&mut faults, key, NOT_YET);
            }
        }
        faults
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
            header_timeout: set(self.read_header_timeout).unwrap_or(defaults.header_timeout),
            keep_alive: self.keep_alives_enabled,
            ..defaults
        })
    }
}

/// A header as a client or server sends it; a bad value is never shown.
pub fn header(name: &str, value: &str) -> Result<(http::HeaderName, http::HeaderValue), String> {
    let name = http::HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("invalid header name \"{name}\""))?;
    let mut value = http::HeaderValue::from_str(value)
        .map_err(|_| format!("the value of header \"{name}\" is not valid"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

// --- Clients ---

/// `compression` of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Compression {
    /// Bytes as they are.
    #[serde(rename = "none", alias = "")]
    None,
    /// RFC 1952.
    #[serde(rename = "gzip")]
    Gzip,
    /// RFC 8878.
    #[serde(rename = "zstd")]
    Zstd,
    /// As `deflate`, by its other name.
    #[serde(rename = "zlib")]
    Zlib,
    /// A zlib stream.
    #[serde(rename = "deflate")]
    Deflate,
    /// Block format over HTTP, framed over gRPC.
    #[serde(rename = "snappy")]
    Snappy,
    /// Framed format.
    #[serde(rename = "x-snappy-framed")]
    SnappyFramed,
    /// lz4 frames.
    #[serde(rename = "lz4")]
    Lz4,
}

impl Compression {
    /// Over HTTP: the token and what it means. `None` = as it is.
    pub fn http(self) -> Option<(&'static str, Encoding)> {
        Some(match self {
            Compression::None => return None,
            Compression::Gzip => ("gzip", Encoding::Gzip),
            Compression::Zstd => ("zstd", Encoding::Zstd),
            Compression::Zlib => ("zlib", Encoding::Deflate),
            Compression::Deflate => ("deflate", Encoding::Deflate),
            Compression::Snappy => ("snappy", Encoding::SnappyBlock),
            Compression::SnappyFramed => ("x-snappy-framed", Encoding::SnappyFramed),
            Compression::Lz4 => ("lz4", Encoding::Lz4),
        })
    }

    /// Over gRPC; an error for what gRPC clients of the collector do not offer.
    pub fn grpc(self) -> Result<Option<(&'static str, Encoding)>, String> {
        Ok(match self {
            Compression::None => None,
            Compression::Gzip => Some(("gzip", Encoding::Gzip)),
            Compression::Zstd => Some(("zstd", Encoding::Zstd)),
            Compression::Snappy => Some(("snappy", Encoding::SnappyFramed)),
            other => {
                let name = other.http().map_or("", |(name, _)| name);
                return Err(format!("unsupported compression type \"{name}\""));
            }
        })
    }
}

/// The client block of a gRPC exporter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcClientConfig {
    /// `host:port`, `dns:///host:port`, `unix:///path`, ...; `https://` forces TLS. Required.
    pub endpoint: String,
    /// Absent = what the exporter chooses.
    pub compression: Option<Compression>,
    /// On with the system's authorities unless `insecure`.
    pub tls: ClientTls,
    /// Pings; absent = none.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub keepalive: Optional<ClientKeepalive>,
    /// Accepted, without effect.
    pub read_buffer_size: u64,
    /// Accepted, without effect.
    pub write_buffer_size: u64,
    /// Accepted: a call waits for a connection attempt in any case.
    pub wait_for_ready: bool,
    /// Sent with each call, where the key is not there already.
    pub headers: MapList<Secret<String>>,
    /// `round_robin` (default) or `pick_first`.
    pub balancer_name: String,
    /// Instead of the endpoint in `:authority`.
    pub authority: String,
    /// Instead of ours.
    pub user_agent: String,
    /// Not supported yet.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub auth: Optional<AuthBlock>,
    /// Not supported yet.
    pub middlewares: Vec<MiddlewareBlock>,
}

impl Default for GrpcClientConfig {
    fn default() -> GrpcClientConfig {
        GrpcClientConfig {
            endpoint: String::new(),
            compression: None,
            tls: ClientTls::default(),
            keepalive: Optional::None,
            read_buffer_size: 0,
            write_buffer_size: 0,
            wait_for_ready: false,
            headers: MapList::default(),
            balancer_name: String::new(),
            authority: String::new(),
            user_agent: String::new(),
            auth: Optional::None,
            middlewares: Vec::new(),
        }
    }
}

/// `keepalive` of a client.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientKeepalive {
    /// Ping this often; at least 10 s.
    pub time: Duration,
    /// Close if the answer takes longer.
    pub timeout: Duration,
    /// Ping idle connections too.
    pub permit_without_stream: bool,
}

impl Default for ClientKeepalive {
    fn default() -> ClientKeepalive {
        ClientKeepalive {
            time: Duration(StdDuration::from_secs(10)),
            timeout: Duration(StdDuration::from_secs(10)),
            permit_without_stream: false,
        }
    }
}

impl GrpcClientConfig {
    /// Every fault that shows without I/O.
    pub fn faults(&self) -> Vec<KeyFault> {
        let mut faults = Vec::new();
        if self.endpoint.is_empty() {
            fault(&mut faults, "endpoint", "requires a non-empty \"endpoint\"");
        } else if let Err(text) = crate::resolve::Target::parse(&self.endpoint) {
            fault(&mut faults, "endpoint", text);
        }
        if let Some(Err(text)) = self.compression.map(Compression::grpc) {
            fault(&mut faults, "compression", text);
        }
        if !["", "round_robin", "pick_first"].contains(&self.balancer_name.as_str()) {
            fault(
                &mut faults,
                "balancer_name",
                format!("invalid balancer_name: {}", self.balancer_name),
            );
        }
        client_faults(
            &mut faults,
            &self.tls,
            &self.headers,
            &self.auth,
            &self.middlewares,
        );
        faults
    }
}

fn client_faults(
    faults: &mut Vec<KeyFault>,
    tls: &ClientTls,
    headers: &MapList<Secret<String>>,
    auth: &Optional<AuthBlock>,
    middlewares: &[MiddlewareBlock],
) {
    for (key, text) in tls.faults() {
        fault(faults, &format!("tls.{key}"), text);
    }
    for (name, value) in headers.iter() {
        if let Err(text) = header(name, value.expose()) {
            fault(faults, "headers", text);
        }
    }
    if auth.is_on() {
        fault(faults, "auth", NOT_YET);
    }
    if !middlewares.is_empty() {
        fault(faults, "middlewares", NOT_YET);
    }
}

/// The client block of an HTTP exporter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpClientConfig {
    /// Base URL.
    pub endpoint: String,
    /// Not supported yet.
    pub proxy_url: String,
    /// For `https` URLs.
    pub tls: ClientTls,
    /// Accepted, without effect.
    pub read_buffer_size: u64,
    /// Accepted, without effect.
    pub write_buffer_size: u64,
    /// For a whole request; absent = what the exporter chooses, 0 = none.
    pub timeout: Option<Duration>,
    /// Set on every request, over our own.
    pub headers: MapList<Secret<String>>,
    /// Not supported yet.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub auth: Optional<AuthBlock>,
    /// Absent = what the exporter chooses.
    pub compression: Option<Compression>,
    /// How hard.
    pub compression_params: CompressionParams,
    /// Accepted; idle connections are bounded for each host.
    pub max_idle_conns: i64,
    /// Idle connections kept; 0 = 100.
    pub max_idle_conns_per_host: i64,
    /// Accepted, without effect: the exporter's consumers bound it.
    pub max_conns_per_host: i64,
    /// How long an idle connection is kept.
    pub idle_conn_timeout: Duration,
    /// A connection for each request.
    pub disable_keep_alives: bool,
    /// Offer HTTP/2 under TLS.
    pub force_attempt_http2: bool,
    /// Ping HTTP/2 connections after this long without a sign of life; 0 = never.
    pub http2_read_idle_timeout: Duration,
    /// Close if the answer takes longer; 0 = 15 s.
    pub http2_ping_timeout: Duration,
    /// Not supported yet.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub cookies: Optional<Cookies>,
    /// Not supported yet.
    pub middlewares: Vec<MiddlewareBlock>,
}

impl Default for HttpClientConfig {
    fn default() -> HttpClientConfig {
        HttpClientConfig {
            endpoint: String::new(),
            proxy_url: String::new(),
            tls: ClientTls::default(),
            read_buffer_size: 0,
            write_buffer_size: 0,
            timeout: None,
            headers: MapList::default(),
            auth: Optional::None,
            compression: None,
            compression_params: CompressionParams::default(),
            max_idle_conns: 100,
            max_idle_conns_per_host: 0,
            max_conns_per_host: 0,
            idle_conn_timeout: Duration(StdDuration::from_secs(90)),
            disable_keep_alives: false,
            force_attempt_http2: true,
            http2_read_idle_timeout: Duration::default(),
            http2_ping_timeout: Duration::default(),
            cookies: Optional::None,
            middlewares: Vec::new(),
        }
    }
}

/// `compression_params`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompressionParams {
    /// 0 = the default (1 for gzip and zstd).
    pub level: i32,
}

/// `cookies`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cookies {}

impl HttpClientConfig {
    /// Every fault that shows without I/O; endpoints are the exporter's to check.
    pub fn faults(&self) -> Vec<KeyFault> {
        let mut faults = Vec::new();
        client_faults(
            &mut faults,
            &self.tls,
            &self.headers,
            &self.auth,
            &self.middlewares,
        );
        if !self.proxy_url.is_empty() {
            fault(&mut faults, "proxy_url", NOT_YET);
        }
        if self.cookies.is_on() {
            fault(&mut faults, "cookies", NOT_YET);
        }
        let level = self.compression_params.level;
        let valid = match self.compression {
            None | Some(Compression::Gzip | Compression::Zlib | Compression::Deflate) => {
                (-2..=9).contains(&level)
            }
            Some(Compression::Zstd) => true,
            Some(_) => level == 0,
        };
        if !valid {
            let name = self
                .compression
                .and_then(Compression::http)
                .map_or("gzip", |(name, _)| name);
            let text = format!("unsupported parameters {{Level:{level}}} for compression type \"{name}\"");
            fault(&mut faults, "compression_params", text);
        }
        faults
    }
}

macro_rules! validate {
    ($($block:ty),+) => {
        $(impl config::section::Validate for $block {
            fn validate(&self, faults: &mut Vec<KeyFault>) {
                faults.extend(self.faults());
            }
        })+
    };
}

validate!(
    GrpcServerConfig,
    HttpServerConfig,
    GrpcClientConfig,
    HttpClientConfig
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_faults_name_their_key() {
        let check = |config: GrpcServerConfig, expected: &[&str]| {
            let keys: Vec<String> = config.faults().into_iter().map(|f| f.0).collect();
            assert_eq!(keys, expected);
        };
        let good = GrpcServerConfig {
            endpoint: "localhost:4317".into(),
            ..GrpcServerConfig::default()
        };
        check(good.clone(), &[]);
        check(
            GrpcServerConfig {
                endpoint: "localhost".into(),
                max_recv_msg_size_mib: -1,
                auth: Optional::Some(AuthBlock::default()),
                tls: Optional::Some(ServerTls::default()),
                ..good.clone()
            },
            &["endpoint", "tls.cert_file", "max_recv_msg_size_mib", "auth"],
        );
        check(
            GrpcServerConfig {
                transport: "udp".into(),
                ..good.clone()
            },
            &["transport"],
        );
        assert_eq!(good.message_bytes_max(), 4 << 20);
        assert_eq!(HttpServerConfig::default().body_bytes_max(), 20 << 20);
    }

    #[test]
    fn connection_ages_and_pings_follow_the_keepalive_block() {
        let seconds = |n| Duration(StdDuration::from_secs(n));
        let config = GrpcServerConfig {
            keepalive: Optional::Some(ServerKeepalive {
                server_parameters: Optional::Some(ServerParameters {
                    max_connection_age: seconds(30),
                    time: seconds(5),
                    ..ServerParameters::default()
                }),
                ..ServerKeepalive::default()
            }),
            ..GrpcServerConfig::default()
        };
        let settings = config.settings().unwrap();
        assert_eq!(settings.age_max, Some(seconds(30).0));
        assert_eq!(settings.age_grace, None);
        assert_eq!(settings.ping, Some((seconds(5).0, seconds(20).0)));
    }

    #[test]
    fn client_faults_never_show_a_header_value() {
        let config = GrpcClientConfig {
            endpoint: "x".into(),
            headers: MapList(vec![("authorization".into(), Secret::new("tok\nen".into()))]),
            compression: Some(Compression::Lz4),
            balancer_name: "best".into(),
            ..GrpcClientConfig::default()
        };
        let faults = config.faults();
        assert_eq!(faults.len(), 4);
        assert!(!format!("{faults:?} {config:?}").contains("tok"));
    }
}

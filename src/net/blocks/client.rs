//! Blocks of clients.

use std::time::Duration as StdDuration;

use config::{Duration, MapList, Optional, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AuthBlock, KeyFault, MiddlewareBlock, fault, header};
use crate::compression::Encoding;
use crate::tls::ClientTls;

/// `compression` of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
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
    /// A call waits until an address can be reached, not only for the attempt that runs.
    pub wait_for_ready: bool,
    /// Sent with each call, where the key is not there already.
    pub headers: MapList<Secret<String>>,
    /// `round_robin` (default) or `pick_first`.
    pub balancer_name: String,
    /// Instead of the endpoint in `:authority`.
    pub authority: String,
    /// Instead of ours.
    pub user_agent: String,
    /// Says who we are, by an extension.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub auth: Optional<AuthBlock>,
    /// No extension is one yet, so whatever is named here is refused at the start.
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientKeepalive {
    /// Ping after this long without a byte from the peer; at least 10 s, whatever stands here.
    pub time: Duration,
    /// Close if the answer takes longer; 0 = 20 s.
    pub timeout: Duration,
    /// Ping connections without calls too.
    pub permit_without_stream: bool,
}

impl GrpcClientConfig {
    /// Whether connections are encrypted; an endpoint with `https://` says so, too.
    pub fn is_tls(&self) -> bool {
        self.endpoint.starts_with("https://") || self.tls.is_on()
    }

    /// Every fault that shows without I/O.
    pub fn faults(&self) -> Vec<KeyFault> {
        let mut faults = Vec::new();
        if self.endpoint.is_empty() {
            fault(&mut faults, "endpoint", "requires a non-empty \"endpoint\"");
        } else {
            match crate::resolve::Target::parse(&self.endpoint) {
                Err(text) => fault(&mut faults, "endpoint", text),
                Ok(target) => {
                    if let Err(text) = crate::client::authority(self, &target) {
                        fault(&mut faults, "authority", text);
                    }
                }
            }
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
    if let Some(text) = auth.get().and_then(AuthBlock::fault) {
        fault(faults, "auth", text);
    }
    for middleware in middlewares {
        if let Err(error) = config::ComponentId::parse(&middleware.id) {
            fault(faults, "middlewares", error.to_string());
        }
    }
}

/// The client block of an HTTP exporter.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpClientConfig {
    /// Base URL.
    pub endpoint: String,
    /// `[http[s]://][user:password@]host[:port]`: instead of the environment's proxies, and without exceptions.
    pub proxy_url: Secret<String>,
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
    /// Says who we are, by an extension.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub auth: Optional<AuthBlock>,
    /// Absent = what the exporter chooses.
    pub compression: Option<Compression>,
    /// How hard.
    pub compression_params: CompressionParams,
    /// Idle HTTP/1.1 connections kept in all; 0 = any number.
    pub max_idle_conns: i64,
    /// Idle HTTP/1.1 connections kept for each host; 0 = 100.
    pub max_idle_conns_per_host: i64,
    /// Connections open at once for each host; requests wait for one. 0 = any number.
    pub max_conns_per_host: i64,
    /// How long an idle connection is kept; 0 = as long as the peer likes.
    pub idle_conn_timeout: Duration,
    /// A connection for each request.
    pub disable_keep_alives: bool,
    /// Offer HTTP/2 under TLS.
    pub force_attempt_http2: bool,
    /// Ping HTTP/2 connections after this long without a sign of life; 0 = never.
    pub http2_read_idle_timeout: Duration,
    /// Close if the answer takes longer; 0 = 15 s.
    pub http2_ping_timeout: Duration,
    /// Cookies that a host sets are sent back to it.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub cookies: Optional<Cookies>,
    /// No extension is one yet, so whatever is named here is refused at the start.
    pub middlewares: Vec<MiddlewareBlock>,
}

impl Default for HttpClientConfig {
    fn default() -> HttpClientConfig {
        HttpClientConfig {
            endpoint: String::new(),
            proxy_url: Secret::default(),
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompressionParams {
    /// 0 = the default (1 for gzip and zstd).
    pub level: i32,
}

/// `cookies`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
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
        if !self.proxy_url.expose().is_empty()
            && let Err(text) = crate::proxy::Proxy::parse(self.proxy_url.expose())
        {
            fault(&mut faults, "proxy_url", text);
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

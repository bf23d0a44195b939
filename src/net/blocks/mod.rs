//! The config blocks of servers and clients, with the collector's keys and defaults (configgrpc, confighttp).
//!
//! What is wrong with a block and shows without I/O, [`GrpcServerConfig::faults`] and its siblings say. Buffer sizes have
//! no meaning here: they are accepted and change nothing.

mod client;
mod server;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use client::{
    ClientKeepalive, Compression, CompressionParams, Cookies, GrpcClientConfig, HttpClientConfig,
};
pub use server::{
    CorsBlock, Dialer, EnforcementPolicy, GrpcServerConfig, HttpServerConfig, ServerKeepalive,
    ServerParameters,
};

/// A key below a block, and what is wrong with it.
pub type KeyFault = (String, String);

/// `auth`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthBlock {
    /// Id of an extension.
    pub authenticator: String,
    /// Query parameters that the authenticator sees as headers.
    pub request_params: Vec<String>,
}

impl AuthBlock {
    /// What is wrong with it, as far as shows without the extensions.
    fn fault(&self) -> Option<String> {
        match config::ComponentId::parse(&self.authenticator) {
            Ok(_) => None,
            Err(_) if self.authenticator.is_empty() => {
                Some("authenticator must be the id of an extension".into())
            }
            Err(error) => Some(format!("authenticator: {error}")),
        }
    }
}

/// One of `middlewares`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MiddlewareBlock {
    /// Id of an extension.
    pub id: String,
}

fn fault(faults: &mut Vec<KeyFault>, key: &str, message: impl Into<String>) {
    faults.push((key.to_owned(), message.into()));
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
    use std::time::Duration as StdDuration;

    use config::{Duration, MapList, Optional, Secret};

    use super::*;
    use crate::server::PingPolicy;
    use crate::tls::ServerTls;

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
                    max_connection_idle: seconds(40),
                    ..ServerParameters::default()
                }),
                enforcement_policy: Optional::Some(EnforcementPolicy {
                    min_time: seconds(7),
                    permit_without_stream: true,
                }),
            }),
            ..GrpcServerConfig::default()
        };
        let settings = config.settings().unwrap();
        assert_eq!(settings.age_max, Some(seconds(30).0));
        assert_eq!(settings.age_grace, None);
        assert_eq!(settings.idle_max, Some(seconds(40).0));
        assert_eq!(settings.ping, Some((seconds(5).0, seconds(20).0)));
        let policy = |min, without_stream| PingPolicy {
            min_interval: seconds(min).0,
            without_stream,
        };
        assert_eq!(settings.ping_policy, Some(policy(7, true)));
        let plain = GrpcServerConfig::default().settings().unwrap();
        assert_eq!(plain.ping_policy, Some(policy(300, false)), "grpc-go's");
        assert_eq!((plain.idle_max, plain.age_max), (None, None));
    }

    #[test]
    fn times_of_an_http_server_follow_the_read_timeout() {
        // read, header, idle, write, each in seconds as written; what holds of the last three.
        let check = |written: [u64; 4], expected: [u64; 3]| {
            let [read, header, idle, write] = written.map(|n| Duration(StdDuration::from_secs(n)));
            let config = HttpServerConfig {
                read_timeout: read,
                read_header_timeout: header,
                idle_timeout: idle,
                write_timeout: write,
                ..HttpServerConfig::default()
            };
            let settings = config.settings().unwrap();
            let got = [
                settings.header_timeout,
                settings.idle_max.unwrap(),
                settings.write_timeout,
            ];
            assert_eq!(got.map(|d| d.as_secs()), expected, "{written:?}");
            assert_eq!(settings.ping_policy, None);
        };
        check([0, 0, 0, 0], [75, 75, 60]);
        check([5, 0, 0, 0], [5, 5, 60]);
        check([5, 6, 7, 8], [6, 7, 8]);
        check([0, 6, 0, 8], [6, 75, 8]);
    }

    #[test]
    fn transports_are_told_apart() {
        let check = |transport: &str, endpoint: &str, expected: Option<&str>| {
            let config = HttpServerConfig {
                transport: transport.into(),
                endpoint: endpoint.into(),
                ..HttpServerConfig::default()
            };
            let faults = config.faults();
            let text = faults.first().map(|f| f.1.as_str());
            match (text, expected) {
                (None, None) => {}
                (Some(text), Some(part)) => assert!(text.contains(part), "{transport}: {text}"),
                other => panic!("{transport}: {other:?}"),
            }
        };
        for transport in ["", "tcp", "tcp4", "tcp6"] {
            check(transport, "localhost:1", None);
        }
        check("unix", "/tmp/x.sock", None);
        check("unixpacket", "/tmp/x.sock", Some("use unix"));
        for transport in ["udp", "ip4", "npipe", "TCP", "sctp"] {
            let text = format!("unsupported transport type \"{transport}\"");
            check(transport, "localhost:1", Some(&text));
        }
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

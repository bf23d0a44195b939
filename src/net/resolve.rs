//! Endpoints as the collector writes them, and the addresses behind them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::auth::BoxFuture;
use crate::server::Transport;

/// Where addresses come from.
pub trait Resolve: Send + Sync {
    /// The addresses of a name, in order of preference. An address is its own name.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Resolve for System {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(addresses(host, port))
    }
}

/// Where a gRPC client goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every address of a name, with this port.
    Dns {
        /// Name or address, without brackets.
        host: String,
        /// From 1.
        port: u16,
    },
    /// One connection to whatever the name means when it is made.
    Passthrough {
        /// Name or address, without brackets.
        host: String,
        /// From 1.
        port: u16,
    },
    /// A unix socket.
    Unix(String),
}

impl Target {
    /// Reads `host:port` with or without `http://`, `https://`, `dns:`, `dns:///`, `passthrough:`, `passthrough:///`, or
    /// `unix:path`, `unix:///path`.
    pub fn parse(endpoint: &str) -> Result<Target, String> {
        for scheme in ["unix://", "unix:"] {
            if let Some(path) = endpoint.strip_prefix(scheme) {
                return Ok(Target::Unix(path.to_owned()));
            }
        }
        let mut rest = endpoint;
        for scheme in ["http://", "https://"] {
            rest = rest.strip_prefix(scheme).unwrap_or(rest);
        }
        let (scheme, rest) = match rest.split_once("://") {
            Some((scheme @ ("dns" | "passthrough"), path)) => match path.split_once('/') {
                Some(("", path)) => (scheme, path),
                _ if scheme == "dns" => {
                    return Err(
                        "a name server in the endpoint is not supported; use dns:///host:port".into(),
                    );
                }
                path => (scheme, path.map_or("", |(_, path)| path)),
            },
            Some((scheme, _)) => {
                let text = "use host:port, dns:///host:port, passthrough:///host:port or unix:///path";
                return Err(format!("the scheme \"{scheme}\" is not supported; {text}"));
            }
            None => match rest.split_once(':') {
                Some((scheme @ ("dns" | "passthrough"), path)) if path.contains(':') => (scheme, path),
                _ => ("dns", rest),
            },
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = split_port(rest)?;
        if host.is_empty() {
            return Err(format!("no host in \"{endpoint}\""));
        }
        let host = host.to_owned();
        Ok(match scheme {
            "dns" => Target::Dns { host, port },
            _ => Target::Passthrough { host, port },
        })
    }

    /// What stands in `:authority`.
    pub fn authority(&self) -> String {
        match self {
            Target::Dns { host, port } | Target::Passthrough { host, port } => host_port(host, *port),
            Target::Unix(_) => "localhost".into(),
        }
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Splits `host:port`, `[v6]:port`, `:port`; the port must be a number.
pub fn split_port(endpoint: &str) -> Result<(&str, u16), String> {
    let (host, port) = match endpoint.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest
                .split_once(']')
                .ok_or_else(|| format!("missing ']' in \"{endpoint}\""))?;
            (host, after.strip_prefix(':').unwrap_or(""))
        }
        None => endpoint.rsplit_once(':').unwrap_or((endpoint, "")),
    };
    if port.is_empty() {
        return Err(format!("missing port in \"{endpoint}\""));
    }
    let number: u16 = port.parse().map_err(|_| format!("invalid port \"{port}\""))?;
    Ok((host, number))
}

/// The addresses of a client's target, in the resolver's order, without repeats.
pub async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for addr in tokio::net::lookup_host((host, port)).await? {
        if !found.contains(&addr) {
            found.push(addr);
        }
    }
    Ok(found)
}

/// Addresses that a listener may try in order; an empty host means every interface.
pub async fn listen_addresses(endpoint: &str, transport: Transport) -> io::Result<Vec<SocketAddr>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let (host, port) = split_port(endpoint).map_err(invalid)?;
    let mut found = if host.is_empty() {
        // The kernel's default lets an IPv6 socket take IPv4 too.
        vec![
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        ]
    } else {
        addresses(host, port).await?
    };
    match transport {
        Transport::Tcp4 => found.retain(SocketAddr::is_ipv4),
        Transport::Tcp6 => found.retain(SocketAddr::is_ipv6),
        // As Go: a name's IPv4 address first.
        Transport::Tcp if !host.is_empty() => found.sort_by_key(SocketAddr::is_ipv6),
        Transport::Tcp | Transport::Unix => {}
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_endpoints_as_the_collector_does() {
        let dns = |host: &str, port| {
            Ok(Target::Dns {
                host: host.into(),
                port,
            })
        };
        let check = |text: &str, expected: Result<Target, &str>| {
            assert_eq!(Target::parse(text), expected.map_err(str::to_owned), "{text}");
        };
        check("a:1", dns("a", 1));
        check("http://a:1", dns("a", 1));
        check("https://a.b:4317/", dns("a.b", 4317));
        check("dns:///a:1", dns("a", 1));
        check(
            "dns://8.8.8.8/a:1",
            Err("a name server in the endpoint is not supported; use dns:///host:port"),
        );
        check("dns:a:1", dns("a", 1));
        check("dns:1", dns("dns", 1));
        let passthrough = || {
            Ok(Target::Passthrough {
                host: "a".into(),
                port: 1,
            })
        };
        check("passthrough:///a:1", passthrough());
        check("passthrough://x/a:1", passthrough());
        check("passthrough:a:1", passthrough());
        check(
            "xds:///a:1",
            Err(
                "the scheme \"xds\" is not supported; use host:port, dns:///host:port, passthrough:///host:port or unix:///path",
            ),
        );
        check("[::1]:5", dns("::1", 5));
        check("unix:///run/x", Ok(Target::Unix("/run/x".into())));
        check("unix:x", Ok(Target::Unix("x".into())));
        check("a", Err("missing port in \"a\""));
        check("a:", Err("missing port in \"a:\""));
        check("a:x", Err("invalid port \"x\""));
        check("a:99999", Err("invalid port \"99999\""));
        check(":1", Err("no host in \":1\""));
        check("[::1:5", Err("missing ']' in \"[::1:5\""));
        assert_eq!(Target::parse("[::1]:5").unwrap().authority(), "[::1]:5");
    }

    #[tokio::test]
    async fn finds_addresses_to_listen_on() {
        let got = listen_addresses(":0", Transport::Tcp4).await.unwrap();
        assert_eq!(got, ["0.0.0.0:0".parse().unwrap()]);
        let got = listen_addresses("127.0.0.1:5", Transport::Tcp).await.unwrap();
        assert_eq!(got, ["127.0.0.1:5".parse().unwrap()]);
        assert!(listen_addresses("127.0.0.1", Transport::Tcp).await.is_err());
    }
}

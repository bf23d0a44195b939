//! Proxies: from the environment, or from `proxy_url`.
//!
//! `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (or in lower case) are read as Go's httpproxy reads them, because that is
//! what a collector's deployment was written for: `localhost` and loopback addresses are never proxied, names match
//! with their subdomains, addresses by network. A proxy's credentials are in the header that is sent to it and nowhere
//! else.

use std::net::IpAddr;

use config::Secret;
use http::HeaderValue;

use crate::grpc::base64;

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Spoken to under TLS.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// From 1.
    pub port: u16,
    authorization: Option<Secret<String>>,
}

impl Proxy {
    /// Reads `[http[s]://][user:password@]host[:port]`. The message never holds a part of the text that may be secret.
    pub fn parse(text: &str) -> Result<Proxy, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            scheme @ ("socks5" | "socks5h") => {
                return Err(format!(
                    "a {scheme} proxy is not supported; use one that speaks HTTP"
                ));
            }
            _ => return Err("the proxy's URL must begin with http:// or https://".into()),
        };
        let rest = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, rest),
        };
        let (host, port) = split(host).ok_or("the proxy's URL has no valid port")?;
        if host.is_empty() {
            return Err("the proxy's URL has no host".into());
        }
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let pair = [&decoded(name)[..], b":", &decoded(password)].concat();
            let mut text = base64(&pair);
            while !text.len().is_multiple_of(4) {
                text.push('=');
            }
            Secret::new(format!("Basic {text}"))
        });
        Ok(Proxy {
            tls,
            host: host.to_owned(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            authorization,
        })
    }

    /// What `Proxy-Authorization` says; marked as sensitive.
    pub fn authorization(&self) -> Option<HeaderValue> {
        let text = self.authorization.as_ref()?.expose();
        let mut value = HeaderValue::from_str(text).expect("base64 is a valid header value");
        value.set_sensitive(true);
        Some(value)
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, `v6`; `None` if the port is no number.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, after.strip_prefix(':').unwrap_or(after))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, port),
            _ => (text, ""),
        },
    };
    if port.is_empty() {
        return Some((host, None));
    }
    Some((host, Some(port.parse().ok().filter(|p| *p > 0)?)))
}

/// `%40` and so on; what is no such code stays.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let code = code.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// Which proxy stands before which target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    http: Option<Result<Proxy, String>>,
    https: Option<Result<Proxy, String>>,
    not: Vec<Not>,
    /// Even before a loopback address.
    always: bool,
}

/// What `NO_PROXY` excepts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Not {
    Everything,
    Network {
        base: IpAddr,
        bits: u8,
    },
    Address {
        ip: IpAddr,
        port: Option<u16>,
    },
    /// With its leading dot; `itself` = the name without it too.
    Domain {
        dotted: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    /// Those of this process's environment.
    pub fn of_environment() -> Proxies {
        Proxies::read(|name| std::env::var(name).ok())
    }

    /// Those of any environment.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Proxies {
        let either = |upper: &str| {
            let lower = upper.to_ascii_lowercase();
            let value = variable(upper).filter(|v| !v.is_empty());
            value.or_else(|| variable(&lower)).filter(|v| !v.is_empty())
        };
        let proxy = |name: &str| {
            let parsed = Proxy::parse(either(name)?.trim());
            Some(parsed.map_err(|e| format!("{name}: {e}")))
        };
        Proxies {
            http: proxy("HTTP_PROXY"),
            https: proxy("HTTPS_PROXY"),
            not: either("NO_PROXY")
                .map(|text| exceptions(&text))
                .unwrap_or_default(),
            always: false,
        }
    }

    /// One proxy for every target, without exceptions: `proxy_url`.
    pub fn always(proxy: Proxy) -> Proxies {
        Proxies {
            http: Some(Ok(proxy.clone())),
            https: Some(Ok(proxy)),
            not: Vec::new(),
            always: true,
        }
    }

    /// The proxy before a target, if there is one; an error if the environment names one that cannot be used.
    ///
    /// `tls` chooses between the variables; gRPC is always looked up as if it were `https`, as grpc-go does.
    pub fn before(&self, tls: bool, host: &str, port: u16) -> Result<Option<&Proxy>, String> {
        match if tls { &self.https } else { &self.http } {
            Some(found) if self.concerns(host, port) => match found {
                Ok(proxy) => Ok(Some(proxy)),
                Err(text) => Err(text.clone()),
            },
            _ => Ok(None),
        }
    }

    fn concerns(&self, host: &str, port: u16) -> bool {
        if self.always {
            return true;
        }
        let host = host.trim().to_ascii_lowercase();
        let ip: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || ip.is_some_and(|ip| ip.to_canonical().is_loopback()) {
            return false;
        }
        !self.not.iter().any(|not| not.matches(&host, ip, port))
    }
}

impl Not {
    fn matches(&self, host: &str, ip: Option<IpAddr>, at: u16) -> bool {
        let on = |port: &Option<u16>| port.is_none_or(|port| port == at);
        match (self, ip) {
            (Not::Everything, _) => true,
            (Not::Network { base, bits }, Some(ip)) => is_within(ip, *base, *bits),
            (Not::Address { ip: known, port }, Some(ip)) => {
                known.to_canonical() == ip.to_canonical() && on(port)
            }
            (Not::Domain { dotted, itself, port }, None) => {
                (host.ends_with(dotted) || (*itself && host == &dotted[1..])) && on(port)
            }
            _ => false,
        }
    }
}

fn is_within(ip: IpAddr, base: IpAddr, bits: u8) -> bool {
    match (ip.to_canonical(), base) {
        (IpAddr::V4(ip), IpAddr::V4(base)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            ip.to_bits() & mask == base.to_bits() & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(base)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            ip.to_bits() & mask == base.to_bits() & mask
        }
        _ => false,
    }
}

/// Parts that are no host, address or network are passed over, as Go does.
fn exceptions(text: &str) -> Vec<Not> {
    let mut out = Vec::new();
    for part in text.split(',') {
        let part = part.trim().to_ascii_lowercase();
        if part == "*" {
            return vec![Not::Everything];
        }
        if let Some(network) = network(&part) {
            out.push(network);
            continue;
        }
        let Some((host, port)) = split(&part).filter(|(host, _)| !host.is_empty()) else {
            continue;
        };
        out.push(match host.parse() {
            Ok(ip) => Not::Address { ip, port },
            Err(_) => {
                let host = host
                    .strip_prefix('*')
                    .filter(|h| h.starts_with('.'))
                    .unwrap_or(host);
                let itself = !host.starts_with('.');
                let dotted = if itself {
                    format!(".{host}")
                } else {
                    host.to_owned()
                };
                Not::Domain { dotted, itself, port }
            }
        });
    }
    out
}

fn network(text: &str) -> Option<Not> {
    let (base, bits) = text.split_once('/')?;
    let base: IpAddr = base.parse().ok()?;
    let bits: u8 = bits.parse().ok()?;
    let most = if base.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some(Not::Network { base, bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> (bool, String, u16, Option<String>) {
        let proxy = Proxy::parse(text).unwrap();
        let said = proxy.authorization().map(|v| v.to_str().unwrap().to_owned());
        (proxy.tls, proxy.host, proxy.port, said)
    }

    #[test]
    fn reads_a_proxys_url_with_its_credentials() {
        let check = |text: &str, tls: bool, host: &str, port: u16, said: Option<&str>| {
            assert_eq!(
                proxy(text),
                (tls, host.to_owned(), port, said.map(str::to_owned)),
                "{text}"
            );
        };
        check("http://p:3128", false, "p", 3128, None);
        check("p:3128", false, "p", 3128, None);
        check("p", false, "p", 80, None);
        check("HTTPS://p/", true, "p", 443, None);
        check("http://[::1]:8080/x?y", false, "::1", 8080, None);
        check("http://[::1]", false, "::1", 80, None);
        check("http://user:pass@p:1", false, "p", 1, Some("Basic dXNlcjpwYXNz"));
        check("user@p:1", false, "p", 1, Some("Basic dXNlcjo="));
        check("http://u:p%40ss@p:1", false, "p", 1, Some("Basic dTpwQHNz"));
        check("http://u:a@b@p:1", false, "p", 1, Some("Basic dTphQGI="));
        check("http://u:100%@p:1", false, "p", 1, Some("Basic dToxMDAl"));
    }

    #[test]
    fn a_bad_url_is_refused_without_showing_its_password() {
        let check = |text: &str, expected: &str| {
            let error = Proxy::parse(text).unwrap_err();
            assert!(
                error.contains(expected) && !error.contains("s3cret"),
                "{text}: {error}"
            );
        };
        check("socks5://u:s3cret@p:1", "a socks5 proxy is not supported");
        check("ftp://u:s3cret@p:1", "must begin with http");
        check("http://u:s3cret@p:x", "no valid port");
        check("http://u:s3cret@p:0", "no valid port");
        check("http://u:s3cret@:1", "no host");
        check("http://", "no host");
        check("http://[::1:80", "no valid port");
        assert!(!format!("{:?}", Proxy::parse("http://u:s3cret@p").unwrap()).contains("s3cret"));
    }

    fn environment(pairs: &'static [(&'static str, &'static str)]) -> Proxies {
        Proxies::read(|name| {
            let found = pairs.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_scheme_chooses_the_variable_and_upper_case_wins() {
        let all = environment(&[
            ("HTTP_PROXY", "http://a:1"),
            ("http_proxy", "http://lower:1"),
            ("HTTPS_PROXY", ""),
            ("https_proxy", "b:2"),
        ]);
        let host = |tls| {
            all.before(tls, "example.com", 80)
                .unwrap()
                .map(|p| p.host.as_str())
        };
        assert_eq!((host(false), host(true)), (Some("a"), Some("b")));
        assert_eq!(environment(&[]).before(true, "example.com", 443), Ok(None));
        let bad = environment(&[("HTTPS_PROXY", "socks5://x:1")]);
        assert_eq!(bad.before(false, "example.com", 80), Ok(None));
        let error = bad.before(true, "example.com", 443).unwrap_err();
        assert!(error.starts_with("HTTPS_PROXY: a socks5 proxy"), "{error}");
        // A target that goes around the proxies does not mind.
        assert_eq!(bad.before(true, "localhost", 443), Ok(None));
    }

    #[test]
    fn exceptions_match_as_in_go() {
        let check = |not: &str, host: &str, port: u16, proxied: bool| {
            let proxies = Proxies::read(|name| match name {
                "HTTPS_PROXY" => Some("p:1".into()),
                "no_proxy" => Some(not.into()),
                _ => None,
            });
            let got = proxies.before(true, host, port).unwrap().is_some();
            assert_eq!(got, proxied, "{not:?} {host} {port}");
        };
        check("", "example.com", 443, true);
        check("", "localhost", 443, false);
        check("", "LOCALHOST", 443, false);
        check("", "127.0.0.1", 443, false);
        check("", "127.9.9.9", 443, false);
        check("", "::1", 443, false);
        check("", "::ffff:127.0.0.1", 443, false);
        check("*", "example.com", 443, false);
        check("a.com, *", "example.com", 443, false);
        // A name with its subdomains; a dot or a star, only them.
        check("foo.com", "foo.com", 443, false);
        check("foo.com", "bar.foo.com", 443, false);
        check("foo.com", "xfoo.com", 443, true);
        check(" FOO.com ", "Bar.Foo.COM", 443, false);
        check(".foo.com", "foo.com", 443, true);
        check(".foo.com", "a.b.foo.com", 443, false);
        check("*.foo.com", "foo.com", 443, true);
        check("*.foo.com", "a.foo.com", 443, false);
        check("foo.com:443", "foo.com", 443, false);
        check("foo.com:443", "foo.com", 4317, true);
        check("x.com,foo.com", "foo.com", 1, false);
        // Addresses and networks.
        check("10.0.0.1", "10.0.0.1", 443, false);
        check("10.0.0.1", "10.0.0.2", 443, true);
        check("10.0.0.1:80", "10.0.0.1", 443, true);
        check("10.0.0.1:443", "10.0.0.1", 443, false);
        check("10.0.0.0/8", "10.9.8.7", 443, false);
        check("10.0.0.0/8", "11.0.0.1", 443, true);
        check("10.0.0.0/8", "ten.example.com", 443, true);
        check("0.0.0.0/0", "8.8.8.8", 443, false);
        check("10.0.0.0/33", "10.0.0.1", 443, true);
        check("fd00::/8", "fd12::1", 443, false);
        check("fd00::/8", "fe80::1", 443, true);
        check("[fd00::1]:443", "fd00::1", 443, false);
        check("fd00::1", "fd00::1", 443, false);
        check("::/0", "fd00::1", 443, false);
        check("::/0", "1.2.3.4", 443, true);
        // What is nothing is passed over.
        check(",, :80, foo.com:x,", "foo.com", 443, true);
    }

    #[test]
    fn proxy_url_has_no_exceptions() {
        let always = Proxies::always(Proxy::parse("p:1").unwrap());
        assert!(always.before(false, "localhost", 80).unwrap().is_some());
        assert!(always.before(true, "127.0.0.1", 80).unwrap().is_some());
    }
}

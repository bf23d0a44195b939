//! Addresses and URLs.

use std::net::IpAddr;

use aws_lc_rs::digest;
use codec::base64::{self, Alphabet};

use super::{Args, Def, Kind, Ready, any, of, opt};
use crate::compile::texts;
use crate::error::{Error, Result};
use crate::eval::Arg;
use crate::value::{ListBuilder, MapBuilder, Val};

pub(crate) const DEFS: &[Def] = &[
    Def::get(
        "CommunityID",
        &[
            any("source_ip"),
            any("source_port"),
            any("destination_ip"),
            any("destination_port"),
            opt("protocol", Kind::Value),
            opt("seed", Kind::Value),
        ],
        community_id,
    ),
    Def::get("IsInCIDR", &[any("target"), of("networks", Kind::Strs)], |a| {
        let text = a.str(0)?;
        let ip = std::str::from_utf8(&text)
            .ok()
            .and_then(|t| t.parse::<IpAddr>().ok());
        let cidrs = match a.ready(1) {
            Some(Ready::Cidrs(cidrs)) => &cidrs[..],
            _ => &[],
        };
        Ok(Val::Bool(ip.is_some_and(|ip| cidrs.iter().any(|c| c.holds(ip)))))
    })
    .prepared(|args, _| {
        let networks = texts(&args[1]);
        let cidrs = networks.iter().map(|text| {
            Cidr::parse(text).ok_or_else(|| format!("invalid network {:?}", String::from_utf8_lossy(text)))
        });
        args[1] = Arg::Ready(Ready::Cidrs(cidrs.collect::<std::result::Result<_, _>>()?));
        Ok(())
    }),
    Def::get("URL", &[any("target")], |a| {
        let text = a.utf8(0)?;
        if text.is_empty() {
            return Err(Error::new("the URL is empty"));
        }
        match text.strip_prefix('?') {
            Some(query) => parameters(query),
            None => url(&text).ok_or(Error::new("the text is no URL")),
        }
    }),
];

/// A network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cidr {
    base: IpAddr,
    bits: u32,
}

impl Cidr {
    fn parse(text: &[u8]) -> Option<Cidr> {
        let (base, bits) = std::str::from_utf8(text).ok()?.split_once('/')?;
        let base: IpAddr = base.parse().ok()?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let plain = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
        let bits = bits.parse().ok().filter(|bits| plain && *bits <= most)?;
        Some(Cidr { base, bits })
    }

    fn holds(&self, ip: IpAddr) -> bool {
        let high = |all: u128, width: u32| match width - self.bits {
            shift if shift == width => 0,
            shift => all >> shift,
        };
        // An IPv4 address in IPv6's clothes is an IPv4 address.
        match (self.base, ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                high(u128::from(a.to_bits()), 32) == high(u128::from(b.to_bits()), 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => high(a.to_bits(), 128) == high(b.to_bits(), 128),
            _ => false,
        }
    }
}

fn community_id(a: Args<'_>) -> Result<Val<'_>> {
    let ip = |i: usize| -> Result<Vec<u8>> {
        let ip: IpAddr = a.utf8(i)?.parse().map_err(|_| Error::new("invalid IP address"))?;
        Ok(match ip.to_canonical() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        })
    };
    let port = |i: usize| -> Result<u16> {
        let port = u16::try_from(a.int(i)?).ok().filter(|p| *p > 0);
        port.ok_or(Error::new("a port is between 1 and 65535"))
    };
    let (mut from, mut to) = ((ip(0)?, port(1)?), (ip(2)?, port(3)?));
    let protocol = match &*a.str_or(4, b"TCP")? {
        b"ICMP" => 1,
        b"TCP" => 6,
        b"UDP" => 17,
        b"RSVP" => 46,
        b"ICMP6" => 58,
        b"SCTP" => 132u8,
        _ => {
            return Err(Error::new(
                "unsupported protocol; known are ICMP, TCP, UDP, RSVP, ICMP6, SCTP",
            ));
        }
    };
    let seed = if a.has(5) { a.int(5)? } else { 0 };
    let seed = u16::try_from(seed).map_err(|_| Error::new("a seed is between 0 and 65535"))?;
    if to < from {
        std::mem::swap(&mut from, &mut to);
    }
    let mut text = seed.to_be_bytes().to_vec();
    text.extend_from_slice(&from.0);
    text.extend_from_slice(&to.0);
    text.extend_from_slice(&[protocol, 0]);
    text.extend_from_slice(&from.1.to_be_bytes());
    text.extend_from_slice(&to.1.to_be_bytes());
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
    Ok(Val::text(format!(
        "1:{}",
        base64::encode(Alphabet::Standard, hash.as_ref())
    )))
}

/// Percent escapes resolved; none if one is broken.
fn unescape(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, more)) = rest.split_first() {
        rest = more;
        match b {
            b'%' => {
                let [high, low, more @ ..] = rest else {
                    return None;
                };
                let digit = |b: u8| char::from(b).to_digit(16);
                out.push((digit(*high)? << 4 | digit(*low)?) as u8);
                rest = more;
            }
            b'+' if plus => out.push(b' '),
            b => out.push(b),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// `{"query": {name: [values]}}`.
fn parameters(query: &str) -> Result<Val<'static>> {
    let mut names: Vec<(String, ListBuilder)> = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (unescape(name, true), unescape(value, true)) else {
            continue;
        };
        let at = names.iter().position(|(n, _)| *n == name).unwrap_or_else(|| {
            names.push((name, ListBuilder::default()));
            names.len() - 1
        });
        names[at].1.push_str(value.as_bytes());
    }
    let (mut map, mut query) = (MapBuilder::default(), MapBuilder::default());
    for (name, values) in names {
        query.put_raw(name.as_bytes(), &values.finish());
    }
    map.put_raw(b"query", &query.finish());
    Ok(map.value())
}

/// The parts of a URL under the names of the semantic conventions.
fn url(whole: &str) -> Option<Val<'static>> {
    if whole.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return None;
    }
    let mut map = MapBuilder::default();
    let (rest, fragment) = match whole.split_once('#') {
        Some((rest, fragment)) => (rest, Some(unescape(fragment, false)?)),
        None => (whole, None),
    };
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, after)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), after),
        Some(("", _)) => return None,
        _ => (String::new(), rest),
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    // What has a scheme and no slash is opaque: it has no path.
    let path = if !scheme.is_empty() && authority.is_empty() && !path.starts_with('/') {
        ""
    } else {
        path
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (host, port) = host_port(host)?;
    let path = unescape(path, false)?;
    map.put_str("url.original", whole.as_bytes());
    map.put_str("url.domain", unescape(host, false)?.as_bytes());
    map.put_str("url.scheme", scheme.as_bytes());
    map.put_str("url.path", path.as_bytes());
    if let Some((_, extension)) = path.rsplit('/').next().and_then(|name| name.rsplit_once('.'))
        && !extension.is_empty()
    {
        map.put_str("url.extension", extension.as_bytes());
    }
    if !port.is_empty() {
        map.put(b"url.port", &Val::Int(port.parse().ok()?)).ok()?;
    }
    if let Some(fragment) = fragment.filter(|f| !f.is_empty()) {
        map.put_str("url.fragment", fragment.as_bytes());
    }
    if let Some(query) = query.filter(|q| !q.is_empty()) {
        map.put_str("url.query", query.as_bytes());
    }
    if let Some(user) = user {
        let (name, password) = user.split_once(':').map_or((user, None), |(n, p)| (n, Some(p)));
        map.put_str("url.user_info", user.as_bytes());
        map.put_str("url.username", unescape(name, false)?.as_bytes());
        if let Some(password) = password {
            map.put_str("url.password", unescape(password, false)?.as_bytes());
        }
    }
    Some(map.value())
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// Host without brackets, and port; none if the host has what no host has.
fn host_port(host: &str) -> Option<(&str, &str)> {
    if host.contains([' ', '"', '<', '>', '^', '`', '{', '|', '}', '\\']) {
        return None;
    }
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (name, after) = rest.split_once(']')?;
            (
                name,
                if after.is_empty() {
                    ""
                } else {
                    after.strip_prefix(':')?
                },
            )
        }
        None => host.rsplit_once(':').unwrap_or((host, "")),
    };
    let right = !name.contains(':') || host.starts_with('[');
    (right && port.bytes().all(|b| b.is_ascii_digit())).then_some((name, port))
}

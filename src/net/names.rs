//! What a host is called: canonical names, and names of addresses.
//!
//! The system's resolver tells addresses alone, so these questions go to the hosts file and then, over UDP, to the name
//! servers of `resolv.conf`, as Go's resolver does. Answers are small; one that was cut is used as far as it goes.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

/// Where names come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    hosts: String,
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
    attempts: usize,
}

const A: u16 = 1;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const PORT: u16 = 53;
/// Longest answer over UDP without extensions is 512 bytes; servers that send more are heard too.
const ANSWER_BYTES_MAX: usize = 4096;
/// Aliases of aliases.
const CHAIN_MAX: usize = 16;
const SERVERS_MAX: usize = 3;
const SEARCH_MAX: usize = 32;

impl Names {
    /// The system's: `/etc/hosts` and `/etc/resolv.conf`, either of which may be missing.
    pub async fn of_system() -> Names {
        let read = async |path| tokio::fs::read_to_string(path).await.unwrap_or_default();
        Names::new(read("/etc/hosts").await, &read("/etc/resolv.conf").await)
    }

    /// Out of the texts of a hosts file and a `resolv.conf`; what is not understood is passed over.
    pub fn new(hosts: String, resolv: &str) -> Names {
        let mut names = Names {
            hosts,
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in resolv.lines() {
            let line = line.split(['#', ';']).next().unwrap_or("");
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|w| w.parse::<IpAddr>().ok());
                    let room = names.servers.len() < SERVERS_MAX;
                    names
                        .servers
                        .extend(address.filter(|_| room).map(|ip| SocketAddr::new(ip, PORT)));
                }
                Some("domain" | "search") => {
                    names.search = words.take(SEARCH_MAX).map(str::to_owned).collect();
                }
                Some("options") => words.for_each(|option| names.option(option)),
                _ => {}
            }
        }
        names
    }

    /// Asks these servers instead.
    pub fn with_servers(self, servers: Vec<SocketAddr>) -> Names {
        Names { servers, ..self }
    }

    fn option(&mut self, option: &str) {
        let Some((name, Ok(number))) = option
            .split_once(':')
            .map(|(name, number)| (name, number.parse::<u64>()))
        else {
            return;
        };
        match name {
            "ndots" => self.ndots = number.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(number.clamp(1, 30)),
            "attempts" => self.attempts = number.clamp(1, 5) as usize,
            _ => {}
        }
    }

    /// The name that the hosts file puts first on the line where `host` stands.
    pub fn canonical_in_hosts(&self, host: &str) -> Option<&str> {
        self.hosts_lines()
            .find(|(_, names)| names.clone().any(|name| name == host))
            .and_then(|(_, mut names)| names.next())
    }

    /// Address and names of each line of the hosts file.
    fn hosts_lines(&self) -> impl Iterator<Item = (&str, std::str::SplitWhitespace<'_>)> {
        self.hosts.lines().filter_map(|line| {
            let mut words = line.split('#').next().unwrap_or("").split_whitespace();
            words.next().map(|address| (address, words))
        })
    }

    /// What a host is called after all its aliases, without a dot at the end: by the hosts file, else by the servers.
    ///
    /// Errors: no server knows an address of it, or none answers.
    pub async fn canonical(&self, host: &str) -> io::Result<String> {
        if let Some(name) = self.canonical_in_hosts(host) {
            return Ok(name.trim_end_matches('.').to_owned());
        }
        let mut last = not_found(host);
        for name in self.candidates(host) {
            for kind in [A, AAAA] {
                match self.ask(&name, kind).await {
                    Ok(answer) => match answer.owner(&name, kind) {
                        Some(owner) => return Ok(owner),
                        None => continue,
                    },
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }

    /// The first name of an address, without a dot at the end: by the hosts file, else by the servers.
    pub async fn of_address(&self, address: IpAddr) -> io::Result<String> {
        let in_hosts = self
            .hosts_lines()
            .find(|(text, _)| text.parse() == Ok(address))
            .and_then(|(_, mut names)| names.next());
        if let Some(name) = in_hosts {
            return Ok(name.trim_end_matches('.').to_owned());
        }
        let question = reverse(address);
        let answer = self.ask(&question, PTR).await?;
        answer.pointer().ok_or_else(|| not_found(&address.to_string()))
    }

    /// Names to ask for, in order: as it is first if it has enough dots, else with the search domains first.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(rooted) = host.strip_suffix('.') {
            return vec![rooted.to_owned()];
        }
        let searched = self
            .search
            .iter()
            .map(|d| format!("{host}.{}", d.trim_matches('.')));
        let mut all: Vec<String> = searched.collect();
        match host.matches('.').count() >= self.ndots {
            true => all.insert(0, host.to_owned()),
            false => all.push(host.to_owned()),
        }
        all
    }

    /// One question to each server in turn, as often as `attempts` says.
    async fn ask(&self, name: &str, kind: u16) -> io::Result<Answer> {
        let id = RandomState::new().hash_one(0u8) as u16;
        let question = question(id, name, kind)?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no name server");
        for _ in 0..self.attempts {
            for server in &self.servers {
                let heard = tokio::time::timeout(self.timeout, exchange(*server, &question)).await;
                match heard.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                    Ok(answer) if answer.code == 0 => return Ok(answer),
                    // No such name: the others would say the same.
                    Ok(answer) if answer.code == 3 => return Err(not_found(name)),
                    Ok(answer) => {
                        last = io::Error::other(format!("name server {server} answers code {}", answer.code));
                    }
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no such host: {name}"))
}

/// The name under which an address is asked for.
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let mut name = String::with_capacity(72);
            for byte in v6.octets().iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", byte & 15, byte >> 4));
            }
            name + "ip6.arpa"
        }
    }
}

fn question(id: u16, name: &str, kind: u16) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len() + 18);
    out.extend_from_slice(&id.to_be_bytes());
    // Recursion desired; one question.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 || name.len() > 253 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("no host name: {name}"),
            ));
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    Ok(out)
}

async fn exchange(server: SocketAddr, question: &[u8]) -> io::Result<Answer> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    loop {
        let len = socket.recv(&mut buffer).await?;
        // Anything else is an answer to somebody else's question.
        if let Some(answer) = Answer::read(&buffer[..len], question) {
            return Ok(answer);
        }
    }
}

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: u8,
    records: Vec<Record>,
}

#[derive(Debug, PartialEq, Eq)]
struct Record {
    owner: String,
    kind: u16,
    /// Of an alias or a pointer.
    target: Option<String>,
}

impl Answer {
    /// `None` if it does not answer the question.
    fn read(bytes: &[u8], question: &[u8]) -> Option<Answer> {
        let head = bytes.get(..12)?;
        let is_reply = head[2] & 0x80 != 0 && head[..2] == question[..2];
        let same = bytes
            .get(12..question.len())?
            .eq_ignore_ascii_case(&question[12..]);
        if !is_reply || head[4..6] != [0, 1] || !same {
            return None;
        }
        let count = u16::from_be_bytes([head[6], head[7]]);
        let mut at = question.len();
        let mut records = Vec::new();
        for _ in 0..count {
            match Record::read(bytes, &mut at) {
                Some(record) => records.push(record),
                None => break,
            }
        }
        Some(Answer {
            code: head[3] & 15,
            records,
        })
    }

    /// Who has the address, after all aliases of `name`; `None` = nobody.
    fn owner(&self, name: &str, kind: u16) -> Option<String> {
        let mut name = name.to_owned();
        for _ in 0..CHAIN_MAX {
            let of_it = |r: &&Record| r.owner.eq_ignore_ascii_case(&name);
            if let Some(record) = self.records.iter().filter(of_it).find(|r| r.kind == kind) {
                return Some(record.owner.clone());
            }
            let alias = self.records.iter().filter(of_it).find(|r| r.kind == CNAME)?;
            name = alias.target.clone()?;
        }
        None
    }

    fn pointer(&self) -> Option<String> {
        let pointer = self.records.iter().find(|r| r.kind == PTR)?;
        pointer.target.clone()
    }
}

impl Record {
    fn read(bytes: &[u8], at: &mut usize) -> Option<Record> {
        let owner = name(bytes, at)?;
        let head = bytes.get(*at..*at + 10)?;
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let len = usize::from(u16::from_be_bytes([head[8], head[9]]));
        *at += 10;
        bytes.get(*at..*at + len)?;
        let mut start = *at;
        *at += len;
        let target = match kind {
            CNAME | PTR => Some(name(bytes, &mut start)?),
            _ => None,
        };
        Some(Record { owner, kind, target })
    }
}

/// A name in a message, with what it refers to; `at` is then behind it.
fn name(bytes: &[u8], at: &mut usize) -> Option<String> {
    let mut out = String::new();
    let mut here = *at;
    let mut jumps = 0;
    loop {
        let len = usize::from(*bytes.get(here)?);
        match len {
            0 => {
                here += 1;
                break;
            }
            1..=63 => {
                let label = bytes.get(here + 1..here + 1 + len)?;
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(std::str::from_utf8(label).ok()?);
                here += 1 + len;
            }
            _ => {
                let low = usize::from(*bytes.get(here + 1)?);
                if len & 0xc0 != 0xc0 || jumps == CHAIN_MAX {
                    return None;
                }
                if jumps == 0 {
                    *at = here + 2;
                }
                jumps += 1;
                here = (len & 0x3f) << 8 | low;
            }
        }
        if out.len() > 253 {
            return None;
        }
    }
    if jumps == 0 {
        *at = here;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers from a table: name and type to records (owner, type, target or nothing).
    async fn server(
        rows: &'static [(&'static str, u16, &'static [(&'static str, u16, &'static str)])],
    ) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
                let asked = &buffer[..len];
                let mut at = 12;
                let wanted = name(asked, &mut at).unwrap();
                let kind = u16::from_be_bytes([asked[at], asked[at + 1]]);
                let found = rows.iter().find(|(n, k, _)| *n == wanted && *k == kind);
                let mut reply = asked.to_vec();
                reply[2] |= 0x80;
                reply[3] = if found.is_some() { 0 } else { 3 };
                let records = found.map_or(&[][..], |(_, _, records)| records);
                reply[7] = records.len() as u8;
                for (owner, kind, target) in records {
                    if *owner == wanted {
                        // As servers do: by reference to the question.
                        reply.extend_from_slice(&[0xc0, 12]);
                    } else {
                        reply.extend_from_slice(&encoded(owner));
                    }
                    reply.extend_from_slice(&kind.to_be_bytes());
                    reply.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
                    let data = if target.is_empty() {
                        vec![10, 0, 0, 1]
                    } else {
                        encoded(target)
                    };
                    reply.extend_from_slice(&(data.len() as u16).to_be_bytes());
                    reply.extend_from_slice(&data);
                }
                // An answer to another question comes first, and is passed over.
                let mut other = reply.clone();
                other[0] ^= 0xff;
                socket.send_to(&other, peer).await.unwrap();
                socket.send_to(&reply, peer).await.unwrap();
            }
        });
        address
    }

    fn encoded(name: &str) -> Vec<u8> {
        let bytes = question(0, name, A).unwrap();
        bytes[12..bytes.len() - 4].to_vec()
    }

    #[tokio::test]
    async fn follows_aliases_to_the_name_that_has_an_address() {
        let server = server(&[
            (
                "web.corp.test",
                A,
                &[
                    ("web.corp.test", CNAME, "edge.corp.test"),
                    ("edge.corp.test", CNAME, "n7.corp.test"),
                    ("n7.corp.test", A, ""),
                ],
            ),
            ("six.corp.test", A, &[]),
            ("six.corp.test", AAAA, &[("six.corp.test", AAAA, "")]),
            (
                "dead.corp.test",
                A,
                &[("dead.corp.test", CNAME, "gone.corp.test")],
            ),
            (
                "loop.corp.test",
                A,
                &[("loop.corp.test", CNAME, "loop.corp.test")],
            ),
        ])
        .await;
        let names = Names::new(
            "127.0.0.1 localhost\n10.1.1.1\tbox.corp.test. box # here\n".into(),
            "search corp.test\noptions ndots:2",
        )
        .with_servers(vec![server]);
        let check = async |host: &str, expected: Option<&str>| {
            let found = names.canonical(host).await.ok();
            assert_eq!(found.as_deref(), expected, "{host}");
        };
        check("web", Some("n7.corp.test")).await;
        check("six", Some("six.corp.test")).await;
        check("web.corp.test.", Some("n7.corp.test")).await;
        check("dead", None).await;
        check("loop", None).await;
        check("nowhere", None).await;
        check("box", Some("box.corp.test")).await;
        check("a..b", None).await;
    }

    #[tokio::test]
    async fn names_addresses() {
        let server = server(&[
            (
                "7.1.1.10.in-addr.arpa",
                PTR,
                &[("7.1.1.10.in-addr.arpa", PTR, "n7.corp.test")],
            ),
            (
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
                PTR,
                &[("x.ip6.arpa", PTR, "six.corp.test")],
            ),
        ])
        .await;
        let names = Names::new("10.1.1.1 box.corp.test box\n".into(), "").with_servers(vec![server]);
        let check = async |address: &str, expected: Option<&str>| {
            let found = names.of_address(address.parse().unwrap()).await.ok();
            assert_eq!(found.as_deref(), expected, "{address}");
        };
        check("10.1.1.1", Some("box.corp.test")).await;
        check("10.1.1.7", Some("n7.corp.test")).await;
        check("2001:db8::1", Some("six.corp.test")).await;
        check("10.1.1.8", None).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_costs_its_time_limit_and_the_next_is_asked() {
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let names = Names::new(String::new(), "options timeout:1 attempts:2")
            .with_servers(vec![silent.local_addr().unwrap()]);
        let start = tokio::time::Instant::now();
        let error = names.of_address("10.0.0.1".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }

    #[test]
    fn reads_resolv_conf() {
        let text = "# c\ndomain a.test\nsearch b.test c.test ; x\nnameserver 10.0.0.1\nnameserver ::1\n\
                    nameserver bad\nnameserver 10.0.0.2\nnameserver 10.0.0.3\noptions ndots:5 timeout:0 rotate attempts:9\n";
        let names = Names::new(String::new(), text);
        let servers: Vec<String> = names.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[::1]:53", "10.0.0.2:53"]);
        assert_eq!(names.search, ["b.test", "c.test"]);
        assert_eq!((names.ndots, names.timeout.as_secs(), names.attempts), (5, 1, 5));
        assert_eq!(names.candidates("x.y"), ["x.y.b.test", "x.y.c.test", "x.y"]);
    }

    #[test]
    fn no_answer_makes_it_panic() {
        use proptest::prelude::*;
        let asked = question(7, "a.b", A).unwrap();
        proptest!(|(tail in prop::collection::vec(any::<u8>(), 0..64), count in any::<u8>())| {
            let mut reply = asked.clone();
            reply[2] |= 0x80;
            reply[7] = count;
            reply.extend_from_slice(&tail);
            let answer = Answer::read(&reply, &asked).unwrap();
            prop_assert!(answer.records.len() <= usize::from(count));
            answer.owner("a.b", A);
            answer.pointer();
        });
    }
}

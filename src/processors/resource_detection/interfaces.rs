//! The network interfaces of this machine, by the kernel's own answer (rtnetlink), in the order of their numbers.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// One interface.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    number: u32,
    flags: u32,
    /// `eth0`.
    pub(super) name: String,
    /// Hardware address; empty if it has none.
    pub(super) mac: Vec<u8>,
    /// In the kernel's order.
    pub(super) addresses: Vec<IpAddr>,
}

impl Interface {
    /// Up, and not the loopback.
    pub(super) fn counts(&self) -> bool {
        const UP: u32 = 1;
        const LOOPBACK: u32 = 8;
        self.flags & UP != 0 && self.flags & LOOPBACK == 0
    }
}

const GET_LINK: u16 = 18;
const GET_ADDR: u16 = 22;
const NEW_LINK: u16 = 16;
const NEW_ADDR: u16 = 20;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Header of a message: length, type, flags, sequence, port.
const HEAD: usize = 16;
/// Kernels send dumps in parts of at most 32 KiB.
const PART_BYTES_MAX: usize = 64 << 10;
/// Interfaces with all their addresses; far beyond what a machine has.
const PARTS_MAX: usize = 1024;

/// All of them. Blocks for as long as the kernel takes, a second at most.
pub(super) fn list() -> io::Result<Vec<Interface>> {
    let mut all = Vec::new();
    dump(GET_LINK, 1, &mut |kind, body| {
        if kind == NEW_LINK {
            all.extend(link(body));
        }
    })?;
    dump(GET_ADDR, 2, &mut |kind, body| {
        if kind == NEW_ADDR
            && let Some((number, ip)) = address(body)
            && let Some(interface) = all.iter_mut().find(|i: &&mut Interface| i.number == number)
        {
            interface.addresses.push(ip);
        }
    })?;
    all.sort_by_key(|i| i.number);
    Ok(all)
}

fn dump(kind: u16, sequence: u32, each: &mut dyn FnMut(u16, &[u8])) -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // Protocol 0 is rtnetlink.
        None,
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(1)))?;
    // A request for all (0x301) of any family: a head and one word.
    let mut request = Vec::with_capacity(HEAD + 4);
    request.extend_from_slice(&(HEAD as u32 + 4).to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&0x301_u16.to_ne_bytes());
    request.extend_from_slice(&sequence.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    send(&socket, &request, SendFlags::empty())?;
    let mut part = vec![0; PART_BYTES_MAX];
    for _ in 0..PARTS_MAX {
        let (len, _) = recv(&socket, &mut part[..], RecvFlags::empty())?;
        if messages(&part[..len], sequence, each)? {
            return Ok(());
        }
    }
    Err(io::Error::other("the list of network interfaces has no end"))
}

/// Gives each message of one part to `each`; true if it was the last part.
fn messages(mut part: &[u8], sequence: u32, each: &mut dyn FnMut(u16, &[u8])) -> io::Result<bool> {
    while let (Some(len), Some(kind)) = (word(part, 0), half(part, 4)) {
        let len = len as usize;
        let Some(body) = part.get(HEAD..len) else {
            break;
        };
        if word(part, 8) == Some(sequence) {
            match kind {
                DONE => return Ok(true),
                ERROR => {
                    let code = word(body, 0).map_or(0, |w| (w as i32).saturating_neg());
                    return Err(io::Error::from_raw_os_error(code));
                }
                _ => each(kind, body),
            }
        }
        part = part.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(false)
}

fn link(body: &[u8]) -> Option<Interface> {
    const ADDRESS: u16 = 1;
    const NAME: u16 = 3;
    let mut interface = Interface {
        number: word(body, 4)?,
        flags: word(body, 8)?,
        ..Interface::default()
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            ADDRESS if value.iter().any(|b| *b != 0) => interface.mac = value.to_vec(),
            NAME => {
                let name = value.split(|b| *b == 0).next().unwrap_or(&[]);
                interface.name = String::from_utf8_lossy(name).into_owned();
            }
            _ => {}
        }
    }
    Some(interface)
}

/// The number of the interface, and its address.
fn address(body: &[u8]) -> Option<(u32, IpAddr)> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let number = word(body, 4)?;
    let find = |wanted| attributes(body.get(8..)?).find(|(kind, _)| *kind == wanted);
    // On a link between two points, the first is the other end.
    let (_, bytes) = find(LOCAL).or_else(|| find(ADDRESS))?;
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some((number, ip))
}

fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(half(bytes, 0)?);
        let kind = half(bytes, 2)?;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_loopback_that_does_not_count() {
        let all = list().unwrap();
        let lo = all.iter().find(|i| i.name == "lo").expect("Linux has one");
        assert!(!lo.counts());
        assert!(lo.mac.is_empty());
        assert!(lo.addresses.contains(&"127.0.0.1".parse().unwrap()));
        assert!(all.is_sorted_by_key(|i| i.number));
    }

    #[test]
    fn reads_what_the_kernel_sends() {
        let message = |kind: u16, body: &[u8]| {
            let mut out = (16 + body.len() as u32).to_ne_bytes().to_vec();
            out.extend_from_slice(&kind.to_ne_bytes());
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&7u32.to_ne_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(body);
            out.resize(out.len().next_multiple_of(4), 0);
            out
        };
        let attribute = |kind: u16, value: &[u8]| {
            let mut out = (4 + value.len() as u16).to_ne_bytes().to_vec();
            out.extend_from_slice(&kind.to_ne_bytes());
            out.extend_from_slice(value);
            out.resize(out.len().next_multiple_of(4), 0);
            out
        };
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&5u32.to_ne_bytes());
        body[8..12].copy_from_slice(&1u32.to_ne_bytes());
        body.extend(attribute(3, b"wg0\0"));
        body.extend(attribute(1, &[2, 0, 0, 0, 0, 1]));
        let mut point = vec![2, 32, 0, 0];
        point.extend_from_slice(&5u32.to_ne_bytes());
        point.extend(attribute(1, &[10, 0, 0, 9]));
        point.extend(attribute(2, &[10, 0, 0, 1]));
        let part = [
            message(NEW_LINK, &body),
            message(NEW_ADDR, &point),
            message(DONE, &[0; 4]),
        ]
        .concat();
        let (mut links, mut ips) = (Vec::new(), Vec::new());
        let last = messages(&part, 7, &mut |kind, body| match kind {
            NEW_LINK => links.extend(link(body)),
            _ => ips.extend(address(body)),
        });
        assert!(last.unwrap());
        let expected = Interface {
            number: 5,
            flags: 1,
            name: "wg0".into(),
            mac: vec![2, 0, 0, 0, 0, 1],
            addresses: Vec::new(),
        };
        assert_eq!(links, [expected]);
        assert_eq!(ips, [(5, "10.0.0.1".parse().unwrap())]);
        // Another's messages, a part that is cut, an error.
        assert!(!messages(&part, 8, &mut |_, _| panic!("not ours")).unwrap());
        assert!(!messages(&part[..20], 7, &mut |_, _| panic!("cut")).unwrap());
        let refused = message(ERROR, &(-13i32).to_ne_bytes());
        let error = messages(&refused, 7, &mut |_, _| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}

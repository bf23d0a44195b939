//! What lies in the journal's files, byte for byte. All numbers are little-endian.
//!
//! A segment is a header that stands twice, records (each at a multiple of eight) and, once it is sealed, an index of
//! them with a trailer at the very end. Beside each segment lies a log of completions. Everything carries CRC-32C, and
//! nothing is read that does not match its own.
//!
//! In an encrypted segment the tenant and the data of a record are one sealed text, and so is the index; sums are taken
//! over what lies on the disk. Lengths, items, kind, destinations and times stay in clear.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

use super::crypt::{Cipher, Lock, SALT, TAG};

/// Version of everything in this file. A reader knows all versions up to its own; a newer one it refuses, and does not
/// guess at.
pub(super) const VERSION: u32 = 1;

/// Length of one copy of a segment's header.
const HEADER: usize = 64;
/// Length of a segment's header: two copies, for a flipped bit in the only one would cost all that is encrypted.
pub(super) const SEGMENT_HEADER: usize = 2 * HEADER;
/// Length of the fixed part of a record.
pub(super) const RECORD_HEADER: usize = 40;
/// Length of a sealed segment's last bytes.
pub(super) const TRAILER: usize = 32;
/// Length of one completion.
pub(super) const DONE: usize = 32;

const SEGMENT_MAGIC: &[u8; 8] = b"WEIRJRNL";
const TRAILER_MAGIC: &[u8; 8] = b"WEIRINDX";
const RECORD_MAGIC: u32 = 0x4345_5257;

/// Largest record, with everything.
pub(super) const RECORD_MAX: usize = 1 << 30;

/// Number of a record: the segment it was first written to, and its place there. Never used twice, for a segment's
/// number is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// Records in one segment, at most.
pub(super) const RECORDS_MAX: u64 = 1 << 24;

impl Seq {
    pub(super) fn new(segment: u64, index: u64) -> Seq {
        Seq(segment << 24 | index)
    }
}

/// Number of a destination; its name stands in the table of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestId(pub u16);

/// What is known of a record without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the writer says that it holds; opaque here.
    pub kind: u8,
    /// How many items it holds.
    pub items: u32,
    /// Whose it is.
    pub tenant: Option<Arc<str>>,
    /// For whom it is.
    pub destinations: Arc<[DestId]>,
}

/// Where a record lies, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) seq: Seq,
    pub(super) offset: u64,
    /// From its header to the end of its data, without padding.
    pub(super) len: u32,
    /// When it was first written, in milliseconds since 1970.
    pub(super) written_ms: u64,
    pub(super) head: Head,
}

impl Entry {
    /// Bytes that it takes on the disk.
    pub(super) fn room(&self) -> u64 {
        padded(self.len as usize) as u64
    }
}

/// The next multiple of eight.
pub(super) fn padded(len: usize) -> usize {
    len.next_multiple_of(8)
}

pub(super) fn crc(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    digest.finalize() as u32
}

pub(super) fn u16_at(buf: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([buf[at], buf[at + 1]])
}

pub(super) fn u32_at(buf: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(buf[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(buf: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(buf[at..at + 8].try_into().expect("eight bytes"))
}

/// A segment's first bytes.
pub(super) fn segment_header(number: u64, lock: Option<&Lock>) -> [u8; SEGMENT_HEADER] {
    let mut out = [0; SEGMENT_HEADER];
    let (first, second) = out.split_at_mut(HEADER);
    first[..8].copy_from_slice(SEGMENT_MAGIC);
    first[8..12].copy_from_slice(&VERSION.to_le_bytes());
    first[16..24].copy_from_slice(&number.to_le_bytes());
    put_lock(lock, &mut first[12..]);
    let sum = crc(&[&first[..60]]);
    first[60..].copy_from_slice(&sum.to_le_bytes());
    second.copy_from_slice(first);
    out
}

/// flags u32; at 12 the key's id; at 20 the salt.
pub(super) fn put_lock(lock: Option<&Lock>, out: &mut [u8]) {
    if let Some(lock) = lock {
        out[..4].copy_from_slice(&ENCRYPTED.to_le_bytes());
        out[12..20].copy_from_slice(&lock.key);
        out[20..20 + SALT].copy_from_slice(&lock.salt);
    }
}

/// What [`put_lock`] put.
pub(super) fn lock_at(buf: &[u8]) -> Option<Lock> {
    (u32_at(buf, 0) & ENCRYPTED != 0).then(|| Lock {
        key: buf[12..20].try_into().expect("eight bytes"),
        salt: buf[20..20 + SALT].try_into().expect("as many as a salt has"),
    })
}

/// Flag of a file or a record.
const ENCRYPTED: u32 = 1;

/// What a segment's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderIs {
    /// Whole, and this is how it is encrypted.
    Good(Option<Lock>),
    /// Whole, but of a newer version.
    Version(u32),
    /// Torn, or no segment at all.
    Bad,
}

/// Reads whichever copy is whole.
pub(super) fn check_segment_header(buf: &[u8], number: u64) -> HeaderIs {
    let one = |buf: &[u8]| {
        if buf.len() < HEADER
            || &buf[..8] != SEGMENT_MAGIC
            || u32_at(buf, 60) != crc(&[&buf[..60]])
            || u64_at(buf, 16) != number
        {
            return HeaderIs::Bad;
        }
        match u32_at(buf, 8) {
            0 => HeaderIs::Bad,
            1..=VERSION => HeaderIs::Good(lock_at(&buf[12..])),
            newer => HeaderIs::Version(newer),
        }
    };
    let mut copies = buf.chunks(HEADER).take(2).map(one);
    copies.find(|is| *is != HeaderIs::Bad).unwrap_or(HeaderIs::Bad)
}

/// A record as it will lie on the disk.
pub(super) struct Encoded {
    /// All in front of its data, or of its sealed text.
    pub(super) front: Vec<u8>,
    /// Tenant and data, sealed. `None` if nothing is: then the data follows as it is.
    pub(super) sealed: Option<Vec<u8>>,
    /// Length of everything, without padding.
    pub(super) len: usize,
}

/// Where a record will lie.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    /// The file's key.
    pub(super) cipher: Option<&'a Cipher>,
    pub(super) offset: u64,
    /// Up to here the file was synced before the record was written, so what cannot be read there is damage; behind it
    /// that may never have been written.
    pub(super) safe: u64,
}

/// Brings a record into the form in which it lies there.
pub(super) fn record_encode(
    (seq, written_ms): (Seq, u64),
    head: &Head,
    data: &[Bytes],
    Spot { cipher, offset, safe }: Spot<'_>,
) -> Encoded {
    let data_len: usize = data.iter().map(Bytes::len).sum();
    let len = record_len(head, data_len, cipher.is_some());
    let mut front = Vec::with_capacity(RECORD_HEADER + 64);
    front.resize(RECORD_HEADER, 0);
    head_encode(head, &mut front);
    let head_len = front.len() - RECORD_HEADER;
    front[..4].copy_from_slice(&RECORD_MAGIC.to_le_bytes());
    front[8..12].copy_from_slice(&(len as u32).to_le_bytes());
    front[12..16].copy_from_slice(&(head_len as u32).to_le_bytes());
    front[16..24].copy_from_slice(&seq.0.to_le_bytes());
    front[24..32].copy_from_slice(&written_ms.to_le_bytes());
    front[36..40].copy_from_slice(&((safe / 8) as u32).to_le_bytes());
    let tenant = head.tenant.as_deref().unwrap_or("").as_bytes();
    let sealed = cipher.map(|cipher| {
        front[32..36].copy_from_slice(&ENCRYPTED.to_le_bytes());
        let mut text = Vec::with_capacity(tenant.len() + data_len + TAG);
        text.extend_from_slice(tenant);
        data.iter().for_each(|part| text.extend_from_slice(part));
        cipher.seal(offset, &front[8..], &mut text);
        text
    });
    if sealed.is_none() {
        front.extend_from_slice(tenant);
    }
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&front[8..]);
    match &sealed {
        Some(text) => digest.update(text),
        None => data.iter().for_each(|part| digest.update(part)),
    }
    front[4..8].copy_from_slice(&(digest.finalize() as u32).to_le_bytes());
    Encoded { front, sealed, len }
}

/// Length of a record with this head and so much data.
pub(super) fn record_len(head: &Head, data_len: usize, encrypted: bool) -> usize {
    let tenant = head.tenant.as_ref().map_or(0, |t| t.len());
    let tag = if encrypted { TAG } else { 0 };
    RECORD_HEADER + HEAD_FIXED + 2 * head.destinations.len() + tenant + data_len + tag
}

const HEAD_FIXED: usize = 12;

/// items u32, kind u8, has tenant u8, destinations u16, tenant length u32; then destinations. The tenant follows.
fn head_encode(head: &Head, out: &mut Vec<u8>) {
    out.extend_from_slice(&head.items.to_le_bytes());
    out.push(head.kind);
    out.push(u8::from(head.tenant.is_some()));
    out.extend_from_slice(&(head.destinations.len() as u16).to_le_bytes());
    let tenant = head.tenant.as_deref().unwrap_or("");
    out.extend_from_slice(&(tenant.len() as u32).to_le_bytes());
    for destination in head.destinations.iter() {
        out.extend_from_slice(&destination.0.to_le_bytes());
    }
}

/// Length of the head that begins here, without its tenant, and of the tenant.
fn head_lens(buf: &[u8]) -> Option<(usize, usize)> {
    if buf.len() < HEAD_FIXED {
        return None;
    }
    let len = HEAD_FIXED + 2 * u16_at(buf, 6) as usize;
    (len <= buf.len()).then(|| (len, u32_at(buf, 8) as usize))
}

/// A head whose lengths were looked at, and its tenant. What it has in common with the one `before` it is shared, for
/// there may be millions.
fn head_decode(buf: &[u8], tenant: &[u8], before: Option<&Head>) -> Option<Head> {
    let tenant = std::str::from_utf8(tenant).ok()?;
    let known = before
        .and_then(|head| head.tenant.as_ref())
        .filter(|known| ***known == *tenant);
    let ids = (0..u16_at(buf, 6) as usize).map(|i| DestId(u16_at(buf, HEAD_FIXED + 2 * i)));
    let same = before.filter(|head| head.destinations.iter().copied().eq(ids.clone()));
    Some(Head {
        kind: buf[4],
        items: u32_at(buf, 0),
        tenant: (buf[5] != 0).then(|| known.map_or_else(|| tenant.into(), Arc::clone)),
        destinations: same.map_or_else(|| ids.collect(), |head| head.destinations.clone()),
    })
}

/// Length of the record whose header this is; `None` if it is none.
pub(super) fn record_len_at(header: &[u8]) -> Option<usize> {
    if header.len() < RECORD_HEADER || u32_at(header, 0) != RECORD_MAGIC {
        return None;
    }
    let (len, head_len) = (u32_at(header, 8) as usize, u32_at(header, 12) as usize);
    (len <= RECORD_MAX && head_len <= len.checked_sub(RECORD_HEADER)?).then_some(len)
}

/// A whole record: what it is, and where in the buffer its data lies, decrypted in place. `None` if a bit of it is
/// wrong, or it is encrypted and there is no key for it. `before` is the head of a record near it, if one is known.
pub(super) fn record_decode(
    buf: &mut [u8],
    offset: u64,
    cipher: Option<&Cipher>,
    before: Option<&Head>,
) -> Option<(Entry, Range<usize>)> {
    let len = record_len_at(buf)?;
    if len > buf.len() || u32_at(buf, 4) != crc(&[&buf[8..len]]) {
        return None;
    }
    let head_end = RECORD_HEADER + u32_at(buf, 12) as usize;
    let (clear, text) = buf[..len].split_at_mut(head_end);
    let head = &clear[RECORD_HEADER..];
    let (head_len, tenant_len) = head_lens(head)?;
    let text_len = match u32_at(clear, 32) & ENCRYPTED {
        0 => text.len(),
        _ => cipher?.open(offset, &clear[8..], text)?,
    };
    if head_len != head.len() || tenant_len > text_len {
        return None;
    }
    let entry = Entry {
        seq: Seq(u64_at(clear, 16)),
        offset,
        len: len as u32,
        written_ms: u64_at(clear, 24),
        head: head_decode(head, &text[..tenant_len], before)?,
    };
    Some((entry, head_end + tenant_len..head_end + text_len))
}

/// Up to where the file was synced before this record was written.
pub(super) fn record_safe(record: &[u8]) -> u64 {
    8 * u64::from(u32_at(record, 36))
}

/// The index of a sealed segment, with its trailer: all that follows the last record, at `offset`.
pub(super) fn index_encode(entries: &[Entry], (cipher, offset): (Option<&Cipher>, u64)) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 64 + TRAILER);
    for entry in entries {
        out.extend_from_slice(&entry.seq.0.to_le_bytes());
        out.extend_from_slice(&entry.offset.to_le_bytes());
        out.extend_from_slice(&entry.len.to_le_bytes());
        out.extend_from_slice(&entry.written_ms.to_le_bytes());
        head_encode(&entry.head, &mut out);
        out.extend_from_slice(entry.head.tenant.as_deref().unwrap_or("").as_bytes());
    }
    if let Some(cipher) = cipher {
        cipher.seal(offset, TRAILER_MAGIC, &mut out);
    }
    let (len, sum) = (out.len() as u64, crc(&[&out]));
    let mut trailer = [0; TRAILER];
    trailer[..8].copy_from_slice(&len.to_le_bytes());
    trailer[8..16].copy_from_slice(&(entries.len() as u64).to_le_bytes());
    trailer[16..20].copy_from_slice(&sum.to_le_bytes());
    let sum = crc(&[&trailer[..20]]);
    trailer[20..24].copy_from_slice(&sum.to_le_bytes());
    trailer[24..].copy_from_slice(TRAILER_MAGIC);
    out.extend_from_slice(&trailer);
    out
}

/// Length of an entry of the index in front of its head.
const INDEX_FIXED: usize = 28;

/// Length of the index that a trailer speaks of.
pub(super) fn trailer_decode(trailer: &[u8]) -> Option<u64> {
    if trailer.len() < TRAILER
        || &trailer[24..32] != TRAILER_MAGIC
        || u32_at(trailer, 20) != crc(&[&trailer[..20]])
    {
        return None;
    }
    Some(u64_at(trailer, 0))
}

/// The entries of an index that lies at `offset`; the trailer says how many and what their sum is.
pub(super) fn index_decode(
    index: &mut [u8],
    trailer: &[u8],
    (cipher, offset): (Option<&Cipher>, u64),
) -> Option<Vec<Entry>> {
    if trailer_decode(trailer)? != index.len() as u64 || u32_at(trailer, 16) != crc(&[index]) {
        return None;
    }
    let len = match cipher {
        Some(cipher) => cipher.open(offset, TRAILER_MAGIC, index)?,
        None => index.len(),
    };
    let mut entries: Vec<Entry> = Vec::new();
    let mut rest = &index[..len];
    while !rest.is_empty() {
        let head = rest.get(INDEX_FIXED..)?;
        let (head_len, tenant_len) = head_lens(head)?;
        let tenant = head.get(head_len..head_len.checked_add(tenant_len)?)?;
        entries.push(Entry {
            seq: Seq(u64_at(rest, 0)),
            offset: u64_at(rest, 8),
            len: u32_at(rest, 16),
            written_ms: u64_at(rest, 20),
            head: head_decode(head, tenant, entries.last().map(|entry| &entry.head))?,
        });
        rest = &head[head_len + tenant_len..];
    }
    (entries.len() as u64 == u64_at(trailer, 8)).then_some(entries)
}

/// A destination is done with some items of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) seq: Seq,
    pub(super) destination: DestId,
    /// Items, counted from the record's first.
    pub(super) items: Range<u32>,
}

impl Done {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + DONE, 0);
        let buf = &mut out[start..];
        buf[8..16].copy_from_slice(&self.seq.0.to_le_bytes());
        buf[16..20].copy_from_slice(&self.items.start.to_le_bytes());
        buf[20..24].copy_from_slice(&self.items.end.to_le_bytes());
        buf[24..26].copy_from_slice(&self.destination.0.to_le_bytes());
        let sum = crc(&[&buf[8..]]);
        buf[..4].copy_from_slice(&RECORD_MAGIC.to_le_bytes());
        buf[4..8].copy_from_slice(&sum.to_le_bytes());
    }

    /// `None` if a bit of it is wrong.
    pub(super) fn decode(buf: &[u8]) -> Option<Done> {
        if buf.len() < DONE || u32_at(buf, 0) != RECORD_MAGIC || u32_at(buf, 4) != crc(&[&buf[8..DONE]]) {
            return None;
        }
        Some(Done {
            seq: Seq(u64_at(buf, 8)),
            destination: DestId(u16_at(buf, 24)),
            items: u32_at(buf, 16)..u32_at(buf, 20),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::crypt::Key;
    use super::*;

    fn head(destinations: &[u16], tenant: Option<&str>) -> Head {
        Head {
            kind: 2,
            items: 512,
            tenant: tenant.map(Into::into),
            destinations: destinations.iter().copied().map(DestId).collect(),
        }
    }

    fn ciphers() -> [Option<Cipher>; 2] {
        [None, Some(Key::new(&[3; 32]).cipher(&[9; SALT]))]
    }

    fn record(seq: Seq, head: &Head, data: &[&[u8]], cipher: Option<&Cipher>) -> Vec<u8> {
        let data: Vec<Bytes> = data.iter().map(|part| Bytes::copy_from_slice(part)).collect();
        let spot = Spot {
            cipher,
            offset: 64,
            safe: 48,
        };
        let encoded = record_encode((seq, 1_700_000_000_123), head, &data, spot);
        let mut out = encoded.front;
        match encoded.sealed {
            Some(text) => out.extend_from_slice(&text),
            None => out.extend_from_slice(&data.concat()),
        }
        assert_eq!(out.len(), encoded.len);
        out
    }

    #[test]
    fn records_come_back() {
        for (destinations, tenant, data) in [
            (&[][..], None, &[][..]),
            (&[7], Some(""), &[&b"one"[..], b"", b"two"]),
            (&[1, 2, u16::MAX], Some("müller"), &[&[0; 1000][..]]),
        ] {
            for cipher in ciphers() {
                let head = head(destinations, tenant);
                let mut bytes = record(Seq(9), &head, data, cipher.as_ref());
                let expected = record_len(&head, data.concat().len(), cipher.is_some());
                assert_eq!(bytes.len(), expected);
                let has = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
                if data.len() > 1 {
                    assert_eq!(has(b"onetwo"), cipher.is_none());
                }
                assert_eq!(
                    has("müller".as_bytes()),
                    tenant == Some("müller") && cipher.is_none()
                );
                if cipher.is_some() {
                    assert!(record_decode(&mut bytes.clone(), 64, None, None).is_none());
                    assert!(record_decode(&mut bytes.clone(), 72, cipher.as_ref(), None).is_none());
                }
                assert_eq!(record_safe(&bytes), 48);
                let (entry, range) = record_decode(&mut bytes, 64, cipher.as_ref(), None).unwrap();
                assert_eq!(
                    (entry.seq, entry.offset, entry.len as usize, entry.written_ms),
                    (Seq(9), 64, expected, 1_700_000_000_123)
                );
                assert_eq!((entry.head, &bytes[range]), (head, &data.concat()[..]));
            }
        }
    }

    #[test]
    fn indexes_come_back() {
        let entries: Vec<Entry> = (0..5)
            .map(|i| Entry {
                seq: Seq::new(3, i),
                offset: i * 100,
                len: 77,
                written_ms: 1_700_000_000_000 + i,
                head: head(&[1, 2][..i as usize % 3], (i % 2 == 0).then_some("acme")),
            })
            .collect();
        for cipher in ciphers() {
            let at = (cipher.as_ref(), 4096);
            let mut bytes = index_encode(&entries, at);
            assert_eq!(bytes.windows(4).any(|w| w == b"acme"), cipher.is_none());
            let trailer_at = bytes.len() - TRAILER;
            let (index, trailer) = bytes.split_at_mut(trailer_at);
            assert_eq!(trailer_decode(trailer), Some(index.len() as u64));
            assert_eq!(index_decode(index, trailer, at).unwrap(), entries);
            let mut none = index_encode(&[], at);
            let trailer_at = none.len() - TRAILER;
            let (index, trailer) = none.split_at_mut(trailer_at);
            assert_eq!(index_decode(index, trailer, at).unwrap(), []);
        }
    }

    #[test]
    fn headers_say_version_and_number() {
        let lock = Lock {
            key: [5; 8],
            salt: [6; SALT],
        };
        for lock in [None, Some(lock)] {
            let header = segment_header(7, lock.as_ref());
            let check = |change: &dyn Fn(&mut [u8; SEGMENT_HEADER]), number, expected| {
                let mut header = header;
                change(&mut header);
                assert_eq!(check_segment_header(&header, number), expected);
            };
            let good = HeaderIs::Good(lock);
            check(&|_| {}, 7, good);
            check(&|_| {}, 8, HeaderIs::Bad);
            for bit in 0..8 * SEGMENT_HEADER {
                check(&|header| header[bit / 8] ^= 1 << (bit % 8), 7, good);
            }
            check(&|header| header.fill(0), 7, HeaderIs::Bad);
            assert_eq!(check_segment_header(&header[..HEADER - 1], 7), HeaderIs::Bad);
            assert_eq!(check_segment_header(&header[..HEADER], 7), good);
            let of_version = |version: u8| {
                move |header: &mut [u8; SEGMENT_HEADER]| {
                    for copy in header.chunks_mut(HEADER) {
                        copy[8] = version;
                        let sum = crc(&[&copy[..60]]);
                        copy[60..].copy_from_slice(&sum.to_le_bytes());
                    }
                }
            };
            check(&of_version(9), 7, HeaderIs::Version(9));
            check(&of_version(0), 7, HeaderIs::Bad);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_flipped_bit_is_seen(bit in 0..8 * 140usize) {
            for cipher in ciphers() {
                let mut flipped =
                    record(Seq(1), &head(&[1, 2], Some("acme")), &[&[7; 80][..]], cipher.as_ref());
                prop_assert_eq!(flipped.len(), 140 + if cipher.is_some() { TAG } else { 0 });
                flipped[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(record_decode(&mut flipped, 64, cipher.as_ref(), None).is_none());
            }
            let mut done = Vec::new();
            Done { seq: Seq(5), destination: DestId(3), items: 1..9 }.encode(&mut done);
            let byte = bit / 8 % DONE;
            done[byte] ^= 1 << (bit % 8);
            prop_assert!(Done::decode(&done).is_none());
        }

        #[test]
        fn rubbish_is_none(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Done::decode(&bytes).is_none());
            let _ = head_lens(&bytes);
            for cipher in ciphers() {
                prop_assert!(record_decode(&mut bytes, 0, cipher.as_ref(), None).is_none());
                let trailer = bytes.clone();
                prop_assert!(index_decode(&mut bytes, &trailer, (cipher.as_ref(), 0)).is_none());
            }
        }
    }
}

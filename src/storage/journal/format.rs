//! What lies in the journal's files, byte for byte. All numbers are little-endian.
//!
//! A segment is a header, records (each at a multiple of eight) and, once it is sealed, an index of them with a trailer
//! at the very end. Beside each segment lies a log of completions. Everything carries CRC-32C, and nothing is read that
//! does not match its own.

use std::ops::Range;
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};

/// Version of everything in this file. A journal of another version is refused, not guessed at.
pub(super) const VERSION: u32 = 1;

/// Length of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 64;
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
    pub destinations: Vec<DestId>,
}

/// Where a record lies, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) seq: Seq,
    pub(super) offset: u64,
    /// From its header to the end of its data, without padding.
    pub(super) len: u32,
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

fn crc(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    digest.finalize() as u32
}

fn u16_at(buf: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([buf[at], buf[at + 1]])
}

fn u32_at(buf: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(buf[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(buf: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(buf[at..at + 8].try_into().expect("eight bytes"))
}

/// A segment's first bytes.
pub(super) fn segment_header(number: u64) -> [u8; SEGMENT_HEADER] {
    let mut out = [0; SEGMENT_HEADER];
    out[..8].copy_from_slice(SEGMENT_MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[16..24].copy_from_slice(&number.to_le_bytes());
    let sum = crc(&[&out[..60]]);
    out[60..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// What a segment's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderIs {
    Good,
    /// Whole, but of another version.
    Version(u32),
    /// Torn, or no segment at all.
    Bad,
}

pub(super) fn check_segment_header(buf: &[u8], number: u64) -> HeaderIs {
    if buf.len() < SEGMENT_HEADER
        || &buf[..8] != SEGMENT_MAGIC
        || u32_at(buf, 60) != crc(&[&buf[..60]])
        || u64_at(buf, 16) != number
    {
        return HeaderIs::Bad;
    }
    match u32_at(buf, 8) {
        VERSION => HeaderIs::Good,
        other => HeaderIs::Version(other),
    }
}

/// The part of a record in front of its data; the sum covers the data too.
pub(super) fn record_front(seq: Seq, head: &Head, data: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let data_len: usize = data.iter().map(|part| part.as_ref().len()).sum();
    let mut out = Vec::with_capacity(RECORD_HEADER + 64);
    out.resize(RECORD_HEADER, 0);
    head_encode(head, &mut out);
    let head_len = out.len() - RECORD_HEADER;
    out[..4].copy_from_slice(&RECORD_MAGIC.to_le_bytes());
    out[8..12].copy_from_slice(&((RECORD_HEADER + head_len + data_len) as u32).to_le_bytes());
    out[12..16].copy_from_slice(&(head_len as u32).to_le_bytes());
    out[16..24].copy_from_slice(&seq.0.to_le_bytes());
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&out[8..]);
    for part in data {
        digest.update(part.as_ref());
    }
    out[4..8].copy_from_slice(&(digest.finalize() as u32).to_le_bytes());
    out
}

/// Length of a record with this head and so much data.
pub(super) fn record_len(head: &Head, data_len: usize) -> usize {
    let tenant = head.tenant.as_ref().map_or(0, |t| t.len());
    RECORD_HEADER + HEAD_FIXED + 2 * head.destinations.len() + tenant + data_len
}

const HEAD_FIXED: usize = 12;

/// items u32, kind u8, has tenant u8, destinations u16, tenant length u32; then destinations, then the tenant.
fn head_encode(head: &Head, out: &mut Vec<u8>) {
    out.extend_from_slice(&head.items.to_le_bytes());
    out.push(head.kind);
    out.push(u8::from(head.tenant.is_some()));
    out.extend_from_slice(&(head.destinations.len() as u16).to_le_bytes());
    let tenant = head.tenant.as_deref().unwrap_or("");
    out.extend_from_slice(&(tenant.len() as u32).to_le_bytes());
    for destination in &head.destinations {
        out.extend_from_slice(&destination.0.to_le_bytes());
    }
    out.extend_from_slice(tenant.as_bytes());
}

/// The head, and its length.
fn head_decode(buf: &[u8]) -> Option<(Head, usize)> {
    if buf.len() < HEAD_FIXED {
        return None;
    }
    let (count, tenant_len) = (u16_at(buf, 6) as usize, u32_at(buf, 8) as usize);
    let tenant_at = HEAD_FIXED + 2 * count;
    let end = tenant_at.checked_add(tenant_len)?;
    if end > buf.len() {
        return None;
    }
    let tenant = std::str::from_utf8(&buf[tenant_at..end]).ok()?;
    let head = Head {
        kind: buf[4],
        items: u32_at(buf, 0),
        tenant: (buf[5] != 0).then(|| tenant.into()),
        destinations: (0..count)
            .map(|i| DestId(u16_at(buf, HEAD_FIXED + 2 * i)))
            .collect(),
    };
    Some((head, end))
}

/// Length of the record whose header this is; `None` if it is none.
pub(super) fn record_len_at(header: &[u8]) -> Option<usize> {
    if header.len() < RECORD_HEADER || u32_at(header, 0) != RECORD_MAGIC {
        return None;
    }
    let (len, head_len) = (u32_at(header, 8) as usize, u32_at(header, 12) as usize);
    (len <= RECORD_MAX && head_len <= len.checked_sub(RECORD_HEADER)?).then_some(len)
}

/// A whole record: what it is, and where in the buffer its data lies. `None` if a bit of it is wrong.
pub(super) fn record_decode(buf: &[u8], offset: u64) -> Option<(Entry, Range<usize>)> {
    let len = record_len_at(buf)?;
    if len > buf.len() || u32_at(buf, 4) != crc(&[&buf[8..len]]) {
        return None;
    }
    let head_end = RECORD_HEADER + u32_at(buf, 12) as usize;
    let (head, head_len) = head_decode(&buf[RECORD_HEADER..head_end])?;
    if RECORD_HEADER + head_len != head_end {
        return None;
    }
    let entry = Entry {
        seq: Seq(u64_at(buf, 16)),
        offset,
        len: len as u32,
        head,
    };
    Some((entry, head_end..len))
}

/// The index of a sealed segment, with its trailer: all that follows the last record.
pub(super) fn index_encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 48 + TRAILER);
    for entry in entries {
        out.extend_from_slice(&entry.seq.0.to_le_bytes());
        out.extend_from_slice(&entry.offset.to_le_bytes());
        out.extend_from_slice(&entry.len.to_le_bytes());
        head_encode(&entry.head, &mut out);
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

/// The entries of an index; the trailer says how many and what their sum is.
pub(super) fn index_decode(index: &[u8], trailer: &[u8]) -> Option<Vec<Entry>> {
    if trailer_decode(trailer)? != index.len() as u64 || u32_at(trailer, 16) != crc(&[index]) {
        return None;
    }
    let mut entries = Vec::new();
    let mut rest = index;
    while !rest.is_empty() {
        if rest.len() < 20 {
            return None;
        }
        let (head, head_len) = head_decode(&rest[20..])?;
        entries.push(Entry {
            seq: Seq(u64_at(rest, 0)),
            offset: u64_at(rest, 8),
            len: u32_at(rest, 16),
            head,
        });
        rest = &rest[20 + head_len..];
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

    use super::*;

    fn head(destinations: &[u16], tenant: Option<&str>) -> Head {
        Head {
            kind: 2,
            items: 512,
            tenant: tenant.map(Into::into),
            destinations: destinations.iter().copied().map(DestId).collect(),
        }
    }

    fn record(seq: Seq, head: &Head, data: &[&[u8]]) -> Vec<u8> {
        let mut out = record_front(seq, head, data);
        data.iter().for_each(|part| out.extend_from_slice(part));
        out
    }

    #[test]
    fn records_come_back() {
        for (destinations, tenant, data) in [
            (&[][..], None, &[][..]),
            (&[7], Some(""), &[&b"one"[..], b"", b"two"]),
            (&[1, 2, u16::MAX], Some("müller"), &[&[0; 1000][..]]),
        ] {
            let head = head(destinations, tenant);
            let bytes = record(Seq(9), &head, data);
            assert_eq!(bytes.len(), record_len(&head, data.concat().len()));
            let (entry, range) = record_decode(&bytes, 64).unwrap();
            assert_eq!(
                (entry.seq, entry.offset, entry.len as usize),
                (Seq(9), 64, bytes.len())
            );
            assert_eq!((entry.head, &bytes[range]), (head, &data.concat()[..]));
        }
    }

    #[test]
    fn indexes_come_back() {
        let entries: Vec<Entry> = (0..5)
            .map(|i| Entry {
                seq: Seq::new(3, i),
                offset: i * 100,
                len: 77,
                head: head(&[1, 2][..i as usize % 3], (i % 2 == 0).then_some("acme")),
            })
            .collect();
        let bytes = index_encode(&entries);
        let (index, trailer) = bytes.split_at(bytes.len() - TRAILER);
        assert_eq!(trailer_decode(trailer), Some(index.len() as u64));
        assert_eq!(index_decode(index, trailer).unwrap(), entries);
        let none = index_encode(&[]);
        assert_eq!(index_decode(&[], &none).unwrap(), []);
    }

    #[test]
    fn headers_say_version_and_number() {
        let mut header = segment_header(7);
        assert_eq!(check_segment_header(&header, 7), HeaderIs::Good);
        assert_eq!(check_segment_header(&header, 8), HeaderIs::Bad);
        assert_eq!(check_segment_header(&header[..63], 7), HeaderIs::Bad);
        header[8] = 9;
        let sum = crc(&[&header[..60]]);
        header[60..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(check_segment_header(&header, 7), HeaderIs::Version(9));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_flipped_bit_is_seen(bit in 0..8 * 140usize) {
            let bytes = record(Seq(1), &head(&[1, 2], Some("acme")), &[&[7; 80][..]]);
            prop_assert_eq!(bytes.len(), 140);
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(record_decode(&flipped, 0).is_none());
            let mut done = Vec::new();
            Done { seq: Seq(5), destination: DestId(3), items: 1..9 }.encode(&mut done);
            let byte = bit / 8 % DONE;
            done[byte] ^= 1 << (bit % 8);
            prop_assert!(Done::decode(&done).is_none());
        }

        #[test]
        fn rubbish_is_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(record_decode(&bytes, 0).is_none());
            prop_assert!(index_decode(&bytes, &bytes).is_none());
            prop_assert!(Done::decode(&bytes).is_none());
            let _ = head_decode(&bytes);
        }
    }
}

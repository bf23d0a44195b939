//! A payload as a record of the journal: a small header of our own, then the chunks' bytes as they are.
//!
//! ```text
//! version u8 | signal u8 | keys u16 | header length u32 | chunks u32
//! batch: text                        id of the `batch` processor whose policy it follows; empty = none
//! keys times:   name: text | values u32 | each: text
//! chunks times: length u32 | items u32 | flags u8 | tenant: text, if flagged
//! the bytes of all chunks, in order
//! ```
//!
//! Numbers are little-endian, a text is its length (u32) and its bytes. Of the context it has what [`Keys`] names and
//! nothing else. The journal's checksum says that it is what was written; it is read as if it were not.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use wire::{Chunk, Context, Payload, Shape, Signal};

use super::keys::Keys;

const VERSION: u8 = 1;
const FIXED: usize = 12;

const NON_CANONICAL: u8 = 1;
const UNKNOWN_FIELDS: u8 = 2;
const TENANT: u8 = 4;

/// The header of a payload's record. The bytes of its chunks follow it.
pub(crate) fn header(payload: &Payload, batch: &str, keys: &Keys) -> Bytes {
    let mut out = Vec::with_capacity(FIXED + 64 + 12 * payload.chunks.len());
    let known: Vec<_> = keys.pick(&payload.context).collect();
    out.extend([VERSION, payload.signal.index() as u8]);
    out.extend((known.len() as u16).to_le_bytes());
    out.extend([0; 4]);
    put(&mut out, payload.chunks.len());
    text(&mut out, batch);
    for (name, values) in known {
        text(&mut out, name);
        put(&mut out, values.len());
        for value in values {
            text(&mut out, value);
        }
    }
    for chunk in &payload.chunks {
        put(&mut out, chunk.len());
        out.extend(chunk.shape.items.to_le_bytes());
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        out.push(
            flag(chunk.shape.non_canonical, NON_CANONICAL)
                | flag(chunk.shape.unknown_fields, UNKNOWN_FIELDS)
                | flag(chunk.origin.tenant.is_some(), TENANT),
        );
        if let Some(tenant) = &chunk.origin.tenant {
            text(&mut out, tenant);
        }
    }
    let len = (out.len() as u32).to_le_bytes();
    out[4..8].copy_from_slice(&len);
    out.into()
}

fn put(out: &mut Vec<u8>, n: usize) {
    out.extend((n as u32).to_le_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len());
    out.extend(text.as_bytes());
}

/// What was written: the payload, and the id of its `batch` processor. `None` if it cannot be that.
pub(crate) fn decode(data: &Bytes, keys: &Keys) -> Option<(Payload, String)> {
    decode_with(data, |name| keys.names(name))
}

/// What is owed of a record of a journal, with all that was kept of its context: for tools that have no exporter.
///
/// `owed` are ranges of items, in order and apart. `None` if the record is damaged.
pub fn read_record(data: &Bytes, owed: &[Range<u32>]) -> Option<Payload> {
    let (payload, _) = decode_with(data, |_| true)?;
    part(payload, owed)
}

fn decode_with(data: &Bytes, is_wanted: impl Fn(&str) -> bool) -> Option<(Payload, String)> {
    let mut head = Reader(data);
    let (version, signal) = (head.u8()?, head.u8()?);
    if version != VERSION {
        return None;
    }
    let signal = *Signal::ALL.get(usize::from(signal))?;
    let known = head.u8()? as usize | (head.u8()? as usize) << 8;
    let header = head.u32()? as usize;
    let count = head.u32()? as usize;
    let batch = head.text()?.to_owned();
    let mut metadata = Vec::new();
    for _ in 0..known {
        let name = head.text()?;
        let values = (0..head.u32()?).map(|_| head.text().map(str::to_owned));
        let values: Vec<String> = values.collect::<Option<_>>()?;
        if is_wanted(name) {
            metadata.push((name.to_owned(), values));
        }
    }
    let mut chunks = Vec::new();
    let (mut at, mut items) = (header, 0usize);
    for _ in 0..count {
        let len = head.u32()? as usize;
        let shape = Shape {
            items: head.u32()?,
            ..Shape::default()
        };
        let flags = head.u8()?;
        let end = at.checked_add(len).filter(|end| *end <= data.len())?;
        let shape = Shape {
            non_canonical: flags & NON_CANONICAL != 0,
            unknown_fields: flags & UNKNOWN_FIELDS != 0,
            ..shape
        };
        let mut chunk = Chunk::new(data.slice(at..end), shape);
        if flags & TENANT != 0 {
            chunk.origin.tenant = Some(head.text()?.into());
        }
        chunk.origin.first = u32::try_from(items).ok()?;
        items += shape.items as usize;
        at = end;
        chunks.push(chunk);
    }
    if data.len() - head.0.len() != header || at != data.len() || chunks.is_empty() {
        return None;
    }
    let payload = Payload {
        signal,
        chunks,
        items,
        context: Arc::new(Context {
            metadata,
            ..Context::default()
        }),
    };
    Some((payload, batch))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.u32()? as usize;
        std::str::from_utf8(self.take(len)?).ok()
    }
}

/// Of a payload whose chunks know their places, the items that are in `ranges` (in order, apart from each other).
/// `None` if they cannot be cut out.
pub(crate) fn part(payload: Payload, ranges: &[Range<u32>]) -> Option<Payload> {
    if let [all] = ranges
        && all.start == 0
        && all.end as usize >= payload.items
    {
        return Some(payload);
    }
    let mut chunks = Vec::new();
    for chunk in &payload.chunks {
        let first = chunk.origin.first;
        let end = first.checked_add(chunk.shape.items)?;
        for range in ranges {
            let (from, to) = (range.start.max(first), range.end.min(end));
            if from < to {
                chunks.push(wire::slice(payload.signal, chunk, from - first, to - first)?);
            }
        }
    }
    Some(Payload {
        items: chunks.iter().map(|c| c.shape.items as usize).sum(),
        chunks,
        ..payload
    })
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "ranges of items are values here")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_kit::{chunk, records};

    fn sample() -> Payload {
        let mut chunks = vec![chunk(2), chunk(0), chunk(3)];
        chunks[0].origin.tenant = Some("acme".into());
        chunks[2].shape.non_canonical = true;
        chunks[2].origin.first = 2;
        chunks[1].origin.first = 2;
        Payload {
            signal: Signal::Logs,
            items: 5,
            chunks,
            context: Arc::new(Context {
                metadata: vec![
                    ("x-tenant".into(), vec!["a".into(), "b".into()]),
                    ("authorization".into(), vec!["Bearer hunter2".into()]),
                ],
                ..Context::default()
            }),
        }
    }

    fn written(payload: &Payload, keys: &Keys) -> Bytes {
        let mut all = header(payload, "batch/x", keys).to_vec();
        payload.parts().for_each(|part| all.extend_from_slice(part));
        all.into()
    }

    #[test]
    fn comes_back_as_it_was_with_the_named_keys_alone() {
        let keys = Keys::of(["X-Tenant", "absent"]);
        let data = written(&sample(), &keys);
        assert!(!data.windows(7).any(|w| w == b"hunter2"));
        let (read, batch) = decode(&data, &keys).expect("it is whole");
        assert_eq!(batch, "batch/x");
        let want = sample();
        assert_eq!((read.items, read.chunks.len()), (5, 3));
        for (read, want) in read.chunks.iter().zip(&want.chunks) {
            assert_eq!((read.bytes().len(), read.shape), (want.bytes().len(), want.shape));
            assert_eq!(read.origin.tenant, want.origin.tenant);
            assert_eq!(read.origin.first, want.origin.first);
        }
        assert_eq!(
            read.context.metadata,
            vec![("x-tenant".to_owned(), vec!["a".to_owned(), "b".to_owned()])]
        );
        let (read, _) = decode(&data, &Keys::default()).expect("it is whole");
        assert!(
            read.context.metadata.is_empty(),
            "a key that is named no more is not read"
        );
    }

    #[test]
    fn parts_are_the_items_of_their_ranges() {
        let keys = Keys::default();
        let all = sample();
        let names = records(&all);
        let check = |ranges: &[Range<u32>], want: &[usize]| {
            let (read, _) = decode(&written(&all, &keys), &keys).expect("it is whole");
            let part = part(read, ranges).expect("they are there");
            let want: Vec<u64> = want.iter().map(|i| names[*i]).collect();
            assert_eq!(records(&part), want, "{ranges:?}");
            assert_eq!(part.items, want.len());
            let firsts = part.chunks.iter().filter(|c| c.shape.items > 0);
            let first = firsts.map(|c| names[c.origin.first as usize]).next();
            assert_eq!(first, want.first().copied());
        };
        check(&[0..5], &[0, 1, 2, 3, 4]);
        check(&[1..3], &[1, 2]);
        check(&[0..1, 3..4], &[0, 3]);
        check(&[4..9], &[4]);
        check(&[], &[]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn rubbish_is_refused(mut at in 0usize..400, bit in 0u8..8, cut in 0usize..400) {
            let keys = Keys::of(["x-tenant"]);
            let data = written(&sample(), &keys);
            prop_assert!(decode(&data.slice(..cut.min(data.len() - 1)), &keys).is_none());
            at %= data.len();
            let mut bent = data.to_vec();
            bent[at] ^= 1 << bit;
            if let Some((read, _)) = decode(&bent.into(), &keys) {
                let sum: usize = read.chunks.iter().map(|c| c.shape.items as usize).sum();
                prop_assert_eq!(read.items, sum);
            }
        }
    }
}

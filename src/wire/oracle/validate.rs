//! Validation compared with what prost accepts, and its golden rows.

use proptest::prelude::*;

use super::naive;
use crate::field::write_header;
use crate::test_kit::{Request, Rng, disguise};
use crate::{Limits, Reason, Shape, Signal, count_items, validate};

const STRICT: Limits = Limits {
    depth_max: 64,
    strict_utf8: true,
};

/// Damages bytes: flips, cuts, doubles, inserts.
pub(crate) fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..1 + rng.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.below(bytes.len());
        match rng.below(5) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.bits() as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.bits() as u8),
            _ => {
                let end = (at + rng.below(20)).min(bytes.len());
                bytes.extend_from_within(at..end);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn accepts_and_counts_what_encoders_write(seed: u64) {
        let rng = &mut Rng(seed);
        let signal = Signal::ALL[rng.below(3)];
        let mut request = Request::random(signal, rng);
        let items = naive::items(&mut request);
        let plain = request.encode();
        prop_assert_eq!(validate(signal, &plain, &STRICT), Ok(Shape { items, ..Shape::default() }));
        prop_assert_eq!(count_items(signal, &plain), items);
        let odd = disguise(signal, &plain, false, rng);
        prop_assert_eq!(validate(signal, &odd, &STRICT), Ok(Shape { items, ..Shape::default() }));
        let unknown = disguise(signal, &plain, true, rng);
        let shape = validate(signal, &unknown, &STRICT).unwrap();
        prop_assert!(!shape.non_canonical);
        prop_assert_eq!(shape.items, items);
    }

    #[test]
    fn refuses_what_prost_refuses(seed: u64) {
        let rng = &mut Rng(seed);
        let signal = Signal::ALL[rng.below(3)];
        let mut bytes = Request::random(signal, rng).encode();
        mutate(&mut bytes, rng);
        let ours = validate(signal, &bytes, &STRICT);
        match (Request::decode(signal, &bytes), ours) {
            (Ok(mut request), Ok(shape)) => {
                if !shape.non_canonical {
                    prop_assert_eq!(shape.items, naive::items(&mut request));
                }
            }
            (Err(_), Err(_)) => {}
            // Ids are our rule, nesting has another limit, field 1000 is unknown to prost.
            (Ok(_), Err(malformed)) => prop_assert!(
                matches!(malformed.reason, Reason::TraceId | Reason::SpanId | Reason::Depth)
                    || bytes.windows(2).any(|w| w == [0xc2, 0x3e]),
                "{malformed}"
            ),
            // The collector matches the ends of unknown groups by nesting only.
            (Err(err), Ok(_)) => prop_assert!(err.to_string().contains("group"), "{err}"),
        }
        // Never a panic, whatever the signal.
        for signal in Signal::ALL {
            let _ = validate(signal, &bytes, &Limits::default());
            count_items(signal, &bytes);
        }
    }
}

/// A request of one message nested in others, outermost field first.
fn nest(path: &[u32], content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    for &number in path.iter().rev() {
        let mut out = Vec::new();
        write_header(number, bytes.len(), &mut out);
        out.append(&mut bytes);
        bytes = out;
    }
    bytes
}

#[test]
fn rows() {
    let shape = |items, non_canonical, unknown_fields| {
        Ok(Shape {
            items,
            non_canonical,
            unknown_fields,
        })
    };
    let check = |signal, bytes: &[u8], expected: Result<Shape, Reason>| {
        let got = validate(signal, bytes, &Limits::default()).map_err(|m| m.reason);
        assert_eq!(got, expected, "{signal:?} {bytes:?}");
    };
    let record: &[u32] = &[1, 2, 2];
    check(Signal::Logs, &[], shape(0, false, false));
    check(Signal::Logs, &nest(&[1], &[]), shape(0, false, false));
    check(Signal::Logs, &nest(record, &[]), shape(1, false, false));
    check(
        Signal::Logs,
        &nest(record, &[0x10, 1, 0x10, 2]),
        shape(1, true, false),
    );
    check(
        Signal::Logs,
        &nest(record, &[0xa8, 0x06, 0]),
        shape(1, false, true),
    );
    check(Signal::Logs, &nest(record, &[0x4a, 0]), shape(1, false, false));
    check(
        Signal::Logs,
        &nest(&[1, 2, 2, 9], &[1; 16]),
        shape(1, false, false),
    );
    check(Signal::Logs, &nest(&[1, 2, 2, 9], &[1; 15]), Err(Reason::TraceId));
    check(Signal::Logs, &nest(&[1, 2, 2, 10], &[1; 7]), Err(Reason::SpanId));
    check(Signal::Logs, &nest(record, &[0x12, 0]), Err(Reason::WireType));
    check(Signal::Logs, &nest(record, &[0x0b, 0x0c]), Err(Reason::WireType));
    check(
        Signal::Logs,
        &nest(record, &[0xab, 0x06, 0xac, 0x06]),
        shape(1, false, true),
    );
    check(Signal::Logs, &nest(record, &[0xac, 0x06]), Err(Reason::GroupEnd));
    check(Signal::Logs, &nest(record, &[0x0a]), Err(Reason::WireType));
    check(Signal::Logs, &nest(record, &[0x09, 1]), Err(Reason::Truncated));
    check(Signal::Logs, &nest(record, &[0x10]), Err(Reason::Truncated));
    check(Signal::Logs, &nest(record, &[0x00]), Err(Reason::Tag));
    check(Signal::Logs, &[0x0a, 5, 0], Err(Reason::Truncated));
    // What looks like an attribute, where a message has none, under tags that do not exist.
    check(Signal::Logs, &[0x00, 5, 0x0a, 1, b'k', 0x12, 0], Err(Reason::Tag));
    check(
        Signal::Logs,
        &nest(&[1, 2, 2, 5], &[0x00, 5, 0x0a, 1, b'k', 0x12, 0]),
        Err(Reason::Tag),
    );
    // The old scopes are read where there are no new ones.
    check(Signal::Logs, &nest(&[1, 1000, 2], &[]), shape(1, true, false));
    let both = [nest(&[1000, 2], &[]), nest(&[2, 2], &[]), nest(&[2, 2], &[])].concat();
    check(Signal::Traces, &nest(&[1], &both), shape(2, true, false));
    // A oneof set twice; a later data member replaces the earlier one's points.
    check(
        Signal::Logs,
        &nest(&[1, 2, 2, 5], &[0x10, 1, 0x18, 1]),
        shape(1, true, false),
    );
    let data = [nest(&[5, 1], &[]), nest(&[7, 1], &[]), nest(&[7, 1], &[])].concat();
    check(Signal::Metrics, &nest(&[1, 2, 2], &data), shape(1, true, false));
    // Packed and unpacked numbers; half an element is none.
    let point: &[u32] = &[1, 2, 2, 9, 1];
    check(
        Signal::Metrics,
        &nest(point, &nest(&[6], &[0; 16])),
        shape(1, false, false),
    );
    check(
        Signal::Metrics,
        &nest(point, &[0x31, 0, 0, 0, 0, 0, 0, 0, 0]),
        shape(1, false, false),
    );
    check(
        Signal::Metrics,
        &nest(point, &nest(&[6], &[0; 9])),
        Err(Reason::Packed),
    );
    check(
        Signal::Profiles,
        &nest(&[1, 2, 2, 2, 4], &[1, 2, 0x80, 1]),
        shape(1, false, false),
    );
    check(
        Signal::Profiles,
        &nest(&[1, 2, 2, 2, 4], &[0x80]),
        Err(Reason::Truncated),
    );
    assert_eq!(count_items(Signal::Profiles, &nest(&[1, 2, 2, 2], &[])), 1);
}

#[test]
fn nesting_is_bounded() {
    // A list in a list is two messages a level.
    let deep = |levels: usize| {
        let mut path = vec![1, 2, 2, 5];
        for _ in 0..levels {
            path.extend([5, 1]);
        }
        nest(&path, &[])
    };
    let check = |levels, depth_max, ok: bool| {
        let limits = Limits {
            depth_max,
            ..Limits::default()
        };
        let got = validate(Signal::Logs, &deep(levels), &limits).map_err(|m| m.reason);
        assert_eq!(got.is_ok(), ok, "{levels} {depth_max} {got:?}");
    };
    check(0, 0, true);
    check(1, 0, false);
    check(64, 64, true);
    check(65, 64, false);
    check(256, 100_000, true);
    check(257, 100_000, false);
}

#[test]
fn text_is_bytes_unless_asked() {
    let bad = nest(&[1, 2, 2, 3], b"\xff");
    assert!(validate(Signal::Logs, &bad, &Limits::default()).is_ok());
    assert_eq!(
        validate(Signal::Logs, &bad, &STRICT).unwrap_err().reason,
        Reason::Utf8
    );
    for kv in [
        &[0x0a, 1, 0xff, 0x12, 0][..],
        &[0x0a, 1, b'k', 0x12, 3, 0x0a, 1, 0xff],
    ] {
        let bad = nest(&[1, 2, 2, 6], kv);
        assert!(validate(Signal::Logs, &bad, &Limits::default()).is_ok());
        assert_eq!(
            validate(Signal::Logs, &bad, &STRICT).unwrap_err().reason,
            Reason::Utf8
        );
    }
}

//! Normalisation: what prost reads stays the same, and what two readers would see differently is gone.

use proptest::prelude::*;

use super::validate::mutate;
use crate::field::write_header;
use crate::test_kit::{Request, Rng, disguise};
use crate::{Limits, Signal, count_items, normalize, validate};

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_payloads_keep_their_bytes(seed: u64) {
        let rng = &mut Rng(seed);
        let signal = Signal::ALL[rng.below(3)];
        let request = Request::random(signal, rng);
        let bytes = request.encode();
        prop_assert_eq!(&normalize(signal, &bytes, true).unwrap(), &bytes);
        let unknown = disguise(signal, &bytes, true, rng);
        let kept = normalize(signal, &unknown, false).unwrap();
        prop_assert_eq!(&Request::decode(signal, &kept).unwrap(), &request);
        let dropped = normalize(signal, &unknown, true).unwrap();
        prop_assert_eq!(Request::decode(signal, &dropped).unwrap(), request);
        prop_assert!(!validate(signal, &dropped, &Limits::default()).unwrap().unknown_fields);
    }

    #[test]
    fn result_is_canonical_and_counts_the_same(seed: u64) {
        let rng = &mut Rng(seed);
        let signal = Signal::ALL[rng.below(3)];
        let mut bytes = Request::random(signal, rng).encode();
        mutate(&mut bytes, rng);
        let drop_unknown = rng.chance(50);
        match (validate(signal, &bytes, &Limits::default()), normalize(signal, &bytes, drop_unknown)) {
            (Ok(shape), Ok(out)) => {
                let now = validate(signal, &out, &Limits::default()).unwrap();
                prop_assert!(!now.non_canonical);
                prop_assert!(!now.unknown_fields || (shape.unknown_fields && !drop_unknown));
                prop_assert_eq!(count_items(signal, &out), now.items);
                prop_assert_eq!(&normalize(signal, &out, drop_unknown).unwrap(), &out);
                if !shape.non_canonical {
                    prop_assert_eq!(now.items, shape.items);
                }
            }
            (Err(ours), Err(theirs)) => prop_assert_eq!(ours, theirs),
            (Err(_), Ok(_)) => {}
            (Ok(_), Err(malformed)) => prop_assert!(false, "{malformed}"),
        }
    }
}

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(number, content.len(), &mut out);
    out.extend_from_slice(content);
    out
}

#[test]
fn rows() {
    // Contents of a log record, before and after.
    let check = |content: &[u8], expected: &[u8]| {
        let wrap = |content: &[u8]| field(1, &field(2, &field(2, content)));
        let got = normalize(Signal::Logs, &wrap(content), true).unwrap();
        assert_eq!(got, wrap(expected), "{content:?}");
    };
    let text = |text: &[u8]| field(1, text);
    // Scalars: the last.
    check(&[0x10, 1, 0x10, 2, 0x10, 0], &[0x10, 0]);
    check(
        &[field(3, b"a"), field(12, b"e"), field(3, b"b")].concat(),
        &[field(12, b"e"), field(3, b"b")].concat(),
    );
    // A body twice is one body read twice: the last member set wins, an empty one changes nothing.
    check(
        &[field(5, &text(b"a")), field(5, &text(b"b"))].concat(),
        &field(5, &text(b"b")),
    );
    check(
        &[field(5, &text(b"a")), field(5, b"")].concat(),
        &field(5, &text(b"a")),
    );
    // A member of a oneof replaces, also one of its own kind.
    let entry = |key: &[u8]| field(1, &field(1, key));
    check(
        &field(
            5,
            &[field(6, &entry(b"a")), text(b"x"), field(6, &entry(b"b"))].concat(),
        ),
        &field(5, &field(6, &entry(b"b"))),
    );
    // Attributes are repeated: all stay, also equal ones. Their parts are singular.
    check(
        &[
            field(6, &[field(1, b"k"), field(1, b"j")].concat()),
            field(6, &field(1, b"j")),
        ]
        .concat(),
        &[field(6, &field(1, b"j")), field(6, &field(1, b"j"))].concat(),
    );
    // Unknown fields, also deep ones.
    check(
        &[
            vec![0xa8, 0x06, 1],
            field(6, &[field(1, b"k"), vec![0xa8, 0x06, 1]].concat()),
        ]
        .concat(),
        &field(6, &field(1, b"k")),
    );
}

#[test]
fn deprecated_scopes_are_scopes_where_there_are_no_others() {
    let record = field(2, &field(3, b"WARN"));
    let other = field(2, &field(3, b"INFO"));
    let check = |group: Vec<u8>, expected: Vec<u8>| {
        let got = normalize(Signal::Traces, &field(1, &group), false).unwrap();
        assert_eq!(got, field(1, &expected));
    };
    check(field(1000, &record), field(2, &record));
    check(
        [field(1000, &record), field(1, b""), field(1000, &other)].concat(),
        [field(2, &record), field(1, b""), field(2, &other)].concat(),
    );
    check(
        [field(1000, &record), field(2, &other)].concat(),
        field(2, &other),
    );
    check([field(2, b""), field(1000, &record)].concat(), field(2, b""));
}

#[test]
fn a_resource_that_stands_there_twice_is_merged() {
    let attr = |key: &[u8]| field(1, &field(1, key));
    let group = [
        field(1, &[attr(b"a"), vec![0x10, 1]].concat()),
        field(3, b"url"),
        field(1, &[attr(b"b"), vec![0x10, 2]].concat()),
    ]
    .concat();
    let expected = [
        field(1, &[attr(b"a"), attr(b"b"), vec![0x10, 2]].concat()),
        field(3, b"url"),
    ]
    .concat();
    let got = normalize(Signal::Logs, &field(1, &group), false).unwrap();
    assert_eq!(got, field(1, &expected));
}

use proptest::prelude::*;

use super::*;

fn literal(text: &str) -> Gate {
    Gate::Literal(Literal::new(text.as_bytes()))
}

fn any_case(text: &str) -> Gate {
    Gate::LiteralAnyCase(Literal::new(text.as_bytes()))
}

fn run(class: &[u8], min_len: usize) -> Gate {
    Gate::Run(ClassRun {
        class: ByteSet::of(class),
        min_len,
        needs: Vec::new(),
    })
}

fn run_with(class: &[u8], min_len: usize, needs: &[(&[u8], usize)]) -> Gate {
    Gate::Run(ClassRun {
        class: ByteSet::of(class),
        min_len,
        needs: needs.iter().map(|(set, n)| (ByteSet::of(set), *n)).collect(),
    })
}

fn beside(literal: &Literal, bytes: &[u8], start: usize) -> bool {
    let before = bytes[..start].last();
    let after = bytes.get(start + literal.bytes.len());
    let fits = |set: &Option<ByteSet>, byte: Option<&u8>| {
        set.is_none_or(|set| byte.is_some_and(|b| set.contains(*b)))
    };
    fits(&literal.before, before) && fits(&literal.after, after)
}

/// What the words of the module say, written as plainly as possible.
fn naive(gates: &[Gate], bytes: &[u8]) -> Vec<Hit> {
    let mut all = Vec::new();
    for (gate, what) in gates.iter().enumerate() {
        let mut regions = Regions::new(gate, &mut all);
        match what {
            Gate::Literal(l) => {
                for start in 0..bytes.len() {
                    if bytes[start..].starts_with(&l.bytes) && beside(l, bytes, start) {
                        regions.add(start, start + l.bytes.len());
                    }
                }
            }
            Gate::LiteralAnyCase(l) => {
                for start in 0..bytes.len() {
                    let found = bytes.get(start..start + l.bytes.len());
                    if found.is_some_and(|f| f.eq_ignore_ascii_case(&l.bytes)) && beside(l, bytes, start) {
                        regions.add(start, start + l.bytes.len());
                    }
                }
            }
            Gate::Run(want) => {
                let mut start = 0;
                while start < bytes.len() {
                    let len = bytes[start..]
                        .iter()
                        .take_while(|b| want.class.contains(**b))
                        .count();
                    let holds = |(set, n): &(ByteSet, usize)| {
                        bytes[start..start + len]
                            .iter()
                            .filter(|b| set.contains(**b))
                            .count()
                            >= *n
                    };
                    if len >= want.min_len && want.needs.iter().all(holds) {
                        regions.add(start, start + len);
                    }
                    start += len + 1;
                }
            }
        }
    }
    all.sort_by_key(|h| (h.gate, h.offset));
    all
}

fn found(scan: &Scan, bytes: &[u8]) -> Vec<Hit> {
    let mut hits = Vec::new();
    scan.find(bytes, &mut hits);
    hits.sort_by_key(|h| (h.gate, h.offset));
    hits
}

fn check(gates: &[Gate], bytes: &[u8]) {
    let expected = naive(gates, bytes);
    assert_eq!(
        found(&Scan::new(gates.to_vec()), bytes),
        expected,
        "vector kernel"
    );
    assert_eq!(
        found(&Scan::new_scalar(gates.to_vec()), bytes),
        expected,
        "scalar twin"
    );
}

const DIGITS: &[u8] = b"0123456789";
const CARD: &[u8] = b"0123456789 -";

#[test]
fn finds_what_is_there() {
    let text = b"mail a@b.example, card 4111 1111-1111 1111, BeArEr x, bearer y, AKIA and again AKIAKIA";
    check(
        &[
            literal("@"),
            literal("AKIA"),
            any_case("bearer"),
            run(CARD, 11),
            run(DIGITS, 4),
        ],
        text,
    );
    let scan = Scan::new(vec![literal("AKIA"), run(CARD, 19)]);
    let hits = found(&scan, text);
    let texts: Vec<&[u8]> = hits.iter().map(|h| &text[h.offset..h.end()]).collect();
    assert_eq!(
        texts,
        [&b"AKIA and again AKIAKIA"[..], b" 4111 1111-1111 1111"],
        "near hits are one"
    );
}

#[test]
fn runs_at_every_place_and_of_every_length() {
    for min_len in [1, 2, 7, 11, 31, 32, 33, 63, 64, 65, 130] {
        let gates = [run(DIGITS, min_len)];
        let (vector, scalar) = (Scan::new(gates.to_vec()), Scan::new_scalar(gates.to_vec()));
        for start in 0..130 {
            for len in [
                0,
                1,
                min_len - 1,
                min_len,
                min_len + 1,
                62,
                63,
                64,
                65,
                127,
                128,
                200,
            ] {
                for behind in [0, 1, 40] {
                    let mut bytes = vec![b'x'; start];
                    bytes.resize(start + len, b'7');
                    bytes.resize(start + len + behind, b'x');
                    let expected = if len >= min_len {
                        vec![Hit {
                            offset: start,
                            len,
                            gate: 0,
                        }]
                    } else {
                        vec![]
                    };
                    assert_eq!(
                        found(&vector, &bytes),
                        expected,
                        "{min_len} {start} {len} {behind}"
                    );
                    assert_eq!(
                        found(&scalar, &bytes),
                        expected,
                        "scalar {min_len} {start} {len} {behind}"
                    );
                }
            }
        }
    }
}

#[test]
fn runs_cross_the_borders_of_blocks() {
    for start in [4090, 4096, 4100, 8180] {
        let mut bytes = vec![b'.'; 12_000];
        bytes[start..start + 20].fill(b'3');
        check(&[run(DIGITS, 20)], &bytes);
        check(&[run(DIGITS, 21)], &bytes);
        bytes[start..start + 6].copy_from_slice(b"SeCret");
        check(&[any_case("secret"), literal("SeCret")], &bytes);
    }
}

#[test]
fn every_byte_is_in_its_own_class_alone() {
    let all: Vec<u8> = (0..=255).collect();
    for byte in 0..=255u8 {
        check(&[run(&[byte], 1)], &all);
        check(&[run(&[byte, byte ^ 0x80, byte ^ 0x10], 1)], &all);
    }
}

#[test]
fn empty_gates_hit_everything_and_empty_input_nothing() {
    for gate in [literal(""), any_case(""), run(b"", 0)] {
        let scan = Scan::new(vec![gate]);
        assert_eq!(
            found(&scan, b"x"),
            [Hit {
                offset: 0,
                len: 1,
                gate: 0
            }]
        );
        assert_eq!(found(&scan, b""), []);
    }
    assert_eq!(found(&Scan::new(vec![run(b"", 3)]), b"abcdef"), []);
}

#[test]
fn hits_are_bounded_by_the_length_of_the_buffer() {
    let bytes = b"@1".repeat(10_000);
    let scan = Scan::new(vec![literal("@"), literal("1@"), run(DIGITS, 1)]);
    assert!(found(&scan, &bytes).len() <= 3 * (bytes.len() / HIT_DISTANCE + 1));
}

fn literals() -> impl Strategy<Value = Literal> {
    let text = || prop::collection::vec(prop::sample::select(b"aAbB1-\xff\x00".to_vec()), 1..6);
    let set = || prop::option::of(text().prop_map(|set| ByteSet::of(&set)));
    (text(), set(), set()).prop_map(|(bytes, before, after)| Literal {
        bytes: bytes.into(),
        before,
        after,
    })
}

fn gates() -> impl Strategy<Value = Vec<Gate>> {
    let text = || prop::collection::vec(prop::sample::select(b"aAbB1-\xff\x00".to_vec()), 1..6);
    let gate = prop_oneof![
        literals().prop_map(Gate::Literal),
        literals().prop_map(Gate::LiteralAnyCase),
        (text(), 1usize..12).prop_map(|(class, min_len)| run(&class, min_len)),
        (text(), 1usize..90).prop_map(|(class, min_len)| run(&class, min_len)),
        (text(), 1usize..12, text(), 1usize..9).prop_map(|(class, min_len, set, n)| run_with(
            &class,
            min_len,
            &[(&set, n), (&class[..1], 1)]
        )),
    ];
    prop::collection::vec(gate, 1..8)
}

fn haystack() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(prop::sample::select(b"aAbB1-\xff\x00".to_vec()), 0..100),
        (prop::sample::select(b"aAbB1-\xff\x00x".to_vec()), 0usize..150).prop_map(|(b, n)| vec![b; n]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn both_kernels_find_what_the_naive_search_finds(gates in gates(), bytes in haystack(), skip in 0usize..65) {
        check(&gates, &bytes);
        check(&gates, &bytes[skip.min(bytes.len())..]);
    }
}

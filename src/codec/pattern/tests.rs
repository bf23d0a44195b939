use proptest::prelude::*;
use wire::scan::Scan;

use super::*;

fn pattern(source: &str) -> Pattern {
    Pattern::new(source).unwrap_or_else(|e| panic!("{source}: {e}"))
}

fn replaced(source: &str, text: &[u8]) -> Vec<u8> {
    let pattern = pattern(source);
    let mut out = Vec::new();
    match pattern.replace_all(&mut pattern.cache(), text, &mut out, |_, out| {
        out.extend_from_slice(b"<>");
    }) {
        true => out,
        false => {
            assert!(out.is_empty(), "nothing appended without a match");
            text.to_vec()
        }
    }
}

#[track_caller]
fn check(source: &str, text: &str, expected: &str) {
    assert_eq!(
        String::from_utf8_lossy(&replaced(source, text.as_bytes())),
        expected,
        "{source} on {text}"
    );
}

#[test]
fn perl_classes_are_ascii() {
    check(r"\d", "1٣", "<>٣");
    check(r"\D", "1٣", "1<>");
    check(r"\w", "aéb", "<>é<>");
    check(r"\W", "aéb", "a<>b");
    check(r"\s", "a \u{b}\u{a0}b", "a<>\u{b}\u{a0}b");
    check(r"\S+", "a\u{a0}b c", "<> <>");
    check(r"[\d.]+", "1.2٣", "<>٣");
    check(r"[^\d]", "1é", "1<>");
    check(r"[\D]", "1é", "1<>");
    check(r"[\W\d]+", "a-1é", "a<>");
    check(r"\bé", "aé", "a<>");
}

#[test]
fn what_is_plain_in_go_is_plain() {
    check(r"\Qa.b\E.", "a.bc axbc", "<> axbc");
    check(r"\Qa.b", "a.b axb", "<> axb");
    check(r"\Q\E", "a", "<>a<>");
    check(r"[[a]+", "x[a[", "x<>");
    check(r"[a&&b]+", "a&b", "<>");
    check(r"[+--]+", "a+,-b", "a<>b");
    check(r"[a~~b]+", "a~b", "<>");
    check(r"[]a]+", "x]a", "x<>");
    check(r"[^]a]+", "x]a", "<>]a");
    check(r"[a-]+", "xa-", "x<>");
    check(r"[-a]+", "xa-", "x<>");
    check(r"[\w-]+", "a-b.c", "<>.<>");
    check(r"[[:alpha:]_]+", "a_1", "<>1");
    check(r"[[:^alpha:]]+", "a_1", "a<>");
    check(r"[[:foo]+", "x[:fo", "x<>");
    check("a{", "a{", "<>");
    check("a{b}", "a{b}", "<>");
    check("a{,2}", "a{,2}", "<>");
    check("a{2}b{1,}", "aabb", "<>");
    check(r"\<\>", "<>", "<>");
    check(r"a\.b\/\-\_\@\ ", "a.b/-_@ ", "<>");
    check(r"\101\x41\x{42}\0", "AAB\0", "<>");
    check(r"\a\f\t\n\r\v", "\x07\x0c\t\n\r\x0b", "<>");
    check(r"\pL\P{L}\p{^L}\p{Greek}", "a12α", "<>");
    check(r"(?i)straSSe", "STRAsse", "<>");
    check(r"(?i)k", "\u{212A}", "<>");
    check(r"(?s)a.b(?-s:.)", "a\nbc", "<>");
    check(r"(?m)^a$", "b\na\nc", "b\n<>\nc");
    check(r"a$", "a\n", "a\n");
    check(r"(?P<x>a)(?<y>b)(?:c)", "abc", "<>");
}

#[test]
fn refuses_what_go_refuses() {
    for source in [
        "(",
        ")",
        "[",
        "[a",
        "a**)",
        r"\",
        r"\8",
        r"\1",
        r"\y",
        r"\Z",
        r"\C",
        "(?=a)",
        "(?<!a)b",
        "[b-a]",
        r"[a-\d]",
        r"\x{110000}",
        r"\xg",
        r"\p{NoSuch}",
        "(?z)",
        "*",
        "a{2,1}",
    ] {
        assert!(Pattern::new(source).is_err(), "{source}");
    }
}

#[test]
fn empty_matches_count_as_in_go() {
    check("x*", "baaxxc", "<>b<>a<>a<>c<>");
    check(".*", "abc", "<>");
    check(".*", "", "<>");
    check(".*", "a\nb", "<>\n<>");
    check("x*", "é", "<>é<>");
    check("|a", "aa", "<>a<>a<>");
    check("$", "ab", "ab<>");
    check("(?m)^", "a\nb", "<>a\n<>b");
    check(r"\B", "é", "<>é<>");
}

#[test]
fn broken_bytes_count_as_one_character_each() {
    let check = |source: &str, text: &[u8], expected: &[u8]| {
        assert_eq!(
            replaced(source, text).escape_ascii().to_string(),
            expected.escape_ascii().to_string(),
            "{source}"
        );
    };
    check("password=.*", b"a password=x\xff\xfey", b"a <>");
    check("a.b", b"a\xffb \xc3a\xc3b", b"<> \xc3<>");
    check("a[^x]b", b"a\xffb", b"<>");
    check("\u{FFFD}", b"a\xe2\x82b", b"a<><>b");
    check(r"\d+", b"\xff12\xff3", b"\xff<>\xff<>");
    check("é", b"\xff\xc3\xa9\xff", b"\xff<>\xff");
}

#[test]
fn groups_are_named_and_placed() {
    let p = pattern(r"(?P<major>\d+)\.(\d+)(?P<rest>x)?");
    assert_eq!(
        p.group_names(),
        [Some("major".to_owned()), None, Some("rest".to_owned())]
    );
    let mut cache = p.cache();
    assert_eq!(
        p.groups(&mut cache, b"v 3.14"),
        Some(vec![Some((2, 3)), Some((4, 6)), None])
    );
    assert_eq!(
        p.groups(&mut cache, b"\xff\xff3.14x"),
        Some(vec![Some((2, 3)), Some((4, 6)), Some((6, 7))])
    );
    assert_eq!(p.groups(&mut cache, b"none"), None);
}

#[track_caller]
fn check_gates(source: &str, expected: &str) {
    let shown = match pattern(source).gates() {
        None => "every value".to_owned(),
        Some(gates) => {
            let each = gates.iter().map(|gate| match gate {
                Gate::Literal(l) => format!("{}", l.bytes.escape_ascii()),
                Gate::LiteralAnyCase(l) => format!("(?i){}", l.bytes.escape_ascii()),
                Gate::Run(run) => {
                    let needs = run.needs.iter().map(|(set, n)| format!("&{set:?}{{{n}}}"));
                    format!("{:?}{{{}}}{}", run.class, run.min_len, needs.collect::<String>())
                }
            });
            each.collect::<Vec<_>>().join(" or ")
        }
    };
    assert_eq!(shown, expected, "{source}");
}

#[test]
fn gates_of_what_people_write() {
    check_gates(r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}", "@");
    check_gates(
        r"\b\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}\b",
        "[ -0123456789]{16}&[0123456789]{16}",
    );
    check_gates(r"\d{3}-\d{2}-\d{4}", "[-0123456789]{11}&[-]{2}&[0123456789]{9}");
    check_gates(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", "eyJ");
    check_gates(r"AKIA[0-9A-Z]{16}", "AKIA");
    check_gates(r"(?i)bearer\s+\S+", "(?i)bearer");
    check_gates(r"(?i)password\s*=\s*\S+", "(?i)word");
    check_gates(r"sk_(live|test)_[0-9a-zA-Z]{24}", "sk_");
    check_gates(r"(?:live|test)[0-9a-z]{4,}", "live or test");
    check_gates(r"-----BEGIN [A-Z ]*PRIVATE KEY-----", "-----BEGIN ");
    check_gates(r".*", "every value");
    check_gates(r"\w+", "every value");
    check_gates(r"\d*", "every value");
    check_gates(r"x|.", "every value");
    check_gates(r"(?:ab)+\w", "ab");
    check_gates("\u{FFFD}a", "every value");
    check_gates("\u{FFFD}@", "@");
}

/// An expression of small parts, in Go's syntax.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "a", "b", "K", "s", "ab", "1", "é", r"\d", r"\w", r"\s", r"\b", "[a-b]", "[^a]", "[1-]", ".", "^",
        "$", r"\B", "\u{FFFD}", r"\Qa+\E", "[[a]", "(?i:ks)", "(?i:ab1)", r"\D", "", "-",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..5).prop_map(|v| v.concat()),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|v| format!("(?:{})", v.join("|"))),
            (
                inner,
                prop::sample::select(vec!["*", "+", "?", "{2}", "{1,3}", "{3,}", "+?", "{0}"])
            )
                .prop_map(|(e, r)| format!("(?:{e}){r}")),
        ]
    })
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        &b"a"[..],
        b"b",
        b"k",
        b"S",
        b"ab",
        b"1",
        b"11-1",
        "é".as_bytes(),
        "\u{212A}".as_bytes(),
        "ſ".as_bytes(),
        "\u{FFFD}".as_bytes(),
        b"\xff",
        b"\xc3",
        b" ",
        b"\n",
        b"-",
        b"+",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The law that redaction rests on: where an expression matches, one of its gates hits within the match.
    #[test]
    fn no_match_without_a_gate(source in expression(), text in text(), before in text(), behind in text()) {
        let pattern = pattern(&source);
        let mut cache = pattern.cache();
        if let Some(gates) = pattern.gates() {
            prop_assert!(!pattern.matches_empty(&mut cache), "{} has gates and matches nothing", source);
            if pattern.is_match(&mut cache, &text) {
                let whole = [&before[..], &text, &behind].concat();
                let mut hits = Vec::new();
                Scan::new(gates).find(&whole, &mut hits);
                let value = before.len()..before.len() + text.len();
                let overlaps = hits.iter().any(|h| h.offset < value.end && value.start < h.end());
                prop_assert!(overlaps, "{} matches {:?} without a gate", source, text);
            }
        }
    }

    /// The one-pass match and the replacement agree, whatever the bytes are.
    #[test]
    fn replaces_if_and_only_if_it_matches(source in expression(), text in text()) {
        let pattern = pattern(&source);
        let mut cache = pattern.cache();
        let mut out = Vec::new();
        let replaced = pattern.replace_all(&mut cache, &text, &mut out, |m, out| {
            out.extend_from_slice(m);
        });
        prop_assert_eq!(replaced, pattern.is_match(&mut cache, &text));
        let mut by_groups = Vec::new();
        let found = pattern.replace_all_groups(&mut cache, &text, &mut by_groups, |groups, out| {
            let (start, end) = groups[0].expect("the whole match took part");
            out.extend_from_slice(&text[start..end]);
        });
        prop_assert_eq!((found, &by_groups), (replaced, &out));
        if replaced {
            prop_assert_eq!(out, text, "every match replaced by itself");
        }
    }
}

#[test]
fn groups_of_each_match_are_given() {
    let pattern = pattern("(?P<k>\\w)=(\\d)?");
    assert_eq!(
        (pattern.group_number("k"), pattern.group_number("x")),
        (Some(1), None)
    );
    let (mut seen, mut out) = (Vec::new(), Vec::new());
    let found = pattern.replace_all_groups(&mut pattern.cache(), b"a=1 \xff b=", &mut out, |groups, out| {
        seen.push(groups.to_vec());
        out.push(b'.');
    });
    assert!(found);
    assert_eq!(out, b". \xff .");
    let second = vec![Some((6, 8)), Some((6, 7)), None];
    assert_eq!(seen, [vec![Some((0, 3)), Some((0, 1)), Some((2, 3))], second]);
}

//! Guards of the detectors in both directions: every row of `testdata` is found exactly, or not at all, and on numbers
//! and lines as logs are full of them the number of findings is pinned. Who moves one of them shows it here.

use std::ops::Range;

use super::detector::Detector;
use super::fold::Folded;
use super::runs::Runs;

/// Findings of one detector, in the text as it is.
fn find(detector: Detector, text: &str, key: &str) -> Vec<Range<usize>> {
    let mut folded = Folded::default();
    let is_folded = folded.fold(text.as_bytes());
    let (mut runs, mut found) = (Runs::default(), Vec::new());
    let seen = folded.seen(text.as_bytes(), is_folded);
    runs.read(seen);
    detector.find(seen, key.as_bytes(), &runs, &mut found);
    match is_folded {
        true => found.iter().map(|range| folded.origin(range)).collect(),
        false => found,
    }
}

pub(super) fn rows(file: &str) -> impl Iterator<Item = &str> {
    file.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
}

/// The text without its marks, and what they mark.
pub(super) fn marked(row: &str) -> (String, Vec<Range<usize>>) {
    let (mut text, mut ranges, mut start) = (String::new(), Vec::new(), 0);
    for c in row.chars() {
        match c {
            '‹' => start = text.len(),
            '›' => ranges.push(start..text.len()),
            c => text.push(c),
        }
    }
    (text, ranges)
}

fn show(text: &str, found: &[Range<usize>]) -> Vec<String> {
    found.iter().map(|range| text[range.clone()].to_owned()).collect()
}

#[test]
fn what_is_true_is_found() {
    let (mut wrong, mut count) = (Vec::new(), [0; 16]);
    for row in rows(include_str!("testdata/true.txt")) {
        let mut parts = row.splitn(3, '|');
        let (name, key, text) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let detector = Detector::ALL.into_iter().find(|d| d.as_str() == name).unwrap();
        let (text, expected) = marked(text);
        let found = find(detector, &text, key);
        count[detector as usize] += expected.len();
        if found != expected {
            wrong.push(format!("{row}\n    found {:?}", show(&text, &found)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count.iter().all(|n| *n > 0), "a detector has no row: {count:?}");
}

#[test]
fn what_is_false_is_not_found() {
    let mut wrong = Vec::new();
    for row in rows(include_str!("testdata/false.txt")) {
        let (key, text) = row.split_once('|').unwrap();
        for detector in Detector::ALL {
            let found = find(detector, text, key);
            if !found.is_empty() {
                wrong.push(format!(
                    "{row}\n    {}: {:?}",
                    detector.as_str(),
                    show(text, &found)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// --- What logs are full of ---

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    fn digits(&mut self, len: u64) -> String {
        (0..len)
            .map(|i| char::from(b'0' + self.below(if i == 0 { 9 } else { 10 }) as u8 + u8::from(i == 0)))
            .collect()
    }
}

/// How many of `count` texts each detector finds something in; those that find nothing are left out.
fn findings(count: u64, mut text: impl FnMut(&mut Rng) -> String) -> Vec<(&'static str, u64)> {
    let mut found = [0; 16];
    let mut rng = Rng(7);
    for _ in 0..count {
        let text = text(&mut rng);
        for detector in Detector::ALL {
            found[detector as usize] += u64::from(!find(detector, &text, "msg").is_empty());
        }
    }
    let all = Detector::ALL.into_iter().map(|d| (d.as_str(), found[d as usize]));
    all.filter(|(_, n)| *n > 0).collect()
}

#[test]
fn access_logs_are_let_alone() {
    let line = |rng: &mut Rng| {
        let code = [200, 201, 301, 404, 500][rng.below(5) as usize];
        format!(
            "- - [21/Nov/2026:{:02}:{:02}:{:02} +0000] \"GET /v{}/orders/{} HTTP/1.1\" {code} - {} {} {} {} \"-\" \"Mozilla/5.0 Chrome/{}.0.{}.{}\" {}.{:06}",
            rng.below(24),
            rng.below(60),
            rng.below(60),
            rng.below(9),
            rng.below(10_000_000),
            rng.below(100_000),
            rng.below(1_000_000),
            rng.below(400),
            rng.below(400),
            90 + rng.below(50),
            rng.below(9000),
            rng.below(300),
            1_763_000_000 + rng.below(9_000_000),
            rng.below(1_000_000),
        )
    };
    assert_eq!(findings(5000, line), []);
}

#[test]
fn identifiers_and_times_are_let_alone() {
    let uuid = |rng: &mut Rng| {
        let (a, b) = (rng.bits(), rng.bits());
        format!(
            "req {:08x}-{:04x}-4{:03x}-a{:03x}-{:012x} ok",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 52,
            b >> 16
        )
    };
    assert_eq!(findings(5000, uuid), []);
    let trace = |rng: &mut Rng| format!("{:016x}{:016x} {:016x}", rng.bits(), rng.bits(), rng.bits());
    assert_eq!(findings(5000, trace), []);
    let decimal = |rng: &mut Rng| format!("trace_id={} span_id={}", rng.bits(), rng.bits() >> 4);
    assert_eq!(findings(5000, decimal), []);
    let nanoseconds = |rng: &mut Rng| {
        format!(
            "{} {}",
            1_763_000_000_000_000_000 + rng.below(1 << 56),
            rng.below(1 << 40)
        )
    };
    assert_eq!(findings(5000, nanoseconds), []);
    let order = |rng: &mut Rng| format!("order {} of {}", rng.digits(16), rng.digits(9));
    assert_eq!(findings(5000, order), []);
}

/// Chance: what no detector can tell from the real thing. Where it moves, say why.
#[test]
fn bare_numbers_are_rarely_taken_for_cards() {
    let unbroken = |len| move |rng: &mut Rng| rng.digits(len);
    let cards: Vec<(u64, Vec<(&str, u64)>)> = (13..=19)
        .map(|len| (len, findings(4000, unbroken(len))))
        .collect();
    assert_eq!(
        cards,
        [
            (13, vec![]),
            (14, vec![]),
            (15, vec![("card", 12)]),
            (16, vec![("card", 111)]),
            (17, vec![]),
            (18, vec![]),
            (19, vec![]),
        ]
    );
    let grouped = |rng: &mut Rng| {
        format!(
            "{} {} {} {}",
            rng.digits(4),
            rng.digits(4),
            rng.digits(4),
            rng.digits(4)
        )
    };
    assert_eq!(findings(4000, grouped), [("card", 128)]);
    let columns = |rng: &mut Rng| format!("{} {} {}", rng.digits(3), rng.digits(5), rng.digits(4));
    assert_eq!(findings(4000, columns), []);
}

/// Every check digit is checked: of ten numbers that differ in the last digit one is a card.
#[test]
fn one_check_digit_in_ten_is_right() {
    for head in ["411111111111111", "37828224631000", "550000555555555"] {
        let right =
            (0..10).filter(|digit| !find(Detector::Card, &format!("{head}{digit}"), "msg").is_empty());
        assert_eq!(right.count(), 1, "{head}");
    }
    let iban = |check: u32| format!("DE{check:02}370400440532013000");
    let right: Vec<u32> = (0..100)
        .filter(|c| !find(Detector::Iban, &iban(*c), "msg").is_empty())
        .collect();
    assert_eq!(right, [89]);
}

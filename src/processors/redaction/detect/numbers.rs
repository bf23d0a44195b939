//! Detectors of what is written in digits: card numbers, IBANs, telephone and social security numbers, IP addresses.
//!
//! A number alone means little, and logs are full of them. So each detector asks for a shape (grouping, boundaries), for
//! what the number itself proves (checksum, issuer, country), and where that is not enough for a word beside it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::str::FromStr as _;

use super::context::{before, byte, is_word, labelled, run, run_up_to, speaks};
use super::runs::{Run, Runs};

/// Labels of numbers that are none of these.
const OTHER_LABELS: &[&str] = &[
    "id",
    "ids",
    "trace",
    "span",
    "order",
    "invoice",
    "ticket",
    "request",
    "timestamp",
    "time",
    "ts",
    "uuid",
    "guid",
    "offset",
    "seq",
    "sequence",
    "session",
    "correlation",
    "tracking",
    "nonce",
    "size",
    "bytes",
    "sku",
    "part",
    "case",
    "ref",
    "build",
    "rev",
    "duration",
    "hash",
];

// --- Groups of digits ---

/// Most digits and groups that are looked at together.
const DIGITS_MAX: usize = 20;
const GROUPS_MAX: usize = 6;

/// Digits in groups, one separator between two of them.
#[derive(Default)]
struct Groups {
    digits: [u8; DIGITS_MAX],
    count: usize,
    /// Digits in each group.
    lens: [usize; GROUPS_MAX],
    groups: usize,
}

impl Groups {
    /// Reads from the first run on, as long as runs are separated by one `separator`. More than fits is left.
    fn read(text: &[u8], runs: &[Run], separator: u8) -> Groups {
        let mut all = Groups::default();
        for (i, run) in runs.iter().take(GROUPS_MAX).enumerate() {
            let follows = i == 0 || is_next(text, runs[i - 1], *run, separator);
            if !follows || all.count + run.len() > DIGITS_MAX {
                break;
            }
            all.digits[all.count..all.count + run.len()].copy_from_slice(&text[run.start..run.end]);
            all.count += run.len();
            all.lens[all.groups] = run.len();
            all.groups += 1;
        }
        all
    }
}

/// Whether nothing but a separator stands between two runs.
fn is_next(text: &[u8], run: Run, next: Run, separator: u8) -> bool {
    next.start == run.end + 1 && text[run.end] == separator
}

/// Whether a word or a number goes on behind its end: a full stop ends a sentence, a point does not.
fn goes_on(text: &[u8], end: usize) -> bool {
    is_word(byte(text, end)) || byte(text, end) == b'.' && byte(text, end + 1).is_ascii_digit()
}

// --- Cards ---

/// First six digits, from and to, and the lengths that go with them.
const ISSUERS: &[(u32, u32, &[usize])] = &[
    (400_000, 499_999, &[13, 16, 19]),
    (510_000, 559_999, &[16]),
    (222_100, 272_099, &[16]),
    (340_000, 349_999, &[15]),
    (370_000, 379_999, &[15]),
    (601_100, 601_199, &[16, 19]),
    (644_000, 659_999, &[16, 19]),
    (300_000, 305_999, &[14, 16, 19]),
    (309_500, 309_599, &[14, 16, 19]),
    (360_000, 369_999, &[14, 16, 19]),
    (380_000, 399_999, &[14, 16, 19]),
    (352_800, 358_999, &[16, 19]),
    (620_000, 629_999, &[16, 17, 18, 19]),
    (810_000, 817_199, &[16, 17, 18, 19]),
    (220_000, 220_499, &[16, 17, 18, 19]),
    (501_800, 501_899, &[13, 14, 15, 16, 17, 18, 19]),
    (502_000, 502_099, &[13, 14, 15, 16, 17, 18, 19]),
    (503_800, 503_899, &[13, 14, 15, 16, 17, 18, 19]),
    (508_500, 508_999, &[16]),
    (589_300, 589_399, &[13, 14, 15, 16, 17, 18, 19]),
    (607_000, 608_499, &[16]),
    (630_400, 630_499, &[13, 14, 15, 16, 17, 18, 19]),
    (675_900, 676_399, &[13, 14, 15, 16, 17, 18, 19]),
];

const CARD_WORDS: &[&str] = &[
    "card",
    "cards",
    "pan",
    "cc",
    "credit",
    "debit",
    "visa",
    "mastercard",
    "amex",
    "maestro",
    "payment",
    "ccnum",
    "cardnumber",
    "creditcard",
];

/// How cards are printed.
const CARD_GROUPS: [&[usize]; 5] = [
    &[4, 4, 4, 4],
    &[4, 6, 5],
    &[4, 6, 4],
    &[4, 4, 4, 4, 3],
    &[4, 4, 4, 1],
];

pub(super) fn card(text: &[u8], key: &[u8], runs: &Runs, found: &mut Vec<Range<usize>>) {
    let mut done = 0;
    for (i, run) in runs.all().iter().enumerate() {
        if run.start < done || !matches!(run.len(), 4 | 13..=19) {
            continue;
        }
        if let Some(end) = card_at(text, key, &runs.all()[i..]) {
            found.push(run.start..end);
            done = end;
        }
    }
}

/// A card that begins with the first of the runs.
fn card_at(text: &[u8], key: &[u8], runs: &[Run]) -> Option<usize> {
    let [first, rest @ ..] = runs else { return None };
    let (at, left) = (first.start, before(text, first.start));
    let fraction = matches!(left, b'.' | b',') && at >= 2 && text[at - 2].is_ascii_digit();
    if left.is_ascii_alphabetic() || fraction {
        return None;
    }
    if (13..=19).contains(&first.len()) {
        let right = byte(text, first.end);
        let next = byte(text, first.end + 1);
        if goes_on(text, first.end) || !is_card(&text[at..first.end]) {
            return None;
        }
        let glued = left == b'_'
            || left == b'-' && at >= 2 && is_word(text[at - 2])
            || right == b'-' && is_word(next);
        // A tenth of all numbers pass Luhn: of the lengths that few cards have, and where it looks like a part of
        // something else, the number alone is not enough.
        let common = matches!(first.len(), 15 | 16) && !glued && !labelled(text, key, at, OTHER_LABELS);
        return (common || speaks(text, key, at, CARD_WORDS)).then_some(first.end);
    }
    let separator = byte(text, first.end);
    let grouped = rest
        .first()
        .is_some_and(|second| matches!(second.len(), 4 | 6) && is_next(text, *first, *second, separator));
    if first.len() != 4 || left == b'_' || !grouped || !matches!(separator, b' ' | b'-') {
        return None;
    }
    let groups = Groups::read(text, runs, separator);
    let shape = CARD_GROUPS
        .iter()
        .filter(|shape| groups.lens[..groups.groups].starts_with(shape))
        .max_by_key(|shape| shape.len())?;
    let count: usize = shape.iter().sum();
    let end = at + count + shape.len() - 1;
    let right = byte(text, end);
    // Between hyphens it is a part of a longer name.
    let hyphens = separator == b'-' && (left == b'-' || right == b'-' && is_word(byte(text, end + 1)));
    (!hyphens && !goes_on(text, end) && is_card(&groups.digits[..count])).then_some(end)
}

/// Whether an issuer has such numbers, and the check digit is right.
fn is_card(digits: &[u8]) -> bool {
    let number = |digits: &[u8]| digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'));
    let head = number(&digits[..6]);
    let issued = |(from, to, lens): &(u32, u32, &[usize])| {
        (*from..=*to).contains(&head) && lens.contains(&digits.len())
    };
    ISSUERS.iter().any(issued) && luhn(digits) && digits.iter().any(|d| *d != digits[0])
}

fn luhn(digits: &[u8]) -> bool {
    let value = |(i, digit): (usize, &u8)| {
        let digit = u32::from(digit - b'0');
        match i % 2 {
            0 => digit,
            _ => digit * 2 / 10 + digit * 2 % 10,
        }
    };
    digits.iter().rev().enumerate().map(value).sum::<u32>() % 10 == 0
}

// --- IBAN ---

/// Countries and the length of their numbers.
#[rustfmt::skip]
const IBANS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24), (b"AE", 23), (b"AL", 28), (b"AT", 20), (b"AZ", 28), (b"BA", 20), (b"BE", 16), (b"BG", 22), (b"BH", 22),
    (b"BI", 27), (b"BR", 29), (b"BY", 28), (b"CH", 21), (b"CR", 22), (b"CY", 28), (b"CZ", 24), (b"DE", 22), (b"DJ", 27),
    (b"DK", 18), (b"DO", 28), (b"EE", 20), (b"EG", 29), (b"ES", 24), (b"FI", 18), (b"FK", 18), (b"FO", 18), (b"FR", 27),
    (b"GB", 22), (b"GE", 22), (b"GI", 23), (b"GL", 18), (b"GR", 27), (b"GT", 28), (b"HR", 21), (b"HU", 28), (b"IE", 22),
    (b"IL", 23), (b"IQ", 23), (b"IS", 26), (b"IT", 27), (b"JO", 30), (b"KW", 30), (b"KZ", 20), (b"LB", 28), (b"LC", 32),
    (b"LI", 21), (b"LT", 20), (b"LU", 20), (b"LV", 21), (b"LY", 25), (b"MC", 27), (b"MD", 24), (b"ME", 22), (b"MK", 19),
    (b"MN", 20), (b"MR", 27), (b"MT", 31), (b"MU", 30), (b"NI", 28), (b"NL", 18), (b"NO", 15), (b"OM", 23), (b"PK", 24),
    (b"PL", 28), (b"PS", 29), (b"PT", 25), (b"QA", 29), (b"RO", 24), (b"RS", 22), (b"RU", 33), (b"SA", 24), (b"SC", 31),
    (b"SD", 18), (b"SE", 24), (b"SI", 19), (b"SK", 24), (b"SM", 27), (b"SO", 23), (b"ST", 25), (b"SV", 28), (b"TL", 23),
    (b"TN", 24), (b"TR", 26), (b"UA", 29), (b"VA", 22), (b"VG", 24), (b"XK", 20), (b"YE", 30),
];

pub(super) fn iban(text: &[u8], runs: &Runs, found: &mut Vec<Range<usize>>) {
    let mut done = 0;
    for run in runs.all() {
        // The check digits follow the two letters of the country.
        let Some(at) = run
            .start
            .checked_sub(2)
            .filter(|at| *at >= done && run.len() >= 2)
        else {
            continue;
        };
        if let Some(end) = iban_at(text, at) {
            found.push(at..end);
            done = end;
        }
    }
}

fn iban_at(text: &[u8], at: usize) -> Option<usize> {
    let [a, b, c, d] = <[u8; 4]>::try_from(text.get(at..at + 4)?).ok()?;
    let begins =
        a.is_ascii_alphabetic() && b.is_ascii_alphabetic() && c.is_ascii_digit() && d.is_ascii_digit();
    if !begins || is_word(before(text, at)) || a.is_ascii_uppercase() != b.is_ascii_uppercase() {
        return None;
    }
    let country = [a.to_ascii_uppercase(), b.to_ascii_uppercase()];
    let len = IBANS.iter().find(|(code, _)| **code == country)?.1;
    // Written in one, or in groups of four.
    let separator = Some(byte(text, at + 4)).filter(|b| *b == b' ');
    let (mut read, mut from, mut rest, mut head) = (0, at, 0u32, 0u32);
    while read < len {
        if separator.is_some_and(|s| read > 0 && read % 4 == 0 && byte(text, from) == s) {
            from += 1;
        }
        let value = match byte(text, from) {
            digit @ b'0'..=b'9' => u32::from(digit - b'0'),
            letter @ (b'A'..=b'Z' | b'a'..=b'z') if letter.is_ascii_uppercase() == a.is_ascii_uppercase() => {
                u32::from(letter.to_ascii_uppercase() - b'A') + 10
            }
            _ => return None,
        };
        let sum = if read < 4 { &mut head } else { &mut rest };
        *sum = (*sum * if value < 10 { 10 } else { 100 } + value) % if read < 4 { u32::MAX } else { 97 };
        read += 1;
        from += 1;
    }
    if is_word(byte(text, from)) {
        return None;
    }
    // Country and check digits count behind the rest: two letters of two digits each, and two digits.
    ((u64::from(rest) * 1_000_000 + u64::from(head)) % 97 == 1).then_some(from)
}

// --- Telephone numbers ---

const PHONE_WORDS: &[&str] = &[
    "phone",
    "tel",
    "mobile",
    "cell",
    "fax",
    "whatsapp",
    "sms",
    "msisdn",
    "telephone",
    "hotline",
];

pub(super) fn phone(text: &[u8], key: &[u8], runs: &Runs, found: &mut Vec<Range<usize>>) {
    let mut done = 0;
    for (i, run) in runs.all().iter().enumerate() {
        let left = before(text, run.start);
        // Parts of words, addresses and versions are most.
        if is_word(left) || matches!(left, b'.' | b'-') {
            continue;
        }
        let rest = &runs.all()[i..];
        let open = left == b'(';
        let sign = run.start.checked_sub(1 + usize::from(open));
        let sign = sign.filter(|at| text[*at] == b'+');
        let paren = run.start.checked_sub(1).filter(|_| open);
        let paren = paren.filter(|at| !before(text, *at).is_ascii_digit());
        let abroad = || {
            let at = sign.filter(|at| *at >= done)?;
            Some((at, international(text, at)?))
        };
        let national = |at: Option<usize>| {
            let at = at.filter(|at| *at >= done)?;
            let end = north_american(text, key, at, *run).or_else(|| with_context(text, key, at, rest))?;
            Some((at, end))
        };
        let dialled = abroad()
            .or_else(|| national(paren))
            .or_else(|| national(Some(run.start)));
        if let Some((at, end)) = dialled {
            found.push(at..end);
            done = end;
        }
    }
}

/// What was dialled.
struct Dialled {
    digits: [u8; 15],
    count: usize,
    groups: usize,
    end: usize,
}

/// Digits up to `max` (15 at most), with one or two separators between groups of them; points only where a country's code
/// was before.
fn dialled(text: &[u8], at: usize, max: usize, points: bool) -> Option<Dialled> {
    let mut all = Dialled {
        digits: [b'0'; 15],
        count: 0,
        groups: 0,
        end: at,
    };
    let mut from = at;
    loop {
        let len = run(text, from, |b| b.is_ascii_digit());
        if len == 0 || all.count + len > max {
            break;
        }
        all.digits[all.count..all.count + len].copy_from_slice(&text[from..from + len]);
        all.count += len;
        all.groups += 1;
        all.end = from + len;
        let between = run_up_to(text, all.end, 3, |b| is_separator(b) || points && b == b'.');
        if between == 0 || between > 2 {
            break;
        }
        from = all.end + between;
    }
    (all.count > 0 && !is_word(byte(text, all.end))).then_some(all)
}

/// `+49 30 901820`.
fn international(text: &[u8], at: usize) -> Option<usize> {
    if is_word(before(text, at)) || before(text, at) == b'+' {
        return None;
    }
    let open = usize::from(byte(text, at + 1) == b'(');
    // What follows may be another number: of a fixed length the rest is left.
    let max = match byte(text, at + 1 + open) {
        b'1' | b'7' => 11,
        _ => 15,
    };
    let Dialled {
        digits,
        count,
        groups,
        end,
    } = dialled(text, at + 1 + open, max, true)?;
    let digits = &digits[..count];
    let fits = match digits[0] {
        b'1' => digits.len() == 11 && digits[1] >= b'2' && digits[4] >= b'2',
        b'7' => digits.len() == 11,
        _ => is_calling_code(digits) && digits.len() >= if groups > 1 { 9 } else { 10 },
    };
    fits.then_some(end)
}

/// Whether a country has this code; +1 and +7 are seen to before.
fn is_calling_code(digits: &[u8]) -> bool {
    let code = |n: usize| digits[..n].iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'));
    digits.len() > 3
        && (matches!(
            code(2),
            20 | 27 | 30..=34 | 36 | 39..=41 | 43..=49 | 51..=58 | 60..=66 | 81 | 82 | 84 | 86 | 90..=95 | 98
        ) || matches!(
            code(3) / 10,
            21..=26 | 29 | 35 | 37 | 38 | 42 | 50 | 59 | 67..=69 | 80 | 85 | 87 | 88 | 96 | 97 | 99
        ))
}

/// `(415) 555-2671`, `415-555-2671`, `1-415-555-2671`; `first` is the first run of digits.
fn north_american(text: &[u8], key: &[u8], at: usize, first: Run) -> Option<usize> {
    // An area's code, or the one digit before it.
    if !matches!(first.len(), 1 | 3) {
        return None;
    }
    let left = before(text, at);
    let trunk = text[at..].starts_with(b"1-") || text[at..].starts_with(b"1 ");
    let mut from = at + if trunk { 2 } else { 0 };
    let paren = byte(text, from) == b'(';
    from += usize::from(paren);
    let part = |from: usize, len: usize| {
        let digits = text.get(from..from + len)?;
        digits.iter().all(u8::is_ascii_digit).then_some(digits)
    };
    let area = part(from, 3)?;
    let mut next = from + 3;
    if paren {
        next += usize::from(byte(text, next) == b')');
        next += usize::from(byte(text, next) == b' ');
    } else {
        next += usize::from(byte(text, next) == b'-');
    }
    if next == from + 3 {
        return None;
    }
    let exchange = part(next, 3)?;
    let line = part(next + 4, 4)?;
    let end = next + 8;
    let separated = byte(text, next + 3) == b'-';
    let right = byte(text, end);
    let bounded =
        !is_word(left) && !matches!(left, b'-' | b'.' | b'/') && right != b'-' && !goes_on(text, end);
    let plan = area[0] >= b'2' && exchange[0] >= b'2' && area[1..] != *b"11" && line != b"0000";
    let labelled_otherwise = !paren && !trunk && labelled(text, key, at, OTHER_LABELS);
    (separated && bounded && plan && !labelled_otherwise).then_some(end)
}

/// Anything dialled that a word calls a telephone number; `runs` are the digits from there on.
fn with_context(text: &[u8], key: &[u8], at: usize, runs: &[Run]) -> Option<usize> {
    const COUNT_MIN: usize = 8;
    let left = before(text, at);
    let other = is_word(left) || matches!(left, b'-' | b'.' | b'+' | b'(');
    if other || !may_reach(text, runs, COUNT_MIN) || !labelled(text, key, at, PHONE_WORDS) {
        return None;
    }
    let Dialled { count, end, .. } = dialled(text, at + usize::from(text[at] == b'('), 15, false)?;
    (count >= COUNT_MIN && !is_date(&text[at..end])).then_some(end)
}

/// Whether the runs from the first on, with one or two separators between them, have so many digits together.
fn may_reach(text: &[u8], runs: &[Run], count: usize) -> bool {
    let mut sum = 0;
    for (i, run) in runs.iter().enumerate() {
        let follows = i == 0 || {
            let between = &text[runs[i - 1].end..run.start];
            between.len() <= 2 && between.iter().all(|b| is_separator(*b))
        };
        if sum >= count || !follows {
            break;
        }
        sum += run.len();
    }
    sum >= count
}

/// Between groups of a telephone number, wherever it is.
fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'(' | b')' | b'/')
}

/// `2026-11-21` and `20261121`.
fn is_date(text: &[u8]) -> bool {
    if let [b'1' | b'2', b'0' | b'9', _, _, b'0' | b'1', _, b'0'..=b'3', _] = text {
        return true;
    }
    matches!(
        text,
        [
            b'1' | b'2',
            b'0' | b'9',
            _,
            _,
            b'-' | b'.' | b'/',
            _,
            _,
            b'-' | b'.' | b'/',
            ..
        ]
    )
}

// --- US social security numbers ---

const SSN_WORDS: &[&str] = &["ssn", "social", "ss#", "taxpayer", "itin"];

pub(super) fn us_ssn(text: &[u8], key: &[u8], runs: &Runs, found: &mut Vec<Range<usize>>) {
    for (i, run) in runs.all().iter().enumerate() {
        let end = match run.len() {
            9 => us_ssn_at(text, key, *run, None),
            3 => us_ssn_at(text, key, *run, runs.all().get(i + 1..i + 3)),
            _ => None,
        };
        if let Some(end) = end {
            found.push(run.start..end);
        }
    }
}

/// Nine digits, or three and the two and four behind them.
fn us_ssn_at(text: &[u8], key: &[u8], first: Run, rest: Option<&[Run]>) -> Option<usize> {
    let (at, separator) = (first.start, byte(text, first.end));
    let mut digits = [0; 9];
    let end = match rest {
        Some([second, third]) => {
            let joined =
                is_next(text, first, *second, separator) && is_next(text, *second, *third, separator);
            let shaped = second.len() == 2 && third.len() == 4 && matches!(separator, b'-' | b' ');
            if !joined || !shaped {
                return None;
            }
            digits[..3].copy_from_slice(&text[at..first.end]);
            digits[3..5].copy_from_slice(&text[second.start..second.end]);
            digits[5..].copy_from_slice(&text[third.start..third.end]);
            third.end
        }
        _ if first.len() == 9 => {
            digits.copy_from_slice(&text[at..first.end]);
            first.end
        }
        _ => return None,
    };
    let (left, right) = (before(text, at), byte(text, end));
    let bounded =
        !is_word(left) && !matches!(left, b'-' | b'.' | b'+') && right != b'-' && !goes_on(text, end);
    let issued = !digits.starts_with(b"000")
        && !digits.starts_with(b"666")
        && digits[0] != b'9'
        && digits[3..5] != *b"00"
        && digits[5..] != *b"0000";
    if !bounded || !issued {
        return None;
    }
    // Only with hyphens the shape speaks for itself.
    let told = separator == b'-' && rest.is_some() && !labelled(text, key, at, OTHER_LABELS);
    (told || speaks(text, key, at, SSN_WORDS)).then_some(end)
}

// --- IP addresses ---

const VERSION_WORDS: &[&str] = &[
    "version", "ver", "v", "release", "build", "oid", "rev", "firmware", "driver",
];

pub(super) fn ipv4(text: &[u8], key: &[u8], runs: &Runs, found: &mut Vec<Range<usize>>) {
    for Run { start: at, .. } in runs.all().iter().copied().filter(|run| run.len() <= 3) {
        let left = before(text, at);
        // `Chrome/120.0.0.0` is a version, `http://10.0.0.1` is not.
        let product = left == b'/' && at >= 2 && text[at - 2].is_ascii_alphanumeric();
        if is_word(left) || matches!(left, b'.' | b'-') {
            continue;
        }
        let len = run(text, at, |b| b.is_ascii_digit() || b == b'.');
        let len = len - usize::from(text[at..at + len].ends_with(b"."));
        let (token, right) = (&text[at..at + len], byte(text, at + len));
        if !(7..=15).contains(&len) || is_word(right) || product && right != b':' {
            continue;
        }
        let Some(address) = std::str::from_utf8(token)
            .ok()
            .and_then(|t| Ipv4Addr::from_str(t).ok())
        else {
            continue;
        };
        // Addresses that say nothing of anybody.
        let [first, .., last] = address.octets();
        let nobody =
            address.is_loopback() || first == 0 || first == 255 || last == 0 && address.octets()[2] == 0;
        let suffix = matches!(right, b'-' | b'+') && byte(text, at + len + 1).is_ascii_alphanumeric();
        if !nobody && !suffix && !labelled(text, key, at, VERSION_WORDS) {
            found.push(at..at + len);
        }
    }
}

pub(super) fn ipv6(text: &[u8], found: &mut Vec<Range<usize>>) {
    let is_part = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
    let mut at = 0;
    while at < text.len() {
        let len = run(text, at, is_part);
        if len == 0 {
            at += 1;
            continue;
        }
        let (start, end) = (at, at + len);
        at = end;
        if is_word(before(text, start)) || is_word(byte(text, end)) {
            continue;
        }
        // A sentence or a port may follow.
        let token = &text[start..end];
        let token = token
            .strip_suffix(b".")
            .or(token.strip_suffix(b":"))
            .unwrap_or(token);
        let parsed = std::str::from_utf8(token)
            .ok()
            .and_then(|t| Ipv6Addr::from_str(t).ok());
        if parsed.is_some_and(|address| is_somebody(&address)) {
            found.push(start..start + token.len());
        }
    }
}

/// Global, local to a link or a site, or an IPv4 address in it: what anybody may have.
fn is_somebody(address: &Ipv6Addr) -> bool {
    let [first, ..] = address.segments();
    let mapped = address.to_ipv4_mapped().is_some_and(|v4| !v4.is_loopback());
    mapped || first >> 13 == 1 || first >> 6 == 0xfe80 >> 6 || first >> 9 == 0xfc00 >> 9 || first == 0x64
}

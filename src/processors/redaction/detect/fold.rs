//! A text as a reader sees it: escapes of JSON resolved, digits of other scripts as ASCII ones, invisible characters gone.
//!
//! Detectors search the folded text; what they find is mapped back, so that everything else keeps its bytes. Escapes are
//! resolved however deep they are nested (`\\\"`): any number of backslashes before one counts as one.

use std::ops::Range;

/// The folded text, and where each of its bytes came from. Reused.
#[derive(Debug, Default)]
pub(super) struct Folded {
    text: Vec<u8>,
    /// Where each byte's origin begins; one more for the end.
    origins: Vec<u32>,
}

impl Folded {
    /// Folds a text; false if it is its own folding.
    pub(super) fn fold(&mut self, text: &[u8]) -> bool {
        let plain = text.is_ascii() && memchr::memchr(b'\\', text).is_none();
        // Offsets are those of a payload, which fits 32 bits.
        if plain || u32::try_from(text.len()).is_err() {
            return false;
        }
        self.text.clear();
        self.origins.clear();
        let mut at = 0;
        while at < text.len() {
            let (byte, len) = next(&text[at..]);
            if let Some(byte) = byte {
                self.text.push(byte);
                self.origins.push(at as u32);
            }
            at += len;
        }
        self.origins.push(text.len() as u32);
        true
    }

    /// The text that was folded last, or the one that is its own folding.
    pub(super) fn seen<'s>(&'s self, text: &'s [u8], is_folded: bool) -> &'s [u8] {
        if is_folded { &self.text } else { text }
    }

    /// Where a part of the folded text came from.
    pub(super) fn origin(&self, range: &Range<usize>) -> Range<usize> {
        self.origins[range.start] as usize..self.origins[range.end] as usize
    }
}

/// The byte that a reader sees first, none if it is invisible, and how many bytes make it.
fn next(text: &[u8]) -> (Option<u8>, usize) {
    match text {
        [b'\\', ..] => escape(text),
        // Soft hyphen; zero-width space, non-joiner, joiner and marks; word joiner; byte order mark.
        [0xC2, 0xAD, ..] => (None, 2),
        [0xE2, 0x80, 0x8B..=0x8F, ..] | [0xE2, 0x81, 0xA0, ..] | [0xEF, 0xBB, 0xBF, ..] => (None, 3),
        // No-break spaces and hyphens that look like the plain ones.
        [0xC2, 0xA0, ..] => (Some(b' '), 2),
        [0xE2, 0x80, 0x87 | 0x89 | 0xAF, ..] => (Some(b' '), 3),
        [0xE2, 0x80, 0x90..=0x93, ..] | [0xE2, 0x88, 0x92, ..] => (Some(b'-'), 3),
        // Full-width digits.
        [0xEF, 0xBC, low @ 0x90..=0x99, ..] => (Some(low - 0x90 + b'0'), 3),
        // Arabic-Indic digits, both sets.
        [0xD9, low @ 0xA0..=0xA9, ..] => (Some(low - 0xA0 + b'0'), 2),
        [0xDB, low @ 0xB0..=0xB9, ..] => (Some(low - 0xB0 + b'0'), 2),
        [first, ..] => (Some(*first), 1),
        [] => (None, 1),
    }
}

/// An escape of JSON. Line breaks and tabs read as blanks.
fn escape(text: &[u8]) -> (Option<u8>, usize) {
    let slashes = text.iter().take_while(|b| **b == b'\\').count();
    match &text[slashes..] {
        [b'n' | b'r' | b't' | b'b' | b'f', ..] => (Some(b' '), slashes + 1),
        [quoted @ (b'"' | b'/'), ..] => (Some(*quoted), slashes + 1),
        [b'u', b'0', b'0', high, low, ..] => match (hex(*high), hex(*low)) {
            (Some(high @ 0..=7), Some(low)) => (Some(high << 4 | low), slashes + 5),
            _ => (Some(b'\\'), slashes),
        },
        // As one: a long row of them must not be counted anew from each.
        _ => (Some(b'\\'), slashes),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut folded = Folded::default();
        let is_folded = folded.fold(text.as_bytes());
        let seen = folded.seen(text.as_bytes(), is_folded);
        assert_eq!(String::from_utf8_lossy(seen), expected, "{text:?}");
    }

    #[test]
    fn texts_read_as_they_are_seen() {
        check("plain", "plain");
        check("4\u{200b}1\u{feff}1\u{ad}1", "4111");
        check("４１１１ ｘ", "4111 ｘ");
        check("٤١١١ ۴", "4111 4");
        check("4111\u{a0}1111\u{2011}1", "4111 1111-1");
        check(r"\u0034\u0031", "41");
        check(r"\\u0034\\\u0031", "41");
        check(r"a\nb\\tc\/d", "a b c/d");
        check(r#"{\"a\":\"b\"}"#, r#"{"a":"b"}"#);
        check(r"C:\users \u00e9 \u12", r"C:\users \u00e9 \u12");
        check("größe ✓", "größe ✓");
        check(r"\", r"\");
    }

    #[test]
    fn what_is_found_is_mapped_back() {
        let text = "x\\u0034\u{200b}1é";
        let mut folded = Folded::default();
        assert!(folded.fold(text.as_bytes()));
        assert_eq!(folded.seen(b"", true), "x41é".as_bytes());
        assert_eq!(folded.origin(&(1..3)), 1..11);
        assert_eq!(&text[1..11], "\\u0034\u{200b}1");
        assert_eq!(folded.origin(&(0..5)), 0..13);
    }
}

//! What stands beside a candidate: its neighbours, the word that labels it, words that speak of it.

/// How far before a candidate a word may stand that speaks of it, in bytes.
const NEAR: usize = 32;

/// The byte before a place; a space at the beginning.
pub(super) fn before(text: &[u8], at: usize) -> u8 {
    at.checked_sub(1).map_or(b' ', |i| text[i])
}

/// The byte at a place; a space beyond the end.
pub(super) fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(b' ')
}

/// Part of a word or a number that goes on.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// How many bytes from `at` on are of a class.
pub(super) fn run(text: &[u8], at: usize, class: impl Fn(u8) -> bool) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.iter().position(|b| !class(*b)).unwrap_or(rest.len())
}

/// The same, of `max` bytes at most.
pub(super) fn run_up_to(text: &[u8], at: usize, max: usize, class: impl Fn(u8) -> bool) -> usize {
    run(&text[..text.len().min(at + max)], at, class)
}

/// Whether one of the words (in lower case) stands in the key, or shortly before `at`.
pub(super) fn speaks(text: &[u8], key: &[u8], at: usize, words: &[&str]) -> bool {
    let near = &text[at.saturating_sub(NEAR)..at];
    has_any(near, words) || has_any(key, words)
}

/// Whether one of the words (in lower case) is in the label right before `at`: `order_id=`, `"ts": `, `version `. Where
/// the text is nothing but the candidate, its key is its label.
pub(super) fn labelled(text: &[u8], key: &[u8], at: usize, words: &[&str]) -> bool {
    has_any(label(text, key, at), words)
}

fn label<'a>(text: &'a [u8], key: &'a [u8], at: usize) -> &'a [u8] {
    let is_glue = |b: &u8| {
        matches!(
            b,
            b' ' | b'=' | b':' | b'"' | b'\'' | b'#' | b'>' | b'[' | b'-' | b'('
        )
    };
    let is_label = |b: &u8| is_word(*b) || matches!(b, b'.' | b'-');
    let end = at - text[..at].iter().rev().take(8).take_while(|b| is_glue(b)).count();
    if end == 0 {
        return key;
    }
    let len = text[..end]
        .iter()
        .rev()
        .take(NEAR)
        .take_while(|b| is_label(b))
        .count();
    &text[end - len..end]
}

/// Whether one of the words, each of which begins with a letter, is in the text.
fn has_any(text: &[u8], words: &[&str]) -> bool {
    let letter = |byte: &u8| 1u32 << (byte & 31);
    // What stands before a number is often another one.
    let letters = text
        .iter()
        .filter(|b| b.is_ascii_alphabetic())
        .fold(0, |all, b| all | letter(b));
    let begins = |word: &&&str| word.as_bytes().first().is_some_and(|b| letters & letter(b) != 0);
    letters != 0 && words.iter().filter(begins).any(|word| has_word(text, word))
}

/// Words of up to four letters must stand alone, `ccNumber` and `my_cc` included; longer ones may be part of another.
fn has_word(text: &[u8], word: &str) -> bool {
    let word = word.as_bytes();
    let stands_alone = |at: usize| {
        let (first, last) = (text[at], text[at + word.len() - 1]);
        let (left, right) = (before(text, at), byte(text, at + word.len()));
        let begins = !left.is_ascii_alphabetic() || left.is_ascii_lowercase() && first.is_ascii_uppercase();
        let ends = !right.is_ascii_alphabetic() || right.is_ascii_uppercase() && last.is_ascii_lowercase();
        begins && ends
    };
    let Some(first) = word.first() else {
        return false;
    };
    let found = |(at, part): (usize, &[u8])| {
        // Most are told by their first byte.
        part[0].to_ascii_lowercase() == *first
            && part.eq_ignore_ascii_case(word)
            && (word.len() > 4 || stands_alone(at))
    };
    text.windows(word.len()).enumerate().any(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_words_stand_alone() {
        for (text, word, expected) in [
            ("the pan is", "pan", true),
            ("company", "pan", false),
            ("ccNumber", "cc", true),
            ("myCc", "cc", true),
            ("CC:", "cc", true),
            ("access", "cc", false),
            ("creditCardNumber", "credit", true),
            ("pan_hash", "pan", true),
            ("cc1", "cc", true),
            ("", "cc", false),
        ] {
            assert_eq!(has_word(text.as_bytes(), word), expected, "{word} in {text}");
        }
    }

    #[test]
    fn a_label_stands_right_before() {
        for (text, key, expected) in [
            ("order_id=4", "k", "order_id"),
            ("\"trace\": \"4", "k", "trace"),
            ("4", "span_id", "span_id"),
            (" \"4", "k", "k"),
            ("id 7 paid with 4", "k", "with"),
            ("é4", "k", ""),
        ] {
            let at = text.len() - 1;
            let label = label(text.as_bytes(), key.as_bytes(), at);
            assert_eq!(String::from_utf8_lossy(label), expected, "{text}");
        }
    }
}

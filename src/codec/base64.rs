//! Base64 (RFC 4648) for short texts: credentials, keys, tokens.

/// Which 64 characters, and whether `=` fills the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// `+` and `/`, padded.
    Standard,
    /// `-` and `_`, not padded: what JSON web tokens use.
    Url,
}

impl Alphabet {
    fn last_two(self) -> [u8; 2] {
        match self {
            Alphabet::Standard => *b"+/",
            Alphabet::Url => *b"-_",
        }
    }
}

/// The text of some bytes.
pub fn encode(alphabet: Alphabet, bytes: &[u8]) -> String {
    let digit = |n: u32| {
        let n = (n & 63) as u8;
        char::from(match n {
            0..26 => b'A' + n,
            26..52 => b'a' + n - 26,
            52..62 => b'0' + n - 52,
            _ => alphabet.last_two()[usize::from(n) - 62],
        })
    };
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..=three.len() {
            out.push(digit(bits >> (18 - 6 * i)));
        }
        if alphabet == Alphabet::Standard {
            out.extend(std::iter::repeat_n('=', 3 - three.len()));
        }
    }
    out
}

/// The bytes of a text; none if it is not exactly what [`encode`] makes of them.
pub fn decode(alphabet: Alphabet, text: &str) -> Option<Vec<u8>> {
    let text = match alphabet {
        Alphabet::Standard if !text.len().is_multiple_of(4) => return None,
        Alphabet::Standard => text.strip_suffix("==").or(text.strip_suffix('=')).unwrap_or(text),
        Alphabet::Url => text,
    };
    let [plus, slash] = alphabet.last_two();
    let value = |c: u8| {
        Some(u32::from(match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            c if c == plus => 62,
            c if c == slash => 63,
            _ => return None,
        }))
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for four in text.as_bytes().chunks(4) {
        let mut bits = 0;
        for c in four {
            bits = bits << 6 | value(*c)?;
        }
        let bytes = (bits << (6 * (4 - four.len()))).to_be_bytes();
        // What is left over after whole bytes must be zeroes: one text for each value.
        let whole = match four.len() {
            4 => 3,
            3 if bytes[3] == 0 => 2,
            2 if bytes[2] == 0 && bytes[3] == 0 => 1,
            _ => return None,
        };
        out.extend_from_slice(&bytes[1..=whole]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_and_decodes_the_standards_examples() {
        let check = |bytes: &[u8], standard: &str, url: &str| {
            assert_eq!(encode(Alphabet::Standard, bytes), standard);
            assert_eq!(encode(Alphabet::Url, bytes), url);
            assert_eq!(
                decode(Alphabet::Standard, standard).as_deref(),
                Some(bytes),
                "{standard}"
            );
            assert_eq!(decode(Alphabet::Url, url).as_deref(), Some(bytes), "{url}");
        };
        check(b"", "", "");
        check(b"f", "Zg==", "Zg");
        check(b"fo", "Zm8=", "Zm8");
        check(b"foo", "Zm9v", "Zm9v");
        check(b"foob", "Zm9vYg==", "Zm9vYg");
        check(b"foobar", "Zm9vYmFy", "Zm9vYmFy");
        check(&[0xfb, 0xff, 0xbf], "+/+/", "-_-_");
        let all: Vec<u8> = (0..=255).collect();
        let text = encode(Alphabet::Standard, &all);
        assert_eq!(decode(Alphabet::Standard, &text), Some(all));
    }

    #[test]
    fn refuses_what_is_not_it() {
        let check = |text: &str| assert_eq!(decode(Alphabet::Standard, text), None, "{text}");
        for text in [
            "Z",
            "Zg",
            "Zg=",
            "Zg===",
            "Z===",
            "Zh==",
            "Zm9=",
            "Zm9v\n",
            "-_-_",
            "Zm9vYg==Zm9v",
            "ä===",
        ] {
            check(text);
        }
        for text in ["Z", "Zh", "Zg==", "+/+/", "Zm9v "] {
            assert_eq!(decode(Alphabet::Url, text), None, "{text}");
        }
    }
}

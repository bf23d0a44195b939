//! SHA-256 and its two texts: hexadecimal in entries, Base64 in heads.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use codec::base64::Alphabet;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// 32 bytes that stand for others. Its text is 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// What is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest")]
pub struct NotADigest;

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    sha256_of(&[bytes])
}

/// SHA-256 of several pieces, one after the other.
pub fn sha256_of(pieces: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for piece in pieces {
        context.update(piece);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Digest(digest)
}

/// The lower-case hexadecimal text of some bytes.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}

/// The bytes of a lower-case hexadecimal text of exactly `2 * N` digits.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, two) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(two[0])? << 4 | digit(two[1])?;
    }
    Some(bytes)
}

impl Digest {
    /// Its 44 characters of Base64.
    pub fn to_base64(&self) -> String {
        codec::base64::encode(Alphabet::Standard, &self.0)
    }

    /// The digest of 44 characters of Base64.
    pub fn from_base64(text: &str) -> Result<Digest, NotADigest> {
        // Checked first: nobody decodes a long text to learn that it is too long.
        if text.len() != 44 {
            return Err(NotADigest);
        }
        let bytes = codec::base64::decode(Alphabet::Standard, text).ok_or(NotADigest)?;
        Ok(Digest(bytes.try_into().map_err(|_| NotADigest)?))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Digest, NotADigest> {
        unhex(text).map(Digest).ok_or(NotADigest)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
        d.deserialize_str(Text(Digest::from_str))
    }
}

/// For `#[serde(with)]`: a digest as Base64, which heads use.
pub mod base64 {
    use super::*;

    /// Writes the Base64 text.
    pub fn serialize<S: Serializer>(digest: &Digest, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&digest.to_base64())
    }

    /// Reads the Base64 text.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
        d.deserialize_str(Text(Digest::from_base64))
    }
}

/// Reads a text without a copy of it.
struct Text(fn(&str) -> Result<Digest, NotADigest>);

impl Visitor<'_> for Text {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a SHA-256 digest")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digest, E> {
        (self.0)(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_two_texts() {
        let empty = sha256(b"");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.to_string(), text);
        assert_eq!(text.parse(), Ok(empty));
        assert_eq!(empty.to_base64(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(Digest::from_base64(&empty.to_base64()), Ok(empty));
        assert_eq!(sha256_of(&[b"a", b"", b"bc"]), sha256(b"abc"));
    }

    #[test]
    fn refuses_what_is_none() {
        let check = |text: &str| {
            assert_eq!(text.parse::<Digest>(), Err(NotADigest), "{text}");
            assert_eq!(Digest::from_base64(text), Err(NotADigest), "{text}");
        };
        check("");
        check(&"E3".repeat(32));
        check(&"e".repeat(63));
        check(&"g".repeat(64));
        check(&"é".repeat(32));
        check(&format!("{}AB=", "A".repeat(41)));
    }
}

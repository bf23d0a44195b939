//! What stands in the place of a secret: stars, or a hash of it in lowercase hexadecimal.

use aws_lc_rs::{digest, hmac};

use codec::md5;

/// How matches are masked.
#[derive(Clone)]
pub(super) enum Mask {
    /// `****`.
    Stars,
    /// MD5, as older configurations have it. No protection for texts that can be guessed.
    Md5,
    /// SHA-1 or SHA3-256; the same is true of them.
    Digest(&'static digest::Algorithm),
    /// HMAC with a key of the user's.
    Hmac(Box<hmac::Key>),
}

impl Mask {
    /// Reads `hash_function` and `hmac_key`; the error names the key at fault and what is wrong with it.
    pub(super) fn new(function: &str, key: &str) -> Result<Mask, (&'static str, String)> {
        let keyed = |algorithm, bytes_min: usize| {
            if key.is_empty() {
                return Err((
                    "hmac_key",
                    format!("hmac_key must not be empty when hash_function is {function:?}"),
                ));
            }
            if key.len() < bytes_min {
                let message = format!("hmac_key must have at least {bytes_min} bytes for {function:?}");
                return Err(("hmac_key", message));
            }
            Ok(Mask::Hmac(Box::new(hmac::Key::new(algorithm, key.as_bytes()))))
        };
        match function.to_ascii_lowercase().as_str() {
            "" => Ok(Mask::Stars),
            "md5" => Ok(Mask::Md5),
            "sha1" => Ok(Mask::Digest(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            "sha3" => Ok(Mask::Digest(&digest::SHA3_256)),
            "hmac-sha256" => keyed(hmac::HMAC_SHA256, 32),
            "hmac-sha512" => keyed(hmac::HMAC_SHA512, 64),
            _ => Err((
                "hash_function",
                format!(
                    "unknown hash function {function:?}; it may be md5, sha1, sha3, hmac-sha256 or hmac-sha512"
                ),
            )),
        }
    }

    /// Appends what stands for a secret.
    pub(super) fn append(&self, secret: &[u8], out: &mut Vec<u8>) {
        match self {
            Mask::Stars => out.extend_from_slice(b"****"),
            Mask::Md5 => append_hex(&md5::hash(secret), out),
            Mask::Digest(algorithm) => append_hex(digest::digest(algorithm, secret).as_ref(), out),
            Mask::Hmac(key) => append_hex(hmac::sign(key, secret).as_ref(), out),
        }
    }

    /// Appends what stands for a whole value: a mask for each of its lines, even for an empty one.
    pub(super) fn append_lines(&self, value: &[u8], out: &mut Vec<u8>) {
        for (i, line) in value.split(|b| *b == b'\n').enumerate() {
            if i > 0 {
                out.push(b'\n');
            }
            self.append(line, out);
        }
    }
}

/// Appends bytes in lowercase hexadecimal.
pub(super) fn append_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(function: &str, key: &str, secret: &str, expected: &str) {
        let mut out = Vec::new();
        Mask::new(function, key)
            .unwrap()
            .append(secret.as_bytes(), &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            expected,
            "{function} of {secret:?}"
        );
    }

    #[test]
    fn hashes_are_those_of_the_standards() {
        check("", "", "abc", "****");
        check("md5", "", "abc", "900150983cd24fb0d6963f7d28e17f72");
        check("MD5", "", "", "d41d8cd98f00b204e9800998ecf8427e");
        check("sha1", "", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d");
        check(
            "sha3",
            "",
            "abc",
            "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
        );
        check(
            "hmac-sha256",
            &"k".repeat(32),
            "what do ya want for nothing?",
            "4f63351605b85f42e803b30e42c1905fed065a563ff4295a47982e43f228e097",
        );
        check(
            "HMAC-SHA512",
            &"k".repeat(64),
            "what do ya want for nothing?",
            "1ecccfef82248404a6aad1c0e1f2869876ee3c5793fecc0e5bee05ad9cfb30c49bf6a9927dfe559ce86b3f59191774e67298a482c62b253088e5fe0002f95306",
        );
    }

    #[test]
    fn keys_are_long_enough_and_never_shown() {
        for (function, len) in [("hmac-sha256", 32), ("hmac-sha512", 64)] {
            assert!(Mask::new(function, "").is_err());
            let short = "s".repeat(len - 1);
            let (key, message) = Mask::new(function, &short).err().unwrap();
            assert_eq!(key, "hmac_key");
            assert!(!message.contains("ss"), "{message}");
            assert!(Mask::new(function, &"s".repeat(len)).is_ok());
        }
        assert_eq!(Mask::new("sha256", "").err().map(|e| e.0), Some("hash_function"));
    }

    #[test]
    fn whole_values_are_masked_line_by_line() {
        let mask = Mask::new("", "").unwrap();
        for (value, expected) in [
            ("", "****"),
            ("a", "****"),
            ("a\nb", "****\n****"),
            ("a\n", "****\n****"),
            ("\na", "****\n****"),
        ] {
            let mut out = Vec::new();
            mask.append_lines(value.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{value:?}");
        }
    }
}

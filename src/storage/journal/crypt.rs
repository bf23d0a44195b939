//! Encryption of what lies on the disk: AES-256-GCM, a key for each file.
//!
//! From the configured key and sixteen random bytes in the file's header HKDF-SHA256 makes the file's own key, so two
//! files never share one. Within a file the nonce is the place where the text lies, and no place is written twice: what
//! a write or a sync failed on is never written again, and sealing ends a file. Hence no nonce is used twice with a key,
//! and nothing has to be counted across restarts.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};
use zeroize::Zeroizing;

use super::Error;

/// Length of a configured key.
const KEY: usize = 32;
/// What encryption adds to a text.
pub(super) const TAG: usize = 16;
/// Random bytes in a file's header.
pub(super) const SALT: usize = 16;

/// A key for what lies on the disk. Never printed; its bytes are wiped when the last clone goes.
#[derive(Clone)]
pub struct Key(Arc<Inner>);

struct Inner {
    secret: Prk,
    id: KeyId,
}

/// Says which key a file was written with, and nothing else about it.
pub(super) type KeyId = [u8; 8];

/// It is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 32 bytes, or 64 hexadecimal digits, or 32 bytes in base64")]
pub struct NotAKey;

impl Key {
    /// From what a file or an environment variable holds: 32 bytes as they are, 64 hexadecimal digits, or base64 of 32
    /// bytes, the last two with white space around them or not.
    pub fn parse(text: &[u8]) -> Result<Key, NotAKey> {
        let mut bytes = Zeroizing::new([0; KEY]);
        let trimmed = text.trim_ascii();
        if text.len() == KEY {
            bytes.copy_from_slice(text);
        } else if !(unhex(trimmed, &mut bytes) || unbase64(trimmed, &mut bytes)) {
            return Err(NotAKey);
        }
        Ok(Key::new(&bytes))
    }

    /// Of exactly these bytes.
    pub fn new(bytes: &[u8; KEY]) -> Key {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"weir journal key id");
        hash.update(bytes);
        let mut id = KeyId::default();
        id.copy_from_slice(&hash.finish().as_ref()[..8]);
        Key(Arc::new(Inner {
            secret: Prk::new_less_safe(HKDF_SHA256, bytes),
            id,
        }))
    }

    pub(super) fn id(&self) -> KeyId {
        self.0.id
    }

    /// The key of the file with this salt.
    pub(super) fn cipher(&self, salt: &[u8; SALT]) -> Cipher {
        let info: [&[u8]; 2] = [b"weir journal file", salt];
        let key: UnboundKey = self
            .0
            .secret
            .expand(&info, &AES_256_GCM)
            .expect("32 bytes are less than HKDF can give")
            .into();
        Cipher(LessSafeKey::new(key))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([REDACTED])")
    }
}

/// What a file's header says about its encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) key: KeyId,
    pub(super) salt: [u8; SALT],
}

impl Lock {
    /// For a new file.
    pub(super) fn new(key: &Key) -> Result<Lock, Error> {
        let mut salt = [0; SALT];
        aws_lc_rs::rand::fill(&mut salt)
            .map_err(|_| Error::io("get random bytes", std::io::ErrorKind::Other.into()))?;
        Ok(Lock { key: key.id(), salt })
    }

    /// Opens a file with the key that is configured.
    pub(super) fn open(&self, file: &str, key: Option<&Key>) -> Result<Cipher, Error> {
        let file = || file.to_owned();
        let key = key.ok_or_else(|| Error::KeyMissing { file: file() })?;
        if key.id() != self.key {
            return Err(Error::KeyWrong { file: file() });
        }
        Ok(key.cipher(&self.salt))
    }
}

/// The key of one file.
pub(super) struct Cipher(LessSafeKey);

impl Cipher {
    /// Encrypts in place what will lie at this offset of the file; the tag goes behind it. Once for each offset.
    pub(super) fn seal(&self, offset: u64, clear: &[u8], text: &mut Vec<u8>) {
        self.0
            .seal_in_place_append_tag(nonce(offset), Aad::from(clear), text)
            .expect("no text is as long as GCM's bound of 64 GiB");
    }

    /// Decrypts in place; says how long the text is without its tag. `None` if a bit of either part is not what it was.
    pub(super) fn open(&self, offset: u64, clear: &[u8], text: &mut [u8]) -> Option<usize> {
        let opened = self.0.open_in_place(nonce(offset), Aad::from(clear), text);
        opened.ok().map(|text| text.len())
    }
}

fn nonce(offset: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&offset.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn unhex(text: &[u8], out: &mut [u8; KEY]) -> bool {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    text.len() == 2 * KEY
        && out
            .iter_mut()
            .zip(text.chunks(2))
            .all(|(byte, pair)| match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => {
                    *byte = high << 4 | low;
                    true
                }
                _ => false,
            })
}

/// Either alphabet, padded or not.
fn unbase64(text: &[u8], out: &mut [u8; KEY]) -> bool {
    let text = text.strip_suffix(b"=").unwrap_or(text);
    if text.len() != (KEY * 8).div_ceil(6) {
        return false;
    }
    let (mut bits, mut held, mut at) = (0u32, 0, 0);
    for b in text {
        let six = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return false,
        };
        (bits, held) = (bits << 6 | u32::from(six), held + 6);
        if held >= 8 {
            held -= 8;
            out[at] = (bits >> held) as u8;
            at += 1;
            bits &= (1 << held) - 1;
        }
    }
    // What is over must be nothing: one key has one spelling.
    bits == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_three_spellings() {
        let bytes: [u8; 32] = std::array::from_fn(|i| (i * 37 + 11) as u8);
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let check = |text: &[u8], expected: Result<Key, NotAKey>| {
            assert_eq!(Key::parse(text), expected, "{}", text.escape_ascii());
        };
        let key = Ok(Key::new(&bytes));
        check(&bytes, key.clone());
        check(hex.as_bytes(), key.clone());
        check(format!(" {}\r\n", hex.to_uppercase()).as_bytes(), key);
        let zeros = Ok(Key::new(&[0; 32]));
        check("A".repeat(43).as_bytes(), zeros.clone());
        check(format!("{}=\n", "A".repeat(43)).as_bytes(), zeros);
        let ones = Ok(Key::new(&[0xff; 32]));
        check(format!("{}8=", "/".repeat(42)).as_bytes(), ones.clone());
        check(format!("{}8", "_".repeat(42)).as_bytes(), ones);
        for bad in [
            &b""[..],
            b"secret",
            &bytes[..31],
            &[0; 33],
            &hex.as_bytes()[..63],
            format!("{}g", &hex[..63]).as_bytes(),
            format!("{}9=", "/".repeat(42)).as_bytes(),
            format!("{}8==", "/".repeat(42)).as_bytes(),
            format!("{}!8=", "/".repeat(41)).as_bytes(),
        ] {
            check(bad, Err(NotAKey));
        }
    }

    #[test]
    fn base64_agrees_with_hexadecimal() {
        // `printf ... | base64` of 00 01 ... 1f.
        let base64 = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let hex = b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        assert_eq!(Key::parse(base64), Key::parse(hex));
        assert!(Key::parse(hex).is_ok());
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = Key::parse(&[b'k'; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "Key([REDACTED])");
    }

    #[test]
    fn a_text_opens_only_where_it_was_sealed() {
        let key = Key::new(&[7; 32]);
        let (cipher, other) = (key.cipher(&[1; SALT]), key.cipher(&[2; SALT]));
        let mut sealed = b"tenant and data".to_vec();
        cipher.seal(128, b"head", &mut sealed);
        assert_eq!(sealed.len(), 15 + TAG);
        let open = |cipher: &Cipher, offset, clear: &[u8]| {
            let mut text = sealed.clone();
            cipher
                .open(offset, clear, &mut text)
                .map(|len| text[..len].to_vec())
        };
        assert_eq!(open(&cipher, 128, b"head"), Some(b"tenant and data".to_vec()));
        assert_eq!(open(&cipher, 136, b"head"), None);
        assert_eq!(open(&cipher, 128, b"heap"), None);
        assert_eq!(open(&other, 128, b"head"), None);
    }
}

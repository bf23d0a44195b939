//! The password hashes of Unix: bcrypt, Apache's MD5 and SHA-crypt.
//!
//! Sources: the bcrypt paper (Provos and Mazières) with OpenBSD's text form, apr_md5.c, and Drepper's "Unix crypt using
//! SHA-256 and SHA-512". Only checking is done here; nothing makes new hashes.

use aws_lc_rs::digest::{Algorithm, Context, digest};
use blowfish::Blowfish;
use codec::md5;

/// bcrypt's hash of a password; the text form leaves out the last of its 24 bytes.
pub(super) fn bcrypt(cost: u32, salt: &[u8; 16], password: &str) -> [u8; 23] {
    // The password ends with a zero, and counts up to 72 bytes.
    let mut key: Vec<u8> = password.bytes().chain([0]).collect();
    key.truncate(72);
    let mut state = Blowfish::bc_init_state();
    state.salted_expand_key(salt, &key);
    for _ in 0..1u32 << cost {
        state.bc_expand_key(&key);
        state.bc_expand_key(salt);
    }
    let mut out = [0; 24];
    let text = b"OrpheanBeholderScryDoubt".as_chunks::<8>().0;
    for (eight, out) in text.iter().zip(out.as_chunks_mut::<8>().0) {
        let [a, b, c, d, e, f, g, h] = *eight;
        let mut pair = [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])];
        for _ in 0..64 {
            pair = state.bc_encrypt(pair);
        }
        out[..4].copy_from_slice(&pair[0].to_be_bytes());
        out[4..].copy_from_slice(&pair[1].to_be_bytes());
    }
    let mut hash = [0; 23];
    hash.copy_from_slice(&out[..23]);
    hash
}

/// Bytes out of bcrypt's own base64; bits that fill no byte are dropped.
pub(super) fn bcrypt_bytes(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut have) = (0u32, 0);
    for c in text.bytes() {
        let value = DIGITS.iter().position(|digit| *digit == c)?;
        bits = bits << 6 | value as u32;
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    Some(out)
}

/// crypt(3)'s own base64, low bits first.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Appends `digits` digits of the three bytes that make up a group.
fn put(out: &mut String, three: [u8; 3], digits: usize) {
    let [a, b, c] = three.map(u32::from);
    let mut bits = a << 16 | b << 8 | c;
    for _ in 0..digits {
        out.push(char::from(DIGITS[(bits & 63) as usize]));
        bits >>= 6;
    }
}

/// The hash of a password behind `$apr1$salt$` or `$1$salt$`.
pub(super) fn md5_crypt(magic: &str, salt: &str, password: &str) -> String {
    let (password, salt) = (password.as_bytes(), salt.as_bytes());
    let inner = md5::hash(&[password, salt, password].concat());
    let mut text = [password, magic.as_bytes(), salt].concat();
    for part in password.chunks(16) {
        text.extend_from_slice(&inner[..part.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        text.push(if bits & 1 == 1 { 0 } else { password[0] });
        bits >>= 1;
    }
    let mut hash = md5::hash(&text);
    for round in 0..1000 {
        text.clear();
        let odd = round % 2 == 1;
        text.extend_from_slice(if odd { password } else { &hash });
        if round % 3 != 0 {
            text.extend_from_slice(salt);
        }
        if round % 7 != 0 {
            text.extend_from_slice(password);
        }
        text.extend_from_slice(if odd { &hash } else { password });
        hash = md5::hash(&text);
    }
    let mut out = String::with_capacity(22);
    for (a, b, c) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        put(&mut out, [hash[a], hash[b], hash[c]], 4);
    }
    put(&mut out, [0, 0, hash[11]], 2);
    out
}

/// What stands in `$5$` (SHA-256) or `$6$` (SHA-512).
#[derive(Clone)]
pub(super) struct ShaCrypt {
    pub(super) is_512: bool,
    pub(super) rounds: u32,
    salt: String,
    pub(super) hash: String,
}

/// More rounds take longer than half a second.
const ROUNDS_MAX: u32 = 1_000_000;

impl ShaCrypt {
    pub(super) fn read(text: &str) -> Option<ShaCrypt> {
        let is_512 = text.starts_with("$6$");
        let mut rest = text.get(3..)?;
        let mut rounds = 5000;
        if let Some(given) = rest.strip_prefix("rounds=") {
            let (number, after) = given.split_once('$')?;
            rounds = number.parse().ok().filter(|n| *n <= ROUNDS_MAX)?;
            rest = after;
        }
        let (salt, hash) = rest.split_once('$')?;
        (hash.len() == if is_512 { 86 } else { 43 }).then(|| ShaCrypt {
            is_512,
            rounds: rounds.max(1000),
            salt: salt.chars().take(16).collect(),
            hash: hash.to_owned(),
        })
    }

    /// The hash of a password with this salt; `algorithm` is the one that `is_512` says.
    pub(super) fn digest(&self, algorithm: &'static Algorithm, password: &str) -> String {
        let (password, salt) = (password.as_bytes(), self.salt.as_bytes());
        let hash = |parts: &[&[u8]]| {
            let mut context = Context::new(algorithm);
            for part in parts {
                context.update(part);
            }
            context.finish()
        };
        let repeat = |hash: &[u8], len: usize| hash.iter().copied().cycle().take(len).collect::<Vec<u8>>();
        let inner = hash(&[password, salt, password]);
        let filled = repeat(inner.as_ref(), password.len());
        let mut text = [password, salt, &filled].concat();
        let mut bits = password.len();
        while bits > 0 {
            text.extend_from_slice(if bits & 1 == 1 { inner.as_ref() } else { password });
            bits >>= 1;
        }
        let mut current = digest(algorithm, &text);
        let p = hash(&vec![password; password.len()]);
        let p = repeat(p.as_ref(), password.len());
        let s = hash(&vec![salt; 16 + usize::from(current.as_ref()[0])]);
        let s = repeat(s.as_ref(), salt.len());
        for round in 0..self.rounds {
            let odd = round % 2 == 1;
            let middle_s: &[u8] = if round % 3 != 0 { &s } else { &[] };
            let middle_p: &[u8] = if round % 7 != 0 { &p } else { &[] };
            current = match odd {
                true => hash(&[&p, middle_s, middle_p, current.as_ref()]),
                false => hash(&[current.as_ref(), middle_s, middle_p, &p]),
            };
        }
        self.text(current.as_ref())
    }

    /// Digits of a hash in the standard's order: groups of three bytes, each begun one place further.
    fn text(&self, hash: &[u8]) -> String {
        let mut out = String::with_capacity(86);
        let (third, groups) = if self.is_512 { (21, 21) } else { (10, 10) };
        for i in 0..groups {
            let [a, b, c] = [i, i + third, i + 2 * third];
            // SHA-512 turns the three the other way round than SHA-256.
            let order = match (self.is_512, i % 3) {
                (_, 0) => [a, b, c],
                (true, 1) => [b, c, a],
                (true, _) => [c, a, b],
                (false, 1) => [c, a, b],
                (false, _) => [b, c, a],
            };
            put(&mut out, order.map(|at| hash[at]), 4);
        }
        if self.is_512 {
            put(&mut out, [0, 0, hash[63]], 2);
        } else {
            put(&mut out, [0, hash[31], hash[30]], 3);
        }
        out
    }
}

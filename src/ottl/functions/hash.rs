//! Hashes, and ids made of chance.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{Args, Def, any};
use crate::error::{Error, Result};
use crate::value::{Val, hex};

pub(crate) const DEFS: &[Def] = &[
    Def::get("FNV", &[any("target")], |a| {
        let fold = |hash: u64, b: &u8| (hash ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        Ok(Val::Int(a.str(0)?.iter().fold(0xcbf2_9ce4_8422_2325, fold) as i64))
    }),
    Def::get("MD5", &[any("target")], |a| {
        Ok(digits(&codec::md5::hash(&a.str(0)?)))
    }),
    Def::get("SHA1", &[any("target")], |a| {
        sha(a, &digest::SHA1_FOR_LEGACY_USE_ONLY)
    }),
    Def::get("SHA256", &[any("target")], |a| sha(a, &digest::SHA256)),
    Def::get("SHA512", &[any("target")], |a| sha(a, &digest::SHA512)),
    Def::get("Murmur3Hash", &[any("target")], |a| {
        Ok(digits(&murmur32(&a.str(0)?).to_le_bytes()))
    }),
    Def::get("Murmur3Hash128", &[any("target")], |a| {
        let (one, two) = murmur128(&a.str(0)?);
        Ok(digits(&[one.to_le_bytes(), two.to_le_bytes()].concat()))
    }),
    Def::get("XXH3", &[any("target")], |a| {
        Ok(digits(&xxh3_64(&a.str(0)?).to_be_bytes()))
    }),
    Def::get("XXH128", &[any("target")], |a| {
        Ok(digits(&xxh3_128(&a.str(0)?).to_be_bytes()))
    }),
    Def::get("UUID", &[], |a| uuid(a, 4)).impure(),
    Def::get("UUIDv7", &[], |a| uuid(a, 7)).impure(),
];

fn digits(bytes: &[u8]) -> Val<'static> {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    hex(bytes, &mut out);
    Val::text(out)
}

fn sha<'c>(a: Args<'c>, algorithm: &'static digest::Algorithm) -> Result<Val<'c>> {
    Ok(digits(digest::digest(algorithm, &a.str(0)?).as_ref()))
}

fn uuid(a: Args<'_>, version: u8) -> Result<Val<'_>> {
    let env = a.cx.env.ok_or(Error::new("there is no chance here"))?;
    let mut id = [0; 16];
    (env.random)(&mut id);
    if version == 7 {
        let millis = (env.now)().unix(1_000_000) as u64;
        id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    }
    id[6] = id[6] & 0x0f | version << 4;
    id[8] = id[8] & 0x3f | 0x80;
    let mut out = String::with_capacity(36);
    for (i, b) in id.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{b:02x}");
    }
    Ok(Val::text(out))
}

/// MurmurHash3 of 32 bits, seed 0.
fn murmur32(text: &[u8]) -> u32 {
    let mix = |k: u32| {
        k.wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593)
    };
    let (words, tail) = text.as_chunks::<4>();
    let mut h = 0u32;
    for word in words {
        h = (h ^ mix(u32::from_le_bytes(*word)))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    h ^= mix(u32::from_le_bytes(last));
    h ^= text.len() as u32;
    h = (h ^ h >> 16).wrapping_mul(0x85eb_ca6b);
    h = (h ^ h >> 13).wrapping_mul(0xc2b2_ae35);
    h ^ h >> 16
}

/// MurmurHash3 of 128 bits for 64-bit machines, seed 0.
fn murmur128(text: &[u8]) -> (u64, u64) {
    const A: u64 = 0x87c3_7b91_1142_53d5;
    const B: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(A).rotate_left(31).wrapping_mul(B);
    let mix2 = |k: u64| k.wrapping_mul(B).rotate_left(33).wrapping_mul(A);
    let halves = |block: &[u8; 16]| {
        let k = u128::from_le_bytes(*block);
        (k as u64, (k >> 64) as u64)
    };
    let (blocks, tail) = text.as_chunks::<16>();
    let (mut h1, mut h2) = (0u64, 0u64);
    for block in blocks {
        let (k1, k2) = halves(block);
        h1 = (h1 ^ mix1(k1))
            .rotate_left(27)
            .wrapping_add(h2)
            .wrapping_mul(5)
            .wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(k2))
            .rotate_left(31)
            .wrapping_add(h1)
            .wrapping_mul(5)
            .wrapping_add(0x3849_5ab5);
    }
    let mut last = [0; 16];
    last[..tail.len()].copy_from_slice(tail);
    let (k1, k2) = halves(&last);
    h2 ^= mix2(k2);
    h1 ^= mix1(k1);
    let len = text.len() as u64;
    (h1, h2) = (h1 ^ len, h2 ^ len);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    let end = |mut h: u64| {
        h = (h ^ h >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h = (h ^ h >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^ h >> 33
    };
    (h1, h2) = (end(h1), end(h2));
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2)
}

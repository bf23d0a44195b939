//! One bit a byte: whether it belongs to a class, or may begin a literal.
//!
//! Two kernels with equal results: AVX2 (found at run time) and scalar. They fill blocks of masks of 64 bytes each; what
//! is made of the masks is shared. All `unsafe` of the project stands here, and each block is small enough to be judged
//! by itself.

#![allow(unsafe_code)]

use super::runs::RunFinder;
use super::set::ByteSet;

/// Masks computed at a time: 4 KiB of input, so that they stay in the first-level cache.
const BLOCK_MASKS: usize = 64;

/// How masks are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// Byte by byte.
    Scalar,
    /// 32 bytes at a time. Made by [`Kernel::detect`] alone, which is what makes the calls below sound.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Proof),
}

impl Kernel {
    /// The fastest that this processor has.
    pub(super) fn detect() -> Kernel {
        #[cfg(target_arch = "x86_64")]
        if let Some(proof) = avx2::Proof::detect() {
            return Kernel::Avx2(proof);
        }
        Kernel::Scalar
    }
}

/// What is asked of each byte.
#[derive(Clone, Debug)]
pub(super) struct Masks {
    test: Test,
    kernel: Kernel,
}

#[derive(Clone, Debug)]
enum Test {
    Class(Class),
    Pair(Pair),
}

/// A set, as the two tables from which a byte's membership is read by its two halves.
#[derive(Clone, Debug)]
struct Class {
    set: ByteSet,
    /// Bit h of entry l: byte `h << 4 | l` is in the set.
    low: [u8; 16],
    /// The same for bytes from 0x80.
    high: [u8; 16],
}

/// Two bytes of a literal, at two places, each with the bit that tells upper from lower case.
#[derive(Clone, Copy, Debug)]
struct Pair {
    first: Place,
    second: Place,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    fold: u8,
    byte: u8,
}

impl Place {
    fn new(literal: &[u8], at: usize) -> Place {
        let fold = if literal[at].is_ascii_alphabetic() {
            0x20
        } else {
            0
        };
        Place {
            at,
            fold,
            byte: literal[at] | fold,
        }
    }

    fn matches(&self, byte: u8) -> bool {
        byte | self.fold == self.byte
    }
}

impl Masks {
    /// Bytes of a class.
    pub(super) fn class(set: &ByteSet, kernel: Kernel) -> Masks {
        let mut class = Class {
            set: *set,
            low: [0; 16],
            high: [0; 16],
        };
        for byte in set.iter() {
            let table = if byte < 0x80 {
                &mut class.low
            } else {
                &mut class.high
            };
            table[usize::from(byte & 15)] |= 1 << (byte >> 4 & 7);
        }
        Masks {
            test: Test::Class(class),
            kernel,
        }
    }

    /// Bytes at which a literal of any case may begin. Not empty.
    pub(super) fn pair(literal: &[u8], kernel: Kernel) -> Masks {
        // The two rarest bytes; at equal rarity the first and the last.
        let rarest = |skip: Option<usize>| {
            (0..literal.len())
                .filter(|i| Some(*i) != skip)
                .min_by_key(|i| frequency(literal[*i]))
        };
        let one = rarest(None).unwrap_or(0);
        let other = rarest(Some(one)).unwrap_or(one);
        let pair = Pair {
            first: Place::new(literal, one.min(other)),
            second: Place::new(literal, one.max(other)),
        };
        Masks {
            test: Test::Pair(pair),
            kernel,
        }
    }

    /// Every place whose bit is set, in ascending order.
    pub(super) fn each_bit(&self, bytes: &[u8], mut each: impl FnMut(usize)) {
        self.each_mask(bytes, |at, mut mask| {
            while mask != 0 {
                each(at + mask.trailing_zeros() as usize);
                mask &= mask - 1;
            }
        });
    }

    /// Every longest run of set bits with at least `min_len` of them: start and end, in ascending order.
    pub(super) fn each_run(&self, bytes: &[u8], min_len: usize, mut each: impl FnMut(usize, usize)) {
        let mut finder = RunFinder::new(min_len);
        self.each_mask(bytes, |at, mask| finder.mask(at, mask, &mut each));
        finder.end(bytes.len(), &mut each);
    }

    /// Masks of 64 bytes each; bits behind the end are 0.
    #[inline]
    fn each_mask(&self, bytes: &[u8], mut each: impl FnMut(usize, u64)) {
        let reach = match &self.test {
            Test::Class(_) => 0,
            Test::Pair(pair) => pair.second.at,
        };
        let Some(starts) = bytes.len().checked_sub(reach) else {
            return;
        };
        let mut masks = [0u64; BLOCK_MASKS];
        let mut at = 0;
        while at < starts {
            let len = (starts - at).min(64 * BLOCK_MASKS);
            let count = len.div_ceil(64);
            match &self.test {
                Test::Class(class) => class.fill(&bytes[at..at + len], self.kernel, &mut masks[..count]),
                Test::Pair(pair) => {
                    let first = &bytes[at + pair.first.at..][..len];
                    let second = &bytes[at + pair.second.at..][..len];
                    pair.fill(first, second, self.kernel, &mut masks[..count]);
                }
            }
            for (i, mask) in masks[..count].iter().enumerate() {
                each(at + 64 * i, *mask);
            }
            at += len;
        }
    }
}

impl Class {
    fn fill(&self, bytes: &[u8], kernel: Kernel, masks: &mut [u64]) {
        match kernel {
            Kernel::Scalar => scalar(masks, bytes.len(), |i| self.set.contains(bytes[i])),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(proof) => avx2::class(proof, &self.low, &self.high, bytes, masks),
        }
    }
}

impl Pair {
    fn fill(&self, first: &[u8], second: &[u8], kernel: Kernel, masks: &mut [u64]) {
        match kernel {
            Kernel::Scalar => scalar(masks, first.len(), |i| {
                self.first.matches(first[i]) && self.second.matches(second[i])
            }),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(proof) => avx2::pair(proof, self, first, second, masks),
        }
    }
}

/// The twin: slow, and plainly right.
fn scalar(masks: &mut [u64], len: usize, test: impl Fn(usize) -> bool) {
    for (m, mask) in masks.iter_mut().enumerate() {
        *mask = 0;
        for bit in 0..64.min(len - 64 * m) {
            *mask |= u64::from(test(64 * m + bit)) << bit;
        }
    }
}

/// Rough rank of a byte, either case, in telemetry: higher is more frequent.
fn frequency(byte: u8) -> u8 {
    match byte.to_ascii_lowercase() {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 9,
        b'c' | b'd' | b'l' | b'u' | b'p' | b'm' | b'h' => 7,
        b'g' | b'b' | b'f' | b'v' | b'y' | b'w' => 5,
        b'.' | b'/' | b'-' | b'_' | b' ' => 6,
        b'0'..=b'9' => 6,
        0..=0x1f => 8,
        b'k' | b'x' | b'j' | b'q' | b'z' => 3,
        _ => 1,
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::Pair;

    /// This processor has AVX2: there is no other way to one of these than to have asked.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::scan) struct Proof(());

    impl Proof {
        pub(super) fn detect() -> Option<Proof> {
            is_x86_feature_detected!("avx2").then_some(Proof(()))
        }
    }

    /// Membership of 64 bytes at a time; `masks` has one entry for each begun 64 of `bytes`.
    pub(super) fn class(_proof: Proof, low: &[u8; 16], high: &[u8; 16], bytes: &[u8], masks: &mut [u64]) {
        assert_eq!(masks.len(), bytes.len().div_ceil(64), "a mask for each 64 bytes");
        if *high == [0; 16] {
            // SAFETY: the proof shows that the processor has AVX2, the function's only demand.
            unsafe { class_avx2::<false>(low, high, bytes, masks) }
        } else {
            // SAFETY: as above.
            unsafe { class_avx2::<true>(low, high, bytes, masks) }
        }
    }

    /// Both places of a pair match; `first` and `second` are the same buffer seen from the two places.
    pub(super) fn pair(_proof: Proof, pair: &Pair, first: &[u8], second: &[u8], masks: &mut [u64]) {
        assert_eq!(first.len(), second.len(), "two views of the same bytes");
        assert_eq!(masks.len(), first.len().div_ceil(64), "a mask for each 64 bytes");
        // SAFETY: the proof shows that the processor has AVX2, the function's only demand.
        unsafe { pair_avx2(pair, first, second, masks) }
    }

    #[target_feature(enable = "avx2")]
    fn class_avx2<const HIGH: bool>(low: &[u8; 16], high: &[u8; 16], bytes: &[u8], masks: &mut [u64]) {
        let low = twice(low);
        let high = twice(high);
        let bits = twice(&[1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128]);
        let test = |half: &[u8; 32]| {
            let bytes = load(half);
            // A shuffle gives 0 where the index has its top bit set: bytes from 0x80 find nothing in `low`, and with
            // the bit flipped those below find nothing in `high`.
            let mut row = _mm256_shuffle_epi8(low, bytes);
            if HIGH {
                let flipped = _mm256_xor_si256(bytes, _mm256_set1_epi8(-128));
                row = _mm256_or_si256(row, _mm256_shuffle_epi8(high, flipped));
            }
            let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi8(15));
            let bit = _mm256_shuffle_epi8(bits, upper);
            let hit = _mm256_cmpeq_epi8(_mm256_and_si256(row, bit), bit);
            _mm256_movemask_epi8(hit).cast_unsigned()
        };
        let join = |block: &[u8; 64]| {
            let [a, b] = halves(block);
            u64::from(test(a)) | u64::from(test(b)) << 32
        };
        let (blocks, tail) = bytes.as_chunks::<64>();
        for (block, mask) in blocks.iter().zip(masks.iter_mut()) {
            *mask = join(block);
        }
        if !tail.is_empty() {
            let mut block = [0; 64];
            block[..tail.len()].copy_from_slice(tail);
            masks[blocks.len()] = join(&block) & (u64::MAX >> (64 - tail.len()));
        }
    }

    #[target_feature(enable = "avx2")]
    fn pair_avx2(pair: &Pair, first: &[u8], second: &[u8], masks: &mut [u64]) {
        let all = |byte: u8| _mm256_set1_epi8(byte.cast_signed());
        let (fold_1, byte_1) = (all(pair.first.fold), all(pair.first.byte));
        let (fold_2, byte_2) = (all(pair.second.fold), all(pair.second.byte));
        let test = |one: &[u8; 32], two: &[u8; 32]| {
            let one = _mm256_cmpeq_epi8(_mm256_or_si256(load(one), fold_1), byte_1);
            let two = _mm256_cmpeq_epi8(_mm256_or_si256(load(two), fold_2), byte_2);
            _mm256_movemask_epi8(_mm256_and_si256(one, two)).cast_unsigned()
        };
        let both = |one: &[u8; 64], two: &[u8; 64]| {
            let ([one_a, one_b], [two_a, two_b]) = (halves(one), halves(two));
            u64::from(test(one_a, two_a)) | u64::from(test(one_b, two_b)) << 32
        };
        let (blocks_1, tail_1) = first.as_chunks::<64>();
        let (blocks_2, tail_2) = second.as_chunks::<64>();
        for ((one, two), mask) in blocks_1.iter().zip(blocks_2).zip(masks.iter_mut()) {
            *mask = both(one, two);
        }
        if !tail_1.is_empty() {
            let (mut one, mut two) = ([0; 64], [0; 64]);
            one[..tail_1.len()].copy_from_slice(tail_1);
            two[..tail_2.len()].copy_from_slice(tail_2);
            masks[blocks_1.len()] = both(&one, &two) & (u64::MAX >> (64 - tail_1.len()));
        }
    }

    fn halves(block: &[u8; 64]) -> [&[u8; 32]; 2] {
        match block.as_chunks::<32>().0 {
            [a, b] => [a, b],
            _ => unreachable!("64 bytes are two times 32"),
        }
    }

    #[target_feature(enable = "avx2")]
    fn load(bytes: &[u8; 32]) -> __m256i {
        // SAFETY: the reference is valid for reads of 32 bytes; this load has no alignment to keep.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    fn twice(table: &[u8; 16]) -> __m256i {
        // SAFETY: the reference is valid for reads of 16 bytes; this load has no alignment to keep.
        let half = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
        _mm256_broadcastsi128_si256(half)
    }
}

//! Numbers of consistent probability sampling: 56-bit randomness and thresholds, and how they are written.
//!
//! An item with randomness R is kept under a threshold T if T <= R. Both travel in `tracestate` (`ot=th:..;rv:..`,
//! [`tracestate`]) or in attributes of log records. Roundings and hashes are those of the collector's `pkg/sampling`
//! (v0.153), so that two gateways decide alike.

pub(crate) mod tracestate;

/// One more than the largest randomness.
const ALL: u64 = 1 << 56;
/// Hexadecimal digits of 56 bits.
pub(crate) const DIGITS: usize = 14;
/// The smallest probability that is not never, 2^-56.
pub(crate) const PROBABILITY_MIN: f64 = 1.0 / ALL as f64;

/// The largest randomness: kept under every threshold but never.
pub(crate) const RANDOMNESS_MAX: u64 = ALL - 1;

/// What an item's randomness must reach. 0 to 2^56.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Threshold(u64);

impl Threshold {
    /// Every item is kept.
    pub(crate) const ALWAYS: Threshold = Threshold(0);
    /// No item is kept.
    pub(crate) const NEVER: Threshold = Threshold(ALL);

    /// The threshold that rejects this many of 2^14 buckets.
    pub(crate) fn of_buckets(rejected: u32) -> Threshold {
        Threshold((u64::from(rejected) << 42).min(ALL))
    }

    /// The threshold that keeps this share of items, in as few digits (at least `precision`, at most 14) as tell it
    /// from its neighbours. None outside of 2^-56 to 1.
    pub(crate) fn of(probability: f64, precision: i32) -> Option<Threshold> {
        if probability == 1.0 {
            return Some(Threshold::ALWAYS);
        }
        if !(PROBABILITY_MIN..1.0).contains(&probability) {
            return None;
        }
        let digits = precision + (exponent(probability) / -4).max(exponent(1.0 - probability) / -4);
        let shift = 4 * (DIGITS as i32 - digits.clamp(1, DIGITS as i32));
        let scaled = (probability * ALL as f64).round() as u64;
        let mut exact = ALL - scaled;
        if shift > 0 {
            exact += 1 << (shift - 1);
        }
        Some(Threshold(exact >> shift << shift))
    }

    /// The lowest threshold under which an item with this randomness is not kept.
    pub(crate) fn above(randomness: u64) -> Threshold {
        Threshold((randomness + 1).min(ALL))
    }

    /// Whether an item with this randomness is kept.
    #[inline]
    pub(crate) fn keeps(self, randomness: u64) -> bool {
        self.0 <= randomness
    }

    /// The share of items that is kept.
    pub(crate) fn probability(self) -> f64 {
        (ALL - self.0) as f64 / ALL as f64
    }

    /// Reads `th`: 1 to 14 digits of either case, zeros at the end left out.
    pub(crate) fn parse(text: &[u8]) -> Option<Threshold> {
        let read = hex(text)?;
        Some(Threshold(read << (4 * (DIGITS - text.len()))))
    }

    /// As written in `th`: lower-case, zeros at the end left out. Meaningless for never.
    pub(crate) fn text(self) -> Text {
        let digits = digits(self.0 & RANDOMNESS_MAX);
        let zeros = digits.iter().rev().take_while(|d| **d == b'0').count();
        Text {
            digits,
            len: (DIGITS - zeros).max(1),
        }
    }
}

/// A threshold in hexadecimal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    digits: [u8; DIGITS],
    len: usize,
}

impl Text {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.len]
    }
}

/// Reads `rv`: exactly 14 digits.
pub(crate) fn parse_randomness(text: &[u8]) -> Option<u64> {
    (text.len() == DIGITS).then(|| hex(text))?
}

/// As written in `rv`: 14 lower-case digits.
pub(crate) fn digits(randomness: u64) -> [u8; DIGITS] {
    std::array::from_fn(|i| b"0123456789abcdef"[(randomness >> (4 * (DIGITS - 1 - i)) & 15) as usize])
}

/// The randomness that a trace id brings along: its last 56 bits. None if the id is absent.
pub(crate) fn of_trace_id(id: &[u8]) -> Option<u64> {
    if is_no_id(id) {
        return None;
    }
    let tail: [u8; 8] = id.get(8..16)?.try_into().ok()?;
    Some(u64::from_be_bytes(tail) & RANDOMNESS_MAX)
}

/// An id of zeros, or none at all.
pub(crate) fn is_no_id(id: &[u8]) -> bool {
    id.iter().all(|b| *b == 0)
}

/// The randomness that the collector's older samplers compute: FNV-1a of a seed and bytes. Its upper 14 bits decide as
/// the hash's lower 14 do there.
pub(crate) fn of_hash(bytes: &[u8], seed: u32) -> u64 {
    let seed = seed.to_le_bytes();
    let hash = seed.iter().chain(bytes).fold(0x811c_9dc5_u32, |hash, b| {
        (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193)
    });
    let bucket = u64::from(hash & 0x3fff);
    let rest = u64::from(hash >> 18);
    (0x3fff - bucket) << 42 | (rest ^ rest << 10) << 14 | bucket
}

fn hex(text: &[u8]) -> Option<u64> {
    if !(1..=DIGITS).contains(&text.len()) {
        return None;
    }
    text.iter()
        .try_fold(0, |n, b| Some(n << 4 | u64::from(char::from(*b).to_digit(16)?)))
}

/// Exponent of a normal number whose mantissa is taken from 0.5 up to 1.
fn exponent(of: f64) -> i32 {
    (of.to_bits() >> 52 & 0x7ff) as i32 - 1022
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_become_the_collectors_thresholds() {
        #[track_caller]
        fn check(percent: f32, expected: [&str; 5]) {
            let found = [1, 3, 4, 6, 14].map(|precision| {
                let threshold = Threshold::of(f64::from(percent) / 100.0, precision).unwrap();
                String::from_utf8(threshold.text().as_bytes().to_vec()).unwrap()
            });
            assert_eq!(found, expected, "{percent} %");
        }
        check(99.0, ["03", "028f", "028f6", "028f5c3", "028f5c28f5c29"]);
        check(60.0, ["6", "666", "6666", "666666", "66666666666668"]);
        check(20.0, ["d", "ccd", "cccd", "cccccd", "cccccccccccccc"]);
        check(5.0, ["f3", "f333", "f3333", "f333333", "f3333333333333"]);
        check(2.0, ["fb", "fae1", "fae14", "fae147b", "fae147ae147ae1"]);
        check(0.5, ["ff", "feb8", "feb85", "feb851f", "feb851eb851eb8"]);
        check(0.1, ["ffc", "ffbe7", "ffbe77", "ffbe76c9", "ffbe76c8a3d70a"]);
        check(100.0, ["0"; 5]);
        for outside in [0.0, -0.5, 1.5, PROBABILITY_MIN / 2.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Threshold::of(outside, 4), None, "{outside}");
        }
        let least = Threshold::of(PROBABILITY_MIN, 4).unwrap();
        assert_eq!(least.text().as_bytes(), b"ffffffffffffff");
        assert!(least.keeps(RANDOMNESS_MAX) && !least.keeps(RANDOMNESS_MAX - 1));
    }

    #[test]
    fn hashes_are_the_collectors() {
        #[track_caller]
        fn check(bytes: &[u8], seed: u32, expected: &[u8; 14]) {
            assert_eq!(&digits(of_hash(bytes, seed)), expected);
        }
        let one = 1u128.to_be_bytes();
        let known = 0x4bf92f3577b34da6a3ce929d0e0e4736u128.to_be_bytes();
        let counted = 0x0102030405060708090a0b0c0d0e0f10u128.to_be_bytes();
        check(&one, 0, b"74f42e348fe2c2");
        check(&known, 0, b"fdc80d0b42008d");
        check(&known, 22, b"3e50158161306b");
        check(&u128::MAX.to_be_bytes(), 0, b"aae80a44919545");
        check(&counted, 0, b"976837c4f25a25");
        check(&counted, 4321, b"f1ec3a93a74384");
        check(b"order-1", 0, b"73080eedbba33d");
        check(b"abc", 0, b"4b10026e9bad3b");
    }

    #[test]
    fn texts_are_read_and_written() {
        #[track_caller]
        fn check(text: &str, expected: Option<(u64, &str)>) {
            let found = Threshold::parse(text.as_bytes());
            let found = found.map(|t| (t.0, String::from_utf8(t.text().as_bytes().to_vec()).unwrap()));
            assert_eq!(found, expected.map(|(n, text)| (n, text.to_owned())), "{text}");
        }
        check("0", Some((0, "0")));
        check("00", Some((0, "0")));
        check("C", Some((0xc0_0000_0000_0000, "c")));
        check("8cCc0", Some((0x8c_cc00_0000_0000, "8ccc")));
        check("ffffffffffffff", Some((RANDOMNESS_MAX, "ffffffffffffff")));
        check("", None);
        check("g", None);
        check("+1", None);
        check("000000000000000", None);
        assert_eq!(parse_randomness(b"0000000000000A"), Some(10));
        assert_eq!(parse_randomness(b"000000000000a"), None);
        assert_eq!(of_trace_id(&[]), None);
        assert_eq!(of_trace_id(&[0; 16]), None);
        assert_eq!(of_trace_id(&[0xff; 16]), Some(RANDOMNESS_MAX));
        let upper = [1, 1, 1, 1, 1, 1, 1, 1, 7, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(of_trace_id(&upper), Some(0));
    }
}

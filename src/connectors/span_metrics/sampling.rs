//! How many spans a sampled span stands for: what its trace state says of the threshold.
//!
//! `ot=th:c` was kept at one in four and counts four times. Where the threshold makes no whole number, the count is
//! rounded up or down by chance, so that sums come out right.

/// Counts of thresholds, with the chance that rounding needs.
#[derive(Debug)]
pub(super) struct Chance(u64);

/// Everything is kept at threshold 0, nothing at this one.
const NEVER: u64 = 1 << 56;

impl Chance {
    /// Begins with a seed; 0 is as good as any.
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed | 1)
    }

    /// How many spans one with this trace state stands for, and whether it says so.
    pub(super) fn count(&mut self, state: &[u8]) -> (u64, bool) {
        let Some(kept) = threshold(state).map(|threshold| NEVER - threshold) else {
            return (1, false);
        };
        let (whole, rest) = (NEVER / kept, NEVER % kept);
        let rounds_up = rest > 0 && self.next() % kept < rest;
        (whole + u64::from(rounds_up), true)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 1
    }
}

/// The threshold `th` of the member `ot` of a trace state.
fn threshold(state: &[u8]) -> Option<u64> {
    let state = std::str::from_utf8(state).ok()?;
    let mut members = state.split(',').map(|m| m.trim_matches([' ', '\t']));
    let ours = members.find_map(|m| m.strip_prefix("ot="))?;
    let digits = ours.split(';').find_map(|field| field.strip_prefix("th:"))?;
    let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if digits.is_empty() || digits.len() > 14 || !digits.bytes().all(is_hex) {
        return None;
    }
    let value = u64::from_str_radix(digits, 16).ok()?;
    Some(value << (4 * (14 - digits.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_a_span_stands_for() {
        let check = |state: &str, expected: (u64, bool)| {
            assert_eq!(Chance::new(1).count(state.as_bytes()), expected, "{state}");
        };
        check("", (1, false));
        check("other=value", (1, false));
        check("ot=rv:abcdabcdabcdff", (1, false));
        check("ot=th:0", (1, true));
        check("ot=th:8", (2, true));
        check("a=b, ot=rv:12;th:c,d=e", (4, true));
        check("ot=th:fffffffffffff8", (NEVER / 8, true));
        check("ot=th:fffffffffffffff", (1, false));
        check("ot=th:", (1, false));
        check("ot=th:C", (1, false));
        check("xot=th:8", (1, false));
    }

    #[test]
    fn rounding_comes_out_right() {
        // Kept at 15 of 16: 16/15 spans each.
        let mut chance = Chance::new(7);
        let total: u64 = (0..150_000).map(|_| chance.count(b"ot=th:1").0).sum();
        assert!((159_000..161_000).contains(&total), "{total}");
    }
}

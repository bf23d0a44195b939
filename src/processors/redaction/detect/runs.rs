//! Runs of digits of a text, read once for all detectors of numbers.
//!
//! In: a folded text. Out: where each run begins and ends, in order. Most texts that are looked at hold many numbers of
//! which none is anything; so a detector looks at lengths and neighbours first, and at digits last.

/// One run: digits, and none before or behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Its first digit.
    pub(super) start: usize,
    /// Behind its last.
    pub(super) end: usize,
}

impl Run {
    /// Digits.
    pub(super) fn len(self) -> usize {
        self.end - self.start
    }
}

/// All runs of one text. Reused.
#[derive(Debug, Default)]
pub(super) struct Runs(Vec<Run>);

impl Runs {
    /// Reads a text anew.
    pub(super) fn read(&mut self, text: &[u8]) {
        self.0.clear();
        let mut open = None;
        let (blocks, rest) = text.as_chunks::<64>();
        for (i, block) in blocks.iter().enumerate() {
            self.block(block, i * 64, &mut open);
        }
        let mut last = [0; 64];
        last[..rest.len()].copy_from_slice(rest);
        // What is filled up with ends every run, unless there is nothing to fill.
        self.block(&last, text.len() - rest.len(), &mut open);
    }

    /// In order.
    pub(super) fn all(&self) -> &[Run] {
        &self.0
    }

    /// Ends and begins runs where digits and others meet.
    fn block(&mut self, block: &[u8; 64], base: usize, open: &mut Option<usize>) {
        let digits = mask(block);
        let mut edges = digits ^ (digits << 1 | u64::from(open.is_some()));
        while edges != 0 {
            let at = base + edges.trailing_zeros() as usize;
            edges &= edges - 1;
            *open = match *open {
                None => Some(at),
                Some(start) => {
                    self.0.push(Run { start, end: at });
                    None
                }
            };
        }
    }
}

/// Which of the bytes are digits, the first in the lowest bit.
fn mask(block: &[u8; 64]) -> u64 {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut mask = 0;
    for (i, word) in block.as_chunks::<8>().0.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // Digits become 0 to 9; from 10 on the sum reaches the high bit, and never the next byte.
        let low = (word ^ 0x3030_3030_3030_3030) & !HIGH;
        let digits = !((low + 0x7676_7676_7676_7676) | word) & HIGH;
        // The high bits of all bytes, side by side.
        let bits = (digits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        mask |= bits << (i * 8);
    }
    mask
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Vec<(usize, usize)> {
        let mut runs = Runs::default();
        runs.read(b"0 0 0");
        runs.read(text);
        runs.all().iter().map(|run| (run.start, run.end)).collect()
    }

    #[test]
    fn runs_are_read_in_order() {
        for (text, expected) in [
            ("", &[][..]),
            ("no digits at all", &[]),
            ("0", &[(0, 1)]),
            ("a12:3", &[(1, 3), (4, 5)]),
            ("0123456789", &[(0, 10)]),
            ("abcdefg12345678", &[(7, 15)]),
            ("abcdefgh", &[]),
            ("abcdefg1abcdefgh2", &[(7, 8), (16, 17)]),
            ("/////////:::::::::", &[]),
        ] {
            assert_eq!(read(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_byte_is_told(text in prop::collection::vec(prop_oneof![any::<u8>(), b'.'..=b';'], 0..80)) {
            let mut told = vec![false; text.len()];
            for (start, end) in read(&text) {
                told[start..end].fill(true);
                prop_assert!(start < end && (end == text.len() || !text[end].is_ascii_digit()));
                prop_assert!(start == 0 || !text[start - 1].is_ascii_digit());
            }
            let digits: Vec<bool> = text.iter().map(u8::is_ascii_digit).collect();
            prop_assert_eq!(told, digits);
        }
    }
}

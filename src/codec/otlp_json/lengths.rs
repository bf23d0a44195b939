//! Messages whose lengths are known only when they end.
//!
//! One byte is left for each length. What turns out longer is noted, and all such lengths are widened in one pass from
//! the end, so that no byte is moved more than once however deep messages are nested.

use wire::varint;

/// Appends length-delimited fields to a buffer.
#[derive(Debug)]
pub(super) struct Lengths<'o> {
    pub(super) out: &'o mut Vec<u8>,
    wide: Vec<Wide>,
    /// Bytes that widening will add so far.
    extra: usize,
}

/// A length that its one byte does not hold.
#[derive(Clone, Copy, Debug)]
struct Wide {
    at: usize,
    len: usize,
}

/// A field that was begun and not yet ended.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) struct Open {
    at: usize,
    extra: usize,
}

impl<'o> Lengths<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Lengths<'o> {
        Lengths {
            out,
            wide: Vec::new(),
            extra: 0,
        }
    }

    /// Leaves room for a length; what is appended until [`Lengths::close`] is counted by it.
    #[inline]
    pub(super) fn open(&mut self) -> Open {
        self.out.push(0);
        Open {
            at: self.out.len() - 1,
            extra: self.extra,
        }
    }

    /// Ends what was opened last.
    #[inline]
    pub(super) fn close(&mut self, open: Open) {
        let len = self.out.len() - open.at - 1 + (self.extra - open.extra);
        if len < 0x80 {
            self.out[open.at] = len as u8;
        } else {
            self.extra += varint::len(len as u64) - 1;
            self.wide.push(Wide { at: open.at, len });
        }
    }

    /// Puts the long lengths in.
    pub(super) fn finish(mut self) {
        self.wide.sort_unstable_by_key(|wide| wide.at);
        let mut end = self.out.len();
        let mut shift = self.extra;
        self.out.resize(end + shift, 0);
        for wide in self.wide.iter().rev() {
            let content = wide.at + 1;
            self.out.copy_within(content..end, content + shift);
            shift -= varint::len(wide.len as u64) - 1;
            let mut rest = wide.len;
            let mut at = wide.at + shift;
            while rest >= 0x80 {
                self.out[at] = rest as u8 | 0x80;
                rest >>= 7;
                at += 1;
            }
            self.out[at] = rest as u8;
            end = wide.at;
        }
        debug_assert_eq!(shift, 0, "every length that was noted is in");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_any_width_at_any_depth() {
        // Depth, bytes before and after each inner message.
        for (depth, fill) in [
            (0, 0),
            (1, 126),
            (1, 127),
            (1, 128),
            (3, 126),
            (3, 5000),
            (40, 3),
            (200, 90),
        ] {
            let mut expected = Vec::new();
            for _ in 0..=depth {
                let mut outer = vec![7; fill];
                wire::field::write_header(1, expected.len(), &mut outer);
                outer.extend_from_slice(&expected);
                outer.resize(outer.len() + fill, 8);
                expected = outer;
            }
            let mut got = b"before".to_vec();
            let mut lengths = Lengths::new(&mut got);
            let mut opened = Vec::new();
            for _ in 0..=depth {
                lengths.out.resize(lengths.out.len() + fill, 7);
                lengths.out.push(1 << 3 | wire::field::LEN);
                opened.push(lengths.open());
            }
            for open in opened.into_iter().rev() {
                lengths.close(open);
                lengths.out.resize(lengths.out.len() + fill, 8);
            }
            lengths.finish();
            assert!(got[..6] == *b"before" && got[6..] == expected, "{depth} {fill}");
        }
    }
}

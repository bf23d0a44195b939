//! From occurrences to regions.

use super::{HIT_DISTANCE, Hit};

/// Collects occurrences of one gate, in ascending order of their starts, into regions.
pub(super) struct Regions<'a> {
    gate: usize,
    last: Option<usize>,
    hits: &'a mut Vec<Hit>,
}

impl<'a> Regions<'a> {
    pub(super) fn new(gate: usize, hits: &'a mut Vec<Hit>) -> Regions<'a> {
        Regions::resume(gate, None, hits)
    }

    /// Goes on where an earlier one stopped; `last` is what [`Regions::last`] said then.
    pub(super) fn resume(gate: usize, last: Option<usize>, hits: &'a mut Vec<Hit>) -> Regions<'a> {
        Regions { gate, last, hits }
    }

    /// Place of this gate's last region.
    pub(super) fn last(&self) -> Option<usize> {
        self.last
    }

    #[inline]
    pub(super) fn add(&mut self, start: usize, end: usize) {
        if let Some(last) = self.last {
            let last = &mut self.hits[last];
            if start < last.end() + HIT_DISTANCE {
                last.len = last.len.max(end - last.offset);
                return;
            }
        }
        self.last = Some(self.hits.len());
        self.hits.push(Hit {
            offset: start,
            len: end - start,
            gate: self.gate,
        });
    }
}

/// Finds runs of set bits in masks that come one after another, bit 0 first.
pub(super) struct RunFinder {
    min_len: usize,
    /// Length of the run that reaches up to the next mask.
    open: usize,
}

impl RunFinder {
    pub(super) fn new(min_len: usize) -> RunFinder {
        RunFinder { min_len, open: 0 }
    }

    /// One mask of 64 bytes, the first of which is at `at`.
    #[inline]
    pub(super) fn mask(&mut self, at: usize, mut mask: u64, each: &mut impl FnMut(usize, usize)) {
        if self.open > 0 {
            let more = mask.trailing_ones();
            if more == 64 {
                self.open += 64;
                return;
            }
            self.close(at + more as usize, self.open + more as usize, each);
            mask &= u64::MAX << more;
        }
        if mask == 0 {
            return;
        }
        let tail = mask.leading_ones();
        self.open = tail as usize;
        if tail == 64 {
            return;
        }
        mask &= u64::MAX >> tail;
        // A run of n bits leaves n - min_len + 1 of them after the folding below; most masks leave none.
        let mut left = mask;
        let mut have = 1;
        while have < self.min_len && left != 0 {
            let step = have.min(self.min_len - have).min(63);
            left &= left >> step;
            have += step;
        }
        while left != 0 {
            let start = left.trailing_zeros();
            let len = (mask >> start).trailing_ones();
            each(at + start as usize, at + (start + len) as usize);
            // start + len <= 63: the top bit was cleared with the tail, or was clear before.
            left &= u64::MAX << (start + len);
        }
    }

    /// No more masks: the buffer ends at `at`.
    pub(super) fn end(mut self, at: usize, each: &mut impl FnMut(usize, usize)) {
        if self.open > 0 {
            self.close(at, self.open, each);
        }
    }

    #[inline]
    fn close(&mut self, end: usize, len: usize, each: &mut impl FnMut(usize, usize)) {
        self.open = 0;
        if len >= self.min_len {
            each(end - len, end);
        }
    }
}

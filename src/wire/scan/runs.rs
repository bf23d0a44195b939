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

/// Longest run that folding finds by itself; longer ones are measured when they end.
const FOLD_MAX: usize = 64;

/// Finds runs of set bits in masks that come one after another, bit 0 first.
///
/// Folding a mask with itself shifted by 1, 2, 4, ... leaves a bit where a run has reached the wanted length, without a
/// branch; most masks leave none, and only the others are looked at closely.
pub(super) struct RunFinder {
    min_len: usize,
    /// Bits that folding asks for.
    folded: usize,
    /// Shifts, and what each was applied to in the mask before.
    steps: [(u32, u64); 6],
    count: usize,
    /// Start of a run that has reached the folded length, and still goes on.
    open: Option<usize>,
}

impl RunFinder {
    pub(super) fn new(min_len: usize) -> RunFinder {
        let folded = min_len.clamp(1, FOLD_MAX);
        let mut steps = [(0, 0); 6];
        let (mut have, mut count) = (1, 0);
        while have < folded {
            let step = have.min(folded - have);
            steps[count] = (step as u32, 0);
            have += step;
            count += 1;
        }
        RunFinder {
            min_len,
            folded,
            steps,
            count,
            open: None,
        }
    }

    /// One mask of 64 bytes, the first of which is at `at`.
    #[inline]
    pub(super) fn mask(&mut self, at: usize, mask: u64, each: &mut impl FnMut(usize, usize)) {
        let mut left = mask;
        for (step, before) in &mut self.steps[..self.count] {
            let shifted = left << *step | *before >> (64 - *step);
            *before = left;
            left &= shifted;
        }
        if left != 0 || self.open.is_some() {
            self.ends(at, left, each);
        }
    }

    /// Bits of `left`: places at which the last `folded` bytes were all set.
    #[cold]
    #[inline(never)]
    fn ends(&mut self, at: usize, mut left: u64, each: &mut impl FnMut(usize, usize)) {
        let mut from = 0;
        loop {
            if let Some(start) = self.open {
                let more = (left >> from).trailing_ones();
                from += more;
                if from >= 64 {
                    return;
                }
                self.close(start, at + from as usize, each);
                left &= u64::MAX << from;
            }
            if left == 0 {
                return;
            }
            from = left.trailing_zeros();
            self.open = Some(at + from as usize + 1 - self.folded);
        }
    }

    /// No more masks: the buffer ends at `at`.
    pub(super) fn end(mut self, at: usize, each: &mut impl FnMut(usize, usize)) {
        if let Some(start) = self.open {
            self.close(start, at, each);
        }
    }

    fn close(&mut self, start: usize, end: usize, each: &mut impl FnMut(usize, usize)) {
        self.open = None;
        if end - start >= self.min_len {
            each(start, end);
        }
    }
}

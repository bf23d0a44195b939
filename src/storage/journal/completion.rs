//! What of a record is still owed to a destination: ranges of its items.

use std::ops::Range;

/// Ranges in order, apart from each other, none empty. Most are one range, and there may be millions of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remaining {
    /// Just this one.
    One(Range<u32>),
    /// None, or several.
    Several(Vec<Range<u32>>),
}

impl Remaining {
    /// All of a record. One without items counts as one item: it too has to be delivered.
    pub(super) fn all(items: u32) -> Remaining {
        Remaining::One(0..items.max(1))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges().is_empty()
    }

    pub(super) fn ranges(&self) -> &[Range<u32>] {
        match self {
            Remaining::One(range) => std::slice::from_ref(range),
            Remaining::Several(ranges) => ranges,
        }
    }

    /// How many items are owed.
    pub(super) fn items(&self) -> u64 {
        let ranges = self.ranges().iter();
        ranges.map(|r| u64::from(r.end - r.start)).sum()
    }

    /// Takes a range out, and says how many items of it were owed until now.
    pub(super) fn complete(&mut self, done: Range<u32>) -> u64 {
        if done.is_empty() {
            return 0;
        }
        let before = self.items();
        let mut left = Vec::new();
        for range in self.ranges() {
            for part in [
                range.start..range.end.min(done.start),
                range.start.max(done.end)..range.end,
            ] {
                if part.start < part.end {
                    left.push(part);
                }
            }
        }
        *self = match <[Range<u32>; 1]>::try_from(left) {
            Ok([range]) => Remaining::One(range),
            Err(left) => Remaining::Several(left),
        };
        before - self.items()
    }

    /// The other items of a record of so many.
    pub(super) fn completed(&self, items: u32) -> Vec<Range<u32>> {
        let mut all = Remaining::all(items);
        for range in self.ranges() {
            all.complete(range.clone());
        }
        all.ranges().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_a_set(
            items in 0u32..40,
            done in proptest::collection::vec((0u32..45, 0u32..45), 0..12),
        ) {
            let mut remaining = Remaining::all(items);
            let mut set: BTreeSet<u32> = (0..items.max(1)).collect();
            for (start, end) in done {
                let fresh = set.iter().filter(|i| (start..end).contains(*i)).count() as u64;
                set.retain(|i| !(start..end).contains(i));
                prop_assert_eq!(remaining.complete(start..end), fresh);
                let got: BTreeSet<u32> = remaining.ranges().iter().cloned().flatten().collect();
                prop_assert_eq!(&got, &set);
                prop_assert_eq!(remaining.items(), set.len() as u64);
                prop_assert!(remaining.ranges().windows(2).all(|w| w[0].end <= w[1].start));
                let others: BTreeSet<u32> = remaining.completed(items).into_iter().flatten().collect();
                prop_assert_eq!(others.len() + set.len(), items.max(1) as usize);
                prop_assert!(others.is_disjoint(&set));
            }
            prop_assert_eq!(remaining.is_empty(), set.is_empty());
        }
    }

    #[test]
    fn a_whole_destination_is_one_range() {
        let mut remaining = Remaining::all(512);
        assert_eq!(remaining.complete(0..u32::MAX), 512);
        assert!(remaining.is_empty());
    }
}

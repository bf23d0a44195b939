//! Sets of numbers as ranges: object numbers are dense, so a set of millions is a range or two.

use std::collections::BTreeMap;

/// A set of numbers, kept as ranges with both ends inside that neither touch nor overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a range; whether none of it was there.
    pub(super) fn insert(&mut self, [from, to]: [u64; 2]) -> bool {
        let (mut start, mut end, mut new) = (from, to, true);
        // From the right, as joining moves the start to the left.
        while let Some((&left, &right)) = self.0.range(..=end.saturating_add(1)).next_back() {
            if right.saturating_add(1) < start {
                break;
            }
            new &= right < from || left > to;
            start = start.min(left);
            end = end.max(right);
            self.0.remove(&left);
        }
        self.0.insert(start, end);
        new
    }

    /// Its ranges, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = [u64; 2]> + '_ {
        self.0.iter().map(|(from, to)| [*from, *to])
    }

    /// The largest number.
    pub(super) fn max(&self) -> Option<u64> {
        self.0.last_key_value().map(|(_, to)| *to)
    }

    /// What of a range is not in it.
    pub(super) fn missing(&self, [from, to]: [u64; 2]) -> Vec<[u64; 2]> {
        let mut missing = Vec::new();
        let mut next = from;
        let before = self.0.range(..=from).next_back().filter(|(_, end)| **end >= from);
        for (&left, &right) in before.into_iter().chain(self.0.range((
            std::ops::Bound::Excluded(from),
            std::ops::Bound::Included(to.max(from)),
        ))) {
            if left > next {
                missing.push([next, left - 1]);
            }
            let Some(after) = right.checked_add(1) else {
                return missing;
            };
            next = after;
        }
        if next <= to {
            missing.push([next, to]);
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_the_set_of_its_numbers(ranges in proptest::collection::vec((0u64..60, 0u64..8), 0..20), from in 0u64..60, len in 0u64..30) {
            let (mut set, mut naive) = (Ranges::default(), BTreeSet::new());
            for (from, len) in ranges {
                let new = (from..=from + len).filter(|n| naive.insert(*n)).count() as u64 == len + 1;
                prop_assert_eq!(set.insert([from, from + len]), new);
                prop_assert_eq!(set.max(), naive.last().copied());
            }
            for (left, right) in set.0.iter().zip(set.0.iter().skip(1)) {
                prop_assert!(left.1 + 1 < *right.0);
            }
            let missing: Vec<u64> = set.missing([from, from + len]).iter().flat_map(|[a, b]| *a..=*b).collect();
            let expected: Vec<u64> = (from..=from + len).filter(|n| !naive.contains(n)).collect();
            prop_assert_eq!(missing, expected);
            prop_assert!(set.iter().flat_map(|[a, b]| a..=b).eq(naive.iter().copied()));
        }
    }

    #[test]
    fn reaches_to_the_end() {
        let mut set = Ranges::default();
        assert!(set.insert([5, u64::MAX]));
        assert!(!set.insert([u64::MAX, u64::MAX]));
        assert!(set.insert([0, 4]));
        assert_eq!(set.missing([0, u64::MAX]), Vec::<[u64; 2]>::new());
        assert_eq!(Ranges::default().missing([3, 3]), [[3, 3]]);
    }
}

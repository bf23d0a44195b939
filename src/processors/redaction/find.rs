//! Which values may hold a match: the scan's hits over a whole chunk, as regions with the patterns they speak for.

use codec::pattern::Pattern;
use wire::scan::{Gate, Hit, Scan};

/// Patterns, one bit each; all from the 63rd on share the last one.
pub(super) type Patterns = u64;

/// The bit of the `i`-th pattern.
pub(super) fn bit(i: usize) -> Patterns {
    1 << i.min(63)
}

/// The gates of all patterns.
#[derive(Clone, Debug)]
pub(super) struct Finder {
    scan: Scan,
    /// Whose gate it is.
    owners: Vec<Patterns>,
    /// Patterns without a gate: every value may match them.
    pub(super) always: Patterns,
}

/// A part of a chunk, and the patterns that may match a value that overlaps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) patterns: Patterns,
}

/// Regions of one chunk, disjoint and ascending. Reused.
#[derive(Debug, Default)]
pub(super) struct Regions {
    pub(super) hits: Vec<Hit>,
    pub(super) list: Vec<Region>,
    /// Address of the chunk that was searched, and its length.
    base: usize,
    len: usize,
    /// Where the last look-up ended: the next one is mostly there.
    hint: usize,
}

impl Finder {
    /// The gates of patterns, each with its own bit.
    pub(super) fn new(patterns: &[Pattern]) -> Finder {
        Finder::of(
            patterns
                .iter()
                .enumerate()
                .map(|(i, pattern)| (bit(i), pattern.gates())),
        )
    }

    /// Gates by whose they are; without any, every value may match.
    pub(super) fn of(wanted: impl IntoIterator<Item = (Patterns, Option<Vec<Gate>>)>) -> Finder {
        let mut gates: Vec<Gate> = Vec::new();
        let mut owners: Vec<Patterns> = Vec::new();
        let mut always = 0;
        for (whose, own) in wanted {
            let Some(own) = own else {
                always |= whose;
                continue;
            };
            for gate in own {
                match gates.iter().position(|g| *g == gate) {
                    Some(at) => owners[at] |= whose,
                    None => {
                        gates.push(gate);
                        owners.push(whose);
                    }
                }
            }
        }
        let scan = Scan::new(gates);
        Finder { scan, owners, always }
    }

    /// Searches a whole chunk.
    pub(super) fn search(&self, chunk: &[u8], regions: &mut Regions) {
        let Regions { hits, list, .. } = regions;
        hits.clear();
        list.clear();
        self.scan.find(chunk, hits);
        // Each gate's hits are in order already, which this sort takes as they are.
        hits.sort_by_key(|hit| hit.offset);
        for hit in hits.iter() {
            let patterns = self.owners[hit.gate];
            match list.last_mut() {
                Some(last) if hit.offset < last.end => {
                    last.end = last.end.max(hit.end());
                    last.patterns |= patterns;
                }
                _ => list.push(Region {
                    start: hit.offset,
                    end: hit.end(),
                    patterns,
                }),
            }
        }
        regions.base = chunk.as_ptr().addr();
        regions.len = chunk.len();
        regions.hint = 0;
    }

    /// Patterns that may match this text, wherever it lies: in the chunk that was searched, or somewhere else.
    pub(super) fn patterns(&self, text: &[u8], regions: &mut Regions) -> Patterns {
        match regions.place(text) {
            Some(start) => self.always | regions.patterns(start, start + text.len()),
            None => self.search_one(text, &mut regions.hits),
        }
    }

    /// Patterns that may match this text, searched by itself.
    pub(super) fn search_one(&self, text: &[u8], hits: &mut Vec<Hit>) -> Patterns {
        hits.clear();
        self.scan.find(text, hits);
        hits.iter()
            .fold(self.always, |all, hit| all | self.owners[hit.gate])
    }
}

impl Regions {
    /// Offset of a text that is part of the chunk.
    fn place(&self, text: &[u8]) -> Option<usize> {
        let offset = text.as_ptr().addr().checked_sub(self.base)?;
        (offset + text.len() <= self.len).then_some(offset)
    }

    fn patterns(&mut self, start: usize, end: usize) -> Patterns {
        // Whether the `i`-th is the first region that ends behind the start.
        let is_first = |i: usize| match (
            i.checked_sub(1).map(|before| self.list.get(before)),
            self.list.get(i),
        ) {
            (Some(None), _) => false,
            (Some(Some(before)), _) if before.end > start => false,
            (_, region) => region.is_none_or(|r| r.end > start),
        };
        let first = [self.hint, self.hint + 1]
            .into_iter()
            .find(|i| is_first(*i))
            .unwrap_or_else(|| self.list.partition_point(|r| r.end <= start));
        self.hint = first;
        let mut patterns = 0;
        for region in &self.list[first..] {
            if region.start >= end {
                break;
            }
            patterns |= region.patterns;
        }
        patterns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finder(sources: &[&str]) -> Finder {
        let patterns: Vec<Pattern> = sources.iter().map(|s| Pattern::new(s).unwrap()).collect();
        Finder::new(&patterns)
    }

    #[test]
    fn a_text_is_told_its_patterns_wherever_it_lies() {
        let finder = finder(&["@", "tok_[a-z]+", r"\w*"]);
        assert_eq!(finder.always, bit(2));
        // Far enough apart that hits of one gate stay apart.
        let chunk = b"xx                   a@b                  tok_z                  @".to_vec();
        let mut regions = Regions::default();
        finder.search(&chunk, &mut regions);
        let check = |regions: &mut Regions, from: usize, to: usize, expected: Patterns| {
            assert_eq!(
                finder.patterns(&chunk[from..to], regions),
                expected | bit(2),
                "{from}..{to}"
            );
            let copy = chunk[from..to].to_vec();
            assert_eq!(
                finder.patterns(&copy, regions),
                expected | bit(2),
                "a copy of {from}..{to}"
            );
        };
        for _ in 0..2 {
            check(&mut regions, 0, 20, 0);
            check(&mut regions, 21, 24, bit(0));
            check(&mut regions, 24, 40, 0);
            check(&mut regions, 40, 47, bit(1));
            check(&mut regions, 0, chunk.len(), bit(0) | bit(1));
            check(&mut regions, chunk.len() - 1, chunk.len(), bit(0));
            check(&mut regions, 50, 55, 0);
            check(&mut regions, chunk.len(), chunk.len(), 0);
        }
    }

    #[test]
    fn patterns_beyond_the_bits_share_one() {
        let sources: Vec<String> = (0..70).map(|i| format!("secret-{i:02}")).collect();
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let finder = finder(&sources);
        let mut regions = Regions::default();
        finder.search(b"", &mut regions);
        assert_eq!(finder.patterns(b"secret-69", &mut regions), bit(63));
        assert_eq!(finder.patterns(b"secret-07", &mut regions), bit(7));
    }
}

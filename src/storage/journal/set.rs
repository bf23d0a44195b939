//! Which records, and which pieces of them: short for long runs, in rising order.
//!
//! ```text
//! run = skip | len << 1                             len records in a row, whole
//!     | skip | k << 1 | 1 | n | piece ... (k times)  k of the n pieces of one record
//! ```
//!
//! All numbers are LEB128. `skip` is counted from the end of the run before, from 0 at first; of pieces the first stands
//! as it is, and each other one as what lies between it and the one before. A run takes about three bytes.

use super::Seq;

/// The most bytes that a set may have, written down.
pub const SET_MAX: usize = 16 << 20;

/// Records and pieces of records of one journal.
///
/// Grows in place as long as records come in rising order; one that comes late costs as much as the set is long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// All runs but the last.
    runs: Vec<u8>,
    /// Behind the last of them.
    end: u64,
    last: Option<Run>,
}

/// Records in a row, or pieces of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// These records, with all their pieces.
    Whole {
        /// The first of them.
        first: Seq,
        /// How many; at least one.
        len: u64,
    },
    /// Some pieces of one record.
    Part {
        /// The record.
        seq: Seq,
        /// How many pieces it has in all.
        of: u32,
        /// Which, in rising order; at least one, and not all.
        pieces: Vec<u32>,
    },
}

impl Run {
    /// The first record.
    pub fn first(&self) -> Seq {
        match self {
            Run::Whole { first, .. } => *first,
            Run::Part { seq, .. } => *seq,
        }
    }

    /// Behind the last record.
    pub fn end(&self) -> Seq {
        match self {
            Run::Whole { first, len } => Seq(first.0.saturating_add(*len)),
            Run::Part { seq, .. } => Seq(seq.0.saturating_add(1)),
        }
    }

    fn encode(&self, after: u64, out: &mut Vec<u8>) {
        put(out, self.first().0 - after);
        match self {
            Run::Whole { len, .. } => put(out, len << 1),
            Run::Part { of, pieces, .. } => {
                put(out, (pieces.len() as u64) << 1 | 1);
                put(out, u64::from(*of));
                let mut next = 0;
                for piece in pieces {
                    put(out, u64::from(piece - next));
                    next = piece + 1;
                }
            }
        }
    }

    fn decode(bytes: &mut &[u8], after: u64) -> Option<Run> {
        let first = after.checked_add(get(bytes)?)?;
        let seq = Seq(first);
        let count = get(bytes)?;
        let len = count >> 1;
        if count & 1 == 0 {
            first.checked_add(len).filter(|_| len > 0)?;
            return Some(Run::Whole { first: seq, len });
        }
        first.checked_add(1)?;
        let of = u32::try_from(get(bytes)?).ok()?;
        // A piece takes a byte at least.
        if len == 0 || len > u64::from(of) || len > bytes.len() as u64 {
            return None;
        }
        let (mut pieces, mut next) = (Vec::with_capacity(len as usize), 0u64);
        for _ in 0..len {
            let piece = next.checked_add(get(bytes)?).filter(|p| *p < u64::from(of))?;
            pieces.push(piece as u32);
            next = piece + 1;
        }
        Some(match pieces.len() == of as usize {
            true => Run::Whole { first: seq, len: 1 },
            false => Run::Part { seq, of, pieces },
        })
    }

    /// Adds a piece of the record of this run.
    fn join(&mut self, piece: u32) {
        let Run::Part { seq, of, pieces } = self else {
            return;
        };
        if let Err(at) = pieces.binary_search(&piece)
            && piece < *of
        {
            pieces.insert(at, piece);
            if pieces.len() == *of as usize {
                *self = Run::Whole { first: *seq, len: 1 };
            }
        }
    }
}

fn one(seq: Seq, piece: u32, of: u32) -> Run {
    match of {
        0 | 1 => Run::Whole { first: seq, len: 1 },
        _ => Run::Part {
            seq,
            of,
            pieces: vec![piece.min(of - 1)],
        },
    }
}

impl Set {
    /// Nothing.
    pub fn new() -> Set {
        Set::default()
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Adds a record with all its pieces.
    pub fn add(&mut self, seq: Seq) {
        self.add_piece(seq, 0, 1);
    }

    /// Adds a piece of a record that has `of` of them (0 or 1 = it has one). What is in it already stays.
    pub fn add_piece(&mut self, seq: Seq, piece: u32, of: u32) {
        match &mut self.last {
            None => self.last = Some(one(seq, piece, of)),
            Some(Run::Whole { first, len }) if seq.0 == first.0 + *len && of <= 1 => *len += 1,
            Some(last) if seq >= last.end() => self.push(one(seq, piece, of)),
            Some(last @ Run::Part { .. }) if seq == last.first() && of > 1 => {
                last.join(piece);
                if matches!(last, Run::Whole { .. }) {
                    *self = self.runs().collect(); // it may continue the run before
                }
            }
            Some(_) => self.add_late(seq, piece, of),
        }
    }

    /// Closes the last run and begins another one behind it.
    fn push(&mut self, run: Run) {
        if let Some(last) = self.last.replace(run) {
            last.encode(self.end, &mut self.runs);
            self.end = last.end().0;
        }
    }

    /// Appends a run behind all others; what it continues it becomes a part of.
    fn extend(&mut self, run: Run) {
        match (&mut self.last, &run) {
            (
                Some(Run::Whole { first, len }),
                Run::Whole {
                    first: next,
                    len: more,
                },
            ) if first.0 + *len == next.0 => {
                *len += more;
            }
            _ => self.push(run),
        }
    }

    fn add_late(&mut self, seq: Seq, piece: u32, of: u32) {
        let (mut out, mut new) = (Set::new(), Some(one(seq, piece, of)));
        for mut run in self.runs() {
            if run.first() <= seq && seq < run.end() {
                match of {
                    0 | 1 => {
                        run = Run::Whole {
                            first: run.first(),
                            len: run.end().0 - run.first().0,
                        }
                    }
                    _ => run.join(piece),
                }
                new = None;
            } else if run.first() > seq
                && let Some(new) = new.take()
            {
                out.extend(new);
            }
            out.extend(run);
        }
        new.into_iter().for_each(|new| out.extend(new));
        *self = out;
    }

    /// Its runs, in rising order.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let (mut bytes, mut end) = (&self.runs[..], 0);
        let closed = std::iter::from_fn(move || {
            let run = Run::decode(&mut bytes, end)?;
            end = run.end().0;
            Some(run)
        });
        closed.chain(self.last.clone())
    }

    /// As it is written down; at most [`SET_MAX`] bytes are read back.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.runs.clone();
        if let Some(last) = &self.last {
            last.encode(self.end, &mut out);
        }
        out
    }

    /// What [`Set::to_bytes`] wrote, or anybody else in that form. `None` if it cannot be that.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Set> {
        if bytes.len() > SET_MAX {
            return None;
        }
        let (mut set, mut end) = (Set::new(), 0);
        while !bytes.is_empty() {
            let run = Run::decode(&mut bytes, end)?;
            end = run.end().0;
            set.extend(run);
        }
        Some(set)
    }
}

impl FromIterator<Run> for Set {
    /// Of runs in rising order.
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Set {
        let mut set = Set::new();
        runs.into_iter().for_each(|run| set.extend(run));
        set
    }
}

impl FromIterator<Seq> for Set {
    fn from_iter<I: IntoIterator<Item = Seq>>(seqs: I) -> Set {
        let mut set = Set::new();
        seqs.into_iter().for_each(|seq| set.add(seq));
        set
    }
}

fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn get(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        n |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn runs_are_written_as_told() {
        let check = |pieces: &[(u64, u32, u32)], expected: &str| {
            let mut set = Set::new();
            for (seq, piece, of) in pieces {
                set.add_piece(Seq(*seq), *piece, *of);
            }
            assert_eq!(hex(&set.to_bytes()), expected, "{pieces:?}");
            assert_eq!(Set::from_bytes(&set.to_bytes()), Some(set));
        };
        let known = [
            (1000, 0, 1),
            (1001, 0, 1),
            (1002, 0, 0),
            (1003, 0, 1),
            (1004, 0, 1),
            (1007, 0, 1),
            (1009, 0, 3),
            (1009, 2, 3),
        ];
        check(&known, "e8070a02020105030001");
        let mut late = known;
        late.reverse();
        check(&late, "e8070a02020105030001");
        check(&[], "");
        check(&[(0, 0, 1)], "0002");
        check(&[(5, 1, 2), (5, 0, 2)], "0502");
        check(&[(5, 1, 2), (5, 1, 2)], "05030201");
        check(&[(5, 1, 2), (5, 0, 1)], "0502");
        check(&[(5, 0, 1), (5, 1, 2)], "0502");
        check(&[(5, 1, 2), (6, 0, 1), (5, 0, 2)], "0504");
        check(&[(4, 0, 1), (6, 0, 1), (5, 0, 1), (6, 0, 1)], "0406");
        check(&[(5, 7, 2)], "05030201");
    }

    #[test]
    fn what_cannot_be_a_set_is_refused() {
        let check = |bytes: &[u8], expected: bool| {
            assert_eq!(Set::from_bytes(bytes).is_some(), expected, "{}", hex(bytes));
        };
        check(&[0, 2], true);
        check(&[0x80, 0, 2], true); // a long way to write 0
        check(&[0], false);
        check(&[0, 0], false); // no records
        check(&[0, 1, 3], false); // no pieces
        check(&[0, 3, 0, 0], false); // a piece of none
        check(&[0, 3, 2, 2], false); // the third of two
        check(&[0, 5, 2, 0, 0], true); // both of two
        check(&[0, 5, 2, 0, 1], false);
        check(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff], false); // more pieces than bytes
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        check(&[&largest[..], &[2]].concat(), false); // behind the last number
        check(&[&largest[..], &[3, 2, 0]].concat(), false);
        check(&[0xff; 11], false);
        check(&vec![0; SET_MAX + 2], false);
    }

    type Model = BTreeMap<u64, (u32, BTreeSet<u32>)>;

    fn model(set: &Set) -> Model {
        let mut model = Model::new();
        let mut end = 0;
        for run in set.runs() {
            assert!(run.first().0 >= end);
            end = run.end().0;
            match run {
                Run::Whole { first, len } => {
                    (first.0..first.0 + len)
                        .for_each(|seq| drop(model.insert(seq, (1, BTreeSet::from([0])))));
                }
                Run::Part { seq, of, pieces } => {
                    assert!(pieces.windows(2).all(|w| w[0] < w[1]) && pieces.len() < of as usize);
                    model.insert(seq.0, (of, pieces.into_iter().collect()));
                }
            }
        }
        model
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_a_map(adds in proptest::collection::vec((0u64..30, 0u32..4), 0..60)) {
            let (mut set, mut want) = (Set::new(), Model::new());
            for (seq, piece) in adds {
                // Each record has one number of pieces.
                let of = (seq % 4 + 1) as u32;
                let piece = piece % of;
                set.add_piece(Seq(seq), piece, of);
                let known = want.entry(seq).or_insert_with(|| (of, BTreeSet::new()));
                known.1.insert(piece);
            }
            for known in want.values_mut().filter(|(of, pieces)| pieces.len() == *of as usize) {
                *known = (1, BTreeSet::from([0]));
            }
            prop_assert_eq!(model(&set), want.clone());
            let bytes = set.to_bytes();
            let again = Set::from_bytes(&bytes).expect("it was just written");
            prop_assert_eq!(again.to_bytes().len() <= bytes.len(), true);
            prop_assert_eq!(model(&again), want);
        }

        #[test]
        fn reads_anything_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(set) = Set::from_bytes(&bytes) {
                let written = set.to_bytes();
                prop_assert!(written.len() <= bytes.len());
                prop_assert_eq!(Set::from_bytes(&written), Some(set));
            }
        }
    }
}

//! Dividing: every record goes where its label says, as the bytes it was, in order, under its own headers.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::split::{chunk, flat};
use crate::test_kit::{Request, Rng, disguise};
use crate::view::{Depth, Scratch, View};
use crate::{Chunk, Context, Limits, NOWHERE, Part, Payload, Signal, Sorted, count_items, divide, validate};

const PARTS: [Part; 4] = [Part::Resource, Part::Scope, Part::Metric, Part::Item];

/// The label of each item, and its bytes.
fn items(signal: Signal, bytes: &[u8], by: Part, labels: &[u16]) -> Vec<(u16, Vec<u8>)> {
    let mut scratch = Scratch::default();
    let view = View::new(&mut scratch, signal, bytes, Depth::Record).unwrap();
    let (mut out, mut at) = (Vec::new(), None);
    for n in view.nodes() {
        if by.is(view.kind(n)) {
            at = Some(at.map_or(0, |at| at + 1));
        }
        if view.kind(n).is_item() {
            out.push((labels[at.unwrap()], view.raw(n).to_vec()));
        }
    }
    out
}

fn parts(signal: Signal, bytes: &[u8], by: Part) -> usize {
    let mut scratch = Scratch::default();
    let view = View::new(&mut scratch, signal, bytes, Depth::Record).unwrap();
    view.nodes().filter(|n| by.is(view.kind(*n))).count()
}

fn raw(signal: Signal, bytes: &[u8]) -> Vec<Vec<u8>> {
    let all = vec![0; parts(signal, bytes, Part::Item)];
    let items = items(signal, bytes, Part::Item, &all);
    items.into_iter().map(|(_, raw)| raw).collect()
}

fn divided(seed: u64) -> Result<(), TestCaseError> {
    let rng = &mut Rng(seed);
    let signal = Signal::ALL[rng.below(3)];
    let mut bytes = Request::random(signal, rng).encode();
    if rng.chance(50) {
        bytes = disguise(signal, &bytes, true, rng);
    }
    let mut whole = chunk(signal, bytes, 7);
    whole.make_canonical(signal).unwrap();
    let bytes = whole.bytes();
    let by = *rng.pick(&PARTS);
    let labels_max = 1 + rng.below(5);
    let labels: Vec<u16> = (0..parts(signal, &bytes, by))
        .map(|_| match rng.chance(15) {
            true => NOWHERE,
            false => rng.below(labels_max) as u16 * 100,
        })
        .collect();

    // What prost reads, item by item, and the bytes of each.
    let said = flat(signal, &bytes);
    let items = items(signal, &bytes, by, &labels);
    prop_assert_eq!(said.len(), items.len());
    let mut expected: BTreeMap<u16, (Vec<String>, Vec<Vec<u8>>)> = BTreeMap::new();
    for (said, (label, raw)) in said.into_iter().zip(items) {
        if label != NOWHERE {
            let known = expected.entry(label).or_default();
            known.0.push(said);
            known.1.push(raw);
        }
    }

    let pieces = divide(signal, &whole, by, &labels);
    prop_assert!(pieces.is_sorted_by(|a, b| a.0 < b.0), "one chunk for each label");
    let mut got = BTreeMap::new();
    for (label, piece) in &pieces {
        prop_assert!(labels.contains(label));
        let bytes = piece.bytes();
        let shape = validate(signal, &bytes, &Limits::default()).unwrap();
        prop_assert_eq!(shape.items, piece.shape.items);
        prop_assert_eq!(count_items(signal, &bytes), piece.shape.items);
        prop_assert!(!shape.non_canonical);
        prop_assert_eq!(piece.origin.slot, 7);
        let all = (flat(signal, &bytes), raw(signal, &bytes));
        if !all.0.is_empty() {
            got.insert(*label, all);
        }
    }
    prop_assert_eq!(got, expected);

    // Those that are labelled in whole are all there, even if nothing is in them.
    let named: usize = pieces
        .iter()
        .map(|(_, piece)| parts(signal, &piece.bytes(), by))
        .sum();
    let goes = labels.iter().filter(|label| **label != NOWHERE).count();
    prop_assert_eq!(named, goes);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_goes_where_its_label_says(seed: u64) {
        divided(seed)?;
    }
}

fn logs(records: usize) -> Chunk {
    let rng = &mut Rng(3);
    loop {
        let bytes = Request::random(Signal::Logs, rng).encode();
        let whole = chunk(Signal::Logs, bytes, 0);
        if whole.shape.items as usize > records {
            return whole;
        }
    }
}

#[test]
fn what_goes_one_way_stays_the_same_bytes() {
    let whole = logs(3);
    let labels = vec![9; whole.shape.items as usize];
    let pieces = divide(Signal::Logs, &whole, Part::Item, &labels);
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].0, 9);
    assert_eq!(pieces[0].1.bytes().as_ptr(), whole.bytes().as_ptr());
    let nowhere = vec![NOWHERE; whole.shape.items as usize];
    assert!(divide(Signal::Logs, &whole, Part::Item, &nowhere).is_empty());
    assert!(divide(Signal::Logs, &chunk(Signal::Logs, Vec::new(), 0), Part::Item, &[]).is_empty());
}

#[test]
fn profiles_go_whole() {
    let whole = Chunk::new("any".into(), crate::Shape::default());
    let pieces = divide(Signal::Profiles, &whole, Part::Item, &[4, 5]);
    assert_eq!(pieces.len(), 1);
    assert_eq!((pieces[0].0, pieces[0].1.bytes()), (4, "any".into()));
}

#[test]
#[should_panic(expected = "one label for each part")]
fn labels_of_another_chunk_are_noticed() {
    let whole = logs(3);
    let mut labels = vec![1; whole.shape.items as usize + 1];
    labels[0] = 0;
    divide(Signal::Logs, &whole, Part::Item, &labels);
}

#[test]
fn pieces_of_several_chunks_are_gathered_by_label() {
    let whole = logs(3);
    let items = whole.shape.items as usize;
    let mut labels = vec![2; items];
    labels[0] = 1;
    let mut sorted = Sorted::new(Signal::Logs, Arc::new(Context::default()));
    for _ in 0..2 {
        for (label, piece) in divide(Signal::Logs, &whole, Part::Item, &labels) {
            sorted.add(label, piece);
        }
    }
    let told: Vec<(u16, usize, usize)> = sorted
        .finish()
        .iter()
        .map(|(label, p): &(u16, Payload)| (*label, p.items, p.chunks.len()))
        .collect();
    assert_eq!(told, [(1, 2, 2), (2, 2 * (items - 1), 2)]);
}

//! That single entries are under the signed heads: a file for each that can be checked alone, with nothing but a key.
//!
//! A log is read once more for all of its proofs together; what it is must be what was verified, else there are none.

use std::collections::{BTreeMap, BTreeSet};

use evidence::digest::Digest;
use evidence::log::SEGMENT_BYTES_MAX;
use evidence::names::{LOGS, Origin};
use evidence::note::Proof;
use evidence::tree::{leaf_hash, prove_each};
use evidence::verify::Inventory;

use super::super::archive::Failure;
use super::super::archive::reading::Reading;
use super::fold::Facts;

/// Entries that are proved; of more the first of each list.
const PROOFS_MAX: usize = 1_000;
/// Of each list of things that happened.
const OF_A_LIST: usize = 150;
/// A larger log is not kept in memory: 32 bytes an entry.
const ENTRIES_MAX: u64 = 8_000_000;

/// Entries of interest by writer and session.
pub(super) fn wanted(facts: &Facts) -> BTreeMap<(String, String), BTreeSet<u64>> {
    let lists = [
        &facts.restores,
        &facts.shreds,
        &facts.holds,
        &facts.gaps,
        &facts.starts,
        &facts.tests,
    ];
    let places = lists
        .iter()
        .flat_map(|list| list.rows.iter().take(OF_A_LIST).map(|row| row.place.as_str()));
    let mut found: BTreeMap<(String, String), BTreeSet<u64>> = BTreeMap::new();
    let objects = facts.texts.iter().map(|object| {
        let log = (object.writer.clone(), object.session.clone());
        (log, object.index)
    });
    for (log, index) in objects.chain(places.filter_map(place)).take(PROOFS_MAX) {
        found.entry(log).or_default().insert(index);
    }
    found
}

/// `writer/session#index`.
fn place(text: &str) -> Option<((String, String), u64)> {
    let (log, index) = text.rsplit_once('#')?;
    let (writer, session) = log.rsplit_once('/')?;
    Some(((writer.to_owned(), session.to_owned()), index.parse().ok()?))
}

/// A log as it was verified, and its newest head as it lies in the store.
pub(super) struct Head<'a> {
    pub(super) origin: &'a Origin,
    pub(super) size: u64,
    pub(super) root: Digest,
    pub(super) note: &'a str,
}

/// The proofs of some entries of a log, by index. Entries above the head have none.
///
/// Errors: the log cannot be read now, or is not what was verified.
pub(super) async fn of_log(
    reading: &Reading,
    head: &Head<'_>,
    wanted: &BTreeSet<u64>,
) -> Result<BTreeMap<u64, Proof>, Failure> {
    let place = head.origin.as_str();
    if head.size > ENTRIES_MAX {
        let told = format!("{place}: no proofs of a log of more than {ENTRIES_MAX} entries");
        return Err(Failure::unknown(told));
    }
    let mut listing = Vec::new();
    let below = format!("{LOGS}{}/{}/", head.origin.writer(), head.origin.session());
    reading.list(&below, |listed| listing.push(listed)).await?;
    let logs = Inventory::of(listing).logs;
    let mut files = logs.into_values().next().unwrap_or_default().segments;
    files.sort_by_key(|file| file.number);
    let (mut leaves, mut lines) = (Vec::new(), BTreeMap::new());
    let mut segments = reading.in_order(files, SEGMENT_BYTES_MAX);
    while leaves.len() < head.size as usize
        && let Some((file, bytes)) = segments.next().await?
    {
        // Others may have put files between them.
        if file.number != leaves.len() as u64 {
            continue;
        }
        for line in bytes.split(|c| *c == b'\n').filter(|line| !line.is_empty()) {
            let index = leaves.len() as u64;
            if wanted.contains(&index) {
                lines.insert(index, line.to_vec());
            }
            leaves.push(leaf_hash(line));
        }
    }
    leaves.truncate(usize::try_from(head.size).unwrap_or(usize::MAX));
    let meant: Vec<usize> = lines
        .keys()
        .filter(|index| **index < head.size)
        .filter_map(|index| usize::try_from(*index).ok())
        .collect();
    let (root, proofs) = prove_each(&leaves, &meant);
    if root != head.root || leaves.len() as u64 != head.size {
        return Err(Failure::unknown(format!(
            "{place}: it is not what was verified any more"
        )));
    }
    let made = meant.into_iter().zip(proofs).map(|(index, hashes)| {
        let index = index as u64;
        let proof = Proof {
            extra: lines.remove(&index),
            index,
            hashes,
            note: head.note.to_owned(),
        };
        (index, proof)
    });
    Ok(made.collect())
}

//! Opening: what lies on the disk becomes what is owed.
//!
//! Sealed segments are known by their index alone. A segment without one (the last, or one that a failure ended) is read
//! whole: a record whose sum does not match is passed over, and what follows it is looked for, so that a damaged record
//! costs itself and no other. Completions count wherever they stand: they name the record, not the file.

use std::ops::Range;
use std::sync::Arc;

use super::crypt::{Cipher, Key};
use super::disk::{Disk, File, read_all};
use super::format::{self, DONE, Done, Entry, HeaderIs, RECORD_HEADER, SEGMENT_HEADER, TRAILER};
use super::state::{Segment, State};
use super::{Error, Quota, claim, mark, table};

/// What was found on opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Records that are owed to somebody.
    pub records: u64,
    /// Segments that were read whole, for they had no index.
    pub scanned: u64,
    /// Places where something was on its way when the process or the power ended: nobody was told that it is safe.
    pub torn: u64,
    /// Places where something cannot be read, with what it is.
    pub damage: Vec<String>,
    /// Files that are of no use and can go.
    pub(super) strays: Vec<String>,
}

pub(super) fn segment_name(number: u64) -> String {
    format!("{number:010}.segment")
}

pub(super) fn done_name(number: u64) -> String {
    format!("{number:010}.done")
}

fn number_of(name: &str, suffix: &str) -> Option<u64> {
    name.strip_suffix(suffix)?.parse().ok()
}

/// Reads a directory, and changes nothing in it.
pub(super) fn recover(disk: &dyn Disk, key: Option<&Key>) -> Result<(State, Found), Error> {
    let mut found = Found::default();
    let names = disk
        .list()
        .map_err(|e| Error::io("list the journal's directory", e))?;
    let mut state = State::default();
    for name in table::read(disk, &mut found)? {
        state.add(name, Quota::default());
    }
    let mut numbers: Vec<u64> = names.iter().filter_map(|n| number_of(n, ".segment")).collect();
    numbers.sort_unstable();
    let mut logs: Vec<u64> = names.iter().filter_map(|n| number_of(n, ".done")).collect();
    logs.sort_unstable();
    state.next_segment = numbers.iter().chain(&logs).max().map_or(1, |n| n + 1);

    // A record that was copied forward lies in several segments if the copying was interrupted, or failed. One that was
    // closed in order counts: all of it was safe then.
    let mut entries: Vec<(Entry, bool, u64)> = Vec::new();
    for number in numbers {
        let name = segment_name(number);
        let file = disk
            .open(&name)
            .map_err(|e| Error::io("open a segment of the journal", e))?;
        let size = file.len().map_err(|e| Error::io("read the journal", e))?;
        let read = read_segment(&*file, number, size, key, &mut found)?;
        let suspect = read.suspect;
        entries.extend(read.entries.into_iter().map(|entry| (entry, suspect, number)));
        let segment = Segment {
            file,
            cipher: read.cipher,
            done: None,
            done_len: 0,
            size,
            live: 0,
            seqs: Vec::new(),
            sealed: true,
            suspect,
            damaged: None,
        };
        state.segments.insert(number, segment);
    }
    entries.sort_by_key(|(entry, suspect, number)| (entry.seq, *suspect, *number));
    entries.dedup_by_key(|(entry, ..)| entry.seq);
    let destinations = entries.iter().flat_map(|(entry, ..)| &*entry.head.destinations);
    let last = destinations.max().map_or(0, |id| id.0 as usize + 1);
    for unknown in state.next_destination()..last {
        found.damage.push(table::missing(unknown));
        state.add(table::unnamed(unknown), Quota::default());
    }
    state.load(
        entries
            .into_iter()
            .map(|(entry, _, number)| (number, entry))
            .collect(),
    );
    for number in logs {
        let opened = disk
            .open(&done_name(number))
            .and_then(|f| Ok((read_all(&*f)?, f)));
        let (bytes, file) = opened.map_err(|e| Error::io("read the journal", e))?;
        for done in bytes.chunks(DONE).filter_map(Done::decode) {
            state.complete(done.seq, done.destination, done.items);
        }
        match state.segments.get_mut(&number) {
            Some(segment) => {
                segment.done_len = bytes.len().next_multiple_of(DONE) as u64;
                segment.done = Some(file);
            }
            None => found.strays.push(done_name(number)),
        }
    }
    state.marked_before(mark::read(disk)?);
    // They are in the logs already; those of whole sets may not be.
    state.dones.clear();
    let (id, changes) = claim::read(disk, key, &mut found)?;
    state.claimed.id = id;
    for change in &changes {
        state.apply(change.clone());
    }
    state.claimed.read = changes;
    found.records = state.owed_records();
    Ok((state, found))
}

/// What one segment holds.
struct Read {
    entries: Vec<Entry>,
    /// It has no index: these are the records that could be read.
    suspect: bool,
    cipher: Option<Arc<Cipher>>,
}

/// Entries of one segment: from its index, else from its records.
fn read_segment(
    file: &dyn File,
    number: u64,
    size: u64,
    key: Option<&Key>,
    found: &mut Found,
) -> Result<Read, Error> {
    let io = |e| Error::io("read the journal", e);
    let mut header = [0; SEGMENT_HEADER];
    let n = file.read_at(&mut header, 0).map_err(io)?;
    let (lock, is_bad) = match format::check_segment_header(&header[..n], number) {
        HeaderIs::Good(lock) => (lock, false),
        HeaderIs::Version(version) => {
            return Err(Error::Version {
                file: segment_name(number),
                version,
            });
        }
        HeaderIs::Bad => (None, true),
    };
    let cipher = match lock {
        Some(lock) => Some(Arc::new(lock.open(&segment_name(number), key)?)),
        None => None,
    };
    if let Some(entries) = read_index(file, size, cipher.as_deref()).map_err(io)? {
        return Ok(Read {
            entries,
            suspect: false,
            cipher,
        });
    }
    found.scanned += 1;
    let mut bytes = read_all(file).map_err(io)?;
    if is_bad {
        // A header is safe before anything is answered out of its segment: where it is missing, or alone, it was on its
        // way when the power went.
        let has_any = |bytes: &[u8]| bytes.iter().any(|b| *b != 0);
        let (header, rest) = bytes.split_at(SEGMENT_HEADER.min(bytes.len()));
        match (has_any(header), has_any(rest)) {
            (true, true) => found
                .damage
                .push(format!("{}: the header is damaged", segment_name(number))),
            (false, false) => {}
            _ => found.torn += 1,
        }
    }
    Ok(Read {
        entries: scan(&mut bytes, number, cipher.as_deref(), found),
        suspect: true,
        cipher,
    })
}

fn read_index(file: &dyn File, size: u64, cipher: Option<&Cipher>) -> std::io::Result<Option<Vec<Entry>>> {
    let Some(at) = size.checked_sub(TRAILER as u64) else {
        return Ok(None);
    };
    let mut trailer = [0; TRAILER];
    file.read_at(&mut trailer, at)?;
    let Some(len) = format::trailer_decode(&trailer).filter(|len| *len <= at) else {
        return Ok(None);
    };
    let mut index = vec![0; len as usize];
    file.read_at(&mut index, at - len)?;
    Ok(format::index_decode(&mut index, &trailer, (cipher, at - len)))
}

/// All records that are whole. Records begin at multiples of eight; behind a damaged one the next is looked for.
fn scan(bytes: &mut [u8], number: u64, cipher: Option<&Cipher>, found: &mut Found) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut gaps: Vec<Range<usize>> = Vec::new();
    let (mut at, mut gap, mut safe) = (SEGMENT_HEADER, None, 0);
    while at + RECORD_HEADER <= bytes.len() {
        let before = entries.last().map(|entry| &entry.head);
        match format::record_decode(&mut bytes[at..], at as u64, cipher, before) {
            Some((entry, _)) => {
                safe = safe.max(format::record_safe(&bytes[at..]));
                gaps.extend(gap.take().map(|start| start..at));
                at += entry.room() as usize;
                entries.push(entry);
            }
            None => {
                gap.get_or_insert(at);
                at += 8;
            }
        }
    }
    gaps.extend(
        gap.filter(|start| bytes[*start..].iter().any(|b| *b != 0))
            .map(|start| start..bytes.len()),
    );
    let (damaged, torn): (Vec<_>, Vec<_>) = gaps.into_iter().partition(|gap| (gap.start as u64) < safe);
    let name = segment_name(number);
    let tell = |gap: Range<usize>| format!("{name}: bytes {} to {} cannot be read", gap.start, gap.end);
    found.damage.extend(damaged.into_iter().map(tell));
    found.torn += torn.len() as u64;
    entries
}

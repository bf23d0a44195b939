//! Opening: what lies on the disk becomes what is owed.
//!
//! Sealed segments are known by their index alone. A segment without one (the last, or one that a failure ended) is read
//! whole: a record whose sum does not match is passed over, and what follows it is looked for, so that a damaged record
//! costs itself and no other. Completions count wherever they stand: they name the record, not the file.

use std::collections::BTreeMap;
use std::io::{ErrorKind, IoSlice};

use super::Error;
use super::Quota;
use super::disk::{Disk, File};
use super::format::{self, DONE, Done, Entry, HeaderIs, RECORD_HEADER, SEGMENT_HEADER, Seq, TRAILER};
use super::state::{Segment, State};

/// What was found on opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Records that are owed to somebody.
    pub records: u64,
    /// Segments that were read whole, for they had no index.
    pub scanned: u64,
    /// Places where something cannot be read, with what it is.
    pub damage: Vec<String>,
}

const TABLE: &str = "destinations";
const TABLE_NEW: &str = "destinations.new";
const TABLE_HEADER: &str = "weir journal destinations 1";

pub(super) fn segment_name(number: u64) -> String {
    format!("{number:010}.segment")
}

pub(super) fn done_name(number: u64) -> String {
    format!("{number:010}.done")
}

fn number_of(name: &str, suffix: &str) -> Option<u64> {
    name.strip_suffix(suffix)?.parse().ok()
}

/// Writes all names, in order of their numbers: a new file in place of the old one.
pub(super) fn write_table(disk: &dyn Disk, names: &[String]) -> Result<(), Error> {
    let mut text = format!("{TABLE_HEADER}\n");
    for name in names {
        // One name a line, whatever is in it.
        text.push_str(&name.escape_default().to_string());
        text.push('\n');
    }
    let written = match disk.remove(TABLE_NEW) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => disk.create(TABLE_NEW, 0),
    }
    .and_then(|file| {
        file.write_at(&[IoSlice::new(text.as_bytes())], 0)?;
        file.sync()
    })
    .and_then(|()| disk.rename(TABLE_NEW, TABLE))
    .and_then(|()| disk.sync_names());
    written.map_err(|e| Error::io("write the journal's table of destinations", e))
}

fn unescape(line: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next()? {
            't' => '\t',
            'r' => '\r',
            'n' => '\n',
            'u' => {
                let hex: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?
            }
            other => other,
        });
    }
    Some(out)
}

fn read_table(disk: &dyn Disk, found: &mut Found) -> Result<Vec<String>, Error> {
    let bytes = match disk.open(TABLE) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.and_then(|f| read_all(&*f)),
    }
    .map_err(|e| Error::io("read the journal's table of destinations", e))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    if lines.next() != Some(TABLE_HEADER) {
        found.damage.push(format!("{TABLE}: not a table of destinations"));
        return Ok(Vec::new());
    }
    let names = lines
        .enumerate()
        .map(|(i, line)| unescape(line).unwrap_or_else(|| unnamed(i)));
    Ok(names.collect())
}

/// What a destination is called whose name is lost.
fn unnamed(id: usize) -> String {
    format!("?{id}")
}

fn read_all(file: &dyn File) -> std::io::Result<Vec<u8>> {
    let mut buf = vec![0; file.len()? as usize];
    let n = file.read_at(&mut buf, 0)?;
    buf.truncate(n);
    Ok(buf)
}

/// Reads a directory.
pub(super) fn recover(disk: &dyn Disk) -> Result<(State, Found), Error> {
    let mut found = Found::default();
    let names = disk
        .list()
        .map_err(|e| Error::io("list the journal's directory", e))?;
    let mut state = State::default();
    for name in read_table(disk, &mut found)? {
        state.add(name, Quota::default());
    }
    let mut numbers: Vec<u64> = names.iter().filter_map(|n| number_of(n, ".segment")).collect();
    numbers.sort_unstable();
    let mut logs: Vec<u64> = names.iter().filter_map(|n| number_of(n, ".done")).collect();
    logs.sort_unstable();
    state.next_segment = numbers.iter().chain(&logs).max().map_or(1, |n| n + 1);

    // A record that was copied forward lies in several segments if the copying was interrupted, or failed. One that was
    // closed in order counts: all of it was safe then.
    let mut records: BTreeMap<Seq, (u64, Entry, bool)> = BTreeMap::new();
    for number in numbers {
        let name = segment_name(number);
        let file = disk
            .open(&name)
            .map_err(|e| Error::io("open a segment of the journal", e))?;
        let size = file.len().map_err(|e| Error::io("read the journal", e))?;
        let (entries, suspect) = read_segment(&*file, number, size, &mut found)?;
        for entry in entries {
            match records.get(&entry.seq) {
                Some((.., false)) => {}
                Some(_) if suspect => {}
                _ => drop(records.insert(entry.seq, (number, entry, suspect))),
            }
        }
        let segment = Segment {
            file,
            done: None,
            done_len: 0,
            size,
            live: 0,
            seqs: Vec::new(),
            sealed: true,
            suspect,
            damaged: false,
        };
        state.segments.insert(number, segment);
    }
    for (number, entry, _) in records.into_values() {
        while let Some(id) = entry.head.destinations.iter().find(|id| !state.knows(**id)) {
            let name = unnamed(state.destinations().len());
            found
                .damage
                .push(format!("{TABLE}: destination {} has no name", id.0));
            state.add(name, Quota::default());
        }
        state.insert(number, entry);
    }
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
            None => {
                let _ = disk.remove(&done_name(number));
            }
        }
    }
    // They are in the logs already.
    state.dones.clear();
    found.records = state.owed_records();
    Ok((state, found))
}

/// Entries of one segment: from its index, else (and then it is suspect) from its records.
fn read_segment(
    file: &dyn File,
    number: u64,
    size: u64,
    found: &mut Found,
) -> Result<(Vec<Entry>, bool), Error> {
    let io = |e| Error::io("read the journal", e);
    let mut header = [0; SEGMENT_HEADER];
    let n = file.read_at(&mut header, 0).map_err(io)?;
    match format::check_segment_header(&header[..n], number) {
        HeaderIs::Good => {}
        HeaderIs::Version(version) => {
            return Err(Error::Version {
                file: segment_name(number),
                version,
            });
        }
        HeaderIs::Bad => {
            // It was never begun: a segment's header is safe before anything is answered out of it. If it was begun
            // all the same, its records are found below.
            found.damage.extend(
                (n > 0 && header.iter().any(|b| *b != 0))
                    .then(|| format!("{}: the header is damaged", segment_name(number))),
            );
        }
    }
    if let Some(entries) = read_index(file, size).map_err(io)? {
        return Ok((entries, false));
    }
    found.scanned += 1;
    let bytes = read_all(file).map_err(io)?;
    Ok((scan(&bytes, number, found), true))
}

fn read_index(file: &dyn File, size: u64) -> std::io::Result<Option<Vec<Entry>>> {
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
    Ok(format::index_decode(&index, &trailer))
}

/// All records that are whole. Records begin at multiples of eight; behind a damaged one the next is looked for.
fn scan(bytes: &[u8], number: u64, found: &mut Found) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut at, mut gap) = (SEGMENT_HEADER, None);
    while at + RECORD_HEADER <= bytes.len() {
        match format::record_decode(&bytes[at..], at as u64) {
            Some((entry, _)) => {
                if let Some(start) = gap.take() {
                    let damage = format!("{}: bytes {start} to {at} cannot be read", segment_name(number));
                    found.damage.push(damage);
                }
                at += entry.room() as usize;
                entries.push(entry);
            }
            None => {
                gap.get_or_insert(at);
                at += 8;
            }
        }
    }
    entries
}

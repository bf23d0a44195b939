//! How far each destination's records may have been sent: what a crash could make a duplicate of.
//!
//! One file of marks, a slot for each destination, written in place and some way ahead, so that a mark costs a write
//! only now and then. It survives the end of the process; after a power failure marks of the last second may be lost.

use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Error;
use super::append::Writer;
use super::disk::{Disk, File, read_all};
use super::format::{DestId, RECORDS_MAX, Seq, VERSION, crc, u32_at, u64_at};
use super::health::Task;
use crate::crash;

const FILE: &str = "marks";
const MAGIC: &[u8; 8] = b"WEIRMARK";
/// Length of the header, and of a slot.
const SLOT: usize = 32;

/// Records that a mark is ahead of what was asked for.
const STRIDE: u64 = 256;

/// Somebody is about to send.
pub(super) struct Asked {
    pub(super) destination: DestId,
    pub(super) seq: Seq,
    /// Who waits for it; `None` if it was asked for in good time.
    pub(super) done: Option<oneshot::Sender<()>>,
}

/// The file, as far as it is open.
#[derive(Default)]
pub(super) struct Marks {
    file: Option<Arc<dyn File>>,
    pub(super) is_unsynced: bool,
}

/// A mark for a record and those after it, in the same segment.
fn ahead(seq: Seq) -> Seq {
    let last = seq.0 | (RECORDS_MAX - 1);
    Seq((seq.0 + STRIDE).min(last))
}

/// It is time to ask for the next mark.
pub(super) fn is_near(mark: Option<Seq>, seq: Seq) -> bool {
    mark.is_some_and(|mark| mark < ahead(seq) && seq.0 + STRIDE / 2 > mark.0)
}

fn encode(destination: DestId, mark: Seq) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[8..16].copy_from_slice(&mark.0.to_le_bytes());
    slot[16..18].copy_from_slice(&destination.0.to_le_bytes());
    slot[18] = 1;
    let sum = crc(&[&slot[8..]]);
    slot[4..8].copy_from_slice(&sum.to_le_bytes());
    slot
}

/// `None` if there is no mark. One that cannot be read may be any.
fn decode(slot: &[u8]) -> Option<Seq> {
    if slot.iter().all(|b| *b == 0) {
        return None;
    }
    let is_whole = slot.len() == SLOT && u32_at(slot, 4) == crc(&[&slot[8..]]);
    Some(if is_whole {
        Seq(u64_at(slot, 8))
    } else {
        Seq(u64::MAX)
    })
}

fn header() -> [u8; SLOT] {
    let mut header = [0; SLOT];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// The mark of each destination, in order of their numbers.
pub(super) fn read(disk: &dyn Disk) -> Result<Vec<Option<Seq>>, Error> {
    let bytes = match disk.open(FILE) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.and_then(|f| read_all(&*f)),
    };
    let bytes = bytes.map_err(|e| Error::io("read the journal's marks", e))?;
    if bytes.len() >= SLOT && &bytes[..8] == MAGIC && u32_at(&bytes, 8) > VERSION {
        return Err(Error::Version {
            file: FILE.to_owned(),
            version: u32_at(&bytes, 8),
        });
    }
    Ok(bytes.chunks(SLOT).skip(1).map(decode).collect())
}

impl Writer {
    /// Writes the marks that were asked for. What cannot be written is not waited for either: delivery goes on, and
    /// only the count of possible duplicates may be too low.
    pub(super) fn write_marks(&mut self, asked: Vec<Asked>) {
        for Asked {
            destination,
            seq,
            done,
        } in asked
        {
            let mark = ahead(seq);
            let known = self.shared.state.lock().mark(destination);
            // Who asked in good time may have been overtaken by a mark that is far enough ahead.
            if known < Some(seq) || (done.is_none() && is_near(known, seq)) {
                crash::point("journal.mark.before_write");
                match self.write_mark(destination, mark) {
                    Ok(()) => {
                        self.marks.is_unsynced = true;
                        self.shared.state.lock().set_mark(destination, mark);
                        crash::point("journal.mark.after_write");
                    }
                    Err(error) => self.fails(Task::Note, &Error::io("note what is sent", error)),
                }
            }
            if let Some(done) = done {
                let _ = done.send(());
            }
        }
    }

    fn write_mark(&mut self, destination: DestId, mark: Seq) -> std::io::Result<()> {
        let file = match &self.marks.file {
            Some(file) => file.clone(),
            None => {
                let file = match self.shared.disk.open(FILE) {
                    Err(e) if e.kind() == ErrorKind::NotFound => self.shared.disk.create(FILE, 0)?,
                    opened => opened?,
                };
                file.write_at(&[IoSlice::new(&header())], 0)?;
                self.names_changed = true;
                self.marks.file.insert(file).clone()
            }
        };
        let at = SLOT as u64 * (u64::from(destination.0) + 1);
        file.write_at(&[IoSlice::new(&encode(destination, mark))], at)
    }

    /// Makes the marks safe against a power failure.
    pub(super) fn sync_marks(&mut self) -> std::io::Result<()> {
        match &self.marks.file {
            Some(file) if std::mem::take(&mut self.marks.is_unsynced) => file.sync(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stays_in_its_segment() {
        let check = |segment, index, expected| {
            assert_eq!(ahead(Seq::new(segment, index)), Seq::new(segment, expected));
        };
        check(1, 0, 256);
        check(1, 1000, 1256);
        check(7, RECORDS_MAX - 1, RECORDS_MAX - 1);
        check(7, RECORDS_MAX - 10, RECORDS_MAX - 1);
    }

    #[test]
    fn a_slot_says_its_mark_none_or_any() {
        let slot = encode(DestId(3), Seq(77));
        assert_eq!(decode(&slot), Some(Seq(77)));
        assert_eq!(decode(&[0; SLOT]), None);
        assert_eq!(decode(&slot[..31]), Some(Seq(u64::MAX)));
        for bit in 32..8 * SLOT {
            let mut slot = slot;
            slot[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&slot), Some(Seq(u64::MAX)), "bit {bit}");
        }
    }
}

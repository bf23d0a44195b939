//! Evidence for one object to hand on: `tlog-proof` files, checked offline with the session's key alone.

use codec::base64::Alphabet;

use super::{Checkpoint, NOTE_BYTES_MAX, Note, NoteError, Signed, Vkey};
use crate::digest::Digest;
use crate::entry::LINE_BYTES_MAX;
use crate::tree::{check_inclusion, leaf_hash};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// No tree of 64-bit sizes has longer proofs.
const HASHES_MAX: usize = 64;

/// That an entry is under a signed head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The entry's line, if the proof carries it.
    pub extra: Option<Vec<u8>>,
    /// The entry's index.
    pub index: u64,
    /// The leaf's sibling first.
    pub hashes: Vec<Digest>,
    /// The signed head, as it lies in the store.
    pub note: String,
}

impl Proof {
    /// Content of the file.
    pub fn text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        if let Some(extra) = &self.extra {
            text.push_str(&format!(
                "extra {}\n",
                codec::base64::encode(Alphabet::Standard, extra)
            ));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.hashes {
            text.push_str(&hash.to_base64());
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Result<Proof, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX + LINE_BYTES_MAX * 2 {
            return Err(NoteError("a proof is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NoteError("a proof is UTF-8"))?;
        let (head, note) = text
            .split_once("\n\n")
            .ok_or(NoteError("a proof has an empty line before its head"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(NoteError("not a c2sp.org/tlog-proof@v1"));
        }
        let extra = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            Some(extra) => {
                lines.next();
                let extra = codec::base64::decode(Alphabet::Standard, extra);
                Some(extra.ok_or(NoteError("a proof's extra line is no base64"))?)
            }
            None => None,
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index
            .and_then(|index| index.parse().ok())
            .ok_or(NoteError("a proof has an index"))?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() == HASHES_MAX {
                return Err(NoteError("a proof has at most 64 hashes"));
            }
            hashes.push(Digest::from_base64(line).map_err(|_| NoteError("a proof's line is no hash"))?);
        }
        Ok(Proof {
            extra,
            index,
            hashes,
            note: note.to_owned(),
        })
    }

    /// The head that covers the entry `line`, if the proof holds and one of `trusted` signed in the head's name.
    pub fn verify(&self, line: &[u8], trusted: &[Vkey]) -> Result<Checkpoint, NoteError> {
        let note = Note::parse(self.note.as_bytes())?;
        let head = Checkpoint::parse(note.text())?;
        let mut keys = trusted.iter().filter(|vkey| vkey.name() == head.origin);
        if !keys.any(|vkey| note.signed_by(vkey) == Signed::Yes) {
            return Err(NoteError("no trusted key signed the proof's head"));
        }
        if self.extra.as_deref().is_some_and(|extra| extra != line) {
            return Err(NoteError("the proof is about another entry"));
        }
        if check_inclusion(&leaf_hash(line), self.index, head.size, &self.hashes, &head.root) {
            return Ok(head);
        }
        Err(NoteError("the entry is not under the proof's head"))
    }
}

//! Heads of logs: origin, size and root in three lines.

use crate::digest::Digest;
use crate::names::Origin;

use super::{Note, NoteError, Signer};

/// How far a log has grown, and the hash over all of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checkpoint {
    /// Whose log.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// The tree's hash at that size.
    pub root: Digest,
}

/// A head, signed, and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// Key below the store's prefix.
    pub key: String,
    /// Entries below it.
    pub size: u64,
    /// The tree's hash at that size.
    pub root: Digest,
    /// Content of the file.
    pub note: String,
}

impl Checkpoint {
    /// Reads the text of a note. There are no lines beyond the three.
    pub fn parse(text: &str) -> Result<Checkpoint, NoteError> {
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError("a head has three lines"));
        };
        let canonical = size == "0" || !size.starts_with('0');
        let digits = !size.is_empty() && size.bytes().all(|c| c.is_ascii_digit());
        let size = if canonical && digits {
            size.parse().ok()
        } else {
            None
        };
        Ok(Checkpoint {
            origin: origin.to_owned(),
            size: size.ok_or(NoteError("a head's second line is its size"))?,
            root: Digest::from_base64(root).map_err(|_| NoteError("a head's third line is its root"))?,
        })
    }

    /// The text to be signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64())
    }
}

impl SignedHead {
    /// Signs a head with each of the keys: one, or two while one follows the other.
    pub fn new(
        origin: &Origin,
        size: u64,
        root: Digest,
        signers: &[&Signer],
    ) -> Result<SignedHead, NoteError> {
        let head = Checkpoint {
            origin: origin.as_str().to_owned(),
            size,
            root,
        };
        let mut note = Note::new(head.text())?;
        for signer in signers {
            note.sign(origin.as_str(), signer)?;
        }
        Ok(SignedHead {
            key: origin.checkpoint_key(size),
            size,
            root,
            note: note.to_string(),
        })
    }
}

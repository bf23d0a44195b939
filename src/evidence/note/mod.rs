//! Signed notes: a text, and under it who signs. Heads, endorsements and proofs are such texts.
//!
//! The formats are C2SP's signed-note, tlog-checkpoint, tlog-proof and tlog-policy; only Ed25519 signatures (type 1)
//! are checked, others are kept. A note's text is signed up to and including its last newline.

mod checkpoint;
mod endorsement;
mod policy;
mod proof;
mod signer;

pub use checkpoint::{Checkpoint, SignedHead};
pub use endorsement::Endorsement;
pub use policy::{Pin, Policy, Revocation};
pub use proof::Proof;
pub use signer::{Signer, SignerError};

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use codec::base64::Alphabet;

use crate::digest::{hex, sha256_of, unhex};

/// Longer notes are refused.
pub const NOTE_BYTES_MAX: usize = 64 << 10;
/// A note has at most so many signatures.
pub const SIGNATURES_MAX: usize = 16;
/// The byte before an Ed25519 public key, in ids and in texts of keys.
const ED25519_TYPE: u8 = 1;

/// Why a text is no note, no key, no head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoteError(pub(crate) &'static str);

/// The first four bytes of a hash over a key's name, its type and itself.
pub type KeyId = [u8; 4];

/// The id of an Ed25519 key under a name.
pub fn key_id(name: &str, public: &[u8; 32]) -> KeyId {
    let hash = sha256_of(&[name.as_bytes(), b"\n", &[ED25519_TYPE], public]).0;
    [hash[0], hash[1], hash[2], hash[3]]
}

// --- Vkey ---

/// A name and the Ed25519 key that signs for it: `<name>+<id>+<base64>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vkey {
    name: String,
    public: [u8; 32],
}

impl Vkey {
    /// Refuses an empty name, and one with spaces, `+` or control characters.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Vkey, NoteError> {
        let bad = |c: char| c.is_whitespace() || c == '+' || c.is_control();
        if name.is_empty() || name.contains(bad) {
            return Err(NoteError("a key's name is empty or has spaces or \"+\""));
        }
        let name = name.to_owned();
        Ok(Vkey { name, public })
    }

    /// Who signs with it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id under this name.
    pub fn id(&self) -> KeyId {
        key_id(&self.name, &self.public)
    }

    /// The key.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The same key under another name.
    pub fn named(&self, name: &str) -> Result<Vkey, NoteError> {
        Vkey::new(name, self.public)
    }
}

impl FromStr for Vkey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Vkey, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError("a key is <name>+<id>+<base64>"));
        };
        let key = codec::base64::decode(Alphabet::Standard, key)
            .ok_or(NoteError("a key's last part is no base64"))?;
        let [ED25519_TYPE, public @ ..] = &key[..] else {
            return Err(NoteError("not an Ed25519 key"));
        };
        let public = public
            .try_into()
            .map_err(|_| NoteError("an Ed25519 key has 32 bytes"))?;
        let vkey = Vkey::new(name, public)?;
        if unhex(id) != Some(vkey.id()) {
            return Err(NoteError("a key's id does not belong to its name and bytes"));
        }
        Ok(vkey)
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = [ED25519_TYPE; 33];
        key[1..].copy_from_slice(&self.public);
        let key = codec::base64::encode(Alphabet::Standard, &key);
        write!(f, "{}+{}+{key}", self.name, hex(&self.id()))
    }
}

impl fmt::Debug for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// --- Note ---

/// A text and its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature below a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// Who says to have signed.
    pub name: String,
    /// Id of the key.
    pub id: KeyId,
    /// The signature, without the id; 64 bytes for Ed25519.
    pub bytes: Vec<u8>,
}

/// What a note says about one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// Its signature stands there and holds.
    Yes,
    /// A signature in its name stands there and does not hold.
    Wrong,
    /// It did not sign.
    No,
}

impl Note {
    /// A text to be signed. Refuses one that is empty, does not end in a newline, or has other control characters.
    pub fn new(text: String) -> Result<Note, NoteError> {
        if !text.ends_with('\n') || text.len() > NOTE_BYTES_MAX {
            return Err(NoteError("a note's text ends in a newline and is at most 64 KiB"));
        }
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NoteError("a note has a control character"));
        }
        let signatures = Vec::new();
        Ok(Note { text, signatures })
    }

    /// Reads a note with at least one signature.
    pub fn parse(bytes: &[u8]) -> Result<Note, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError("a note is at most 64 KiB"));
        }
        let all = std::str::from_utf8(bytes).map_err(|_| NoteError("a note is UTF-8"))?;
        let at = all
            .rfind("\n\n")
            .ok_or(NoteError("a note has an empty line before its signatures"))?;
        let mut note = Note::new(all[..=at].to_owned())?;
        let block = all[at + 2..]
            .strip_suffix('\n')
            .ok_or(NoteError("a note ends in a newline"))?;
        for line in block.split('\n') {
            if note.signatures.len() == SIGNATURES_MAX {
                return Err(NoteError("a note has at most 16 signatures"));
            }
            let fields = line
                .strip_prefix("\u{2014} ")
                .and_then(|rest| rest.split_once(' '));
            let (name, text) = fields.ok_or(NoteError("a signature is a dash, a name and base64"))?;
            // The rule of names is that of keys.
            Vkey::new(name, [0; 32])?;
            let bytes = codec::base64::decode(Alphabet::Standard, text);
            let bytes = bytes.ok_or(NoteError("a signature is no base64"))?;
            let Some((id, bytes)) = bytes.split_first_chunk() else {
                return Err(NoteError("a signature begins with its key's id"));
            };
            note.signatures.push(NoteSignature {
                name: name.to_owned(),
                id: *id,
                bytes: bytes.to_vec(),
            });
        }
        Ok(note)
    }

    /// Adds a signature in the name `name`.
    pub fn sign(&mut self, name: &str, signer: &Signer) -> Result<(), NoteError> {
        let vkey = signer.vkey(name)?;
        if self.signatures.len() == SIGNATURES_MAX {
            return Err(NoteError("a note has at most 16 signatures"));
        }
        self.signatures.push(NoteSignature {
            name: name.to_owned(),
            id: vkey.id(),
            bytes: signer.sign(self.text.as_bytes()).to_vec(),
        });
        Ok(())
    }

    /// What is signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Who signed, unchecked.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Whether `vkey` signed. Of several signatures in its name all must hold.
    pub fn signed_by(&self, vkey: &Vkey) -> Signed {
        let id = vkey.id();
        let theirs = self
            .signatures
            .iter()
            .filter(|s| s.name == vkey.name && s.id == id);
        let key = UnparsedPublicKey::new(&ED25519, vkey.public);
        theirs.fold(Signed::No, |found, signature| {
            let holds = key.verify(self.text.as_bytes(), &signature.bytes).is_ok();
            match (found, holds) {
                (Signed::Wrong, _) | (_, false) => Signed::Wrong,
                (_, true) => Signed::Yes,
            }
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            let bytes = [&signature.id[..], &signature.bytes].concat();
            let text = codec::base64::encode(Alphabet::Standard, &bytes);
            writeln!(f, "\u{2014} {} {text}", signature.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

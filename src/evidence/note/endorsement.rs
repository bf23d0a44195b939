//! A root key's word for a writer's key: `keys/<id>.note`.

use codec::base64::Alphabet;

use super::{KeyId, Note, NoteError, Signed, Signer, Vkey, key_id};
use crate::names::{EvidenceKey, check_archive, check_writer};
use crate::time::Time;

const FIRST_LINE: &str = "weir.dev/writer-key/v1";

/// That a key may open sessions of a writer, for some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// Of which archive; also the root key's name.
    pub archive: String,
    /// Whose key; `*` for any writer.
    pub writer: String,
    /// The key.
    pub public: [u8; 32],
    /// Sessions may begin from here on,
    pub from: Time,
    /// and before this.
    pub until: Time,
}

impl Endorsement {
    /// The text to be signed.
    pub fn text(&self) -> String {
        let public = codec::base64::encode(Alphabet::Standard, &self.public);
        format!(
            "{FIRST_LINE}\narchive {}\nwriter {}\npub {public}\nfrom {}\nuntil {}\n",
            self.archive, self.writer, self.from, self.until
        )
    }

    /// Signs it with the root key.
    pub fn sign(&self, root: &Signer) -> Result<String, NoteError> {
        let mut note = Note::new(self.text())?;
        note.sign(&self.archive, root)?;
        Ok(note.to_string())
    }

    /// The key's id under the archive's name: the name of the file.
    pub fn id(&self) -> KeyId {
        key_id(&self.archive, &self.public)
    }

    /// Where it belongs in the store.
    pub fn key(&self) -> String {
        EvidenceKey::Key(self.id()).key()
    }

    /// Reads the text of a note.
    pub fn parse(text: &str) -> Result<Endorsement, NoteError> {
        let wrong = NoteError("not an endorsement of a writer's key");
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(wrong);
        }
        let mut field = |name: &str| {
            let value = lines.next()?.strip_prefix(name)?.strip_prefix(' ')?;
            Some(value.to_owned())
        };
        let fields = ["archive", "writer", "pub", "from", "until"].map(&mut field);
        let [Some(archive), Some(writer), Some(public), Some(from), Some(until)] = fields else {
            return Err(wrong);
        };
        let public =
            codec::base64::decode(Alphabet::Standard, &public).and_then(|bytes| bytes.try_into().ok());
        let (Some(public), Ok(from), Ok(until), None) = (public, from.parse(), until.parse(), lines.next())
        else {
            return Err(wrong);
        };
        if check_archive(&archive).is_err() || writer != "*" && check_writer(&writer).is_err() {
            return Err(wrong);
        }
        Ok(Endorsement {
            archive,
            writer,
            public,
            from,
            until,
        })
    }

    /// Reads a file; the signature must be by one of `roots` in the archive's name.
    pub fn verify(bytes: &[u8], roots: &[Vkey]) -> Result<Endorsement, NoteError> {
        let note = Note::parse(bytes)?;
        let endorsement = Endorsement::parse(note.text())?;
        let mut roots = roots.iter().filter(|root| root.name() == endorsement.archive);
        if roots.any(|root| note.signed_by(root) == Signed::Yes) {
            return Ok(endorsement);
        }
        Err(NoteError("no trusted root key signed this endorsement"))
    }

    /// Whether it lets `public` open a session of this writer at this time.
    pub fn covers(&self, archive: &str, writer: &str, public: &[u8; 32], at: Time) -> bool {
        let writer_fits = self.writer == "*" || self.writer == writer;
        self.archive == archive && writer_fits && self.public == *public && self.from <= at && at < self.until
    }
}

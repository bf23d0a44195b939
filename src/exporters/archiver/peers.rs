//! Heads of the other writers' logs, which this one's log remembers.
//!
//! Whoever deletes another writer's log, or cuts it off, does not change what is written here: the verifier then misses
//! what was named. Of each other writer the newest session is followed, for it names the one before it. Only heads that
//! are signed by a key that the session itself named count; the keys are read from its segments, each once.

use std::collections::BTreeMap;

use evidence::digest::Digest;
use evidence::entry::{Entry, Kind, Peer, PeerHead};
use evidence::log::SEGMENT_BYTES_MAX;
use evidence::names::{EvidenceKey, LOGS, LogFile, Origin, Session};
use evidence::note::{Checkpoint, Note, Signed, Vkey};
use objects::{ObjectStore, StoreError};
use tokio::sync::mpsc;

use super::run::Shared;

/// More writers than this are not followed.
const WRITERS_MAX: usize = 1_000;
/// Heads in an entry.
const HEADS_MAX: usize = 50;
/// Keys of a session that are kept: heads only go forward, so that the newest ones count.
const KEYS_MAX: usize = 8;
/// Newest heads of a session that are looked at before it is left for the next time.
const TRIES: usize = 8;
const NOTE_BYTES_MAX: u64 = 64 << 10;

/// What is known of the others.
#[derive(Default)]
pub(super) struct Peers {
    by_writer: BTreeMap<String, Known>,
    /// Whose log the heads were told to.
    told: Option<Origin>,
}

/// A writer's newest session.
struct Known {
    session: Session,
    origin: Option<Origin>,
    keys: Vec<Vkey>,
    /// The last of its segments that was read, and of its heads that counted.
    segment: String,
    checkpoint: String,
    head: Option<(u64, Digest)>,
    /// Size of the head that our log has.
    told: u64,
}

/// Looks now and then, and gives what our log should say, for as long as somebody listens.
pub(super) async fn follow(shared: &Shared, say: mpsc::Sender<Kind>) {
    let mut peers = Peers::default();
    loop {
        let own = shared.writer().origin();
        match peers.look(&*shared.store, &own).await {
            Ok(entries) => {
                for peer in entries {
                    if say.send(Kind::Peer(peer)).await.is_err() {
                        return;
                    }
                }
            }
            // It is looked at again; that the store is away is said by whoever writes to it.
            Err(error) => tracing::debug!(exporter = shared.id, %error, "cannot look at other writers' logs"),
        }
        tokio::time::sleep(shared.config.log.peer_interval.0).await;
    }
}

impl Peers {
    /// Reads what is new, and gives entries of heads that `own` log does not have.
    pub(super) async fn look(
        &mut self,
        store: &dyn ObjectStore,
        own: &Origin,
    ) -> Result<Vec<Peer>, StoreError> {
        self.writers(store, own.writer()).await?;
        if self.told.as_ref() != Some(own) {
            self.told = Some(own.clone());
            self.by_writer.values_mut().for_each(|known| known.told = 0);
        }
        let mut heads = Vec::new();
        for (writer, known) in &mut self.by_writer {
            // One that cannot be read says nothing against the others.
            if let Err(error) = known.look(store, writer, own.archive()).await {
                tracing::debug!(%error, writer, "cannot read another writer's log");
            }
            if let (Some(origin), Some((size, root))) = (&known.origin, known.head)
                && size > known.told
            {
                known.told = size;
                let origin = origin.to_string();
                heads.push(PeerHead { origin, size, root });
            }
        }
        let entries = heads.chunks(HEADS_MAX).map(|heads| Peer {
            heads: heads.to_vec(),
        });
        Ok(entries.collect())
    }

    /// Finds writers and sessions that were not known: a request or two for each writer.
    async fn writers(&mut self, store: &dyn ObjectStore, own: &str) -> Result<(), StoreError> {
        let own_end = format!("{LOGS}{own}/~");
        let mut from = String::new();
        loop {
            let page = store.list(LOGS, &from).await?;
            let Some(first) = page.first() else {
                return Ok(());
            };
            let found = page
                .iter()
                .find_map(|found| match EvidenceKey::parse(&found.key) {
                    Some(EvidenceKey::Log(writer, session, _)) => Some((writer, session)),
                    _ => None,
                });
            let Some((writer, session)) = found else {
                // Nothing of ours on the whole page.
                from = page.last().unwrap_or(first).key.clone();
                continue;
            };
            let next = match self.by_writer.get(&writer) {
                _ if writer == own => own_end.clone(),
                Some(known) if known.session > session => session_end(&writer, &known.session),
                _ => session_end(&writer, &session),
            };
            let is_new = self
                .by_writer
                .get(&writer)
                .is_none_or(|known| known.session < session);
            let has_room = self.by_writer.len() < WRITERS_MAX || self.by_writer.contains_key(&writer);
            if writer != own && is_new && has_room {
                self.by_writer.insert(writer, Known::new(session));
            }
            // Always forward.
            from = next.max(first.key.clone());
        }
    }
}

/// Behind all keys of a session.
fn session_end(writer: &str, session: &Session) -> String {
    format!("{LOGS}{writer}/{session}/~")
}

impl Known {
    fn new(session: Session) -> Known {
        Known {
            session,
            origin: None,
            keys: Vec::new(),
            segment: String::new(),
            checkpoint: String::new(),
            head: None,
            told: 0,
        }
    }

    /// Looks for a newer head.
    async fn look(&mut self, store: &dyn ObjectStore, writer: &str, archive: &str) -> Result<(), StoreError> {
        let prefix = format!("{LOGS}{writer}/{}/cp/", self.session);
        let mut newest: Vec<(u64, String)> = Vec::new();
        let mut after = self.checkpoint.clone();
        loop {
            let page = store.list(&prefix, &after).await?;
            let Some(last) = page.last() else { break };
            after = last.key.clone();
            newest.extend(
                page.into_iter()
                    .filter_map(|found| match EvidenceKey::parse(&found.key) {
                        Some(EvidenceKey::Log(_, _, LogFile::Checkpoint(size))) => Some((size, found.key)),
                        _ => None,
                    }),
            );
            let excess = newest.len().saturating_sub(TRIES);
            newest.drain(..excess);
        }
        let mut has_read = false;
        for (size, key) in newest.into_iter().rev() {
            let bytes = store.get(&key, None).await?.body.collect(NOTE_BYTES_MAX).await?;
            let mut head = self.head_of(&bytes, size);
            if head.is_none() && !std::mem::replace(&mut has_read, true) {
                self.learn(store, writer, archive).await?;
                head = self.head_of(&bytes, size);
            }
            if head.is_some() {
                (self.head, self.checkpoint) = (head, key);
                return Ok(());
            }
        }
        Ok(())
    }

    /// A head, if it is one of this session and of this size.
    fn head_of(&self, bytes: &[u8], size: u64) -> Option<(u64, Digest)> {
        let origin = self.origin.as_ref()?;
        let note = Note::parse(bytes).ok()?;
        let head = Checkpoint::parse(note.text()).ok()?;
        let is_signed = self.keys.iter().any(|key| note.signed_by(key) == Signed::Yes);
        (is_signed && head.origin == origin.as_str() && head.size == size).then_some((size, head.root))
    }

    /// Reads the keys that the session names, from where it was read to.
    async fn learn(
        &mut self,
        store: &dyn ObjectStore,
        writer: &str,
        archive: &str,
    ) -> Result<(), StoreError> {
        let prefix = format!("{LOGS}{writer}/{}/seg/", self.session);
        loop {
            let page = store.list(&prefix, &self.segment).await?;
            if page.is_empty() {
                return Ok(());
            }
            for found in page {
                let body = store.get(&found.key, None).await?.body;
                let bytes = body.collect(SEGMENT_BYTES_MAX as u64).await?;
                for line in bytes.split(|b| *b == b'\n').filter(|line| may_name_a_key(line)) {
                    let vkey = match Entry::parse(line).map(|entry| entry.kind) {
                        Ok(Kind::Open(open)) if self.origin.is_none() => {
                            self.origin = Origin::new(archive, writer, self.session.clone())
                                .ok()
                                .filter(|_| open.archive == archive && open.session == self.session.as_str());
                            open.vkey
                        }
                        Ok(Kind::Key(key)) => key.vkey,
                        _ => continue,
                    };
                    let own = self.origin.as_ref().map(Origin::as_str);
                    let vkey = vkey.parse::<Vkey>().ok();
                    self.keys.extend(vkey.filter(|vkey| Some(vkey.name()) == own));
                }
                let excess = self.keys.len().saturating_sub(KEYS_MAX);
                self.keys.drain(..excess);
                self.segment = found.key;
            }
        }
    }
}

/// Nearly all lines name objects: they need not be read.
fn may_name_a_key(line: &[u8]) -> bool {
    let kind = |name: &[u8]| line.windows(name.len()).take(96).any(|text| text == name);
    kind(b"\"k\":\"key\"") || kind(b"\"k\":\"open\"")
}

//! What is promised to objects that are not finished yet: claims, the notes that go with them, and completions of whole
//! sets that are safe when they are answered.
//!
//! All of it stands in one log beside the segments, of changes to what the state holds; the journal's number stands in
//! its header. The journal's thread alone writes it: those who come together share a sync. It is written anew (what still
//! counts, in place of the old one) at the first change after a start, when it has grown, and after a failure. A
//! completion is forgotten in this log once the segments' own logs have it for certain.

use std::collections::BTreeMap;
use std::io::{ErrorKind, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::append::Writer;
use super::crypt::{Cipher, Key, Lock};
use super::disk::{Disk, File, read_all, replace};
use super::format::{DestId, Seq, VERSION, crc, lock_at, padded, put_lock, u32_at, u64_at};
use super::health::Task;
use super::recover::Found;
use super::set::{Run, SET_MAX, Set};
use super::state::State;
use super::{Error, Journal, Options};
use crate::crash;

const FILE: &str = "claims";
const MAGIC: &[u8; 8] = b"WEIRCLMS";
const CHANGE_MAGIC: u32 = 0x4d4c_4357;
/// Length of one copy of the header: there are two.
const COPY: usize = 80;
const HEADER: usize = 2 * COPY;
/// In front of a change: magic, sum, and length; and up to where the file was safe before it was written, so what cannot
/// be read there is damage, and what cannot be read behind it may never have been written.
const FRONT: usize = 20;

const TOKEN_MAX: usize = 256;
const RULES_MAX: usize = 64;
const NOTE_MAX: usize = 4 << 10;
const TEXT_MAX: usize = 64 << 10;

/// The log is not written anew before it has this length, and twice that of the last time.
const COMPACT_MIN: u64 = if cfg!(test) { 2 << 10 } else { 4 << 20 };

/// Pieces of records that an object holds which is not safe yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Names it among the claims of its destination; up to 256 bytes.
    pub token: String,
    /// Name of the rules by which records of several pieces were cut; up to 64 bytes. Known as long as some of the pieces
    /// of such a record are owed.
    pub rules: String,
    /// What its owner wants to know of it again; up to 4 KiB.
    pub note: String,
    /// Which pieces.
    pub set: Set,
}

/// What a completion ended, of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Whose it was.
    pub tenant: Option<Arc<str>>,
    /// Records of which nothing is owed any more.
    pub records: u64,
    /// Items that were owed; of a record of several pieces each counts as one, and the last one as all others.
    pub items: u64,
    /// Bytes of these records.
    pub bytes: u64,
}

/// A record of several pieces, some of which are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How many it has.
    pub of: u32,
    /// Which are owed, in rising order.
    pub owed: Vec<u32>,
    /// By which rules it was cut.
    pub rules: Arc<str>,
}

/// The items that stand for a piece.
fn items_of(piece: u32, of: u32) -> Range<u32> {
    match piece + 1 == of {
        true => piece..u32::MAX,
        false => piece..piece + 1,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Claim = 1,
    Release = 2,
    /// Of a set, by the rules of its claim; the claim goes.
    Complete = 3,
    /// A text under a name: `token` and `note`.
    Note = 4,
}

/// One change to what is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    kind: Kind,
    destination: DestId,
    what: Claim,
}

/// Somebody waits for a change to be safe; `None` = only for the journal to have a number.
pub(super) struct Wish {
    change: Option<Change>,
    done: oneshot::Sender<Result<Vec<Settled>, Error>>,
}

/// What is claimed, as far as it is safe.
#[derive(Default)]
pub(super) struct Claimed {
    pub(super) id: Option<u128>,
    /// What was read at the start, until it is written anew.
    pub(super) read: Vec<Change>,
    held: BTreeMap<(DestId, String), Claim>,
    /// Records of which some pieces are done: how many there are, and the rules.
    cuts: BTreeMap<(DestId, Seq), (u32, Arc<str>)>,
    notes: BTreeMap<(DestId, String), String>,
}

impl Change {
    fn encode(&self) -> Vec<u8> {
        let set = self.what.set.to_bytes();
        let mut out = Vec::with_capacity(64 + self.what.note.len() + set.len());
        out.push(self.kind as u8);
        out.extend(self.destination.0.to_le_bytes());
        for text in [&self.what.token, &self.what.rules, &self.what.note] {
            out.extend((text.len() as u32).to_le_bytes());
            out.extend(text.as_bytes());
        }
        out.extend(set);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Change> {
        let (head, mut rest) = bytes.split_at_checked(3)?;
        let kind = match head[0] {
            1 => Kind::Claim,
            2 => Kind::Release,
            3 => Kind::Complete,
            4 => Kind::Note,
            _ => return None,
        };
        let mut text = || {
            let (len, after) = rest.split_at_checked(4)?;
            let (text, after) = after.split_at_checked(u32_at(len, 0) as usize)?;
            rest = after;
            Some(std::str::from_utf8(text).ok()?.to_owned())
        };
        let (token, rules, note) = (text()?, text()?, text()?);
        Some(Change {
            kind,
            destination: DestId(u16::from_le_bytes([head[1], head[2]])),
            what: Claim {
                token,
                rules,
                note,
                set: Set::from_bytes(rest)?,
            },
        })
    }
}

impl State {
    /// A change is safe: from now on it holds.
    pub(super) fn apply(&mut self, change: Change) -> Vec<Settled> {
        let Change {
            kind,
            destination,
            what,
        } = change;
        let key = (destination, what.token.clone());
        match kind {
            Kind::Claim => drop(self.claimed.held.insert(key, what)),
            Kind::Release => drop(self.claimed.held.remove(&key)),
            Kind::Complete => {
                self.claimed.held.remove(&key);
                return self.settle(destination, &what.set, what.rules.into());
            }
            Kind::Note if what.note.is_empty() => drop(self.claimed.notes.remove(&key)),
            Kind::Note => drop(self.claimed.notes.insert(key, what.note)),
        }
        Vec::new()
    }

    fn settle(&mut self, destination: DestId, set: &Set, rules: Arc<str>) -> Vec<Settled> {
        let mut sums: BTreeMap<Option<Arc<str>>, Settled> = BTreeMap::new();
        for run in set.runs() {
            for (seq, tenant, items, bytes) in self.owed_in(destination, run.first()..run.end()) {
                // Each piece has an item: one with more pieces than items was never cut like that.
                if matches!(&run, Run::Part { of, .. } if *of > items) {
                    continue;
                }
                let items = match &run {
                    Run::Whole { .. } => self.complete(seq, destination, 0..u32::MAX),
                    Run::Part { of, pieces, .. } => pieces
                        .iter()
                        .map(|piece| self.complete(seq, destination, items_of(*piece, *of)))
                        .sum(),
                };
                let is_over = self.remaining(seq, destination).is_empty();
                match &run {
                    Run::Part { of, .. } if !is_over => {
                        let cut = (*of, rules.clone());
                        self.claimed.cuts.entry((destination, seq)).or_insert(cut);
                    }
                    _ => drop(self.claimed.cuts.remove(&(destination, seq))),
                }
                let sum = sums.entry(tenant.clone()).or_insert_with(|| Settled {
                    tenant,
                    ..Settled::default()
                });
                sum.items += items;
                if is_over {
                    sum.records += 1;
                    sum.bytes += bytes;
                }
            }
        }
        sums.into_values().collect()
    }

    /// What is owed of a record of which some pieces are done.
    fn cut(&self, destination: DestId, seq: Seq) -> Option<Cut> {
        let (of, rules) = self.claimed.cuts.get(&(destination, seq))?;
        let left = self.remaining(seq, destination);
        let is_owed = |piece: &u32| {
            let items = items_of(*piece, *of);
            left.iter().any(|r| r.start < items.end && items.start < r.end)
        };
        Some(Cut {
            of: *of,
            owed: (0..*of).filter(is_owed).collect(),
            rules: rules.clone(),
        })
    }

    /// All that still counts, as changes to nothing.
    fn snapshot(&mut self) -> Vec<Change> {
        let mut cuts = std::mem::take(&mut self.claimed.cuts);
        cuts.retain(|(destination, seq), _| !self.remaining(*seq, *destination).is_empty());
        self.claimed.cuts = cuts;
        let mut done: BTreeMap<(DestId, Arc<str>), Set> = BTreeMap::new();
        for (destination, seq) in self.claimed.cuts.keys() {
            let Some(cut) = self.cut(*destination, *seq) else {
                continue;
            };
            let set = done.entry((*destination, cut.rules.clone())).or_default();
            let is_done = |piece: &u32| cut.owed.binary_search(piece).is_err();
            (0..cut.of)
                .filter(is_done)
                .for_each(|piece| set.add_piece(*seq, piece, cut.of));
        }
        let change = |kind, destination, what| Change {
            kind,
            destination,
            what,
        };
        let held = self.claimed.held.iter();
        let held = held.map(|((destination, _), claim)| change(Kind::Claim, *destination, claim.clone()));
        let notes = self.claimed.notes.iter().map(|((destination, name), text)| {
            let what = Claim {
                token: name.clone(),
                note: text.clone(),
                ..Claim::default()
            };
            change(Kind::Note, *destination, what)
        });
        let done = done.into_iter().map(|((destination, rules), set)| {
            let what = Claim {
                rules: rules.to_string(),
                set,
                ..Claim::default()
            };
            change(Kind::Complete, destination, what)
        });
        held.chain(notes).chain(done).collect()
    }
}

// --- the file ---

fn header(id: u128, lock: Option<&Lock>) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    let (first, second) = out.split_at_mut(COPY);
    first[..8].copy_from_slice(MAGIC);
    first[8..12].copy_from_slice(&VERSION.to_le_bytes());
    put_lock(lock, &mut first[12..]);
    first[48..64].copy_from_slice(&id.to_be_bytes());
    let sum = crc(&[&first[..COPY - 4]]);
    first[COPY - 4..].copy_from_slice(&sum.to_le_bytes());
    second.copy_from_slice(first);
    out
}

/// The journal's number and how the file is encrypted, from whichever copy is whole.
fn read_header(bytes: &[u8]) -> Result<Option<(u128, Option<Lock>)>, Error> {
    for copy in bytes.chunks_exact(COPY).take(2) {
        if &copy[..8] != MAGIC || u32_at(copy, COPY - 4) != crc(&[&copy[..COPY - 4]]) {
            continue;
        }
        let version = u32_at(copy, 8);
        if version > VERSION {
            let file = FILE.to_owned();
            return Err(Error::Version { file, version });
        }
        let id = u128::from_be_bytes(copy[48..64].try_into().expect("sixteen bytes"));
        return Ok(Some((id, lock_at(&copy[12..]))));
    }
    Ok(None)
}

/// Appends a change as it will lie at this offset of the file, which is safe up to `safe`.
fn put(change: &Change, cipher: Option<&Cipher>, (offset, safe): (u64, u64), out: &mut Vec<u8>) {
    let mut text = change.encode();
    let mut front = [0; FRONT];
    front[8..12].copy_from_slice(&(text.len() as u32).to_le_bytes());
    front[12..].copy_from_slice(&safe.to_le_bytes());
    if let Some(cipher) = cipher {
        cipher.seal(offset, &front[8..], &mut text);
    }
    let sum = crc(&[&front[8..], &text]);
    front[..4].copy_from_slice(&CHANGE_MAGIC.to_le_bytes());
    front[4..8].copy_from_slice(&sum.to_le_bytes());
    let start = out.len();
    out.extend(front);
    out.extend(text);
    out.resize(start + padded(out.len() - start), 0);
}

/// A change, the bytes that it takes, and up to where the file was safe before.
fn take(bytes: &mut [u8], cipher: Option<&Cipher>, offset: u64) -> Option<(Change, usize, usize)> {
    let (front, rest) = bytes.split_at_mut_checked(FRONT)?;
    let len = u32_at(front, 8);
    let sealed = len as usize + cipher.map_or(0, |_| super::crypt::TAG);
    let text = rest.get_mut(..sealed)?;
    if u32_at(front, 0) != CHANGE_MAGIC || u32_at(front, 4) != crc(&[&front[8..], text]) {
        return None;
    }
    let clear = match cipher {
        Some(cipher) => cipher.open(offset, &front[8..], text)?,
        None => text.len(),
    };
    let safe = usize::try_from(u64_at(front, 12)).ok()?;
    Some((Change::decode(&text[..clear])?, padded(FRONT + sealed), safe))
}

/// The journal's number, and all changes in order.
pub(super) fn read(
    disk: &dyn Disk,
    key: Option<&Key>,
    found: &mut Found,
) -> Result<(Option<u128>, Vec<Change>), Error> {
    let bytes = match disk.open(FILE) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok((None, Vec::new())),
        opened => opened.and_then(|f| read_all(&*f)),
    };
    let mut bytes = bytes.map_err(|e| Error::io("read the journal's claims", e))?;
    let Some((id, lock)) = read_header(&bytes)? else {
        found.damage.push(format!("{FILE}: the header is damaged"));
        return Ok((None, Vec::new()));
    };
    let cipher = lock.map(|lock| lock.open(FILE, key)).transpose()?;
    let (mut changes, mut gaps) = (Vec::new(), Vec::new());
    let (mut at, mut gap, mut safe) = (HEADER, None, 0);
    while at < bytes.len() {
        match take(&mut bytes[at..], cipher.as_ref(), at as u64) {
            Some((change, len, before)) => {
                gaps.extend(gap.take().map(|start| start..at));
                safe = safe.max(before);
                changes.push(change);
                at += len;
            }
            None => {
                gap.get_or_insert(at);
                at += 8;
            }
        }
    }
    gaps.extend(gap.map(|start| start..bytes.len()));
    gaps.retain(|gap| bytes[gap.clone()].iter().any(|b| *b != 0));
    let (damaged, torn): (Vec<_>, Vec<_>) = gaps.into_iter().partition(|gap| gap.start < safe);
    let tell = |gap: Range<usize>| format!("{FILE}: bytes {} to {} cannot be read", gap.start, gap.end);
    found.damage.extend(damaged.into_iter().map(tell));
    found.torn += torn.len() as u64;
    Ok((Some(id), changes))
}

/// Puts a log of these changes in place of the old one; safe when it returns.
fn replace_log(disk: &dyn Disk, options: &Options, id: u128, changes: &[&Change]) -> Result<Fresh, Error> {
    let lock = options.key.as_ref().map(Lock::new).transpose()?;
    let cipher = options.key.as_ref().zip(lock.as_ref());
    let cipher = cipher.map(|(key, lock)| key.cipher(&lock.salt));
    let mut out = header(id, lock.as_ref()).to_vec();
    for change in changes {
        // The whole file is synced before it has its name.
        let at = out.len() as u64;
        put(change, cipher.as_ref(), (at, at), &mut out);
    }
    let points = ["journal.claim.before_rename", "journal.claim.after_rename"];
    let file = replace(disk, FILE, &[IoSlice::new(&out)], points).and_then(|()| disk.open(FILE));
    let file = file.map_err(|e| Error::io("write the journal's claims", e))?;
    Ok((file, cipher, out.len() as u64))
}

/// A log that was just written, and its length.
type Fresh = (Arc<dyn File>, Option<Cipher>, u64);

/// Makes what was read safe, for from now on it is relied upon: a process that ended may have left it in the kernel alone,
/// and where a sync of it has failed no later one would say so.
pub(super) fn secure(disk: &dyn Disk, options: &Options, state: &mut State) {
    let changes = std::mem::take(&mut state.claimed.read);
    let Some(id) = state.claimed.id else { return };
    let changes: Vec<&Change> = changes.iter().collect();
    if let Err(error) = replace_log(disk, options, id, &changes) {
        tracing::warn!(%error, "the journal's claims could not be written anew; a power failure may lose some of them");
    }
}

/// The log, as far as it is open.
#[derive(Default)]
pub(super) struct ClaimLog {
    /// `None`: it is written anew before anything else.
    file: Option<(Arc<dyn File>, Option<Cipher>)>,
    len: u64,
    /// Its length when it was last written anew.
    fresh: u64,
    /// Up to here all of it is safe.
    safe: u64,
}

impl Writer {
    /// Writes what was wished for, makes it safe, and answers.
    pub(super) fn write_claims(&mut self, wishes: Vec<Wish>) {
        if wishes.is_empty() {
            return;
        }
        let changes: Vec<&Change> = wishes.iter().filter_map(|wish| wish.change.as_ref()).collect();
        let is_long = self.claims.len > COMPACT_MIN.max(2 * self.claims.fresh);
        let mut written = match self.claims.file.is_none() || is_long {
            true => self.renew_claims(&changes),
            false => self.add_claims(&changes),
        };
        if let Err(error) = &written
            && self.claims.file.take().is_some()
        {
            // Never again on that file.
            self.fails(Task::Note, error);
            written = self.renew_claims(&changes);
        }
        match written {
            Ok(()) => {
                self.works(Task::Note);
                for Wish { change, done } in wishes {
                    let settled = change.map(|change| self.shared.state.lock().apply(change));
                    let _ = done.send(Ok(settled.unwrap_or_default()));
                }
                self.shared.freed.notify_waiters();
            }
            Err(error) => {
                self.fails(Task::Note, &error);
                for wish in wishes {
                    let _ = wish.done.send(Err(error.again()));
                }
            }
        }
    }

    fn add_claims(&mut self, changes: &[&Change]) -> Result<(), Error> {
        let Some((file, cipher)) = &self.claims.file else {
            return Ok(());
        };
        let mut out = Vec::new();
        for change in changes {
            let at = self.claims.len + out.len() as u64;
            put(change, cipher.as_ref(), (at, self.claims.safe), &mut out);
        }
        crash::point("journal.claim.before_write");
        file.write_at(&[IoSlice::new(&out)], self.claims.len)
            .map_err(|e| Error::io("write the journal's claims", e))?;
        crash::point("journal.claim.after_write");
        if self.shared.options.sync {
            file.sync()
                .map_err(|e| Error::io("sync the journal's claims", e))?;
            self.claims.safe = self.claims.len + out.len() as u64;
        }
        crash::point("journal.claim.after_sync");
        self.claims.len += out.len() as u64;
        Ok(())
    }

    /// Puts a new log in place of the old one: what still counts, and these changes.
    fn renew_claims(&mut self, changes: &[&Change]) -> Result<(), Error> {
        self.claims.file = None;
        let (snapshot, dones, id) = {
            let mut state = self.shared.state.lock();
            let dones = std::mem::take(&mut state.dones);
            (state.snapshot(), dones, state.claimed.id)
        };
        // What was completed stands in the new log no more.
        self.log_now(dones)?;
        if self.shared.options.sync {
            self.sync_logs()?;
        }
        let id = id.map_or_else(new_id, Ok)?;
        let all: Vec<&Change> = snapshot.iter().chain(changes.iter().copied()).collect();
        let (file, cipher, len) = replace_log(&*self.shared.disk, &self.shared.options, id, &all)?;
        self.claims = ClaimLog {
            file: Some((file, cipher)),
            len,
            fresh: len,
            safe: len,
        };
        self.shared.state.lock().claimed.id = Some(id);
        Ok(())
    }
}

fn new_id() -> Result<u128, Error> {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| Error::io("get random bytes", ErrorKind::Other.into()))?;
    Ok(u128::from_be_bytes(id))
}

// --- the journal's side ---

impl Journal {
    /// The journal's number, which no other one has. One that has none yet gets it now.
    pub async fn identity(&self) -> Result<u128, Error> {
        let known = || self.shared().state.lock().claimed.id;
        if known().is_none() {
            self.wish(None).await?;
        }
        known().ok_or(Error::Closed)
    }

    /// When a record was first written, in milliseconds since 1970; `None` once nobody is owed anything of it.
    pub fn written_ms(&self, seq: Seq) -> Option<u64> {
        self.shared().state.lock().written_ms(seq)
    }

    /// Claims of a destination, in the order of their tokens.
    pub fn claims(&self, destination: DestId) -> Vec<Claim> {
        let state = self.shared().state.lock();
        let from = (destination, String::new());
        let held = state.claimed.held.range(from..);
        held.take_while(|((id, _), _)| *id == destination)
            .map(|(_, claim)| claim.clone())
            .collect()
    }

    /// What is owed of a record of which some pieces are done already; `None` if it was not cut, or is done.
    pub fn cut(&self, destination: DestId, seq: Seq) -> Option<Cut> {
        self.shared().state.lock().cut(destination, seq)
    }

    /// Keeps a claim, in place of one with its token; returns when it is safe. It completes nothing.
    pub async fn claim(&self, destination: DestId, claim: Claim) -> Result<(), Error> {
        bounded(&claim, NOTE_MAX)?;
        self.wish_for(Kind::Claim, destination, claim).await.map(drop)
    }

    /// Forgets a claim; returns when that is safe.
    pub async fn release(&self, destination: DestId, token: &str) -> Result<(), Error> {
        let what = Claim {
            token: token.to_owned(),
            ..Claim::default()
        };
        self.wish_for(Kind::Release, destination, what).await.map(drop)
    }

    /// A destination is done with these pieces, and the claim of this token goes; returns when that is safe, and says
    /// what was owed until then.
    pub async fn settle(&self, destination: DestId, token: &str, set: &Set) -> Result<Vec<Settled>, Error> {
        let key = (destination, token.to_owned());
        let rules = {
            let state = self.shared().state.lock();
            state.claimed.held.get(&key).map(|claim| claim.rules.clone())
        };
        let what = Claim {
            token: key.1,
            rules: rules.unwrap_or_default(),
            set: set.clone(),
            ..Claim::default()
        };
        bounded(&what, NOTE_MAX)?;
        self.wish_for(Kind::Complete, destination, what).await
    }

    /// Of a set, the records that are labelled as this one's: what is owed of them and in the set.
    pub fn owed_of(&self, destination: DestId, set: &Set, tenant: &str) -> Vec<(Seq, Vec<Range<u32>>)> {
        let state = self.shared().state.lock();
        let mut found = Vec::new();
        for run in set.runs() {
            for (seq, label, ..) in state.owed_in(destination, run.first()..run.end()) {
                if label.as_deref() != Some(tenant) {
                    continue;
                }
                let left = state.remaining(seq, destination);
                let ranges = match &run {
                    Run::Whole { .. } => left,
                    Run::Part { of, pieces, .. } => {
                        let wanted = pieces.iter().map(|piece| items_of(*piece, *of));
                        let both = |a: &Range<u32>, b: &Range<u32>| a.start.max(b.start)..a.end.min(b.end);
                        wanted
                            .flat_map(|w| left.iter().map(move |l| both(l, &w)).collect::<Vec<_>>())
                            .filter(|r| r.start < r.end)
                            .collect()
                    }
                };
                found.push((seq, ranges));
            }
        }
        found
    }

    /// Keeps a text of up to 64 KiB under a name of up to 256 bytes, in place of what had it; an empty one takes it away.
    /// Returns when it is safe.
    pub async fn note(&self, destination: DestId, name: &str, text: &str) -> Result<(), Error> {
        let what = Claim {
            token: name.to_owned(),
            note: text.to_owned(),
            ..Claim::default()
        };
        bounded(&what, TEXT_MAX)?;
        self.wish_for(Kind::Note, destination, what).await.map(drop)
    }

    /// All that was noted for a destination, by name.
    pub fn notes(&self, destination: DestId) -> Vec<(String, String)> {
        let state = self.shared().state.lock();
        let from = (destination, String::new());
        let notes = state.claimed.notes.range(from..);
        notes
            .take_while(|((id, _), _)| *id == destination)
            .map(|((_, name), text)| (name.clone(), text.clone()))
            .collect()
    }

    async fn wish_for(&self, kind: Kind, destination: DestId, what: Claim) -> Result<Vec<Settled>, Error> {
        let change = Change {
            kind,
            destination,
            what,
        };
        self.wish(Some(change)).await
    }

    async fn wish(&self, change: Option<Change>) -> Result<Vec<Settled>, Error> {
        let (done, answer) = oneshot::channel();
        {
            let mut state = self.shared().state.lock();
            if state.closing {
                return Err(Error::Closed);
            }
            state.wishes.push(Wish { change, done });
        }
        self.shared().work.notify_one();
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

fn bounded(claim: &Claim, note: usize) -> Result<(), Error> {
    let set = claim.set.to_bytes().len();
    let lens = [
        (claim.token.len(), TOKEN_MAX),
        (claim.rules.len(), RULES_MAX),
        (claim.note.len(), note),
        (set, SET_MAX),
    ];
    match lens.into_iter().find(|(len, max)| len > max) {
        Some((len, _)) => Err(Error::TooLarge { len }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sim::{Failure, SimDisk};
    use super::super::{Head, Quota};
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("it needs nothing").block_on(future)
    }

    fn open(disk: &SimDisk, key: Option<Key>) -> (Journal, DestId) {
        let options = Options {
            segment_bytes: 4096,
            key,
            ..Options::default()
        };
        let (journal, found) = Journal::open(Arc::new(disk.clone()), options).unwrap();
        assert_eq!(found.damage, Vec::<String>::new());
        let id = journal
            .destination("exporter/archive/logs", Quota::default())
            .unwrap();
        (journal, id)
    }

    fn append(journal: &Journal, to: DestId, items: u32, tenant: &str) -> Seq {
        let head = Head {
            kind: 0,
            items,
            tenant: Some(tenant.into()),
            destinations: [to].into(),
        };
        let room = journal.reserve(&head, 4).unwrap();
        block_on(journal.append(head, vec!["data".into()], room)).unwrap()
    }

    fn claim(token: &str, set: &Set) -> Claim {
        Claim {
            token: token.into(),
            rules: "rules".into(),
            note: "key size".into(),
            set: set.clone(),
        }
    }

    #[test]
    fn claims_live_until_they_are_released_or_complete() {
        for key in [None, Some(Key::new(&[7; 32]))] {
            let disk = SimDisk::default();
            let (journal, to) = open(&disk, key.clone());
            let id = block_on(journal.identity()).unwrap();
            let seqs: Vec<Seq> = (0..6).map(|_| append(&journal, to, 10, "acme")).collect();
            let whole: Set = seqs[..2].iter().copied().collect();
            let mut part = Set::new();
            part.add_piece(seqs[2], 0, 3);
            part.add_piece(seqs[2], 2, 3);
            part.add(seqs[3]);
            let late: Set = seqs[4..5].iter().copied().collect();
            let claims = [claim("a#1", &whole), claim("a#2", &part), claim("b#1", &late)];
            for claim in &claims {
                block_on(journal.claim(to, claim.clone())).unwrap();
            }
            block_on(journal.note(to, "rules", "class: a")).unwrap();
            let disk = disk.crash(1);
            let (journal, to) = open(&disk, key.clone());
            assert_eq!(block_on(journal.identity()).unwrap(), id);
            assert_eq!(journal.claims(to), claims);
            assert_eq!(journal.notes(to), [("rules".to_owned(), "class: a".to_owned())]);
            assert_eq!(journal.owed(to).len(), 6, "a claim completes nothing");

            block_on(journal.release(to, "b#1")).unwrap();
            let settled = block_on(journal.settle(to, "a#1", &whole)).unwrap();
            let bytes = journal.owed(to)[0].bytes;
            let of = |records, items, bytes| Settled {
                tenant: Some("acme".into()),
                records,
                items,
                bytes,
            };
            assert_eq!(settled, [of(2, 20, 2 * bytes)]);
            assert_eq!(
                block_on(journal.settle(to, "a#1", &whole)).unwrap(),
                [],
                "twice is once"
            );
            assert_eq!(
                block_on(journal.settle(to, "a#2", &part)).unwrap(),
                [of(1, 19, bytes)]
            );
            let check = |journal: &Journal, to| {
                assert_eq!(journal.claims(to), []);
                let cut = journal.cut(to, seqs[2]).unwrap();
                assert_eq!((cut.of, cut.owed, &*cut.rules), (3, vec![1], "rules"));
                assert_eq!(journal.remaining(seqs[2], to), [1..2]);
                let owed: Vec<Seq> = journal.owed(to).iter().map(|o| o.seq).collect();
                assert_eq!(owed, [seqs[2], seqs[4], seqs[5]]);
            };
            check(&journal, to);
            let disk = disk.crash(2);
            let (journal, to) = open(&disk, key.clone());
            check(&journal, to);
            // Written anew, it says the same.
            block_on(journal.note(to, "rules", "")).unwrap();
            let (journal, to) = open(&disk.crash(3), key.clone());
            check(&journal, to);
            assert_eq!(journal.notes(to), []);
            let mut rest = Set::new();
            rest.add_piece(seqs[2], 1, 3);
            let other = journal.owed_of(to, &rest, "acme");
            assert_eq!(other, [(seqs[2], vec![1..2])]);
            assert_eq!(journal.owed_of(to, &rest, "other"), []);
            assert_eq!(
                block_on(journal.settle(to, "", &rest)).unwrap(),
                [of(1, 1, bytes)]
            );
            assert_eq!(journal.cut(to, seqs[2]), None);
        }
    }

    #[test]
    fn a_completed_set_survives_the_log_that_it_stood_in() {
        let disk = SimDisk::default();
        let (journal, to) = open(&disk, None);
        let first = append(&journal, to, 1, "acme");
        let kept = append(&journal, to, 1, "acme");
        let set = |seq| [seq].into_iter().collect::<Set>();
        block_on(journal.settle(to, "x", &set(first))).unwrap();
        // Long notes, until the log was written anew.
        for i in 0..20 {
            block_on(journal.note(to, "n", &format!("{i}").repeat(400))).unwrap();
        }
        let len = disk.open(FILE).unwrap().len().unwrap();
        assert!(len < 3 * COMPACT_MIN, "{len}");
        for seed in 0..20 {
            let (journal, to) = open(&disk.crash(seed), None);
            let owed: Vec<Seq> = journal.owed(to).iter().map(|o| o.seq).collect();
            assert_eq!(owed, [kept], "seed {seed}");
        }
    }

    #[test]
    fn what_fails_is_told_and_goes_to_a_new_file() {
        let disk = SimDisk::default();
        let (journal, to) = open(&disk, None);
        let seq = append(&journal, to, 1, "acme");
        let set: Set = [seq].into_iter().collect();
        block_on(journal.claim(to, claim("a", &set))).unwrap();
        disk.fail(Some(Failure::Sync));
        assert!(block_on(journal.claim(to, claim("b", &set))).is_err());
        assert!(block_on(journal.settle(to, "a", &set)).is_err());
        assert_eq!(journal.owed(to).len(), 1);
        disk.fail(None);
        block_on(journal.claim(to, claim("c", &set))).unwrap();
        let tokens =
            |journal: &Journal| -> Vec<String> { journal.claims(to).into_iter().map(|c| c.token).collect() };
        assert_eq!(tokens(&journal), ["a", "c"]);
        let (after, _) = open(&disk.crash(5), None);
        assert_eq!(tokens(&after), ["a", "c"]);
        assert!(block_on(journal.claim(to, claim(&"x".repeat(257), &set))).is_err());
        journal.close();
        assert!(matches!(block_on(journal.release(to, "a")), Err(Error::Closed)));
    }

    #[test]
    fn damage_costs_one_change_and_is_told() {
        let disk = SimDisk::default();
        let (journal, to) = open(&disk, None);
        let set: Set = [append(&journal, to, 1, "acme")].into_iter().collect();
        for token in ["a", "b", "c"] {
            block_on(journal.claim(to, claim(token, &set))).unwrap();
        }
        journal.close();
        let file = disk.open(FILE).unwrap();
        let mut bytes = read_all(&*file).unwrap();
        let second = bytes.windows(5).position(|w| w == b"\x01\0\0\0b").unwrap();
        bytes[second + 4] ^= 1;
        // The second copy of the header does.
        bytes[20] ^= 1;
        file.write_at(&[IoSlice::new(&bytes)], 0).unwrap();
        let mut found = Found::default();
        let (id, changes) = read(&disk, None, &mut found).unwrap();
        assert_eq!(id, journal.shared().state.lock().claimed.id);
        let tokens: Vec<&str> = changes.iter().map(|c| c.what.token.as_str()).collect();
        assert_eq!(tokens, ["a", "c"]);
        assert_eq!((found.damage.len(), found.torn), (1, 0), "{:?}", found.damage);
        file.set_len(bytes.len() as u64 - 8).unwrap();
        let mut found = Found::default();
        assert_eq!(read(&disk, None, &mut found).unwrap().1.len(), 1);
        assert_eq!((found.damage.len(), found.torn), (0, 1));
    }

    #[test]
    fn rubbish_is_no_change() {
        let change = Change {
            kind: Kind::Claim,
            destination: DestId(3),
            what: claim("token", &[Seq(1), Seq(7)].into_iter().collect()),
        };
        let good = change.encode();
        assert_eq!(Change::decode(&good), Some(change));
        for cut in 0..good.len() - 1 {
            // Whatever is read of it is not longer than it.
            let read = Change::decode(&good[..cut]);
            assert!(read.is_none_or(|c| c.encode().len() <= cut), "{cut}");
        }
        assert_eq!(Change::decode(&[9, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Change::decode(&[1, 0, 0, 255, 255, 255, 255]), None);
    }
}

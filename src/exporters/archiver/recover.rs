//! Restart: from what lies in the state directory, in the journal and in the store, to a log that goes on.
//!
//! The state directory is there: the same session goes on, and each object where it stood. It is gone: a new session
//! begins, names the one before, and takes over what the journal says was on its way. In both cases nothing is put that
//! the journal might bring again, and nothing comes again that was put.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use component::Claim;
use component::prelude::*;
use evidence::digest::Digest;
use evidence::entry::{Entry, Head, Kind};
use evidence::log::{Log, SEGMENT_BYTES_MAX, Segment};
use evidence::names::{EvidenceKey, LOGS, LogFile, Origin, Session as SessionId};
use evidence::note::{Checkpoint, NOTE_BYTES_MAX, Note, Signed, Vkey};
use evidence::time::Time;
use objects::{ObjectStore, StoreError};

use super::books::Books;
use super::disk;
use super::keys::Signs;
use super::state::{Begun, Live, State};
use super::writer::{Seqs, Session, from_index, is_stale};

/// A session as it goes on.
pub(super) struct Recovered {
    pub(super) log: Log,
    /// Sealed, and perhaps not in the store.
    pub(super) segments: Vec<Segment>,
    /// The log before the last of them was sealed.
    pub(super) unsealed: Option<Log>,
    /// Length of `next.jsonl`.
    pub(super) next_bytes: u64,
    pub(super) covered: u64,
    /// The tree's hash there.
    pub(super) root: Digest,
    pub(super) books: Books,
    pub(super) seqs: Seqs,
    pub(super) state: State,
    pub(super) clean: bool,
    /// The journals of the life before; none if it is not known.
    pub(super) journals: Option<Vec<String>>,
    /// Numbers of other sessions that this one explained, as far as it matters.
    pub(super) adopted: BTreeSet<Named>,
    /// Which key signs after the last head that is known.
    pub(super) signs: Option<Signs>,
    /// The `key` entry above it: its index, and the key.
    pub(super) announced: Option<(u64, String)>,
}

/// A number of a session.
pub(super) type Named = (Origin, u64);

/// A session that another one follows, as far as the store has it under a signed head.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) origin: Origin,
    pub(super) head: Head,
    /// Numbers of its objects.
    pub(super) named: BTreeSet<u64>,
    /// Numbers that it gave, and that no entry of it explains.
    pub(super) missing: BTreeSet<u64>,
    /// What it explained of others.
    pub(super) adopted: BTreeSet<Named>,
}

/// More numbers than this were never given and not named.
const MISSING_MAX: usize = 1 << 17;

fn adopted_of(kind: &Kind) -> Option<Named> {
    let adopted = match kind {
        Kind::Obj(obj) => obj.adopted.as_ref(),
        Kind::Gap(gap) => gap.adopted.as_ref(),
        _ => None,
    };
    adopted.and_then(|adopted| Some((adopted.origin.parse().ok()?, adopted.seq)))
}

/// Why a state directory cannot be used, and what to do.
fn unusable(dir: &Path, what: &str) -> Fault {
    Fault::World(format!(
        "the archive's state in {} cannot be used: {what}; restore it from a copy, or move it away: the archive then \
         begins a new session and takes over what its journal has",
        dir.display()
    ))
}

/// Reads a state directory; none if it has no session yet. Blocks.
pub(super) fn read(dir: &Path, archive: &str, writer: &str) -> Result<Option<Recovered>, Fault> {
    let io = |error: std::io::Error| unusable(dir, &error.to_string());
    let Some(text) = disk::read(&dir.join("session.json")).map_err(io)? else {
        return Ok(None);
    };
    let session: Session =
        serde_json::from_slice(&text).map_err(|e| unusable(dir, &format!("session.json: {e}")))?;
    let origin: Origin = session
        .origin
        .parse()
        .map_err(|_| unusable(dir, "session.json names no session"))?;
    if (origin.archive(), origin.writer()) != (archive, writer) {
        return Err(unusable(
            dir,
            &format!("it is that of {}/{}", origin.archive(), origin.writer()),
        ));
    }
    let next = disk::read(&dir.join("next.jsonl"))
        .map_err(io)?
        .unwrap_or_default();
    let lines = from_index(&next, session.log.size);
    let resumed =
        Log::resume(origin, &session.log, lines).map_err(|e| unusable(dir, &format!("next.jsonl: {e}")))?;
    if lines.len() < next.len() {
        disk::replace(&dir.join("next.jsonl"), &lines[..resumed.whole]).map_err(io)?;
    }
    let journal = disk::read(&dir.join("journal.jsonl"))
        .map_err(io)?
        .unwrap_or_default();
    let (mut state, _) = State::read(&journal).map_err(|e| unusable(dir, &format!("journal.jsonl: {e}")))?;
    let mut books = Books::restore(&session.books);
    let mut named = BTreeSet::new();
    let mut announced = None;
    let mut adopted: BTreeSet<Named> = resumed
        .entries
        .iter()
        .filter_map(|e| adopted_of(&e.kind))
        .collect();
    let live = state
        .live
        .values()
        .filter_map(|live| live.sealed.obj.adopted.as_ref());
    adopted.extend(live.filter_map(|a| Some((a.origin.parse().ok()?, a.seq))));
    for [seq, i] in &session.named {
        if let Some(live) = state.live.get_mut(seq) {
            live.logged = Some(*i);
        }
    }
    for seq in &session.gaps {
        state.gaps.insert(*seq);
        state.live.remove(seq);
    }
    for Entry { i, kind, .. } in &resumed.entries {
        match kind {
            Kind::Obj(obj) => {
                named.insert(obj.seq);
                books.follow_object(&obj.tenant, &obj.signal, obj.n);
                if let Some(live) = state.live.get_mut(&obj.seq) {
                    (live.put, live.logged) = (Some(obj.ver.clone()), Some(*i));
                }
            }
            Kind::Gap(gap) => {
                named.extend(gap.seq);
                state.gaps.extend(gap.seq);
                if let Some(seq) = gap.seq {
                    state.live.remove(&seq);
                }
            }
            Kind::Ledger(ledger) => books.follow(ledger),
            Kind::Key(key) => announced = Some((*i, key.vkey.clone())),
            _ => {}
        }
    }
    let on_the_way = |live: &&Live| live.logged.is_none();
    books.settle(state.live.values().filter(on_the_way).map(|live| {
        let obj = &live.sealed.obj;
        (obj.tenant.as_str(), obj.signal.as_str(), obj.n)
    }));
    let seqs = {
        let most = state
            .seen
            .last()
            .map_or(0, |seq| seq + 1)
            .max(named.last().map_or(0, |seq| seq + 1));
        let next = session.next_seq.max(most);
        let unnamed: BTreeSet<u64> = session
            .unnamed
            .iter()
            .copied()
            .chain(session.next_seq..next)
            .collect();
        let unnamed = unnamed
            .into_iter()
            .filter(|seq| !named.contains(seq) && !state.gaps.contains(seq));
        Seqs::new(next, unnamed, |seq| {
            state.live.get(&seq).is_some_and(|live| live.logged.is_none())
        })
    };
    Ok(Some(Recovered {
        next_bytes: resumed.whole as u64,
        covered: session.log.size,
        root: session.log.prev.as_ref().map_or_else(nothing, |prev| prev.root),
        log: resumed.log,
        segments: resumed.segments,
        unsealed: resumed.unsealed,
        adopted,
        books,
        seqs,
        state,
        clean: session.clean && resumed.entries.is_empty(),
        journals: Some(session.journals),
        signs: Some(session.signs),
        announced,
    }))
}

/// Lets a log go on in its last segment if that is old and not in the store: it then ends with an entry of now.
pub(super) async fn go_on(recovered: &mut Recovered, store: &dyn ObjectStore, now: Time) {
    let [segment] = recovered.segments.as_slice() else {
        return;
    };
    if !is_stale(segment.last, now) || recovered.log.is_closed() {
        return;
    }
    // Who cannot tell sends it as it is.
    let asked = store.head(&segment.key, None).await;
    let is_missing = asked.is_err_and(|error| error.class == objects::Class::NotFound);
    if let Some(log) = recovered.unsealed.take_if(|_| is_missing) {
        recovered.log = log;
        recovered.segments.clear();
    }
}

/// The tree's hash of a log without entries.
fn nothing() -> Digest {
    evidence::tree::Tree::default().root()
}

/// A session that begins now.
pub(super) fn fresh(archive: &str, writer: &str, now: Time) -> Result<Recovered, Fault> {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| Fault::World("no random bytes for a new session".into()))?;
    let origin = Origin::new(archive, writer, SessionId::new(now, random));
    let origin = origin.map_err(|e| Fault::World(e.to_string()))?;
    Ok(Recovered {
        log: Log::open(origin),
        segments: Vec::new(),
        unsealed: None,
        adopted: BTreeSet::new(),
        root: nothing(),
        next_bytes: 0,
        covered: 0,
        books: Books::new(now),
        seqs: Seqs::default(),
        state: State::default(),
        clean: true,
        journals: None,
        signs: None,
        announced: None,
    })
}

/// Deletes the parts that nobody needs: those that were never sealed come again, but for those of `keep`. Blocks.
pub(super) fn sweep(spool: &Path, state: &State, keep: &[Begun]) -> std::io::Result<u64> {
    let mut kept = 0;
    for entry in std::fs::read_dir(spool)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let seq = name
            .strip_suffix(".part")
            .and_then(|name| name.parse::<u64>().ok());
        let open = name.strip_suffix(".open");
        let is_kept = open.is_some_and(|open| keep.iter().any(|begun| begun.part == open));
        match seq.is_some_and(|seq| state.live.contains_key(&seq)) || is_kept {
            true => kept += entry.metadata()?.len(),
            false => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(kept)
}

/// The latest session of this writer that the store knows, besides this one.
///
/// Its head must be signed by the key that the session itself names for it: what is not is no head of ours.
pub(super) async fn before(
    store: &dyn ObjectStore,
    writer: &str,
    own: &SessionId,
) -> Result<Option<Before>, StoreError> {
    let prefix = format!("{LOGS}{writer}/");
    let mut latest: Option<SessionId> = None;
    let mut after = String::new();
    loop {
        let page = store.list(&prefix, &after).await?;
        let Some(last) = page.last() else { break };
        // Behind all that a session has.
        after = last.key.clone();
        for found in &page {
            if let Some(EvidenceKey::Log(_, session, _)) = EvidenceKey::parse(&found.key) {
                after = format!("{prefix}{session}/~");
                if session != *own && latest.as_ref().is_none_or(|known| session > *known) {
                    latest = Some(session);
                }
            }
        }
        if after <= last.key {
            after = last.key.clone();
        }
    }
    match latest {
        Some(session) => session_of(store, writer, &session).await,
        None => Ok(None),
    }
}

/// What a segment says of numbers.
#[derive(Default)]
struct Numbers {
    named: BTreeSet<u64>,
    gaps: BTreeSet<u64>,
    adopted: BTreeSet<Named>,
    /// Of the newest ledger.
    pend: Option<Vec<[u64; 2]>>,
}

/// One session as the store has it; none if it has no head that it signed itself.
pub(super) async fn session_of(
    store: &dyn ObjectStore,
    writer: &str,
    session: &SessionId,
) -> Result<Option<Before>, StoreError> {
    let mut segments: BTreeMap<u64, String> = BTreeMap::new();
    let mut heads: BTreeMap<u64, String> = BTreeMap::new();
    let prefix = format!("{LOGS}{writer}/{session}/");
    let mut after = String::new();
    loop {
        let page = store.list(&prefix, &after).await?;
        let Some(last) = page.last() else { break };
        after = last.key.clone();
        for found in page {
            match EvidenceKey::parse(&found.key) {
                // Larger ones are not what a writer made.
                Some(EvidenceKey::Log(_, _, LogFile::Segment(start)))
                    if found.size <= SEGMENT_BYTES_MAX as u64 =>
                {
                    segments.insert(start, found.key);
                }
                Some(EvidenceKey::Log(_, _, LogFile::Checkpoint(size)))
                    if found.size <= NOTE_BYTES_MAX as u64 =>
                {
                    heads.insert(size, found.key);
                }
                _ => {}
            }
        }
    }
    // Segment by segment, so that no more than one is in memory.
    let mut log: Option<Log> = None;
    let mut vkeys: Vec<(u64, Vkey)> = Vec::new();
    let mut open: BTreeMap<u64, Numbers> = BTreeMap::new();
    let mut roots = BTreeMap::new();
    for key in segments.values() {
        let max = SEGMENT_BYTES_MAX as u64;
        let bytes = store.get(key, None).await?.body.collect(max).await?;
        let parsed = match &log {
            None => first_segment(&bytes),
            Some(log) => log
                .state()
                .and_then(|state| Log::resume(log.origin().clone(), &state, &bytes).ok()),
        };
        let Some(resumed) = parsed.filter(|resumed| resumed.whole == bytes.len()) else {
            break;
        };
        let numbers = open.entry(resumed.log.size()).or_default();
        for entry in &resumed.entries {
            numbers.adopted.extend(adopted_of(&entry.kind));
            match &entry.kind {
                Kind::Open(open) if vkeys.is_empty() => {
                    vkeys.extend(open.vkey.parse().ok().map(|vkey| (entry.i, vkey)));
                }
                Kind::Key(key) => vkeys.extend(key.vkey.parse().ok().map(|vkey| (entry.i, vkey))),
                Kind::Obj(obj) => {
                    numbers.named.insert(obj.seq);
                }
                Kind::Gap(gap) => numbers.gaps.extend(gap.seq),
                Kind::Ledger(ledger) => numbers.pend = Some(ledger.pend.clone()),
                _ => {}
            }
        }
        roots.insert(resumed.log.size(), resumed.log.root());
        log = Some(resumed.log);
    }
    let Some(log) = log else {
        return Ok(None);
    };
    for (size, key) in heads.iter().rev() {
        let bytes = store
            .get(key, None)
            .await?
            .body
            .collect(NOTE_BYTES_MAX as u64)
            .await?;
        let Ok(note) = Note::parse(&bytes) else { continue };
        let Ok(head) = Checkpoint::parse(note.text()) else {
            continue;
        };
        let vkey = vkeys.iter().rev().find(|(index, _)| index < size);
        let signed = vkey.is_some_and(|(_, vkey)| note.signed_by(vkey) == Signed::Yes);
        let fits = head.origin == log.origin().as_str() && head.size == *size;
        if signed && fits && roots.get(size) == Some(&head.root) {
            let head = Head {
                session: session.to_string(),
                size: *size,
                root: head.root,
            };
            return Ok(Some(Before::new(log.origin(), head, open)));
        }
    }
    Ok(None)
}

impl Before {
    fn new(origin: &Origin, head: Head, segments: BTreeMap<u64, Numbers>) -> Before {
        let mut all = Numbers::default();
        for (_, segment) in segments.into_iter().filter(|(size, _)| *size <= head.size) {
            all.named.extend(segment.named);
            all.gaps.extend(segment.gaps);
            all.adopted.extend(segment.adopted);
            all.pend = segment.pend.or(all.pend);
        }
        let last = all.named.last().max(all.gaps.last()).copied();
        let below = (0..=u64::MAX).take_while(|seq| last.is_some_and(|last| *seq <= last));
        let pend = all.pend.into_iter().flatten().flat_map(|[from, to]| from..=to);
        let missing = below.chain(pend.take(MISSING_MAX));
        let missing = missing
            .filter(|seq| !all.named.contains(seq) && !all.gaps.contains(seq))
            .take(MISSING_MAX)
            .collect();
        Before {
            origin: origin.clone(),
            head,
            named: all.named,
            missing,
            adopted: all.adopted,
        }
    }
}

/// The first segment says whose log it is.
fn first_segment(bytes: &[u8]) -> Option<evidence::log::Resumed> {
    let opened =
        bytes
            .split(|b| *b == b'\n')
            .take(3)
            .find_map(|line| match Entry::parse(line).ok()?.kind {
                Kind::Open(open) => Some(open),
                _ => None,
            })?;
    let origin = Origin::new(&opened.archive, &opened.writer, opened.session.parse().ok()?).ok()?;
    let empty = Log::open(origin.clone()).state()?;
    Log::resume(origin, &empty, bytes).ok()
}

/// Whose claim it is: the session, and the number there.
pub(super) fn owner(claim: &Claim) -> Option<Named> {
    let (origin, seq) = claim.token.rsplit_once('#')?;
    Some((origin.parse().ok()?, seq.parse().ok()?))
}

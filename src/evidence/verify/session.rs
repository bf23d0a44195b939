//! One log, read from its first entry on: chain, tree, heads, entries.
//!
//! Give all checkpoints first, then the segments in the order of their names. What is learnt about objects comes back
//! segment by segment; what needs other sessions is kept for [`Verifier`](super::Verifier).

use std::collections::BTreeMap;
use std::fmt;

use wire::Signal;

use super::books::Books;
use super::ranges::Ranges;
use super::report::{Claim, Finding, Findings, Hole, Severity, Totals};
use super::{Expected, Level, Options, Trust};
use crate::digest::{Digest, hex, sha256};
use crate::entry::{Audit, Entry, Gap, Hold, Kind, Obj, Open, Prev, Shred};
use crate::names::{BadName, Compression, DATA, EvidenceKey, Format, LogFile, OWN_TENANT, Origin, Session};
use crate::note::{Checkpoint, KeyId, Note, Signed, Vkey};
use crate::time::Time;
use crate::tree::Tree;

/// Sees an entry of a log, and its index.
pub type Watch = Box<dyn FnMut(u64, &Entry) + Send>;

#[derive(Default)]
struct Watching(Option<Watch>);

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Watching" } else { "Alone" })
    }
}

/// One log, being read.
#[derive(Debug)]
pub struct SessionReader {
    trust: Trust,
    options: Options,
    writer: String,
    session: Session,
    origin: Option<Origin>,
    heads: Vec<Head>,
    next_head: usize,
    tree: Tree,
    /// Whether a segment is missing, so that no later root can be known.
    broken: bool,
    count: u64,
    prev: Option<Prev>,
    last: Option<Time>,
    /// When the last segment began.
    last_segment: Option<Time>,
    /// Who may sign the next head.
    active: Vec<Vkey>,
    /// Who will, once a head covers this index.
    pending: Option<(u64, Vkey)>,
    /// Who did.
    retired: Vec<Vkey>,
    seqs: Ranges,
    books: Books,
    found: Findings,
    watch: Watching,
    out: SessionOutcome,
}

/// What one log says, for the comparison with others.
#[derive(Debug, Default)]
pub struct SessionOutcome {
    pub(super) origin: String,
    pub(super) archive: Option<String>,
    pub(super) writer: String,
    pub(super) session: String,
    pub(super) found: Findings,
    pub(super) totals: Totals,
    /// Roots at each segment's end and at each head.
    pub(super) roots: BTreeMap<u64, Digest>,
    /// The newest head with a trusted signature, whether its root is ours or not.
    pub(super) top: u64,
    /// The newest head that is good.
    pub(super) head: Option<(u64, Digest)>,
    pub(super) count: u64,
    /// Time of the first entry that no head covers.
    pub(super) unsealed_since: Option<Time>,
    pub(super) keys: Vec<KeyId>,
    pub(super) first: Option<Time>,
    pub(super) last: Option<Time>,
    pub(super) closed: bool,
    pub(super) open: Option<Open>,
    /// Heads of other sessions: origin, size, root, and which entry says so.
    pub(super) claims: Vec<(String, u64, Digest, String)>,
    /// Numbers below the largest that nobody names, and those pending in the newest ledger.
    pub(super) unnamed: Vec<[u64; 2]>,
    pub(super) pending: Vec<[u64; 2]>,
    pub(super) adopted: Vec<(String, u64)>,
    /// Hashes of the keys of its objects, with a place for those that were adopted.
    pub(super) named: Vec<(u128, bool)>,
    pub(super) holds: Vec<(Time, Hold, String)>,
    pub(super) shreds: Vec<Shred>,
    pub(super) anchors: Vec<Anchor>,
    /// Some records of the gateway's own are kept in a way that cannot be read here.
    pub(super) unread_own: bool,
    /// When it last began anew after a stop that was not orderly.
    pub(super) unclean: Option<Time>,
    pub(super) holes: Vec<Hole>,
    /// Segments that do not follow and heads that nobody trusted signed.
    pub(super) foreign_segments: Vec<String>,
    pub(super) foreign_heads: Vec<(u64, String)>,
    pub(super) unlocked: bool,
    /// A key lies outside of `data/`.
    pub(super) is_shared: bool,
    pub(super) locked: bool,
}

/// An entry that names a record of the gateway's own.
#[derive(Debug)]
pub(super) struct Anchor {
    pub(super) t: Time,
    pub(super) seq: u64,
    pub(super) hash: Digest,
    pub(super) place: String,
}

#[derive(Debug)]
struct Head {
    key: String,
    note: Note,
    head: Checkpoint,
}

impl SessionOutcome {
    /// Whose log it is: `<archive>/<writer>/<session>`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Size and root of the newest head that is good; what lies above it nobody signed yet.
    pub fn head(&self) -> Option<(u64, Digest)> {
        self.head
    }

    /// The root over the first `size` entries, where a segment or a good head ends there.
    pub fn root_at(&self, size: u64) -> Option<Digest> {
        self.roots.get(&size).copied()
    }

    /// Time of the last entry.
    pub fn last(&self) -> Option<Time> {
        self.last
    }

    /// Whether nothing will follow.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// What shows that the log is not what was signed: the first failure of its chain, its signatures or its entries.
    pub fn broken(&self) -> Option<&Finding> {
        let claims = [Claim::I2, Claim::I3, Claim::C1];
        let fails = |f: &&Finding| f.severity == Severity::Fail && claims.contains(&f.claim);
        self.found.kept.iter().find(fails)
    }
}

/// A short stand-in for an object's key, wide enough that two never share one by chance.
pub(super) fn key_hash(key: &str) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&sha256(key.as_bytes()).0[..16]);
    u128::from_be_bytes(bytes)
}

impl SessionReader {
    /// Begins with a log that lies below `log/<writer>/<session>/`.
    pub fn new(
        trust: &Trust,
        options: &Options,
        writer: &str,
        session: &Session,
    ) -> Result<SessionReader, BadName> {
        crate::names::check_writer(writer)?;
        let origin = trust.origin(writer, session);
        let active = origin
            .as_ref()
            .map(|origin| trust.first_keys(origin))
            .unwrap_or_default();
        let name = origin
            .as_ref()
            .map_or_else(|| format!("?/{writer}/{session}"), Origin::to_string);
        Ok(SessionReader {
            trust: trust.clone(),
            options: options.clone(),
            writer: writer.to_owned(),
            session: session.clone(),
            heads: Vec::new(),
            next_head: 0,
            tree: Tree::default(),
            broken: false,
            count: 0,
            prev: None,
            last: None,
            last_segment: None,
            active,
            pending: None,
            retired: Vec::new(),
            seqs: Ranges::default(),
            books: Books::default(),
            found: Findings::default(),
            watch: Watching::default(),
            out: SessionOutcome {
                roots: [(0, Tree::default().root())].into(),
                origin: name,
                archive: origin.as_ref().map(|o| o.archive().to_owned()),
                writer: writer.to_owned(),
                session: session.to_string(),
                ..SessionOutcome::default()
            },
            origin,
        })
    }

    /// Lets somebody see the entries of all segments from here on that belong to the log, in their order and whether
    /// signed or not: what is counted of them is counted of the bytes that are verified.
    pub fn watch(&mut self, watch: Watch) {
        self.watch = Watching(Some(watch));
    }

    /// Takes the file `cp/<size>.txt`. All of them must come before the first segment.
    pub fn checkpoint(&mut self, size: u64, bytes: &[u8]) {
        let key = self.file(LogFile::Checkpoint(size));
        let parsed = Note::parse(bytes).and_then(|note| Ok((Checkpoint::parse(note.text())?, note)));
        match parsed {
            Ok((head, note)) => {
                if head.size != size {
                    let detail = format!("the head in it is of size {}", head.size);
                    self.found.warn(Claim::I3, "misnamed", &key, detail);
                }
                let at = self.heads.partition_point(|h| h.head.size <= head.size);
                self.heads.insert(at, Head { key, note, head });
            }
            Err(_) => self.out.foreign_heads.push((size, key)),
        }
    }

    /// Takes the file `seg/<start>.jsonl` and gives the objects that it names, within the options' range, to be looked
    /// at in the store. `modified` is the store's time of the file, if it has one.
    pub fn segment(&mut self, start: u64, bytes: &[u8], modified: Option<Time>) -> Vec<Expected> {
        let key = self.file(LogFile::Segment(start));
        let first = bytes.split(|c| *c == b'\n').next().unwrap_or_default();
        let first = Entry::parse(first);
        let head = first.as_ref().ok().and_then(|entry| match &entry.kind {
            Kind::Seg(seg) => Some(seg),
            _ => None,
        });
        let follows =
            start == self.count && head.is_some_and(|seg| seg.start == start && seg.prev == self.prev);
        if !follows && start >= self.signed_top() {
            self.out.foreign_segments.push(key);
            return Vec::new();
        }
        if start != self.count {
            let detail = format!("{} entries come before it", self.count);
            self.found.fail(Claim::C1, "segment_gap", &key, detail);
            self.broken = true;
            self.count = start;
        } else if !follows && !self.broken {
            let expected = self
                .prev
                .as_ref()
                .map_or_else(|| "nothing".to_owned(), |p| p.sha256.to_string());
            let detail = format!("it does not say that {expected} comes before it");
            self.found.fail(Claim::I2, "chain_broken", &key, detail);
        }
        let Some(body) = bytes.strip_suffix(b"\n") else {
            self.found
                .fail(Claim::I2, "torn", &key, "no newline at its end".to_owned());
            return Vec::new();
        };
        if bytes.len() > crate::log::SEGMENT_BYTES_MAX {
            self.found
                .fail(Claim::I2, "oversized", &key, format!("{} bytes", bytes.len()));
        }
        let from = self.last;
        let mut expected = Vec::new();
        for line in body.split(|c| *c == b'\n') {
            self.line(line, self.count == start, from, &mut expected);
        }
        self.prev = Some(Prev {
            start,
            sha256: sha256(bytes),
            root: self.tree.root(),
        });
        self.end_segment(&key, modified);
        expected
    }

    fn end_segment(&mut self, key: &str, modified: Option<Time>) {
        if !self.broken {
            self.out.roots.insert(self.count, self.tree.root());
        }
        let (Some(modified), Some(last)) = (modified, self.last) else {
            return;
        };
        self.found.checked(Claim::P2, 1);
        super::clocks(&mut self.found, key, last, modified);
    }

    fn line(&mut self, line: &[u8], is_first: bool, from: Option<Time>, expected: &mut Vec<Expected>) {
        let index = self.count;
        self.count += 1;
        self.found.checked(Claim::I2, 1);
        self.out.totals.entries += 1;
        if !self.broken {
            self.tree.push(line);
        }
        match Entry::parse(line) {
            Ok(entry) => {
                if let Some(watch) = &mut self.watch.0 {
                    watch(index, &entry);
                }
                self.entry(index, entry, is_first, from, expected);
            }
            Err(e) => self
                .found
                .fail(Claim::I2, "malformed", self.place(index), e.to_string()),
        }
        // Heads are looked at where the tree has just their size.
        while self
            .heads
            .get(self.next_head)
            .is_some_and(|h| h.head.size <= self.count)
        {
            self.head(self.next_head);
            self.next_head += 1;
        }
        if self.count > self.out.top && self.out.unsealed_since.is_none() {
            self.out.unsealed_since = self.last;
        }
    }

    fn entry(
        &mut self,
        index: u64,
        entry: Entry,
        is_first: bool,
        from: Option<Time>,
        expected: &mut Vec<Expected>,
    ) {
        if entry.i != index {
            let detail = format!("says that it is entry {}", entry.i);
            self.found.fail(Claim::I2, "index", self.place(index), detail);
        }
        if let Some(last) = self.last.filter(|last| entry.t < *last) {
            let detail = format!("{} after {last}", entry.t);
            self.found
                .fail(Claim::I2, "time_order", self.place(index), detail);
        }
        if matches!(entry.kind, Kind::Seg(_)) != is_first {
            let detail = format!("a {} entry", entry.kind.name());
            self.found
                .fail(Claim::I2, "segment_head", self.place(index), detail);
        }
        if matches!(entry.kind, Kind::Open(_)) != (index == 1) {
            let detail = format!("a {} entry", entry.kind.name());
            self.found
                .fail(Claim::I2, "session_head", self.place(index), detail);
        }
        if self.out.closed {
            self.found.fail(
                Claim::I2,
                "after_close",
                self.place(index),
                entry.kind.name().to_owned(),
            );
        }
        if is_first {
            self.coverage(from, entry.t);
        }
        self.last = self.last.max(Some(entry.t));
        self.out.first.get_or_insert(entry.t);
        if let (Kind::Start(start), Some(hole)) = (&entry.kind, self.out.holes.last_mut())
            && hole
                .to
                .is_some_and(|to| entry.t.since(to) < self.options.heartbeat_ms)
            && hole.why == "silent"
        {
            hole.why = if start.clean { "restart" } else { "unclean_restart" };
        }
        self.kind(index, entry.t, entry.kind, expected);
    }

    fn kind(&mut self, index: u64, t: Time, kind: Kind, expected: &mut Vec<Expected>) {
        match kind {
            Kind::Open(open) => self.open(index, t, open),
            Kind::Start(start) => {
                self.books.started(start.clean);
                if !start.clean {
                    self.out.unclean = Some(t);
                }
            }
            Kind::Worm(worm) => {
                self.out.unlocked = worm.worm == "none";
                self.out.locked = !self.out.unlocked;
            }
            Kind::Obj(obj) => self.obj(index, t, *obj, expected),
            Kind::Gap(gap) => self.gap(index, &gap),
            Kind::Ledger(ledger) => {
                let place = self.place(index);
                self.books
                    .ledger(&ledger, &place, &mut self.out.totals, &mut self.found);
                self.out.pending = ledger.pend.into_iter().filter(|[from, to]| from <= to).collect();
            }
            Kind::Audit(audit) => {
                let place = self.place(index);
                let Audit { seq, hash } = audit;
                self.out.anchors.push(Anchor { t, seq, hash, place });
            }
            Kind::Peer(peer) => {
                let place = self.place(index);
                let heads = peer
                    .heads
                    .into_iter()
                    .map(|h| (h.origin, h.size, h.root, place.clone()));
                self.out.claims.extend(heads);
            }
            Kind::Key(key) => self.key(index, &key.vkey),
            Kind::Hold(hold) => self.out.holds.push((t, hold, self.place(index))),
            Kind::Shred(shred) => self.out.shreds.push(shred),
            Kind::Close(_) => self.out.closed = true,
            Kind::Seg(_)
            | Kind::Retain(_)
            | Kind::Restore(_)
            | Kind::Cfg(_)
            | Kind::Anchor(_)
            | Kind::Note(_)
            | Kind::Other(_) => {}
        }
    }

    fn open(&mut self, index: u64, t: Time, open: Open) {
        let place = self.place(index);
        let own = (open.writer.as_str(), open.session.as_str());
        let archive_fits = self.origin.as_ref().is_none_or(|o| o.archive() == open.archive);
        if own != (self.writer.as_str(), self.session.as_str()) || !archive_fits {
            let detail = format!("it opens {}/{}/{}", open.archive, open.writer, open.session);
            self.found.fail(Claim::I2, "other_session", &place, detail);
        }
        if self.origin.is_none() {
            self.origin = Origin::new(&open.archive, &self.writer, self.session.clone()).ok();
            if let Some(origin) = &self.origin {
                self.out.origin = origin.to_string();
            }
        }
        let key = open.vkey.parse::<Vkey>().ok();
        let trusted = key
            .as_ref()
            .zip(self.origin.as_ref())
            .is_some_and(|(key, origin)| self.active.contains(key) && self.trust.may_open(origin, key, t));
        if trusted {
            self.active.retain(|k| Some(k) == key.as_ref());
        } else {
            let detail = format!(
                "it begins with the key {}, which nobody trusted at {t}",
                open.vkey
            );
            self.found.fail(Claim::I3, "untrusted_key", &place, detail);
        }
        if let Some(before) = &open.prev_session {
            self.books.follows_another();
            let origin = format!("{}/{}/{}", open.archive, open.writer, before.session);
            self.out.claims.push((origin, before.size, before.root, place));
        }
        self.out.open = Some(open);
    }

    fn key(&mut self, index: u64, vkey: &str) {
        let vkey = vkey
            .parse::<Vkey>()
            .ok()
            .filter(|key| key.name() == self.out.origin);
        match vkey {
            Some(vkey) if self.pending.is_none() => self.pending = Some((index, vkey)),
            Some(_) => {
                let detail = "a second key before a head covered the first".to_owned();
                self.found
                    .fail(Claim::I3, "key_handover", self.place(index), detail);
            }
            None => {
                let detail = "no key of this session".to_owned();
                self.found
                    .fail(Claim::I3, "key_handover", self.place(index), detail);
            }
        }
    }

    fn obj(&mut self, index: u64, t: Time, obj: Obj, expected: &mut Vec<Expected>) {
        if !self.seqs.insert([obj.seq, obj.seq]) {
            let detail = format!("number {} was named before", obj.seq);
            self.found.fail(Claim::C2, "seq_twice", self.place(index), detail);
        }
        if obj.of.is_none() {
            self.books.object(&obj);
        }
        self.out.named.push((key_hash(&obj.key), obj.adopted.is_some()));
        self.out.is_shared |= !obj.key.starts_with(DATA);
        if let Some(adopted) = &obj.adopted {
            self.out.adopted.push((adopted.origin.clone(), adopted.seq));
        }
        if !self.options.selects(&obj) {
            return;
        }
        let totals = &mut self.out.totals;
        totals.objects += 1;
        totals.bytes = totals.bytes.saturating_add(obj.size);
        totals.records = totals
            .records
            .saturating_add(if obj.of.is_none() { obj.n } else { 0 });
        self.out.unlocked |= obj.lock.is_none();
        self.out.locked |= obj.lock.is_some();
        if self.options.level > Level::Log {
            let place = self.place(index);
            let is_own = obj.tenant == OWN_TENANT && obj.signal == Signal::Logs.as_str();
            let is_plain = obj.enc.is_none() && obj.of.is_none() && obj.fmt == Format::OtlpProto.as_str();
            let audit = Compression::parse(&obj.cmp).filter(|_| is_own && is_plain);
            self.out.unread_own |= is_own && audit.is_none();
            let entry = (self.options.level == Level::Decode).then(|| Box::new(obj.clone()));
            expected.push(Expected {
                audit: audit.filter(|_| self.options.level >= Level::Full),
                key: obj.key,
                version: obj.ver,
                size: obj.size,
                sha256: obj.sha256,
                lock: obj.lock,
                records: obj.n,
                admitted: obj.ad[1],
                logged: t,
                place,
                entry,
            });
        }
    }

    fn gap(&mut self, index: u64, gap: &Gap) {
        if let Some(adopted) = &gap.adopted {
            self.out.adopted.push((adopted.origin.clone(), adopted.seq));
        }
        match gap.range() {
            Some(range) if self.seqs.insert(range) => {
                let n = gap
                    .n
                    .map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
                if gap.n != Some(0) {
                    let detail = format!(
                        "objects {}..{}: {n} records lost ({})",
                        range[0], range[1], gap.why
                    );
                    self.found.warn(Claim::C2, "gap", self.place(index), detail);
                }
            }
            Some(range) => {
                let detail = format!("a number of {}..{} was named before", range[0], range[1]);
                self.found.fail(Claim::C2, "seq_twice", self.place(index), detail);
            }
            None => self.found.fail(
                Claim::C2,
                "gap",
                self.place(index),
                "it names no number".to_owned(),
            ),
        }
    }

    /// A segment begins: how long after the one before.
    fn coverage(&mut self, from: Option<Time>, t: Time) {
        let before = self.last_segment.replace(t);
        // Who reads an archive by hand gives no signs of life.
        let is_by_hand = self.writer.starts_with("cli-");
        let late = |before: Time| t.since(before) > 2 * self.options.heartbeat_ms;
        let silent = !is_by_hand && before.is_some_and(late);
        if let Some(from) = from.filter(|_| silent) {
            self.out.holes.push(Hole {
                writer: self.writer.clone(),
                from,
                to: Some(t),
                why: "silent",
            });
        }
    }

    // --- heads ---

    /// The largest size that a trusted key has signed for, as far as is known now.
    fn signed_top(&self) -> u64 {
        let trusted = |h: &&Head| {
            self.active
                .iter()
                .any(|key| self.counts(key, h) && h.note.signed_by(key) == Signed::Yes)
        };
        self.heads
            .iter()
            .rev()
            .find(trusted)
            .map_or(self.out.top, |h| h.head.size.max(self.out.top))
    }

    fn counts(&self, key: &Vkey, head: &Head) -> bool {
        let origin_fits = head.head.origin == key.name();
        let revoked = |origin: &Origin| self.trust.is_revoked(origin, key, head.head.size);
        origin_fits && !self.origin.as_ref().is_some_and(revoked)
    }

    /// Looks at head `at`, whose size the tree has just reached or, in a broken log, passed.
    fn head(&mut self, at: usize) {
        let head = &self.heads[at];
        let (key, size) = (head.key.clone(), head.head.size);
        let pending = self.pending.as_ref().map(|(_, key)| key);
        let known = self.active.iter().chain(pending).chain(&self.retired);
        let signed: Vec<(&Vkey, Signed)> = known.map(|key| (key, head.note.signed_by(key))).collect();
        let wrong = signed.iter().any(|(_, signed)| *signed == Signed::Wrong);
        let by: Vec<&Vkey> = signed
            .into_iter()
            .filter(|(_, s)| *s == Signed::Yes)
            .map(|(key, _)| key)
            .collect();
        let by_known = !by.is_empty();
        let by_pending = pending.is_some_and(|key| by.contains(&key));
        let trusted = self
            .active
            .iter()
            .filter(|key| by.contains(key) && self.counts(key, head));
        let ids: Vec<KeyId> = trusted.map(Vkey::id).collect();
        let root = (!self.broken && size == self.tree.size()).then(|| self.tree.root());
        let (claimed, good) = (head.head.root, root == Some(head.head.root));
        self.found.checked(Claim::I3, 1);
        if wrong {
            let detail = "a signature in the name of a known key does not hold".to_owned();
            self.found.fail(Claim::I3, "bad_signature", &key, detail);
        }
        if by_known && !good {
            let detail = match root {
                Some(root) => format!(
                    "at {size} the log has {}, the head says {}",
                    root.to_base64(),
                    claimed.to_base64()
                ),
                None => format!("the log's hash at {size} cannot be known"),
            };
            self.found.fail(Claim::I2, "root_mismatch", &key, detail);
        }
        if ids.is_empty() {
            if by_known {
                let detail = "signed by a key that no longer counts, or not yet, or was revoked".to_owned();
                self.found.fail(Claim::I3, "untrusted_key", &key, detail);
            } else if !wrong {
                self.out.foreign_heads.push((size, key));
            }
            return;
        }
        self.out.totals.checkpoints += 1;
        self.out.keys.extend(ids);
        self.out.top = self.out.top.max(size);
        self.out.unsealed_since = None;
        if good {
            self.out.head = Some((size, claimed));
            self.out.roots.insert(size, claimed);
        }
        if let Some((_, next)) = self.pending.take_if(|(index, _)| *index < size) {
            if !by_pending {
                let detail = format!(
                    "the key {} did not sign the first head above its entry",
                    hex(&next.id())
                );
                self.found.fail(Claim::I3, "key_handover", &key, detail);
            }
            let old = std::mem::replace(&mut self.active, vec![next]);
            self.retired.extend(old);
        }
    }

    // --- end ---

    /// Ends the log: what is above its newest head, and what is missing in it.
    pub fn finish(mut self) -> SessionOutcome {
        for at in self.next_head..self.heads.len() {
            self.head_beyond(at);
        }
        if self.count == 0 && self.out.foreign_segments.is_empty() {
            let detail = "no segment".to_owned();
            self.found
                .fail(Claim::C1, "empty", self.out.origin.clone(), detail);
        }
        self.out.keys.sort_unstable();
        self.out.keys.dedup();
        if let Some(max) = self.seqs.max() {
            self.out.unnamed = self.seqs.missing([0, max]);
        }
        let pending = std::mem::take(&mut self.out.pending);
        self.out.pending = pending
            .into_iter()
            .flat_map(|range| self.seqs.missing(range))
            .collect();
        self.found.checked(Claim::C2, self.out.totals.objects);
        self.found.checked(Claim::C1, self.count);
        self.out.count = self.count;
        self.out.last = self.last;
        self.out.found = self.found;
        self.out
    }

    /// A head above all entries that are there.
    fn head_beyond(&mut self, at: usize) {
        let head = &self.heads[at];
        let (key, size) = (head.key.clone(), head.head.size);
        let pending = self.pending.as_ref().map(|(_, key)| key);
        let mut known = self.active.iter().chain(pending);
        let signed = known.any(|key| self.counts(key, head) && head.note.signed_by(key) == Signed::Yes);
        let mut known = self.active.iter().chain(pending).chain(&self.retired);
        let wrong = known.any(|key| head.note.signed_by(key) == Signed::Wrong);
        if wrong {
            let detail = "a signature in the name of a known key does not hold".to_owned();
            self.found.fail(Claim::I3, "bad_signature", &key, detail);
        }
        if signed {
            let detail = format!(
                "a signed head of {size} entries, of which {} are there",
                self.count
            );
            self.found.fail(Claim::C1, "entries_missing", &key, detail);
            self.out.top = self.out.top.max(size);
            self.out.unsealed_since = None;
        } else if !wrong {
            self.out.foreign_heads.push((size, key));
        }
    }

    fn place(&self, index: u64) -> String {
        format!("{}/{}#{index}", self.writer, self.session)
    }

    fn file(&self, file: LogFile) -> String {
        EvidenceKey::Log(self.writer.clone(), self.session.clone(), file).key()
    }
}

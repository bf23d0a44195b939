//! The reader's side: what an archive proves, claim by claim. No I/O: the caller lists, reads and asks the store.
//!
//! Order of calls: [`Inventory::of`] over a listing of `_weir/v1/`; for each session in it a [`SessionReader`] (they
//! share nothing and can run side by side), its outcome to [`Verifier::session`]; each [`Expected`] object that came out
//! is looked up and given to [`Verifier::object`], with records of the gateway's own read to [`Verifier::audit`]; the
//! listing of `data/` to [`Verifier::data`]; lists of holds as far as wanted; then [`Verifier::finish`]. What the caller could not read goes to
//! [`Verifier::trouble`], and the verdict is unknown at best.

mod books;
mod inventory;
mod ranges;
mod report;
mod session;
mod trust;

pub use inventory::{File, Inventory, Listed, SessionFiles};
pub use report::{
    Claim, ClaimResult, FINDINGS_MAX, Finding, Hole, Outcome, Report, SessionResult, Severity, Totals,
};
pub use session::{SessionOutcome, SessionReader, Watch};
pub use trust::Trust;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use wire::Signal;

use crate::audit::{Record, Trails};
use crate::digest::{Digest, hex, sha256};
use crate::entry::{Lock, Obj};
use crate::names::{AUDIT_CLASS, Compression, Numbered, OWN_TENANT, Origin};
use crate::time::{Second, Time};
use ranges::Ranges;
use report::{Findings, Tally, not_proved, verdict};
use session::key_hash;

/// How closely objects are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not at all: the logs alone.
    Log,
    /// By what the store says of them.
    Heads,
    /// By reading and hashing them.
    Full,
    /// By decompressing them as well, and counting their records.
    Decode,
}

/// What to look at, and by which clock.
#[derive(Debug, Clone)]
pub struct Options {
    /// How closely objects are looked at.
    pub level: Level,
    /// The present: what is young may still change.
    pub now: Time,
    /// Objects admitted from here on;
    pub from: Option<Time>,
    /// and before this.
    pub to: Option<Time>,
    /// Objects of this tenant alone.
    pub tenant: Option<String>,
    /// Objects of this signal alone.
    pub signal: Option<String>,
    /// Objects of this retention class alone, as their keys name it.
    pub class: Option<String>,
    /// How often a writer seals and signs when it has something.
    pub checkpoint_interval_ms: i64,
    /// How often it does so anyway.
    pub heartbeat_ms: i64,
    /// Program and version, for the report.
    pub tool: String,
    /// Whether warnings spoil the exit code.
    pub warnings_as_errors: bool,
}

impl Options {
    /// All objects, by what the store says of them, with a writer's default intervals.
    pub fn new(now: Time) -> Options {
        Options {
            level: Level::Heads,
            now,
            from: None,
            to: None,
            tenant: None,
            signal: None,
            class: None,
            checkpoint_interval_ms: 60_000,
            heartbeat_ms: 300_000,
            tool: concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned(),
            warnings_as_errors: false,
        }
    }

    /// Whether all records of the gateway's own lie in the range, and are read.
    fn covers_audit(&self) -> bool {
        let own = |wanted: &Option<String>, own: &str| wanted.as_ref().is_none_or(|wanted| wanted == own);
        self.level >= Level::Full
            && self.from.is_none()
            && self.to.is_none()
            && own(&self.tenant, OWN_TENANT)
            && own(&self.signal, Signal::Logs.as_str())
            && own(&self.class, AUDIT_CLASS)
    }

    /// Whether an object lies in the range.
    pub fn selects(&self, obj: &Obj) -> bool {
        let [first, last] = obj.ad;
        self.from.is_none_or(|from| last >= from)
            && self.to.is_none_or(|to| first < to)
            && self.tenant.as_ref().is_none_or(|tenant| *tenant == obj.tenant)
            && self.signal.as_ref().is_none_or(|signal| *signal == obj.signal)
            && self.class.as_ref().is_none_or(|class| obj.class() == Some(class))
    }
}

/// What an entry promises of an object, to be compared with the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Full key below the store's prefix.
    pub key: String,
    /// The version to ask for.
    pub version: Option<String>,
    /// Stored bytes.
    pub size: u64,
    /// Of the stored bytes.
    pub sha256: Digest,
    /// The lock as it was asked for.
    pub lock: Option<Lock>,
    /// Records in it.
    pub records: u64,
    /// On level `full`, if records of the gateway's own are in it: how they are compressed. To be read and given to
    /// [`Verifier::audit`].
    pub audit: Option<Compression>,
    /// When the last of them was admitted.
    pub admitted: Time,
    /// Time of the entry.
    pub logged: Time,
    /// Which entry: `<writer>/<session>#<index>`.
    pub place: String,
    /// The whole entry, on level `decode`.
    pub entry: Option<Box<Obj>>,
}

/// What the store says of an object's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Stored bytes.
    pub size: u64,
    /// The store's checksum, or, on level `full`, the digest of the bytes that were read. None if there is none.
    pub sha256: Option<Digest>,
    /// The lock; none if the store cannot say (a copy on disk).
    pub lock: Option<LockFacts>,
    /// When the store took it.
    pub modified: Option<Time>,
}

/// What a store with locks says of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFacts {
    /// Mode and end; none if it has no retention.
    pub retention: Option<(String, Second)>,
    /// Whether it is under a legal hold.
    pub hold: bool,
}

/// A line of a hold's list file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldItem {
    /// Key of the object.
    pub key: String,
    /// Its version.
    pub ver: Option<String>,
}

/// Below this a clock may differ, in milliseconds;
const CLOCK_WARN: i64 = 5 * 60_000;
/// above this it is wrong.
const CLOCK_FAIL: i64 = 15 * 60_000;
/// Nobody else has keys like these.
const HIVE: &str = "data/v1/class=";
/// An object that nobody names may be on its way for so long.
const ORPHAN_FAIL: i64 = 48 * 3_600_000;
/// An audit record may be gathered with others for so long without a word.
const ANCHOR_WARN: i64 = 3_600_000;

/// Compares a writer's time with the store's.
fn clocks(found: &mut Findings, place: &str, written: Time, stored: Time) {
    let difference = stored.since(written);
    if difference.abs() <= CLOCK_WARN {
        return;
    }
    let detail = format!("the entry says {written}, the store {stored}");
    if difference.abs() > CLOCK_FAIL {
        found.fail(Claim::P2, "clock", place, detail);
    } else {
        found.warn(Claim::P2, "clock", place, detail);
    }
}

/// All logs together, and the objects.
#[derive(Debug)]
pub struct Verifier {
    trust: Trust,
    options: Options,
    found: Findings,
    sessions: Vec<SessionOutcome>,
    totals: Totals,
    /// By hash of the key: how many entries name it first, and whether one adopted it.
    named: HashMap<u128, Named>,
    /// Objects under a hold in the store.
    held: HashSet<u128>,
    /// Objects gone after their lock's end, which a hold would have kept.
    expired: Vec<(u128, String, String)>,
    hold_lists: HashMap<String, Vec<HoldItem>>,
    trails: Trails,
    /// Every record of the trails could be looked at.
    is_trail_whole: bool,
    earliest_unlock: Option<Second>,
    /// Whether the store can say anything of locks.
    knows_locks: bool,
    /// Whether the archive's objects lie beside those of others.
    is_shared: bool,
    troubles: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Named {
    first: u32,
    adopted: u32,
    /// Looked up in the store, and whether its entry asked for a hold.
    looked_up: bool,
    asked_hold: bool,
    version: u64,
}

impl Verifier {
    /// Begins, with what the listing itself shows.
    pub fn new(trust: Trust, options: Options, inventory: &Inventory) -> Verifier {
        let mut found = Findings::default();
        for (what, key, detail) in inventory.oddities() {
            found.warn(Claim::I2, what, key, detail.clone());
        }
        let is_trail_whole = options.covers_audit();
        Verifier {
            trust,
            options,
            found,
            sessions: Vec::new(),
            totals: Totals::default(),
            named: HashMap::new(),
            held: HashSet::new(),
            expired: Vec::new(),
            hold_lists: HashMap::new(),
            trails: Trails::default(),
            is_trail_whole,
            earliest_unlock: None,
            knows_locks: false,
            is_shared: false,
            troubles: Vec::new(),
        }
    }

    /// The archive's layout lets others write beside it: of what no entry names only what is called as it calls its
    /// own objects is an orphan. So it is too as soon as a log names a key outside of `data/`.
    pub fn shared(&mut self) {
        self.is_shared = true;
    }

    /// Whether everything below the store's prefix is to be listed, and not `data/` alone. Known once all sessions were
    /// taken.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Takes what a log says.
    pub fn session(&mut self, mut outcome: SessionOutcome) {
        self.is_shared |= outcome.is_shared;
        for (hash, adopted) in std::mem::take(&mut outcome.named) {
            let named = self.named.entry(hash).or_default();
            if adopted {
                named.adopted += 1;
            } else {
                named.first += 1;
            }
        }
        self.sessions.push(outcome);
    }

    /// Takes what the store says of an object; none if it has no such version. Its session must have been taken before
    /// the end, not before this.
    pub fn object(&mut self, expected: &Expected, facts: Option<&Facts>) {
        let hash = key_hash(&expected.key);
        let named = self.named.entry(hash).or_default();
        named.looked_up = true;
        named.asked_hold |= expected.lock.as_ref().is_some_and(|lock| lock.hold);
        named.version = version_hash(expected.version.as_deref());
        let Some(facts) = facts else {
            return self.gone(hash, expected);
        };
        self.totals.present += 1;
        self.found.checked(Claim::I1, 1);
        let place = &expected.key;
        match facts.sha256 {
            Some(digest) if digest == expected.sha256 && facts.size == expected.size => {}
            None if facts.size == expected.size => {
                let detail = format!(
                    "the store has no SHA-256 of it; read it (entry {})",
                    expected.place
                );
                self.found.warn(Claim::I1, "no_checksum", place, detail);
            }
            digest => {
                self.totals.altered += 1;
                let digest = digest.map_or_else(|| "no digest".to_owned(), |d| d.to_string());
                let detail = format!(
                    "entry {}: expected {} of {} bytes, found {digest} of {} bytes",
                    expected.place, expected.sha256, expected.size, facts.size
                );
                self.found.fail(Claim::I1, "altered", place, detail);
            }
        }
        if let Some(lock) = &facts.lock {
            self.knows_locks = true;
            if lock.hold {
                self.held.insert(hash);
            }
            self.lock(expected, lock);
        }
        if let Some(modified) = facts.modified {
            self.found.checked(Claim::P2, 1);
            // An object is stored after its last record and before its entry, which a crash may delay for long.
            let time = modified.clamp(expected.admitted.min(expected.logged), expected.logged);
            clocks(&mut self.found, &expected.key, time, modified);
        }
    }

    fn gone(&mut self, hash: u128, expected: &Expected) {
        let end = expected.lock.as_ref().map(|lock| lock.until.time());
        self.is_trail_whole &= expected.audit.is_none();
        // Whether a hold should have kept it longer is known when all entries are.
        if end.is_some_and(|end| self.options.now > end) {
            self.expired
                .push((hash, expected.key.clone(), expected.place.clone()));
            return;
        }
        self.totals.missing += 1;
        let detail = format!(
            "entry {}: {} bytes, {}",
            expected.place, expected.size, expected.sha256
        );
        self.found.fail(Claim::C2, "missing", &expected.key, detail);
    }

    fn lock(&mut self, expected: &Expected, found: &LockFacts) {
        let Some(promised) = &expected.lock else {
            return;
        };
        self.found.checked(Claim::P1, 1);
        let place = &expected.key;
        let Some((mode, until)) = &found.retention else {
            // A lock that has ended may be gone.
            if self.options.now <= promised.until.time() {
                let detail = format!("promised {} until {}, found none", promised.mode, promised.until);
                self.found.fail(Claim::P1, "no_lock", place, detail);
            }
            return;
        };
        let weaker = *mode != promised.mode && mode != "COMPLIANCE";
        if weaker || *until < promised.until {
            let detail = format!(
                "promised {} until {}, found {mode} until {until}",
                promised.mode, promised.until
            );
            self.found.fail(Claim::P1, "weaker_lock", place, detail);
        }
        self.earliest_unlock = Some(
            self.earliest_unlock
                .map_or(*until, |earliest| earliest.min(*until)),
        );
    }

    /// Takes the listing of `data/`, or of everything but the evidence if that [is needed](Self::is_shared), one version
    /// after the other, after all sessions and objects: what nobody names is an orphan, and what hides a named version is
    /// told.
    pub fn data(&mut self, listed: &Listed) {
        let Some(named) = self.named.get(&key_hash(&listed.key)) else {
            if listed.deleted {
                return;
            }
            if self.is_shared && Numbered::parse(&listed.key).is_none() && !listed.key.starts_with(HIVE) {
                self.totals.others += 1;
                return;
            }
            self.totals.orphans += 1;
            let age = listed.modified.map(|modified| self.options.now.since(modified));
            let detail = listed
                .modified
                .map_or_else(String::new, |m| format!("stored at {m}"));
            if age.is_some_and(|age| age > ORPHAN_FAIL) {
                self.found.fail(Claim::C2, "orphan", &listed.key, detail);
            } else {
                self.found.warn(Claim::C2, "orphan", &listed.key, detail);
            }
            return;
        };
        if listed.deleted {
            let detail = "a delete marker hides it from ordinary listings".to_owned();
            self.found.warn(Claim::C2, "delete_marked", &listed.key, detail);
        } else if named.looked_up && named.version != version_hash(listed.version.as_deref()) {
            let version = listed.version.as_deref().unwrap_or("null");
            self.found.warn(
                Claim::C2,
                "shadowed",
                &listed.key,
                format!("a version {version} that no entry names"),
            );
        }
    }

    /// The files that hold entries refer to: to be read and given to [`Verifier::hold_list`].
    pub fn hold_lists(&self) -> BTreeSet<&str> {
        self.sessions
            .iter()
            .flat_map(|s| &s.holds)
            .map(|(_, hold, _)| hold.list_key.as_str())
            .collect()
    }

    /// Takes a hold's list. One whose digest is not that of the entry is told and not used.
    pub fn hold_list(&mut self, key: &str, bytes: &[u8]) {
        let digest = sha256(bytes);
        let mut holds = self
            .sessions
            .iter()
            .flat_map(|s| &s.holds)
            .filter(|(_, hold, _)| hold.list_key == key);
        if holds.any(|(_, hold, _)| hold.list_sha256 != digest) {
            self.found
                .fail(Claim::I1, "altered", key, format!("a hold's list, now {digest}"));
            return;
        }
        let lines = bytes.split(|c| *c == b'\n').filter(|line| !line.is_empty());
        let items: Result<Vec<HoldItem>, _> = lines.map(serde_json::from_slice).collect();
        match items {
            Ok(items) => {
                self.hold_lists.insert(key.to_owned(), items);
            }
            Err(e) => self.found.fail(Claim::P1, "hold_list", key, e.to_string()),
        }
    }

    /// Takes what an object with records of the gateway's own holds, or why that cannot be read.
    pub fn audit(&mut self, expected: &Expected, found: Result<Vec<Record>, String>) {
        match found {
            Ok(records) => {
                let place = expected.key.as_str().into();
                records.iter().for_each(|record| self.trails.push(&place, record));
            }
            Err(what) => {
                self.is_trail_whole = false;
                self.found
                    .fail(Claim::I2, "audit_unreadable", &expected.key, what);
            }
        }
    }

    /// Takes what the records of an object say of their entry, on level `decode`: nothing, or in what they differ.
    pub fn content(&mut self, expected: &Expected, differs: Option<&str>) {
        self.totals.decoded += 1;
        if let Some(detail) = differs {
            let detail = format!("{detail} (entry {})", expected.place);
            self.found.fail(Claim::I1, "content", &expected.key, detail);
        }
    }

    /// Tells that something could not be read.
    pub fn trouble(&mut self, what: String) {
        if self.troubles.len() < FINDINGS_MAX {
            self.troubles.push(what);
        }
    }

    // --- end ---

    /// Compares all logs with each other and says what holds.
    pub fn finish(mut self, started: Time, finished: Time) -> Report {
        self.sessions
            .sort_by(|a, b| (&a.writer, a.first, &a.session).cmp(&(&b.writer, b.first, &b.session)));
        let by_origin: HashMap<String, usize> = self
            .sessions
            .iter()
            .enumerate()
            .map(|(n, s)| (s.origin.clone(), n))
            .collect();
        let successors = self.successors();
        self.cross(&by_origin);
        self.tails(&successors);
        self.numbers(&successors);
        self.doubles();
        self.holds();
        self.audits();
        let holes = self.coverage();
        for outcome in &mut self.sessions {
            self.found.merge(std::mem::take(&mut outcome.found));
            add(&mut self.totals, &outcome.totals);
            self.totals.shredded += outcome
                .shreds
                .iter()
                .filter(|s| !s.confirmed)
                .map(|s| s.n)
                .sum::<u64>();
        }
        self.report(holes, started, finished)
    }

    /// The gateway's own records hang together, and what the logs anchor is among them.
    fn audits(&mut self) {
        self.is_trail_whole &= !self.sessions.iter().any(|session| session.unread_own);
        self.found.checked(Claim::I2, self.trails.len());
        for broken in self.trails.broken(self.is_trail_whole) {
            let place = format!("{} audit {}", broken.place, broken.seq);
            self.found
                .fail(Claim::I2, "audit_chain", place, broken.fault.to_string());
        }
        if !self.is_trail_whole {
            return;
        }
        for session in &self.sessions {
            for anchor in &session.anchors {
                if self.trails.has(anchor.seq, &anchor.hash) {
                    continue;
                }
                let detail = format!("audit record {} ({}) is in no object", anchor.seq, anchor.hash);
                let age = self.options.now.since(anchor.t);
                // Without a journal records may end with a process that is killed.
                let was_killed = session.unclean.is_some_and(|start| start >= anchor.t);
                if !was_killed && (session.closed || age > ORPHAN_FAIL) {
                    self.found.fail(Claim::I2, "audit_anchor", &anchor.place, detail);
                } else if was_killed || age > ANCHOR_WARN {
                    self.found.warn(Claim::I2, "audit_anchor", &anchor.place, detail);
                }
            }
        }
    }

    /// By session: its successor's index and what that knows of it.
    fn successors(&self) -> HashMap<String, (u64, Digest)> {
        let opens = self.sessions.iter().filter_map(|s| s.open.as_ref());
        let known = opens.filter_map(|open| open.prev_session.as_ref());
        known
            .map(|head| (head.session.clone(), (head.size, head.root)))
            .collect()
    }

    /// Heads that others remember: peers, successors, pins.
    fn cross(&mut self, by_origin: &HashMap<String, usize>) {
        let pins = self.trust.policy.pins.iter().map(|pin| {
            let place = format!("pin {} {}", pin.origin, pin.size);
            (pin.origin.to_string(), pin.size, pin.root, place)
        });
        let mut claims: Vec<(String, u64, Digest, String)> = pins.collect();
        for outcome in &mut self.sessions {
            claims.append(&mut outcome.claims);
        }
        // Many say the same; each is looked at once.
        claims.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
        let said = claims.len() as u64;
        claims.dedup_by(|a, b| (&a.0, a.1, a.2) == (&b.0, b.1, b.2));
        self.found.checked(Claim::C5, said);
        let archive = self.archive();
        for (origin, size, root, place) in claims {
            let Some(outcome) = by_origin.get(&origin).map(|n| &self.sessions[*n]) else {
                let elsewhere = origin
                    .parse::<Origin>()
                    .is_ok_and(|o| archive.as_deref().is_some_and(|a| a != o.archive()));
                if !elsewhere {
                    let detail = format!("{origin} had {size} entries and is not there");
                    self.found.fail(Claim::C5, "session_missing", place, detail);
                }
                continue;
            };
            match outcome.roots.get(&size) {
                Some(ours) if *ours == root => {}
                Some(ours) => {
                    let detail = format!(
                        "{origin} at {size}: {} remembered, {} found",
                        root.to_base64(),
                        ours.to_base64()
                    );
                    self.found.fail(Claim::C5, "other_history", place, detail);
                }
                None if size > outcome.count => {
                    let detail = format!("{origin} had {size} entries, {} are there", outcome.count);
                    self.found.fail(Claim::C5, "cut_off", place, detail);
                }
                None => {
                    let detail = format!("{origin} at {size}: no head and no segment ends there");
                    self.found.fail(Claim::C5, "other_history", place, detail);
                }
            }
        }
    }

    /// What lies above each log's newest head.
    fn tails(&mut self, successors: &HashMap<String, (u64, Digest)>) {
        for outcome in &self.sessions {
            let successor = successors.get(&outcome.session);
            // Who goes on after a log vouches for all of it that it names.
            let vouched = successor
                .is_some_and(|(size, root)| *size == outcome.count && outcome.roots.get(size) == Some(root));
            for (size, key) in &outcome.foreign_heads {
                if *size <= outcome.top || vouched && outcome.top > 0 {
                    let detail = "a head without a trusted signature, beside one that has it".to_owned();
                    self.found.warn(Claim::I3, "foreign", key, detail);
                } else {
                    let detail = "no trusted signature".to_owned();
                    self.found.fail(Claim::I3, "unsigned", key, detail);
                }
            }
            for key in &outcome.foreign_segments {
                let ends_there = successor.is_some_and(|(size, _)| *size == outcome.count);
                let detail = "a segment that does not follow from the log before it".to_owned();
                if ends_there {
                    self.found.warn(Claim::I2, "foreign", key, detail);
                } else {
                    self.found.fail(Claim::I2, "chain_broken", key, detail);
                }
            }
            if let Some(since) = outcome.unsealed_since.filter(|_| !vouched) {
                let place = format!("{}/{}#{}", outcome.writer, outcome.session, outcome.top);
                let detail = format!(
                    "entries {}..{} are under no signed head",
                    outcome.top,
                    outcome.count - 1
                );
                if self.options.now.since(since) < 2 * self.options.checkpoint_interval_ms {
                    self.found.warn(Claim::I2, "unsealed", place, detail);
                } else {
                    self.found.fail(Claim::I2, "unsealed", place, detail);
                }
            }
            // A log whose first name was taken never began, as who came after says.
            let never_began = successor.is_some_and(|(size, _)| *size == 0) && outcome.count == 0;
            if outcome.totals.checkpoints == 0
                && outcome.foreign_heads.is_empty()
                && outcome.top == 0
                && !never_began
            {
                let detail = "no head with a trusted signature".to_owned();
                self.found
                    .fail(Claim::I3, "unsigned", outcome.origin.clone(), detail);
            }
        }
    }

    /// Object numbers that no log names.
    fn numbers(&mut self, successors: &HashMap<String, (u64, Digest)>) {
        let mut adopted: HashMap<&str, Ranges> = HashMap::new();
        for (origin, seq) in self.sessions.iter().flat_map(|s| &s.adopted) {
            if !adopted.entry(origin).or_default().insert([*seq, *seq]) {
                let detail = format!("object {seq} of {origin} was adopted twice");
                self.found.fail(Claim::C2, "seq_twice", origin, detail);
            }
        }
        let nobody = Ranges::default();
        for outcome in &self.sessions {
            let theirs = adopted.get(outcome.origin.as_str()).unwrap_or(&nobody);
            // One that went on beyond what its successor knows was not ended by that: two wrote it, and one left.
            let succeeded = successors.get(&outcome.session);
            let ended = outcome.closed || succeeded.is_some_and(|(size, _)| *size >= outcome.top);
            let (mut nameless, mut excused) = (Ranges::default(), theirs.clone());
            for range in &outcome.unnamed {
                nameless.insert(*range);
            }
            // What is in flight may be nameless, unless nobody is left to name it.
            for range in &outcome.pending {
                let where_to = if ended { &mut nameless } else { &mut excused };
                where_to.insert(*range);
            }
            for range in nameless.iter() {
                for [from, to] in excused.missing(range) {
                    let detail = format!("objects {from}..{to} are named by no entry");
                    self.found
                        .fail(Claim::C2, "seq_missing", outcome.origin.clone(), detail);
                }
            }
        }
    }

    /// Objects that two entries name.
    fn doubles(&mut self) {
        let twice = self
            .named
            .values()
            .filter(|n| n.first > 1 || n.adopted > 1)
            .count();
        if twice > 0 {
            let detail = format!("{twice} objects are named by more than one entry");
            self.found.fail(
                Claim::C2,
                "object_twice",
                self.archive().unwrap_or_default(),
                detail,
            );
        }
    }

    /// Holds as the newest entries have them, against what the store said.
    fn holds(&mut self) {
        let mut holds: Vec<_> = self.sessions.iter().flat_map(|s| &s.holds).collect();
        holds.sort_by_key(|(t, _, _)| *t);
        // By object: under which holds it is.
        let mut wanted: BTreeMap<u128, (BTreeSet<&str>, &str)> = BTreeMap::new();
        for (_, hold, place) in &holds {
            let Some(items) = self.hold_lists.get(&hold.list_key) else {
                self.troubles.push(format!(
                    "the list {} of hold {} was not read",
                    hold.list_key, hold.id
                ));
                continue;
            };
            for item in items {
                let (ids, from) = wanted.entry(key_hash(&item.key)).or_default();
                *from = place;
                if hold.on.unwrap_or(true) {
                    ids.insert(&hold.id);
                } else {
                    ids.remove(hold.id.as_str());
                }
            }
        }
        for (hash, (ids, place)) in &wanted {
            let looked_up = self.named.get(hash).is_some_and(|n| n.looked_up);
            if looked_up && !ids.is_empty() && self.knows_locks && !self.held.contains(hash) {
                let detail = format!("an object of hold {ids:?} is under no legal hold");
                self.found.fail(Claim::P1, "no_hold", *place, detail);
            }
        }
        for (hash, named) in &self.named {
            let lifted = wanted.get(hash).is_some_and(|(ids, _)| ids.is_empty());
            if named.looked_up && named.asked_hold && !lifted && !self.held.contains(hash) && self.knows_locks
            {
                let detail = "an object that was put under a legal hold is under none".to_owned();
                self.found.fail(Claim::P1, "no_hold", "data", detail);
            }
        }
        for (hash, key, place) in std::mem::take(&mut self.expired) {
            let asked = self.named.get(&hash).is_some_and(|named| named.asked_hold);
            if wanted.get(&hash).map_or(asked, |(ids, _)| !ids.is_empty()) {
                self.totals.missing += 1;
                self.found.fail(
                    Claim::C2,
                    "missing",
                    key,
                    format!("entry {place}: it was under a legal hold"),
                );
            } else {
                self.totals.expired += 1;
            }
        }
    }

    /// Times without a live writer. Sessions are sorted by writer and time.
    fn coverage(&mut self) -> Vec<Hole> {
        let mut holes = Vec::new();
        let heartbeat = self.options.heartbeat_ms;
        for (n, outcome) in self.sessions.iter().enumerate() {
            holes.extend(outcome.holes.iter().cloned());
            self.found.checked(Claim::C4, 1);
            // Who reads an archive by hand comes and goes.
            if outcome.writer.starts_with("cli-") {
                continue;
            }
            let next = self
                .sessions
                .get(n + 1)
                .filter(|next| next.writer == outcome.writer);
            let (Some(last), next_first) = (outcome.last, next.and_then(|next| next.first)) else {
                continue;
            };
            let hole = match next_first {
                Some(first) if first.since(last) > 2 * heartbeat => Some((Some(first), "between_sessions")),
                None if next.is_none() && !outcome.closed && self.options.now.since(last) > 3 * heartbeat => {
                    Some((None, "stopped"))
                }
                _ => None,
            };
            holes.extend(hole.map(|(to, why)| Hole {
                writer: outcome.writer.clone(),
                from: last,
                to,
                why,
            }));
        }
        for hole in &holes {
            let to = hole.to.map_or_else(|| "now".to_owned(), |to| to.to_string());
            let detail = format!("{} to {to} ({})", hole.from, hole.why);
            self.found
                .warn(Claim::C4, "uncovered_interval", hole.writer.clone(), detail);
        }
        holes
    }

    fn archive(&self) -> Option<String> {
        let policy = self.trust.policy.archive().map(str::to_owned);
        policy.or_else(|| {
            let opens = self.sessions.iter().filter_map(|s| s.open.as_ref());
            let known = self.sessions.iter().filter_map(|s| s.archive.clone());
            known.chain(opens.map(|open| open.archive.clone())).next()
        })
    }

    fn report(mut self, holes: Vec<Hole>, started: Time, finished: Time) -> Report {
        for outcome in self.sessions.iter().filter(|s| s.unlocked) {
            let detail = "objects of this log have no lock: tamper-evident, not WORM".to_owned();
            self.found
                .warn(Claim::P1, "unlocked", outcome.origin.clone(), detail);
        }
        let unlocked = self.sessions.iter().any(|s| s.unlocked);
        let locked = self.sessions.iter().any(|s| s.locked);
        let mut claims = BTreeMap::new();
        for claim in Claim::ALL {
            let tally = self.found.tallies.remove(&claim).unwrap_or_default();
            let result = match claim {
                _ if tally.failed > 0 => Outcome::Fail,
                Claim::P1 if unlocked && !locked => Outcome::NotMet,
                _ if tally.warned > 0 => Outcome::Warn,
                Claim::I1 | Claim::P1 | Claim::P2 if tally == Tally::default() => Outcome::NotChecked,
                _ => Outcome::Pass,
            };
            let result = ClaimResult {
                result,
                checked: tally.checked,
                failed: tally.failed,
                warnings: tally.warned,
                holes: if claim == Claim::C4 {
                    holes.clone()
                } else {
                    Vec::new()
                },
            };
            claims.insert(claim, result);
        }
        let troubled = !self.troubles.is_empty() || self.sessions.is_empty();
        let (verdict, exit) = verdict(&claims, troubled, self.options.warnings_as_errors);
        let order = |f: &Finding| (f.claim, std::cmp::Reverse(f.severity));
        self.found.kept.sort_by_key(order);
        let archive = self.archive();
        let session = |s: &SessionOutcome| SessionResult {
            origin: s.origin.clone(),
            size: s.head.map_or(0, |(size, _)| size),
            root: s.head.map(|(_, root)| root),
            keys: s.keys.iter().map(|id| hex(id)).collect(),
            closed: s.closed,
        };
        Report {
            v: 1,
            tool: self.options.tool,
            archive,
            from: self.options.from,
            to: self.options.to,
            level: self.options.level,
            started,
            finished,
            policy_sha256: self.trust.policy.sha256,
            verdict,
            exit,
            warnings: claims.values().map(|c| c.warnings).sum(),
            claims,
            sessions: self.sessions.iter().map(session).collect(),
            totals: self.totals,
            earliest_unlock: self.earliest_unlock,
            holds: self.held.len() as u64,
            findings: self.found.kept,
            troubles: self.troubles,
            not_proved: not_proved(self.is_shared),
        }
    }
}

fn version_hash(version: Option<&str>) -> u64 {
    let hash = sha256(version.unwrap_or("null").as_bytes()).0;
    u64::from_be_bytes([
        hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7],
    ])
}

fn add(sum: &mut Totals, other: &Totals) {
    let fields = [
        (&mut sum.objects, other.objects),
        (&mut sum.bytes, other.bytes),
        (&mut sum.records, other.records),
        (&mut sum.entries, other.entries),
        (&mut sum.checkpoints, other.checkpoints),
        (&mut sum.admitted, other.admitted),
        (&mut sum.removed, other.removed),
        (&mut sum.lost, other.lost),
        (&mut sum.dup, other.dup),
    ];
    for (sum, n) in fields {
        *sum = sum.saturating_add(n);
    }
}

#[cfg(test)]
mod tests;

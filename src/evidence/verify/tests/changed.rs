//! Random archives, changed at random: with a head of each log remembered outside, nothing passes unseen.

use proptest::prelude::*;

use super::*;
use crate::entry::Entry;
use crate::note::{Checkpoint, Note};

/// Small numbers out of a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }
}

/// An archive, what trusts it, and the moment after it was written.
struct Archive {
    store: Store,
    policy: String,
    now: Time,
    logs: Vec<Origin>,
}

/// Two writers of one or two sessions each, with several tenants, gaps, objects in flight, and heads of each other.
fn archive(dice: &mut Dice) -> Archive {
    let mut store = Store::default();
    let (mut policy, mut logs, mut heads) = (String::new(), Vec::new(), Vec::new());
    let mut now = at(0);
    for (n, name) in (1u8..).zip(["gw-0", "gw-1"]) {
        let mut before: Option<Writer> = None;
        for session in 0..=dice.below(2) as u8 {
            let id = n * 10 + session;
            let mut w = Writer::open(origin(name, id), key(id), at(0), before.as_ref());
            if !heads.is_empty() {
                w.append(Kind::Peer(Peer { heads: heads.clone() }));
            }
            for _ in 0..=dice.below(4) {
                fill(&mut w, &mut store, dice);
            }
            if dice.below(2) == 0 {
                w.close(&mut store, "rollover", None);
            }
            now = now.max(w.now);
            let (size, root) = (w.log.size(), w.log.root());
            policy.push_str(&w.log_line());
            policy.push_str(&format!("pin {} {size} {}\n", w.log.origin(), root.to_base64()));
            heads.push(PeerHead {
                origin: w.log.origin().to_string(),
                size,
                root,
            });
            logs.push(w.log.origin().clone());
            before = Some(w);
        }
    }
    Archive {
        store,
        policy,
        now,
        logs,
    }
}

/// One segment of this and that.
fn fill(w: &mut Writer, store: &mut Store, dice: &mut Dice) {
    for _ in 0..dice.below(5) {
        let tenant = ["acme", "initech", "a/b"][dice.below(3)];
        match dice.below(6) {
            0 => {
                w.append(Kind::Gap(Gap {
                    seq: None,
                    seqs: Some([w.seq, w.seq + 1]),
                    why: "key_conflict".to_owned(),
                    n: Some(0),
                    detail: String::new(),
                    adopted: None,
                }));
                w.seq += 2;
            }
            1 => w.books.entry(tenant.to_owned()).or_default()[0] += 3,
            _ => {
                let bytes = format!("{} {} {}", w.log.origin(), w.seq, dice.below(1_000));
                w.object(store, tenant, 1 + dice.below(9) as u64, bytes.as_bytes());
            }
        }
        w.wait(dice.below(2_000) as i64);
    }
    w.seal(store);
}

fn keys(store: &Store, part: &str) -> Vec<String> {
    store
        .files
        .keys()
        .filter(|key| key.contains(part))
        .cloned()
        .collect()
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes
        .split_inclusive(|c| *c == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

/// Changes one thing. What was done; none if this archive has no such thing.
fn change(archive: &mut Archive, dice: &mut Dice) -> Option<String> {
    let store = &mut archive.store;
    let part = ["/seg/", "/cp/", "data/"][dice.below(3)];
    let all = keys(store, part);
    let one = all.get(dice.below(all.len()))?.clone();
    let other = all.get(dice.below(all.len()))?.clone();
    let old = store.bytes(&one).clone();
    let what = match dice.below(11) {
        0 => {
            let at = dice.below(old.len());
            store.bytes(&one)[at] ^= 1 << dice.below(8);
            "flipped a bit of"
        }
        1 if part != "/cp/" => {
            store.files.remove(&one);
            "dropped"
        }
        2 => {
            let len = dice.below(old.len());
            store.bytes(&one).truncate(len);
            "truncated"
        }
        3 if one != other => {
            let theirs = store.bytes(&other).clone();
            if theirs == old {
                return None;
            }
            *store.bytes(&one) = theirs;
            *store.bytes(&other) = old.clone();
            "swapped"
        }
        4 if one != other => {
            let theirs = store.bytes(&other).clone();
            *store.bytes(&one) = theirs;
            "replayed another over"
        }
        5 if part == "/seg/" => {
            let mut lines = lines(&old);
            let (a, b) = (dice.below(lines.len()), dice.below(lines.len()));
            lines.swap(a, b);
            *store.bytes(&one) = lines.concat();
            "reordered lines of"
        }
        6 if part == "/seg/" => {
            let mut lines = lines(&old);
            lines.remove(dice.below(lines.len()));
            *store.bytes(&one) = lines.concat();
            "dropped a line of"
        }
        7 if part == "/seg/" => {
            let mut lines = lines(&old);
            let line = lines[dice.below(lines.len())].clone();
            lines.insert(dice.below(lines.len() + 1), line);
            *store.bytes(&one) = lines.concat();
            "replayed a line of"
        }
        8 if part == "/cp/" => {
            let head = Checkpoint::parse(Note::parse(&old).ok()?.text()).ok()?;
            let origin: Origin = head.origin.parse().ok()?;
            let stranger = key(99);
            let forged = SignedHead::new(&origin, head.size, head.root, &[&stranger]).ok()?;
            *store.bytes(&one) = forged.note.into_bytes();
            "signed with a stranger's key"
        }
        9 => {
            let origin = &archive.logs[dice.below(archive.logs.len())];
            let tail = format!("{}/{}/", origin.writer(), origin.session());
            store.files.retain(|key, _| !key.contains(&tail));
            "dropped a whole log instead of"
        }
        10 => {
            // The last segment and its head, as if they had never been.
            let segment = keys(store, "/seg/").get(dice.below(all.len()))?.clone();
            let (folder, _) = segment.split_once("/seg/")?;
            let (seg, cp) = (
                keys(store, &format!("{folder}/seg/")),
                keys(store, &format!("{folder}/cp/")),
            );
            store.files.remove(seg.last()?);
            store.files.remove(cp.last()?);
            "cut a tail off instead of"
        }
        _ => return None,
    };
    (archive
        .store
        .files
        .get(&one)
        .is_none_or(|v| v[0].bytes.as_ref() != Some(&old))
        || what.contains("instead"))
    .then(|| format!("{what} {one}"))
}

/// A stranger with the store's keys writes a log again, with other content and a key of their own.
fn forge(archive: &mut Archive, dice: &mut Dice) {
    let origin = archive.logs[dice.below(archive.logs.len())].clone();
    let folder = format!("{}/{}/", origin.writer(), origin.session());
    let segments: Vec<Vec<u8>> = keys(&archive.store, &folder)
        .into_iter()
        .filter(|key| key.contains("/seg/"))
        .map(|key| archive.store.bytes(&key).clone())
        .collect();
    archive.store.files.retain(|key, _| !key.contains(&folder));
    let stranger = key(99);
    let mut log = crate::log::Log::open(origin);
    for bytes in segments {
        for line in lines(&bytes) {
            let mut entry = Entry::parse(&line[..line.len() - 1]).expect("an entry of the archive");
            match &mut entry.kind {
                Kind::Seg(_) => continue,
                Kind::Ledger(ledger) => ledger.rows.clear(),
                Kind::Obj(obj) => obj.n += 1,
                _ => {}
            }
            log.append(entry.kind, entry.t).expect("room");
        }
        let segment = log.seal().expect("a segment");
        archive
            .store
            .put(&segment.key, &segment.bytes, Some(archive.now), None);
        let head = log.checkpoint(&segment, &[&stranger]).expect("a head");
        archive
            .store
            .put(&head.key, head.note.as_bytes(), Some(archive.now), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_that_was_changed_passes_unseen(seed in 1u64..) {
        let mut dice = Dice(seed);
        let whole = archive(&mut dice);
        let report = whole.store.verify(&whole.policy, &options(whole.now));
        prop_assert_eq!(words(&report), Vec::<String>::new(), "{:#?}", report.findings);
        for _ in 0..24 {
            let mut archive = Archive {
                store: whole.store.clone(),
                policy: whole.policy.clone(),
                now: whole.now,
                logs: whole.logs.clone(),
            };
            let Some(what) = change(&mut archive, &mut dice) else {
                continue;
            };
            let report = archive.store.verify(&archive.policy, &options(archive.now));
            prop_assert!(!report.findings.is_empty(), "{}", what);
            // Only a head that others stand in for may be spoilt without spoiling a claim.
            if !what.contains("/cp/") || what.contains("instead") {
                prop_assert_ne!(report.exit, 0, "{}: {:#?}", what, report.findings);
            }
            if what.contains("data/") && !what.contains("instead") {
                let wrong = report.findings.iter().all(|f| matches!(f.claim, Claim::I1 | Claim::C2));
                prop_assert!(wrong, "{}: {:#?}", what, report.findings);
            }
        }
        let mut forged = whole;
        forge(&mut forged, &mut dice);
        let report = forged.store.verify(&forged.policy, &options(forged.now));
        prop_assert_eq!(report.exit, 1);
        prop_assert_eq!(report.claims[&Claim::I3].result, Outcome::Fail);
    }

    #[test]
    fn hostile_files_are_only_findings(seed in 1u64.., bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut dice = Dice(seed);
        let mut archive = archive(&mut dice);
        let all: Vec<String> = archive.store.files.keys().cloned().collect();
        for _ in 0..3 {
            let key = &all[dice.below(all.len())];
            *archive.store.bytes(key) = bytes.clone();
        }
        let report = archive.store.verify(&archive.policy, &options(archive.now));
        prop_assert!(!report.findings.is_empty());
    }
}

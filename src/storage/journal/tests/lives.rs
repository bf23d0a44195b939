//! Random lives of a journal against a model that remembers what was promised.
//!
//! Appends, completions, claims, marks and blobs, with ends in order, kills, power failures, failing and full disks and flipped
//! bits between them, in clear and encrypted, with a bound and without. `WEIR_JOURNAL_SEEDS` says how many.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::*;

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A record that was answered for.
struct Promise {
    data: Vec<u8>,
    tenant: Option<Arc<str>>,
    /// For each destination, which items it is not done with.
    owed: BTreeMap<DestId, Vec<bool>>,
    /// A bit of it was flipped on the disk.
    is_damaged: bool,
}

/// How often what happened.
#[derive(Clone, Copy, Debug)]
enum What {
    Appended,
    Refused,
    Closed,
    Killed,
    Crashed,
    Flipped,
    Marked,
    Carried,
    Blob,
    Copied,
    Claimed,
    Settled,
}

const WHATS: usize = What::Settled as usize + 1;

struct Life {
    rng: Rng,
    seed: u64,
    disk: SimDisk,
    journal: Journal,
    options: Options,
    ids: Vec<DestId>,
    promises: BTreeMap<Seq, Promise>,
    /// Everything that was ever tried: nothing else may come back.
    tried: HashSet<Vec<u8>>,
    /// The disk fails, or is full.
    is_failing: bool,
    /// What may have been sent; and what of it a file says for certain.
    sent: BTreeMap<DestId, Seq>,
    marked: BTreeMap<DestId, Seq>,
    /// What was kept for certain; and what was tried since.
    blob: Option<Vec<u8>>,
    blobs_tried: Vec<Vec<u8>>,
    /// Claims of the first destination that are there for certain, by token; and those that may or may not be.
    claims: BTreeMap<String, Claim>,
    in_doubt: BTreeMap<String, Claim>,
    /// Pieces that a failed completion may have completed.
    maybe_done: HashSet<(Seq, u32)>,
    id: Option<u128>,
    step: u8,
    counts: [u64; WHATS],
}

const TENANT: &str = "tenant-of-this-life";

impl Life {
    fn new(seed: u64) -> Life {
        let disk = SimDisk::default();
        let options = Options {
            bytes_max: seed.is_multiple_of(4).then_some(10 * SEGMENT),
            key: seed.is_multiple_of(3).then(|| Key::new(&[seed as u8; 32])),
            ..options()
        };
        let (journal, _) = Journal::open(Arc::new(disk.clone()), options.clone()).unwrap();
        let ids = ["a", "b", "c"].map(|n| journal.destination(n, Quota::default()).unwrap());
        Life {
            rng: Rng(seed),
            seed,
            disk,
            journal,
            options,
            ids: ids.to_vec(),
            promises: BTreeMap::new(),
            tried: HashSet::new(),
            is_failing: false,
            sent: BTreeMap::new(),
            marked: BTreeMap::new(),
            blob: None,
            blobs_tried: Vec::new(),
            claims: BTreeMap::new(),
            in_doubt: BTreeMap::new(),
            maybe_done: HashSet::new(),
            id: None,
            step: 0,
            counts: [0; WHATS],
        }
    }

    fn count(&mut self, what: What) {
        self.counts[what as usize] += 1;
    }

    fn live(mut self, steps: u8) -> [u64; WHATS] {
        for step in 0..steps {
            self.step = step;
            match self.rng.below(30) {
                0..=9 => self.append(),
                10..=15 => self.complete(),
                16 => self.dispatch(),
                17 => self.put_blob(),
                18 => self.flip(),
                19 => self.fail(),
                20 => self.end_in_order(),
                21 => self.end(What::Killed),
                22 => self.end(What::Crashed),
                24..=26 => self.claim(),
                27 => self.release(),
                28..=29 => self.settle(),
                _ => drop(self.journal.destination("d", Quota::default())),
            }
        }
        self.ends_well();
        self.counts
    }

    fn append(&mut self) {
        let mut data = vec![self.step; self.rng.below(2500) as usize];
        data.extend_from_slice(&self.seed.to_le_bytes());
        data.push(self.step);
        let to: Vec<DestId> = self.ids.clone();
        let to: Vec<DestId> = to.into_iter().filter(|_| self.rng.below(2) == 0).collect();
        let head = Head {
            kind: self.step,
            items: self.rng.below(6) as u32 + 1,
            tenant: (self.rng.below(3) > 0).then(|| TENANT.into()),
            destinations: to.as_slice().into(),
        };
        self.tried.insert(data.clone());
        let Ok(room) = self.journal.reserve(&head, data.len()) else {
            assert!(self.options.bytes_max.is_some());
            return self.count(What::Refused);
        };
        let (front, back) = data.split_at(data.len() / 2);
        let parts = [front, back].map(Bytes::copy_from_slice).to_vec();
        match block_on(self.journal.append(head.clone(), parts, room)) {
            Ok(seq) => {
                let all = vec![true; head.items as usize];
                let promise = Promise {
                    data,
                    tenant: head.tenant,
                    owed: to.iter().map(|id| (*id, all.clone())).collect(),
                    is_damaged: false,
                };
                assert!(self.promises.last_key_value().is_none_or(|(last, _)| *last < seq));
                self.promises.insert(seq, promise);
                self.count(What::Appended);
            }
            Err(_) => self.count(What::Refused),
        }
    }

    /// A promise that somebody is owed.
    fn any(&mut self) -> Option<Seq> {
        let all: Vec<Seq> = self.promises.keys().copied().collect();
        (!all.is_empty()).then(|| all[self.rng.below(all.len() as u64) as usize])
    }

    fn complete(&mut self) {
        let Some(seq) = self.any() else { return };
        let id = self.ids[self.rng.below(3) as usize];
        let (whole, start, end) = (self.rng.below(2) == 0, self.rng.below(3), self.rng.below(6));
        let Some(items) = self.promises.get_mut(&seq).and_then(|p| p.owed.get_mut(&id)) else {
            return;
        };
        let (start, end) = if whole {
            (0, items.len() as u64)
        } else {
            (start, end)
        };
        self.journal.complete(seq, id, start as u32..end as u32);
        let done = items.iter_mut().take(end as usize).skip(start as usize);
        done.for_each(|owed| *owed = false);
    }

    fn dispatch(&mut self) {
        let Some(seq) = self.any() else { return };
        let id = self.ids[self.rng.below(3) as usize];
        block_on(self.journal.dispatched(id, seq));
        let later = |marks: &mut BTreeMap<DestId, Seq>| {
            let mark = marks.entry(id).or_insert(seq);
            *mark = seq.max(*mark);
        };
        later(&mut self.sent);
        if !self.is_failing {
            later(&mut self.marked);
        }
        self.count(What::Marked);
    }

    /// Some pieces that the first destination is owed, of records that nobody has claimed: of a record with three items
    /// or more, one of two pieces or the other.
    fn some_set(&mut self) -> Set {
        let mut set = Set::new();
        for _ in 0..=self.rng.below(3) {
            let Some(seq) = self.any() else { break };
            let (is_part, piece) = (self.rng.below(2) == 0, self.rng.below(2) as u32);
            let Some(items) = self.promises[&seq].owed.get(&self.ids[0]) else {
                continue;
            };
            match is_part && items.len() > 2 {
                true => set.add_piece(seq, piece, 2),
                false => set.add(seq),
            }
        }
        set
    }

    fn claim(&mut self) {
        let claim = Claim {
            token: format!("#{}", self.rng.below(6)),
            rules: format!("rules {}", self.step),
            note: "n".repeat(self.rng.below(300) as usize),
            set: self.some_set(),
        };
        let before = self.claims.remove(&claim.token);
        match block_on(self.journal.claim(self.ids[0], claim.clone())) {
            Ok(()) => {
                self.in_doubt.remove(&claim.token);
                self.claims.insert(claim.token.clone(), claim);
                self.count(What::Claimed);
            }
            // The old one, or the new one, or what was in doubt before: not looked into.
            Err(_) => drop(self.in_doubt.insert(claim.token.clone(), before.unwrap_or(claim))),
        }
    }

    fn release(&mut self) {
        let token = format!("#{}", self.rng.below(6));
        let before = self.claims.remove(&token);
        match block_on(self.journal.release(self.ids[0], &token)) {
            Ok(()) => drop(self.in_doubt.remove(&token)),
            Err(_) => self.in_doubt.extend(before.map(|claim| (token, claim))),
        }
    }

    fn settle(&mut self) {
        let token = format!("#{}", self.rng.below(6));
        let before = self.claims.remove(&token);
        let set = before.as_ref().map_or_else(Set::new, |claim| claim.set.clone());
        let settled = block_on(self.journal.settle(self.ids[0], &token, &set));
        let mut items_done = 0;
        for run in set.runs() {
            let seqs: Vec<Seq> = self
                .promises
                .range(run.first()..run.end())
                .map(|(seq, _)| *seq)
                .collect();
            for seq in seqs {
                let promise = self.promises.get_mut(&seq).unwrap();
                let Some(items) = promise.owed.get_mut(&self.ids[0]) else {
                    continue;
                };
                let pieces = match &run {
                    Run::Whole { .. } => vec![0..items.len()],
                    Run::Part { pieces, .. } => pieces
                        .iter()
                        .map(|p| if *p == 0 { 0..1 } else { 1..items.len() })
                        .collect(),
                };
                for item in pieces.into_iter().flatten() {
                    if settled.is_ok() {
                        items_done += u64::from(std::mem::take(&mut items[item]));
                    } else {
                        self.maybe_done.insert((seq, item as u32));
                    }
                }
            }
        }
        match settled {
            Ok(settled) => {
                self.in_doubt.remove(&token);
                self.count(What::Settled);
                // Refused records may be there, and completed ones may have come back.
                let sum: u64 = settled.iter().map(|s| s.items).sum();
                assert_eq!(sum, items_done);
            }
            Err(_) => self.in_doubt.extend(before.map(|claim| (token, claim))),
        }
    }

    /// What is claimed is what was; of what is in doubt it may be.
    fn check_claims(&mut self) {
        let there: BTreeMap<String, Claim> = self
            .journal
            .claims(self.ids[0])
            .into_iter()
            .map(|claim| (claim.token.clone(), claim))
            .collect();
        for (token, claim) in &self.claims {
            assert_eq!(there.get(token), Some(claim), "claim {token}");
        }
        let unknown =
            |token: &&String| !self.claims.contains_key(*token) && !self.in_doubt.contains_key(*token);
        assert_eq!(there.keys().find(unknown), None, "a claim came back");
        self.claims = there;
        self.in_doubt.clear();
        let id = block_on(self.journal.identity()).unwrap();
        assert_eq!(*self.id.get_or_insert(id), id, "another journal");
    }

    fn put_blob(&mut self) {
        let blob = vec![self.step; self.rng.below(1500) as usize];
        match self.journal.put_blob("books", &blob) {
            Ok(()) => {
                (self.blob, self.blobs_tried) = (Some(blob), Vec::new());
                self.count(What::Blob);
            }
            Err(_) => self.blobs_tried.push(blob),
        }
    }

    /// Flips a bit of a record in a segment that was closed in order.
    fn flip(&mut self) {
        let Some(seq) = self.any().filter(|_| !self.is_failing) else {
            return;
        };
        let Some(place) = self.journal.shared().state.lock().locate(seq) else {
            return;
        };
        let is_sealed = {
            let state = self.journal.shared().state.lock();
            let mut all = state.segments.values();
            all.any(|s| Arc::ptr_eq(&s.file, &place.file) && s.sealed && !s.suspect)
        };
        let Some(promise) = self.promises.get_mut(&seq).filter(|_| is_sealed) else {
            return;
        };
        let at = place.offset + self.rng.below(place.len as u64);
        let mut byte = [0];
        if place.file.read_at(&mut byte, at).is_err() {
            return;
        }
        byte[0] ^= 1 << self.rng.below(8);
        let flipped = place.file.write_at(&[IoSlice::new(&byte)], at);
        flipped.and_then(|()| place.file.sync()).unwrap();
        promise.is_damaged = true;
        self.count(What::Flipped);
    }

    fn fail(&mut self) {
        self.is_failing = true;
        match self.rng.below(5) {
            0 => self.disk.fail(Some(Failure::Sync)),
            1 => self.disk.fail(Some(Failure::Io)),
            2 => self.disk.fail(Some(Failure::ReadOnly)),
            3 => self
                .disk
                .set_capacity(Some(self.disk.used() + self.rng.below(2 * SEGMENT))),
            _ => self.heal(),
        }
    }

    fn heal(&mut self) {
        self.disk.fail(None);
        self.disk.set_capacity(None);
        self.is_failing = false;
    }

    fn end_in_order(&mut self) {
        self.journal.close();
        let is_exact = !self.is_failing;
        self.heal();
        self.count(What::Closed);
        self.open();
        self.check(is_exact);
    }

    /// The end comes in the middle of writing.
    fn end(&mut self, how: What) {
        self.heal();
        self.disk.burn_after(self.rng.below(14));
        self.append();
        self.disk = match how {
            What::Killed => self.disk.kill(),
            _ => {
                self.marked.clear();
                self.disk.crash(self.rng.below(u64::MAX))
            }
        };
        self.count(how);
        self.open();
        self.check(false);
    }

    fn open(&mut self) {
        self.counts[What::Copied as usize] += self.journal.health().counts.copied;
        if self.seed % 3 == 1 && self.rng.below(4) == 0 {
            self.options.key = Some(Key::new(&[self.seed as u8; 32]));
        }
        let (journal, found) = Journal::open(Arc::new(self.disk.clone()), self.options.clone()).unwrap();
        assert!(
            found.damage.is_empty() || self.promises.values().any(|p| p.is_damaged),
            "{found:?}"
        );
        self.journal = journal;
    }

    /// All that was promised is there, and what is there beyond that was tried, or done a moment before the end; if it
    /// `is_exact`, nothing of that either.
    fn check(&mut self, is_exact: bool) {
        let all = self.books_agree();
        for (id, all) in all {
            self.pages_agree(id, &all);
            let mut there: BTreeSet<Seq> = BTreeSet::new();
            for owed in &all {
                self.check_owed(id, owed, is_exact);
                there.insert(owed.seq);
            }
            let first = self.ids[0];
            for (seq, promise) in &mut self.promises {
                let is_damaged = promise.is_damaged;
                let Some(items) = promise.owed.get_mut(&id).filter(|_| !there.contains(seq)) else {
                    continue;
                };
                for (i, owed) in items.iter_mut().enumerate() {
                    let maybe = id == first && self.maybe_done.contains(&(*seq, i as u32));
                    assert!(!*owed || maybe || is_damaged, "{seq:?} is lost for {id:?}");
                    *owed &= !maybe;
                }
            }
            self.count(What::Carried);
        }
        self.check_claims();
        let blob = self.journal.blob("books").unwrap().map(|b| b.to_vec());
        assert!(
            blob == self.blob || self.blobs_tried.iter().any(|b| Some(b) == blob.as_ref()),
            "blob {blob:?}"
        );
    }

    /// What each destination is owed, and that the sums are those of it.
    fn books_agree(&self) -> Vec<(DestId, Vec<Owed>)> {
        // Copies may have another length than what they are copies of.
        let state = self.journal.shared().state.lock();
        let (mut found, mut live) = (Vec::new(), BTreeMap::new());
        for destination in state.destinations() {
            let all = state.owed_after(destination.id, None, usize::MAX);
            let ranges = all.iter().flat_map(|o| o.remaining.clone());
            let items: u64 = ranges.map(|r| u64::from(r.end - r.start)).sum();
            let bytes: u64 = all.iter().map(|o| o.bytes).sum();
            let told = (destination.records, destination.items, destination.bytes);
            assert_eq!(told, (all.len() as u64, items, bytes));
            live.extend(all.iter().map(|o| (o.seq, o.bytes)));
            found.push((destination.id, all));
        }
        assert_eq!(state.live(), live.values().sum::<u64>());
        found
    }

    fn pages_agree(&self, id: DestId, all: &[Owed]) {
        let mut pages: Vec<Owed> = Vec::new();
        loop {
            let page = self.journal.owed_after(id, pages.last().map(|o| o.seq), 3);
            if page.is_empty() {
                break;
            }
            pages.extend(page);
        }
        let seqs = |of: &[Owed]| -> Vec<Seq> { of.iter().map(|o| o.seq).collect() };
        assert_eq!(seqs(&pages), seqs(all));
    }

    fn check_owed(&mut self, id: DestId, owed: &Owed, is_exact: bool) {
        let (seq, sent, marked) = (owed.seq, self.sent.get(&id), self.marked.get(&id));
        assert!(
            owed.maybe_sent || marked.is_none_or(|mark| *mark < seq),
            "{seq:?} may have been sent"
        );
        let bound = sent.map_or(0, |sent| sent.0 + 256);
        assert!(
            !owed.maybe_sent || seq.0 <= bound,
            "{seq:?} cannot have been sent"
        );
        let promise = self.promises.get_mut(&seq);
        match self.journal.read(seq) {
            Ok(data) => {
                assert!(self.tried.contains(&data[..]), "never written");
                assert!(
                    promise.as_ref().is_none_or(|p| p.data == data[..]),
                    "{seq:?} is another one"
                );
            }
            Err(error) => assert!(
                matches!(error, Error::Damaged { .. }) && promise.as_ref().is_some_and(|p| p.is_damaged),
                "{error}"
            ),
        }
        // One that was refused may be there.
        let Some(promise) = promise else { return };
        assert_eq!(owed.tenant, promise.tenant);
        let mut there = vec![false; owed.items as usize];
        for i in owed.remaining.iter().cloned().flatten() {
            there[i as usize] = true;
        }
        let items = promise.owed.get_mut(&id).expect("it was for this destination");
        for (i, owed) in items.iter_mut().enumerate() {
            let maybe = id == self.ids[0] && self.maybe_done.contains(&(seq, i as u32));
            assert!(
                !*owed || there[i] || maybe,
                "item {i} of {seq:?} is lost for {id:?}"
            );
            assert!(
                !is_exact || *owed == there[i] || maybe,
                "item {i} of {seq:?} came back for {id:?}"
            );
            *owed = there[i];
        }
    }

    /// In the end the disk works, everything is done, and there is room again.
    fn ends_well(&mut self) {
        self.heal();
        self.end_in_order();
        for destination in self.journal.destinations() {
            let owed = self.journal.owed(destination.id);
            let items = owed.iter().flat_map(|o| o.remaining.clone());
            let items: u64 = items.map(|r| u64::from(r.end - r.start)).sum();
            let discarded = self.journal.discard(destination.id);
            assert_eq!(
                discarded.iter().map(|d| d.records).sum::<u64>(),
                owed.len() as u64
            );
            assert_eq!(discarded.iter().map(|d| d.items).sum::<u64>(), items);
        }
        let data = vec![0xff; 2000];
        let is_taken = (0..200).any(|_| append(&self.journal, 1, &self.ids.clone(), &data).is_ok());
        assert!(is_taken, "no room though nothing is owed");
        for id in &self.ids {
            self.journal.discard(*id);
        }
        assert_eq!(self.journal.health().live_bytes, 0);
        self.journal.close();
        assert_eq!(self.journal.health().trouble, None);
        if self.seed.is_multiple_of(3) {
            assert!(
                !self.disk.holds(TENANT.as_bytes()),
                "a tenant lies on the disk in clear"
            );
        }
    }
}

#[test]
fn nothing_promised_is_lost_whatever_happens() {
    let seeds: u64 = std::env::var("WEIR_JOURNAL_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(400);
    let first: u64 = std::env::var("WEIR_JOURNAL_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let mut counts = [0; WHATS];
    for seed in first..first + seeds {
        let lived = std::panic::catch_unwind(|| Life::new(seed).live(60));
        let lived = lived.unwrap_or_else(|_| panic!("seed {seed}"));
        counts.iter_mut().zip(lived).for_each(|(sum, n)| *sum += n);
    }
    assert!(counts.iter().all(|n| *n > seeds / 4), "{counts:?}");
}

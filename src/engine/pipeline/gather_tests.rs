//! Exporters that gather: order, pieces, claims, kills and reloads, with a collector that does as told.
//!
//! The journal writes on a thread of its own, so time is not paused where there is one; what waits, waits for something
//! to have happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use component::collect::{Claim, Collect, Debts, Ending, Pieces, Receipt, Seal, Seq, Set};
use component::exporter::Harness as Offer;
use component::{Exporter, ExporterFactory, Stability};
use config::Section;
use parking_lot::Mutex;
use proptest::prelude::*;
use storage::Journal;
use storage::journal::Options;
use storage::journal::sim::SimDisk;
use telemetry::{Column, Totals};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::tests::{World, exporter_scripts, spec};
use super::*;
use crate::harness::Settings;
use crate::test_kit::*;

/// A collector that keeps what it takes, and says what it is told to say.
struct Heap {
    /// Names of the records, and what came with them.
    taken: Mutex<Vec<(Vec<u64>, Receipt)>>,
    debts: Mutex<Option<Arc<dyn Debts>>>,
    /// Payloads that it has room for.
    room: Semaphore,
    refusals: Mutex<VecDeque<Refusal>>,
    seals: Mutex<Vec<Seal>>,
    stops: AtomicUsize,
    /// Completes all that it has taken when it stops.
    is_swift: bool,
    /// What it claims when it starts.
    claims: Vec<Claim>,
}

thread_local! {
    /// In the order in which they were built.
    static HEAPS: std::cell::RefCell<Vec<Arc<Heap>>> = std::cell::RefCell::default();
    /// For those that are built from now on.
    static SWIFT: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    static ROOM: std::cell::Cell<usize> = const { std::cell::Cell::new(100_000) };
    static CLAIMS: std::cell::RefCell<Vec<Claim>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[derive(Clone, Default, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
struct Nothing {}

pub(super) static HEAP: ExporterFactory = ExporterFactory {
    kind: "heap",
    aliases: &[],
    keys: &[],
    signals: &[(Signal::Logs, Stability::Beta), (Signal::Traces, Stability::Beta)],
    harness: Offer::COLLECT,
    build: |section, _| {
        section.parse::<Nothing>()?;
        let heap = Arc::new(Heap {
            taken: Mutex::default(),
            debts: Mutex::default(),
            room: Semaphore::new(ROOM.get()),
            refusals: Mutex::default(),
            seals: Mutex::default(),
            stops: AtomicUsize::new(0),
            is_swift: SWIFT.get(),
            claims: CLAIMS.take(),
        });
        HEAPS.with_borrow_mut(|heaps| heaps.push(heap.clone()));
        Ok(Exporter::Collect(heap))
    },
};

fn heap(at: usize) -> Arc<Heap> {
    HEAPS.with_borrow(|heaps| heaps[at].clone())
}

impl Collect for Heap {
    fn start<'a>(
        &'a self,
        _: Arc<dyn Host>,
        mut debts: Vec<Arc<dyn Debts>>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        debts.retain(|debts| debts.signal() == Signal::Logs);
        *self.debts.lock() = debts.pop();
        Box::pin(async {
            for claim in self.claims.clone() {
                let claimed = self.debts().claim(claim).await;
                claimed.expect("the disk is well");
            }
            Ok(())
        })
    }

    fn append(&self, payload: Payload, receipt: Receipt) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let permit = self.room.acquire().await;
            permit.expect("it is never closed").forget();
            if let Some(refusal) = self.refusals.lock().pop_front() {
                return Err(refusal);
            }
            self.taken.lock().push((records(&payload), receipt));
            Ok(())
        })
    }

    fn seal(&self, why: Seal) -> BoxFuture<'_, ()> {
        self.seals.lock().push(why);
        component::ready(())
    }

    fn stop(&self, _: Instant) -> BoxFuture<'_, ()> {
        self.stops.fetch_add(1, SeqCst);
        Box::pin(async {
            if self.is_swift && self.debts.lock().is_some() {
                let set: Set = self.receipts().iter().map(|r| r.seq).collect();
                self.complete(&set).await;
            }
        })
    }
}

impl Heap {
    fn debts(&self) -> Arc<dyn Debts> {
        self.debts.lock().clone().expect("it was started")
    }

    fn count(&self) -> usize {
        self.taken.lock().len()
    }

    fn receipts(&self) -> Vec<Receipt> {
        self.taken
            .lock()
            .iter()
            .map(|(_, receipt)| receipt.clone())
            .collect()
    }

    fn names(&self) -> Vec<u64> {
        self.taken
            .lock()
            .iter()
            .flat_map(|(names, _)| names.clone())
            .collect()
    }

    fn seq(&self, at: usize) -> Seq {
        self.taken.lock()[at].1.seq
    }

    async fn complete(&self, set: &Set) {
        let debts = self.debts();
        debts
            .complete("", set, Ending::Stored)
            .await
            .expect("the disk is well");
    }
}

fn set(seqs: &[Seq]) -> Set {
    seqs.iter().copied().collect()
}

fn piece(seq: Seq, pieces: &[u32], of: u32) -> Set {
    let mut set = Set::new();
    pieces.iter().for_each(|piece| set.add_piece(seq, *piece, of));
    set
}

fn claim(token: &str, set: &Set) -> Claim {
    Claim {
        token: token.into(),
        rules: "rules-of-then".into(),
        note: "key".into(),
        set: set.clone(),
    }
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A graph with collectors, and a journal if there is a disk.
struct Life {
    world: World,
    host: Arc<Reports>,
}

impl Life {
    async fn begin(text: &str, disk: Option<&SimDisk>) -> Life {
        HEAPS.with_borrow_mut(Vec::clear);
        exporter_scripts(&[("out", Script::new([]))]);
        let journal = disk.map(|disk| {
            let opened = Journal::open(Arc::new(disk.clone()), Options::default());
            let (journal, found) = opened.expect("the disk is well");
            assert_eq!(found.damage, Vec::<String>::new());
            journal
        });
        let host = Arc::new(Reports(Mutex::default(), journal));
        let cx = context();
        let graph = Graph::build(spec(text), &cx).unwrap_or_else(|faults| panic!("{faults:?}"));
        graph.start(host.clone()).await.expect("starts");
        let graph = Arc::new(graph);
        Life {
            world: World { cx, graph },
            host,
        }
    }

    async fn send(&self, payload: Payload) -> Vec<u64> {
        let names = records(&payload);
        self.world.send(payload).await.expect("there is room");
        names
    }

    fn totals(&self) -> Totals {
        totals(&self.world.cx, "heap")
    }

    /// Records and items.
    fn owed(&self) -> (u64, u64) {
        let journal = self.host.1.as_ref().expect("there is one");
        let all = journal.destinations().into_iter();
        let mut mine = all.filter(|d| d.name == "exporter/heap/logs");
        mine.next().map_or((0, 0), |d| (d.records, d.items))
    }

    fn check_books(&self) {
        if let Err(faults) = self.world.cx.telemetry.ledger.check() {
            panic!("the books do not balance:\n{}", faults.join("\n"));
        }
    }

    async fn reload(&mut self, text: &str) -> Retired {
        let next = Graph::build_after(spec(text), &self.world.cx, &self.world.graph, &Kept::default());
        let next = next.unwrap_or_else(|faults| panic!("{faults:?}"));
        let host = self.host.clone();
        let retired = next.take_over(&self.world.graph, host).await.expect("takes over");
        self.world.graph = Arc::new(next);
        retired
    }

    /// Stops in order; what is held then is what the journal owes.
    async fn end(self) {
        self.world.graph.drain(Duration::from_secs(5)).await;
        self.check_books();
        let held = self.totals().held();
        assert_eq!(held, if self.host.1.is_some() { self.owed().1 } else { 0 });
        if let Some(journal) = &self.host.1 {
            journal.close();
        }
    }
}

const DURABLE: &str = "in = {}\nheap = {storage: disk}\nlogs: in | | heap";

#[tokio::test]
async fn records_come_in_order_and_are_owed_until_they_are_complete() {
    let life = Life::begin(DURABLE, Some(&SimDisk::default())).await;
    let heap = heap(0);
    let mut sent = Vec::new();
    for i in 0..20 {
        sent.extend(life.send(logs_of(["acme", "umbrella"][i % 2], 1 + i % 4)).await);
    }
    until("all taken", || heap.count() == 20).await;
    assert_eq!(heap.names(), sent);
    let receipts = heap.receipts();
    assert!(
        receipts
            .windows(2)
            .all(|w| w[0].seq < w[1].seq && w[0].admitted_ms <= w[1].admitted_ms)
    );
    assert!(
        receipts
            .iter()
            .all(|r| r.owed == Pieces::All && r.rules.is_none() && r.admitted_ms > 0)
    );
    let items = sent.len() as u64;
    assert_eq!((life.owed(), life.totals().held()), ((20, items), items));
    // The last first.
    let mut out = 0;
    for (at, receipt) in receipts.iter().enumerate().rev() {
        heap.complete(&set(&[receipt.seq])).await;
        out += 1 + at as u64 % 4;
        let totals = life.totals();
        assert_eq!((totals.get(Column::Out), totals.held()), (out, items - out));
    }
    heap.complete(&set(&[receipts[3].seq])).await;
    assert_eq!(
        (life.owed(), life.totals().get(Column::Out)),
        ((0, 0), items),
        "twice is once"
    );
    assert_eq!(heap.debts().journal(), heap.debts().journal());
    assert!(heap.debts().journal().is_some());
    life.end().await;
    assert_eq!((heap.stops.load(SeqCst), heap.count()), (1, 20));
}

#[tokio::test]
async fn after_a_kill_what_is_claimed_stays_and_the_rest_comes_again() {
    let disk = SimDisk::default();
    let life = Life::begin(DURABLE, Some(&disk)).await;
    let first = heap(0);
    let mut sent = Vec::new();
    for _ in 0..6 {
        sent.push(life.send(logs(3)).await);
    }
    until("all taken", || first.count() == 6).await;
    let seqs: Vec<Seq> = (0..6).map(|at| first.seq(at)).collect();
    let debts = first.debts();
    let well = "the disk is well";
    debts.claim(claim("a#1", &set(&seqs[..2]))).await.expect(well);
    debts
        .claim(claim("a#2", &piece(seqs[2], &[0], 3)))
        .await
        .expect(well);
    let mut third = piece(seqs[4], &[1], 3);
    third.add(seqs[3]);
    debts.claim(claim("a#3", &third)).await.expect(well);
    debts.note("rules-of-then", "by tenant").await.expect(well);
    debts.complete("a#3", &third, Ending::Stored).await.expect(well);
    assert_eq!(life.totals().get(Column::Out), 4);
    let journal = debts.journal();
    life.check_books();
    let disk = disk.crash(3);
    drop((life, first, debts));

    let life = Life::begin(DURABLE, Some(&disk)).await;
    let heap = heap(0);
    until("what is owed", || heap.count() == 3).await;
    let debts = heap.debts();
    assert_eq!(debts.journal(), journal, "the same one");
    assert_eq!(
        debts.notes(),
        [("rules-of-then".to_owned(), "by tenant".to_owned())]
    );
    let tokens: Vec<String> = debts.claims().into_iter().map(|claim| claim.token).collect();
    assert_eq!(tokens, ["a#1", "a#2"]);
    let check = |at: usize, record: usize, owed: Pieces, rules: Option<&str>| {
        let (names, receipt) = heap.taken.lock()[at].clone();
        assert_eq!((receipt.seq, receipt.owed), (seqs[record], owed), "{at}");
        assert_eq!(receipt.rules.as_deref(), rules, "{at}");
        assert_eq!(names, sent[record], "the whole record, for its collector to cut");
    };
    let pieces = |pieces: &[u32]| Pieces::Some {
        of: 3,
        pieces: pieces.to_vec(),
    };
    let then = Some("rules-of-then");
    check(0, 2, pieces(&[1, 2]), then);
    check(1, 4, pieces(&[0, 2]), then);
    check(2, 5, Pieces::All, None);
    let totals = life.totals();
    assert_eq!((totals.get(Column::CarriedIn), totals.held()), (14, 14));

    // What is released waits again, and nothing else.
    debts.release("a#2").await.expect(well);
    debts.release("never").await.expect(well);
    until("a piece", || heap.count() == 4).await;
    check(3, 2, pieces(&[0]), then);
    debts.release("a#1").await.expect(well);
    until("two records", || heap.count() == 6).await;
    check(4, 0, Pieces::All, None);
    check(5, 1, Pieces::All, None);
    assert_eq!(debts.claims(), []);
    heap.complete(&set(&[seqs[0], seqs[1], seqs[2], seqs[3], seqs[4]]))
        .await;
    debts
        .complete("", &set(&seqs[5..]), Ending::Dropped("too_old"))
        .await
        .expect(well);
    assert_eq!(life.owed(), (0, 0));
    let totals = life.totals();
    assert_eq!((totals.get(Column::Out), totals.held()), (11, 0));
    life.end().await;
}

/// A collector knows more than the journal: what it sealed, and was killed before it could claim it.
#[tokio::test]
async fn what_is_claimed_at_the_start_does_not_come_again() {
    let disk = SimDisk::default();
    let life = Life::begin(DURABLE, Some(&disk)).await;
    let first = heap(0);
    for _ in 0..5 {
        life.send(logs(3)).await;
    }
    until("all taken", || first.count() == 5).await;
    let seqs: Vec<Seq> = (0..5).map(|at| first.seq(at)).collect();
    let debts = first.debts();
    let earlier = claim("a#0", &piece(seqs[3], &[0], 3));
    debts.claim(earlier).await.expect("the disk is well");
    let disk = disk.crash(3);
    drop((life, first, debts));

    let mut both = piece(seqs[2], &[0, 2], 3);
    [1, 2].iter().for_each(|n| both.add_piece(seqs[3], *n, 3));
    CLAIMS.set(vec![claim("a#1", &set(&seqs[..2])), claim("a#2", &both)]);
    let life = Life::begin(DURABLE, Some(&disk)).await;
    let heap = heap(0);
    let later = life.send(logs(1)).await;
    until("the rest", || heap.names().ends_with(&later)).await;
    let taken: Vec<(Seq, Pieces, Option<String>)> = heap
        .receipts()
        .into_iter()
        .map(|receipt| {
            (
                receipt.seq,
                receipt.owed,
                receipt.rules.map(|rules| rules.to_string()),
            )
        })
        .collect();
    let middle = Pieces::Some {
        of: 3,
        pieces: vec![1],
    };
    let expected = [
        (seqs[2], middle, Some("rules-of-then".to_owned())),
        (seqs[4], Pieces::All, None),
        (heap.seq(2), Pieces::All, None),
    ];
    assert_eq!(taken, expected);
    life.end().await;
}

#[tokio::test]
async fn tenants_of_one_record_are_booked_apart() {
    let disk = SimDisk::default();
    let life = Life::begin(DURABLE, Some(&disk)).await;
    let first = heap(0);
    life.send(logs_of_all(&["acme", "umbrella", "acme"])).await;
    until("taken", || first.count() == 1).await;
    let seq = first.seq(0);
    first.complete(&piece(seq, &[1], 3)).await;
    let held = |life: &Life| {
        let row = life.world.cx.telemetry.ledger.row(
            telemetry::Place::Node(Node::Exporter("heap".into())),
            Signal::Logs,
        );
        let all = row.by_tenant();
        let of = |tenant| all.iter().find(|(name, _)| name.as_deref() == Some(tenant));
        ["acme", "umbrella"].map(|tenant| of(tenant).map_or(0, |(_, totals)| totals.held()))
    };
    assert_eq!(held(&life), [2, 0]);
    let disk = disk.crash(1);
    drop((life, first));
    let life = Life::begin(DURABLE, Some(&disk)).await;
    let heap = heap(0);
    until("taken", || heap.count() == 1).await;
    assert_eq!(held(&life), [2, 0]);
    heap.complete(&set(&[seq])).await;
    assert_eq!(held(&life), [0, 0]);
    life.end().await;
}

#[tokio::test]
async fn a_record_that_is_never_taken_is_given_up_and_booked() {
    let life = Life::begin(DURABLE, Some(&SimDisk::default())).await;
    let heap = heap(0);
    let soon = Refusal::Busy {
        retry_after: Some(Duration::from_millis(1)),
    };
    heap.refusals
        .lock()
        .extend([soon, Refusal::Invalid("no records in it".into())]);
    life.send(logs(2)).await;
    let second = life.send(logs(3)).await;
    until("the second", || heap.count() == 1).await;
    assert_eq!((heap.names(), life.owed()), (second, (1, 3)));
    let totals = life.totals();
    assert_eq!((totals.failed_all(), totals.held()), (2, 3));
    life.end().await;
}

#[tokio::test]
async fn where_there_is_no_room_records_wait_on_disk() {
    ROOM.set(3);
    let life = Life::begin(DURABLE, Some(&SimDisk::default())).await;
    ROOM.set(100_000);
    let heap = heap(0);
    let mut sent = Vec::new();
    // More than what is kept in memory.
    for _ in 0..40 {
        sent.extend(life.send(logs(400)).await);
    }
    until("three", || heap.count() == 3).await;
    assert_eq!(life.owed(), (40, 16_000));
    heap.room.add_permits(100);
    until("all", || heap.count() == 40).await;
    assert_eq!(heap.names(), sent);
    life.end().await;
}

#[tokio::test]
async fn a_successor_starts_when_the_one_before_has_stopped() {
    let mut life = Life::begin(DURABLE, Some(&SimDisk::default())).await;
    let old = heap(0);
    let mut sent = life.send(logs(2)).await;
    sent.extend(life.send(logs(3)).await);
    until("taken", || old.count() == 2).await;
    let claimed = set(&[old.seq(0)]);
    old.debts()
        .claim(claim("a#1", &claimed))
        .await
        .expect("the disk is well");
    let retired = life
        .reload("in = {}\nheap = {storage: disk, sending_queue: {queue_size: 9}}\nlogs: in | | heap")
        .await;
    let new = heap(1);
    let after = life.send(logs(4)).await;
    assert!(new.debts.lock().is_none(), "the old one has not stopped");
    retired.drain(Instant::now() + Duration::from_secs(5)).await;
    assert_eq!((old.seals.lock().clone(), old.count()), (vec![Seal::HandOver], 2));
    until("what was not claimed", || new.count() == 2).await;
    assert_eq!(new.names(), [&sent[2..], &after].concat());
    assert_eq!(new.debts().claims().len(), 1);
    new.debts()
        .complete("a#1", &claimed, Ending::Stored)
        .await
        .expect("the disk is well");
    let rest: Set = new.receipts().iter().map(|r| r.seq).collect();
    new.complete(&rest).await;
    let totals = life.totals();
    assert_eq!((totals.get(Column::In), totals.get(Column::Out)), (9, 9));
    life.end().await;
    assert_eq!(new.stops.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn in_memory_what_is_not_complete_at_the_end_is_lost_and_booked() {
    let text = "in = {}\nheap = {sending_queue: {queue_size: 2}}\nlogs: in | | heap";
    ROOM.set(1);
    let life = Life::begin(text, None).await;
    ROOM.set(100_000);
    let heap = heap(0);
    let sent = life.send(logs(3)).await;
    settle().await;
    life.send(logs(2)).await;
    settle().await;
    life.send(logs(1)).await;
    // One was taken, one is being handed over, one waits.
    let refused = life.world.send(logs(1)).await.expect_err("full");
    assert!(matches!(refused, Refusal::Busy { .. }), "{refused:?}");
    assert_eq!((heap.names(), heap.seq(0)), (sent, Seq(0)));
    assert_eq!(life.totals().held(), 6);
    assert_eq!(heap.debts().journal(), None);
    heap.complete(&piece(Seq(0), &[1], 2)).await;
    assert_eq!(life.totals().held(), 5);
    heap.complete(&set(&[Seq(0)])).await;
    heap.room.add_permits(1);
    settle().await;
    assert_eq!((heap.count(), life.totals().held()), (2, 3));
    life.world.graph.drain(Duration::from_secs(10)).await;
    let totals = life.totals();
    assert_eq!((totals.get(Column::Out), totals.failed_all()), (3, 3));
    assert_books_balance(&life.world.cx);
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_callers_wait_until_it_is_taken() {
    let text = "in = {}\nheap = {sending_queue: {enabled: false}}\nlogs: in | | heap";
    SWIFT.set(true);
    let life = Life::begin(text, None).await;
    SWIFT.set(false);
    let heap = heap(0);
    life.send(logs(3)).await;
    heap.refusals.lock().push_back(Refusal::unavailable("not now"));
    life.world.send(logs(2)).await.expect_err("refused");
    assert_eq!((life.totals().get(Column::In), life.totals().held()), (3, 3));
    life.world.finish().await;
    assert_eq!(life.totals().get(Column::Out), 3);
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_memory_goes_to_the_successor() {
    let text =
        |size: u32| format!("in = {{}}\nheap = {{sending_queue: {{queue_size: {size}}}}}\nlogs: in | | heap");
    ROOM.set(1);
    SWIFT.set(true);
    let mut life = Life::begin(&text(5), None).await;
    ROOM.set(100_000);
    let old = heap(0);
    let mut sent = Vec::new();
    for n in 1..=4 {
        sent.extend(life.send(logs(n)).await);
        settle().await;
    }
    let retired = life.reload(&text(6)).await;
    SWIFT.set(false);
    old.room.add_permits(5);
    retired.drain(Instant::now() + Duration::from_secs(10)).await;
    until("the rest", || heap(1).count() == 2).await;
    assert_eq!([old.names(), heap(1).names()].concat(), sent);
    assert_eq!(life.totals().get(Column::Out), 3);
    life.world.finish().await;
    assert_eq!(life.totals().get(Column::Out), 10);
}

#[tokio::test(start_paused = true)]
async fn of_two_successors_the_second_waits_for_the_first_of_all() {
    let text =
        |size: u32| format!("in = {{}}\nheap = {{sending_queue: {{queue_size: {size}}}}}\nlogs: in | | heap");
    SWIFT.set(true);
    let mut life = Life::begin(&text(5), None).await;
    let mut sent = life.send(logs(2)).await;
    settle().await;
    let first = life.reload(&text(6)).await;
    let second = life.reload(&text(7)).await;
    SWIFT.set(false);
    sent.extend(life.send(logs(3)).await);
    let soon = || Instant::now() + Duration::from_secs(10);
    second.drain(soon()).await;
    settle().await;
    let is_started = |at: usize| heap(at).debts.lock().is_some();
    assert_eq!([0, 1, 2].map(is_started), [true, false, false]);
    first.drain(soon()).await;
    until("it takes over", || is_started(2)).await;
    assert!(!is_started(1), "nobody would stop it");
    until("the rest", || heap(2).count() == 1).await;
    assert_eq!([heap(0).names(), heap(2).names()].concat(), sent);
    life.world.finish().await;
    assert_eq!(life.totals().get(Column::Out), 5);
}

#[test]
fn what_cannot_be_asked_of_it_is_told() {
    let check = |config: &str, expected: &[(&str, &str)]| {
        let text = format!("in = {{}}\nheap = {config}\nlogs: in | | heap");
        let faults = match Graph::build(spec(&text), &context()) {
            Ok(_) => Vec::new(),
            Err(faults) => faults,
        };
        let told: Vec<String> = faults.iter().map(|fault| format!("{fault:?}")).collect();
        assert_eq!(told.len(), expected.len(), "{config}: {told:?}");
        for (told, (message, help)) in told.iter().zip(expected) {
            assert!(told.contains(message) && told.contains(help), "{config}: {told}");
        }
    };
    check("{}", &[]);
    check(
        "{storage: disk, retry_on_failure: {max_elapsed_time: 0}, sending_queue: {sizer: bytes, queue_size: 1000}}",
        &[],
    );
    check("{storage: disk, sending_queue: {storage: disk}}", &[]);
    check(
        "{storage: disk, sending_queue: {storage: other}}",
        &[("name different extensions", "write one of them")],
    );
    check(
        "{storage: disk, sending_queue: {batch: {}}}",
        &[("what it takes has no batches", "take `batch` out")],
    );
    check(
        "{storage: disk, retry_on_failure: {enabled: false}}",
        &[("does not give up", "take `enabled: false` out")],
    );
    check(
        "{storage: disk, retry_on_failure: {max_elapsed_time: 5m}}",
        &[("does not give up", "set it to 0")],
    );
    check(
        "{storage: disk, retry_on_failure: {max_retries: 3}}",
        &[("does not give up", "take `max_retries` out")],
    );
    check(
        "{storage: disk, sending_queue: {overflow: drop_oldest}}",
        &[("is never dropped", "overflow: refuse")],
    );
    check(
        "{sending_queue: {wait_for_result: true}}",
        &[("long after", "with `storage`")],
    );
}

#[test]
fn a_queue_on_disk_is_bounded_by_the_disk_unless_the_user_says_otherwise() {
    let check = |config: &str, expected: Option<(bool, usize)>| {
        let mut section = Section::from_yaml(config).expect("YAML");
        let settings = Settings::take(&mut section, &Offer::COLLECT).expect("valid");
        let queue = settings.queue.map(|q| (q.storage.is_some(), q.size));
        assert_eq!(queue, expected, "{config}");
    };
    check("{}", Some((false, 1000)));
    check("{storage: disk}", Some((true, 1000)));
    check("{sending_queue: {enabled: false}}", None);
    check(
        "{storage: disk, sending_queue: {enabled: false}}",
        Some((true, 1000)),
    );
}

#[test]
fn the_plan_says_what_it_does() {
    let check = |text: &str, expected: &[&str]| {
        let graph = Graph::build(spec(text), &context()).unwrap_or_else(|faults| panic!("{faults:?}"));
        let plan = graph.plan().to_string();
        let plan = plan.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in expected {
            assert!(plan.contains(words), "{words}: {plan}");
        }
        assert!(
            !plan.contains("retr") && !plan.contains("sent at a time"),
            "{plan}"
        );
    };
    check(
        "in = {}\nbatch = {}\nheap = {storage: disk}\nlogs: in | batch | heap",
        &[
            "queue on disk (disk): as much as that takes, handed over one at a time; full means busy",
            "batch has nothing to do here: it gathers by itself",
            "never gives up",
        ],
    );
    check(
        "in = {}\nheap = {}\nlogs: in | | heap",
        &[
            "queue in memory: 1000 requests, handed over one at a time",
            "never gives up",
        ],
    );
}

// --- random lives ---

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    /// What is open of one kind becomes an object that is claimed and put.
    Object(u32),
    /// One is claimed and never put.
    Stray(u32),
    Complete(usize),
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..6usize).prop_map(Step::Send),
        3 => (0..3u32).prop_map(Step::Object),
        1 => (0..3u32).prop_map(Step::Stray),
        3 => (0..9usize).prop_map(Step::Complete),
        1 => Just(Step::Release),
    ]
}

/// What the store and the state directory have: they outlive the gateway.
#[derive(Default)]
struct Store {
    /// Records by name, each as often as it was put.
    put: BTreeMap<u64, usize>,
    /// Objects that are put and not complete.
    objects: BTreeMap<String, Set>,
    /// Claims of what will never be put.
    strays: BTreeSet<String>,
    next: u64,
}

/// Item `i` of a record is of piece `i`, and those behind the third are too.
fn pieces_of(items: usize) -> u32 {
    items.min(3) as u32
}

/// Takes what is open of one piece number: its set, and the names of its records.
fn take_open(
    taken: &[(Vec<u64>, Receipt)],
    used: &mut BTreeSet<(Seq, u32, usize)>,
    piece: u32,
) -> (Set, Vec<u64>) {
    let (mut set, mut out) = (Set::new(), Vec::new());
    for (at, (names, receipt)) in taken.iter().enumerate() {
        let of = pieces_of(names.len());
        if piece >= of || !receipt.owed.contains(piece) || !used.insert((receipt.seq, piece, at)) {
            continue;
        }
        set.add_piece(receipt.seq, piece, of);
        let last = piece + 1 == of;
        let names = names
            .iter()
            .skip(piece as usize)
            .take(if last { usize::MAX } else { 1 });
        out.extend(names);
    }
    (set, out)
}

async fn live(
    disk: &SimDisk,
    steps: &[Step],
    store: &mut Store,
    sent: &mut Vec<u64>,
    how: Option<u64>,
) -> SimDisk {
    let life = Life::begin(DURABLE, Some(disk)).await;
    let heap = heap(0);
    let (debts, well) = (heap.debts(), "the disk is well");
    let mut used = BTreeSet::new();
    // What was claimed and not put is given back.
    let known: BTreeSet<String> = debts.claims().into_iter().map(|claim| claim.token).collect();
    for token in std::mem::take(&mut store.strays) {
        assert!(known.contains(&token), "{token}");
        debts.release(&token).await.expect(well);
    }
    for (token, set) in &store.objects {
        let claimed = debts.claims().into_iter().find(|claim| claim.token == *token);
        assert_eq!(claimed.map(|claim| claim.set), Some(set.clone()), "{token}");
    }
    for step in steps {
        match step {
            Step::Send(items) => sent.extend(life.send(logs(*items)).await),
            Step::Object(piece) | Step::Stray(piece) => {
                let (set, names) = take_open(&heap.taken.lock().clone(), &mut used, *piece);
                if set.is_empty() {
                    continue;
                }
                let token = format!("o#{:04}", store.next);
                store.next += 1;
                debts.claim(claim(&token, &set)).await.expect(well);
                if matches!(step, Step::Stray(_)) {
                    store.strays.insert(token);
                    continue;
                }
                store.objects.insert(token, set);
                names
                    .into_iter()
                    .for_each(|name| *store.put.entry(name).or_default() += 1);
            }
            Step::Complete(at) => {
                let all: Vec<String> = store.objects.keys().cloned().collect();
                let Some(token) = all.get(*at % all.len().max(1)) else {
                    continue;
                };
                let set = &store.objects[token];
                debts.complete(token, set, Ending::Stored).await.expect(well);
                store.objects.remove(token);
            }
            Step::Release => {
                if let Some(token) = store.strays.pop_first() {
                    debts.release(&token).await.expect(well);
                }
            }
        }
        life.check_books();
        assert_eq!(life.totals().held(), life.owed().1);
    }
    match how {
        Some(seed) => {
            let after = if seed % 2 == 0 {
                disk.kill()
            } else {
                disk.crash(seed)
            };
            // Nothing that is still running reaches it.
            drop(life);
            after
        }
        None => {
            // All that is left becomes objects, and is complete.
            for token in std::mem::take(&mut store.strays) {
                debts.release(&token).await.expect(well);
            }
            let deadline = Instant::now() + Duration::from_secs(20);
            while life.owed().0 > 0 {
                assert!(Instant::now() < deadline, "something is never handed over");
                for piece in 0..3 {
                    let (set, names) = take_open(&heap.taken.lock().clone(), &mut used, piece);
                    names
                        .into_iter()
                        .for_each(|name| *store.put.entry(name).or_default() += 1);
                    heap.complete(&set).await;
                }
                for (token, set) in std::mem::take(&mut store.objects) {
                    debts.complete(&token, &set, Ending::Stored).await.expect(well);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(debts.claims(), []);
            life.end().await;
            disk.clone()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is claimed, complete or given back when a life ends: what was acknowledged is put once.
    #[test]
    fn what_was_acknowledged_is_put_once(
        lives in prop::collection::vec((prop::collection::vec(step(), 1..25), any::<u64>()), 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        let (mut disk, mut store, mut sent) = (SimDisk::default(), Store::default(), Vec::new());
        runtime.block_on(async {
            for (steps, seed) in &lives {
                disk = live(&disk, steps, &mut store, &mut sent, Some(*seed)).await;
            }
            live(&disk, &[], &mut store, &mut sent, None).await;
        });
        let want: BTreeMap<u64, usize> = sent.iter().map(|name| (*name, 1)).collect();
        prop_assert_eq!(store.put, want);
    }
}

//! Queues on a simulated disk: what is acknowledged is delivered, whatever happens meanwhile.
//!
//! The journal writes on a thread of its own, so time is not paused here; nothing waits for a span of time but for
//! something to have happened.

use std::time::Duration;

use component::Refusal;
use storage::journal::Options;
use storage::journal::sim::SimDisk;
use telemetry::{Node, Totals};
use wire::Signal;

use super::*;
use crate::harness::{Harness, QueueSettings, RetrySettings, Settings};
use crate::pipeline::GraphContext;
use crate::pipeline::edge::{Edge, Target};
use crate::pipeline::fanout::Fanout;
use crate::test_kit::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn queue(size: usize) -> QueueSettings {
    QueueSettings {
        consumers: 2,
        size,
        sizer: Sizer::Requests,
        block: false,
        wait_for_result: false,
        storage: Some(ComponentId::parse("disk").expect("an id")),
        overflow: Overflow::Refuse,
        batch: None,
    }
}

fn settings(size: usize) -> Settings {
    Settings {
        timeout: Some(Duration::from_secs(5)),
        retry: Some(RetrySettings {
            max: MS(20),
            elapsed_max: None,
            ..retry(MS(5))
        }),
        queue: Some(queue(size)),
        ..Settings::default()
    }
}

/// One life of a gateway: exporters that share a journal, at the end of one pipeline.
struct Life {
    cx: GraphContext,
    journal: Journal,
    harnesses: Vec<Arc<Harness>>,
    way: Arc<Fanout>,
}

impl Life {
    async fn begin(disk: &SimDisk, exporters: &[(&str, &Arc<Script>, Settings)]) -> Life {
        Life::with(disk, Options::default(), exporters).await
    }

    async fn with(disk: &SimDisk, options: Options, exporters: &[(&str, &Arc<Script>, Settings)]) -> Life {
        let (journal, found) = Journal::open(Arc::new(disk.clone()), options).expect("the disk is well");
        assert!(found.damage.is_empty(), "{:?}", found.damage);
        let cx = context();
        let host = Arc::new(Reports(Mutex::default(), Some(journal.clone())));
        let (mut edges, mut harnesses) = (Vec::new(), Vec::new());
        for (id, script, settings) in exporters {
            let harness = Harness::new(
                &ComponentId::parse(id).expect("an id"),
                Signal::Logs,
                (*script).clone(),
                settings.clone(),
                &cx.telemetry,
                &cx.memory,
            );
            edges.push(edge(&cx, "logs", id, harness.entry(None)));
            harness.open(&*host).await.expect("it opens");
            harness.start(host.clone());
            harnesses.push(harness);
        }
        Life {
            way: Arc::new(Fanout::new(edges)),
            cx,
            journal,
            harnesses,
        }
    }

    async fn send(&self, payload: Payload) -> Result<Vec<u64>, Refusal> {
        let names = records(&payload);
        self.way.send(payload).await.map(|_| names)
    }

    fn owed(&self, exporter: &str) -> (u64, u64) {
        let name = format!("exporter/{exporter}/logs");
        let all = self.journal.destinations();
        all.iter()
            .find(|d| d.name == name)
            .map_or((0, 0), |d| (d.records, d.items))
    }

    fn totals(&self, exporter: &str) -> Totals {
        totals(&self.cx, exporter)
    }

    fn check_books(&self) {
        if let Err(faults) = self.cx.telemetry.ledger.check() {
            panic!("the books do not balance:\n{}", faults.join("\n"));
        }
    }

    /// In order: what has begun ends, the rest stays.
    async fn end(self) {
        for harness in &self.harnesses {
            harness.drain(Instant::now() + Duration::from_secs(5)).await;
        }
        self.check_books();
        for (harness, id) in self.harnesses.iter().map(|h| (h, h.id().to_owned())) {
            assert_eq!(
                self.totals(&id).held(),
                self.owed(&id).1,
                "held is what the journal owes"
            );
            let _ = harness;
        }
        self.journal.close();
    }
}

/// Waits until it is so.
async fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(MS(2)).await;
    }
}

fn sorted(mut names: Vec<u64>) -> Vec<u64> {
    names.sort_unstable();
    names
}

fn taken(script: &Script) -> Vec<u64> {
    sorted(script.taken.lock().clone())
}

#[tokio::test]
async fn what_is_acknowledged_is_on_disk_and_delivered() {
    let disk = SimDisk::default();
    let script = Script::new([Act::Retry, Act::Retry]);
    let life = Life::begin(&disk, &[("out", &script, settings(1000))]).await;
    let mut sent = Vec::new();
    for i in 0..20 {
        sent.extend(life.send(logs(1 + i % 4)).await.expect("there is room"));
    }
    let items = sent.len() as u64;
    until("all delivered", || life.totals("out").get(Column::Out) == items).await;
    assert_eq!(taken(&script), sorted(sent));
    assert_eq!(life.owed("out"), (0, 0));
    let totals = life.totals("out");
    assert_eq!((totals.get(Column::In), totals.held()), (items, 0));
    life.end().await;
}

#[tokio::test]
async fn after_a_crash_what_was_acknowledged_comes_again_in_order() {
    let disk = SimDisk::default();
    let dead = Script::by(|_| Act::Hang);
    let life = Life::begin(&disk, &[("out", &dead, settings(1000))]).await;
    let mut sent = Vec::new();
    for _ in 0..30 {
        sent.extend(life.send(logs(3)).await.expect("there is room"));
    }
    life.check_books();
    let disk = disk.crash(7);
    drop(life);
    let mut one = settings(1000);
    one.queue.as_mut().expect("on").consumers = 1;
    let well = Script::new([]);
    let life = Life::begin(&disk, &[("out", &well, one)]).await;
    until("all delivered", || life.owed("out") == (0, 0)).await;
    assert_eq!(*well.taken.lock(), sent);
    until("all booked", || life.totals("out").held() == 0).await;
    let totals = life.totals("out");
    assert_eq!((totals.get(Column::CarriedIn), totals.get(Column::Out)), (90, 90));
    life.end().await;
}

#[tokio::test]
async fn three_exporters_and_one_write() {
    let bytes = async |count: usize| {
        let disk = SimDisk::default();
        let scripts: Vec<Arc<Script>> = (0..count).map(|_| Script::new([])).collect();
        let ids = ["a", "b", "c"];
        let exporters = ids.iter().zip(&scripts).map(|(id, s)| (*id, s, settings(1000)));
        let life = Life::begin(&disk, &exporters.collect::<Vec<_>>()).await;
        let before = disk.written();
        let mut sent = Vec::new();
        for _ in 0..10 {
            sent.extend(life.send(logs(500)).await.expect("there is room"));
        }
        let written = disk.written() - before;
        for (id, script) in ids.iter().zip(&scripts) {
            until("all delivered", || life.owed(id) == (0, 0)).await;
            assert_eq!(taken(script), sorted(sent.clone()));
        }
        until("all booked", || {
            ids[..count].iter().all(|id| life.totals(id).held() == 0)
        })
        .await;
        life.end().await;
        written
    };
    let (one, three) = (bytes(1).await, bytes(3).await);
    assert!(one > 10 * 500 * 11, "the bytes were written: {one}");
    // Two more numbers of destinations in each record's head, and the notes of what is done.
    assert!(three < one + 10 * 1024, "{three} bytes for three, {one} for one");
}

#[tokio::test]
async fn a_full_queue_is_busy_for_all_and_recovers() {
    let disk = SimDisk::default();
    let (well, dead) = (Script::new([]), Script::by(|_| Act::Retry));
    let life = Life::begin(
        &disk,
        &[("well", &well, settings(1000)), ("dead", &dead, settings(3))],
    )
    .await;
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.extend(life.send(logs(2)).await.expect("there is room"));
    }
    for _ in 0..5 {
        let refused = life.send(logs(2)).await.expect_err("it is full");
        assert_eq!(refused, Refusal::Busy { retry_after: None });
    }
    until("the other goes on", || life.owed("well") == (0, 0)).await;
    assert_eq!(
        taken(&well),
        sorted(sent.clone()),
        "nothing of what was refused has moved"
    );
    let edge = edge_totals(
        &life.cx,
        Node::Pipeline("logs".into()),
        Node::Exporter("well".into()),
    );
    assert_eq!((edge.accepted(), edge.refused(), edge.duplicates()), (6, 10, 0));
    *dead.rule.lock() = None;
    until("it recovers", || life.owed("dead") == (0, 0)).await;
    sent.extend(life.send(logs(2)).await.expect("there is room again"));
    until("all delivered", || life.owed("dead") == (0, 0)).await;
    assert_eq!(taken(&dead), sorted(sent));
    until("all booked", || {
        life.totals("dead").held() + life.totals("well").held() == 0
    })
    .await;
    life.end().await;
}

#[tokio::test]
async fn what_is_too_large_for_the_queue_is_never_taken() {
    let disk = SimDisk::default();
    let mut small = settings(100);
    small.queue.as_mut().expect("on").sizer = Sizer::Items;
    let script = Script::new([]);
    let life = Life::begin(&disk, &[("out", &script, small)]).await;
    let refused = life.send(logs(101)).await.expect_err("it cannot fit");
    assert!(
        matches!(&refused, Refusal::Invalid(m) if m.contains("101 in a queue of 100")),
        "{refused:?}"
    );
    life.send(logs(100)).await.expect("it fits");
    until("all delivered", || life.owed("out") == (0, 0)).await;
    life.end().await;
}

#[tokio::test]
async fn callers_wait_for_room_if_they_may() {
    let disk = SimDisk::default();
    let script = Script::by(|_| Act::Retry);
    let mut blocking = settings(1);
    blocking.queue.as_mut().expect("on").block = true;
    let life = Life::begin(&disk, &[("out", &script, blocking)]).await;
    let mut sent = life.send(logs(1)).await.expect("there is room");
    let start = Instant::now();
    let refused = life
        .send(with_deadline(logs(1), MS(50)))
        .await
        .expect_err("no room in time");
    assert_eq!(refused, Refusal::Busy { retry_after: None });
    assert!(start.elapsed() >= MS(50));
    let way = life.way.clone();
    let late = logs(1);
    sent.extend(records(&late));
    let waiting = tokio::spawn(async move { way.send(late).await });
    settle().await;
    assert!(!waiting.is_finished());
    *script.rule.lock() = None;
    waiting.await.expect("no panic").expect("there is room now");
    until("all delivered", || life.owed("out") == (0, 0)).await;
    assert_eq!(taken(&script), sorted(sent));
    life.end().await;
}

#[tokio::test]
async fn the_oldest_makes_room_where_that_is_chosen() {
    let disk = SimDisk::default();
    let script = Script::by(|_| Act::Hang);
    let mut dropping = settings(4);
    let on = dropping.queue.as_mut().expect("on");
    (on.overflow, on.consumers) = (Overflow::DropOldest, 1);
    let life = Life::begin(&disk, &[("out", &script, dropping)]).await;
    let mut sent = Vec::new();
    for _ in 0..10 {
        sent.push(
            life.send(logs_of("acme", 2))
                .await
                .expect("the oldest makes room"),
        );
        until("one is being sent", || !script.seen.lock().is_empty()).await;
    }
    assert_eq!(life.owed("out"), (4, 8));
    let totals = life.totals("out");
    assert_eq!(totals.dropped.get("drop_oldest"), Some(&12));
    assert_eq!((totals.get(Column::In), totals.held()), (20, 8));
    life.check_books();
    // The one that is being sent is never dropped; the others are the youngest.
    life.journal.close();
    drop(life);
    let well = Script::new([]);
    let life = Life::begin(&disk, &[("out", &well, settings(4))]).await;
    until("all delivered", || life.owed("out") == (0, 0)).await;
    let want = [&sent[0], &sent[7], &sent[8], &sent[9]]
        .map(|names| names.clone())
        .concat();
    assert_eq!(taken(&well), want);
    until("all booked", || life.totals("out").held() == 0).await;
    life.end().await;
}

#[tokio::test]
async fn a_stop_leaves_on_disk_what_was_not_sent() {
    let disk = SimDisk::default();
    let script = Script::by(|_| Act::RetryAfter(Duration::from_secs(60)));
    let life = Life::begin(&disk, &[("out", &script, settings(1000))]).await;
    let mut sent = Vec::new();
    for _ in 0..12 {
        sent.extend(life.send(logs(5)).await.expect("there is room"));
    }
    until("it was tried", || !script.seen.lock().is_empty()).await;
    let attempts = script.seen.lock().len();
    let cx = life.cx.clone();
    life.end().await;
    assert_eq!(script.seen.lock().len(), attempts, "no last attempt");
    let totals = totals(&cx, "out");
    assert_eq!((totals.held(), totals.failed_all()), (60, 0));
    let well = Script::new([]);
    let life = Life::begin(&disk, &[("out", &well, settings(1000))]).await;
    until("all delivered", || life.owed("out") == (0, 0)).await;
    assert_eq!(taken(&well), sorted(sent));
    until("all booked", || life.totals("out").held() == 0).await;
    life.end().await;
}

#[tokio::test]
async fn what_was_delivered_of_a_record_does_not_come_again() {
    let disk = SimDisk::default();
    let script = Script::new([Act::Take, Act::RetryAfter(Duration::from_secs(60))]);
    let mut cut = settings(1000);
    cut.queue.as_mut().expect("on").consumers = 1;
    cut.queue.as_mut().expect("on").batch = Some(component::FlushPolicy {
        items_min: 1,
        items_max: Some(4),
        bytes_min: None,
        bytes_max: None,
        timeout: MS(1),
        metadata_keys: Vec::new(),
        cardinality_max: None,
    });
    let life = Life::begin(&disk, &[("out", &script, cut.clone())]).await;
    let sent = life.send(logs(10)).await.expect("there is room");
    until("the first piece is done", || life.owed("out") == (1, 6)).await;
    life.end().await;
    let well = Script::new([]);
    let life = Life::begin(&disk, &[("out", &well, cut)]).await;
    until("all delivered", || life.owed("out") == (0, 0)).await;
    assert_eq!(taken(&well), &sent[4..]);
    until("all booked", || life.totals("out").held() == 0).await;
    assert_eq!(life.totals("out").get(Column::CarriedIn), 6);
    life.end().await;
}

#[tokio::test]
async fn what_does_not_fit_the_window_waits_on_disk_and_keeps_its_order() {
    let disk = SimDisk::default();
    let script = Script::by(|_| Act::RetryAfter(MS(100)));
    let mut one = settings(1000);
    one.queue.as_mut().expect("on").consumers = 1;
    let life = Life::begin(&disk, &[("out", &script, one)]).await;
    let mut sent = Vec::new();
    for _ in 0..60 {
        sent.extend(life.send(logs(500)).await.expect("there is room"));
    }
    let loaded = life.cx.memory.used(Class::Queues);
    assert!(
        life.owed("out").1 == 30_000 && loaded <= 2 * backlog::WINDOW_BYTES,
        "{loaded} bytes"
    );
    assert!(life.journal.health().live_bytes > 4 * backlog::WINDOW_BYTES as u64);
    *script.rule.lock() = None;
    until("all delivered", || life.owed("out") == (0, 0)).await;
    assert_eq!(taken(&script), sorted(sent));
    until("all booked", || life.totals("out").held() == 0).await;
    until("all memory is back", || life.cx.memory.used(Class::Queues) == 0).await;
    life.end().await;
}

#[tokio::test]
async fn tenants_that_are_refused_for_ever_do_not_hold_up_another() {
    let disk = SimDisk::default();
    let is_bad = |p: &Payload| {
        p.chunks[0]
            .origin
            .tenant
            .as_deref()
            .is_some_and(|t| t.starts_with("bad"))
    };
    let script = Script::by(move |p| match is_bad(p) {
        true => Act::RetryAfter(MS(300)),
        false => Act::Take,
    });
    let life = Life::begin(&disk, &[("out", &script, settings(10_000))]).await;
    let mut bad = Vec::new();
    for round in 0..3 {
        for tenant in 0..40 {
            let payload = logs_of(&format!("bad-{tenant}"), 400 + round);
            bad.extend(life.send(payload).await.expect("there is room"));
        }
    }
    let mut good = Vec::new();
    for _ in 0..30 {
        good.extend(life.send(logs_of("good", 300)).await.expect("there is room"));
    }
    until("the good one goes on", || {
        life.totals("out").get(Column::Out) == good.len() as u64
    })
    .await;
    assert_eq!(taken(&script), sorted(good.clone()));
    let loaded = life.cx.memory.used(Class::Queues);
    assert!(loaded <= 2 * backlog::WINDOW_BYTES, "{loaded} bytes");
    life.check_books();
    // What was shelved is read again, and is what it was.
    *script.rule.lock() = None;
    until("all delivered", || life.owed("out") == (0, 0)).await;
    good.extend(bad);
    assert_eq!(taken(&script), sorted(good));
    until("all booked", || life.totals("out").held() == 0).await;
    life.end().await;
}

#[tokio::test]
async fn what_is_being_sent_while_another_wants_room_gives_it_once_it_waits() {
    let disk = SimDisk::default();
    let is_bad = |p: &Payload| p.chunks[0].origin.tenant.as_deref() == Some("bad");
    let script = Script::by(move |p| match is_bad(p) {
        true => Act::RetryLate(MS(300), Duration::from_secs(60)),
        false => Act::Take,
    });
    let life = Life::begin(&disk, &[("out", &script, settings(10_000))]).await;
    // All of the window, and it is on its way when the other one comes.
    life.send(logs_of("bad", 13_000)).await.expect("there is room");
    until("it is tried", || !script.seen.lock().is_empty()).await;
    let loaded = life.cx.memory.used(Class::Queues);
    assert!(loaded > 2 * backlog::WINDOW_BYTES, "{loaded} bytes");
    let good = life.send(logs_of("good", 300)).await.expect("there is room");
    until("the good one goes on", || {
        life.totals("out").get(Column::Out) == good.len() as u64
    })
    .await;
    assert_eq!(taken(&script), good);
    life.end().await;
}

#[tokio::test]
async fn a_full_disk_is_busy_with_a_hint_and_recovers() {
    let disk = SimDisk::default();
    let options = Options {
        segment_bytes: 64 << 10,
        bytes_max: Some(512 << 10),
        ..Options::default()
    };
    let script = Script::by(|_| Act::Retry);
    let life = Life::with(&disk, options, &[("out", &script, settings(100_000))]).await;
    let mut sent = Vec::new();
    let refused = loop {
        match life.send(logs(500)).await {
            Ok(names) => sent.extend(names),
            Err(refused) => break refused,
        }
    };
    assert!(
        matches!(refused, Refusal::Busy { retry_after: Some(after) } if after >= Duration::from_secs(1)),
        "{refused:?}"
    );
    assert!(sent.len() > 20 * 500, "{} records fit", sent.len());
    life.check_books();
    *script.rule.lock() = None;
    until("it recovers", || life.owed("out") == (0, 0)).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    let last = loop {
        match life.send(logs(500)).await {
            Ok(names) => break names,
            Err(refused) => assert!(refused.is_retryable() && Instant::now() < deadline, "{refused:?}"),
        }
        tokio::time::sleep(MS(20)).await;
    };
    sent.extend(last);
    until("all delivered", || life.owed("out") == (0, 0)).await;
    assert_eq!(taken(&script), sorted(sent));
    until("all booked", || life.totals("out").held() == 0).await;
    life.end().await;
}

#[tokio::test]
async fn what_is_on_disk_is_not_lost_for_want_of_a_dead_letter() {
    let disk = SimDisk::default();
    let bad = Script::by(|_| Act::Reject);
    // Busy, then the dead letter rejects it too, and takes it at last.
    let dead = Script::new([Act::RetryAfter(MS(1)), Act::Reject]);
    let mut with_letter = settings(10);
    with_letter.dead_letter = ComponentId::parse("dead").ok();
    let life = Life::begin(&disk, &[("out", &bad, with_letter)]).await;
    let harness = Harness::new(
        &ComponentId::parse("dead").expect("an id"),
        Signal::Logs,
        dead.clone(),
        Settings::default(),
        &life.cx.telemetry,
        &life.cx.memory,
    );
    let edge = Edge::new(
        &life.cx.telemetry.ledger,
        Node::Exporter("out".into()),
        Node::Exporter("dead".into()),
        Signal::Logs,
        Target::Entry(harness.entry(None)),
    );
    let id = ComponentId::parse("dead").expect("an id");
    life.harnesses[0].set_dead_letter(&id, Arc::new(Fanout::new(vec![edge])));
    let names = life.send(logs(3)).await.expect("on disk");
    until("the dead letter has refused twice", || {
        dead.seen.lock().len() >= 2
    })
    .await;
    assert_eq!(life.owed("out").1, 3, "still owed");
    until("the dead letter has it", || {
        life.totals("dead").get(Column::Out) == 3
    })
    .await;
    until("the disk is free of it", || life.owed("out") == (0, 0)).await;
    assert_eq!(taken(&dead), names);
    assert_eq!(
        bad.sizes(),
        [3],
        "the far side that rejected it is not asked again"
    );
    assert_eq!(life.totals("out").failed["rejected"], 3);
    life.end().await;
}

#[tokio::test]
async fn a_tenant_that_is_refused_for_ever_keeps_no_other_from_disk_or_peer() {
    let disk = SimDisk::default();
    let is_bad = |p: &Payload| p.chunks[0].origin.tenant.as_deref() == Some("bad");
    let script = Script::by(move |p| match is_bad(p) {
        true => Act::RetryAfter(Duration::from_secs(600)),
        false => Act::Take,
    });
    let life = Life::begin(&disk, &[("out", &script, settings(1000))]).await;
    let mut good = Vec::new();
    for n in 0..150 {
        life.send(logs_of("bad", 1)).await.expect("on disk");
        life.send(logs_of("bad", 1)).await.expect("on disk");
        let tenant = ["a", "b", "c"][n % 3];
        good.extend(life.send(logs_of(tenant, 1)).await.expect("on disk"));
    }
    until("the good are through", || taken(&script).len() == good.len()).await;
    assert_eq!(taken(&script), good);
    let bad = script.seen.lock().iter().filter(|s| is_bad(&s.payload)).count();
    assert!(bad <= 2, "the far side asked for a pause, and got {bad} attempts");
    assert_eq!(life.owed("out").0, 300);
    life.end().await;
}

#[tokio::test]
async fn a_successor_reads_on_and_nothing_comes_twice_or_gets_lost() {
    let disk = SimDisk::default();
    let old = Script::by(|_| Act::RetryAfter(Duration::from_secs(60)));
    let life = Life::begin(&disk, &[("out", &old, settings(1000))]).await;
    let mut sent = Vec::new();
    for _ in 0..20 {
        sent.extend(life.send(logs(3)).await.expect("there is room"));
    }
    until("it was tried", || !old.seen.lock().is_empty()).await;
    // As a reload does it: the new one is opened and started, then edges are swapped, then the old one is drained.
    let new = Script::new([]);
    let harness = Harness::new(
        &ComponentId::parse("out").expect("an id"),
        Signal::Logs,
        new.clone(),
        settings(1000),
        &life.cx.telemetry,
        &life.cx.memory,
    );
    let host = Arc::new(Reports(Mutex::default(), Some(life.journal.clone())));
    let way = Fanout::new(vec![edge(&life.cx, "logs", "out", harness.entry(None))]);
    harness.open(&*host).await.expect("it opens");
    harness.start(host);
    let late = logs(3);
    sent.extend(records(&late));
    way.send(late).await.expect("there is room");
    life.harnesses[0].hand_over(&harness);
    let stray = logs(3);
    sent.extend(records(&stray));
    life.way
        .send(stray)
        .await
        .expect("what was on its way the old way is kept");
    settle().await;
    assert!(new.seen.lock().is_empty(), "the old one has not let go");
    life.harnesses[0]
        .drain(Instant::now() + Duration::from_secs(5))
        .await;
    until("all delivered", || life.owed("out") == (0, 0)).await;
    assert_eq!(taken(&new), sorted(sent));
    until("all booked", || life.totals("out").held() == 0).await;
    let totals = life.totals("out");
    assert_eq!((totals.get(Column::In), totals.get(Column::CarriedIn)), (66, 0));
    harness.drain(Instant::now() + Duration::from_secs(5)).await;
    life.check_books();
    life.journal.close();
}

#[tokio::test]
async fn what_may_have_been_sent_before_a_crash_is_counted() {
    let disk = SimDisk::default();
    let hanging = Script::by(|_| Act::Hang);
    let mut one = settings(1000);
    one.queue.as_mut().expect("on").consumers = 1;
    let life = Life::begin(&disk, &[("out", &hanging, one.clone())]).await;
    let sent = life.send(logs(4)).await.expect("there is room");
    until("it is being sent", || !hanging.seen.lock().is_empty()).await;
    life.journal.close();
    drop(life);
    let well = Script::new([]);
    let life = Life::begin(&disk, &[("out", &well, one)]).await;
    until("all delivered", || life.owed("out") == (0, 0)).await;
    assert_eq!(*well.taken.lock(), sent);
    let labels = vec![("exporter", "out".to_owned()), ("data_type", "logs".to_owned())];
    let repeated = life
        .cx
        .telemetry
        .metrics
        .counter("weir_exporter_possible_duplicates", labels);
    assert_eq!(repeated.get(), 4);
    until("all booked", || life.totals("out").held() == 0).await;
    life.end().await;
}

#[tokio::test]
async fn siblings_on_disk_and_in_memory_are_asked_before_anything_moves() {
    let disk = SimDisk::default();
    let (stored, memory) = (Script::new([]), Script::by(|_| Act::Hang));
    let mut volatile = settings(2);
    volatile.queue.as_mut().expect("on").storage = None;
    let life = Life::begin(
        &disk,
        &[("stored", &stored, settings(1000)), ("memory", &memory, volatile)],
    )
    .await;
    let mut sent = Vec::new();
    for _ in 0..2 {
        sent.extend(life.send(logs(2)).await.expect("there is room"));
    }
    for _ in 0..5 {
        let refused = life.send(logs(2)).await.expect_err("the one in memory is full");
        assert_eq!(refused, Refusal::Busy { retry_after: None });
    }
    until("delivered", || life.owed("stored") == (0, 0)).await;
    assert_eq!(taken(&stored), sorted(sent));
    assert_eq!(life.journal.health().counts.appended, 2);
    life.check_books();
    life.journal.close();
}

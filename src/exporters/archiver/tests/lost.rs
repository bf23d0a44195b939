//! Journal, state directory, spool or several of them are lost: what can be is taken over, the rest is said.

use std::time::Duration;

use component::{Collect, Seal};
use evidence::entry::{Entry, Kind};
use tokio::time::Instant;

use super::rig::{Rig, archived, entries};

/// A life that stands still at a step, until a head was put, and is gone.
async fn cut_at(rig: &Rig, step: &'static str) {
    let archive = rig.start(0).await.expect("it starts");
    archive.cut.set_at(step);
    rig.journal.pump(&archive).await;
    archive.seal(Seal::Flush).await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    rig.kill(archive).await;
}

/// A life of some minutes.
async fn live_for(rig: &Rig, seconds: u64) {
    let archive = rig.start(0).await.expect("it starts");
    rig.pump(&archive).await;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    archive.stop(Instant::now() + Duration::from_secs(60)).await;
}

fn lose_state(rig: &Rig) {
    std::fs::remove_dir_all(rig.state_dir()).expect("it is there");
}

fn gaps(entries: &[Entry]) -> Vec<(&str, Option<u64>, Option<u64>)> {
    let gap = |entry: &'_ Entry| match &entry.kind {
        Kind::Gap(gap) => Some((gap.n, gap.adopted.as_ref().map(|adopted| adopted.seq))),
        _ => None,
    };
    let why = |entry: &Entry| match &entry.kind {
        Kind::Gap(gap) if gap.why == "spool_lost" => "spool_lost",
        _ => "other",
    };
    let found = entries.iter().filter_map(|entry| Some((why(entry), gap(entry)?)));
    found.map(|(why, (n, adopted))| (why, n, adopted)).collect()
}

fn adopted(entries: &[Entry]) -> Vec<u64> {
    let adopted = entries.iter().filter_map(|entry| match &entry.kind {
        Kind::Obj(obj) => Some(obj.adopted.as_ref()?.seq),
        _ => None,
    });
    adopted.collect()
}

fn journals(entries: &[Entry]) -> Vec<&str> {
    let started = entries.iter().filter_map(|entry| match &entry.kind {
        Kind::Start(start) => start.journal.as_deref(),
        _ => None,
    });
    started.collect()
}

#[tokio::test(start_paused = true)]
async fn a_lost_journal_loses_what_was_in_memory_and_says_how_much() {
    let mut rig = Rig::new("roll: {chunk_bytes: 4KiB}");
    let archive = rig.start(0).await.expect("it starts");
    // These are in the part, and the next ones only in the buffer.
    rig.record(&["a"], 120);
    rig.record(&["a"], 120);
    rig.journal.pump(&archive).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    rig.record(&["a"], 30);
    rig.journal.pump(&archive).await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    // No row has these.
    rig.record(&["a"], 5);
    rig.journal.pump(&archive).await;
    rig.kill(archive).await;
    let parts: Vec<_> = std::fs::read_dir(rig.state_dir().join("spool"))
        .expect("it is there")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    let [part] = parts.as_slice() else {
        panic!("{parts:?}");
    };
    let mut bytes = std::fs::read(part).expect("it is there");
    bytes.extend_from_slice(&[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3]);
    std::fs::write(part, bytes).expect("it is written");
    rig.lose_journal();
    rig.record(&["b"], 1);
    rig.live(0).await;
    let report = rig.assert_proved("a lost journal");
    assert_eq!(report.totals.lost, 30);
    let found = archived(&rig.copy());
    assert_eq!(found.len(), 241);
    assert!(rig.names.lock()[..240].iter().all(|name| found.contains(name)));
    assert_eq!(journals(&entries(&rig.copy())), ["new", "lost"]);
    // Another life knows the journal.
    rig.live(0).await;
    assert_eq!(journals(&entries(&rig.copy())), ["new", "lost", "same"]);
}

#[tokio::test(start_paused = true)]
async fn at_every_step_with_the_journal_lost() {
    for twice in [0, 2, 5] {
        for cut in (1..34).step_by(if twice > 0 { 3 } else { 1 }) {
            let mut rig = Rig::new("roll: {chunk_bytes: 4KiB}");
            rig.record(&["a", "b"], 120);
            rig.record(&["a"], 120);
            rig.live(cut).await;
            rig.lose_journal();
            if twice > 0 {
                rig.live(twice).await;
            }
            rig.record(&["c"], 1);
            rig.live(0).await;
            assert!(rig.journal.is_done());
            let report = rig.assert_proved(&format!("cut at step {cut}, then {twice}"));
            assert_eq!(report.exit, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_of_a_lost_state_is_taken_over() {
    let rig = Rig::new("");
    rig.record(&["a"], 3);
    cut_at(&rig, "archive.put").await;
    lose_state(&rig);
    live_for(&rig, 180).await;
    rig.assert_whole("state lost");
    let entries = entries(&rig.copy());
    assert_eq!(adopted(&entries), [0]);
    assert_eq!(gaps(&entries), []);
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_a_lost_state_is_released_after_a_second_look() {
    let rig = Rig::new("");
    rig.record(&["a"], 3);
    cut_at(&rig, "archive.claimed").await;
    lose_state(&rig);
    live_for(&rig, 180).await;
    rig.assert_whole("state lost before the object was put");
    let entries = entries(&rig.copy());
    assert_eq!(gaps(&entries), [("spool_lost", Some(0), Some(0))]);
    let heads = rig.store.heads.lock().clone();
    let asked: Vec<u64> = heads
        .iter()
        .filter(|(key, _)| key.starts_with("data/"))
        .map(|(_, at)| *at)
        .collect();
    assert_eq!(asked.len(), 2, "{heads:?}");
    assert!(asked[1] - asked[0] >= 60_000, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_number_that_nobody_claimed_is_explained() {
    let rig = Rig::new("");
    rig.record(&["a"], 3);
    cut_at(&rig, "archive.sealed").await;
    lose_state(&rig);
    live_for(&rig, 180).await;
    rig.assert_whole("state lost before the claim");
    assert_eq!(gaps(&entries(&rig.copy())), [("spool_lost", Some(0), Some(0))]);
}

#[tokio::test(start_paused = true)]
async fn with_journal_and_state_lost_what_the_store_has_is_found() {
    let mut rig = Rig::new("");
    rig.record(&["a"], 3);
    rig.record(&["b"], 2);
    cut_at(&rig, "archive.put").await;
    lose_state(&rig);
    rig.lose_journal();
    rig.record(&["c"], 1);
    live_for(&rig, 180).await;
    rig.assert_whole("both lost");
    let entries = entries(&rig.copy());
    let mut adopted = adopted(&entries);
    adopted.sort_unstable();
    assert_eq!(adopted, [0, 1]);
    assert_eq!(journals(&entries), ["new", "new"]);
}

#[tokio::test(start_paused = true)]
async fn the_search_goes_on_after_a_restart_and_nothing_is_found_twice() {
    let mut rig = Rig::new("");
    rig.record(&["a"], 3);
    rig.record(&["b"], 2);
    cut_at(&rig, "archive.put").await;
    lose_state(&rig);
    rig.lose_journal();
    // Killed before it looks, at the first thing it finds, and after that.
    for step in [
        "no such step",
        "archive.adopt.sealed",
        "archive.adopt.claimed",
        "archive.entry",
    ] {
        let archive = rig.start(0).await.expect("it starts");
        archive.cut.set_at(step);
        let seconds = if step == "no such step" { 30 } else { 200 };
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        rig.kill(archive).await;
    }
    live_for(&rig, 180).await;
    rig.assert_whole("both lost, and killed again and again");
    assert!(!rig.state_dir().join("before.json").exists());
}

#[tokio::test(start_paused = true)]
async fn with_journal_and_state_lost_what_was_never_stored_is_a_gap() {
    let mut rig = Rig::new("");
    rig.record(&["a"], 3);
    cut_at(&rig, "archive.claimed").await;
    lose_state(&rig);
    rig.lose_journal();
    live_for(&rig, 180).await;
    assert_eq!(rig.assert_proved("both lost").exit, 0);
    assert_eq!(archived(&rig.copy()), Vec::<String>::new());
    assert_eq!(gaps(&entries(&rig.copy())), [("spool_lost", Some(0), Some(0))]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_spool_is_a_gap_and_its_records_come_again() {
    let rig = Rig::new("");
    rig.record(&["a"], 3);
    cut_at(&rig, "archive.claimed").await;
    std::fs::remove_dir_all(rig.state_dir().join("spool")).expect("it is there");
    live_for(&rig, 180).await;
    rig.assert_whole("spool lost");
    assert_eq!(gaps(&entries(&rig.copy())), [("spool_lost", Some(0), None)]);
}

#[tokio::test(start_paused = true)]
async fn a_record_ends_under_the_rules_that_it_began_with() {
    let others = [
        "lock: {required: false, classes: [{name: x, match: {tenant: [b]}, retention: 30d}]}",
        "lock: {required: false}\ntenant: {from: ['resource:nothing'], default: all}",
    ];
    let first = "lock: {required: false}";
    for second in others {
        for cut in (1..30).step_by(2) {
            let mut rig = Rig::new(first);
            for _ in 0..3 {
                rig.record(&["a", "b"], 2);
            }
            rig.live(cut).await;
            rig.yaml = second.to_owned();
            rig.live(cut / 2 + 1).await;
            rig.yaml = first.to_owned();
            rig.live(cut / 3 + 1).await;
            rig.yaml = second.to_owned();
            rig.live(0).await;
            rig.assert_whole(&format!("{second}, cut at step {cut}"));
        }
    }
}

//! The store says no, says nothing, or lies; the journal is full.

use std::time::Duration;

use component::Collect;
use evidence::entry::Kind;
use objects::Class;
use tokio::time::Instant;

use super::super::layout::Layout;
use super::rig::{Answer, Rig, entries, layouts};

fn retry() -> Answer {
    Answer::Fail(Class::Retry { after: None })
}

async fn check(prefix: &str, answers: Vec<Answer>) -> Rig {
    let rig = Rig::new("");
    rig.record(&["a", "b"], 2);
    rig.store.tell(prefix, answers.clone());
    rig.live(0).await;
    rig.assert_whole(&format!("{prefix} {answers:?}"));
    rig
}

#[tokio::test(start_paused = true)]
async fn what_the_store_refuses_is_sent_until_it_is_there() {
    check("data/", vec![retry(), retry(), retry()]).await;
    check(
        "data/",
        vec![Answer::Fail(Class::Denied), Answer::Fail(Class::Unauthorized)],
    )
    .await;
    check(
        "data/",
        vec![Answer::Fail(Class::Rejected), Answer::Fail(Class::Config)],
    )
    .await;
    check("data/", vec![Answer::Conflict, retry(), Answer::Conflict]).await;
    check(
        "_weir/v1/log/",
        vec![retry(), Answer::Conflict, retry(), Answer::Fail(Class::Denied)],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_is_found_again() {
    let rig = check("data/", vec![Answer::Lost, Answer::Lost]).await;
    let entries = entries(&rig.copy());
    assert!(entries.iter().all(|entry| entry.kind.name() != "gap"));
    check("_weir/v1/log/", vec![Answer::Lost, Answer::Lost, Answer::Lost]).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_taken_becomes_a_gap_and_another_number() {
    for (layout, begin) in layouts() {
        a_taken_key_of(layout, begin).await;
    }
}

async fn a_taken_key_of(layout: Layout, begin: &str) {
    let rig = Rig::new("").laid_out(layout);
    rig.record(&["a"], 2);
    rig.store.tell(begin, [Answer::Squatted]);
    rig.live(0).await;
    let found = entries(&rig.copy());
    let gaps: Vec<_> = found
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::Gap(gap) => Some((gap.seq, gap.why.clone(), gap.n)),
            _ => None,
        })
        .collect();
    assert_eq!(gaps, [(Some(0), "key_conflict".to_owned(), Some(0))]);
    let objects: Vec<u64> = found
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::Obj(obj) => {
                assert!(
                    obj.key.starts_with(begin) && obj.key.ends_with("0000000001.binpb.zst"),
                    "{}",
                    obj.key
                );
                Some(obj.seq)
            }
            _ => None,
        })
        .collect();
    assert_eq!(objects, [1]);
    assert!(rig.journal.is_done());
    // The squatter's object is an orphan: a warning, no failure of ours.
    let report = rig.verify();
    assert_eq!(report.exit, 0, "{:#?}", report.findings);
    assert_eq!(report.totals.orphans, 1);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_full_is_asked_again() {
    let rig = Rig::new("");
    rig.record(&["a"], 2);
    let archive = rig.start(0).await.expect("it starts");
    rig.journal.fail(3);
    rig.pump(&archive).await;
    archive.stop(Instant::now() + Duration::from_secs(60)).await;
    rig.assert_whole("claims that failed");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_gone_loses_nothing() {
    let rig = Rig::new("");
    rig.record(&["a"], 2);
    rig.store.tell("", (0..10_000).map(|_| retry()));
    // The canary needs an answer: the store goes after the start.
    let archive = rig.start(0).await;
    assert!(archive.is_err());
    let rig = Rig::new("");
    rig.record(&["a"], 2);
    let archive = rig.start(0).await.expect("it starts");
    rig.store.tell("", (0..10_000).map(|_| retry()));
    rig.journal.pump(&archive).await;
    archive.stop(Instant::now() + Duration::from_secs(600)).await;
    assert!(!rig.journal.is_done());
    assert_eq!(rig.journal.claims(), 1);
    rig.store.forgive();
    rig.live(0).await;
    rig.assert_whole("the store came back");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_half_an_hour_leaves_no_doubt_about_times() {
    let rig = Rig::new("");
    rig.record(&["a"], 2);
    let archive = rig.start(0).await.expect("it starts");
    rig.pump(&archive).await;
    rig.store.set_away(true);
    for _ in 0..6 {
        rig.record(&["a", "b"], 2);
        rig.journal.pump(&archive).await;
        archive.seal(component::Seal::Flush).await;
        tokio::time::sleep(Duration::from_secs(300)).await;
    }
    rig.store.set_away(false);
    rig.pump(&archive).await;
    archive.stop(Instant::now() + Duration::from_secs(60)).await;
    rig.assert_whole("half an hour");
    let times: Vec<_> = rig
        .verify()
        .findings
        .into_iter()
        .filter(|f| f.what == "clock")
        .collect();
    assert!(times.is_empty(), "{times:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_was_gone_for_hours_leaves_no_doubt_about_times() {
    for step in ["archive.logged", "archive.entry", "archive.put"] {
        let rig = Rig::new("");
        let archive = rig.start(0).await.expect("it starts");
        tokio::time::sleep(Duration::from_secs(70)).await;
        archive.cut.set_at(step);
        rig.record(&["a", "b"], 2);
        rig.journal.pump(&archive).await;
        archive.seal(component::Seal::Flush).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        rig.kill(archive).await;
        tokio::time::sleep(Duration::from_secs(7200)).await;
        rig.record(&["a"], 1);
        rig.live(0).await;
        rig.assert_whole(step);
        let times: Vec<_> = rig
            .verify()
            .findings
            .into_iter()
            .filter(|f| f.what == "clock")
            .collect();
        assert!(times.is_empty(), "{step} {times:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn clocks_that_jump_lose_nothing() {
    // Times that were too late are found out; those that were too early never get into the log.
    for (ahead, exit) in [(3_600_000, 3), (-3_600_000, 0)] {
        let rig = Rig::new("");
        rig.record(&["a"], 2);
        let archive = rig.start(0).await.expect("it starts");
        rig.pump(&archive).await;
        rig.ahead.store(ahead, std::sync::atomic::Ordering::Relaxed);
        rig.record(&["a", "b"], 2);
        rig.pump(&archive).await;
        rig.record(&["b"], 1);
        rig.pump(&archive).await;
        archive.stop(Instant::now() + Duration::from_secs(60)).await;
        rig.record(&["b"], 1);
        rig.live(0).await;
        rig.ahead.store(0, std::sync::atomic::Ordering::Relaxed);
        rig.record(&["b"], 1);
        rig.live(0).await;
        let mut found = super::rig::archived(&rig.copy());
        found.sort();
        let mut expected = rig.names.lock().clone();
        expected.sort();
        assert_eq!(found, expected, "{ahead}");
        // And nothing else is wrong.
        let report = rig.verify();
        assert_eq!(report.exit, exit, "{ahead} {:#?}", report.findings);
        let other: Vec<_> = report.findings.iter().filter(|f| f.what != "clock").collect();
        assert!(
            other
                .iter()
                .all(|f| f.severity == evidence::verify::Severity::Warn),
            "{ahead} {other:#?}"
        );
    }
}

//! Another process under our name, and strangers who take names.

use std::time::Duration;

use component::{Collect, Seal, Status};
use evidence::entry::Kind;
use tokio::time::Instant;

use super::rig::{Answer, Rig, archived, entries};

/// Sessions in the order in which they were opened, each with the size at which it follows another.
fn sessions(rig: &Rig) -> Vec<(String, Option<(String, u64)>)> {
    let entries = entries(&rig.copy());
    let opens = entries.into_iter().filter_map(|entry| match entry.kind {
        Kind::Open(open) => Some((
            open.session,
            open.prev_session.map(|head| (head.session, head.size)),
        )),
        _ => None,
    });
    opens.collect()
}

#[tokio::test(start_paused = true)]
async fn after_a_fence_a_new_session_says_what_the_old_one_could_not() {
    let rig = Rig::new("");
    rig.record(&["a"], 2);
    let archive = rig.start(0).await.expect("it starts");
    rig.pump(&archive).await;
    rig.store.tell("/seg/", [Answer::Squatted]);
    rig.record(&["a", "b"], 2);
    rig.pump(&archive).await;
    rig.record(&["b"], 1);
    rig.pump(&archive).await;
    archive.stop(Instant::now() + Duration::from_secs(60)).await;
    rig.assert_whole("a stranger took the next name");
    let sessions = sessions(&rig);
    let [(old, None), (_, Some((before, size)))] = sessions.as_slice() else {
        panic!("{sessions:?}");
    };
    assert_eq!(before, old);
    assert!(*size > 0);
    let told = rig.host.reports();
    let fenced = |status: &Status| matches!(status, Status::Recoverable(text) if text.contains("/seg/"));
    assert!(told.iter().any(|(_, status)| fenced(status)), "{told:?}");
    assert_eq!(told.last().map(|(_, status)| status.clone()), Some(Status::Ok));
    // The life after goes on in the new one.
    rig.record(&["a"], 1);
    rig.live(0).await;
    rig.assert_whole("and the life after");
}

#[tokio::test(start_paused = true)]
async fn the_first_name_of_a_log_may_be_taken_too() {
    let rig = Rig::new("");
    rig.record(&["a"], 2);
    rig.store.tell("/seg/", [Answer::Squatted]);
    rig.live(0).await;
    rig.assert_whole("no session before");
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_two_sessions_loses_nothing() {
    for cut in 1..14 {
        let rig = Rig::new("");
        rig.record(&["a"], 2);
        let archive = rig.start(0).await.expect("it starts");
        rig.pump(&archive).await;
        rig.store.tell("/seg/", [Answer::Squatted]);
        rig.record(&["a", "b"], 2);
        rig.journal.pump(&archive).await;
        archive.seal(Seal::Flush).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        archive.cut.set(archive.cut.passed() + cut);
        tokio::time::sleep(Duration::from_secs(200)).await;
        rig.kill(archive).await;
        rig.record(&["b"], 1);
        let archive = rig.start(0).await.expect("it starts");
        rig.pump(&archive).await;
        tokio::time::sleep(Duration::from_secs(180)).await;
        archive.stop(Instant::now() + Duration::from_secs(60)).await;
        rig.assert_whole(&format!("cut at step {cut}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_whose_name_is_taken_is_stepped_over() {
    let rig = Rig::new("");
    rig.record(&["a"], 2);
    rig.store.tell("/cp/", [Answer::Squatted, Answer::Squatted]);
    rig.live(0).await;
    rig.assert_whole("two heads");
    assert_eq!(sessions(&rig).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_writers_with_one_cloned_state_lose_nothing() {
    for step in [
        "archive.seal.before",
        "archive.sealed",
        "archive.claimed",
        "archive.put",
        "archive.logged",
    ] {
        let rig = Rig::new("");
        rig.record(&["a"], 2);
        rig.live(0).await;
        let archive = rig.start(0).await.expect("it starts");
        archive.cut.set_at(step);
        rig.record(&["a", "b"], 2);
        rig.journal.pump(&archive).await;
        archive.seal(Seal::Flush).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        rig.kill(archive).await;
        let shared = rig.names.lock().len();
        let twin = rig.twin();
        let (one, other) = (
            rig.start(0).await.expect("it starts"),
            twin.start(0).await.expect("it starts"),
        );
        for _ in 0..3 {
            rig.record(&["a"], 1);
            twin.record(&["a"], 1);
            rig.pump(&one).await;
            twin.pump(&other).await;
        }
        one.stop(Instant::now() + Duration::from_secs(60)).await;
        other.stop(Instant::now() + Duration::from_secs(60)).await;
        assert!(rig.journal.is_done() && twin.journal.is_done(), "{step}");
        assert_eq!(sessions(&rig).len(), 2, "{step}");
        let mut found = archived(&rig.copy());
        found.sort();
        let names = rig.names.lock().clone();
        for (n, name) in names.iter().enumerate() {
            let times = found.iter().filter(|other| *other == name).count();
            // Both owed what was on its way when the copy was made.
            let most = if n < shared { 2 } else { 1 };
            assert!(
                (1..=most).contains(&times),
                "{step}: {name} is there {times} times"
            );
        }
        let report = rig.verify();
        assert_eq!(report.exit, 0, "{step}: {:#?}", report.findings);
    }
}

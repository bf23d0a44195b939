//! Keys that follow each other: whoever trusts the first of a session may trust all of it.

use std::time::Duration;

use component::{Collect, Seal};
use evidence::entry::Kind;
use tokio::time::Instant;

use super::rig::{Rig, entries};

const HOURLY: &str = "log: {signer: {rotate: 1h}}";

/// Keys that the log names as the next ones.
fn named(rig: &Rig) -> Vec<String> {
    let keys = entries(&rig.copy())
        .into_iter()
        .filter_map(|entry| match entry.kind {
            Kind::Key(key) => Some(key.vkey),
            _ => None,
        });
    keys.collect()
}

fn file(rig: &Rig) -> Vec<u8> {
    std::fs::read(rig.state_dir().join("signer.key")).expect("there is a key")
}

#[tokio::test(start_paused = true)]
async fn a_key_signs_for_its_time_and_the_log_goes_on() {
    let rig = Rig::new(HOURLY);
    let archive = rig.start(0).await.expect("it starts");
    let first = file(&rig);
    for _ in 0..9 {
        rig.record(&["a"], 2);
        rig.pump(&archive).await;
        tokio::time::sleep(Duration::from_secs(1800)).await;
    }
    archive.stop(Instant::now() + Duration::from_secs(60)).await;
    rig.assert_whole("four changes");
    let mut keys = named(&rig);
    assert_eq!(keys.len(), 4);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4);
    assert_ne!(file(&rig), first);
    assert!(!rig.state_dir().join("signer.next").exists());
    // The life after knows how old its key is.
    rig.record(&["a"], 1);
    let archive = rig.start(0).await.expect("it starts");
    rig.pump(&archive).await;
    tokio::time::sleep(Duration::from_secs(2400)).await;
    archive.stop(Instant::now() + Duration::from_secs(60)).await;
    rig.assert_whole("and one more");
    assert_eq!(named(&rig).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_crash_cuts_off_ends_after_the_restart() {
    for (step, announced) in [("archive.key.made", 0), ("archive.key.entry", 1)] {
        let rig = Rig::new(HOURLY);
        rig.record(&["a"], 2);
        let archive = rig.start(0).await.expect("it starts");
        rig.pump(&archive).await;
        let before = file(&rig);
        archive.cut.set_at(step);
        tokio::time::sleep(Duration::from_secs(3900)).await;
        rig.record(&["a", "b"], 2);
        rig.journal.pump(&archive).await;
        archive.seal(Seal::Flush).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        rig.kill(archive).await;
        assert!(rig.state_dir().join("signer.next").exists(), "{step}");
        assert_eq!(file(&rig), before, "{step}");
        // Long enough for its end, or for a change of its own.
        let archive = rig.start(0).await.expect("it starts");
        rig.pump(&archive).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        archive.stop(Instant::now() + Duration::from_secs(60)).await;
        rig.assert_whole(step);
        assert_eq!(named(&rig).len(), 1, "{step} {announced}");
        assert_ne!(file(&rig), before, "{step}");
        assert!(!rig.state_dir().join("signer.next").exists(), "{step}");
        rig.record(&["b"], 1);
        rig.live(0).await;
        rig.assert_whole("the life after");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_whose_name_is_taken_is_stepped_over_by_both_keys() {
    let rig = Rig::new(HOURLY);
    let archive = rig.start(0).await.expect("it starts");
    tokio::time::sleep(Duration::from_secs(3500)).await;
    for n in 0..4 {
        rig.store.tell("/cp/", [super::rig::Answer::Squatted]);
        rig.record(&["a"], n + 1);
        rig.pump(&archive).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    archive.stop(Instant::now() + Duration::from_secs(60)).await;
    rig.assert_whole("heads were taken");
    assert_eq!(named(&rig).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_after_a_fence_knows_of_no_change() {
    let rig = Rig::new(HOURLY);
    let archive = rig.start(0).await.expect("it starts");
    tokio::time::sleep(Duration::from_secs(3590)).await;
    rig.record(&["a"], 2);
    // The segment with the change is never in the store.
    rig.store.tell("/seg/", [super::rig::Answer::Squatted]);
    tokio::time::sleep(Duration::from_secs(300)).await;
    rig.pump(&archive).await;
    rig.record(&["b"], 1);
    rig.pump(&archive).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    archive.stop(Instant::now() + Duration::from_secs(60)).await;
    rig.assert_whole("a stranger took the name");
    // And where the state is lost, the head is known for the session's own.
    std::fs::remove_dir_all(rig.state_dir()).expect("it is there");
    rig.record(&["a"], 1);
    rig.live(0).await;
    let sessions = entries(&rig.copy());
    let opens = sessions.iter().filter(|entry| entry.kind.name() == "open");
    assert_eq!(opens.count(), 3);
    rig.assert_whole("and the state was lost");
}

#[tokio::test(start_paused = true)]
async fn a_lost_state_after_a_change_is_followed_up_to_the_newest_head() {
    let rig = Rig::new(HOURLY);
    let archive = rig.start(0).await.expect("it starts");
    tokio::time::sleep(Duration::from_secs(9000)).await;
    rig.record(&["a"], 1);
    rig.pump(&archive).await;
    let size = archive.running(None).expect("it runs").0.writer().covered();
    archive.stop(Instant::now() + Duration::from_secs(60)).await;
    assert_eq!(named(&rig).len(), 2);
    std::fs::remove_dir_all(rig.state_dir()).expect("it is there");
    rig.record(&["a"], 1);
    rig.live(0).await;
    rig.assert_whole("a new session");
    let prev = entries(&rig.copy())
        .into_iter()
        .find_map(|entry| match entry.kind {
            Kind::Open(open) => open.prev_session,
            _ => None,
        });
    let prev = prev.expect("it follows another");
    assert!(prev.size >= size && size > 0, "{prev:?} {size}");
}

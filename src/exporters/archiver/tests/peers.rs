//! Writers that remember each other's heads: who deletes one's log is found out by the other's.

use std::time::Duration;

use component::Collect;
use evidence::entry::{Kind, PeerHead};
use evidence::names::Origin;
use evidence::verify::{Claim, Severity};
use tokio::time::Instant;

use super::super::peers::Peers;
use super::rig::{Rig, entries};

const OTHER: &str = "writer: gw-1";

/// Heads that a writer's log names, in order.
fn heads(rig: &Rig, writer: &str) -> Vec<PeerHead> {
    let mut copy = rig.copy();
    copy.files
        .retain(|key, _| key.contains(&format!("/log/{writer}/")));
    let peers = entries(&copy).into_iter().filter_map(|entry| match entry.kind {
        Kind::Peer(peer) => Some(peer.heads),
        _ => None,
    });
    peers.flatten().collect()
}

fn own(rig: &Rig) -> Origin {
    let opens = entries(&rig.copy())
        .into_iter()
        .find_map(|entry| match entry.kind {
            Kind::Open(open) if open.writer == "gw-0" => {
                Origin::new(&open.archive, &open.writer, open.session.parse().ok()?).ok()
            }
            _ => None,
        });
    opens.expect("it has a log")
}

/// Two gateways that lived beside each other for half an hour.
async fn two() -> (Rig, Rig) {
    let one = Rig::new("");
    let other = one.beside(OTHER);
    let (first, second) = (
        one.start(0).await.expect("it starts"),
        other.start(0).await.expect("it starts"),
    );
    for _ in 0..3 {
        one.record(&["a"], 2);
        other.record(&["b"], 2);
        one.pump(&first).await;
        other.pump(&second).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
    first.stop(Instant::now() + Duration::from_secs(60)).await;
    second.stop(Instant::now() + Duration::from_secs(60)).await;
    assert!(one.journal.is_done() && other.journal.is_done());
    (one, other)
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_deleted_is_missed_by_the_others() {
    let (one, _other) = two().await;
    one.assert_whole("both are there");
    for (writer, peer) in [("gw-0", "/gw-1/"), ("gw-1", "/gw-0/")] {
        let heads = heads(&one, writer);
        assert!(heads.len() >= 2, "{writer}: {heads:?}");
        assert!(heads.iter().all(|head| head.origin.contains(peer)), "{heads:?}");
        // Only what is new is named.
        assert!(
            heads.windows(2).all(|pair| pair[0].size < pair[1].size),
            "{heads:?}"
        );
    }
    let log = one.dir.path().join("store/_weir/v1/log/gw-1");
    std::fs::remove_dir_all(log).expect("it is there");
    let report = one.verify();
    assert_eq!(report.exit, 2, "{:#?}", report.findings);
    let failures: Vec<_> = report
        .findings
        .iter()
        .filter(|found| found.severity == Severity::Fail)
        .map(|found| (found.claim, found.what))
        .collect();
    let gone = (Claim::C5, "session_missing");
    assert!(
        !failures.is_empty() && failures.iter().all(|f| *f == gone),
        "{failures:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn only_heads_that_the_session_signed_itself_are_named() {
    let (one, _other) = two().await;
    let own = own(&one);
    let mut peers = Peers::default();
    let first = peers.look(&one.store.below, &own).await.expect("it reads");
    let [named] = &first[..] else { panic!("{first:?}") };
    let [head] = &named.heads[..] else {
        panic!("{named:?}")
    };
    assert!(head.origin.contains("/gw-1/"));
    // Nothing is new; another session of ours does not know yet.
    assert_eq!(peers.look(&one.store.below, &own).await.expect("it reads"), []);
    let session = evidence::names::Session::new(evidence::time::Time::from_millis(9), [7; 10]);
    let later = Origin::new(own.archive(), own.writer(), session).expect("names");
    assert_eq!(
        peers.look(&one.store.below, &later).await.expect("it reads"),
        first
    );
    // Strangers take names of heads; the one below them counts.
    let origin: Origin = head.origin.parse().expect("it is one");
    let dir = one.dir.path().join("store");
    for (size, text) in [
        (head.size + 1, "no note".to_owned()),
        (head.size + 2, format!("{origin}\n{}\nAAAA\n", head.size + 2)),
    ] {
        std::fs::write(dir.join(origin.checkpoint_key(size)), text).expect("it is written");
    }
    let mut fresh = Peers::default();
    assert_eq!(fresh.look(&one.store.below, &own).await.expect("it reads"), first);
    assert_eq!(peers.look(&one.store.below, &own).await.expect("it reads"), first);
}

#[tokio::test(start_paused = true)]
async fn a_writer_whose_key_changes_is_followed() {
    let one = Rig::new("");
    let other = one.beside("writer: gw-1\nlog: {signer: {rotate: 10m}}");
    let (first, second) = (
        one.start(0).await.expect("it starts"),
        other.start(0).await.expect("it starts"),
    );
    tokio::time::sleep(Duration::from_secs(3600)).await;
    first.stop(Instant::now() + Duration::from_secs(60)).await;
    second.stop(Instant::now() + Duration::from_secs(60)).await;
    let sizes: Vec<u64> = heads(&one, "gw-0").iter().map(|head| head.size).collect();
    assert!(sizes.len() >= 5, "{sizes:?}");
    let found = Peers::default().look(&one.store.below, &own(&one)).await;
    let heads = found.expect("it reads").remove(0).heads;
    assert!(heads[0].size >= sizes[sizes.len() - 1], "{heads:?} {sizes:?}");
    one.assert_whole("both are there");
}

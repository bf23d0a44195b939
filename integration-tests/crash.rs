//! Kills: whatever the moment, what was acknowledged behind a journal arrives.

use std::time::Duration;

use crate::support::kills::soak::{Bounds, soak};
use crate::support::kills::{End, Queue, Setup, World};

/// The harness is worth something only if it sees a loss: a queue in memory has one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_in_memory_loses_what_it_answered_for() {
    let setup = Setup {
        queue: Queue::Memory,
        unwell: false,
        ..Setup::default()
    };
    let mut world = World::begin(setup).await;
    world.sinks[1].refuse(100);
    let mut process = world.start(None);
    while world.acknowledged() < 20 {
        assert!(process.ended().is_none(), "{}", process.said());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    process.kill();
    let acknowledged = world.acknowledged();
    world.heal();
    let mut process = world.start(None);
    assert!(world.listens(&mut process).await);
    let [_, missing] = world.missing().await;
    assert!(
        missing.len() >= acknowledged * 10,
        "{} missing of {acknowledged} requests",
        missing.len()
    );
}

/// Who is answered after delivery is owed nothing by whoever is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_the_result_loses_nothing() {
    let setup = Setup {
        queue: Queue::Waiting,
        ..Setup::default()
    };
    let mut world = World::begin(setup).await;
    for _ in 0..6 {
        let time = Duration::from_millis(world.rng.below(300));
        world.live(End::Listening(time)).await;
    }
    world.live(End::Stop).await;
    let report = world.finish().await;
    assert_eq!(report.kills["at random"], 6);
    assert!(report.acknowledged > 0, "{report:?}");
}

/// Backends that come and go, for a short while; tier 3 has ten minutes of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soak_leaves_nothing_behind() {
    let setup = Setup {
        queue: Queue::Memory,
        ..Setup::default()
    };
    let bounds = Bounds {
        memory_mib: 256,
        growth_mib: 128.0,
        disk_mib: 64,
    };
    let took = soak(setup, Duration::from_secs(15), Duration::from_secs(1), bounds).await;
    assert!(took.acknowledged > 0 && took.changes >= 7, "{took:?}");
}

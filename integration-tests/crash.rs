//! Kills: whatever the moment, what was acknowledged behind a journal arrives.

use std::time::Duration;

use storage::crash::{ARCHIVE_POINTS, POINTS};

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

/// Every order in which things get to the disk; what is archived is archived once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_point_nothing_acknowledged_is_lost() {
    let setup = Setup {
        archive: true,
        ..Setup::default()
    };
    let mut world = World::begin(setup).await;
    // Names are written while the directory is new.
    let (first, then): (Vec<&str>, Vec<&str>) = POINTS.iter().partition(|p| p.starts_with("journal.table"));
    let mut unmet = Vec::new();
    for point in first.into_iter().chain(then) {
        if !world.live(End::At(point, 1)).await {
            unmet.push(point);
        }
        if point.contains("append") || point.contains("done") {
            let pass = 2 + world.rng.below(10);
            world.live(End::At(point, pass)).await;
        }
    }
    assert!(unmet.is_empty(), "never come by: {unmet:?}");
    let report = world.finish().await;
    assert!(
        POINTS.iter().all(|point| report.kills.contains_key(*point)),
        "{report:?}"
    );
    assert!(report.acknowledged > 0, "{report:?}");
}

/// An object that is on its way to the store is there once in the end, whichever step was its last before the kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_of_an_archive_all_is_there_once() {
    let setup = Setup {
        archive: true,
        ..Setup::default()
    };
    let mut world = World::begin(setup).await;
    for point in ARCHIVE_POINTS {
        assert!(world.live(End::At(point, 1)).await, "{point} never comes by");
        let pass = 2 + world.rng.below(10);
        world.live(End::At(point, pass)).await;
    }
    let report = world.finish().await;
    assert!(report.acknowledged > 0, "{report:?}");
}

/// At any time, also while it starts; without fsync, for a process that ends takes nothing from the system.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_time_nothing_acknowledged_is_lost() {
    let setup = Setup {
        fsync: false,
        ..Setup::default()
    };
    let mut world = World::begin(setup).await;
    for n in 0..16 {
        let time = Duration::from_millis(world.rng.below(250));
        if n % 3 == 2 {
            let point = POINTS[world.rng.below(POINTS.len() as u64) as usize];
            let pass = 1 + world.rng.below(20);
            world.live(End::At(point, pass)).await;
        } else if n % 3 == 1 {
            world.live(End::Listening(time)).await;
        } else {
            world.live(End::After(time)).await;
        }
    }
    world.live(End::Stop).await;
    let report = world.finish().await;
    assert!(report.acknowledged > 0, "{report:?}");
}

/// While queues go from old exporters to new ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_a_reload_nothing_acknowledged_is_lost() {
    let mut world = World::begin(Setup::default()).await;
    for _ in 0..8 {
        let time = Duration::from_millis(world.rng.below(250));
        world.live(End::Reloading(time)).await;
    }
    let report = world.finish().await;
    assert_eq!(report.kills["in a reload"], 8);
    assert!(report.acknowledged > 0, "{report:?}");
}

/// What may have been sent before a kill is counted at the next start, and it is at least what comes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_come_twice_is_told() {
    let mut world = World::begin(Setup::default()).await;
    for _ in 0..8 {
        let time = Duration::from_millis(100 + world.rng.below(300));
        world.live(End::Listening(time)).await;
    }
    let report = world.finish().await;
    assert!(report.duplicates <= report.duplicates_told, "{report:?}");
}

/// Backends that come and go, for a short while; tier 3 has ten minutes of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soak_leaves_nothing_behind() {
    let setup = Setup {
        storage: "    max_size: 67108864\n",
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

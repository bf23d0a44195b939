//! Hundreds of kills: at every named point of the journal at random passes, and at random times, with and without fsync,
//! with encryption, during a start and during a reload. `WEIR_CRASH_ROUNDS` (default 4) says how often each point is met.

use std::time::Duration;

use storage::crash::POINTS;

use super::kills::{End, Report, Setup, World};

fn rounds() -> u64 {
    let given = std::env::var("WEIR_CRASH_ROUNDS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// Meets each point at a random pass, round by round, with a kill at a random time after every other. Claims are an
/// archive's.
async fn besieged(setup: Setup) -> Report {
    let setup = Setup {
        archive: true,
        ..setup
    };
    let mut world = World::begin(setup).await;
    // Names are written while the directory is new.
    let (first, then): (Vec<&str>, Vec<&str>) = POINTS.iter().partition(|p| p.starts_with("journal.table"));
    let points = [first, then].concat();
    for round in 0..rounds() {
        for (k, point) in points.iter().enumerate() {
            // What belongs to a segment is come by less often than what belongs to a record.
            let is_frequent = ["append", "done", "mark"].iter().any(|step| point.contains(step));
            let passes = if is_frequent { 30 } else { 3 };
            let pass = if round == 0 {
                1
            } else {
                1 + world.rng.below(passes)
            };
            world.live(End::At(point, pass)).await;
            // A life in between would write the names, and the next point would never be met.
            if k % 2 == 1 {
                let time = Duration::from_millis(world.rng.below(400));
                world.live(End::After(time)).await;
            }
        }
        world.live(End::Stop).await;
    }
    let report = world.finish().await;
    assert!(
        POINTS.iter().all(|point| report.kills.contains_key(*point)),
        "{report:?}"
    );
    assert_eq!(
        report.kills["at random"] as u64,
        rounds() * (POINTS.len() / 2) as u64
    );
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_kills() {
    besieged(Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_kills_without_fsync() {
    let setup = Setup {
        fsync: false,
        connections: 4,
        ..Setup::default()
    };
    besieged(setup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_kills_encrypted() {
    let setup = Setup {
        storage: "    encryption: {key_env: WEIR_CRASH_KEY}\n",
        ..Setup::default()
    };
    besieged(setup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_in_a_reload() {
    let mut world = World::begin(Setup::default()).await;
    for _ in 0..10 * rounds() {
        let time = Duration::from_millis(world.rng.below(60));
        world.live(End::Reloading(time)).await;
    }
    let report = world.finish().await;
    assert_eq!(report.kills["in a reload"] as u64, 10 * rounds());
}

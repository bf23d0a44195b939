//! A long while with backends that come and go, and nobody killed: nothing is lost, nothing comes twice, memory and disk
//! stay where they were.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Setup, World};

/// What it may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub memory_mib: u64,
    /// After the first third, over the whole of the rest.
    pub growth_mib: f64,
    pub disk_mib: u64,
}

/// What it took.
#[derive(Clone, Debug)]
pub struct Took {
    pub acknowledged: u64,
    pub refused: u64,
    pub changes: usize,
    pub memory_mib: u64,
    /// Slope of resident memory after the first third, by least squares.
    pub slope_mib_per_minute: f64,
    pub disk_mib: u64,
    /// When all was delivered.
    pub disk_mib_at_end: f64,
}

/// Bytes of the files in a directory.
pub fn size(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let files = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    files.map(|meta| meta.len()).sum()
}

/// Slope of a line through points, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let above: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let below: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    above / below
}

/// Sends for that long while the backends change every second or up to `calm`.
pub async fn soak(setup: Setup, time: Duration, calm: Duration, bounds: Bounds) -> Took {
    let mut world = World::begin(setup).await;
    let mut process = world.start(None);
    assert!(world.listens(&mut process).await, "{}", process.said());
    let began = Instant::now();
    let (mut change, mut changes) = (began, 0);
    let mut memory: Vec<(f64, f64)> = Vec::new();
    let (mut peak_kib, mut disk) = (0, 0);
    while began.elapsed() < time {
        if Instant::now() >= change {
            let more = world.rng.below(calm.as_millis() as u64);
            change += Duration::from_secs(1) + Duration::from_millis(more);
            changes += 1;
            for sink in &world.sinks {
                // Well, away, refusing now and then, slow.
                let (refused, pause) = [(0, 0), (100, 0), (30, 0), (0, 50)][world.rng.below(4) as usize];
                sink.refuse(refused);
                sink.pause(pause);
            }
            let holds = world.rng.below(2) == 0;
            world.sinks[1].hold(holds);
        }
        sleep(Duration::from_millis(200)).await;
        assert!(process.ended().is_none(), "{}", process.said());
        let kib = process.memory_kib();
        peak_kib = peak_kib.max(kib);
        disk = disk.max(size(&world.storage()));
        if began.elapsed() > time / 3 {
            memory.push((began.elapsed().as_secs_f64() / 60.0, kib as f64 / 1024.0));
        }
    }
    world.heal();
    let missing = world.missing().await;
    let report = world.report.clone();
    for (sink, missing) in missing.iter().enumerate() {
        assert!(
            missing.is_empty(),
            "{} are not in sink {sink}: {:?}\n{}",
            missing.len(),
            &missing[..missing.len().min(50)],
            process.said()
        );
    }
    assert_eq!(report.duplicates, 0, "{report:?}");
    world.balances().await;
    let took = Took {
        acknowledged: report.acknowledged,
        refused: report.refused,
        changes,
        memory_mib: peak_kib >> 10,
        slope_mib_per_minute: slope(&memory),
        disk_mib: disk >> 20,
        disk_mib_at_end: size(&world.storage()) as f64 / f64::from(1 << 20),
    };
    process.stop().await;
    eprintln!("{took:?}");
    assert!(took.memory_mib <= bounds.memory_mib, "{took:?}");
    assert!(took.disk_mib <= bounds.disk_mib, "{took:?}");
    let grown = took.slope_mib_per_minute * time.as_secs_f64() / 60.0 * 2.0 / 3.0;
    assert!(grown <= bounds.growth_mib, "{grown} MiB more: {took:?}");
    took
}

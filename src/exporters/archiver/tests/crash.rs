//! The power fails between any two steps: nothing is missing, nothing is there twice, the log holds.

use super::super::layout::Layout;
use super::rig::{Rig, layouts};

/// Cuts the first of some lives at each step in turn.
async fn check(layout: &Layout, between: impl AsyncFn(&Rig)) {
    let new = || Rig::new("").laid_out(layout.clone());
    let full = {
        let rig = new();
        fill(&rig);
        rig.live(0).await
    };
    assert!(full > 10, "{full} steps");
    for cut in 1..=full {
        let rig = new();
        fill(&rig);
        rig.live(cut).await;
        between(&rig).await;
        rig.record(&["c", "a"], 1);
        rig.live(0).await;
        rig.assert_whole(&format!("cut at step {cut} of {full}"));
    }
}

fn fill(rig: &Rig) {
    for n in 0..6 {
        rig.record(if n % 2 == 0 { &["a", "b"] } else { &["a"] }, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn at_every_step_with_all_that_was_written() {
    for (layout, _) in layouts() {
        check(&layout, async |_| {}).await;
    }
}

#[tokio::test(start_paused = true)]
async fn at_every_step_with_the_spool_lost() {
    check(&Layout::Hive, async |rig| {
        let _ = std::fs::remove_dir_all(rig.state_dir().join("spool"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn at_every_step_with_the_state_lost() {
    for (layout, _) in layouts() {
        check(&layout, async |rig| {
            std::fs::remove_dir_all(rig.state_dir()).expect("it is there");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn twice_at_every_step() {
    for cut in (1..30).step_by(3) {
        let rig = Rig::new("");
        fill(&rig);
        for again in [cut, cut / 2 + 1, cut / 3 + 1] {
            rig.live(again).await;
            rig.record(&["b"], 1);
        }
        rig.live(0).await;
        rig.assert_whole(&format!("cut at step {cut}, and again"));
    }
}

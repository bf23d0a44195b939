//! Ten minutes with backends that come and go; `WEIR_SOAK_SECS` says another time.

use std::time::Duration;

use super::kills::Setup;
use super::kills::soak::{Bounds, soak};

#[tokio::test(flavor = "multi_thread")]
async fn ten_minutes() {
    let given = std::env::var("WEIR_SOAK_SECS").ok();
    let secs = given.and_then(|text| text.parse().ok()).unwrap_or(600);
    let setup = Setup {
        segment: 4 << 20,
        records: 50,
        text: 700,
        pause: Duration::from_millis(25),
        storage: "    max_size: 536870912\n",
        ..Setup::default()
    };
    let bounds = Bounds {
        memory_mib: 400,
        growth_mib: 16.0,
        disk_mib: 512,
    };
    let took = soak(setup, Duration::from_secs(secs), Duration::from_secs(12), bounds).await;
    assert!(took.acknowledged > 0, "{took:?}");
    // Nothing is owed: what is left are the segment that is written, and the one before.
    assert!(took.disk_mib_at_end <= 9.0, "{took:?}");
}

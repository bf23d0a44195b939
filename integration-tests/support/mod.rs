//! What the integration tests share: a peer that records or misbehaves, clients, the gateway in this process.
//!
//! None of it uses Weir's own servers, clients or wire code: the other end is hyper, h2 and prost.

pub mod child;
pub mod client;
pub mod gateway;
#[allow(dead_code, reason = "shared with tiers 2 and 3, which use more of it")]
pub mod kills;
pub mod overload;
pub mod peer;
pub mod sample;
pub mod tls;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use gateway::free_port;

/// Waits until a condition holds; says what it waited for if it never does.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "waited 20 s in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

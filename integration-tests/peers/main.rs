//! Tier 2: the `weir` binary between software that we did not write and a peer that records.
//!
//! Exchanges recorded with real collectors are played again (`compat/`, `contrib/`). Clients are the OpenTelemetry SDKs for Python
//! and JavaScript, curl, a real Envoy and, for buckets, moto and s3s-fs, installed by `provision.sh`. What arrives behind the
//! gateway is compared with what the same client sent to the recording peer directly. A program that is not installed
//! fails the test when `CI=true`, else the test says so and passes.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used
)]

mod archive;
#[allow(dead_code, reason = "shared with tier 3, which uses more of it")]
#[path = "../support/bucket.rs"]
mod bucket;
mod compat;
mod contrib;
mod curl;
mod doors;
mod envoy;
mod gateway;
mod javascript;
mod moto;
mod no_locks;
mod outage;
mod programs;
mod python;
mod replay;

#[allow(dead_code, reason = "shared with the other tier, which uses more of it")]
#[path = "../support/client.rs"]
mod client;

#[allow(dead_code, reason = "shared with the other tiers, which use more of it")]
#[path = "../support/kills/mod.rs"]
mod kills;

#[allow(dead_code, reason = "shared with the other tier, which uses more of it")]
#[path = "../support/peer.rs"]
mod peer;

#[path = "../support/moto_server.rs"]
mod moto_server;

#[allow(dead_code, reason = "shared with tier 3, which uses more of it")]
#[path = "../support/server.rs"]
mod server;

use programs::{beside, free_port, get, installed, run, until};

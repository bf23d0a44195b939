//! Tier 3: real collectors, built by `provision.sh` from `builder*.yaml`, and what takes its time.
//!
//! The goldens of tier 2 are held against the collector, and it stands in front of Weir and behind it, also while Weir is
//! killed. A collector that is not built fails the tests when `CI=true`, else they say so and pass. Beside it: hundreds of
//! kills, ten minutes with backends that come and go, buckets that a collector and Weir share, a store that enforces locks
//! and one that is away for long, an hour of a thousand tenants, Loki, OpenSearch, and
//! VictoriaLogs.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used
)]

mod archive;
mod awss3;
mod chain;
mod contrib_goldens;
mod crash;
mod goldens;
mod loki;
mod minio;
mod opensearch;
mod outage;
mod overload;
mod pipelines;
mod records;
mod soak;
mod victorialogs;

#[path = "../support/bucket.rs"]
mod bucket;
#[allow(dead_code, reason = "shared with tier 1, which uses more of it")]
#[path = "../peers/awss3/mod.rs"]
mod bucket_goldens;
#[allow(dead_code, reason = "shared with tier 1, which uses more of it")]
#[path = "../support/child.rs"]
mod child;
#[allow(dead_code, reason = "shared with tier 2, which uses more of it")]
#[path = "../support/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with tier 2, which uses more of it")]
#[path = "../peers/compat/mod.rs"]
mod compat;
#[path = "../peers/contrib/mod.rs"]
mod contrib;
#[allow(dead_code, reason = "shared with tier 2, which uses more of it")]
#[path = "../peers/doors.rs"]
mod doors;
#[allow(dead_code, reason = "shared with tier 2, which uses more of it")]
#[path = "../peers/gateway.rs"]
mod gateway;
#[allow(dead_code, reason = "shared with tiers 1 and 2, which use more of it")]
#[path = "../support/kills/mod.rs"]
mod kills;
#[path = "../support/moto_server.rs"]
mod moto_server;
#[path = "../support/overload.rs"]
mod overload_run;
#[allow(dead_code, reason = "shared with tier 2, which uses more of it")]
#[path = "../support/peer.rs"]
mod peer;
#[allow(dead_code, reason = "shared with tier 2, which uses more of it")]
#[path = "../peers/programs.rs"]
mod programs;
#[allow(dead_code, reason = "shared with tier 1, which uses more of it")]
#[path = "../support/sample.rs"]
mod sample;
#[path = "../support/server.rs"]
mod server;

use programs::{free_port, get, installed, until};

/// The collector.
const OTELCOL: &str = "otelcol/otelcol";

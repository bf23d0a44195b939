//! Tier 1: the gateway as a whole, in this process, against peers that are not ours (hyper, h2, prost).
//!
//! No network beyond loopback, no shared files, no sleeping: a test waits for a condition and ends with the books
//! balanced.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::unwrap_used
)]

mod acceptance;
mod admin;
mod archive;
mod archive_stops;
mod archive_verify;
mod audit;
mod auth;
mod awss3;
mod awss3_evidence;
mod bad_clients;
mod books;
mod branches;
mod callers;
mod configs;
mod corpus;
mod crash;
mod delivery;
mod docs;
mod durable;
mod elasticsearch;
mod examples;
mod fanout;
mod health;
mod json;
mod kubernetes;
mod language;
mod limits;
mod loki;
mod moving;
mod otlp;
mod ottl;
mod overload;
mod prometheus;
mod quickstart;
mod reload;
mod report;
mod sampling;
mod self_telemetry;
mod shaping;
mod signals;
mod support;
mod tenants;
mod tidy;
mod ways;

#[allow(dead_code, reason = "shared with tier 3, which uses more of it")]
#[path = "peers/awss3/mod.rs"]
mod bucket_goldens;

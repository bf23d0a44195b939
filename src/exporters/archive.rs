//! Exporter `archive`: keeps what comes in a write-once store, under a log that proves what is there.
//!
//! In: payloads with receipts. Out: objects of one class, tenant, signal and hour of admission, and a signed log of them.
//! All of that is `archiver`'s; here is what a configuration says.

use component::prelude::*;

use crate::archiver;
use crate::archiver::config::Config;

/// `archive`.
pub(crate) static FACTORY: ExporterFactory = ExporterFactory {
    kind: "archive",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Development),
        (Signal::Metrics, Stability::Development),
        (Signal::Logs, Stability::Development),
        (Signal::Profiles, Stability::Development),
    ],
    harness: Harness::COLLECT,
    build: |section, cx| {
        let place = section.clone();
        let config: Config = section.parse_valid()?;
        archiver::build(config, (&place, "ack"), cx)
    },
};

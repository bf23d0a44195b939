//! Keys of `awss3`: contrib's, and the section `weir`.

use component::prelude::*;
use objects::blocks::{Checksum, S3Uploader};
use objects::{Lock, Mode};

/// `awss3`; with evidence its section `weir` is another one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config<W: Default = Weir> {
    /// The bucket, how to reach it, and how objects are called.
    pub(super) s3uploader: S3Uploader,
    /// What an object holds.
    pub(super) marshaler: Marshaler,
    /// An encoding extension; not supported yet.
    pub(super) encoding: String,
    /// Ends names where `encoding` writes them; without effect.
    pub(super) encoding_file_extension: String,
    /// Buckets and prefixes by resource.
    pub(super) resource_attrs_to_s3: ResourceAttrs,
    /// Not in the collector.
    pub(super) weir: W,
}

/// What an object holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Marshaler {
    /// One OTLP/JSON document.
    #[default]
    OtlpJson,
    /// One protobuf message.
    OtlpProto,
    /// Bodies of log records, a line each.
    Body,
    /// Sumo Logic's; not supported.
    SumoIc,
}

/// Attributes of a resource that say where its records go; what a resource does not say is as in `s3uploader`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ResourceAttrs {
    /// Name of the attribute with the bucket.
    pub(super) s3_bucket: String,
    /// Name of the attribute with the prefix.
    pub(super) s3_prefix: String,
}

/// What contrib's exporter does not have, without evidence.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Weir {
    /// A signed log of all objects: with it the section is [`Evidence`](super::evidence::Evidence).
    pub(super) evidence: bool,
    /// Whether compressed objects say so in their header: `auto` (default) or `none`.
    pub(super) content_encoding: ContentEncoding,
    /// What protects objects.
    pub(super) lock: LockBlock,
}

/// Whether compressed objects say so in their header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ContentEncoding {
    /// They do: clients that decode what is declared give plain bytes.
    #[default]
    Auto,
    /// Only their name says it.
    None,
}

/// What protects objects; by default what the bucket has.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LockBlock {
    /// Each object is asked about its lock after it was written; one without is no success. Default false.
    pub(super) required: bool,
    /// `COMPLIANCE` or `GOVERNANCE`, with `retention`.
    pub(super) mode: Option<Mode>,
    /// `400d`, `1y` (365 days), from the upload on; with `mode`.
    pub(super) retention: String,
    /// Until somebody lifts it. Default false.
    pub(super) legal_hold: bool,
}

impl LockBlock {
    /// The lock of what is written at `now`, Unix seconds.
    pub(super) fn at(&self, now: u64) -> Lock {
        let retention = self.mode.zip(self.seconds());
        Lock {
            retention: retention.map(|(mode, seconds)| objects::Retention {
                mode,
                until: now.saturating_add(seconds),
            }),
            legal_hold: self.legal_hold,
        }
    }

    /// How long an object is retained; `None` if that is not said, or not rightly.
    fn seconds(&self) -> Option<u64> {
        let days = match (self.retention.strip_suffix('d'), self.retention.strip_suffix('y')) {
            (Some(days), _) => days.parse::<u64>().ok()?,
            (_, Some(years)) => years.parse::<u64>().ok()?.checked_mul(365)?,
            (None, None) => return None,
        };
        days.checked_mul(86_400).filter(|seconds| *seconds > 0)
    }
}

/// What is wrong with where objects go and what they hold, with evidence and without.
pub(super) fn faults_of_names<W: Default>(config: &Config<W>, faults: &mut Vec<(String, String)>) {
    for (key, text) in config.s3uploader.faults() {
        faults.push((format!("s3uploader.{}", key.replace("::", ".")), text));
    }
    if !config.encoding.is_empty() {
        let text = "encoding extensions are not supported yet";
        faults.push(("encoding".to_owned(), text.to_owned()));
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let uploader = &self.s3uploader;
        faults_of_names(self, faults);
        let mut fault = |key: &str, wrong: bool, message: &str| {
            if wrong {
                faults.push((key.to_owned(), message.to_owned()));
            }
        };
        let nowhere = uploader.s3_bucket.is_empty() && self.resource_attrs_to_s3.s3_bucket.is_empty();
        fault(
            "s3uploader.s3_bucket",
            nowhere && !uploader.endpoint.is_empty(),
            "an endpoint names no bucket: s3_bucket is needed, or resource_attrs_to_s3.s3_bucket",
        );
        fault(
            "marshaler",
            self.marshaler == Marshaler::SumoIc,
            "sumo_ic is not supported: take otlp_json, otlp_proto or body",
        );
        let weir = &self.weir;
        let lock = &weir.lock;
        let locks = lock.mode.is_some() || lock.legal_hold;
        fault(
            "weir.lock.mode",
            lock.mode.is_some() == lock.retention.is_empty(),
            "mode and retention belong together",
        );
        fault(
            "weir.lock.retention",
            !lock.retention.is_empty() && lock.seconds().is_none(),
            "retention must be a number of days or years, at least 1d: 400d, 1y",
        );
        fault(
            "weir.lock.required",
            lock.required && !locks,
            "mode and retention, or legal_hold, must say what is required",
        );
        fault(
            "s3uploader.checksum",
            locks && uploader.checksum == Checksum::None,
            "a lock needs checksum: sha256",
        );
    }
}

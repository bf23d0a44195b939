//! `awss3` with `weir: {evidence: true}`: the exporter `archive`, with the collector's names for its objects.
//!
//! What says where objects go and how they are called and compressed are the collector's keys; everything else is
//! `archive`'s, in the section `weir`.

use std::path::PathBuf;

use component::Instead;
use component::prelude::*;
use objects::Naming;
use objects::blocks::ObjectCompression;

use super::config::{Config, ContentEncoding, Marshaler, ResourceAttrs, faults_of_names};
use crate::archiver;
use crate::archiver::config::{
    Ack, Compression, Encryption, Format, Lock, Log, Roll, Selftest, Spool, Tenant,
};
use crate::archiver::layout::{Awss3, Layout};
use crate::archiver::units::Size;

/// The harness of an exporter that gathers, where evidence is asked for.
pub(super) const HARNESS: Instead = Instead {
    when: is_asked_for,
    harness: &Harness::COLLECT,
};

/// `weir`, with evidence: the keys of exporter `archive`, but for those that `s3uploader` has.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Evidence {
    /// A signed log of all objects, as exporter `archive` writes it. Default false; all keys but `content_encoding` and
    /// `lock` go with it.
    pub(super) evidence: bool,
    /// Whether compressed objects say so in their header: `auto` (default) or `none`.
    pub(super) content_encoding: ContentEncoding,
    /// Name of the archive, such as `logs.example.com/prod`: lower-case letters, digits, `.`, `/`, `-`. Required.
    pub(super) archive: String,
    /// Founds the archive if the prefix has none. Default false.
    pub(super) create: bool,
    /// Name of this writer, unlike that of any other: lower-case letters, digits, `-`. Default: the name of the host.
    pub(super) writer: String,
    /// Directory for parts, state and the log's unsealed end. Required; never inside a journal's directory.
    pub(super) state_dir: PathBuf,
    /// Whose a record is.
    pub(super) tenant: Tenant,
    /// How hard to compress. Default 3.
    pub(super) compression_level: i32,
    /// When an object is finished. Here `max_bytes` is 32MiB, `max_raw_bytes` 128MiB, `min_bytes` 0 and `max_age_small` 0s
    /// by default.
    pub(super) roll: Roll,
    /// Objects being built at a time; beyond it the oldest are finished early. Default 8192.
    pub(super) max_open_partitions: usize,
    /// Memory for what is not compressed yet. Default 192MiB.
    pub(super) max_buffer_bytes: Size,
    /// Disk for parts of objects that the store does not have. Default 20GiB.
    pub(super) max_spool_bytes: Size,
    /// Share of the journal; only `auto` (default) yet: the journal's own limits.
    pub(super) journal_quota: String,
    /// Where parts are kept: `disk` (default), or `memory`, only with `ack: memory`.
    pub(super) spool: Spool,
    /// Threads that compress. Default 0: as many as there are cores, at most 4.
    pub(super) compress_workers: usize,
    /// Requests to the store at a time. Default 8.
    pub(super) put_concurrency: usize,
    /// When a client is answered: `wal` (default), once the journal has it; `memory`, at once.
    pub(super) ack: Ack,
    /// What may not be deleted, and until when. Without evidence nothing is required, and nothing is locked by default.
    pub(super) lock: Lock,
    /// Proof that the lock holds.
    pub(super) selftest: Selftest,
    /// The log that proves what is in the archive.
    pub(super) log: Log,
    /// Only `{mode: none}` yet.
    pub(super) encryption: Encryption,
}

impl Default for Evidence {
    fn default() -> Self {
        let own = archiver::config::Config::default();
        Evidence {
            evidence: false,
            content_encoding: ContentEncoding::default(),
            archive: own.archive,
            create: own.create,
            writer: own.writer,
            state_dir: own.state_dir,
            tenant: own.tenant,
            compression_level: own.compression_level,
            roll: own.roll,
            max_open_partitions: own.max_open_partitions,
            max_buffer_bytes: own.max_buffer_bytes,
            max_spool_bytes: own.max_spool_bytes,
            journal_quota: own.journal_quota,
            spool: own.spool,
            compress_workers: own.compress_workers,
            put_concurrency: own.put_concurrency,
            ack: own.ack,
            lock: own.lock,
            selftest: own.selftest,
            log: own.log,
            encryption: own.encryption,
        }
    }
}

/// Other defaults of `roll` than `archive` has. A receiver that goes from minute to minute should not have to wait for a
/// quarter of an hour until what is small is there, and reads an object at once into memory: receiver `awss3` 64 MiB of
/// it, and 256 MiB of what it inflates to.
const ROLL: [(&str, &str); 4] = [
    ("max_bytes", "32MiB"),
    ("max_raw_bytes", "128MiB"),
    ("min_bytes", "0"),
    ("max_age_small", "0s"),
];

/// Keys of `archive` that are said elsewhere here.
const ELSEWHERE: [(&str, &str); 4] = [
    ("store", "s3uploader says where objects go: take store out"),
    ("format", "marshaler says what objects hold: take format out"),
    ("compression", "say it with s3uploader.compression"),
    ("storage", "write storage beside weir, or sending_queue.storage"),
];

/// Whether a section has `weir: {evidence: true}`. What cannot be read does not; reading it says why.
pub(super) fn is_asked_for(section: &Section) -> bool {
    #[derive(Clone, Default, Deserialize, Serialize)]
    #[serde(default)]
    struct Flag {
        evidence: bool,
    }
    let weir = section.clone().take_raw("weir");
    let flag = weir.and_then(|mut weir| weir.take::<Flag>().ok());
    flag.is_some_and(|flag| flag.evidence)
}

/// Builds the archive.
pub(super) fn build(mut section: Section, cx: &BuildContext) -> Result<Exporter, Fault> {
    let weir = section.clone().take_raw("weir");
    let mut faults = Vec::new();
    for (key, text) in ELSEWHERE {
        if weir.as_ref().is_some_and(|weir| weir.contains(key)) {
            faults.push(section.diag(&format!("weir.{key}"), text));
        }
    }
    if section.contains("timeout") {
        let text = "with weir.evidence what was accepted is sent until it is there: take timeout out";
        faults.push(section.diag("timeout", text));
    }
    config::Diags::check(faults)?;
    for (key, value) in ROLL {
        section.default_in(&["weir", "roll"], key, value)?;
    }
    let place = section.clone();
    let config: Config<Evidence> = section.parse_valid()?;
    for (key, text) in config.s3uploader.old_keys() {
        tracing::warn!(exporter = %cx.id, "s3uploader.{key} {text}");
    }
    let naming = Naming::new(&config.s3uploader);
    let naming = naming.map_err(|(key, text)| place.fault(&format!("s3uploader.{key}"), text))?;
    let layout = Layout::Awss3(Box::new(Awss3 {
        naming: naming.below_its_prefix(),
        content_encoding: config.weir.content_encoding == ContentEncoding::Auto,
    }));
    archiver::build(config.archive(layout), (&place, "weir.ack"), cx)
}

impl Config<Evidence> {
    /// What `archive` would be told.
    fn archive(&self, layout: Layout) -> archiver::config::Config {
        let weir = self.weir.clone();
        archiver::config::Config {
            archive: weir.archive,
            store: objects::blocks::Store {
                s3: Some(self.s3uploader.archive()),
                file: None,
            },
            create: weir.create,
            writer: weir.writer,
            state_dir: weir.state_dir,
            tenant: weir.tenant,
            format: Format::OtlpProto,
            compression: match self.s3uploader.compression {
                ObjectCompression::None => Compression::None,
                ObjectCompression::Gzip => Compression::Gzip,
                ObjectCompression::Zstd => Compression::Zstd,
            },
            compression_level: weir.compression_level,
            roll: weir.roll,
            max_open_partitions: weir.max_open_partitions,
            max_buffer_bytes: weir.max_buffer_bytes,
            max_spool_bytes: weir.max_spool_bytes,
            journal_quota: weir.journal_quota,
            spool: weir.spool,
            compress_workers: weir.compress_workers,
            put_concurrency: weir.put_concurrency,
            ack: weir.ack,
            lock: weir.lock,
            selftest: weir.selftest,
            log: weir.log,
            encryption: weir.encryption,
            layout,
        }
    }
}

impl config::Validate for Config<Evidence> {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let uploader = &self.s3uploader;
        faults_of_names(self, faults);
        let mut fault = |key: &str, wrong: bool, message: &str| {
            if wrong {
                faults.push((key.to_owned(), message.to_owned()));
            }
        };
        fault(
            "marshaler",
            self.marshaler != Marshaler::OtlpProto,
            "evidence needs marshaler: otlp_proto, whose messages laid end to end are one message",
        );
        fault(
            "resource_attrs_to_s3",
            self.resource_attrs_to_s3 != ResourceAttrs::default(),
            "an archive has one bucket and one prefix: take it out, and tell resources apart with weir.tenant.from, or give \
             each its own exporter",
        );
        fault(
            "s3uploader.s3_bucket",
            uploader.s3_bucket.is_empty() && !uploader.endpoint.is_empty(),
            "an archive needs the name of its bucket",
        );
        fault(
            "s3uploader.unique_key_func_name",
            !uploader.unique_key_func_name.is_empty(),
            "with weir.evidence objects are called by their number in the log: take it out",
        );
        let mut own = Vec::new();
        self.archive(Layout::default()).validate(&mut own);
        for (key, text) in own {
            match key.as_str() {
                "store.s3.prefix" => faults.push((
                    "s3uploader.s3_prefix".to_owned(),
                    format!("with weir.evidence s3_base_prefix and s3_prefix are the archive's own place: together it {text}"),
                )),
                // The uploader's own faults are these, under its own keys.
                key if key.starts_with("store") => {}
                key => faults.push((format!("weir.{key}"), text)),
            }
        }
    }
}

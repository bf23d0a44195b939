//! What a user writes for `archive`, and what of it cannot be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use component::prelude::*;
use objects::Mode;

use super::layout::Layout;
use super::units::{Retention, Size};

/// `archive`: where, how, for how long.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Name of the archive, such as `logs.example.com/prod`: lower-case letters, digits, `.`, `/`, `-`. Required.
    pub(crate) archive: String,
    /// Where objects go: a directory or a bucket. Required.
    pub(crate) store: objects::blocks::Store,
    /// Founds the archive if the store has none. Default false.
    pub(crate) create: bool,
    /// Name of this writer, unlike that of any other: lower-case letters, digits, `-`. Default: the name of the host.
    pub(crate) writer: String,
    /// Directory for parts, state and the log's unsealed end. Required; never inside a journal's directory.
    pub(crate) state_dir: PathBuf,
    /// Whose a record is.
    pub(crate) tenant: Tenant,
    /// `otlp_proto` (default).
    pub(crate) format: Format,
    /// `zstd` (default), `gzip`, `none`.
    pub(crate) compression: Compression,
    /// How hard to compress. Default 3.
    pub(crate) compression_level: i32,
    /// When an object is finished.
    pub(crate) roll: Roll,
    /// Objects being built at a time; beyond it the oldest are finished early. Default 8192.
    pub(crate) max_open_partitions: usize,
    /// Memory for what is not compressed yet. Default 192MiB.
    pub(crate) max_buffer_bytes: Size,
    /// Disk for parts of objects that the store does not have. Default 20GiB.
    pub(crate) max_spool_bytes: Size,
    /// Share of the journal; only `auto` (default) yet: the journal's own limits.
    pub(crate) journal_quota: String,
    /// Where parts are kept: `disk` (default), or `memory`, only with `ack: memory`.
    pub(crate) spool: Spool,
    /// Threads that compress. Default 0: as many as there are cores, at most 4.
    pub(crate) compress_workers: usize,
    /// Requests to the store at a time. Default 8.
    pub(crate) put_concurrency: usize,
    /// When a client is answered: `wal` (default), once the journal has it; `memory`, at once.
    pub(crate) ack: Ack,
    /// What may not be deleted, and until when.
    pub(crate) lock: Lock,
    /// Proof that the lock holds.
    pub(crate) selftest: Selftest,
    /// The log that proves what is in the archive.
    pub(crate) log: Log,
    /// Only `{mode: none}` yet.
    pub(crate) encryption: Encryption,
    /// Said by the exporter's type.
    #[serde(skip)]
    pub(crate) layout: Layout,
}

/// Where a tenant's name comes from.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tenant {
    /// The first that gives a name wins, for each resource by itself: `context:tenant` (what processor `tenant` said) or
    /// `resource:KEY`. Default `[context:tenant, "resource:tenant.id"]`.
    pub(crate) from: Vec<String>,
    /// The tenant of what has no name. Default `default`.
    pub(crate) default: String,
    /// `plain` (default): names stand in keys and evidence as they are; `hmac`: a code of each stands there.
    pub(crate) alias: Alias,
    /// What the codes are made with, at least 16 bytes. Needed with `alias: hmac`; another key gives other codes.
    pub(crate) alias_key: Secret<String>,
}

/// How a tenant is called in keys and evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Alias {
    /// By its name.
    Plain,
    /// By `t-` and 20 digits of an HMAC-SHA-256 of its name.
    Hmac,
}

/// What an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// OTLP requests laid end to end, which is one request.
    OtlpProto,
}

/// How an object is compressed, in parts that can be read alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Compression {
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
    /// Not at all.
    None,
}

/// Where parts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spool {
    /// In `state_dir`.
    Disk,
    /// In memory, counted with `max_buffer_bytes`.
    Memory,
}

/// When a client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ack {
    /// Once the journal has the data.
    Wal,
    /// At once.
    Memory,
    /// Once the store has the object; not yet.
    Object,
    /// Once the store has the signed head above the object; not yet.
    Checkpoint,
}

/// When an object is finished. Ages run from its first record.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Roll {
    /// Age of one that has `min_bytes`. Default 60s.
    pub(crate) max_age: Duration,
    /// Compressed. Default 64MiB.
    pub(crate) max_bytes: Size,
    /// Uncompressed. Default 512MiB.
    pub(crate) max_raw_bytes: Size,
    /// Default 1000000.
    pub(crate) max_records: u64,
    /// Uncompressed bytes of one part that can be read alone. Default 1MiB.
    pub(crate) chunk_bytes: Size,
    /// Compressed bytes below which an object waits for more. Default 4MiB with `ack: wal`, else 0.
    pub(crate) min_bytes: Option<Size>,
    /// For how long it waits. Default 15m with `ack: wal`, else 0s.
    pub(crate) max_age_small: Option<Duration>,
}

/// What may not be deleted, and until when.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Lock {
    /// Refuses to start where the store locks nothing. Default true.
    pub(crate) required: bool,
    /// `COMPLIANCE` (default) or `GOVERNANCE`.
    pub(crate) mode: Mode,
    /// `h`, `d`, `y`. Default 400d.
    pub(crate) retention: Retention,
    /// Of the log; default `auto`: the longest of all, and 30 days.
    pub(crate) evidence_retention: EvidenceRetention,
    /// What if the bucket's own retention is longer: `reject` (default) a shorter one and send the longer, or `allow`.
    pub(crate) shorter_than_bucket_default: Shorter,
    /// Puts a legal hold on every object. Default false.
    pub(crate) legal_hold: bool,
    /// Records with a retention of their own: the first class that matches wins.
    pub(crate) classes: Vec<Class>,
}

/// Retention of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum EvidenceRetention {
    /// The longest of any class, and 30 days.
    Auto(Auto),
    /// This long.
    Own(Retention),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Auto {
    /// `auto`
    Auto,
}

/// What if the bucket's own retention is longer than ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shorter {
    /// The longer one is sent.
    Reject,
    /// Ours is sent.
    Allow,
}

/// Records with a retention of their own.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Class {
    /// Lower-case letters, digits, `-`; part of the objects' keys. Required.
    pub(crate) name: String,
    /// All that is given must hold.
    pub(crate) r#match: Match,
    /// Default: that of `lock`.
    pub(crate) retention: Option<Retention>,
    /// Default: that of `lock`.
    pub(crate) mode: Option<Mode>,
}

/// Which records are of a class.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Match {
    /// One of these tenants.
    pub(crate) tenant: Vec<String>,
    /// One of these signals.
    pub(crate) signal: Vec<SignalName>,
    /// Logs: `>=17`, `<=8`, `>`, `<`, `=` or a bare number.
    pub(crate) severity_number: Option<Severity>,
    /// Each of these attributes of the record, or of its resource where the record has none, is this text.
    pub(crate) attribute: BTreeMap<String, String>,
}

/// A signal by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SignalName {
    /// `logs`
    Logs,
    /// `traces`
    Traces,
    /// `metrics`
    Metrics,
    /// `profiles`
    Profiles,
}

/// Severities from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub(crate) struct Severity(#[schemars(with = "String")] pub(crate) (u32, u32));

/// Proof that the lock holds.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Selftest {
    /// How often it is proved anew after the start. Default 24h.
    pub(crate) interval: Duration,
    /// A role that may delete below `_weir/v1/selftest/` and nothing else, and must fail to. Default: nobody tries.
    pub(crate) role_arn: String,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// How often what was archived is signed. Default 60s.
    pub(crate) checkpoint_interval: Duration,
    /// How often at least. Default 5m.
    pub(crate) heartbeat_interval: Duration,
    /// How often the heads of other writers' logs are read and named in this one. Default 10m.
    pub(crate) peer_interval: Duration,
    /// Attributes of resources whose values stand in the log: `[service.name]` (default) or none.
    pub(crate) index: Vec<String>,
    /// Who signs.
    pub(crate) signer: Signer,
}

/// Who signs the log.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Signer {
    /// File of the private key, PKCS#8 PEM; made at the first start, readable by us alone. Default: `signer.key` in
    /// `state_dir`.
    pub(crate) file: PathBuf,
    /// How long a key signs before a new one takes its place in the file, and the old one is gone. Default: for good.
    pub(crate) rotate: Option<Duration>,
}

/// Encryption before upload.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Encryption {
    /// Only `none` (default): the store's own encryption applies.
    pub(crate) mode: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            archive: String::new(),
            store: objects::blocks::Store::default(),
            create: false,
            writer: String::new(),
            state_dir: PathBuf::new(),
            tenant: Tenant::default(),
            format: Format::OtlpProto,
            compression: Compression::Zstd,
            compression_level: 3,
            roll: Roll::default(),
            max_open_partitions: 8192,
            max_buffer_bytes: Size(192 << 20),
            max_spool_bytes: Size(20 << 30),
            journal_quota: "auto".into(),
            spool: Spool::Disk,
            compress_workers: 0,
            put_concurrency: 8,
            ack: Ack::Wal,
            lock: Lock::default(),
            selftest: Selftest::default(),
            log: Log::default(),
            encryption: Encryption::default(),
            layout: Layout::default(),
        }
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Tenant {
            from: vec!["context:tenant".into(), "resource:tenant.id".into()],
            default: "default".into(),
            alias: Alias::Plain,
            alias_key: Secret::default(),
        }
    }
}

impl Default for Roll {
    fn default() -> Self {
        Roll {
            max_age: Duration(std::time::Duration::from_secs(60)),
            max_bytes: Size(64 << 20),
            max_raw_bytes: Size(512 << 20),
            max_records: 1_000_000,
            chunk_bytes: Size(1 << 20),
            min_bytes: None,
            max_age_small: None,
        }
    }
}

impl Default for Selftest {
    fn default() -> Self {
        Selftest {
            interval: Duration(std::time::Duration::from_secs(24 * 60 * 60)),
            role_arn: String::new(),
        }
    }
}

impl Default for Lock {
    fn default() -> Self {
        Lock {
            required: true,
            mode: Mode::Compliance,
            retention: Retention::days(400),
            evidence_retention: EvidenceRetention::Auto(Auto::Auto),
            shorter_than_bucket_default: Shorter::Reject,
            legal_hold: false,
            classes: Vec::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log {
            checkpoint_interval: Duration(std::time::Duration::from_secs(60)),
            heartbeat_interval: Duration(std::time::Duration::from_secs(300)),
            peer_interval: Duration(std::time::Duration::from_secs(600)),
            index: vec!["service.name".into()],
            signer: Signer::default(),
        }
    }
}

impl Default for Signer {
    fn default() -> Self {
        Signer {
            file: PathBuf::new(),
            rotate: None,
        }
    }
}

impl Default for Encryption {
    fn default() -> Self {
        Encryption { mode: "none".into() }
    }
}

impl Config {
    /// Whether records are in a journal until the archive has them.
    pub(crate) fn is_journalled(&self) -> bool {
        self.ack == Ack::Wal
    }

    /// Compressed bytes below which an object waits for more.
    pub(crate) fn min_bytes(&self) -> u64 {
        let journalled = if self.is_journalled() { 4 << 20 } else { 0 };
        self.roll.min_bytes.map_or(journalled, |size| size.0)
    }

    /// How long an object below `min_bytes` waits.
    pub(crate) fn max_age_small(&self) -> std::time::Duration {
        let journalled = if self.is_journalled() { 900 } else { 0 };
        let own = self.roll.max_age_small.map(|age| age.0);
        own.unwrap_or(std::time::Duration::from_secs(journalled))
            .max(self.roll.max_age.0)
    }

    /// The longest retention of any class, in seconds.
    pub(crate) fn retention_longest(&self) -> Retention {
        let classes = self.lock.classes.iter().filter_map(|class| class.retention);
        classes.fold(self.lock.retention, Retention::max)
    }

    /// How long the log is kept, in seconds.
    pub(crate) fn evidence_retention(&self) -> Retention {
        match self.lock.evidence_retention {
            EvidenceRetention::Own(own) => own,
            EvidenceRetention::Auto(_) => Retention(self.retention_longest().0 + Retention::days(30).0),
        }
    }
}

impl Compression {
    pub(crate) fn name(self) -> evidence::names::Compression {
        match self {
            Compression::Zstd => evidence::names::Compression::Zstd,
            Compression::Gzip => evidence::names::Compression::Gzip,
            Compression::None => evidence::names::Compression::None,
        }
    }
}

impl SignalName {
    pub(crate) fn is(self, signal: Signal) -> bool {
        signal
            == match self {
                SignalName::Logs => Signal::Logs,
                SignalName::Traces => Signal::Traces,
                SignalName::Metrics => Signal::Metrics,
                SignalName::Profiles => Signal::Profiles,
            }
    }
}

// --- Severity ---

impl Severity {
    fn parse(text: &str) -> Option<Severity> {
        let text = text.trim();
        let at = text.find(|c: char| c.is_ascii_digit())?;
        let (sign, number) = text.split_at(at);
        let number: u32 = number.parse().ok().filter(|n| *n <= 24)?;
        Some(Severity(match sign.trim() {
            ">=" => (number, u32::MAX),
            ">" if number < 24 => (number + 1, u32::MAX),
            "<=" => (0, number),
            "<" => (0, number.checked_sub(1)?),
            "" | "=" | "==" => (number, number),
            _ => return None,
        }))
    }

    pub(crate) fn holds(self, severity: u32) -> bool {
        (self.0.0..=self.0.1).contains(&severity)
    }
}

impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let fault = || serde::de::Error::custom(format_args!("\"{text}\" is no severity, such as \">=17\""));
        Severity::parse(&text).ok_or_else(fault)
    }
}

impl Serialize for Severity {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (from, until) = self.0;
        to.collect_str(&match (from, until) {
            (from, u32::MAX) => format!(">={from}"),
            (0, until) if until > 0 => format!("<={until}"),
            (from, _) => format!("={from}"),
        })
    }
}

// --- Validate ---

/// A shorter key could be guessed, and every alias with it.
const ALIAS_KEY_BYTES_MIN: usize = 16;

/// A name of lower-case letters, digits and `also`, of 1 to `bytes_max` bytes.
fn is_name(text: &str, also: &str, bytes_max: usize) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(c);
    (1..=bytes_max).contains(&text.len()) && text.chars().all(allowed)
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut fault = |key: &str, wrong: bool, message: &str| {
            if wrong {
                faults.push((key.to_owned(), message.to_owned()));
            }
        };
        let slashed = self.archive.starts_with('/') || self.archive.ends_with('/');
        fault(
            "archive",
            slashed || !is_name(&self.archive, "./-", 120),
            "archive must be a name such as logs.example.com/prod: 1 to 120 of a-z, 0-9, '.', '/', '-', no '/' at an end",
        );
        fault(
            "writer",
            !self.writer.is_empty() && !is_name(&self.writer, "-", 63),
            "writer must be 1 to 63 of a-z, 0-9, '-'",
        );
        fault(
            "state_dir",
            self.state_dir.as_os_str().is_empty(),
            "state_dir must be a directory: the archive's state has to survive a restart",
        );
        for (at, from) in self.tenant.from.iter().enumerate() {
            let known =
                from == "context:tenant" || from.strip_prefix("resource:").is_some_and(|key| !key.is_empty());
            let message = format!("\"{from}\" is neither context:tenant nor resource:KEY");
            fault(&format!("tenant.from.{at}"), !known, &message);
        }
        fault(
            "tenant.default",
            self.tenant.default.is_empty() || self.tenant.default.starts_with('_'),
            "default must be a name that does not begin with '_'",
        );
        let key_bytes = self.tenant.alias_key.expose().len();
        fault(
            "tenant.alias_key",
            self.tenant.alias == Alias::Hmac && key_bytes < ALIAS_KEY_BYTES_MIN,
            "alias: hmac needs a key of at least 16 bytes, such as ${env:ALIAS_KEY}",
        );
        fault(
            "tenant.alias_key",
            self.tenant.alias == Alias::Plain && key_bytes > 0,
            "a key is of use with alias: hmac alone",
        );
        fault(
            "encryption.mode",
            self.encryption.mode != "none",
            "only none is supported yet: the store's own encryption applies",
        );
        fault(
            "journal_quota",
            self.journal_quota != "auto",
            "only auto is supported yet: the limits of the queue and of its journal apply",
        );
        let minute = std::time::Duration::from_secs(60);
        let often = "must be at least 1m";
        fault("selftest.interval", self.selftest.interval.0 < minute, often);
        // Who asks for a proof must not believe to have it.
        fault(
            "selftest.role_arn",
            !self.selftest.role_arn.is_empty() && self.store.s3.is_none(),
            "only a bucket has roles: store.s3",
        );
        let rotate = self.log.signer.rotate;
        fault(
            "log.signer.rotate",
            rotate.is_some_and(|rotate| rotate.0 < minute),
            often,
        );
        fault(
            "log.peer_interval",
            self.log.peer_interval.0 < std::time::Duration::from_secs(1),
            "must be at least 1s",
        );
        let level = self.compression_level;
        let range = match self.compression {
            Compression::Zstd => 1..=22,
            Compression::Gzip => 1..=9,
            Compression::None => i32::MIN..=i32::MAX,
        };
        fault(
            "compression_level",
            !range.contains(&level),
            "compression_level must be 1 to 22 for zstd, 1 to 9 for gzip",
        );
        let later = matches!(self.ack, Ack::Object | Ack::Checkpoint);
        fault(
            "ack",
            later,
            "not supported yet: wal answers when the journal has the data, memory at once",
        );
        fault(
            "spool",
            self.spool == Spool::Memory && self.ack != Ack::Memory,
            "memory needs ack: memory: what was promised must not be in memory alone",
        );
        for (key, text) in self.store.faults() {
            let key = match key.is_empty() {
                true => "store".to_owned(),
                false => format!("store.{}", key.replace("::", ".")),
            };
            fault(&key, true, &text);
        }
        self.validate_bounds(&mut fault);
        self.validate_lock(&mut fault);
        fault(
            "log.index",
            self.log.index.iter().any(|key| key != "service.name"),
            "only [service.name] and [] are supported yet",
        );
        let (checkpoint, heartbeat) = (self.log.checkpoint_interval.0, self.log.heartbeat_interval.0);
        fault(
            "log.checkpoint_interval",
            checkpoint.is_zero(),
            "checkpoint_interval must be above 0",
        );
        fault(
            "log.heartbeat_interval",
            heartbeat < checkpoint,
            "heartbeat_interval must not be below checkpoint_interval",
        );
    }
}

impl Config {
    fn validate_bounds(&self, fault: &mut impl FnMut(&str, bool, &str)) {
        let roll = &self.roll;
        let above_0 = "must be above 0";
        fault("roll.max_age", roll.max_age.0.is_zero(), above_0);
        fault("roll.max_raw_bytes", roll.max_raw_bytes.0 == 0, above_0);
        fault("roll.max_records", roll.max_records == 0, above_0);
        fault(
            "roll.max_bytes",
            roll.max_bytes.0 == 0 || roll.max_bytes.0 > 4 << 30,
            "max_bytes must be above 0 and at most 4GiB: an object is one request to the store",
        );
        fault(
            "roll.chunk_bytes",
            !(4 << 10..=64 << 20).contains(&roll.chunk_bytes.0),
            "chunk_bytes must be 4KiB to 64MiB",
        );
        fault("max_open_partitions", self.max_open_partitions == 0, above_0);
        fault("put_concurrency", self.put_concurrency == 0, above_0);
        fault(
            "max_buffer_bytes",
            self.max_buffer_bytes.0 < roll.chunk_bytes.0,
            "max_buffer_bytes must not be below roll.chunk_bytes",
        );
        fault(
            "max_spool_bytes",
            self.max_spool_bytes.0 < roll.chunk_bytes.0,
            "max_spool_bytes must not be below roll.chunk_bytes",
        );
    }

    fn validate_lock(&self, fault: &mut impl FnMut(&str, bool, &str)) {
        let lock = &self.lock;
        let day = Retention::days(1);
        let short = "retention must be at least 1d";
        fault("lock.retention", lock.retention < day, short);
        if let EvidenceRetention::Own(own) = lock.evidence_retention {
            fault(
                "lock.evidence_retention",
                own < self.retention_longest(),
                "the log must be kept as long as what it proves: not below the longest retention",
            );
        }
        for (at, class) in lock.classes.iter().enumerate() {
            let key = |key: &str| format!("lock.classes.{at}.{key}");
            let twice = lock.classes[..at].iter().any(|other| other.name == class.name);
            fault(
                &key("name"),
                !is_name(&class.name, "-", 32),
                "name must be 1 to 32 of a-z, 0-9, '-'",
            );
            fault(
                &key("name"),
                class.name == "std",
                "std is the class of all others",
            );
            fault(
                &key("name"),
                ["audit", "evidence"].contains(&class.name.as_str()),
                "audit and evidence are the classes of the gateway's own records",
            );
            fault(&key("name"), twice, "two classes of this name");
            fault(
                &key("match"),
                class.r#match == Match::default(),
                "match must name a condition",
            );
            let retention = class.retention;
            fault(&key("retention"), retention.is_some_and(|own| own < day), short);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<Config, String> {
        let yaml = format!(
            "archive: logs.example.com/prod\nstate_dir: /var/lib/weir/archive\nstore: {{file: {{path: /archive}}}}\n{yaml}"
        );
        let section = Section::from_yaml(&yaml).unwrap_or_else(|faults| panic!("{faults}"));
        section
            .parse_valid::<Config>()
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_page() {
        let config = parse("").expect("it is valid");
        assert_eq!(config.min_bytes(), 4 << 20);
        assert_eq!(config.max_age_small().as_secs(), 900);
        assert_eq!(config.evidence_retention(), Retention::days(430));
        assert_eq!(config.tenant.from, ["context:tenant", "resource:tenant.id"]);
        let memory = parse("ack: memory").expect("it is valid");
        assert_eq!((memory.min_bytes(), memory.max_age_small().as_secs()), (0, 60));
        let classes =
            parse("lock: {retention: 30d, classes: [{name: pci, match: {tenant: [a]}, retention: 7y}]}");
        let classes = classes.expect("it is valid");
        assert_eq!(classes.evidence_retention(), Retention::days(7 * 365 + 30));
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        let check = |yaml: &str, expected: &str| {
            let told = parse(yaml).expect_err(yaml);
            assert!(told.contains(expected), "{yaml}: {told}");
        };
        check("no_such_key: 1", "no_such_key");
        check("writer: GW_0", "writer must be");
        check("ack: object", "not supported yet");
        check("ack: checkpoint", "not supported yet");
        check("ack: never", "invalid value");
        check("spool: memory", "memory needs ack: memory");
        check("compression_level: 0", "compression_level must be");
        check(
            "compression: gzip\ncompression_level: 10",
            "compression_level must be",
        );
        check(
            "tenant: {from: [header:x]}",
            "neither context:tenant nor resource:KEY",
        );
        check(
            "tenant: {from: ['resource:']}",
            "neither context:tenant nor resource:KEY",
        );
        check("tenant: {default: _weir}", "does not begin with '_'");
        check("tenant: {alias: hmac}", "at least 16 bytes");
        check("tenant: {alias: hmac, alias_key: short}", "at least 16 bytes");
        check("tenant: {alias_key: 0123456789abcdef}", "with alias: hmac alone");
        check("tenant: {alias: sha256}", "invalid value");
        check("encryption: {mode: age}", "only none");
        check("journal_quota: 1GiB", "only auto");
        check("selftest: {interval: 59s}", "at least 1m");
        check("log: {signer: {rotate: 1s}}", "at least 1m");
        check("log: {peer_interval: 0s}", "at least 1s");
        check(
            "selftest: {role_arn: 'arn:aws:iam::1:role/x'}",
            "only a bucket has roles",
        );
        check("format: parquet", "invalid value");
        check("roll: {max_bytes: 5GiB}", "at most 4GiB");
        check("roll: {max_bytes: many}", "not a size");
        check("roll: {max_age: 0s}", "must be above 0");
        check("roll: {chunk_bytes: 1KiB}", "chunk_bytes must be");
        check("max_buffer_bytes: 512KiB", "max_buffer_bytes must not");
        check("max_spool_bytes: 0", "max_spool_bytes must not");
        check("put_concurrency: 0", "must be above 0");
        check("lock: {retention: 12h}", "at least 1d");
        check("lock: {retention: forever}", "not a retention");
        check("lock: {evidence_retention: 100d}", "must be kept as long");
        check("lock: {mode: STRICT}", "invalid value");
        check(
            "lock: {classes: [{name: std, match: {tenant: [a]}}]}",
            "std is the class",
        );
        check("lock: {classes: [{name: a}]}", "match must name");
        check(
            "lock: {classes: [{name: A, match: {tenant: [a]}}]}",
            "name must be",
        );
        check(
            "lock: {classes: [{name: a, match: {tenant: [a]}}, {name: a, match: {tenant: [b]}}]}",
            "two classes of this name",
        );
        check(
            "lock: {classes: [{name: a, match: {severity_number: '>=25'}}]}",
            "is no severity",
        );
        check("log: {checkpoint_interval: 0s}", "above 0");
        check("log: {heartbeat_interval: 1s}", "not be below");
        check("log: {index: [host.name]}", "only [service.name]");
        for archive in ["", "/a", "a/", "A", "a b", &"a".repeat(121)] {
            let yaml = format!("archive: '{archive}'\nstate_dir: /x\nstore: {{file: {{path: /a}}}}\n");
            let section = Section::from_yaml(&yaml).expect("it is yaml");
            let told = section.parse_valid::<Config>().expect_err("no name").to_string();
            assert!(told.contains("archive must be a name"), "{told}");
        }
        let nowhere = Section::from_yaml("archive: a").expect("it is yaml");
        let told = nowhere.parse_valid::<Config>().expect_err("no place").to_string();
        assert!(told.contains("state_dir must be a directory"), "{told}");
    }

    #[test]
    fn a_store_is_one_of_its_kinds() {
        let check = |store: &str, expected: &str| {
            let yaml = format!("archive: a\nstate_dir: /x\nstore: {store}\n");
            let section = Section::from_yaml(&yaml).expect("it is yaml");
            let told = section.parse_valid::<Config>().expect_err("no store").to_string();
            assert!(told.contains(expected), "{told}");
        };
        check("{}", "one of s3 and file");
        check("{file: {path: ''}}", "must not be empty");
        check("{s3: {region: x}}", "must not be empty");
    }

    #[test]
    fn severities_are_ranges() {
        let check = |text: &str, expected: Option<(u32, u32)>| {
            assert_eq!(Severity::parse(text).map(|s| s.0), expected, "{text}");
        };
        check(">=17", Some((17, u32::MAX)));
        check("> 17", Some((18, u32::MAX)));
        check("<=8", Some((0, 8)));
        check("<8", Some((0, 7)));
        check("9", Some((9, 9)));
        check("=9", Some((9, 9)));
        check("<0", None);
        check("25", None);
        check("!=9", None);
        check("", None);
    }
}

//! Which archive, and which part of it: the options that all commands share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use config::{ComponentId, Duration, Section};
use evidence::names::{DATA, Layout};
use evidence::time::Time;
use objects::blocks::{Directory, S3, S3Uploader, Store};
use objects::{Mode, ObjectStore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::reading::Reading;
use crate::cli::{Given, Sources, say_error};
use crate::service::providers;

/// Which archive.
#[derive(Args, Clone, Default)]
pub(in crate::cli) struct Which {
    /// Its store: s3://BUCKET/PREFIX, file:/PATH or a directory
    #[arg(long, value_name = "STORE", conflicts_with_all = ["from_dir", "exporter"])]
    store: Option<String>,
    /// Of a bucket
    #[arg(long, value_name = "REGION", requires = "store")]
    region: Option<String>,
    /// Base URL of a store other than Amazon's; its buckets are then in the path
    #[arg(long, value_name = "URL", requires = "store")]
    endpoint: Option<String>,
    /// A directory with a copy of it: names and bytes count, neither times nor locks
    #[arg(long, value_name = "DIR", conflicts_with = "exporter")]
    from_dir: Option<PathBuf>,
    /// The exporter of --config that writes it, if there are several
    #[arg(long, value_name = "ID")]
    exporter: Option<String>,
}

/// Which part of it.
#[derive(Args, Clone, Default)]
pub(in crate::cli) struct Part {
    /// Objects admitted from here on: RFC 3339 in UTC, a date, or how long ago as in -24h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(in crate::cli) from: Option<String>,
    /// And before this
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(in crate::cli) to: Option<String>,
    /// Only this tenant
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) tenant: Option<String>,
    /// Only logs, traces, metrics or profiles
    #[arg(long, value_name = "SIGNAL", value_parser = ["logs", "traces", "metrics", "profiles"])]
    pub(in crate::cli) signal: Option<String>,
    /// Only this retention class, such as std
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) class: Option<String>,
}

/// An archive that can be read.
pub(in crate::cli) struct Archive {
    pub(in crate::cli) store: Arc<dyn ObjectStore>,
    /// Whether its times, versions and locks are those of the archive itself.
    pub(in crate::cli) is_copy: bool,
    /// As its writer is configured, if that is known.
    pub(in crate::cli) intervals: Option<Intervals>,
    /// What else of its writer is known.
    pub(in crate::cli) configured: Option<Configured>,
}

impl Archive {
    /// Says it if the store has another layout than its exporter writes. Asks the store.
    pub(super) async fn tell_other_layout(&self) {
        if let Some(known) = &self.configured
            && let Some(there) = Reading::of(self).layout().await
            && there != known.layout
        {
            say_error(&format!(
                "warning: {} holds an archive of layout {}, exporter {} writes {}: it will not start there",
                self.store.place(),
                there.as_str(),
                known.id,
                known.layout.as_str()
            ));
        }
    }
}

/// What of an exporter's configuration commands go by.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Configured {
    /// Name of the exporter.
    pub(super) id: String,
    /// Name of the archive.
    pub(super) archive: String,
    pub(super) writer: String,
    /// The file with the key that signs its log.
    pub(super) key: Option<PathBuf>,
    pub(super) lock: LockKeys,
    /// Whether it founds an archive that is not there.
    pub(super) create: bool,
    pub(super) ack: String,
    pub(super) roll: RollKeys,
    pub(super) storage: Option<String>,
    /// How its objects are called.
    pub(super) layout: Layout,
    /// What the keys of all its objects begin with, as far as it is always the same.
    pub(super) data: String,
}

/// How often a writer signs, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Intervals {
    pub(in crate::cli) checkpoint: i64,
    pub(in crate::cli) heartbeat: i64,
}

/// Of an exporter: its own.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct OwnKeys {
    archive: String,
    writer: String,
    state_dir: PathBuf,
    create: bool,
    ack: String,
    storage: Option<String>,
}

/// Of an exporter: its `lock`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub(super) struct LockKeys {
    pub(super) required: bool,
    pub(super) mode: Mode,
    pub(super) retention: String,
    pub(super) classes: Vec<ClassKeys>,
}

/// Of a lock: one of its `classes`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub(super) struct ClassKeys {
    pub(super) name: String,
    pub(super) retention: Option<String>,
    /// Of no use here.
    mode: Option<Mode>,
    r#match: serde_json::Value,
}

impl ClassKeys {
    /// A class of a test.
    #[cfg(test)]
    pub(super) fn named(name: &str, retention: &str) -> ClassKeys {
        ClassKeys {
            name: name.to_owned(),
            retention: Some(retention.to_owned()),
            ..ClassKeys::default()
        }
    }
}

impl Default for LockKeys {
    fn default() -> Self {
        LockKeys {
            required: true,
            mode: Mode::Compliance,
            retention: "400d".to_owned(),
            classes: Vec::new(),
        }
    }
}

/// Of an exporter: its `roll`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub(super) struct RollKeys {
    pub(super) max_age: Option<Duration>,
    pub(super) max_age_small: Option<Duration>,
}

/// Of an exporter: its `log`.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct LogKeys {
    checkpoint_interval: Duration,
    heartbeat_interval: Duration,
}

/// Of a log: its `signer`.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct SignerKeys {
    file: PathBuf,
}

impl Default for LogKeys {
    fn default() -> Self {
        let seconds = |s| Duration(std::time::Duration::from_secs(s));
        LogKeys {
            checkpoint_interval: seconds(60),
            heartbeat_interval: seconds(300),
        }
    }
}

impl Which {
    /// Opens the one in a directory.
    pub(super) async fn in_directory(path: PathBuf) -> Result<Archive, Failure> {
        Which::default().opened(&directory(path), None).await
    }

    /// Opens it. Of an exporter's it is said if the store has another layout than that.
    pub(in crate::cli) async fn open(&self, sources: &Sources) -> Result<Archive, Failure> {
        let (store, known) = self.named(sources)?;
        let archive = self.opened(&store, known).await?;
        archive.tell_other_layout().await;
        Ok(archive)
    }

    /// Opens what [`named`](Self::named) gave.
    pub(super) async fn opened(&self, store: &Store, known: Option<Known>) -> Result<Archive, Failure> {
        let faults = store.faults();
        if let Some((key, text)) = faults.first() {
            return Err(Failure::usage(format!("store::{key} {text}")));
        }
        if let Some(directory) = &store.file
            && !directory.path.is_dir()
        {
            return Err(Failure::unknown(format!(
                "{}: there is no such directory",
                directory.path.display()
            )));
        }
        let opened = store.open().await.map_err(|e| Failure::unknown(e.to_string()))?;
        Ok(Archive {
            store: opened,
            is_copy: self.from_dir.is_some(),
            intervals: known.as_ref().map(|(intervals, _)| *intervals),
            configured: known.map(|(_, configured)| configured),
        })
    }

    /// The store as it is written, and what the configuration says beside it. Opens nothing.
    pub(super) fn named(&self, sources: &Sources) -> Result<(Store, Option<Known>), Failure> {
        match (&self.from_dir, &self.store) {
            (Some(path), _) => Ok((directory(path.clone()), None)),
            (None, Some(text)) => Ok((self.parse(text)?, None)),
            (None, None) => self.configured(sources),
        }
    }

    fn parse(&self, text: &str) -> Result<Store, Failure> {
        let Some(place) = text.strip_prefix("s3://") else {
            if self.region.is_some() || self.endpoint.is_some() {
                return Err(Failure::usage(
                    "--region and --endpoint are for --store s3://BUCKET/PREFIX",
                ));
            }
            let path = text
                .strip_prefix("file://")
                .or_else(|| text.strip_prefix("file:"));
            return Ok(directory(path.unwrap_or(text).into()));
        };
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let mut s3 = S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_end_matches('/').to_owned(),
            endpoint: self.endpoint.clone().unwrap_or_default(),
            force_path_style: self.endpoint.is_some(),
            ..S3::default()
        };
        if let Some(region) = &self.region {
            s3.region.clone_from(region);
        }
        Ok(Store {
            s3: Some(s3),
            file: None,
        })
    }

    fn configured(&self, sources: &Sources) -> Result<(Store, Option<Known>), Failure> {
        if sources.config.is_empty() && sources.set.is_empty() {
            return Err(Failure::usage(
                "which archive? --store s3://BUCKET/PREFIX or a directory, --from-dir DIR, or --config with its exporter",
            ));
        }
        let Given { texts, gates } = sources.read().map_err(Failure::usage)?;
        let (document, _) = config::load(&texts, &providers::World, &gates)
            .map_err(|faults| Failure::usage(faults.report(false)))?;
        let is_meant = |id: &ComponentId| match &self.exporter {
            Some(wanted) => id.to_string() == *wanted,
            None => id.kind == "archive" || id.kind == AWSS3,
        };
        let mut meant: Vec<(ComponentId, Section)> = document.exporters;
        // Without evidence it writes no archive.
        meant.retain(|(id, section)| is_meant(id) && (id.kind != AWSS3 || has_evidence(section)));
        match meant.as_mut_slice() {
            [(id, section)] => of_exporter(id, section)
                .map(|(store, (intervals, mut configured))| {
                    configured.id = id.to_string();
                    (store, Some((intervals, configured)))
                })
                .map_err(|faults| Failure::usage(format!("exporter {id}: {}", faults.report(false)))),
            [] => Err(Failure::usage(
                "this configuration has no such exporter archive, nor an awss3 with weir: {evidence: true}",
            )),
            several => {
                let ids: Vec<String> = several.iter().map(|(id, _)| id.to_string()).collect();
                Err(Failure::usage(format!(
                    "which of {}? --exporter ID",
                    ids.join(", ")
                )))
            }
        }
    }
}

fn directory(path: PathBuf) -> Store {
    Store {
        s3: None,
        file: Some(Directory { path }),
    }
}

/// What a configuration says beside the store.
pub(super) type Known = (Intervals, Configured);

/// The exporter that is an archive if it is told to be one.
const AWSS3: &str = "awss3";

/// Of `awss3`: its `weir`.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct EvidenceKeys {
    evidence: bool,
}

/// Of `awss3`: its own.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct StorageKeys {
    storage: Option<String>,
}

fn has_evidence(section: &Section) -> bool {
    let weir = section.clone().take_raw("weir");
    let keys = weir.and_then(|mut weir| weir.take::<EvidenceKeys>().ok());
    keys.is_some_and(|keys| keys.evidence)
}

fn of_exporter(id: &ComponentId, section: &mut Section) -> Result<(Store, Known), config::Diags> {
    match id.kind == AWSS3 {
        true => of_awss3(section),
        false => of_archive(section),
    }
}

fn of_archive(section: &mut Section) -> Result<(Store, Known), config::Diags> {
    let Some(store) = section.take_raw("store") else {
        return Err(section.fault("store", "it names no store"));
    };
    Ok((store.parse::<Store>()?, known(section)?))
}

fn of_awss3(section: &mut Section) -> Result<(Store, Known), config::Diags> {
    let uploader = section.take_raw("s3uploader");
    let uploader = uploader.map(Section::parse::<S3Uploader>).transpose()?;
    let uploader = uploader.unwrap_or_default();
    let storage = section.take::<StorageKeys>()?.storage;
    let mut weir = section.take_raw("weir").unwrap_or_default();
    let (intervals, mut configured) = known(&mut weir)?;
    configured.storage = storage;
    configured.layout = Layout::Awss3;
    let format = uploader.partition_format();
    format
        .split('%')
        .next()
        .unwrap_or_default()
        .clone_into(&mut configured.data);
    let store = Store {
        s3: Some(uploader.archive()),
        file: None,
    };
    Ok((store, (intervals, configured)))
}

fn known(section: &mut Section) -> Result<Known, config::Diags> {
    let mut log = section.take_raw("log");
    let mut signer = log.as_mut().and_then(|log| log.take_raw("signer"));
    let signer = signer
        .as_mut()
        .map(|signer| signer.take::<SignerKeys>())
        .transpose()?;
    let signer = signer.unwrap_or_default();
    let log = log.as_mut().map(|log| log.take::<LogKeys>()).transpose()?;
    let log = log.unwrap_or_default();
    let mut lock = section.take_raw("lock");
    let lock = lock.as_mut().map(|lock| lock.take::<LockKeys>()).transpose()?;
    let mut roll = section.take_raw("roll");
    let roll = roll.as_mut().map(|roll| roll.take::<RollKeys>()).transpose()?;
    let own = section.take::<OwnKeys>()?;
    let millis = |duration: Duration| i64::try_from(duration.0.as_millis()).unwrap_or(i64::MAX / 4);
    let intervals = Intervals {
        checkpoint: millis(log.checkpoint_interval),
        heartbeat: millis(log.heartbeat_interval),
    };
    let key = match (
        signer.file.as_os_str().is_empty(),
        own.state_dir.as_os_str().is_empty(),
    ) {
        (false, _) => Some(signer.file),
        (true, false) => Some(own.state_dir.join("signer.key")),
        (true, true) => None,
    };
    let configured = Configured {
        id: String::new(),
        archive: own.archive,
        writer: own.writer,
        key,
        lock: lock.unwrap_or_default(),
        create: own.create,
        ack: own.ack,
        roll: roll.unwrap_or_default(),
        storage: own.storage,
        layout: Layout::Hive,
        data: DATA.to_owned(),
    };
    Ok((intervals, configured))
}

impl Part {
    /// Begin and end.
    pub(in crate::cli) fn range(&self, now: Time) -> Result<(Option<Time>, Option<Time>), Failure> {
        let moment = |option: &str, text: &Option<String>| {
            let parsed = text.as_deref().map(|text| {
                let why = format!("--{option} {text}: say 2025-11-20T14:05:00Z, 2025-11-20 or -24h");
                moment(text, now).ok_or_else(|| Failure::usage(why))
            });
            parsed.transpose()
        };
        let (from, to) = (moment("from", &self.from)?, moment("to", &self.to)?);
        match (from, to) {
            (Some(f), Some(t)) if f >= t => Err(Failure::usage("--from must be before --to")),
            range => Ok(range),
        }
    }
}

/// Days of a retention as configurations say it: `400d`, `7y` (of 365 days), `48h` (rounded up).
pub(super) fn days(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !number.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    let days = match unit {
        "h" => number.div_ceil(24),
        "d" => number,
        "y" => number.checked_mul(365)?,
        _ => return None,
    };
    // Within a century.
    (1..=36_500).contains(&days).then_some(days)
}

/// The present, by the machine's clock.
pub(in crate::cli) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// `-90m`, `2025-11-20`, `2025-11-20T14:05`, with seconds, with thousandths, with `Z` or without: all UTC.
fn moment(text: &str, now: Time) -> Option<Time> {
    if let Some(ago) = text.strip_prefix('-') {
        let (number, unit) = ago.split_at_checked(ago.len().checked_sub(1)?)?;
        let unit: i64 = match unit {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return None,
        };
        if !number.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let ago = number.parse::<i64>().ok()?.checked_mul(unit)?;
        return Some(Time::from_millis(now.millis().checked_sub(ago)?));
    }
    let text = text.strip_suffix('Z').unwrap_or(text);
    let rest = match text.len() {
        10 => "T00:00:00.000Z",
        16 => ":00.000Z",
        19 => ".000Z",
        23 => "Z",
        _ => return None,
    };
    format!("{text}{rest}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_said_in_several_ways() {
        let now: Time = "2025-11-20T14:05:00.000Z".parse().expect("a time");
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                moment(text, now),
                expected.map(|e| e.parse().expect("a time")),
                "{text}"
            );
        };
        check("2025-11-01", Some("2025-11-01T00:00:00.000Z"));
        check("2025-11-01T14:00", Some("2025-11-01T14:00:00.000Z"));
        check("2025-11-01T14:00Z", Some("2025-11-01T14:00:00.000Z"));
        check("2025-11-01T14:00:09Z", Some("2025-11-01T14:00:09.000Z"));
        check("2025-11-01T14:00:09.123Z", Some("2025-11-01T14:00:09.123Z"));
        check("-24h", Some("2025-11-19T14:05:00.000Z"));
        check("-90s", Some("2025-11-20T14:03:30.000Z"));
        check("-2w", Some("2025-11-06T14:05:00.000Z"));
        for wrong in [
            "",
            "-",
            "-h",
            "-1",
            "-1y",
            "--1h",
            "-99999999999999999999d",
            "-9223372036854775807w",
            "2025-11-31",
            "2025-11",
            "yesterday",
            "2025-11-01T14:00:09+01:00",
            "-é",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_retention_is_days() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(days(text), expected, "{text}");
        check("400d", Some(400));
        check("7y", Some(2_555));
        check("48h", Some(2));
        check("49h", Some(3));
        for wrong in [
            "",
            "d",
            "0d",
            "101y",
            "1w",
            "-1d",
            "9999999999999999999999d",
            "1é",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn from_comes_before_to() {
        let now = Time::from_millis(0);
        let part = |from: &str, to: &str| Part {
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            ..Part::default()
        };
        assert!(part("2025-11-01", "2025-11-02").range(now).is_ok());
        for (from, to) in [
            ("2025-11-02", "2025-11-02"),
            ("2025-11-03", "2025-11-02"),
            ("x", "2025-11-02"),
        ] {
            assert_eq!(part(from, to).range(now).expect_err(from).exit, 64);
        }
    }

    #[test]
    fn a_store_is_a_bucket_or_a_directory() {
        let with = |region: Option<&str>, endpoint: Option<&str>| Which {
            region: region.map(str::to_owned),
            endpoint: endpoint.map(str::to_owned),
            ..Which::default()
        };
        let s3 = |text: &str, which: &Which| {
            let s3 = which.parse(text).expect(text).s3.expect("a bucket");
            (s3.bucket, s3.prefix, s3.region, s3.endpoint, s3.force_path_style)
        };
        let all = |bucket: &str, prefix: &str, region: &str, endpoint: &str, path_style: bool| {
            let own = |text: &str| text.to_owned();
            (own(bucket), own(prefix), own(region), own(endpoint), path_style)
        };
        assert_eq!(
            s3("s3://b", &with(None, None)),
            all("b", "", "us-east-1", "", false)
        );
        assert_eq!(
            s3("s3://b/p/q/", &with(Some("eu-west-1"), None)),
            all("b", "p/q", "eu-west-1", "", false)
        );
        let minio = with(None, Some("http://127.0.0.1:9000"));
        assert_eq!(
            s3("s3://b/p", &minio),
            all("b", "p", "us-east-1", "http://127.0.0.1:9000", true)
        );
        for text in ["/a/b", "file:/a/b", "file:///a/b"] {
            let store = with(None, None).parse(text).expect(text);
            assert_eq!(store, directory("/a/b".into()), "{text}");
        }
        assert_eq!(minio.parse("/a").expect_err("no bucket").exit, 64);
        let empty = with(None, None).parse("s3:///p").expect("it is looked at later");
        assert!(!empty.faults().is_empty());
    }

    #[test]
    fn an_exporter_names_store_and_intervals() {
        let read = |yaml: &str| {
            let mut section = Section::from_yaml(yaml).unwrap_or_else(|faults| panic!("{faults}"));
            of_archive(&mut section).map_err(|faults| faults.to_string())
        };
        let yaml = "archive: a\nstore: {file: {path: /x}}\nlog: {heartbeat_interval: 1m, index: []}";
        let intervals = Intervals {
            checkpoint: 60_000,
            heartbeat: 60_000,
        };
        let (store, (found, configured)) = read(yaml).expect("it is valid");
        assert_eq!((store, found), (directory("/x".into()), intervals));
        assert_eq!((configured.archive.as_str(), configured.key), ("a", None));
        assert_eq!(configured.lock, LockKeys::default());
        let yaml = "store: {file: {path: /x}}\nstate_dir: /s\nlock: {required: false, mode: GOVERNANCE, retention: 1d}";
        let (_, (_, configured)) = read(yaml).expect("it is valid");
        assert_eq!(configured.key, Some("/s/signer.key".into()));
        let lock = LockKeys {
            required: false,
            mode: Mode::Governance,
            retention: "1d".to_owned(),
            classes: Vec::new(),
        };
        assert_eq!(configured.lock, lock);
        let classes = "{mode: GOVERNANCE, classes: [{name: pci, match: {tenant: [a], severity_number: '>=17'}, retention: 7y}]}";
        let (_, (_, configured)) =
            read(&format!("store: {{file: {{path: /x}}}}\nlock: {classes}")).expect("it is valid");
        let class = &configured.lock.classes[0];
        assert_eq!(
            (class.name.as_str(), class.retention.as_deref()),
            ("pci", Some("7y"))
        );
        let yaml = "store: {file: {path: /x}}\nstate_dir: /s\nlog: {signer: {file: /k, rotate: 24h}}";
        let (_, (_, configured)) = read(yaml).expect("it is valid");
        assert_eq!(configured.key, Some("/k".into()));
        assert!(
            read("archive: a")
                .expect_err("no store")
                .contains("names no store")
        );
        assert!(
            read("store: {tape: {}}")
                .expect_err("no such store")
                .contains("tape")
        );
    }

    #[test]
    fn an_awss3_with_evidence_is_an_archive() {
        let mut section = Section::from_yaml(
            "{s3uploader: {s3_bucket: b, s3_base_prefix: a, s3_prefix: p, s3_partition: hour}, storage: file_storage/j, \
             weir: {evidence: true, archive: x/y, state_dir: /s, lock: {required: false}}}",
        )
        .expect("it is yaml");
        assert!(has_evidence(&section));
        let (store, (_, configured)) = of_awss3(&mut section).expect("it is valid");
        let s3 = store.s3.expect("a bucket");
        assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("b", "a/p"));
        assert_eq!(
            (
                configured.layout,
                configured.data.as_str(),
                configured.archive.as_str()
            ),
            (Layout::Awss3, "year=", "x/y")
        );
        assert_eq!(configured.key, Some("/s/signer.key".into()));
        assert_eq!(configured.storage.as_deref(), Some("file_storage/j"));
        assert!(!configured.lock.required);
        for without in [
            "{}",
            "weir: {evidence: false}",
            "weir: {lock: {required: true}}",
            "weir: 7",
        ] {
            assert!(
                !has_evidence(&Section::from_yaml(without).expect("it is yaml")),
                "{without}"
            );
        }
    }
}

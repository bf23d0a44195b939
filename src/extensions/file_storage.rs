//! Extension `file_storage`: where on disk what must outlive the process is kept.
//!
//! In the collector it is a bbolt database for each client; here it is one journal for all queues that name it, which
//! lies in the directory itself and is opened at the start. Directory, fsync and size count; what is particular to bbolt
//! (compaction, recreate, timeout) is accepted and has no effect, with one line in the log. `fsync` is on unless it is
//! switched off: what is acknowledged is safe.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::OnceLock;

use component::prelude::*;
use storage::Journal;
use storage::journal::disk::RealDisk;
use storage::journal::{Found, Health, Key, Options};
use telemetry::Metrics;
use tracing::{error, info};

/// Smallest file of a journal.
const SEGMENT_MIN: u64 = 64 << 10;

/// `file_storage`.
pub(crate) static FACTORY: ExtensionFactory = ExtensionFactory {
    kind: "file_storage",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    stability: Stability::Development,
    build: |section, cx| {
        Ok(Arc::new(FileStorage {
            config: section.parse_valid()?,
            id: cx.id.clone(),
            journal: Arc::default(),
            metrics: cx.telemetry.metrics.clone(),
        }))
    },
};

/// `file_storage`: where, and how carefully.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Must exist unless `create_directory`. Default `/var/lib/otelcol/file_storage`.
    pub(crate) directory: String,
    /// Without effect. Default `1s`.
    pub(crate) timeout: Duration,
    /// Written through to the disk before anything is answered. Default true (the collector's is false).
    pub(crate) fsync: bool,
    /// Default false.
    pub(crate) create_directory: bool,
    /// Of a directory that is created, octal, less the process's umask. Default `0750`.
    pub(crate) directory_permissions: String,
    /// Without effect.
    pub(crate) recreate: bool,
    /// Most bytes on disk; 0 = no limit.
    pub(crate) max_size: ByteSize,
    /// Without effect.
    pub(crate) compaction: Compaction,
    /// Size of one of the journal's files. Default 64 MiB.
    pub(crate) segment_size: ByteSize,
    /// What is written is encrypted (AES-256-GCM). Default off.
    pub(crate) encryption: Option<Encryption>,
    /// Client metadata that looks like a credential is kept with the data, where something behind the queue names it.
    /// Only with `encryption`. Default false.
    pub(crate) persist_sensitive_metadata: bool,
}

/// `encryption`: where the key comes from; one of both.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Encryption {
    /// A file with 32 bytes, or 64 hexadecimal digits, or base64 of 32 bytes.
    pub(crate) key_file: Option<String>,
    /// Name of an environment variable with such a text.
    pub(crate) key_env: Option<String>,
}

impl Encryption {
    /// Reads the key. Whatever is wrong with it, the answer does not show it.
    fn key(&self) -> Result<Key, String> {
        let (bytes, place) = match (&self.key_file, &self.key_env) {
            (Some(file), _) => {
                let bytes = std::fs::read(file).map_err(|e| format!("cannot read the key in {file}: {e}"))?;
                (bytes, file.clone())
            }
            (None, Some(name)) => {
                let text = std::env::var(name).map_err(|_| format!("no key in the environment: {name}"))?;
                (text.into_bytes(), format!("the environment's {name}"))
            }
            (None, None) => return Err("no key".into()),
        };
        Key::parse(&bytes).map_err(|e| format!("{place}: {e}"))
    }
}

/// `compaction`: checked, and without effect.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Compaction {
    /// Default false.
    pub(crate) on_start: bool,
    /// Default false.
    pub(crate) on_rebound: bool,
    /// Default that of the storage.
    pub(crate) directory: String,
    /// Default 65536.
    pub(crate) max_transaction_size: i64,
    /// Default 100.
    pub(crate) rebound_needed_threshold_mib: i64,
    /// Default 10.
    pub(crate) rebound_trigger_threshold_mib: i64,
    /// Default `5s`.
    pub(crate) check_interval: Duration,
    /// Default false.
    pub(crate) cleanup_on_start: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            directory: "/var/lib/otelcol/file_storage".into(),
            timeout: Duration(std::time::Duration::from_secs(1)),
            fsync: true,
            create_directory: false,
            directory_permissions: "0750".into(),
            recreate: false,
            max_size: ByteSize(0),
            compaction: Compaction::default(),
            segment_size: ByteSize(64 << 20),
            encryption: None,
            persist_sensitive_metadata: false,
        }
    }
}

impl Default for Compaction {
    fn default() -> Compaction {
        Compaction {
            on_start: false,
            on_rebound: false,
            directory: "/var/lib/otelcol/file_storage".into(),
            max_transaction_size: 65_536,
            rebound_needed_threshold_mib: 100,
            rebound_trigger_threshold_mib: 10,
            check_interval: Duration(std::time::Duration::from_secs(5)),
            cleanup_on_start: false,
        }
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut rule = |holds: bool, key: &str, text: &str| {
            if !holds {
                faults.push((key.to_owned(), text.to_owned()));
            }
        };
        rule(!self.directory.is_empty(), "directory", "directory must be set");
        let compaction = &self.compaction;
        rule(
            compaction.max_transaction_size >= 0,
            "compaction.max_transaction_size",
            "max transaction size for compaction cannot be less than 0",
        );
        rule(
            !compaction.on_rebound || !compaction.check_interval.0.is_zero(),
            "compaction.check_interval",
            "compaction check interval must be positive when rebound compaction is set",
        );
        rule(
            self.segment_size.0 >= SEGMENT_MIN,
            "segment_size",
            "segment_size must be at least 64KiB",
        );
        let sources = |e: &Encryption| usize::from(e.key_file.is_some()) + usize::from(e.key_env.is_some());
        rule(
            self.encryption.as_ref().is_none_or(|e| sources(e) == 1),
            "encryption",
            "encryption needs one of key_file and key_env",
        );
        rule(
            self.encryption.is_some() || !self.persist_sensitive_metadata,
            "persist_sensitive_metadata",
            "credentials are not written to a disk that is not encrypted",
        );
        match self.permissions() {
            None => rule(
                false,
                "directory_permissions",
                "directory_permissions value must be a valid octal representation",
            ),
            Some(mode) => rule(
                mode <= 0o777,
                "directory_permissions",
                "directory_permissions contain invalid bits for file access",
            ),
        }
    }
}

impl Config {
    fn permissions(&self) -> Option<u32> {
        let text = &self.directory_permissions;
        let is_octal = !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
        is_octal.then(|| u32::from_str_radix(text, 8).ok()).flatten()
    }

    /// Reads the key, if there is one.
    fn options(&self) -> Result<Options, String> {
        let bytes_max = Some(self.max_size.0).filter(|max| *max > 0);
        // Several files must fit, or the last of them could never be given back.
        let most = bytes_max.map_or(u64::MAX, |max| (max / 8).max(SEGMENT_MIN));
        Ok(Options {
            segment_bytes: self.segment_size.0.min(most),
            bytes_max,
            sync: self.fsync,
            key: self.encryption.as_ref().map(Encryption::key).transpose()?,
        })
    }

    /// Makes the directory where that is asked for, and says what is wrong with it.
    fn open(&self) -> Result<(), String> {
        let directory = &self.directory;
        if self.create_directory {
            let mode = self.permissions().unwrap_or(0o750);
            let made = std::fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(directory);
            made.map_err(|e| format!("cannot create directory {directory}: {e}"))?;
        }
        let found = std::fs::metadata(directory).map_err(|e| {
            format!("directory must exist: {directory}: {e}. You can enable the create_directory option to create it")
        })?;
        if !found.is_dir() {
            return Err(format!("{directory} is not a directory"));
        }
        Ok(())
    }
}

struct FileStorage {
    config: Config,
    id: ComponentId,
    journal: Arc<OnceLock<Journal>>,
    metrics: Arc<Metrics>,
}

/// What is shown of a journal.
const SHOWN: &[(&str, fn(&Health) -> f64)] = &[
    ("weir_journal_bytes", |h| h.bytes as f64),
    ("weir_journal_owed_bytes", |h| h.live_bytes as f64),
    ("weir_journal_appended_records", |h| h.counts.appended as f64),
    ("weir_journal_appended_bytes", |h| h.counts.appended_bytes as f64),
    ("weir_journal_refused_records", |h| h.counts.refused as f64),
    ("weir_journal_syncs", |h| {
        h.syncs.counts.iter().sum::<u64>() as f64
    }),
    ("weir_journal_sync_seconds", |h| h.syncs.sum.as_secs_f64()),
    ("weir_journal_troubles", |h| {
        f64::from(u8::from(h.trouble.is_some()))
    }),
];

impl FileStorage {
    fn show(&self, found: &Found) {
        for (name, of) in SHOWN {
            self.show_one(name, |journal| of(&journal.health()));
        }
        self.show_one("weir_journal_orphan_items", |journal| {
            journal.orphan_items() as f64
        });
        let labels = vec![("extension", self.id.to_string())];
        let damaged = self.metrics.gauge("weir_journal_damaged_places", labels);
        damaged.set(found.damage.len() as i64);
    }

    fn show_one(&self, name: &'static str, of: impl Fn(&Journal) -> f64 + Send + Sync + 'static) {
        let journal = Arc::downgrade(&self.journal);
        let labels = vec![("extension", self.id.to_string())];
        self.metrics.gauge_fn(name, labels, move || {
            let journal = journal.upgrade().and_then(|cell| cell.get().cloned());
            journal.map_or(0.0, |journal| of(&journal))
        });
    }

    /// Opens the journal. Blocks on the disk.
    fn open(config: &Config) -> Result<(Journal, Found), String> {
        let directory = Path::new(&config.directory);
        let options = config.options()?;
        config.open()?;
        let disk = RealDisk::open(directory).map_err(|e| format!("cannot open {}: {e}", config.directory))?;
        let opened = Journal::open(Arc::new(disk), options);
        opened.map_err(|e| format!("cannot open the journal in {}: {e}", config.directory))
    }
}

impl Extension for FileStorage {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        if self.config.compaction != Compaction::default() {
            info!(component = %self.id, "compaction has no effect: a journal gives space back by itself");
        }
        let config = self.config.clone();
        Box::pin(async move {
            let opening = tokio::task::spawn_blocking(move || FileStorage::open(&config));
            let opened = opening.await.map_err(|e| e.to_string()).flatten();
            let (journal, found) = opened.map_err(Fault::World)?;
            for damage in &found.damage {
                error!(component = %self.id, damage, "the journal is damaged; what can be read is kept");
            }
            let bytes = journal.bytes();
            info!(component = %self.id, records = found.records, bytes, scanned = found.scanned, torn = found.torn, "the journal is open");
            let _ = self.journal.set(journal);
            self.show(&found);
            Ok(())
        })
    }

    fn storage(&self) -> Option<Storage> {
        Some(Storage {
            sync: self.config.fsync,
            bytes_max: Some(self.config.max_size.0).filter(|max| *max > 0),
            keeps_secrets: self.config.persist_sensitive_metadata,
        })
    }

    fn journal(&self) -> Option<Journal> {
        self.journal.get().cloned()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        let Some(journal) = self.journal() else {
            return ready(());
        };
        Box::pin(async move {
            if tokio::task::spawn_blocking(move || journal.close())
                .await
                .is_err()
            {
                error!(component = %self.id, "the journal was not closed in order; the next start reads more of it");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use component::test_kit::{Lonely, context, faults, section};

    use super::*;

    component::component_tests!(FACTORY, minimal());

    /// A directory that lives as long as the tests do.
    fn minimal() -> &'static str {
        static DIRECTORY: OnceLock<(tempfile::TempDir, String)> = OnceLock::new();
        let made = DIRECTORY.get_or_init(|| {
            let directory = tempfile::tempdir().unwrap();
            let yaml = format!("directory: '{}'", directory.path().display());
            (directory, yaml)
        });
        &made.1
    }

    #[test]
    fn tells_faults() {
        let check = |yaml: &str, expected: &str| {
            let told = faults((FACTORY.build)(section(yaml), &context("file_storage")));
            assert!(told.contains(expected), "{told}");
        };
        check("directory: ''", "directory must be set");
        check(
            "directory_permissions: '0799'",
            "must be a valid octal representation",
        );
        check(
            "directory_permissions: ''",
            "must be a valid octal representation",
        );
        check(
            "directory_permissions: '1777'",
            "contain invalid bits for file access",
        );
        check("compaction: {max_transaction_size: -1}", "cannot be less than 0");
        check(
            "compaction: {on_rebound: true, check_interval: 0s}",
            "check interval must be positive",
        );
        check("compaction: {on_reboun: true}", "on_rebound");
        check("segment_size: 1000", "at least 64KiB");
        check("encryption: {}", "encryption needs one of key_file and key_env");
        check(
            "encryption: {key_file: a, key_env: B}",
            "encryption needs one of key_file and key_env",
        );
        check(
            "persist_sensitive_metadata: true",
            "credentials are not written to a disk that is not encrypted",
        );
        // What is missing on this machine may be there where it runs.
        assert!((FACTORY.build)(section("directory: /no/such/place"), &context("file_storage")).is_ok());
    }

    #[test]
    fn defaults_match_otelcol_but_for_fsync() {
        let yaml = "{directory: /var/lib/otelcol/file_storage, timeout: 1s, fsync: true, create_directory: false, \
                    directory_permissions: '0750', recreate: false, max_size: 0, compaction: {on_start: false, \
                    on_rebound: false, directory: /var/lib/otelcol/file_storage, max_transaction_size: 65536, \
                    rebound_needed_threshold_mib: 100, rebound_trigger_threshold_mib: 10, check_interval: 5s, \
                    cleanup_on_start: false}}";
        let written: Config = section(yaml).parse().unwrap();
        assert_eq!(written, Config::default());
    }

    #[tokio::test]
    async fn a_directory_must_exist_or_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let start = async |path: &Path, more: &str| {
            let yaml = format!("{{directory: '{}'{more}}}", path.display());
            let built = (FACTORY.build)(section(&yaml), &context("file_storage"));
            let built = built.unwrap_or_else(|fault| panic!("{fault}"));
            built
                .start(Arc::new(Lonely::default()))
                .await
                .map_err(|f| f.to_string())
        };
        let deep = folder.path().join("a/b");
        let told = start(&deep, "").await.unwrap_err();
        assert!(told.starts_with("directory must exist: "), "{told}");
        start(&deep, ", create_directory: true, directory_permissions: '0700'")
            .await
            .unwrap();
        let mode = std::fs::metadata(&deep).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        start(&deep, "").await.unwrap();
        assert!(deep.join("lock").exists());
        let sealed = folder.path().join("sealed");
        let encrypted = ", create_directory: true, encryption: {key_env: WEIR_TEST_NO_SUCH_KEY}";
        let told = start(&sealed, encrypted).await.unwrap_err();
        assert_eq!(told, "no key in the environment: WEIR_TEST_NO_SUCH_KEY");
        let key = folder.path().join("key");
        let encrypted = format!(
            ", create_directory: true, encryption: {{key_file: '{}'}}",
            key.display()
        );
        std::fs::write(&key, "hunter2").unwrap();
        let told = start(&sealed, &encrypted).await.unwrap_err();
        assert!(
            told.contains("a key is 32 bytes") && !told.contains("hunter2"),
            "{told}"
        );
        std::fs::write(&key, "7".repeat(64)).unwrap();
        start(&sealed, &encrypted).await.unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let told = start(&file, "").await.unwrap_err();
        assert_eq!(told, format!("{} is not a directory", file.display()));
    }
}

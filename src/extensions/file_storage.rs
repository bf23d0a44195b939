//! Extension `file_storage`: where on disk what must outlive the process is kept.
//!
//! In the collector it is a bbolt database for each client; here it says where and how carefully a journal may write:
//! directory, fsync and size count, what is particular to bbolt (compaction, recreate, timeout) is accepted and has no
//! effect, with one line in the log. Nothing stores anything in it yet.

use std::os::unix::fs::DirBuilderExt;

use component::prelude::*;
use tracing::info;

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
    /// Written through to the disk before anything is answered. Default false.
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
            fsync: false,
            create_directory: false,
            directory_permissions: "0750".into(),
            recreate: false,
            max_size: ByteSize(0),
            compaction: Compaction::default(),
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
}

impl Extension for FileStorage {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        if self.config.compaction != Compaction::default() {
            info!(component = %self.id, "compaction has no effect: a journal gives space back by itself");
        }
        ready(self.config.open().map_err(Fault::World))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use component::test_kit::{Lonely, context, faults, section};

    use super::*;

    component::component_tests!(FACTORY, "directory: .");

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
        // What is missing on this machine may be there where it runs.
        assert!((FACTORY.build)(section("directory: /no/such/place"), &context("file_storage")).is_ok());
    }

    #[test]
    fn defaults_match_otelcol() {
        let yaml = "{directory: /var/lib/otelcol/file_storage, timeout: 1s, fsync: false, create_directory: false, \
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
        let start = async |path: &std::path::Path, more: &str| {
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
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let told = start(&file, "").await.unwrap_err();
        assert_eq!(told, format!("{} is not a directory", file.display()));
    }
}

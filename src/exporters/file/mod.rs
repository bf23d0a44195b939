//! Exporter `file`: appends batches to a file, as OTLP/JSON lines or as protobuf messages with lengths.
//!
//! In: every signal; all signals of one exporter share the file. Out, as contrib's `file` exporter frames them: `json`
//! without compression, one document and `\n`; `proto`, or anything compressed, a 4-byte big-endian length and the
//! message, each compressed alone. A batch is one write and is answered once the system has it (`fsync: batch`: once
//! the disk has it), so `flush_interval` has nothing left to flush. A write that fails half way is cut off again.

mod rotate;
mod tenants;
mod writer;

use std::path::PathBuf;

use bytes::Bytes;
use component::prelude::*;
use component::template;

use self::tenants::Tenants;
use self::writer::{Open, Slot, Writer};

/// `file`.
pub static FACTORY: ExporterFactory = ExporterFactory {
    kind: "file",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Alpha),
        (Signal::Metrics, Stability::Alpha),
        (Signal::Logs, Stability::Alpha),
        (Signal::Profiles, Stability::Development),
    ],
    harness: Harness::QUEUE_OFFERED,
    build: |section, cx| {
        let config: Config = section.parse_valid()?;
        let path = config.path.to_string_lossy();
        Ok(Exporter::Push(Arc::new(File {
            id: cx.id.to_string(),
            files: match Template::parse(&path) {
                Some(path) => {
                    let owner = format!("exporter:{}", cx.id);
                    Files::ByTenant(Arc::new(Tenants::new(owner, path, config.open())))
                }
                None => Files::One(Arc::new(Writer::new(config.open()))),
            },
            format: config.format,
            compression: config.compression.level(&config.compression_params),
        })))
    },
};

/// `file`: where and how.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file. Required. With `%{tenant}` in it, one for each tenant: then with `append`, or with `rotation` and a
    /// directory for each tenant.
    pub path: PathBuf,
    /// Starts a new file when one is full; without the block one file grows for ever.
    pub rotation: Optional<Rotation>,
    /// `json` (default) or `proto`.
    pub format: Format,
    /// An encoding extension; not supported yet.
    pub encoding: String,
    /// Keeps what is in the file at start. Default false: the file is emptied. Not with rotation or compression.
    pub append: bool,
    /// `zstd`, or empty (default) for none.
    pub compression: Compression,
    /// How hard to compress.
    pub compression_params: CompressionParams,
    /// Accepted; every batch is written before it is answered. Default 1s.
    pub flush_interval: Duration,
    /// One file per value of a resource attribute; not supported yet.
    pub group_by: GroupBy,
    /// Makes missing directories of the path. Default false.
    pub create_directory: bool,
    /// Of directories made, in octal. Default `"0755"`.
    pub directory_permissions: String,
    /// `never` (default): a batch is safe from a crash of the gateway; `batch`: from a crash of the machine too.
    pub fsync: Fsync,
}

/// When a file is full, and how many full ones are kept. A full one is called `name-2022-09-14T05-02-14.173.ext`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rotation {
    /// Size of a full file in MiB. Default 100. A larger batch gets a file of its own.
    pub max_megabytes: u64,
    /// Full files older than this many days are deleted. Default 0: never.
    pub max_days: u64,
    /// Full files beyond this many are deleted, oldest first. Default 100; 0: never.
    pub max_backups: usize,
    /// Local times in names; not supported, names are in UTC. Default false.
    pub localtime: bool,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// OTLP/JSON.
    Json,
    /// OTLP protobuf.
    Proto,
}

/// How messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[serde(rename = "")]
    None,
    /// RFC 8878, a frame a message.
    Zstd,
}

/// How hard to compress.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompressionParams {
    /// 1 (fast) to 22; 0 is the library's default.
    pub level: i32,
}

/// When a batch is forced to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// The system decides.
    Never,
    /// Before it is answered.
    Batch,
}

/// One file per value of a resource attribute.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupBy {
    /// Default false.
    pub enabled: bool,
    /// Its value replaces the `*` in the path.
    pub resource_attribute: String,
    /// Files open at once.
    pub max_open_files: usize,
}

struct File {
    id: String,
    files: Files,
    format: Format,
    compression: Option<i32>,
}

#[derive(Clone)]
enum Files {
    One(Arc<Writer>),
    ByTenant(Arc<Tenants>),
}

impl Push for File {
    fn start<'a>(&'a self, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let writer = match &self.files {
                Files::One(writer) => writer.clone(),
                Files::ByTenant(tenants) => {
                    tenants.start(host);
                    return Ok(());
                }
            };
            let path = writer.path().to_string_lossy();
            let slot = host.share(&format!("exporter:{}", self.id), &path, || Arc::<Slot>::default());
            if let Ok(slot) = slot.downcast() {
                writer.share(slot);
            }
            drop(path);
            let opening = writer.clone();
            let opened = blocking(move || opening.open()).await;
            opened.map_err(|e| Fault::World(format!("cannot open {}: {e}", writer.path().display())))
        })
    }

    fn by_tenant(&self) -> bool {
        matches!(self.files, Files::ByTenant(_))
    }

    fn export<'a>(&'a self, batch: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        Box::pin(async {
            let (files, batch) = (self.files.clone(), batch.clone());
            let (format, compression) = (self.format, self.compression);
            // Rendering is CPU work of the size of the batch, writing may block: both off the workers. The task goes
            // on if we are dropped, so a record is never cut in the middle.
            let done = tokio::task::spawn_blocking(move || {
                let record = record(&batch, format, compression)?;
                let appended = match &files {
                    Files::One(writer) => writer.append(&record),
                    Files::ByTenant(tenants) => {
                        let writer = tenants.writer(template::one_of(&batch)?);
                        writer.and_then(|writer| writer.append(&record))
                    }
                };
                appended.map_err(ExportError::retry)
            });
            done.await.map_err(ExportError::retry)??;
            Ok(Outcome::all())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let files = self.files.clone();
            let closing = blocking(move || {
                match files {
                    Files::One(writer) => log_unsynced(&writer),
                    Files::ByTenant(tenants) => tenants.close(),
                }
                Ok(())
            });
            if let Err(error) = closing.await {
                tracing::error!(exporter = self.id, %error, "cannot close files");
            }
        })
    }
}

/// Syncs and closes; what went wrong is said, and nothing can be done about it.
fn log_unsynced(writer: &Writer) {
    if let Err(error) = writer.close() {
        tracing::error!(path = %writer.path().display(), %error, "cannot sync file");
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}

/// A batch with its frame, as it stands in the file.
fn record(batch: &Payload, format: Format, compression: Option<i32>) -> Result<Vec<u8>, ExportError> {
    let framed = format == Format::Proto || compression.is_some();
    let mut out = vec![0; if framed { LENGTH_BYTES } else { 0 }];
    let message: Bytes = match format {
        Format::Proto => batch.to_bytes(),
        Format::Json => codec::otlp_json::write_payload(batch).map_err(rejected)?.into(),
    };
    match compression {
        Some(level) => {
            let compressed = zstd::bulk::compress(&message, level).map_err(ExportError::retry)?;
            out.extend_from_slice(&compressed);
        }
        None => out.extend_from_slice(&message),
    }
    if framed {
        let len = u32::try_from(out.len() - LENGTH_BYTES)
            .map_err(|e| ExportError::TooLarge { source: e.into() })?;
        out[..LENGTH_BYTES].copy_from_slice(&len.to_be_bytes());
    } else {
        out.push(b'\n');
    }
    Ok(out)
}

const LENGTH_BYTES: usize = 4;

/// Every payload was validated at the door; what cannot be read here never can.
fn rejected(malformed: wire::Malformed) -> ExportError {
    ExportError::Rejected {
        code: Code::INVALID_ARGUMENT,
        source: malformed.into(),
    }
}

// --- Config ---

impl Config {
    fn open(&self) -> Open {
        Open {
            path: self.path.clone(),
            truncate: !self.append && !self.rotation.is_on(),
            rotation: self.rotation.clone().into_option(),
            directory_mode: self.create_directory.then(|| self.mode().unwrap_or(0o755)),
            sync: self.fsync == Fsync::Batch,
            form: (self.format, self.compression),
        }
    }

    fn mode(&self) -> Option<u32> {
        u32::from_str_radix(&self.directory_permissions, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut fault = |key: &str, wrong: bool, message: &str| {
            if wrong {
                faults.push((key.to_owned(), message.to_owned()));
            }
        };
        let rotates = self.rotation.is_on();
        let level = self.compression_params.level;
        fault("path", self.path.as_os_str().is_empty(), "path must be non-empty");
        let names = |path: Option<&std::ffi::OsStr>| {
            path.is_some_and(|path| path.to_string_lossy().contains(template::TENANT))
        };
        fault(
            "path",
            names(Some(self.path.as_os_str())) && !self.append && !rotates,
            "a path with %{tenant} needs append: true, or rotation: its files are closed and opened again",
        );
        fault(
            "path",
            names(self.path.file_name()) && rotates,
            "with rotation %{tenant} must be a directory: names of full files could be those of other tenants",
        );
        fault(
            "append",
            self.append && rotates,
            "append and rotation enabled at the same time is not supported",
        );
        fault(
            "append",
            self.append && self.compression != Compression::None,
            "append and compression enabled at the same time is not supported",
        );
        fault(
            "compression_params.level",
            !(0..=22).contains(&level),
            "level must be between 1 and 22, or 0 for the default",
        );
        fault(
            "encoding",
            !self.encoding.is_empty(),
            "encoding extensions are not supported yet",
        );
        fault(
            "group_by.enabled",
            self.group_by.enabled,
            "group_by is not supported yet",
        );
        fault(
            "directory_permissions",
            self.mode().is_none(),
            "directory_permissions must be octal, such as \"0755\"",
        );
        let rotation = self.rotation.get();
        fault(
            "rotation.localtime",
            rotation.is_some_and(|r| r.localtime),
            "local times are not supported: names of full files are in UTC",
        );
        fault(
            "rotation.max_megabytes",
            rotation.is_some_and(|r| r.max_megabytes == 0),
            "max_megabytes must be above 0",
        );
    }
}

impl Compression {
    fn level(self, params: &CompressionParams) -> Option<i32> {
        (self == Compression::Zstd).then_some(params.level)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            rotation: Optional::Default(Rotation::default()),
            format: Format::Json,
            encoding: String::new(),
            append: false,
            compression: Compression::None,
            compression_params: CompressionParams::default(),
            flush_interval: Duration(std::time::Duration::from_secs(1)),
            group_by: GroupBy::default(),
            create_directory: false,
            directory_permissions: "0755".into(),
            fsync: Fsync::Never,
        }
    }
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            max_megabytes: 100,
            max_days: 0,
            max_backups: 100,
            localtime: false,
        }
    }
}

impl Default for GroupBy {
    fn default() -> Self {
        Self {
            enabled: false,
            resource_attribute: "fileexporter.path_segment".into(),
            max_open_files: 100,
        }
    }
}

#[cfg(test)]
mod tests;

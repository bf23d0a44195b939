//! `service::telemetry::logs`: where own log lines go, how they look, and where else they are shipped.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::logs::{self, Record};
use telemetry::resource::Value;
use telemetry::{Resource, Telemetry};
use tokio::sync::mpsc;
use wire::Signal;

use super::faults::Faults;
use super::otlp::Exporter;
use super::value::Any;

/// `service::telemetry::logs`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Logs {
    /// `debug`, `info`, `warn`, `error` (also `dpanic`, `panic`, `fatal`), in any case.
    pub level: String,
    /// `console` or `json`.
    pub encoding: String,
    /// Lines do not name the place in the source.
    pub disable_caller: bool,
    /// Lines carry no `resource` object.
    pub disable_zap_resource: bool,
    /// How equal lines are limited.
    pub sampling: Sampling,
    /// Added to every line.
    pub initial_fields: BTreeMap<String, Any>,
    /// Each of `stderr`, `stdout`, a path or a `file:` URL; files are appended to.
    pub output_paths: Vec<String>,
    /// Where it is said, once, that lines could not be written.
    pub error_output_paths: Vec<String>,
    /// Accepted for the collector's sake.
    pub development: bool,
    /// Accepted for the collector's sake: no stack trace is shown.
    pub disable_stacktrace: bool,
    /// Where lines are shipped beside `output_paths`.
    pub processors: Vec<Processor>,
}

impl Default for Logs {
    fn default() -> Logs {
        Logs {
            level: "info".into(),
            encoding: "console".into(),
            disable_caller: false,
            disable_zap_resource: false,
            sampling: Sampling::default(),
            initial_fields: BTreeMap::new(),
            output_paths: vec!["stderr".into()],
            error_output_paths: vec!["stderr".into()],
            development: false,
            disable_stacktrace: false,
            processors: Vec::new(),
        }
    }
}

/// `service::telemetry::logs::sampling`: of equal lines, how many are written.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Sampling {
    /// Off = every line is written.
    pub enabled: bool,
    /// Counting starts again after this long.
    pub tick: config::Duration,
    /// So many are written first.
    pub initial: u64,
    /// Then every so-manieth.
    pub thereafter: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            enabled: true,
            tick: config::Duration(Duration::from_secs(10)),
            initial: 10,
            thereafter: 100,
        }
    }
}

/// A log processor: exactly one of its keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Processor {
    /// Records are shipped together.
    pub batch: Option<Batch>,
    /// Each record is shipped as soon as the one before it has been.
    pub simple: Option<Simple>,
}

/// `batch`: times in milliseconds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Batch {
    /// Where to.
    pub exporter: Exporter,
    /// A record waits at most so long. Default 1000.
    pub schedule_delay: u64,
    /// How long a batch is tried. Default 30000.
    pub export_timeout: u64,
    /// Records that wait at most; further ones are not shipped, and counted. Default 2048.
    pub max_queue_size: usize,
    /// Records in a request at most. Default 512.
    pub max_export_batch_size: usize,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch {
            exporter: Exporter::default(),
            schedule_delay: 1000,
            export_timeout: 30_000,
            max_queue_size: 2048,
            max_export_batch_size: 512,
        }
    }
}

/// `simple`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Simple {
    /// Where to.
    pub exporter: Exporter,
}

/// More records than this never wait, whatever is asked for: some hundred bytes each.
const QUEUE_MAX: usize = 1 << 20;

impl Logs {
    pub(super) fn check(&self, faults: &mut Faults<'_>) {
        faults.rule(
            self.level().is_some(),
            "logs.level",
            &format!(
                "unrecognized level: \"{}\": debug, info, warn or error",
                self.level
            ),
        );
        faults.rule(
            ["console", "json"].contains(&self.encoding.as_str()),
            "logs.encoding",
            &format!(
                "no encoder registered for name \"{}\": console or json",
                self.encoding
            ),
        );
        for (key, paths) in [
            ("logs.output_paths", &self.output_paths),
            ("logs.error_output_paths", &self.error_output_paths),
        ] {
            for (i, path) in paths.iter().enumerate() {
                if let Err(message) = place(path) {
                    faults.fault(&format!("{key}.{i}"), message);
                }
            }
        }
        for (i, processor) in self.processors.iter().enumerate() {
            let key = format!("logs.processors.{i}");
            match (&processor.batch, &processor.simple) {
                (Some(batch), None) => batch.check(&format!("{key}.batch"), faults),
                (None, Some(simple)) => {
                    simple
                        .exporter
                        .check(&format!("{key}.simple.exporter"), Signal::Logs, faults);
                }
                (None, None) => faults.fault(&key, "unsupported log processor type: batch or simple"),
                (Some(_), Some(_)) => {
                    faults.fault(
                        &key,
                        "must not specify multiple log processor type: leave batch or simple",
                    );
                }
            }
        }
    }

    fn level(&self) -> Option<tracing::Level> {
        match self.level.to_lowercase().as_str() {
            "debug" => Some(tracing::Level::DEBUG),
            "" | "info" => Some(tracing::Level::INFO),
            "warn" => Some(tracing::Level::WARN),
            "error" | "dpanic" | "panic" | "fatal" => Some(tracing::Level::ERROR),
            _ => None,
        }
    }

    /// The processors with their defaults filled in.
    pub(super) fn batches(&self) -> impl Iterator<Item = Batch> {
        self.processors.iter().filter_map(|p| {
            let simple = |s: &Simple| Batch {
                exporter: s.exporter.clone(),
                schedule_delay: 0,
                max_export_batch_size: 1,
                ..Batch::default()
            };
            p.batch.clone().or_else(|| p.simple.as_ref().map(simple))
        })
    }

    /// Makes own logs the process's default; what is returned beside the guard is what each processor ships.
    pub(super) fn start(
        &self,
        telemetry: &Telemetry,
        resource: &Resource,
    ) -> std::io::Result<(logs::Guard, Vec<mpsc::Receiver<Record>>)> {
        let queues = self
            .batches()
            .map(|b| mpsc::channel(b.max_queue_size.clamp(1, QUEUE_MAX)));
        let (outboxes, receivers) = queues.unzip();
        let fields = self.initial_fields.iter();
        let settings = logs::Settings {
            level: self.level().unwrap_or(tracing::Level::INFO),
            encoding: if self.encoding == "json" {
                logs::Encoding::Json
            } else {
                logs::Encoding::Console
            },
            sampling: self.sampling.enabled.then_some(logs::Sampling {
                tick: self.sampling.tick.0,
                initial: self.sampling.initial,
                thereafter: self.sampling.thereafter,
            }),
            caller: !self.disable_caller,
            resource: match self.disable_zap_resource {
                true => Vec::new(),
                false => resource.texts().map(|(k, v)| (k.to_owned(), v)).collect(),
            },
            initial_fields: fields
                .map(|(name, Any(value))| (name.clone(), value.clone().unwrap_or(Value::Text(String::new()))))
                .collect(),
            outboxes,
        };
        let sinks = Sinks {
            outputs: open(&self.output_paths)?,
            errors: open(&self.error_output_paths)?,
            is_failing: false,
        };
        let (dispatch, guard) = logs::start(settings, Box::new(sinks), &telemetry.metrics)?;
        // a second service in one process (tests) keeps the first one's log
        let _ = tracing::dispatcher::set_global_default(dispatch);
        Ok((guard, receivers))
    }
}

impl Batch {
    fn check(&self, key: &str, faults: &mut Faults<'_>) {
        self.exporter
            .check(&format!("{key}.exporter"), Signal::Logs, faults);
        for (name, n) in [
            ("max_queue_size", self.max_queue_size),
            ("max_export_batch_size", self.max_export_batch_size),
        ] {
            faults.rule(
                n > 0,
                &format!("{key}.{name}"),
                &format!("invalid {name}: must be above 0"),
            );
        }
        faults.rule(
            self.max_export_batch_size <= self.max_queue_size,
            &format!("{key}.max_export_batch_size"),
            "max_export_batch_size must not be above max_queue_size",
        );
    }
}

/// Where lines go.
enum Place<'a> {
    Stdout,
    Stderr,
    File(&'a str),
}

fn place(path: &str) -> Result<Place<'_>, String> {
    match path {
        "stdout" => Ok(Place::Stdout),
        "stderr" => Ok(Place::Stderr),
        "" => Err("empty path: stdout, stderr or a file".into()),
        path => match path.split_once("://") {
            Some(("file", path)) => {
                let path = path.strip_prefix("localhost").unwrap_or(path);
                match path.starts_with('/') {
                    true => Ok(Place::File(path)),
                    false => Err("file URLs must leave host empty or use localhost".into()),
                }
            }
            Some((scheme, _)) => Err(format!("no sink found for scheme \"{scheme}\"")),
            None => Ok(Place::File(path)),
        },
    }
}

fn open(paths: &[String]) -> std::io::Result<Vec<Box<dyn Write + Send>>> {
    let open = |path: &String| -> std::io::Result<Box<dyn Write + Send>> {
        match place(path).map_err(std::io::Error::other)? {
            Place::Stdout => Ok(Box::new(std::io::stdout())),
            Place::Stderr => Ok(Box::new(std::io::stderr())),
            Place::File(path) => {
                let file = std::fs::File::options().append(true).create(true).open(path);
                let file = file.map_err(|e| std::io::Error::new(e.kind(), format!("{path}: {e}")))?;
                Ok(Box::new(file))
            }
        }
    };
    paths.iter().map(open).collect()
}

/// Writes every line everywhere; one place that fails does not keep lines from the others.
struct Sinks {
    outputs: Vec<Box<dyn Write + Send>>,
    errors: Vec<Box<dyn Write + Send>>,
    is_failing: bool,
}

impl Write for Sinks {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let results: Vec<std::io::Result<()>> = self.outputs.iter_mut().map(|o| o.write_all(bytes)).collect();
        let error = results.into_iter().find_map(Result::err);
        if let Some(error) = error.as_ref().filter(|_| !self.is_failing) {
            for out in &mut self.errors {
                let _ = writeln!(out, "write error: {error}");
            }
        }
        self.is_failing = error.is_some();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.outputs.iter_mut().try_for_each(Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn places_are_zaps() {
        #[track_caller]
        fn check(path: &str, expected: Result<&str, &str>) {
            let found = place(path).map(|p| match p {
                Place::Stdout => "<stdout>",
                Place::Stderr => "<stderr>",
                Place::File(path) => path,
            });
            assert_eq!(found.as_ref().copied().map_err(String::as_str), expected);
        }
        check("stdout", Ok("<stdout>"));
        check("stderr", Ok("<stderr>"));
        check("/var/log/weir.log", Ok("/var/log/weir.log"));
        check("weir.log", Ok("weir.log"));
        check("file:///var/log/weir.log", Ok("/var/log/weir.log"));
        check("file://localhost/weir.log", Ok("/weir.log"));
        check(
            "file://far/weir.log",
            Err("file URLs must leave host empty or use localhost"),
        );
        check("http://a", Err("no sink found for scheme \"http\""));
        check("", Err("empty path: stdout, stderr or a file"));
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<String>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().push_str(&String::from_utf8_lossy(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("no space left"))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_once_and_harms_no_other_place() {
        let (lines, errors) = (Lines::default(), Lines::default());
        let mut sinks = Sinks {
            outputs: vec![Box::new(Full), Box::new(lines.clone())],
            errors: vec![Box::new(errors.clone())],
            is_failing: false,
        };
        sinks.write_all(b"one\n").unwrap();
        sinks.write_all(b"two\n").unwrap();
        assert_eq!(*lines.0.lock(), "one\ntwo\n");
        assert_eq!(*errors.0.lock(), "write error: no space left\n");
    }
}

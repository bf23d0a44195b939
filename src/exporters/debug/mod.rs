//! Exporter `debug`: says what passes, as a line a batch (`basic`) or with its whole content (`normal`, `detailed`).
//!
//! In: every signal. Out: lines of the service's own log, or of its own on standard output (`use_internal_logger:
//! false`), where they have neither time nor level. The texts are the collector's, which people search for. Content is
//! printed as it is: behind redaction this is harmless, before it is not.

mod detailed;
mod message;
mod normal;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

use component::prelude::*;
use parking_lot::Mutex;
use telemetry::logs::{Sampler, Sampling};
use tracing::{Level, info};

use self::message::Message;

/// `debug`.
pub static FACTORY: ExporterFactory = ExporterFactory {
    kind: "debug",
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
        Ok(Exporter::Push(Arc::new(Debug {
            id: cx.id.to_string(),
            sampler: Sampler::new(Sampling {
                tick: std::time::Duration::from_secs(1),
                initial: config.sampling_initial,
                thereafter: config.sampling_thereafter,
            }),
            outputs: Mutex::new(None),
            config,
        })))
    },
};

/// `debug`: how much to say, and where.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `basic` (default), `normal` or `detailed`.
    pub verbosity: Verbosity,
    /// Equal messages written a second. Default 2.
    pub sampling_initial: u64,
    /// Then every so-manieth. Default 1: all.
    pub sampling_thereafter: u64,
    /// Through the service's log. Default true.
    pub use_internal_logger: bool,
    /// `stdout`, `stderr` or files; default `[stdout]`. Only without the internal logger.
    pub output_paths: Option<Vec<String>>,
}

/// How much is said of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum Verbosity {
    /// Counts.
    Basic,
    /// A line a record.
    Normal,
    /// Every field.
    Detailed,
}

struct Debug {
    id: String,
    config: Config,
    sampler: Sampler,
    /// `None` until started, and where the internal logger is used.
    outputs: Mutex<Option<Vec<Output>>>,
}

type Output = Box<dyn std::io::Write + Send>;

impl Push for Debug {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        if self.config.use_internal_logger {
            return ready(Ok(()));
        }
        ready(self.open())
    }

    fn export<'a>(&'a self, batch: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        self.say(batch);
        ready(Ok(Outcome::all()))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        for output in self.outputs.lock().take().iter_mut().flatten() {
            let _ = output.flush();
        }
        ready(())
    }
}

impl Debug {
    fn open(&self) -> Result<(), Fault> {
        let default = ["stdout".to_owned()];
        let paths = self.config.output_paths.as_deref().unwrap_or(&default);
        let outputs = paths
            .iter()
            .map(|path| open(path))
            .collect::<Result<Vec<_>, _>>()?;
        *self.outputs.lock() = Some(outputs);
        Ok(())
    }

    fn say(&self, batch: &Payload) {
        let (title, counts) = counts(batch);
        self.line(title, &counts);
        if self.config.verbosity != Verbosity::Basic {
            let mut text = String::new();
            // Chunks laid end to end are one request; as one they are numbered through.
            let request = batch.to_bytes();
            match self.config.verbosity {
                Verbosity::Normal => normal::write(batch.signal, &request, &mut text),
                _ => detailed::write(batch.signal, &request, &mut text),
            }
            if !text.is_empty() {
                self.line(text.trim_end_matches('\n'), &[]);
            }
        }
    }

    fn line(&self, message: &str, counts: &[(&'static str, usize)]) {
        if !self.sampler.admits(&Level::INFO, message, SystemTime::now()) {
            return;
        }
        if !self.config.use_internal_logger {
            return self.write(message, counts);
        }
        let component = self.id.as_str();
        match *counts {
            [("resource logs", groups), (_, records)] => {
                info!(
                    component,
                    "resource logs" = groups,
                    "log records" = records,
                    "{message}"
                );
            }
            [("resource spans", groups), (_, spans)] => {
                info!(component, "resource spans" = groups, "spans" = spans, "{message}");
            }
            [("resource profiles", groups), (_, samples)] => {
                info!(
                    component,
                    "resource profiles" = groups,
                    "sample records" = samples,
                    "{message}"
                );
            }
            [(_, groups), (_, metrics), (_, points)] => {
                info!(
                    component,
                    "resource metrics" = groups,
                    "metrics" = metrics,
                    "data points" = points,
                    "{message}"
                );
            }
            _ => info!(component, "{message}"),
        }
    }

    /// A line of its own: message, and the counts as JSON behind a tab. What cannot be written is nobody's loss.
    fn write(&self, message: &str, counts: &[(&'static str, usize)]) {
        let mut line = message.to_owned();
        for (i, (name, n)) in counts.iter().enumerate() {
            line.push_str(if i == 0 { "\t{" } else { ", " });
            line.push_str(&format!("\"{name}\": {n}"));
        }
        line.push_str(if counts.is_empty() { "\n" } else { "}\n" });
        for output in self.outputs.lock().iter_mut().flatten() {
            let _ = output.write_all(line.as_bytes()).and_then(|()| output.flush());
        }
    }
}

fn open(path: &str) -> Result<Output, Fault> {
    Ok(match path {
        "stdout" => Box::new(std::io::stdout()),
        "stderr" => Box::new(std::io::stderr()),
        path => {
            let file = PathBuf::from(path.strip_prefix("file://").unwrap_or(path));
            let opened = std::fs::OpenOptions::new().create(true).append(true).open(&file);
            Box::new(opened.map_err(|e| Fault::World(format!("cannot open {}: {e}", file.display())))?)
        }
    })
}

/// What a batch is called, and how much is in it.
fn counts(batch: &Payload) -> (&'static str, Vec<(&'static str, usize)>) {
    let chunks: Vec<_> = batch.chunks.iter().map(|c| c.bytes()).collect();
    let groups = chunks.iter().flat_map(|bytes| Message(bytes).each(1));
    match batch.signal {
        Signal::Logs => (
            "Logs",
            vec![("resource logs", groups.count()), ("log records", batch.items)],
        ),
        Signal::Traces => (
            "Traces",
            vec![("resource spans", groups.count()), ("spans", batch.items)],
        ),
        Signal::Profiles => (
            "Profiles",
            vec![
                ("resource profiles", groups.count()),
                ("sample records", batch.items),
            ],
        ),
        Signal::Metrics => {
            let (mut resources, mut metrics) = (0, 0);
            for group in groups {
                resources += 1;
                metrics += group.each(2).map(|scope| scope.each(2).count()).sum::<usize>();
            }
            (
                "Metrics",
                vec![
                    ("resource metrics", resources),
                    ("metrics", metrics),
                    ("data points", batch.items),
                ],
            )
        }
    }
}

// --- Config ---

impl Default for Config {
    fn default() -> Self {
        Self {
            verbosity: Verbosity::Basic,
            sampling_initial: 2,
            sampling_thereafter: 1,
            use_internal_logger: true,
            output_paths: None,
        }
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        if self.use_internal_logger && self.output_paths.is_some() {
            faults.push((
                "output_paths".into(),
                "output_paths is not supported when use_internal_logger is true".into(),
            ));
        }
    }
}

impl TryFrom<String> for Verbosity {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "basic" => Ok(Self::Basic),
            "normal" => Ok(Self::Normal),
            "detailed" => Ok(Self::Detailed),
            "none" => Err("verbosity level \"None\" is not supported".into()),
            _ => Err(format!(
                "unknown verbosity level {text:?}: write basic, normal or detailed"
            )),
        }
    }
}

#[cfg(test)]
mod tests;

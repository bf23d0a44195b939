//! Arguments to exit code: 0 on a clean stop and on success, 1 for every error; `archive` has codes of its own.

mod admin;
mod archive;
mod components;
mod gates;
mod journal;
mod ledger;
mod plan;
mod quickstart;
mod report;
mod run;
mod schema;

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, Parser, Subcommand};
use config::{Diag, Diags, Gates};

use crate::service::reload::Stamp;
use crate::service::{Loaded, providers};

/// A telemetry gateway that runs OpenTelemetry Collector configs.
#[derive(Parser)]
#[command(name = "weir", version = concat!("version ", env!("CARGO_PKG_VERSION")), about, disable_version_flag = true)]
struct Arguments {
    #[command(flatten)]
    sources: Sources,
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration without opening a port
    Validate,
    /// Show what a configuration becomes: segments, copies, queues, and who is answered when
    Plan(plan::Options),
    /// Show the configuration in effect: all sources in one, every default filled in
    #[command(alias = "print-initial-config")]
    PrintConfig(plan::Print),
    /// Print the JSON Schema of configurations, for editors
    Schema,
    /// List the components in this binary
    Components,
    /// Show what can be switched by --feature-gates
    #[command(name = "featuregate")]
    FeatureGate {
        /// One of them; all without it
        id: Option<String>,
    },
    /// Show a running gateway's books: what came, where it went, and whether they balance
    Ledger(ledger::Options),
    /// Show what queues on disk hold; export it, send it elsewhere, or give it up
    #[command(subcommand)]
    Journal(journal::Command),
    /// Check, list and read an evidence archive
    #[command(subcommand)]
    Archive(archive::Command),
    /// Write what an evidence archive shows of a period
    #[command(subcommand)]
    Report(report::Command),
    /// Serve OTLP on 4317 and 4318 with a built-in configuration, and show it at work
    Quickstart(quickstart::Options),
}

/// Where the configuration comes from.
#[derive(Args, Clone)]
struct Sources {
    /// Configuration file or URI (file:, env:, yaml:, http:, https:); may be given several times
    #[arg(long = "config", global = true, value_name = "URI")]
    config: Vec<String>,
    /// One value over the configuration, e.g. --set=exporters.debug.verbosity=detailed
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Switches, see the command featuregate; + or nothing is on, - is off
    #[arg(long, global = true, value_name = "A,-B", allow_hyphen_values = true)]
    feature_gates: Vec<String>,
}

/// What the arguments gave.
struct Given {
    /// Name and text of each source.
    texts: Vec<(String, String)>,
    gates: Gates,
}

impl Sources {
    /// Every `--config` in order, then every `--set` in order; all faults at once.
    fn read(&self) -> Result<Given, String> {
        let (gates, warnings) = Gates::parse(self.feature_gates.iter().map(String::as_str))
            .map_err(|faults| faults.to_string())?;
        warn_of(&warnings);
        let (mut texts, mut faults) = (Vec::new(), Vec::new());
        let sets = self
            .set
            .iter()
            .map(|a| config::set_source(a).map(|(name, text)| (name.to_string(), text)));
        for source in self.config.iter().map(|uri| providers::source(uri)).chain(sets) {
            match source {
                Ok(source) => texts.push(source),
                Err(Diags(more)) => faults.extend(more),
            }
        }
        Diags::check(faults).map_err(|faults| faults.report(true))?;
        if texts.is_empty() {
            return Err("at least one config flag must be provided: weir --config gateway.yaml".to_owned());
        }
        Ok(Given { texts, gates })
    }

    /// Reads all of it again.
    fn load(&self) -> Result<Loaded, Diags> {
        let files = self.files();
        let Given { texts, gates } = self.read().map_err(|told| Diag::new(None, "", told.trim_end()))?;
        let mut loaded = crate::service::load(&texts, &gates)?;
        loaded.files.extend(files);
        Ok(loaded)
    }

    /// The `--config` arguments that are files, as they are now.
    fn files(&self) -> Vec<Stamp> {
        let parts = self.config.iter().filter_map(|uri| config::source_uri(uri).ok());
        parts
            .filter(|(scheme, _)| *scheme == "file")
            .map(|(_, path)| Stamp::of(path.into()))
            .collect()
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return without_command(&error),
    };
    let done = match &arguments.command {
        None => run::run(&arguments.sources),
        Some(Command::Validate) => plan::validate(&arguments.sources),
        Some(Command::Plan(options)) => plan::plan(&arguments.sources, options),
        Some(Command::PrintConfig(how)) => plan::print(&arguments.sources, how),
        Some(Command::Schema) => schema::show(),
        Some(Command::Components) => components::list(),
        Some(Command::FeatureGate { id }) => gates::show(id.as_deref()),
        Some(Command::Ledger(options)) => ledger::ledger(&arguments.sources, options),
        Some(Command::Journal(command)) => journal::run(&arguments.sources, command),
        Some(Command::Archive(command)) => return archive::run(&arguments.sources, command),
        Some(Command::Report(command)) => return report::run(&arguments.sources, command),
        Some(Command::Quickstart(options)) => quickstart::quickstart(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            say_error(&format!("Error: {}", message.trim_end()));
            ExitCode::FAILURE
        }
    }
}

/// Help and version are answers; everything else is an error like any other, without a page of usage.
fn without_command(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            say(text.trim_end());
            ExitCode::SUCCESS
        }
        _ => {
            let told = text.strip_prefix("error: ").unwrap_or(&text);
            let told = told.split("\n\nUsage:").next().unwrap_or(told);
            let told = told.split("\n\nFor more information").next().unwrap_or(told);
            say_error(&format!("Error: {}", told.trim_end()));
            // There 1 is an answer: the archive is not what was sealed.
            match std::env::args_os().any(|argument| argument == "archive" || argument == "report") {
                true => ExitCode::from(archive::USAGE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// Prints to standard output. A reader that went away (`| head`) is no error.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
}

/// Prints to standard error.
fn say_error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints warnings to standard error.
fn warn_of(warnings: &[Diag]) {
    for warning in warnings {
        say_error(&format!("warning: {}", warning.to_string().trim_end()));
    }
}

/// The runtime that every long-running command uses.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("weir")
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))
}

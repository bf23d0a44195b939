//! Arguments to exit code: 0 on a clean stop and on success, 1 for every error.

mod components;
mod plan;
mod quickstart;
mod run;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use config::{Diag, Diags, Gates};

use crate::service::providers;

/// A telemetry gateway that runs OpenTelemetry Collector configs.
#[derive(Parser)]
#[command(name = "weir", version, about, disable_help_subcommand = true)]
struct Arguments {
    #[command(flatten)]
    sources: Sources,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration without opening a port
    Validate,
    /// Show what a configuration becomes: segments, copies, queues, and who is answered when
    Plan,
    /// List the components in this binary
    Components,
    /// Serve OTLP on 4317 and 4318 with a built-in configuration, and show it at work
    Quickstart(quickstart::Options),
}

/// Where the configuration comes from.
#[derive(Args)]
struct Sources {
    /// Configuration file or URI (file:, env:, yaml:); may be given several times
    #[arg(long = "config", global = true, value_name = "URI")]
    config: Vec<String>,
    /// One value over the configuration, e.g. --set=exporters.debug.verbosity=detailed
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Accepted for the collector's sake
    #[arg(long, global = true, value_name = "A,-B")]
    feature_gates: Vec<String>,
}

impl Sources {
    fn read(&self) -> Result<Vec<(String, String)>, String> {
        let (_, warnings) = Gates::parse(self.feature_gates.iter().map(String::as_str))
            .map_err(|faults| faults.to_string())?;
        warn_of(&warnings);
        let sets = self
            .set
            .iter()
            .map(|a| config::set_source(a).map(|(name, text)| (name.to_string(), text)));
        let sources: Result<Vec<_>, Diags> = self
            .config
            .iter()
            .map(|uri| providers::source(uri))
            .chain(sets)
            .collect();
        match sources {
            Ok(sources) if sources.is_empty() => {
                Err("at least one config flag must be provided: weir --config gateway.yaml".to_owned())
            }
            sources => sources.map_err(|faults| faults.to_string()),
        }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        None => run::run(&arguments.sources),
        Some(Command::Validate) => plan::validate(&arguments.sources),
        Some(Command::Plan) => plan::plan(&arguments.sources),
        Some(Command::Components) => components::list(),
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

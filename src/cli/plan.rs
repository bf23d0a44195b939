//! `weir validate`, `weir plan` and `weir print-config`: everything that can be known without opening a port.

use clap::{ArgAction, Args};

use super::{Given, Sources, say, warn_of};
use crate::service;

/// Prints nothing on standard output when the configuration is good; warnings go to standard error.
pub(super) fn validate(sources: &Sources) -> Result<(), String> {
    let Given { texts, gates } = sources.read()?;
    let (_, warnings) = service::validate(&texts, &gates).map_err(|faults| faults.report(true))?;
    warn_of(&warnings);
    Ok(())
}

/// What `plan` shows.
#[derive(Args)]
pub(super) struct Options {
    /// The configuration that runs: show what a reload from it would change, instead of the plan; may be given several
    /// times
    #[arg(long, value_name = "URI")]
    diff: Vec<String>,
}

/// Prints the plan, or what a reload would change.
pub(super) fn plan(sources: &Sources, options: &Options) -> Result<(), String> {
    let Given { texts, gates } = sources.read()?;
    if !options.diff.is_empty() {
        let old = Sources {
            config: options.diff.clone(),
            ..sources.clone()
        };
        let old = old.read()?;
        let diff = service::diff(&old.texts, &texts, &gates).map_err(|faults| faults.report(false))?;
        say(diff.to_string().trim_end());
        return Ok(());
    }
    let (plan, warnings) = service::validate(&texts, &gates).map_err(|faults| faults.report(false))?;
    warn_of(&warnings);
    say(plan.to_string().trim_end());
    Ok(())
}

/// How `print-config` prints.
#[derive(Args)]
pub(super) struct Print {
    /// Whether secrets are shown: redacted or unredacted
    #[arg(long, default_value = "redacted")]
    mode: String,
    /// What is printed: yaml or json
    #[arg(long, default_value = "yaml")]
    format: String,
    /// Refuse a configuration that breaks a rule
    #[arg(
        long,
        default_value_t = true,
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    validate: bool,
}

/// Prints the configuration with every default filled in; as YAML with an empty line behind it, as the collector does.
pub(super) fn print(sources: &Sources, how: &Print) -> Result<(), String> {
    let open = match how.mode.as_str() {
        "redacted" => false,
        "unredacted" => true,
        other => {
            return Err(format!(
                "invalid mode \"{other}\": modes are: redacted, unredacted"
            ));
        }
    };
    if !["yaml", "json"].contains(&how.format.as_str()) {
        return Err(format!("unrecognized print format: {}", how.format));
    }
    let Given { texts, gates } = sources.read()?;
    let run = || service::effective(&texts, &gates, how.validate);
    let done = if open { config::with_secrets(run) } else { run() };
    let (effective, warnings) = done.map_err(|faults| faults.report(false))?;
    warn_of(&warnings);
    match how.format.as_str() {
        "json" => say(&effective.to_json()),
        _ => say(&effective.to_yaml()),
    }
    Ok(())
}

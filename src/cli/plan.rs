//! `weir validate` and `weir plan`: everything that can be known without opening a port.

use super::{Sources, say, warn_of};
use crate::service;

/// Prints nothing on standard output when the configuration is good; warnings go to standard error.
pub(super) fn validate(sources: &Sources) -> Result<(), String> {
    check(sources).map(|_| ())
}

/// Prints the plan.
pub(super) fn plan(sources: &Sources) -> Result<(), String> {
    let plan = check(sources)?;
    say(plan.trim_end());
    Ok(())
}

fn check(sources: &Sources) -> Result<String, String> {
    let texts = sources.read()?;
    let (plan, warnings) = service::validate(&texts).map_err(|faults| faults.to_string())?;
    warn_of(&warnings);
    Ok(plan.to_string())
}

//! `weir ledger`: the books of a running gateway.

use clap::Args;
use http::Method;
use telemetry::ledger::Report;

use super::admin::{Target, escape};
use super::{Sources, runtime, say};
use crate::service::admin::LEDGER;

/// Options of `weir ledger`.
#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    target: Target,
    /// Only what this tenant sent
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Prints the books; an error if they do not balance.
pub(super) fn ledger(sources: &Sources, options: &Options) -> Result<(), String> {
    let client = options.target.client(sources)?;
    let path = match &options.tenant {
        Some(tenant) => format!("{LEDGER}?tenant={}", escape(tenant)),
        None => LEDGER.to_owned(),
    };
    let body = runtime()?.block_on(client.call(Method::GET, &path))?;
    let report: Report = serde_json::from_slice(&body).map_err(|e| format!("this is not a ledger: {e}"))?;
    match options.json {
        true => say(String::from_utf8_lossy(&body).trim_end()),
        false => say(report.to_text().trim_end()),
    }
    match report.balanced {
        true => Ok(()),
        false => Err("the books do not balance".to_owned()),
    }
}

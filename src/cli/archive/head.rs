//! `weir archive head`: the newest head of every log, to be kept where the archive's owner cannot reach it.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::logs::{Believed, Logs, Wanted};
use super::reading::Reading;
use super::which::Which;
use crate::cli::{Sources, say};

/// Options of `weir archive head`.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    believed: Believed,
    /// As JSON, which verify --pin takes
    #[arg(long)]
    json: bool,
    /// Accepted: this command logs nothing
    #[arg(long)]
    no_log: bool,
}

/// The document that `--json` prints and `verify --pin` reads.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heads {
    /// One for each log.
    pub(super) heads: Vec<Head>,
}

/// How far a log has grown.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// `<archive>/<writer>/<session>`.
    pub(super) origin: String,
    /// Entries.
    pub(super) size: u64,
    /// The tree's hash over them, in Base64.
    pub(super) root: String,
}

/// Runs it; the exit code.
pub(super) async fn run(sources: &Sources, arguments: &Arguments) -> Result<u8, Failure> {
    let archive = arguments.which.open(sources).await?;
    let wanted = Wanted {
        no_objects: true,
        ..Wanted::default()
    };
    let logs = Logs::read(&Reading::of(&archive), &arguments.believed, &wanted).await?;
    let is_broken = logs.tell();
    if logs.heads.is_empty() && !is_broken {
        return Err(Failure::unknown(format!(
            "{}: there are no logs here",
            archive.store.place()
        )));
    }
    match arguments.json {
        true => say(&serde_json::to_string(&heads(&logs)).unwrap_or_default()),
        false => say(text(&logs).trim_end()),
    }
    Ok(u8::from(is_broken))
}

fn heads(logs: &Logs) -> Heads {
    let heads = logs.heads.iter().map(|head| Head {
        origin: head.origin.clone(),
        size: head.size,
        root: head.root.to_base64(),
    });
    Heads {
        heads: heads.collect(),
    }
}

fn text(logs: &Logs) -> String {
    let mut out = String::new();
    for head in &logs.heads {
        let last = head.last.map_or_else(|| "-".to_owned(), |last| last.to_string());
        let closed = if head.is_closed { ", closed" } else { "" };
        out.push_str(&format!(
            "{}\n  {} entries, the last of {last}{closed}\n  root {}\n",
            head.origin,
            super::text::grouped(head.size),
            head.root.to_base64()
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use evidence::digest::sha256;

    use super::super::logs::LogHead;
    use super::*;

    #[test]
    fn heads_are_told_in_both_ways() {
        let root = sha256(b"x");
        let logs = Logs {
            heads: vec![LogHead {
                origin: "a/b/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab".to_owned(),
                size: 1_204,
                root,
                last: Some("2025-11-20T14:05:00.000Z".parse().expect("a time")),
                is_closed: true,
            }],
            ..Logs::default()
        };
        assert_eq!(
            text(&logs),
            format!(
                "a/b/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab\n  1,204 entries, the last of 2025-11-20T14:05:00.000Z, \
                 closed\n  root {}\n",
                root.to_base64()
            )
        );
        assert_eq!(
            serde_json::to_string(&heads(&logs)).expect("JSON"),
            format!(
                "{{\"heads\":[{{\"origin\":\"a/b/gw-0/019aa1c2-5be0-7abc-8def-0123456789ab\",\"size\":1204,\"root\":\"{}\"}}]}}",
                root.to_base64()
            )
        );
    }
}

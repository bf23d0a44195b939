//! `weir journal`: what queues on disk hold, and what to do about queues that nobody empties any more.
//!
//! Works on the directory of a storage while no gateway runs, or asks the running one where that has it open.

mod list;
mod offline;
pub(super) mod send;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::admin::{Target, escape};
use super::{Sources, runtime, say};
use crate::service::admin::{DISCARD, JOURNAL};
use offline::{Place, Storage};

/// What `weir journal` can do.
#[derive(Subcommand)]
pub(super) enum Command {
    /// List what is held, and for whom
    Ls {
        #[command(flatten)]
        which: Which,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write what a destination is owed to a file, as lines of OTLP/JSON; it stays in the journal
    Export {
        #[command(flatten)]
        which: Which,
        /// As `ls` lists it, such as exporter/otlp_grpc/next/logs
        #[arg(long, value_name = "NAME")]
        destination: String,
        /// A new file
        #[arg(long, value_name = "FILE")]
        output: String,
    },
    /// Send what a destination is owed to another place; what was taken there leaves the journal
    Drain {
        #[command(flatten)]
        which: Which,
        /// As `ls` lists it
        #[arg(long, value_name = "NAME")]
        destination: String,
        /// An exporter of --config, or where OTLP is taken: host:port for gRPC, http://host:port for HTTP
        #[arg(long, value_name = "EXPORTER|ENDPOINT")]
        to: String,
    },
    /// Give up what a destination is owed: these records are lost, and booked as dropped{discarded}
    Discard {
        #[command(flatten)]
        which: Which,
        /// As `ls` lists it
        #[arg(long, value_name = "NAME")]
        destination: String,
        /// Without it nothing is done
        #[arg(long)]
        yes: bool,
    },
}

/// Which journal.
#[derive(Args, Clone, Default)]
pub(super) struct Which {
    /// Directory of a storage whose gateway does not run; without it, that of --config
    #[arg(long, value_name = "DIR", conflicts_with = "admin")]
    directory: Option<String>,
    /// The file_storage of --config, if there are several
    #[arg(long, value_name = "ID")]
    storage: Option<String>,
    /// Of a directory that is encrypted: the file with its key
    #[arg(long, value_name = "FILE", requires = "directory")]
    key_file: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Runs one of them.
pub(super) fn run(sources: &Sources, command: &Command) -> Result<(), String> {
    match command {
        Command::Ls { which, json } => match which.find(sources)? {
            Place::Offline(storage) => list::show(&storage.told(), *json),
            Place::Running => list::show(&which.ask(sources, Method::GET, JOURNAL)?, *json),
        },
        Command::Export {
            which,
            destination,
            output,
        } => which.offline(sources)?.export(destination, output),
        Command::Drain {
            which,
            destination,
            to,
        } => {
            let storage = which.offline(sources)?;
            runtime()?.block_on(send::drain(&storage, sources, destination, to))
        }
        Command::Discard {
            which,
            destination,
            yes,
        } => {
            let given_up = match which.find(sources)? {
                Place::Offline(storage) => storage.discard(destination, *yes)?,
                Place::Running if *yes => {
                    let mut path = format!("{DISCARD}?destination={}", escape(destination));
                    if let Some(id) = &which.storage {
                        path.push_str(&format!("&storage={}", escape(id)));
                    }
                    let told = which.ask(sources, Method::POST, &path)?;
                    told["discarded_items"].as_u64().unwrap_or_default()
                }
                Place::Running => return Err(offline::NOT_YET.to_owned()),
            };
            say(&format!("{destination}: gave up {given_up} items"));
            Ok(())
        }
    }
}

impl Which {
    /// The journal, if no gateway has it.
    fn offline(&self, sources: &Sources) -> Result<Storage, String> {
        match self.find(sources)? {
            Place::Offline(storage) => Ok(*storage),
            Place::Running => Err(
                "the gateway runs and has this journal: stop it first, or configure the exporter again, which then \
                 delivers what it is owed"
                    .to_owned(),
            ),
        }
    }

    /// Asks the running gateway.
    fn ask(&self, sources: &Sources, method: Method, path: &str) -> Result<Value, String> {
        let client = self.target.client(sources)?;
        let body: Bytes = runtime()?.block_on(client.call(method, path))?;
        serde_json::from_slice(&body).map_err(|e| format!("this is not an answer: {e}"))
    }
}

//! `weir archive`: checks, lists and reads an evidence archive, in its store or as a copy of it.
//!
//! Unlike other commands these say by their exit code what they found: 0 all well, 1 integrity, 2 completeness,
//! 3 policy, 4 could not finish, 64 wrong usage. Nothing here writes to the archive.

pub(super) mod reading;
pub(super) mod text;
pub(super) mod verify;
pub(super) mod which;

use std::process::ExitCode;

use clap::Subcommand;

use super::{Sources, runtime, say_error};

/// What `weir archive` can do.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Check that an archive is whole and unchanged, claim by claim
    Verify(verify::Arguments),
}

/// The command line is wrong.
pub(super) const USAGE: u8 = 64;
/// Something could not be read, so nothing can be said.
const UNKNOWN: u8 = 4;

/// Why a command ends without an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) exit: u8,
    pub(super) told: String,
}

impl Failure {
    pub(super) fn usage(told: impl Into<String>) -> Failure {
        let told = told.into();
        Failure { exit: USAGE, told }
    }

    pub(super) fn unknown(told: impl Into<String>) -> Failure {
        let told = told.into();
        Failure { exit: UNKNOWN, told }
    }
}

/// Runs one of them.
pub(super) fn run(sources: &Sources, command: &Command) -> ExitCode {
    let work = async {
        match command {
            Command::Verify(arguments) => verify::run(sources, arguments).await,
        }
    };
    ended(work)
}

/// Does the work; its exit code, or why there is no answer.
pub(super) fn ended(work: impl Future<Output = Result<u8, Failure>>) -> ExitCode {
    let done = runtime()
        .map_err(Failure::unknown)
        .and_then(|runtime| runtime.block_on(work));
    let exit = done.unwrap_or_else(|failure| {
        say_error(&format!("Error: {}", failure.told.trim_end()));
        failure.exit
    });
    ExitCode::from(exit)
}

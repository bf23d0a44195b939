//! `weir archive`: checks, lists and reads an evidence archive, in its store or as a copy of it.
//!
//! Unlike other commands these say by their exit code what they found: 0 all well, 1 integrity, 2 completeness,
//! 3 policy, 4 could not finish, 64 wrong usage. What gives out records is logged in the archive; the rest of what reads
//! it leaves no trace.

mod cat;
mod doctor;
mod head;
mod init;
mod later;
mod logs;
mod ls;
mod object;
mod own_log;
pub(super) mod progress;
pub(super) mod reading;
mod restore;
mod select;
#[cfg(test)]
mod test_kit;
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
    /// Found an archive: its root key, who may write to it, whom to trust; print what its bucket needs
    Init(Box<init::Arguments>),
    /// Find out whether a store keeps what it promises, and what it will cost
    Doctor(doctor::Arguments),
    /// Show the newest head of every log, to be kept elsewhere
    Head(head::Arguments),
    /// List objects
    Ls(ls::Arguments),
    /// Print records
    Cat(Box<cat::Arguments>),
    /// Send what it holds to where OTLP is taken
    #[command(alias = "replay")]
    Restore(Box<restore::Arguments>),
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

/// Somebody wants an end. Once this is waited for, the signals do nothing else any more.
pub(super) async fn interrupted() -> Failure {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = async |kind: SignalKind| match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
    Failure::unknown("interrupted")
}

/// Runs one of them.
pub(super) fn run(sources: &Sources, command: &Command) -> ExitCode {
    let work = async {
        match command {
            Command::Verify(arguments) => verify::run(sources, arguments).await,
            Command::Init(arguments) => init::run(sources, arguments).await,
            Command::Doctor(arguments) => doctor::run(sources, arguments).await,
            Command::Head(arguments) => head::run(sources, arguments).await,
            Command::Ls(arguments) => ls::run(sources, arguments).await,
            Command::Cat(arguments) => cat::run(sources, arguments).await,
            Command::Restore(arguments) => restore::run(sources, arguments).await,
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

//! Options that these commands are known by and do not have yet: refused in words that help, not as unknown.

use std::path::PathBuf;

use clap::Args;

use super::Failure;

/// For objects that are encrypted before they are stored.
#[derive(Args, Clone, Default)]
pub(super) struct Identity {
    /// Not there yet: objects are not encrypted by this version
    #[arg(long, value_name = "FILE", hide = true)]
    identity: Option<PathBuf>,
}

/// A pipeline of a gateway that runs.
#[derive(Args, Clone, Default)]
pub(super) struct Pipeline {
    /// Not there yet: --to-otlp with a receiver of the pipeline does the same
    #[arg(long, value_name = "PIPELINE", hide = true)]
    pipeline: Option<String>,
}

impl Identity {
    /// Errors: it was said.
    pub(super) fn refused(&self) -> Result<(), Failure> {
        match &self.identity {
            None => Ok(()),
            Some(_) => Err(Failure::usage(
                "--identity: this version neither encrypts objects with age nor reads such objects; \
                 leave it out, and what is encrypted so is told",
            )),
        }
    }
}

impl Pipeline {
    /// Errors: it was said.
    pub(super) fn refused(&self) -> Result<(), Failure> {
        match &self.pipeline {
            None => Ok(()),
            Some(pipeline) => Err(Failure::usage(format!(
                "--pipeline {pipeline}: a gateway takes records by its receivers alone so far; give the pipeline a \
                 receiver otlp of its own and send there with --to-otlp"
            ))),
        }
    }
}

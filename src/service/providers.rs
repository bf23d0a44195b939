//! The I/O behind `--config` and `${...}`: files and the environment.

use config::{Diag, Diags, Provider};

/// Largest file that is read as configuration.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads the real world.
pub struct World;

impl Provider for World {
    fn retrieve(&self, scheme: &str, opaque: &str) -> Result<Option<String>, String> {
        match scheme {
            "env" => Ok(std::env::var(opaque).ok()),
            "file" => read(opaque)
                .map(Some)
                .map_err(|why| format!("unable to read the file file:{opaque}: {why}")),
            _ => Ok(None),
        }
    }
}

fn read(path: &str) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!(
            "{size} bytes are too many for a configuration: at most {FILE_BYTES_MAX}"
        ));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// One `--config` argument: its name for messages, and its text.
pub fn source(argument: &str) -> Result<(String, String), Diags> {
    let (scheme, opaque) = config::source_uri(argument)?;
    if scheme == "yaml" {
        return Ok(("yaml:".to_owned(), opaque.to_owned()));
    }
    let name = if scheme == "file" { opaque } else { argument };
    let fault = |message: String| Diags::from(Diag::new(None, "--config", message));
    match World.retrieve(scheme, opaque).map_err(fault)? {
        Some(text) => Ok((name.to_owned(), text)),
        None if scheme == "env" => Err(fault(format!("environment variable {opaque:?} is not set"))),
        None => Err(fault(format!(
            "unsupported scheme on URI {argument:?}: file, env or yaml"
        ))),
    }
}

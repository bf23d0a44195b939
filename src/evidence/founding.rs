//! `archive.json`, which makes a prefix an archive. It helps to find things, and is no source of trust.

use serde::{Deserialize, Serialize};

use crate::names::Layout;
use crate::time::Time;

/// More of it is not read.
pub const FOUNDING_BYTES_MAX: usize = 64 << 10;

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// Version of the format: 1.
    pub v: u64,
    /// The archive's name.
    pub archive: String,
    /// When it was founded.
    pub created: Time,
    /// How logs are hashed.
    pub tree: String,
    /// How their heads are written.
    pub head: String,
    /// How these are signed.
    pub sig: String,
    /// How objects are called: [`Layout::as_str`], or what a newer version calls it.
    pub layout: String,
    /// Keys that vouch for those of writers.
    pub root_vkeys: Vec<String>,
}

impl Founding {
    /// One of this version.
    pub fn new(archive: &str, created: Time, layout: Layout, root_vkeys: Vec<String>) -> Founding {
        Founding {
            v: 1,
            archive: archive.to_owned(),
            created,
            tree: "rfc6962-sha256".to_owned(),
            head: "c2sp.org/tlog-checkpoint".to_owned(),
            sig: "ed25519".to_owned(),
            layout: layout.as_str().to_owned(),
            root_vkeys,
        }
    }

    /// Reads the file.
    ///
    /// Errors: it is not JSON, or does not say all of this.
    pub fn parse(bytes: &[u8]) -> Result<Founding, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The file: one line of JSON.
    ///
    /// Errors: none that is known.
    pub fn line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_it_is_written() {
        let created = Time::from_millis(1_763_647_091_000);
        let founding = Founding::new("logs.example.com/prod", created, Layout::Hive, vec!["k".into()]);
        let line = founding.line().expect("JSON");
        let expected = r#"{"v":1,"archive":"logs.example.com/prod","created":"2025-11-20T13:58:11.000Z","tree":"rfc6962-sha256","head":"c2sp.org/tlog-checkpoint","sig":"ed25519","layout":"hive/v1","root_vkeys":["k"]}"#;
        assert_eq!(line, format!("{expected}\n").as_bytes());
        assert_eq!(Founding::parse(&line).expect("it is one"), founding);
        assert!(Founding::parse(b"{}").is_err());
    }
}

//! Objects that the collector's exporter `awss3` wrote, recorded by tier 3: Weir reads them, and writes their like.
//!
//! `records/` holds what was in them as the collector sent it over OTLP beside them, a message a signal; a folder
//! `MARSHALER-COMPRESSION` its objects; `manifest.json` the version, and of each object its name and what the store was
//! told of it. `UPDATE=1` with tier 3 writes all of it anew.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// What an object is written as.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub marshaler: &'static str,
    pub compression: &'static str,
}

/// Every way that both exporters know.
pub fn forms() -> Vec<Form> {
    let marshalers = ["otlp_json", "otlp_proto", "body"].into_iter();
    let form = |marshaler| {
        let of = move |compression| Form {
            marshaler,
            compression,
        };
        ["none", "gzip", "zstd"].map(of)
    };
    marshalers.flat_map(form).collect()
}

impl Form {
    /// `otlp_json-gzip`.
    pub fn name(self) -> String {
        format!("{}-{}", self.marshaler, self.compression)
    }

    /// Whether it holds records whole, for a receiver to read.
    pub fn is_otlp(self) -> bool {
        self.marshaler != "body"
    }

    /// The signals that it can hold.
    pub fn signals(self) -> &'static [&'static str] {
        match self.is_otlp() {
            true => &["logs", "metrics", "traces"],
            false => &["logs"],
        }
    }

    /// What the name of an object ends in, after its id.
    pub fn ending(self) -> String {
        let format = match self.marshaler {
            "otlp_json" => ".json",
            "otlp_proto" => ".binpb",
            _ => ".txt",
        };
        let compression = match self.compression {
            "gzip" => ".gz",
            "zstd" => ".zst",
            _ => "",
        };
        format!("{format}{compression}")
    }

    /// The recorded object of a signal, below [`folder`].
    pub fn file(self, signal: &str) -> String {
        format!("{}/{signal}{}", self.name(), self.ending())
    }

    /// What an object holds, inflated.
    pub fn inflated(self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self.compression {
            "gzip" => {
                flate2::read::GzDecoder::new(bytes)
                    .read_to_end(&mut out)
                    .expect("gzip");
            }
            "zstd" => out = zstd::stream::decode_all(bytes).expect("zstd"),
            _ => out.extend_from_slice(bytes),
        }
        out
    }
}

/// What the goldens are.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the collector's exporter.
    pub awss3exporter: String,
    /// By file below [`folder`].
    pub objects: BTreeMap<String, Told>,
}

/// What a store is told of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// With `ID` for its own.
    pub key: String,
    /// What an object keeps of them, by names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Told {
    /// A key and the headers it was put with. A store that is told of no class takes `STANDARD`.
    pub fn of<'a>(key: &str, headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Told {
        let is_kept = |name: &str| {
            let names = ["content-type", "content-encoding", "x-amz-storage-class"];
            names.contains(&name) || name.starts_with("x-amz-meta-")
        };
        let mut kept = BTreeMap::from([("x-amz-storage-class".to_owned(), "STANDARD".to_owned())]);
        for (name, value) in headers {
            let name = name.to_lowercase();
            if is_kept(&name) {
                kept.insert(name, value.to_owned());
            }
        }
        Told {
            key: without_id(key),
            headers: kept,
        }
    }

    /// The same at any time: with `#` for the digits of a key.
    pub fn steady(self) -> Told {
        let key = self.key.chars();
        Told {
            key: key.map(|c| if c.is_ascii_digit() { '#' } else { c }).collect(),
            ..self
        }
    }
}

/// A key without its id, a number or a UUID.
fn without_id(key: &str) -> String {
    let id = r"_([0-9]{9}|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})(\.[a-z.]+)?$";
    Regex::new(id).unwrap().replace(key, "_ID${2}").into_owned()
}

/// Where the goldens are.
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/integration-tests/peers/awss3"
    ))
}

/// A golden file.
pub fn golden(file: &str) -> Vec<u8> {
    let path = folder().join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The message of a signal, as the collector sent it over OTLP.
pub fn records(signal: &str) -> Vec<u8> {
    golden(&format!("records/{signal}.binpb"))
}

pub fn manifest() -> Manifest {
    serde_json::from_slice(&golden("manifest.json")).expect("a manifest")
}

#[test]
fn ids_and_times_are_left_out_of_keys() {
    let check = |key: &str, expected: &str| assert_eq!(Told::of(key, []).steady().key, expected, "{key}");
    check("d=1/logs_123456789.json.gz", "d=#/logs_ID.json.gz");
    check(
        "h 07/f-traces_019c2255-5a68-7abc-8def-0123456789ab.binpb",
        "h ##/f-traces_ID.binpb",
    );
    assert_eq!(without_id("d=1/logs_123456789.json"), "d=1/logs_ID.json");
    check("logs_019c2255-5a68-7abc-8def-0123456789ab", "logs_ID");
    // No id of theirs.
    check("logs_12345678.json", "logs_########.json");
    check("logs_123456789.JSON", "logs_#########.JSON");
}

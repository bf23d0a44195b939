//! The configurations that ran, as texts: the gateway keeps each beside its audit trail, which names it by its digest.

use std::collections::BTreeMap;

use bytes::Bytes;
use evidence::audit;
use evidence::digest::sha256;

use super::fold::{AuditObject, List};
use super::trail::shown;

/// All of them together.
const BYTES_MAX: usize = 64 << 20;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// By digest, 64 digits.
    pub(super) kept: BTreeMap<String, String>,
    /// What could not be read, and texts that are not what they are called.
    pub(super) faults: List,
    bytes: usize,
}

impl Texts {
    /// Takes what an object holds.
    pub(super) fn take(&mut self, object: &AuditObject, plain: Result<Bytes, String>) {
        let place = format!("{}/{}#{}", object.writer, object.session, object.index);
        let mut fault = |what: &str| self.faults.push(object.admitted, &place, vec![shown(what)]);
        match plain.and_then(|bytes| audit::texts(&bytes)) {
            Err(why) => fault(&why),
            Ok(texts) => {
                for text in texts {
                    if sha256(text.body.as_bytes()) != text.sha256 {
                        fault(&format!("it is not what it is called: {}", text.sha256));
                    } else if self.kept.contains_key(&text.sha256.to_string()) {
                        continue;
                    } else if self.bytes + text.body.len() > BYTES_MAX {
                        fault(&format!("no room for {}", text.sha256));
                    } else {
                        self.bytes += text.body.len();
                        self.kept.insert(text.sha256.to_string(), text.body);
                    }
                }
            }
        }
    }
}

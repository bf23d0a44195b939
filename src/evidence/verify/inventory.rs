//! What a listing of the evidence shows: which logs, which files, and what hides behind newer versions.

use std::collections::BTreeMap;

use crate::names::{EvidenceKey, LogFile, Session};
use crate::time::Time;

/// One version of a key, or one delete marker, as a store lists it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// Below the store's prefix.
    pub key: String,
    /// None in a store without versions.
    pub version: Option<String>,
    /// When the store took it.
    pub modified: Option<Time>,
    /// Whether it is a delete marker.
    pub deleted: bool,
}

/// A file to be read: the oldest version of its key, which is the one that was written when there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Of a segment its first entry, of a head its size.
    pub number: u64,
    /// Below the store's prefix.
    pub key: String,
    /// The version to ask for.
    pub version: Option<String>,
    /// When the store took it.
    pub modified: Option<Time>,
}

/// The files of one log, each in the order of its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionFiles {
    /// Give all of these to [`SessionReader::checkpoint`](super::SessionReader::checkpoint) first,
    pub checkpoints: Vec<File>,
    /// then these to [`SessionReader::segment`](super::SessionReader::segment).
    pub segments: Vec<File>,
}

/// All evidence of a store.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// By writer and session.
    pub logs: BTreeMap<(String, Session), SessionFiles>,
    /// Endorsements of keys.
    pub keys: Vec<File>,
    oddities: Vec<(&'static str, String, String)>,
}

impl Inventory {
    /// Sorts a listing of `_weir/v1/` in any order; what it does not know, it leaves. Of two versions with equal times
    /// the one listed later is the older, as S3 lists the newest first.
    pub fn of(listing: impl IntoIterator<Item = Listed>) -> Inventory {
        let mut by_key: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
        for listed in listing {
            by_key.entry(listed.key.clone()).or_default().push(listed);
        }
        let mut inventory = Inventory::default();
        for (key, mut versions) in by_key {
            versions.reverse();
            versions.sort_by_key(|v| v.modified);
            if versions.iter().any(|v| v.deleted) {
                let detail = "a delete marker hides it from ordinary listings".to_owned();
                inventory.oddities.push(("delete_marked", key.clone(), detail));
            }
            let mut real = versions.into_iter().filter(|v| !v.deleted);
            let Some(oldest) = real.next() else {
                continue;
            };
            let newer = real.count();
            if newer > 0 {
                let detail = format!("{newer} newer versions; the oldest is read");
                inventory.oddities.push(("shadowed", key.clone(), detail));
            }
            inventory.take(oldest);
        }
        inventory
    }

    fn take(&mut self, listed: Listed) {
        let file = |number| File {
            number,
            key: listed.key.clone(),
            version: listed.version.clone(),
            modified: listed.modified,
        };
        match EvidenceKey::parse(&listed.key) {
            Some(EvidenceKey::Key(_)) => self.keys.push(file(0)),
            Some(EvidenceKey::Log(writer, session, LogFile::Segment(start))) => {
                self.logs
                    .entry((writer, session))
                    .or_default()
                    .segments
                    .push(file(start));
            }
            Some(EvidenceKey::Log(writer, session, LogFile::Checkpoint(size))) => {
                self.logs
                    .entry((writer, session))
                    .or_default()
                    .checkpoints
                    .push(file(size));
            }
            _ => {}
        }
    }

    pub(super) fn oddities(&self) -> &[(&'static str, String, String)] {
        &self.oddities
    }
}

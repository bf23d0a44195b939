//! Whose signature counts for which log.

use std::collections::BTreeSet;

use crate::names::{Origin, Session};
use crate::note::{Endorsement, NoteError, Policy, Vkey, key_id};
use crate::time::Time;

/// A policy, and the endorsements that its root keys made.
#[derive(Debug, Clone)]
pub struct Trust {
    pub(super) policy: Policy,
    endorsements: Vec<Endorsement>,
}

impl Trust {
    /// What a policy alone says.
    pub fn new(policy: Policy) -> Trust {
        let endorsements = Vec::new();
        Trust { policy, endorsements }
    }

    /// Takes a file of `keys/`; refuses one that no trusted root signed.
    pub fn endorse(&mut self, bytes: &[u8]) -> Result<(), NoteError> {
        self.endorsements
            .push(Endorsement::verify(bytes, &self.policy.roots)?);
        Ok(())
    }

    /// Whose log lies under a writer's and a session's name: the one that a `log` line names, else that of the only
    /// archive in the policy.
    pub(super) fn origin(&self, writer: &str, session: &Session) -> Option<Origin> {
        let named = self
            .policy
            .logs
            .iter()
            .filter_map(|vkey| vkey.name().parse::<Origin>().ok());
        let mut archives = BTreeSet::new();
        for origin in named {
            if origin.writer() == writer && origin.session() == session {
                return Some(origin);
            }
            archives.insert(origin.archive().to_owned());
        }
        archives.extend(self.policy.roots.iter().map(|root| root.name().to_owned()));
        match archives.first() {
            Some(archive) if archives.len() == 1 => Origin::new(archive, writer, session.clone()).ok(),
            _ => None,
        }
    }

    /// The keys with which a session may begin.
    pub(super) fn first_keys(&self, origin: &Origin) -> Vec<Vkey> {
        let mut keys: Vec<Vkey> = self
            .policy
            .logs
            .iter()
            .filter(|k| k.name() == origin.as_str())
            .cloned()
            .collect();
        let endorsed = self
            .endorsements
            .iter()
            .filter(|e| e.archive == origin.archive() && (e.writer == "*" || e.writer == origin.writer()));
        keys.extend(endorsed.filter_map(|e| Vkey::new(origin.as_str(), e.public).ok()));
        keys.sort();
        keys.dedup();
        keys
    }

    /// Whether a key may begin a session at this time.
    pub(super) fn may_open(&self, origin: &Origin, key: &Vkey, at: Time) -> bool {
        let by_name = self.policy.logs.contains(key);
        let covers = |e: &Endorsement| e.covers(origin.archive(), origin.writer(), key.public(), at);
        by_name || self.endorsements.iter().any(covers)
    }

    /// Whether a key's word still counts for a head of this size.
    pub(super) fn is_revoked(&self, origin: &Origin, key: &Vkey, size: u64) -> bool {
        let ids = [key.id(), key_id(origin.archive(), key.public())];
        let mut revoked = self.policy.revoked.iter();
        revoked.any(|r| ids.contains(&r.id) && size >= r.from_size)
    }
}

//! Whom a verifier trusts: a text in the syntax of C2SP's tlog-policy, with three kinds of lines of our own.
//!
//! `log <vkey>` trusts a session's key, `root <vkey>` whoever the archive's root key endorses, `pin <origin> <size>
//! <root>` remembers a head, `revoked <key id> from-size <n>` takes a key's word back. Witnesses are read and kept;
//! none is asked yet, so a `quorum` other than `none` is refused rather than ignored.

use std::collections::BTreeSet;

use super::{KeyId, NoteError, Vkey};
use crate::digest::{Digest, Digest as Hash, sha256, unhex};
use crate::names::Origin;

/// Longer policies are refused.
const POLICY_BYTES_MAX: usize = 1 << 20;

/// Whom to trust, and what is already known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Keys of sessions.
    pub logs: Vec<Vkey>,
    /// Root keys of archives.
    pub roots: Vec<Vkey>,
    /// Heads that were seen before.
    pub pins: Vec<Pin>,
    /// Keys whose word ends somewhere.
    pub revoked: Vec<Revocation>,
    /// Names of witnesses, and their keys.
    pub witnesses: Vec<(String, Vkey)>,
    /// Of the text.
    pub sha256: Hash,
}

/// A head that was seen before and must still be part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Whose.
    pub origin: Origin,
    /// Entries.
    pub size: u64,
    /// The tree's hash at that size.
    pub root: Digest,
}

/// A key that is not trusted for heads of this size and above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Id of the key: under the session's name, or under the archive's, which then means every session.
    pub id: KeyId,
    /// The first size for which it does not count.
    pub from_size: u64,
}

/// What is wrong with a policy, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PolicyError {
    /// Counted from 1.
    pub line: usize,
    /// For people.
    pub what: String,
}

impl Policy {
    /// Reads a policy. Empty lines and those that begin with `#` say nothing; unknown words are refused, for a reader
    /// that skips a restriction trusts too much.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let wrong = |line: usize, what: &str| PolicyError {
            line: line + 1,
            what: what.to_owned(),
        };
        if text.len() > POLICY_BYTES_MAX {
            return Err(wrong(0, "a policy is at most 1 MiB"));
        }
        let mut policy = Policy {
            logs: Vec::new(),
            roots: Vec::new(),
            pins: Vec::new(),
            revoked: Vec::new(),
            witnesses: Vec::new(),
            sha256: sha256(text.as_bytes()),
        };
        let mut names = BTreeSet::from(["none".to_owned()]);
        for (n, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let vkey = |text: &str| text.parse::<Vkey>().map_err(|e: NoteError| wrong(n, e.0));
            match words[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                // A log may have a URL of witnesses' use.
                ["log", key] | ["log", key, _] => policy.logs.push(vkey(key)?),
                ["root", key] => policy.roots.push(vkey(key)?),
                ["witness", name, key] | ["witness", name, key, _] => {
                    if !names.insert(name.to_owned()) {
                        return Err(wrong(n, "a name stands twice"));
                    }
                    policy.witnesses.push((name.to_owned(), vkey(key)?));
                }
                ["group", name, threshold, ref members @ ..] => {
                    let fits =
                        matches!(threshold, "any" | "all") || threshold.parse::<u32>().is_ok_and(|k| k > 0);
                    if !fits || members.is_empty() || !members.iter().all(|m| names.contains(*m)) {
                        return Err(wrong(
                            n,
                            "group <name> <any|all|number> <names of witnesses and groups>",
                        ));
                    }
                    if !names.insert(name.to_owned()) {
                        return Err(wrong(n, "a name stands twice"));
                    }
                }
                ["quorum", "none"] => {}
                ["quorum", ..] => return Err(wrong(n, "witnesses are not asked yet: only \"quorum none\"")),
                ["pin", origin, size, root] => {
                    let pin = parse_pin(origin, size, root);
                    policy
                        .pins
                        .push(pin.ok_or_else(|| wrong(n, "pin <origin> <size> <base64 root>"))?);
                }
                ["revoked", id, "from-size", size] => {
                    let (Some(id), Ok(from_size)) = (unhex(id), size.parse()) else {
                        return Err(wrong(n, "revoked <8 hex digits> from-size <n>"));
                    };
                    policy.revoked.push(Revocation { id, from_size });
                }
                _ => return Err(wrong(n, "log, root, pin, revoked, witness, group or quorum")),
            }
        }
        Ok(policy)
    }

    /// The archive that it is about, if all its lines agree.
    pub fn archive(&self) -> Option<&str> {
        let of_log = |vkey: &Vkey| vkey.name().rsplitn(3, '/').nth(2).map(str::len);
        let logs = self
            .logs
            .iter()
            .filter_map(|vkey| Some(&vkey.name()[..of_log(vkey)?]));
        let mut all = logs.chain(self.roots.iter().map(Vkey::name));
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }
}

fn parse_pin(origin: &str, size: &str, root: &str) -> Option<Pin> {
    Some(Pin {
        origin: origin.parse().ok()?,
        size: size.parse().ok()?,
        root: Digest::from_base64(root).ok()?,
    })
}

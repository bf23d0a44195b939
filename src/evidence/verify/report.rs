//! What a verification says: findings, a result for each claim, a verdict and an exit code.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Level;
use crate::digest::Digest;
use crate::time::{Second, Time};

/// Of each claim at most so many findings are kept; all are counted.
pub const FINDINGS_MAX: usize = 1_000;

/// What can be claimed of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Claim {
    /// Every object is byte for byte what was sealed.
    I1,
    /// No entry was changed, moved, put in or taken out.
    I2,
    /// The holder of the writer's key wrote it.
    I3,
    /// No entry below the newest known head is missing.
    C1,
    /// No object is missing.
    C2,
    /// No record vanished inside the gateway.
    C3,
    /// No time without a live writer went unreported.
    C4,
    /// No session and no tail was cut off.
    C5,
    /// Every object was and is under the promised lock.
    P1,
    /// The store's clock agrees with the writer's.
    P2,
}

impl Claim {
    /// All ten, in the order of the report.
    pub const ALL: [Claim; 10] = [
        Claim::I1,
        Claim::I2,
        Claim::I3,
        Claim::C1,
        Claim::C2,
        Claim::C3,
        Claim::C4,
        Claim::C5,
        Claim::P1,
        Claim::P2,
    ];

    fn exit_code(self) -> u8 {
        match self {
            Claim::I1 | Claim::I2 | Claim::I3 => 1,
            Claim::C1 | Claim::C2 | Claim::C3 | Claim::C4 | Claim::C5 => 2,
            Claim::P1 | Claim::P2 => 3,
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To be looked at; the claim stands.
    Warn,
    /// The claim does not hold.
    Fail,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of which claim.
    pub claim: Claim,
    /// How bad.
    pub severity: Severity,
    /// A word for programs.
    pub what: &'static str,
    /// A key, `<writer>/<session>#<index>` or an origin.
    #[serde(rename = "where")]
    pub place: String,
    /// For people: expected and found.
    pub detail: String,
}

/// The findings of one claim, bounded, and how often it was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) checked: u64,
    pub(super) failed: u64,
    pub(super) warned: u64,
}

/// Findings as they come up.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    pub(super) tallies: BTreeMap<Claim, Tally>,
    pub(super) kept: Vec<Finding>,
}

impl Findings {
    pub(super) fn checked(&mut self, claim: Claim, n: u64) {
        self.tallies.entry(claim).or_default().checked += n;
    }

    pub(super) fn fail(
        &mut self,
        claim: Claim,
        what: &'static str,
        place: impl Into<String>,
        detail: String,
    ) {
        self.add(Finding {
            claim,
            severity: Severity::Fail,
            what,
            place: place.into(),
            detail,
        });
    }

    pub(super) fn warn(
        &mut self,
        claim: Claim,
        what: &'static str,
        place: impl Into<String>,
        detail: String,
    ) {
        self.add(Finding {
            claim,
            severity: Severity::Warn,
            what,
            place: place.into(),
            detail,
        });
    }

    fn add(&mut self, finding: Finding) {
        let tally = self.tallies.entry(finding.claim).or_default();
        let count = match finding.severity {
            Severity::Warn => &mut tally.warned,
            Severity::Fail => &mut tally.failed,
        };
        *count += 1;
        // Of each severity its share, so that many warnings never hide a failure.
        if *count <= FINDINGS_MAX as u64 {
            self.kept.push(finding);
        }
    }

    pub(super) fn merge(&mut self, other: Findings) {
        for finding in other.kept {
            let tally = self.tallies.entry(finding.claim).or_default();
            let count = match finding.severity {
                Severity::Warn => tally.warned,
                Severity::Fail => tally.failed,
            };
            let kept = self
                .kept
                .iter()
                .filter(|f| (f.claim, f.severity) == (finding.claim, finding.severity));
            if count < FINDINGS_MAX as u64 && kept.count() < FINDINGS_MAX {
                self.kept.push(finding);
            }
        }
        for (claim, tally) in other.tallies {
            let sum = self.tallies.entry(claim).or_default();
            sum.checked += tally.checked;
            sum.failed += tally.failed;
            sum.warned += tally.warned;
        }
    }
}

/// How a claim stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It holds, with something to look at.
    Warn,
    /// It does not hold.
    Fail,
    /// Nobody promised it: the archive has no lock.
    NotMet,
    /// Not looked at on this level, or there was nothing to look at.
    NotChecked,
}

/// A time without a live writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hole {
    /// Whose.
    pub writer: String,
    /// The last sign of life before.
    pub from: Time,
    /// The first sign of life after; none if there is none.
    pub to: Option<Time>,
    /// `unclean_restart`, `restart`, `silent`, `between_sessions` or `stopped`.
    pub why: &'static str,
}

/// The result of one claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClaimResult {
    /// How it stands.
    pub result: Outcome,
    /// Things looked at.
    pub checked: u64,
    /// Findings that fail it.
    pub failed: u64,
    /// Findings that only warn.
    pub warnings: u64,
    /// For C4: the holes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionResult {
    /// Whose.
    pub origin: String,
    /// Entries below its newest good head.
    pub size: u64,
    /// The hash of that head; none if no head is good.
    #[serde(serialize_with = "base64_or_null")]
    pub root: Option<Digest>,
    /// Ids of the keys that signed.
    pub keys: Vec<String>,
    /// Whether it ended with a `close` entry.
    pub closed: bool,
}

fn base64_or_null<S: serde::Serializer>(root: &Option<Digest>, s: S) -> Result<S::Ok, S::Error> {
    root.as_ref().map(Digest::to_base64).serialize(s)
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Sums over all sessions, within the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// Objects named by entries.
    pub objects: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// Their records.
    pub records: u64,
    /// Objects looked at in the store.
    pub present: u64,
    /// Objects that are gone and should not be.
    pub missing: u64,
    /// Objects that are not what was sealed.
    pub altered: u64,
    /// Objects whose records were counted, on level `decode`.
    pub decoded: u64,
    /// Objects that are gone and may be.
    pub expired: u64,
    /// Objects whose keys were destroyed, as the log says.
    pub shredded: u64,
    /// Objects that no entry names.
    pub orphans: u64,
    /// Objects with names that no archive gives, beside one whose layout allows that. Nobody looked at them.
    #[serde(skip_serializing_if = "is_zero")]
    pub others: u64,
    /// Entries of all logs.
    pub entries: u64,
    /// Checkpoints with a trusted signature.
    pub checkpoints: u64,
    /// Records admitted, as the ledgers say.
    pub admitted: u64,
    /// Records dropped by rules, merged or failed, as the ledgers say.
    pub removed: u64,
    /// Records lost, as the ledgers say.
    pub lost: u64,
    /// Records that may be twice, as the ledgers say.
    pub dup: u64,
}

/// All that a verification says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// 1.
    pub v: u64,
    /// Program and version.
    pub tool: String,
    /// Name of the archive, if it is known.
    pub archive: Option<String>,
    /// Begin of the range.
    pub from: Option<Time>,
    /// End of the range.
    pub to: Option<Time>,
    /// How closely objects were looked at.
    pub level: Level,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub finished: Time,
    /// Of the trust policy.
    pub policy_sha256: Digest,
    /// `verified`, `integrity_failure`, `completeness_failure`, `policy_failure` or `unknown`.
    pub verdict: &'static str,
    /// For the process.
    pub exit: u8,
    /// Warnings in all.
    pub warnings: u64,
    /// Every claim.
    pub claims: BTreeMap<Claim, ClaimResult>,
    /// Every log.
    pub sessions: Vec<SessionResult>,
    /// Sums.
    pub totals: Totals,
    /// The earliest end of a lock that the store told.
    pub earliest_unlock: Option<Second>,
    /// Objects under a legal hold, as the store told.
    pub holds: u64,
    /// What was wrong; at most [`FINDINGS_MAX`] of a claim and severity.
    pub findings: Vec<Finding>,
    /// What could not be read.
    pub troubles: Vec<String>,
    /// What no verification can know.
    pub not_proved: Vec<&'static str>,
}

/// What every report must say.
const NOT_PROVED: [&str; 3] = [
    "that a source sent everything: OTLP has no sequence numbers",
    "that the writer told the truth before it signed",
    "that no tail beyond the newest head known outside the store was removed",
];
/// And of an archive beside the objects of others.
const NOT_PROVED_SHARED: &str =
    "that objects with names that no archive gives are nobody's: others may write beside this one";

pub(super) fn not_proved(is_shared: bool) -> Vec<&'static str> {
    let shared = is_shared.then_some(NOT_PROVED_SHARED);
    NOT_PROVED.into_iter().chain(shared).collect()
}

/// The verdict and the exit code of some results.
pub(super) fn verdict(
    claims: &BTreeMap<Claim, ClaimResult>,
    troubled: bool,
    warnings_as_errors: bool,
) -> (&'static str, u8) {
    let failed = |(claim, result): (&Claim, &ClaimResult)| match result.result {
        Outcome::Fail => Some(claim.exit_code()),
        _ if warnings_as_errors && result.warnings > 0 => Some(3),
        _ => None,
    };
    match claims.iter().filter_map(failed).min() {
        Some(1) => ("integrity_failure", 1),
        Some(2) => ("completeness_failure", 2),
        Some(_) => ("policy_failure", 3),
        None if troubled => ("unknown", 4),
        None => ("verified", 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_exit_counts_and_unknown_only_if_there_is_no_other() {
        let check = |failed: &[Claim], warned: &[Claim], troubled, strict, expected| {
            let claims = Claim::ALL.iter().map(|claim| {
                let (fails, warns) = (failed.contains(claim), warned.contains(claim));
                let result = ClaimResult {
                    result: match (fails, warns) {
                        (true, _) => Outcome::Fail,
                        (false, true) => Outcome::Warn,
                        (false, false) => Outcome::Pass,
                    },
                    checked: 1,
                    failed: fails.into(),
                    warnings: warns.into(),
                    holes: Vec::new(),
                };
                (*claim, result)
            });
            let found = verdict(&claims.collect(), troubled, strict);
            assert_eq!(found, expected, "{failed:?} {warned:?} {troubled} {strict}");
        };
        let (integrity, completeness) = (("integrity_failure", 1), ("completeness_failure", 2));
        let (policy, unknown, verified) = (("policy_failure", 3), ("unknown", 4), ("verified", 0));
        check(&[], &[], false, false, verified);
        for claim in [Claim::I1, Claim::I2, Claim::I3] {
            check(&[claim], &[], false, false, integrity);
        }
        for claim in [Claim::C1, Claim::C2, Claim::C3, Claim::C4, Claim::C5] {
            check(&[claim], &[], false, false, completeness);
        }
        for claim in [Claim::P1, Claim::P2] {
            check(&[claim], &[], false, false, policy);
        }
        check(&[Claim::P1, Claim::C2, Claim::I1], &[], true, true, integrity);
        check(&[Claim::P2, Claim::C5], &[Claim::I2], true, true, completeness);
        check(&[Claim::P1], &[], true, false, policy);
        check(&[], &[], true, false, unknown);
        check(&[], &[Claim::C4], true, false, unknown);
        check(&[], &[Claim::C4], false, false, verified);
        check(&[], &[Claim::C4], false, true, policy);
        check(&[], &[Claim::I1], true, true, policy);
    }
}

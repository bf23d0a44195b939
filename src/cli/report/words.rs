//! The report's first lines: what the figures say, in sentences.

use std::collections::BTreeMap;

use evidence::verify::{Claim, Level};

use super::controls::Make;
use super::trail::Trail;
use crate::cli::archive::text::grouped;

impl Make<'_> {
    /// A sentence for each of the first questions.
    pub(super) fn summary(&self) -> Vec<String> {
        let (facts, verified) = (self.input.facts, self.input.verified);
        let sums = &facts.sums;
        let mut first = match self.of_books(0) {
            Ok(_) => format!(
                "Completeness: {} records admitted to the archive; {} archived; {} lost; {} waiting at the end.",
                grouped(sums.admitted),
                grouped(sums.archived),
                grouped(sums.lost),
                grouped(facts.held),
            ),
            Err(why) => format!("Completeness: not available: {why}."),
        };
        match &self.trail {
            Err(why) => first.push_str(&format!(" Removed by rules before it: not available: {why}.")),
            Ok(trail) if trail.drops.is_empty() => {
                first.push_str(" The audit trail tells of no record removed before it.")
            }
            Ok(trail) => {
                let told = removed(trail);
                first.push_str(&format!(" Removed by rules before it: {told}."));
            }
        }
        let totals = &verified.totals;
        let second = match self.of_store(totals.present.saturating_sub(totals.altered)) {
            Ok(equal) => format!(
                "Integrity: {} of {} objects equal to their sealed digest ({}); {} missing.",
                grouped(equal),
                grouped(totals.objects),
                match verified.level {
                    Level::Full | Level::Decode => "read and hashed",
                    Level::Log | Level::Heads => "by what the store says",
                },
                grouped(totals.missing),
            ),
            Err(why) => format!("Integrity: not available: {why}."),
        };
        let below = verified.claims.get(&Claim::P1).map_or(0, |claim| claim.failed);
        let third = match self.of_locks(below) {
            Ok(0) => "Retention: no object has less than its promised date.".to_owned(),
            Ok(n) => format!(
                "Retention: {} objects have less than their promised date.",
                grouped(n)
            ),
            Err(why) => format!("Retention: not available: {why}."),
        };
        let fourth = match (facts.tests_ok + facts.tests_failed, facts.deletes_tried) {
            (0, _) => "WORM control: not available: no lock was tried in this period.".to_owned(),
            (n, 0) => format!(
                "WORM control: tested {}; deleting was not tried.",
                several(n, "time")
            ),
            (n, tried) => format!(
                "WORM control: tested {}; {} of {} deletions refused.",
                several(n, "time"),
                grouped(facts.deletes_refused),
                grouped(tried),
            ),
        };
        let claims = verified.claims.values();
        let found = claims
            .map(|claim| claim.failed.saturating_add(claim.warnings))
            .sum();
        let fifth = format!(
            "Verification: {}, {}; {} without a sign of life; {}.",
            verified.verdict.replace('_', " "),
            several(found, "finding"),
            several(self.holes.len() as u64, "span"),
            several(facts.gaps.total, "gap"),
        );
        vec![first, second, third, fourth, fifth]
    }
}

/// What rules removed, with the configurations that had them.
fn removed(trail: &Trail) -> String {
    const TOLD: usize = 5;
    let mut rules: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for (rule, (_, n)) in &trail.drops {
        *rules.entry((&rule.rule, &rule.config, &rule.change)).or_default() += n;
    }
    let mut told: Vec<String> = Vec::new();
    for ((rule, config, change), n) in rules.iter().take(TOLD) {
        let mut of = Vec::new();
        if !config.is_empty() {
            of.push(format!("configuration {}", short(config)));
        }
        if !change.is_empty() {
            of.push(format!("change {change}"));
        }
        let of = if of.is_empty() {
            String::new()
        } else {
            format!(" ({})", of.join(", "))
        };
        told.push(format!("{} by rule {rule}{of}", grouped(*n)));
    }
    if rules.len() > TOLD {
        told.push(format!("and by {} more", rules.len() - TOLD));
    }
    told.join("; ")
}

/// A digest's first digits.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}

/// `1 gap`, `2 gaps`.
fn several(n: u64, what: &str) -> String {
    let end = if n == 1 { "" } else { "s" };
    format!("{} {what}{end}", grouped(n))
}

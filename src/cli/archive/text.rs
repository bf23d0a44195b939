//! Reports for people.

use std::collections::BTreeMap;

use evidence::time::Time;
use evidence::verify::{Claim, ClaimResult, Level, Outcome, Report, Severity};

/// Findings that are printed; JSON has them all.
const FINDINGS_SHOWN: usize = 50;

/// A report of one line a claim.
pub(super) fn report(report: &Report) -> String {
    let totals = &report.totals;
    let time = |time: Option<Time>, open: &str| time.map_or_else(|| open.to_owned(), |t| t.to_string());
    let mut out = format!(
        "archive   {}   period {} .. {}\n",
        report.archive.as_deref().unwrap_or("unknown"),
        time(report.from, "begin"),
        time(report.to, "now"),
    );
    let mut writers: BTreeMap<&str, u64> = BTreeMap::new();
    for session in &report.sessions {
        let mut parts = session.origin.rsplitn(3, '/');
        *writers.entry(parts.nth(1).unwrap_or_default()).or_default() += 1;
    }
    let writers: Vec<String> = writers
        .iter()
        .map(|(writer, n)| format!("{writer} {n}"))
        .collect();
    out.push_str(&format!(
        "sessions  {} ({})   checkpoints {}   entries {}\n",
        report.sessions.len(),
        writers.join(", "),
        grouped(totals.checkpoints),
        grouped(totals.entries),
    ));
    let looked = match report.level {
        Level::Log => "not looked at".to_owned(),
        Level::Heads | Level::Full | Level::Decode => format!(
            "{} present, {} missing, {} altered",
            grouped(totals.present),
            grouped(totals.missing),
            grouped(totals.altered)
        ),
    };
    out.push_str(&format!(
        "objects   {} named, {looked}   {}   {} records\n",
        grouped(totals.objects),
        bytes(totals.bytes),
        grouped(totals.records),
    ));
    for (claim, result) in &report.claims {
        let line = format!(
            "{claim:?} {:<22}{:<14}{}",
            name(*claim),
            word(result.result),
            detail(report, *claim, result)
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for finding in report.findings.iter().take(FINDINGS_SHOWN) {
        let severity = match finding.severity {
            Severity::Fail => "FAIL",
            Severity::Warn => "WARN",
        };
        let (claim, what, place, detail) = (finding.claim, finding.what, &finding.place, &finding.detail);
        out.push_str(&printable(&format!(
            "{severity} {claim:?} {what}  {place}  {detail}"
        )));
        out.push('\n');
    }
    let more = report.findings.len().saturating_sub(FINDINGS_SHOWN);
    if more > 0 {
        out.push_str(&format!("and {more} more findings: --json has them\n"));
    }
    for trouble in report.troubles.iter().take(FINDINGS_SHOWN) {
        out.push_str(&printable(&format!("could not read {trouble}")));
        out.push('\n');
    }
    for not in &report.not_proved {
        out.push_str(&format!("not proved: {not}\n"));
    }
    let warnings = match report.warnings {
        0 => String::new(),
        1 => " with 1 warning".to_owned(),
        n => format!(" with {} warnings", grouped(n)),
    };
    let verdict = report.verdict.to_uppercase().replace('_', " ");
    out.push_str(&format!("{verdict}{warnings}   exit {}\n", report.exit));
    out
}

fn name(claim: Claim) -> &'static str {
    match claim {
        Claim::I1 => "object integrity",
        Claim::I2 => "log integrity",
        Claim::I3 => "signatures",
        Claim::C1 => "entries complete",
        Claim::C2 => "objects complete",
        Claim::C3 => "ledger",
        Claim::C4 => "time coverage",
        Claim::C5 => "tail and sessions",
        Claim::P1 => "lock",
        Claim::P2 => "clocks",
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "PASS",
        Outcome::Warn => "WARN",
        Outcome::Fail => "FAIL",
        Outcome::NotMet => "NOT MET",
        Outcome::NotChecked => "NOT CHECKED",
    }
}

fn detail(report: &Report, claim: Claim, result: &ClaimResult) -> String {
    let totals = &report.totals;
    match claim {
        Claim::I1 if result.result == Outcome::NotChecked => String::new(),
        Claim::I1 => {
            let equal = totals.present - totals.altered.min(totals.present);
            let (level, how) = match report.level {
                Level::Full => ("full", "read and equal".to_owned()),
                Level::Decode => {
                    let decoded = grouped(totals.decoded);
                    ("decode", format!("{decoded} taken apart, read and equal"))
                }
                Level::Log | Level::Heads => ("heads", "store checksum equal".to_owned()),
            };
            format!(
                "{how} for {} of {} (level {level})",
                grouped(equal),
                grouped(totals.present)
            )
        }
        Claim::I3 => {
            let mut keys: Vec<&str> = report
                .sessions
                .iter()
                .flat_map(|session| session.keys.iter().map(String::as_str))
                .collect();
            keys.sort_unstable();
            keys.dedup();
            match keys.len() {
                0 => String::new(),
                n if n > 8 => format!("{} keys", grouped(n as u64)),
                _ => format!("keys {}", keys.join(", ")),
            }
        }
        Claim::C2 if totals.expired + totals.shredded + totals.orphans + totals.others > 0 => {
            let others = match totals.others {
                0 => String::new(),
                n => format!(", {} others' objects beside them not looked at", grouped(n)),
            };
            format!(
                "{} expired, {} shredded, {} orphans{others}",
                grouped(totals.expired),
                grouped(totals.shredded),
                grouped(totals.orphans)
            )
        }
        Claim::C3 => {
            let dup = match totals.dup {
                0 => String::new(),
                n => format!(" (perhaps twice: {})", grouped(n)),
            };
            format!(
                "in {}, archived {}, removed {}, lost {}{dup}",
                grouped(totals.admitted),
                grouped(totals.records),
                grouped(totals.removed),
                grouped(totals.lost)
            )
        }
        Claim::C4 => match result.holes.len() {
            0 => String::new(),
            1 => "1 hole".to_owned(),
            n => format!("{} holes", grouped(n as u64)),
        },
        Claim::C5 => format!("{} heads remembered elsewhere", grouped(result.checked)),
        Claim::P1 => report.earliest_unlock.map_or_else(String::new, |until| {
            format!("earliest end {until}, {} holds", grouped(report.holds))
        }),
        _ => String::new(),
    }
}

/// Names come out of a store into which others may write.
pub(super) fn printable(text: &str) -> String {
    match text.contains(char::is_control) {
        true => text.replace(char::is_control, "?"),
        false => text.to_owned(),
    }
}

/// `1,204,377`.
pub(in crate::cli) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1.5 MiB`.
pub(in crate::cli) fn bytes(n: u64) -> String {
    let mut amount = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] {
        if amount < 1024.0 || unit == "PiB" {
            return match unit {
                "B" => format!("{n} B"),
                _ => format!("{amount:.1} {unit}"),
            };
        }
        amount /= 1024.0;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_bytes_have_units() {
        let check =
            |n, count: &str, size: &str| assert_eq!((grouped(n).as_str(), bytes(n).as_str()), (count, size));
        check(0, "0", "0 B");
        check(999, "999", "999 B");
        check(1_000, "1,000", "1000 B");
        check(1_536, "1,536", "1.5 KiB");
        check(5_277_655_813_324, "5,277,655,813,324", "4.8 TiB");
        check(u64::MAX, "18,446,744,073,709,551,615", "16384.0 PiB");
    }

    #[test]
    fn what_others_wrote_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a?[2Jb?c");
        assert_eq!(printable("a b"), "a b");
    }
}

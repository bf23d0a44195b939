//! `detect`: finds secrets and personal data by what they are, wherever they stand.
//!
//! In: a view, after the rules that the collector has. Whole chunks are searched for candidates in one go; only texts
//! that hold one are looked at by the detectors (`detector`), folded first so that escapes and look-alikes do not hide
//! anything (`fold`). Looked at are the attributes of everything that has some, values at any depth, bodies, and the
//! names and messages in [`walk::FIELDS`]. What is split over several values, encoded or compressed is not put together.

mod context;
mod detector;
mod fold;
mod members;
mod numbers;
mod rule;
mod runs;
mod secrets;
mod walk;

#[cfg(test)]
mod guard;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;

use aws_lc_rs::hmac;
use component::prelude::*;
use parking_lot::Mutex;
use telemetry::Counter;
use tokio::time::{Duration as Span, Instant};
use wire::scan::Gate;
use wire::view::{NodeId, Part};

use super::find::{Finder, Patterns, Regions};
use super::mask::append_hex;
use fold::Folded;
use members::Members;
use rule::{Action, Rule, compile};
use runs::Runs;

pub use detector::Detector;
pub use rule::{Config, Hmac, Mode, RuleConfig};

/// Time between two samples of one rule in the log.
const SAMPLE_INTERVAL: Span = Span::from_secs(10);

/// How often what was redacted is searched again: what is gone may have stood in another finding's way.
const ROUNDS_MAX: usize = 4;

/// Takes the place of a text in which something is left after that.
const MASK: &[u8] = b"****";

/// Most bytes of a finding whose shape is logged.
const SAMPLE_BYTES_MAX: usize = 32;

/// `detect`, compiled.
pub(super) struct Detection {
    rules: Vec<Rule>,
    /// Detectors of any rule, and their gates.
    detectors: Vec<Detector>,
    finder: Finder,
    /// Detectors that look at runs of digits.
    of_runs: Patterns,
    /// Rules that hold by key, as bits.
    keyed: u64,
    /// Whether keys matter at all.
    by_key: bool,
    tenants: HashMap<String, u64>,
    dry_run: bool,
    counters: Vec<Counter>,
    /// What each rule is called in the books.
    booked: Vec<String>,
    /// When each rule last showed a sample.
    samples: Vec<Mutex<Option<Instant>>>,
}

/// What detection writes to: one a running call, reused.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    regions: Regions,
    candidates: Vec<(NodeId, Part, Patterns)>,
    /// Nodes that were written to before.
    written: Vec<NodeId>,
    /// Attributes to remove.
    removed: Vec<(NodeId, usize)>,
    found: Found,
    /// A value, encoded anew.
    value: Vec<u8>,
    counts: Vec<u64>,
}

/// What was found in one text, and what became of it.
#[derive(Debug, Default)]
struct Found {
    folded: Folded,
    is_folded: bool,
    runs: Runs,
    spans: Vec<Range<usize>>,
    list: Vec<Finding>,
    canonical: Vec<u8>,
    /// The text as it is after [`Detection::text`] said that it changed.
    text: Vec<u8>,
    now: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// In the folded text.
    range: Range<usize>,
    rule: usize,
    detector: Detector,
}

/// Which rules hold at a place, by the keys that lead there.
#[derive(Clone, Copy, Debug)]
struct Path {
    in_force: u64,
    picked: u64,
    excepted: u64,
}

/// Where a text or a value stands.
#[derive(Clone, Copy, Debug)]
struct Place<'k> {
    /// Detectors that may find something.
    kinds: Patterns,
    path: Path,
    /// The innermost key.
    key: &'k [u8],
    /// How much deeper values may be nested.
    depth: usize,
}

/// What becomes of a text or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Same,
    Changed,
    Gone,
    /// The record goes, by this rule.
    Dropped(usize),
}

impl Detection {
    /// Compiles; `None` if there is nothing to find. `counter` makes the counter of a rule and what it does.
    pub(super) fn new(
        config: &Config,
        mut counter: impl FnMut(&str, &'static str) -> Counter,
    ) -> Result<Option<Detection>, String> {
        let rules = compile(config)?;
        if rules.is_empty() {
            return Ok(None);
        }
        let mut detectors: Vec<Detector> = rules.iter().flat_map(|r| r.detectors.iter().copied()).collect();
        detectors.sort_unstable();
        detectors.dedup();
        let every = detectors.iter().fold(0, |all, d| all | d.bit());
        let of_runs = detectors.iter().filter(|d| d.reads_runs());
        let of_runs = of_runs.fold(0, |all, d| all | d.bit());
        let gates: Vec<(Patterns, Option<Vec<Gate>>)> = detectors
            .iter()
            .map(|d| (d.bit(), Some(d.gates())))
            .chain([(every, Some(vec![detector::escapes()]))])
            .collect();
        let bits = |is: &dyn Fn(&Rule) -> bool| {
            let each = rules.iter().enumerate().filter(|(_, rule)| is(rule));
            each.fold(0, |all, (i, _)| all | 1 << i)
        };
        let keyed = bits(&|rule| !rule.keys.is_empty());
        let by_key = keyed | bits(&|rule| !rule.except_keys.is_empty()) != 0;
        let tenants = config.tenants.iter().map(|(tenant, names)| {
            let rules = bits(&|rule| names.contains(&rule.name));
            (tenant.clone(), rules)
        });
        let dry_run = config.mode == Mode::DryRun;
        Ok(Some(Detection {
            tenants: tenants.collect(),
            finder: Finder::of(gates),
            counters: rules
                .iter()
                .map(|rule| counter(&rule.name, if dry_run { "dry_run" } else { rule.action.as_str() }))
                .collect(),
            booked: rules
                .iter()
                .map(|rule| match dry_run {
                    true => format!("redaction:{}:dry_run", rule.name),
                    false => format!("redaction:{}", rule.name),
                })
                .collect(),
            samples: rules.iter().map(|_| Mutex::default()).collect(),
            of_runs,
            keyed,
            by_key,
            detectors,
            dry_run,
            rules,
        }))
    }

    /// Rules that hold for a tenant.
    fn root(&self, tenant: Option<&Arc<str>>) -> Path {
        let named = tenant.and_then(|tenant| self.tenants.get(&**tenant));
        Path {
            in_force: named.copied().unwrap_or(u64::MAX),
            picked: !self.keyed,
            excepted: 0,
        }
    }

    /// One key further in.
    fn enter(&self, mut path: Path, key: &[u8]) -> Path {
        if self.by_key {
            for (i, rule) in self.rules.iter().enumerate() {
                path.picked |= u64::from(rule.keys.contains(key)) << i;
                path.excepted |= u64::from(rule.except_keys.contains(key)) << i;
            }
        }
        path
    }

    /// The place of an entry of a map.
    fn inner<'k>(&self, place: Place<'_>, key: &'k [u8]) -> Place<'k> {
        Place {
            path: self.enter(place.path, key),
            key,
            depth: place.depth - 1,
            ..place
        }
    }

    /// The first rule for a detector at a place.
    fn rule(&self, detector: Detector, path: Path) -> Option<usize> {
        let holds = path.in_force & path.picked & !path.excepted;
        let is = |(i, rule): (usize, &Rule)| holds >> i & 1 == 1 && rule.detectors.contains(&detector);
        self.rules.iter().enumerate().position(is)
    }

    /// Finds everything in one text: ranges in its folding, ascending, none overlapping another. True if there is any.
    fn search(&self, text: &[u8], place: Place<'_>, s: &mut Found) -> bool {
        let Found {
            folded,
            is_folded,
            runs,
            spans,
            list,
            ..
        } = s;
        list.clear();
        *is_folded = folded.fold(text);
        let text = folded.seen(text, *is_folded);
        if place.kinds & self.of_runs != 0 {
            runs.read(text);
        }
        for detector in self.detectors.iter().filter(|d| place.kinds & d.bit() != 0) {
            spans.clear();
            detector.find(text, place.key, runs, spans);
            if spans.is_empty() {
                continue;
            }
            spans.sort_unstable_by_key(|range| range.start);
            let mut members = Members::default();
            for range in spans.iter() {
                let mut path = place.path;
                if self.by_key {
                    path = members
                        .at(text, range.start)
                        .fold(path, |path, key| self.enter(path, key));
                }
                if let Some(rule) = self.rule(*detector, path) {
                    list.push(Finding {
                        range: range.clone(),
                        rule,
                        detector: *detector,
                    });
                }
            }
        }
        list.sort_unstable_by_key(|f| (f.range.start, f.rule, f.detector));
        // What overlaps is one finding, of the rule that comes first.
        list.dedup_by(|next, last| {
            let overlaps = next.range.start < last.range.end;
            if overlaps {
                last.range.end = last.range.end.max(next.range.end);
                if next.rule < last.rule {
                    (last.rule, last.detector) = (next.rule, next.detector);
                }
            }
            overlaps
        });
        !list.is_empty()
    }

    /// What becomes of one text; if it changed it is in `s.found.text`.
    fn text(&self, text: &[u8], place: Place<'_>, s: &mut Scratch) -> Fate {
        if !self.search(text, place, &mut s.found) {
            return Fate::Same;
        }
        let mut now = std::mem::take(&mut s.found.now);
        now.clear();
        now.extend_from_slice(text);
        let mut fate = self.redact(&now, place, s);
        for round in 0..=ROUNDS_MAX {
            if fate != Fate::Changed {
                break;
            }
            std::mem::swap(&mut now, &mut s.found.text);
            if !self.search(&now, place, &mut s.found) {
                std::mem::swap(&mut now, &mut s.found.text);
                break;
            }
            if round == ROUNDS_MAX {
                // Made so that something is always left: then nothing is.
                s.found.text.clear();
                s.found.text.extend_from_slice(MASK);
                break;
            }
            fate = self.redact(&now, place, s);
        }
        s.found.now = now;
        fate
    }

    /// What becomes of a text in which something was found.
    fn redact(&self, text: &[u8], place: Place<'_>, s: &mut Scratch) -> Fate {
        let Found {
            folded,
            is_folded,
            list,
            canonical,
            text: out,
            ..
        } = &mut s.found;
        for finding in list.iter() {
            s.counts[finding.rule] += 1;
        }
        let seen = folded.seen(text, *is_folded);
        if self.dry_run {
            list.iter()
                .for_each(|finding| self.sample(finding, seen, place.key));
            return Fate::Same;
        }
        let by = |is: fn(&Action) -> bool| {
            list.iter()
                .map(|f| f.rule)
                .find(|rule| is(&self.rules[*rule].action))
        };
        if let Some(rule) = by(|action| matches!(action, Action::DropRecord)) {
            return Fate::Dropped(rule);
        }
        if by(|action| matches!(action, Action::Remove)).is_some() {
            return Fate::Gone;
        }
        out.clear();
        let mut copied = 0;
        for finding in list.iter() {
            let origin = match is_folded {
                true => folded.origin(&finding.range),
                false => finding.range.clone(),
            };
            out.extend_from_slice(&text[copied..origin.start]);
            copied = origin.end;
            let secret = &seen[finding.range.clone()];
            match &self.rules[finding.rule].action {
                Action::Mask(mask) => out.extend_from_slice(mask),
                Action::KeepLast(count) => keep_last(secret, *count, out),
                Action::Hmac { key, prefix } => {
                    finding.detector.canonical(secret, canonical);
                    out.extend_from_slice(prefix);
                    append_hex(hmac::sign(key, canonical).as_ref(), out);
                }
                Action::Remove | Action::DropRecord => {}
            }
        }
        out.extend_from_slice(&text[copied..]);
        Fate::Changed
    }

    /// Shows the shape of a finding in the log, now and then.
    fn sample(&self, finding: &Finding, text: &[u8], key: &[u8]) {
        let mut last = self.samples[finding.rule].lock();
        if last.is_some_and(|last| last.elapsed() < SAMPLE_INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
        let shape = shape(&text[finding.range.clone()]);
        let (rule, detector) = (&self.rules[finding.rule].name, finding.detector.as_str());
        let key = String::from_utf8_lossy(&key[..key.len().min(SAMPLE_BYTES_MAX)]);
        tracing::info!(rule, detector, %key, shape, "redaction would change this");
    }
}

/// Stars for all letters and digits but the last; all of them if fewer than half would go.
fn keep_last(secret: &[u8], count: usize, out: &mut Vec<u8>) {
    let letters = secret.iter().filter(|b| b.is_ascii_alphanumeric()).count();
    let mut hidden = if letters < 2 * count {
        letters
    } else {
        letters - count
    };
    for byte in secret {
        match byte.is_ascii_alphanumeric() && hidden > 0 {
            true => {
                hidden -= 1;
                out.push(b'*');
            }
            false => out.push(*byte),
        }
    }
}

/// Letters as `a`, digits as `9`: enough to see what a rule takes for what.
fn shape(secret: &[u8]) -> String {
    let shown = secret.iter().take(SAMPLE_BYTES_MAX).map(|byte| match byte {
        b if b.is_ascii_digit() => '9',
        b if b.is_ascii_alphabetic() => 'a',
        b if b.is_ascii_punctuation() || *b == b' ' => char::from(*b),
        _ => '?',
    });
    shown.collect()
}

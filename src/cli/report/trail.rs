//! What the audit trail in an archive says of a period, and whether it hangs together.
//!
//! Its records are logs whose body is a JSON text; each carries the hash of the one before. Objects come in the order of
//! their admission, each already compared with the digest in its entry. A record that came twice (after a crash it may)
//! counts once. What the acts tell in their details is read as far as it has the expected form; nothing here fails.

use std::collections::{BTreeMap, HashSet};

use evidence::audit::{Actor, Out, Record, hash};
use evidence::digest::Digest;
use evidence::time::Time;
use serde::Deserialize;
use serde_json::Value;

use super::fold::{Anchor, AuditObject, Counts, List, OTHERS, Period, month};
use super::snapshots::Snapshots;

/// Records whose place in a chain is known; of more nothing is said.
const CHAINED_MAX: usize = 2_000_000;
const DROPS_MAX: usize = 10_000;
/// A record that is safe may wait so long for its object.
pub(super) const ON_ITS_WAY: i64 = 3_600_000;
/// Longer texts are cut: they are shown to people.
const TEXT_MAX: usize = 300;

/// Which rule removed records where, under which configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    pub(super) rule: String,
    pub(super) edge: String,
    pub(super) tenant: String,
    /// SHA-256 of the configuration as it ran; empty if no record tells.
    pub(super) config: String,
    pub(super) change: String,
}

/// What the trail says.
#[derive(Debug, Default)]
pub(super) struct Trail {
    pub(super) objects: u64,
    /// Objects that could not be read, and why.
    pub(super) unread: List,
    /// In the period.
    pub(super) records: u64,
    pub(super) twice: u64,
    pub(super) first: Option<Time>,
    pub(super) last: Option<Time>,
    /// Records that do not hang on another, or are not what their hash says.
    pub(super) faults: List,
    pub(super) anchors: u64,
    pub(super) anchors_met: u64,
    /// By act and how it ended.
    pub(super) acts: Counts,
    pub(super) months: BTreeMap<&'static str, Counts>,
    pub(super) failures: Counts,
    pub(super) failed: List,
    pub(super) schemes: Counts,
    pub(super) denied: u64,
    pub(super) calls: Counts,
    pub(super) called: List,
    pub(super) reloads: u64,
    pub(super) rejects: u64,
    pub(super) unnamed: u64,
    pub(super) changes: List,
    /// Digests of the configurations' texts that it names, when first, and where.
    pub(super) texts: BTreeMap<String, (Time, String)>,
    pub(super) snapshots: Snapshots,
    pub(super) drops: BTreeMap<Rule, (Time, u64)>,
    pub(super) dropped: Counts,
    pub(super) dropped_tenants: Counts,
    pub(super) undelivered: Counts,
    pub(super) alarms: List,
    pub(super) lost: u64,
    known: HashSet<Digest>,
    is_cut: bool,
    /// Writers with a record.
    writers: HashSet<String>,
    /// By writer: digest and change of the configuration that runs.
    configs: BTreeMap<String, (String, String)>,
}

#[derive(Debug, Deserialize)]
struct Body {
    seq: u64,
    t: Time,
    act: String,
    actor: Actor,
    out: Out,
    #[serde(default)]
    obj: String,
    #[serde(default)]
    d: Value,
}

impl Trail {
    /// An object that cannot be used.
    pub(super) fn unreadable(&mut self, object: &AuditObject, why: &str) {
        self.objects += 1;
        self.unread
            .push(object.admitted, &place(object), vec![shown(why)]);
    }

    /// Takes the records of the next object.
    pub(super) fn object(&mut self, period: Period, object: &AuditObject, records: &[Record]) {
        self.objects += 1;
        let place = place(object);
        for record in records {
            self.record(period, object, &place, record);
        }
        let seen = records.len() as u64;
        if seen != object.records {
            let why = format!("{} records by its entry, {seen} found", object.records);
            self.unread.push(object.admitted, &place, vec![why]);
        }
    }

    fn record(&mut self, period: Period, object: &AuditObject, place: &str, record: &Record) {
        let writer = object.writer.as_str();
        let Ok(read) = serde_json::from_str::<Body>(&record.body) else {
            let what = "a text that is no audit record".to_owned();
            return self.faults.push(object.admitted, place, vec![what]);
        };
        let is_first = self.writers.insert(writer.to_owned());
        if !self.hangs(place, &read, record, is_first) {
            return;
        }
        // What runs is known from before the period too, and where counters stood.
        self.runs(writer, &read);
        if read.act == "metrics.snapshot" {
            self.snapshots.take(period, writer, read.t, &read.d);
        }
        if period.has(read.t) {
            self.records += 1;
            self.first = [self.first, Some(read.t)].into_iter().flatten().min();
            self.last = self.last.max(Some(read.t));
            self.act(place, writer, &read);
        }
    }

    /// Whether it is new; what is wrong with its place in the chain is noted.
    fn hangs(&mut self, place: &str, read: &Body, record: &Record, is_first: bool) -> bool {
        let mut fault = |what: &str| {
            let told = format!("{what} (record {})", read.seq);
            self.faults.push(read.t, place, vec![told]);
        };
        let prev = record.prev;
        let found = hash(&prev, &record.body);
        if found != record.hash {
            fault("the hash is not that of the text");
        }
        if record.seq != read.seq {
            fault("the number beside the text is another");
        }
        if self.known.contains(&found) {
            self.twice += 1;
            return false;
        }
        if read.seq == 0 && prev != Digest([0; 32]) {
            fault("the first of a chain hangs on something");
        } else if read.seq > 0 && !is_first && !self.is_cut && !self.known.contains(&prev) {
            fault("the record before it is not there");
        }
        if self.known.len() < CHAINED_MAX {
            self.known.insert(found);
        } else {
            self.is_cut = true;
        }
        true
    }

    fn runs(&mut self, writer: &str, read: &Body) {
        let digest = match (read.act.as_str(), read.out) {
            ("process.start", _) => text(&read.d, "config_sha256"),
            ("config.load" | "config.reload", Out::Success) => text(&read.d, "new_sha256"),
            _ => return,
        };
        if !digest.is_empty() && (self.configs.len() < DROPS_MAX || self.configs.contains_key(writer)) {
            let runs = (digest, text(&read.d, "change_id"));
            self.configs.insert(writer.to_owned(), runs);
        }
    }

    fn act(&mut self, place: &str, writer: &str, read: &Body) {
        let (t, d) = (read.t, &read.d);
        let who = shown(&format!("{} {}", read.actor.kind, read.actor.id));
        let ended = ended(read.out);
        self.acts.add(&format!("{} {ended}", shown(&read.act)), 1);
        let place = &format!("{place} audit {}", read.seq);
        match read.act.as_str() {
            "authn.failure" => {
                let (n, reason) = (number(d, "count").unwrap_or(1), text(d, "reason"));
                self.failures.add(&reason, n);
                self.monthly("authn_failures", t, n);
                let cells = [&who, &read.obj, &text(d, "scheme"), &reason, &n.to_string()];
                self.failed.push(t, place, cells.map(|cell| shown(cell)).to_vec());
            }
            "authn.success" => self.schemes.add(&text(d, "scheme"), 1),
            "authz.deny" => self.denied += 1,
            "admin.call" => {
                let call = text(d, "call");
                let call = if call.is_empty() { shown(&read.obj) } else { call };
                self.calls.add(&call, 1);
                self.monthly("admin_calls", t, 1);
                let cells = [&who, &call, ended, &text(d, "parameters_sha256")];
                self.called.push(t, place, cells.map(str::to_owned).to_vec());
            }
            "config.load" | "config.reload" | "config.reject" => self.change(place, &who, read),
            "pipeline.drop" => self.ends(writer, t, d),
            "audit.gap" => {
                let lost = number(d, "lost").unwrap_or(0);
                self.lost = self.lost.saturating_add(lost);
                self.alarm(place, read, &format!("{lost} acts could not be kept"));
            }
            "ledger.imbalance" => self.alarm(place, read, &text(d, "fault")),
            "exporter.disabled" | "tls.cert.expiring" | "archive.fenced" | "archive.put_denied" => {
                self.alarm(place, read, "");
            }
            _ => {}
        }
    }

    fn alarm(&mut self, place: &str, read: &Body, detail: &str) {
        let cells = [read.act.as_str(), &read.obj, detail];
        self.alarms.push(read.t, place, cells.map(shown).to_vec());
    }

    fn change(&mut self, place: &str, who: &str, read: &Body) {
        let d = &read.d;
        let is_taken = read.act != "config.reject" && read.out == Out::Success;
        let change = text(d, "change_id");
        if read.act == "config.reject" {
            self.rejects += 1;
        } else if read.act == "config.reload" && is_taken {
            self.reloads += 1;
            self.monthly("config_changes", read.t, 1);
            self.unnamed += u64::from(change.is_empty());
        }
        let text_sha256 = text(d, "text_sha256");
        if !text_sha256.is_empty() && self.texts.len() < DROPS_MAX {
            let first = self.texts.entry(text_sha256.clone());
            first.or_insert_with(|| (read.t, place.to_owned()));
        }
        let paths = d.get("changed").and_then(Value::as_array);
        let paths = paths.map_or_else(String::new, |paths| {
            let texts: Vec<&str> = paths.iter().filter_map(Value::as_str).collect();
            texts.join("; ")
        });
        let cells = [
            &read.act,
            who,
            &text(d, "trigger"),
            &text(d, "old_sha256"),
            &text(d, "new_sha256"),
            &change,
            &paths,
            &text_sha256,
        ];
        let cells = cells.map(shown).to_vec();
        self.changes.push(read.t, place, cells);
    }

    fn ends(&mut self, writer: &str, t: Time, d: &Value) {
        let (config, change) = self.configs.get(writer).cloned().unwrap_or_default();
        let lines = d.get("edges").and_then(Value::as_array);
        let lines: Vec<&Value> = lines.into_iter().flatten().collect();
        // A pipeline's line has what its processors' lines have.
        let mut told: BTreeMap<[String; 5], u64> = BTreeMap::new();
        for line in &lines {
            let edge = text(line, "edge");
            let Some((_, pipeline)) = edge
                .strip_prefix("processor ")
                .and_then(|edge| edge.rsplit_once(" in "))
            else {
                continue;
            };
            for key in ["drop", "fail"] {
                for (why, n) in reasons(line, key) {
                    *told.entry(end_of(line, pipeline, key, &why)).or_default() += n;
                }
            }
        }
        let left =
            |line: &Value, key: &str, why: &str, n: u64| match text(line, "edge").strip_prefix("pipeline ") {
                Some(pipeline) => {
                    let inside = told.get(&end_of(line, pipeline, key, why));
                    n.saturating_sub(inside.copied().unwrap_or(0))
                }
                None => n,
            };
        for line in lines {
            let edge = text(line, "edge");
            for (why, n) in reasons(line, "drop") {
                let (n, tenant) = (left(line, "drop", &why, n), text(line, "tenant"));
                if n == 0 {
                    continue;
                }
                self.dropped.add(&why, n);
                if !tenant.is_empty() {
                    self.dropped_tenants.add(&tenant, n);
                }
                self.monthly("dropped", t, n);
                let rule = Rule {
                    rule: why,
                    edge: edge.clone(),
                    tenant,
                    config: config.clone(),
                    change: change.clone(),
                };
                self.drop(rule, t, n);
            }
            for (why, n) in reasons(line, "fail") {
                let n = left(line, "fail", &why, n);
                if n > 0 {
                    self.undelivered.add(&shown(&format!("{edge} {why}")), n);
                }
            }
        }
    }

    fn drop(&mut self, rule: Rule, t: Time, n: u64) {
        let known = self.drops.len() < DROPS_MAX || self.drops.contains_key(&rule);
        let rule = match known {
            true => rule,
            false => Rule {
                edge: OTHERS.to_owned(),
                tenant: OTHERS.to_owned(),
                ..rule
            },
        };
        let (first, sum) = self.drops.entry(rule).or_insert((t, 0));
        *first = t.min(*first);
        *sum = sum.saturating_add(n);
    }

    fn monthly(&mut self, figure: &'static str, t: Time, n: u64) {
        self.months.entry(figure).or_default().add(&month(t), n);
    }

    /// Compares with what the logs vouch for. A record may be safe in the gateway long before it is in the archive, and
    /// one that was named may lie before the period.
    pub(super) fn compare(&mut self, period: Period, anchors: &[Anchor]) {
        let Some(first) = self.first else { return };
        if self.is_cut {
            return;
        }
        // Many entries vouch for the same record.
        let mut looked_at = HashSet::new();
        for anchor in anchors {
            let is_new = looked_at.insert(anchor.hash);
            let is_met = self.known.contains(&anchor.hash);
            if !is_new || !is_met && (anchor.t <= first || period.to.since(anchor.t) < ON_ITS_WAY) {
                continue;
            }
            self.anchors += 1;
            self.anchors_met += u64::from(is_met);
            if !is_met {
                let what = format!("record {} is vouched for and not in the archive", anchor.seq);
                self.faults.push(anchor.t, &anchor.place, vec![what]);
            }
        }
    }
}

fn place(object: &AuditObject) -> String {
    format!("{}/{} object {}", object.writer, object.session, object.seq)
}

fn ended(out: Out) -> &'static str {
    match out {
        Out::Success => "success",
        Out::Failure => "failure",
        Out::Denied => "denied",
    }
}

fn text(d: &Value, key: &str) -> String {
    shown(d.get(key).and_then(Value::as_str).unwrap_or_default())
}

fn number(d: &Value, key: &str) -> Option<u64> {
    d.get(key).and_then(Value::as_u64)
}

fn reasons(line: &Value, key: &str) -> Vec<(String, u64)> {
    let all = line.get(key).and_then(Value::as_object);
    let counts = all.into_iter().flatten();
    counts
        .filter_map(|(why, n)| Some((shown(why), n.as_u64()?)))
        .collect()
}

/// What ended in a pipeline: signal, tenant, how and why.
fn end_of(line: &Value, pipeline: &str, key: &str, why: &str) -> [String; 5] {
    let (signal, tenant) = (text(line, "signal"), text(line, "tenant"));
    [
        pipeline.to_owned(),
        signal,
        tenant,
        key.to_owned(),
        why.to_owned(),
    ]
}

/// At most [`TEXT_MAX`] characters.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

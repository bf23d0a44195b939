//! Which figures belong to which criterion, and what of the facts they are.

use std::collections::BTreeMap;

use evidence::time::Time;
use evidence::verify::{Claim, Hole, Level, Outcome, Severity};

use super::document::{
    ClaimLine, Document, Figure, Input, Listing, Making, Population, Signature, Value, Verified, monthly,
};
use super::fold::Counts;
use super::snapshots::Snapshots;
use super::trail::{ON_ITS_WAY, Trail};
use super::words::short;

const LOG: &str = "log entries";
const VERIFY: &str = "verification";
const AUDIT: &str = "audit trail";
const NONE: &str = "nowhere";
const CHAIN: &str = "audit chain, anchored in the log";
const ROOT: &str = "dense log index under signed heads";

/// Criteria that are reported on.
pub(super) const CRITERIA: [&str; 8] = [
    "CC6.1", "CC7.2", "CC8.1", "A1.2", "C1.2", "PI1.3", "PI1.4", "PI1.5",
];

/// What each criterion asks, in short and in words of our own.
fn asks(id: &str) -> &'static str {
    match id {
        "CC6.1" => "access to protected information is limited to those who are authorized",
        "CC7.2" => "components are watched for signs of malicious acts, disasters and errors",
        "CC8.1" => "changes are authorized, documented, tested and approved",
        "A1.2" => "recovery, backup and environment keep the service available as promised",
        "C1.2" => "confidential information is disposed of as promised",
        "PI1.3" => "processing is complete, accurate and timely",
        "PI1.4" => "output goes completely to where it is meant to go",
        _ => "stored inputs and outputs are complete and protected until the promised date",
    }
}

/// The report, and the lists that go with it.
pub(super) fn document(input: &Input<'_>) -> (Document, Vec<Listing>) {
    let made = Make::new(input);
    let mut controls = Vec::new();
    let mut add = |id: &'static str, control: &str, making: Making| {
        if input.criteria.is_empty() || input.criteria.iter().any(|wanted| wanted == id) {
            controls.push(making.finish(id, control, asks(id)));
        }
    };
    add("CC6.1", "LOG-03 Clients show who they are", made.clients());
    add(
        "CC6.1",
        "LOG-09 Administration is recorded",
        made.administration(),
    );
    add("CC7.2", "LOG-01 Sources are known and heard", made.sources());
    add("CC7.2", "LOG-07 Detectors watch sources", made.detectors());
    add(
        "CC7.2",
        "LOG-13 The archive and its trail are tested",
        made.tests(),
    );
    add(
        "CC8.1",
        "LOG-08 Configurations change under record",
        made.changes(),
    );
    add("A1.2", "LOG-11 Archived records can be restored", made.restores());
    add(
        "A1.2",
        "LOG-12 The gateway stays up and recovers",
        made.capacity(),
    );
    add("C1.2", "LOG-10 Records end when they should", made.disposal());
    add(
        "PI1.3",
        "LOG-06 Every admitted record is accounted for",
        made.books(),
    );
    add(
        "PI1.4",
        "LOG-14 Records reach their destinations",
        made.destinations(),
    );
    add("PI1.5", "LOG-05 Objects are whole and locked", made.objects());
    let verified = input.verified;
    let document = Document {
        v: 1,
        framework: "AICPA TSC 2017 (points of focus 2022)",
        entity: input.entity.map(str::to_owned),
        system: verified.archive.clone(),
        tool: verified.tool.clone(),
        made: input.made,
        from: input.period.from,
        to: input.period.to,
        verify: Verified {
            verdict: verified.verdict,
            exit: verified.exit,
            level: verified.level,
            warnings: verified.warnings,
            sha256: input.verify_sha256.clone(),
            policy_sha256: verified.policy_sha256.to_string(),
            claims: Claim::ALL.iter().filter_map(|claim| made.claim(*claim)).collect(),
        },
        summary: made.summary(),
        controls,
        not_proved: verified.not_proved.clone(),
        signature: match &input.signed_by {
            Some(key) => Signature::By {
                note: "report.note",
                key: key.clone(),
            },
            None => Signature::None {
                not_available: "no --signer was given",
            },
        },
    };
    (document, made.listings())
}

pub(super) struct Make<'a> {
    pub(super) input: &'a Input<'a>,
    /// The trail, or why no figure can be taken from it.
    pub(super) trail: Result<&'a Trail, String>,
    pub(super) holes: Vec<(&'a Hole, Time, u64)>,
}

impl<'a> Make<'a> {
    fn new(input: &'a Input<'a>) -> Make<'a> {
        let (trail, more) = (input.trail, input.facts.audit_objects_more);
        let why = if trail.objects == 0 {
            Some("the archive has no audit trail of this period".to_owned())
        } else if trail.unread.total > 0 || more > 0 {
            let unread = trail.unread.total.saturating_add(more);
            Some(format!(
                "{unread} of {} objects of the audit trail were not read",
                trail.objects + more
            ))
        } else if trail.records == 0 {
            Some("no record of the audit trail is of this period".to_owned())
        } else {
            None
        };
        let holes = input.verified.claims.get(&Claim::C4).map(|claim| &claim.holes);
        let holes = holes.into_iter().flatten().filter_map(|hole| {
            let to = hole.to.unwrap_or(input.period.to);
            let inside = input.period.overlap(hole.from, to);
            (inside > 0).then_some((hole, to, inside))
        });
        Make {
            input,
            trail: why.map_or(Ok(trail), Err),
            holes: holes.collect(),
        }
    }

    /// A figure of the trail.
    fn of_trail<T>(&self, of: impl FnOnce(&'a Trail) -> T) -> Result<T, String> {
        self.trail.clone().map(of)
    }

    fn months_of_trail(&self, figure: &str) -> Vec<(String, u64)> {
        let counts = self
            .trail
            .as_ref()
            .ok()
            .and_then(|trail| trail.months.get(figure));
        let counts = counts.into_iter().flat_map(Counts::iter);
        counts.map(|(month, n)| (month.to_owned(), n)).collect()
    }

    /// A figure of the objects as they are in the store.
    pub(super) fn of_store(&self, n: u64) -> Result<u64, String> {
        match self.input.verified.level {
            Level::Log => Err("objects were not looked at (--level log)".to_owned()),
            Level::Heads | Level::Full | Level::Decode => Ok(n),
        }
    }

    /// A figure of the locks as the store tells them.
    pub(super) fn of_locks<T>(&self, value: T) -> Result<T, String> {
        let claim = self.input.verified.claims.get(&Claim::P1);
        match claim.map(|claim| claim.result) {
            None | Some(Outcome::NotChecked) => Err("the store told no locks".to_owned()),
            Some(Outcome::NotMet) => Err("the archive has no lock".to_owned()),
            Some(_) => Ok(value),
        }
    }

    /// A figure of the archive's own books.
    pub(super) fn of_books(&self, n: u64) -> Result<u64, String> {
        match self.input.facts.ledgers {
            0 => Err("no books were closed in this period".to_owned()),
            _ => Ok(n),
        }
    }

    fn findings(&self, making: &mut Making, claims: &[Claim]) {
        let findings = self.input.verified.findings.iter();
        for finding in findings.filter(|finding| claims.contains(&finding.claim)) {
            let severity = match finding.severity {
                Severity::Warn => "warning",
                Severity::Fail => "failure",
            };
            let (claim, what, detail) = (finding.claim, finding.what, &finding.detail);
            making.except(
                None,
                format!("{claim:?} {severity} {what}: {detail}"),
                &finding.place,
            );
        }
    }

    fn claim(&self, claim: Claim) -> Option<ClaimLine> {
        let result = self.input.verified.claims.get(&claim)?;
        let about = match claim {
            Claim::I1 => "every object is byte for byte what was sealed",
            Claim::I2 => "no log entry was changed, moved, put in or taken out",
            Claim::I3 => "the holder of the writer's key wrote the log",
            Claim::C1 => "no entry is missing below the newest known head",
            Claim::C2 => "no object is missing",
            Claim::C3 => "the books balance and agree with the objects",
            Claim::C4 => "no time without a writer went unreported",
            Claim::C5 => "no log and no end of a log was cut off",
            Claim::P1 => "every object is under the promised lock",
            Claim::P2 => "the store's clock agrees with the writer's",
        };
        Some(ClaimLine {
            claim: format!("{claim:?}"),
            about,
            result: result.result,
            checked: result.checked,
            failed: result.failed,
            warnings: result.warnings,
        })
    }

    // --- CC6.1 ---

    fn clients(&self) -> Making {
        let mut m = Making::new();
        let failures = Figure::new(
            "authn_failures",
            "attempts",
            AUDIT,
            self.of_trail(|trail| Value::Count(trail.failures.total())),
        );
        m.figures
            .push(failures.by_month(self.months_of_trail("authn_failures")));
        if self.of_trail(|trail| trail.failures.len()).is_ok_and(|n| n > 0) {
            m.each(
                "authn_failures",
                "reason",
                "attempts",
                AUDIT,
                self.of_trail(|t| &t.failures),
            );
        }
        m.each(
            "authn_methods_in_use",
            "scheme",
            "principals and hours",
            AUDIT,
            self.of_trail(|t| &t.schemes),
        );
        m.count(
            "authz_denied",
            "requests",
            AUDIT,
            self.of_trail(|trail| trail.denied),
        );
        m.missing(
            &["credentials_stale_90d"],
            "credentials",
            NONE,
            "no record tells the age of credentials",
        );
        if let Ok(trail) = self.trail {
            m.is_shown = !trail.failures.is_empty() || !trail.schemes.is_empty();
            m.population = population(
                "failed authentications",
                trail.failed.total,
                "evidence/cc6.1-authn.csv",
            );
        }
        m
    }

    fn administration(&self) -> Making {
        let mut m = Making::new();
        let calls = self.of_trail(|trail| Value::Count(trail.calls.total()));
        let calls = Figure::new("admin_calls", "orders", AUDIT, calls);
        m.figures
            .push(calls.by_month(self.months_of_trail("admin_calls")));
        if self.of_trail(|trail| trail.calls.len()).is_ok_and(|n| n > 0) {
            m.each(
                "admin_calls",
                "verb",
                "orders",
                AUDIT,
                self.of_trail(|trail| &trail.calls),
            );
        }
        let shreds = &self.input.facts.shreds;
        // The fifth cell: who agreed.
        let dual = shreds
            .rows
            .iter()
            .filter(|row| row.cells[4].split(' ').count() > 1);
        m.count("dual_control_actions", "actions", LOG, Ok(dual.count() as u64));
        let why = "no result of a review of rights is kept in the archive";
        m.missing(&["writer_excess_rights"], "rights", NONE, why);
        if let Ok(trail) = self.trail {
            m.is_shown = true;
            m.population = population(
                "administrative orders",
                trail.called.total,
                "evidence/cc6.1-admin.csv",
            );
        }
        m
    }

    // --- CC7.2 ---

    fn sources(&self) -> Making {
        let (mut m, facts) = (Making::new(), self.input.facts);
        let why = "no list of expected sources is kept";
        m.missing(&["sources_expected"], "sources", NONE, why);
        let seen = facts.services.len();
        let value = match (seen, facts.services_cut) {
            (0, _) => Err("no object lists the names of services".to_owned()),
            (seen, true) => Ok(Value::Text(format!("at least {seen}"))),
            (seen, false) => Ok(Value::Count(seen as u64)),
        };
        m.is_shown = value.is_ok();
        m.figures.push(Figure::new("sources_seen", "sources", LOG, value));
        m.missing(&["sources_missing"], "sources", NONE, why);
        let why = "no detector of silence ran";
        m.missing(&["silent_spans"], "spans", NONE, why);
        m.missing(&["silent_seconds_total"], "s", NONE, why);
        m.population = Some(Population {
            what: "services that an object names",
            count: seen as u64,
            list: Some("evidence/cc7.2-sources.csv"),
            complete_by: "entries of objects; at most 32 names an object",
        });
        m
    }

    fn detectors(&self) -> Making {
        let mut m = Making::new();
        let why = match &self.trail {
            Ok(_) => "no detector told the audit trail anything",
            Err(why) => why,
        };
        let names = ["detectors_active", "alerts", "selftests_ok", "selftests_failed"];
        m.missing(&names, "count", AUDIT, why);
        m.missing(&["detector_uptime_share"], "share", AUDIT, why);
        m.missing(&["alert_latency_p95"], "s", AUDIT, why);
        m
    }

    fn tests(&self) -> Making {
        let (mut m, facts) = (Making::new(), self.input.facts);
        let tried = |n: u64| match facts.tests_ok + facts.tests_failed {
            0 => Err("no lock was tried in this period".to_owned()),
            _ => Ok(n),
        };
        m.count("worm_selftests_ok", "tests", LOG, tried(facts.tests_ok));
        m.count("worm_selftests_failed", "tests", LOG, tried(facts.tests_failed));
        m.count("worm_deletes_tried", "tests", LOG, tried(facts.deletes_tried));
        m.count("worm_deletes_refused", "tests", LOG, tried(facts.deletes_refused));
        let nothing = match facts.locks.is_empty() {
            true => Err("no start-up check lies in this period".to_owned()),
            false => Ok(&facts.locks),
        };
        m.each("worm_checks", "lock", "checks", LOG, nothing);
        let verdict = Ok(Value::Text(self.input.verified.verdict.replace('_', " ")));
        m.figures
            .push(Figure::new("verify_verdict", "verdict", VERIFY, verdict));
        let runs = |trail: &Trail| {
            trail
                .acts
                .iter()
                .filter(|(act, _)| act.starts_with("archive.verify"))
                .map(|(_, n)| n)
                .sum()
        };
        let runs = self.of_trail(runs).and_then(|n: u64| match n {
            0 => Err("the audit trail has no record of a verification".to_owned()),
            n => Ok(n),
        });
        m.count("verify_runs", "runs", AUDIT, runs);
        m.seconds(
            "clock_skew_max",
            LOG,
            Ok(facts.skew_max_ms),
            "no books tell the store's clock",
        );
        m.count("signing_key_changes", "keys", LOG, Ok(facts.keys));
        m.count(
            "audit_records",
            "records",
            AUDIT,
            self.of_trail(|trail| trail.records),
        );
        m.count(
            "audit_records_twice",
            "records",
            AUDIT,
            self.of_trail(|trail| trail.twice),
        );
        m.count(
            "audit_records_lost",
            "records",
            AUDIT,
            self.of_trail(|trail| trail.lost),
        );
        m.count(
            "audit_chain_faults",
            "faults",
            AUDIT,
            self.of_trail(|trail| trail.faults.total),
        );
        let anchors = |of: fn(&Trail) -> u64| {
            let n = self.of_trail(|trail| (trail.anchors, of(trail)))?;
            match n {
                (0, _) => Err("no log entry vouches for a record of this period".to_owned()),
                (_, n) => Ok(n),
            }
        };
        m.count("audit_anchors", "records", LOG, anchors(|trail| trail.anchors));
        m.count(
            "audit_anchors_met",
            "records",
            AUDIT,
            anchors(|trail| trail.anchors_met),
        );
        m.count("entries_with_proof", "entries", LOG, Ok(self.input.proofs));
        m.except_all(self.input.unproved, |cells| {
            format!("no proofs: {}", cells.concat())
        });
        self.findings(&mut m, &[Claim::I2, Claim::I3, Claim::P2]);
        let failed = facts.tests.rows.iter().filter(|row| row.cells[1] == "failed");
        for row in failed {
            let [lock, _, readback, conditional, deleted] = &row.cells[..] else {
                continue;
            };
            let told = format!(
                "trial of lock {lock} failed: read back {readback}, second write refused {conditional}, delete refused {deleted}"
            );
            m.except(Some(row.t), told, &row.place);
        }
        m.except_all(&self.input.trail.faults, |cells| {
            format!("audit trail: {}", cells.concat())
        });
        m.except_all(&self.input.trail.unread, |cells| {
            format!("audit trail: {}", cells.concat())
        });
        m.except_all(&self.input.trail.alarms, |cells| {
            cells.join(" ").trim().to_owned()
        });
        m.is_shown = facts.sessions > 0;
        m.population = Some(Population {
            what: "start-up and periodic checks with a trial object",
            count: facts.tests.total,
            list: Some("evidence/cc7.2-tests.csv"),
            complete_by: ROOT,
        });
        m
    }

    // --- CC8.1 ---

    fn changes(&self) -> Making {
        let (mut m, facts) = (Making::new(), self.input.facts);
        let changes = self.of_trail(|trail| Value::Count(trail.reloads));
        let changes = Figure::new("config_changes", "changes", AUDIT, changes);
        m.figures
            .push(changes.by_month(self.months_of_trail("config_changes")));
        let unnamed = self.of_trail(|trail| trail.unnamed);
        m.count("changes_without_change_id", "changes", AUDIT, unnamed);
        m.count(
            "rejected_configs",
            "configurations",
            AUDIT,
            self.of_trail(|trail| trail.rejects),
        );
        let texts = self.input.texts;
        let kept = match facts.texts_more {
            0 => Ok(texts.kept.len() as u64),
            n => Err(format!("{n} objects with texts were not read")),
        };
        m.count("config_texts", "texts", AUDIT, kept);
        m.except_all(&texts.faults, |cells| {
            format!("text of a configuration: {}", cells.concat())
        });
        let gone = self.of_trail(|trail| self.gone(trail));
        let missing = gone.as_ref().map(|gone| gone.len() as u64);
        m.count(
            "config_texts_missing",
            "texts",
            AUDIT,
            missing.map_err(String::clone),
        );
        for (text, (t, place)) in gone.into_iter().flatten() {
            let told = format!("the text of configuration {} is not in the archive", short(text));
            m.except(Some(*t), told, place);
        }
        let starts = |counts| match facts.starts.total {
            0 => Err("no process began in this period".to_owned()),
            _ => Ok(counts),
        };
        m.each(
            "processes_by_version",
            "version",
            "starts",
            LOG,
            starts(&facts.versions),
        );
        m.each(
            "starts_by_config",
            "sha256",
            "starts",
            LOG,
            starts(&facts.configs),
        );
        m.is_shown = self.trail.is_ok() || facts.starts.total > 0;
        if let Ok(trail) = self.trail {
            // The cells: act, who, trigger, old, new, change, paths, text.
            for row in &trail.changes.rows {
                match (row.cells[0].as_str(), row.cells[5].as_str()) {
                    ("config.reload", "") => {
                        let told = format!("configuration {} without a change id", short(&row.cells[4]));
                        m.except(Some(row.t), told, &row.place);
                    }
                    ("config.reject", _) => {
                        m.except(Some(row.t), "a configuration was rejected".to_owned(), &row.place)
                    }
                    _ => {}
                }
            }
            let total = trail.changes.total;
            m.population = population(
                "configurations loaded, changed and rejected",
                total,
                "evidence/cc8.1-changes.csv",
            );
        }
        m
    }

    /// Texts that the trail names and that are not there; one may be on its way for a while.
    fn gone(&self, trail: &'a Trail) -> Vec<(&'a String, &'a (Time, String))> {
        let (kept, period) = (&self.input.texts.kept, self.input.period);
        let texts = trail.texts.iter();
        let gone =
            texts.filter(|(text, (t, _))| !kept.contains_key(*text) && period.to.since(*t) > ON_ITS_WAY);
        gone.collect()
    }

    // --- A1.2 ---

    fn restores(&self) -> Making {
        let (mut m, facts) = (Making::new(), self.input.facts);
        m.count("restore_jobs", "jobs", LOG, Ok(facts.restores.total));
        m.count("restored_records", "records", LOG, Ok(facts.restored_records));
        m.count("restored_bytes", "bytes", LOG, Ok(facts.restored_bytes));
        let why = "entries of restores do not tell it";
        m.missing(&["restore_drills"], "jobs", LOG, why);
        m.missing(&["digest_equal_share"], "share", LOG, why);
        m.missing(&["restore_duration_p95"], "s", LOG, why);
        m.is_shown = facts.restores.total > 0;
        m.population = Some(Population {
            what: "restores",
            count: facts.restores.total,
            list: Some("evidence/a1.2-restores.csv"),
            complete_by: ROOT,
        });
        m
    }

    fn capacity(&self) -> Making {
        let (mut m, facts) = (Making::new(), self.input.facts);
        m.count("restarts_clean", "starts", LOG, Ok(facts.clean));
        m.count("restarts_unclean", "starts", LOG, Ok(facts.unclean));
        m.count("objects_recovered", "objects", LOG, Ok(facts.recovered));
        let nothing = "no unclean stop lies in this period";
        m.seconds(
            "recovery_seconds_p95",
            LOG,
            Ok(facts.recovery.percentile(95)),
            nothing,
        );
        m.figures.push(self.uncovered());
        self.load(&mut m);
        m.is_shown = facts.sessions > 0;
        for row in facts.starts.rows.iter().filter(|row| row.cells[0] == "unclean") {
            let told = format!("start after an unclean stop, {} objects recovered", row.cells[3]);
            m.except(Some(row.t), told, &row.place);
        }
        self.except_holes(&mut m);
        m.population = Some(Population {
            what: "starts of processes",
            count: facts.starts.total,
            list: Some("evidence/a1.2-starts.csv"),
            complete_by: ROOT,
        });
        m
    }

    /// What the hourly snapshots of metrics say.
    fn load(&self, m: &mut Making) {
        m.count(
            "snapshots",
            "snapshots",
            AUDIT,
            self.of_trail(|trail| trail.snapshots.taken),
        );
        let of = |percentile: fn(&Snapshots) -> Option<u64>| {
            let found = self.of_trail(|trail| (trail.snapshots.taken, percentile(&trail.snapshots)))?;
            match found {
                (0, _) => Err(NO_SNAPSHOT.to_owned()),
                (_, None) => Err("the snapshots of this period do not tell it".to_owned()),
                (_, Some(n)) => Ok(n),
            }
        };
        let cpu = of(|snapshots| snapshots.cpu.percentile(95)).map(|n| Value::Cores(n as f64 / 1_000.0));
        m.figures
            .push(Figure::new("cpu_p95", "cores, mean of an hour", AUDIT, cpu));
        m.count(
            "memory_p95",
            "bytes",
            AUDIT,
            of(|snapshots| snapshots.memory.percentile(95)),
        );
        m.count(
            "spool_p95",
            "bytes",
            AUDIT,
            of(|snapshots| snapshots.spool.percentile(95)),
        );
        match &self.input.facts.door {
            Some(door) => m.each("refusals", "reason", "records", LOG, Ok(&door.refused)),
            None => m.each(
                "refusals",
                "receiver",
                BY_THE_HOUR,
                AUDIT,
                self.of_doors(|doors| &doors.refused),
            ),
        }
    }

    /// What came to the doors as far as snapshots tell.
    fn of_doors(&self, of: fn(&Snapshots) -> &Counts) -> Result<&'a Counts, String> {
        let snapshots = self.of_trail(|trail| &trail.snapshots)?;
        match snapshots.offered.is_empty() {
            true => Err(NO_SNAPSHOT.to_owned()),
            false => Ok(of(snapshots)),
        }
    }

    fn uncovered(&self) -> Figure {
        let millis: u64 = self.holes.iter().map(|(_, _, millis)| millis).sum();
        let value = match self.input.facts.sessions {
            0 => Err("no log has an entry in this period".to_owned()),
            _ => Ok(Value::Seconds(millis as f64 / 1_000.0)),
        };
        Figure::new("uncovered_seconds", "s", VERIFY, value)
    }

    fn except_holes(&self, m: &mut Making) {
        for (hole, to, millis) in &self.holes {
            let seconds = *millis as f64 / 1_000.0;
            let told = format!(
                "no sign of life for {seconds} s, until {to} ({})",
                hole.why.replace('_', " ")
            );
            m.except(Some(hole.from), told, &hole.writer);
        }
    }

    // --- C1.2 ---

    fn disposal(&self) -> Making {
        let (mut m, facts) = (Making::new(), self.input.facts);
        let totals = &self.input.verified.totals;
        m.count(
            "objects_expired",
            "objects",
            VERIFY,
            self.of_store(totals.expired),
        );
        m.count("shred_count", "actions", LOG, Ok(facts.shreds.total));
        m.count("shred_objects", "objects", LOG, Ok(facts.shredded_objects));
        let pending = facts
            .shred_pending
            .filter(|until| until.time() > self.input.period.to);
        let pending = pending.map(|until| Value::Text(until.to_string()));
        let pending =
            pending.ok_or_else(|| "no destruction of keys was waiting at the period's end".to_owned());
        m.figures
            .push(Figure::new("shred_pending_until", "time", LOG, pending));
        m.count(
            "holds_active",
            "objects",
            VERIFY,
            self.of_locks(self.input.verified.holds),
        );
        m.is_shown = facts.shreds.total > 0 || totals.expired > 0;
        m.population = Some(Population {
            what: "destructions of keys",
            count: facts.shreds.total,
            list: Some("evidence/c1.2-shreds.csv"),
            complete_by: ROOT,
        });
        m
    }

    // --- PI1 ---

    fn books(&self) -> Making {
        let (mut m, facts) = (Making::new(), self.input.facts);
        match &facts.door {
            Some(door) => {
                m.count("records_offered", "records", LOG, Ok(door.offered));
                m.count("records_accepted", "records", LOG, Ok(door.accepted));
                m.count("records_refused", "records", LOG, Ok(door.refused.total()));
            }
            None => {
                let total = |of| self.of_doors(of).map(Counts::total);
                m.count(
                    "records_offered",
                    BY_THE_HOUR,
                    AUDIT,
                    total(|doors| &doors.offered),
                );
                m.count(
                    "records_accepted",
                    BY_THE_HOUR,
                    AUDIT,
                    total(|doors| &doors.accepted),
                );
                m.count(
                    "records_refused",
                    BY_THE_HOUR,
                    AUDIT,
                    total(|doors| &doors.refused),
                );
            }
        }
        let total = self.of_trail(|trail| Value::Count(trail.dropped.total()));
        let dropped = Figure::new("dropped_before", "records", AUDIT, total);
        let tenants = self.of_trail(|trail| &trail.dropped_tenants).ok();
        let tenants = tenants
            .into_iter()
            .flat_map(Counts::iter)
            .map(|(name, n)| (name.to_owned(), n));
        m.figures.push(
            dropped
                .by_month(self.months_of_trail("dropped"))
                .by_tenant(tenants),
        );
        if self.of_trail(|trail| trail.dropped.len()).is_ok_and(|n| n > 0) {
            m.each(
                "dropped_before",
                "rule",
                "records",
                AUDIT,
                self.of_trail(|trail| &trail.dropped),
            );
        }
        let sums = &facts.sums;
        m.count("held_at_begin", "records", LOG, self.of_books(facts.opened));
        m.figures.push(
            self.broad("records_in", LOG, self.of_books(sums.admitted), |sums| {
                sums.admitted
            }),
        );
        m.count("carried_in", "records", LOG, self.of_books(sums.carried_in));
        m.count("created", "records", LOG, self.of_books(sums.created));
        m.figures
            .push(self.broad("archived", LOG, self.of_books(sums.archived), |sums| {
                sums.archived
            }));
        let books = |counts| self.of_books(0).map(|_| counts);
        m.each("dropped", "reason", "records", LOG, books(&sums.dropped));
        m.each("failed", "reason", "records", LOG, books(&sums.failed));
        m.count("merged", "records", LOG, self.of_books(sums.merged));
        m.figures
            .push(self.broad("lost", LOG, self.of_books(sums.lost), |sums| sums.lost));
        m.count("held_at_end", "records", LOG, self.of_books(facts.held));
        m.count("possibly_twice", "records", LOG, self.of_books(sums.twice));
        m.count("gaps", "object numbers", LOG, Ok(facts.gaps.total));
        m.count(
            "gap_records",
            "records",
            LOG,
            match facts.gap_unknown {
                0 => Ok(facts.gap_records),
                n => Err(format!("{n} gaps do not tell how many records they held")),
            },
        );
        m.count("ledger_imbalances", "rows", LOG, self.of_books(facts.unbalanced));
        m.figures.push(self.uncovered());
        for (name, percent) in [
            ("admission_to_sealed_p50", 50),
            ("admission_to_sealed_p95", 95),
            ("admission_to_sealed_p99", 99),
        ] {
            let nothing = "no object is of this period";
            m.seconds(name, LOG, Ok(facts.sealing.percentile(percent)), nothing);
        }
        if self.in_and_out().is_some_and(|(came, is)| came != is) {
            let (came, is) = self.in_and_out().unwrap_or_default();
            let told = format!("over the period {came} records came in and {is} are accounted for");
            m.except(None, told, "ledger");
        }
        m.except_all(&facts.gaps, |cells| {
            format!(
                "objects {} are not there, records lost: {} ({}; {})",
                cells[0], cells[1], cells[2], cells[3]
            )
        });
        let claims = [Claim::C1, Claim::C2, Claim::C3, Claim::C5];
        self.findings(&mut m, &claims);
        self.except_holes(&mut m);
        m.is_shown = facts.ledgers > 0;
        m.population = Some(Population {
            what: "books closed (a ledger of an interval, or a part of one)",
            count: facts.ledgers,
            list: Some("evidence/pi1.3-books.csv"),
            complete_by: "ledger and log root",
        });
        m
    }

    /// What the period's books say came in, and where it is.
    fn in_and_out(&self) -> Option<(u128, u128)> {
        let (facts, sums) = (self.input.facts, &self.input.facts.sums);
        let sum = |terms: &[u64]| terms.iter().map(|n| u128::from(*n)).sum::<u128>();
        let came = sum(&[facts.opened, sums.carried_in, sums.admitted, sums.created]);
        let gone = [sums.dropped.total(), sums.failed.total(), sums.merged];
        let is = sum(&[sums.archived, sums.lost, facts.held]) + sum(&gone);
        (facts.ledgers > 0).then_some((came, is))
    }

    /// A sum with its months and tenants.
    fn broad(
        &self,
        name: &'static str,
        source: &'static str,
        total: Result<u64, String>,
        of: impl Fn(&super::fold::Sums) -> u64 + Copy,
    ) -> Figure {
        let is_known = total.is_ok();
        let figure = Figure::new(name, "records", source, total.map(Value::Count));
        match is_known {
            true => figure
                .by_month(monthly(&self.input.facts.months, of))
                .by_tenant(monthly(&self.input.facts.tenants, of)),
            false => figure,
        }
    }

    fn destinations(&self) -> Making {
        let (mut m, facts) = (Making::new(), self.input.facts);
        let mut reached = facts.edges.clone().unwrap_or_default();
        if facts.ledgers > 0 {
            reached.add("archive", facts.sums.archived);
        }
        let counts = match reached.is_empty() {
            true => Err("no books were closed in this period".to_owned()),
            false => Ok(&reached),
        };
        m.each("records_per_destination", "destination", "records", LOG, counts);
        let others = facts.edges.as_ref().map(Counts::len);
        let others = others.ok_or_else(|| "the archive's log keeps only the archive's own books".to_owned());
        m.count("other_destinations", "destinations", LOG, others);
        m.each(
            "undelivered",
            "edge and reason",
            "records",
            AUDIT,
            self.of_trail(|trail| &trail.undelivered),
        );
        m.each("restores_by_actor", "actor", "jobs", LOG, Ok(&facts.restores_by));
        m.is_shown = facts.ledgers > 0;
        if let Ok(trail) = self.trail {
            for (what, n) in trail.undelivered.iter() {
                m.except(
                    None,
                    format!("{n} records were not delivered: {what}"),
                    "audit trail",
                );
            }
        }
        m
    }

    fn objects(&self) -> Making {
        let (mut m, facts) = (Making::new(), self.input.facts);
        let (sums, verified) = (&facts.sums, self.input.verified);
        let totals = &verified.totals;
        let mut objects = self.broad("objects", LOG, Ok(sums.objects), |sums| sums.objects);
        objects.unit = "objects";
        m.figures.push(objects);
        let mut bytes = self.broad("bytes", LOG, Ok(sums.bytes), |sums| sums.bytes);
        bytes.unit = "bytes";
        m.figures.push(bytes);
        m.figures
            .push(self.broad("records", LOG, Ok(sums.records), |sums| sums.records));
        let equal = totals.present.saturating_sub(totals.altered);
        m.count("objects_equal", "objects", VERIFY, self.of_store(equal));
        m.count(
            "objects_altered",
            "objects",
            VERIFY,
            self.of_store(totals.altered),
        );
        m.count(
            "objects_missing",
            "objects",
            VERIFY,
            self.of_store(totals.missing),
        );
        m.count(
            "objects_unnamed",
            "objects",
            VERIFY,
            self.of_store(totals.orphans),
        );
        m.count("objects_locked", "objects", LOG, Ok(sums.locked));
        let claim = verified.claims.get(&Claim::P1);
        let ok = claim.map_or(0, |claim| claim.checked.saturating_sub(claim.failed));
        m.count("objects_with_lock_ok", "objects", VERIFY, self.of_locks(ok));
        let below = claim.map_or(0, |claim| claim.failed);
        m.count("objects_below_policy", "objects", VERIFY, self.of_locks(below));
        let earliest = self.of_locks(verified.earliest_unlock);
        let earliest = earliest.and_then(|until| until.ok_or_else(|| "no object has a lock".to_owned()));
        let earliest = earliest.map(|until| Value::Text(until.to_string()));
        m.figures
            .push(Figure::new("earliest_unlock", "time", VERIFY, earliest));
        m.count("holds_active", "objects", VERIFY, self.of_locks(verified.holds));
        let mut classes: BTreeMap<&str, Option<[i64; 2]>> = BTreeMap::new();
        for ([class, _], kept) in &facts.kept {
            let days = classes.entry(class).or_default();
            *days = match (*days, kept.days) {
                (Some([a, b]), Some([c, d])) => Some([a.min(c), b.max(d)]),
                (one, other) => one.or(other),
            };
        }
        if classes.is_empty() {
            m.missing(
                &["retention_by_class"],
                "days",
                LOG,
                "no object is of this period",
            );
        }
        for (class, days) in classes {
            let value = match days {
                Some([least, most]) if least == most => Ok(Value::Text(least.to_string())),
                Some([least, most]) => Ok(Value::Text(format!("{least} to {most}"))),
                None => Err("its objects were written without a lock".to_owned()),
            };
            let mut figure = Figure::new("retention_by_class", "days", LOG, value);
            figure.label = Some(super::document::Label {
                key: "class",
                value: class.to_owned(),
            });
            m.figures.push(figure);
        }
        self.findings(&mut m, &[Claim::I1, Claim::P1]);
        for trouble in &verified.troubles {
            m.except(None, format!("could not be read: {trouble}"), "store");
        }
        m.is_shown = sums.objects > 0;
        m.population = Some(Population {
            what: "objects (each named by an entry; listed by class and tenant)",
            count: sums.objects,
            list: Some("evidence/pi1.5-objects.csv"),
            complete_by: ROOT,
        });
        m
    }
}

const NO_SNAPSHOT: &str = "no snapshot of metrics is of this period";
/// What came after the last snapshot of a process is in none.
const BY_THE_HOUR: &str = "records, until the last hourly snapshot";

fn population(what: &'static str, count: u64, list: &'static str) -> Option<Population> {
    Some(Population {
        what,
        count,
        list: Some(list),
        complete_by: CHAIN,
    })
}

/// So that the criteria named on the command line are those that are known.
pub(super) fn unknown(criteria: &[String]) -> Option<&String> {
    criteria.iter().find(|id| !CRITERIA.contains(&id.as_str()))
}

//! What the logs say of a period: each entry is added once to sums and short lists, nothing else is kept.
//!
//! One [`Fold`] takes one log, entry by entry, while the verifier checks the same bytes; [`Facts::join`] puts the logs
//! together in the order of their names, so that equal archives give equal facts. Objects count as the verifier counts
//! them, by admission; all else counts by the time of its entry.

use std::collections::{BTreeMap, BTreeSet};

use evidence::digest::Digest;
use evidence::entry::{DoorRow, EdgeRow, Entry, Kind, Ledger, Obj, Row, Start, Worm};
use evidence::names::{AUDIT_CLASS, EVIDENCE_CLASS, OWN_TENANT, Session};
use evidence::time::{Second, Time};

/// Rows that a list keeps; more are counted.
pub(super) const LIST_MAX: usize = 10_000;
/// Names that are told apart; more are told together.
const NAMES_MAX: usize = 10_000;
/// Objects of the audit trail that are read.
const AUDIT_OBJECTS_MAX: usize = 200_000;
const ANCHORS_MAX: usize = 1_000_000;
/// Objects of texts that are read.
const TEXTS_MAX: usize = 1_000;
/// Who is beyond [`NAMES_MAX`].
pub(super) const OTHERS: &str = "__other__";
const DAY: i64 = 86_400_000;

/// From a moment on, and before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) from: Option<Time>,
    pub(super) to: Time,
}

impl Period {
    pub(super) fn has(&self, t: Time) -> bool {
        self.from.is_none_or(|from| t >= from) && t < self.to
    }

    fn selects(&self, obj: &Obj) -> bool {
        let [first, last] = obj.ad;
        self.from.is_none_or(|from| last >= from) && first < self.to
    }

    /// What of a span lies inside, in milliseconds.
    pub(super) fn overlap(&self, from: Time, to: Time) -> u64 {
        let from = self.from.map_or(from, |begin| begin.max(from));
        u64::try_from(self.to.min(to).since(from)).unwrap_or(0)
    }
}

/// `2025-11`.
pub(super) fn month(t: Time) -> String {
    t.to_string()[..7].to_owned()
}

/// Counts by name; the names are bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts(BTreeMap<String, u64>);

impl Counts {
    pub(super) fn add(&mut self, name: &str, n: u64) {
        let known = self.0.len() < NAMES_MAX || self.0.contains_key(name);
        let sum = self
            .0
            .entry(if known { name } else { OTHERS }.to_owned())
            .or_default();
        *sum = sum.saturating_add(n);
    }

    pub(super) fn join(&mut self, other: &Counts) {
        other.0.iter().for_each(|(name, n)| self.add(name, *n));
    }

    pub(super) fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, n| sum.saturating_add(*n))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, n)| (name.as_str(), *n))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Things that happened, the earliest of them one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct List {
    pub(super) rows: Vec<ListRow>,
    /// With those that are not in `rows`.
    pub(super) total: u64,
}

/// When, what, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ListRow {
    pub(super) t: Time,
    pub(super) cells: Vec<String>,
    /// `writer/session#index`, or an audit record.
    pub(super) place: String,
}

impl List {
    pub(super) fn push(&mut self, t: Time, place: &str, cells: Vec<String>) {
        self.total += 1;
        if self.rows.len() < LIST_MAX {
            let place = place.to_owned();
            self.rows.push(ListRow { t, cells, place });
        }
    }

    fn join(&mut self, mut other: List) {
        self.total += other.total;
        self.rows.append(&mut other.rows);
        self.rows.sort();
        self.rows.truncate(LIST_MAX);
    }
}

/// How long things took, in milliseconds; each rounded up to three digits, so that there are few of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Spread(BTreeMap<u64, u64>);

impl Spread {
    pub(super) fn add(&mut self, millis: u64) {
        let unit = 10u64.pow(millis.max(1).ilog10().saturating_sub(2));
        *self
            .0
            .entry(millis.div_ceil(unit).saturating_mul(unit))
            .or_default() += 1;
    }

    fn join(&mut self, other: &Spread) {
        for (millis, n) in &other.0 {
            *self.0.entry(*millis).or_default() += n;
        }
    }

    /// How many were added.
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The least that so many of a hundred do not exceed; none of nothing.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        let all = self.0.values().map(|n| u128::from(*n)).sum::<u128>();
        let wanted = (all * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        self.0.iter().find_map(|(millis, n)| {
            seen += u128::from(*n);
            (seen >= wanted).then_some(*millis)
        })
    }
}

/// What is added up, for all, for a month or for a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) records: u64,
    pub(super) locked: u64,
    pub(super) carried_in: u64,
    pub(super) admitted: u64,
    pub(super) created: u64,
    pub(super) archived: u64,
    pub(super) merged: u64,
    pub(super) lost: u64,
    pub(super) twice: u64,
    pub(super) dropped: Counts,
    pub(super) failed: Counts,
}

impl Sums {
    fn obj(&mut self, obj: &Obj) {
        let records = if obj.of.is_none() { obj.n } else { 0 };
        add(&mut self.objects, 1);
        add(&mut self.bytes, obj.size);
        add(&mut self.records, records);
        add(&mut self.locked, u64::from(obj.lock.is_some()));
    }

    fn row(&mut self, row: &Row) {
        add(&mut self.carried_in, row.carried_in);
        add(&mut self.admitted, row.admitted);
        add(&mut self.created, row.created);
        add(&mut self.archived, row.arch);
        add(&mut self.merged, row.merged);
        add(&mut self.lost, row.lost);
        add(&mut self.twice, row.dup);
        row.drop.iter().for_each(|(why, n)| self.dropped.add(why, *n));
        row.failed.iter().for_each(|(why, n)| self.failed.add(why, *n));
    }

    fn join(&mut self, other: &Sums) {
        for (mine, theirs) in [
            (&mut self.objects, other.objects),
            (&mut self.bytes, other.bytes),
            (&mut self.records, other.records),
            (&mut self.locked, other.locked),
            (&mut self.carried_in, other.carried_in),
            (&mut self.admitted, other.admitted),
            (&mut self.created, other.created),
            (&mut self.archived, other.archived),
            (&mut self.merged, other.merged),
            (&mut self.lost, other.lost),
            (&mut self.twice, other.twice),
        ] {
            add(mine, theirs);
        }
        self.dropped.join(&other.dropped);
        self.failed.join(&other.failed);
    }
}

fn add(sum: &mut u64, n: u64) {
    *sum = sum.saturating_add(n);
}

/// Objects of one retention class and tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) unlocked: u64,
    pub(super) held: u64,
    /// Whole days between the last admission and the end of the lock, the least and the most.
    pub(super) days: Option<[i64; 2]>,
    pub(super) until: Option<[Second; 2]>,
}

impl Kept {
    fn join(&mut self, other: &Kept) {
        add(&mut self.objects, other.objects);
        add(&mut self.bytes, other.bytes);
        add(&mut self.unlocked, other.unlocked);
        add(&mut self.held, other.held);
        self.days = wider(self.days, other.days);
        self.until = wider(self.until, other.until);
    }
}

fn wider<T: Ord + Copy>(a: Option<[T; 2]>, b: Option<[T; 2]>) -> Option<[T; 2]> {
    match (a, b) {
        (Some([a, b]), Some([c, d])) => Some([a.min(c), b.max(d)]),
        (one, other) => one.or(other),
    }
}

/// An object of the audit trail, or of texts that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AuditObject {
    pub(super) writer: String,
    pub(super) admitted: Time,
    pub(super) session: String,
    /// Of its entry.
    pub(super) index: u64,
    pub(super) seq: u64,
    pub(super) key: String,
    pub(super) version: Option<String>,
    pub(super) sha256: Digest,
    pub(super) size: u64,
    pub(super) raw: u64,
    pub(super) records: u64,
    /// Neither encrypted nor in a form that is not read here.
    pub(super) is_plain: bool,
    pub(super) compression: String,
}

/// A record of the audit trail that a log vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) t: Time,
    pub(super) seq: u64,
    pub(super) hash: Digest,
    pub(super) place: String,
}

/// What receivers were offered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) offered: u64,
    pub(super) accepted: u64,
    pub(super) refused: Counts,
}

/// What some logs say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) sums: Sums,
    pub(super) months: BTreeMap<String, Sums>,
    pub(super) tenants: BTreeMap<String, Sums>,
    /// By month, tenant and signal.
    pub(super) books: BTreeMap<[String; 3], Sums>,
    /// By class and tenant.
    pub(super) kept: BTreeMap<[String; 2], Kept>,
    /// Each `service.name` that an object lists.
    pub(super) services: BTreeSet<String>,
    /// Whether some were not listed.
    pub(super) services_cut: bool,
    pub(super) sealing: Spread,
    pub(super) ledgers: u64,
    pub(super) unbalanced: u64,
    /// Held for the archive at the begin and at the end of the period.
    pub(super) opened: u64,
    pub(super) held: u64,
    pub(super) door: Option<Door>,
    /// Records by edge of the gateway, if logs tell.
    pub(super) edges: Option<Counts>,
    pub(super) skew_max_ms: Option<u64>,
    pub(super) gaps: List,
    pub(super) gap_records: u64,
    pub(super) gap_unknown: u64,
    pub(super) starts: List,
    pub(super) clean: u64,
    pub(super) unclean: u64,
    pub(super) recovered: u64,
    /// From the last entry before an unclean stop to the start after it.
    pub(super) recovery: Spread,
    pub(super) versions: Counts,
    pub(super) configs: Counts,
    pub(super) tests: List,
    pub(super) tests_ok: u64,
    pub(super) tests_failed: u64,
    pub(super) deletes_tried: u64,
    pub(super) deletes_refused: u64,
    pub(super) locks: Counts,
    pub(super) restores: List,
    pub(super) restored_records: u64,
    pub(super) restored_bytes: u64,
    pub(super) restores_by: Counts,
    pub(super) shreds: List,
    pub(super) shredded_objects: u64,
    pub(super) shred_pending: Option<Second>,
    pub(super) holds: List,
    pub(super) keys: u64,
    pub(super) audit_objects: Vec<AuditObject>,
    /// Objects of the audit trail beyond those.
    pub(super) audit_objects_more: u64,
    /// Objects of texts that the audit trail names: those of the period, and of each writer the newest before it.
    pub(super) texts: Vec<AuditObject>,
    texts_before: BTreeMap<String, AuditObject>,
    /// Those beyond.
    pub(super) texts_more: u64,
    pub(super) anchors: Vec<Anchor>,
    pub(super) first: Option<Time>,
    pub(super) last: Option<Time>,
    /// Logs with an entry in the period.
    pub(super) sessions: u64,
}

/// One log, being read.
#[derive(Debug)]
pub(super) struct Fold {
    period: Period,
    writer: String,
    session: String,
    facts: Facts,
    /// Of the entry before, in the period or not.
    last: Option<Time>,
    /// By tenant and signal: held at the end of the newest interval that had a row, and its number.
    held: BTreeMap<[String; 2], (u64, u64)>,
    interval: u64,
    ends: Option<[Time; 2]>,
    /// Whether an interval came before the period.
    has_past: bool,
}

impl Fold {
    pub(super) fn new(period: Period, writer: &str, session: &Session) -> Fold {
        Fold {
            period,
            writer: writer.to_owned(),
            session: session.to_string(),
            facts: Facts::default(),
            last: None,
            held: BTreeMap::new(),
            interval: 0,
            ends: None,
            has_past: false,
        }
    }

    /// Takes the next entry.
    pub(super) fn entry(&mut self, index: u64, entry: &Entry) {
        let place = format!("{}/{}#{index}", self.writer, self.session);
        if let Kind::Obj(obj) = &entry.kind {
            if is_own(obj, EVIDENCE_CLASS) {
                self.config(index, obj);
            }
            if self.period.selects(obj) {
                self.obj(entry.t, index, obj);
            }
        }
        if self.period.has(entry.t) {
            let facts = &mut self.facts;
            facts.first = facts.first.or(Some(entry.t));
            facts.last = Some(entry.t);
            facts.sessions = 1;
            self.inside(&place, entry);
        } else if let Kind::Ledger(ledger) = &entry.kind
            && entry.t < self.period.to
        {
            self.has_past = true;
            self.follow(ledger);
        }
        // A segment's own entry is written by whoever comes next.
        if !matches!(entry.kind, Kind::Seg(_)) {
            self.last = Some(entry.t);
        }
    }

    fn inside(&mut self, place: &str, entry: &Entry) {
        let t = entry.t;
        if let Kind::Ledger(ledger) = &entry.kind {
            return self.ledger(t, ledger);
        }
        let (before, facts) = (self.last, &mut self.facts);
        match &entry.kind {
            Kind::Start(start) => facts.start(t, place, start, before),
            Kind::Worm(worm) => facts.worm(t, place, worm),
            Kind::Gap(gap) => {
                let [from, to] = gap.range().unwrap_or_default();
                let n = gap.n.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
                let objects = format!("{from}..{to}");
                facts
                    .gaps
                    .push(t, place, vec![objects, n, gap.why.clone(), gap.detail.clone()]);
                add(&mut facts.gap_records, gap.n.unwrap_or(0));
                facts.gap_unknown += u64::from(gap.n.is_none());
            }
            Kind::Restore(r) => {
                let (n, bytes) = (r.n.to_string(), r.bytes.to_string());
                let cells = [&r.by, &r.filter, &n, &bytes, &r.to, &r.reason].map(String::clone);
                facts.restores.push(t, place, cells.to_vec());
                add(&mut facts.restored_records, r.n);
                add(&mut facts.restored_bytes, r.bytes);
                facts.restores_by.add(&r.by, 1);
            }
            Kind::Shred(shred) => {
                let confirmed = if shred.confirmed { "yes" } else { "no" };
                let (n, effective) = (shred.n.to_string(), shred.effective.to_string());
                let approvals = shred.approvals.join(" ");
                let cells = [
                    shred.kids.join(" "),
                    shred.method.clone(),
                    n,
                    effective,
                    approvals,
                ];
                facts
                    .shreds
                    .push(t, place, [&cells[..], &[confirmed.to_owned()]].concat());
                if !shred.confirmed {
                    add(&mut facts.shredded_objects, shred.n);
                    facts.shred_pending = facts.shred_pending.max(Some(shred.effective));
                }
            }
            Kind::Hold(hold) | Kind::Retain(hold) => {
                let what = match (hold.on, hold.until) {
                    (Some(true), _) => "hold".to_owned(),
                    (Some(false), _) => "release".to_owned(),
                    (None, Some(until)) => format!("retain until {until}"),
                    (None, None) => "retain".to_owned(),
                };
                let n = hold.n.to_string();
                let cells = [&hold.id, &what, &hold.filter, &n, &hold.by, &hold.reason].map(String::clone);
                facts.holds.push(t, place, cells.to_vec());
            }
            Kind::Key(_) => facts.keys += 1,
            Kind::Audit(audit) if facts.anchors.len() < ANCHORS_MAX => facts.anchors.push(Anchor {
                t,
                seq: audit.seq,
                hash: audit.hash,
                place: place.to_owned(),
            }),
            _ => {}
        }
    }

    fn obj(&mut self, logged: Time, index: u64, obj: &Obj) {
        let facts = &mut self.facts;
        let month = month(obj.ad[0]);
        facts.sums.obj(obj);
        facts.months.entry(month.clone()).or_default().obj(obj);
        named(&mut facts.tenants, &obj.tenant).obj(obj);
        booked(&mut facts.books, [&month, &obj.tenant, &obj.signal]).obj(obj);
        facts
            .sealing
            .add(u64::try_from(logged.since(obj.ad[0])).unwrap_or(0));
        let class = obj.class().unwrap_or("unknown");
        let lock = obj.lock.as_ref();
        let days = lock.map(|lock| lock.until.time().since(obj.ad[1]).div_euclid(DAY));
        let kept = Kept {
            objects: 1,
            bytes: obj.size,
            unlocked: u64::from(lock.is_none()),
            held: u64::from(lock.is_some_and(|lock| lock.hold)),
            days: days.map(|days| [days; 2]),
            until: lock.map(|lock| [lock.until; 2]),
        };
        keep(&mut facts.kept, [class, &obj.tenant], &kept);
        if is_own(obj, AUDIT_CLASS) {
            return self.audit_object(index, obj);
        }
        for name in obj.svc.iter().flatten() {
            if facts.services.len() < NAMES_MAX {
                if !facts.services.contains(name) {
                    facts.services.insert(name.clone());
                }
            } else {
                facts.services_cut |= !facts.services.contains(name);
            }
        }
        facts.services_cut |= obj.svc_more;
    }

    fn audit_object(&mut self, index: u64, obj: &Obj) {
        if self.facts.audit_objects.len() >= AUDIT_OBJECTS_MAX {
            self.facts.audit_objects_more += 1;
            return;
        }
        let object = self.own(index, obj);
        self.facts.audit_objects.push(object);
    }

    /// Texts that were in force at the period's begin were told before it.
    fn config(&mut self, index: u64, obj: &Obj) {
        let object = self.own(index, obj);
        if self.period.selects(obj) {
            match self.facts.texts.len() < TEXTS_MAX {
                true => self.facts.texts.push(object),
                false => self.facts.texts_more += 1,
            }
        } else if obj.ad[0] < self.period.to {
            self.facts.texts_before.insert(self.writer.clone(), object);
        }
    }

    fn own(&self, index: u64, obj: &Obj) -> AuditObject {
        AuditObject {
            writer: self.writer.clone(),
            admitted: obj.ad[0],
            session: self.session.clone(),
            index,
            seq: obj.seq,
            key: obj.key.clone(),
            version: obj.ver.clone(),
            sha256: obj.sha256,
            size: obj.size,
            raw: obj.raw,
            records: obj.n,
            is_plain: obj.fmt == "otlp_proto" && obj.enc.as_ref().is_none_or(|enc| enc.alg == "sse-kms"),
            compression: obj.cmp.clone(),
        }
    }

    /// Books of an interval before the period: what is held matters.
    fn follow(&mut self, ledger: &Ledger) {
        self.begin(ledger);
        for row in &ledger.rows {
            let name = [row.tenant.clone(), row.signal.clone()];
            self.held.insert(name, (row.held, self.interval));
        }
    }

    fn begin(&mut self, ledger: &Ledger) {
        let ends = Some([ledger.f, ledger.to]);
        if ends != self.ends || ledger.part.is_none_or(|[k, _]| k == 1) {
            self.ends = ends;
            self.interval += 1;
        }
    }

    fn ledger(&mut self, t: Time, ledger: &Ledger) {
        if self.facts.ledgers == 0 {
            // What the newest interval before left, or what the first row brings along from another session.
            self.facts.opened = self.holding();
        }
        self.follow(ledger);
        let is_first = self.interval == 1 && !self.has_past;
        let facts = &mut self.facts;
        facts.ledgers += 1;
        let month = month(t);
        for row in &ledger.rows {
            if is_first {
                add(&mut facts.opened, row.open);
            }
            facts.unbalanced += u64::from(!row.balances());
            facts.sums.row(row);
            facts.months.entry(month.clone()).or_default().row(row);
            named(&mut facts.tenants, &row.tenant).row(row);
            booked(&mut facts.books, [&month, &row.tenant, &row.signal]).row(row);
        }
        for row in &ledger.door {
            let DoorRow {
                offered,
                accepted,
                refused,
                ..
            } = row;
            facts.unbalanced += u64::from(!row.balances());
            let door = facts.door.get_or_insert_default();
            add(&mut door.offered, *offered);
            add(&mut door.accepted, *accepted);
            refused.iter().for_each(|(why, n)| door.refused.add(why, *n));
        }
        for row in &ledger.edges {
            let EdgeRow { edge, out, .. } = row;
            facts.unbalanced += u64::from(!row.balances());
            facts.edges.get_or_insert_default().add(edge, *out);
        }
        if let Some(skew) = ledger.skew_ms {
            facts.skew_max_ms = facts.skew_max_ms.max(Some(skew.unsigned_abs()));
        }
    }

    /// Held after the newest interval: who has no row in it has nothing.
    fn holding(&self) -> u64 {
        let newest = self
            .held
            .values()
            .filter(|(_, interval)| *interval == self.interval);
        newest.fold(0, |sum, (held, _)| sum.saturating_add(*held))
    }

    /// What the log says.
    pub(super) fn finish(mut self) -> Facts {
        self.facts.held = self.holding();
        self.facts
    }
}

impl Facts {
    fn start(&mut self, t: Time, place: &str, start: &Start, before: Option<Time>) {
        let config = start.config_sha256.to_string();
        let cells = [
            if start.clean { "clean" } else { "unclean" },
            &start.version,
            &config,
            &start.recovered.to_string(),
            start.journal.as_deref().unwrap_or_default(),
        ];
        self.starts.push(t, place, cells.map(str::to_owned).to_vec());
        add(&mut self.recovered, start.recovered);
        self.versions.add(&start.version, 1);
        self.configs.add(&config, 1);
        match start.clean {
            true => self.clean += 1,
            false => {
                self.unclean += 1;
                let gap = before.map(|before| u64::try_from(t.since(before)).unwrap_or(0));
                gap.into_iter().for_each(|gap| self.recovery.add(gap));
            }
        }
    }

    fn worm(&mut self, t: Time, place: &str, worm: &Worm) {
        self.locks.add(&worm.worm, 1);
        let Some(canary) = &worm.canary else { return };
        let is_ok = canary.readback && canary.conditional && canary.delete_refused != Some(false);
        // Without a lock nothing of it is tried.
        let has_lock = worm.worm != "none";
        let told = |is: bool| if is { "yes" } else { "no" };
        let cells = [
            worm.worm.as_str(),
            match (has_lock, is_ok) {
                (false, _) => "no lock",
                (true, true) => "ok",
                (true, false) => "failed",
            },
            told(canary.readback),
            told(canary.conditional),
            canary.delete_refused.map_or("not tried", told),
        ];
        self.tests.push(t, place, cells.map(str::to_owned).to_vec());
        self.tests_ok += u64::from(has_lock && is_ok);
        self.tests_failed += u64::from(has_lock && !is_ok);
        self.deletes_tried += u64::from(canary.delete_refused.is_some());
        self.deletes_refused += u64::from(canary.delete_refused == Some(true));
    }

    /// Puts logs together, given by writer and session: a session's books go on where those of the writer's session
    /// before it ended.
    pub(super) fn join(logs: impl IntoIterator<Item = ((String, String), Facts)>) -> Facts {
        let mut all = Facts::default();
        let mut before: Option<(String, u64)> = None;
        for ((writer, _), facts) in logs {
            let goes_on = before.take().filter(|(name, _)| *name == writer);
            if facts.ledgers > 0 {
                match goes_on {
                    Some((_, held)) => all.held -= held,
                    None => add(&mut all.opened, facts.opened),
                }
                add(&mut all.held, facts.held);
                before = Some((writer, facts.held));
            } else {
                before = goes_on;
            }
            all.add(facts);
        }
        all.audit_objects.sort_by(|a, b| {
            (&a.writer, a.admitted, &a.session, a.seq).cmp(&(&b.writer, b.admitted, &b.session, b.seq))
        });
        all.texts
            .extend(std::mem::take(&mut all.texts_before).into_values());
        all.texts
            .sort_by(|a, b| (&a.writer, a.admitted, &a.key).cmp(&(&b.writer, b.admitted, &b.key)));
        all.anchors.sort_by(|a, b| (a.t, &a.place).cmp(&(b.t, &b.place)));
        all
    }

    fn add(&mut self, other: Facts) {
        self.sums.join(&other.sums);
        for (month, sums) in &other.months {
            self.months.entry(month.clone()).or_default().join(sums);
        }
        for (tenant, sums) in &other.tenants {
            named(&mut self.tenants, tenant).join(sums);
        }
        for ([month, tenant, signal], sums) in &other.books {
            booked(&mut self.books, [month, tenant, signal]).join(sums);
        }
        for ([class, tenant], kept) in &other.kept {
            keep(&mut self.kept, [class, tenant], kept);
        }
        self.services_cut |= other.services_cut;
        for name in other.services {
            match self.services.len() < NAMES_MAX {
                true => drop(self.services.insert(name)),
                false => self.services_cut = true,
            }
        }
        self.sealing.join(&other.sealing);
        self.recovery.join(&other.recovery);
        if let Some(door) = other.door {
            let mine = self.door.get_or_insert_default();
            add(&mut mine.offered, door.offered);
            add(&mut mine.accepted, door.accepted);
            mine.refused.join(&door.refused);
        }
        if let Some(edges) = other.edges {
            self.edges.get_or_insert_default().join(&edges);
        }
        for (mine, theirs) in [
            (&mut self.ledgers, other.ledgers),
            (&mut self.unbalanced, other.unbalanced),
            (&mut self.gap_records, other.gap_records),
            (&mut self.gap_unknown, other.gap_unknown),
            (&mut self.clean, other.clean),
            (&mut self.unclean, other.unclean),
            (&mut self.recovered, other.recovered),
            (&mut self.tests_ok, other.tests_ok),
            (&mut self.tests_failed, other.tests_failed),
            (&mut self.deletes_tried, other.deletes_tried),
            (&mut self.deletes_refused, other.deletes_refused),
            (&mut self.restored_records, other.restored_records),
            (&mut self.restored_bytes, other.restored_bytes),
            (&mut self.shredded_objects, other.shredded_objects),
            (&mut self.keys, other.keys),
            (&mut self.audit_objects_more, other.audit_objects_more),
            (&mut self.sessions, other.sessions),
        ] {
            add(mine, theirs);
        }
        for (mine, theirs) in [
            (&mut self.gaps, other.gaps),
            (&mut self.starts, other.starts),
            (&mut self.tests, other.tests),
            (&mut self.restores, other.restores),
            (&mut self.shreds, other.shreds),
            (&mut self.holds, other.holds),
        ] {
            mine.join(theirs);
        }
        for (mine, theirs) in [
            (&mut self.versions, &other.versions),
            (&mut self.configs, &other.configs),
            (&mut self.locks, &other.locks),
            (&mut self.restores_by, &other.restores_by),
        ] {
            mine.join(theirs);
        }
        self.skew_max_ms = self.skew_max_ms.max(other.skew_max_ms);
        self.shred_pending = self.shred_pending.max(other.shred_pending);
        self.last = self.last.max(other.last);
        self.first = [self.first, other.first].into_iter().flatten().min();
        let room = AUDIT_OBJECTS_MAX - self.audit_objects.len();
        self.audit_objects_more += other.audit_objects.len().saturating_sub(room) as u64;
        self.audit_objects
            .extend(other.audit_objects.into_iter().take(room));
        let room = TEXTS_MAX.saturating_sub(self.texts.len());
        self.texts_more += other.texts.len().saturating_sub(room) as u64;
        self.texts.extend(other.texts.into_iter().take(room));
        for (writer, object) in other.texts_before {
            let known = self.texts_before.get(&writer);
            if known.is_none_or(|known| known.admitted <= object.admitted) {
                self.texts_before.insert(writer, object);
            }
        }
        let room = ANCHORS_MAX - self.anchors.len();
        self.anchors.extend(other.anchors.into_iter().take(room));
    }
}

/// Whether it holds records of the gateway's own, of a class.
fn is_own(obj: &Obj, class: &str) -> bool {
    obj.tenant == OWN_TENANT && obj.signal == "logs" && obj.class() == Some(class)
}

fn named<'a>(all: &'a mut BTreeMap<String, Sums>, name: &str) -> &'a mut Sums {
    let known = all.len() < NAMES_MAX || all.contains_key(name);
    all.entry(if known { name } else { OTHERS }.to_owned())
        .or_default()
}

fn booked<'a>(all: &'a mut BTreeMap<[String; 3], Sums>, [month, tenant, signal]: [&str; 3]) -> &'a mut Sums {
    let name = [month, tenant, signal].map(str::to_owned);
    let known = all.len() < NAMES_MAX || all.contains_key(&name);
    let name = if known {
        name
    } else {
        [month, OTHERS, signal].map(str::to_owned)
    };
    all.entry(name).or_default()
}

fn keep(all: &mut BTreeMap<[String; 2], Kept>, [class, tenant]: [&str; 2], kept: &Kept) {
    let name = [class, tenant].map(str::to_owned);
    let known = all.len() < NAMES_MAX || all.contains_key(&name);
    let name = if known {
        name
    } else {
        [class, OTHERS].map(str::to_owned)
    };
    match all.get_mut(&name) {
        Some(mine) => mine.join(kept),
        None => drop(all.insert(name, kept.clone())),
    }
}

//! The books over all lives of a gateway: what it kept when it stopped, or some moments before it died.
//!
//! [`Ledger::keep`] gives what is to be kept beside the journal, [`Ledger::remember`] takes it at the next start, together
//! with what the journal really holds. After a clean stop both agree, or something is wrong and said. After an unclean
//! one they differ by what happened since the books were last kept (and by what was held in memory); the difference
//! stands in the books by itself and is never evened out:
//!
//! ```text
//! over all lives, for a node    in + created + unbooked = out + dropped{rule} + merged + failed{reason} + held
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Column, Kind, Ledger, OTHER, Row, TENANTS_MAX, Totals};

/// Place and signal, as they are told.
type Where = (String, String);

/// The books of all lives so far, to be kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// When counting began, in milliseconds since 1970.
    pub since_ms: u64,
    /// When this was written.
    pub written_ms: u64,
    /// Lives that are in it.
    pub lives: u64,
    /// The last of them ended as it should: nothing was counted after this.
    pub clean: bool,
    /// Ordered by place, signal and tenant.
    lines: Vec<Past>,
    /// Where books and journal did not agree at a start.
    unbooked: Vec<Difference>,
}

/// One place, signal and tenant over all lives. Of what is held and what was carried in there is nothing here: the one
/// follows from the rest, the other moves nothing over all lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Past {
    kind: Kind,
    place: String,
    signal: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    totals: Totals,
}

/// Found in the journal beyond what the books said, at all starts together; negative where it was less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// As the ledger names it.
    pub place: String,
    /// `logs`, ...
    pub signal: String,
    /// Items.
    pub items: i64,
}

/// What a ledger knows of earlier lives.
#[derive(Default)]
pub(super) struct Memory {
    kept: Kept,
    unbooked: BTreeMap<Where, i64>,
    /// What the journal held at the start, where it is not all carried in yet.
    found: BTreeMap<Where, u64>,
    faults: Vec<String>,
}

/// What a report says of all lives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lives {
    /// When counting began, in milliseconds since 1970.
    pub since_ms: u64,
    /// How many, with this one.
    pub lives: u64,
    /// Found in the journal beyond what the books said.
    pub unbooked: Vec<Difference>,
    /// Still in the journal from earlier lives, and not carried in yet: being read, or nobody's any more.
    pub waiting: Vec<Difference>,
}

/// How items ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<'a> {
    /// Delivered.
    Out,
    /// On purpose, by this rule.
    Dropped(&'a str),
}

impl Kept {
    /// The same but for the time at which it was written.
    pub fn says_the_same(&self, other: &Kept) -> bool {
        (self.lives, self.clean) == (other.lives, other.clean)
            && self.unbooked == other.unbooked
            && self.lines == other.lines
    }

    /// Books what ended while no gateway ran, by a hand of somebody.
    pub fn book(&mut self, place: &str, signal: &str, tenant: Option<&str>, how: Ended<'_>, items: u64) {
        let is_it = |line: &Past| {
            (line.place.as_str(), line.signal.as_str(), line.tenant.as_deref()) == (place, signal, tenant)
        };
        let at = self.lines.iter().position(is_it).unwrap_or_else(|| {
            self.lines.push(Past {
                kind: Kind::Node,
                place: place.to_owned(),
                signal: signal.to_owned(),
                tenant: tenant.map(str::to_owned),
                totals: Totals::default(),
            });
            self.lines.len() - 1
        });
        let totals = &mut self.lines[at].totals;
        match how {
            Ended::Out => totals.columns[Column::Out as usize] += items,
            Ended::Dropped(rule) => *totals.dropped.entry(rule.to_owned()).or_default() += items,
        }
    }

    /// The same with all tenants in one: for what is too large to be kept.
    pub fn without_tenants(self) -> Kept {
        let mut lines: Vec<Past> = Vec::new();
        for line in self.lines {
            let tenant = line.tenant.as_ref().map(|_| OTHER.to_owned());
            let line = Past { tenant, ..line };
            match lines.last_mut() {
                Some(last) if line.is_beside(last) => last.totals.merge(&line.totals),
                _ => lines.push(line),
            }
        }
        Kept { lines, ..self }
    }
}

impl Past {
    fn is_beside(&self, other: &Past) -> bool {
        (&self.place, &self.signal, &self.tenant) == (&other.place, &other.signal, &other.tenant)
    }
}

impl Ledger {
    /// Begins with what was kept. `found` is what each journal holds now, by place (`exporter otlp_grpc`) and signal.
    ///
    /// The answer is one sentence for each place where a clean stop and the journal do not agree. Call it once, before
    /// anything is counted.
    pub fn remember(&self, kept: Kept, found: &BTreeMap<Where, u64>) -> Vec<String> {
        let mut memory = Memory {
            unbooked: differences(&kept.unbooked),
            found: found.clone(),
            ..Memory::default()
        };
        let mut held: BTreeMap<Where, i64> = memory.unbooked.clone();
        for line in kept.lines.iter().filter(|line| line.kind == Kind::Node) {
            let owed = line.totals.sources() as i64 - line.totals.sinks() as i64;
            *held.entry((line.place.clone(), line.signal.clone())).or_default() += owed;
        }
        for at in held.keys().chain(found.keys()) {
            let booked = held.get(at).copied().unwrap_or_default();
            let found = found.get(at).copied().unwrap_or_default();
            let items = found as i64 - booked;
            if items == 0 {
                continue;
            }
            if kept.clean {
                memory.faults.push(format!(
                    "{} {}: {booked} were held at the last stop, {found} were found",
                    at.0, at.1
                ));
            }
            memory
                .unbooked
                .insert(at.clone(), items + unbooked_before(&kept, at));
        }
        memory.faults.dedup();
        let faults = memory.faults.clone();
        memory.kept = kept;
        *self.memory.write() = Some(memory);
        faults
    }

    /// The books of all lives, this one included, to be kept at this time (milliseconds since 1970).
    pub fn keep(&self, now_ms: u64, clean: bool) -> Kept {
        let memory = self.memory.read();
        let nothing = Memory::default();
        let memory = memory.as_ref().unwrap_or(&nothing);
        let before = &memory.kept;
        Kept {
            since_ms: if before.lives == 0 {
                now_ms
            } else {
                before.since_ms
            },
            written_ms: now_ms,
            lives: before.lives + 1,
            clean,
            lines: self.over_all_lives(memory),
            unbooked: told(&memory.unbooked),
        }
    }

    fn over_all_lives(&self, memory: &Memory) -> Vec<Past> {
        let mut accounts: BTreeMap<Where, (Kind, BTreeMap<Option<String>, Totals>)> = BTreeMap::new();
        for line in &memory.kept.lines {
            let at = (line.place.clone(), line.signal.clone());
            let (_, tenants) = accounts.entry(at).or_insert_with(|| (line.kind, BTreeMap::new()));
            add(tenants, line.tenant.clone(), &line.totals);
        }
        for row in self.rows() {
            let at = (row.place.to_string(), row.signal.as_str().to_owned());
            let (_, tenants) = accounts
                .entry(at)
                .or_insert_with(|| (row.place.kind(), BTreeMap::new()));
            for (tenant, totals) in row.by_tenant() {
                add(tenants, tenant.map(|name| name.to_string()), &lasting(totals));
            }
        }
        let lines = accounts
            .into_iter()
            .flat_map(|((place, signal), (kind, tenants))| {
                tenants
                    .into_iter()
                    .filter(|(_, totals)| *totals != Totals::default())
                    .map(move |(tenant, totals)| Past {
                        kind,
                        place: place.clone(),
                        signal: signal.clone(),
                        tenant,
                        totals,
                    })
            });
        lines.collect()
    }

    /// What is told of all lives; `None` if nothing is kept.
    pub(super) fn lives(&self) -> Option<Lives> {
        let memory = self.memory.read();
        let memory = memory.as_ref()?;
        let rows = self.rows();
        let carried_in = |at: &Where| {
            let rows = rows.iter().filter(|row| is_at(row, at));
            rows.map(|row| row.total().get(Column::CarriedIn)).sum::<u64>()
        };
        let waiting = memory.found.iter().map(|(at, found)| {
            let items = *found as i64 - carried_in(at) as i64;
            (at.clone(), items)
        });
        Some(Lives {
            since_ms: memory.kept.since_ms,
            lives: memory.kept.lives + 1,
            unbooked: told(&memory.unbooked),
            waiting: told(&waiting.collect()),
        })
    }

    /// The lines of earlier lives and this one: kind, place, signal, tenant, totals.
    pub(super) fn lifetime(&self) -> Vec<(Kind, String, String, Option<String>, Totals)> {
        let memory = self.memory.read();
        let Some(memory) = memory.as_ref() else {
            return Vec::new();
        };
        let lines = self.over_all_lives(memory).into_iter();
        lines
            .map(|p| (p.kind, p.place, p.signal, p.tenant, p.totals))
            .collect()
    }

    /// Where the last clean stop and the journal did not agree.
    pub(super) fn faults_at_start(&self) -> Vec<String> {
        let memory = self.memory.read();
        memory.as_ref().map(|m| m.faults.clone()).unwrap_or_default()
    }
}

fn is_at(row: &Row, at: &Where) -> bool {
    row.signal.as_str() == at.1 && row.place.to_string() == at.0
}

fn unbooked_before(kept: &Kept, at: &Where) -> i64 {
    let found = kept.unbooked.iter().find(|d| d.place == at.0 && d.signal == at.1);
    found.map_or(0, |d| d.items)
}

fn differences(list: &[Difference]) -> BTreeMap<Where, i64> {
    let pairs = list
        .iter()
        .map(|d| ((d.place.clone(), d.signal.clone()), d.items));
    pairs.collect()
}

fn told(map: &BTreeMap<Where, i64>) -> Vec<Difference> {
    let some = map.iter().filter(|(_, items)| **items != 0);
    let told = some.map(|((place, signal), items)| Difference {
        place: place.clone(),
        signal: signal.clone(),
        items: *items,
    });
    told.collect()
}

/// What of a life counts over all of them.
fn lasting(mut totals: Totals) -> Totals {
    totals.columns[Column::Held as usize] = 0;
    totals.columns[Column::CarriedIn as usize] = 0;
    totals
}

/// Adds to a tenant, or to `other` where there are too many.
fn add(tenants: &mut BTreeMap<Option<String>, Totals>, tenant: Option<String>, totals: &Totals) {
    let is_full = tenants.len() > TENANTS_MAX;
    let tenant = match tenant {
        Some(name) if is_full && !tenants.contains_key(&Some(name.clone())) => Some(OTHER.to_owned()),
        tenant => tenant,
    };
    tenants.entry(tenant).or_default().merge(totals);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wire::Signal;

    use super::*;
    use crate::{Node, Place};

    fn row(ledger: &Ledger, id: &str) -> Arc<Row> {
        ledger.row(Place::Node(Node::Exporter(id.into())), Signal::Logs)
    }

    fn found(items: u64) -> BTreeMap<Where, u64> {
        [(("exporter a".to_owned(), "logs".to_owned()), items)].into()
    }

    fn difference(items: i64) -> Vec<Difference> {
        let all = [Difference {
            place: "exporter a".into(),
            signal: "logs".into(),
            items,
        }];
        all.into_iter().filter(|d| d.items != 0).collect()
    }

    /// As it comes back from where it was kept.
    fn reread(kept: &Kept) -> Kept {
        let text = serde_json::to_vec(kept).unwrap();
        let again: Kept = serde_json::from_slice(&text).unwrap();
        assert_eq!(&again, kept);
        again
    }

    /// A life: so many carried in, so many came, so many went.
    fn life(ledger: &Ledger, carried_in: u64, came: u64, out: u64) {
        let row = row(ledger, "a");
        row.add_items(Column::CarriedIn, None, carried_in);
        row.add_items(Column::In, None, came);
        row.add_items(Column::Out, None, out);
        row.add_items(Column::Held, None, carried_in + came - out);
    }

    fn lifetime(ledger: &Ledger) -> String {
        let lines = ledger.lifetime();
        assert_eq!(lines.len(), 1);
        lines[0].4.to_string()
    }

    #[test]
    fn clean_stops_add_up() {
        let first = Ledger::default();
        life(&first, 0, 10, 4);
        row(&first, "a").touch_items("redaction:card", None, 2);
        let kept = reread(&first.keep(1000, true));
        let second = Ledger::default();
        assert_eq!(second.remember(kept, &found(6)), Vec::<String>::new());
        assert_eq!(second.lives().unwrap().waiting, difference(6));
        life(&second, 6, 5, 9);
        row(&second, "a").touch_items("redaction:card", None, 1);
        let told = second.lives().unwrap();
        assert_eq!(
            told,
            Lives {
                since_ms: 1000,
                lives: 2,
                ..Lives::default()
            }
        );
        assert_eq!(lifetime(&second), "in 15, out 13, touched{redaction:card} 3");
        let kept = reread(&second.keep(2000, true));
        assert_eq!((kept.since_ms, kept.written_ms, kept.lives), (1000, 2000, 2));
        let third = Ledger::default();
        assert_eq!(third.remember(kept, &found(2)), Vec::<String>::new());
    }

    #[test]
    fn what_a_clean_stop_held_and_nobody_finds_is_a_fault() {
        let first = Ledger::default();
        life(&first, 0, 10, 4);
        let second = Ledger::default();
        let told = second.remember(first.keep(1000, true), &found(5));
        let sentence = "exporter a logs: 6 were held at the last stop, 5 were found";
        assert_eq!(told, [sentence]);
        assert_eq!(second.faults_at_start(), [sentence]);
        assert_eq!(second.lives().unwrap().unbooked, difference(-1));
    }

    #[test]
    fn what_happened_after_the_books_were_kept_stands_by_itself() {
        #[track_caller]
        fn check(in_journal: u64, unbooked: i64) {
            let first = Ledger::default();
            life(&first, 0, 10, 4);
            let mut before = first.keep(1000, false);
            let mut total = 0;
            // It dies twice, each time with as much that the books do not know.
            for _ in 0..2 {
                let next = Ledger::default();
                assert_eq!(next.remember(before, &found(in_journal)), Vec::<String>::new());
                total += unbooked;
                life(&next, in_journal, 0, in_journal - 6.min(in_journal));
                assert_eq!(next.lives().unwrap().unbooked, difference(total));
                let all = next.lifetime()[0].4.clone();
                let held = row(&next, "a").total().held();
                assert_eq!(
                    all.sources() as i64 + total,
                    (all.sinks() + held) as i64,
                    "the law over all lives"
                );
                before = next.keep(2000, false);
            }
        }
        // Appended, and not booked any more; sent, and not booked any more.
        check(9, 3);
        check(6, 0);
    }

    #[test]
    fn a_memory_queue_takes_what_it_held_with_it() {
        let first = Ledger::default();
        life(&first, 0, 10, 4);
        let second = Ledger::default();
        assert_eq!(
            second.remember(first.keep(1000, false), &BTreeMap::new()),
            Vec::<String>::new()
        );
        assert_eq!(second.lives().unwrap().unbooked, difference(-6));
        assert_eq!(second.keep(2000, true).unbooked, difference(-6));
        // The loss is told once, and stays.
        let third = Ledger::default();
        assert_eq!(
            third.remember(second.keep(2000, true), &BTreeMap::new()),
            Vec::<String>::new()
        );
        assert_eq!(third.lives().unwrap().unbooked, difference(-6));
    }

    #[test]
    fn a_queue_whose_exporter_is_gone_waits() {
        let first = Ledger::default();
        life(&first, 0, 10, 4);
        let mut kept = first.keep(1000, true);
        for _ in 0..3 {
            let next = Ledger::default();
            assert_eq!(next.remember(kept, &found(6)), Vec::<String>::new());
            assert_eq!(next.lives().unwrap().waiting, difference(6));
            kept = next.keep(2000, true);
        }
    }

    #[test]
    fn what_ends_by_hand_between_two_lives_is_booked() {
        let first = Ledger::default();
        life(&first, 0, 10, 4);
        let mut kept = first.keep(1000, true);
        kept.book("exporter a", "logs", None, Ended::Out, 1);
        kept.book("exporter a", "logs", Some("x"), Ended::Dropped("discarded"), 2);
        let second = Ledger::default();
        assert_eq!(second.remember(reread(&kept), &found(3)), Vec::<String>::new());
        let told: Vec<String> = second.lifetime().iter().map(|line| line.4.to_string()).collect();
        assert_eq!(told, ["in 10, out 5", "dropped{discarded} 2"]);
    }

    #[test]
    fn tenants_beyond_the_cap_are_others() {
        let mut tenants = BTreeMap::new();
        let mut totals = Totals::default();
        totals.columns[Column::In as usize] = 1;
        for i in 0..TENANTS_MAX + 500 {
            add(&mut tenants, Some(format!("t{i}")), &totals);
        }
        assert!(tenants.len() <= TENANTS_MAX + 2);
        let all: u64 = tenants.values().map(Totals::sources).sum();
        assert_eq!(all, TENANTS_MAX as u64 + 500);
        add(&mut tenants, Some("t0".into()), &totals);
        assert_eq!(tenants[&Some("t0".to_owned())].sources(), 2);
    }

    #[test]
    fn books_that_are_too_large_can_be_kept_without_tenants() {
        let ledger = Ledger::default();
        for id in ["a", "b"] {
            for (tenant, items) in [(None, 1), (Some("x"), 2), (Some("y"), 3)] {
                let tenant: Option<Arc<str>> = tenant.map(Arc::from);
                row(&ledger, id).add_items(Column::In, tenant.as_ref(), items);
            }
        }
        let kept = ledger.keep(0, false).without_tenants();
        let lines: Vec<(&str, Option<&str>, u64)> = kept
            .lines
            .iter()
            .map(|line| (line.place.as_str(), line.tenant.as_deref(), line.totals.sources()))
            .collect();
        assert_eq!(
            lines,
            [
                ("exporter a", None, 1),
                ("exporter a", Some("other"), 5),
                ("exporter b", None, 1),
                ("exporter b", Some("other"), 5),
            ]
        );
    }
}

//! The ledger of one session: rows balance, intervals join, and what it says was archived is what `obj` entries say.

use std::collections::BTreeMap;

use super::report::{Claim, Findings, Totals};
use crate::entry::{Ledger, Obj};
use crate::time::Time;

/// The books as they stand after some entries.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// By tenant, then by signal: found without making a key.
    accounts: BTreeMap<String, Vec<(String, Account)>>,
    /// Counts the intervals.
    interval: u64,
    /// The interval whose parts are not all there: its ends, and the last part of how many.
    open: Option<(Time, Time, [u64; 2])>,
    last_to: Option<Time>,
    /// Whether a process began since the last interval: `carried_in` may stand in its rows,
    started: bool,
    /// and if the one before died, time may be missing.
    crashed: bool,
    /// Whether another session came before, so that first rows may open with something.
    has_past: bool,
}

#[derive(Debug, Default)]
struct Account {
    /// In `obj` entries since the last row.
    named: u64,
    held: u64,
    /// The last interval with a row.
    seen: u64,
}

impl Books {
    pub(super) fn follows_another(&mut self) {
        self.has_past = true;
    }

    pub(super) fn started(&mut self, clean: bool) {
        self.started = true;
        self.crashed |= !clean;
    }

    /// Counts an object that was not derived from others.
    pub(super) fn object(&mut self, obj: &Obj) {
        let account = self.account(&obj.tenant, &obj.signal);
        account.named = account.named.saturating_add(obj.n);
    }

    fn account(&mut self, tenant: &str, signal: &str) -> &mut Account {
        // Asked twice, so that a known tenant costs no key.
        if !self.accounts.contains_key(tenant) {
            self.accounts.insert(tenant.to_owned(), Vec::new());
        }
        let signals = self.accounts.get_mut(tenant).expect("put there just now");
        let at = signals
            .iter()
            .position(|(name, _)| name == signal)
            .unwrap_or_else(|| {
                signals.push((signal.to_owned(), Account::default()));
                signals.len() - 1
            });
        &mut signals[at].1
    }

    pub(super) fn ledger(&mut self, ledger: &Ledger, place: &str, totals: &mut Totals, found: &mut Findings) {
        self.begin(ledger, place, found);
        for row in &ledger.rows {
            found.checked(Claim::C3, 1);
            let who = format!("{} {}", row.tenant, row.signal);
            if !row.balances() {
                let detail = format!(
                    "{who}: {} came in, {} are somewhere",
                    row.incoming(),
                    row.outgoing()
                );
                found.fail(Claim::C3, "unbalanced", place, detail);
            }
            if row.carried_in > 0 && !self.started {
                let detail = format!("{who}: {} carried in, and no process began", row.carried_in);
                found.fail(Claim::C3, "carried_in", place, detail);
            }
            let (interval, has_past) = (self.interval, self.has_past);
            let account = self.account(&row.tenant, &row.signal);
            if account.seen == interval {
                found.fail(Claim::C3, "row_twice", place, who);
                continue;
            }
            if row.open != account.held && (account.seen > 0 || !has_past) {
                let detail = format!("{who}: opens with {}, {} were held", row.open, account.held);
                found.fail(Claim::C3, "open_differs", place, detail);
            }
            if row.arch != account.named {
                let detail = format!("{who}: {} archived, entries name {}", row.arch, account.named);
                found.fail(Claim::C3, "arch_differs", place, detail);
            }
            *account = Account {
                named: 0,
                held: row.held,
                seen: interval,
            };
            let removed = row
                .drop
                .values()
                .chain(row.failed.values())
                .fold(row.merged, |a, b| a.saturating_add(*b));
            totals.admitted = totals.admitted.saturating_add(row.admitted);
            totals.removed = totals.removed.saturating_add(removed);
            totals.lost = totals.lost.saturating_add(row.lost);
            totals.dup = totals.dup.saturating_add(row.dup);
        }
        for row in ledger.edges.iter().filter(|row| !row.balances()) {
            let detail = format!("{} {} {}", row.edge, row.tenant, row.signal);
            found.fail(Claim::C3, "edge_unbalanced", place, detail);
        }
        for row in ledger.door.iter().filter(|row| !row.balances()) {
            let detail = format!("{} {} {}", row.receiver, row.tenant, row.signal);
            found.fail(Claim::C3, "door_unbalanced", place, detail);
        }
        if ledger.part.is_none_or(|[k, n]| k == n) {
            self.end(place, found);
        }
    }

    fn begin(&mut self, ledger: &Ledger, place: &str, found: &mut Findings) {
        let part = ledger.part.unwrap_or([1, 1]);
        let ends = (ledger.f, ledger.to);
        if let Some((f, to, [k, n])) = self.open.take() {
            if ends == (f, to) && part == [k + 1, n] {
                self.open = Some((f, to, part));
                return;
            }
            let detail = format!("after part {k} of {n} comes part {} of {}", part[0], part[1]);
            found.fail(Claim::C3, "parts", place, detail);
        }
        if part[0] != 1 || part[1] == 0 {
            let detail = format!("begins with part {} of {}", part[0], part[1]);
            found.fail(Claim::C3, "parts", place, detail);
        }
        let joins = match self.last_to {
            Some(last) => ledger.f == last || self.crashed && ledger.f > last,
            None => true,
        };
        if !joins || ledger.to < ledger.f {
            let last = self
                .last_to
                .map_or_else(|| "nothing".to_owned(), |last| last.to_string());
            let detail = format!("{} to {} after {last}", ledger.f, ledger.to);
            found.fail(Claim::C3, "interval", place, detail);
        }
        self.open = Some((ledger.f, ledger.to, part));
        self.last_to = Some(ledger.to);
        self.interval += 1;
    }

    /// Whoever has no row had nothing: neither held before nor named since.
    fn end(&mut self, place: &str, found: &mut Findings) {
        self.open = None;
        self.started = false;
        self.crashed = false;
        for (tenant, signals) in &mut self.accounts {
            for (signal, account) in signals.iter_mut().filter(|(_, a)| a.seen != self.interval) {
                if account.held > 0 {
                    let detail = format!("{tenant} {signal}: {} were held", account.held);
                    found.fail(Claim::C3, "row_missing", place, detail);
                }
                if account.named > 0 {
                    let detail = format!("{tenant} {signal}: 0 archived, entries name {}", account.named);
                    found.fail(Claim::C3, "arch_differs", place, detail);
                }
                account.held = 0;
                account.named = 0;
            }
        }
    }
}

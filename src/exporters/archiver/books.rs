//! The archive's own books: for each tenant and signal what came, what is in named objects, what is held.
//!
//! `open + carried_in + in = arch + lost + held` in every row and at every moment. They live in memory, are written down
//! with each signed head, and are put right after a restart by what the log and the state journal say: records that were
//! taken before a crash and come again out of the journal are no new ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use evidence::entry::{DoorRow, EdgeRow, Ledger, Row};
use evidence::time::Time;
use serde::{Deserialize, Serialize};
use wire::Signal;

/// Whose, and of what.
type Name = (Arc<str>, &'static str);

/// Rows by tenant and signal.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Books {
    rows: BTreeMap<Name, Account>,
    /// Where the present interval begins.
    from: Option<Time>,
}

/// One row of the present interval.
#[derive(Clone, Debug, Default, PartialEq)]
struct Account {
    open: u64,
    carried_in: u64,
    admitted: u64,
    archived: u64,
    lost: u64,
    held: u64,
    /// Of what is held, what the journal will bring again.
    again: u64,
}

/// As it is kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Saved {
    from: Option<Time>,
    rows: Vec<SavedRow>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct SavedRow {
    tenant: String,
    signal: String,
    open: u64,
    archived: u64,
    /// What the row said that was written before it.
    held: u64,
}

fn signal_name(name: &str) -> Option<&'static str> {
    Signal::parse(name).map(Signal::as_str)
}

impl Books {
    /// Books that begin now.
    pub(super) fn new(now: Time) -> Books {
        Books {
            from: Some(now),
            ..Books::default()
        }
    }

    fn account(&mut self, tenant: &Arc<str>, signal: &'static str) -> &mut Account {
        self.rows.entry((tenant.clone(), signal)).or_default()
    }

    /// Records were taken.
    pub(super) fn take(&mut self, tenant: &Arc<str>, signal: Signal, n: u64) {
        let account = self.account(tenant, signal.as_str());
        let again = account.again.min(n);
        account.again -= again;
        account.admitted += n - again;
        account.held += n - again;
    }

    /// An object was named.
    pub(super) fn archive(&mut self, tenant: &str, signal: &str, n: u64) {
        let Some(signal) = signal_name(signal) else { return };
        let account = self.account(&tenant.into(), signal);
        account.archived += n;
        // More than was held: named before it was known here, after a restart.
        let beyond = n.saturating_sub(account.held);
        account.carried_in += beyond;
        account.held -= n - beyond;
    }

    /// What an object held will come again.
    pub(super) fn release(&mut self, tenant: &str, signal: &str, n: u64) {
        let Some(signal) = signal_name(signal) else { return };
        let account = self.account(&tenant.into(), signal);
        account.again += n.min(account.held - account.again.min(account.held));
    }

    /// What an object held is lost.
    pub(super) fn lose(&mut self, tenant: &str, signal: &str, n: u64) {
        let Some(signal) = signal_name(signal) else { return };
        let account = self.account(&tenant.into(), signal);
        let lost = n.min(account.held);
        account.held -= lost;
        account.lost += lost;
    }

    /// Of what was to come again these are found, in an object that will be named.
    pub(super) fn find(&mut self, tenant: &str, signal: &str, n: u64) {
        let Some(signal) = signal_name(signal) else { return };
        let account = self.account(&tenant.into(), signal);
        let known = account.again.min(n);
        account.again -= known;
        // Taken after the last row was written.
        account.carried_in += n - known;
        account.held += n - known;
    }

    /// Nothing of these signals that was taken before comes again.
    pub(super) fn lose_what_was_to_come_again(&mut self, is_lost: impl Fn(Signal) -> bool) -> u64 {
        let mut all = 0;
        let lost = |(_, signal): &Name| Signal::parse(signal).is_some_and(&is_lost);
        for (_, account) in self.rows.iter_mut().filter(|(name, _)| lost(name)) {
            let lost = std::mem::take(&mut account.again);
            account.held -= lost;
            account.lost += lost;
            all += lost;
        }
        all
    }

    /// Writes the interval down, and begins the next one; `pend`: numbers of objects that are not named yet.
    ///
    /// None, and nothing changes, if there is nothing to say. `others`: what is told of the gateway's other books.
    pub(super) fn close(
        &mut self,
        to: Time,
        pend: Vec<[u64; 2]>,
        skew_ms: Option<i64>,
        anyway: bool,
        others: impl FnOnce() -> (Vec<EdgeRow>, Vec<DoorRow>),
    ) -> Vec<Ledger> {
        let from = self.from.unwrap_or(to);
        // A clock that was put back: intervals join all the same.
        let to = to.max(from);
        let row = |((tenant, signal), account): (&Name, &Account)| Row {
            tenant: tenant.to_string(),
            signal: (*signal).to_owned(),
            open: account.open,
            carried_in: account.carried_in,
            admitted: account.admitted,
            arch: account.archived,
            lost: account.lost,
            held: account.held,
            ..Row::default()
        };
        let rows: Vec<Row> = self.rows.iter().map(row).filter(|row| !row.is_zero()).collect();
        debug_assert!(rows.iter().all(Row::balances), "{rows:?}");
        if rows.is_empty() && !anyway {
            return Vec::new();
        }
        for account in self.rows.values_mut() {
            *account = Account {
                open: account.held,
                held: account.held,
                again: account.again,
                ..Account::default()
            };
        }
        self.rows.retain(|_, account| account.held > 0);
        self.from = Some(to);
        let (edges, door) = others();
        let ledger = Ledger {
            f: from,
            to,
            rows,
            pend,
            part: None,
            edges,
            door,
            unknown: Vec::new(),
            skew_ms,
        };
        ledger.split()
    }

    /// How many rows the next entry has, about.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Records taken and not yet in a named object.
    pub(super) fn held(&self) -> u64 {
        self.rows.values().map(|account| account.held).sum()
    }

    /// Whether the law holds in every row.
    pub(super) fn balance(&self) -> bool {
        self.rows
            .values()
            .all(|a| a.open + a.carried_in + a.admitted == a.archived + a.lost + a.held)
    }

    /// As it is kept on disk with a signed head.
    pub(super) fn save(&self) -> Saved {
        let row = |((tenant, signal), account): (&Name, &Account)| SavedRow {
            tenant: tenant.to_string(),
            signal: (*signal).to_owned(),
            open: account.open,
            archived: account.archived,
            held: 0,
        };
        Saved {
            from: self.from,
            rows: self.rows.iter().map(row).collect(),
        }
    }

    /// After a restart: what was saved, then the entries behind it (`follow`), then the objects that are sealed and not
    /// named (`settle`).
    pub(super) fn restore(saved: &Saved) -> Books {
        let mut books = Books {
            from: saved.from,
            ..Books::default()
        };
        for row in &saved.rows {
            if let Some(signal) = signal_name(&row.signal) {
                let account = books.account(&row.tenant.as_str().into(), signal);
                (account.open, account.archived) = (row.open, row.archived);
            }
        }
        books
    }

    /// A ledger entry behind what was saved.
    pub(super) fn follow(&mut self, ledger: &Ledger) {
        if self.from != Some(ledger.to) {
            self.rows.clear();
            self.from = Some(ledger.to);
        }
        for row in &ledger.rows {
            if let Some(signal) = signal_name(&row.signal) {
                let account = self.account(&row.tenant.as_str().into(), signal);
                *account = Account {
                    open: row.held,
                    ..Account::default()
                };
            }
        }
    }

    /// An object entry behind what was saved.
    pub(super) fn follow_object(&mut self, tenant: &str, signal: &str, n: u64) {
        if let Some(signal) = signal_name(signal) {
            self.account(&tenant.into(), signal).archived += n;
        }
    }

    /// The books of the session after one whose end nobody has: what was open at its last row comes again, and what was
    /// taken since counts when it does.
    pub(super) fn again(mut self) -> Books {
        for account in self.rows.values_mut() {
            let open = account.open.saturating_sub(account.archived);
            *account = Account {
                open,
                held: open,
                again: open,
                ..Account::default()
            };
        }
        self.rows.retain(|_, account| account.open > 0);
        self
    }

    /// Of what is to come again only so much will as those books have; gives how many records are lost.
    pub(super) fn lose_beyond(&mut self, known: &Books) -> u64 {
        let mut all = 0;
        for (name, account) in &mut self.rows {
            let again = known.rows.get(name).map_or(0, |account| account.again);
            let lost = account.again.saturating_sub(again);
            account.again -= lost;
            account.held -= lost;
            account.lost += lost;
            all += lost;
        }
        all
    }

    /// Ends the restoration: what is sealed and not named is held, and the rest of what was open comes again.
    pub(super) fn settle<'a>(&mut self, sealed: impl Iterator<Item = (&'a str, &'a str, u64)>) {
        let mut held: BTreeMap<Name, u64> = BTreeMap::new();
        for (tenant, signal, n) in sealed {
            if let Some(signal) = signal_name(signal) {
                *held.entry((tenant.into(), signal)).or_default() += n;
                self.account(&tenant.into(), signal);
            }
        }
        for (name, account) in &mut self.rows {
            let sealed = held.get(name).copied().unwrap_or_default();
            let known = account.archived + sealed;
            account.again = account.open.saturating_sub(known);
            account.carried_in = known.saturating_sub(account.open);
            account.held = sealed + account.again;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(books: &mut Books, to: i64) -> Vec<Row> {
        assert!(books.balance());
        let ledgers = books.close(Time::from_millis(to), Vec::new(), None, false, Default::default);
        assert!(ledgers.iter().flat_map(|l| &l.rows).all(Row::balances));
        ledgers.into_iter().flat_map(|l| l.rows).collect()
    }

    fn sketch(rows: &[Row]) -> Vec<[u64; 6]> {
        rows.iter()
            .map(|r| [r.open, r.carried_in, r.admitted, r.arch, r.lost, r.held])
            .collect()
    }

    #[test]
    fn what_came_is_named_or_held() {
        let tenant: Arc<str> = "a".into();
        let mut books = Books::new(Time::from_millis(0));
        assert!(rows(&mut books, 1).is_empty());
        books.take(&tenant, Signal::Logs, 10);
        books.archive("a", "logs", 4);
        assert_eq!(sketch(&rows(&mut books, 2)), [[0, 0, 10, 4, 0, 6]]);
        assert_eq!(sketch(&rows(&mut books, 3)), [[6, 0, 0, 0, 0, 6]]);
        books.archive("a", "logs", 6);
        assert_eq!(sketch(&rows(&mut books, 4)), [[6, 0, 0, 6, 0, 0]]);
        assert!(rows(&mut books, 5).is_empty());
        let anyway = books.close(Time::from_millis(9), vec![[1, 2]], None, true, Default::default);
        assert_eq!(
            (anyway[0].f, anyway[0].to),
            (Time::from_millis(5 - 1), Time::from_millis(9))
        );
        assert_eq!(anyway[0].pend, [[1, 2]]);
    }

    #[test]
    fn after_a_restart_old_records_are_no_new_ones() {
        // open, named since, sealed, comes again: what the first row then says.
        let check = |open: u64, named: u64, sealed: u64, replayed: u64, expected: [u64; 6]| {
            let mut before = Books::new(Time::from_millis(0));
            before.take(&"a".into(), Signal::Logs, open);
            rows(&mut before, 1);
            let mut books = Books::restore(&before.save());
            books.follow_object("a", "logs", named);
            books.settle([("a", "logs", sealed)].into_iter());
            assert!(books.balance());
            books.take(&"a".into(), Signal::Logs, replayed);
            assert_eq!(
                sketch(&rows(&mut books, 2)),
                [expected],
                "{open} {named} {sealed} {replayed}"
            );
        };
        check(10, 0, 0, 10, [10, 0, 0, 0, 0, 10]);
        check(10, 4, 0, 6, [10, 0, 0, 4, 0, 6]);
        check(10, 4, 3, 3, [10, 0, 0, 4, 0, 6]);
        // More than the last row knew of.
        check(10, 4, 3, 5, [10, 0, 2, 4, 0, 8]);
        check(10, 8, 5, 0, [10, 3, 0, 8, 0, 5]);
        check(10, 12, 0, 1, [10, 2, 1, 12, 0, 1]);
        // Not all came again yet.
        check(10, 0, 0, 4, [10, 0, 0, 0, 0, 10]);
    }

    #[test]
    fn entries_behind_what_was_saved_count() {
        let mut before = Books::new(Time::from_millis(0));
        before.take(&"a".into(), Signal::Logs, 7);
        before.take(&"b".into(), Signal::Traces, 2);
        let saved = before.save();
        let ledgers = before.close(Time::from_millis(5), Vec::new(), None, false, Default::default);
        let mut books = Books::restore(&saved);
        ledgers.iter().for_each(|ledger| books.follow(ledger));
        books.settle(std::iter::empty());
        assert_eq!(books.held(), 9);
        let lost = books.lose_what_was_to_come_again(|signal| signal == Signal::Logs);
        assert_eq!((lost, books.held()), (7, 2));
        let lost = lost + books.lose_what_was_to_come_again(|_| true);
        assert_eq!((lost, books.held()), (9, 0));
        assert_eq!(
            sketch(&rows(&mut books, 6)),
            [[7, 0, 0, 0, 7, 0], [2, 0, 0, 0, 2, 0]]
        );
    }

    #[test]
    fn what_is_found_is_not_lost() {
        let check = |open: u64, found: u64, expected: [u64; 6]| {
            let mut before = Books::new(Time::from_millis(0));
            before.take(&"a".into(), Signal::Logs, open);
            rows(&mut before, 1);
            let mut books = Books::restore(&before.save());
            books.settle(std::iter::empty());
            books.find("a", "logs", found);
            books.lose_what_was_to_come_again(|_| true);
            assert!(books.balance());
            books.archive("a", "logs", found);
            assert_eq!(sketch(&rows(&mut books, 2)), [expected], "{open} {found}");
        };
        check(10, 4, [10, 0, 0, 4, 6, 0]);
        check(10, 10, [10, 0, 0, 10, 0, 0]);
        // Some came after the last row.
        check(10, 13, [10, 3, 0, 13, 0, 0]);
    }

    #[test]
    fn what_an_object_lost_comes_again_and_is_no_new_one() {
        let mut books = Books::new(Time::from_millis(0));
        books.take(&"a".into(), Signal::Logs, 7);
        books.release("a", "logs", 7);
        books.take(&"a".into(), Signal::Logs, 7);
        books.archive("a", "logs", 7);
        assert_eq!(sketch(&rows(&mut books, 1)), [[0, 0, 7, 7, 0, 0]]);
    }
}

//! How many items of which tenant, for bookings that come after the payload has gone on.

use std::sync::Arc;

use telemetry::{Column, Row};
use wire::Payload;

/// Items by tenant. Allocates only where tenants are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    nobody: u64,
    tenants: Vec<(Arc<str>, u64)>,
}

impl Tally {
    /// All items of a payload.
    pub(crate) fn of(payload: &Payload) -> Tally {
        let mut tally = Tally::default();
        if payload.chunks.iter().all(|c| c.origin.tenant.is_none()) {
            tally.nobody = payload.items as u64;
            return tally;
        }
        for chunk in &payload.chunks {
            tally.plus(chunk.origin.tenant.as_ref(), u64::from(chunk.shape.items));
        }
        tally
    }

    /// Items of no tenant.
    pub(crate) fn nobody(items: u64) -> Tally {
        Tally {
            nobody: items,
            ..Tally::default()
        }
    }

    pub(crate) fn plus(&mut self, tenant: Option<&Arc<str>>, items: u64) {
        let Some(tenant) = tenant else {
            self.nobody += items;
            return;
        };
        match self.tenants.iter_mut().find(|(name, _)| name == tenant) {
            Some((_, n)) => *n += items,
            None => self.tenants.push((tenant.clone(), items)),
        }
    }

    pub(crate) fn merge(&mut self, other: &Tally) {
        self.nobody += other.nobody;
        for (tenant, items) in &other.tenants {
            self.plus(Some(tenant), *items);
        }
    }

    /// Takes away what `other` counts; never below zero.
    pub(crate) fn minus(&mut self, other: &Tally) {
        self.nobody = self.nobody.saturating_sub(other.nobody);
        for (tenant, items) in &other.tenants {
            if let Some((_, n)) = self.tenants.iter_mut().find(|(name, _)| name == tenant) {
                *n = n.saturating_sub(*items);
            }
        }
    }

    /// Takes up to `items` out, in the order of tenants, and returns them.
    pub(crate) fn take(&mut self, items: u64) -> Tally {
        let mut out = Tally::default();
        let mut left = items;
        let first = self.nobody.min(left);
        self.nobody -= first;
        out.nobody = first;
        left -= first;
        for (tenant, n) in &mut self.tenants {
            let part = (*n).min(left);
            if part > 0 {
                *n -= part;
                left -= part;
                out.tenants.push((tenant.clone(), part));
            }
        }
        out
    }

    pub(crate) fn items(&self) -> u64 {
        self.nobody + self.tenants.iter().map(|(_, n)| n).sum::<u64>()
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.items() == 0
    }

    /// Adds everything to a column.
    pub(crate) fn add(&self, row: &Row, column: Column) {
        self.each(|tenant, items| row.add_items(column, tenant, items));
    }

    /// Books everything as failed.
    pub(crate) fn fail(&self, row: &Row, reason: &str) {
        self.each(|tenant, items| row.fail_items(reason, tenant, items));
    }

    /// Books everything as dropped.
    pub(crate) fn drop_under(&self, row: &Row, rule: &str) {
        self.each(|tenant, items| row.drop_items(rule, tenant, items));
    }

    /// Books everything as touched; these are places.
    pub(crate) fn touch_under(&self, row: &Row, rule: &str) {
        self.each(|tenant, places| row.touch_items(rule, tenant, places));
    }

    /// Takes everything off `held`.
    pub(crate) fn release(&self, row: &Row) {
        self.each(|tenant, items| row.release_items(tenant, items));
    }

    fn each(&self, book: impl Fn(Option<&Arc<str>>, u64)) {
        if self.nobody > 0 {
            book(None, self.nobody);
        }
        for (tenant, items) in self.tenants.iter().filter(|(_, n)| *n > 0) {
            book(Some(tenant), *items);
        }
    }
}

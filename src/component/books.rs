//! The books of one node: what it did with records beside handing them on.
//!
//! `in` and `out` are the engine's: booked when the node has said yes, and when the next one has. All else is the
//! node's own word, so that `in + created + carried_in = out + dropped + merged + failed + held` holds once it is at
//! rest. A payload that the node refuses leaves no trace: book nothing before it is clear that the answer is yes.

use std::sync::Arc;

use telemetry::{Column, Row};
use wire::Payload;

/// One row of the ledger, as its node sees it. Items are counted for the tenant of their chunk (`Origin::tenant`).
#[derive(Clone)]
pub struct Books(Arc<Row>);

impl Books {
    /// Books that write into this row.
    pub fn new(row: Arc<Row>) -> Books {
        Books(row)
    }

    /// What a storage calls the place of what this node keeps on disk: `node/<place in the books>/<signal>`.
    pub fn destination(&self) -> String {
        format!("node/{}/{}", self.0.place, self.0.signal.as_str())
    }

    /// Items that the node ended, under the rule's name.
    pub fn dropped(&self, rule: &str, tenant: Option<&Arc<str>>, items: u64) {
        if items > 0 {
            self.0.drop_items(rule, tenant, items);
        }
    }

    /// Every item of a payload, ended under the rule's name.
    pub fn dropped_all(&self, rule: &str, payload: &Payload) {
        self.0.drop_all(rule, payload);
    }

    /// Items that were lost, and why.
    pub fn failed(&self, reason: &str, tenant: Option<&Arc<str>>, items: u64) {
        if items > 0 {
            self.0.fail_items(reason, tenant, items);
        }
    }

    /// Every item of a payload, lost, and why.
    pub fn failed_all(&self, reason: &str, payload: &Payload) {
        self.0.fail_all(reason, payload);
    }

    /// Items that became part of others (a sum, a first of many).
    pub fn merged(&self, tenant: Option<&Arc<str>>, items: u64) {
        self.add(Column::Merged, tenant, items);
    }

    /// Items that the node made: aggregates, and each copy after the first.
    pub fn created(&self, tenant: Option<&Arc<str>>, items: u64) {
        self.add(Column::Created, tenant, items);
    }

    /// Items that the node owes from now on, beside what it owed before.
    pub fn held(&self, tenant: Option<&Arc<str>>, items: u64) {
        self.add(Column::Held, tenant, items);
    }

    /// Every item of a payload is owed from now on.
    pub fn held_all(&self, payload: &Payload) {
        self.0.add(Column::Held, payload);
    }

    /// Items that it does not owe any more: never more than were [held](Books::held) for this tenant.
    pub fn released(&self, tenant: Option<&Arc<str>>, items: u64) {
        if items > 0 {
            self.0.release_items(tenant, items);
        }
    }

    /// No item of this payload is owed any more.
    pub fn released_all(&self, payload: &Payload) {
        self.0.release(payload);
    }

    /// Items that were found in a storage at start, from an earlier life.
    pub fn carried_in(&self, tenant: Option<&Arc<str>>, items: u64) {
        self.add(Column::CarriedIn, tenant, items);
    }

    fn add(&self, column: Column, tenant: Option<&Arc<str>>, items: u64) {
        if items > 0 {
            self.0.add_items(column, tenant, items);
        }
    }
}

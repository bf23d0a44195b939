//! What left a node towards one set of others.
//!
//! A reload may give a node other edges. The books then still hold: each edge took what left the node while the edge
//! was there, and what left towards each set of edges adds up to all that left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wire::Signal;

use super::{Ledger, Node};

/// Counts what left a node towards all of its edges at once.
#[derive(Debug)]
pub struct Fan {
    from: Node,
    to: BTreeSet<Node>,
    signal: Signal,
    items: AtomicU64,
}

impl Fan {
    /// Items that all edges took, or dropped by their own rule.
    pub fn add(&self, items: u64) {
        self.items.fetch_add(items, Relaxed);
    }
}

impl Ledger {
    /// The count for a node and the set of those that it sends to, made at first use.
    pub fn fan(&self, from: &Node, to: BTreeSet<Node>, signal: Signal) -> Arc<Fan> {
        let mut fans = self.fans.write();
        let is_it = |fan: &&Arc<Fan>| fan.signal == signal && fan.from == *from && fan.to == to;
        if let Some(known) = fans.iter().find(is_it) {
            return known.clone();
        }
        let fan = Arc::new(Fan {
            from: from.clone(),
            to,
            signal,
            items: AtomicU64::new(0),
        });
        fans.push(fan.clone());
        fan
    }

    /// What left a node, by its counts: in all, and towards `to`; `None` if nothing counts it.
    pub(super) fn left(&self, from: &Node, to: &Node, signal: Signal) -> Option<(u64, u64)> {
        let fans = self.fans.read();
        let mut of_node = fans
            .iter()
            .filter(|fan| fan.signal == signal && fan.from == *from)
            .peekable();
        of_node.peek()?;
        Some(of_node.fold((0, 0), |(all, there), fan| {
            let items = fan.items.load(Relaxed);
            (all + items, there + if fan.to.contains(to) { items } else { 0 })
        }))
    }
}

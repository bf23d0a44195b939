//! The ledger's rows and the law that holds in each: whatever came in is somewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Time;

type Reasons = BTreeMap<String, u64>;

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The books of one interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Where the interval begins.
    pub f: Time,
    /// Where it ends; not inside.
    pub to: Time,
    /// The archive's own edge, by tenant and signal; all-zero rows are left out.
    pub rows: Vec<Row>,
    /// Ranges of object numbers, both ends inside, that are reserved and not yet named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pend: Vec<[u64; 2]>,
    /// This entry is part k of n of its interval, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<[u64; 2]>,
    /// The gateway's other edges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<EdgeRow>,
    /// What receivers were offered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub door: Vec<DoorRow>,
    /// Nodes that held something when the process died.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<Unknown>,
    /// The store's clock minus ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew_ms: Option<i64>,
}

/// One tenant's records of one signal at the archive's edge.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Row {
    /// Whose.
    pub tenant: String,
    /// `logs`, `traces`, `metrics` or `profiles`.
    pub signal: String,
    /// Held when the interval began: what the row before said.
    pub open: u64,
    /// Found in the journal at a start beyond `open`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub carried_in: u64,
    /// Admitted.
    #[serde(rename = "in")]
    pub admitted: u64,
    /// Made by connectors.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub created: u64,
    /// In objects named since the row before.
    pub arch: u64,
    /// Dropped, by rule.
    pub drop: Reasons,
    /// Made one with others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub merged: u64,
    /// Failed, by reason.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub failed: Reasons,
    /// Lost.
    pub lost: u64,
    /// Admitted and in no named object.
    pub held: u64,
    /// Perhaps twice; in no sum.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dup: u64,
    /// Records that a rule changed; in no sum.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub touch: Reasons,
}

/// One tenant's records at another edge of the gateway. Terms that are zero are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EdgeRow {
    /// Which edge.
    pub edge: String,
    /// Whose; `other` above the cap.
    pub tenant: String,
    /// `logs`, `traces`, `metrics` or `profiles`.
    pub signal: String,
    /// Held when the interval began.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub open: u64,
    /// Found at a start beyond `open`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub carried_in: u64,
    /// Came in.
    #[serde(default, rename = "in", skip_serializing_if = "is_zero")]
    pub admitted: u64,
    /// Made by connectors.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub created: u64,
    /// Went out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub out: u64,
    /// Dropped, by rule.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub drop: Reasons,
    /// Made one with others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub merged: u64,
    /// Failed, by reason.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub failed: Reasons,
    /// Lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Still there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held: u64,
}

/// What a receiver was offered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DoorRow {
    /// Which receiver.
    pub receiver: String,
    /// Whose; `other` above the cap.
    pub tenant: String,
    /// `logs`, `traces`, `metrics` or `profiles`.
    pub signal: String,
    /// Offered.
    pub offered: u64,
    /// Accepted.
    pub accepted: u64,
    /// Refused, by reason.
    pub refused: Reasons,
}

/// A node that held something when the process died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// Which.
    pub node: String,
    /// Since when its content is unknown.
    pub since: Time,
}

/// Wide enough that no row of a bounded line can overflow it.
fn sum(terms: &[u64], reasons: &[&Reasons]) -> u128 {
    let terms = terms.iter().copied();
    let reasons = reasons.iter().flat_map(|r| r.values().copied());
    terms.chain(reasons).map(u128::from).sum()
}

impl Row {
    /// What came in: `open + carried_in + in + created`.
    pub fn incoming(&self) -> u128 {
        sum(&[self.open, self.carried_in, self.admitted, self.created], &[])
    }

    /// Where it is: `arch + drop + merged + failed + lost + held`.
    pub fn outgoing(&self) -> u128 {
        sum(
            &[self.arch, self.merged, self.lost, self.held],
            &[&self.drop, &self.failed],
        )
    }

    /// Whether both are equal.
    pub fn balances(&self) -> bool {
        self.incoming() == self.outgoing()
    }

    /// Whether it says nothing and is left out of an entry.
    pub fn is_zero(&self) -> bool {
        self.incoming() == 0 && self.outgoing() == 0 && self.dup == 0 && self.touch.is_empty()
    }
}

impl EdgeRow {
    /// Whether what came in is what went out or is still there.
    pub fn balances(&self) -> bool {
        sum(&[self.open, self.carried_in, self.admitted, self.created], &[])
            == sum(
                &[self.out, self.merged, self.lost, self.held],
                &[&self.drop, &self.failed],
            )
    }
}

impl DoorRow {
    /// Whether what was offered is accepted or refused.
    pub fn balances(&self) -> bool {
        sum(&[self.offered], &[]) == sum(&[self.accepted], &[&self.refused])
    }
}

fn bytes_of(row: &impl Serialize) -> usize {
    serde_json::to_string(row).map_or(0, |text| text.len() + 1)
}

impl Ledger {
    /// As many entries as it takes to keep each line short, each with the same interval; `pend` and the rest stand in
    /// the last. All-zero rows go.
    ///
    /// Append them without an `obj` entry in between: `arch` counts up to the first of them.
    pub fn split(mut self) -> Vec<Ledger> {
        const ROWS_MAX: usize = 300;
        // A row's names take at most 128 bytes of tenant, its reasons are configuration ids.
        const BYTES_MAX: usize = 40_000;
        let (mut count, mut bytes) = (0, 0);
        // Whether the next row of so many bytes begins a part.
        let mut turns = |len: usize| {
            let turns = count >= ROWS_MAX || count > 0 && bytes + len > BYTES_MAX;
            (count, bytes) = if turns { (1, len) } else { (count + 1, bytes + len) };
            turns
        };
        let mut parts = vec![<(Vec<Row>, Vec<EdgeRow>, Vec<DoorRow>)>::default()];
        for row in self.rows.drain(..).filter(|row| !row.is_zero()) {
            if turns(bytes_of(&row)) {
                parts.push(Default::default());
            }
            parts.last_mut().expect("one part at least").0.push(row);
        }
        for row in self.edges.drain(..) {
            if turns(bytes_of(&row)) {
                parts.push(Default::default());
            }
            parts.last_mut().expect("one part at least").1.push(row);
        }
        for row in self.door.drain(..) {
            if turns(bytes_of(&row)) {
                parts.push(Default::default());
            }
            parts.last_mut().expect("one part at least").2.push(row);
        }
        let n = parts.len() as u64;
        let mut ledgers: Vec<Ledger> = (1..=n)
            .zip(parts)
            .map(|(k, (rows, edges, door))| Ledger {
                f: self.f,
                to: self.to,
                rows,
                pend: Vec::new(),
                part: (n > 1).then_some([k, n]),
                edges,
                door,
                unknown: Vec::new(),
                skew_ms: None,
            })
            .collect();
        let last = ledgers.last_mut().expect("one part at least");
        (last.pend, last.unknown, last.skew_ms) = (self.pend, self.unknown, self.skew_ms);
        ledgers
    }
}

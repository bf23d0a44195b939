//! What is counted about the cluster, under the collector's names.

use telemetry::{Counter, Gauge, Telemetry, names};
use wire::Signal;

use super::associate;
use super::config::Rules;
use super::object::Kind;

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Updated,
    Deleted,
}

/// Counters of what the informers see.
pub(super) struct Meters {
    changes: Vec<[Counter; 3]>,
    table: Gauge,
}

impl Meters {
    pub(super) fn new(telemetry: &Telemetry) -> Meters {
        let counter = |name| telemetry.metrics.counter(name, Vec::new());
        Meters {
            changes: names::K8S_CHANGES.iter().map(|row| row.map(counter)).collect(),
            table: telemetry.metrics.gauge(names::K8S_POD_TABLE_SIZE, Vec::new()),
        }
    }

    pub(super) fn changed(&self, kind: Kind, change: Change) {
        let at = Kind::ALL.iter().position(|k| *k == kind).unwrap_or(0);
        self.changes[at][change as usize].add(1);
    }

    pub(super) fn table(&self, len: usize) {
        self.table.set(i64::try_from(len).unwrap_or(i64::MAX));
    }
}

/// Counters of what one pipeline asks.
pub(super) struct Asked {
    misses: Counter,
    /// For each association, and for none: found, and not.
    associated: Vec<[Counter; 2]>,
}

impl Asked {
    pub(super) fn new(telemetry: &Telemetry, rules: &Rules, signal: Signal) -> Asked {
        let mut identifiers: Vec<String> = rules.associations.iter().map(associate::label).collect();
        if identifiers.is_empty() {
            identifiers.push("connection".into());
        }
        identifiers.push(String::new());
        let counter = |status: &str, identifier: &str| {
            let labels = vec![
                ("status", status.to_owned()),
                ("pod_identifier", identifier.to_owned()),
                ("otelcol.signal", signal.as_str().to_owned()),
            ];
            telemetry.metrics.counter(names::K8S_POD_ASSOCIATION, labels)
        };
        Asked {
            misses: telemetry.metrics.counter(names::K8S_IP_LOOKUP_MISS, Vec::new()),
            associated: identifiers
                .iter()
                .map(|i| ["success", "error"].map(|s| counter(s, i)))
                .collect(),
        }
    }

    /// `made`: place of the association; `None` = nothing to find a pod by.
    pub(super) fn count(&self, made: Option<usize>, is_found: bool) {
        let at = made.unwrap_or(self.associated.len() - 1);
        self.associated[at][usize::from(!is_found)].add(1);
    }

    pub(super) fn miss(&self) {
        self.misses.add(1);
    }
}

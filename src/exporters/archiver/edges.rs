//! The gateway's other books, as the archive's log tells them: what each receiver was offered, and what became of
//! records at every node but the archive itself, whose own rows stand beside them.
//!
//! In: the ledger, which others write to while it is read. Out: rows in which the law holds. What a node holds is what
//! came less what ended, and a row that ended more than came, because both were booked while it was read, is told with
//! the next entry. Whether the ledger itself balances is another matter: the audit trail says if it does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use evidence::entry::{DoorRow, EdgeRow};
use telemetry::ledger::{Bookmark, Totals};
use telemetry::{Column, Ledger, Node, Place};

/// With more rows than this tenants are not told apart.
const ROWS_MAX: usize = 2_000;
/// Tenants that are not told apart.
const OTHER: &str = "other";

/// Reads the gateway's ledger, and knows what it told last.
#[derive(Clone)]
pub(super) struct Edges {
    ledger: Arc<Ledger>,
    /// Of this archive, also of the instance before a reload.
    told: Arc<Bookmark>,
    own: Place,
    /// Whose records are that name no tenant.
    nobody: Arc<str>,
}

impl Edges {
    /// `id`: the archive's.
    pub(super) fn new(ledger: &Arc<Ledger>, id: &str, nobody: Arc<str>) -> Edges {
        Edges {
            ledger: ledger.clone(),
            told: ledger.bookmark(&format!("archive {id}")),
            own: Place::Node(Node::Exporter(id.to_owned())),
            nobody,
        }
    }

    /// How many rows there are to tell, about.
    pub(super) fn len(&self) -> usize {
        self.told.len()
    }

    /// What was booked since the last call, and what is held now.
    pub(super) fn since(&self) -> (Vec<EdgeRow>, Vec<DoorRow>) {
        let mut edges: BTreeMap<(String, String, &str), EdgeRow> = BTreeMap::new();
        let mut doors: BTreeMap<(String, String, &str), DoorRow> = BTreeMap::new();
        for row in self.ledger.rows() {
            if row.place == self.own || matches!(row.place, Place::Edge { .. }) {
                continue;
            }
            let signal = row.signal.as_str();
            for (tenant, now) in row.by_tenant() {
                let at = (row.place.clone(), row.signal, tenant);
                let before = self.told.of(&at);
                let name = at.2.as_ref().unwrap_or(&self.nobody).to_string();
                if let Place::Door { receiver, .. } = &row.place {
                    let key = (receiver.clone(), name, signal);
                    if let Some(told) = door(&before, &now) {
                        let sum = doors.entry(key).or_default();
                        sum.offered += told.offered;
                        sum.accepted += told.accepted;
                        add(&mut sum.refused, told.refused);
                    }
                } else if let Some(told) = edge(&before, &now) {
                    let key = (row.place.to_string(), name, signal);
                    plus(edges.entry(key).or_default(), told);
                } else {
                    continue;
                }
                self.told.set(at, now);
            }
        }
        if edges.len() > ROWS_MAX {
            let mut folded: BTreeMap<_, EdgeRow> = BTreeMap::new();
            for ((edge, _, signal), row) in edges {
                plus(folded.entry((edge, OTHER.to_owned(), signal)).or_default(), row);
            }
            edges = folded;
        }
        if doors.len() > ROWS_MAX {
            let mut folded: BTreeMap<_, DoorRow> = BTreeMap::new();
            for ((receiver, _, signal), row) in doors {
                let sum = folded.entry((receiver, OTHER.to_owned(), signal)).or_default();
                sum.offered += row.offered;
                sum.accepted += row.accepted;
                add(&mut sum.refused, row.refused);
            }
            doors = folded;
        }
        let edges = edges.into_iter().map(|((edge, tenant, signal), row)| EdgeRow {
            edge,
            tenant,
            signal: signal.to_owned(),
            ..row
        });
        let doors = doors
            .into_iter()
            .map(|((receiver, tenant, signal), row)| DoorRow {
                receiver,
                tenant,
                signal: signal.to_owned(),
                ..row
            });
        (edges.collect(), doors.collect())
    }
}

/// What a door did since; what it was offered and has not answered is no part of it yet.
fn door(before: &Totals, now: &Totals) -> Option<DoorRow> {
    let since = |column| now.get(column).saturating_sub(before.get(column));
    let (accepted, refused) = (since(Column::Accepted), since(Column::Refused));
    (accepted + refused > 0).then(|| DoorRow {
        offered: accepted + refused,
        accepted,
        refused: (refused > 0)
            .then(|| ("refused".to_owned(), refused))
            .into_iter()
            .collect(),
        ..DoorRow::default()
    })
}

/// Ended: whatever is neither here nor to come.
fn ended(totals: &Totals) -> u64 {
    totals.sinks() - totals.held()
}

/// What a node did since, and holds. None if there is nothing to say, or not yet.
fn edge(before: &Totals, now: &Totals) -> Option<EdgeRow> {
    let open = before.sources().saturating_sub(ended(before));
    let held = now.sources().checked_sub(ended(now))?;
    let since = |column| now.get(column).saturating_sub(before.get(column));
    let row = EdgeRow {
        open,
        carried_in: since(Column::CarriedIn),
        admitted: since(Column::In),
        created: since(Column::Created),
        out: since(Column::Out),
        drop: differences(&before.dropped, &now.dropped),
        merged: since(Column::Merged),
        failed: differences(&before.failed, &now.failed),
        held,
        ..EdgeRow::default()
    };
    debug_assert!(row.balances(), "{row:?}");
    (row != EdgeRow::default()).then_some(row)
}

fn differences(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let since = now.iter().map(|(name, n)| {
        let known = before.get(name).copied().unwrap_or_default();
        (name.clone(), n.saturating_sub(known))
    });
    since.filter(|(_, n)| *n > 0).collect()
}

fn add(sums: &mut BTreeMap<String, u64>, more: BTreeMap<String, u64>) {
    for (name, n) in more {
        *sums.entry(name).or_default() += n;
    }
}

fn plus(sum: &mut EdgeRow, row: EdgeRow) {
    sum.open += row.open;
    sum.carried_in += row.carried_in;
    sum.admitted += row.admitted;
    sum.created += row.created;
    sum.out += row.out;
    add(&mut sum.drop, row.drop);
    sum.merged += row.merged;
    add(&mut sum.failed, row.failed);
    sum.held += row.held;
}

#[cfg(test)]
mod tests {
    use wire::Signal;

    use super::*;

    fn rows(edges: &Edges) -> (Vec<String>, Vec<String>) {
        let (edges, doors) = edges.since();
        assert!(edges.iter().all(EdgeRow::balances), "{edges:?}");
        assert!(doors.iter().all(DoorRow::balances), "{doors:?}");
        let text = |row: Result<String, serde_json::Error>| row.expect("it is a row");
        (
            edges.iter().map(|row| text(serde_json::to_string(row))).collect(),
            doors.iter().map(|row| text(serde_json::to_string(row))).collect(),
        )
    }

    #[test]
    fn each_interval_is_told_once_and_the_law_holds_in_it() {
        let ledger = Arc::new(Ledger::default());
        let edges = Edges::new(&ledger, "archive", "default".into());
        assert_eq!(rows(&edges), (Vec::new(), Vec::new()));

        let acme: Arc<str> = "acme".into();
        let at = |node: Node| ledger.row(Place::Node(node), Signal::Logs);
        let [grpc, http] = ["grpc", "http"].map(|transport| {
            let receiver = "otlp".to_owned();
            ledger.row(Place::Door { receiver, transport }, Signal::Logs)
        });
        let otlp = at(Node::Exporter("otlp".into()));
        let own = at(Node::Exporter("archive".into()));
        grpc.add_items(Column::Offered, None, 8);
        grpc.add_items(Column::Accepted, None, 5);
        grpc.add_items(Column::Refused, None, 2);
        http.add_items(Column::Offered, None, 4);
        http.add_items(Column::Accepted, None, 4);
        otlp.add_items(Column::In, Some(&acme), 9);
        otlp.add_items(Column::Held, Some(&acme), 9);
        own.add_items(Column::In, None, 9);
        own.add_items(Column::Held, None, 9);
        let edge = |rest: &str| {
            vec![format!(
                r#"{{"edge":"exporter otlp","tenant":"acme","signal":"logs",{rest}}}"#
            )]
        };
        let door = r#"{"receiver":"otlp","tenant":"default","signal":"logs","offered":11,"accepted":9,"refused":{"refused":2}}"#;
        assert_eq!(rows(&edges), (edge(r#""in":9,"held":9"#), vec![door.to_owned()]));

        // What is held is told each time, and what another instance of the archive told is told.
        let edges = Edges::new(&ledger, "archive", "default".into());
        assert_eq!(rows(&edges), (edge(r#""open":9,"held":9"#), Vec::new()));

        otlp.add_items(Column::Out, Some(&acme), 6);
        otlp.fail_items("rejected", Some(&acme), 1);
        otlp.drop_items("filter", Some(&acme), 2);
        otlp.release_items(Some(&acme), 9);
        let ended = edge(r#""open":9,"out":6,"drop":{"filter":2},"failed":{"rejected":1}"#);
        assert_eq!(rows(&edges), (ended, Vec::new()));
        assert_eq!(rows(&edges), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_ended_before_it_is_known_to_have_come_is_told_later() {
        let ledger = Arc::new(Ledger::default());
        let edges = Edges::new(&ledger, "archive", "default".into());
        let node = ledger.row(Place::Node(Node::Exporter("otlp".into())), Signal::Traces);
        node.add_items(Column::Out, None, 3);
        assert_eq!(rows(&edges), (Vec::new(), Vec::new()));
        node.add_items(Column::In, None, 3);
        let row = r#"{"edge":"exporter otlp","tenant":"default","signal":"traces","in":3,"out":3}"#;
        assert_eq!(rows(&edges), (vec![row.to_owned()], Vec::new()));
    }

    #[test]
    fn too_many_tenants_are_one() {
        let ledger = Arc::new(Ledger::default());
        let edges = Edges::new(&ledger, "archive", "default".into());
        for signal in [Signal::Logs, Signal::Traces, Signal::Metrics] {
            for n in 0..700 {
                let tenant: Arc<str> = format!("tenant-{n}").into();
                let node = ledger.row(Place::Node(Node::Exporter("otlp".into())), signal);
                node.add_items(Column::In, Some(&tenant), 2);
                node.add_items(Column::Out, Some(&tenant), 1);
            }
        }
        let row = |signal: &str| {
            format!(
                r#"{{"edge":"exporter otlp","tenant":"other","signal":"{signal}","in":1400,"out":700,"held":700}}"#
            )
        };
        assert_eq!(
            rows(&edges),
            (["logs", "metrics", "traces"].map(row).to_vec(), Vec::new())
        );
    }
}

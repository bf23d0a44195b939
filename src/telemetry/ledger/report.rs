//! The books as they are told: to the admin listener, to `weir ledger`, on a page.
//!
//! A [`Report`] holds one [`Line`] for each place, signal and tenant. While the gateway works, a record may be between two
//! bookings when a row is read, so a law counts as broken only if it was broken at each of several readings:
//! [`Report::watched`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Breach, Column, Ledger, Lives, Place, Totals};

/// Everything that the books say at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Every law and every link holds.
    pub balanced: bool,
    /// One sentence for each that does not.
    pub faults: Vec<String>,
    /// Ordered by place, signal and tenant.
    pub lines: Vec<Line>,
    /// Of all lives, where the books are kept beside a journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lives: Option<Lives>,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A receiver towards its clients.
    Door,
    /// Between two nodes.
    Edge,
    /// Within a node.
    Node,
}

impl Kind {
    /// `door`, `edge`, `node`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Door => "door",
            Kind::Edge => "edge",
            Kind::Node => "node",
        }
    }
}

impl Place {
    /// Which law it obeys.
    pub fn kind(&self) -> Kind {
        match self {
            Place::Door { .. } => Kind::Door,
            Place::Edge { .. } => Kind::Edge,
            Place::Node(_) => Kind::Node,
        }
    }
}

/// The columns of one place, signal and tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Which law it obeys.
    pub kind: Kind,
    /// As the ledger names it: `exporter otlp_grpc/next`.
    pub place: String,
    /// `logs`, `metrics`, `profiles`, `traces`.
    pub signal: String,
    /// Absent for records that have no tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Since this process started.
    pub since_start: Totals,
    /// Over all lives, where the books are kept: without what is held and what was carried in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Totals>,
}

impl Report {
    /// Reads the books once.
    pub fn of(ledger: &Ledger) -> Report {
        Report::with(ledger, ledger.breaches())
    }

    fn with(ledger: &Ledger, breaches: Vec<Breach>) -> Report {
        let mut faults = ledger.faults_at_start();
        faults.extend(breaches.into_iter().map(|breach| breach.told));
        Report {
            balanced: faults.is_empty(),
            faults,
            lines: lines(ledger),
            lives: ledger.lives(),
        }
    }

    /// Reads the books up to `readings` times, `between` being awaited before each but the first. A law is broken if it
    /// was at each of them.
    pub async fn watched<F: Future<Output = ()>>(
        ledger: &Ledger,
        readings: usize,
        mut between: impl FnMut() -> F,
    ) -> Report {
        let mut broken = ledger.breaches();
        for _ in 1..readings {
            if broken.is_empty() {
                break;
            }
            between().await;
            let now = ledger.breaches();
            broken = now
                .into_iter()
                .filter(|breach| broken.iter().any(|before| before.law == breach.law))
                .collect();
        }
        Report::with(ledger, broken)
    }

    /// The same, of one tenant alone. Whether all balances is still said of everything.
    pub fn of_tenant(mut self, tenant: &str) -> Report {
        self.lines.retain(|line| line.tenant.as_deref() == Some(tenant));
        self
    }
}

fn lines(ledger: &Ledger) -> Vec<Line> {
    let mut lifetime: BTreeMap<_, _> = ledger
        .lifetime()
        .into_iter()
        .map(|(kind, place, signal, tenant, totals)| ((place, signal, tenant), (kind, totals)))
        .collect();
    let mut lines = Vec::new();
    for row in ledger.rows() {
        let (place, signal) = (row.place.to_string(), row.signal.as_str().to_owned());
        let mut tenants = row.by_tenant();
        // A row that nobody wrote to yet has one line, of nobody.
        if tenants.iter().any(|(_, totals)| *totals != Totals::default()) {
            tenants.retain(|(_, totals)| *totals != Totals::default());
        }
        for (tenant, since_start) in tenants {
            let tenant = tenant.map(|name| name.to_string());
            let key = (place.clone(), signal.clone(), tenant);
            let lifetime = lifetime.remove(&key).map(|(_, totals)| totals);
            let (place, signal, tenant) = key;
            lines.push(Line {
                kind: row.place.kind(),
                place,
                signal,
                tenant,
                since_start,
                lifetime,
            });
        }
    }
    // Of earlier lives alone.
    let past = lifetime.into_iter();
    lines.extend(past.map(|((place, signal, tenant), (kind, totals))| Line {
        kind,
        place,
        signal,
        tenant,
        since_start: Totals::default(),
        lifetime: Some(totals),
    }));
    lines
}

/// Totals as a map: columns that are zero are left out.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Told(BTreeMap<String, Cell>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Cell {
    Items(u64),
    ByName(BTreeMap<String, u64>),
}

impl From<Totals> for Told {
    fn from(totals: Totals) -> Told {
        let columns = Column::ALL.iter().filter(|c| totals.get(**c) > 0);
        let mut columns: BTreeMap<_, _> = columns
            .map(|c| (c.as_str().to_owned(), Cell::Items(totals.get(*c))))
            .collect();
        for (name, map) in totals.by_name() {
            if !map.is_empty() {
                columns.insert(name.to_owned(), Cell::ByName(map.clone()));
            }
        }
        Told(columns)
    }
}

impl From<Told> for Totals {
    fn from(told: Told) -> Totals {
        let mut totals = Totals::default();
        for (name, cell) in told.0 {
            match cell {
                // A column of a later version means nothing here.
                Cell::Items(items) => {
                    if let Some(column) = Column::ALL.into_iter().find(|c| c.as_str() == name) {
                        totals.columns[column as usize] = items;
                    }
                }
                Cell::ByName(map) if name == "dropped" => totals.dropped = map,
                Cell::ByName(map) if name == "failed" => totals.failed = map,
                Cell::ByName(map) if name == "touched" => totals.touched = map,
                Cell::ByName(_) => {}
            }
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wire::Signal;

    use super::super::RULES_MAX;
    use super::*;
    use crate::Node;

    #[test]
    fn totals_are_told_without_zeros_and_read_back() {
        let ledger = Ledger::default();
        let row = ledger.row(Place::Node(Node::Exporter("otlp".into())), Signal::Logs);
        row.add_items(Column::CarriedIn, None, 7);
        row.add_items(Column::Held, None, 4);
        row.drop_items("oldest", None, 2);
        row.fail_items("rejected", None, 1);
        row.touch_items("redaction:card", None, 3);
        let report = Report::of(&ledger);
        let text = report.lines[0].since_start.to_string();
        assert_eq!(
            text,
            "carried_in 7, held 4, dropped{oldest} 2, failed{rejected} 1, touched{redaction:card} 3"
        );
        let text = serde_json::to_string(&report).unwrap();
        let expected = r#""since_start":{"carried_in":7,"dropped":{"oldest":2},"failed":{"rejected":1},"held":4,"touched":{"redaction:card":3}}}"#;
        assert!(text.contains(expected), "{text}");
        assert!(
            report.to_text().contains("touched{redaction:card} 3"),
            "{}",
            report.to_text()
        );
        // It stands beside the law.
        assert_eq!(report.faults, Report::default().faults);
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }

    #[test]
    fn rules_that_touch_are_told_apart_up_to_a_bound() {
        let ledger = Ledger::default();
        let row = ledger.row(Place::Node(Node::Pipeline("logs".into())), Signal::Logs);
        let tenant: Arc<str> = "acme".into();
        for rule in 0..RULES_MAX + 7 {
            row.touch_items(&format!("rule {rule}"), Some(&tenant), 2);
        }
        row.touch_items("rule 0", None, 1);
        let touched = row.total().touched;
        assert_eq!(touched.len(), RULES_MAX + 1);
        assert_eq!(
            (
                touched["rule 0"],
                touched["rule 127"],
                touched[super::super::OTHER]
            ),
            (3, 2, 14)
        );
        let shown = Report::of(&ledger).of_tenant("acme").lines;
        assert_eq!(shown[0].since_start.touched["rule 0"], 2);
    }

    #[test]
    fn a_column_of_a_later_version_means_nothing() {
        let mut told = Told::from(Totals::default());
        told.0.insert("teleported".into(), Cell::Items(3));
        told.0
            .insert("lost".into(), Cell::ByName([("x".to_owned(), 1)].into()));
        assert_eq!(Totals::from(told), Totals::default());
    }

    #[test]
    fn lines_are_by_tenant_where_there_are_some() {
        let ledger = Ledger::default();
        let place = |id: &str| Place::Node(Node::Exporter(id.into()));
        ledger.row(place("idle"), Signal::Logs);
        let row = ledger.row(place("busy"), Signal::Logs);
        for (tenant, items) in [(Some("b"), 1), (Some("a"), 2)] {
            let tenant: Option<Arc<str>> = tenant.map(Arc::from);
            row.add_items(Column::In, tenant.as_ref(), items);
            row.add_items(Column::Out, tenant.as_ref(), items);
        }
        let shown: Vec<(String, Option<String>, u64)> = Report::of(&ledger)
            .lines
            .into_iter()
            .map(|line| (line.place, line.tenant, line.since_start.sources()))
            .collect();
        let own = |place: &str, tenant: Option<&str>, n| (place.to_owned(), tenant.map(str::to_owned), n);
        assert_eq!(
            shown,
            [
                own("exporter busy", Some("a"), 2),
                own("exporter busy", Some("b"), 1),
                own("exporter idle", None, 0),
            ]
        );
        assert_eq!(Report::of(&ledger).of_tenant("b").lines.len(), 1);
    }

    #[tokio::test]
    async fn what_is_between_two_bookings_is_no_breach() {
        let ledger = Ledger::default();
        let row = ledger.row(Place::Node(Node::Exporter("otlp".into())), Signal::Logs);
        row.add_items(Column::In, None, 1);
        let mut readings = 0;
        let report = Report::watched(&ledger, 5, || {
            readings += 1;
            if readings == 3 {
                row.add_items(Column::Out, None, 1);
            }
            std::future::ready(())
        })
        .await;
        assert_eq!((report.balanced, readings), (true, 3));
        // One that is missing at each reading is missed, however much comes meanwhile.
        row.add_items(Column::In, None, 1);
        let mut readings = 0;
        let report = Report::watched(&ledger, 5, || {
            readings += 1;
            row.add_items(Column::In, None, 1);
            row.add_items(Column::Out, None, 1);
            std::future::ready(())
        })
        .await;
        assert_eq!((report.balanced, readings), (false, 4));
        assert_eq!(
            report.faults,
            ["exporter otlp logs: 6 came, 5 accounted for: in 6, out 5"]
        );
    }
}

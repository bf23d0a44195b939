//! Everything that is counted, read at one moment: what every reader of metrics starts from.
//!
//! The collector's counters of receivers, processors and exporters are not counted apart: they are read from the ledger,
//! so that metrics and books cannot disagree. Families are ordered by name, series by labels, labels by name: two
//! snapshots of the same state are equal.

use std::borrow::Cow;
use std::collections::BTreeMap;

use wire::Signal;

use crate::metrics::{Labels, Reading};
use crate::names::{self, Kind, Level};
use crate::{Column, Ledger, Node, Place, Telemetry, Totals};

/// All families that a level shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Ordered by name.
    pub families: Vec<Family>,
}

/// Every series of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The instrument's name, without suffixes.
    pub name: Cow<'static, str>,
    /// What it is.
    pub help: Cow<'static, str>,
    /// UCUM unit, or empty.
    pub unit: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// A gauge that is a sum: adding it up over gateways makes sense.
    pub up_down: bool,
    /// The instrumentation scope.
    pub scope: &'static str,
    /// Ordered by labels.
    pub series: Vec<(Labels, Reading)>,
}

/// Columns of tenants that are shown apart, over all rows; rows beyond that are shown as sums.
const TENANTS_SHOWN_MAX: usize = 2000;

/// Gauges that OTLP calls sums.
const UP_DOWN: [&str; 2] = [
    "otelcol_exporter_in_flight_requests",
    "otelcol_processor_batch_metadata_cardinality",
];

impl Snapshot {
    /// Reads what `level` shows.
    pub fn take(telemetry: &Telemetry, level: Level) -> Snapshot {
        let mut page = Page {
            level,
            families: BTreeMap::new(),
        };
        if level > Level::None {
            page.metrics(telemetry);
            page.ledger(telemetry);
        }
        let families = page.families.into_iter();
        Snapshot {
            families: families.map(|(name, found)| found.finish(name)).collect(),
        }
    }
}

struct Page {
    level: Level,
    families: BTreeMap<Cow<'static, str>, Found>,
}

struct Found {
    kind: Kind,
    series: BTreeMap<Labels, Reading>,
}

impl Found {
    fn finish(self, name: Cow<'static, str>) -> Family {
        let def = names::find(&name);
        Family {
            help: def.map_or("", |d| d.help).into(),
            unit: def.map_or("", |d| d.unit),
            kind: self.kind,
            up_down: UP_DOWN.contains(&&*name),
            scope: names::scope(&name),
            series: self.series.into_iter().collect(),
            name,
        }
    }
}

impl Page {
    fn metrics(&mut self, telemetry: &Telemetry) {
        for family in telemetry.metrics.read() {
            for (labels, reading) in family.series {
                self.put(family.name, family.kind, labels, reading);
            }
        }
    }

    fn ledger(&mut self, telemetry: &Telemetry) {
        let mut tenants = 0;
        for row in telemetry.ledger.rows() {
            let total = row.total();
            let by_tenant = match self.level {
                Level::Detailed => row.by_tenant(),
                _ => Vec::new(),
            };
            tenants += by_tenant.len();
            match tenants <= TENANTS_SHOWN_MAX {
                true if by_tenant.len() > 1 => {
                    for (tenant, totals) in by_tenant {
                        self.books(&row.place, row.signal, tenant.as_deref(), &totals);
                    }
                }
                _ => self.books(&row.place, row.signal, None, &total),
            }
            match &row.place {
                Place::Door { receiver, transport } => self.door(receiver, transport, row.signal, &total),
                Place::Node(Node::Processor { id, .. }) => {
                    let labels = || {
                        vec![
                            ("otel.signal", row.signal.as_str().to_owned()),
                            ("processor", id.clone()),
                        ]
                    };
                    self.count(names::PROCESSOR_INCOMING, labels(), total.get(Column::In));
                    self.count(names::PROCESSOR_OUTGOING, labels(), total.get(Column::Out));
                }
                Place::Node(Node::Exporter(id)) => {
                    let mut labels = telemetry.ledger.peer(id, row.signal);
                    labels.push(("exporter", id.clone()));
                    self.exporter(labels, row.signal, &total);
                }
                _ => {}
            }
        }
    }

    /// The books under our own names.
    fn books(&mut self, place: &Place, signal: Signal, tenant: Option<&str>, total: &Totals) {
        let labels = |column: &str, rule: &str| {
            let mut labels = vec![
                ("column", column.to_owned()),
                ("place", place.to_string()),
                ("rule", rule.to_owned()),
                ("signal", signal.as_str().to_owned()),
            ];
            labels.extend(tenant.map(|tenant| ("tenant", tenant.to_owned())));
            labels
        };
        let columns = Column::ALL.iter().filter(|c| **c != Column::Held);
        let columns = columns.map(|c| (c.as_str(), "", total.get(*c)));
        let dropped = total
            .dropped
            .iter()
            .map(|(rule, n)| ("dropped", rule.as_str(), *n));
        let failed = total.failed.iter().map(|(why, n)| ("failed", why.as_str(), *n));
        for (column, rule, items) in columns.chain(dropped).chain(failed).filter(|(.., n)| *n > 0) {
            self.count(names::LEDGER_ITEMS, labels(column, rule), items);
        }
        if matches!(place, Place::Node(_)) {
            let mut labels = vec![
                ("place", place.to_string()),
                ("signal", signal.as_str().to_owned()),
            ];
            labels.extend(tenant.map(|tenant| ("tenant", tenant.to_owned())));
            self.put(
                names::LEDGER_HELD,
                Kind::Gauge,
                labels,
                Reading::Count(total.held()),
            );
        }
    }

    fn door(&mut self, receiver: &str, transport: &str, signal: Signal, total: &Totals) {
        let labels = || {
            vec![
                ("receiver", receiver.to_owned()),
                ("transport", transport.to_owned()),
            ]
        };
        for (prefix, items) in [
            (names::RECEIVER_ACCEPTED, total.accepted()),
            (names::RECEIVER_REFUSED, total.refused()),
            (names::RECEIVER_FAILED, 0),
        ] {
            self.count(names::of_signal(prefix, signal), labels(), items);
        }
    }

    fn exporter(&mut self, labels: Labels, signal: Signal, total: &Totals) {
        let sent = names::of_signal(names::EXPORTER_SENT, signal);
        self.count(sent, labels.clone(), total.get(Column::Out));
        let failed = names::of_signal(names::EXPORTER_SEND_FAILED, signal);
        // As in the collector, this one appears with the first failure, and tells reasons apart only when asked.
        let refused = ("refused", total.refused());
        let failed_for = total.failed.iter().map(|(why, items)| (why.as_str(), *items));
        for (why, items) in failed_for.chain([refused].into_iter().filter(|(_, n)| *n > 0)) {
            let mut labels = labels.clone();
            if self.level == Level::Detailed {
                let (kind, is_permanent) = error_of(why);
                labels.push(("error.permanent", is_permanent.to_string()));
                labels.push(("error.type", kind.to_owned()));
            }
            self.count(failed.clone(), labels, items);
        }
    }

    /// Adds to one counter: rows of several places may share a series (one processor in two pipelines).
    fn count(&mut self, name: impl Into<Cow<'static, str>>, labels: Labels, items: u64) {
        self.put(name, Kind::Counter, labels, Reading::Count(items));
    }

    fn put(&mut self, name: impl Into<Cow<'static, str>>, kind: Kind, mut labels: Labels, reading: Reading) {
        let name = name.into();
        if names::find(&name).is_some_and(|def| def.level > self.level) {
            return;
        }
        labels.sort_unstable();
        let family = self.families.entry(name).or_insert_with(|| Found {
            kind,
            series: BTreeMap::new(),
        });
        match (family.series.get_mut(&labels), reading) {
            (Some(Reading::Count(n)), Reading::Count(more)) => *n += more,
            (_, reading) => {
                family.series.insert(labels, reading);
            }
        }
    }
}

/// `error.type` and `error.permanent` of a reason in the books. The books keep no status codes, so a far side's own
/// word is `_OTHER`.
fn error_of(reason: &str) -> (&'static str, bool) {
    match reason {
        "shutdown" => ("Shutdown", false),
        "retry_disabled" | "retries_exhausted" | "refused" => ("_OTHER", false),
        _ => ("_OTHER", true),
    }
}

impl Ledger {
    /// Says where an exporter sends a signal: labels of its `sent` and `send_failed` series.
    pub fn set_peer(&self, exporter: &str, signal: Signal, labels: Labels) {
        self.peers.write().insert((exporter.to_owned(), signal), labels);
    }

    fn peer(&self, exporter: &str, signal: Signal) -> Labels {
        let peers = self.peers.read();
        peers
            .get(&(exporter.to_owned(), signal))
            .cloned()
            .unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small gateway that has worked for a while.
    pub(crate) fn gateway() -> Telemetry {
        let telemetry = Telemetry::default();
        let door = telemetry.ledger.row(
            Place::Door {
                receiver: "otlp/a".into(),
                transport: "grpc",
            },
            Signal::Logs,
        );
        door.add_items(Column::Offered, None, 9);
        door.add_items(Column::Accepted, None, 7);
        door.add_items(Column::Refused, None, 2);
        for pipeline in ["logs", "logs/b"] {
            let node = Node::Processor {
                pipeline: pipeline.into(),
                id: "redaction".into(),
            };
            let row = telemetry.ledger.row(Place::Node(node), Signal::Logs);
            row.add_items(Column::In, None, 4);
            row.add_items(Column::Out, None, 3);
            row.drop_items("filter \"x\"\\", None, 1);
        }
        let exporter = telemetry
            .ledger
            .row(Place::Node(Node::Exporter("otlp".into())), Signal::Logs);
        exporter.add_items(Column::In, None, 7);
        exporter.add_items(Column::Out, None, 3);
        exporter.add_items(Column::Held, None, 2);
        exporter.fail_items("rejected", None, 1);
        exporter.fail_items("shutdown", None, 1);
        let peer = vec![
            ("server.address", "far".to_owned()),
            ("server.port", "4317".to_owned()),
        ];
        telemetry.ledger.set_peer("otlp", Signal::Logs, peer);
        let metrics = &telemetry.metrics;
        let labels = vec![("exporter", "otlp".to_owned())];
        metrics
            .gauge("otelcol_exporter_queue_size", labels.clone())
            .set(2);
        metrics
            .gauge("otelcol_exporter_in_flight_requests", labels)
            .set(1);
        let labels = vec![("processor", "batch".to_owned())];
        let sizes = metrics.histogram("otelcol_processor_batch_batch_send_size_bytes", labels);
        sizes.observe(127.5);
        sizes.observe(1e9);
        let call = vec![
            ("server.address", "0.0.0.0".to_owned()),
            ("http.route", "/v1/logs".to_owned()),
        ];
        let time = metrics.histogram(names::HTTP_SERVER_DURATION, call);
        time.observe(0.25);
        metrics.gauge_fn("otelcol_process_uptime", vec![], || 12.25);
        metrics.gauge_fn("otelcol_process_memory_rss", vec![], || 1048576.);
        telemetry
    }

    fn names(snapshot: &Snapshot) -> Vec<&str> {
        snapshot.families.iter().map(|f| &*f.name).collect()
    }

    #[test]
    fn each_level_shows_what_the_collector_shows() {
        let telemetry = gateway();
        assert_eq!(Snapshot::take(&telemetry, Level::None), Snapshot::default());
        let basic = Snapshot::take(&telemetry, Level::Basic);
        assert_eq!(
            names(&basic),
            [
                "otelcol_exporter_in_flight_requests",
                "otelcol_exporter_queue_size",
                "otelcol_exporter_send_failed_log_records",
                "otelcol_exporter_sent_log_records",
                "otelcol_process_memory_rss",
                "otelcol_process_uptime",
                "otelcol_processor_incoming_items",
                "otelcol_processor_outgoing_items",
                "otelcol_receiver_accepted_log_records",
                "otelcol_receiver_failed_log_records",
                "otelcol_receiver_refused_log_records",
                "weir_ledger_held_items",
                "weir_ledger_items",
            ]
        );
        assert_eq!(basic, Snapshot::take(&telemetry, Level::Normal));
        let detailed = Snapshot::take(&telemetry, Level::Detailed);
        let more: Vec<&str> = names(&detailed)
            .into_iter()
            .filter(|n| !names(&basic).contains(n))
            .collect();
        assert_eq!(
            more,
            [
                "http.server.request.duration",
                "otelcol_processor_batch_batch_send_size_bytes",
            ]
        );
    }

    #[test]
    fn what_callers_got_back_counts_as_failed() {
        let telemetry = Telemetry::default();
        let row = telemetry
            .ledger
            .row(Place::Node(Node::Exporter("otlp".into())), Signal::Logs);
        row.add_items(Column::Refused, None, 5);
        let snapshot = Snapshot::take(&telemetry, Level::Normal);
        let failed = snapshot.families.iter().find(|f| f.name.contains("send_failed"));
        let expected = vec![(vec![("exporter", "otlp".to_owned())], Reading::Count(5))];
        assert_eq!(failed.unwrap().series, expected);
        // Nothing of it stayed here, so the books balance without it.
        assert_eq!(telemetry.ledger.check(), Ok(()));
    }

    #[test]
    fn tenants_are_told_apart_only_in_detail_and_up_to_a_cap() {
        let telemetry = Telemetry::default();
        let row = |id: &str| {
            let place = Place::Node(Node::Exporter(id.into()));
            telemetry.ledger.row(place, Signal::Logs)
        };
        row("a").add_items(Column::In, Some(&"t".into()), 2);
        row("a").add_items(Column::In, None, 1);
        for tenant in 0..TENANTS_SHOWN_MAX / 2 {
            row("b").add_items(Column::In, Some(&tenant.to_string().into()), 1);
            row("c").add_items(Column::In, Some(&tenant.to_string().into()), 1);
        }
        let shown = |level| {
            let snapshot = Snapshot::take(&telemetry, level);
            let found = snapshot
                .families
                .into_iter()
                .find(|f| f.name == names::LEDGER_ITEMS);
            let mut series: BTreeMap<(String, bool), (usize, u64)> = BTreeMap::new();
            for (labels, reading) in found.unwrap().series {
                let label = |name: &str| labels.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
                let key = (label("place").unwrap(), label("tenant").is_some());
                let Reading::Count(items) = reading else {
                    panic!("a count")
                };
                let sum = series.entry(key).or_default();
                *sum = (sum.0 + 1, sum.1 + items);
            }
            series
                .into_iter()
                .map(|((place, apart), sum)| (place, apart, sum))
                .collect::<Vec<_>>()
        };
        let own = |place: &str, apart, sum| (format!("exporter {place}"), apart, sum);
        let half = TENANTS_SHOWN_MAX / 2;
        assert_eq!(
            shown(Level::Normal),
            [
                own("a", false, (1, 3)),
                own("b", false, (1, half as u64)),
                own("c", false, (1, half as u64))
            ]
        );
        assert_eq!(
            shown(Level::Detailed),
            [
                own("a", false, (1, 1)),
                own("a", true, (1, 2)),
                own("b", true, (half.min(1000), half as u64)),
                own("c", false, (1, half as u64)),
            ]
        );
    }

    #[test]
    fn failures_are_told_apart_only_in_detail() {
        let telemetry = gateway();
        let series = |level| {
            let snapshot = Snapshot::take(&telemetry, level);
            let family = snapshot
                .families
                .into_iter()
                .find(|f| f.name.contains("send_failed"));
            family.unwrap().series
        };
        let peer = [
            ("exporter", "otlp".to_owned()),
            ("server.address", "far".to_owned()),
            ("server.port", "4317".to_owned()),
        ];
        assert_eq!(
            series(Level::Normal),
            vec![(peer.to_vec(), Reading::Count(2))],
            "both reasons in one series"
        );
        let detailed: Vec<(String, String)> = series(Level::Detailed)
            .into_iter()
            .map(|(labels, _)| (labels[0].1.clone(), labels[1].1.clone()))
            .collect();
        let own = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(detailed, [own("false", "Shutdown"), own("true", "_OTHER")]);
    }
}

//! The page at `/metrics`: Prometheus text 0.0.4 out of the books and the metrics.
//!
//! Names are the instruments' names as they are (the collector's default: no `_total`, no unit suffix), labels with
//! dots have underscores. The collector's counters of receivers, processors and exporters are not counted apart: they
//! are read from the ledger, so that metrics and books cannot disagree. Families are ordered by name and series by
//! labels, so two pages of the same state are equal. Serving is the roof's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use crate::metrics::Reading;
use crate::names::{self, Kind};
use crate::{Column, Ledger, Node, Place, Telemetry};

/// `Content-Type` of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders everything. `resource` becomes `target_info`: `service.name`, `service.version`, `service.instance.id`, ...
pub fn prometheus(telemetry: &Telemetry, resource: &[(String, String)]) -> String {
    let mut page = Page::default();
    page.metrics(telemetry);
    page.ledger(&telemetry.ledger);
    page.info(resource);
    page.render()
}

#[derive(Default)]
struct Page(BTreeMap<Cow<'static, str>, Family>);

struct Family {
    kind: Kind,
    help: &'static str,
    samples: BTreeMap<Labels, Reading>,
}

type Labels = Vec<(Cow<'static, str>, String)>;

impl Page {
    fn metrics(&mut self, telemetry: &Telemetry) {
        for family in telemetry.metrics.read() {
            let to = self.family(family.name, family.kind);
            for (labels, reading) in family.series {
                let labels = labels
                    .into_iter()
                    .map(|(name, value)| (Cow::from(name), value))
                    .collect();
                to.samples.insert(labels, reading);
            }
        }
    }

    fn ledger(&mut self, ledger: &Ledger) {
        for row in ledger.rows() {
            let total = row.total();
            let signal = row.signal;
            let place = [
                ("place", row.place.to_string()),
                ("signal", signal.as_str().to_owned()),
            ];
            let columns = Column::ALL.iter().map(|c| (c.as_str(), "", total.get(*c)));
            let dropped = total
                .dropped
                .iter()
                .map(|(rule, n)| ("dropped", rule.as_str(), *n));
            let failed = total
                .failed
                .iter()
                .map(|(reason, n)| ("failed", reason.as_str(), *n));
            for (column, rule, items) in columns.chain(dropped).chain(failed).filter(|(.., n)| *n > 0) {
                if column == Column::Held.as_str() {
                    continue;
                }
                let labels = [("column", column.to_owned()), ("rule", rule.to_owned())];
                self.count(names::LEDGER_ITEMS, place.iter().cloned().chain(labels), items);
            }
            if matches!(row.place, Place::Node(_)) {
                let held = self.family(names::LEDGER_HELD, Kind::Gauge);
                held.samples.insert(own(place), Reading::Count(total.held()));
            }
            match &row.place {
                Place::Door { receiver, transport } => {
                    let labels = [
                        ("receiver", receiver.clone()),
                        ("transport", (*transport).to_owned()),
                    ];
                    for (prefix, items) in [
                        (names::RECEIVER_ACCEPTED, total.accepted()),
                        (names::RECEIVER_REFUSED, total.refused()),
                        (names::RECEIVER_FAILED, 0),
                    ] {
                        self.count(names::of_signal(prefix, signal), labels.clone(), items);
                    }
                }
                Place::Node(Node::Processor { id, .. }) => {
                    let labels = [
                        ("processor", id.clone()),
                        ("otel.signal", signal.as_str().to_owned()),
                    ];
                    self.count(names::PROCESSOR_INCOMING, labels.clone(), total.get(Column::In));
                    self.count(names::PROCESSOR_OUTGOING, labels, total.get(Column::Out));
                }
                Place::Node(Node::Exporter(id)) => {
                    let labels = [("exporter", id.clone())];
                    self.count(
                        names::of_signal(names::EXPORTER_SENT, signal),
                        labels.clone(),
                        total.get(Column::Out),
                    );
                    // As in the collector, this one appears with the first failure.
                    if total.failed_all() > 0 {
                        self.count(
                            names::of_signal(names::EXPORTER_SEND_FAILED, signal),
                            labels,
                            total.failed_all(),
                        );
                    }
                }
                _ => {}
            }
        }
    }

    fn info(&mut self, resource: &[(String, String)]) {
        let labels = resource
            .iter()
            .map(|(name, value)| (name.clone().into(), value.clone()));
        let target = self.0.entry("target_info".into()).or_insert(Family {
            kind: Kind::Gauge,
            help: "Target metadata",
            samples: BTreeMap::new(),
        });
        target.samples.insert(labels.collect(), Reading::Count(1));
        let errors = self
            .0
            .entry("promhttp_metric_handler_errors_total".into())
            .or_insert(Family {
                kind: Kind::Counter,
                help: "Errors while this page was made; always zero, making it cannot fail.",
                samples: BTreeMap::new(),
            });
        for cause in ["encoding", "gathering"] {
            errors
                .samples
                .insert(own([("cause", cause.to_owned())]), Reading::Count(0));
        }
    }

    /// Adds to one counter: rows of several places may share a series (one processor in two pipelines).
    fn count(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        labels: impl IntoIterator<Item = (&'static str, String)>,
        items: u64,
    ) {
        let family = self.family(name, Kind::Counter);
        match family.samples.entry(own(labels)).or_insert(Reading::Count(0)) {
            Reading::Count(n) => *n += items,
            other => *other = Reading::Count(items),
        }
    }

    fn family(&mut self, name: impl Into<Cow<'static, str>>, kind: Kind) -> &mut Family {
        let name = name.into();
        let help = names::find(&name).map_or("", |def| def.help);
        self.0.entry(name).or_insert_with(|| Family {
            kind,
            help,
            samples: BTreeMap::new(),
        })
    }

    fn render(&self) -> String {
        let mut out = String::with_capacity(16 << 10);
        for (name, family) in &self.0 {
            if !family.help.is_empty() {
                out.push_str("# HELP ");
                out.push_str(name);
                out.push(' ');
                escape(family.help, Escape::Help, &mut out);
                out.push('\n');
            }
            let _ = writeln!(out, "# TYPE {name} {}", family.kind.as_str());
            for (labels, reading) in &family.samples {
                match reading {
                    Reading::Count(n) => line(name, "", labels, None, &n.to_string(), &mut out),
                    Reading::Number(n) => line(name, "", labels, None, &number(*n), &mut out),
                    Reading::Histogram { bounds, counts, sum } => {
                        let mut below = 0;
                        for (i, count) in counts.iter().enumerate() {
                            below += count;
                            let le = bounds.get(i).map_or("+Inf".to_owned(), |bound| number(*bound));
                            line(name, "_bucket", labels, Some(&le), &below.to_string(), &mut out);
                        }
                        line(name, "_sum", labels, None, &number(*sum), &mut out);
                        line(name, "_count", labels, None, &below.to_string(), &mut out);
                    }
                }
            }
        }
        out
    }
}

fn own(labels: impl IntoIterator<Item = (&'static str, String)>) -> Labels {
    labels
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect()
}

fn line(name: &str, suffix: &str, labels: &Labels, le: Option<&str>, value: &str, out: &mut String) {
    out.push_str(name);
    out.push_str(suffix);
    let mut open = '{';
    for (label, text) in labels
        .iter()
        .map(|(label, text)| (label.as_ref(), text.as_str()))
        .chain(le.map(|le| ("le", le)))
    {
        out.push(open);
        open = ',';
        label_name(label, out);
        out.push_str("=\"");
        escape(text, Escape::Label, out);
        out.push('"');
    }
    if open == ',' {
        out.push('}');
    }
    out.push(' ');
    out.push_str(value);
    out.push('\n');
}

/// Letters, digits and `_`; every other character becomes `_`, as for a scraper that does not ask for UTF-8 names.
fn label_name(name: &str, out: &mut String) {
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(
        name.chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }),
    );
}

#[derive(Clone, Copy, PartialEq)]
enum Escape {
    Help,
    Label,
}

fn escape(text: &str, how: Escape, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if how == Escape::Label => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0. { "+Inf" } else { "-Inf" }.into()
    } else if value.abs() >= 1e21 || (value != 0. && value.abs() < 1e-6) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use wire::Signal;

    use super::*;

    #[test]
    fn the_page_of_a_small_gateway() {
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
        exporter.add_items(Column::In, None, 6);
        exporter.add_items(Column::Out, None, 3);
        exporter.add_items(Column::Held, None, 2);
        exporter.fail_items("timeout", None, 1);
        let labels = vec![("exporter", "otlp".to_owned())];
        telemetry
            .metrics
            .gauge("otelcol_exporter_queue_size", labels.clone())
            .set(2);
        let sizes = telemetry
            .metrics
            .histogram("otelcol_exporter_queue_batch_send_size", labels);
        sizes.observe(9.5);
        sizes.observe(1e6);
        telemetry
            .metrics
            .gauge_fn("otelcol_process_uptime", vec![], || 12.25);

        let resource = [("service.name", "weir"), ("service.version", "0.1.0\n")];
        let page = prometheus(&telemetry, &resource.map(|(k, v)| (k.to_owned(), v.to_owned())));
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/metrics.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata")).unwrap();
            std::fs::write(golden, &page).unwrap();
        }
        assert_eq!(page, std::fs::read_to_string(golden).unwrap());
        assert_eq!(
            page,
            prometheus(&telemetry, &resource.map(|(k, v)| (k.to_owned(), v.to_owned())))
        );
    }

    #[test]
    fn numbers_are_readable_by_go() {
        #[track_caller]
        fn check(value: f64, expected: &str) {
            assert_eq!(number(value), expected);
            if value.is_finite() {
                assert_eq!(expected.parse::<f64>().unwrap(), value);
            }
        }
        check(0., "0");
        check(0.005, "0.005");
        check(16_777_216., "16777216");
        check(-1.5, "-1.5");
        check(1e300, "1e300");
        check(1e-9, "1e-9");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }

    #[test]
    fn label_names_are_made_plain() {
        #[track_caller]
        fn check(name: &str, expected: &str) {
            let mut out = String::new();
            label_name(name, &mut out);
            assert_eq!(out, expected);
        }
        check("otel.signal", "otel_signal");
        check("2nd", "_2nd");
        check("größe", "gr__e");
    }
}

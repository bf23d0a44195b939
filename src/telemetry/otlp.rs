//! Own metrics and logs as OTLP requests.
//!
//! In: a [`Snapshot`] (and, for deltas, the one before it) or log records, and the resource. Out: one encoded export
//! request. Numbers of fields come from the table of [`wire::otlp`]. Sending is the roof's.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use wire::Signal;
use wire::field::{FIXED64, LEN, VARINT};
use wire::otlp::{self, Kind as FieldKind, Message};
use wire::varint;

use crate::logs::Record;
use crate::metrics::{Labels, Reading};
use crate::names::Kind;
use crate::resource::{Resource, Value};
use crate::snapshot::{Family, Snapshot};

/// Whether counters and histograms say how much there is, or how much more there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temporality {
    /// Since the start.
    #[default]
    Cumulative,
    /// Since the last request that was taken; gauges and sums that shrink stay as they are.
    Delta,
}

/// From when to when a request speaks.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Begin of counting.
    pub start: SystemTime,
    /// Moment of the snapshot.
    pub now: SystemTime,
}

/// A request with metrics; `before` is what deltas are taken from. Empty if there is nothing to say.
pub fn metrics(
    snapshot: &Snapshot,
    before: &Snapshot,
    resource: &Resource,
    span: Span,
    temporality: Temporality,
) -> Vec<u8> {
    let mut scopes: Vec<(&'static str, Vec<&Family>)> = Vec::new();
    for family in &snapshot.families {
        match scopes.iter_mut().find(|(scope, _)| *scope == family.scope) {
            Some((_, families)) => families.push(family),
            None => scopes.push((family.scope, vec![family])),
        }
    }
    if scopes.is_empty() {
        return Vec::new();
    }
    let points = Points {
        span,
        temporality,
        before: before
            .families
            .iter()
            .flat_map(|f| f.series.iter().map(|(l, r)| ((&*f.name, l), r)))
            .collect(),
    };
    request(Signal::Metrics, resource, |group| {
        for (scope, families) in &scopes {
            group.message("scope_metrics", |out| {
                out.message("scope", |out| out.text("name", scope));
                for family in families {
                    out.message("metrics", |out| points.metric(family, out));
                }
            });
        }
    })
}

/// A request with log records.
pub fn logs(records: &[Record], resource: &Resource) -> Vec<u8> {
    request(Signal::Logs, resource, |group| {
        group.message("scope_logs", |out| {
            out.message("scope", |out| out.text("name", "weir"));
            for record in records {
                out.message("log_records", |out| {
                    out.fixed("time_unix_nano", nanos(record.time));
                    out.int("severity_number", u64::from(record.severity));
                    out.text("severity_text", record.level);
                    out.message("body", |out| out.text("string_value", &record.message));
                    attributes(out, record.fields.iter().map(|(k, v)| (k.as_str(), v)));
                    out.fixed("observed_time_unix_nano", nanos(record.time));
                });
            }
        });
    })
}

/// A named event, as a log record.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Who says it: name and version.
    pub scope: (&'a str, &'a str),
    /// What happened, by its name.
    pub name: String,
    /// When.
    pub time: SystemTime,
    /// Number and word, such as 9 and `INFO`.
    pub severity: (u8, &'static str),
    /// The body, kept as it is.
    pub body: &'a str,
    /// To search by.
    pub attributes: Vec<(&'static str, Value)>,
}

/// A request with one event.
pub fn event(event: &Event<'_>, resource: &Resource) -> Vec<u8> {
    request(Signal::Logs, resource, |group| {
        group.message("scope_logs", |out| {
            out.message("scope", |out| {
                out.text("name", event.scope.0);
                out.text("version", event.scope.1);
            });
            out.message("log_records", |out| {
                out.fixed("time_unix_nano", nanos(event.time));
                out.int("severity_number", u64::from(event.severity.0));
                out.text("severity_text", event.severity.1);
                out.message("body", |out| out.member_text("string_value", event.body));
                attributes(out, event.attributes.iter().map(|(k, v)| (*k, v)));
                out.fixed("observed_time_unix_nano", nanos(event.time));
                out.text("event_name", &event.name);
            });
        });
    })
}

fn request(signal: Signal, resource: &Resource, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Writer {
        shape: otlp::request(signal),
        out: &mut bytes,
    };
    let groups = out.shape.fields[0].name;
    out.message(groups, |out| {
        out.message("resource", |out| {
            attributes(out, resource.attributes.iter().map(|(k, v)| (k.as_str(), v)));
        });
        fill(out);
        out.text("schema_url", &resource.schema_url);
    });
    bytes
}

fn attributes<'a>(out: &mut Writer<'_>, all: impl Iterator<Item = (&'a str, &'a Value)>) {
    for (key, value) in all {
        out.message("attributes", |out| {
            out.text("key", key);
            out.message("value", |out| any_value(out, value));
        });
    }
}

fn any_value(out: &mut Writer<'_>, value: &Value) {
    match value {
        Value::Text(text) => out.member_text("string_value", text),
        Value::Bool(value) => out.int("bool_value", u64::from(*value)),
        Value::Int(value) => out.int("int_value", *value as u64),
        Value::Double(value) => out.fixed("double_value", value.to_bits()),
        Value::List(values) => out.message("array_value", |out| {
            for value in values {
                out.message("values", |out| any_value(out, value));
            }
        }),
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

struct Points<'a> {
    span: Span,
    temporality: Temporality,
    before: HashMap<(&'a str, &'a Labels), &'a Reading>,
}

impl Points<'_> {
    fn metric(&self, family: &Family, out: &mut Writer<'_>) {
        out.text("name", &family.name);
        out.text("description", &family.help);
        out.text("unit", family.unit);
        let is_sum = family.up_down || family.kind == Kind::Counter;
        let field = match family.kind {
            Kind::Histogram => "histogram",
            _ if is_sum => "sum",
            _ => "gauge",
        };
        // A sum that shrinks is told as it stands, whatever was asked for.
        let is_delta = self.temporality == Temporality::Delta && !family.up_down && field != "gauge";
        out.message(field, |out| {
            for (labels, reading) in &family.series {
                let known = self.before.get(&(&*family.name, labels)).filter(|_| is_delta);
                let reading = known.map_or_else(|| reading.clone(), |known| less(reading, known));
                out.message("data_points", |out| {
                    self.point(labels, &reading, field != "gauge", out)
                });
            }
            if field != "gauge" {
                out.int("aggregation_temporality", if is_delta { 1 } else { 2 });
            }
            if field == "sum" {
                out.int("is_monotonic", u64::from(family.kind == Kind::Counter));
            }
        });
    }

    fn point(&self, labels: &Labels, reading: &Reading, has_start: bool, out: &mut Writer<'_>) {
        if has_start {
            out.fixed("start_time_unix_nano", nanos(self.span.start));
        }
        out.fixed("time_unix_nano", nanos(self.span.now));
        match reading {
            Reading::Count(n) => out.fixed("as_int", *n),
            Reading::Number(n) => out.fixed("as_double", n.to_bits()),
            Reading::Histogram { bounds, counts, sum } => {
                out.fixed("count", counts.iter().sum());
                out.fixed("sum", sum.to_bits());
                out.packed("bucket_counts", counts.iter().copied());
                out.packed("explicit_bounds", bounds.iter().map(|b| b.to_bits()));
            }
        }
        for (name, value) in labels {
            out.message("attributes", |out| {
                out.text("key", name);
                out.message("value", |out| out.member_text("string_value", value));
            });
        }
    }
}

/// What came since; a series that began anew says all it has.
fn less(now: &Reading, before: &Reading) -> Reading {
    match (now, before) {
        (Reading::Count(a), Reading::Count(b)) => Reading::Count(a.checked_sub(*b).unwrap_or(*a)),
        (Reading::Number(a), Reading::Number(b)) if a >= b => Reading::Number(a - b),
        (
            Reading::Histogram { bounds, counts, sum },
            Reading::Histogram {
                counts: old,
                sum: old_sum,
                ..
            },
        ) => {
            let since: Option<Vec<u64>> = counts.iter().zip(old).map(|(a, b)| a.checked_sub(*b)).collect();
            match since {
                Some(counts) => Reading::Histogram {
                    bounds,
                    counts,
                    sum: sum - old_sum,
                },
                None => now.clone(),
            }
        }
        (now, _) => now.clone(),
    }
}

/// Writes one message, its fields by name.
struct Writer<'a> {
    shape: &'static Message,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.member_text(name, text);
        }
    }

    /// Also when it is empty: which member of a one-of there is says something.
    fn member_text(&mut self, name: &str, text: &str) {
        self.tag(name, LEN);
        varint::write(text.len() as u64, self.out);
        self.out.extend_from_slice(text.as_bytes());
    }

    fn int(&mut self, name: &str, value: u64) {
        self.tag(name, VARINT);
        varint::write(value, self.out);
    }

    fn fixed(&mut self, name: &str, bits: u64) {
        self.tag(name, FIXED64);
        self.out.extend_from_slice(&bits.to_le_bytes());
    }

    fn packed(&mut self, name: &str, all: impl ExactSizeIterator<Item = u64>) {
        if all.len() > 0 {
            self.tag(name, LEN);
            varint::write(8 * all.len() as u64, self.out);
            for bits in all {
                self.out.extend_from_slice(&bits.to_le_bytes());
            }
        }
    }

    fn message(&mut self, name: &str, fill: impl FnOnce(&mut Writer<'_>)) {
        let FieldKind::Message(shape) = self.tag(name, LEN) else {
            unreachable!("callers name messages; a test writes every field")
        };
        let mut inner = Vec::new();
        fill(&mut Writer {
            shape,
            out: &mut inner,
        });
        varint::write(inner.len() as u64, self.out);
        self.out.append(&mut inner);
    }

    fn tag(&mut self, name: &str, wire: u8) -> FieldKind {
        let field = self.shape.named(name);
        let field = field.expect("callers name fields of the table; a test writes every field");
        varint::write(u64::from(field.number) << 3 | u64::from(wire), self.out);
        field.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Level;
    use crate::snapshot::tests::gateway;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn resource() -> Resource {
        Resource {
            attributes: vec![
                (
                    "a.list".into(),
                    Value::List(vec![Value::Bool(true), Value::Double(0.5)]),
                ),
                ("service.name".into(), "weir".into()),
                ("shard".into(), Value::Int(-3)),
            ],
            schema_url: "https://opentelemetry.io/schemas/1.40.0".into(),
        }
    }

    /// As OTLP/JSON, which is easier to read than bytes; what a door would refuse fails here.
    fn json(signal: Signal, bytes: &[u8]) -> String {
        let shape = wire::validate(signal, bytes, &wire::Limits::default()).unwrap();
        assert!(!shape.non_canonical && !shape.unknown_fields);
        let mut out = Vec::new();
        codec::otlp_json::write(signal, bytes, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const SPAN: fn() -> Span = || Span {
        start: at(100),
        now: at(160),
    };

    #[test]
    fn metrics_as_the_collector_pushes_them() {
        let snapshot = Snapshot::take(&gateway(), Level::Detailed);
        let nothing = Snapshot::default();
        let bytes = metrics(&snapshot, &nothing, &resource(), SPAN(), Temporality::Cumulative);
        let json = json(Signal::Metrics, &bytes);
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/metrics.json");
        let page = json.replace("},{", "},\n{") + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(golden, &page).unwrap();
        }
        assert_eq!(page, std::fs::read_to_string(golden).unwrap());
        let empty = metrics(&nothing, &nothing, &resource(), SPAN(), Temporality::Delta);
        assert_eq!(empty, Vec::<u8>::new());
    }

    #[test]
    fn deltas_say_what_came_since() {
        let telemetry = gateway();
        let before = Snapshot::take(&telemetry, Level::Basic);
        let exporter = crate::Node::Exporter("otlp".into());
        let row = telemetry.ledger.row(crate::Place::Node(exporter), Signal::Logs);
        row.add_items(crate::Column::Out, None, 4);
        let now = Snapshot::take(&telemetry, Level::Basic);
        let bytes = metrics(&now, &before, &Resource::default(), SPAN(), Temporality::Delta);
        let json = json(Signal::Metrics, &bytes);
        let of = |name: &str| {
            let (_, rest) = json.split_once(&format!("\"name\":\"{name}\"")).unwrap();
            rest[..rest.find("}]}").unwrap()].to_owned()
        };
        let sent = of("otelcol_exporter_sent_log_records");
        assert!(sent.contains(r#""asInt":"4""#), "{sent}");
        let accepted = of("otelcol_receiver_accepted_log_records");
        assert!(accepted.contains(r#""asInt":"0""#), "{accepted}");
        let in_flight = of("otelcol_exporter_in_flight_requests");
        assert!(in_flight.contains(r#""asDouble":1"#), "{in_flight}");
    }

    #[test]
    fn what_began_anew_says_all_it_has() {
        #[track_caller]
        fn check(now: Reading, before: Reading, expected: Reading) {
            assert_eq!(less(&now, &before), expected);
        }
        let histogram = |counts: [u64; 2], sum| Reading::Histogram {
            bounds: &[1.],
            counts: counts.to_vec(),
            sum,
        };
        check(Reading::Count(7), Reading::Count(5), Reading::Count(2));
        check(Reading::Count(5), Reading::Count(7), Reading::Count(5));
        check(Reading::Number(1.5), Reading::Number(1.), Reading::Number(0.5));
        check(Reading::Number(1.), Reading::Number(1.5), Reading::Number(1.));
        check(
            histogram([3, 2], 9.),
            histogram([1, 2], 4.),
            histogram([2, 0], 5.),
        );
        check(
            histogram([3, 2], 9.),
            histogram([1, 3], 4.),
            histogram([3, 2], 9.),
        );
    }

    #[test]
    fn log_records_carry_severity_and_fields() {
        let record = Record {
            time: at(1),
            level: "warn",
            severity: 13,
            message: "will retry".into(),
            fields: vec![
                ("otelcol.component.id".into(), "otlp".into()),
                ("attempt".into(), Value::Int(2)),
                ("empty".into(), "".into()),
            ],
        };
        let mut resource = resource();
        resource.attributes.truncate(0);
        assert_eq!(
            json(Signal::Logs, &logs(&[record], &resource)),
            concat!(
                r#"{"resourceLogs":[{"resource":{},"scopeLogs":[{"scope":{"name":"weir"},"logRecords":[{"#,
                r#""timeUnixNano":"1000000000","severityNumber":13,"severityText":"warn","#,
                r#""body":{"stringValue":"will retry"},"attributes":[{"key":"otelcol.component.id","#,
                r#""value":{"stringValue":"otlp"}},{"key":"attempt","value":{"intValue":"2"}},"#,
                r#"{"key":"empty","value":{"stringValue":""}}],"observedTimeUnixNano":"1000000000"}]}],"#,
                r#""schemaUrl":"https://opentelemetry.io/schemas/1.40.0"}]}"#
            )
        );
    }
}

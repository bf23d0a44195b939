//! What the books say, for the trail: what ended within an interval, and what a start found.
//!
//! A record has at most [`LINES_MAX`] lines; beyond it tenants are told together, and beyond that the number of lines
//! that are missing.

use std::collections::{BTreeMap, BTreeSet};

use component::audit::{Act, Ended};
use serde_json::{Value, json};
use telemetry::ledger::{Kind, Line, Report};
use telemetry::metrics::Reading;
use telemetry::{Column, Ledger, Metrics, Totals};
use tokio::time::Instant;

use super::crowd::shortened;

const LINES_MAX: usize = 200;
const OTHER: &str = "__other__";
/// The door of the trail's own records.
const OWN_DOOR: &str = "door audit (internal)";

/// Place, signal, tenant.
type Where = (String, String, Option<String>);

/// What ended in one place.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ends {
    dropped: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
    merged: u64,
    touched: BTreeMap<String, u64>,
}

impl Ends {
    fn of(totals: &Totals) -> Ends {
        Ends {
            dropped: totals.dropped.clone(),
            failed: totals.failed.clone(),
            merged: totals.get(Column::Merged),
            touched: totals.touched.clone(),
        }
    }

    /// What came since.
    fn since(&self, before: &Ends) -> Ends {
        let more = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let more = now.iter().map(|(name, n)| {
                let known = before.get(name).copied().unwrap_or_default();
                (name.clone(), n.saturating_sub(known))
            });
            more.filter(|(_, n)| *n > 0).collect()
        };
        Ends {
            dropped: more(&self.dropped, &before.dropped),
            failed: more(&self.failed, &before.failed),
            merged: self.merged.saturating_sub(before.merged),
            touched: more(&self.touched, &before.touched),
        }
    }

    fn add(&mut self, other: &Ends) {
        for (mine, theirs) in [
            (&mut self.dropped, &other.dropped),
            (&mut self.failed, &other.failed),
            (&mut self.touched, &other.touched),
        ] {
            for (name, n) in theirs {
                *mine.entry(name.clone()).or_default() += n;
            }
        }
        self.merged += other.merged;
    }
}

/// What was told last.
#[derive(Default)]
pub(super) struct Watched {
    before: BTreeMap<Where, Ends>,
    unbalanced: BTreeSet<String>,
    /// By door: what was given back there so far, and since when it does so.
    doors: BTreeMap<String, Pressure>,
}

/// A door that gives back what comes.
#[derive(Default)]
struct Pressure {
    refused: u64,
    /// When it began, and what had been given back before.
    since: Option<(Instant, u64)>,
}

impl Watched {
    /// Acts for what ended since the last call.
    pub(super) fn ended(&mut self, ledger: &Ledger) -> Vec<Act> {
        let now = Report::of(ledger).lines.into_iter();
        let now = now.filter(|line| line.kind != Kind::Door);
        let now: BTreeMap<Where, Ends> = now
            .map(
                |Line {
                     place,
                     signal,
                     tenant,
                     since_start,
                     ..
                 }| ((place, signal, tenant), Ends::of(&since_start)),
            )
            .filter(|(_, ends)| *ends != Ends::default())
            .collect();
        let nothing = Ends::default();
        let since = now.iter().map(|(at, ends)| {
            let before = self.before.get(at).unwrap_or(&nothing);
            (at.clone(), ends.since(before))
        });
        let since: Vec<(Where, Ends)> = since.filter(|(_, ends)| *ends != nothing).collect();
        let drops = |ends: &Ends| {
            let mut line = serde_json::Map::new();
            for (key, ended) in [("drop", &ends.dropped), ("fail", &ends.failed)] {
                if !ended.is_empty() {
                    line.insert(key.to_owned(), json!(ended));
                }
            }
            if ends.merged > 0 {
                line.insert("merged".to_owned(), ends.merged.into());
            }
            line
        };
        let touches = |ends: &Ends| match ends.touched.is_empty() {
            true => serde_json::Map::new(),
            false => [("touch".to_owned(), json!(ends.touched))].into_iter().collect(),
        };
        let acts = [
            told("pipeline.drop", &since, drops),
            told("pipeline.redact", &since, touches),
        ];
        self.before = now;
        acts.into_iter().flatten().collect()
    }

    /// Acts for doors that began to give back what comes, or took all of it again since the last call. `fill`: how full
    /// the queues are, by exporter.
    pub(super) fn pressed(&mut self, ledger: &Ledger, fill: &Value, now: Instant) -> Vec<Act> {
        let mut refused: BTreeMap<String, u64> = BTreeMap::new();
        let doors = Report::of(ledger).lines.into_iter();
        for line in doors.filter(|line| line.kind == Kind::Door && line.place != OWN_DOOR) {
            *refused.entry(line.place).or_default() += line.since_start.refused();
        }
        let mut acts = Vec::new();
        for (place, refused) in refused {
            let door = self.doors.entry(place.clone()).or_default();
            let more = refused - door.refused.min(refused);
            let before = std::mem::replace(&mut door.refused, refused);
            match door.since {
                None if more > 0 => {
                    door.since = Some((now, before));
                    let act = Act::new("backpressure.start", place).ended(Ended::Denied);
                    acts.push(act.with("refused", more).with("queues", fill.clone()));
                }
                Some((since, before)) if more == 0 => {
                    door.since = None;
                    let act = Act::new("backpressure.stop", place);
                    let act = act.with("duration_s", (now - since).as_secs());
                    acts.push(act.with("refused", refused - before).with("queues", fill.clone()));
                }
                _ => {}
            }
        }
        acts
    }

    /// An act for each law that does not hold and did at the last call; `faults` are a report's.
    pub(super) fn unbalanced(&mut self, faults: &[String]) -> Vec<Act> {
        let law = |fault: &String| fault.split(": ").next().unwrap_or_default().to_owned();
        let new = faults
            .iter()
            .filter(|fault| !self.unbalanced.contains(&law(fault)));
        let acts = new.take(LINES_MAX).map(|fault| {
            let act = Act::new("ledger.imbalance", shortened(&law(fault)));
            act.ended(Ended::Failure).with("fault", shortened(fault))
        });
        let acts = acts.collect();
        self.unbalanced = faults.iter().map(law).collect();
        acts
    }
}

/// One act with a line for each place that has something to say; `None` if there is none.
fn told(
    name: &'static str,
    all: &[(Where, Ends)],
    say: impl Fn(&Ends) -> serde_json::Map<String, Value>,
) -> Option<Act> {
    let apart: Vec<&(Where, Ends)> = all.iter().filter(|(_, ends)| !say(ends).is_empty()).collect();
    let mut lines: BTreeMap<Where, Ends> = BTreeMap::new();
    let is_long = apart.len() > LINES_MAX;
    for ((place, signal, tenant), ends) in apart {
        let tenant = match tenant {
            Some(_) if is_long => Some(OTHER.to_owned()),
            tenant => tenant.clone(),
        };
        let line = lines.entry((place.clone(), signal.clone(), tenant)).or_default();
        line.add(ends);
    }
    if lines.is_empty() {
        return None;
    }
    let missing = lines.len().saturating_sub(LINES_MAX);
    let lines = lines
        .into_iter()
        .take(LINES_MAX)
        .map(|((place, signal, tenant), ends)| {
            let mut line = say(&ends);
            line.insert("edge".to_owned(), place.into());
            line.insert("signal".to_owned(), signal.into());
            if let Some(tenant) = tenant {
                line.insert("tenant".to_owned(), shortened(&tenant).into());
            }
            Value::Object(line)
        });
    let act = Act::new(name, "ledger").with("edges", lines.collect::<Vec<_>>());
    Some(match missing {
        0 => act,
        missing => act.with("more", missing),
    })
}

/// Of the process, the queues and the archive: what an hour is told by.
const TOLD: [&str; 14] = [
    "otelcol_process_uptime",
    "otelcol_process_cpu_seconds",
    "otelcol_process_memory_rss",
    QUEUE_SIZE,
    QUEUE_CAPACITY,
    "weir_archive_records",
    "weir_archive_spool_bytes",
    "weir_archive_owed_records",
    "weir_archive_oldest_unsealed_seconds",
    "weir_archive_worm_ok",
    "weir_archive_clock_skew_seconds",
    "weir_archive_put_denied",
    "weir_archive_fenced",
    "weir_archive_ledger_imbalance",
];
const QUEUE_SIZE: &str = "otelcol_exporter_queue_size";
const QUEUE_CAPACITY: &str = "otelcol_exporter_queue_capacity";
/// Series of one name.
const SERIES_MAX: usize = 50;

/// How things stand: some metrics, and what came to the doors.
pub(super) fn snapshot(metrics: &Metrics, ledger: &Ledger) -> Act {
    let mut doors: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    let lines = Report::of(ledger).lines.into_iter();
    for line in lines.filter(|line| line.kind == Kind::Door) {
        let total = &line.since_start;
        let door = doors.entry(line.place).or_default();
        for (sum, n) in door
            .iter_mut()
            .zip([total.offered(), total.accepted(), total.refused()])
        {
            *sum += n;
        }
    }
    let doors = doors.into_iter().take(SERIES_MAX).map(|(door, [offered, accepted, refused])| {
        json!({"door": door, "offered": offered, "accepted": accepted, "refused": refused})
    });
    Act::new("metrics.snapshot", "metrics")
        .with("metrics", readings(metrics, &TOLD))
        .with("doors", doors.collect::<Vec<_>>())
}

/// How full the queues are.
pub(super) fn queues(metrics: &Metrics) -> Value {
    readings(metrics, &[QUEUE_SIZE, QUEUE_CAPACITY])
}

/// By name and labels, what they show.
fn readings(metrics: &Metrics, names: &[&str]) -> Value {
    let mut shown = serde_json::Map::new();
    for family in metrics.read() {
        if !names.contains(&family.name) {
            continue;
        }
        for (labels, reading) in family.series.into_iter().take(SERIES_MAX) {
            let labels: Vec<String> = labels
                .iter()
                .map(|(k, v)| format!("{k}={}", shortened(v)))
                .collect();
            let name = match labels.is_empty() {
                true => family.name.to_owned(),
                false => format!("{}{{{}}}", family.name, labels.join(",")),
            };
            let value = match reading {
                Reading::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                    json!(number as i64)
                }
                Reading::Number(number) => json!(number),
                Reading::Count(count) => json!(count),
                Reading::Histogram { .. } => continue,
            };
            shown.insert(name, value);
        }
    }
    Value::Object(shown)
}

/// What a start found of earlier lives.
pub(super) fn carried(ledger: &Ledger) -> Act {
    let report = Report::of(ledger);
    let carried = report.lines.iter().filter_map(|line| {
        let items = line.since_start.get(Column::CarriedIn);
        let line =
            json!({"edge": line.place, "signal": line.signal, "tenant": line.tenant, "carried_in": items});
        (items > 0).then_some(line)
    });
    let carried: Vec<Value> = carried.collect();
    let lives = report.lives.unwrap_or_default();
    let differences = |list: &[telemetry::ledger::Difference]| {
        let all = list.iter().take(LINES_MAX);
        let all = all.map(|d| json!({"edge": d.place, "signal": d.signal, "items": d.items}));
        all.collect::<Vec<Value>>()
    };
    let missing = carried.len().saturating_sub(LINES_MAX);
    Act::new("ledger.carry", "ledger")
        .with("life", lives.lives)
        .with("edges", carried.into_iter().take(LINES_MAX).collect::<Vec<_>>())
        .with("more", missing)
        .with("unbooked", differences(&lives.unbooked))
        .with("waiting", differences(&lives.waiting))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use telemetry::{Node, Place};
    use wire::Signal;

    use super::*;

    fn details(act: &Act) -> String {
        Value::Object(act.details.clone()).to_string()
    }

    #[test]
    fn an_interval_has_what_ended_in_it() {
        let ledger = Ledger::default();
        let mut watched = Watched::default();
        assert_eq!(watched.ended(&ledger), []);
        let row = ledger.row(Place::Node(Node::Exporter("otlp".into())), Signal::Logs);
        let acme: Arc<str> = "acme".into();
        row.add_items(Column::In, None, 20);
        assert_eq!(watched.ended(&ledger), [], "what goes on is not told");
        row.drop_items("filter", Some(&acme), 3);
        row.fail_items("rejected", None, 2);
        row.add_items(Column::Merged, None, 1);
        row.touch_items("email", None, 5);
        let told = watched.ended(&ledger);
        let names: Vec<&str> = told.iter().map(|act| act.name).collect();
        assert_eq!(names, ["pipeline.drop", "pipeline.redact"]);
        assert_eq!(
            details(&told[0]),
            r#"{"edges":[{"edge":"exporter otlp","fail":{"rejected":2},"merged":1,"signal":"logs"},{"drop":{"filter":3},"edge":"exporter otlp","signal":"logs","tenant":"acme"}]}"#
        );
        assert_eq!(
            details(&told[1]),
            r#"{"edges":[{"edge":"exporter otlp","signal":"logs","touch":{"email":5}}]}"#
        );
        assert_eq!(watched.ended(&ledger), []);
        row.drop_items("filter", Some(&acme), 1);
        let again = watched.ended(&ledger);
        assert!(details(&again[0]).contains(r#""drop":{"filter":1}"#), "{again:?}");
    }

    #[test]
    fn many_tenants_are_told_together() {
        let ledger = Ledger::default();
        let mut watched = Watched::default();
        let row = ledger.row(Place::Node(Node::Exporter("otlp".into())), Signal::Logs);
        for n in 0..=LINES_MAX {
            row.drop_items("filter", Some(&format!("t{n}").into()), 2);
        }
        let told = watched.ended(&ledger);
        assert_eq!(
            details(&told[0]),
            r#"{"edges":[{"drop":{"filter":402},"edge":"exporter otlp","signal":"logs","tenant":"__other__"}]}"#
        );
    }

    #[test]
    fn a_record_has_so_many_lines_and_says_how_many_are_missing() {
        let ledger = Ledger::default();
        for n in 0..LINES_MAX + 7 {
            let row = ledger.row(Place::Node(Node::Exporter(format!("e{n}"))), Signal::Logs);
            row.drop_items("filter", None, 1);
        }
        let told = Watched::default().ended(&ledger);
        let details = &told[0].details;
        assert_eq!(details["edges"].as_array().unwrap().len(), LINES_MAX);
        assert_eq!(details["more"], 7);
    }

    #[test]
    fn a_law_that_breaks_is_told_until_it_holds_again() {
        let mut watched = Watched::default();
        let fault = |n: u32| vec![format!("exporter otlp logs: {n} came, 0 accounted for: in {n}")];
        let told = watched.unbalanced(&fault(1));
        assert_eq!((told.len(), told[0].object.as_str()), (1, "exporter otlp logs"));
        assert_eq!(watched.unbalanced(&fault(2)), []);
        assert_eq!(watched.unbalanced(&[]), []);
        assert_eq!(watched.unbalanced(&fault(3)).len(), 1);
    }

    #[test]
    fn a_door_that_gives_back_is_told_until_it_takes_again() {
        let ledger = Ledger::default();
        let door = |receiver: &str| Place::Door {
            receiver: receiver.to_owned(),
            transport: "http",
        };
        let row = ledger.row(door("otlp"), Signal::Logs);
        let own = Place::Door {
            receiver: "audit".to_owned(),
            transport: "internal",
        };
        let own = ledger.row(own, Signal::Logs);
        let mut watched = Watched::default();
        let start = Instant::now();
        let mut check = |minute: u64, expected: Option<(&str, String)>| {
            let now = start + std::time::Duration::from_secs(60 * minute);
            let acts = watched.pressed(&ledger, &json!({"q": 1}), now);
            let told: Vec<(&str, String)> = acts.iter().map(|act| (act.name, details(act))).collect();
            assert_eq!(told, expected.into_iter().collect::<Vec<_>>());
        };
        own.add_items(Column::Refused, None, 9);
        check(0, None);
        row.add_items(Column::Refused, None, 2);
        let begun = r#"{"queues":{"q":1},"refused":2}"#.to_owned();
        check(1, Some(("backpressure.start", begun)));
        row.add_items(Column::Refused, None, 3);
        check(2, None);
        let ended = r#"{"duration_s":120,"queues":{"q":1},"refused":5}"#.to_owned();
        check(3, Some(("backpressure.stop", ended)));
        check(4, None);
    }

    #[test]
    fn an_hour_is_told_by_some_metrics_and_the_doors() {
        let (metrics, ledger) = (Metrics::default(), Ledger::default());
        metrics
            .gauge(QUEUE_SIZE, vec![("exporter", "otlp".to_owned())])
            .set(7);
        metrics.gauge("weir_audit_full", vec![]).set(1);
        let place = Place::Door {
            receiver: "otlp".to_owned(),
            transport: "grpc",
        };
        let row = ledger.row(place.clone(), Signal::Logs);
        row.add_items(Column::Offered, None, 3);
        row.add_items(Column::Accepted, None, 2);
        row.add_items(Column::Refused, None, 1);
        let act = snapshot(&metrics, &ledger);
        assert_eq!(
            Value::Object(act.details),
            json!({
                "metrics": {"otelcol_exporter_queue_size{exporter=otlp}": 7},
                "doors": [{"door": place.to_string(), "offered": 3, "accepted": 2, "refused": 1}],
            })
        );
    }

    #[test]
    fn a_start_says_what_it_found() {
        let ledger = Ledger::default();
        let row = ledger.row(Place::Node(Node::Exporter("otlp".into())), Signal::Logs);
        row.add_items(Column::CarriedIn, None, 4);
        assert_eq!(
            details(&carried(&ledger)),
            r#"{"edges":[{"carried_in":4,"edge":"exporter otlp","signal":"logs","tenant":null}],"life":0,"more":0,"unbooked":[],"waiting":[]}"#
        );
    }
}

//! How the machine bore it, and what came to its doors: the snapshots of metrics that the audit trail keeps, one an hour. What
//! came after the last one of a process is in none.
//!
//! Counters go on from snapshot to snapshot of one life of a process, which shows by its uptime. What lies before the first
//! snapshot of a life counts if that life began in the period; else the first one is only where the counting begins.

use std::collections::BTreeMap;

use evidence::time::Time;
use serde_json::Value;

use super::fold::{Counts, Period, Spread};
use super::trail::shown;

const UPTIME: &str = "otelcol_process_uptime";
const CPU: &str = "otelcol_process_cpu_seconds";
const MEMORY: &str = "otelcol_process_memory_rss";
const SPOOL: &str = "weir_archive_spool_bytes";
/// By which the gateway takes its own records.
const OWN_DOOR: &str = "audit (internal)";
/// Processes whose counters go on.
const WRITERS_MAX: usize = 10_000;

/// What the snapshots of a period say.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// How many there are.
    pub(super) taken: u64,
    /// Thousandths of a core, on average between two of them.
    pub(super) cpu: Spread,
    /// Bytes, resident.
    pub(super) memory: Spread,
    /// Bytes that wait for the store.
    pub(super) spool: Spread,
    /// Records by receiver.
    pub(super) offered: Counts,
    pub(super) accepted: Counts,
    pub(super) refused: Counts,
    lives: BTreeMap<String, Life>,
}

/// The newest snapshot of a process.
#[derive(Debug, Default)]
struct Life {
    uptime: f64,
    cpu: Option<f64>,
    doors: BTreeMap<String, [u64; 3]>,
}

impl Snapshots {
    /// Takes the next one of a writer; those before the period only begin the counting.
    pub(super) fn take(&mut self, period: Period, writer: &str, t: Time, d: &Value) {
        let metrics = d.get("metrics");
        let Some(uptime) = sum(metrics, UPTIME) else {
            return;
        };
        let now = Life {
            uptime,
            cpu: sum(metrics, CPU),
            doors: doors(d),
        };
        let began = Time::from_millis(t.millis().saturating_sub((uptime * 1_000.0) as i64));
        let before = self.lives.get(writer).filter(|before| before.uptime <= uptime);
        if period.has(t) {
            self.taken += 1;
            let levels = [(MEMORY, &mut self.memory), (SPOOL, &mut self.spool)];
            for (name, spread) in levels {
                if let Some(level) = sum(metrics, name) {
                    spread.add(level as u64);
                }
            }
            let nothing = Life::default();
            // A life that is not known from a snapshot before it.
            let before = before.or_else(|| period.has(began).then_some(&nothing));
            if let Some(before) = before {
                let since = uptime - before.uptime;
                let used = now.cpu.map(|cpu| cpu - before.cpu.unwrap_or(0.0));
                if let Some(used) = used.filter(|used| since > 0.0 && *used >= 0.0) {
                    self.cpu.add((used / since * 1_000.0).round() as u64);
                }
                for (door, counts) in &now.doors {
                    let known = before.doors.get(door).copied().unwrap_or_default();
                    let sums = [&mut self.offered, &mut self.accepted, &mut self.refused];
                    for ((sum, n), known) in sums.into_iter().zip(counts).zip(known) {
                        sum.add(door, n.saturating_sub(known));
                    }
                }
            }
        }
        if self.lives.len() < WRITERS_MAX || self.lives.contains_key(writer) {
            self.lives.insert(writer.to_owned(), now);
        }
    }
}

/// All series of a name together; none if there is none.
fn sum(metrics: Option<&Value>, name: &str) -> Option<f64> {
    let all = metrics?.as_object()?.iter();
    let of_name = all.filter(|(series, _)| series.split('{').next() == Some(name));
    let values = of_name.filter_map(|(_, value)| value.as_f64().filter(|n| n.is_finite() && *n >= 0.0));
    values.fold(None, |sum, n| Some(sum.unwrap_or(0.0) + n))
}

/// Offered, accepted and refused since its start, by receiver. The trail's own door is left out.
fn doors(d: &Value) -> BTreeMap<String, [u64; 3]> {
    let all = d.get("doors").and_then(Value::as_array);
    let mut found = BTreeMap::new();
    for line in all.into_iter().flatten() {
        let Some(door) = line.get("door").and_then(Value::as_str) else {
            continue;
        };
        let name = shown(door.strip_prefix("door ").unwrap_or(door));
        let counts: &mut [u64; 3] = found.entry(name).or_default();
        for (sum, key) in counts.iter_mut().zip(["offered", "accepted", "refused"]) {
            *sum = sum.saturating_add(line.get(key).and_then(Value::as_u64).unwrap_or(0));
        }
    }
    found.retain(|door, _| door != OWN_DOOR);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Time {
        text.parse().expect("a time of the test")
    }

    fn snapshot(uptime: f64, cpu: f64, memory: u64, offered: u64) -> Value {
        json!({
            "metrics": {
                "otelcol_process_uptime": uptime,
                "otelcol_process_cpu_seconds": cpu,
                "otelcol_process_memory_rss{x=1}": memory,
                "otelcol_process_memory_rss{x=2}": 1,
                "otelcol_process_memory": 9,
            },
            "doors": [
                {"door": "door otlp (http)", "offered": offered, "accepted": offered / 2, "refused": offered / 2},
                {"door": "door audit (internal)", "offered": 7, "accepted": 7, "refused": 0},
                {"of": "something else"},
            ],
        })
    }

    #[test]
    fn counters_go_on_within_a_life_and_begin_anew_with_the_next() {
        let period = Period {
            from: Some(at("2025-11-20T00:00:00.000Z")),
            to: at("2025-11-21T00:00:00.000Z"),
        };
        let mut told = Snapshots::default();
        let mut take = |t: &str, d: &Value, expected: (u64, u64, u64, u64)| {
            told.take(period, "gw-0", at(t), d);
            let found = (
                told.taken,
                told.cpu.count(),
                told.memory.count(),
                told.offered.total(),
            );
            assert_eq!(found, expected, "{t}");
        };
        // Before the period: a begin, no more.
        take(
            "2025-11-19T23:30:00.000Z",
            &snapshot(7_200.0, 100.0, 10, 40),
            (0, 0, 0, 0),
        );
        take(
            "2025-11-20T00:30:00.000Z",
            &snapshot(10_800.0, 460.0, 10, 100),
            (1, 1, 1, 60),
        );
        // Another life, which began in the period: all of it counts.
        take(
            "2025-11-20T02:00:00.000Z",
            &snapshot(3_600.0, 1_800.0, 20, 10),
            (2, 2, 2, 70),
        );
        take("2025-11-20T03:00:00.000Z", &json!({"metrics": {}}), (2, 2, 2, 70));
        take(
            "2025-11-21T03:00:00.000Z",
            &snapshot(9_000.0, 1_900.0, 20, 50),
            (2, 2, 2, 70),
        );
        assert_eq!(
            (told.cpu.percentile(50), told.cpu.percentile(95)),
            (Some(100), Some(500))
        );
        assert_eq!(told.memory.percentile(95), Some(21));
        assert_eq!(told.refused.iter().collect::<Vec<_>>(), [("otlp (http)", 35)]);
        assert_eq!(told.spool.percentile(95), None);
    }

    #[test]
    fn a_life_that_is_seen_late_is_counted_from_there() {
        let period = Period {
            from: Some(at("2025-11-20T00:00:00.000Z")),
            to: at("2025-11-21T00:00:00.000Z"),
        };
        let mut told = Snapshots::default();
        told.take(
            period,
            "gw-0",
            at("2025-11-20T01:00:00.000Z"),
            &snapshot(7_200.0, 9.0, 1, 40),
        );
        assert_eq!((told.taken, told.cpu.count(), told.offered.total()), (1, 0, 0));
        told.take(
            period,
            "gw-0",
            at("2025-11-20T02:00:00.000Z"),
            &snapshot(10_800.0, 18.0, 1, 44),
        );
        assert_eq!((told.cpu.percentile(95), told.offered.total()), (Some(3), 4));
    }
}

//! Processor `memory_limiter`: refuses payloads while the process uses more memory than it should.
//!
//! Keys, messages and limits are those of the collector's memory limiter; what is compared with the limits is the resident
//! memory of the process, and there is no garbage collection to be forced. It is read at most every `check_interval`, and
//! before that when the bytes let in since then could have filled the room that was left. Callers are told to come again,
//! nothing is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use component::memory::machine_bytes;
use component::prelude::*;
use telemetry::Counter;
use tokio::time::Instant;

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "memory_limiter",
    aliases: &[],
    signals: &[
        (Signal::Traces, Stability::Beta),
        (Signal::Metrics, Stability::Beta),
        (Signal::Logs, Stability::Beta),
    ],
    hold: Hold::PassThrough,
    build: |section, cx, signal| {
        let config: Config = section.parse_valid()?;
        let limiter = Limiter::new(&config, machine_bytes() as u64, resident_bytes);
        tracing::info!(
            component = %cx.id,
            limit_mib = limiter.hard >> 20,
            spike_limit_mib = (limiter.hard - limiter.soft) >> 20,
            check_interval = %config.check_interval,
            "Memory limiter configured"
        );
        let (accepted, refused) = counters(signal);
        let labels = vec![("processor", cx.id.to_string())];
        Ok(Processor::Gate(Arc::new(MemoryLimiter {
            component: cx.id.to_string(),
            limiter,
            accepted: cx.telemetry.metrics.counter(accepted, labels.clone()),
            refused: cx.telemetry.metrics.counter(refused, labels),
        })))
    },
};

const MIB: u64 = 1 << 20;

/// What callers are told, as by the collector.
const REFUSED: &str = "data refused due to high memory usage";

/// `memory_limiter`: how much memory may be in use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often memory is looked at. Required, above 0.
    pub check_interval: Duration,
    /// The hard limit in MiB. One of the two limits is required.
    pub limit_mib: u32,
    /// How far below the hard limit the soft one is; above the soft limit, payloads are refused. 0 = a fifth of the limit.
    pub spike_limit_mib: u32,
    /// The hard limit in percent of what the control group or the machine has. Not looked at if `limit_mib` is set.
    pub limit_percentage: u32,
    /// As `spike_limit_mib`, in percent. 0 = a fifth of the limit.
    pub spike_limit_percentage: u32,
    /// Accepted for the collector's sake; there is no garbage collection here. Default 10s.
    pub min_gc_interval_when_soft_limited: Duration,
    /// Accepted for the collector's sake. Default 0s.
    pub min_gc_interval_when_hard_limited: Duration,
    /// Accepted for the collector's sake. Default 30s.
    pub max_gc_interval_when_soft_limited: Duration,
    /// Accepted for the collector's sake. Default 30s.
    pub max_gc_interval_when_hard_limited: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let seconds = |s| Duration(std::time::Duration::from_secs(s));
        Config {
            check_interval: seconds(0),
            limit_mib: 0,
            spike_limit_mib: 0,
            limit_percentage: 0,
            spike_limit_percentage: 0,
            min_gc_interval_when_soft_limited: seconds(10),
            min_gc_interval_when_hard_limited: seconds(0),
            max_gc_interval_when_soft_limited: seconds(30),
            max_gc_interval_when_hard_limited: seconds(30),
        }
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut rule = |holds: bool, key: &str, message: &str| {
            if !holds {
                faults.push((key.to_owned(), message.to_owned()));
            }
        };
        rule(
            !self.check_interval.0.is_zero(),
            "check_interval",
            "'check_interval' must be greater than zero",
        );
        rule(
            self.limit_mib > 0 || self.limit_percentage > 0,
            "",
            "'limit_mib' or 'limit_percentage' must be greater than zero",
        );
        rule(
            self.limit_percentage <= 100,
            "limit_percentage",
            "'limit_percentage' must be less than or equal to 100",
        );
        rule(
            self.spike_limit_percentage <= 100,
            "spike_limit_percentage",
            "'spike_limit_percentage' must be less than or equal to 100",
        );
        rule(
            self.limit_mib == 0 || self.spike_limit_mib < self.limit_mib,
            "spike_limit_mib",
            "'spike_limit_mib' must be smaller than 'limit_mib'",
        );
        rule(
            self.limit_mib > 0
                || self.limit_percentage == 0
                || self.spike_limit_percentage < self.limit_percentage,
            "spike_limit_percentage",
            "'spike_limit_percentage' must be smaller than 'limit_percentage'",
        );
        let (soft, hard) = (
            self.min_gc_interval_when_soft_limited,
            self.min_gc_interval_when_hard_limited,
        );
        rule(
            soft >= hard,
            "min_gc_interval_when_soft_limited",
            "'min_gc_interval_when_soft_limited' should be larger than 'min_gc_interval_when_hard_limited'",
        );
    }
}

struct MemoryLimiter {
    component: String,
    limiter: Limiter,
    accepted: Counter,
    refused: Counter,
}

impl Gate for MemoryLimiter {
    fn admit(&self, payload: &Payload) -> Result<(), Refusal> {
        let items = payload.items as u64;
        let (is_over, changed) = self.limiter.admit(payload.len() as u64);
        match (changed, is_over) {
            (Some(bytes), true) => tracing::warn!(
                component = %self.component,
                cur_mem_mib = bytes >> 20,
                "Memory usage is above soft limit. Refusing data."
            ),
            (Some(bytes), false) => tracing::info!(
                component = %self.component,
                cur_mem_mib = bytes >> 20,
                "Memory usage back within limits. Resuming normal operation."
            ),
            (None, _) => {}
        }
        if is_over {
            self.refused.add(items);
            return Err(Refusal::Unavailable {
                retry_after: Some(self.limiter.interval),
                message: REFUSED.to_owned(),
            });
        }
        self.accepted.add(items);
        Ok(())
    }
}

/// The limits, and where the process stands.
struct Limiter {
    interval: std::time::Duration,
    hard: u64,
    soft: u64,
    resident: fn() -> Option<u64>,
    start: Instant,
    /// Milliseconds after `start` at which memory is looked at next.
    next_ms: AtomicU64,
    /// Bytes that may be let in until it is looked at anyway.
    room: AtomicU64,
    is_over: AtomicBool,
}

impl Limiter {
    fn new(config: &Config, machine: u64, resident: fn() -> Option<u64>) -> Limiter {
        let percent = |p: u32| machine / 100 * u64::from(p);
        let (hard, spike) = match config.limit_mib {
            0 => (
                percent(config.limit_percentage),
                percent(config.spike_limit_percentage),
            ),
            mib => (u64::from(mib) * MIB, u64::from(config.spike_limit_mib) * MIB),
        };
        let spike = if spike == 0 { hard / 5 } else { spike };
        Limiter {
            interval: config.check_interval.0,
            hard,
            soft: hard - spike.min(hard),
            resident,
            start: Instant::now(),
            next_ms: AtomicU64::new(0),
            room: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// Whether the process is over its soft limit, and the bytes it has if that has just changed.
    fn admit(&self, bytes: u64) -> (bool, Option<u64>) {
        let now_ms = self.start.elapsed().as_millis() as u64;
        let next_ms = self.next_ms.load(Relaxed);
        let was_over = self.is_over.load(Relaxed);
        // Not exact between threads, and need not be: at worst memory is read once more.
        let room = self.room.load(Relaxed);
        self.room.store(room.saturating_sub(bytes), Relaxed);
        if now_ms < next_ms && (was_over || bytes < room) {
            return (was_over, None);
        }
        let pause = (self.interval.as_millis() as u64).max(1);
        let won = self
            .next_ms
            .compare_exchange(next_ms, now_ms.saturating_add(pause), Relaxed, Relaxed)
            .is_ok();
        if !won {
            return (was_over, None);
        }
        // Where memory cannot be read nothing is refused.
        let Some(resident) = (self.resident)() else {
            return (false, None);
        };
        let is_over = resident >= self.soft;
        self.room.store(self.soft.saturating_sub(resident), Relaxed);
        let changed = self.is_over.swap(is_over, Relaxed) != is_over;
        (is_over, changed.then_some(resident))
    }
}

/// Memory of this process that is not swapped out.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn counters(signal: Signal) -> (&'static str, &'static str) {
    match signal {
        Signal::Logs => (
            "otelcol_processor_memory_limiter_accepted_log_records",
            "otelcol_processor_memory_limiter_refused_log_records",
        ),
        Signal::Traces => (
            "otelcol_processor_memory_limiter_accepted_spans",
            "otelcol_processor_memory_limiter_refused_spans",
        ),
        Signal::Metrics => (
            "otelcol_processor_memory_limiter_accepted_metric_points",
            "otelcol_processor_memory_limiter_refused_metric_points",
        ),
        Signal::Profiles => (
            "otelcol_processor_memory_limiter_accepted_profile_samples",
            "otelcol_processor_memory_limiter_refused_profile_samples",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration as Time;

    use super::*;

    fn parse(yaml: &str) -> Result<Config, String> {
        Section::from_yaml(yaml)
            .and_then(Section::parse_valid)
            .map_err(|e| e.to_string())
    }

    thread_local! {
        static RESIDENT: Cell<Option<u64>> = const { Cell::new(None) };
        static READS: Cell<u32> = const { Cell::new(0) };
    }

    fn limiter(yaml: &str) -> Limiter {
        READS.set(0);
        Limiter::new(&parse(yaml).unwrap(), 1000 * MIB, || {
            READS.set(READS.get() + 1);
            RESIDENT.get()
        })
    }

    fn used(mib: u64) {
        RESIDENT.set(Some(mib * MIB));
    }

    #[test]
    fn limits_follow_from_the_keys() {
        for (yaml, hard, soft) in [
            ("limit_mib: 100", 100, 80),
            ("limit_mib: 100\nspike_limit_mib: 30", 100, 70),
            ("limit_mib: 100\nlimit_percentage: 50", 100, 80),
            ("limit_percentage: 50", 500, 400),
            ("limit_percentage: 50\nspike_limit_percentage: 30", 500, 200),
        ] {
            let l = limiter(&format!("check_interval: 1s\n{yaml}"));
            assert_eq!((l.hard / MIB, l.soft / MIB), (hard, soft), "{yaml}");
        }
    }

    #[test]
    fn faults_are_told_in_the_collectors_words() {
        for (yaml, expected) in [
            ("limit_mib: 1", "'check_interval' must be greater than zero"),
            (
                "check_interval: 1s",
                "'limit_mib' or 'limit_percentage' must be greater than zero",
            ),
            (
                "{check_interval: 1s, limit_mib: 10, spike_limit_mib: 10}",
                "'spike_limit_mib' must be smaller than 'limit_mib'",
            ),
            (
                "{check_interval: 1s, limit_percentage: 101}",
                "'limit_percentage' must be less",
            ),
            (
                "{check_interval: 1s, limit_percentage: 20, spike_limit_percentage: 20}",
                "'spike_limit_percentage' must be smaller",
            ),
            (
                "{check_interval: 1s, limit_mib: 10, min_gc_interval_when_hard_limited: 11s}",
                "should be larger",
            ),
            ("{check_interval: 1s, limit_mb: 10}", "limit_mib"),
        ] {
            let error = parse(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
        parse("{check_interval: 1s, limit_mib: 10, max_gc_interval_when_soft_limited: 0s}").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn refuses_above_the_soft_limit_and_resumes_below_it() {
        let l = limiter("{check_interval: 1s, limit_mib: 100}");
        used(10);
        assert_eq!(l.admit(0), (false, None));
        used(90);
        assert_eq!(l.admit(0), (false, None), "not looked at before its time");
        tokio::time::advance(Time::from_secs(1)).await;
        assert_eq!(l.admit(0), (true, Some(90 * MIB)));
        assert_eq!(l.admit(0), (true, None));
        used(10);
        assert_eq!(l.admit(0), (true, None));
        tokio::time::advance(Time::from_secs(1)).await;
        assert_eq!(l.admit(0), (false, Some(10 * MIB)));
        assert_eq!(READS.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn looks_sooner_when_the_room_may_be_filled() {
        let l = limiter("{check_interval: 10s, limit_mib: 100}");
        used(70);
        assert_eq!(l.admit(MIB), (false, None));
        used(85);
        assert_eq!(l.admit(5 * MIB), (false, None), "10 MiB of room are left");
        assert_eq!(l.admit(5 * MIB), (true, Some(85 * MIB)));
    }

    #[tokio::test(start_paused = true)]
    async fn refuses_nothing_where_memory_cannot_be_read() {
        let l = limiter("{check_interval: 1s, limit_mib: 1}");
        RESIDENT.set(None);
        assert_eq!(l.admit(MIB * 10), (false, None));
    }

    #[test]
    fn reads_the_memory_of_this_process() {
        if cfg!(target_os = "linux") {
            let bytes = resident_bytes().unwrap();
            assert!(bytes > MIB && bytes < 1 << 40, "{bytes}");
        }
    }
}

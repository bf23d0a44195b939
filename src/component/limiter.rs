//! The memory limiter: the core that the processor and the extension of that name share.
//!
//! Keys, messages and limits are those of the collector's memory limiter. What is compared with the limits is the larger
//! of the process's resident memory and what the one budget ([`Memory`]) has given out; there is no garbage collection to
//! be forced. It is read every `check_interval` (the roof's timer calls [`Limiter::check`]), and before that at admission
//! when the bytes let in since then could have filled the room that was left. One id is one limiter, however many
//! pipelines name it. Callers are told to come again, nothing is lost.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use config::{ComponentId, Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::memory::machine_bytes;
use crate::{Memory, Refusal};

/// What callers are told, as by the collector.
pub const REFUSED: &str = "data refused due to high memory usage";
/// What the log and the component's status say while callers are refused, as in the collector.
pub const ABOVE: &str = "Memory usage is above soft limit. Refusing data.";

const MIB: u64 = 1 << 20;

/// `memory_limiter`: how much memory may be in use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
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
        for (key, percent) in [
            ("limit_percentage", self.limit_percentage),
            ("spike_limit_percentage", self.spike_limit_percentage),
        ] {
            rule(
                percent <= 100,
                key,
                "'limit_percentage' and 'spike_limit_percentage' must be greater than zero and less than or equal to \
                 hundred",
            );
        }
        rule(
            self.limit_mib == 0 || self.spike_limit_mib < self.limit_mib,
            "spike_limit_mib",
            "'spike_limit_mib' must be smaller than 'limit_mib'",
        );
        rule(
            self.limit_percentage == 0 || self.spike_limit_percentage < self.limit_percentage,
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
        // 0 switches the back-off off.
        let (soft_max, hard_max) = (
            self.max_gc_interval_when_soft_limited,
            self.max_gc_interval_when_hard_limited,
        );
        rule(
            soft_max.0.is_zero() || soft_max >= soft,
            "max_gc_interval_when_soft_limited",
            "'max_gc_interval_when_soft_limited' should be larger than 'min_gc_interval_when_soft_limited'",
        );
        rule(
            hard_max.0.is_zero() || hard_max >= hard,
            "max_gc_interval_when_hard_limited",
            "'max_gc_interval_when_hard_limited' should be larger than 'min_gc_interval_when_hard_limited'",
        );
        rule(
            soft_max.0.is_zero() || hard_max.0.is_zero() || soft_max >= hard_max,
            "max_gc_interval_when_soft_limited",
            "'max_gc_interval_when_soft_limited' should be larger than 'max_gc_interval_when_hard_limited'",
        );
    }
}

/// The limits, and where the process stands. Made by [`Memory::limiter`].
#[derive(Debug)]
pub struct Limiter {
    kind: &'static str,
    id: ComponentId,
    config: Config,
    budget: Weak<Memory>,
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
    /// For a component of a kind (`processor`, `extension`), over the budget behind `budget`.
    pub(crate) fn new(kind: &'static str, id: ComponentId, config: &Config, budget: Weak<Memory>) -> Limiter {
        let limiter = Limiter::over(kind, id, config, budget, machine_bytes() as u64, resident_bytes);
        tracing::info!(
            component = %limiter.id,
            component_kind = limiter.kind,
            limit_mib = limiter.hard / MIB,
            spike_limit_mib = (limiter.hard - limiter.soft) / MIB,
            check_interval = limiter.interval.as_secs_f64(),
            "Memory limiter configured"
        );
        limiter
    }

    fn over(
        kind: &'static str,
        id: ComponentId,
        config: &Config,
        budget: Weak<Memory>,
        machine: u64,
        resident: fn() -> Option<u64>,
    ) -> Limiter {
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
            kind,
            id,
            config: config.clone(),
            budget,
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

    /// Lets so many bytes in, or says when to come again. Cost: two atomics, and a read of memory when it is due.
    pub fn admit(&self, bytes: u64) -> Result<(), Refusal> {
        if !self.is_over_with(bytes) {
            return Ok(());
        }
        Err(Refusal::Unavailable {
            retry_after: Some(self.interval),
            message: REFUSED.to_owned(),
        })
    }

    /// Looks at memory now: true while callers are refused. What changed is logged.
    pub fn check(&self) -> bool {
        let now_ms = self.start.elapsed().as_millis() as u64;
        self.next_ms.store(self.after(now_ms), Relaxed);
        self.look()
    }

    /// How often to [`Limiter::check`].
    pub fn interval(&self) -> std::time::Duration {
        self.interval
    }

    /// What it was made from.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// As the configuration calls the component.
    pub fn id(&self) -> &ComponentId {
        &self.id
    }

    fn is_over_with(&self, bytes: u64) -> bool {
        let now_ms = self.start.elapsed().as_millis() as u64;
        let next_ms = self.next_ms.load(Relaxed);
        let was_over = self.is_over.load(Relaxed);
        // Not exact between threads, and need not be: at worst memory is read once more.
        let room = self.room.load(Relaxed);
        self.room.store(room.saturating_sub(bytes), Relaxed);
        let may_overflow = || bytes >= room || self.held() >= self.soft;
        if now_ms < next_ms && (was_over || !may_overflow()) {
            return was_over;
        }
        let won = self
            .next_ms
            .compare_exchange(next_ms, self.after(now_ms), Relaxed, Relaxed)
            .is_ok();
        if won { self.look() } else { was_over }
    }

    fn after(&self, now_ms: u64) -> u64 {
        let pause = (self.interval.as_millis() as u64).max(1);
        now_ms.saturating_add(pause)
    }

    fn look(&self) -> bool {
        // Where memory cannot be read, the budget still counts.
        let used = (self.resident)().unwrap_or(0).max(self.held());
        let is_over = used >= self.soft;
        self.room.store(self.soft.saturating_sub(used), Relaxed);
        if self.is_over.swap(is_over, Relaxed) != is_over {
            self.say(is_over, used);
        }
        is_over
    }

    fn held(&self) -> u64 {
        self.budget.upgrade().map_or(0, |budget| budget.held() as u64)
    }

    fn say(&self, is_over: bool, used: u64) {
        if is_over {
            tracing::warn!(
                component = %self.id,
                component_kind = self.kind,
                cur_mem_mib = used / MIB,
                "{ABOVE}"
            );
        } else {
            tracing::info!(
                component = %self.id,
                component_kind = self.kind,
                cur_mem_mib = used / MIB,
                "Memory usage back within limits. Resuming normal operation."
            );
        }
    }
}

/// Memory of this process that is not swapped out.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::time::Duration as Time;

    use config::Section;

    use super::*;
    use crate::Class;

    fn parse(yaml: &str) -> Result<Config, String> {
        Section::from_yaml(yaml)
            .and_then(Section::parse_valid)
            .map_err(|e| e.to_string())
    }

    thread_local! {
        static RESIDENT: Cell<Option<u64>> = const { Cell::new(None) };
        static READS: Cell<u32> = const { Cell::new(0) };
    }

    fn limiter(yaml: &str, budget: &Arc<Memory>) -> Limiter {
        READS.set(0);
        let id = ComponentId::of_kind("memory_limiter");
        let config = parse(yaml).unwrap();
        Limiter::over(
            "processor",
            id,
            &config,
            Arc::downgrade(budget),
            1000 * MIB,
            || {
                READS.set(READS.get() + 1);
                RESIDENT.get()
            },
        )
    }

    fn budget() -> Arc<Memory> {
        Arc::new(Memory::new(1 << 40))
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
            let l = limiter(&format!("check_interval: 1s\n{yaml}"), &budget());
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
                "must be greater than zero and less than or equal to hundred",
            ),
            (
                "{check_interval: 1s, limit_mib: 1, spike_limit_percentage: 101}",
                "must be greater than zero and less than or equal to hundred",
            ),
            (
                "{check_interval: 1s, limit_percentage: 20, spike_limit_percentage: 20}",
                "'spike_limit_percentage' must be smaller than 'limit_percentage'",
            ),
            (
                "{check_interval: 1s, limit_mib: 10, min_gc_interval_when_hard_limited: 11s}",
                "'min_gc_interval_when_soft_limited' should be larger than 'min_gc_interval_when_hard_limited'",
            ),
            (
                "{check_interval: 1s, limit_mib: 10, max_gc_interval_when_soft_limited: 9s}",
                "'max_gc_interval_when_soft_limited' should be larger than 'min_gc_interval_when_soft_limited'",
            ),
            (
                "{check_interval: 1s, limit_mib: 10, max_gc_interval_when_hard_limited: 31s}",
                "'max_gc_interval_when_soft_limited' should be larger than 'max_gc_interval_when_hard_limited'",
            ),
            ("{check_interval: 1s, limit_mb: 10}", "limit_mib"),
        ] {
            let error = parse(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
        parse("{check_interval: 1s, limit_mib: 10, max_gc_interval_when_soft_limited: 0s}").unwrap();
        parse("{check_interval: 1s, limit_mib: 10, max_gc_interval_when_hard_limited: 0s}").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn refuses_above_the_soft_limit_and_resumes_below_it() {
        let budget = budget();
        let l = limiter("{check_interval: 1s, limit_mib: 100}", &budget);
        used(10);
        assert!(!l.is_over_with(0));
        used(90);
        assert!(!l.is_over_with(0), "not looked at before its time");
        tokio::time::advance(Time::from_secs(1)).await;
        assert!(l.is_over_with(0));
        let refusal = l.admit(0).unwrap_err();
        assert_eq!(refusal.message(), REFUSED);
        assert_eq!(refusal.retry_after(), Some(Time::from_secs(1)));
        used(10);
        assert!(l.is_over_with(0));
        tokio::time::advance(Time::from_secs(1)).await;
        assert!(!l.is_over_with(0));
        assert_eq!(READS.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn looks_sooner_when_the_room_may_be_filled() {
        let budget = budget();
        let l = limiter("{check_interval: 10s, limit_mib: 100}", &budget);
        used(70);
        assert!(!l.is_over_with(MIB));
        used(85);
        assert!(!l.is_over_with(5 * MIB), "10 MiB of room are left");
        assert!(l.is_over_with(5 * MIB));
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_looks_too() {
        let budget = budget();
        let l = limiter("{check_interval: 10s, limit_mib: 100}", &budget);
        used(85);
        assert!(l.check());
        assert!(l.is_over_with(0));
        used(10);
        assert!(!l.check());
        assert!(!l.is_over_with(0));
        assert_eq!(READS.get(), 2, "admission did not have to look itself");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_budget_gave_out_counts_at_once() {
        let budget = budget();
        let l = limiter("{check_interval: 10s, limit_mib: 100}", &budget);
        used(10);
        assert!(!l.is_over_with(0));
        let queued = budget.reserve(Class::Queues, 50 << 20).unwrap();
        assert!(!l.is_over_with(0));
        let waiting = budget.reserve(Class::Waiting, 30 << 20).unwrap();
        assert!(l.is_over_with(0), "80 MiB are given out");
        drop((queued, waiting));
        tokio::time::advance(Time::from_secs(10)).await;
        assert!(!l.is_over_with(0));
    }

    #[tokio::test(start_paused = true)]
    async fn refuses_nothing_where_memory_cannot_be_read() {
        let budget = budget();
        let l = limiter("{check_interval: 1s, limit_mib: 1}", &budget);
        RESIDENT.set(None);
        assert!(!l.is_over_with(MIB * 10));
    }

    #[test]
    fn one_id_is_one_limiter() {
        let budget = budget();
        let config = parse("{check_interval: 1s, limit_mib: 100}").unwrap();
        let id = ComponentId::of_kind("memory_limiter");
        let one = budget.limiter("processor", &id, &config);
        assert!(Arc::ptr_eq(&one, &budget.limiter("processor", &id, &config)));
        let other = budget.limiter("extension", &id, &config);
        assert!(!Arc::ptr_eq(&one, &other));
        // other limits, as after a reload
        let tighter = parse("{check_interval: 1s, limit_mib: 50}").unwrap();
        let next = budget.limiter("processor", &id, &tighter);
        assert!(!Arc::ptr_eq(&one, &next));
        assert_eq!(budget.limiters().len(), 3);
        drop((one, other));
        assert_eq!(budget.limiters().len(), 1);
    }

    /// What `events` logs, without time and caller.
    fn logged(events: impl FnOnce()) -> Vec<String> {
        #[derive(Clone, Default)]
        struct Sink(Arc<parking_lot::Mutex<Vec<u8>>>);
        impl std::io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::default();
        let settings = telemetry::logs::Settings {
            caller: false,
            ..Default::default()
        };
        let metrics = telemetry::Metrics::default();
        // With one subscriber alone, a place that another thread meets first is switched off for all.
        let _other = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
        let (dispatch, guard) = telemetry::logs::start(settings, Box::new(sink.clone()), &metrics).unwrap();
        tracing::dispatcher::with_default(&dispatch, events);
        drop(guard);
        let text = String::from_utf8(sink.0.lock().clone()).unwrap();
        text.lines()
            .map(|line| line.split_once('\t').unwrap().1.to_owned())
            .collect()
    }

    #[test]
    fn speaks_in_the_collectors_words_when_something_changes() {
        let lines = logged(|| {
            let budget = budget();
            let config = parse("{check_interval: 1500ms, limit_mib: 100, spike_limit_mib: 30}").unwrap();
            budget.limiter("processor", &ComponentId::of_kind("memory_limiter"), &config);
            let l = limiter("{check_interval: 1s, limit_mib: 100}", &budget);
            for mib in [79, 80, 90, 10, 11] {
                used(mib);
                l.check();
            }
        });
        let who = r#""otelcol.component.id":"memory_limiter","otelcol.component.kind":"processor""#;
        assert_eq!(
            lines,
            [
                format!(
                    "info\tMemory limiter configured\t{{{who},\"limit_mib\":100,\"spike_limit_mib\":30,\
                     \"check_interval\":1.5}}"
                ),
                format!(
                    "warn\tMemory usage is above soft limit. Refusing data.\t{{{who},\"cur_mem_mib\":80}}"
                ),
                format!(
                    "info\tMemory usage back within limits. Resuming normal operation.\t{{{who},\"cur_mem_mib\":10}}"
                ),
            ]
        );
    }

    #[test]
    fn reads_the_memory_of_this_process() {
        if cfg!(target_os = "linux") {
            let bytes = resident_bytes().unwrap();
            assert!(bytes > MIB && bytes < 1 << 40, "{bytes}");
        }
    }
}

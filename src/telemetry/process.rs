//! What the system says about this process: uptime, CPU time, memory.
//!
//! Read from `/proc/self` at each scrape; where there is no such thing (not Linux), only the uptime is known and the
//! rest is left out rather than shown as zero. The collector's `total_alloc_bytes` is left out too: it counts every
//! allocation ever made, which no allocator of ours does.

use std::fs;
use std::time::Instant;

use crate::Metrics;

/// Registers the process metrics; their uptime starts now.
pub fn register(metrics: &Metrics) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one reader of the clock on this floor; a paused test clock must not stop the uptime"
    )]
    let started = Instant::now();
    metrics.gauge_fn("otelcol_process_uptime", vec![], move || {
        started.elapsed().as_secs_f64()
    });
    type Read = fn() -> Option<f64>;
    let rows: [(&'static str, Read); 4] = [
        ("otelcol_process_cpu_seconds", || {
            cpu_seconds(&fs::read_to_string("/proc/self/stat").ok()?)
        }),
        ("otelcol_process_memory_rss", || status("VmRSS")),
        ("otelcol_process_runtime_heap_alloc_bytes", || status("RssAnon")),
        ("otelcol_process_runtime_total_sys_memory_bytes", || {
            status("VmData")
        }),
    ];
    for (name, read) in rows {
        if read().is_some() {
            metrics.gauge_fn(name, vec![], move || read().unwrap_or(f64::NAN));
        }
    }
}

/// User and system time out of `/proc/self/stat`. The command stands in parentheses and may hold any byte, so fields
/// are counted from the last `)`: utime and stime are the 12th and 13th after it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn status(key: &str) -> Option<f64> {
    status_bytes(&fs::read_to_string("/proc/self/status").ok()?, key)
}

/// One line of `/proc/self/status`, in bytes; the kernel writes `kB` and means 1024.
fn status_bytes(status: &str, key: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib * 1024) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stat_with_an_odd_command() {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let stat = "42 (we) ir) S 1 1 1 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 1000 1 1";
        assert_eq!(cpu_seconds(stat), Some(200. / ticks));
        assert_eq!(cpu_seconds("42 (weir"), None);
    }

    #[test]
    fn reads_status_lines() {
        let text = "Name:\tweir\nVmRSSx:\t9 kB\nVmRSS:\t    1234 kB\nRssAnon:\t7 pages\n";
        assert_eq!(status_bytes(text, "VmRSS"), Some(1_263_616.));
        assert_eq!(status_bytes(text, "RssAnon"), None);
        assert_eq!(status_bytes(text, "VmData"), None);
    }

    #[test]
    fn this_process_has_an_uptime() {
        let metrics = Metrics::default();
        register(&metrics);
        assert!(metrics.undefined().is_empty());
        assert!(metrics.read().iter().any(|f| f.name == "otelcol_process_uptime"));
    }
}

//! Processor `groupbytrace`: holds spans for a while, and hands on those of each trace together.
//!
//! Keys and defaults are those of the collector's processor. It holds as `tail_sampling` does and decides nothing: a
//! trace goes on once its time is over, and spans that come later begin it anew.

use component::prelude::*;

use crate::traces::node::Settings;
use crate::traces::{grouping, shards};

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "groupbytrace",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[(Signal::Traces, Stability::Beta)],
    hold: Hold::HeldVolatile,
    build: |section, cx, _signal| {
        let config: Config = section.parse_valid()?;
        let storage = config.storage.clone();
        Ok(grouping(config.settings(), storage, cx))
    },
};

/// `groupbytrace`: how long traces are held.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most traces that are held; the oldest makes room, and is lost. Default 1000000.
    pub num_traces: u64,
    /// Accepted; there are as many workers as the machine has.
    pub num_workers: u64,
    /// How long a trace is held after its first span. Default 1s.
    pub wait_duration: Duration,
    /// Not supported, as in the collector.
    pub discard_orphans: bool,
    /// Not supported, as in the collector; `storage` is what keeps held spans on disk here.
    pub store_on_disk: bool,
    /// Id of a storage extension that keeps on disk what is held.
    pub storage: Option<ComponentId>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            num_traces: 1_000_000,
            num_workers: 1,
            wait_duration: Duration(std::time::Duration::from_secs(1)),
            discard_orphans: false,
            store_on_disk: false,
            storage: None,
        }
    }
}

impl ::config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        if self.store_on_disk {
            let message =
                "option 'disk storage' not supported in this release; use storage: <file_storage id>";
            faults.push(("store_on_disk".into(), message.into()));
        }
        if self.discard_orphans {
            let message = "option 'discard orphans' not supported in this release";
            faults.push(("discard_orphans".into(), message.into()));
        }
    }
}

/// Traces leave at most a tenth of their wait late, within these bounds.
const TICK_MIN: std::time::Duration = std::time::Duration::from_millis(10);
const TICK_MAX: std::time::Duration = std::time::Duration::from_secs(1);

impl Config {
    fn settings(&self) -> Settings {
        let wait = self.wait_duration.0;
        let tick = (wait / 10).clamp(TICK_MIN, TICK_MAX);
        let ticks = wait.as_nanos().div_ceil(tick.as_nanos());
        let traces_max = self.num_traces.clamp(1, 1 << 40) as usize;
        Settings {
            kind: "groupbytrace",
            tick,
            wait_ticks: ticks.min(86_400) as usize,
            root_ticks: None,
            traces_max,
            blocks: false,
            at_ingest: false,
            drops_at_stop: false,
            trace_bytes_max: 0,
            sampled_cache: 0,
            other_cache: 0,
            forgets: true,
            shards: shards(traces_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration as Time;

    use component::test_kit::{Lonely, Sink, books, context, totals};
    use tokio::time::sleep;

    use super::*;

    component::component_tests!(FACTORY);

    /// A request of spans without anything but a trace id each.
    fn payload(ids: &[u8]) -> Payload {
        let mut scope = Vec::new();
        for id in ids {
            scope.extend_from_slice(&[0x12, 18, 0x0a, 16]);
            scope.extend_from_slice(&[*id; 16]);
        }
        let frame = |number: u32, content: &[u8]| {
            let mut out = Vec::new();
            wire::field::write_header(number, content.len(), &mut out);
            out.extend_from_slice(content);
            out
        };
        let bytes = frame(1, &frame(2, &scope));
        let shape = wire::validate(Signal::Traces, &bytes, &wire::Limits::default()).unwrap();
        Payload::new(Signal::Traces, Chunk::new(bytes.into(), shape), Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn spans_of_a_trace_leave_together() {
        let cx = context("groupbytrace");
        let section = Section::from_yaml("{wait_duration: 2s, num_traces: 2}").unwrap();
        let Ok(Processor::Node(make)) = (FACTORY.build)(section, &cx, Signal::Traces) else {
            panic!("it is a node");
        };
        let sink = Arc::new(Sink::default());
        let node = make(sink.clone(), books(&cx.telemetry, "groupbytrace", Signal::Traces));
        node.start(Arc::new(Lonely::default())).await.unwrap();
        let out = || {
            let taken = sink.taken();
            let chunks = taken.iter().flat_map(|p| &p.chunks);
            chunks
                .map(|c| (c.bytes()[c.len() - 1], c.shape.items))
                .collect::<Vec<_>>()
        };
        let said = || totals(&cx.telemetry, "groupbytrace", Signal::Traces).to_string();
        node.consume(payload(&[1, 2])).await.unwrap();
        sleep(Time::from_millis(1500)).await;
        node.consume(payload(&[1, 1])).await.unwrap();
        assert_eq!((out(), said()), (vec![], "held 4".into()));
        sleep(Time::from_millis(800)).await;
        assert_eq!((out(), said()), (vec![(1, 3), (2, 1)], String::new()));
        // A span that comes late waits on its own; the third trace has no room beside two.
        node.consume(payload(&[1, 3, 4, 4])).await.unwrap();
        assert_eq!(said(), "held 3, dropped{groupbytrace:evicted} 1");
        sleep(Time::from_millis(2300)).await;
        assert_eq!(out()[2..], [(3, 1), (4, 2)]);
        assert_eq!(said(), "dropped{groupbytrace:evicted} 1");
        let counter = |name| cx.telemetry.metrics.counter(name, Vec::new()).get();
        assert_eq!(
            (
                counter("otelcol_processor_groupbytrace_traces_released"),
                counter("otelcol_processor_groupbytrace_spans_released"),
                counter("otelcol_processor_groupbytrace_traces_evicted"),
                counter("otelcol_processor_groupbytrace_incomplete_releases"),
            ),
            (4, 7, 1, 0)
        );
        assert_eq!(node.held_max(), Time::from_millis(2200));
    }

    #[test]
    fn what_the_collector_does_not_do_is_refused() {
        for key in ["store_on_disk", "discard_orphans"] {
            let section = Section::from_yaml(&format!("{key}: true")).unwrap();
            let Err(fault) = (FACTORY.build)(section, &context("groupbytrace"), Signal::Traces) else {
                panic!("{key} was taken");
            };
            assert!(fault.to_string().contains("not supported"), "{fault}");
        }
    }
}

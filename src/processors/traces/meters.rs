//! What is counted: the collector's metrics of tail sampling.

use std::time::Duration;

use component::BuildContext;
use config::Gates;
use telemetry::{Counter, Gauge, Histogram};

use super::policy::Verdict;

/// All of one processor. What its type does not show is counted unseen.
#[derive(Default)]
pub(crate) struct Meters {
    /// By policy, then by verdict.
    said: Vec<[Said; 3]>,
    /// By policy: times asked, and microseconds spent.
    asked: Vec<(Counter, Counter)>,
    /// By verdict.
    decided: [Counter; 3],
    /// Spans of traces that were sampled.
    released: Counter,
    /// By whether the decision was to sample.
    from_cache: [Counter; 2],
    pub(crate) new_traces: Counter,
    pub(crate) decision_ms: Histogram,
    pub(crate) late_age: Histogram,
    pub(crate) evaluation_errors: Counter,
    pub(crate) too_early: Counter,
    pub(crate) removal_age: Histogram,
    pub(crate) on_memory: Gauge,
    pub(crate) too_large: Counter,
    pub(crate) repeated: Counter,
    pub(crate) unreadable: Counter,
}

/// What a policy said yes or no to.
#[derive(Default)]
struct Said {
    traces: Counter,
    spans: Counter,
    /// Encoded.
    bytes: Counter,
}

const VERDICTS: [(&str, &str); 3] = [
    ("true", "sampled"),
    ("false", "not_sampled"),
    ("false", "dropped"),
];

impl Meters {
    /// Those of `tail_sampling`, with these policies.
    pub(crate) fn new(cx: &BuildContext, policies: &[String]) -> Meters {
        let metrics = &cx.telemetry.metrics;
        let of_policy = |name: &String| match cx.id.name.as_str() {
            "" => name.clone(),
            id => format!("{id}.{name}"),
        };
        let by_verdict = |name, more: Option<String>| {
            VERDICTS.map(|(sampled, decision)| {
                let mut labels = vec![("sampled", sampled.to_owned()), ("decision", decision.to_owned())];
                labels.extend(more.clone().map(|policy| ("policy", policy)));
                metrics.counter(name, labels)
            })
        };
        let plain = |name| metrics.counter(name, Vec::new());
        let own = vec![("processor", cx.id.to_string())];
        Meters {
            said: policies
                .iter()
                .map(|name| {
                    let of = |metric| by_verdict(metric, Some(of_policy(name)));
                    let gated = |gate, metric| match cx.gates.is_on(gate) {
                        true => of(metric),
                        false => Default::default(),
                    };
                    let [mut traces, mut spans, mut bytes] = [
                        of("otelcol_processor_tail_sampling_count_traces_sampled"),
                        gated(
                            Gates::COUNT_SPANS_SAMPLED,
                            "otelcol_processor_tail_sampling_count_spans_sampled",
                        ),
                        gated(
                            Gates::COUNT_BYTES_SAMPLED,
                            "otelcol_processor_tail_sampling_count_bytes_sampled",
                        ),
                    ];
                    std::array::from_fn(|i| Said {
                        traces: std::mem::take(&mut traces[i]),
                        spans: std::mem::take(&mut spans[i]),
                        bytes: std::mem::take(&mut bytes[i]),
                    })
                })
                .collect(),
            asked: policies
                .iter()
                .map(|name| {
                    let of = |metric| metrics.counter(metric, vec![("policy", of_policy(name))]);
                    (
                        of("otelcol_processor_tail_sampling_sampling_policy_execution_count"),
                        of("otelcol_processor_tail_sampling_sampling_policy_execution_time_sum"),
                    )
                })
                .collect(),
            decided: by_verdict(
                "otelcol_processor_tail_sampling_global_count_traces_sampled",
                None,
            ),
            from_cache: ["false", "true"].map(|sampled| {
                metrics.counter(
                    "otelcol_processor_tail_sampling_early_releases_from_cache_decision",
                    vec![("sampled", sampled.to_owned())],
                )
            }),
            released: Counter::default(),
            new_traces: plain("otelcol_processor_tail_sampling_new_trace_id_received"),
            decision_ms: metrics.histogram(
                "otelcol_processor_tail_sampling_sampling_decision_timer_latency",
                Vec::new(),
            ),
            late_age: metrics.histogram(
                "otelcol_processor_tail_sampling_sampling_late_span_age",
                Vec::new(),
            ),
            evaluation_errors: plain("otelcol_processor_tail_sampling_sampling_policy_evaluation_error"),
            too_early: plain("otelcol_processor_tail_sampling_sampling_trace_dropped_too_early"),
            removal_age: metrics.histogram(
                "otelcol_processor_tail_sampling_sampling_trace_removal_age",
                Vec::new(),
            ),
            on_memory: metrics.gauge(
                "otelcol_processor_tail_sampling_sampling_traces_on_memory",
                Vec::new(),
            ),
            too_large: plain("otelcol_processor_tail_sampling_traces_dropped_too_large"),
            repeated: metrics.counter("weir_processor_possible_duplicates", own.clone()),
            unreadable: metrics.counter("weir_processor_unreadable_records", own),
        }
    }

    /// Those of `groupbytrace`.
    pub(crate) fn of_grouping(cx: &BuildContext, traces_max: usize) -> Meters {
        let metrics = &cx.telemetry.metrics;
        let counter = |name| metrics.counter(name, Vec::new());
        let gauge = |name| metrics.gauge(name, Vec::new());
        gauge("otelcol_processor_groupbytrace_conf_num_traces").set(traces_max as i64);
        gauge("otelcol_processor_groupbytrace_num_events_in_queue").set(0);
        counter("otelcol_processor_groupbytrace_incomplete_releases").add(0);
        let own = vec![("processor", cx.id.to_string())];
        Meters {
            decided: [
                counter("otelcol_processor_groupbytrace_traces_released"),
                Counter::default(),
                Counter::default(),
            ],
            released: counter("otelcol_processor_groupbytrace_spans_released"),
            too_early: counter("otelcol_processor_groupbytrace_traces_evicted"),
            on_memory: gauge("otelcol_processor_groupbytrace_num_traces_in_memory"),
            repeated: metrics.counter("weir_processor_possible_duplicates", own.clone()),
            unreadable: metrics.counter("weir_processor_unreadable_records", own),
            ..Meters::default()
        }
    }

    pub(crate) fn asked(&self, policy: usize, took: Duration) {
        if let Some((times, micros)) = self.asked.get(policy) {
            times.add(1);
            micros.add(took.as_micros() as u64);
        }
    }

    pub(crate) fn said(&self, policy: usize, verdict: Verdict, spans: u64, bytes: u64) {
        if let Some(said) = self.said.get(policy) {
            let Said {
                traces,
                spans: of_spans,
                bytes: of_bytes,
            } = &said[verdict as usize];
            traces.add(1);
            of_spans.add(spans);
            of_bytes.add(bytes);
        }
    }

    pub(crate) fn decided(&self, verdict: Verdict, spans: u64) {
        self.decided[verdict as usize].add(1);
        if verdict == Verdict::Sampled {
            self.released.add(spans);
        }
    }

    pub(crate) fn remembered(&self, sampled: bool) {
        self.from_cache[usize::from(sampled)].add(1);
    }
}

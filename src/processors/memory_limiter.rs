//! Processor `memory_limiter`: refuses payloads while the process uses more memory than it should.
//!
//! A gate around [`component::limiter`], which has the keys, the limits and the log lines. One id in several pipelines is
//! one limiter. What is let pass and what is refused is counted by items.

use component::limiter::{Config, Limiter};
use component::prelude::*;
use telemetry::Counter;

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "memory_limiter",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Beta),
        (Signal::Metrics, Stability::Beta),
        (Signal::Logs, Stability::Beta),
    ],
    hold: Hold::PassThrough,
    build: |section, cx, signal| {
        let config: Config = section.parse_valid()?;
        let (accepted, refused) = counters(signal);
        let labels = vec![("processor", cx.id.to_string())];
        Ok(Processor::Gate(Arc::new(MemoryLimiter {
            limiter: cx.memory.limiter("processor", &cx.id, &config),
            accepted: cx.telemetry.metrics.counter(accepted, labels.clone()),
            refused: cx.telemetry.metrics.counter(refused, labels),
        })))
    },
};

struct MemoryLimiter {
    limiter: Arc<Limiter>,
    accepted: Counter,
    refused: Counter,
}

impl Gate for MemoryLimiter {
    fn admit(&self, payload: &Payload) -> Result<(), Refusal> {
        let answer = self.limiter.admit(payload.len() as u64);
        let counter = if answer.is_ok() {
            &self.accepted
        } else {
            &self.refused
        };
        counter.add(payload.items as u64);
        answer
    }
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

//! Connector `span_metrics` (`spanmetrics`): calls, durations and events of spans as metrics, by service and operation.
//!
//! Keys, defaults and results are those of the collector's connector (contrib 0.155). Where it differs: what is refused
//! behind is offered again, and what was gathered goes on before the end; metrics without points are left out; spans of
//! a named instrumentation scope have points of their own; points of different tenants stay apart; memory is bounded by
//! the gateway's budget, over which points are counted together as `otel.metric.overflow`.

mod config;
mod dimensions;
mod sampling;
mod series;
mod shape;
mod state;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration as StdDuration;

use component::prelude::*;
use parking_lot::Mutex;
use wire::view::{Depth, Scratch, View};

use dimensions::Dimensions;
use series::Limits;
use shape::Form;
use state::{Program, State, Took};

pub use config::{Config, Dimension, Events, Exemplars, Explicit, Exponential, Histogram, Unit};

/// `span_metrics`.
pub static FACTORY: ConnectorFactory = ConnectorFactory {
    kind: "span_metrics",
    aliases: &["spanmetrics"],
    keys: &[Shape::of::<Config>()],
    signals: &[(Signal::Traces, Signal::Metrics, Stability::Alpha)],
    hold: Hold::HeldVolatile,
    build: |section, cx, joint| {
        let config: Config = section.clone().parse()?;
        let inner = Inner::new(&config, &section, cx, joint)?;
        Ok(Connector::Node(Arc::new(SpanMetrics(Arc::new(inner)))))
    },
};

/// Rule under which spans are dropped whose resource has no `service.name`: they make no metrics.
const NAMELESS: &str = "no_service_name";

/// Upper bounds of durations in milliseconds, where nothing else was said.
const BOUNDS_MS: [f64; 16] = [
    2., 4., 6., 8., 10., 50., 100., 200., 400., 800., 1000., 1400., 2000., 5000., 10_000., 15_000.,
];

struct SpanMetrics(Arc<Inner>);

struct Inner {
    id: ComponentId,
    program: Program,
    interval: StdDuration,
    next: Arc<dyn Consumer>,
    books: Books,
    made: Books,
    clock: fn() -> u64,
    state: Mutex<State>,
    /// What was to go on and has not been taken yet.
    waiting: Mutex<Option<Payload>>,
    beat: Beat,
    pool: Mutex<Vec<Scratch>>,
}

impl Inner {
    fn new(config: &Config, section: &Section, cx: &BuildContext, joint: Joint) -> Result<Inner, Fault> {
        let mut wrong = Vec::new();
        let mut dimensions = |key: &str, list: &[Dimension]| {
            let reserved = [
                "service.name",
                "span.kind",
                "status.code",
                "span.name",
                "collector.instance.id",
            ];
            Dimensions::new(list, &reserved).unwrap_or_else(|faults| {
                let place = |(i, text): (usize, String)| section.diag(&format!("{key}.{i}"), text);
                wrong.extend(faults.into_iter().map(place));
                Dimensions::default()
            })
        };
        let all = dimensions("dimensions", &config.dimensions);
        let calls = dimensions("calls_dimensions", &config.calls_dimensions);
        let durations = dimensions("histogram.dimensions", &config.histogram.dimensions);
        let events = dimensions("events.dimensions", &config.events.dimensions);
        if config.events.enabled && config.events.dimensions.is_empty() {
            wrong.push(section.diag("events", "no dimensions configured for events"));
        }
        if config.histogram.explicit.is_some() && config.histogram.exponential.is_some() {
            let text = "use either `explicit` or `exponential` buckets histogram";
            wrong.push(section.diag("histogram", text));
        }
        if config.metrics_flush_interval.0.is_zero() {
            let text = "metrics_flush_interval must be greater than 0";
            wrong.push(section.diag("metrics_flush_interval", text));
        }
        let is_delta = config.aggregation_temporality == "AGGREGATION_TEMPORALITY_DELTA";
        if is_delta && config.metric_timestamp_cache_size == 0 {
            let text = "metric_timestamp_cache_size must be greater than 0";
            wrong.push(section.diag("metric_timestamp_cache_size", text));
        }
        if config.resource_metrics_cache_size == 0 {
            let text = "resource_metrics_cache_size must be greater than 0";
            wrong.push(section.diag("resource_metrics_cache_size", text));
        }
        let form = form(&config.histogram);
        if let Form::Explicit(bounds) = &form
            && !bounds.is_sorted_by(|a, b| a < b)
        {
            wrong.push(section.diag("histogram.explicit.buckets", "buckets must ascend"));
        }
        if !wrong.is_empty() {
            return Err(::config::Diags(wrong).into());
        }
        let exemplars = &config.exemplars;
        let program = Program {
            limits: Limits {
                memory: cx.memory.clone(),
                points_max: config.aggregation_cardinality_limit,
                exemplars_max: if exemplars.enabled {
                    exemplars.max_per_data_point
                } else {
                    0
                },
                form,
            },
            all,
            calls,
            durations: (!config.histogram.disable).then_some(durations),
            events: config.events.enabled.then_some(events),
            excluded: config.exclude_dimensions.clone(),
            scopes: config.include_instrumentation_scope.clone(),
            resource_keys: config.resource_metrics_key_attributes.clone(),
            resources_max: config.resource_metrics_cache_size,
            tells_sampling: config.enable_metrics_sampling_method,
            is_delta,
            starts_max: config.metric_timestamp_cache_size,
            unit: match config.histogram.unit {
                Unit::Milliseconds => (1e6, "ms"),
                Unit::Seconds => (1e9, "s"),
            },
            namespace: config.namespace.clone(),
            instance: instance(),
            metrics_expiration: nanos(config.metrics_expiration),
            series_expiration: nanos(config.series_expiration),
        };
        Ok(Inner {
            id: cx.id.clone(),
            state: Mutex::new(State::new(&program, RandomState::new().build_hasher().finish())),
            program,
            interval: config.metrics_flush_interval.0,
            next: joint.next,
            books: joint.books,
            made: joint.made,
            clock: now,
            waiting: Mutex::default(),
            beat: Beat::default(),
            pool: Mutex::default(),
        })
    }

    /// Adds the spans of a payload. Errors: a chunk cannot be read, which the door has ruled out; nothing is added then.
    fn add(&self, payload: &Payload) -> Result<(), Refusal> {
        let depth = match self.program.events {
            Some(_) => Depth::All,
            None => Depth::Record,
        };
        let mut whole = Vec::with_capacity(payload.chunks.len());
        for chunk in &payload.chunks {
            whole.push(match chunk.shape.non_canonical {
                true => wire::normalize(Signal::Traces, &chunk.bytes(), false)
                    .map_err(malformed)?
                    .into(),
                false => chunk.bytes(),
            });
        }
        let mut scratches: Vec<Scratch> = {
            let mut pool = self.pool.lock();
            whole.iter().map(|_| pool.pop().unwrap_or_default()).collect()
        };
        let views = scratches.iter_mut().zip(&whole);
        let views = views.map(|(scratch, bytes)| View::new(scratch, Signal::Traces, bytes, depth));
        let views = views.collect::<Result<Vec<_>, _>>().map_err(malformed)?;
        let now = (self.clock)();
        let mut state = self.state.lock();
        for (view, chunk) in views.iter().zip(&payload.chunks) {
            let owner = chunk.origin.tenant.as_ref();
            let Took { spans, nameless } = state.add(&self.program, view, owner, now);
            self.books.merged(owner, spans);
            self.books.dropped(NAMELESS, owner, nameless);
        }
        drop(state);
        drop(views);
        self.pool.lock().append(&mut scratches);
        Ok(())
    }

    /// Hands on what waited, and then all points.
    async fn flush(&self, mut stop: Stop, is_last: bool) {
        let waiting = self.waiting.lock().take();
        if let Some(waiting) = waiting
            && !self.send(waiting, &mut stop, is_last).await
        {
            return;
        }
        let chunks = self.state.lock().flush(&self.program, (self.clock)(), is_last);
        if !chunks.is_empty() {
            let payload = Payload {
                signal: Signal::Metrics,
                items: chunks.iter().map(|c| c.shape.items as usize).sum(),
                chunks,
                context: Arc::default(),
            };
            self.send(payload, &mut stop, is_last).await;
        }
    }

    /// Whether it is settled; else it waits.
    async fn send(&self, payload: Payload, stop: &mut Stop, is_last: bool) -> bool {
        let answer = deliver(&*self.next, &payload, stop).await;
        if let Err(refusal) = &answer
            && refusal.is_retryable()
            && !is_last
        {
            *self.waiting.lock() = Some(payload);
            return false;
        }
        for chunk in &payload.chunks {
            let (owner, items) = (chunk.origin.tenant.as_ref(), u64::from(chunk.shape.items));
            self.made.created(owner, items);
        }
        if let Err(refusal) = answer {
            let (connector, points, error) = (&self.id, payload.items, refusal.message());
            tracing::error!(%connector, points, error, "metrics were not taken and are lost");
            let reason = if refusal.is_retryable() {
                "shutdown"
            } else {
                "rejected"
            };
            self.made.failed_all(reason, &payload);
        }
        true
    }
}

impl Consumer for SpanMetrics {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        ready(self.0.add(&payload).map(|()| Outcome::all()))
    }
}

impl Node for SpanMetrics {
    fn start(&self, _host: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        let inner = self.0.clone();
        self.0.beat.start(self.0.interval, move |stop| {
            let inner = inner.clone();
            async move { inner.flush(stop, false).await }
        });
        ready(Ok(()))
    }

    fn held_max(&self) -> StdDuration {
        self.0.interval
    }

    fn drain(&self, stop: Stop) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.0.beat.end().await;
            self.0.flush(stop, true).await;
        })
    }
}

fn form(config: &Histogram) -> Form {
    if let Some(exponential) = &config.exponential {
        return Form::Exponential(match exponential.max_size {
            0 => shape::SIZE_DEFAULT,
            size => size,
        });
    }
    let ms = match config.unit {
        Unit::Milliseconds => 1.0,
        Unit::Seconds => 1000.0,
    };
    let written = config
        .explicit
        .as_ref()
        .map(|explicit| explicit.buckets.as_deref().unwrap_or_default());
    Form::Explicit(match written {
        Some(buckets) => buckets
            .iter()
            .map(|b| b.0.as_nanos() as f64 / (ms * 1e6))
            .collect(),
        None => BOUNDS_MS.iter().map(|bound| bound / ms).collect(),
    })
}

/// What tells this collector's points from those of others: random, as the collector has it.
fn instance() -> String {
    let random = || RandomState::new().build_hasher().finish();
    let (a, b) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 48 & 0x3fff | 0x8000,
        b & 0xffff_ffff_ffff
    )
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.0.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn malformed(error: wire::Malformed) -> Refusal {
    Refusal::Invalid(error.to_string())
}

#[cfg(test)]
mod tests;

//! The backends that there are at the moment, each an exporter of its own.
//!
//! A backend that does not answer is left alone for a while that grows, and then asked by one batch at a time: a batch
//! for several backends does not wait for it, and what it is owed comes again.

use std::time::Duration as Span;

use arc_swap::ArcSwap;
use component::prelude::*;
use parking_lot::Mutex;
use telemetry::{Counter, Gauge, Histogram};
use tokio::time::{Instant, timeout_at};
use wire::Cut;

use super::ring::Ring;

/// After the first failure; doubled with each further one.
const PAUSE_MIN: Span = Span::from_millis(250);
const PAUSE_MAX: Span = Span::from_secs(30);

/// A ring and what its numbers stand for.
#[derive(Default)]
pub(super) struct Members {
    pub(super) ring: Ring,
    pub(super) backends: Vec<Arc<Backend>>,
}

/// One backend.
pub(super) struct Backend {
    endpoint: String,
    push: Arc<dyn Push>,
    state: Mutex<State>,
    latency: Histogram,
    successes: Counter,
    failures: Counter,
}

#[derive(Default)]
struct State {
    failed: u32,
    until: Option<Instant>,
    is_asked: bool,
}

/// How a piece fared.
pub(super) enum Answer {
    Taken(Outcome),
    /// Never, whole.
    Rejected(ExportError),
    /// Still owed.
    Owed(ExportError),
}

impl Backend {
    /// Sends a piece, cut smaller where the far side wants it so; whatever is owed is owed whole.
    pub(super) async fn send(&self, piece: Payload, until: Option<Instant>) -> Answer {
        let asking = match self.begin() {
            Ok(asking) => asking,
            Err(owed) => return Answer::Owed(owed),
        };
        let start = Instant::now();
        let answer = self.push_all(piece, until).await;
        self.latency.observe(start.elapsed().as_millis() as f64);
        let after = match &answer {
            Answer::Owed(ExportError::Retry { after, .. }) => Some(*after),
            Answer::Owed(_) => Some(None),
            _ => None,
        };
        match after.is_none() && !matches!(answer, Answer::Rejected(_)) {
            true => self.successes.add(1),
            false => self.failures.add(1),
        }
        asking.end(after);
        answer
    }

    async fn push_all(&self, piece: Payload, until: Option<Instant>) -> Answer {
        let mut left = vec![piece];
        let mut rejected = Vec::new();
        while let Some(piece) = left.pop() {
            let pushed = self.push.export_until(&piece, until);
            let result = match until {
                Some(until) => timeout_at(until, pushed).await.unwrap_or_else(|_| {
                    Err(ExportError::retry(format!(
                        "{}: no answer in time",
                        self.endpoint
                    )))
                }),
                None => pushed.await,
            };
            match result {
                Ok(outcome) => rejected.extend(outcome.rejected),
                Err(ExportError::TooLarge { .. }) if piece.items > 1 => {
                    let half = Cut {
                        items_max: Some(piece.items.div_ceil(2)),
                        bytes_max: None,
                    };
                    left.extend(wire::split(piece, half).into_iter().rev());
                }
                Err(error @ (ExportError::Rejected { .. } | ExportError::TooLarge { .. })) => {
                    if left.is_empty() && rejected.is_empty() {
                        return Answer::Rejected(error);
                    }
                    rejected.push(rejection(&error, piece.items));
                }
                Err(error) => return Answer::Owed(error),
            }
        }
        Answer::Taken(Outcome { rejected })
    }

    /// Whether it may be asked now.
    fn begin(&self) -> Result<Asking<'_>, ExportError> {
        let mut state = self.state.lock();
        if state.failed > 0 {
            let now = Instant::now();
            let left = state
                .until
                .map(|until| until.saturating_duration_since(now))
                .filter(|d| !d.is_zero());
            if left.is_some() || state.is_asked {
                let message = format!("{} did not answer and is left alone for a while", self.endpoint);
                return Err(ExportError::Retry {
                    after: None,
                    remaining: None,
                    source: message.into(),
                });
            }
            state.is_asked = true;
        }
        Ok(Asking(Some(self)))
    }

    /// `failed`: with the time that the far side asked for.
    fn end(&self, failed: Option<Option<Span>>) {
        let mut state = self.state.lock();
        state.is_asked = false;
        match failed {
            None => *state = State::default(),
            Some(after) => {
                let pause = PAUSE_MIN.saturating_mul(1 << state.failed.min(10)).min(PAUSE_MAX);
                state.failed += 1;
                state.until = Some(Instant::now() + after.unwrap_or(pause));
            }
        }
    }
}

/// A piece on its way to a backend. Dropped before the answer (the batch was given up) it counts as a failure.
struct Asking<'a>(Option<&'a Backend>);

impl Asking<'_> {
    fn end(mut self, failed: Option<Option<Span>>) {
        if let Some(backend) = self.0.take() {
            backend.end(failed);
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(backend) = self.0.take() {
            backend.end(Some(None));
        }
    }
}

/// What is booked of items that a backend will never take.
pub(super) fn rejection(error: &ExportError, items: usize) -> Rejection {
    Rejection {
        rule: "rejected_by_peer".into(),
        items: items as u64,
        message: error.source().to_string(),
    }
}

/// All backends, and how one is made.
pub(super) struct Backends {
    id: ComponentId,
    /// `protocol.otlp`.
    section: Section,
    factory: &'static ExporterFactory,
    cx: BuildContext,
    pub(super) members: ArcSwap<Members>,
    /// Those that have gone, until nobody uses them any more.
    gone: Mutex<Vec<Arc<Backend>>>,
    count: Gauge,
    updates: Counter,
}

impl Backends {
    pub(super) fn new(
        section: Section,
        factory: &'static ExporterFactory,
        cx: &BuildContext,
        resolver: &'static str,
    ) -> Backends {
        let labels = || {
            vec![
                ("loadbalancer", cx.id.to_string()),
                ("resolver", resolver.to_owned()),
            ]
        };
        let metrics = &cx.telemetry.metrics;
        Backends {
            id: cx.id.clone(),
            section,
            factory,
            members: ArcSwap::from_pointee(Members::default()),
            gone: Mutex::default(),
            count: metrics.gauge("otelcol_loadbalancer_num_backends", labels()),
            updates: metrics.counter("otelcol_loadbalancer_num_backend_updates", labels()),
            cx: cx.clone(),
        }
    }

    /// The exporter for an endpoint, not started.
    pub(super) fn build(&self, endpoint: &str, cx: &BuildContext) -> Result<Arc<dyn Push>, Fault> {
        let mut section = self.section.clone();
        section.put("endpoint", &quoted(endpoint))?;
        match (self.factory.build)(section, cx)? {
            Exporter::Push(push) => Ok(push),
            Exporter::Collect(_) => Err(Fault::World(
                "a load balancer needs an exporter that pushes".into(),
            )),
        }
    }

    /// From now on these are the backends. Those that stay go on as they are.
    pub(super) async fn update(&self, mut endpoints: Vec<String>, host: &Arc<dyn Host>) -> Result<(), Fault> {
        endpoints.sort();
        endpoints.dedup();
        endpoints.truncate(usize::from(u16::MAX) - 1);
        let before = self.members.load_full();
        if before.backends.iter().map(|b| &b.endpoint).eq(&endpoints) {
            return Ok(());
        }
        let mut backends = Vec::with_capacity(endpoints.len());
        for endpoint in &endpoints {
            if let Some(known) = before.backends.iter().find(|b| b.endpoint == *endpoint) {
                backends.push(known.clone());
                continue;
            }
            let cx = BuildContext {
                id: ComponentId {
                    kind: self.id.kind.clone(),
                    name: endpoint.clone(),
                },
                ..self.cx.clone()
            };
            let push = self.build(&with_port(endpoint), &cx)?;
            push.start(host.clone()).await?;
            let metrics = &cx.telemetry.metrics;
            let labels = || {
                vec![
                    ("loadbalancer", self.id.to_string()),
                    ("endpoint", endpoint.clone()),
                ]
            };
            let outcome = |success: &str| {
                let mut labels = labels();
                labels.push(("success", success.to_owned()));
                metrics.counter("otelcol_loadbalancer_backend_outcome", labels)
            };
            backends.push(Arc::new(Backend {
                endpoint: endpoint.clone(),
                push,
                state: Mutex::default(),
                latency: metrics.histogram("otelcol_loadbalancer_backend_latency", labels()),
                successes: outcome("true"),
                failures: outcome("false"),
            }));
        }
        tracing::info!(exporter = %self.id, backends = endpoints.len(), "the backends have changed");
        self.count.set(endpoints.len() as i64);
        self.updates.add(1);
        let ring = Ring::new(&endpoints);
        let gone = before
            .backends
            .iter()
            .filter(|b| !endpoints.contains(&b.endpoint));
        self.gone.lock().extend(gone.cloned());
        self.members.store(Arc::new(Members { ring, backends }));
        Ok(())
    }

    /// Stops those that have gone and that no batch is on its way to.
    pub(super) async fn sweep(&self) {
        let mut idle = Vec::new();
        self.gone.lock().retain(|backend| {
            let is_idle = Arc::strong_count(backend) == 1;
            if is_idle {
                idle.push(backend.push.clone());
            }
            !is_idle
        });
        for push in idle {
            push.stop().await;
        }
    }

    pub(super) async fn stop(&self) {
        let gone = std::mem::take(&mut *self.gone.lock());
        let members = self.members.load_full();
        for backend in gone.iter().chain(&members.backends) {
            backend.push.stop().await;
        }
    }
}

/// A text as YAML.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The default port is added for dialing alone; the ring knows backends as they are written.
pub(super) fn with_port(endpoint: &str) -> String {
    let rest = endpoint.rsplit_once(']').map_or(endpoint, |(_, rest)| rest);
    match rest.contains(':') {
        true => endpoint.to_owned(),
        false => format!("{endpoint}:4317"),
    }
}

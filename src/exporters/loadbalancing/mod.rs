//! Exporter `loadbalancing`: sends what belongs together (a trace, a service) to one of several OTLP backends.
//!
//! In: traces, logs, metrics. Out: for each backend one batch over gRPC, made of whole slices. The ring, and so the
//! choice, is that of the collector's exporter. There is one queue, before all backends: what a backend does not take
//! is owed there, and goes where the ring says when it comes again, so that nothing is lost when backends go. Delivery:
//! at least once (harness).

mod backends;
mod config;
mod keys;
mod ring;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::task::Poll;

use component::host::StopSwitch;
use component::prelude::*;
use parking_lot::Mutex;
use telemetry::Counter;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::{Part, Sorted, divide, slice};

use backends::{Answer, Backends, Members, rejection};
use keys::Key;

pub use config::{CloudMap, Config, Dns, K8s, Protocol, Resolver, Static};

/// This exporter type.
pub static FACTORY: ExporterFactory = ExporterFactory {
    kind: "loadbalancing",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Beta),
        (Signal::Metrics, Stability::Development),
        (Signal::Logs, Stability::Beta),
    ],
    harness: Harness {
        batch_bytes_max: Some(4 << 20),
        also_in: &["protocol", "otlp"],
        ..Harness::QUEUE_RETRY_TIMEOUT
    },
    build: |section, cx| {
        let factory = crate::named("otlp_grpc");
        let factory = factory.ok_or_else(|| Fault::World("there is no exporter otlp_grpc".into()))?;
        Ok(Exporter::Push(Arc::new(LoadBalancing::build(
            section, cx, factory,
        )?)))
    },
};

struct LoadBalancing {
    /// By signal.
    keys: [Key; 4],
    source: Source,
    /// Like each of the backends; sends nothing.
    pattern: Arc<dyn Push>,
    backends: Arc<Backends>,
    resolved: Resolved,
    watch: Mutex<Option<(StopSwitch, JoinHandle<()>)>>,
}

#[derive(Clone)]
enum Source {
    Fixed(Vec<String>),
    Dns(Dns),
}

/// Look-ups.
#[derive(Clone)]
struct Resolved {
    successes: Counter,
    failures: Counter,
}

impl LoadBalancing {
    /// With backends that are exporters of this type.
    fn build(
        section: Section,
        cx: &BuildContext,
        factory: &'static ExporterFactory,
    ) -> Result<LoadBalancing, Fault> {
        let otlp = section
            .clone()
            .take_raw("protocol")
            .and_then(|mut protocol| protocol.take_raw("otlp"));
        let otlp = otlp.filter(|otlp| !otlp.is_null());
        let config: Config = section.clone().parse_valid()?;
        let otlp = match otlp {
            Some(otlp) => otlp,
            None => Section::from_yaml("{}")?,
        };
        let resolver = config.resolver;
        let (source, name) = match (resolver.fixed, resolver.dns) {
            (Some(fixed), _) => (Source::Fixed(fixed.hostnames), "static"),
            (None, Some(dns)) => (Source::Dns(dns), "dns"),
            (None, None) => return Err(section.fault("resolver", "write static or dns").into()),
        };
        let backends = Backends::new(otlp, factory, cx, name);
        // Its faults are those of all of them; it counts into nothing.
        let apart = BuildContext {
            telemetry: telemetry::Telemetry::default(),
            ..cx.clone()
        };
        let pattern = backends.build("localhost:4317", &apart)?;
        let resolutions = |success: &str| {
            let labels = vec![
                ("loadbalancer", cx.id.to_string()),
                ("resolver", name.to_owned()),
                ("success", success.to_owned()),
            ];
            cx.telemetry
                .metrics
                .counter("otelcol_loadbalancer_num_resolutions", labels)
        };
        Ok(LoadBalancing {
            keys: Signal::ALL.map(|signal| Key::of(&config.routing_key, &config.routing_attributes, signal)),
            source,
            pattern,
            backends: Arc::new(backends),
            resolved: Resolved {
                successes: resolutions("true"),
                failures: resolutions("false"),
            },
            watch: Mutex::default(),
        })
    }
}

impl Resolved {
    /// The backends of a name; none if it cannot be looked up: then those that there are stay.
    async fn look_up(&self, dns: &Dns) -> Option<Vec<String>> {
        let found = tokio::time::timeout(dns.timeout.0, net::resolve::addresses(&dns.hostname, 0)).await;
        let found = found.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut)));
        match found {
            Ok(addresses) => {
                self.successes.add(1);
                let name = |address: &std::net::SocketAddr| match (address.ip(), dns.port.as_str()) {
                    (std::net::IpAddr::V6(ip), "") => format!("[{ip}]"),
                    (std::net::IpAddr::V6(ip), port) => format!("[{ip}]:{port}"),
                    (ip, "") => ip.to_string(),
                    (ip, port) => format!("{ip}:{port}"),
                };
                Some(addresses.iter().map(name).collect())
            }
            Err(error) => {
                self.failures.add(1);
                tracing::warn!(hostname = dns.hostname, %error, "failed to resolve the backends");
                None
            }
        }
    }
}

async fn watch(dns: Dns, resolved: Resolved, backends: Arc<Backends>, host: Arc<dyn Host>, mut stop: Stop) {
    loop {
        tokio::select! {
            () = stop.stopped() => return,
            () = tokio::time::sleep(dns.interval.0) => {}
        }
        if let Some(found) = resolved.look_up(&dns).await
            && let Err(error) = backends.update(found, &host).await
        {
            tracing::error!(%error, "a backend could not be made, those that there are stay");
        }
        backends.sweep().await;
    }
}

impl Push for LoadBalancing {
    fn start<'a>(&'a self, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let dns = match &self.source {
                Source::Fixed(hostnames) => {
                    self.resolved.successes.add(1);
                    return self.backends.update(hostnames.clone(), &host).await;
                }
                Source::Dns(dns) => dns.clone(),
            };
            if let Some(found) = self.resolved.look_up(&dns).await {
                self.backends.update(found, &host).await?;
            }
            let (switch, stop) = Stop::new();
            let task = watch(dns, self.resolved.clone(), self.backends.clone(), host, stop);
            *self.watch.lock() = Some((switch, tokio::spawn(task)));
            Ok(())
        })
    }

    fn export<'a>(&'a self, batch: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        self.export_until(batch, None)
    }

    fn export_until<'a>(
        &'a self,
        batch: &'a Payload,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        Box::pin(async move {
            // A backend that is slow must not make the others' answers be forgotten.
            let until = deadline.map(|deadline| {
                let left = deadline.saturating_duration_since(Instant::now());
                deadline - left / 20
            });
            let members = self.backends.members.load_full();
            let key = &self.keys[batch.signal.index()];
            match members.backends.as_slice() {
                [] => Err(ExportError::retry("there is no backend at the moment")),
                [one] => match one.send(batch.clone(), until).await {
                    Answer::Taken(outcome) => Ok(outcome),
                    Answer::Rejected(error) | Answer::Owed(error) => Err(error),
                },
                _ => {
                    let sent = beside_others(batch.len(), || Sent::sort(batch, key, &members));
                    let sent = sent.map_err(|error| ExportError::Rejected {
                        code: Code::INVALID_ARGUMENT,
                        source: error.into(),
                    })?;
                    sent.send(&members, until).await
                }
            }
        })
    }

    fn by_tenant(&self) -> bool {
        self.pattern.by_tenant()
    }

    fn context_keys(&self) -> Vec<String> {
        self.pattern.context_keys()
    }

    fn authenticator(&self) -> Option<ComponentId> {
        self.pattern.authenticator()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let watch = self.watch.lock().take();
            if let Some((switch, task)) = watch {
                switch.stop();
                // It ends at its next turn; if it panicked, there is nothing to wait for.
                let _ = task.await;
            }
            self.backends.stop().await;
        })
    }
}

/// A batch that was cut by backend.
struct Sent {
    signal: Signal,
    context: Arc<Context>,
    items: usize,
    /// With the backend of each of their items.
    chunks: Vec<(Chunk, Vec<u16>)>,
    pieces: Vec<(u16, Payload)>,
}

impl Sent {
    fn sort(batch: &Payload, key: &Key, members: &Members) -> Result<Sent, wire::Malformed> {
        let mut sorted = Sorted::new(batch.signal, batch.context.clone());
        let mut chunks = Vec::with_capacity(batch.chunks.len());
        for chunk in &batch.chunks {
            let mut chunk = chunk.clone();
            chunk.make_canonical(batch.signal)?;
            let bytes = chunk.make_whole();
            let labels = key.choose(batch.signal, &bytes, &members.ring)?;
            for (label, piece) in divide(batch.signal, &chunk, Part::Item, &labels) {
                sorted.add(label, piece);
            }
            chunks.push((chunk, labels));
        }
        Ok(Sent {
            signal: batch.signal,
            context: batch.context.clone(),
            items: batch.items,
            chunks,
            pieces: sorted.finish(),
        })
    }

    /// Sends every piece to its backend, all at the same time. What some do not take is owed; what others will never
    /// take is said with it, or, while something is owed, owed too.
    async fn send(self, members: &Members, until: Option<Instant>) -> Result<Outcome, ExportError> {
        let mut calls: Vec<BoxFuture<'_, Answer>> = Vec::with_capacity(self.pieces.len());
        let mut sizes = Vec::with_capacity(self.pieces.len());
        for (label, piece) in self.pieces {
            sizes.push((label, piece.items));
            calls.push(Box::pin(members.backends[usize::from(label)].send(piece, until)));
        }
        let (mut rejected, mut refused, mut owed) = (Vec::new(), Vec::new(), Vec::new());
        for ((label, items), answer) in sizes.iter().zip(all(calls).await) {
            match answer {
                Answer::Taken(outcome) => rejected.extend(outcome.rejected),
                Answer::Rejected(error) => refused.push((*label, *items, error)),
                Answer::Owed(error) => owed.push((*label, error)),
            }
        }
        let whole = sizes.len();
        let Some((_, error)) = owed.first() else {
            if refused.len() == whole
                && let Some((.., error)) = refused.pop()
            {
                return Err(error);
            }
            rejected.extend(refused.iter().map(|(_, items, error)| rejection(error, *items)));
            return Ok(Outcome { rejected });
        };
        let source = error.source().to_string().into();
        let after = owed.iter().filter_map(|(_, error)| match error {
            ExportError::Retry { after, .. } => *after,
            _ => None,
        });
        let after = after.max();
        let labels: Vec<u16> = owed
            .iter()
            .map(|(l, _)| *l)
            .chain(refused.iter().map(|(l, ..)| *l))
            .collect();
        if labels.len() == whole {
            let unauthorized = owed
                .iter()
                .all(|(_, error)| matches!(error, ExportError::Unauthorized { .. }));
            return Err(match unauthorized && refused.is_empty() {
                true => ExportError::Unauthorized { source },
                false => ExportError::Retry {
                    after,
                    remaining: None,
                    source,
                },
            });
        }
        let mut remaining: Option<Payload> = None;
        for (chunk, of) in &self.chunks {
            for piece in runs(self.signal, chunk, of, &labels) {
                match &mut remaining {
                    Some(payload) => payload.push(piece),
                    none => *none = Some(Payload::new(self.signal, piece, self.context.clone())),
                }
            }
        }
        debug_assert!(
            remaining
                .as_ref()
                .is_some_and(|r| r.items > 0 && r.items < self.items)
        );
        Err(ExportError::Retry {
            after,
            remaining: remaining.map(|owed| Remaining {
                owed,
                rejected,
                refused: None,
            }),
            source,
        })
    }
}

/// The items of a chunk that go to one of these backends, as slices: those know their place in the queue's record.
fn runs(signal: Signal, chunk: &Chunk, of: &[u16], labels: &[u16]) -> Vec<Chunk> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < of.len() {
        let is_owed = labels.contains(&of[at]);
        let len = of[at..]
            .iter()
            .take_while(|label| labels.contains(label) == is_owed)
            .count();
        if is_owed {
            out.extend(slice(signal, chunk, at as u32, (at + len) as u32));
        }
        at += len;
    }
    out
}

/// Polls all until all are done; answers in their order.
async fn all<T>(mut futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut left = false;
        for (future, slot) in futures.iter_mut().zip(&mut results) {
            if slot.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *slot = Some(value),
                    Poll::Pending => left = true,
                }
            }
        }
        if left { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    results.into_iter().flatten().collect()
}

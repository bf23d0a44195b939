//! `weir journal drain`: sends what a destination is owed, record by record, and completes what was taken.

use std::sync::Arc;
use std::time::Duration;

use component::{Consumer, Refusal};
use config::ComponentId;
use telemetry::ledger::Ended;
use tokio::time::Instant;
use wire::Payload;

use super::offline::{Progress, Storage, owed_items, signal_of, tenant};
use crate::cli::{Given, Sources, say_error};
use crate::service::{Service, sending};

/// So long a far side may be unwell before we give up; what was not taken stays.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);
const STOP: Duration = Duration::from_secs(5);
const PAGE: usize = 64;

/// Sends all, or as much as is taken. Errors say what stays.
pub(super) async fn drain(storage: &Storage, sources: &Sources, name: &str, to: &str) -> Result<(), String> {
    let destination = storage.destination(name)?;
    let (service, exporter) = service(sources, to)?;
    service.start().await.map_err(|fault| fault.to_string())?;
    let host = service.host();
    let done = match host.exporter(&exporter) {
        Ok(consumer) => send(storage, &destination, &consumer).await,
        Err(fault) => Err(fault.to_string()),
    };
    service.stop(STOP).await;
    storage.journal.close();
    done
}

async fn send(
    storage: &Storage,
    destination: &storage::journal::Destination,
    consumer: &Arc<dyn Consumer>,
) -> Result<(), String> {
    let mut progress = Progress::new("sent", destination.items);
    let mut ended = Vec::new();
    let mut stays = Stays::default();
    let mut after = None;
    let mut failed = None;
    'all: loop {
        let page = storage.journal.owed_after(destination.id, after, PAGE);
        let Some(last) = page.last() else { break };
        after = Some(last.seq);
        for owed in &page {
            let items = owed_items(owed);
            let Some(payload) = storage.payload(owed)? else {
                stays.damaged += items;
                continue;
            };
            storage.journal.dispatched(destination.id, owed.seq).await;
            match deliver(consumer, payload).await {
                Ok(refused) => {
                    storage.journal.complete(owed.seq, destination.id, 0..u32::MAX);
                    ended.push((
                        signal_of(owed.kind),
                        tenant(owed.tenant.as_deref()),
                        items - refused.min(items),
                    ));
                    stays.refused += refused;
                    progress.add(items);
                }
                Err(Failure::ForGood(why)) => stays.refuse(items, why),
                Err(Failure::ForNow(why)) => {
                    failed = Some(why);
                    break 'all;
                }
            }
        }
    }
    storage.book(&destination.name, Ended::Out, &ended)?;
    say_error(&format!("sent {} of {} items", progress.done, destination.items));
    match failed {
        Some(why) => Err(format!("{why}; what was not sent is still in the journal")),
        None => stays.told(),
    }
}

/// What did not arrive, though all was tried.
#[derive(Default)]
struct Stays {
    damaged: u64,
    rejected: u64,
    refused: u64,
    why: String,
}

impl Stays {
    fn refuse(&mut self, items: u64, why: String) {
        self.rejected += items;
        self.why = why;
    }

    fn told(&self) -> Result<(), String> {
        let parts = [
            (
                self.damaged,
                "items are damaged and stay in the journal".to_owned(),
            ),
            (
                self.rejected,
                format!("items were rejected and stay in the journal: {}", self.why),
            ),
            (self.refused, "items were left out by the far side".to_owned()),
        ];
        let told: Vec<String> = parts
            .into_iter()
            .filter(|(items, _)| *items > 0)
            .map(|(items, what)| format!("{items} {what}"))
            .collect();
        match told.is_empty() {
            true => Ok(()),
            false => Err(told.join("; ")),
        }
    }
}

pub(in crate::cli) enum Failure {
    /// This record, by this far side.
    ForGood(String),
    /// The far side did not get well.
    ForNow(String),
}

/// One record, tried again while the far side is unwell. The answer: items that it left out.
pub(in crate::cli) async fn deliver(consumer: &Arc<dyn Consumer>, payload: Payload) -> Result<u64, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        let refusal = match consumer.consume(payload.clone()).await {
            Ok(outcome) => return Ok(outcome.rejected.iter().map(|r| r.items).sum()),
            Err(refusal) => refusal,
        };
        let pause = match &refusal {
            Refusal::Busy { retry_after } | Refusal::Unavailable { retry_after, .. } => {
                retry_after.unwrap_or(PAUSE)
            }
            Refusal::Invalid(_) | Refusal::Status(..) => {
                return Err(Failure::ForGood(refusal.message()));
            }
        };
        if Instant::now() + pause > end {
            return Err(Failure::ForNow(refusal.message()));
        }
        tokio::time::sleep(pause).await;
    }
}

/// A service with the exporter that is meant.
pub(in crate::cli) fn service(sources: &Sources, to: &str) -> Result<(Arc<Service>, ComponentId), String> {
    let (texts, gates, id) = match endpoint(to) {
        Some((kind, text)) => (
            vec![("--to".to_owned(), text)],
            config::Gates::default(),
            kind.to_owned(),
        ),
        None => {
            let Given { texts, gates } = sources.read().map_err(|e| {
                format!("--to {to}: neither host:port nor http://host:port, and as an exporter: {e}")
            })?;
            (texts, gates, to.to_owned())
        }
    };
    let id = ComponentId::parse(&id).map_err(|e| format!("--to {to}: {e}"))?;
    let loaded = sending::only(texts, &gates, &id).map_err(|faults| faults.report(false))?;
    let service = Service::build(loaded).map_err(|faults| faults.report(false))?;
    Ok((service, id))
}

/// The exporter for an endpoint, and a configuration that has it. Port 4317 is gRPC's by convention, whatever is said
/// before it.
fn endpoint(to: &str) -> Option<(&'static str, String)> {
    const PLAIN: &str = ", tls: {insecure: true}";
    let is_grpc = |rest: &str| rest.trim_end_matches('/').ends_with(":4317");
    let (kind, to, keys) = match to.split_once("://") {
        Some(("http", rest)) if is_grpc(rest) => ("otlp_grpc", rest.trim_end_matches('/'), PLAIN),
        Some(("https", rest)) if is_grpc(rest) => ("otlp_grpc", rest.trim_end_matches('/'), ""),
        Some(("http" | "https", _)) => ("otlp_http", to, ""),
        Some(_) => return None,
        None => {
            let (host, port) = to.rsplit_once(':')?;
            port.parse::<u16>().ok().filter(|_| !host.is_empty())?;
            ("otlp_grpc", to, PLAIN)
        }
    };
    let quoted = serde_json::Value::from(to);
    Some((
        kind,
        format!(
            "receivers: {{nop: }}\nexporters: {{{kind}: {{endpoint: {quoted}{keys}}}}}\n\
             service: {{pipelines: {{logs: {{receivers: [nop], exporters: [{kind}]}}}}}}\n"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_told_from_an_exporter() {
        let check = |to: &str, expected: Option<&str>| {
            assert_eq!(endpoint(to).map(|(kind, _)| kind), expected, "{to}");
        };
        check("127.0.0.1:4317", Some("otlp_grpc"));
        check("[::1]:4317", Some("otlp_grpc"));
        check("http://127.0.0.1:4318", Some("otlp_http"));
        check("https://far", Some("otlp_http"));
        check("http://localhost:4317", Some("otlp_grpc"));
        check("https://far:4317/", Some("otlp_grpc"));
        check("otlp_grpc/next", None);
        check("otlp", None);
        check("ftp://far:21", None);
        check(":4317", None);
    }
}

//! Receiver `prometheus`: scrapes targets that are listed, and hands on what they say as OTLP metrics.
//!
//! In: the text format and OpenMetrics over HTTP, at an interval. Out: one payload for each scrape, with `up` and the
//! other metrics about the scrape itself; series that went are marked. A scrape that the pipeline refuses is not kept:
//! the next one says as much. Keys and defaults are Prometheus's as contrib's prometheusreceiver (v0.159) takes them;
//! what finds targets by itself is refused by name.

mod config;
mod encode;
mod relabel;
mod scalar;
mod scrape;
mod table;
mod target;
mod translate;

use component::host::StopSwitch;
use component::prelude::*;
use http::HeaderValue;
use net::client::HttpClient;
use parking_lot::Mutex;
use telemetry::Place;
use tokio::task::JoinSet;

use self::config::Config;
use scrape::{Job, Scraper};

/// This receiver type.
pub(crate) static FACTORY: ReceiverFactory = ReceiverFactory {
    kind: "prometheus",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[(Signal::Metrics, Stability::Alpha)],
    build: |section, cx| Ok(Arc::new(Prometheus::build(section, cx)?)),
};

struct Prometheus {
    jobs: Vec<Arc<Job>>,
    cx: BuildContext,
    running: Mutex<Option<(StopSwitch, JoinSet<()>)>>,
}

impl Prometheus {
    fn build(section: Section, cx: &BuildContext) -> Result<Prometheus, Fault> {
        let at = section.clone();
        let plans = config::read(section)?;
        let agent = cx.info.user_agent();
        let mut jobs = Vec::new();
        let mut faults = Vec::new();
        for plan in plans {
            let needs_tls = plan.targets.iter().any(|t| t.url.scheme_str() == Some("https"));
            match (
                HttpClient::new(&plan.config, &agent, std::time::Duration::ZERO, needs_tls),
                HeaderValue::from_str(&plan.accept),
            ) {
                (Ok(client), Ok(accept)) => jobs.push(Arc::new(Job { plan, client, accept })),
                (Err(text), _) => faults.push(at.diag("config", format!("job {:?}: {text}", plan.name))),
                (_, Err(_)) => {
                    faults.push(at.diag("config", format!("job {:?}: bad scrape_protocols", plan.name)))
                }
            }
        }
        ::config::Diags::check(faults)?;
        Ok(Prometheus {
            jobs,
            cx: cx.clone(),
            running: Mutex::new(None),
        })
    }
}

impl Receiver for Prometheus {
    fn start<'a>(&'a self, outputs: Outputs, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        let Some(next) = outputs.get(Signal::Metrics).cloned() else {
            return ready(Ok(()));
        };
        let (switch, stop) = Stop::new();
        let place = Place::Door {
            receiver: self.cx.id.to_string(),
            transport: "http",
        };
        let row = self.cx.telemetry.ledger.row(place, Signal::Metrics);
        let mut tasks = JoinSet::new();
        for job in &self.jobs {
            for target in &job.plan.targets {
                let scraper = Scraper::new(job.clone(), target.clone(), &self.cx, next.clone(), row.clone());
                tasks.spawn(scraper.run(stop.clone()));
            }
        }
        *self.running.lock() = Some((switch, tasks));
        ready(Ok(()))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        let running = self.running.lock().take();
        Box::pin(async move {
            if let Some((switch, tasks)) = running {
                switch.stop();
                tasks.join_all().await;
            }
        })
    }
}

#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod tests;

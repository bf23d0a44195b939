//! What the gateway says about itself: `service::telemetry`.
//!
//! Keys are the collector's (otelconf v0.3.0): own `logs` with their processors, own `metrics` with readers that are
//! scraped and readers that push, `resource` in both spellings. `traces` is checked, but no spans are made yet. Reading
//! the section opens nothing; [`Running`] does.

mod faults;
mod logs;
mod metrics;
mod otlp;
mod push;
mod resource;
mod serve;
mod value;
mod views;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use component::{Fault, Stop};
use config::{Diag, Diags, Section};
use net::server::Server;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::logs::{Guard, Record};
use telemetry::{Level, Resource, Telemetry};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::Signal;

use faults::Faults;
use logs::Logs;
use views::Views;

/// `service::telemetry`, read and checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    logs: Logs,
    metrics: metrics::Settings,
    views: Arc<Views>,
    resource: Arc<Resource>,
}

/// `service::telemetry` as it is written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Own logs.
    logs: Logs,
    /// Own metrics.
    metrics: metrics::Keys,
    /// Own spans.
    traces: metrics::Traces,
    /// Who we say we are.
    resource: Section,
}

impl Settings {
    /// Reads the section; the warnings come beside. Errors: all faults.
    pub fn read(section: Section) -> Result<(Settings, Vec<Diag>), Diags> {
        let keys: Keys = section.clone().parse()?;
        let mut faults = Faults::new(&section);
        let (resource, mut warnings) = resource::read(&keys.resource).unwrap_or_else(|more| {
            faults.extend(more);
            Default::default()
        });
        keys.logs.check(&mut faults);
        keys.traces.check(&mut faults);
        let mut metrics = keys.metrics.read(&resource, &mut faults);
        warnings.extend(faults.finish()?);
        let settings = Settings {
            logs: keys.logs,
            views: Arc::new(Views(std::mem::take(&mut metrics.views))),
            metrics,
            resource: Arc::new(resource),
        };
        Ok((settings, warnings))
    }

    /// How much of the metrics is shown.
    pub fn level(&self) -> Level {
        self.metrics.level
    }

    /// Makes own logs the process's default; they are flushed when the guard is dropped. What the log processors ship
    /// is for [`Running::start`].
    pub fn start_logs(&self, telemetry: &Telemetry) -> std::io::Result<(Guard, Vec<mpsc::Receiver<Record>>)> {
        self.logs.start(telemetry, &self.resource)
    }
}

/// Readers and log processors at work.
pub struct Running {
    servers: Vec<Server>,
    tasks: JoinSet<()>,
    switch: component::host::StopSwitch,
}

impl Running {
    /// Binds the pages, and begins to push. On an error what was bound is closed.
    pub async fn start(
        settings: &Settings,
        telemetry: &Telemetry,
        outboxes: Vec<mpsc::Receiver<Record>>,
    ) -> Result<Running, Fault> {
        let (switch, stop) = Stop::new();
        let mut running = Running {
            servers: Vec::new(),
            tasks: JoinSet::new(),
            switch,
        };
        if settings.metrics.level == Level::None {
            tracing::info!("Internal metrics telemetry disabled");
        }
        for pull in &settings.metrics.pulls {
            let page = serve::Page {
                telemetry: telemetry.clone(),
                resource: settings.resource.clone(),
                level: settings.metrics.level,
                views: settings.views.clone(),
                shape: pull.shape.clone(),
            };
            running.servers.push(serve::serve(pull, page).await?);
        }
        let started = SystemTime::now();
        for reader in &settings.metrics.pushes {
            let target = open(&reader.exporter, Signal::Metrics)?;
            let task = push::Metrics {
                telemetry: telemetry.clone(),
                resource: settings.resource.clone(),
                level: settings.metrics.level,
                views: settings.views.clone(),
                temporality: reader.exporter.temporality(),
                interval: reader.interval,
                timeout: reader.timeout,
                started,
            };
            running.tasks.spawn(task.run(target, stop.clone()));
        }
        for (batch, outbox) in settings.logs.batches().zip(outboxes) {
            let target = open(&batch.exporter, Signal::Logs)?;
            let task = push::Logs {
                telemetry: telemetry.clone(),
                resource: settings.resource.clone(),
                delay: Duration::from_millis(batch.schedule_delay),
                batch_max: batch.max_export_batch_size,
                timeout: Duration::from_millis(batch.export_timeout),
            };
            running.tasks.spawn(task.run(target, outbox, stop.clone()));
        }
        Ok(running)
    }

    /// Where the pages are served.
    pub fn addresses(&self) -> impl Iterator<Item = std::net::SocketAddr> {
        self.servers.iter().map(Server::local_addr)
    }

    /// Closes the pages, and pushes what there still is, once.
    pub async fn stop(mut self) {
        for server in &self.servers {
            server.stop(Duration::from_secs(1)).await;
        }
        self.switch.stop();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn open(exporter: &otlp::Exporter, signal: Signal) -> Result<otlp::Target, Fault> {
    let opened = exporter.open(signal);
    opened.map_err(|e| Fault::World(format!("service::telemetry: {} exporter: {e}", signal.as_str())))
}

#[cfg(test)]
mod tests;

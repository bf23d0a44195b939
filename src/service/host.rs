//! The host that components see: other exporters by id, extensions, and a place to say how they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

use component::{BoxFuture, Consumer, Extension, Fault, Health, Host, Reported, Status};
use config::ComponentId;
use engine::pipeline::Graph;
use net::server::{Listener, Transport};
use parking_lot::Mutex;
use telemetry::Telemetry;
use tokio::sync::watch;

use super::admin::Gateway;
use super::effective::Parts;
use super::journals::Named;
use super::leases::Leases;
use super::reload::Reloader;

/// One per service.
pub(super) struct RoofHost {
    graph: Arc<Graph>,
    extensions: HashMap<ComponentId, Arc<dyn Extension>>,
    parts: Parts,
    telemetry: Telemetry,
    ready: AtomicBool,
    statuses: Mutex<HashMap<String, Reported>>,
    leases: Leases,
    built: SystemTime,
    fatal: watch::Sender<Option<String>>,
}

impl RoofHost {
    pub(super) fn new(
        graph: Arc<Graph>,
        extensions: Vec<(ComponentId, Arc<dyn Extension>)>,
        parts: Parts,
        telemetry: Telemetry,
    ) -> Arc<RoofHost> {
        Arc::new(RoofHost {
            graph,
            parts,
            telemetry,
            ready: AtomicBool::new(false),
            built: SystemTime::now(),
            extensions: extensions.into_iter().collect(),
            statuses: Mutex::default(),
            leases: Leases::default(),
            fatal: watch::Sender::new(None),
        })
    }

    /// Whether everything runs.
    pub(super) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    /// What runs.
    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The journals of all storages that have started, in the order of `service::extensions`.
    pub(super) fn journals(&self) -> Vec<Named> {
        let ids = self.parts.extensions().iter();
        ids.filter_map(|id| Some((id.clone(), self.extensions.get(id)?.journal()?)))
            .collect()
    }

    /// Waits for the first fatal status.
    pub(super) async fn failed(&self) -> String {
        let mut fatal = self.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            // the sender lives as long as `self`
            Err(_) => std::future::pending().await,
        }
    }
}

impl Host for RoofHost {
    fn exporter(&self, id: &ComponentId) -> Result<Arc<dyn Consumer>, Fault> {
        let found = self.graph.exporter(id);
        found.ok_or_else(|| Fault::World(format!("no exporter {id} in any pipeline")))
    }

    fn extension(&self, id: &ComponentId) -> Result<Arc<dyn Extension>, Fault> {
        self.extensions
            .get(id)
            .cloned()
            .ok_or_else(|| Fault::World(format!("extension {id} is not listed in service::extensions")))
    }

    fn report(&self, component: &str, status: Status) {
        {
            let mut statuses = self.statuses.lock();
            let before = statuses.get(component).map(|reported| &reported.status);
            if before == Some(&status) || (before.is_none() && status == Status::Ok) {
                return;
            }
            let reported = Reported {
                status: status.clone(),
                since: SystemTime::now(),
            };
            statuses.insert(component.to_owned(), reported);
        }
        super::log_status(component, &status);
        if let Status::Fatal(why) = status {
            self.fatal.send_if_modified(|fatal| {
                let first = fatal.is_none();
                if first {
                    *fatal = Some(format!("{component}: {why}"));
                }
                first
            });
        }
    }

    fn listen<'a>(
        &'a self,
        owner: &'a str,
        endpoint: &'a str,
        transport: Transport,
    ) -> BoxFuture<'a, std::io::Result<Listener>> {
        Box::pin(self.leases.listen(owner, endpoint, transport))
    }

    fn health(&self) -> Health {
        let statuses = self.statuses.lock();
        // Components report by id alone. Receivers and connectors never do: one that shares its id with an exporter
        // is not meant.
        let reports = |kind: &str| ["exporter", "processor", "extension"].contains(&kind);
        let how = |kind: &str, id: &ComponentId| {
            let found = statuses.get(&id.to_string()).filter(|_| reports(kind)).cloned();
            let reported = found.unwrap_or(Reported {
                status: Status::Ok,
                since: self.built,
            });
            (format!("{kind}:{id}"), reported)
        };
        let pipelines = self.parts.pipelines().iter().map(|p| {
            let kinds = [
                ("receiver", &p.receivers),
                ("processor", &p.processors),
                ("exporter", &p.exporters),
            ];
            let members = kinds
                .into_iter()
                .flat_map(|(kind, ids)| ids.iter().map(move |id| (kind, id)));
            (
                p.id.to_string(),
                members.map(|(kind, id)| how(kind, id)).collect(),
            )
        });
        Health {
            pipelines: pipelines.collect(),
            extensions: self
                .parts
                .extensions()
                .iter()
                .map(|id| how("extension", id))
                .collect(),
        }
    }

    fn configuration(&self) -> Option<String> {
        Some(self.parts.effective().to_json())
    }
}

/// A running service, as the admin listener sees it.
pub(super) struct Desk {
    pub(super) host: Arc<RoofHost>,
    pub(super) reloader: Reloader,
}

impl Gateway for Desk {
    fn telemetry(&self) -> &Telemetry {
        &self.host.telemetry
    }

    fn is_ready(&self) -> bool {
        self.host.ready.load(Relaxed)
    }

    fn plan(&self) -> String {
        self.host.graph.plan().to_string()
    }

    fn health(&self) -> Health {
        self.host.health()
    }

    fn journals(&self) -> Vec<Named> {
        self.host.journals()
    }

    fn configuration(&self) -> String {
        self.host.parts.effective().to_json()
    }

    fn reload(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            let done = self.reloader.reload("admin").await;
            done.map(|diff| diff.to_string())
                .map_err(|faults| faults.report(true))
        })
    }
}

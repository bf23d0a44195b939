//! The host that components see: other exporters by id, extensions, and a place to say how they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use component::{Audit, BoxFuture, Consumer, Extension, Fault, Health, Host, Reported, Shared, Status};
use config::ComponentId;
use engine::pipeline::Graph;
use net::server::{Listener, Transport};
use parking_lot::Mutex;
use telemetry::Telemetry;
use tokio::sync::watch;

use super::admin::Gateway;
use super::audit::keys::Wanted;
use super::audit::{self, Trail};
use super::effective::Parts;
use super::journals::Named;
use super::leases::Leases;
use super::reload::Reloader;

/// One configuration at work.
pub(super) struct Live {
    pub(super) graph: Arc<Graph>,
    /// In the order in which they start.
    pub(super) extensions: Vec<(ComponentId, Arc<dyn Extension>)>,
    pub(super) parts: Parts,
    pub(super) built: SystemTime,
    /// What it says of the audit trail.
    pub(super) wanted: Wanted,
}

/// One per service.
pub(super) struct RoofHost {
    live: ArcSwap<Live>,
    telemetry: Telemetry,
    ready: AtomicBool,
    statuses: Mutex<HashMap<String, Reported>>,
    pub(super) leases: Leases,
    pub(super) trail: Arc<Trail>,
    fatal: watch::Sender<Option<String>>,
}

impl RoofHost {
    pub(super) fn new(live: Live, telemetry: Telemetry, trail: Arc<Trail>) -> Arc<RoofHost> {
        Arc::new(RoofHost {
            live: ArcSwap::from_pointee(live),
            telemetry,
            ready: AtomicBool::new(false),
            statuses: Mutex::default(),
            leases: Leases::default(),
            trail,
            fatal: watch::Sender::new(None),
        })
    }

    /// Whether everything runs.
    pub(super) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    /// What runs.
    pub(super) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// From now on this is what runs.
    pub(super) fn set_live(&self, live: Arc<Live>) {
        self.live.store(live);
    }

    /// Forgets how these are: they are new, or gone.
    pub(super) fn forget(&self, ids: impl Iterator<Item = String>) {
        let mut statuses = self.statuses.lock();
        for id in ids {
            statuses.remove(&id);
        }
    }

    /// The journals of all storages that have started, in the order of `service::extensions`.
    pub(super) fn journals(&self) -> Vec<Named> {
        let live = self.live();
        let all = live.extensions.iter();
        all.filter_map(|(id, extension)| Some((id.clone(), extension.journal()?)))
            .collect()
    }

    /// The first fatal status, if there was one.
    pub(super) fn why_failed(&self) -> Option<String> {
        self.fatal.borrow().clone()
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
        let found = self.live().graph.exporter(id);
        found.ok_or_else(|| Fault::World(format!("no exporter {id} in any pipeline")))
    }

    fn extension(&self, id: &ComponentId) -> Result<Arc<dyn Extension>, Fault> {
        let live = self.live();
        let found = live.extensions.iter().find(|(known, _)| known == id);
        found
            .map(|(_, extension)| extension.clone())
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
        if matches!(status, Status::Permanent(_)) {
            self.trail.tell(audit::disabled(component));
        }
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

    fn share(&self, owner: &str, what: &str, make: fn() -> Shared) -> Shared {
        self.leases.share(owner, what, make)
    }

    fn audit(&self) -> Option<Arc<dyn Audit>> {
        Some(self.trail.clone())
    }

    fn health(&self) -> Health {
        let live = self.live();
        let statuses = self.statuses.lock();
        // Components report by id alone. Receivers and connectors never do: one that shares its id with an exporter
        // is not meant.
        let reports = |kind: &str| ["exporter", "processor", "extension"].contains(&kind);
        let how = |kind: &str, id: &ComponentId| {
            let found = statuses.get(&id.to_string()).filter(|_| reports(kind)).cloned();
            let reported = found.unwrap_or(Reported {
                status: Status::Ok,
                since: live.built,
            });
            (format!("{kind}:{id}"), reported)
        };
        let pipelines = live.parts.pipelines().iter().map(|p| {
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
            extensions: live
                .parts
                .extensions()
                .iter()
                .map(|id| how("extension", id))
                .collect(),
        }
    }

    fn configuration(&self) -> Option<String> {
        Some(self.live().parts.effective().to_json())
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
        self.host.live().graph.plan().to_string()
    }

    fn health(&self) -> Health {
        self.host.health()
    }

    fn journals(&self) -> Vec<Named> {
        self.host.journals()
    }

    fn configuration(&self) -> String {
        self.host.live().parts.effective().to_json()
    }

    fn trail(&self) -> Option<&Trail> {
        Some(&self.host.trail)
    }

    fn reload(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            let done = self.reloader.reload("admin").await;
            done.map(|diff| diff.to_string())
                .map_err(|faults| faults.report(true))
        })
    }
}

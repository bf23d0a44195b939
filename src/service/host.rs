//! The host that components see: other exporters by id, extensions, and a place to say how they are.

use std::collections::HashMap;
use std::sync::Arc;

use component::{Consumer, Extension, Fault, Host, Status};
use config::ComponentId;
use engine::pipeline::Graph;
use parking_lot::Mutex;
use tokio::sync::watch;

/// One per service.
pub(super) struct RoofHost {
    graph: Arc<Graph>,
    extensions: HashMap<ComponentId, Arc<dyn Extension>>,
    statuses: Mutex<HashMap<String, Status>>,
    fatal: watch::Sender<Option<String>>,
}

impl RoofHost {
    pub(super) fn new(
        graph: Arc<Graph>,
        extensions: Vec<(ComponentId, Arc<dyn Extension>)>,
    ) -> Arc<RoofHost> {
        Arc::new(RoofHost {
            graph,
            extensions: extensions.into_iter().collect(),
            statuses: Mutex::default(),
            fatal: watch::Sender::new(None),
        })
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
        let before = self.statuses.lock().insert(component.to_owned(), status.clone());
        if before.as_ref() == Some(&status) || (before.is_none() && status == Status::Ok) {
            return;
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
}

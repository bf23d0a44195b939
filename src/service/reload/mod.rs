//! A new configuration for a running gateway: checked whole first, then put in the place of the old one.
//!
//! [`Service::reload`] reads the sources again, [`Service::apply`] takes a configuration that was read. One reload runs
//! at a time. What is wrong with the new configuration is told, and nothing has changed then.

mod diff;
mod watch;

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use component::{Audit, Event, Extension, Fault};
use config::{ComponentId, Diag, Diags};
use engine::pipeline::{Graph, GraphContext};
use telemetry::names;
use tokio::time::Instant;
use tracing::{error, info, warn};

pub use self::diff::{Diff, Fate};
pub use self::watch::Stamp;
use super::audit;
use super::effective::Parts;
use super::host::Live;
use super::limits::Limits;
use super::{Loaded, Service, diags};

/// Reads the configuration again, whatever its sources are.
pub type Source = Box<dyn Fn() -> Result<Loaded, Diags> + Send + Sync>;

/// Asks a service to reload, for whoever must not keep it alive.
#[derive(Clone)]
pub struct Reloader(pub(super) Weak<Service>);

impl Reloader {
    /// [`Service::reload`]. Errors: also that the service is gone.
    pub async fn reload(&self, trigger: &'static str) -> Result<Diff, Diags> {
        match self.0.upgrade() {
            Some(service) => service.reload(trigger).await,
            None => Err(Diag::new(None, "service", "the service has stopped").into()),
        }
    }
}

impl Service {
    /// Where the configuration comes from, for [`Service::reload`]; the first call counts.
    pub fn reload_from(&self, source: Source) {
        let _ = self.source.set(source);
    }

    /// For whoever may ask for a reload.
    pub fn reloader(&self) -> Reloader {
        Reloader(self.me.clone())
    }

    /// Reads the configuration again and applies it; `trigger` is for the log (`hangup`, `file`, `admin`).
    ///
    /// Errors: what is wrong with it; everything goes on as before.
    pub async fn reload(&self, trigger: &'static str) -> Result<Diff, Diags> {
        let me = self.me.clone();
        let read = tokio::task::spawn_blocking(move || {
            let service = me.upgrade()?;
            let source = service.source.get()?;
            Some(source())
        });
        let none = || Diag::new(None, "service", "this service has no source to read again");
        let loaded = match read.await {
            Ok(Some(Ok(loaded))) => loaded,
            Ok(Some(Err(faults))) => return self.told(trigger, Err(faults)),
            Ok(None) => return self.told(trigger, Err(none().into())),
            Err(error) => {
                return self.told(trigger, Err(Diag::new(None, "service", error.to_string()).into()));
            }
        };
        self.apply(trigger, loaded).await
    }

    /// Puts a configuration in the place of the one that runs.
    ///
    /// Errors: what is wrong with it; everything goes on as before.
    pub async fn apply(&self, trigger: &'static str, loaded: Loaded) -> Result<Diff, Diags> {
        let _one_at_a_time = self.reloading.lock().await;
        let done = self.replace(trigger, loaded).await;
        self.told(trigger, done)
    }

    /// Counts and logs how a reload went.
    fn told(&self, trigger: &'static str, done: Result<Diff, Diags>) -> Result<Diff, Diags> {
        let metrics = &self.telemetry.metrics;
        metrics.counter(names::RELOAD_ATTEMPTS, Vec::new()).add(1);
        match &done {
            Ok(diff) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let seconds = now.map_or(0, |d| d.as_secs());
                metrics
                    .gauge(names::RELOAD_LAST_SUCCESS, Vec::new())
                    .set(i64::try_from(seconds).unwrap_or(i64::MAX));
                for key in &diff.at_restart {
                    warn!(
                        config = key.as_str(),
                        "takes effect when the process starts again"
                    );
                }
                info!(trigger, changes = %diff.to_string().trim_end(), "configuration reloaded");
            }
            Err(faults) => {
                metrics.counter(names::RELOAD_FAILURES, Vec::new()).add(1);
                let running = self.origin.lock().clone();
                self.host.trail.tell(audit::rejected(trigger, &running, faults));
                error!(
                    trigger,
                    error = faults.report(false).trim_end(),
                    "configuration not reloaded, everything goes on as before"
                );
            }
        }
        done
    }

    async fn replace(&self, trigger: &'static str, loaded: Loaded) -> Result<Diff, Diags> {
        // Built once for nothing: what is wrong is told before anything real is touched, and what a component is
        // can be read from its section.
        let trial = Service::build(loaded.clone())?;
        let (old, next) = (self.host.live(), trial.host.live());
        let diff = Diff::of(&old, &next);
        let wanted = next.wanted.clone();
        drop((trial, next));
        let cx = GraphContext {
            telemetry: self.telemetry.clone(),
            memory: self.memory.clone(),
            info: super::INFO,
            gates: loaded.gates.clone(),
        };
        let parts = Parts::of(&loaded);
        let origin = loaded.origin;
        let running = |id: &ComponentId| {
            let found = old.extensions.iter().find(|(known, _)| known == id);
            found.map(|(_, extension)| extension.clone())
        };
        Diags::check(diff.refused())?;
        let kept = |id: &ComponentId| running(id).filter(|_| diff.is_kept("extensions", id));
        let (extensions, faults) =
            super::make_extensions(loaded.extensions, &loaded.extensions_used, &cx, kept);
        Diags::check(faults)?;
        let mut spec = loaded.spec;
        spec.extensions = Some(extensions.iter().cloned().collect());
        let graph = Graph::build_after(spec, &cx, &old.graph, &diff.kept());
        let path = "service::pipelines";
        let graph =
            graph.map_err(|faults| Diags(faults.into_iter().flat_map(|f| diags(f, path)).collect()))?;
        let live = Arc::new(Live {
            graph: Arc::new(graph),
            extensions,
            parts,
            built: SystemTime::now(),
            wanted,
        });
        self.switch(&old, live.clone(), &diff).await?;
        let before = std::mem::replace(&mut *self.origin.lock(), origin.clone());
        let changed = audit::changes(&old.parts, &live.parts);
        let text = match self.host.trail.is_on() {
            true => self.host.trail.keep(&audit::text_of(&live.parts)),
            false => None,
        };
        let act = audit::reloaded(trigger, &before, &origin, text, changed, &diff.at_restart);
        self.host.trail.tell(act);
        self.host.trail.want(&live.wanted);
        *self.files.lock() = loaded.files;
        self.life.send_replace(loaded.life);
        Ok(diff)
    }

    /// Starts what is new, lets it take over, and sees to it that what was replaced stops.
    async fn switch(&self, old: &Arc<Live>, live: Arc<Live>, diff: &Diff) -> Result<(), Diags> {
        let host = &self.host;
        let is_new = |(id, _): &&(ComponentId, Arc<dyn Extension>)| !diff.is_kept("extensions", id);
        host.leases.begin(diff.leaving()).await;
        if live.wanted.is_on {
            // Its first record is of the configuration that still runs.
            self.begin_trail(&live.wanted);
        }
        host.set_live(live.clone());
        let mut started = Vec::new();
        let taken_over = async {
            for (id, extension) in live.extensions.iter().filter(is_new) {
                let start = extension.start(host.clone()).await;
                start.map_err(|fault| Fault::World(format!("failed to start extensions: {id}: {fault}")))?;
                started.push(extension.clone());
            }
            if live.wanted.is_on {
                self.open_trail(&live.wanted).await.map_err(Fault::World)?;
            }
            live.graph.take_over(&old.graph, host.clone()).await
        };
        let retired = match taken_over.await {
            Ok(retired) => retired,
            Err(fault) => {
                host.set_live(old.clone());
                host.trail.want(&old.wanted);
                // Back to its journal before the one that it may have now is closed.
                if old.wanted.is_on
                    && let Err(error) = self.open_trail(&old.wanted).await
                {
                    tracing::error!(error, "the audit trail has no journal");
                }
                for extension in started.iter().rev() {
                    extension.stop().await;
                }
                host.leases.end(false).await;
                return Err(Diags(diags(fault, "service")));
            }
        };
        host.leases.end(true).await;
        host.forget(diff.moved().map(ToString::to_string));
        *self.limits.lock() = Some(Limits::watch(self.memory.limiters(), &self.host()));
        for extension in &started {
            extension.notify(Event::Ready);
        }
        let deadline = self.drain_max();
        let gone = old
            .extensions
            .iter()
            .filter(is_new)
            .map(|(_, extension)| extension.clone());
        let gone: Vec<_> = gone.collect();
        let mut retiring = self.retiring.lock();
        while retiring.try_join_next().is_some() {}
        retiring.spawn(async move {
            retired.drain(Instant::now() + deadline).await;
            for extension in gone.iter().rev() {
                extension.stop().await;
            }
        });
        Ok(())
    }
}

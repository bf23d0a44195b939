//! From a configuration to a running gateway and back down.
//!
//! [`load`] reads and checks the text, [`Service::build`] makes the components and the graph (no port is opened, no
//! peer is called: this is all that `weir validate` does), [`Service::start`] opens the doors, [`Service::stop`] closes
//! them and waits until what was taken is delivered.

pub mod admin;
pub(crate) mod audit;
mod effective;
mod host;
pub(crate) mod journals;
pub mod keys;
pub mod known;
mod leases;
mod limits;
mod lints;
pub mod providers;
pub mod registry;
pub mod reload;
pub mod self_telemetry;
pub mod sending;
mod tenants;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use component::{Audit, BuildContext, BuildInfo, Event, Extension, Fault, Host, Memory, Status};
use config::{ComponentId, Diag, Diags, Effective, Gates, Place, Section, Stage};
use engine::pipeline::{Graph, GraphContext, GraphSpec, PipelineSpec, Plan};
use registry::Factory;
use telemetry::Telemetry;
use telemetry::logs::{Guard, Record};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};
use wire::Signal;

use audit::Trail;
use audit::keys::Wanted;
use host::{Desk, Live, RoofHost};
use journals::Keeper;
use keys::Life;
use limits::Limits;
use self_telemetry::{Running, Settings};

/// What the process calls itself.
pub const INFO: BuildInfo = BuildInfo {
    command: "weir",
    version: env!("CARGO_PKG_VERSION"),
};

/// A configuration that was read. What is wrong with its components is found by building them.
#[derive(Clone)]
pub struct Loaded {
    /// What the user should know, though it works.
    pub warnings: Vec<Diag>,
    /// What `--feature-gates` switched.
    gates: Arc<Gates>,
    /// `service::telemetry`.
    pub settings: Settings,
    /// Of the structure, and types that are not known: nothing runs then, but everything else is still checked.
    faults: Vec<Diag>,
    spec: GraphSpec,
    extensions: BTreeMap<ComponentId, (&'static component::ExtensionFactory, Section)>,
    extensions_used: Vec<ComponentId>,
    telemetry: Section,
    /// `service::admin`; `None` = off.
    admin: Option<admin::Settings>,
    /// `service::reload` and `service::shutdown`.
    life: Life,
    /// Files that the text is made of, for `service::reload::watch`, as they were before they were read; whoever read
    /// the sources adds theirs.
    pub files: Vec<reload::Stamp>,
    /// Blocks of `service` that the collector does not have.
    own: BTreeMap<&'static str, Section>,
    /// What it was made of.
    origin: audit::Origin,
}

/// Reads configuration texts (name, text), left to right, later ones over earlier ones.
pub fn load(sources: &[(String, String)], gates: &Gates) -> Result<Loaded, Diags> {
    let world = providers::Noting::default();
    let (document, mut warnings) = config::load(sources, &world, gates)?;
    let mut faults = document.faults;
    let mut pipelines = document.service.pipelines;
    audit::keys::reserve(&mut pipelines, &document.service.own, &mut faults);
    let mut cx = Resolve {
        warnings: &mut warnings,
        faults: &mut faults,
    };
    let mut spec = GraphSpec {
        receivers: cx.factories(document.receivers),
        processors: cx.factories(document.processors),
        exporters: cx.factories(document.exporters),
        connectors: cx.factories(document.connectors),
        extensions: None,
        pipelines: pipelines.into_iter().filter_map(pipeline).collect(),
    };
    audit::keys::supply(&mut spec);
    let extensions = cx.factories(document.extensions);
    let extensions_used = document
        .service
        .extensions
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    let telemetry = document.service.telemetry;
    let settings = match Settings::read(telemetry.clone()) {
        Ok((settings, more)) => {
            warnings.extend(more);
            settings
        }
        Err(Diags(more)) => {
            faults.extend(more);
            Settings::default()
        }
    };
    let own = document.service.own;
    let admin = own
        .get("admin")
        .map(|section| admin::Settings::read(section.clone()));
    let admin = admin.transpose().unwrap_or_else(|Diags(more)| {
        faults.extend(more);
        None
    });
    let life = Life::read(&own).unwrap_or_else(|Diags(more)| {
        faults.extend(more);
        Life::default()
    });
    Ok(Loaded {
        warnings,
        gates: Arc::new(gates.clone()),
        settings,
        admin,
        life,
        files: world.files(),
        own,
        faults,
        spec,
        extensions,
        extensions_used,
        telemetry,
        origin: audit::Origin::of(sources),
    })
}

/// Ids as the graph wants them; the signal's name was checked when the id was read.
fn pipeline(p: config::Pipeline) -> Option<PipelineSpec> {
    let ids = |list: Vec<(ComponentId, Place)>| list.into_iter().map(|(id, _)| id).collect();
    Some(PipelineSpec {
        signal: Signal::parse(&p.id.signal)?,
        id: p.id,
        receivers: ids(p.receivers),
        processors: ids(p.processors),
        exporters: ids(p.exporters),
    })
}

struct Resolve<'a> {
    warnings: &'a mut Vec<Diag>,
    faults: &'a mut Vec<Diag>,
}

impl Resolve<'_> {
    fn factories<F: Factory>(
        &mut self,
        sections: Vec<(ComponentId, Section)>,
    ) -> BTreeMap<ComponentId, (&'static F, Section)> {
        let mut known = BTreeMap::new();
        for (id, section) in sections {
            let Some(found) = registry::find::<F>(&id.kind) else {
                self.faults.extend(registry::unknown::<F>(&id, &section).0);
                continue;
            };
            if found.by_alias {
                let message = format!(
                    "{:?} alias is deprecated; use {:?} instead",
                    id.kind,
                    found.factory.kind()
                );
                self.warnings
                    .push(Diag::new(section.place(), section.path(), message));
            }
            known.insert(id, (found.factory, section));
        }
        known
    }
}

/// Everything that can be checked without opening a port. The answer is the plan and the warnings.
pub fn validate(sources: &[(String, String)], gates: &Gates) -> Result<(Plan, Vec<Diag>), Diags> {
    let loaded = load(sources, gates)?;
    let mut warnings = loaded.warnings.clone();
    let parts = effective::Parts::of(&loaded);
    let service = Service::build(loaded)?;
    let plan = service.plan();
    warnings.extend(lints::all(&parts, &plan));
    Ok((plan, warnings))
}

/// What a reload from one configuration to another would change. Both are checked, no port is opened.
pub fn diff(
    old: &[(String, String)],
    new: &[(String, String)],
    gates: &Gates,
) -> Result<reload::Diff, Diags> {
    let (old, new) = (load(old, gates)?, load(new, gates)?);
    let (old, new) = (Service::build(old)?.host.live(), Service::build(new)?.host.live());
    Ok(reload::Diff::of(&old, &new))
}

/// The configuration with every default filled in. Without `rules`, one that can be read but breaks a rule is shown
/// all the same.
pub fn effective(
    sources: &[(String, String)],
    gates: &Gates,
    rules: bool,
) -> Result<(Effective, Vec<Diag>), Diags> {
    let loaded = load(sources, gates)?;
    let warnings = loaded.warnings.clone();
    let parts = effective::Parts::of(&loaded);
    if let Err(Diags(faults)) = Service::build(loaded) {
        let counts = |fault: &Diag| rules || fault.stage <= Stage::Decode;
        Diags::check(faults.into_iter().filter(counts).collect())?;
    }
    Ok((parts.effective(), warnings))
}

/// A gateway: built, perhaps running.
pub struct Service {
    host: Arc<RoofHost>,
    telemetry: Telemetry,
    settings: Settings,
    running: tokio::sync::Mutex<Option<Running>>,
    /// What log processors ship, until the service starts.
    outboxes: parking_lot::Mutex<Vec<mpsc::Receiver<Record>>>,
    memory: Arc<Memory>,
    limits: parking_lot::Mutex<Option<Limits>>,
    life: watch::Sender<Life>,
    files: parking_lot::Mutex<Vec<reload::Stamp>>,
    /// Itself, for those that ask for a reload.
    me: Weak<Service>,
    source: OnceLock<reload::Source>,
    reloading: tokio::sync::Mutex<()>,
    /// What reloads have replaced and what still stops.
    retiring: parking_lot::Mutex<JoinSet<()>>,
    admin: Option<admin::Settings>,
    administration: tokio::sync::Mutex<Option<admin::Listener>>,
    keeper: tokio::sync::Mutex<Option<Keeper>>,
    /// The configuration at work, as the audit trail knows it.
    origin: parking_lot::Mutex<audit::Origin>,
}

impl Service {
    /// Makes every component and connects them. Nothing is opened; all faults come at once.
    pub fn build(loaded: Loaded) -> Result<Arc<Service>, Diags> {
        let telemetry = Telemetry {
            level: loaded.settings.level(),
            ..Telemetry::default()
        };
        telemetry::process::register(&telemetry.metrics);
        let memory = Arc::new(Memory::of_machine());
        let cx = GraphContext {
            telemetry: telemetry.clone(),
            memory: memory.clone(),
            info: INFO,
            gates: loaded.gates.clone(),
        };
        let parts = effective::Parts::of(&loaded);
        let own = loaded.own;
        let mut spec = loaded.spec;
        let mut faults = loaded.faults;
        let (extensions, more) = make_extensions(loaded.extensions, &loaded.extensions_used, &cx, |_| None);
        faults.extend(more);
        let graph = match faults.is_empty() {
            true => {
                spec.extensions = Some(extensions.iter().cloned().collect());
                Graph::build(spec, &cx)
            }
            false => Err(Graph::check(&spec, &cx)),
        };
        let graph = graph.and_then(|graph| match Wanted::read(&own, &parts) {
            Ok(wanted) => Ok((graph, wanted)),
            Err(faults) => Err(vec![faults.into()]),
        });
        match graph {
            Ok((graph, wanted)) => {
                let live = Live {
                    graph: Arc::new(graph),
                    extensions,
                    parts,
                    built: SystemTime::now(),
                    wanted,
                };
                let trail = Trail::new(&telemetry, &memory);
                let host = RoofHost::new(live, telemetry.clone(), trail);
                Ok(Arc::new_cyclic(|me| Service {
                    host,
                    telemetry,
                    settings: loaded.settings,
                    running: tokio::sync::Mutex::default(),
                    outboxes: parking_lot::Mutex::default(),
                    memory,
                    limits: parking_lot::Mutex::default(),
                    life: watch::Sender::new(loaded.life),
                    files: parking_lot::Mutex::new(loaded.files),
                    me: me.clone(),
                    source: OnceLock::new(),
                    reloading: tokio::sync::Mutex::default(),
                    retiring: parking_lot::Mutex::default(),
                    admin: loaded.admin,
                    administration: tokio::sync::Mutex::default(),
                    keeper: tokio::sync::Mutex::default(),
                    origin: parking_lot::Mutex::new(loaded.origin),
                }))
            }
            Err(more) => {
                faults.extend(
                    more.into_iter()
                        .flat_map(|fault| diags(fault, "service::pipelines")),
                );
                faults.sort_by(|a, b| a.place_order().cmp(&b.place_order()));
                // a processor is built for each of its pipelines, with the same faults each time
                faults.dedup();
                Err(Diags(faults))
            }
        }
    }

    /// Opens everything, from the exporters up to the receivers. On an error what was opened is closed again.
    pub async fn start(&self) -> Result<(), Fault> {
        info!(version = INFO.version, cpus = cpus(), "Starting weir...");
        self.begin_trail(&self.host.live().wanted);
        let started = self.open().await;
        if started.is_err() {
            self.stop(Duration::ZERO).await;
        } else {
            self.host.set_ready(true);
            for (_, extension) in &self.host.live().extensions {
                extension.notify(Event::Ready);
            }
            info!("Everything is ready. Begin running and processing data.");
        }
        started
    }

    async fn open(&self) -> Result<(), Fault> {
        let outboxes = std::mem::take(&mut *self.outboxes.lock());
        let running = Running::start(&self.settings, &self.telemetry, outboxes).await?;
        *self.running.lock().await = Some(running);
        if let Some(settings) = &self.admin {
            let desk = Desk {
                host: self.host.clone(),
                reloader: self.reloader(),
            };
            let listener = admin::Listener::start(settings, Arc::new(desk)).await?;
            *self.administration.lock().await = Some(listener);
        }
        let live = self.host.live();
        for (id, extension) in &live.extensions {
            extension
                .start(self.host.clone())
                .await
                .map_err(|fault| Fault::World(format!("failed to start extensions: {id}: {fault}")))?;
        }
        self.open_trail(&live.wanted).await.map_err(Fault::World)?;
        *self.keeper.lock().await =
            Keeper::start(self.host.journals(), &self.telemetry, self.host.clone()).await;
        let limits = Limits::watch(self.memory.limiters(), &self.host());
        *self.limits.lock() = Some(limits);
        live.graph.start(self.host.clone()).await?;
        self.host.trail.tell_carried();
        Ok(())
    }

    /// Records from now on, if that is wanted: first what runs.
    fn begin_trail(&self, wanted: &Wanted) {
        let trail = &self.host.trail;
        if trail.want(wanted) {
            let origin = self.origin.lock().clone();
            trail.tell(audit::started(&origin));
            let text = trail.keep(&audit::text_of(&self.host.live().parts));
            trail.tell(audit::loaded(&origin, text));
        }
    }

    /// Keeps the records where they are to be kept. Errors: in words.
    async fn open_trail(&self, wanted: &Wanted) -> Result<(), String> {
        if !wanted.is_on {
            return Ok(());
        }
        let storage = wanted.storage.clone().map(|id| {
            let found = self.host.extension(&id).ok();
            (id, found.and_then(|extension| extension.journal()))
        });
        self.host.trail.open(storage).await
    }

    /// Closes the doors, delivers what was taken (at most `drain_max`), closes the rest. Safe twice.
    pub async fn stop(&self, drain_max: Duration) {
        info!("Starting shutdown...");
        self.host.set_ready(false);
        // A reload that runs comes to its end first; none begins any more.
        let _no_reload = self.reloading.lock().await;
        let live = self.host.live();
        for (_, extension) in &live.extensions {
            extension.notify(Event::NotReady);
        }
        self.limits.lock().take();
        let last = audit::stopped(&self.origin.lock().clone(), self.host.why_failed().as_deref());
        self.host.trail.finish(last, drain_max).await;
        let end = Instant::now() + drain_max;
        let mut retiring = std::mem::take(&mut *self.retiring.lock());
        let retired = async { while retiring.join_next().await.is_some() {} };
        let (_, retired) = tokio::join!(live.graph.drain(drain_max), timeout_at(end, retired));
        if retired.is_err() {
            retiring.shutdown().await;
        }
        if let Some(keeper) = self.keeper.lock().await.take() {
            keeper.stop().await;
        }
        for (_, extension) in live.extensions.iter().rev() {
            extension.stop().await;
        }
        if let Some(listener) = self.administration.lock().await.take() {
            listener.stop().await;
        }
        info!("Shutdown complete.");
        // The last to go, so that what was said and counted until here is told.
        if let Some(running) = self.running.lock().await.take() {
            running.stop().await;
        }
    }

    /// How long [`Service::stop`] should wait: `service::shutdown::deadline`.
    pub fn drain_max(&self) -> Duration {
        self.life.borrow().shutdown.deadline.0
    }

    /// Waits until a component says that the service cannot go on.
    pub async fn failed(&self) -> String {
        self.host.failed().await
    }

    /// What was built, for `weir plan`.
    pub fn plan(&self) -> Plan {
        self.host.live().graph.plan().clone()
    }

    /// The books and the metrics.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Sends own logs where the configuration says, until the guard is dropped. Call it once, before the start.
    pub fn start_logs(&self) -> std::io::Result<Guard> {
        let (guard, outboxes) = self.settings.start_logs(&self.telemetry)?;
        *self.outboxes.lock() = outboxes;
        Ok(guard)
    }

    /// The host, for components made outside the graph.
    pub fn host(&self) -> Arc<dyn Host> {
        self.host.clone()
    }
}

/// The extensions in use, in the order in which they start: those that `kept` knows, else new ones. With all faults,
/// those of extensions that are not used too.
fn make_extensions(
    all: BTreeMap<ComponentId, (&'static component::ExtensionFactory, Section)>,
    used: &[ComponentId],
    cx: &GraphContext,
    kept: impl Fn(&ComponentId) -> Option<Arc<dyn Extension>>,
) -> (Vec<(ComponentId, Arc<dyn Extension>)>, Vec<Diag>) {
    let (mut extensions, mut faults) = (Vec::new(), Vec::new());
    for (id, (factory, section)) in all {
        if let Some(kept) = kept(&id) {
            extensions.push((id, kept));
            continue;
        }
        let cx = BuildContext {
            id: id.clone(),
            telemetry: cx.telemetry.clone(),
            memory: cx.memory.clone(),
            info: cx.info,
            gates: cx.gates.clone(),
        };
        match (factory.build)(section, &cx) {
            Ok(extension) if used.contains(&id) => extensions.push((id, extension)),
            Ok(_) => {}
            Err(fault) => faults.extend(diags(fault, &format!("extensions::{id}"))),
        }
    }
    // as the configuration lists them
    extensions.sort_by_key(|(id, _)| used.iter().position(|used| used == id));
    (in_order_of_need(extensions), faults)
}

/// The same extensions, each behind those that it needs; else the order stays. A circle is left as it is: whoever
/// starts first in it does not find the other.
fn in_order_of_need(
    mut left: Vec<(ComponentId, Arc<dyn Extension>)>,
) -> Vec<(ComponentId, Arc<dyn Extension>)> {
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |(id, one): &(ComponentId, Arc<dyn Extension>)| {
            let after = one.after();
            left.iter().any(|(other, _)| other != id && after.contains(other))
        };
        let next = left.iter().position(|one| !waits(one)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

/// A fault as messages with places; one that has none is put at `path`.
fn diags(fault: Fault, path: &str) -> Vec<Diag> {
    match fault {
        Fault::Config(Diags(list)) => list,
        Fault::World(message) => vec![Diag::new(None, path, message)],
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Logs a change of a component's state.
fn log_status(component: &str, status: &Status) {
    match status {
        Status::Ok => info!(component, "component works again"),
        Status::Recoverable(why) => warn!(
            component,
            error = why.as_str(),
            "component has trouble, goes on trying"
        ),
        Status::Permanent(why) => error!(component, error = why.as_str(), "component does not work"),
        Status::Fatal(why) => error!(component, error = why.as_str(), "the service cannot go on"),
    }
}

//! The only door from one component to anything that is not below it.

use std::any::Any;
use std::sync::Arc;
use std::time::SystemTime;

use config::{ComponentId, Gates};
use net::auth::{ClientAuth, Middleware, ServerAuth};
use net::blocks::MiddlewareBlock;
use net::server::{Listener, Transport};
use telemetry::Telemetry;

use crate::audit::Audit;
use crate::{BoxFuture, Consumer, Extension, Fault, Memory};

/// What [`Host::share`] hands on; the owner knows what it is.
pub type Shared = Arc<dyn Any + Send + Sync>;

/// What a running component may ask for.
pub trait Host: Send + Sync {
    /// An exporter with its harness, for failover and dead letters.
    fn exporter(&self, id: &ComponentId) -> Result<Arc<dyn Consumer>, Fault>;

    /// An extension that was started.
    fn extension(&self, id: &ComponentId) -> Result<Arc<dyn Extension>, Fault>;

    /// Says how a component is. A fatal status stops the service with exit code 1.
    fn report(&self, component: &str, status: Status);

    /// A socket to listen on. During a reload it is the one that a component which is about to stop has at this
    /// address: its successor takes over without a moment in which nobody listens.
    ///
    /// `owner` is who asks, as in `receiver:otlp/2`. Errors: as [`Listener::bind`].
    fn listen<'a>(
        &'a self,
        owner: &'a str,
        endpoint: &'a str,
        transport: Transport,
    ) -> BoxFuture<'a, std::io::Result<Listener>> {
        let _ = owner;
        Box::pin(Listener::bind(endpoint, transport, None))
    }

    /// What only one may have at a time and its successor goes on with, such as an open file: made by the first who
    /// asks, shared with whoever asks as the same `owner` for the same thing while somebody has it.
    fn share(&self, owner: &str, what: &str, make: fn() -> Shared) -> Shared {
        let _ = (owner, what);
        make()
    }

    /// The audit trail; `None` where nobody keeps one.
    fn audit(&self) -> Option<Arc<dyn Audit>> {
        None
    }

    /// How everything is.
    fn health(&self) -> Health {
        Health::default()
    }

    /// The configuration with every default filled in and every secret covered, as JSON.
    fn configuration(&self) -> Option<String> {
        None
    }
}

/// How everything is, as it was last reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// By pipeline (`logs/in`), each with its components (`exporter:otlp_grpc`).
    pub pipelines: Vec<(String, Vec<(String, Reported)>)>,
    /// By extension (`extension:health_check`).
    pub extensions: Vec<(String, Reported)>,
}

/// A status, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// How it is.
    pub status: Status,
    /// When that was reported; for what never reported, when the service was built.
    pub since: SystemTime,
}

/// The authenticator that a server's `auth.authenticator` names.
pub fn server_auth(host: &dyn Host, id: &str) -> Result<Arc<dyn ServerAuth>, Fault> {
    let found = authenticator(host, id)?.server_auth();
    found.ok_or_else(|| Fault::World("requested authenticator is not a server authenticator".into()))
}

/// The authenticator that a client's `auth.authenticator` names; `protocol` is `HTTP` or `gRPC`.
pub fn client_auth(host: &dyn Host, id: &str, protocol: &str) -> Result<Arc<dyn ClientAuth>, Fault> {
    let found = authenticator(host, id)?.client_auth();
    let text = || format!("requested authenticator is not a {protocol} client authenticator");
    found.ok_or_else(|| Fault::World(text()))
}

/// The extension that one of a server's `middlewares` names.
pub fn middleware(host: &dyn Host, id: &str) -> Result<Arc<dyn Middleware>, Fault> {
    let none = || format!("failed to resolve middleware \"{id}\": middleware not found");
    let found = named(host, id).ok_or_else(|| Fault::World(none()))?.middleware();
    found.ok_or_else(|| Fault::World("requested extension is not a server middleware".into()))
}

/// What a client's `middlewares` name. There is none for clients, so this is why not; `protocol` is `HTTP` or `gRPC`.
pub fn client_middlewares(host: &dyn Host, blocks: &[MiddlewareBlock], protocol: &str) -> Result<(), Fault> {
    let Some(block) = blocks.first() else {
        return Ok(());
    };
    let id = &block.id;
    Err(Fault::World(match named(host, id) {
        Some(_) => format!("\"{id}\": requested extension is not a {protocol} client middleware"),
        None => format!("failed to resolve middleware \"{id}\": middleware not found"),
    }))
}

fn authenticator(host: &dyn Host, id: &str) -> Result<Arc<dyn Extension>, Fault> {
    let none = || format!("failed to resolve authenticator \"{id}\": authenticator not found");
    named(host, id).ok_or_else(|| Fault::World(none()))
}

fn named(host: &dyn Host, id: &str) -> Option<Arc<dyn Extension>> {
    host.extension(&ComponentId::parse(id).ok()?).ok()
}

/// How a component is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Works.
    Ok,
    /// Does not work now, and tries on.
    Recoverable(String),
    /// Will not work until the configuration or the world changes.
    Permanent(String),
    /// The service cannot go on.
    Fatal(String),
}

/// What a component is built with.
#[derive(Clone)]
pub struct BuildContext {
    /// Its id as written.
    pub id: ComponentId,
    /// Where it counts.
    pub telemetry: Telemetry,
    /// The one memory budget.
    pub memory: Arc<Memory>,
    /// What the process calls itself.
    pub info: BuildInfo,
    /// What `--feature-gates` switched.
    pub gates: Arc<Gates>,
}

/// What the process calls itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// `weir`.
    pub command: &'static str,
    /// `0.1.0`.
    pub version: &'static str,
}

impl BuildInfo {
    /// What our clients call themselves: `Weir/0.1.0 (linux/x86_64)`.
    pub fn user_agent(&self) -> String {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        format!("Weir/{} ({os}/{arch})", self.version)
    }
}

/// How far a component can be relied on, in otelcol's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Complete, tested, not long in use.
    Alpha,
    /// In use.
    Beta,
    /// Will not change.
    Stable,
    /// Under construction.
    Development,
}

impl Stability {
    /// `Alpha`, `Beta`, `Stable`, `Development`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stability::Alpha => "Alpha",
            Stability::Beta => "Beta",
            Stability::Stable => "Stable",
            Stability::Development => "Development",
        }
    }
}

/// Says when to stop; every task of ours holds one.
#[derive(Clone, Debug)]
pub struct Stop(tokio::sync::watch::Receiver<bool>);

impl Stop {
    /// A switch and its signal.
    pub fn new() -> (StopSwitch, Stop) {
        let (tx, rx) = tokio::sync::watch::channel(false);
        (StopSwitch(tx), Stop(rx))
    }

    /// True once it was asked.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is asked (or the switch is gone).
    pub async fn stopped(&mut self) {
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}

/// The other end of [`Stop`].
#[derive(Debug)]
pub struct StopSwitch(tokio::sync::watch::Sender<bool>);

impl StopSwitch {
    /// Asks everyone to stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

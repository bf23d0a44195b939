//! Extensions: what serves the service itself (health, authentication, storage).

use std::sync::Arc;

use config::{ComponentId, Section, Shape};
use net::auth::{ClientAuth, Middleware, ServerAuth};
use storage::Journal;

use crate::{BoxFuture, BuildContext, Fault, Host, Stability};

/// One extension type.
pub struct ExtensionFactory {
    /// Name in the config.
    pub kind: &'static str,
    /// Other spellings that load too.
    pub aliases: &'static [&'static str],
    /// The blocks of keys that `build` reads, for `weir schema`.
    pub keys: &'static [Shape],
    /// How mature it is.
    pub stability: Stability,
    /// Parses and checks; opens nothing.
    pub build: fn(Section, &BuildContext) -> Result<Arc<dyn Extension>, Fault>,
}

/// An extension that was built.
pub trait Extension: Send + Sync {
    /// Opens what it needs. Extensions start before every other component.
    fn start<'a>(&'a self, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>>;

    /// Extensions that must have started before this one; it finds them through the host.
    fn after(&self) -> Vec<ComponentId> {
        Vec::new()
    }

    /// Itself as an authenticator of servers; `None` = it is none.
    fn server_auth(&self) -> Option<Arc<dyn ServerAuth>> {
        None
    }

    /// Itself as an authenticator of clients; `None` = it is none.
    fn client_auth(&self) -> Option<Arc<dyn ClientAuth>> {
        None
    }

    /// Itself as a middleware of servers; `None` = it is none.
    fn middleware(&self) -> Option<Arc<dyn Middleware>> {
        None
    }

    /// Itself as a storage: the journal that durable queues write to, once it has started; `None` = it is none.
    fn journal(&self) -> Option<Journal> {
        None
    }

    /// What it promises as a storage; `None` = it is none. Known before the start.
    fn storage(&self) -> Option<Storage> {
        None
    }

    /// Keys of client metadata that it reads when it authorizes requests: what waits on disk keeps them.
    fn context_keys(&self) -> Vec<String> {
        Vec::new()
    }

    /// Told when the service changes.
    fn notify(&self, event: Event) {
        let _ = event;
    }

    /// Closes. Extensions stop after every other component.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// What happens to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// All pipelines run.
    Ready,
    /// The service begins to stop.
    NotReady,
}

/// What a storage promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// What was acknowledged is safe against a power failure, not only against the end of the process.
    pub sync: bool,
    /// The most that all of it takes.
    pub bytes_max: Option<u64>,
    /// Client metadata that looks like a credential is kept too, where something behind the queue names it.
    pub keeps_secrets: bool,
}

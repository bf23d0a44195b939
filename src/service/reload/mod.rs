//! A new configuration for a running gateway: checked whole first, then put in the place of the old one.
//!
//! [`Service::reload`] reads the sources again, [`Service::apply`] takes a configuration that was read. One reload runs
//! at a time. What is wrong with the new configuration is told, and nothing has changed then.

mod diff;

use std::sync::Weak;
use std::time::SystemTime;

use config::{Diag, Diags};
use telemetry::names;
use tracing::{error, info, warn};

pub use self::diff::{Diff, Fate};
use super::{Loaded, Service};

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
        let done = self.replace(loaded).await;
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
                error!(
                    trigger,
                    error = faults.report(false).trim_end(),
                    "configuration not reloaded, everything goes on as before"
                );
            }
        }
        done
    }

    async fn replace(&self, loaded: Loaded) -> Result<Diff, Diags> {
        let next = Service::build(loaded)?;
        let diff = Diff::of(self.host.parts(), next.host.parts());
        if diff.is_empty() {
            return Ok(diff);
        }
        let text = "this change is not taken while the service runs: start it again";
        Err(Diag::new(None, "service", text).into())
    }
}

//! `weir --config ...`: run until told to stop.

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::{Given, Sources, runtime};
use crate::service::{self, Service};

/// Runs until SIGINT or SIGTERM, or until a component cannot go on.
pub(super) fn run(sources: &Sources) -> Result<(), String> {
    let Given { texts, gates } = sources.read()?;
    let loaded = service::load(&texts, &gates).map_err(|faults| faults.report(false))?;
    let warnings = loaded.warnings.clone();
    let service = Service::build(loaded).map_err(|faults| faults.report(false))?;
    let _flushed_at_end = start_logs(&service)?;
    for warning in &warnings {
        warn!(config = %warning.path, "{}", warning.message);
    }
    runtime()?.block_on(async {
        // Before anybody can be told that we are ready: a signal that comes then must find us listening.
        let stopped = stop_signal();
        service.start().await.map_err(|fault| fault.to_string())?;
        let ended = tokio::select! {
            name = stopped => {
                info!(signal = name, "Received signal from OS");
                Ok(())
            }
            why = service.failed() => Err(why),
        };
        service.stop(service.drain_max()).await;
        ended
    })
}

/// Sends own logs where the configuration says, until the guard is dropped.
pub(super) fn start_logs(service: &Service) -> Result<telemetry::logs::Guard, String> {
    let started = service.start_logs();
    started.map_err(|error| format!("cannot start the log: {error}"))
}

/// The name of the signal that asks us to stop. One that asks to read the configuration again is only noted.
///
/// Signals are listened for from the call on, not from the first poll.
pub(super) fn stop_signal() -> impl Future<Output = &'static str> {
    let handlers = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    );
    async {
        let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = handlers else {
            // without handlers the signals end the process by themselves
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = interrupt.recv() => return "interrupt",
                _ = terminate.recv() => return "terminated",
                Some(()) = hangup.recv() => {
                    warn!(signal = "hangup", "reloading is not supported yet, the configuration stays as it is: restart to change it");
                }
            }
        }
    }
}

//! `weir --config ...`: run until told to stop, read the configuration again when told so.

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::{Given, Sources, runtime};
use crate::service::{self, Service};

/// Runs until SIGINT or SIGTERM, or until a component cannot go on. A second signal ends the drain.
pub(super) fn run(sources: &Sources) -> Result<(), String> {
    let files = sources.files();
    let Given { texts, gates } = sources.read()?;
    let mut loaded = service::load(&texts, &gates).map_err(|faults| faults.report(false))?;
    loaded.files.extend(files);
    let warnings = loaded.warnings.clone();
    let service = Service::build(loaded).map_err(|faults| faults.report(false))?;
    let again = sources.clone();
    service.reload_from(Box::new(move || again.load()));
    let _flushed_at_end = start_logs(&service)?;
    for warning in &warnings {
        warn!(config = %warning.path, "{}", warning.message);
    }
    runtime()?.block_on(async {
        // Before anybody can be told that we are ready: a signal that comes then must find us listening.
        let (stopped, asked) = (stop_signal(), hang_ups(&service));
        service.start().await.map_err(|fault| fault.to_string())?;
        let ended = tokio::select! {
            name = stopped => {
                info!(signal = name, "Received signal from OS");
                Ok(())
            }
            why = service.failed() => Err(why),
            () = asked => Ok(()),
            () = service.watch() => Ok(()),
        };
        let again = stop_signal();
        tokio::select! {
            () = service.stop(service.drain_max()) => ended,
            name = again => Err(format!("stopped at once by a second signal ({name})")),
        }
    })
}

/// Sends own logs where the configuration says, until the guard is dropped.
pub(super) fn start_logs(service: &Service) -> Result<telemetry::logs::Guard, String> {
    let started = service.start_logs();
    started.map_err(|error| format!("cannot start the log: {error}"))
}

/// The name of the signal that asks us to stop.
///
/// Signals are listened for from the call on, not from the first poll.
pub(super) fn stop_signal() -> impl Future<Output = &'static str> {
    let handlers = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async {
        let (Ok(mut interrupt), Ok(mut terminate)) = handlers else {
            // without handlers the signals end the process by themselves
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => "interrupt",
            _ = terminate.recv() => "terminated",
        }
    }
}

/// Reads the configuration again at each SIGHUP; never ends. What is wrong with it is logged.
fn hang_ups(service: &Service) -> impl Future<Output = ()> {
    let hangup = signal(SignalKind::hangup());
    let reloader = service.reloader();
    async move {
        let Ok(mut hangup) = hangup else {
            return std::future::pending().await;
        };
        while hangup.recv().await.is_some() {
            let _ = reloader.reload("hangup").await;
        }
        std::future::pending().await
    }
}

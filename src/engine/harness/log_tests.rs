//! What the harness says in the log, in the collector's words.

use std::sync::Arc;
use std::time::Duration;

use component::exporter::Harness as Offer;

use super::*;
use crate::test_kit::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sends one record to an exporter configured like this; level and message of each line, with its field `error`.
fn lines(yaml: &str, acts: Vec<Act>) -> Vec<String> {
    let sink = Sink::default();
    let settings = telemetry::logs::Settings::default();
    let metrics = telemetry::Metrics::default();
    // With one subscriber alone, a place that another thread meets first is switched off for all.
    let _other = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let (dispatch, guard) =
        telemetry::logs::start(settings, Box::new(sink.clone()), &metrics).expect("starts");
    tracing::dispatcher::with_default(&dispatch, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut section = ::config::Section::from_yaml(yaml).expect("YAML");
            let settings = Settings::take(&mut section, &Offer::QUEUE_RETRY_TIMEOUT).expect("valid");
            let rig = Rig::new(Script::new(acts), settings);
            let _ = rig.send(with_deadline(logs(1), Duration::from_secs(3))).await;
            tokio::time::sleep(Duration::from_secs(1000)).await;
            rig.finish().await;
        });
    });
    drop(guard);
    let text = String::from_utf8(sink.0.lock().clone()).expect("text");
    let short = |line: &str| {
        let mut parts = line.split('\t').skip(1).filter(|part| !part.contains(".rs:"));
        let (level, message) = (parts.next().expect("a level"), parts.next().expect("a message"));
        let error = line
            .split("\"error\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        format!("{level}: {message} {}", error.unwrap_or("-"))
    };
    text.lines().map(short).collect()
}

#[test]
fn speaks_as_the_collector() {
    #[track_caller]
    fn check(yaml: &str, acts: &[Act], expected: &[&str]) {
        assert_eq!(lines(yaml, acts.to_vec()), expected, "{yaml} {acts:?}");
    }
    const NO_QUEUE: &str = "Try enabling sending_queue to survive temporary failures.";
    const NO_RETRY: &str = "Try enabling retry_on_failure config option to retry on retryable errors.";
    let again = "info: Exporting failed. Will retry the request after interval. unwell";
    check("{}", &[Act::Take], &[]);
    check("{}", &[Act::Retry], &[again]);
    check(
        "{}",
        &[Act::Reject],
        &["error: Exporting failed. Dropping data. not retryable error: bad data"],
    );
    check(
        "retry_on_failure: {max_interval: 5s, max_elapsed_time: 5s, randomization_factor: 0}",
        &[Act::Retry, Act::Retry],
        &[
            again,
            "error: Exporting failed. Dropping data. no more retries left: unwell",
        ],
    );
    check(
        "retry_on_failure: {enabled: false}",
        &[Act::Retry],
        &[&format!(
            "error: Exporting failed. Dropping data. {NO_RETRY} unwell"
        )],
    );
    check(
        "sending_queue: {enabled: false}",
        &[Act::Reject],
        &[&format!(
            "error: Exporting failed. Rejecting data. {NO_QUEUE} not retryable error: bad data"
        )],
    );
    for (queue, hint) in [
        ("{enabled: false}", format!(" {NO_QUEUE}")),
        ("{wait_for_result: true}", String::new()),
    ] {
        check(
            &format!("sending_queue: {queue}"),
            &[Act::RetryAfter(Duration::from_secs(9))],
            &[&format!(
                "error: Exporting failed. Rejecting data.{hint} request will be cancelled before next retry: slow down"
            )],
        );
    }
    check(
        "{sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}",
        &[Act::Retry],
        &[&format!(
            "error: Exporting failed. Rejecting data. {NO_RETRY} {NO_QUEUE} not retried: unwell"
        )],
    );
}

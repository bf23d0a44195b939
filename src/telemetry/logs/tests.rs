use std::sync::Arc;

use parking_lot::Mutex;
use tracing::{dispatcher, info, info_span, warn};

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `events` writes, without the times.
fn lines(settings: Settings, events: impl FnOnce()) -> Vec<String> {
    let sink = Sink::default();
    let (dispatch, guard) = start(settings, Box::new(sink.clone()), &Metrics::default()).unwrap();
    dispatcher::with_default(&dispatch, events);
    drop(guard);
    let text = String::from_utf8(sink.0.lock().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn settings(encoding: Encoding) -> Settings {
    Settings {
        encoding,
        caller: false,
        resource: vec![("service.name".into(), "weir".into())],
        ..Settings::default()
    }
}

#[test]
fn console_lines_have_tabs() {
    let lines = lines(settings(Encoding::Console), || {
        info!(component = "otlp/a", n = 3u64, "Everything is ready.\u{1b}[31m");
    });
    let columns: Vec<&str> = lines[0].split('\t').collect();
    assert_eq!(columns[0].len(), "2006-01-02T15:04:05.000Z".len());
    assert_eq!(
        columns[1..],
        [
            "info",
            "Everything is ready.\\u001b[31m",
            r#"{"resource":{"service.name":"weir"},"otelcol.component.id":"otlp/a","n":3}"#
        ]
    );
}

#[test]
fn json_lines_carry_span_fields_and_escape() {
    let lines = lines(settings(Encoding::Json), || {
        let span = info_span!("pipeline", component = "batch", pipeline = "logs");
        let _in = span.enter();
        warn!(error = %"a \"b\"\n", ratio = 0.5, nan = f64::NAN, ok = true, "will retry");
    });
    let at = lines[0].find(r#","msg""#).unwrap();
    assert!(lines[0].starts_with(r#"{"level":"warn","ts":"2"#), "{}", lines[0]);
    assert_eq!(
        &lines[0][at..],
        concat!(
            r#","msg":"will retry","resource":{"service.name":"weir"},"otelcol.component.id":"batch","#,
            r#""otelcol.pipeline.id":"logs","error":"a \"b\"\n","ratio":0.5,"nan":"NaN","ok":true}"#
        )
    );
}

#[test]
fn initial_fields_keep_their_types() {
    let mut settings = settings(Encoding::Json);
    settings.resource = Vec::new();
    settings.initial_fields = vec![
        ("cluster".into(), "a\"b".into()),
        ("shard".into(), Value::Int(3)),
        ("tags".into(), Value::List(vec!["x".into(), Value::Bool(true)])),
    ];
    let lines = lines(settings, || info!(n = 1u64, "hello"));
    let at = lines[0].find(r#","msg""#).unwrap();
    assert_eq!(
        &lines[0][at..],
        r#","msg":"hello","cluster":"a\"b","shard":3,"tags":["x",true],"n":1}"#
    );
}

#[test]
fn outboxes_get_what_is_written_and_never_block() {
    let (outbox, mut shipped) = mpsc::channel(2);
    let mut settings = settings(Encoding::Console);
    settings.initial_fields = vec![("shard".into(), Value::Int(3))];
    settings.outboxes = vec![outbox];
    let metrics = Metrics::default();
    let (dispatch, guard) = start(settings, Box::new(std::io::sink()), &metrics).unwrap();
    dispatcher::with_default(&dispatch, || {
        let span = info_span!("pipeline", component = "batch");
        let _in = span.enter();
        warn!(error = %"a", attempt = 2u64, ratio = 0.5, ok = true, "will retry");
        info!(target: UNSHIPPED, "about shipping itself");
        info!("second");
        info!("finds no room");
    });
    drop(guard);
    let first = shipped.try_recv().unwrap();
    assert_eq!(
        (first.level, first.severity, &*first.message),
        ("warn", 13, "will retry")
    );
    let fields: Vec<(&str, Value)> = first
        .fields
        .iter()
        .map(|(k, v)| (k.as_str(), v.clone()))
        .collect();
    assert_eq!(
        fields,
        [
            ("shard", Value::Int(3)),
            ("otelcol.component.id", "batch".into()),
            ("error", "a".into()),
            ("attempt", Value::Int(2)),
            ("ratio", Value::Double(0.5)),
            ("ok", Value::Bool(true)),
        ]
    );
    assert_eq!(shipped.try_recv().unwrap().message, "second");
    assert!(shipped.try_recv().is_err());
    let lost = metrics.counter(names::LOG_LINES_DROPPED, vec![("reason", "outbox".into())]);
    assert_eq!(lost.get(), 1);
}

#[test]
fn caller_has_one_directory() {
    let mut settings = settings(Encoding::Console);
    settings.caller = true;
    let lines = lines(settings, || info!("hello"));
    assert!(lines[0].contains("\tlogs/tests.rs:"), "{}", lines[0]);
}

#[test]
fn levels_and_libraries_are_filtered() {
    let written = lines(settings(Encoding::Console), || {
        tracing::debug!("no");
        info!(target: "h2::codec", "no");
        warn!(target: "h2::codec", "yes");
        info!(target: "engine::harness", "yes");
    });
    assert_eq!(written.len(), 2, "{written:?}");
}

#[test]
fn equal_lines_are_limited() {
    let written = lines(settings(Encoding::Console), || {
        for i in 0..220 {
            info!(i, "again");
        }
        info!("another");
    });
    // 10, then the 110th and 210th.
    assert_eq!(written.len(), 13, "{written:?}");
}

#[test]
fn counting_starts_again_after_a_tick() {
    let sampler = Sampler::new(Sampling {
        tick: Duration::from_secs(1),
        initial: 1,
        thereafter: 0,
    });
    let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    #[track_caller]
    fn check(admitted: bool, expected: bool) {
        assert_eq!(admitted, expected);
    }
    check(sampler.admits(&Level::INFO, "m", at(100_000)), true);
    check(sampler.admits(&Level::INFO, "m", at(100_999)), false);
    check(sampler.admits(&Level::WARN, "m", at(100_999)), true);
    check(sampler.admits(&Level::INFO, "m", at(101_000)), true);
    check(sampler.admits(&Level::INFO, "m", at(5_000)), true);
}

/// A sink that does not return until it is told to.
struct Stuck(Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_sink_costs_lines_not_time() {
    let (release, stuck) = std::sync::mpsc::channel();
    let metrics = Metrics::default();
    let mut settings = settings(Encoding::Console);
    settings.sampling = None;
    let (dispatch, guard) = start(settings, Box::new(Stuck(stuck)), &metrics).unwrap();
    dispatcher::with_default(&dispatch, || {
        for _ in 0..BACKLOG_LINES + 100 {
            info!("line");
        }
    });
    let lost = metrics.counter(names::LOG_LINES_DROPPED, vec![("reason", "backlog".into())]);
    assert!(lost.get() >= 99, "{}", lost.get());
    drop(release);
    drop(guard);
}

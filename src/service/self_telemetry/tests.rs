use super::*;

fn read(yaml: &str) -> Result<(Settings, Vec<String>), String> {
    let (settings, warnings) =
        Settings::read(Section::from_yaml(yaml).unwrap()).map_err(|e| e.to_string())?;
    Ok((settings, warnings.into_iter().map(|w| w.message).collect()))
}

#[track_caller]
fn pages(yaml: &str) -> Vec<(String, bool, bool, usize)> {
    let (settings, _) = read(yaml).unwrap();
    let pulls = settings.metrics.pulls.into_iter();
    pulls
        .map(|p| {
            (
                p.address,
                p.shape.suffixes,
                p.shape.scope,
                p.shape.constant_labels.len(),
            )
        })
        .collect()
}

fn prometheus(more: &str) -> String {
    format!("metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: h, port: 1{more}}}}}}}}}]}}")
}

#[test]
fn pages_follow_from_the_keys() {
    #[track_caller]
    fn check(yaml: &str, expected: &[(&str, bool, bool, usize)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(a, b, c, d)| ((*a).to_owned(), *b, *c, *d))
            .collect();
        assert_eq!(pages(yaml), expected, "{yaml}");
    }
    check("{}", &[("localhost:8888", false, false, 0)]);
    check(
        "metrics: {level: detailed}",
        &[("localhost:8888", false, false, 0)],
    );
    check("metrics: {level: None}", &[]);
    check("metrics: {address: ':8889'}", &[(":8889", false, false, 0)]);
    check(
        "metrics: {address: 'a:1', readers: [{pull: {exporter: {prometheus: {host: b, port: 2}}}}]}",
        &[("a:1", false, false, 0), ("b:2", false, false, 0)],
    );
    check(&prometheus(""), &[("h:1", false, false, 0)]);
    // One of the two is enough for both suffixes.
    check(&prometheus(", without_units: false"), &[("h:1", true, false, 0)]);
    check(
        &prometheus(", without_type_suffix: false"),
        &[("h:1", true, false, 0)],
    );
    check(
        &prometheus(", without_scope_info: false"),
        &[("h:1", false, true, 0)],
    );
    // An empty list means every attribute.
    check(
        &prometheus(", with_resource_constant_labels: {included: []}"),
        &[("h:1", false, false, 3)],
    );
    check(
        &prometheus(", with_resource_constant_labels: {included: [service.name, other]}"),
        &[("h:1", false, false, 1)],
    );
    check(
        &prometheus(", with_resource_constant_labels: {excluded: [service.name]}"),
        &[("h:1", false, false, 2)],
    );
    check(
        "metrics: {readers: [{pull: {exporter: {prometheus: {host: '::1', port: 1}}}}]}",
        &[("[::1]:1", false, false, 0)],
    );
    check("metrics: {readers: [{periodic: {exporter: {console: {}}}}]}", &[]);
}

#[test]
fn periodic_readers_have_the_sdks_defaults() {
    let (settings, _) = read(
        "metrics: {readers: [{periodic: {interval: 10000, exporter: {otlp: {protocol: grpc, endpoint: 'a:1'}}}}]}",
    )
    .unwrap();
    let push = &settings.metrics.pushes[0];
    assert_eq!(
        (push.interval, push.timeout),
        (Duration::from_secs(10), Duration::from_secs(30))
    );
    let (settings, _) = read("metrics: {readers: [{periodic: {exporter: {console: {}}}}]}").unwrap();
    assert_eq!(settings.metrics.pushes[0].interval, Duration::from_secs(60));
}

#[test]
fn warnings_name_what_is_old_or_without_effect() {
    #[track_caller]
    fn check(yaml: &str, expected: &[&str]) {
        let (_, warnings) = read(yaml).unwrap();
        assert_eq!(warnings.len(), expected.len(), "{yaml}: {warnings:?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.contains(expected), "{yaml}: {warning}");
        }
    }
    check("{}", &[]);
    check(
        "metrics: {address: '127.0.0.1:8889', level: normal}",
        &["deprecated"],
    );
    check(
        "resource: {service.name: gw}",
        &["inline resource attributes are deprecated"],
    );
    check("resource: {attributes: [{name: a, value: b}]}", &[]);
    check(
        "traces: {level: detailed, propagators: [b3], processors: [{batch: {exporter: {console: {}}}}], \
         sampler: {always_on: {}}}",
        &["own spans are not made yet"],
    );
    check("traces: {level: none, processors: [{simple: {}}]}", &[]);
}

#[test]
fn faults_are_the_collectors_and_come_at_once() {
    #[track_caller]
    fn check(yaml: &str, expected: &[&str]) {
        let error = read(yaml).unwrap_err();
        for expected in expected {
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
    check(
        "metrics: {level: high}",
        &["metrics::level", "unknown metrics level"],
    );
    check(
        "metrics: {readers: []}",
        &["collector telemetry metrics reader should exist when metric level is not none"],
    );
    read("metrics: {level: none, readers: []}").unwrap();
    check(
        "metrics: {readers: [{pull: {exporter: {prometheus: {}}}}]}",
        &["host must be specified", "port must be specified"],
    );
    check("metrics: {readers: [{}]}", &["no valid metric reader"]);
    check(
        "metrics: {readers: [{pull: {exporter: {prometheus: {host: a, port: 1}}}, periodic: {}}]}",
        &["must not specify multiple metric reader type"],
    );
    check(
        "metrics: {readers: [{pull: {exporter: {}}}]}",
        &["no valid metric exporter"],
    );
    check("metrics: {address: nowhere}", &["must be host:port"]);
    check(
        "metrics: {views: [{selector: {instrument_name: a}, stream: {aggregation: {drop: {}}}}]}",
        &["views can only be set when service::telemetry::metrics::level is detailed"],
    );
    check(
        "metrics: {level: detailed, views: [{selector: {}, stream: {}}, {selector: {instrument_type: x}, \
         stream: {aggregation: {explicit_bucket_histogram: {boundaries: [1]}}}}]}",
        &[
            "empty selector",
            "unknown instrument type",
            "explicit_bucket_histogram is not supported",
        ],
    );
    check(
        "traces: {propagators: [jaeger]}",
        &["unsupported trace propagator"],
    );
    check("traces: {level: all}", &["unknown traces level"]);
    check(
        "logs: {level: loud, encoding: xml, output_paths: ['http://a'], processors: [{}, \
         {batch: {exporter: {console: {}}, max_queue_size: 0}}]}",
        &[
            "unrecognized level",
            "no encoder registered",
            "no sink found for scheme",
            "unsupported log processor type",
            "invalid max_queue_size",
        ],
    );
    check("logs: {colour: red}", &["colour"]);
    check(
        "{resource: {attributes: [], a: b}, logs: {level: loud}}",
        &["cannot be used together", "unrecognized level"],
    );
}

#[test]
fn log_keys_are_the_collectors() {
    let (settings, _) = read(
        "logs: {level: DPanic, encoding: json, development: true, disable_caller: true, disable_stacktrace: true, \
         sampling: {enabled: false}, output_paths: [stdout, 'file:///dev/null'], error_output_paths: [stderr], \
         initial_fields: {a: 1, b: [x]}, disable_zap_resource: true, \
         processors: [{simple: {exporter: {console: {}}}}]}",
    )
    .unwrap();
    assert!(!settings.logs.sampling.enabled);
    let batch = settings.logs.batches().next().unwrap();
    assert_eq!((batch.schedule_delay, batch.max_export_batch_size), (0, 1));
    let (settings, _) = read("logs: {level: null, sampling: null}").unwrap();
    assert_eq!(settings.logs, Logs::default());
}

#[tokio::test]
async fn lines_that_the_far_side_never_takes_are_counted_and_let_go() {
    // Nobody listens on port 1.
    let yaml = "otlp: {protocol: http/protobuf, endpoint: 'http://127.0.0.1:1'}";
    let exporter: otlp::Exporter = Section::from_yaml(yaml).unwrap().parse().unwrap();
    let telemetry = Telemetry::default();
    let (outbox, shipped) = mpsc::channel(3);
    for message in ["one", "two", "three"] {
        let record = Record {
            time: SystemTime::UNIX_EPOCH,
            level: "info",
            severity: 9,
            message: message.into(),
            fields: Vec::new(),
        };
        outbox.try_send(record).unwrap();
    }
    drop(outbox);
    let (_switch, stop) = Stop::new();
    let task = push::Logs {
        telemetry: telemetry.clone(),
        resource: Arc::default(),
        delay: Duration::ZERO,
        batch_max: 2,
        timeout: Duration::ZERO,
    };
    task.run(exporter.open(Signal::Logs).unwrap(), shipped, stop)
        .await;
    let count = |name, label: (&'static str, &str)| {
        let labels = vec![(label.0, label.1.to_owned())];
        telemetry.metrics.counter(name, labels).get()
    };
    assert_eq!(
        count(telemetry::names::LOG_LINES_DROPPED, ("reason", "unsent")),
        3
    );
    assert_eq!(count(telemetry::names::PUSH_FAILURES, ("signal", "logs")), 2);
}

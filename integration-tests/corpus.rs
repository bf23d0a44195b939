//! Configurations as people have them: each runs, or is told what of it is not here, all at once, with what to do.
//!
//! The small configurations below are ours, in the shapes that charts, vendors and tutorials have. `WEIR_CORPUS` may name
//! a folder of real ones; the gate sets it where there is one.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use config::{Diag, Diags};
use weir::service::{known, registry};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All that `weir validate` says about a text: `line:column path: message`, each with its help behind ` | `.
fn faults(text: &str) -> Vec<String> {
    match weir::service::validate(
        &[("gw.yaml".to_owned(), text.to_owned())],
        &config::Gates::default(),
    ) {
        Ok(_) => Vec::new(),
        Err(diags) => diags
            .0
            .iter()
            .map(|diag| {
                let place = diag
                    .place
                    .as_ref()
                    .map_or(String::new(), |p| format!("{}:{} ", p.line, p.column));
                let help = diag.help.as_deref().unwrap_or_default();
                format!("{place}{}: {} | {help}", diag.path, diag.message)
            })
            .collect(),
    }
}

/// Every fault of the text, in order: its place and path, and a piece of its message or help.
#[track_caller]
fn check(text: &str, expected: &[(&str, &str)]) {
    let found = faults(text);
    let got: Vec<&str> = found
        .iter()
        .map(|f| f.split(": ").next().unwrap_or_default())
        .collect();
    let wanted: Vec<&str> = expected.iter().map(|(place, _)| *place).collect();
    assert_eq!(got, wanted, "\n{}", found.join("\n"));
    for (fault, (_, piece)) in found.iter().zip(expected) {
        assert!(fault.contains(piece), "{piece:?} is not in\n{fault}");
    }
}

#[test]
fn an_agents_config_is_told_what_belongs_to_the_agent() {
    check(
        "receivers:
  otlp: {protocols: {grpc: , http: }}
  host_metrics: {collection_interval: 10s, scrapers: {cpu: , memory: }}
  kubeletstats: {auth_type: serviceAccount}
  file_log: {include: [/var/log/pods/*/*/*.log]}
  receiver_creator:
    watch_observers: [k8s_observer]
processors:
  batch:
  k8s_attributes: {passthrough: true}
  resource_detection: {detectors: [env, system]}
exporters:
  otlp: {endpoint: gateway:4317, tls: {insecure: true}}
extensions:
  health_check: {endpoint: 0.0.0.0:13133}
  k8s_observer: {auth_type: serviceAccount}
service:
  extensions: [health_check, k8s_observer]
  pipelines:
    metrics: {receivers: [otlp, host_metrics, kubeletstats, receiver_creator], processors: [k8s_attributes, resource_detection, batch], exporters: [otlp]}
    logs: {receivers: [otlp, file_log], processors: [k8s_attributes, batch], exporters: [otlp]}
",
        &[
            ("3:3 receivers::host_metrics", "host_metrics belongs to an agent: keep the agent for it and point it at this gateway"),
            ("4:3 receivers::kubeletstats", "kubeletstats belongs to an agent"),
            ("5:3 receivers::file_log", "until then let a collector receive it"),
            ("6:3 receivers::receiver_creator", "receiver_creator belongs to an agent"),
            ("16:3 extensions::k8s_observer", "k8s_observer serves an agent"),
        ],
    );
}

#[test]
fn what_upstream_removed_long_ago_has_its_remedy() {
    check(
        "receivers:
  otlp: {protocols: {grpc: }}
  opencensus:
processors:
  batch:
exporters:
  logging: {loglevel: debug}
  jaeger: {endpoint: jaeger:14250, tls: {insecure: true}}
  prometheus: {endpoint: 0.0.0.0:8889}
extensions:
  health_check:
  memory_ballast: {size_mib: 512}
service:
  extensions: [memory_ballast, health_check]
  telemetry: {metrics: {address: localhost:8888, level: basic}}
  pipelines:
    traces: {receivers: [otlp, opencensus], processors: [batch], exporters: [logging, jaeger]}
    metrics: {receivers: [otlp], processors: [batch], exporters: [logging, prometheus]}
",
        &[
            ("3:3 receivers::opencensus", "let its clients send OTLP"),
            (
                "7:3 exporters::logging",
                "the logging exporter has been deprecated, use the debug exporter instead",
            ),
            (
                "8:3 exporters::jaeger",
                "use otlp_grpc with an endpoint like jaeger:4317",
            ),
            ("9:3 exporters::prometheus", "http://prometheus:9090/api/v1/otlp"),
            (
                "12:3 extensions::memory_ballast",
                "remove it here and from service::extensions",
            ),
        ],
    );
}

#[test]
fn missing_components_do_not_hide_what_else_is_wrong() {
    check(
        "receivers:
  otlp: {protocols: {grpc: {endpont: 0.0.0.0:4317}}}
processors:
  interval: {}
  batch: {timeot: 1s}
exporters:
  otlphttp: {}
  clickhouse: {endpoint: tcp://clickhouse:9000}
  dbug:
service:
  pipelines:
    traces: {receivers: [otlp], processors: [interval, batch], exporters: [otlphttp, clickhouse]}
    logs: {receivers: [otlp], processors: [batch], exporters: [otlphttp]}
",
        &[
            (
                "2:29 receivers::otlp::protocols::grpc",
                "did you mean \"endpoint\"?",
            ),
            (
                "4:3 processors::interval",
                "let a collector before or behind this gateway do it",
            ),
            ("5:11 processors::batch", "did you mean \"timeout\"?"),
            (
                "7:3 exporters::otlphttp::endpoint",
                "at least one endpoint must be specified",
            ),
            (
                "8:3 exporters::clickhouse",
                "let a collector behind this gateway deliver it",
            ),
            ("9:3 exporters::dbug", "did you mean \"debug\"?"),
        ],
    );
}

#[test]
fn a_component_that_no_pipeline_uses_is_judged_like_the_others() {
    check(
        "receivers: {otlp: {protocols: {grpc: }}, hostmetrics: {}}
exporters: {debug: , kafka: {}}
extensions: {opamp: {}}
service: {pipelines: {logs: {receivers: [otlp], exporters: [debug]}}}
",
        &[
            ("1:42 receivers::hostmetrics", "belongs to an agent"),
            ("2:22 exporters::kafka", "without a date"),
            ("3:14 extensions::opamp", "managed by its files"),
        ],
    );
}

#[test]
fn a_gateways_config_runs_as_it_is() {
    check(
        "receivers:
  otlp:
    protocols:
      grpc: {endpoint: \"${env:MY_POD_IP:-127.0.0.1}:4317\", max_recv_msg_size_mib: 16}
      http: {endpoint: \"${MY_POD_IP:-127.0.0.1}:4318\"}
processors:
  memory_limiter: {check_interval: 5s, limit_percentage: 80, spike_limit_percentage: 25}
  batch: {send_batch_size: 4_000, timeout: 200ms}
  resource: {attributes: [{key: cluster, value: \"a$$b\", action: upsert}]}
exporters:
  debug: {verbosity: basic}
  otlp: {endpoint: tempo:4317, tls: {insecure: true}, retry_on_failure: {max_elapsed_time: 0}}
  otlphttp/loki: {endpoint: \"http://loki:3100/otlp\", headers: {X-Scope-OrgID: a}}
extensions: {health_check: {endpoint: \"0.0.0.0:13133\"}}
service:
  extensions: [health_check]
  telemetry: {metrics: {address: \"0.0.0.0:8888\"}, logs: {level: warn}}
  pipelines:
    traces: {receivers: [otlp], processors: [memory_limiter, resource, batch], exporters: [otlp, debug]}
    logs: {receivers: [otlp], processors: [memory_limiter, resource, batch], exporters: [otlphttp/loki]}
",
        &[],
    );
}

// --- The page ---

const SECTIONS: [&str; 5] = ["receivers", "processors", "connectors", "exporters", "extensions"];

/// Canonical name and other spellings of what is here.
fn here(section: &str) -> Vec<(&'static str, &'static [&'static str])> {
    fn of<F: registry::Factory>() -> Vec<(&'static str, &'static [&'static str])> {
        F::all().iter().map(|f| (f.kind(), f.aliases())).collect()
    }
    match section {
        "receivers" => of::<component::ReceiverFactory>(),
        "processors" => of::<component::ProcessorFactory>(),
        "connectors" => of::<component::ConnectorFactory>(),
        "exporters" => of::<component::ExporterFactory>(),
        _ => of::<component::ExtensionFactory>(),
    }
}

/// Whether a type is found under this name, as the registry does it.
fn is_here(section: &str, name: &str) -> bool {
    match section {
        "receivers" => registry::find::<component::ReceiverFactory>(name).is_some(),
        "processors" => registry::find::<component::ProcessorFactory>(name).is_some(),
        "connectors" => registry::find::<component::ConnectorFactory>(name).is_some(),
        "exporters" => registry::find::<component::ExporterFactory>(name).is_some(),
        _ => registry::find::<component::ExtensionFactory>(name).is_some(),
    }
}

fn page() -> String {
    let mut out = String::from(
        "# Component types, and what becomes of them

What `weir validate` answers for each component type that collectors have: those of otelcol-contrib, and others that
are seen in public configurations. A type may be written with or without underscores. Every type that is not here is
named with its line, all of them in one run, and nothing is started.

This page is made from the table in `src/service/known.rs` and the registry; a test keeps it so (`UPDATE=1 cargo test
--test integration corpus` rewrites it).
",
    );
    for section in SECTIONS {
        let mut rows: Vec<(&str, String, String)> = Vec::new();
        for (kind, aliases) in here(section) {
            let link = format!("[page]({section}/{kind}.md)");
            for alias in aliases {
                rows.push((
                    alias,
                    "runs".into(),
                    format!("another spelling of `{kind}`, {link}"),
                ));
            }
            rows.push((kind, "runs".into(), link));
        }
        let known = known::all().filter(|(s, ..)| *s == section);
        rows.extend(
            known.map(|(_, name, answer)| (name, answer.word().into(), answer.advice(section, name))),
        );
        rows.sort();
        let title = section[..1].to_uppercase() + &section[1..];
        write!(
            out,
            "\n## {title}\n\n| type | answer | what to do |\n|---|---|---|\n"
        )
        .expect("a string takes text");
        for (name, word, advice) in rows {
            writeln!(out, "| `{name}` | {word} | {advice} |").expect("a string takes text");
        }
    }
    out
}

#[test]
fn a_type_that_is_here_is_not_told_to_be_missing() {
    let stale: Vec<_> = known::all()
        .filter(|(section, name, _)| is_here(section, name))
        .collect();
    assert!(
        stale.is_empty(),
        "take these out of src/service/known.rs: {stale:?}"
    );
}

#[test]
fn the_page_of_types_says_what_the_program_says() {
    let path = root().join("docs/components/types.md");
    let expected = page();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &expected).expect("the page can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected, "UPDATE=1 rewrites the page");
    }
    assert_eq!(found.len(), expected.len(), "UPDATE=1 rewrites the page");
}

/// The types that a survey of public configurations met at least twice, by section.
#[rustfmt::skip]
const MET: [(&str, &str); 5] = [
    ("receivers", "otlp prometheus filelog hostmetrics jaeger zipkin kubeletstats nop fluentforward k8s_cluster kafka k8sobjects
        receiver_creator kafkametrics journald k8s_events statsd profiling redis docker_stats postgresql foo
        awsecscontainermetrics httpcheck syslog windowsperfcounters windowseventlog mongodb opencensus splunk_hec
        otlpjsonfile awscloudwatch examplereceiver snmp mysql signalfx prometheus_simple rabbitmq datadog vcenter nginx
        otelarrow gitlab github obi jmx gitprovider netflow elasticsearch solace influxdb carbon
        clickhousesystemtablesreceiver azureeventhub purefa"),
    ("processors", "batch memory_limiter transform resourcedetection filter resource attributes k8sattributes tail_sampling
        metricstransform probabilistic_sampler nop cumulativetodelta groupbyattrs redaction logdedup gen_ai_normalizer
        signozspanmetrics deltatocumulative span metricsgeneration exampleprocessor service_enrichment usage
        istio_noise_filter istio_enrichment elasticapm symbolicator coralogix groupbytrace metric_start_time processor
        signozllmpricing ecsattributes spanmetrics resourceattributetransposer removeemptyvalues casttosum
        metricstarttime signozspanmapper truthbeam elasticinframetrics ratelimit beat adaptive_sampling concurrentbatch
        logcount metricextract metricstats processor2 routing"),
    ("connectors", "spanmetrics routing count servicegraph forward datadog otlpjson failover elasticapm nop profilingmetrics
        exceptions sum signozmeter roundrobin signaltometrics example"),
    ("exporters", "debug otlp otlphttp prometheus logging file nop otlp_grpc prometheusremotewrite loadbalancing kafka
        googlecloud splunk_hec datadog jaeger jaeger_storage_exporter elasticsearch awss3 googlemanagedprometheus zipkin
        awsxray bar loki awsemf opensearch clickhouse signalfx coralogix logzio clickhousetraces syslog
        signozclickhousemetrics clickhouselogsexporter otelarrow sumologic exampleexporter faro nop2 slim nop3 e zharp
        alibabacloud_logservice mezmo awscloudwatchlogs enhance_indexing_s3_exporter nop1 googleservicecontrol
        metadataexporter signozclickhousemeter"),
    ("extensions", "health_check zpages pprof file_storage opamp bearertokenauth k8s_observer basicauth headers_setter
        sigv4auth oauth2client jaeger_storage jaeger_query healthcheckv2 k8s_leader_elector oidc http_forwarder nop
        ecs_observer googleclientauth memory_ballast host_observer jaegerremotesampling cgroup_runtime remote_sampling
        awsproxy expvar honeycomb nop2 docker_observer ext cgroupruntime nop3 memory_limiter alloyengine badger pebble
        sumologic bindplane ext2"),
];

#[test]
fn every_type_that_people_use_has_an_answer() {
    let mut without = Vec::new();
    for (section, names) in MET {
        for name in names.split_whitespace() {
            if !is_here(section, name) && known::answer(section, name).is_none() {
                without.push(format!("{section} {name}"));
            }
        }
    }
    assert!(without.is_empty(), "no answer for: {}", without.join(", "));
}

// --- The corpus ---

/// The component ids of a configuration as (section, id, line): keys two levels deep, read by indentation alone.
fn component_lines(text: &str) -> BTreeSet<(String, String, u32)> {
    let mut found = BTreeSet::new();
    let (mut section, mut depth) = (String::new(), None);
    for (number, line) in (1..).zip(text.lines()) {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        if body.is_empty() || body.starts_with('#') {
            continue;
        }
        let key = body
            .split(':')
            .next()
            .unwrap_or_default()
            .trim_matches(['"', '\'', ' ']);
        if indent == 0 {
            (section, depth) = (key.to_owned(), None);
        } else if SECTIONS.contains(&section.as_str())
            && *depth.get_or_insert(indent) == indent
            && body.contains(':')
        {
            found.insert((section.clone(), key.to_owned(), number));
        }
    }
    found
}

fn answers(text: &str) -> Vec<Diag> {
    match weir::service::validate(
        &[("corpus.yaml".to_owned(), text.to_owned())],
        &config::Gates::default(),
    ) {
        Ok(_) => Vec::new(),
        Err(Diags(answers)) => answers,
    }
}

/// What the answers to a configuration lack: a place, advice, or a component that is not here.
fn unanswered(text: &str, answers: &[Diag]) -> Vec<String> {
    let mut lacks = Vec::new();
    if answers.is_empty() {
        return lacks;
    }
    for diag in answers {
        if diag.place.is_none() {
            lacks.push(format!("no place: {diag}"));
        }
        if diag.message.starts_with("unknown type") && diag.help.is_none() {
            lacks.push(format!("no advice: {diag}"));
        }
    }
    for (section, id, line) in component_lines(text) {
        let kind = id.split('/').next().unwrap_or_default();
        let told = answers.iter().any(|d| {
            d.path == format!("{section}::{id}")
                && d.message.starts_with("unknown type")
                && d.place.as_ref().is_some_and(|place| place.line == line)
        });
        if told == is_here(&section, kind) {
            lacks.push(format!(
                "{section}::{id} at line {line}: told to be missing: {told}"
            ));
        }
    }
    lacks
}

#[test]
fn every_config_of_the_corpus_is_answered() {
    let Some(folder) = std::env::var_os("WEIR_CORPUS") else {
        return;
    };
    let mut complaints = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(Path::new(&folder)).expect("WEIR_CORPUS names a folder") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let text = fs::read_to_string(&path).expect("a configuration is text");
            seen += 1;
            complaints.extend(
                unanswered(&text, &answers(&text))
                    .into_iter()
                    .map(|what| format!("{}: {what}", path.display())),
            );
        }
    }
    assert!(seen > 0, "WEIR_CORPUS holds no configuration");
    assert!(
        complaints.is_empty(),
        "{seen} configurations\n{}",
        complaints.join("\n")
    );
}

#[test]
fn an_answer_that_misses_a_component_is_noticed() {
    let text = "receivers:\n  otlp: {protocols: {grpc: }}\n  kafka: {}\nexporters:\n  debug:\nservice:\n  pipelines:\n    logs: {receivers: [otlp], exporters: [debug]}\n";
    let lines: Vec<(String, String, u32)> = component_lines(text).into_iter().collect();
    let row = |section: &str, id: &str, line| (section.to_owned(), id.to_owned(), line);
    assert_eq!(
        lines,
        [
            row("exporters", "debug", 5),
            row("receivers", "kafka", 3),
            row("receivers", "otlp", 2)
        ]
    );
    let mut all = answers(text);
    assert_eq!(all.len(), 1);
    assert_eq!(unanswered(text, &all), Vec::<String>::new());
    let other = Diag::new(None, "receivers::kafka", "unknown type");
    all[0] = other.clone();
    assert_eq!(
        unanswered(text, &all),
        [
            format!("no place: {other}"),
            format!("no advice: {other}"),
            "receivers::kafka at line 3: told to be missing: false".to_owned(),
        ]
    );
}

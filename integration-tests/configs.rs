//! Every config that we show must be one that works: the files in `configs/`, and what the chart renders.

use std::fs;
use std::path::PathBuf;

use prost::Message;
use telemetry::{Node, Place};
use wire::Signal;

use crate::support::gateway::{Gateway, free_port};
use crate::support::peer::{Answer, Peer};
use crate::support::{client, sample, until};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What `weir validate` says about a text, all of it; `Ok` holds the plan.
fn validate(name: &str, text: &str) -> Result<String, String> {
    match weir::service::validate(&[(name.to_owned(), text.to_owned())], &config::Gates::default()) {
        Ok((plan, _warnings)) => Ok(plan.to_string()),
        Err(diags) => Err(diags.to_string()),
    }
}

/// The mapping under the top-level key `config` of the chart's values, which its ConfigMap renders as it is: so no helm
/// is needed to know what will be rendered. (The gate renders with the real one as well.)
fn chart_config(values: &str) -> String {
    values
        .lines()
        .skip_while(|line| *line != "config:")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with([' ', '#']))
        .map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line)))
        .collect()
}

/// Names and numbers under the top-level key `ports` of the chart's values.
fn chart_ports(values: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut name = String::new();
    let ports = values
        .lines()
        .skip_while(|line| *line != "ports:")
        .skip(1)
        .take_while(|line| line.starts_with(' '));
    for line in ports {
        match line.trim().split_once(':') {
            Some((key, "")) => name = key.to_owned(),
            Some(("port", number)) => found.push((name.clone(), number.trim().to_owned())),
            _ => {}
        }
    }
    found
}

fn chart_values() -> String {
    fs::read_to_string(root().join("helm/weir/values.yaml")).expect("the chart has values")
}

#[test]
fn every_example_is_valid() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("configs")).expect("configs/ is there") {
        let path = entry.expect("configs/ can be listed").path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let name = format!(
                "configs/{}",
                path.file_name().unwrap_or_default().to_string_lossy()
            );
            let text = fs::read_to_string(&path).expect("an example can be read");
            seen += 1;
            if let Err(fault) = validate(&name, &text) {
                faults.push(fault);
            }
        }
    }
    assert!(seen >= 2, "only {seen} examples");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// `configs/durable.yaml` as it is, but for its places.
#[tokio::test]
async fn the_example_with_queues_on_disk_runs_masks_first_and_survives_a_restart() {
    let down = Answer::Http {
        status: 503,
        retry_after: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let (primary, secondary) = (Peer::start().await, Peer::start().await);
    primary.always(down);
    let mut text = fs::read_to_string(root().join("configs/durable.yaml")).expect("the example is there");
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (from, to) in [
        ("${env:WEIR_STORAGE:-/var/lib/weir/journal}", path("journal")),
        ("${env:WEIR_DEAD:-/var/lib/weir/dead.jsonl}", path("dead.jsonl")),
        (
            "${env:WEIR_PRIMARY:-primary.example.com:4317}",
            format!("{}\n    tls: {{insecure: true}}", primary.addr),
        ),
        (
            "${env:WEIR_SECONDARY:-secondary.example.com:4317}",
            format!("{}\n    tls: {{insecure: true}}", secondary.addr),
        ),
        ("0.0.0.0:4317", "127.0.0.1:{grpc}".to_owned()),
        ("0.0.0.0:4318", "127.0.0.1:{http}".to_owned()),
        ("port: 8888", "port: {metrics}".to_owned()),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    let mut request = sample::logs(1);
    let records = &mut request.resource_logs[0].scope_logs[0].log_records;
    records[0].severity_text = "kept".into();
    records[0].body = Some(sample::text("ann@example.com was here"));
    let start = || async { Gateway::start(&text.replace("{metrics}", &free_port().to_string())).await };
    let gateway = start().await;
    let answer = client::post_otlp(gateway.http, "/v1/logs", &request.encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    let masked = |peer: &Peer| {
        let logs = peer.logs();
        let record = logs[0].resource_logs[0].scope_logs[0].log_records[0].clone();
        assert_eq!(
            (logs.len(), record.body),
            (1, Some(sample::text("**** was here")))
        );
    };
    until("the one arrives", || !secondary.logs().is_empty()).await;
    masked(&secondary);
    until("the other is tried", || !primary.received().is_empty()).await;
    gateway.stop_holding(1).await;
    primary.always(Answer::Ok);
    let gateway = start().await;
    until("it arrives", || !primary.logs().is_empty()).await;
    masked(&primary);
    // What is rejected for good is in the file.
    primary.always(Answer::RefuseText("kept"));
    let answer = client::post_otlp(gateway.http, "/v1/logs", &request.encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    let dead = || fs::read_to_string(path("dead.jsonl")).unwrap_or_default();
    until("it is in the file", || !dead().is_empty()).await;
    until("the other has it", || secondary.logs().len() == 2).await;
    let place = |id: &str| Place::Node(Node::Exporter(id.into()));
    until("all is booked", || {
        let held = |id: &str| gateway.books(place(id), Signal::Logs).held();
        held("otlp_grpc/primary") + held("otlp_grpc/secondary") == 0
    })
    .await;
    assert!(
        dead().contains("**** was here") && !dead().contains("ann@"),
        "{}",
        dead()
    );
    gateway.stop().await;
}

#[test]
fn the_charts_config_is_valid_and_opens_its_ports() {
    let values = chart_values();
    let config = chart_config(&values);
    if let Err(fault) = validate("helm/weir/values.yaml", &config) {
        panic!("{fault}\n{config}");
    }
    let template =
        fs::read_to_string(root().join("helm/weir/templates/configmap.yaml")).expect("the chart has one");
    assert!(
        template.contains("toYaml .Values.config"),
        "the ConfigMap no longer renders `config` as it is"
    );
    let ports = chart_ports(&values);
    assert_eq!(ports.len(), 3, "{ports:?}");
    for (name, port) in ports {
        let opened =
            config.contains(&format!("0.0.0.0:{port}\n")) || config.contains(&format!("port: {port}\n"));
        assert!(opened, "port {port} ({name}) is not opened by the config");
    }
    assert!(
        config.contains("0.0.0.0:13133\n"),
        "the probes' port is not opened"
    );
}

#[test]
fn a_fault_in_an_example_is_found_at_its_place() {
    let good = fs::read_to_string(root().join("configs/istio.yaml")).expect("the example is there");
    validate("istio.yaml", &good).expect("the example is valid");
    let bad = good.replace("    compression: gzip", "    compresion: gzip");
    assert_ne!(good, bad);
    let line = bad
        .lines()
        .position(|l| l.contains("compresion"))
        .expect("planted just now")
        + 1;
    let fault = validate("istio.yaml", &bad).expect_err("the key does not exist");
    assert!(fault.contains(&format!("istio.yaml:{line}:5")), "{fault}");
    assert!(fault.contains("compression"), "names the nearest key: {fault}");
}

#[test]
fn a_chart_is_cut_at_its_next_key() {
    let values = "# top\nconfig:\n  receivers:\n    otlp: {}\n\n# next\nreplicaCount: 2\nports:\n  a-b:\n    port: 1\n    x: y\n  c:\n    port: 2\nlast: 1\n";
    assert_eq!(chart_config(values), "receivers:\n  otlp: {}\n\n# next\n");
    let expected = [
        ("a-b".to_owned(), "1".to_owned()),
        ("c".to_owned(), "2".to_owned()),
    ];
    assert_eq!(chart_ports(values), expected);
}

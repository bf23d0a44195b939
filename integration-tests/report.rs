//! `weir report soc2` over what a whole gateway archived: its figures are what was sent.

use std::fs;
use std::path::Path;
use std::process::Command;

use evidence::entry::{Entry, Kind};
use prost::Message;
use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::{client, sample};

fn config(folder: &Path, dropped: &str) -> String {
    let folder = folder.display();
    format!(
        "extensions:
  file_storage/journal: {{directory: {folder}/journal, create_directory: true}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{{grpc}}'}}, http: {{endpoint: '127.0.0.1:{{http}}'}}}}}}
processors:
  filter/some:
    logs: {{log_record: ['{dropped}']}}
exporters:
  archive:
    archive: example/gateway
    writer: gw-0
    create: true
    store: {{file: {{path: {folder}/archive}}}}
    state_dir: {folder}/state
    storage: file_storage/journal
    lock: {{required: false, retention: 400d}}
service:
  extensions: [file_storage/journal]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], processors: [filter/some], exporters: [archive]}}
    traces: {{receivers: [otlp], exporters: [archive]}}
"
    )
}

/// Trust in the keys that the logs themselves name.
fn policy(root: &Path) -> String {
    let (mut lines, mut folders) = (String::new(), vec![root.join("_weir/v1/log")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "jsonl") {
                for line in fs::read(&path).expect("a segment").split(|b| *b == b'\n') {
                    if let Ok(Kind::Open(open)) = Entry::parse(line).map(|entry| entry.kind) {
                        lines += &format!("log {}\n", open.vkey);
                    }
                }
            }
        }
    }
    lines
}

fn figure(report: &Value, control: &str, name: &str) -> Value {
    let controls = report["controls"].as_array().expect("controls");
    let mut found = controls.iter().filter(|c| {
        c["control"]
            .as_str()
            .is_some_and(|text| text.starts_with(control))
    });
    let figures = found.next().expect(control)["figures"]
        .as_array()
        .expect("figures");
    let figure = figures.iter().find(|figure| figure["name"] == name).expect(name);
    figure["value"].clone()
}

#[tokio::test]
async fn a_report_says_what_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(folder.path(), "false")).await;
    let logs = |n| sample::logs(n).encode_to_vec();
    let mut kept = 0;
    for n in 1..4 {
        let answer = client::post_otlp(gateway.http, "/v1/logs", &logs(n)).await;
        assert_eq!(answer.status, 200);
        kept += n;
    }
    let answer = client::post_otlp(gateway.http, "/v1/traces", &sample::traces(5).encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    kept += 5;
    gateway
        .reload(&config(folder.path(), "true"))
        .await
        .expect("it is valid");
    let answer = client::post_otlp(gateway.http, "/v1/logs", &logs(7)).await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;

    let archive = folder.path().join("archive");
    let trust = folder.path().join("trust.policy");
    fs::write(&trust, policy(&archive)).unwrap();
    let out = folder.path().join("report");
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["report", "soc2", "--from=-1d", "--level", "full", "--policy"]);
        command
            .arg(&trust)
            .arg("--store")
            .arg(&archive)
            .arg("--out")
            .arg(&out);
        command.output().expect("the binary runs")
    };
    let done = run();
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(
        done.status.code(),
        Some(0),
        "{told}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(
        told.ends_with("not signed: no --signer was given\nVERIFIED   exit 0\n"),
        "{told}"
    );

    let json = fs::read(out.join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(report["system"], "example/gateway");
    // The archive keeps the gateway's own records too, once it has a trail: those are apart.
    let own = |name: &str| {
        let figures = report["controls"].as_array().expect("controls").iter();
        let mut figures = figures.flat_map(|c| c["figures"].as_array().expect("figures"));
        let tenants = &figures.find(|figure| figure["name"] == name).expect(name)["tenants"];
        let mut tenants = tenants.as_array().into_iter().flatten();
        let own = tenants.find(|part| part["of"] == "_weir");
        own.map_or(0, |part| part["value"].as_u64().expect("a count"))
    };
    for name in ["records_in", "archived"] {
        let all = figure(&report, "LOG-06", name).as_u64().expect("a count");
        assert_eq!(all - own(name), kept, "{name}");
    }
    for name in ["lost", "held_at_end", "ledger_imbalances", "gaps"] {
        assert_eq!(figure(&report, "LOG-06", name), 0, "{name}");
    }
    assert_eq!(figure(&report, "LOG-05", "objects_missing"), 0);
    // Whether the trail tells of the seven, or is not there: never zero.
    let dropped = figure(&report, "LOG-06", "dropped_before");
    let has_trail = own("archived") > 0;
    assert_eq!(dropped.as_u64(), has_trail.then_some(7), "{dropped}");
    assert!(
        fs::read_to_string(out.join("report.html"))
            .unwrap()
            .contains("<h1>Evidence report</h1>")
    );

    // What is there is not mixed with another report.
    let again = run();
    assert_eq!(again.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&again.stderr).contains("it is not empty"));
}

//! `weir report soc2` over what a whole gateway archived: its figures are what was sent.

use std::fs;
use std::path::Path;
use std::process::Command;

use codec::base64::{self, Alphabet};
use evidence::entry::{Entry, Kind};
use prost::Message;
use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::{client, sample};

fn config(folder: &Path, dropped: &str) -> String {
    let folder = folder.display();
    format!(
        "# weir-change: CHG-42
extensions:
  basicauth: {{htpasswd: {{inline: 'acme:hunter2'}}}}
  file_storage/journal: {{directory: {folder}/journal, create_directory: true}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{{grpc}}'}}, http: {{endpoint: '127.0.0.1:{{http}}', auth: {{authenticator: basicauth}}}}}}}}
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
  extensions: [basicauth, file_storage/journal]
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

fn basic(pair: &str) -> String {
    format!("Basic {}", base64::encode(Alphabet::Standard, pair.as_bytes()))
}

#[tokio::test]
async fn a_report_says_what_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(folder.path(), "false")).await;
    let post = async |pair: &str, path: &str, body: Vec<u8>| {
        let shown = basic(pair);
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("authorization", shown.as_str()),
        ];
        client::post(gateway.http, path, &headers, &body).await.status
    };
    let logs = |n| sample::logs(n).encode_to_vec();
    let mut kept = 0;
    for n in 1..4 {
        assert_eq!(post("acme:hunter2", "/v1/logs", logs(n)).await, 200);
        kept += n;
    }
    for _ in 0..2 {
        assert_eq!(post("acme:letmein", "/v1/logs", logs(1)).await, 401);
    }
    let traces = sample::traces(5).encode_to_vec();
    assert_eq!(post("acme:hunter2", "/v1/traces", traces).await, 200);
    kept += 5;
    gateway
        .reload(&config(folder.path(), "true"))
        .await
        .expect("it is valid");
    let wrong = config(folder.path(), "true").replace("writer:", "righter:");
    assert!(gateway.reload(&wrong).await.is_err());
    assert_eq!(post("acme:hunter2", "/v1/logs", logs(7)).await, 200);
    gateway.stop().await;

    let archive = folder.path().join("archive");
    let trust = folder.path().join("trust.policy");
    fs::write(&trust, policy(&archive)).unwrap();
    let out = folder.path().join("report");
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["report", "soc2", "--from=-1d", "--level", "full", "--policy"]);
        command
            .arg(&trust)
            .arg("--store")
            .arg(&archive)
            .arg("--out")
            .arg(&out)
            .args(more);
        command.output().expect("the binary runs")
    };
    for (more, why) in [
        (&["--archive"][..], "an archive takes records alone"),
        (&["--lang", "de"], "--lang"),
        (&["--criteria", "CC9.9"], "CC9.9"),
    ] {
        let done = run(more);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(64), "{more:?}: {said}");
        assert!(said.contains(why) && !out.exists(), "{more:?}: {said}");
    }
    let done = run(&[]);
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
    for (control, name, expected) in [
        ("LOG-03", "authn_failures", 2),
        ("LOG-03", "authn_methods_in_use", 1),
        ("LOG-06", "dropped_before", 7),
        ("LOG-08", "config_changes", 1),
        ("LOG-08", "changes_without_change_id", 0),
        ("LOG-08", "rejected_configs", 1),
        ("LOG-08", "config_texts", 2),
        ("LOG-08", "config_texts_missing", 0),
        ("LOG-13", "audit_chain_faults", 0),
        ("LOG-12", "snapshots", 0),
    ] {
        assert_eq!(figure(&report, control, name), expected, "{name}");
    }
    // Nobody looked for an hour: that is no zero.
    assert_eq!(figure(&report, "LOG-12", "cpu_p95"), Value::Null);
    // What the doors did the log itself tells. It was turned away before a door that did not say who sent it.
    assert_eq!(figure(&report, "LOG-12", "refusals"), 0);
    let offered = figure(&report, "LOG-06", "records_offered");
    assert_eq!(offered, figure(&report, "LOG-06", "records_accepted"));
    assert!(offered.as_u64().is_some_and(|n| n >= kept + 7), "{offered}");
    let below = |folder: &str| -> Vec<(String, Vec<u8>)> {
        let files = fs::read_dir(out.join("evidence").join(folder))
            .expect(folder)
            .flatten();
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        files
            .map(|file| {
                (
                    name(&file.path()).expect("a name"),
                    fs::read(file.path()).expect("a file"),
                )
            })
            .collect()
    };
    // Both configurations, as the trail names them, without their secrets.
    let configs = below("configs");
    let changes = fs::read_to_string(out.join("evidence/cc8.1-changes.csv")).unwrap();
    for (name, text) in &configs {
        let digest = evidence::digest::sha256(text).to_string();
        assert_eq!(*name, format!("{digest}.yaml"));
        assert!(changes.contains(&digest), "{changes}");
        let text = String::from_utf8_lossy(text);
        assert!(
            text.contains("example/gateway") && !text.contains("hunter2"),
            "{text}"
        );
    }
    assert_eq!(configs.len(), 2);
    // Each proof holds by the keys of the policy alone.
    let keys = fs::read_to_string(&trust).unwrap();
    let keys: Vec<_> = keys
        .lines()
        .filter_map(|line| line.strip_prefix("log "))
        .map(|key| key.parse().expect("a key"))
        .collect();
    let proofs = below("proofs");
    for (name, bytes) in &proofs {
        let proof = evidence::note::Proof::parse(bytes).expect(name);
        let line = proof.extra.as_deref().expect("it carries its entry");
        proof.verify(line, &keys).expect(name);
    }
    assert_eq!(figure(&report, "LOG-13", "entries_with_proof"), proofs.len());
    assert!(
        proofs.len() >= 3,
        "a start, and the objects of two texts: {}",
        proofs.len()
    );
    assert!(
        fs::read_to_string(out.join("report.html"))
            .unwrap()
            .contains("<h1>Evidence report</h1>")
    );

    // What is there is not mixed with another report.
    let again = run(&[]);
    assert_eq!(again.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&again.stderr).contains("it is not empty"));
}

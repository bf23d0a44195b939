//! The audit trail of the whole gateway: what happens to it arrives as records that hang together, without a secret.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use codec::base64::{self, Alphabet};
use evidence::audit::Trails;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;

use crate::support::client;
use crate::support::gateway::{Gateway, free_port};
use crate::support::kills::archive::Archived;
use crate::support::peer::{Answer, Peer};
use crate::support::{sample, until};

fn config(data: &Peer, trail: &Peer, admin: u16, more: &str) -> String {
    format!(
        r#"# weir-change: CHG-42
extensions:
  basicauth: {{htpasswd: {{inline: 'acme:hunter2'}}}}
receivers:
  otlp:
    protocols:
      http: {{endpoint: "127.0.0.1:{{http}}", auth: {{authenticator: basicauth}}}}
processors:
  filter: {{logs: {{log_record: ['true']}}}}
exporters:
  otlp_grpc: {{endpoint: "{data}", tls: {{insecure: true}}, headers: {{x-key: swordfish}}{more}}}
  otlp_grpc/trail: {{endpoint: "{trail}", tls: {{insecure: true}}}}
service:
  extensions: [basicauth]
  telemetry: {{metrics: {{level: none}}}}
  admin: {{endpoint: "127.0.0.1:{admin}"}}
  pipelines:
    logs: {{receivers: [otlp], processors: [filter], exporters: [otlp_grpc]}}
    logs/audit: {{exporters: [otlp_grpc/trail]}}
"#,
        data = data.addr,
        trail = trail.addr,
    )
}

/// Every record of the chain that a peer took, in order, each a request's one record in a resource of its own.
fn records(peer: &Peer) -> Vec<LogRecord> {
    let mut all = Vec::new();
    for request in peer.logs() {
        for resource in request.resource_logs {
            let attributes = resource.resource.unwrap().attributes;
            assert_eq!(attributes[0], sample::attr("service.name", sample::text("weir")));
            assert_eq!(attributes[1].key, "service.instance.id");
            for scope in resource.scope_logs {
                match scope.scope.unwrap().name.as_str() {
                    "weir.audit" => all.extend(scope.log_records),
                    name => assert_eq!(name, "weir.evidence"),
                }
            }
        }
    }
    all
}

fn attribute(record: &LogRecord, name: &str) -> Value {
    let found = record.attributes.iter().find(|a| a.key == name);
    found.unwrap().value.clone().unwrap().value.unwrap()
}

fn text(record: &LogRecord, name: &str) -> String {
    match attribute(record, name) {
        Value::StringValue(text) => text,
        other => panic!("{name} is {other:?}"),
    }
}

fn body(record: &LogRecord) -> String {
    match record.body.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        other => panic!("a body is {other:?}"),
    }
}

/// Name and body of each act, once the chain was found whole.
fn acts(peer: &Peer) -> Vec<(String, serde_json::Value)> {
    let mut chain = Trails::default();
    for request in peer.logs() {
        for record in evidence::audit::records(&request.encode_to_vec()).unwrap() {
            chain.push(&"peer".into(), &record);
        }
    }
    let records = records(peer);
    let acts = records.iter().map(|record| {
        let act = text(record, "weir.audit.act");
        assert_eq!(record.event_name, format!("weir.audit.{act}"));
        (act, serde_json::from_str(&body(record)).unwrap())
    });
    let acts: Vec<(String, serde_json::Value)> = acts.collect();
    assert_eq!(chain.broken(true), []);
    assert_eq!(chain.len(), acts.len() as u64);
    acts
}

fn basic(pair: &str) -> String {
    format!("Basic {}", base64::encode(Alphabet::Standard, pair.as_bytes()))
}

#[tokio::test]
async fn what_happens_to_a_gateway_is_told_in_one_chain() {
    let (data, trail) = (Peer::start().await, Peer::start().await);
    let admin = free_port();
    let gateway = Gateway::start(&config(&data, &trail, admin, "")).await;
    let post = async |pair: &str| {
        let shown = basic(pair);
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("authorization", shown.as_str()),
        ];
        let body = sample::logs(3).encode_to_vec();
        client::post(gateway.http, "/v1/logs", &headers, &body)
            .await
            .status
    };
    assert_eq!(post("acme:letmein").await, 401);
    assert_eq!(post("acme:letmein").await, 401);
    assert_eq!(post("acme:hunter2").await, 200);
    assert_eq!(post("acme:hunter2").await, 200);
    let other = config(&data, &trail, admin, ", timeout: 7s").replace("swordfish", "mackerel");
    gateway.reload(&other).await.unwrap();
    let wrong = config(&data, &trail, admin, ", colour: red");
    assert!(gateway.reload(&wrong).await.is_err());
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], admin));
    let order = "POST /-/journal/discard?destination=exporter%2Fx%2Flogs HTTP/1.1\r\nhost: localhost\r\n\
                 connection: close\r\ncontent-length: 0\r\n\r\n";
    let order = client::raw(at, order.as_bytes()).await;
    assert_eq!(order.status, 404);
    until("the order is told", || {
        let told = records(&trail);
        told.iter()
            .any(|record| record.event_name == "weir.audit.admin.call")
    })
    .await;
    gateway.stop().await;

    let records = records(&trail);
    let acts = acts(&trail);
    let names: Vec<&str> = acts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "process.start",
            "config.load",
            "ledger.carry",
            "authn.success",
            "config.reload",
            "config.reject",
            "admin.call",
            "authn.failure",
            "pipeline.drop",
            "process.stop",
        ]
    );
    let of = |name: &str| &acts.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!(of("process.start")["d"]["change_id"], "CHG-42");
    assert_eq!(of("authn.success")["d"]["principal"], "acme");
    let failure = of("authn.failure");
    assert_eq!(
        failure["actor"],
        serde_json::json!({"type": "client", "id": "127.0.0.1"})
    );
    assert_eq!(
        (&failure["obj"], &failure["out"]),
        (&"receiver/otlp".into(), &"failure".into())
    );
    assert_eq!(
        (&failure["d"]["count"], &failure["d"]["scheme"]),
        (&2.into(), &"basic".into())
    );
    let reload = of("config.reload");
    assert_eq!(
        reload["d"]["changed"],
        serde_json::json!([
            r#"exporters.otlp_grpc.headers: [{"name":"x-key","value":"[REDACTED]"}] -> [{"name":"x-key","value":"[REDACTED]"}]"#,
            "exporters.otlp_grpc.timeout: 5s -> 7s",
        ])
    );
    assert_eq!(reload["d"]["old_sha256"], of("config.load")["d"]["new_sha256"]);
    assert_eq!(
        of("config.reject")["d"]["running_sha256"],
        reload["d"]["new_sha256"]
    );
    let order = of("admin.call");
    assert_eq!(
        (&order["obj"], &order["d"]["status"]),
        (&"admin/journal_discard".into(), &404.into())
    );
    let drop = &of("pipeline.drop")["d"]["edges"];
    let filter = drop
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["edge"] == "processor filter in logs");
    assert_eq!(
        filter.unwrap()["drop"]
            .as_object()
            .unwrap()
            .values()
            .next()
            .unwrap(),
        6
    );
    let (refused, denied): (Vec<_>, Vec<_>) = (
        records.iter().filter(|r| r.severity_number == 17).collect(),
        records.iter().filter(|r| r.severity_number == 13).collect(),
    );
    assert_eq!((refused.len(), denied.len()), (3, 0));

    // The texts of both configurations came too, and their digests are in the chain.
    let everything = format!("{:?}", trail.logs());
    let texts: Vec<String> = trail
        .logs()
        .into_iter()
        .flat_map(|request| request.resource_logs)
        .flat_map(|resource| resource.scope_logs)
        .filter(|scope| scope.scope.as_ref().unwrap().name == "weir.evidence")
        .flat_map(|scope| scope.log_records)
        .map(|record| body(&record))
        .collect();
    let digests: Vec<String> = texts
        .iter()
        .map(|text| evidence::digest::sha256(text.as_bytes()).to_string())
        .collect();
    assert_eq!(digests.len(), 2);
    assert_eq!(of("config.load")["d"]["text_sha256"], digests[0].as_str());
    assert_eq!(of("config.reload")["d"]["text_sha256"], digests[1].as_str());
    assert!(texts[0].contains("timeout: 5s\n") && texts[1].contains("timeout: 7s\n"));
    for secret in [
        "hunter2",
        "letmein",
        "swordfish",
        "mackerel",
        &basic("acme:hunter2")[6..],
    ] {
        assert!(!everything.contains(secret), "a record shows {secret}");
    }
}

#[tokio::test]
async fn a_trail_that_nobody_takes_waits_and_is_whole() {
    let (data, trail) = (Peer::start().await, Peer::start().await);
    trail.always(Answer::Grpc {
        code: 14,
        message: "not yet",
        retry_ms: None,
    });
    let text = config(&data, &trail, free_port(), "");
    let text = text.replace(
        "otlp_grpc/trail: {",
        "otlp_grpc/trail: {sending_queue: {enabled: false}, retry_on_failure: {enabled: false}, ",
    );
    let gateway = Gateway::start(&text).await;
    until("the trail was offered", || !trail.received().is_empty()).await;
    trail.always(Answer::Ok);
    until("what waited has come", || records(&trail).len() == 3).await;
    gateway.stop().await;
    let names: Vec<String> = acts(&trail).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["process.start", "config.load", "ledger.carry", "process.stop"]
    );
}

/// `configs/archive.yaml` with an authenticator and an admin listener; the pipeline `logs/audit` is not in it.
fn archive(folder: &Path, admin: u16, more: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/archive.yaml");
    let mut text = fs::read_to_string(path).unwrap();
    for (from, to) in [
        ("${env:WEIR_ARCHIVE:-/var/lib/weir}", folder.display().to_string()),
        (
            "{endpoint: 127.0.0.1:4317}",
            "{endpoint: '127.0.0.1:{grpc}'}".to_owned(),
        ),
        (
            "{endpoint: 127.0.0.1:4318}",
            "{endpoint: '127.0.0.1:{http}', auth: {authenticator: basicauth}}".to_owned(),
        ),
        ("port: 8888", format!("port: {}", free_port())),
        (
            "extensions: [file_storage/journal]",
            format!(
                "extensions: [file_storage/journal, basicauth]\n  admin: {{endpoint: '127.0.0.1:{admin}'}}"
            ),
        ),
        (
            "extensions:\n",
            "extensions:\n  basicauth: {htpasswd: {inline: 'acme:hunter2'}}\n".to_owned(),
        ),
        ("    create: true\n", format!("    create: true\n{more}")),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, &to, 1 + usize::from(from.starts_with('$')) * 9);
    }
    text
}

/// Exit code and findings, as claim and what, of `weir archive verify`.
fn verify(archive: &Path, policy: &Path) -> (i32, Vec<String>) {
    let out = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["archive", "verify", "--level", "full", "--json", "--from-dir"])
        .arg(archive)
        .arg("--policy")
        .arg(policy)
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
    let told =
        |finding: &serde_json::Value| format!("{} {}", finding["claim"], finding["what"]).replace('"', "");
    let failed = |finding: &&serde_json::Value| finding["severity"] == "fail";
    let findings = report["findings"].as_array().unwrap().iter().filter(failed);
    let mut findings: Vec<String> = findings.map(told).collect();
    findings.dedup();
    (out.status.code().unwrap(), findings)
}

#[tokio::test]
async fn an_archive_keeps_the_trail_and_its_log_anchors_it() {
    let folder = tempfile::tempdir().unwrap();
    let admin = free_port();
    let gateway = Gateway::start(&archive(folder.path(), admin, "")).await;
    let post = async |pair: &str| {
        let shown = basic(pair);
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("authorization", shown.as_str()),
        ];
        let body = sample::logs(3).encode_to_vec();
        let answer = client::post(gateway.http, "/v1/logs", &headers, &body).await;
        answer.status
    };
    assert_eq!(post("acme:letmein").await, 401);
    assert_eq!(post("acme:hunter2").await, 200);
    let other = archive(folder.path(), admin, "").replace("|x-api-key)", "|x-api-token)");
    gateway.reload(&other).await.unwrap();
    let wrong = archive(folder.path(), admin, "    colour: red\n");
    assert!(gateway.reload(&wrong).await.is_err());
    let order = "POST /-/journal/discard?destination=exporter%2Fx%2Flogs HTTP/1.1\r\nhost: localhost\r\n\
                 connection: close\r\ncontent-length: 0\r\n\r\n";
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], admin));
    assert_eq!(client::raw(at, order.as_bytes()).await.status, 404);
    gateway.stop().await;

    let root = folder.path().join("archive");
    let archived = Archived::verified(&root);
    assert_eq!(archived.records("logs"), 3);
    let policy = folder.path().join("policy");
    fs::write(&policy, archived.policy()).unwrap();
    assert_eq!(verify(&root, &policy), (0, Vec::new()));

    let mut chain = Trails::default();
    let mut acts = Vec::new();
    let mut last = None;
    for request in archived.own() {
        for record in evidence::audit::records(&request).unwrap() {
            chain.push(&"archive".into(), &record);
            let body: serde_json::Value = serde_json::from_str(&record.body).unwrap();
            acts.push((record.seq, body["act"].as_str().unwrap().to_owned()));
            last = last.max(Some((record.seq, record.hash)));
        }
    }
    assert_eq!(chain.broken(true), []);
    acts.sort();
    acts.dedup();
    let names: Vec<&str> = acts.iter().map(|(_, name)| name.as_str()).collect();
    for name in [
        "process.start",
        "config.load",
        "key.create",
        "key.use",
        "archive.selftest",
        "authn.failure",
        "authn.success",
        "config.reload",
        "config.reject",
        "admin.call",
        "process.stop",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert_eq!(
        (names[0], *names.last().unwrap()),
        ("process.start", "process.stop")
    );
    let anchors = archived.anchors();
    assert!(anchors.iter().all(|anchor| chain.has(anchor.seq, &anchor.hash)));
    assert_eq!(anchors.last().map(|anchor| (anchor.seq, anchor.hash)), last);
    let everything = format!("{:?}", archived.own().concat());
    for secret in ["hunter2", "letmein"] {
        let secret = format!("{:?}", secret.as_bytes());
        let secret = secret.trim_matches(['[', ']']);
        assert!(!everything.contains(secret), "a record shows it");
    }

    // Somebody takes one record out of an object.
    let mut forged = false;
    for path in files(&root.join("data")) {
        let key = path.display().to_string();
        if !key.contains("class=audit/tenant=_weir/") || forged {
            continue;
        }
        let plain = zstd::stream::decode_all(&*fs::read(&path).unwrap()).unwrap();
        let mut request = ExportLogsServiceRequest::decode(&*plain).unwrap();
        request.resource_logs.remove(0);
        let bytes = zstd::stream::encode_all(&*request.encode_to_vec(), 3).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        forged = true;
    }
    assert!(forged);
    let (exit, findings) = verify(&root, &policy);
    assert_eq!(
        (exit, findings),
        (1, vec!["I1 altered".to_owned(), "I2 audit_chain".to_owned()])
    );
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[tokio::test]
async fn a_gateway_that_fails_closed_takes_nothing_while_its_trail_is_full() {
    let (data, trail) = (Peer::start().await, Peer::start().await);
    let busy = Answer::Grpc {
        code: 14,
        message: "not yet",
        retry_ms: None,
    };
    trail.always(busy);
    // Each configuration is kept as a text, which fills the trail.
    let text = |n: u32| {
        let filler = format!(
            "  resource/{n}: {{attributes: [{{key: k, value: {}, action: insert}}]}}\n",
            "x".repeat(900_000)
        );
        let text = config(&data, &trail, free_port(), "");
        let text = text.replace("auth: {authenticator: basicauth}", "cors: {}");
        let text = text.replace("exporters:\n", &format!("{filler}exporters:\n"));
        let text = text.replace("    logs: {", &format!("    logs/{n}: {{receivers: [otlp], processors: [resource/{n}], exporters: [otlp_grpc]}}\n    logs: {{"));
        let text = text.replace("  pipelines:", "  audit: {fail_closed: true}\n  pipelines:");
        text.replace(
            "otlp_grpc/trail: {",
            "otlp_grpc/trail: {sending_queue: {enabled: false}, retry_on_failure: {enabled: false}, ",
        )
    };
    let gateway = Gateway::start(&text(0)).await;
    let post = async || {
        let body = sample::logs(1).encode_to_vec();
        client::post_otlp(gateway.http, "/v1/logs", &body).await.status
    };
    assert_eq!(post().await, 200);
    for n in 1..6 {
        gateway.reload(&text(n)).await.unwrap();
    }
    assert_eq!(post().await, 503);
    assert!(gateway.metrics().contains("weir_audit_full 1"));
    trail.always(Answer::Ok);
    until("the trail has room again", || {
        gateway.metrics().contains("weir_audit_full 0")
    })
    .await;
    assert_eq!(post().await, 200);
    gateway.stop().await;
    acts(&trail);
}

/// What is wrong with a configuration, without places.
fn faults(text: &str) -> Vec<String> {
    let source = [("gw.yaml".to_owned(), text.to_owned())];
    match weir::service::validate(&source, &::config::Gates::default()) {
        Ok(_) => Vec::new(),
        Err(::config::Diags(faults)) => {
            let told = faults
                .into_iter()
                .map(|fault| format!("{}: {}", fault.path, fault.message));
            told.collect()
        }
    }
}

#[test]
fn the_pipeline_is_fed_by_the_gateway_alone() {
    let text = |service: &str, pipeline: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{grpc: }}}}}}\nprocessors: {{batch: }}\nexporters: {{debug: }}\nservice:\n{service}  pipelines:\n    logs: {{receivers: [otlp], exporters: [debug]}}\n{pipeline}"
        )
    };
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(faults(text), expected, "{text}");
    }
    check(&text("", "    logs/audit: {exporters: [debug]}\n"), &[]);
    check(
        &text(
            "  audit: {fail_closed: true}\n",
            "    logs/audit: {exporters: [debug]}\n",
        ),
        &[],
    );
    // What it means to the collector.
    check(
        &text(
            "",
            "    logs/audit: {receivers: [otlp], processors: [batch], exporters: [debug]}\n",
        ),
        &[],
    );
    check(
        &text("", "    logs/other: {exporters: [debug]}\n"),
        &["service::pipelines::logs/other: must have at least one receiver"],
    );
    check(
        &text(
            "  audit: {}\n",
            "    logs/audit: {receivers: [otlp], exporters: [debug]}\n",
        ),
        &[
            "service::pipelines::logs/audit: the audit trail comes from the gateway as it is: receivers has otlp",
        ],
    );
    check(
        &text("", "    logs/audit: {processors: [batch], exporters: [debug]}\n"),
        &[
            "service::pipelines::logs/audit: the audit trail comes from the gateway as it is: processors has batch",
        ],
    );
    check(
        &text("  audit: {}\n", ""),
        &["service::audit: there is no archive, and no pipeline logs/audit"],
    );
    check(
        &text(
            "  audit: {storage: file_storage}\n",
            "    logs/audit: {exporters: [debug]}\n",
        ),
        &["service::audit::storage: storage \"file_storage\" is not among service::extensions"],
    );
}

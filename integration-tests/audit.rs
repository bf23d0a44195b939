//! The audit trail of the whole gateway: what happens to it arrives as records that hang together, without a secret.

use codec::base64::{self, Alphabet};
use evidence::audit::Trails;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;

use crate::support::client;
use crate::support::gateway::{Gateway, free_port};
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

/// Every record that a peer took, in order, each a request's one record in a resource of its own.
fn records(peer: &Peer) -> Vec<LogRecord> {
    let mut all = Vec::new();
    for request in peer.logs() {
        for resource in request.resource_logs {
            let attributes = resource.resource.unwrap().attributes;
            assert_eq!(attributes[0], sample::attr("service.name", sample::text("weir")));
            assert_eq!(attributes[1].key, "service.instance.id");
            for scope in resource.scope_logs {
                assert_eq!(scope.scope.unwrap().name, "weir.audit");
                all.extend(scope.log_records);
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

    let everything = format!("{records:?}");
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

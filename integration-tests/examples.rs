//! The files in `configs/` as they are, but for their places: they run, and do what their first lines say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::Message;
use telemetry::{Column, Node, Place};
use wire::Signal;

use crate::elasticsearch::{Cluster, Turn};
use crate::support::client::{self, Grpc, GrpcAnswer, LOGS, METRICS, TRACES, frame};
use crate::support::gateway::Gateway;
use crate::support::kills::archive::Archived;
use crate::support::peer::{Answer, Peer};
use crate::support::{sample, tls, until};

/// An example with other places, each of which it must name; its own metrics are off.
fn example(name: &str, places: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name);
    let mut text = fs::read_to_string(path).expect("the example is there");
    let quiet = (
        "\nservice:\n",
        "\nservice:\n  telemetry: {metrics: {level: none}}\n".to_owned(),
    );
    for (from, to) in places.iter().chain([&quiet]) {
        assert!(text.contains(from), "{name} does not name {from:?}");
        text = text.replace(from, to);
    }
    text
}

/// One record of each service, severity and body.
fn records(all: &[(&str, i32, &str)]) -> ExportLogsServiceRequest {
    let group = |(service, severity, body): &(&str, i32, &str)| {
        let mut group = sample::logs(1).resource_logs.remove(0);
        group.resource.get_or_insert_default().attributes = texts(&[("service.name", service)]);
        let record = &mut group.scope_logs[0].log_records[0];
        (record.severity_number, record.body) = (*severity, Some(sample::text(body)));
        record.attributes.clear();
        group
    };
    ExportLogsServiceRequest {
        resource_logs: all.iter().map(group).collect(),
    }
}

fn texts(all: &[(&str, &str)]) -> Vec<KeyValue> {
    let attribute = |(key, value): &(&str, &str)| sample::attr(key, sample::text(value));
    all.iter().map(attribute).collect()
}

/// One span of each trace, for a service; others say what is special about each.
fn spans(service: &str, ids: std::ops::Range<u8>, change: impl Fn(&mut Span)) -> Vec<u8> {
    let mut request = sample::traces(1);
    let group = &mut request.resource_spans[0];
    group.resource.get_or_insert_default().attributes = texts(&[("service.name", service)]);
    let pattern = group.scope_spans[0].spans.remove(0);
    let span = |id: u8| {
        let mut span = Span {
            trace_id: vec![id; 16],
            name: format!("span {id}"),
            status: None,
            trace_state: String::new(),
            attributes: Vec::new(),
            ..pattern.clone()
        };
        change(&mut span);
        span
    };
    group.scope_spans[0].spans = ids.map(span).collect();
    request.encode_to_vec()
}

fn text_of(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}

fn log_records(peer: &Peer) -> Vec<LogRecord> {
    let taken = peer.taken().into_iter().filter(|one| one.path == LOGS);
    let requests = taken.map(|one| ExportLogsServiceRequest::decode(one.message).unwrap());
    let scopes = requests
        .flat_map(|request| request.resource_logs)
        .flat_map(|g| g.scope_logs);
    scopes.flat_map(|scope| scope.log_records).collect()
}

fn bodies(peer: &Peer) -> Vec<String> {
    let mut all: Vec<String> = log_records(peer)
        .iter()
        .map(|record| text_of(record.body.as_ref()))
        .collect();
    all.sort();
    all
}

fn spans_of(peer: &Peer) -> Vec<Span> {
    let taken = peer.taken().into_iter().filter(|one| one.path == TRACES);
    let requests = taken.map(|one| ExportTraceServiceRequest::decode(one.message).unwrap());
    let scopes = requests
        .flat_map(|request| request.resource_spans)
        .flat_map(|g| g.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

async fn export(grpc: &Grpc, path: &str, message: &[u8], headers: &[(&str, &str)]) -> GrpcAnswer {
    grpc.call(path, frame(0, message), headers, true).await
}

fn exporter(id: &str) -> Place {
    Place::Node(Node::Exporter(id.into()))
}

#[tokio::test]
async fn ways() {
    let names = ["acme", "errors", "first", "second", "samplers"];
    let mut peers = BTreeMap::new();
    for name in names {
        peers.insert(name, Peer::start().await);
    }
    let at = |name: &str| format!("\"{}\"", peers[name].addr);
    let text = example(
        "ways.yaml",
        &[
            ("\"127.0.0.1:4317\"", "\"127.0.0.1:{grpc}\"".to_owned()),
            ("\"acme:4317\"", at("acme")),
            ("\"errors:4317\"", at("errors")),
            ("\"first:4317\"", at("first")),
            ("\"second:4317\"", at("second")),
            ("samplers.example.com", "127.0.0.1".to_owned()),
            ("\"4317\"", format!("\"{}\"", peers["samplers"].addr.port())),
        ],
    );
    let gateway = Gateway::start(&text).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let request = |name: &str| {
        let of = |what: &str| format!("{name} {what}");
        let mut request = records(&[
            ("a", 9, &of("calm")),
            ("a", 17, &of("bad")),
            ("t", 9, &of("test")),
        ]);
        let test = texts(&[("deployment.environment.name", "test")]);
        request.resource_logs[2]
            .resource
            .get_or_insert_default()
            .attributes = test;
        request.encode_to_vec()
    };
    let answer = export(&grpc, LOGS, &request("1"), &[("x-tenant", "acme")]).await;
    assert_eq!(answer.code, 0, "{}", answer.message);
    assert_eq!(export(&grpc, LOGS, &request("2"), &[]).await.code, 0);
    // What the first place does not take goes to the second.
    peers["first"].always(Answer::Grpc {
        code: 8,
        message: "full",
        retry_ms: Some(60_000),
    });
    assert_eq!(export(&grpc, LOGS, &request("3"), &[]).await.code, 0);
    let traces = spans("a", 1..5, |_| {});
    assert_eq!(grpc.export(TRACES, &traces).await.code, 0);
    let expected: [(&str, &[&str]); 4] = [
        ("acme", &["1 bad", "1 calm", "1 test"]),
        ("errors", &["2 bad", "3 bad"]),
        ("first", &["2 bad", "2 calm"]),
        ("second", &["3 bad", "3 calm"]),
    ];
    for (name, expected) in expected {
        until(name, || bodies(&peers[name]).len() == expected.len()).await;
        assert_eq!(bodies(&peers[name]), expected, "{name}");
    }
    until("the traces came", || spans_of(&peers["samplers"]).len() == 4).await;
    let debug = || gateway.books(exporter("debug"), Signal::Logs).get(Column::Out);
    until("test data is shown", || debug() == 2).await;
    until("all is booked", || {
        let ledger = &gateway.telemetry().ledger;
        ledger.rows().iter().all(|row| row.total().held() == 0)
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn tenants() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).display().to_string();
    let ids = [
        "spiffe://mesh.example/ns/payments-staging/sa/agent",
        "spiffe://other.example/ns/payments/sa/agent",
    ];
    let clients = tls::certificates(dir.path(), &ids);
    fs::write(dir.path().join("htpasswd"), "acme:hunter2\n").unwrap();
    let peer = Peer::start().await;
    let text = example(
        "tenants.yaml",
        &[
            ("${env:WEIR_STORAGE:-/var/lib/weir/journal}", place("journal")),
            ("${env:WEIR_HTPASSWD:-/etc/weir/htpasswd}", place("htpasswd")),
            ("${env:WEIR_FILES:-/var/lib/weir/files}", place("files")),
            (
                "${env:WEIR_BACKEND:-https://backend.example.com/otlp}",
                format!("http://{}/otlp", peer.addr),
            ),
            ("0.0.0.0:4317", "127.0.0.1:{grpc}".to_owned()),
            ("127.0.0.1:4318", "127.0.0.1:{http}".to_owned()),
            (
                "cert_file: server.crt",
                format!("cert_file: {}", place("server.pem")),
            ),
            (
                "key_file: server.key",
                format!("key_file: {}", place("server.key")),
            ),
            (
                "client_ca_file: mesh-ca.crt",
                format!("client_ca_file: {}", place("ca.pem")),
            ),
        ],
    );
    let gateway = Gateway::start(&text).await;
    for (client, body) in clients.into_iter().zip(["of payments", "of a stranger"]) {
        let stream = tls::connect(dir.path(), gateway.grpc, "h2", client).await;
        let grpc = Grpc::over(stream).await;
        let answer = grpc
            .export(LOGS, &records(&[("s", 9, body)]).encode_to_vec())
            .await;
        assert_eq!(answer.code, 0, "{}", answer.message);
    }
    let body = records(&[("s", 9, "of acme")]).encode_to_vec();
    let post = async |password: &str| {
        let basic = format!("Basic {}", standard_base64(format!("acme:{password}").as_bytes()));
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("authorization", basic.as_str()),
        ];
        client::post(gateway.http, "/v1/logs", &headers, &body)
            .await
            .status
    };
    assert_eq!(post("wrong").await, 401);
    assert_eq!(post("hunter2").await, 200);
    let out = || {
        gateway
            .books(exporter("otlp_http"), Signal::Logs)
            .get(Column::Out)
    };
    until("both tenants' data is delivered", || out() == 2).await;
    let arrived: BTreeMap<String, Vec<String>> = peer
        .taken()
        .iter()
        .map(|one| {
            assert_eq!(one.path, "/otlp/v1/logs");
            let request = ExportLogsServiceRequest::decode(one.message.clone()).unwrap();
            let scopes = request.resource_logs.iter().flat_map(|g| &g.scope_logs);
            let records = scopes.flat_map(|s| &s.log_records);
            let bodies = records.map(|record| text_of(record.body.as_ref())).collect();
            (one.headers["x-scope-orgid"].to_str().unwrap().to_owned(), bodies)
        })
        .collect();
    let expected = [("acme", "of acme"), ("payments", "of payments")];
    let expected = expected.map(|(tenant, body)| (tenant.to_owned(), vec![body.to_owned()]));
    assert_eq!(arrived, expected.into());
    gateway.stop().await;
    let strangers = fs::read_to_string(dir.path().join("files/strangers.jsonl")).unwrap();
    assert!(strangers.contains("of a stranger"), "{strangers}");
    assert_eq!(strangers.lines().count(), 1, "{strangers}");
}

/// With padding, as in headers.
fn standard_base64(bytes: &[u8]) -> String {
    let text = crate::support::peer::base64(bytes);
    let padding = (4 - text.len() % 4) % 4;
    text + &"=".repeat(padding)
}

#[tokio::test]
async fn redaction() {
    let peer = Peer::start().await;
    let text = example(
        "redaction.yaml",
        &[
            ("127.0.0.1:4317", "127.0.0.1:{grpc}".to_owned()),
            ("127.0.0.1:4318", "127.0.0.1:{http}".to_owned()),
            ("127.0.0.1:4319", peer.addr.to_string()),
        ],
    );
    let gateway = Gateway::start(&text).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let mut request = records(&[
        ("s", 9, "card 4111 1111 1111 1111 of ann@example.com"),
        (
            "s",
            9,
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
        ),
        ("s", 9, "GET /health 200 0.012"),
    ]);
    request.resource_logs[2].scope_logs[0].log_records[0].attributes =
        texts(&[("password", "hunter2"), ("support.contact", "help@example.com")]);
    assert_eq!(grpc.export(LOGS, &request.encode_to_vec()).await.code, 0);
    let traces = spans("s", 1..2, |span| {
        span.attributes = texts(&[(
            "url.full",
            "https://shop.example/orders/8f14e45f-ceea-467f-a9e2-3d0c1b7a5e66",
        )]);
    });
    assert_eq!(grpc.export(TRACES, &traces).await.code, 0);
    until("the records came", || log_records(&peer).len() == 2).await;
    assert_eq!(
        bodies(&peer),
        ["GET /health 200 0.012", "card **** **** **** 1111 of [contact]"]
    );
    let all = log_records(&peer);
    let quiet = all.iter().find(|record| !record.attributes.is_empty()).unwrap();
    let shown: Vec<String> = quiet
        .attributes
        .iter()
        .map(|a| format!("{}={}", a.key, text_of(a.value.as_ref())))
        .collect();
    assert_eq!(shown, ["password=****", "support.contact=help@example.com"]);
    until("the span came", || !spans_of(&peer).is_empty()).await;
    let url = text_of(spans_of(&peer)[0].attributes[0].value.as_ref());
    assert!(url.contains("/orders/") && !url.contains("8f14e45f"), "{url}");
    let all: String = peer
        .received()
        .iter()
        .map(|one| String::from_utf8_lossy(&one.message).into_owned())
        .collect();
    for secret in ["4111 1111", "ann@", "MIIEow", "hunter2", "8f14e45f"] {
        assert!(!all.contains(secret), "{secret} got out");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn shaping() {
    let peer = Peer::start().await;
    let text = example(
        "shaping.yaml",
        &[
            (
                "endpoint: 127.0.0.1:4317",
                "endpoint: 127.0.0.1:{grpc}".to_owned(),
            ),
            ("127.0.0.1:14317", peer.addr.to_string()),
        ],
    );
    let gateway = Gateway::start(&text).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let calm = ("shop", 9, "all is well");
    let request = records(&[
        calm,
        ("shop", 17, "it burns"),
        calm,
        calm,
        ("shop", 17, "it burns"),
    ]);
    assert_eq!(grpc.export(LOGS, &request.encode_to_vec()).await.code, 0);
    let traces = spans("shop", 1..4, |_| {});
    assert_eq!(grpc.export(TRACES, &traces).await.code, 0);
    assert_eq!(
        grpc.export(METRICS, &sample::metrics().encode_to_vec())
            .await
            .code,
        0
    );
    // What was gathered goes on at the stop.
    gateway.stop().await;
    assert_eq!(bodies(&peer), ["all is well", "it burns", "it burns"]);
    let all = log_records(&peer);
    let calm = all
        .iter()
        .find(|r| text_of(r.body.as_ref()) == "all is well")
        .unwrap();
    let count = calm.attributes.iter().find(|a| a.key == "count").unwrap();
    assert_eq!(count.value, Some(sample::any(Value::IntValue(3))));
    assert_eq!(spans_of(&peer).len(), 3);
    let metrics = peer.taken().into_iter().filter(|one| one.path == METRICS);
    let requests = metrics.map(|one| ExportMetricsServiceRequest::decode(one.message).unwrap());
    let scopes = requests
        .flat_map(|request| request.resource_metrics)
        .flat_map(|g| g.scope_metrics);
    let names: Vec<String> = scopes.flat_map(|s| s.metrics).map(|m| m.name).collect();
    for name in [
        "log.errors",
        "traces.span.metrics.calls",
        "traces.span.metrics.duration",
    ] {
        assert!(
            names.iter().any(|known| known == name),
            "{name} is not among {names:?}"
        );
    }
}

#[tokio::test]
async fn sampling() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start().await;
    let text = example(
        "sampling.yaml",
        &[
            (
                "${env:WEIR_STORAGE:-/var/lib/weir/journal}",
                folder.path().display().to_string(),
            ),
            (
                "      grpc:\n      http:\n",
                "      grpc: {endpoint: \"127.0.0.1:{grpc}\"}\n".to_owned(),
            ),
            ("decision_wait: 10s", "decision_wait: 1s".to_owned()),
            ("tempo:4317", peer.addr.to_string()),
        ],
    );
    let gateway = Gateway::start(&text).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let failed = Some(Status {
        message: String::new(),
        code: 2,
    });
    let requests = [
        spans("a", 1..4, |span| span.status.clone_from(&failed)),
        spans("a", 4..6, |span| {
            span.end_time_unix_nano = span.start_time_unix_nano + 2_500_000_000;
        }),
        spans("a", 6..9, |span| {
            span.attributes = texts(&[("url.path", "/healthz")])
        }),
        spans("a", 9..200, |_| {}),
    ];
    for request in &requests {
        assert_eq!(grpc.export(TRACES, request).await.code, 0);
    }
    let place = Place::Node(Node::Processor {
        pipeline: "traces".into(),
        id: "tail_sampling".into(),
    });
    let books = || gateway.books(place.clone(), Signal::Traces);
    until("everything is decided on", || {
        let books = books();
        books.get(Column::In) == 199 && books.held() == 0
    })
    .await;
    let books = books();
    let out = |id| gateway.books(exporter(id), Signal::Traces).get(Column::Out);
    until("all is delivered", || out("otlp_grpc") == books.get(Column::Out)).await;
    let ids: Vec<u8> = spans_of(&peer).iter().map(|span| span.trace_id[0]).collect();
    assert!(
        (1..6).all(|id| ids.contains(&id)),
        "failed and slow traces stay: {ids:?}"
    );
    assert!((6..9).all(|id| !ids.contains(&id)), "{ids:?}");
    // A tenth of 191 by a hash of the id, which is the same each time.
    assert!((5..40).contains(&(ids.len() - 5)), "{ids:?}");
    let rest = 191 - (ids.len() as u64 - 5);
    let reasons: Vec<(String, u64)> = books.dropped.into_iter().collect();
    assert_eq!(
        reasons,
        [
            ("sampled_out:health-checks".to_owned(), 3),
            ("sampled_out:tenth".to_owned(), rest)
        ]
    );
    gateway.stop().await;
}

#[tokio::test]
async fn ottl() {
    let peer = Peer::start().await;
    let text = example(
        "ottl.yaml",
        &[
            ("0.0.0.0:4317", "127.0.0.1:{grpc}".to_owned()),
            ("0.0.0.0:4318", "127.0.0.1:{http}".to_owned()),
            (
                "\"backend:4317\", compression: zstd",
                format!("\"{}\", compression: none, tls: {{insecure: true}}", peer.addr),
            ),
        ],
    );
    let gateway = Gateway::start(&text).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let request = records(&[
        ("shop", 5, "debugging"),
        ("shop", 9, r#"{"msg": "paid", "fields": {"order": "o-1"}}"#),
        ("shop", 9, "plain"),
    ]);
    assert_eq!(grpc.export(LOGS, &request.encode_to_vec()).await.code, 0);
    let traces = spans("shop", 1..3, |span| {
        span.name = format!("GET /orders/{}", span.trace_id[0]);
        let path = if span.trace_id[0] == 1 {
            "/healthz"
        } else {
            "/orders"
        };
        span.attributes = texts(&[("url.path", path), ("http.method", "GET")]);
    });
    assert_eq!(grpc.export(TRACES, &traces).await.code, 0);
    until("all came", || {
        log_records(&peer).len() == 2 && !spans_of(&peer).is_empty()
    })
    .await;
    assert_eq!(bodies(&peer), ["paid", "plain"]);
    let all = log_records(&peer);
    let paid = all.iter().find(|r| text_of(r.body.as_ref()) == "paid").unwrap();
    assert_eq!(paid.attributes, texts(&[("order", "o-1")]));
    let spans = spans_of(&peer);
    assert_eq!((spans.len(), spans[0].name.as_str()), (1, "GET /orders/{id}"));
    let method = spans[0]
        .attributes
        .iter()
        .find(|a| a.key == "http.request.method");
    assert_eq!(method.map(|a| text_of(a.value.as_ref())).as_deref(), Some("GET"));
    gateway.stop().await;
}

#[tokio::test]
async fn loki() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start().await;
    let text = example(
        "loki.yaml",
        &[
            (
                "${env:WEIR_ARCHIVE:-/var/lib/weir}",
                dir.path().display().to_string(),
            ),
            (
                "${env:WEIR_LOKI:-http://loki:3100}",
                format!("http://{}", peer.addr),
            ),
            ("127.0.0.1:4317", "127.0.0.1:{grpc}".to_owned()),
            ("127.0.0.1:4318", "127.0.0.1:{http}".to_owned()),
            // The sample is of a day long ago, and one record of it of long before that.
            ("max_age: 168h", "max_age: 240000h".to_owned()),
        ],
    );
    let gateway = Gateway::start(&text).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let mut request = records(&[
        ("cart", 9, "paid with 4111 1111 1111 1111"),
        ("cart", 9, "too old"),
    ]);
    for (at, time) in [(0, 1_760_000_000_000_000_000), (1, 1)] {
        let one = &mut request.resource_logs[at].scope_logs[0].log_records[0];
        one.time_unix_nano = time;
        one.attributes = texts(&[("password", "hunter2")]);
    }
    assert_eq!(grpc.export(LOGS, &request.encode_to_vec()).await.code, 0);
    let books = || gateway.books(exporter("loki"), Signal::Logs);
    until("both are booked", || {
        books().get(Column::Out) == 1 && books().failed_all() == 1
    })
    .await;
    let taken = peer.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].path, "/loki/api/v1/push");
    let push = crate::loki::push(&taken[0]);
    assert_eq!(push.streams[0].labels, "{service_name=\"cart\"}");
    let entry = &push.streams[0].entries[0];
    assert_eq!(entry.line, "paid with ****");
    let pair = |name: &str| {
        let found = entry.metadata.iter().find(|pair| pair.name == name);
        found.map(|pair| pair.value.clone())
    };
    assert_eq!(pair("password").as_deref(), Some("****"));
    let refused = dir.path().join("refused.jsonl");
    until("the old one is laid down", || {
        fs::read_to_string(&refused).is_ok_and(|text| text.contains("too old"))
    })
    .await;
    gateway.stop().await;
    assert_eq!(Archived::verified(&dir.path().join("archive")).records("logs"), 2);
}

#[tokio::test]
async fn loki_tenants() {
    let peer = Peer::start().await;
    let text = example(
        "loki-tenants.yaml",
        &[
            (
                "${env:WEIR_LOKI:-http://loki:3100}",
                format!("http://{}", peer.addr),
            ),
            ("127.0.0.1:4317", "127.0.0.1:{grpc}".to_owned()),
        ],
    );
    let gateway = Gateway::start(&text).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    for tenant in ["red", "blue"] {
        let message = records(&[("cart", 9, &format!("of {tenant}"))]).encode_to_vec();
        let answer = export(&grpc, LOGS, &message, &[("x-tenant", tenant)]).await;
        assert_eq!(answer.code, 0, "{}", answer.message);
    }
    let nobody = records(&[("cart", 9, "of nobody")]).encode_to_vec();
    assert_eq!(export(&grpc, LOGS, &nobody, &[]).await.code, 7);
    until("both are delivered", || peer.taken().len() == 2).await;
    let arrived: BTreeMap<String, (String, Vec<String>)> = peer
        .taken()
        .iter()
        .map(|one| {
            let tenant = one.headers["x-scope-orgid"].to_str().unwrap().to_owned();
            let labels = crate::loki::push(one).streams[0].labels.clone();
            (tenant, (labels, crate::loki::lines([one])))
        })
        .collect();
    let expected = ["blue", "red"].map(|tenant| {
        let labels = format!("{{service_name=\"cart\", team=\"{tenant}\"}}");
        (tenant.to_owned(), (labels, vec![format!("of {tenant}")]))
    });
    assert_eq!(arrived, expected.into());
    gateway.stop().await;
}

#[tokio::test]
async fn loki_otlp() {
    let peer = Peer::start().await;
    let text = example(
        "loki-otlp.yaml",
        &[
            (
                "${env:WEIR_LOKI:-http://loki:3100}",
                format!("http://{}", peer.addr),
            ),
            ("127.0.0.1:4317", "127.0.0.1:{grpc}".to_owned()),
            ("127.0.0.1:4318", "127.0.0.1:{http}".to_owned()),
        ],
    );
    let gateway = Gateway::start(&text).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let request = records(&[("cart", 9, "as it came")]);
    assert_eq!(grpc.export(LOGS, &request.encode_to_vec()).await.code, 0);
    until("it is delivered", || peer.taken().len() == 1).await;
    let one = &peer.taken()[0];
    assert_eq!(
        (one.path.as_str(), &one.headers["x-scope-orgid"]),
        ("/otlp/v1/logs", &"acme".parse().unwrap())
    );
    assert_eq!(one.headers["content-type"], "application/x-protobuf");
    assert_eq!(one.message, request.encode_to_vec());
    gateway.stop().await;
}

#[tokio::test]
async fn victorialogs() {
    let dir = tempfile::tempdir().unwrap();
    let refused = dir.path().join("refused.jsonl");
    let peer = Peer::start().await;
    let text = example(
        "victorialogs.yaml",
        &[
            (
                "${env:VICTORIALOGS:-http://victorialogs:9428}",
                format!("http://{}", peer.addr),
            ),
            ("/var/lib/weir/refused.jsonl", refused.display().to_string()),
            ("127.0.0.1:4317", "127.0.0.1:{grpc}".to_owned()),
            ("127.0.0.1:4318", "127.0.0.1:{http}".to_owned()),
            ("flush_timeout: 1s", "flush_timeout: 10ms".to_owned()),
        ],
    );
    let gateway = Gateway::start(&text).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let mut request = records(&[("cart", 9, "{\"paid\":1}"), ("cart", 9, "of last year")]);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    request.resource_logs[0].scope_logs[0].log_records[0].time_unix_nano = now;
    assert_eq!(grpc.export(LOGS, &request.encode_to_vec()).await.code, 0);
    until("it is delivered", || peer.taken().len() == 1).await;
    let one = &peer.taken()[0];
    assert_eq!(one.path, "/insert/loki/api/v1/push");
    assert_eq!(one.headers["vl-loki-disable-message-parsing"], "true");
    assert_eq!(one.headers["x-scope-orgid"], "0:0");
    assert_eq!(
        crate::loki::push(one).streams[0].labels,
        "{service_name=\"cart\"}"
    );
    assert_eq!(crate::loki::lines([one]), ["{\"paid\":1}"]);
    until("the old one is laid down", || {
        fs::read_to_string(&refused).is_ok_and(|text| text.contains("of last year"))
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn elasticsearch() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).display().to_string();
    // The second document of the first request is turned down.
    let cluster = Cluster::start([Turn::Each(&[201, 400, 201])]).await;
    let text = example(
        "elasticsearch.yaml",
        &[
            ("127.0.0.1:4317", "127.0.0.1:{grpc}".to_owned()),
            ("127.0.0.1:4318", "127.0.0.1:{http}".to_owned()),
            ("http://127.0.0.1:9200", format!("http://{}", cluster.addr)),
            ("ELASTIC_API_KEY:-", "ELASTIC_API_KEY:-c2VjcmV0".to_owned()),
            ("/var/lib/weir/journal", place("journal")),
            ("/var/lib/weir/rejected.json", place("rejected.json")),
            ("flush_timeout: 1s", "flush_timeout: 10ms".to_owned()),
        ],
    );
    let gateway = Gateway::start(&text).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let mut request = records(&[
        ("shop", 17, "lost order"),
        ("shop", 9, "bad"),
        ("desk", 9, "calm"),
    ]);
    let team = texts(&[("service.name", "desk"), ("team", "desk-team")]);
    request.resource_logs[2]
        .resource
        .get_or_insert_default()
        .attributes = team;
    assert_eq!(export(&grpc, LOGS, &request.encode_to_vec(), &[]).await.code, 0);
    until("the logs came", || cluster.stored().len() == 2).await;
    // What Kibana looks for in logs.
    let stored = cluster.stored();
    let (index, _, document) = &stored[0];
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(index, "logs-generic.otel-default");
    assert_eq!(
        document["data_stream"],
        serde_json::json!({"type": "logs", "dataset": "generic.otel", "namespace": "default"})
    );
    let millis = document["@timestamp"]
        .as_str()
        .and_then(|text| text.split('.').next());
    assert_eq!(
        millis,
        Some((record.time_unix_nano / 1_000_000).to_string().as_str())
    );
    assert_eq!(document["severity_number"], 17);
    assert_eq!(document["resource"]["attributes"]["service.name"], "shop");
    assert_eq!(document["body"]["text"], "lost order");
    let trace: String = record.trace_id.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(document["trace_id"], trace.as_str());
    assert_eq!(stored[1].0, "logs-desk_team.otel-default");
    let seen = &cluster.seen()[0];
    assert!(
        seen.query.ends_with("&require_data_stream=true"),
        "{}",
        seen.query
    );
    assert_eq!(seen.headers["authorization"], "ApiKey c2VjcmV0");
    until("what was turned down lies in the file", || {
        fs::read_to_string(place("rejected.json")).is_ok_and(|text| text.contains("\"bad\""))
    })
    .await;
    let laid = fs::read_to_string(place("rejected.json")).unwrap();
    assert!(!laid.contains("lost order") && !laid.contains("calm"), "{laid}");
    assert_eq!(
        grpc.export(TRACES, &spans("shop", 1..3, |span| span.events.clear()))
            .await
            .code,
        0
    );
    until("the spans came", || cluster.stored().len() == 4).await;
    assert_eq!(cluster.stored()[2].0, "traces-generic.otel-default");
    let books = || gateway.books(exporter("elasticsearch"), Signal::Logs);
    assert_eq!((books().get(Column::Out), books().failed_all()), (2, 1));
    gateway.stop().await;
}

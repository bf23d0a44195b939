//! VictoriaLogs, which has Loki's push, the path of OTLP and `_bulk`: what a gateway sends it in each of these ways is read
//! back with LogsQL as it was sent, and what it refuses, and while it is away, nothing is lost without a word.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::client::{HttpAnswer, post, raw};
use super::gateway::{Gateway, weir};
use super::pipelines::{booked, service};
use super::records::{NS, TRACE, document, iso, logs, of_record};
use super::server::Server;
use super::{free_port, get, installed, until};

// --- VictoriaLogs ---

/// What is stored of a log record: texts by name.
type Fields = BTreeMap<String, String>;

/// What stands for the message of a record that has none.
const NO_MESSAGE: &str =
    "missing _msg field; see https://docs.victoriametrics.com/victorialogs/keyconcepts/#message-field";
/// The records of these tests have times of 2025.
const FOR_EVER: &str = "-retentionPeriod=100y";

struct VictoriaLogs {
    port: u16,
    server: Option<Server>,
    data: tempfile::TempDir,
}

impl VictoriaLogs {
    /// None where it is not installed.
    async fn start(flags: &[&str]) -> Option<VictoriaLogs> {
        installed("victoria-logs/victoria-logs")?;
        let mut started = VictoriaLogs {
            port: free_port(),
            server: None,
            data: tempfile::tempdir().unwrap(),
        };
        started.run(flags).await;
        Some(started)
    }

    /// Again, with what it has stored.
    async fn run(&mut self, flags: &[&str]) {
        let port = self.port;
        let program = installed("victoria-logs/victoria-logs").expect("it is installed");
        let listen = format!("-httpListenAddr=127.0.0.1:{port}");
        let data = format!("-storageDataPath={}", self.data.path().display());
        let mut arguments = vec![listen.as_str(), &data];
        arguments.extend(flags);
        let ready = || async move {
            get(port, "/health")
                .await
                .is_some_and(|(status, _)| status == 200)
        };
        self.server = Some(Server::start(program, &arguments, &[], ready).await);
    }

    async fn stop(&mut self) {
        let server = self.server.take().expect("it runs");
        server.stop().await;
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/insert/{path}", self.port)
    }

    /// All that a tenant has, `ACCOUNT:PROJECT`, in the order of the times.
    async fn stored(&self, tenant: &str) -> Vec<Fields> {
        // What was taken in cannot be found at once.
        assert_eq!(
            get(self.port, "/internal/force_flush")
                .await
                .expect("it listens")
                .0,
            200
        );
        let (account, project) = tenant.split_once(':').expect("ACCOUNT:PROJECT");
        // In the old protocol, whose answers are not chunked.
        let request = format!(
            "GET /select/logsql/query?query=*%20|%20sort%20by%20(_time) HTTP/1.0\r\nhost: logs\r\n\
             accountid: {account}\r\nprojectid: {project}\r\n\r\n"
        );
        let answer = raw(SocketAddr::from(([127, 0, 0, 1], self.port)), request.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let lines = answer
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let fields = |line: &[u8]| {
            let mut fields: Fields = serde_json::from_slice(line).unwrap();
            fields.remove("_stream_id");
            fields
        };
        lines.map(fields).collect()
    }

    /// Those texts of a tenant's records, in the order of the times.
    async fn messages(&self, tenant: &str) -> Vec<String> {
        let message = |mut fields: Fields| fields.remove("_msg").expect("a message");
        self.stored(tenant).await.into_iter().map(message).collect()
    }
}

// --- Gateways ---

/// A gateway that hands what comes in to each of these exporters, `ID: KEYS`, a line each.
async fn gateway(exporters: &str) -> Gateway {
    let lines = || exporters.lines().filter(|line| !line.trim().is_empty());
    let ids: Vec<&str> = lines()
        .map(|line| line.trim().split(':').next().unwrap())
        .collect();
    let mut blocks = String::new();
    for line in lines() {
        writeln!(blocks, "  {}", line.trim()).unwrap();
    }
    let text = format!(
        "receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{{http}}', include_metadata: true}}}}}}
processors:
  tenant: {{from: [{{header: x-tenant, trusted: {{anyone: true}}}}]}}
exporters:
{blocks}{}",
        service(&format!(
            "logs: {{receivers: [otlp], processors: [tenant], exporters: [{}]}}",
            ids.join(", ")
        ))
    );
    Gateway::run(&weir(), &text).await
}

/// Whoever sends waits for the store, or not.
const DIRECT: &str = "sending_queue: {enabled: false}";
const QUEUED: &str = "sending_queue: {queue_size: 1000, batch: {flush_timeout: 10ms}}, \
     retry_on_failure: {initial_interval: 50ms, max_interval: 500ms, max_elapsed_time: 0}";

async fn send(gateway: &Gateway, tenant: &str, request: &Value) -> HttpAnswer {
    let addr = SocketAddr::from(([127, 0, 0, 1], gateway.http));
    let headers = [("content-type", "application/json"), ("x-tenant", tenant)];
    post(addr, "/v1/logs", &headers, request.to_string().as_bytes()).await
}

/// Sends what is taken whole.
async fn taken(gateway: &Gateway, tenant: &str, request: &Value) {
    let answer = send(gateway, tenant, request).await;
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    assert_eq!((answer.status, body), (200, json!({"partialSuccess": {}})));
}

// --- Records ---

const RECORDS: u64 = 60;

fn resource() -> Value {
    json!({"service.name": "cart", "service.namespace": "shop", "host.name": "h\"1"})
}

/// A text in which something is odd.
fn body(at: u64) -> String {
    match at % 10 {
        0 => String::new(),
        1 => format!("line {at}\n\tat first\r\n\tat second\n"),
        2 => format!(r#"{{"level":"odd","number":{at}}}"#),
        3 => format!("\"{at}\" \\ \\n ' `"),
        4 => format!("\u{0}\u{1}\u{1b}[31m{at}\u{7f}\u{85}\u{2028}"),
        5 => format!("  {at} é \u{feff}世界 🌊 e\u{301} "),
        6 => format!("{at} {}", "long é ".repeat(2_000)),
        7 => format!("<a href='x?y=1&z={at}'>%{{tenant}} ${{env:HOME}}</a>"),
        8 => format!("{{{at}}}"),
        _ => format!("line {at}"),
    }
}

fn records() -> Value {
    logs(
        0,
        (0..RECORDS).map(|at| (json!(body(at)), of_record(at))),
        &resource(),
    )
}

fn fields(all: &[(&str, &str)]) -> Fields {
    all.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Maps in maps by names with dots, and all that is no text as JSON, as VictoriaLogs keeps them.
fn flat(prefix: &str, value: &Value, out: &mut Fields) {
    let text = match value {
        Value::Object(all) => {
            for (key, value) in all {
                let prefix = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flat(&prefix, value, out);
            }
            return;
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if !text.is_empty() {
        out.insert(prefix.to_owned(), text);
    }
}

/// Time and message, as VictoriaLogs calls them.
fn named(at: u64, message: &str, fields: &mut Fields) {
    // It leaves zeros at the end of a time out.
    let time = iso(at);
    let time = format!("{}Z", time.trim_end_matches('Z').trim_end_matches('0'));
    let message = if message.is_empty() { NO_MESSAGE } else { message };
    fields.insert("_time".into(), time);
    fields.insert("_msg".into(), message.into());
}

/// What Loki's push makes of record `at`, with everything but labels beside the line.
fn pushed(at: u64) -> Fields {
    let mut all = fields(&[
        (
            "_stream",
            r#"{gateway="weir",host_name="h\"1",service_name="cart"}"#,
        ),
        ("gateway", "weir"),
        ("host_name", "h\"1"),
        ("service_name", "cart"),
        ("service_namespace", "shop"),
        ("observed_timestamp", &(NS + at + 1).to_string()),
        ("severity_number", "13"),
        ("severity_text", "WARN"),
        ("trace_id", TRACE),
        ("span_id", "0102030405060708"),
        ("flags", "1"),
        ("scope_name", "lib"),
        ("scope_version", "1.2"),
    ]);
    let mut own = Fields::new();
    flat("", &of_record(at), &mut own);
    all.extend(
        own.into_iter()
            .map(|(name, value)| (name.replace('.', "_"), value)),
    );
    named(at, &body(at), &mut all);
    all
}

/// What contrib's line, which is JSON, becomes where VictoriaLogs takes it apart.
fn of_contribs_line(at: u64) -> Fields {
    let mut all = fields(&[
        ("_stream", r#"{exporter="OTLP",job="shop/cart",level="WARN"}"#),
        ("exporter", "OTLP"),
        ("job", "shop/cart"),
        ("level", "WARN"),
    ]);
    let line = json!({
        "traceid": TRACE, "spanid": "0102030405060708", "severity": "WARN", "flags": 1,
        "attributes": of_record(at), "resources": resource(),
        "instrumentation_scope": {"name": "lib", "version": "1.2"},
    });
    flat("", &line, &mut all);
    named(at, &body(at), &mut all);
    all
}

/// What VictoriaLogs itself makes of OTLP.
fn of_otlp(at: u64) -> Fields {
    let mut all = fields(&[
        (
            "_stream",
            r#"{host.name="h\"1",service.name="cart",service.namespace="shop"}"#,
        ),
        ("severity", "WARN"),
        ("trace_id", TRACE),
        ("span_id", "0102030405060708"),
        ("scope.name", "lib"),
        ("scope.version", "1.2"),
    ]);
    flat("", &of_record(at), &mut all);
    flat("", &resource(), &mut all);
    named(at, &body(at), &mut all);
    all
}

fn assert_all(found: &[Fields], expected: impl Fn(u64) -> Fields, name: &str) {
    assert_eq!(found.len(), RECORDS as usize, "{name}");
    for (at, found) in (0..RECORDS).zip(found) {
        assert_eq!(found, &expected(at), "{name}: {at}");
    }
}

// --- Ways in ---

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_as_to_loki_reads_back_as_it_was_sent() {
    let Some(store) = VictoriaLogs::start(&[FOR_EVER]).await else {
        return;
    };
    let push = format!("endpoint: '{}', {DIRECT}", store.url("loki/api/v1/push"));
    let otlp = format!(
        "endpoint: '{}', {DIRECT}, api: otlp",
        store.url("opentelemetry/v1/logs")
    );
    let whole = "format: raw, labels: {resource: {service.name: service_name, host.name: ''}, static: {gateway: weir}}";
    // Else it takes lines apart that are JSON.
    let as_it_is = "VL-Loki-Disable-Message-Parsing: 'true'";
    type Expected = fn(u64) -> Fields;
    let ways: [(&str, String, Expected); 8] = [
        (
            "1:0",
            format!("{push}, {whole}, headers: {{AccountID: '1', {as_it_is}}}"),
            pushed,
        ),
        (
            "2:7",
            format!(
                "{push}, {whole}, encoding: json, headers: {{AccountID: '2', ProjectID: '7', {as_it_is}}}"
            ),
            pushed,
        ),
        (
            "3:0",
            format!(
                "{push}, {whole}, encoding: json, compression: none, headers: {{AccountID: '3', {as_it_is}}}"
            ),
            pushed,
        ),
        (
            "4:0",
            format!("{push}, headers: {{AccountID: '4', VL-Msg-Field: body}}"),
            of_contribs_line,
        ),
        (
            "5:0",
            format!("{push}, {whole}, headers: {{AccountID: '5'}}"),
            |at| {
                let mut all = pushed(at);
                if at % 10 == 2 {
                    named(at, "", &mut all);
                    all.extend(fields(&[("level", "odd"), ("number", &at.to_string())]));
                }
                all
            },
        ),
        ("6:0", format!("{otlp}, headers: {{AccountID: '6'}}"), of_otlp),
        (
            "7:0",
            format!("{otlp}, compression: none, headers: {{AccountID: '7'}}"),
            of_otlp,
        ),
        (
            "8:0",
            format!("{otlp}, compression: zstd, headers: {{AccountID: '8'}}"),
            of_otlp,
        ),
    ];
    let mut exporters = String::new();
    for (at, (_, keys, _)) in ways.iter().enumerate() {
        writeln!(exporters, "loki/{at}: {{{keys}}}").unwrap();
    }
    let mut gateway = gateway(&exporters).await;
    taken(&gateway, "acme", &records()).await;
    for (at, (tenant, keys, expected)) in ways.iter().enumerate() {
        assert_all(&store.stored(tenant).await, expected, keys);
        assert_eq!(
            booked(&gateway, &format!("loki/{at}")).await,
            (RECORDS, 0),
            "{keys}"
        );
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_have_their_own() {
    let Some(store) = VictoriaLogs::start(&[FOR_EVER]).await else {
        return;
    };
    let push = format!(
        "endpoint: '{}', {DIRECT}, format: raw",
        store.url("loki/api/v1/push")
    );
    let otlp = format!(
        "endpoint: '{}', {DIRECT}, api: otlp",
        store.url("opentelemetry/v1/logs")
    );
    let bulk = format!(
        "endpoint: '{}', {DIRECT}, mapping: {{mode: ecs}}",
        store.url("elasticsearch")
    );
    let names = "VL-Time-Field: '@timestamp', VL-Msg-Field: message";
    let mut gateway = gateway(&format!(
        "loki/headers: {{{push}, headers: {{AccountID: '%{{tenant}}'}}}}
         loki/own: {{{push}, tenant: {{default: '%{{tenant}}:1'}}}}
         loki/attribute: {{{push}, tenant: {{from: attribute, key: team, default: '9:9'}}}}
         loki/otlp: {{{otlp}, headers: {{AccountID: '%{{tenant}}', ProjectID: '3'}}}}
         elasticsearch: {{{bulk}, headers: {{AccountID: '%{{tenant}}', ProjectID: '2', {names}}}}}"
    ))
    .await;
    let of = |first: u64, team: Option<&str>| {
        let records = (first..first + 2).map(|at| (json!(format!("line {at}")), json!({})));
        let mut resource = resource();
        if let Some(team) = team {
            resource["team"] = json!(team);
        }
        logs(first, records, &resource)
    };
    // Two teams and nobody's records in one request of one client.
    let mut mixed = of(0, Some("12:3"));
    for (first, team) in [(2, Some("12")), (4, None)] {
        let more = of(first, team)["resourceLogs"][0].clone();
        mixed["resourceLogs"]
            .as_array_mut()
            .expect("resources")
            .push(more);
    }
    taken(&gateway, "41", &mixed).await;
    taken(&gateway, "42", &of(6, None)).await;
    let lines = |range: std::ops::Range<u64>| range.map(|at| format!("line {at}")).collect::<Vec<_>>();
    for (tenant, expected) in [
        ("41:0", 0..6),
        ("42:0", 6..8),
        ("41:1", 0..6),
        ("42:1", 6..8),
        ("41:2", 0..6),
        ("42:2", 6..8),
        ("41:3", 0..6),
        ("42:3", 6..8),
        ("12:3", 0..2),
        ("12:0", 2..4),
        ("9:9", 4..8),
        ("0:0", 0..0),
    ] {
        assert_eq!(store.messages(tenant).await, lines(expected), "{tenant}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_each_mode_read_back_as_they_were_sent() {
    let Some(store) = VictoriaLogs::start(&[FOR_EVER]).await else {
        return;
    };
    // What each mode calls the message and the service.
    let modes = [
        ("otel", "body.text", "resource.attributes.service.name"),
        ("ecs", "message", "service.name"),
        ("none", "Body", "Resource.service.name"),
        ("raw", "Body", "Resource.service.name"),
        ("bodymap", "message", ""),
    ];
    for (account, (mode, message, service)) in (1..).zip(modes) {
        let mut resource = json!({"service.name": "shop", "host.name": "h1"});
        let index = match mode {
            "otel" | "ecs" => {
                resource["data_stream.dataset"] = json!("shop");
                resource["data_stream.namespace"] = json!("prod");
                String::new()
            }
            mode => format!("logs_index: logs-{mode}-test, "),
        };
        let expected = |at: u64| {
            let mut document = document(mode, at);
            match mode {
                "otel" => document["body"]["text"] = json!(body(at)),
                _ => document[message] = json!(body(at)),
            }
            document
        };
        let bulk = store.url("elasticsearch");
        // Any mode's names may stand there.
        let names = "VL-Time-Field: '@timestamp', VL-Msg-Field: 'body.text,message,Body', \
             VL-Stream-Fields: 'resource.attributes.service.name,service.name,Resource.service.name'";
        // The collector's keys, and names in the query as they may stand there, too.
        let query = names
            .replace("VL-Time-Field: ", "_time_field=")
            .replace("VL-Msg-Field: ", "_msg_field=");
        let query = query
            .replace("VL-Stream-Fields: ", "_stream_fields=")
            .replace(", ", "&")
            .replace('\'', "");
        let mut gateway = gateway(&format!(
            "elasticsearch/gzip: {{endpoint: '{bulk}', {index}mapping: {{mode: {mode}}}, {DIRECT}, \
                 headers: {{AccountID: '{account}', {names}}}}}
             elasticsearch/none: {{endpoint: '{bulk}/?{query}', {index}mapping: {{mode: {mode}}}, {DIRECT}, \
                 compression: none, discover: {{on_start: true}}, headers: {{AccountID: '{account}', ProjectID: '1'}}}}"
        ))
        .await;
        for first in (0..RECORDS).step_by(20) {
            let records = (first..first + 20).map(|at| match mode {
                "bodymap" => (expected(at), json!({})),
                _ => (json!(body(at)), of_record(at)),
            });
            taken(&gateway, "acme", &logs(first, records, &resource)).await;
        }
        for (exporter, project) in [("gzip", 0), ("none", 1)] {
            let found = store.stored(&format!("{account}:{project}")).await;
            let fields = |at: u64| {
                let mut all = Fields::new();
                flat("", &expected(at), &mut all);
                all.remove("@timestamp");
                all.remove(message);
                // Where a field has decimals in all records, VictoriaLogs keeps them as floats.
                if let Some(observed) = all.get_mut("observed_timestamp") {
                    *observed = observed.parse::<f64>().expect("a number").to_string();
                }
                let stream = all.get(service).map(|value| format!("{service}={value:?}"));
                all.insert("_stream".into(), format!("{{{}}}", stream.unwrap_or_default()));
                named(at, &body(at), &mut all);
                all
            };
            assert_all(&found, fields, &format!("{mode}, {exporter}"));
            let exporter = format!("elasticsearch/{exporter}");
            assert_eq!(
                booked(&gateway, &exporter).await,
                (RECORDS, 0),
                "{mode}: {exporter}"
            );
        }
        gateway.stop().await;
    }
}

// --- Refusals ---

/// Records of now with these bodies.
fn of_now(bodies: &[Value]) -> Value {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    logs(
        now - NS,
        bodies.iter().map(|body| (body.clone(), json!({}))),
        &resource(),
    )
}

fn in_bulk(keys: &str, headers: &str) -> String {
    format!("{keys}, headers: {{VL-Time-Field: '@timestamp', VL-Msg-Field: message{headers}}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_refuses_is_told_and_booked() {
    let Some(store) = VictoriaLogs::start(&[]).await else {
        return;
    };
    let push = format!(
        "endpoint: '{}', {DIRECT}, format: raw",
        store.url("loki/api/v1/push")
    );
    let otlp = format!(
        "endpoint: '{}', {DIRECT}, api: otlp",
        store.url("opentelemetry/v1/logs")
    );
    let bulk = format!("endpoint: '{}', {DIRECT}", store.url("elasticsearch"));
    for (id, keys, says) in [
        (
            "loki",
            format!("{push}, tenant: {{default: acme}}"),
            "cannot parse accountID",
        ),
        (
            "loki",
            format!("{otlp}, compression: lz4"),
            "unsupported encoding: lz4",
        ),
        (
            "elasticsearch",
            in_bulk(&bulk, ", AccountID: acme"),
            "cannot parse \\\"acme\\\"",
        ),
    ] {
        let mut gateway = gateway(&format!("{id}: {{{keys}}}")).await;
        let answer = send(&gateway, "acme", &of_now(&[json!("a"), json!("b"), json!("c")])).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 400, "{keys}: {text}");
        assert!(text.contains(says), "{keys}: {text}");
        assert_eq!(booked(&gateway, id).await, (0, 3), "{keys}");
        gateway.stop().await;
    }
    assert_eq!(store.stored("0:0").await, []);

    // One that it cannot read, among others: it keeps what stands before it in a request that it refuses, so that these
    // are there once more for each half that they went in.
    let keys = in_bulk(&format!("{bulk}, mapping: {{mode: bodymap}}"), "");
    let mut gateway = gateway(&format!("elasticsearch: {{{keys}}}")).await;
    let of = |n: u64| json!({"message": format!("line {n}"), "n": n});
    let mut bodies: Vec<Value> = (0..8).map(of).collect();
    bodies[5]["@timestamp"] = json!("never");
    let answer = send(&gateway, "acme", &of_now(&bodies)).await;
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    let told = &told["partialSuccess"];
    assert_eq!(told["rejectedLogRecords"], "1", "{told}");
    let says = told["errorMessage"].as_str().unwrap_or_default();
    assert!(says.contains("cannot parse timestamp"), "{told}");
    assert_eq!(booked(&gateway, "elasticsearch").await, (7, 1));
    let mut found = store.messages("0:0").await;
    found.sort();
    found.dedup();
    let expected: Vec<String> = [0, 1, 2, 3, 4, 6, 7].map(|n| format!("line {n}")).to_vec();
    assert_eq!(found, expected);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_drops_without_a_word_is_refused_by_the_gateway() {
    let Some(store) = VictoriaLogs::start(&[]).await else {
        return;
    };
    let push = format!(
        "endpoint: '{}', {DIRECT}, format: raw",
        store.url("loki/api/v1/push")
    );
    let mut request = of_now(&[json!("now"), json!("then"), json!("soon")]);
    let records = &mut request["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    // Beyond what it keeps by itself: a week, and two days ahead.
    let now: u64 = records[0]["timeUnixNano"].as_str().unwrap().parse().unwrap();
    const DAY: u64 = 86_400 * 1_000_000_000;
    records[1]["timeUnixNano"] = json!((now - 9 * DAY).to_string());
    records[2]["timeUnixNano"] = json!((now + 4 * DAY).to_string());
    for (limits, refused) in [("", 0), (", limits: {max_age: 168h, max_ahead: 48h}", 2)] {
        let mut gateway = gateway(&format!(
            "loki: {{{push}, tenant: {{default: '{refused}'}}{limits}}}"
        ))
        .await;
        let answer = send(&gateway, "acme", &request).await;
        assert_eq!(answer.status, 200);
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        let told = told["partialSuccess"]["rejectedLogRecords"]
            .as_str()
            .unwrap_or("0")
            .to_owned();
        assert_eq!(told, refused.to_string());
        assert_eq!(booked(&gateway, "loki").await, (3 - refused, refused));
        assert_eq!(store.messages(&format!("{refused}:0")).await, ["now"]);
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_does_what_it_says() {
    let Some(store) = VictoriaLogs::start(&[]).await else {
        return;
    };
    let example = include_str!("../../configs/victorialogs.yaml");
    let (before, pipelines) = example.split_once("service:\n  pipelines:\n").unwrap();
    let mut text = format!("{before}{}", service(pipelines));
    let to = format!("http://127.0.0.1:{}", store.port);
    for (from, to) in [
        ("${env:VICTORIALOGS:-http://victorialogs:9428}", to.as_str()),
        (
            "${env:WEIR_REFUSED:-/var/lib/weir/refused.jsonl}",
            "{dir}/refused.jsonl",
        ),
        ("127.0.0.1:4317", "127.0.0.1:{grpc}"),
        ("127.0.0.1:4318", "127.0.0.1:{http}"),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let mut gateway = Gateway::run(&weir(), &text).await;
    taken(&gateway, "", &of_now(&[json!(r#"{"paid":1}"#)])).await;
    taken(
        &gateway,
        "",
        &logs(0, [(json!("of 2025"), json!({}))], &resource()),
    )
    .await;
    until("both are booked", || async {
        booked(&gateway, "loki").await == (1, 1)
    })
    .await;
    assert_eq!(store.messages("0:0").await, [r#"{"paid":1}"#]);
    let refused = std::fs::read_to_string(gateway.dir().join("refused.jsonl")).unwrap();
    assert!(refused.contains("of 2025"), "{refused}");
    gateway.stop().await;
}

// --- Outages ---

/// The three ways, each for a tenant of its own.
fn ways(store: &VictoriaLogs) -> String {
    let to = |path: &str| format!("endpoint: '{}', {QUEUED}", store.url(path));
    format!(
        "loki/push: {{{}, format: raw, headers: {{AccountID: '1'}}}}
         loki/otlp: {{{}, api: otlp, headers: {{AccountID: '2'}}}}
         elasticsearch: {{{}}}",
        to("loki/api/v1/push"),
        to("opentelemetry/v1/logs"),
        in_bulk(
            &format!("{}, mapping: {{mode: ecs}}", to("elasticsearch")),
            ", AccountID: '3'"
        ),
    )
}

const WAYS: [(&str, &str); 3] = [
    ("loki/push", "1:0"),
    ("loki/otlp", "2:0"),
    ("elasticsearch", "3:0"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for() {
    // It takes nothing in while less than this is free.
    let full = "-storage.minFreeDiskSpaceBytes=1000TB";
    let Some(mut store) = VictoriaLogs::start(&[FOR_EVER, full]).await else {
        return;
    };
    let mut gateway = gateway(&ways(&store)).await;
    taken(&gateway, "acme", &records()).await;
    until("it has said no to each", || async {
        let log = gateway.log();
        WAYS.iter()
            .all(|(id, _)| log.lines().any(|line| line.contains(id) && line.contains("429")))
    })
    .await;
    for (id, tenant) in WAYS {
        assert_eq!(booked(&gateway, id).await, (0, 0), "{id}");
        assert_eq!(store.stored(tenant).await, [], "{id}");
    }
    store.stop().await;
    store.run(&[FOR_EVER]).await;
    for (id, tenant) in WAYS {
        until(id, || async { booked(&gateway, id).await == (RECORDS, 0) }).await;
        assert_eq!(store.stored(tenant).await.len(), RECORDS as usize, "{id}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_while_it_is_away_arrives_once() {
    let Some(mut store) = VictoriaLogs::start(&[FOR_EVER]).await else {
        return;
    };
    let mut gateway = gateway(&ways(&store)).await;
    const REQUESTS: u64 = 240;
    // For three seconds, while more comes in.
    const AWAY: u64 = 40;
    const BACK: u64 = 190;
    for at in 0..REQUESTS {
        match at {
            AWAY => store.stop().await,
            BACK => {
                for (id, _) in WAYS {
                    assert!(booked(&gateway, id).await.0 <= 5 * AWAY, "{id}");
                }
                store.run(&[FOR_EVER]).await;
            }
            _ => {}
        }
        let records = (0..5).map(|k| (json!(format!("line {:04}", 5 * at + k)), json!({})));
        taken(&gateway, "acme", &logs(5 * at, records, &resource())).await;
        sleep(Duration::from_millis(20)).await;
    }
    let expected: Vec<String> = (0..5 * REQUESTS).map(|at| format!("line {at:04}")).collect();
    for (id, tenant) in WAYS {
        until(id, || async { booked(&gateway, id).await == (5 * REQUESTS, 0) }).await;
        // It answered every request that it had stored before it ended, so that none went twice.
        assert_eq!(store.messages(tenant).await, expected, "{id}");
    }
    gateway.stop().await;
}

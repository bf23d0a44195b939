//! Documents through the whole gateway: whatever a cluster answers, each record is stored once, owed, or refused with the
//! reason, and the books say so.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use prost::Message;
use serde_json::{Value, json};
use telemetry::{Column, Node, Place};
use wire::Signal;

use crate::support::client::{Grpc, LOGS, TRACES};
use crate::support::gateway::Gateway;
use crate::support::{sample, tls, until};

/// What the cluster does with a request.
#[derive(Clone, Debug)]
pub enum Turn {
    /// Takes what it can.
    Take,
    /// A status for the whole request.
    Status(u16),
    /// A status for each document in turn; those with 2xx are stored.
    Each(&'static [u16]),
    /// Stores nothing and hangs up.
    HangUp,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub query: String,
    pub headers: HeaderMap,
    /// Index, id and document.
    pub documents: Vec<(String, Option<String>, Value)>,
}

#[derive(Default)]
struct State {
    script: Vec<Turn>,
    /// Addresses of its nodes, and how often it was asked for them.
    nodes: Vec<String>,
    asked: usize,
    seen: Vec<Seen>,
    stored: Vec<(String, Option<String>, Value)>,
}

/// A cluster in this process: keeps documents, refuses ids that it has, and those whose text is `poison`.
pub struct Cluster {
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cluster {
    pub async fn start(script: impl IntoIterator<Item = Turn>) -> Cluster {
        Cluster::behind(None, script).await
    }

    async fn behind(
        tls: Option<tokio_rustls::TlsAcceptor>,
        script: impl IntoIterator<Item = Turn>,
    ) -> Cluster {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut script: Vec<Turn> = script.into_iter().collect();
        script.reverse();
        let state = Arc::new(Mutex::new(State {
            script,
            ..State::default()
        }));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (state, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| serve(state.clone(), request));
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = match tls {
                        None => connection.serve_connection(TokioIo::new(socket), service).await,
                        Some(tls) => match tls.accept(socket).await {
                            Ok(stream) => connection.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => Ok(()),
                        },
                    };
                });
            }
        });
        Cluster { addr, state, task }
    }

    /// What it keeps, in the order in which it came.
    pub fn stored(&self) -> Vec<(String, Option<String>, Value)> {
        self.state.lock().unwrap().stored.clone()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// The texts of the bodies that it keeps, sorted.
    pub fn texts(&self) -> Vec<String> {
        let text = |(_, _, document): &(String, Option<String>, Value)| {
            let text = document["body"]["text"].as_str();
            text.map(str::to_owned).unwrap_or_else(|| document.to_string())
        };
        let mut all: Vec<String> = self.stored().iter().map(text).collect();
        all.sort();
        all
    }
}

async fn serve(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    if parts.uri.path() == "/_nodes/http" {
        assert_eq!(parts.method, "GET");
        let mut state = state.lock().unwrap();
        state.asked += 1;
        let node = |address: &String| (address.clone(), json!({"http": {"publish_address": address}}));
        let nodes: serde_json::Map<_, _> = state.nodes.iter().map(node).collect();
        return Ok(answer(
            200,
            json!({"cluster_name": "c", "nodes": nodes}).to_string(),
        ));
    }
    assert_eq!(parts.uri.path(), "/_bulk");
    assert_eq!(parts.headers["content-type"], "application/x-ndjson");
    let text = match parts.headers.get("content-encoding") {
        None => String::from_utf8(body.to_vec()).unwrap(),
        Some(encoding) => {
            assert_eq!(encoding, "gzip");
            let mut out = String::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut out)?;
            out
        }
    };
    assert!(text.ends_with('\n'), "the last line must end");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let documents: Vec<(String, Option<String>, Value)> = lines
        .chunks(2)
        .map(|pair| {
            let action = &pair[0]["create"];
            let id = action["_id"].as_str().map(str::to_owned);
            (action["_index"].as_str().unwrap().to_owned(), id, pair[1].clone())
        })
        .collect();
    let mut state = state.lock().unwrap();
    state.seen.push(Seen {
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        documents: documents.clone(),
    });
    let turn = state.script.pop().unwrap_or(Turn::Take);
    let statuses = match turn {
        Turn::HangUp => return Err(std::io::Error::other("hangs up")),
        Turn::Status(status) => return Ok(answer(status, String::new())),
        Turn::Take => &[][..],
        Turn::Each(statuses) => statuses,
    };
    let mut items = Vec::new();
    let mut errors = false;
    for (at, document) in documents.into_iter().enumerate() {
        let known = document.1.is_some() && state.stored.iter().any(|(_, id, _)| *id == document.1);
        let status = match statuses.get(at) {
            Some(status) => *status,
            None if known => 409,
            None if document.2.to_string().contains("poison") => 400,
            None => 201,
        };
        errors |= status > 299;
        let mut item = json!({"_index": document.0, "status": status});
        match status {
            200..=299 => state.stored.push(document),
            409 => {}
            _ => item["error"] = json!({"type": "document_parsing_exception", "reason": "bad"}),
        }
        items.push(json!({"create": item}));
    }
    let body = json!({"took": 1, "errors": errors, "items": items});
    Ok(answer(200, body.to_string()))
}

fn answer(status: u16, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    response.body(Full::new(Bytes::from(body))).unwrap()
}

const FAST: &str = "retry_on_failure: {initial_interval: 10ms, max_interval: 20ms, max_elapsed_time: 60s}";
const AT_ONCE: &str = "sending_queue: {batch: {flush_timeout: 10ms}}";

fn config(cluster: &Cluster, more: &str) -> String {
    format!(
        r#"
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}
      http: {{endpoint: "127.0.0.1:{{http}}"}}
exporters:
  elasticsearch: {{endpoint: "http://{}", {more}}}
  file: {{path: "{{dead}}"}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [elasticsearch]}}
    traces: {{receivers: [otlp], exporters: [elasticsearch]}}
    logs/dead: {{receivers: [otlp], exporters: [file]}}
"#,
        cluster.addr
    )
    .replace("    logs/dead: {receivers: [otlp], exporters: [file]}\n", "")
}

/// Log records with these bodies.
fn logs(bodies: &[&str]) -> Vec<u8> {
    let mut request = sample::logs(1);
    let scope = &mut request.resource_logs[0].scope_logs[0];
    let pattern = scope.log_records.remove(0);
    let record = |body: &&str| {
        let mut record = pattern.clone();
        record.body = Some(sample::text(body));
        record
    };
    scope.log_records = bodies.iter().map(record).collect();
    request.encode_to_vec()
}

fn of(gateway: &Gateway, signal: Signal) -> telemetry::Totals {
    gateway.books(Place::Node(Node::Exporter("elasticsearch".into())), signal)
}

async fn settled(gateway: &Gateway, items: u64) {
    until("all came to an end", || {
        let books = of(gateway, Signal::Logs);
        books.get(Column::In) == items && books.held() == 0
    })
    .await;
}

#[tokio::test]
async fn whatever_a_cluster_answers_each_record_is_stored_once() {
    let sent = ["a", "b", "c", "d", "e"];
    let scripts: Vec<(&str, Vec<Turn>)> = vec![
        ("taken at once", vec![]),
        ("busy", vec![Turn::Status(429), Turn::Status(503)]),
        (
            "unwell",
            vec![Turn::Status(500), Turn::Status(502), Turn::Status(504)],
        ),
        ("gone", vec![Turn::HangUp, Turn::HangUp]),
        ("too large", vec![Turn::Status(413), Turn::Status(413)]),
        ("malformed, but for the parts", vec![Turn::Status(400)]),
        (
            "some later",
            vec![Turn::Each(&[201, 429, 201, 503, 201]), Turn::Each(&[429, 201])],
        ),
        ("all later", vec![Turn::Each(&[429; 5]), Turn::Each(&[500; 5])]),
        (
            "an answer that ends early",
            vec![Turn::Each(&[201, 201, 201, 201, 429])],
        ),
    ];
    for (name, script) in scripts {
        for queue in [AT_ONCE, "sending_queue: {enabled: false}"] {
            let cluster = Cluster::start(script.clone()).await;
            let gateway =
                Gateway::start(&config(&cluster, &format!("{queue}, {FAST}")).replace("{dead}", "/dev/null"))
                    .await;
            let grpc = Grpc::connect(gateway.grpc).await;
            let answer = grpc.export(LOGS, &logs(&sent)).await;
            assert_eq!(answer.code, 0, "{name}: {}", answer.message);
            settled(&gateway, 5).await;
            assert_eq!(cluster.texts(), sent, "{name}");
            assert_eq!(of(&gateway, Signal::Logs).get(Column::Out), 5, "{name}");
            gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_booked_and_lies_in_the_dead_letter() {
    for queue in [AT_ONCE, "sending_queue: {enabled: false}"] {
        for script in [vec![], vec![Turn::Each(&[429, 400, 201, 400, 201])]] {
            for dead in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("dead.json");
                let cluster = Cluster::start(script.clone()).await;
                let more = if dead { "dead_letter: file" } else { "timeout: 10s" };
                let text = config(&cluster, &format!("{queue}, {FAST}, {more}"));
                let gateway = Gateway::start(&text.replace("{dead}", path.to_str().unwrap())).await;
                let grpc = Grpc::connect(gateway.grpc).await;
                let answer = grpc
                    .export(LOGS, &logs(&["a", "poison b", "c", "poison d", "e"]))
                    .await;
                assert_eq!(answer.code, 0, "{}", answer.message);
                settled(&gateway, 5).await;
                assert_eq!(cluster.texts(), ["a", "c", "e"], "{queue} {dead}");
                let books = of(&gateway, Signal::Logs);
                assert_eq!(
                    (books.get(Column::Out), books.failed_all()),
                    (3, 2),
                    "{queue} {dead}"
                );
                gateway.stop().await;
                let laid = std::fs::read_to_string(&path).unwrap_or_default();
                for body in ["poison b", "poison d"] {
                    assert_eq!(laid.matches(body).count(), usize::from(dead), "{queue} {body}");
                }
                let bodies = laid.matches("\"body\":").count();
                assert_eq!(bodies, if dead { 2 } else { 0 }, "{laid}");
            }
        }
    }
}

#[tokio::test]
async fn spans_and_their_events_are_stored_once_each() {
    // The span is stored, its event is not, for now: when both come again, the span is there already.
    let cluster = Cluster::start([Turn::Each(&[201, 429, 201])]).await;
    let gateway =
        Gateway::start(&config(&cluster, &format!("{AT_ONCE}, {FAST}")).replace("{dead}", "/dev/null")).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let request = sample::traces(1);
    let events: usize = request.resource_spans[0].scope_spans[0]
        .spans
        .iter()
        .map(|span| span.events.len())
        .sum();
    assert!(events > 0);
    assert_eq!(grpc.export(TRACES, &request.encode_to_vec()).await.code, 0);
    until("the span is booked", || {
        of(&gateway, Signal::Traces).get(Column::Out) == 1
    })
    .await;
    let mut indices: BTreeMap<String, usize> = BTreeMap::new();
    for (index, id, _) in cluster.stored() {
        assert!(id.is_some());
        *indices.entry(index).or_default() += 1;
    }
    let expected = [
        ("logs-generic.otel-default", events),
        ("traces-generic.otel-default", 1),
    ];
    assert_eq!(
        indices,
        expected.map(|(index, count)| (index.to_owned(), count)).into()
    );
    gateway.stop().await;
}

#[tokio::test]
async fn requests_say_who_sends_them_and_what_is_wanted() {
    let cluster = Cluster::start([]).await;
    let more = format!(
        "{AT_ONCE}, {FAST}, api_key: c2VjcmV0, pipeline: clean, headers: {{x-team: a}}, mapping: {{mode: ecs}}"
    );
    let gateway = Gateway::start(&config(&cluster, &more).replace("{dead}", "/dev/null")).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    assert_eq!(grpc.export(LOGS, &logs(&["x"])).await.code, 0);
    settled(&gateway, 1).await;
    let seen = &cluster.seen()[0];
    assert_eq!(seen.headers["authorization"], "ApiKey c2VjcmV0");
    assert_eq!(seen.headers["x-team"], "a");
    assert!(
        seen.query.starts_with("filter_path=items") && seen.query.ends_with("&pipeline=clean"),
        "{}",
        seen.query
    );
    assert_eq!(seen.documents[0].0, "logs-generic-default");
    assert_eq!(seen.documents[0].2["message"], "x");
    gateway.stop().await;
}

/// A gateway whose exporter has these keys and no queue: whoever sends waits for the cluster.
async fn direct(keys: &str, extensions: &str) -> Gateway {
    let ids: Vec<&str> = extensions
        .lines()
        .filter_map(|line| line.trim().split(':').next().filter(|id| !id.is_empty()))
        .collect();
    let text = format!(
        r#"
extensions: {{{}}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}}}}}
exporters:
  elasticsearch: {{sending_queue: {{enabled: false}}, {keys}}}
service:
  extensions: {ids:?}
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [elasticsearch]}}
"#,
        extensions.trim().replace('\n', ", "),
    );
    Gateway::start(&text).await
}

const ONCE: &str = "retry_on_failure: {enabled: false}";

#[tokio::test]
async fn certificates_are_shown_and_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    tls::certificates(dir.path(), &["spiffe://weir/gateway"]);
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let own = format!(
        "cert_file: '{}', key_file: '{}'",
        at("client.pem"),
        at("client.key")
    );
    let ca = format!("ca_file: '{}'", at("ca.pem"));
    let pem = std::fs::read_to_string(at("ca.pem")).unwrap();
    let name = "server_name_override: localhost";
    let rows = [
        ("the authority", format!("{ca}, {own}, {name}"), true),
        (
            "the authority in line",
            format!("ca_pem: {}, {own}, {name}", json!(pem)),
            true,
        ),
        ("nobody is believed", format!("{own}, {name}"), false),
        ("another name", format!("{ca}, {own}"), false),
        ("no certificate of ours", format!("{ca}, {name}"), false),
        (
            "anybody is believed",
            format!("insecure_skip_verify: true, {own}"),
            true,
        ),
    ];
    for (case, tls, expected) in rows {
        let cluster = Cluster::behind(Some(tls::acceptor(dir.path())), []).await;
        let keys = format!("endpoint: 'https://{}', {ONCE}, tls: {{{tls}}}", cluster.addr);
        let gateway = direct(&keys, "").await;
        let grpc = Grpc::connect(gateway.grpc).await;
        let answer = grpc.export(LOGS, &logs(&["x"])).await;
        // 14: UNAVAILABLE, nothing is lost.
        assert_eq!(
            (answer.code, cluster.texts().len()),
            if expected { (0, 1) } else { (14, 0) },
            "{case}: {}",
            answer.message
        );
        gateway.stop().await;
    }
}

#[tokio::test]
async fn whoever_sends_says_who_it_is() {
    let basic = "basicauth/out: {client_auth: {username: elastic, password: s3cret}}";
    let bearer = "bearertokenauth/out: {token: t0ken}";
    let key = "bearertokenauth/key: {scheme: ApiKey, token: a2V5}";
    let rows = [
        ("timeout: 10s", "", None),
        ("api_key: a2V5", "", Some("ApiKey a2V5")),
        (
            "user: elastic, password: s3cret",
            "",
            Some("Basic ZWxhc3RpYzpzM2NyZXQ="),
        ),
        (
            "user: elastic, password: s3cret, api_key: a2V5",
            "",
            Some("ApiKey a2V5"),
        ),
        (
            "auth: {authenticator: basicauth/out}",
            basic,
            Some("Basic ZWxhc3RpYzpzM2NyZXQ="),
        ),
        (
            "auth: {authenticator: bearertokenauth/out}",
            bearer,
            Some("Bearer t0ken"),
        ),
        (
            "auth: {authenticator: bearertokenauth/key}",
            key,
            Some("ApiKey a2V5"),
        ),
        ("headers: {authorization: Bearer h}", "", Some("Bearer h")),
    ];
    for (keys, extensions, expected) in rows {
        for compression in ["gzip", "none"] {
            let cluster = Cluster::start([]).await;
            let endpoint = format!("endpoint: 'http://{}', compression: {compression}", cluster.addr);
            let gateway = direct(&format!("{endpoint}, {ONCE}, {keys}"), extensions).await;
            let grpc = Grpc::connect(gateway.grpc).await;
            assert_eq!(grpc.export(LOGS, &logs(&["x"])).await.code, 0, "{keys}");
            let seen = cluster.seen();
            let header = |name: &str| seen[0].headers.get(name).map(|v| v.to_str().unwrap());
            assert_eq!(header("authorization"), expected, "{keys}");
            let encoding = (compression == "gzip").then_some("gzip");
            assert_eq!(header("content-encoding"), encoding, "{keys}");
            gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn a_node_that_is_down_costs_no_record() {
    let (a, b) = (Cluster::start([]).await, Cluster::start([]).await);
    // Nobody listens there.
    let down = crate::support::gateway::free_port();
    let keys = format!(
        "endpoints: ['http://{}', 'http://127.0.0.1:{down}', 'http://{}'], {FAST}",
        a.addr, b.addr
    );
    let gateway = direct(&keys, "").await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let bodies: Vec<String> = (0..12).map(|n| format!("{n:02}")).collect();
    for body in &bodies {
        assert_eq!(grpc.export(LOGS, &logs(&[body])).await.code, 0);
    }
    let (of_a, of_b) = (a.texts(), b.texts());
    assert!(!of_a.is_empty() && !of_b.is_empty(), "{of_a:?} {of_b:?}");
    let mut all = [of_a, of_b].concat();
    all.sort();
    assert_eq!(all, bodies);
    gateway.stop().await;
}

#[tokio::test]
async fn a_cluster_says_where_its_nodes_are() {
    let (door, node) = (Cluster::start([]).await, Cluster::start([]).await);
    door.state.lock().unwrap().nodes = vec![node.addr.to_string()];
    let keys = format!(
        "endpoint: 'http://{}', discover: {{on_start: true}}, {FAST}",
        door.addr
    );
    let gateway = direct(&keys, "").await;
    let grpc = Grpc::connect(gateway.grpc).await;
    for body in ["a", "b", "c"] {
        assert_eq!(grpc.export(LOGS, &logs(&[body])).await.code, 0);
    }
    assert_eq!(node.texts(), ["a", "b", "c"]);
    assert_eq!((door.texts().len(), door.state.lock().unwrap().asked), (0, 1));
    gateway.stop().await;
    // One that does not say keeps what is configured.
    let door = Cluster::start([]).await;
    let keys = format!(
        "endpoint: 'http://{}', discover: {{on_start: true}}, {FAST}",
        door.addr
    );
    let gateway = direct(&keys, "").await;
    let grpc = Grpc::connect(gateway.grpc).await;
    for body in ["a", "b"] {
        assert_eq!(grpc.export(LOGS, &logs(&[body])).await.code, 0);
    }
    assert_eq!(door.texts(), ["a", "b"]);
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_refused_too_often_is_given_up_if_a_count_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead.json");
    for (keys, requests) in [("max_retries: 2", 3), ("max_requests: 2", 2)] {
        // The first of three is stored at once, the second later, the third never.
        let cluster = Cluster::start([
            Turn::Each(&[201, 429, 429]),
            Turn::Each(&[201, 503]),
            Turn::Each(&[429, 429]),
            Turn::Each(&[429, 429]),
        ])
        .await;
        let retry = format!("retry: {{{keys}, initial_interval: 1ms, max_interval: 2ms}}");
        let text = config(&cluster, &format!("{AT_ONCE}, {retry}, dead_letter: file"));
        let gateway = Gateway::start(&text.replace("{dead}", path.to_str().unwrap())).await;
        let grpc = Grpc::connect(gateway.grpc).await;
        assert_eq!(grpc.export(LOGS, &logs(&["a", "b", "c"])).await.code, 0);
        settled(&gateway, 3).await;
        assert_eq!(cluster.seen().len(), requests, "{keys}");
        assert_eq!(cluster.texts(), ["a", "b"], "{keys}");
        let books = of(&gateway, Signal::Logs);
        assert_eq!(
            (books.get(Column::Out), books.failed.get("retries_exhausted")),
            (2, Some(&1))
        );
        gateway.stop().await;
        let laid = std::fs::read_to_string(&path).unwrap();
        assert_eq!(laid.matches("\"body\":").count(), 1, "{laid}");
        std::fs::remove_file(&path).unwrap();
    }
}

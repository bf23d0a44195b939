//! OpenSearch, which has Elasticsearch's `_bulk` and its data streams: documents of each mapping mode are stored as they
//! were sent and found as Kibana looks for logs, and what the store says of a document is heeded.
//!
//! It does not know `require_data_stream`, which requests in mode `otel` have: these go through a [`door`].

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, Instant, sleep};

use super::client::post;
use super::gateway::{Gateway, weir};
use super::pipelines::service;
use super::programs::on_path;
use super::records::{NS, TRACE, attributes, document, iso, line, logs, of_record};
use super::server::Server;
use super::{free_port, installed, until};

/// A store in a process of its own.
struct Store {
    port: u16,
    _server: Server,
}

impl Store {
    /// With data streams for all logs and traces; none where it is not installed. `more` are settings of the node.
    async fn start(more: &[&str]) -> Option<Store> {
        let built = installed("opensearch/built.txt")?;
        let java = on_path("java")?;
        let home = built.parent().expect("it lies in a folder").display();
        let (port, transport) = (free_port(), free_port());
        let classes = format!("{home}/classes:{home}/lib/*");
        let ports = [format!("http.port={port}"), format!("transport.port={transport}")];
        let mut arguments = vec!["-Xms256m", "-Xmx512m", "-cp", &classes, "Peer", "path.home={dir}"];
        arguments.extend(ports.iter().map(String::as_str));
        arguments.extend([
            "cluster.name=weir",
            "node.name=peer",
            "network.host=127.0.0.1",
            "discovery.type=single-node",
            "http.type=netty4",
            "transport.type=netty4",
            "cluster.routing.allocation.disk.threshold_enabled=false",
        ]);
        arguments.extend(more);
        let ready = || async move {
            let answer = call(port, "GET", "/_cluster/health", "").await;
            answer.is_some_and(|(status, _)| status == 200)
        };
        let server = Server::start(java, &arguments, &[], ready).await;
        let store = Store {
            port,
            _server: server,
        };
        let template = json!({
            "index_patterns": ["logs-*", "traces-*"],
            "data_stream": {},
            "priority": 200,
            "template": {
                "settings": {"number_of_replicas": 0},
                "mappings": {
                    "properties": {
                        "@timestamp": {"type": "date_nanos"},
                        "observed_timestamp": {"type": "date_nanos"},
                        "n": {"type": "long"},
                    },
                },
            },
        });
        store.put("/_index_template/weir", &template).await;
        Some(store)
    }

    async fn put(&self, path: &str, body: &Value) {
        let (status, answer) = call(self.port, "PUT", path, &body.to_string())
            .await
            .expect("it listens");
        assert_eq!(status, 200, "{path}: {answer}");
    }

    /// What it answers to a search, after all that was stored can be found.
    async fn search(&self, index: &str, query: &Value) -> Value {
        let refreshed = call(self.port, "POST", &format!("/{index}/_refresh"), "").await;
        assert_eq!(refreshed.expect("it listens").0, 200);
        let (status, answer) = call(
            self.port,
            "POST",
            &format!("/{index}/_search"),
            &query.to_string(),
        )
        .await
        .expect("it listens");
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// All documents in order: their times in nanoseconds as the store reads them, and what they are.
    async fn documents(&self, index: &str) -> Vec<(u64, Value)> {
        let sort = json!([{"@timestamp": {"order": "asc", "numeric_type": "date_nanos"}}]);
        let query = json!({"size": 10_000, "sort": sort, "track_total_hits": true});
        let answer = self.search(index, &query).await;
        let hits = answer["hits"]["hits"].as_array().expect("hits");
        assert_eq!(answer["hits"]["total"]["value"], hits.len());
        hits.iter()
            .map(|hit| {
                let time = hit["sort"][0].as_u64().expect("a time");
                (time, hit["_source"].clone())
            })
            .collect()
    }
}

/// A request with a JSON body over HTTP/1.1: status and answer; none if nobody listens.
async fn call(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: store\r\nconnection: close\r\n");
    let _ = write!(
        request,
        "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.get(9..12)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// A door in front of a store, through which each connection may send one request: the parameter that the store does not
/// know becomes a part of `filter_path` before it, where it does no harm. Gives its address and how many came.
async fn door(store: u16) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let came = Arc::new(AtomicUsize::new(0));
    let count = came.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", store)).await?;
                let mut head = Vec::new();
                while memchr::memmem::find(&head, b"\r\n\r\n").is_none() {
                    if client.read_buf(&mut head).await? == 0 {
                        return Ok(());
                    }
                }
                const UNKNOWN: &[u8] = b"&require_data_stream=true";
                if let Some(at) = memchr::memmem::find(&head, UNKNOWN) {
                    head[at..at + UNKNOWN.len()].copy_from_slice(b",require_data_stream.true");
                }
                server.write_all(&head).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server)
                    .await
                    .map(|_| ())
            });
        }
    });
    (addr, came)
}

/// Whoever sends waits for the store, or not.
const DIRECT: &str = "sending_queue: {enabled: false}";
const QUEUED: &str = "sending_queue: {batch: {flush_timeout: 10ms}}";

/// A gateway that stores logs and traces.
async fn gateway(to: SocketAddr, keys: &str) -> Gateway {
    let text = format!(
        "receivers:
  otlp:
    protocols:
      http: {{endpoint: '127.0.0.1:{{http}}'}}
exporters:
  elasticsearch:
    endpoint: 'http://{to}'
    disable_keep_alives: true
    retry_on_failure: {{initial_interval: 50ms, max_interval: 1s, max_elapsed_time: 0}}
    {keys}
  file: {{path: '{{dir}}/dead.json'}}
{}",
        service(
            "logs: {receivers: [otlp], exporters: [elasticsearch]}
             traces: {receivers: [otlp], exporters: [elasticsearch]}"
        )
    );
    Gateway::run(&weir(), &text).await
}

async fn send(gateway: &Gateway, path: &str, request: &Value) -> Value {
    let addr = SocketAddr::from(([127, 0, 0, 1], gateway.http));
    let json = [("content-type", "application/json")];
    let answer = post(addr, path, &json, request.to_string().as_bytes()).await;
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    assert_eq!(answer.status, 200, "{body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_is_stored_as_it_was_sent_and_found_as_logs_are_looked_for() {
    let Some(store) = Store::start(&[]).await else {
        return;
    };
    let (door, _) = door(store.port).await;
    const RECORDS: u64 = 60;
    // How a mode calls what views of logs ask for: the service, the trace, the level and the text.
    let modes = [
        (
            "otel",
            "logs-shop.otel-prod",
            [
                "resource.attributes.service.name",
                "trace_id",
                "severity_text",
                "body.text",
            ],
        ),
        (
            "ecs",
            "logs-shop-prod",
            ["service.name", "trace.id", "log.level", "message"],
        ),
        (
            "none",
            "logs-none-test",
            ["Resource.service.name", "TraceId", "SeverityText", "Body"],
        ),
        (
            "raw",
            "logs-raw-test",
            ["Resource.service.name", "TraceId", "SeverityText", "Body"],
        ),
        ("bodymap", "logs-bodymap-test", ["", "", "", "message"]),
    ];
    for (mode, index, names) in modes {
        // By attributes, or by a static index that is the name of a data stream.
        let of_resource = json!({"service.name": "shop", "host.name": "h1"});
        let (place, resource) = match mode {
            "otel" | "ecs" => {
                let mut resource = of_resource;
                resource["data_stream.dataset"] = json!("shop");
                resource["data_stream.namespace"] = json!("prod");
                (String::new(), resource)
            }
            _ => (format!("logs_index: {index}\n    "), of_resource),
        };
        let keys = format!("{DIRECT}\n    {place}mapping: {{mode: {mode}}}");
        let mut gateway = gateway(door, &keys).await;
        for first in (0..RECORDS).step_by(10) {
            let records = (first..first + 10).map(|at| match mode {
                "bodymap" => (document(mode, at), json!({})),
                _ => (json!(line(at)), of_record(at)),
            });
            send(&gateway, "/v1/logs", &logs(first, records, &resource)).await;
        }
        gateway.stop().await;

        let found = store.documents(index).await;
        let expected: Vec<(u64, Value)> = (0..RECORDS).map(|at| (NS + at, document(mode, at))).collect();
        assert_eq!(found.len(), expected.len(), "{mode}");
        for (found, expected) in found.into_iter().zip(expected) {
            assert_eq!(found, expected, "{mode}");
        }

        // As Kibana's views of logs ask: the newest of a span of time, by service, trace and level, and by words.
        let query = |field: &str, words: &str| {
            let (from, to) = (iso(10), iso(49));
            json!({
                "track_total_hits": true, "size": 500,
                "sort": [{"@timestamp": {"order": "desc", "unmapped_type": "boolean"}}],
                "docvalue_fields": [{"field": "@timestamp", "format": "strict_date_optional_time_nanos"}],
                "highlight": {"fields": {"*": {}}},
                "query": {"bool": {"filter": [
                    {"bool": {"should": [{"match_phrase": {field: words}}], "minimum_should_match": 1}},
                    {"range": {"@timestamp": {"gte": from, "lte": to, "format": "strict_date_optional_time_nanos"}}},
                ]}},
            })
        };
        let wanted = [("shop", 40), (TRACE, 40), ("WARN", 40), ("line 037 said", 1)];
        for (name, (words, count)) in names.iter().zip(wanted).filter(|(name, _)| !name.is_empty()) {
            let answer = store.search("logs-*", &query(name, words)).await;
            let hits: Vec<&Value> = answer["hits"]["hits"]
                .as_array()
                .expect("hits")
                .iter()
                .filter(|hit| {
                    hit["_index"]
                        .as_str()
                        .is_some_and(|name| name.starts_with(&format!(".ds-{index}-")))
                })
                .collect();
            assert_eq!(hits.len(), count, "{mode}: {name}");
            let newest = &hits[0]["fields"]["@timestamp"][0];
            let expected = if count == 1 { iso(37) } else { iso(49) };
            assert_eq!(newest, &json!(expected), "{mode}: {name}");
        }
    }
    let (_, streams) = call(store.port, "GET", "/_data_stream/logs-*", "")
        .await
        .expect("it listens");
    let mut names: Vec<&str> = streams["data_streams"]
        .as_array()
        .expect("streams")
        .iter()
        .filter_map(|stream| stream["name"].as_str())
        .collect();
    names.sort_unstable();
    let mut expected = modes.map(|(_, index, _)| index);
    expected.sort_unstable();
    assert_eq!(names, expected);
}

/// The bodies of what lies in the dead letter.
fn dead(gateway: &Gateway) -> Vec<String> {
    let text = fs::read_to_string(gateway.dir().join("dead.json")).unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let request: Value = serde_json::from_str(line).expect("JSON");
        for resource in request["resourceLogs"].as_array().expect("logs") {
            for scope in resource["scopeLogs"].as_array().expect("scopes") {
                for record in scope["logRecords"].as_array().expect("records") {
                    found.push(record["body"]["stringValue"].as_str().expect("a text").to_owned());
                }
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_turns_down_is_told_and_what_it_has_is_stored_once() {
    let Some(store) = Store::start(&[]).await else {
        return;
    };
    let to = SocketAddr::from(([127, 0, 0, 1], store.port));
    let record = |text: &str, id: &str, n: Value| {
        let more = json!({"n": n, "elasticsearch.document_id": id});
        (json!(text), more)
    };
    let texts = async || {
        let documents = store.documents("logs-generic-default").await;
        let text = |(_, document): (u64, Value)| document["message"].as_str().expect("a text").to_owned();
        documents.into_iter().map(text).collect::<Vec<_>>()
    };
    let keys = format!("{DIRECT}\n    mapping: {{mode: ecs}}\n    logs_dynamic_id: {{enabled: true}}");
    for (at, with_dead_letter) in [(0, false), (100, true)] {
        let more = if with_dead_letter {
            "\n    dead_letter: file"
        } else {
            ""
        };
        let mut gateway = gateway(to, &format!("{keys}{more}")).await;
        let name = |text: &str| format!("{text}{at}");
        let of = |text: &str, n: Value| record(&name(text), &name(text), n);
        let first = [of("a", json!(1)), of("b", json!(2)), of("c", json!(3))];
        send(&gateway, "/v1/logs", &logs(at, first, &json!({}))).await;
        // One that is there already, and one that does not fit its field, among others.
        let second = [
            of("b", json!(2)),
            of("d", json!(4)),
            of("poison", json!("no number")),
            of("e", json!(5)),
        ];
        let answer = send(&gateway, "/v1/logs", &logs(at + 10, second, &json!({}))).await;
        let told = &answer["partialSuccess"];
        assert_eq!(told["rejectedLogRecords"], "1", "{answer}");
        assert!(
            told["errorMessage"]
                .as_str()
                .is_some_and(|text| text.contains("mapper_parsing_exception")),
            "{answer}"
        );
        let metrics = gateway.metrics().await;
        let total = |name: &str| -> f64 {
            let lines = metrics.lines().filter(|line| line.starts_with(name));
            lines
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
                .sum()
        };
        let booked = |column: &str| {
            total(&format!(
                "weir_ledger_items{{column=\"{column}\",place=\"exporter elasticsearch\""
            ))
        };
        assert_eq!((booked("out"), booked("failed")), (6.0, 1.0), "{metrics}");
        gateway.stop().await;
        let laid = if with_dead_letter {
            vec![name("poison")]
        } else {
            vec![]
        };
        assert_eq!(dead(&gateway), laid);
    }
    assert_eq!(
        texts().await,
        [
            "a0", "b0", "c0", "d0", "e0", "a100", "b100", "c100", "d100", "e100"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_the_store_goes_in_parts() {
    let Some(store) = Store::start(&["http.max_content_length=1mb"]).await else {
        return;
    };
    let to = SocketAddr::from(([127, 0, 0, 1], store.port));
    for (compression, first) in [("gzip", 0), ("none", 3000)] {
        let keys = format!("{QUEUED}\n    mapping: {{mode: ecs}}\n    compression: {compression}");
        let mut gateway = gateway(to, &keys).await;
        let filler = "x".repeat(1000);
        let records = (first..first + 3000).map(|n| (json!(filler), json!({"n": n})));
        send(&gateway, "/v1/logs", &logs(first, records, &json!({}))).await;
        gateway.stop().await;
    }
    let found = store.documents("logs-generic-default").await;
    let numbers: Vec<u64> = found
        .iter()
        .map(|(_, document)| document["n"].as_u64().expect("a number"))
        .collect();
    assert_eq!(numbers, (0..6000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_lacks_is_waited_for() {
    let Some(store) = Store::start(&["action.auto_create_index=-later*,+*"]).await else {
        return;
    };
    let to = SocketAddr::from(([127, 0, 0, 1], store.port));
    store
        .put("/locked", &json!({"settings": {"index.blocks.write": true}}))
        .await;
    let mut gateway = gateway(to, &format!("{QUEUED}\n    mapping: {{mode: ecs}}")).await;
    let to_index = |index: &str| {
        let resource = json!({"elasticsearch.index": index});
        logs(0, [(json!(index), json!({}))], &resource)
    };
    let mut request = to_index("later");
    for index in ["locked", "open"] {
        let more = to_index(index)["resourceLogs"][0].clone();
        request["resourceLogs"]
            .as_array_mut()
            .expect("resources")
            .push(more);
    }
    let counts = async || {
        let mut counts = Vec::new();
        for index in ["later", "locked", "open"] {
            let answer = call(store.port, "GET", &format!("/{index}/_count"), "").await;
            counts.push(answer.expect("it listens").1["count"].as_u64());
        }
        counts
    };
    send(&gateway, "/v1/logs", &request).await;
    until("what can be stored is", || async {
        let _ = call(store.port, "POST", "/_refresh", "").await;
        counts().await == [None, Some(0), Some(1)]
    })
    .await;
    store.put("/later", &json!({})).await;
    let open = json!({"index.blocks.write": false});
    store.put("/locked/_settings", &open).await;
    // It comes again half a minute later.
    let end = Instant::now() + Duration::from_secs(60);
    while counts().await != [Some(1); 3] {
        assert!(Instant::now() < end, "{:?}", counts().await);
        sleep(Duration::from_millis(200)).await;
        let _ = call(store.port, "POST", "/_refresh", "").await;
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_where_it_is() {
    let Some(store) = Store::start(&[]).await else {
        return;
    };
    let (door, came) = door(store.port).await;
    let keys = format!("{DIRECT}\n    mapping: {{mode: ecs}}\n    discover: {{on_start: true}}");
    let mut gateway = gateway(door, &keys).await;
    for at in 0..3 {
        let records = [(json!(line(at)), json!({}))];
        send(&gateway, "/v1/logs", &logs(at, records, &json!({}))).await;
    }
    gateway.stop().await;
    let found = store.documents("logs-generic-default").await;
    assert_eq!(
        found.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [NS, NS + 1, NS + 2]
    );
    // It was asked there, and sent documents where it said.
    assert_eq!(came.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_and_their_events_that_come_again_are_stored_once() {
    let Some(store) = Store::start(&[]).await else {
        return;
    };
    let (door, _) = door(store.port).await;
    let mut gateway = gateway(door, DIRECT).await;
    let span = json!({
        "traceId": TRACE, "spanId": "0102030405060708", "name": "GET /", "kind": 2,
        "startTimeUnixNano": NS.to_string(), "endTimeUnixNano": (NS + 5_000).to_string(),
        "attributes": attributes(&json!({"http.method": "GET"})), "status": {"code": 2, "message": "no"},
        "events": [
            {"timeUnixNano": (NS + 1).to_string(), "name": "first"},
            {"timeUnixNano": (NS + 2).to_string(), "name": "second", "attributes": attributes(&json!({"n": 7}))},
        ],
    });
    let resource = json!({"attributes": attributes(&json!({"service.name": "shop"}))});
    let request = json!({"resourceSpans": [{
        "resource": resource,
        "scopeSpans": [{"scope": {"name": "lib"}, "spans": [span]}],
    }]});
    for _ in 0..2 {
        let answer = send(&gateway, "/v1/traces", &request).await;
        assert_eq!(answer, json!({"partialSuccess": {}}));
    }
    gateway.stop().await;
    let found = store.documents("traces-generic.otel-default").await;
    assert_eq!(found.len(), 1);
    let (at, span) = &found[0];
    assert_eq!(*at, NS);
    for (field, expected) in [
        ("/trace_id", json!(TRACE)),
        ("/name", json!("GET /")),
        ("/kind", json!("Server")),
        ("/duration", json!(5_000)),
        ("/attributes/http.method", json!("GET")),
        ("/status", json!({"code": "Error", "message": "no"})),
        ("/resource/attributes/service.name", json!("shop")),
    ] {
        assert_eq!(span.pointer(field), Some(&expected), "{field}");
    }
    let found = store.documents("logs-generic.otel-default").await;
    let events: Vec<(u64, &str, &str)> = found
        .iter()
        .map(|(at, event)| {
            let text = |name: &str| event[name].as_str().expect("a text");
            (*at, text("event_name"), text("trace_id"))
        })
        .collect();
    assert_eq!(events, [(NS + 1, "first", TRACE), (NS + 2, "second", TRACE)]);
}

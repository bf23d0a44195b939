//! Data that goes its own ways, through the whole gateway: by route, by level, by ring. Each record arrives where it
//! belongs, once, and the books balance.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use telemetry::{Column, Node, Place};
use wire::Signal;

use crate::support::client::{Grpc, LOGS, METRICS, TRACES, frame, post_otlp};
use crate::support::gateway::Gateway;
use crate::support::peer::{Answer, Peer};
use crate::support::{sample, until};

/// A gateway with these connectors and exporters, in lines of two spaces, and pipelines, in lines of four.
fn config(connectors: &str, exporters: &str, pipelines: &str) -> String {
    format!(
        r#"
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}", include_metadata: true}}
      http: {{endpoint: "127.0.0.1:{{http}}", include_metadata: true}}
connectors:
{connectors}
exporters:
{exporters}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
{pipelines}
"#
    )
}

/// An exporter without a queue, to a path of its own at a peer.
fn to(name: &str, peer: &Peer) -> String {
    format!(
        "  otlp_http/{name}: {{endpoint: 'http://{}/{name}', compression: none, sending_queue: {{enabled: false}}, \
         retry_on_failure: {{enabled: false}}}}\n",
        peer.addr
    )
}

/// Pipelines `SIGNAL/NAME` behind a connector, each to the exporter of its name.
fn behind(connector: &str, signal: &str, names: &[&str]) -> String {
    let line = |name: &&str| {
        format!("    {signal}/{name}: {{receivers: [{connector}], exporters: [otlp_http/{name}]}}\n")
    };
    names.iter().map(line).collect()
}

/// One record of each of these: service, severity, body.
fn records(all: &[(&str, i32, &str)]) -> Vec<u8> {
    let group = |(service, severity, body): &(&str, i32, &str)| {
        let mut group = sample::logs(1).resource_logs.remove(0);
        group.resource.get_or_insert_default().attributes =
            vec![sample::attr("service.name", sample::text(service))];
        let record = &mut group.scope_logs[0].log_records[0];
        (record.severity_number, record.body) = (*severity, Some(sample::text(body)));
        group
    };
    let resource_logs = all.iter().map(group).collect();
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// What each record in a request is called: body, name of the span, name of the metric and how many points it has.
fn names(path: &str, message: &[u8]) -> Vec<String> {
    let signal = path.rsplit('/').next().unwrap_or_default();
    match signal {
        "traces" => {
            let request = ExportTraceServiceRequest::decode(message).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|g| g.scope_spans);
            scopes.flat_map(|s| s.spans).map(|span| span.name).collect()
        }
        "metrics" => {
            let request = ExportMetricsServiceRequest::decode(message).unwrap();
            let groups = request.resource_metrics.iter();
            let points = wire::count_items(Signal::Metrics, message);
            let metrics = groups
                .flat_map(|g| &g.scope_metrics)
                .flat_map(|s| &s.metrics)
                .count();
            vec![format!("{points} points in {metrics} metrics")]
        }
        _ => {
            let request = ExportLogsServiceRequest::decode(message).unwrap();
            let scopes = request.resource_logs.into_iter().flat_map(|g| g.scope_logs);
            let records = scopes.flat_map(|s| s.log_records);
            records
                .map(|record| match record.body.and_then(|body| body.value) {
                    Some(Value::StringValue(text)) => text,
                    other => panic!("{other:?}"),
                })
                .collect()
        }
    }
}

/// What a peer took, by the first part of the path.
fn taken(peer: &Peer) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in peer.taken() {
        let to = one.path.split('/').nth(1).unwrap_or_default();
        all.entry(to.to_owned())
            .or_default()
            .extend(names(&one.path, &one.message));
    }
    all
}

fn expected(all: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    all.iter()
        .map(|(to, names)| ((*to).to_owned(), texts(names)))
        .collect()
}

// --- routing ---

#[tokio::test]
async fn the_first_route_that_matches_takes_it_and_a_copy_leaves_it() {
    let peer = Peer::start().await;
    let routing = r#"  routing:
    match_once: true
    table:
      - {context: request, condition: 'request["x-tenant"] == "acme"', pipelines: [logs/acme]}
      - {context: log, condition: severity_number >= SEVERITY_NUMBER_ERROR, action: copy, pipelines: [logs/errors]}
      - {context: resource, statement: 'route() where attributes["service.name"] == "shop"', pipelines: [logs/shop]}
      - {context: log, condition: severity_number >= SEVERITY_NUMBER_FATAL, pipelines: [logs/late, logs/errors]}
    default_pipelines: [logs/rest]"#;
    let ways = ["acme", "errors", "shop", "late", "rest"];
    let exporters: String = ways.iter().map(|name| to(name, &peer)).collect();
    let pipelines = "    logs: {receivers: [otlp], exporters: [routing]}\n".to_owned()
        + &behind("routing", "logs", &ways);
    let gateway = Gateway::start(&config(routing, &exporters, &pipelines)).await;
    let request = records(&[
        ("shop", 9, "a"),
        ("shop", 17, "b"),
        ("bank", 9, "c"),
        ("bank", 17, "d"),
        ("bank", 21, "e"),
    ]);
    assert_eq!(post_otlp(gateway.http, "/v1/logs", &request).await.status, 200);
    assert_eq!(
        taken(&peer),
        expected(&[
            ("errors", &["b", "d", "e", "e"]),
            ("late", &["e"]),
            ("rest", &["c", "d"]),
            ("shop", &["a", "b"]),
        ])
    );
    let books = gateway.books(Place::Node(Node::Connector("routing".into())), Signal::Logs);
    assert_eq!(books.to_string(), "in 5, created 4, out 9");
    let grpc = Grpc::connect(gateway.grpc).await;
    let answer = grpc
        .call(LOGS, frame(0, &request), &[("x-tenant", "acme")], true)
        .await;
    assert_eq!(answer.code, 0);
    assert_eq!(taken(&peer)["acme"], ["a", "b", "c", "d", "e"]);
    gateway.stop().await;
}

#[tokio::test]
async fn spans_metrics_and_points_have_routes_of_their_own() {
    let peer = Peer::start().await;
    let routing = r#"  routing/traces:
    table: [{context: span, condition: 'name == "GET /1"', pipelines: [traces/one]}]
    default_pipelines: [traces/rest]
  routing/metrics:
    table:
      - {context: metric, condition: type == METRIC_DATA_TYPE_SUM, pipelines: [metrics/one]}
      - {context: datapoint, condition: value_double == 1.5, pipelines: [metrics/two]}
      - {context: otelcol, condition: 'otelcol.client.metadata["x-tenant"][0] == "acme"', pipelines: [metrics/three]}"#;
    let ways = ["one", "two", "three", "rest"];
    let exporters: String = ways.iter().map(|name| to(name, &peer)).collect();
    let pipelines = [
        "    traces: {receivers: [otlp], exporters: [routing/traces]}\n",
        "    metrics: {receivers: [otlp], exporters: [routing/metrics]}\n",
        &behind("routing/traces", "traces", &["one", "rest"]),
        &behind("routing/metrics", "metrics", &["one", "two", "three"]),
    ];
    let gateway = Gateway::start(&config(routing, &exporters, &pipelines.concat())).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let traces = sample::traces(3).encode_to_vec();
    assert_eq!(grpc.export(TRACES, &traces).await.code, 0);
    assert_eq!(
        taken(&peer),
        expected(&[("one", &["GET /1"]), ("rest", &["GET /0", "GET /2"])])
    );
    let metrics = sample::metrics().encode_to_vec();
    assert_eq!(grpc.export(METRICS, &metrics).await.code, 0);
    let place = || Place::Node(Node::Connector("routing/metrics".into()));
    assert_eq!(
        gateway.books(place(), Signal::Metrics).to_string(),
        "in 6, out 2, dropped{routing} 4",
        "there is no default for what no route takes"
    );
    let answer = grpc
        .call(METRICS, frame(0, &metrics), &[("x-tenant", "acme")], true)
        .await;
    assert_eq!(answer.code, 0);
    let one_of_one = "1 points in 1 metrics";
    assert_eq!(
        taken(&peer),
        expected(&[
            ("one", &["GET /1", one_of_one, one_of_one]),
            ("rest", &["GET /0", "GET /2"]),
            ("three", &["4 points in 4 metrics"]),
            ("two", &[one_of_one, one_of_one]),
        ])
    );
    gateway.stop().await;
}

#[tokio::test]
async fn an_error_in_a_condition_refuses_the_request_or_passes_the_route_over() {
    for (mode, status) in [("propagate", 400), ("ignore", 200), ("silent", 200)] {
        let peer = Peer::start().await;
        let routing = format!(
            "  routing:\n    error_mode: {mode}\n    table:\n      \
             - {{context: log, condition: 'ParseJSON(body)[\"to\"] == \"one\"', pipelines: [logs/one]}}\n    \
             default_pipelines: [logs/rest]"
        );
        let exporters = to("one", &peer) + &to("rest", &peer);
        let pipelines = "    logs: {receivers: [otlp], exporters: [routing]}\n".to_owned()
            + &behind("routing", "logs", &["one", "rest"]);
        let gateway = Gateway::start(&config(&routing, &exporters, &pipelines)).await;
        let json = r#"{"to": "one"}"#;
        let request = records(&[("a", 9, json), ("b", 9, "no json")]);
        let answer = post_otlp(gateway.http, "/v1/logs", &request).await;
        assert_eq!(answer.status, status, "{mode}");
        match mode {
            "propagate" => assert_eq!(taken(&peer), expected(&[])),
            _ => assert_eq!(
                taken(&peer),
                expected(&[("one", &[json]), ("rest", &["no json"])])
            ),
        }
        gateway.stop().await;
    }
}

// --- failover ---

const DOWN: Answer = Answer::Http {
    status: 503,
    retry_after: None,
};

#[tokio::test]
async fn what_the_first_level_refuses_goes_to_the_next_until_it_is_back() {
    let (first, second) = (Peer::start().await, Peer::start().await);
    let failover = "  failover: {priority_levels: [[logs/first], [logs/second]], retry_interval: 50ms}";
    let exporters = to("first", &first) + &to("second", &second);
    let pipelines = "    logs: {receivers: [otlp], exporters: [failover]}\n".to_owned()
        + &behind("failover", "logs", &["first", "second"]);
    let gateway = Gateway::start(&config(failover, &exporters, &pipelines)).await;
    let sent = std::sync::atomic::AtomicUsize::new(0);
    let send = || async {
        let n = sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let request = records(&[("a", 9, &format!("record {n}")), ("b", 9, &format!("beside {n}"))]);
        post_otlp(gateway.http, "/v1/logs", &request).await.status
    };
    let count = |peer: &Peer| peer.taken().len();
    assert_eq!(send().await, 200);
    assert_eq!((count(&first), count(&second)), (1, 0));
    first.always(DOWN);
    for _ in 0..3 {
        assert_eq!(send().await, 200);
    }
    assert_eq!((count(&first), count(&second)), (1, 3));
    // Both are down: the client keeps what it has.
    second.always(DOWN);
    assert_eq!(send().await, 503);
    second.always(Answer::Ok);
    assert_eq!(send().await, 200);
    first.always(Answer::Ok);
    while count(&first) < 2 {
        assert_eq!(send().await, 200);
    }
    let before = count(&second);
    assert_eq!(send().await, 200);
    assert_eq!((count(&first), count(&second)), (3, before));
    let all = sent.load(std::sync::atomic::Ordering::Relaxed);
    // All but the fifth request, once.
    let wanted: Vec<String> = (0..all)
        .filter(|n| *n != 4)
        .flat_map(|n| [format!("record {n}"), format!("beside {n}")])
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let arrived = [taken(&first), taken(&second)].into_iter().flatten();
    let mut arrived: Vec<String> = arrived.flat_map(|(_, names)| names).collect();
    arrived.sort();
    assert_eq!(arrived, wanted);
    let books = gateway.books(Place::Node(Node::Connector("failover".into())), Signal::Logs);
    let items = 2 * (all as u64 - 1);
    assert_eq!(books.to_string(), format!("in {items}, out {items}"));
    gateway.stop().await;
}

// --- loadbalancing ---

const FAST: &str = "retry_on_failure: {initial_interval: 10ms, max_interval: 50ms, max_elapsed_time: 0}";

fn balanced(resolver: &str, queue: &str) -> String {
    let exporter = format!(
        "  loadbalancing: {{protocol: {{otlp: {{tls: {{insecure: true}}, compression: none}}}}, resolver: {{{resolver}}}, \
         {FAST}, sending_queue: {{{queue}}}}}"
    );
    config(
        "  forward:",
        &exporter,
        "    traces: {receivers: [otlp], exporters: [forward]}\n    \
         traces/out: {receivers: [forward], exporters: [loadbalancing]}",
    )
}

/// Two spans of each of these traces.
fn traces(ids: std::ops::Range<u8>) -> Vec<u8> {
    let mut request = ExportTraceServiceRequest::default();
    for id in ids {
        let mut group = sample::traces(2).resource_spans.remove(0);
        for span in &mut group.scope_spans[0].spans {
            span.trace_id = vec![id; 16];
            span.name = format!("{id}: {}", span.name);
        }
        request.resource_spans.push(group);
    }
    request.encode_to_vec()
}

/// Spans that a backend took, by trace; none came twice.
fn spans(peer: &Peer) -> BTreeMap<u8, usize> {
    let mut all = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for one in peer.taken() {
        let request = ExportTraceServiceRequest::decode(one.message.clone()).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|g| g.scope_spans);
        for span in scopes.flat_map(|s| s.spans) {
            *all.entry(span.trace_id[0]).or_default() += 1;
            assert!(seen.insert(span.name.clone()), "{} came twice", span.name);
        }
    }
    all
}

fn balancer(gateway: &Gateway) -> telemetry::Totals {
    gateway.books(
        Place::Node(Node::Exporter("loadbalancing".into())),
        Signal::Traces,
    )
}

#[tokio::test]
async fn traces_stay_whole_and_those_of_a_backend_that_goes_move_by_the_ring() {
    let folder = tempfile::tempdir().unwrap();
    let peers = [Peer::start().await, Peer::start().await, Peer::start().await];
    let storage = format!(
        "extensions: {{file_storage: {{directory: '{}'}}}}\n",
        folder.path().display()
    );
    let text = |hosts: &[&Peer]| {
        let hosts: Vec<String> = hosts.iter().map(|peer| format!("'{}'", peer.addr)).collect();
        let resolver = format!("static: {{hostnames: [{}]}}", hosts.join(", "));
        let text = balanced(&resolver, "storage: file_storage");
        storage.clone() + &text.replace("service:\n", "service:\n  extensions: [file_storage]\n")
    };
    let gateway = Gateway::start(&text(&[&peers[0], &peers[1], &peers[2]])).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    assert_eq!(grpc.export(TRACES, &traces(0..60)).await.code, 0);
    until("all has arrived", || balancer(&gateway).get(Column::Out) == 120).await;
    let before = peers.each_ref().map(spans);
    assert!(before.iter().all(|traces| !traces.is_empty()), "{before:?}");
    let whole = |traces: &BTreeMap<u8, usize>| traces.values().all(|spans| *spans == 2);
    assert!(before.iter().all(whole), "{before:?}");
    // One goes: what is its own waits, the others get theirs.
    peers[2].always(Answer::Grpc {
        code: 14,
        message: "going away",
        retry_ms: None,
    });
    // The names of the spans differ, so that none of them seems to come twice.
    assert_eq!(grpc.export(TRACES, &traces(100..160)).await.code, 0);
    let of_two = || spans(&peers[0]).len() + spans(&peers[1]).len();
    let gone: BTreeSet<u8> = before[2].keys().copied().collect();
    until("the others have theirs", || {
        balancer(&gateway).get(Column::Out) > 120
    })
    .await;
    let owed = balancer(&gateway).held() as usize;
    assert!(owed > 0);
    assert_eq!(owed + 2 * (of_two() + gone.len()), 240);
    let kept = [spans(&peers[0]), spans(&peers[1])];
    // Without it the ring says where the rest belongs; what is with the others stays there.
    gateway
        .reload(&text(&[&peers[0], &peers[1]]))
        .await
        .expect("valid");
    until("all has arrived", || of_two() + gone.len() == 120).await;
    let after = [spans(&peers[0]), spans(&peers[1])];
    assert!(after.iter().all(whole), "{after:?}");
    let moved = |at: usize| after[at].len() - kept[at].len();
    assert!(moved(0) > 0 && moved(1) > 0, "they share what it had: {after:?}");
    until("it is booked", || balancer(&gateway).held() == 0).await;
    // The same traces again: what was with one of the two before is there again.
    for peer in &peers[..2] {
        peer.forget_all();
    }
    assert_eq!(grpc.export(TRACES, &traces(0..60)).await.code, 0);
    until("all has arrived", || of_two() == 60).await;
    for at in 0..2 {
        let again = spans(&peers[at]);
        let is_there = before[at].keys().all(|id| again.contains_key(id));
        assert!(is_there, "{:?} is not among {again:?}", before[at]);
    }
    until("it is booked", || balancer(&gateway).held() == 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn backends_are_the_addresses_of_a_name() {
    let peer = Peer::start().await;
    let resolver = format!(
        "dns: {{hostname: 127.0.0.1, port: '{}', interval: 10ms}}",
        peer.addr.port()
    );
    let gateway = Gateway::start(&balanced(&resolver, "enabled: false")).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    assert_eq!(grpc.export(TRACES, &traces(0..5)).await.code, 0);
    assert_eq!(spans(&peer), (0..5).map(|id| (id, 2)).collect());
    until("it was looked up again", || {
        let metrics = gateway.metrics();
        let of_name = metrics.lines().filter(|line| {
            line.starts_with("otelcol_loadbalancer_num_resolutions")
                && line.contains("resolver=\"dns\",success=\"true\"")
        });
        let numbers = of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        numbers.sum::<f64>() > 1.0
    })
    .await;
    assert_eq!(balancer(&gateway).to_string(), "in 10, out 10");
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_backend_rejects_in_part_is_booked_though_another_one_is_unwell() {
    let peers = [Peer::start().await, Peer::start().await];
    peers[0].script([Answer::Partial {
        rejected: 3,
        message: "too old",
    }]);
    peers[1].script([Answer::Grpc {
        code: 14,
        message: "unwell",
        retry_ms: None,
    }]);
    let resolver = format!(
        "static: {{hostnames: ['{}', '{}']}}",
        peers[0].addr, peers[1].addr
    );
    let gateway = Gateway::start(&balanced(&resolver, "")).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    assert_eq!(grpc.export(TRACES, &traces(0..30)).await.code, 0);
    until("nothing is owed", || {
        let books = balancer(&gateway);
        books.get(Column::In) == 60 && books.held() == 0
    })
    .await;
    let books = balancer(&gateway);
    assert_eq!((books.get(Column::Out), books.failed_all()), (57, 3), "{books}");
    gateway.stop().await;
}

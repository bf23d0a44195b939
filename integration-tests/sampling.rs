//! Samplers through the whole gateway: the books name why spans went, and what is held on disk outlives a kill.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use telemetry::{Column, Node, Place};
use wire::Signal;

use crate::support::child::Child;
use crate::support::client::{Grpc, TRACES};
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::{sample, until};

/// A gateway with these processors of its one pipeline, which delivers to a peer without a queue.
fn config(processors: &str, names: &str, peer: &Peer) -> String {
    format!(
        r#"
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}
      http: {{endpoint: "127.0.0.1:{{http}}"}}
processors: {{{processors}}}
exporters:
  otlp_http: {{endpoint: "http://{}", sending_queue: {{enabled: false}}, compression: none}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [{names}], exporters: [otlp_http]}}
"#,
        peer.addr
    )
}

/// Two spans of a trace of its own; a trace with an odd number has failed.
fn request(n: u8) -> Vec<u8> {
    let mut request = sample::traces(2);
    for span in &mut request.resource_spans[0].scope_spans[0].spans {
        span.trace_id = vec![n; 16];
        span.trace_state = String::new();
        if n.is_multiple_of(2) {
            span.status = None;
        }
    }
    request.encode_to_vec()
}

/// First byte of the trace id, and the span's name, of what the peer took.
fn arrived(peer: &Peer) -> Vec<(u8, String)> {
    let taken = peer.taken();
    let requests = taken
        .iter()
        .map(|r| ExportTraceServiceRequest::decode(&r.message[..]).unwrap());
    let groups = requests.flat_map(|r| r.resource_spans);
    let spans = groups.flat_map(|g| g.scope_spans).flat_map(|s| s.spans);
    spans.map(|s| (s.trace_id[0], s.name)).collect()
}

fn place(id: &str) -> Place {
    Place::Node(Node::Processor {
        pipeline: "traces".into(),
        id: id.into(),
    })
}

const TAIL: &str = "policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_name_why_spans_went() {
    let peer = Peer::start().await;
    let tail = format!(
        "probabilistic_sampler: {{sampling_percentage: 100, mode: proportional}}, \
         tail_sampling: {{decision_wait: 1s, {TAIL}}}"
    );
    let text = config(&tail, "probabilistic_sampler, tail_sampling", &peer);
    let gateway = Gateway::start(&text).await;
    let client = Grpc::connect(gateway.grpc).await;
    for n in 0..6 {
        assert_eq!(client.export(TRACES, &request(n)).await.code, 0);
    }
    until("the failed traces have come", || arrived(&peer).len() == 6).await;
    let books = |id: &str| gateway.books(place(id), Signal::Traces);
    until("everything is decided on", || {
        books("tail_sampling").get(Column::Held) == 0
    })
    .await;
    assert_eq!(
        books("probabilistic_sampler").to_string(),
        "in 12, out 10, dropped{probabilistic_sampler:missing_randomness} 2"
    );
    assert_eq!(
        books("tail_sampling").to_string(),
        "in 10, out 6, dropped{sampled_out:errors} 4"
    );
    gateway.stop().await;
}

/// Two spans of each of these traces: id, service, randomness, whether it failed, how long it took.
fn judged(all: &[(u8, &str, u8, bool, u64)]) -> Vec<u8> {
    let mut request = ExportTraceServiceRequest::default();
    for (id, service, randomness, has_failed, seconds) in all {
        let mut group = sample::traces(2).resource_spans.remove(0);
        group.resource.get_or_insert_default().attributes =
            vec![sample::attr("service.name", sample::text(service))];
        for span in &mut group.scope_spans[0].spans {
            span.trace_id = vec![*id; 16];
            span.trace_state = format!("ot=rv:{randomness:02x}000000000000");
            span.end_time_unix_nano = span.start_time_unix_nano + seconds * 1_000_000_000;
            if !has_failed {
                span.status = None;
            }
        }
        request.resource_spans.push(group);
    }
    request.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_has_a_budget_and_failed_and_slow_traces_stay_whatever_it_says() {
    for (by, named) in [
        ("service.name", ""),
        ("tenant", "tenant: {from: [{resource_attribute: service.name}]}, "),
    ] {
        let peer = Peer::start().await;
        let tail = format!(
            "{named}tail_sampling: {{decision_wait: 60s, keep: {{errors: true, slower_than: 2s}}, \
             budgets: {{by: {by}, spans_per_second: 6}}, policies: [{{name: all, type: always_sample}}]}}"
        );
        let order = if named.is_empty() {
            "tail_sampling"
        } else {
            "tenant, tail_sampling"
        };
        let gateway = Gateway::start(&config(&tail, order, &peer)).await;
        let client = Grpc::connect(gateway.grpc).await;
        let shop: Vec<_> = (1..=10).map(|id| (id, "shop", 16 * id, false, 0)).collect();
        let others = [
            (11, "bank", 1, false, 0),
            (12, "bank", 2, false, 0),
            (13, "shop", 0, true, 0),
            (14, "shop", 0, false, 3),
        ];
        for request in [judged(&shop), judged(&others)] {
            assert_eq!(client.export(TRACES, &request).await.code, 0);
        }
        let telemetry = gateway.telemetry().clone();
        // What waits is decided on at the stop, all of it at once.
        gateway.stop().await;
        let requests = peer.taken().into_iter();
        let requests = requests.map(|r| ExportTraceServiceRequest::decode(r.message).unwrap());
        let scopes = requests
            .flat_map(|r| r.resource_spans)
            .flat_map(|g| g.scope_spans);
        let mut kept: Vec<(u8, bool)> = scopes
            .flat_map(|s| s.spans)
            .map(|span| (span.trace_id[0], span.trace_state.contains("th:")))
            .collect();
        kept.sort_unstable();
        let expected = [
            (8, true),
            (9, true),
            (10, true),
            (11, false),
            (12, false),
            (13, false),
            (14, false),
        ];
        assert_eq!(kept, expected.map(|one| [one; 2]).concat(), "{by}");
        let books = telemetry
            .ledger
            .row(place("tail_sampling"), Signal::Traces)
            .total();
        assert_eq!(
            books.to_string(),
            "in 28, out 14, dropped{sampled_out:budget} 14",
            "{by}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_hands_on_what_is_held() {
    let peer = Peer::start().await;
    let group = "groupbytrace: {wait_duration: 60s}";
    let gateway = Gateway::start(&config(group, "groupbytrace", &peer)).await;
    let client = Grpc::connect(gateway.grpc).await;
    for n in [1, 2, 1] {
        assert_eq!(client.export(TRACES, &request(n)).await.code, 0);
    }
    let books = gateway.books(place("groupbytrace"), Signal::Traces);
    assert_eq!(books.to_string(), "in 6, held 6");
    assert_eq!(arrived(&peer), []);
    gateway.stop().await;
    let mut traces: Vec<u8> = arrived(&peer).into_iter().map(|(id, _)| id).collect();
    traces.sort_unstable();
    assert_eq!(traces, [1, 1, 1, 1, 2, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_on_disk_outlives_a_kill() {
    for (processor, keep) in [
        (
            format!("tail_sampling: {{decision_wait: 2s, storage: file_storage, {TAIL}}}"),
            "tail_sampling",
        ),
        (
            "groupbytrace: {wait_duration: 2s, storage: file_storage}".to_owned(),
            "groupbytrace",
        ),
    ] {
        let peer = Peer::start().await;
        let text =
            config(&processor, keep, &peer).replace("service:\n", "service:\n  extensions: [file_storage]\n");
        let storage = "extensions:\n  file_storage: {directory: \"{dir}/journal\", create_directory: true}\n";
        let mut child = Child::start(&format!("{storage}{text}")).await;
        let client = Grpc::connect(child.grpc).await;
        for n in 1..40 {
            assert_eq!(client.export(TRACES, &request(n)).await.code, 0);
        }
        assert_eq!(arrived(&peer), [], "nothing is decided on before the kill");
        child.kill_and_restart().await;
        let wanted: BTreeSet<(u8, String)> = (1..40)
            .filter(|n| keep == "groupbytrace" || n % 2 == 1)
            .flat_map(|n| (0..2).map(move |k| (n, format!("GET /{k}"))))
            .collect();
        let found = || arrived(&peer).into_iter().collect::<BTreeSet<_>>();
        until("all that was acknowledged has come", || {
            found().len() >= wanted.len()
        })
        .await;
        assert_eq!(found(), wanted);
    }
}

//! Exporter `loki` behind the whole gateway: every answer that Loki has, and what becomes of each record; nothing that was
//! stored goes again, nothing that was not is lost.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use telemetry::{Column, Node, Place};
use wire::Signal;

use crate::support::client::{Grpc, LOGS, frame};
use crate::support::gateway::Gateway;
use crate::support::peer::{Answer, Peer, Received};
use crate::support::{sample, until};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Push {
    #[prost(message, repeated, tag = "1")]
    pub(crate) streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Stream {
    #[prost(string, tag = "1")]
    pub(crate) labels: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Entry {
    #[prost(string, tag = "2")]
    pub(crate) line: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) metadata: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pair {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// A push as Loki reads it.
pub(crate) fn push(one: &Received) -> Push {
    let plain = snap::raw::Decoder::new()
        .decompress_vec(&one.wire)
        .expect("a block of snappy");
    Push::decode(&plain[..]).expect("a push")
}

/// The lines of some pushes, in no order.
pub(crate) fn lines<'a>(all: impl IntoIterator<Item = &'a Received>) -> Vec<String> {
    let entries = all
        .into_iter()
        .flat_map(|one| push(one).streams)
        .flat_map(|stream| stream.entries);
    let mut lines: Vec<String> = entries.map(|entry| entry.line).collect();
    lines.sort();
    lines
}

fn node(id: &str) -> Place {
    Place::Node(Node::Exporter(id.into()))
}

/// One record for each service and body.
fn records(all: &[(&str, &str)]) -> Vec<u8> {
    let group = |(service, body): &(&str, &str)| {
        let mut group = sample::logs(1).resource_logs.remove(0);
        group.resource.get_or_insert_default().attributes =
            vec![sample::attr("service.name", sample::text(service))];
        let record = &mut group.scope_logs[0].log_records[0];
        record.body = Some(sample::text(body));
        record.attributes.clear();
        group
    };
    ExportLogsServiceRequest {
        resource_logs: all.iter().map(group).collect(),
    }
    .encode_to_vec()
}

fn config(peer: &Peer, loki: &str, processors: &str) -> String {
    format!(
        r#"
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{{grpc}}", include_metadata: true}}}}}}
processors:
  tenant: {{from: [{{header: x-tenant, trusted: {{anyone: true}}}}]}}
exporters:
  loki:
    endpoint: "http://{}"
    format: raw
    retry_on_failure: {{initial_interval: 10ms, max_interval: 20ms, max_elapsed_time: 60s}}
    {loki}
  otlp_http: {{endpoint: "http://{}/dead", compression: none}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], processors: [{processors}], exporters: [loki]}}
"#,
        peer.addr, peer.addr
    )
}

const OLD: &str = "entry for stream '{}' has timestamp too old: x";
const BURST: &str = "ingestion rate limit exceeded for user a (limit: 50 bytes/sec) while attempting to ingest '4' lines totaling '100' bytes";

/// Sends four records to a Loki with a script, and looks at what came and what is booked.
///
/// `tries`: records of each request, in order. `taken`: lines that Loki has in the end, each once. `reasons`: what is
/// booked as failed.
async fn meets(script: &[(u16, &'static str)], tries: &[usize], taken: &[&str], reasons: &[(&str, u64)]) {
    meets_with("", script, tries, taken, reasons).await;
}

async fn meets_with(
    more: &str,
    script: &[(u16, &'static str)],
    tries: &[usize],
    taken: &[&str],
    reasons: &[(&str, u64)],
) {
    let script: Vec<Answer> = script
        .iter()
        .map(|(status, words)| match status {
            0 => Answer::Reset,
            204 => Answer::Ok,
            status => Answer::Words {
                status: *status,
                words,
            },
        })
        .collect();
    let peer = Peer::scripted(script.clone()).await;
    let gateway = Gateway::start(&config(
        &peer,
        &format!("sending_queue: {{num_consumers: 1}}{more}"),
        "",
    ))
    .await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let all = [("a", "1"), ("a", "2"), ("b", "3"), ("b", "4")];
    assert_eq!(grpc.export(LOGS, &records(&all)).await.code, 0);
    let books = || gateway.books(node("loki"), Signal::Logs);
    until(&format!("all is booked after {script:?}"), || {
        books().get(Column::Out) + books().failed_all() == 4
    })
    .await;
    let sent: Vec<usize> = peer
        .received()
        .iter()
        .map(|one| push(one).streams.iter().map(|stream| stream.entries.len()).sum())
        .collect();
    assert_eq!(sent, tries, "{script:?}");
    // A 400 about some entries took the others.
    assert_eq!(lines(&peer.taken()), taken, "{script:?}");
    let failed: BTreeMap<String, u64> = books()
        .failed
        .iter()
        .map(|(why, n)| (why.to_string(), *n))
        .collect();
    let reasons: BTreeMap<String, u64> = reasons.iter().map(|(why, n)| ((*why).to_owned(), *n)).collect();
    assert_eq!(failed, reasons, "{script:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn every_answer_ends_with_balanced_books() {
    let all = ["1", "2", "3", "4"];
    meets(&[(204, "")], &[4], &all, &[]).await;
    // Tried again, whole, with the same records.
    for status in [429, 500, 502, 503, 504, 408] {
        meets(&[(status, "later")], &[4, 4], &all, &[]).await;
    }
    meets(&[(0, "")], &[4, 4], &all, &[]).await;
    // Cut until it passes.
    meets(&[(413, "too large")], &[4, 2, 2], &all, &[]).await;
    meets(&[(429, BURST)], &[4, 2, 2], &all, &[]).await;
    meets(
        &[(413, ""), (413, ""), (413, "")],
        &[4, 2, 1, 1, 2],
        &all[1..],
        &[("too_large", 1)],
    )
    .await;
    // Never: nothing was stored, and what is one request is not tried twice.
    meets(
        &[(400, "couldn't parse push request")],
        &[4],
        &[],
        &[("rejected", 4)],
    )
    .await;
    meets(&[(404, "")], &[4], &[], &[("rejected", 4)]).await;
    meets(
        &[(422, "at least one valid stream is required")],
        &[4],
        &[],
        &[("rejected", 4)],
    )
    .await;
    // Some: the rest is stored, and not sent again.
    meets(&[(400, OLD)], &[4], &[], &[("rejected: rejected_by_peer", 1)]).await;
}

/// 260 smiles, and stores nothing: it is no success, and waits as bad credentials do, unless these are to reject.
#[tokio::test]
async fn what_takes_a_human_is_no_success() {
    for answer in [
        (260, "ingestion blocked for user a"),
        (202, ""),
        (401, "no org id"),
        (403, ""),
    ] {
        let more = "\n    on_auth_error: reject";
        meets_with(more, &[answer], &[4], &[], &[("rejected", 4)]).await;
    }
}

#[tokio::test]
async fn what_loki_would_refuse_is_laid_down_and_the_rest_is_delivered() {
    let peer = Peer::start().await;
    let loki = "limits: {max_line_size: 3, oversize: reject}\n    dead_letter: otlp_http";
    let gateway = Gateway::start(&config(&peer, loki, "")).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let all = [("a", "1"), ("a", "long"), ("b", "3"), ("b", "longer")];
    assert_eq!(grpc.export(LOGS, &records(&all)).await.code, 0);
    let books = || gateway.books(node("loki"), Signal::Logs);
    until("all is booked", || {
        books().get(Column::Out) + books().failed_all() == 4
    })
    .await;
    until("the dead letter has them", || {
        gateway.books(node("otlp_http"), Signal::Logs).get(Column::Out) == 2
    })
    .await;
    let (pushes, dead): (Vec<Received>, Vec<Received>) = peer
        .received()
        .into_iter()
        .partition(|one| one.path == "/loki/api/v1/push");
    assert_eq!(lines(&pushes), ["1", "3"]);
    let dead: BTreeSet<String> = dead
        .iter()
        .flat_map(|one| {
            assert_eq!(one.path, "/dead/v1/logs");
            ExportLogsServiceRequest::decode(one.message.clone())
                .unwrap()
                .resource_logs
        })
        .flat_map(|group| group.scope_logs)
        .flat_map(|scope| scope.log_records)
        .map(|record| format!("{:?}", record.body))
        .collect();
    assert_eq!(dead.len(), 2);
    assert!(dead.iter().all(|body| body.contains("long")), "{dead:?}");
    assert_eq!(
        books()
            .failed
            .iter()
            .map(|(why, n)| (why.to_string(), *n))
            .collect::<Vec<_>>(),
        [("rejected".to_owned(), 2)]
    );
    gateway.stop().await;
}

#[tokio::test]
async fn one_tenants_limit_does_not_slow_another() {
    let peer = Peer::start().await;
    // Loki has no room for one of them, for as long as the test goes.
    peer.always(Answer::BusyHeader("x-scope-orgid", "loud"));
    let loki = "tenant: {default: '%{tenant}'}\n    sending_queue: {num_consumers: 1}";
    let gateway = Gateway::start(&config(&peer, loki, "tenant")).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let send = async |tenant: &str, body: &str| {
        let message = records(&[("s", body)]);
        let answer = grpc
            .call(LOGS, frame(0, &message), &[("x-tenant", tenant)], true)
            .await;
        assert_eq!(answer.code, 0, "{}", answer.message);
    };
    for i in 0..10 {
        send("loud", &format!("loud {i}")).await;
        send("quiet", &format!("quiet {i}")).await;
    }
    until("the quiet one is delivered", || peer.taken().len() == 10).await;
    assert!(
        peer.taken()
            .iter()
            .all(|one| one.headers["x-scope-orgid"] == "quiet")
    );
    assert!(gateway.books(node("loki"), Signal::Logs).get(Column::Out) <= 10);
    peer.always(Answer::Ok);
    until("the loud one is, too", || peer.taken().len() == 20).await;
    assert_eq!(lines(&peer.taken()).len(), 20);
    gateway.stop().await;
}

/// Tenants that records name themselves: a batch of several is cut, and who fails is tried again alone.
#[tokio::test]
async fn a_tenant_that_fails_sends_nobody_elses_records_again() {
    let peer = Peer::start().await;
    peer.always(Answer::BusyHeader("x-scope-orgid", "b"));
    let loki = "tenant: {from: attribute, key: service.name}";
    let gateway = Gateway::start(&config(&peer, loki, "")).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let all = [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")];
    assert_eq!(grpc.export(LOGS, &records(&all)).await.code, 0);
    until("the others are delivered", || {
        lines(&peer.taken()) == ["1", "3", "4"]
    })
    .await;
    until("it is tried again", || peer.received().len() > 4).await;
    peer.always(Answer::Ok);
    until("all is delivered", || {
        lines(&peer.taken()) == ["1", "2", "3", "4"]
    })
    .await;
    let mut by_tenant: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in peer.received() {
        let tenant = one.headers["x-scope-orgid"].to_str().unwrap().to_owned();
        by_tenant.entry(tenant).or_default().extend(lines([&one]));
    }
    let expected = [("a", vec!["1", "3"]), ("b", vec!["2"]), ("c", vec!["4"])];
    let expected =
        expected.map(|(tenant, lines)| (tenant.to_owned(), lines.into_iter().map(str::to_owned).collect()));
    assert_eq!(by_tenant, expected.into());
    gateway.stop().await;
}

/// Tenants that clients name by a header stay apart in a queue that gathers, and each keeps its name.
#[tokio::test]
async fn tenants_of_client_metadata_do_not_meet_in_a_batch() {
    for batch in ["", ", batch"] {
        let peer = Peer::start().await;
        let loki = match batch {
            "" => {
                "tenant: {from: metadata, key: X-Tenant, default: nobody}\n    sending_queue: {batch: {flush_timeout: 20ms}}"
            }
            _ => "tenant: {from: metadata, key: X-Tenant, default: nobody}",
        };
        let text =
            config(&peer, loki, "batch").replace("processors:\n", "processors:\n  batch: {timeout: 20ms}\n");
        let gateway = Gateway::start(&match batch {
            "" => text.replace("[batch]", "[]"),
            _ => text,
        })
        .await;
        let grpc = Grpc::connect(gateway.grpc).await;
        for (tenant, body) in [("a", "1"), ("b", "2"), ("a", "3"), ("", "4")] {
            let message = records(&[("s", body)]);
            let headers = [("x-tenant", tenant)];
            let headers = if tenant.is_empty() { &[][..] } else { &headers[..] };
            let answer = grpc.call(LOGS, frame(0, &message), headers, true).await;
            assert_eq!(answer.code, 0, "{}", answer.message);
        }
        until("all is delivered", || {
            lines(&peer.taken()) == ["1", "2", "3", "4"]
        })
        .await;
        let mut by_tenant: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in peer.received() {
            let tenant = one.headers["x-scope-orgid"].to_str().unwrap().to_owned();
            by_tenant.entry(tenant).or_default().extend(lines([&one]));
        }
        by_tenant.values_mut().for_each(|lines| lines.sort());
        let expected = [("a", vec!["1", "3"]), ("b", vec!["2"]), ("nobody", vec!["4"])];
        let expected = expected
            .map(|(tenant, lines)| (tenant.to_owned(), lines.into_iter().map(str::to_owned).collect()));
        assert_eq!(by_tenant, expected.into(), "{batch}");
        gateway.stop().await;
    }
}

/// A client that waits for the answer is told the truth of both halves of its request.
#[tokio::test]
async fn without_a_queue_the_client_hears_of_what_was_refused() {
    let peer = Peer::start().await;
    let loki = "limits: {max_line_size: 3, oversize: reject}\n    sending_queue: {enabled: false}";
    let gateway = Gateway::start(&config(&peer, loki, "")).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let answer = grpc.export(LOGS, &records(&[("a", "1"), ("a", "long")])).await;
    assert_eq!(answer.code, 0, "{}", answer.message);
    assert_eq!(lines(&peer.taken()), ["1"]);
    let books = gateway.books(node("loki"), Signal::Logs);
    assert_eq!((books.get(Column::Out), books.failed_all()), (1, 1));
    gateway.stop().await;
}

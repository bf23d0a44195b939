//! What regroups, gathers and counts, through the whole gateway: what comes out is right, and the books balance.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use prost::Message;
use telemetry::{Column, Node, Place};
use wire::Signal;

use crate::support::client::{Grpc, LOGS, METRICS, TRACES};
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::{sample, until};

fn config(peer: &Peer) -> String {
    format!(
        r#"
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}}}}}
processors:
  groupbyattrs: {{keys: [no.such.key]}}
  logdedup: {{interval: 1h}}
  cumulativetodelta: {{initial_value: keep}}
connectors:
  count:
  spanmetrics:
    metrics_flush_interval: 1h
    aggregation_temporality: AGGREGATION_TEMPORALITY_DELTA
exporters:
  otlp_grpc: {{endpoint: "{}", tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [spanmetrics]}}
    logs: {{receivers: [otlp], processors: [groupbyattrs, logdedup], exporters: [otlp_grpc, count]}}
    metrics: {{receivers: [otlp, count, spanmetrics], processors: [cumulativetodelta], exporters: [otlp_grpc]}}
"#,
        peer.addr
    )
}

/// Sums of integers that arrived, by name.
fn sums(peer: &Peer) -> Vec<(String, i64)> {
    let mut all = Vec::new();
    for received in peer.taken().iter().filter(|r| r.path == METRICS) {
        let request = ExportMetricsServiceRequest::decode(received.message.clone()).unwrap();
        let scopes = request.resource_metrics.into_iter().flat_map(|g| g.scope_metrics);
        for metric in scopes.flat_map(|s| s.metrics) {
            if let Some(Data::Sum(sum)) = metric.data {
                assert_eq!(sum.aggregation_temporality, 1, "{}", metric.name);
                let values = sum.data_points.iter().map(|p| match p.value {
                    Some(Value::AsInt(value)) => value,
                    _ => 0,
                });
                all.push((metric.name, values.sum()));
            }
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn what_is_gathered_goes_on_before_the_end_and_the_books_balance() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(&peer)).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let logs = sample::logs(5).encode_to_vec();
    for _ in 0..3 {
        assert_eq!(grpc.export(LOGS, &logs).await.code, 0);
    }
    let mut traces = sample::traces(4);
    let resource = traces.resource_spans[0].resource.get_or_insert_default();
    resource.attributes.retain(|a| a.key != "service.name");
    resource
        .attributes
        .push(sample::attr("service.name", sample::text("shop")));
    assert_eq!(grpc.export(TRACES, &traces.encode_to_vec()).await.code, 0);
    let processor = |id: &str| {
        Place::Node(Node::Processor {
            pipeline: "logs".into(),
            id: id.into(),
        })
    };
    until("all log records are gathered", || {
        gateway.books(processor("logdedup"), Signal::Logs).get(Column::In) == 15
    })
    .await;
    let books = gateway.books(processor("logdedup"), Signal::Logs);
    let distinct = books.held();
    assert!((1..=5).contains(&distinct), "{books}");
    assert_eq!(books.get(Column::Merged), 15 - distinct);
    assert!(peer.taken().is_empty());
    // Stopping hands on what was gathered, and ends with the books.
    gateway.stop().await;
    let records: usize = peer
        .taken()
        .iter()
        .filter(|r| r.path == LOGS)
        .map(|r| wire::count_items(Signal::Logs, &r.message) as usize)
        .sum();
    assert_eq!(records as u64, distinct);
    assert_eq!(
        sums(&peer),
        [
            ("log.record.count".to_owned(), distinct as i64),
            ("traces.span.metrics.calls".to_owned(), 4),
        ]
    );
}

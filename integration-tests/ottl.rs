//! `filter`, `transform` and `span` in a running gateway: what arrives, what the books say, what the client hears.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use telemetry::{Node, Place};
use wire::Signal;

use crate::support::client::{Grpc, LOGS, TRACES};
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::sample;

/// A gateway with one pipeline of this signal through processors, without a queue.
async fn gateway(signal: &str, processors: &str, order: &str, peer: &Peer) -> Gateway {
    Gateway::start(&format!(
        r#"
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}}}}}}}
processors: {processors}
exporters: {{otlp_grpc: {{endpoint: "{}", tls: {{insecure: true}}, compression: none, sending_queue: {{enabled: false}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{{signal}: {{receivers: [otlp], processors: [{order}], exporters: [otlp_grpc]}}}}
"#,
        peer.addr
    ))
    .await
}

/// Items that a processor ended, by rule.
fn dropped(gateway: &Gateway, id: &str, signal: Signal) -> Vec<(String, u64)> {
    let ledger = &gateway.telemetry().ledger;
    let rows = ledger.rows();
    let row = rows.iter().find(|row| {
        row.signal == signal && matches!(&row.place, Place::Node(Node::Processor { id: i, .. }) if i == id)
    });
    row.expect("the processor has a row")
        .total()
        .dropped
        .into_iter()
        .collect()
}

#[tokio::test]
async fn what_is_dropped_is_booked_and_the_rest_is_changed() {
    let peer = Peer::start().await;
    // Every third record has a number for its body.
    let processors = r#"
  filter: {log_conditions: ['IsInt(log.body)']}
  transform: {log_statements: ['set(log.severity_text, "WARN")', 'set(log.attributes["of"], resource.attributes["service.name"])']}
"#;
    let gateway = gateway("logs", processors, "filter, transform", &peer).await;
    let client = Grpc::connect(gateway.grpc).await;
    let answer = client.export(LOGS, &sample::logs(9).encode_to_vec()).await;
    assert_eq!(answer.code, 0, "{}", answer.message);
    let requests = peer.logs();
    let records: Vec<_> = requests
        .iter()
        .flat_map(|r| &r.resource_logs)
        .flat_map(|r| &r.scope_logs)
        .flat_map(|s| &s.log_records)
        .collect();
    assert_eq!(records.len(), 6);
    for record in records {
        let body = record.body.clone().and_then(|b| b.value);
        assert!(!matches!(body, Some(Value::IntValue(_))), "{body:?}");
        assert_eq!(record.severity_text, "WARN");
    }
    assert_eq!(
        dropped(&gateway, "filter", Signal::Logs),
        [("filter".to_owned(), 3)]
    );
    assert_eq!(dropped(&gateway, "transform", Signal::Logs), []);
    let metrics = gateway.metrics();
    assert!(
        metrics.contains("otelcol_processor_filter_logs_filtered{filter=\"filter\"} 3"),
        "{metrics}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_nothing_concerns_leaves_as_the_bytes_that_came() {
    let peer = Peer::start().await;
    let processors = r#"
  filter: {log_conditions: ['log.body == "nobody says this"']}
  transform: {log_statements: ['set(log.body, "x") where log.severity_number > 9', 'delete_key(log.attributes, "no such key")']}
"#;
    let gateway = gateway("logs", processors, "filter, transform", &peer).await;
    let client = Grpc::connect(gateway.grpc).await;
    let sent = sample::logs(9).encode_to_vec();
    let answer = client.export(LOGS, &sent).await;
    assert_eq!(answer.code, 0, "{}", answer.message);
    let received = peer.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].message, sent);
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_of_which_nothing_stays_is_accepted_and_not_sent() {
    let peer = Peer::start().await;
    let processors = "{filter/all: {traces: {span: ['kind == SPAN_KIND_SERVER']}}}";
    let gateway = gateway("traces", processors, "filter/all", &peer).await;
    let client = Grpc::connect(gateway.grpc).await;
    let answer = client.export(TRACES, &sample::traces(4).encode_to_vec()).await;
    assert_eq!(answer.code, 0, "{}", answer.message);
    assert_eq!(peer.received().len(), 0);
    assert_eq!(
        dropped(&gateway, "filter/all", Signal::Traces),
        [("filter".to_owned(), 4)]
    );
    gateway.stop().await;
}

#[tokio::test]
async fn an_error_that_is_propagated_refuses_the_request() {
    let peer = Peer::start().await;
    let processors = "{transform: {error_mode: propagate, trace_statements: ['set(span.name, span.kind)']}}";
    let gateway = gateway("traces", processors, "transform", &peer).await;
    let client = Grpc::connect(gateway.grpc).await;
    let answer = client.export(TRACES, &sample::traces(4).encode_to_vec()).await;
    // UNAVAILABLE, as from the collector.
    assert_eq!(answer.code, 14, "{}", answer.message);
    assert!(answer.message.contains("transform"), "{}", answer.message);
    assert_eq!(peer.received().len(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn spans_are_named_anew() {
    let peer = Peer::start().await;
    let processors =
        r"{span: {name: {to_attributes: {rules: ['^GET /(?P<page>\d+)$']}}, status: {code: Ok}}}";
    let gateway = gateway("traces", processors, "span", &peer).await;
    let client = Grpc::connect(gateway.grpc).await;
    let answer = client.export(TRACES, &sample::traces(2).encode_to_vec()).await;
    assert_eq!(answer.code, 0, "{}", answer.message);
    let received = peer.received();
    let request = opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest::decode(
        &*received[0].message,
    );
    for (i, span) in request.unwrap().resource_spans[0].scope_spans[0]
        .spans
        .iter()
        .enumerate()
    {
        let page = span.attributes.last().unwrap();
        assert_eq!(span.name, "GET /{page}");
        assert_eq!(
            (page.key.as_str(), page.value.clone()),
            ("page", Some(sample::text(&i.to_string())))
        );
        assert_eq!(span.status.clone().unwrap().code, 1);
    }
    gateway.stop().await;
}

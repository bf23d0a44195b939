//! The usual self-scrape: a gateway that reads its own page of metrics and sends it on.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use prost::Message;

use crate::support::gateway::{Gateway, free_port};
use crate::support::peer::Peer;
use crate::support::until;

/// Points named `name` in a request, each with `key=value` of its attributes and the value.
fn points(request: &ExportMetricsServiceRequest, name: &str) -> Vec<(Vec<String>, f64)> {
    let scopes = request.resource_metrics.iter().flat_map(|rm| &rm.scope_metrics);
    let metrics = scopes.flat_map(|sm| &sm.metrics).filter(|m| m.name == name);
    metrics
        .flat_map(|m| match m.data.as_ref().unwrap() {
            metric::Data::Sum(sum) => &sum.data_points,
            metric::Data::Gauge(gauge) => &gauge.data_points,
            other => panic!("{name}: {other:?}"),
        })
        .map(|p| {
            let Some(number_data_point::Value::AsDouble(value)) = p.value else {
                panic!("{name}: {p:?}");
            };
            let text = |v: &Option<_>| match v {
                Some(opentelemetry_proto::tonic::common::v1::AnyValue {
                    value: Some(Value::StringValue(text)),
                }) => text.clone(),
                other => panic!("{other:?}"),
            };
            let pairs = p
                .attributes
                .iter()
                .map(|kv| format!("{}={}", kv.key, text(&kv.value)));
            (pairs.collect(), value)
        })
        .collect()
}

#[tokio::test]
async fn a_gateway_scrapes_itself_and_sends_it_on() {
    let peer = Peer::start().await;
    let own = free_port();
    let config = format!(
        "receivers:
  prometheus/internal:
    config:
      scrape_configs:
      - job_name: otel-collector
        scrape_interval: 100ms
        static_configs:
        - targets: ['0.0.0.0:{own}']
        metric_relabel_configs:
        - source_labels: [__name__]
          regex: 'promhttp_metric_handler_errors.*'
          action: drop
        - source_labels: [__name__]
          regex: 'otelcol_process_.*'
          action: drop
exporters:
  otlphttp: {{endpoint: 'http://{}', sending_queue: {{enabled: false}}}}
service:
  telemetry:
    metrics:
      readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {own}}}}}}}}}]
  pipelines:
    metrics: {{receivers: [prometheus/internal], exporters: [otlphttp]}}
",
        peer.addr
    );
    let gateway = Gateway::start(&config).await;
    let requests = || -> Vec<ExportMetricsServiceRequest> {
        let received = peer.taken();
        received
            .iter()
            .map(|r| ExportMetricsServiceRequest::decode(&*r.message).expect("it is OTLP"))
            .collect()
    };
    let accepted = |r: &ExportMetricsServiceRequest| {
        points(r, "otelcol_receiver_accepted_metric_points")
            .into_iter()
            .chain(points(r, "otelcol_receiver_accepted_metric_points_total"))
            .find(|(labels, _)| labels.iter().any(|l| l == "receiver=prometheus/internal"))
            .map_or(0.0, |(_, value)| value)
    };
    // a later scrape sees what the ones before it delivered
    until("the gateway's own count of points comes out of it", || {
        requests().iter().any(|r| accepted(r) > 0.0)
    })
    .await;
    let all = requests();
    for request in &all {
        assert_eq!(points(request, "up"), [(Vec::new(), 1.0)]);
        assert_eq!(request.resource_metrics.len(), 1);
        let resource = request.resource_metrics[0].resource.as_ref().unwrap();
        let has = |key: &str, value: &str| {
            resource.attributes.iter().any(|kv| {
                kv.key == key
                    && kv.value.as_ref().and_then(|v| v.value.clone())
                        == Some(Value::StringValue(value.into()))
            })
        };
        assert!(
            has("service.instance.id", &format!("0.0.0.0:{own}")),
            "{resource:?}"
        );
        assert!(
            has("server.port", &own.to_string()) && has("url.scheme", "http"),
            "{resource:?}"
        );
        let names: Vec<&str> = request.resource_metrics[0]
            .scope_metrics
            .iter()
            .flat_map(|sm| sm.metrics.iter().map(|m| m.name.as_str()))
            .collect();
        assert!(
            names
                .iter()
                .all(|n| !n.starts_with("otelcol_process_") && !n.starts_with("promhttp")),
            "{names:?}"
        );
    }
    gateway.stop().await;
}

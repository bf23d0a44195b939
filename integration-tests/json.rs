//! OTLP/JSON through the whole gateway: in, out, and both. The other end's JSON is serde's, not ours.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;
use telemetry::Place;
use wire::Signal;

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::peer::{Answer, Peer};
use crate::support::sample;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Receives over HTTP and sends to one peer as `exporter` says, answered after delivery.
async fn through(peer: &Peer, exporter: &str, processors: &str) -> Gateway {
    let peer = peer.addr;
    let pipeline = format!("{{receivers: [otlp], processors: [{processors}], exporters: [otlp_http]}}");
    Gateway::start(&format!(
        r#"
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{{http}}"}}}}}}
processors:
  resource: {{attributes: [{{key: added, value: yes, action: insert}}]}}
exporters:
  otlp_http: {{endpoint: "http://{peer}", sending_queue: {{enabled: false}}, {exporter}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {pipeline}
    traces: {pipeline}
    metrics: {pipeline}
"#
    ))
    .await
}

/// Without what the other end's JSON cannot say: infinite numbers, and values that are none.
fn plain(attributes: &mut Vec<KeyValue>) {
    attributes.retain(|a| !matches!(a.key.as_str(), "double.inf" | "nothing"));
}

fn logs() -> ExportLogsServiceRequest {
    let mut request = sample::logs(7);
    for group in &mut request.resource_logs {
        group.resource.iter_mut().for_each(|r| plain(&mut r.attributes));
        for record in group.scope_logs.iter_mut().flat_map(|s| &mut s.log_records) {
            plain(&mut record.attributes);
            if let Some(Value::KvlistValue(map)) = record.body.as_mut().and_then(|b| b.value.as_mut()) {
                plain(&mut map.values);
            }
        }
    }
    request
}

fn traces() -> ExportTraceServiceRequest {
    let mut request = sample::traces(3);
    for group in &mut request.resource_spans {
        group.resource.iter_mut().for_each(|r| plain(&mut r.attributes));
        for span in group.scope_spans.iter_mut().flat_map(|s| &mut s.spans) {
            plain(&mut span.attributes);
            span.events.iter_mut().for_each(|e| plain(&mut e.attributes));
            span.links.iter_mut().for_each(|l| plain(&mut l.attributes));
        }
    }
    request
}

fn metrics() -> ExportMetricsServiceRequest {
    let mut request = sample::metrics();
    for group in &mut request.resource_metrics {
        group.resource.iter_mut().for_each(|r| plain(&mut r.attributes));
        for metric in group.scope_metrics.iter_mut().flat_map(|s| &mut s.metrics) {
            plain(&mut metric.metadata);
            let points: Vec<_> = match metric.data.as_mut().unwrap() {
                Data::Gauge(d) => d
                    .data_points
                    .iter_mut()
                    .map(|p| (&mut p.attributes, Some(&mut p.exemplars)))
                    .collect(),
                Data::Sum(d) => d
                    .data_points
                    .iter_mut()
                    .map(|p| (&mut p.attributes, Some(&mut p.exemplars)))
                    .collect(),
                Data::Histogram(d) => d
                    .data_points
                    .iter_mut()
                    .map(|p| (&mut p.attributes, Some(&mut p.exemplars)))
                    .collect(),
                Data::ExponentialHistogram(d) => d
                    .data_points
                    .iter_mut()
                    .map(|p| (&mut p.attributes, Some(&mut p.exemplars)))
                    .collect(),
                Data::Summary(d) => d
                    .data_points
                    .iter_mut()
                    .map(|p| (&mut p.attributes, None))
                    .collect(),
            };
            for (attributes, exemplars) in points {
                plain(attributes);
                for exemplar in exemplars.into_iter().flatten() {
                    plain(&mut exemplar.filtered_attributes);
                }
            }
        }
    }
    request
}

/// The three requests: where to, in JSON of another's making, in protobuf.
fn requests() -> [(&'static str, Vec<u8>, Vec<u8>); 3] {
    let (logs, traces, metrics) = (logs(), traces(), metrics());
    [
        (
            "/v1/logs",
            serde_json::to_vec(&logs).unwrap(),
            logs.encode_to_vec(),
        ),
        (
            "/v1/traces",
            serde_json::to_vec(&traces).unwrap(),
            traces.encode_to_vec(),
        ),
        (
            "/v1/metrics",
            serde_json::to_vec(&metrics).unwrap(),
            metrics.encode_to_vec(),
        ),
    ]
}

/// The same message with its fields in the order of their numbers, which a text need not keep.
fn in_order(path: &str, bytes: &[u8]) -> Vec<u8> {
    match path {
        "/v1/logs" => ExportLogsServiceRequest::decode(bytes).unwrap().encode_to_vec(),
        "/v1/traces" => ExportTraceServiceRequest::decode(bytes).unwrap().encode_to_vec(),
        _ => ExportMetricsServiceRequest::decode(bytes)
            .unwrap()
            .encode_to_vec(),
    }
}

/// What a body of JSON says, by another's reader, in protobuf.
fn encoded(path: &str, json: &[u8]) -> Vec<u8> {
    match path {
        "/v1/logs" => serde_json::from_slice::<ExportLogsServiceRequest>(json)
            .unwrap()
            .encode_to_vec(),
        "/v1/traces" => serde_json::from_slice::<ExportTraceServiceRequest>(json)
            .unwrap()
            .encode_to_vec(),
        _ => serde_json::from_slice::<ExportMetricsServiceRequest>(json)
            .unwrap()
            .encode_to_vec(),
    }
}

#[tokio::test]
async fn json_in_is_protobuf_out() {
    let peer = Peer::start().await;
    let gateway = through(&peer, "compression: none", "").await;
    let requests = requests();
    for (path, json, protobuf) in &requests {
        let answer = client::post(gateway.http, path, &JSON, json).await;
        assert_eq!(
            answer.status,
            200,
            "{} {:?}",
            answer.head,
            String::from_utf8_lossy(&answer.body)
        );
        assert_eq!(answer.header("content-type").as_deref(), Some("application/json"));
        assert_eq!(answer.body, br#"{"partialSuccess":{}}"#);
        let got = peer.taken().pop().unwrap();
        assert_eq!(got.headers["content-type"], "application/x-protobuf");
        assert!(in_order(path, &got.message) == *protobuf, "{path}");
        assert_eq!(got.message.len(), protobuf.len());
    }
    for (signal, items) in [(Signal::Logs, 7), (Signal::Traces, 3), (Signal::Metrics, 6)] {
        let door = Place::Door {
            receiver: "otlp".into(),
            transport: "http",
        };
        let books = gateway.books(door, signal);
        assert_eq!(
            (books.offered(), books.accepted(), books.refused()),
            (items, items, 0)
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn protobuf_in_is_json_out() {
    let peer = Peer::start().await;
    // Compressed by default.
    let gateway = through(&peer, "encoding: json", "").await;
    for (path, _, protobuf) in requests() {
        let answer = client::post_otlp(gateway.http, path, &protobuf).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{}", answer.head);
        let got = peer.taken().pop().unwrap();
        assert_eq!(got.path, path);
        assert_eq!(got.headers["content-type"], "application/json");
        assert_eq!(got.headers["content-encoding"], "gzip");
        assert!(encoded(path, &got.message) == protobuf, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn json_in_is_json_out_with_what_a_processor_changed() {
    let peer = Peer::start().await;
    let gateway = through(&peer, "encoding: json, compression: none", "resource").await;
    let mut want = logs();
    let json = serde_json::to_vec(&want).unwrap();
    let answer = client::post(gateway.http, "/v1/logs", &JSON, &json).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let resource = want.resource_logs[0].resource.as_mut().unwrap();
    resource
        .attributes
        .push(sample::attr("added", sample::text("yes")));
    let got = peer.taken().pop().unwrap();
    assert!(encoded("/v1/logs", &got.message) == want.encode_to_vec());
    gateway.stop().await;
}

/// A refusal from behind is said in JSON; what never was a request touches no book.
#[tokio::test]
async fn what_is_refused_is_said_in_json() {
    let never = Answer::Http {
        status: 400,
        retry_after: None,
    };
    let peer = Peer::scripted([never]).await;
    let gateway = through(&peer, "compression: none, retry_on_failure: {enabled: false}", "").await;
    let json = serde_json::to_vec(&logs()).unwrap();
    let answer = client::post(gateway.http, "/v1/logs", &JSON, &json).await;
    assert_eq!(answer.status, 400, "{}", answer.head);
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["code"], 3);
    for bad in [
        &b""[..],
        b"[]",
        b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"spanId\":\"1\"}]}]}]}",
    ] {
        let answer = client::post(gateway.http, "/v1/logs", &JSON, bad).await;
        assert_eq!(answer.status, 400, "{}", answer.head);
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let message = body["message"].as_str().unwrap();
        assert!(message.starts_with("malformed OTLP/JSON at byte "), "{message}");
    }
    let door = Place::Door {
        receiver: "otlp".into(),
        transport: "http",
    };
    let books = gateway.books(door, Signal::Logs);
    assert_eq!((books.offered(), books.accepted(), books.refused()), (7, 0, 7));
    gateway.stop().await;
}

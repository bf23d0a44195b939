//! Own metrics and logs as others see them: the page in its modes, and what is pushed by OTLP.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;

use crate::support::client::{self, Grpc, LOGS};
use crate::support::gateway::{Gateway, free_port};
use crate::support::peer::{Answer, Peer};
use crate::support::{sample, until};

fn config(telemetry: &str) -> String {
    format!(
        r#"
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}}}}}
exporters:
  nop:
service:
  telemetry: {telemetry}
  pipelines:
    logs: {{receivers: [otlp], exporters: [nop]}}
"#
    )
}

async fn page(port: u16, accept: &str) -> client::HttpAnswer {
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    client::raw(([127, 0, 0, 1], port).into(), request.as_bytes()).await
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|a| a.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test]
async fn two_pages_spell_the_same_counters_their_own_way() {
    let (plain, legacy) = (free_port(), free_port());
    let reader = |port: u16, more: &str| {
        format!("{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {port}{more}}}}}}}}}")
    };
    let telemetry = format!(
        "{{resource: {{attributes: [{{name: service.name, value: gw}}]}}, metrics: {{readers: [{}, {}]}}}}",
        reader(plain, ""),
        reader(
            legacy,
            ", without_type_suffix: false, without_units: false, without_scope_info: false, \
             with_resource_constant_labels: {included: [service.name]}"
        ),
    );
    let gateway = Gateway::start(&config(&telemetry)).await;
    let sent = sample::logs(3).encode_to_vec();
    assert_eq!(
        Grpc::connect(gateway.grpc).await.export(LOGS, &sent).await.code,
        0
    );

    let answer = page(plain, "*/*").await;
    assert_eq!(
        answer.header("content-type").unwrap(),
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    );
    let body = String::from_utf8(answer.body).unwrap();
    let line = "\notelcol_receiver_accepted_log_records{receiver=\"otlp\",transport=\"grpc\"} 3\n";
    assert!(body.contains(line), "{body}");
    assert!(body.contains("\ntarget_info{service_instance_id=\""), "{body}");
    assert!(
        body.contains("\",service_name=\"gw\",service_version=\""),
        "{body}"
    );

    let body = String::from_utf8(page(legacy, "*/*").await.body).unwrap();
    let line = concat!(
        "\notelcol_receiver_accepted_log_records_total{otel_scope_name=\"go.opentelemetry.io/collector/receiver/",
        "receiverhelper\",otel_scope_schema_url=\"\",otel_scope_version=\"\",receiver=\"otlp\",service_name=\"gw\",",
        "transport=\"grpc\"} 3\n"
    );
    assert!(body.contains(line), "{body}");
    assert!(body.contains("\notelcol_process_uptime_seconds_total{"), "{body}");

    let answer = page(legacy, "text/plain;escaping=allow-utf-8").await;
    let body = String::from_utf8(answer.body).unwrap();
    assert!(
        body.contains("\ntarget_info{\"service.instance.id\"=\""),
        "{body}"
    );
    let answer = client::raw(([127, 0, 0, 1], plain).into(), b"GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.status, 404);
    gateway.stop().await;
}

async fn pushes(protocol: &str, path: &str) {
    // The first push is refused for now: nothing that was counted is lost by that.
    let refused = match protocol {
        "grpc" => Answer::Grpc {
            code: 14,
            message: "later",
            retry_ms: None,
        },
        _ => Answer::Http {
            status: 503,
            retry_after: None,
        },
    };
    let peer = Peer::scripted([refused]).await;
    let telemetry = format!(
        "{{resource: {{attributes: [{{name: service.name, value: gw}}]}}, metrics: {{readers: [{{periodic: \
         {{interval: 50, exporter: {{otlp: {{protocol: {protocol}, endpoint: \"http://{}\", compression: gzip, \
         headers: [{{name: x-key, value: k}}], temporality_preference: delta}}}}}}}}]}}}}",
        peer.addr
    );
    let gateway = Gateway::start(&config(&telemetry)).await;
    let sent = sample::logs(3).encode_to_vec();
    assert_eq!(
        Grpc::connect(gateway.grpc).await.export(LOGS, &sent).await.code,
        0
    );
    until("two pushes", || peer.taken().len() >= 2).await;
    gateway.stop().await;

    // Deltas over all requests that were taken add up to what was accepted.
    let mut accepted = 0;
    for request in peer.taken() {
        assert_eq!(request.path, path);
        assert_eq!(request.headers["x-key"], "k");
        let request = ExportMetricsServiceRequest::decode(request.message).unwrap();
        let group = &request.resource_metrics[0];
        let resource = group.resource.as_ref().unwrap();
        assert_eq!(value(&resource.attributes, "service.name"), Some("gw"));
        assert_eq!(
            value(&resource.attributes, "service.instance.id").map(str::len),
            Some(36)
        );
        let metrics = group.scope_metrics.iter().flat_map(|scope| &scope.metrics);
        for metric in metrics.filter(|m| m.name == "otelcol_receiver_accepted_log_records") {
            use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
            let Some(Data::Sum(sum)) = &metric.data else {
                panic!("not a sum: {metric:?}")
            };
            assert!(sum.is_monotonic);
            assert_eq!(sum.aggregation_temporality, 1);
            for point in &sum.data_points {
                let Some(Value::AsInt(n)) = point.value else {
                    panic!("not a whole number: {point:?}")
                };
                accepted += n;
            }
        }
    }
    assert_eq!(accepted, 3);
}

#[tokio::test]
async fn metrics_are_pushed_over_grpc() {
    pushes(
        "grpc",
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    )
    .await;
}

#[tokio::test]
async fn metrics_are_pushed_over_http() {
    pushes("http/protobuf", "/v1/metrics").await;
}

#[tokio::test]
async fn in_detail_calls_sizes_and_durations_are_shown() {
    let (peer, port) = (Peer::start().await, free_port());
    let text = format!(
        r#"
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}, http: {{endpoint: "127.0.0.1:{{http}}"}}}}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_percentage: 100}}
  attributes: {{actions: [{{key: a, value: b, action: insert}}]}}
exporters:
  otlp: {{endpoint: "{addr}", tls: {{insecure: true}}}}
  otlphttp: {{endpoint: "http://{addr}", sending_queue: {{batch: {{flush_timeout: 1ms}}}}}}
service:
  telemetry:
    metrics:
      level: detailed
      readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {port}}}}}}}}}]
      views: [{{selector: {{instrument_name: "http.server.*.size"}}, stream: {{aggregation: {{drop: {{}}}}}}}}]
  pipelines:
    logs: {{receivers: [otlp], processors: [memory_limiter, attributes], exporters: [otlp, otlphttp]}}
"#,
        addr = peer.addr
    );
    let gateway = Gateway::start(&text).await;
    let sent = sample::logs(3).encode_to_vec();
    assert_eq!(
        Grpc::connect(gateway.grpc).await.export(LOGS, &sent).await.code,
        0
    );
    // one after the other: two that wait together would leave as one batch
    until("the first two to arrive", || peer.taken().len() == 2).await;
    assert_eq!(
        client::post_otlp(gateway.http, "/v1/logs", &sent).await.status,
        200
    );
    assert_eq!(
        client::post_otlp(gateway.http, "/elsewhere", &sent).await.status,
        404
    );
    until("all four to arrive", || peer.taken().len() == 4).await;
    let books = || {
        let text = gateway.metrics();
        let sent = text
            .lines()
            .filter(|l| l.starts_with("otelcol_exporter_sent_log_records{"));
        sent.filter(|l| l.ends_with(" 6")).count()
    };
    until("the books", || books() == 2).await;
    let (address, peer_port) = ("server_address=\"127.0.0.1\"", peer.addr.port());
    let service = "opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let http = format!("network_protocol_name=\"http\",network_protocol_version=\"1.1\",{address}");
    let lines = [
        format!(
            "rpc_server_call_duration_count{{rpc_method=\"{service}\",rpc_response_status_code=\"OK\",\
             rpc_system_name=\"grpc\"}} 1"
        ),
        format!(
            "rpc_client_call_duration_count{{rpc_method=\"{service}\",rpc_response_status_code=\"OK\",\
             rpc_system_name=\"grpc\"}} 2"
        ),
        format!(
            "http_server_request_duration_count{{http_request_method=\"POST\",http_response_status_code=\"200\",\
             http_route=\"/v1/logs\",{http},server_port=\"{}\",url_scheme=\"http\"}} 1",
            gateway.http.port()
        ),
        format!(
            "http_server_request_duration_count{{http_request_method=\"POST\",http_response_status_code=\"404\",\
             {http},server_port=\"{}\",url_scheme=\"http\"}} 1",
            gateway.http.port()
        ),
        format!(
            "http_client_request_duration_count{{http_request_method=\"POST\",http_response_status_code=\"200\",\
             network_protocol_name=\"http\",{address},server_port=\"{peer_port}\",url_scheme=\"http\"}} 2"
        ),
        "otelcol_processor_internal_duration_count{otel_signal=\"logs\",processor=\"memory_limiter\"} 2"
            .into(),
        "otelcol_processor_internal_duration_count{otel_signal=\"logs\",processor=\"attributes\"} 2".into(),
        "otelcol_exporter_enqueue_size_sum{exporter=\"otlp\"} 6".into(),
        "otelcol_exporter_enqueue_size_bytes_count{exporter=\"otlp\"} 2".into(),
        "otelcol_exporter_queue_batch_send_size_sum{exporter=\"otlphttp\"} 6".into(),
        format!(
            "otelcol_exporter_sent_log_records{{exporter=\"otlp\",{address},server_port=\"{peer_port}\"}} 6"
        ),
        format!(
            "otelcol_exporter_sent_log_records{{exporter=\"otlphttp\",{address},server_port=\"{peer_port}\",\
             url_path=\"/v1/logs\"}} 6"
        ),
    ];
    // A call is counted when all of it is over, which may be after its answer was read.
    let mut shown = String::new();
    for _ in 0..500 {
        shown = String::from_utf8(page(port, "*/*").await.body).unwrap();
        if lines.iter().all(|line| shown.lines().any(|l| l == line)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for line in lines {
        assert!(shown.lines().any(|l| l == line), "no {line} in\n{shown}");
    }
    assert!(
        !shown.contains("http_server_request_body_size"),
        "a view drops it"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_a_start_error_in_the_collectors_words() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let telemetry = format!(
        "{{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {port}}}}}}}}}]}}}}"
    );
    let text = config(&telemetry)
        .replace("{grpc}", &free_port().to_string())
        .replace("{http}", "0");
    let loaded = weir::service::load(&[("test.yaml".to_owned(), text)], &config::Gates::default()).unwrap();
    let service = weir::service::Service::build(loaded).unwrap();
    let error = service.start().await.unwrap_err().to_string();
    let expected = format!("binding address 127.0.0.1:{port} for Prometheus exporter: ");
    assert!(error.starts_with(&expected), "{error}");
}

/// The program itself, because a process has one log.
#[tokio::test]
async fn own_logs_are_written_and_shipped() {
    // The first request is refused for now, and comes again.
    let refused = Answer::Http {
        status: 503,
        retry_after: None,
    };
    let peer = Peer::scripted([refused]).await;
    let dir = tempfile::tempdir().unwrap();
    let lines = dir.path().join("weir.log");
    let telemetry = format!(
        "{{metrics: {{level: none}}, resource: {{attributes: [{{name: service.name, value: gw}}]}}, logs: {{encoding: \
         json, output_paths: [\"file://{}\", stdout], initial_fields: {{shard: 3}}, processors: [{{batch: \
         {{schedule_delay: 10, exporter: {{otlp: {{protocol: http/protobuf, endpoint: \"http://{}\"}}}}}}}}]}}}}",
        lines.display(),
        peer.addr
    );
    let text = config(&telemetry).replace("{grpc}", &free_port().to_string());
    let file = dir.path().join("gw.yaml");
    std::fs::File::create(&file)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("--config")
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let shipped = |message: &str| {
        let records = peer.logs().into_iter().flat_map(|r| r.resource_logs);
        let mut found = None;
        for group in records {
            let resource = group.resource.unwrap_or_default();
            for record in group.scope_logs.into_iter().flat_map(|s| s.log_records) {
                let body = record.body.as_ref().and_then(|b| b.value.clone());
                if body == Some(Value::StringValue(message.into())) {
                    found = Some((resource.attributes.clone(), record));
                }
            }
        }
        found
    };
    let ready = "Everything is ready. Begin running and processing data.";
    until("the first lines", || shipped(ready).is_some()).await;
    let (resource, record) = shipped(ready).unwrap();
    assert_eq!(value(&resource, "service.name"), Some("gw"));
    assert_eq!(
        (record.severity_number, record.severity_text.as_str()),
        (9, "info")
    );
    assert_eq!(record.attributes[0].key, "shard");
    let told = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(told.success());
    let mut status = None;
    let mut ended = || {
        status = child.try_wait().unwrap();
        status.is_some()
    };
    until("the end", &mut ended).await;
    assert!(status.unwrap().success());
    // The last words are shipped too, and the first ones once.
    let all = peer.logs().into_iter().flat_map(|r| r.resource_logs);
    let records = all.flat_map(|g| g.scope_logs).flat_map(|s| s.log_records);
    let bodies = records.filter_map(|r| r.body?.value);
    let count = bodies
        .filter(|body| *body == Value::StringValue(ready.into()))
        .count();
    assert_eq!(count, 1, "a request that was refused is not told twice");
    assert!(shipped("Shutdown complete.").is_some());
    let written = std::fs::read_to_string(&lines).unwrap();
    let line = written.lines().find(|line| line.contains(ready)).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "info");
    assert_eq!(line["shard"], 3);
    assert_eq!(line["resource"]["service.name"], "gw");
    let mut also = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut also).unwrap();
    assert_eq!(also, written);
}

//! The OpenTelemetry SDK for Python (`send.py`): two runs send the same bytes, so what arrives is compared byte for byte.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use prost::Message;

use super::doors::{Doors, Way};
use super::gateway::{Gateway, Out};
use super::peer::{Peer, Received};
use super::programs::output;
use super::{beside, installed, run};

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Grpc,
    Http,
}

async fn send(python: &Path, protocol: Protocol, compression: &str, port: u16) {
    run(sending(
        python,
        protocol,
        compression,
        &format!("http://127.0.0.1:{port}"),
    ))
    .await;
}

fn sending(python: &Path, protocol: Protocol, compression: &str, url: &str) -> Command {
    let mut command = Command::new(python);
    command
        .arg(beside("send.py"))
        .args(["--endpoint", url])
        .args([
            "--protocol",
            if matches!(protocol, Protocol::Grpc) {
                "grpc"
            } else {
                "http"
            },
        ])
        .args(["--compression", compression])
        // what a machine trusts would come before what the SDK is told to trust
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE");
    command
}

/// Messages by signal, in the order in which they came.
fn messages(received: &[Received]) -> BTreeMap<&'static str, Vec<Bytes>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for request in received {
        let path = request.path.to_lowercase();
        let signal = ["trace", "logs", "metrics"]
            .into_iter()
            .find(|signal| path.contains(signal));
        let signal = signal.unwrap_or_else(|| panic!("an unknown path: {path}"));
        all.entry(signal).or_default().push(request.message.clone());
    }
    all
}

async fn arrives_unchanged(protocol: Protocol, compression: &str, out: Out) {
    let Some(python) = installed("venv/bin/python") else {
        return;
    };
    let direct = Peer::start().await;
    send(&python, protocol, compression, direct.addr.port()).await;
    let sent = messages(&direct.received());
    assert_eq!(
        sent.keys().copied().collect::<Vec<_>>(),
        ["logs", "metrics", "trace"]
    );
    assert!(sent["logs"].len() > 20 && sent["trace"].len() > 5);

    let behind = Peer::start().await;
    let mut gateway = Gateway::start(out, behind.addr).await;
    let port = if matches!(protocol, Protocol::Grpc) {
        gateway.grpc
    } else {
        gateway.http
    };
    send(&python, protocol, compression, port).await;
    let arrived = messages(&behind.received());
    for (signal, sent) in &sent {
        assert_eq!(arrived[signal].len(), sent.len(), "{signal} requests");
        for (n, (arrived, sent)) in arrived[signal].iter().zip(sent).enumerate() {
            assert!(arrived == sent, "{signal} request {n} was changed");
        }
    }

    let page = gateway.metrics().await;
    let transport = if matches!(protocol, Protocol::Grpc) {
        "grpc"
    } else {
        "http"
    };
    let accepted = |what: &str| {
        let series =
            format!("otelcol_receiver_accepted_{what}{{receiver=\"otlp\",transport=\"{transport}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&series));
        value
            .unwrap_or_else(|| panic!("{series} is not in\n{page}"))
            .parse::<usize>()
            .unwrap()
    };
    assert_eq!(accepted("spans"), sent["trace"].len(), "one span a request");
    assert_eq!(
        accepted("log_records"),
        sent["logs"].len(),
        "one record a request"
    );
    assert_eq!(accepted("metric_points"), points(&sent["metrics"]));
    read_by_prometheus(&python, &page).await;
    gateway.stop().await;
}

fn points(requests: &[Bytes]) -> usize {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;

    let requests = requests
        .iter()
        .map(|r| ExportMetricsServiceRequest::decode(r.clone()).unwrap());
    let metrics = requests
        .flat_map(|r| r.resource_metrics)
        .flat_map(|r| r.scope_metrics)
        .flat_map(|s| s.metrics);
    let points = metrics.map(|metric| match metric.data {
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
        None => 0,
    });
    points.sum()
}

/// The parser of Prometheus' own client reads our page.
async fn read_by_prometheus(python: &Path, page: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("page.txt");
    std::fs::write(&file, page).unwrap();
    let mut command = Command::new(python);
    command
        .arg(beside("parse_metrics.py"))
        .stdin(Stdio::from(std::fs::File::open(&file).unwrap()));
    let families = run(command).await;
    for family in [
        "otelcol_receiver_accepted_spans counter ",
        "otelcol_process_uptime counter ",
        "target_info gauge ",
    ] {
        assert!(families.contains(family), "{family} is not in\n{families}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_plain() {
    arrives_unchanged(Protocol::Grpc, "none", Out::Grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_gzip() {
    arrives_unchanged(Protocol::Grpc, "gzip", Out::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_plain() {
    arrives_unchanged(Protocol::Http, "none", Out::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_gzip() {
    arrives_unchanged(Protocol::Http, "gzip", Out::Grpc).await;
}

/// Over TLS with a certificate, and with each authenticator, everything arrives as it was sent; with other credentials
/// nothing does, and the SDK is told so at once.
async fn arrives_with_credentials(protocol: Protocol) {
    let Some(python) = installed("venv/bin/python") else {
        return;
    };
    let direct = Peer::start().await;
    send(&python, protocol, "none", direct.addr.port()).await;
    let sent = messages(&direct.received());

    let mut doors = Doors::open().await;
    let grpc = matches!(protocol, Protocol::Grpc);
    let mut seen = 0;
    for way in [Way::Mtls, Way::Basic, Way::Bearer] {
        let mut command = sending(&python, protocol, "none", &doors.url(way, grpc));
        command
            .envs(doors.variables(way, grpc))
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "10");
        run(command).await;
        let received = doors.peer.received();
        let arrived = messages(&received[seen..]);
        assert!(arrived == sent, "{protocol:?} {way:?}: something was changed");
        seen = received.len();
    }
    for way in [Way::Basic, Way::Bearer] {
        for header in [
            "authorization=Basic%20dXNlcjpwYXNz",
            "authorization=Bearer%20other",
            "",
        ] {
            let mut command = sending(&python, protocol, "none", &doors.url(way, grpc));
            command
                .envs(doors.variables(way, grpc))
                .env("OTEL_EXPORTER_OTLP_TIMEOUT", "10")
                .env("OTEL_EXPORTER_OTLP_HEADERS", header)
                .arg("--traces-only");
            let (code, said, _) = output(command).await;
            assert_eq!(code, 1, "{way:?} {header}: {said}");
            let none_taken = format!("; {} not taken", sent["trace"].len());
            assert!(said.trim_end().ends_with(&none_taken), "{said}");
        }
    }
    assert_eq!(doors.peer.received().len(), seen, "nothing of that was sent on");
    let log = doors.gateway.log();
    assert!(
        !log.contains("dXNlcjpwYXNz") && !log.contains("pass word") && !log.contains("t0ken"),
        "{log}"
    );
    doors.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_with_credentials() {
    arrives_with_credentials(Protocol::Grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_with_credentials() {
    arrives_with_credentials(Protocol::Http).await;
}

/// Tokens that PyJWT signed: the good one lets everything through as it was sent, and its subject goes along; one for
/// somebody else, one that is over and one of another key let nothing through.
#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_of_oidc() {
    let Some(python) = installed("venv/bin/python") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.json");
    let mut command = Command::new(&python);
    command.arg(beside("sign_tokens.py")).arg(&keys);
    let tokens = run(command).await;
    let tokens: Vec<&str> = tokens.lines().collect();
    assert_eq!(tokens.len(), 4);

    let behind = Peer::start().await;
    let config = format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{{grpc}}', auth: {{authenticator: oidc}}}}
      http: {{endpoint: '127.0.0.1:{{http}}', auth: {{authenticator: oidc}}}}
exporters:
  otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}, auth: {{authenticator: headers_setter}}, \
         sending_queue: {{enabled: false}}}}
extensions:
  health_check: {{endpoint: '127.0.0.1:{{health}}'}}
  oidc: {{providers: [{{issuer_url: 'https://issuer.example.com', audience: weir, public_keys_file: '{}'}}]}}
  headers_setter: {{headers: [{{key: x-who, from_attribute: subject}}]}}
service:
  extensions: [health_check, oidc, headers_setter]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}}}
  pipelines:
    traces: &all {{receivers: [otlp], exporters: [otlp_grpc]}}
    logs: *all
    metrics: *all
",
        behind.addr,
        keys.display(),
    );
    let mut gateway = Gateway::run(&super::gateway::weir(), &config).await;
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let direct = Peer::start().await;
        send(&python, protocol, "none", direct.addr.port()).await;
        let sent = messages(&direct.received());
        let port = if matches!(protocol, Protocol::Grpc) {
            gateway.grpc
        } else {
            gateway.http
        };
        let url = format!("http://127.0.0.1:{port}");
        let with = |token: &str| {
            let mut command = sending(&python, protocol, "none", &url);
            command
                .env(
                    "OTEL_EXPORTER_OTLP_HEADERS",
                    format!("authorization=Bearer%20{token}"),
                )
                .env("OTEL_EXPORTER_OTLP_TIMEOUT", "10");
            command
        };
        let before = behind.received().len();
        run(with(tokens[0])).await;
        let received = behind.received();
        assert!(
            messages(&received[before..]) == sent,
            "{protocol:?}: something was changed"
        );
        for request in &received[before..] {
            assert_eq!(request.headers["x-who"], "ada");
        }
        for token in &tokens[1..] {
            let mut command = with(token);
            command.arg("--traces-only");
            let (code, said, _) = output(command).await;
            assert_eq!(code, 1, "{protocol:?}: {said}");
        }
        assert_eq!(
            behind.received().len(),
            received.len(),
            "nothing of that was sent on"
        );
    }
    let log = gateway.log();
    assert!(!tokens.iter().any(|token| log.contains(token)), "{log}");
    gateway.stop().await;
}

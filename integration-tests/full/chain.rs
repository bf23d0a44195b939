//! The collector in front of Weir and behind it, over TLS with certificates and credentials, in every compression that
//! both have, as protobuf and as JSON. What comes out at the end says what went in at the beginning, once for each way.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;

use super::client::{Grpc, LOGS, METRICS, TRACES};
use super::compat::exchange::delivered;
use super::doors::{Doors, Pki, Way};
use super::gateway::{Gateway, weir};
use super::peer::{Peer, Received};
use super::{OTELCOL, free_port, installed, sample, until};

/// Compressions of the gRPC exporter, and of the HTTP exporter.
const GRPC: [&str; 4] = ["none", "gzip", "snappy", "zstd"];
const HTTP: [&str; 7] = ["none", "gzip", "zlib", "deflate", "snappy", "zstd", "lz4"];
/// Each gRPC exporter, and each HTTP exporter in protobuf and in JSON.
const WAYS: usize = GRPC.len() + 2 * HTTP.len();

/// Exporters for every way to a server, `tls` and `auth` written out; and their names.
fn exporters(grpc: &str, http: &str, keys: &str) -> (String, String) {
    let mut text = String::new();
    let mut names = Vec::new();
    for compression in GRPC {
        let name = format!("otlp/{compression}");
        text.push_str(&format!(
            "  {name}: {{endpoint: '{grpc}', compression: {compression}, {keys}}}\n"
        ));
        names.push(name);
    }
    for compression in HTTP {
        for encoding in ["proto", "json"] {
            let name = format!("otlphttp/{encoding}-{compression}");
            text.push_str(&format!(
                "  {name}: {{endpoint: '{http}', compression: {compression}, encoding: {encoding}, {keys}}}\n"
            ));
            names.push(name);
        }
    }
    assert_eq!(names.len(), WAYS);
    (text, names.join(", "))
}

/// A gateway that takes OTLP in clear and sends everything by all `exporters`.
fn fan(exporters: &str, names: &str, extensions: &str, extension: &str) -> String {
    format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{{grpc}}'}}
      http: {{endpoint: '127.0.0.1:{{http}}'}}
exporters:
{exporters}extensions:
  health_check: {{endpoint: '127.0.0.1:{{health}}'}}
{extensions}service:
  extensions: [health_check, {extension}]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [{names}]}}
    logs: {{receivers: [otlp], exporters: [{names}]}}
    metrics: {{receivers: [otlp], exporters: [{names}]}}
"
    )
}

/// Log records without bodies that JSON cannot say; the other signals have none of those.
fn requests() -> [(&'static str, Vec<u8>); 3] {
    let logs: ExportLogsServiceRequest = sample::logs(50);
    [
        (LOGS, logs.encode_to_vec()),
        (TRACES, sample::traces(20).encode_to_vec()),
        (METRICS, sample::metrics().encode_to_vec()),
    ]
}

/// How often each message arrived, by signal and content.
fn counted(received: &[Received]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in received {
        let entry = delivered(std::slice::from_ref(request));
        *counts.entry(entry[0]["bytes"].to_string()).or_default() += 1;
    }
    counts
}

/// Sends the three signals to a gateway and waits until the peer has all copies; none may be other than the rest.
async fn all_arrive(gateway: &Gateway, peer: &Peer) {
    let grpc = Grpc::connect(SocketAddr::from(([127, 0, 0, 1], gateway.grpc))).await;
    let direct = Peer::start().await;
    let reference = Grpc::connect(direct.addr).await;
    for (method, body) in &requests() {
        assert_eq!(reference.export(method, body).await.code, 0);
        let answer = grpc.export(method, body).await;
        assert_eq!(answer.code, 0, "{}", answer.message);
    }
    until("every copy has arrived", || async {
        peer.received().len() >= 3 * WAYS
    })
    .await;
    let mut expected = counted(&direct.received());
    assert_eq!(expected.len(), 3);
    expected.values_mut().for_each(|count| *count = WAYS);
    assert!(counted(&peer.received()) == expected, "something was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_in_front() {
    let Some(otelcol) = installed(OTELCOL) else { return };
    for way in [Way::Mtls, Way::Basic, Way::Bearer] {
        let mut doors = Doors::open().await;
        let pki = doors.pki.dir().display();
        let (keys, extensions, extension) = match way {
            Way::Mtls => (
                format!(
                    "tls: {{ca_file: '{pki}/ca.pem', cert_file: '{pki}/client.pem', key_file: '{pki}/client.key'}}"
                ),
                "",
                "",
            ),
            Way::Basic => (
                format!("tls: {{ca_file: '{pki}/ca.pem'}}, auth: {{authenticator: basicauth}}"),
                "  basicauth: {client_auth: {username: user, password: pass word}}\n",
                "basicauth",
            ),
            _ => (
                format!("tls: {{ca_file: '{pki}/ca.pem'}}, auth: {{authenticator: bearertokenauth}}"),
                "  bearertokenauth: {token: t0ken}\n",
                "bearertokenauth",
            ),
        };
        let grpc = doors.url(way, true);
        let (exporters, names) =
            exporters(grpc.trim_start_matches("https://"), &doors.url(way, false), &keys);
        let mut front = Gateway::run(&otelcol, &fan(&exporters, &names, extensions, extension)).await;
        all_arrive(&front, &doors.peer).await;
        front.stop().await;
        doors.gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_behind() {
    let Some(otelcol) = installed(OTELCOL) else { return };
    let (peer, pki) = (Peer::start().await, Pki::new());
    let (grpc, http) = (free_port(), free_port());
    let dir = pki.dir().display();
    let keys = format!(
        "tls: {{cert_file: '{dir}/server.pem', key_file: '{dir}/server.key', client_ca_file: '{dir}/ca.pem'}}, \
         auth: {{authenticator: basicauth}}"
    );
    let behind = fan(
        &format!("  otlp: {{endpoint: '{}', tls: {{insecure: true}}}}\n", peer.addr),
        "otlp",
        "  basicauth: {htpasswd: {inline: 'user:pass word'}}\n",
        "basicauth",
    )
    .replace("'127.0.0.1:{grpc}'", &format!("'localhost:{grpc}', {keys}"))
    .replace("'127.0.0.1:{http}'", &format!("'localhost:{http}', {keys}"));
    let mut behind = Gateway::run(&otelcol, &behind).await;

    let keys = format!(
        "sending_queue: {{enabled: false}}, auth: {{authenticator: basicauth}}, \
         tls: {{ca_file: '{dir}/ca.pem', cert_file: '{dir}/client.pem', key_file: '{dir}/client.key'}}"
    );
    let (exporters, names) = exporters(
        &format!("localhost:{grpc}"),
        &format!("https://localhost:{http}"),
        &keys,
    );
    let client = "  basicauth: {client_auth: {username: user, password: pass word}}\n";
    let mut front = Gateway::run(&weir(), &fan(&exporters, &names, client, "basicauth")).await;
    all_arrive(&front, &peer).await;
    front.stop().await;
    behind.stop().await;
}

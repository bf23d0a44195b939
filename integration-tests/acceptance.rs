//! `configs/gateway.yaml`, which has nearly every block that a gateway's configuration has: it runs, and says what it
//! must when a line of it is wrong.

use std::path::Path;

use config::{Diag, Gates};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use crate::support::gateway::{Gateway, free_port};

fn text() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/gateway.yaml");
    std::fs::read_to_string(path).expect("the example is there")
}

/// The text with one piece of it replaced, which must be there.
#[track_caller]
fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

fn shown(diags: &[Diag], line_of: &str, text: &str) -> Vec<String> {
    let line = text
        .lines()
        .position(|l| l.contains(line_of))
        .map(|n| n as u32 + 1);
    assert!(line.is_some(), "{line_of}");
    diags
        .iter()
        .map(|d| {
            let here = d.place.as_ref().map(|place| place.line) == line;
            format!(
                "{}{}: {}",
                if here { "" } else { "elsewhere " },
                d.path,
                d.message
            )
        })
        .collect()
}

#[track_caller]
fn check(text: &str, line_of: &str, expected: &[&str]) {
    let faults =
        match weir::service::validate(&[("gateway.yaml".to_owned(), text.to_owned())], &Gates::default()) {
            Ok(_) => Vec::new(),
            Err(config::Diags(faults)) => faults,
        };
    assert_eq!(shown(&faults, line_of, text), expected);
}

#[test]
fn a_wrong_line_is_answered_at_its_place() {
    let text = text();
    check(&text, "memory_limiter:", &[]);
    check(
        &with(&text, "limit_percentage: 80", "limit_percent: 80"),
        "limit_percent:",
        &["processors::memory_limiter: has invalid keys: limit_percent"],
    );
    check(
        &with(
            &text,
            "logs/out: {receivers: [forward]",
            "logs/out: {receivers: [otlp]",
        ),
        "  forward:",
        &[
            "connectors::forward: failed to build pipelines: connector \"forward\" used as exporter in [logs/in] pipeline \
           but not used in any supported receiver pipeline",
        ],
    );
    check(
        &with(
            &text,
            "file_storage/otc, basicauth/srv, headers_setter]",
            "basicauth/srv, headers_setter]",
        ),
        "sending_queue: {storage: file_storage/otc",
        &[
            "exporters::otlp/next::sending_queue::storage: no storage client extension found: \"file_storage/otc\" is not \
             listed in service::extensions",
        ],
    );
    check(
        &with(&text, "storage: file_storage/otc", "storage: headers_setter"),
        "sending_queue: {storage: headers_setter",
        &[
            "exporters::otlp/next::sending_queue::storage: requested extension is not a storage extension: \
             \"headers_setter\"",
        ],
    );
}

#[test]
fn what_is_old_in_it_is_said() {
    let text = with(&text(), "${env:GATEWAY_USER}:${env:GATEWAY_PASSWORD}", "u:p");
    let validated = weir::service::validate(&[("gateway.yaml".to_owned(), text)], &Gates::default());
    let Ok((_, warnings)) = validated else {
        panic!("it is valid");
    };
    let old: Vec<&str> = warnings
        .iter()
        .filter(|w| w.message.contains("deprecated"))
        .map(|w| w.path.as_str())
        .collect();
    assert_eq!(
        old,
        ["exporters::otlp/next", "service::telemetry::resource"],
        "{warnings:?}"
    );
}

#[tokio::test]
async fn it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    certificates(dir.path());
    let mut text = text();
    for (from, to) in [
        (
            "${env:WAL_DIR:-/var/lib/otelcol}",
            dir.path().to_str().unwrap().to_owned(),
        ),
        ("${env:GATEWAY_USER}:${env:GATEWAY_PASSWORD}", "u:p".to_owned()),
        (
            "cert_file: server.crt",
            format!("cert_file: {}", file("server.crt")),
        ),
        (
            "key_file: server.key",
            format!("key_file: {}", file("server.key")),
        ),
        (
            "client_ca_file: ca.crt",
            format!("client_ca_file: {}", file("ca.crt")),
        ),
        ("0.0.0.0:13133", format!("127.0.0.1:{}", free_port())),
        ("0.0.0.0:4317", "127.0.0.1:{grpc}".to_owned()),
        ("0.0.0.0:4318", "127.0.0.1:{http}".to_owned()),
        (
            "host: 0.0.0.0, port: 8888",
            format!("host: 127.0.0.1, port: {}", free_port()),
        ),
    ] {
        text = with(&text, from, &to);
    }
    let gateway = Gateway::start(&text).await;
    let answer = |headers: &'static [(&'static str, &'static str)]| {
        crate::support::client::post(gateway.http, "/v1/logs", headers, b"")
    };
    const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
    assert_eq!(answer(&[PROTOBUF]).await.status, 401);
    assert_eq!(
        answer(&[PROTOBUF, ("authorization", "Basic dTpw")]).await.status,
        200
    );
    // gRPC wants a certificate of that authority.
    let call = async |tls: serde_json::Value| {
        let config =
            serde_json::json!({"endpoint": format!("localhost:{}", gateway.grpc.port()), "tls": tls});
        let config = serde_json::from_value(config).unwrap();
        let client = net::client::GrpcClient::new(&config, "test").unwrap();
        let path = http::uri::PathAndQuery::from_static(wire::otlp::export_path(wire::Signal::Logs));
        client.unary(&path, None, &[], &wire::Context::default()).await
    };
    let shown = serde_json::json!({
        "ca_file": file("ca.crt"), "cert_file": file("client.crt"), "key_file": file("client.key"),
    });
    assert!(call(shown).await.is_ok());
    assert!(
        call(serde_json::json!({"ca_file": file("ca.crt")}))
            .await
            .is_err()
    );
    gateway.stop().await;
}

/// An authority (`ca.crt`), a server at `localhost` and a client (`.crt` and `.key` each).
fn certificates(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join("ca.crt"), ca.pem()).unwrap();
    for (name, usage) in [
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        std::fs::write(dir.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

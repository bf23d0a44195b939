//! The OpenTelemetry SDK for JavaScript (`js/send.js`), over every protocol that it has. What arrives behind the gateway
//! says what the same program said to a peer directly.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::compat::exchange::delivered;
use super::doors::{Doors, Way};
use super::peer::{Peer, Received};
use super::{beside, installed, run};

const MODULES: &str = "js/node_modules";

/// Sends everything once.
async fn send(modules: &Path, protocol: &str, compression: &str, variables: Vec<(&'static str, String)>) {
    let mut command = Command::new("node");
    command
        .arg(beside("js/send.js"))
        .arg(protocol)
        .arg(modules.parent().unwrap())
        .envs(variables)
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", compression);
    run(command).await;
}

/// Messages by signal, in the order in which they came.
fn messages(received: &[Received]) -> BTreeMap<&'static str, Vec<Value>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for request in received {
        let path = request.path.to_lowercase();
        let signal = ["trace", "logs", "metrics"]
            .into_iter()
            .find(|signal| path.contains(signal))
            .unwrap_or_else(|| panic!("an unknown path: {path}"));
        let entry = delivered(std::slice::from_ref(request)).get(0).cloned().unwrap();
        assert!(entry["message"].is_object(), "{entry}");
        all.entry(signal).or_default().push(entry["bytes"].clone());
    }
    all
}

/// Modules, and what the SDK says without a gateway.
async fn reference() -> Option<(PathBuf, BTreeMap<&'static str, Vec<Value>>)> {
    let modules = installed(MODULES)?;
    let direct = Peer::start().await;
    let url = format!("http://{}", direct.addr);
    let variables = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", url)];
    send(&modules, "http-protobuf", "none", variables).await;
    let sent = messages(&direct.received());
    let counts: Vec<_> = sent.iter().map(|(signal, all)| (*signal, all.len())).collect();
    assert_eq!(counts, [("logs", 8), ("metrics", 1), ("trace", 5)]);
    Some((modules, sent))
}

async fn says_the_same(protocol: &str) {
    let Some((modules, sent)) = reference().await else {
        return;
    };
    let mut doors = Doors::open().await;
    let mut seen = 0;
    for way in [Way::Plain, Way::Tls, Way::Mtls] {
        for compression in ["none", "gzip"] {
            let variables = doors.variables(way, protocol == "grpc");
            send(&modules, protocol, compression, variables).await;
            let received = doors.peer.received();
            let arrived = messages(&received[seen..]);
            assert!(
                arrived == sent,
                "{protocol}, {way:?}, {compression}: something was changed"
            );
            seen = received.len();
        }
    }
    doors.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc() {
    says_the_same("grpc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_protobuf() {
    says_the_same("http-protobuf").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_json() {
    says_the_same("http-json").await;
}

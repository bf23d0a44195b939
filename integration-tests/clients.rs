//! How exporters reach their peers: through the environment's proxies, and what is counted where they are refused.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::client::{Grpc, LOGS};
use crate::support::gateway::{Gateway, free_port};
use crate::support::peer::{Answer, Peer};
use crate::support::{sample, until};

fn config(exporters: &str, names: &str) -> String {
    format!(
        r#"
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}}}}}
exporters:
{exporters}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [{names}]}}
"#
    )
}

/// A proxy that leads every CONNECT to one peer, and keeps what it was asked.
async fn tunnels(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = near.read_u8().await else { return };
                    head.push(byte);
                }
                seen.lock().unwrap().push(String::from_utf8(head).unwrap());
                let mut far = TcpStream::connect(to).await.unwrap();
                near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (addr, asked)
}

/// Killed when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_environments_proxies_stand_before_exporters() {
    // Neither name exists: who looks one up itself gets nowhere.
    let (over_grpc, over_http) = (Peer::start().await, Peer::start().await);
    let (proxy, asked) = tunnels(over_grpc.addr).await;
    let port = free_port();
    let text = config(
        "  otlp_grpc: {endpoint: 'collector.invalid:4317', tls: {insecure: true}, sending_queue: {enabled: false}}\n  \
         otlp_http: {endpoint: 'http://collector.invalid:4318', sending_queue: {enabled: false}}",
        "otlp_grpc, otlp_http",
    )
    .replace("{grpc}", &port.to_string());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gw.yaml");
    std::fs::write(&file, text).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("--config")
        .arg(&file)
        .env("https_proxy", format!("http://user:pass@{proxy}"))
        .env("HTTP_PROXY", over_http.addr.to_string())
        .env("NO_PROXY", "other.invalid,10.0.0.0/8")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _child = Running(child);
    let door = SocketAddr::from(([127, 0, 0, 1], port));
    until("the door is open", || std::net::TcpStream::connect(door).is_ok()).await;
    let want = sample::logs(3);
    let client = Grpc::connect(door).await;
    assert_eq!(client.export(LOGS, &want.encode_to_vec()).await.code, 0);
    assert_eq!(
        (over_grpc.logs(), over_http.logs()),
        (vec![want.clone()], vec![want])
    );
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].starts_with("CONNECT collector.invalid:4317 HTTP/1.1\r\n"),
        "{asked:?}"
    );
    assert!(
        asked[0].contains("\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n"),
        "{asked:?}"
    );
    let told = over_http.received();
    assert_eq!(told[0].path, "/v1/logs");
    assert_eq!(told[0].headers["host"], "collector.invalid:4318");
}

#[tokio::test]
async fn what_a_client_gets_back_counts_as_failed_to_send() {
    let peer = Peer::scripted([Answer::Http {
        status: 400,
        retry_after: None,
    }])
    .await;
    let exporter = format!(
        "  otlp_http: {{endpoint: 'http://{}', sending_queue: {{enabled: false}}}}",
        peer.addr
    );
    let gateway = Gateway::start(&config(&exporter, "otlp_http")).await;
    let client = Grpc::connect(gateway.grpc).await;
    let message = sample::logs(3).encode_to_vec();
    assert_eq!(client.export(LOGS, &message).await.code, 3);
    assert_eq!(client.export(LOGS, &message).await.code, 0);
    let metrics = gateway.metrics();
    let value = |name: &str| {
        let line = metrics.lines().find(|l| l.starts_with(&format!("{name}{{")));
        line.and_then(|l| l.rsplit(' ').next()).map(str::to_owned)
    };
    assert_eq!(
        value("otelcol_exporter_send_failed_log_records").as_deref(),
        Some("3"),
        "{metrics}"
    );
    assert_eq!(value("otelcol_exporter_sent_log_records").as_deref(), Some("3"));
    gateway.stop().await;
}

//! The `weir` binary as a process of its own.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::{free_port, get, until};

/// A running gateway; killed when dropped.
pub struct Gateway {
    child: Child,
    pub grpc: u16,
    pub http: u16,
    health: u16,
    metrics: u16,
    dir: tempfile::TempDir,
}

/// Which exporter stands in front of the peer.
#[derive(Clone, Copy, Debug)]
pub enum Out {
    Grpc,
    Http,
}

impl Gateway {
    /// Starts one that answers after delivery to `peer`, and waits until it is healthy.
    pub async fn start(out: Out, peer: SocketAddr) -> Gateway {
        let [grpc, http, health, metrics] = std::array::from_fn(|_| free_port());
        let exporter = match out {
            Out::Grpc => format!("otlp_grpc: {{endpoint: '{peer}', tls: {{insecure: true}}"),
            Out::Http => format!("otlp_http: {{endpoint: 'http://{peer}'"),
        };
        let id = exporter.split(':').next().unwrap_or_default();
        let config = format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc}'}}
      http: {{endpoint: '127.0.0.1:{http}'}}
exporters:
  {exporter}, sending_queue: {{enabled: false}}}}
extensions:
  health_check: {{endpoint: '127.0.0.1:{health}'}}
service:
  extensions: [health_check]
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [{id}]}}
    logs: {{receivers: [otlp], exporters: [{id}]}}
    metrics: {{receivers: [otlp], exporters: [{id}]}}
"
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("weir.yaml");
        fs::write(&file, config).unwrap();
        let log = fs::File::create(dir.path().join("weir.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .arg("--config")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut gateway = Gateway {
            child,
            grpc,
            http,
            health,
            metrics,
            dir,
        };
        until("the gateway is healthy", || {
            if let Ok(Some(status)) = gateway.child.try_wait() {
                panic!("weir ended with {status}: {}", gateway.log());
            }
            async move { get(health, "/").await.is_some_and(|(status, _)| status == 200) }
        })
        .await;
        gateway
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("weir.log")).unwrap_or_default()
    }

    /// The page at `/metrics`.
    pub async fn metrics(&self) -> String {
        get(self.metrics, "/metrics").await.expect("metrics are served").1
    }

    /// Asks it to stop, and waits; it must end with success.
    pub async fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let mut ended = None;
        until("the gateway ends", || {
            ended = self.child.try_wait().unwrap();
            let done = ended.is_some();
            async move { done }
        })
        .await;
        assert!(
            ended.is_some_and(|status| status.success()),
            "{ended:?}: {}",
            self.log()
        );
        assert!(get(self.health, "/").await.is_none(), "nobody listens any more");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

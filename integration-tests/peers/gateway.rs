//! The `weir` binary, or another that reads the same configuration, as a process of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
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

/// The binary of this checkout.
pub fn weir() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_weir"))
}

impl Gateway {
    /// Starts one that answers after delivery to `peer`, and waits until it is healthy.
    pub async fn start(out: Out, peer: SocketAddr) -> Gateway {
        let exporter = match out {
            Out::Grpc => format!("otlp_grpc: {{endpoint: '{peer}', tls: {{insecure: true}}"),
            Out::Http => format!("otlp_http: {{endpoint: 'http://{peer}'"),
        };
        let id = exporter.split(':').next().unwrap_or_default();
        let config = format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{{grpc}}'}}
      http: {{endpoint: '127.0.0.1:{{http}}'}}
exporters:
  {exporter}, sending_queue: {{enabled: false}}}}
extensions:
  health_check: {{endpoint: '127.0.0.1:{{health}}'}}
service:
  extensions: [health_check]
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [{id}]}}
    logs: {{receivers: [otlp], exporters: [{id}]}}
    metrics: {{receivers: [otlp], exporters: [{id}]}}
"
        );
        Gateway::run(&weir(), &config).await
    }

    /// Starts a program with a configuration in which `{grpc}`, `{http}`, `{health}` and `{metrics}` stand for ports and
    /// `{dir}` for a directory of its own, and waits until its health check on `{health}` is content.
    pub async fn run(program: &Path, config: &str) -> Gateway {
        Gateway::run_in(program, config, &[]).await
    }

    /// The same with variables in its environment.
    pub async fn run_in(program: &Path, config: &str, environment: &[(&str, &str)]) -> Gateway {
        let [grpc, http, health, metrics] = std::array::from_fn(|_| free_port());
        let dir = tempfile::tempdir().unwrap();
        let mut text = config.replace("{dir}", dir.path().to_str().unwrap());
        for (name, port) in [
            ("{grpc}", grpc),
            ("{http}", http),
            ("{health}", health),
            ("{metrics}", metrics),
        ] {
            text = text.replace(name, &port.to_string());
        }
        let file = dir.path().join("gateway.yaml");
        fs::write(&file, text).unwrap();
        let log = fs::File::create(dir.path().join("gateway.log")).unwrap();
        let child = Command::new(program)
            .arg("--config")
            .arg(file)
            .envs(environment.iter().copied())
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
                panic!("it ended with {status}: {}", gateway.log());
            }
            async move { get(health, "/").await.is_some_and(|(status, _)| status == 200) }
        })
        .await;
        gateway
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("gateway.log")).unwrap_or_default()
    }

    /// The page at `/metrics`.
    pub async fn metrics(&self) -> String {
        get(self.metrics, "/metrics").await.expect("metrics are served").1
    }

    /// Its directory, `{dir}` in the configuration.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Asks it to stop, and waits; it must end with success.
    pub async fn stop(&mut self) {
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

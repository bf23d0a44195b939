//! The gateway as a process of its own, whose memory can be read.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::free_port;

/// A running process; killed when dropped.
pub struct Child {
    process: Process,
    file: PathBuf,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Child {
    /// Starts with a configuration in which `{grpc}` and `{http}` stand for ports, and `{dir}` for a folder of its own.
    pub async fn start(config: &str) -> Child {
        let (grpc, http) = (free_port(), free_port());
        let dir = tempfile::tempdir().unwrap();
        let text = config
            .replace("{grpc}", &grpc.to_string())
            .replace("{http}", &http.to_string())
            .replace("{dir}", dir.path().to_str().unwrap());
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, text).unwrap();
        let process = run(&file);
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let child = Child {
            process,
            file,
            grpc: at(grpc),
            http: at(http),
            _dir: dir,
        };
        child.listens().await;
        child
    }

    /// Ends it at once, without a word, and starts it anew with the same configuration and folder.
    pub async fn kill_and_restart(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
        self.process = run(&self.file);
        self.listens().await;
    }

    async fn listens(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(self.http).await.is_err() {
            assert!(Instant::now() < end, "the gateway does not listen");
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn kib(&self, key: &str) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("the gateway runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.and_then(|n| n.parse().ok()).expect("a number of KiB")
    }

    /// Resident now, in MiB.
    pub fn memory(&self) -> usize {
        self.kib("VmRSS:") >> 10
    }

    /// Most that was ever resident, in MiB.
    pub fn memory_peak(&self) -> usize {
        self.kib("VmHWM:") >> 10
    }
}

fn run(file: &Path) -> Process {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("--config")
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs")
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

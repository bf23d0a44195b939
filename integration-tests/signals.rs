//! The program as a service manager sees it: ready, signals, and how it ends.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Command, Stdio};

use prost::Message;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::gateway::free_port;
use crate::support::{client, sample};

/// A gateway on ports of its own, and its log as far as it was not read.
pub struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Running {
    fn start(endpoint: &str) -> Running {
        Running::with_health(endpoint, "127.0.0.1:0")
    }

    fn with_health(endpoint: &str, health: &str) -> Running {
        let config = format!(
            "yaml:{{receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '{endpoint}'}}}}}}}}, exporters: {{nop: }}, \
             extensions: {{health_check: {{endpoint: '{health}'}}}}, service: {{extensions: [health_check], telemetry: {{metrics: {{level: none}}}}, pipelines: {{logs: {{receivers: [otlp], exporters: [nop]}}}}}}}}"
        );
        Running::of(&config)
    }

    /// With a `--config` argument.
    pub fn of(config: &str) -> Running {
        Running::with(config, &[])
    }

    /// With a `--config` argument, and more in its environment.
    pub fn with(config: &str, environment: &[(&str, &str)]) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["--config", config])
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        Running { child, log }
    }

    /// Reads on to the first line with these words.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) -> String {
        let mut all = String::new();
        loop {
            let from = all.len();
            if self.log.read_line(&mut all).expect("the log is text") == 0 {
                panic!("the log ended without {words:?}:\n{all}");
            }
            if all[from..].contains(words) {
                return all[from..].to_owned();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has a number"), signal).expect("it is ours");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a clean end there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn signals_stop_it_in_order_with_0_and_a_hangup_does_not() {
    for (signal, name) in [(Signal::TERM, "terminated"), (Signal::INT, "interrupt")] {
        let mut gateway = Running::start("127.0.0.1:0");
        gateway.wait_for("Everything is ready");
        gateway.signal(Signal::HUP);
        let line = gateway.wait_for("configuration reloaded");
        assert!(line.contains("nothing changes"), "{line}");
        gateway.signal(signal);
        let line = gateway.wait_for("Received signal from OS");
        assert!(line.contains(name), "{line}");
        gateway.wait_for("Shutdown complete");
        let code = gateway.child.wait().expect("it is ours").code();
        assert_eq!(code, Some(0), "{name}");
    }
}

#[test]
fn a_file_that_changes_is_read_again_and_what_is_wrong_with_it_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("gw.yaml");
    let write = |exporter: &str| {
        let text = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}\nexporters:\n  {exporter}\n\
             service:\n  reload: {{watch: 20ms}}\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines: {{logs: \
             {{receivers: [otlp], exporters: [debug]}}}}\n"
        );
        // As a whole: half of it would be a fault of its own.
        let beside = dir.path().join("new");
        std::fs::write(&beside, text).expect("room on the disk");
        std::fs::rename(&beside, &path).expect("the same directory");
    };
    write("debug: {}");
    let mut gateway = Running::of(path.to_str().expect("text"));
    gateway.wait_for("Everything is ready");
    write("debug: {verbosity: normal}");
    let line = gateway.wait_for("configuration reloaded");
    assert!(
        line.contains("exporter debug: its configuration changes"),
        "{line}"
    );
    write("debug: {verbosty: normal}");
    let line = gateway.wait_for("configuration not reloaded");
    assert!(
        line.contains("gw.yaml:3:11") && line.contains("verbosty"),
        "{line}"
    );
    gateway.signal(Signal::HUP);
    gateway.wait_for("configuration not reloaded");
    write("debug: {verbosity: basic}");
    gateway.wait_for("configuration reloaded");
    gateway.signal(Signal::TERM);
    gateway.wait_for("Shutdown complete");
}

#[test]
fn a_port_that_is_taken_ends_it_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound address").to_string();
    for (mut gateway, words) in [
        (
            Running::start(&address),
            "cannot start pipelines: failed to start \"otlp\" receiver: ",
        ),
        (
            Running::with_health("127.0.0.1:0", &address),
            "failed to start extensions: ",
        ),
    ] {
        gateway.wait_for(words);
        assert_eq!(
            gateway.child.wait().expect("it is ours").code(),
            Some(1),
            "{words}"
        );
    }
}

#[tokio::test]
async fn a_second_signal_ends_a_long_drain_at_once_with_1() {
    // It takes connections and never says a word: what is queued for it cannot go.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (silent, port) = (listener.local_addr().expect("a bound address"), free_port());
    let mut gateway = Running::of(&format!(
        "yaml:{{receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}, exporters: \
         {{otlp_http: {{endpoint: 'http://{silent}', timeout: 10m}}}}, service: {{shutdown: {{deadline: 10m}}, \
         telemetry: {{metrics: {{level: none}}}}, pipelines: {{logs: {{receivers: [otlp], exporters: \
         [otlp_http]}}}}}}}}"
    ));
    gateway.wait_for("Everything is ready");
    let at = ([127, 0, 0, 1], port).into();
    let logs = sample::logs(1).encode_to_vec();
    assert_eq!(client::post_otlp(at, "/v1/logs", &logs).await.status, 200);
    gateway.signal(Signal::TERM);
    gateway.wait_for("Starting shutdown");
    assert_eq!(gateway.child.try_wait().expect("it is ours"), None, "it drains");
    gateway.signal(Signal::TERM);
    let line = gateway.wait_for("stopped at once by a second signal");
    assert!(line.contains("(terminated)"), "{line}");
    assert_eq!(gateway.child.wait().expect("it is ours").code(), Some(1));
}

//! One life of the gateway: the binary as a process with its log in a file, to be killed or to be stopped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A key for those that encrypt.
pub const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A running process; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the gateway with a configuration file; what it says goes to `log`. With `crash_at` it kills itself there.
    pub fn start(config: &Path, log: PathBuf, crash_at: Option<&str>) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("--config").arg(config).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).unwrap());
        command.env_remove("WEIR_CRASH_AT").env("WEIR_CRASH_KEY", KEY);
        if let Some(point) = crash_at {
            command.env("WEIR_CRASH_AT", point);
        }
        Process {
            child: command.spawn().expect("the binary runs"),
            log,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// How it ended, if it ends in time.
    pub async fn ends_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + time;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends it as a power button would, but for what the system holds for it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal by name.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.id() as i32).expect("a process has a number");
        rustix::process::kill_process(pid, signal).expect("the gateway runs");
    }

    /// Asks it to stop; it must end with success.
    pub async fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let ended = self.ends_within(Duration::from_secs(40)).await;
        assert!(
            ended.is_some_and(|status| status.success()),
            "{ended:?}: {}",
            self.said()
        );
    }

    /// What it said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory now, in KiB.
    pub fn memory_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the gateway runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.and_then(|n| n.parse().ok()).expect("a number of KiB")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

//! A server that we did not write, as a process of its own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::until;

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    log: PathBuf,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Starts a command whose `{dir}` is a folder of its own, and waits until `is_ready`.
    pub async fn start<F: Future<Output = bool>>(
        program: PathBuf,
        arguments: &[&str],
        environment: &[(&str, &str)],
        mut is_ready: impl FnMut() -> F,
    ) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let (log, own) = (dir.path().join("log"), dir.path().join("data"));
        fs::create_dir(&own).unwrap();
        let own = own.to_str().unwrap();
        let child = Command::new(program)
            .args(arguments.iter().map(|argument| argument.replace("{dir}", own)))
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut server = Server {
            child,
            log,
            _dir: dir,
        };
        until("the server is ready", || {
            if let Ok(Some(status)) = server.child.try_wait() {
                let log = fs::read_to_string(&server.log).unwrap_or_default();
                panic!("the server ended with {status}: {log}");
            }
            is_ready()
        })
        .await;
        server
    }

    /// Asks it to stop, and waits until it has ended.
    pub async fn stop(mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(asked.success());
        until("the server ends", || {
            let has_ended = self.child.try_wait().unwrap().is_some();
            async move { has_ended }
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

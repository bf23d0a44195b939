//! Programs that we did not write: where they are, running one to its end, waiting for one.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A program that a `provision.sh` installed, by its path in that script's folder; none if it was not run and need not
/// be.
pub fn installed(program: &str) -> Option<PathBuf> {
    let home = std::env::var_os("WEIR_PEERS").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        Some(
            cache
                .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?
                .join("weir-peers"),
        )
    });
    let path = home.map(|home| home.join(program)).filter(|path| path.exists());
    if path.is_none() {
        let told =
            format!("{program} is not installed: run provision.sh in integration-tests/peers and full");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{told}");
        eprintln!("skipped: {told}");
    }
    path
}

/// A file beside this one.
pub fn beside(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/integration-tests/peers")).join(name)
}

/// A program that belongs to the machine, as `which` finds it; none if it is missing and may be.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{program} is not installed"
        );
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Runs a command to its end: exit code, standard output and standard error.
pub async fn output(mut command: Command) -> (i32, String, String) {
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Runs a command that must succeed; its standard output. Panics with all it said if it fails.
pub async fn run(command: Command) -> String {
    let (code, stdout, stderr) = output(command).await;
    assert!(code == 0, "{stdout}{stderr}");
    stdout
}

/// Waits until a condition holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < end, "waited 30 s in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A port that is free now.
///
/// Not one that was handed out before: whoever has it may not listen yet.
pub fn free_port() -> u16 {
    static GIVEN: std::sync::Mutex<Vec<u16>> = std::sync::Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap();
    loop {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        if !given.contains(&port) {
            given.push(port);
            return port;
        }
    }
}

/// A GET over HTTP/1.1: status and body; none if nobody listens.
pub async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: peer\r\nuser-agent: probe/1\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.get(9..12)?.parse().ok()?, body.to_owned()))
}

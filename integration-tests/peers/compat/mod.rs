//! Exchanges recorded with a real collector, and how Weir's differ.
//!
//! A folder beside this file is one configuration, `config.yaml`, and what is sent to it, `requests.json`. A program is
//! started with the configuration between a client and a recording peer; the answers and what the peer got are the
//! *record*. `golden.json` is the collector's record; Weir's must be equal but for what `differences.json` lists, with
//! its reason and the value that Weir gives instead. A difference that is listed and does not occur is a fault too.
//!
//! `UPDATE=1` rewrites: with the collector (tier 3) the goldens, with Weir (tier 2) the values in `differences.json`.

pub mod differences;
pub mod exchange;
pub mod proto;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::gateway::Gateway;
use super::peer::Peer;
use super::programs::until;
use exchange::{Plan, delivered, text_or_json};

/// Where the folders are.
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/integration-tests/peers/compat"
    ))
}

/// The names of all configurations, sorted.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("config.yaml").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Whether goldens or differences are to be written rather than compared.
pub fn updates() -> bool {
    std::env::var("UPDATE").as_deref() == Ok("1")
}

pub fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn write(path: &Path, value: &Value) {
    let mut text = serde_json::to_string_pretty(value).unwrap();
    text.push('\n');
    std::fs::write(path, text).unwrap();
}

/// Runs one configuration with a program: the record, or why there is none.
pub async fn record(program: &Path, name: &str) -> Result<Value, String> {
    let (program, name) = (program.to_owned(), name.to_owned());
    caught(async move { run(&program, &name).await }).await
}

/// What came of it, or the words that it panicked with.
pub async fn caught(run: impl Future<Output = Value> + Send + 'static) -> Result<Value, String> {
    tokio::spawn(run)
        .await
        .map_err(|error| match error.try_into_panic() {
            Ok(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
            Err(error) => error.to_string(),
        })
}

async fn run(program: &Path, name: &str) -> Value {
    let dir = folder().join(name);
    let plan: Plan = serde_json::from_value(read(&dir.join("requests.json")))
        .unwrap_or_else(|error| panic!("{name}/requests.json: {error}"));
    let peer = Peer::start().await;
    let config = std::fs::read_to_string(dir.join("config.yaml")).unwrap();
    let mut gateway = Gateway::run(program, &config.replace("{behind}", &peer.addr.to_string())).await;
    let mut requests = serde_json::Map::new();
    let mut seen = 0;
    for request in &plan.requests {
        peer.script(request.behind());
        let answer = request.send(&gateway).await;
        let mut entry = json!({ "answer": answer });
        if !plan.collect_at_end {
            let received = peer.received();
            entry["behind"] = delivered(&received[seen..]);
            seen = received.len();
        }
        assert!(
            requests.insert(request.name.clone(), entry).is_none(),
            "{name}: two requests named {}",
            request.name
        );
    }
    until("the peer has them all", || async {
        peer.received().len() >= plan.deliveries
    })
    .await;
    gateway.stop().await;
    let mut record = json!({ "requests": requests });
    // signals are flushed side by side
    let mut after = peer.received().split_off(seen);
    after.sort_by(|a, b| a.path.cmp(&b.path));
    if !after.is_empty() {
        record["after"] = delivered(&after);
    }
    if let Ok(file) = std::fs::read_to_string(gateway.dir().join("out.json")) {
        record["file"] = file.lines().map(|line| text_or_json(line.as_bytes())).collect();
    }
    plan.steady(&mut record);
    let text = record.to_string().replace(&peer.addr.to_string(), "{behind}");
    serde_json::from_str(&text).expect("JSON stays JSON")
}

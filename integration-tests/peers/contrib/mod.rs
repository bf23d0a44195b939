//! What contrib's exporters `loki` and `elasticsearch` send, recorded, and how Weir's differ.
//!
//! A folder below `loki/` or `elasticsearch/` is one configuration, `config.yaml`, and what is sent to it, `input.json`, in
//! the form of [`super::compat`]. A program is started with the configuration in front of a [`Recorder`], and what that
//! got by request is the *record*. `golden.json` is that of the collector which the exporter came with; Weir's must be
//! equal but for what `differences.json` lists, with its reason. What is one request or several, and the order in it, is
//! not told: streams and documents are sorted.

mod bulk;
mod push;
mod recorder;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::compat::exchange::Plan;
use super::compat::{caught, read};
use super::gateway::Gateway;
use recorder::{Recorder, Sent};

/// Where the folders are.
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/integration-tests/peers/contrib"
    ))
}

/// `loki/NAME` and `elasticsearch/NAME` of all configurations, sorted.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = ["elasticsearch", "loki"]
        .iter()
        .flat_map(|exporter| {
            std::fs::read_dir(folder().join(exporter))
                .unwrap()
                .map(move |entry| (exporter, entry.unwrap()))
        })
        .filter(|(_, entry)| entry.path().join("config.yaml").is_file())
        .map(|(exporter, entry)| format!("{exporter}/{}", entry.file_name().into_string().unwrap()))
        .collect();
    names.sort();
    names
}

/// Runs one configuration with a program: the record, or why there is none.
pub async fn record(program: &Path, name: &str) -> Result<Value, String> {
    let (program, name) = (program.to_owned(), name.to_owned());
    caught(async move { run(&program, &name).await }).await
}

async fn run(program: &Path, name: &str) -> Value {
    let dir = folder().join(name);
    let plan: Plan = serde_json::from_value(read(&dir.join("input.json")))
        .unwrap_or_else(|error| panic!("{name}/input.json: {error}"));
    let recorder = Recorder::start().await;
    let config = std::fs::read_to_string(dir.join("config.yaml")).unwrap();
    let mut gateway = Gateway::run(program, &config.replace("{behind}", &recorder.addr.to_string())).await;
    let mut requests = serde_json::Map::new();
    for request in &plan.requests {
        let answer = request.send(&gateway).await;
        // what is said of a failure is the gateway's business, that it is one is the exporter's
        let status = [&answer["status"], &answer["code"]];
        let status = status.into_iter().find(|status| !status.is_null());
        let entry = json!({ "answer": status, "sent": told(recorder.taken()) });
        assert!(
            requests.insert(request.name.clone(), entry).is_none(),
            "{name}: two requests named {}",
            request.name
        );
    }
    gateway.stop().await;
    assert!(
        recorder.taken().is_empty(),
        "{name}: something was sent after its answer"
    );
    let mut record = json!({ "requests": requests });
    plan.steady(&mut record);
    let text = record.to_string();
    serde_json::from_str(&text.replace(&recorder.addr.to_string(), "{behind}")).expect("JSON stays JSON")
}

/// Requests for their reader: those to one place, with the same headers, are one.
fn told(sent: Vec<Sent>) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for one in &sent {
        let mut head = one.head();
        let (name, items) = match one.path.ends_with("/_bulk") {
            true => ("documents", bulk::documents(&one.body, &mut head)),
            false => ("streams", push::streams(&one.body)),
        };
        let same = all.iter_mut().find(|known| {
            let same = |key: &str| known[key] == head[key];
            same("path") && same("query") && same("headers")
        });
        match same {
            Some(known) => known[name].as_array_mut().unwrap().extend(items),
            None => {
                head[name] = json!(items);
                all.push(head);
            }
        }
    }
    for one in &mut all {
        for name in ["documents", "streams"] {
            if let Some(items) = one.get_mut(name).and_then(Value::as_array_mut) {
                push::joined(items);
                // by what they are first: ids are made in other ways
                items.sort_by_cached_key(|item| (item["document"].to_string(), item.to_string()));
            }
        }
    }
    all.sort_by_cached_key(Value::to_string);
    all
}

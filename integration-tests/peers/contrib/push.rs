//! A push to Loki as JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use serde_json::{Map, Value, json};

/// As much as a time may lie back to be the time of sending, in seconds.
const NOW_S: u64 = 3600;

#[derive(Clone, PartialEq, Message)]
struct Push {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    time: Option<Time>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// The streams of a push: `{"labels", "entries": [{"time", "line", "metadata"}]}`.
pub fn streams(body: &[u8]) -> Vec<Value> {
    let plain = snap::raw::Decoder::new()
        .decompress_vec(body)
        .expect("a block of snappy");
    let push = Push::decode(&plain[..]).expect("a push");
    push.streams
        .into_iter()
        .map(|stream| {
            let entries: Vec<Value> = stream.entries.into_iter().map(entry).collect();
            json!({ "labels": stream.labels, "entries": entries })
        })
        .collect()
}

/// Makes one of streams that have the same labels, as they have in pushes of their own, and sorts its entries by their
/// times and lines.
pub fn joined(streams: &mut Vec<Value>) {
    let mut all: Vec<Value> = Vec::new();
    for mut stream in std::mem::take(streams) {
        let known = all
            .iter_mut()
            .find(|known| stream["labels"].is_string() && known["labels"] == stream["labels"]);
        match known.map(|known| known["entries"].as_array_mut().unwrap()) {
            Some(entries) => entries.append(stream["entries"].as_array_mut().unwrap()),
            None => all.push(stream),
        }
    }
    for stream in &mut all {
        let Some(entries) = stream.get_mut("entries").and_then(Value::as_array_mut) else {
            continue;
        };
        entries.sort_by_cached_key(|entry| (entry["time"].to_string(), entry.to_string()));
    }
    *streams = all;
}

fn entry(entry: Entry) -> Value {
    let time = entry.time.expect("every entry has a time");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = match now.abs_diff(time.seconds as u64) < NOW_S {
        true => "now".to_owned(),
        false => format!("{}{:09}", time.seconds, time.nanos),
    };
    let mut told = json!({ "time": time, "line": entry.line });
    if !entry.metadata.is_empty() {
        let pairs = entry
            .metadata
            .into_iter()
            .map(|pair| (pair.name, json!(pair.value)));
        told["metadata"] = Value::Object(pairs.collect::<Map<_, _>>());
    }
    told
}

//! The lines of `_bulk` as JSON.

use serde_json::{Value, json};

/// The documents: `{"action", "document"}`. Numbers stay what they are: `1` makes another field than `1.0`. That they want
/// a data stream is told of each, whether a request says so for all of them, in its query, or not.
pub fn documents(body: &[u8], head: &mut Value) -> Vec<Value> {
    const WANTED: &str = "require_data_stream=true";
    let query = head["query"].as_array_mut().expect("a query");
    let parameters = query.len();
    query.retain(|parameter| parameter != WANTED);
    let of_all = query.len() < parameters;
    let text = std::str::from_utf8(body).expect("lines are text");
    assert!(text.ends_with('\n'), "the last line must end");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!({ "not JSON": line })))
        .collect();
    let pairs = lines.chunks_exact(2);
    assert!(pairs.remainder().is_empty(), "a document is two lines");
    pairs
        .map(|pair| {
            let mut action = pair[0].clone();
            if of_all {
                action["create"]["require_data_stream"] = json!(true);
            }
            json!({ "document": pair[1], "action": action })
        })
        .collect()
}

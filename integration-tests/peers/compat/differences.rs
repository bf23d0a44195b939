//! Two records side by side, and the list of what may differ.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{read, updates, write};

/// `differences.json`.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Differences {
    /// Why Weir does otherwise: a name, and the reason.
    pub reasons: BTreeMap<String, String>,
    /// By configuration and request.
    pub differences: BTreeMap<String, BTreeMap<String, Difference>>,
}

#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Names of `reasons`.
    pub why: Vec<String>,
    /// What Weir's record has at each place where it differs; null: nothing.
    pub weir: BTreeMap<String, Value>,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("differences.json")
}

/// Whether `ONLY` leaves this configuration in.
fn is_asked(name: &str) -> bool {
    std::env::var("ONLY").map_or(true, |only| only == name)
}

/// A collector tells the points of an aggregate in the order of a hash map, another each time, and watches its memory at
/// its own times: so often it is asked before what it says is different.
const ASKED: usize = 6;

/// Holds records of the collector against the goldens of a folder: what is different. `UPDATE=1` records them anew,
/// `ONLY=NAME` one alone.
#[allow(dead_code, reason = "tier 3 has the collectors")]
pub async fn hold_goldens(
    folder: &Path,
    names: &[String],
    record: impl AsyncFn(&str) -> Result<Value, String>,
) -> Vec<String> {
    let mut complaints = Vec::new();
    for name in names.iter().filter(|name| is_asked(name)) {
        let golden = folder.join(name).join("golden.json");
        let mut different = Vec::new();
        for _ in 0..ASKED {
            different = match record(name).await {
                Ok(record) => {
                    if updates() {
                        write(&golden, &record);
                    }
                    let different = between(&read(&golden), &record).into_iter();
                    let told =
                        |(request, places)| format!("{name}: {request}: {}", serde_json::json!(places));
                    different.map(told).collect()
                }
                Err(error) => vec![format!("{name}: {error}")],
            };
            if different.is_empty() {
                break;
            }
        }
        complaints.extend(different);
    }
    complaints
}

/// Holds records of Weir against the goldens of a folder, and what differs against its list: what is different there, and
/// what is listed and not different. `UPDATE=1` rewrites the values of the list.
pub async fn hold_weir(
    folder: &Path,
    names: &[String],
    record: impl AsyncFn(&str) -> Result<Value, String>,
) -> Vec<String> {
    let mut listed = Differences::load(folder);
    let mut complaints = Vec::new();
    for name in names.iter().filter(|name| is_asked(name)) {
        let golden = read(&folder.join(name).join("golden.json"));
        let weir = match record(name).await {
            Ok(record) => record,
            Err(error) => {
                complaints.push(format!("{name}: {error}"));
                continue;
            }
        };
        let expected = listed.differences.remove(name).unwrap_or_default();
        let mut now: BTreeMap<String, Difference> = BTreeMap::new();
        for (request, weir) in between(&golden, &weir) {
            let known = expected.get(&request).cloned().unwrap_or_default();
            if known.weir != weir && !updates() {
                complaints.push(format!("{name}: {request}: {}", serde_json::json!(weir)));
            }
            now.insert(request, Difference { why: known.why, weir });
        }
        for request in expected.keys().filter(|request| !now.contains_key(*request)) {
            if !updates() {
                complaints.push(format!("{name}: {request}: is listed, and does not differ"));
            }
        }
        if updates() && !now.is_empty() {
            listed.differences.insert(name.clone(), now);
        } else if !updates() && !expected.is_empty() {
            listed.differences.insert(name.clone(), expected);
        }
    }
    if updates() {
        listed.differences.retain(|name, _| names.contains(name));
        listed.save(folder);
    }
    complaints.extend(listed.complaints(names));
    complaints
}

impl Differences {
    fn load(folder: &Path) -> Differences {
        serde_json::from_value(read(&path(folder)))
            .unwrap_or_else(|error| panic!("differences.json: {error}"))
    }

    fn save(&self, folder: &Path) {
        write(&path(folder), &serde_json::to_value(self).unwrap());
    }

    /// Complaints about the file itself.
    fn complaints(&self, names: &[String]) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut used = Vec::new();
        for (name, requests) in &self.differences {
            if !names.contains(name) {
                complaints.push(format!("{name}: there is no such folder"));
            }
            for (request, difference) in requests {
                if difference.why.is_empty() {
                    complaints.push(format!("{name}: {request}: no reason is given"));
                }
                for why in &difference.why {
                    if !self.reasons.contains_key(why) {
                        complaints.push(format!("{name}: {request}: no reason is named {why}"));
                    }
                    used.push(why);
                }
            }
        }
        for reason in self.reasons.keys().filter(|r| !used.contains(r)) {
            complaints.push(format!("the reason {reason} is used nowhere"));
        }
        complaints
    }
}

/// Where two records differ: by request (what belongs to none under its own name), the places and Weir's values.
pub fn between(golden: &Value, weir: &Value) -> BTreeMap<String, BTreeMap<String, Value>> {
    let mut found: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    let nothing = Value::Null;
    let mut compare = |name: &str, golden: &Value, weir: &Value| {
        let mut at = BTreeMap::new();
        walk("", golden, weir, &mut at);
        if !at.is_empty() {
            found.insert(name.to_owned(), at);
        }
    };
    for (name, entry) in golden["requests"].as_object().expect("requests") {
        compare(name, entry, weir["requests"].get(name).unwrap_or(&nothing));
    }
    for rest in ["after", "file"] {
        compare(
            rest,
            golden.get(rest).unwrap_or(&nothing),
            weir.get(rest).unwrap_or(&nothing),
        );
    }
    found
}

fn walk(at: &str, golden: &Value, weir: &Value, found: &mut BTreeMap<String, Value>) {
    let below = |key: &str| match at {
        "" => key.to_owned(),
        at => format!("{at}.{key}"),
    };
    match (golden, weir) {
        (Value::Object(a), Value::Object(b)) => {
            let before = found.len();
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            // the bytes say again what the message says, where that can say it
            for key in keys.iter().filter(|k| k.as_str() != "bytes") {
                let side = |map: &serde_json::Map<String, Value>| map.get(*key).cloned().unwrap_or_default();
                walk(&below(key), &side(a), &side(b), found);
            }
            if found.len() == before && a.get("bytes") != b.get("bytes") {
                found.insert(below("bytes"), b.get("bytes").cloned().unwrap_or_default());
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for n in 0..a.len().max(b.len()) {
                let side = |list: &[Value]| list.get(n).cloned().unwrap_or_default();
                walk(&below(&n.to_string()), &side(a), &side(b), found);
            }
        }
        (a, b) if a == b => {}
        (_, b) => {
            found.insert(at.to_owned(), b.clone());
        }
    }
}

#[test]
fn places_are_named_and_bytes_count_where_the_text_is_equal() {
    use serde_json::json;

    let golden = json!({"requests": {
        "same": {"answer": {"status": 200}, "behind": [{"bytes": "AA", "message": 1}]},
        "other": {"answer": {"status": 400, "body": {"message": "no"}}, "behind": []},
        "nan": {"behind": [{"bytes": "AA", "message": null}]},
    }, "after": [1, 2]});
    let weir = json!({"requests": {
        "same": {"answer": {"status": 200}, "behind": [{"bytes": "AA", "message": 1}]},
        "other": {"answer": {"status": 413, "body": {"message": "no"}, "x": 1}, "behind": [{"message": 7, "bytes": ""}]},
        "nan": {"behind": [{"bytes": "AB", "message": null}]},
    }, "after": [1]});
    let found = between(&golden, &weir);
    let expected = json!({
        "other": {"answer.status": 413, "answer.x": 1, "behind.0": {"message": 7, "bytes": ""}},
        "nan": {"behind.0.bytes": "AB"},
        "after": {"1": null},
    });
    assert_eq!(serde_json::to_value(found).unwrap(), expected);
}

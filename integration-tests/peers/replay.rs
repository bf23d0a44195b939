//! The exchanges of `compat/`, with Weir in the collector's place.

use std::collections::BTreeMap;

use super::compat::differences::{Difference, Differences, between};
use super::compat::{folder, names, read, record, updates};
use super::gateway::weir;

#[tokio::test(flavor = "multi_thread")]
async fn weir_answers_as_the_collector_but_for_the_list() {
    let names = names();
    assert!(names.len() >= 80, "only {} configurations", names.len());
    let mut listed = Differences::load();
    let mut complaints = Vec::new();
    for name in &names {
        let golden = read(&folder().join(name).join("golden.json"));
        let weir = match record(&weir(), name).await {
            Ok(record) => record,
            Err(error) => {
                complaints.push(format!("{name}: {error}"));
                continue;
            }
        };
        let found = between(&golden, &weir);
        let expected = listed.differences.remove(name).unwrap_or_default();
        let mut now: BTreeMap<String, Difference> = BTreeMap::new();
        for (request, weir) in found {
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
        listed.save();
    }
    complaints.extend(listed.complaints(&names));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

//! The goldens of tier 2 are what this collector says; `UPDATE=1` records them anew, `ONLY=NAME` one alone.

use super::compat::differences::between;
use super::compat::{folder, names, read, record, updates, write};
use super::{OTELCOL, installed};

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_still_says_what_the_goldens_say() {
    let Some(otelcol) = installed(OTELCOL) else { return };
    let only = std::env::var("ONLY").ok();
    let mut complaints = Vec::new();
    for name in names()
        .iter()
        .filter(|name| only.as_ref().is_none_or(|o| o == *name))
    {
        let record = match record(&otelcol, name).await {
            Ok(record) => record,
            Err(error) => {
                complaints.push(format!("{name}: {error}"));
                continue;
            }
        };
        let golden = folder().join(name).join("golden.json");
        if updates() {
            write(&golden, &record);
        }
        for (request, places) in between(&read(&golden), &record) {
            complaints.push(format!("{name}: {request}: {}", serde_json::json!(places)));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

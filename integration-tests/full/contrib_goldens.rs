//! The goldens of tier 2 are what the collector's own exporters `loki` and `elasticsearch` send; `UPDATE=1` records them
//! anew, `ONLY=loki/NAME` one alone.

use super::compat::differences::hold_goldens;
use super::contrib::{folder, names, record};
use super::installed;

async fn sends_what_the_goldens_say(exporter: &str) {
    let Some(otelcol) = installed(&format!("otelcol-{exporter}/otelcol")) else {
        return;
    };
    let names: Vec<String> = names()
        .into_iter()
        .filter(|name| name.split('/').next() == Some(exporter))
        .collect();
    assert!(!names.is_empty());
    let complaints = hold_goldens(&folder(), &names, async |name| record(&otelcol, name).await).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn contribs_loki_still_sends_what_the_goldens_say() {
    sends_what_the_goldens_say("loki").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contribs_elasticsearch_still_sends_what_the_goldens_say() {
    sends_what_the_goldens_say("elasticsearch").await;
}

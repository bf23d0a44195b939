//! The exchanges of `compat/` and `contrib/`, with Weir in the collector's place.

use super::compat::differences::hold_weir;
use super::gateway::weir;
use super::{compat, contrib};

#[tokio::test(flavor = "multi_thread")]
async fn weir_answers_as_the_collector_but_for_the_list() {
    let names = compat::names();
    assert!(names.len() >= 80, "only {} configurations", names.len());
    let complaints = hold_weir(&compat::folder(), &names, async |name| {
        compat::record(&weir(), name).await
    })
    .await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn weirs_exporters_send_what_contribs_do_but_for_the_list() {
    let names = contrib::names();
    assert!(names.len() >= 25, "only {} configurations", names.len());
    let complaints = hold_weir(&contrib::folder(), &names, async |name| {
        contrib::record(&weir(), name).await
    })
    .await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

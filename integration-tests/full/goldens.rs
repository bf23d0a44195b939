//! The goldens of tier 2 are what this collector says; `UPDATE=1` records them anew, `ONLY=NAME` one alone.

use super::compat::differences::hold_goldens;
use super::compat::{folder, names, record};
use super::{OTELCOL, installed};

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_still_says_what_the_goldens_say() {
    let Some(otelcol) = installed(OTELCOL) else { return };
    let complaints = hold_goldens(&folder(), &names(), async |name| record(&otelcol, name).await).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

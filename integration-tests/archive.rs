//! The archive through the whole gateway. What becomes of it in a kill is `crash`'s.

use std::fs;
use std::path::Path;

use prost::Message;

use crate::support::gateway::{Gateway, free_port};
use crate::support::kills::archive::Archived;
use crate::support::{client, sample};

/// `configs/archive.yaml` as it is, but for its places.
fn config(folder: &Path) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/archive.yaml");
    let mut text = fs::read_to_string(path).expect("the example is there");
    for (from, to) in [
        ("${env:WEIR_ARCHIVE:-/var/lib/weir}", folder.display().to_string()),
        ("127.0.0.1:4317", "127.0.0.1:{grpc}".to_owned()),
        ("127.0.0.1:4318", "127.0.0.1:{http}".to_owned()),
        ("port: 8888", format!("port: {}", free_port())),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    text
}

#[tokio::test]
async fn the_example_archives_what_it_acknowledges_and_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let records = || {
        let archived = Archived::verified(&folder.path().join("archive"));
        ["logs", "traces", "metrics"].map(|signal| archived.records(signal))
    };
    let gateway = Gateway::start(&config(folder.path())).await;
    for n in 1..4 {
        let answer = client::post_otlp(gateway.http, "/v1/logs", &sample::logs(n).encode_to_vec()).await;
        assert_eq!(answer.status, 200);
    }
    let answer = client::post_otlp(gateway.http, "/v1/traces", &sample::traces(5).encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
    assert_eq!(records(), [6, 5, 0]);

    let gateway = Gateway::start(&config(folder.path())).await;
    let metrics = sample::metrics().encode_to_vec();
    let points = u64::from(wire::count_items(wire::Signal::Metrics, &metrics));
    let answer = client::post_otlp(gateway.http, "/v1/metrics", &metrics).await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
    assert_eq!(records(), [6, 5, points]);
}

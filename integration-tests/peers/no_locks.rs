//! s3s-fs, which takes the headers of locks, checks signatures and digests, and locks nothing: nothing is archived there
//! under the promise of a lock.

use std::path::Path;

use objects::ObjectStore;
use objects::test_kit::Administrator;

use super::bucket::{Archive, bucket_at, send};
use super::kills::archive::{Archived, download};
use super::server::Server;
use super::{free_port, get, installed};

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_locks_is_refused_unless_none_is_required() {
    let Some(program) = installed("s3s-fs/bin/s3s-fs") else {
        return;
    };
    let port = free_port();
    let port_text = port.to_string();
    let arguments = [
        "--host",
        "127.0.0.1",
        "--port",
        &port_text,
        "--access-key",
        "weir",
        "--secret-key",
        "weir-weir",
        "{dir}",
    ];
    let ready = || async move { get(port, "/").await.is_some() };
    let _store = Server::start(program, &arguments, &[], ready).await;
    let root = bucket_at(port, "weir-locked", "weir", "weir-weir");
    let admin = Administrator::of(&root).await;
    // It says yes to a bucket with locks.
    admin.make_bucket(true).await;

    let said = Archive::new(&root, "{retention: 1d}", "").refused().await;
    for part in [
        "failed to start \"archive\" exporter: bucket \"weir-locked\" does not say whether it keeps versions \
         (GetBucketVersioning 501 NotImplemented",
        "WORM storage is promised here (lock.required: true), so nothing is written.",
        "Or accept an unlocked archive: lock.required: false",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert_eq!(admin.store().list("", "").await, Ok(vec![]));

    let archive = Archive::new(&root, "{required: false}", "");
    archive.found().await;
    let mut gateway = archive.serve().await;
    send(&gateway, "acme").await;
    gateway.stop().await;
    // It lists no versions either, so it is a copy that is verified.
    let copy = archive.at("copy");
    download(&root, Path::new(&copy)).await;
    assert_eq!(Archived::verified(Path::new(&copy)).records("logs"), 1);
    assert_eq!(
        admin
            .store()
            .list("data/v1/class=std/tenant=acme/", "")
            .await
            .map(|all| all.len()),
        Ok(1)
    );
}

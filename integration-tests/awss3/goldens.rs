//! What the collector wrote is read, and the like of it written: goldens of `peers/awss3`.

use std::collections::BTreeMap;

use http::Method;
use objects::blocks::Store;
use objects::test_kit::FakeS3;
use objects::{Body, Put};
use serde_json::Value;

use super::{BUCKET, objects, reads, send, shown, store, writes};
use crate::bucket_goldens::{Form, Told, forms, golden, manifest, records};
use crate::support::gateway::Gateway;
use crate::support::peer::Peer;
use crate::support::until;

const DAY: &str = "starttime: 2026-02-03, endtime: 2026-02-04";

/// Puts an object as the collector did.
async fn put(s3: &FakeS3, key: &str, bytes: Vec<u8>, told: &Told) {
    let opened = Store {
        s3: Some(s3.config(BUCKET)),
        file: None,
    };
    let opened = opened.open().await.unwrap();
    let header = |name: &str| told.headers.get(name).cloned().unwrap_or_default();
    let put = Put {
        sha256: evidence::digest::sha256(&bytes).0,
        content_type: header("content-type"),
        content_encoding: header("content-encoding"),
        ..Put::default()
    };
    opened.put(key, Body::Bytes(bytes.into()), &put).await.unwrap();
}

#[tokio::test]
async fn what_the_collector_wrote_is_read() {
    let (s3, peer, manifest) = (store().await, Peer::start().await, manifest());
    let names: Vec<(Form, String)> = forms().into_iter().map(|form| (form, form.name())).collect();
    let mut expected = BTreeMap::new();
    for (form, name) in &names {
        for signal in form.signals() {
            let file = form.file(signal);
            let key = format!("{name}/03/{signal}_123456789{}", form.ending());
            put(&s3, &key, golden(&file), &manifest.objects[&file]).await;
            if form.is_otlp() {
                expected.insert(format!("/{name}/v1/{signal}"), records(signal));
            }
        }
    }
    assert_eq!((expected.len(), manifest.objects.len()), (18, 21));
    let prefixes: Vec<String> = names
        .iter()
        .map(|(_, name)| format!(", s3_prefix: {name}, s3_partition_format: '%d'"))
        .collect();
    let from: Vec<super::From<'_>> = names
        .iter()
        .zip(&prefixes)
        .map(|((_, name), prefix)| (&**name, BUCKET, &**prefix, ""))
        .collect();
    let gateway = Gateway::start(&reads(&s3, &peer, DAY, &from, "")).await;
    until("all have come out", || peer.taken().len() >= expected.len()).await;
    let is_listed = |seen: &objects::test_kit::Seen| seen.query.contains("prefix=body-zstd%2F03%2Flogs_");
    until("lines were looked at", || s3.requests().iter().any(is_listed)).await;
    gateway.stop().await;
    let taken = peer.taken();
    assert_eq!(taken.len(), expected.len());
    let taken = taken.into_iter().map(|one| (one.path, one.message.to_vec()));
    let (found, expected) = (shown(taken), shown(expected));
    for (path, text) in &expected {
        assert!(found[path] == *text, "{path}: {} is not {text}", found[path]);
    }
}

#[tokio::test]
async fn what_the_collector_wrote_is_written() {
    let manifest = manifest();
    for form in forms() {
        let s3 = store().await;
        let uploader = format!(", compression: {}", form.compression);
        let yaml = writes(&s3, &uploader, &format!("marshaler: {}", form.marshaler));
        let gateway = Gateway::start(&yaml).await;
        for signal in form.signals() {
            send(&gateway, &format!("/v1/{signal}"), &records(signal)).await;
        }
        gateway.stop().await;
        let objects = objects(&s3, BUCKET).await;
        for signal in form.signals() {
            let file = form.file(signal);
            let of_signal = |key: &&String| key.contains(&format!("/{signal}_"));
            let keys: Vec<&String> = objects.keys().filter(of_signal).collect();
            let [key] = keys[..] else {
                panic!("{file}: one object: {keys:?}")
            };
            let seen = s3.requests().into_iter();
            let mut seen = seen.filter(|seen| seen.method == Method::PUT && seen.path.ends_with(key));
            let seen = seen.next().expect("it was put");
            let headers = seen.headers.iter();
            let headers = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
            assert_eq!(Told::of(key, headers).steady(), manifest.objects[&file], "{file}");
            let (written, theirs) = (form.inflated(&objects[key]), form.inflated(&golden(&file)));
            if form.marshaler == "otlp_json" {
                let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
                assert_eq!(json(&written), json(&theirs), "{file}");
            } else {
                assert!(written == theirs, "{file}");
            }
        }
        assert_eq!(objects.len(), form.signals().len(), "{:?}", objects.keys());
    }
}

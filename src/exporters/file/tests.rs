use std::fs;
use std::path::Path;

use component::test_kit::{Lonely, context, faults, section};
use wire::Limits;

use super::*;

component::component_tests!(FACTORY, "path: /dev/null");

/// `{"resourceLogs":[{"resource":{},"schemaUrl":"<url>"}]}` in protobuf.
fn request(url: &str) -> Bytes {
    let mut group = vec![0x1a, url.len() as u8];
    group.extend_from_slice(url.as_bytes());
    let mut out = vec![0x0a, group.len() as u8];
    out.extend_from_slice(&group);
    out.into()
}

fn payload(urls: &[&str]) -> Payload {
    let chunks: Vec<Chunk> = urls
        .iter()
        .map(|url| {
            let bytes = request(url);
            let shape = wire::validate(Signal::Logs, &bytes, &Limits::default()).unwrap();
            Chunk::new(bytes, shape)
        })
        .collect();
    Payload {
        signal: Signal::Logs,
        chunks,
        items: 0,
        context: Arc::new(Context::default()),
    }
}

fn build(yaml: &str) -> Arc<dyn Push> {
    match (FACTORY.build)(section(yaml), &context("file")) {
        Ok(Exporter::Push(push)) => push,
        Ok(_) => panic!("not a push"),
        Err(fault) => panic!("{fault}"),
    }
}

/// What is in `path` after the batches were exported one after another.
async fn exported(path: &Path, keys: &str, batches: &[Payload]) -> Vec<u8> {
    let file = build(&format!("path: {}\n{keys}", path.display()));
    file.start(Arc::new(Lonely::default())).await.unwrap();
    for batch in batches {
        assert_eq!(file.export(batch).await.unwrap(), Outcome::all());
    }
    file.stop().await;
    fs::read(path).unwrap()
}

#[test]
fn defaults_match_otelcol() {
    let config: Config = section("path: x").parse().unwrap();
    assert_eq!(
        config,
        Config {
            path: "x".into(),
            ..Config::default()
        }
    );
    assert!(config.rotation.get().is_none());
    let config: Config = section("rotation:").parse().unwrap();
    assert_eq!(config.rotation.get(), Some(&Rotation::default()));
}

#[test]
fn tells_every_fault() {
    #[track_caller]
    fn check(yaml: &str, expected: &[&str]) {
        let told = faults((FACTORY.build)(section(yaml), &context("file")).map(|_| ()));
        for text in expected {
            assert!(told.contains(text), "{told}");
        }
    }
    check("{}", &["path must be non-empty"]);
    check(
        "path: ''\ngroup_by: {enabled: true}",
        &["path must be non-empty", "group_by is not supported yet"],
    );
    check(
        "path: x\nappend: true\nrotation: {}",
        &["append and rotation enabled at the same time"],
    );
    check(
        "path: x\nappend: true\ncompression: zstd",
        &["append and compression enabled at the same time"],
    );
    check("path: x\ncompression: gzip", &["compression"]);
    check("path: x\nformat: xml", &["format"]);
    check("path: x\ncompression_params: {level: 23}", &["between 1 and 22"]);
    check("path: x\nencoding: text", &["not supported yet"]);
    check("path: x\ndirectory_permissions: rwx", &["octal"]);
    check("path: x\nrotation: {localtime: true}", &["UTC"]);
    check("path: x\nrotation: {max_megabytes: 0}", &["above 0"]);
}

#[tokio::test]
async fn json_is_one_document_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let got = exported(
        &dir.path().join("f"),
        "",
        &[payload(&["a"]), payload(&["b", "c"])],
    )
    .await;
    assert_eq!(
        String::from_utf8(got).unwrap(),
        concat!(
            "{\"resourceLogs\":[{\"resource\":{},\"schemaUrl\":\"a\"}]}\n",
            "{\"resourceLogs\":[{\"resource\":{},\"schemaUrl\":\"b\"},{\"resource\":{},\"schemaUrl\":\"c\"}]}\n",
        )
    );
}

/// Messages behind 4-byte lengths.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let (message, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
        all.push(message.to_vec());
        bytes = rest;
    }
    all
}

#[tokio::test]
async fn proto_and_compressed_have_lengths() {
    let dir = tempfile::tempdir().unwrap();
    let batches = [payload(&["a"]), payload(&["b", "c"])];
    let plain = exported(&dir.path().join("p"), "format: proto", &batches).await;
    let expected: Vec<Vec<u8>> = batches.iter().map(|b| b.to_bytes().to_vec()).collect();
    assert_eq!(frames(&plain), expected);

    let small = exported(
        &dir.path().join("z"),
        "format: proto\ncompression: zstd",
        &batches,
    )
    .await;
    let inflate = |frame: Vec<u8>| zstd::bulk::decompress(&frame, 1000).unwrap();
    assert_eq!(
        frames(&small).into_iter().map(inflate).collect::<Vec<_>>(),
        expected
    );

    let json = exported(&dir.path().join("j"), "compression: zstd", &batches[..1]).await;
    let json = inflate(frames(&json).remove(0));
    assert_eq!(
        json,
        b"{\"resourceLogs\":[{\"resource\":{},\"schemaUrl\":\"a\"}]}"
    );
}

#[tokio::test]
async fn empties_or_keeps_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made").join("here").join("f");
    let keys = "create_directory: true\ndirectory_permissions: '0700'\nfsync: batch";
    let once = exported(&path, keys, &[payload(&["a"])]).await;
    assert_eq!(exported(&path, keys, &[payload(&["a"])]).await, once);
    let twice = exported(&path, "append: true", &[payload(&["a"])]).await;
    assert_eq!(twice, [once.as_slice(), once.as_slice()].concat());
}

#[tokio::test]
async fn a_second_writer_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = format!("path: {}", dir.path().join("f").display());
    let (first, second) = (build(&yaml), build(&yaml));
    first.start(Arc::new(Lonely::default())).await.unwrap();
    let fault = second.start(Arc::new(Lonely::default())).await.unwrap_err();
    assert!(
        fault.to_string().contains("another process writes to it"),
        "{fault}"
    );
    first.stop().await;
    second.start(Arc::new(Lonely::default())).await.unwrap();
}

#[tokio::test]
async fn a_missing_directory_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let file = build(&format!("path: {}", dir.path().join("no").join("f").display()));
    let fault = file.start(Arc::new(Lonely::default())).await.unwrap_err();
    assert!(fault.to_string().starts_with("cannot open "), "{fault}");
    assert!(matches!(
        file.export(&payload(&["a"])).await,
        Err(ExportError::Retry { .. })
    ));
}

#[tokio::test]
async fn a_full_disk_is_tried_again() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let file = build("path: /dev/full");
    file.start(Arc::new(Lonely::default())).await.unwrap();
    assert!(matches!(
        file.export(&payload(&["a"])).await,
        Err(ExportError::Retry { .. })
    ));
    file.stop().await;
}

#[tokio::test]
async fn full_files_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.bin");
    let big = "x".repeat(100);
    let many: Vec<&str> = vec![&big; 6000];
    // Three batches of 624 KB: the second and the third do not fit beside the one before.
    let batch = payload(&many);
    let keys = "format: proto\nrotation: {max_megabytes: 1, max_backups: 1}";
    let last = exported(&path, keys, &[batch.clone(), batch.clone(), batch.clone()]).await;
    assert_eq!(frames(&last).len(), 1);
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, 2, "the current one and one full one");
}

fn of_tenant(tenant: Option<&str>, url: &str) -> Payload {
    let mut payload = payload(&[url]);
    payload.chunks[0].origin.tenant = tenant.map(Into::into);
    payload
}

#[tokio::test]
async fn a_tenant_has_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("%{tenant}/logs.json");
    let keys = format!("path: {}\nappend: true\ncreate_directory: true", path.display());
    let file = build(&keys);
    assert!(file.by_tenant());
    file.start(Arc::new(Lonely::default())).await.unwrap();
    for (tenant, url) in [(Some("a"), "1"), (None, "2"), (Some("b"), "3"), (Some("a"), "4")] {
        assert_eq!(
            file.export(&of_tenant(tenant, url)).await.unwrap(),
            Outcome::all()
        );
    }
    // More than are open at once; each is opened again where it ended.
    for round in ["5", "6"] {
        for n in 0..120 {
            let name = format!("t{n}");
            file.export(&of_tenant(Some(&name), round)).await.unwrap();
        }
    }
    file.stop().await;
    let read = |tenant: &str| {
        let text = fs::read_to_string(dir.path().join(tenant).join("logs.json")).unwrap();
        let urls = text
            .lines()
            .map(|line| line.split('"').rev().nth(1).unwrap_or("").to_owned());
        urls.collect::<Vec<_>>()
    };
    assert_eq!(
        (read("a"), read("b"), read("default")),
        (vec!["1".into(), "4".into()], vec!["3".into()], vec!["2".into()])
    );
    for n in 0..120 {
        assert_eq!(read(&format!("t{n}")), ["5", "6"]);
    }
    let mut mixed = of_tenant(Some("a"), "7");
    mixed.chunks.extend(of_tenant(Some("b"), "8").chunks);
    assert!(file.export(&mixed).await.is_err());
}

#[test]
fn files_of_tenants_are_not_emptied_and_not_mixed_up() {
    let check = |keys: &str, expected: Option<&str>| {
        let told = (FACTORY.build)(section(keys), &context("file")).map(|_| ());
        match expected {
            Some(text) => assert!(faults(told).contains(text), "{keys}"),
            None => assert!(told.is_ok(), "{keys}"),
        }
    };
    check("path: /x/%{tenant}.json", Some("needs append: true, or rotation"));
    check("{path: '/x/%{tenant}.json', append: true}", None);
    check(
        "{path: '/x/%{tenant}.json', rotation: {}}",
        Some("must be a directory"),
    );
    check("{path: '/x/%{tenant}/a.json', rotation: {}}", None);
}

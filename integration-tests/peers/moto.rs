//! moto, which knows versions and locks as boto sends and reads them: our headers mean to it what they should, and what
//! a gateway archives has them all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use evidence::digest::Digest;
use objects::blocks::S3;
use objects::test_kit::{Administrator, conformance};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::bucket::{Archive, bucket_at, send};
use super::installed;
use super::moto_server::moto;

#[tokio::test(flavor = "multi_thread")]
async fn locks_and_versions_are_understood() {
    let Some(program) = installed("venv/bin/moto_server") else {
        return;
    };
    let (_moto, port) = moto(program, &[]).await;
    let anybody = bucket_at(port, "", "anybody", "anything");
    conformance::shows_locks(&anybody, &anybody).await;
}

/// A door in front of moto 5.2.5, whose answer about versions has another name than Amazon's: no client that looks at it
/// can read it. Gives the door's port.
async fn mended(moto: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", moto)).await?;
                let (mut from, mut to) = client.split();
                let (mut back, mut on) = server.split();
                let ask = async {
                    let _ = tokio::io::copy(&mut from, &mut on).await;
                    std::future::pending::<()>().await;
                };
                let answer = async {
                    // It answers once and closes.
                    let mut answer = Vec::new();
                    back.read_to_end(&mut answer).await?;
                    while let Some(at) = memchr::memmem::find(&answer, b"GetBucketVersioningResponse") {
                        // As long as before, so that the length still holds.
                        answer[at..at + 27].copy_from_slice(b"VersioningConfiguration    ");
                    }
                    to.write_all(&answer).await
                };
                tokio::select! {
                    () = ask => Ok(()),
                    answered = answer => answered,
                }
            });
        }
    });
    port
}

/// A request, as moto wrote it down.
struct Seen {
    key: String,
    headers: BTreeMap<String, String>,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What was put into a bucket.
fn puts(recording: &Path, bucket: &str) -> Vec<Seen> {
    let lines = fs::read_to_string(recording).unwrap();
    let requests = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let puts = requests.filter_map(|request| {
        let url = request["url"].as_str()?.to_owned();
        let key = url
            .split(&format!("/{bucket}/"))
            .nth(1)?
            .split('?')
            .next()?
            .replace("%3D", "=");
        let headers = request["headers"].as_object()?.iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (request["method"] == "PUT" && !key.is_empty()).then(|| Seen {
            key,
            headers: headers
                .map(|(name, value)| (name.to_lowercase(), text(value)))
                .collect(),
        })
    });
    puts.collect()
}

/// Midnight after these days from now on, as a lock's end.
fn midnight(days: i64) -> String {
    let end = jiff::Timestamp::now().as_second() + days * 86_400;
    let end = end.div_euclid(86_400) + 1;
    jiff::Timestamp::from_second(end * 86_400).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_archives_has_its_headers() {
    let Some(program) = installed("venv/bin/moto_server") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("requests");
    let environment = [
        ("MOTO_ENABLE_RECORDING", "true"),
        ("MOTO_RECORDER_FILEPATH", recording.to_str().unwrap()),
    ];
    let (_moto, port) = moto(program, &environment).await;
    let anybody = bucket_at(mended(port).await, "", "anybody", "anything");
    let plain = ("AES256", "", "");
    let kms = (
        "aws:kms",
        "arn:aws:kms:eu-central-1:111122223333:key/k",
        ", kms_key_id: 'arn:aws:kms:eu-central-1:111122223333:key/k', bucket_key: true, context: {of: logs}",
    );
    for (n, (mode, hold, (sse, key_id, more))) in [("COMPLIANCE", "", plain), ("GOVERNANCE", "ON", kms)]
        .into_iter()
        .enumerate()
    {
        let bucket = format!("weir-locked-{n}");
        let at = S3 {
            bucket: bucket.clone(),
            ..anybody.clone()
        };
        Administrator::of(&at).await.make_bucket(true).await;
        let lock = format!("{{mode: {mode}, retention: 2d, legal_hold: {}}}", hold == "ON");
        let more = format!(", storage_class: STANDARD_IA, tags: {{of: logs}}, sse: {{type: '{sse}'{more}}}");
        let archive = Archive::new(&at, &lock, &more);
        let ends = [midnight(2), midnight(32)];
        archive.found().await;
        let mut gateway = archive.serve().await;
        send(&gateway, "acme").await;
        gateway.stop().await;
        let (exit, listed, said) = archive
            .weir(
                "ls",
                &[
                    "--policy",
                    &archive.at("trust.policy"),
                    "--tenant",
                    "acme",
                    "--json",
                ],
            )
            .await;
        assert_eq!(exit, 0, "{listed}{said}");
        let entry: Value = serde_json::from_str(&listed).expect("one object");
        if ends != [midnight(2), midnight(32)] {
            // Midnight came by.
            continue;
        }

        let puts = puts(&recording, &bucket);
        for part in [
            "data/",
            "/seg/",
            "/cp/",
            "_weir/v1/selftest/",
            "_weir/v1/archive.json",
        ] {
            assert!(puts.iter().any(|put| put.key.contains(part)), "{part}");
        }
        for put in &puts {
            let key = &put.key;
            let check =
                |name: &str, expected: &str| assert_eq!(put.header(name), expected, "{name} of {key}");
            check("if-none-match", "*");
            check("x-amz-sdk-checksum-algorithm", "SHA256");
            assert_eq!(put.header("x-amz-checksum-sha256").len(), 44, "{key}");
            // A digest behind the body would be too late to refuse it.
            check("x-amz-trailer", "");
            check("content-encoding", "");
            check("x-amz-server-side-encryption", sse);
            check("x-amz-server-side-encryption-aws-kms-key-id", key_id);
            // The context is a document in base64.
            let (bucket_key, context) = match key_id {
                "" => ("", ""),
                _ => ("true", "eyJvZiI6ImxvZ3MifQ=="),
            };
            check("x-amz-server-side-encryption-bucket-key-enabled", bucket_key);
            check("x-amz-server-side-encryption-context", context);
            check("x-amz-storage-class", "STANDARD_IA");
            check("x-amz-tagging", "of=logs");
        }
        let under = |part: &str| {
            puts.iter()
                .filter(move |put| put.key.contains(part))
                .collect::<Vec<_>>()
        };
        for put in [under("data/"), under("/log/")].concat() {
            let key = &put.key;
            // What the gateway says of itself is kept as long as the log.
            let is_data = key.contains("tenant=acme");
            assert_eq!(put.header("x-amz-object-lock-mode"), mode, "{key}");
            assert_eq!(
                put.header("x-amz-object-lock-retain-until-date"),
                ends[usize::from(!is_data)],
                "{key}"
            );
            if is_data {
                assert_eq!(put.header("x-amz-object-lock-legal-hold"), hold, "{key}");
                assert_eq!(put.header("content-type"), "application/x-protobuf", "{key}");
            }
        }
        // It says which entry names it, and the digest is the entry's.
        let data = under("tenant=acme");
        let [data] = data.as_slice() else {
            panic!("one object, not {}", data.len());
        };
        assert_eq!(entry["key"], data.key);
        let digest: Digest = entry["sha256"].as_str().unwrap().parse().unwrap();
        assert_eq!(data.header("x-amz-checksum-sha256"), digest.to_base64());
        assert_eq!(data.header("x-amz-meta-weir-seq"), entry["seq"].to_string());
        assert!(
            data.header("x-amz-meta-weir-origin")
                .starts_with("example/prod/gw-0/")
        );
        assert_eq!(entry["lock"]["until"], ends[0]);
    }
}

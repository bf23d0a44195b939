//! Buckets through the whole gateway: what exporter `awss3` wrote receiver `awss3` reads again, each resource lies where
//! it says itself, and whatever the store answers, no record is lost or written twice.

mod goldens;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use http::Method;
use objects::blocks::Store;
use objects::test_kit::{Bucket, FakeS3, Fault, WRITER};
use objects::{Body, Put};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use telemetry::{Column, Node, Place};
use wire::Signal;

use crate::support::client::{self, Grpc, LOGS, frame};
use crate::support::gateway::Gateway;
use crate::support::peer::{Answer, Peer};
use crate::support::{sample, until};

pub const BUCKET: &str = "telemetry";
const FAST: &str = "retry_on_failure: {initial_interval: 10ms, max_interval: 20ms, max_elapsed_time: 60s}";

async fn store() -> FakeS3 {
    let s3 = FakeS3::start().await;
    s3.add(BUCKET, Bucket::plain());
    s3
}

/// How a store is reached, as keys of `s3uploader` and `s3downloader`.
pub fn at(s3: &FakeS3, bucket: &str) -> String {
    format!(
        "endpoint: '{}', s3_force_path_style: true, s3_bucket: {bucket}, s3_partition_timezone: UTC, \
         auth: {{access_key_id: {WRITER}, secret_access_key: secret}}",
        s3.endpoint()
    )
}

/// A gateway that writes into a bucket: more keys of `s3uploader`, and more of the exporter.
fn writes(s3: &FakeS3, uploader: &str, more: &str) -> String {
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{{grpc}}'}}
      http: {{endpoint: '127.0.0.1:{{http}}'}}
exporters:
  awss3: {{s3uploader: {{{}{uploader}}}, {more}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [awss3]}}
    traces: {{receivers: [otlp], exporters: [awss3]}}
    metrics: {{receivers: [otlp], exporters: [awss3]}}
",
        at(s3, BUCKET)
    )
}

/// Something to read: its name and path, bucket, more keys of `s3downloader`, and more of the receiver.
pub type From<'a> = (&'a str, &'a str, &'a str, &'a str);

/// A gateway that hands on what is in buckets to paths of a peer; `directory`: of its storage, if it has one.
pub fn reads(s3: &FakeS3, peer: &Peer, range: &str, from: &[From<'_>], directory: &str) -> String {
    let (mut receivers, mut exporters, mut pipelines) = (String::new(), String::new(), String::new());
    for (name, bucket, downloader, more) in from {
        receivers += &format!(
            "  awss3/{name}: {{{range}, s3downloader: {{{}{downloader}}}{more}}}\n",
            at(s3, bucket)
        );
        exporters += &format!(
            "  otlp_http/{name}: {{endpoint: 'http://{}/{name}', compression: none, sending_queue: {{enabled: false}}}}\n",
            peer.addr
        );
        for signal in ["logs", "traces", "metrics"] {
            pipelines += &format!(
                "    {signal}/{name}: {{receivers: [awss3/{name}], exporters: [otlp_http/{name}]}}\n"
            );
        }
    }
    let (blocks, ids) = match directory {
        "" => (String::new(), ""),
        directory => (
            format!("extensions:\n  file_storage: {{directory: '{directory}', create_directory: true}}\n"),
            "  extensions: [file_storage]\n",
        ),
    };
    format!(
        "{blocks}receivers:\n{receivers}exporters:\n{exporters}service:\n{ids}  telemetry: {{metrics: {{level: none}}}}\n  \
         pipelines:\n{pipelines}"
    )
}

/// From a minute ago on, for eleven.
pub fn now() -> String {
    let now = jiff::Timestamp::now().as_second();
    let text = |seconds| jiff::Timestamp::from_second(seconds).unwrap().to_string();
    format!("starttime: '{}', endtime: '{}'", text(now - 60), text(now + 600))
}

/// What lies in a bucket: keys and bytes.
pub async fn objects(s3: &FakeS3, bucket: &str) -> BTreeMap<String, Vec<u8>> {
    let opened = Store {
        s3: Some(s3.config(bucket)),
        file: None,
    };
    let opened = opened.open().await.unwrap();
    let (mut all, mut after) = (BTreeMap::new(), String::new());
    loop {
        let page = opened.list("", &after).await.unwrap();
        let Some(last) = page.last() else { return all };
        after.clone_from(&last.key);
        for listed in &page {
            let read = opened.get(&listed.key, None).await.unwrap();
            let bytes = read.body.collect(1 << 20).await.unwrap();
            all.insert(listed.key.clone(), bytes.to_vec());
        }
    }
}

/// The three signals as requests, by path.
fn requests() -> [(&'static str, Vec<u8>); 3] {
    [
        ("/v1/logs", sample::logs(5).encode_to_vec()),
        ("/v1/traces", sample::traces(4).encode_to_vec()),
        ("/v1/metrics", sample::metrics().encode_to_vec()),
    ]
}

async fn send(gateway: &Gateway, path: &str, body: &[u8]) {
    let answer = client::post_otlp(gateway.http, path, body).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

/// Requests as text, by path: an order of fields says nothing.
fn shown(requests: impl IntoIterator<Item = (String, Vec<u8>)>) -> BTreeMap<String, String> {
    let text = |(path, body): (String, Vec<u8>)| {
        let text = match path.rsplit('/').next() {
            Some("logs") => format!("{:#?}", ExportLogsServiceRequest::decode(&body[..]).unwrap()),
            Some("traces") => format!("{:#?}", ExportTraceServiceRequest::decode(&body[..]).unwrap()),
            _ => format!("{:#?}", ExportMetricsServiceRequest::decode(&body[..]).unwrap()),
        };
        (path, text)
    };
    requests.into_iter().map(text).collect()
}

#[tokio::test]
async fn what_goes_into_a_bucket_comes_out_of_it_again() {
    for (marshaler, compression, ending) in [
        ("otlp_proto", "", ".binpb"),
        ("otlp_proto", ", compression: zstd", ".binpb.zst"),
        ("otlp_json", ", compression: gzip", ".json.gz"),
        ("otlp_json", "", ".json"),
    ] {
        let (s3, peer) = (store().await, Peer::start().await);
        let uploader = format!("{compression}, s3_base_prefix: base, s3_prefix: own, file_prefix: f-");
        let gateway = Gateway::start(&writes(&s3, &uploader, &format!("marshaler: {marshaler}"))).await;
        let range = now();
        for (path, body) in &requests() {
            send(&gateway, path, body).await;
        }
        gateway.stop().await;
        let keys: Vec<String> = objects(&s3, BUCKET).await.into_keys().collect();
        assert_eq!(keys.len(), 3, "{keys:?}");
        for key in &keys {
            assert!(
                key.starts_with("base/own/year=") && key.ends_with(ending),
                "{key}"
            );
        }

        let downloader = ", s3_prefix: base/own, file_prefix: f-";
        let gateway =
            Gateway::start(&reads(&s3, &peer, &range, &[("all", BUCKET, downloader, "")], "")).await;
        until("all three have come out", || peer.taken().len() == 3).await;
        let taken = peer
            .taken()
            .into_iter()
            .map(|one| (one.path, one.message.to_vec()));
        let (found, sent) = (
            shown(taken),
            requests().map(|(path, body)| (format!("/all{path}"), body)),
        );
        for (path, text) in shown(sent) {
            assert!(found[&path] == text, "{marshaler}{compression}: {path}");
        }
        let door = Place::Door {
            receiver: "awss3/all".into(),
            transport: "s3",
        };
        until("the last is booked", || {
            gateway.books(door.clone(), Signal::Logs).accepted() == 5
        })
        .await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn bodies_are_lines_and_no_otlp() {
    let (s3, peer) = (store().await, Peer::start().await);
    let yaml = writes(
        &s3,
        ", s3_partition_format: d, compression: gzip",
        "marshaler: body",
    );
    let gateway = Gateway::start(&yaml).await;
    let mut logs = sample::logs(3);
    logs.resource_logs[0].scope_logs[0].log_records.remove(1);
    send(&gateway, "/v1/logs", &logs.encode_to_vec()).await;
    // What is no log has no body: refused for good, and said.
    let answer = client::post_otlp(gateway.http, "/v1/traces", &sample::traces(2).encode_to_vec()).await;
    assert_eq!(answer.status, 404);
    let books = gateway.books(exporter(), Signal::Traces);
    assert_eq!((books.refused(), books.get(Column::Out)), (2, 0));
    gateway.stop().await;
    let found = objects(&s3, BUCKET).await;
    let [(key, bytes)] = found.iter().collect::<Vec<_>>()[..] else {
        panic!("one object: {:?}", found.keys())
    };
    assert!(key.starts_with("d/logs_") && key.ends_with(".txt.gz"), "{key}");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text).unwrap();
    assert_eq!(text, "line 0\n2\n");
    let range = "starttime: 2026-02-03, endtime: 2026-02-04";
    let yaml = reads(
        &s3,
        &peer,
        range,
        &[("all", BUCKET, ", s3_partition_format: d", "")],
        "",
    );
    let gateway = Gateway::start(&yaml).await;
    let is_listed = |seen: &objects::test_kit::Seen| seen.query.contains("prefix=d%2Ftraces_");
    until("it has looked", || s3.requests().iter().any(is_listed)).await;
    gateway.stop().await;
    assert_eq!(peer.received().len(), 0);
}

/// A resource of so many records, with where it goes.
fn group(logs: &mut ExportLogsServiceRequest, bucket: &str, prefix: &str, records: u64) {
    let mut group = sample::logs(records).resource_logs.remove(0);
    let named = [("to.bucket", bucket), ("to.prefix", prefix)].into_iter();
    let named = named.filter(|(_, value)| !value.is_empty());
    let attributes = named.map(|(key, value)| sample::attr(key, sample::text(value)));
    group.resource.as_mut().unwrap().attributes = attributes.collect();
    logs.resource_logs.push(group);
}

/// Records by the bucket and prefix that their resources name.
fn places(logs: &ExportLogsServiceRequest) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for group in &logs.resource_logs {
        let attributes = &group.resource.as_ref().unwrap().attributes;
        let text = |key: &str| {
            let found = attributes.iter().find(|a| a.key == key);
            found.map_or(String::new(), |a| {
                format!("{:?}", a.value.as_ref().unwrap().value)
            })
        };
        let records: usize = group.scope_logs.iter().map(|s| s.log_records.len()).sum();
        *all.entry(text("to.bucket") + &text("to.prefix")).or_default() += records;
    }
    all
}

const ROUTED: &str =
    "marshaler: otlp_proto, resource_attrs_to_s3: {s3_bucket: to.bucket, s3_prefix: to.prefix}";

#[tokio::test]
async fn tenants_of_one_batch_lie_apart_and_come_out_apart() {
    let (s3, peer) = (store().await, Peer::start().await);
    s3.add("acme-logs", Bucket::plain());
    s3.add("umbrella-logs", Bucket::plain());
    // Two requests of three tenants each become one batch, before it is divided.
    let batch = "sending_queue: {batch: {flush_timeout: 10m, min_size: 21}}";
    let gateway = Gateway::start(&writes(&s3, "", &format!("{ROUTED}, {batch}"))).await;
    let range = now();
    let (mut one, mut two) = Default::default();
    group(&mut one, "acme-logs", "", 1);
    group(&mut one, "umbrella-logs", "x", 2);
    group(&mut one, "", "", 3);
    group(&mut two, "", "", 4);
    group(&mut two, "umbrella-logs", "x", 5);
    group(&mut two, "acme-logs", "", 6);
    send(&gateway, "/v1/logs", &one.encode_to_vec()).await;
    send(&gateway, "/v1/logs", &two.encode_to_vec()).await;
    let delivered = || gateway.books(exporter(), Signal::Logs).get(Column::Out);
    until("all is written", || delivered() == 21).await;
    gateway.stop().await;
    let expected = [
        ("acme-logs", "year=", 7, r#"Some(StringValue("acme-logs"))"#),
        (
            "umbrella-logs",
            "x/year=",
            7,
            r#"Some(StringValue("umbrella-logs"))Some(StringValue("x"))"#,
        ),
        (BUCKET, "year=", 7, ""),
    ];
    for (bucket, prefix, records, place) in expected {
        let found = objects(&s3, bucket).await;
        let [(key, bytes)] = found.iter().collect::<Vec<_>>()[..] else {
            panic!("one object: {:?}", found.keys())
        };
        assert!(key.starts_with(prefix), "{key}");
        let logs = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
        assert_eq!(places(&logs), BTreeMap::from([(place.to_owned(), records)]));
    }

    let names = [
        ("acme", "acme-logs", "", ""),
        ("umbrella", "umbrella-logs", ", s3_prefix: x", ""),
        ("rest", BUCKET, "", ""),
    ];
    let yaml = reads(&s3, &peer, &range, &names, "");
    let gateway = Gateway::start(&yaml).await;
    until("all three have come out", || peer.taken().len() == 3).await;
    for (name, place) in [("acme", expected[0].3), ("umbrella", expected[1].3), ("rest", "")] {
        let taken = peer.taken().into_iter();
        let mut taken = taken.filter(|one| one.path == format!("/{name}/v1/logs"));
        let logs = ExportLogsServiceRequest::decode(taken.next().unwrap().message).unwrap();
        assert_eq!(places(&logs), BTreeMap::from([(place.to_owned(), 7)]));
    }
    gateway.stop().await;
}

/// `configs/awss3.yaml` as it is, but for its places, its credentials and its patience.
#[tokio::test]
async fn the_example_writes_what_is_safe_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = store().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/awss3.yaml");
    let mut text = fs::read_to_string(path).unwrap();
    let auth = format!("auth: {{access_key_id: {WRITER}, secret_access_key: secret}}");
    for (from, to) in [
        (
            "${env:WEIR_STORAGE:-/var/lib/weir/journal}",
            folder.path().display().to_string(),
        ),
        ("${env:WEIR_S3_ENDPOINT:-http://127.0.0.1:9000}", s3.endpoint()),
        ("127.0.0.1:4317", "127.0.0.1:{grpc}".to_owned()),
        ("127.0.0.1:4318", "127.0.0.1:{http}".to_owned()),
        (
            "      compression: zstd\n",
            format!("      compression: zstd\n      {auth}\n"),
        ),
        ("flush_timeout: 10s", "flush_timeout: 50ms".to_owned()),
        (
            "\nservice:\n",
            "\nservice:\n  telemetry: {metrics: {level: none}}\n".to_owned(),
        ),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    let gateway = Gateway::start(&text).await;
    for (path, body) in &requests() {
        send(&gateway, path, body).await;
    }
    let written = |signal| gateway.books(exporter(), signal).get(Column::Out);
    for (signal, items) in [(Signal::Logs, 5), (Signal::Traces, 4)] {
        until("it is written", || written(signal) == items).await;
    }
    until("it is written", || written(Signal::Metrics) > 0).await;
    gateway.stop().await;
    let found = objects(&s3, BUCKET).await.into_iter();
    let plain = |(key, bytes): (String, Vec<u8>)| {
        let (folder, name) = key.rsplit_once('/').unwrap();
        assert!(
            folder.starts_with("gateway/year=") && folder.contains("/minute="),
            "{key}"
        );
        let (signal, rest) = name.split_once('_').unwrap();
        assert_eq!((rest.len(), &rest[36..]), (46, ".binpb.zst"), "{key}");
        (format!("/v1/{signal}"), zstd::decode_all(&bytes[..]).unwrap())
    };
    let expected = requests().map(|(path, body)| (path.to_owned(), body));
    assert_eq!(
        found.map(plain).collect::<BTreeMap<_, _>>(),
        BTreeMap::from(expected)
    );
}

fn exporter() -> Place {
    Place::Node(Node::Exporter("awss3".into()))
}

/// What a request of two records comes to.
#[derive(Debug, PartialEq, Eq)]
struct Ending {
    /// The client's answer, as gRPC says it.
    code: u8,
    /// Times that an object was put, to how many keys, and objects that are there.
    puts: usize,
    keys: usize,
    objects: usize,
    delivered: u64,
    failed: u64,
}

/// What becomes of a request if the first upload goes this way.
async fn ending(fault: Fault, more: &str) -> Ending {
    let s3 = store().await;
    let gateway = Gateway::start(&writes(&s3, "", &format!("{FAST}, {more}"))).await;
    s3.script(Method::PUT, "/logs_", fault);
    let body = frame(0, &sample::logs(2).encode_to_vec());
    let grpc = Grpc::connect(gateway.grpc).await;
    let answer = grpc.call(LOGS, body, &[("grpc-timeout", "19S")], true).await;
    let books = || gateway.books(exporter(), Signal::Logs);
    until("nothing is owed", || {
        books().held() == 0 && books().get(Column::In) == books().sinks()
    })
    .await;
    let books = books();
    gateway.stop().await;
    let requests = s3.requests().into_iter();
    let puts: Vec<String> = requests
        .filter(|seen| seen.method == Method::PUT)
        .map(|seen| seen.path)
        .collect();
    Ending {
        code: answer.code,
        puts: puts.len(),
        keys: puts.iter().collect::<BTreeSet<_>>().len(),
        objects: objects(&s3, BUCKET).await.len(),
        delivered: books.get(Column::Out),
        failed: books.failed_all(),
    }
}

fn answer(status: u16, code: &'static str) -> Fault {
    Fault::Answer(status, code, Vec::new())
}

const PATIENT: &str = "timeout: 60s";
const QUEUED: &str = "timeout: 60s, sending_queue: {queue_size: 10}";

#[tokio::test]
async fn what_may_pass_is_written_once_under_one_key() {
    for fault in [
        answer(500, "InternalError"),
        answer(502, ""),
        answer(503, "SlowDown"),
        answer(503, "ServiceUnavailable"),
        answer(504, ""),
        answer(429, ""),
        answer(400, "RequestTimeout"),
        answer(400, "BadDigest"),
        answer(403, "RequestTimeTooSkewed"),
        answer(409, "ConditionalRequestConflict"),
        answer(409, "OperationAborted"),
        // Somebody says that it is there, and it is not.
        answer(412, "PreconditionFailed"),
        // The connection is cut, before it is written and after.
        Fault::Drop,
        Fault::DoThenDrop,
        Fault::DoThenAnswer(500, "InternalError"),
        Fault::DoThenAnswer(503, ""),
    ] {
        let expected = Ending {
            code: 0,
            puts: 2,
            keys: 1,
            objects: 1,
            delivered: 2,
            failed: 0,
        };
        assert_eq!(ending(fault.clone(), PATIENT).await, expected, "{fault:?}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let ended = ending(Fault::Hang, "timeout: 3s").await;
    assert!(ended.puts >= 2, "{ended:?}");
    let expected = Ending {
        code: 0,
        puts: ended.puts,
        keys: 1,
        objects: 1,
        delivered: 2,
        failed: 0,
    };
    assert_eq!(ended, expected);
}

#[tokio::test]
async fn credentials_and_settings_lose_nothing() {
    let region = vec![("x-amz-bucket-region", "eu-central-1".to_owned())];
    for fault in [
        answer(403, "AccessDenied"),
        answer(403, ""),
        answer(403, "InvalidAccessKeyId"),
        answer(403, "SignatureDoesNotMatch"),
        answer(400, "ExpiredToken"),
        answer(404, "NoSuchBucket"),
        answer(400, "AuthorizationHeaderMalformed"),
        Fault::Answer(301, "PermanentRedirect", region),
    ] {
        // It waits for longer than this client: who is told to come again, and nothing is booked as lost.
        let expected = Ending {
            code: 14,
            puts: 1,
            keys: 1,
            objects: 0,
            delivered: 0,
            failed: 0,
        };
        assert_eq!(ending(fault.clone(), PATIENT).await, expected, "{fault:?}");
    }
}

#[tokio::test]
async fn what_can_never_be_is_rejected_and_what_is_too_large_is_halved() {
    for (fault, more, expected) in [
        // Who waits for the answer is told, and keeps what is refused.
        (answer(400, "InvalidArgument"), PATIENT, [3, 1, 1, 0, 0, 0]),
        // Who was answered before has nobody but the books to say it.
        (answer(400, "InvalidArgument"), QUEUED, [0, 1, 1, 0, 0, 2]),
        (
            answer(403, "AccessDenied"),
            "on_auth_error: reject",
            [3, 1, 1, 0, 0, 0],
        ),
        (answer(400, "EntityTooLarge"), PATIENT, [0, 3, 3, 2, 2, 0]),
        (answer(413, ""), PATIENT, [0, 3, 3, 2, 2, 0]),
    ] {
        let ended = ending(fault.clone(), more).await;
        let found = [
            u64::from(ended.code),
            ended.puts as u64,
            ended.keys as u64,
            ended.objects as u64,
            ended.delivered,
            ended.failed,
        ];
        assert_eq!(found, expected, "{fault:?}");
    }
}

#[tokio::test]
async fn one_tenants_bucket_that_is_busy_keeps_nobody_else_waiting() {
    let s3 = store().await;
    s3.add("acme-logs", Bucket::plain());
    let gateway = Gateway::start(&writes(&s3, "", &format!("{FAST}, {PATIENT}, {ROUTED}"))).await;
    s3.script(Method::PUT, "/acme-logs/", answer(503, "SlowDown"));
    let mut logs = Default::default();
    group(&mut logs, "acme-logs", "", 1);
    group(&mut logs, "", "", 2);
    group(&mut logs, "no_bucket", "", 3);
    let answer = client::post_otlp(gateway.http, "/v1/logs", &logs.encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    let books = gateway.books(exporter(), Signal::Logs);
    assert_eq!((books.get(Column::Out), books.failed_all()), (3, 3));
    gateway.stop().await;
    let puts = s3
        .requests()
        .into_iter()
        .filter(|seen| seen.method == Method::PUT);
    let buckets: Vec<String> = puts
        .map(|seen| seen.path.split('/').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(buckets, ["acme-logs", BUCKET, "acme-logs"]);
}

/// Puts objects of one record each where a fixed range finds them.
async fn fill(s3: &FakeS3, keys: &[&str]) {
    let opened = Store {
        s3: Some(s3.config(BUCKET)),
        file: None,
    };
    let opened = opened.open().await.unwrap();
    for key in keys {
        let mut logs = sample::logs(1);
        logs.resource_logs[0].scope_logs[0].log_records[0].body = Some(sample::text(key));
        let body = logs.encode_to_vec();
        let mut put = Put::default();
        let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        put.sha256.copy_from_slice(sum.as_ref());
        opened.put(key, Body::Bytes(body.into()), &put).await.unwrap();
    }
}

/// Bodies of the records that a peer took, in order.
fn bodies(peer: &Peer) -> Vec<String> {
    let body = |logs: &ExportLogsServiceRequest| {
        let record = &logs.resource_logs[0].scope_logs[0].log_records[0];
        format!("{:?}", record.body.as_ref().unwrap().value)
    };
    peer.logs().iter().map(body).collect()
}

fn named(keys: &[&str]) -> Vec<String> {
    let value = |key: &&str| format!("{:?}", sample::text(key).value);
    keys.iter().map(value).collect()
}

/// Keys of the objects that the records of each request were read from, as their resources say.
fn marks(peer: &Peer) -> Vec<String> {
    let key = |logs: &ExportLogsServiceRequest| {
        let resource = logs.resource_logs[0].resource.as_ref().unwrap();
        let mut marks = resource.attributes.iter();
        let object = marks
            .find(|attribute| attribute.key == "weir.replay.object")
            .unwrap();
        let value = object.value.as_ref().unwrap().value.clone();
        let Some(Value::StringValue(key)) = value else {
            panic!("no text: {value:?}");
        };
        key
    };
    peer.logs().iter().map(key).collect()
}

const DAY: &str = "starttime: 2026-02-03, endtime: 2026-02-04";
const BY_DAY: &str = ", s3_partition_format: '%d'";

#[tokio::test]
async fn objects_come_in_order_whatever_the_store_answers() {
    let (s3, peer) = (store().await, Peer::start().await);
    let keys: Vec<String> = (0..9).map(|n| format!("03/logs_{n}.binpb")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    fill(&s3, &keys).await;
    // The first listing, the first object, and one that comes after others were fetched.
    s3.script(Method::GET, "/telemetry", answer(503, "SlowDown"));
    s3.script(Method::GET, "/logs_0", Fault::Drop);
    s3.script(Method::GET, "/logs_4", answer(500, "InternalError"));
    // One that is gone is left out.
    s3.script(Method::GET, "/logs_7", answer(404, "NoSuchKey"));
    // So is the pipeline not always ready.
    peer.script([Answer::Http {
        status: 503,
        retry_after: None,
    }]);
    let yaml = reads(
        &s3,
        &peer,
        DAY,
        &[("all", BUCKET, BY_DAY, ", weir: {ahead: 3, mark: true}")],
        "",
    );
    let gateway = Gateway::start(&yaml.replace(
        "compression: none",
        "compression: none, retry_on_failure: {initial_interval: 10ms}",
    ))
    .await;
    until("all but one have come out", || peer.taken().len() == 8).await;
    let mut expected = named(&keys);
    expected.remove(7);
    assert_eq!(bodies(&peer), expected);
    let mut keys = keys;
    keys.remove(7);
    assert_eq!(marks(&peer), keys);
    let door = Place::Door {
        receiver: "awss3/all".into(),
        transport: "s3",
    };
    until("the last is booked", || {
        gateway.books(door.clone(), Signal::Logs).accepted() == 8
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_restart_reads_on_where_its_storage_says() {
    let folder = tempfile::tempdir().unwrap();
    let (s3, peer) = (store().await, Peer::start().await);
    fill(&s3, &["03/logs_1.binpb", "03/logs_2.binpb"]).await;
    let storage = folder.path().display().to_string();
    let names = [("all", BUCKET, BY_DAY, ", weir: {storage: file_storage}")];
    let yaml = reads(&s3, &peer, DAY, &names, &storage);
    let gateway = Gateway::start(&yaml).await;
    until("both have come out", || peer.taken().len() == 2).await;
    let door = Place::Door {
        receiver: "awss3/all".into(),
        transport: "s3",
    };
    until("the last is booked", || {
        gateway.books(door.clone(), Signal::Logs).accepted() == 2
    })
    .await;
    gateway.stop().await;
    // Only what another range has comes out now: of the first nothing, though there is more in it.
    fill(&s3, &["03/logs_0.binpb", "04/logs_1.binpb"]).await;
    let longer = [
        ("all", BUCKET, BY_DAY, ", weir: {storage: file_storage}"),
        ("next", BUCKET, BY_DAY, ", weir: {storage: file_storage}"),
    ];
    let yaml = reads(&s3, &peer, DAY, &longer, &storage);
    let next = yaml.replace(
        "awss3/next: {starttime: 2026-02-03, endtime: 2026-02-04",
        "awss3/next: {starttime: 2026-02-04, endtime: 2026-02-05",
    );
    assert_ne!(yaml, next);
    let gateway = Gateway::start(&next).await;
    until("the next day has come out", || peer.taken().len() == 3).await;
    gateway.stop().await;
    let expected = ["03/logs_1.binpb", "03/logs_2.binpb", "04/logs_1.binpb"];
    assert_eq!(bodies(&peer), named(&expected));
}

/// With one `/` and with two, as exporters of different ages wrote them; and a restart in between.
#[tokio::test]
async fn both_spellings_of_a_prefix_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (s3, peer) = (store().await, Peer::start().await);
    let keys = [
        "p//03/logs_1.binpb",
        "p//03/logs_2.binpb",
        "p/03/logs_1.binpb",
        "p/03/logs_2.binpb",
    ];
    fill(&s3, &keys).await;
    let downloader = format!("{BY_DAY}, s3_prefix: p/");
    let from = [("all", BUCKET, &*downloader, ", weir: {storage: file_storage}")];
    let yaml = reads(&s3, &peer, DAY, &from, &folder.path().display().to_string());
    for taken in [1, 3] {
        peer.script(vec![Answer::Ok; taken - peer.taken().len()]);
        let busy = Answer::Http {
            status: 503,
            retry_after: None,
        };
        peer.always(busy);
        let gateway = Gateway::start(&yaml).await;
        until("one more was offered than is taken", || {
            peer.taken().len() == taken && peer.received().last().is_some_and(|last| !last.taken)
        })
        .await;
        gateway.stop().await;
    }
    peer.script([]);
    peer.always(Answer::Ok);
    let gateway = Gateway::start(&yaml).await;
    until("all have come out", || peer.taken().len() == keys.len()).await;
    gateway.stop().await;
    assert_eq!(bodies(&peer), named(&keys));
}

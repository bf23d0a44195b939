use component::test_kit::{Lonely, Sink, context, faults, section};
use objects::{Body, FileStore, Put};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;

use bytes::Bytes;

use super::*;

const RANGE: &str = "{starttime: '2026-02-03 07:09', endtime: '2026-02-03 07:11', s3downloader: {s3_bucket: b, s3_prefix: p, s3_partition_timezone: UTC}}";

#[test]
fn builds_with_defaults() {
    test_kit::builds(&FACTORY, RANGE);
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let check = |range: &str, more: &str, expected: &str| {
        let yaml = format!("{{{range}, s3downloader: {{s3_bucket: b}}{more}}}");
        let told = faults((FACTORY.build)(section(&yaml), &context("awss3")).map(drop));
        assert!(told.contains(expected), "{yaml}: {told}");
    };
    let range = "starttime: 2026-02-03, endtime: 2026-02-04";
    check("starttime: 2026-02-03", "", "must be a time");
    check("starttime: tomorrow, endtime: 2026-02-04", "", "must be a time");
    check(
        "starttime: 2026-02-04, endtime: 2026-02-03",
        "",
        "endtime must be after",
    );
    check(range, ", no_such_key: 1", "no_such_key");
    check(range, ", sqs: {queue_url: q}", "sqs is not supported");
    check(
        range,
        ", encodings: [{extension: x, suffix: y}]",
        "encoding extensions are not",
    );
    check(
        range,
        ", notifications: {opampextension: opamp}",
        "notifications are not",
    );
    let told = faults((FACTORY.build)(section(&format!("{{{range}}}")), &context("awss3")).map(drop));
    assert!(told.contains("s3_bucket"), "{told}");
    let tags = format!("{{{range}, s3downloader: {{s3_bucket: b, tag_object_after_ingestion: true}}}}");
    let told = faults((FACTORY.build)(section(&tags), &context("awss3")).map(drop));
    assert!(told.contains("tags are not supported"), "{told}");
}

/// One log record.
fn logs(body: &str) -> Bytes {
    let record = LogRecord {
        body: Some(AnyValue {
            value: Some(Value::StringValue(body.into())),
        }),
        ..LogRecord::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![record],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    request.encode_to_vec().into()
}

fn json(body: &str) -> Bytes {
    let text = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"{body}"}}}}]}}]}}]}}"#
    );
    text.into()
}

fn compressed(encoding: wire::Encoding, bytes: Bytes) -> Bytes {
    net::compression::encode(encoding, 0, &[bytes])
}

/// What the records of the objects say that a receiver hands on, in order; and its books, offered and accepted.
async fn read(yaml: &str, objects: &[(&str, Bytes)], expected: &[&str]) {
    let folder = tempfile::tempdir().expect("there is room");
    let store = FileStore::new(folder.path());
    for (key, bytes) in objects {
        let mut put = Put::default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        put.sha256.copy_from_slice(digest.as_ref());
        store
            .put(key, Body::Bytes(bytes.clone()), &put)
            .await
            .expect("it is written");
    }
    let config: Config = section(yaml)
        .parse_valid()
        .unwrap_or_else(|faults| panic!("{faults}"));
    let cx = context("awss3");
    let receiver = Awss3 {
        partition: config.s3downloader.partition().expect("it is right"),
        range: config.range().expect("it is right"),
        config,
        cx: cx.clone(),
        store: OnceLock::from(Arc::new(store) as Arc<dyn ObjectStore>),
        running: Mutex::new(None),
    };
    let sink = Arc::<Sink>::default();
    let mut outputs = Outputs::default();
    outputs.set(Signal::Logs, sink.clone());
    receiver
        .start(outputs, Arc::new(Lonely::default()))
        .await
        .expect("it starts");
    // Its tasks end by themselves when the range was read.
    let running = receiver.running.lock().take();
    let (_switch, mut tasks) = running.expect("it runs");
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
    let taken = sink.taken();
    let bodies = taken.iter().map(|payload| {
        let request = ExportLogsServiceRequest::decode(payload.to_bytes()).expect("it is valid");
        let record = &request.resource_logs[0].scope_logs[0].log_records[0];
        match &record.body.as_ref().expect("a body").value {
            Some(Value::StringValue(text)) => text.clone(),
            _ => panic!("no text"),
        }
    });
    assert_eq!(bodies.collect::<Vec<_>>(), expected);
    let place = Place::Door {
        receiver: "awss3".into(),
        transport: "s3",
    };
    let total = cx.telemetry.ledger.row(place, Signal::Logs).total();
    let expected = expected.len() as u64;
    assert_eq!(
        [Column::Offered, Column::Accepted, Column::Refused].map(|c| total.get(c)),
        [expected, expected, 0]
    );
}

#[tokio::test]
async fn a_range_is_read_in_order_whatever_its_objects_are_written_in() {
    let at = |minute: u32| format!("p/year=2026/month=02/day=03/hour=07/minute={minute:02}");
    let key = |minute, name: &str| format!("{}/{name}", at(minute));
    let names = [
        (key(8, "logs_0.binpb"), logs("before the range")),
        (key(9, "logs_1.binpb"), logs("1")),
        (key(9, "logs_2.json"), json("2")),
        (
            key(9, "logs_3.json.gz"),
            compressed(wire::Encoding::Gzip, json("3")),
        ),
        (
            key(9, "logs_4.binpb.zst"),
            compressed(wire::Encoding::Zstd, logs("4")),
        ),
        (key(9, "logs_5.txt"), "a body\n".into()),
        (key(9, "logs_6.json"), "{broken".into()),
        (key(9, "logs_7.binpb.gz"), logs("not compressed")),
        (key(9, "traces_1.binpb"), Bytes::new()),
        (key(9, "f-logs_8.binpb"), logs("another prefix")),
        (key(10, "logs_0.json"), json("5")),
        (key(11, "logs_0.json"), json("after the range")),
    ];
    let objects: Vec<_> = names.iter().map(|(key, bytes)| (&**key, bytes.clone())).collect();
    read(RANGE, &objects, &["1", "2", "3", "4", "5"]).await;
    let other = RANGE.replace("s3_prefix: p", "s3_prefix: p, file_prefix: f-");
    read(&other, &objects, &["another prefix"]).await;
}

#[tokio::test]
async fn every_directory_is_read_once() {
    let range = |format: &str, zone: &str, start: &str, end: &str| {
        format!(
            "{{starttime: '{start}', endtime: '{end}', s3downloader: {{s3_bucket: b, s3_partition_format: '{format}', \
             s3_partition_timezone: {zone}}}}}"
        )
    };
    let hours = [
        ("d/06/logs_1.json", json("6")),
        ("d/07/logs_1.json", json("7")),
        ("d/08/logs_1.json", json("8")),
        ("d/09/logs_1.json", json("9")),
    ];
    // Contrib steps from 07:30 to 08:30, and would not see 08.
    let yaml = range("d/%H", "UTC", "2026-02-03 07:30", "2026-02-03 08:15");
    read(&yaml, &hours, &["7", "8"]).await;
    let yaml = range("d/%H", "UTC", "2026-02-03T07:59:59Z", "2026-02-03T08:00:00Z");
    read(&yaml, &hours, &["7"]).await;
    // Half an hour beside UTC's hours.
    let yaml = range("d/%H", "Asia/Kolkata", "2026-02-03 01:00", "2026-02-03 01:45");
    read(&yaml, &hours, &["6", "7"]).await;
    // A clock that is put back shows an hour twice.
    let twice = [("d/01.30/logs_1.json", json("once"))];
    let yaml = range("d/%H.%M", "Europe/London", "2026-10-25 00:00", "2026-10-25 02:00");
    read(&yaml, &twice, &["once"]).await;
    // One directory for all.
    let yaml = range("d", "UTC", "2026-02-03", "2026-02-05");
    read(&yaml, &[("d/logs_1.json", json("1"))], &["1"]).await;
}

use std::path::Path;

use component::test_kit::{Lonely, Sink, context, faults, section};
use objects::{Body, FileStore, Put};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use storage::Options;
use storage::journal::sim::SimDisk;
use telemetry::Column;
use tokio::sync::Notify;

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
    check(range, ", weir: {storage: 1/2/3}", "must be the id of a storage");
    check(range, ", weir: {ahead: 0}", "must be 1 to 64");
    check(range, ", weir: {ahead: 65}", "must be 1 to 64");
    check(
        range,
        ", weir: {records: {starttime: soon}}",
        "weir::records::starttime: must be a time",
    );
    check(
        range,
        ", weir: {records: {starttime: 2026-02-03, endtime: 2026-02-03}}",
        "weir::records::endtime: endtime must be after",
    );
    let tags = format!("{{{range}, s3downloader: {{s3_bucket: b, tag_object_after_ingestion: true}}}}");
    let told = faults((FACTORY.build)(section(&tags), &context("awss3")).map(drop));
    assert!(told.contains("tags are not supported"), "{told}");
}

#[test]
fn names_are_looked_for_as_any_exporter_writes_them() {
    let check = |more: &str, expected: &[&str]| {
        let yaml =
            format!("{{starttime: 2026-02-03, endtime: 2026-02-04, s3downloader: {{s3_bucket: b, {more}}}}}");
        let config: Config = section(&yaml)
            .parse_valid()
            .unwrap_or_else(|faults| panic!("{faults}"));
        let partition = config.s3downloader.partition().expect("it is right");
        let names = config.s3downloader.names(&partition, 0, Signal::Logs);
        assert_eq!(names, expected, "{more}");
    };
    let format = "s3_partition_format: d";
    check(format, &["d/logs_"]);
    check(&format!("{format}, s3_prefix: p"), &["p/d/logs_"]);
    check(&format!("{format}, s3_prefix: p/"), &["p//d/logs_", "p/d/logs_"]);
    check(&format!("{format}, s3_prefix: /"), &["/d/logs_"]);
    check(&format!("{format}, s3_prefix: //"), &["//d/logs_", "/d/logs_"]);
    check(
        &format!("{format}, file_prefix: /f-"),
        &["d//f-logs_", "d/f-logs_"],
    );
    check("s3_partition_format: d/", &["d//logs_", "d/logs_"]);
    check("s3_partition_format: ''", &["/logs_", "logs_"]);
    check("s3_partition_format: '', s3_prefix: p", &["p//logs_", "p/logs_"]);
    check(
        &format!("{format}, file_prefix_include_telemetry_type: false"),
        &["d/"],
    );
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

/// A receiver of what lies in a folder.
fn receiver(yaml: &str, folder: &Path) -> Awss3 {
    let config: Config = section(yaml)
        .parse_valid()
        .unwrap_or_else(|faults| panic!("{faults}"));
    Awss3 {
        partition: config.s3downloader.partition().expect("it is right"),
        range: config.range().expect("it is right"),
        config,
        cx: context("awss3"),
        store: OnceLock::from(Arc::new(FileStore::new(folder)) as Arc<dyn ObjectStore>),
        running: Mutex::new(None),
    }
}

async fn write(folder: &Path, objects: &[(&str, Bytes)]) {
    let store = FileStore::new(folder);
    for (key, bytes) in objects {
        let mut put = Put::default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        put.sha256.copy_from_slice(digest.as_ref());
        store
            .put(key, Body::Bytes(bytes.clone()), &put)
            .await
            .expect("it is written");
    }
}

/// Starts it for logs.
async fn start(receiver: &Awss3, host: Arc<dyn Host>, sink: &Arc<Sink>) {
    let mut outputs = Outputs::default();
    outputs.set(Signal::Logs, sink.clone());
    receiver.start(outputs, host).await.expect("it starts");
}

/// Waits until it has read its range.
async fn ended(receiver: &Awss3) {
    let running = receiver.running.lock().take();
    let (_switch, mut tasks) = running.expect("it runs");
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
}

/// What the records say that it was offered, in order.
fn bodies(sink: &Sink) -> Vec<String> {
    let taken = sink.taken();
    let bodies = taken.iter().map(|payload| {
        let request = ExportLogsServiceRequest::decode(payload.to_bytes()).expect("it is valid");
        let record = &request.resource_logs[0].scope_logs[0].log_records[0];
        match &record.body.as_ref().expect("a body").value {
            Some(Value::StringValue(text)) => text.clone(),
            _ => panic!("no text"),
        }
    });
    bodies.collect()
}

/// What the records of the objects say that a receiver hands on, in order; and its books, offered and accepted.
async fn read(yaml: &str, objects: &[(&str, Bytes)], expected: &[&str]) {
    let folder = tempfile::tempdir().expect("there is room");
    write(folder.path(), objects).await;
    let receiver = receiver(yaml, folder.path());
    let sink = Arc::<Sink>::default();
    start(&receiver, Arc::new(Lonely::default()), &sink).await;
    ended(&receiver).await;
    assert_eq!(bodies(&sink), expected);
    let place = Place::Door {
        receiver: "awss3".into(),
        transport: "s3",
    };
    let total = receiver.cx.telemetry.ledger.row(place, Signal::Logs).total();
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

/// A service with a storage, and nothing else.
struct Shelf(Journal);

impl Host for Shelf {
    fn exporter(&self, id: &ComponentId) -> Result<Arc<dyn Consumer>, Fault> {
        Err(Fault::World(format!("no exporter {id}")))
    }

    fn extension(&self, id: &ComponentId) -> Result<Arc<dyn Extension>, Fault> {
        match id.to_string().as_str() {
            "shelf" => Ok(Arc::new(Shelf(self.0.clone()))),
            _ => Err(Fault::World(format!("no extension {id}"))),
        }
    }

    fn report(&self, _: &str, _: Status) {}
}

impl Extension for Shelf {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        ready(Ok(()))
    }

    fn journal(&self) -> Option<Journal> {
        Some(self.0.clone())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}

fn shelf() -> Arc<Shelf> {
    let opened = Journal::open(Arc::new(SimDisk::default()), Options::default());
    Arc::new(Shelf(opened.expect("there is room").0))
}

/// Four objects, and the range that has them with a mark.
fn four() -> ([(&'static str, Bytes); 4], String) {
    let objects = [
        ("d/07.09/logs_1.json", json("1")),
        ("d/07.09/logs_2.json", json("2")),
        ("d/07.10/logs_0.json", json("3")),
        ("d/07.12/logs_1.json", json("4")),
    ];
    let yaml = "{starttime: '2026-02-03 07:00', endtime: '2026-02-03 08:00', weir: {storage: shelf, ahead: 1}, \
                s3downloader: {s3_bucket: b, s3_partition_format: d/%H.%M, s3_partition_timezone: UTC}}";
    (objects, yaml.to_owned())
}

#[tokio::test]
async fn a_restart_goes_on_behind_what_was_taken() {
    let (objects, yaml) = four();
    let folder = tempfile::tempdir().expect("there is room");
    write(folder.path(), &objects).await;
    let shelf = shelf();
    // The pipeline is full from the second object on, until the gateway stops.
    for (refused, expected) in [
        ("2", &["1", "2"][..]),
        ("3", &["2", "3"]),
        ("", &["3", "4"]),
        ("", &[]),
    ] {
        let receiver = receiver(&yaml, folder.path());
        let sink = Arc::<Sink>::default();
        let gate = Arc::new(Gate {
            sink: sink.clone(),
            refused,
            is_met: Notify::new(),
        });
        let mut outputs = Outputs::default();
        outputs.set(Signal::Logs, gate.clone());
        receiver.start(outputs, shelf.clone()).await.expect("it starts");
        if refused.is_empty() {
            ended(&receiver).await;
        } else {
            gate.is_met.notified().await;
            receiver.stop().await;
        }
        // What is refused is offered until the stop comes.
        let mut offered = bodies(&sink);
        offered.dedup();
        assert_eq!(offered, expected);
    }
    // Another range is another thing.
    let other = receiver(&yaml.replace("08:00", "07:10"), folder.path());
    let sink = Arc::<Sink>::default();
    start(&other, shelf, &sink).await;
    ended(&other).await;
    assert_eq!(bodies(&sink), ["1", "2"]);
}

/// Has no room for one record.
struct Gate {
    sink: Arc<Sink>,
    refused: &'static str,
    is_met: Notify,
}

impl Consumer for Gate {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            let taken = self.sink.consume(payload).await;
            match bodies(&self.sink).last() {
                Some(last) if last == self.refused => {
                    self.is_met.notify_one();
                    Err(Refusal::unavailable("full"))
                }
                _ => taken,
            }
        })
    }
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_is_none() {
    let (objects, yaml) = four();
    let folder = tempfile::tempdir().expect("there is room");
    write(folder.path(), &objects).await;
    let shelf = shelf();
    let (_, from) = Marks::open("awss3", shelf.0.clone(), Signal::Logs, String::new()).await;
    assert_eq!(from, Position::default());
    for damage in [false, true] {
        if damage {
            let name = marks::name_of("awss3", Signal::Logs);
            shelf.0.put_blob(&name, b"{").expect("there is room");
        }
        let receiver = receiver(&yaml, folder.path());
        let sink = Arc::<Sink>::default();
        start(&receiver, shelf.clone(), &sink).await;
        ended(&receiver).await;
        assert_eq!(bodies(&sink), ["1", "2", "3", "4"]);
    }
}

#[tokio::test]
async fn a_range_that_is_not_over_has_no_mark() {
    let (objects, yaml) = four();
    let yaml = yaml
        .replace("2026-02-03 08:00", "9000-01-01 00:00")
        .replace("d/%H.%M", "d/07.09")
        .replace("2026-02-03 07:00", "8999-12-31 00:00");
    let folder = tempfile::tempdir().expect("there is room");
    write(folder.path(), &objects).await;
    let shelf = shelf();
    for _ in 0..2 {
        let receiver = receiver(&yaml, folder.path());
        let sink = Arc::<Sink>::default();
        start(&receiver, shelf.clone(), &sink).await;
        ended(&receiver).await;
        assert_eq!(bodies(&sink), ["1", "2"]);
    }
}

#[tokio::test]
async fn a_storage_that_is_none_is_a_fault() {
    let (_, yaml) = four();
    let folder = tempfile::tempdir().expect("there is room");
    let receiver = receiver(&yaml, folder.path());
    let started = receiver
        .start(Outputs::default(), Arc::new(Lonely::default()))
        .await;
    let told = started.expect_err("there is none").to_string();
    assert_eq!(told, "receiver awss3: weir.storage: no storage extension 'shelf'");
}

use std::collections::BTreeMap;

use component::test_kit::{context, faults, section};
use objects::{Chunks, Facts, Get, Head, Listed, Mode, Retention, Stored, Version, VersionMark};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use parking_lot::Mutex;
use prost::Message;

use super::config::Marshaler;
use super::*;

const MINIMAL: &str = "s3uploader: {s3_bucket: b, s3_partition_timezone: UTC}";

#[test]
fn builds_with_defaults() {
    test_kit::builds(&FACTORY, MINIMAL);
}

#[test]
fn refuses_an_unknown_key() {
    test_kit::refuses_unknown_key(&FACTORY, MINIMAL);
}

#[cfg(feature = "aws")]
#[test]
fn starts_once_and_stops_twice() {
    test_kit::lives(&FACTORY, MINIMAL);
}

#[cfg(not(feature = "aws"))]
#[tokio::test]
async fn a_build_without_the_store_says_so() {
    let Ok(Exporter::Push(push)) = (FACTORY.build)(section(MINIMAL), &context("awss3")) else {
        panic!("it is built")
    };
    let host = Arc::new(test_kit::Lonely::default());
    let told = push.start(host).await.expect_err("there is no store").to_string();
    assert_eq!(
        told,
        "exporter awss3: open: this build has no store s3: it was built without the feature aws"
    );
}

/// What becomes of a write.
#[derive(Clone)]
enum Fate {
    /// It fails, and nothing is there.
    Fails(StoreError),
    /// It is there, and its answer is lost.
    IsLost,
    /// Somebody else's object has the key.
    Meets,
}

/// An object as it was written: key with its bucket, bytes, how.
type Written = (String, Bytes, Put);

/// Buckets in memory.
#[derive(Clone, Debug)]
struct Fake {
    bucket: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, (Bytes, Put)>,
    fates: Vec<Fate>,
    puts: Vec<String>,
    forgets_locks: bool,
    hides_digests: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

impl Fake {
    fn new(fates: &[Fate]) -> Fake {
        let fake = Fake {
            bucket: "b".into(),
            state: Arc::default(),
        };
        fake.state.lock().fates = fates.to_vec();
        fake
    }

    fn written(&self) -> Vec<Written> {
        let state = self.state.lock();
        let objects = state.objects.iter();
        objects
            .map(|(key, (bytes, put))| (key.clone(), bytes.clone(), put.clone()))
            .collect()
    }

    fn puts(&self) -> Vec<String> {
        self.state.lock().puts.clone()
    }
}

fn retry(message: &str) -> StoreError {
    StoreError::new(Kind::Retry { after: None }, "PutObject", message)
}

fn unasked<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, StoreError>> {
    ready(Err(StoreError::new(Kind::Rejected, "test", "nobody asks this")))
}

impl ObjectStore for Fake {
    fn place(&self) -> &str {
        &self.bucket
    }

    fn sibling(&self, bucket: &str) -> Option<Arc<dyn ObjectStore>> {
        Some(Arc::new(Fake {
            bucket: bucket.to_owned(),
            state: self.state.clone(),
        }))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Body,
        put: &'a Put,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        let Body::Bytes(bytes) = body else {
            return unasked();
        };
        let key = format!("{}:{key}", self.bucket);
        let mut state = self.state.lock();
        state.puts.push(key.clone());
        let fate = (!state.fates.is_empty()).then(|| state.fates.remove(0));
        ready(match fate {
            Some(Fate::Fails(error)) => Err(error),
            _ if state.objects.contains_key(&key) => Ok(PutOutcome::Exists),
            Some(Fate::Meets) => {
                let other = Bytes::from_static(b"of somebody else");
                state.objects.insert(key, (other, Put::default()));
                Ok(PutOutcome::Exists)
            }
            fate => {
                let mut put = put.clone();
                if state.forgets_locks {
                    put.lock = Lock::default();
                }
                state.objects.insert(key, (bytes, put));
                match fate {
                    None => Ok(PutOutcome::Stored(Stored::default())),
                    Some(_) => Err(retry("no answer")),
                }
            }
        })
    }

    fn get<'a>(&'a self, key: &'a str, _version: Option<&'a str>) -> BoxFuture<'a, Result<Get, StoreError>> {
        let state = self.state.lock();
        let (bytes, _) = &state.objects[&format!("{}:{key}", self.bucket)];
        ready(Ok(Get {
            head: Head::default(),
            body: Chunks::of(bytes.clone()),
        }))
    }

    fn head<'a>(
        &'a self,
        key: &'a str,
        _version: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Head, StoreError>> {
        let state = self.state.lock();
        let (bytes, put) = &state.objects[&format!("{}:{key}", self.bucket)];
        ready(Ok(Head {
            size: bytes.len() as u64,
            sha256: (!state.hides_digests).then(|| sha256(bytes)),
            lock: put.lock,
            ..Head::default()
        }))
    }

    fn list<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, StoreError>> {
        unasked()
    }

    fn list_versions<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a VersionMark>,
    ) -> BoxFuture<'a, Result<(Vec<Version>, Option<VersionMark>), StoreError>> {
        unasked()
    }

    fn delete<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        unasked()
    }

    fn put_legal_hold<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
        _: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        unasked()
    }

    fn put_retention<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
        _: Retention,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        unasked()
    }

    fn facts(&self) -> BoxFuture<'_, Facts> {
        no_facts()
    }
}

fn no_facts<'a>() -> BoxFuture<'a, Facts> {
    let error = StoreError::new(Kind::Rejected, "test", "nobody asks this");
    ready(Facts {
        versioning: Err(error.clone()),
        lock: Err(error),
        region: None,
        clock: None,
    })
}

fn exporter(yaml: &str, fake: &Fake) -> Awss3 {
    let config: Config = section(yaml)
        .parse_valid()
        .unwrap_or_else(|faults| panic!("{faults}"));
    let form = Form {
        marshaler: config.marshaler,
        compression: config.s3uploader.compression,
    };
    let store: Arc<dyn ObjectStore> = Arc::new(fake.clone());
    Awss3 {
        id: "awss3".into(),
        naming: Naming::new(&config.s3uploader).expect("it is right"),
        config,
        form,
        tries: Tries::default(),
        store: OnceLock::from(store),
    }
}

fn text(text: &str) -> Option<AnyValue> {
    Some(AnyValue {
        value: Some(Value::StringValue(text.into())),
    })
}

/// One resource each: bucket and prefix as attributes where they are not empty, and bodies.
fn logs(resources: &[(&str, &str, &[&str])]) -> Payload {
    let resource = |(bucket, prefix, bodies): &(&str, &str, &[&str])| {
        let attributes = [("bucket", *bucket), ("prefix", *prefix)].into_iter();
        let attributes = attributes.filter(|(_, value)| !value.is_empty());
        let attributes = attributes.map(|(key, value)| KeyValue {
            key: key.into(),
            value: text(value),
            ..KeyValue::default()
        });
        let records = bodies.iter().map(|body| LogRecord {
            body: text(body),
            ..LogRecord::default()
        });
        ResourceLogs {
            resource: Some(Resource {
                attributes: attributes.collect(),
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                log_records: records.collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }
    };
    let request = ExportLogsServiceRequest {
        resource_logs: resources.iter().map(resource).collect(),
    };
    payload(Signal::Logs, request.encode_to_vec())
}

fn payload(signal: Signal, bytes: Vec<u8>) -> Payload {
    let shape = wire::validate(signal, &bytes, &wire::Limits::default()).expect("it is valid");
    Payload::new(signal, Chunk::new(bytes.into(), shape), Arc::default())
}

const ROUTED: &str = "
s3uploader: {s3_bucket: b, s3_prefix: p, s3_partition_format: t}
marshaler: body
resource_attrs_to_s3: {s3_bucket: bucket, s3_prefix: prefix}";

/// Directory and text of what was written, in order of key.
fn texts(fake: &Fake) -> Vec<(String, String)> {
    let written = fake.written().into_iter();
    let text = written.map(|(key, bytes, _)| {
        let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
        (folder.to_owned(), String::from_utf8_lossy(&bytes).into_owned())
    });
    text.collect()
}

#[test]
fn defaults_are_contribs_without_a_queue() {
    let config: Config = section(MINIMAL).parse_valid().expect("it is valid");
    assert_eq!(config.marshaler, Marshaler::OtlpJson);
    assert_eq!(FACTORY.harness.queue, Block::Off);
    assert_eq!(FACTORY.harness.retry, Block::On);
    assert_eq!(FACTORY.harness.timeout_ms, Some(5000));
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let check = |yaml: &str, expected: &str| {
        let told = faults((FACTORY.build)(section(yaml), &context("awss3")).map(drop));
        assert!(told.contains(expected), "{yaml}: {told}");
    };
    check("marshaler: otlp_json", "bucket or endpoint is required");
    check(
        "s3uploader: {endpoint: 'http://127.0.0.1:1'}",
        "an endpoint names no bucket",
    );
    check(
        &format!("{MINIMAL}\nmarshaler: sumo_ic"),
        "sumo_ic is not supported",
    );
    check(
        &format!("{MINIMAL}\nencoding: text_encoding"),
        "encoding extensions are not",
    );
    check(
        &format!("{MINIMAL}\nweir: {{lock: {{mode: COMPLIANCE}}}}"),
        "belong together",
    );
    check(
        &format!("{MINIMAL}\nweir: {{lock: {{mode: COMPLIANCE, retention: 1h}}}}"),
        "at least 1d",
    );
    check(
        &format!("{MINIMAL}\nweir: {{lock: {{required: true}}}}"),
        "must say what is required",
    );
    check(
        "s3uploader: {s3_bucket: b, checksum: none}\nweir: {lock: {legal_hold: true}}",
        "a lock needs checksum",
    );
    check(
        "s3uploader: {s3_bucket: b, s3_partition_format: '%Q'}",
        "%Q is not known",
    );
    check(
        "s3uploader: {s3_bucket: b, storage_class: HOT}",
        "must be one of STANDARD",
    );
}

#[tokio::test]
async fn a_batch_is_an_object() {
    let batch = logs(&[("", "", &["a", "b"])]);
    let json = codec::otlp_json::write_payload(&batch).expect("it is valid");
    let proto = batch.to_bytes().to_vec();
    let check = async |yaml: &str, expected: &[u8], ending: &str, encoding: &str| {
        let fake = Fake::new(&[]);
        let yaml = format!("s3uploader: {{s3_bucket: b, s3_partition_format: t, {yaml}");
        let done = exporter(&yaml, &fake).export(&batch).await;
        assert_eq!(done.expect("it is written"), Outcome::all());
        let written = fake.written();
        let [(key, bytes, put)] = written.as_slice() else {
            panic!("one object")
        };
        assert!(key.starts_with("b:t/logs_") && key.ends_with(ending), "{key}");
        assert_eq!((&*put.content_encoding, &*put.content_type), (encoding, ""));
        assert_eq!((put.if_absent, put.sha256), (true, sha256(bytes)));
        let plain = match ending.rsplit('.').next() {
            Some("gz") => net::compression::decode(wire::Encoding::Gzip, bytes, 1 << 20).map(|d| d.bytes),
            Some("zst") => net::compression::decode(wire::Encoding::Zstd, bytes, 1 << 20).map(|d| d.bytes),
            _ => Ok(bytes.clone()),
        };
        assert_eq!(plain.expect("it is compressed"), expected);
    };
    check("}", &json, ".json", "").await;
    check("}\nmarshaler: otlp_proto", &proto, ".binpb", "").await;
    check("}\nmarshaler: body", b"a\nb\n", ".txt", "").await;
    check("compression: gzip}", &json, ".json.gz", "gzip").await;
    check(
        "compression: zstd}\nmarshaler: otlp_proto",
        &proto,
        ".binpb.zst",
        "zstd",
    )
    .await;
    check(
        "compression: gzip}\nweir: {content_encoding: none}",
        &json,
        ".json.gz",
        "",
    )
    .await;
}

#[tokio::test]
async fn nothing_is_no_object() {
    let fake = Fake::new(&[]);
    for yaml in ["marshaler: otlp_proto", "marshaler: body"] {
        let yaml = format!("s3uploader: {{s3_bucket: b, compression: gzip}}\n{yaml}");
        let done = exporter(&yaml, &fake)
            .export(&payload(Signal::Logs, Vec::new()))
            .await;
        assert_eq!(done.expect("it is nothing"), Outcome::all());
    }
    assert_eq!(fake.puts(), [""; 0]);
    let traces = exporter(&format!("{MINIMAL}\nmarshaler: body"), &fake);
    let done = traces.export(&payload(Signal::Traces, Vec::new())).await;
    assert!(matches!(done, Err(ExportError::Rejected { .. })), "{done:?}");
}

#[tokio::test]
async fn every_resource_goes_where_it_says_itself() {
    let fake = Fake::new(&[]);
    let batch = logs(&[
        ("acme", "x", &["1", "2"]),
        ("", "", &["3"]),
        ("acme", "", &["4"]),
        ("umbrella", "x", &["5"]),
        ("acme", "x", &["6"]),
    ]);
    let done = exporter(ROUTED, &fake).export(&batch).await;
    assert_eq!(done.expect("it is written"), Outcome::all());
    let expected = [
        ("acme:p/t", "4\n"),
        ("acme:x/t", "1\n2\n6\n"),
        ("b:p/t", "3\n"),
        ("umbrella:x/t", "5\n"),
    ];
    assert_eq!(texts(&fake), expected.map(|(k, t)| (k.to_owned(), t.to_owned())));
}

#[tokio::test]
async fn what_cannot_be_a_bucket_is_rejected_and_the_rest_is_written() {
    let fake = Fake::new(&[]);
    let batch = logs(&[
        ("../b", "", &["1"]),
        ("acme", "", &["2"]),
        ("a/b", "", &["3", "4"]),
    ]);
    let done = exporter(ROUTED, &fake)
        .export(&batch)
        .await
        .expect("a part is written");
    assert_eq!(done.rejected_items(), 3);
    assert_eq!(texts(&fake), [("acme:p/t".to_owned(), "2\n".to_owned())]);
    let alone = exporter(ROUTED, &fake)
        .export(&logs(&[("a_b", "", &["1"])]))
        .await;
    assert!(matches!(alone, Err(ExportError::Rejected { .. })), "{alone:?}");
}

#[tokio::test]
async fn only_what_failed_is_owed() {
    let fake = Fake::new(&[Fate::Fails(retry("busy"))]);
    let exporter = exporter(ROUTED, &fake);
    let batch = logs(&[("acme", "", &["1"]), ("umbrella", "", &["2", "3"])]);
    let Err(ExportError::Retry {
        remaining: Some(remaining),
        ..
    }) = exporter.export(&batch).await
    else {
        panic!("a part is owed")
    };
    assert_eq!((remaining.owed.items, remaining.rejected.len()), (1, 0));
    assert_eq!(texts(&fake), [("umbrella:p/t".to_owned(), "2\n3\n".to_owned())]);
    let done = exporter.export(&remaining.owed).await;
    assert_eq!(done.expect("it is written"), Outcome::all());
    assert_eq!(fake.written().len(), 2);
    // Where nothing was taken, the error says what it is.
    let denied = StoreError::new(Kind::Denied, "PutObject", "no");
    let fake = Fake::new(&[Fate::Fails(denied.clone()), Fate::Fails(denied)]);
    let failed = self::exporter(ROUTED, &fake).export(&batch).await;
    assert!(
        matches!(failed, Err(ExportError::Unauthorized { .. })),
        "{failed:?}"
    );
}

#[tokio::test]
async fn an_upload_whose_answer_was_lost_is_found() {
    for hides_digests in [false, true] {
        let fake = Fake::new(&[Fate::IsLost]);
        fake.state.lock().hides_digests = hides_digests;
        let exporter = exporter(MINIMAL, &fake);
        let batch = logs(&[("", "", &["1"])]);
        let lost = exporter.export(&batch).await;
        assert!(matches!(lost, Err(ExportError::Retry { .. })), "{lost:?}");
        exporter.export(&batch).await.expect("it is there");
        let puts = fake.puts();
        assert_eq!((puts.len(), fake.written().len()), (2, 1));
        assert_eq!(puts[0], puts[1]);
        // The same once more is another object.
        exporter.export(&batch).await.expect("it is written");
        assert_eq!(fake.written().len(), 2);
    }
}

#[tokio::test]
async fn nothing_is_written_over() {
    let fake = Fake::new(&[Fate::Meets]);
    let done = exporter(MINIMAL, &fake).export(&logs(&[("", "", &["1"])])).await;
    assert_eq!(done.expect("it is written"), Outcome::all());
    assert_eq!((fake.puts().len(), fake.written().len()), (2, 2));
    let fake = Fake::new(&[Fate::Meets, Fate::Meets, Fate::Meets, Fate::Meets]);
    let failed = exporter(MINIMAL, &fake).export(&logs(&[("", "", &["1"])])).await;
    assert!(matches!(failed, Err(ExportError::Retry { .. })), "{failed:?}");
    assert_eq!(fake.puts().len(), 3);
}

#[tokio::test]
async fn a_lock_is_asked_for_and_found() {
    let yaml = format!(
        "{MINIMAL}\nweir: {{lock: {{required: true, mode: COMPLIANCE, retention: 2d, legal_hold: true}}}}"
    );
    let fake = Fake::new(&[]);
    let before = render::now().as_secs();
    let done = exporter(&yaml, &fake).export(&logs(&[("", "", &["1"])])).await;
    assert_eq!(done.expect("it is written"), Outcome::all());
    let lock = fake.written()[0].2.lock;
    let retention = lock.retention.expect("it is retained");
    let after = render::now().as_secs();
    assert_eq!((retention.mode, lock.legal_hold), (Mode::Compliance, true));
    assert!((before..=after).contains(&(retention.until - 2 * 86_400)));
    let fake = Fake::new(&[]);
    fake.state.lock().forgets_locks = true;
    let exporter = exporter(&yaml, &fake);
    for _ in 0..2 {
        let failed = exporter.export(&logs(&[("", "", &["1"])])).await;
        let Err(ExportError::Unauthorized { source }) = failed else {
            panic!("{failed:?}")
        };
        assert!(
            source.to_string().ends_with("is not locked as it must be"),
            "{source}"
        );
    }
    assert_eq!(fake.written().len(), 1, "one object, however often it is tried");
}

#[test]
fn a_lock_holds_if_it_protects_as_well() {
    let lock = |mode, until, legal_hold| Lock {
        retention: Some(Retention { mode, until }),
        legal_hold,
    };
    let check = |wanted, there, expected| assert_eq!(holds(wanted, there), expected);
    let (strict, loose) = (Mode::Compliance, Mode::Governance);
    check(Lock::default(), Lock::default(), true);
    check(lock(strict, 5, false), lock(strict, 5, true), true);
    check(lock(strict, 5, false), lock(strict, 6, false), true);
    check(lock(strict, 5, false), lock(strict, 4, false), false);
    check(lock(strict, 5, false), lock(loose, 5, false), false);
    check(lock(strict, 5, true), lock(strict, 5, false), false);
    check(lock(strict, 5, false), Lock::default(), false);
}

#[test]
fn errors_lose_nothing_that_can_be_put_right() {
    let check = |class, status: Option<u16>, expected: &str| {
        let mut error = StoreError::new(class, "PutObject", "x");
        error.status = status;
        let found = match export_error(error) {
            ExportError::Retry { after, .. } => format!("retry {:?}", after.map(|d| d.as_secs())),
            ExportError::TooLarge { .. } => "too large".into(),
            ExportError::Rejected { code, .. } => format!("rejected {code}"),
            ExportError::Unauthorized { .. } => "unauthorized".into(),
            ExportError::Apart { .. } => "apart".into(),
        };
        assert_eq!(found, expected);
    };
    check(Kind::Retry { after: None }, Some(503), "retry None");
    let after = Some(std::time::Duration::from_secs(7));
    check(Kind::Retry { after }, Some(503), "retry Some(7)");
    check(Kind::NotFound, Some(404), "retry None");
    check(Kind::Denied, Some(403), "unauthorized");
    check(Kind::Unauthorized, Some(400), "unauthorized");
    check(Kind::Config, Some(301), "unauthorized");
    check(Kind::TooLarge, Some(400), "too large");
    check(Kind::Rejected, Some(400), "rejected INVALID_ARGUMENT");
    check(Kind::Rejected, None, "rejected INVALID_ARGUMENT");
}

#[test]
fn names_of_buckets_are_names() {
    let check = |name: &str, expected| assert_eq!(is_bucket_name(name), expected, "{name}");
    for name in ["abc", "my-bucket.2", "0a0", &"x".repeat(63)] {
        check(name, true);
    }
    for name in [
        "",
        "ab",
        "Abc",
        "a/b/c",
        "a_b",
        "-ab",
        "ab-",
        "a..b",
        "é23",
        &"x".repeat(64),
    ] {
        check(name, false);
    }
}

// With evidence.

const ARCHIVE: &str = "archive: logs.example.com/prod, state_dir: /var/lib/weir/archive, ack: memory";

/// An exporter with evidence: more of `s3uploader`, more of the exporter, more of `weir`.
fn with_evidence(uploader: &str, more: &str, weir: &str) -> String {
    format!(
        "s3uploader: {{s3_bucket: b, s3_partition_timezone: UTC{uploader}}}\nmarshaler: otlp_proto\n{more}\nweir: {{evidence: true, \
         {ARCHIVE}{weir}}}"
    )
}

fn built(yaml: &str) -> Result<Exporter, Fault> {
    (FACTORY.build)(section(yaml), &context("awss3"))
}

#[test]
fn with_evidence_it_gathers_and_without_it_pushes() {
    let check = |yaml: &str, gathers: bool| match built(yaml) {
        Ok(exporter) => assert_eq!(matches!(exporter, Exporter::Collect(_)), gathers, "{yaml}"),
        Err(fault) => panic!("{yaml}: {fault}"),
    };
    check(MINIMAL, false);
    check(&format!("{MINIMAL}\nweir: {{evidence: false}}"), false);
    check(
        &format!("{MINIMAL}\nweir: {{lock: {{required: true, mode: COMPLIANCE, retention: 1y}}}}"),
        false,
    );
    check(&with_evidence("", "", ""), true);
    check(
        &with_evidence(
            ", s3_base_prefix: a, s3_prefix: p/q, file_prefix: f-, compression: gzip, storage_class: STANDARD_IA, acl: private, \
             retry_mode: adaptive, s3_partition: hour",
            "encoding_file_extension: x",
            ", create: true, writer: gw-0, content_encoding: none, lock: {required: true, mode: COMPLIANCE, retention: 1y}, \
             roll: {max_age: 10s}, log: {checkpoint_interval: 5s}, tenant: {from: ['resource:t']}, spool: memory",
        ),
        true,
    );
}

#[test]
fn what_an_archive_cannot_do_is_refused_with_what_to_write() {
    let check = |yaml: &str, expected: &str| {
        let told = faults(built(yaml).map(drop));
        assert!(told.contains(expected), "{yaml}: {told}");
    };
    let uploader = |uploader: &str, expected: &str| check(&with_evidence(uploader, "", ""), expected);
    let more = |more: &str, expected: &str| check(&with_evidence("", more, ""), expected);
    let weir = |weir: &str, expected: &str| check(&with_evidence("", "", weir), expected);
    check(
        &format!("{MINIMAL}\nweir: {{evidence: true, {ARCHIVE}}}"),
        "evidence needs marshaler: otlp_proto",
    );
    more(
        "resource_attrs_to_s3: {s3_prefix: k}",
        "one bucket and one prefix",
    );
    more("timeout: 5s", "take timeout out");
    more("encoding: text", "encoding extensions are not");
    uploader(", unique_key_func_name: uuidv7", "by their number in the log");
    uploader(", s3_prefix: p/", "neither begins nor ends with /");
    uploader(", s3_partition_format: '%Q'", "%Q is not known");
    uploader(", storage_class: none", "must be one of STANDARD");
    weir(", store: {file: {path: /x}}", "s3uploader says where");
    weir(", compression: zstd", "s3uploader.compression");
    weir(", format: otlp_proto", "marshaler says");
    weir(", storage: file_storage", "sending_queue.storage");
    weir(", no_such_key: 1", "no_such_key");
    weir(", roll: {no_such_key: 1}", "no_such_key");
    weir(", writer: GW_0", "writer must be");
    weir(", lock: {retention: 1h}", "at least 1d");
    check(
        &with_evidence(", compression: gzip", "", ", compression_level: 10"),
        "compression_level must be",
    );
    check(
        "s3uploader: {endpoint: 'http://127.0.0.1:1'}\nmarshaler: otlp_proto\nweir: {evidence: true, archive: a, state_dir: /x}",
        "needs the name of its bucket",
    );
    check(
        &with_evidence("", "", "").replace(", ack: memory", ""),
        "no storage: is set",
    );
    check(
        &with_evidence("", "", "").replace("state_dir: ", "writer: "),
        "state_dir must be",
    );
    // Without evidence the section is what it was.
    check(&format!("{MINIMAL}\nweir: {{{ARCHIVE}}}"), "archive");
}

#[test]
fn faults_of_the_archive_are_laid_where_they_were_written() {
    let told = faults(built(&with_evidence("", "", ", lock: {classes: [{name: std}]}")).map(drop));
    assert!(
        told.contains("weir::lock::classes::0::name: std is the class"),
        "{told}"
    );
    let told = faults(built(&with_evidence(", acl: mine", "", ", put_concurrency: 0")).map(drop));
    for expected in [
        "s3uploader::acl: must be one of",
        "weir::put_concurrency: must be above 0",
    ] {
        assert!(told.contains(expected), "{told}");
    }
}

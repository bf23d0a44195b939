//! The archive for as long and with as much as nothing quicker can stand for: a store that is away for half an hour, a log
//! of a million entries, and an hour of a thousand tenants.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use evidence::digest::sha256;
use evidence::entry::{Entry, Kind};
use evidence::names::{OWN_TENANT, Origin, Session};
use evidence::note::Signer;
use evidence::test_kit::{Store, Writer};
use evidence::time::Time;
use objects::test_kit::Administrator;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::client::{Grpc, LOGS, METRICS, TRACES};
use super::gateway::weir;
use super::kills::process::Process;
use super::kills::{Rng, Setup, World};
use super::minio::minio_at;
use super::sample::{attr, text};
use super::{free_port, get};

/// Seconds of a test that takes its time; the environment may say others.
fn secs(name: &str, default: u64) -> Duration {
    let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(default))
}

fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time::from_millis(since.expect("the clock is past 1970").as_millis() as i64)
}

/// Clients notice nothing, memory stays where it was, and when the store is back everything is in it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_for_half_an_hour() {
    let away = secs("WEIR_AWAY_SECS", 1_800);
    let data = tempfile::tempdir().unwrap();
    let Some((server, root)) = minio_at("weir-away", free_port(), data.path()).await else {
        return;
    };
    Administrator::of(&root).await.make_bucket(true).await;
    let setup = Setup {
        archive: true,
        bucket: Some(root.clone()),
        unwell: false,
        pause: Duration::from_millis(200),
        segment: 4 << 20,
        ..Setup::default()
    };
    let mut world = World::begin(setup).await;
    // As many objects as a gateway might have that is asked for quick ones, not as one that shall be killed within each.
    let config = world.path().join("config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("max_age: 100ms", "max_age: 5s")).unwrap();
    let mut process = world.start(None);
    assert!(world.listens(&mut process).await, "{}", process.said());
    sleep(Duration::from_secs(10)).await;
    drop(server);
    let (began, before) = (Instant::now(), world.acknowledged());
    let mut early = Vec::new();
    let mut peak_kib = 0;
    while began.elapsed() < away {
        sleep(Duration::from_secs(1)).await;
        assert!(process.ended().is_none(), "{}", process.said());
        let kib = process.memory_kib();
        peak_kib = peak_kib.max(kib);
        if began.elapsed() < away / 10 {
            early.push(kib);
        }
    }
    let owed_s = world.metric("weir_archive_oldest_owed_seconds").await;
    let taken = world.acknowledged() - before;
    let early = early.iter().max().copied().unwrap_or_default();
    eprintln!(
        "{taken} requests while it was away, memory {early} KiB at first and {peak_kib} at most, owed {owed_s:?} s"
    );
    // Each of four connections sends every 200 ms.
    assert!(taken as u64 >= 10 * away.as_secs(), "{taken}");
    assert!(
        owed_s.is_some_and(|owed| owed + 60 >= away.as_secs()),
        "{owed_s:?}"
    );
    assert!(peak_kib < 200 << 10, "{peak_kib} KiB");
    let port = root
        .endpoint
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    let again = minio_at("weir-away", port.expect("it names one"), data.path()).await;
    let back = Instant::now();
    // Clients go on sending: of what was owed by then nothing is left.
    while world
        .metric("weir_archive_oldest_owed_seconds")
        .await
        .is_none_or(|owed| owed > back.elapsed().as_secs().min(20))
    {
        assert!(back.elapsed() < Duration::from_secs(600), "{}", process.said());
        sleep(Duration::from_millis(200)).await;
    }
    eprintln!(
        "nothing of before is owed {:?} after it came back",
        back.elapsed()
    );
    process.stop().await;
    let report = world.finish().await;
    // Who was on the line when the gateway stopped may be without an answer; nobody was refused.
    assert!(report.acknowledged > 0 && report.refused == 0, "{report:?}");
    drop(again);
}

/// The verifier reads a log as long as one may be, in bounded memory, and finds one byte of it that was changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_a_million_entries() {
    const ENTRIES: u64 = 1_000_000;
    // Some 250 bytes an object, since none may be named twice in all logs.
    const MEMORY_KIB_MAX: u64 = 350 << 10;
    let dir = tempfile::tempdir().unwrap();
    let at = Time::from_millis(now().millis() - 600_000);
    let origin = Origin::new("example/long", "gw-0", Session::new(at, [7; 10])).expect("names");
    let mut writer = Writer::open(origin, Signer::generate().expect("a key"), at, None);
    let mut store = Store::default();
    let like = writer.stored(&mut store, "tenant-00", 512, b"an object");
    store.files.clear();
    writer.seq = 0;
    let mut segments = Vec::new();
    while writer.log.size() < ENTRIES {
        // With its first line, and the books that seal it.
        let first = u64::from(writer.log.open_entries() == 0);
        let count = 298.min(ENTRIES - writer.log.size() - first - 1);
        for n in 0..count {
            let mut obj = like.clone();
            let tenant = format!("tenant-{:02}", n % 20);
            obj.key = obj.key.replace("tenant-00", &tenant);
            obj.key = obj.key.replace("0000000000", &format!("{:010}", writer.seq));
            obj.seq = writer.seq;
            obj.sha256 = sha256(&obj.seq.to_be_bytes());
            let book = writer.books.entry(tenant.clone()).or_default();
            (book[0], book[1]) = (book[0] + obj.n, book[1] + obj.n);
            obj.tenant = tenant;
            writer.append(Kind::Obj(Box::new(obj)));
            writer.seq += 1;
        }
        writer.wait(10);
        writer.seal(&mut store);
        for (key, versions) in std::mem::take(&mut store.files) {
            let path = dir.path().join(&key);
            fs::create_dir_all(path.parent().expect("it is below one")).unwrap();
            fs::write(&path, versions[0].bytes.as_deref().expect("its bytes")).unwrap();
            if key.contains("/seg/") {
                segments.push(path);
            }
        }
    }
    assert_eq!(writer.log.size(), ENTRIES);
    let policy = dir.path().join("trust.policy");
    fs::write(&policy, writer.log_line()).unwrap();
    let verify = || {
        let began = Instant::now();
        let mut child = Command::new(weir())
            .args(["archive", "verify", "--level", "log", "--json", "--from-dir"])
            .arg(dir.path())
            .arg("--policy")
            .arg(&policy)
            .stdout(fs::File::create(dir.path().join("said.json")).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut peak_kib = 0;
        let ended = loop {
            if let Some(kib) = fs::read_to_string(&status).ok().and_then(|page| peak(&page)) {
                peak_kib = kib;
            }
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let said = fs::read_to_string(dir.path().join("said.json")).unwrap();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
        eprintln!("{ended}, {peak_kib} KiB, {:?}", began.elapsed());
        (ended.code(), said, peak_kib)
    };
    let (code, said, peak_kib) = verify();
    assert_eq!(code, Some(0), "{}", said["findings"]);
    assert_eq!(said["totals"]["entries"], ENTRIES, "{}", said["totals"]);
    assert!(peak_kib < MEMORY_KIB_MAX, "{peak_kib} KiB");

    let changed = &segments[segments.len() / 2];
    let mut bytes = fs::read(changed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(changed, bytes).unwrap();
    let (code, said, peak_kib) = verify();
    assert_eq!(code, Some(1), "{}", said["findings"]);
    // The head that was signed over it is called as the segment after it.
    let next = segments[segments.len() / 2 + 1]
        .file_stem()
        .and_then(|name| name.to_str());
    let head = format!("/cp/{}.txt", next.expect("a name"));
    let findings = said["findings"].as_array().expect("a list");
    let is_named = |found: &serde_json::Value| {
        found["what"] == "root_mismatch"
            && found["where"]
                .as_str()
                .is_some_and(|place| place.ends_with(&head))
    };
    assert!(findings.iter().any(is_named), "{head}: {findings:?}");
    assert!(peak_kib < MEMORY_KIB_MAX, "{peak_kib} KiB");
}

/// `VmHWM` of a page of `/proc`.
fn peak(page: &str) -> Option<u64> {
    let line = page.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

const TENANTS: usize = 1_000;
/// Requests a second of each signal, and tenants in each.
const REQUESTS: u64 = 10;
const TENANTS_IN_REQUEST: usize = 40;
/// Of 900 bytes: 3,600 records a second of each signal make 10 MB/s of all.
const RECORDS_OF_TENANT: usize = 9;
const RECORD_BYTES: usize = 900;

/// Ten megabytes a second of a thousand tenants' logs, spans and points, over the end of an hour.
#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_a_thousand_tenants() {
    const MEMORY_KIB_MAX: u64 = 300 << 10;
    const OBJECTS_MAX: usize = 6;
    let time = secs("WEIR_HOUR_SECS", 3_600);
    let dir = tempfile::tempdir().unwrap();
    let [grpc, metrics] = std::array::from_fn(|_| free_port());
    let config = dir.path().join("weir.yaml");
    fs::write(&config, config_in(dir.path(), grpc, metrics)).unwrap();
    let mut process = Process::start(&config, dir.path().join("weir.log"), None);
    let listens = Instant::now() + Duration::from_secs(60);
    while tokio::net::TcpStream::connect(("127.0.0.1", grpc)).await.is_err() {
        assert!(
            Instant::now() < listens && process.ended().is_none(),
            "{}",
            process.said()
        );
        sleep(Duration::from_millis(20)).await;
    }
    let client = Grpc::connect(SocketAddr::from(([127, 0, 0, 1], grpc))).await;
    let mut rng = Rng(7);
    let bodies: [Vec<Bytes>; 3] = [LOGS, TRACES, METRICS].map(|path| requests(path, &mut rng));
    let (mut sent, mut peak_kib, mut calls) = (0u64, 0, 0usize);
    let mut tick = interval(Duration::from_secs(1) / REQUESTS as u32);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let began = Instant::now();
    while began.elapsed() < time {
        tick.tick().await;
        for (path, bodies) in [LOGS, TRACES, METRICS].into_iter().zip(&bodies) {
            let answer = client.export(path, &bodies[calls % bodies.len()]).await;
            assert_eq!(answer.code, 0, "{}: {}", answer.message, process.said());
            sent += (TENANTS_IN_REQUEST * RECORDS_OF_TENANT) as u64;
        }
        calls += 1;
        peak_kib = peak_kib.max(process.memory_kib());
    }
    let took = began.elapsed();
    let page = get(metrics, "/metrics").await.expect("metrics").1;
    let rolls: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("weir_archive_rolls"))
        .collect();
    process.stop().await;
    let mut objects: BTreeMap<String, usize> = BTreeMap::new();
    let mut records = 0;
    let mut log = Vec::new();
    files_below(&dir.path().join("archive/_weir/v1/log"), &mut log);
    for segment in log
        .iter()
        .filter(|path| path.parent().is_some_and(|of| of.ends_with("seg")))
    {
        for line in fs::read(segment)
            .unwrap()
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
        {
            if let Kind::Obj(obj) = Entry::parse(line).expect("an entry").kind
                && obj.tenant != OWN_TENANT
            {
                records += obj.n;
                // Everything before the name of the file: class, tenant, signal and hour.
                let partition = obj.key.rsplit_once('/').expect("it has folders").0;
                *objects.entry(partition.to_owned()).or_default() += 1;
            }
        }
    }
    let most = objects.values().max().copied().unwrap_or_default();
    eprintln!(
        "{sent} records in {took:?}, at most {peak_kib} KiB; {} objects of {} partitions and hours, at most {most} of one; {rolls:#?}",
        objects.values().sum::<usize>(),
        objects.len(),
    );
    assert_eq!(records, sent);
    assert!(objects.len() >= 3 * TENANTS, "{}", objects.len());
    assert!(most <= OBJECTS_MAX, "{most}");
    let early = |line: &&&str| line.contains("\"limit\"") || line.contains("\"quota\"");
    assert!(
        !rolls.iter().any(|line| early(&line) && !line.ends_with(" 0")),
        "{rolls:#?}"
    );
    assert!(peak_kib < MEMORY_KIB_MAX, "{peak_kib} KiB");
}

fn files_below(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => files_below(&path, found),
            path => found.push(path),
        }
    }
}

fn config_in(dir: &Path, grpc: u16, metrics: u16) -> String {
    let dir = dir.display();
    format!(
        "extensions:
  file_storage: {{directory: '{dir}/journal', create_directory: true}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}}}}}
exporters:
  archive:
    archive: example/hour
    writer: gw-0
    create: true
    state_dir: '{dir}/state'
    storage: file_storage
    lock: {{required: false}}
    store: {{file: {{path: '{dir}/archive'}}}}
service:
  extensions: [file_storage]
  telemetry:
    logs: {{level: warn}}
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [archive]}}
    traces: {{receivers: [otlp], exporters: [archive]}}
    metrics: {{receivers: [otlp], exporters: [archive]}}
"
    )
}

/// Requests of a signal in which each tenant comes as often as any other.
fn requests(path: &str, rng: &mut Rng) -> Vec<Bytes> {
    let tenants: Vec<usize> = (0..TENANTS).collect();
    tenants
        .chunks(TENANTS_IN_REQUEST)
        .map(|tenants| {
            let resources = tenants.iter().map(|tenant| Resource {
                attributes: vec![
                    attr("service.name", text("checkout")),
                    attr("tenant.id", text(&format!("tenant-{tenant:04}"))),
                ],
                ..Resource::default()
            });
            match path {
                LOGS => ExportLogsServiceRequest {
                    resource_logs: resources.map(|resource| logs(resource, rng)).collect(),
                }
                .encode_to_vec(),
                TRACES => ExportTraceServiceRequest {
                    resource_spans: resources.map(|resource| spans(resource, rng)).collect(),
                }
                .encode_to_vec(),
                _ => ExportMetricsServiceRequest {
                    resource_metrics: resources.map(|resource| points(resource, rng)).collect(),
                }
                .encode_to_vec(),
            }
            .into()
        })
        .collect()
}

/// Words that compress as logs do, about a record's bytes of them.
fn attributes(rng: &mut Rng) -> Vec<KeyValue> {
    const WORDS: [&str; 8] = [
        "GET",
        "/cart/items",
        "upstream",
        "200",
        "via_upstream",
        "outbound|8080",
        "inbound",
        "istio",
    ];
    let mut line = String::new();
    while line.len() < RECORD_BYTES - 60 {
        line.push_str(WORDS[rng.below(8) as usize]);
        line.push_str(&format!(" {:x} ", rng.below(1 << 24)));
    }
    vec![attr("line", text(&line))]
}

fn logs(resource: Resource, rng: &mut Rng) -> ResourceLogs {
    let record = |_| LogRecord {
        time_unix_nano: 1_760_000_000_000_000_000,
        attributes: attributes(rng),
        ..LogRecord::default()
    };
    ResourceLogs {
        resource: Some(resource),
        scope_logs: vec![ScopeLogs {
            log_records: (0..RECORDS_OF_TENANT).map(record).collect(),
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    }
}

fn spans(resource: Resource, rng: &mut Rng) -> ResourceSpans {
    let span = |n: usize| Span {
        trace_id: vec![1 + n as u8; 16],
        span_id: vec![1 + n as u8; 8],
        name: "GET /cart".into(),
        start_time_unix_nano: 1_760_000_000_000_000_000,
        end_time_unix_nano: 1_760_000_000_100_000_000,
        attributes: attributes(rng),
        ..Span::default()
    };
    ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![ScopeSpans {
            spans: (0..RECORDS_OF_TENANT).map(span).collect(),
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }
}

fn points(resource: Resource, rng: &mut Rng) -> ResourceMetrics {
    let point = |n: usize| NumberDataPoint {
        time_unix_nano: 1_760_000_000_000_000_000,
        attributes: attributes(rng),
        value: Some(number_data_point::Value::AsInt(n as i64)),
        ..NumberDataPoint::default()
    };
    let data_points = (0..RECORDS_OF_TENANT).map(point).collect();
    ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![ScopeMetrics {
            metrics: vec![Metric {
                name: "queue.length".into(),
                data: Some(metric::Data::Gauge(Gauge { data_points })),
                ..Metric::default()
            }],
            ..ScopeMetrics::default()
        }],
        ..ResourceMetrics::default()
    }
}

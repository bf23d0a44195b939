//! The collector's `awss3` exporter and receiver over the same buckets as Weir's: what the one writes the other reads,
//! record by record, and the same configuration makes the same names of both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use objects::ObjectStore;
use objects::test_kit::Administrator;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use super::bucket::bucket_at;
use super::bucket_goldens::{Form, Manifest, Told, folder, forms, golden, manifest};
use super::client::{post_otlp, raw};
use super::compat::updates;
use super::gateway::{Gateway, weir};
use super::moto_server::moto;
use super::peer::Peer;
use super::server::Server;
use super::{installed, sample, until};

/// The collector with these components.
const OTELCOL: &str = "otelcol-awss3/otelcol";
const MOTO: &str = "venv/bin/moto_server";
/// What a configuration does not say: credentials, and a time zone.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "anybody"),
    ("AWS_SECRET_ACCESS_KEY", "anything"),
    ("TZ", "America/New_York"),
];
/// moto, the collector, and buckets.
struct World {
    _moto: Server,
    port: u16,
    otelcol: PathBuf,
    /// Nothing was written before, Unix seconds.
    begun: i64,
}

impl World {
    /// With a bucket of each name; `None` if something is not installed.
    async fn with(buckets: &[&str]) -> Option<World> {
        let (otelcol, program) = (installed(OTELCOL)?, installed(MOTO)?);
        let (moto, port) = moto(program, &[]).await;
        let world = World {
            _moto: moto,
            port,
            otelcol,
            begun: jiff::Timestamp::now().as_second(),
        };
        for bucket in buckets {
            world.bucket(bucket).await.make_bucket(false).await;
        }
        Some(world)
    }

    async fn bucket(&self, name: &str) -> Administrator {
        Administrator::of(&bucket_at(self.port, name, "anybody", "anything")).await
    }

    /// Keys of `s3uploader` and `s3downloader`.
    fn at(&self, bucket: &str) -> String {
        format!(
            "endpoint: 'http://127.0.0.1:{}', s3_force_path_style: true, s3_bucket: {bucket}",
            self.port
        )
    }

    /// A program that writes what it is sent by each of these exporters: the name, keys of `s3uploader` and more.
    async fn writes(&self, program: &Path, bucket: &str, exporters: &[Exporter]) -> Gateway {
        let (mut text, mut pipelines) = (String::new(), String::new());
        for exporter in exporters {
            let (name, at) = (&exporter.name, self.at(bucket));
            text += &format!(
                "  awss3/{name}: {{s3uploader: {{{at}{}}}{}}}\n",
                exporter.uploader, exporter.more
            );
            for signal in exporter.signals {
                pipelines +=
                    &format!("    {signal}/{name}: {{receivers: [otlp], exporters: [awss3/{name}]}}\n");
            }
        }
        let config = format!(
            "receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{{http}}'}}}}}}
exporters:
{text}{REST}{pipelines}"
        );
        Gateway::run_in(program, &config, &ENVIRONMENT).await
    }

    /// A program that hands on what was written until now, by each of these receivers, to a path of a peer by its name.
    async fn reads(&self, program: &Path, bucket: &str, receivers: &[Reads], peer: &Peer) -> Gateway {
        let (mut from, mut to, mut pipelines) = (String::new(), String::new(), String::new());
        let time = |seconds| jiff::Timestamp::from_second(seconds).unwrap().to_string();
        let end = time(jiff::Timestamp::now().as_second() + 60);
        for Reads { name, keys, step } in receivers {
            // The collector steps by directories: from within the first it would pass over the last.
            let start = time(self.begun.div_euclid(*step) * step);
            let at = self.at(bucket);
            from += &format!(
                "  awss3/{name}: {{starttime: '{start}', endtime: '{end}', s3downloader: {{{at}{keys}}}}}\n"
            );
            to += &format!(
                "  otlp_http/{name}: {{endpoint: 'http://{}/{name}', compression: none}}\n",
                peer.addr
            );
            for signal in SIGNALS {
                pipelines += &format!(
                    "    {signal}/{name}: {{receivers: [awss3/{name}], exporters: [otlp_http/{name}]}}\n"
                );
            }
        }
        let config = format!("receivers:\n{from}exporters:\n{to}{REST}{pipelines}");
        Gateway::run_in(program, &config, &ENVIRONMENT).await
    }

    /// The keys of a bucket, and what the store was told of each.
    async fn told(&self, bucket: &str) -> Vec<(String, Told)> {
        let store = self.bucket(bucket).await;
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let page = store.store().list("", &after).await.unwrap();
            let Some(last) = page.last() else { return all };
            after.clone_from(&last.key);
            for listed in page {
                let head = self.head(bucket, &listed.key).await;
                let headers = head.lines().filter_map(|line| line.split_once(": "));
                let told = Told::of(&listed.key, headers);
                all.push((listed.key, told));
            }
        }
    }

    /// What the store says of an object, as it says it.
    async fn head(&self, bucket: &str, key: &str) -> String {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        let mut path = String::new();
        for byte in key.bytes() {
            match is_plain(byte) {
                true => path.push(char::from(byte)),
                false => path += &format!("%{byte:02X}"),
            }
        }
        let request = format!(
            "HEAD /{bucket}/{path} HTTP/1.1\r\nhost: moto\r\nauthorization: AWS anybody:any\r\nconnection: close\r\n\r\n"
        );
        let answer = raw(SocketAddr::from(([127, 0, 0, 1], self.port)), request.as_bytes()).await;
        assert_eq!(answer.status, 200, "{key}: {}", answer.head);
        answer.head
    }
}

/// One of the receivers of a configuration.
struct Reads {
    name: String,
    /// More keys of `s3downloader`, each with a comma before it.
    keys: String,
    /// Seconds that a directory is for.
    step: i64,
}

impl Reads {
    /// What [`Exporter::of`] this form writes.
    fn of(form: Form) -> Reads {
        let name = form.name();
        Reads {
            keys: format!(", s3_prefix: {name}"),
            step: 60,
            name,
        }
    }
}

const SIGNALS: &[&str] = &["logs", "metrics", "traces"];

const REST: &str = "extensions:
  health_check: {endpoint: '127.0.0.1:{health}'}
service:
  extensions: [health_check]
  telemetry: {metrics: {level: none}}
  pipelines:
";

/// One of the exporters of a configuration.
struct Exporter {
    name: String,
    /// More keys of `s3uploader`, each with a comma before it.
    uploader: String,
    /// More keys of the exporter.
    more: String,
    signals: &'static [&'static str],
}

impl Exporter {
    /// Below a prefix of its name.
    fn of(form: Form) -> Exporter {
        let name = form.name();
        Exporter {
            uploader: format!(", s3_prefix: {name}, compression: {}", form.compression),
            more: format!(", marshaler: {}", form.marshaler),
            signals: form.signals(),
            name,
        }
    }
}

/// A request of each signal.
fn requests() -> BTreeMap<&'static str, Vec<u8>> {
    BTreeMap::from([
        ("logs", sample::logs(5).encode_to_vec()),
        ("metrics", sample::metrics().encode_to_vec()),
        ("traces", sample::traces(3).encode_to_vec()),
    ])
}

async fn send(gateway: &Gateway, requests: &BTreeMap<&str, Vec<u8>>) {
    let door = SocketAddr::from(([127, 0, 0, 1], gateway.http));
    for (signal, body) in requests {
        let answer = post_otlp(door, &format!("/v1/{signal}"), body).await;
        assert_eq!(answer.status, 200, "{signal}: {}", gateway.log());
    }
}

/// A message as text, by the path that it was sent to.
fn shown(path: &str, body: &[u8]) -> String {
    match path.rsplit('/').next() {
        Some("logs") => format!("{:#?}", ExportLogsServiceRequest::decode(body).unwrap()),
        Some("metrics") => format!("{:#?}", ExportMetricsServiceRequest::decode(body).unwrap()),
        _ => format!("{:#?}", ExportTraceServiceRequest::decode(body).unwrap()),
    }
}

/// Waits until a peer has one message at each of these paths, which must be what they are, and no more.
async fn arrived(peer: &Peer, expected: &BTreeMap<String, Vec<u8>>, reader: &Gateway) {
    let all = || async { peer.taken().len() >= expected.len() };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(25), until("all has arrived", all));
    if waited.await.is_err() {
        let taken: BTreeSet<String> = peer.taken().into_iter().map(|one| one.path).collect();
        panic!("only {taken:?} arrived: {}", reader.log());
    }
    let mut left = expected.clone();
    for one in peer.taken() {
        let Some(sent) = left.remove(&one.path) else {
            panic!("{} came once more than it was sent", one.path)
        };
        let (found, sent) = (shown(&one.path, &one.message), shown(&one.path, &sent));
        assert!(found == sent, "{}: {found}\nis not\n{sent}", one.path);
    }
}

/// What one wrote in every form, in directories of every kind, the other hands on, equal to what was sent.
async fn is_read(writer: impl Fn(&World) -> PathBuf, reader: impl Fn(&World) -> PathBuf, unread: &[&str]) {
    let Some(world) = World::with(&["telemetry"]).await else {
        return;
    };
    let mut exporters: Vec<Exporter> = forms().into_iter().map(Exporter::of).collect();
    let mut receivers: Vec<Reads> = forms().into_iter().map(Reads::of).collect();
    let places = [
        (
            "by-hour",
            "s3_partition_format: '%Y/%m/%d/%H'",
            "s3_partition_format: '%Y/%m/%d/%H'",
            3600,
        ),
        (
            "elsewhere",
            "s3_partition_timezone: Asia/Kolkata, file_prefix: sub/f-",
            "s3_partition_timezone: Asia/Kolkata, file_prefix: sub/f-",
            60,
        ),
        (
            "below",
            "s3_base_prefix: below, s3_prefix: of/it, unique_key_func_name: uuidv7",
            "s3_prefix: below/of/it",
            60,
        ),
        ("slash", "s3_prefix: /", "s3_prefix: /", 60),
    ];
    for (name, uploader, downloader, step) in places {
        exporters.push(Exporter {
            name: name.into(),
            uploader: format!(", {uploader}"),
            more: String::new(),
            signals: SIGNALS,
        });
        receivers.push(Reads {
            name: name.into(),
            keys: format!(", {downloader}"),
            step,
        });
    }
    let mut front = world.writes(&writer(&world), "telemetry", &exporters).await;
    send(&front, &requests()).await;
    front.stop().await;

    let peer = Peer::start().await;
    let mut expected = BTreeMap::new();
    for exporter in exporters.iter().filter(|one| !unread.contains(&&*one.name)) {
        for (signal, body) in requests() {
            expected.insert(format!("/{}/v1/{signal}", exporter.name), body);
        }
    }
    let mut behind = world.reads(&reader(&world), "telemetry", &receivers, &peer).await;
    arrived(&peer, &expected, &behind).await;
    behind.stop().await;
    assert_eq!(peer.taken().len(), expected.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_weir_wrote_the_collector_reads() {
    // The collector's receiver of this version knows no zstd, and leaves such objects out as it does lines of text.
    let unread = [
        "body-none",
        "body-gzip",
        "body-zstd",
        "otlp_json-zstd",
        "otlp_proto-zstd",
    ];
    is_read(|_| weir(), |world| world.otelcol.clone(), &unread).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_collector_wrote_weir_reads() {
    let unread = ["body-none", "body-gzip", "body-zstd"];
    is_read(|world| world.otelcol.clone(), |_| weir(), &unread).await;
}

/// What the collector puts up in parts has no digest of the whole.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_collector_wrote_in_parts_weir_reads() {
    let Some(world) = World::with(&["telemetry"]).await else {
        return;
    };
    let form = Form {
        marshaler: "otlp_json",
        compression: "none",
    };
    let exporter = Exporter::of(form);
    let receivers = [Reads::of(form)];
    let large = sample::logs(6_000).encode_to_vec();
    let mut front = world.writes(&world.otelcol, "telemetry", &[exporter]).await;
    send(&front, &BTreeMap::from([("logs", large.clone())])).await;
    front.stop().await;
    let told = world.told("telemetry").await;
    let [(key, _)] = told.as_slice() else {
        panic!("one object: {told:?}")
    };
    // Parts make a tag of their own kind.
    let head = world.head("telemetry", key).await;
    assert!(head.contains("-2\""), "{head}");

    let peer = Peer::start().await;
    let mut behind = world.reads(&weir(), "telemetry", &receivers, &peer).await;
    let expected = BTreeMap::from([("/otlp_json-none/v1/logs".to_owned(), large)]);
    arrived(&peer, &expected, &behind).await;
    behind.stop().await;
}

/// One configuration for both, and what each tells the store.
#[tokio::test(flavor = "multi_thread")]
async fn both_call_their_objects_alike() {
    let Some(world) = World::with(&[]).await else {
        return;
    };
    let formats = [
        "%Y/%j",
        "%G-W%V",
        "%a %A %b %B %h %d %e %-d %m %-m %y %C %D %F %u %w %U %g",
        "%H %I %k %l %M %p %P %Z %z %R",
        "%x %v %%",
        "",
        "plain",
        "/%Y/",
        "%Y//%m/./%d",
    ];
    let prefixes = [
        "a",
        "a/b",
        "a/",
        "/a",
        "/",
        "//",
        "a//b",
        "./a",
        "a/.",
        "ä ö+&?#%20",
    ];
    let mut all = vec![
        String::new(),
        "unique_key_func_name: uuidv7".to_owned(),
        "s3_base_prefix: base, s3_prefix: own, file_prefix: f-".to_owned(),
        "s3_base_prefix: base/, s3_prefix: /own/, file_prefix: sub//f-".to_owned(),
        "file_prefix: /f-, s3_partition_format: ''".to_owned(),
        "s3_partition_format: '%Y-%m-%d %H:%M %z %Z'".to_owned(),
        "s3_partition_format: '%Y-%m-%d %H:%M %z %Z', s3_partition_timezone: Asia/Kolkata".to_owned(),
        "s3_partition_format: '%Y-%m-%d %H:%M %z %Z', s3_partition_timezone: Europe/London".to_owned(),
        "storage_class: STANDARD_IA, acl: bucket-owner-full-control".to_owned(),
    ];
    all.extend(formats.map(|format| format!("s3_partition_format: '{format}', s3_partition_timezone: UTC")));
    all.extend(prefixes.map(|prefix| format!("s3_prefix: '{prefix}'")));
    let exporters: Vec<Exporter> = all
        .iter()
        .enumerate()
        .map(|(n, uploader)| Exporter {
            name: n.to_string(),
            uploader: format!(", {uploader}"),
            more: String::new(),
            signals: SIGNALS,
        })
        .chain(forms().into_iter().map(Exporter::of))
        .collect();
    let minute = || jiff::Timestamp::now().as_second() / 60;
    let mut told = Vec::new();
    for attempt in 0..5 {
        let begun = minute();
        told.clear();
        for (name, program) in [("the-collector", world.otelcol.clone()), ("weir", weir())] {
            let bucket = format!("{name}-{attempt}");
            world.bucket(&bucket).await.make_bucket(false).await;
            let mut gateway = world.writes(&program, &bucket, &exporters).await;
            send(&gateway, &requests()).await;
            gateway.stop().await;
            let of_all = world.told(&bucket).await.into_iter();
            let mut of_all: Vec<Told> = of_all.map(|(_, told)| told).collect();
            of_all.sort();
            told.push(of_all);
        }
        // Both write within the same minute, but for bad luck.
        if minute() == begun {
            break;
        }
    }
    let (theirs, ours) = (&told[0], &told[1]);
    let objects: usize = exporters.iter().map(|exporter| exporter.signals.len()).sum();
    assert_eq!((theirs.len(), ours.len()), (objects, objects));
    let only = |some: &[Told], other: &[Told]| -> Vec<Told> {
        some.iter().filter(|one| !other.contains(one)).cloned().collect()
    };
    let (theirs, ours) = (only(theirs, ours), only(ours, theirs));
    assert!(
        theirs.is_empty() && ours.is_empty(),
        "the collector: {theirs:#?}\nWeir: {ours:#?}"
    );
}

/// Resources of one request below the prefixes that they name, each with its own records.
#[tokio::test(flavor = "multi_thread")]
async fn both_divide_a_batch_by_prefix() {
    let Some(world) = World::with(&["the-collector", "weir"]).await else {
        return;
    };
    let exporter = || Exporter {
        name: "routed".into(),
        uploader: ", s3_base_prefix: base, s3_prefix: nowhere".into(),
        more: ", marshaler: otlp_proto, resource_attrs_to_s3: {s3_prefix: to.prefix}".into(),
        signals: &["logs"],
    };
    let mut logs = ExportLogsServiceRequest::default();
    for (n, prefix) in ["x", "y/z", "", "x", "/lead/"].into_iter().enumerate() {
        let mut group = sample::logs(n as u64 + 1).resource_logs.remove(0);
        let named = Some(prefix).filter(|prefix| !prefix.is_empty());
        let named = named.map(|prefix| sample::attr("to.prefix", sample::text(prefix)));
        group.resource.as_mut().unwrap().attributes = named.into_iter().collect();
        logs.resource_logs.push(group);
    }
    let mut found = Vec::new();
    for (bucket, program) in [("the-collector", world.otelcol.clone()), ("weir", weir())] {
        let mut gateway = world.writes(&program, bucket, &[exporter()]).await;
        send(&gateway, &BTreeMap::from([("logs", logs.encode_to_vec())])).await;
        gateway.stop().await;
        let store = world.bucket(bucket).await;
        let mut objects = BTreeMap::new();
        for (key, told) in world.told(bucket).await {
            let read = store.store().get(&key, None).await.unwrap();
            let bytes = read.body.collect(1 << 20).await.unwrap();
            let text = shown("logs", &bytes);
            assert!(objects.insert(told.steady(), text).is_none(), "{key}");
        }
        found.push(objects);
    }
    assert_eq!(found[0].len(), 4);
    assert!(found[0] == found[1], "{found:#?}");
}

/// What is other than there by choice: nobody goes up and out of the base prefix, and each resource goes to its own bucket.
#[tokio::test(flavor = "multi_thread")]
async fn the_collector_leaves_the_base_prefix_and_mixes_buckets() {
    let expected = [
        (false, ["up/d/logs_ID.json"].as_slice(), [].as_slice()),
        (
            true,
            &["base/../up/d/logs_ID.json"],
            &["base/../up/d/logs_ID.json"],
        ),
    ];
    for (is_weir, one, two) in expected {
        let Some(world) = World::with(&["bucket-one", "bucket-two"]).await else {
            return;
        };
        let exporter = Exporter {
            name: "routed".into(),
            uploader: ", s3_base_prefix: base, s3_prefix: ../up, s3_partition_format: d".into(),
            more: ", resource_attrs_to_s3: {s3_bucket: to.bucket}".into(),
            signals: &["logs"],
        };
        let mut logs = ExportLogsServiceRequest::default();
        for bucket in ["bucket-one", "bucket-two"] {
            let mut group = sample::logs(1).resource_logs.remove(0);
            let named = sample::attr("to.bucket", sample::text(bucket));
            group.resource.as_mut().unwrap().attributes = vec![named];
            logs.resource_logs.push(group);
        }
        let program = if is_weir { weir() } else { world.otelcol.clone() };
        let mut gateway = world.writes(&program, "bucket-one", &[exporter]).await;
        send(&gateway, &BTreeMap::from([("logs", logs.encode_to_vec())])).await;
        gateway.stop().await;
        for (bucket, expected) in [("bucket-one", one), ("bucket-two", two)] {
            let told = world.told(bucket).await.into_iter();
            let keys: Vec<String> = told.map(|(_, told)| told.key).collect();
            assert_eq!(keys, expected, "Weir: {is_weir}, {bucket}");
        }
    }
}

/// Tier 1 reads and writes what stands in `peers/awss3`; it is what this collector writes.
#[tokio::test(flavor = "multi_thread")]
async fn the_collector_still_writes_what_the_goldens_hold() {
    let Some(world) = World::with(&["telemetry"]).await else {
        return;
    };
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration-tests/full/builder-awss3.yaml");
    let list = std::fs::read_to_string(list).unwrap();
    let version = list.lines().find_map(|line| line.split_once("/awss3exporter v"));
    let mut fresh = Manifest {
        awss3exporter: version.expect("a version").1.to_owned(),
        ..Manifest::default()
    };
    let mut files = BTreeMap::new();

    // What the collector has in hand when it writes, as it sends it over OTLP.
    let peer = Peer::start().await;
    let config = format!(
        "receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{{http}}'}}}}}}
exporters:
  otlp_http: {{endpoint: 'http://{}', compression: none}}
{REST}    logs: {{receivers: [otlp], exporters: [otlp_http]}}
    metrics: {{receivers: [otlp], exporters: [otlp_http]}}
    traces: {{receivers: [otlp], exporters: [otlp_http]}}
",
        peer.addr
    );
    let mut gateway = Gateway::run(&world.otelcol, &config).await;
    send(&gateway, &golden_requests()).await;
    let sent = golden_requests().into_iter();
    let sent = sent.map(|(signal, body)| (format!("/v1/{signal}"), body));
    arrived(&peer, &sent.collect(), &gateway).await;
    gateway.stop().await;
    for one in peer.taken() {
        let signal = one.path.rsplit('/').next().unwrap();
        files.insert(format!("records/{signal}.binpb"), one.message.to_vec());
    }

    let exporters: Vec<Exporter> = forms()
        .into_iter()
        .map(|form| Exporter {
            name: form.name(),
            uploader: format!(
                ", compression: {}, file_prefix: {}-",
                form.compression,
                form.name()
            ),
            more: format!(", marshaler: {}", form.marshaler),
            signals: form.signals(),
        })
        .collect();
    let mut gateway = world.writes(&world.otelcol, "telemetry", &exporters).await;
    send(&gateway, &golden_requests()).await;
    gateway.stop().await;
    let told = world.told("telemetry").await;
    let bucket = world.bucket("telemetry").await;
    for form in forms() {
        for signal in form.signals() {
            let begins = format!("/{}-", form.name());
            let of_this = |(key, _): &&(String, Told)| key.contains(&format!("{begins}{signal}_"));
            let (key, told) = told.iter().find(of_this).expect("it was written");
            let read = bucket.store().get(key, None).await.unwrap();
            let bytes = read.body.collect(1 << 20).await.unwrap();
            files.insert(form.file(signal), bytes.to_vec());
            let mut told = told.clone().steady();
            told.key = told.key.replace(&begins, "/");
            fresh.objects.insert(form.file(signal), told);
        }
    }
    if updates() {
        for (file, bytes) in &files {
            let path = folder().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let mut text = serde_json::to_string_pretty(&fresh).unwrap();
        text.push('\n');
        std::fs::write(folder().join("manifest.json"), text).unwrap();
    }
    assert_eq!(fresh, manifest());
    for (file, bytes) in &files {
        assert!(*bytes == golden(file), "{file}");
    }
}

/// Small ones.
fn golden_requests() -> BTreeMap<&'static str, Vec<u8>> {
    BTreeMap::from([
        ("logs", sample::logs(3).encode_to_vec()),
        ("metrics", sample::metrics().encode_to_vec()),
        ("traces", sample::traces(2).encode_to_vec()),
    ])
}

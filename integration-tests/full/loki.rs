//! Loki itself: what a gateway sends it in every way reads back as it was sent, and what it refuses is told, booked and
//! not sent again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::client::{Grpc, GrpcAnswer, HttpAnswer, LOGS, frame, raw};
use super::gateway::{Gateway, weir};
use super::pipelines::{booked, service};
use super::sample::{any, attr, text};
use super::server::Server;
use super::{free_port, get, installed, until};

// --- Loki ---

struct Loki {
    port: u16,
    _server: Server,
    _dir: tempfile::TempDir,
}

/// A line as Loki has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stored {
    /// Nanoseconds since 1970.
    time: u64,
    line: String,
    labels: BTreeMap<String, String>,
    metadata: BTreeMap<String, String>,
}

impl Loki {
    /// One that knows its tenants apart, some with limits of their own: `NAME: {LIMIT: VALUE}`, a line each.
    async fn start(limits: &str) -> Option<Loki> {
        let program = installed("loki/loki")?;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (port, grpc) = (free_port(), free_port());
        let mut tenants = "overrides:\n".to_owned();
        for line in limits.lines().filter(|line| !line.trim().is_empty()) {
            writeln!(tenants, "  {}", line.trim()).unwrap();
        }
        std::fs::write(at("tenants.yaml"), tenants).unwrap();
        let config = format!(
            "auth_enabled: true
server:
  {{http_listen_address: 127.0.0.1, http_listen_port: {port}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}, log_level: error}}
common:
  instance_addr: 127.0.0.1
  path_prefix: {data}
  storage: {{filesystem: {{chunks_directory: {data}/chunks, rules_directory: {data}/rules}}}}
  replication_factor: 1
  ring: {{kvstore: {{store: inmemory}}}}
ingester: {{lifecycler: {{min_ready_duration: 0s}}}}
frontend: {{scheduler_dns_lookup_period: 100ms}}
frontend_worker: {{dns_lookup_duration: 100ms}}
query_range: {{cache_results: false}}
schema_config:
  configs: [{{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {{prefix: index_, period: 24h}}}}]
limits_config: {{volume_enabled: false, discover_log_levels: false}}
runtime_config: {{file: {tenants}}}
analytics: {{reporting_enabled: false}}
",
            data = at("data"),
            tenants = at("tenants.yaml"),
        );
        std::fs::write(at("loki.yaml"), config).unwrap();
        let ready = || async move { get(port, "/ready").await.is_some_and(|(status, _)| status == 200) };
        let file = format!("-config.file={}", at("loki.yaml"));
        let server = Server::start(program, &[&file], &[], ready).await;
        Some(Loki {
            port,
            _server: server,
            _dir: dir,
        })
    }

    /// A page, in the old protocol, whose answers are not chunked.
    async fn get(&self, path: &str, tenant: &str) -> HttpAnswer {
        let request = format!(
            "GET {path} HTTP/1.0\r\nhost: loki\r\nx-scope-orgid: {tenant}\r\n\
             x-loki-response-encoding-flags: categorize-labels\r\n\r\n"
        );
        raw(SocketAddr::from(([127, 0, 0, 1], self.port)), request.as_bytes()).await
    }

    /// What LogQL finds for a tenant around `now`, in order.
    async fn query(&self, tenant: &str, selector: &str, now: u64) -> Option<Vec<Stored>> {
        const HOUR: u64 = 3_600_000_000_000;
        let mut query = String::new();
        for byte in selector.bytes() {
            write!(query, "%{byte:02x}").unwrap();
        }
        let path = format!(
            "/loki/api/v1/query_range?query={query}&start={}&end={}&limit=1000&direction=forward",
            now - 24 * HOUR,
            now + 2 * HOUR
        );
        let answer = self.get(&path, tenant).await;
        if answer.status != 200 {
            return None;
        }
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let texts = |map: &serde_json::Value| {
            let pairs = map.as_object().into_iter().flatten();
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            pairs.map(|(name, value)| (name.clone(), text(value))).collect()
        };
        let mut found = Vec::new();
        for stream in answer["data"]["result"].as_array().unwrap() {
            for value in stream["values"].as_array().unwrap() {
                found.push(Stored {
                    time: value[0].as_str().unwrap().parse().unwrap(),
                    line: value[1].as_str().unwrap().to_owned(),
                    labels: texts(&stream["stream"]),
                    metadata: texts(&value[2]["structuredMetadata"]),
                });
            }
        }
        found.sort();
        Some(found)
    }

    /// The same, once there are so many.
    async fn found(&self, tenant: &str, selector: &str, now: u64, count: usize) -> Vec<Stored> {
        let found = std::cell::RefCell::new(Vec::new());
        until(&format!("{tenant} has {count} lines"), || async {
            let lines = self.query(tenant, selector, now).await.unwrap_or_default();
            let is_all = lines.len() >= count;
            found.replace(lines);
            is_all
        })
        .await;
        found.into_inner()
    }

    /// Lines of a tenant that were sent, refused ones and repeated ones with them; and how many of these it refused.
    async fn counted(&self, tenant: &str) -> (u64, u64) {
        let page = String::from_utf8(self.get("/metrics", "").await.body).unwrap();
        let own = format!("tenant=\"{tenant}\"");
        let sum = |name: &str| {
            let lines = page
                .lines()
                .filter(|line| line.starts_with(name) && line.contains(&own));
            let number = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
            lines.map(number).sum::<f64>() as u64
        };
        (
            sum("loki_distributor_lines_received_total{"),
            sum("loki_discarded_samples_total{"),
        )
    }
}

// --- Gateways ---

/// A gateway without queues, so that clients hear what became of their records. Each exporter has its own pipeline and
/// its own place to listen at.
async fn serve(exporters: [(&str, &str); 2]) -> Gateway {
    let [(first, one), (second, two)] = exporters;
    let config = format!(
        "receivers:
  otlp/one: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{{grpc}}', include_metadata: true}}}}}}
  otlp/two: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{{http}}', include_metadata: true}}}}}}
exporters:
  {first}: {{{one}, sending_queue: {{enabled: false}}}}
  {second}: {{{two}, sending_queue: {{enabled: false}}}}
{}",
        service(&format!(
            "logs/one: {{receivers: [otlp/one], exporters: [{first}]}}
             logs/two: {{receivers: [otlp/two], exporters: [{second}]}}"
        ))
    );
    Gateway::run(&weir(), &config).await
}

async fn client(port: u16) -> Grpc {
    Grpc::connect(SocketAddr::from(([127, 0, 0, 1], port))).await
}

/// Records that an answer calls rejected, and why.
fn rejected(answer: &GrpcAnswer) -> (i64, String) {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;

    assert_eq!(answer.code, 0, "{}", answer.message);
    let message = answer.body.slice(5.min(answer.body.len())..);
    let partial = ExportLogsServiceResponse::decode(message)
        .unwrap()
        .partial_success;
    partial.map_or((0, String::new()), |partial| {
        (partial.rejected_log_records, partial.error_message)
    })
}

// --- Records ---

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

fn texts(all: &[(&str, &str)]) -> Vec<KeyValue> {
    all.iter().map(|(key, value)| attr(key, text(value))).collect()
}

fn group(resource: &[(&str, &str)], log_records: Vec<LogRecord>) -> ResourceLogs {
    ResourceLogs {
        resource: Some(Resource {
            attributes: texts(resource),
            ..Resource::default()
        }),
        scope_logs: vec![ScopeLogs {
            scope: Some(InstrumentationScope {
                name: "lib".into(),
                version: "1".into(),
                ..InstrumentationScope::default()
            }),
            log_records,
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    }
}

fn request(resource_logs: Vec<ResourceLogs>) -> Vec<u8> {
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// A record with nothing but a time and a body.
fn plain(time: u64, body: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: time,
        body: Some(text(body)),
        ..LogRecord::default()
    }
}

// --- Ways in ---

/// The severities of the records, by number.
const SEVERITIES: [(i32, &str, &str); 3] =
    [(9, "Info", "INFO"), (13, "Warn", "WARN"), (17, "Error", "ERROR")];

/// Every kind of attribute, names that Loki writes otherwise, and a line with what JSON escapes.
fn rich(now: u64, i: u64) -> LogRecord {
    let (severity_number, severity_text, _) = SEVERITIES[i as usize % 3];
    let list = vec![text("p"), any(Value::DoubleValue(0.5))];
    let map = KeyValueList {
        values: texts(&[("x.y", "deep")]),
    };
    LogRecord {
        time_unix_nano: now + i * 1_000_003,
        observed_time_unix_nano: now + 9,
        severity_number,
        severity_text: severity_text.into(),
        body: Some(text(&format!("line {i} \"q\" \\ é"))),
        trace_id: vec![0xab; 16],
        span_id: vec![1; 8],
        flags: 1,
        attributes: vec![
            attr("http.method", text("GET")),
            attr("a..b", any(Value::IntValue(i as i64))),
            attr("1st", any(Value::BoolValue(true))),
            attr("map", any(Value::KvlistValue(map))),
            attr("list", any(Value::ArrayValue(ArrayValue { values: list }))),
        ],
        ..LogRecord::default()
    }
}

fn map(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    all.iter().map(own).collect()
}

/// What is beside the line of [`rich`], and `more`.
fn metadata(now: u64, i: u64, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let (number, severity, _) = SEVERITIES[i as usize % 3];
    let mut all = map(more);
    all.extend(map(&[
        ("observed_timestamp", &(now + 9).to_string()),
        ("severity_number", &number.to_string()),
        ("severity_text", severity),
        ("trace_id", &"ab".repeat(16)),
        ("span_id", &"01".repeat(8)),
        ("flags", "1"),
        ("http_method", "GET"),
        ("a_b", &i.to_string()),
        ("key_1st", "true"),
        ("map_x_y", "deep"),
        ("list", r#"["p",0.5]"#),
        ("scope_name", "lib"),
        ("scope_version", "1"),
    ]));
    all
}

/// The line that contrib's exporter makes of [`rich`].
fn contribs(i: u64) -> String {
    let (_, severity, _) = SEVERITIES[i as usize % 3];
    format!(
        concat!(
            r#"{{"body":"line {i} \"q\" \\ é","traceid":"{trace}","spanid":"{span}","severity":"{severity}","flags":1,"#,
            r#""attributes":{{"1st":true,"a..b":{i},"http.method":"GET","list":["p",0.5],"map":{{"x.y":"deep"}}}},"#,
            r#""resources":{{"host.name":"h\"1","service.name":"cart","service.namespace":"shop"}},"#,
            r#""instrumentation_scope":{{"name":"lib","version":"1"}}}}"#
        ),
        i = i,
        trace = "ab".repeat(16),
        span = "01".repeat(8),
        severity = severity,
    )
}

const RESOURCE: [(&str, &str); 3] = [
    ("service.name", "cart"),
    ("service.namespace", "shop"),
    ("host.name", "h\"1"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_in_every_way_reads_back_as_it_was_sent() {
    let Some(loki) = Loki::start("").await else { return };
    const RECORDS: u64 = 5;
    let labels = "labels: {resource: {service.name: service_name, host.name: ''}, static: {gateway: weir}}";
    let ways = [
        ("push", format!("format: raw, {labels}")),
        ("json", format!("format: raw, encoding: json, {labels}")),
        (
            "json-plain",
            format!("format: raw, encoding: json, compression: none, {labels}"),
        ),
        ("contrib", String::new()),
        ("otlp", "api: otlp".to_owned()),
        ("otlp-none", "api: otlp, compression: none".to_owned()),
        ("otlp-zstd", "api: otlp, compression: zstd".to_owned()),
        ("otlp-lz4", "api: otlp, compression: lz4".to_owned()),
    ];
    let (mut exporters, mut names) = (String::new(), Vec::new());
    for (tenant, keys) in &ways {
        // Contrib's wants the whole address.
        let path = if *tenant == "contrib" {
            "/loki/api/v1/push"
        } else {
            ""
        };
        let endpoint = format!("http://127.0.0.1:{}{path}", loki.port);
        writeln!(
            exporters,
            "  loki/{tenant}: {{endpoint: '{endpoint}', tenant: {{default: {tenant}}}, sending_queue: {{enabled: false}}, {keys}}}"
        )
        .unwrap();
        names.push(format!("loki/{tenant}"));
    }
    let config = format!(
        "receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{{grpc}}'}}}}}}
exporters:
{exporters}{}",
        service(&format!(
            "logs: {{receivers: [otlp], exporters: [{}]}}",
            names.join(", ")
        ))
    );
    let mut gateway = Gateway::run(&weir(), &config).await;
    let now = now();
    // Not in the order of their times.
    let records = [3, 0, 4, 1, 2].map(|i| rich(now, i)).to_vec();
    let answer = client(gateway.grpc)
        .await
        .export(LOGS, &request(vec![group(&RESOURCE, records)]))
        .await;
    assert_eq!(rejected(&answer), (0, String::new()));

    for (tenant, _) in &ways {
        let found = loki
            .found(tenant, r#"{service_name=~".+"}"#, now, RECORDS as usize)
            .await;
        let expected = |i: u64| {
            let (labels, metadata) = match *tenant {
                "contrib" => {
                    let level = SEVERITIES[i as usize % 3].2;
                    // The name of the service is what Loki makes of the job.
                    let labels = [
                        ("exporter", "OTLP"),
                        ("job", "shop/cart"),
                        ("level", level),
                        ("service_name", "shop/cart"),
                    ];
                    (map(&labels), BTreeMap::new())
                }
                tenant if tenant.starts_with("otlp") => (
                    map(&[("service_name", "cart"), ("service_namespace", "shop")]),
                    metadata(now, i, &[("host_name", "h\"1")]),
                ),
                _ => (
                    map(&[
                        ("gateway", "weir"),
                        ("host_name", "h\"1"),
                        ("service_name", "cart"),
                    ]),
                    metadata(now, i, &[("service_namespace", "shop")]),
                ),
            };
            Stored {
                time: now + i * 1_000_003,
                line: match *tenant {
                    "contrib" => contribs(i),
                    _ => format!("line {i} \"q\" \\ é"),
                },
                labels,
                metadata,
            }
        };
        assert_eq!(found, (0..RECORDS).map(expected).collect::<Vec<_>>(), "{tenant}");
        assert_eq!(loki.counted(tenant).await, (RECORDS, 0), "{tenant}");
        assert_eq!(
            booked(&gateway, &format!("loki/{tenant}")).await,
            (RECORDS, 0),
            "{tenant}"
        );
    }
    gateway.stop().await;
}

// --- Refusals ---

/// Something that Loki takes a part of.
struct Case {
    /// Of the two tenants, which have it in their names.
    name: &'static str,
    /// What Loki allows them.
    limits: &'static str,
    groups: Vec<ResourceLogs>,
    /// Bodies of what it keeps.
    stored: &'static [&'static str],
    /// Records that it does not, and what it says of one.
    rejected: i64,
    says: &'static str,
}

const SERVICE: [(&str, &str); 1] = [("service.name", "cart")];
/// Three labels beside the service's name.
const LABELLED: [(&str, &str); 4] = [
    ("service.name", "cart"),
    ("cloud.region", "eu"),
    ("k8s.cluster.name", "one-of-many"),
    ("k8s.namespace.name", "shop"),
];
const SECOND: u64 = 1_000_000_000;

fn with(attributes: Vec<KeyValue>, mut record: LogRecord) -> LogRecord {
    record.attributes = attributes;
    record
}

fn cases(now: u64) -> Vec<Case> {
    let at = |k: u64| now + k;
    let (a, b) = (|| plain(at(1), "a"), || plain(at(2), "b"));
    let three = |resource: &[(&str, &str)]| {
        let records = (3..6).map(|k| plain(at(k), &format!("refused {k}"))).collect();
        group(resource, records)
    };
    let [old, older] = [1, 2].map(|second| plain(second * SECOND, "old"));
    let long = "x".repeat(101);
    let many: Vec<KeyValue> = (0..5).map(|k| attr(&format!("k{k}"), text("v"))).collect();
    vec![
        Case {
            name: "old",
            limits: "",
            groups: vec![group(&SERVICE, vec![old.clone(), a(), older.clone(), b()])],
            stored: &["a", "b"],
            rejected: 2,
            says: "has timestamp too old",
        },
        Case {
            name: "new",
            limits: "",
            groups: vec![group(&SERVICE, vec![a(), plain(at(3600 * SECOND), "ahead"), b()])],
            stored: &["a", "b"],
            rejected: 1,
            says: "has timestamp too new",
        },
        Case {
            name: "long",
            limits: "max_line_size: 100B",
            groups: vec![group(&SERVICE, vec![plain(at(3), &long), a()])],
            stored: &["a"],
            rejected: 1,
            says: "max entry size",
        },
        Case {
            name: "names",
            limits: "max_label_names_per_series: 2",
            groups: vec![three(&LABELLED), group(&SERVICE, vec![a(), b()])],
            stored: &["a", "b"],
            rejected: 3,
            says: "has 3 label names; limit 2",
        },
        Case {
            name: "name",
            limits: "max_label_name_length: 16",
            groups: vec![group(&SERVICE, vec![a()]), three(&[LABELLED[0], LABELLED[3]])],
            stored: &["a"],
            rejected: 3,
            says: "label name too long",
        },
        Case {
            name: "value",
            limits: "max_label_value_length: 10",
            groups: vec![three(&[LABELLED[0], LABELLED[2]]), group(&SERVICE, vec![a()])],
            stored: &["a"],
            rejected: 3,
            says: "label value too long",
        },
        Case {
            name: "entries",
            limits: "max_structured_metadata_entries_count: 4",
            groups: vec![group(&SERVICE, vec![with(many, plain(at(3), "many")), a()])],
            stored: &["a"],
            rejected: 1,
            says: "has too many structured metadata labels",
        },
        Case {
            name: "size",
            limits: "max_structured_metadata_size: 100B",
            groups: vec![group(
                &SERVICE,
                vec![a(), with(texts(&[("k", &long)]), plain(at(3), "much"))],
            )],
            stored: &["a"],
            rejected: 1,
            says: "has structured metadata too large",
        },
        Case {
            name: "mixed",
            limits: "max_line_size: 100B, max_label_names_per_series: 2",
            groups: vec![
                group(&SERVICE, vec![old, a(), plain(at(3), &long), older]),
                three(&LABELLED),
            ],
            stored: &["a"],
            rejected: 6,
            says: "errors like: ",
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_loki_refuses_is_told_and_booked_and_what_it_stored_is_not_sent_again() {
    let now = now();
    let all = cases(now);
    let mut limits = String::new();
    for (kind, case) in ["push", "otlp"]
        .iter()
        .flat_map(|kind| all.iter().map(move |case| (kind, case)))
    {
        writeln!(limits, "{kind}-{}: {{{}}}", case.name, case.limits).unwrap();
    }
    for kind in ["push", "otlp"] {
        writeln!(
            limits,
            "{kind}-blocked: {{block_ingestion_until: 2100-01-01T00:00:00Z}}"
        )
        .unwrap();
    }
    let Some(loki) = Loki::start(&limits).await else {
        return;
    };
    let own = "tenant: {from: metadata, key: x-tenant}, on_auth_error: reject";
    let endpoint = format!("endpoint: 'http://127.0.0.1:{}'", loki.port);
    // What Loki allows is left to Loki.
    let push = format!(
        "{endpoint}, {own}, format: raw, labels: {{resource: {{service.name: service_name, cloud.region: '', \
         k8s.cluster.name: '', k8s.namespace.name: ''}}}}"
    );
    let otlp = format!("{endpoint}, {own}, api: otlp");
    let mut gateway = serve([("loki/push", &push), ("loki/otlp", &otlp)]).await;
    for (kind, port) in [("push", gateway.grpc), ("otlp", gateway.http)] {
        let grpc = client(port).await;
        let send = async |tenant: &str, groups: Vec<ResourceLogs>| {
            let message = frame(0, &request(groups));
            grpc.call(LOGS, message, &[("x-tenant", tenant)], true).await
        };
        let (mut sent, mut failed) = (0, 0);
        for case in &all {
            let tenant = format!("{kind}-{}", case.name);
            let (number, words) = rejected(&send(&tenant, case.groups.clone()).await);
            assert_eq!(number, case.rejected, "{tenant}: {words}");
            assert!(words.contains(case.says), "{tenant}: {words}");
            let found = loki
                .found(&tenant, r#"{service_name=~".+"}"#, now, case.stored.len())
                .await;
            let lines: Vec<&str> = found.iter().map(|stored| stored.line.as_str()).collect();
            assert_eq!(lines, case.stored, "{tenant}");
            let (stored, refused) = (case.stored.len() as u64, number as u64);
            // Once each: nothing was sent a second time.
            assert_eq!(loki.counted(&tenant).await.0, stored + refused, "{tenant}");
            (sent, failed) = (sent + stored, failed + refused);
        }

        // Behind what the stream has already: that is for the ingester to say.
        let behind = format!("{kind}-behind");
        let hours = |hours: u64| plain(now - hours * 3600 * SECOND, &format!("{hours} hours ago"));
        let none = rejected(&send(&behind, vec![group(&SERVICE, vec![plain(now, "now")])]).await);
        assert_eq!(none, (0, String::new()));
        let late = vec![hours(3), plain(now + 1, "then"), hours(2)];
        let (number, words) = rejected(&send(&behind, vec![group(&SERVICE, late)]).await);
        assert_eq!(number, 2, "{words}");
        assert!(words.contains("entry too far behind"), "{words}");
        let found = loki.found(&behind, r#"{service_name=~".+"}"#, now, 2).await;
        let lines: Vec<&str> = found.iter().map(|stored| stored.line.as_str()).collect();
        assert_eq!(lines, ["now", "then"]);
        assert_eq!(loki.counted(&behind).await, (4, 2));
        (sent, failed) = (sent + 2, failed + 2);

        // A name that Loki can make nothing of: its endpoint for OTLP refuses all that comes with it.
        let nameless = format!("{kind}-nameless");
        let odd = with(texts(&[("__", "odd")]), plain(now + 2, "b"));
        let records = vec![plain(now + 1, "a"), odd, plain(now + 3, "c")];
        let (number, words) = rejected(&send(&nameless, vec![group(&SERVICE, records)]).await);
        let expected = if kind == "push" {
            &["a", "b", "c"][..]
        } else {
            &["a", "c"]
        };
        assert_eq!(number, 3 - expected.len() as i64, "{words}");
        let found = loki
            .found(&nameless, r#"{service_name=~".+"}"#, now, expected.len())
            .await;
        let lines: Vec<&str> = found.iter().map(|stored| stored.line.as_str()).collect();
        assert_eq!(lines, expected);
        (sent, failed) = (sent + expected.len() as u64, failed + number as u64);

        // Nothing of it: the client is refused.
        for (name, says) in [
            ("old", "has timestamp too old"),
            ("blocked", "answered 260"),
            ("", "no org id"),
        ] {
            let tenant = match name {
                "" => String::new(),
                name => format!("{kind}-{name}"),
            };
            let before = loki.counted(&tenant).await.0;
            let answer = send(&tenant, vec![group(&SERVICE, vec![plain(SECOND, "old")])]).await;
            assert_eq!(answer.code, 3, "{tenant}: {}", answer.message);
            assert!(answer.message.contains(says), "{tenant}: {}", answer.message);
            let expected = u64::from(!tenant.is_empty());
            assert_eq!(loki.counted(&tenant).await.0 - before, expected, "{tenant}");
            failed += 1;
        }
        assert_eq!(booked(&gateway, &format!("loki/{kind}")).await, (sent, failed));
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_waited_for_and_what_can_never_pass_goes_in_parts() {
    // 52428 bytes a second, and never more at once; next to nothing.
    let limits = "flood: {ingestion_rate_mb: 0.05, ingestion_burst_size_mb: 0.05}
        huge: {ingestion_rate_mb: 0.05, ingestion_burst_size_mb: 0.05}
        loud: {ingestion_rate_mb: 0.00001, ingestion_burst_size_mb: 0.00001}";
    let Some(loki) = Loki::start(limits).await else {
        return;
    };
    let config = format!(
        "receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{{grpc}}', include_metadata: true}}}}}}
processors:
  tenant: {{from: [{{header: x-tenant, trusted: {{anyone: true}}}}]}}
exporters:
  loki:
    endpoint: 'http://127.0.0.1:{}'
    format: raw
    labels: {{resource: {{service.name: service_name}}}}
    tenant: {{default: '%{{tenant}}'}}
    limits: {{max_push_bytes: 130000}}
    sending_queue: {{num_consumers: 1}}
    retry_on_failure: {{initial_interval: 100ms, max_interval: 1s}}
{}",
        loki.port,
        service("logs: {receivers: [otlp], processors: [tenant], exporters: [loki]}")
    );
    let mut gateway = Gateway::run(&weir(), &config).await;
    let (grpc, now) = (client(gateway.grpc).await, now());
    let send = async |tenant: &str, bodies: &[String]| {
        let records = (0..).zip(bodies).map(|(k, body)| plain(now + k, body)).collect();
        let message = frame(0, &request(vec![group(&SERVICE, records)]));
        let answer = grpc.call(LOGS, message, &[("x-tenant", tenant)], true).await;
        assert_eq!(answer.code, 0, "{}", answer.message);
    };
    let of = |letter: &str, len: usize| letter.repeat(len);
    let few = ["a", "b", "c"].map(str::to_owned);
    // More than Loki takes at once: never as a whole, but a record at a time.
    let flood = ["a", "b", "c", "d"].map(|letter| of(letter, 30_000));
    let huge = [of("a", 140_000), "b".to_owned()];
    send("loud", &few).await;
    send("flood", &flood).await;
    send("huge", &huge).await;
    send("quiet", &few).await;
    for (tenant, stored) in [("quiet", &few[..]), ("flood", &flood), ("huge", &huge[1..])] {
        let found = loki
            .found(tenant, r#"{service_name="cart"}"#, now, stored.len())
            .await;
        let lines: Vec<&String> = found.iter().map(|stored| &stored.line).collect();
        assert_eq!(lines, stored.iter().collect::<Vec<_>>(), "{tenant}");
    }
    until("all but the loud ones are booked", || async {
        booked(&gateway, "loki").await == (8, 1)
    })
    .await;
    for (tenant, stored) in [("quiet", 3), ("flood", 4), ("huge", 1), ("loud", 0)] {
        let (sent, refused) = loki.counted(tenant).await;
        assert_eq!(sent - refused, stored, "{tenant}: {refused} of {sent} refused");
        // Each that was refused whole was there to be refused.
        assert!(
            (refused > 0) == (tenant != "quiet"),
            "{tenant}: {refused} of {sent} refused"
        );
    }
    gateway.stop().await;
}

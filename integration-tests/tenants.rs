//! Tenants through the whole gateway: whose a record is goes with it through batches, queues and the disk to the
//! exporter, and what one of them suffers or does costs the others nothing.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use prost::Message;
use telemetry::{Column, Node, Place};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::Signal;

use crate::support::client::{self, Grpc, LOGS};
use crate::support::gateway::Gateway;
use crate::support::peer::{Answer, Peer};
use crate::support::{sample, tls, until};

/// A gateway: `processors` and `connectors` blocks, exporters, and pipelines.
fn config(extensions: &str, processors: &str, connectors: &str, exporters: &str, pipelines: &str) -> String {
    let services: Vec<&str> = extensions
        .lines()
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(id, _)| id)
        .collect();
    format!(
        r#"
extensions:
{extensions}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}", include_metadata: true}}
      http: {{endpoint: "127.0.0.1:{{http}}", include_metadata: true}}
processors:
{processors}
connectors:
{connectors}
exporters:
{exporters}
service:
  extensions: [{}]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
{pipelines}
"#,
        services.join(", ")
    )
}

const BY_ATTRIBUTE: &str = "  tenant: {from: [{resource_attribute: tenant.id}]}";
const ONE: &str = "    logs: {receivers: [otlp], processors: [tenant], exporters: [otlp_http]}";
const FAST: &str = "retry_on_failure: {initial_interval: 10ms, max_interval: 50ms, max_elapsed_time: 0}";

/// An exporter to `/<tenant>/v1/logs` of a peer.
fn to(peer: &Peer, more: &str) -> String {
    let addr = peer.addr;
    format!(
        "  otlp_http: {{endpoint: 'http://{addr}/%{{tenant}}', compression: none, headers: {{X-Scope-OrgID: '%{{tenant}}'}}, {FAST}{more}}}"
    )
}

/// A request with a resource of so many records for each tenant; an empty name is none.
fn logs(tenants: &[(&str, u64)]) -> Vec<u8> {
    let resource = |(tenant, records): &(&str, u64)| {
        let mut group = sample::logs(*records).resource_logs.remove(0);
        if let Some(resource) = &mut group.resource {
            resource.attributes = match *tenant {
                "" => Vec::new(),
                name => vec![sample::attr("tenant.id", sample::text(name))],
            };
        }
        group
    };
    let resource_logs = tenants.iter().map(resource).collect();
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// Records that a peer took, by path; each must have the header that goes with it.
fn taken(peer: &Peer) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for one in peer.taken() {
        let request = ExportLogsServiceRequest::decode(one.message.clone()).unwrap();
        let tenant = one
            .path
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or("")
            .to_owned();
        if let Some(header) = one.headers.get("x-scope-orgid") {
            assert_eq!(header, tenant.as_str());
        }
        for group in &request.resource_logs {
            let attributes = group
                .resource
                .as_ref()
                .map(|r| r.attributes.clone())
                .unwrap_or_default();
            let named = attributes.iter().find(|a| a.key == "tenant.id");
            let name = named.and_then(|a| a.value.clone());
            assert!(
                name.is_none() || name == Some(sample::text(&tenant)),
                "{tenant} got {name:?}"
            );
            let records: usize = group.scope_logs.iter().map(|s| s.log_records.len()).sum();
            *all.entry(tenant.clone()).or_default() += records as u64;
        }
    }
    all
}

fn counts(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(name, n)| (name.to_string(), *n)).collect()
}

fn by_tenant(gateway: &Gateway, exporter: &str, column: Column) -> BTreeMap<String, u64> {
    let place = Place::Node(Node::Exporter(exporter.into()));
    let row = gateway.telemetry().ledger.row(place, Signal::Logs);
    let all = row.by_tenant().into_iter().map(|(tenant, totals)| {
        let name = tenant.map_or_else(String::new, |name| name.to_string());
        (name, totals.get(column))
    });
    all.filter(|(_, n)| *n > 0).collect()
}

#[tokio::test]
async fn a_tenant_at_429_for_ever_keeps_no_other_waiting() {
    let peer = Peer::start().await;
    peer.always(Answer::BusyPath("/bad/"));
    let gateway = Gateway::start(&config(
        "",
        BY_ATTRIBUTE,
        "",
        &to(&peer, ", sending_queue: {num_consumers: 2}"),
        ONE,
    ))
    .await;
    let grpc = Grpc::connect(gateway.grpc).await;
    for _ in 0..20 {
        assert_eq!(grpc.export(LOGS, &logs(&[("bad", 1)])).await.code, 0);
        assert_eq!(grpc.export(LOGS, &logs(&[("good", 2)])).await.code, 0);
        assert_eq!(
            grpc.export(LOGS, &logs(&[("good", 1), ("bad", 1), ("other", 1), ("good", 1)]))
                .await
                .code,
            0
        );
    }
    let expected = counts(&[("good", 80), ("other", 20)]);
    until("all of the others is there", || taken(&peer) == expected).await;
    until("it is booked", || {
        by_tenant(&gateway, "otlp_http", Column::Out) == expected
    })
    .await;
    assert_eq!(
        by_tenant(&gateway, "otlp_http", Column::In),
        counts(&[("bad", 40), ("good", 80), ("other", 20)])
    );
    peer.always(Answer::Ok);
    let expected = counts(&[("bad", 40), ("good", 80), ("other", 20)]);
    until("the rest comes once it may", || taken(&peer) == expected).await;
    gateway.stop().await;
}

#[tokio::test]
async fn names_survive_the_disk_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start().await;
    peer.always(Answer::Http {
        status: 503,
        retry_after: None,
    });
    let storage = format!("  file_storage: {{directory: '{}'}}", folder.path().display());
    for batch in ["", ", batch: {min_size: 4, flush_timeout: 50ms}"] {
        let before = taken(&peer);
        let exporter = to(
            &peer,
            &format!(", sending_queue: {{storage: file_storage{batch}}}"),
        );
        let config = config(&storage, BY_ATTRIBUTE, "", &exporter, ONE);
        let gateway = Gateway::start(&config).await;
        for request in [
            &[("a", 1)][..],
            &[("b", 2)],
            &[("a", 1), ("b", 1), ("c", 3), ("a", 1)],
        ] {
            let answer = client::post_otlp(gateway.http, "/v1/logs", &logs(request)).await;
            assert_eq!(answer.status, 200);
        }
        gateway.stop_holding(9).await;
        assert_eq!(taken(&peer), before);
        peer.always(Answer::Ok);
        let gateway = Gateway::start(&config).await;
        until("all is delivered", || {
            by_tenant(&gateway, "otlp_http", Column::Out) == counts(&[("a", 3), ("b", 3), ("c", 3)])
        })
        .await;
        gateway.stop().await;
        peer.always(Answer::Http {
            status: 503,
            retry_after: None,
        });
    }
    assert_eq!(taken(&peer), counts(&[("a", 6), ("b", 6), ("c", 6)]));
}

#[tokio::test]
async fn batches_never_mix_tenants() {
    let peer = Peer::start().await;
    let processors = format!("{BY_ATTRIBUTE}\n  batch: {{send_batch_size: 6, timeout: 10s}}");
    let pipelines = "    logs: {receivers: [otlp], processors: [tenant, batch], exporters: [otlp_http]}";
    for queue in ["", ", sending_queue: {enabled: false}"] {
        let peer = if queue.is_empty() {
            &peer
        } else {
            &Peer::start().await
        };
        let gateway = Gateway::start(&config("", &processors, "", &to(peer, queue), pipelines)).await;
        let requests = (0..3).map(|_| {
            let http = gateway.http;
            tokio::spawn(async move {
                client::post_otlp(http, "/v1/logs", &logs(&[("a", 2), ("b", 2)]))
                    .await
                    .status
            })
        });
        let requests: Vec<_> = requests.collect();
        for request in requests {
            assert_eq!(request.await.unwrap(), 200);
        }
        until("all came", || taken(peer) == counts(&[("a", 6), ("b", 6)])).await;
        if queue.is_empty() {
            assert_eq!(peer.taken().len(), 2, "a batch for each");
        }
        gateway.stop().await;
    }
}

/// Two pipelines take each request; one knows tenants.
fn beside(processor: &str, peer: &Peer, other: &Peer) -> String {
    let exporters = format!(
        "{}\n  otlp_http/other: {{endpoint: 'http://{}', sending_queue: {{enabled: false}}}}",
        to(peer, ", sending_queue: {enabled: false}"),
        other.addr
    );
    let pipelines = "    logs/other: {receivers: [otlp], exporters: [otlp_http/other]}\n    \
                     logs/tenants: {receivers: [otlp], processors: [tenant], exporters: [otlp_http]}";
    config("", processor, "", &exporters, pipelines)
}

#[tokio::test]
async fn the_unknown_are_refused_before_any_pipeline_has_seen_them() {
    let (peer, other) = (Peer::start().await, Peer::start().await);
    let gateway = Gateway::start(&beside(BY_ATTRIBUTE, &peer, &other)).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    for hostile in ["", "../../etc", "a b", &"x".repeat(1 << 20)] {
        let request = logs(&[(hostile, 3)]);
        let answer = client::post_otlp(gateway.http, "/v1/logs", &request).await;
        assert_eq!((answer.status, answer.header("retry-after")), (403, None));
        let answer = grpc.export(LOGS, &request).await;
        assert_eq!(answer.code, 7, "{}", answer.message);
    }
    assert_eq!((peer.received().len(), other.received().len()), (0, 0));
    let answer = grpc.export(LOGS, &logs(&[("a", 1), ("", 3)])).await;
    let partial = ExportLogsServiceResponse::decode(&answer.body[5..])
        .unwrap()
        .partial_success
        .unwrap();
    assert_eq!((answer.code, partial.rejected_log_records), (0, 3));
    assert!(
        partial.error_message.contains("no tenant"),
        "{}",
        partial.error_message
    );
    assert_eq!(taken(&peer), counts(&[("a", 1)]));
    assert_eq!(
        other.logs()[0].resource_logs.len(),
        2,
        "the other pipeline took all of it"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_rate_is_kept_at_the_door() {
    let (peer, other) = (Peer::start().await, Peer::start().await);
    let processor = "  tenant: {from: [{resource_attribute: tenant.id}], limits: {default: {records_per_second: 0.01, burst: 1000s}}}";
    let gateway = Gateway::start(&beside(processor, &peer, &other)).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    assert_eq!(grpc.export(LOGS, &logs(&[("a", 10)])).await.code, 0);
    let answer = grpc.export(LOGS, &logs(&[("a", 1)])).await;
    assert_eq!(answer.code, 8, "{}", answer.message);
    assert!(
        answer.trailers.contains_key("grpc-status-details-bin"),
        "it says when to come again"
    );
    let answer = client::post_otlp(gateway.http, "/v1/logs", &logs(&[("a", 1)])).await;
    assert_eq!(
        (answer.status, answer.header("retry-after").as_deref()),
        (429, Some("3"))
    );
    assert_eq!(other.logs().len(), 1, "no pipeline has seen what was refused");
    assert_eq!(
        grpc.export(LOGS, &logs(&[("b", 10)])).await.code,
        0,
        "others have their own"
    );
    let answer = grpc.export(LOGS, &logs(&[("a", 2), ("c", 1)])).await;
    let partial = ExportLogsServiceResponse::decode(&answer.body[5..])
        .unwrap()
        .partial_success
        .unwrap();
    assert_eq!((answer.code, partial.rejected_log_records), (0, 2));
    assert_eq!(taken(&peer), counts(&[("a", 10), ("b", 10), ("c", 1)]));
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_is_refused_at_the_door_wherever_the_processor_stands() {
    let (peer, other) = (Peer::start().await, Peer::start().await);
    let tenant = "from: [{header: x-scope-orgid, trusted: {anyone: true}}], \
                  limits: {default: {records_per_second: 0.01, burst: 1000s}}";
    let text = beside(
        &format!(
            "  tenant: {{{tenant}}}\n  resource: {{attributes: [{{key: a, value: b, action: upsert}}]}}\n  \
             filter: {{log_conditions: ['log.body == \"gone\"']}}"
        ),
        &peer,
        &other,
    );
    let gateway = Gateway::start(&text.replace("[tenant]", "[resource, filter, tenant]")).await;
    let send = async |tenant: &str, records: u64| {
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("x-scope-orgid", tenant),
        ];
        let body = logs(&[("", records)]);
        let answer = client::post(gateway.http, "/v1/logs", &headers, &body).await;
        (answer.status, answer.header("retry-after").is_some())
    };
    assert_eq!(send("../a", 1).await, (403, false));
    assert_eq!(send("a", 10).await, (200, false));
    assert_eq!(send("a", 1).await, (429, true));
    assert_eq!(send("b", 3).await, (200, false));
    assert_eq!(other.logs().len(), 2, "no pipeline has seen what was refused");
    assert_eq!(taken(&peer), counts(&[("a", 10), ("b", 3)]));
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_full_exporter_refuses_costs_no_tenant_its_rate() {
    let (peer, other) = (Peer::start().await, Peer::start().await);
    let processor = "  tenant: {from: [{resource_attribute: tenant.id}], limits: {default: {records_per_second: 0.01, burst: 1000s}}}";
    let gateway = Gateway::start(&beside(processor, &peer, &other)).await;
    peer.script([Answer::Http {
        status: 400,
        retry_after: None,
    }]);
    let answer = client::post_otlp(gateway.http, "/v1/logs", &logs(&[("a", 10)])).await;
    assert_ne!(answer.status, 429);
    let answer = client::post_otlp(gateway.http, "/v1/logs", &logs(&[("a", 10)])).await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_header_is_believed_where_it_is_trusted_alone() {
    let peer = Peer::start().await;
    let processor = |trusted: &str| {
        format!(
            "  tenant: {{from: [{{header: x-scope-orgid, trusted: {{{trusted}}}}}], unknown: {{default: public}}}}"
        )
    };
    for (trusted, expected) in [
        (
            "authenticated: true, certificate: true, listeners: [otlp/mesh]",
            "public",
        ),
        ("listeners: [otlp]", "victim"),
    ] {
        let peer = if expected == "public" {
            &peer
        } else {
            &Peer::start().await
        };
        let gateway = Gateway::start(&config(
            "",
            &processor(trusted),
            "",
            &to(peer, ", sending_queue: {enabled: false}"),
            ONE,
        ))
        .await;
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("X-Scope-OrgID", "victim"),
        ];
        let answer = client::post(gateway.http, "/v1/logs", &headers, &logs(&[("", 1)])).await;
        assert_eq!(answer.status, 200);
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("X-Scope-OrgID", "../victim"),
        ];
        client::post(gateway.http, "/v1/logs", &headers, &logs(&[("", 1)])).await;
        let mut all = counts(&[("public", 1)]);
        *all.entry(expected.to_owned()).or_default() += 1;
        assert_eq!(taken(peer), all, "{trusted}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn the_unknown_can_have_a_pipeline_of_their_own() {
    let (peer, quarantine) = (Peer::start().await, Peer::start().await);
    let processors = "  tenant: {from: [{resource_attribute: tenant.id}], unknown: {quarantine: strangers}}";
    let connectors = "  tenant: {pipelines: {strangers: [logs/quarantine]}, default_pipelines: [logs/main]}";
    let exporters = format!(
        "{}\n  otlp_http/quarantine: {{endpoint: 'http://{}', sending_queue: {{enabled: false}}}}",
        to(&peer, ", sending_queue: {enabled: false}"),
        quarantine.addr
    );
    let pipelines = "    logs/in: {receivers: [otlp], processors: [tenant], exporters: [tenant]}\n    \
                     logs/main: {receivers: [tenant], exporters: [otlp_http]}\n    \
                     logs/quarantine: {receivers: [tenant], exporters: [otlp_http/quarantine]}";
    let gateway = Gateway::start(&config("", processors, connectors, &exporters, pipelines)).await;
    let answer = client::post_otlp(
        gateway.http,
        "/v1/logs",
        &logs(&[("a", 1), ("", 2), ("strangers", 4), ("b", 8)]),
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(taken(&peer), counts(&[("a", 1), ("b", 8)]));
    let apart = quarantine.logs();
    assert_eq!(
        (apart.len(), apart[0].resource_logs.len()),
        (1, 2),
        "who claims to be a stranger is one"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn each_tenant_has_its_file_and_its_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start().await;
    peer.always(Answer::Grpc {
        code: 3,
        message: "bad",
        retry_ms: None,
    });
    let path = |name: &str| format!("{}/{name}-%{{tenant}}.json", folder.path().display());
    let exporters = format!(
        "  otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}, dead_letter: file/dead, sending_queue: {{enabled: false}}}}\n  \
         file: {{path: '{}', append: true}}\n  file/dead: {{path: '{}', append: true}}",
        peer.addr,
        path("all"),
        path("dead")
    );
    let pipelines = "    logs: {receivers: [otlp], processors: [tenant], exporters: [otlp_grpc, file]}";
    let gateway = Gateway::start(&config("", BY_ATTRIBUTE, "", &exporters, pipelines)).await;
    let answer = client::post_otlp(
        gateway.http,
        "/v1/logs",
        &logs(&[("alpha", 1), ("beta", 1), ("alpha", 1)]),
    )
    .await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
    let mut files: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "all-alpha.json",
            "all-beta.json",
            "dead-alpha.json",
            "dead-beta.json"
        ]
    );
    for (file, tenant, other) in [
        ("all-alpha.json", "alpha", "beta"),
        ("dead-beta.json", "beta", "alpha"),
    ] {
        let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
        let named = |name: &str| text.contains(&format!("{{\"stringValue\":\"{name}\"}}"));
        assert!(named(tenant) && !named(other), "{text}");
    }
}

#[tokio::test]
async fn a_spiffe_id_names_the_tenant_whatever_the_client_says() {
    let dir = tempfile::tempdir().unwrap();
    let ids = [
        "spiffe://td.example/ns/acme/sa/agent",
        "spiffe://td.example/other",
    ];
    let clients = tls::certificates(dir.path(), &ids);
    let peer = Peer::start().await;
    let processor =
        "  tenant: {from: [{client_certificate: spiffe, pattern: '^spiffe://td\\.example/ns/([^/]+)/'}]}";
    let file = |name: &str| dir.path().join(name).display().to_string();
    let tls = format!(
        "tls: {{cert_file: '{}', key_file: '{}', client_ca_file: '{}'}}",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    let text = config(
        "",
        processor,
        "",
        &to(&peer, ", sending_queue: {enabled: false}"),
        ONE,
    );
    let text = text.replace(
        "\"127.0.0.1:{http}\", include_metadata: true",
        &format!("\"127.0.0.1:{{http}}\", {tls}"),
    );
    let gateway = Gateway::start(&text).await;
    let mut statuses = Vec::new();
    for client in clients {
        let mut stream = tls::connect(dir.path(), gateway.http, "http/1.1", client).await;
        let body = logs(&[("", 2)]);
        let head = format!(
            "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\nx-scope-orgid: victim\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(&[head.as_bytes(), &body].concat())
            .await
            .unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        statuses.push(String::from_utf8(answer[9..].to_vec()).unwrap());
    }
    assert_eq!(statuses, ["200", "403"]);
    assert_eq!(taken(&peer), counts(&[("acme", 2)]));
    gateway.stop().await;
}

#[tokio::test]
async fn what_tenants_send_is_counted_by_name() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(
        "",
        BY_ATTRIBUTE,
        "",
        &to(&peer, ", sending_queue: {enabled: false}"),
        ONE,
    ))
    .await;
    let answer = client::post_otlp(gateway.http, "/v1/logs", &logs(&[("a", 1), ("", 2), ("b", 4)])).await;
    assert_eq!(answer.status, 200);
    let metrics = gateway.metrics();
    let value = |name: &str, label: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(name) && line.contains(label));
        line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    };
    assert_eq!(value("weir_tenant_items", "tenant=\"b\"").as_deref(), Some("4"));
    assert_eq!(
        value(
            "weir_tenant_refused_items",
            "answer=\"rejected\",processor=\"tenant\",reason=\"tenant_unknown\""
        )
        .as_deref(),
        Some("2")
    );
    assert_eq!(
        value("weir_tenant_known", "signal=\"logs\"").as_deref(),
        Some("2")
    );
    let report = telemetry::ledger::Report::of(&gateway.telemetry().ledger).to_text();
    assert!(report.contains("dropped{tenant_unknown} 2"), "{report}");
    gateway.stop().await;
}

/// What `weir validate` warns of.
fn check_lints(receiver: &str, tenant: &str, processors: &str, header: &str, expected: &[&str]) {
    check_lints_of("logs", receiver, tenant, processors, header, expected);
}

fn check_lints_of(
    signal: &str,
    receiver: &str,
    tenant: &str,
    processors: &str,
    header: &str,
    expected: &[&str],
) {
    let text = format!(
        "receivers:\n  otlp: {{protocols: {{grpc: {{{receiver}}}}}}}\nprocessors:\n  {tenant}\n  memory_limiter: \
         {{check_interval: 1s, limit_mib: 100}}\n  resource: {{attributes: [{{key: a, value: b, action: upsert}}]}}\n\
         exporters:\n  otlp_http: {{endpoint: 'http://localhost:1', headers: {{x: '{header}'}}, sending_queue: \
         {{enabled: false}}}}\nservice: {{pipelines: {{{signal}: {{receivers: [otlp], processors: [{processors}], \
         exporters: [otlp_http]}}}}}}\n"
    );
    let (_, warnings) =
        weir::service::validate(&[("gw.yaml".into(), text.clone())], &config::Gates::default())
            .unwrap_or_else(|faults| panic!("{faults}\n{text}"));
    let shown: Vec<String> = warnings
        .iter()
        .map(|w| format!("{}: {}", w.path, w.message))
        .collect();
    assert_eq!(shown.len(), expected.len(), "{shown:?}");
    for (shown, expected) in shown.iter().zip(expected) {
        assert!(shown.starts_with(expected), "{shown}");
    }
}

const HEADER: &str =
    "tenant: {from: [{resource_attribute: t}, {header: x, trusted: {anyone: true}}], unknown: {default: d}}";

#[test]
fn a_header_that_no_receiver_hands_on_is_said() {
    let unseen = "processors::tenant::from::1::header: no receiver before it hands headers on";
    check_lints("", HEADER, "tenant", "%{tenant}", &[unseen]);
    check_lints("include_metadata: true", HEADER, "tenant", "%{tenant}", &[]);
    check_lints(
        "",
        "tenant: {from: [{resource_attribute: t}]}",
        "tenant",
        "%{tenant}",
        &[],
    );
}

#[test]
fn a_receiver_that_there_is_not_is_said() {
    let tenant = |source: &str| format!("tenant: {{from: [{{{source}}}], unknown: {{default: d}}}}");
    let unknown = "processors::tenant::from::0::listener: no receiver is called \"otlp/a\"";
    check_lints(
        "",
        &tenant("listener: {otlp: a, otlp/a: b}"),
        "tenant",
        "x",
        &[unknown],
    );
    let trusted = "processors::tenant::from::0::trusted::listeners: no receiver is called \"otlp/a\"";
    check_lints(
        "",
        &tenant("resource_attribute: t, trusted: {listeners: [otlp/a, otlp]}"),
        "tenant",
        "x",
        &[trusted],
    );
}

#[test]
fn a_place_that_is_too_late_is_said() {
    let tenant = |more: &str| format!("tenant: {{from: [{{resource_attribute: t}}], {more}}}");
    let late = "processors::tenant: behind resource it comes too late";
    check_lints(
        "",
        &tenant("unknown: refuse"),
        "memory_limiter, tenant, resource",
        "x",
        &[],
    );
    check_lints("", &tenant("unknown: refuse"), "resource, tenant", "x", &[late]);
    check_lints("", &tenant("unknown: {default: d}"), "resource, tenant", "x", &[]);
    let limits = "unknown: {default: d}, limits: {tenants: {a: {records_per_second: 1}}}";
    check_lints("", &tenant(limits), "resource, tenant", "x", &[late]);
    // Who the client is does not change on the way, but nobody waits behind what holds.
    let listener = "tenant: {from: [{listener: {otlp: a}}, {authenticated: identity}]}";
    check_lints("", listener, "resource, tenant", "x", &[]);
    let grouped = format!("{listener}\n  groupbytrace: ");
    check_lints_of(
        "traces",
        "",
        &grouped,
        "groupbytrace, tenant",
        "x",
        &[
            "service::pipelines::traces: acknowledged before delivery: groupbytrace",
            "processors::tenant: behind groupbytrace",
        ],
    );
}

#[test]
fn an_exporter_for_tenants_that_nobody_names_is_said() {
    let nobody = "exporters::otlp_http: nothing says whose data it is";
    check_lints("", HEADER, "resource", "%{tenant}", &[nobody]);
    check_lints("", HEADER, "resource", "plain", &[]);
}

//! Where data goes beside its way: dead letters, and exporters that have no say in the answer.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message;
use telemetry::{Node, Place};
use weir::service::{Service, load, validate};
use wire::Signal;

use crate::support::client::{Grpc, LOGS};
use crate::support::gateway::Gateway;
use crate::support::peer::{Answer, Peer};
use crate::support::{sample, until};

/// Exporters, in lines of two spaces, and which of them the pipeline has.
fn config(exporters: &str, used: &str) -> String {
    format!(
        r#"
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}
      http: {{endpoint: "127.0.0.1:{{http}}"}}
exporters:
{exporters}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [{used}]}}
"#
    )
}

fn exporter(id: &str) -> Node {
    Node::Exporter(id.into())
}

#[tokio::test]
async fn what_a_peer_rejects_lands_in_the_file_that_is_its_dead_letter() {
    for queue in ["{enabled: false}", "{}"] {
        let peer = Peer::start().await;
        peer.always(Answer::RefuseText("poison"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead.jsonl");
        let exporters = format!(
            "  otlp_grpc: {{endpoint: \"{}\", tls: {{insecure: true}}, sending_queue: {queue}, dead_letter: file/dead}}\n  \
             file/dead: {{path: \"{}\"}}",
            peer.addr,
            path.display()
        );
        let gateway = Gateway::start(&config(&exporters, "otlp_grpc")).await;
        let grpc = Grpc::connect(gateway.grpc).await;
        let good = sample::logs(2);
        let mut bad = sample::logs(3);
        bad.resource_logs[0].scope_logs[0].log_records[0].severity_text = "poison".into();
        assert_eq!(grpc.export(LOGS, &good.encode_to_vec()).await.code, 0);
        let answer = grpc.export(LOGS, &bad.encode_to_vec()).await;
        assert_eq!(answer.code, 0, "{answer:?}");
        if queue != "{}" {
            let told = ExportLogsServiceResponse::decode(&answer.body[5..]).unwrap();
            let told = told.partial_success.expect("partial_success");
            assert_eq!(
                (told.rejected_log_records, told.error_message.as_str()),
                (3, "INVALID_ARGUMENT: bad")
            );
        }
        let edge = Place::Edge {
            from: exporter("otlp_grpc"),
            to: exporter("file/dead"),
        };
        until("the dead letter has it", || {
            gateway.books(edge.clone(), Signal::Logs).accepted() == 3
        })
        .await;
        let books = gateway.books(Place::Node(exporter("otlp_grpc")), Signal::Logs);
        assert_eq!((books.failed["rejected"], books.failed_all()), (3, 3));
        let metrics = gateway.metrics();
        let line = "weir_ledger_items{column=\"accepted\",place=\"exporter otlp_grpc -> exporter file/dead\"";
        assert!(metrics.contains(line), "{metrics}");
        gateway.stop().await;
        assert_eq!(peer.logs(), [good]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("\"severityText\":\"poison\""), "{text}");
    }
}

#[test]
fn a_dead_letter_that_cannot_be_is_told_with_its_place() {
    let check = |exporters: &str, expected: &str| {
        let text = config(exporters, "nop")
            .replace("{grpc}", "4317")
            .replace("{http}", "4318");
        let loaded = load(&[("gw.yaml".to_owned(), text)], &config::Gates::default());
        let faults = loaded.and_then(|loaded| Service::build(loaded).map(|_| ()));
        let faults = faults.expect_err(exporters).to_string();
        assert!(faults.contains(expected), "{faults:?} does not say {expected:?}");
    };
    check(
        "  nop: {dead_letter: file/dad}\n  file/dead: {path: x}",
        "gw.yaml:8:9 exporters::nop::dead_letter: failed to build pipelines: the dead letter \"file/dad\" is not an exporter",
    );
    check(
        "  nop: {dead_letter: nop/2}\n  nop/2: {dead_letter: nop}",
        "gw.yaml:8:9 exporters::nop::dead_letter: failed to build pipelines: cycle detected: exporter \"nop\" -> exporter \
         \"nop/2\" -> exporter \"nop\"",
    );
}

#[tokio::test]
async fn a_best_effort_peer_neither_delays_nor_fails_the_answer() {
    for answer in [
        Answer::Silence,
        Answer::Reset,
        Answer::Grpc {
            code: 14,
            message: "down",
            retry_ms: None,
        },
    ] {
        let (peer, spare) = (Peer::start().await, Peer::start().await);
        spare.always(answer.clone());
        let keys = "tls: {insecure: true}, sending_queue: {enabled: false}";
        let exporters = format!(
            "  otlp_grpc: {{endpoint: \"{}\", {keys}}}\n  \
             otlp_grpc/spare: {{endpoint: \"{}\", {keys}, timeout: 1s, delivery: best_effort, \
             retry_on_failure: {{enabled: false}}}}",
            peer.addr, spare.addr
        );
        let gateway = Gateway::start(&config(&exporters, "otlp_grpc, otlp_grpc/spare")).await;
        let want = sample::logs(3);
        let began = tokio::time::Instant::now();
        let got = Grpc::connect(gateway.grpc)
            .await
            .export(LOGS, &want.encode_to_vec())
            .await;
        assert_eq!(got.code, 0, "{got:?}");
        if matches!(answer, Answer::Silence) {
            assert!(
                began.elapsed().as_millis() < 1000,
                "answered after the spare one: {:?}",
                began.elapsed()
            );
        }
        assert_eq!(peer.logs(), [want]);
        let edge = Place::Edge {
            from: Node::Pipeline("logs".into()),
            to: exporter("otlp_grpc/spare"),
        };
        until("what the spare one missed is booked", || {
            gateway
                .books(edge.clone(), Signal::Logs)
                .dropped
                .get("best_effort")
                == Some(&3)
        })
        .await;
        gateway.stop().await;
    }
}

#[test]
fn validate_names_what_is_best_effort() {
    let text = config("  nop: {delivery: best_effort}", "nop")
        .replace("{grpc}", "4317")
        .replace("{http}", "4318");
    let (_, warnings) = validate(&[("gw.yaml".to_owned(), text)], &config::Gates::default()).unwrap();
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "exporters::nop::delivery: best effort: nobody is told what it does not take, and it is dropped",
            "service::pipelines::logs: acknowledged whatever becomes of it: every exporter here is best effort; make one \
             of them `delivery: required`"
        ]
    );
}

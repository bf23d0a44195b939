//! The admin listener, and the commands that ask it, over a unix socket as over TCP.

use std::process::Command;

use prost::Message;
use telemetry::{Column, Node, Place};
use wire::Signal;

use crate::support::client::{Grpc, LOGS};
use crate::support::gateway::{Gateway, free_port};
use crate::support::{sample, until};

/// Exit code, standard output and standard error of `weir`, which must not block the gateway beside it.
pub async fn weir(args: &[&str]) -> (i32, String, String) {
    let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
    let run = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(args)
            .output()
            .unwrap()
    });
    let output = run.await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn config(admin: &str) -> String {
    format!(
        r#"
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}
exporters: {{nop: }}
service:
  telemetry: {{metrics: {{level: none}}}}
  admin: {{endpoint: "{admin}"}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [nop]}}
"#
    )
}

async fn send(gateway: &Gateway, records: u64) {
    let client = Grpc::connect(gateway.grpc).await;
    let answer = client.export(LOGS, &sample::logs(records).encode_to_vec()).await;
    assert_eq!(answer.code, 0);
}

const BOOKS: &str = "\
Doors                                                offered  accepted   refused
  otlp (grpc) logs                                         3         3         0

Edges                                      offered  accepted   refused   doubled
  receiver otlp -> pipeline logs logs            3         3         0         0
  pipeline logs -> exporter nop logs             3         3         0         0

Nodes                               came       out   dropped    failed      held
  pipeline logs logs                   3         3         0         0         0
  exporter nop logs                    3         3         0         0         0

The books balance: every record that came is accounted for.
";

#[tokio::test(flavor = "multi_thread")]
async fn weir_ledger_shows_the_books_of_a_running_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("unix://{}/admin.sock", folder.path().display());
    for admin in [socket, format!("127.0.0.1:{}", free_port())] {
        let gateway = Gateway::start(&config(&admin)).await;
        send(&gateway, 3).await;
        assert_eq!(
            weir(&["ledger", "--admin", &admin]).await,
            (0, BOOKS.to_owned(), String::new())
        );
        // The address may come from the configuration that the gateway runs with.
        let file = folder.path().join("gw.yaml");
        std::fs::write(&file, config(&admin)).unwrap();
        let (code, out, told) = weir(&["ledger", "--json", "--config", file.to_str().unwrap()]).await;
        assert_eq!((code, told.as_str()), (0, ""));
        let told: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(told["balanced"], true);
        assert_eq!(told["lines"][0]["place"], "door otlp (grpc)");
        assert_eq!(told["lines"][0]["since_start"]["accepted"], 3);
        let (_, out, _) = weir(&["ledger", "--admin", &admin, "--tenant", "a b"]).await;
        assert_eq!(
            out,
            "The books balance: every record that came is accounted for.\n"
        );
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn books_that_do_not_balance_are_an_error() {
    let admin = format!("127.0.0.1:{}", free_port());
    let gateway = Gateway::start(&config(&admin)).await;
    let place = Place::Node(Node::Exporter("nop".into()));
    let row = gateway.telemetry().ledger.row(place, Signal::Logs);
    row.add_items(Column::In, None, 2);
    let (code, out, told) = weir(&["ledger", "--admin", &admin]).await;
    assert_eq!((code, told.as_str()), (1, "Error: the books do not balance\n"));
    assert!(
        out.ends_with(
            "The books do not balance:\n  exporter nop logs: 2 came, 0 accounted for: in 2\n  \
             exporter nop logs, what came: edges brought 0, it booked 2\n"
        ),
        "{out}"
    );
    // Mended, for the check at the end.
    row.add_items(Column::Out, None, 2);
    let edge = Place::Edge {
        from: Node::Pipeline("logs".into()),
        to: Node::Exporter("nop".into()),
    };
    let edge = gateway.telemetry().ledger.row(edge, Signal::Logs);
    edge.add_items(Column::Offered, None, 2);
    edge.add_items(Column::Duplicates, None, 2);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_to_ask_is_told_with_what_to_do() {
    let check = async |args: &[&str], expected: &str| {
        let (code, out, told) = weir(args).await;
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}");
        assert!(told.contains(expected), "{told}");
    };
    check(&["ledger"], "which gateway? --admin").await;
    check(&["ledger", "--admin", "nowhere"], "write host:port").await;
    let nobody = format!("127.0.0.1:{}", free_port());
    check(&["ledger", "--admin", &nobody], "is the gateway running").await;
    check(
        &["ledger", "--config", "configs/quickstart.yaml"],
        "no service::admin",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_ready_as_long_as_it_runs() {
    let admin = format!("127.0.0.1:{}", free_port());
    let gateway = Gateway::start(&config(&admin)).await;
    let ask = async |path: &str| {
        let at = admin.parse().unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = crate::support::client::raw(at, head.as_bytes()).await;
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    };
    assert_eq!(ask("/-/ready").await, (200, "ready\n".to_owned()));
    let (status, text) = ask("/-/status").await;
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &told["ready"]), (200, &true.into()));
    assert_eq!(told["pipelines"]["logs"]["exporter:nop"]["status"], "ok");
    let (_, plan) = ask("/-/plan").await;
    assert!(plan.contains("nop"), "{plan}");
    let (_, config) = ask("/-/config").await;
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["service"]["admin"]["endpoint"], admin.as_str());
    gateway.stop().await;
    until("the port is closed", || {
        std::net::TcpStream::connect(&admin).is_err()
    })
    .await;
}

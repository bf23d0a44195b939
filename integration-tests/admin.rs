//! The admin listener, and the commands that ask it, over a unix socket as over TCP.

use std::process::Command;

use prost::Message;
use telemetry::{Column, Node, Place};
use wire::Signal;

use crate::signals::Running;
use crate::support::client::{self, Grpc, LOGS};
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
        let answer = client::raw(at, head.as_bytes()).await;
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

#[tokio::test]
async fn an_order_to_reload_is_carried_out_or_refused_with_the_place_and_audited() {
    const TOKEN: &str = "a-token-of-sixteen-or-more";
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("token"), TOKEN).unwrap();
    let (admin, http) = (free_port(), free_port());
    let write = |stage: &str| {
        let text = format!(
            r#"receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{http}"}}}}}}}}
processors:
  resource: {{attributes: [{{key: stage, action: upsert, {stage}}}]}}
exporters: {{file: {{path: "{out}"}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{encoding: json}}}}
  admin: {{endpoint: "127.0.0.1:{admin}", token_file: "{token}"}}
  pipelines:
    logs: {{receivers: [otlp], processors: [resource], exporters: [file]}}
"#,
            out = file("out.json").display(),
            token = file("token").display(),
        );
        std::fs::write(file("gw.yaml"), text).unwrap();
    };
    // What the processor wrote into the record sent last.
    let stage = async || {
        let logs = sample::logs(1).encode_to_vec();
        let sent = client::post_otlp(([127, 0, 0, 1], http).into(), "/v1/logs", &logs).await;
        assert_eq!(sent.status, 200);
        let out = std::fs::read_to_string(file("out.json")).unwrap();
        let last: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        let attributes = last["resourceLogs"][0]["resource"]["attributes"]
            .as_array()
            .unwrap();
        let found = attributes.iter().find(|a| a["key"] == "stage").unwrap();
        found["value"]["stringValue"].as_str().unwrap().to_owned()
    };
    let order = async |token: &str| {
        let head = format!(
            "POST /-/reload HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let answer = client::raw(([127, 0, 0, 1], admin).into(), head.as_bytes()).await;
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let audited = |gateway: &mut Running| {
        let line = gateway.wait_for("admin order");
        assert!(!line.contains(TOKEN), "{line}");
        let line = json(&line);
        let caller = line["caller"].as_str().unwrap().to_owned();
        assert!(
            caller.starts_with("127.0.0.1:") && caller.contains(", token "),
            "{line}"
        );
        (
            line["call"].clone(),
            line["status"].clone(),
            json(line["outcome"].as_str().unwrap()),
        )
    };
    write("value: one");
    let mut gateway = Running::of(file("gw.yaml").to_str().unwrap());
    gateway.wait_for("Everything is ready");
    assert_eq!(stage().await, "one");

    write("value: two");
    assert_eq!(order("another-token-of-a-stranger").await.0, 401);
    assert_eq!(stage().await, "one");
    let (status, told) = order(TOKEN).await;
    let told = json(&told);
    let changes = "  keeps     exporter file, receiver otlp, pipeline logs\n  \
                   restarts  processor resource: its configuration changes";
    assert_eq!(
        (status, &told),
        (200, &serde_json::json!({"reloaded": true, "changes": changes}))
    );
    assert_eq!(stage().await, "two");
    assert_eq!(audited(&mut gateway), ("reload".into(), 200.into(), told));

    write("valeu: three");
    let (status, told) = order(TOKEN).await;
    let told = json(&told);
    assert_eq!((status, &told["reloaded"]), (400, &false.into()));
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("gw.yaml:3:") && error.contains("valeu"), "{error}");
    assert_eq!(stage().await, "two");
    assert_eq!(audited(&mut gateway), ("reload".into(), 400.into(), told));
}

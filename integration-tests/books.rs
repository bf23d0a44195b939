//! Books and queues on disk over several lives: what `weir journal` shows and does, and that the books know of it.

use prost::Message;
use serde_json::Value;
use telemetry::ledger::Report;

use crate::admin::weir;
use crate::support::client::{Grpc, LOGS};
use crate::support::gateway::{Gateway, free_port};
use crate::support::peer::Peer;
use crate::support::{sample, until};

struct Rig {
    folder: tempfile::TempDir,
    admin: String,
}

impl Rig {
    fn new() -> Rig {
        Rig {
            folder: tempfile::tempdir().unwrap(),
            admin: format!("127.0.0.1:{}", free_port()),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn storage(&self) -> String {
        self.path("storage")
    }

    /// A gateway whose exporter of this id sends to `peer`; nothing there is tried again every 10 ms.
    fn config(&self, exporter: &str, peer: &str) -> String {
        format!(
            r#"
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}
extensions:
  file_storage: {{directory: "{}", create_directory: true}}
exporters:
  {exporter}:
    endpoint: "{peer}"
    tls: {{insecure: true}}
    sending_queue: {{storage: file_storage}}
    retry_on_failure: {{initial_interval: 10ms, max_interval: 20ms}}
service:
  telemetry: {{metrics: {{level: none}}}}
  admin: {{endpoint: "{}"}}
  extensions: [file_storage]
  pipelines:
    logs: {{receivers: [otlp], exporters: [{exporter}]}}
"#,
            self.storage(),
            self.admin
        )
    }

    /// A file with a configuration, for commands.
    fn file(&self, config: &str) -> String {
        let path = self.path("gw.yaml");
        std::fs::write(&path, config).unwrap();
        path
    }

    /// Starts, sends so many records, and stops; nobody takes them.
    async fn leave(&self, exporter: &str, records: u64) {
        let nobody = format!("127.0.0.1:{}", free_port());
        let gateway = Gateway::start(&self.config(exporter, &nobody)).await;
        send(&gateway, records).await;
        gateway.stop_holding(records).await;
    }
}

async fn send(gateway: &Gateway, records: u64) {
    let client = Grpc::connect(gateway.grpc).await;
    let answer = client.export(LOGS, &sample::logs(records).encode_to_vec()).await;
    assert_eq!(answer.code, 0, "{}", answer.message);
}

const NAME: &str = "exporter/otlp_grpc/old/logs";

/// Records, items, and whether it is an orphan.
fn held(told: &Value) -> (u64, u64, Option<bool>) {
    let found = told["journals"][0]["destinations"].as_array().unwrap();
    let found = found.iter().find(|d| d["name"] == NAME).unwrap();
    let number = |key: &str| found[key].as_u64().unwrap();
    (number("records"), number("items"), found["orphan"].as_bool())
}

async fn ls(args: &[&str]) -> Value {
    let (code, out, told) = weir(&[&["journal", "ls", "--json"], args].concat()).await;
    assert_eq!((code, told.as_str()), (0, ""), "{out}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopped_gateway_holds_is_shown_exported_and_sent_elsewhere() {
    let rig = Rig::new();
    rig.leave("otlp_grpc/old", 3).await;
    let storage = rig.storage();
    assert_eq!(held(&ls(&["--directory", &storage]).await), (1, 3, None));
    let (_, out, _) = weir(&["journal", "ls", "--directory", &storage]).await;
    let line = out.lines().find(|line| line.contains(NAME)).unwrap();
    assert!(line.starts_with("  exporter/otlp_grpc/old/logs "), "{out}");

    let lines = rig.path("out.jsonl");
    let export = ["journal", "export", "--directory", &storage, "--destination"];
    let (code, out, told) = weir(&[&export[..], &[NAME, "--output", &lines]].concat()).await;
    assert_eq!((code, out.as_str()), (0, ""), "{told}");
    assert_eq!(
        told,
        format!("wrote 3 items to {lines}; they are still in the journal\n")
    );
    let text = std::fs::read_to_string(&lines).unwrap();
    let line: Value = serde_json::from_str(text.trim_end()).unwrap();
    let written = &line["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    assert_eq!(written.as_array().unwrap().len(), 3);
    // Nothing is written over.
    let (code, _, told) = weir(&[&export[..], &[NAME, "--output", &lines]].concat()).await;
    assert_eq!(code, 1, "{told}");
    let (code, _, told) = weir(&[&export[..], &["exporter/other/logs", "--output", "x"]].concat()).await;
    assert_eq!(code, 1);
    assert!(
        told.contains("no such destination; there are\n  exporter/otlp_grpc/old/logs"),
        "{told}"
    );

    let peer = Peer::start().await;
    let to = peer.addr.to_string();
    let drain = [
        "journal",
        "drain",
        "--directory",
        &storage,
        "--destination",
        NAME,
        "--to",
        &to,
    ];
    let (code, out, told) = weir(&drain).await;
    assert_eq!((code, out.as_str()), (0, ""), "{told}");
    assert_eq!(told.lines().last().unwrap(), "sent 3 of 3 items");
    assert_eq!(peer.logs(), [sample::logs(3)]);
    assert_eq!(held(&ls(&["--directory", &storage]).await), (0, 0, None));

    // The next life finds books and journal agreed: what was sent by hand stands in both.
    let gateway = Gateway::start(&rig.config("otlp_grpc/old", &to)).await;
    send(&gateway, 2).await;
    until("the two arrive", || peer.logs().len() == 2).await;
    let (code, out, told) = weir(&["ledger", "--json", "--admin", &rig.admin]).await;
    assert_eq!((code, told.as_str()), (0, ""), "{out}");
    let report: Report = serde_json::from_str(&out).unwrap();
    let lives = report.lives.unwrap();
    assert_eq!((lives.lives, lives.unbooked, lives.waiting), (2, vec![], vec![]));
    let all = report
        .lines
        .iter()
        .find(|line| line.place == "exporter otlp_grpc/old")
        .unwrap();
    assert_eq!(all.lifetime.as_ref().unwrap().to_string(), "in 5, out 5");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_without_its_exporter_is_shown_and_given_up_by_a_running_gateway() {
    let rig = Rig::new();
    rig.leave("otlp_grpc/old", 3).await;
    let peer = Peer::start().await;
    let config = rig.config("otlp_grpc/new", &peer.addr.to_string());
    let file = rig.file(&config);
    // Nobody runs: the configuration says whose it is.
    assert_eq!(held(&ls(&["--config", &file]).await), (1, 3, Some(true)));
    let gateway = Gateway::start(&config).await;
    // Somebody runs: it is asked.
    assert_eq!(held(&ls(&["--config", &file]).await), (1, 3, Some(true)));
    let (code, _, told) = weir(&["journal", "ls", "--directory", &rig.storage()]).await;
    assert_eq!(code, 1);
    assert!(
        told.contains("is in use, it seems by a running gateway"),
        "{told}"
    );
    let export = [
        "journal",
        "export",
        "--config",
        &file,
        "--destination",
        NAME,
        "--output",
        "x",
    ];
    let (code, _, told) = weir(&export).await;
    assert_eq!(code, 1);
    assert!(told.contains("the gateway runs and has this journal"), "{told}");

    let discard = ["journal", "discard", "--config", &file, "--destination", NAME];
    let (code, _, told) = weir(&discard).await;
    assert_eq!(code, 1);
    assert!(told.contains("these records would be lost: add --yes"), "{told}");
    assert_eq!(held(&ls(&["--config", &file]).await), (1, 3, Some(true)));
    let (code, out, told) = weir(&[&discard[..], &["--yes"]].concat()).await;
    assert_eq!((code, told.as_str()), (0, ""));
    assert_eq!(out, format!("{NAME}: gave up 3 items\n"));
    assert_eq!(held(&ls(&["--config", &file]).await), (0, 0, Some(false)));
    let (code, out, _) = weir(&["ledger", "--admin", &rig.admin]).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("carried_in 3, dropped{discarded} 3"), "{out}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_while_nobody_runs_stands_in_the_books_of_the_next_life() {
    let rig = Rig::new();
    rig.leave("otlp_grpc/old", 3).await;
    let storage = rig.storage();
    let discard = [
        "journal",
        "discard",
        "--directory",
        &storage,
        "--destination",
        NAME,
    ];
    let (code, _, told) = weir(&discard).await;
    assert_eq!(code, 1);
    assert!(
        told.contains("is owed 3 items; these records would be lost"),
        "{told}"
    );
    let (code, out, _) = weir(&[&discard[..], &["--yes"]].concat()).await;
    assert_eq!((code, out), (0, format!("{NAME}: gave up 3 items\n")));
    let peer = Peer::start().await;
    let gateway = Gateway::start(&rig.config("otlp_grpc/old", &peer.addr.to_string())).await;
    let report = Report::of(&gateway.telemetry().ledger);
    assert_eq!((report.balanced, report.faults), (true, vec![]));
    let all = report
        .lines
        .iter()
        .find(|line| line.place == "exporter otlp_grpc/old")
        .unwrap();
    assert_eq!(
        all.lifetime.as_ref().unwrap().to_string(),
        "in 3, dropped{discarded} 3"
    );
    gateway.stop().await;
}

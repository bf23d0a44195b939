//! `weir quickstart`: the built-in configuration at work on sample traffic, then serving until stopped.
//!
//! Everything goes the way that real traffic goes: by OTLP/gRPC through the front door, through the processors, into
//! three exporters; what is shown as "after" is read back from the file that was written, and the archive is verified.

mod sample;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use http::uri::PathAndQuery;
use net::GrpcClientConfig;
use net::client::GrpcClient;
use net::tls::ClientTls;
use serde_json::Value;
use telemetry::{Column, Node, Place, Totals};
use wire::Signal;

use super::archive::verify;
use super::run::{start_logs, stop_signal};
use super::{runtime, say};
use config::Gates;

use crate::service::{self, Service};
use sample::{Request, Sample, Shown};

/// The configuration, word for word.
const CONFIG: &str = include_str!("../../../configs/quickstart.yaml");

/// Ports in [`CONFIG`].
const PORTS: [u16; 4] = [4317, 4318, 8888, 13133];

/// Stands before a port that was moved already; in no configuration.
const MOVED: char = '\u{1}';

/// How long the sample may take to arrive.
const DELIVERY_MAX: Duration = Duration::from_secs(20);

/// Options of `weir quickstart`.
#[derive(Args)]
pub(super) struct Options {
    /// Stop after the demonstration instead of serving on
    #[arg(long)]
    once: bool,
    /// Added to every port, if the usual ones are taken
    #[arg(long, default_value_t = 0, value_name = "N")]
    port_offset: u16,
    /// Where delivered telemetry is written, as lines of OTLP/JSON
    #[arg(long, default_value = "weir-quickstart.jsonl", value_name = "FILE")]
    file: String,
    /// Folder of the archive, its journal and its state
    #[arg(long, default_value = "weir-quickstart", value_name = "DIR")]
    archive: String,
}

/// Runs the demonstration, then serves.
pub(super) fn quickstart(options: &Options) -> Result<(), String> {
    let config = config(options)?;
    say("weir quickstart\n\nThe configuration (configs/quickstart.yaml):\n");
    for line in config.lines().filter(|line| !line.trim_start().starts_with('#')) {
        say(&format!("    {line}"));
    }
    let loaded = service::load(
        &[("configs/quickstart.yaml".to_owned(), config)],
        &Gates::default(),
    )
    .map_err(|f| f.to_string())?;
    let service = Service::build(loaded).map_err(|faults| faults.to_string())?;
    let _flushed_at_end = start_logs(&service)?;
    runtime()?.block_on(async {
        service.start().await.map_err(|fault| {
            format!("{fault}\nif another program has the port: weir quickstart --port-offset 1000")
        })?;
        let shown = demonstrate(&service, options).await;
        if shown.is_ok() && !options.once {
            say(&serving(options.port_offset));
            stop_signal().await;
        }
        service.stop(service.drain_max()).await;
        shown
    })
}

fn config(options: &Options) -> Result<String, String> {
    let mut text = CONFIG
        .replace(
            "${env:WEIR_QUICKSTART_FILE:-weir-quickstart.jsonl}",
            &options.file,
        )
        .replace(
            "${env:WEIR_QUICKSTART_ARCHIVE:-weir-quickstart}",
            &options.archive,
        );
    for port in PORTS {
        let moved = port
            .checked_add(options.port_offset)
            .ok_or("--port-offset: a port would pass 65535")?;
        // marked until all are moved, so that no port is moved twice
        text = text.replace(&port.to_string(), &format!("{MOVED}{moved}"));
    }
    Ok(text.replace(MOVED, ""))
}

fn serving(offset: u16) -> String {
    let [grpc, http, metrics, health] = PORTS.map(|p| p + offset);
    format!(
        "\nServing until you stop it (Ctrl-C):\n\
         \x20   OTLP/gRPC  127.0.0.1:{grpc}\n\
         \x20   OTLP/HTTP  http://127.0.0.1:{http}\n\
         \x20   metrics    http://127.0.0.1:{metrics}/metrics\n\
         \x20   health     http://127.0.0.1:{health}/\n\
         Point an SDK at it:\n\
         \x20   OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{http}"
    )
}

async fn demonstrate(service: &Service, options: &Options) -> Result<(), String> {
    let now_ns = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64);
    let Sample { logs, traces, shown } = sample::sample(now_ns);
    let target = format!("127.0.0.1:{}", PORTS[0] + options.port_offset);
    let tls = ClientTls {
        insecure: true,
        ..ClientTls::default()
    };
    let to = GrpcClientConfig {
        endpoint: target,
        tls,
        ..GrpcClientConfig::default()
    };
    let client = GrpcClient::new(&to, "weir-quickstart")?;
    say("\nSending through the front door:");
    let mut sent = 0;
    for (what, signal, requests) in [
        ("access logs", Signal::Logs, &logs),
        ("spans", Signal::Traces, &traces),
    ] {
        let items = send(&client, signal, requests).await?;
        say(&format!(
            "    {items} {what} in {} requests: acknowledged",
            requests.len()
        ));
        sent += items;
    }
    delivered(service, sent).await?;
    let after = read_back(&options.file, &shown)?;
    say("\nBefore and after (read back from the file):");
    for record in &shown {
        let Some(after) = after.get(&record.id) else {
            return Err(format!("record {} is not in {}", record.id, options.file));
        };
        say(&format!("    {} {}", record.id, record.place));
        say(&format!("      sent     {}", shorten(&record.before)));
        say(&format!("      written  {}", shorten(after)));
    }
    proof(&options.archive).await?;
    books(service)
}

/// What the archive shows to somebody who has only its files.
async fn proof(folder: &str) -> Result<(), String> {
    let (archive, policy) = (format!("{folder}/archive"), format!("{folder}/trust.policy"));
    let report = verify::believed(&archive, Path::new(&policy)).await?;
    let totals = &report.totals;
    say("\nThe archive, as an auditor reads it (every file hashed, every record counted):");
    say(&format!(
        "    {} objects, {} records, {} log entries under {} signed heads: {}",
        totals.objects, totals.records, totals.entries, totals.checkpoints, report.verdict
    ));
    say("    Change or remove any of its files, then try:");
    say(&format!(
        "    weir archive verify --level full --policy {policy} --store {archive}"
    ));
    match report.exit {
        0 => Ok(()),
        _ => Err(format!(
            "{archive} is not what was kept there: {}",
            report.verdict
        )),
    }
}

async fn send(client: &GrpcClient, signal: Signal, requests: &[Request]) -> Result<u64, String> {
    let path = PathAndQuery::from_static(wire::otlp::export_path(signal));
    let (mut items, context) = (0, wire::Context::default());
    for request in requests {
        let message = [Bytes::copy_from_slice(&request.message)];
        let call = client.unary(&path, None, &message, &context);
        match tokio::time::timeout(DELIVERY_MAX, call).await {
            Ok(Ok(_)) => items += request.items,
            Ok(Err(error)) => return Err(format!("our own front door refused: {error}")),
            Err(_) => return Err("our own front door did not answer".to_owned()),
        }
    }
    Ok(items)
}

/// Waits until all exporters have booked everything as out. The archive holds the gateway's own records too.
async fn delivered(service: &Service, sent: u64) -> Result<(), String> {
    let sum = |id: &str, count: fn(&Totals) -> u64| -> u64 {
        let place = Place::Node(Node::Exporter(id.to_owned()));
        let ledger = &service.telemetry().ledger;
        let rows = [Signal::Logs, Signal::Traces].map(|signal| ledger.row(place.clone(), signal));
        rows.iter().map(|row| count(&row.total())).sum()
    };
    let out = |id: &str| sum(id, |totals| totals.get(Column::Out));
    let exporters = ["file", "debug", "archive"];
    let is_owed = |id: &&str| out(id) < sent || sum(id, Totals::held) > 0;
    let end = tokio::time::Instant::now() + DELIVERY_MAX;
    while exporters.iter().any(is_owed) {
        if tokio::time::Instant::now() > end {
            let got = exporters.map(|id| format!("{id} {}", out(id)));
            return Err(format!("of {sent} records arrived: {}", got.join(", ")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The texts of the shown records as they stand in the file, by `request_id`.
fn read_back(file: &str, shown: &[Shown]) -> Result<HashMap<String, String>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    let mut found = HashMap::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("{file}: {error}"))?;
        visit(&value, &mut |record| {
            let Some(id) = attribute(record, "request_id") else {
                return;
            };
            let Some(show) = shown.iter().find(|s| s.id == id) else {
                return;
            };
            let after = match show.place {
                "body" => record["body"]["stringValue"].as_str().map(str::to_owned),
                key => attribute(record, key),
            };
            found.insert(id, after.unwrap_or_default());
        });
    }
    Ok(found)
}

/// Calls for every JSON object that has attributes.
fn visit(value: &Value, each: &mut dyn FnMut(&Value)) {
    match value {
        Value::Object(map) => {
            if map.contains_key("attributes") {
                each(value);
            }
            map.values().for_each(|v| visit(v, each));
        }
        Value::Array(list) => list.iter().for_each(|v| visit(v, each)),
        _ => {}
    }
}

fn attribute(record: &Value, key: &str) -> Option<String> {
    let attributes = record["attributes"].as_array()?;
    let found = attributes.iter().find(|a| a["key"] == key)?;
    found["value"]["stringValue"].as_str().map(str::to_owned)
}

/// Cuts a text so that its line stays within 80 columns.
fn shorten(text: &str) -> String {
    const MAX: usize = 62;
    if text.chars().count() <= MAX {
        text.to_owned()
    } else {
        text.chars().take(MAX - 3).chain("...".chars()).collect()
    }
}

/// Where everything went, and that it adds up.
fn books(service: &Service) -> Result<(), String> {
    let ledger = &service.telemetry().ledger;
    say("\nWhere they went (the ledger):");
    for row in ledger.rows() {
        let shown = matches!(row.place, Place::Door { .. } | Place::Node(Node::Exporter(_)));
        if shown && row.total() != Totals::default() {
            say(&format!(
                "    {:<24} {:<7} {}",
                row.place.to_string(),
                row.signal.as_str(),
                row.total()
            ));
        }
    }
    match ledger.check() {
        Ok(()) => {
            say("    The books balance: every record that came is accounted for.");
            Ok(())
        }
        Err(faults) => Err(format!("the books do not balance:\n{}", faults.join("\n"))),
    }
}

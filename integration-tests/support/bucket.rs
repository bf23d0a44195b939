//! A gateway that archives into a bucket of a server that we did not write, and `weir archive` on its configuration.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use objects::blocks::{Auth, S3};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::client;
use super::gateway::{Gateway, weir};
use super::kills::archive::keys;
use super::kills::process::Process;
use super::programs::{free_port, output};

/// A bucket of a server on this machine, for somebody with a key.
pub fn bucket_at(port: u16, bucket: &str, id: &str, secret: &str) -> S3 {
    S3 {
        bucket: bucket.to_owned(),
        endpoint: format!("http://127.0.0.1:{port}"),
        force_path_style: true,
        auth: Auth {
            access_key_id: id.to_owned(),
            secret_access_key: secret.to_owned().into(),
            ..Auth::default()
        },
        ..S3::default()
    }
}

/// An archive in a bucket, with the folder of its only writer.
pub struct Archive {
    folder: tempfile::TempDir,
    text: String,
}

impl Archive {
    /// With a `lock`, and `more` keys of the store. Each request becomes an object soon.
    pub fn new(bucket: &S3, lock: &str, more: &str) -> Archive {
        let folder = tempfile::tempdir().unwrap();
        let (keys, dir) = (keys(bucket, more), folder.path().display());
        let text = format!(
            "extensions:
  health_check: {{endpoint: '127.0.0.1:{{health}}'}}
  file_storage: {{directory: '{dir}/journal', create_directory: true}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{{http}}'}}}}}}
exporters:
  archive:
    archive: example/prod
    writer: gw-0
    create: true
    state_dir: '{dir}/state'
    storage: file_storage
    lock: {lock}
    store: {{s3: {keys}}}
    roll: {{max_age: 100ms, min_bytes: 0, max_age_small: 0s}}
    log: {{checkpoint_interval: 1s}}
service:
  extensions: [health_check, file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [archive]}}
"
        );
        let archive = Archive { folder, text };
        let text = ["{health}", "{http}"]
            .iter()
            .fold(archive.text.clone(), |text, port| {
                text.replace(port, &free_port().to_string())
            });
        fs::write(archive.at("weir.yaml"), text).unwrap();
        archive
    }

    /// A file of its folder.
    pub fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The gateway, once it is healthy.
    pub async fn serve(&self) -> Gateway {
        Gateway::run(&weir(), &self.text).await
    }

    /// What the gateway says that does not even start.
    #[allow(dead_code, reason = "tier 3 has no such store")]
    pub async fn refused(&self) -> String {
        let mut process = Process::start(Path::new(&self.at("weir.yaml")), self.at("weir.log").into(), None);
        let ended = process.ends_within(Duration::from_secs(60)).await;
        let code = ended.and_then(|status| status.code());
        assert!(
            code.is_some_and(|code| code != 0),
            "{ended:?}: {}",
            process.said()
        );
        process.said()
    }

    /// `weir archive`: its exit code, what it printed, and what it said.
    pub async fn weir(&self, command: &str, arguments: &[&str]) -> (i32, String, String) {
        let mut run = Command::new(weir());
        run.args(["archive", command, "--config", &self.at("weir.yaml")]);
        run.args(arguments);
        output(run).await
    }

    /// Founds it; who is trusted by then stands in `trust.policy`.
    pub async fn found(&self) {
        let (key, policy) = (self.at("root.key"), self.at("trust.policy"));
        let (exit, told, said) = self
            .weir("init", &["--root-key", &key, "--policy", &policy])
            .await;
        assert_eq!(exit, 0, "{told}{said}");
    }

    /// The verdict at level `full`: exit code, and its findings as `warn C2 shadowed PLACE`.
    pub async fn verified(&self) -> (i32, Vec<String>) {
        let policy = self.at("trust.policy");
        let arguments = ["--policy", &policy, "--level", "full", "--json"];
        let (exit, told, said) = self.weir("verify", &arguments).await;
        let told: serde_json::Value =
            serde_json::from_str(&told).unwrap_or_else(|e| panic!("{e}: {told}{said}"));
        assert_eq!(told["exit"], exit, "{told}");
        assert_eq!(told["troubles"], serde_json::json!([]), "{told}");
        let text = |found: &serde_json::Value, key: &str| found[key].as_str().expect("text").to_owned();
        let findings = told["findings"].as_array().expect("a list").iter();
        let findings = findings.map(|found| {
            ["severity", "claim", "what", "where"]
                .map(|key| text(found, key))
                .join(" ")
        });
        (exit, findings.collect())
    }
}

/// Sends a log record of a tenant; it must be taken.
pub async fn send(gateway: &Gateway, tenant: &str) {
    let string = |text: &str| {
        Some(AnyValue {
            value: Some(Value::StringValue(text.to_owned())),
        })
    };
    let log_records = vec![LogRecord {
        time_unix_nano: 1_760_000_000_000_000_000,
        body: string("paid"),
        ..LogRecord::default()
    }];
    let attributes = vec![KeyValue {
        key: "tenant.id".to_owned(),
        value: string(tenant),
        ..KeyValue::default()
    }];
    let resource_logs = vec![ResourceLogs {
        resource: Some(Resource {
            attributes,
            ..Resource::default()
        }),
        scope_logs: vec![ScopeLogs {
            log_records,
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    }];
    let message = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    let door = SocketAddr::from(([127, 0, 0, 1], gateway.http));
    let answer = client::post_otlp(door, "/v1/logs", &message).await;
    assert_eq!(answer.status, 200, "{}", gateway.log());
}

//! What is sent (`requests.json`), and what came of it as JSON.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::client::{Grpc, LOGS, METRICS, TRACES, frame, raw};
use super::super::gateway::Gateway;
use super::super::peer::{Answer, Received, base64};
use super::proto;

/// What is sent to one configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What this is about, for its reader.
    #[serde(rename = "about")]
    pub _about: String,
    /// Deliveries follow the answers in their own time: they are listed once, after the end.
    #[serde(default)]
    pub collect_at_end: bool,
    /// So many deliveries are waited for before the program is stopped: they come in their own time.
    #[serde(default)]
    pub deliveries: usize,
    /// JSON names, or keys of attributes, of what is different in every run, such as times: left out of what the peer
    /// got, with the bytes.
    #[serde(default)]
    pub blank: Vec<String>,
    /// JSON names of lists that are in another order in every run: sorted, and without the bytes.
    #[serde(default)]
    pub unordered: Vec<String>,
    pub requests: Vec<Request>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub name: String,
    /// `POST /v1/logs`, over HTTP/1.1.
    http: Option<String>,
    /// `logs`, `traces`, `metrics`, or a method's path.
    grpc: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Body,
    /// The body so many times over: protobuf merges it.
    #[serde(default = "once")]
    times: usize,
    /// Compressed after that; over gRPC the message is marked as compressed.
    #[serde(default)]
    gzip: bool,
    /// Only so many bytes of what came out.
    cut: Option<usize>,
    /// What the peer answers, in turn; then it takes everything.
    #[serde(default)]
    behind: Vec<Behind>,
}

fn once() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Body {
    Text(String),
    Json(Value),
    /// In the language of [`proto`].
    Proto(String),
}

impl Default for Body {
    fn default() -> Body {
        Body::Text(String::new())
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Behind {
    http: Option<u16>,
    retry_after: Option<String>,
    grpc: Option<u8>,
    #[serde(default)]
    message: String,
    retry_ms: Option<u32>,
    rejected: Option<i64>,
}

impl Plan {
    /// Leaves out of a record what is different in every run.
    pub fn steady(&self, record: &mut Value) {
        match record {
            Value::Object(map) => {
                if !self.blank.is_empty() || !self.unordered.is_empty() {
                    map.retain(|name, _| name != "bytes" && !self.blank.contains(name));
                }
                for (name, value) in map {
                    self.steady(value);
                    if let (true, Value::Array(items)) = (self.unordered.contains(name), value) {
                        items.sort_by_cached_key(Value::to_string);
                    }
                }
            }
            Value::Array(items) => {
                items.retain(|item| !self.blank.iter().any(|name| item["key"] == **name));
                items.iter_mut().for_each(|item| self.steady(item));
            }
            _ => {}
        }
    }
}

impl Request {
    /// The peer's script.
    pub fn behind(&self) -> Vec<Answer> {
        // the script's texts live as long as the test's process
        let keep = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let answer = |behind: &Behind| match *behind {
            Behind {
                http: Some(status), ..
            } => Answer::Http {
                status,
                retry_after: behind.retry_after.as_deref().map(keep),
            },
            Behind {
                grpc: Some(code),
                retry_ms,
                ..
            } => Answer::Grpc {
                code,
                message: keep(&behind.message),
                retry_ms,
            },
            Behind {
                rejected: Some(rejected),
                ..
            } => Answer::Partial {
                rejected,
                message: keep(&behind.message),
            },
            _ => Answer::Ok,
        };
        self.behind.iter().map(answer).collect()
    }

    fn bytes(&self) -> Vec<u8> {
        let once = match &self.body {
            Body::Text(text) => text.clone().into_bytes(),
            Body::Json(value) => value.to_string().into_bytes(),
            Body::Proto(text) => proto::encode(text),
        };
        let mut bytes = once.repeat(self.times);
        if self.gzip {
            let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            zip.write_all(&bytes).unwrap();
            bytes = zip.finish().unwrap();
        }
        bytes.truncate(self.cut.unwrap_or(usize::MAX));
        bytes
    }

    /// The answer, as `{"status", "content-type", "retry-after", "body"}` or `{"code", "message", "retry_ms", "body"}`.
    pub async fn send(&self, gateway: &Gateway) -> Value {
        let body = self.bytes();
        match (&self.http, &self.grpc) {
            (Some(line), None) => self.over_http(line, gateway.http, &body).await,
            (None, Some(method)) => self.over_grpc(method, gateway.grpc, &body).await,
            _ => panic!("{}: either http or grpc", self.name),
        }
    }

    async fn over_http(&self, line: &str, port: u16, body: &[u8]) -> Value {
        let mut head = format!("{line} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n");
        head.push_str(&format!("content-length: {}\r\n", body.len()));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let request = [head.as_bytes(), b"\r\n", body].concat();
        let answer = raw(SocketAddr::from(([127, 0, 0, 1], port)), &request).await;
        let kind = answer.header("content-type").unwrap_or_default();
        let mut entry = json!({
            "status": answer.status,
            "content-type": kind,
            "body": match kind.as_str() {
                "application/x-protobuf" if answer.status == 200 => json!(partial(&answer.body)),
                "application/x-protobuf" => json!(Status::read(&answer.body)),
                "application/json" => text_or_json(&answer.body),
                _ => json!(String::from_utf8_lossy(&answer.body)),
            },
        });
        let names = ["retry-after", "allow", "www-authenticate", "vary"];
        for name in names {
            if let Some(value) = answer.header(name) {
                entry[name] = json!(value);
            }
        }
        for line in answer.head.lines() {
            if let Some((name, value)) = line.split_once(':')
                && name.to_ascii_lowercase().starts_with("access-control-")
            {
                entry[name.to_ascii_lowercase()] = json!(value.trim());
            }
        }
        entry
    }

    async fn over_grpc(&self, method: &str, port: u16, body: &[u8]) -> Value {
        let path = match method {
            "logs" => LOGS,
            "traces" => TRACES,
            "metrics" => METRICS,
            path => path,
        };
        let mut headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        if self.gzip {
            headers.push(("grpc-encoding", "gzip"));
        }
        let marked = headers.iter().any(|(name, _)| *name == "grpc-encoding");
        let grpc = Grpc::connect(SocketAddr::from(([127, 0, 0, 1], port))).await;
        let answer = grpc
            .call(path, frame(u8::from(marked), body), &headers, true)
            .await;
        let details = answer.trailers.get("grpc-status-details-bin");
        let status = details.map(|text| Status::read(&unbase64(text.to_str().unwrap())));
        let mut entry = json!({ "code": answer.code, "message": unescape(&answer.message) });
        if let Some(ms) = status.and_then(|status| status.retry_ms) {
            entry["retry_ms"] = json!(ms);
        }
        if answer.code == 0 {
            let mut body = answer.body[5..].to_vec();
            if answer.body[0] == 1 {
                let mut inflated = Vec::new();
                flate2::read::GzDecoder::new(body.as_slice())
                    .read_to_end(&mut inflated)
                    .expect("gzip");
                body = inflated;
            }
            entry["body"] = json!(partial(&body));
        }
        entry
    }
}

/// An export response: nothing, an empty `partial_success`, or what was rejected.
#[derive(Serialize)]
struct Partial {
    rejected: i64,
    message: String,
}

fn partial(bytes: &[u8]) -> Partial {
    // the three signals' responses have the same numbers
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;

    let partial = ExportLogsServiceResponse::decode(bytes)
        .expect("a response")
        .partial_success
        .unwrap_or_default();
    Partial {
        rejected: partial.rejected_log_records,
        message: partial.error_message,
    }
}

/// google.rpc.Status, with the delay of its RetryInfo.
#[derive(Serialize)]
struct Status {
    code: i32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_ms: Option<i64>,
}

impl Status {
    fn read(bytes: &[u8]) -> Status {
        let status = rpc::Status::decode(bytes).expect("a google.rpc.Status");
        let retry = status
            .details
            .iter()
            .find(|any| any.type_url.ends_with("google.rpc.RetryInfo"));
        let retry_ms = retry.map(|any| {
            let delay = rpc::RetryInfo::decode(any.value.as_slice())
                .expect("RetryInfo")
                .delay
                .unwrap_or_default();
            delay.seconds * 1000 + i64::from(delay.nanos) / 1_000_000
        });
        Status {
            code: status.code,
            message: status.message,
            retry_ms,
        }
    }
}

/// The few messages of google.rpc that are needed.
mod rpc {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Status {
        #[prost(int32, tag = "1")]
        pub code: i32,
        #[prost(string, tag = "2")]
        pub message: String,
        #[prost(message, repeated, tag = "3")]
        pub details: Vec<Any>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Any {
        #[prost(string, tag = "1")]
        pub type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        pub value: Vec<u8>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        pub delay: Option<Duration>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Duration {
        #[prost(int64, tag = "1")]
        pub seconds: i64,
        #[prost(int32, tag = "2")]
        pub nanos: i32,
    }
}

/// What the peer got: path, headers that say something of the gateway, the message decoded for its reader, and its bytes
/// as another encoder writes what they mean, which is what is compared where a double has no JSON.
pub fn delivered(received: &[Received]) -> Value {
    received
        .iter()
        .map(|request| {
            let mut bytes = request.message.to_vec();
            let mut high = Vec::new();
            let mut read = decode(&request.path, &bytes);
            if read.is_none() {
                // text that is not UTF-8: what it holds is shown beside the rest
                high = bytes.iter().copied().filter(|b| *b >= 0x80).collect();
                high.sort_unstable();
                bytes.iter_mut().filter(|b| **b >= 0x80).for_each(|b| *b = b'?');
                read = decode(&request.path, &bytes);
            }
            let kind = request.headers.get("content-type").map(|v| v.to_str().unwrap());
            let mut entry = json!({ "path": request.path, "content-type": kind });
            for (name, value) in &request.headers {
                let name = name.as_str();
                if name.starts_with("x-") || name.ends_with("-encoding") && !name.contains("accept") {
                    entry[name] = json!(value.to_str().unwrap());
                }
            }
            match read {
                Some((mut message, bytes)) => {
                    prune(&mut message);
                    entry["message"] = message;
                    entry["bytes"] = json!(base64(&bytes));
                    if !high.is_empty() {
                        entry["beyond-ascii"] = json!(base64(&high));
                    }
                }
                None if kind == Some("application/json") => {
                    entry["message"] = text_or_json(&request.message);
                }
                None => entry["bytes"] = json!(base64(&request.message)),
            }
            entry
        })
        .collect()
}

/// JSON is compared as what it says: the order of its keys and the spelling of its numbers are nobody's business.
pub fn text_or_json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(bytes)))
}

/// A message for its reader, and encoded anew.
fn decode(path: &str, bytes: &[u8]) -> Option<(Value, Vec<u8>)> {
    let path = path.to_lowercase();
    if path.contains("log") {
        ExportLogsServiceRequest::decode(bytes).ok().map(canonical::logs)
    } else if path.contains("trace") {
        ExportTraceServiceRequest::decode(bytes)
            .ok()
            .map(canonical::traces)
    } else {
        ExportMetricsServiceRequest::decode(bytes)
            .ok()
            .map(canonical::metrics)
    }
}

/// Leaves out what is zero or empty: the bytes tell the difference, and a reader looks for what is there.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, value| {
                !(value.is_null()
                    || *value == json!("")
                    || *value == json!([])
                    || *value == json!(0)
                    || *value == json!("0"))
            });
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Messages as the collector writes them: a resource, a scope, a body, a status, buckets and a value stand there
/// even when empty. What is absent means the same, and Weir leaves it absent.
mod canonical {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest as Logs;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest as Metrics;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Traces;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use prost::Message;
    use serde_json::{Value, json};

    /// For its reader, and as bytes.
    type Both = (Value, Vec<u8>);

    fn attributes(list: &mut [KeyValue]) {
        for attribute in list {
            value(attribute.value.get_or_insert_default());
        }
    }

    fn value(any: &mut AnyValue) {
        match &mut any.value {
            Some(Any::KvlistValue(map)) => attributes(&mut map.values),
            Some(Any::ArrayValue(array)) => array.values.iter_mut().for_each(value),
            _ => {}
        }
    }

    pub fn logs(mut all: Logs) -> Both {
        for group in &mut all.resource_logs {
            attributes(&mut group.resource.get_or_insert_default().attributes);
            for scope in &mut group.scope_logs {
                attributes(&mut scope.scope.get_or_insert_default().attributes);
                for record in &mut scope.log_records {
                    value(record.body.get_or_insert_default());
                    attributes(&mut record.attributes);
                }
            }
        }
        (json!(all), all.encode_to_vec())
    }

    pub fn traces(mut all: Traces) -> Both {
        for group in &mut all.resource_spans {
            attributes(&mut group.resource.get_or_insert_default().attributes);
            for scope in &mut group.scope_spans {
                attributes(&mut scope.scope.get_or_insert_default().attributes);
                for span in &mut scope.spans {
                    span.status.get_or_insert_default();
                    attributes(&mut span.attributes);
                }
            }
        }
        (json!(all), all.encode_to_vec())
    }

    pub fn metrics(mut all: Metrics) -> Both {
        for group in &mut all.resource_metrics {
            attributes(&mut group.resource.get_or_insert_default().attributes);
            for scope in &mut group.scope_metrics {
                attributes(&mut scope.scope.get_or_insert_default().attributes);
                for metric in &mut scope.metrics {
                    let Some(Data::ExponentialHistogram(data)) = &mut metric.data else {
                        continue;
                    };
                    for point in &mut data.data_points {
                        point.positive.get_or_insert_default();
                        point.negative.get_or_insert_default();
                    }
                }
            }
        }
        (json!(all), all.encode_to_vec())
    }
}

fn unbase64(text: &str) -> Vec<u8> {
    const SET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let (mut word, mut bits) = (0u32, 0);
    for byte in text.bytes().filter(|b| *b != b'=') {
        let digit = SET.iter().position(|b| *b == byte).expect("a digit of base64");
        word = word << 6 | digit as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    out
}

/// `grpc-message` is percent-encoded.
fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [a, b, after @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                let digits = String::from_utf8(vec![*a, *b]).unwrap();
                out.push(u8::from_str_radix(&digits, 16).unwrap());
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

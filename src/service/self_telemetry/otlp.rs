//! Where own telemetry is pushed: the `otlp` and `console` exporters of readers and log processors.
//!
//! Keys are those of otelconf v0.3.0 (times in milliseconds), or v0.2.0's map for headers. Calls go through the
//! gateway's own clients; this end knows no queue and no retry, who pushes decides.

use std::time::Duration;

use bytes::Bytes;
use config::{MapList, Secret};
use http::Uri;
use http::uri::PathAndQuery;
use net::client::{CallError, GrpcClient, HttpClient};
use net::tls::ClientTls;
use net::{GrpcClientConfig, HttpClientConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::otlp::Temporality;
use wire::{Encoding, Signal};

use super::faults::Faults;
use crate::service::INFO;

/// `exporter` of a reader or processor: exactly one of its keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Exporter {
    /// Pushes.
    pub otlp: Option<Otlp>,
    /// Prints one line of OTLP/JSON on standard output.
    pub console: Option<Console>,
}

/// `console`: no keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Console {}

/// `otlp`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Otlp {
    /// `grpc` (also `grpc/protobuf`) or `http/protobuf`. Required.
    pub protocol: String,
    /// URL; without a scheme `http` if `insecure`, else `https`. Over HTTP without a path: `/v1/metrics`, `/v1/logs`.
    pub endpoint: String,
    /// No TLS where the endpoint states no scheme.
    pub insecure: bool,
    /// PEM file of the authorities to believe; none = the system's.
    pub certificate: String,
    /// PEM file of the certificate to show.
    pub client_certificate: String,
    /// Its key.
    pub client_key: String,
    /// Sent with every request.
    pub headers: MapList<Secret<String>>,
    /// The same as `name=value,name=value`; `headers` win.
    pub headers_list: Secret<String>,
    /// `gzip` or `none`.
    pub compression: String,
    /// Milliseconds for one request. Default 10000.
    pub timeout: u64,
    /// `cumulative` (default), `delta` or `lowmemory`; metrics only.
    pub temporality_preference: String,
    /// Only `explicit_bucket_histogram`; metrics only.
    pub default_histogram_aggregation: String,
}

impl Default for Otlp {
    fn default() -> Otlp {
        Otlp {
            protocol: String::new(),
            endpoint: String::new(),
            insecure: false,
            certificate: String::new(),
            client_certificate: String::new(),
            client_key: String::new(),
            headers: MapList::default(),
            headers_list: Secret::new(String::new()),
            compression: "none".into(),
            timeout: 10_000,
            temporality_preference: "cumulative".into(),
            default_histogram_aggregation: "explicit_bucket_histogram".into(),
        }
    }
}

impl Exporter {
    /// Rules; `key` is the path of this block.
    pub(super) fn check(&self, key: &str, signal: Signal, faults: &mut Faults<'_>) {
        match (&self.otlp, &self.console) {
            (Some(otlp), None) => otlp.check(&format!("{key}.otlp"), signal, faults),
            (None, Some(_)) => {}
            (None, None) => faults.fault(key, "no exporter: one of otlp and console is needed"),
            (Some(_), Some(_)) => {
                faults.fault(key, "must not specify multiple exporters: leave otlp or console")
            }
        }
    }

    /// Connects to nothing yet, but reads certificates.
    pub(super) fn open(&self, signal: Signal) -> Result<Target, String> {
        match &self.otlp {
            Some(otlp) => otlp.open(signal),
            None => Ok(Target::Console),
        }
    }

    /// How counters are told.
    pub(super) fn temporality(&self) -> Temporality {
        match self.otlp.as_ref().map(|o| o.temporality_preference.as_str()) {
            Some("delta" | "lowmemory") => Temporality::Delta,
            _ => Temporality::Cumulative,
        }
    }
}

impl Otlp {
    fn check(&self, key: &str, signal: Signal, faults: &mut Faults<'_>) {
        let at = |name: &str| format!("{key}.{name}");
        match self.protocol.as_str() {
            "grpc" | "grpc/protobuf" | "http/protobuf" => {}
            "" => faults.fault(
                &at("protocol"),
                "protocol must be specified: grpc or http/protobuf",
            ),
            other => faults.fault(
                &at("protocol"),
                format!("unsupported protocol \"{other}\": grpc or http/protobuf"),
            ),
        }
        match self.endpoint.as_str() {
            "" => faults.fault(&at("endpoint"), "endpoint must be specified"),
            _ => {
                if let Err(message) = self.url(signal) {
                    faults.fault(&at("endpoint"), message);
                }
            }
        }
        faults.rule(
            matches!(self.compression.as_str(), "" | "none" | "gzip"),
            &at("compression"),
            &format!("unsupported compression \"{}\": gzip or none", self.compression),
        );
        faults.rule(
            self.client_certificate.is_empty() == self.client_key.is_empty(),
            &at("client_certificate"),
            "client_certificate and client_key need each other",
        );
        if let Err(message) = self.headers() {
            faults.fault(&at("headers_list"), message);
        }
        if signal == Signal::Metrics {
            faults.rule(
                matches!(
                    self.temporality_preference.as_str(),
                    "" | "cumulative" | "delta" | "lowmemory"
                ),
                &at("temporality_preference"),
                "unsupported temporality preference: cumulative, delta or lowmemory",
            );
            faults.rule(
                matches!(
                    self.default_histogram_aggregation.as_str(),
                    "" | "explicit_bucket_histogram"
                ),
                &at("default_histogram_aggregation"),
                "only explicit_bucket_histogram is counted",
            );
        } else {
            let known = Otlp::default();
            for (name, same) in [
                (
                    "temporality_preference",
                    self.temporality_preference == known.temporality_preference,
                ),
                (
                    "default_histogram_aggregation",
                    self.default_histogram_aggregation == known.default_histogram_aggregation,
                ),
            ] {
                faults.rule(same, &at(name), "is a key of metrics only");
            }
        }
    }

    /// The whole URL; over gRPC without a path.
    fn url(&self, signal: Signal) -> Result<Uri, String> {
        let text = match self.endpoint.contains("://") {
            true => self.endpoint.clone(),
            false if self.insecure => format!("http://{}", self.endpoint),
            false => format!("https://{}", self.endpoint),
        };
        let url: Uri = text.parse().map_err(|e| format!("not a URL: {e}"))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
            return Err("must be http:// or https:// and a host".into());
        }
        if url.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err("credentials in the URL are not supported; use headers".into());
        }
        if self.protocol != "http/protobuf" || !matches!(url.path(), "" | "/") {
            return Ok(url);
        }
        let text = format!("{}/v1/{}", text.trim_end_matches('/'), signal.as_str());
        text.parse().map_err(|e| format!("not a URL: {e}"))
    }

    fn headers(&self) -> Result<MapList<Secret<String>>, String> {
        let mut pairs = self.headers.0.clone();
        for part in self
            .headers_list
            .expose()
            .split(',')
            .filter(|part| !part.trim().is_empty())
        {
            let (name, value) = part
                .split_once('=')
                .ok_or("headers_list is name=value,name=value")?;
            let (name, value) = (name.trim(), value.trim());
            if !pairs.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                pairs.push((name.to_owned(), Secret::new(value.to_owned())));
            }
        }
        Ok(MapList(pairs))
    }

    fn open(&self, signal: Signal) -> Result<Target, String> {
        let url = self.url(signal)?;
        let is_plain = url.scheme_str() == Some("http");
        let tls = ClientTls {
            insecure: is_plain,
            ca_file: if is_plain {
                String::new()
            } else {
                self.certificate.clone()
            },
            cert_file: self.client_certificate.clone(),
            key_file: self.client_key.clone(),
            ..ClientTls::default()
        };
        let timeout = Duration::from_millis(self.timeout);
        let headers = self.headers()?;
        let call = if self.protocol == "http/protobuf" {
            let config = HttpClientConfig {
                tls,
                headers,
                ..HttpClientConfig::default()
            };
            let client = HttpClient::new(&config, &INFO.user_agent(), timeout, !is_plain)?;
            Call::Http(Box::new(client), url)
        } else {
            let config = GrpcClientConfig {
                // A name alone stands for a host that gRPC resolves by itself.
                endpoint: url.authority().map_or_else(String::new, ToString::to_string),
                tls,
                headers,
                ..GrpcClientConfig::default()
            };
            let path = PathAndQuery::from_static(wire::otlp::export_path(signal));
            Call::Grpc(GrpcClient::new(&config, &INFO.user_agent())?, path)
        };
        Ok(Target::Otlp {
            call,
            is_gzip: self.compression == "gzip",
            timeout: (!timeout.is_zero()).then_some(timeout),
        })
    }
}

/// An opened exporter.
pub(super) enum Target {
    /// Over the network.
    Otlp {
        call: Call,
        is_gzip: bool,
        timeout: Option<Duration>,
    },
    /// Standard output.
    Console,
}

/// One of the two protocols.
pub(super) enum Call {
    Grpc(GrpcClient, PathAndQuery),
    Http(Box<HttpClient>, Uri),
}

/// A push that did not succeed.
#[derive(Debug)]
pub(super) struct Failed {
    /// In words; no header and no body is in them.
    pub message: String,
    /// Whether the same bytes may be taken later.
    pub is_retryable: bool,
    /// When to come again, if the far side has said so.
    pub after: Option<Duration>,
}

impl Target {
    /// One request, once.
    pub(super) async fn push(&self, signal: Signal, bytes: Vec<u8>) -> Result<(), Failed> {
        let Target::Otlp {
            call,
            is_gzip,
            timeout,
        } = self
        else {
            print(signal, &bytes);
            return Ok(());
        };
        let (encoding, body) = match is_gzip {
            true => (
                Some("gzip"),
                net::compression::encode(Encoding::Gzip, 0, &[Bytes::from(bytes)]),
            ),
            false => (None, Bytes::from(bytes)),
        };
        let answer = call.send(encoding, body);
        match timeout {
            None => answer.await,
            Some(limit) => tokio::time::timeout(*limit, answer).await.unwrap_or_else(|_| {
                Err(Failed {
                    message: format!("no answer within {limit:?}"),
                    is_retryable: true,
                    after: None,
                })
            }),
        }
    }
}

impl Call {
    async fn send(&self, encoding: Option<&'static str>, body: Bytes) -> Result<(), Failed> {
        // Nobody's request: there is no client behind it.
        let cx = wire::Context::default();
        match self {
            Call::Grpc(client, path) => match client.unary(path, encoding, &[body], &cx).await {
                Ok(_) => Ok(()),
                Err(CallError::Status(status)) => Err(Failed {
                    message: format!("{}: {}", status.code, status.message),
                    is_retryable: status.code.is_retryable(status.retry_after.is_some()),
                    after: status.retry_after,
                }),
                Err(CallError::Transport(error)) => Err(unreachable_peer(&error)),
            },
            Call::Http(client, url) => {
                let reply = client
                    .post(url, "application/x-protobuf", encoding, vec![body], &cx)
                    .await;
                match reply {
                    Ok(reply) if reply.status.is_success() => Ok(()),
                    Ok(reply) => Err(Failed {
                        message: format!("HTTP status {}", reply.status.as_u16()),
                        is_retryable: matches!(reply.status.as_u16(), 429 | 502..=504),
                        after: net::client::retry_after(&reply.headers, now_s()),
                    }),
                    Err(CallError::Status(status)) => Err(Failed {
                        message: status.message,
                        is_retryable: false,
                        after: None,
                    }),
                    Err(CallError::Transport(error)) => Err(unreachable_peer(&error)),
                }
            }
        }
    }
}

fn unreachable_peer(error: &dyn std::fmt::Display) -> Failed {
    Failed {
        message: error.to_string(),
        is_retryable: true,
        after: None,
    }
}

fn now_s() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

fn print(signal: Signal, bytes: &[u8]) {
    use std::io::Write;
    let mut line = Vec::new();
    if codec::otlp_json::write(signal, bytes, &mut line).is_ok() {
        line.push(b'\n');
        // A closed standard output is nobody's loss.
        let _ = std::io::stdout().lock().write_all(&line);
    }
}

#[cfg(test)]
mod tests {
    use config::Section;

    use super::*;

    fn read(yaml: &str, signal: Signal) -> Result<Exporter, String> {
        let section = Section::from_yaml(yaml).unwrap();
        let exporter: Exporter = section.clone().parse().map_err(|e| e.to_string())?;
        let mut faults = Faults::new(&section);
        exporter.check("", signal, &mut faults);
        faults.finish().map_err(|e| e.to_string())?;
        Ok(exporter)
    }

    #[test]
    fn urls_are_completed_as_the_sdk_completes_them() {
        #[track_caller]
        fn check(protocol: &str, endpoint: &str, insecure: bool, expected: &str) {
            let otlp = Otlp {
                protocol: protocol.into(),
                endpoint: endpoint.into(),
                insecure,
                ..Otlp::default()
            };
            let url = otlp.url(Signal::Metrics);
            assert_eq!(url.map(|u| u.to_string()).unwrap_or_else(|e| e), expected);
        }
        check("http/protobuf", "http://c:4318", true, "http://c:4318/v1/metrics");
        check(
            "http/protobuf",
            "http://c:4318/",
            false,
            "http://c:4318/v1/metrics",
        );
        check("http/protobuf", "c:4318", true, "http://c:4318/v1/metrics");
        check("http/protobuf", "c:4318", false, "https://c:4318/v1/metrics");
        check(
            "http/protobuf",
            "http://vm:8428/opentelemetry/api/v1/push",
            false,
            "http://vm:8428/opentelemetry/api/v1/push",
        );
        check("grpc", "localhost:4317", true, "http://localhost:4317/");
        check("grpc", "ftp://a", true, "must be http:// or https:// and a host");
        check(
            "grpc",
            "http://u:p@a",
            true,
            "credentials in the URL are not supported; use headers",
        );
    }

    #[test]
    fn faults_name_their_key() {
        #[track_caller]
        fn check(yaml: &str, signal: Signal, expected: &[&str]) {
            let error = read(yaml, signal).unwrap_err();
            for expected in expected {
                assert!(error.contains(expected), "{yaml}: {error}");
            }
        }
        check("{}", Signal::Metrics, &["no exporter"]);
        check(
            "{console: {}, otlp: {}}",
            Signal::Metrics,
            &["must not specify multiple exporters"],
        );
        check("{zipkin: {}}", Signal::Metrics, &["zipkin"]);
        check(
            "otlp: {protocol: udp, compression: zstd, temporality_preference: rising, client_key: k}",
            Signal::Metrics,
            &[
                "unsupported protocol \"udp\"",
                "endpoint must be specified",
                "unsupported compression \"zstd\"",
                "unsupported temporality preference",
                "client_certificate and client_key need each other",
            ],
        );
        check(
            "otlp: {default_histogram_aggregation: base2_exponential_bucket_histogram}",
            Signal::Metrics,
            &["only explicit_bucket_histogram", "protocol must be specified"],
        );
        check(
            "otlp: {protocol: grpc, endpoint: 'a:1', temporality_preference: delta}",
            Signal::Logs,
            &["is a key of metrics only"],
        );
        check(
            "otlp: {protocol: grpc, endpoint: 'a:1', headers_list: secret}",
            Signal::Logs,
            &["headers_list is name=value"],
        );
    }

    #[test]
    fn headers_come_in_three_spellings_and_stay_secret() {
        let base = "protocol: grpc, endpoint: 'a:1', insecure: true";
        for headers in [
            "headers: [{name: k, value: tok1}]",
            "headers: {k: tok1}",
            "headers_list: 'k=tok1, '",
        ] {
            let exporter = read(&format!("otlp: {{{base}, {headers}}}"), Signal::Logs).unwrap();
            let pairs = exporter.otlp.as_ref().unwrap().headers().unwrap().0;
            assert_eq!((pairs[0].0.as_str(), pairs[0].1.expose().as_str()), ("k", "tok1"));
            assert!(!format!("{exporter:?}").contains("tok1"));
        }
    }
}

//! Exporter `otlp_http` (alias `otlphttp`): OTLP over HTTP, protobuf.
//!
//! In: every signal. Out: one POST a batch, plain or compressed into one member; a body that came in with the same
//! compression and was not touched goes out as it came. Keys, defaults and classification of errors are otelcol's
//! (v0.159); `encoding: json` is not supported yet. Delivery: at least once (harness).

use std::sync::OnceLock;
use std::time::{Duration as StdDuration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use codec::otlp_response::Partial;
use component::prelude::*;
use http::Uri;
use http::header::CONTENT_TYPE;
use net::client::{HttpClient, HttpReply};
use net::grpc::decode_status;
use net::{Compression, HttpClientConfig};
use wire::Encoding;

/// This exporter type.
pub(crate) static FACTORY: ExporterFactory = ExporterFactory {
    kind: "otlp_http",
    aliases: &["otlphttp"],
    keys: &[Shape::of::<HttpClientConfig>(), Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Alpha),
        (Signal::Metrics, Stability::Alpha),
        (Signal::Logs, Stability::Alpha),
        (Signal::Profiles, Stability::Development),
    ],
    // `timeout` is the HTTP client's.
    harness: Harness {
        timeout_ms: None,
        ..Harness::QUEUE_RETRY_TIMEOUT
    },
    build: |section, cx| Ok(Exporter::Push(Arc::new(OtlpHttp::build(section, cx)?))),
};

/// Beside the client's keys.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Whole URL for traces, instead of `endpoint` + `v1/traces`.
    traces_endpoint: String,
    /// Whole URL for metrics, instead of `endpoint` + `v1/metrics`.
    metrics_endpoint: String,
    /// Whole URL for logs, instead of `endpoint` + `v1/logs`.
    logs_endpoint: String,
    /// Whole URL for profiles, instead of `endpoint` + `v1development/profiles`.
    profiles_endpoint: String,
    /// `proto`.
    encoding: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            traces_endpoint: String::new(),
            metrics_endpoint: String::new(),
            logs_endpoint: String::new(),
            profiles_endpoint: String::new(),
            encoding: "proto".into(),
        }
    }
}

const TIMEOUT: StdDuration = StdDuration::from_secs(30);
const PROTOBUF: &str = "application/x-protobuf";
/// As much of an answer's words as is logged and handed on.
const MESSAGE_BYTES_MAX: usize = 1024;

struct OtlpHttp {
    id: String,
    config: HttpClientConfig,
    agent: String,
    /// By [`Signal::index`].
    urls: [Option<Uri>; 4],
    compression: Option<(&'static str, Encoding)>,
    client: OnceLock<HttpClient>,
}

impl OtlpHttp {
    fn build(mut section: Section, cx: &BuildContext) -> Result<OtlpHttp, Fault> {
        let client: HttpClientConfig = section.take()?;
        section.check(&client)?;
        let place = section.clone();
        let config: Config = section.parse()?;
        match config.encoding.as_str() {
            "proto" => {}
            "json" => {
                return Err(place
                    .fault("encoding", "encoding json is not supported yet; use proto")
                    .into());
            }
            other => {
                return Err(place
                    .fault("encoding", format!("invalid encoding type: {other}"))
                    .into());
            }
        }
        let own = [
            ("logs_endpoint", &config.logs_endpoint, "v1/logs"),
            ("traces_endpoint", &config.traces_endpoint, "v1/traces"),
            ("metrics_endpoint", &config.metrics_endpoint, "v1/metrics"),
            (
                "profiles_endpoint",
                &config.profiles_endpoint,
                "v1development/profiles",
            ),
        ];
        if client.endpoint.is_empty() && own.iter().all(|(_, url, _)| url.is_empty()) {
            return Err(place
                .fault("endpoint", "at least one endpoint must be specified")
                .into());
        }
        let mut urls: [Option<Uri>; 4] = Default::default();
        for (slot, (key, given, path)) in urls.iter_mut().zip(own) {
            let (key, url) = match (given.as_str(), client.endpoint.as_str()) {
                ("", "") => continue,
                ("", base) if base.ends_with('/') => ("endpoint", format!("{base}{path}")),
                ("", base) => ("endpoint", format!("{base}/{path}")),
                (url, _) => (key, url.to_owned()),
            };
            *slot = Some(parse_url(&url).map_err(|text| place.fault(key, text))?);
        }
        Ok(OtlpHttp {
            id: cx.id.to_string(),
            agent: cx.info.user_agent(),
            urls,
            compression: client.compression.unwrap_or(Compression::Gzip).http(),
            config: client,
            client: OnceLock::new(),
        })
    }

    fn judge(&self, signal: Signal, url: &Uri, reply: &HttpReply) -> Result<Outcome, ExportError> {
        let is_protobuf = reply
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|t| t.as_bytes() == PROTOBUF.as_bytes());
        if reply.status.is_success() {
            let partial = if is_protobuf {
                Partial::decode(&reply.body)
            } else {
                Ok(Partial::default())
            };
            // The batch was taken; an answer that cannot be read changes nothing about that.
            let partial = partial.unwrap_or_else(|e| Partial {
                rejected: 0,
                message: format!("the answer could not be read: {e}"),
            });
            return Ok(Outcome::of_partial(
                &self.id,
                signal,
                partial.rejected,
                partial.message,
            ));
        }
        let status = reply.status.as_u16();
        let words = match is_protobuf.then(|| decode_status(&reply.body)).flatten() {
            Some(status) => status.message,
            None => String::from_utf8_lossy(&reply.body).into_owned(),
        };
        let words = net::grpc::truncated(words.trim(), MESSAGE_BYTES_MAX);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let after = net::client::retry_after(&reply.headers, now);
        let place = shown(url);
        let text = format!(
            "error exporting items, request to {place} responded with HTTP Status Code {status}, Message={words}"
        );
        Err(ExportError::from_http(status, after, text))
    }
}

/// Scheme, host and path: a query may hold a key.
fn shown(url: &Uri) -> String {
    format!(
        "{}://{}{}",
        url.scheme_str().unwrap_or("http"),
        url.host().unwrap_or(""),
        url.path()
    )
}

fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|e| format!("not a URL: {e}"))?;
    match url.scheme_str() {
        Some("http" | "https") if url.host().is_some_and(|h| !h.is_empty()) => {}
        Some("http" | "https") => return Err("the URL has no host".into()),
        _ => return Err("the URL must begin with http:// or https://".into()),
    }
    if url.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err("credentials in the URL are not supported; use headers".into());
    }
    Ok(url)
}

impl Push for OtlpHttp {
    fn start<'a>(&'a self, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        let needs_tls = self
            .urls
            .iter()
            .flatten()
            .any(|u| u.scheme_str() == Some("https"));
        let made = HttpClient::new(&self.config, &self.agent, TIMEOUT, needs_tls);
        let made = made.and_then(|client| {
            let Some(block) = self.config.auth.get() else {
                return Ok(client);
            };
            let auth = host::client_auth(&*host, &block.authenticator, "HTTP").map_err(|e| e.to_string())?;
            Ok(client.with_auth(auth))
        });
        let made = made.map_err(|e| Fault::World(format!("exporter {}: {e}", self.id)));
        ready(made.map(|client| {
            let _ = self.client.set(client);
        }))
    }

    fn export<'a>(&'a self, batch: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        Box::pin(async move {
            let client = self
                .client
                .get()
                .ok_or_else(|| ExportError::retry("not started"))?;
            let url = self.urls[batch.signal.index()]
                .as_ref()
                .ok_or_else(|| ExportError::Rejected {
                    code: Code::UNIMPLEMENTED,
                    source: format!(
                        "either endpoint or {}_endpoint must be specified",
                        batch.signal.as_str()
                    )
                    .into(),
                })?;
            let (token, body) = match self.compression {
                None => {
                    let chunks: Vec<Bytes> = batch.parts().cloned().collect();
                    (None, chunks)
                }
                Some((token, encoding)) => (
                    Some(token),
                    vec![compressed(batch, encoding, self.level()).await?],
                ),
            };
            let reply = client
                .post(url, PROTOBUF, token, body, &batch.context)
                .await
                .map_err(ExportError::from_call)?;
            self.judge(batch.signal, url, &reply)
        })
    }
}

impl OtlpHttp {
    fn level(&self) -> i32 {
        self.config.compression_params.level
    }
}

#[cfg(test)]
mod tests;

//! Exporter `otlp_http` (alias `otlphttp`): OTLP over HTTP, protobuf or JSON.
//!
//! In: every signal. Out: one POST a batch, plain or compressed into one member; a body that came in with the same
//! compression and was not touched goes out as it came. Keys, defaults and classification of errors are otelcol's
//! (v0.159). Delivery: at least once (harness).

use std::sync::OnceLock;
use std::time::{Duration as StdDuration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use codec::otlp_json;
use codec::otlp_response::Partial;
use component::prelude::*;
use component::template;
use http::Uri;
use http::header::CONTENT_TYPE;
use net::client::{HttpClient, HttpReply};
use net::grpc::decode_status;
use net::observe::{self, Calls};
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
    /// `proto` or `json`. Default `proto`.
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
/// Batches up to this size are written as JSON on the spot; larger ones on a blocking thread.
const INLINE_BYTES_MAX: usize = 256 << 10;
/// As much of an answer's words as is logged and handed on.
const MESSAGE_BYTES_MAX: usize = 1024;

struct OtlpHttp {
    id: String,
    config: HttpClientConfig,
    agent: String,
    /// By [`Signal::index`].
    urls: [Option<Url>; 4],
    /// Those that name the tenant.
    headers: TenantHeaders,
    form: Form,
    compression: Option<(&'static str, Encoding)>,
    client: OnceLock<HttpClient>,
    calls: Calls,
}

/// How bodies are written, there and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Form::Protobuf => "application/x-protobuf",
            Form::Json => "application/json",
        }
    }

    /// Of an answer, if it says so without parameters.
    fn of(reply: &HttpReply) -> Option<Form> {
        let given = reply.headers.get(CONTENT_TYPE)?.as_bytes();
        [Form::Protobuf, Form::Json]
            .into_iter()
            .find(|form| form.content_type().as_bytes() == given)
    }
}

/// The words of a `google.rpc.Status`.
fn status_message(form: Form, body: &[u8]) -> Option<String> {
    match form {
        Form::Protobuf => decode_status(body).map(|status| status.message),
        Form::Json => {
            let mut bytes = Vec::new();
            otlp_json::read_message(&wire::otlp::RPC_STATUS, body, &mut bytes).ok()?;
            decode_status(&bytes).map(|status| status.message)
        }
    }
}

impl OtlpHttp {
    fn build(mut section: Section, cx: &BuildContext) -> Result<OtlpHttp, Fault> {
        let client: HttpClientConfig = section.take()?;
        section.check(&client)?;
        let place = section.clone();
        let config: Config = section.parse()?;
        let form = match config.encoding.as_str() {
            "proto" => Form::Protobuf,
            "json" => Form::Json,
            other => {
                return Err(place
                    .fault("encoding", format!("invalid encoding type: {other}"))
                    .into());
            }
        };
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
        let mut urls: [Option<Url>; 4] = Default::default();
        for (slot, (key, given, path)) in urls.iter_mut().zip(own) {
            let (key, url) = match (given.as_str(), client.endpoint.as_str()) {
                ("", "") => continue,
                ("", base) if base.ends_with('/') => ("endpoint", format!("{base}{path}")),
                ("", base) => ("endpoint", format!("{base}/{path}")),
                (url, _) => (key, url.to_owned()),
            };
            *slot = Some(Url::parse(&url).map_err(|text| place.fault(key, text))?);
        }
        for signal in Signal::ALL {
            if let Some(Url { shown, .. }) = &urls[signal.index()] {
                let mut peer = observe::peer(shown);
                peer.push(("url.path", shown.path().to_owned()));
                cx.telemetry.ledger.set_peer(&cx.id.to_string(), signal, peer);
            }
        }
        Ok(OtlpHttp {
            calls: Calls::new(&cx.telemetry),
            id: cx.id.to_string(),
            agent: cx.info.user_agent(),
            urls,
            headers: TenantHeaders::of(
                client
                    .headers
                    .iter()
                    .map(|(name, value)| (name, &**value.expose())),
            ),
            form,
            compression: client.compression.unwrap_or(Compression::Gzip).http(),
            config: client,
            client: OnceLock::new(),
        })
    }

    fn judge(&self, signal: Signal, url: &Uri, reply: &HttpReply) -> Result<Outcome, ExportError> {
        let form = Form::of(reply);
        if reply.status.is_success() {
            let partial = match form {
                // An answer without a body says that all was taken, in any form.
                _ if reply.body.is_empty() => Ok(Partial::default()),
                None => Ok(Partial::default()),
                Some(Form::Protobuf) => Partial::decode(&reply.body).map_err(|e| e.to_string()),
                Some(Form::Json) => Partial::decode_json(signal, &reply.body).map_err(|e| e.to_string()),
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
        let words = match form.and_then(|form| status_message(form, &reply.body)) {
            Some(message) => message,
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

/// Where a signal is posted to.
struct Url {
    /// The URL; where it depends on the tenant, with a name for all of them.
    shown: Uri,
    template: Option<Template>,
}

impl Url {
    fn parse(text: &str) -> Result<Url, String> {
        let shown = parse_url(&text.replace(template::TENANT, "tenant"))?;
        let host = text
            .split_once("://")
            .map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or(""));
        if host.contains(template::TENANT) {
            return Err("%{tenant} can stand in the path and the query, not in the host".into());
        }
        Ok(Url {
            shown,
            template: Template::parse(text),
        })
    }

    /// Of a tenant; its name needs no escapes.
    fn of(&self, tenant: &str) -> Result<Uri, http::uri::InvalidUri> {
        match &self.template {
            Some(template) => template.expand(tenant).parse(),
            None => Ok(self.shown.clone()),
        }
    }
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
            .any(|u| u.shown.scheme_str() == Some("https"));
        let made = HttpClient::new(&self.config, &self.agent, TIMEOUT, needs_tls);
        let made = made.and_then(|client| {
            host::client_middlewares(&*host, &self.config.middlewares, "HTTP").map_err(|e| e.to_string())?;
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

    fn authenticator(&self) -> Option<ComponentId> {
        let block = self.config.auth.get()?;
        ComponentId::parse(&block.authenticator).ok()
    }

    fn by_tenant(&self) -> bool {
        !self.headers.is_empty() || self.urls.iter().flatten().any(|url| url.template.is_some())
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
            let tenants;
            let (client, to) = match self.by_tenant() {
                false => (client, &url.shown),
                true => {
                    let tenant = template::one_of(batch)?;
                    let to = url.of(tenant).map_err(ExportError::retry)?;
                    tenants = (client.with_headers(self.headers.expand(tenant)), to);
                    (&tenants.0, &tenants.1)
                }
            };
            let body = self.body(batch).await?;
            let token = self.compression.map(|(token, _)| token);
            let bytes = body.iter().map(Bytes::len).sum();
            let call = client.post(to, self.form.content_type(), token, body, &batch.context);
            // Counted by what is configured: tenants are many.
            let reply = self
                .calls
                .post(&url.shown, bytes, call)
                .await
                .map_err(ExportError::from_call)?;
            self.judge(batch.signal, to, &reply)
        })
    }
}

impl OtlpHttp {
    async fn body(&self, batch: &Payload) -> Result<Vec<Bytes>, ExportError> {
        match (self.form, self.compression) {
            (Form::Protobuf, None) => Ok(batch.parts().cloned().collect()),
            (Form::Protobuf, Some((_, encoding))) => {
                Ok(vec![compressed(batch, encoding, self.level()).await?])
            }
            (Form::Json, _) if batch.len() <= INLINE_BYTES_MAX => self.json()(batch),
            (Form::Json, _) => {
                let (write, batch) = (self.json(), batch.clone());
                let written = tokio::task::spawn_blocking(move || write(&batch)).await;
                written.map_err(ExportError::retry)?
            }
        }
    }

    /// What writes a batch as JSON, compressed if it is to be.
    fn json(&self) -> impl Fn(&Payload) -> Result<Vec<Bytes>, ExportError> + Send + 'static {
        let (compression, level) = (self.compression, self.level());
        move |batch| {
            let text = otlp_json::write_payload(batch).map_err(|malformed| ExportError::Rejected {
                code: Code::INVALID_ARGUMENT,
                source: malformed.into(),
            })?;
            let text = Bytes::from(text);
            Ok(vec![match compression {
                None => text,
                Some((_, encoding)) => net::compression::encode(encoding, level, &[text]),
            }])
        }
    }

    fn level(&self) -> i32 {
        self.config.compression_params.level
    }
}

#[cfg(test)]
mod tests;

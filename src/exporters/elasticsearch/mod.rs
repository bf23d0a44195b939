//! Exporter `elasticsearch`: logs, spans and data points as documents, over `_bulk`.
//!
//! In: logs, traces, metrics. Out: one POST a batch, compressed; documents in one of five mapping modes, to data streams
//! or indices that attributes may name. Keys, documents and routing are those of the collector's exporter (v0.157); what
//! an explicit `mapping.mode` meant it still means. Each document's own status is heeded: what is stored is not sent
//! again, what may be stored later is owed, what never can is refused with the reason. Delivery: at least once
//! (harness).

mod answer;
mod bulk;
mod config;
mod fields;
mod flat;
mod json;
mod metrics;
mod nodes;
mod otel;
mod plain;
mod route;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;
use std::time::{Duration as StdDuration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use codec::base64::{self, Alphabet};
use component::exporter::Prepare;
use component::prelude::*;
use component::template;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Uri};
use net::client::{HttpClient, HttpReply};
use net::observe::{self, Calls};
use net::{Compression, HttpClientConfig};
use wire::Encoding;

use answer::Counts;
use bulk::{Bulk, Fate, Mode, Settings};
use config::Config;
use nodes::{Discovery, Nodes, shown};

/// This exporter type.
pub(crate) static FACTORY: ExporterFactory = ExporterFactory {
    kind: "elasticsearch",
    aliases: &[],
    keys: &[Shape::of::<HttpClientConfig>(), Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Alpha),
        (Signal::Metrics, Stability::Development),
        (Signal::Logs, Stability::Alpha),
    ],
    harness: Harness {
        // The HTTP client's.
        timeout_ms: None,
        prepare: Some(Prepare(config::prepare)),
        ..Harness::QUEUE_RETRY_TIMEOUT
    },
    build: |section, cx| Ok(Exporter::Push(Arc::new(Elasticsearch::build(section, cx)?))),
};

const TIMEOUT: StdDuration = StdDuration::from_secs(90);
/// Batches up to this size are written on the spot; larger ones on a blocking thread.
const INLINE_BYTES_MAX: usize = 256 << 10;
/// An answer has so much for each document, and this much beside: longer ones are cut, and what was cut off is owed.
const ANSWER_BYTES_PER_DOCUMENT: usize = 2 << 10;
const ANSWER_BYTES_MIN: usize = 64 << 10;
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// As much of an answer's words as is logged and handed on.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Before what the configuration of the cluster keeps out is tried again.
const CLUSTER_PAUSE: StdDuration = StdDuration::from_secs(30);
/// For an answer that says where the nodes are, and how long it may be.
const DISCOVERY_TIMEOUT: StdDuration = StdDuration::from_secs(5);
const NODES_BYTES_MAX: usize = 4 << 20;
/// Metadata by which a client says how its documents are shaped.
const MODE_KEY: &str = "x-elastic-mapping-mode";
const CONTENT_TYPE: &str = "application/x-ndjson";

struct Elasticsearch {
    id: String,
    agent: String,
    client_config: HttpClientConfig,
    config: Config,
    settings: Settings,
    nodes: Nodes,
    discovery: Discovery,
    /// Behind each node's address.
    query: String,
    compression: Option<(&'static str, Encoding)>,
    /// Who we are, unless the configured headers say.
    credentials: Option<HeaderValue>,
    tenant_headers: TenantHeaders,
    client: OnceLock<HttpClient>,
    calls: Calls,
}

impl Elasticsearch {
    fn build(mut section: Section, cx: &BuildContext) -> Result<Elasticsearch, Fault> {
        let mut client: HttpClientConfig = section.take()?;
        section.check(&client)?;
        let place = section.clone();
        let config: Config = section.parse()?;
        place.check(&config)?;
        let compression = client.compression.unwrap_or(Compression::Gzip);
        if !matches!(compression, Compression::Gzip | Compression::None) {
            return Err(place
                .fault("compression", "compression must be one of [none, gzip]")
                .into());
        }
        let addresses = config
            .addresses(&client.endpoint)
            .map_err(|(key, text)| place.fault(key, text))?;
        let mut urls = Vec::with_capacity(addresses.len());
        let mut query = String::new();
        for (at, (key, text)) in addresses.iter().enumerate() {
            let (url, own) =
                bulk_url(text).map_err(|e| place.fault(key, format!("invalid endpoint: {e}")))?;
            if at == 0 {
                query = own;
            }
            urls.push(url);
        }
        client.endpoint = String::new();
        for signal in Signal::ALL {
            if let Some(url) = urls.first() {
                let mut peer = observe::peer(url);
                peer.push(("url.path", url.path().to_owned()));
                cx.telemetry.ledger.set_peer(&cx.id.to_string(), signal, peer);
            }
        }
        let headers = || {
            client
                .headers
                .iter()
                .map(|(name, value)| (name, &**value.expose()))
        };
        let is_said = headers().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let credentials = credentials(&config).filter(|_| !is_said);
        Ok(Elasticsearch {
            id: cx.id.to_string(),
            agent: cx.info.user_agent(),
            query: parameters(&query, &config),
            settings: config.settings(),
            discovery: Discovery::new(urls.clone(), config.discover.on_start, config.discover.interval.0),
            nodes: Nodes::new(urls),
            compression: compression.http(),
            credentials,
            tenant_headers: TenantHeaders::of(headers()),
            client: OnceLock::new(),
            calls: Calls::new(&cx.telemetry),
            client_config: client,
            config,
        })
    }

    /// How the documents of a batch are shaped where their scope does not say.
    fn mode(&self, batch: &Payload) -> Result<Mode, ExportError> {
        let metadata = batch.context.metadata.iter();
        let wish = metadata
            .filter(|(name, _)| name == MODE_KEY)
            .find_map(|(_, values)| values.first());
        let Some(wish) = wish else {
            return Ok(self.settings.mode);
        };
        let mode = Mode::parse(wish.as_bytes()).filter(|mode| self.settings.allowed.contains(mode));
        mode.ok_or_else(|| ExportError::Rejected {
            code: Code::INVALID_ARGUMENT,
            source: "the client's X-Elastic-Mapping-Mode is none that is allowed".into(),
        })
    }

    /// What the settings are for a batch's tenant.
    fn settings_of(&self, batch: &Payload) -> Result<Settings, ExportError> {
        let mut settings = self.settings.clone();
        if self.by_tenant() {
            let tenant = template::one_of(batch)?;
            for places in [&mut settings.logs, &mut settings.traces, &mut settings.metrics] {
                if let Some(template) = Template::parse(&places.index) {
                    // Names of indices are in lower case.
                    places.index = template.expand(tenant).to_lowercase();
                }
            }
        }
        Ok(settings)
    }

    /// Lines and what they stand for, compressed as configured.
    async fn lines(&self, batch: &Payload, mode: Mode) -> Result<(Bulk, Bytes), ExportError> {
        let settings = self.settings_of(batch)?;
        let compression = self.compression.map(|(_, encoding)| encoding);
        let level = self.client_config.compression_params.level;
        let write = move |batch: &Payload| {
            let mut bulk = Bulk {
                body: Vec::with_capacity(batch.len() * 2),
                ..Bulk::default()
            };
            bulk::encode(&settings, mode, batch, &mut bulk).map_err(|malformed| ExportError::Rejected {
                code: Code::INVALID_ARGUMENT,
                source: malformed.into(),
            })?;
            if bulk.is_full {
                return Err(ExportError::TooLarge {
                    source: "its documents are too much for one request".into(),
                });
            }
            let body = Bytes::from(std::mem::take(&mut bulk.body));
            let body = match compression {
                Some(encoding) if !body.is_empty() => net::compression::encode(encoding, level, &[body]),
                _ => body,
            };
            Ok((bulk, body))
        };
        if batch.len() <= INLINE_BYTES_MAX {
            return write(batch);
        }
        let batch = batch.clone();
        match tokio::task::spawn_blocking(move || write(&batch)).await {
            Ok(written) => written,
            // What panics once does so again: the harness tells it, and rejects the batch.
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(e) => Err(ExportError::retry(e)),
        }
    }

    async fn send(&self, batch: &Payload) -> Result<Outcome, ExportError> {
        let client = self
            .client
            .get()
            .ok_or_else(|| ExportError::retry("not started"))?;
        let mode = self.mode(batch)?;
        let (mut bulk, body) = self.lines(batch, mode).await?;
        if bulk.documents.is_empty() {
            return self.conclude(batch, &mut bulk, &[], None);
        }
        let mut headers = match self.tenant_headers.is_empty() {
            true => HeaderMap::new(),
            false => self.tenant_headers.expand(template::one_of(batch)?),
        };
        if let Some(credentials) = &self.credentials {
            headers.insert(AUTHORIZATION, credentials.clone());
        }
        if let Some(uri) = self.discovery.due(|| self.nodes.pick().url().clone()) {
            let told = self.discover(client, &uri, &headers).await;
            self.discovery.is_done(told);
        }
        let client = client.with_headers(headers);
        let node = self.nodes.pick();
        let base = node.url();
        let uri = self.uri(base, bulk.is_otel)?;
        let answer_bytes_max =
            (bulk.documents.len() * ANSWER_BYTES_PER_DOCUMENT + ANSWER_BYTES_MIN).min(ANSWER_BYTES_MAX);
        let token = self.compression.map(|(token, _)| token);
        let bytes = body.len();
        let call = client.post_for(
            &uri,
            CONTENT_TYPE,
            token,
            vec![body],
            &batch.context,
            answer_bytes_max,
        );
        let reply = match self.calls.post(base, bytes, call).await {
            Ok(reply) => reply,
            Err(error) => {
                self.nodes.is_down(&node);
                return Err(ExportError::from_call(error));
            }
        };
        match reply.status.as_u16() {
            502..=504 => self.nodes.is_down(&node),
            _ => self.nodes.is_well(&node),
        }
        if !reply.status.is_success() {
            return Err(self.failed(batch, base, &reply));
        }
        let words = self.config.include_source_on_error.is_some();
        let verdicts = answer::read(&reply.body, self.config.retry.of_documents(), words, &mut bulk);
        if verdicts.is_empty() {
            // Somebody else answered: nothing says that a document is stored.
            let place = shown(base);
            return Err(ExportError::retry(format!(
                "request to {place}: the answer is none to _bulk"
            )));
        }
        let after = net::client::retry_after(&reply.headers, now_s());
        self.conclude(batch, &mut bulk, &verdicts, after)
    }

    /// Asks the cluster where its nodes are; whether it told. Those that are known stay if it did not.
    async fn discover(&self, client: &HttpClient, uri: &Uri, headers: &HeaderMap) -> bool {
        let answer = client.get(uri, headers, NODES_BYTES_MAX);
        let told = match tokio::time::timeout(DISCOVERY_TIMEOUT, answer).await {
            Err(_) => Err(format!("no answer within {DISCOVERY_TIMEOUT:?}")),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(reply)) if !reply.status.is_success() => {
                Err(format!("HTTP status code {}", reply.status.as_u16()))
            }
            Ok(Ok(reply)) => match nodes::told(&reply.body, uri.scheme_str().unwrap_or("http")) {
                Err(_) => Err("the answer is none to _nodes/http".to_owned()),
                Ok(urls) if urls.is_empty() => Err("it has no node for documents".to_owned()),
                Ok(urls) => Ok(urls),
            },
        };
        let (component, place) = (&self.id, shown(uri));
        match told {
            Ok(urls) => {
                self.nodes.replace(urls);
                true
            }
            Err(error) => {
                tracing::warn!(
                    component,
                    place,
                    error,
                    "the cluster does not say where its nodes are"
                );
                false
            }
        }
    }

    fn uri(&self, base: &Uri, is_otel: bool) -> Result<Uri, ExportError> {
        let mut text = format!("{base}?{}", self.query);
        if is_otel {
            text.push_str("&require_data_stream=true");
        }
        text.parse().map_err(ExportError::retry)
    }

    /// What an answer means that is about the whole request.
    fn failed(&self, batch: &Payload, base: &Uri, reply: &HttpReply) -> ExportError {
        let status = reply.status.as_u16();
        let words = String::from_utf8_lossy(&reply.body);
        let words = net::grpc::truncated(words.trim(), MESSAGE_BYTES_MAX);
        let place = shown(base);
        let source = format!("request to {place} responded with HTTP status code {status}: {words}");
        let after = net::client::retry_after(&reply.headers, now_s()).filter(|d| !d.is_zero());
        let later = |after| ExportError::Retry {
            after,
            remaining: None,
            source: source.clone().into(),
        };
        match status {
            // A parameter or a path that the far side does not know is no fault of the data.
            400 if words.contains("unrecognized parameter") => later(Some(CLUSTER_PAUSE)),
            // Nor is a redirect that the client does not follow.
            300..=399 | 404 | 405 => later(Some(CLUSTER_PAUSE)),
            // One document spoils the request: halves tell which.
            400 if batch.items > 1 => ExportError::TooLarge {
                source: source.into(),
            },
            429 | 503 => later(after),
            500 | 502 | 504 => later(None),
            status if self.config.retry.retry_on_status.contains(&status) => later(after),
            status => ExportError::from_http(status, after, source),
        }
    }

    /// What is stored, owed and refused of a batch.
    fn conclude(
        &self,
        batch: &Payload,
        bulk: &mut Bulk,
        verdicts: &[answer::Verdict],
        after: Option<StdDuration>,
    ) -> Result<Outcome, ExportError> {
        let (statuses, Counts { known, failed }) = match verdicts {
            // No document was made of it, so none was sent.
            [] => Default::default(),
            verdicts => answer::settle(verdicts, bulk),
        };
        if known > 0 {
            tracing::debug!(
                component = self.id,
                documents = known,
                "documents were there already"
            );
        }
        if failed > 0 {
            tracing::warn!(
                component = self.id,
                documents = failed,
                "documents were stored in the failure store of their data stream"
            );
        }
        let mut rejected: Vec<Rejection> = Vec::new();
        let mut counts = vec![0u64; bulk.reasons.len()];
        for fate in &bulk.fates {
            if let Fate::Refused(reason) = fate
                && let Some(count) = counts.get_mut(usize::from(*reason))
            {
                *count += 1;
            }
        }
        for (reason, items) in bulk.reasons.iter().zip(counts).filter(|(_, items)| *items > 0) {
            let (rule, message) = (&reason.rule, &reason.message);
            tracing::warn!(
                component = self.id,
                items,
                rule,
                message,
                "documents were not taken"
            );
            rejected.push(Rejection {
                rule: rule.clone(),
                items,
                message: message.clone(),
            });
        }
        let owes = bulk.fates.contains(&Fate::Owed);
        if !owes && rejected.is_empty() {
            return Ok(Outcome::all());
        }
        let is_owed = |fate: Fate| fate == Fate::Owed;
        let is_refused = |fate: Fate| matches!(fate, Fate::Refused(_));
        let refused =
            (!rejected.is_empty()).then(|| Box::new(answer::pieces(batch, &bulk.fates, is_refused)));
        let is_cluster =
            !statuses.is_empty() && statuses.iter().all(|status| matches!(status, 401 | 403 | 404));
        let source = match statuses.as_slice() {
            [] if owes => "the answer does not tell what came of all documents".to_owned(),
            [] => "documents were not taken".to_owned(),
            statuses => format!("documents were answered with status {statuses:?}"),
        };
        Err(ExportError::Retry {
            after: match is_cluster {
                true => Some(CLUSTER_PAUSE),
                false => after.filter(|d| !d.is_zero()),
            },
            remaining: Some(Remaining {
                owed: answer::pieces(batch, &bulk.fates, is_owed),
                rejected,
                refused,
            }),
            source: source.into(),
        })
    }
}

/// The lines of batches without anybody to send them to: what benches measure.
pub struct Lines {
    settings: Settings,
    bulk: Bulk,
}

impl Lines {
    /// With the keys of the exporter's own that say where documents go and how they are shaped.
    ///
    /// Errors: unknown keys, and values that are none.
    pub fn new(section: Section) -> Result<Lines, Fault> {
        let config: Config = section.parse_valid()?;
        Ok(Lines {
            settings: config.settings(),
            bulk: Bulk::default(),
        })
    }

    /// The body of a batch's request, not compressed. Allocates by batch, never by log record, once it is warm.
    ///
    /// Errors: a chunk that never passed a door.
    pub fn write(&mut self, batch: &Payload) -> Result<&[u8], wire::Malformed> {
        bulk::encode(&self.settings, self.settings.mode, batch, &mut self.bulk)?;
        Ok(&self.bulk.body)
    }
}

impl Push for Elasticsearch {
    fn start<'a>(&'a self, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        for (key, text) in self.config.notices() {
            tracing::warn!(exporter = self.id, "{key} {text}");
        }
        self.discovery.start();
        let needs_tls = self
            .discovery
            .seeds()
            .iter()
            .any(|url| url.scheme_str() == Some("https"));
        let config = &self.client_config;
        let made = HttpClient::new(config, &self.agent, TIMEOUT, needs_tls);
        let made = made.and_then(|client| {
            host::client_middlewares(&*host, &config.middlewares, "HTTP").map_err(|e| e.to_string())?;
            let Some(block) = config.auth.get() else {
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
        Box::pin(self.send(batch))
    }

    fn by_tenant(&self) -> bool {
        let settings = &self.settings;
        let mut places = [&settings.logs, &settings.traces, &settings.metrics].into_iter();
        !self.tenant_headers.is_empty() || places.any(|places| Template::parse(&places.index).is_some())
    }

    fn context_keys(&self) -> Vec<String> {
        vec![MODE_KEY.to_owned()]
    }

    fn authenticator(&self) -> Option<ComponentId> {
        let block = self.client_config.auth.get()?;
        ComponentId::parse(&block.authenticator).ok()
    }
}

/// The URL of `_bulk` behind an address, and the query that the address has.
fn bulk_url(text: &str) -> Result<(Uri, String), String> {
    if text.is_empty() {
        return Err("endpoint must not be empty".into());
    }
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let url: Uri = format!("{}/_bulk", address.trim_end_matches('/'))
        .parse()
        .map_err(|e| format!("not a URL: {e}"))?;
    match url.scheme_str() {
        Some("http" | "https") if url.host().is_some_and(|host| !host.is_empty()) => {}
        Some("http" | "https") => return Err("the URL has no host".into()),
        scheme => {
            let scheme = scheme.unwrap_or_default();
            return Err(format!(
                "invalid scheme \"{scheme}\", expected \"http\" or \"https\""
            ));
        }
    }
    if url.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err("credentials in the URL are not supported; use user and password".into());
    }
    if let Err(e) = format!("{url}?{query}").parse::<Uri>() {
        return Err(format!("not a URL: {e}"));
    }
    Ok((url, query.to_owned()))
}

/// The query of all requests.
fn parameters(own: &str, config: &Config) -> String {
    let mut filter = config.bulk_response_filter_path.clone();
    // Without these nothing could be told of a document.
    for needed in ["errors", "items.*.status", "items.*.error.type"] {
        if !filter.split(',').any(|path| path == needed) {
            filter.push_str(if filter.is_empty() { "" } else { "," });
            filter.push_str(needed);
        }
    }
    let mut all = vec![("filter_path", filter)];
    if !config.pipeline.is_empty() {
        all.push(("pipeline", config.pipeline.clone()));
    }
    if let Some(include) = config.include_source_on_error {
        all.push(("include_source_on_error", include.to_string()));
    }
    let mut out = own.to_owned();
    for (name, value) in all {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b',' => {
                    out.push(char::from(byte));
                }
                other => out.push_str(&format!("%{other:02X}")),
            }
        }
    }
    out
}

/// Who we are: an API key outranks a password.
fn credentials(config: &Config) -> Option<HeaderValue> {
    let text = match (config.api_key.expose().as_str(), config.user.as_str()) {
        ("", "") => return None,
        ("", user) => {
            let pair = format!("{user}:{}", config.password.expose());
            format!("Basic {}", base64::encode(Alphabet::Standard, pair.as_bytes()))
        }
        (key, _) => format!("ApiKey {key}"),
    };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

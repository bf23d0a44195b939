//! Exporter `loki`: sends logs to Grafana Loki, by its push API or by its endpoint for OTLP.
//!
//! In: logs. Out: one push of one tenant a batch, streams and labels made as contrib's exporter made them, structured
//! metadata as Loki makes it; or, with `api: otlp`, the bytes as they came. A batch that is not one push is handed back
//! in pieces, so that every record is delivered, retried, rejected or laid down for itself. Keys and hints are contrib's
//! (last shipped with v0.130). Delivery: at least once (harness).

mod apart;
mod config;
mod encode;
mod judge;
mod labels;
mod line;
mod metadata;
mod names;
mod record;
mod refused;

use std::sync::OnceLock;
use std::time::{Duration as StdDuration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use component::compressed;
use component::prelude::*;
use component::template;
use http::Uri;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use net::client::{HttpClient, HttpReply};
use net::grpc::decode_status;
use net::observe::{self, Calls};
use net::{Compression, HttpClientConfig};
use parking_lot::Mutex;
use telemetry::metrics::Counter;

use self::apart::Whole;
use self::config::{Api, Config, Encoding, Source};
use self::encode::{Batch, Encoded, Push as Pushed, Scratch};
use self::judge::{Answer, Sent};
use self::labels::Rules;
use self::refused::Streams;

/// This exporter type.
pub(crate) static FACTORY: ExporterFactory = ExporterFactory {
    kind: "loki",
    aliases: &[],
    keys: &[Shape::of::<HttpClientConfig>(), Shape::of::<Config>()],
    signals: &[(Signal::Logs, Stability::Alpha)],
    // `timeout` is the HTTP client's.
    harness: Harness {
        timeout_ms: None,
        ..Harness::QUEUE_RETRY_TIMEOUT
    },
    build: |section, cx| Ok(Exporter::Push(Arc::new(Loki::build(section, cx)?))),
};

const TIMEOUT: StdDuration = StdDuration::from_secs(30);
/// As much of an answer's words as is logged and handed on.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Loki's own limit.
const SHARD_BYTES_MAX: usize = 128;
/// Loki's own limit.
const TENANT_BYTES_MAX: usize = 150;
/// Two numbers of 32 bits and what is between them.
const ACCOUNT_BYTES_MAX: usize = 21;
/// In `backfill_shard`: the hour of the records.
const HOUR: &str = "%{hour}";
const ORG_ID: HeaderName = HeaderName::from_static("x-scope-orgid");
const SHARD: HeaderName = HeaderName::from_static("x-loki-backfill-shard");
/// Encoders at work at once, each with its memory; more are made and dropped.
const SCRATCHES_MAX: usize = 16;

/// Whether a text can name a tenant: what Loki allows, and what VictoriaLogs calls one.
fn is_tenant(name: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(byte);
    is_account(name)
        || (1..=TENANT_BYTES_MAX).contains(&name.len())
            && name.iter().all(is_allowed)
            && name != b"."
            && name != b".."
}

/// `ACCOUNT:PROJECT`, numbers both.
fn is_account(name: &[u8]) -> bool {
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u32>().is_ok();
    let halves = std::str::from_utf8(name)
        .ok()
        .and_then(|name| name.split_once(':'));
    name.len() <= ACCOUNT_BYTES_MAX
        && halves.is_some_and(|(account, project)| is_number(account) && is_number(project))
}

struct Loki {
    id: String,
    client_config: HttpClientConfig,
    config: Config,
    rules: Rules,
    agent: String,
    url: Uri,
    /// Those that name the tenant.
    headers: TenantHeaders,
    compression: Option<(&'static str, wire::Encoding)>,
    client: OnceLock<HttpClient>,
    calls: Calls,
    cut: Counter,
    scratches: Mutex<Vec<Scratch>>,
}

impl Loki {
    fn build(mut section: Section, cx: &BuildContext) -> Result<Loki, Fault> {
        let client: HttpClientConfig = section.take()?;
        section.check(&client)?;
        let place = section.clone();
        let config: Config = section.parse_valid()?;
        let fault = |key: &str, text: String| -> Fault { place.fault(key, text).into() };
        let url = url(&client.endpoint, config.api).map_err(|text| fault("endpoint", text))?;
        let compression =
            compression(&config, client.compression).map_err(|text| fault("compression", text))?;
        let mut peer = observe::peer(&url);
        peer.push(("url.path", url.path().to_owned()));
        cx.telemetry
            .ledger
            .set_peer(&cx.id.to_string(), Signal::Logs, peer);
        let labels = vec![("exporter", cx.id.to_string())];
        let mut rules = Rules::new(&config);
        // A header of the configuration outranks what records say, as it did in contrib's exporter.
        rules.tenant_hint &= !client
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(ORG_ID.as_str()));
        Ok(Loki {
            id: cx.id.to_string(),
            rules,
            agent: cx.info.user_agent(),
            url,
            headers: TenantHeaders::of(
                client
                    .headers
                    .iter()
                    .map(|(name, value)| (name, &**value.expose())),
            ),
            compression,
            client: OnceLock::new(),
            calls: Calls::new(&cx.telemetry),
            cut: cx.telemetry.metrics.counter("weir_loki_cut_lines", labels),
            scratches: Mutex::default(),
            client_config: client,
            config,
        })
    }

    /// Whose records are that do not say it themselves.
    fn tenant(&self, batch: &Payload, own: &str) -> String {
        let tenant = &self.config.tenant;
        let said = match tenant.from {
            Source::Metadata => batch.context.metadata(&tenant.key).first(),
            Source::Static | Source::Attribute => None,
        };
        match said.filter(|said| !said.is_empty()) {
            Some(said) => said.clone(),
            None => tenant.default.replace(template::TENANT, own),
        }
    }

    fn encode(&self, payload: &Payload, batch: Batch<'_>) -> Result<Encoded, ExportError> {
        let mut scratch = self.scratches.lock().pop().unwrap_or_default();
        let encoded = beside_others(payload.len(), || {
            encode::encode(&self.rules, payload, batch, &mut scratch)
        });
        if scratch.is_usual() {
            let mut kept = self.scratches.lock();
            if kept.len() < SCRATCHES_MAX {
                kept.push(scratch);
            }
        }
        encoded.map_err(unreadable)
    }

    async fn push(&self, batch: &Payload) -> Result<Outcome, ExportError> {
        let own = self.own_tenant(batch)?;
        let tenant = self.tenant(batch, own);
        let context = Batch {
            own_tenant: own,
            tenant: tenant.as_bytes(),
            now: now_ns(),
        };
        let push = match self.encode(batch, context)? {
            Encoded::Nothing => return Ok(Outcome::all()),
            Encoded::Push(push) => push,
            other => return Err(unsent(other)),
        };
        let Pushed {
            body,
            tenant,
            shard,
            cut,
            ..
        } = push;
        let outcome = self.send(batch, own, &tenant, shard.as_deref(), vec![body]).await;
        if outcome.is_ok() {
            self.cut.add(cut);
        }
        outcome
    }

    async fn otlp(&self, batch: &Payload) -> Result<Outcome, ExportError> {
        if batch.items == 0 {
            // Loki answers 422.
            return Ok(Outcome::all());
        }
        let own = self.own_tenant(batch)?;
        let tenant = self.tenant(batch, own);
        if !tenant.is_empty() && !is_tenant(tenant.as_bytes()) {
            return Err(ExportError::Rejected {
                code: Code::INVALID_ARGUMENT,
                source: format!("tenant_invalid: {}", told("tenant_invalid")).into(),
            });
        }
        let shard = match apart::whole(&self.rules, batch, now_ns()).map_err(unreadable)? {
            Whole::Push(shard) => shard,
            Whole::Not(encoded) => return Err(unsent(encoded)),
        };
        let body = match self.compression {
            None => batch.parts().cloned().collect(),
            Some((_, encoding)) => {
                let level = self.client_config.compression_params.level;
                vec![compressed(batch, encoding, level).await?]
            }
        };
        self.send(batch, own, tenant.as_bytes(), shard.as_deref(), body)
            .await
    }

    /// The gateway's own tenant, where it matters.
    fn own_tenant<'a>(&self, batch: &'a Payload) -> Result<&'a str, ExportError> {
        match self.by_tenant() {
            true => template::one_of(batch),
            false => Ok(labels::NOBODY),
        }
    }

    async fn send(
        &self,
        batch: &Payload,
        own: &str,
        tenant: &[u8],
        shard: Option<&str>,
        body: Vec<Bytes>,
    ) -> Result<Outcome, ExportError> {
        let client = self
            .client
            .get()
            .ok_or_else(|| ExportError::retry("not started"))?;
        let mut headers = match self.headers.is_empty() {
            true => HeaderMap::new(),
            false => self.headers.expand(own),
        };
        if !tenant.is_empty() {
            headers.insert(
                ORG_ID,
                HeaderValue::from_bytes(tenant).map_err(ExportError::retry)?,
            );
        }
        if let Some(shard) = shard {
            headers.insert(SHARD, HeaderValue::from_str(shard).map_err(ExportError::retry)?);
        }
        let client = client.with_headers(headers);
        let content_type = match (self.config.api, self.config.encoding) {
            (Api::Push, Encoding::Json) => "application/json",
            _ => "application/x-protobuf",
        };
        let token = match (self.config.api, self.config.encoding) {
            // A push of protobuf is always snappy, and does not say so.
            (Api::Push, Encoding::Proto) => None,
            _ => self.compression.map(|(token, _)| token),
        };
        // For an answer that speaks of streams.
        let push = body.first().cloned().unwrap_or_default();
        let body = match (self.config.api, self.config.encoding, self.compression) {
            (Api::Push, Encoding::Json, Some((_, encoding))) => {
                let level = self.client_config.compression_params.level;
                let bytes = body.iter().map(Bytes::len).sum();
                vec![beside_others(bytes, || {
                    net::compression::encode(encoding, level, &body)
                })]
            }
            _ => body,
        };
        let bytes = body.iter().map(Bytes::len).sum();
        let call = client.post(&self.url, content_type, token, body, &batch.context);
        let reply = self
            .calls
            .post(&self.url, bytes, call)
            .await
            .map_err(ExportError::from_call)?;
        let outcome = self.judge(batch, &push, &reply)?;
        for rejection in &outcome.rejected {
            let (dropped, error) = (rejection.items, &rejection.message);
            tracing::warn!(
                component = self.id,
                dropped,
                error,
                "Loki stored a batch but for some records"
            );
        }
        Ok(outcome)
    }

    fn judge(&self, batch: &Payload, push: &Bytes, reply: &HttpReply) -> Result<Outcome, ExportError> {
        let status = reply.status.as_u16();
        let words = match (self.config.api, decode_status(&reply.body)) {
            (Api::Otlp, Some(status)) if !status.message.is_empty() => status.message,
            _ => String::from_utf8_lossy(&reply.body).into_owned(),
        };
        let shown = net::grpc::truncated(words.trim(), MESSAGE_BYTES_MAX);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        let text = format!("{} answered {status}: {shown}", place(&self.url));
        let answer = Answer {
            status,
            after: net::client::retry_after(&reply.headers, now),
            words: &words,
            text: &text,
        };
        let sent = Sent {
            items: batch.items,
            streams: match (self.config.api, self.config.encoding) {
                (Api::Otlp, _) => Streams::Otlp(batch),
                (Api::Push, Encoding::Proto) => Streams::Proto(push),
                (Api::Push, Encoding::Json) => Streams::Json(push),
            },
            push_bytes_max: match self.config.limits.max_push_bytes {
                0 => usize::MAX,
                max => max as usize,
            },
        };
        judge::judge(answer, sent)
    }
}

/// Every batch was validated at the door; what cannot be read here never can.
fn unreadable(malformed: wire::Malformed) -> ExportError {
    ExportError::Rejected {
        code: Code::INVALID_ARGUMENT,
        source: malformed.into(),
    }
}

/// Why a batch is not sent as it is.
fn unsent(encoded: Encoded) -> ExportError {
    const WHY: &str = "its records do not fit into one push";
    match encoded {
        Encoded::Apart(pieces) => ExportError::Apart {
            pieces,
            source: WHY.into(),
        },
        Encoded::Rejected(rule) => ExportError::Rejected {
            code: Code::INVALID_ARGUMENT,
            source: format!("{rule}: {}", told(rule)).into(),
        },
        Encoded::TooLarge | Encoded::Nothing | Encoded::Push(_) => {
            ExportError::TooLarge { source: WHY.into() }
        }
    }
}

/// What a rule says, for callers and the log.
fn told(rule: &str) -> &'static str {
    match rule {
        "no_labels" => "Loki stores nothing without a label",
        "too_many_labels" => "more labels than limits.max_label_names",
        "label_name_too_long" => "a label's name is longer than limits.max_label_name_length",
        "label_value_too_long" => "a label's value is longer than limits.max_label_value_length",
        "line_too_long" => "a line is longer than limits.max_line_size",
        "too_much_metadata" => "more structured metadata than limits.max_structured_metadata_entries",
        "metadata_too_large" => "more structured metadata than limits.max_structured_metadata_size",
        "too_old" => "older than limits.max_age",
        "too_new" => "further ahead than limits.max_ahead",
        "label_not_text" => {
            "Loki would drop it: an attribute of its resource that becomes a label is no UTF-8"
        }
        "tenant_invalid" => "what should name the tenant cannot be a name of one",
        _ => "Loki would refuse it",
    }
}

/// Nanoseconds since 1970.
fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Scheme, host and path: a query may hold a key.
fn place(url: &Uri) -> String {
    format!(
        "{}://{}{}",
        url.scheme_str().unwrap_or("http"),
        url.host().unwrap_or(""),
        url.path()
    )
}

const PUSH_PATH: &str = "/loki/api/v1/push";
const OTLP_PATH: &str = "/otlp/v1/logs";

/// Where batches go: a base gets the path of the API, and one API's path becomes the other's.
fn url(endpoint: &str, api: Api) -> Result<Uri, String> {
    if endpoint.is_empty() {
        return Err("requires a non-empty \"endpoint\"".into());
    }
    if endpoint.contains(template::TENANT) {
        return Err("%{tenant} can stand in tenant.default and headers, not in the endpoint".into());
    }
    let url: Uri = endpoint.parse().map_err(|e| format!("not a URL: {e}"))?;
    match url.scheme_str() {
        Some("http" | "https") if url.host().is_some_and(|h| !h.is_empty()) => {}
        Some("http" | "https") => return Err("the URL has no host".into()),
        _ => return Err("the URL must begin with http:// or https://".into()),
    }
    let Some(authority) = url.authority().filter(|a| !a.as_str().contains('@')) else {
        return Err("credentials in the URL are not supported; use auth".into());
    };
    let path = url.path().trim_end_matches('/');
    let path = match api {
        Api::Push if path.is_empty() => PUSH_PATH.to_owned(),
        Api::Otlp if path.is_empty() || path == PUSH_PATH => OTLP_PATH.to_owned(),
        Api::Otlp if path.ends_with("/otlp") => format!("{path}/v1/logs"),
        _ => return Ok(url),
    };
    let query = url.query().map_or(String::new(), |query| format!("?{query}"));
    let scheme = url.scheme_str().unwrap_or("http");
    format!("{scheme}://{authority}{path}{query}")
        .parse()
        .map_err(|e| format!("not a URL: {e}"))
}

/// What a body is compressed with beside the snappy of a push.
fn compression(
    config: &Config,
    given: Option<Compression>,
) -> Result<Option<(&'static str, wire::Encoding)>, String> {
    let (allowed, default, text) = match (config.api, config.encoding) {
        (Api::Push, Encoding::Proto) => (
            &[Compression::None, Compression::Snappy][..],
            Compression::None,
            "a push is always snappy",
        ),
        (Api::Push, Encoding::Json) => (
            &[Compression::None, Compression::Gzip][..],
            Compression::Gzip,
            "Loki reads JSON plain and with gzip",
        ),
        (Api::Otlp, _) => (
            &[
                Compression::None,
                Compression::Gzip,
                Compression::Zstd,
                Compression::Lz4,
            ][..],
            Compression::Gzip,
            "Loki reads OTLP plain, with gzip, zstd and lz4",
        ),
    };
    let given = given.unwrap_or(default);
    if !allowed.contains(&given) {
        return Err(text.into());
    }
    match (config.api, config.encoding) {
        (Api::Push, Encoding::Proto) => Ok(None),
        _ => Ok(given.http()),
    }
}

/// The pushes of batches without anybody to send them to: what benches measure.
pub struct Pushes {
    rules: Rules,
    scratch: Scratch,
}

impl Pushes {
    /// With the keys of the exporter's own.
    ///
    /// Errors: unknown keys, and values that are none.
    pub fn new(section: Section) -> Result<Pushes, Fault> {
        let config: Config = section.parse_valid()?;
        Ok(Pushes {
            rules: Rules::new(&config),
            scratch: Scratch::default(),
        })
    }

    /// The body of a batch's push, with its snappy; none if the batch is not one push. Allocates by batch and by stream,
    /// never by log record, once it is warm.
    ///
    /// Errors: a chunk that never passed a door.
    pub fn write(&mut self, batch: &Payload) -> Result<Option<Bytes>, wire::Malformed> {
        let context = Batch {
            own_tenant: labels::NOBODY,
            tenant: b"",
            now: 0,
        };
        let encoded = encode::encode(&self.rules, batch, context, &mut self.scratch)?;
        Ok(match encoded {
            Encoded::Push(push) => Some(push.body),
            _ => None,
        })
    }
}

impl Push for Loki {
    fn start<'a>(&'a self, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        let config = &self.client_config;
        let needs_tls = self.url.scheme_str() == Some("https");
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

    fn authenticator(&self) -> Option<ComponentId> {
        let block = self.client_config.auth.get()?;
        ComponentId::parse(&block.authenticator).ok()
    }

    fn by_tenant(&self) -> bool {
        !self.headers.is_empty()
            || self.config.tenant.default.contains(template::TENANT)
            || self.rules.is_by_tenant()
    }

    fn context_keys(&self) -> Vec<String> {
        match self.config.tenant.from {
            Source::Metadata => vec![self.config.tenant.key.to_ascii_lowercase()],
            Source::Static | Source::Attribute => Vec::new(),
        }
    }

    fn export<'a>(&'a self, batch: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        Box::pin(async move {
            match self.config.api {
                Api::Push => self.push(batch).await,
                Api::Otlp => self.otlp(batch).await,
            }
        })
    }
}

#[cfg(test)]
mod tests;

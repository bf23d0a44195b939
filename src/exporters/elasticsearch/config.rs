//! Keys of `elasticsearch`: contrib's at v0.157, older spellings with a warning, and what they come to.

use std::collections::HashSet;

use component::prelude::*;
use config::Diags;

use super::bulk::{Mode, Settings};
use super::nodes;
use super::route::{DatePart, Places};

/// `elasticsearch`, beside the client's keys.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// URLs that take turns, instead of `endpoint`.
    pub(super) endpoints: Vec<String>,
    /// Elastic Cloud's id of a deployment, instead of `endpoint`.
    pub(super) cloudid: String,
    /// For basic authentication, with `password`.
    pub(super) user: String,
    /// For basic authentication, with `user`.
    pub(super) password: Secret<String>,
    /// The encoded form of an API key.
    pub(super) api_key: Secret<String>,
    /// Old spelling of `logs_index`.
    pub(super) index: String,
    /// All logs go here; empty = attributes say.
    pub(super) logs_index: String,
    /// Old: attributes say although there is an index, which stands between their prefix and suffix.
    pub(super) logs_dynamic_index: Switch,
    /// All metrics go here; empty = attributes say.
    pub(super) metrics_index: String,
    /// As `logs_dynamic_index`.
    pub(super) metrics_dynamic_index: Switch,
    /// All spans go here; empty = attributes say.
    pub(super) traces_index: String,
    /// As `logs_dynamic_index`.
    pub(super) traces_dynamic_index: Switch,
    /// Attribute `elasticsearch.document_id` of a log record is the document's id.
    pub(super) logs_dynamic_id: Switch,
    /// The same for spans.
    pub(super) traces_dynamic_id: Switch,
    /// Attribute `elasticsearch.ingest_pipeline` of a log record is its ingest pipeline.
    pub(super) logs_dynamic_pipeline: Switch,
    /// Ingest pipeline of all documents.
    pub(super) pipeline: String,
    /// A date behind the name of the index.
    pub(super) logstash_format: Logstash,
    /// How documents are shaped.
    pub(super) mapping: Mapping,
    /// When the cluster is asked for its nodes, which take the place of `endpoints`.
    pub(super) discover: Discover,
    /// When a failed request, or a document that was not taken, is sent again.
    pub(super) retry: Retry,
    /// Old: read as `sending_queue::batch`.
    pub(super) flush: Flush,
    /// Old: read as `sending_queue::num_consumers`.
    pub(super) num_workers: i64,
    /// Keys of client metadata: what differs in one is not sent in one request.
    pub(super) metadata_keys: Vec<String>,
    /// What the log may show of requests.
    pub(super) telemetry: Shown,
    /// Without effect: that a document is there already is never logged as an error.
    pub(super) suppress_conflict_errors: bool,
    /// Whether errors may hold the document; absent = the words of errors are not kept, only their types.
    pub(super) include_source_on_error: Option<bool>,
    /// What of the answer is asked for. What the exporter needs is asked for in any case.
    pub(super) bulk_response_filter_path: String,
}

/// On or off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Switch {
    /// Default false.
    pub(super) enabled: bool,
}

/// `logstash_format`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Logstash {
    /// Default false.
    pub(super) enabled: bool,
    /// Between name and date. Default `-`.
    pub(super) prefix_separator: String,
    /// Of strftime. Default `%Y.%m.%d`.
    pub(super) date_format: String,
}

impl Default for Logstash {
    fn default() -> Logstash {
        Logstash {
            enabled: false,
            prefix_separator: "-".into(),
            date_format: "%Y.%m.%d".into(),
        }
    }
}

/// `mapping`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Mapping {
    /// `otel`, `ecs`, `none`, `raw` or `bodymap`, unless a scope or a client says otherwise. Default: `otel`, and where
    /// that is not allowed the first that is.
    pub(super) mode: Option<String>,
    /// Modes that there may be. Default all.
    pub(super) allowed_modes: Vec<String>,
    /// Old, without effect: keys are always unique.
    pub(super) dedup: Option<bool>,
    /// Old, without effect: keys become objects in mode `ecs` alone.
    pub(super) dedot: Option<bool>,
}

impl Default for Mapping {
    fn default() -> Mapping {
        Mapping {
            mode: None,
            allowed_modes: Mode::ALL.map(|mode| mode.name().to_owned()).to_vec(),
            dedup: None,
            dedot: None,
        }
    }
}

/// `discover`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Discover {
    /// Before the first request.
    pub(super) on_start: bool,
    /// Again before the first request after so long; 0 = not again. Default 0.
    pub(super) interval: Duration,
}

/// `retry`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Retry {
    /// Read as `retry_on_failure::enabled`. Default true.
    pub(super) enabled: bool,
    /// Read as `retry_on_failure::max_retries`, with no end by time then. Default 0: `max_elapsed_time` alone says when
    /// to give up.
    pub(super) max_retries: i64,
    /// Old: one more than `max_retries`.
    pub(super) max_requests: i64,
    /// Read as `retry_on_failure::initial_interval`. Default 100ms.
    pub(super) initial_interval: Duration,
    /// Read as `retry_on_failure::max_interval`. Default 1m.
    pub(super) max_interval: Duration,
    /// Statuses, of requests and of documents, that mean "later" beside 429, 500, 502, 503 and 504. Default [429].
    pub(super) retry_on_status: Vec<u16>,
    /// The same of documents alone. Default: `retry_on_status`.
    pub(super) retry_on_document_status: Option<Vec<u16>>,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            enabled: true,
            max_retries: 0,
            max_requests: 0,
            initial_interval: Duration(std::time::Duration::from_millis(100)),
            max_interval: Duration(std::time::Duration::from_secs(60)),
            retry_on_status: vec![429],
            retry_on_document_status: None,
        }
    }
}

impl Retry {
    /// Statuses of documents that mean "later".
    pub(super) fn of_documents(&self) -> &[u16] {
        self.retry_on_document_status
            .as_ref()
            .unwrap_or(&self.retry_on_status)
    }

    /// Further attempts after which to give up; none if they are not limited.
    fn limit(&self) -> Option<u32> {
        let retries = match self.max_requests {
            0 => self.max_retries,
            requests => requests - 1,
        };
        u32::try_from(retries).ok().filter(|n| *n > 0)
    }
}

/// `flush`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Flush {
    /// Read as `sending_queue::batch::max_size`.
    pub(super) bytes: i64,
    /// Read as `sending_queue::batch::flush_timeout`.
    pub(super) interval: Duration,
}

/// `telemetry`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Shown {
    /// Without effect: bodies are never logged.
    pub(super) log_request_body: bool,
    /// Without effect.
    pub(super) log_response_body: bool,
    /// Without effect; `dead_letter` keeps what was not taken.
    pub(super) log_failed_docs_input: bool,
    /// Without effect.
    pub(super) log_failed_docs_input_rate_limit: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            endpoints: Vec::new(),
            cloudid: String::new(),
            user: String::new(),
            password: Secret::default(),
            api_key: Secret::default(),
            index: String::new(),
            logs_index: String::new(),
            logs_dynamic_index: Switch::default(),
            metrics_index: String::new(),
            metrics_dynamic_index: Switch::default(),
            traces_index: String::new(),
            traces_dynamic_index: Switch::default(),
            logs_dynamic_id: Switch::default(),
            traces_dynamic_id: Switch::default(),
            logs_dynamic_pipeline: Switch::default(),
            pipeline: String::new(),
            logstash_format: Logstash::default(),
            mapping: Mapping::default(),
            discover: Discover::default(),
            retry: Retry::default(),
            flush: Flush::default(),
            num_workers: 0,
            metadata_keys: Vec::new(),
            telemetry: Shown::default(),
            suppress_conflict_errors: false,
            include_source_on_error: None,
            bulk_response_filter_path: FILTER_PATH.into(),
        }
    }
}

const FILTER_PATH: &str =
    "items.*._index,items.*.status,items.*.failure_store,items.*.error.type,items.*.error.reason";
/// Where addresses come from if the configuration has none.
const ADDRESSES: &str = "ELASTICSEARCH_URL";

/// What the harness is to read differs from other exporters: the defaults of the queue and of retries, and keys of the
/// exporter's own that mean the same.
pub(super) fn prepare(section: &mut Section) -> Result<(), Diags> {
    let own: Config = match section.clone().take::<OnlyOurs>() {
        Ok(ours) => ours.into(),
        // The fault is told when the section is parsed.
        Err(_) => Config::default(),
    };
    let millis = |d: Duration| format!("{}ms", d.0.as_millis());
    let written = |key: &str| section.contains(key);
    let (flush, workers) = (written("flush"), written("num_workers"));
    let mut defaults: Vec<(&[&str], &str, String)> = Vec::new();
    const QUEUE: &[&str] = &["sending_queue"];
    const BATCH: &[&str] = &["sending_queue", "batch"];
    const RETRY: &[&str] = &["retry_on_failure"];
    if workers && own.num_workers > 0 {
        defaults.push((QUEUE, "num_consumers", own.num_workers.to_string()));
    }
    if flush && own.flush.bytes > 0 {
        defaults.push((BATCH, "max_size", own.flush.bytes.to_string()));
        defaults.push((BATCH, "min_size", own.flush.bytes.min(1_000_000).to_string()));
        defaults.push((BATCH, "sizer", "bytes".into()));
    }
    if flush && !own.flush.interval.0.is_zero() {
        defaults.push((BATCH, "flush_timeout", millis(own.flush.interval)));
    }
    if !own.metadata_keys.is_empty() {
        let keys = serde_json::to_string(&own.metadata_keys).unwrap_or_default();
        defaults.push((&["sending_queue", "batch", "partition"], "metadata_keys", keys));
    }
    let of_queue = [("queue_size", "10"), ("block_on_overflow", "true")];
    defaults.extend(of_queue.map(|(key, value)| (QUEUE, key, value.to_owned())));
    // Sizes are written together, in one unit, or not at all.
    let has_sizes = ["min_size", "max_size", "sizer"]
        .iter()
        .any(|key| section.has(BATCH, key));
    if has_sizes {
        defaults.push((BATCH, "flush_timeout", "10s".into()));
    } else {
        let of_batch = [
            ("flush_timeout", "10s"),
            ("min_size", "1000000"),
            ("max_size", "5000000"),
            ("sizer", "bytes"),
        ];
        defaults.extend(of_batch.map(|(key, value)| (BATCH, key, value.to_owned())));
    }
    if let Some(retries) = own.retry.limit() {
        defaults.push((RETRY, "max_retries", retries.to_string()));
        defaults.push((RETRY, "max_elapsed_time", "0s".into()));
    }
    let of_retry = [
        ("enabled", own.retry.enabled.to_string()),
        ("initial_interval", millis(own.retry.initial_interval)),
        ("max_interval", millis(own.retry.max_interval)),
    ];
    defaults.extend(of_retry.map(|(key, value)| (RETRY, key, value)));
    for (way, key, value) in defaults {
        section.default_in(way, key, &value)?;
    }
    Ok(())
}

/// The keys that [`prepare`] looks at.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
struct OnlyOurs {
    retry: Retry,
    flush: Flush,
    num_workers: i64,
    metadata_keys: Vec<String>,
}

impl From<OnlyOurs> for Config {
    fn from(ours: OnlyOurs) -> Config {
        Config {
            retry: ours.retry,
            flush: ours.flush,
            num_workers: ours.num_workers,
            metadata_keys: ours.metadata_keys,
            ..Config::default()
        }
    }
}

impl Config {
    /// Addresses as they are written, by the key that has them.
    pub(super) fn addresses(
        &self,
        endpoint: &str,
    ) -> Result<Vec<(&'static str, String)>, (&'static str, String)> {
        let mut found: Vec<Vec<(&'static str, String)>> = Vec::new();
        if !endpoint.is_empty() {
            found.push(vec![("endpoint", endpoint.to_owned())]);
        }
        if !self.endpoints.is_empty() {
            found.push(
                self.endpoints
                    .iter()
                    .map(|url| ("endpoints", url.clone()))
                    .collect(),
            );
        }
        if !self.cloudid.is_empty() {
            let url = nodes::of_cloud(&self.cloudid).map_err(|text| ("cloudid", text))?;
            found.push(vec![("cloudid", url)]);
        }
        if found.is_empty()
            && let Ok(urls) = std::env::var(ADDRESSES)
            && !urls.is_empty()
        {
            found.push(
                urls.split(',')
                    .map(|url| ("endpoints", url.trim().to_owned()))
                    .collect(),
            );
        }
        match (found.pop(), found.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err((
                "endpoint",
                "exactly one of [endpoint, endpoints, cloudid] must be specified".into(),
            )),
        }
    }

    /// What documents are to be; the section has been checked.
    pub(super) fn settings(&self) -> Settings {
        let dated = self.logstash_format.enabled.then(|| {
            let format = DatePart::parse(&self.logstash_format.date_format).unwrap_or_default();
            (self.logstash_format.prefix_separator.clone(), format)
        });
        let places = |kind, index: &str, dynamic: Switch| Places {
            kind,
            index: index.to_owned(),
            dynamic: dynamic.enabled,
            dated: dated.clone(),
        };
        let logs = match self.logs_index.as_str() {
            "" => &self.index,
            index => index,
        };
        let modes = self.mapping.allowed_modes.iter();
        let allowed: Vec<Mode> = modes.filter_map(|name| Mode::parse(name.as_bytes())).collect();
        let mode = match &self.mapping.mode {
            Some(mode) => Mode::parse(mode.as_bytes()),
            None => allowed
                .first()
                .copied()
                .filter(|_| !allowed.contains(&Mode::Otel)),
        };
        Settings {
            mode: mode.unwrap_or(Mode::Otel),
            allowed,
            logs: places("logs", logs, self.logs_dynamic_index),
            metrics: places("metrics", &self.metrics_index, self.metrics_dynamic_index),
            traces: places("traces", &self.traces_index, self.traces_dynamic_index),
            logs_id: self.logs_dynamic_id.enabled,
            traces_id: self.traces_dynamic_id.enabled,
            logs_pipeline: self.logs_dynamic_pipeline.enabled,
        }
    }

    /// What is written and means nothing any more, or nothing here: key and text.
    pub(super) fn notices(&self) -> Vec<(&'static str, &'static str)> {
        let shown = &self.telemetry;
        let logs_bodies = shown.log_request_body || shown.log_response_body || shown.log_failed_docs_input;
        let all = [
            (!self.index.is_empty(), "index", "is old: write logs_index"),
            (
                !matches!(self.mapping.mode.as_deref(), None | Some("otel")),
                "mapping.mode",
                "is honoured here; newer collectors ignore it and want the scope attribute elastic.mapping.mode",
            ),
            (
                self.mapping.dedup.is_some(),
                "mapping.dedup",
                "has no effect: keys are always unique",
            ),
            (
                self.mapping.dedot.is_some(),
                "mapping.dedot",
                "has no effect: keys become objects in mode ecs alone",
            ),
            (
                self.flush != Flush::default(),
                "flush",
                "is old: write sending_queue::batch",
            ),
            (
                self.num_workers != 0,
                "num_workers",
                "is old: write sending_queue::num_consumers",
            ),
            (
                self.retry.max_requests != 0,
                "retry.max_requests",
                "is old: write retry::max_retries, which is one less",
            ),
            (
                logs_bodies,
                "telemetry",
                "has no effect: bodies are never logged; write dead_letter to keep what was not taken",
            ),
        ];
        let told = all.into_iter().filter(|(applies, ..)| *applies);
        told.map(|(_, key, text)| (key, text)).collect()
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut fault = |key: &str, text: String| faults.push((key.to_owned(), text));
        for name in &self.mapping.allowed_modes {
            if Mode::parse(name.as_bytes()).is_none() {
                fault(
                    "mapping.allowed_modes",
                    format!("unknown allowed mapping mode name \"{name}\""),
                );
            }
        }
        let allowed = self.settings().allowed;
        let is_allowed =
            |mode: &str| Mode::parse(mode.as_bytes()).is_some_and(|mode| allowed.contains(&mode));
        if let Some(mode) = self.mapping.mode.as_deref().filter(|mode| !is_allowed(mode)) {
            fault(
                "mapping.mode",
                format!("invalid or disallowed default mapping mode \"{mode}\""),
            );
        }
        if let Err(text) = DatePart::parse(&self.logstash_format.date_format) {
            fault("logstash_format.date_format", text);
        }
        if self.retry.max_requests != 0 && self.retry.max_retries != 0 {
            let text = "must not specify both retry::max_requests and retry::max_retries";
            fault("retry.max_retries", text.into());
        }
        for (key, number) in [
            ("max_requests", self.retry.max_requests),
            ("max_retries", self.retry.max_retries),
        ] {
            if number < 0 {
                fault(&format!("retry.{key}"), "should be non-negative".into());
            }
        }
        if !self.index.is_empty() && !self.logs_index.is_empty() {
            fault(
                "index",
                "must not be written beside logs_index, which it is the old name of".into(),
            );
        }
        let mut keys = HashSet::new();
        for key in &self.metadata_keys {
            if !keys.insert(key.to_lowercase()) {
                fault(
                    "metadata_keys",
                    format!("duplicate entry \"{key}\" (case-insensitive)"),
                );
            }
        }
        let header = |text: &str| http::HeaderValue::from_str(text).is_ok();
        if !header(self.api_key.expose()) {
            fault("api_key", "cannot be sent in a header".into());
        }
        if self.user.contains(':') {
            fault("user", "must not have a colon".into());
        }
    }
}

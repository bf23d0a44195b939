//! What a user writes, and what comes of it: jobs with their targets, ready to be scraped.
//!
//! The keys under `config` are Prometheus's own. Its durations and sizes are not the collector's: `1d`, `10MB`. What
//! finds targets by itself (`*_sd_configs`, `target_allocator`) is refused by name, for a gateway is told its targets.

use std::collections::BTreeMap;
use std::time::Duration as StdDuration;

use codec::exposition::Format;
use component::prelude::*;
use config::{Diag, Diags};
use net::HttpClientConfig;

use super::relabel::{Labels, RelabelConfig, Rules};
use super::scalar::{Size, Span};
use super::target::Target;

/// What a user writes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// A scrape configuration of Prometheus. Required.
    #[schemars(with = "Scraping")]
    config: Option<Section>,
    /// Also report `scrape_timeout_seconds`, `scrape_sample_limit` and `scrape_body_size_bytes`. Default false.
    report_extra_scrape_metrics: bool,
    /// Not supported: names are handed on as they are.
    trim_metric_suffixes: bool,
    /// Gone upstream: start times are the targets' own, or those of the first scrape.
    use_start_time_metric: bool,
    /// Gone upstream, with `use_start_time_metric`.
    start_time_metric_regex: String,
    /// Not supported: list the targets.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    target_allocator: Option<Section>,
    /// Not supported: an API about the scrapes themselves.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    api_server: Option<Section>,
}

/// `config`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Scraping {
    /// What holds for all jobs.
    global: Global,
    /// The jobs.
    #[schemars(with = "Vec<Job>")]
    scrape_configs: Vec<Section>,
    #[schemars(skip)]
    rule_files: Option<Section>,
    #[schemars(skip)]
    alerting: Option<Section>,
    #[schemars(skip)]
    remote_write: Option<Section>,
    #[schemars(skip)]
    remote_read: Option<Section>,
    #[schemars(skip)]
    scrape_config_files: Option<Section>,
    #[schemars(skip)]
    storage: Option<Section>,
    #[schemars(skip)]
    tracing: Option<Section>,
    #[schemars(skip)]
    otlp: Option<Section>,
    #[schemars(skip)]
    runtime: Option<Section>,
}

/// `config::global`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Global {
    /// Default 1m.
    scrape_interval: Span,
    /// Default 10s, or the interval if that is shorter.
    scrape_timeout: Option<Span>,
    /// What is asked for, the most liked first.
    scrape_protocols: Vec<String>,
    /// For rules, of which there are none. Accepted.
    evaluation_interval: Span,
    /// Accepted, without effect.
    rule_query_offset: Span,
    /// Accepted, without effect.
    query_log_file: String,
    /// Accepted, without effect: failures are in the log.
    scrape_failure_log_file: String,
    /// Set on every sample, over its own.
    external_labels: BTreeMap<String, String>,
    body_size_limit: Size,
    sample_limit: u64,
    label_limit: u64,
    label_name_length_limit: u64,
    label_value_length_limit: u64,
    target_limit: u64,
    /// Accepted, without effect.
    keep_dropped_targets: u64,
    /// Accepted: names are taken as they come.
    metric_name_validation_scheme: String,
    /// Accepted: names are taken as they come.
    metric_name_escaping_scheme: String,
    /// Accepted: the texts that are asked for hold no native histograms.
    scrape_native_histograms: bool,
    /// Accepted: classic histograms are always taken.
    always_scrape_classic_histograms: bool,
    /// Accepted: they become OTLP histograms with explicit bounds in any case.
    convert_classic_histograms_to_nhcb: bool,
    extra_scrape_metrics: bool,
}

impl Default for Global {
    fn default() -> Global {
        Global {
            scrape_interval: Span(StdDuration::from_secs(60)),
            scrape_timeout: None,
            scrape_protocols: Vec::new(),
            evaluation_interval: Span(StdDuration::from_secs(60)),
            rule_query_offset: Span::default(),
            query_log_file: String::new(),
            scrape_failure_log_file: String::new(),
            external_labels: BTreeMap::new(),
            body_size_limit: Size(0),
            sample_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            target_limit: 0,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: String::new(),
            metric_name_escaping_scheme: String::new(),
            scrape_native_histograms: false,
            always_scrape_classic_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            extra_scrape_metrics: false,
        }
    }
}

/// One of `config::scrape_configs`, without what finds targets.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Job {
    /// Becomes `service.name`. Required, each once.
    job_name: String,
    scrape_interval: Option<Span>,
    scrape_timeout: Option<Span>,
    scrape_protocols: Vec<String>,
    /// How to read an answer whose content type says nothing. Default `PrometheusText0.0.4`.
    fallback_scrape_protocol: String,
    /// Default `/metrics`.
    metrics_path: String,
    /// `http` (default) or `https`.
    scheme: String,
    /// Parameters of the URL.
    params: BTreeMap<String, Vec<String>>,
    /// The target's `job`, `instance` and other labels win over ours. Default false: they become `exported_job`, ...
    honor_labels: bool,
    /// Timestamps of the target are taken. Default true.
    honor_timestamps: bool,
    /// Series with timestamps of their own are marked when they go, too. Default false.
    track_timestamps_staleness: bool,
    /// Ask for gzip. Default true.
    enable_compression: bool,
    /// Default true; credentials go to the target alone.
    follow_redirects: bool,
    /// Accepted.
    enable_http2: bool,
    static_configs: Vec<Static>,
    relabel_configs: Vec<RelabelConfig>,
    metric_relabel_configs: Vec<RelabelConfig>,
    basic_auth: Option<BasicAuth>,
    authorization: Option<Authorization>,
    /// The old way to write `authorization`.
    bearer_token: Secret<String>,
    /// The old way to write `authorization`.
    bearer_token_file: String,
    tls_config: Tls,
    /// `http://proxy:port`.
    proxy_url: Secret<String>,
    /// The environment's proxies are honoured in any case.
    proxy_from_environment: bool,
    body_size_limit: Option<Size>,
    sample_limit: Option<u64>,
    label_limit: Option<u64>,
    label_name_length_limit: Option<u64>,
    label_value_length_limit: Option<u64>,
    target_limit: Option<u64>,
    keep_dropped_targets: u64,
    metric_name_validation_scheme: String,
    metric_name_escaping_scheme: String,
    scrape_native_histograms: bool,
    scrape_classic_histograms: bool,
    always_scrape_classic_histograms: bool,
    convert_classic_histograms_to_nhcb: bool,
    native_histogram_bucket_limit: u64,
    native_histogram_min_bucket_factor: f64,
    extra_scrape_metrics: Option<bool>,
}

impl Default for Job {
    fn default() -> Job {
        Job {
            job_name: String::new(),
            scrape_interval: None,
            scrape_timeout: None,
            scrape_protocols: Vec::new(),
            fallback_scrape_protocol: String::new(),
            metrics_path: "/metrics".into(),
            scheme: "http".into(),
            params: BTreeMap::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            enable_compression: true,
            follow_redirects: true,
            enable_http2: true,
            static_configs: Vec::new(),
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
            basic_auth: None,
            authorization: None,
            bearer_token: Secret::default(),
            bearer_token_file: String::new(),
            tls_config: Tls::default(),
            proxy_url: Secret::default(),
            proxy_from_environment: false,
            body_size_limit: None,
            sample_limit: None,
            label_limit: None,
            label_name_length_limit: None,
            label_value_length_limit: None,
            target_limit: None,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: String::new(),
            metric_name_escaping_scheme: String::new(),
            scrape_native_histograms: false,
            scrape_classic_histograms: false,
            always_scrape_classic_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            native_histogram_bucket_limit: 0,
            native_histogram_min_bucket_factor: 0.0,
            extra_scrape_metrics: None,
        }
    }
}

/// `static_configs[]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Static {
    /// `host:port` each.
    targets: Vec<String>,
    /// Set on all samples of these targets.
    labels: BTreeMap<String, String>,
}

/// `basic_auth`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct BasicAuth {
    username: String,
    /// Read for each scrape.
    username_file: String,
    password: Secret<String>,
    /// Read for each scrape.
    password_file: String,
}

/// `authorization`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Authorization {
    /// Default `Bearer`.
    #[serde(rename = "type")]
    kind: String,
    credentials: Secret<String>,
    /// Read for each scrape.
    credentials_file: String,
}

/// `tls_config`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Tls {
    ca: Secret<String>,
    ca_file: String,
    cert: Secret<String>,
    cert_file: String,
    key: Secret<String>,
    key_file: String,
    server_name: String,
    insecure_skip_verify: bool,
    /// `TLS10` to `TLS13`.
    min_version: String,
    /// `TLS10` to `TLS13`.
    max_version: String,
}

// --- What comes of it ---

/// A job, with all that its targets share.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) config: HttpClientConfig,
    pub(super) auth: Auth,
    /// `Accept`.
    pub(super) accept: String,
    pub(super) fallback: Format,
    pub(super) is_compressed: bool,
    pub(super) follows: bool,
    pub(super) honor_labels: bool,
    pub(super) honor_timestamps: bool,
    pub(super) track_timestamps: bool,
    pub(super) rules: Rules,
    pub(super) external_labels: BTreeMap<String, String>,
    pub(super) limits: Limits,
    pub(super) extra: bool,
    pub(super) targets: Vec<Target>,
}

/// Bounds on one scrape; one that passes any of them fails whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limits {
    pub(super) body_bytes: usize,
    /// Samples after relabelling; 0 = no limit but that of all targets.
    pub(super) samples: usize,
    /// 0 = none, as the two below.
    pub(super) labels: usize,
    pub(super) label_name_bytes: usize,
    pub(super) label_value_bytes: usize,
}

/// Longest body that is read where `body_size_limit` says nothing.
const BODY_BYTES_MAX: usize = 256 << 20;

/// Targets of one job; more are a mistake, or a fleet that wants discovery.
const TARGETS_MAX: usize = 10_000;

/// Who we say we are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Auth {
    None,
    Basic { username: Word, password: Word },
    Scheme { scheme: String, credentials: Word },
}

/// A text from the configuration or from a file that is read each time.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    Text(Secret<String>),
    File(String),
}

impl Word {
    fn new(text: Secret<String>, file: &str) -> Word {
        match file.is_empty() {
            true => Word::Text(text),
            false => Word::File(file.to_owned()),
        }
    }
}

/// Reads the section: every fault at once, nothing opened.
pub(super) fn read(section: Section) -> Result<Vec<Plan>, Diags> {
    let at = section.clone();
    let config: Config = section.parse()?;
    let mut faults = Vec::new();
    let refuse = |faults: &mut Vec<Diag>, at: &Section, key: &str, text: &str, help: &str| {
        faults.push(at.diag(key, text).with_help(help.to_owned()));
    };
    for (key, is_set, help) in [
        (
            "trim_metric_suffixes",
            config.trim_metric_suffixes,
            "leave it out: names are handed on as they are",
        ),
        (
            "use_start_time_metric",
            config.use_start_time_metric,
            "leave it out: start times are the target's own (_created), or those of the first scrape",
        ),
        (
            "start_time_metric_regex",
            !config.start_time_metric_regex.is_empty(),
            "leave it out, with use_start_time_metric",
        ),
        (
            "target_allocator",
            config.target_allocator.is_some(),
            "list the targets under static_configs, or keep a collector with the target allocator in front",
        ),
        (
            "api_server",
            config.api_server.as_ref().is_some_and(|s| !s.is_null()),
            "leave it out: what the gateway scrapes is in its log and in its metrics",
        ),
    ] {
        if is_set {
            refuse(&mut faults, &at, key, "not supported", help);
        }
    }
    let Some(inner) = config.config.filter(|inner| !inner.is_null()) else {
        faults.push(at.diag("", "no Prometheus scrape_configs or target_allocator set"));
        return Err(Diags(faults));
    };
    let at = inner.clone();
    let scraping: Scraping = match inner.parse() {
        Ok(scraping) => scraping,
        Err(Diags(more)) => {
            faults.extend(more);
            return Err(Diags(faults));
        }
    };
    for (key, given) in [
        ("rule_files", &scraping.rule_files),
        ("alerting", &scraping.alerting),
        ("remote_write", &scraping.remote_write),
        ("remote_read", &scraping.remote_read),
        ("scrape_config_files", &scraping.scrape_config_files),
        ("storage", &scraping.storage),
        ("tracing", &scraping.tracing),
        ("otlp", &scraping.otlp),
        ("runtime", &scraping.runtime),
    ] {
        if given.as_ref().is_some_and(|given| !given.is_null()) {
            let text = format!("unsupported features:\n\t{key}");
            refuse(
                &mut faults,
                &at,
                key,
                &text,
                "leave it to Prometheus; a receiver only scrapes",
            );
        }
    }
    if scraping.scrape_configs.is_empty() {
        faults.push(at.diag("", "no Prometheus scrape_configs or target_allocator set"));
    }
    let mut plans: Vec<Plan> = Vec::new();
    for section in scraping.scrape_configs {
        let at = section.clone();
        match job(section, &scraping.global, config.report_extra_scrape_metrics) {
            Ok(plan) if plans.iter().any(|p| p.name == plan.name) => {
                let text = format!("found multiple scrape configs with job name {:?}", plan.name);
                faults.push(at.diag("job_name", text));
            }
            Ok(plan) => plans.push(plan),
            Err(Diags(more)) => faults.extend(more),
        }
    }
    Diags::check(faults)?;
    Ok(plans)
}

fn job(mut section: Section, global: &Global, extra: bool) -> Result<Plan, Diags> {
    let at = section.clone();
    let mut faults = Vec::new();
    let ways: Vec<String> = section
        .keys()
        .filter(|key| key.ends_with("_sd_configs"))
        .map(str::to_owned)
        .collect();
    for way in ways {
        section.take_raw(&way);
        let text = format!("{way} finds targets by itself, which is not supported");
        faults.push(at.diag(&way, text).with_help(
            "list the targets under static_configs, or keep an agent for it and point it at this gateway over otlp",
        ));
    }
    for key in [
        "oauth2",
        "sigv4",
        "azuread",
        "google_iam",
        "http_headers",
        "no_proxy",
        "proxy_connect_header",
    ] {
        if section.take_raw(key).is_some_and(|given| !given.is_null()) {
            faults.push(
                at.diag(key, format!("{key} is not supported here"))
                    .with_help("use basic_auth or authorization; for others keep a collector for this job"),
            );
        }
    }
    let job: Job = match section.parse() {
        Ok(job) => job,
        Err(Diags(more)) => {
            faults.extend(more);
            return Err(Diags(faults));
        }
    };
    let mut fault = |key: &str, text: String| faults.push(at.diag(key, text));
    if job.job_name.is_empty() {
        fault("job_name", "job_name is empty".into());
    }
    if !["http", "https"].contains(&job.scheme.as_str()) {
        fault(
            "scheme",
            format!("unknown scheme {:?}: http or https", job.scheme),
        );
    }
    let interval = job.scrape_interval.unwrap_or(global.scrape_interval).0;
    let general = global
        .scrape_timeout
        .map_or(StdDuration::from_secs(10), |span| span.0);
    let timeout = job.scrape_timeout.map_or(general.min(interval), |span| span.0);
    if interval.is_zero() {
        fault("scrape_interval", "the interval must be longer than 0".into());
    }
    if timeout > interval {
        let text = format!(
            "scrape timeout greater than scrape interval for scrape config with job name {:?}",
            job.job_name
        );
        fault("scrape_timeout", text);
    }
    // what is wrong was said: the targets are checked with what may stand in its place
    let interval = interval.max(StdDuration::from_millis(1));
    let timeout = timeout.min(interval);
    let protocols = match job.scrape_protocols.is_empty() {
        true => &global.scrape_protocols,
        false => &job.scrape_protocols,
    };
    let accept = accept(protocols).unwrap_or_else(|text| {
        fault("scrape_protocols", text);
        String::new()
    });
    let fallback = match job.fallback_scrape_protocol.as_str() {
        "" | "PrometheusText0.0.4" | "PrometheusText1.0.0" => Format::Text,
        "OpenMetricsText0.0.1" | "OpenMetricsText1.0.0" => Format::OpenMetrics,
        other => {
            fault(
                "fallback_scrape_protocol",
                format!("unknown scrape protocol {other:?}"),
            );
            Format::Text
        }
    };
    let auth = job.auth().unwrap_or_else(|(key, text)| {
        fault(key, text.into());
        Auth::None
    });
    let http = job.client(timeout);
    for (key, text) in http.faults() {
        let key = match key.as_str() {
            "proxy_url" => key,
            _ => key.replacen("tls.", "tls_config.", 1),
        };
        fault(&key, text);
    }
    let target_rules = Rules::compile("relabel_configs", &job.relabel_configs, &at, &mut faults);
    let rules = Rules::compile(
        "metric_relabel_configs",
        &job.metric_relabel_configs,
        &at,
        &mut faults,
    );
    let mut targets: Vec<Target> = Vec::new();
    let mut cache = target_rules.cache();
    for (i, group) in job.static_configs.iter().enumerate() {
        for (j, address) in group.targets.iter().enumerate() {
            let mut labels = job.labels(group, address, interval, timeout);
            if !target_rules.apply(&mut cache, &mut labels) {
                continue;
            }
            match Target::new(&labels, &job.params, scheme(&job.scheme)) {
                Ok(target) if targets.contains(&target) => {}
                Ok(target) => targets.push(target),
                Err(text) => faults.push(at.diag(&format!("static_configs.{i}.targets.{j}"), text)),
            }
        }
    }
    let target_limit = job.target_limit.unwrap_or(global.target_limit) as usize;
    if target_limit > 0 && targets.len() > target_limit {
        let text = format!(
            "{} targets, more than target_limit ({target_limit})",
            targets.len()
        );
        faults.push(at.diag("static_configs", text));
    }
    if targets.len() > TARGETS_MAX {
        let text = format!("{} targets, more than {TARGETS_MAX}", targets.len());
        faults.push(at.diag("static_configs", text));
    }
    Diags::check(faults)?;
    let size = |own: Option<u64>, all: u64| own.unwrap_or(all) as usize;
    Ok(Plan {
        config: http,
        auth,
        accept,
        fallback,
        is_compressed: job.enable_compression,
        follows: job.follow_redirects,
        honor_labels: job.honor_labels,
        honor_timestamps: job.honor_timestamps,
        track_timestamps: job.track_timestamps_staleness,
        rules,
        external_labels: global.external_labels.clone(),
        limits: Limits {
            body_bytes: match job.body_size_limit.unwrap_or(global.body_size_limit).0 {
                0 => BODY_BYTES_MAX,
                n => n as usize,
            },
            samples: size(job.sample_limit, global.sample_limit),
            labels: size(job.label_limit, global.label_limit),
            label_name_bytes: size(job.label_name_length_limit, global.label_name_length_limit),
            label_value_bytes: size(job.label_value_length_limit, global.label_value_length_limit),
        },
        extra: extra || job.extra_scrape_metrics.unwrap_or(global.extra_scrape_metrics),
        targets,
        name: job.job_name,
    })
}

fn scheme(name: &str) -> &'static str {
    match name {
        "https" => "https",
        _ => "http",
    }
}

impl Job {
    /// The labels of one target before relabelling.
    fn labels<'a>(
        &'a self,
        group: &'a Static,
        address: &'a str,
        interval: StdDuration,
        timeout: StdDuration,
    ) -> Labels<'a> {
        let mut labels = Labels::default();
        for (name, value) in &group.labels {
            labels.set(name.into(), value.into());
        }
        labels.set("__address__".into(), address.into());
        let span = |duration: StdDuration| Span(duration).to_string();
        for (name, value) in [
            ("job", self.job_name.as_str()),
            ("__metrics_path__", &self.metrics_path),
            ("__scheme__", scheme(&self.scheme)),
            ("__scrape_interval__", &span(interval)),
            ("__scrape_timeout__", &span(timeout)),
        ] {
            if labels.get(name).is_empty() {
                labels.set(name.into(), value.to_owned().into());
            }
        }
        for (name, values) in &self.params {
            if let Some(first) = values.first() {
                labels.set(format!("__param_{name}").into(), first.into());
            }
        }
        labels
    }

    fn auth(&self) -> Result<Auth, (&'static str, &'static str)> {
        const ONE: &str = "at most one of basic_auth, authorization and bearer_token can be configured";
        let bearer = !self.bearer_token.expose().is_empty() || !self.bearer_token_file.is_empty();
        let given = [self.basic_auth.is_some(), self.authorization.is_some(), bearer];
        if given.iter().filter(|is| **is).count() > 1 {
            return Err(("", ONE));
        }
        if let Some(basic) = &self.basic_auth {
            if !basic.username.is_empty() && !basic.username_file.is_empty() {
                return Err((
                    "basic_auth",
                    "at most one of basic_auth username & username_file must be configured",
                ));
            }
            if !basic.password.expose().is_empty() && !basic.password_file.is_empty() {
                return Err((
                    "basic_auth",
                    "at most one of basic_auth password & password_file must be configured",
                ));
            }
            return Ok(Auth::Basic {
                username: Word::new(Secret::new(basic.username.clone()), &basic.username_file),
                password: Word::new(basic.password.clone(), &basic.password_file),
            });
        }
        if let Some(auth) = &self.authorization {
            if !auth.credentials.expose().is_empty() && !auth.credentials_file.is_empty() {
                let text = "at most one of authorization credentials & credentials_file must be configured";
                return Err(("authorization", text));
            }
            if auth.kind.trim().eq_ignore_ascii_case("basic") {
                return Err((
                    "authorization.type",
                    "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
                ));
            }
            let scheme = match auth.kind.trim() {
                "" => "Bearer",
                kind => kind,
            };
            return Ok(Auth::Scheme {
                scheme: scheme.to_owned(),
                credentials: Word::new(auth.credentials.clone(), &auth.credentials_file),
            });
        }
        if !bearer {
            return Ok(Auth::None);
        }
        if !self.bearer_token.expose().is_empty() && !self.bearer_token_file.is_empty() {
            return Err((
                "bearer_token",
                "at most one of bearer_token & bearer_token_file must be configured",
            ));
        }
        Ok(Auth::Scheme {
            scheme: "Bearer".into(),
            credentials: Word::new(self.bearer_token.clone(), &self.bearer_token_file),
        })
    }

    /// The client's block, in the collector's words.
    fn client(&self, timeout: StdDuration) -> HttpClientConfig {
        let tls = &self.tls_config;
        let version = |name: &str| match name {
            "TLS10" => "1.0".to_owned(),
            "TLS11" => "1.1".to_owned(),
            "TLS12" => "1.2".to_owned(),
            "TLS13" => "1.3".to_owned(),
            other => other.to_owned(),
        };
        let mut config = HttpClientConfig {
            proxy_url: self.proxy_url.clone(),
            timeout: Some(Duration(timeout)),
            ..HttpClientConfig::default()
        };
        config.tls.ca_pem = tls.ca.clone();
        config.tls.ca_file = tls.ca_file.clone();
        config.tls.cert_pem = tls.cert.clone();
        config.tls.cert_file = tls.cert_file.clone();
        config.tls.key_pem = tls.key.clone();
        config.tls.key_file = tls.key_file.clone();
        config.tls.server_name_override = tls.server_name.clone();
        config.tls.insecure_skip_verify = tls.insecure_skip_verify;
        config.tls.min_version = version(&tls.min_version);
        config.tls.max_version = version(&tls.max_version);
        config
    }
}

/// The `Accept` for these protocols, or for all that are read.
fn accept(protocols: &[String]) -> Result<String, String> {
    let mut all = Vec::new();
    for name in protocols {
        match name.as_str() {
            "OpenMetricsText1.0.0" => all.push("application/openmetrics-text;version=1.0.0"),
            "OpenMetricsText0.0.1" => all.push("application/openmetrics-text;version=0.0.1"),
            "PrometheusText1.0.0" => all.push("text/plain;version=1.0.0;escaping=allow-utf-8"),
            "PrometheusText0.0.4" => all.push("text/plain;version=0.0.4"),
            // its messages are not read; the texts are asked for instead
            "PrometheusProto" => {}
            other => return Err(format!("unknown scrape protocol {other:?}")),
        }
    }
    if all.is_empty() {
        all = vec![
            "application/openmetrics-text;version=1.0.0",
            "application/openmetrics-text;version=0.0.1",
            "text/plain;version=0.0.4",
        ];
    }
    let mut text = String::new();
    for (i, media) in all.iter().enumerate() {
        // the most liked first
        text += &format!("{media};q=0.{},", 9 - i.min(7));
    }
    Ok(text + "*/*;q=0.1")
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;

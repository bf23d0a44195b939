//! What the gateway says about itself: `service::telemetry`, and `/metrics` for Prometheus.
//!
//! Keys are the collector's (`logs`, `metrics`, `resource`); what only pushes (periodic readers, own traces, log
//! processors) is refused by name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component::Fault;
use config::{Diags, Section};
use http::{Method, Request, Response, StatusCode, header};
use net::server::{self, Body, BoxFuture, Incoming, Peer, Server};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::{Telemetry, logs};

/// `service::telemetry`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub struct Settings {
    /// Own logs.
    pub logs: Logs,
    /// Own metrics.
    pub metrics: Metrics,
    /// Resource attributes of the gateway itself; null removes a default one.
    pub resource: BTreeMap<String, Option<String>>,
}

/// `service::telemetry::logs`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// `debug`, `info`, `warn`, `error`.
    pub level: String,
    /// `console` or `json`.
    pub encoding: String,
    /// Lines do not name the place in the source.
    pub disable_caller: bool,
    /// Lines carry no `resource` object.
    pub disable_zap_resource: bool,
    /// How equal lines are limited.
    pub sampling: Sampling,
    /// Added to every line.
    pub initial_fields: BTreeMap<String, String>,
    /// One of `stderr`, `stdout` or a file that is appended to.
    pub output_paths: Vec<String>,
    /// Accepted for the collector's sake.
    pub development: bool,
    /// Accepted for the collector's sake: no stack trace is shown.
    pub disable_stacktrace: bool,
}

impl Default for Logs {
    fn default() -> Logs {
        Logs {
            level: "info".into(),
            encoding: "console".into(),
            disable_caller: false,
            disable_zap_resource: false,
            sampling: Sampling::default(),
            initial_fields: BTreeMap::new(),
            output_paths: vec!["stderr".into()],
            development: false,
            disable_stacktrace: false,
        }
    }
}

/// `service::telemetry::logs::sampling`: of equal lines, how many are written.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Off = every line is written.
    pub enabled: bool,
    /// Counting starts again after this long.
    pub tick: config::Duration,
    /// So many are written first.
    pub initial: u64,
    /// Then every so-manieth.
    pub thereafter: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            enabled: true,
            tick: config::Duration(Duration::from_secs(10)),
            initial: 10,
            thereafter: 100,
        }
    }
}

impl Logs {
    fn level(&self) -> Option<tracing::Level> {
        match self.level.to_lowercase().as_str() {
            "debug" => Some(tracing::Level::DEBUG),
            "info" => Some(tracing::Level::INFO),
            "warn" => Some(tracing::Level::WARN),
            "error" | "dpanic" | "panic" | "fatal" => Some(tracing::Level::ERROR),
            _ => None,
        }
    }

    fn sink(&self) -> std::io::Result<Box<dyn std::io::Write + Send>> {
        match self.output_paths.first().map_or("stderr", String::as_str) {
            "stderr" => Ok(Box::new(std::io::stderr())),
            "stdout" => Ok(Box::new(std::io::stdout())),
            path => Ok(Box::new(
                std::fs::File::options().append(true).create(true).open(path)?,
            )),
        }
    }
}

/// `service::telemetry::metrics`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// `none`, `basic`, `normal`, `detailed`. Default `normal`.
    pub level: Option<String>,
    /// Where to read them; absent = Prometheus on `localhost:8888`.
    pub readers: Option<Vec<Reader>>,
    /// The old shorthand for one Prometheus reader.
    pub address: Option<String>,
}

/// One reader.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    /// A reader that is scraped.
    pub pull: Pull,
}

/// A reader that is scraped.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// By what.
    pub exporter: PullExporter,
}

/// By what a reader is scraped.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PullExporter {
    /// The Prometheus text format over HTTP.
    pub prometheus: Prometheus,
}

/// A Prometheus endpoint.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prometheus {
    /// Host or address to listen on. Required.
    pub host: String,
    /// Port to listen on. Required.
    pub port: u16,
    /// Series without `otel_scope_*` labels; the only form served now.
    pub without_scope_info: bool,
    /// Counters without `_total`; the only form served now.
    pub without_type_suffix: bool,
    /// Names without unit suffixes; the only form served now.
    pub without_units: bool,
}

impl Default for Prometheus {
    fn default() -> Prometheus {
        Prometheus {
            host: "localhost".into(),
            port: 8888,
            without_scope_info: true,
            without_type_suffix: true,
            without_units: true,
        }
    }
}

impl Settings {
    /// Reads the section.
    pub fn read(section: Section) -> Result<Settings, Diags> {
        let at = section.clone();
        let settings: Settings = section.parse()?;
        let levels = ["none", "basic", "normal", "detailed"];
        if let Some(level) = &settings.metrics.level
            && !levels.contains(&level.to_lowercase().as_str())
        {
            return Err(at.fault(
                "metrics.level",
                format!("unknown level {level:?}: one of {}", levels.join(", ")),
            ));
        }
        if !["console", "json"].contains(&settings.logs.encoding.as_str()) {
            return Err(at.fault("logs.encoding", "unknown encoding: console or json"));
        }
        if settings.logs.output_paths.len() > 1 {
            return Err(at.fault("logs.output_paths", "own logs go to one place: leave one path"));
        }
        if settings.logs.level().is_none() {
            return Err(at.fault("logs.level", "unknown level: debug, info, warn or error"));
        }
        for reader in settings.metrics.readers.iter().flatten() {
            let p = &reader.pull.exporter.prometheus;
            if !(p.without_scope_info && p.without_type_suffix && p.without_units) {
                return Err(at.fault(
                    "metrics.readers",
                    "only without_scope_info, without_type_suffix and without_units: true are served yet",
                ));
            }
        }
        Ok(settings)
    }

    /// Makes own logs the process's default; they are flushed when the guard is dropped.
    pub fn start_logs(&self, telemetry: &Telemetry) -> std::io::Result<logs::Guard> {
        let own = &self.logs;
        let settings = logs::Settings {
            level: own.level().unwrap_or(tracing::Level::INFO),
            encoding: if own.encoding == "json" {
                logs::Encoding::Json
            } else {
                logs::Encoding::Console
            },
            sampling: own.sampling.enabled.then_some(logs::Sampling {
                tick: own.sampling.tick.0,
                initial: own.sampling.initial,
                thereafter: own.sampling.thereafter,
            }),
            caller: !own.disable_caller,
            resource: if own.disable_zap_resource {
                Vec::new()
            } else {
                resource(self)
            },
            initial_fields: own.initial_fields.clone().into_iter().collect(),
        };
        let (dispatch, guard) = logs::start(settings, own.sink()?, &telemetry.metrics)?;
        // a second service in one process (tests) keeps the first one's log
        let _ = tracing::dispatcher::set_global_default(dispatch);
        Ok(guard)
    }

    /// Where `/metrics` is served; `None` if it is off.
    fn metrics_address(&self) -> Option<String> {
        if self
            .metrics
            .level
            .as_deref()
            .is_some_and(|l| l.eq_ignore_ascii_case("none"))
        {
            return None;
        }
        if let Some(address) = &self.metrics.address {
            return Some(if address.starts_with(':') {
                format!("0.0.0.0{address}")
            } else {
                address.clone()
            });
        }
        let readers = self.metrics.readers.as_deref();
        match readers {
            None => Some("localhost:8888".into()),
            Some(list) => list.first().map(|r| {
                let p = &r.pull.exporter.prometheus;
                format!("{}:{}", p.host, p.port)
            }),
        }
    }
}

/// Serves `/metrics`.
pub struct MetricsServer(Server);

impl MetricsServer {
    /// Binds and serves; `None` if metrics are off.
    pub async fn start(settings: &Settings, telemetry: &Telemetry) -> Result<Option<MetricsServer>, Fault> {
        let Some(address) = settings.metrics_address() else {
            return Ok(None);
        };
        let page = Arc::new(Page {
            telemetry: telemetry.clone(),
            resource: resource(settings),
        });
        let server = Server::bind(&address, server::Settings::default(), page)
            .await
            .map_err(|e| Fault::World(format!("binding address {address} for Prometheus exporter: {e}")))?;
        Ok(Some(MetricsServer(server)))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.0.local_addr()
    }

    /// Closes the port.
    pub async fn stop(self) {
        self.0.stop(Duration::from_secs(1)).await;
    }
}

fn resource(settings: &Settings) -> Vec<(String, String)> {
    let mut all = BTreeMap::from([
        ("service.name".to_owned(), Some(super::INFO.command.to_owned())),
        ("service.version".to_owned(), Some(super::INFO.version.to_owned())),
    ]);
    all.extend(settings.resource.clone());
    all.into_iter().filter_map(|(k, v)| Some((k, v?))).collect()
}

struct Page {
    telemetry: Telemetry,
    resource: Vec<(String, String)>,
}

impl server::Service for Page {
    fn call(self: Arc<Self>, request: Request<Incoming>, _peer: Peer) -> BoxFuture<Response<Body>> {
        let found =
            request.uri().path() == "/metrics" && matches!(*request.method(), Method::GET | Method::HEAD);
        let (status, text) = match found {
            true => (
                StatusCode::OK,
                telemetry::render::prometheus(&self.telemetry, &self.resource),
            ),
            false => (
                StatusCode::NOT_FOUND,
                "404 page not found: try /metrics\n".to_owned(),
            ),
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        let kind = header::HeaderValue::from_static(telemetry::render::CONTENT_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Box::pin(std::future::ready(response))
    }
}

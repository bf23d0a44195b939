//! `service::telemetry::metrics`: how much is shown, and by which readers.

use std::time::Duration;

use config::Section;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::render::Shape;
use telemetry::views::View;
use telemetry::{Level, Resource};
use wire::Signal;

use super::faults::Faults;
use super::otlp::Exporter;
use super::views::ViewKeys;

/// The keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Keys {
    /// `none`, `basic`, `normal`, `detailed`. Default `normal`.
    level: Option<String>,
    /// Who reads; absent = Prometheus on `localhost:8888`.
    readers: Option<Vec<Reader>>,
    /// The old shorthand for one Prometheus reader.
    address: Option<String>,
    /// What is left out, renamed or shown with fewer labels; only at `detailed`.
    views: Vec<ViewKeys>,
}

/// One reader: exactly one of its keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Reader {
    pull: Option<Pull>,
    periodic: Option<Periodic>,
}

/// A reader that is scraped.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Pull {
    exporter: PullExporter,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct PullExporter {
    prometheus: Option<Prometheus>,
}

/// A Prometheus endpoint.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Prometheus {
    /// Host or address to listen on. Required.
    host: Option<String>,
    /// Port to listen on. Required.
    port: Option<u16>,
    /// Series without `otel_scope_*` labels. Default true.
    without_scope_info: bool,
    /// Counters without `_total`. Default true; coupled with the next.
    without_type_suffix: bool,
    /// Names without unit suffixes. Default true.
    without_units: bool,
    /// Resource attributes that are labels of every series.
    with_resource_constant_labels: Option<IncludeExclude>,
}

impl Default for Prometheus {
    fn default() -> Prometheus {
        Prometheus {
            host: None,
            port: None,
            without_scope_info: true,
            without_type_suffix: true,
            without_units: true,
            with_resource_constant_labels: None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct IncludeExclude {
    included: Vec<String>,
    excluded: Vec<String>,
}

/// A reader that pushes; times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Periodic {
    /// Default 60000.
    interval: u64,
    /// Default 30000.
    timeout: u64,
    exporter: Exporter,
}

/// What the keys mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) level: Level,
    pub(super) pulls: Vec<PullSettings>,
    pub(super) pushes: Vec<PushSettings>,
    pub(super) views: Vec<View>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            level: Level::Normal,
            pulls: vec![PullSettings {
                address: "localhost:8888".into(),
                shape: Shape::default(),
            }],
            pushes: Vec::new(),
            views: Vec::new(),
        }
    }
}

/// One page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PullSettings {
    pub(super) address: String,
    pub(super) shape: Shape,
}

/// One periodic reader.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PushSettings {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) exporter: Exporter,
}

impl Keys {
    /// Faults are gathered; what is returned counts only if there is none.
    pub(super) fn read(&self, resource: &Resource, faults: &mut Faults<'_>) -> Settings {
        let level = match self.level.as_deref() {
            None => Some(Level::Normal),
            Some(text) => Level::parse(text),
        };
        if level.is_none() {
            faults.fault(
                "metrics.level",
                "unknown metrics level: none, basic, normal or detailed",
            );
        }
        let level = level.unwrap_or_default();
        let mut settings = Settings {
            level,
            ..Settings::default()
        };
        if self.address.is_some() || self.readers.is_some() {
            settings.pulls.clear();
        }
        if let Some(address) = &self.address {
            faults.warn(
                "metrics.address",
                "deprecated; write readers: [{pull: {exporter: {prometheus: {host: ..., port: ...}}}}]",
            );
            faults.rule(
                address
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| port.parse::<u16>().is_ok()),
                "metrics.address",
                "must be host:port",
            );
            settings.pulls.push(PullSettings {
                address: address.clone(),
                shape: Shape::default(),
            });
        }
        for (i, reader) in self.readers.iter().flatten().enumerate() {
            reader.read(&format!("metrics.readers.{i}"), resource, &mut settings, faults);
        }
        let has_reader = !settings.pulls.is_empty() || !settings.pushes.is_empty();
        if level > Level::None && !has_reader && self.readers.as_ref().is_some_and(Vec::is_empty) {
            faults.fault(
                "metrics.readers",
                "collector telemetry metrics reader should exist when metric level is not none",
            );
        }
        if !self.views.is_empty() && level != Level::Detailed {
            faults.fault(
                "metrics.views",
                "service::telemetry::metrics::views can only be set when service::telemetry::metrics::level is detailed",
            );
        }
        let views = self.views.iter().enumerate();
        settings.views = views
            .map(|(i, view)| view.read(&format!("metrics.views.{i}"), faults))
            .collect();
        if level == Level::None {
            settings.pulls.clear();
            settings.pushes.clear();
        }
        settings
    }
}

impl Reader {
    fn read(&self, key: &str, resource: &Resource, settings: &mut Settings, faults: &mut Faults<'_>) {
        match (&self.pull, &self.periodic) {
            (Some(pull), None) => match &pull.exporter.prometheus {
                Some(prometheus) => {
                    let key = format!("{key}.pull.exporter.prometheus");
                    settings.pulls.extend(prometheus.read(&key, resource, faults));
                }
                None => faults.fault(
                    &format!("{key}.pull.exporter"),
                    "no valid metric exporter: prometheus is the one that is pulled",
                ),
            },
            (None, Some(periodic)) => {
                let key = format!("{key}.periodic.exporter");
                periodic.exporter.check(&key, Signal::Metrics, faults);
                let or = |ms: u64, default| Duration::from_millis(if ms == 0 { default } else { ms });
                settings.pushes.push(PushSettings {
                    interval: or(periodic.interval, 60_000),
                    timeout: or(periodic.timeout, 30_000),
                    exporter: periodic.exporter.clone(),
                });
            }
            (None, None) => faults.fault(key, "no valid metric reader: pull or periodic"),
            (Some(_), Some(_)) => {
                faults.fault(
                    key,
                    "must not specify multiple metric reader type: leave pull or periodic",
                );
            }
        }
    }
}

impl Prometheus {
    fn read(&self, key: &str, resource: &Resource, faults: &mut Faults<'_>) -> Option<PullSettings> {
        let host = self.host.as_deref().filter(|host| !host.is_empty());
        faults.rule(host.is_some(), &format!("{key}.host"), "host must be specified");
        faults.rule(
            self.port.is_some(),
            &format!("{key}.port"),
            "port must be specified",
        );
        let (host, port) = (host?, self.port?);
        let address = match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let chosen = self.with_resource_constant_labels.as_ref();
        let constant_labels = chosen.map(|lists| {
            let named = |list: &[String], name: &str| list.iter().any(|n| n == name);
            let all = resource.texts().filter(|(name, _)| {
                !named(&lists.excluded, name) && (lists.included.is_empty() || named(&lists.included, name))
            });
            all.map(|(name, value)| (name.to_owned(), value)).collect()
        });
        Some(PullSettings {
            address,
            shape: Shape {
                suffixes: !(self.without_units && self.without_type_suffix),
                scope: !self.without_scope_info,
                constant_labels: constant_labels.unwrap_or_default(),
            },
        })
    }
}

/// `service::telemetry::traces`. Own spans are not made yet; the keys are checked.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Traces {
    level: Option<String>,
    propagators: Vec<String>,
    processors: Vec<Section>,
    sampler: Section,
    limits: Section,
}

impl Traces {
    pub(super) fn check(&self, faults: &mut Faults<'_>) {
        let level = self.level.as_deref().map(Level::parse);
        if level == Some(None) {
            faults.fault(
                "traces.level",
                "unknown traces level: none, basic, normal or detailed",
            );
        }
        for (i, name) in self.propagators.iter().enumerate() {
            faults.rule(
                matches!(name.as_str(), "tracecontext" | "b3"),
                &format!("traces.propagators.{i}"),
                "error creating propagator: unsupported trace propagator; tracecontext and b3 are known",
            );
        }
        if !self.processors.is_empty() && level != Some(Some(Level::None)) {
            faults.warn(
                "traces.processors",
                "own spans are not made yet: nothing will come to these processors",
            );
        }
    }
}

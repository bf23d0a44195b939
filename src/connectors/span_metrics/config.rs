//! Which metrics are made of spans, as it is written.

use std::time::Duration as StdDuration;

use component::prelude::*;

/// `span_metrics`: calls, durations and events of spans as metrics.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Attributes by whose values all metrics are told apart, beside service, span name, kind, status and instance.
    pub dimensions: Vec<Dimension>,
    /// As `dimensions`, of `calls` alone.
    pub calls_dimensions: Vec<Dimension>,
    /// Dimensions that are there by default and shall not be: `service.name`, `span.name`, `span.kind`, `status.code`,
    /// `collector.instance.id`.
    pub exclude_dimensions: Vec<String>,
    /// Without effect, as in the collector: see `aggregation_cardinality_limit`.
    pub dimensions_cache_size: usize,
    /// Resources that are remembered from one flush to the next, at most. Default 1000.
    pub resource_metrics_cache_size: usize,
    /// Attributes that alone tell resources apart. Default none: all of them.
    pub resource_metrics_key_attributes: Vec<String>,
    /// `AGGREGATION_TEMPORALITY_CUMULATIVE`, the default, or `AGGREGATION_TEMPORALITY_DELTA`.
    pub aggregation_temporality: String,
    /// How durations are told.
    pub histogram: Histogram,
    /// How often metrics go on. Default 60 s; more than 0.
    pub metrics_flush_interval: Duration,
    /// Resources without spans for this long are forgotten. Default 0: never.
    pub metrics_expiration: Duration,
    /// Points without spans for this long are forgotten. Default 0: never.
    pub series_expiration: Duration,
    /// Points whose last time is remembered where they are deltas, at most. Default 1000.
    pub metric_timestamp_cache_size: usize,
    /// Put before the names of metrics, with a dot. Default `traces.span.metrics`.
    pub namespace: String,
    /// Spans as examples of points.
    pub exemplars: Exemplars,
    /// A metric of span events.
    pub events: Events,
    /// Names of scopes that become dimensions, with their versions.
    pub include_instrumentation_scope: Vec<String>,
    /// Points of one metric and resource, at most; what passes that is one point `otel.metric.overflow`. Default 0: no
    /// limit but memory.
    pub aggregation_cardinality_limit: usize,
    /// Resource attributes on the metrics. They are there in any case, unless a feature gate of the collector is on.
    pub add_resource_attributes: bool,
    /// Tell by `sampling.method` whether counts were extrapolated from the sampling threshold. Default false.
    pub enable_metrics_sampling_method: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            dimensions: Vec::new(),
            calls_dimensions: Vec::new(),
            exclude_dimensions: Vec::new(),
            dimensions_cache_size: 0,
            resource_metrics_cache_size: 1000,
            resource_metrics_key_attributes: Vec::new(),
            aggregation_temporality: "AGGREGATION_TEMPORALITY_CUMULATIVE".into(),
            histogram: Histogram::default(),
            metrics_flush_interval: StdDuration::from_secs(60).into(),
            metrics_expiration: StdDuration::ZERO.into(),
            series_expiration: StdDuration::ZERO.into(),
            metric_timestamp_cache_size: 1000,
            namespace: "traces.span.metrics".into(),
            exemplars: Exemplars::default(),
            events: Events::default(),
            include_instrumentation_scope: Vec::new(),
            aggregation_cardinality_limit: 0,
            add_resource_attributes: false,
            enable_metrics_sampling_method: false,
        }
    }
}

/// One dimension: by name, or all attributes whose names fit.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dimension {
    /// Key of the attribute: of the span, else of the resource.
    pub name: String,
    /// Taken where it is absent. Default none: then the point does without.
    pub default: Option<String>,
    /// Instead of `name`: `*` fits all but dots, `**` anything, `?` one character.
    pub glob: String,
}

/// `histogram`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Histogram {
    /// No durations. Default false.
    pub disable: bool,
    /// `ms`, the default, or `s`.
    pub unit: Unit,
    /// Buckets that adapt.
    pub exponential: Option<Exponential>,
    /// Buckets with fixed bounds; what there is if neither is named.
    pub explicit: Option<Explicit>,
    /// As `dimensions`, of `duration` alone.
    pub dimensions: Vec<Dimension>,
}

/// Unit of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Unit {
    /// Milliseconds.
    #[default]
    #[serde(rename = "ms", alias = "MS", alias = "Ms")]
    Milliseconds,
    /// Seconds.
    #[serde(rename = "s", alias = "S")]
    Seconds,
}

/// `histogram.exponential`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exponential {
    /// Buckets at most. Default 160.
    pub max_size: u32,
}

/// `histogram.explicit`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Explicit {
    /// Upper bounds. Default 2, 4, 6, 8, 10, 50, 100, 200, 400, 800 ms, 1, 1.4, 2, 5, 10, 15 s.
    pub buckets: Option<Vec<Duration>>,
}

/// `exemplars`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exemplars {
    /// Whether there are any. Default false.
    pub enabled: bool,
    /// Of each point, at most. Default 5.
    pub max_per_data_point: usize,
}

impl Default for Exemplars {
    fn default() -> Self {
        Exemplars {
            enabled: false,
            max_per_data_point: 5,
        }
    }
}

/// `events`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// Whether there is the metric. Default false.
    pub enabled: bool,
    /// As `dimensions`, of `events` alone; looked for in the event too. At least one.
    pub dimensions: Vec<Dimension>,
}

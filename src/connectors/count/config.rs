//! What is to be counted, as it is written.

use std::collections::BTreeMap;

use component::prelude::*;

/// `count`: metrics by what they count. What is not named has its one default metric; what is named has those alone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Of spans. Default `trace.span.count`.
    pub spans: BTreeMap<String, Metric>,
    /// Of span events. Default `trace.span.event.count`.
    pub spanevents: BTreeMap<String, Metric>,
    /// Of metrics. Default `metric.count`.
    pub metrics: BTreeMap<String, Metric>,
    /// Of data points. Default `metric.datapoint.count`.
    pub datapoints: BTreeMap<String, Metric>,
    /// Of log records. Default `log.record.count`.
    pub logs: BTreeMap<String, Metric>,
    /// Of profiles, which are not counted: read and left alone.
    pub profiles: BTreeMap<String, Metric>,
}

impl Default for Config {
    fn default() -> Self {
        let one = |name: &str, description: &str| {
            let metric = Metric {
                description: description.into(),
                ..Metric::default()
            };
            BTreeMap::from([(name.to_owned(), metric)])
        };
        Config {
            spans: one("trace.span.count", "The number of spans observed."),
            spanevents: one("trace.span.event.count", "The number of span events observed."),
            metrics: one("metric.count", "The number of metrics observed."),
            datapoints: one("metric.datapoint.count", "The number of data points observed."),
            logs: one("log.record.count", "The number of log records observed."),
            profiles: one("profile.count", "The number of profiles observed."),
        }
    }
}

/// One metric.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metric {
    /// Told with it.
    pub description: String,
    /// OTTL conditions; an item is counted if one holds. Default none: all are.
    pub conditions: Vec<String>,
    /// Attributes by whose values is counted; an item that lacks one without a default is not counted. Not for metrics.
    pub attributes: Vec<Attribute>,
}

/// An attribute by whose values is counted: of the item, else of its scope, else of its resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Attribute {
    /// Its key. Required.
    pub key: String,
    /// Taken where it is absent. Default none.
    pub default_value: Option<Scalar>,
}

/// A value as YAML has it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// `true`, `false`.
    Bool(bool),
    /// `12`.
    Int(i64),
    /// `1.5`.
    Double(f64),
    /// Anything else.
    Text(String),
}

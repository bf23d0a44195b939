//! The keys of `filter`, in the three styles that the collector has had.

use component::prelude::*;

use crate::groups::{Group, Groups, Mode};
use crate::matching;

/// `filter`: which items are dropped.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What becomes of an error in a condition: `ignore` (told, the item stays), `silent`, or `propagate` (the whole
    /// request is refused). Default `ignore`.
    pub error_mode: Mode,
    /// Conditions for spans and what holds them or is in them; what one of them matches is dropped.
    pub trace_conditions: Groups<Conditions>,
    /// Conditions for metrics and data points.
    pub metric_conditions: Groups<Conditions>,
    /// Conditions for log records.
    pub log_conditions: Groups<Conditions>,
    /// Conditions for profiles. Read for the collector's sake: `filter` cannot stand in a pipeline of profiles.
    pub profile_conditions: Groups<Conditions>,
    /// Older style: conditions by context.
    pub traces: Traces,
    /// Older style: conditions by context, or the oldest: names.
    pub metrics: Metrics,
    /// Older style: conditions by context, or the oldest: properties.
    pub logs: Logs,
    /// Older style; as `profile_conditions`.
    pub profiles: Profiles,
    /// Oldest style: properties of spans.
    pub spans: Spans,
}

/// A group of conditions.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// What the conditions are asked of: `resource`, `scope`, `span`, `spanevent`, `metric`, `datapoint` or `log`.
    /// Default: inferred from the paths.
    pub context: String,
    /// For this group alone. Default: that of the processor.
    pub error_mode: Option<Mode>,
    /// An item for which one of them is true is dropped.
    pub conditions: Vec<String>,
}

impl Group for Conditions {
    fn basic(conditions: Vec<String>) -> Conditions {
        Conditions {
            conditions,
            ..Conditions::default()
        }
    }
}

/// `traces`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// Resources are dropped with all that they hold.
    pub resource: Option<Vec<String>>,
    /// Spans.
    pub span: Option<Vec<String>>,
    /// Events of spans; the span stays.
    pub spanevent: Option<Vec<String>>,
}

/// `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Only these metrics stay.
    pub include: Option<MetricProperties>,
    /// These metrics are dropped.
    pub exclude: Option<MetricProperties>,
    /// Accepted and not used.
    pub regexp: Option<matching::Regexp>,
    /// Resources are dropped with all that they hold.
    pub resource: Option<Vec<String>>,
    /// Metrics with all their points.
    pub metric: Option<Vec<String>>,
    /// Data points; a metric without any left goes too.
    pub datapoint: Option<Vec<String>>,
}

/// Which metrics are meant.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricProperties {
    /// `strict`, `regexp` or `expr`. Required.
    pub match_type: String,
    /// Accepted and not used.
    pub regexp: matching::Regexp,
    /// Names; any may match.
    pub metric_names: Vec<String>,
    /// With `expr`: a metric is meant if one of them is true for one of its points.
    pub expressions: Vec<String>,
    /// Attributes of the resource; all must match.
    pub resource_attributes: Vec<matching::Attribute>,
}

/// `logs`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// Only these records stay.
    pub include: Option<LogProperties>,
    /// These records are dropped.
    pub exclude: Option<LogProperties>,
    /// Resources are dropped with all that they hold.
    pub resource: Option<Vec<String>>,
    /// Log records.
    pub log_record: Option<Vec<String>>,
}

/// Which log records are meant; all properties that are given must match.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogProperties {
    /// `strict` or `regexp`. Required.
    pub match_type: String,
    /// Attributes of the resource; all must match.
    pub resource_attributes: Vec<matching::Attribute>,
    /// Attributes of the record; all must match.
    pub record_attributes: Vec<matching::Attribute>,
    /// Severities as the source named them; any may match.
    pub severity_texts: Vec<String>,
    /// A smallest severity.
    pub severity_number: Option<Severity>,
    /// Bodies as text; any may match.
    pub bodies: Vec<String>,
}

/// `severity_number`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Severity {
    /// The smallest that matches: `TRACE` to `FATAL4` in any case, or its number.
    pub min: String,
    /// Whether a record without a severity matches.
    pub match_undefined: bool,
}

/// `profiles`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Profiles {
    /// Resources.
    pub resource: Option<Vec<String>>,
    /// Profiles.
    pub profile: Option<Vec<String>>,
}

/// `spans`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Spans {
    /// Only these spans stay.
    pub include: Option<matching::Config>,
    /// These spans are dropped.
    pub exclude: Option<matching::Config>,
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut both = |key: &str, one: bool, what: &str, other: bool, others: &str| {
            if one && other {
                let message = format!("cannot use {what} and the settings {others} at the same time");
                faults.push((key.to_owned(), message));
            }
        };
        let (t, m, l) = (&self.traces, &self.metrics, &self.logs);
        let traces = t.resource.is_some() || t.span.is_some() || t.spanevent.is_some();
        let metrics = m.resource.is_some() || m.metric.is_some() || m.datapoint.is_some();
        let logs = l.resource.is_some() || l.log_record.is_some();
        let in_traces = "\"traces.resource\", \"traces.span\", \"traces.spanevent\"";
        let in_metrics = "\"metrics.resource\", \"metrics.metric\", \"metrics.datapoint\"";
        let in_logs = "\"logs.resource\", \"logs.log_record\"";
        let of_metrics = "\"metrics.include\", \"metrics.exclude\"";
        let of_logs = "\"logs.include\", \"logs.exclude\"";
        let inferred = |groups: &Groups<Conditions>| !groups.groups.is_empty();
        both(
            "trace_conditions",
            inferred(&self.trace_conditions),
            "\"trace_conditions\"",
            traces,
            in_traces,
        );
        both(
            "metric_conditions",
            inferred(&self.metric_conditions),
            "\"metric_conditions\"",
            metrics || m.include.is_some() || m.exclude.is_some(),
            &format!("{in_metrics}, {of_metrics}"),
        );
        both(
            "log_conditions",
            inferred(&self.log_conditions),
            "\"log_conditions\"",
            logs || l.include.is_some() || l.exclude.is_some(),
            &format!("{in_logs}, {of_logs}"),
        );
        let spans = self.spans.include.is_some() || self.spans.exclude.is_some();
        let of_spans = "\"spans.include\", \"spans.exclude\"";
        both("traces", traces, in_traces, spans, of_spans);
        let of_either = m.include.is_some() || m.exclude.is_some();
        both("metrics", metrics, in_metrics, of_either, of_metrics);
        let of_either = l.include.is_some() || l.exclude.is_some();
        both("logs", logs, in_logs, of_either, of_logs);
        for (name, properties) in [("include", &l.include), ("exclude", &l.exclude)] {
            let severity = properties.as_ref().and_then(|p| p.severity_number.as_ref());
            if let Some(severity) = severity.filter(|s| s.number().is_none()) {
                let key = format!("logs.{name}.severity_number.min");
                faults.push((key, format!("'{}' is not a valid severity", severity.min)));
            }
        }
    }
}

/// The third `match_type` of metrics.
pub(super) const EXPR: &str = "expr";

impl Severity {
    /// The number that is meant; 0 if none is.
    pub(super) fn number(&self) -> Option<i32> {
        if self.min.is_empty() {
            return Some(0);
        }
        if let Ok(number) = self.min.parse() {
            return (1..=24).contains(&number).then_some(number);
        }
        let text = self.min.to_ascii_uppercase();
        let names = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
        let (base, rest) = names
            .iter()
            .zip(0..)
            .find_map(|(name, i)| Some((i * 4 + 1, text.strip_prefix(name)?)))?;
        match rest {
            "" => Some(base),
            "2" | "3" | "4" => Some(base - 1 + rest.parse::<i32>().ok()?),
            _ => None,
        }
    }
}

//! `service::telemetry::metrics::views`: what otelconf's keys mean for the families that are counted here.
//!
//! Dropping, renaming, describing and leaving labels out is done; another aggregation than that of the instrument is
//! refused by name, for its buckets are fixed when counting begins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::names::Kind;
use telemetry::views::{Selector, Stream, View};
use telemetry::{Level, Snapshot, Telemetry};

use super::faults::Faults;
use super::otlp::Console as Empty;

/// The views of one service.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Views(pub(super) Vec<View>);

impl Views {
    /// A snapshot as readers are to see it.
    pub(super) fn of(&self, telemetry: &Telemetry, level: Level) -> Snapshot {
        Snapshot::take(telemetry, level).seen_through(&self.0)
    }
}

/// One view.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ViewKeys {
    /// Which instruments.
    pub selector: SelectorKeys,
    /// What becomes of them.
    pub stream: StreamKeys,
}

/// Which instruments: what is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SelectorKeys {
    /// With `*` and `?`.
    pub instrument_name: Option<String>,
    /// `counter`, `histogram`, `up_down_counter`, `observable_gauge`, ...
    pub instrument_type: Option<String>,
    /// Instrumentation scope.
    pub meter_name: Option<String>,
    /// Our scopes have none.
    pub meter_version: Option<String>,
    /// Our scopes have none.
    pub meter_schema_url: Option<String>,
    /// Unit.
    pub unit: Option<String>,
}

/// What becomes of an instrument.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StreamKeys {
    /// Another name.
    pub name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Which labels stay.
    pub attribute_keys: Option<AttributeKeys>,
    /// `drop` or `default`.
    pub aggregation: Option<Aggregation>,
}

/// Which labels stay.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AttributeKeys {
    /// Only these.
    pub included: Option<Vec<String>>,
    /// All but these.
    pub excluded: Option<Vec<String>>,
}

/// Exactly one of its keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Aggregation {
    /// The instrument is left out.
    pub drop: Option<Empty>,
    /// As the instrument counts.
    pub default: Option<Empty>,
    /// Refused.
    pub sum: Option<Empty>,
    /// Refused.
    pub last_value: Option<Empty>,
    /// Refused.
    pub explicit_bucket_histogram: Option<config::Section>,
    /// Refused.
    pub base2_exponential_bucket_histogram: Option<config::Section>,
}

impl ViewKeys {
    pub(super) fn read(&self, key: &str, faults: &mut Faults<'_>) -> View {
        let s = &self.selector;
        let all = [
            &s.instrument_name,
            &s.instrument_type,
            &s.meter_name,
            &s.meter_version,
            &s.meter_schema_url,
            &s.unit,
        ];
        faults.rule(
            all.iter().any(|given| given.is_some()),
            &format!("{key}.selector"),
            "empty selector: name an instrument, a meter, a type or a unit",
        );
        // No scope of ours has a version or a schema: a view of one selects nothing.
        let is_void = [&s.meter_version, &s.meter_schema_url]
            .iter()
            .any(|given| given.as_deref().is_some_and(|text| !text.is_empty()));
        let kind = s.instrument_type.as_deref().map(|name| match name {
            "counter" | "observable_counter" => Some((Kind::Counter, false)),
            "histogram" => Some((Kind::Histogram, false)),
            "gauge" | "observable_gauge" => Some((Kind::Gauge, false)),
            "up_down_counter" | "observable_up_down_counter" => Some((Kind::Gauge, true)),
            _ => None,
        });
        if kind == Some(None) {
            faults.fault(
                &format!("{key}.selector.instrument_type"),
                "unknown instrument type: counter, histogram, gauge, up_down_counter, or observable_ before one",
            );
        }
        let kind = kind.flatten();
        View {
            selector: Selector {
                name: if is_void {
                    Some(String::new())
                } else {
                    s.instrument_name.clone()
                },
                kind: kind.map(|(kind, _)| kind),
                up_down: kind.is_some_and(|(_, up_down)| up_down),
                scope: s.meter_name.clone(),
                unit: s.unit.clone(),
            },
            stream: self.stream.read(&format!("{key}.stream"), faults),
        }
    }
}

impl StreamKeys {
    fn read(&self, key: &str, faults: &mut Faults<'_>) -> Stream {
        let aggregation = self.aggregation.clone().unwrap_or_default();
        for (name, is_given) in [
            ("sum", aggregation.sum.is_some()),
            ("last_value", aggregation.last_value.is_some()),
            (
                "explicit_bucket_histogram",
                aggregation.explicit_bucket_histogram.is_some(),
            ),
            (
                "base2_exponential_bucket_histogram",
                aggregation.base2_exponential_bucket_histogram.is_some(),
            ),
        ] {
            faults.rule(
                !is_given,
                &format!("{key}.aggregation.{name}"),
                &format!("{name} is not supported: instruments keep their aggregation; use drop or default"),
            );
        }
        let keys = self.attribute_keys.clone().unwrap_or_default();
        Stream {
            name: self.name.clone(),
            description: self.description.clone(),
            // An empty list is no list, as for the SDK.
            included: keys.included.filter(|names| !names.is_empty()),
            excluded: keys.excluded.unwrap_or_default(),
            is_dropped: aggregation.drop.is_some(),
        }
    }
}

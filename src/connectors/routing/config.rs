//! The table as it is written.

use component::prelude::*;

/// `routing`: sends data to pipelines by conditions.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Routes, asked in order. Required, at least one.
    pub table: Vec<Item>,
    /// Pipelines for what no route took. Without them it is dropped, and booked so.
    pub default_pipelines: Vec<String>,
    /// What an error in a condition does: `propagate` refuses the request, the default; with `ignore` and `silent` the
    /// route does not match, and `ignore` says so in the log.
    pub error_mode: String,
    /// Gone from the collector: data is taken by the first route that matches, always. `true` says the same.
    pub match_once: Option<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            table: Vec::new(),
            default_pipelines: Vec::new(),
            error_mode: "propagate".into(),
            match_once: None,
        }
    }
}

/// One route.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Item {
    /// What the condition is about: `resource`, `span`, `metric`, `datapoint`, `log`, `request` or `otelcol`. Without it
    /// the paths say so; those without a context are the resource's.
    pub context: String,
    /// `route() where CONDITION`, or `delete_key` or `delete_matching_keys` in place of `route`, which is then done to
    /// what is taken.
    pub statement: String,
    /// The condition alone. Exactly one of `statement` and `condition` is required.
    pub condition: String,
    /// Pipelines that get what matches. Required, at least one.
    pub pipelines: Vec<String>,
    /// `move` takes what matches out, the default; `copy` leaves it for the routes that follow too.
    pub action: String,
}

const CONTEXTS: [&str; 7] = [
    "request",
    "resource",
    "span",
    "metric",
    "datapoint",
    "log",
    "otelcol",
];

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut fault = |key: String, message: &str| faults.push((key, message.to_owned()));
        if self.table.is_empty() {
            fault(
                "table".into(),
                "invalid routing table: the routing table is empty",
            );
        }
        if ottl::ErrorMode::named(&self.error_mode).is_none() {
            fault(
                "error_mode".into(),
                "unknown error mode: ignore, silent or propagate",
            );
        }
        if self.match_once == Some(false) {
            fault(
                "match_once".into(),
                "`match_once: false` is gone since v0.120: data is taken by the first route that matches; write \
                 `action: copy` on the routes that shall leave it for the others",
            );
        }
        for (at, item) in self.table.iter().enumerate() {
            let key = |name: &str| format!("table.{at}.{name}");
            match (item.statement.is_empty(), item.condition.is_empty()) {
                (true, true) => fault(
                    format!("table.{at}"),
                    "invalid route: no condition or statement provided",
                ),
                (false, false) => fault(
                    key("condition"),
                    "invalid route: both condition and statement provided",
                ),
                _ => {}
            }
            if item.pipelines.is_empty() {
                fault(format!("table.{at}"), "invalid route: no pipelines defined");
            }
            if !item.context.is_empty() && !CONTEXTS.contains(&item.context.as_str()) {
                fault(
                    key("context"),
                    &format!(
                        "invalid context: {}; one of {}",
                        item.context,
                        CONTEXTS.join(", ")
                    ),
                );
            }
            if !matches!(item.action.as_str(), "" | "move" | "copy") {
                fault(key("action"), "invalid action: move or copy");
            }
            if item.context == "request" && item.condition.is_empty() {
                if !item.statement.is_empty() {
                    fault(
                        key("statement"),
                        "invalid route: a request is asked by `condition`, as in `request[\"x-tenant\"] == \"a\"`",
                    );
                }
            } else if item.context == "request" && super::request::Condition::parse(&item.condition).is_none()
            {
                fault(
                    key("condition"),
                    "condition must have format 'request[\"<name>\"] <comparator> \"<value>\"', with == or !=",
                );
            }
        }
    }
}

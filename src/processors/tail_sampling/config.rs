//! Keys of `tail_sampling`, and what becomes of them.

use codec::pattern::Pattern;
use component::prelude::*;
use ottl::{Functions, Group, Program};
use parking_lot::Mutex;

use crate::groups::Mode;
use crate::traces::bucket::Bucket;
use crate::traces::judge::{Budget, By, Judge, Keep, Named};
use crate::traces::policy::{self, Composite as CompositePolicy, Policy, Spent, Texts};

/// `tail_sampling`: how long traces are held, and which of them stay.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long after its first span a trace is decided on, in whole seconds. Default 30s.
    pub decision_wait: Duration,
    /// How long after a span without a parent, if that is sooner. Default 0s: such spans change nothing.
    pub decision_wait_after_root_received: Duration,
    /// Most traces that are known, decided ones included; the oldest makes room. Default 50000.
    pub num_traces: u64,
    /// Callers wait for room instead, until their deadline, and are then told to come again. Default false.
    pub block_on_overflow: bool,
    /// Accepted; tables grow as they need.
    pub expected_new_traces_per_sec: u64,
    /// Decisions that are remembered beyond `num_traces`.
    pub decision_cache: DecisionCache,
    /// Ask no further policy once one sampled the trace. Default false.
    pub sample_on_first_match: bool,
    /// `trace-complete` (the default) asks policies when the trace is due, `span-ingest` for each request as it comes.
    pub sampling_strategy: String,
    /// Drop what waits at the stop instead of deciding with what is there. Default false.
    pub drop_pending_traces_on_shutdown: bool,
    /// A trace whose spans take more bytes is dropped at once. Default 0: no limit.
    pub maximum_trace_size_bytes: u64,
    /// Not supported: `storage` is what keeps held spans on disk here.
    pub tail_storage: Option<String>,
    /// Id of a storage extension that keeps on disk what is held, until it is decided on.
    pub storage: Option<ComponentId>,
    /// What stays, whatever policies and budgets say.
    pub keep: KeepConfig,
    /// How much of what the policies sampled stays.
    pub budgets: Option<BudgetConfig>,
    /// A trace stays if one of them says so, and none of type `drop` matches. Required.
    pub policies: Vec<PolicyConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            decision_wait: Duration(std::time::Duration::from_secs(30)),
            decision_wait_after_root_received: Duration::default(),
            num_traces: 50_000,
            block_on_overflow: false,
            expected_new_traces_per_sec: 0,
            decision_cache: DecisionCache::default(),
            sample_on_first_match: false,
            sampling_strategy: "trace-complete".into(),
            drop_pending_traces_on_shutdown: false,
            maximum_trace_size_bytes: 0,
            tail_storage: None,
            storage: None,
            keep: KeepConfig::default(),
            budgets: None,
            policies: Vec::new(),
        }
    }
}

/// `decision_cache`: sizes, in traces. 0 = off.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionCache {
    /// Traces that were sampled.
    pub sampled_cache_size: u64,
    /// Traces that were not.
    pub non_sampled_cache_size: u64,
}

/// `keep`: traces that always stay.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeepConfig {
    /// Those with a span whose status is an error. Default false.
    pub errors: bool,
    /// Those that took longer, from the first beginning to the last end. Default 0s: none.
    pub slower_than: Duration,
}

/// `budgets`: spans per second, for each value of something.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// `tenant`, or the name of a resource attribute. Default `service.name`.
    pub by: String,
    /// Spans a second for each. Required.
    pub spans_per_second: f64,
    /// Most values with a budget of their own; the others share one. Default 1000.
    pub keys_max: u64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        BudgetConfig {
            by: "service.name".into(),
            spans_per_second: 0.0,
            keys_max: 1000,
        }
    }
}

/// A policy, or a part of one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// Its name in metrics and books. Required, and each only once.
    pub name: String,
    /// Which of the blocks below it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of type `latency`.
    pub latency: Option<Latency>,
    /// Of type `numeric_attribute`.
    pub numeric_attribute: Option<NumericAttribute>,
    /// Of type `probabilistic`.
    pub probabilistic: Option<Probabilistic>,
    /// Of type `status_code`.
    pub status_code: Option<StatusCode>,
    /// Of type `string_attribute`.
    pub string_attribute: Option<StringAttribute>,
    /// Of type `rate_limiting`.
    pub rate_limiting: Option<RateLimiting>,
    /// Of type `bytes_limiting`.
    pub bytes_limiting: Option<BytesLimiting>,
    /// Of type `span_count`.
    pub span_count: Option<SpanCount>,
    /// Of type `trace_state`.
    pub trace_state: Option<TraceState>,
    /// Of type `boolean_attribute`.
    pub boolean_attribute: Option<BooleanAttribute>,
    /// Of type `ottl_condition`.
    pub ottl_condition: Option<OttlCondition>,
    /// Of type `and`.
    pub and: Option<And>,
    /// Of type `not`.
    pub not: Option<Not>,
    /// Of type `drop`.
    pub drop: Option<Dropping>,
    /// Of type `composite`.
    pub composite: Option<Composite>,
}

/// `latency`: from the first beginning to the last end.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// At least so many milliseconds.
    pub threshold_ms: i64,
    /// At most so many; 0 = no limit.
    pub upper_threshold_ms: i64,
}

/// `numeric_attribute`: an integer of a resource or span.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NumericAttribute {
    /// Name of the attribute.
    pub key: String,
    /// At least; 0 = no limit.
    pub min_value: i64,
    /// At most; 0 = no limit.
    pub max_value: i64,
    /// Sample traces without such a value.
    pub invert_match: bool,
}

/// `probabilistic`: a share of traces.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Probabilistic {
    /// Hashed before the trace id. Default `default-hash-seed`.
    pub hash_salt: String,
    /// 0 to 100.
    pub sampling_percentage: f64,
}

/// `status_code`: a span's status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatusCode {
    /// `OK`, `ERROR`, `UNSET`.
    pub status_codes: Vec<String>,
}

/// `string_attribute`: a text of a resource or span.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StringAttribute {
    /// Name of the attribute.
    pub key: String,
    /// What it may be.
    pub values: Vec<String>,
    /// They are regular expressions that match anywhere in it.
    pub enabled_regex_matching: bool,
    /// Accepted; nothing needs to be remembered.
    pub cache_max_size: i64,
    /// Sample traces without such a value.
    pub invert_match: bool,
}

/// `rate_limiting`: as many spans a second.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimiting {
    /// Spans.
    pub spans_per_second: i64,
    /// Most at once. Default 0: twice as many as a second.
    pub burst_capacity: i64,
}

/// `bytes_limiting`: as many encoded bytes a second.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BytesLimiting {
    /// Bytes.
    pub bytes_per_second: i64,
    /// Most at once. Default 0: twice as many as a second.
    pub burst_capacity: i64,
}

/// `span_count`: how many spans a trace has.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpanCount {
    /// At least.
    pub min_spans: i64,
    /// At most; 0 = no limit.
    pub max_spans: i64,
}

/// `trace_state`: a member of a span's `tracestate`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TraceState {
    /// Its key.
    pub key: String,
    /// What it may be.
    pub values: Vec<String>,
}

/// `boolean_attribute`: a truth value of a resource or span.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BooleanAttribute {
    /// Name of the attribute.
    pub key: String,
    /// What it must be.
    pub value: bool,
    /// Sample traces without such a value.
    pub invert_match: bool,
}

/// `ottl_condition`: conditions of the transformation language, of which one must hold for one span or event.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OttlCondition {
    /// What becomes of errors. Default `ignore`.
    pub error_mode: Mode,
    /// Conditions on spans.
    pub span: Vec<String>,
    /// Conditions on span events.
    pub spanevent: Vec<String>,
}

/// `and`: all of them sample the trace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct And {
    /// Asked in order, up to the first that does not.
    pub and_sub_policy: Vec<PolicyConfig>,
}

/// `not`: it does not sample the trace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Not {
    /// What is asked.
    pub not_sub_policy: Option<Box<PolicyConfig>>,
}

/// `drop`: the trace goes if all of them sample it, whatever other policies say.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dropping {
    /// Asked in order, up to the first that does not.
    pub drop_sub_policy: Vec<PolicyConfig>,
}

/// `composite`: policies with a share of spans per second each.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Composite {
    /// Spans a second that 100 percent are.
    pub max_total_spans_per_second: i64,
    /// Accepted, and without effect as in the collector: sub-policies are asked in the order in which they stand.
    pub policy_order: Vec<String>,
    /// The first that samples the trace decides, by what is left of its share.
    pub composite_sub_policy: Vec<PolicyConfig>,
    /// Shares; one that has none lets nothing pass.
    pub rate_allocation: Vec<RateAllocation>,
}

/// One of `rate_allocation`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateAllocation {
    /// Name of the sub-policy.
    pub policy: String,
    /// Its share in percent; 0 = as much as each would have if all had the same.
    pub percent: i64,
}

/// What is wrong, and where.
type Wrong = (String, String);

/// Policies as deep as this are followed; YAML has no use for more.
const DEPTH_MAX: usize = 16;

impl Config {
    /// The policies, compiled. Errors: all that is wrong with them.
    pub(super) fn judge(&self) -> Result<Judge, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let mut compiler = Compiler::default();
        let mut named = Vec::new();
        for (i, config) in self.policies.iter().enumerate() {
            let place = format!("policies.{i}");
            if config.name.is_empty() {
                wrong.push((place, "policy name cannot be empty".to_owned()));
                continue;
            }
            if self.policies[..i].iter().any(|p| p.name == config.name) {
                wrong.push((
                    format!("{place}.name"),
                    format!("duplicate policy name {:?}", config.name),
                ));
            }
            match compiler.policy(config, &place, 0) {
                Ok(policy) => named.push(Named {
                    name: config.name.clone(),
                    policy,
                }),
                Err(more) => wrong.extend(more),
            }
        }
        if self.policies.is_empty() {
            wrong.push((
                "policies".into(),
                "no policies: every trace would be dropped".into(),
            ));
        }
        if self.policies.len() > usize::from(u16::MAX) {
            wrong.push(("policies".into(), "too many policies".into()));
        }
        if self.tail_storage.is_some() {
            let message =
                "tail_storage is not supported; storage: <file_storage id> keeps what is held on disk";
            wrong.push(("tail_storage".into(), message.into()));
        }
        let keep = self.keep();
        let budget = self.budget(&mut wrong);
        // What drops comes first, else the order stays.
        named.sort_by_key(|p: &Named| !matches!(p.policy, Policy::Drop(_)));
        let judge = Judge {
            policies: named,
            keep,
            budget,
            first_match: self.sample_on_first_match,
            subs: compiler.subs,
            records: false,
        };
        match self.sampling_strategy.as_str() {
            "" | "trace-complete" => {}
            "span-ingest" => {
                if let Some(name) = judge.stateful() {
                    let message = format!("policy {name:?} is stateful and cannot be used with span-ingest");
                    wrong.push(("sampling_strategy".into(), message));
                }
            }
            other => {
                let message =
                    format!("unknown sampling strategy {other:?}, valid are trace-complete, span-ingest");
                wrong.push(("sampling_strategy".into(), message));
            }
        }
        match wrong.is_empty() {
            true => Ok(judge),
            false => Err(wrong),
        }
    }

    pub(super) fn at_ingest(&self) -> bool {
        self.sampling_strategy == "span-ingest"
    }

    fn keep(&self) -> Option<Keep> {
        let most = self.keep.slower_than.0.as_nanos() as u64;
        let keep = Keep {
            errors: self.keep.errors,
            slower_than: (most > 0).then_some(most),
        };
        (keep.errors || keep.slower_than.is_some()).then_some(keep)
    }

    fn budget(&self, wrong: &mut Vec<Wrong>) -> Option<Budget> {
        let config = self.budgets.as_ref()?;
        if !(config.spans_per_second.is_finite() && config.spans_per_second > 0.0) {
            let message = "must be a number above 0";
            wrong.push(("budgets.spans_per_second".into(), message.into()));
        }
        if config.by.is_empty() {
            let message = "must be tenant or the name of a resource attribute";
            wrong.push(("budgets.by".into(), message.into()));
        }
        if self.at_ingest() {
            let message = "budgets need sampling_strategy: trace-complete";
            wrong.push(("budgets".into(), message.into()));
        }
        Some(Budget {
            by: match config.by.as_str() {
                "tenant" => By::Tenant,
                name => By::Attribute(name.as_bytes().to_vec()),
            },
            spans_per_second: config.spans_per_second,
            keys_max: config.keys_max.max(1) as usize,
        })
    }
}

/// Numbers patterns and sub-policies of composite ones among all policies.
#[derive(Default)]
struct Compiler {
    patterns: usize,
    /// Names.
    subs: Vec<String>,
}

impl Compiler {
    fn policy(&mut self, config: &PolicyConfig, place: &str, depth: usize) -> Result<Policy, Vec<Wrong>> {
        let kind = config.kind.as_str();
        let one = |key: &str, message: String| vec![(format!("{place}.{key}"), message)];
        if depth > DEPTH_MAX {
            return Err(one(
                "type",
                format!("policies are nested deeper than {DEPTH_MAX}"),
            ));
        }
        let rate = |per_second: i64, burst: i64| {
            let capacity = if burst > 0 {
                burst
            } else {
                per_second.saturating_mul(2)
            };
            Mutex::new(Bucket::new(per_second.max(0) as u64, capacity.max(0) as u64))
        };
        Ok(match kind {
            "always_sample" => Policy::Always,
            "trace_flags" => Policy::TraceFlags,
            "latency" => {
                let c = config.latency.clone().unwrap_or_default();
                Policy::Latency {
                    above: c.threshold_ms,
                    up_to: c.upper_threshold_ms,
                }
            }
            "numeric_attribute" => {
                let c = config.numeric_attribute.clone().unwrap_or_default();
                if c.min_value == 0 && c.max_value == 0 {
                    let message = "at least one of min_value and max_value must be set".to_owned();
                    return Err(one("numeric_attribute", message));
                }
                let set = |value: i64| (value != 0).then_some(value);
                Policy::Numeric {
                    key: c.key.into_bytes(),
                    min: set(c.min_value),
                    max: set(c.max_value),
                    inverted: c.invert_match,
                }
            }
            "probabilistic" => {
                let c = config.probabilistic.clone().unwrap_or_default();
                if c.sampling_percentage.is_nan() {
                    let message = "sampling_percentage is no number".to_owned();
                    return Err(one("probabilistic.sampling_percentage", message));
                }
                let salt = match c.hash_salt.as_str() {
                    "" => "default-hash-seed",
                    salt => salt,
                };
                Policy::Probabilistic {
                    salt: salt.as_bytes().to_vec(),
                    up_to: policy::hash_up_to(c.sampling_percentage),
                }
            }
            "status_code" => {
                let c = config.status_code.clone().unwrap_or_default();
                let mut codes = [false; 3];
                for (i, name) in c.status_codes.iter().enumerate() {
                    let names = ["UNSET", "OK", "ERROR"];
                    let Some(at) = names.iter().position(|n| n == name) else {
                        let message = format!("unknown status code {name:?}, supported: OK, ERROR, UNSET");
                        return Err(one(&format!("status_code.status_codes.{i}"), message));
                    };
                    codes[at] = true;
                }
                if c.status_codes.is_empty() {
                    let message = "expected at least one status code to filter on".to_owned();
                    return Err(one("status_code", message));
                }
                Policy::Status(codes)
            }
            "string_attribute" => {
                let c = config.string_attribute.clone().unwrap_or_default();
                let values = match c.enabled_regex_matching {
                    true => Texts::Patterns(self.patterns(&c.values, place)?),
                    false => {
                        let values = c.values.into_iter().filter(|v| !v.is_empty());
                        Texts::Exact(values.map(String::into_bytes).collect())
                    }
                };
                Policy::Text {
                    key: c.key.into_bytes(),
                    values,
                    inverted: c.invert_match,
                }
            }
            "boolean_attribute" => {
                let c = config.boolean_attribute.clone().unwrap_or_default();
                Policy::Boolean {
                    key: c.key.into_bytes(),
                    value: c.value,
                    inverted: c.invert_match,
                }
            }
            "trace_state" => {
                let c = config.trace_state.clone().unwrap_or_default();
                let fits = |value: &String| c.key.len() + value.len() < 256;
                let values = c.values.iter().filter(|v| fits(v));
                Policy::TraceState {
                    values: values.map(|v| v.clone().into_bytes()).collect(),
                    key: c.key.clone().into_bytes(),
                }
            }
            "rate_limiting" => {
                let c = config.rate_limiting.clone().unwrap_or_default();
                Policy::Spans(rate(c.spans_per_second, c.burst_capacity))
            }
            "bytes_limiting" => {
                let c = config.bytes_limiting.clone().unwrap_or_default();
                Policy::Bytes(rate(c.bytes_per_second, c.burst_capacity))
            }
            "span_count" => {
                let c = config.span_count.clone().unwrap_or_default();
                Policy::SpanCount {
                    min: c.min_spans.max(0) as u64,
                    max: c.max_spans.max(0) as u64,
                }
            }
            "ottl_condition" => {
                let c = config.ottl_condition.clone().unwrap_or_default();
                if c.span.is_empty() && c.spanevent.is_empty() {
                    let message = "expected at least one OTTL condition to filter on".to_owned();
                    return Err(one("ottl_condition", message));
                }
                let place = format!("{place}.ottl_condition");
                Policy::Ottl {
                    span: program(&c.span, ottl::Context::Span, &format!("{place}.span"))?,
                    event: program(
                        &c.spanevent,
                        ottl::Context::SpanEvent,
                        &format!("{place}.spanevent"),
                    )?,
                    mode: c.error_mode.0,
                }
            }
            "and" => {
                let c = config.and.clone().unwrap_or_default();
                Policy::And(self.all(&c.and_sub_policy, &format!("{place}.and.and_sub_policy"), depth)?)
            }
            "drop" => {
                let c = config.drop.clone().unwrap_or_default();
                let place = format!("{place}.drop.drop_sub_policy");
                Policy::Drop(self.all(&c.drop_sub_policy, &place, depth)?)
            }
            "not" => {
                let Some(sub) = config.not.as_ref().and_then(|c| c.not_sub_policy.as_deref()) else {
                    return Err(one("not", "not_sub_policy is required".to_owned()));
                };
                let place = format!("{place}.not.not_sub_policy");
                Policy::Not(Box::new(self.policy(sub, &place, depth + 1)?))
            }
            "composite" => {
                let c = config.composite.clone().unwrap_or_default();
                let place = format!("{place}.composite.composite_sub_policy");
                let subs = self.all(&c.composite_sub_policy, &place, depth)?;
                let max = c.max_total_spans_per_second;
                let even = max / (subs.len().max(1) as i64);
                let share = |name: &str| {
                    let found = c.rate_allocation.iter().find(|a| a.policy == name);
                    found.map_or(0, |a| match a.percent {
                        ..=0 => even,
                        percent => (percent as f64 / 100.0 * max as f64) as i64,
                    })
                };
                let names = c.composite_sub_policy.iter().map(|p| p.name.as_str());
                let first = self.subs.len();
                self.subs.extend(names.clone().map(str::to_owned));
                if self.subs.len() > usize::from(u16::MAX) {
                    return Err(one("composite", "too many sub-policies".to_owned()));
                }
                let subs = names.zip(subs).map(|(name, sub)| (sub, share(name)));
                Policy::Composite(CompositePolicy {
                    max,
                    subs: subs.collect(),
                    first: first as u16,
                    spent: Mutex::new(Spent::default()),
                })
            }
            other => return Err(one("type", format!("unknown sampling policy type {other:?}"))),
        })
    }

    fn all(
        &mut self,
        configs: &[PolicyConfig],
        place: &str,
        depth: usize,
    ) -> Result<Vec<Policy>, Vec<Wrong>> {
        if configs.is_empty() {
            return Err(vec![(
                place.to_owned(),
                "at least one sub-policy is required".into(),
            )]);
        }
        let each = configs.iter().enumerate();
        each.map(|(i, config)| self.policy(config, &format!("{place}.{i}"), depth + 1))
            .collect()
    }

    fn patterns(&mut self, values: &[String], place: &str) -> Result<Vec<(usize, Pattern)>, Vec<Wrong>> {
        let compile = |(i, source): (usize, &String)| {
            let wrong = |error| {
                let key = format!("{place}.string_attribute.values.{i}");
                vec![(key, format!("{error}: `{source}`"))]
            };
            let number = self.patterns;
            self.patterns += 1;
            Pattern::new(source)
                .map(|pattern| (number, pattern))
                .map_err(wrong)
        };
        values.iter().enumerate().map(compile).collect()
    }
}

fn program(
    conditions: &[String],
    context: ottl::Context,
    place: &str,
) -> Result<Option<Program>, Vec<Wrong>> {
    if conditions.is_empty() {
        return Ok(None);
    }
    let texts: Vec<&str> = conditions.iter().map(String::as_str).collect();
    let group = Group {
        signal: Signal::Traces,
        functions: Functions::Conditions,
        context: Some(context),
        conditions: &texts,
        statements: &[],
    };
    let wrong = |fault: ottl::Fault| {
        let at = texts.iter().position(|text| **text == *fault.statement);
        let key = at.map_or(place.to_owned(), |i| format!("{place}.{i}"));
        (key, fault.to_string())
    };
    let made = Program::new(&group);
    made.map(Some)
        .map_err(|faults| faults.0.into_iter().map(wrong).collect())
}

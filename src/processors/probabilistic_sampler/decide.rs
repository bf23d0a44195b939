//! One item: its randomness, the threshold it meets, and what is written to it if it stays.

use wire::view::{Any, NewValue, NodeId, View};

use crate::actions;
use crate::sampling::tracestate::{TraceState, Update};
use crate::sampling::{self, RANDOMNESS_MAX, Threshold};

/// Fields of a span, and of a log record.
const SPAN_TRACE_ID: u32 = 1;
const SPAN_TRACE_STATE: u32 = 3;
const RECORD_TRACE_ID: u32 = 9;

const PRIORITY: &[u8] = b"sampling.priority";
const THRESHOLD: &[u8] = b"sampling.threshold";
const RANDOMNESS: &[u8] = b"sampling.randomness";

/// A configuration, ready to decide.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) decision: Decision,
    pub(super) seed: u32,
    pub(super) fail_closed: bool,
    pub(super) precision: i32,
    /// Whether the hash is of the trace id where there is one.
    pub(super) by_trace_id: bool,
    /// Attribute of log records that is hashed; empty if none.
    pub(super) attribute: Vec<u8>,
    /// Attribute of log records with a percentage; empty if none.
    pub(super) priority: Vec<u8>,
}

/// How a threshold is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Decision {
    Never,
    Hash(Threshold),
    Equalizing(Threshold),
    Proportional(f64),
}

/// What kind of item: where its id is, and what carries thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Span,
    Record,
}

/// What a decision was made by: the label `policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Hash,
    TraceId,
    Randomness,
    Priority,
    Missing,
    Attribute,
}

impl Cause {
    pub(super) const ALL: [Cause; 6] = [
        Cause::Hash,
        Cause::TraceId,
        Cause::Randomness,
        Cause::Priority,
        Cause::Missing,
        Cause::Attribute,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Cause::Hash => "trace_id_hash",
            Cause::TraceId => "trace_id_w3c",
            Cause::Randomness => "sampling_randomness",
            Cause::Priority => "sampling_priority",
            Cause::Missing => "missing_randomness",
            Cause::Attribute => "attribute",
        }
    }
}

/// Why an item cannot be decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Missing,
    Inconsistent,
    RandomnessInUse,
    ThresholdInUse,
    Unreadable,
}

impl Trouble {
    pub(super) const ALL: [Trouble; 5] = [
        Trouble::Missing,
        Trouble::Inconsistent,
        Trouble::RandomnessInUse,
        Trouble::ThresholdInUse,
        Trouble::Unreadable,
    ];

    pub(super) fn as_str(self) -> &'static str {
        RULES[self as usize + 2]
            .split_once(':')
            .map_or("", |(_, reason)| reason)
    }
}

/// Rules under which items are booked: the share, a priority of zero, and each [`Trouble`].
pub(super) const RULES: [&str; 7] = [
    "probabilistic_sampler",
    "probabilistic_sampler:sampling_priority",
    "probabilistic_sampler:missing_randomness",
    "probabilistic_sampler:inconsistent_threshold",
    "probabilistic_sampler:randomness_in_use",
    "probabilistic_sampler:threshold_in_use",
    "probabilistic_sampler:unreadable_state",
];

/// Counts of one payload, and memory for what is written. Reused.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// By cause: not kept, kept.
    pub(super) counts: [[u64; 2]; Cause::ALL.len()],
    pub(super) troubles: [u64; Trouble::ALL.len()],
    /// By rule.
    pub(super) dropped: [u64; RULES.len()],
    text: Vec<u8>,
}

impl Scratch {
    pub(super) fn clear(&mut self) {
        (self.counts, self.troubles, self.dropped) = Default::default();
    }
}

/// What an item carries, and what it is asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    /// False if what it carries must be left alone.
    usable: bool,
    randomness: Option<u64>,
    threshold: Option<Threshold>,
}

/// An item's randomness and what carries its threshold.
struct Found {
    /// None if missing.
    randomness: Option<u64>,
    cause: Cause,
    carried: Carried,
    /// To be written to it.
    write: Option<u64>,
    trouble: Option<Trouble>,
}

impl Rules {
    /// Keeps the item and writes its threshold, or removes it.
    pub(super) fn decide(&self, item: Item, view: &mut View<'_>, n: NodeId, s: &mut Scratch) {
        let mut found = self.find(item, view, n, s);
        if item == Item::Record
            && let Some(randomness) = found.write
        {
            view.put(n, RANDOMNESS, NewValue::Str(&sampling::digits(randomness)));
        }
        if found.trouble.is_none() {
            found.trouble = check(&found);
            if found.trouble == Some(Trouble::Inconsistent) {
                found.carried.threshold = None;
                if item == Item::Record
                    && let Some(at) = view.find(n, THRESHOLD)
                {
                    view.remove(n, at);
                }
            }
        }
        let decided = match found.trouble {
            None => self.threshold(found.carried.threshold),
            Some(trouble) => {
                s.troubles[trouble as usize] += 1;
                match self.fail_closed {
                    true => Threshold::NEVER,
                    false => Threshold::ALWAYS,
                }
            }
        };
        let wished = match item {
            Item::Span => span_priority(view, n),
            Item::Record => self.record_priority(view, n),
        };
        let (threshold, cause) = match wished {
            Some(threshold) => (threshold, Cause::Priority),
            None => (decided, found.cause),
        };
        let kept = threshold.keeps(found.randomness.unwrap_or(RANDOMNESS_MAX));
        s.counts[cause as usize][usize::from(kept)] += 1;
        if !kept {
            let rule = match (wished, found.trouble) {
                (Some(_), _) => 1,
                (None, Some(trouble)) => trouble as usize + 2,
                (None, None) => 0,
            };
            s.dropped[rule] += 1;
            view.remove_node(n);
        } else if found.carried.usable {
            write(item, view, n, &found, threshold, &mut s.text);
        }
    }

    fn threshold(&self, arrived: Option<Threshold>) -> Threshold {
        match self.decision {
            Decision::Never => Threshold::NEVER,
            Decision::Hash(threshold) => threshold,
            Decision::Equalizing(threshold) => arrived.map_or(threshold, |a| a.max(threshold)),
            Decision::Proportional(ratio) => {
                let before = arrived.map_or(1.0, Threshold::probability);
                Threshold::of(ratio * before, self.precision).unwrap_or(Threshold::NEVER)
            }
        }
    }

    fn find(&self, item: Item, view: &View<'_>, n: NodeId, s: &mut Scratch) -> Found {
        if self.decision == Decision::Never {
            return Found {
                randomness: Some(RANDOMNESS_MAX),
                cause: Cause::Randomness,
                carried: Carried::default(),
                write: None,
                trouble: None,
            };
        }
        let carried = match item {
            Item::Span => state(view, n).map(|state| Carried {
                usable: true,
                randomness: state.randomness(),
                threshold: state.threshold(),
            }),
            Item::Record => carried(view, n),
        };
        let unreadable = carried.is_err();
        let carried = carried.unwrap_or_default();
        let id = match item {
            Item::Span => view.text(n, SPAN_TRACE_ID),
            Item::Record => view.text(n, RECORD_TRACE_ID),
        };
        let mut found = Found {
            randomness: None,
            cause: Cause::Missing,
            carried,
            write: None,
            trouble: unreadable.then_some(Trouble::Unreadable),
        };
        if !matches!(self.decision, Decision::Hash(_)) {
            if !unreadable {
                let own = carried.randomness.map(|r| (r, Cause::Randomness));
                let of_id = || sampling::of_trace_id(id).map(|r| (r, Cause::TraceId));
                if let Some((randomness, cause)) = own.or_else(of_id) {
                    (found.randomness, found.cause) = (Some(randomness), cause);
                }
            }
            return found;
        }
        if self.by_trace_id && !sampling::is_no_id(id) {
            (found.randomness, found.cause) = (Some(sampling::of_hash(id, self.seed)), Cause::Hash);
        } else if item == Item::Record
            && !self.attribute.is_empty()
            && let Some(value) = view.get(n, &self.attribute)
        {
            let bytes = match value.any() {
                Any::Bytes(bytes) => bytes,
                _ => {
                    s.text.clear();
                    value.as_string(&mut s.text);
                    &s.text
                }
            };
            if !bytes.is_empty() {
                (found.randomness, found.cause) =
                    (Some(sampling::of_hash(bytes, self.seed)), Cause::Attribute);
            }
        }
        if unreadable {
            return found;
        }
        // Another sampler was here: what it wrote would be made wrong.
        if carried.randomness.is_some() {
            found.trouble = Some(Trouble::RandomnessInUse);
            found.carried = Carried::default();
        } else if carried.threshold.is_some() {
            found.trouble = Some(Trouble::ThresholdInUse);
            found.carried = Carried::default();
        } else {
            found.write = match item {
                Item::Span => Some(found.randomness.unwrap_or(RANDOMNESS_MAX)),
                Item::Record => found.randomness,
            };
        }
        found
    }

    /// The threshold that a log record asks for.
    fn record_priority(&self, view: &View<'_>, n: NodeId) -> Option<Threshold> {
        if self.priority.is_empty() {
            return None;
        }
        let percent = match view.get(n, &self.priority)?.any() {
            Any::Int(percent) => percent as f64,
            Any::Double(percent) => percent,
            _ => return None,
        };
        Threshold::of(percent / 100.0, self.precision)
    }
}

/// What can be wrong with what was found.
fn check(found: &Found) -> Option<Trouble> {
    let Some(randomness) = found.randomness else {
        return Some(Trouble::Missing);
    };
    let arrived = found.carried.threshold?;
    (!arrived.keeps(randomness)).then_some(Trouble::Inconsistent)
}

fn state<'v>(view: &'v View<'_>, n: NodeId) -> Result<TraceState<'v>, sampling::tracestate::Unreadable> {
    TraceState::parse(view.text(n, SPAN_TRACE_STATE))
}

/// What the attributes of a log record say.
fn carried(view: &View<'_>, n: NodeId) -> Result<Carried, sampling::tracestate::Unreadable> {
    let text = |key| {
        view.get(n, key)
            .and_then(|v| v.as_str())
            .filter(|t| !t.is_empty())
    };
    let threshold = text(THRESHOLD).map(|t| Threshold::parse(t).ok_or(sampling::tracestate::Unreadable));
    let randomness =
        text(RANDOMNESS).map(|t| sampling::parse_randomness(t).ok_or(sampling::tracestate::Unreadable));
    Ok(Carried {
        usable: true,
        threshold: threshold.transpose()?,
        randomness: randomness.transpose()?,
    })
}

/// The threshold that a span asks for: all, or none.
fn span_priority(view: &View<'_>, n: NodeId) -> Option<Threshold> {
    let priority = match view.get(n, PRIORITY)?.any() {
        Any::Int(priority) => priority as f64,
        Any::Double(priority) => priority,
        Any::Str(text) => actions::double(std::str::from_utf8(text).ok()?)?,
        _ => return None,
    };
    if priority == 0.0 {
        return Some(Threshold::NEVER);
    }
    (priority > 0.0).then_some(Threshold::ALWAYS)
}

/// Writes threshold and randomness to what stays. A threshold that would be lower than the arrived one is not written:
/// that would claim more than was seen.
fn write(
    item: Item,
    view: &mut View<'_>,
    n: NodeId,
    found: &Found,
    threshold: Threshold,
    text: &mut Vec<u8>,
) {
    let raised = found.carried.threshold.is_none_or(|arrived| arrived <= threshold);
    match item {
        Item::Record => {
            if raised {
                view.put(n, THRESHOLD, NewValue::Str(threshold.text().as_bytes()));
            }
        }
        Item::Span => {
            let Ok(state) = state(view, n) else {
                return;
            };
            text.clear();
            let update = Update {
                randomness: found.write,
                threshold: raised.then_some(threshold),
            };
            state.write(update, text);
            if view.text(n, SPAN_TRACE_STATE) != text.as_slice() {
                view.set_text(n, SPAN_TRACE_STATE, text);
            }
        }
    }
}

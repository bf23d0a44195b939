//! One item: its randomness, the threshold it meets, and what is written to it if it stays.

use wire::Signal;
use wire::view::{Any, Glance, Kind, NewValue, NodeId, Value, View};

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

impl Item {
    /// What is sampled of a signal.
    pub(super) fn of(signal: Signal) -> (Item, Kind) {
        match signal {
            Signal::Logs => (Item::Record, Kind::LogRecord),
            _ => (Item::Span, Kind::Span),
        }
    }

    fn fields(self) -> &'static [u32] {
        match self {
            Item::Span => &TEXTS,
            Item::Record => &[RECORD_TRACE_ID],
        }
    }
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

    fn count(&mut self, judged: &Judged) {
        self.counts[judged.cause as usize][usize::from(judged.kept)] += 1;
        if let Some(trouble) = judged.found.trouble {
            self.troubles[trouble as usize] += 1;
        }
        if !judged.kept {
            self.dropped[judged.rule] += 1;
        }
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

/// What was decided about an item.
struct Judged {
    found: Found,
    threshold: Threshold,
    cause: Cause,
    kept: bool,
    /// Place in [`RULES`], if it is not kept.
    rule: usize,
}

/// Where an item is read: in a view, or in its bytes.
trait Look {
    /// A text field; empty if absent.
    fn text(&self, field: u32) -> &[u8];
    /// The first attribute with this key; of bytes only one that was asked for.
    fn get(&self, key: &[u8]) -> Option<Value<'_>>;
}

impl Look for (&View<'_>, NodeId) {
    fn text(&self, field: u32) -> &[u8] {
        self.0.text(self.1, field)
    }

    fn get(&self, key: &[u8]) -> Option<Value<'_>> {
        self.0.get(self.1, key)
    }
}

/// Text fields and attributes of one item that are read.
const TEXTS: [u32; 2] = [SPAN_TRACE_ID, SPAN_TRACE_STATE];
const KEYS_MAX: usize = 4;

struct Glanced<'a> {
    fields: &'a [u32],
    keys: &'a [Vec<u8>],
    texts: [&'a [u8]; TEXTS.len()],
    values: [Option<Value<'a>>; KEYS_MAX],
}

impl Look for Glanced<'_> {
    fn text(&self, field: u32) -> &[u8] {
        let at = self.fields.iter().position(|f| *f == field);
        at.map_or(&[], |at| self.texts[at])
    }

    fn get(&self, key: &[u8]) -> Option<Value<'_>> {
        let at = self.keys.iter().position(|k| k == key)?;
        self.values[at]
    }
}

impl Rules {
    /// What of an item's bytes is needed to decide about it.
    pub(super) fn glance(&self, signal: Signal) -> Glance {
        let (item, kind) = Item::of(signal);
        let keys = match item {
            Item::Span => vec![PRIORITY],
            Item::Record => vec![THRESHOLD, RANDOMNESS, &self.attribute, &self.priority],
        };
        let keys = keys.into_iter().filter(|key| !key.is_empty()).map(<[u8]>::to_vec);
        Glance::new(signal, kind, item.fields(), keys.collect())
    }

    /// Whether the item stays, given its bytes. One that does is not counted: it is [decided](Rules::decide) on again.
    pub(super) fn passes(&self, item: Item, glance: &Glance, bytes: &[u8], s: &mut Scratch) -> bool {
        let mut seen = Glanced {
            fields: item.fields(),
            keys: glance.keys(),
            texts: [&[]; TEXTS.len()],
            values: [None; KEYS_MAX],
        };
        if glance.look(bytes, &mut seen.texts, &mut seen.values).is_err() {
            // The index says what is wrong with it.
            return true;
        }
        let judged = self.judge(item, &seen, &mut s.text);
        if !judged.kept {
            s.count(&judged);
        }
        judged.kept
    }

    /// Keeps the item and writes its threshold, or removes it.
    pub(super) fn decide(&self, item: Item, view: &mut View<'_>, n: NodeId, s: &mut Scratch) {
        let judged = self.judge(item, &(&*view, n), &mut s.text);
        s.count(&judged);
        if !judged.kept {
            return view.remove_node(n);
        }
        let Judged { found, threshold, .. } = judged;
        if item == Item::Record {
            if let Some(randomness) = found.write {
                view.put(n, RANDOMNESS, NewValue::Str(&sampling::digits(randomness)));
            }
            if found.trouble == Some(Trouble::Inconsistent)
                && let Some(at) = view.find(n, THRESHOLD)
            {
                view.remove(n, at);
            }
        }
        if found.carried.usable {
            write(item, view, n, &found, threshold, &mut s.text);
        }
    }

    fn judge(&self, item: Item, look: &impl Look, text: &mut Vec<u8>) -> Judged {
        let mut found = self.find(item, look, text);
        if found.trouble.is_none() {
            found.trouble = check(&found);
            if found.trouble == Some(Trouble::Inconsistent) {
                found.carried.threshold = None;
            }
        }
        let decided = match (found.trouble, self.fail_closed) {
            (None, _) => self.threshold(found.carried.threshold),
            (Some(_), true) => Threshold::NEVER,
            (Some(_), false) => Threshold::ALWAYS,
        };
        let wished = match item {
            Item::Span => span_priority(look),
            Item::Record => self.record_priority(look),
        };
        let (threshold, cause) = match wished {
            Some(threshold) => (threshold, Cause::Priority),
            None => (decided, found.cause),
        };
        Judged {
            threshold,
            cause,
            kept: threshold.keeps(found.randomness.unwrap_or(RANDOMNESS_MAX)),
            rule: match (wished, found.trouble) {
                (Some(_), _) => 1,
                (None, Some(trouble)) => trouble as usize + 2,
                (None, None) => 0,
            },
            found,
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

    fn find(&self, item: Item, look: &impl Look, text: &mut Vec<u8>) -> Found {
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
            Item::Span => TraceState::parse(look.text(SPAN_TRACE_STATE)).map(|state| Carried {
                usable: true,
                randomness: state.randomness(),
                threshold: state.threshold(),
            }),
            Item::Record => carried(look),
        };
        let unreadable = carried.is_err();
        let carried = carried.unwrap_or_default();
        let id = match item {
            Item::Span => look.text(SPAN_TRACE_ID),
            Item::Record => look.text(RECORD_TRACE_ID),
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
            && let Some(value) = look.get(&self.attribute)
        {
            let bytes = match value.any() {
                Any::Bytes(bytes) => bytes,
                _ => {
                    text.clear();
                    value.as_string(text);
                    text
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
    fn record_priority(&self, look: &impl Look) -> Option<Threshold> {
        if self.priority.is_empty() {
            return None;
        }
        let percent = match look.get(&self.priority)?.any() {
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

/// What the attributes of a log record say.
fn carried(look: &impl Look) -> Result<Carried, sampling::tracestate::Unreadable> {
    let text = |key| look.get(key).and_then(|v| v.as_str()).filter(|t| !t.is_empty());
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
fn span_priority(look: &impl Look) -> Option<Threshold> {
    let priority = match look.get(PRIORITY)?.any() {
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
            let Ok(state) = TraceState::parse(view.text(n, SPAN_TRACE_STATE)) else {
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

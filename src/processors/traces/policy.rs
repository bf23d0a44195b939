//! Policies: what each says of one trace, seen as a view of all its spans.

use codec::pattern::{Pattern, PatternCache};
use component::statements::with_env;
use ottl::{ErrorMode, Program};
use parking_lot::Mutex;
use tokio::time::Instant;
use wire::Context;
use wire::view::{Any, Kind, NodeId, Value, View};

use super::bucket::Bucket;
use crate::sampling::tracestate;
use crate::traces::TraceId;

/// Fields of a span.
const TRACE_STATE: u32 = 3;
const START: u32 = 7;
const END: u32 = 8;
const STATUS: u32 = 15;
const FLAGS: u32 = 16;
/// Field of a status.
const CODE: u32 = 3;

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Sampled,
    NotSampled,
    /// The trace goes, whatever others say.
    Dropped,
}

/// A trace to be decided on.
pub(crate) struct Trace<'t, 'v> {
    pub(crate) view: &'t View<'v>,
    pub(crate) id: TraceId,
    pub(crate) spans: u64,
    /// Encoded.
    pub(crate) bytes: u64,
    pub(crate) now: Instant,
}

/// Memory of those who ask policies. Reused.
#[derive(Default)]
pub(crate) struct Scratch {
    /// By number of the pattern.
    patterns: Vec<Option<PatternCache>>,
    ottl: ottl::Scratch,
    /// Statements that failed.
    pub(crate) errors: u64,
    /// Number of the policy within a composite one that sampled the trace last.
    pub(crate) sub: Option<u16>,
}

/// A policy could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

/// What is asked.
#[derive(Debug)]
pub(crate) enum Policy {
    Always,
    /// Milliseconds; an upper bound of 0 is none.
    Latency {
        above: i64,
        up_to: i64,
    },
    Numeric {
        key: Vec<u8>,
        min: Option<i64>,
        max: Option<i64>,
        inverted: bool,
    },
    Probabilistic {
        salt: Vec<u8>,
        up_to: u64,
    },
    /// By number of the code.
    Status([bool; 3]),
    Text {
        key: Vec<u8>,
        values: Texts,
        inverted: bool,
    },
    Boolean {
        key: Vec<u8>,
        value: bool,
        inverted: bool,
    },
    TraceState {
        key: Vec<u8>,
        values: Vec<Vec<u8>>,
    },
    TraceFlags,
    /// A maximum of 0 is none.
    SpanCount {
        min: u64,
        max: u64,
    },
    Spans(Mutex<Bucket>),
    Bytes(Mutex<Bucket>),
    Ottl {
        span: Option<Program>,
        event: Option<Program>,
        mode: ErrorMode,
    },
    And(Vec<Policy>),
    Not(Box<Policy>),
    Drop(Vec<Policy>),
    Composite(Composite),
}

/// What a text is compared with.
#[derive(Debug)]
pub(crate) enum Texts {
    Exact(Vec<Vec<u8>>),
    /// Each with its number among all patterns of the processor.
    Patterns(Vec<(usize, Pattern)>),
}

/// Policies with a share of spans per second each.
#[derive(Debug)]
pub(crate) struct Composite {
    pub(crate) max: i64,
    pub(crate) subs: Vec<(Policy, i64)>,
    /// Number of the first of them among all sub-policies of the processor.
    pub(crate) first: u16,
    pub(crate) spent: Mutex<Spent>,
}

/// What each sub-policy let pass in this second.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    pub(crate) second: u64,
    pub(crate) spans: Vec<i64>,
}

impl Policy {
    /// Whether what it says depends on more than the trace: on what came before, or on what is still to come.
    pub(crate) fn is_stateful(&self) -> bool {
        match self {
            Policy::Latency { up_to, .. } => *up_to > 0,
            Policy::SpanCount { max, .. } => *max > 0,
            Policy::Spans(_) | Policy::Bytes(_) => true,
            Policy::And(subs) | Policy::Drop(subs) => subs.iter().any(Policy::is_stateful),
            Policy::Not(sub) => sub.is_stateful(),
            Policy::Composite(_) => true,
            _ => false,
        }
    }

    /// Asks it.
    pub(crate) fn ask(&self, trace: &Trace<'_, '_>, s: &mut Scratch) -> Result<Verdict, Failed> {
        let view = trace.view;
        let sampled = match self {
            Policy::Always => true,
            Policy::Latency { above, up_to } => is_slow(view, *above, *up_to),
            Policy::Numeric {
                key,
                min,
                max,
                inverted,
            } => any_value(view, key, *inverted, |value, _| {
                let value = match value.any() {
                    Any::Int(value) => value,
                    _ => 0,
                };
                min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max)
            }),
            Policy::Probabilistic { salt, up_to } => fnv(salt, &trace.id) <= *up_to,
            Policy::Status(wanted) => spans(view).any(|n| {
                let code = status(view, n) as usize;
                wanted.get(code).copied().unwrap_or(false)
            }),
            Policy::Text {
                key,
                values,
                inverted,
            } => any_value(view, key, *inverted, |value, is_span| {
                let text = match value.any() {
                    Any::Str(text) => text,
                    _ => b"",
                };
                (!text.is_empty() || !is_span) && values.match_any(text, s)
            }),
            Policy::Boolean { key, value, inverted } => any_value(view, key, *inverted, |found, _| {
                matches!(found.any(), Any::Bool(true)) == *value
            }),
            Policy::TraceState { key, values } => spans(view).any(|n| {
                let found = tracestate::get(view.text(n, TRACE_STATE), key);
                found.is_some_and(|found| values.iter().any(|v| v == found))
            }),
            Policy::TraceFlags => spans(view).any(|n| view.number(n, FLAGS).unwrap_or(0) & 1 == 1),
            Policy::SpanCount { min, max } => trace.spans >= *min && (*max == 0 || trace.spans <= *max),
            Policy::Spans(bucket) => bucket.lock().take(trace.now, trace.spans),
            Policy::Bytes(bucket) => bucket.lock().take(trace.now, trace.bytes),
            Policy::Ottl { span, event, mode } => {
                return matches_any(view, [(Kind::Span, span), (Kind::Event, event)], *mode, s);
            }
            Policy::And(subs) => return all(subs, trace, s).map(Verdict::sampled),
            Policy::Not(sub) => return Ok(Verdict::sampled(sub.ask(trace, s)? == Verdict::NotSampled)),
            Policy::Drop(subs) => {
                return all(subs, trace, s).map(|all| match all {
                    true => Verdict::Dropped,
                    false => Verdict::NotSampled,
                });
            }
            Policy::Composite(composite) => return composite.ask(trace, s),
        };
        Ok(Verdict::sampled(sampled))
    }
}

impl Verdict {
    fn sampled(yes: bool) -> Verdict {
        match yes {
            true => Verdict::Sampled,
            false => Verdict::NotSampled,
        }
    }
}

impl Texts {
    fn match_any(&self, text: &[u8], s: &mut Scratch) -> bool {
        match self {
            Texts::Exact(values) => values.iter().any(|v| v == text),
            Texts::Patterns(patterns) => patterns.iter().any(|(number, pattern)| {
                if s.patterns.len() <= *number {
                    s.patterns.resize_with(number + 1, || None);
                }
                let cache = s.patterns[*number].get_or_insert_with(|| pattern.cache());
                pattern.is_match(cache, text)
            }),
        }
    }
}

impl Composite {
    fn ask(&self, trace: &Trace<'_, '_>, s: &mut Scratch) -> Result<Verdict, Failed> {
        let second = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default()
            .as_secs();
        self.ask_in(second, trace, s)
    }

    /// The first sub-policy that would sample the trace decides, by what is left of its share.
    pub(crate) fn ask_in(
        &self,
        second: u64,
        trace: &Trace<'_, '_>,
        s: &mut Scratch,
    ) -> Result<Verdict, Failed> {
        let mut spent = self.spent.lock();
        if spent.second != second {
            spent.second = second;
            spent.spans.clear();
        }
        spent.spans.resize(self.subs.len(), 0);
        let numbered = (self.first..).zip(&self.subs);
        for ((number, (sub, share)), spent) in numbered.zip(&mut spent.spans) {
            if sub.ask(trace, s)? == Verdict::Sampled {
                let wanted = *spent + trace.spans as i64;
                let fits = wanted <= *share && wanted <= self.max;
                if fits {
                    *spent = wanted;
                    s.sub = Some(number);
                }
                return Ok(Verdict::sampled(fits));
            }
        }
        Ok(Verdict::NotSampled)
    }
}

fn all(subs: &[Policy], trace: &Trace<'_, '_>, s: &mut Scratch) -> Result<bool, Failed> {
    for sub in subs {
        if sub.ask(trace, s)? != Verdict::Sampled {
            return Ok(false);
        }
    }
    Ok(true)
}

/// All spans.
pub(crate) fn spans<'v>(view: &'v View<'_>) -> impl Iterator<Item = NodeId> + 'v {
    view.nodes().filter(|n| view.kind(*n) == Kind::Span)
}

/// Number of a span's status code.
pub(crate) fn status(view: &View<'_>, n: NodeId) -> u64 {
    let message = view.text(n, STATUS);
    let fields = wire::field::Fields::new(message, 0).map_while(Result::ok);
    let code = fields
        .filter(|f| f.number == CODE && f.wire == wire::field::VARINT)
        .last();
    code.and_then(|f| wire::varint::read(message, &mut f.value.clone()).ok())
        .unwrap_or(0)
}

/// Whether an attribute of a resource or span passes; inverted, whether none does. `pass` is told whether it is a span's.
fn any_value(
    view: &View<'_>,
    key: &[u8],
    inverted: bool,
    mut pass: impl FnMut(Value<'_>, bool) -> bool,
) -> bool {
    let found = view.nodes().any(|n| {
        let kind = view.kind(n);
        matches!(kind, Kind::Resource | Kind::Span)
            && view
                .get(n, key)
                .is_some_and(|value| pass(value, kind == Kind::Span))
    });
    found != inverted
}

/// Whether the time from the first beginning to the last end, in whole milliseconds, is at least `above`; or with an
/// upper bound, whether it lies between the two after any of the spans.
fn is_slow(view: &View<'_>, above: i64, up_to: i64) -> bool {
    let (mut first, mut last) = (0, 0);
    spans(view).any(|n| {
        let (start, end) = times(view, n);
        first = if first == 0 { start } else { start.min(first) };
        last = end.max(last);
        let took = i64::try_from((i128::from(last) - i128::from(first)) / 1_000_000).unwrap_or(i64::MAX);
        match up_to {
            0 => took >= above,
            _ => above < took && took <= up_to,
        }
    })
}

/// When a span began and ended, in nanoseconds since 1970.
pub(crate) fn times(view: &View<'_>, n: NodeId) -> (u64, u64) {
    (
        view.number(n, START).unwrap_or(0),
        view.number(n, END).unwrap_or(0),
    )
}

fn matches_any(
    view: &View<'_>,
    programs: [(Kind, &Option<Program>); 2],
    mode: ErrorMode,
    s: &mut Scratch,
) -> Result<Verdict, Failed> {
    let (ottl, errors) = (&mut s.ottl, &mut s.errors);
    with_env(&Context::default(), |env| {
        for (wanted, program) in programs {
            let Some(program) = program else { continue };
            for n in view.nodes().filter(|n| view.kind(*n) == wanted) {
                match program.matches(view, n, env, ottl, mode, &mut |_, _| *errors += 1) {
                    Ok(true) => return Ok(Verdict::Sampled),
                    Ok(false) => {}
                    Err(_) => return Err(Failed),
                }
            }
        }
        Ok(Verdict::NotSampled)
    })
}

/// FNV-1a of 64 bits.
fn fnv(salt: &[u8], id: &TraceId) -> u64 {
    salt.iter().chain(id).fold(0xcbf2_9ce4_8422_2325, |hash, b| {
        (hash ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The largest hash that is kept at a share: (2^64 - 1) times the share, rounded to 64 significant bits, then cut to a
/// whole number, as the collector computes it.
pub(crate) fn hash_up_to(percent: f64) -> u64 {
    let share = percent / 100.0;
    // NaN is refused by the configuration.
    if share <= 0.0 {
        return 0;
    }
    if share >= 1.0 {
        return u64::MAX;
    }
    let bits = share.to_bits();
    let exponent = (bits >> 52) as i32;
    let mantissa = match exponent {
        0 => bits & ((1 << 52) - 1),
        _ => bits & ((1 << 52) - 1) | 1 << 52,
    };
    // The share is `mantissa` times 2 to the power of this, which is below -52.
    let power = exponent.max(1) - 1075;
    let mut product = u128::from(mantissa) * u128::from(u64::MAX);
    let excess = (128 - product.leading_zeros()).saturating_sub(64);
    if excess > 0 {
        let rest = product & ((1 << excess) - 1);
        let half = 1 << (excess - 1);
        product >>= excess;
        if rest > half || rest == half && product & 1 == 1 {
            product += 1;
        }
        product <<= excess;
    }
    product.checked_shr(power.unsigned_abs()).unwrap_or(0) as u64
}

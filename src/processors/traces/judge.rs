//! One trace after another: what all policies together say, and why.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use wire::Signal;
use wire::view::{Depth, Finished, Kind, NewValue, Scratch as Memory, View};

use super::meters::Meters;
use super::policy::{self, Policy, Scratch, Trace, Verdict};
use crate::sampling::tracestate::{TraceState, Update};
use crate::sampling::{self, Threshold};
use crate::traces::TraceId;
use crate::traces::pieces::{Piece, assemble};

/// Field of a span.
const TRACE_STATE: u32 = 3;
/// Code of a status that is an error.
const ERROR: u64 = 2;
/// The budget of those whose own was one too many.
const OTHER: &[u8] = b"other";

/// Policies, and what stands above and below them.
pub(crate) struct Judge {
    /// Those that drop come first.
    pub(crate) policies: Vec<Named>,
    pub(crate) keep: Option<Keep>,
    pub(crate) budget: Option<Budget>,
    pub(crate) first_match: bool,
    /// Names of all policies within composite ones, by their number.
    pub(crate) subs: Vec<String>,
    /// What sampled a trace is written to its scopes.
    pub(crate) records: bool,
}

/// A policy with its name.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) policy: Policy,
}

/// What stays whatever policies and budgets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    pub(crate) errors: bool,
    /// In nanoseconds.
    pub(crate) slower_than: Option<u64>,
}

/// Spans a second, for each value of something.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Budget {
    pub(crate) by: By,
    pub(crate) spans_per_second: f64,
    /// Most values that have a budget of their own.
    pub(crate) keys_max: usize,
}

/// What has a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Tenant,
    /// A resource attribute.
    Attribute(Vec<u8>),
}

/// Why a trace was decided on as it was: its place in the rules of the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Number of the policy.
    Policy(u16),
    Keep,
    Budget,
    TooLarge,
    /// There is no policy that could say no.
    Nothing,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Reason,
    /// What is written to spans that stay; `ALWAYS` writes nothing.
    pub(crate) threshold: Threshold,
    /// Number of the policy within a composite one that sampled the trace.
    pub(crate) sub: Option<u16>,
}

/// When spans of a sampled trace go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// As it is decided.
    Due,
    /// After that.
    Late,
    /// After that, when only its id is known.
    Cached,
}

/// What is written to the scopes of spans that go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks<'j> {
    policy: Option<&'j str>,
    sub: Option<&'j str>,
    is_cached: bool,
}

impl Decision {
    pub(crate) fn of(verdict: Verdict, reason: Reason) -> Decision {
        Decision {
            verdict,
            reason,
            threshold: Threshold::ALWAYS,
            sub: None,
        }
    }

    pub(crate) fn is_sampled(&self) -> bool {
        self.verdict == Verdict::Sampled
    }
}

/// Memory of one who judges. Reused.
#[derive(Default)]
pub(crate) struct Desk {
    bytes: Vec<u8>,
    view: Memory,
    policies: Scratch,
    /// What each budget has left, by key.
    budgets: HashMap<Arc<[u8]>, f64>,
}

/// A trace that policies sampled, before its budget is asked.
pub(crate) struct Candidate<K> {
    pub(crate) key: K,
    pub(crate) spans: u64,
    pub(crate) decision: Decision,
    randomness: u64,
    budget: Arc<[u8]>,
}

impl Judge {
    /// Whether traces pass without being looked at.
    pub(crate) fn is_blind(&self) -> bool {
        self.policies.is_empty() && self.keep.is_none()
    }

    /// Whether every policy looks at what came alone.
    pub(crate) fn stateful(&self) -> Option<&str> {
        self.policies
            .iter()
            .find(|p| p.policy.is_stateful())
            .map(|p| p.name.as_str())
    }

    pub(crate) fn drops(&self) -> bool {
        self.policies.iter().any(|p| matches!(p.policy, Policy::Drop(_)))
    }

    /// What the policies say of the trace that these pieces make; it stays on the desk, for [`Desk::take`].
    pub(crate) fn decide(
        &self,
        id: TraceId,
        pieces: &[Piece],
        now: Instant,
        desk: &mut Desk,
        meters: &Meters,
    ) -> Decision {
        let spans = pieces.iter().map(|p| u64::from(p.spans())).sum();
        desk.lay_out(pieces);
        if self.is_blind() {
            return Decision::of(Verdict::Sampled, Reason::Nothing);
        }
        let Ok(view) = View::new(&mut desk.view, Signal::Traces, &desk.bytes, Depth::All) else {
            // It was valid in parts. Nothing is dropped for what cannot be.
            return Decision::of(Verdict::Sampled, Reason::Nothing);
        };
        if self.keep.is_some_and(|keep| keep.wants(&view)) {
            return Decision::of(Verdict::Sampled, Reason::Keep);
        }
        let trace = Trace {
            id,
            spans,
            bytes: desk.bytes.len() as u64,
            now,
            view: &view,
        };
        let mut sampled = None;
        let mut last = 0;
        desk.policies.sub = None;
        for (i, named) in self.policies.iter().enumerate() {
            let begun = Instant::now();
            let said = named.policy.ask(&trace, &mut desk.policies);
            meters.asked(i, begun.elapsed());
            let Ok(verdict) = said else {
                meters.evaluation_errors.add(1);
                continue;
            };
            meters.said(i, verdict, spans, trace.bytes);
            match verdict {
                Verdict::Dropped => return Decision::of(verdict, Reason::Policy(i as u16)),
                Verdict::Sampled => sampled = sampled.or(Some(i)),
                Verdict::NotSampled => last = i,
            }
            if sampled.is_some() && self.first_match {
                break;
            }
        }
        meters
            .evaluation_errors
            .add(std::mem::take(&mut desk.policies.errors));
        match sampled {
            Some(i) => Decision {
                sub: desk.policies.sub,
                ..Decision::of(Verdict::Sampled, Reason::Policy(i as u16))
            },
            None => Decision::of(Verdict::NotSampled, Reason::Policy(last as u16)),
        }
    }

    /// What is written to the scopes of a sampled trace.
    pub(crate) fn marks(&self, decision: &Decision, release: Release) -> Marks<'_> {
        let named = |i: u16| self.policies.get(usize::from(i)).map(|p| p.name.as_str());
        match decision.reason {
            _ if !self.records => Marks::default(),
            Reason::Policy(i) => Marks {
                policy: named(i),
                sub: (decision.sub.filter(|_| release == Release::Due))
                    .and_then(|sub| self.subs.get(usize::from(sub)).map(String::as_str)),
                is_cached: release == Release::Cached,
            },
            _ => Marks {
                is_cached: release == Release::Cached,
                ..Marks::default()
            },
        }
    }

    /// The trace on the desk as one that its budget may have to let go; none if it need not be asked.
    pub(crate) fn candidate<K>(
        &self,
        key: K,
        tenant: Option<&Arc<str>>,
        id: TraceId,
        decision: Decision,
        desk: &mut Desk,
    ) -> Result<Candidate<K>, K> {
        let Some(budget) = &self.budget else {
            return Err(key);
        };
        if !decision.is_sampled() || decision.reason == Reason::Keep {
            return Err(key);
        }
        let Ok(view) = View::new(&mut desk.view, Signal::Traces, &desk.bytes, Depth::Record) else {
            return Err(key);
        };
        let name: Arc<[u8]> = match &budget.by {
            By::Tenant => tenant.map_or(&b""[..], |t| t.as_bytes()).into(),
            By::Attribute(name) => {
                let mut text = Vec::new();
                let resources = view.nodes().filter(|n| view.kind(*n) == Kind::Resource);
                if let Some(value) = resources.filter_map(|n| view.get(n, name)).next() {
                    value.as_string(&mut text);
                }
                text.into()
            }
        };
        let own = || {
            let states = policy::spans(&view).map(|n| view.text(n, TRACE_STATE));
            states
                .filter_map(|text| TraceState::parse(text).ok()?.randomness())
                .next()
        };
        let randomness = own().or_else(|| sampling::of_trace_id(&id)).unwrap_or(0);
        let spans = policy::spans(&view).count() as u64;
        let name = match desk.budgets.contains_key(&name) || desk.budgets.len() < budget.keys_max {
            true => name,
            false => OTHER.into(),
        };
        desk.budgets
            .entry(name.clone())
            .or_insert(budget.spans_per_second);
        Ok(Candidate {
            key,
            spans,
            decision,
            randomness,
            budget: name,
        })
    }

    /// Fills the budgets for a tick's time.
    pub(crate) fn refill(&self, desk: &mut Desk, seconds: f64) {
        let Some(budget) = &self.budget else { return };
        let (more, most) = (
            budget.spans_per_second * seconds,
            budget.spans_per_second.max(1.0),
        );
        // One that is full is like one that was never asked.
        desk.budgets.retain(|_, left| {
            *left = (*left + more).min(most);
            *left < most
        });
    }

    /// Asks the budgets: of each, those traces stay whose randomness is highest, and the threshold that comes of this
    /// is theirs. The last one to stay may overdraw; that is repaid before anything else is let pass.
    pub(crate) fn within_budget<K>(&self, candidates: &mut [Candidate<K>], desk: &mut Desk) {
        candidates.sort_by(|a, b| (&a.budget, b.randomness).cmp(&(&b.budget, a.randomness)));
        for group in candidates.chunk_by_mut(|a, b| a.budget == b.budget) {
            let left = desk.budgets.entry(group[0].budget.clone()).or_default();
            let mut fits = 0;
            let mut spent = 0.0;
            while fits < group.len() && *left - spent > 0.0 {
                spent += group[fits].spans as f64;
                fits += 1;
            }
            let threshold = match group.get(fits) {
                None => Threshold::ALWAYS,
                Some(first_out) => Threshold::above(first_out.randomness),
            };
            for candidate in group {
                if threshold.keeps(candidate.randomness) {
                    candidate.decision.threshold = threshold;
                    *left -= candidate.spans as f64;
                } else {
                    candidate.decision = Decision::of(Verdict::NotSampled, Reason::Budget);
                }
            }
        }
    }
}

impl Keep {
    fn wants(self, view: &View<'_>) -> bool {
        let (mut first, mut last) = (u64::MAX, 0);
        for n in policy::spans(view) {
            if self.errors && policy::status(view, n) == ERROR {
                return true;
            }
            let (start, end) = policy::times(view, n);
            first = start.min(first);
            last = end.max(last);
        }
        self.slower_than
            .is_some_and(|most| last.saturating_sub(first) > most)
    }
}

impl Desk {
    /// Lays a trace out.
    pub(crate) fn lay_out(&mut self, pieces: &[Piece]) {
        self.bytes.clear();
        assemble(pieces, &mut self.bytes);
    }

    /// The trace that was laid out, as a request; with this threshold written to its spans, and these marks to its scopes.
    pub(crate) fn take(&mut self, threshold: Threshold, marks: Marks<'_>) -> Bytes {
        let is_written = threshold != Threshold::ALWAYS || marks != Marks::default();
        if is_written
            && let Ok(mut view) = View::new(&mut self.view, Signal::Traces, &self.bytes, Depth::Record)
        {
            if threshold != Threshold::ALWAYS {
                raise(&mut view, threshold);
            }
            marks.write(&mut view);
            if let Finished::Edited { bytes, .. } = view.finish() {
                return bytes.into();
            }
        }
        Bytes::copy_from_slice(&self.bytes)
    }
}

impl Marks<'_> {
    fn write(self, view: &mut View<'_>) {
        for n in view.nodes() {
            if view.kind(n) != Kind::Scope {
                continue;
            }
            for (key, name) in [
                (&b"tailsampling.policy"[..], self.policy),
                (b"tailsampling.composite_policy", self.sub),
            ] {
                if let Some(name) = name {
                    view.put(n, key, NewValue::Str(name.as_bytes()));
                }
            }
            if self.is_cached {
                view.put(n, b"tailsampling.cached_decision", NewValue::Bool(true));
            }
        }
    }
}

/// Raises the threshold of every span; one that has a higher one keeps that.
fn raise(view: &mut View<'_>, threshold: Threshold) {
    let mut text = Vec::new();
    for n in view.nodes() {
        if view.kind(n) != Kind::Span {
            continue;
        }
        let Ok(state) = TraceState::parse(view.text(n, TRACE_STATE)) else {
            continue;
        };
        if state.threshold().is_some_and(|arrived| arrived >= threshold) {
            continue;
        }
        text.clear();
        let update = Update {
            randomness: None,
            threshold: Some(threshold),
        };
        state.write(update, &mut text);
        view.set_text(n, TRACE_STATE, &text);
    }
}

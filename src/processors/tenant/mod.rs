//! Processor `tenant`: says whose each resource is, and how much each tenant may send.
//!
//! In: a payload of any resources. Out: the same records, with a chunk for each tenant that knows whose it is; what is of
//! one tenant stays the very bytes that came. The name goes with the chunk through batches, queues and journal; exporters
//! use it as `%{tenant}`. A request that is all of unknown tenants, or all over a rate, is refused before any pipeline
//! has seen it; of others that part is rejected and the client is told (`partial_success`). Place it before processors
//! that write: behind them it can reject, but no longer refuse in time.

mod config;
mod directory;
mod rate;
#[cfg(test)]
mod redteam;
mod source;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::time::Duration as Span;

use component::prelude::*;
use telemetry::Counter;
use tokio::time::Instant;
use wire::view::{Scratch, View};
use wire::{Part, divide};

pub use self::config::Config;
use self::config::Unknown;
use self::directory::Known;
use self::rate::Amount;
use self::source::{ByContext, Given, Sources, Whose};

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "tenant",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Alpha),
        (Signal::Metrics, Stability::Alpha),
        (Signal::Logs, Stability::Alpha),
    ],
    hold: Hold::PassThrough,
    build: |section, cx, signal| {
        let config: Config = section.parse_valid()?;
        Ok(Processor::Reshape(Arc::new(Tenants::new(&config, cx, signal)?)))
    },
};

/// Tenants in one request; one with more is not of telemetry.
const TENANTS_MAX: usize = 1000;
const UNKNOWN: &str = "tenant_unknown";
const TOO_MANY: &str = "tenant_too_many";
const OVER_RATE: &str = "tenant_rate";

struct Tenants {
    sources: Sources,
    /// For what has no name; `None` = it is refused.
    fallback: Option<Arc<Known>>,
    limits: bool,
    unknown: Refusals,
    too_many: Refusals,
    over_rate: Refusals,
}

/// Counters of what was not taken, for one reason.
struct Refusals {
    refused: Counter,
    rejected: Counter,
}

/// What one tenant has in a request.
struct Portion {
    whose: Whose,
    chunks: Vec<Chunk>,
    items: u64,
    bytes: usize,
}

impl Portion {
    fn amount(&self) -> Amount {
        Amount::new(self.items, self.bytes)
    }

    /// How long until its tenant may send it; zero for who is not limited.
    fn wait(&self, now: Instant) -> Span {
        let bucket = match &self.whose {
            Whose::Known(known) => known.bucket.as_ref(),
            Whose::Nobody | Whose::TooMany => None,
        };
        bucket.map_or(Span::ZERO, |bucket| bucket.wait(self.amount(), now))
    }
}

thread_local! {
    /// Grows to the largest chunk a worker has seen; nothing awaits while it is borrowed.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Tenants {
    fn new(config: &Config, cx: &BuildContext, signal: Signal) -> Result<Tenants, Fault> {
        let sources = Sources::new(config, cx, signal)?;
        let fallback = match &config.unknown {
            Unknown::Refuse => None,
            Unknown::Default(name) | Unknown::Quarantine(name) => sources.known(name),
        };
        let refusals = |reason: &str| {
            let count = |answer: &str| {
                let labels = vec![
                    ("processor", cx.id.to_string()),
                    ("signal", signal.as_str().to_owned()),
                    ("reason", reason.to_owned()),
                    ("answer", answer.to_owned()),
                ];
                cx.telemetry.metrics.counter("weir_tenant_refused_items", labels)
            };
            Refusals {
                refused: count("refused"),
                rejected: count("rejected"),
            }
        };
        let limits = &config.limits;
        Ok(Tenants {
            sources,
            fallback,
            limits: limits.default.is_limit() || limits.tenants.values().any(|rate| rate.is_limit()),
            unknown: refusals(UNKNOWN),
            too_many: refusals(TOO_MANY),
            over_rate: refusals(OVER_RATE),
        })
    }

    /// What of a payload is whose, in the order in which they first come.
    fn portions(&self, payload: &Payload, now: Instant) -> Result<Vec<Portion>, Refusal> {
        let mut portions: Vec<Portion> = Vec::with_capacity(1);
        match self.sources.by_context(&payload.context, now) {
            ByContext::All(whose) => {
                let whose = self.settled(whose);
                for chunk in &payload.chunks {
                    add(&mut portions, &whose, chunk.clone());
                }
            }
            ByContext::Each(given) => {
                for chunk in &payload.chunks {
                    self.divide(payload.signal, chunk.clone(), &given, now, &mut portions)?;
                }
            }
        }
        Ok(portions)
    }

    fn divide(
        &self,
        signal: Signal,
        mut chunk: Chunk,
        given: &[Given],
        now: Instant,
        portions: &mut Vec<Portion>,
    ) -> Result<(), Refusal> {
        let malformed = |error: wire::Malformed| Refusal::Invalid(error.to_string());
        // What a reader in Go would see in it decides whose it is.
        chunk.make_canonical(signal).map_err(malformed)?;
        let bytes = chunk.make_whole();
        let mut all: Vec<Whose> = Vec::new();
        let mut labels = Vec::new();
        SCRATCH.with_borrow_mut(|scratch| {
            let view = View::new(scratch, signal, &bytes, Depth::Resource).map_err(malformed)?;
            for node in view.nodes().filter(|n| Part::Resource.is(view.kind(*n))) {
                let whose = self.settled(self.sources.of_resource(&view, node, given, now));
                let last = labels.last().map(|label| usize::from(*label));
                let same = last.filter(|at| all[*at].is(&whose));
                let at = same.or_else(|| all.iter().position(|known| known.is(&whose)));
                labels.push(at.unwrap_or(all.len()) as u16);
                if at.is_none() {
                    all.push(whose);
                }
                if all.len() > TENANTS_MAX {
                    return Err(Refusal::Invalid(format!(
                        "more than {TENANTS_MAX} tenants in one request"
                    )));
                }
            }
            Ok(())
        })?;
        for (label, part) in divide(signal, &chunk, Part::Resource, &labels) {
            add(portions, &all[usize::from(label)], part);
        }
        Ok(())
    }

    /// What has no name is the fallback's, if there is one.
    fn settled(&self, whose: Whose) -> Whose {
        match (&whose, &self.fallback) {
            (Whose::Nobody | Whose::TooMany, Some(fallback)) => Whose::Known(fallback.clone()),
            _ => whose,
        }
    }

    /// Why a portion cannot pass whatever its tenant has left: the rule, its counters, and what the client is told.
    fn unknown(&self, whose: &Whose) -> Option<(&'static str, &Refusals, &'static str)> {
        match whose {
            Whose::Known(_) => None,
            Whose::Nobody => Some((
                UNKNOWN,
                &self.unknown,
                "nothing says whose this is: no tenant, or none that is known",
            )),
            Whose::TooMany => Some((TOO_MANY, &self.too_many, "there are too many tenants already")),
        }
    }

    /// Refuses what is all of unknown tenants.
    fn refuse_unknown(&self, portions: &[Portion]) -> Result<(), Refusal> {
        let Some((_, _, message)) = portions.first().and_then(|first| self.unknown(&first.whose)) else {
            return Ok(());
        };
        if !portions
            .iter()
            .all(|portion| self.unknown(&portion.whose).is_some())
        {
            return Ok(());
        }
        for portion in portions {
            if let Some((_, counters, _)) = self.unknown(&portion.whose) {
                counters.refused.add(portion.items);
            }
        }
        Err(status(Code::PERMISSION_DENIED, message, None))
    }
}

impl Reshape for Tenants {
    fn admit(&self, payload: &Payload) -> Result<(), Refusal> {
        if (self.fallback.is_some() && !self.limits) || payload.items == 0 {
            return Ok(());
        }
        let now = Instant::now();
        let portions = self.portions(payload, now)?;
        self.refuse_unknown(&portions)?;
        let mut longest = Span::ZERO;
        for portion in portions
            .iter()
            .filter(|portion| self.unknown(&portion.whose).is_none())
        {
            let wait = portion.wait(now);
            if wait.is_zero() {
                return Ok(());
            }
            longest = longest.max(wait);
        }
        self.over_rate.refused.add(payload.items as u64);
        Err(status(Code::RESOURCE_EXHAUSTED, OVER_RATE_TEXT, Some(longest)))
    }

    fn admits_by_context(&self) -> bool {
        self.sources.are_by_context()
    }

    fn reshape(&self, mut payload: Payload, cx: &mut ReshapeCx) -> Result<Payload, Refusal> {
        let now = Instant::now();
        let portions = self.portions(&payload, now)?;
        if !cx.was_admitted() && payload.items > 0 {
            self.refuse_unknown(&portions)?;
        }
        let over = |portion: &Portion| !portion.wait(now).is_zero();
        let mut named = portions
            .iter()
            .filter(|portion| self.unknown(&portion.whose).is_none());
        // Others that were asked about at the same time came first. They pass all the same, on account.
        let on_account = cx.was_admitted() && named.all(over);
        payload.chunks.clear();
        payload.items = 0;
        let mut taken = Vec::new();
        for portion in portions {
            let Portion {
                whose,
                chunks,
                items,
                bytes,
            } = &portion;
            if let Some((rule, counters, message)) = self.unknown(whose) {
                counters.rejected.add(*items);
                cx.rejected(rule, None, *items, message);
                continue;
            }
            let Whose::Known(known) = whose else { continue };
            known.items.add(*items);
            if !on_account && over(&portion) {
                self.over_rate.rejected.add(*items);
                cx.rejected(OVER_RATE, Some(&known.name), *items, OVER_RATE_TEXT);
                continue;
            }
            if let Some(bucket) = &known.bucket {
                bucket.take(portion.amount(), now);
                taken.push((known.clone(), Amount::new(*items, *bytes)));
            }
            payload.items += *items as usize;
            payload.chunks.extend(chunks.iter().cloned().map(|mut chunk| {
                chunk.origin.tenant = Some(known.name.clone());
                chunk
            }));
        }
        if !taken.is_empty() {
            cx.if_refused(move || {
                for (known, amount) in taken {
                    if let Some(bucket) = &known.bucket {
                        bucket.give_back(amount);
                    }
                }
            });
        }
        Ok(payload)
    }
}

const OVER_RATE_TEXT: &str = "this tenant sends more than it may: slow down";

fn status(code: Code, message: &str, retry_after: Option<Span>) -> Refusal {
    let details = StatusDetails {
        message: message.to_owned(),
        retry_after,
    };
    Refusal::Status(code, Box::new(details))
}

fn add(portions: &mut Vec<Portion>, whose: &Whose, chunk: Chunk) {
    let (items, bytes) = (u64::from(chunk.shape.items), chunk.len());
    match portions.iter_mut().find(|portion| portion.whose.is(whose)) {
        Some(portion) => {
            portion.chunks.push(chunk);
            portion.items += items;
            portion.bytes += bytes;
        }
        None => portions.push(Portion {
            whose: whose.clone(),
            chunks: vec![chunk],
            items,
            bytes,
        }),
    }
}

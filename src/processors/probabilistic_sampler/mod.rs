//! Processor `probabilistic_sampler`: keeps a share of spans or log records, the same share of traces everywhere.
//!
//! Keys, defaults, decisions and what is written to `tracestate` and attributes are those of the collector's processor
//! (v0.155). A decision depends on the item alone, so that two gateways with the same settings decide alike. What is
//! not kept is booked as `probabilistic_sampler`, or with the reason behind it where that was not the share
//! (`probabilistic_sampler:threshold_in_use`).

mod decide;

use component::prelude::*;
use parking_lot::Mutex;
use telemetry::Counter;
use wire::view::{Glance, View};

use crate::sampling::{PROBABILITY_MIN, Threshold};
use decide::{Cause, Decision, Item, Rules, Scratch};

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "probabilistic_sampler",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Beta),
        (Signal::Logs, Stability::Alpha),
    ],
    hold: Hold::PassThrough,
    build: |section, cx, signal| {
        let config: Config = section.clone().parse()?;
        let rules = config
            .rules(signal)
            .map_err(|(key, message)| section.fault(key, message))?;
        Ok(Processor::Tree(Arc::new(Sampler::new(rules, cx, signal))))
    },
};

/// `probabilistic_sampler`: which share stays, and how that is decided.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Share that stays, 0 to 100; more means 100. Default 0: nothing stays.
    pub sampling_percentage: f32,
    /// Seed of the hash in mode `hash_seed`. Gateways in one tier need the same, tiers one after another different ones.
    pub hash_seed: u32,
    /// How an item is decided on: `hash_seed` (the default) by a hash of its trace id or attribute, `proportional`
    /// keeps this share of what arrives, `equalizing` this share of what there was before any sampling.
    pub mode: String,
    /// Items that cannot be decided on are dropped. Default true; false keeps them.
    pub fail_closed: bool,
    /// Hexadecimal digits of a threshold, 1 to 14. Default 4.
    pub sampling_precision: i64,
    /// Logs: what is hashed, `traceID` (the default) or `record`, the attribute that `from_attribute` names.
    pub attribute_source: String,
    /// Logs: attribute that is hashed where there is no trace id.
    pub from_attribute: String,
    /// Logs: attribute with a percentage that takes the place of `sampling_percentage`.
    pub sampling_priority: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            sampling_percentage: 0.0,
            hash_seed: 0,
            mode: String::new(),
            fail_closed: true,
            sampling_precision: 4,
            attribute_source: "traceID".into(),
            from_attribute: String::new(),
            sampling_priority: String::new(),
        }
    }
}

/// Where a configuration is wrong, and how.
type Wrong = (&'static str, String);

/// Buckets of the hash.
const BUCKETS: u32 = 1 << 14;

impl Config {
    fn rules(&self, signal: Signal) -> Result<Rules, Wrong> {
        let percent = self.sampling_percentage;
        let ratio = f64::from(percent) / 100.0;
        let wrong_share = if ratio < 0.0 {
            Some(format!("negative sampling rate: {percent:.2}%"))
        } else if !ratio.is_finite() {
            Some(format!("sampling rate is invalid: {percent}%"))
        } else if ratio > 0.0 && ratio < PROBABILITY_MIN {
            Some(format!("sampling rate is too small: {percent}%"))
        } else {
            None
        };
        if let Some(message) = wrong_share {
            return Err(("sampling_percentage", message));
        }
        let source = self.attribute_source.as_str();
        if !matches!(source, "" | "traceID" | "record") {
            let message = format!("invalid attribute source: {source}. Expected: traceID or record");
            return Err(("attribute_source", message));
        }
        let precision = match self.sampling_precision {
            digits @ 1..=14 => digits as i32,
            digits if digits < 1 => {
                return Err((
                    "sampling_precision",
                    format!("invalid sampling precision: {digits}"),
                ));
            }
            digits => {
                let message = format!("sampling precision is too great, should be <= 14: {digits}");
                return Err(("sampling_precision", message));
            }
        };
        let ratio = ratio.min(1.0);
        let decision = match self.mode.as_str() {
            "" | "hash_seed" => match (percent.min(100.0) * 163.84_f32) as u32 {
                0 => Decision::Never,
                kept => Decision::Hash(Threshold::of_buckets(BUCKETS - kept.min(BUCKETS))),
            },
            "proportional" | "equalizing" if percent == 0.0 => Decision::Never,
            "proportional" => Decision::Proportional(ratio),
            "equalizing" => Decision::Equalizing(Threshold::of(ratio, precision).unwrap_or(Threshold::NEVER)),
            mode => return Err(("mode", format!("unsupported sampler mode {mode:?}"))),
        };
        Ok(Rules {
            decision,
            seed: self.hash_seed,
            fail_closed: self.fail_closed,
            precision,
            by_trace_id: signal == Signal::Traces || source == "traceID",
            attribute: self.from_attribute.clone().into_bytes(),
            priority: self.sampling_priority.clone().into_bytes(),
        })
    }
}

struct Sampler {
    rules: Rules,
    /// For what is decided on by its bytes.
    glance: Glance,
    /// By cause, kept and not: `Cause::ALL` twice.
    counters: [[Counter; 2]; Cause::ALL.len()],
    undecidable: [Counter; decide::Trouble::ALL.len()],
    /// One for each call that runs at the same time.
    pool: Mutex<Vec<Scratch>>,
}

impl Sampler {
    fn new(rules: Rules, cx: &BuildContext, signal: Signal) -> Sampler {
        let name = match signal {
            Signal::Logs => "otelcol_processor_probabilistic_sampler_count_logs_sampled",
            _ => "otelcol_processor_probabilistic_sampler_count_traces_sampled",
        };
        let metrics = &cx.telemetry.metrics;
        let counters = Cause::ALL.map(|cause| {
            let policy = match cause {
                Cause::Attribute if rules.attribute.is_empty() => return Default::default(),
                Cause::Attribute => String::from_utf8_lossy(&rules.attribute).into_owned(),
                _ => cause.as_str().to_owned(),
            };
            ["false", "true"].map(|sampled| {
                let labels = vec![("policy", policy.clone()), ("sampled", sampled.to_owned())];
                metrics.counter(name, labels)
            })
        });
        let undecidable = decide::Trouble::ALL.map(|trouble| {
            let labels = vec![
                ("processor", cx.id.to_string()),
                ("reason", trouble.as_str().to_owned()),
            ];
            metrics.counter("weir_probabilistic_sampler_undecidable_items", labels)
        });
        Sampler {
            glance: rules.glance(signal),
            rules,
            counters,
            undecidable,
            pool: Mutex::default(),
        }
    }

    fn scratch(&self) -> Scratch {
        let mut scratch = self.pool.lock().pop().unwrap_or_default();
        scratch.clear();
        scratch
    }

    /// Adds what one look at a chunk counted.
    fn book(&self, scratch: Scratch, cx: &mut SegmentCx<'_>) {
        for (counters, counts) in self.counters.iter().zip(&scratch.counts) {
            for (counter, count) in counters.iter().zip(counts).filter(|(_, count)| **count > 0) {
                counter.add(*count);
            }
        }
        for (counter, count) in self.undecidable.iter().zip(&scratch.troubles) {
            if *count > 0 {
                counter.add(*count);
            }
        }
        for (rule, items) in decide::RULES.iter().zip(&scratch.dropped) {
            if *items > 0 {
                cx.dropped(rule, *items);
            }
        }
        self.pool.lock().push(scratch);
    }
}

impl Tree for Sampler {
    fn touches(&self) -> Touches {
        Touches {
            depth: Depth::Record,
            reads_content: true,
            drops_unknown: false,
            writes: true,
        }
    }

    fn sift(&self, signal: Signal) -> Option<Box<dyn Sift + '_>> {
        let (sampler, item) = (self, Item::of(signal).0);
        let scratch = self.scratch();
        Some(Box::new(Turnstile {
            sampler,
            item,
            scratch,
        }))
    }

    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        let mut scratch = self.scratch();
        let (item, kind) = Item::of(view.signal());
        for n in view.nodes() {
            if view.kind(n) == kind && !view.is_removed(n) {
                self.rules.decide(item, view, n, &mut scratch);
            }
        }
        self.book(scratch, cx);
        Ok(())
    }
}

/// Turns away what is not kept: of the few that are, all is read again.
struct Turnstile<'a> {
    sampler: &'a Sampler,
    item: Item,
    scratch: Scratch,
}

impl Sift for Turnstile<'_> {
    fn passes(&mut self, record: &[u8]) -> bool {
        let Sampler { rules, glance, .. } = self.sampler;
        rules.passes(self.item, glance, record, &mut self.scratch)
    }

    fn finish(self: Box<Self>, cx: &mut SegmentCx<'_>) {
        self.sampler.book(self.scratch, cx);
    }
}

#[cfg(test)]
mod tests;

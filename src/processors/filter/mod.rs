//! Processor `filter`: drops resources, scopes, spans, span events, metrics, data points and log records.
//!
//! Keys, defaults and results are those of the collector's filter processor, in all three styles: conditions whose
//! context is inferred, conditions by context, and properties to include and exclude. What holds nothing any more goes
//! too. A request of which everything stays leaves as the bytes that came.

mod config;
mod expr;
mod rules;

use component::prelude::*;
use component::statements::{Ignored, with_env};
use parking_lot::Mutex;
use telemetry::Counter;
use wire::view::{Kind, NodeId, View};

use crate::groups::{Mode, propagated};
use crate::matching;

pub use config::{
    Conditions, Config, LogProperties, Logs, MetricProperties, Metrics, Profiles, Severity, Spans, Traces,
};
use rules::{Level, Rule, Rules};

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "filter",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Alpha),
        (Signal::Metrics, Stability::Alpha),
        (Signal::Logs, Stability::Alpha),
    ],
    hold: Hold::PassThrough,
    build: |section, cx, signal| {
        let mut config: Config = section.clone().parse_valid()?;
        if !section.contains("error_mode") {
            config.error_mode = Mode::unwritten(cx.gates.is_on(Gates::FILTER_IGNORES));
        }
        let rules = Rules::new(&config, &section, signal)?;
        let labels = vec![("filter", cx.id.to_string())];
        Ok(Processor::Tree(Arc::new(Filter {
            id: cx.id.clone(),
            rules,
            filtered: cx.telemetry.metrics.counter(filtered_name(signal), labels),
            pool: Mutex::default(),
        })))
    },
};

/// What is said of an error.
const FAILED: &str = "failed to eval condition";
/// Under which the books name what it drops.
const RULE: &str = "filter";

struct Filter {
    id: ComponentId,
    rules: Rules,
    filtered: Counter,
    /// One for each call that runs at the same time.
    pool: Mutex<Vec<Room>>,
}

/// What rules write to.
#[derive(Default)]
struct Room {
    /// One for each program.
    programs: Vec<ottl::Scratch>,
    matching: matching::Scratch,
}

fn filtered_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "otelcol_processor_filter_spans.filtered",
        Signal::Metrics => "otelcol_processor_filter_datapoints.filtered",
        Signal::Logs | Signal::Profiles => "otelcol_processor_filter_logs.filtered",
    }
}

/// A run over one chunk.
struct Run<'a> {
    rules: &'a Rules,
    env: &'a ottl::Env<'a>,
    room: &'a mut Room,
    ignored: Ignored,
}

impl Run<'_> {
    /// Removes what is to be dropped; gives the items that went. Errors: of a condition whose mode is `propagate`.
    fn view(&mut self, view: &mut View<'_>) -> Result<u64, ottl::Error> {
        let mut gone = 0;
        let (mut n, end) = (0, view.nodes().end);
        while n < end {
            let level = Level::of(view.kind(n)).filter(|_| !view.is_removed(n));
            let goes_on = match level {
                Some(level) if self.drops(view, n, level)? => {
                    gone += u64::from(view.items(n));
                    view.remove_node(n);
                    false
                }
                Some(level) => self.rules.below(level),
                None => false,
            };
            // Of what nothing more is asked, nothing within is looked at.
            n = if goes_on { n + 1 } else { view.subtree_end(n) };
        }
        Ok(gone)
    }

    fn drops(&mut self, view: &View<'_>, n: NodeId, level: Level) -> Result<bool, ottl::Error> {
        // What came empty goes, if it was opened at all; what becomes empty goes when the view is finished.
        let is_group = match view.kind(n) {
            Kind::Resource | Kind::Scope => true,
            Kind::Metric => view.metric_data(n).is_some(),
            _ => false,
        };
        if is_group && self.rules.below(level) && view.subtree_end(n) == n + 1 {
            return Ok(true);
        }
        for rule in self.rules.at(level) {
            let drops = match rule {
                Rule::Conditions {
                    program, mode, slot, ..
                } => program.matches(
                    view,
                    n,
                    self.env,
                    &mut self.room.programs[*slot],
                    *mode,
                    &mut |text, error| self.ignored.note(text, error),
                )?,
                Rule::Keep(filter) => !filter.takes(view, n, &mut self.room.matching),
                Rule::Expressions { list, drops } => {
                    let mut points = (n + 1..view.subtree_end(n)).filter(|p| view.parent(*p) == Some(n));
                    let s = &mut self.room.matching;
                    let is_meant = points.any(|p| list.iter().any(|e| e.holds(view, n, p, s)));
                    is_meant == *drops
                }
            };
            if drops {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Tree for Filter {
    fn touches(&self) -> Touches {
        Touches {
            depth: self.rules.depth(),
            reads_content: !self.rules.is_empty(),
            drops_unknown: false,
            writes: !self.rules.is_empty(),
        }
    }

    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let mut room = self.pool.lock().pop().unwrap_or_default();
        room.programs.resize_with(self.rules.programs(), Default::default);
        let (result, ignored) = with_env(cx.context, |env| {
            let mut run = Run {
                rules: &self.rules,
                env,
                room: &mut room,
                ignored: Ignored::default(),
            };
            (run.view(view), run.ignored)
        });
        self.pool.lock().push(room);
        ignored.tell(&self.id, FAILED);
        let gone = result.map_err(|error| propagated(&self.id, FAILED, &error))?;
        if gone > 0 {
            cx.dropped(RULE, gone);
            self.filtered.add(gone);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

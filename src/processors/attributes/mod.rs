//! Processor `attributes`: acts on the attributes of log records, spans and data points.
//!
//! Keys, defaults and results are those of the collector's attributes processor. For metrics, `include` and `exclude`
//! match on the metric, and the actions change its points.

use component::prelude::*;
use parking_lot::Mutex;
use wire::view::{Kind, View};

use crate::actions::{self, Actions};
use crate::matching::{self, Filter};

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "attributes",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Beta),
        (Signal::Metrics, Stability::Beta),
        (Signal::Logs, Stability::Beta),
    ],
    hold: Hold::PassThrough,
    build: |section, _cx, signal| {
        let config: Config = section.clone().parse()?;
        Ok(Processor::Tree(Arc::new(Attributes::new(
            &config, &section, signal,
        )?)))
    },
};

/// `attributes`: what is done to which items.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is done, in order. Required.
    pub actions: Vec<actions::Config>,
    /// Which items are acted on. Default: all.
    pub include: Option<matching::Config>,
    /// Which of them are not.
    pub exclude: Option<matching::Config>,
}

struct Attributes {
    actions: Actions,
    filter: Filter,
    pool: actions::Pool,
    matching: Mutex<Vec<matching::Scratch>>,
}

impl Attributes {
    fn new(config: &Config, section: &Section, signal: Signal) -> Result<Attributes, Fault> {
        let mut faults = Vec::new();
        if config.actions.is_empty() {
            faults.push(section.diag("actions", "missing required field \"actions\""));
        }
        let actions = Actions::new(&config.actions)
            .map_err(|list| {
                let each = list
                    .into_iter()
                    .map(|(i, what)| section.diag(&format!("actions.{i}"), what));
                faults.extend(each);
            })
            .ok();
        let filter = Filter::new(config.include.as_ref(), config.exclude.as_ref(), signal)
            .map_err(|list| {
                let each = list
                    .into_iter()
                    .map(|(key, what)| section.diag(key.trim_end_matches('.'), what));
                faults.extend(each);
            })
            .ok();
        match (actions, filter) {
            (Some(actions), Some(filter)) if faults.is_empty() => Ok(Attributes {
                actions,
                filter,
                pool: actions::Pool::default(),
                matching: Mutex::default(),
            }),
            _ => Err(config::Diags(faults).into()),
        }
    }

    fn run(&self, view: &mut View<'_>, s: &mut actions::Scratch, matching: &mut matching::Scratch) {
        // Points stand below their metric, which is asked once.
        let mut metric = None;
        for n in view.nodes() {
            let kind = view.kind(n);
            let acts = match kind {
                Kind::Metric => {
                    metric = Some((n, self.takes(view, n, matching)));
                    false
                }
                Kind::LogRecord | Kind::Span => self.takes(view, n, matching),
                Kind::NumberPoint | Kind::HistogramPoint | Kind::ExpHistogramPoint | Kind::SummaryPoint => {
                    metric.is_some_and(|(m, takes)| takes && view.parent(n) == Some(m))
                }
                _ => false,
            };
            if acts && !view.is_removed(n) {
                self.actions.run(view, n, s);
            }
        }
    }

    fn takes(&self, view: &View<'_>, n: u32, s: &mut matching::Scratch) -> bool {
        self.filter.takes_all() || self.filter.takes(view, n, s)
    }
}

impl Tree for Attributes {
    fn touches(&self) -> Touches {
        Touches {
            depth: Depth::Record,
            reads_content: true,
            drops_unknown: false,
            writes: true,
        }
    }

    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        let mut matching = self.matching.lock().pop().unwrap_or_default();
        self.pool
            .with(&self.actions, cx.context, |s| self.run(view, s, &mut matching));
        self.matching.lock().push(matching);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

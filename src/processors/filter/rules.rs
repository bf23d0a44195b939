//! What is asked of each node, by level: conditions and properties, compiled.

use component::prelude::*;
use ottl::{ErrorMode, Functions, Program};
use wire::view::Kind;

use super::config::{Conditions, Config, EXPR, LogProperties, MetricProperties};
use super::expr::Expr;
use crate::groups::{Groups, Keys, Written};
use crate::matching;

/// Where nodes stand below each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Resource,
    Scope,
    /// Log records, spans, metrics.
    Record,
    /// Events and data points.
    Point,
}

impl Level {
    pub(super) fn of(kind: Kind) -> Option<Level> {
        match kind {
            Kind::Resource => Some(Level::Resource),
            Kind::Scope => Some(Level::Scope),
            Kind::LogRecord | Kind::Span | Kind::Metric => Some(Level::Record),
            Kind::Event
            | Kind::NumberPoint
            | Kind::HistogramPoint
            | Kind::ExpHistogramPoint
            | Kind::SummaryPoint => Some(Level::Point),
            _ => None,
        }
    }

    fn of_context(context: ottl::Context) -> Level {
        use ottl::Context;
        match context {
            Context::Resource => Level::Resource,
            Context::Scope => Level::Scope,
            Context::Log | Context::Span | Context::Metric => Level::Record,
            Context::SpanEvent | Context::DataPoint => Level::Point,
        }
    }
}

/// What drops a node.
#[derive(Debug)]
pub(super) enum Rule {
    /// One of the conditions holds.
    Conditions {
        program: Box<Program>,
        mode: ErrorMode,
        /// Place of its scratch.
        slot: usize,
    },
    /// It is not among those that stay.
    Keep(Box<matching::Filter>),
    /// Of a metric: whether one of them holds for one of its points.
    Expressions {
        list: Vec<Expr>,
        /// Whether those drop for which it is so, or the others.
        drops: bool,
    },
}

/// All rules of one signal.
#[derive(Debug, Default)]
pub(super) struct Rules {
    levels: [Vec<Rule>; 4],
    depth: Option<Depth>,
    lowest: Option<Level>,
    programs: usize,
}

impl Rules {
    /// Compiles the rules of a signal. Conditions of the other signals are compiled too, so that what is wrong with them
    /// is found wherever the processor stands.
    ///
    /// Errors: all faults, with their places.
    pub(super) fn new(config: &Config, section: &Section, signal: Signal) -> Result<Rules, Fault> {
        let mut faults = Vec::new();
        let mut own = Rules::default();
        for of in [Signal::Traces, Signal::Metrics, Signal::Logs] {
            let mut rules = Rules::default();
            let styled = rules.conditions(config, section, of, &mut faults);
            if of == signal {
                if !styled {
                    rules.properties(config, section, of, &mut faults);
                }
                own = rules;
            }
        }
        ::config::Diags::check(faults)?;
        Ok(own)
    }

    pub(super) fn at(&self, level: Level) -> &[Rule] {
        &self.levels[level as usize]
    }

    /// Whether anything is asked of what stands below this level.
    pub(super) fn below(&self, level: Level) -> bool {
        self.lowest > Some(level)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.depth.is_none()
    }

    pub(super) fn depth(&self) -> Depth {
        self.depth.unwrap_or(Depth::None)
    }

    /// How many programs there are.
    pub(super) fn programs(&self) -> usize {
        self.programs
    }

    /// Adds the conditions of a signal, in whichever style they are written; false if there are none in either.
    fn conditions(
        &mut self,
        config: &Config,
        section: &Section,
        signal: Signal,
        faults: &mut Vec<::config::Diag>,
    ) -> bool {
        let (key, inferred) = match signal {
            Signal::Traces => ("trace_conditions", &config.trace_conditions),
            Signal::Metrics => ("metric_conditions", &config.metric_conditions),
            _ => ("log_conditions", &config.log_conditions),
        };
        if !inferred.groups.is_empty() {
            self.inferred(inferred, key, config.error_mode.0, section, signal, faults);
            return true;
        }
        let (t, m, l) = (&config.traces, &config.metrics, &config.logs);
        let lists = match signal {
            Signal::Traces => [
                ("resource", "traces.resource", &t.resource),
                ("span", "traces.span", &t.span),
                ("spanevent", "traces.spanevent", &t.spanevent),
            ],
            Signal::Metrics => [
                ("resource", "metrics.resource", &m.resource),
                ("metric", "metrics.metric", &m.metric),
                ("datapoint", "metrics.datapoint", &m.datapoint),
            ],
            _ => [
                ("resource", "logs.resource", &l.resource),
                ("log", "logs.log_record", &l.log_record),
                ("", "", &None),
            ],
        };
        let mut any = false;
        for (context, key, list) in lists {
            let Some(conditions) = list else {
                continue;
            };
            any = true;
            let keys = Keys {
                group: key,
                conditions: key,
                statements: key,
                first: 0,
            };
            let written = written(signal, context, conditions);
            self.program(&written, &keys, config.error_mode.0, section, faults);
        }
        any
    }

    fn inferred(
        &mut self,
        list: &Groups<Conditions>,
        key: &str,
        mode: ErrorMode,
        section: &Section,
        signal: Signal,
        faults: &mut Vec<::config::Diag>,
    ) {
        for (group, place) in list.groups.iter().zip(list.places(key, "conditions")) {
            let keys = Keys {
                group: &place.group,
                conditions: &place.texts,
                statements: &place.texts,
                first: place.first,
            };
            let mode = group.error_mode.map_or(mode, |mode| mode.0);
            let written = written(signal, &group.context, &group.conditions);
            self.program(&written, &keys, mode, section, faults);
        }
    }

    fn program(
        &mut self,
        written: &Written<'_>,
        keys: &Keys<'_>,
        mode: ErrorMode,
        section: &Section,
        faults: &mut Vec<::config::Diag>,
    ) {
        let Some(program) = written.compile(section, keys, faults) else {
            return;
        };
        let level = Level::of_context(program.context());
        if level != Level::Record || mode == ErrorMode::Propagate {
            return self.add(program, mode);
        }
        // A condition that looks at nothing of the record is asked once for all records of a group, and drops that.
        // Under `propagate` it matters which condition is asked first.
        let (mut above, mut rest) = (Vec::new(), Vec::new());
        for condition in written.conditions {
            match of_groups(written, condition) {
                Some(program) => above.push(program),
                None => rest.push(condition.clone()),
            }
        }
        if above.is_empty() {
            return self.add(program, mode);
        }
        above.into_iter().for_each(|program| self.add(program, mode));
        let written = Written {
            context: program.context().name(),
            conditions: &rest,
            ..*written
        };
        if !rest.is_empty()
            && let Some(program) = written.compile(section, keys, faults)
        {
            self.add(program, mode);
        }
    }

    fn add(&mut self, program: Program, mode: ErrorMode) {
        let (level, depth) = (Level::of_context(program.context()), program.depth());
        let rule = Rule::Conditions {
            program: Box::new(program),
            mode,
            slot: self.programs,
        };
        self.programs += 1;
        self.push(level, depth, rule);
    }

    fn push(&mut self, level: Level, depth: Depth, rule: Rule) {
        self.levels[level as usize].push(rule);
        self.depth = self.depth.max(Some(depth));
        self.lowest = self.lowest.max(Some(level));
    }

    /// Adds `include` and `exclude`.
    fn properties(
        &mut self,
        config: &Config,
        section: &Section,
        signal: Signal,
        faults: &mut Vec<::config::Diag>,
    ) {
        let mut keep = |level: Level, key: &str, kind: Signal, both: [Option<&matching::Config>; 2]| {
            if both.iter().all(Option::is_none) {
                return;
            }
            match matching::Filter::new(both[0], both[1], kind) {
                Ok(filter) => self.push(level, Depth::Record, Rule::Keep(Box::new(filter))),
                Err(list) => faults.extend(list.into_iter().map(|(below, what)| {
                    let key = format!("{key}.{below}");
                    section.diag(key.trim_end_matches('.'), what)
                })),
            }
        };
        match signal {
            Signal::Traces => {
                let spans = &config.spans;
                let both = [spans.include.as_ref(), spans.exclude.as_ref()];
                keep(Level::Record, "spans", signal, both);
            }
            Signal::Metrics => {
                let metrics = &config.metrics;
                let both = [&metrics.include, &metrics.exclude];
                let resources = both.map(|p| p.as_ref().and_then(MetricProperties::resources));
                // A resource has nothing that is a metric's.
                let resources = [resources[0].as_ref(), resources[1].as_ref()];
                keep(Level::Resource, "metrics", Signal::Logs, resources);
                let names = both.map(|p| p.as_ref().and_then(MetricProperties::names));
                let names = [names[0].as_ref(), names[1].as_ref()];
                keep(Level::Record, "metrics", signal, names);
                let both = [("include", &metrics.include), ("exclude", &metrics.exclude)];
                for (name, properties) in both {
                    let list = properties.as_ref().map_or(&[][..], MetricProperties::expressions);
                    let read = list.iter().enumerate().filter_map(|(i, source)| {
                        let wrong = |what| section.diag(&format!("metrics.{name}.expressions.{i}"), what);
                        Expr::new(source).map_err(|what| faults.push(wrong(what))).ok()
                    });
                    let list: Vec<Expr> = read.collect();
                    if !list.is_empty() {
                        let drops = name == "exclude";
                        self.push(Level::Record, Depth::Record, Rule::Expressions { list, drops });
                    }
                }
            }
            _ => {
                let both = [&config.logs.include, &config.logs.exclude];
                let both = both.map(|p| p.as_ref().and_then(LogProperties::matching));
                keep(
                    Level::Record,
                    "logs",
                    signal,
                    [both[0].as_ref(), both[1].as_ref()],
                );
            }
        }
    }
}

/// A condition as a program for resources or scopes, if all its paths are theirs.
fn of_groups(written: &Written<'_>, condition: &str) -> Option<Program> {
    let group = ottl::Group {
        signal: written.signal,
        functions: written.functions,
        // Each path must name its context then.
        context: None,
        conditions: &[condition],
        statements: &[],
    };
    let program = Program::new(&group).ok()?;
    (Level::of_context(program.context()) < Level::Record).then_some(program)
}

fn written<'a>(signal: Signal, context: &'a str, conditions: &'a [String]) -> Written<'a> {
    Written {
        signal,
        functions: Functions::Filter,
        context,
        conditions,
        statements: &[],
    }
}

impl MetricProperties {
    /// What it asks of the resource.
    fn resources(&self) -> Option<matching::Config> {
        (!self.resource_attributes.is_empty()).then(|| matching::Config {
            match_type: self.match_type.clone(),
            resources: self.resource_attributes.clone(),
            ..matching::Config::default()
        })
    }

    fn expressions(&self) -> &[String] {
        match self.match_type == EXPR {
            true => &self.expressions,
            false => &[],
        }
    }

    /// What it asks of the metric.
    fn names(&self) -> Option<matching::Config> {
        (!self.metric_names.is_empty() && self.match_type != EXPR).then(|| matching::Config {
            match_type: self.match_type.clone(),
            metric_names: self.metric_names.clone(),
            ..matching::Config::default()
        })
    }
}

impl LogProperties {
    /// What it asks of a record; none if it asks nothing.
    fn matching(&self) -> Option<matching::Config> {
        let asks = !self.resource_attributes.is_empty()
            || !self.record_attributes.is_empty()
            || !self.severity_texts.is_empty()
            || !self.bodies.is_empty()
            || self.severity_number.is_some();
        asks.then(|| matching::Config {
            match_type: self.match_type.clone(),
            resources: self.resource_attributes.clone(),
            attributes: self.record_attributes.clone(),
            log_severity_texts: self.severity_texts.clone(),
            log_bodies: self.bodies.clone(),
            log_severity_number: self
                .severity_number
                .as_ref()
                .map(|severity| matching::SeverityNumber {
                    min: severity.number().unwrap_or(0),
                    match_undefined: severity.match_undefined,
                }),
            ..matching::Config::default()
        })
    }
}

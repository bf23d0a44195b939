//! Processor `transform`: runs OTTL statements on resources, scopes, spans, span events, metrics, data points and log
//! records.
//!
//! Keys, defaults and results are those of the collector's transform processor. Groups run one after another over the
//! whole chunk; the statements of a group run in their order on each item. What no statement wrote to leaves as the
//! bytes that came.

mod flatten;
mod reshape;

use component::prelude::*;
use component::statements::{Ignored, with_env};
use ottl::{ErrorMode, Functions, Program};
use parking_lot::Mutex;
use wire::view::View;

use crate::groups::{Group, Groups, Keys, Mode, Written, propagated};

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "transform",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Beta),
        (Signal::Metrics, Stability::Beta),
        (Signal::Logs, Stability::Beta),
    ],
    hold: Hold::PassThrough,
    build: |section, cx, signal| {
        let mut config: Config = section.clone().parse()?;
        if !section.contains("error_mode") {
            config.error_mode = Mode::unwritten(cx.gates.is_on(Gates::TRANSFORM_IGNORES));
        }
        if config.flatten_data && !cx.gates.is_on(Gates::FLATTEN_LOGS) {
            let needs = "'flatten_data' requires the 'transform.flatten.logs' feature gate to be enabled";
            return Err(section.fault("flatten_data", needs).into());
        }
        let flattens = config.flatten_data && signal == Signal::Logs;
        let steps = steps(&config, &section, signal)?;
        let transform = Transform {
            id: cx.id.clone(),
            depth: steps.iter().map(|s| s.program.depth()).max(),
            steps,
            pool: Mutex::default(),
        };
        let reshapes = flattens || transform.steps.iter().any(|s| s.program.reshapes());
        Ok(match reshapes {
            true => Processor::Reshape(Arc::new(reshape::Reshaping {
                transform,
                flattens,
                views: Mutex::default(),
            })),
            false => Processor::Tree(Arc::new(transform)),
        })
    },
};

/// `transform`: which statements run.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What becomes of an error in a statement: `ignore` (told, the next statement runs), `silent`, or `propagate` (the
    /// whole request is refused). Default `ignore`.
    pub error_mode: Mode,
    /// Logs: statements see each record under a resource and scope of its own; equal ones are laid together afterwards.
    /// Needs the feature gate `transform.flatten.logs`. Default false.
    pub flatten_data: bool,
    /// Statements for spans and what holds them or is in them.
    pub trace_statements: Groups<Statements>,
    /// Statements for metrics and data points.
    pub metric_statements: Groups<Statements>,
    /// Statements for log records.
    pub log_statements: Groups<Statements>,
    /// Statements for profiles. Read for the collector's sake: `transform` cannot stand in a pipeline of profiles.
    pub profile_statements: Groups<Statements>,
}

/// A group of statements.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Statements {
    /// What the statements run on: `resource`, `scope`, `span`, `spanevent`, `metric`, `datapoint` or `log`. Default:
    /// inferred from the paths.
    pub context: String,
    /// For this group alone. Default: that of the processor.
    pub error_mode: Option<Mode>,
    /// If there are any, statements run only on items for which one of them is true.
    pub conditions: Vec<String>,
    /// What runs on each item, in order.
    pub statements: Vec<String>,
}

impl Group for Statements {
    const BASIC_LAST: bool = true;

    fn basic(statements: Vec<String>) -> Statements {
        Statements {
            statements,
            ..Statements::default()
        }
    }
}

/// What is said of an error.
const FAILED: &str = "failed to execute statement";

/// One group, compiled.
struct Step {
    program: Program,
    mode: ErrorMode,
}

/// Compiles the groups of a signal. Those of the other signals are compiled too, so that what is wrong with them is
/// found wherever the processor stands.
fn steps(config: &Config, section: &Section, signal: Signal) -> Result<Vec<Step>, Fault> {
    let mut faults = Vec::new();
    let mut own = Vec::new();
    for (of, key, list) in [
        (Signal::Traces, "trace_statements", &config.trace_statements),
        (Signal::Metrics, "metric_statements", &config.metric_statements),
        (Signal::Logs, "log_statements", &config.log_statements),
    ] {
        for (group, place) in list.groups.iter().zip(list.places(key, "statements")) {
            let written = Written {
                signal: of,
                functions: Functions::Transform,
                context: &group.context,
                conditions: &group.conditions,
                statements: &group.statements,
            };
            let keys = Keys {
                group: &place.group,
                conditions: &format!("{}.conditions", place.group),
                statements: &place.texts,
                first: place.first,
            };
            if let Some(program) = written.compile(section, &keys, &mut faults)
                && of == signal
            {
                let mode = group.error_mode.unwrap_or(config.error_mode).0;
                own.push(Step { program, mode });
            }
        }
    }
    config::Diags::check(faults)?;
    Ok(own)
}

struct Transform {
    id: ComponentId,
    steps: Vec<Step>,
    depth: Option<Depth>,
    /// One for each call that runs at the same time; in it one for each step.
    pool: Mutex<Vec<Vec<ottl::Scratch>>>,
}

impl Transform {
    /// Scratches for a call, one for each step.
    fn room(&self) -> Vec<ottl::Scratch> {
        let mut room = self.pool.lock().pop().unwrap_or_default();
        room.resize_with(self.steps.len(), Default::default);
        room
    }
}

impl Tree for Transform {
    fn touches(&self) -> Touches {
        Touches {
            depth: self.depth.unwrap_or(Depth::None),
            reads_content: !self.steps.is_empty(),
            drops_unknown: false,
            writes: self.steps.iter().any(|step| step.program.writes()),
        }
    }

    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        if self.steps.is_empty() {
            return Ok(());
        }
        let mut room = self.room();
        let mut ignored = Ignored::default();
        let result = with_env(cx.context, |env| {
            let mut failed = |text: &str, error: &ottl::Error| ignored.note(text, error);
            let mut steps = self.steps.iter().zip(&mut room);
            steps.try_for_each(|(step, scratch)| step.program.run(view, env, scratch, step.mode, &mut failed))
        });
        self.pool.lock().push(room);
        ignored.tell(&self.id, FAILED);
        result.map_err(|error| propagated(&self.id, FAILED, &error))
    }
}

#[cfg(test)]
mod tests;

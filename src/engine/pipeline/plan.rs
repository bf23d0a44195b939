//! What was built, in words, at 80 columns: segments, copies, queues, and who is answered when.
//!
//! `weir plan` prints it. It is made while the graph is built, from what was built, so it cannot say anything else.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use component::{Depth, FlushPolicy, Hold, Touches};
use config::ComponentId;
use wire::Signal;

use super::PipelineSpec;
use crate::harness::keys::Keys;
use crate::harness::{Delivery, Overflow, PipelineBatch, QueueSettings, RetrySettings, Settings, Sizer};

const COLUMNS: usize = 80;
const INDENT: usize = 12;

/// What was built, in words: segments, copies, queues, and who is answered when.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pipelines: Vec<Pipeline>,
    /// Exporters that get what others give up.
    dead_letters: Vec<End>,
}

impl Plan {
    pub(crate) fn new(pipelines: Vec<Pipeline>, dead_letters: Vec<End>) -> Plan {
        Plan {
            pipelines,
            dead_letters,
        }
    }

    /// Exporters that are acknowledged from a queue in memory, with what a crash loses: `otlp_grpc`, `1000 requests`.
    pub fn volatile(&self) -> Vec<(String, String)> {
        let ends = self.pipelines.iter().flat_map(|p| &p.ends);
        let ends = ends.chain(&self.dead_letters);
        let mut out: Vec<_> = ends
            .filter_map(|e| Some((e.id.clone(), e.volatile.clone()?)))
            .collect();
        out.sort();
        out.dedup();
        out
    }

    /// Exporters that have no say in the answer: what they do not take is dropped.
    pub fn best_effort(&self) -> Vec<String> {
        let ends = self.pipelines.iter().flat_map(|p| &p.ends);
        let mut out: Vec<_> = ends.filter(|e| e.is_best_effort).map(|e| e.id.clone()).collect();
        out.sort();
        out.dedup();
        out
    }

    /// Pipelines that answer yes whatever becomes of the data: all that they end in is best effort.
    pub fn unanswered(&self) -> Vec<String> {
        let is_unanswered = |p: &&Pipeline| p.ends.iter().all(|e| e.is_best_effort);
        self.pipelines
            .iter()
            .filter(is_unanswered)
            .map(|p| p.id.clone())
            .collect()
    }

    /// Exporters whose queue is on disk, with keys of client metadata that something behind it reads and that are not
    /// kept, for they look like credentials.
    pub fn unkept(&self) -> Vec<(String, Vec<String>)> {
        let ends = self.pipelines.iter().flat_map(|p| &p.ends);
        let mut out: Vec<_> = ends
            .filter(|e| !e.unkept.is_empty())
            .map(|e| (e.id.clone(), e.unkept.clone()))
            .collect();
        out.sort();
        out.dedup();
        out
    }

    /// Exporters whose queue is on disk, where a power failure can take what was acknowledged last.
    pub fn unsynced(&self) -> Vec<String> {
        let ends = self.pipelines.iter().flat_map(|p| &p.ends);
        let mut out: Vec<_> = ends.filter(|e| e.is_unsynced).map(|e| e.id.clone()).collect();
        out.sort();
        out.dedup();
        out
    }

    /// Processors that own data over time, each with its pipeline: what is behind them comes to nobody's door.
    pub fn nodes(&self) -> Vec<(String, String)> {
        let of = |pipeline: &Pipeline| {
            let ids = pipeline.steps.iter().filter_map(|step| match step {
                Step::Node { id, .. } => Some(id.clone()),
                _ => None,
            });
            ids.map(|id| (pipeline.id.clone(), id)).collect::<Vec<_>>()
        };
        self.pipelines.iter().flat_map(of).collect()
    }

    /// Processors and connectors that hold data in memory after they answered, with the longest time: `logs`,
    /// `tail_sampling`.
    pub fn holding(&self) -> Vec<(String, String, Duration)> {
        let mut out = Vec::new();
        for pipeline in &self.pipelines {
            for step in &pipeline.steps {
                if let Step::Node {
                    id,
                    hold: Hold::HeldVolatile,
                    held_max,
                } = step
                {
                    out.push((pipeline.id.clone(), id.clone(), *held_max));
                }
            }
            let ends = pipeline.ends.iter();
            out.extend(ends.filter_map(|end| Some((pipeline.id.clone(), end.id.clone(), end.holding?))));
        }
        out
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    id: String,
    receivers: Vec<String>,
    pub(crate) gates: Vec<String>,
    pub(crate) steps: Vec<Step>,
    pub(crate) ends: Vec<End>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Segment {
        stages: Vec<String>,
        touches: Touches,
    },
    Reshape {
        id: String,
    },
    Node {
        id: String,
        hold: Hold,
        held_max: Duration,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct End {
    id: String,
    what: &'static str,
    lines: Vec<String>,
    volatile: Option<String>,
    storage: Option<ComponentId>,
    unkept: Vec<String>,
    is_unsynced: bool,
    is_best_effort: bool,
    /// A connector's that holds data in memory after it answered, with the longest time.
    holding: Option<Duration>,
}

impl Pipeline {
    pub(crate) fn new(spec: &PipelineSpec) -> Pipeline {
        Pipeline {
            id: spec.id.to_string(),
            receivers: spec.receivers.iter().map(ComponentId::to_string).collect(),
            gates: Vec::new(),
            steps: Vec::new(),
            ends: Vec::new(),
        }
    }

    fn copies(&self) -> String {
        let writes = self.steps.iter().any(|s| {
            matches!(s, Step::Segment { touches, .. } if touches.writes) || matches!(s, Step::Reshape { .. })
        });
        let shared = match self.ends.len() {
            0 | 1 => String::new(),
            n => format!(", shared by {n} destinations"),
        };
        match writes {
            false => format!("none: the bytes pass as they came{shared}"),
            true => format!("one of a request that is edited, none of others{shared}"),
        }
    }
}

impl Pipeline {
    /// For each storage how many destinations share its one write.
    fn writes(&self) -> Vec<String> {
        let mut counts: BTreeMap<&ComponentId, usize> = BTreeMap::new();
        for storage in self
            .ends
            .iter()
            .filter(|e| !e.is_best_effort)
            .filter_map(|e| e.storage.as_ref())
        {
            *counts.entry(storage).or_default() += 1;
        }
        let words = counts.into_iter().map(|(id, n)| match n {
            1 => format!("{id}: one write"),
            n => format!("{id}: one write for {n} destinations"),
        });
        words.collect()
    }
}

impl End {
    pub(crate) fn exporter(id: &ComponentId, settings: &Settings, batch: Option<&PipelineBatch>) -> End {
        let mut lines = Vec::new();
        let gathers = settings.gathering.is_some();
        // What gathers has its own idea of how much belongs together.
        let passed_over = batch.filter(|_| gathers);
        let batch = batch.filter(|_| !gathers);
        let own = settings.queue.as_ref().and_then(|q| q.batch.as_ref());
        let policy = settings.flush(batch);
        if let Some(queue) = &settings.queue {
            lines.push(queue_words(queue, gathers));
        }
        if let Some(batch) = passed_over {
            lines.push(format!(
                "{} has nothing to do here: it gathers by itself",
                batch.processor
            ));
        }
        if let Some(policy) = policy {
            let by = batch.filter(|_| own.is_none()).map(|b| b.processor.as_str());
            lines.push(batch_words(
                &policy,
                by,
                settings.bytes_max,
                settings.queue.is_none(),
            ));
        } else if let Some(max) = settings.bytes_max {
            lines.push(format!("cut at {}", bytes(max)));
        }
        lines.push(match gathers {
            true => "never gives up".into(),
            false => retry_words(settings),
        });
        if let Some(dead) = &settings.dead_letter {
            lines.push(format!(
                "what is given up or rejected for good goes to exporter {dead}"
            ));
        }
        let awaited = settings.queue.as_ref().is_none_or(|q| q.wait_for_result);
        let is_best_effort = settings.delivery == Delivery::BestEffort;
        let storage = settings.queue.as_ref().and_then(|q| q.storage.clone());
        let volatile = settings
            .queue
            .as_ref()
            .filter(|_| !awaited && !is_best_effort && storage.is_none())
            .map(|q| count(q.size, q.sizer));
        let mut unkept = Vec::new();
        if storage.is_some() {
            let kept;
            (kept, unkept) = keys(settings, batch);
            lines.push(keys_words(&kept, &unkept));
        }
        let is_unsynced = storage.is_some() && settings.storage.is_some_and(|s| !s.sync);
        lines.push(match &volatile {
            _ if is_best_effort => {
                "best effort: nobody waits for it, what it does not take is dropped".into()
            }
            None if storage.is_some() => match !is_unsynced {
                true => "acknowledged when on disk (written through: a crash loses nothing)".into(),
                false => {
                    "acknowledged when written (fsync is off: a power failure can lose what was written last)"
                        .into()
                }
            },
            Some(size) => format!("acknowledged when queued in memory (a crash loses up to {size})"),
            None => "acknowledged when delivered".into(),
        });
        End {
            id: id.to_string(),
            what: "exporter",
            lines,
            volatile,
            storage,
            unkept,
            is_unsynced,
            is_best_effort,
            holding: None,
        }
    }

    /// `held`: of a connector that owns data over time.
    pub(crate) fn connector(
        name: &str,
        to: Signal,
        batch: Option<&PipelineBatch>,
        held: Option<(Hold, Duration)>,
    ) -> End {
        let mut lines = Vec::new();
        if let Some(batch) = batch {
            lines.push(batch_words(&batch.policy, Some(&batch.processor), None, true));
        }
        lines.push(match held {
            Some((hold, max)) if hold != Hold::PassThrough => hold_words(name, hold, max),
            _ => format!(
                "acknowledged when the {} pipelines behind it have answered",
                to.as_str()
            ),
        });
        End {
            id: name.to_owned(),
            what: "connector",
            lines,
            volatile: None,
            storage: None,
            unkept: Vec::new(),
            is_unsynced: false,
            is_best_effort: false,
            holding: held
                .filter(|(hold, _)| *hold == Hold::HeldVolatile)
                .map(|(_, max)| max),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, pipeline) in self.pipelines.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            pipeline.fmt(f)?;
        }
        if !self.dead_letters.is_empty() {
            writeln!(f, "\ndead letters")?;
        }
        self.dead_letters.iter().try_for_each(|end| end.fmt(f))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(f, "to", &format!("{} {}", self.what, self.id))?;
        self.lines.iter().try_for_each(|line| row(f, "", line))
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pipeline {}", self.id)?;
        row(f, "from", &self.receivers.join(", "))?;
        if !self.gates.is_empty() {
            row(
                f,
                "gates",
                &format!("{}: sizes only, nothing is decoded", self.gates.join(", ")),
            )?;
        }
        for step in &self.steps {
            match step {
                Step::Segment { stages, touches } => {
                    row(f, "segment", &stages.join(", "))?;
                    row(f, "", &touch_words(*touches))?;
                }
                Step::Reshape { id } => row(
                    f,
                    "reshape",
                    &format!("{id}: requests are made anew of their records"),
                )?,
                Step::Node { id, hold, held_max } => row(f, "node", &hold_words(id, *hold, *held_max))?,
            }
        }
        row(f, "copies", &self.copies())?;
        for words in self.writes() {
            row(f, "disk", &words)?;
        }
        self.ends.iter().try_for_each(|end| end.fmt(f))
    }
}

fn queue_words(queue: &QueueSettings, gathers: bool) -> String {
    let full = match queue.overflow {
        Overflow::DropOldest => "full means that the oldest is dropped",
        Overflow::Refuse if queue.block => "callers wait while it is full",
        Overflow::Refuse => "full means busy",
    };
    let place = match &queue.storage {
        Some(storage) => format!("on disk ({storage})"),
        None => "in memory".into(),
    };
    let size = match queue.size {
        usize::MAX => "as much as that takes".into(),
        size => count(size, queue.sizer),
    };
    match gathers {
        true => format!("queue {place}: {size}, handed over one at a time; {full}"),
        false => format!(
            "queue {place}: {size}, {} sent at a time; {full}",
            queue.consumers
        ),
    }
}

/// Which client metadata goes to the disk, and which does not though something behind the queue names it.
fn keys(settings: &Settings, batch: Option<&PipelineBatch>) -> (Keys, Vec<String>) {
    let own = settings.queue.as_ref().and_then(|q| q.batch.as_ref());
    let policies = own.into_iter().chain(batch.map(|b| &b.policy));
    let mut keys = Keys::of(policies.flat_map(|p| &p.metadata_keys));
    keys.merge(&Keys::of(&settings.context_keys));
    let unkept = match settings.storage.is_some_and(|s| s.keeps_secrets) {
        true => Vec::new(),
        false => keys.split_secrets(),
    };
    (keys, unkept)
}

fn keys_words(kept: &Keys, unkept: &[String]) -> String {
    let mut text = match kept.list().collect::<Vec<_>>().as_slice() {
        [] => "no client metadata goes to the disk".into(),
        names => format!(
            "of the clients' metadata these go to the disk: {}",
            names.join(", ")
        ),
    };
    if !unkept.is_empty() {
        let _ = write!(text, "; not kept, as credentials: {}", unkept.join(", "));
    }
    text
}

fn batch_words(policy: &FlushPolicy, by: Option<&str>, exporter_max: Option<usize>, holds: bool) -> String {
    let mut text = by.map_or_else(|| "gathered:".into(), |by| format!("gathered by {by}:"));
    if policy.timeout.is_zero() {
        return text + " timeout 0, sent as they come";
    }
    if policy.items_min < usize::MAX {
        let _ = write!(text, " {} items or", policy.items_min);
    }
    if let Some(min) = policy.bytes_min {
        let _ = write!(text, " {} or", bytes(min));
    }
    let _ = write!(text, " {}", duration(policy.timeout));
    if let Some(max) = policy.items_max {
        let _ = write!(text, ", at most {max} items");
    }
    if let Some(max) = policy.bytes_max.or(exporter_max) {
        let _ = write!(text, ", at most {}", bytes(max));
    }
    if !policy.metadata_keys.is_empty() {
        let _ = write!(text, ", apart by {}", policy.metadata_keys.join(", "));
    }
    if holds {
        text.push_str(", sooner when nothing more comes (callers wait)");
    }
    text
}

fn retry_words(settings: &Settings) -> String {
    let attempt = match settings.timeout {
        Some(limit) => format!("{} an attempt", duration(limit)),
        None => "no limit on an attempt".into(),
    };
    match &settings.retry {
        None => format!("no retry; {attempt}"),
        Some(RetrySettings {
            initial,
            max,
            elapsed_max,
            retries_max,
            ..
        }) => {
            let mut ends = Vec::new();
            ends.extend(elapsed_max.map(duration));
            ends.extend(retries_max.map(|n| format!("{n} retries")));
            let end = match &settings.queue {
                None => "while the caller waits".into(),
                Some(_) if ends.is_empty() => "never given up".into(),
                Some(_) => format!("given up after {}", ends.join(" or ")),
            };
            format!(
                "retry after {} to {}, {end}; {attempt}",
                duration(*initial),
                duration(*max)
            )
        }
    }
}

fn touch_words(touches: Touches) -> String {
    let depth = match touches.depth {
        Depth::None => "reads nothing",
        Depth::Resource => "indexed down to resources",
        Depth::Scope => "indexed down to scopes",
        Depth::Record => "indexed down to records",
        Depth::All => "indexed down to events, links and exemplars",
    };
    let mut text = format!("one walk, {depth}; ");
    text.push_str(if touches.writes {
        "edits are spliced"
    } else {
        "nothing is written"
    });
    if touches.reads_content {
        text.push_str("; irregular encodings are rewritten first");
    }
    if touches.drops_unknown {
        text.push_str("; unknown fields are dropped");
    }
    text
}

fn hold_words(id: &str, hold: Hold, held_max: Duration) -> String {
    match hold {
        Hold::PassThrough => format!("{id}: answers after what is behind it"),
        Hold::HeldDurable => format!(
            "{id}: acknowledged when on disk, up to {} before delivery",
            duration(held_max)
        ),
        Hold::HeldVolatile => format!(
            "{id}: acknowledged before delivery, up to {} in memory (a crash loses it)",
            duration(held_max)
        ),
    }
}

fn count(n: usize, sizer: Sizer) -> String {
    match sizer {
        Sizer::Requests => format!("{n} requests"),
        Sizer::Items => format!("{n} items"),
        Sizer::Bytes => bytes(n),
    }
}

fn bytes(n: usize) -> String {
    const UNITS: [(usize, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS
        .iter()
        .find(|(size, _)| n >= *size && n.is_multiple_of(*size))
    {
        Some((size, unit)) => format!("{} {unit}", n / size),
        None => format!("{n} bytes"),
    }
}

fn duration(d: Duration) -> String {
    let ms = d.as_millis();
    match ms {
        0 => format!("{d:?}"),
        _ if ms.is_multiple_of(3_600_000) => format!("{} h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        _ => format!("{ms} ms"),
    }
}

/// A label and its text, broken between words at 80 columns.
pub fn row(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    let mut line = format!("  {label:<width$}", width = INDENT - 2);
    let mut is_first = true;
    for word in text.split_whitespace() {
        if !is_first && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(f, "{}", line.trim_end())?;
            line = " ".repeat(INDENT);
            is_first = true;
        }
        if !is_first {
            line.push(' ');
        }
        line.push_str(word);
        is_first = false;
    }
    writeln!(f, "{}", line.trim_end())
}

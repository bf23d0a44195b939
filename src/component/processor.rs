//! Processors: gates on sizes and metadata, trees inside a segment, nodes that own payloads over time.

use std::sync::Arc;
use std::time::Duration;

use config::{Section, Shape};
use wire::view::View;
use wire::{Context, Payload, Signal};

use crate::{BoxFuture, BuildContext, Consumer, Fault, Refusal, Stability, Stop};

/// One processor type.
pub struct ProcessorFactory {
    /// Name in the config.
    pub kind: &'static str,
    /// Other spellings that load too.
    pub aliases: &'static [&'static str],
    /// The blocks of keys that `build` reads, for `weir schema`.
    pub keys: &'static [Shape],
    /// What it can process, and how mature that is.
    pub signals: &'static [(Signal, Stability)],
    /// Whether it holds data after it answered.
    pub hold: Hold,
    /// Parses and checks, for one pipeline of this signal.
    pub build: fn(Section, &BuildContext, Signal) -> Result<Processor, Fault>,
}

/// A processor that was built: the kind decides where the plan puts it.
pub enum Processor {
    /// Decides on sizes and metadata; the payload stays bytes.
    Gate(Arc<dyn Gate>),
    /// Runs in a segment with its neighbours, over one view.
    Tree(Arc<dyn Tree>),
    /// Owns payloads; ends a segment. Built with its `next`.
    Node(Box<dyn FnOnce(Arc<dyn Consumer>) -> Arc<dyn Node> + Send>),
    /// Not a node at all: a wish how exporters should batch. The plan moves it below their queues.
    Flush(FlushPolicy),
}

/// Runs on sizes and metadata only.
pub trait Gate: Send + Sync {
    /// Lets the payload pass, or says why not.
    fn admit(&self, payload: &Payload) -> Result<(), Refusal>;
}

/// Runs inside a segment: synchronous, no I/O. A program (`&self`); what it needs per payload is in the scratch.
pub trait Tree: Send + Sync {
    /// What it reads and whether it writes.
    fn touches(&self) -> Touches;

    /// Applies the program to one chunk. Drops are booked: [`SegmentCx::dropped`].
    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal>;
}

/// Owns payloads over time.
pub trait Node: Consumer {
    /// Longest time between its answer and its handing on.
    fn held_max(&self) -> Duration;

    /// Hands on all it holds, and returns.
    fn drain(&self, stop: Stop) -> BoxFuture<'_, ()>;
}

/// What a tree needs of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touches {
    /// How deep the index must go.
    pub depth: Depth,
    /// Whether it reads content that a non-canonical encoding could hide: then the payload is normalised first.
    pub reads_content: bool,
    /// Whether unknown fields must not pass (redaction).
    pub drops_unknown: bool,
    /// Whether it may write.
    pub writes: bool,
}

/// How deep the flat index goes.
pub use wire::view::Depth;

/// What a tree is told beside the view, and where it books.
pub struct SegmentCx<'a> {
    /// The client's.
    pub context: &'a Context,
    /// Whose the chunk is, where a `tenant` processor stands before.
    pub tenant: Option<&'a Arc<str>>,
    /// Rules that ended records in this stage.
    pub drops: &'a mut Drops,
}

impl SegmentCx<'_> {
    /// Books items that this stage ended, under the rule's name. The stage removes them from the view itself.
    pub fn dropped(&mut self, rule: &'static str, items: u64) {
        self.drops.add(rule, items);
    }
}

/// Items ended, by rule.
#[derive(Debug, Default)]
pub struct Drops(Vec<(&'static str, u64)>);

impl Drops {
    /// Adds items under a rule.
    pub fn add(&mut self, rule: &'static str, items: u64) {
        match self.0.iter_mut().find(|(r, _)| *r == rule) {
            Some((_, n)) => *n += items,
            None => self.0.push((rule, items)),
        }
    }

    /// What was added, emptied.
    pub fn take(&mut self) -> Vec<(&'static str, u64)> {
        std::mem::take(&mut self.0)
    }

    /// True if nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a component holds data after it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Answers after the next one has.
    PassThrough,
    /// Holds it on disk.
    HeldDurable,
    /// Holds it in memory: named by `plan` and `validate`, booked as held.
    HeldVolatile,
}

/// When exporters should send what they gathered: the `batch` processor, or `sending_queue.batch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushPolicy {
    /// Send once this many items are there. A trigger, not a cap.
    pub items_min: usize,
    /// No batch has more items than this.
    pub items_max: Option<usize>,
    /// Send once this many encoded bytes are there.
    pub bytes_min: Option<usize>,
    /// No batch has more encoded bytes than this (but for a single item that is larger).
    pub bytes_max: Option<usize>,
    /// Send what is there after this long.
    pub timeout: Duration,
    /// Client metadata whose values must not meet in one batch.
    pub metadata_keys: Vec<String>,
    /// Most combinations of those values; `None` = no limit.
    pub cardinality_max: Option<usize>,
}

//! Processors: gates on sizes and metadata, trees inside a segment, reshapes of whole payloads, nodes that own payloads
//! over time.

use std::sync::Arc;
use std::time::Duration;

use config::{Section, Shape};
use wire::view::View;
use wire::{Context, Payload, Signal};

use crate::{Books, BoxFuture, BuildContext, Consumer, Fault, Host, Refusal, Rejection, Stability, Stop};

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
    /// Makes another payload of one; ends a segment.
    Reshape(Arc<dyn Reshape>),
    /// Owns payloads; ends a segment. Built with its `next` and its books.
    Node(MakeNode),
    /// Not a node at all: a wish how exporters should batch. The plan moves it below their queues.
    Flush(FlushPolicy),
}

/// Makes a node, once it is known what is behind it.
pub type MakeNode = Box<dyn FnOnce(Arc<dyn Consumer>, Books) -> Arc<dyn Node> + Send>;

/// Runs on sizes and metadata only.
pub trait Gate: Send + Sync {
    /// Lets the payload pass, or says why not.
    fn admit(&self, payload: &Payload) -> Result<(), Refusal>;
}

/// Runs inside a segment: synchronous, no I/O. A program (`&self`); what it needs per payload is in the scratch.
pub trait Tree: Send + Sync {
    /// Begins what goes on beside the data (a watch, a look-up), before the first [`apply`](Tree::apply).
    fn start(&self, host: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        let _ = host;
        crate::ready(Ok(()))
    }

    /// Ends that, after the last `apply`. Safe without a start, and twice.
    fn stop(&self) -> BoxFuture<'_, ()> {
        crate::ready(())
    }

    /// What it reads and whether it writes.
    fn touches(&self) -> Touches;

    /// Begins to turn away records of one chunk before they are indexed, where that is cheaper than to
    /// [`apply`](Tree::apply) first: only asked of the first stage of a segment, whose records are as they came. What is
    /// turned away is what `apply` would have removed; `apply` then sees the others.
    fn sift(&self, signal: Signal) -> Option<Box<dyn Sift + '_>> {
        let _ = signal;
        None
    }

    /// Applies the program to one chunk. Drops are booked: [`SegmentCx::dropped`].
    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal>;
}

/// Decides on the log records or spans of one chunk by their bytes.
pub trait Sift {
    /// Whether the record stays, given its message as it came.
    fn passes(&mut self, record: &[u8]) -> bool;

    /// All records were asked about: what was turned away is counted and booked, as `apply` does.
    fn finish(self: Box<Self>, cx: &mut SegmentCx<'_>);
}

/// Restructures whole payloads: synchronous, no I/O, nothing kept from one payload to the next but what it counts.
pub trait Reshape: Send + Sync {
    /// As [`Tree::start`].
    fn start(&self, host: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        let _ = host;
        crate::ready(Ok(()))
    }

    /// As [`Tree::stop`].
    fn stop(&self) -> BoxFuture<'_, ()> {
        crate::ready(())
    }

    /// Lets the payload pass, or says why not: asked with the gates, before any branch has seen the request.
    ///
    /// Only where nothing in the pipeline that writes stands before it, so that it sees what [`reshape`](Reshape::reshape)
    /// will see (which is told: [`ReshapeCx::was_admitted`]), or where it [looks at the client
    /// alone](Reshape::admits_by_context).
    fn admit(&self, payload: &Payload) -> Result<(), Refusal> {
        let _ = payload;
        Ok(())
    }

    /// Whether [`admit`](Reshape::admit) goes by the context and the sizes: nothing that stands before it changes who
    /// the client is.
    fn admits_by_context(&self) -> bool {
        false
    }

    /// Makes another payload of this one. `items` of the answer and of its chunks are right; a payload without chunks
    /// goes nowhere. What the answer has less or more than the payload is [told](ReshapeCx).
    fn reshape(&self, payload: Payload, cx: &mut ReshapeCx) -> Result<Payload, Refusal>;
}

/// Owns payloads over time.
pub trait Node: Consumer {
    /// Begins what goes on beside the data, before the first payload.
    fn start(&self, host: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        let _ = host;
        crate::ready(Ok(()))
    }

    /// Longest time between its answer and its handing on.
    fn held_max(&self) -> Duration;

    /// How it holds, where that is not what its type says: on disk, because it was given a storage.
    fn hold(&self) -> Option<Hold> {
        None
    }

    /// Hands on all it holds, and returns. The last call: what [`start`](Node::start) began ends too.
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
    pub fn dropped(&mut self, rule: &str, items: u64) {
        self.drops.add(rule, items);
    }

    /// Books places that a rule changed in items that go on, beside the law: shown, and in no sum.
    pub fn touched(&mut self, rule: &str, places: u64) {
        self.drops.touched.add(rule, places);
    }
}

/// Where a reshape tells what it did, by the tenant of the chunk. Booked once the answer has been taken.
#[derive(Debug, Default)]
pub struct ReshapeCx {
    told: Vec<(Change, Option<Arc<str>>, u64)>,
    rejected: Vec<Rejection>,
    undo: Undo,
    was_admitted: bool,
}

/// What is done if the payload is refused behind the reshape.
#[derive(Default)]
struct Undo(Vec<Box<dyn FnOnce() + Send>>);

impl std::fmt::Debug for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Undo({})", self.0.len())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for undo in self.0.drain(..) {
            undo();
        }
    }
}

/// What became of items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Ended, under this rule.
    Dropped(String),
    /// Became part of others.
    Merged,
    /// Were made.
    Created,
}

impl ReshapeCx {
    /// For a payload that was, or was not, asked about before.
    pub fn new(was_admitted: bool) -> ReshapeCx {
        ReshapeCx {
            was_admitted,
            ..ReshapeCx::default()
        }
    }

    /// Whether [`Reshape::admit`] has let this payload pass, before any branch has seen it.
    pub fn was_admitted(&self) -> bool {
        self.was_admitted
    }

    /// As [`dropped`](ReshapeCx::dropped), and the client is told: items that are refused for good out of a payload that is
    /// otherwise taken.
    pub fn rejected(&mut self, rule: &str, tenant: Option<&Arc<str>>, items: u64, message: &str) {
        self.dropped(rule, tenant, items);
        match self.rejected.iter_mut().find(|r| r.rule == rule) {
            Some(known) => known.items += items,
            None if items > 0 => self.rejected.push(Rejection {
                rule: rule.to_owned(),
                items,
                message: message.to_owned(),
            }),
            None => {}
        }
    }

    /// Called if the payload is refused by what comes behind, or is lost on its way there.
    pub fn if_refused(&mut self, undo: impl FnOnce() + Send + 'static) {
        self.undo.0.push(Box::new(undo));
    }

    /// The payload was taken. Returns what the client is told.
    pub fn taken(&mut self) -> Vec<Rejection> {
        self.undo.0.clear();
        std::mem::take(&mut self.rejected)
    }

    /// Items that were ended, under the rule's name.
    pub fn dropped(&mut self, rule: &str, tenant: Option<&Arc<str>>, items: u64) {
        let is_it = |change: &Change| matches!(change, Change::Dropped(known) if known == rule);
        self.add(is_it, || Change::Dropped(rule.to_owned()), tenant, items);
    }

    /// Items that became part of others.
    pub fn merged(&mut self, tenant: Option<&Arc<str>>, items: u64) {
        self.add(
            |change| *change == Change::Merged,
            || Change::Merged,
            tenant,
            items,
        );
    }

    /// Items that were made.
    pub fn created(&mut self, tenant: Option<&Arc<str>>, items: u64) {
        self.add(
            |change| *change == Change::Created,
            || Change::Created,
            tenant,
            items,
        );
    }

    /// What was told.
    pub fn told(&self) -> &[(Change, Option<Arc<str>>, u64)] {
        &self.told
    }

    fn add(
        &mut self,
        is_it: impl Fn(&Change) -> bool,
        change: impl FnOnce() -> Change,
        tenant: Option<&Arc<str>>,
        items: u64,
    ) {
        if items == 0 {
            return;
        }
        let known = self
            .told
            .iter_mut()
            .find(|(c, t, _)| is_it(c) && t.as_ref() == tenant);
        match known {
            Some((.., n)) => *n += items,
            None => self.told.push((change(), tenant.cloned(), items)),
        }
    }
}

/// Items ended, by rule; and beside them places that were changed, by rule.
#[derive(Debug, Default)]
pub struct Drops {
    ended: ByRule,
    touched: ByRule,
}

impl Drops {
    /// Adds items under a rule.
    pub fn add(&mut self, rule: &str, items: u64) {
        self.ended.add(rule, items);
    }

    /// What was added, emptied.
    pub fn take(&mut self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.ended.0)
    }

    /// What was changed, emptied.
    pub fn take_touched(&mut self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.touched.0)
    }

    /// True if nothing ended.
    pub fn is_empty(&self) -> bool {
        self.ended.0.is_empty()
    }
}

#[derive(Debug, Default)]
struct ByRule(Vec<(String, u64)>);

impl ByRule {
    fn add(&mut self, rule: &str, n: u64) {
        match self.0.iter_mut().find(|(r, _)| r == rule) {
            Some((_, sum)) => *sum += n,
            None => self.0.push((rule.to_owned(), n)),
        }
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

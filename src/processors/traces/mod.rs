//! Spans gathered by trace: what `tail_sampling` and `groupbytrace` have in common.
//!
//! [`pieces`] cuts requests without copying and lays traces together again, [`store`] says when a trace is due and which
//! one has to make room, [`judge`] asks every [`policy`] what becomes of it, [`durable`] keeps what is held on disk,
//! [`outbox`] hands on and tries again. The [`node`] does it all at its ticks.

pub(crate) mod bucket;
pub(crate) mod durable;
pub(crate) mod judge;
pub(crate) mod meters;
pub(crate) mod node;
pub(crate) mod outbox;
pub(crate) mod pieces;
pub(crate) mod policy;
pub(crate) mod store;

use component::prelude::*;

use judge::Judge;
use meters::Meters;
use node::{Gathering, Settings};
pub(crate) use pieces::TraceId;

/// Fewer traces than this are not worth a shard of their own.
const TRACES_PER_SHARD: usize = 1024;
/// More shards than this find nobody to run them.
const SHARDS_MAX: usize = 16;

/// How many shards so many traces are spread over.
pub(crate) fn shards(traces_max: usize) -> usize {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    (traces_max / TRACES_PER_SHARD).clamp(1, workers.min(SHARDS_MAX))
}

/// What gathers as these settings say, and decides nothing.
pub(crate) fn grouping(settings: Settings, storage: Option<ComponentId>, cx: &BuildContext) -> Processor {
    let judge = Judge {
        policies: Vec::new(),
        keep: None,
        budget: None,
        first_match: false,
        subs: Vec::new(),
        records: false,
    };
    let meters = Meters::of_grouping(cx, settings.traces_max);
    gathering(settings, judge, meters, storage, cx)
}

/// A processor that gathers as these settings say, and asks this judge.
pub(crate) fn gathering(
    settings: Settings,
    judge: Judge,
    meters: Meters,
    storage: Option<ComponentId>,
    cx: &BuildContext,
) -> Processor {
    let memory = cx.memory.clone();
    Processor::Node(Box::new(move |next, books| {
        let storage = storage.map(|id| durable::Store::new(id, books.destination()));
        Arc::new(Gathering::new(
            settings, judge, meters, memory, storage, next, books,
        ))
    }))
}

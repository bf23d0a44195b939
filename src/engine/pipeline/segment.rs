//! A segment: consecutive trees over one view of each chunk.
//!
//! In: a payload. Out: the very same one if nobody wrote (same bytes, compressed twin kept), else one with new bytes for
//! the chunks that were touched. A chunk that a reader in Go would read differently is rewritten first if a stage reads
//! content, and unknown fields go if a stage says so. The first stage may turn records away before they are indexed.
//! What stages drop and change is noted, and booked by the caller once the payload has been taken. A panic is this
//! payload's alone: refused with `INTERNAL`, and counted.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use component::{Depth, Drops, Refusal, SegmentCx, Touches, Tree, beside_others};
use telemetry::Counter;
use wire::view::{Finished, Scratch, View};
use wire::{Chunk, Payload};

use super::edge::panicked;
use super::step::UNNAMED;
use crate::harness::tally::Tally;

thread_local! {
    /// Grows to the largest chunk a worker has seen. A segment never awaits, so one a thread is enough.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Trees with the union of what they touch.
pub(crate) struct Segment {
    stages: Vec<Arc<dyn Tree>>,
    touches: Touches,
    panics: Counter,
}

/// Items that one stage ended, or places that it changed in those that went on.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) stage: usize,
    pub(crate) what: What,
    pub(crate) rule: String,
    pub(crate) tally: Tally,
}

/// What a stage did under a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Dropped,
    Touched,
}

impl Segment {
    pub(crate) fn new(stages: Vec<Arc<dyn Tree>>, panics: Counter) -> Segment {
        let mut union = Touches {
            depth: Depth::None,
            reads_content: false,
            drops_unknown: false,
            writes: false,
        };
        for touches in stages.iter().map(|s| s.touches()) {
            union.depth = union.depth.max(touches.depth);
            union.reads_content |= touches.reads_content;
            union.drops_unknown |= touches.drops_unknown;
            union.writes |= touches.writes;
        }
        Segment {
            stages,
            touches: union,
            panics,
        }
    }

    pub(crate) fn touches(&self) -> Touches {
        self.touches
    }

    /// Runs all stages over all chunks. A payload without chunks comes back if everything was dropped.
    pub(crate) fn run(&self, payload: Payload, noted: &mut Vec<Noted>) -> Result<Payload, Refusal> {
        beside_others(payload.len(), || self.run_caught(payload, noted))
    }

    fn run_caught(&self, payload: Payload, noted: &mut Vec<Noted>) -> Result<Payload, Refusal> {
        let run = || SCRATCH.with_borrow_mut(|scratch| self.run_all(payload, scratch, noted));
        std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            // It may have been left half written.
            SCRATCH.with(|scratch| scratch.take());
            self.panics.add(1);
            Err(panicked())
        })
    }

    fn run_all(
        &self,
        mut payload: Payload,
        scratch: &mut Scratch,
        noted: &mut Vec<Noted>,
    ) -> Result<Payload, Refusal> {
        let mut emptied = false;
        for chunk in &mut payload.chunks {
            let before = chunk.shape.items;
            self.run_chunk(payload.signal, &payload.context, chunk, scratch, noted)?;
            let after = chunk.shape.items;
            payload.items = payload.items + after as usize - before as usize;
            emptied |= after == 0 && before > 0;
        }
        if emptied {
            payload.chunks.retain(|c| c.shape.items > 0);
        }
        Ok(payload)
    }

    fn run_chunk(
        &self,
        signal: wire::Signal,
        context: &wire::Context,
        chunk: &mut Chunk,
        scratch: &mut Scratch,
        noted: &mut Vec<Noted>,
    ) -> Result<(), Refusal> {
        let must_go = chunk.shape.unknown_fields && self.touches.drops_unknown;
        if must_go || (chunk.shape.non_canonical && self.touches.reads_content) {
            let bytes =
                wire::normalize(signal, &chunk.bytes(), self.touches.drops_unknown).map_err(malformed)?;
            chunk.set_bytes(bytes.into());
            chunk.shape.non_canonical = false;
            chunk.shape.unknown_fields &= !self.touches.drops_unknown;
        }
        let before = chunk.shape.items;
        let mut ended = 0;
        let mut drops = Drops::default();
        let tenant = chunk.origin.tenant.clone();
        let bytes = chunk.make_whole();
        let mut sift = self.stages.first().and_then(|first| first.sift(signal));
        let view = match &mut sift {
            Some(sift) => View::sifted(scratch, signal, &bytes, self.touches.depth, |r| sift.passes(r)),
            None => View::new(scratch, signal, &bytes, self.touches.depth),
        };
        let mut view = view.map_err(malformed)?;
        for (stage, tree) in self.stages.iter().enumerate() {
            let mut cx = SegmentCx {
                context,
                tenant: tenant.as_ref(),
                drops: &mut drops,
            };
            if let Some(sift) = sift.take() {
                sift.finish(&mut cx);
            }
            tree.apply(&mut view, &mut cx)?;
            for (rule, items) in drops.take() {
                ended += items;
                note(noted, (stage, What::Dropped, &rule), chunk, items);
            }
            for (rule, places) in drops.take_touched() {
                note(noted, (stage, What::Touched, &rule), chunk, places);
            }
        }
        if view.is_overflowed() {
            return Err(Refusal::Invalid("the edits of one request pass 4 GiB".into()));
        }
        if let Finished::Edited { bytes, items } = view.finish() {
            chunk.set_bytes(bytes.into());
            chunk.shape.items = items;
        }
        let gone = u64::from(before.saturating_sub(chunk.shape.items));
        if gone > ended {
            // A stage that removes without saying why; the books name it all the same.
            let last = (self.stages.len() - 1, What::Dropped, UNNAMED);
            note(noted, last, chunk, gone - ended);
        }
        Ok(())
    }
}

fn note(noted: &mut Vec<Noted>, (stage, what, rule): (usize, What, &str), chunk: &Chunk, n: u64) {
    let tenant = chunk.origin.tenant.as_ref();
    let is_it = |known: &&mut Noted| (known.stage, known.what, &*known.rule) == (stage, what, rule);
    if let Some(known) = noted.iter_mut().find(is_it) {
        return known.tally.plus(tenant, n);
    }
    let mut tally = Tally::default();
    tally.plus(tenant, n);
    noted.push(Noted {
        stage,
        what,
        rule: rule.to_owned(),
        tally,
    });
}

fn malformed(error: wire::Malformed) -> Refusal {
    Refusal::Invalid(error.to_string())
}

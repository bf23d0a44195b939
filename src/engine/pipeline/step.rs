//! What a payload goes through within a pipeline: segments and reshapes, in order.
//!
//! Each takes a payload and gives the next one, or refuses; what it did with the records is noted, and booked once the
//! payload has been taken behind all of them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use component::{Change, Refusal, Rejection, Reshape, ReshapeCx, beside_others};
use telemetry::{Column, Counter, Row};
use wire::Payload;

use super::edge::panicked;
use super::segment::{Noted, Segment, What};
use crate::harness::tally::Tally;

/// The rule for items that are missing though nobody said why.
pub(super) const UNNAMED: &str = "unnamed";

/// One of them, with the rows of its books.
pub(crate) enum Step {
    Segment(Segment, Vec<Arc<Row>>),
    Reshape {
        reshape: Arc<dyn Reshape>,
        row: Arc<Row>,
        panics: Counter,
    },
}

/// What a step did.
pub(crate) enum Passed {
    Segment(Vec<Noted>),
    Reshape { cx: ReshapeCx, left: Tally },
}

impl Passed {
    /// The payload was taken behind all steps. Returns what the client is told of this one.
    pub(crate) fn taken(&mut self) -> Vec<Rejection> {
        match self {
            Passed::Segment(_) => Vec::new(),
            Passed::Reshape { cx, .. } => cx.taken(),
        }
    }
}

impl Step {
    /// Whether it would let the payload pass.
    pub(crate) fn admit(&self, payload: &Payload) -> Result<(), Refusal> {
        match self {
            Step::Segment(..) => Ok(()),
            Step::Reshape { reshape, .. } => reshape.admit(payload),
        }
    }

    /// Whether it is asked though a step before it writes.
    pub(crate) fn admits_by_context(&self) -> bool {
        match self {
            Step::Segment(..) => false,
            Step::Reshape { reshape, .. } => reshape.admits_by_context(),
        }
    }

    /// Whether what is behind it may see something else than what came.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Step::Segment(segment, _) => segment.touches().writes,
            Step::Reshape { .. } => true,
        }
    }

    /// `admitted`: it was asked about this payload.
    pub(crate) fn run(
        &self,
        payload: Payload,
        admitted: bool,
        passed: &mut Vec<Passed>,
    ) -> Result<Payload, Refusal> {
        match self {
            Step::Segment(segment, _) => {
                let mut noted = Vec::new();
                let payload = segment.run(payload, &mut noted)?;
                passed.push(Passed::Segment(noted));
                Ok(payload)
            }
            Step::Reshape { reshape, panics, .. } => {
                let mut cx = ReshapeCx::new(admitted);
                let bytes = payload.len();
                let run = AssertUnwindSafe(|| reshape.reshape(payload, &mut cx));
                let ran = beside_others(bytes, || std::panic::catch_unwind(run));
                let payload = ran.unwrap_or_else(|_| {
                    panics.add(1);
                    Err(panicked())
                })?;
                let left = Tally::of(&payload);
                passed.push(Passed::Reshape { cx, left });
                Ok(payload)
            }
        }
    }

    /// Books what it did with what came; `line` is the row of the pipeline. Returns what left it.
    pub(crate) fn book(&self, mut here: Tally, passed: Passed, line: &Row) -> Tally {
        match (self, passed) {
            (Step::Segment(_, rows), Passed::Segment(noted)) => {
                for (stage, row) in rows.iter().enumerate() {
                    here.add(row, Column::In);
                    for note in noted.iter().filter(|n| n.stage == stage) {
                        for row in [row, line] {
                            match note.what {
                                What::Dropped => note.tally.drop_under(row, &note.rule),
                                What::Touched => note.tally.touch_under(row, &note.rule),
                            }
                        }
                        if note.what == What::Dropped {
                            here.minus(&note.tally);
                        }
                    }
                    here.add(row, Column::Out);
                }
                here
            }
            (Step::Reshape { row, .. }, Passed::Reshape { cx, left }) => {
                here.add(row, Column::In);
                let (mut sources, mut sinks) = (here.items(), left.items());
                for (change, tenant, items) in cx.told() {
                    for row in [row, line] {
                        book(row, change, tenant.as_ref(), *items);
                    }
                    match change {
                        Change::Created => sources += items,
                        Change::Merged | Change::Dropped(_) => sinks += items,
                    }
                }
                // What was not told is found all the same.
                let (lost, made) = (sources.saturating_sub(sinks), sinks.saturating_sub(sources));
                for row in [row, line] {
                    if lost > 0 {
                        row.drop_items(UNNAMED, None, lost);
                    }
                    if made > 0 {
                        row.add_items(Column::Created, None, made);
                    }
                }
                left.add(row, Column::Out);
                left
            }
            _ => unreachable!("each step notes what it is"),
        }
    }
}

fn book(row: &Row, change: &Change, tenant: Option<&Arc<str>>, items: u64) {
    match change {
        Change::Dropped(rule) => row.drop_items(rule, tenant, items),
        Change::Merged => row.add_items(Column::Merged, tenant, items),
        Change::Created => row.add_items(Column::Created, tenant, items),
    }
}

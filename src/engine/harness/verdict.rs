//! How a caller's payload ended when it was sent in several pieces: one answer, and the bookings that go with it.
//!
//! The rule, here and at a fan-out ([`join`]): where any piece may be delivered later, the caller is told to come again
//! (it ends as soon as that piece is taken, and nothing is lost). Where nothing can be delivered later, what was
//! delivered stands and the rest is reported as rejected; only if nothing at all was delivered is the whole refused
//! for good.

use std::sync::Arc;

use component::{Outcome, Refusal, Rejection};
use telemetry::{Column, Row};

use super::tally::Tally;

/// Refused, though `moved` items of it are with the far side already: a retry brings them twice.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) moved: Tally,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused {
            refusal,
            moved: Tally::default(),
        }
    }
}

/// One refusal for two: the one that allows a retry; of two such, the one that asks for the longer pause.
pub(crate) fn join(a: Refusal, b: Refusal) -> Refusal {
    match (a.is_retryable(), b.is_retryable()) {
        (true, true) if b.retry_after() > a.retry_after() => b,
        (false, true) => b,
        _ => a,
    }
}

/// The row of the node behind this harness. A connector's `out` is booked where its own output is taken.
pub(crate) struct Books {
    pub(crate) row: Arc<Row>,
    pub(crate) out: bool,
}

impl Books {
    /// Delivered at once, without ever having been held.
    pub(crate) fn delivered(&self, tally: &Tally) {
        tally.add(&self.row, Column::In);
        if self.out {
            tally.add(&self.row, Column::Out);
        }
    }

    /// Given back to a caller that waited.
    fn refused(&self, tally: &Tally) {
        if self.out {
            tally.add(&self.row, Column::Refused);
        }
    }

    /// Came in, and failed.
    fn failed(&self, reason: &str, tally: &Tally) {
        if self.out {
            tally.add(&self.row, Column::In);
            tally.fail(&self.row, reason);
        } else {
            // Whatever is behind a connector has booked the loss.
            tally.add(&self.row, Column::In);
        }
    }
}

/// The name under which items are booked that the far side rejected by a rule of its own.
pub(crate) fn rejected_reason(rule: &str) -> String {
    match rule {
        "" | "rejected" => "rejected".to_owned(),
        rule => format!("rejected: {rule}"),
    }
}

/// Gathers how the pieces ended.
#[derive(Default)]
pub(crate) struct Verdict {
    delivered: Tally,
    rejected: Vec<(Tally, Rejection)>,
    failed: Ends,
    laid: Ends,
    later: Option<Refusal>,
}

impl Verdict {
    /// The far side has these.
    pub(crate) fn deliver(&mut self, tally: &Tally) {
        self.delivered.merge(tally);
    }

    /// The far side has the batch, but will never have these items of it.
    pub(crate) fn reject(&mut self, tally: Tally, rejection: &Rejection) {
        let items = tally.items();
        let same = |r: &Rejection| r.rule == rejection.rule && r.message == rejection.message;
        if let Some((sum, known)) = self.rejected.iter_mut().find(|(_, r)| same(r)) {
            sum.merge(&tally);
            known.items += items;
            return;
        }
        self.rejected.push((
            tally,
            Rejection {
                items,
                ..rejection.clone()
            },
        ));
    }

    /// These can never be delivered.
    pub(crate) fn fail(&mut self, tally: Tally, reason: &'static str, refusal: &Refusal) {
        gather(&mut self.failed, tally, reason, refusal);
    }

    /// These can never be delivered, and the dead letter has them.
    pub(crate) fn lay(&mut self, tally: Tally, reason: &'static str, refusal: &Refusal) {
        gather(&mut self.laid, tally, reason, refusal);
    }

    /// Some were not delivered now, and may be later.
    pub(crate) fn postpone(&mut self, refusal: Refusal) {
        self.later = Some(match self.later.take() {
            Some(known) => join(known, refusal),
            None => refusal,
        });
    }

    /// Books what is final, and says the answer. `whole` is everything that the caller gave.
    pub(crate) fn finish(&mut self, books: &Books, mut whole: Tally) -> Result<Outcome, Refused> {
        let mut this = std::mem::take(self);
        let mut moved = this.delivered.clone();
        for tally in this
            .rejected
            .iter()
            .map(|(t, _)| t)
            .chain(this.laid.iter().map(|(t, ..)| t))
        {
            moved.merge(tally);
        }
        let mut outcome = Outcome::all();
        match this.later.take() {
            Some(refusal) => {
                this.book(books);
                whole.minus(&moved);
                books.refused(&whole);
                return Err(Refused { refusal, moved });
            }
            None if moved.is_zero() && !this.failed.is_empty() => {
                books.refused(&whole);
                let refusals = this.failed.into_iter().map(|(_, _, refusal)| refusal);
                let refusal = refusals.reduce(join).expect("checked not to be empty");
                return Err(refusal.into());
            }
            None => this.book(books),
        }
        outcome.rejected.extend(this.rejected.into_iter().map(|(_, r)| r));
        for (tally, reason, _) in &this.failed {
            books.failed(reason, tally);
        }
        for (tally, reason, refusal) in this.laid.into_iter().chain(this.failed) {
            outcome.rejected.push(Rejection {
                rule: reason.to_owned(),
                items: tally.items(),
                message: refusal.message(),
            });
        }
        Ok(outcome)
    }

    /// Books what has left this gateway's hands, or those of this exporter.
    fn book(&self, books: &Books) {
        books.delivered(&self.delivered);
        for (tally, rejection) in &self.rejected {
            books.failed(&rejected_reason(&rejection.rule), tally);
        }
        for (tally, reason, _) in &self.laid {
            books.failed(reason, tally);
        }
    }
}

type Ends = Vec<(Tally, &'static str, Refusal)>;

fn gather(ends: &mut Ends, tally: Tally, reason: &'static str, refusal: &Refusal) {
    let known = ends
        .iter_mut()
        .find(|(_, r, known)| *r == reason && known == refusal);
    match known {
        Some((sum, ..)) => sum.merge(&tally),
        None => ends.push((tally, reason, refusal.clone())),
    }
}

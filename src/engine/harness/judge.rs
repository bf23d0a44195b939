//! What comes of an attempt: delivered, sent again in pieces, parked, or given up; callers and books are told.

use std::sync::Arc;
use std::time::Duration;

use component::{ExportError, Refusal};
use telemetry::Column;
use tokio::time::Instant;
use wire::Payload;

use super::batch::Batch;
use super::cut;
use super::partition::Phase;
use super::queue::Hub;
use super::retry::{self, Next, Trouble};
use super::send::{Attempt, Owed, retryable, still_owed};
use super::tally::Tally;
use super::wait::{End, Ticket};

/// What came of one attempt, still to be put back into the state.
pub(super) struct Judged {
    pub(super) again: Vec<Batch>,
    pub(super) parked: Option<(Duration, Batch)>,
    /// `Some(asked)`: the far side was unwell; it may have asked for a pause.
    pub(super) refused: Option<bool>,
}

impl Judged {
    fn done() -> Judged {
        Judged {
            again: Vec::new(),
            parked: None,
            refused: None,
        }
    }

    fn again(pieces: Vec<Batch>) -> Judged {
        Judged {
            again: pieces,
            ..Judged::done()
        }
    }
}

impl Hub {
    /// Sends a batch once, and settles what can be settled.
    pub(super) async fn attempt(&self, mut batch: Batch) -> Judged {
        let begun: Vec<Arc<Ticket>> = if batch.is_awaited() {
            let begun: Vec<_> = batch
                .owners
                .iter()
                .map(|o| o.begin().then(|| o.clone()))
                .collect();
            if begun.iter().any(Option::is_none) {
                let owners = batch.owners.clone();
                batch.extract(|ticket| {
                    let at = owners.iter().position(|o| std::ptr::eq(&**o, ticket));
                    at.is_some_and(|at| begun[at].is_none())
                });
            }
            begun.into_iter().flatten().collect()
        } else {
            Vec::new()
        };
        if batch.payload.chunks.is_empty() {
            return Judged::done();
        }
        let result = self.sender.attempt(&batch.payload).await;
        let judged = self.judge(batch, result);
        for ticket in begun {
            ticket.finish_attempt(&self.sender.books);
        }
        judged
    }

    fn judge(&self, mut batch: Batch, result: Attempt) -> Judged {
        let error = match result {
            Ok(outcome) => {
                batch.end_delivered(&outcome.rejected);
                return Judged::done();
            }
            Err(error) => error,
        };
        let refusal = Refusal::from(&error);
        let trouble = match error {
            ExportError::Rejected { .. } => return self.rejected(batch, &refusal),
            ExportError::TooLarge { .. } => {
                return match cut::halves(batch.take()) {
                    Ok(pieces) => Judged::again(pieces.into_iter().map(|p| batch.piece(p)).collect()),
                    Err(whole) => {
                        batch.payload = whole;
                        self.give_up(batch, "too_large", &refusal, false);
                        Judged::done()
                    }
                };
            }
            ExportError::Retry { after, remaining, .. } => {
                match still_owed(&batch.payload, remaining) {
                    Owed::All => {}
                    Owed::Part(owed) => batch = partly_delivered(batch, owed),
                    Owed::Nothing => {
                        batch.end(&End::Delivered);
                        return Judged::done();
                    }
                }
                Trouble::Unwell(after)
            }
            ExportError::Unauthorized { .. } => Trouble::Unauthorized,
        };
        let asked = matches!(trouble, Trouble::Unauthorized | Trouble::Unwell(Some(_)));
        let now = Instant::now();
        let phase = self.state.lock().phase;
        if phase >= Phase::Draining || (phase == Phase::Closing && self.waiting) {
            self.give_up(batch, "shutdown", &refusal, true);
            return Judged::done();
        }
        let next = batch
            .backoff
            .next(self.sender.retry.as_ref(), trouble, now, retry::chance());
        let delay = match next {
            Next::Wait(delay) => delay,
            Next::GiveUp(reason) => {
                self.give_up(batch, reason, &refusal, true);
                return Judged {
                    refused: Some(asked),
                    ..Judged::done()
                };
            }
        };
        if batch.is_awaited() {
            // Callers that would be gone by then are told now.
            let due = now + delay;
            let gone = batch.extract(|ticket| ticket.until().is_some_and(|until| until < due));
            batch.end_part(&gone, &End::Later(&retryable(refusal.clone())));
        }
        tracing::info!(
            component = %self.sender.id,
            signal = self.sender.signal.as_str(),
            interval_ms = delay.as_millis() as u64,
            items = batch.payload.items,
            error = %refusal.message(),
            "Exporting failed. Will retry the request after interval."
        );
        batch.payload.detach_pieces();
        Judged {
            parked: (!batch.payload.chunks.is_empty()).then_some((delay, batch)),
            refused: Some(asked),
            ..Judged::done()
        }
    }

    /// Never, as a whole: each caller's part, or each chunk, goes once more by itself.
    fn rejected(&self, mut batch: Batch, refusal: &Refusal) -> Judged {
        if !batch.alone {
            let whole = batch.take();
            let mut pieces = if batch.is_awaited() {
                cut::by_slot(whole)
            } else {
                cut::by_chunk(whole)
            };
            if pieces.len() > 1 {
                batch.alone = true;
                return Judged::again(pieces.into_iter().map(|p| batch.piece(p)).collect());
            }
            batch.payload = pieces.pop().expect("a batch has a chunk");
        }
        self.give_up(batch, "rejected", refusal, false);
        Judged::done()
    }

    /// No further attempt. `later`: one that waits may come again.
    fn give_up(&self, batch: Batch, reason: &'static str, refusal: &Refusal, later: bool) {
        let awaited = batch.is_awaited();
        let (id, signal, items) = (&self.sender.id, self.sender.signal.as_str(), batch.payload.items);
        let error = refusal.message();
        match (awaited, later) {
            (true, true) => {
                tracing::warn!(component = %id, signal, rejected_items = items, error, "Exporting failed. Rejecting data.");
                return batch.end(&End::Later(&retryable(refusal.clone())));
            }
            (true, false) => {
                tracing::warn!(component = %id, signal, rejected_items = items, error, "Exporting failed. Rejecting data.");
            }
            (false, _) => {
                tracing::error!(component = %id, signal, dropped_items = items, reason, error, "Exporting failed. Dropping data.");
            }
        }
        batch.end(&End::Failed(reason, refusal));
    }
}

/// Delivers what of a batch is not in `owed`, which stays.
fn partly_delivered(mut batch: Batch, mut owed: Payload) -> Batch {
    let known = |c: &wire::Chunk| (c.origin.slot as usize) < batch.owners.len();
    if !owed.chunks.iter().all(known) {
        return batch; // not cut out of this batch: all of it is owed
    }
    let sent = batch.take();
    if batch.is_awaited() {
        for slot in 0..batch.owners.len() as u32 {
            let of = |payload: &Payload| {
                let mut tally = Tally::default();
                for c in payload.chunks.iter().filter(|c| c.origin.slot == slot) {
                    tally.plus(c.origin.tenant.as_ref(), u64::from(c.shape.items));
                }
                tally
            };
            let mut done = of(&sent);
            done.minus(&of(&owed));
            batch.resolve(slot, done, &End::Delivered);
        }
    } else {
        let mut done = Tally::of(&sent);
        done.minus(&Tally::of(&owed));
        done.release(&batch.sender.books.row);
        done.add(&batch.sender.books.row, Column::Out);
    }
    owed.context = sent.context;
    batch.payload = owed;
    batch
}

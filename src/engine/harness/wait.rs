//! How long a caller may wait, and the ticket that stands for one caller in a queue or batch.
//!
//! Waiting (for room, for a batch to fill, for a retry) ends at the caller's deadline, else after [`HOLD`]. An attempt
//! that began is never cancelled by its caller: the ticket counts running attempts, and a caller whose time is up is
//! answered when the last of them has ended. Pieces of an answered caller are skipped, not sent.

use std::sync::Arc;
use std::time::Duration;

use component::{Outcome, Refusal, Rejection};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wire::{Context, Payload};

use super::durable::Stored;
use super::room::Room;
use super::tally::Tally;
use super::verdict::{Books, Refused, Verdict};

/// How long a caller waits that named no deadline.
pub(crate) const HOLD: Duration = Duration::from_secs(2);

/// When waiting ends for the caller of this context.
pub(crate) fn until(context: &Context, now: Instant) -> Instant {
    context.deadline.map_or(now + HOLD, Instant::from_std)
}

/// How one piece ended.
pub(crate) enum End<'a> {
    /// The far side has it.
    Delivered,
    /// The far side took the batch without these items.
    Rejected(&'a Rejection),
    /// Never.
    Failed(&'static str, &'a Refusal),
    /// Never, and the dead letter has it.
    Laid(&'static str, &'a Refusal),
    /// Not now.
    Later(&'a Refusal),
}

/// Stands for one request in a queue or batch. What it holds (room, memory) is free once its last piece is done.
pub(crate) struct Ticket {
    _room: Option<Room>,
    caller: Option<Caller>,
    stored: Option<Stored>,
}

struct Caller {
    until: Instant,
    state: Mutex<CallerState>,
}

struct CallerState {
    owed: u64,
    attempts: u32,
    gone: bool,
    /// All that the caller gave.
    whole: Tally,
    verdict: Verdict,
    answer: Option<oneshot::Sender<Result<Outcome, Refused>>>,
}

impl Ticket {
    /// For a request whose caller has its answer.
    pub(crate) fn queued(room: Option<Room>) -> Arc<Ticket> {
        Arc::new(Ticket {
            _room: room,
            caller: None,
            stored: None,
        })
    }

    /// For a record of the journal.
    pub(crate) fn stored(stored: Stored) -> Arc<Ticket> {
        Arc::new(Ticket {
            _room: None,
            caller: None,
            stored: Some(stored),
        })
    }

    /// The record that it stands for.
    pub(crate) fn as_stored(&self) -> Option<&Stored> {
        self.stored.as_ref()
    }

    /// For a request whose caller waits.
    pub(crate) fn waiting(room: Option<Room>, payload: &Payload, until: Instant) -> (Arc<Ticket>, Answer) {
        let (tx, rx) = oneshot::channel();
        let state = CallerState {
            owed: payload.items as u64,
            whole: Tally::of(payload),
            attempts: 0,
            gone: false,
            verdict: Verdict::default(),
            answer: Some(tx),
        };
        let ticket = Arc::new(Ticket {
            _room: room,
            caller: Some(Caller {
                until,
                state: Mutex::new(state),
            }),
            stored: None,
        });
        let answer = Answer {
            ticket: ticket.clone(),
            rx,
        };
        (ticket, answer)
    }

    /// When the caller stops waiting; none if nobody waits.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.caller.as_ref().map(|c| c.until)
    }

    /// An attempt with pieces of this request begins; false if its caller has gone.
    pub(crate) fn begin(&self) -> bool {
        if let Some(stored) = &self.stored {
            return stored.begin();
        }
        let Some(caller) = &self.caller else { return true };
        let mut state = caller.state.lock();
        if state.gone || state.answer.is_none() {
            return false;
        }
        state.attempts += 1;
        true
    }

    /// That attempt ended, its pieces are resolved or will be tried again.
    pub(crate) fn finish_attempt(&self, books: &Books) {
        if let Some(stored) = &self.stored {
            return stored.finish();
        }
        let Some(caller) = &self.caller else { return };
        let mut state = caller.state.lock();
        state.attempts = state.attempts.saturating_sub(1);
        if state.gone && state.attempts == 0 {
            state.give_up(books);
        }
    }

    /// A piece ended.
    pub(crate) fn resolve(&self, tally: Tally, end: &End<'_>, books: &Books) {
        let Some(caller) = &self.caller else { return };
        let mut state = caller.state.lock();
        state.owed = state.owed.saturating_sub(tally.items());
        match end {
            End::Delivered => state.verdict.deliver(&tally),
            End::Rejected(rejection) => state.verdict.reject(tally, rejection),
            End::Failed(reason, refusal) => state.verdict.fail(tally, reason, refusal),
            End::Laid(reason, refusal) => state.verdict.lay(tally, reason, refusal),
            End::Later(refusal) => state.verdict.postpone((*refusal).clone()),
        }
        if state.owed == 0 {
            state.reply(books);
        }
    }

    fn leave(&self, books: &Books) {
        let Some(caller) = &self.caller else { return };
        let mut state = caller.state.lock();
        state.gone = true;
        if state.attempts == 0 {
            state.give_up(books);
        }
    }
}

impl CallerState {
    fn give_up(&mut self, books: &Books) {
        if self.answer.is_some() {
            self.verdict
                .postpone(Refusal::unavailable("not delivered in the time the caller waits"));
            self.reply(books);
        }
    }

    fn reply(&mut self, books: &Books) {
        if let Some(answer) = self.answer.take() {
            // The receiving end lives as long as its caller; nobody listening is nobody's loss.
            let _ = answer.send(self.verdict.finish(books, std::mem::take(&mut self.whole)));
        }
    }
}

/// The caller's end of a ticket.
pub(crate) struct Answer {
    ticket: Arc<Ticket>,
    rx: oneshot::Receiver<Result<Outcome, Refused>>,
}

impl Answer {
    /// Waits for the answer, at most as long as the caller does (and until no attempt runs).
    pub(crate) async fn wait(mut self, books: &Books) -> Result<Outcome, Refused> {
        let until = self.ticket.until().expect("answers come from waiting tickets");
        let in_time = tokio::time::timeout_at(until, &mut self.rx).await;
        let result = match in_time {
            Ok(result) => result,
            Err(_) => {
                self.ticket.leave(books);
                self.rx.await
            }
        };
        result.unwrap_or_else(|_| {
            Err(Refusal::unavailable("the gateway stopped before it was delivered").into())
        })
    }
}

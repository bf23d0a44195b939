//! Where data goes that its exporter gave up, or that was rejected for good: another exporter, with its own harness.
//!
//! The books stay true on both sides: the first exporter books the items as failed for their reason, and the edge
//! between the two as accepted. A caller that still waits is told of the rejection and that the rest was taken; if the
//! dead letter cannot take it now, the caller is told to come again, as the data is safe nowhere. What came from a
//! queue in memory is offered again for [`RETRY`], and is then lost as `dead_letter_failed`; what came from a queue on
//! disk is never lost for want of a dead letter.

use std::sync::Arc;
use std::time::Duration;

use component::{Consumer, Refusal};
use wire::{Context, Payload};

use super::retry::{Backoff, RetrySettings};
use super::send::Sender;

/// The reason in the books for what the dead letter did not take either.
pub(crate) const FAILED: &str = "dead_letter_failed";

/// When a dead letter that cannot take something now is asked again.
pub(crate) const RETRY: RetrySettings = RetrySettings {
    initial: Duration::from_secs(1),
    randomization: 0.5,
    multiplier: 2.0,
    max: Duration::from_secs(30),
    elapsed_max: Some(Duration::from_secs(300)),
    retries_max: None,
};

/// The exporter that gets what another one gives up.
pub(crate) struct DeadLetter {
    /// Its id.
    pub(crate) id: String,
    /// The edge to it.
    pub(crate) next: Arc<dyn Consumer>,
}

/// Why a batch is on its way to the dead letter, while it waits to be offered again.
pub(crate) struct Letter {
    pub(crate) reason: &'static str,
    pub(crate) refusal: Refusal,
    pub(crate) backoff: Backoff,
}

/// What came of it.
pub(crate) enum Laid {
    /// There is no dead letter.
    Nowhere,
    /// It is there.
    Taken,
    /// Not now.
    Later(Refusal),
    /// Never.
    Never,
}

/// How long beyond its deadline a stopping harness hands what is left to the dead letter.
pub(crate) const LAST: Duration = Duration::from_secs(1);

impl Sender {
    /// Offers data to the dead letter, once. `reason` is why it goes there.
    pub(crate) async fn lay_down(&self, payload: &Payload, reason: &'static str, refusal: &Refusal) -> Laid {
        let Some(dead) = self.dead_letter.load_full() else {
            return Laid::Nowhere;
        };
        let answer = dead.next.consume(of_nobody(payload)).await;
        let (id, signal, items) = (&self.id, self.signal.as_str(), payload.items);
        let error = refusal.message();
        match answer {
            Ok(_) => {
                tracing::warn!(component = %id, signal, items, reason, error, dead_letter = %dead.id,
                    "Exporting failed. Sent to the dead letter.");
                Laid::Taken
            }
            Err(refusal) => {
                let dead_letter_error = refusal.message();
                tracing::warn!(component = %id, signal, items, reason, error, dead_letter = %dead.id, dead_letter_error,
                    "The dead letter did not take what could not be exported.");
                match refusal.is_retryable() {
                    true => Laid::Later(refusal),
                    false => Laid::Never,
                }
            }
        }
    }
}

/// The same data, for which no caller waits and no slot is kept.
fn of_nobody(payload: &Payload) -> Payload {
    let mut payload = payload.clone();
    if payload.context.deadline.is_some() {
        payload.context = Arc::new(Context {
            deadline: None,
            ..Context::clone(&payload.context)
        });
    }
    for chunk in &mut payload.chunks {
        chunk.origin.slot = 0;
        chunk.origin.first = 0;
    }
    payload
}

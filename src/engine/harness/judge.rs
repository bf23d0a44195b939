//! What comes of an attempt: delivered, sent again in pieces, parked, or given up; callers and books are told.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use component::{ExportError, Refusal, Remaining};
use tokio::time::Instant;
use wire::Payload;

use super::batch::{self, Batch};
use super::cut;
use super::dead_letter::{self, Laid, Letter};
use super::partition::Phase;
use super::queue::Hub;
use super::retry::{self, Backoff, Next, Trouble};
use super::send::{Attempt, Owed, retryable, still_owed};
use super::tally::Tally;
use super::wait::{End, Ticket};

/// What came of one attempt, still to be put back into the state.
pub(super) struct Judged {
    pub(super) again: Vec<Batch>,
    pub(super) parked: Option<(Duration, Batch)>,
    pub(super) health: Health,
    /// How long the far side is better left alone.
    pub(super) pause: Option<Duration>,
    given_up: Option<GivenUp>,
}

/// What an attempt says about the far side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It took the batch, or judged it.
    Well,
    /// It did not; it may have asked for a pause.
    Unwell { asked: bool },
    /// Nothing: there was no attempt.
    Unknown,
}

/// No further attempt. `later`: one that waits may come again.
struct GivenUp {
    batch: Batch,
    reason: &'static str,
    refusal: Refusal,
    later: bool,
}

impl Judged {
    fn new(health: Health) -> Judged {
        Judged {
            again: Vec::new(),
            parked: None,
            health,
            pause: None,
            given_up: None,
        }
    }

    fn again(pieces: Vec<Batch>) -> Judged {
        Judged {
            again: pieces,
            ..Judged::new(Health::Well)
        }
    }

    fn give_up(batch: Batch, reason: &'static str, refusal: Refusal, later: bool, health: Health) -> Judged {
        Judged {
            given_up: Some(GivenUp {
                batch,
                reason,
                refusal,
                later,
            }),
            ..Judged::new(health)
        }
    }
}

/// After the disk did not give back what was shelved.
const UNSHELVE_PAUSE: Duration = Duration::from_secs(1);

impl Hub {
    /// Sends a batch once, and settles what can be settled.
    pub(super) async fn attempt(&self, mut batch: Batch) -> Judged {
        if batch.shelved {
            let stored = batch.owners.first().and_then(|o| o.as_stored());
            let Some(queue) = stored.and_then(|s| s.queue()) else {
                return Judged::new(Health::Unknown); // it stays where it is
            };
            let Some(chunks) = queue.unshelve(&batch.owners, &batch.payload.chunks).await else {
                return Judged {
                    parked: Some((UNSHELVE_PAUSE, batch)),
                    ..Judged::new(Health::Unknown)
                };
            };
            batch.payload.items = chunks.iter().map(|c| c.shape.items as usize).sum();
            batch.payload.chunks = chunks;
            batch.shelved = false;
        }
        let begun: Vec<Arc<Ticket>> = if batch.is_awaited() || batch.is_stored() {
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
            return Judged::new(Health::Unknown);
        }
        if let Some(last) = batch.last_stored() {
            last.announce().await;
        }
        let judged = match batch.letter.take() {
            Some(letter) if batch.is_awaited() => {
                let Letter { reason, refusal, .. } = *letter;
                let given_up = GivenUp {
                    batch,
                    reason,
                    refusal,
                    later: false,
                };
                Judged {
                    parked: self.give_up(given_up).await,
                    ..Judged::new(Health::Unknown)
                }
            }
            Some(letter) => {
                batch.letter = Some(letter);
                Judged {
                    parked: self.offer_letter(batch).await,
                    ..Judged::new(Health::Unknown)
                }
            }
            None => self.send(batch).await,
        };
        for ticket in begun {
            ticket.finish_attempt(&self.sender.books);
        }
        judged
    }

    async fn send(&self, batch: Batch) -> Judged {
        let result = self.attempt_or_cut_off(&batch).await;
        if result.is_none() && self.is_handed_over() {
            return Judged::again(vec![batch]);
        }
        let result =
            result.unwrap_or_else(|| Err(ExportError::retry("not delivered before the shutdown deadline")));
        let mut judged = self.judge(batch, result);
        if let Some(given_up) = judged.given_up.take() {
            judged.parked = self.give_up(given_up).await;
        }
        judged
    }

    /// `None`: the attempt was cut off at the end of a drain, so that the dead letter or the hub that took over gets
    /// the batch.
    async fn attempt_or_cut_off(&self, batch: &Batch) -> Option<Attempt> {
        let mut cut_off = self.cut_off.1.clone();
        tokio::select! {
            biased;
            () = cut_off.stopped() => None,
            result = self.sender.attempt(&batch.payload) => Some(result),
        }
    }

    fn judge(&self, mut batch: Batch, result: Attempt) -> Judged {
        let error = match result {
            Ok(outcome) => {
                batch.end_delivered(&outcome.rejected);
                return Judged::new(Health::Well);
            }
            Err(error) => error,
        };
        let refusal = Refusal::from(&error);
        let trouble = match error {
            ExportError::Rejected { .. } => return rejected(batch, refusal),
            ExportError::TooLarge { .. } => {
                return match cut::halves(batch.take()) {
                    Ok(pieces) => Judged::again(pieces.into_iter().map(|p| batch.piece(p)).collect()),
                    Err(whole) => {
                        batch.payload = whole;
                        Judged::give_up(batch, "too_large", refusal, false, Health::Well)
                    }
                };
            }
            ExportError::Apart { pieces, .. } => {
                return match cut::apart(batch.take(), pieces) {
                    Ok(pieces) => Judged::again(pieces.into_iter().map(|p| batch.piece(p)).collect()),
                    Err(whole) => {
                        batch.payload = whole;
                        Judged::give_up(batch, "rejected", refusal, false, Health::Well)
                    }
                };
            }
            ExportError::Retry {
                after, mut remaining, ..
            } => {
                if let Some((refused, why)) = self.sender.take_refused(&mut remaining) {
                    let left = remaining.as_ref().map(|r| &r.owed);
                    let is_all = left.is_none_or(|owed| owed.items == 0);
                    match set_apart(batch, refused, left) {
                        Ok((rest, mut refused)) => {
                            refused.letter = Some(Box::new(Letter {
                                reason: "rejected",
                                refusal: why,
                                backoff: Backoff::default(),
                            }));
                            let source = refusal.message().into();
                            let mut judged = match is_all {
                                true => Judged::new(Health::Well),
                                false => self.judge(
                                    rest,
                                    Err(ExportError::Retry {
                                        after,
                                        remaining: None,
                                        source,
                                    }),
                                ),
                            };
                            judged.again.push(refused);
                            return judged;
                        }
                        // Not cut out of this batch: all of it is owed.
                        Err(whole) => (batch, remaining) = (*whole, None),
                    }
                }
                match still_owed(&batch.payload, remaining) {
                    Owed::All => {}
                    Owed::Part(owed) => batch = partly_delivered(batch, owed),
                    Owed::Nothing(rejected) => {
                        batch.end_delivered(&rejected);
                        return Judged::new(Health::Well);
                    }
                }
                Trouble::Unwell(after)
            }
            ExportError::Unauthorized { .. } => Trouble::Unauthorized,
        };
        let asked = matches!(trouble, Trouble::Unauthorized | Trouble::Unwell(Some(_)));
        let health = Health::Unwell { asked };
        let now = Instant::now();
        let phase = self.state.lock().phase;
        if phase >= Phase::Draining && batch.is_stored() {
            // It stays where it is.
            return Judged::new(Health::Unknown);
        }
        if phase >= Phase::Draining || (phase == Phase::Closing && self.waiting) {
            return Judged::give_up(batch, "shutdown", refusal, true, Health::Unknown);
        }
        let next = batch
            .backoff
            .next(self.sender.retry.as_ref(), trouble, now, retry::chance());
        let delay = match next {
            Next::Wait(delay) => delay,
            Next::GiveUp(reason) => {
                return Judged::give_up(batch, reason, refusal, true, health);
            }
        };
        if batch.is_awaited() {
            // Callers that would be gone by then are told now.
            let due = now + delay;
            let gone = batch.extract(|ticket| ticket.until().is_some_and(|until| until < due));
            if gone.items > 0 {
                let why = "request will be cancelled before next retry";
                self.sender.log_rejecting(gone.items, why, &refusal);
            }
            batch.end_part(&gone, &End::Later(&retryable(refusal.clone())));
            if batch.payload.chunks.is_empty() {
                return Judged {
                    // Others that wait go on trying, unless they were asked not to.
                    pause: asked.then_some(delay),
                    ..Judged::new(health)
                };
            }
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
            parked: Some((delay, batch)),
            pause: Some(delay),
            ..Judged::new(health)
        }
    }

    /// To the dead letter where there is one; else callers and books are told. What comes back is offered again later.
    async fn give_up(&self, given_up: GivenUp) -> Option<(Duration, Batch)> {
        let GivenUp {
            mut batch,
            reason,
            refusal,
            later,
        } = given_up;
        if !batch.is_awaited() {
            batch.letter = Some(Box::new(Letter {
                reason,
                refusal,
                backoff: Backoff::default(),
            }));
            return self.offer_letter(batch).await;
        }
        if later {
            let why = match reason {
                "retries_exhausted" => "no more retries left",
                "retry_disabled" => "not retried",
                _ => "request is cancelled or timed out",
            };
            self.sender.log_rejecting(batch.payload.items, why, &refusal);
            batch.end(&End::Later(&retryable(refusal)));
            return None;
        }
        match self.sender.lay_down(&batch.payload, reason, &refusal).await {
            Laid::Taken => batch.end(&End::Laid(reason, &refusal)),
            Laid::Later(refusal) => batch.end(&End::Later(&retryable(refusal))),
            Laid::Nowhere | Laid::Never => {
                let items = batch.payload.items;
                self.sender.log_rejecting(items, "not retryable error", &refusal);
                batch.end(&End::Failed(reason, &refusal));
            }
        }
        None
    }

    /// Offers a batch for which nobody waits to the dead letter, if there is one.
    async fn offer_letter(&self, mut batch: Batch) -> Option<(Duration, Batch)> {
        let mut letter = batch.letter.take().expect("the caller has looked");
        let laid = self
            .sender
            .lay_down(&batch.payload, letter.reason, &letter.refusal)
            .await;
        let reason = match laid {
            Laid::Taken => {
                batch.end(&End::Failed(letter.reason, &letter.refusal));
                return None;
            }
            // What is on disk is not lost for want of a dead letter: it is offered again, or stays where it is.
            laid if batch.is_stored() && !matches!(laid, Laid::Nowhere) => {
                let trouble = match laid {
                    Laid::Later(refusal) => Trouble::Unwell(refusal.retry_after()),
                    _ => Trouble::Unwell(None),
                };
                let draining = self.state.lock().phase >= Phase::Draining;
                let (retry, now) = (Some(&dead_letter::RETRY), Instant::now());
                let delay = match letter.backoff.next(retry, trouble, now, retry::chance()) {
                    Next::Wait(delay) => delay,
                    Next::GiveUp(_) => dead_letter::RETRY.max,
                };
                if draining {
                    return None;
                }
                batch.payload.detach_pieces();
                batch.letter = Some(letter);
                return Some((delay, batch));
            }
            Laid::Later(refusal) => {
                let (now, trouble) = (Instant::now(), Trouble::Unwell(refusal.retry_after()));
                let draining = self.state.lock().phase >= Phase::Draining;
                let retry = Some(&dead_letter::RETRY);
                match letter.backoff.next(retry, trouble, now, retry::chance()) {
                    Next::Wait(delay) if !draining => {
                        batch.payload.detach_pieces();
                        batch.letter = Some(letter);
                        return Some((delay, batch));
                    }
                    _ => dead_letter::FAILED,
                }
            }
            Laid::Never => dead_letter::FAILED,
            Laid::Nowhere => letter.reason,
        };
        self.sender
            .log_dropping(batch.payload.items, reason, &letter.refusal);
        batch.end(&End::Failed(reason, &letter.refusal));
        None
    }
}

/// Never, as a whole: each caller's part, or each chunk, goes once more by itself.
fn rejected(mut batch: Batch, refusal: Refusal) -> Judged {
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
    Judged::give_up(batch, "rejected", refusal, false, Health::Well)
}

/// Ends what of a batch is neither owed nor refused, and makes a batch of each of the two: the owed one first, which
/// may be empty. The batch as it was, if they are not pieces of it.
fn set_apart(batch: Batch, refused: Payload, owed: Option<&Payload>) -> Result<(Batch, Batch), Box<Batch>> {
    let mut left = refused.clone();
    for chunk in owed.iter().flat_map(|owed| &owed.chunks) {
        left.push(chunk.clone());
    }
    let items = left.items;
    let known = |c: &wire::Chunk| (c.origin.slot as usize) < batch.owners.len();
    if items > batch.payload.items || refused.signal != batch.payload.signal || !left.chunks.iter().all(known)
    {
        return Err(Box::new(batch));
    }
    let mut batch = match items < batch.payload.items {
        true => partly_delivered(
            batch,
            Remaining {
                owed: left,
                rejected: Vec::new(),
                refused: None,
            },
        ),
        false => batch,
    };
    if batch.payload.items != items {
        return Err(Box::new(batch));
    }
    let context = batch.take().context;
    let refused = batch.piece(Payload {
        context: context.clone(),
        ..refused
    });
    if let Some(owed) = owed {
        batch.payload = Payload {
            context,
            ..owed.clone()
        };
    }
    Ok((batch, refused))
}

/// Ends what of a batch is not in `owed`, which stays.
fn partly_delivered(mut batch: Batch, remaining: Remaining) -> Batch {
    let Remaining {
        mut owed, rejected, ..
    } = remaining;
    let known = |c: &wire::Chunk| (c.origin.slot as usize) < batch.owners.len();
    if !owed.chunks.iter().all(known) {
        return batch; // not cut out of this batch: all of it is owed
    }
    if batch.is_stored() {
        let Some(done) = difference(&batch.payload, &owed) else {
            return batch; // not pieces of this batch
        };
        let mut tally = Tally::of(&batch.payload);
        tally.minus(&Tally::of(&owed));
        batch::book_arrived(&batch.sender.books, tally, &rejected);
        for (slot, items) in done {
            let owner = batch.owners.get(slot as usize);
            if let Some(stored) = owner.and_then(|o| o.as_stored()) {
                stored.complete(items);
            }
        }
        owed.context = batch.take().context;
        batch.payload = owed;
        return batch;
    }
    let sent = batch.take();
    if batch.is_awaited() {
        let mut left: Vec<u64> = rejected.iter().map(|r| r.items).collect();
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
            batch.resolve_arrived(slot, done, &rejected, &mut left);
        }
    } else {
        let mut done = Tally::of(&sent);
        done.minus(&Tally::of(&owed));
        batch::book_arrived(&batch.sender.books, done, &rejected);
    }
    owed.context = sent.context;
    batch.payload = owed;
    batch
}

/// The items of `sent` that are not in `owed`, by slot; `None` if `owed` has items that are not in `sent`.
fn difference(sent: &Payload, owed: &Payload) -> Option<Vec<(u32, Range<u32>)>> {
    let range = |chunk: &wire::Chunk| {
        let first = chunk.origin.first;
        (chunk.origin.slot, first..first.saturating_add(chunk.shape.items))
    };
    let mut left: Vec<(u32, Range<u32>)> = sent
        .chunks
        .iter()
        .map(range)
        .filter(|(_, r)| !r.is_empty())
        .collect();
    for (slot, gone) in owed.chunks.iter().map(range).filter(|(_, r)| !r.is_empty()) {
        let holds = |(of, r): &(u32, Range<u32>)| *of == slot && r.start <= gone.start && gone.end <= r.end;
        let at = left.iter().position(holds)?;
        let (_, whole) = left.swap_remove(at);
        let parts = [whole.start..gone.start, gone.end..whole.end];
        left.extend(parts.into_iter().filter(|r| !r.is_empty()).map(|r| (slot, r)));
    }
    Some(left)
}

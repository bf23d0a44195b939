//! One attempt, and the direct path: an exporter without queue and batch, in its caller's own task.
//!
//! The caller's future is never dropped half way (see [`component::Consumer`]), so an attempt needs no task. A caller
//! waits for retries until its deadline, else two seconds; then it is told `Unavailable`, and nothing is kept.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use component::{
    Code, ExportError, Host, Outcome, Push, Refusal, Rejection, Remaining, Status, StatusDetails, Stop,
};
use telemetry::{Counter, Gauge};
use tokio::time::Instant;
use wire::{Payload, Signal};

use super::config::OnAuthError;
use super::cut::{self, Limits};
use super::dead_letter::{DeadLetter, Laid};
use super::retry::{self, Backoff, Next, RetrySettings, Trouble};
use super::tally::Tally;
use super::verdict::{Books, Refused, Verdict};
use super::wait;

/// An exporter for one signal, with what every attempt needs.
pub(crate) struct Sender {
    pub(crate) id: String,
    pub(crate) signal: Signal,
    pub(crate) exporter: Arc<dyn Push>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Option<RetrySettings>,
    pub(crate) limits: Limits,
    /// Where a batch goes depends on its tenant.
    pub(crate) by_tenant: bool,
    pub(crate) books: Books,
    pub(crate) in_flight: Gauge,
    pub(crate) panics: Counter,
    pub(crate) host: OnceLock<Arc<dyn Host>>,
    pub(crate) unauthorized: AtomicBool,
    pub(crate) stop: Stop,
    pub(crate) on_auth_error: OnAuthError,
    pub(crate) hint: &'static str,
    pub(crate) dead_letter: ArcSwapOption<DeadLetter>,
}

/// What an export answered.
pub(crate) type Attempt = Result<Outcome, ExportError>;

impl Sender {
    /// Sends once. A panic of the exporter is its rejection of this batch.
    pub(crate) async fn attempt(&self, payload: &Payload) -> Attempt {
        let _guard = InFlight::new(&self.in_flight);
        let deadline = self.timeout.and_then(|limit| Instant::now().checked_add(limit));
        let export = || self.exporter.export_until(payload, deadline);
        let export = std::panic::catch_unwind(AssertUnwindSafe(export));
        let caught = match (export, self.timeout) {
            (Err(_), _) => None,
            (Ok(export), None) => CatchPanic(export).await,
            (Ok(export), Some(limit)) => match tokio::time::timeout(limit, CatchPanic(export)).await {
                Ok(caught) => caught,
                Err(_) => {
                    let message = format!("no answer within {limit:?}; the far side may have it");
                    return Err(ExportError::retry(message));
                }
            },
        };
        let result = caught.unwrap_or_else(|| {
            self.panics.add(1);
            Err(ExportError::Rejected {
                code: Code::INTERNAL,
                source: "the exporter panicked".into(),
            })
        });
        self.report(&result);
        match result {
            Err(ExportError::Unauthorized { source }) if self.on_auth_error == OnAuthError::Reject => {
                // The far side's code would tell our clients that it is they who may not send.
                Err(ExportError::Rejected {
                    code: Code::INVALID_ARGUMENT,
                    source,
                })
            }
            result => result,
        }
    }

    /// Sends in the caller's task: the path without queue and batch.
    pub(crate) async fn direct(&self, payload: Payload) -> Result<Outcome, Refused> {
        let must_be_cut = self.by_tenant && cut::is_mixed(&payload);
        if must_be_cut || !self.limits.is_within(payload.items, || payload.len()) {
            return Box::pin(self.settle(payload, None)).await;
        }
        match self.attempt(&payload).await {
            Ok(outcome) if outcome.rejected.is_empty() => {
                self.books.delivered(&Tally::of(&payload));
                Ok(outcome)
            }
            result => Box::pin(self.settle(payload, Some(result))).await,
        }
    }

    /// Pieces that the exporter may be given: within the limits, and of one tenant where it tells them apart.
    pub(crate) fn cut(&self, payload: Payload, limits: Limits) -> Vec<Payload> {
        if self.by_tenant && cut::is_mixed(&payload) {
            let parts = cut::by_tenant(payload).into_iter();
            return parts.flat_map(|part| cut::within(part, limits)).collect();
        }
        cut::within(payload, limits)
    }

    /// The long way: pieces, retries, rejections.
    async fn settle(&self, payload: Payload, mut first: Option<Attempt>) -> Result<Outcome, Refused> {
        let until = wait::until(&payload.context, Instant::now());
        let whole = Tally::of(&payload);
        let mut verdict = Verdict::default();
        let mut work: VecDeque<(Payload, Backoff)> = match &first {
            Some(_) => VecDeque::from([(payload, Backoff::default())]),
            None => self
                .cut(payload, self.limits)
                .into_iter()
                .map(|p| (p, Backoff::default()))
                .collect(),
        };
        while let Some((mut part, mut backoff)) = work.pop_front() {
            let result = match first.take() {
                Some(result) => result,
                None => self.attempt(&part).await,
            };
            let error = match result {
                Ok(outcome) => {
                    settle_delivered(&mut verdict, Tally::of(&part), &outcome.rejected);
                    continue;
                }
                Err(error) => error,
            };
            let refusal = Refusal::from(&error);
            let trouble = match error {
                ExportError::Rejected { .. } => {
                    self.end(&mut verdict, &part, "rejected", &refusal).await;
                    continue;
                }
                ExportError::TooLarge { .. } => {
                    match cut::halves(part) {
                        Ok(pieces) => pieces
                            .into_iter()
                            .rev()
                            .for_each(|p| work.push_front((p, backoff.clone()))),
                        Err(whole) => self.end(&mut verdict, &whole, "too_large", &refusal).await,
                    }
                    continue;
                }
                ExportError::Apart { pieces, .. } => {
                    match cut::apart(part, pieces) {
                        Ok(pieces) => pieces
                            .into_iter()
                            .rev()
                            .for_each(|p| work.push_front((p, backoff.clone()))),
                        Err(whole) => self.end(&mut verdict, &whole, "rejected", &refusal).await,
                    }
                    continue;
                }
                ExportError::Retry {
                    after, mut remaining, ..
                } => {
                    if let Some((refused, why)) = self.take_refused(&mut remaining) {
                        let owed = remaining.take().map(|r| r.owed).filter(|owed| owed.items > 0);
                        let mut done = Tally::of(&part);
                        done.minus(&Tally::of(&refused));
                        owed.iter().for_each(|owed| done.minus(&Tally::of(owed)));
                        settle_delivered(&mut verdict, done, &[]);
                        self.end(&mut verdict, &refused, "rejected", &why).await;
                        match owed {
                            Some(owed) => part = owed,
                            None => continue,
                        }
                    }
                    match still_owed(&part, remaining) {
                        Owed::All => {}
                        Owed::Part(Remaining { owed, rejected, .. }) => {
                            let mut done = Tally::of(&part);
                            done.minus(&Tally::of(&owed));
                            settle_delivered(&mut verdict, done, &rejected);
                            part = owed;
                        }
                        Owed::Nothing(rejected) => {
                            settle_delivered(&mut verdict, Tally::of(&part), &rejected);
                            continue;
                        }
                    }
                    Trouble::Unwell(after)
                }
                ExportError::Unauthorized { .. } => Trouble::Unauthorized,
            };
            let now = Instant::now();
            match backoff.next(self.retry.as_ref(), trouble, now, retry::chance()) {
                Next::Wait(delay) if now + delay <= until && self.sleep(delay).await => {
                    work.push_front((part, backoff));
                }
                _ => {
                    // What is left is refused unsent: its attempts would outlast the caller.
                    let items = part.items + work.iter().map(|(p, _)| p.items).sum::<usize>();
                    let why = match self.retry {
                        Some(_) => "request will be cancelled before next retry",
                        None => "not retried",
                    };
                    self.log_rejecting(items, why, &refusal);
                    verdict.postpone(retryable(refusal));
                    break;
                }
            }
        }
        verdict.finish(&self.books, whole)
    }

    /// Items that the far side refused by name while it took others, and why: for the dead letter, if there is one.
    pub(crate) fn take_refused(&self, remaining: &mut Option<Remaining>) -> Option<(Payload, Refusal)> {
        self.dead_letter.load().as_ref()?;
        let remaining = remaining.as_mut()?;
        let refused = remaining.refused.take().filter(|refused| refused.items > 0)?;
        let outcome = Outcome {
            rejected: std::mem::take(&mut remaining.rejected),
        };
        let details = StatusDetails {
            message: outcome.message(),
            retry_after: None,
        };
        let why = Refusal::Status(Code::INVALID_ARGUMENT, Box::new(details));
        Some((*refused, why))
    }

    /// This part never: to the dead letter, else the caller is told.
    async fn end(&self, verdict: &mut Verdict, part: &Payload, reason: &'static str, refusal: &Refusal) {
        match self.lay_down(part, reason, refusal).await {
            Laid::Taken => verdict.lay(Tally::of(part), reason, refusal),
            Laid::Later(refusal) => verdict.postpone(retryable(refusal)),
            Laid::Nowhere | Laid::Never => {
                self.log_rejecting(part.items, "not retryable error", refusal);
                verdict.fail(Tally::of(part), reason, refusal);
            }
        }
    }

    /// Given back to a caller, with the collector's words for why.
    pub(crate) fn log_rejecting(&self, items: usize, why: &str, refusal: &Refusal) {
        let (signal, error) = (self.signal.as_str(), refusal.message());
        tracing::error!(component = %self.id, signal, rejected_items = items, error = format!("{why}: {error}"),
            "Exporting failed. Rejecting data.{}", self.hint);
    }

    /// Lost, with the collector's words for why.
    pub(crate) fn log_dropping(&self, items: usize, reason: &str, refusal: &Refusal) {
        let (signal, error) = (self.signal.as_str(), refusal.message());
        let why = match reason {
            "retries_exhausted" => "no more retries left: ",
            "rejected" | "too_large" => "not retryable error: ",
            _ => "",
        };
        tracing::error!(component = %self.id, signal, dropped_items = items, reason, error = format!("{why}{error}"),
            "Exporting failed. Dropping data.{}", self.hint);
    }

    /// False if the harness closes meanwhile.
    async fn sleep(&self, delay: Duration) -> bool {
        let _guard = InFlight::new(&self.in_flight);
        let mut stop = self.stop.clone();
        tokio::time::timeout(delay, stop.stopped()).await.is_err()
    }

    fn report(&self, result: &Attempt) {
        // Any other answer leaves open whether we may send.
        let (denied, status) = match result {
            Err(ExportError::Unauthorized { source }) => (true, Status::Permanent(source.to_string())),
            Ok(_) if self.unauthorized.load(Relaxed) => (false, Status::Ok),
            _ => return,
        };
        if self.unauthorized.swap(denied, Relaxed) == denied {
            return;
        }
        if let Some(host) = self.host.get() {
            host.report(&self.id, status);
        }
    }
}

/// Books a batch that the far side took, and what it rejected out of it. The far side says how many items, not which:
/// they are taken to be the first ones.
pub(crate) fn settle_delivered(verdict: &mut Verdict, mut tally: Tally, rejected: &[Rejection]) {
    for rejection in rejected {
        verdict.reject(tally.take(rejection.items), rejection);
    }
    verdict.deliver(&tally);
}

/// What a failed export left to be done.
pub(crate) enum Owed {
    All,
    Part(Remaining),
    /// All has arrived but for these.
    Nothing(Vec<Rejection>),
}

/// What a failed export says is still owed, if that can be a part of what it was given.
pub(crate) fn still_owed(sent: &Payload, remaining: Option<Remaining>) -> Owed {
    let Some(remaining) = remaining else {
        return Owed::All;
    };
    let owed = &remaining.owed;
    match owed.items {
        0 => Owed::Nothing(remaining.rejected),
        items if items < sent.items && owed.signal == sent.signal => Owed::Part(remaining),
        _ => Owed::All,
    }
}

/// Refused for now, whatever the far side called it.
pub(crate) fn retryable(refusal: Refusal) -> Refusal {
    if refusal.is_retryable() {
        refusal
    } else {
        Refusal::unavailable(refusal.message())
    }
}

struct InFlight<'a>(&'a Gauge);

impl<'a> InFlight<'a> {
    fn new(gauge: &'a Gauge) -> InFlight<'a> {
        gauge.add(1);
        InFlight(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// A future whose panic is an answer: `None`.
pub(crate) struct CatchPanic<F>(pub(crate) F);

impl<F: Future + Unpin> Future for CatchPanic<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = Pin::new(&mut self.0);
        match std::panic::catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    }
}

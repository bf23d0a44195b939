//! What a connection is doing: the requests that it has in flight, and since when it has none.
//!
//! Written by the calls themselves, wherever they run; read by the connection's own task and by whoever looks for a
//! connection that can go.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// One connection's state. Times are milliseconds since `born`.
#[derive(Debug)]
pub(super) struct Pulse {
    born: Instant,
    begun: AtomicU64,
    finished: AtomicU64,
    /// Answers that are there and not yet taken by the client.
    answering: AtomicU64,
    /// When the last call finished, or the last bytes outside of any call came.
    quiet_since: AtomicU64,
    /// When the oldest answer came to wait, or another was taken while it waited.
    waiting_since: AtomicU64,
    going: AtomicBool,
    /// A head has begun: its own time runs.
    heading: AtomicBool,
    /// The last answer said that a request was not taken: perhaps before all of it was read.
    refused: AtomicBool,
    /// Why this connection is ended, where its client is to blame.
    reason: OnceLock<&'static str>,
    /// Told when this connection has to make room.
    pub(super) evicted: Notify,
}

/// What the connection's task has to do about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing before then.
    Later(Instant),
    /// Without a request for too long.
    Idle,
    /// An answer was not taken for too long.
    Stuck,
}

impl Pulse {
    pub(super) fn new() -> Arc<Pulse> {
        Arc::new(Pulse {
            born: Instant::now(),
            begun: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            answering: AtomicU64::new(0),
            quiet_since: AtomicU64::new(0),
            waiting_since: AtomicU64::new(0),
            going: AtomicBool::new(false),
            heading: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            reason: OnceLock::new(),
            evicted: Notify::new(),
        })
    }

    fn now(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }

    /// No request is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.finished.load(Relaxed) == self.begun.load(Relaxed)
    }

    /// Calls so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Calls that have come to an end.
    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Relaxed)
    }

    /// Whether the last request was refused.
    pub(super) fn was_refused(&self) -> bool {
        self.refused.load(Relaxed)
    }

    /// Notes why the connection is ended; the first reason stays.
    pub(super) fn cut_off(&self, reason: &'static str) {
        let _ = self.reason.set(reason);
    }

    pub(super) fn reason(&self) -> Option<&'static str> {
        self.reason.get().copied()
    }

    /// Something of the next request has come.
    pub(super) fn touch(&self) {
        self.heading.store(true, Relaxed);
        self.quiet_since.store(self.now(), Relaxed);
    }

    /// Whether this connection was idle, or an answer stuck, for too long; else when to look again.
    pub(super) fn due(&self, idle_max: Option<Duration>, write_timeout: Duration) -> Due {
        let now = Instant::now();
        let at = |mark: &AtomicU64| self.born + Duration::from_millis(mark.load(Relaxed));
        let stuck = match self.answering.load(Relaxed) {
            0 => now + write_timeout,
            _ => at(&self.waiting_since) + write_timeout,
        };
        if stuck <= now {
            return Due::Stuck;
        }
        let Some(idle_max) = idle_max else {
            return Due::Later(stuck);
        };
        let idle = if self.is_idle() && !self.heading.load(Relaxed) {
            at(&self.quiet_since) + idle_max
        } else {
            now + idle_max
        };
        if idle <= now {
            return Due::Idle;
        }
        Due::Later(idle.min(stuck))
    }

    /// How dispensable this connection is: the smallest goes first. `None` = it has work, or goes already.
    ///
    /// One that was never asked anything comes before one that was; then the one that was quiet the longest.
    pub(super) fn rank(&self) -> Option<(bool, Instant)> {
        let quiet = self.born + Duration::from_millis(self.quiet_since.load(Relaxed));
        let stays = self.going.load(Relaxed) || !self.is_idle();
        (!stays).then(|| (self.finished() > 0, quiet))
    }

    /// Tells the connection to close at once.
    pub(super) fn evict(&self) {
        self.going.store(true, Relaxed);
        self.evicted.notify_one();
    }
}

/// One request, from its head to the last byte of its answer.
#[derive(Debug)]
pub(crate) struct Call {
    pulse: Arc<Pulse>,
    answered: bool,
}

impl Call {
    pub(super) fn begin(pulse: &Arc<Pulse>) -> Call {
        pulse.begun.fetch_add(1, Relaxed);
        pulse.heading.store(false, Relaxed);
        Call {
            pulse: pulse.clone(),
            answered: false,
        }
    }

    pub(super) fn answered(&mut self, refused: bool) {
        self.answered = true;
        self.pulse.refused.store(refused, Relaxed);
        if self.pulse.answering.fetch_add(1, Relaxed) == 0 {
            self.pulse.waiting_since.store(self.pulse.now(), Relaxed);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let now = self.pulse.now();
        if self.answered {
            self.pulse.answering.fetch_sub(1, Relaxed);
            self.pulse.waiting_since.store(now, Relaxed);
        }
        self.pulse.quiet_since.store(now, Relaxed);
        self.pulse.finished.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Option<Duration> = Some(Duration::from_secs(75));
    const WRITE: Duration = Duration::from_secs(60);

    async fn wait(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn is_idle_between_calls_and_stuck_while_an_answer_waits() {
        let pulse = Pulse::new();
        let later = |seconds: u64| Due::Later(Instant::now() + Duration::from_secs(seconds));
        assert_eq!(pulse.due(IDLE, WRITE), later(60));
        wait(70).await;
        assert_eq!(pulse.due(IDLE, WRITE), later(5));
        let mut call = Call::begin(&pulse);
        wait(1000).await;
        assert_eq!(pulse.due(IDLE, WRITE), later(60), "busy, however long it takes");
        call.answered(false);
        wait(59).await;
        let mut second = Call::begin(&pulse);
        second.answered(false);
        assert_eq!(pulse.due(IDLE, WRITE), later(1));
        drop(second);
        assert_eq!(pulse.due(IDLE, WRITE), later(60), "the client takes answers");
        wait(60).await;
        assert_eq!(pulse.due(IDLE, WRITE), Due::Stuck);
        drop(call);
        wait(74).await;
        assert_eq!(pulse.due(IDLE, WRITE), later(1));
        wait(1).await;
        assert_eq!(pulse.due(IDLE, WRITE), Due::Idle);
        assert_eq!(pulse.due(None, WRITE), later(60));
        pulse.touch();
        wait(1000).await;
        assert_eq!(
            pulse.due(IDLE, WRITE),
            later(60),
            "within a head, which has its own time"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_go_first_then_who_was_quiet_the_longest() {
        let known = Pulse::new();
        drop(Call::begin(&known));
        wait(1).await;
        let stranger = Pulse::new();
        let quiet = Pulse::new();
        drop(Call::begin(&quiet));
        let busy = Pulse::new();
        let _call = Call::begin(&busy);
        assert!(stranger.rank() < known.rank() && known.rank() < quiet.rank());
        assert_eq!(busy.rank(), None);
        stranger.evict();
        assert_eq!(stranger.rank(), None);
    }
}

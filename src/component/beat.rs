//! For nodes that gather and hand on at an interval: the task that does it, and the handing on that does not give up.
//!
//! [`Beat`] owns the task and ends it; [`deliver`] offers a payload until it is taken, rejected for good, or its time is
//! over. A refused payload is offered whole again, later and later.

use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use wire::Payload;

use crate::host::StopSwitch;
use crate::{Consumer, Refusal, Stop};

/// Longest pause between two offers.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// First pause between two offers.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// A task that does something at an interval.
#[derive(Default)]
pub struct Beat(Mutex<Option<(StopSwitch, JoinHandle<()>)>>);

impl Beat {
    /// Begins: `work` is called after each interval, never twice at a time; what was missed is not made up for. It is
    /// given a [`Stop`] that says when the task is to end. A second start does nothing.
    pub fn start<W, F>(&self, every: Duration, work: W)
    where
        W: Fn(Stop) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut task = self.0.lock();
        if task.is_some() {
            return;
        }
        let (switch, stop) = Stop::new();
        let every = every.max(Duration::from_millis(1));
        let run = async move {
            let mut ticks = interval_at(Instant::now() + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut ended = stop.clone();
            loop {
                tokio::select! {
                    biased;
                    () = ended.stopped() => return,
                    _ = ticks.tick() => work(stop.clone()).await,
                }
            }
        };
        *task = Some((switch, tokio::spawn(run)));
    }

    /// Ends the task and waits until it has ended: work that was begun is told to stop, and awaited.
    pub async fn end(&self) {
        let task = self.0.lock().take();
        if let Some((switch, task)) = task {
            switch.stop();
            // A panic in it was told where it happened; there is nothing left to end.
            let _ = task.await;
        }
    }
}

/// Offers a payload until it is taken, waiting between offers as the refusal says, or twice as long each time.
///
/// Errors: the last refusal, if it is for good or `stop` came. An offer that was begun is always awaited.
pub async fn deliver(next: &dyn Consumer, payload: &Payload, stop: &mut Stop) -> Result<(), Refusal> {
    let mut pause = PAUSE_MIN;
    loop {
        let Err(refusal) = next.consume(payload.clone()).await else {
            return Ok(());
        };
        if !refusal.is_retryable() || stop.is_stopped() {
            return Err(refusal);
        }
        let wait = refusal.retry_after().unwrap_or(pause).clamp(PAUSE_MIN, PAUSE_MAX);
        pause = (pause * 2).min(PAUSE_MAX);
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.stopped() => return Err(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use bytes::Bytes;
    use wire::{Chunk, Shape, Signal};

    use super::*;
    use crate::test_kit::Sink;

    fn payload() -> Payload {
        Payload::new(
            Signal::Logs,
            Chunk::new(Bytes::from_static(b"x"), Shape::default()),
            Arc::default(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn beats_until_it_is_ended() {
        let (beat, count) = (Beat::default(), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        beat.start(Duration::from_secs(10), move |_| {
            counted.fetch_add(1, Relaxed);
            async {}
        });
        sleep(Duration::from_millis(9_999)).await;
        assert_eq!(count.load(Relaxed), 0);
        sleep(Duration::from_secs(20)).await;
        assert_eq!(count.load(Relaxed), 2);
        beat.end().await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(count.load(Relaxed), 2);
        beat.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn offers_again_until_it_is_taken() {
        let (sink, began) = (Arc::new(Sink::default()), Instant::now());
        sink.refuse(Some(Refusal::unavailable("not now")));
        let (_switch, mut stop) = Stop::new();
        let later = sink.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(2)).await;
            later.refuse(None);
        });
        assert_eq!(deliver(&*sink, &payload(), &mut stop).await, Ok(()));
        // After 0, 0.5, 1.5 and 3.5 seconds.
        assert_eq!((sink.taken().len(), began.elapsed().as_millis()), (4, 3500));
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_when_it_is_for_good_or_over() {
        let sink = Sink::default();
        let never = Refusal::Invalid("never".into());
        sink.refuse(Some(never.clone()));
        let (switch, mut stop) = Stop::new();
        assert_eq!(deliver(&sink, &payload(), &mut stop).await, Err(never));
        let later = Refusal::unavailable("later");
        sink.refuse(Some(later.clone()));
        let began = Instant::now();
        let payload = payload();
        let (answer, ()) = tokio::join!(deliver(&sink, &payload, &mut stop), async {
            sleep(Duration::from_secs(1)).await;
            switch.stop();
        });
        assert_eq!((answer, began.elapsed().as_secs()), (Err(later), 1));
    }
}

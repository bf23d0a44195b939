//! The walk over directories and objects of one signal: what there is in order, fetched some objects ahead.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use component::prelude::*;
use objects::partition::Partition;
use objects::{Class as Kind, Listed, ObjectStore, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::config::S3Downloader;
use super::marks::Position;
use super::object::{Form, OBJECT_BYTES_MAX};

/// Bytes of objects that are fetched before their turn; a larger one comes alone.
const AHEAD_BYTES_MAX: u64 = 64 << 20;
/// What they are counted in.
const UNIT: u64 = 1024;
/// Directories change with the minute at most.
const STEP_SECONDS: i64 = 60;
/// Directories that are known to be read, of two spellings: more than the minutes that a clock can be put back by.
const KNOWN_MAX: usize = 512;
/// Steps until others may run, and until it is said that there was nothing.
const STEPS_AT_ONCE: u32 = 256;
/// Pauses between tries.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What is handed on, in order.
pub(super) enum Step {
    /// An object that is being fetched.
    Object(Object),
    /// All before this place was listed.
    Passed(Position),
}

/// An object on its way.
pub(super) struct Object {
    pub(super) key: String,
    /// Where to go on once it was handed on.
    pub(super) then: Position,
    pub(super) form: Form,
    /// Its bytes, as they lie in the bucket, and their share of the memory; nothing if it was left out.
    pub(super) bytes: oneshot::Receiver<(Bytes, OwnedSemaphorePermit)>,
}

/// Reads what there is of a signal.
pub(super) struct Reader {
    pub(super) patience: Patience,
    pub(super) signal: Signal,
    pub(super) names: S3Downloader,
    pub(super) partition: Partition,
    pub(super) range: (i64, i64),
    pub(super) from: Position,
    pub(super) to: mpsc::Sender<Step>,
}

/// The gateway stops.
pub(super) struct Stopped;

impl Reader {
    pub(super) async fn run(mut self) {
        let mut fetching = JoinSet::new();
        if let Ok(()) = self.read_all(&mut fetching).await {
            // Whoever is told of the end of the steps waits for no fetch.
            while fetching.join_next().await.is_some() {}
        }
    }

    /// Every directory of the range once, in order.
    async fn read_all(&mut self, fetching: &mut JoinSet<()>) -> Result<(), Stopped> {
        let room = Arc::new(Semaphore::new((AHEAD_BYTES_MAX / UNIT) as usize));
        let (start, end) = self.range;
        let (mut now, mut after) = (self.from.moment.max(start), self.from.after.clone());
        let mut known = self.known_at(start, now);
        let mut steps = 0;
        while now < end {
            for prefix in self.names.names(&self.partition, now, self.signal) {
                if !known.contains(&prefix) {
                    // The names of one come all before those of the other, so that this holds for both.
                    self.read_below(&prefix, now, after.clone(), &room, fetching)
                        .await?;
                    remember(&mut known, prefix);
                }
            }
            after.clear();
            now = next(now);
            steps += 1;
            if steps == STEPS_AT_ONCE || now >= end {
                steps = 0;
                let passed = Position {
                    moment: now.min(end),
                    after: String::new(),
                };
                self.send(Step::Passed(passed)).await?;
                tokio::task::yield_now().await;
            }
            if self.patience.stop.is_stopped() {
                return Err(Stopped);
            }
        }
        Ok(())
    }

    /// The directories that were read when the walk came to `now`, as far as they can come again.
    fn known_at(&self, start: i64, now: i64) -> VecDeque<String> {
        let mut known = VecDeque::new();
        let mut before = start.max(now.saturating_sub(KNOWN_MAX as i64 * STEP_SECONDS));
        while before < now {
            for prefix in self.names.names(&self.partition, before, self.signal) {
                if !known.contains(&prefix) {
                    remember(&mut known, prefix);
                }
            }
            before = next(before);
        }
        known
    }

    async fn read_below(
        &mut self,
        prefix: &str,
        moment: i64,
        mut after: String,
        room: &Arc<Semaphore>,
        fetching: &mut JoinSet<()>,
    ) -> Result<(), Stopped> {
        let store = self.patience.store.clone();
        loop {
            let page = self.patience.wait(prefix, || store.list(prefix, &after)).await?;
            let Some(last) = page.as_ref().and_then(|page| page.last()) else {
                return Ok(());
            };
            after.clone_from(&last.key);
            for listed in page.unwrap_or_default() {
                match Form::of(&listed.key) {
                    Some(form) => self.fetch(listed, form, moment, room, fetching).await?,
                    None => {
                        tracing::debug!(
                            receiver = self.patience.id,
                            key = listed.key,
                            "no OTLP by its name"
                        );
                    }
                }
            }
        }
    }

    /// Begins to fetch an object once it may.
    async fn fetch(
        &mut self,
        listed: Listed,
        form: Form,
        moment: i64,
        room: &Arc<Semaphore>,
        fetching: &mut JoinSet<()>,
    ) -> Result<(), Stopped> {
        let share = listed.size.clamp(1, AHEAD_BYTES_MAX).div_ceil(UNIT) as u32;
        let share = tokio::select! {
            share = room.clone().acquire_many_owned(share) => share.map_err(|_| Stopped)?,
            () = self.patience.stop.stopped() => return Err(Stopped),
        };
        let (done, bytes) = oneshot::channel();
        let step = Step::Object(Object {
            key: listed.key.clone(),
            then: Position {
                moment,
                after: listed.key.clone(),
            },
            form,
            bytes,
        });
        self.send(step).await?;
        let mut patience = self.patience.clone();
        fetching.spawn(async move {
            let (key, store) = (&listed.key, patience.store.clone());
            let get = || -> BoxFuture<'_, Result<Bytes, StoreError>> {
                Box::pin(async { store.get(key, None).await?.body.collect(OBJECT_BYTES_MAX).await })
            };
            if let Ok(Some(bytes)) = patience.wait(key, get).await {
                // Nobody waits for it when the gateway stops.
                let _ = done.send((bytes, share));
            }
        });
        // What has ended makes room.
        while fetching.try_join_next().is_some() {}
        Ok(())
    }

    async fn send(&mut self, step: Step) -> Result<(), Stopped> {
        tokio::select! {
            sent = self.to.send(step) => sent.map_err(|_| Stopped),
            () = self.patience.stop.stopped() => Err(Stopped),
        }
    }
}

/// The next moment whose directory may be another.
fn next(now: i64) -> i64 {
    (now.div_euclid(STEP_SECONDS) + 1) * STEP_SECONDS
}

fn remember(known: &mut VecDeque<String>, prefix: String) {
    if known.len() == KNOWN_MAX {
        known.pop_front();
    }
    known.push_back(prefix);
}

/// Who asks a store until it answers.
#[derive(Clone)]
pub(super) struct Patience {
    pub(super) id: String,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) stop: Stop,
}

impl Patience {
    /// Tries until it works; `None` for what will never. Credentials and settings may be put right meanwhile.
    async fn wait<'a, T>(
        &mut self,
        what: &str,
        call: impl Fn() -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<Option<T>, Stopped> {
        let mut pause = PAUSE_MIN;
        loop {
            let called = tokio::select! {
                called = call() => called,
                () = self.stop.stopped() => return Err(Stopped),
            };
            let error = match called {
                Ok(done) => return Ok(Some(done)),
                Err(error) => error,
            };
            let wait = match error.class {
                Kind::Retry { after } => after.unwrap_or(pause).clamp(PAUSE_MIN, PAUSE_MAX),
                Kind::Denied | Kind::Unauthorized | Kind::Config => pause,
                Kind::NotFound | Kind::TooLarge | Kind::Rejected => {
                    tracing::error!(receiver = self.id, what, %error, "left out");
                    return Ok(None);
                }
            };
            tracing::warn!(receiver = self.id, what, %error, "tried again");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.stopped() => return Err(Stopped),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

//! The walk over directories and objects of one signal.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use component::prelude::*;
use objects::partition::Partition;
use objects::{Class as Kind, ObjectStore, StoreError};
use tokio::sync::mpsc;
use wire::{Encoding, Limits};

use super::config::S3Downloader;

/// Bytes of an object, as it lies in its bucket.
const OBJECT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of an object, inflated.
const INFLATED_BYTES_MAX: usize = 256 << 20;
/// Directories change with the minute at most.
const STEP_SECONDS: i64 = 60;
/// Directories that are known to be read: more than the minutes that a clock can be put back by.
const KNOWN_MAX: usize = 256;
/// Steps until others may run.
const STEPS_AT_ONCE: u32 = 1024;
/// Pauses between tries.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Reads what there is of a signal.
pub(super) struct Reader {
    pub(super) id: String,
    pub(super) signal: Signal,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) names: S3Downloader,
    pub(super) partition: Partition,
    pub(super) range: (i64, i64),
    pub(super) stop: Stop,
    /// Keys and what they hold, in order.
    pub(super) to: mpsc::Sender<(String, Payload)>,
}

/// The gateway stops.
struct Stopped;

impl Reader {
    pub(super) async fn run(mut self) {
        let signal = self.signal.as_str();
        match self.read_all().await {
            Ok(objects) => tracing::info!(receiver = self.id, signal, objects, "the range was read"),
            Err(Stopped) => tracing::info!(receiver = self.id, signal, "stopped before the range was read"),
        }
    }

    /// Every directory of the range once, in order. Gives the objects that were handed on.
    async fn read_all(&mut self) -> Result<u64, Stopped> {
        let (mut now, end) = self.range;
        let mut known: VecDeque<String> = VecDeque::new();
        let (mut objects, mut steps) = (0, 0);
        while now < end {
            let prefix = self.names.names(&self.partition, now, self.signal);
            if !known.contains(&prefix) {
                objects += self.read_below(&prefix).await?;
                if known.len() == KNOWN_MAX {
                    known.pop_front();
                }
                known.push_back(prefix);
            }
            now = (now.div_euclid(STEP_SECONDS) + 1) * STEP_SECONDS;
            steps += 1;
            if steps == STEPS_AT_ONCE {
                steps = 0;
                tokio::task::yield_now().await;
            }
            if self.stop.is_stopped() {
                return Err(Stopped);
            }
        }
        Ok(objects)
    }

    async fn read_below(&mut self, prefix: &str) -> Result<u64, Stopped> {
        let store = self.store.clone();
        let (mut after, mut objects) = (String::new(), 0);
        loop {
            let page = self.patiently(prefix, || store.list(prefix, &after)).await?;
            let Some(last) = page.as_ref().and_then(|page| page.last()) else {
                return Ok(objects);
            };
            after.clone_from(&last.key);
            for object in page.unwrap_or_default() {
                let Some(form) = Form::of(&object.key) else {
                    tracing::debug!(receiver = self.id, key = object.key, "no OTLP by its name");
                    continue;
                };
                let key = object.key;
                let read = || -> BoxFuture<'_, Result<Bytes, StoreError>> {
                    Box::pin(async { store.get(&key, None).await?.body.collect(OBJECT_BYTES_MAX).await })
                };
                let Some(bytes) = self.patiently(&key, read).await? else {
                    continue;
                };
                let (signal, id) = (self.signal, self.id.clone());
                let decoded = tokio::task::spawn_blocking(move || payload(form, signal, &id, &bytes)).await;
                let payload = match decoded.map_err(|e| e.to_string()).and_then(|decoded| decoded) {
                    Ok(payload) => payload,
                    Err(reason) => {
                        tracing::error!(receiver = self.id, key, reason, "an object cannot be read");
                        continue;
                    }
                };
                if payload.items == 0 {
                    continue;
                }
                tokio::select! {
                    sent = self.to.send((key, payload)) => sent.map_err(|_| Stopped)?,
                    () = self.stop.stopped() => return Err(Stopped),
                }
                objects += 1;
            }
        }
    }

    /// Tries until it works; `None` for what will never. Credentials and settings may be put right meanwhile.
    async fn patiently<'a, T>(
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

/// How an object is written, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    is_json: bool,
    compression: Option<Encoding>,
}

impl Form {
    fn of(key: &str) -> Option<Form> {
        let (name, compression) = if let Some(name) = key.strip_suffix(".gz") {
            (name, Some(Encoding::Gzip))
        } else if let Some(name) = key.strip_suffix(".zst") {
            (name, Some(Encoding::Zstd))
        } else {
            (key, None)
        };
        let is_json = name.ends_with(".json");
        (is_json || name.ends_with(".binpb")).then_some(Form { is_json, compression })
    }
}

/// What an object holds.
fn payload(form: Form, signal: Signal, receiver: &str, bytes: &Bytes) -> Result<Payload, String> {
    let mut bytes = match form.compression {
        None => bytes.clone(),
        Some(encoding) => {
            let inflated = net::compression::decode(encoding, bytes, INFLATED_BYTES_MAX);
            inflated.map_err(|e| e.to_string())?.bytes
        }
    };
    if form.is_json {
        let mut out = Vec::new();
        codec::otlp_json::read(signal, &bytes, &mut out).map_err(|e| e.to_string())?;
        bytes = out.into();
    }
    let shape = wire::validate(signal, &bytes, &Limits::default()).map_err(|e| e.to_string())?;
    let context = Context {
        receiver: Some(receiver.into()),
        ..Context::default()
    };
    Ok(Payload::new(signal, Chunk::new(bytes, shape), Arc::new(context)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_how_its_object_is_written() {
        let check = |key: &str, expected: Option<(bool, Option<Encoding>)>| {
            let found = Form::of(key).map(|form| (form.is_json, form.compression));
            assert_eq!(found, expected, "{key}");
        };
        check("a/logs_1.json", Some((true, None)));
        check("a/logs_1.json.gz", Some((true, Some(Encoding::Gzip))));
        check("a/logs_1.binpb", Some((false, None)));
        check("a/logs_1.binpb.zst", Some((false, Some(Encoding::Zstd))));
        check("a/logs_1.txt", None);
        check("a/logs_1.gz", None);
        check("a/logs_1", None);
        check("a/logs_1.json.gz.gz", None);
    }
}

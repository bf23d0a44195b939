//! Receiver `awss3`: reads again what an `awss3` exporter wrote in a range of time.
//!
//! In: objects of a bucket, by the directories of the range in their order, each directory once; OTLP as JSON or
//! protobuf, plain or compressed. Out: a payload an object, one after another; the next are fetched meanwhile. What fails
//! for now is tried again, later and later, and what cannot be read is named and left out. With a storage a restart goes
//! on where the range was left, else it begins anew.

mod config;
mod hand_on;
mod marks;
mod object;
mod read;

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use component::host::StopSwitch;
use component::prelude::*;
use objects::ObjectStore;
use objects::blocks::Store;
use objects::partition::Partition;
use parking_lot::Mutex;
use storage::Journal;
use telemetry::Place;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::config::Config;
use self::hand_on::HandOn;
use self::marks::{Marks, Position};
use self::read::{Patience, Reader};

/// This receiver type.
pub(crate) static FACTORY: ReceiverFactory = ReceiverFactory {
    kind: "awss3",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Alpha),
        (Signal::Metrics, Stability::Alpha),
        (Signal::Logs, Stability::Alpha),
    ],
    build: |section, cx| {
        let place = section.clone();
        let config: Config = section.parse_valid()?;
        let partition = config.s3downloader.partition();
        let partition = partition.map_err(|(key, text)| place.fault(&format!("s3downloader.{key}"), text))?;
        let range = config
            .range()
            .ok_or_else(|| place.fault("starttime", "must be a time"))?;
        Ok(Arc::new(Awss3 {
            config,
            partition,
            range,
            cx: cx.clone(),
            store: OnceLock::new(),
            running: Mutex::new(None),
        }))
    },
};

struct Awss3 {
    config: Config,
    partition: Partition,
    range: (i64, i64),
    cx: BuildContext,
    store: OnceLock<Arc<dyn ObjectStore>>,
    running: Mutex<Option<(StopSwitch, JoinSet<()>)>>,
}

impl Receiver for Awss3 {
    fn start<'a>(&'a self, outputs: Outputs, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let id = self.cx.id.to_string();
            if self.store.get().is_none() {
                let store = Store {
                    s3: Some(self.config.s3downloader.store()),
                    file: None,
                };
                let store = store.open().await;
                let store = store.map_err(|e| Fault::World(format!("receiver {id}: {e}")))?;
                let _ = self.store.set(store);
            }
            let Some(store) = self.store.get() else {
                return Ok(());
            };
            let journal = self.journal(&*host)?;
            let (switch, stop) = Stop::new();
            let mut tasks = JoinSet::new();
            for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
                let Some(next) = outputs.get(signal).cloned() else {
                    continue;
                };
                let place = Place::Door {
                    receiver: id.clone(),
                    transport: "s3",
                };
                let row = self.cx.telemetry.ledger.row(place, signal);
                let (marks, from) = match &journal {
                    Some(journal) => {
                        let objects = self.config.objects(signal);
                        let (marks, from) = Marks::open(&id, journal.clone(), signal, objects).await;
                        (Some(marks), from)
                    }
                    None => (None, Position::default()),
                };
                let (to, steps) = mpsc::channel(self.config.weir.ahead);
                let reader = Reader {
                    patience: Patience {
                        id: id.clone(),
                        store: store.clone(),
                        stop: stop.clone(),
                    },
                    signal,
                    names: self.config.s3downloader.clone(),
                    partition: self.partition.clone(),
                    range: self.range,
                    from,
                    to,
                };
                let hand_on = HandOn {
                    id: id.clone(),
                    signal,
                    records: self.config.weir.records.range(),
                    mark: self.config.weir.mark,
                    next,
                    row,
                    marks,
                    stop: stop.clone(),
                };
                tasks.spawn(reader.run());
                tasks.spawn(hand_on.run(steps));
            }
            *self.running.lock() = Some((switch, tasks));
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        let running = self.running.lock().take();
        Box::pin(async move {
            if let Some((switch, mut tasks)) = running {
                switch.stop();
                // A panic in one was told where it happened.
                while tasks.join_next().await.is_some() {}
            }
        })
    }
}

impl Awss3 {
    /// Where marks are kept, if they are.
    fn journal(&self, host: &dyn Host) -> Result<Option<Journal>, Fault> {
        let name = &self.config.weir.storage;
        if name.is_empty() {
            return Ok(None);
        }
        let receiver = self.cx.id.to_string();
        let no_id = || Fault::World(format!("receiver {receiver}: weir.storage: {name:?} is no id"));
        let id = ComponentId::parse(name).map_err(|_| no_id())?;
        let none = || {
            Fault::World(format!(
                "receiver {receiver}: weir.storage: no storage extension '{id}'"
            ))
        };
        let found = host.extension(&id).map_err(|_| none())?;
        let journal = found.journal().ok_or_else(none)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.range.1 > now.as_secs() as i64 {
            // More may come into what was read.
            tracing::warn!(
                receiver,
                "the range is not over: the next start reads all of it again"
            );
            return Ok(None);
        }
        Ok(Some(journal))
    }
}

#[cfg(test)]
mod tests;

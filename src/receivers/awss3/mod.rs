//! Receiver `awss3`: reads again what an `awss3` exporter wrote in a range of time.
//!
//! In: objects of a bucket, by the directories of the range in their order, each directory once; OTLP as JSON or
//! protobuf, plain or compressed. Out: a payload an object, one after another; the next are read meanwhile. What fails
//! for now is tried again, later and later, and what cannot be read is named and left out. A range is read from its
//! beginning at every start.

mod config;
mod read;

use std::sync::OnceLock;

use component::host::StopSwitch;
use component::prelude::*;
use objects::ObjectStore;
use objects::blocks::Store;
use objects::partition::Partition;
use parking_lot::Mutex;
use telemetry::{Column, Place, Row};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::config::Config;
use self::read::Reader;

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

/// Objects that are read before their turn, for each signal.
const AHEAD: usize = 2;

struct Awss3 {
    config: Config,
    partition: Partition,
    range: (i64, i64),
    cx: BuildContext,
    store: OnceLock<Arc<dyn ObjectStore>>,
    running: Mutex<Option<(StopSwitch, JoinSet<()>)>>,
}

impl Receiver for Awss3 {
    fn start<'a>(&'a self, outputs: Outputs, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
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
                let (to, from) = mpsc::channel(AHEAD);
                let reader = Reader {
                    id: id.clone(),
                    signal,
                    store: store.clone(),
                    names: self.config.s3downloader.clone(),
                    partition: self.partition.clone(),
                    range: self.range,
                    stop: stop.clone(),
                    to,
                };
                tasks.spawn(reader.run());
                tasks.spawn(hand_on(from, next, row, stop.clone(), id.clone()));
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

/// Hands objects on one after another, each until it is taken, refused for good, or the gateway stops.
async fn hand_on(
    mut from: mpsc::Receiver<(String, Payload)>,
    next: Arc<dyn Consumer>,
    row: Arc<Row>,
    mut stop: Stop,
    id: String,
) {
    while let Some((key, payload)) = from.recv().await {
        if stop.is_stopped() {
            return;
        }
        let items = payload.items as u64;
        row.add_items(Column::Offered, None, items);
        match deliver(&*next, &payload, &mut stop).await {
            Ok(()) => row.add_items(Column::Accepted, None, items),
            Err(refusal) => {
                row.add_items(Column::Refused, None, items);
                let reason = refusal.message();
                tracing::warn!(receiver = id, key, items, reason, "an object was not taken");
            }
        }
    }
}

#[cfg(test)]
mod tests;

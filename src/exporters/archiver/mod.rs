//! What exporters of archives share: it gathers records into objects in a write-once store, under a log that proves what is there.
//!
//! In: payloads with receipts, by the harness's [`Collect`]. Out: objects of one class, tenant, signal and hour of
//! admission, and a signed log of them. A record's life: split into pieces, buffered, compressed into a part, sealed
//! under a number, claimed in the journal, put, logged, covered by a signed head, complete. Until then it is owed, and
//! comes again after a restart unless an object has it.

mod acts;
mod adopt;
mod books;
mod buffer;
pub(crate) mod config;
mod disk;
mod edges;
mod facts;
mod fence;
mod frames;
mod gather;
mod keys;
pub(crate) mod layout;
mod metrics;
mod object;
mod owed;
mod partition;
mod peers;
mod recover;
mod rules;
mod run;
mod salvage;
mod selftest;
mod split;
mod spool;
mod start;
mod state;
pub(crate) mod units;
mod writer;

use ::config::Effective;
use component::prelude::*;
use component::{Debts, Seal};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::config::{Ack, Config};
use self::metrics::Metrics;
use self::rules::Rules;
use self::run::{Clock, Order, Shared};

/// The exporter of a configuration whose rules hold; `ack`: where its section says when clients are answered.
pub(crate) fn build(
    config: Config,
    (section, ack): (&Section, &str),
    cx: &BuildContext,
) -> Result<Exporter, Fault> {
    let told = match (config.ack, is_stored(section)) {
        (Ack::Wal, false) => Some(NO_STORAGE),
        (Ack::Memory, true) => Some(STORAGE),
        _ => None,
    };
    if let Some(told) = told {
        return Err(section.fault(ack, told).into());
    }
    Ok(Exporter::Collect(Arc::new(Archive::new(
        config,
        cx,
        Clock::system(),
    ))))
}

const NO_STORAGE: &str = "no storage: is set, so records would be acknowledged while they are only in memory; journal \
                          them with storage: file_storage/journal, or accept the loss with ack: memory";
const STORAGE: &str = "with storage: records are journalled; leave ack: memory away, or storage:";

/// Whether the harness was given a place on disk for its queue.
fn is_stored(section: &Section) -> bool {
    let Effective::Map(read) = section.effective() else {
        return false;
    };
    let own = read.get("storage");
    let queue = match read.get("sending_queue") {
        Some(Effective::Map(queue)) => queue.get("storage"),
        _ => None,
    };
    let is_set = |value: Option<&Effective>| value.is_some_and(|value| *value != Effective::Null);
    is_set(own) || is_set(queue)
}

/// The exporter.
pub(crate) struct Archive {
    cx: BuildContext,
    config: Config,
    rules: Arc<Rules>,
    clock: Clock,
    running: Mutex<Option<Running>>,
    #[cfg(test)]
    cut: tests::Cut,
    /// In the place of the configured one.
    #[cfg(test)]
    store: Option<Arc<dyn objects::ObjectStore>>,
    #[cfg(test)]
    deleter: Option<Arc<dyn objects::ObjectStore>>,
}

struct Running {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
    /// Held as long as the state directory is ours.
    _lock: std::fs::File,
}

impl Archive {
    fn new(config: Config, cx: &BuildContext, clock: Clock) -> Archive {
        Archive {
            rules: Arc::new(Rules::new(&config)),
            cx: cx.clone(),
            config,
            clock,
            running: Mutex::new(None),
            #[cfg(test)]
            cut: tests::Cut::default(),
            #[cfg(test)]
            store: None,
            #[cfg(test)]
            deleter: None,
        }
    }

    /// What runs, and the rules that a record is split by.
    fn running(&self, rules: Option<&str>) -> Result<(Arc<Shared>, Arc<Rules>), Refusal> {
        let running = self.running.lock();
        let Some(running) = &*running else {
            return Err(Refusal::unavailable("the archive is not started"));
        };
        let rules = match rules {
            None => Some(self.rules.clone()),
            Some(name) if *name == *running.shared.rules_id => Some(self.rules.clone()),
            Some(name) => running.shared.rules_before.get(name).cloned(),
        };
        // Cut otherwise, its pieces would be others: a part of it would be missing, or twice there.
        let gone = || Refusal::unavailable("the rules by which this record was partly archived are gone");
        Ok((running.shared.clone(), rules.ok_or_else(gone)?))
    }
}

impl Collect for Archive {
    fn start<'a>(
        &'a self,
        host: Arc<dyn Host>,
        debts: Vec<Arc<dyn Debts>>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let running = start::start(self, host, debts).await?;
            *self.running.lock() = Some(running);
            Ok(())
        })
    }

    fn append(&self, payload: Payload, receipt: Receipt) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let (shared, rules) = self.running(receipt.rules.as_deref())?;
            let signal = payload.signal;
            let pieces = split::split(&rules, &payload, shared.indexes_services());
            drop(payload);
            let writer = shared.writer();
            let taken = |tenant: &Arc<str>, items: u64| {
                writer.with_books(|books| books.take(tenant, signal, items));
            };
            let make = || shared.new_part();
            shared
                .gather
                .take(&rules, signal, pieces, &receipt, make, taken)
                .await
        })
    }

    fn seal(&self, _why: Seal) -> BoxFuture<'_, ()> {
        if let Some(running) = &*self.running.lock() {
            running.shared.gather.flush();
        }
        ready(())
    }

    fn stop(&self, deadline: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(running) = self.running.lock().take() else {
                return;
            };
            let (done, ended) = oneshot::channel();
            if running.orders.send(Order::Stop { deadline, done }).await.is_ok() {
                let _ = ended.await;
            }
            let _ = running.task.await;
        })
    }
}

#[cfg(test)]
mod tests;

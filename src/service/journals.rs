//! What the roof does with the journals of its storages: the books of all lives are kept in the first of them, and how
//! each of them is stands in the health of its extension.
//!
//! The books are read before the pipelines start and compared with what the journals hold, written every few seconds
//! when something was counted, and at the stop, when nothing moves any more. After an unclean end what was counted since
//! the last writing is missing in them, and they say so ([`telemetry::ledger::Kept`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use component::{Host, Status, Stop};
use config::ComponentId;
use storage::Journal;
use storage::journal::Error;
use telemetry::Telemetry;
use telemetry::ledger::Kept;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

/// Under this name the books stand in a journal.
const BLOB: &str = "books";
/// The place of the audit trail in a journal.
pub(super) const AUDIT: &str = "audit";
/// So much is missing in the books after an unclean end.
const INTERVAL: Duration = Duration::from_secs(5);

/// A journal, by the id of its extension.
pub(super) type Named = (ComponentId, Journal);

/// At work until it is stopped.
pub(super) struct Keeper {
    switch: component::host::StopSwitch,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Remembers what was kept, and begins to keep. `None` without a journal.
    pub(super) async fn start(
        journals: Vec<Named>,
        telemetry: &Telemetry,
        host: Arc<dyn Host>,
    ) -> Option<Keeper> {
        let (id, first) = journals.first()?.clone();
        let found = found(&journals);
        let kept = blocking(move || read(&first)).await;
        let kept = kept.unwrap_or_else(|error| {
            warn!(component = %id, error, "the books of earlier lives cannot be read, they begin anew");
            Kept::default()
        });
        for fault in telemetry.ledger.remember(kept, &found) {
            error!(component = %id, error = fault, "the journal does not hold what it held when it was closed");
        }
        let (switch, stop) = Stop::new();
        let mut keeping = Keeping {
            journals,
            telemetry: telemetry.clone(),
            host,
            last: Kept::default(),
        };
        // From now on an end is an unclean one until the stop says otherwise.
        keeping.keep(false).await;
        Some(Keeper {
            switch,
            task: tokio::spawn(keeping.run(stop)),
        })
    }

    /// Writes the books once more, as those of a clean stop.
    pub(super) async fn stop(self) {
        self.switch.stop();
        if self.task.await.is_err() {
            error!("the keeper of the books panicked");
        }
    }
}

struct Keeping {
    journals: Vec<Named>,
    telemetry: Telemetry,
    host: Arc<dyn Host>,
    /// What was written last.
    last: Kept,
}

impl Keeping {
    async fn run(mut self, mut stop: Stop) {
        while tokio::time::timeout(INTERVAL, stop.stopped()).await.is_err() {
            self.keep(false).await;
            self.judge();
        }
        self.keep(true).await;
    }

    /// Writes what is new.
    async fn keep(&mut self, clean: bool) {
        let now = self.telemetry.ledger.keep(now_ms(), clean);
        if now.says_the_same(&self.last) {
            return;
        }
        let Some((id, journal)) = self.journals.first().cloned() else {
            return;
        };
        let kept = now.clone();
        match blocking(move || write(&journal, kept)).await {
            Ok(()) => self.last = now,
            Err(error) => warn!(component = %id, error, "the books could not be kept, will try again"),
        }
    }

    /// Tells the health of each storage.
    fn judge(&self) {
        for (id, journal) in &self.journals {
            let status = match journal.health().trouble {
                None => Status::Ok,
                Some(trouble) => Status::Recoverable(trouble.error),
            };
            self.host.report(&id.to_string(), status);
        }
    }
}

fn read(journal: &Journal) -> Result<Kept, String> {
    match journal.blob(BLOB).map_err(|e| e.to_string())? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| e.to_string()),
        None => Ok(Kept::default()),
    }
}

/// Too many tenants to be kept apart are kept together.
fn write(journal: &Journal, kept: Kept) -> Result<(), String> {
    let put = |kept: &Kept| {
        let text = serde_json::to_vec(kept).map_err(|e| e.to_string())?;
        match journal.put_blob(BLOB, &text) {
            Err(Error::TooLarge { .. }) => Ok(false),
            done => done.map(|()| true).map_err(|e| e.to_string()),
        }
    };
    match put(&kept)? || put(&kept.without_tenants())? {
        true => Ok(()),
        false => Err("they are larger than a journal takes".to_owned()),
    }
}

/// Changes the books in a journal that no gateway has open, if there are some. Errors: in words.
pub(crate) fn amend_books(journal: &Journal, change: impl FnOnce(&mut Kept)) -> Result<(), String> {
    let mut kept = read(journal)?;
    if kept == Kept::default() {
        return Ok(());
    }
    change(&mut kept);
    write(journal, kept)
}

/// What the journals hold, by the place in the books whose duty it is.
fn found(journals: &[Named]) -> BTreeMap<(String, String), u64> {
    let mut found = BTreeMap::new();
    for (id, journal) in journals {
        let all = journal.destinations();
        // The trail's records come to the books when they enter their pipeline.
        for destination in all.iter().filter(|d| d.items > 0 && d.name != AUDIT) {
            let exporter = exporter_of(&destination.name);
            let exporter = exporter.map(|(exporter, signal)| (format!("exporter {exporter}"), signal));
            let node = || node_of(&destination.name).map(|(place, signal)| (place.to_owned(), signal));
            match exporter.or_else(node) {
                Some((place, signal)) => {
                    *found.entry((place, signal.to_owned())).or_default() += destination.items;
                }
                None => {
                    info!(component = %id, destination = destination.name, "nobody of this version writes to it")
                }
            }
        }
    }
    found
}

/// Exporter and signal of a destination's name, `exporter/<id>/<signal>`.
pub(crate) fn exporter_of(destination: &str) -> Option<(&str, &str)> {
    destination.strip_prefix("exporter/")?.rsplit_once('/')
}

/// Place in the books and signal of a destination's name, as [`component::Books::destination`] has it.
pub(crate) fn node_of(destination: &str) -> Option<(&str, &str)> {
    destination.strip_prefix("node/")?.rsplit_once('/')
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Away from the threads that carry data.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(e.to_string()))
}

#[cfg(test)]
mod tests {
    use storage::Options;
    use storage::journal::disk::RealDisk;
    use telemetry::{Column, Node, Place};
    use wire::Signal;

    use super::*;

    struct Nobody;

    impl Host for Nobody {
        fn exporter(&self, id: &ComponentId) -> Result<Arc<dyn component::Consumer>, component::Fault> {
            Err(component::Fault::World(id.to_string()))
        }

        fn extension(&self, id: &ComponentId) -> Result<Arc<dyn component::Extension>, component::Fault> {
            Err(component::Fault::World(id.to_string()))
        }

        fn report(&self, component: &str, status: Status) {
            assert_eq!((component, status), ("file_storage", Status::Ok));
        }
    }

    fn open(directory: &std::path::Path) -> Journal {
        let disk = Arc::new(RealDisk::open(directory).unwrap());
        Journal::open(disk, Options::default()).unwrap().0
    }

    async fn life(directory: &std::path::Path, work: impl FnOnce(&Telemetry), clean: bool) -> Telemetry {
        let journal = open(directory);
        let telemetry = Telemetry::default();
        let id = ComponentId::parse("file_storage").unwrap();
        let host = Arc::new(Nobody);
        let keeper = Keeper::start(vec![(id, journal.clone())], &telemetry, host)
            .await
            .unwrap();
        work(&telemetry);
        match clean {
            true => keeper.stop().await,
            false => {
                keeper.task.abort();
                assert!(keeper.task.await.is_err());
            }
        }
        journal.close();
        telemetry
    }

    fn row(telemetry: &Telemetry) -> Arc<telemetry::Row> {
        let place = Place::Node(Node::Exporter("a".into()));
        telemetry.ledger.row(place, Signal::Logs)
    }

    #[tokio::test]
    async fn counters_persist_with_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let work = |telemetry: &Telemetry| {
            row(telemetry).add_items(Column::In, None, 3);
            row(telemetry).add_items(Column::Out, None, 3);
        };
        life(folder.path(), work, true).await;
        // What this one counts is lost, for it dies before it is kept; the books go on from what they knew.
        life(folder.path(), |_| {}, false).await;
        let third = life(folder.path(), work, true).await;
        let report = telemetry::ledger::Report::of(&third.ledger);
        let lives = report.lives.unwrap();
        assert_eq!((lives.unbooked, lives.waiting), (vec![], vec![]));
        let totals = report.lines[0].lifetime.clone().unwrap();
        assert_eq!(totals.to_string(), "in 6, out 6");
        let kept = read(&open(folder.path())).unwrap();
        assert_eq!((kept.clean, kept.lives), (true, 3));
    }

    #[tokio::test]
    async fn books_that_are_damaged_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path());
        journal.put_blob(BLOB, b"{").unwrap();
        journal.close();
        drop(journal);
        let telemetry = life(folder.path(), |_| {}, true).await;
        assert_eq!(
            telemetry::ledger::Report::of(&telemetry.ledger)
                .lives
                .unwrap()
                .lives,
            1
        );
    }

    #[derive(Default)]
    struct Heard(parking_lot::Mutex<Vec<(String, Status)>>);

    impl Host for Heard {
        fn exporter(&self, id: &ComponentId) -> Result<Arc<dyn component::Consumer>, component::Fault> {
            Err(component::Fault::World(id.to_string()))
        }

        fn extension(&self, id: &ComponentId) -> Result<Arc<dyn component::Extension>, component::Fault> {
            Err(component::Fault::World(id.to_string()))
        }

        fn report(&self, component: &str, status: Status) {
            self.0.lock().push((component.to_owned(), status));
        }
    }

    #[tokio::test]
    async fn trouble_of_a_journal_is_that_of_its_extension_until_it_is_over() {
        use storage::journal::sim::{Failure, SimDisk};
        let disk = SimDisk::default();
        let (journal, _) = Journal::open(Arc::new(disk.clone()), Options::default()).unwrap();
        let dest = journal
            .destination("exporter/a/logs", Default::default())
            .unwrap();
        let append = async || {
            let head = storage::journal::Head {
                kind: 0,
                items: 1,
                tenant: None,
                destinations: [dest].into(),
            };
            let room = journal.reserve(&head, 3).unwrap();
            journal.append(head, vec!["abc".into()], room).await
        };
        let heard = Arc::new(Heard::default());
        let keeping = Keeping {
            journals: vec![(ComponentId::parse("file_storage").unwrap(), journal.clone())],
            telemetry: Telemetry::default(),
            host: heard.clone(),
            last: Kept::default(),
        };
        disk.fail(Some(Failure::ReadOnly));
        assert!(append().await.is_err());
        keeping.judge();
        disk.fail(None);
        append().await.unwrap();
        keeping.judge();
        let heard = std::mem::take(&mut *heard.0.lock());
        let [(first, Status::Recoverable(why)), (second, Status::Ok)] = heard.as_slice() else {
            panic!("{heard:?}");
        };
        assert_eq!(
            (first.as_str(), second.as_str()),
            ("file_storage", "file_storage")
        );
        assert!(why.contains("read-only"), "{why}");
    }

    #[test]
    fn a_destination_names_its_exporter() {
        assert_eq!(
            exporter_of("exporter/otlp_grpc/next/logs"),
            Some(("otlp_grpc/next", "logs"))
        );
        assert_eq!(exporter_of("exporter/otlp/logs"), Some(("otlp", "logs")));
        assert_eq!(exporter_of("processor/x/logs"), None);
        assert_eq!(exporter_of("exporter/otlp"), None);
        assert_eq!(
            node_of("node/processor tail_sampling/a in traces/in/traces"),
            Some(("processor tail_sampling/a in traces/in", "traces"))
        );
        assert_eq!(node_of("exporter/otlp/logs"), None);
    }
}

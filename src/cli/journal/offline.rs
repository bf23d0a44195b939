//! The journal of a gateway that does not run.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codec::time::Civil;
use config::{ComponentId, Section};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::Journal;
use storage::journal::{Destination, Error, Found, Key, Owed, Seq};
use telemetry::ledger::Ended;
use tokio::time::Instant;
use wire::{Payload, Signal};

use super::Which;
use crate::cli::{Given, Sources, say_error};
use crate::service::journals::{amend_books, exporter_of};
use crate::service::providers;

/// What is said instead of losing data unasked.
pub(super) const NOT_YET: &str =
    "these records would be lost: add --yes, or keep them with weir journal export";

/// Records read at a time.
const PAGE: usize = 256;
/// Between two words of progress.
const PROGRESS: Duration = Duration::from_secs(5);

/// Where the journal is.
pub(super) enum Place {
    /// Ours for now.
    Offline(Box<Storage>),
    /// A gateway has it.
    Running,
}

/// A journal that no gateway has open.
pub(super) struct Storage {
    name: String,
    pub(super) journal: Journal,
    found: Found,
    /// Exporters of the configuration, if there is one.
    exporters: Option<Vec<String>>,
}

/// What of `file_storage` says where it is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct Keys {
    directory: String,
    encryption: Option<KeyFrom>,
}

/// Where the key comes from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct KeyFrom {
    key_file: Option<String>,
    key_env: Option<String>,
}

impl Default for Keys {
    fn default() -> Keys {
        Keys {
            directory: "/var/lib/otelcol/file_storage".to_owned(),
            encryption: None,
        }
    }
}

impl KeyFrom {
    fn read(&self) -> Result<Option<Key>, String> {
        let (bytes, place) = match (&self.key_file, &self.key_env) {
            (Some(file), _) => {
                let bytes = std::fs::read(file).map_err(|e| format!("cannot read the key in {file}: {e}"))?;
                (bytes, file.clone())
            }
            (None, Some(name)) => {
                let text = std::env::var(name).map_err(|_| format!("no key in the environment: {name}"))?;
                (text.into_bytes(), format!("the environment's {name}"))
            }
            (None, None) => return Ok(None),
        };
        Key::parse(&bytes).map(Some).map_err(|e| format!("{place}: {e}"))
    }
}

impl Which {
    /// Opens the journal, unless a gateway has it. Whoever names `--admin` means the gateway.
    pub(super) fn find(&self, sources: &Sources) -> Result<Place, String> {
        if self.target.admin.is_some() {
            return Ok(Place::Running);
        }
        let (keys, exporters) = match &self.directory {
            Some(directory) => {
                let keys = Keys {
                    directory: directory.clone(),
                    encryption: Some(KeyFrom {
                        key_file: self.key_file.clone(),
                        key_env: None,
                    }),
                };
                (keys, None)
            }
            None => {
                let (keys, exporters) = self.of_config(sources)?;
                (keys, Some(exporters))
            }
        };
        let key = keys.encryption.as_ref().map(KeyFrom::read).transpose()?.flatten();
        match Journal::open_offline(Path::new(&keys.directory), key) {
            Ok((journal, found)) => Ok(Place::Offline(Box::new(Storage {
                name: keys.directory,
                journal,
                found,
                exporters,
            }))),
            // With a configuration we may know where to ask.
            Err(Error::InUse { .. }) if self.directory.is_none() => Ok(Place::Running),
            Err(error) => Err(format!("{}: {error}", keys.directory)),
        }
    }

    /// The storage that is meant, and the exporters that there are.
    fn of_config(&self, sources: &Sources) -> Result<(Keys, Vec<String>), String> {
        if sources.config.is_empty() && sources.set.is_empty() {
            return Err(
                "which journal? --directory DIR, --config with a file_storage, or --admin".to_owned(),
            );
        }
        let Given { texts, gates } = sources.read()?;
        let (document, _) =
            config::load(&texts, &providers::World, &gates).map_err(|faults| faults.report(false))?;
        let is_meant = |id: &ComponentId| match &self.storage {
            Some(wanted) => id.to_string() == *wanted,
            None => id.kind == "file_storage",
        };
        let mut meant: Vec<(ComponentId, Section)> = document.extensions;
        meant.retain(|(id, _)| is_meant(id));
        let section = match meant.as_mut_slice() {
            [(_, section)] => section,
            [] => return Err("this configuration has no such file_storage".to_owned()),
            several => {
                let ids: Vec<String> = several.iter().map(|(id, _)| id.to_string()).collect();
                return Err(format!("which of {}? --storage ID", ids.join(", ")));
            }
        };
        let keys = section.take::<Keys>().map_err(|faults| faults.report(false))?;
        let exporters = document.exporters.iter().map(|(id, _)| id.to_string()).collect();
        Ok((keys, exporters))
    }
}

impl Storage {
    /// As the admin listener tells it.
    pub(super) fn told(&self) -> Value {
        let destinations = self.journal.destinations().into_iter().map(|d| {
            let exporter = exporter_of(&d.name).map(|(exporter, _)| exporter.to_owned());
            let is_configured = |all: &Vec<String>| exporter.as_ref().is_some_and(|id| all.contains(id));
            let is_orphan = self
                .exporters
                .as_ref()
                .map(|all| d.records > 0 && !is_configured(all));
            json!({
                "name": d.name,
                "records": d.records,
                "items": d.items,
                "bytes": d.bytes,
                "oldest": d.oldest_ms.map(time),
                "newest": d.newest_ms.map(time),
                "orphan": is_orphan,
            })
        });
        let destinations: Vec<Value> = destinations.collect();
        let health = self.journal.health();
        json!({"journals": [{
            "storage": self.name,
            "bytes": health.bytes,
            "live_bytes": health.live_bytes,
            "segments": self.journal.segments().len(),
            "damage": self.found.damage,
            "destinations": destinations,
        }]})
    }

    /// Errors: there is none of this name, with those that there are.
    pub(super) fn destination(&self, name: &str) -> Result<Destination, String> {
        let all = self.journal.destinations();
        let names: Vec<String> = all.iter().map(|d| format!("\n  {}", d.name)).collect();
        let found = all.into_iter().find(|d| d.name == name);
        found.ok_or_else(|| match names.is_empty() {
            true => format!("{name}: this journal has no destinations"),
            false => format!("{name}: no such destination; there are{}", names.concat()),
        })
    }

    /// Gives up all that is owed; the answer is how many items.
    pub(super) fn discard(&self, name: &str, yes: bool) -> Result<u64, String> {
        let destination = self.destination(name)?;
        if !yes {
            return Err(format!("{name} is owed {} items; {NOT_YET}", destination.items));
        }
        let given_up = self.journal.discard(destination.id);
        let ended: Vec<_> = given_up
            .iter()
            .map(|part| {
                let signal = signal_of(part.kind);
                (signal, tenant(part.tenant.as_deref()), part.items)
            })
            .collect();
        self.book(name, Ended::Dropped("discarded"), &ended)?;
        self.journal.close();
        Ok(given_up.iter().map(|part| part.items).sum())
    }

    /// What ended here stands in the books of the gateway.
    pub(super) fn book(
        &self,
        destination: &str,
        how: Ended<'_>,
        ended: &[(Signal, Option<String>, u64)],
    ) -> Result<(), String> {
        let exporter = exporter_of(destination).map_or(destination, |(exporter, _)| exporter);
        let place = format!("exporter {exporter}");
        amend_books(&self.journal, |kept| {
            for (signal, tenant, items) in ended {
                kept.book(&place, signal.as_str(), tenant.as_deref(), how, *items);
            }
        })
        .map_err(|e| format!("the books could not be kept: {e}"))
    }

    /// Writes what is owed as lines of OTLP/JSON.
    pub(super) fn export(&self, name: &str, output: &str) -> Result<(), String> {
        let destination = self.destination(name)?;
        let failed = |e: std::io::Error| format!("{output}: {e}");
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(output)
            .map_err(failed)?;
        let mut out = BufWriter::new(file);
        let mut progress = Progress::new("wrote", destination.items);
        let mut bad = 0u64;
        self.each(&destination, |owed, payload| {
            let Some(payload) = payload else {
                bad += owed_items(owed);
                return Ok(());
            };
            let line = codec::otlp_json::write_payload(&payload).map_err(|e| e.to_string())?;
            out.write_all(&line)
                .and_then(|()| out.write_all(b"\n"))
                .map_err(failed)?;
            progress.add(payload.items as u64);
            Ok(())
        })?;
        let file: File = out.into_inner().map_err(|e| failed(e.into_error()))?;
        file.sync_all().map_err(failed)?;
        say_error(&format!(
            "wrote {} items to {output}; they are still in the journal",
            progress.done
        ));
        match bad {
            0 => Ok(()),
            bad => Err(format!("{bad} items are damaged and were left out")),
        }
    }

    /// Every record that a destination is owed, in order, with what is owed of it; `None` for one that cannot be read.
    pub(super) fn each(
        &self,
        destination: &Destination,
        mut work: impl FnMut(&Owed, Option<Payload>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut after: Option<Seq> = None;
        loop {
            let page = self.journal.owed_after(destination.id, after, PAGE);
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.seq);
            for owed in &page {
                work(owed, self.payload(owed)?)?;
            }
        }
    }

    /// What is owed of a record; `None` if it is damaged.
    pub(super) fn payload(&self, owed: &Owed) -> Result<Option<Payload>, String> {
        match self.journal.read(owed.seq) {
            Ok(data) => Ok(engine::harness::read_record(&data, &owed.remaining)),
            Err(Error::Damaged { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Items of a record that are owed.
pub(super) fn owed_items(owed: &Owed) -> u64 {
    owed.remaining.iter().map(|r| u64::from(r.end - r.start)).sum()
}

/// The tenant of a record's head; what stands for metadata begins with `~`, and is nobody's name.
pub(super) fn tenant(label: Option<&str>) -> Option<String> {
    label.filter(|label| !label.starts_with('~')).map(str::to_owned)
}

pub(super) fn signal_of(kind: u8) -> Signal {
    Signal::ALL
        .get(usize::from(kind))
        .copied()
        .unwrap_or(Signal::Logs)
}

fn time(ms: u64) -> String {
    let at: SystemTime = UNIX_EPOCH + Duration::from_millis(ms);
    Civil::from_system(at).rfc3339().to_string()
}

/// A word now and then while something takes long.
pub(super) struct Progress {
    what: &'static str,
    of: u64,
    pub(super) done: u64,
    told: Instant,
}

impl Progress {
    pub(super) fn new(what: &'static str, of: u64) -> Progress {
        Progress {
            what,
            of,
            done: 0,
            told: Instant::now(),
        }
    }

    pub(super) fn add(&mut self, items: u64) {
        self.done += items;
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            say_error(&format!("{} {} of {} items", self.what, self.done, self.of));
        }
    }
}

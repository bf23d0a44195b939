//! A file for each tenant: a path with `%{tenant}` in it.
//!
//! Files are opened when a tenant's first batch comes, and closed again when more than [`OPEN_MAX`] are open: the one
//! that was written to least lately first.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use component::{Host, Template};
use parking_lot::Mutex;

use super::log_unsynced;
use super::writer::{Open, Slot, Writer};

/// Files open at once, but for those that are being written to.
const OPEN_MAX: usize = 100;

/// The files of one exporter.
pub(super) struct Tenants {
    owner: String,
    path: Template,
    how: Open,
    host: OnceLock<Arc<dyn Host>>,
    /// By tenant; the one used last is last.
    open: Mutex<Vec<(String, Arc<Writer>)>>,
}

impl Tenants {
    pub(super) fn new(owner: String, path: Template, how: Open) -> Tenants {
        Tenants {
            owner,
            path,
            how,
            host: OnceLock::new(),
            open: Mutex::default(),
        }
    }

    /// Before the first batch.
    pub(super) fn start(&self, host: Arc<dyn Host>) {
        // Started twice, the first one stays.
        let _ = self.host.set(host);
    }

    /// The file of a tenant, open. Blocks on the disk.
    pub(super) fn writer(&self, tenant: &str) -> io::Result<Arc<Writer>> {
        let mut open = self.open.lock();
        let writer = match open.iter().position(|(known, _)| known == tenant) {
            Some(at) => {
                let last = open.remove(at);
                let writer = last.1.clone();
                open.push(last);
                writer
            }
            None => {
                let writer = Arc::new(self.make(tenant));
                open.push((tenant.to_owned(), writer.clone()));
                writer
            }
        };
        // One that somebody else holds is being written to.
        let idle = |w: &Arc<Writer>| Arc::strong_count(w) == 1;
        let spare = match open.len() > OPEN_MAX {
            true => open.iter().position(|(_, w)| idle(w)),
            false => None,
        };
        let spare = spare.map(|at| open.remove(at));
        // Under the lock, so that nobody opens the same file meanwhile.
        if let Some((_, writer)) = spare {
            log_unsynced(&writer);
        }
        drop(open);
        writer.open()?;
        Ok(writer)
    }

    fn make(&self, tenant: &str) -> Writer {
        let path = self.path.expand(tenant);
        let writer = Writer::new(Open {
            path: PathBuf::from(&path),
            ..self.how.clone()
        });
        if let Some(host) = self.host.get()
            && let Ok(slot) = host
                .share(&self.owner, &path, || Arc::<Slot>::default())
                .downcast()
        {
            writer.share(slot);
        }
        writer
    }

    /// Syncs and closes all. Blocks on the disk.
    pub(super) fn close(&self) {
        for (_, writer) in std::mem::take(&mut *self.open.lock()) {
            log_unsynced(&writer);
        }
    }
}

//! Fencing: another process writes under our name and session, or a stranger took the next name of its log.
//!
//! This process then never signs for the session again. Everything that gathers is finished first, its entries on the
//! local disk alone; then a new session begins, which names the one before as far as the store has it, and says all that
//! the store does not have of it anew. A crash between is as if the state directory were lost: claims, and what lies in
//! the store, say what was on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use component::{Claim, Set};
use evidence::entry::{Entry, Kind, Obj};
use tokio::time::sleep;

use super::books::Books;
use super::object::Logged;
use super::run::Shared;
use super::writer::{Session, backoff, from_index};
use super::{adopt, disk, start};

/// There while one session ends so and the next one begins.
const FILE: &str = "fenced";

/// Whether a crash came between two sessions: what lies in the directory is of neither. Blocks.
pub(super) fn is_interrupted(dir: &Path) -> std::io::Result<bool> {
    dir.join(FILE).try_exists()
}

/// The new session is on the disk.
pub(super) async fn is_over(dir: &Path) -> std::io::Result<()> {
    match tokio::fs::remove_file(dir.join(FILE)).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What the old session has on the local disk, and what of it the store does not have.
struct Old {
    session: Session,
    /// Objects of entries that the store does not have, by number.
    objects: BTreeMap<u64, Obj>,
}

async fn read(shared: &Shared) -> std::io::Result<Old> {
    let dir = shared.config.state_dir.clone();
    let stored = shared.writer().stored().size;
    disk::blocking(move || {
        let session = disk::read(&dir.join("session.json"))?.unwrap_or_default();
        let session: Session = serde_json::from_slice(&session)?;
        let next = disk::read(&dir.join("next.jsonl"))?.unwrap_or_default();
        let lines = from_index(&next, stored).split(|b| *b == b'\n');
        let entries = lines.filter_map(|line| Entry::parse(line).ok());
        let objects = entries.filter_map(|entry| match entry.kind {
            Kind::Obj(obj) => Some((obj.seq, *obj)),
            _ => None,
        });
        Ok(Old {
            session,
            objects: objects.collect(),
        })
    })
    .await
}

/// Begins the session after one that was fenced, and gives what waits for its first head. Nothing is on its way, and
/// nothing is taken meanwhile. `logged`: what waited for the old one's.
pub(super) async fn leave(shared: &Shared, logged: Vec<Logged>) -> Vec<Logged> {
    let old = shared.writer();
    let (origin, head) = (old.origin(), old.stored());
    let read = loop {
        match read(shared).await {
            Ok(read) => break read,
            Err(error) => shared.disk_trouble(&error).await,
        }
    };
    let mut tries = 0;
    // What begins a session empties what was read.
    loop {
        let begun = async {
            let (dir, name) = (shared.config.state_dir.clone(), origin.clone());
            disk::blocking(move || {
                adopt::remember(&dir, &name)?;
                disk::replace(&dir.join(FILE), name.as_str().as_bytes())
            })
            .await?;
            shared.lines.rewrite_with(|_| Vec::new()).await?;
            let books = Books::restore(&read.session.books).again();
            start::begin_session(shared, head.clone(), |_| books).await
        };
        match begun.await {
            Ok(()) => break,
            Err(trouble) => {
                tracing::error!(exporter = shared.id, error = %trouble, "cannot begin a new session yet");
                sleep(backoff(tries)).await;
                tries += 1;
            }
        }
    }
    shared.step("archive.fence.begun").await;
    let mut waiting = Vec::new();
    let mut explained = BTreeSet::new();
    for mut logged in logged {
        explained.insert(logged.seq);
        // Its name may be that of another part soon, and the store has it.
        if let Some(part) = logged.part.take() {
            let _ = tokio::fs::remove_file(part).await;
        }
        shared.gather.free_spool(std::mem::take(&mut logged.bytes));
        let Some(obj) = read.objects.get(&logged.seq) else {
            // The store has its entry; the first head of the new session is above that.
            logged.index = 0;
            waiting.push(logged);
            continue;
        };
        let Some(debts) = shared.debts(logged.signal) else {
            continue;
        };
        let claim = Claim {
            token: logged.token.clone(),
            rules: std::mem::take(&mut logged.rules),
            note: String::new(),
            set: std::mem::replace(&mut logged.set, Set::new()),
        };
        let (owner, version) = ((origin.clone(), logged.seq), obj.ver.clone());
        let done = adopt::take_over(shared, &*debts, logged.signal, claim, owner, obj.clone(), version).await;
        waiting.extend(done);
    }
    let known = old.books();
    let lost = shared.writer().with_books(|books| books.lose_beyond(&known));
    shared.metrics.lost(lost);
    for seq in read.session.unnamed.iter().filter(|seq| !explained.contains(seq)) {
        let _ = adopt::explain(shared, (origin.clone(), *seq)).await;
    }
    for file in [FILE, adopt::FILE] {
        let _ = tokio::fs::remove_file(shared.config.state_dir.join(file)).await;
    }
    tracing::warn!(
        exporter = shared.id,
        before = %origin,
        size = head.size,
        session = %shared.writer().origin(),
        "the archive's log begins a new session: the one before is written by somebody else"
    );
    waiting
}

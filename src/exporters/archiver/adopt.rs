//! Taking over what a session before left: by its claims, and where those are lost too by what lies in the store.
//!
//! A claim says all that an entry will. Without one an object is read: its name says whose it is, its frames how many
//! records it has. Each number of the session before that no entry of it names is explained here, by the object that it
//! was or by a gap; what is explained already is passed over, so that a crash half way is no harm.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use component::prelude::*;
use component::{Claim, Debts, Set};
use evidence::entry::{Adopted, Gap, Kind, Lock, Obj};
use evidence::names::Origin;
use evidence::time::{Second, Time};
use objects::{Class, Head, StoreError};
use serde::{Deserialize, Serialize};

use super::layout::{self, Layout, Orphan};
use super::object::{self, Logged, carry};
use super::recover::{Before, Named, owner};
use super::run::Shared;
use super::salvage::{self, Whose};
use super::state::{Line, Live, Sealed};
use super::{disk, spool};

/// A request of a process that is gone may still land.
const AGAIN: Duration = Duration::from_secs(60);
/// Objects of so long ago are looked for.
const HOURS: i64 = 48;
const HOUR_MS: i64 = 3_600_000;
/// The session before, until all of it is explained.
pub(super) const FILE: &str = "before.json";

/// What is still to be explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    origin: String,
}

/// Remembers that this session has to be explained. Blocks.
pub(super) fn remember(dir: &Path, origin: &Origin) -> std::io::Result<()> {
    let note = Note {
        origin: origin.to_string(),
    };
    disk::replace(&dir.join(FILE), &serde_json::to_vec(&note)?)
}

/// The session that has to be explained, if there is one. Blocks.
pub(super) fn remembered(dir: &Path) -> std::io::Result<Option<Origin>> {
    let text = disk::read(&dir.join(FILE))?;
    let note = text.and_then(|text| serde_json::from_slice::<Note>(&text).ok());
    Ok(note.and_then(|note| note.origin.parse().ok()))
}

/// What a claim without a line of ours says: an object of a life that is forgotten. If the store has it, it is taken over
/// under a number of this session; if not, its records come again.
pub(super) async fn adopt(shared: &Shared, signal: Signal, claim: Claim) -> Option<Logged> {
    let debts = shared.debts(signal)?;
    let owner = owner(&claim);
    let found = match (&owner, serde_json::from_str::<Obj>(&claim.note)) {
        (Some(_), Ok(obj)) => find(shared, &obj).await.map(|version| (obj, version)),
        _ => None,
    };
    match (owner, found) {
        (Some(owner), Some((obj, version))) => {
            take_over(shared, &*debts, signal, claim, owner, obj, version).await
        }
        (owner, _) => {
            if let Some(owner) = owner.filter(|(origin, _)| *origin != shared.writer().origin()) {
                explain(shared, owner).await?;
            }
            object::release(shared, &*debts, &claim.token).await;
            None
        }
    }
}

/// Names an object of another session, which the store has under this version, in ours. Its claim becomes ours.
pub(super) async fn take_over(
    shared: &Shared,
    debts: &dyn Debts,
    signal: Signal,
    claim: Claim,
    (origin, old): Named,
    mut obj: Obj,
    version: Option<String>,
) -> Option<Logged> {
    // One that was taken over before is still the one that it was then.
    match &obj.adopted {
        Some(_) => explain(shared, (origin, old)).await?,
        None => {
            obj.adopted = Some(Adopted {
                origin: origin.to_string(),
                seq: old,
            });
        }
    }
    let seq = shared.writer().give_seq();
    obj.seq = seq;
    obj.ver = None;
    let class = obj.class().unwrap_or(super::rules::STD).to_owned();
    let sealed = Sealed::new(obj, &class, &claim.rules, debts.journal(), &claim.set);
    shared.line(&Line::Sealed(Box::new(sealed.clone()))).await;
    shared.step("archive.adopt.sealed").await;
    object::claim(shared, debts, &sealed, &claim.set).await;
    shared.step("archive.adopt.claimed").await;
    shared
        .line(&Line::Put {
            seq,
            ver: version.clone(),
        })
        .await;
    object::release(shared, debts, &claim.token).await;
    let records = (sealed.obj.tenant.as_str().into(), sealed.obj.n);
    shared
        .writer()
        .with_books(|books| books.take(&records.0, signal, records.1));
    let live = Live {
        sealed,
        put: Some(version),
        logged: None,
    };
    carry(shared, live, claim.set, object::Content::Memory(Vec::new())).await
}

/// Says that a number of another session stands for nothing.
pub(super) async fn explain(shared: &Shared, (origin, old): Named) -> Option<()> {
    let seq = shared.writer().give_seq();
    let gap = Gap {
        seq: Some(seq),
        seqs: None,
        why: "spool_lost".into(),
        n: Some(0),
        detail: format!(
            "nothing is stored as seq {old} of the session before; what the journal has of it comes again"
        ),
        adopted: Some(Adopted {
            origin: origin.to_string(),
            seq: old,
        }),
    };
    let i = object::append(shared, Kind::Gap(gap)).await?;
    shared.line(&Line::Gap { seq, i }).await;
    shared.writer().told(seq);
    Some(())
}

/// Looks for an object twice: a request of a process that is gone may still land.
pub(super) async fn find(shared: &Shared, obj: &Obj) -> Option<Option<String>> {
    for again in [false, true] {
        if again {
            tokio::time::sleep(AGAIN).await;
        }
        let mut tries = 0;
        let found = loop {
            match object::ours(shared, obj).await {
                Ok(found) => break found,
                Err(error) => self::again(shared, &error, &mut tries).await,
            }
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// The store said no: it is asked again, for as long as it takes.
async fn again(shared: &Shared, error: &StoreError, tries: &mut u32) {
    tokio::time::sleep(shared.put_failed(error, *tries)).await;
    *tries = tries.saturating_add(1);
}

/// Explains what a session before left, beside its claims: objects in the store that no entry names are taken over, the
/// other numbers become gaps. `claimed`: numbers that claims explain.
pub(super) async fn rescue(
    shared: &Shared,
    before: Before,
    claimed: BTreeSet<u64>,
    logged: tokio::sync::mpsc::Sender<Logged>,
) -> Option<()> {
    tokio::time::sleep(AGAIN).await;
    let mut explained: BTreeSet<u64> = claimed;
    let mut tries = 0;
    let orphans = loop {
        match orphans(shared, &before).await {
            Ok(orphans) => break orphans,
            Err(error) => again(shared, &error, &mut tries).await,
        }
    };
    for orphan in orphans {
        if before.named.contains(&orphan.seq) || explained.contains(&orphan.seq) {
            continue;
        }
        let read = loop {
            match read(shared, &orphan, &before.origin).await {
                Ok(read) => break read,
                Err(error) => again(shared, &error, &mut tries).await,
            }
        };
        let Some((obj, version)) = read else { continue };
        explained.insert(orphan.seq);
        let Some(debts) = shared.debts(orphan.signal) else {
            continue;
        };
        tracing::warn!(
            exporter = shared.id,
            key = obj.key,
            "an object that no log names is taken over"
        );
        let claim = Claim {
            token: format!("{}#{}", before.origin, orphan.seq),
            rules: String::new(),
            note: String::new(),
            set: Set::new(),
        };
        let owner = (before.origin.clone(), orphan.seq);
        let done = take_over(shared, &*debts, orphan.signal, claim, owner, obj, version).await?;
        logged.send(done).await.ok()?;
    }
    for seq in before.missing.iter().filter(|seq| !explained.contains(seq)) {
        explain(shared, (before.origin.clone(), *seq)).await?;
    }
    let file = shared.config.state_dir.join(FILE);
    while let Err(error) = tokio::fs::remove_file(&file).await {
        if error.kind() == std::io::ErrorKind::NotFound {
            break;
        }
        shared.disk_trouble(&error).await;
    }
    Some(())
}

/// Objects of a session among those of the last hours.
pub(super) async fn orphans(shared: &Shared, before: &Before) -> Result<Vec<Orphan>, StoreError> {
    let layout = &shared.config.layout;
    let now = shared.now().millis();
    let first = Time::from_millis(now - HOURS * HOUR_MS);
    let hour = |millis: i64| millis.max(0).cast_unsigned() / HOUR_MS.cast_unsigned();
    // A clock may have been ahead.
    let begins = layout.begins(hour(first.millis())..=hour(now) + 1);
    let mut found = Vec::new();
    for begin in begins {
        let mut from = String::new();
        loop {
            let page = shared.store.list(&begin, &from).await?;
            let Some(last) = page.last() else { break };
            from = layout.after(&last.key, first);
            let orphans = page
                .iter()
                .filter_map(|object| layout.orphan(&object.key, &before.origin));
            found.extend(orphans);
        }
    }
    Ok(found)
}

/// No object of ours is larger: it was one request.
const PUT_BYTES_MAX: u64 = 5 << 30;

/// Reads an object: its entry, and its version. None if it is not what its name says.
pub(super) async fn read(
    shared: &Shared,
    orphan: &Orphan,
    origin: &Origin,
) -> Result<Option<(Obj, Option<String>)>, StoreError> {
    let mut found = match shared.store.get(&orphan.key, None).await {
        Ok(found) => found,
        Err(error) if error.class == Class::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let head = found.head.clone();
    let says = head.meta.iter().find(|(name, _)| name == "weir-origin");
    // A store on disk keeps nothing beside an object: there the name has to do.
    if says.map_or(!head.meta.is_empty(), |(_, text)| text != origin.as_str()) {
        return Ok(None);
    }
    let whose = orphan.whose.clone().or_else(|| Layout::whose(&head.meta));
    let Some(layout::Whose { class, tenant, hour }) = whose else {
        return Ok(None);
    };
    if head.size > PUT_BYTES_MAX {
        return Ok(None);
    }
    let io = |error: std::io::Error| {
        StoreError::new(
            Class::Retry { after: None },
            "read",
            format!("the state directory: {error}"),
        )
    };
    let path = shared.config.state_dir.join("orphan.tmp");
    let mut file = tokio::fs::File::create(&path).await.map_err(io)?;
    while let Some(piece) = found.body.next().await? {
        tokio::io::AsyncWriteExt::write_all(&mut file, &piece)
            .await
            .map_err(io)?;
    }
    tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(io)?;
    drop(file);
    let (signal, services, name) = (orphan.signal, shared.indexes_services(), path.clone());
    let work = disk::blocking(move || {
        let (sha256, len) = spool::digest_of(&name)?;
        Ok((salvage::content(&name, signal, services)?, sha256, len))
    });
    let (content, sha256, len) = work.await.map_err(io)?;
    let _ = tokio::fs::remove_file(&path).await;
    let is_it = content.len == len && len == head.size && head.sha256.is_none_or(|known| known == sha256);
    if !is_it {
        return Ok(None);
    }
    let whose = Whose {
        tenant: &tenant,
        signal,
        hour,
        services,
    };
    let mut obj = content.obj(orphan.seq, orphan.key.clone(), len, sha256, &whose);
    obj.lock = lock(&head);
    obj.class = shared.config.layout.class_of_entry(&class);
    Ok(Some((obj, head.version)))
}

/// The lock that an object has.
fn lock(head: &Head) -> Option<Lock> {
    let retention = head.lock.retention?;
    Some(Lock {
        mode: retention.mode.as_str().to_owned(),
        until: Second::from_seconds(retention.until.cast_signed()),
        hold: head.lock.legal_hold,
    })
}

//! An object's life, from the last frame to its line in the log: sealed, claimed, put, logged.
//!
//! Each step is on the disk before the next one begins, so that after a crash it is known which was the last. Nothing is
//! put before its claim is in the journal. A disk or a store that says no is asked again for as long as it takes: the
//! object waits by itself, and holds nobody else up.

use std::path::PathBuf;
use std::time::Duration;

use component::prelude::*;
use component::{Debts, Set};
use evidence::digest::Digest;
use evidence::entry::{Gap, Kind, Obj};
use evidence::names::Layout;
use evidence::time::Time;
use objects::{Body, Class, Put, PutOutcome, StoreError};

use super::gather::Closed;
use super::layout::Named;
use super::owed::Since;
use super::run::Shared;
use super::spool::{self, Whole};
use super::state::{Line, Live, Sealed};

/// An object that the log names.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) seq: u64,
    /// Index of its entry.
    pub(super) index: u64,
    pub(super) token: String,
    pub(super) signal: Signal,
    /// Name of the rules that they were split by.
    pub(super) rules: String,
    /// The journal records in it.
    pub(super) set: Set,
    /// Its part, and the bytes of that.
    pub(super) part: Option<PathBuf>,
    pub(super) bytes: u64,
    /// Until it is complete.
    #[expect(dead_code, reason = "it counts for as long as it is there")]
    owed: Option<Since>,
}

impl Logged {
    /// The same, which is owed since then.
    pub(super) fn owed(self, since: Since) -> Logged {
        Logged {
            owed: Some(since),
            ..self
        }
    }
}

/// First and longest wait after the store said no.
const PUT_RETRY: Duration = Duration::from_millis(200);
const PUT_RETRY_MAX: Duration = Duration::from_secs(30);
/// How long a disk is left alone.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// What is put of an object.
#[derive(Clone)]
pub(super) enum Content {
    File(PathBuf),
    Memory(Vec<bytes::Bytes>),
}

/// The whole life of an object that gathers no more.
pub(super) async fn live(shared: &Shared, closed: Closed) -> Option<Logged> {
    let Closed {
        key, mut partition, ..
    } = closed;
    let seq = shared.writer().give_seq();
    let part = partition.part.take()?;
    let part_id = part.id().to_owned();
    let capacity = partition.buffer.capacity();
    let before = part.len();
    let part = shared.compress(part, partition.buffer.take()).await;
    shared.gather.let_go(capacity, part.len() - before);
    shared.step("archive.seal.before").await;
    let whole = finish(shared, part, seq).await;
    shared.step("archive.seal.after").await;
    let summary = &partition.summary;
    let admitted = summary.admitted_ms.unwrap_or_default();
    let at = |ms: u64| Time::from_millis(ms.cast_signed());
    let name = shared.config.layout.key(&Named {
        class: &key.class,
        tenant: &key.tenant,
        signal: key.signal,
        first_ms: summary
            .admitted_ms
            .map_or(key.hour * 3_600_000, |(first, _)| first),
        origin: &shared.writer().origin(),
        seq,
        compression: shared.config.compression.name(),
    });
    let name = match name {
        Ok(name) => name,
        // Splitting lets no such name through.
        Err(error) => {
            tracing::error!(exporter = shared.id, %error, "an object has no name and stays owed");
            return None;
        }
    };
    let obj = Obj {
        seq,
        key: name,
        ver: None,
        size: whole.len,
        sha256: Digest(whole.sha256),
        fmt: "otlp_proto".into(),
        cmp: shared.config.compression.name().as_str().into(),
        enc: None,
        tenant: key.tenant.to_string(),
        signal: key.signal.as_str().into(),
        n: summary.records,
        raw: summary.raw_bytes,
        ev: summary
            .event_ns
            .map(|(from, to)| [Time::from_nanos(from), Time::from_nanos(to)]),
        ad: [at(admitted.0), at(admitted.1)],
        sev: (key.signal == Signal::Logs).then_some(summary.severities),
        svc: shared.indexes_services().then(|| summary.services.sorted()),
        svc_more: shared.indexes_services() && summary.more_services,
        lock: shared.lock_of(&key.class, &key.rules),
        class: shared.config.layout.class_of_entry(&key.class),
        of: None,
        adopted: None,
    };
    let debts = shared.debts(key.signal)?;
    let mut sealed = Sealed::new(obj, &key.class, &key.rules, debts.journal(), &partition.set);
    sealed.part = Some(part_id);
    shared.line(&Line::Sealed(Box::new(sealed.clone()))).await;
    shared.step("archive.sealed").await;
    let live = Live {
        sealed,
        put: None,
        logged: None,
    };
    let content = match whole.body {
        spool::Body::File(path) => Content::File(path),
        spool::Body::Memory(frames) => Content::Memory(frames),
    };
    carry(shared, live, partition.set, content).await
}

/// The rest of the life of an object that was sealed before a restart.
pub(super) async fn resume(shared: &Shared, live: Live) -> Option<Logged> {
    let signal = Signal::parse(&live.sealed.obj.signal)?;
    let set = live
        .sealed
        .set_of(shared.debts(signal).and_then(|debts| debts.journal()));
    let debts = shared.debts(signal)?;
    let path = match &shared.spool {
        Some(spool) => spool.join(format!("{:010}.part", live.sealed.obj.seq)),
        None => PathBuf::new(),
    };
    let mut live = live;
    let mut content = Content::File(path.clone());
    if live.put.is_none() && live.logged.is_none() && !is_whole(&path, &live.sealed.obj).await {
        let Some(version) = super::adopt::find(shared, &live.sealed.obj).await else {
            let obj = &live.sealed.obj;
            let gap = Gap {
                seq: Some(obj.seq),
                seqs: None,
                why: "spool_lost".into(),
                n: Some(0),
                detail: "its part was lost before it was sent; its records are sent again from the journal"
                    .into(),
                adopted: None,
            };
            // Only the journal that it came from has its records.
            let journal = debts.journal().map(super::state::journal_name);
            let comes_again = journal.is_some() && live.sealed.j == journal;
            let gap = match comes_again {
                true => gap,
                false => Gap {
                    n: Some(obj.n),
                    detail: "its part was lost before it was sent".into(),
                    ..gap
                },
            };
            let i = append(shared, Kind::Gap(gap)).await?;
            shared.line(&Line::Gap { seq: obj.seq, i }).await;
            shared.writer().told(obj.seq);
            shared.writer().with_books(|books| match comes_again {
                true => books.release(&obj.tenant, &obj.signal, obj.n),
                false => books.lose(&obj.tenant, &obj.signal, obj.n),
            });
            if !comes_again {
                shared.metrics.lost(obj.n);
            }
            release(shared, &*debts, &token(shared, obj.seq)).await;
            let _ = tokio::fs::remove_file(&path).await;
            return None;
        };
        shared
            .line(&Line::Put {
                seq: live.sealed.obj.seq,
                ver: version.clone(),
            })
            .await;
        live.put = Some(version);
        if !path.exists() {
            content = Content::Memory(Vec::new());
        }
    }
    carry(shared, live, set, content).await
}

/// Whether a part is what its object should be.
async fn is_whole(path: &std::path::Path, obj: &Obj) -> bool {
    let path = path.to_owned();
    let found = super::disk::blocking(move || spool::digest_of(&path)).await;
    found.is_ok_and(|(digest, len)| digest == obj.sha256.0 && len == obj.size)
}

/// Claims what was sealed before a restart, before anything of it can come again.
pub(super) async fn claim_again(shared: &Shared, live: &Live) {
    let signal = Signal::parse(&live.sealed.obj.signal);
    if let Some(debts) = signal.and_then(|signal| shared.debts(signal)) {
        let set = live.sealed.set_of(debts.journal());
        claim(shared, &*debts, &live.sealed, &set).await;
    }
}

/// Claims, puts and logs what is sealed.
pub(super) async fn carry(shared: &Shared, mut live: Live, set: Set, content: Content) -> Option<Logged> {
    let signal = Signal::parse(&live.sealed.obj.signal)?;
    let debts = shared.debts(signal)?;
    let mut content = content;
    if live.logged.is_none() && live.put.is_none() {
        claim(shared, &*debts, &live.sealed, &set).await;
        shared.step("archive.claimed").await;
        loop {
            match put(shared, &live.sealed, &content).await {
                Some(version) => {
                    live.put = Some(version);
                    break;
                }
                None => {
                    (live.sealed, content) = renumber(shared, &*debts, &live.sealed, content, &set).await?
                }
            }
        }
        shared.step("archive.put").await;
        let ver = live.put.clone().flatten();
        shared
            .line(&Line::Put {
                seq: live.sealed.obj.seq,
                ver,
            })
            .await;
        shared.step("archive.put.line").await;
    }
    let seq = live.sealed.obj.seq;
    let index = match live.logged {
        Some(index) => index,
        None => {
            let mut obj = live.sealed.obj.clone();
            obj.ver = live.put.clone().flatten();
            let index = append(shared, Kind::Obj(Box::new(obj))).await?;
            shared.step("archive.entry").await;
            shared.line(&Line::Logged { seq, i: index }).await;
            shared.writer().told(seq);
            shared.step("archive.logged").await;
            index
        }
    };
    shared.metrics.object(&live.sealed.class, &live.sealed.obj);
    Some(Logged {
        seq,
        index,
        token: token(shared, seq),
        signal,
        rules: live.sealed.rules,
        set,
        bytes: match &content {
            Content::File(_) => live.sealed.obj.size,
            Content::Memory(frames) => frames.iter().map(|frame| frame.len() as u64).sum(),
        },
        part: match content {
            Content::File(path) => Some(path),
            Content::Memory(_) => None,
        },
        owed: None,
    })
}

pub(super) fn token(shared: &Shared, seq: u64) -> String {
    format!("{}#{seq}", shared.writer().origin())
}

/// Adds an entry; none if the session has ended, and the object waits for a restart.
pub(super) async fn append(shared: &Shared, kind: Kind) -> Option<u64> {
    match shared.writer().append(kind, shared.now()).await {
        Ok(index) => Some(index),
        Err(error) => {
            tracing::error!(exporter = shared.id, %error, "the archive's log takes no entry, the object stays owed");
            None
        }
    }
}

async fn finish(shared: &Shared, part: spool::Part, seq: u64) -> Whole {
    let mut part = part;
    loop {
        // Nobody closes it. While the disk is in trouble others have their turn.
        let permit = shared.seals.acquire().await;
        let work = tokio::task::spawn_blocking(move || {
            let whole = part.finish(seq);
            (part, whole)
        });
        // Nothing in it panics; it ends unfinished only with the runtime.
        let Ok((back, whole)) = work.await else {
            std::future::pending().await
        };
        drop(permit);
        part = back;
        match whole {
            Ok(whole) => return whole,
            Err(error) => shared.disk_trouble(&error).await,
        }
    }
}

pub(super) async fn claim(shared: &Shared, debts: &dyn Debts, sealed: &Sealed, set: &Set) {
    if debts.journal().is_none() {
        return;
    }
    let claim = sealed.claim(token(shared, sealed.obj.seq), set.clone());
    while let Err(error) = debts.claim(claim.clone()).await {
        shared.journal_trouble(&error);
        tokio::time::sleep(DISK_RETRY).await;
    }
}

/// Puts an object until the store has it, and gives its version; none if its key is somebody else's.
async fn put(shared: &Shared, sealed: &Sealed, content: &Content) -> Option<Option<String>> {
    let obj = &sealed.obj;
    let layout = &shared.config.layout;
    let own = [
        ("weir-origin".to_owned(), shared.writer().origin().to_string()),
        ("weir-seq".to_owned(), obj.seq.to_string()),
    ];
    let whose = layout.meta(&sealed.class, &obj.tenant, obj.ad[0]);
    let mut put = Put {
        sha256: obj.sha256.0,
        content_type: "application/x-protobuf".into(),
        content_encoding: layout.content_encoding(&obj.cmp).into(),
        lock: shared.lock_sent(obj.lock.as_ref()),
        meta: own.into_iter().chain(whose).collect(),
        if_absent: true,
        ..Put::default()
    };
    let mut tries = 0;
    loop {
        let body = match content {
            Content::File(path) => Body::File {
                path: path.clone(),
                length: obj.size,
            },
            Content::Memory(frames) => Body::Parts(frames.clone()),
        };
        // A store that was away for longer than the lock lasts refuses a date that is over.
        if obj
            .lock
            .as_ref()
            .is_some_and(|lock| lock.until.time() <= shared.now())
        {
            put.lock = shared.lock_sent(shared.lock_of(&sealed.class, &sealed.rules).as_ref());
        }
        let slot = shared.puts.acquire().await.ok()?;
        let began = tokio::time::Instant::now();
        shared.metrics.puts(1);
        let answer = shared.store.put(&obj.key, body, &put).await;
        shared.metrics.put_seconds.observe(began.elapsed().as_secs_f64());
        let answer = match answer {
            Ok(PutOutcome::Stored(stored)) => {
                shared.saw_date(stored.date);
                return Some(stored.version);
            }
            Ok(PutOutcome::Exists) => match ours(shared, obj).await {
                Ok(Some(version)) => return Some(version),
                Ok(None) => return None,
                Err(error) => error,
            },
            Ok(PutOutcome::Conflict) => StoreError::new(
                Class::Retry { after: None },
                "put",
                "another request writes the same key",
            ),
            Err(error) => error,
        };
        drop(slot);
        tokio::time::sleep(shared.put_failed(&answer, tries)).await;
        tries = tries.saturating_add(1);
    }
}

/// How long to wait before an object is put again: by chance, up to twice as long each time.
pub(super) fn wait(error: &StoreError, tries: u32, chance: u64) -> Duration {
    match error.class {
        Class::Retry { after } => {
            let most = PUT_RETRY.saturating_mul(1 << tries.min(8)).min(PUT_RETRY_MAX);
            let share = Duration::from_nanos(chance % (most.as_nanos() as u64 + 1));
            share.max(after.unwrap_or_default().min(PUT_RETRY_MAX))
        }
        _ => PUT_RETRY_MAX,
    }
}

/// Whether what lies under an object's key is the object: its oldest version with its digest.
pub(super) async fn ours(shared: &Shared, obj: &Obj) -> Result<Option<Option<String>>, StoreError> {
    let is_it = async |version: Option<&str>| -> Result<Option<Option<String>>, StoreError> {
        let head = match shared.store.head(&obj.key, version).await {
            Ok(head) => head,
            Err(error) if error.class == Class::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        shared.saw_date(head.date);
        if head.size != obj.size {
            return Ok(None);
        }
        let digest = match head.sha256 {
            Some(digest) => digest,
            None => {
                let found = shared.store.get(&obj.key, version).await?;
                evidence::digest::sha256(&found.body.collect(obj.size).await?).0
            }
        };
        Ok((digest == obj.sha256.0).then_some(head.version))
    };
    let current = is_it(None).await?;
    let mut versions = Vec::new();
    let mut after = None;
    loop {
        let (page, next) = shared.store.list_versions(&obj.key, after.as_ref()).await?;
        versions.extend(page.into_iter().filter(|v| v.key == obj.key && !v.delete_marker));
        match next {
            Some(mark) if versions.len() < VERSIONS_MAX => after = Some(mark),
            _ => break,
        }
    }
    for version in versions.iter().rev().filter_map(|v| v.version.as_deref()) {
        if let Some(found) = is_it(Some(version)).await? {
            return Ok(Some(found));
        }
    }
    Ok(current)
}

/// More versions of one key are not looked at.
const VERSIONS_MAX: usize = 1000;

/// The key of an object holds somebody else's bytes: its number is given up, and it goes out under another one.
async fn renumber(
    shared: &Shared,
    debts: &dyn Debts,
    sealed: &Sealed,
    content: Content,
    set: &Set,
) -> Option<(Sealed, Content)> {
    let old = sealed.obj.seq;
    let seq = shared.writer().give_seq();
    tracing::error!(
        exporter = shared.id,
        key = sealed.obj.key,
        seq,
        "the key of an object is taken, it is sent under another"
    );
    shared.metrics.key_conflict();
    let mut old_part = None;
    let content = match content {
        Content::File(path) => {
            old_part = Some(path.clone());
            let whole = path.with_file_name(format!("{seq:010}.part"));
            // A link: under the old number until the new one is promised.
            while let Err(error) = link(&path, &whole).await {
                shared.disk_trouble(&error).await;
            }
            Content::File(whole)
        }
        memory => memory,
    };
    let mut fresh = sealed.clone();
    fresh.obj.seq = seq;
    // As its key was made, whatever the configuration says by now.
    let layout = Layout::of_key(&sealed.obj.key);
    fresh.obj.key = layout.renumbered(&sealed.obj.key, old, seq)?;
    fresh.from = Some(old);
    // The gap first: a new number without it would leave the old one unexplained.
    let gap = Gap {
        seq: Some(old),
        seqs: None,
        why: "key_conflict".into(),
        n: Some(0),
        detail: format!("key held foreign bytes; records sent again as seq {seq}"),
        adopted: None,
    };
    shared.line(&Line::Sealed(Box::new(fresh.clone()))).await;
    shared.step("archive.renumber.sealed").await;
    claim(shared, debts, &fresh, set).await;
    shared.step("archive.renumber.claimed").await;
    let i = append(shared, Kind::Gap(gap)).await?;
    shared.line(&Line::Gap { seq: old, i }).await;
    shared.writer().told(old);
    if let Some(path) = old_part {
        let _ = tokio::fs::remove_file(path).await;
    }
    release(shared, debts, &token(shared, old)).await;
    Some((fresh, content))
}

async fn link(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    let (from, to) = (from.to_owned(), to.to_owned());
    super::disk::blocking(move || {
        match std::fs::hard_link(&from, &to) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        spool::sync_directory_of(&to)
    })
    .await
}

/// Takes a claim back.
pub(super) async fn release(shared: &Shared, debts: &dyn Debts, token: &str) {
    while let Err(error) = debts.release(token).await {
        shared.journal_trouble(&error);
        tokio::time::sleep(DISK_RETRY).await;
    }
}

//! Start: the store is checked, what was on its way is found again, the log goes on, and only then is anything taken.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use arc_swap::ArcSwap;
use component::prelude::*;
use component::{Claim, Debts, Ending};
use evidence::digest::sha256;
use evidence::entry::{self, Kind};
use evidence::founding::{FOUNDING_BYTES_MAX, Founding};
use evidence::names::Origin;
use objects::check;
use objects::{Body, FileStore, ObjectStore, Put, StoreError};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};

use super::acts::Acts;
use super::config::{Ack, Config, Spool};
use super::disk::{self, Lines};
use super::edges::Edges;
use super::gather::{Gather, Limits};
use super::keys::Keys;
use super::owed::Owed;
use super::partition::Bounds;
use super::recover::{self, Recovered};
use super::rules::Rules;
use super::run::{self, Locking, NEVER, Shared};
use super::state::journal_name;
use super::writer::{Begin, Trouble, Writer};
use super::{Archive, Metrics, NO_STORAGE, Running, adopt, salvage, selftest};

fn world(what: impl std::fmt::Display) -> Fault {
    Fault::World(what.to_string())
}

/// Starts an archive.
pub(super) async fn start(
    archive: &Archive,
    host: Arc<dyn Host>,
    debts: Vec<Arc<dyn Debts>>,
) -> Result<Running, Fault> {
    let (config, id) = (&archive.config, archive.cx.id.to_string());
    if config.ack == Ack::Wal && debts.iter().any(|debts| debts.journal().is_none()) {
        return Err(world(NO_STORAGE));
    }
    let writer_name = writer_name(config);
    let dir = config.state_dir.clone();
    let lock = open_directory(&dir)?;
    let (keys, is_new_key) = Keys::open(config)?;
    let keys = Arc::new(keys);
    let acts = Acts::new(&id, host.audit());
    #[cfg(not(test))]
    let store = open_store(config).await?;
    #[cfg(test)]
    let store = match &archive.store {
        Some(store) => store.clone(),
        None => open_store(config).await?,
    };
    #[cfg(not(test))]
    let deleter = selftest::deleter(config).await?;
    #[cfg(test)]
    let deleter = match &archive.deleter {
        Some(deleter) => Some(deleter.clone()),
        None => selftest::deleter(config).await?,
    };
    let now = evidence::time::Time::from_millis((archive.clock.0)().cast_signed());
    let interrupted = super::fence::is_interrupted(&dir).map_err(world)?;
    let read = match interrupted {
        true => None,
        false => recover::read(&dir, &config.archive, &writer_name)?,
    };
    // What another session left is looked for if nothing here says what it was.
    let is_lost = read.is_none();
    let fresh = read.as_ref().is_none_or(|r| r.log.is_closed());
    let mut recovered = match read.filter(|_| !fresh) {
        Some(recovered) => recovered,
        None => recover::fresh(&config.archive, &writer_name, now)?,
    };
    let session = recovered.log.origin().session().clone();
    let signs = recovered.signs.take().unwrap_or_default();
    let announced = recovered.announced.as_ref();
    keys.settle(
        &signs,
        announced.map(|(index, vkey)| (*index, vkey.as_str())),
        now,
    )?;
    let found = selftest::checked(config, &*store, deleter.as_deref(), session.as_str(), &id).await;
    let found = found.inspect_err(|fault| acts.check_failed(store.place(), &fault.to_string()))?;
    match found.is_founded {
        true => same_layout(config, &*store).await?,
        false => found_archive(config, &*store, now).await?,
    }
    let before = match fresh {
        true => recover::before(&*store, &writer_name, &session)
            .await
            .map_err(world)?,
        false => None,
    };
    if let (true, Some(before)) = (is_lost, &before) {
        adopt::remember(&dir, &before.origin).map_err(world)?;
    }
    recover::go_on(&mut recovered, &*store, now).await;

    let journals = Journals::of(&debts, recovered.journals.as_deref());
    let spool = (config.spool == Spool::Disk).then(|| dir.join("spool"));
    let Recovered {
        log,
        segments,
        unsealed,
        next_bytes,
        covered,
        root,
        books,
        seqs,
        mut state,
        clean,
        adopted,
        ..
    } = recovered;
    let alone = salvage::only_copies(&state, |signal| journals.of_signal(signal));
    let kept = match &spool {
        Some(spool) => {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(spool)
                .map_err(world)?;
            recover::sweep(spool, &state, &alone).map_err(world)?
        }
        None => 0,
    };
    state
        .parts
        .retain(|part, _| alone.iter().any(|begun| begun.part == *part));
    let metrics = Metrics::new(&archive.cx);
    let recount = state.live.values().filter(|live| live.logged.is_none()).count() as u64;
    let writer = Writer::begin(Begin {
        dir: &dir,
        log,
        segments,
        unsealed,
        next_bytes,
        books,
        seqs,
        store: store.clone(),
        keys: keys.clone(),
        journals: journals.present.clone(),
        covered,
        audit: host.audit(),
        edges: Edges::new(
            &archive.cx.telemetry.ledger,
            &id,
            archive.rules.default_tenant().clone(),
        ),
        root,
    })
    .map_err(world)?;
    writer.save_if_new().await.map_err(world)?;
    let text = state.lines();
    let path = dir.join("journal.jsonl");
    let lines = disk::blocking(move || {
        disk::replace(&path, &text)?;
        Lines::open(&path, text.len() as u64)
    });
    let lines = lines.await.map_err(world)?;
    super::fence::is_over(&dir).await.map_err(world)?;

    let worm = selftest::worm(&found);
    metrics.proved(found.worm != check::Worm::None, now);
    acts.checked(store.place(), &worm);
    let shared = Shared {
        rules: (*archive.rules).clone(),
        rules_id: archive.rules.id().into(),
        rules_before: rules_before(&debts, &archive.rules),
        store: store.clone(),
        deleter,
        writer: ArcSwap::from_pointee(writer),
        lines,
        line_bytes: AtomicU64::new(0),
        debts: by_signal(&debts),
        gather: Gather::new(limits(config, &writer_name, &archive.rules)),
        spool,
        puts: Semaphore::new(config.put_concurrency),
        workers: Semaphore::new(workers(config)),
        seals: Semaphore::new(SEALS),
        compressors: Mutex::default(),
        metrics,
        host: host.clone(),
        clock: archive.clock.clone(),
        locking: Locking {
            asks: found.worm != check::Worm::None,
            default_days: found
                .bucket_lock
                .and_then(|lock| lock.default)
                .map(|default| default.days),
        },
        store_date: AtomicU64::new(0),
        skew_ms: AtomicI64::new(found.clock_ahead.map_or(NEVER, |s| s * 1000)),
        told: AtomicBool::new(false),
        keys,
        acts,
        worm: ArcSwap::from_pointee(worm),
        owed: Owed::default(),
        config: config.clone(),
        id,
        #[cfg(test)]
        cut: archive.cut.clone(),
    };
    shared.gather.free_spool(0);
    shared
        .gather
        .spool_bytes
        .fetch_add(kept, std::sync::atomic::Ordering::Relaxed);

    if shared.writer().size() == 0 {
        let head = before.as_ref().map(|before| before.head.clone());
        open_log(&shared, head).await.map_err(world)?;
    }
    let origin = shared.writer().origin();
    if let Ok(vkey) = shared.keys.current().vkey(origin.as_str()) {
        shared.acts.signs(&evidence::digest::hex(&vkey.id()), is_new_key);
        if is_new_key {
            shared.metrics.key_op("create", true);
        }
    }
    let start = entry::Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config_sha256: sha256(host.configuration().unwrap_or_default().as_bytes()),
        clean,
        recovered: recount,
        git: None,
        os: None,
        boot_id: None,
        journal: Some(journals.state().to_owned()),
    };
    for kind in [Kind::Start(start), Kind::Worm((**shared.worm.load()).clone())] {
        shared.writer().append(kind, shared.now()).await.map_err(world)?;
    }
    note_rules(&shared, &archive.rules).await?;
    // What was sealed is claimed before anything comes again.
    let mut live = Vec::new();
    for (_, object) in state.live {
        if object.logged.is_none() {
            super::object::claim_again(&shared, &object).await;
        }
        live.push(object);
    }
    live.extend(salvage::salvage(&shared, alone).await);
    let lost = shared
        .writer()
        .with_books(|books| books.lose_what_was_to_come_again(|signal| journals.is_lost(signal)));
    if lost > 0 {
        shared.metrics.lost(lost);
        tracing::error!(
            exporter = shared.id,
            records = lost,
            "records that were not archived are lost: no journal has them"
        );
    }
    let mut left = Left {
        adopted,
        before: before.into_iter().map(|b| (b.origin.clone(), Some(b))).collect(),
        ..Left::default()
    };
    let remembered = adopt::remembered(&dir).map_err(world)?;
    left.claims(&shared, &debts, &live, remembered.is_some())
        .await
        .map_err(world)?;
    let rescue = match remembered {
        Some(origin) => left.of(&shared, &origin).await.map_err(world)?,
        None => None,
    };
    let shared = Arc::new(shared);
    let (orders, inbox) = mpsc::channel(1);
    let begin = run::Begin {
        live,
        claims: left.foreign,
        rescue: rescue.map(|before| (before, left.explained)),
    };
    let task = tokio::spawn(run::run(shared.clone(), inbox, begin));
    Ok(Running {
        shared,
        orders,
        task,
        _lock: lock,
    })
}

/// The journals of now, beside those of the life before.
struct Journals {
    by_signal: [Option<Option<String>>; 4],
    /// In order, each once.
    present: Vec<String>,
    known: Option<Vec<String>>,
}

impl Journals {
    fn of(debts: &[Arc<dyn Debts>], known: Option<&[String]>) -> Journals {
        let mut by_signal = [const { None }; 4];
        for debts in debts {
            by_signal[debts.signal().index()] = Some(debts.journal().map(journal_name));
        }
        let mut present: Vec<String> = by_signal.iter().flatten().flatten().cloned().collect();
        present.sort();
        present.dedup();
        Journals {
            by_signal,
            present,
            known: known.map(<[String]>::to_vec),
        }
    }

    /// Of a signal, if anything of it comes.
    fn of_signal(&self, signal: Signal) -> Option<Option<String>> {
        self.by_signal[signal.index()].clone()
    }

    fn known_are(&self, test: impl Fn(&String) -> bool) -> bool {
        self.known.iter().flatten().all(test)
    }

    /// What was taken of this signal before and is in no object does not come again.
    fn is_lost(&self, signal: Signal) -> bool {
        match self.of_signal(signal) {
            None => false,
            Some(None) => true,
            Some(Some(own)) => {
                !self.known_are(|known| self.present.contains(known)) && self.known_are(|known| *known != own)
            }
        }
    }

    /// As `start` says it.
    fn state(&self) -> &'static str {
        let is_new = |own: &String| self.known_are(|known| known != own);
        match &self.known {
            None => "new",
            Some(_) if self.known_are(|known| self.present.contains(known)) => "same",
            Some(_) if self.present.iter().any(is_new) || self.present.is_empty() => "lost",
            Some(_) => "same",
        }
    }
}

/// What is there of other sessions.
#[derive(Default)]
struct Left {
    /// As far as they were asked for; none: no head of theirs is to be trusted.
    before: HashMap<Origin, Option<recover::Before>>,
    /// Numbers that were explained in lives before.
    adopted: std::collections::BTreeSet<recover::Named>,
    /// Claims that no line of ours knows.
    foreign: Vec<(Signal, Claim)>,
    /// Numbers of the session before that need no more explanation.
    explained: std::collections::BTreeSet<u64>,
}

impl Left {
    /// What the store has of a session; taken out.
    async fn of(&mut self, shared: &Shared, origin: &Origin) -> Result<Option<recover::Before>, StoreError> {
        self.read(shared, origin).await?;
        let known: Vec<recover::Named> = self.adopted.iter().cloned().collect();
        self.explained
            .extend(known.iter().filter(|(own, _)| own == origin).map(|(_, seq)| *seq));
        let before = self.before.remove(origin).flatten();
        Ok(before.filter(|before| before.origin != shared.writer().origin()))
    }

    async fn read(&mut self, shared: &Shared, origin: &Origin) -> Result<(), StoreError> {
        if !self.before.contains_key(origin) {
            let found = recover::session_of(&*shared.store, origin.writer(), origin.session()).await?;
            self.before.insert(origin.clone(), found);
        }
        Ok(())
    }

    /// Sorts the claims that no line of ours knows: objects under a signed head of their session are complete, what was
    /// taken over before is released, and the others are to be looked for.
    async fn claims(
        &mut self,
        shared: &Shared,
        debts: &[Arc<dyn Debts>],
        live: &[super::state::Live],
        anyway: bool,
    ) -> Result<(), StoreError> {
        let own = shared.writer().origin();
        let is_ours = |claim: &Claim| {
            let owner = recover::owner(claim);
            owner.is_some_and(|(origin, seq)| {
                origin == own && live.iter().any(|live| live.sealed.obj.seq == seq)
            })
        };
        let mut foreign = Vec::new();
        for debts in debts {
            let claims = debts.claims().into_iter().filter(|claim| !is_ours(claim));
            foreign.push((debts, claims.collect::<Vec<_>>()));
        }
        if anyway || foreign.iter().any(|(_, claims)| !claims.is_empty()) {
            // What our own session explained and has under a head, its state directory may have forgotten.
            self.read(shared, &own).await?;
            if let Some(Some(before)) = self.before.get(&own) {
                self.adopted.extend(before.adopted.iter().cloned());
            }
        }
        // Two claims of one object, where taking it over was cut off: the newer one counts.
        let notes = foreign
            .iter()
            .flat_map(|(_, claims)| claims)
            .map(|claim| &claim.note);
        let notes = notes.filter_map(|note| serde_json::from_str::<entry::Obj>(note).ok()?.adopted);
        self.adopted
            .extend(notes.filter_map(|adopted| Some((adopted.origin.parse().ok()?, adopted.seq))));
        for (debts, claims) in foreign {
            for claim in claims {
                let Some(owner) = recover::owner(&claim) else {
                    self.foreign.push((debts.signal(), claim));
                    continue;
                };
                let (origin, seq) = &owner;
                if self.adopted.contains(&owner) {
                    super::object::release(shared, &**debts, &claim.token).await;
                    continue;
                }
                self.read(shared, origin).await?;
                let known = self.before.get(origin).and_then(Option::as_ref);
                if known.is_some_and(|known| known.named.contains(seq)) {
                    match debts.complete(&claim.token, &claim.set, Ending::Stored).await {
                        Ok(()) => continue,
                        Err(error) => shared.journal_trouble(&error),
                    }
                }
                self.explained.insert(*seq);
                self.foreign.push((debts.signal(), claim));
            }
        }
        Ok(())
    }
}

fn by_signal(debts: &[Arc<dyn Debts>]) -> [Option<Arc<dyn Debts>>; 4] {
    Signal::ALL.map(|signal| debts.iter().find(|debts| debts.signal() == signal).cloned())
}

/// Parts whose bytes are being made to last at a time; a disk takes some together, and each waits in a thread.
const SEALS: usize = 16;

fn workers(config: &Config) -> usize {
    const WORKERS_MAX: usize = 4;
    match config.compress_workers {
        0 => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(WORKERS_MAX),
        own => own,
    }
}

fn limits(config: &Config, writer: &str, rules: &Rules) -> Limits {
    let roll = &config.roll;
    Limits {
        writer: writer.to_owned(),
        rules: rules.id().into(),
        bounds: Bounds {
            max_age: roll.max_age.0,
            max_age_small: config.max_age_small(),
            min_bytes: config.min_bytes(),
            max_bytes: roll.max_bytes.0,
            max_raw_bytes: roll.max_raw_bytes.0,
            max_records: roll.max_records,
        },
        chunk_bytes: roll.chunk_bytes.bytes(),
        buffer_bytes_max: config.max_buffer_bytes.bytes(),
        leaving_bytes_max: (2 * workers(config)).max(4) * roll.chunk_bytes.bytes(),
        // Parts in memory count with the buffers.
        spool_bytes_max: match config.spool {
            Spool::Disk => config.max_spool_bytes.0,
            Spool::Memory => config.max_spool_bytes.0.min(config.max_buffer_bytes.0),
        },
        partitions_max: config.max_open_partitions,
    }
}

/// As configured, or the host's name.
fn writer_name(config: &Config) -> String {
    if !config.writer.is_empty() {
        return config.writer.clone();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    evidence::names::writer_of_host(host.trim())
}

/// The state directory, ours alone.
fn open_directory(dir: &Path) -> Result<File, Fault> {
    let fault = |e: std::io::Error| world(format!("cannot use {}: {e}", dir.display()));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(fault)?;
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(fault)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(world(format!(
            "{} is used by another archive: each needs a state_dir of its own",
            dir.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(fault(error)),
    }
}

async fn open_store(config: &Config) -> Result<Arc<dyn ObjectStore>, Fault> {
    match (&config.store.file, &config.store.s3) {
        (Some(file), _) => Ok(Arc::new(FileStore::new(&file.path))),
        #[cfg(feature = "aws")]
        (None, Some(s3)) => Ok(Arc::new(objects::S3Store::open(s3).await.map_err(world)?)),
        _ => Err(world("this build has no S3")),
    }
}

/// Refuses an archive whose objects are called otherwise: readers of the one layout would not find those of the other.
async fn same_layout(config: &Config, store: &dyn ObjectStore) -> Result<(), Fault> {
    let read = objects::patiently(|| async {
        let found = store.get(evidence::names::ARCHIVE, None).await?;
        found.body.collect(FOUNDING_BYTES_MAX as u64).await
    });
    let bytes = read.await.map_err(world)?;
    let own = config.layout.name().as_str();
    match Founding::parse(&bytes) {
        Ok(Founding { layout, .. }) if layout != own => Err(world(format!(
            "{} holds an archive of layout {layout}, and this exporter writes {own}: give it a prefix of its own",
            store.place()
        ))),
        // It helps to find things and is no source of trust: what it does not say is nobody's fault.
        _ => Ok(()),
    }
}

/// Writes `archive.json`, which makes a prefix an archive.
async fn found_archive(
    config: &Config,
    store: &dyn ObjectStore,
    now: evidence::time::Time,
) -> Result<(), Fault> {
    let founding = Founding::new(&config.archive, now, config.layout.name(), Vec::new());
    let text = founding.line().map_err(world)?;
    let put = Put {
        sha256: sha256(&text).0,
        content_type: "application/json".into(),
        if_absent: true,
        ..Put::default()
    };
    // Somebody else's is as good.
    store
        .put(evidence::names::ARCHIVE, Body::Bytes(text.into()), &put)
        .await
        .map_err(world)?;
    Ok(())
}

/// Writes a session's first entry.
async fn open_log(shared: &Shared, before: Option<entry::Head>) -> Result<(), Trouble> {
    let writer = shared.writer();
    let origin = writer.origin();
    let store = &shared.config.store;
    let (bucket, region) = match (&store.s3, &store.file) {
        (Some(s3), _) => (s3.bucket.clone(), s3.region.clone()),
        (None, Some(file)) => (file.path.display().to_string(), String::new()),
        (None, None) => Default::default(),
    };
    let vkey = shared.keys.current().vkey(origin.as_str());
    let open = Kind::Open(entry::Open {
        archive: origin.archive().to_owned(),
        writer: origin.writer().to_owned(),
        session: origin.session().to_string(),
        bucket,
        region,
        vkey: vkey
            .map_err(|e| std::io::Error::other(e.to_string()))?
            .to_string(),
        prev_session: before,
    });
    writer.append(open, shared.now()).await?;
    Ok(())
}

/// Begins a session that follows `before`.
pub(super) async fn begin_session(
    shared: &Shared,
    before: entry::Head,
    books: impl FnOnce(super::books::Books) -> super::books::Books,
) -> Result<(), Trouble> {
    let fresh = recover::fresh(&shared.config.archive, &shared.limits().writer, shared.now());
    let fresh = fresh.map_err(|e| std::io::Error::other(e.to_string()))?;
    shared.keys.begin_session()?;
    let begin = Begin {
        dir: &shared.config.state_dir,
        log: fresh.log,
        segments: Vec::new(),
        unsealed: None,
        next_bytes: 0,
        books: books(fresh.books),
        seqs: fresh.seqs,
        store: shared.store.clone(),
        keys: shared.keys.clone(),
        journals: shared.writer().journals(),
        covered: 0,
        audit: shared.host.audit(),
        edges: shared.writer().edges(),
        root: fresh.root,
    };
    let writer = Writer::begin(begin)?;
    writer.save_if_new().await?;
    shared.writer.store(Arc::new(writer));
    open_log(shared, Some(before)).await?;
    let worm = Kind::Worm((**shared.worm.load()).clone());
    shared.writer().append(worm, shared.now()).await?;
    Ok(())
}

/// Ends the session and begins the next one. Nothing is on its way, and nothing is taken meanwhile.
pub(super) async fn roll(shared: &Shared) -> Result<(), Trouble> {
    let old = shared.writer();
    let head = old.end(shared.at()).await?;
    shared.lines.rewrite_with(|_| Vec::new()).await?;
    begin_session(shared, head, |books| books).await?;
    tracing::info!(exporter = shared.id, session = %shared.writer().origin(), "the archive's log begins a new session");
    Ok(())
}

/// Rules of before, by name.
fn rules_before(debts: &[Arc<dyn Debts>], present: &Rules) -> HashMap<String, Arc<Rules>> {
    let notes = debts.iter().flat_map(|debts| debts.notes());
    notes
        .filter_map(|(name, text)| Some((name, Arc::new(Rules::parse(&text)?.with_key_of(present)?))))
        .collect()
}

/// Writes the present rules down beside the records.
async fn note_rules(shared: &Shared, rules: &Rules) -> Result<(), Fault> {
    let text = rules.text();
    for debts in shared
        .debts
        .iter()
        .flatten()
        .filter(|debts| debts.journal().is_some())
    {
        let noted = debts.note(&shared.rules_id, &text).await;
        noted.map_err(|e| world(format!("the journal takes no note: {e}")))?;
    }
    Ok(())
}

//! An archive in memory: what a store would hold, who lists and reads it, and a writer with which tests fill it.
//!
//! [`Store::verify`] is the whole of a verifying program without its I/O. Tests of those who write archives put their
//! files into a [`Store`] and look at the report.

use std::collections::BTreeMap;

use crate::digest::{Digest, sha256};
use crate::entry::{Close, Kind, Ledger, Lock, Obj, Open, Row, Start};
use crate::log::Log;
use crate::names::{Compression, DATA, DataKey, EVIDENCE, Format, Origin};
use crate::note::{Policy, Signer};
use crate::time::{Second, Time};
use crate::verify::{
    Expected, Facts, Inventory, Level, Listed, LockFacts, Options, Report, SessionReader, Trust, Verifier,
};

/// Files by key, each with its versions, the oldest first.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// Put in what you like; this is a test.
    pub files: BTreeMap<String, Vec<Version>>,
    /// How objects with audit records are read; as they are without.
    pub inflate: Option<fn(&[u8]) -> Vec<u8>>,
    versions: u64,
}

/// One version of a file, or a delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its id.
    pub id: Option<String>,
    /// Its content; none for a delete marker.
    pub bytes: Option<Vec<u8>>,
    /// When it was written.
    pub modified: Option<Time>,
    /// What the store says of its lock.
    pub lock: Option<LockFacts>,
}

impl Store {
    /// Adds a version and gives its id.
    pub fn put(
        &mut self,
        key: &str,
        bytes: &[u8],
        modified: Option<Time>,
        lock: Option<LockFacts>,
    ) -> String {
        self.versions += 1;
        let id = format!("v{}", self.versions);
        self.files.entry(key.to_owned()).or_default().push(Version {
            id: Some(id.clone()),
            bytes: Some(bytes.to_vec()),
            modified,
            lock,
        });
        id
    }

    /// The oldest version's content, to be changed.
    pub fn bytes(&mut self, key: &str) -> &mut Vec<u8> {
        let versions = self.files.get_mut(key).expect("a file of the test");
        versions[0].bytes.as_mut().expect("not a delete marker")
    }

    /// All versions below a prefix, as a store lists them.
    pub fn list(&self, prefix: &str) -> Vec<Listed> {
        let files = self
            .files
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix));
        let listed = |key: &String, version: &Version| Listed {
            key: key.clone(),
            version: version.id.clone(),
            modified: version.modified,
            deleted: version.bytes.is_none(),
        };
        files
            .flat_map(|(key, versions)| versions.iter().rev().map(move |v| listed(key, v)))
            .collect()
    }

    fn version(&self, key: &str, id: Option<&str>) -> Option<&Version> {
        let versions = self.files.get(key)?;
        let wanted = |v: &&Version| v.bytes.is_some() && (id.is_none() || v.id.as_deref() == id);
        versions.iter().find(wanted)
    }

    fn read(&self, key: &str, id: Option<&str>) -> &[u8] {
        self.version(key, id)
            .and_then(|v| v.bytes.as_deref())
            .unwrap_or_default()
    }

    fn facts(&self, expected: &Expected) -> Option<Facts> {
        let version = self.version(&expected.key, expected.version.as_deref())?;
        let bytes = version.bytes.as_deref()?;
        Some(Facts {
            size: bytes.len() as u64,
            sha256: Some(sha256(bytes)),
            lock: version.lock.clone(),
            modified: version.modified,
        })
    }

    /// Verifies all of it.
    pub fn verify(&self, policy: &str, options: &Options) -> Report {
        let mut trust = Trust::new(Policy::parse(policy).expect("a policy of the test"));
        let inventory = Inventory::of(self.list(EVIDENCE));
        for file in &inventory.keys {
            // One that nobody trusted signed lets nobody in.
            let _ = trust.endorse(self.read(&file.key, file.version.as_deref()));
        }
        let mut verifier = Verifier::new(trust.clone(), options.clone(), &inventory);
        for ((writer, session), files) in &inventory.logs {
            let mut reader =
                SessionReader::new(&trust, options, writer, session).expect("a name of the listing");
            for file in &files.checkpoints {
                reader.checkpoint(file.number, self.read(&file.key, file.version.as_deref()));
            }
            for file in &files.segments {
                let bytes = self.read(&file.key, file.version.as_deref());
                for expected in reader.segment(file.number, bytes, file.modified) {
                    verifier.object(&expected, self.facts(&expected).as_ref());
                    if expected.audit.is_some()
                        && let Some(found) = self.version(&expected.key, expected.version.as_deref())
                    {
                        let bytes = found.bytes.clone().unwrap_or_default();
                        let plain = self.inflate.map_or(bytes.clone(), |inflate| inflate(&bytes));
                        verifier.audit(&expected, crate::audit::records(&plain));
                    }
                }
            }
            verifier.session(reader.finish());
        }
        let lists: Vec<String> = verifier.hold_lists().into_iter().map(str::to_owned).collect();
        for key in lists {
            verifier.hold_list(&key, self.read(&key, None));
        }
        let all = if verifier.is_shared() { "" } else { DATA };
        for listed in self.list(all) {
            if !listed.key.starts_with(EVIDENCE) {
                verifier.data(&listed);
            }
        }
        verifier.finish(options.now, options.now)
    }
}

/// Writes one session into a store, the way the exporter does.
#[derive(Debug)]
pub struct Writer {
    /// Its log.
    pub log: Log,
    /// Its key.
    pub signer: Signer,
    /// Its clock; tests move it.
    pub now: Time,
    /// The next object's number.
    pub seq: u64,
    /// Where the next ledger begins.
    pub ledger_from: Time,
    /// By tenant: admitted and archived since the last ledger, and held.
    pub books: BTreeMap<String, [u64; 3]>,
}

impl Writer {
    /// Opens a session: `open` and `start` are its first entries.
    pub fn open(origin: Origin, signer: Signer, now: Time, before: Option<&Writer>) -> Writer {
        let prev_session = before.map(|before| crate::entry::Head {
            session: before.log.origin().session().to_string(),
            size: before.log.size(),
            root: before.log.root(),
        });
        let open = Kind::Open(Open {
            archive: origin.archive().to_owned(),
            writer: origin.writer().to_owned(),
            session: origin.session().to_string(),
            bucket: "memory".to_owned(),
            region: String::new(),
            vkey: signer
                .vkey(origin.as_str())
                .expect("an origin is a name")
                .to_string(),
            prev_session,
        });
        let mut writer = Writer {
            log: Log::open(origin),
            signer,
            now,
            seq: 0,
            ledger_from: now,
            books: BTreeMap::new(),
        };
        writer.append(open);
        writer.append(Kind::Start(Start {
            version: "0.1.0".to_owned(),
            config_sha256: sha256(b"config"),
            clean: true,
            recovered: 0,
            git: None,
            os: None,
            boot_id: None,
            journal: None,
        }));
        writer
    }

    /// Appends an entry; its index.
    pub fn append(&mut self, kind: Kind) -> u64 {
        self.log
            .append(kind, self.now)
            .expect("a short entry in an open segment")
            .index
    }

    /// The next object: stored, and its entry not yet appended.
    pub fn stored(&mut self, store: &mut Store, tenant: &str, n: u64, bytes: &[u8]) -> Obj {
        let until = Second::midnight_after(Time::from_millis(self.now.millis() + 365 * 86_400_000));
        let origin = self.log.origin();
        let key = DataKey {
            class: "std",
            tenant,
            signal: wire::Signal::Logs,
            admitted: self.now,
            writer: origin.writer(),
            session: origin.session(),
            seq: self.seq,
            format: Format::OtlpProto,
            compression: Compression::Zstd,
            age: false,
        };
        let key = key.key().expect("names of the test");
        let lock = LockFacts {
            retention: Some(("COMPLIANCE".to_owned(), until)),
            hold: false,
        };
        let ver = store.put(&key, bytes, Some(self.now), Some(lock));
        let obj = Obj {
            seq: self.seq,
            key,
            ver: Some(ver),
            size: bytes.len() as u64,
            sha256: sha256(bytes),
            fmt: Format::OtlpProto.as_str().to_owned(),
            cmp: Compression::Zstd.as_str().to_owned(),
            enc: None,
            tenant: tenant.to_owned(),
            signal: "logs".to_owned(),
            n,
            raw: bytes.len() as u64,
            ev: Some([self.now, self.now]),
            ad: [self.now, self.now],
            sev: Some([0, 0, 0, n, 0, 0, 0]),
            svc: None,
            svc_more: false,
            class: None,
            lock: Some(Lock {
                mode: "COMPLIANCE".to_owned(),
                until,
                hold: false,
            }),
            of: None,
            adopted: None,
        };
        self.seq += 1;
        obj
    }

    /// Stores an object, admits its records and appends its entry.
    pub fn object(&mut self, store: &mut Store, tenant: &str, n: u64, bytes: &[u8]) -> u64 {
        let obj = self.stored(store, tenant, n, bytes);
        let book = self.books.entry(tenant.to_owned()).or_default();
        book[0] += n;
        book[1] += n;
        self.append(Kind::Obj(Box::new(obj)))
    }

    /// The books since the last ledger.
    pub fn ledger(&mut self, pend: Vec<[u64; 2]>) -> Ledger {
        let rows = self.books.iter_mut().map(|(tenant, [admitted, arch, held])| {
            let row = Row {
                tenant: tenant.clone(),
                signal: "logs".to_owned(),
                open: *held,
                admitted: *admitted,
                arch: *arch,
                held: *held + *admitted - *arch,
                ..Row::default()
            };
            (*admitted, *arch, *held) = (0, 0, row.held);
            row
        });
        let rows = rows.filter(|row| !row.is_zero()).collect();
        let f = std::mem::replace(&mut self.ledger_from, self.now);
        Ledger {
            f,
            to: self.now,
            rows,
            pend,
            part: None,
            edges: Vec::new(),
            door: Vec::new(),
            unknown: Vec::new(),
            skew_ms: None,
        }
    }

    /// Appends the books, seals the segment and signs a head over it; the head's root.
    pub fn seal(&mut self, store: &mut Store) -> Digest {
        let ledger = self.ledger(Vec::new());
        self.append(Kind::Ledger(ledger));
        self.seal_bare(store, true)
    }

    /// Seals without books, and signs if it is told to.
    pub fn seal_bare(&mut self, store: &mut Store, sign: bool) -> Digest {
        let segment = self.log.seal().expect("an entry at least");
        store.put(&segment.key, &segment.bytes, Some(self.now), None);
        if sign {
            let head = self.log.checkpoint(&segment, &[&self.signer]).expect("a name");
            store.put(&head.key, head.note.as_bytes(), Some(self.now), None);
        }
        segment.root
    }

    /// Closes the session.
    pub fn close(&mut self, store: &mut Store, why: &str, next_session: Option<String>) {
        let ledger = self.ledger(Vec::new());
        self.append(Kind::Ledger(ledger));
        self.append(Kind::Close(Close {
            why: why.to_owned(),
            next_session,
        }));
        self.seal_bare(store, true);
    }

    /// The policy line that trusts it.
    pub fn log_line(&self) -> String {
        let vkey = self
            .signer
            .vkey(self.log.origin().as_str())
            .expect("an origin is a name");
        format!("log {vkey}\n")
    }

    /// Moves the clock.
    pub fn wait(&mut self, millis: i64) {
        self.now = Time::from_millis(self.now.millis() + millis);
    }
}

/// Options for a test: level `full`, now.
pub fn options(now: Time) -> Options {
    Options {
        level: Level::Full,
        ..Options::new(now)
    }
}

//! The log of a command that reads or changes content: a session of its own, as writer `cli-<user>-<host>`.
//!
//! It begins before anything is read, so that nothing leaves an archive that cannot say so; what was done follows at the
//! end. A key signs it that is the operator's or the gateway's; who trusts one archive by a root key endorses it once.

use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use evidence::digest::sha256;
use evidence::entry::{Close, Head, Kind, Note, Open, Restore, Start};
use evidence::founding::{FOUNDING_BYTES_MAX, Founding};
use evidence::log::Log;
use evidence::names::{ARCHIVE, Origin, Session, writer_of_host};
use evidence::note::Signer;
use objects::{Body, Class, Lock, ObjectStore, Put, PutOutcome, StoreError, patiently};

use super::Failure;
use super::logs::Logs;
use super::reading::Reading;
use super::which::{Archive, now};

/// Who does it, and why.
#[derive(Args, Clone, Default)]
pub(super) struct Who {
    /// Key that signs the log of this, made if the file is not there. Default: the exporter's of --config, else
    /// weir/archive.key in the user's configuration directory
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Why, for the log: a ticket's number
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// What somebody wrote stands in an entry so far; its line is of bounded length.
const TEXT_CHARS_MAX: usize = 3_000;
/// A session that is open.
pub(super) struct OwnLog {
    reading: Reading,
    log: Log,
    signer: Signer,
    lock: Lock,
    /// Files that the store does not have yet, in order.
    unsent: VecDeque<(String, Bytes, &'static str)>,
}

/// The user, as the log has it.
fn user() -> String {
    let known = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    known.unwrap_or_else(|| format!("uid:{}", rustix::process::getuid().as_raw()))
}

/// A text as an entry takes it.
fn shortened(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// What was read, for the log: `filter` and `to` in words.
pub(super) fn restored(filter: &str, to: &str, records: u64, bytes: u64, who: &Who) -> Kind {
    Kind::Restore(Restore {
        filter: shortened(filter),
        n: records,
        bytes,
        to: shortened(to),
        by: user(),
        reason: shortened(&who.reason),
    })
}

impl OwnLog {
    /// Opens a session in the store, which says what is about to be done: a process may end before it can say that it was.
    ///
    /// Errors: 64 if there is no key, 4 if the store does not take it; nothing was read then.
    pub(super) async fn open(
        archive: &Archive,
        logs: &Logs,
        who: &Who,
        intent: &str,
    ) -> Result<OwnLog, Failure> {
        let reading = Reading::of(archive);
        let name = match logs.archive() {
            Some(name) => name.to_owned(),
            None => founded(&reading).await?,
        };
        let signer = signer(&key_file(archive, who)?)?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let writer = writer_of_host(&format!("cli-{}-{}", user(), host.trim()));
        let mut random = [0; 10];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Failure::unknown("no random bytes"))?;
        let before = format!("{name}/{writer}/");
        let before = logs.heads.iter().filter(|head| head.origin.starts_with(&before));
        let before = before.max_by(|a, b| a.origin.cmp(&b.origin)).map(|head| Head {
            session: head.origin.rsplit('/').next().unwrap_or_default().to_owned(),
            size: head.size,
            root: head.root,
        });
        let origin = Origin::new(&name, &writer, Session::new(now(), random));
        let origin = origin.map_err(|e| Failure::unknown(e.to_string()))?;
        let mut own = OwnLog {
            lock: lock(&reading, logs).await?,
            log: Log::open(origin),
            reading,
            signer,
            unsent: VecDeque::new(),
        };
        let open = Kind::Open(Open {
            archive: name,
            writer,
            session: own.log.origin().session().to_string(),
            bucket: own.reading.store().place().to_owned(),
            region: String::new(),
            vkey: own.vkey()?,
            prev_session: before,
        });
        let start = Kind::Start(Start {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_sha256: sha256(b""),
            clean: true,
            recovered: 0,
            git: None,
            os: None,
            boot_id: None,
            journal: None,
        });
        own.append(open)?;
        own.append(start)?;
        own.append(Kind::Note(Note {
            by: Some(user()),
            text: shortened(intent),
        }))?;
        own.seal().await?;
        Ok(own)
    }

    /// The line of a policy that trusts this session.
    pub(super) fn policy_line(&self) -> Result<String, Failure> {
        Ok(format!("log {}", self.vkey()?))
    }

    fn vkey(&self) -> Result<String, Failure> {
        let vkey = self.signer.vkey(self.log.origin().as_str());
        vkey.map(|vkey| vkey.to_string())
            .map_err(|e| Failure::unknown(e.to_string()))
    }

    /// Says what was done and ends the session; which entry says it: `<writer>/<session>#<index>`.
    pub(super) async fn close(mut self, done: Kind) -> Result<String, Failure> {
        let index = self.append(done)?;
        self.append(Kind::Close(Close {
            why: "shutdown".to_owned(),
            next_session: None,
        }))?;
        self.seal().await?;
        let origin = self.log.origin();
        Ok(format!("{}/{}#{index}", origin.writer(), origin.session()))
    }

    fn append(&mut self, kind: Kind) -> Result<u64, Failure> {
        let appended = self.log.append(kind, now());
        let appended = appended.map_err(|e| Failure::unknown(format!("the log of this command: {e}")))?;
        Ok(appended.index)
    }

    async fn seal(&mut self) -> Result<(), Failure> {
        if let Some(segment) = self.log.seal() {
            let head = self.log.checkpoint(&segment, &[&self.signer]);
            let head = head.map_err(|e| Failure::unknown(e.to_string()))?;
            self.unsent
                .push_back((segment.key, segment.bytes.into(), "application/jsonl"));
            self.unsent
                .push_back((head.key, head.note.into(), "text/plain; charset=utf-8"));
        }
        // One stays until it is there: a log with a hole is a broken one.
        while let Some((key, bytes, content_type)) = self.unsent.front() {
            self.put(key, bytes.clone(), content_type).await?;
            self.unsent.pop_front();
        }
        Ok(())
    }

    async fn put(&self, key: &str, bytes: Bytes, content_type: &str) -> Result<(), Failure> {
        let store = self.reading.store();
        put(store, key, bytes, content_type, self.lock).await.map_err(|error| {
            let place = store.place();
            let why = match error.class {
                Class::Denied | Class::Unauthorized | Class::Rejected => {
                    "\n  What reads an archive is logged in it, so nothing was read: this needs to write below _weir/v1/log/"
                }
                _ => "",
            };
            Failure::unknown(format!("{place}/{key} cannot be written: {error}{why}"))
        })
    }
}

/// Puts a file that nobody else has the name of. One that is there by an earlier try is as good.
pub(super) async fn put(
    store: &dyn ObjectStore,
    key: &str,
    bytes: Bytes,
    content_type: &str,
    lock: Lock,
) -> Result<(), StoreError> {
    let put = Put {
        sha256: sha256(&bytes).0,
        content_type: content_type.to_owned(),
        lock,
        if_absent: true,
        ..Put::default()
    };
    let done = patiently(|| async {
        match store.put(key, Body::Bytes(bytes.clone()), &put).await? {
            PutOutcome::Conflict => Err(StoreError::new(
                Class::Retry { after: None },
                "put",
                "somebody writes it at this moment",
            )),
            done => Ok(done),
        }
    });
    if let PutOutcome::Stored(_) = done.await? {
        return Ok(());
    }
    let found = patiently(|| async {
        store
            .get(key, None)
            .await?
            .body
            .collect(bytes.len() as u64 + 1)
            .await
    });
    match found.await? == bytes {
        true => Ok(()),
        false => Err(StoreError::new(
            Class::Rejected,
            "put",
            "it is there already, and another",
        )),
    }
}

/// The lock of the newest head that is there: what proves must be kept as long as what is proved.
async fn lock(reading: &Reading, logs: &Logs) -> Result<Lock, Failure> {
    let Some(file) = &logs.head_file else {
        return Ok(Lock::default());
    };
    let version = file.version.as_deref();
    let head = patiently(|| reading.store().head(&file.key, version)).await;
    let head = head.map_err(|e| Failure::unknown(format!("{}: {e}", file.key)))?;
    let seconds = u64::try_from(now().millis() / 1_000).unwrap_or_default();
    Ok(Lock {
        retention: head.lock.retention.filter(|retention| retention.until > seconds),
        legal_hold: false,
    })
}

/// The name that `archive.json` says.
async fn founded(reading: &Reading) -> Result<String, Failure> {
    let bytes = reading.bytes(ARCHIVE, None, FOUNDING_BYTES_MAX).await?;
    let founding = Founding::parse(&bytes).map_err(|e| Failure::unknown(format!("{ARCHIVE}: {e}")))?;
    Ok(founding.archive)
}

fn key_file(archive: &Archive, who: &Who) -> Result<PathBuf, Failure> {
    let configured = archive.configured.as_ref().and_then(|known| known.key.clone());
    if let Some(path) = who.key.clone().or(configured) {
        return Ok(path);
    }
    let folder = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let folder = folder.ok_or_else(|| Failure::usage("which key signs the log of this? --key FILE"))?;
    Ok(folder.join("weir").join("archive.key"))
}

/// A signing key; made, for its owner alone, if there is none.
pub(super) fn signer(path: &Path) -> Result<Signer, Failure> {
    let fault = |e: &dyn std::fmt::Display| Failure::usage(format!("the key {}: {e}", path.display()));
    match std::fs::read(path) {
        Ok(text) => {
            let text = zeroize::Zeroizing::new(text);
            let text = std::str::from_utf8(&text).map_err(|_| fault(&"it is no text"))?;
            Signer::from_text(text).map_err(|e| fault(&e))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let signer = Signer::generate().map_err(|e| fault(&e))?;
            write_key(path, &signer)?;
            Ok(signer)
        }
        Err(error) => Err(fault(&error)),
    }
}

/// Writes a private key to a new file that its owner alone reads.
pub(super) fn write_key(path: &Path, signer: &Signer) -> Result<(), Failure> {
    let fault = |e: &dyn std::fmt::Display| Failure::usage(format!("the key {}: {e}", path.display()));
    let text = signer.to_pem().map_err(|e| fault(&e))?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).map_err(|e| fault(&e))?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| fault(&e))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|e| fault(&e))
}

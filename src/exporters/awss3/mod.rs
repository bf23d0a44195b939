//! Exporter `awss3`: writes each batch as an object of its own, named as contrib's exporter names them.
//!
//! In: logs, metrics, traces. Out: one PutObject a batch (one for each bucket and prefix, where resources name them),
//! that replaces nothing and has its lock from the beginning. A batch whose upload has no known end is tried again under
//! the same key, and found there if it had arrived. Delivery: at least once (harness). With evidence it is an archive
//! under the same names, and does as exporter `archive` does.

mod config;
mod evidence;
mod places;
mod render;
mod tries;

use std::sync::OnceLock;

use aws_lc_rs::digest;
use bytes::Bytes;
use component::prelude::*;
use objects::blocks::Store;
use objects::{Body, Class as Kind, Lock, Naming, ObjectStore, Put, PutOutcome, StoreError};
use tokio::time::Instant;

use self::config::{Config, ContentEncoding};
use self::places::Place;
use self::render::Form;
use self::tries::{Target, Tries, What};

/// This exporter type.
pub(crate) static FACTORY: ExporterFactory = ExporterFactory {
    kind: "awss3",
    aliases: &[],
    keys: &[Shape::of::<Config<evidence::Evidence>>()],
    signals: &[
        (Signal::Traces, Stability::Alpha),
        (Signal::Metrics, Stability::Alpha),
        (Signal::Logs, Stability::Alpha),
    ],
    harness: Harness {
        queue: Block::Off,
        instead: Some(evidence::HARNESS),
        ..Harness::QUEUE_RETRY_TIMEOUT
    },
    build: |section, cx| {
        if evidence::is_asked_for(&section) {
            return evidence::build(section, cx);
        }
        let place = section.clone();
        let config: Config = section.parse_valid()?;
        let form = Form {
            marshaler: config.marshaler,
            compression: config.s3uploader.compression,
        };
        let naming = Naming::new(&config.s3uploader);
        let naming = naming.map_err(|(key, text)| place.fault(&format!("s3uploader.{key}"), text))?;
        Ok(Exporter::Push(Arc::new(Awss3 {
            id: cx.id.to_string(),
            config,
            form,
            naming,
            tries: Tries::default(),
            store: OnceLock::new(),
        })))
    },
};

/// Keys that a batch tries before it waits: a UUID meets no other, so that the second is already odd.
const KEYS_MAX: u32 = 3;
/// Before the harness gives up: what was delivered until then is reported as such.
const SPARE: std::time::Duration = std::time::Duration::from_millis(100);

struct Awss3 {
    id: String,
    config: Config,
    form: Form,
    naming: Naming,
    tries: Tries,
    store: OnceLock<Arc<dyn ObjectStore>>,
}

impl Push for Awss3 {
    fn start<'a>(&'a self, _host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let uploader = &self.config.s3uploader;
            for (key, text) in uploader.old_keys() {
                tracing::warn!(exporter = self.id, "s3uploader.{key} {text}");
            }
            let store = Store {
                s3: Some(uploader.store()),
                file: None,
            };
            let store = store.open().await;
            let store = store.map_err(|e| Fault::World(format!("exporter {}: {e}", self.id)))?;
            let _ = self.store.set(store);
            Ok(())
        })
    }

    fn export<'a>(&'a self, batch: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        self.export_until(batch, None)
    }

    fn export_until<'a>(
        &'a self,
        batch: &'a Payload,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        Box::pin(async move {
            let pieces = places::by_place(&self.config.resource_attrs_to_s3, batch)?;
            match pieces.as_slice() {
                [] => Ok(Outcome::all()),
                [(place, batch)] => self.write(place, batch).await.map(|()| Outcome::all()),
                pieces => self.write_all(batch, pieces, deadline).await,
            }
        })
    }
}

impl Awss3 {
    /// Writes pieces one after another; what failed for now is still owed, unless that is all of them.
    async fn write_all(
        &self,
        batch: &Payload,
        pieces: &[(Place, Payload)],
        deadline: Option<Instant>,
    ) -> Result<Outcome, ExportError> {
        let mut rejected = Vec::new();
        let mut owed: Option<Payload> = None;
        let mut failed = None;
        let mut has_moved = false;
        for (place, piece) in pieces {
            let written = match deadline {
                None => self.write(place, piece).await,
                Some(deadline) => {
                    let write = self.write(place, piece);
                    let written = tokio::time::timeout_at(deadline - SPARE, write).await;
                    written.unwrap_or_else(|_| Err(ExportError::retry("no answer in time")))
                }
            };
            match written {
                Ok(()) => has_moved = true,
                Err(ExportError::Rejected { source, .. }) => {
                    has_moved = true;
                    rejected.push(Rejection {
                        rule: "rejected_by_peer".into(),
                        items: piece.items as u64,
                        message: source.to_string(),
                    });
                }
                Err(error) => {
                    let owed = owed.get_or_insert_with(|| Payload {
                        signal: batch.signal,
                        chunks: Vec::new(),
                        items: 0,
                        context: batch.context.clone(),
                    });
                    for chunk in &piece.chunks {
                        owed.push(chunk.clone());
                    }
                    failed.get_or_insert(error);
                }
            }
        }
        match (owed, failed) {
            (Some(owed), Some(error)) if has_moved => {
                let after = match &error {
                    ExportError::Retry { after, .. } => *after,
                    _ => None,
                };
                Err(ExportError::Retry {
                    after,
                    remaining: Some(Remaining {
                        owed,
                        rejected,
                        refused: None,
                    }),
                    source: error.source().to_string().into(),
                })
            }
            (_, Some(error)) => Err(error),
            (_, None) => Ok(Outcome { rejected }),
        }
    }

    /// Writes one object.
    async fn write(&self, place: &Place, batch: &Payload) -> Result<(), ExportError> {
        let body = self.form.body(batch).await?;
        if body.is_empty() {
            return Ok(());
        }
        let store = self.store_of(place)?;
        let what = What {
            signal: batch.signal,
            place: place.clone(),
            sha256: sha256(&body),
        };
        for _ in 0..KEYS_MAX {
            let target = match self.tries.take(&what) {
                Some(target) => target,
                None => {
                    let now = render::now();
                    Target {
                        key: render::key(&self.naming, self.form, batch.signal, &place.prefix, now)?,
                        lock: self.config.weir.lock.at(now.as_secs()),
                    }
                }
            };
            let this = self.tries.begin(what.clone(), target.clone());
            match self.put(&*store, &target, &body, what.sha256).await {
                Ok(is_ours) => {
                    this.end();
                    if is_ours {
                        return Ok(());
                    }
                    tracing::warn!(exporter = self.id, key = target.key, "the key has another object");
                }
                Err(error) => {
                    let error = export_error(error);
                    if matches!(error, ExportError::Rejected { .. } | ExportError::TooLarge { .. }) {
                        this.end();
                    }
                    return Err(error);
                }
            }
        }
        Err(ExportError::retry("every key has another object"))
    }

    /// Puts an object; false if its key has another one.
    async fn put(
        &self,
        store: &dyn ObjectStore,
        target: &Target,
        body: &Bytes,
        sha256: [u8; 32],
    ) -> Result<bool, StoreError> {
        let weir = &self.config.weir;
        let content_encoding = match weir.content_encoding {
            ContentEncoding::Auto => self.form.content_encoding().to_owned(),
            ContentEncoding::None => String::new(),
        };
        let put = Put {
            sha256,
            content_encoding,
            lock: target.lock,
            if_absent: true,
            ..Put::default()
        };
        let version = match store.put(&target.key, Body::Bytes(body.clone()), &put).await? {
            PutOutcome::Stored(stored) => stored.version,
            PutOutcome::Conflict => {
                let text = "somebody writes this key at this moment";
                return Err(StoreError::new(Kind::Retry { after: None }, "PutObject", text));
            }
            PutOutcome::Exists => {
                let head = store.head(&target.key, None).await?;
                let there = match head.sha256 {
                    Some(there) => Some(there),
                    None if head.size != body.len() as u64 => None,
                    // A store that keeps no digests.
                    None => {
                        let read = store.get(&target.key, head.version.as_deref()).await?;
                        Some(self::sha256(&read.body.collect(body.len() as u64).await?))
                    }
                };
                if there != Some(sha256) {
                    return Ok(false);
                }
                head.version
            }
        };
        if weir.lock.required {
            let head = store.head(&target.key, version.as_deref()).await?;
            if !holds(target.lock, head.lock) {
                let text = format!("{} was written and is not locked as it must be", target.key);
                return Err(StoreError::new(Kind::Config, "HeadObject", text));
            }
        }
        Ok(true)
    }

    /// The bucket that a place names.
    fn store_of(&self, place: &Place) -> Result<Arc<dyn ObjectStore>, ExportError> {
        let store = self
            .store
            .get()
            .ok_or_else(|| ExportError::retry("not started"))?;
        let rejected = |text: String| ExportError::Rejected {
            code: Code::INVALID_ARGUMENT,
            source: text.into(),
        };
        match &*place.bucket {
            "" if self.config.s3uploader.s3_bucket.is_empty() => Err(rejected(
                "no bucket is named, neither by the resource nor by s3_bucket".into(),
            )),
            "" => Ok(store.clone()),
            name if is_bucket_name(name) => store
                .sibling(name)
                .ok_or_else(|| rejected("the store has no other buckets".into())),
            name => Err(rejected(format!("{name:?} cannot be the name of a bucket"))),
        }
    }
}

/// What clients say becomes part of a host's name or path: nothing but a name may pass.
fn is_bucket_name(name: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let is_end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().copied().all(is_allowed)
        && is_end(bytes.first())
        && is_end(bytes.last())
        && !name.contains("..")
}

/// Whether what is there protects at least as well as what was asked for.
fn holds(wanted: Lock, there: Lock) -> bool {
    let retained = match (wanted.retention, there.retention) {
        (None, _) => true,
        (Some(wanted), Some(there)) => there.mode == wanted.mode && there.until >= wanted.until,
        (Some(_), None) => false,
    };
    retained && (there.legal_hold || !wanted.legal_hold)
}

/// What a store's error means for the batch: nothing is lost for credentials or settings that can be put right.
fn export_error(error: StoreError) -> ExportError {
    let status = error.status;
    match error.class {
        Kind::Retry { after } => ExportError::Retry {
            after,
            remaining: None,
            source: error.into(),
        },
        Kind::Denied | Kind::Unauthorized | Kind::Config => {
            ExportError::Unauthorized { source: error.into() }
        }
        // Of an object that was there a moment ago.
        Kind::NotFound => ExportError::retry(error),
        Kind::TooLarge => ExportError::TooLarge { source: error.into() },
        Kind::Rejected => ExportError::Rejected {
            code: status.map_or(Code::INVALID_ARGUMENT, Code::from_http),
            source: error.into(),
        },
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests;

//! The proof that the store's lock holds: before anything is taken, and again at each interval.
//!
//! Each proof is an entry of the log, an act of the audit trail and a gauge. At the start a lock that is promised and does
//! not hold ends it; later it is said aloud and everything goes on: what came is safer here than nowhere.

use component::prelude::*;
use evidence::entry::{self, Kind};
use objects::ObjectStore;
use objects::check::{self, Found, Wanted, Worm};
use tokio::sync::mpsc;

use super::config::Config;
use super::run::Shared;

/// How soon a proof is tried again that came to no end.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(300);

/// The store by the credentials of who may delete canaries, if anybody may.
pub(super) async fn deleter(config: &Config) -> Result<Option<Arc<dyn ObjectStore>>, Fault> {
    match (&config.store.s3, config.selftest.role_arn.as_str()) {
        (_, "") => Ok(None),
        #[cfg(feature = "aws")]
        (Some(s3), role) => {
            let block = objects::blocks::S3 {
                role_arn: role.to_owned(),
                ..s3.clone()
            };
            let store = objects::S3Store::open(&block).await;
            let store = store.map_err(|e| Fault::World(format!("selftest.role_arn: {e}")))?;
            Ok(Some(Arc::new(store)))
        }
        _ => Err(Fault::World("selftest.role_arn: only a bucket has roles".into())),
    }
}

/// The start-up check; what is not as it should be is said aloud.
pub(super) async fn checked(
    config: &Config,
    store: &dyn ObjectStore,
    deleter: Option<&dyn ObjectStore>,
    session: &str,
    id: &str,
) -> Result<Found, Fault> {
    let wanted = Wanted {
        required: config.lock.required,
        mode: Some(config.lock.mode),
        create: config.create,
        session,
    };
    let found = check::check(store, deleter, wanted).await;
    let found = found.map_err(|e| Fault::World(e.to_string()))?;
    for note in &found.notes {
        tracing::warn!(exporter = id, "{note}");
    }
    if found.worm == Worm::None {
        tracing::warn!(
            exporter = id,
            store = store.place(),
            "the archive is not locked: tampering shows, and is possible"
        );
    }
    if let Some(note) = shorter(config, &found) {
        tracing::warn!(exporter = id, "{note}");
    }
    Ok(found)
}

/// What is to be said of retentions below the bucket's own, which is known only here.
fn shorter(config: &Config, found: &Found) -> Option<String> {
    let days = found.bucket_lock.and_then(|lock| lock.default)?.days;
    let default = super::units::Retention::days(days);
    let classes = config.lock.classes.iter();
    let own = classes.map(|class| {
        (
            class.name.as_str(),
            class.retention.unwrap_or(config.lock.retention),
        )
    });
    let own = own.chain([(super::rules::STD, config.lock.retention)]);
    let names: Vec<&str> = own
        .filter(|(_, retention)| *retention < default)
        .map(|(name, _)| name)
        .collect();
    let does = match config.lock.shorter_than_bucket_default {
        super::config::Shorter::Reject => "they are kept as long as that",
        super::config::Shorter::Allow => "they are kept shorter (shorter_than_bucket_default: allow)",
    };
    let names = (!names.is_empty()).then(|| names.join(", "))?;
    Some(format!(
        "the bucket's own retention of {days} days is longer than that of class {names}: {does}"
    ))
}

/// Proves it again now and then, and gives what the log should say, for as long as somebody listens.
pub(super) async fn repeat(shared: &Shared, say: mpsc::Sender<Kind>) {
    let interval = shared.config.selftest.interval.0;
    let mut wait = interval;
    loop {
        tokio::time::sleep(wait).await;
        wait = match again(shared).await {
            Some(worm) => {
                if say.send(Kind::Worm(worm)).await.is_err() {
                    return;
                }
                interval
            }
            None => interval.min(AGAIN),
        };
    }
}

/// One more proof; none if it came to no end.
pub(super) async fn again(shared: &Shared) -> Option<entry::Worm> {
    let session = shared.writer().origin().session().clone();
    // What is not so is said, and ends nothing.
    let wanted = Wanted {
        required: false,
        mode: Some(shared.config.lock.mode),
        create: true,
        session: session.as_str(),
    };
    let place = shared.store.place();
    let found = match check::check(&*shared.store, shared.deleter.as_deref(), wanted).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(exporter = shared.id, %error, "the lock's proof came to no end, it is tried again");
            return None;
        }
    };
    let worm = worm(&found);
    let is_new = shared.worm.load().worm != worm.worm;
    if found.worm == Worm::None && (shared.config.lock.required || is_new) {
        let notes = found.notes.join("; ");
        tracing::error!(
            exporter = shared.id,
            store = place,
            notes,
            "the store's lock does not hold"
        );
        shared.acts.check_failed(place, &notes);
    } else {
        shared.acts.checked(place, &worm);
    }
    if !found.is_founded {
        tracing::error!(
            exporter = shared.id,
            store = place,
            "archive.json is gone from the store"
        );
    }
    shared.metrics.proved(found.worm != Worm::None, shared.now());
    shared.worm.store(Arc::new(worm.clone()));
    Some(worm)
}

/// As the log has it.
pub(super) fn worm(found: &Found) -> entry::Worm {
    let default = found.bucket_lock.and_then(|lock| lock.default);
    entry::Worm {
        bucket_lock: entry::BucketLock {
            enabled: found.bucket_lock.is_some(),
            default: default.map(|default| entry::Retention {
                mode: default.mode.as_str().to_owned(),
                days: u32::try_from(default.days).ok(),
                years: None,
            }),
        },
        versioning: found.versioning.map_or("", |v| v.as_str()).to_owned(),
        canary: found.canary.as_ref().map(|canary| entry::Canary {
            key: canary.key.clone(),
            ver: canary.version.clone(),
            mode: canary.retention.map(|r| r.mode.as_str().to_owned()),
            until: canary
                .retention
                .map(|r| evidence::time::Second::from_seconds(r.until.cast_signed())),
            readback: canary.readback,
            conditional: canary.conditional,
            delete_refused: canary.delete_refused,
        }),
        worm: found.worm.as_str().to_owned(),
    }
}

//! Store `s3`: a bucket of Amazon S3 or of what speaks like it.
//!
//! An object goes up in one PutObject with the digest that the caller has, so that the store compares before it stores,
//! and with its lock in the same request: there is no moment without. Every call is tried once, what comes of it is
//! classified in `fault`. Versions are read by their id, since a plain read can be shadowed by a newer version or a
//! delete marker.

mod connect;
mod fault;
mod parts;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{ByteStream, DateTime, DateTimeFormat, Length, SdkBody};
use aws_sdk_s3::types::{
    BucketVersioningStatus, ChecksumAlgorithm, ChecksumMode, ChecksumType, ObjectCannedAcl,
    ObjectLockEnabled, ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention,
    ObjectLockRetentionMode, ServerSideEncryption, StorageClass,
};
use aws_smithy_types::base64;

use self::fault::{ASLEEP, fault};
use crate::blocks::{Checksum, S3};
use crate::error::{Class, StoreError};
use crate::store::{
    Body, BoxFuture, Chunks, Clock, DefaultRetention, Facts, Get, Head, Listed, Lock, LockRules, Mode,
    ObjectStore, Put, PutOutcome, Retention, Stored, Version, VersionMark, Versioning,
};

/// Objects in a page of a listing; S3 gives no more.
const PAGE: i32 = 1000;
/// A single PutObject takes 5 GiB; ours stay below.
const OBJECT_BYTES_MAX: u64 = 4 << 30;

/// A bucket. Clones share the client with its connections and credentials.
#[derive(Clone)]
pub struct S3Store(Arc<Inner>);

struct Inner {
    client: Client,
    config: S3,
    /// The prefix with its `/`, or nothing.
    prefix: String,
    place: String,
    owner: Option<String>,
    /// `config.sse.context` as the request wants it.
    sse_context: Option<String>,
}

impl std::fmt::Debug for S3Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.place)
    }
}

impl S3Store {
    /// A store as `config` says, whose faults were looked for. Reads files; asks the network nothing.
    pub async fn open(config: &S3) -> Result<S3Store, StoreError> {
        let client = connect::client(config).await?;
        Ok(Self::of(client, config.clone()))
    }

    /// Another bucket by the same client.
    pub fn with_bucket(&self, bucket: &str) -> S3Store {
        let mut config = self.0.config.clone();
        bucket.clone_into(&mut config.bucket);
        Self::of(self.0.client.clone(), config)
    }

    #[cfg(any(test, feature = "test-kit"))]
    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    #[cfg(any(test, feature = "test-kit"))]
    pub(crate) fn bucket(&self) -> &str {
        &self.0.config.bucket
    }

    fn of(client: Client, config: S3) -> S3Store {
        let (prefix, slash) = (&*config.prefix, if config.prefix.is_empty() { "" } else { "/" });
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let context = &config.sse.context;
        S3Store(Arc::new(Inner {
            prefix: format!("{prefix}{slash}"),
            place: format!(
                "s3://{}{}{prefix}",
                config.bucket,
                if prefix.is_empty() { "" } else { "/" }
            ),
            owner: some(&config.expected_bucket_owner),
            sse_context: (!context.is_empty()).then(|| base64::encode(json(context))),
            client,
            config,
        }))
    }
}

/// The store's clock in an answer, good or bad.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<AtomicU64>);

impl Seen {
    fn date(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|date| *date > 0)
    }
}

impl Intercept for Seen {
    fn name(&self) -> &'static str {
        "Seen"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        self.0
            .store(date.as_ref().and_then(seconds).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }
}

impl ObjectStore for S3Store {
    fn place(&self) -> &str {
        &self.0.place
    }

    fn sibling(&self, bucket: &str) -> Option<Arc<dyn ObjectStore>> {
        Some(Arc::new(self.with_bucket(bucket)))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Body,
        put: &'a Put,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        Box::pin(self.0.put(key, body, put))
    }

    fn get<'a>(&'a self, key: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Get, StoreError>> {
        Box::pin(async move {
            let (inner, seen) = (&self.0, Seen::default());
            let request = inner
                .client
                .get_object()
                .bucket(&inner.config.bucket)
                .key(inner.key(key));
            let request = request.set_version_id(version.map(str::to_owned));
            let request = request.set_expected_bucket_owner(inner.owner.clone());
            let sent = request.customize().interceptor(seen.clone()).send().await;
            let answer = match sent.map_err(|e| fault("GetObject", &e)) {
                Ok(answer) => answer,
                Err(error) if error.code == ASLEEP => return Err(inner.asleep(key, version, error).await),
                Err(error) => return Err(error),
            };
            let retention = retention(
                answer.object_lock_mode.as_ref(),
                answer.object_lock_retain_until_date.as_ref(),
            );
            Ok(Get {
                head: Head {
                    size: size(answer.content_length),
                    sha256: whole_sha256(answer.checksum_sha256.as_deref(), answer.checksum_type.as_ref()),
                    last_modified: answer.last_modified.as_ref().and_then(seconds),
                    lock: Lock {
                        retention,
                        legal_hold: answer.object_lock_legal_hold_status
                            == Some(ObjectLockLegalHoldStatus::On),
                    },
                    meta: sorted(answer.metadata),
                    version: answer.version_id,
                    content_type: answer.content_type.unwrap_or_default(),
                    content_encoding: answer.content_encoding.unwrap_or_default(),
                    date: seen.date(),
                },
                body: Chunks::of_aws(answer.body),
            })
        })
    }

    fn head<'a>(&'a self, key: &'a str, version: Option<&'a str>) -> BoxFuture<'a, Result<Head, StoreError>> {
        Box::pin(async move {
            let (inner, seen) = (&self.0, Seen::default());
            let request = inner
                .client
                .head_object()
                .bucket(&inner.config.bucket)
                .key(inner.key(key));
            let request = request.set_version_id(version.map(str::to_owned));
            let request = request.set_expected_bucket_owner(inner.owner.clone());
            let request = request.checksum_mode(ChecksumMode::Enabled);
            let sent = request.customize().interceptor(seen.clone()).send().await;
            let answer = sent.map_err(|e| fault("HeadObject", &e))?;
            let retention = retention(
                answer.object_lock_mode.as_ref(),
                answer.object_lock_retain_until_date.as_ref(),
            );
            Ok(Head {
                size: size(answer.content_length),
                sha256: whole_sha256(answer.checksum_sha256.as_deref(), answer.checksum_type.as_ref()),
                last_modified: answer.last_modified.as_ref().and_then(seconds),
                lock: Lock {
                    retention,
                    legal_hold: answer.object_lock_legal_hold_status == Some(ObjectLockLegalHoldStatus::On),
                },
                meta: sorted(answer.metadata),
                version: answer.version_id,
                content_type: answer.content_type.unwrap_or_default(),
                content_encoding: answer.content_encoding.unwrap_or_default(),
                date: seen.date(),
            })
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, StoreError>> {
        Box::pin(async move {
            let inner = &self.0;
            let mut token = None;
            loop {
                let request = inner.client.list_objects_v2().bucket(&inner.config.bucket);
                let request = request.prefix(inner.key(prefix)).max_keys(PAGE);
                let request = request.set_start_after((!after.is_empty()).then(|| inner.key(after)));
                let request = request.set_continuation_token(token.take());
                let sent = request
                    .set_expected_bucket_owner(inner.owner.clone())
                    .send()
                    .await;
                let answer = sent.map_err(|e| fault("ListObjectsV2", &e))?;
                let mut page: Vec<Listed> = Vec::new();
                for object in answer.contents.unwrap_or_default() {
                    if let Some(key) = inner.relative(object.key) {
                        page.push(Listed {
                            key,
                            size: size(object.size),
                            last_modified: object.last_modified.as_ref().and_then(seconds),
                        });
                    }
                }
                token = answer.next_continuation_token;
                // A page may be empty and yet not the last.
                if !page.is_empty() || answer.is_truncated != Some(true) || token.is_none() {
                    return Ok(page);
                }
            }
        })
    }

    fn list_versions<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a VersionMark>,
    ) -> BoxFuture<'a, Result<(Vec<Version>, Option<VersionMark>), StoreError>> {
        Box::pin(async move {
            let inner = &self.0;
            let request = inner.client.list_object_versions().bucket(&inner.config.bucket);
            let request = request.prefix(inner.key(prefix)).max_keys(PAGE);
            let request = request.set_key_marker(after.map(|mark| inner.key(&mark.key)));
            let version = after
                .map(|mark| mark.version.clone())
                .filter(|version| !version.is_empty());
            let request = request.set_version_id_marker(version);
            let sent = request
                .set_expected_bucket_owner(inner.owner.clone())
                .send()
                .await;
            let answer = sent.map_err(|e| fault("ListObjectVersions", &e))?;
            let mut page = Vec::new();
            for object in answer.versions.unwrap_or_default() {
                if let Some(key) = inner.relative(object.key) {
                    page.push(Version {
                        key,
                        version: object.version_id,
                        is_latest: object.is_latest == Some(true),
                        delete_marker: false,
                        size: size(object.size),
                        last_modified: object.last_modified.as_ref().and_then(seconds),
                    });
                }
            }
            for marker in answer.delete_markers.unwrap_or_default() {
                if let Some(key) = inner.relative(marker.key) {
                    page.push(Version {
                        key,
                        version: marker.version_id,
                        is_latest: marker.is_latest == Some(true),
                        delete_marker: true,
                        size: 0,
                        last_modified: marker.last_modified.as_ref().and_then(seconds),
                    });
                }
            }
            // Objects and markers come apart; a stable sort keeps the store's order among objects of one second.
            page.sort_by(|a, b| {
                let newer = b
                    .is_latest
                    .cmp(&a.is_latest)
                    .then(b.last_modified.cmp(&a.last_modified));
                a.key.cmp(&b.key).then(newer)
            });
            let next = match (answer.is_truncated, inner.relative(answer.next_key_marker)) {
                (Some(true), Some(key)) => Some(VersionMark {
                    key,
                    version: answer.next_version_id_marker.unwrap_or_default(),
                }),
                (Some(true), None) => {
                    let text = "the listing is cut and does not say where";
                    return Err(StoreError::new(Class::Rejected, "ListObjectVersions", text));
                }
                _ => None,
            };
            Ok((page, next))
        })
    }

    fn delete<'a>(&'a self, key: &'a str, version: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let inner = &self.0;
            let request = inner
                .client
                .delete_object()
                .bucket(&inner.config.bucket)
                .key(inner.key(key));
            let request = request
                .version_id(version)
                .set_expected_bucket_owner(inner.owner.clone());
            request.send().await.map_err(|e| fault("DeleteObject", &e))?;
            Ok(())
        })
    }

    fn put_legal_hold<'a>(
        &'a self,
        key: &'a str,
        version: Option<&'a str>,
        on: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let inner = &self.0;
            let status = if on {
                ObjectLockLegalHoldStatus::On
            } else {
                ObjectLockLegalHoldStatus::Off
            };
            let request = inner.client.put_object_legal_hold().bucket(&inner.config.bucket);
            let request = request
                .key(inner.key(key))
                .set_version_id(version.map(str::to_owned));
            let request = request.set_expected_bucket_owner(inner.owner.clone());
            let request = request.legal_hold(ObjectLockLegalHold::builder().status(status).build());
            request
                .send()
                .await
                .map_err(|e| fault("PutObjectLegalHold", &e))?;
            Ok(())
        })
    }

    fn put_retention<'a>(
        &'a self,
        key: &'a str,
        version: Option<&'a str>,
        retention: Retention,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let inner = &self.0;
            let mode = match retention.mode {
                Mode::Governance => ObjectLockRetentionMode::Governance,
                Mode::Compliance => ObjectLockRetentionMode::Compliance,
            };
            let retention = ObjectLockRetention::builder()
                .mode(mode)
                .retain_until_date(date_time(retention.until))
                .build();
            let request = inner.client.put_object_retention().bucket(&inner.config.bucket);
            let request = request
                .key(inner.key(key))
                .set_version_id(version.map(str::to_owned));
            let request = request
                .set_expected_bucket_owner(inner.owner.clone())
                .retention(retention);
            request
                .send()
                .await
                .map_err(|e| fault("PutObjectRetention", &e))?;
            Ok(())
        })
    }

    fn facts(&self) -> BoxFuture<'_, Facts> {
        Box::pin(async move {
            let (inner, seen, asked) = (&self.0, Seen::default(), now());
            let request = inner.client.get_bucket_versioning().bucket(&inner.config.bucket);
            let request = request.set_expected_bucket_owner(inner.owner.clone());
            let versioning = request.customize().interceptor(seen.clone()).send().await;
            let answered = now();
            let versioning = versioning.map_err(|e| fault("GetBucketVersioning", &e));
            Facts {
                versioning: versioning.map(|answer| match answer.status {
                    Some(BucketVersioningStatus::Enabled) => Versioning::Enabled,
                    Some(_) => Versioning::Suspended,
                    None => Versioning::Off,
                }),
                lock: inner.lock_rules().await,
                region: Some(inner.config.region.clone()),
                clock: seen.date().map(|date| Clock {
                    date,
                    asked,
                    answered,
                }),
            }
        })
    }
}

impl Inner {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// A key of the bucket as ours, if it is below the prefix.
    fn relative(&self, key: Option<String>) -> Option<String> {
        let key = key?;
        match &*self.prefix {
            "" => Some(key),
            prefix => key.strip_prefix(prefix).map(str::to_owned),
        }
    }

    async fn put(&self, key: &str, body: Body, put: &Put) -> Result<PutOutcome, StoreError> {
        let rejected = |message: String| StoreError::new(Class::Rejected, "PutObject", message);
        let config = &self.config;
        if config.checksum == Checksum::None && put.lock != Lock::default() {
            let text = "a lock needs a checksum: set checksum: sha256";
            return Err(StoreError::new(Class::Config, "PutObject", text));
        }
        let (body, length) = match body {
            Body::Bytes(bytes) => {
                let length = bytes.len() as u64;
                (ByteStream::from(bytes), length)
            }
            Body::Parts(parts) => {
                let length = parts.iter().map(|part| part.len() as u64).sum();
                let body = move || SdkBody::from_body_1_x(parts::Parts::new(parts.clone()));
                (ByteStream::new(SdkBody::retryable(body)), length)
            }
            Body::File { path, length } => (file_body(path, length).await?, length),
        };
        if length > OBJECT_BYTES_MAX {
            let text = format!("{length} bytes; at most {OBJECT_BYTES_MAX} go into an object");
            return Err(StoreError::new(Class::TooLarge, "PutObject", text));
        }
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let mut request = self
            .client
            .put_object()
            .bucket(&config.bucket)
            .key(self.key(key))
            .content_length(i64::try_from(length).map_err(|e| rejected(e.to_string()))?)
            .set_content_type(some(&put.content_type))
            .set_content_encoding(some(&put.content_encoding))
            .set_expected_bucket_owner(self.owner.clone())
            .set_acl(some(&config.acl).map(|acl| ObjectCannedAcl::from(&*acl)))
            .set_tagging(tagging(
                config.tags.iter().chain(put.tags.iter().map(|(k, v)| (k, v))),
            ))
            .body(body);
        let class = if put.storage_class.is_empty() {
            &config.storage_class
        } else {
            &put.storage_class
        };
        if class != "STANDARD" {
            request = request.storage_class(StorageClass::from(&**class));
        }
        if config.checksum == Checksum::Sha256 {
            // Both: neither alone is understood by every store, nor kept by the client's every setting.
            request = request
                .checksum_algorithm(ChecksumAlgorithm::Sha256)
                .checksum_sha256(base64::encode(put.sha256));
        }
        if put.if_absent {
            request = request.if_none_match("*");
        }
        if let Some(retention) = put.lock.retention {
            request = request
                .object_lock_mode(ObjectLockMode::from(retention.mode.as_str()))
                .object_lock_retain_until_date(date_time(retention.until));
        }
        if put.lock.legal_hold {
            request = request.object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On);
        }
        if !config.sse.kind.is_empty() {
            request = request
                .server_side_encryption(ServerSideEncryption::from(&*config.sse.kind))
                .set_ssekms_key_id(some(&config.sse.kms_key_id))
                .set_ssekms_encryption_context(self.sse_context.clone())
                .set_bucket_key_enabled(config.sse.bucket_key.then_some(true));
        }
        for (name, value) in &put.meta {
            request = request.metadata(name, value);
        }
        let seen = Seen::default();
        match request.customize().interceptor(seen.clone()).send().await {
            Ok(answer) => Ok(PutOutcome::Stored(Stored {
                version: answer.version_id,
                date: seen.date(),
            })),
            Err(error) => {
                let error = fault("PutObject", &error);
                match (error.status, &*error.code) {
                    (Some(412), _) if put.if_absent => Ok(PutOutcome::Exists),
                    (Some(409), "ConditionalRequestConflict") => Ok(PutOutcome::Conflict),
                    _ => Err(error),
                }
            }
        }
    }

    /// The same error, with where the object lies and whether a copy is on its way, as far as the store says.
    async fn asleep(&self, key: &str, version: Option<&str>, error: StoreError) -> StoreError {
        let request = self.client.head_object().bucket(&self.config.bucket);
        let request = request
            .key(self.key(key))
            .set_version_id(version.map(str::to_owned));
        let request = request.set_expected_bucket_owner(self.owner.clone());
        let Ok(answer) = request.send().await else {
            return error;
        };
        let class = answer.storage_class.as_ref().map_or("", |class| class.as_str());
        let tier = answer
            .archive_status
            .as_ref()
            .map_or("", |status| status.as_str());
        let told = fault::asleep(class, tier, answer.restore.as_deref());
        let status = error.status.unwrap_or_default();
        StoreError::new(error.class, error.operation, told)
            .with_code(error.code)
            .with_status(status)
    }

    async fn lock_rules(&self) -> Result<Option<LockRules>, StoreError> {
        let request = self
            .client
            .get_object_lock_configuration()
            .bucket(&self.config.bucket);
        let request = request.set_expected_bucket_owner(self.owner.clone());
        let answer = match request
            .send()
            .await
            .map_err(|e| fault("GetObjectLockConfiguration", &e))
        {
            Ok(answer) => answer,
            Err(error) if error.code == "ObjectLockConfigurationNotFoundError" => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(lock) = answer.object_lock_configuration else {
            return Ok(None);
        };
        if lock.object_lock_enabled != Some(ObjectLockEnabled::Enabled) {
            return Ok(None);
        }
        let default = lock
            .rule
            .and_then(|rule| rule.default_retention)
            .and_then(|default| {
                let (days, years) = (default.days.unwrap_or(0), default.years.unwrap_or(0));
                Some(DefaultRetention {
                    mode: match default.mode? {
                        ObjectLockRetentionMode::Compliance => Mode::Compliance,
                        ObjectLockRetentionMode::Governance => Mode::Governance,
                        _ => return None,
                    },
                    days: u64::try_from(days).unwrap_or(0) + 365 * u64::try_from(years).unwrap_or(0),
                })
            });
        Ok(Some(LockRules { default }))
    }
}

async fn file_body(path: PathBuf, length: u64) -> Result<ByteStream, StoreError> {
    let rejected = |text: String| StoreError::new(Class::Rejected, "PutObject", text);
    let shown = path.display().to_string();
    let cannot = |e: &dyn std::fmt::Display| rejected(format!("cannot read {shown}: {e}"));
    let found = tokio::fs::metadata(&path).await.map_err(|e| cannot(&e))?.len();
    if found != length {
        let text = format!("{found} bytes where {length} were announced");
        return Err(rejected(text).with_code("IncompleteBody"));
    }
    let body = ByteStream::read_from().path(path).length(Length::Exact(length));
    body.build().await.map_err(|e| cannot(&e))
}

/// SHA-256 of a whole object; of one that went up in parts there is only one of the parts' digests.
fn whole_sha256(text: Option<&str>, kind: Option<&ChecksumType>) -> Option<[u8; 32]> {
    if kind == Some(&ChecksumType::Composite) {
        return None;
    }
    base64::decode(text?).ok()?.try_into().ok()
}

fn retention(mode: Option<&ObjectLockMode>, until: Option<&DateTime>) -> Option<Retention> {
    let mode = match mode? {
        ObjectLockMode::Compliance => Mode::Compliance,
        ObjectLockMode::Governance => Mode::Governance,
        _ => return None,
    };
    Some(Retention {
        mode,
        until: until.and_then(seconds)?,
    })
}

fn sorted(meta: Option<std::collections::HashMap<String, String>>) -> Vec<(String, String)> {
    let mut meta: Vec<_> = meta.unwrap_or_default().into_iter().collect();
    meta.sort_unstable();
    meta
}

fn size(length: Option<i64>) -> u64 {
    length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0)
}

fn seconds(date: &DateTime) -> Option<u64> {
    u64::try_from(date.secs()).ok()
}

fn date_time(seconds: u64) -> DateTime {
    DateTime::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs())
}

/// Names and values as a query, which is how tags travel.
fn tagging<'a>(tags: impl Iterator<Item = (&'a String, &'a String)>) -> Option<String> {
    let mut query = String::new();
    for (name, value) in tags {
        for (before, text) in [(if query.is_empty() { "" } else { "&" }, name), ("=", value)] {
            query.push_str(before);
            for byte in text.bytes() {
                match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        query.push(byte.into())
                    }
                    byte => query.push_str(&format!("%{byte:02X}")),
                }
            }
        }
    }
    Some(query).filter(|query| !query.is_empty())
}

fn json(map: &BTreeMap<String, String>) -> String {
    serde_json::to_string(map).expect("a map of texts is JSON")
}

#[cfg(test)]
mod tests;

//! Whoever has all rights in a server, and what somebody like that does to an archive.
//!
//! Calls that a store may refuse answer whether it did as asked; whatever else goes wrong is the test's mistake.

use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockRetention, ObjectLockRetentionMode};
use bytes::Bytes;

use crate::blocks::S3;
use crate::s3::S3Store;
use crate::store::{Body, Mode, ObjectStore, Put, PutOutcome, Retention, Version};

/// Somebody with all rights in the buckets of a server.
#[derive(Clone, Debug)]
pub struct Administrator(S3Store);

impl Administrator {
    /// By a store's keys; the bucket is the one that the calls are about.
    pub async fn of(config: &S3) -> Administrator {
        Administrator(S3Store::open(config).await.expect("the store can be opened"))
    }

    /// The bucket, as everybody else has it.
    pub fn store(&self) -> &S3Store {
        &self.0
    }

    /// Makes the bucket.
    pub async fn make_bucket(&self, has_lock: bool) {
        let (client, bucket) = (self.0.client(), self.0.bucket());
        let request = client.create_bucket().bucket(bucket);
        let made = request.object_lock_enabled_for_bucket(has_lock).send().await;
        made.unwrap_or_else(|e| panic!("{bucket} is not made: {e:?}"));
    }

    /// Puts an object over whatever there is, without a lock; its version.
    pub async fn put(&self, key: &str, bytes: &[u8]) -> Option<String> {
        let mut put = Put::default();
        put.sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
        let body = Body::Bytes(Bytes::copy_from_slice(bytes));
        match self.0.put(key, body, &put).await {
            Ok(PutOutcome::Stored(stored)) => stored.version,
            other => panic!("{key} is not put: {other:?}"),
        }
    }

    /// Deletes a key without naming a version: where versions are kept, a marker hides it. The marker's version.
    pub async fn hide(&self, key: &str) -> Option<String> {
        let request = self.0.client().delete_object().bucket(self.0.bucket());
        let done = request.key(key).send().await;
        done.unwrap_or_else(|e| panic!("{key} is not deleted: {e:?}"))
            .version_id
    }

    /// Deletes a version for good, with the right to bypass GOVERNANCE.
    pub async fn destroy(&self, key: &str, version: &str) -> bool {
        let request = self.0.client().delete_object().bucket(self.0.bucket());
        let request = request.key(key).version_id(version);
        request.bypass_governance_retention(true).send().await.is_ok()
    }

    /// Gives a version another retention, with the right to bypass GOVERNANCE.
    pub async fn retain(&self, key: &str, version: &str, retention: Retention) -> bool {
        let mode = match retention.mode {
            Mode::Compliance => ObjectLockRetentionMode::Compliance,
            Mode::Governance => ObjectLockRetentionMode::Governance,
        };
        let until = i64::try_from(retention.until).expect("a time of this age");
        let retention = ObjectLockRetention::builder()
            .mode(mode)
            .retain_until_date(DateTime::from_secs(until))
            .build();
        let request = self.0.client().put_object_retention().bucket(self.0.bucket());
        let request = request.key(key).version_id(version).retention(retention);
        request.bypass_governance_retention(true).send().await.is_ok()
    }

    /// All versions and markers of keys that begin so, in order of key, the newest first.
    pub async fn versions(&self, prefix: &str) -> Vec<Version> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.0.list_versions(prefix, after.as_ref()).await;
            let (mut versions, next) = page.expect("the bucket is listed");
            all.append(&mut versions);
            after = next;
            if after.is_none() {
                return all;
            }
        }
    }
}

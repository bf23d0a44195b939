//! Where objects go, as users write it: the block `store` of an archive, and the collector's `s3uploader`.
//!
//! [`S3`] is what a store is opened with; [`S3Uploader`] has contrib's keys and defaults (awss3 exporter of 2026) and
//! becomes one. What a key cannot hold by its type is in `faults`: the key, and what is wrong with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use config::{Duration, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Class, StoreError};
use crate::file::FileStore;
use crate::store::ObjectStore;

/// `store`: one of the kinds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// A bucket of S3 or of what speaks like it.
    pub s3: Option<S3>,
    /// A directory; without locks.
    pub file: Option<Directory>,
}

/// `store::file`: a directory.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Directory {
    /// Where. Required; made if it is missing.
    pub path: PathBuf,
}

/// `store::s3`: a bucket, and how to reach it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct S3 {
    /// The bucket. Required.
    pub bucket: String,
    /// Its region. Default `us-east-1`.
    pub region: String,
    /// Before every key, with a `/` between; empty (default): none.
    pub prefix: String,
    /// Base URL of a store other than Amazon's; empty (default): the region's.
    pub endpoint: String,
    /// The bucket in the path instead of in the host's name. Default false.
    pub force_path_style: bool,
    /// A role to take on. Default empty: none.
    pub role_arn: String,
    /// What the role wants to hear beside its name. Default empty.
    pub external_id: String,
    /// Account that must own the bucket, 12 digits. Default empty: any.
    pub expected_bucket_owner: String,
    /// `STANDARD` (default), `STANDARD_IA`, `ONEZONE_IA`, `INTELLIGENT_TIERING`, `GLACIER_IR`, `GLACIER`,
    /// `DEEP_ARCHIVE`, `REDUCED_REDUNDANCY`, `EXPRESS_ONEZONE`, `OUTPOSTS`, `SNOW`, `FSX_OPENZFS` or `FSX_ONTAP`.
    pub storage_class: String,
    /// A canned ACL; empty (default): none.
    pub acl: String,
    /// Credentials; by default those of the environment: variables, profile, web identity, container, instance.
    pub auth: Auth,
    /// Encryption by the store; by default as the bucket has it.
    pub sse: Sse,
    /// Names and values on every object, at most ten.
    pub tags: BTreeMap<String, String>,
    /// `sha256` (default), or `none` for stores that refuse its header; a lock needs it.
    pub checksum: Checksum,
    /// Whom to believe.
    pub tls: S3Tls,
    /// A proxy; empty (default): as `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    pub proxy_url: Secret<String>,
    /// A call, a whole upload included, is given up after this. Default 5m.
    pub timeout: Duration,
}

/// Credentials.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// With `secret_access_key`.
    pub access_key_id: String,
    /// With `access_key_id`.
    pub secret_access_key: Secret<String>,
    /// Of credentials that end.
    pub session_token: Secret<String>,
    /// A profile of the shared files.
    pub profile: String,
    /// A token to take on `role_arn` with.
    pub web_identity_token_file: String,
}

/// Encryption by the store.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sse {
    /// `AES256`, `aws:kms`, `aws:kms:dsse`, or empty (default): as the bucket has it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The key of `aws:kms`; empty: the account's.
    pub kms_key_id: String,
    /// Bound to the ciphertext, shown in the key's own trail: names and values.
    pub context: BTreeMap<String, String>,
    /// One call to the key service for many objects. Default false.
    pub bucket_key: bool,
}

/// How a store compares what came with what was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// By SHA-256, in a header.
    #[default]
    Sha256,
    /// Not at all.
    None,
}

/// `tls` of a store.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct S3Tls {
    /// PEM file of the authorities to believe; empty (default): the system's.
    pub ca_file: String,
    /// The same in line.
    pub ca_pem: Secret<String>,
    /// The system's authorities beside `ca_file`. Default false.
    pub include_system_ca_certs_pool: bool,
}

/// `s3uploader`, contrib's keys and some of ours.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct S3Uploader {
    /// Region of the bucket. Default `us-east-1`.
    pub region: String,
    /// The bucket. Required, unless `endpoint` names it.
    pub s3_bucket: String,
    /// Below the base prefix. Default empty.
    pub s3_prefix: String,
    /// Before everything. Default empty.
    pub s3_base_prefix: String,
    /// Old name of `s3_base_prefix`.
    pub s3_base_path: String,
    /// Directories by time, in strftime's letters. Default `year=%Y/month=%m/day=%d/hour=%H/minute=%M`.
    pub s3_partition_format: String,
    /// Time zone of the directories by IANA name; empty (default): the process's own.
    pub s3_partition_timezone: String,
    /// Old: `hour` or `minute`, now said by `s3_partition_format`.
    pub s3_partition: String,
    /// Begins the name of a file. Default empty.
    pub file_prefix: String,
    /// Base URL of a store other than Amazon's. Default empty.
    pub endpoint: String,
    /// The bucket in the path instead of in the host's name. Default false.
    pub s3_force_path_style: bool,
    /// Plaintext to the region's endpoint, or to an `endpoint` without a scheme. Default false.
    pub disable_ssl: bool,
    /// A role to take on. Default empty: none.
    pub role_arn: String,
    /// What the role wants to hear beside its name. Default empty.
    pub external_id: String,
    /// A canned ACL; empty (default): none.
    pub acl: String,
    /// Default `STANDARD`.
    pub storage_class: String,
    /// `gzip`, `zstd`, or `none` or empty (default).
    pub compression: ObjectCompression,
    /// `standard` (default), `adaptive` or `nop`. Accepted: retries are the exporter's, by `retry_on_failure`.
    pub retry_mode: String,
    /// Accepted, as `retry_mode` is. Default 3.
    pub retry_max_attempts: u32,
    /// Accepted, as `retry_mode` is. Default 20s.
    pub retry_max_backoff: Duration,
    /// `uuidv7`, or empty (default): the same. Numbers would meet.
    pub unique_key_func_name: String,
    /// Account that must own the bucket, 12 digits. Default empty: any. Not in contrib, nor what follows.
    pub expected_bucket_owner: String,
    /// Credentials; by default those of the environment.
    pub auth: Auth,
    /// Encryption by the store; by default as the bucket has it.
    pub sse: Sse,
    /// Names and values on every object, at most ten.
    pub tags: BTreeMap<String, String>,
    /// `sha256` (default) or `none`.
    pub checksum: Checksum,
    /// Whom to believe.
    pub tls: S3Tls,
    /// A proxy; empty (default): as the environment says.
    pub proxy_url: Secret<String>,
}

/// How objects are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectCompression {
    /// Not at all.
    #[default]
    #[serde(alias = "")]
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Faults of a block: key below it, and what is wrong.
pub type Faults = Vec<(&'static str, String)>;

const REGION: &str = "us-east-1";
const PARTITION: &str = "year=%Y/month=%m/day=%d/hour=%H/minute=%M";
const PARTITION_BY_HOUR: &str = "year=%Y/month=%m/day=%d/hour=%H";
/// Those that contrib's exporter takes, by its client.
const STORAGE_CLASSES: [&str; 13] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
    "REDUCED_REDUNDANCY",
    "EXPRESS_ONEZONE",
    "OUTPOSTS",
    "SNOW",
    "FSX_OPENZFS",
    "FSX_ONTAP",
];
const ACLS: [&str; 7] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
];
const TAGS_MAX: usize = 10;

impl Default for S3 {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            region: REGION.into(),
            prefix: String::new(),
            endpoint: String::new(),
            force_path_style: false,
            role_arn: String::new(),
            external_id: String::new(),
            expected_bucket_owner: String::new(),
            storage_class: "STANDARD".into(),
            acl: String::new(),
            auth: Auth::default(),
            sse: Sse::default(),
            tags: BTreeMap::new(),
            checksum: Checksum::Sha256,
            tls: S3Tls::default(),
            proxy_url: Secret::default(),
            timeout: Duration(std::time::Duration::from_secs(300)),
        }
    }
}

impl Default for S3Uploader {
    fn default() -> Self {
        Self {
            region: REGION.into(),
            s3_bucket: String::new(),
            s3_prefix: String::new(),
            s3_base_prefix: String::new(),
            s3_base_path: String::new(),
            s3_partition_format: PARTITION.into(),
            s3_partition_timezone: String::new(),
            s3_partition: String::new(),
            file_prefix: String::new(),
            endpoint: String::new(),
            s3_force_path_style: false,
            disable_ssl: false,
            role_arn: String::new(),
            external_id: String::new(),
            acl: String::new(),
            storage_class: "STANDARD".into(),
            compression: ObjectCompression::None,
            retry_mode: "standard".into(),
            retry_max_attempts: 3,
            retry_max_backoff: Duration(std::time::Duration::from_secs(20)),
            unique_key_func_name: String::new(),
            expected_bucket_owner: String::new(),
            auth: Auth::default(),
            sse: Sse::default(),
            tags: BTreeMap::new(),
            checksum: Checksum::Sha256,
            tls: S3Tls::default(),
            proxy_url: Secret::default(),
        }
    }
}

impl Store {
    /// What is wrong, without looking at the world.
    pub fn faults(&self) -> Vec<(String, String)> {
        let below = |block: &str, faults: Faults| {
            let faults = faults.into_iter();
            faults
                .map(|(key, text)| (format!("{block}::{key}"), text))
                .collect()
        };
        match (&self.s3, &self.file) {
            (Some(s3), None) => below("s3", s3.faults()),
            (None, Some(file)) if file.path.as_os_str().is_empty() => {
                vec![("file::path".into(), "must not be empty".into())]
            }
            (None, Some(_)) => Vec::new(),
            _ => vec![(String::new(), "one of s3 and file must be given".into())],
        }
    }
}

impl Store {
    /// The store that this names, whose faults were looked for. Reads files; asks the network nothing.
    pub async fn open(&self) -> Result<Arc<dyn ObjectStore>, StoreError> {
        match (&self.s3, &self.file) {
            (None, Some(file)) => Ok(Arc::new(FileStore::new(&file.path))),
            #[cfg(feature = "aws")]
            (Some(s3), _) => Ok(Arc::new(crate::s3::S3Store::open(s3).await?)),
            #[cfg(not(feature = "aws"))]
            (Some(_), _) => {
                let text = "this build has no store s3: it was built without the feature aws";
                Err(StoreError::new(Class::Config, "open", text))
            }
            (None, None) => Err(StoreError::new(Class::Config, "open", "no store is named")),
        }
    }
}

impl S3 {
    /// What is wrong, without looking at the world.
    pub fn faults(&self) -> Faults {
        let mut faults = Faults::new();
        if self.bucket.is_empty() {
            faults.push(("bucket", "must not be empty".into()));
        } else if self.bucket.contains('/') {
            faults.push(("bucket", "is a name, without / and without s3://".into()));
        }
        if self.region.is_empty() {
            faults.push(("region", "region is required".into()));
        }
        if self.prefix.starts_with('/') || self.prefix.ends_with('/') || self.prefix.contains("//") {
            faults.push((
                "prefix",
                "neither begins nor ends with /, nor has two at once".into(),
            ));
        }
        if !self.endpoint.is_empty() && !is_url(&self.endpoint) {
            faults.push(("endpoint", "must be a URL with http:// or https://".into()));
        }
        let role_wanted = !self.external_id.is_empty() || !self.auth.web_identity_token_file.is_empty();
        if role_wanted && self.role_arn.is_empty() {
            let text = "is needed with external_id or auth::web_identity_token_file";
            faults.push(("role_arn", text.into()));
        }
        let owner = &self.expected_bucket_owner;
        let is_account = owner.len() == 12 && owner.bytes().all(|b| b.is_ascii_digit());
        if !owner.is_empty() && !is_account {
            faults.push((
                "expected_bucket_owner",
                "is an account's 12 digits, quoted".into(),
            ));
        }
        if !STORAGE_CLASSES.contains(&&*self.storage_class) {
            faults.push(("storage_class", one_of(&STORAGE_CLASSES)));
        }
        if !self.acl.is_empty() && !ACLS.contains(&&*self.acl) {
            faults.push(("acl", one_of(&ACLS)));
        }
        if self.tags.len() > TAGS_MAX {
            faults.push(("tags", format!("an object has at most {TAGS_MAX}")));
        }
        if !self.tls.ca_file.is_empty() && !self.tls.ca_pem.expose().is_empty() {
            faults.push(("tls::ca_file", "not beside ca_pem".into()));
        }
        if !self.proxy_url.expose().is_empty() && !is_url(self.proxy_url.expose()) {
            faults.push(("proxy_url", "must be a URL with http:// or https://".into()));
        }
        if self.timeout.0.is_zero() {
            faults.push(("timeout", "must be positive".into()));
        }
        self.auth.faults(&mut faults);
        self.sse.faults(&mut faults);
        faults
    }
}

impl Auth {
    fn faults(&self, faults: &mut Faults) {
        let has_secret = !self.secret_access_key.expose().is_empty();
        let has_key = !self.access_key_id.is_empty();
        if has_key && !has_secret {
            faults.push(("auth::secret_access_key", "is needed with access_key_id".into()));
        }
        if has_secret && !has_key {
            faults.push(("auth::access_key_id", "is needed with secret_access_key".into()));
        }
        if !self.session_token.expose().is_empty() && !has_key {
            faults.push(("auth::access_key_id", "is needed with session_token".into()));
        }
        let sources = [
            has_key,
            !self.profile.is_empty(),
            !self.web_identity_token_file.is_empty(),
        ];
        if sources.iter().filter(|given| **given).count() > 1 {
            let text = "only one of access_key_id, profile and web_identity_token_file";
            faults.push(("auth", text.into()));
        }
    }
}

impl Sse {
    fn faults(&self, faults: &mut Faults) {
        const KINDS: [&str; 4] = ["", "AES256", "aws:kms", "aws:kms:dsse"];
        if !KINDS.contains(&&*self.kind) {
            faults.push(("sse::type", one_of(&KINDS[1..])));
        }
        let is_kms = self.kind.starts_with("aws:kms");
        if !is_kms && !self.kms_key_id.is_empty() {
            faults.push(("sse::kms_key_id", "only with type aws:kms or aws:kms:dsse".into()));
        }
        if !is_kms && !self.context.is_empty() {
            faults.push(("sse::context", "only with type aws:kms or aws:kms:dsse".into()));
        }
        if self.bucket_key && self.kind != "aws:kms" {
            faults.push(("sse::bucket_key", "only with type aws:kms".into()));
        }
    }
}

impl S3Uploader {
    /// What is wrong, without looking at the world.
    pub fn faults(&self) -> Faults {
        let mut faults = Faults::new();
        if self.s3_bucket.is_empty() && self.endpoint.is_empty() {
            faults.push(("s3_bucket", "bucket or endpoint is required".into()));
        }
        if !self.s3_base_path.is_empty() && !self.s3_base_prefix.is_empty() {
            faults.push((
                "s3_base_path",
                "is the old name of s3_base_prefix: only one of them".into(),
            ));
        }
        if !matches!(&*self.s3_partition, "" | "hour" | "minute") {
            faults.push((
                "s3_partition",
                "is hour or minute; say it with s3_partition_format".into(),
            ));
        }
        if !matches!(&*self.retry_mode, "standard" | "adaptive" | "nop") {
            faults.push(("retry_mode", one_of(&["standard", "adaptive", "nop"])));
        }
        if !matches!(&*self.unique_key_func_name, "" | "uuidv7") {
            faults.push(("unique_key_func_name", one_of(&["uuidv7"])));
        }
        // What the store itself would find; the bucket is ruled above, and the endpoint may come without a scheme.
        let store = self.store().faults().into_iter();
        faults.extend(store.filter(|(key, _)| !matches!(*key, "bucket" | "prefix" | "timeout")));
        faults
    }

    /// The store; prefixes and partitions are the exporter's, who builds whole keys.
    pub fn store(&self) -> S3 {
        let scheme = if self.disable_ssl { "http" } else { "https" };
        let endpoint = match &*self.endpoint {
            "" if self.disable_ssl => format!("http://s3.{}.amazonaws.com", self.region),
            "" => String::new(),
            url if url.contains("://") => url.to_owned(),
            host => format!("{scheme}://{host}"),
        };
        S3 {
            bucket: self.s3_bucket.clone(),
            region: self.region.clone(),
            endpoint,
            force_path_style: self.s3_force_path_style,
            role_arn: self.role_arn.clone(),
            external_id: self.external_id.clone(),
            expected_bucket_owner: self.expected_bucket_owner.clone(),
            storage_class: self.storage_class.clone(),
            acl: self.acl.clone(),
            auth: self.auth.clone(),
            sse: self.sse.clone(),
            tags: self.tags.clone(),
            checksum: self.checksum,
            tls: self.tls.clone(),
            proxy_url: self.proxy_url.clone(),
            ..S3::default()
        }
    }

    /// The store of an archive: all of it, objects and evidence, lies below both prefixes.
    pub fn archive(&self) -> S3 {
        let prefixes = [self.base_prefix(), &self.s3_prefix];
        let prefixes: Vec<&str> = prefixes.into_iter().filter(|prefix| !prefix.is_empty()).collect();
        S3 {
            prefix: prefixes.join("/"),
            ..self.store()
        }
    }

    /// What stands before everything, by whichever name it was given.
    pub fn base_prefix(&self) -> &str {
        match &*self.s3_base_prefix {
            "" => &self.s3_base_path,
            prefix => prefix,
        }
    }

    /// Directories by time, the old key translated.
    pub fn partition_format(&self) -> &str {
        match &*self.s3_partition {
            "hour" => PARTITION_BY_HOUR,
            "minute" => PARTITION,
            _ => &self.s3_partition_format,
        }
    }

    /// Old keys in use, and what to write instead.
    pub fn old_keys(&self) -> Faults {
        let mut old = Faults::new();
        if !self.s3_base_path.is_empty() {
            old.push(("s3_base_path", "is now called s3_base_prefix".into()));
        }
        if !self.s3_partition.is_empty() {
            let format = self.partition_format();
            old.push((
                "s3_partition",
                format!("is now said by s3_partition_format: {format}"),
            ));
        }
        old
    }
}

fn is_url(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
}

fn one_of(values: &[&str]) -> String {
    format!("must be one of {}", values.join(", "))
}

#[cfg(test)]
mod tests {
    use config::Section;

    use super::*;

    fn s3(yaml: &str) -> S3 {
        Section::from_yaml(yaml).unwrap().parse().unwrap()
    }

    fn uploader(yaml: &str) -> S3Uploader {
        Section::from_yaml(yaml).unwrap().parse().unwrap()
    }

    fn keys(faults: Faults) -> Vec<&'static str> {
        faults.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_bucket_alone_is_enough() {
        let expected = S3 {
            bucket: "b".into(),
            ..S3::default()
        };
        assert_eq!(s3("bucket: b"), expected);
        assert_eq!(expected.faults(), []);
        assert_eq!(
            (&*expected.region, &*expected.storage_class),
            ("us-east-1", "STANDARD")
        );
        assert_eq!(expected.timeout.0.as_secs(), 300);
    }

    #[test]
    fn what_cannot_be_is_found_without_a_store() {
        let check = |yaml: &str, expected: &[&str]| assert_eq!(keys(s3(yaml).faults()), expected, "{yaml}");
        check("region: x", &["bucket"]);
        check("bucket: s3://b", &["bucket"]);
        check("{bucket: b, region: \"\"}", &["region"]);
        check("{bucket: b, prefix: a/b}", &[]);
        check("{bucket: b, prefix: /a}", &["prefix"]);
        check("{bucket: b, prefix: a/}", &["prefix"]);
        check("{bucket: b, prefix: a//b}", &["prefix"]);
        check("{bucket: b, endpoint: localhost:9000}", &["endpoint"]);
        check("{bucket: b, endpoint: 'http://localhost:9000'}", &[]);
        check("{bucket: b, external_id: x}", &["role_arn"]);
        check("{bucket: b, external_id: x, role_arn: a}", &[]);
        check(
            "{bucket: b, expected_bucket_owner: '1'}",
            &["expected_bucket_owner"],
        );
        check("{bucket: b, expected_bucket_owner: '111122223333'}", &[]);
        check("{bucket: b, storage_class: GLACIER_IR}", &[]);
        check("{bucket: b, storage_class: EXPRESS_ONEZONE}", &[]);
        check("{bucket: b, storage_class: standard}", &["storage_class"]);
        check("{bucket: b, acl: bucket-owner-full-control}", &[]);
        check("{bucket: b, acl: mine}", &["acl"]);
        check("{bucket: b, timeout: 0s}", &["timeout"]);
        check("{bucket: b, proxy_url: proxy}", &["proxy_url"]);
        check("{bucket: b, tls: {ca_file: x, ca_pem: y}}", &["tls::ca_file"]);
        check(
            "{bucket: b, auth: {access_key_id: x}}",
            &["auth::secret_access_key"],
        );
        check(
            "{bucket: b, auth: {secret_access_key: x}}",
            &["auth::access_key_id"],
        );
        check("{bucket: b, auth: {session_token: x}}", &["auth::access_key_id"]);
        check(
            "{bucket: b, auth: {access_key_id: x, secret_access_key: y, session_token: z}}",
            &[],
        );
        check(
            "{bucket: b, auth: {access_key_id: x, secret_access_key: y, profile: z}}",
            &["auth"],
        );
        check("{bucket: b, auth: {web_identity_token_file: x}}", &["role_arn"]);
        check(
            "{bucket: b, sse: {type: aws:kms, kms_key_id: k, context: {a: b}, bucket_key: true}}",
            &[],
        );
        check("{bucket: b, sse: {type: AES256}}", &[]);
        check("{bucket: b, sse: {type: kms}}", &["sse::type"]);
        check(
            "{bucket: b, sse: {type: AES256, kms_key_id: k}}",
            &["sse::kms_key_id"],
        );
        check("{bucket: b, sse: {context: {a: b}}}", &["sse::context"]);
        check(
            "{bucket: b, sse: {type: aws:kms:dsse, bucket_key: true}}",
            &["sse::bucket_key"],
        );
        let eleven: String = (0..11).map(|n| format!("t{n}: x, ")).collect();
        check(&format!("{{bucket: b, tags: {{{eleven}}}}}"), &["tags"]);
    }

    #[test]
    fn a_store_is_one_thing() {
        let check = |yaml: &str, expected: &[&str]| {
            let store: Store = Section::from_yaml(yaml).unwrap().parse().unwrap();
            let keys: Vec<String> = store.faults().into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, expected, "{yaml}");
        };
        check("s3: {bucket: b}", &[]);
        check("s3: {}", &["s3::bucket"]);
        check("file: {path: /archive}", &[]);
        check("file: {}", &["file::path"]);
        check("{}", &[""]);
        check("{s3: {bucket: b}, file: {path: /archive}}", &[""]);
    }

    #[tokio::test]
    async fn a_store_is_opened_by_its_block() {
        let file = Directory {
            path: "/archive".into(),
        };
        let store = Store {
            s3: None,
            file: Some(file),
        };
        assert_eq!(store.open().await.unwrap().place(), "file:/archive");
        assert_eq!(Store::default().open().await.unwrap_err().class, Class::Config);
        let bucket = Store {
            s3: Some(s3("{bucket: b, prefix: p, endpoint: 'http://127.0.0.1:1'}")),
            file: None,
        };
        match cfg!(feature = "aws") {
            true => assert_eq!(bucket.open().await.unwrap().place(), "s3://b/p"),
            false => assert_eq!(bucket.open().await.unwrap_err().class, Class::Config),
        }
    }

    #[test]
    fn contribs_keys_have_contribs_defaults() {
        let defaults = uploader("s3_bucket: b");
        assert_eq!(defaults.faults(), []);
        assert_eq!(defaults.store(), s3("bucket: b"));
        assert_eq!(
            defaults.partition_format(),
            "year=%Y/month=%m/day=%d/hour=%H/minute=%M"
        );
        assert_eq!(
            (
                defaults.retry_max_attempts,
                defaults.retry_max_backoff.0.as_secs()
            ),
            (3, 20)
        );
        assert_eq!(defaults.old_keys(), []);
    }

    #[test]
    fn contribs_rules_hold() {
        let check =
            |yaml: &str, expected: &[&str]| assert_eq!(keys(uploader(yaml).faults()), expected, "{yaml}");
        check("region: x", &["s3_bucket"]);
        check("endpoint: 'http://localhost:9000/b'", &[]);
        check(
            "{s3_bucket: b, endpoint: 'localhost:9000', disable_ssl: true}",
            &[],
        );
        check("{s3_bucket: b, region: ''}", &["region"]);
        check("{s3_bucket: b, compression: gzip}", &[]);
        check("{s3_bucket: b, compression: ''}", &[]);
        check("{s3_bucket: b, retry_mode: never}", &["retry_mode"]);
        check(
            "{s3_bucket: b, unique_key_func_name: ulid}",
            &["unique_key_func_name"],
        );
        check("{s3_bucket: b, s3_partition: day}", &["s3_partition"]);
        check(
            "{s3_bucket: b, s3_base_path: a, s3_base_prefix: b}",
            &["s3_base_path"],
        );
        check(
            "{s3_bucket: b, acl: mine, storage_class: none}",
            &["storage_class", "acl"],
        );
    }

    #[test]
    fn old_keys_are_translated_and_named() {
        let old = uploader("{s3_bucket: b, s3_partition: hour, s3_base_path: base}");
        assert_eq!(old.faults(), []);
        assert_eq!(old.partition_format(), "year=%Y/month=%m/day=%d/hour=%H");
        assert_eq!(old.base_prefix(), "base");
        assert_eq!(keys(old.old_keys()), ["s3_base_path", "s3_partition"]);
        assert_eq!(
            uploader("{s3_bucket: b, s3_base_prefix: base}").base_prefix(),
            "base"
        );
    }

    #[test]
    fn an_archive_lies_below_both_prefixes() {
        let check =
            |yaml: &str, expected: &str| assert_eq!(uploader(yaml).archive().prefix, expected, "{yaml}");
        check("s3_bucket: b", "");
        check("{s3_bucket: b, s3_prefix: p}", "p");
        check("{s3_bucket: b, s3_base_prefix: a/b}", "a/b");
        check("{s3_bucket: b, s3_base_path: a, s3_prefix: p/q}", "a/p/q");
        check("{s3_bucket: b, s3_prefix: p/}", "p/");
        assert_eq!(
            keys(uploader("{s3_bucket: b, s3_prefix: p/}").archive().faults()),
            ["prefix"]
        );
    }

    #[test]
    fn an_endpoint_gets_a_scheme() {
        let check =
            |yaml: &str, expected: &str| assert_eq!(uploader(yaml).store().endpoint, expected, "{yaml}");
        check("s3_bucket: b", "");
        check(
            "{s3_bucket: b, disable_ssl: true, region: r}",
            "http://s3.r.amazonaws.com",
        );
        check(
            "{s3_bucket: b, disable_ssl: true, endpoint: 'localhost:9000'}",
            "http://localhost:9000",
        );
        check(
            "{s3_bucket: b, endpoint: 'localhost:9000'}",
            "https://localhost:9000",
        );
        check(
            "{s3_bucket: b, disable_ssl: true, endpoint: 'https://localhost:9000'}",
            "https://localhost:9000",
        );
    }

    #[test]
    fn secrets_do_not_show() {
        let auth = s3(
            "{bucket: b, auth: {access_key_id: AKIA, secret_access_key: hunter2, session_token: hunter3}}",
        );
        let shown = format!("{auth:?}");
        assert!(!shown.contains("hunter"), "{shown}");
    }
}

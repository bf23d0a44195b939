//! What a bucket needs for an archive: who may do what, when it forgets, and all of it for Terraform. For reading and
//! applying by whoever owns the bucket.

use evidence::names::{DATA, Layout};
use objects::Mode;
use objects::blocks::S3;
use serde_json::{Value, json};

use super::super::Failure;
use super::super::which::{Configured, days};

/// A bucket and what is asked of it.
pub(super) struct Bucket {
    name: String,
    region: String,
    /// Empty, or ends with `/`.
    prefix: String,
    mode: Mode,
    /// Classes and their retention in days.
    classes: Vec<(String, u64)>,
    /// What the keys of all objects begin with, below the prefix.
    data: String,
    layout: Layout,
}

/// After the end of its lock an object stays for so long.
const GRACE_DAYS: u64 = 2;

impl Bucket {
    /// Of a store, with the classes of the exporter that writes it.
    pub(super) fn of(s3: &S3, configured: Option<&Configured>) -> Result<Bucket, Failure> {
        let lock = configured.map(|known| known.lock.clone()).unwrap_or_default();
        let retention = |text: &str| {
            days(text).ok_or_else(|| Failure::usage(format!("lock.retention: \"{text}\" is not a retention")))
        };
        let mut classes = vec![("std".to_owned(), retention(&lock.retention)?)];
        for class in &lock.classes {
            let own = class.retention.as_deref().unwrap_or(&lock.retention);
            classes.push((class.name.clone(), retention(own)?));
        }
        let data = configured.map_or(DATA, |known| &known.data);
        if data.is_empty() {
            return Err(Failure::usage(
                "s3_partition_format begins with a time, so nothing tells objects from evidence: begin it with a text, such as \
                 year=%Y",
            ));
        }
        Ok(Bucket {
            data: data.to_owned(),
            layout: configured.map(|known| known.layout).unwrap_or_default(),
            name: s3.bucket.clone(),
            region: s3.region.clone(),
            prefix: match s3.prefix.trim_matches('/') {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
            mode: lock.mode,
            classes,
        })
    }

    fn arn(&self) -> String {
        format!("arn:aws:s3:::{}", self.name)
    }

    fn below(&self, folder: &str) -> String {
        format!("{}/{}{folder}*", self.arn(), self.prefix)
    }

    /// Of bucket, writer and verifier.
    pub(super) fn policies(&self) -> Value {
        json!({"bucket": self.bucket(), "writer": self.writer(), "verifier": self.verifier()})
    }

    fn bucket(&self) -> Value {
        let shortest = self.classes.iter().map(|(_, days)| *days).min().unwrap_or(1);
        let (data, log) = (self.below(&self.data), self.below("_weir/"));
        // What is sent is rounded up to a midnight; the request takes a moment.
        let days_min = shortest.saturating_sub(1).max(1).to_string();
        let all = [self.arn(), format!("{}/*", self.arn())];
        json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "OnlyConditionalWrites", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
             "Resource": [data, log], "Condition": {"Null": {"s3:if-none-match": "true"}}},
            {"Sid": "OnlyLocked", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": data,
             "Condition": {"StringNotEquals": {"s3:object-lock-mode": self.modes()}}},
            {"Sid": "MinimumRetention", "Effect": "Deny", "Principal": "*",
             "Action": ["s3:PutObject", "s3:PutObjectRetention"], "Resource": data,
             "Condition": {"NumericLessThan": {"s3:object-lock-remaining-retention-days": days_min}}},
            {"Sid": "NoDeletes", "Effect": "Deny", "Principal": "*",
             "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"], "NotResource": self.below("_weir/v1/selftest/")},
            {"Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": all,
             "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        ]})
    }

    fn modes(&self) -> &'static str {
        self.mode.as_str()
    }

    fn writer(&self) -> Value {
        json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "Objects", "Effect": "Allow", "Resource": [self.below(&self.data), self.below("_weir/")],
             "Action": ["s3:PutObject", "s3:PutObjectRetention", "s3:PutObjectLegalHold", "s3:GetObject",
                        "s3:GetObjectVersion", "s3:GetObjectRetention", "s3:GetObjectLegalHold"]},
            {"Sid": "Bucket", "Effect": "Allow", "Resource": self.arn(),
             "Action": ["s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration"]},
        ]})
    }

    fn verifier(&self) -> Value {
        json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "Objects", "Effect": "Allow", "Resource": [self.below(&self.data), self.below("_weir/")],
             "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectRetention", "s3:GetObjectLegalHold"]},
            {"Sid": "Bucket", "Effect": "Allow", "Resource": self.arn(),
             "Action": ["s3:ListBucket", "s3:ListBucketVersions"]},
        ]})
    }

    /// What the keys of each class begin with, and the days that its objects stay.
    fn folders(&self) -> Result<Vec<(String, &str, u64)>, Failure> {
        let (prefix, data) = (&self.prefix, &self.data);
        match (self.layout, self.classes.as_slice()) {
            (Layout::Hive, classes) => {
                let folder = |class: &str| format!("{prefix}{data}v1/class={class}/");
                let classes = classes.iter();
                Ok(classes
                    .map(|(class, days)| (folder(class), class.as_str(), *days))
                    .collect())
            }
            (Layout::Awss3, [(class, days)]) => Ok(vec![(format!("{prefix}{data}"), class, *days)]),
            (Layout::Awss3, _) => Err(Failure::usage(
                "in the layout awss3/v1 keys name no class, and a lifecycle goes by keys: leave lock.classes out, or give each \
                 class an exporter of its own",
            )),
        }
    }

    /// A rule for each class: what is under lock stays, whatever it says.
    pub(super) fn lifecycle(&self) -> Result<Value, Failure> {
        let folders = self.folders()?;
        let rules = folders.into_iter().map(|(folder, class, days)| {
            json!({
                "ID": format!("weir-class-{class}"), "Status": "Enabled",
                "Filter": {"Prefix": folder},
                "Expiration": {"Days": days + GRACE_DAYS},
                "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
            })
        });
        // A rule about markers and one about days exclude each other.
        let markers = json!({
            "ID": "weir-delete-markers", "Status": "Enabled", "Filter": {"Prefix": self.markers()},
            "Expiration": {"ExpiredObjectDeleteMarker": true},
        });
        Ok(json!({"Rules": rules.chain([markers]).collect::<Vec<_>>()}))
    }

    fn markers(&self) -> String {
        let version = if self.layout == Layout::Hive { "v1/" } else { "" };
        format!("{}{}{version}", self.prefix, self.data)
    }

    /// The bucket, its lock, its policy, its lifecycle.
    pub(super) fn terraform(&self) -> Result<String, Failure> {
        let name = &self.name;
        let policy = serde_json::to_string_pretty(&self.bucket()).unwrap_or_default();
        let mut rules = String::new();
        for (folder, class, days) in self.folders()? {
            let days = days + GRACE_DAYS;
            rules.push_str(&format!(
                "  rule {{\n    id     = \"weir-class-{class}\"\n    status = \"Enabled\"\n    filter {{\n      prefix = \
                 \"{folder}\"\n    }}\n    expiration {{\n      days = {days}\n    }}\n    \
                 noncurrent_version_expiration {{\n      noncurrent_days = 1\n    }}\n  }}\n"
            ));
        }
        Ok(format!(
            "# Region {}. The provider's credentials own the bucket; the gateway's must not.\n\
             resource \"aws_s3_bucket\" \"archive\" {{\n  bucket              = \"{name}\"\n  object_lock_enabled = true\n}}\n\n\
             resource \"aws_s3_bucket_versioning\" \"archive\" {{\n  bucket = aws_s3_bucket.archive.id\n  \
             versioning_configuration {{\n    status = \"Enabled\"\n  }}\n}}\n\n\
             resource \"aws_s3_bucket_public_access_block\" \"archive\" {{\n  bucket                  = aws_s3_bucket.archive.id\n  \
             block_public_acls       = true\n  block_public_policy     = true\n  ignore_public_acls      = true\n  \
             restrict_public_buckets = true\n}}\n\n\
             resource \"aws_s3_bucket_policy\" \"archive\" {{\n  bucket = aws_s3_bucket.archive.id\n  policy = <<-POLICY\n{policy}\n  \
             POLICY\n}}\n\n\
             resource \"aws_s3_bucket_lifecycle_configuration\" \"archive\" {{\n  bucket = aws_s3_bucket.archive.id\n{rules}}}\n",
            self.region
        ))
    }
}

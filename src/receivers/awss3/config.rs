//! Keys of `awss3`: contrib's, and how to reach a store.

use component::prelude::*;
use objects::blocks::{Auth, S3, S3Tls};
use objects::partition::{Partition, joined, parse_time};

/// `awss3`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// From when on: RFC 3339, `2006-01-02 15:04` or `2006-01-02`, in UTC unless it says otherwise. Required.
    pub(super) starttime: String,
    /// Until when, exclusive; as `starttime`. Required.
    pub(super) endtime: String,
    /// The bucket, how to reach it, and how objects are called.
    pub(super) s3downloader: S3Downloader,
    /// Not supported.
    pub(super) sqs: Sqs,
    /// Encoding extensions by the end of a name; not supported yet.
    pub(super) encodings: Vec<Encoding>,
    /// Who is told how far it is; not supported yet.
    pub(super) notifications: Notifications,
    /// Not in the collector.
    pub(super) weir: Weir,
}

/// What contrib's receiver does not have.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Weir {
    /// Id of a storage extension that keeps how far the range was read. Empty (default): each start reads all of it.
    pub(super) storage: String,
    /// Objects that are fetched before their turn, of each signal. Default 4, at most 64.
    pub(super) ahead: usize,
    /// Only records of this time, by their own clock.
    pub(super) records: Records,
    /// Adds to each resource which receiver read it, and of which object: `weir.replay.id`, `weir.replay.object`. Default
    /// false.
    pub(super) mark: bool,
}

/// A range of the records' own time; empty (default): as far as it goes. A record without a time is in every range.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Records {
    /// From when on, as the receiver's own `starttime`.
    pub(super) starttime: String,
    /// Until when, exclusive.
    pub(super) endtime: String,
}

impl Default for Weir {
    fn default() -> Self {
        Weir {
            storage: String::new(),
            ahead: 4,
            records: Records::default(),
            mark: false,
        }
    }
}

impl Records {
    /// From when until when, nanoseconds since 1970; `None` if no record is left out.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        let at = |text: &str, otherwise| match text {
            "" => otherwise,
            text => u64::try_from(parse_time(text).unwrap_or(0))
                .unwrap_or(0)
                .saturating_mul(1_000_000_000),
        };
        (*self != Records::default()).then(|| (at(&self.starttime, 0), at(&self.endtime, u64::MAX)))
    }
}

/// `s3downloader`: contrib's keys, and some of ours.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct S3Downloader {
    /// Region of the bucket. Default `us-east-1`.
    pub(super) region: String,
    /// The bucket. Required.
    pub(super) s3_bucket: String,
    /// Before the directories, the base prefix with it. Default empty.
    pub(super) s3_prefix: String,
    /// Directories by time, in strftime's letters. Default `year=%Y/month=%m/day=%d/hour=%H/minute=%M`.
    pub(super) s3_partition_format: String,
    /// Time zone of the directories by IANA name; empty (default): the process's own.
    pub(super) s3_partition_timezone: String,
    /// Begins the name of a file. Default empty.
    pub(super) file_prefix: String,
    /// Whether the signal follows it. Default true.
    pub(super) file_prefix_include_telemetry_type: bool,
    /// Base URL of a store other than Amazon's. Default empty.
    pub(super) endpoint: String,
    /// Accepted: `endpoint` says where. Default `aws`.
    pub(super) endpoint_partition_id: String,
    /// The bucket in the path instead of in the host's name. Default false.
    pub(super) s3_force_path_style: bool,
    /// Tags what was read; not supported.
    pub(super) tag_object_after_ingestion: bool,
    /// Leaves out what is tagged; not supported.
    pub(super) skip_ingesting_tagged_objects: bool,
    /// A role to take on. Default empty: none. Not in contrib, nor what follows.
    pub(super) role_arn: String,
    /// What the role wants to hear beside its name. Default empty.
    pub(super) external_id: String,
    /// Account that must own the bucket, 12 digits. Default empty: any.
    pub(super) expected_bucket_owner: String,
    /// Credentials; by default those of the environment.
    pub(super) auth: Auth,
    /// Whom to believe.
    pub(super) tls: S3Tls,
    /// A proxy; empty (default): as the environment says.
    pub(super) proxy_url: Secret<String>,
}

/// Objects by notification; not supported.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Sqs {
    /// URL of the queue.
    pub(super) queue_url: String,
    /// Its region.
    pub(super) region: String,
    /// Base URL of another service.
    pub(super) endpoint: String,
    /// Messages in an answer.
    pub(super) max_number_of_messages: Option<u32>,
    /// How long an answer may take.
    pub(super) wait_time_seconds: Option<u32>,
    /// Whether messages are deleted that were worked off.
    pub(super) delete_messages: Option<bool>,
}

/// An encoding extension for objects by the end of their name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Encoding {
    /// Its id.
    pub(super) extension: String,
    /// The end of a name.
    pub(super) suffix: String,
}

/// Who is told how far it is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Notifications {
    /// Id of an OpAMP extension.
    pub(super) opampextension: String,
}

impl Default for S3Downloader {
    fn default() -> Self {
        S3Downloader {
            region: "us-east-1".into(),
            s3_bucket: String::new(),
            s3_prefix: String::new(),
            s3_partition_format: "year=%Y/month=%m/day=%d/hour=%H/minute=%M".into(),
            s3_partition_timezone: String::new(),
            file_prefix: String::new(),
            file_prefix_include_telemetry_type: true,
            endpoint: String::new(),
            endpoint_partition_id: "aws".into(),
            s3_force_path_style: false,
            tag_object_after_ingestion: false,
            skip_ingesting_tagged_objects: false,
            role_arn: String::new(),
            external_id: String::new(),
            expected_bucket_owner: String::new(),
            auth: Auth::default(),
            tls: S3Tls::default(),
            proxy_url: Secret::default(),
        }
    }
}

impl S3Downloader {
    pub(super) fn store(&self) -> S3 {
        S3 {
            bucket: self.s3_bucket.clone(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            force_path_style: self.s3_force_path_style,
            role_arn: self.role_arn.clone(),
            external_id: self.external_id.clone(),
            expected_bucket_owner: self.expected_bucket_owner.clone(),
            auth: self.auth.clone(),
            tls: self.tls.clone(),
            proxy_url: self.proxy_url.clone(),
            ..S3::default()
        }
    }

    pub(super) fn partition(&self) -> Result<Partition, (&'static str, String)> {
        Partition::new(&self.s3_partition_format, &self.s3_partition_timezone)
    }

    /// What the names of a signal's objects begin with, in the directory of a moment; in order. Where the parts have `/`
    /// too many, exporters of other ages leave them or not: both are looked for.
    pub(super) fn names(&self, partition: &Partition, seconds: i64, signal: Signal) -> Vec<String> {
        let (prefix, file_prefix) = (&*self.s3_prefix, &self.file_prefix);
        let slash = match prefix.trim_matches('/') {
            "" => "",
            _ => "/",
        };
        let directory = format!("{prefix}{slash}{}", partition.at(seconds));
        let mut file = file_prefix.clone();
        if self.file_prefix_include_telemetry_type {
            file.push_str(signal.as_str());
            file.push('_');
        }
        let name = format!("{directory}/{file}");
        let joined = match &*directory {
            "" => joined(&file),
            _ => joined(&name),
        };
        let mut names = vec![joined, name];
        names.sort();
        names.dedup();
        names
    }
}

impl Config {
    /// Which objects a signal has, in which order: an answer to how far they were read is one to this alone.
    pub(super) fn objects(&self, signal: Signal) -> String {
        let from = &self.s3downloader;
        let parts = [
            &*from.endpoint,
            &from.s3_bucket,
            &from.s3_prefix,
            &from.s3_partition_format,
            &from.s3_partition_timezone,
            &from.file_prefix,
            signal.as_str(),
            if from.file_prefix_include_telemetry_type {
                "_"
            } else {
                ""
            },
            &self.starttime,
            &self.endtime,
            &self.weir.records.starttime,
            &self.weir.records.endtime,
        ];
        parts.join("\n")
    }

    /// From when until when, Unix seconds; of a configuration without faults.
    pub(super) fn range(&self) -> Option<(i64, i64)> {
        Some((parse_time(&self.starttime)?, parse_time(&self.endtime)?))
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let from = &self.s3downloader;
        let renamed = |key: &str| match key {
            "bucket" => "s3_bucket".to_owned(),
            key => key.replace("::", "."),
        };
        for (key, text) in from.store().faults() {
            faults.push((format!("s3downloader.{}", renamed(key)), text));
        }
        if let Err((key, text)) = from.partition() {
            faults.push((format!("s3downloader.{key}"), text));
        }
        let mut fault = |key: &str, wrong: bool, message: &str| {
            if wrong {
                faults.push((key.to_owned(), message.to_owned()));
            }
        };
        let no_time = "must be a time: RFC 3339, YYYY-MM-DD HH:MM or YYYY-MM-DD";
        let has_queue = self.sqs != Sqs::default();
        fault(
            "sqs",
            has_queue,
            "sqs is not supported: give starttime and endtime instead",
        );
        fault(
            "starttime",
            !has_queue && parse_time(&self.starttime).is_none(),
            no_time,
        );
        fault(
            "endtime",
            !has_queue && parse_time(&self.endtime).is_none(),
            no_time,
        );
        fault(
            "endtime",
            self.range().is_some_and(|(start, end)| end <= start),
            "endtime must be after starttime",
        );
        let no_tags = "tags are not supported: each start reads the whole range";
        fault(
            "s3downloader.tag_object_after_ingestion",
            from.tag_object_after_ingestion,
            no_tags,
        );
        fault(
            "s3downloader.skip_ingesting_tagged_objects",
            from.skip_ingesting_tagged_objects,
            no_tags,
        );
        let weir = &self.weir;
        fault(
            "weir.storage",
            !weir.storage.is_empty() && ComponentId::parse(&weir.storage).is_err(),
            "must be the id of a storage extension",
        );
        fault("weir.ahead", !(1..=64).contains(&weir.ahead), "must be 1 to 64");
        for (key, text) in [
            ("weir.records.starttime", &weir.records.starttime),
            ("weir.records.endtime", &weir.records.endtime),
        ] {
            fault(key, !text.is_empty() && parse_time(text).is_none(), no_time);
        }
        fault(
            "weir.records.endtime",
            weir.records.range().is_some_and(|(start, end)| end <= start),
            "endtime must be after starttime",
        );
        fault(
            "encodings",
            !self.encodings.is_empty(),
            "encoding extensions are not supported yet",
        );
        fault(
            "notifications.opampextension",
            !self.notifications.opampextension.is_empty(),
            "notifications are not supported yet",
        );
    }
}

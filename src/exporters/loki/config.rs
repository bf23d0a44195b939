//! Keys of `loki`: those of contrib's exporter as it was when it left, and what it never had.

use std::collections::BTreeMap;

use component::prelude::*;
use component::template;

use super::labels::Template;

/// `loki`, beside the client's keys.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// `push` (default) or `otlp`: which of Loki's two doors.
    pub(super) api: Api,
    /// Of a push: `proto` (default, with snappy) or `json`.
    pub(super) encoding: Encoding,
    /// Of a line: `json` (default), `logfmt` or `raw`; the hint `loki.format` outranks it.
    pub(super) format: Format,
    /// Whether attributes `loki.*` say what becomes of their record. Default true.
    pub(super) hints: bool,
    /// Labels that contrib's exporter makes by itself.
    pub(super) default_labels_enabled: DefaultLabels,
    /// Labels that are made of attributes and texts.
    pub(super) labels: Option<Labels>,
    /// What goes beside the line.
    pub(super) structured_metadata: Metadata,
    /// Whose the records are.
    pub(super) tenant: Tenant,
    /// What Loki would refuse.
    pub(super) limits: Limits,
    /// Sent as `X-Loki-Backfill-Shard`; `%{hour}` is the hour of the records. Empty (default): only records that
    /// `weir archive restore --mark` has sent have one.
    pub(super) backfill_shard: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            api: Api::Push,
            encoding: Encoding::Proto,
            format: Format::Json,
            hints: true,
            default_labels_enabled: DefaultLabels::default(),
            labels: None,
            structured_metadata: Metadata::default(),
            tenant: Tenant::default(),
            limits: Limits::default(),
            backfill_shard: String::new(),
        }
    }
}

/// Which of Loki's doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Api {
    /// `/loki/api/v1/push`: labels, line and metadata are made here.
    Push,
    /// `/otlp/v1/logs`: Loki makes them.
    Otlp,
}

/// How a push is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    /// Protobuf in a block of snappy.
    Proto,
    /// JSON, plain or with gzip.
    Json,
}

/// What a line holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// Body, attributes, resource and scope as one object.
    Json,
    /// The same as keys and values.
    Logfmt,
    /// The body.
    Raw,
}

impl Format {
    /// By the name that hints have for it.
    pub(super) fn named(name: &[u8]) -> Option<Format> {
        match name {
            b"json" => Some(Format::Json),
            b"logfmt" => Some(Format::Logfmt),
            b"raw" => Some(Format::Raw),
            _ => None,
        }
    }
}

/// `default_labels_enabled`: absent = on, unless `labels` stands there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DefaultLabels {
    /// `exporter="OTLP"`.
    pub(super) exporter: Option<bool>,
    /// `job`: `service.namespace/service.name`, or the latter alone.
    pub(super) job: Option<bool>,
    /// `instance`: `service.instance.id`.
    pub(super) instance: Option<bool>,
    /// `level`: the attribute of this name, or the severity's.
    pub(super) level: Option<bool>,
}

/// Attributes by the label that they become; an empty name = the attribute's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Labels {
    /// Of resources.
    pub(super) resource: BTreeMap<String, String>,
    /// Of records.
    pub(super) attributes: BTreeMap<String, String>,
    /// Texts, by label. `%{tenant}`, `%{resource.NAME}` and `%{attribute.NAME}` in them are filled in.
    #[serde(rename = "static")]
    pub(super) fixed: BTreeMap<String, String>,
}

/// `structured_metadata`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metadata {
    /// `all` or `none`; absent = `all` where `format` is raw, else `none`, as in contrib.
    pub(super) mode: Option<Mode>,
    /// Attributes that are left out, of records, scopes and resources.
    pub(super) drop: Vec<String>,
}

/// What goes into structured metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// Every attribute that is no label, and the fields of the record.
    All,
    /// Nothing.
    None,
}

/// `tenant`: sent as `X-Scope-OrgID`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tenant {
    /// `static` (default), `attribute` (of the resource, else of the record) or `metadata` (of the client).
    pub(super) from: Source,
    /// Name of the attribute, or of the header that the client sent.
    pub(super) key: String,
    /// Where nothing else says it; `%{tenant}` is the name of the gateway's own tenant. Empty = no header.
    pub(super) default: String,
}

/// Who says whose a record is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Source {
    /// Only `default`.
    #[default]
    Static,
    /// An attribute.
    Attribute,
    /// A header of the client's request.
    Metadata,
}

/// `limits`: Loki's own defaults; 0 = leave it to Loki.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Longest line in bytes. Default 262144.
    pub(super) max_line_size: u32,
    /// What becomes of a longer one: `truncate` (default) or `reject`.
    pub(super) oversize: Oversize,
    /// Most labels of a stream, `service_name` not counted. Default 15.
    pub(super) max_label_names: u32,
    /// Longest name of a label in bytes. Default 1024.
    pub(super) max_label_name_length: u32,
    /// Longest value of a label in bytes. Default 2048.
    pub(super) max_label_value_length: u32,
    /// Most bytes of names and values of a record's structured metadata. Default 65536.
    pub(super) max_structured_metadata_size: u32,
    /// Most of its entries. Default 128.
    pub(super) max_structured_metadata_entries: u32,
    /// Records older than this are rejected. Default 0.
    pub(super) max_age: Duration,
    /// Records that are further ahead than this are rejected. Default 0.
    pub(super) max_ahead: Duration,
    /// Largest push in bytes before compression; one record may be larger. Default 4194304, below Loki's burst.
    pub(super) max_push_bytes: u32,
    /// Most streams of a push. Default 0.
    pub(super) max_push_streams: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_line_size: 256 << 10,
            oversize: Oversize::Truncate,
            max_label_names: 15,
            max_label_name_length: 1024,
            max_label_value_length: 2048,
            max_structured_metadata_size: 64 << 10,
            max_structured_metadata_entries: 128,
            max_age: Duration::default(),
            max_ahead: Duration::default(),
            max_push_bytes: 4 << 20,
            max_push_streams: 0,
        }
    }
}

/// What becomes of a line that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Oversize {
    /// It is cut, says so at its end, and is counted.
    Truncate,
    /// Its record is rejected.
    Reject,
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut fault = |key: &str, wrong: bool, message: &str| {
            if wrong {
                faults.push((key.to_owned(), message.to_owned()));
            }
        };
        let is_otlp = self.api == Api::Otlp;
        let why = "has no meaning with api: otlp, where Loki makes labels, lines and metadata";
        fault("labels", is_otlp && self.labels.is_some(), why);
        let metadata = self.structured_metadata != Metadata::default();
        fault("structured_metadata", is_otlp && metadata, why);
        fault("format", is_otlp && self.format != Format::Json, why);
        fault("encoding", is_otlp && self.encoding == Encoding::Json, why);
        let defaults = self.default_labels_enabled != DefaultLabels::default();
        fault("default_labels_enabled", is_otlp && defaults, why);
        let limits = Limits {
            max_push_bytes: Limits::default().max_push_bytes,
            ..self.limits
        };
        fault("limits", is_otlp && limits != Limits::default(), why);
        let from = self.tenant.from;
        fault(
            "tenant.from",
            is_otlp && from == Source::Attribute,
            "attribute has no meaning with api: otlp: let processor tenant name the tenant, and set default: \"%{tenant}\"",
        );
        let key = &self.tenant.key;
        fault(
            "tenant.key",
            from == Source::Static && !key.is_empty(),
            "needs from: attribute or metadata",
        );
        fault(
            "tenant.key",
            from != Source::Static && key.is_empty(),
            "must name the attribute or header",
        );
        // Tenants may have numbers for names, which can stand where other names cannot.
        let can_be = |name: &str| {
            let tenant = self.tenant.default.replace(template::TENANT, name);
            tenant.is_empty() || super::is_tenant(tenant.as_bytes())
        };
        fault(
            "tenant.default",
            !can_be("tenant") && !can_be("1"),
            "cannot be the name of a tenant of Loki",
        );
        let shard = self.backfill_shard.replace(super::HOUR, "2026-01-01T00");
        let is_visible = shard.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        fault(
            "backfill_shard",
            shard.len() > super::SHARD_BYTES_MAX || !is_visible,
            "must be at most 128 visible characters of ASCII",
        );
        for (label, text) in self.labels.iter().flat_map(|labels| &labels.fixed) {
            if let Err(message) = Template::parse(text) {
                fault(&format!("labels.static.{label}"), true, &message);
            }
        }
    }
}

//! `service::audit` and the reserved pipeline `logs/audit`.
//!
//! The pipeline is there, written or not, as soon as an archive is in use, and nobody feeds it but the gateway. A
//! configuration of the collector that calls one of its own pipelines so goes on meaning what it meant, as long as it
//! has no archive.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::{AUDIT_PIPELINE, ComponentId, Diag, Diags, Effective, Pipeline, PipelineId, Place, Section};
use engine::pipeline::GraphSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{certs, source};
use crate::service::effective::Parts;

/// The receiver that feeds the pipeline: no type that a configuration could name.
pub(in crate::service) const SOURCE: &str = "audit";
/// Exporters of this type are archives.
const ARCHIVE: &str = "archive";

/// `service::audit`: the trail of what the gateway does itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Keys {
    /// Take no data either while the trail cannot be kept. Default false: then only admin orders are refused.
    pub fail_closed: bool,
    /// The storage extension whose journal keeps records until they are delivered. Default: that of the archive, else
    /// none, and they wait in memory.
    pub storage: String,
}

/// What the configuration says of the trail.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::service) struct Wanted {
    /// Whether there is one.
    pub(in crate::service) is_on: bool,
    pub(in crate::service) fail_closed: bool,
    pub(in crate::service) storage: Option<ComponentId>,
    /// What the archive calls this gateway, if it says so.
    pub(in crate::service) writer: Option<String>,
    /// Certificates that it names by file.
    pub(in crate::service) certs: Vec<PathBuf>,
}

/// Makes the pipeline what it is to be, before anything is built. Errors go to `faults`.
pub(in crate::service) fn reserve(
    pipelines: &mut Vec<Pipeline>,
    own: &BTreeMap<&'static str, Section>,
    faults: &mut Vec<Diag>,
) {
    let archives = archives(pipelines);
    let at = pipelines.iter().position(|p| p.id.to_string() == AUDIT_PIPELINE);
    let Some(at) = at else {
        if archives.is_empty() {
            if let Some(section) = own.get("audit") {
                let fault = section.diag("", "there is no archive, and no pipeline logs/audit");
                let help = "add service::pipelines::logs/audit: {exporters: [...]}, or take the block out";
                faults.push(fault.with_help(help));
            }
            return;
        }
        let Ok(id) = PipelineId::parse(AUDIT_PIPELINE) else {
            return;
        };
        pipelines.push(Pipeline {
            id,
            place: archives[0].1.clone(),
            receivers: vec![source()],
            processors: Vec::new(),
            exporters: archives,
        });
        return;
    };
    let pipeline = &mut pipelines[at];
    if archives.is_empty() && !pipeline.receivers.is_empty() && !own.contains_key("audit") {
        return;
    }
    let path = format!("service::pipelines::{AUDIT_PIPELINE}");
    for (list, key) in [
        (&mut pipeline.receivers, "receivers"),
        (&mut pipeline.processors, "processors"),
    ] {
        if let Some((id, place)) = list.first() {
            let message = format!("the audit trail comes from the gateway as it is: {key} has {id}");
            let help = format!("leave exporters alone here, and give a pipeline with {key} another name");
            faults.push(Diag::new(Some(place.clone()), path.clone(), message).with_help(help));
        }
        list.clear();
    }
    pipeline.receivers = vec![source()];
    for archive in archives {
        if !pipeline.exporters.iter().any(|(id, _)| *id == archive.0) {
            pipeline.exporters.push(archive);
        }
    }
}

/// Whether the pipeline is fed by the gateway: then its receiver is known.
pub(in crate::service) fn supply(spec: &mut GraphSpec) {
    let is_fed = |p: &engine::pipeline::PipelineSpec| {
        p.id.to_string() == AUDIT_PIPELINE && p.receivers.iter().any(is_source)
    };
    if spec.pipelines.iter().any(is_fed) {
        spec.receivers
            .insert(source().0, (&source::FACTORY, Section::default()));
    }
}

/// Whether this is the receiver that no configuration names.
pub(in crate::service) fn is_source(id: &ComponentId) -> bool {
    id.kind == SOURCE && id.name.is_empty()
}

fn source() -> (ComponentId, Place) {
    let id = ComponentId {
        kind: SOURCE.to_owned(),
        name: String::new(),
    };
    (id, Place::new("", 0, 0))
}

/// Archives that some pipeline names, each once.
fn archives(pipelines: &[Pipeline]) -> Vec<(ComponentId, Place)> {
    let mut found: Vec<(ComponentId, Place)> = Vec::new();
    for (id, place) in pipelines.iter().flat_map(|p| &p.exporters) {
        if id.kind == ARCHIVE && !found.iter().any(|(known, _)| known == id) {
            found.push((id.clone(), place.clone()));
        }
    }
    found
}

impl Wanted {
    /// What `service::audit` and the archive say. Errors: all faults.
    pub(in crate::service) fn read(
        own: &BTreeMap<&'static str, Section>,
        parts: &Parts,
    ) -> Result<Wanted, Diags> {
        let section = own.get("audit");
        let keys: Keys = section
            .map(|s| s.clone().parse())
            .transpose()?
            .unwrap_or_default();
        let pipeline = parts
            .pipelines()
            .iter()
            .find(|p| p.id.to_string() == AUDIT_PIPELINE);
        let Some(pipeline) = pipeline.filter(|p| p.receivers.iter().any(is_source)) else {
            return Ok(Wanted::default());
        };
        let archive = pipeline.exporters.iter().find(|id| id.kind == ARCHIVE);
        let archive = archive.and_then(|id| {
            let found = parts.of_kind("exporters").iter().find(|(known, _)| known == id);
            found.map(|(_, section)| section.effective())
        });
        let under = |all: &Option<Effective>, key: &str| match all {
            Some(Effective::Map(entries)) => entries.get(key).cloned(),
            _ => None,
        };
        let text = |value: Option<Effective>| match value {
            Some(Effective::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        let said = |key: &str| text(under(&archive, key));
        // `storage` is short for it.
        let queued = || text(under(&under(&archive, "sending_queue"), "storage"));
        let storage = Some(keys.storage.clone()).filter(|text| !text.is_empty());
        let storage = storage.or_else(|| said("storage")).or_else(queued);
        let storage = storage.map(|text| {
            let id = ComponentId::parse(&text).ok();
            let id = id.filter(|id| parts.extensions().contains(id));
            id.ok_or_else(|| {
                let message = format!("storage \"{text}\" is not among service::extensions");
                let fault = section.map(|s| s.diag("storage", message.clone()));
                Diags::from(fault.unwrap_or_else(|| Diag::new(None, "service::audit::storage", message)))
            })
        });
        Ok(Wanted {
            is_on: true,
            fail_closed: keys.fail_closed,
            storage: storage.transpose()?,
            writer: said("writer"),
            certs: certs::files(&parts.effective()),
        })
    }
}

//! A service that receives nothing and has one exporter: what is sent by hand goes as the gateway would send it.

use std::collections::BTreeMap;

use component::exporter::Block;
use component::{ExporterFactory, ReceiverFactory};
use config::{ComponentId, Diag, Diags, Gates, PipelineId, Section};
use engine::pipeline::{GraphSpec, PipelineSpec};

use super::registry;
use super::self_telemetry::Settings;
use super::{Loaded, load};

/// Extensions that an exporter may need to send; others listen, or have the journal.
const NEEDED: [&str; 5] = [
    "basicauth",
    "bearertokenauth",
    "headers_setter",
    "oauth2client",
    "oidc",
];

/// Reads a configuration and leaves of it what one exporter needs, without its queue: an answer means delivered.
///
/// Errors: all faults of the configuration, or that it has no such exporter.
pub fn only(
    mut sources: Vec<(String, String)>,
    gates: &Gates,
    exporter: &ComponentId,
) -> Result<Loaded, Diags> {
    let fault = |text: String| Diags::from(Diag::new(None, "exporters", text));
    let factory = registry::find::<ExporterFactory>(&exporter.kind)
        .ok_or_else(|| fault(format!("{exporter}: unknown type")))?
        .factory;
    if factory.harness.queue != Block::Absent {
        let without = format!("exporters: {{\"{exporter}\": {{sending_queue: {{enabled: false}}}}}}");
        sources.push(("drain".to_owned(), without));
    }
    let loaded = load(&sources, gates)?;
    let (exporters, _): (BTreeMap<_, _>, BTreeMap<_, _>) = loaded
        .spec
        .exporters
        .into_iter()
        .partition(|(id, _)| id == exporter);
    if exporters.is_empty() {
        return Err(fault(format!(
            "{exporter} is not an exporter of this configuration"
        )));
    }
    let nop = ComponentId::parse("nop").map_err(|e| fault(e.to_string()))?;
    let receiver =
        registry::find::<ReceiverFactory>("nop").ok_or_else(|| fault("no receiver nop".to_owned()))?;
    let pipelines = factory.signals.iter().filter_map(|(signal, _)| {
        Some(PipelineSpec {
            signal: *signal,
            id: PipelineId::parse(&format!("{}/drain", signal.as_str())).ok()?,
            receivers: vec![nop.clone()],
            processors: Vec::new(),
            exporters: vec![exporter.clone()],
        })
    });
    let is_needed = |id: &ComponentId| NEEDED.contains(&id.kind.as_str());
    let quiet = Section::from_yaml("{metrics: {level: none}}")?;
    Ok(Loaded {
        settings: Settings::read(quiet)?.0,
        spec: GraphSpec {
            receivers: [(nop.clone(), (receiver.factory, Section::default()))].into(),
            processors: BTreeMap::new(),
            exporters,
            connectors: BTreeMap::new(),
            extensions: None,
            pipelines: pipelines.collect(),
        },
        extensions: loaded
            .extensions
            .into_iter()
            .filter(|(id, _)| is_needed(id))
            .collect(),
        extensions_used: loaded.extensions_used.into_iter().filter(is_needed).collect(),
        admin: None,
        own: BTreeMap::new(),
        ..loaded
    })
}

//! The parts of a configuration, kept while the components are built from them, to be shown afterwards.

use std::collections::BTreeMap;

use config::{ComponentId, Effective, Section};
use engine::pipeline::PipelineSpec;

use super::Loaded;
use super::audit::keys::is_source;

/// Sections remember what was read from them; these are the same ones that the components are built from.
pub(super) struct Parts {
    /// `receivers`, ... with the components in it.
    components: Vec<(&'static str, Vec<(ComponentId, Section)>)>,
    pipelines: Vec<PipelineSpec>,
    extensions: Vec<ComponentId>,
    telemetry: Section,
    /// What the collector does not have, by key.
    own: BTreeMap<&'static str, Section>,
}

impl Parts {
    pub(super) fn of(loaded: &Loaded) -> Parts {
        fn sections<F>(all: &BTreeMap<ComponentId, (&'static F, Section)>) -> Vec<(ComponentId, Section)> {
            all.iter()
                .map(|(id, (_, section))| (id.clone(), section.clone()))
                .collect()
        }
        let spec = &loaded.spec;
        Parts {
            components: vec![
                ("receivers", sections(&spec.receivers)),
                ("processors", sections(&spec.processors)),
                ("exporters", sections(&spec.exporters)),
                ("connectors", sections(&spec.connectors)),
                ("extensions", sections(&loaded.extensions)),
            ],
            pipelines: spec.pipelines.clone(),
            extensions: loaded.extensions_used.clone(),
            telemetry: loaded.telemetry.clone(),
            own: loaded.own.clone(),
        }
    }

    /// The components of a kind (`receivers`, ...).
    pub(super) fn of_kind(&self, kind: &str) -> &[(ComponentId, Section)] {
        let found = self.components.iter().find(|(k, _)| *k == kind);
        found.map_or(&[], |(_, components)| components)
    }

    /// The pipelines, as they are written.
    pub(super) fn pipelines(&self) -> &[PipelineSpec] {
        &self.pipelines
    }

    /// The extensions in use, in order.
    pub(super) fn extensions(&self) -> &[ComponentId] {
        &self.extensions
    }

    /// Keys of `service` that differ from what runs, and that only a start of the process reads.
    pub(super) fn at_restart(&self, running: &Parts) -> Vec<String> {
        let shown = |section: Option<&Section>| config::with_secrets(|| section.map(Section::effective));
        let mut keys = Vec::new();
        if shown(Some(&self.telemetry)) != shown(Some(&running.telemetry)) {
            keys.push("service::telemetry".to_owned());
        }
        if shown(self.own.get("admin")) != shown(running.own.get("admin")) {
            keys.push("service::admin".to_owned());
        }
        keys
    }

    /// As a configuration file has it: the receiver of the audit trail is in none.
    pub(super) fn effective(&self) -> Effective {
        let components = self.components.iter().map(|(kind, components)| {
            let by_id = components
                .iter()
                .filter(|(id, _)| *kind != "receivers" || !is_source(id))
                .map(|(id, section)| (id.to_string(), section.effective()));
            ((*kind).to_owned(), Effective::Map(by_id.collect()))
        });
        let pipelines = self.pipelines.iter().map(|p| {
            let lists = [
                ("receivers", &p.receivers),
                ("processors", &p.processors),
                ("exporters", &p.exporters),
            ];
            let lists = lists.map(|(kind, ids)| {
                let ids = ids.iter().filter(|id| !is_source(id));
                (kind.to_owned(), Effective::of(&ids.collect::<Vec<_>>()))
            });
            (p.id.to_string(), Effective::Map(lists.into()))
        });
        let service = [
            ("extensions".to_owned(), Effective::of(&self.extensions)),
            ("pipelines".to_owned(), Effective::Map(pipelines.collect())),
            ("telemetry".to_owned(), self.telemetry.effective()),
        ];
        let own = self.own.iter();
        let own = own.map(|(key, section)| ((*key).to_owned(), section.effective()));
        let service = (
            "service".to_owned(),
            Effective::Map(service.into_iter().chain(own).collect()),
        );
        Effective::Map(components.chain([service]).collect())
    }
}

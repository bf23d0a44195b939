//! A whole configuration: its components as sections, its pipelines as lists of ids, all with places.
//!
//! [`load`] reads sources, merges them, expands `${...}` and checks the structure in the collector's words.
//! What the components' types are and whether their keys are right is judged above. Faults of one stage are
//! reported together; a later stage does not run over the ruins of an earlier one.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::de::suggest;
use crate::diag::{DECODING_FAILED, nearest};
use crate::expand::{Provider, expand};
use crate::merge::{Lists, SET, merge, split_keys, warn_of_split_keys};
use crate::section::Section;
use crate::types::SIGNALS;
use crate::value::{Entry, Mark, Node, Source, Value};
use crate::{ComponentId, Diag, Diags, Gates, PipelineId, Place, Stage, yaml};

/// A configuration whose structure is right.
#[derive(Clone, Debug)]
pub struct Document {
    /// In the order written, as all that follow.
    pub receivers: Vec<(ComponentId, Section)>,
    /// Each used by as many pipelines as name it.
    pub processors: Vec<(ComponentId, Section)>,
    /// At least one.
    pub exporters: Vec<(ComponentId, Section)>,
    /// No id is also an exporter's or a receiver's.
    pub connectors: Vec<(ComponentId, Section)>,
    /// Only those that the service names are started.
    pub extensions: Vec<(ComponentId, Section)>,
    /// What of it runs.
    pub service: Service,
    /// Faults of the structure. Nothing may run while there is one, but the components can still be judged, so that
    /// a user hears of everything at once.
    pub faults: Vec<Diag>,
}

/// `service:`
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// To be started, in this order; each is configured.
    pub extensions: Vec<(ComponentId, Place)>,
    /// At least one.
    pub pipelines: Vec<Pipeline>,
    /// `logs`, `metrics`, `traces`, `resource`.
    pub telemetry: Section,
    /// Blocks that the collector does not have, by key: those of [`OWN_BLOCKS`] that were written.
    pub own: BTreeMap<&'static str, Section>,
}

/// Keys of `service:` that the collector does not have; each is a block of keys.
pub const OWN_BLOCKS: [&str; 4] = ["admin", "audit", "reload", "shutdown"];

/// The one pipeline without a receiver: the gateway feeds it with what it does itself.
pub const AUDIT_PIPELINE: &str = "logs/audit";

/// One of `service.pipelines`.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// `traces/in`.
    pub id: PipelineId,
    /// Of its key.
    pub place: Place,
    /// Receivers and connectors: at least one (but for [`AUDIT_PIPELINE`]), each configured, none twice.
    pub receivers: Vec<(ComponentId, Place)>,
    /// In order; each configured, none twice.
    pub processors: Vec<(ComponentId, Place)>,
    /// Exporters and connectors: at least one, each configured, none twice.
    pub exporters: Vec<(ComponentId, Place)>,
}

/// Loads a configuration from sources given as (name, text), the later laid over the earlier, and gives it
/// with warnings.
///
/// The name is what messages show; one that begins with `yaml:` or is `--set` (see [`crate::set_source`]) has
/// `::` in keys mean maps in maps. Faults of the structure come with the document. Errors: texts that cannot be
/// read, merged or expanded, or hold nothing.
pub fn load(
    sources: &[(impl AsRef<str>, impl AsRef<str>)],
    providers: &dyn Provider,
    gates: &Gates,
) -> Result<(Document, Vec<Diag>), Diags> {
    let (mut faults, mut warnings) = (Vec::new(), Vec::new());
    if sources.is_empty() {
        return Err(Diag::new(None, "", "at least one config flag must be provided").into());
    }
    let lists = match gates.is_on(Gates::MERGE_APPEND) {
        true => Lists::Append,
        false => Lists::Replace,
    };
    let mut root = Node::map(Vec::new(), Mark::default());
    for (name, text) in sources {
        match read(name.as_ref(), text.as_ref(), &mut warnings) {
            // An empty source is an empty map.
            Ok(node) if matches!(node.value, Value::Null) => {}
            Ok(node) => root = merge(root, node, lists),
            Err(more) => faults.extend(more),
        }
    }
    Diags::check(std::mem::take(&mut faults))?;
    let trim = gates.is_on(Gates::TRIM_FILES);
    let root = expand(root, providers, trim, &mut faults, &mut warnings);
    Diags::check(std::mem::take(&mut faults))?;
    let start = Place::new(sources[0].0.as_ref(), 1, 1);
    if root.entries().is_empty() {
        let fault = Diag::new(Some(start), "", "empty configuration file");
        return Err(fault
            .with_help("a configuration has receivers, exporters and a service with pipelines")
            .into());
    }
    let mut reader = Reader { faults };
    let mut document = reader.document(&root);
    document.faults = reader.faults;
    if document.faults.is_empty() {
        document.faults = check(&document, &root, start, gates);
        document
            .faults
            .sort_by(|a, b| a.place_order().cmp(&b.place_order()));
    }
    Ok((document, warnings))
}

fn read(name: &str, text: &str, warnings: &mut Vec<Diag>) -> Result<Node, Diags> {
    let source = Arc::new(Source {
        name: name.into(),
        text: Some(text.into()),
    });
    let node = yaml::parse(source, text, warnings)?;
    if !matches!(node.value, Value::Map(_) | Value::Null) {
        let message = format!(
            "retrieved value (type={}) cannot be used as a Conf",
            node.go_type()
        );
        return Err(Diag::new(node.mark.place(), "", message)
            .at(Stage::Resolve)
            .into());
    }
    if name.starts_with("yaml:") || name == SET {
        return Ok(split_keys(node));
    }
    warn_of_split_keys(&node, warnings);
    Ok(node)
}

fn place(mark: &Mark) -> Place {
    mark.place().unwrap_or_else(|| Place::new("", 0, 0))
}

// --- Reading the structure ---

struct Reader {
    faults: Vec<Diag>,
}

impl Reader {
    fn fault(&mut self, mark: &Mark, path: &str, message: impl Into<String>, help: &str) {
        let fault = Diag::new(mark.place(), path, message).at(Stage::Decode);
        self.faults.push(fault.with_help(help));
    }

    fn no_map(&mut self, node: &Node, path: &str) {
        let message = format!(
            "expected type 'map[string]interface {{}}', got unconvertible type '{}'",
            node.go_type()
        );
        self.fault(&node.mark, path, message, "write a map of keys, or nothing");
    }

    /// The entries of a map; null is an empty one.
    fn map<'a>(&mut self, node: &'a Node, path: &str, known: Option<&[&str]>) -> &'a [Entry] {
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            self.no_map(node, path);
        }
        for entry in node.entries() {
            if let Some(known) = known
                && !known.contains(&&*entry.key)
            {
                let message = format!("has invalid keys: {}", entry.key);
                let help = suggest(&entry.key, known, "valid keys");
                let fault = Diag::new(entry.mark.place(), path, message).at(Stage::Decode);
                self.faults.push(fault.with_help(help));
            }
        }
        node.entries()
    }

    fn document(&mut self, root: &Node) -> Document {
        const KEYS: [&str; 6] = [
            "receivers",
            "processors",
            "exporters",
            "connectors",
            "extensions",
            "service",
        ];
        self.map(root, "", Some(&KEYS));
        let [receivers, processors, exporters, connectors, extensions] =
            [KEYS[0], KEYS[1], KEYS[2], KEYS[3], KEYS[4]].map(|key| self.components(root, key));
        let service = root
            .entry("service")
            .map(|entry| self.service(&entry.value))
            .unwrap_or_default();
        Document {
            receivers,
            processors,
            exporters,
            connectors,
            extensions,
            service,
            faults: Vec::new(),
        }
    }

    fn components(&mut self, root: &Node, kind: &str) -> Vec<(ComponentId, Section)> {
        let Some(entry) = root.entry(kind) else {
            return Vec::new();
        };
        let mut components: Vec<(ComponentId, Section)> = Vec::new();
        let mut seen = HashSet::new();
        for Entry { key, mark, value } in self.map(&entry.value, kind, None) {
            let id = match ComponentId::parse(key) {
                Ok(id) => id,
                Err(error) => {
                    self.fault(mark, kind, error.to_string(), ID_HELP);
                    continue;
                }
            };
            if !seen.insert(id.clone()) {
                self.fault(
                    mark,
                    kind,
                    format!("duplicate name \"{key}\" after unmarshaling {id}"),
                    TWICE_HELP,
                );
                continue;
            }
            let path = format!("{kind}::{id}");
            if !matches!(value.value, Value::Map(_) | Value::Null) {
                self.no_map(value, &path);
                if let Some(fault) = self.faults.last_mut() {
                    fault.lead = Some(format!("'{kind}' {DECODING_FAILED} '[{id}]'"));
                }
            }
            let section = Section::new(Arc::new(value.clone()), path.into(), Some(mark.clone()));
            components.push((id, section));
        }
        components
    }

    fn service(&mut self, node: &Node) -> Service {
        let mut service = Service::default();
        let known: Vec<&str> = ["extensions", "pipelines", "telemetry"]
            .into_iter()
            .chain(OWN_BLOCKS)
            .collect();
        for Entry { key, mark, value } in self.map(node, "service", Some(&known)) {
            match &**key {
                "extensions" => service.extensions = self.ids(value, "service::extensions"),
                "pipelines" => service.pipelines = self.pipelines(value),
                key => {
                    let path = format!("service::{key}");
                    let own = OWN_BLOCKS.into_iter().find(|own| *own == key);
                    if own.is_none() && key != "telemetry" {
                        continue;
                    }
                    self.map(value, &path, None);
                    let section = Section::new(Arc::new(value.clone()), path.into(), Some(mark.clone()));
                    match own {
                        Some(own) => _ = service.own.insert(own, section),
                        None => service.telemetry = section,
                    }
                }
            }
        }
        service
    }

    fn pipelines(&mut self, node: &Node) -> Vec<Pipeline> {
        let path = "service::pipelines";
        let mut pipelines: Vec<Pipeline> = Vec::new();
        for Entry { key, mark, value } in self.map(node, path, None) {
            let id = match PipelineId::parse(key) {
                Ok(id) => id,
                Err(error) => {
                    let near = nearest(key.split('/').next().unwrap_or_default().trim(), SIGNALS);
                    let mut diag = Diag::new(mark.place(), path, error.to_string()).at(Stage::Decode);
                    diag.help = Some(match near {
                        Some(near) => format!("did you mean \"{near}\"?"),
                        None => format!("signals are {}", SIGNALS.join(", ")),
                    });
                    self.faults.push(diag);
                    continue;
                }
            };
            if pipelines.iter().any(|pipeline| pipeline.id == id) {
                self.fault(
                    mark,
                    path,
                    format!("duplicate name \"{key}\" after unmarshaling {id}"),
                    TWICE_HELP,
                );
                continue;
            }
            let path = format!("{path}::{id}");
            if !matches!(value.value, Value::Map(_) | Value::Null) {
                self.fault(
                    &value.mark,
                    &path,
                    format!("expected a map or struct, got \"{}\"", value.go_type()),
                    "write {receivers: [...], processors: [...], exporters: [...]}",
                );
                continue;
            }
            let mut pipeline = Pipeline {
                id,
                place: place(mark),
                receivers: Vec::new(),
                processors: Vec::new(),
                exporters: Vec::new(),
            };
            for Entry { key, value, .. } in
                self.map(value, &path, Some(&["receivers", "processors", "exporters"]))
            {
                let list = match &**key {
                    "receivers" => &mut pipeline.receivers,
                    "processors" => &mut pipeline.processors,
                    "exporters" => &mut pipeline.exporters,
                    _ => continue,
                };
                *list = self.ids(value, &format!("{path}::{key}"));
            }
            once(&mut pipeline.receivers);
            once(&mut pipeline.exporters);
            pipelines.push(pipeline);
        }
        pipelines
    }

    fn ids(&mut self, node: &Node, path: &str) -> Vec<(ComponentId, Place)> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Null => &[],
            _ => {
                self.fault(
                    &node.mark,
                    path,
                    format!("source data must be an array or slice, got {}", node.go_type()),
                    "write a list of ids, e.g. [otlp, otlp/2]",
                );
                &[]
            }
        };
        let mut ids = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let ((Some(text), _) | (None, Value::String(text))) = (&item.text, &item.value) else {
                let message = format!(
                    "expected type 'string', got unconvertible type '{}'",
                    item.go_type()
                );
                self.fault(&item.mark, &path, message, "write an id, e.g. otlp or otlp/2");
                continue;
            };
            match ComponentId::parse(text) {
                Ok(id) => ids.push((id, place(&item.mark))),
                Err(error) => self.fault(&item.mark, &path, error.to_string(), ID_HELP),
            }
        }
        ids
    }
}

const ID_HELP: &str = "write type or type/name; a type begins with a letter and goes on with letters, digits and _, a name has no blanks";
const TWICE_HELP: &str = "two keys mean the same: give one a name of its own, e.g. otlp/2";

/// A receiver or exporter that a pipeline names twice is in it once.
fn once(list: &mut Vec<(ComponentId, Place)>) {
    let mut seen = HashSet::new();
    list.retain(|(id, _)| seen.insert(id.clone()));
}

// --- Checking it ---

type Ids<'a> = HashSet<&'a ComponentId>;

/// `start` stands for what is nowhere in the sources.
fn check(document: &Document, root: &Node, start: Place, gates: &Gates) -> Vec<Diag> {
    let place_of = |entry: Option<&Entry>| entry.and_then(|entry| entry.mark.place());
    let mut faults = Vec::new();
    let may_be_empty = gates.is_on(Gates::NO_PIPELINES);
    for (list, key, kind, example) in [
        (
            &document.receivers,
            "receivers",
            "receiver",
            "otlp: {protocols: {grpc: }}",
        ),
        (&document.exporters, "exporters", "exporter", "debug: "),
    ] {
        if list.is_empty() && !may_be_empty {
            let place = place_of(root.entry(key)).unwrap_or_else(|| start.clone());
            let message = format!("no {kind} configuration specified in config");
            faults.push(Diag::new(Some(place), "", message).with_help(format!("e.g. {key}: {{{example}}}")));
        }
    }
    let ids = |list: &'_ [(ComponentId, Section)]| -> HashSet<ComponentId> {
        list.iter().map(|(id, _)| id.clone()).collect()
    };
    let configured = Configured {
        by_kind: [
            ("receivers", ids(&document.receivers)),
            ("processors", ids(&document.processors)),
            ("exporters", ids(&document.exporters)),
            ("connectors", ids(&document.connectors)),
            ("extensions", ids(&document.extensions)),
        ],
    };
    for (id, section) in &document.connectors {
        for (kinds, kind) in [("exporters", "exporter"), ("receivers", "receiver")] {
            if configured.has(kinds, id) {
                let message = format!(
                    "ambiguous ID: Found both \"{id}\" {kind} and \"{id}\" connector. Change one of the components' \
                     IDs to eliminate ambiguity (e.g. rename \"{id}\" connector to \"{id}/connector\")"
                );
                faults.push(section.diag("", message));
            }
        }
    }
    for (id, place) in &document.service.extensions {
        configured.check(
            &["extensions"],
            "extension",
            id,
            place,
            "service::extensions",
            &mut faults,
        );
    }
    if document.service.pipelines.is_empty() && !may_be_empty {
        let service = root.entry("service");
        let pipelines = service.and_then(|service| service.value.entry("pipelines"));
        let place = place_of(pipelines).or_else(|| place_of(service)).unwrap_or(start);
        let message = "service must have at least one pipeline";
        let fault = Diag::new(Some(place), "service::pipelines", message);
        faults.push(fault.with_help("e.g. pipelines: {logs: {receivers: [otlp], exporters: [debug]}}"));
    }
    for pipeline in &document.service.pipelines {
        if pipeline.id.signal == "profiles" && !gates.is_on(Gates::PROFILES) {
            let message = format!(
                "pipeline \"{}\": profiling signal support is at alpha level, gated under the \"{}\" feature gate",
                pipeline.id,
                Gates::PROFILES
            );
            let fault = Diag::new(Some(pipeline.place.clone()), "service::pipelines", message);
            faults.push(fault.with_help(format!("start with --feature-gates={}", Gates::PROFILES)));
        }
        configured.check_pipeline(pipeline, &mut faults);
    }
    faults
}

struct Configured {
    by_kind: [(&'static str, HashSet<ComponentId>); 5],
}

impl Configured {
    fn has(&self, kind: &str, id: &ComponentId) -> bool {
        self.by_kind.iter().any(|(k, ids)| *k == kind && ids.contains(id))
    }

    /// The ids of several kinds, in order.
    fn names(&self, kinds: &[&str]) -> Vec<String> {
        let of_kinds = self.by_kind.iter().filter(|(kind, _)| kinds.contains(kind));
        let mut names: Vec<String> = of_kinds
            .flat_map(|(_, ids)| ids.iter().map(ToString::to_string))
            .collect();
        names.sort_unstable();
        names
    }

    fn check_pipeline(&self, pipeline: &Pipeline, faults: &mut Vec<Diag>) {
        let path = format!("service::pipelines::{}", pipeline.id);
        for (list, kinds, kind) in [
            (&pipeline.receivers, ["receivers", "connectors"], "receiver"),
            (&pipeline.exporters, ["exporters", "connectors"], "exporter"),
        ] {
            let is_fed = kind == "receiver" && pipeline.id.to_string() == AUDIT_PIPELINE;
            if list.is_empty() && !is_fed {
                let message = format!("must have at least one {kind}");
                let fault = Diag::new(Some(pipeline.place.clone()), path.clone(), message);
                let names = self.names(&kinds);
                faults.push(fault.with_help(format!("configured are: {}", names.join(", "))));
            }
        }
        let mut seen = Ids::new();
        for (id, place) in &pipeline.processors {
            if !seen.insert(id) {
                let message = format!("references processor \"{id}\" multiple times");
                let fault = Diag::new(Some(place.clone()), path.clone(), message);
                faults.push(
                    fault.with_help(format!("a second one needs an id of its own, e.g. {}/2", id.kind)),
                );
            }
        }
        let lists: [(&[&str], _, _); 3] = [
            (&["receivers", "connectors"], "receiver", &pipeline.receivers),
            (&["processors"], "processor", &pipeline.processors),
            (&["exporters", "connectors"], "exporter", &pipeline.exporters),
        ];
        for (kinds, kind, list) in lists {
            for (id, place) in list {
                self.check(kinds, kind, id, place, &path, faults);
            }
        }
    }

    fn check(
        &self,
        kinds: &[&str],
        kind: &str,
        id: &ComponentId,
        place: &Place,
        path: &str,
        faults: &mut Vec<Diag>,
    ) {
        if kinds.iter().any(|kind| self.has(kind, id)) {
            return;
        }
        let message = format!("references {kind} \"{id}\" which is not configured");
        let mut diag = Diag::new(Some(place.clone()), path, message);
        let elsewhere = self.by_kind.iter().find(|(_, ids)| ids.contains(id));
        diag.help = match elsewhere {
            Some((kind, _)) => Some(format!("\"{id}\" is configured under {kind}")),
            None => Some(
                match nearest(&id.to_string(), self.names(kinds).iter().map(String::as_str)) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("configure it under {}, or take it out here", kinds.join(" or ")),
                },
            ),
        };
        faults.push(diag);
    }
}

#[cfg(test)]
mod tests;

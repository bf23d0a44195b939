//! What a new configuration changes of a running one.
//!
//! A component is what its effective configuration says, secrets and defaults included, and what the extensions and
//! exporters that it names are: any text in its section that is the id of one that changes makes it change too. That
//! is sometimes one restart too many, and never one too few.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use config::{ComponentId, Diag, Effective};
use engine::pipeline::Kept;
use wire::Signal;

use crate::service::effective::Parts;
use crate::service::host::Live;

/// One component: `receivers`, ... and its id.
pub(crate) type Member = (&'static str, ComponentId);

/// What becomes of a component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Goes on as it is.
    Kept,
    /// Starts.
    Added,
    /// Stops, once what it has is delivered.
    Removed,
    /// Makes room for a new one of its id; why.
    Restarted(String),
    /// Cannot change while the process runs, which refuses the reload as a whole; why.
    Refused(String),
}

/// What a new configuration changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Components in use before or after, by kind (`receivers`, ...) and id.
    pub components: BTreeMap<(&'static str, ComponentId), Fate>,
    /// Pipelines and what becomes of them; rewired ones are `Restarted`.
    pub pipelines: BTreeMap<String, Fate>,
    /// Keys that take effect when the process starts again.
    pub at_restart: Vec<String>,
}

const STORAGE_IN_USE: &str =
    "queues on disk are in use: a change of their storage takes a restart of the process";

const KINDS: [&str; 5] = ["receivers", "processors", "exporters", "connectors", "extensions"];

impl Diff {
    /// From what runs to what should run. Both were built: sections tell only what was read from them.
    pub(in crate::service) fn of(running: &Live, next: &Live) -> Diff {
        let (old, new) = (&running.parts, &next.parts);
        let (was, is) = (Known::of(old), Known::of(new));
        let mut diff = Diff::default();
        for member in was.used.union(&is.used) {
            let fate = match (was.used.contains(member), is.used.contains(member)) {
                (true, false) => Fate::Removed,
                (false, _) => Fate::Added,
                (true, true) if was.identity(member) != is.identity(member) => {
                    Fate::Restarted("its configuration changes".into())
                }
                (true, true) => signals_changed(old, new, member).unwrap_or(Fate::Kept),
            };
            diff.components.insert(member.clone(), fate);
        }
        diff.follow_names(&is);
        // What has data on disk is not taken away from under its queues.
        for (id, extension) in &running.extensions {
            if extension.storage().is_some()
                && let Some(fate @ Fate::Restarted(_)) = diff.components.get_mut(&("extensions", id.clone()))
            {
                *fate = Fate::Refused(STORAGE_IN_USE.into());
            }
        }
        for id in old.pipelines().iter().chain(new.pipelines()).map(|p| &p.id) {
            let at = |parts: &Parts| parts.pipelines().iter().find(|p| p.id == *id).cloned();
            let fate = match (at(old), at(new)) {
                (Some(_), None) => Fate::Removed,
                (None, _) => Fate::Added,
                (Some(a), Some(b)) => {
                    let lists = |p: &engine::pipeline::PipelineSpec| {
                        (p.receivers.clone(), p.processors.clone(), p.exporters.clone())
                    };
                    match lists(&a) == lists(&b) {
                        true => Fate::Kept,
                        false => Fate::Restarted("its lists change".into()),
                    }
                }
            };
            diff.pipelines.insert(id.to_string(), fate);
        }
        diff.at_restart = new.at_restart(old);
        diff
    }

    /// Whatever names an extension or exporter that does not stay restarts with it.
    fn follow_names(&mut self, is: &Known) {
        loop {
            let moved: BTreeSet<(&str, String)> = self
                .components
                .iter()
                .filter(|((kind, _), fate)| {
                    ["exporters", "extensions"].contains(kind) && **fate != Fate::Kept
                })
                .map(|((kind, id), _)| (*kind, id.to_string()))
                .collect();
            let mut more = Vec::new();
            for (member, fate) in &self.components {
                let texts = is.texts.get(member).filter(|_| *fate == Fate::Kept);
                let found = texts.and_then(|texts| {
                    let own = |(kind, id): &&(&str, String)| *kind == member.0 && *id == member.1.to_string();
                    moved.iter().find(|named| !own(named) && texts.contains(&named.1))
                });
                if let Some((kind, id)) = found {
                    let why = format!("it names {} {id}", singular(kind));
                    more.push((member.clone(), Fate::Restarted(why)));
                }
            }
            if more.is_empty() {
                return;
            }
            self.components.extend(more);
        }
    }

    /// Whether it goes on as it is.
    pub(crate) fn is_kept(&self, kind: &'static str, id: &ComponentId) -> bool {
        self.components.get(&(kind, id.clone())) == Some(&Fate::Kept)
    }

    /// For the graph.
    pub(crate) fn kept(&self) -> Kept {
        let of = |wanted: &str| {
            let kept = self.components.iter().filter(|(_, fate)| **fate == Fate::Kept);
            let ids = kept.filter(|((kind, _), _)| *kind == wanted);
            ids.map(|((_, id), _)| id.clone()).collect()
        };
        Kept {
            receivers: of("receivers"),
            processors: of("processors"),
            exporters: of("exporters"),
            connectors: of("connectors"),
        }
    }

    /// Why this cannot be done while the process runs; empty if it can.
    pub(crate) fn refused(&self) -> Vec<Diag> {
        let refused = |((kind, id), fate): (&Member, &Fate)| match fate {
            Fate::Refused(why) => Some(Diag::new(None, format!("{kind}::{id}"), why.clone())),
            _ => None,
        };
        self.components.iter().filter_map(refused).collect()
    }

    /// Those that do not go on as they are.
    pub(crate) fn moved(&self) -> impl Iterator<Item = &ComponentId> {
        let moved = self.components.iter().filter(|(_, fate)| **fate != Fate::Kept);
        moved.map(|((_, id), _)| id)
    }

    /// Those whose sockets others may have, as [`Leases`](super::super::leases::Leases) names them.
    pub(crate) fn leaving(&self) -> BTreeSet<String> {
        let stops = |fate: &Fate| matches!(fate, Fate::Removed | Fate::Restarted(_));
        let stop = self.components.iter().filter(|(_, fate)| stops(fate));
        stop.map(|((kind, id), _)| format!("{}:{id}", singular(kind)))
            .collect()
    }

    /// True if nothing changes.
    pub fn is_empty(&self) -> bool {
        let kept = |fate: &Fate| *fate == Fate::Kept;
        self.components.values().all(kept) && self.pipelines.values().all(kept) && self.at_restart.is_empty()
    }
}

/// `receivers` of one.
pub(crate) fn singular(kind: &str) -> &str {
    kind.strip_suffix('s').unwrap_or(kind)
}

/// A receiver listens for the signals that pipelines want: others wanted, and it is another receiver.
fn signals_changed(old: &Parts, new: &Parts, (kind, id): &Member) -> Option<Fate> {
    let signals = |parts: &Parts| -> BTreeSet<Signal> {
        let of = parts.pipelines().iter().filter(|p| p.receivers.contains(id));
        of.map(|p| p.signal).collect()
    };
    let differ = *kind == "receivers" && signals(old) != signals(new);
    differ.then(|| Fate::Restarted("pipelines want other signals of it".into()))
}

/// What one configuration says of its components.
struct Known {
    identities: BTreeMap<Member, String>,
    /// Every text within a component's section.
    texts: BTreeMap<Member, BTreeSet<String>>,
    used: BTreeSet<Member>,
}

impl Known {
    fn of(parts: &Parts) -> Known {
        let mut known = Known {
            identities: BTreeMap::new(),
            texts: BTreeMap::new(),
            used: BTreeSet::new(),
        };
        for kind in KINDS {
            for (id, section) in parts.of_kind(kind) {
                let effective = config::with_secrets(|| section.effective());
                let mut texts = BTreeSet::new();
                collect_texts(&effective, &mut texts);
                known.identities.insert((kind, id.clone()), effective.to_json());
                known.texts.insert((kind, id.clone()), texts);
            }
        }
        let is_connector = |id: &ComponentId| known.identities.contains_key(&("connectors", id.clone()));
        for pipeline in parts.pipelines() {
            let lists = [
                ("receivers", &pipeline.receivers),
                ("processors", &pipeline.processors),
                ("exporters", &pipeline.exporters),
            ];
            for (kind, ids) in lists {
                for id in ids {
                    let kind = if is_connector(id) { "connectors" } else { kind };
                    known.used.insert((kind, id.clone()));
                }
            }
        }
        known
            .used
            .extend(parts.extensions().iter().map(|id| ("extensions", id.clone())));
        known
    }

    fn identity(&self, member: &Member) -> Option<&String> {
        self.identities.get(member)
    }
}

fn collect_texts(value: &Effective, texts: &mut BTreeSet<String>) {
    match value {
        Effective::Text(text) => {
            texts.insert(text.clone());
        }
        Effective::List(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Effective::Map(entries) => entries.values().for_each(|value| collect_texts(value, texts)),
        _ => {}
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing changes");
        }
        let words = [
            ("keeps", Fate::Kept),
            ("adds", Fate::Added),
            ("removes", Fate::Removed),
        ];
        for (word, fate) in &words {
            let all = self.named().filter(|(_, f)| *f == fate).map(|(name, _)| name);
            let all: Vec<String> = all.collect();
            if !all.is_empty() {
                engine::pipeline::plan_row(f, word, &all.join(", "))?;
            }
        }
        let mut word = "restarts";
        for ((kind, id), fate) in &self.components {
            if let Fate::Restarted(why) = fate {
                let goes_over = match *kind {
                    "receivers" => "; the address it listens on goes over",
                    "exporters" => "; what it has queued goes over",
                    _ => "",
                };
                let text = format!("{} {id}: {why}{goes_over}", singular(kind));
                engine::pipeline::plan_row(f, word, &text)?;
                word = "";
            }
        }
        for (name, fate) in self.named() {
            if let Fate::Refused(why) = fate {
                engine::pipeline::plan_row(f, "refuses", &format!("{name}: {why}"))?;
            }
        }
        let rewired = |(id, fate): (&String, &Fate)| matches!(fate, Fate::Restarted(_)).then(|| id.clone());
        let rewired: Vec<String> = self.pipelines.iter().filter_map(rewired).collect();
        if !rewired.is_empty() {
            let text = format!(
                "pipeline {}: requests in flight go where they began",
                rewired.join(", pipeline ")
            );
            engine::pipeline::plan_row(f, "rewires", &text)?;
        }
        for (at, key) in self.at_restart.iter().enumerate() {
            let word = if at == 0 { "waits" } else { "" };
            engine::pipeline::plan_row(
                f,
                word,
                &format!("{key}: takes effect when the process starts again"),
            )?;
        }
        Ok(())
    }
}

impl Diff {
    fn named(&self) -> impl Iterator<Item = (String, &Fate)> {
        let components = self.components.iter();
        let components = components.map(|((kind, id), fate)| (format!("{} {id}", singular(kind)), fate));
        components.chain(
            self.pipelines
                .iter()
                .map(|(id, fate)| (format!("pipeline {id}"), fate)),
        )
    }
}

#[cfg(test)]
mod tests {
    use config::Gates;

    const OLD: &str = "
receivers:
  otlp: {protocols: {grpc: {}}}
  otlp/kept: {protocols: {http: {endpoint: localhost:4320}}}
processors:
  attributes: {actions: [{key: a, value: 1, action: upsert}]}
exporters:
  otlp_grpc: {endpoint: localhost:1, tls: {insecure: true}}
  otlp_grpc/letters: {endpoint: localhost:2, tls: {insecure: true}}
  otlp_http: {endpoint: http://localhost:3, auth: {authenticator: basicauth}}
  debug: {}
extensions:
  basicauth: {client_auth: {username: u, password: one}}
service:
  extensions: [basicauth]
  telemetry: {metrics: {level: none}}
  pipelines:
    logs: {receivers: [otlp, otlp/kept], processors: [attributes], exporters: [otlp_grpc, debug]}
    logs/letters: {receivers: [otlp/kept], exporters: [otlp_grpc/letters, otlp_http]}
";

    /// The old configuration with parts of its text replaced, against itself.
    fn check(changes: &[(&str, &str)], expected: &str) {
        let mut new = OLD.to_owned();
        for (from, to) in changes {
            assert!(new.contains(from), "{from}");
            new = new.replace(from, to);
        }
        let source = |text: &str| [("gw.yaml".to_owned(), text.to_owned())];
        let diff = crate::service::diff(&source(OLD), &source(&new), &Gates::default());
        let shown = diff.unwrap_or_else(|faults| panic!("{faults}")).to_string();
        assert_eq!(shown.trim_end(), expected.trim_matches('\n'), "{changes:?}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }

    #[test]
    fn what_is_written_in_other_words_is_no_change() {
        check(&[], "nothing changes");
        check(&[("debug: {}", "debug: {verbosity: basic}")], "nothing changes");
        check(
            &[("otlp: {protocols: {grpc: {}}}", "otlp: {protocols: {grpc:}}")],
            "nothing changes",
        );
        check(
            &[(
                "telemetry: {metrics",
                "shutdown: {deadline: 5s}\n  telemetry: {metrics",
            )],
            "nothing changes",
        );
    }

    #[test]
    fn each_change_is_named_with_what_goes_over() {
        check(
            &[
                ("grpc: {}", "grpc: {endpoint: localhost:4444}"),
                ("value: 1", "value: 2"),
            ],
            "
  keeps     exporter debug, exporter otlp_grpc, exporter otlp_grpc/letters,
            exporter otlp_http, extension basicauth, receiver otlp/kept,
            pipeline logs, pipeline logs/letters
  restarts  processor attributes: its configuration changes
            receiver otlp: its configuration changes; the address it listens on
            goes over",
        );
        check(
            &[
                ("[otlp_grpc, debug]", "[otlp_grpc]"),
                ("metrics: {level: none}", "metrics: {level: basic}"),
            ],
            "
  keeps     exporter otlp_grpc, exporter otlp_grpc/letters, exporter otlp_http,
            extension basicauth, processor attributes, receiver otlp, receiver
            otlp/kept, pipeline logs/letters
  removes   exporter debug
  rewires   pipeline logs: requests in flight go where they began
  waits     service::telemetry: takes effect when the process starts again",
        );
        check(
            &[("logs/letters:", "traces:")],
            "
  keeps     exporter debug, exporter otlp_grpc, exporter otlp_grpc/letters,
            exporter otlp_http, extension basicauth, processor attributes,
            receiver otlp, pipeline logs
  adds      pipeline traces
  removes   pipeline logs/letters
  restarts  receiver otlp/kept: pipelines want other signals of it; the address
            it listens on goes over",
        );
    }

    #[test]
    fn a_storage_that_changes_refuses_the_reload() {
        let storage = "extensions:\n  file_storage: {directory: /var/lib/weir}\n";
        let old = OLD
            .replace("extensions:\n", storage)
            .replace("[basicauth]", "[basicauth, file_storage]")
            .replace(
                "localhost:1,",
                "localhost:1, sending_queue: {storage: file_storage},",
            );
        let source = |text: &str| [("gw.yaml".to_owned(), text.to_owned())];
        let new = old.replace("/var/lib/weir", "/var/lib/other");
        let diff = crate::service::diff(&source(&old), &source(&new), &Gates::default());
        let shown = diff.unwrap_or_else(|faults| panic!("{faults}")).to_string();
        assert_eq!(
            shown.trim_end(),
            "
  keeps     exporter debug, exporter otlp_grpc/letters, exporter otlp_http,
            extension basicauth, processor attributes, receiver otlp, receiver
            otlp/kept, pipeline logs, pipeline logs/letters
  restarts  exporter otlp_grpc: it names extension file_storage; what it has
            queued goes over
  refuses   extension file_storage: queues on disk are in use: a change of their
            storage takes a restart of the process"
                .trim_start_matches('\n')
        );
    }

    #[test]
    fn a_secret_is_compared_and_not_shown_and_who_names_what_changes_restarts() {
        check(
            &[("password: one", "password: two")],
            "
  keeps     exporter debug, exporter otlp_grpc, exporter otlp_grpc/letters,
            processor attributes, receiver otlp, receiver otlp/kept, pipeline
            logs, pipeline logs/letters
  restarts  exporter otlp_http: it names extension basicauth; what it has queued
            goes over
            extension basicauth: its configuration changes",
        );
    }
}

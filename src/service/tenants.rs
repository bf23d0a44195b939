//! Lints of tenants: names that nobody will find, places from which nobody can be refused, and destinations that nobody
//! has.

use component::template::{NOBODY, TENANT};
use config::{ComponentId, Diag, Effective, Section};

use super::effective::Parts;

/// All of them. `nodes`: pipelines and processors that own data over time.
pub(super) fn lints(parts: &Parts, nodes: &[(String, String)]) -> Vec<Diag> {
    let processors = parts.of_kind("processors");
    let used = |id: &ComponentId| parts.pipelines().iter().any(|p| p.processors.contains(id));
    let tenants: Vec<_> = processors
        .iter()
        .filter(|(id, _)| id.kind == "tenant" && used(id))
        .collect();
    let mut found = Vec::new();
    for (id, section) in &tenants {
        let effective = section.effective();
        found.extend(unknown_listeners(parts, section, &effective));
        found.extend(unseen_headers(parts, id, section, &effective));
        found.extend(late(parts, nodes, id, section, &effective));
    }
    if tenants.is_empty() {
        let named = parts
            .of_kind("exporters")
            .iter()
            .filter(|(_, section)| names_tenants(section));
        found.extend(named.map(|(_, section)| {
            let message = format!("nothing says whose data it is: it all goes where {NOBODY} goes");
            section
                .diag("", message)
                .with_help("name tenants in its pipelines with the processor `tenant`")
        }));
    }
    found
}

/// A header is read, and no receiver before the processor hands headers on.
fn unseen_headers(parts: &Parts, id: &ComponentId, section: &Section, effective: &Effective) -> Option<Diag> {
    let Some(Effective::List(sources)) = get(effective, "from") else {
        return None;
    };
    let is_header =
        |source: &Effective| matches!(get(source, "header"), Some(Effective::Text(name)) if !name.is_empty());
    let at = sources.iter().position(is_header)?;
    let before = parts.pipelines().iter().filter(|p| p.processors.contains(id));
    let before: Vec<&ComponentId> = before.flat_map(|p| &p.receivers).collect();
    let receivers = parts
        .of_kind("receivers")
        .iter()
        .filter(|(id, _)| before.contains(&id));
    let receivers: Vec<_> = receivers.map(|(_, section)| section.effective()).collect();
    if receivers.is_empty() || receivers.iter().any(hands_headers_on) {
        return None;
    }
    let message = "no receiver before it hands headers on: this source finds nothing";
    Some(
        section
            .diag(&format!("from.{at}.header"), message)
            .with_help("set `include_metadata: true` on the receiver's protocol"),
    )
}

/// Ids of receivers that there are not: what they are to name, or to be trusted with, never comes.
fn unknown_listeners(parts: &Parts, section: &Section, effective: &Effective) -> Vec<Diag> {
    let Some(Effective::List(sources)) = get(effective, "from") else {
        return Vec::new();
    };
    let is_known = |id: &str| {
        parts
            .of_kind("receivers")
            .iter()
            .any(|(known, _)| known.to_string() == id)
    };
    let mut found = Vec::new();
    for (at, source) in sources.iter().enumerate() {
        let mut ids = Vec::new();
        if let Some(Effective::Map(names)) = get(source, "listener") {
            ids.extend(names.keys().map(|id| (format!("from.{at}.listener"), id)));
        }
        if let Some(Effective::List(trusted)) =
            get(source, "trusted").and_then(|trusted| get(trusted, "listeners"))
        {
            for id in trusted {
                if let Effective::Text(id) = id {
                    ids.push((format!("from.{at}.trusted.listeners"), id));
                }
            }
        }
        let unknown = ids.into_iter().filter(|(_, id)| !is_known(id));
        found.extend(unknown.map(|(key, id)| section.diag(&key, format!("no receiver is called \"{id}\""))));
    }
    found
}

fn hands_headers_on(value: &Effective) -> bool {
    let Effective::Map(entries) = value else {
        return false;
    };
    entries.get("include_metadata") == Some(&Effective::Bool(true)) || entries.values().any(hands_headers_on)
}

/// It is to refuse, and stands where it can only reject.
fn late(
    parts: &Parts,
    nodes: &[(String, String)],
    id: &ComponentId,
    section: &Section,
    effective: &Effective,
) -> Option<Diag> {
    let refuses = get(effective, "unknown") == Some(&Effective::Text("refuse".into()));
    let limit = |rate: &Effective| {
        let given = |key| get(rate, key).is_some_and(|value| *value != Effective::Null);
        given("records_per_second") || given("bytes_per_second")
    };
    let limits = get(effective, "limits");
    let default = limits
        .and_then(|limits| get(limits, "default"))
        .is_some_and(limit);
    let by_name = match limits.and_then(|limits| get(limits, "tenants")) {
        Some(Effective::Map(tenants)) => tenants.values().any(limit),
        _ => false,
    };
    if !refuses && !default && !by_name {
        return None;
    }
    // Who the client is does not change on the way; what is held over time has been taken.
    let by_client = !asks_resources(effective);
    let before = parts.pipelines().iter().find_map(|pipeline| {
        let at = pipeline.processors.iter().position(|known| known == id)?;
        let is_late = |before: &&ComponentId| match by_client {
            true => nodes.contains(&(pipeline.id.to_string(), before.to_string())),
            false => !matches!(before.kind.as_str(), "memory_limiter" | "batch"),
        };
        pipeline.processors[..at].iter().find(is_late)
    })?;
    let message = format!(
        "behind {before} it comes too late to refuse a request for other pipelines: what is unknown is refused here alone, \
         what is over a rate is rejected and lost"
    );
    Some(
        section
            .diag("", message)
            .with_help("place it first, if nothing before it finds out whose the data is"),
    )
}

/// Whether a source is an attribute of resources.
fn asks_resources(effective: &Effective) -> bool {
    let Some(Effective::List(sources)) = get(effective, "from") else {
        return false;
    };
    sources.iter().any(|source| {
        let named = get(source, "resource_attribute");
        named.is_some_and(|name| !matches!(name, Effective::Null) && *name != Effective::Text(String::new()))
            || get(source, "kubernetes_namespace") == Some(&Effective::Bool(true))
    })
}

fn names_tenants(section: &Section) -> bool {
    fn holds(value: &Effective) -> bool {
        match value {
            Effective::Text(text) => text.contains(TENANT),
            Effective::List(values) => values.iter().any(holds),
            Effective::Map(entries) => entries.values().any(holds),
            _ => false,
        }
    }
    // Headers are secrets; none of them is said.
    holds(&config::with_secrets(|| section.effective()))
}

fn get<'a>(value: &'a Effective, key: &str) -> Option<&'a Effective> {
    match value {
        Effective::Map(entries) => entries.get(key),
        _ => None,
    }
}

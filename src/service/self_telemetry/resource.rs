//! `service::telemetry::resource`: what the gateway says about itself, in both spellings.
//!
//! Inline (`service.name: gw`, null takes a default away) or declarative (`attributes`, `schema_url`,
//! `detection/development`), not both. `service.name`, `service.version` and `service.instance.id` are there unless they
//! are taken away; the id is made once for the process, so that a reload keeps it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::OnceLock;

use config::{Diag, Diags, Section};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::Resource;
use telemetry::resource::Value;

use super::faults::Faults;
use super::otlp::Console as Empty;
use super::value::Any;
use crate::service::INFO;

/// The declarative spelling.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Declared {
    attributes: Vec<Attribute>,
    attributes_list: Option<String>,
    schema_url: Option<String>,
    #[serde(rename = "detection/development")]
    detection: Option<Detection>,
}

/// One attribute.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Attribute {
    name: String,
    value: Any,
    #[serde(rename = "type", default)]
    kind: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Detection {
    detectors: Vec<Detector>,
}

/// What looks around for attributes: each entry has one of these keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Detector {
    host: Option<Empty>,
    process: Option<Empty>,
    container: Option<Empty>,
    service: Option<Empty>,
}

const KEYS: [&str; 4] = [
    "attributes",
    "attributes_list",
    "schema_url",
    "detection/development",
];
/// Of the names in use where none is given.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.40.0";

type Attributes = BTreeMap<String, Option<Value>>;

/// Reads the section; the warnings come beside.
pub(super) fn read(section: &Section) -> Result<(Resource, Vec<Diag>), Diags> {
    let mut faults = Faults::new(section);
    let mut all: Attributes = BTreeMap::from([
        ("service.instance.id".to_owned(), Some(instance_id().into())),
        ("service.name".to_owned(), Some(INFO.command.into())),
        ("service.version".to_owned(), Some(INFO.version.into())),
    ]);
    let mut schema_url = SCHEMA_URL.to_owned();
    let (declared, inline): (Vec<&str>, Vec<&str>) = section.keys().partition(|key| KEYS.contains(key));
    match (declared.is_empty(), inline.is_empty()) {
        (false, false) => faults.fault(
            inline[0],
            "resource::attributes cannot be used together with legacy inline resource attributes",
        ),
        (false, true) => {
            let declared: Declared = section.clone().parse()?;
            if let Some(url) = declare(declared, &mut all, &mut faults) {
                schema_url = url;
            }
        }
        (true, false) => {
            let given: BTreeMap<String, Any> = section.clone().parse()?;
            let names: Vec<&str> = given.keys().map(String::as_str).collect();
            faults.warn(
                "",
                format!(
                    "inline resource attributes are deprecated ({}); write attributes: [{{name, value}}]",
                    names.join(", ")
                ),
            );
            for (name, Any(value)) in given {
                match value {
                    None | Some(Value::Text(_)) => drop(all.insert(name, value)),
                    Some(_) => faults.fault(
                        &name,
                        format!("legacy resource attribute \"{name}\" must be string or null"),
                    ),
                }
            }
        }
        (true, true) => {}
    }
    let warnings = faults.finish()?;
    let attributes = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
    Ok((
        Resource {
            attributes: attributes.collect(),
            schema_url,
        },
        warnings,
    ))
}

fn declare(declared: Declared, all: &mut Attributes, faults: &mut Faults<'_>) -> Option<String> {
    if declared.attributes_list.is_some() {
        faults.fault(
            "attributes_list",
            "attributes_list is not supported; use attributes",
        );
    }
    for (i, detector) in declared
        .detection
        .unwrap_or_default()
        .detectors
        .iter()
        .enumerate()
    {
        let chosen = [
            (&detector.host, host as fn(&mut Attributes)),
            (&detector.process, process),
            (&detector.container, container),
            (&detector.service, service),
        ];
        let mut chosen = chosen.into_iter().filter(|(key, _)| key.is_some()).peekable();
        if chosen.peek().is_none() {
            let key = format!("detection/development.detectors.{i}");
            faults.fault(&key, "no detector: host, process, container or service");
        }
        chosen.for_each(|(_, detect)| detect(all));
    }
    for (i, Attribute { name, value, kind }) in declared.attributes.into_iter().enumerate() {
        match typed(value, kind.as_deref()) {
            Ok(value) => drop(all.insert(name, value)),
            Err(message) => faults.fault(&format!("attributes.{i}.value"), message),
        }
    }
    declared.schema_url
}

/// A value as the type that was stated; without one, as it is written.
fn typed(Any(value): Any, kind: Option<&str>) -> Result<Option<Value>, String> {
    let Some(value) = value else { return Ok(None) };
    let Some(kind) = kind else { return Ok(Some(value)) };
    let fits = match (kind, &value) {
        ("string", Value::List(_)) => false,
        // an expanded variable may have become a number on the way
        ("string", value) => return Ok(Some(Value::Text(value.to_string()))),
        ("double", Value::Int(n)) => return Ok(Some(Value::Double(*n as f64))),
        ("bool", Value::Bool(_)) | ("int", Value::Int(_)) | ("double", Value::Double(_)) => true,
        ("string_array" | "bool_array" | "int_array" | "double_array", Value::List(values)) => {
            let of = kind.trim_end_matches("_array");
            let items: Result<Vec<Option<Value>>, String> = values
                .iter()
                .map(|v| typed(Any(Some(v.clone())), Some(of)))
                .collect();
            return Ok(Some(Value::List(items?.into_iter().flatten().collect())));
        }
        ("bool" | "int" | "double" | "string_array" | "bool_array" | "int_array" | "double_array", _) => {
            false
        }
        _ => return Err(format!("unknown type \"{kind}\"")),
    };
    match fits {
        true => Ok(Some(value)),
        false => Err(format!("is not of the type {kind}")),
    }
}

fn host(all: &mut Attributes) {
    put(all, "host.name", file("/proc/sys/kernel/hostname"));
    put(all, "host.id", file("/etc/machine-id"));
}

/// Without the command line: `--set` may have brought a secret with it.
fn process(all: &mut Attributes) {
    all.insert(
        "process.pid".into(),
        Some(Value::Int(i64::from(std::process::id()))),
    );
    if let Ok(path) = std::env::current_exe() {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        put(all, "process.executable.name", name);
        put(
            all,
            "process.executable.path",
            Some(path.to_string_lossy().into_owned()),
        );
    }
    put(all, "process.runtime.name", Some("rust".into()));
}

fn container(all: &mut Attributes) {
    put(
        all,
        "container.id",
        file("/proc/self/cgroup").and_then(|text| container_id(&text)),
    );
}

fn service(all: &mut Attributes) {
    put(all, "service.name", std::env::var("OTEL_SERVICE_NAME").ok());
}

fn put(all: &mut Attributes, name: &str, text: Option<String>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        all.insert(name.to_owned(), Some(Value::Text(text)));
    }
}

fn file(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(path)).ok()?;
    Some(text.trim().to_owned())
}

/// The 64 hex digits that end a line of `/proc/self/cgroup`, perhaps with `.scope` behind and `docker-` before.
fn container_id(groups: &str) -> Option<String> {
    groups.lines().find_map(|line| {
        let last = line.rsplit('/').next()?.trim_end_matches(".scope");
        let id = last.rsplit(['-', ':']).next()?;
        let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then(|| id.to_owned())
    })
}

/// A random UUID (version 4), one for the process.
fn instance_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        // Keyed by the system's randomness; nothing depends on it being hard to guess.
        let half = || u128::from(RandomState::new().hash_one(std::process::id()));
        uuid(half() << 64 | half())
    })
}

fn uuid(random: u128) -> String {
    let bits = random & !(0xf << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(yaml: &str) -> Result<Vec<(String, String)>, String> {
        let section = Section::from_yaml(yaml).unwrap();
        let (resource, _) = read(&section).map_err(|e| e.to_string())?;
        let all = resource
            .texts()
            .filter(|(name, _)| *name != "service.instance.id");
        Ok(all.map(|(name, value)| (name.to_owned(), value)).collect())
    }

    #[track_caller]
    fn check(yaml: &str, expected: &[(&str, &str)]) {
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(texts(yaml), Ok(expected), "{yaml}");
    }

    #[test]
    fn both_spellings_are_read() {
        let version = ("service.version", INFO.version);
        check("{}", &[("service.name", "weir"), version]);
        check(
            "{service.name: gw, deployment.environment.name: prod, service.version: null}",
            &[("deployment.environment.name", "prod"), ("service.name", "gw")],
        );
        check(
            "attributes: [{name: service.name, value: agent}, {name: n, value: 3}, {name: s, value: 3, type: string}, \
             {name: l, value: [a, b], type: string_array}, {name: d, value: 3, type: double}]",
            &[
                ("d", "3"),
                ("l", r#"["a","b"]"#),
                ("n", "3"),
                ("s", "3"),
                ("service.name", "agent"),
                version,
            ],
        );
        let section = Section::from_yaml("schema_url: https://x").unwrap();
        assert_eq!(read(&section).unwrap().0.schema_url, "https://x");
    }

    #[test]
    fn the_inline_spelling_is_warned_of_with_its_keys() {
        let section = Section::from_yaml("{service.name: gw, zone: a}").unwrap();
        let (_, warnings) = read(&section).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].message.contains("service.name, zone"),
            "{}",
            warnings[0].message
        );
        let section = Section::from_yaml("attributes: []").unwrap();
        assert_eq!(read(&section).unwrap().1, []);
    }

    #[test]
    fn faults_are_the_collectors() {
        for (yaml, expected) in [
            (
                "{attributes: [], service.name: gw}",
                "resource::attributes cannot be used together with legacy inline resource attributes",
            ),
            (
                "{shard: 3}",
                "legacy resource attribute \"shard\" must be string or null",
            ),
            ("{attributes_list: 'a=b'}", "attributes_list is not supported"),
            (
                "{attributes: [{name: a, value: x, type: int}]}",
                "is not of the type int",
            ),
            (
                "{attributes: [{name: a, value: x, type: float}]}",
                "unknown type \"float\"",
            ),
            ("{detection/development: {detectors: [{}]}}", "no detector"),
            ("{detection/development: {detectors: [{cloud: {}}]}}", "cloud"),
        ] {
            let error = texts(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }

    #[test]
    fn detectors_look_around_and_attributes_win() {
        let yaml = "{detection/development: {detectors: [{process: {}}, {host: {}}]}, \
                    attributes: [{name: process.runtime.name, value: mine}]}";
        let all = texts(yaml).unwrap();
        let of = |name: &str| all.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
        assert_eq!(of("process.pid"), Some(std::process::id().to_string().as_str()));
        assert_eq!(of("process.runtime.name"), Some("mine"));
        assert_eq!(of("process.command_line"), None);
    }

    #[test]
    fn ids_are_recognised() {
        let id = "ab".repeat(32);
        assert_eq!(container_id(&format!("0::/docker/{id}")), Some(id.clone()));
        assert_eq!(container_id(&format!("1:x:/\n0::/a/cri-{id}.scope\n")), Some(id));
        assert_eq!(container_id("0::/user.slice"), None);
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(instance_id(), instance_id());
    }
}

//! Who may import whom: the floors of the house, compared with every crate's `[dependencies]`.
//!
//! Cargo refuses cycles and undeclared imports; a declared import that skips upwards without a cycle, a component that
//! names its neighbour and a harness that reaches for the graph are found here. Dev-dependencies are not looked at:
//! tests may stand anywhere.

use super::{Tree, code_lines};

/// One noun: a folder of `src/`, a crate, a concept that a user knows. The list is closed: a new name needs a decision
/// in `docs/adr/`.
struct Noun {
    name: &'static str,
    /// Nouns that it may import.
    may_use: &'static [&'static str],
    /// Whether its folder holds components.
    holds_components: bool,
}

const fn noun(name: &'static str, may_use: &'static [&'static str]) -> Noun {
    Noun {
        name,
        may_use,
        holds_components: false,
    }
}

const fn kind(name: &'static str) -> Noun {
    Noun {
        name,
        may_use: &FLOORS_0_TO_3,
        holds_components: true,
    }
}

const FLOORS_0_TO_1: [&str; 5] = ["wire", "config", "ottl", "codec", "evidence"];
const FLOORS_0_TO_1_AND_TELEMETRY: [&str; 6] = ["wire", "config", "ottl", "codec", "evidence", "telemetry"];
const UNDER_OBJECTS: [&str; 7] = ["wire", "config", "ottl", "codec", "evidence", "telemetry", "net"];
const FLOORS_0_TO_2: [&str; 9] = [
    "wire",
    "config",
    "ottl",
    "codec",
    "evidence",
    "net",
    "storage",
    "telemetry",
    "objects",
];
const FLOORS_0_TO_3: [&str; 10] = [
    "wire",
    "config",
    "ottl",
    "codec",
    "evidence",
    "net",
    "storage",
    "telemetry",
    "objects",
    "component",
];

const NOUNS: [Noun; 16] = [
    noun("wire", &[]),
    noun("config", &["wire"]),
    noun("ottl", &["wire", "config", "codec"]),
    noun("codec", &["wire"]),
    noun("evidence", &["wire", "codec"]),
    noun("telemetry", &FLOORS_0_TO_1),
    noun("net", &FLOORS_0_TO_1_AND_TELEMETRY),
    noun("storage", &FLOORS_0_TO_1_AND_TELEMETRY),
    noun("objects", &UNDER_OBJECTS),
    noun("component", &FLOORS_0_TO_2),
    noun("engine", &FLOORS_0_TO_3),
    kind("receivers"),
    kind("processors"),
    kind("connectors"),
    kind("exporters"),
    kind("extensions"),
];

/// What else may lie directly in `src/`: the roof.
const ROOF: [&str; 2] = ["cli", "service"];

/// Crates from elsewhere that wire may use; all others it must not know.
const WIRE_MAY_USE: [&str; 2] = ["bytes", "memchr"];
/// Nouns without I/O, and what would bring it in.
const SANS_IO: [&str; 5] = ["wire", "config", "ottl", "codec", "evidence"];
const IO_CRATES: [&str; 10] = [
    "tokio",
    "hyper",
    "hyper-util",
    "h2",
    "http-body",
    "socket2",
    "rustix",
    "tokio-rustls",
    "mio",
    "tracing-subscriber",
];
/// What would give telemetry sockets of its own.
const SOCKET_CRATES: [&str; 6] = ["hyper", "hyper-util", "h2", "socket2", "tokio-rustls", "mio"];

/// Compares each crate's imports with the floors, and the member list with the folders.
fn floors(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for folder in tree.folders("src") {
        if !NOUNS.iter().any(|n| n.name == folder) && !ROOF.contains(&folder.as_str()) {
            complaints.push(format!(
                "src/{folder}: not one of the sixteen nouns; the list is closed"
            ));
        }
    }
    let members = members(tree.file("Cargo.toml").unwrap_or_default());
    for noun in &NOUNS {
        let manifest_path = format!("src/{}/Cargo.toml", noun.name);
        let Some(manifest) = tree.file(&manifest_path) else {
            complaints.push(format!("{manifest_path}: missing"));
            continue;
        };
        if !members.iter().any(|m| *m == format!("src/{}", noun.name)) {
            complaints.push(format!(
                "Cargo.toml: src/{} is not a member of the workspace",
                noun.name
            ));
        }
        for (line, dependency) in dependencies(manifest) {
            if is_for_tests_only(manifest, dependency) {
                continue;
            }
            if let Some(reason) = forbidden(noun, dependency) {
                complaints.push(format!("{manifest_path}:{line}: {reason}"));
            }
        }
        if noun.name != "wire" && !manifest.contains("[lints]\nworkspace = true") {
            complaints.push(format!(
                "{manifest_path}: does not inherit the lints of the workspace"
            ));
        }
        if manifest.contains("[build-dependencies]") {
            complaints.push(format!(
                "{manifest_path}: no build scripts; generated code is committed"
            ));
        }
        // A target's own `path = ".."` stands at the start of its line.
        if manifest
            .lines()
            .any(|line| line.contains("path = \"..") && !line.starts_with("path"))
        {
            complaints.push(format!(
                "{manifest_path}: dependencies inside the house are declared once, in the root"
            ));
        }
    }
    for member in &members {
        if !NOUNS.iter().any(|n| *member == format!("src/{}", n.name)) {
            complaints.push(format!(
                "Cargo.toml: member {member} is not one of the sixteen nouns"
            ));
        }
    }
    complaints
}

fn forbidden(noun: &Noun, dependency: &str) -> Option<String> {
    let is_ours = dependency == "weir" || NOUNS.iter().any(|n| n.name == dependency);
    if is_ours {
        return (!noun.may_use.contains(&dependency))
            .then(|| format!("{} may not import {dependency}", noun.name));
    }
    let may_not = (noun.name == "wire" && !WIRE_MAY_USE.contains(&dependency))
        || (SANS_IO.contains(&noun.name) && IO_CRATES.contains(&dependency))
        || (noun.name == "telemetry" && SOCKET_CRATES.contains(&dependency))
        || (noun.name != "objects" && (dependency.starts_with("aws-sdk") || dependency == "aws-config"));
    may_not.then(|| format!("{} must not know {dependency}", noun.name))
}

/// What cargo cannot see inside a crate: components that name each other, a harness that names the graph, an engine
/// that asks for a component's name.
fn imports(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut kinds = Vec::new();
    for noun in NOUNS.iter().filter(|n| n.holds_components) {
        let folder = format!("src/{}", noun.name);
        // A component is a module with a factory; modules without one are shared within the crate on purpose.
        let components: Vec<String> = tree
            .below(&folder)
            .filter(|f| f.text.contains("static FACTORY"))
            .filter_map(|f| component_of(&f.path))
            .collect();
        for file in tree.below(&folder).filter(|f| f.path.ends_with(".rs")) {
            let own = component_of(&file.path);
            for (line, text) in code_lines(file) {
                for sibling in components
                    .iter()
                    .filter(|c| own.is_some() && Some(*c) != own.as_ref())
                {
                    if [format!("crate::{sibling}::"), format!("use super::{sibling}::")]
                        .iter()
                        .any(|path| text.contains(path.as_str()))
                    {
                        complaints.push(format!(
                            "{}:{line}: a component may not name its neighbour {sibling}; move what they share down",
                            file.path
                        ));
                    }
                }
            }
        }
        kinds.extend(components);
    }
    for file in tree.below("src/engine").filter(|f| f.path.ends_with(".rs")) {
        for (line, text) in code_lines(file) {
            if file.path.starts_with("src/engine/harness/")
                && ["crate::pipeline", "super::pipeline"]
                    .iter()
                    .any(|path| text.contains(path))
            {
                complaints.push(format!(
                    "{}:{line}: the harness may not import the pipeline",
                    file.path
                ));
            }
            if kinds
                .iter()
                .any(|k| text.contains(&format!("\"{k}\" =>")) || text.contains(&format!("== \"{k}\"")))
            {
                complaints.push(format!(
                    "{}:{line}: the engine may not ask for a component's name",
                    file.path
                ));
            }
        }
    }
    for file in tree
        .files()
        .iter()
        .filter(|f| f.path.starts_with("src/") && f.path.ends_with(".rs"))
    {
        for (line, text) in code_lines(file) {
            let opens_unsafe = text.contains("allow(unsafe_code") || text.trim_start().starts_with("unsafe ");
            if opens_unsafe && !file.path.starts_with("src/wire/scan/") {
                complaints.push(format!(
                    "{}:{line}: unsafe code lives in src/wire/scan only",
                    file.path
                ));
            }
        }
    }
    complaints
}

/// `src/processors/redaction/plan.rs` and `src/processors/redaction.rs` belong to `redaction`.
fn component_of(path: &str) -> Option<String> {
    let below_kind = path.splitn(3, '/').nth(2)?;
    let name = below_kind.split('/').next()?.trim_end_matches(".rs");
    (name != "lib" && name != "Cargo.toml").then(|| name.to_owned())
}

/// Names under `[dependencies]`, with their lines. Both shapes: `name = ...` and `[dependencies.name]`.
fn dependencies(manifest: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (n, line) in manifest.lines().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end().trim_end_matches(']');
            inside = section == "dependencies"
                || (section.starts_with("target.") && section.ends_with(".dependencies"));
            if let Some(name) = section.strip_prefix("dependencies.") {
                found.push((n + 1, name));
            }
        } else if inside && let Some((name, _)) = line.split_once('=') {
            let name = name.trim();
            if !name.starts_with('#') {
                found.push((n + 1, name.split('.').next().unwrap_or(name)));
            }
        }
    }
    found
}

/// An optional crate that only the feature `test-kit` brings in: what other crates' tests share.
fn is_for_tests_only(manifest: &str, dependency: &str) -> bool {
    let switch = format!("\"dep:{dependency}\"");
    let mut switches = manifest.lines().filter(|line| line.contains(&switch)).peekable();
    switches.peek().is_some() && switches.all(|line| line.starts_with("test-kit = ["))
}

/// Paths in `[workspace] members`.
fn members(manifest: &str) -> Vec<&str> {
    manifest
        .lines()
        .skip_while(|line| !line.starts_with("members"))
        .take_while(|line| !line.starts_with(']'))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{assert_tidy, model};
    use super::*;

    #[test]
    fn every_crate_imports_only_what_its_floor_may() {
        assert_tidy(&floors(&Tree::here()));
    }

    #[test]
    fn no_component_names_another_and_no_harness_the_graph() {
        assert_tidy(&imports(&Tree::here()));
    }

    /// A house in order: all sixteen crates, no imports.
    fn house() -> Vec<(String, String)> {
        let list: String = NOUNS
            .iter()
            .map(|n| format!("    \"src/{}\",\n", n.name))
            .collect();
        let mut files = vec![(
            "Cargo.toml".to_owned(),
            format!("[workspace]\nmembers = [\n{list}]\n"),
        )];
        for noun in &NOUNS {
            let manifest = "[dependencies]\n\n[lints]\nworkspace = true\n".to_owned();
            files.push((format!("src/{}/Cargo.toml", noun.name), manifest));
        }
        files
    }

    /// The complaints about a house in which some files were changed or added.
    fn complaints(changed: &[(&str, &str)]) -> Vec<String> {
        let mut files = house();
        files.retain(|(path, _)| !changed.iter().any(|(c, _)| c == path));
        files.extend(changed.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())));
        let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
        let dir = model(&files);
        let tree = Tree::at(dir.path());
        let mut found = floors(&tree);
        found.extend(imports(&tree));
        found
    }

    const LINTS: &str = "\n[lints]\nworkspace = true\n";

    fn check(changed: &[(&str, &str)], expected: &[&str]) {
        assert_eq!(complaints(changed), expected, "{changed:?}");
    }

    #[test]
    fn a_house_in_order_passes() {
        check(&[], &[]);
        let net =
            format!("[dependencies]\ntelemetry = {{ workspace = true }}\ntokio.workspace = true\n{LINTS}");
        check(&[("src/net/Cargo.toml", &net)], &[]);
    }

    #[test]
    fn an_import_upwards_is_found() {
        let upwards = |dependency: &str| {
            format!("[dependencies]\nbytes = \"1\"\n{dependency} = {{ workspace = true }}\n{LINTS}")
        };
        check(
            &[("src/exporters/Cargo.toml", &upwards("engine"))],
            &["src/exporters/Cargo.toml:3: exporters may not import engine"],
        );
        check(
            &[("src/receivers/Cargo.toml", &upwards("exporters"))],
            &["src/receivers/Cargo.toml:3: receivers may not import exporters"],
        );
        check(
            &[("src/engine/Cargo.toml", &upwards("weir"))],
            &["src/engine/Cargo.toml:3: engine may not import weir"],
        );
        check(
            &[("src/telemetry/Cargo.toml", &upwards("net"))],
            &["src/telemetry/Cargo.toml:3: telemetry may not import net"],
        );
        check(
            &[("src/config/Cargo.toml", &upwards("tokio"))],
            &["src/config/Cargo.toml:3: config must not know tokio"],
        );
        check(
            &[("src/wire/Cargo.toml", &upwards("serde"))],
            &["src/wire/Cargo.toml:3: wire must not know serde"],
        );
        check(
            &[("src/exporters/Cargo.toml", &upwards("aws-sdk-s3"))],
            &["src/exporters/Cargo.toml:3: exporters must not know aws-sdk-s3"],
        );
        let table = format!("[dependencies.engine]\nworkspace = true\n{LINTS}");
        check(
            &[("src/processors/Cargo.toml", &table)],
            &["src/processors/Cargo.toml:1: processors may not import engine"],
        );
    }

    #[test]
    fn a_test_kit_may_bring_its_own_crates_but_not_for_everybody() {
        let wire = |features: &str| {
            format!(
                "[features]\n{features}[dependencies]\nprost = {{ workspace = true, optional = true }}\n{LINTS}"
            )
        };
        check(
            &[("src/wire/Cargo.toml", &wire("test-kit = [\"dep:prost\"]\n"))],
            &[],
        );
        check(
            &[(
                "src/wire/Cargo.toml",
                &wire("test-kit = [\"dep:prost\"]\nfast = [\"dep:prost\"]\n"),
            )],
            &["src/wire/Cargo.toml:5: wire must not know prost"],
        );
    }

    #[test]
    fn a_new_noun_or_a_lost_member_is_found() {
        check(
            &[("src/util/lib.rs", "")],
            &["src/util: not one of the sixteen nouns; the list is closed"],
        );
        let found = complaints(&[(
            "Cargo.toml",
            "[workspace]\nmembers = [\n    \"src/wire\",\n    \"src/common\",\n]\n",
        )]);
        assert!(
            found.contains(&"Cargo.toml: src/net is not a member of the workspace".to_owned()),
            "{found:?}"
        );
        assert!(
            found.contains(&"Cargo.toml: member src/common is not one of the sixteen nouns".to_owned()),
            "{found:?}"
        );
    }

    #[test]
    fn a_crate_without_the_lints_or_with_a_build_script_is_found() {
        check(
            &[("src/net/Cargo.toml", "[dependencies]\n")],
            &["src/net/Cargo.toml: does not inherit the lints of the workspace"],
        );
        let script = format!("[build-dependencies]\ncc = \"1\"\n{LINTS}");
        check(
            &[("src/net/Cargo.toml", &script)],
            &["src/net/Cargo.toml: no build scripts; generated code is committed"],
        );
        let bench = format!("[[bench]]\nname = \"net\"\npath = \"../../benches/net.rs\"\n{LINTS}");
        check(&[("src/net/Cargo.toml", &bench)], &[]);
        let path = format!("[dependencies]\nwire = {{ path = \"../wire\" }}\n{LINTS}");
        check(
            &[("src/net/Cargo.toml", &path)],
            &["src/net/Cargo.toml: dependencies inside the house are declared once, in the root"],
        );
    }

    #[test]
    fn a_component_that_names_its_neighbour_is_found() {
        let loki = ("src/exporters/loki.rs", "pub static FACTORY: u8 = 0;\n");
        check(
            &[
                loki,
                ("src/exporters/lib.rs", "mod loki;\nuse crate::loki::FACTORY;\n"),
            ],
            &[],
        );
        check(
            &[
                loki,
                ("src/exporters/file/mod.rs", "use x;\nuse crate::loki::encode;\n"),
            ],
            &[
                "src/exporters/file/mod.rs:2: a component may not name its neighbour loki; move what they share down",
            ],
        );
        let in_tests =
            "pub static FACTORY: u8 = 0;\n#[cfg(test)]\nmod tests {\n    use crate::loki::FACTORY;\n}\n";
        check(&[loki, ("src/exporters/file.rs", in_tests)], &[]);
    }

    #[test]
    fn an_engine_that_knows_names_or_looks_back_is_found() {
        let batch = ("src/processors/batch.rs", "pub static FACTORY: u8 = 0;\n");
        check(
            &[
                batch,
                (
                    "src/engine/pipeline/graph.rs",
                    "match kind {\n    \"batch\" => 1,\n}\n",
                ),
            ],
            &["src/engine/pipeline/graph.rs:2: the engine may not ask for a component's name"],
        );
        check(
            &[("src/engine/harness/queue.rs", "use crate::pipeline::Graph;\n")],
            &["src/engine/harness/queue.rs:1: the harness may not import the pipeline"],
        );
    }

    #[test]
    fn unsafe_outside_the_scan_is_found() {
        check(&[("src/wire/scan/avx2.rs", "#![allow(unsafe_code)]\n")], &[]);
        check(
            &[("src/wire/view/mod.rs", "#![allow(unsafe_code)]\n")],
            &["src/wire/view/mod.rs:1: unsafe code lives in src/wire/scan only"],
        );
    }
}

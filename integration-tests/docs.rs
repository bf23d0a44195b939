//! The documents must not lie: every component has a page that says what the program says, and links lead somewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use component::Stability;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What a page must say of a component, line by line.
#[derive(Debug, PartialEq)]
struct Facts {
    title: String,
    signals: String,
    aliases: Option<String>,
}

fn facts(kind: &str, name: &str, aliases: &[&str], signals: &[(String, Stability)]) -> Facts {
    let mut signals: Vec<String> = signals
        .iter()
        .map(|(what, s)| format!("{what} {}", s.as_str()))
        .collect();
    signals.sort();
    let aliases: Vec<String> = aliases.iter().map(|a| format!("`{a}`")).collect();
    Facts {
        title: format!("# {kind} `{name}`"),
        signals: format!("Signals: {}", signals.join(", ")),
        aliases: (!aliases.is_empty()).then(|| format!("Also spelled {}", aliases.join(", "))),
    }
}

/// All components, by the path of their page below `docs/components`.
fn components() -> BTreeMap<String, Facts> {
    let mut all = BTreeMap::new();
    for f in receivers::ALL {
        let signals: Vec<_> = f
            .signals
            .iter()
            .map(|(s, stability)| (s.as_str().to_owned(), *stability))
            .collect();
        all.insert(
            format!("receivers/{}.md", f.kind),
            facts("Receiver", f.kind, f.aliases, &signals),
        );
    }
    for f in processors::ALL {
        let signals: Vec<_> = f
            .signals
            .iter()
            .map(|(s, stability)| (s.as_str().to_owned(), *stability))
            .collect();
        all.insert(
            format!("processors/{}.md", f.kind),
            facts("Processor", f.kind, f.aliases, &signals),
        );
    }
    for f in connectors::ALL {
        let signals: Vec<_> = f
            .signals
            .iter()
            .map(|(from, to, stability)| (format!("{} to {}", from.as_str(), to.as_str()), *stability))
            .collect();
        all.insert(
            format!("connectors/{}.md", f.kind),
            facts("Connector", f.kind, f.aliases, &signals),
        );
    }
    for f in exporters::ALL {
        let signals: Vec<_> = f
            .signals
            .iter()
            .map(|(s, stability)| (s.as_str().to_owned(), *stability))
            .collect();
        all.insert(
            format!("exporters/{}.md", f.kind),
            facts("Exporter", f.kind, f.aliases, &signals),
        );
    }
    for f in extensions::ALL {
        let mut facts = facts("Extension", f.kind, f.aliases, &[]);
        facts.signals = format!("Stability: {}", f.stability.as_str());
        all.insert(format!("extensions/{}.md", f.kind), facts);
    }
    all
}

/// What a page lacks.
fn lacks(page: &str, facts: &Facts) -> Vec<String> {
    [Some(&facts.title), Some(&facts.signals), facts.aliases.as_ref()]
        .into_iter()
        .flatten()
        .filter(|line| !page.lines().any(|l| l == *line))
        .map(|line| format!("lacks the line: {line}"))
        .collect()
}

/// The page with the line about signals as it must be, for `UPDATE=1`.
fn updated(page: &str, facts: &Facts) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in page.lines() {
        if line.starts_with("Signals: ") || line.starts_with("Stability: ") {
            lines.push(&facts.signals);
            if let Some(aliases) = &facts.aliases {
                lines.extend(["", aliases]);
            }
        } else if !line.starts_with("Also spelled ") {
            lines.push(line);
        }
    }
    // A line that was dropped may leave two empty ones.
    lines.dedup_by(|a, b| a.is_empty() && b.is_empty());
    format!("{}\n", lines.join("\n"))
}

#[test]
fn every_component_has_a_page_that_says_what_it_is() {
    let folder = root().join("docs/components");
    let mut complaints = Vec::new();
    let components = components();
    assert!(!components.is_empty());
    for (path, facts) in &components {
        let Ok(page) = fs::read_to_string(folder.join(path)) else {
            complaints.push(format!("docs/components/{path}: missing"));
            continue;
        };
        let found = lacks(&page, facts);
        if !found.is_empty() && std::env::var_os("UPDATE").is_some() {
            fs::write(folder.join(path), updated(&page, facts)).expect("the page can be written");
        }
        complaints.extend(
            found
                .into_iter()
                .map(|what| format!("docs/components/{path}: {what}")),
        );
    }
    for kind in ["receivers", "processors", "connectors", "exporters", "extensions"] {
        for page in fs::read_dir(folder.join(kind)).expect("a folder for each kind") {
            let name = page.expect("the folder can be listed").file_name();
            let path = format!("{kind}/{}", name.to_string_lossy());
            if !components.contains_key(&path) {
                complaints.push(format!("docs/components/{path}: no such component"));
            }
        }
    }
    assert!(
        complaints.is_empty(),
        "\n{}\n(UPDATE=1 rewrites the pages)",
        complaints.join("\n")
    );
}

#[test]
fn every_component_is_in_the_readme_and_listed_by_the_program() {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is one");
    let out = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("components")
        .output()
        .expect("the program runs");
    assert!(out.status.success(), "{out:?}");
    let listed = String::from_utf8(out.stdout).expect("text");
    for path in components().keys() {
        assert!(
            readme.contains(&format!("(docs/components/{path})")),
            "README.md does not name {path}"
        );
        let name = path.split(['/', '.']).nth(1).expect("kind/name.md");
        assert!(
            listed.contains(&format!("- name: {name}\n")),
            "`weir components` does not list {path}:\n{listed}"
        );
    }
}

/// The keys of a config struct, as its source has them: names of fields, or what serde renames them to.
fn keys(source: &str, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut renamed = None;
    let opening = format!("struct {name} {{");
    let is_opening = |line: &str| line.trim_start_matches("pub ") == opening;
    let body = source
        .lines()
        .skip_while(|line| !is_opening(line))
        .skip(1)
        .take_while(|line| *line != "}");
    for line in body {
        let line = line.trim();
        if line.starts_with("#[serde(rename") {
            renamed = line.split('"').nth(1).map(str::to_owned);
        } else if line.starts_with("#[serde(skip") {
            renamed = Some(String::new());
        } else if !line.starts_with("//")
            && !line.starts_with('#')
            && let Some((field, _)) = line.split_once(": ")
        {
            let field = field.rsplit(' ').next().unwrap_or(field).trim_start_matches("r#");
            found.push(renamed.take().unwrap_or_else(|| field.to_owned()));
        }
    }
    found.retain(|key| !key.is_empty());
    found
}

/// True if a page shows the key in code, by itself or at the end of a path.
fn shows(page: &str, key: &str) -> bool {
    let forms = [
        format!("`{key}`"),
        format!(".{key}`"),
        format!("`{key}."),
        format!(".{key}."),
    ];
    forms.iter().any(|shown| page.contains(shown))
}

/// The text of a module below `src`: its file, or the files of its folder.
fn source_of(module: &str) -> String {
    let base = root().join("src").join(module);
    let mut text = fs::read_to_string(base.with_extension("rs")).unwrap_or_default();
    if let Ok(entries) = fs::read_dir(&base) {
        for entry in entries.flatten() {
            text += &fs::read_to_string(entry.path()).unwrap_or_default();
        }
    }
    text
}

#[test]
fn every_key_of_a_config_is_on_its_page() {
    let folder = root().join("docs/components");
    let shared = [
        ("shared/server.md", "net/blocks", "GrpcServerConfig"),
        ("shared/server.md", "net/blocks", "HttpServerConfig"),
        ("shared/client.md", "net/blocks", "GrpcClientConfig"),
        ("shared/client.md", "net/blocks", "HttpClientConfig"),
        ("shared/tls.md", "net/tls", "ClientTls"),
        ("shared/tls.md", "net/tls", "ServerTls"),
        ("shared/object-store.md", "objects/blocks", "S3"),
        ("shared/object-store.md", "objects/blocks", "Auth"),
        ("shared/object-store.md", "objects/blocks", "Sse"),
        ("shared/object-store.md", "objects/blocks", "S3Tls"),
        ("shared/object-store.md", "objects/blocks", "Directory"),
        ("shared/harness.md", "engine/harness/config", "Retry"),
        ("shared/harness.md", "engine/harness/config", "Queue"),
        ("shared/harness.md", "engine/harness/config", "Batch"),
        ("shared/harness.md", "engine/harness/config", "AuthBlock"),
        ("shared/harness.md", "engine/harness/config", "EndBlock"),
    ];
    let mut sources: Vec<(String, String, &str)> = Vec::new();
    for (page, source, name) in shared {
        let text = source_of(source);
        assert!(!keys(&text, name).is_empty(), "{source} has no {name}");
        sources.push((page.to_owned(), text, name));
    }
    for path in components().into_keys() {
        let text = source_of(path.trim_end_matches(".md"));
        assert!(text.contains("static FACTORY"), "no source for {path}");
        sources.push((path, text, "Config"));
    }
    let mut complaints = Vec::new();
    for (path, source, name) in sources {
        let page = fs::read_to_string(folder.join(&path)).unwrap_or_default();
        for key in keys(&source, name) {
            if !shows(&page, &key) {
                complaints.push(format!("docs/components/{path}: does not show `{key}`"));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn keys_are_read_from_a_struct() {
    let source = "struct Other {\n    pub no: u8,\n}\npub struct Config {\n    /// Text: with a colon.\n    pub path: String,\n    #[serde(rename = \"type\")]\n    kind: String,\n    #[serde(skip)]\n    inner: u8,\n}\n";
    assert_eq!(keys(source, "Config"), ["path", "type"]);
    assert_eq!(keys(source, "Other"), ["no"]);
    assert!(shows("| `a.b.path` |", "path") && shows("`path`", "path") && !shows("path `paths`", "path"));
}

/// Targets of the links in a page, `[text](target)`, but those to other places.
fn links(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in page.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        }
        if !in_code {
            found.extend(line.split("](").skip(1).filter_map(|rest| rest.split(')').next()));
        }
    }
    found.retain(|target| !target.contains("://") && !target.starts_with('#'));
    found
}

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of ours").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let skipped = ["target", ".git", "node_modules", ".venv"]
            .iter()
            .any(|s| name == *s);
        if path.is_dir() && !skipped {
            pages(&path, found);
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let mut all = Vec::new();
    pages(&root(), &mut all);
    let mut complaints = Vec::new();
    for path in all {
        let page = fs::read_to_string(&path).expect("a page is text");
        let folder = path.parent().expect("a page lies in a folder");
        for target in links(&page) {
            let file = target.split('#').next().unwrap_or(target);
            if !folder.join(file).exists() {
                complaints.push(format!("{}: {target} leads nowhere", path.display()));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn what_a_page_lacks_is_found_and_can_be_written() {
    let facts = facts(
        "Exporter",
        "a",
        &["b"],
        &[
            ("traces".to_owned(), Stability::Alpha),
            ("logs".to_owned(), Stability::Beta),
        ],
    );
    let page = "# Exporter `a`\n\nSignals: logs\n\nText.\n";
    assert_eq!(
        lacks(page, &facts),
        [
            "lacks the line: Signals: logs Beta, traces Alpha",
            "lacks the line: Also spelled `b`"
        ]
    );
    let page = updated(page, &facts);
    assert_eq!(
        page,
        "# Exporter `a`\n\nSignals: logs Beta, traces Alpha\n\nAlso spelled `b`\n\nText.\n"
    );
    assert_eq!(lacks(&page, &facts), Vec::<String>::new());
    assert_eq!(updated(&page, &facts), page);
}

#[test]
fn links_are_read_outside_of_code() {
    let page =
        "see [a](x.md), [b](y.md#part) and [c](https://example.com)\n```\n[d](z.md)\n```\n[e](#here)\n";
    assert_eq!(links(page), ["x.md", "y.md#part"]);
}

//! `weir components`: what is in this binary, in the collector's shape.

use std::fmt::Write;

use component::{ConnectorFactory, ExporterFactory, ExtensionFactory, ProcessorFactory, ReceiverFactory};

use crate::service::INFO;
use crate::service::providers::SCHEMES;
use crate::service::registry::Factory;

/// Prints the list as YAML.
pub(super) fn list() -> Result<(), String> {
    super::say(text().trim_end());
    Ok(())
}

/// Four blanks an indent, entries by name, aliases and profiles left out: as the collector does.
fn text() -> String {
    let mut out = format!(
        "buildinfo:\n    command: {}\n    description: {}\n    version: {}\n",
        INFO.command,
        env!("CARGO_PKG_DESCRIPTION"),
        INFO.version
    );
    const SIGNALS: [&str; 3] = ["logs", "metrics", "traces"];
    let one: Vec<String> = SIGNALS.map(str::to_owned).to_vec();
    let pairs: Vec<String> = SIGNALS
        .iter()
        .flat_map(|from| SIGNALS.iter().map(move |to| format!("{from}-to-{to}")))
        .collect();
    section::<ReceiverFactory>(&mut out, &one);
    section::<ProcessorFactory>(&mut out, &one);
    section::<ExporterFactory>(&mut out, &one);
    section::<ConnectorFactory>(&mut out, &pairs);
    section::<ExtensionFactory>(&mut out, &["extension".to_owned()]);
    out.push_str("providers:\n");
    for scheme in SCHEMES {
        let _ = writeln!(
            out,
            "    - scheme: {scheme}\n      module: weir/service {}",
            INFO.version
        );
    }
    out
}

fn section<F: Factory>(out: &mut String, whats: &[String]) {
    let mut all: Vec<_> = F::all().iter().collect();
    all.sort_by_key(|f| f.kind());
    let _ = writeln!(out, "{}:", F::SECTION);
    for factory in all {
        let _ = writeln!(out, "    - name: {}", factory.kind());
        let _ = writeln!(out, "      module: weir/{} {}", F::SECTION, INFO.version);
        out.push_str("      stability:\n");
        let known = factory.stability();
        for what in whats {
            let found = known.iter().find(|(w, _)| w == what);
            let stability = found.map_or("Undefined", |(_, stability)| stability.as_str());
            let _ = writeln!(out, "        {what}: {stability}");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_every_factory_once_and_in_order() {
        let text = super::text();
        for name in ["otlp", "redaction", "otlp_grpc", "forward", "health_check"] {
            assert_eq!(
                text.matches(&format!("- name: {name}\n")).count(),
                1,
                "{name} in\n{text}"
            );
        }
        assert!(!text.contains("otlphttp"), "aliases are not listed");
        assert!(!text.contains("profiles:"), "profiles are not listed");
    }

    #[test]
    fn every_entry_has_the_collectors_keys() {
        let text = super::text();
        let version = super::INFO.version;
        assert!(text.contains(&format!(
            "    - name: otlp\n      module: weir/receivers {version}\n      stability:\n        logs: Alpha\n        \
             metrics: Alpha\n        traces: Alpha\n"
        )));
        let at = text.find("    - name: forward\n").expect("the connector");
        let forward: Vec<&str> = text[at..].lines().skip(3).take(9).map(str::trim).collect();
        assert_eq!(forward[1], "logs-to-metrics: Undefined");
        assert_eq!(forward[8].split(':').next(), Some("traces-to-traces"));
        assert!(text.ends_with(&format!(
            "    - scheme: yaml\n      module: weir/service {version}\n"
        )));
        assert_eq!(text.matches("    - scheme: ").count(), 5);
    }
}

//! `weir components`: what is in this binary, in the collector's shape.

use std::fmt::Write;

use component::{ConnectorFactory, ExporterFactory, ExtensionFactory, ProcessorFactory, ReceiverFactory};

use crate::service::INFO;
use crate::service::registry::Factory;

/// Prints the list as YAML.
pub(super) fn list() -> Result<(), String> {
    super::say(text().trim_end());
    Ok(())
}

fn text() -> String {
    let mut out = format!(
        "buildinfo:\n    command: {}\n    description: {}\n    version: {}\n",
        INFO.command,
        env!("CARGO_PKG_DESCRIPTION"),
        INFO.version
    );
    section::<ReceiverFactory>(&mut out);
    section::<ProcessorFactory>(&mut out);
    section::<ExporterFactory>(&mut out);
    section::<ConnectorFactory>(&mut out);
    section::<ExtensionFactory>(&mut out);
    out.push_str("providers:\n");
    for scheme in ["env", "file", "yaml"] {
        let _ = writeln!(
            out,
            "    - scheme: {scheme}\n      module: weir/service {}",
            INFO.version
        );
    }
    out
}

fn section<F: Factory>(out: &mut String) {
    let mut all: Vec<_> = F::all().iter().collect();
    all.sort_by_key(|f| f.kind());
    let _ = writeln!(out, "{}:", F::SECTION);
    for factory in all {
        let _ = writeln!(out, "    - name: {}", factory.kind());
        let _ = writeln!(out, "      module: weir/{} {}", F::SECTION, INFO.version);
        out.push_str("      stability:\n");
        for (what, stability) in factory.stability() {
            let _ = writeln!(out, "          {what}: {}", stability.as_str());
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
    }
}

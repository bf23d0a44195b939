//! Finds the factory of a type name; nothing else knows component names.
//!
//! The five tables stand in the component crates (`ALL`). A name is found by its canonical spelling, by an alias, or
//! with the underscores left out (the collector is renaming `filelog` to `file_log` and so on).

use component::{
    ConnectorFactory, ExporterFactory, ExtensionFactory, ProcessorFactory, ReceiverFactory, Stability,
};
use config::{ComponentId, Diags, Section, Shape};
use wire::Signal;

use super::known;

/// What the five kinds of factory have in common.
pub trait Factory: Sync + 'static {
    /// `receivers`, ... as the section of the config is called.
    const SECTION: &'static str;
    /// Every factory of the kind.
    fn all() -> &'static [&'static Self];
    /// Canonical name.
    fn kind(&self) -> &'static str;
    /// Other spellings.
    fn aliases(&self) -> &'static [&'static str];
    /// The blocks of keys that it reads, those of the engine around it included.
    fn keys(&self) -> Vec<Shape>;
    /// `logs: Beta`, ... as `weir components` shows it.
    fn stability(&self) -> Vec<(String, Stability)>;
}

fn by_signal(signals: &[(Signal, Stability)]) -> Vec<(String, Stability)> {
    signals
        .iter()
        .map(|(signal, stability)| (signal.as_str().to_owned(), *stability))
        .collect()
}

macro_rules! factory {
    ($factory:ty, $section:literal, $all:expr, $around:expr, $stability:expr) => {
        impl Factory for $factory {
            const SECTION: &'static str = $section;
            fn all() -> &'static [&'static Self] {
                $all
            }
            fn kind(&self) -> &'static str {
                self.kind
            }
            fn aliases(&self) -> &'static [&'static str] {
                self.aliases
            }
            fn keys(&self) -> Vec<Shape> {
                let around: fn(&Self) -> Vec<Shape> = $around;
                let mut keys = around(self);
                keys.extend_from_slice(self.keys);
                keys
            }
            fn stability(&self) -> Vec<(String, Stability)> {
                let stability: fn(&Self) -> Vec<(String, Stability)> = $stability;
                stability(self)
            }
        }
    };
}

factory!(
    ReceiverFactory,
    "receivers",
    receivers::ALL,
    |_| Vec::new(),
    |f| by_signal(f.signals)
);
factory!(
    ProcessorFactory,
    "processors",
    processors::ALL,
    |_| Vec::new(),
    |f| by_signal(f.signals)
);
factory!(
    ExporterFactory,
    "exporters",
    exporters::ALL,
    |f| engine::harness::config::keys(&f.harness),
    |f| by_signal(f.signals)
);
factory!(
    ConnectorFactory,
    "connectors",
    connectors::ALL,
    |_| Vec::new(),
    |f| {
        f.signals
            .iter()
            .map(|(from, to, s)| (format!("{}-to-{}", from.as_str(), to.as_str()), *s))
            .collect()
    }
);
factory!(
    ExtensionFactory,
    "extensions",
    extensions::ALL,
    |_| Vec::new(),
    |f| vec![("extension".to_owned(), f.stability)]
);

/// A factory, and whether it was asked for under a name that will go.
pub struct Found<F: 'static> {
    /// The factory.
    pub factory: &'static F,
    /// True if the name was not the canonical one.
    pub by_alias: bool,
}

/// Looks a type name up.
pub fn find<F: Factory>(name: &str) -> Option<Found<F>> {
    let plain = |s: &str| s.replace('_', "");
    let exact = F::all()
        .iter()
        .find(|f| f.kind() == name || f.aliases().contains(&name));
    let found = exact.or_else(|| F::all().iter().find(|f| plain(f.kind()) == plain(name)))?;
    Some(Found {
        factory: found,
        by_alias: found.kind() != name,
    })
}

/// The fault for a type that no factory has, in the collector's words, with what to do about it.
pub fn unknown<F: Factory>(id: &ComponentId, section: &Section) -> Diags {
    let mut names: Vec<&str> = F::all().iter().map(|f| f.kind()).collect();
    names.sort_unstable();
    let Diags(mut faults) = section.type_fault(id, &names);
    let known = known::answer(F::SECTION, &id.kind);
    for fault in &mut faults {
        let help = known
            .map(|answer| answer.advice(F::SECTION, &id.kind))
            .or(fault.help.take());
        fault.help = Some(help.unwrap_or_else(|| {
            "no published collector is known to have it; docs/components/types.md lists what is here".into()
        }));
    }
    Diags(faults)
}

//! Receiver `nop`: receives nothing. No keys.

use component::prelude::*;

/// `nop`.
pub static FACTORY: ReceiverFactory = ReceiverFactory {
    kind: "nop",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Stable),
        (Signal::Metrics, Stability::Stable),
        (Signal::Logs, Stability::Stable),
        (Signal::Profiles, Stability::Alpha),
    ],
    build: |section, _| {
        section.parse::<Config>()?;
        Ok(Arc::new(Nop))
    },
};

/// `nop` has no keys.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

struct Nop;

impl Receiver for Nop {
    fn start<'a>(&'a self, _: Outputs, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        ready(Ok(()))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}

#[cfg(test)]
mod tests {
    component::component_tests!(super::FACTORY);
}

//! Extension `health_check`: tells probes whether the service runs; the keys and both versions stand in [`crate::health`].

use component::prelude::*;

use crate::health;

/// `health_check`.
pub(crate) static FACTORY: ExtensionFactory = ExtensionFactory {
    kind: "health_check",
    aliases: &[],
    keys: health::KEYS,
    stability: Stability::Alpha,
    build: health::build,
};

#[cfg(test)]
mod tests {
    use super::*;

    component::component_tests!(FACTORY, "endpoint: localhost:0");
}

//! Extension `healthcheckv2`: tells how the whole and its parts are; the keys and both versions stand in [`crate::health`].

use component::prelude::*;

use crate::health;

/// `healthcheckv2`.
pub(crate) static FACTORY: ExtensionFactory = ExtensionFactory {
    kind: "healthcheckv2",
    aliases: &[],
    keys: health::KEYS,
    stability: Stability::Alpha,
    build: health::build,
};

#[cfg(test)]
mod tests {
    use super::*;

    component::component_tests!(
        FACTORY,
        "use_v2: true\nhttp: {endpoint: 'localhost:0'}\ngrpc: {endpoint: 'localhost:0'}"
    );
}

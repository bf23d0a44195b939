//! Extension `pprof`: accepted, so that a collector's configuration loads; nothing is served.
//!
//! Go's profiles have no meaning here. One line in the log says so at start.

use component::prelude::*;
use net::blocks::Dialer;

use crate::inert::Inert;

/// `pprof`.
pub(crate) static FACTORY: ExtensionFactory = ExtensionFactory {
    kind: "pprof",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    stability: Stability::Development,
    build: |section, cx| {
        section.parse::<Config>()?;
        let text = "pprof is accepted and serves nothing: this process has no Go profiles; use perf or a heap profiler";
        Ok(Arc::new(Inert::new(cx, text)))
    },
};

/// `pprof`: keys without effect.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Default `localhost:1777`.
    pub(crate) endpoint: String,
    /// Without effect.
    pub(crate) dialer: Dialer,
    /// Without effect.
    pub(crate) block_profile_fraction: i64,
    /// Without effect.
    pub(crate) mutex_profile_fraction: i64,
    /// Without effect.
    pub(crate) save_to_file: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            endpoint: "localhost:1777".into(),
            dialer: Dialer::default(),
            block_profile_fraction: 0,
            mutex_profile_fraction: 0,
            save_to_file: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use component::test_kit::{context, section};

    use super::*;

    component::component_tests!(FACTORY);

    #[test]
    fn takes_the_collectors_keys() {
        let yaml = "{endpoint: '0.0.0.0:1777', dialer: {timeout: 1s}, block_profile_fraction: 3, \
                    mutex_profile_fraction: 5, save_to_file: x}";
        assert!((FACTORY.build)(section(yaml), &context("pprof")).is_ok());
    }
}

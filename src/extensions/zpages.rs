//! Extension `zpages`: accepted, so that a collector's configuration loads; nothing is served.
//!
//! What its pages show is told by `weir plan`, the ledger and the metrics. One line in the log says so at start.

use component::prelude::*;
use net::HttpServerConfig;

use crate::inert::Inert;

/// `zpages`.
pub(crate) static FACTORY: ExtensionFactory = ExtensionFactory {
    kind: "zpages",
    aliases: &[],
    keys: &[Shape::of::<HttpServerConfig>(), Shape::of::<Config>()],
    stability: Stability::Development,
    build: |mut section, cx| {
        section.default_to("endpoint", "localhost:55679")?;
        let net: HttpServerConfig = section.take()?;
        if net.endpoint.is_empty() {
            let text = "\"endpoint\" is required when using the \"zpages\" extension";
            return Err(section.fault("endpoint", text).into());
        }
        section.check(&net)?;
        section.parse::<Config>()?;
        let text = "zpages is accepted and serves nothing: see `weir plan`, the metrics and the health check instead";
        Ok(Arc::new(Inert::new(cx, text)))
    },
};

/// `zpages`: beside the keys of an HTTP server, endpoint `localhost:55679`; without effect.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Without effect.
    pub(crate) expvar: Expvar,
}

/// `expvar`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Expvar {
    /// Default false.
    pub(crate) enabled: bool,
}

#[cfg(test)]
mod tests {
    use component::test_kit::{context, faults, section};

    use super::*;

    component::component_tests!(FACTORY);

    #[test]
    fn takes_the_collectors_keys() {
        let yaml = "{endpoint: '0.0.0.0:55679', expvar: {enabled: true}}";
        assert!((FACTORY.build)(section(yaml), &context("zpages")).is_ok());
        let told = faults((FACTORY.build)(section("endpoint: ''"), &context("zpages")));
        assert!(
            told.contains("\"endpoint\" is required when using the \"zpages\" extension"),
            "{told}"
        );
    }
}

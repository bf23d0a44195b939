//! Connector `forward`: hands on what comes, to join or to fan out pipelines of one signal. No keys.

use component::prelude::*;

/// `forward`.
pub static FACTORY: ConnectorFactory = ConnectorFactory {
    kind: "forward",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Signal::Traces, Stability::Beta),
        (Signal::Metrics, Signal::Metrics, Stability::Beta),
        (Signal::Logs, Signal::Logs, Stability::Beta),
        (Signal::Profiles, Signal::Profiles, Stability::Alpha),
    ],
    hold: Hold::PassThrough,
    // Nothing to add: whoever calls us calls the next one, and gets its answer.
    build: |section, _, joint| {
        section.parse::<Config>()?;
        Ok(Connector::Plain(joint.next))
    },
};

/// `forward` has no keys.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

#[cfg(test)]
mod tests {
    use component::test_kit::{Branches, context, section};

    use super::*;

    component::component_tests!(FACTORY);

    #[test]
    fn is_its_next() {
        let cx = context("forward");
        let joint = Branches::new(&["logs"]).joint(&cx.telemetry, Signal::Logs, Signal::Logs);
        let next = joint.next.clone();
        match (FACTORY.build)(section("{}"), &cx, joint).unwrap() {
            Connector::Plain(built) => assert!(Arc::ptr_eq(&built, &next)),
            Connector::Node(_) => panic!("it owns nothing"),
        }
    }

    #[test]
    fn keeps_the_signal() {
        assert!(FACTORY.signals.iter().all(|(from, to, _)| from == to));
        assert_eq!(FACTORY.signals.len(), Signal::ALL.len());
    }
}

//! Exporter `nop`: takes everything and keeps nothing. No keys of its own, no queue, no retry.

use component::prelude::*;

/// `nop`.
pub static FACTORY: ExporterFactory = ExporterFactory {
    kind: "nop",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Stable),
        (Signal::Metrics, Stability::Stable),
        (Signal::Logs, Stability::Stable),
        (Signal::Profiles, Stability::Alpha),
    ],
    harness: Harness {
        queue: Block::Absent,
        retry: Block::Absent,
        timeout_ms: None,
        batch_bytes_max: None,
        also_in: &[],
        storage: false,
        prepare: None,
        instead: None,
    },
    build: |section, _| {
        section.parse::<Config>()?;
        Ok(Exporter::Push(Arc::new(Nop)))
    },
};

/// `nop` has no keys.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

struct Nop;

impl Push for Nop {
    fn export<'a>(&'a self, _: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        ready(Ok(Outcome::all()))
    }
}

#[cfg(test)]
mod tests {
    use component::test_kit::{context, section};
    use wire::Shape;

    use super::*;

    component::component_tests!(FACTORY);

    #[tokio::test]
    async fn takes_everything() {
        let Exporter::Push(nop) = (FACTORY.build)(section("{}"), &context("nop")).unwrap() else {
            panic!("not a push");
        };
        let chunk = Chunk::new(bytes::Bytes::from_static(b"anything"), Shape::default());
        let payload = Payload::new(Signal::Logs, chunk, Arc::new(Context::default()));
        assert_eq!(nop.export(&payload).await.unwrap(), Outcome::all());
    }
}

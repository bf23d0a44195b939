//! Processor `batch`: not a node of the pipeline, but a wish how its exporters gather what they send.
//!
//! The plan moves the policy below the exporters' queues, so that a caller is answered by the queue and not by a batch in
//! memory. Keys, defaults and units are those of the collector's batch processor.

use component::prelude::*;

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "batch",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Beta),
        (Signal::Metrics, Stability::Beta),
        (Signal::Logs, Stability::Beta),
    ],
    hold: Hold::PassThrough,
    build: |section, _cx, _signal| {
        let config: Config = section.parse_valid()?;
        Ok(Processor::Flush(config.policy()))
    },
};

/// `batch`: when exporters send what they gathered.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Send once this many items (log records, spans, data points) are there. A trigger, not a cap. Default 8192.
    pub send_batch_size: u32,
    /// Send what is there after this long; 0 = send at once. Default 200ms.
    pub timeout: Duration,
    /// No batch has more items than this; 0 = no limit, the default.
    pub send_batch_max_size: u32,
    /// Client metadata whose values must not meet in one batch.
    pub metadata_keys: Vec<String>,
    /// Most combinations of those values; 0 = no limit. Default 1000.
    pub metadata_cardinality_limit: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            send_batch_size: 8192,
            timeout: Duration(std::time::Duration::from_millis(200)),
            send_batch_max_size: 0,
            metadata_keys: Vec::new(),
            metadata_cardinality_limit: 1000,
        }
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        if self.send_batch_max_size > 0 && self.send_batch_max_size < self.send_batch_size {
            faults.push((
                "send_batch_max_size".into(),
                "send_batch_max_size must be greater or equal to send_batch_size".into(),
            ));
        }
        let mut seen: Vec<String> = Vec::new();
        for key in &self.metadata_keys {
            let lower = key.to_lowercase();
            if seen.contains(&lower) {
                let message = format!("duplicate entry in metadata_keys: \"{lower}\" (case-insensitive)");
                faults.push(("metadata_keys".into(), message));
            }
            seen.push(lower);
        }
    }
}

impl Config {
    fn policy(self) -> FlushPolicy {
        let at_once = self.timeout.0.is_zero();
        FlushPolicy {
            items_min: if at_once { 0 } else { self.send_batch_size as usize },
            items_max: (self.send_batch_max_size > 0).then_some(self.send_batch_max_size as usize),
            bytes_min: None,
            bytes_max: None,
            timeout: self.timeout.0,
            metadata_keys: self.metadata_keys,
            cardinality_max: (self.metadata_cardinality_limit > 0)
                .then_some(self.metadata_cardinality_limit as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<FlushPolicy, String> {
        let config: Config = Section::from_yaml(yaml)
            .and_then(Section::parse_valid)
            .map_err(|e| e.to_string())?;
        Ok(config.policy())
    }

    #[test]
    fn defaults_match_otelcol() {
        let expected = FlushPolicy {
            items_min: 8192,
            items_max: None,
            bytes_min: None,
            bytes_max: None,
            timeout: std::time::Duration::from_millis(200),
            metadata_keys: vec![],
            cardinality_max: Some(1000),
        };
        assert_eq!(parse(""), Ok(expected.clone()));
        assert_eq!(parse("{}"), Ok(expected));
    }

    #[test]
    fn a_policy_follows_from_the_keys() {
        let policy = parse(
            "send_batch_size: 10\nsend_batch_max_size: 11\ntimeout: 1s\nmetadata_keys: [a, b]\nmetadata_cardinality_limit: 0",
        )
        .unwrap();
        assert_eq!((policy.items_min, policy.items_max), (10, Some(11)));
        assert_eq!(policy.timeout, std::time::Duration::from_secs(1));
        assert_eq!(policy.metadata_keys, ["a", "b"]);
        assert_eq!(policy.cardinality_max, None);
        assert_eq!(
            parse("timeout: 0s").unwrap().items_min,
            0,
            "no timeout: sent at once"
        );
    }

    #[test]
    fn faults_are_told_in_the_collectors_words() {
        for (yaml, expected) in [
            (
                "send_batch_size: 10\nsend_batch_max_size: 9",
                "send_batch_max_size must be greater or equal to send_batch_size",
            ),
            (
                "metadata_keys: [A, a]",
                "duplicate entry in metadata_keys: \"a\" (case-insensitive)",
            ),
            ("send_batch_sise: 1", "send_batch_size"),
        ] {
            let error = parse(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
}

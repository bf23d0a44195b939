//! Processor `resource`: acts on the attributes of resources.
//!
//! Keys, defaults and results are those of the collector's resource processor; the actions are those of `attributes`.

use component::prelude::*;
use wire::view::{Kind, View};

use crate::actions::{self, Actions};

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "resource",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Beta),
        (Signal::Metrics, Stability::Beta),
        (Signal::Logs, Stability::Beta),
    ],
    hold: Hold::PassThrough,
    build: |section, _cx, _signal| {
        let config: Config = section.clone().parse()?;
        Ok(Processor::Tree(Arc::new(Resource::new(&config, &section)?)))
    },
};

/// `resource`: what is done to each resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is done, in order. Required.
    pub attributes: Vec<actions::Config>,
}

struct Resource {
    actions: Actions,
    pool: actions::Pool,
}

impl Resource {
    fn new(config: &Config, section: &Section) -> Result<Resource, Fault> {
        if config.attributes.is_empty() {
            return Err(section
                .fault("attributes", "missing required field \"attributes\"")
                .into());
        }
        let actions = Actions::new(&config.attributes).map_err(|list| {
            let each = list
                .into_iter()
                .map(|(i, what)| section.diag(&format!("attributes.{i}"), what));
            config::Diags(each.collect())
        })?;
        Ok(Resource {
            actions,
            pool: actions::Pool::default(),
        })
    }
}

impl Tree for Resource {
    fn touches(&self) -> Touches {
        Touches {
            depth: Depth::Resource,
            reads_content: true,
            drops_unknown: false,
            writes: true,
        }
    }

    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        self.pool.with(&self.actions, cx.context, |s| {
            for n in view.nodes() {
                if view.kind(n) == Kind::Resource && !view.is_removed(n) {
                    self.actions.run(view, n, s);
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use opentelemetry_proto::tonic::resource::v1::Resource as Message;
    use prost::Message as _;

    use super::*;
    use crate::test_kit::{logs, map, run, show};

    fn build(yaml: &str) -> Result<Resource, String> {
        let section = Section::from_yaml(yaml).map_err(|e| e.to_string())?;
        let config: Config = section.clone().parse().map_err(|e| e.to_string())?;
        Resource::new(&config, &section).map_err(|e| e.to_string())
    }

    #[test]
    fn acts_on_resources_alone() {
        let mut request = logs(LogRecord {
            attributes: map("{a: 1}"),
            ..Default::default()
        });
        request.resource_logs[0].resource = Some(Message {
            attributes: map("{a: 1, b: 2}"),
            ..Default::default()
        });
        // A group that names no resource has an empty one, as in the collector.
        request
            .resource_logs
            .push(logs(LogRecord::default()).resource_logs[0].clone());
        let stage = build(
            "{attributes: [{key: cluster, value: eu-1, action: upsert}, {key: a, action: delete}, \
             {key: c, from_attribute: b, action: insert}]}",
        )
        .unwrap();
        let out = run(&stage, Signal::Logs, &request.encode_to_vec());
        let out = ExportLogsServiceRequest::decode(&out[..]).unwrap();
        let resource = |i: usize| {
            let resource = out.resource_logs[i].resource.clone();
            show(&resource.unwrap_or_default().attributes)
        };
        assert_eq!(resource(0), "{cluster:\"eu-1\", b:2, c:2}");
        assert_eq!(resource(1), "{cluster:\"eu-1\"}");
        let record = &out.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!(show(&record.attributes), "{a:1}");
    }

    #[test]
    fn needs_actions() {
        for (yaml, expected) in [
            ("{}", "attributes"),
            ("{attributes: [{key: a, action: insert}]}", "0-th"),
            ("{actions: []}", "attributes"),
        ] {
            let error = build(yaml).err().unwrap();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
}

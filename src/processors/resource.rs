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
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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

//! Our own blocks of `service` that say how long it lives: `reload`, `shutdown`.

use std::collections::BTreeMap;
use std::time::Duration;

use config::{Diags, Section};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `service::reload`: when the configuration is read again without being asked.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// How often the files of the configuration are looked at. Default 0s: never; SIGHUP works all the same.
    pub watch: config::Duration,
}

/// `service::shutdown`: how the service stops.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// How long requests in flight and queues have. Default 30s. What queues in memory still hold then is booked as
    /// failed, what is on disk stays.
    pub deadline: config::Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            deadline: config::Duration(Duration::from_secs(30)),
        }
    }
}

/// Our own blocks of `service`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Life {
    /// `reload`.
    pub reload: Reload,
    /// `shutdown`.
    pub shutdown: Shutdown,
}

impl Life {
    /// Reads what is there of the blocks. Errors: all faults.
    pub fn read(own: &BTreeMap<&'static str, Section>) -> Result<Life, Diags> {
        fn block<T: config::Keys + Default>(section: Option<&Section>, faults: &mut Vec<config::Diag>) -> T {
            let read = section.map(|section| section.clone().parse());
            let read = read.transpose().map_err(|Diags(more)| faults.extend(more));
            read.ok().flatten().unwrap_or_default()
        }
        let mut faults = Vec::new();
        let life = Life {
            reload: block(own.get("reload"), &mut faults),
            shutdown: block(own.get("shutdown"), &mut faults),
        };
        Diags::check(faults)?;
        Ok(life)
    }
}

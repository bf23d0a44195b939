//! Processor `tail_sampling`: holds spans until their trace is there, then keeps or drops it whole.
//!
//! Keys, defaults and decisions are those of the collector's processor (v0.155). Spans are held as parts of the requests
//! they came in, by trace and tenant, spread over shards that decide side by side; memory is bounded by `num_traces` and
//! by the budget for held data, over which new spans are refused. Beside the collector: `storage` keeps what is held on
//! disk, `keep` and `budgets` stand above and below the policies, and the books name why spans were dropped.

mod config;

use component::prelude::*;

pub use config::Config;

use crate::traces::meters::Meters;
use crate::traces::node::Settings;
use crate::traces::{gathering, shards};

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "tail_sampling",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[(Signal::Traces, Stability::Beta)],
    hold: Hold::HeldVolatile,
    build: |section, cx, _signal| {
        let config: Config = section.clone().parse()?;
        let mut judge = config.judge().map_err(|list| {
            let each = list.into_iter().map(|(key, message)| section.diag(&key, message));
            ::config::Diags(each.collect())
        })?;
        judge.records = cx.gates.is_on(Gates::RECORD_POLICY);
        let names: Vec<String> = judge.policies.iter().map(|p| p.name.clone()).collect();
        let meters = Meters::new(cx, &names);
        Ok(gathering(config.settings(), judge, meters, config.storage, cx))
    },
};

impl Config {
    fn settings(&self) -> Settings {
        let seconds = |wait: Duration| wait.0.as_secs() as usize;
        let traces_max = self.num_traces.clamp(1, 1 << 40) as usize;
        Settings {
            kind: "tail_sampling",
            tick: std::time::Duration::from_secs(1),
            wait_ticks: seconds(self.decision_wait).clamp(1, WAIT_TICKS_MAX),
            root_ticks: match self.decision_wait_after_root_received.0.is_zero() {
                true => None,
                false => Some(seconds(self.decision_wait_after_root_received).min(WAIT_TICKS_MAX)),
            },
            traces_max,
            blocks: self.block_on_overflow,
            at_ingest: self.at_ingest(),
            drops_at_stop: self.drop_pending_traces_on_shutdown,
            trace_bytes_max: self.maximum_trace_size_bytes,
            sampled_cache: self.decision_cache.sampled_cache_size as usize,
            other_cache: self.decision_cache.non_sampled_cache_size as usize,
            forgets: false,
            // A budget is one for all traces, and who waits for room waits for that of all.
            shards: match self.budgets.is_some() || self.block_on_overflow {
                true => 1,
                false => shards(traces_max),
            },
        }
    }
}

/// A day: more is a mistake, and each second costs a list.
const WAIT_TICKS_MAX: usize = 86_400;

#[cfg(test)]
mod tests;

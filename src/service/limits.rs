//! Looks after the memory limiters: reads memory at each one's interval, and reports what has changed.
//!
//! Limiters look at admission too; without this timer a gateway that gets no requests would go on calling itself
//! overloaded.

use std::sync::Arc;

use component::limiter::{ABOVE, Limiter};
use component::{Host, Status};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// Watches until it is dropped.
pub(super) struct Limits(#[expect(dead_code, reason = "dropping it ends the tasks")] JoinSet<()>);

impl Limits {
    /// One timer for each limiter.
    pub(super) fn watch(limiters: Vec<Arc<Limiter>>, host: &Arc<dyn Host>) -> Limits {
        let mut tasks = JoinSet::new();
        for limiter in limiters {
            tasks.spawn(watch(limiter, host.clone()));
        }
        Limits(tasks)
    }
}

async fn watch(limiter: Arc<Limiter>, host: Arc<dyn Host>) {
    let id = limiter.id().to_string();
    let mut ticks = interval(limiter.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = match limiter.check() {
            true => Status::Recoverable(ABOVE.to_owned()),
            false => Status::Ok,
        };
        host.report(&id, status);
    }
}

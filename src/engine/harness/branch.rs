//! A best-effort exporter as a branch of a fan-out: it runs on in tasks of its own, and nobody waits for it.
//!
//! At most [`TASKS_MAX`] payloads are on their way to the exporter (or its queue) at a time, within the memory budget;
//! one that comes on top of that is refused at once. Whoever hands over books the edge when the branch is through.

use std::future::Future;
use std::sync::Arc;

use component::{Class, Memory};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Payloads on their way at the same time.
pub(crate) const TASKS_MAX: usize = 100;

/// The tasks of one best-effort exporter.
pub(crate) struct Branch {
    permits: Arc<Semaphore>,
    memory: Arc<Memory>,
    tasks: Mutex<JoinSet<()>>,
}

impl Branch {
    pub(crate) fn new(memory: &Arc<Memory>) -> Branch {
        Branch {
            permits: Arc::new(Semaphore::new(TASKS_MAX)),
            memory: memory.clone(),
            tasks: Mutex::default(),
        }
    }

    /// Runs the work, which holds so many bytes, in a task; false if there are too many or the gateway stops.
    pub(crate) fn spawn(&self, bytes: usize, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let (Ok(permit), Some(memory)) = (
            self.permits.clone().try_acquire_owned(),
            self.memory.reserve(Class::Waiting, bytes),
        ) else {
            return false;
        };
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            work.await;
            drop((permit, memory));
        });
        true
    }

    /// Takes nothing new, and lets what is on its way arrive until the deadline.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.permits.close();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout_at(deadline, all).await.is_err() {
            tasks.shutdown().await;
        }
    }
}

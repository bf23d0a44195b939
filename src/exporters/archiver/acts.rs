//! What an archive does, as the gateway's audit trail has it.

use std::time::Duration;

use component::Audit;
use component::audit::{Act, Ended};
use component::prelude::*;
use evidence::entry::Worm;
use parking_lot::Mutex;
use tokio::time::Instant;

/// What the store does not permit is told once in so long.
const GATHER: Duration = Duration::from_secs(60);
/// An error's text.
const TEXT_MAX: usize = 300;

/// Tells the trail, if there is one.
pub(super) struct Acts {
    object: String,
    trail: Option<Arc<dyn Audit>>,
    denied: Mutex<Denied>,
}

/// Requests that the store did not permit.
#[derive(Default)]
struct Denied {
    told: Option<Instant>,
    /// Since then.
    times: u64,
    code: String,
}

impl Acts {
    pub(super) fn new(id: &str, trail: Option<Arc<dyn Audit>>) -> Acts {
        Acts {
            object: format!("exporter/{id}"),
            trail,
            denied: Mutex::default(),
        }
    }

    fn tell(&self, name: &'static str, with: impl FnOnce(Act) -> Act) {
        if let Some(trail) = &self.trail {
            trail.tell(with(Act::new(name, self.object.as_str())));
        }
    }

    /// The start-up check found out what the store does with locks.
    pub(super) fn checked(&self, store: &str, worm: &Worm) {
        self.tell("archive.selftest", |act| {
            let canary = worm.canary.as_ref();
            let act = act.with("store", store).with("worm", worm.worm.as_str());
            let act = act.with("canary", canary.map(|canary| canary.key.as_str()));
            act.with("delete_refused", canary.and_then(|canary| canary.delete_refused))
        });
    }

    /// It refused to start there.
    pub(super) fn check_failed(&self, store: &str, error: &str) {
        self.tell("archive.selftest", |act| {
            act.with("store", store)
                .with("error", cut(error))
                .ended(Ended::Failure)
        });
    }

    /// The log is signed with this key from now on, which was made for it or was there.
    pub(super) fn signs(&self, kid: &str, is_new: bool) {
        if is_new {
            self.tell("key.create", |act| {
                act.with("kid", kid).with("operation", "sign_log")
            });
        }
        self.tell("key.use", |act| {
            act.with("kid", kid)
                .with("operation", "sign_log")
                .with("count", 1)
        });
    }

    /// The log names this key as its next one.
    pub(super) fn rotates(&self, kid: &str) {
        self.tell("key.rotate", |act| {
            act.with("kid", kid).with("operation", "sign_log")
        });
    }

    /// Another writer has our name.
    pub(super) fn fenced(&self, why: &str) {
        self.tell("archive.fenced", |act| {
            act.with("error", cut(why)).ended(Ended::Failure)
        });
    }

    /// The store did not permit a request.
    pub(super) fn denied(&self, code: &str) {
        let mut denied = self.denied.lock();
        denied.times += 1;
        code.clone_into(&mut denied.code);
        if denied.told.is_none_or(|told| told.elapsed() >= GATHER) {
            denied.told = Some(Instant::now());
            self.tell_denied(&mut denied);
        }
    }

    /// The store takes requests again: those that it did not permit are told to the last.
    pub(super) fn works(&self) {
        let mut denied = self.denied.lock();
        if denied.times > 0 {
            self.tell_denied(&mut denied);
        }
        denied.told = None;
    }

    fn tell_denied(&self, denied: &mut Denied) {
        let count = std::mem::take(&mut denied.times);
        let code = cut(&denied.code);
        self.tell("archive.put_denied", |act| {
            act.with("code", code).with("count", count).ended(Ended::Denied)
        });
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use component::Consumer;
    use component::audit::Attempt;

    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<(String, u64)>>);

    impl Audit for Told {
        fn tell(&self, act: Act) {
            assert_eq!(act.object, "exporter/archive");
            let count = act.details.get("count").and_then(|n| n.as_u64());
            self.0
                .lock()
                .push((act.name.to_owned(), count.unwrap_or_default()));
        }

        fn denied(&self, _: &Attempt<'_>, _: &'static str) {}

        fn admitted(&self, _: &Attempt<'_>, _: &str) {}

        fn head(&self) -> Option<(u64, [u8; 32])> {
            None
        }

        fn connect(&self, _: Arc<dyn Consumer>) {}

        fn disconnect<'a>(&'a self, _: &'a Arc<dyn Consumer>) -> BoxFuture<'a, ()> {
            ready(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn denials_are_told_once_a_minute_and_to_the_last() {
        let told = Arc::new(Told::default());
        let acts = Acts::new("archive", Some(told.clone()));
        for _ in 0..3 {
            acts.denied("AccessDenied");
        }
        tokio::time::advance(GATHER).await;
        acts.denied("AccessDenied");
        acts.denied("AccessDenied");
        acts.works();
        acts.works();
        acts.denied("AccessDenied");
        let denied = |n| ("archive.put_denied".to_owned(), n);
        assert_eq!(*told.0.lock(), [denied(1), denied(3), denied(1), denied(1)]);
    }

    #[test]
    fn a_key_that_was_made_is_told_before_its_use() {
        let told = Arc::new(Told::default());
        let acts = Acts::new("archive", Some(told.clone()));
        acts.signs("5d6e9680", true);
        acts.signs("5d6e9680", false);
        let names: Vec<String> = told.0.lock().iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, ["key.create", "key.use", "key.use"]);
    }
}

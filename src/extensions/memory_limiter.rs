//! Extension `memory_limiter`: turns requests away before their body is read, while the process uses more memory than
//! it should.
//!
//! The limits, keys and log lines are those of the processor of that name ([`component::limiter`]); servers name the
//! extension in `middlewares`. Clients are told 429 or `RESOURCE_EXHAUSTED`, and unlike in the collector when to come
//! again: without that, OTLP clients drop their data.

use component::limiter::{Config, Limiter};
use component::prelude::*;
use net::auth::{Middleware, TurnedAway};

/// `memory_limiter`.
pub(crate) static FACTORY: ExtensionFactory = ExtensionFactory {
    kind: "memory_limiter",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    stability: Stability::Alpha,
    build: |section, cx| {
        let config: Config = section.parse_valid()?;
        let limiter = cx.memory.limiter("extension", &cx.id, &config);
        Ok(Arc::new(MemoryLimiter(Arc::new(Door(limiter)))))
    },
};

struct MemoryLimiter(Arc<Door>);

struct Door(Arc<Limiter>);

impl Extension for MemoryLimiter {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        ready(Ok(()))
    }

    fn middleware(&self) -> Option<Arc<dyn Middleware>> {
        Some(self.0.clone())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}

impl Middleware for Door {
    fn admit(&self) -> Result<(), TurnedAway> {
        // How many bytes will come nobody knows yet.
        self.0.admit(0).map_err(|refusal| TurnedAway {
            message: refusal.message(),
            retry_after: refusal.retry_after(),
        })
    }
}

#[cfg(test)]
mod tests {
    use component::test_kit::{context, faults, section};

    use super::*;

    component::component_tests!(FACTORY, "check_interval: 1s\nlimit_percentage: 99");

    #[test]
    fn turns_away_above_the_limit_and_says_when_to_come_again() {
        let check = |limits: &str, expected: Result<(), TurnedAway>| {
            let built = (FACTORY.build)(section(limits), &context("memory_limiter"));
            let built = built.unwrap_or_else(|fault| panic!("{fault}"));
            let door = built.middleware().expect("it is a middleware");
            assert_eq!(door.admit(), expected);
        };
        check(
            "{check_interval: 2s, limit_percentage: 100, spike_limit_percentage: 1}",
            Ok(()),
        );
        let away = TurnedAway {
            message: "data refused due to high memory usage".into(),
            retry_after: Some(std::time::Duration::from_secs(2)),
        };
        check(
            "{check_interval: 2s, limit_mib: 2, spike_limit_mib: 1}",
            Err(away),
        );
        let told = faults((FACTORY.build)(section("{}"), &context("memory_limiter")));
        assert!(
            told.contains("'check_interval' must be greater than zero"),
            "{told}"
        );
    }
}

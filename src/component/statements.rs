//! What OTTL programs of components need of the world, and how errors that are ignored are said.

use config::ComponentId;
use ottl::{Env, Time};
use wire::Context;

/// Lends what programs need of the world: the request's context, the clock, random bytes.
pub fn with_env<T>(context: &Context, run: impl FnOnce(&Env<'_>) -> T) -> T {
    let now = || {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Time::new(since.as_secs() as i64, since.subsec_nanos())
    };
    // Zeros would be no random number, but the generator of the process does not fail once it has started.
    let random = |out: &mut [u8]| aws_lc_rs::rand::fill(out).unwrap_or_default();
    run(&Env {
        context,
        now: &now,
        random: &random,
    })
}

/// Errors of one chunk or payload that were ignored: how many, and the first.
#[derive(Debug, Default)]
pub struct Ignored {
    count: u64,
    first: Option<(String, ottl::Error)>,
}

impl Ignored {
    /// Counts an error of this condition or statement.
    pub fn note(&mut self, text: &str, error: &ottl::Error) {
        self.count += 1;
        if self.first.is_none() {
            self.first = Some((text.to_owned(), error.clone()));
        }
    }

    /// Says it, if there was one: a line for all of them.
    pub fn tell(self, component: &ComponentId, what: &'static str) {
        if let Some((text, error)) = self.first {
            tracing::warn!(%component, %error, text, errors = self.count, "{what}");
        }
    }
}

//! A word now and then, on a terminal, while something takes long.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::time::Instant;

use super::text;

const PAUSE: Duration = Duration::from_secs(1);

/// A line that is written over again and again; none where nobody looks.
pub(in crate::cli) struct Progress {
    what: &'static str,
    is_shown: bool,
    seen: u64,
    last: Instant,
}

impl Progress {
    /// Counts up what is said by `what`.
    pub(in crate::cli) fn new(what: &'static str) -> Progress {
        Progress {
            what,
            is_shown: std::io::stderr().is_terminal(),
            seen: 0,
            last: Instant::now(),
        }
    }

    pub(in crate::cli) fn add(&mut self, n: u64) {
        self.seen += n;
        if self.is_shown && self.last.elapsed() >= PAUSE {
            self.last = Instant::now();
            let _ = write!(std::io::stderr(), "\r{} {}", text::grouped(self.seen), self.what);
        }
    }

    /// Leaves the line as if nothing had been there.
    pub(in crate::cli) fn end(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(std::io::stderr(), "\r{:60}\r", "");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

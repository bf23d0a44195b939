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
    /// How many there are, as far as is known by now; 0 if nothing is.
    all: u64,
    last: Instant,
}

impl Progress {
    /// Counts up what is said by `what`.
    pub(in crate::cli) fn new(what: &'static str) -> Progress {
        Progress {
            what,
            is_shown: std::io::stderr().is_terminal(),
            seen: 0,
            all: 0,
            last: Instant::now(),
        }
    }

    /// So many more are there.
    pub(in crate::cli) fn expect(&mut self, n: u64) {
        self.all += n;
    }

    pub(in crate::cli) fn add(&mut self, n: u64) {
        self.seen += n;
        if self.is_shown && self.last.elapsed() >= PAUSE {
            self.last = Instant::now();
            let _ = write!(std::io::stderr(), "\r{}", self.line());
        }
    }

    fn line(&self) -> String {
        let seen = text::grouped(self.seen);
        match self.all.max(self.seen) {
            _ if self.all == 0 => format!("{seen} {}", self.what),
            all => {
                let percent = u128::from(self.seen) * 100 / u128::from(all);
                format!("{seen} of {} {}, {percent} %", text::grouped(all), self.what)
            }
        }
    }

    /// Leaves the line as if nothing had been there.
    pub(in crate::cli) fn end(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(std::io::stderr(), "\r{:80}\r", "");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let check = |all: u64, seen: u64, expected: &str| {
            let mut progress = Progress::new("things looked at");
            progress.expect(all);
            progress.add(seen);
            assert_eq!(progress.line(), expected);
        };
        check(0, 1_200, "1,200 things looked at");
        check(0, 0, "0 things looked at");
        check(4_000, 1_200, "1,200 of 4,000 things looked at, 30 %");
        check(3, 2, "2 of 3 things looked at, 66 %");
        check(3, 3, "3 of 3 things looked at, 100 %");
        check(3, 4, "4 of 4 things looked at, 100 %");
        check(
            u64::MAX,
            1,
            "1 of 18,446,744,073,709,551,615 things looked at, 0 %",
        );
    }
}

//! How the journal is: what it cannot do at present and since when, how much it holds, how long syncs take.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Upper bounds of [`Latency::counts`], in seconds; the last count is of what took longer than all of them.
pub const LATENCY_BOUNDS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// How long something took, how often.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    /// For each bound how often it took at most so long and longer than the bound before, and once more for the rest.
    pub counts: [u64; LATENCY_BOUNDS.len() + 1],
    /// All of it together.
    pub sum: Duration,
}

impl Latency {
    fn add(&mut self, took: Duration) {
        let at = LATENCY_BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        self.counts[at] += 1;
        self.sum += took;
    }
}

/// Something that does not work at present; it is tried again by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What, in words.
    pub error: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

/// How a journal is, and what it has done since it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// The gravest thing that does not work at present.
    pub trouble: Option<Trouble>,
    /// Bytes of all files, with what was set aside for records.
    pub bytes: u64,
    /// Bytes of records that somebody is owed.
    pub live_bytes: u64,
    /// What the files may still grow by. `None` = as far as the disk goes.
    pub free_bytes: Option<u64>,
    /// Done since the opening.
    pub counts: Counts,
    /// Syncs of groups of records: one for all that came together.
    pub syncs: Latency,
}

/// What a journal has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that were written and answered.
    pub appended: u64,
    /// Bytes of these, with what stands around them.
    pub appended_bytes: u64,
    /// Records that were refused, for the disk did not take them.
    pub refused: u64,
    /// Records that were written once more to let a segment go.
    pub copied: u64,
    /// Times that a record could not be read for it is damaged.
    pub damaged: u64,
}

/// The gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Taking records.
    Append,
    /// Noting what is done, and what is sent.
    Note,
    /// Copying forward and removing.
    MakeRoom,
}

#[derive(Default)]
pub(super) struct Condition {
    troubles: [Option<Trouble>; 3],
    pub(super) counts: Counts,
    pub(super) syncs: Latency,
}

impl Condition {
    /// Says whether that is news.
    pub(super) fn fails(&mut self, task: Task, error: &str) -> bool {
        let trouble = &mut self.troubles[task as usize];
        let is_news = trouble.as_ref().is_none_or(|t| t.error != error);
        let since_ms = trouble.as_ref().map_or_else(now_ms, |t| t.since_ms);
        *trouble = Some(Trouble {
            error: error.to_owned(),
            since_ms,
        });
        is_news
    }

    /// Says whether that is news.
    pub(super) fn works(&mut self, task: Task) -> bool {
        self.troubles[task as usize].take().is_some()
    }

    pub(super) fn synced(&mut self, took: Duration) {
        self.syncs.add(took);
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.troubles.iter().flatten().next().cloned()
    }
}

/// Milliseconds since 1970; 0 if the clock says that it is earlier.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_their_bounds() {
        let check = |micros: u64, at: usize| {
            let mut latency = Latency::default();
            latency.add(Duration::from_micros(micros));
            let mut expected = [0; 15];
            expected[at] = 1;
            assert_eq!(latency.counts, expected, "{micros} us");
            assert_eq!(latency.sum, Duration::from_micros(micros));
        };
        check(0, 0);
        check(100, 0);
        check(101, 1);
        check(1000, 3);
        check(4_999, 5);
        check(2_500_000, 13);
        check(2_500_001, 14);
    }

    #[test]
    fn the_gravest_trouble_is_told_until_it_is_over() {
        let mut condition = Condition::default();
        let now = |condition: &Condition| condition.trouble().map(|t| t.error);
        assert!(condition.fails(Task::MakeRoom, "stays"));
        assert_eq!(now(&condition).as_deref(), Some("stays"));
        assert!(condition.fails(Task::Append, "full"));
        assert!(!condition.fails(Task::Append, "full"));
        assert!(condition.fails(Task::Append, "read-only"));
        assert_eq!(now(&condition).as_deref(), Some("read-only"));
        assert!(condition.works(Task::Append));
        assert!(!condition.works(Task::Append));
        assert_eq!(now(&condition).as_deref(), Some("stays"));
        assert!(condition.works(Task::MakeRoom));
        assert_eq!(condition.trouble(), None);
    }
}

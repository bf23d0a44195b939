//! Named places at which a process can be told to die, so that a test meets every order of what lies on the disk.
//!
//! With the feature `crash-points` and `WEIR_CRASH_AT=name` or `name:n` in the environment, the process kills itself
//! with SIGKILL when it passes that point for the n-th time. Without the feature a point is nothing at all.

/// All points of a journal, in the order in which a record meets them.
pub const POINTS: &[&str] = &[
    "journal.rotate.after_create",
    "journal.rotate.after_header",
    "journal.rotate.after_names_sync",
    "journal.append.before_write",
    "journal.append.before_sync",
    "journal.append.before_publish",
    "journal.append.before_answer",
    "journal.append.after_answer",
    "journal.seal.before_index",
    "journal.seal.after_index",
    "journal.done.before_write",
    "journal.done.after_write",
    "journal.done.after_sync",
    "journal.mark.before_write",
    "journal.mark.after_write",
    "journal.claim.before_write",
    "journal.claim.after_write",
    "journal.claim.after_sync",
    "journal.claim.before_rename",
    "journal.claim.after_rename",
    "journal.copy.before_sync",
    "journal.copy.after_sync",
    "journal.copy.after_publish",
    "journal.remove.before",
    "journal.remove.after_records",
    "journal.remove.after_log",
    "journal.table.before_rename",
    "journal.table.after_rename",
    "journal.blob.before_rename",
    "journal.blob.after_rename",
];

/// Points of an archive that each object passes, in this order.
pub const ARCHIVE_POINTS: &[&str] = &[
    "archive.frame",
    "archive.seal.before",
    "archive.seal.after",
    "archive.sealed",
    "archive.claimed",
    "archive.put",
    "archive.put.line",
    "archive.entry",
    "archive.logged",
    "archive.segment",
    "archive.checkpoint",
    "archive.covered",
    "archive.complete",
];

/// Passes a point.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// Passes a point, and does not come back if this is the one.
#[cfg(feature = "crash-points")]
pub fn point(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static AT: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSES: AtomicU64 = AtomicU64::new(0);

    let at = AT.get_or_init(|| std::env::var("WEIR_CRASH_AT").ok().and_then(|text| parse(&text)));
    if let Some((at, nth)) = at
        && at == name
        && PASSES.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal is on its way; nothing may happen meanwhile.
        loop {
            std::thread::park();
        }
    }
}

/// Which point, and at which pass of it.
#[cfg(any(test, feature = "crash-points"))]
fn parse(text: &str) -> Option<(String, u64)> {
    let (name, nth) = match text.split_once(':') {
        Some((name, nth)) => (name, nth.parse().ok().filter(|n| *n > 0)?),
        None => (text, 1),
    };
    let known = POINTS.contains(&name) || ARCHIVE_POINTS.contains(&name);
    known.then(|| (name.to_owned(), nth))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_point_is_named_with_its_pass() {
        let check = |text: &str, expected: Option<(&str, u64)>| {
            assert_eq!(
                parse(text),
                expected.map(|(name, nth)| (name.to_owned(), nth)),
                "{text}"
            );
        };
        check(
            "journal.append.before_sync",
            Some(("journal.append.before_sync", 1)),
        );
        check(
            "journal.append.before_sync:7",
            Some(("journal.append.before_sync", 7)),
        );
        check("archive.put:2", Some(("archive.put", 2)));
        for bad in [
            "",
            "journal",
            "journal.append.before_sync:0",
            "journal.append.before_sync:x",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn the_list_is_what_the_code_passes() {
        let code = [
            include_str!("journal/append.rs"),
            include_str!("journal/blob.rs"),
            include_str!("journal/claim.rs"),
            include_str!("journal/log.rs"),
            include_str!("journal/mark.rs"),
            include_str!("journal/room.rs"),
            include_str!("journal/table.rs"),
        ]
        .concat();
        let passed: BTreeSet<&str> = code
            .split("\"journal.")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        let listed: BTreeSet<&str> = POINTS
            .iter()
            .filter_map(|name| name.strip_prefix("journal."))
            .collect();
        assert_eq!(passed, listed);
    }
}

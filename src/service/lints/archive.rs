//! Retentions that cannot be taken back, and classes that hold nothing: said while nothing is locked yet.

use config::{Diag, Effective, Section};

use super::Parts;

const NOTHING: Effective = Effective::Null;
const YEAR_S: u64 = 365 * 86_400;
/// Beyond it a lock that nobody can lift is more often a mistake than a wish.
const YEARS_MAX: u64 = 10;
/// With less memory for each open object frames get small, and compress worse.
const BUFFER_BYTES_MIN: u64 = 24 << 10;

pub(super) fn lint(parts: &Parts, found: &mut Vec<Diag>) {
    for (id, section) in parts.of_kind("exporters") {
        let whole = section.effective();
        let (below, value) = match id.kind.as_str() {
            "archive" => ("", &whole),
            "awss3" if at(at(&whole, "weir"), "evidence") == &Effective::Bool(true) => {
                ("weir.", at(&whole, "weir"))
            }
            _ => continue,
        };
        let keys = Keys { section, below };
        locks(keys, at(value, "lock"), found);
        let is_bucket = !below.is_empty() || at(at(value, "store"), "s3") != &NOTHING;
        unlocked(keys, is_bucket, value, found);
        buffers(keys, value, found);
    }
}

/// The keys of an archive, of which some exporters have others before.
#[derive(Clone, Copy)]
struct Keys<'a> {
    section: &'a Section,
    below: &'static str,
}

impl Keys<'_> {
    fn diag(self, key: &str, message: impl Into<String>) -> Diag {
        self.section.diag(&format!("{}{key}", self.below), message)
    }
}

fn at<'a>(value: &'a Effective, key: &str) -> &'a Effective {
    match value {
        Effective::Map(entries) => entries.get(key).unwrap_or(&NOTHING),
        _ => &NOTHING,
    }
}

fn text<'a>(value: &'a Effective, key: &str) -> &'a str {
    match at(value, key) {
        Effective::Text(text) => text,
        _ => "",
    }
}

fn list<'a>(value: &'a Effective, key: &str) -> &'a [Effective] {
    match at(value, key) {
        Effective::List(items) => items,
        _ => &[],
    }
}

/// A whole number and its unit, as the exporter has read it already.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), factor)))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn seconds(text: &str) -> Option<u64> {
    scaled(text, &[("h", 3600), ("d", 86_400), ("y", YEAR_S)])
}

/// Warns of what nobody could undo.
fn forever(keys: Keys<'_>, key: &str, retention: &str, mode: &str, found: &mut Vec<Diag>) {
    let seconds = seconds(retention).unwrap_or_default();
    if seconds > YEARS_MAX * YEAR_S && mode == "COMPLIANCE" {
        let years = seconds / YEAR_S;
        let message = format!(
            "under COMPLIANCE nobody can delete for {years} years, not even the account's owner, and nobody can take it back"
        );
        let help = "a shorter retention, or mode: GOVERNANCE until it is sure";
        found.push(keys.diag(key, message).with_help(help));
    }
}

fn locks(keys: Keys<'_>, lock: &Effective, found: &mut Vec<Diag>) {
    let (retention, mode) = (text(lock, "retention"), text(lock, "mode"));
    forever(keys, "lock.retention", retention, mode, found);
    let evidence = text(lock, "evidence_retention");
    forever(keys, "lock.evidence_retention", evidence, mode, found);
    let classes = list(lock, "classes");
    for (n, class) in classes.iter().enumerate() {
        let own = match text(class, "mode") {
            "" => mode,
            own => own,
        };
        let key = format!("lock.classes.{n}.retention");
        forever(keys, &key, text(class, "retention"), own, found);
        let earlier = classes[..n]
            .iter()
            .find(|earlier| takes_all_of(at(earlier, "match"), at(class, "match")));
        if let Some(earlier) = earlier {
            let message = format!(
                "nothing is ever of class {}: class {} before it takes all of it",
                text(class, "name"),
                text(earlier, "name")
            );
            let diag = keys.diag(&format!("lock.classes.{n}.match"), message);
            found.push(diag.with_help("the first class that matches wins: put the narrower one first"));
        }
    }
    if text(lock, "shorter_than_bucket_default") == "allow" {
        let message = "a lock may be shorter than what the bucket promises by its own default";
        let diag = keys.diag("lock.shorter_than_bucket_default", message);
        found.push(diag.with_help("reject: the longer of both is used"));
    }
    if at(lock, "legal_hold") == &Effective::Bool(true) {
        let message = "objects stay until somebody lifts the legal hold of each, whatever their retention";
        found.push(keys.diag("lock.legal_hold", message));
    }
}

/// Whether whatever `narrow` matches is matched by `wide` too. What cannot be told is not.
fn takes_all_of(wide: &Effective, narrow: &Effective) -> bool {
    let lists = ["tenant", "signal"].iter().all(|key| {
        let (wide, narrow) = (list(wide, key), list(narrow, key));
        wide.is_empty() || !narrow.is_empty() && narrow.iter().all(|item| wide.contains(item))
    });
    let severity = match at(wide, "severity_number") {
        Effective::Null => true,
        wide => wide == at(narrow, "severity_number"),
    };
    let own = at(narrow, "attribute");
    let attributes = match at(wide, "attribute") {
        Effective::Map(entries) => entries.iter().all(|(key, value)| at(own, key) == value),
        _ => true,
    };
    lists && severity && attributes
}

fn unlocked(keys: Keys<'_>, is_bucket: bool, value: &Effective, found: &mut Vec<Diag>) {
    if is_bucket && at(at(value, "lock"), "required") == &Effective::Bool(false) {
        let message = "a bucket that locks nothing is good enough: what is archived can be deleted";
        let diag = keys.diag("lock.required", message);
        found.push(diag.with_help("required: true does not start without Object Lock"));
    }
}

fn buffers(keys: Keys<'_>, value: &Effective, found: &mut Vec<Diag>) {
    let units = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("B", 1),
    ];
    let number = |key: &str| match at(value, key) {
        Effective::Int(number) => u64::try_from(*number).ok(),
        Effective::Text(text) => scaled(text, &units),
        _ => None,
    };
    if let (Some(bytes), Some(partitions)) = (number("max_buffer_bytes"), number("max_open_partitions"))
        && bytes / partitions.max(1) < BUFFER_BYTES_MIN
    {
        let message = format!(
            "with {partitions} objects open each has less than 24KiB of memory, and what is compressed so early compresses worse"
        );
        let diag = keys.diag("max_buffer_bytes", message);
        found.push(diag.with_help("more of it, or a lower max_open_partitions"));
    }
}

#[cfg(test)]
mod tests {
    use config::Gates;

    /// Warnings about an archive of a bucket: line, path and message of each.
    fn said(keys: &str) -> Vec<String> {
        let text = format!(
            "extensions: {{file_storage: {{directory: /d}}}}\nreceivers: {{nop: }}\nexporters:\n  archive:\n    archive: a\n    \
             state_dir: /x\n    store: {{s3: {{bucket: b, region: r}}}}\n    storage: file_storage\n{keys}\n\
             service: {{extensions: [file_storage], pipelines: {{logs: {{receivers: [nop], exporters: [archive]}}}}}}\n"
        );
        let (_, warnings) = super::super::super::validate(&[("gw.yaml".into(), text)], &Gates::default())
            .unwrap_or_else(|faults| panic!("{faults}"));
        let shown = warnings.iter().map(ToString::to_string);
        shown
            .filter(|text| text.contains("exporters::archive::"))
            .collect()
    }

    fn check(keys: &str, expected: &[&str]) {
        assert_eq!(said(keys), expected, "{keys}");
    }

    #[test]
    fn what_nobody_could_take_back_is_named_with_its_place() {
        let forever = |place: &str, years: u32| {
            format!(
                "gw.yaml:{place}: under COMPLIANCE nobody can delete for {years} years, not even the account's owner, and nobody \
                 can take it back; a shorter retention, or mode: GOVERNANCE until it is sure"
            )
        };
        check("    lock: {retention: 10y}", &[]);
        check(
            "    lock: {retention: 70y}",
            &[&forever("9:12 exporters::archive::lock::retention", 70)],
        );
        check("    lock: {retention: 70y, mode: GOVERNANCE}", &[]);
        check(
            "    lock: {evidence_retention: 4015d}",
            &[&forever("9:12 exporters::archive::lock::evidence_retention", 11)],
        );
        let classes = "    lock:\n      mode: GOVERNANCE\n      classes:\n      - {name: a, match: {tenant: [x]}, retention: 11y}\n      \
                       - {name: b, match: {tenant: [y]}, retention: 11y, mode: COMPLIANCE}";
        check(
            classes,
            &[&forever(
                "13:41 exporters::archive::lock::classes::1::retention",
                11,
            )],
        );
    }

    #[test]
    fn an_awss3_with_evidence_is_an_archive_too() {
        let said = |weir: &str| {
            let text = format!(
                "extensions: {{file_storage: {{directory: /d}}}}\nreceivers: {{nop: }}\nexporters:\n  awss3:\n    s3uploader: \
                 {{s3_bucket: b}}\n    marshaler: otlp_proto\n    storage: file_storage\n    weir: {{evidence: true, archive: a, \
                 state_dir: /x{weir}}}\nservice: {{extensions: [file_storage], pipelines: {{logs: {{receivers: [nop], exporters: \
                 [awss3]}}}}}}\n"
            );
            let (_, warnings) = super::super::super::validate(&[("gw.yaml".into(), text)], &Gates::default())
                .unwrap_or_else(|faults| panic!("{faults}"));
            let shown = warnings.iter().map(ToString::to_string);
            let shown: Vec<String> = shown
                .filter(|text| text.contains("exporters::awss3::weir"))
                .collect();
            shown.join("\n")
        };
        assert_eq!(said(""), "");
        let told = said(", lock: {retention: 70y}");
        assert!(
            told.contains("gw.yaml:8:62 exporters::awss3::weir::lock::retention: under COMPLIANCE"),
            "{told}"
        );
        let told = said(", lock: {required: false}, max_buffer_bytes: 64MiB");
        assert!(
            told.contains("weir::lock::required: a bucket that locks nothing"),
            "{told}"
        );
        assert!(
            told.contains("weir::max_buffer_bytes: with 8192 objects"),
            "{told}"
        );
    }

    #[test]
    fn a_class_behind_one_that_takes_all_of_it_is_named() {
        let twice = |first: &str, second: &str| {
            let keys = format!(
                "    lock:\n      classes:\n      - {{name: a, match: {{{first}}}}}\n      - {{name: b, match: {{{second}}}}}"
            );
            said(&keys).len()
        };
        assert_eq!(twice("tenant: [x]", "tenant: [x]"), 1);
        assert_eq!(twice("tenant: [x, y]", "tenant: [y], signal: [logs]"), 1);
        assert_eq!(twice("tenant: [x]", "tenant: [x, y]"), 0);
        assert_eq!(twice("tenant: [x]", "signal: [logs]"), 0);
        assert_eq!(
            twice("severity_number: '>=17'", "severity_number: '>=17', tenant: [x]"),
            1
        );
        assert_eq!(twice("severity_number: '>=17'", "tenant: [x]"), 0);
        assert_eq!(twice("attribute: {k: v}", "attribute: {k: v, l: w}"), 1);
        assert_eq!(twice("attribute: {k: v}", "attribute: {k: w}"), 0);
        check(
            "    lock:\n      classes:\n      - {name: a, match: {tenant: [x]}}\n      - {name: b, match: {tenant: [x]}}",
            &[
                "gw.yaml:12:19 exporters::archive::lock::classes::1::match: nothing is ever of class b: class a before it takes \
               all of it; the first class that matches wins: put the narrower one first",
            ],
        );
    }

    #[test]
    fn what_weakens_the_lock_is_named() {
        check(
            "    lock: {required: false}",
            &[
                "gw.yaml:9:12 exporters::archive::lock::required: a bucket that locks nothing is good enough: what is archived can \
               be deleted; required: true does not start without Object Lock",
            ],
        );
        check(
            "    lock: {shorter_than_bucket_default: allow}",
            &[
                "gw.yaml:9:12 exporters::archive::lock::shorter_than_bucket_default: a lock may be shorter than what the bucket \
               promises by its own default; reject: the longer of both is used",
            ],
        );
        check(
            "    lock: {legal_hold: true}",
            &[
                "gw.yaml:9:12 exporters::archive::lock::legal_hold: objects stay until somebody lifts the legal hold of each, \
               whatever their retention",
            ],
        );
        check("    max_buffer_bytes: 192MiB", &[]);
        check(
            "    max_buffer_bytes: 191MiB",
            &[
                "gw.yaml:9:5 exporters::archive::max_buffer_bytes: with 8192 objects open each has less than 24KiB of memory, and \
               what is compressed so early compresses worse; more of it, or a lower max_open_partitions",
            ],
        );
        check("    max_buffer_bytes: 64MiB\n    max_open_partitions: 2000", &[]);
    }
}

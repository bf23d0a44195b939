//! Directories by time, as the collector's `awss3` exporter names them and its receiver finds them.
//!
//! A format of strftime's letters and a time zone make a directory of a moment. All letters of contrib's formatter are
//! known; what is not known is refused, since a directory by accident is found by nobody.

use std::path::Path;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How moments become directories.
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    /// In the letters of the formatter underneath.
    format: String,
    zone: TimeZone,
}

/// Letters that mean the same to the formatter underneath.
const LETTERS: &str = "aAbBCdDeFgGhHIjklmMnpPrRsStTuUVwWyYzZ";
/// Where no time zone is said, the machine's is here.
const LOCAL_TIME: &str = "/etc/localtime";
const ZONES: &str = "/usr/share/zoneinfo";

impl Partition {
    /// A format, and the IANA name of a time zone; empty: the process's own, by `TZ` or the machine's.
    ///
    /// Errors: the key that is wrong, `s3_partition_format` or `s3_partition_timezone`, and why.
    pub fn new(format: &str, zone: &str) -> Result<Partition, (&'static str, String)> {
        let zone = match zone {
            "" => local(),
            name => TimeZone::get(name)
                .map_err(|_| ("s3_partition_timezone", format!("{name:?} is no time zone")))?,
        };
        let wrong = |text| ("s3_partition_format", text);
        let partition = Partition {
            format: translated(format).map_err(wrong)?,
            zone,
        };
        let tried = partition.shown(Timestamp::UNIX_EPOCH);
        tried.map_err(|e| wrong(e.to_string()))?;
        Ok(partition)
    }

    /// The directory of a moment, Unix seconds.
    pub fn at(&self, seconds: i64) -> String {
        let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        // A format that shows one moment shows all.
        self.shown(at).unwrap_or_default()
    }

    fn shown(&self, at: Timestamp) -> Result<String, jiff::Error> {
        strtime::format(&self.format, &at.to_zoned(self.zone.clone()))
    }
}

/// A key, or what keys begin with, as the collector's exporter joins it from its parts: of several `/` one is left, and no
/// `.` stands alone between them. What begins or ends with `/` still does. `..` stays, where the collector would go up:
/// a prefix that a client names would leave the one that it is below.
pub fn joined(parts: &str) -> String {
    let mut out = String::with_capacity(parts.len());
    let mut segments = parts.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_first = out.is_empty();
        let is_last = segments.peek().is_none();
        if is_last {
            out.push_str(segment);
        } else if !matches!(segment, "" | ".") || is_first && segment.is_empty() {
            out.push_str(segment);
            out.push('/');
        }
    }
    out
}

/// A moment as users write it: RFC 3339, `2006-01-02 15:04` or `2006-01-02`, the latter two in UTC. Unix seconds; what is
/// below a second counts as none.
pub fn parse_time(text: &str) -> Option<i64> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some((at - SignedDuration::from_nanos(i64::from(at.subsec_nanosecond()))).as_second());
    }
    let is_digits = |c: char, at: usize| matches!(at, 4 | 7 | 10 | 13) || c.is_ascii_digit();
    if !text.char_indices().all(|(at, c)| is_digits(c, at)) {
        return None;
    }
    let civil = match text.len() {
        16 => jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M", text).ok()?,
        10 => jiff::civil::Date::strptime("%Y-%m-%d", text).ok()?.at(0, 0, 0, 0),
        _ => return None,
    };
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// A format in the formatter's letters.
fn translated(format: &str) -> Result<String, String> {
    let mut out = String::with_capacity(format.len());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = String::new();
        let letter = loop {
            match chars.next() {
                Some(c) if c.is_ascii_digit() || matches!(c, '-' | '_' | '^' | '#' | ':') => spec.push(c),
                Some(c) => break c,
                None => return Err(format!("{format:?} ends within a letter")),
            }
        };
        match letter {
            '%' => out.push_str("%%"),
            // Microseconds, and dates that the formatter writes otherwise.
            'f' => out.push_str("%6f"),
            'v' => out.push_str("%e-%b-%Y"),
            'c' => out.push_str("%a %b %e %H:%M:%S %Y"),
            'x' => out.push_str("%m/%d/%y"),
            'X' => out.push_str("%H:%M:%S"),
            letter if LETTERS.contains(letter) => {
                out.push('%');
                out.push_str(&spec);
                out.push(letter);
            }
            letter => return Err(format!("%{letter} is not known")),
        }
    }
    Ok(out)
}

/// The process's own time zone; UTC if it cannot be told.
fn local() -> TimeZone {
    let of_file = |path: &Path| {
        let bytes = std::fs::read(path).ok()?;
        TimeZone::tzif("Local", &bytes).ok()
    };
    let found = match std::env::var("TZ") {
        Err(_) => of_file(Path::new(LOCAL_TIME)),
        Ok(text) => match text.trim_start_matches(':') {
            "" => None,
            path if path.starts_with('/') => of_file(Path::new(path)),
            name => TimeZone::get(name)
                .ok()
                .or_else(|| of_file(&Path::new(ZONES).join(name))),
        },
    };
    found.unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_joined_as_paths() {
        let check = |parts: &str, expected: &str| assert_eq!(joined(parts), expected, "{parts}");
        check("", "");
        check("a", "a");
        check("a/b/c_", "a/b/c_");
        check("a//b///c", "a/b/c");
        check("/a/b", "/a/b");
        check("///a", "/a");
        check("//", "/");
        check("a/", "a/");
        check("a//", "a/");
        check("./a/./b/././c", "a/b/c");
        check("/./a", "/a");
        check("a/.b/..c/d.", "a/.b/..c/d.");
        check("a/../b", "a/../b");
    }

    /// 2026-02-03T07:09:05Z.
    const MOMENT: i64 = 1_770_102_545;

    #[test]
    fn moments_have_directories() {
        let check = |format: &str, zone: &str, expected: &str| {
            let partition = Partition::new(format, zone).expect("a format");
            assert_eq!(partition.at(MOMENT), expected, "{format} {zone}");
        };
        let usual = "year=%Y/month=%m/day=%d/hour=%H/minute=%M";
        check(usual, "UTC", "year=2026/month=02/day=03/hour=07/minute=09");
        check(
            usual,
            "Asia/Kolkata",
            "year=2026/month=02/day=03/hour=12/minute=39",
        );
        check("%Y/%m/%d/%H", "America/Los_Angeles", "2026/02/02/23");
        check("%y%j-%e|%k|%-d", "UTC", "26034- 3| 7|3");
        check("%B %b %A %a %p %I", "UTC", "February Feb Tuesday Tue AM 07");
        check("%F %T %R %D", "UTC", "2026-02-03 07:09:05 07:09 02/03/26");
        check("%s %f %z %% %n", "UTC", "1770102545 000000 +0000 % \n");
        check(
            "%v %c %x %X",
            "UTC",
            " 3-Feb-2026 Tue Feb  3 07:09:05 2026 02/03/26 07:09:05",
        );
        check("", "UTC", "");
        check("logs", "UTC", "logs");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let check = |format: &str, zone: &str, expected: &str| {
            let (key, text) = Partition::new(format, zone).expect_err("it is wrong");
            assert_eq!(format!("{key}: {text}"), expected);
        };
        check(
            "%Y/%",
            "UTC",
            "s3_partition_format: \"%Y/%\" ends within a letter",
        );
        check("%E", "UTC", "s3_partition_format: %E is not known");
        check(
            "%Y",
            "Mars/Olympus",
            "s3_partition_timezone: \"Mars/Olympus\" is no time zone",
        );
    }

    #[test]
    fn times_are_read_as_users_write_them() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(parse_time(text), expected, "{text}");
        check("2026-02-03T07:09:05Z", Some(MOMENT));
        check("2026-02-03T08:09:05+01:00", Some(MOMENT));
        check("2026-02-03T07:09:05.9Z", Some(MOMENT));
        check("2026-02-03 07:09", Some(MOMENT - 5));
        check("2026-02-03", Some(MOMENT - 5 - 7 * 3600 - 9 * 60));
        check("", None);
        check("2026-02-30", None);
        check("2026-2-3", None);
        check("2026-02-03 07:09:05", None);
        check("02/03/2026", None);
    }
}

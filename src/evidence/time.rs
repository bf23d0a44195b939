//! The two texts of a moment: with three decimals in entries, in whole seconds for locks. Always UTC, always `Z`.

use std::fmt;
use std::str::FromStr;

use codec::time::Civil;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// Milliseconds since 1970, from the year 0 to 9999: `2025-11-20T14:05:00.100Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// Seconds since 1970, from the year 0 to 9999: `2026-11-21T00:00:00Z`. How long a lock holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Second(i64);

/// A text that is no moment in its one form, or a number beyond the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time")]
pub struct NotATime;

/// First and last second that four digits of a year can say.
const SECONDS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;
const DAY: i64 = 86_400;

impl Time {
    /// A moment by its milliseconds since 1970; those outside the years 0 to 9999 become the nearest that can be said.
    pub fn from_millis(millis: i64) -> Time {
        Time(millis.clamp(SECONDS.start() * 1_000, SECONDS.end() * 1_000 + 999))
    }

    /// An OTLP time, cut to its millisecond.
    pub fn from_nanos(nanos: u64) -> Time {
        Time::from_millis((nanos / 1_000_000).cast_signed())
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Its date and time of day.
    pub fn civil(self) -> Civil {
        let nanos = self.0.rem_euclid(1_000) as u32 * 1_000_000;
        Civil::from_unix(self.0.div_euclid(1_000), nanos)
    }

    /// Milliseconds since an earlier moment; negative if that is the later one.
    pub fn since(self, earlier: Time) -> i64 {
        self.0 - earlier.0
    }
}

impl Second {
    /// A moment by its seconds since 1970; those outside the years 0 to 9999 become the nearest that can be said.
    pub fn from_seconds(seconds: i64) -> Second {
        Second(seconds.clamp(*SECONDS.start(), *SECONDS.end()))
    }

    /// The next midnight at or after `time`: what a lock's end is rounded to.
    pub fn midnight_after(time: Time) -> Second {
        let seconds = time.0.div_euclid(1_000) + i64::from(time.0.rem_euclid(1_000) > 0);
        Second::from_seconds((seconds + DAY - 1).div_euclid(DAY) * DAY)
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0
    }

    /// The same moment in milliseconds.
    pub fn time(self) -> Time {
        Time(self.0 * 1_000)
    }
}

/// Days since 1970 of a date of the proleptic Gregorian calendar; none if there is no such day.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if !(1..=longest).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let of_year = (153 * month + 2) / 5 + day - 1;
    Some(365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468)
}

/// The digits of `YYYY-MM-DDTHH:MM:SS` as seconds since 1970.
fn seconds(text: &[u8]) -> Option<i64> {
    let punctuation = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if text.len() != 19 || punctuation.iter().any(|(i, c)| text[*i] != *c) {
        return None;
    }
    let n = |range: std::ops::Range<usize>| number(&text[range]);
    let (hour, minute, second) = (n(11..13)?, n(14..16)?, n(17..19)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days(n(0..4)?, n(5..7)?, n(8..10)?)? * DAY + hour * 3_600 + minute * 60 + second)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, c| {
        let digit = c.is_ascii_digit().then(|| i64::from(c - b'0'))?;
        Some(n * 10 + digit)
    })
}

impl FromStr for Time {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Time, NotATime> {
        let text = text.as_bytes();
        if text.len() != 24 || text[19] != b'.' || text[23] != b'Z' {
            return Err(NotATime);
        }
        let millis = number(&text[20..23]).ok_or(NotATime)?;
        Ok(Time(seconds(&text[..19]).ok_or(NotATime)? * 1_000 + millis))
    }
}

impl FromStr for Second {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Second, NotATime> {
        let text = text.as_bytes();
        if text.len() != 20 || text[19] != b'Z' {
            return Err(NotATime);
        }
        seconds(&text[..19]).map(Second).ok_or(NotATime)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.civil().millis())
    }
}

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Civil::from_unix(self.0, 0).rfc3339())
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl Serialize for Second {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Time, D::Error> {
        d.deserialize_str(Text(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Second {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Second, D::Error> {
        d.deserialize_str(Text(std::marker::PhantomData))
    }
}

/// Reads a text without a copy of it.
struct Text<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = NotATime>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time in UTC")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_are_each_others() {
        let check = |text: &str, millis: i64| {
            assert_eq!(text.parse::<Time>().map(Time::millis), Ok(millis), "{text}");
            assert_eq!(Time::from_millis(millis).to_string(), text);
        };
        check("1970-01-01T00:00:00.000Z", 0);
        check("2025-11-20T14:05:00.100Z", 1_763_647_500_100);
        check("2024-02-29T23:59:59.999Z", 1_709_251_199_999);
        check("2000-03-01T00:00:00.000Z", 951_868_800_000);
        check("1969-12-31T23:59:59.999Z", -1);
        check("9999-12-31T23:59:59.999Z", 253_402_300_799_999);
        check("0000-01-01T00:00:00.000Z", -62_167_219_200_000);
        assert_eq!(
            Time::from_millis(i64::MAX).to_string(),
            "9999-12-31T23:59:59.999Z"
        );
        assert_eq!(Time::from_nanos(1_999_999), Time(1));
        let second: Second = "2026-11-21T00:00:00Z".parse().expect("a second");
        assert_eq!(second.to_string(), "2026-11-21T00:00:00Z");
        assert_eq!(second.time().to_string(), "2026-11-21T00:00:00.000Z");
    }

    #[test]
    fn a_lock_ends_at_midnight() {
        let check = |time: &str, end: &str| {
            let time = time.parse().expect("a time");
            assert_eq!(Second::midnight_after(time).to_string(), end, "{time}");
        };
        check("2025-11-20T00:00:00.000Z", "2025-11-20T00:00:00Z");
        check("2025-11-20T00:00:00.001Z", "2025-11-21T00:00:00Z");
        check("2025-12-31T23:59:59.999Z", "2026-01-01T00:00:00Z");
    }

    #[test]
    fn refuses_other_forms() {
        let check = |text: &str| {
            assert_eq!(text.parse::<Time>(), Err(NotATime), "{text}");
            assert_eq!(text.parse::<Second>(), Err(NotATime), "{text}");
        };
        for text in [
            "",
            "2025-11-20T14:05:00.1Z",
            "2025-11-20T14:05:00.1000Z",
            "2025-11-20 14:05:00.100Z",
            "2025-11-20T14:05:00.100z",
            "2025-11-20T14:05:60.100Z",
            "2025-11-20T24:05:00.100Z",
            "2025-02-29T14:05:00.100Z",
            "2025-13-01T14:05:00.100Z",
            "2025-00-01T14:05:00.100Z",
            "+025-11-20T14:05:00.100Z",
            "2025-11-20T14:05:00+00Z",
            "2025-11-20T14:0é:00.10Z",
        ] {
            check(text);
        }
    }
}

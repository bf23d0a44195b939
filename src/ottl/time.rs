//! Instants with a zone, and durations, as Go has them.

use std::fmt::Write as _;

use codec::time::Civil;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};

/// An instant, and the zone in which its parts are read.
#[derive(Clone, Debug)]
pub struct Time {
    /// Seconds since 1970, or before.
    secs: i64,
    /// Below a thousand million.
    nanos: u32,
    zone: Zone,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Zone {
    Utc,
    /// Seconds east of Greenwich.
    Fixed(i32),
    Named(TimeZone),
}

const NANOS: i64 = 1_000_000_000;
/// Seconds from the first of January of the year 1 to 1970: Go's zero time.
const YEAR_ONE: i64 = 62_135_596_800;

impl Zone {
    /// A zone of the tz database.
    pub(crate) fn named(name: &str) -> Option<Zone> {
        if matches!(name, "" | "UTC" | "Z") {
            return Some(Zone::Utc);
        }
        TimeZone::get(name).ok().map(Zone::Named)
    }
}

impl Time {
    /// So many seconds and nanoseconds (below a thousand million) after 1970, in UTC.
    pub fn new(secs: i64, nanos: u32) -> Time {
        Time {
            secs,
            nanos: nanos.min(999_999_999),
            zone: Zone::Utc,
        }
    }

    /// So many nanoseconds after (or, negative, before) 1970, in UTC.
    pub fn from_unix_nano(nanos: i64) -> Time {
        Time::new(nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS) as u32)
    }

    pub(crate) fn in_zone(mut self, zone: Zone) -> Time {
        self.zone = zone;
        self
    }

    /// For ordering: the zone has no part in it.
    pub(crate) fn instant(&self) -> (i64, u32) {
        (self.secs, self.nanos)
    }

    /// Nanoseconds since 1970; wraps beyond the year 2262, as Go does.
    pub(crate) fn unix_nano(&self) -> i64 {
        self.secs.wrapping_mul(NANOS).wrapping_add(i64::from(self.nanos))
    }

    /// In units of so many nanoseconds since 1970, rounded down.
    pub(crate) fn unix(&self, unit: i64) -> i64 {
        let whole = i128::from(self.secs) * i128::from(NANOS) + i128::from(self.nanos);
        whole.div_euclid(i128::from(unit)) as i64
    }

    /// Later by a duration.
    pub(crate) fn plus(&self, duration: i64) -> Time {
        let nanos = i64::from(self.nanos) + duration.rem_euclid(NANOS);
        let secs = self
            .secs
            .saturating_add(duration.div_euclid(NANOS))
            .saturating_add(nanos / NANOS);
        Time {
            secs,
            nanos: (nanos % NANOS) as u32,
            zone: self.zone.clone(),
        }
    }

    /// How long after `earlier`; the longest duration if that is longer.
    pub(crate) fn since(&self, earlier: &Time) -> i64 {
        let all = |t: &Time| i128::from(t.secs) * i128::from(NANOS) + i128::from(t.nanos);
        (all(self) - all(earlier)).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// Rounded down to a multiple of `duration` since the year 1.
    pub(crate) fn truncate(&self, duration: i64) -> Time {
        if duration <= 0 {
            return self.clone();
        }
        let since =
            (i128::from(self.secs) + i128::from(YEAR_ONE)) * i128::from(NANOS) + i128::from(self.nanos);
        let over = since.rem_euclid(i128::from(duration)) as i64;
        self.plus(-over)
    }

    /// Seconds east of Greenwich, and what the zone is called then.
    pub(crate) fn offset(&self) -> (i32, String) {
        match &self.zone {
            Zone::Utc => (0, "UTC".into()),
            Zone::Fixed(0) => (0, "UTC".into()),
            Zone::Fixed(seconds) => (*seconds, offset_text(*seconds, "", false)),
            Zone::Named(zone) => {
                let at = self
                    .secs
                    .clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
                let Ok(at) = Timestamp::from_second(at) else {
                    return (0, "UTC".into());
                };
                let info = zone.to_offset_info(at);
                (info.offset().seconds(), info.abbreviation().to_owned())
            }
        }
    }

    /// Date and time of day in its zone.
    pub(crate) fn civil(&self) -> Civil {
        Civil::from_unix(self.secs.saturating_add(i64::from(self.offset().0)), self.nanos)
    }

    /// Sunday is 0.
    pub(crate) fn weekday(&self) -> i64 {
        let days = self
            .secs
            .saturating_add(i64::from(self.offset().0))
            .div_euclid(86_400);
        (days + 4).rem_euclid(7)
    }

    /// As Go's `RFC3339Nano`: the fraction without trailing zeroes.
    pub(crate) fn rfc3339_nano(&self) -> String {
        let c = self.civil();
        let mut out = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            c.year, c.month, c.day, c.hour, c.minute, c.second
        );
        if self.nanos > 0 {
            let digits = format!("{:09}", self.nanos);
            let _ = write!(out, ".{}", digits.trim_end_matches('0'));
        }
        let offset = self.offset().0;
        out.push_str(&if offset == 0 {
            "Z".to_owned()
        } else {
            offset_text(offset, ":", false)
        });
        out
    }
}

/// `+0200`, with what stands between hours and minutes, and perhaps with seconds.
pub(crate) fn offset_text(seconds: i32, colon: &str, with_seconds: bool) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let s = seconds.unsigned_abs();
    let mut out = format!("{sign}{:02}{colon}{:02}", s / 3600, s / 60 % 60);
    if with_seconds {
        let _ = write!(out, "{colon}{:02}", s % 60);
    }
    out
}

/// Days from 1970 to a date of the Gregorian calendar.
fn days(year: i64, month: u8, day: u8) -> i64 {
    // Years begin in March, so that the leap day is the last; eras are 400 years and all alike.
    let year = if month <= 2 { year - 1 } else { year };
    let month = i64::from(month);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

/// The instant at which clocks in the zone show this; none for a day that the month does not have.
pub(crate) fn at(c: &Civil, zone: Zone) -> Option<Time> {
    let day = days(c.year, c.month, c.day);
    let next = if c.month == 12 {
        days(c.year + 1, 1, 1)
    } else {
        days(c.year, c.month + 1, 1)
    };
    if c.day == 0 || day >= next {
        return None;
    }
    let clock = day * 86_400 + i64::from(c.hour) * 3600 + i64::from(c.minute) * 60 + i64::from(c.second);
    let offset = match &zone {
        Zone::Utc => 0,
        Zone::Fixed(seconds) => i64::from(*seconds),
        Zone::Named(tz) => {
            let shown = jiff::civil::DateTime::new(
                i16::try_from(c.year).ok()?,
                c.month as i8,
                c.day as i8,
                c.hour as i8,
                c.minute as i8,
                c.second as i8,
                0,
            );
            let at = tz.to_ambiguous_timestamp(shown.ok()?).compatible().ok()?;
            clock - at.as_second()
        }
    };
    Some(Time::new(clock - offset, c.nanos).in_zone(zone))
}

/// A duration as Go writes it: `1h2m3s`, `-1.5h`, `100ms`, `0`.
pub(crate) fn parse_duration(text: &[u8]) -> Result<i64> {
    let invalid = || Error::new("the text is not a duration");
    let whole = std::str::from_utf8(text).map_err(|_| invalid())?;
    let (negative, mut rest) = match whole.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, whole.strip_prefix('+').unwrap_or(whole)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", after),
        };
        if number.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit = after
            .bytes()
            .take_while(|b| *b != b'.' && !b.is_ascii_digit())
            .count();
        let (unit, after) = after.split_at(unit);
        let nanos: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(invalid()),
        };
        let number: u128 = if number.is_empty() {
            0
        } else {
            number.parse().map_err(|_| invalid())?
        };
        total = total
            .checked_add(number.checked_mul(nanos).ok_or_else(invalid)?)
            .ok_or_else(invalid)?;
        let mut scale = nanos;
        for digit in fraction.bytes() {
            total += u128::from(digit - b'0') * scale / 10;
            scale /= 10;
        }
        if total > 1 << 63 {
            return Err(invalid());
        }
        rest = after;
    }
    let total = i128::try_from(total).map_err(|_| invalid())?;
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(parse_duration(text.as_bytes()).ok(), expected, "{text}");
        };
        check("0", Some(0));
        check("-0", Some(0));
        check("1h2m3s", Some(3_723_000_000_000));
        check("100ms", Some(100_000_000));
        check("-1.5h", Some(-5_400_000_000_000));
        check("+.5s", Some(500_000_000));
        check("1.s", Some(1_000_000_000));
        check("1us1µs1μs1ns", Some(3_001));
        check("0.000000001s", Some(1));
        check("2562047h47m16.854775807s", Some(i64::MAX));
        check("-2562047h47m16.854775808s", Some(i64::MIN));
        check("2562047h47m16.854775808s", None);
        check("", None);
        check("-", None);
        check("1", None);
        check("s", None);
        check("1d", None);
        check("1 s", None);
        check(".s", None);
        check("99999999999999999999999999999999999999999h", None);
    }

    #[test]
    fn dates_and_back() {
        let check = |secs: i64, nanos: u32, expected: &str| {
            let time = Time::new(secs, nanos);
            assert_eq!(time.rfc3339_nano(), expected);
            let c = time.civil();
            assert_eq!(at(&c, Zone::Utc).map(|t| t.instant()), Some((secs, nanos)));
        };
        check(0, 0, "1970-01-01T00:00:00Z");
        check(-1, 999_000_000, "1969-12-31T23:59:59.999Z");
        check(951_782_400, 0, "2000-02-29T00:00:00Z");
        check(1_709_164_800, 120, "2024-02-29T00:00:00.00000012Z");
        check(-YEAR_ONE, 0, "0001-01-01T00:00:00Z");
        let berlin = Zone::named("Europe/Berlin").expect("it is in the database");
        let summer = Time::new(1_720_000_000, 0).in_zone(berlin.clone());
        assert_eq!(summer.rfc3339_nano(), "2024-07-03T11:46:40+02:00");
        assert_eq!(summer.offset().1, "CEST");
        assert_eq!(
            at(&summer.civil(), berlin).map(|t| t.instant()),
            Some((1_720_000_000, 0))
        );
        assert_eq!(Zone::named("No/Where"), None);
        assert_eq!(summer.weekday(), 3);
    }

    #[test]
    fn times_are_calculated_with() {
        let time = Time::new(100, 999_999_999);
        assert_eq!(time.plus(1).instant(), (101, 0));
        assert_eq!(time.plus(-1_000_000_000).instant(), (99, 999_999_999));
        assert_eq!(time.plus(-2).instant(), (100, 999_999_997));
        assert_eq!(time.since(&Time::new(100, 0)), 999_999_999);
        assert_eq!(Time::new(i64::MAX / 2, 0).since(&Time::new(0, 0)), i64::MAX);
        assert_eq!(time.truncate(NANOS * 60).instant(), (60, 0));
        assert_eq!(Time::new(-1, 5).truncate(NANOS).instant(), (-1, 0));
        assert_eq!(time.truncate(0).instant(), (100, 999_999_999));
        assert_eq!(Time::from_unix_nano(-1).instant(), (-1, 999_999_999));
        assert_eq!(Time::from_unix_nano(i64::MIN).unix_nano(), i64::MIN);
        assert_eq!(Time::new(-1, 500_000_000).unix(1_000_000), -500);
        assert_eq!(Time::new(-1, 500_000_000).unix(NANOS), -1);
    }
}

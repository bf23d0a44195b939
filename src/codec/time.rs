//! Calendar dates out of seconds since 1970, in UTC, and the texts that formats want.
//!
//! Proleptic Gregorian, no leap seconds, as Go and every log format have it. Nobody here reads a clock.

use std::fmt;

/// A moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Civil {
    /// May be negative or have more than four digits.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// Below a thousand million.
    pub nanos: u32,
}

impl Civil {
    /// The moment `seconds` and `nanos` after (or, negative seconds, before) 1970.
    pub fn from_unix(seconds: i64, nanos: u32) -> Civil {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years begin in March, so that the leap day is the last; eras are 400 years (146,097 days) and all alike.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * from_march + 2) / 5 + 1) as u8,
            hour: (rest / 3600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
            nanos: nanos.min(999_999_999),
        }
    }

    /// The moment of an OTLP timestamp.
    pub fn from_unix_nanos(nanos: u64) -> Civil {
        Civil::from_unix((nanos / 1_000_000_000) as i64, (nanos % 1_000_000_000) as u32)
    }

    /// The moment of a reading of the system's clock.
    pub fn from_system(time: std::time::SystemTime) -> Civil {
        match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => Civil::from_unix(after.as_secs() as i64, after.subsec_nanos()),
            Err(before) => Civil::from_unix(-(before.duration().as_secs() as i64), 0),
        }
    }

    /// `2006-01-02T15:04:05.000Z`: what log lines begin with.
    pub fn millis(self) -> impl fmt::Display {
        fmt::from_fn(move |f| write!(f, "{}.{:03}Z", self.seconds("T"), self.nanos / 1_000_000))
    }

    /// RFC 3339 with as many digits as needed: `2006-01-02T15:04:05.12Z`.
    pub fn rfc3339(self) -> impl fmt::Display {
        fmt::from_fn(move |f| write!(f, "{}{}Z", self.seconds("T"), self.fraction()))
    }

    /// As Go prints a time: `2006-01-02 15:04:05.12 +0000 UTC`.
    pub fn go(self) -> impl fmt::Display {
        fmt::from_fn(move |f| write!(f, "{}{} +0000 UTC", self.seconds(" "), self.fraction()))
    }

    fn seconds(self, between: &'static str) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            let Civil { year, month, day, .. } = self;
            write!(f, "{year:04}-{month:02}-{day:02}{between}")?;
            write!(f, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
        })
    }

    fn fraction(self) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            let (mut digits, mut width) = (self.nanos, 9);
            if digits == 0 {
                return Ok(());
            }
            while digits % 10 == 0 {
                digits /= 10;
                width -= 1;
            }
            write!(f, ".{digits:0width$}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        #[track_caller]
        fn check(seconds: i64, nanos: u32, expected: &str) {
            assert_eq!(Civil::from_unix(seconds, nanos).rfc3339().to_string(), expected);
        }
        check(0, 0, "1970-01-01T00:00:00Z");
        check(-1, 0, "1969-12-31T23:59:59Z");
        check(951_782_400, 1, "2000-02-29T00:00:00.000000001Z");
        check(4_107_542_400, 0, "2100-03-01T00:00:00Z");
        check(1_700_000_000, 120_000_000, "2023-11-14T22:13:20.12Z");
        check(253_402_300_800, 0, "10000-01-01T00:00:00Z");
        check(-62_135_596_800, 0, "0001-01-01T00:00:00Z");
    }

    #[test]
    fn texts() {
        let time = Civil::from_unix_nanos(1_581_452_773_000_000_789);
        assert_eq!(time.go().to_string(), "2020-02-11 20:26:13.000000789 +0000 UTC");
        assert_eq!(time.millis().to_string(), "2020-02-11T20:26:13.000Z");
        assert_eq!(
            Civil::from_unix_nanos(0).go().to_string(),
            "1970-01-01 00:00:00 +0000 UTC"
        );
        assert_eq!(Civil::from_unix_nanos(u64::MAX).year, 2554);
    }

    #[test]
    fn days_follow_each_other() {
        let mut last = Civil::from_unix(-1_000_000 * 86_400, 0);
        for day in -999_999..1_000_000 {
            let next = Civil::from_unix(day * 86_400, 0);
            let same_month = (next.year, next.month, next.day) == (last.year, last.month, last.day + 1);
            let new_month = next.day == 1 && last.day >= 28 && next.month == last.month % 12 + 1;
            assert!(same_month || new_month, "{last:?} {next:?}");
            last = next;
        }
    }
}

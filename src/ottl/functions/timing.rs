//! Times and durations: parts, units, and texts by a layout of strptime's directives.

use codec::time::Civil;

use super::{Args, Def, Kind, Ready, any, lit_utf8, of, opt};
use crate::error::{Error, Result};
use crate::eval::Arg;
use crate::locale::{Locale, begins};
use crate::time::{Time, Zone, at, offset_text, parse_duration};
use crate::value::Val;

const SECOND: i64 = 1_000_000_000;

pub(crate) const DEFS: &[Def] = &[
    Def::get("Year", &[any("time")], |a| part(a, |t| t.civil().year)),
    Def::get("Month", &[any("time")], |a| {
        part(a, |t| i64::from(t.civil().month))
    }),
    Def::get("Day", &[any("time")], |a| part(a, |t| i64::from(t.civil().day))),
    Def::get("Hour", &[any("time")], |a| part(a, |t| i64::from(t.civil().hour))),
    Def::get("Minute", &[any("time")], |a| {
        part(a, |t| i64::from(t.civil().minute))
    }),
    Def::get("Second", &[any("time")], |a| {
        part(a, |t| i64::from(t.civil().second))
    }),
    Def::get("Nanosecond", &[any("time")], |a| {
        part(a, |t| i64::from(t.instant().1))
    }),
    Def::get("Weekday", &[any("time")], |a| part(a, Time::weekday)),
    Def::get("UnixSeconds", &[any("time")], |a| part(a, |t| t.unix(SECOND))),
    Def::get("UnixMilli", &[any("time")], |a| part(a, |t| t.unix(1_000_000))),
    Def::get("UnixMicro", &[any("time")], |a| part(a, |t| t.unix(1_000))),
    Def::get("UnixNano", &[any("time")], |a| part(a, Time::unix_nano)),
    Def::get("Duration", &[any("duration")], |a| {
        parse_duration(&a.str(0)?).map(Val::Duration)
    }),
    Def::get("Hours", &[any("duration")], |a| {
        Ok(Val::Float(in_units(a.duration(0)?, 3600 * SECOND)))
    }),
    Def::get("Minutes", &[any("duration")], |a| {
        Ok(Val::Float(in_units(a.duration(0)?, 60 * SECOND)))
    }),
    Def::get("Seconds", &[any("duration")], |a| {
        Ok(Val::Float(in_units(a.duration(0)?, SECOND)))
    }),
    Def::get("Milliseconds", &[any("duration")], |a| {
        Ok(Val::Int(a.duration(0)? / 1_000_000))
    }),
    Def::get("Microseconds", &[any("duration")], |a| {
        Ok(Val::Int(a.duration(0)? / 1_000))
    }),
    Def::get("Nanoseconds", &[any("duration")], |a| {
        Ok(Val::Int(a.duration(0)?))
    }),
    Def::get("Now", &[], |a| {
        let env = a.cx.env.ok_or(Error::new("there is no clock here"))?;
        Ok(Val::Time((env.now)()))
    })
    .impure(),
    Def::get("TruncateTime", &[any("time"), any("duration")], |a| {
        Ok(Val::Time(a.time(0)?.truncate(a.duration(1)?)))
    }),
    Def::get("Unix", &[any("seconds"), opt("nanoseconds", Kind::Value)], |a| {
        let nanos = if a.has(1) { a.int(1)? } else { 0 };
        Ok(Val::Time(Time::new(a.int(0)?, 0).plus(nanos)))
    }),
    Def::get(
        "FormatTime",
        &[any("time"), of("format", Kind::Str)],
        |a| match a.ready(1) {
            Some(Ready::Layout(layout)) => Ok(Val::text(layout.format(&a.time(0)?))),
            _ => Err(Error::new("the layout is no literal")),
        },
    )
    .prepared(|args, _| layout(args, 1)),
    Def::get(
        "Time",
        &[
            any("time"),
            of("format", Kind::Str),
            opt("location", Kind::Str),
            opt("locale", Kind::Str),
        ],
        parse_time,
    )
    .prepared(|args, _| {
        layout(args, 1)?;
        let name = lit_utf8(&args[2])?.filter(|n| !n.is_empty());
        let zone = match name {
            Some(name) => Zone::named(name).ok_or_else(|| format!("unknown time zone \"{name}\""))?,
            None => Zone::Utc,
        };
        args[2] = Arg::Ready(Ready::Zone(zone));
        if let Some(tag) = lit_utf8(&args[3])? {
            let locale = Locale::named(tag);
            let locale = locale.ok_or_else(|| {
                format!("unsupported locale \"{tag}\"; it must be a tag of BCP 47 such as \"pt-BR\"")
            })?;
            args[3] = Arg::Ready(Ready::Locale(Box::new(locale)));
        }
        Ok(())
    })
    .impure(),
];

fn part<'c>(a: Args<'c>, part: impl Fn(&Time) -> i64) -> Result<Val<'c>> {
    Ok(Val::Int(part(&a.time(0)?)))
}

/// As Go does: whole units and the rest apart, so that no digit is lost too early.
fn in_units(nanos: i64, unit: i64) -> f64 {
    (nanos / unit) as f64 + (nanos % unit) as f64 / unit as f64
}

fn layout(args: &mut [Arg], i: usize) -> std::result::Result<(), String> {
    if let Some(format) = lit_utf8(&args[i])? {
        args[i] = Arg::Ready(Ready::Layout(Layout::new(format)?));
    }
    Ok(())
}

fn parse_time(a: Args<'_>) -> Result<Val<'_>> {
    let (Some(Ready::Layout(layout)), Some(Ready::Zone(zone))) = (a.ready(1), a.ready(2)) else {
        return Err(Error::new("the layout is no literal"));
    };
    let text = a.utf8(0)?;
    if text.is_empty() {
        return Err(Error::new("the text with the time is empty"));
    }
    let now = a.cx.env.map(|env| (env.now)());
    let locale = match a.ready(3) {
        Some(Ready::Locale(locale)) => Some(&**locale),
        _ => None,
    };
    layout
        .parse(&text, zone, now.as_ref(), locale)
        .map(Val::Time)
        .ok_or(Error::new("the text is not a time in this layout"))
}

/// A compiled layout.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout(Vec<Item>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Item {
    Char(char),
    Directive(char),
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

impl Layout {
    /// Errors: a digit, a directive that does not exist, a fraction without a point before it.
    pub(crate) fn new(format: &str) -> std::result::Result<Layout, String> {
        let mut items = Vec::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c.is_ascii_digit() {
                return Err("the format must not contain digits".into());
            }
            if c != '%' {
                items.push(Item::Char(c));
                continue;
            }
            let Some(c) = chars.next() else {
                return Err("the format ends within a directive".into());
            };
            let several = match c {
                // The year of this one has two digits or four.
                'D' | 'x' => "%m/%d/%E",
                'F' => "%Y-%m-%d",
                'T' | 'X' => "%H:%M:%S",
                'r' => "%I:%M:%S %P",
                'R' => "%H:%M",
                'c' => "%a %b %d %H:%M:%S %Y",
                'n' => "\n",
                't' => "\t",
                '%' => {
                    items.push(Item::Char('%'));
                    continue;
                }
                'L' | 'f' | 's' if !matches!(items.last(), Some(Item::Char('.' | ','))) => {
                    return Err(format!("%{c} must follow \".\" or \",\""));
                }
                'h' => "%b",
                c if "YymoqbBdegaAHIlpPMSLfszZwijk".contains(c) => {
                    items.push(Item::Directive(c));
                    continue;
                }
                c => return Err(format!("unknown directive %{c}")),
            };
            let mut chars = several.chars();
            while let Some(c) = chars.next() {
                items.push(if c == '%' {
                    Item::Directive(chars.next().unwrap_or('%'))
                } else {
                    Item::Char(c)
                });
            }
        }
        Ok(Layout(items))
    }

    /// The time in its own zone.
    pub(crate) fn format(&self, time: &Time) -> String {
        let c = time.civil();
        let (offset, zone) = time.offset();
        let month = MONTHS[usize::from(c.month - 1) % 12];
        let day = DAYS[time.weekday() as usize % 7];
        let hour = if c.hour.is_multiple_of(12) {
            12
        } else {
            c.hour % 12
        };
        let mut out = String::new();
        for item in &self.0 {
            let text = match item {
                Item::Char(c) => c.to_string(),
                Item::Directive(directive) => match directive {
                    'Y' => format!("{:04}", c.year),
                    'y' | 'E' => format!("{:02}", c.year.rem_euclid(100)),
                    'm' => format!("{:02}", c.month),
                    'o' => format!("{:2}", c.month),
                    'q' => c.month.to_string(),
                    'b' => month[..3].to_owned(),
                    'B' => month.to_owned(),
                    'd' => format!("{:02}", c.day),
                    'e' => format!("{:2}", c.day),
                    'g' => c.day.to_string(),
                    'a' => day[..3].to_owned(),
                    'A' => day.to_owned(),
                    'H' => format!("{:02}", c.hour),
                    'I' => format!("{hour:02}"),
                    'l' => hour.to_string(),
                    'p' => if c.hour < 12 { "AM" } else { "PM" }.to_owned(),
                    'P' => if c.hour < 12 { "am" } else { "pm" }.to_owned(),
                    'M' => format!("{:02}", c.minute),
                    'S' => format!("{:02}", c.second),
                    'L' | 'f' | 's' => {
                        let digits = format!("{:09}", c.nanos);
                        let shown = match directive {
                            'L' => &digits[..3],
                            'f' => &digits[..6],
                            _ => &digits,
                        };
                        let shown = shown.trim_end_matches('0');
                        if shown.is_empty() {
                            // The point goes with its digits.
                            out.pop();
                        }
                        shown.to_owned()
                    }
                    'z' if offset == 0 => "Z".to_owned(),
                    'z' => offset_text(offset, "", false),
                    'Z' => zone.clone(),
                    'w' => offset_text(offset, "", true),
                    'i' => offset_text(offset, "", false)[..3].to_owned(),
                    'j' => offset_text(offset, ":", false),
                    _ => offset_text(offset, ":", true),
                },
            };
            out.push_str(&text);
        }
        out
    }

    /// The time that a text shows: in the zone that it names, else in this one. A missing year is that of `now`, or the
    /// one before if that is less far. Names are English if no language is given.
    pub(crate) fn parse(
        &self,
        text: &str,
        zone: &Zone,
        now: Option<&Time>,
        locale: Option<&Locale>,
    ) -> Option<Time> {
        let mut p = Parsing {
            rest: text,
            locale,
            ..Parsing::default()
        };
        for (i, item) in self.0.iter().enumerate() {
            match item {
                Item::Char(' ') => p.rest = p.rest.trim_start_matches(' '),
                Item::Char(c) => p.rest = p.rest.strip_prefix(*c)?,
                Item::Directive(directive) => {
                    p.directive(*directive)?;
                    let fraction = matches!(self.0.get(i + 1), Some(Item::Char('.' | ',')));
                    if *directive == 'S' && !fraction {
                        p.unasked_fraction();
                    }
                }
            }
        }
        if !p.rest.is_empty() {
            return None;
        }
        p.time(zone, now)
    }
}

/// A text that is being read.
#[derive(Default)]
struct Parsing<'t> {
    rest: &'t str,
    locale: Option<&'t Locale>,
    year: Option<i64>,
    month: Option<u8>,
    day: Option<u8>,
    hour: u8,
    minute: u8,
    second: u8,
    nanos: u32,
    afternoon: Option<bool>,
    zone: Option<Zone>,
}

impl Parsing<'_> {
    /// So many digits at most, spaces before them passed over.
    fn number(&mut self, digits: usize, most: u32) -> Option<u32> {
        let text = self.rest.trim_start_matches(' ');
        let len = text.bytes().take(digits).take_while(u8::is_ascii_digit).count();
        let number = text[..len].parse().ok().filter(|n| *n <= most)?;
        self.rest = &text[len..];
        Some(number)
    }

    /// One of several names, whole or by its first three letters; of a language, as that language has it.
    fn name(&mut self, names: &[&str], short: bool, local: fn(&Locale) -> &[&'static str]) -> Option<u8> {
        if let Some(locale) = self.locale {
            let text = self.rest.trim_start();
            let (at, len) = begins(text, local(locale))?;
            self.rest = &text[len..];
            return Some(at as u8);
        }
        let lower = self.rest.to_ascii_lowercase();
        let shown = |name: &str| {
            if short {
                name[..3].to_ascii_lowercase()
            } else {
                name.to_ascii_lowercase()
            }
        };
        let at = names.iter().position(|n| lower.starts_with(&shown(n)))?;
        self.rest = &self.rest[shown(names[at]).len()..];
        Some(at as u8)
    }

    fn directive(&mut self, directive: char) -> Option<()> {
        match directive {
            'Y' => {
                let text = self
                    .rest
                    .get(..4)
                    .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
                self.year = text.parse().ok();
                self.rest = &self.rest[4..];
            }
            'y' => self.year = Some(century(self.number(2, 99)?)),
            'E' => {
                let before = self.rest.len();
                let year = self.number(4, 9999)?;
                self.year = Some(if before - self.rest.len() > 2 {
                    i64::from(year)
                } else {
                    century(year)
                });
            }
            'm' | 'o' | 'q' => self.month = Some(self.number(2, 12).filter(|m| *m > 0)? as u8),
            'b' => self.month = Some(self.name(&MONTHS, true, |l| &l.months_short)? + 1),
            'B' => self.month = Some(self.name(&MONTHS, false, |l| &l.months)? + 1),
            'd' | 'e' | 'g' => self.day = Some(self.number(2, 31).filter(|d| *d > 0)? as u8),
            'a' => self.name(&DAYS, true, |l| &l.days_short).map(|_| ())?,
            'A' => self.name(&DAYS, false, |l| &l.days).map(|_| ())?,
            'H' => self.hour = self.number(2, 23)? as u8,
            'I' | 'l' => self.hour = self.number(2, 12)? as u8,
            'p' | 'P' if self.locale.is_some() => {
                self.afternoon = Some(self.name(&[], false, |l| &l.halves)? == 1);
            }
            'p' | 'P' => {
                let half = self.rest.get(..2)?.to_ascii_lowercase();
                self.afternoon = Some(match half.as_str() {
                    "am" => false,
                    "pm" => true,
                    _ => return None,
                });
                self.rest = &self.rest[2..];
            }
            'M' => self.minute = self.number(2, 59)? as u8,
            'S' => self.second = self.number(2, 59)? as u8,
            'L' | 'f' | 's' => self.fraction()?,
            'Z' => {
                let len = self
                    .rest
                    .bytes()
                    .take_while(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(b))
                    .count();
                let name = self.rest.get(..len).filter(|n| !n.is_empty())?;
                self.zone = Some(if name == "GMT" {
                    Zone::Utc
                } else {
                    Zone::named(name)?
                });
                self.rest = &self.rest[len..];
            }
            _ => self.offset()?,
        }
        Some(())
    }

    fn fraction(&mut self) -> Option<()> {
        let len = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let digits = self.rest.get(..len.min(9)).filter(|d| !d.is_empty())?;
        self.nanos = format!("{digits:0<9}").parse().ok()?;
        self.rest = &self.rest[len..];
        Some(())
    }

    /// A fraction behind the seconds is read, whether the layout has it or not.
    fn unasked_fraction(&mut self) {
        let digits = self.rest.strip_prefix(['.', ',']);
        if let Some(digits) = digits.filter(|d| d.starts_with(|c: char| c.is_ascii_digit())) {
            self.rest = digits;
            self.fraction();
        }
    }

    /// `Z`, `+02`, `+0200`, `+02:00`, `+020000`, `+02:00:00`.
    fn offset(&mut self) -> Option<()> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            (self.rest, self.zone) = (rest, Some(Zone::Utc));
            return Some(());
        }
        let sign = match self.rest.bytes().next()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        self.rest = &self.rest[1..];
        let mut seconds = 0;
        for (i, (unit, most)) in [(3600, 24), (60, 59), (1, 59)].into_iter().enumerate() {
            let text = if i == 0 {
                self.rest
            } else {
                self.rest.strip_prefix(':').unwrap_or(self.rest)
            };
            let Some(two) = text.get(..2).filter(|t| t.bytes().all(|b| b.is_ascii_digit())) else {
                if i == 0 {
                    return None;
                }
                break;
            };
            let number: i32 = two.parse().ok().filter(|n| *n <= most)?;
            seconds += number * unit;
            self.rest = &text[2..];
        }
        self.zone = Some(Zone::Fixed(sign * seconds));
        Some(())
    }

    fn time(self, zone: &Zone, now: Option<&Time>) -> Option<Time> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let shown = |year| Civil {
            year,
            month: self.month.unwrap_or(1),
            day: self.day.unwrap_or(1),
            hour,
            minute: self.minute,
            second: self.second,
            nanos: self.nanos,
        };
        let zone = self.zone.clone().unwrap_or_else(|| zone.clone());
        if let Some(year) = self.year {
            return at(&shown(year), zone);
        }
        let now = now.cloned().unwrap_or(Time::new(0, 0));
        let year = now.civil().year;
        let week = 7 * 86_400 * SECOND;
        match at(&shown(year), zone.clone()) {
            Some(time) if time.since(&now) <= week => Some(time),
            _ => at(&shown(year - 1), zone),
        }
    }
}

/// Two digits: 1969 to 2068.
fn century(year: u32) -> i64 {
    i64::from(year) + if year >= 69 { 1900 } else { 2000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_by_directives() {
        let now = Time::new(1_704_067_200 + 86_400 * 30, 0); // 2024-01-31
        let check = |format: &str, text: &str, expected: Option<&str>| {
            let layout = Layout::new(format).expect(format);
            let found = layout
                .parse(text, &Zone::Utc, Some(&now), None)
                .map(|t| t.rfc3339_nano());
            assert_eq!(found.as_deref(), expected, "{format} {text}");
        };
        check(
            "%Y-%m-%d %H:%M:%S",
            "2024-02-29 13:04:05",
            Some("2024-02-29T13:04:05Z"),
        );
        check(
            "%Y-%m-%dT%H:%M:%S.%L%z",
            "2024-02-29T13:04:05.123+02:00",
            Some("2024-02-29T13:04:05.123+02:00"),
        );
        check(
            "%Y-%m-%dT%H:%M:%S%z",
            "2024-02-29T13:04:05.5Z",
            Some("2024-02-29T13:04:05.5Z"),
        );
        check("%Y-%m-%d", "2023-02-29", None);
        check("%Y-%m-%d", "2024-1-2", Some("2024-01-02T00:00:00Z"));
        check("%Y-%m-%d", "2024-01-02x", None);
        check(
            "%d/%b/%Y:%H:%M:%S %z",
            "10/Oct/2000:13:55:36 -0700",
            Some("2000-10-10T13:55:36-07:00"),
        );
        check("%D", "01/02/03", Some("2003-01-02T00:00:00Z"));
        check("%D", "01/02/1999", Some("1999-01-02T00:00:00Z"));
        check("%y", "69", Some("1969-01-01T00:00:00Z"));
        check("%F %r", "2024-01-02 12:00:01 am", Some("2024-01-02T00:00:01Z"));
        check("%F %I:%M %p", "2024-01-02 01:30 PM", Some("2024-01-02T13:30:00Z"));
        check("%B %e, %Y", "march  3, 2024", Some("2024-03-03T00:00:00Z"));
        check("%b %d %H:%M:%S", "Feb 05 00:00:00", Some("2024-02-05T00:00:00Z"));
        check("%b %d %H:%M:%S", "Dec 31 00:00:00", Some("2023-12-31T00:00:00Z"));
        check("%c", "Mon Jan 02 15:04:05 2006", Some("2006-01-02T15:04:05Z"));
        check(
            "%F %T %Z",
            "2024-07-01 12:00:00 Europe/Berlin",
            Some("2024-07-01T12:00:00+02:00"),
        );
        check("%F %T %Z", "2024-07-01 12:00:00 Nowhere", None);
        check(
            "%F %T.%f",
            "2024-07-01 12:00:00.000120",
            Some("2024-07-01T12:00:00.00012Z"),
        );
        check("%F %i", "2024-07-01 -03", Some("2024-07-01T00:00:00-03:00"));
        check("%H:%M", "24:00", None);
    }

    #[test]
    fn times_are_written_by_directives() {
        let berlin = Zone::named("Europe/Berlin").expect("it is in the database");
        let time = Time::new(1_704_150_245, 120_000_000).in_zone(berlin); // 2024-01-01T23:04:05.12Z
        let check = |format: &str, expected: &str| {
            assert_eq!(
                Layout::new(format).expect(format).format(&time),
                expected,
                "{format}"
            );
        };
        check("%Y-%m-%d %H:%M:%S", "2024-01-02 00:04:05");
        check("%y|%o|%q|%b|%h|%B", "24| 1|1|Jan|Jan|January");
        check("%e|%g|%a|%A", " 2|2|Tue|Tuesday");
        check("%I|%l|%p|%P", "12|12|AM|am");
        check("%S.%L|%S,%f|%S.%s", "05.12|05,12|05.12");
        check("%z|%Z|%w|%i|%j|%k", "+0100|CET|+010000|+01|+01:00|+01:00:00");
        check("%D|%F|%T|%R", "01/02/24|2024-01-02|00:04:05|00:04");
        check("%c%n%t%%", "Tue Jan 02 00:04:05 2024\n\t%");
        let whole = Time::new(5, 0);
        assert_eq!(Layout::new("%S.%L").expect("it is right").format(&whole), "05");
        assert_eq!(Layout::new("%z").expect("it is right").format(&whole), "Z");
    }

    #[test]
    fn wrong_layouts_are_refused() {
        let check = |format: &str, expected: &str| assert_eq!(Layout::new(format), Err(expected.to_owned()));
        check("2006", "the format must not contain digits");
        check("%Q", "unknown directive %Q");
        check("%S%L", "%L must follow \".\" or \",\"");
        check("%", "the format ends within a directive");
    }
}

//! Sizes and retentions as a user writes them: `64MiB`, `400d`.

use std::fmt;

use component::prelude::*;
use serde::de::{self, Deserializer, Visitor};

/// A size in bytes: an integer, or a number with `B`, `KiB`, `MiB`, `GiB` or `TiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(transparent)]
pub(crate) struct Size(#[schemars(with = "String")] pub(crate) u64);

/// For how long something may not be deleted: a number with `h`, `d`, or `y` (365 days). In seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(transparent)]
pub(crate) struct Retention(#[schemars(with = "String")] pub(crate) u64);

const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
const TIMES: [(&str, u64); 3] = [("y", 365 * DAY_S), ("d", DAY_S), ("h", 3600)];
const DAY_S: u64 = 86_400;

impl Size {
    /// As a number of this machine; more than there is means all there is.
    pub(crate) fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    fn parse(text: &str) -> Option<Size> {
        scaled(text, &SIZES)
            .or_else(|| text.trim().parse().ok())
            .map(Size)
    }
}

impl Retention {
    /// So many days.
    pub(crate) const fn days(days: u64) -> Retention {
        Retention(days * DAY_S)
    }

    fn parse(text: &str) -> Option<Retention> {
        scaled(text, &TIMES).map(Retention)
    }
}

/// A whole number and one of the units.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let number = number.trim_end();
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| number.parse::<u64>().ok())??.checked_mul(factor)
}

fn written(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let whole = units
        .iter()
        .find(|(_, factor)| value > 0 && value.is_multiple_of(*factor));
    match whole {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => write!(f, "0{}", units[units.len() - 1].0),
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        written(f, self.0, &SIZES)
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        written(f, self.0, &TIMES)
    }
}

struct Text<T> {
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
    number: fn(u64) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::custom(format_args!("\"{text}\" is not {}", self.expected)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        (self.number)(number).ok_or_else(|| E::custom(format_args!("{number} is not {}", self.expected)))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Text {
            expected: "a size such as 64MiB",
            parse: Size::parse,
            number: |bytes| Some(Size(bytes)),
        })
    }
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Text {
            expected: "a retention such as 12h, 400d or 7y",
            parse: Retention::parse,
            number: |seconds| (seconds == 0).then_some(Retention(0)),
        })
    }
}

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Retention {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_retentions_have_units() {
        let check = |text: &str, size: Option<u64>, retention: Option<u64>| {
            assert_eq!(Size::parse(text).map(|s| s.0), size, "{text}");
            assert_eq!(Retention::parse(text).map(|r| r.0), retention, "{text}");
        };
        check("64MiB", Some(64 << 20), None);
        check(" 20 GiB ", Some(20 << 30), None);
        check("512", Some(512), None);
        check("0B", Some(0), None);
        check("400d", None, Some(400 * 86_400));
        check("7y", None, Some(7 * 365 * 86_400));
        check("12h", None, Some(43_200));
        check("1.5d", None, None);
        check("d", None, None);
        check("-1d", None, None);
        check("99999999999999999999d", None, None);
        check("99999999999TiB", None, None);
        check("", None, None);
    }

    #[test]
    fn what_is_printed_reads_back() {
        for bytes in [0, 1, 1023, 1024, 64 << 20, (64 << 20) + 1, 20 << 30] {
            assert_eq!(Size::parse(&Size(bytes).to_string()), Some(Size(bytes)));
        }
        for hours in [0, 1, 23, 24, 25, 8760, 9600] {
            let retention = Retention(hours * 3600);
            assert_eq!(Retention::parse(&retention.to_string()), Some(retention));
        }
    }
}

//! Durations and sizes as Prometheus writes them, which is not as the collector does.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration in Prometheus's words: `1h30m`, `15s`, `1d`, `2w`, `1y`, `100ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Span(pub(super) Duration);

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

impl Span {
    /// Units from the largest to the smallest, each at most once, or `0`.
    pub(super) fn parse(text: &str) -> Option<Span> {
        if text == "0" {
            return Some(Span::default());
        }
        let (mut rest, mut ms, mut units) = (text, 0u64, UNITS.as_slice());
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|n| *n > 0)?;
            let (number, after) = rest.split_at(digits);
            let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let at = units.iter().position(|(unit, _)| *unit == &after[..letters])?;
            ms = ms.checked_add(number.parse::<u64>().ok()?.checked_mul(units[at].1)?)?;
            units = &units[at + 1..];
            rest = &after[letters..];
        }
        (!text.is_empty()).then_some(Span(Duration::from_millis(ms)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if ms == 0 {
            return f.write_str("0s");
        }
        // weeks and years only where nothing is left over, as Prometheus writes them
        for (unit, factor) in UNITS {
            let n = ms / factor;
            if n > 0 && (!matches!(unit, "y" | "w") || ms % factor == 0) {
                write!(f, "{n}{unit}")?;
                ms -= n * factor;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let parse =
            |text: &str| Span::parse(text).ok_or_else(|| format!("not a valid duration string: {text:?}"));
        deserializer.deserialize_any(Scalar("a duration such as 15s", parse))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A size: `10MB`, `64KiB`, `512B`; all units are powers of 1024, as in Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Size(pub(super) u64);

impl Size {
    fn parse(text: &str) -> Option<Size> {
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let power = match unit.trim_end_matches('B').trim_end_matches('i') {
            "" => 0,
            "K" => 1,
            "M" => 2,
            "G" => 3,
            "T" => 4,
            _ => return None,
        };
        let bytes = number.parse::<f64>().ok()? * 1024f64.powi(power);
        (bytes < 2f64.powi(53)).then_some(Size(bytes as u64))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        let parse = |text: &str| {
            Size::parse(text).ok_or_else(|| format!("not a size: {text:?}; write 10MB or 512KiB"))
        };
        deserializer.deserialize_any(Scalar("a size such as 10MB", parse))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}B", self.0))
    }
}

/// Visits a text or a number, and parses its text: what is wrong is then said at its place.
struct Scalar<F>(&'static str, F);

impl<T, F: Fn(&str) -> Result<T, String>> Visitor<'_> for Scalar<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

macro_rules! text_schema {
    ($($type:ty),*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                String::json_schema(generator)
            }
        }
    )*};
}
text_schema!(Span, Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_prometheus_does() {
        let check = |text: &str, expected: Option<u64>, shown: &str| {
            let span = Span::parse(text);
            assert_eq!(span.map(|s| s.0.as_millis() as u64), expected, "{text}");
            assert_eq!(span.map_or(String::new(), |s| s.to_string()), shown, "{text}");
        };
        check("0", Some(0), "0s");
        check("15s", Some(15_000), "15s");
        check("1h30m", Some(5_400_000), "1h30m");
        check("1d", Some(86_400_000), "1d");
        check("1w", Some(604_800_000), "1w");
        check("8d", Some(691_200_000), "8d");
        check("1y", Some(31_536_000_000), "1y");
        check("90s", Some(90_000), "1m30s");
        check("1m500ms", Some(60_500), "1m500ms");
        for wrong in [
            "",
            "5",
            "s",
            "1.5s",
            "1m1h",
            "1s1s",
            "5 s",
            "-5s",
            "99999999999999999999s",
            "9999999999999y",
        ] {
            check(wrong, None, "");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(Size::parse(text).map(|s| s.0), expected, "{text}")
        };
        check("0", Some(0));
        check("512B", Some(512));
        check("1KB", Some(1024));
        check("1KiB", Some(1024));
        check("1.5MB", Some(3 << 19));
        check("2GiB", Some(2 << 30));
        check("MB", None);
        check("5 MB", None);
        check("1EB", None);
        check("9999999999TB", None);
    }
}

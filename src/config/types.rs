//! Types that a user's text is parsed into.
//!
//! They follow the collector: ids are `type/name`, durations Go's (`1h30m`, a bare integer is nanoseconds),
//! sizes plain integers in the unit of their key. A [`Secret`] never shows itself. [`Optional`] is a
//! switchable block with the collector's three states; its doc says how a config struct chooses one.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Error as _, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::effective::{REDACTED, secrets_are_shown};

/// `type` or `type/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId {
    /// The type, as written (an alias stays an alias).
    pub kind: String,
    /// What follows the first `/`; empty if there is none.
    pub name: String,
}

/// `signal` or `signal/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineId {
    /// `traces`, `metrics`, `logs` or `profiles`.
    pub signal: String,
    /// What follows the first `/`; empty if there is none.
    pub name: String,
}

/// A duration in Go's syntax (`1h30m`, `1.5s`), or a bare integer of nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub std::time::Duration);

/// A size in bytes (a plain integer, as the collector has it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// `host:port` or a URL, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint(pub String);

/// A text that never shows itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(T);

/// A switchable block: otelcol's three states.
///
/// The state of an absent key is the one in the config struct's `Default`. A key that is present, with a map
/// or null, turns the block on over the defaults of `T`; `enabled: false` inside turns it off (the rest is
/// still checked). Where the default is [`Optional::None`], a null must leave the block off. Such a field
/// says so:
///
/// ```ignore
/// #[derive(Deserialize)]
/// #[serde(default, deny_unknown_fields)]
/// pub struct Server {
///     pub keepalive: Optional<Keepalive>,                             // Default(..) or Some(..)
///     #[serde(deserialize_with = "Optional::none_by_default")]
///     pub tls: Optional<ServerTls>,                                   // None
/// }
/// ```
/// Where defaults depend on the place (a receiver's port), use `Optional<Section>` and
/// [`crate::Section::default_to`].
#[derive(Clone, Debug)]
pub enum Optional<T> {
    /// Off, without defaults: a null leaves it off.
    None,
    /// Off, with defaults: a null turns it on.
    Default(T),
    /// On.
    Some(T),
}

/// A map, or a list of `{name: , value: }`: headers. In the order written for a list, by name for a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapList<T>(pub Vec<(String, T)>);

/// Names by which the types of this module make themselves known to the deserializer of [`crate::Section`].
pub(crate) mod marker {
    /// An id: never one piece of a text that is split at commas.
    pub(crate) const ID: &str = "$weir::Id";
    pub(crate) const SECRET: &str = "$weir::Secret";
    pub(crate) const OPTIONAL: &str = "$weir::Optional";
    pub(crate) const OPTIONAL_NONE: &str = "$weir::OptionalNone";
    pub(crate) const SECTION: &str = "$weir::Section";
    /// A duration on its way out.
    pub(crate) const DURATION: &str = "$weir::Duration";
}

// --- Ids ---

/// Why a text is no id, in the collector's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IdError(String);

const NAME_BYTES_MAX: usize = 1024;
const KIND_BYTES_MAX: usize = 63;

fn parse_id(text: &str) -> Result<(String, String), IdError> {
    let fault = |what: &str| Err(IdError(format!("in \"{text}\" id: {what}")));
    if text.trim().is_empty() {
        return Err(IdError("id must not be empty".into()));
    }
    let (kind, name) = match text.split_once('/') {
        Some((kind, name)) => (kind.trim(), Some(name.trim())),
        None => (text.trim(), None),
    };
    if kind.is_empty() {
        return fault("the part before / should not be empty");
    }
    let name = match name {
        Some("") => return fault("the part after / should not be empty"),
        Some(name) => name,
        None => "",
    };
    if name.len() > NAME_BYTES_MAX {
        return Err(IdError(format!(
            "in \"{name}\" id: name \"{name}\" is longer than {NAME_BYTES_MAX} characters ({} characters)",
            name.len()
        )));
    }
    if !name.chars().all(is_name_char) {
        return Err(IdError(format!(
            "in \"{name}\" id: invalid character(s) in name \"{name}\""
        )));
    }
    Ok((kind.to_owned(), name.to_owned()))
}

fn is_kind(kind: &str) -> bool {
    kind.len() <= KIND_BYTES_MAX
        && kind.starts_with(|c: char| c.is_ascii_alphabetic())
        && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// No separators, control and format characters, or symbols. Symbols beyond ASCII are known by the blocks
/// that hold them, which is near enough to Unicode's classes for names that people write.
fn is_name_char(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control() && !" $+<=>^`|~".contains(c);
    }
    if c.is_alphanumeric() {
        return true;
    }
    let refused = matches!(c,
        '\u{80}'..='\u{a0}' | '\u{a2}'..='\u{a6}' | '\u{a8}' | '\u{a9}' | '\u{ac}'..='\u{b1}' | '\u{b4}' | '\u{b8}'
        | '\u{d7}' | '\u{f7}' | '\u{2c2}'..='\u{2df}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
        | '\u{2044}' | '\u{2052}' | '\u{205f}'..='\u{206f}' | '\u{207a}'..='\u{207c}' | '\u{20a0}'..='\u{20cf}'
        | '\u{2100}'..='\u{214f}' | '\u{2190}'..='\u{2307}' | '\u{230c}'..='\u{2328}' | '\u{232b}'..='\u{2767}'
        | '\u{2794}'..='\u{27c4}' | '\u{27c7}'..='\u{27e5}' | '\u{27f0}'..='\u{2982}' | '\u{2999}'..='\u{2bff}'
        | '\u{3000}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}'
        | '\u{1f000}'..='\u{1faff}' | '\u{e0000}'..='\u{10ffff}');
    !refused && !c.is_whitespace() && !c.is_control()
}

impl ComponentId {
    /// An id without a name part. The caller vouches for the type.
    pub fn of_kind(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            name: String::new(),
        }
    }

    /// Parses `type` or `type/name`; white space around either half is dropped.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let (kind, name) = parse_id(text)?;
        if !is_kind(&kind) {
            return Err(IdError(format!(
                "in \"{text}\" id: invalid character(s) in type \"{kind}\""
            )));
        }
        Ok(Self { kind, name })
    }
}

impl PipelineId {
    /// Parses `signal` or `signal/name`; white space around either half is dropped.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let (signal, name) = parse_id(text)?;
        if !SIGNALS.contains(&signal.as_str()) {
            return Err(IdError(format!(
                "in \"{text}\" id: unknown pipeline signal: \"{signal}\""
            )));
        }
        Ok(Self { signal, name })
    }
}

/// The signals that a pipeline can be of.
pub(crate) const SIGNALS: [&str; 4] = ["traces", "metrics", "logs", "profiles"];

impl FromStr for ComponentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl FromStr for PipelineId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id(f, &self.kind, &self.name)
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id(f, &self.signal, &self.name)
    }
}

fn write_id(f: &mut fmt::Formatter<'_>, kind: &str, name: &str) -> fmt::Result {
    f.write_str(kind)?;
    if name.is_empty() {
        Ok(())
    } else {
        write!(f, "/{name}")
    }
}

impl<'de> Deserialize<'de> for ComponentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(marker::ID, Text("an id (type or type/name)", Self::parse))
    }
}

impl<'de> Deserialize<'de> for PipelineId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_newtype_struct(marker::ID, Text("an id (signal or signal/name)", Self::parse))
    }
}

impl Serialize for ComponentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for PipelineId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Visits a text and parses it; looks through the newtype by which an id makes itself known.
struct Text<F>(&'static str, F);

impl<'de, T, E: fmt::Display, F: Fn(&str) -> Result<T, E>> Visitor<'de> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<Error: serde::de::Error>(self, text: &str) -> Result<T, Error> {
        (self.1)(text).map_err(Error::custom)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

// --- Duration ---

/// Why a text is no duration, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DurationError(String);

impl Duration {
    /// Parses Go's syntax: decimals with units `ns us µs ms s m h`, one after another; `0` needs no unit. A
    /// sign is understood, but a negative duration other than zero is refused.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        let invalid = || DurationError(format!("time: invalid duration \"{text}\""));
        let (negative, body) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if body == "0" {
            return Ok(Self::default());
        }
        if body.is_empty() {
            return Err(invalid());
        }
        let mut total: u64 = 0;
        let mut rest = body;
        while !rest.is_empty() {
            let number_len = rest
                .find(|c: char| c != '.' && !c.is_ascii_digit())
                .unwrap_or(rest.len());
            let (number, after) = rest.split_at(number_len);
            let unit_len = after
                .find(|c: char| c == '.' || c.is_ascii_digit())
                .unwrap_or(after.len());
            let (unit, next) = after.split_at(unit_len);
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
                return Err(invalid());
            }
            if unit.is_empty() {
                return Err(DurationError(format!(
                    "time: missing unit in duration \"{text}\""
                )));
            }
            let scale = unit_ns(unit).ok_or_else(|| {
                DurationError(format!("time: unknown unit \"{unit}\" in duration \"{text}\""))
            })?;
            let whole: u64 = if whole.is_empty() {
                0
            } else {
                whole.parse().map_err(|_| invalid())?
            };
            let ns = whole
                .checked_mul(scale)
                .and_then(|ns| ns.checked_add(fraction_ns(fraction, scale)));
            total = ns
                .and_then(|ns| total.checked_add(ns))
                .filter(|ns| *ns <= NS_MAX)
                .ok_or_else(invalid)?;
            rest = next;
        }
        if negative && total > 0 {
            return Err(DurationError(format!("duration \"{text}\" must be non-negative")));
        }
        Ok(Self(std::time::Duration::from_nanos(total)))
    }
}

/// Go keeps a duration in 63 bits of nanoseconds.
const NS_MAX: u64 = i64::MAX as u64;

fn unit_ns(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Digits after the point, in nanoseconds, rounded down. Digits beyond the 18th are below a nanosecond in any
/// unit.
fn fraction_ns(digits: &str, scale: u64) -> u64 {
    let digits = &digits[..digits.len().min(18)];
    let value = digits.parse::<u128>().unwrap_or(0);
    let ns = value * u128::from(scale) / 10_u128.pow(digits.len() as u32);
    u64::try_from(ns).unwrap_or(u64::MAX)
}

impl fmt::Display for Duration {
    /// As Go prints it: `1h30m0s`, `1.5s`, `200ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.as_nanos();
        let decimal = |ns: u128, unit: u128| {
            let digits = unit.ilog10() as usize;
            let fraction = format!("{:0digits$}", ns % unit);
            let fraction = if digits == 0 {
                ""
            } else {
                fraction.trim_end_matches('0')
            };
            let point = if fraction.is_empty() { "" } else { "." };
            format!("{}{point}{fraction}", ns / unit)
        };
        match ns {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{ns}ns"),
            1_000..1_000_000 => write!(f, "{}\u{b5}s", decimal(ns, 1_000)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", decimal(ns, 1_000_000)),
            _ => {
                let minutes = ns / 60_000_000_000;
                let seconds = decimal(ns % 60_000_000_000, 1_000_000_000);
                match (minutes / 60, minutes % 60) {
                    (0, 0) => write!(f, "{seconds}s"),
                    (0, m) => write!(f, "{m}m{seconds}s"),
                    (h, m) => write!(f, "{h}h{m}m{seconds}s"),
                }
            }
        }
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Nanoseconds;

        impl Visitor<'_> for Nanoseconds {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration, e.g. 5s or 1h30m")
            }

            fn visit_u64<E: serde::de::Error>(self, ns: u64) -> Result<Duration, E> {
                if ns > NS_MAX {
                    return Err(E::custom(format_args!("duration of {ns} ns is too long")));
                }
                Ok(Duration(std::time::Duration::from_nanos(ns)))
            }

            fn visit_i64<E: serde::de::Error>(self, ns: i64) -> Result<Duration, E> {
                let ns = u64::try_from(ns)
                    .map_err(|_| E::custom(format_args!("duration {ns} must be non-negative")))?;
                self.visit_u64(ns)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
                Duration::parse(text).map_err(E::custom)
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Duration, E> {
                Ok(Duration::default())
            }
        }

        deserializer.deserialize_any(Nanoseconds)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(marker::DURATION, &self.to_string())
    }
}

// --- ByteSize, Endpoint ---

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Endpoint {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// No endpoint was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Endpoint {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// --- Secret ---

impl<T> Secret<T> {
    /// Hides a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that sends or compares it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_newtype_struct(marker::SECRET, Through(std::marker::PhantomData))
            .map(Self)
    }
}

impl<T: Serialize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match secrets_are_shown() {
            true => self.0.serialize(serializer),
            false => serializer.serialize_str(REDACTED),
        }
    }
}

/// Visits a newtype around a `T`.
struct Through<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Through<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::deserialize(deserializer)
    }
}

// --- Optional ---

impl<T> Optional<T> {
    /// The block if it is on.
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Some(block) => Some(block),
            Self::None | Self::Default(_) => None,
        }
    }

    /// The block if it is on.
    pub fn into_option(self) -> Option<T> {
        match self {
            Self::Some(block) => Some(block),
            Self::None | Self::Default(_) => None,
        }
    }

    /// The block, on or off, if there is one.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Some(block) | Self::Default(block) => Some(block),
            Self::None => None,
        }
    }

    /// The block is on.
    pub fn is_on(&self) -> bool {
        matches!(self, Self::Some(_))
    }
}

impl<T: PartialEq> PartialEq for Optional<T> {
    /// Off is off, whatever it would hold if it were on.
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<'de, T: Deserialize<'de>> Optional<T> {
    /// For fields whose default is [`Optional::None`]: a null leaves them off.
    pub fn none_by_default<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(marker::OPTIONAL_NONE, Switch(std::marker::PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Optional<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(marker::OPTIONAL, Switch(std::marker::PhantomData))
    }
}

/// The deserializer of a section says `unit` for off, `some` for a map that says `enabled: false`, and `newtype`
/// for on.
struct Switch<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Switch<T> {
    type Value = Optional<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or null")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(Optional::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        T::deserialize(deserializer).map(Optional::Default)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        T::deserialize(deserializer).map(Optional::Some)
    }
}

impl<T: Serialize> Serialize for Optional<T> {
    /// Such that it reads back into the same state.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_unit(),
            Self::Default(_) => {
                let mut off = serializer.serialize_map(Some(1))?;
                off.serialize_entry("enabled", &false)?;
                off.end()
            }
            Self::Some(block) => block.serialize(serializer),
        }
    }
}

// --- MapList ---

impl<T> Default for MapList<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> MapList<T> {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for MapList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Pair<T> {
            name: String,
            value: T,
        }

        struct Pairs<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Vec<(String, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map, or a list of {name: , value: }")
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                pairs.sort_by(|a: &(String, T), b| a.0.cmp(&b.0));
                Ok(pairs)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut pairs: Vec<(String, T)> = Vec::new();
                let mut twice = Vec::new();
                while let Some(Pair { name, value }) = seq.next_element()? {
                    if pairs.iter().any(|(n, _)| *n == name) && !twice.contains(&name) {
                        twice.push(name.clone());
                    }
                    pairs.push((name, value));
                }
                if !twice.is_empty() {
                    let twice = twice.join(" ");
                    return Err(A::Error::custom(format_args!(
                        "duplicate keys in map-style list: [{twice}]"
                    )));
                }
                Ok(pairs)
            }
        }

        deserializer
            .deserialize_any(Pairs(std::marker::PhantomData))
            .map(Self)
    }
}

impl<T: Serialize> Serialize for MapList<T> {
    /// As a list, which keeps its order.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Pair<'a, T> {
            name: &'a str,
            value: &'a T,
        }
        serializer.collect_seq(self.iter().map(|(name, value)| Pair { name, value }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_component_ids() {
        let check = |text: &str, kind: &str, name: &str| {
            let id = ComponentId::parse(text).unwrap();
            assert_eq!((id.kind.as_str(), id.name.as_str()), (kind, name), "{text}");
        };
        check("otlp", "otlp", "");
        check("otlp/a/b", "otlp", "a/b");
        check(" otlp / x ", "otlp", "x");
        check(
            "a_1/\u{e4}\u{4e2d}-_.:,;#@%&*()[]{}!?'\"\\",
            "a_1",
            "\u{e4}\u{4e2d}-_.:,;#@%&*()[]{}!?'\"\\",
        );
        assert_eq!(ComponentId::parse(" otlp / x ").unwrap().to_string(), "otlp/x");
    }

    #[test]
    fn refuses_ids_in_the_collectors_words() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                ComponentId::parse(text).unwrap_err().to_string(),
                expected,
                "{text}"
            );
        };
        check("", "id must not be empty");
        check("  ", "id must not be empty");
        check("/x", "in \"/x\" id: the part before / should not be empty");
        check("otlp/", "in \"otlp/\" id: the part after / should not be empty");
        check("ot-lp", "in \"ot-lp\" id: invalid character(s) in type \"ot-lp\"");
        check("1x", "in \"1x\" id: invalid character(s) in type \"1x\"");
        for bad in [
            "a b",
            "a$",
            "a+",
            "<",
            "=",
            ">",
            "^",
            "`",
            "|",
            "~",
            "\u{20ac}",
            "\u{1f600}",
            "a\u{200b}",
        ] {
            let expected = format!("in \"{bad}\" id: invalid character(s) in name \"{bad}\"");
            check(&format!("otlp/{bad}"), &expected);
        }
        let long = "x".repeat(1025);
        assert!(
            ComponentId::parse(&format!("otlp/{long}"))
                .unwrap_err()
                .0
                .contains("(1025 characters)")
        );
        assert!(ComponentId::parse(&format!("otlp/{}", &long[1..])).is_ok());
        assert!(ComponentId::parse(&"x".repeat(64)).is_err());
        assert!(ComponentId::parse(&"x".repeat(63)).is_ok());
    }

    #[test]
    fn parses_pipeline_ids() {
        assert_eq!(PipelineId::parse("logs/in").unwrap().to_string(), "logs/in");
        assert_eq!(PipelineId::parse("traces").unwrap().to_string(), "traces");
        let fault = PipelineId::parse("Logs").unwrap_err().to_string();
        assert_eq!(fault, "in \"Logs\" id: unknown pipeline signal: \"Logs\"");
    }

    #[test]
    fn parses_durations_as_go_does() {
        let check = |text: &str, ns: u64| {
            assert_eq!(
                Duration::parse(text).map(|d| d.0.as_nanos() as u64),
                Ok(ns),
                "{text}"
            );
        };
        check("0", 0);
        check("-0", 0);
        check("0s", 0);
        check("5ns", 5);
        check("1us", 1_000);
        check("1\u{b5}s", 1_000);
        check("1\u{3bc}s", 1_000);
        check("1.5s", 1_500_000_000);
        check(".5s", 500_000_000);
        check("1.s", 1_000_000_000);
        check("+1h30m", 5_400_000_000_000);
        check("100ms1s", 1_100_000_000);
        check("0.3333333333333333333333h", 1_199_999_999_999);
        check("9223372036854775807ns", i64::MAX as u64);
    }

    #[test]
    fn refuses_durations_as_go_does() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Duration::parse(text).unwrap_err().to_string(), expected, "{text}");
        };
        check("5", "time: missing unit in duration \"5\"");
        check("1s5", "time: missing unit in duration \"1s5\"");
        check("1d", "time: unknown unit \"d\" in duration \"1d\"");
        check("", "time: invalid duration \"\"");
        check("-", "time: invalid duration \"-\"");
        check(".s", "time: invalid duration \".s\"");
        check("1.2.3s", "time: invalid duration \"1.2.3s\"");
        check("s", "time: invalid duration \"s\"");
        check("1 s", "time: unknown unit \" s\" in duration \"1 s\"");
        check(
            "9223372036854775808ns",
            "time: invalid duration \"9223372036854775808ns\"",
        );
        check("9999999999h", "time: invalid duration \"9999999999h\"");
        check("-5s", "duration \"-5s\" must be non-negative");
    }

    #[test]
    fn prints_durations_as_go_does() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Duration::parse(text).unwrap().to_string(), expected, "{text}");
        };
        check("0", "0s");
        check("5ns", "5ns");
        check("1500ns", "1.5\u{b5}s");
        check("200ms", "200ms");
        check("90m", "1h30m0s");
        check("61.25s", "1m1.25s");
        check("1h", "1h0m0s");
    }

    #[test]
    fn secrets_do_not_show_themselves() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(
            format!("{secret:?} {:?}", Some(&secret)),
            "[REDACTED] Some([REDACTED])"
        );
        assert_eq!(secret.expose(), "hunter2");
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(ns in 0..=i64::MAX as u64) {
            let duration = Duration(std::time::Duration::from_nanos(ns));
            prop_assert_eq!(Duration::parse(&duration.to_string()), Ok(duration));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = (Duration::parse(&text), ComponentId::parse(&text), PipelineId::parse(&text));
        }
    }
}

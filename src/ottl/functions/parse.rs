//! Texts with a structure: numbers, pairs, rows, severities.

use wire::view::{Any, Value};

use super::strings::split;
use super::{Args, Def, Kind, Ready, any, lit_str, opt};
use crate::error::{Error, Result};
use crate::eval::{Arg, Node};
use crate::value::{Map, MapBuilder, Val};

pub(crate) const DEFS: &[Def] = &[
    Def::get(
        "ParseCSV",
        &[
            any("target"),
            any("headers"),
            opt("delimiter", Kind::Str),
            opt("header_delimiter", Kind::Str),
            opt("mode", Kind::Str),
        ],
        parse_csv,
    )
    .prepared(|args, _| {
        for (i, name) in [(2, "delimiter"), (3, "header_delimiter")] {
            if lit_str(&args[i]).is_some_and(|d| d.len() != 1 || matches!(d[0], b'"' | b'\r' | b'\n')) {
                return Err(format!(
                    "{name} must be a single character, and neither quote nor line end"
                ));
            }
        }
        match lit_str(&args[4]) {
            None | Some(b"strict" | b"lazyQuotes" | b"ignoreQuotes") => Ok(()),
            _ => Err("the mode must be \"strict\", \"lazyQuotes\" or \"ignoreQuotes\"".into()),
        }
    }),
    Def::get("ParseInt", &[any("target"), any("base")], |a| {
        let (text, base) = (a.utf8(0)?, a.int(1)?);
        if text.is_empty() {
            return Err(Error::new("invalid target: the text is empty"));
        }
        if !(base == 0 || (2..=36).contains(&base)) {
            return Err(Error::new("invalid base: it must be 0, or between 2 and 36"));
        }
        parse_int(&text, base as u32)
            .map(Val::Int)
            .ok_or(Error::new("the text is no whole number in this base"))
    }),
    Def::get(
        "ParseKeyValue",
        &[
            any("target"),
            opt("delimiter", Kind::Value),
            opt("pair_delimiter", Kind::Value),
        ],
        parse_key_value,
    )
    .prepared(|args, _| different(args, 1, 2)),
    Def::get(
        "ToKeyValueString",
        &[
            any("target"),
            opt("delimiter", Kind::Str),
            opt("pair_delimiter", Kind::Str),
            opt("sort_output", Kind::Bool),
        ],
        to_key_value,
    )
    .prepared(|args, _| different(args, 1, 2)),
    Def::get("ParseSeverity", &[any("target"), any("severity_mapping")], |a| {
        let levels;
        let levels = match a.ready(1) {
            Some(Ready::Levels(levels)) => levels,
            _ => {
                levels = Levels::of(&a.map(1)?).map_err(Error::text)?;
                &levels
            }
        };
        levels.of_value(&a.any(0)?)
    })
    .prepared(|args, _| {
        if let Arg::Value(Node::Const(value)) = &args[1] {
            let Val::Map(map) = value else {
                return Err("the mapping must be a map".into());
            };
            args[1] = Arg::Ready(Ready::Levels(Levels::of(map)?));
        }
        Ok(())
    }),
];

fn different(args: &mut [Arg], one: usize, two: usize) -> std::result::Result<(), String> {
    let one = lit_str(&args[one]).unwrap_or(b"=");
    let two = lit_str(&args[two]).unwrap_or(b" ");
    if one.is_empty() || two.is_empty() {
        return Err("a delimiter must not be empty".into());
    }
    if one == two {
        Err("the delimiters must not be the same".into())
    } else {
        Ok(())
    }
}

/// As Go's `ParseInt`: a sign, with base 0 a prefix and underscores.
fn parse_int(text: &str, base: u32) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits, underscores) = match (base, lower.as_bytes()) {
        (0, [b'0', b'x', ..]) => (16, &lower[2..], true),
        (0, [b'0', b'b', ..]) => (2, &lower[2..], true),
        (0, [b'0', b'o', ..]) => (8, &lower[2..], true),
        (0, [b'0', _, ..]) => (8, &lower[1..], true),
        (0, _) => (10, &lower[..], true),
        (base, _) => (base, &lower[..], false),
    };
    let spaced = digits.starts_with('_') && lower.len() == digits.len()
        || digits.ends_with('_')
        || digits.contains("__");
    if digits.is_empty() || digits.contains('_') && (!underscores || spaced) {
        return None;
    }
    let mut value: i128 = 0;
    for c in digits.chars().filter(|c| *c != '_') {
        value = value
            .checked_mul(i128::from(base))?
            .checked_add(i128::from(c.to_digit(base)?))?;
        if value > 1 << 63 {
            return None;
        }
    }
    i64::try_from(if negative { -value } else { value }).ok()
}

/// Divides at delimiters outside of quotes; quotes go, a backslash keeps the quote behind it.
fn split_quoted(text: &[u8], delimiter: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let (mut quote, mut escaped) = (None, false);
    let mut rest = text;
    while let Some((&b, more)) = rest.split_first() {
        if quote.is_none() && rest.starts_with(delimiter) {
            // Delimiters at the ends, or several in a row, divide nothing.
            if !part.is_empty() {
                parts.push(std::mem::take(&mut part));
            }
            rest = &rest[delimiter.len()..];
            continue;
        }
        rest = more;
        if escaped {
            escaped = false;
        } else if quote.is_none() && matches!(b, b'"' | b'\'') {
            quote = Some(b);
            continue;
        } else if quote == Some(b) {
            quote = None;
            continue;
        } else {
            escaped = b == b'\\';
        }
        part.push(b);
    }
    if quote.is_some() {
        return Err(Error::new("never reached the end of a quoted value"));
    }
    if !part.is_empty() {
        parts.push(part);
    }
    Ok(parts)
}

fn parse_key_value(a: Args<'_>) -> Result<Val<'_>> {
    let text = a.str(0)?;
    if text.is_empty() {
        return Err(Error::new("cannot parse an empty text"));
    }
    let (delimiter, pair_delimiter) = (a.str_or(1, b"=")?, a.str_or(2, b" ")?);
    if delimiter.is_empty() || pair_delimiter.is_empty() || delimiter == pair_delimiter {
        return Err(Error::new("the delimiters must differ and must not be empty"));
    }
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for pair in split_quoted(&text, &pair_delimiter)? {
        let at = super::collection::find(&pair, &delimiter);
        let at = at.ok_or(Error::new("cannot divide a pair into key and value"))?;
        let key = pair[..at].trim_ascii();
        let value = pair[at + delimiter.len()..].trim_ascii();
        match pairs.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value.to_vec(),
            None => pairs.push((key.to_vec(), value.to_vec())),
        }
    }
    let mut map = MapBuilder::default();
    for (key, value) in &pairs {
        map.put(key, &Val::str(value))?;
    }
    Ok(map.value())
}

fn to_key_value(a: Args<'_>) -> Result<Val<'_>> {
    let (delimiter, pair_delimiter) = (a.str_or(1, b"=")?, a.str_or(2, b" ")?);
    let quoted = |text: &[u8]| -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 2);
        for b in text {
            if *b == b'"' {
                out.push(b'\\');
            }
            out.push(*b);
        }
        let holds = |d: &[u8]| super::collection::find(text, d).is_some();
        if holds(&delimiter) || holds(&pair_delimiter) {
            out.insert(0, b'"');
            out.push(b'"');
        }
        out
    };
    let mut pairs = Vec::new();
    a.map(0)?.each(|key, value| {
        let mut text = Vec::new();
        value.as_string(&mut text);
        pairs.push((
            key.to_vec(),
            [&quoted(key)[..], &delimiter, &quoted(&text)].concat(),
        ));
    });
    if a.lit_bool(3) == Some(true) {
        pairs.sort();
    }
    let pairs: Vec<_> = pairs.into_iter().map(|(_, pair)| pair).collect();
    Ok(Val::text(pairs.join(&*pair_delimiter)))
}

// --- CSV ---

fn parse_csv(a: Args<'_>) -> Result<Val<'_>> {
    let (text, headers) = (a.str(0)?, a.str(1)?);
    let delimiter = a.lit_str(2).map_or(b',', |d| d[0]);
    let header_delimiter = a.lit_str(3).map_or(delimiter, |d| d[0]);
    if headers.is_empty() {
        return Err(Error::new("headers must not be empty"));
    }
    let mut names = Vec::new();
    split(&headers, &[header_delimiter], |name| names.push(name.to_vec()));
    let fields = match a.lit_str(4) {
        Some(b"ignoreQuotes") => {
            let mut fields = Vec::new();
            split(&text, &[delimiter], |field| fields.push(field.to_vec()));
            fields
        }
        mode => read_csv(&text, delimiter, mode == Some(b"lazyQuotes"))?,
    };
    if fields.len() != names.len() {
        let (got, want) = (fields.len(), names.len());
        return Err(Error::text(format!(
            "wrong number of fields: expected {want}, found {got}"
        )));
    }
    let mut pairs: Vec<(&[u8], &[u8])> = Vec::new();
    for (name, field) in names.iter().zip(&fields) {
        match pairs.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = field,
            None => pairs.push((name, field)),
        }
    }
    let mut map = MapBuilder::default();
    for (name, field) in pairs {
        map.put(name, &Val::str(field))?;
    }
    Ok(map.value())
}

/// The fields of a text; a line end outside of quotes goes on with the last field.
fn read_csv(text: &[u8], delimiter: u8, lazy: bool) -> Result<Vec<Vec<u8>>> {
    let mut fields = Vec::new();
    let mut field = Vec::new();
    let mut at = 0;
    loop {
        if text.get(at) == Some(&b'"') {
            at = read_quoted(text, at + 1, delimiter, lazy, &mut field)?;
        } else {
            while let Some(&b) = text.get(at).filter(|b| **b != delimiter) {
                if b == b'"' && !lazy {
                    return Err(Error::new("bare \" in a field without quotes"));
                }
                field.push(b);
                at += 1;
            }
        }
        fields.push(std::mem::take(&mut field));
        if at >= text.len() {
            return Ok(fields);
        }
        at += 1;
    }
}

/// Reads to the closing quote; gives where the delimiter or the end is.
fn read_quoted(text: &[u8], mut at: usize, delimiter: u8, lazy: bool, field: &mut Vec<u8>) -> Result<usize> {
    loop {
        match (text.get(at), text.get(at + 1)) {
            (None, _) if lazy => return Ok(at),
            (None, _) => return Err(Error::new("a quoted field has no end")),
            (Some(b'"'), Some(b'"')) => {
                field.push(b'"');
                at += 2;
            }
            (Some(b'"'), None) => return Ok(at + 1),
            (Some(b'"'), Some(next)) if *next == delimiter => return Ok(at + 1),
            (Some(b'"'), _) if !lazy => return Err(Error::new("a quote within a quoted field")),
            (Some(b), _) => {
                field.push(*b);
                at += 1;
            }
        }
    }
}

// --- Severity ---

/// What counts as which level.
#[derive(Debug)]
pub(crate) struct Levels(Vec<(Vec<u8>, Vec<Criterion>)>);

#[derive(Debug)]
enum Criterion {
    Text(Vec<u8>),
    Range(i64, i64),
}

impl Levels {
    fn of(map: &Map<'_>) -> std::result::Result<Levels, String> {
        let mut levels = Vec::new();
        let mut wrong = None;
        map.each(|level, criteria| {
            let mut list = Vec::new();
            let Any::List(items) = criteria.any() else {
                wrong = Some(format!(
                    "the criteria of {:?} must be a list",
                    String::from_utf8_lossy(level)
                ));
                return;
            };
            for item in items {
                if let Err(what) = criterion(item, &mut list) {
                    wrong = Some(format!(
                        "the criteria of {:?}: {what}",
                        String::from_utf8_lossy(level)
                    ));
                }
            }
            levels.push((level.to_vec(), list));
        });
        match wrong {
            Some(wrong) => Err(wrong),
            None => Ok(Levels(levels)),
        }
    }

    fn of_value(&self, value: &Val<'_>) -> Result<Val<'static>> {
        let holds = |c: &Criterion| match (c, value) {
            (Criterion::Text(text), Val::Str(value)) => text == &**value,
            (Criterion::Range(min, max), Val::Int(i)) => (min..=max).contains(&i),
            _ => false,
        };
        if !matches!(value, Val::Str(_) | Val::Int(_)) {
            return Err(Error::expected("string or int64", value));
        }
        let found = self.0.iter().find(|(_, criteria)| criteria.iter().any(holds));
        found
            .map(|(level, _)| Val::text(&level[..]))
            .ok_or(Error::new("could not map the severity: no criterion holds"))
    }
}

fn criterion(item: Value<'_>, out: &mut Vec<Criterion>) -> std::result::Result<(), String> {
    const SHAPE: &str =
        "each must be {\"equals\": [...]}, {\"range\": {\"min\": n, \"max\": n}} or \"2xx\" to \"5xx\"";
    let named = |text: &[u8]| match text {
        [d @ b'2'..=b'5', b'x', b'x'] => {
            let from = i64::from(d - b'0') * 100;
            Some(Criterion::Range(from, from + 99))
        }
        _ => None,
    };
    let entries = match item.any() {
        Any::Map(entries) => entries,
        Any::Str(text) => {
            out.push(named(text).ok_or(SHAPE)?);
            return Ok(());
        }
        _ => return Err(SHAPE.into()),
    };
    for (key, value) in entries {
        match (key, value.any()) {
            (b"equals", Any::List(texts)) => {
                for text in texts {
                    out.push(Criterion::Text(text.as_str().ok_or(SHAPE)?.to_vec()));
                }
            }
            (b"range", Any::Str(text)) => out.push(named(text).ok_or(SHAPE)?),
            (b"range", Any::Map(bounds)) => {
                let bound = |name: &[u8]| match { bounds }.find(|(k, _)| *k == name)?.1.any() {
                    Any::Int(i) => Some(i),
                    _ => None,
                };
                let (min, max) = bound(b"min").zip(bound(b"max")).ok_or(SHAPE)?;
                out.push(Criterion::Range(min, max));
            }
            _ => return Err(SHAPE.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_gos() {
        let check = |text: &str, base: u32, expected: Option<i64>| {
            assert_eq!(parse_int(text, base), expected, "{text} {base}");
        };
        check("ff", 16, Some(255));
        check("FF", 16, Some(255));
        check("-12", 10, Some(-12));
        check("+12", 10, Some(12));
        check("0x1F", 0, Some(31));
        check("0b101", 0, Some(5));
        check("0o17", 0, Some(15));
        check("017", 0, Some(15));
        check("1_000", 0, Some(1000));
        check("1_000", 10, None);
        check("_1", 0, None);
        check("1__0", 0, None);
        check("0x_1", 0, Some(1));
        check("9223372036854775807", 10, Some(i64::MAX));
        check("9223372036854775808", 10, None);
        check("-9223372036854775808", 10, Some(i64::MIN));
        check("12a", 10, None);
        check("0x", 0, None);
        check(" 1", 10, None);
        check("z", 36, Some(35));
    }
}

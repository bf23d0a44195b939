//! Events in LEEF 1.0 and 2.0, which only `transform` reads, and only in logs.

use super::{Args, Def, any};
use crate::error::{Error, Result};
use crate::paths::Context;
use crate::value::{MapBuilder, Val};

pub(crate) const DEFS: &[Def] =
    &[Def::get("ParseLEEF", &[any("target")], |a| parse(&a)).in_contexts(&[Context::Log])];

/// Fields of the header behind the version, as they are called in the map.
const HEADER: [&str; 4] = ["vendor", "product_name", "product_version", "event_id"];

fn parse(a: &Args<'_>) -> Result<Val<'static>> {
    let text = a.utf8(0)?;
    // Something else, such as a syslog header, may stand before it.
    let begin = text
        .find("LEEF:")
        .ok_or(Error::new("the text has no \"LEEF:\""))?;
    let (version, rest) = text[begin + 5..]
        .split_once('|')
        .ok_or(Error::new("the header ends behind the version"))?;
    let fields = match version {
        "1.0" => 4,
        "2.0" => 5,
        _ => return Err(Error::new("the version of LEEF must be 1.0 or 2.0")),
    };
    let mut parts = rest.splitn(fields + 1, '|');
    let mut map = MapBuilder::default();
    map.put_str("version", version.as_bytes());
    let missing = || {
        Error::text(format!(
            "the header of LEEF {version} has at least {fields} fields"
        ))
    };
    for name in HEADER {
        map.put_str(name, parts.next().ok_or_else(missing)?.as_bytes());
    }
    let delimiter = match fields {
        5 => delimiter(parts.next().ok_or_else(missing)?)?,
        _ => b"\t".to_vec(),
    };
    map.put_raw(b"attributes", &attributes(parts.next().unwrap_or(""), &delimiter));
    Ok(map.value())
}

/// What separates attributes: itself, one byte in hexadecimal, or nothing for a tab.
fn delimiter(written: &str) -> Result<Vec<u8>> {
    let digits = written.strip_prefix("0x").or(written.strip_prefix("0X"));
    match digits {
        Some(digits) if digits.len() == 2 => match u8::from_str_radix(digits, 16) {
            Ok(byte) => Ok(vec![byte]),
            Err(_) => Err(Error::new("the delimiter is not hexadecimal")),
        },
        Some(_) => Err(Error::new("a delimiter in hexadecimal has two digits")),
        None if written.is_empty() => Ok(b"\t".to_vec()),
        None => Ok(written.as_bytes().to_vec()),
    }
}

fn attributes(text: &str, delimiter: &[u8]) -> Vec<u8> {
    let mut entries: Vec<(&[u8], &[u8])> = Vec::new();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let end = rest.windows(delimiter.len()).position(|w| w == delimiter);
        let (pair, more) = match end {
            Some(at) => (&rest[..at], &rest[at + delimiter.len()..]),
            None => (rest, &[][..]),
        };
        rest = more;
        let pair = pair.trim_ascii();
        let Some(at) = pair.iter().position(|b| *b == b'=').filter(|at| *at > 0) else {
            continue;
        };
        let (key, value) = (&pair[..at], &pair[at + 1..]);
        match entries.iter_mut().find(|(k, _)| *k == key) {
            Some(entry) => entry.1 = value,
            None => entries.push((key, value)),
        }
    }
    let mut map = MapBuilder::default();
    for (key, value) in entries {
        let mut raw = Vec::new();
        wire::view::any_encode(wire::view::NewValue::Str(value), &mut raw);
        map.put_raw(key, &raw);
    }
    map.finish()
}

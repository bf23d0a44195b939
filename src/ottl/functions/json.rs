//! JSON to maps and lists.

use serde_json::Value as Json;

use super::{Def, any};
use crate::error::{Error, Result};
use crate::value::{ListBuilder, MapBuilder, Val};

pub(crate) const DEFS: &[Def] = &[Def::get("ParseJSON", &[any("target")], |a| {
    let text = a.str(0)?;
    let parsed: Json = serde_json::from_slice(&text).map_err(|e| {
        // Where, but not what: the text is the item's.
        Error::text(format!(
            "the text is not JSON (line {}, column {})",
            e.line(),
            e.column()
        ))
    })?;
    match parsed {
        Json::Object(_) | Json::Array(_) => value(&parsed),
        _ => Err(Error::new(
            "could not convert parsed JSON: neither object nor array",
        )),
    }
})];

/// All numbers are floats, as in the collector. The parser bounds the depth.
fn value(json: &Json) -> Result<Val<'static>> {
    Ok(match json {
        Json::Null => Val::Nil,
        Json::Bool(b) => Val::Bool(*b),
        Json::Number(n) => Val::Float(n.as_f64().unwrap_or(0.0)),
        Json::String(text) => Val::text(text.as_bytes()),
        Json::Array(items) => {
            let mut list = ListBuilder::default();
            for item in items {
                list.push(&value(item)?)?;
            }
            list.value()
        }
        Json::Object(entries) => {
            let mut map = MapBuilder::default();
            for (key, item) in entries {
                map.put(key.as_bytes(), &value(item)?)?;
            }
            map.value()
        }
    })
}

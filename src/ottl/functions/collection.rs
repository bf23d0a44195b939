//! Lists and maps: what is in them, in which order, and how they are joined.

use std::borrow::Cow;
use std::cmp::Ordering;

use wire::view::Any;

use super::{Args, Def, Kind, any, lit_str, of, opt};
use crate::compare::equal;
use crate::error::{Error, Result};
use crate::eval::{Arg, KeyVal, descend};
use crate::value::{ListBuilder, MapBuilder, Val};

pub(crate) const DEFS: &[Def] = &[
    Def::get("Coalesce", &[of("values", Kind::List)], |a| {
        for node in a.nodes(0) {
            let value = node.eval(a.cx)?;
            if !value.is_nil() {
                return Ok(value);
            }
        }
        Ok(Val::Nil)
    })
    .prepared(|args, _| match &args[0] {
        Arg::List(nodes) if nodes.is_empty() => Err("the list must not be empty".into()),
        _ => Ok(()),
    }),
    Def::get("Concat", &[of("vals", Kind::List), any("delimiter")], |a| {
        let delimiter = a.str(1)?;
        let mut out = Vec::new();
        for (i, node) in a.nodes(0).iter().enumerate() {
            if i > 0 {
                out.extend_from_slice(&delimiter);
            }
            out.extend_from_slice(&node.eval(a.cx)?.string_like()?.unwrap_or(Cow::Borrowed(b"<nil>")));
        }
        Ok(Val::text(out))
    }),
    Def::get("ContainsValue", &[any("target"), any("item")], |a| {
        let (list, item) = (a.list(0)?, a.any(1)?);
        let found = list
            .items()
            .into_iter()
            .flatten()
            .any(|v| equal(&Val::from_any(v), &item));
        Ok(Val::Bool(found))
    }),
    Def::get("Index", &[any("target"), any("value")], index),
    Def::get("Keys", &[any("target")], |a| {
        let mut list = ListBuilder::default();
        a.map(0)?.each(|key, _| list.push_str(key));
        Ok(list.value())
    }),
    Def::get("Values", &[any("target")], |a| {
        let mut list = ListBuilder::default();
        a.map(0)?.each(|_, value| list.push_raw(value.raw()));
        Ok(list.value())
    }),
    Def::get("Len", &[any("target")], |a| {
        let target = a.any(0)?;
        let len = match &target {
            Val::Str(text) => text.len(),
            Val::Map(map) => map.len(),
            Val::List(_) => target.items().map_or(0, Iterator::count),
            Val::Opaque(opaque) if let Some(len) = opaque.len => len as usize,
            other => return Err(Error::expected("string, map or list", other)),
        };
        Ok(Val::Int(len as i64))
    }),
    Def::get(
        "SliceToMap",
        &[
            any("target"),
            opt("key_path", Kind::List),
            opt("value_path", Kind::List),
        ],
        slice_to_map,
    ),
    Def::get("Sort", &[any("target"), opt("order", Kind::Str)], sort).prepared(|args, _| {
        match lit_str(&args[1]) {
            None | Some(b"asc" | b"desc") => Ok(()),
            _ => Err("the order must be \"asc\" or \"desc\"".into()),
        }
    }),
];

fn index(a: Args<'_>) -> Result<Val<'_>> {
    let (target, value) = (a.any(0)?, a.any(1)?);
    let at = match &target {
        Val::Str(text) => match &value {
            Val::Str(part) => find(text, part),
            other => return Err(Error::expected("string to look for", other)),
        },
        Val::List(_) => target
            .items()
            .into_iter()
            .flatten()
            .position(|v| equal(&Val::from_any(v), &value)),
        other => return Err(Error::expected("string or list", other)),
    };
    Ok(Val::Int(at.map_or(-1, |at| at as i64)))
}

/// Where a part first stands in a text.
pub(super) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|w| w == part)
}

fn slice_to_map(a: Args<'_>) -> Result<Val<'_>> {
    let list = a.list(0)?;
    let mut map = MapBuilder::default();
    let mut table: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (i, item) in list.items().into_iter().flatten().enumerate() {
        let pathed = a.has(1) || a.has(2);
        if pathed && !matches!(item.any(), Any::Map(_)) {
            return Err(Error::expected("list of maps", &Val::from_any(item)));
        }
        let key = match follow(&a, 1, Val::from_any(item))? {
            None => i.to_string().into_bytes(),
            Some(Val::Str(key)) => key.into_owned(),
            Some(other) => return Err(Error::expected("key that is string", &other)),
        };
        let mut raw = Vec::new();
        match follow(&a, 2, Val::from_any(item))? {
            None => raw.extend_from_slice(item.raw()),
            Some(value) => value.encode(&mut raw)?,
        }
        match table.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = raw,
            None => table.push((key, raw)),
        }
    }
    table.iter().for_each(|(key, raw)| map.put_raw(key, raw));
    Ok(map.value())
}

/// What lies at the end of a list of keys; none without such a list.
fn follow<'v>(a: &Args<'_>, i: usize, mut value: Val<'v>) -> Result<Option<Val<'v>>> {
    if !a.has(i) {
        return Ok(None);
    }
    for node in a.nodes(i) {
        let key = match node.eval(a.cx)? {
            Val::Str(key) => KeyVal::Str(key),
            other => return Err(Error::expected("path of strings", &other)),
        };
        value = descend(value, &key)?.ok_or(Error::new("key not found in map"))?;
    }
    Ok(Some(value))
}

fn sort(a: Args<'_>) -> Result<Val<'_>> {
    let list = a.list(0)?;
    let mut items: Vec<_> = list.items().into_iter().flatten().collect();
    let holds = |is: fn(Any<'_>) -> bool| items.iter().any(|v| is(v.any()));
    if holds(|v| matches!(v, Any::Map(_) | Any::List(_) | Any::Bytes(_) | Any::Empty)) {
        return Ok(list.into_static());
    }
    let as_text = holds(|v| matches!(v, Any::Str(_) | Any::Bool(_)));
    let as_float = holds(|v| matches!(v, Any::Double(_)));
    let float = |v: Any<'_>| match v {
        Any::Int(i) => i as f64,
        Any::Double(f) => f,
        _ => 0.0,
    };
    if as_text {
        items.sort_by_cached_key(|v| {
            let mut text = Vec::new();
            v.as_string(&mut text);
            text
        });
    } else if as_float {
        items.sort_by(|a, b| {
            float(a.any())
                .partial_cmp(&float(b.any()))
                .unwrap_or(Ordering::Equal)
        });
    } else {
        items.sort_by_key(|v| if let Any::Int(i) = v.any() { i } else { 0 });
    }
    if a.lit_str(1) == Some(b"desc") {
        items.reverse();
    }
    let mut sorted = ListBuilder::default();
    items.iter().for_each(|v| sorted.push_raw(v.raw()));
    Ok(sorted.value())
}

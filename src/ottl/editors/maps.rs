//! Editors of whole maps: which keys stay, what is merged, flattened, cut.

use std::borrow::Cow;
use std::collections::HashMap;

use wire::view::{Any, DEPTH_MAX, NewValue, Value};

use super::{read, target};
use crate::compile::texts;
use crate::error::Result;
use crate::eval::{Arg, Cx};
use crate::functions::{Def, Kind, Ready, any, lit_bool, lit_int, lit_str, matches, of, opt, strs};
use crate::table::{MapMut, Table};

const TARGET: crate::functions::Param = of("target", Kind::Path);

pub(super) const DELETE_KEY: Def = Def::edit("delete_key", &[TARGET, any("key")], |args, cx| {
    let key = match lit_str(&args[1]) {
        Some(key) => Cow::Borrowed(key),
        None => Cow::Owned(read(args, cx).str(1)?.into_owned()),
    };
    target(args)?.with_map(cx, |map| {
        if let Some(i) = map.find(&key) {
            map.remove(i);
        }
        Ok(())
    })
});

pub(super) const DELETE_MATCHING_KEYS: Def = Def::edit(
    "delete_matching_keys",
    &[TARGET, of("pattern", Kind::Pattern)],
    |args, cx| retain(args, cx, false),
);

pub(super) const KEEP_MATCHING_KEYS: Def = Def::edit(
    "keep_matching_keys",
    &[TARGET, of("pattern", Kind::Pattern)],
    |args, cx| retain(args, cx, true),
);

/// Keeps the keys that match, or those that do not.
fn retain(args: &[Arg], cx: &mut Cx<'_, '_>, keep: bool) -> Result<()> {
    let source = match &args[1] {
        Arg::Ready(_) => None,
        _ => Some(read(args, cx).str(1)?.into_owned()),
    };
    let tools = cx.tools;
    target(args)?.with_map(cx, |map| {
        let mut failed = Ok(());
        map.retain(&mut |key, _| {
            let found = matches(tools, &args[1], source.as_deref().unwrap_or(&[]), key);
            match found {
                Ok(found) => found == keep,
                Err(error) => {
                    failed = Err(error);
                    true
                }
            }
        });
        failed
    })
}

/// A list of keys, taken out of the literal.
fn keys(arg: &mut Arg) {
    if matches!(arg, Arg::List(_)) {
        *arg = Arg::Ready(Ready::Strs(texts(arg)));
    }
}

pub(super) const KEEP_KEYS: Def = Def::edit("keep_keys", &[TARGET, of("keys", Kind::Strs)], |args, cx| {
    let keys = strs(&args[1]);
    target(args)?.with_map(cx, |map| {
        map.retain(&mut |key, _| keys.iter().any(|k| k == key));
        Ok(())
    })
})
.prepared(|args, _| {
    keys(&mut args[1]);
    Ok(())
});

pub(super) const LIMIT: Def = Def::edit(
    "limit",
    &[TARGET, of("limit", Kind::Int), of("priority_keys", Kind::Strs)],
    |args, cx| {
        let (limit, priority) = (lit_int(&args[1]).unwrap_or(0) as usize, strs(&args[2]));
        target(args)?.with_map(cx, |map| {
            if map.len() <= limit {
                return Ok(());
            }
            let first = priority.iter().filter(|k| map.find(k).is_some()).count();
            let mut others = limit - first.min(limit);
            map.retain(&mut |key, _| {
                if priority.iter().any(|k| k == key) {
                    return true;
                }
                let room = others > 0;
                others -= usize::from(room);
                room
            });
            Ok(())
        })
    },
)
.prepared(|args, _| {
    keys(&mut args[2]);
    let limit = lit_int(&args[1]).unwrap_or(0);
    if limit < 0 {
        return Err(format!("the limit must not be negative, but is {limit}"));
    }
    if (limit as usize) < strs(&args[2]).len() {
        return Err("the limit must not be less than the number of priority keys".into());
    }
    Ok(())
});

pub(super) const MERGE_MAPS: Def = Def::edit(
    "merge_maps",
    &[TARGET, any("source"), of("strategy", Kind::Str)],
    |args, cx| {
        let source = Table::of(&read(args, cx).map(1)?);
        let strategy = lit_str(&args[2]).unwrap_or(b"upsert");
        let (insert, update) = (strategy != b"update", strategy != b"insert");
        target(args)?.with_map(cx, |map| {
            for (key, value) in &source.0 {
                if if map.find(key).is_some() { update } else { insert } {
                    map.put(key, NewValue::Encoded(value));
                }
            }
            Ok(())
        })
    },
)
.prepared(|args, _| match lit_str(&args[2]) {
    Some(b"insert" | b"update" | b"upsert") => Ok(()),
    _ => Err("the strategy must be \"insert\", \"update\" or \"upsert\"".into()),
});

pub(super) const FLATTEN: Def = Def::edit(
    "flatten",
    &[
        TARGET,
        opt("prefix", Kind::Value),
        opt("depth", Kind::Int),
        opt("resolve_conflicts", Kind::Bool),
    ],
    |args, cx| {
        let prefix = read(args, cx).str_or(1, b"")?.into_owned();
        let mut flat = Flat {
            table: Table::default(),
            depth: lit_int(&args[2]).unwrap_or(i64::MAX).min(i64::from(DEPTH_MAX)),
            conflicts: lit_bool(&args[3]).unwrap_or(false).then(HashMap::new),
        };
        target(args)?.with_map(cx, |map| {
            let prefix = if prefix.is_empty() {
                prefix
            } else {
                [&prefix[..], b"."].concat()
            };
            for i in 0..map.len() {
                flat.value(&[&prefix[..], map.key(i)].concat(), map.value(i), 0);
            }
            let Flat { table, .. } = &flat;
            map.retain(&mut |_, _| false);
            for (key, value) in &table.0 {
                map.put(key, NewValue::Encoded(value));
            }
            Ok(())
        })
    },
)
.prepared(|args, _| match lit_int(&args[2]) {
    Some(..1) => Err("the depth must be at least 1".into()),
    _ => Ok(()),
});

/// A map that is being flattened.
struct Flat {
    table: Table,
    depth: i64,
    /// For keys that came once, the number that the next one gets.
    conflicts: Option<HashMap<Vec<u8>, usize>>,
}

impl Flat {
    fn value(&mut self, key: &[u8], value: Value<'_>, depth: i64) {
        match value.any() {
            Any::Map(entries) if depth < self.depth => {
                for (k, v) in entries {
                    self.value(&[key, b".", k].concat(), v, depth + 1);
                }
            }
            Any::List(values) if depth < self.depth => {
                for (i, v) in values.enumerate() {
                    let nested = matches!(v.any(), Any::Map(_) | Any::List(_));
                    let plain = self.conflicts.is_some() && !nested;
                    let index = format!(".{i}");
                    let key = if plain {
                        key.to_vec()
                    } else {
                        [key, index.as_bytes()].concat()
                    };
                    self.value(&key, v, depth + 1);
                }
            }
            _ => self.put(key, value),
        }
    }

    fn put(&mut self, key: &[u8], value: Value<'_>) {
        let taken = self.table.find(key).is_some();
        let mut key = Cow::Borrowed(key);
        if let Some(conflicts) = &mut self.conflicts {
            let next = conflicts.entry(key.to_vec()).or_insert(0);
            if taken {
                key = Cow::Owned([&key[..], format!(".{next}").as_bytes()].concat());
                *next += 1;
            }
        }
        self.table.put(&key, NewValue::Encoded(value.raw()));
    }
}

pub(super) const STRINGIFY_ALL: Def = Def::edit("stringify_all", &[TARGET], |args, cx| {
    let mut text = Vec::new();
    target(args)?.with_map(cx, |map| {
        for i in 0..map.len() {
            if map.value(i).as_str().is_none() {
                text.clear();
                map.value(i).as_string(&mut text);
                map.set(i, NewValue::Str(&text));
            }
        }
        Ok(())
    })
});

pub(super) const TRUNCATE_ALL: Def = Def::edit(
    "truncate_all",
    &[TARGET, of("limit", Kind::Int), opt("utf8_safe", Kind::Bool)],
    |args, cx| {
        let limit = lit_int(&args[1]).unwrap_or(0) as usize;
        let mut room = std::mem::take(&mut cx.room);
        let result = target(args)?.with_map(cx, |map| {
            for i in 0..map.len() {
                let Some(text) = map.value(i).as_str().filter(|t| t.len() > limit) else {
                    continue;
                };
                room.clear();
                room.extend_from_slice(&text[..rune_floor(text, limit)]);
                map.set(i, NewValue::Str(&room));
            }
            Ok(())
        });
        cx.room = room;
        result
    },
)
.prepared(|args, _| match lit_int(&args[1]) {
    Some(..0) => Err("the limit must not be negative".into()),
    _ => Ok(()),
});

/// The last place up to `at` where a character begins. Go would cut within one if told to; text of OTLP must be UTF-8, so
/// that is never done here.
pub(crate) fn rune_floor(text: &[u8], at: usize) -> usize {
    let mut floor = at.min(text.len());
    while floor > 0 && floor < text.len() && at - floor < 4 && text[floor] & 0xc0 == 0x80 {
        floor -= 1;
    }
    floor
}

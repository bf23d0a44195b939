//! Regular expressions: whether a text matches, and what its groups hold.

use codec::pattern::{Pattern, PatternCache};

use super::{Args, Def, Kind, Ready, any, of};
use crate::error::{Error, Result};
use crate::eval::{Arg, Tools};
use crate::value::{MapBuilder, Val};

pub(crate) const DEFS: &[Def] = &[
    Def::get("IsMatch", &[any("target"), of("pattern", Kind::Pattern)], |a| {
        let Some(text) = a.string_like(0)? else {
            return Ok(Val::Bool(false));
        };
        let source = source(&a, 1)?;
        matches(a.cx.tools, &a.args[1], &source, &text).map(Val::Bool)
    }),
    Def::get(
        "ExtractPatterns",
        &[any("target"), of("pattern", Kind::Pattern)],
        |a| {
            let text = a.str(0)?;
            let source = source(&a, 1)?;
            search(a.cx.tools, &a.args[1], &source, |pattern, cache| {
                named_groups(pattern, cache, &text)
            })?
        },
    )
    .prepared(|args, _| match &args[1] {
        Arg::Ready(Ready::Pattern(_, pattern)) if pattern.group_names().iter().all(Option::is_none) => {
            Err("at least 1 named capture group must be supplied in the given regex".into())
        }
        _ => Ok(()),
    }),
];

fn named_groups(pattern: &Pattern, cache: &mut PatternCache, text: &[u8]) -> Result<Val<'static>> {
    let names = pattern.group_names();
    if names.iter().all(Option::is_none) {
        return Err(Error::new(
            "at least 1 named capture group must be supplied in the given regex",
        ));
    }
    let mut map = MapBuilder::default();
    if let Some(groups) = pattern.groups(cache, text) {
        for (name, range) in names.iter().zip(groups) {
            if let Some(name) = name {
                map.put_str(name, range.map_or(&[][..], |(start, end)| &text[start..end]));
            }
        }
    }
    Ok(map.value())
}

/// The pattern of an argument that is no literal; empty for one that was prepared.
pub(super) fn source<'c>(a: &Args<'c>, i: usize) -> Result<std::borrow::Cow<'c, [u8]>> {
    if a.ready(i).is_some() {
        Ok(std::borrow::Cow::Borrowed(&[]))
    } else {
        a.str(i)
    }
}

/// Runs a search with an argument's pattern: the one that was prepared, else the one in `source`.
pub(crate) fn search<T>(
    tools: &Tools,
    arg: &Arg,
    source: &[u8],
    run: impl FnOnce(&Pattern, &mut PatternCache) -> T,
) -> Result<T> {
    match arg {
        Arg::Ready(Ready::Pattern(number, pattern)) => Ok(tools.search(*number, pattern, run)),
        _ => tools.search_dynamic(source, run),
    }
}

/// Whether an argument's pattern matches anywhere in the text.
pub(crate) fn matches(tools: &Tools, arg: &Arg, source: &[u8], text: &[u8]) -> Result<bool> {
    search(tools, arg, source, |pattern, cache| pattern.is_match(cache, text))
}

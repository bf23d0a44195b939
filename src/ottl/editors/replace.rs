//! Editors that replace text: by glob, whole, or by regular expression, in part.

use std::borrow::Cow;

use wire::view::NewValue;

use super::{read, target};
use crate::error::{Error, Result};
use crate::eval::{Arg, Cx, Node, Read, Tools};
use crate::functions::{
    Args, Def, Kind, Param, Prepare, Ready, any, lit_str, lit_utf8, matches, of, opt, search,
};
use crate::table::Table;
use crate::value::Val;

const TARGET: Param = of("target", Kind::Path);
const FUNCTION: Param = opt("function", Kind::Function);
const FORMAT: Param = opt("replacement_format", Kind::Str);

pub(super) const REPLACE_MATCH: Def = Def::edit(
    "replace_match",
    &[
        TARGET,
        of("pattern", Kind::Str),
        any("replacement"),
        FUNCTION,
        FORMAT,
    ],
    |args, cx| {
        let target = target(args)?;
        let new = {
            let Val::Str(text) = target.get(cx.read())? else {
                return Ok(());
            };
            if !matches(cx.tools, &args[1], &[], &text)? {
                return Ok(());
            }
            let replacement = read(args, cx).str(2)?;
            Val::text(shaped(&replacement, &args[3], &args[4], cx.tools)?.into_owned())
        };
        target.set(cx, &new)
    },
)
.prepared(|args, prepare| glob(args, prepare, 1, 4));

pub(super) const REPLACE_ALL_MATCHES: Def = Def::edit(
    "replace_all_matches",
    &[
        TARGET,
        of("pattern", Kind::Str),
        any("replacement"),
        FUNCTION,
        FORMAT,
    ],
    |args, cx| {
        let tools = cx.tools;
        let replacement = read(args, cx).str(2)?;
        let new = shaped(&replacement, &args[3], &args[4], tools)?.into_owned();
        target(args)?.with_map(cx, |map| {
            for i in 0..map.len() {
                let found = match map.value(i).as_str() {
                    Some(text) => matches(tools, &args[1], &[], text)?,
                    None => false,
                };
                if found {
                    map.set(i, NewValue::Str(&new));
                }
            }
            Ok(())
        })
    },
)
.prepared(|args, prepare| glob(args, prepare, 1, 4));

pub(super) const REPLACE_PATTERN: Def = Def::edit(
    "replace_pattern",
    &[
        TARGET,
        of("regex", Kind::Pattern),
        any("replacement"),
        FUNCTION,
        FORMAT,
    ],
    replace_pattern,
)
.prepared(|args, _| format(&mut args[4]));

fn replace_pattern(args: &[Arg], cx: &mut Cx<'_, '_>) -> Result<()> {
    let target = target(args)?;
    let mut room = std::mem::take(&mut cx.room);
    room.clear();
    let replaced = replace_into(args, cx, &mut room);
    let result = match replaced {
        Ok(true) => target.set(cx, &Val::Str(Cow::Borrowed(&room))),
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    cx.room = room;
    result
}

/// Writes the target's text with every match replaced; false if nothing is to be changed.
fn replace_into(args: &[Arg], cx: &Cx<'_, '_>, out: &mut Vec<u8>) -> Result<bool> {
    let read = read(args, cx);
    let Val::Str(text) = target(args)?.get(cx.read())? else {
        return Ok(false);
    };
    let source = source(read, 1)?;
    let replacement = read.str(2)?;
    replace(
        cx.tools,
        &args[1],
        &source,
        &text,
        &replacement,
        &args[3],
        &args[4],
        out,
    )
}

/// The pattern of an argument that is no literal; empty for one that was prepared.
fn source<'c>(read: Args<'c>, i: usize) -> Result<Cow<'c, [u8]>> {
    if read.ready(i).is_some() {
        Ok(Cow::Borrowed(&[]))
    } else {
        read.str(i)
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "the five parts of one replacement, and where it goes"
)]
fn replace(
    tools: &Tools,
    pattern: &Arg,
    source: &[u8],
    text: &[u8],
    replacement: &[u8],
    function: &Arg,
    format: &Arg,
    out: &mut Vec<u8>,
) -> Result<bool> {
    let plain = !replacement.contains(&b'$') && matches!(function, Arg::Absent);
    let mut failed = None;
    let found = search(tools, pattern, source, |pattern, cache| {
        if plain {
            return pattern.replace_all(cache, text, out, |_, out| out.extend_from_slice(replacement));
        }
        pattern.replace_all_groups(cache, text, out, |groups, out| {
            let start = out.len();
            expand(replacement, |name| group(pattern, name), groups, text, out);
            if matches!(function, Arg::Absent) {
                return;
            }
            match shaped(&out[start..], function, format, tools).map(Cow::into_owned) {
                Ok(shaped) => {
                    out.truncate(start);
                    out.extend_from_slice(&shaped);
                }
                Err(error) => failed = Some(error),
            }
        })
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

/// Number of a group by its name in a template.
pub(crate) fn group(pattern: &codec::pattern::Pattern, name: &str) -> Option<usize> {
    let digits = name.bytes().all(|b| b.is_ascii_digit());
    match digits && (name == "0" || !name.starts_with('0')) {
        true => name.parse().ok(),
        false => pattern.group_number(name),
    }
}

/// Appends a template with its groups filled in, as Go's `Expand`.
pub(crate) fn expand(
    template: &[u8],
    number: impl Fn(&str) -> Option<usize>,
    groups: &[Option<(usize, usize)>],
    text: &[u8],
    out: &mut Vec<u8>,
) {
    let mut rest = template;
    while let Some(at) = rest.iter().position(|b| *b == b'$') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if rest.first() == Some(&b'$') {
            out.push(b'$');
            rest = &rest[1..];
            continue;
        }
        let braced = rest.first() == Some(&b'{');
        let name = &rest[usize::from(braced)..];
        let len = name
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
            .count();
        if len == 0 || (braced && name.get(len) != Some(&b'}')) {
            out.push(b'$');
            continue;
        }
        let found = std::str::from_utf8(&name[..len]).ok().and_then(&number);
        if let Some(Some((start, end))) = found.and_then(|n| groups.get(n).copied()) {
            out.extend_from_slice(&text[start..end]);
        }
        rest = &name[len + usize::from(braced)..];
    }
    out.extend_from_slice(rest);
}

/// The replacement, through the function and the format if there are any.
fn shaped<'t>(text: &'t [u8], function: &Arg, format: &Arg, tools: &Tools) -> Result<Cow<'t, [u8]>> {
    let Arg::Function(def) = function else {
        return Ok(Cow::Borrowed(text));
    };
    let mut args = vec![Arg::Value(Node::Const(Val::text(text)))];
    args.resize_with(def.params.len().max(1), || Arg::Absent);
    (def.prepare)(&mut args, &mut Prepare::default()).map_err(Error::text)?;
    let cache = Table::default();
    let cx = Read {
        view: None,
        cache: &cache,
        item: [0; 4],
        env: None,
        tools,
    };
    let text = match (def.get)(Args { args: &args, cx })? {
        Val::Str(text) => text.into_owned(),
        other => return Err(Error::expected("string from the function", &other)),
    };
    Ok(Cow::Owned(match format {
        Arg::Ready(Ready::Format(before, after)) => [before, &text[..], after].concat(),
        _ => text,
    }))
}

pub(super) const REPLACE_ALL_PATTERNS: Def = Def::edit(
    "replace_all_patterns",
    &[
        TARGET,
        of("mode", Kind::Str),
        of("regex", Kind::Pattern),
        any("replacement"),
        FUNCTION,
        FORMAT,
    ],
    replace_all_patterns,
)
.prepared(|args, _| {
    match lit_str(&args[1]) {
        Some(b"key" | b"value") => {}
        _ => return Err("the mode must be \"key\" or \"value\"".into()),
    }
    format(&mut args[5])
});

fn replace_all_patterns(args: &[Arg], cx: &mut Cx<'_, '_>) -> Result<()> {
    let tools = cx.tools;
    let read = read(args, cx);
    let (source, replacement) = (source(read, 2)?.into_owned(), read.str(3)?.into_owned());
    let one = |text: &[u8], out: &mut Vec<u8>| {
        out.clear();
        replace(
            tools,
            &args[2],
            &source,
            text,
            &replacement,
            &args[4],
            &args[5],
            out,
        )
    };
    let mut out = Vec::new();
    if lit_str(&args[1]) == Some(b"value") {
        return target(args)?.with_map(cx, |map| {
            for i in 0..map.len() {
                let Some(text) = map.value(i).as_str() else {
                    continue;
                };
                // A function that fails leaves the entry as it is.
                if one(text, &mut out) == Ok(true) {
                    map.set(i, NewValue::Str(&out));
                }
            }
            Ok(())
        });
    }
    target(args)?.with_map(cx, |map| {
        let mut renamed = Table::default();
        let mut changed = false;
        for i in 0..map.len() {
            match one(map.key(i), &mut out) {
                Ok(false) => {
                    crate::table::MapMut::put(&mut renamed, map.key(i), NewValue::Encoded(map.value(i).raw()))
                }
                Ok(true) => {
                    changed = true;
                    crate::table::MapMut::put(&mut renamed, &out, NewValue::Encoded(map.value(i).raw()));
                }
                // A function that fails drops the entry, as in Go.
                Err(_) => changed = true,
            }
        }
        if changed {
            map.retain(&mut |_, _| false);
            for (key, value) in &renamed.0 {
                map.put(key, NewValue::Encoded(value));
            }
        }
        Ok(())
    })
}

// --- Preparing ---

/// A glob becomes the pattern that matches the same texts whole.
fn glob(
    args: &mut [Arg],
    prepare: &mut Prepare,
    at: usize,
    format_at: usize,
) -> std::result::Result<(), String> {
    if let Some(glob) = lit_utf8(&args[at])? {
        args[at] = Arg::Ready(prepare.pattern(&glob_regex(glob)?)?);
    }
    format(&mut args[format_at])
}

/// A glob as a regular expression: `*`, `?`, `[...]`, `{a,b}`, and `\` for a plain character.
fn glob_regex(glob: &str) -> std::result::Result<String, String> {
    let mut out = String::from(r"(?s)\A(?:");
    let mut open = 0usize;
    let mut chars = glob.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => {
                while chars.next_if_eq(&'*').is_some() {}
                out.push_str(".*");
            }
            '?' => out.push('.'),
            '{' => {
                open += 1;
                out.push_str("(?:");
            }
            '}' if open > 0 => {
                open -= 1;
                out.push(')');
            }
            ',' if open > 0 => out.push('|'),
            '[' => {
                let negated = chars.next_if_eq(&'!').is_some();
                out.push_str(if negated { "[^" } else { "[" });
                let mut closed = false;
                let mut any = false;
                while let Some(c) = chars.next() {
                    match c {
                        ']' => {
                            closed = true;
                            break;
                        }
                        '-' if any && chars.peek() != Some(&']') => out.push('-'),
                        '\\' => literal(chars.next().unwrap_or('\\'), &mut out),
                        c => literal(c, &mut out),
                    }
                    any = true;
                }
                if !closed || !any {
                    return Err("the glob has a [ without characters or without ]".into());
                }
                out.push(']');
            }
            '\\' => literal(chars.next().unwrap_or('\\'), &mut out),
            c => literal(c, &mut out),
        }
    }
    if open > 0 {
        return Err("the glob has a { without }".into());
    }
    out.push_str(r")\z");
    Ok(out)
}

fn literal(c: char, out: &mut String) {
    if c.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(c);
}

/// A format has one `%s` and no other verb.
fn format(arg: &mut Arg) -> std::result::Result<(), String> {
    let Some(format) = lit_str(arg) else {
        return Ok(());
    };
    let bad = || "the replacement format must hold exactly one %s, and no other verb".to_owned();
    let (mut before, mut after, mut seen) = (Vec::new(), Vec::new(), false);
    let mut rest = format;
    while let Some((&b, more)) = rest.split_first() {
        rest = more;
        let part = if seen { &mut after } else { &mut before };
        match (b, rest.first()) {
            (b'%', Some(b'%')) => {
                part.push(b'%');
                rest = &rest[1..];
            }
            (b'%', Some(b's')) if !seen => {
                seen = true;
                rest = &rest[1..];
            }
            (b'%', _) => return Err(bad()),
            _ => part.push(b),
        }
    }
    if !seen {
        return Err(bad());
    }
    *arg = Arg::Ready(Ready::Format(before, after));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_texts() {
        let check = |glob: &str, text: &str, expected: bool| {
            let pattern = codec::pattern::Pattern::new(&glob_regex(glob).expect("it is a glob"))
                .expect("it is a pattern");
            assert_eq!(
                pattern.is_match(&mut pattern.cache(), text.as_bytes()),
                expected,
                "{glob} {text}"
            );
        };
        check("/user/*/list", "/user/1/2/list", true);
        check("/user/*/list", "/user/1/list/", false);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("[a-c]x", "bx", true);
        check("[!a-c]x", "bx", false);
        check("[!a-c]x", "dx", true);
        check("{a,bc}*", "bcd", true);
        check("{a,bc}*", "bd", false);
        check("a.c", "abc", false);
        check("a\\*", "a*", true);
        check("a\\*", "ab", false);
        check("**", "any\nthing", true);
        check("", "", true);
        check("", "a", false);
        check("a,b", "a,b", true);
        assert!(glob_regex("[a").is_err() && glob_regex("{a").is_err() && glob_regex("[]").is_err());
    }

    #[test]
    fn templates_are_gos() {
        let check = |template: &str, expected: &str| {
            let mut out = Vec::new();
            let number = |name: &str| if name == "n" { Some(1) } else { name.parse().ok() };
            expand(
                template.as_bytes(),
                number,
                &[Some((0, 5)), Some((0, 1)), None],
                b"abcde",
                &mut out,
            );
            assert_eq!(String::from_utf8_lossy(&out), expected, "{template}");
        };
        check("x", "x");
        check("$0", "abcde");
        check("[$1]", "[a]");
        check("$1x", "");
        check("${1}x", "ax");
        check("$n-${n}", "a-a");
        check("$2$3", "");
        check("$$1", "$1");
        check("$", "$");
        check("$-", "$-");
        check("${1", "${1");
        check("a$", "a$");
    }
}

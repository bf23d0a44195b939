//! YAML in blocks, as a person would write it, and such that reading gives the same value back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use super::Effective;
use crate::value::Value;
use crate::yaml::resolve;

pub(super) fn write(value: &Effective) -> String {
    let mut out = String::new();
    block(&mut out, value, 0, true);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// As the collector indents.
const INDENT: usize = 4;

fn indent(out: &mut String, column: usize) {
    out.extend(std::iter::repeat_n(' ', column));
}

/// A value whose lines begin at `column`; the first one may be begun already.
fn block(out: &mut String, value: &Effective, column: usize, begun: bool) {
    match value {
        Effective::Map(entries) if !entries.is_empty() => map(out, entries, column, begun),
        Effective::List(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 || !begun {
                    indent(out, column);
                }
                out.push_str("- ");
                block(out, item, column + 2, true);
            }
        }
        scalar => {
            scalar_to(out, scalar);
            out.push('\n');
        }
    }
}

fn map(out: &mut String, entries: &BTreeMap<String, Effective>, column: usize, begun: bool) {
    for (i, (key, value)) in entries.iter().enumerate() {
        if i > 0 || !begun {
            indent(out, column);
        }
        text(out, key);
        out.push(':');
        let nested = match value {
            Effective::Map(entries) => !entries.is_empty(),
            Effective::List(items) => !items.is_empty(),
            _ => false,
        };
        out.push(if nested { '\n' } else { ' ' });
        block(out, value, column + INDENT, !nested);
    }
}

/// A scalar, or an empty map or list.
fn scalar_to(out: &mut String, value: &Effective) {
    let written = match value {
        Effective::Null => write!(out, "null"),
        Effective::Bool(bool) => write!(out, "{bool}"),
        Effective::Int(int) => write!(out, "{int}"),
        Effective::Float(float) if float.is_nan() => write!(out, ".nan"),
        Effective::Float(float) if float.is_infinite() => {
            write!(out, "{}.inf", if *float < 0.0 { "-" } else { "" })
        }
        Effective::Float(float) => write!(out, "{float:?}"),
        Effective::Duration(duration) => write!(out, "{duration}"),
        Effective::Text(plain) => {
            text(out, &unexpanded(plain));
            Ok(())
        }
        Effective::List(_) => write!(out, "[]"),
        Effective::Map(_) => write!(out, "{{}}"),
    };
    // Writing to a text does not fail.
    let _ = written;
}

/// With every `$` doubled where reading would take one away or expand something. Keys are never expanded.
fn unexpanded(text: &str) -> Cow<'_, str> {
    match text.contains("$$") || text.contains("${") {
        true => text.replace('$', "$$").into(),
        false => text.into(),
    }
}

/// Plain where that means the same text, else in double quotes.
fn text(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    _ => write!(out, "\\u{code:04x}"),
                };
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// No other type, no sign of YAML's, nothing lost at an end.
fn is_plain(text: &str) -> bool {
    let first_is_fine = text
        .chars()
        .next()
        .is_some_and(|c| c.is_alphanumeric() || matches!(c, '/' | '_' | '.' | '$' | '^' | '(' | '+'));
    first_is_fine
        && matches!(resolve(text), Value::String(_))
        && text != "<<"
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(|c| {
            !c.is_control() && !matches!(c, '\u{85}' | '\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
        })
}

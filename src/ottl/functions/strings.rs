//! Texts: case, parts, ends, and formats with verbs.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{Args, Def, Kind, any, lit_str, of, opt};
use crate::editors::rune_floor;
use crate::error::{Error, Result};
use crate::value::{ListBuilder, Val};

pub(crate) const DEFS: &[Def] = &[
    Def::get("ConvertCase", &[any("target"), of("to_case", Kind::Str)], |a| {
        let text = a.utf8(0)?;
        Ok(Val::text(match a.lit_str(1) {
            Some(b"lower") => text.to_lowercase(),
            Some(b"upper") => text.to_uppercase(),
            Some(b"snake") => snake(&text),
            _ => camel(&text),
        }))
    })
    .prepared(|args, _| match lit_str(&args[1]) {
        Some(b"lower" | b"upper" | b"snake" | b"camel") => Ok(()),
        _ => Err("invalid case; allowed are lower, upper, snake, camel".into()),
    }),
    Def::get("ToCamelCase", &[any("target")], |a| {
        Ok(Val::text(camel(&a.utf8(0)?)))
    }),
    Def::get("ToLowerCase", &[any("target")], |a| {
        Ok(Val::text(a.utf8(0)?.to_lowercase()))
    }),
    Def::get("ToSnakeCase", &[any("target")], |a| {
        Ok(Val::text(snake(&a.utf8(0)?)))
    }),
    Def::get("ToUpperCase", &[any("target")], |a| {
        Ok(Val::text(a.utf8(0)?.to_uppercase()))
    }),
    Def::get("Split", &[any("target"), any("delimiter")], |a| {
        let (text, delimiter) = (a.str(0)?, a.str(1)?);
        let mut list = ListBuilder::default();
        split(&text, &delimiter, |part| list.push_str(part));
        Ok(list.value())
    }),
    Def::get(
        "Substring",
        &[
            any("target"),
            any("start"),
            any("length"),
            opt("utf8_safe", Kind::Bool),
        ],
        substring,
    ),
    Def::get("Trim", &[any("target"), opt("replacement", Kind::Value)], |a| {
        let (text, set) = (a.utf8(0)?, a.str_or(1, b" ")?);
        let set = String::from_utf8_lossy(&set).into_owned();
        Ok(Val::text(text.trim_matches(|c| set.contains(c))))
    }),
    Def::get("TrimPrefix", &[any("target"), any("prefix")], |a| {
        let (text, prefix) = (a.str(0)?, a.str(1)?);
        let from = if text.starts_with(&prefix) {
            prefix.len()
        } else {
            0
        };
        Ok(Val::Str(cut(text, from, None)))
    }),
    Def::get("TrimSuffix", &[any("target"), any("suffix")], |a| {
        let (text, suffix) = (a.str(0)?, a.str(1)?);
        let to = text.ends_with(&suffix).then(|| text.len() - suffix.len());
        Ok(Val::Str(cut(text, 0, to)))
    }),
    Def::get(
        "Format",
        &[of("format", Kind::Str), of("vals", Kind::List)],
        format,
    ),
];

/// A part of a text, borrowed if that is.
fn cut(text: Cow<'_, [u8]>, from: usize, to: Option<usize>) -> Cow<'_, [u8]> {
    let to = to.unwrap_or(text.len());
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[from..to]),
        Cow::Owned(text) => Cow::Owned(text[from..to].to_vec()),
    }
}

/// The parts between delimiters; an empty delimiter divides into characters.
pub(super) fn split(text: &[u8], delimiter: &[u8], mut part: impl FnMut(&[u8])) {
    if delimiter.is_empty() {
        let mut rest = text;
        while !rest.is_empty() {
            let len = (1..=4.min(rest.len()))
                .find(|n| std::str::from_utf8(&rest[..*n]).is_ok())
                .unwrap_or(1);
            part(&rest[..len]);
            rest = &rest[len..];
        }
        return;
    }
    let mut rest = text;
    while let Some(at) = super::collection::find(rest, delimiter) {
        part(&rest[..at]);
        rest = &rest[at + delimiter.len()..];
    }
    part(rest);
}

/// By bytes; characters that lie across an end are left out, since text of OTLP must be UTF-8.
fn substring(a: Args<'_>) -> Result<Val<'_>> {
    let (text, start, length) = (a.str(0)?, a.int(1)?, a.int(2)?);
    if start < 0 {
        return Err(Error::new("invalid start for substring: it must not be negative"));
    }
    if length <= 0 {
        return Err(Error::new("invalid length for substring: it must be above 0"));
    }
    let end = start.checked_add(length).filter(|end| *end <= text.len() as i64);
    let end = end.ok_or(Error::new(
        "invalid range for substring: it cannot be longer than the text",
    ))? as usize;
    let mut start = start as usize;
    while start < end && text[start] & 0xc0 == 0x80 && rune_floor(&text, start) != start {
        start += 1;
    }
    let end = rune_floor(&text, end).max(start);
    Ok(Val::Str(cut(text, start, Some(end))))
}

fn camel(text: &str) -> String {
    let text = text.trim();
    // One acronym is known by name.
    let text = if text == "ID" { "id" } else { text };
    let mut out = Vec::with_capacity(text.len());
    let (mut capital, mut before) = (true, false);
    for mut b in text.bytes() {
        let upper = b.is_ascii_uppercase();
        if capital {
            b = b.to_ascii_uppercase();
        } else if before && upper {
            b = b.to_ascii_lowercase();
        }
        before = upper;
        if b.is_ascii_alphanumeric() {
            out.push(b);
        }
        capital = match b {
            b'0'..=b'9' => true,
            b if b.is_ascii_alphabetic() => false,
            b => matches!(b, b'_' | b' ' | b'-' | b'.'),
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn snake(text: &str) -> String {
    let text = text.trim();
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len() + 8);
    for (i, b) in bytes.iter().enumerate() {
        let (cap, low, num) = (b.is_ascii_uppercase(), b.is_ascii_lowercase(), b.is_ascii_digit());
        let lower = b.to_ascii_lowercase();
        let next = bytes.get(i + 1).copied().unwrap_or(0);
        let (next_cap, next_low, next_num) = (
            next.is_ascii_uppercase(),
            next.is_ascii_lowercase(),
            next.is_ascii_digit(),
        );
        // A word ends where the kind of letter changes.
        if (cap && (next_low || next_num))
            || (low && (next_cap || next_num))
            || (num && (next_cap || next_low))
        {
            if cap && next_low && i > 0 && bytes[i - 1].is_ascii_uppercase() {
                out.push(b'_');
            }
            out.push(lower);
            if low || num || next_num {
                out.push(b'_');
            }
        } else if matches!(b, b' ' | b'_' | b'-' | b'.') {
            out.push(b'_');
        } else {
            out.push(lower);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

// --- Format ---

/// Widest field that is filled up; wider ones are this wide.
const WIDTH_MAX: usize = 4096;

#[derive(Default)]
struct Verb {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

fn format(a: Args<'_>) -> Result<Val<'_>> {
    let format = a.utf8(0)?;
    let mut vals = a.nodes(1).iter();
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = chars.next_if(|c| "-+# 0".contains(*c)) {
            match flag {
                '-' => verb.minus = true,
                '+' => verb.plus = true,
                '#' => verb.sharp = true,
                ' ' => verb.space = true,
                _ => verb.zero = true,
            }
        }
        verb.width = digits(&mut chars);
        if chars.next_if_eq(&'.').is_some() {
            verb.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(letter) => match vals.next() {
                None => {
                    let _ = write!(out, "%!{letter}(MISSING)");
                }
                Some(node) => {
                    let value = node.eval(a.cx)?;
                    let text = verb.text(letter, &value)?;
                    verb.pad(&text, &value, letter, &mut out);
                }
            },
        }
    }
    let extra: Vec<_> = vals.map(|n| Ok(bad(&n.eval(a.cx)?))).collect::<Result<_>>()?;
    if !extra.is_empty() {
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    Ok(Val::text(out))
}

/// A width or a precision, cut to what is filled up.
fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut n = None;
    while let Some(d) = chars.next_if(char::is_ascii_digit) {
        n = Some((n.unwrap_or(0) * 10 + d as usize - '0' as usize).min(WIDTH_MAX));
    }
    n
}

/// `type=value`, as Go writes what does not fit a verb.
fn bad(value: &Val<'_>) -> String {
    match value {
        Val::Nil => "<nil>".into(),
        other => format!("{}={}", other.type_name(), plain(other)),
    }
}

fn plain(value: &Val<'_>) -> String {
    match value {
        Val::Nil => "<nil>".into(),
        Val::Float(f) => general(*f),
        other => {
            let text = other.string_like().ok().flatten();
            String::from_utf8_lossy(&text.unwrap_or(Cow::Borrowed(b""))).into_owned()
        }
    }
}

/// `%v` of a float: the shortest digits, with an exponent below -4 and from 21 on.
fn general(f: f64) -> String {
    let size = f.abs();
    if f.is_nan() {
        return "NaN".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    if size == 0.0 || (1e-4..1e21).contains(&size) {
        f.to_string()
    } else {
        exponent(&format!("{f:e}"))
    }
}

/// Exponents have a sign and at least two digits.
fn exponent(text: &str) -> String {
    let Some((digits, exponent)) = text.split_once('e') else {
        return text.to_owned();
    };
    let (sign, number) = match exponent.strip_prefix('-') {
        Some(number) => ('-', number),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{number:0>2}")
}

impl Verb {
    fn text(&self, letter: char, value: &Val<'_>) -> Result<String> {
        let signed = |text: String, negative: bool| match (negative, self.plus, self.space) {
            (false, true, _) => format!("+{text}"),
            (false, false, true) => format!(" {text}"),
            _ => text,
        };
        let whole = |i: i64, digits: String| {
            let digits = match self.precision {
                Some(p) => format!("{digits:0>p$}"),
                None => digits,
            };
            signed(if i < 0 { format!("-{digits}") } else { digits }, i < 0)
        };
        Ok(match (letter, value) {
            ('v', Val::Int(i)) | ('d', Val::Int(i) | Val::Duration(i)) => {
                whole(*i, i.unsigned_abs().to_string())
            }
            ('x', Val::Int(i)) => whole(
                *i,
                format!("{}{:x}", if self.sharp { "0x" } else { "" }, i.unsigned_abs()),
            ),
            ('X', Val::Int(i)) => whole(
                *i,
                format!("{}{:X}", if self.sharp { "0X" } else { "" }, i.unsigned_abs()),
            ),
            ('o', Val::Int(i)) => whole(
                *i,
                format!("{}{:o}", if self.sharp { "0" } else { "" }, i.unsigned_abs()),
            ),
            ('b', Val::Int(i)) => whole(*i, format!("{:b}", i.unsigned_abs())),
            ('c', Val::Int(i)) => u32::try_from(*i)
                .ok()
                .and_then(char::from_u32)
                .unwrap_or('\u{fffd}')
                .to_string(),
            ('f' | 'F', Val::Float(f)) => {
                let p = self.precision.unwrap_or(6);
                signed(
                    if f.is_finite() {
                        format!("{f:.p$}")
                    } else {
                        general(*f)
                    },
                    *f < 0.0,
                )
            }
            ('e', Val::Float(f)) => {
                let p = self.precision.unwrap_or(6);
                signed(exponent(&format!("{f:.p$e}")), *f < 0.0)
            }
            ('g' | 'v', Val::Float(f)) => signed(general(*f), *f < 0.0),
            ('t', Val::Bool(b)) => b.to_string(),
            ('q', Val::Str(text)) => format!("{:?}", String::from_utf8_lossy(text)),
            ('x', Val::Str(text) | Val::Bytes(text)) => {
                let mut out = Vec::new();
                crate::value::hex(text, &mut out);
                String::from_utf8_lossy(&out).into_owned()
            }
            ('s', Val::Int(_) | Val::Float(_) | Val::Bool(_) | Val::Nil) => format!("%!s({})", bad(value)),
            ('s' | 'v', other) => {
                let text = plain(other);
                match self.precision {
                    Some(p) if letter == 's' => text.chars().take(p).collect(),
                    _ => text,
                }
            }
            _ => format!("%!{letter}({})", bad(value)),
        })
    }

    fn pad(&self, text: &str, value: &Val<'_>, letter: char, out: &mut String) {
        let len = text.chars().count();
        let missing = self.width.unwrap_or(0).saturating_sub(len);
        let numeric =
            matches!(value, Val::Int(_) | Val::Float(_)) && self.precision.is_none_or(|_| letter != 'd');
        if self.minus {
            out.push_str(text);
            out.extend(std::iter::repeat_n(' ', missing));
        } else if self.zero && numeric {
            let sign = usize::from(text.starts_with(['-', '+', ' ']));
            out.push_str(&text[..sign]);
            out.extend(std::iter::repeat_n('0', missing));
            out.push_str(&text[sign..]);
        } else {
            out.extend(std::iter::repeat_n(' ', missing));
            out.push_str(text);
        }
    }
}

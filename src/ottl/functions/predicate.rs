//! Questions that are answered with true or false.

use wire::view::Any;

use super::{Args, Def, any};
use crate::error::{Error, Result};
use crate::paths::{Context, Level};
use crate::value::Val;

pub(crate) const DEFS: &[Def] = &[
    Def::get("IsBool", &[any("target")], |a| {
        Ok(Val::Bool(matches!(a.any(0)?, Val::Bool(_))))
    }),
    Def::get("IsDouble", &[any("target")], |a| {
        Ok(Val::Bool(matches!(a.any(0)?, Val::Float(_))))
    }),
    Def::get("IsInt", &[any("target")], |a| {
        Ok(Val::Bool(matches!(a.any(0)?, Val::Int(_))))
    }),
    Def::get("IsString", &[any("target")], |a| {
        Ok(Val::Bool(matches!(a.any(0)?, Val::Str(_))))
    }),
    Def::get("IsMap", &[any("target")], |a| {
        Ok(Val::Bool(matches!(a.any(0)?, Val::Map(_))))
    }),
    Def::get("IsList", &[any("target")], |a| {
        let target = a.any(0)?;
        let slice = matches!(&target, Val::Opaque(opaque) if opaque.len.is_some());
        Ok(Val::Bool(slice || matches!(target, Val::List(_))))
    }),
    Def::get("HasPrefix", &[any("target"), any("prefix")], |a| {
        Ok(Val::Bool(a.str(0)?.starts_with(&a.str(1)?)))
    }),
    Def::get("HasSuffix", &[any("target"), any("suffix")], |a| {
        Ok(Val::Bool(a.str(0)?.ends_with(&a.str(1)?)))
    }),
    Def::get("IsValidLuhn", &[any("target")], |a| {
        let text = a.string_like(0)?.ok_or(Error::new("the number is nil"))?;
        luhn(&text).map(Val::Bool)
    }),
    Def::get("IsRootSpan", &[], |a| {
        let view = a.cx.view.ok_or(Error::new("there is no span here"))?;
        let parent = view.text(a.cx.item[Level::Record as usize], PARENT_SPAN_ID);
        Ok(Val::Bool(parent.iter().all(|b| *b == 0)))
    })
    .only(&[Context::Span]),
    Def::get("HasAttrKeyOnDatapoint", &[any("key")], |a| {
        let key = a.str(0)?;
        points(a, |view, n| view.find(n, &key).is_some())
    })
    .only(&[Context::Metric]),
    Def::get("HasAttrOnDatapoint", &[any("key"), any("expected_val")], |a| {
        let (key, expected) = (a.str(0)?, a.str(1)?);
        points(a, |view, n| {
            let value = view.get(n, &key).map(|v| v.any());
            matches!(value, Some(Any::Str(text)) if text == &*expected)
        })
    })
    .only(&[Context::Metric]),
];

/// `Span.parent_span_id`.
const PARENT_SPAN_ID: u32 = 4;

/// Whether a test holds for any point of the metric.
fn points<'c>(a: Args<'c>, test: impl Fn(&wire::view::View<'_>, u32) -> bool) -> Result<Val<'c>> {
    let view = a.cx.view.ok_or(Error::new("there is no metric here"))?;
    let metric = a.cx.item[Level::Record as usize];
    let mut points = metric + 1..view.subtree_end(metric);
    Ok(Val::Bool(points.any(|n| {
        view.parent(n) == Some(metric) && !view.is_removed(n) && test(view, n)
    })))
}

/// Whether the last digit is the check digit of the others; spaces do not count.
fn luhn(text: &[u8]) -> Result<bool> {
    let mut sum = 0u32;
    let mut seen = 0u32;
    for b in text.iter().rev().filter(|b| **b != b' ') {
        if !b.is_ascii_digit() {
            return Err(Error::new("the number has something that is no digit"));
        }
        let digit = u32::from(b - b'0');
        let doubled = digit * 2;
        sum += match seen % 2 {
            0 => digit,
            _ if doubled > 9 => doubled - 9,
            _ => doubled,
        };
        sum %= 10;
        seen += 1;
    }
    Ok(seen > 0 && sum == 0)
}

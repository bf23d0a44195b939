//! From one type to another.

use std::borrow::Cow;

use super::{Args, Def, any};
use crate::error::{Error, Result};
use crate::value::Val;

pub(crate) const DEFS: &[Def] = &[
    Def::get("Bool", &[any("target")], |a| {
        Ok(match a.any(0)? {
            Val::Nil => Val::Nil,
            Val::Bool(b) => Val::Bool(b),
            Val::Int(i) => Val::Bool(i != 0),
            Val::Float(f) => Val::Bool(f != 0.0),
            Val::Str(text) => match &*text {
                b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => Val::Bool(true),
                b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => Val::Bool(false),
                _ => return Err(Error::unfit("the text is no bool")),
            },
            other => return Err(Error::expected("bool, number or string", &other)),
        })
    }),
    Def::get("Double", &[any("target")], |a| {
        Ok(float_like(&a.any(0)?)?.map_or(Val::Nil, Val::Float))
    }),
    Def::get("Int", &[any("target")], |a| {
        Ok(match a.any(0)? {
            Val::Nil => Val::Nil,
            Val::Int(i) => Val::Int(i),
            // Cut towards zero; what does not fit is cut to the nearest.
            Val::Float(f) => Val::Int(f as i64),
            Val::Bool(b) => Val::Int(i64::from(b)),
            Val::Str(text) => {
                let text = std::str::from_utf8(&text).ok();
                text.and_then(|t| t.parse().ok()).map_or(Val::Nil, Val::Int)
            }
            other => return Err(Error::expected("number, bool or string", &other)),
        })
    }),
    Def::get("String", &[any("target")], |a| {
        Ok(a.string_like(0)?.map_or(Val::Nil, Val::Str))
    }),
    Def::get("Log", &[any("target")], |a| match float_like(&a.any(0)?)? {
        Some(f) if f > 0.0 => Ok(Val::Float(f.ln())),
        Some(_) => Err(Error::new("the logarithm needs a number above 0")),
        None => Err(Error::new("the logarithm of nil")),
    }),
];

/// A number out of what looks like one; none for nil.
pub(crate) fn float_like(value: &Val<'_>) -> Result<Option<f64>> {
    Ok(Some(match value {
        Val::Nil => return Ok(None),
        Val::Float(f) => *f,
        Val::Int(i) => *i as f64,
        Val::Bool(b) => f64::from(u8::from(*b)),
        Val::Str(text) => {
            let text = std::str::from_utf8(text).ok();
            let number = text.and_then(|t| t.parse::<f64>().ok());
            number.ok_or(Error::new("the text is no number"))?
        }
        other => return Err(Error::expected("number, bool or string", other)),
    }))
}

/// The bytes of a value: text and bytes as they are, numbers with the highest byte first. None for nil.
pub(super) fn bytes_like<'c>(a: &Args<'c>, i: usize) -> Result<Option<Cow<'c, [u8]>>> {
    Ok(Some(match a.any(i)? {
        Val::Nil => return Ok(None),
        Val::Bytes(bytes) | Val::Str(bytes) => bytes,
        Val::Int(i) => Cow::Owned(i.to_be_bytes().to_vec()),
        Val::Float(f) => Cow::Owned(f.to_be_bytes().to_vec()),
        Val::Bool(b) => Cow::Owned(vec![u8::from(b)]),
        Val::TraceId(id) | Val::ProfileId(id) => Cow::Owned(id.to_vec()),
        Val::SpanId(id) => Cow::Owned(id.to_vec()),
        other => return Err(Error::expected("bytes, string or number", &other)),
    }))
}

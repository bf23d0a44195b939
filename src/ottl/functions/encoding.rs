//! Texts and bytes: base64, hexadecimal, character sets, ids.

use std::borrow::Cow;

use codec::base64::{self, Alphabet};
use encoding_rs::Encoding;

use super::conversion::bytes_like;
use super::{Args, Def, Kind, Ready, any, lit_utf8, opt};
use crate::access::unhex;
use crate::error::{Error, Result};
use crate::eval::Arg;
use crate::value::{Val, hex};

pub(crate) const DEFS: &[Def] = &[
    Def::get("Base64Decode", &[any("target")], |a| {
        Ok(Val::text(from_base64(&a.utf8(0)?, "base64").ok_or(NOT_BASE64)?))
    }),
    Def::get("Base64Encode", &[any("target"), opt("variant", Kind::Str)], |a| {
        let variant = std::str::from_utf8(a.lit_str(1).unwrap_or(b"base64")).unwrap_or("");
        Ok(Val::text(to_base64(&a.str(0)?, variant)))
    })
    .prepared(|args, _| match lit_utf8(&args[1])? {
        None | Some("base64" | "base64-raw" | "base64-url" | "base64-raw-url") => Ok(()),
        Some(other) => Err(format!("unsupported base64 variant \"{other}\"")),
    }),
    Def::get("Decode", &[any("target"), any("encoding")], |a| {
        let bytes = match a.any(0)? {
            Val::Str(bytes) | Val::Bytes(bytes) => bytes,
            other => return Err(Error::expected("string or bytes", &other)),
        };
        match a.ready(1) {
            Some(Ready::Charset(charset)) => charset.decode(&bytes).map(Val::text),
            _ => Charset::named(&a.utf8(1)?)
                .map_err(Error::text)?
                .decode(&bytes)
                .map(Val::text),
        }
    })
    .prepared(|args, _| {
        if let Some(name) = lit_utf8(&args[1])? {
            args[1] = Arg::Ready(Ready::Charset(Charset::named(name)?));
        }
        Ok(())
    }),
    Def::get("Hex", &[any("target")], |a| {
        let mut out = Vec::new();
        hex(&bytes_like(&a, 0)?.unwrap_or(Cow::Borrowed(&[])), &mut out);
        Ok(Val::text(out))
    }),
    Def::get("TraceID", &[any("target")], |a| id(&a).map(Val::TraceId)),
    Def::get("ProfileID", &[any("target")], |a| id(&a).map(Val::ProfileId)),
    Def::get("SpanID", &[any("target")], |a| id(&a).map(Val::SpanId)),
];

const NOT_BASE64: Error = Error::new("the text is not base64");

/// An id of raw bytes, or of twice as many hexadecimal digits.
fn id<const N: usize>(a: &Args<'_>) -> Result<[u8; N]> {
    let bytes = bytes_like(a, 0)?.unwrap_or(Cow::Borrowed(&[]));
    let id = <[u8; N]>::try_from(&*bytes).ok().or_else(|| unhex(&bytes));
    id.ok_or_else(|| {
        Error::unfit(format!(
            "an id has {N} bytes, or twice as many hexadecimal digits"
        ))
    })
}

fn to_base64(bytes: &[u8], variant: &str) -> String {
    let padded = !variant.contains("raw");
    let alphabet = if variant.contains("url") {
        Alphabet::Url
    } else {
        Alphabet::Standard
    };
    let mut text = base64::encode(alphabet, bytes);
    let bare = text.trim_end_matches('=').len();
    text.truncate(bare);
    if padded {
        text.extend(std::iter::repeat_n('=', bare.next_multiple_of(4) - bare));
    }
    text
}

fn from_base64(text: &str, variant: &str) -> Option<Vec<u8>> {
    // As Go does, line ends are passed over.
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bare = text.trim_end_matches('=');
    let padded = bare.len().next_multiple_of(4);
    let right = if variant.contains("raw") {
        bare.len()
    } else {
        padded
    };
    if text.len() != right {
        return None;
    }
    if variant.contains("url") {
        return base64::decode(Alphabet::Url, bare);
    }
    let padding = "=".repeat(padded - bare.len());
    base64::decode(Alphabet::Standard, &(bare.to_owned() + &padding))
}

/// How bytes become text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Charset {
    Base64(&'static str),
    /// As it is.
    Nop,
    Named(&'static Encoding),
}

impl Charset {
    fn named(name: &str) -> std::result::Result<Charset, String> {
        let variants = ["base64", "base64-raw", "base64-url", "base64-raw-url"];
        if let Some(variant) = variants.into_iter().find(|v| *v == name) {
            return Ok(Charset::Base64(variant));
        }
        Ok(match name.to_ascii_lowercase().as_str() {
            "nop" => Charset::Nop,
            "ascii" | "us-ascii" | "utf-8" | "utf8" => Charset::Named(encoding_rs::UTF_8),
            "utf-16" | "utf16" | "utf-16le" => Charset::Named(encoding_rs::UTF_16LE),
            lower => {
                let found = Encoding::for_label(lower.as_bytes());
                Charset::Named(found.ok_or_else(|| format!("no decoder for the encoding \"{name}\""))?)
            }
        })
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(match self {
            Charset::Nop => bytes.to_vec(),
            Charset::Base64(variant) => {
                let text = std::str::from_utf8(bytes).map_err(|_| NOT_BASE64)?;
                from_base64(text, variant).ok_or(NOT_BASE64)?
            }
            Charset::Named(encoding) => {
                let (text, ..) = encoding.decode(bytes);
                text.into_owned().into_bytes()
            }
        })
    }
}

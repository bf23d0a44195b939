//! Lines of access logs in the common and the combined format, which only `transform` reads, and only in logs.

use super::{Args, Def, Kind, any, lit_str, opt};
use crate::error::{Error, Result};
use crate::paths::Context;
use crate::value::{MapBuilder, Val};

pub(crate) const DEFS: &[Def] = &[
    Def::get("ParseCLF", &[any("target"), opt("format", Kind::Str)], |a| {
        parse(&a)
    })
    .prepared(|args, _| match lit_str(&args[1]) {
        None | Some(b"clf" | b"combined") => Ok(()),
        _ => Err("the format must be \"clf\" or \"combined\"".into()),
    })
    .in_contexts(&[Context::Log]),
];

fn parse(a: &Args<'_>) -> Result<Val<'static>> {
    let line = a.str(0)?;
    let combined = a.lit_str(1) == Some(b"combined");
    read(&line, combined).ok_or(Error::new(
        "the text is not a line of an access log in this format",
    ))
}

/// What is left of a line.
struct Rest<'l>(&'l [u8]);

impl<'l> Rest<'l> {
    /// Text to the next space, which goes too.
    fn word(&mut self) -> Option<&'l [u8]> {
        let len = self.0.iter().position(|b| *b == b' ').unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(len);
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }

    fn space(&mut self) -> Option<()> {
        self.0 = self.0.strip_prefix(b" ")?;
        Some(())
    }

    /// Text between two characters; a backslash keeps the one behind it.
    fn between(&mut self, open: u8, close: u8) -> Option<Vec<u8>> {
        let mut rest = self.0.strip_prefix(&[open])?;
        let mut text = Vec::new();
        loop {
            match rest {
                [b'\\', b, more @ ..] if *b == close || *b == b'\\' => {
                    text.push(*b);
                    rest = more;
                }
                [b, more @ ..] if *b == close => {
                    self.0 = more;
                    return Some(text);
                }
                [b, more @ ..] => {
                    text.push(*b);
                    rest = more;
                }
                [] => return None,
            }
        }
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    let plain = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

fn read(line: &[u8], combined: bool) -> Option<Val<'static>> {
    let mut rest = Rest(line);
    let mut map = MapBuilder::default();
    for key in ["clf.remote_host", "clf.rfc931", "clf.auth_user"] {
        map.put_str(key, rest.word()?);
        rest.space()?;
    }
    map.put_str("clf.timestamp", &rest.between(b'[', b']')?);
    rest.space()?;
    let request = rest.between(b'"', b'"')?;
    rest.space()?;
    map.put_str("clf.request", &request);
    // Clients that send no request line leave something else there.
    let parts: Vec<&[u8]> = request.split(|b| *b == b' ').collect();
    if let [method, uri, protocol] = parts[..] {
        map.put_str("clf.method", method);
        map.put_str("clf.request_uri", uri);
        map.put_str("clf.protocol", protocol);
    }
    map.put(b"clf.status", &Val::Int(number(rest.word()?)?)).ok()?;
    rest.space()?;
    let bytes = rest.word()?;
    if bytes != b"-" {
        map.put(b"clf.bytes", &Val::Int(number(bytes)?)).ok()?;
    }
    if combined {
        for key in ["clf.referer", "clf.user_agent"] {
            rest.space()?;
            map.put_str(key, &rest.between(b'"', b'"')?);
        }
    }
    rest.0.is_empty().then(|| map.value())
}

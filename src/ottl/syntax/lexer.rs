//! Text to tokens. The first rule that matches wins, as in the collector: `1e3` is a number and a name.

use super::{Fault, Span, fault};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Bytes,
    Float,
    Int,
    Str,
    Nil,
    Not,
    Or,
    And,
    True,
    False,
    /// `==`, `!=`, `>=`, `<=`, `>`, `<`.
    Compare,
    Arrow,
    Plus,
    Minus,
    Star,
    Slash,
    Equal,
    Open,
    Close,
    OpenBrace,
    CloseBrace,
    OpenBracket,
    CloseBracket,
    Colon,
    Comma,
    Dot,
    Upper,
    Lower,
    Underscore,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) span: Span,
}

/// All tokens of a text, with one [`Token::End`] behind them.
pub(super) fn lex(text: &str) -> Result<Vec<Lexeme>, Fault> {
    let bytes = text.as_bytes();
    let mut found = Vec::with_capacity(text.len() / 3 + 1);
    let mut at = 0;
    while at < bytes.len() {
        if matches!(bytes[at], b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c) {
            at += 1;
            continue;
        }
        let (token, len) = one(text, at)?;
        found.push(Lexeme {
            token,
            span: Span::new(at, at + len),
        });
        at += len;
    }
    found.push(Lexeme {
        token: Token::End,
        span: Span::new(text.len(), text.len()),
    });
    Ok(found)
}

fn run(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|&b| !is(b)).unwrap_or(bytes.len())
}

fn one(text: &str, at: usize) -> Result<(Token, usize), Fault> {
    let rest = &text.as_bytes()[at..];
    let second = rest.get(1).copied();
    Ok(match rest[0] {
        b'0' if second == Some(b'x') && rest.get(2).is_some_and(u8::is_ascii_hexdigit) => {
            (Token::Bytes, 2 + run(&rest[2..], |b| b.is_ascii_hexdigit()))
        }
        b'0'..=b'9' | b'.' => number(rest),
        b'"' => (Token::Str, string(text, at)?),
        b'a'..=b'z' => lower(rest),
        b'A'..=b'Z' => {
            let len = run(rest, |b| {
                b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'
            });
            (Token::Upper, len)
        }
        b'_' if !second.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') => (Token::Underscore, 1),
        b'=' | b'!' | b'<' | b'>' if second == Some(b'=') => (Token::Compare, 2),
        b'<' | b'>' => (Token::Compare, 1),
        b'=' if second == Some(b'>') => (Token::Arrow, 2),
        b'=' => (Token::Equal, 1),
        b'+' => (Token::Plus, 1),
        b'-' => (Token::Minus, 1),
        b'*' => (Token::Star, 1),
        b'/' => (Token::Slash, 1),
        b'(' => (Token::Open, 1),
        b')' => (Token::Close, 1),
        b'{' => (Token::OpenBrace, 1),
        b'}' => (Token::CloseBrace, 1),
        b'[' => (Token::OpenBracket, 1),
        b']' => (Token::CloseBracket, 1),
        b':' => (Token::Colon, 1),
        b',' => (Token::Comma, 1),
        _ => return Err(foreign(text, at)),
    })
}

fn number(rest: &[u8]) -> (Token, usize) {
    let digits = |from: usize| run(&rest[from..], |b| b.is_ascii_digit());
    let whole = digits(0);
    if rest.get(whole) != Some(&b'.') {
        return (Token::Int, whole);
    }
    let fraction = digits(whole + 1);
    if whole + fraction == 0 {
        return (Token::Dot, 1);
    }
    let mut len = whole + 1 + fraction;
    if matches!(rest.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(len + 1), Some(b'+' | b'-')));
        let exponent = rest
            .get(len + 1 + sign..)
            .map_or(0, |r| run(r, |b| b.is_ascii_digit()));
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    (Token::Float, len)
}

fn lower(rest: &[u8]) -> (Token, usize) {
    let word = run(rest, |b| b.is_ascii_alphanumeric() || b == b'_');
    let keyword = match &rest[..word] {
        b"nil" => Some(Token::Nil),
        b"not" => Some(Token::Not),
        b"or" => Some(Token::Or),
        b"and" => Some(Token::And),
        b"true" => Some(Token::True),
        b"false" => Some(Token::False),
        _ => None,
    };
    match keyword {
        Some(token) => (token, word),
        None => {
            let len = run(rest, |b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'
            });
            (Token::Lower, len)
        }
    }
}

fn string(text: &str, at: usize) -> Result<usize, Fault> {
    let bytes = text.as_bytes();
    let mut end = at + 1;
    while let Some(&b) = bytes.get(end) {
        match b {
            b'"' => return Ok(end + 1 - at),
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    let place = Span::new(at, at + 1);
    Err(fault(text, place, "the text that begins here has no end").with_help("close it with \""))
}

#[cold]
fn foreign(text: &str, at: usize) -> Fault {
    let c = text[at..].chars().next().unwrap_or(' ');
    let fault = fault(
        text,
        Span::new(at, at + c.len_utf8()),
        format!("unexpected character {c:?}"),
    );
    match c {
        '\'' | '`' | '\u{201c}' | '\u{201d}' => fault.with_help("text stands between double quotes"),
        '|' => fault.with_help("write \"or\""),
        '&' => fault.with_help("write \"and\""),
        '!' => fault.with_help("write \"not\""),
        _ => fault,
    }
}

/// What stands between the quotes, escapes resolved as Go does.
pub(super) fn unquote(text: &str, span: Span) -> Result<Vec<u8>, Fault> {
    let (start, end) = (span.start as usize + 1, span.end as usize - 1);
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(end - start);
    let mut at = start;
    while at < end {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        at += escape(text, at, end, &mut out)?;
    }
    Ok(out)
}

/// Appends what the escape at `at` stands for; gives its length.
fn escape(text: &str, at: usize, end: usize, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let bytes = text.as_bytes();
    let code = |from: usize, digits: usize, radix: u32| {
        let digits = text.get(from..from + digits).filter(|_| from + digits <= end)?;
        let all = digits.bytes().all(|b| char::from(b).is_digit(radix));
        all.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
    };
    let single = match bytes[at + 1] {
        b'a' => Some(7),
        b'b' => Some(8),
        b'f' => Some(12),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'v' => Some(11),
        b @ (b'\\' | b'"') => Some(b),
        _ => None,
    };
    if let Some(byte) = single {
        out.push(byte);
        return Ok(2);
    }
    let (number, len) = match bytes[at + 1] {
        b'x' => (code(at + 2, 2, 16), 4),
        b'0'..=b'7' => (code(at + 1, 3, 8), 4),
        b'u' => (code(at + 2, 4, 16), 6),
        b'U' => (code(at + 2, 8, 16), 10),
        _ => (None, 0),
    };
    let byte = matches!(bytes[at + 1], b'x' | b'0'..=b'7');
    match number {
        Some(number) if byte && number < 256 => out.push(number as u8),
        Some(number) if !byte && let Some(c) = char::from_u32(number) => {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        _ => return Err(unknown_escape(text, at)),
    }
    Ok(len)
}

#[cold]
fn unknown_escape(text: &str, at: usize) -> Fault {
    let c = text[at + 1..].chars().next().unwrap_or(' ');
    let place = Span::new(at, at + 1 + c.len_utf8());
    fault(text, place, format!("unknown escape \"\\{c}\""))
        .with_help(format!("a backslash is written twice: \"\\\\{c}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match lex(text) {
            Ok(found) => {
                let words: Vec<_> = found
                    .iter()
                    .filter(|l| l.token != Token::End)
                    .map(|l| {
                        format!(
                            "{:?}:{}",
                            l.token,
                            &text[l.span.start as usize..l.span.end as usize]
                        )
                    })
                    .collect();
                words.join(" ")
            }
            Err(fault) => format!("error {}: {}", fault.span.start, fault.message),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn the_first_rule_wins() {
        check("0xAf1", "Bytes:0xAf1");
        check("0x", "Int:0 Lower:x");
        check("1. .5 1.5e3 1.5e-3", "Float:1. Float:.5 Float:1.5e3 Float:1.5e-3");
        check("1e3", "Int:1 Lower:e3");
        check("1.5e", "Float:1.5 Lower:e");
        check("-1", "Minus:- Int:1");
        check(".", "Dot:.");
        check(
            "IsMatch SHA256 a_b",
            "Upper:I Lower:s Upper:M Lower:atch Upper:SHA256 Lower:a_b",
        );
        check(
            "nil nils or order True",
            "Nil:nil Lower:nils Or:or Lower:order Upper:T Lower:rue",
        );
        check("not and true false", "Not:not And:and True:true False:false");
        check(
            "== != >= <= > < => =",
            "Compare:== Compare:!= Compare:>= Compare:<= Compare:> Compare:< Arrow:=> Equal:=",
        );
        check("_ ", "Underscore:_");
        check("a[\"x\"]", "Lower:a OpenBracket:[ Str:\"x\" CloseBracket:]");
        check("\"a\\\"b\nc\"", "Str:\"a\\\"b\nc\"");
        check("\"abc", "error 0: the text that begins here has no end");
        check("\"abc\\\"", "error 0: the text that begins here has no end");
        check("a ! b", "error 2: unexpected character '!'");
        check("é", "error 0: unexpected character 'é'");
        check("__", "error 0: unexpected character '_'");
    }

    #[test]
    fn escapes_are_gos() {
        let check = |text: &str, expected: Result<&[u8], &str>| {
            let found = unquote(text, Span::new(0, text.len())).map_err(|f| f.message);
            assert_eq!(
                found,
                expected.map(<[u8]>::to_vec).map_err(str::to_owned),
                "{text}"
            );
        };
        check(r#""""#, Ok(b""));
        check(r#""\a\b\f\n\r\t\v\\\"""#, Ok(b"\x07\x08\x0c\n\r\t\x0b\\\""));
        check(
            r#""\x41\101\u00e9\U0001F600""#,
            Ok("AA\u{e9}\u{1f600}".as_bytes()),
        );
        check(r#""\xff""#, Ok(b"\xff"));
        check(r#""\d""#, Err(r#"unknown escape "\d""#));
        check(r#""\'""#, Err(r#"unknown escape "\'""#));
        check(r#""\x4""#, Err(r#"unknown escape "\x""#));
        check(r#""\400""#, Err(r#"unknown escape "\4""#));
        check(r#""\ud800""#, Err(r#"unknown escape "\u""#));
        check(r#""\u12é4""#, Err(r#"unknown escape "\u""#));
        check(r#""\é""#, Err(r#"unknown escape "\é""#));
    }
}

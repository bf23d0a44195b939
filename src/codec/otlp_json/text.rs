//! JSON text, token by token.
//!
//! In: the bytes of a JSON document (RFC 8259), UTF-8 or not: bytes in strings are handed on as they are. Out: slices of
//! them, or a fault with its place. Nothing here recurses; values that are skipped are checked like those that are read.

use std::fmt;

use super::plain_len;

/// JSON text that is no request: where, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Offset in the text, in bytes.
    pub position: usize,
    /// Name of the innermost known field there.
    pub field: Option<&'static str>,
    /// What is wrong there.
    pub reason: Reason,
}

/// Why JSON text is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The text is over.
    End,
    /// Something else than this.
    Expected(&'static str),
    /// A byte below 0x20 in a string.
    Control,
    /// A backslash with something behind it that JSON does not know.
    Escape,
    /// Something that begins like a number.
    Number,
    /// Not an integer that fits the field.
    Integer,
    /// Not a number, or too large for a double.
    Double,
    /// An id of another length than its kind has.
    IdLength,
    /// An id that is not hex.
    Hex,
    /// Bytes that are not base64.
    Base64,
    /// A name that the field's enum does not have.
    EnumName,
    /// Nested deeper than the limit.
    Depth,
}

impl Invalid {
    #[cold]
    pub(super) fn at(position: usize, reason: Reason) -> Invalid {
        Invalid {
            position,
            field: None,
            reason,
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed OTLP/JSON at byte {}", self.position)?;
        if let Some(field) = self.field {
            write!(f, ", in {field}")?;
        }
        f.write_str(": ")?;
        f.write_str(match self.reason {
            Reason::End => "unexpected end of the text",
            Reason::Expected(what) => return write!(f, "expected {what}"),
            Reason::Control => "control character in a string",
            Reason::Escape => "illegal escape in a string",
            Reason::Number => "illegal number",
            Reason::Integer => "not an integer in the range of this field",
            Reason::Double => "not a number in the range of a double",
            Reason::IdLength => "length mismatch",
            Reason::Hex => "not hexadecimal",
            Reason::Base64 => "not base64",
            Reason::EnumName => "unknown string value",
            Reason::Depth => "values nested too deep",
        })
    }
}

impl std::error::Error for Invalid {}

/// Most arrays and objects within each other in a value that is skipped.
const SKIPPED_DEPTH_MAX: usize = 1024;

/// A cursor in JSON text.
#[derive(Debug)]
pub(super) struct Text<'a> {
    json: &'a [u8],
    pos: usize,
}

/// What stands between two quotes; its escapes are known to be well formed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quoted<'a> {
    pub(super) raw: &'a [u8],
    pub(super) escaped: bool,
}

impl<'a> Text<'a> {
    pub(super) fn new(json: &'a [u8]) -> Text<'a> {
        Text { json, pos: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.pos
    }

    #[cold]
    pub(super) fn fault(&self, reason: Reason) -> Invalid {
        Invalid::at(self.pos, reason)
    }

    /// "Expected this", or "the end" where the text is over.
    #[cold]
    pub(super) fn expected(&self, what: &'static str) -> Invalid {
        let is_over = self.pos >= self.json.len();
        self.fault(if is_over {
            Reason::End
        } else {
            Reason::Expected(what)
        })
    }

    /// The next byte that is no white space, which stays there.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.json.get(self.pos) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.pos += 1,
                other => return other.copied(),
            }
        }
    }

    /// Takes the next byte if it is this one.
    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.pos += usize::from(is);
        is
    }

    /// Takes `word` if it stands here.
    fn word(&mut self, word: &'static str) -> Result<(), Invalid> {
        if !self.json[self.pos..].starts_with(word.as_bytes()) {
            return Err(self.expected(word));
        }
        self.pos += word.len();
        Ok(())
    }

    /// Takes a null if there is one.
    #[inline(always)]
    pub(super) fn null(&mut self) -> Result<bool, Invalid> {
        if self.peek() != Some(b'n') {
            return Ok(false);
        }
        self.word("null").map(|()| true)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Invalid> {
        match self.peek() {
            Some(b't') => self.word("true").map(|()| true),
            Some(b'f') => self.word("false").map(|()| false),
            _ => Err(self.expected("true or false")),
        }
    }

    #[inline]
    pub(super) fn string(&mut self) -> Result<Quoted<'a>, Invalid> {
        if !self.take(b'"') {
            return Err(self.expected("a string"));
        }
        let start = self.pos;
        let mut escaped = false;
        loop {
            self.pos += plain_len(&self.json[self.pos..]);
            match self.json.get(self.pos) {
                Some(b'"') => {
                    let raw = &self.json[start..self.pos];
                    self.pos += 1;
                    return Ok(Quoted { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.fault(Reason::Control)),
                None => return Err(self.fault(Reason::End)),
            }
        }
    }

    /// Steps over one escape.
    fn escape(&mut self) -> Result<(), Invalid> {
        let len = match self.json.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => 6,
            Some(_) => return Err(self.fault(Reason::Escape)),
            None => 2,
        };
        let Some(escape) = self.json.get(self.pos..self.pos + len) else {
            self.pos = self.json.len();
            return Err(self.fault(Reason::End));
        };
        if !escape[2..].iter().all(u8::is_ascii_hexdigit) {
            return Err(self.fault(Reason::Escape));
        }
        self.pos += len;
        Ok(())
    }

    /// The text of a number, by JSON's grammar.
    pub(super) fn number(&mut self) -> Result<&'a [u8], Invalid> {
        self.peek();
        let start = self.pos;
        self.pos += usize::from(self.json.get(self.pos) == Some(&b'-'));
        let whole = self.digits();
        let leading_zero = whole > 1 && self.json[self.pos - whole] == b'0';
        if whole == 0 || leading_zero {
            self.pos = start;
            let begun = self
                .json
                .get(start)
                .is_some_and(|b| matches!(b, b'-' | b'0'..=b'9'));
            return Err(if begun {
                self.fault(Reason::Number)
            } else {
                self.expected("a number")
            });
        }
        if self.json.get(self.pos) == Some(&b'.') {
            self.pos += 1;
            if self.digits() == 0 {
                return Err(self.fault(Reason::Number));
            }
        }
        if let Some(b'e' | b'E') = self.json.get(self.pos) {
            self.pos += 1;
            self.pos += usize::from(matches!(self.json.get(self.pos), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return Err(self.fault(Reason::Number));
            }
        }
        Ok(&self.json[start..self.pos])
    }

    fn digits(&mut self) -> usize {
        let rest = &self.json[self.pos..];
        let count = rest
            .iter()
            .position(|b| !b.is_ascii_digit())
            .unwrap_or(rest.len());
        self.pos += count;
        count
    }

    /// Takes a whole value, whatever it is.
    pub(super) fn skip(&mut self) -> Result<(), Invalid> {
        // One bit a level: whether it is an object.
        let mut objects = [0u64; SKIPPED_DEPTH_MAX / 64];
        let mut depth = 0;
        loop {
            let mut begun = false;
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if depth == SKIPPED_DEPTH_MAX {
                        return Err(self.fault(Reason::Depth));
                    }
                    self.pos += 1;
                    let (word, bit) = (depth / 64, 1 << (depth % 64));
                    objects[word] = if open == b'{' {
                        objects[word] | bit
                    } else {
                        objects[word] & !bit
                    };
                    depth += 1;
                    begun = true;
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b't' | b'f') => {
                    self.bool()?;
                }
                Some(b'n') => {
                    self.null()?;
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                }
                _ => return Err(self.expected("a value")),
            }
            // Close what ends here, then step to the next value.
            loop {
                let Some(level) = depth.checked_sub(1) else {
                    return Ok(());
                };
                let is_object = objects[level / 64] >> (level % 64) & 1 == 1;
                let end = if is_object { b'}' } else { b']' };
                if self.take(end) {
                    depth -= 1;
                    begun = false;
                    continue;
                }
                if !begun && !self.take(b',') {
                    return Err(self.expected(if is_object { "',' or '}'" } else { "',' or ']'" }));
                }
                if is_object {
                    self.key()?;
                }
                break;
            }
        }
    }

    /// A key and the colon behind it.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Quoted<'a>, Invalid> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key"));
        }
        let key = self.string()?;
        if !self.take(b':') {
            return Err(self.expected("':'"));
        }
        Ok(key)
    }
}

impl Quoted<'_> {
    /// Appends the text without its escapes. Halves of surrogate pairs that stand alone become U+FFFD.
    pub(super) fn unescape(&self, out: &mut Vec<u8>) {
        let mut rest = self.raw;
        while let Some(at) = rest.iter().position(|b| *b == b'\\') {
            out.extend_from_slice(&rest[..at]);
            let mut len = 2;
            match rest[at + 1] {
                b'b' => out.push(8),
                b'f' => out.push(12),
                b'n' => out.push(b'\n'),
                b'r' => out.push(b'\r'),
                b't' => out.push(b'\t'),
                b'u' => {
                    let char;
                    (char, len) = unicode(&rest[at..]);
                    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                }
                itself => out.push(itself),
            }
            rest = &rest[at + len..];
        }
        out.extend_from_slice(rest);
    }
}

/// The character of a `\u` escape, or of two that are a pair, and how long they are.
fn unicode(escape: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = escape.get(at..at + 6).filter(|e| e.starts_with(b"\\u"))?;
        let digit = |unit: u32, b: &u8| unit << 4 | char::from(*b).to_digit(16).unwrap_or(0);
        Some(digits[2..].iter().fold(0, digit))
    };
    let first = unit(0).unwrap_or(0xfffd);
    if (0xd800..0xdc00).contains(&first)
        && let Some(second @ 0xdc00..0xe000) = unit(6)
    {
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

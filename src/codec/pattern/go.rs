//! From the syntax of Go's `regexp` to that of the `regex` crates, with the same meaning.
//!
//! Both are descendants of RE2, and most patterns are equal in both. What differs is written out here: Perl classes and
//! `\b` are ASCII in Go; `\Q...\E` is literal text; octal escapes; a `[`, `&&`, `--` or `~~` inside a class and a `{`
//! that begins no count are plain characters; `\<` and `\>` are plain too. Everything else is handed on as it is.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::CharIndices;

/// Why a pattern cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct SyntaxError(pub(super) String);

const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t\n\x0C\r ";

/// Rewrites a pattern.
pub(super) fn translate(go: &str) -> Result<String, SyntaxError> {
    let mut t = Translator {
        go,
        chars: go.char_indices().peekable(),
        out: String::with_capacity(go.len() + 16),
    };
    t.pattern()?;
    Ok(t.out)
}

struct Translator<'a> {
    go: &'a str,
    chars: Peekable<CharIndices<'a>>,
    out: String,
}

/// What follows a backslash.
enum Escaped {
    Char(char),
    /// Perl class: what stands between its brackets, and whether it is negated.
    Perl(&'static str, bool),
    /// `\pN`, `\P{Greek}`: as Rust writes it.
    Unicode(String),
    /// An assertion (`\b`, `\A`, ...), as Rust writes it.
    Look(&'static str),
}

impl Translator<'_> {
    fn pattern(&mut self) -> Result<(), SyntaxError> {
        while let Some((at, c)) = self.chars.next() {
            match c {
                '\\' if self.eat('Q') => self.quoted(),
                '\\' => match self.escape(at)? {
                    Escaped::Char(c) => self.char(c),
                    Escaped::Perl(inner, negated) => self.perl(inner, negated),
                    Escaped::Unicode(class) => self.out.push_str(&class),
                    Escaped::Look(look) => self.out.push_str(look),
                },
                '[' => self.class(at)?,
                '{' if !begins_count(&self.go[at..]) => self.out.push_str(r"\{"),
                c => self.out.push(c),
            }
        }
        Ok(())
    }

    /// Text up to `\E`, or to the end.
    fn quoted(&mut self) {
        while let Some((at, c)) = self.chars.next() {
            if self.go[at..].starts_with(r"\E") {
                self.chars.next();
                return;
            }
            self.char(c);
        }
    }

    fn class(&mut self, at: usize) -> Result<(), SyntaxError> {
        let missing = || SyntaxError(format!("missing closing ]: `{}`", &self.go[at..]));
        self.out.push('[');
        if self.eat('^') {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let Some((at, c)) = self.chars.next() else {
                return Err(missing());
            };
            if c == ']' && !first {
                self.out.push(']');
                return Ok(());
            }
            first = false;
            if c == '['
                && let Some(named) = named_class(&self.go[at..])
            {
                self.out.push_str(named);
                for _ in 1..named.len() {
                    self.chars.next();
                }
                continue;
            }
            let Some(low) = self.class_item(at, c)? else {
                continue;
            };
            self.char(low);
            // A range, unless the minus is the last character of the class.
            let mut ahead = self.chars.clone();
            if ahead.next().is_some_and(|(_, c)| c == '-') && ahead.next().is_some_and(|(_, c)| c != ']') {
                self.chars.next();
                let (at, c) = self.chars.next().ok_or_else(missing)?;
                let bad = || SyntaxError(format!("invalid character class range: `{}`", &self.go[at..]));
                let high = match c {
                    '\\' => match self.escape(at)? {
                        Escaped::Char(c) => c,
                        _ => return Err(bad()),
                    },
                    c => c,
                };
                if high < low {
                    return Err(bad());
                }
                self.out.push('-');
                self.char(high);
            }
        }
    }

    /// One member of a class: a character, or a class that was written out already.
    fn class_item(&mut self, at: usize, c: char) -> Result<Option<char>, SyntaxError> {
        if c != '\\' {
            return Ok(Some(c));
        }
        match self.escape(at)? {
            Escaped::Char(c) => return Ok(Some(c)),
            Escaped::Perl(inner, negated) => self.perl(inner, negated),
            Escaped::Unicode(class) => self.out.push_str(&class),
            Escaped::Look(_) => return Err(self.invalid(at)),
        }
        Ok(None)
    }

    fn escape(&mut self, at: usize) -> Result<Escaped, SyntaxError> {
        let Some((_, c)) = self.chars.next() else {
            return Err(SyntaxError("trailing backslash at end of expression".into()));
        };
        Ok(match c {
            'd' => Escaped::Perl(DIGIT, false),
            'D' => Escaped::Perl(DIGIT, true),
            'w' => Escaped::Perl(WORD, false),
            'W' => Escaped::Perl(WORD, true),
            's' => Escaped::Perl(SPACE, false),
            'S' => Escaped::Perl(SPACE, true),
            'b' => Escaped::Look(r"(?-u:\b)"),
            'B' => Escaped::Look(r"(?-u:\B)"),
            'A' => Escaped::Look(r"\A"),
            'z' => Escaped::Look(r"\z"),
            'a' => Escaped::Char('\x07'),
            'f' => Escaped::Char('\x0C'),
            't' => Escaped::Char('\t'),
            'n' => Escaped::Char('\n'),
            'r' => Escaped::Char('\r'),
            'v' => Escaped::Char('\x0B'),
            'p' | 'P' => self.unicode(at, c == 'P')?,
            'x' => Escaped::Char(self.hex(at)?),
            // One digit from 1 to 7 alone would be a back reference, which neither has; more of them are octal.
            '1'..='7' if !self.peek(|c| matches!(c, '0'..='7')) => return Err(self.invalid(at)),
            '0'..='7' => Escaped::Char(self.octal(c)),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Escaped::Char(c),
            _ => return Err(self.invalid(at)),
        })
    }

    /// Up to three digits in all.
    fn octal(&mut self, first: char) -> char {
        let mut value = first as u32 - '0' as u32;
        for _ in 0..2 {
            if !self.peek(|c| matches!(c, '0'..='7')) {
                break;
            }
            if let Some((_, c)) = self.chars.next() {
                value = value * 8 + (c as u32 - '0' as u32);
            }
        }
        // At most 0o777, which is a character.
        char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self, at: usize) -> Result<char, SyntaxError> {
        let mut value: u32 = 0;
        if self.eat('{') {
            let mut digits = 0;
            loop {
                match self.chars.next() {
                    Some((_, '}')) if digits > 0 => break,
                    Some((_, c)) if c.is_ascii_hexdigit() && digits < 8 => {
                        value = value << 4 | c.to_digit(16).unwrap_or(0);
                        digits += 1;
                    }
                    _ => return Err(self.invalid(at)),
                }
            }
        } else {
            for _ in 0..2 {
                match self.chars.next().and_then(|(_, c)| c.to_digit(16)) {
                    Some(digit) => value = value << 4 | digit,
                    None => return Err(self.invalid(at)),
                }
            }
        }
        char::from_u32(value).ok_or_else(|| self.invalid(at))
    }

    fn unicode(&mut self, at: usize, mut negated: bool) -> Result<Escaped, SyntaxError> {
        let name = match self.chars.next() {
            Some((_, '{')) => {
                let mut name = String::new();
                loop {
                    match self.chars.next() {
                        Some((_, '}')) => break,
                        Some((_, c)) => name.push(c),
                        None => return Err(self.invalid(at)),
                    }
                }
                name
            }
            Some((_, c)) => c.to_string(),
            None => return Err(self.invalid(at)),
        };
        let name = match name.strip_prefix('^') {
            Some(rest) => {
                negated = !negated;
                rest
            }
            None => &name,
        };
        let p = if negated { 'P' } else { 'p' };
        Ok(Escaped::Unicode(format!(r"\{p}{{{name}}}")))
    }

    fn perl(&mut self, inner: &str, negated: bool) {
        let not = if negated { "^" } else { "" };
        // Inside a class this is a class within a class, which means the union.
        let _ = write!(self.out, "[{not}{inner}]");
    }

    /// A character that means itself, inside a class or outside.
    fn char(&mut self, c: char) {
        if c.is_alphanumeric() || !c.is_ascii() {
            self.out.push(c);
        } else {
            let _ = write!(self.out, r"\x{{{:X}}}", c as u32);
        }
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.chars.next_if(|(_, c)| *c == wanted).is_some()
    }

    fn peek(&mut self, test: impl Fn(char) -> bool) -> bool {
        self.chars.peek().is_some_and(|(_, c)| test(*c))
    }

    fn invalid(&self, at: usize) -> SyntaxError {
        let shown: String = self.go[at..].chars().take(8).collect();
        SyntaxError(format!("invalid escape sequence: `{shown}`"))
    }
}

/// `{2}`, `{2,}`, `{2,5}`.
fn begins_count(text: &str) -> bool {
    let Some((inner, _)) = text[1..].split_once('}') else {
        return false;
    };
    let (low, high) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

/// `[:alpha:]` or `[:^alpha:]` at the beginning of a text.
fn named_class(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("[:")?;
    let end = rest.find(":]")?;
    let name = rest[..end].strip_prefix('^').unwrap_or(&rest[..end]);
    let known = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    ];
    known.contains(&name).then(|| &text[..end + 4])
}

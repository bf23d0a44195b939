//! The expressions of `match_type: expr`: what they say of a metric and one of its points.
//!
//! A part of the language expr, as far as it is used here: `MetricName`, `MetricType`, `HasLabel("k")`, `Label("k")` and
//! text, compared by `==`, `!=`, `in`, `contains`, `startsWith`, `endsWith` and `matches`, joined by `and`, `or`, `not`
//! (`&&`, `||`, `!`). Anything else is refused.

use codec::pattern::Pattern;
use wire::view::{NodeId, View};

use crate::matching::Scratch;

/// Longest expression, in bytes, and how deep it may nest.
const BYTES_MAX: usize = 16 << 10;
const NESTING_MAX: u32 = 32;

/// An expression that is true or false.
#[derive(Debug)]
pub(super) enum Expr {
    Const(bool),
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Not(Box<Expr>),
    HasLabel(Vec<u8>),
    Compare(Op, Text, Text),
    In(Text, Vec<Text>),
    Matches(Text, Box<Pattern>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Equal,
    NotEqual,
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Debug)]
pub(super) enum Text {
    Literal(Vec<u8>),
    MetricName,
    MetricType,
    Label(Vec<u8>),
}

impl Expr {
    /// Reads an expression. Errors: what is wrong with it.
    pub(super) fn new(source: &str) -> Result<Expr, String> {
        if source.len() > BYTES_MAX {
            return Err(format!("an expression may have up to {BYTES_MAX} bytes"));
        }
        let mut reader = Reader {
            tokens: tokens(source)?,
            next: 0,
            depth: 0,
        };
        let expr = reader.or()?;
        match reader.take() {
            None => Ok(expr),
            Some(token) => Err(format!("unexpected {}", token.shown())),
        }
    }

    /// Whether it holds for a point of a metric.
    pub(super) fn holds(&self, view: &View<'_>, metric: NodeId, point: NodeId, s: &mut Scratch) -> bool {
        match self {
            Expr::Const(b) => *b,
            Expr::Or(all) => all.iter().any(|e| e.holds(view, metric, point, s)),
            Expr::And(all) => all.iter().all(|e| e.holds(view, metric, point, s)),
            Expr::Not(e) => !e.holds(view, metric, point, s),
            Expr::HasLabel(key) => view.find(point, key).is_some(),
            Expr::Compare(op, a, b) => {
                let (a, b) = (a.get(view, metric, point), b.get(view, metric, point));
                match op {
                    Op::Equal => a == b,
                    Op::NotEqual => a != b,
                    Op::Contains => memchr::memmem::find(a, b).is_some(),
                    Op::StartsWith => a.starts_with(b),
                    Op::EndsWith => a.ends_with(b),
                }
            }
            Expr::In(text, list) => {
                let text = text.get(view, metric, point);
                list.iter().any(|one| one.get(view, metric, point) == text)
            }
            Expr::Matches(text, pattern) => s.is_match(pattern, text.get(view, metric, point)),
        }
    }
}

impl Text {
    fn get<'a>(&'a self, view: &'a View<'_>, metric: NodeId, point: NodeId) -> &'a [u8] {
        match self {
            Text::Literal(text) => text,
            Text::MetricName => view.text(metric, METRIC_NAME),
            Text::MetricType => match view.metric_data(metric) {
                Some(5) => b"Gauge",
                Some(7) => b"Sum",
                Some(9) => b"Histogram",
                Some(10) => b"ExponentialHistogram",
                Some(11) => b"Summary",
                _ => b"Empty",
            },
            Text::Label(key) => view.get(point, key).and_then(|v| v.as_str()).unwrap_or_default(),
        }
    }
}

const METRIC_NAME: u32 = 1;

// --- reading ---

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Literal(Vec<u8>),
    Sign(&'static str),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Token::Word(word) => format!("`{word}`"),
            Token::Literal(_) => "a text".into(),
            Token::Sign(sign) => format!("`{sign}`"),
        }
    }
}

const SIGNS: [&str; 10] = ["==", "!=", "&&", "||", "!", "(", ")", "[", "]", ","];

fn tokens(source: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '"' || first == '\'' {
            let (text, after) = literal(&rest[1..], first)?;
            tokens.push(Token::Literal(text));
            rest = after;
        } else if first.is_ascii_alphabetic() || first == '_' {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| format!("unexpected `{first}`"))?;
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

/// The text up to the quote, and what is behind it.
fn literal(source: &str, quote: char) -> Result<(Vec<u8>, &str), String> {
    let mut text = String::new();
    let mut chars = source.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((text.into_bytes(), &source[at + c.len_utf8()..])),
            '\\' => match chars.next() {
                Some((_, c @ ('\\' | '"' | '\''))) => text.push(c),
                Some((_, 'n')) => text.push('\n'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, 't')) => text.push('\t'),
                Some((_, c)) => return Err(format!("unknown escape `\\{c}` in a text")),
                None => break,
            },
            c => text.push(c),
        }
    }
    Err("a text without end".into())
}

struct Reader {
    tokens: Vec<Token>,
    next: usize,
    depth: u32,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    /// Takes the next token if it is one of these words or signs.
    fn takes(&mut self, any: &[&str]) -> bool {
        let found = match self.peek() {
            Some(Token::Word(word)) => any.contains(&word.as_str()),
            Some(Token::Sign(sign)) => any.contains(sign),
            _ => false,
        };
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        match self.takes(&[sign]) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("`{sign}`"))),
        }
    }

    fn unexpected(&self, wanted: &str) -> String {
        let found = self.peek().map_or("the end".into(), Token::shown);
        format!("expected {wanted}, found {found}")
    }

    fn or(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(format!("expressions may nest {NESTING_MAX} deep"));
        }
        let mut all = vec![self.and()?];
        while self.takes(&["||", "or"]) {
            all.push(self.and()?);
        }
        self.depth -= 1;
        Ok(one_or(all, Expr::Or))
    }

    fn and(&mut self) -> Result<Expr, String> {
        let mut all = vec![self.not()?];
        while self.takes(&["&&", "and"]) {
            all.push(self.not()?);
        }
        Ok(one_or(all, Expr::And))
    }

    fn not(&mut self) -> Result<Expr, String> {
        let mut negated = false;
        while self.takes(&["!", "not"]) {
            negated = !negated;
        }
        let expr = self.comparison()?;
        Ok(match negated {
            true => Expr::Not(Box::new(expr)),
            false => expr,
        })
    }

    fn comparison(&mut self) -> Result<Expr, String> {
        if self.takes(&["("]) {
            let expr = self.or()?;
            self.expect(")")?;
            return Ok(expr);
        }
        for (word, value) in [("true", true), ("false", false)] {
            if self.takes(&[word]) {
                return Ok(Expr::Const(value));
            }
        }
        if self.takes(&["HasLabel"]) {
            return self.key().map(Expr::HasLabel);
        }
        let left = self.text()?;
        let ops = [
            ("==", Op::Equal),
            ("!=", Op::NotEqual),
            ("contains", Op::Contains),
            ("startsWith", Op::StartsWith),
            ("endsWith", Op::EndsWith),
        ];
        for (word, op) in ops {
            if self.takes(&[word]) {
                return Ok(Expr::Compare(op, left, self.text()?));
            }
        }
        if self.takes(&["in"]) {
            return self.list().map(|list| Expr::In(left, list));
        }
        if self.takes(&["not"]) {
            return match self.takes(&["in"]) {
                true => self.list().map(|list| Expr::Not(Box::new(Expr::In(left, list)))),
                false => Err(self.unexpected("`in`")),
            };
        }
        if self.takes(&["matches"]) {
            return match self.text()? {
                Text::Literal(source) => {
                    let source = String::from_utf8(source).map_err(|_| "a pattern that is no text")?;
                    let pattern = Pattern::new(&source).map_err(|e| format!("{e}: `{source}`"))?;
                    Ok(Expr::Matches(left, Box::new(pattern)))
                }
                _ => Err("behind `matches` stands a text in quotes".into()),
            };
        }
        Err(self.unexpected("a comparison"))
    }

    fn list(&mut self) -> Result<Vec<Text>, String> {
        self.expect("[")?;
        let mut list = Vec::new();
        while !self.takes(&["]"]) {
            if !list.is_empty() {
                self.expect(",")?;
            }
            list.push(self.text()?);
        }
        Ok(list)
    }

    fn text(&mut self) -> Result<Text, String> {
        if let Some(Token::Literal(text)) = self.peek() {
            let text = Text::Literal(text.clone());
            self.next += 1;
            return Ok(text);
        }
        if self.takes(&["MetricName"]) {
            return Ok(Text::MetricName);
        }
        if self.takes(&["MetricType"]) {
            return Ok(Text::MetricType);
        }
        if self.takes(&["Label"]) {
            return self.key().map(Text::Label);
        }
        Err(self.unexpected("a text, MetricName, MetricType, Label(..) or HasLabel(..)"))
    }

    /// `("key")`.
    fn key(&mut self) -> Result<Vec<u8>, String> {
        self.expect("(")?;
        let Some(Token::Literal(key)) = self.take() else {
            return Err("a label's key stands in quotes".into());
        };
        self.expect(")")?;
        Ok(key)
    }
}

fn one_or(mut all: Vec<Expr>, many: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match all.pop() {
        Some(one) if all.is_empty() => one,
        Some(last) => {
            all.push(last);
            many(all)
        }
        None => Expr::Const(false),
    }
}

#[cfg(test)]
mod tests {
    use wire::Signal;
    use wire::view::Depth;

    use super::*;

    /// Whether it holds for the point `{k: "v", n: 5}` of the sum `http.requests`.
    fn holds(source: &str) -> Result<bool, String> {
        let json = r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "http.requests", "sum": {"dataPoints": [
            {"attributes": [{"key": "k", "value": {"stringValue": "v"}}, {"key": "n", "value": {"intValue": "5"}}]}]}}]}]}]}"#;
        let mut bytes = Vec::new();
        codec::otlp_json::read(Signal::Metrics, json.as_bytes(), &mut bytes).unwrap();
        let mut scratch = wire::view::Scratch::default();
        let view = View::new(&mut scratch, Signal::Metrics, &bytes, Depth::Record).unwrap();
        let expr = Expr::new(source)?;
        Ok(expr.holds(&view, 2, 3, &mut Scratch::default()))
    }

    #[test]
    fn expressions_hold_or_not() {
        for (source, expected) in [
            (r#"MetricName == "http.requests""#, true),
            (r#"MetricName == 'http.request'"#, false),
            (r#"MetricName != "x" && MetricType == "Sum""#, true),
            (r#"MetricType == "Gauge" || HasLabel("k")"#, true),
            (r#"HasLabel("k") and not HasLabel("none")"#, true),
            (r#"!(HasLabel("k") or HasLabel("n"))"#, false),
            (r#"Label("k") == "v""#, true),
            // A label that is no text reads as empty, as one that is absent.
            (r#"Label("n") == "5""#, false),
            (r#"Label("n") == "" and Label("none") == """#, true),
            (r#"MetricName matches "^http\\.""#, true),
            (r#"MetricName matches "^req""#, false),
            (
                r#"MetricName contains "req" && MetricName startsWith "http" && MetricName endsWith "s""#,
                true,
            ),
            (r#"Label("k") in ["u", "v"]"#, true),
            (r#"Label("k") not in ["u", "v"]"#, false),
            (r#"Label("k") in []"#, false),
            ("true", true),
            ("not not false", false),
            // `and` binds closer than `or`.
            (r#"true or false and false"#, true),
        ] {
            assert_eq!(holds(source), Ok(expected), "{source}");
        }
    }

    #[test]
    fn the_rest_of_the_language_is_refused() {
        for (source, expected) in [
            ("", "found the end"),
            ("MetricName", "expected a comparison"),
            ("MetricName == 5", "unexpected `5`"),
            ("Name == \"x\"", "found `Name`"),
            ("MetricName == \"x", "without end"),
            ("MetricName matches \"(\"", "("),
            ("MetricName matches Label(\"x\")", "text in quotes"),
            ("HasLabel(MetricName)", "in quotes"),
            ("true true", "unexpected `true`"),
            ("(true", "expected `)`"),
        ] {
            let error = holds(source).unwrap_err();
            assert!(error.contains(expected), "{source}: {error}");
        }
        let deep = "(".repeat(100) + "true" + &")".repeat(100);
        assert!(holds(&deep).unwrap_err().contains("nest"));
    }
}

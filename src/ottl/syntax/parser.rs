//! Tokens to tree. Brackets are matched once beforehand, which decides what an opening parenthesis begins.

use super::ast::{Arg, Bool, Call, CompareOp, Expr, ExprKind, Field, MathOp, Path, Statement};
use super::lexer::{self, Lexeme, Token};
use super::{Fault, NESTING_MAX, STATEMENT_BYTES_MAX, Span, fault};

/// A statement: an editor's call, then perhaps `where` and a condition.
pub(crate) fn statement(text: &str) -> Result<Statement, Fault> {
    let mut p = Parser::new(text)?;
    let editor = p.editor()?;
    let condition = if p.is_word("where") {
        p.at += 1;
        Some(p.or()?)
    } else {
        None
    };
    p.end("\"where\" or the end of the statement")?;
    Ok(Statement { editor, condition })
}

/// A condition alone.
pub(crate) fn condition(text: &str) -> Result<Bool, Fault> {
    let mut p = Parser::new(text)?;
    let condition = p.or()?;
    p.end("\"and\", \"or\" or the end of the condition")?;
    Ok(condition)
}

/// A value alone.
pub(crate) fn value(text: &str) -> Result<Expr, Fault> {
    let mut p = Parser::new(text)?;
    let value = p.value()?;
    p.end("the end of the value")?;
    Ok(value)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Lexeme>,
    /// For each opening parenthesis the place of its closing one; its own place if there is none.
    closes: Vec<u32>,
    at: usize,
    depth: u32,
}

type Parsed<T> = Result<T, Fault>;

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parsed<Parser<'a>> {
        if text.len() > STATEMENT_BYTES_MAX {
            let message = format!("longer than {STATEMENT_BYTES_MAX} bytes");
            return Err(fault(text, Span::default(), message));
        }
        let tokens = lexer::lex(text)?;
        let mut closes: Vec<u32> = (0..tokens.len() as u32).collect();
        let mut open = Vec::new();
        for (i, lexeme) in tokens.iter().enumerate() {
            match lexeme.token {
                Token::Open => open.push(i),
                Token::Close => {
                    if let Some(from) = open.pop() {
                        closes[from] = i as u32;
                    }
                }
                _ => {}
            }
        }
        Ok(Parser {
            text,
            tokens,
            closes,
            at: 0,
            depth: 0,
        })
    }

    // --- Tokens ---

    fn token(&self) -> Token {
        self.token_at(self.at)
    }

    fn token_at(&self, at: usize) -> Token {
        self.tokens.get(at).map_or(Token::End, |l| l.token)
    }

    fn span(&self) -> Span {
        self.tokens[self.at.min(self.tokens.len() - 1)].span
    }

    /// Of the token before the next one.
    fn last_span(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    fn slice(&self, span: Span) -> &'a str {
        &self.text[span.start as usize..span.end as usize]
    }

    fn is_word(&self, word: &str) -> bool {
        self.token() == Token::Lower && self.slice(self.span()) == word
    }

    fn eat(&mut self, token: Token) -> bool {
        let is = self.token() == token;
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, token: Token, what: &str) -> Parsed<()> {
        if self.eat(token) {
            Ok(())
        } else {
            Err(self.unexpected(what))
        }
    }

    fn end(&self, what: &str) -> Parsed<()> {
        if self.token() == Token::End {
            Ok(())
        } else {
            Err(self.unexpected(what))
        }
    }

    #[cold]
    fn unexpected(&self, expected: &str) -> Fault {
        let span = self.span();
        let message = match self.token() {
            Token::End => format!("ends too early; expected {expected}"),
            _ => format!("unexpected \"{}\"; expected {expected}", self.slice(span)),
        };
        fault(self.text, span, message)
    }

    fn fault(&self, span: Span, message: impl Into<String>) -> Fault {
        fault(self.text, span, message)
    }

    /// Runs `read` one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == NESTING_MAX {
            let message = format!("nested more than {NESTING_MAX} levels deep");
            return Err(self.fault(self.span(), message));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    // --- Names and calls ---

    /// The tokens that make one name: those that follow without a gap.
    fn name(&mut self) -> (String, Span) {
        let mut span = self.span();
        self.at += 1;
        while matches!(self.token(), Token::Upper | Token::Lower) && self.span().start == span.end {
            span = span.to(self.span());
            self.at += 1;
        }
        (self.slice(span).to_owned(), span)
    }

    fn editor(&mut self) -> Parsed<Call> {
        match self.token() {
            Token::Lower => {}
            Token::Upper => {
                let (name, span) = self.name();
                let lower = first_letter(&name, char::to_ascii_lowercase);
                let message = format!("editor names must start with a lowercase letter but got \"{name}\"");
                return Err(self.fault(span, message).with_help(format!(
                    "a statement is an editor's call, for example {lower}(...) or set(..., {name}(...))"
                )));
            }
            _ => return Err(self.unexpected("an editor's call, for example set(...)")),
        }
        let (name, span) = self.name();
        if self.token() != Token::Open {
            return Err(self.unexpected("\"(\" behind the editor's name"));
        }
        let call = self.call(name, span)?;
        if let Some(key) = call.keys.first() {
            let message = format!("editor \"{}\" gives nothing that could be indexed", call.name);
            return Err(self.fault(key.span, message));
        }
        Ok(call)
    }

    /// What follows a function's name.
    fn call(&mut self, name: String, name_span: Span) -> Parsed<Call> {
        self.expect(Token::Open, "\"(\"")?;
        let mut args = Vec::new();
        while !self.eat(Token::Close) {
            if !args.is_empty() {
                self.expect(Token::Comma, "\",\" or \")\"")?;
            }
            args.push(self.arg()?);
        }
        let keys = self.keys()?;
        Ok(Call {
            name,
            name_span,
            args,
            keys,
        })
    }

    fn arg(&mut self) -> Parsed<Arg> {
        let mut name = None;
        if self.token() == Token::Lower {
            let from = self.at;
            let (word, span) = self.name();
            if self.eat(Token::Equal) {
                name = Some((word, span));
            } else {
                self.at = from;
            }
        }
        let value = self.value()?;
        Ok(Arg { name, value })
    }

    fn keys(&mut self) -> Parsed<Vec<Expr>> {
        let mut keys = Vec::new();
        while self.eat(Token::OpenBracket) {
            let key = self.value()?;
            match key.kind {
                ExprKind::Str(_)
                | ExprKind::Int(_)
                | ExprKind::Math(..)
                | ExprKind::Neg(_)
                | ExprKind::Path(_)
                | ExprKind::Call(_) => keys.push(key),
                _ => {
                    let fault = self.fault(key.span, "not a key");
                    return Err(fault.with_help("a key is text, a whole number, a path or a converter"));
                }
            }
            self.expect(Token::CloseBracket, "\"]\"")?;
        }
        Ok(keys)
    }

    // --- Values ---

    fn value(&mut self) -> Parsed<Expr> {
        self.nested(|p| {
            if p.token() == Token::Open && p.is_lambda() {
                return Err(p.lambda());
            }
            p.sum()
        })
    }

    /// Whether the parenthesis here closes before an arrow.
    fn is_lambda(&self) -> bool {
        self.token_at(self.closes[self.at] as usize + 1) == Token::Arrow
    }

    #[cold]
    fn lambda(&self) -> Fault {
        let end = self.tokens[self.closes[self.at] as usize + 1].span;
        let message =
            "lambda expressions need the feature gate \"ottl.functions.enableLambda\", which is off";
        self.fault(self.span().to(end), message)
            .with_help("no standard function takes one")
    }

    fn sum(&mut self) -> Parsed<Expr> {
        let op = |token| match token {
            Token::Plus => Some(MathOp::Add),
            Token::Minus => Some(MathOp::Sub),
            _ => None,
        };
        self.math(op, Self::product)
    }

    fn product(&mut self) -> Parsed<Expr> {
        let op = |token| match token {
            Token::Star => Some(MathOp::Mul),
            Token::Slash => Some(MathOp::Div),
            _ => None,
        };
        self.math(op, Self::operand)
    }

    fn math(&mut self, op: fn(Token) -> Option<MathOp>, next: fn(&mut Self) -> Parsed<Expr>) -> Parsed<Expr> {
        let first = next(self)?;
        let mut rest = Vec::new();
        while let Some(op) = op(self.token()) {
            self.at += 1;
            let operand = next(self)?;
            self.math_operand(&operand)?;
            rest.push((op, operand));
        }
        let Some((_, last)) = rest.last() else {
            return Ok(first);
        };
        self.math_operand(&first)?;
        let span = first.span.to(last.span);
        Ok(Expr {
            kind: ExprKind::Math(Box::new(first), rest),
            span,
        })
    }

    fn math_operand(&self, operand: &Expr) -> Parsed<()> {
        match operand.kind {
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Path(_)
            | ExprKind::Call(_)
            | ExprKind::Neg(_)
            | ExprKind::Math(..) => Ok(()),
            ExprKind::Str(_) => Err(self
                .fault(operand.span, "text cannot be calculated with")
                .with_help("join texts with Concat([...], \"\")")),
            _ => Err(self.fault(operand.span, "cannot be calculated with")),
        }
    }

    fn operand(&mut self) -> Parsed<Expr> {
        let span = self.span();
        match self.token() {
            Token::Minus | Token::Plus => {
                let negative = self.token() == Token::Minus;
                self.at += 1;
                if matches!(self.token(), Token::Minus | Token::Plus) {
                    return Err(self.unexpected("one sign only"));
                }
                // The sign belongs to the literal, so that the smallest integer can be written.
                if negative && self.token() == Token::Int {
                    let place = span.to(self.span());
                    let digits = format!("-{}", self.slice(self.span()));
                    self.at += 1;
                    return self.int(&digits, place);
                }
                let operand = self.operand()?;
                self.math_operand(&operand)?;
                let place = span.to(operand.span);
                let kind = match operand.kind {
                    kind if !negative => kind,
                    ExprKind::Float(f) => ExprKind::Float(-f),
                    _ => ExprKind::Neg(Box::new(operand)),
                };
                Ok(Expr { kind, span: place })
            }
            Token::Open => self.nested(|p| {
                p.at += 1;
                let mut inner = p.sum()?;
                p.math_operand(&inner)?;
                p.expect(Token::Close, "\")\"")?;
                inner.span = span.to(p.last_span());
                Ok(inner)
            }),
            _ => self.primary(),
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let span = self.span();
        let token = self.token();
        let kind = match token {
            Token::Upper => return self.symbol_or_call(),
            Token::Lower => return self.path(),
            Token::OpenBracket => return self.list(),
            Token::OpenBrace => return self.map(),
            Token::Nil => ExprKind::Nil,
            Token::True => ExprKind::Bool(true),
            Token::False => ExprKind::Bool(false),
            Token::Str => ExprKind::Str(lexer::unquote(self.text, span)?),
            Token::Bytes => ExprKind::Bytes(self.bytes(span)?),
            Token::Int => {
                self.at += 1;
                return self.int(self.slice(span), span);
            }
            Token::Float => {
                let number = self.slice(span).parse().ok().filter(|f: &f64| f.is_finite());
                ExprKind::Float(number.ok_or_else(|| self.fault(span, "number too large"))?)
            }
            _ => return Err(self.unexpected("a value")),
        };
        self.at += 1;
        Ok(Expr { kind, span })
    }

    fn int(&self, digits: &str, span: Span) -> Parsed<Expr> {
        match digits.parse() {
            Ok(number) => Ok(Expr {
                kind: ExprKind::Int(number),
                span,
            }),
            Err(_) => Err(self.fault(span, "whole numbers have 64 bits")),
        }
    }

    fn bytes(&self, span: Span) -> Parsed<Vec<u8>> {
        let digits = &self.slice(span).as_bytes()[2..];
        let (pairs, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() {
            let fault = self.fault(span, "odd number of digits");
            return Err(fault.with_help("each byte has two"));
        }
        let digit = |b: u8| char::from(b).to_digit(16).unwrap_or(0) as u8;
        Ok(pairs
            .iter()
            .map(|[high, low]| digit(*high) << 4 | digit(*low))
            .collect())
    }

    fn symbol_or_call(&mut self) -> Parsed<Expr> {
        let (name, span) = self.name();
        if self.token() == Token::Open {
            let call = self.call(name, span)?;
            let span = span.to(self.last_span());
            return Ok(Expr {
                kind: ExprKind::Call(call),
                span,
            });
        }
        Ok(Expr {
            kind: ExprKind::Symbol(name),
            span,
        })
    }

    fn path(&mut self) -> Parsed<Expr> {
        let from = self.at;
        let (name, span) = self.name();
        if self.token() == Token::Open {
            let upper = first_letter(&name, char::to_ascii_uppercase);
            let message = format!("converter names must start with an uppercase letter but got \"{name}\"");
            let help = format!("editors give no value; a converter would be \"{upper}\"");
            return Err(self.fault(span, message).with_help(help));
        }
        self.at = from;
        let mut fields = vec![self.field()?];
        while self.eat(Token::Dot) {
            fields.push(self.field()?);
        }
        let span = span.to(self.last_span());
        Ok(Expr {
            kind: ExprKind::Path(Path { fields }),
            span,
        })
    }

    fn field(&mut self) -> Parsed<Field> {
        let span = self.span();
        if self.token() != Token::Lower {
            return Err(self.unexpected("the name of a field, in lower case"));
        }
        self.at += 1;
        if self.token() == Token::Upper && self.span().start == span.end {
            let fault = self.fault(self.span(), "names of fields are in lower case");
            return Err(fault.with_help("of a map take the key: attributes[\"myKey\"]"));
        }
        let keys = self.keys()?;
        Ok(Field {
            name: self.slice(span).to_owned(),
            keys,
            span: span.to(self.last_span()),
        })
    }

    fn list(&mut self) -> Parsed<Expr> {
        let span = self.span();
        self.at += 1;
        let mut items = Vec::new();
        while !self.eat(Token::CloseBracket) {
            if !items.is_empty() {
                self.expect(Token::Comma, "\",\" or \"]\"")?;
            }
            items.push(self.value()?);
        }
        Ok(Expr {
            kind: ExprKind::List(items),
            span: span.to(self.last_span()),
        })
    }

    fn map(&mut self) -> Parsed<Expr> {
        let span = self.span();
        self.at += 1;
        let mut entries = Vec::new();
        while !self.eat(Token::CloseBrace) {
            let key = self.span();
            self.expect(Token::Str, "a key in double quotes or \"}\"")?;
            let key = lexer::unquote(self.text, key)?;
            self.expect(Token::Colon, "\":\"")?;
            entries.push((key, self.value()?));
            self.eat(Token::Comma);
        }
        Ok(Expr {
            kind: ExprKind::Map(entries),
            span: span.to(self.last_span()),
        })
    }

    // --- Conditions ---

    fn or(&mut self) -> Parsed<Bool> {
        self.nested(|p| p.joined(Token::Or, Bool::Or, Self::and))
    }

    fn and(&mut self) -> Parsed<Bool> {
        self.joined(Token::And, Bool::And, Self::not)
    }

    fn joined(
        &mut self,
        by: Token,
        join: fn(Vec<Bool>) -> Bool,
        next: fn(&mut Self) -> Parsed<Bool>,
    ) -> Parsed<Bool> {
        let first = next(self)?;
        if self.token() != by {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.eat(by) {
            all.push(next(self)?);
        }
        Ok(join(all))
    }

    fn not(&mut self) -> Parsed<Bool> {
        if !self.eat(Token::Not) {
            return self.boolean();
        }
        if self.token() == Token::Not {
            let fault = self.fault(self.span(), "\"not\" may stand once only");
            return Err(fault.with_help("write not (not ...)"));
        }
        Ok(Bool::Not(Box::new(self.boolean()?)))
    }

    fn boolean(&mut self) -> Parsed<Bool> {
        if self.token() == Token::Open && self.is_condition() {
            self.at += 1;
            let inner = self.or()?;
            self.expect(Token::Close, "\"and\", \"or\" or \")\"")?;
            return Ok(inner);
        }
        let left = self.value()?;
        if self.token() == Token::Compare {
            let op = match self.slice(self.span()) {
                "==" => CompareOp::Eq,
                "!=" => CompareOp::Ne,
                "<" => CompareOp::Lt,
                "<=" => CompareOp::Le,
                ">" => CompareOp::Gt,
                _ => CompareOp::Ge,
            };
            self.at += 1;
            let right = self.value()?;
            return Ok(Bool::Compare(op, left, right));
        }
        match left.kind {
            ExprKind::Bool(b) => Ok(Bool::Const(b)),
            ExprKind::Call(_) => Ok(Bool::Call(left)),
            _ if self.token() == Token::Equal => Err(self
                .fault(self.span(), "\"=\" compares nothing")
                .with_help("write \"==\"")),
            ExprKind::Path(_) => {
                let fault = self.fault(left.span, "a path alone is no condition");
                Err(fault.with_help(format!("write {} == true", self.slice(left.span))))
            }
            _ => Err(self.unexpected("a comparison, for example \"==\"")),
        }
    }

    /// Whether the parenthesis here holds a condition, not something to calculate with.
    fn is_condition(&self) -> bool {
        let close = self.closes[self.at] as usize;
        !matches!(
            self.token_at(close + 1),
            Token::Compare | Token::Plus | Token::Minus | Token::Star | Token::Slash | Token::Arrow
        )
    }
}

fn first_letter(name: &str, change: fn(&char) -> char) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|c| change(&c))
        .into_iter()
        .chain(letters)
        .collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

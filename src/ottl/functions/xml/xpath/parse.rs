//! From the text of an XPath to its expression.

use super::functions::NAMES;
use super::{Axis, Expr, Op, Path, Start, Step, Test};

/// How deep expressions may lie in each other.
const NESTING_MAX: u32 = 48;
/// Operators, steps and calls of one expression: what evaluating and dropping it may recurse into.
const PARTS_MAX: u32 = 400;

type Parsed<T> = Result<T, String>;

struct Parser<'t> {
    rest: &'t str,
    depth: u32,
    parts: u32,
}

/// Reads a whole text.
pub(super) fn expression(text: &str) -> Parsed<Expr> {
    let mut parser = Parser {
        rest: text,
        depth: 0,
        parts: 0,
    };
    let expr = parser.expr()?;
    parser.space();
    match parser.rest {
        "" => Ok(expr),
        rest => Err(format!("the XPath is not understood from {rest:?} on")),
    }
}

/// The operators by how tightly they bind, those of one line equally.
const LEVELS: &[&[(&str, Op)]] = &[
    &[("or", Op::Or)],
    &[("and", Op::And)],
    &[("!=", Op::Unequal), ("=", Op::Equal)],
    &[
        ("<=", Op::AtMost),
        (">=", Op::AtLeast),
        ("<", Op::Less),
        (">", Op::Greater),
    ],
    &[("+", Op::Add), ("-", Op::Subtract)],
    &[("*", Op::Multiply), ("div", Op::Divide), ("mod", Op::Remainder)],
];

const AXES: &[(&str, Axis)] = &[
    ("ancestor", Axis::Ancestor),
    ("ancestor-or-self", Axis::AncestorOrSelf),
    ("attribute", Axis::Attribute),
    ("child", Axis::Child),
    ("descendant", Axis::Descendant),
    ("descendant-or-self", Axis::DescendantOrSelf),
    ("following", Axis::Following),
    ("following-sibling", Axis::FollowingSibling),
    ("parent", Axis::Parent),
    ("preceding", Axis::Preceding),
    ("preceding-sibling", Axis::PrecedingSibling),
    ("self", Axis::Same),
];

impl<'t> Parser<'t> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn follows(&mut self, token: &str) -> bool {
        self.space();
        self.rest.starts_with(token)
    }

    /// Takes a sign, or a word that ends there.
    fn take(&mut self, token: &str) -> bool {
        self.space();
        let is_word = token.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = self.rest.strip_prefix(token);
        let rest = rest.filter(|rest| !(is_word && rest.starts_with(|c| is_name(c) || c == ':')));
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        match self.take(token) {
            true => Ok(()),
            false => Err(format!("the XPath lacks {token:?} before {:?}", self.rest)),
        }
    }

    fn count(&mut self) -> Parsed<()> {
        self.parts += 1;
        match self.parts > PARTS_MAX {
            true => Err("the XPath has too many parts".into()),
            false => Ok(()),
        }
    }

    /// A name without a colon; empty if there is none.
    fn name(&mut self) -> &'t str {
        self.space();
        let starts = |c: char| is_name(c) && !c.is_ascii_digit() && !matches!(c, '-' | '.');
        let end = match self.rest.starts_with(starts) {
            true => self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len()),
            false => 0,
        };
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name
    }

    fn expr(&mut self) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err("the XPath is nested too deep".into());
        }
        let expr = self.level(0)?;
        self.depth -= 1;
        Ok(expr)
    }

    fn level(&mut self, level: usize) -> Parsed<Expr> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.level(level + 1)?;
        while let Some((_, op)) = operators.iter().find(|(token, _)| self.take(token)) {
            self.count()?;
            left = Expr::Binary(*op, Box::new(left), Box::new(self.level(level + 1)?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let mut negative = false;
        let mut any = false;
        while self.take("-") {
            (negative, any) = (!negative, true);
        }
        let mut expr = self.path()?;
        while self.take("|") {
            self.count()?;
            let right = self.path()?;
            if !(expr.is_set() && right.is_set()) {
                return Err("only nodes can be united with \"|\"".into());
            }
            expr = Expr::Binary(Op::Union, Box::new(expr), Box::new(right));
        }
        Ok(match (any, negative) {
            (false, _) => expr,
            (true, true) => Expr::Negate(Box::new(expr)),
            (true, false) => Expr::Negate(Box::new(Expr::Negate(Box::new(expr)))),
        })
    }

    /// A path, or a value that may begin one.
    fn path(&mut self) -> Parsed<Expr> {
        let Some(primary) = self.primary()? else {
            return self.location();
        };
        let conditions = self.conditions()?;
        let mut steps = Vec::new();
        if self.follows("/") {
            self.steps(&mut steps)?;
        }
        if conditions.is_empty() && steps.is_empty() {
            return Ok(primary);
        }
        if !primary.is_set() {
            return Err("only nodes have conditions and steps".into());
        }
        let start = Start::Of(primary, conditions);
        Ok(Expr::Path(Box::new(Path { start, steps })))
    }

    /// A literal, a call or an expression in parentheses; none if a path begins here.
    fn primary(&mut self) -> Parsed<Option<Expr>> {
        if self.take("(") {
            let inner = self.expr()?;
            self.expect(")")?;
            return Ok(Some(inner));
        }
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            return self.quoted(quote).map(|text| Some(Expr::Text(text.to_owned())));
        }
        if self.take("$") {
            return Err("there are no variables in an XPath here".into());
        }
        let digits = self.rest.strip_prefix('.').unwrap_or(self.rest);
        if digits.starts_with(|c: char| c.is_ascii_digit()) {
            let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '.');
            let (number, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            self.rest = rest;
            let parsed = number.parse().map(Expr::Number);
            return parsed.map(Some).map_err(|_| format!("{number:?} is no number"));
        }
        let before = self.rest;
        let name = self.name();
        let is_test = matches!(name, "node" | "text" | "comment" | "processing-instruction");
        if name.is_empty() || is_test || !self.take("(") {
            self.rest = before;
            return Ok(None);
        }
        self.call(name).map(Some)
    }

    fn call(&mut self, name: &str) -> Parsed<Expr> {
        self.count()?;
        let found = NAMES.iter().find(|(known, ..)| *known == name);
        let (_, function, least, most) =
            found.ok_or_else(|| format!("there is no function {name}() in XPath"))?;
        let mut args = Vec::new();
        while !self.take(")") {
            if !args.is_empty() {
                self.expect(",")?;
            }
            args.push(self.expr()?);
        }
        if args.len() < *least || args.len() > *most {
            return Err(format!("{name}() does not take {} arguments", args.len()));
        }
        if function.wants_set() && !args.first().is_none_or(Expr::is_set) {
            return Err(format!("{name}() takes nodes"));
        }
        Ok(Expr::Call(*function, args))
    }

    fn quoted(&mut self, quote: char) -> Parsed<&'t str> {
        let inner = &self.rest[1..];
        let end = inner.find(quote).ok_or("the XPath ends within a text")?;
        self.rest = &inner[end + 1..];
        Ok(&inner[..end])
    }

    fn location(&mut self) -> Parsed<Expr> {
        let mut steps = Vec::new();
        let start = match self.follows("/") {
            true => Start::Root,
            false => Start::Here,
        };
        if matches!(start, Start::Here) {
            steps.push(self.step()?);
        }
        // A slash alone is the document.
        let alone = |rest: &str| {
            let rest = rest.trim_start();
            !(rest.starts_with(['.', '@', '*', '/']) || rest.starts_with(is_name))
        };
        match self
            .rest
            .strip_prefix('/')
            .filter(|rest| matches!(start, Start::Root) && alone(rest))
        {
            Some(rest) => self.rest = rest,
            None => self.steps(&mut steps)?,
        }
        Ok(Expr::Path(Box::new(Path { start, steps })))
    }

    /// Steps, each behind its slash.
    fn steps(&mut self, steps: &mut Vec<Step>) -> Parsed<()> {
        while self.take("/") {
            if self.take("/") {
                self.count()?;
                steps.push(Step {
                    axis: Axis::DescendantOrSelf,
                    test: Test::Node,
                    conditions: Vec::new(),
                });
            }
            steps.push(self.step()?);
        }
        Ok(())
    }

    fn step(&mut self) -> Parsed<Step> {
        self.count()?;
        let whole = |axis| Step {
            axis,
            test: Test::Node,
            conditions: Vec::new(),
        };
        let mut step = if self.take("..") {
            whole(Axis::Parent)
        } else if self.take(".") {
            whole(Axis::Same)
        } else {
            let axis = self.axis()?;
            Step {
                axis,
                test: self.test()?,
                conditions: Vec::new(),
            }
        };
        step.conditions = self.conditions()?;
        Ok(step)
    }

    fn axis(&mut self) -> Parsed<Axis> {
        if self.take("@") {
            return Ok(Axis::Attribute);
        }
        let before = self.rest;
        let name = self.name();
        if !self.take("::") {
            self.rest = before;
            return Ok(Axis::Child);
        }
        let found = AXES.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, axis)| *axis)
            .ok_or_else(|| format!("there is no axis {name} in an XPath here"))
    }

    fn test(&mut self) -> Parsed<Test> {
        if self.take("*") {
            return Ok(Test::Any);
        }
        let name = self.name();
        if name.is_empty() {
            return Err(format!("the XPath lacks a name before {:?}", self.rest));
        }
        if let Some(rest) = self.rest.strip_prefix(':') {
            self.rest = rest;
            if self.take("*") {
                return Ok(Test::Prefix(format!("{name}:")));
            }
            return match self.name() {
                "" => Err(format!("the XPath lacks a name before {:?}", self.rest)),
                local => Ok(Test::Name(format!("{name}:{local}"))),
            };
        }
        let before = self.rest;
        let test = match name {
            "node" => Test::Node,
            "text" => Test::Text,
            "comment" => Test::Comment,
            "processing-instruction" => Test::Instruction(None),
            _ => return Ok(Test::Name(name.to_owned())),
        };
        if !self.take("(") {
            self.rest = before;
            return Ok(Test::Name(name.to_owned()));
        }
        self.space();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let test = match (test, quote) {
            (Test::Instruction(_), Some(quote)) => Test::Instruction(Some(self.quoted(quote)?.to_owned())),
            (test, _) => test,
        };
        self.expect(")")?;
        Ok(test)
    }

    fn conditions(&mut self) -> Parsed<Vec<Expr>> {
        let mut conditions = Vec::new();
        while self.take("[") {
            self.count()?;
            conditions.push(self.expr()?);
            self.expect("]")?;
        }
        Ok(conditions)
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '\u{B7}')
}

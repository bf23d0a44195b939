//! YAML text to a tree with places, as Go's yaml.v3 reads it into untyped values.
//!
//! Anchors, aliases and merge keys work; a duplicate key is a fault; only `true` and `false` are booleans;
//! integers may be octal (`0644`, `0o644`), hexadecimal or binary and hold underscores. Of several documents
//! the first is read, as the collector does, and a warning says so. Timestamps stay text, where yaml.v3 makes
//! times of them: no field of any component takes a time. Bounds: source bytes, depth, and values with every
//! alias counted as a copy.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::value::{DEPTH_MAX, Entry, Mark, NODES_MAX, Node, Source, Value};
use crate::{Diag, Diags, Stage};

/// Largest source.
pub(crate) const SOURCE_BYTES_MAX: usize = 16 << 20;

/// Reads the first document of `text`; none at all is a null. Warnings are pushed onto `warnings`.
pub(crate) fn parse(source: Arc<Source>, text: &str, warnings: &mut Vec<Diag>) -> Result<Node, Diags> {
    let mut builder = Builder {
        source: &source,
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes_left: NODES_MAX,
        faults: Vec::new(),
        root: None,
    };
    if text.len() > SOURCE_BYTES_MAX {
        let at = builder.place_at(1, 1);
        return Err(at.fault(format!("larger than {SOURCE_BYTES_MAX} bytes")).into());
    }
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: DEPTH_MAX + 1,
        block_nesting_limit: DEPTH_MAX + 1,
        emit_unresolved_aliases: true,
    };
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let (line, column) = (error.marker().line() as u32, error.marker().col() as u32 + 1);
                let at = builder.place_at(line, column);
                let message = format!(
                    "retrieved value (type=string) cannot be used as a Conf: assuming string type since contents are \
                     not valid YAML: yaml: line {line}: {}",
                    error.info()
                );
                let mut fault = at.fault(message);
                let is_tabbed = |line: &str| line.trim_start_matches(' ').starts_with('\t');
                if text
                    .lines()
                    .nth(line.saturating_sub(1) as usize)
                    .is_some_and(is_tabbed)
                {
                    fault.help = Some("indent with blanks: YAML takes no tabs".into());
                }
                builder.faults.push(fault);
                return Err(Diags(builder.faults));
            }
        };
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                let at = builder.mark(&span);
                warnings
                    .push(at.fault("only the first document of a source is read, what follows is ignored"));
                break;
            }
        }
        if let Err(fatal) = builder.event(event, &span) {
            builder.faults.push(*fatal);
            return Err(Diags(builder.faults));
        }
    }
    Diags::check(builder.faults)?;
    Ok(builder.root.unwrap_or_else(|| {
        Node::null(Mark {
            source: Some(source),
            line: 1,
            column: 1,
            width: 0,
        })
    }))
}

struct Builder<'s> {
    source: &'s Arc<Source>,
    stack: Vec<Frame>,
    /// Finished anchored values. What is missing here but known to the parser is still open: it contains
    /// itself.
    anchors: HashMap<usize, Anchored>,
    nodes_left: usize,
    faults: Vec<Diag>,
    root: Option<Node>,
}

struct Anchored {
    node: Node,
    count: usize,
    depth: usize,
}

struct Frame {
    mark: Mark,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map(OpenMap),
}

#[derive(Default)]
struct OpenMap {
    entries: Vec<Entry>,
    seen: HashMap<Arc<str>, u32>,
    key: Option<(Key, Mark)>,
    merges: Vec<Node>,
}

enum Key {
    Text(Arc<str>),
    Merge,
}

impl Mark {
    fn fault(&self, message: impl Into<String>) -> Diag {
        Diag::new(self.place(), "", message).at(Stage::Resolve)
    }
}

impl Builder<'_> {
    fn place_at(&self, line: u32, column: u32) -> Mark {
        Mark {
            source: Some(self.source.clone()),
            line,
            column,
            width: 0,
        }
    }

    fn mark(&self, span: &Span) -> Mark {
        let (start, end) = (span.start, span.end);
        let width = match end.line() == start.line() {
            true => end.col().saturating_sub(start.col()) as u32,
            false => u32::MAX,
        };
        Mark {
            width,
            ..self.place_at(start.line() as u32, start.col() as u32 + 1)
        }
    }

    /// Errors end the reading; other faults are gathered.
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Box<Diag>> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let mark = self.mark(span);
                if self.expects_key() {
                    let merge = style == ScalarStyle::Plain && text == "<<" && tag.is_none()
                        || tag.as_ref().is_some_and(|tag| is_core(tag, "merge"));
                    let text: Arc<str> = text.into();
                    if anchor > 0 {
                        let node = Node {
                            value: Value::String(text.clone()),
                            text: None,
                            mark: mark.clone(),
                        };
                        self.anchors.insert(
                            anchor,
                            Anchored {
                                node,
                                count: 1,
                                depth: 0,
                            },
                        );
                    }
                    return self.key(if merge { Key::Merge } else { Key::Text(text) }, mark);
                }
                let value = self.scalar(&text, style, tag.as_deref(), &mark);
                self.value(
                    Node {
                        value,
                        text: None,
                        mark,
                    },
                    anchor,
                )
            }
            Event::SequenceStart(_, anchor, _) => self.open(Kind::List(Vec::new()), anchor, span),
            Event::MappingStart(_, anchor, _) => self.open(Kind::Map(OpenMap::default()), anchor, span),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(id, span),
            Event::UnresolvedAlias(name) => Err(self
                .mark(span)
                .fault(format!("yaml: unknown anchor '{name}' referenced"))
                .into()),
            _ => Ok(()),
        }
    }

    fn expects_key(&self) -> bool {
        matches!(
            self.stack.last(),
            Some(Frame {
                kind: Kind::Map(OpenMap { key: None, .. }),
                ..
            })
        )
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, mark: &Mark) -> Value {
        let Some(tag) = tag else {
            return if style == ScalarStyle::Plain {
                resolve(text)
            } else {
                text.into()
            };
        };
        if is_core(tag, "binary") {
            self.faults.push(mark.fault("!!binary is not supported"));
            return Value::Null;
        }
        let resolved = resolve(text);
        let fitting = match tag.core_suffix() {
            Some("null") => matches!(resolved, Value::Null),
            Some("bool") => matches!(resolved, Value::Bool(_)),
            Some("int") => matches!(resolved, Value::Int(_)),
            Some("float") => match resolved {
                Value::Int(int) => return Value::Float(int as f64),
                _ => matches!(resolved, Value::Float(_)),
            },
            // `!!str`, and tags of others' making, which say nothing about how to read a text.
            _ => return text.into(),
        };
        if !fitting {
            let suffix = tag.core_suffix().unwrap_or_default();
            self.faults
                .push(mark.fault(format!("yaml: cannot decode the value as a !!{suffix}")));
        }
        resolved
    }

    fn open(&mut self, kind: Kind, anchor: usize, span: &Span) -> Result<(), Box<Diag>> {
        let mark = self.mark(span);
        if self.expects_key() {
            return Err(mark.fault("yaml: invalid map key: a map or a list").into());
        }
        if self.stack.len() >= DEPTH_MAX {
            return Err(mark
                .fault(format!("nested deeper than {DEPTH_MAX} levels"))
                .into());
        }
        // A collection's own span ends where it began; a caret under its first character is enough.
        self.stack.push(Frame {
            mark: Mark { width: 1, ..mark },
            anchor,
            kind,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Box<Diag>> {
        let Some(Frame { mark, anchor, kind }) = self.stack.pop() else {
            return Ok(());
        };
        let value = match kind {
            Kind::List(items) => Value::List(items),
            Kind::Map(map) => Value::Map(self.merged(map)),
        };
        self.value(
            Node {
                value,
                text: None,
                mark,
            },
            anchor,
        )
    }

    /// Written keys win over merged ones, and earlier merged ones over later.
    fn merged(&mut self, map: OpenMap) -> Vec<Entry> {
        let OpenMap {
            mut entries, merges, ..
        } = map;
        if merges.is_empty() {
            return entries;
        }
        let mut seen: HashSet<Arc<str>> = entries.iter().map(|entry| entry.key.clone()).collect();
        for merge in merges {
            let mark = merge.mark.clone();
            let maps = match merge.value {
                Value::List(items) => items,
                _ => vec![merge],
            };
            for map in maps {
                let Value::Map(more) = map.value else {
                    self.faults
                        .push(mark.fault("yaml: map merge requires map or sequence of maps as the value"));
                    continue;
                };
                entries.extend(more.into_iter().filter(|entry| seen.insert(entry.key.clone())));
            }
        }
        entries
    }

    fn alias(&mut self, id: usize, span: &Span) -> Result<(), Box<Diag>> {
        let mark = self.mark(span);
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(mark.fault("yaml: anchor's value contains itself").into());
        };
        let (count, depth) = (anchored.count, anchored.depth);
        if self.stack.len() + depth > DEPTH_MAX {
            return Err(mark
                .fault(format!("nested deeper than {DEPTH_MAX} levels"))
                .into());
        }
        if self.expects_key() {
            return match &anchored.node.value {
                Value::String(text) => {
                    let key = Key::Text(text.clone());
                    self.key(key, mark)
                }
                _ => Err(mark
                    .fault("yaml: invalid map key: an alias of something other than text")
                    .into()),
            };
        }
        // The copy itself is counted by `value`.
        self.spend(count - 1, &mark)?;
        let node = self.anchors[&id].node.clone();
        self.value(node, 0)
    }

    fn spend(&mut self, nodes: usize, mark: &Mark) -> Result<(), Box<Diag>> {
        self.nodes_left = self
            .nodes_left
            .checked_sub(nodes)
            .ok_or_else(|| mark.fault(format!("more than {NODES_MAX} values, copies by alias included")))?;
        Ok(())
    }

    fn key(&mut self, key: Key, mark: Mark) -> Result<(), Box<Diag>> {
        let Some(Frame {
            kind: Kind::Map(map), ..
        }) = self.stack.last_mut()
        else {
            return Ok(());
        };
        if let Key::Text(text) = &key
            && let Some(line) = map.seen.insert(text.clone(), mark.line)
        {
            let shown: String = text.chars().take(80).collect();
            let message = format!("yaml: mapping key \"{shown}\" already defined at line {line}");
            self.faults.push(mark.fault(message));
        }
        map.key = Some((key, mark));
        Ok(())
    }

    fn value(&mut self, node: Node, anchor: usize) -> Result<(), Box<Diag>> {
        self.spend(1, &node.mark)?;
        if anchor > 0 {
            let count = node.count();
            // The anchor keeps a copy of its own.
            self.spend(count, &node.mark)?;
            self.anchors.insert(
                anchor,
                Anchored {
                    count,
                    depth: node.depth(),
                    node: node.clone(),
                },
            );
        }
        match self.stack.last_mut().map(|frame| &mut frame.kind) {
            None => self.root = Some(node),
            Some(Kind::List(items)) => items.push(node),
            Some(Kind::Map(map)) => match map.key.take() {
                Some((Key::Text(key), mark)) => map.entries.push(Entry {
                    key,
                    mark,
                    value: node,
                }),
                Some((Key::Merge, _)) => map.merges.push(node),
                None => {}
            },
        }
        Ok(())
    }
}

fn is_core(tag: &Tag, suffix: &str) -> bool {
    tag.suffix_in_namespace("tag:yaml.org,2002:")
        .is_some_and(|s| s == suffix)
}

/// What a plain scalar means.
pub(crate) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes()[0] {
        b'.' => float(text).unwrap_or_else(|| text.into()),
        b'+' | b'-' | b'0'..=b'9' => {
            let plain = text.replace('_', "");
            int(&plain)
                .or_else(|| float(&plain))
                .unwrap_or_else(|| text.into())
        }
        _ => text.into(),
    }
}

/// Go's `ParseInt` with base 0: a leading zero is octal.
fn int(text: &str) -> Option<Value> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match body.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &body[2..]),
        [b'0', b'o' | b'O', ..] => (8, &body[2..]),
        [b'0', b'b' | b'B', ..] => (2, &body[2..]),
        [b'0', _, ..] => (8, &body[1..]),
        _ => (10, body),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if negative { -magnitude } else { magnitude };
    (value >= i128::from(i64::MIN)).then_some(Value::Int(value))
}

fn float(text: &str) -> Option<Value> {
    let allowed = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    if !text.bytes().all(allowed) {
        return None;
    }
    text.parse::<f64>()
        .ok()
        .filter(|float| float.is_finite())
        .map(Value::Float)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse_text(text: &str) -> Result<Node, Diags> {
        let source = Source {
            name: "t.yaml".into(),
            text: Some(text.into()),
        };
        parse(Arc::new(source), text, &mut Vec::new())
    }

    /// The tree as JSON-like text, keys in the order written.
    fn show(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".into(),
            Value::Bool(b) => b.to_string(),
            Value::Int(i) => i.to_string(),
            Value::Float(f) => format!("{f:?}f"),
            Value::String(s) => format!("{s:?}"),
            Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
            Value::Map(entries) => {
                let pairs = entries.iter().map(|e| format!("{}: {}", e.key, show(&e.value)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }
        }
    }

    #[test]
    fn resolves_scalars_as_yaml_v3_does() {
        let check = |text: &str, expected: &str| {
            assert_eq!(show(&parse_text(text).unwrap()), expected, "{text}");
        };
        for (text, expected) in [
            ("", "null"),
            ("~", "null"),
            ("NULL", "null"),
            ("nULL", "\"nULL\""),
            ("true", "true"),
            ("True", "true"),
            ("FALSE", "false"),
            ("tRue", "\"tRue\""),
            ("yes", "\"yes\""),
            ("no", "\"no\""),
            ("on", "\"on\""),
            ("off", "\"off\""),
            ("N", "\"N\""),
            ("123", "123"),
            ("0123", "83"),
            ("0o123", "83"),
            ("0xff", "255"),
            ("0b101", "5"),
            ("-0x10", "-16"),
            ("+12", "12"),
            ("4_000_000", "4000000"),
            ("089", "89.0f"),
            ("0", "0"),
            ("-0", "0"),
            ("0x", "\"0x\""),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551616", "1.8446744073709552e19f"),
            ("1.5", "1.5f"),
            (".5", "0.5f"),
            ("1e3", "1000.0f"),
            ("-1.", "-1.0f"),
            ("1e999", "\"1e999\""),
            (".inf", "inff"),
            ("-.INF", "-inff"),
            (".NaN", "NaNf"),
            ("inf", "\"inf\""),
            ("nan", "\"nan\""),
            ("\"123\"", "\"123\""),
            ("'true'", "\"true\""),
            ("!!str 123", "\"123\""),
            ("! 5", "\"5\""),
            ("!!int \"3\"", "3"),
            ("!!float 3", "3.0f"),
            ("!own 3", "\"3\""),
            ("!!null x", ""),
            ("2024-01-02", "\"2024-01-02\""),
            ("1:30", "\"1:30\""),
            ("-", "[null]"),
            ("1.2.3.4", "\"1.2.3.4\""),
            ("--5", "\"--5\""),
            ("0x-5", "\"0x-5\""),
            ("5m", "\"5m\""),
            ("localhost:4317", "\"localhost:4317\""),
            ("|\n  a\n  b\n", "\"a\\nb\\n\""),
            (">-\n  a\n  b\n", "\"a b\""),
        ] {
            if expected.is_empty() {
                assert!(parse_text(text).is_err(), "{text}");
            } else {
                check(text, expected);
            }
        }
    }

    #[test]
    fn reads_collections_aliases_and_merge_keys() {
        let check = |text: &str, expected: &str| {
            assert_eq!(show(&parse_text(text).unwrap()), expected, "{text}");
        };
        check("# only a comment\n", "null");
        check("a: {b: [1, x], c: }", "{a: {b: [1, \"x\"], c: null}}");
        check("a: &x {k: 1}\nb: *x\n", "{a: {k: 1}, b: {k: 1}}");
        check(
            "a: &x {k: 1, j: 2}\nb: {<<: *x, k: 3}\n",
            "{a: {k: 1, j: 2}, b: {k: 3, j: 2}}",
        );
        check(
            "b:\n  <<: [{a: 1}, {a: 2, c: 3}]\n  d: 4\n",
            "{b: {d: 4, a: 1, c: 3}}",
        );
        check("\"<<\": 1", "{<<: 1}");
        check("&k key: 1\nother: *k\n", "{key: 1, other: \"key\"}");
        check("8080: x\ntrue: y\n", "{8080: \"x\", true: \"y\"}");
        check(
            "{\"json\": [1, 2.5, null, true, \"s\"]}",
            "{json: [1, 2.5f, null, true, \"s\"]}",
        );
        check("a: 1\n---\nb: [", "{a: 1}");
    }

    #[test]
    fn refuses_with_places() {
        let check = |text: &str, expected: &str| {
            let fault = parse_text(text).unwrap_err().0.remove(0);
            assert!(fault.to_string().contains(expected), "{text}: {fault}");
        };
        check(
            "a: 1\nb: 2\na: 3\n",
            "t.yaml:3:1: yaml: mapping key \"a\" already defined at line 1",
        );
        check(
            "{a: 1, a: 2}",
            "t.yaml:1:8: yaml: mapping key \"a\" already defined at line 1",
        );
        check("a:\n\t- x", "contents are not valid YAML: yaml: line 2");
        check("a: [1, 2", "contents are not valid YAML");
        check("a: *nope", "t.yaml:1:4: yaml: unknown anchor 'nope' referenced");
        check("a: &x [*x]", "t.yaml:1:8: yaml: anchor's value contains itself");
        check("a: {<<: 5}", "yaml: map merge requires map or sequence of maps");
        check("? [a]\n: b", "invalid map key");
        check("a: !!int x", "cannot decode the value as a !!int");
        check("a: !!binary aGk=", "!!binary is not supported");
        check(&"[".repeat(65), "");
        check(&format!("{}{}", "[".repeat(65), "]".repeat(65)), "nest");
        assert!(parse_text(&format!("{}{}", "[".repeat(64), "]".repeat(64))).is_ok());
    }

    #[test]
    fn bounds_alias_expansion() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..10 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            laughs += &format!("a{i}: &a{i} [{refs}]\n");
        }
        let fault = parse_text(&laughs).unwrap_err().to_string();
        assert!(fault.contains("more than 250000 values"), "{fault}");
        let deep = "a: &a [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\nb: [[[[[[[[[[[[[[[[[[[[[[[[[[*a]]]]]]]]]]]]]]]]]]]]]]]]]]\n";
        assert!(
            parse_text(deep)
                .unwrap_err()
                .to_string()
                .contains("nested deeper")
        );
    }

    #[test]
    fn places_count_characters_from_one() {
        let node = parse_text("\u{fc}: 1\nmap:\n  key: \"v\"\n  - bad\n");
        assert!(node.is_err());
        let node = parse_text("\u{fc}: 1\nmap:\n  key: \"v\" # c\n").unwrap();
        let map = &node.entries()[1].value;
        let key = &map.entries()[0];
        assert_eq!((key.mark.line, key.mark.column, key.mark.width), (3, 3, 3));
        assert_eq!(
            (key.value.mark.line, key.value.mark.column, key.value.mark.width),
            (3, 8, 3)
        );
        assert_eq!((map.mark.line, map.mark.column), (3, 3));
        assert_eq!(node.entries()[0].value.mark.column, 4);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ a-c0:,&*<{}\\[\\]\"'|>!#\\-\\n\\t?%$]{0,60}|\\PC{0,80}") {
            if let Err(faults) = parse_text(&text) {
                let _ = faults.to_string();
            }
        }
    }
}

//! `${...}` in values: found, retrieved, typed, spliced.
//!
//! Runs after merging, on values and never on keys. A reference that is the whole of a value takes the type
//! that its text has as YAML, and keeps the text for fields of text; one inside a longer text is spliced in.
//! Retrieved text is expanded again. `$${` escapes a reference and `$$` becomes `$` when all is done. Two
//! things differ from the collector, which leaves a text alone after its first escaped reference and refuses
//! `${NAME:-default}` without `env:`; here the later references expand and the short form works. Bounds:
//! expansions of one text, bytes retrieved in all, depth and number of values. No I/O: see [`Provider`].

use std::collections::HashSet;
use std::sync::Arc;

use crate::value::{DEPTH_MAX, Entry, Mark, NODES_MAX, Node, Source, Value};
use crate::yaml;
use crate::{Diag, Diags, Stage};

/// Fetches what `${scheme:opaque}` names.
pub trait Provider {
    /// The text behind a reference.
    ///
    /// For `env`, `opaque` is the variable's name, and `None` says that it is not set. For other schemes
    /// `None` says that the scheme is not served. `yaml` is never asked for. Errors: one line that names the
    /// cause.
    fn retrieve(&self, scheme: &str, opaque: &str) -> Result<Option<String>, String>;
}

impl<F: Fn(&str, &str) -> Result<Option<String>, String>> Provider for F {
    fn retrieve(&self, scheme: &str, opaque: &str) -> Result<Option<String>, String> {
        self(scheme, opaque)
    }
}

/// Expansions within one text.
const PASSES_MAX: usize = 1000;
/// Faults after which nothing more is expanded.
const FAULTS_MAX: usize = 100;
/// One text after expansion.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// All retrieved texts together.
const RETRIEVED_BYTES_MAX: usize = 64 << 20;

/// Expands a whole tree. Faults and warnings are pushed; a value at fault becomes null. `trim` takes one final
/// newline off what `${file:..}` gives.
pub(crate) fn expand(
    root: Node,
    providers: &dyn Provider,
    trim: bool,
    faults: &mut Vec<Diag>,
    warnings: &mut Vec<Diag>,
) -> Node {
    let mut expander = Expander {
        providers,
        trim,
        warnings,
        faults,
        unset: HashSet::new(),
        nodes_left: NODES_MAX.saturating_sub(root.count()),
        bytes_left: RETRIEVED_BYTES_MAX,
        path: String::new(),
    };
    let root = expander.node(root, 0);
    faults.dedup();
    root
}

struct Expander<'a> {
    providers: &'a dyn Provider,
    trim: bool,
    warnings: &'a mut Vec<Diag>,
    faults: &'a mut Vec<Diag>,
    /// Variables that have been warned of.
    unset: HashSet<String>,
    nodes_left: usize,
    bytes_left: usize,
    path: String,
}

/// What a reference stands for.
struct Retrieved {
    text: Arc<str>,
    value: Node,
}

impl Expander<'_> {
    fn node(&mut self, mut node: Node, depth: usize) -> Node {
        match node.value {
            Value::String(text) => return self.text(&text, &node.mark, depth, node.text.is_some()),
            Value::List(items) => {
                let expanded = items
                    .into_iter()
                    .enumerate()
                    .map(|(i, item)| self.below(&format!("[{i}]"), |this| this.node(item, depth + 1)));
                node.value = Value::List(expanded.collect());
            }
            Value::Map(entries) => {
                let expanded = entries.into_iter().map(|Entry { key, mark, value }| {
                    let step = if self.path.is_empty() {
                        key.to_string()
                    } else {
                        format!("::{key}")
                    };
                    let value = self.below(&step, |this| this.node(value, depth + 1));
                    Entry { key, mark, value }
                });
                node.value = Value::Map(expanded.collect());
            }
            _ => {}
        }
        node
    }

    fn below<T>(&mut self, step: &str, run: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(step);
        let result = run(self);
        self.path.truncate(length);
        result
    }

    /// One text to a value. `expanded` says that the text itself came out of a reference.
    fn text(&mut self, original: &Arc<str>, mark: &Mark, depth: usize, mut expanded: bool) -> Node {
        if !original.contains('$') {
            let text = expanded.then(|| original.clone());
            return Node {
                value: Value::String(original.clone()),
                text,
                mark: mark.clone(),
            };
        }
        let failed = || Node {
            text: Some("".into()),
            ..Node::null(mark.clone())
        };
        let mut text = original.to_string();
        let mut passes = 0;
        while let Some((start, end)) = find(&text) {
            passes += 1;
            if self.faults.len() >= FAULTS_MAX {
                return failed();
            }
            if passes > PASSES_MAX || text.len() > TEXT_BYTES_MAX {
                self.fault(mark, "too many recursive expansions");
                return failed();
            }
            let Some(retrieved) = self.retrieve(&text[start + 2..end - 1], mark, depth) else {
                return failed();
            };
            expanded = true;
            let whole = (start, end) == (0, text.len());
            match retrieved.value.value {
                Value::String(_) => text.replace_range(start..end, &retrieved.text),
                _ if !whole => text.replace_range(start..end, &retrieved.text),
                Value::List(_) | Value::Map(_) => {
                    let node = self.node(retrieved.value, depth);
                    // A field of text takes the text, expanded like any other.
                    return Node {
                        text: Some(self.text_of(&retrieved.text, mark)),
                        ..node
                    };
                }
                value => {
                    return Node {
                        value,
                        text: Some(retrieved.text),
                        mark: mark.clone(),
                    };
                }
            }
        }
        let text: Arc<str> = text.replace("$$", "$").into();
        Node {
            value: Value::String(text.clone()),
            text: expanded.then_some(text),
            mark: mark.clone(),
        }
    }

    /// The text of a retrieved map or list with its references spliced in. What is at fault in its values has
    /// been noted; a reference in a comment is no fault.
    fn text_of(&mut self, original: &Arc<str>, mark: &Mark) -> Arc<str> {
        let noted = self.faults.len();
        let mut text = original.to_string();
        for _ in 0..PASSES_MAX {
            let Some((start, end)) = find(&text) else { break };
            if noted > 0 || text.len() > TEXT_BYTES_MAX {
                break;
            }
            let Some(fetched) = self.fetch(&text[start + 2..end - 1], mark) else {
                break;
            };
            text.replace_range(start..end, &fetched.text);
        }
        self.faults.truncate(noted);
        text.replace("$$", "$").into()
    }

    fn fault(&mut self, mark: &Mark, message: impl Into<String>) {
        let message = message.into();
        let mut fault = Diag::new(mark.place(), self.path.clone(), "").at(Stage::Resolve);
        fault.help = remedy(&message).map(str::to_owned);
        fault.message = message;
        self.faults.push(fault);
    }

    /// Fetches what `body` names and reads it as YAML; `None` after a fault.
    fn retrieve(&mut self, body: &str, mark: &Mark, depth: usize) -> Option<Retrieved> {
        let Fetched {
            scheme,
            opaque,
            text,
            is_text,
        } = self.fetch(body, mark)?;
        let value = if is_text {
            Node {
                value: Value::String(text.clone()),
                text: Some(text.clone()),
                mark: mark.clone(),
            }
        } else {
            self.typed(scheme, opaque, &text, mark, depth)?
        };
        Some(Retrieved { text, value })
    }

    /// Fetches what `body` names; `None` after a fault.
    fn fetch<'b>(&mut self, body: &'b str, mark: &Mark) -> Option<Fetched<'b>> {
        let fetched = reference(body).and_then(|(scheme, opaque)| {
            let (text, is_text) = match scheme {
                "env" => self.variable(opaque, mark)?,
                "yaml" => (opaque.to_owned(), false),
                _ => match self.providers.retrieve(scheme, opaque)? {
                    Some(mut text) => {
                        if self.trim && scheme == "file" && text.ends_with('\n') {
                            text.pop();
                            text.truncate(text.strip_suffix('\r').map_or(text.len(), str::len));
                        }
                        (text, false)
                    }
                    None => {
                        return Err(format!(
                            "scheme \"{scheme}\" is not supported for uri \"{scheme}:{opaque}\""
                        ));
                    }
                },
            };
            let left = self.bytes_left.checked_sub(text.len());
            self.bytes_left =
                left.ok_or_else(|| format!("expansions of more than {RETRIEVED_BYTES_MAX} bytes"))?;
            Ok(Fetched {
                scheme,
                opaque,
                text: text.into(),
                is_text,
            })
        });
        fetched.map_err(|message| self.fault(mark, message)).ok()
    }

    /// What the text means as YAML; text that means a text, or is no YAML, is itself.
    fn typed(
        &mut self,
        scheme: &str,
        opaque: &str,
        text: &Arc<str>,
        mark: &Mark,
        depth: usize,
    ) -> Option<Node> {
        let itself = Node {
            value: Value::String(text.clone()),
            text: Some(text.clone()),
            mark: mark.clone(),
        };
        // Lines of files may be shown; what stands in a variable may be a secret.
        let shown = (scheme == "file").then(|| text.clone());
        let name = if scheme == "yaml" {
            "yaml:".into()
        } else {
            format!("{scheme}:{}", name_of(opaque))
        };
        let source = Source {
            name: name.into(),
            text: shown,
        };
        let Ok(parsed) = yaml::parse(Arc::new(source), text, &mut Vec::new()) else {
            return Some(itself);
        };
        if matches!(parsed.value, Value::String(_)) {
            return Some(itself);
        }
        if depth + parsed.depth() > DEPTH_MAX {
            self.fault(mark, "too many recursive expansions");
            return None;
        }
        let Some(nodes_left) = self.nodes_left.checked_sub(parsed.count()) else {
            self.fault(mark, format!("expansions to more than {NODES_MAX} values"));
            return None;
        };
        self.nodes_left = nodes_left;
        Some(Node {
            mark: mark.clone(),
            ..parsed
        })
    }

    /// `NAME` or `NAME:-default`, and whether the text is meant as it is. The default counts when the
    /// variable is not set, not when it is empty; an empty default is an empty text, where an empty variable
    /// is a null.
    fn variable(&mut self, opaque: &str, mark: &Mark) -> Result<(String, bool), String> {
        let (name, default) = match opaque.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (opaque, None),
        };
        if !is_variable(name) {
            return Err(no_variable(name));
        }
        if let Some(text) = self.providers.retrieve("env", name)? {
            return Ok((text, false));
        }
        if default.is_none() && self.unset.insert(name.to_owned()) {
            let message = format!("Configuration references unset environment variable \"{name}\"");
            let help = format!("${{env:{name}:-default}} gives it a default");
            self.warnings
                .push(Diag::new(mark.place(), self.path.clone(), message).with_help(help));
        }
        Ok((default.unwrap_or_default().to_owned(), default == Some("")))
    }
}

/// What to do about a reference that could not be followed, whoever said so.
fn remedy(message: &str) -> Option<&'static str> {
    let advice: [(&str, &str); 7] = [
        (
            "scheme ",
            "write ${env:NAME}, ${file:PATH}, ${yaml:TEXT}, ${http:URL} or ${https:URL}; $$ stands for a dollar",
        ),
        (
            "invalid uri",
            "write ${env:NAME:-default} or ${file:PATH}; $$ stands for a dollar",
        ),
        (
            "environment variable ",
            "write ${env:NAME}; $$ stands for a dollar",
        ),
        ("the uri ", "write $$ for a dollar"),
        (
            "unable to read the file ",
            "a path is taken from the directory in which weir was started",
        ),
        (
            "too many recursive",
            "something refers to itself, by way of variables or files",
        ),
        (
            "expansions ",
            "something refers to itself, by way of variables or files",
        ),
    ];
    let found = advice.iter().find(|(start, _)| message.starts_with(start));
    found.map(|(_, advice)| *advice)
}

/// What a reference names, as it came.
struct Fetched<'b> {
    scheme: &'b str,
    opaque: &'b str,
    text: Arc<str>,
    /// Not read as YAML.
    is_text: bool,
}

/// The first reference that can be expanded, innermost first: its range, `${` and `}` included.
fn find(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    loop {
        let close = from + text[from..].find('}')?;
        if let Some(open) = text[from..close].rfind("${").map(|open| from + open) {
            let dollars = text[..open].bytes().rev().take_while(|b| *b == b'$').count();
            if dollars.is_multiple_of(2) {
                return Some((open, close + 1));
            }
        }
        from = close + 1;
    }
}

/// Scheme and opaque part of what stands between `${` and `}`.
fn reference(body: &str) -> Result<(&str, &str), String> {
    let (scheme, opaque) = match body.split_once(':') {
        None => ("env", body),
        Some((name, rest)) if rest.starts_with('-') && is_variable(name) && !SCHEMES.contains(&name) => {
            ("env", body)
        }
        Some((scheme, opaque)) if is_scheme(scheme) => (scheme, opaque),
        Some(_) => return Err(format!("invalid uri: \"{body}\"")),
    };
    if opaque.contains('$') {
        return Err(format!(
            "the uri \"{scheme}:{opaque}\" contains unsupported characters ('$')"
        ));
    }
    Ok((scheme, opaque))
}

/// Names that are schemes even before `:-`.
const SCHEMES: [&str; 5] = ["env", "file", "yaml", "http", "https"];

fn is_scheme(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
}

/// What a `--config` argument names: scheme and the rest. A path, or a drive letter's path, is a `file`.
///
/// Errors: the argument is no URI. Whether the scheme is served is for its providers to say.
pub fn source_uri(argument: &str) -> Result<(&str, &str), Diags> {
    let drive = matches!(argument.as_bytes(), [b'A'..=b'z', b':', ..]);
    match argument.split_once(':') {
        _ if drive => Ok(("file", argument)),
        None => Ok(("file", argument)),
        Some((scheme, rest)) if is_scheme(scheme) => Ok((scheme, rest)),
        Some(_) => {
            let fault = Diag::new(None, "--config", format!("invalid uri: \"{argument}\""));
            Err(fault.at(Stage::Resolve).into())
        }
    }
}

/// What is said of a name that is none.
pub fn no_variable(name: &str) -> String {
    format!("environment variable \"{name}\" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$")
}

/// A name that a variable of the environment can be asked for by.
pub fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A reference's name in places: without a default, and without what may be a login in a URL.
fn name_of(opaque: &str) -> &str {
    let name = opaque.split_once(":-").map_or(opaque, |(name, _)| name);
    name.rsplit_once('@').map_or(name, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(scheme: &str, opaque: &str) -> Result<Option<String>, String> {
        let text = match (scheme, opaque) {
            ("env", "FOO") => "v",
            ("env", "B") => "bee",
            ("env", "EMPTY") => "",
            ("env", "NUM") => "0123",
            ("env", "BOOL") => "true # yes",
            ("env", "QUOTED") => "\"q\"",
            ("env", "LIST") => "[a, \"${FOO}\"]",
            ("env", "NESTED") => "${env:FOO}-${env:B}",
            ("env", "DOLLAR") => "p$$w",
            ("env", "ONE_DOLLAR") => "p$w",
            ("env", "NAME") => "FOO",
            ("env", "SELF") => "${env:SELF}",
            ("env", "GROW") => "${env:GROW}${env:GROW}",
            ("env", "BAD_YAML") => "[a",
            ("file", "map.yaml") => "a: ${env:FOO}\nb: [1, $$]\n",
            ("file", "deep.yaml") => "x: {y: \"${file:deep.yaml}\"}",
            ("file", "wide.yaml") => "[\"${file:wide.yaml}\", \"${file:wide.yaml}\", \"${file:wide.yaml}\"]",
            ("file", "comment.yaml") => "a: 1 # as ${nope:x}\n",
            ("file", "secret") => "s3cret\n",
            ("file", opaque) => return Err(format!("unable to read the file file:{opaque}: not found")),
            ("env", _) => return Ok(None),
            _ => return Ok(None),
        };
        Ok(Some(text.to_owned()))
    }

    fn run(text: &str) -> (Node, Vec<Diag>, Vec<Diag>) {
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        let mark = Mark::default();
        let node = Node {
            value: text.into(),
            text: None,
            mark,
        };
        let node = expand(node, &environment, false, &mut faults, &mut warnings);
        (node, faults, warnings)
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let (node, faults, _) = run(text);
        assert_eq!(faults, [], "{text}");
        match &node.value {
            Value::String(found) => assert_eq!(&**found, expected, "{text}"),
            _ => panic!("{text}: {node:?}"),
        }
    }

    #[test]
    fn expands_by_the_collectors_table() {
        check("$FOO", "$FOO");
        check("$$FOO", "$FOO");
        check("${FOO}", "v");
        check("$${FOO}", "${FOO}");
        check("$$${FOO}", "$v");
        check("$$$$FOO", "$$FOO");
        check("a${FOO}b", "avb");
        check("a$${env:FOO}b", "a${env:FOO}b");
        check("$${env:${FOO}}", "${env:v}");
        check("$${env:$${FOO}}", "${env:${FOO}}");
        check("${env:NOPE:-d}", "d");
        check("${env:NOPE:-}", "");
        check("${env:NOPE:-$${env:X}}", "${env:NOPE:-${env:X}}");
        check("${HOST", "${HOST");
        check("HOST}", "HOST}");
        check("{x}", "{x}");
        check("${env:A${env:B}", "${env:Abee");
        check("text$$", "text$");
        check("$$", "$");
        check("$", "$");
        check("$1", "$1");
        check("${env:DOLLAR}", "p$w");
        check("${env:ONE_DOLLAR}", "p$w");
        check("${env:NESTED}", "v-bee");
        check("${env:${env:NAME}}", "v");
        check("} ${FOO} ${FOO}", "} v v");
        check("x${env:NUM}", "x0123");
        check("x${env:NOPE}y", "xy");
        check("${file:secret}", "s3cret\n");
        check("${yaml:abc}", "abc");
    }

    #[test]
    fn goes_further_than_the_collector_where_that_is_safe() {
        check("$${A}-${env:B}", "${A}-bee");
        check("$${env:B} ${env:B}", "${env:B} bee");
        check("${NOPE:-x}", "x");
        check("${FOO:-x}", "v");
        check("${N:-x}", "x");
        check("${MY_VAR:-a:b}", "a:b");
    }

    #[test]
    fn whole_references_are_typed_and_keep_their_text() {
        let check = |text: &str, is: fn(&Value) -> bool, original: &str| {
            let (node, faults, _) = run(text);
            assert_eq!(faults, [], "{text}");
            assert!(is(&node.value), "{text}: {node:?}");
            assert_eq!(node.text.as_deref(), Some(original), "{text}");
        };
        check("${env:NUM}", |v| matches!(v, Value::Int(83)), "0123");
        check("${env:BOOL}", |v| matches!(v, Value::Bool(true)), "true # yes");
        check(
            "${env:QUOTED}",
            |v| matches!(v, Value::String(s) if &**s == "\"q\""),
            "\"q\"",
        );
        check(
            "${env:LIST}",
            |v| matches!(v, Value::List(items) if items.len() == 2),
            "[a, \"v\"]",
        );
        check("${env:EMPTY}", |v| matches!(v, Value::Null), "");
        check("${env:NOPE}", |v| matches!(v, Value::Null), "");
        check("${env:NOPE:-}", |v| matches!(v, Value::String(_)), "");
        check("${env:NOPE:-8}", |v| matches!(v, Value::Int(8)), "8");
        check("${env:BAD_YAML}", |v| matches!(v, Value::String(_)), "[a");
        check(
            "${file:map.yaml}",
            |v| matches!(v, Value::Map(entries) if entries.len() == 2),
            "a: v\nb: [1, $]\n",
        );
        check(
            "${file:comment.yaml}",
            |v| matches!(v, Value::Map(_)),
            "a: 1 # as ${nope:x}\n",
        );
        let (node, ..) = run("${file:map.yaml}");
        assert!(matches!(&node.entry("a").unwrap().value.value, Value::String(s) if &**s == "v"));
        assert!(matches!(&node.entry("b").unwrap().value.value, Value::List(items)
            if matches!(&items[1].value, Value::String(s) if &**s == "$")));
        assert_eq!(
            node.entry("b").unwrap().mark.place().unwrap().to_string(),
            "file:map.yaml:2:1"
        );
    }

    #[test]
    fn refuses_in_the_collectors_words() {
        let check = |text: &str, expected: &str| {
            let (node, faults, _) = run(text);
            assert!(matches!(node.value, Value::Null), "{text}");
            assert_eq!(
                faults.iter().map(|f| f.message.as_str()).collect::<Vec<_>>(),
                [expected],
                "{text}"
            );
        };
        check("${nope:x}", "scheme \"nope\" is not supported for uri \"nope:x\"");
        check("a${n:x}", "invalid uri: \"n:x\"");
        check(
            "${env:1X}",
            "environment variable \"1X\" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$",
        );
        check(
            "${env:a$b}",
            "the uri \"env:a$b\" contains unsupported characters ('$')",
        );
        check("${file:none}", "unable to read the file file:none: not found");
        check("${env:SELF}", "too many recursive expansions");
        check("${env:GROW}", "too many recursive expansions");
    }

    #[test]
    fn reads_arguments_as_uris() {
        let check = |argument, expected| assert_eq!(source_uri(argument), Ok(expected), "{argument}");
        check("config.yaml", ("file", "config.yaml"));
        check("file:/etc/x.yaml", ("file", "/etc/x.yaml"));
        check("C:\\x.yaml", ("file", "C:\\x.yaml"));
        check("_:x", ("file", "_:x"));
        check("yaml:a::b: 5", ("yaml", "a::b: 5"));
        check("env:CONFIG", ("env", "CONFIG"));
        check("https://h/x:y", ("https", "//h/x:y"));
        check("", ("file", ""));
        assert_eq!(
            source_uri("1:x").unwrap_err().to_string(),
            "--config: invalid uri: \"1:x\""
        );
        assert!(source_uri("a_b:x").is_err());
    }

    #[test]
    fn bounds_files_that_name_themselves() {
        let (_, faults, _) = run("${file:deep.yaml}");
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].message, "too many recursive expansions");
        let (_, faults, _) = run("${file:wide.yaml}");
        assert!(
            faults.iter().all(|f| f.message.contains("expansions")),
            "{faults:?}"
        );
        assert!(!faults.is_empty());
    }

    #[test]
    fn warns_once_of_an_unset_variable() {
        let (_, _, warnings) = run("${env:NOPE} ${env:NOPE} ${NADA}");
        let found: Vec<_> = warnings.iter().map(|w| w.message.as_str()).collect();
        let expected = |name: &str| format!("Configuration references unset environment variable \"{name}\"");
        assert_eq!(found, [expected("NOPE"), expected("NADA")]);
    }

    proptest! {
        #[test]
        fn never_panics(text in "([$}{:-]|\\$\\{|env|FOO|GROW|LIST|[a-z\u{e4}]){0,30}") {
            let _ = run(&text);
        }
    }
}

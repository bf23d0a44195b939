//! Several sources into one tree, before expansion, by the collector's rules.
//!
//! Maps join, everything else replaces: a null deletes a map, a list replaces a list. Of `yaml:` and `--set`
//! sources a key `a::b` means a map in a map; in files such a key is kept as it is, where the collector
//! splits it, and a warning says so: header names may hold colons.

use std::sync::Arc;

use crate::value::{Entry, Node, Value};
use crate::{Diag, Diags};

/// What becomes of two lists under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lists {
    /// The later one replaces the earlier.
    Replace,
    /// Lists of extensions, receivers and exporters in `service` are joined: first what was there, then what is new.
    /// Lists of processors, whose order means something, are replaced.
    Append,
}

/// Lays `later` over `earlier`.
pub(crate) fn merge(earlier: Node, later: Node, lists: Lists) -> Node {
    merge_at(earlier, later, lists, &mut Vec::new())
}

fn merge_at(earlier: Node, later: Node, lists: Lists, path: &mut Vec<Arc<str>>) -> Node {
    let (mut entries, more, mark) = match (earlier.value, later.value) {
        (Value::Map(entries), Value::Map(more)) => (entries, more, earlier.mark),
        (Value::List(items), Value::List(more)) if lists == Lists::Append && is_appended(path) => {
            let value = Value::List(append(items, more));
            return Node { value, ..later };
        }
        (_, value) => return Node { value, ..later },
    };
    for entry in more {
        match entries.iter_mut().find(|e| e.key == entry.key) {
            Some(present) => {
                let before = std::mem::replace(&mut present.value, Node::null(entry.mark.clone()));
                path.push(entry.key.clone());
                present.value = merge_at(before, entry.value, lists, path);
                path.pop();
                present.mark = entry.mark;
            }
            None => entries.push(entry),
        }
    }
    Node::map(entries, mark)
}

/// The collector's globs: `service::extensions`, `service::**::receivers`, `service::**::exporters`.
fn is_appended(path: &[Arc<str>]) -> bool {
    let path: Vec<&str> = path.iter().map(|key| &**key).collect();
    match path.as_slice() {
        ["service", "extensions"] => true,
        ["service", .., last] => matches!(*last, "receivers" | "exporters"),
        _ => false,
    }
}

/// Each value once, compared by content.
fn append(mut items: Vec<Node>, more: Vec<Node>) -> Vec<Node> {
    for item in more {
        if !items.contains(&item) {
            items.push(item);
        }
    }
    items
}

/// Makes maps in maps of keys that hold `::`.
pub(crate) fn split_keys(node: Node) -> Node {
    match node.value {
        Value::Map(entries) => {
            let mark = node.mark;
            let nested = entries.into_iter().map(|entry| {
                let mut parts = entry.key.rsplit(SEPARATOR);
                let mut value = split_keys(entry.value);
                let last = parts.next().unwrap_or_default();
                let one = |key: &str, value| Entry {
                    key: key.trim().into(),
                    mark: entry.mark.clone(),
                    value,
                };
                value = Node::map(vec![one(last, value)], entry.mark.clone());
                for part in parts.take(SPLITS_MAX) {
                    value = Node::map(vec![one(part, value)], entry.mark.clone());
                }
                value
            });
            nested.fold(Node::map(Vec::new(), mark), |all, one| {
                merge(all, one, Lists::Replace)
            })
        }
        Value::List(items) => Node {
            value: Value::List(items.into_iter().map(split_keys).collect()),
            ..node
        },
        _ => node,
    }
}

/// Deeper paths name nothing.
const SPLITS_MAX: usize = 32;
const SEPARATOR: &str = "::";

/// Warns of each key that the collector would split.
pub(crate) fn warn_of_split_keys(node: &Node, warnings: &mut Vec<Diag>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                if entry.key.contains(SEPARATOR) {
                    let message = format!(
                        "key \"{}\" is kept as it is, the collector makes maps of it",
                        entry.key
                    );
                    warnings.push(Diag::new(entry.mark.place(), "", message));
                }
                warn_of_split_keys(&entry.value, warnings);
            }
        }
        Value::List(items) => items.iter().for_each(|item| warn_of_split_keys(item, warnings)),
        _ => {}
    }
}

/// The name of the sources that come of `--set`.
pub(crate) const SET: &str = "--set";

/// A `--set` argument, `a.b.c=VALUE`, as a source for [`crate::load`]: its name and its text.
///
/// Errors: there is no `=`.
pub fn set_source(argument: &str) -> Result<(Arc<str>, String), Diags> {
    let Some((key, value)) = argument.split_once('=') else {
        // What was meant as the value may be a secret, but without `=` nothing says where it begins.
        let shown: String = argument
            .chars()
            .take_while(|c| c.is_alphanumeric() || "._-:/".contains(*c))
            .collect();
        let message = format!("invalid value \"{shown}\" for flag -set: missing equal sign");
        return Err(Diag::new(None, SET, message)
            .with_help("--set=a.b.c=value")
            .into());
    };
    let path = key.trim().replace('.', SEPARATOR);
    Ok((SET.into(), format!("{path}: {}", value.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn tree(text: &str) -> Node {
        let source = crate::value::Source {
            name: "t".into(),
            text: None,
        };
        yaml::parse(Arc::new(source), text, &mut Vec::new()).unwrap()
    }

    #[test]
    fn merges_by_the_collectors_table() {
        let check = |earlier: &str, later: &str, expected: &str| {
            let merged = merge(tree(earlier), tree(later), Lists::Replace);
            assert_eq!(merged, tree(expected), "{earlier} + {later}");
        };
        check("a: {b: 1, c: 2}", "a: {c: 3, d: 4}", "a: {b: 1, c: 3, d: 4}");
        check("a: {b: 1}", "a:", "a:");
        check("a: {b: 1}", "a: {}", "a: {b: 1}");
        check("a:", "a: {b: 1}", "a: {b: 1}");
        check("a: 1", "a: {b: 1}", "a: {b: 1}");
        check("a: [1]", "a: {b: 1}", "a: {b: 1}");
        check("a: {b: 1}", "a: 5", "a: 5");
        check("a: {b: 1}", "a: [x]", "a: [x]");
        check("a: [x, y]", "a: [z]", "a: [z]");
        check("a: 1", "b: 2", "a: 1\nb: 2");
    }

    #[test]
    fn appends_lists_of_the_service_when_asked_to() {
        let check = |earlier: &str, later: &str, expected: &str| {
            let merged = merge(tree(earlier), tree(later), Lists::Append);
            assert_eq!(merged, tree(expected), "{earlier} + {later}");
        };
        check(
            "service: {extensions: [a, b]}",
            "service: {extensions: [c, a]}",
            "service: {extensions: [a, b, c]}",
        );
        for list in ["receivers", "exporters"] {
            check(
                &format!("service: {{pipelines: {{logs: {{{list}: [a]}}}}}}"),
                &format!("service: {{pipelines: {{logs: {{{list}: [b, a, b]}}}}}}"),
                &format!("service: {{pipelines: {{logs: {{{list}: [a, b]}}}}}}"),
            );
        }
        check(
            "service: {pipelines: {logs: {processors: [a]}}}",
            "service: {pipelines: {logs: {processors: [b]}}}",
            "service: {pipelines: {logs: {processors: [b]}}}",
        );
        check(
            "exporters: {x: {exporters: [a]}}",
            "exporters: {x: {exporters: [b]}}",
            "exporters: {x: {exporters: [b]}}",
        );
        check(
            "service: {extensions: [a]}",
            "service: {extensions: }",
            "service: {extensions: }",
        );
    }

    #[test]
    fn splits_keys() {
        let check = |text: &str, expected: &str| assert_eq!(split_keys(tree(text)), tree(expected), "{text}");
        check("a::b::c: 5", "a: {b: {c: 5}}");
        check(
            "{\"a::b\": 1, \"a::c\": {\"d::e\": 2}}",
            "a: {b: 1, c: {d: {e: 2}}}",
        );
        check("a: [{\"x::y\": 1}]", "a: [{x: {y: 1}}]");
        check("plain: 1", "plain: 1");
    }

    #[test]
    fn warns_of_keys_with_separators() {
        let mut warnings = Vec::new();
        warn_of_split_keys(&tree("a: [{\"x::y\": 1}]"), &mut warnings);
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].to_string().starts_with("t:1:6: key \"x::y\" is kept"),
            "{}",
            warnings[0]
        );
    }

    #[test]
    fn set_arguments_are_sources() {
        let check = |argument: &str, expected: &str| assert_eq!(set_source(argument).unwrap().1, expected);
        check("a.b.c=5", "a::b::c: 5");
        check(" a.b = {x: y=z} ", "a::b: {x: y=z}");
        check("a=", "a: ");
        let fault = set_source("key:name").unwrap_err().to_string();
        assert!(
            fault.contains("invalid value \"key:name\" for flag -set: missing equal sign"),
            "{fault}"
        );
    }
}

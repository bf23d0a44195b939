//! Paths of fields (`attributes.a.b`, `body.a`, a dot in a name as `\.`): found in a record, and removed from it.

use wire::view::{Any, Entries, NewValue, NodeId, Value, View};
use wire::write;

/// One field of a log record: in its attributes, or in its body where that is a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    root: Root,
    names: Vec<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Body,
    Attributes,
}

/// Names within names are looked for no deeper than this.
const NAMES_MAX: usize = 64;

impl Field {
    /// Reads a path. Errors: what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Field, String> {
        let mut names: Vec<String> = vec![String::new()];
        let mut left = text.chars().peekable();
        while let Some(c) = left.next() {
            match (c, names.last_mut()) {
                ('\\', Some(name)) if left.peek() == Some(&'.') => {
                    name.push('.');
                    left.next();
                }
                ('.', _) => names.push(String::new()),
                (c, Some(name)) => name.push(c),
                (_, None) => {}
            }
        }
        let root = match names[0].as_str() {
            "body" => Root::Body,
            "attributes" => Root::Attributes,
            _ => return Err("a field must start with body or attributes".into()),
        };
        if names.len() > NAMES_MAX {
            return Err(format!("a field has at most {NAMES_MAX} names"));
        }
        let names = names.drain(1..).map(|name| name.into_bytes().into());
        Ok(Field {
            root,
            names: names.collect(),
        })
    }

    /// Whether it is the whole body.
    pub(super) fn is_body(&self) -> bool {
        self.root == Root::Body && self.names.is_empty()
    }

    /// Whether it is all of the attributes.
    pub(super) fn is_attributes(&self) -> bool {
        self.root == Root::Attributes && self.names.is_empty()
    }

    /// The value there; none if there is none.
    pub(super) fn find<'v>(&self, view: &'v View<'_>, n: NodeId) -> Option<Value<'v>> {
        match self.root {
            Root::Body => nested(view.body(n)?, &self.names),
            Root::Attributes => {
                let (first, rest) = self.names.split_first()?;
                nested(view.get(n, first)?, rest)
            }
        }
    }

    /// Removes it: the last entry of its map takes its place.
    pub(super) fn remove(&self, view: &mut View<'_>, n: NodeId) {
        match (self.root, self.names.split_first()) {
            (Root::Body, Some(_)) => {
                let without = view.body(n).and_then(|body| without(body, &self.names));
                if let Some(without) = without {
                    view.set_body(n, NewValue::Encoded(&without));
                }
            }
            (Root::Attributes, Some((first, rest))) => {
                let Some(i) = view.find(n, first) else { return };
                if rest.is_empty() {
                    view.remove(n, i);
                } else if let Some(without) = without(view.value(n, i), rest) {
                    view.set(n, i, NewValue::Encoded(&without));
                }
            }
            (Root::Attributes, None) => view.retain(n, |_, _| false),
            (Root::Body, None) => {}
        }
    }
}

fn entries(value: Value<'_>) -> Option<Entries<'_>> {
    match value.any() {
        Any::Map(entries) => Some(entries),
        _ => None,
    }
}

fn nested<'v>(value: Value<'v>, names: &[Box<[u8]>]) -> Option<Value<'v>> {
    names.iter().try_fold(value, |value, name| {
        let found = entries(value)?.find(|(key, _)| *key == &**name);
        found.map(|(_, value)| value)
    })
}

/// The value, a map, without the field of these names; none if it has no such field.
fn without(value: Value<'_>, names: &[Box<[u8]>]) -> Option<Vec<u8>> {
    let (first, rest) = names.split_first()?;
    let mut all: Vec<(&[u8], Value<'_>)> = entries(value)?.collect();
    let at = all.iter().position(|(key, _)| *key == &**first)?;
    let inner = match rest {
        [] => {
            all.swap_remove(at);
            None
        }
        rest => Some(without(all[at].1, rest)?),
    };
    let mut out = Vec::with_capacity(value.raw().len());
    // `kvlist_value` of `AnyValue`.
    write::message(6, &mut out, |out| {
        for (i, (key, value)) in all.iter().enumerate() {
            let raw = match &inner {
                Some(inner) if i == at => inner,
                _ => value.raw(),
            };
            write::message(1, out, |out| {
                write::bytes(1, key, out);
                write::bytes(2, raw, out);
            });
        }
    });
    Some(out)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use prost::Message as _;
    use wire::Signal;
    use wire::view::{Depth, Finished, Kind, Scratch};

    use super::*;
    use crate::test_kit::{first_record, logs, map, show, show_any, value_of};

    fn on<T>(
        attributes: &str,
        body: &str,
        act: impl FnOnce(&mut View<'_>, NodeId) -> T,
    ) -> (T, String, String) {
        let record = LogRecord {
            attributes: map(attributes),
            body: Some(value_of(body)),
            ..Default::default()
        };
        let bytes = logs(record).encode_to_vec();
        let mut scratch = Scratch::default();
        let mut view = View::new(&mut scratch, Signal::Logs, &bytes, Depth::Record).unwrap();
        let n = view.nodes().find(|&n| view.kind(n) == Kind::LogRecord).unwrap();
        let result = act(&mut view, n);
        let bytes = match view.finish() {
            Finished::Edited { bytes, .. } => bytes,
            Finished::Unchanged => bytes,
        };
        let record = first_record(&bytes);
        (result, show(&record.attributes), show_any(&record.body.unwrap()))
    }

    #[test]
    fn removes_what_is_there() {
        let check = |field: &str, attributes: &str, body: &str| {
            let field = Field::parse(field).unwrap();
            let ((), a, b) = on(
                "{a: 1, b: {c: {d: 2, e: 3}, f.g: 4}, z: 5}",
                "{x: {y: 1}, z: 2}",
                |view, n| {
                    field.remove(view, n);
                },
            );
            assert_eq!((a.as_str(), b.as_str()), (attributes, body), "{field:?}");
        };
        let (all, body) = ("{a:1, b:{c:{d:2, e:3}, f.g:4}, z:5}", "{x:{y:1}, z:2}");
        check("attributes.a", "{z:5, b:{c:{d:2, e:3}, f.g:4}}", body);
        check("attributes.b.c.d", "{a:1, b:{c:{e:3}, f.g:4}, z:5}", body);
        check("attributes.b.c", "{a:1, b:{f.g:4}, z:5}", body);
        check(r"attributes.b.f\.g", "{a:1, b:{c:{d:2, e:3}}, z:5}", body);
        check("attributes.b.f.g", all, body);
        check("attributes.b.c.x.y", all, body);
        check("attributes.a.b", all, body);
        check("attributes", "{}", body);
        check("body.x.y", all, "{x:{}, z:2}");
        check("body.x", all, "{z:2}");
        check("body.w", all, body);
        check("body", all, body);
    }

    #[test]
    fn finds_what_is_there() {
        let check = |field: &str, expected: Option<&str>| {
            let field = Field::parse(field).unwrap();
            let (found, ..) = on("{a: 1, b: {c: x}}", "{x: [1, y]}", |view, n| {
                field.find(view, n).map(|value| {
                    let mut out = Vec::new();
                    value.as_string(&mut out);
                    String::from_utf8(out).unwrap()
                })
            });
            assert_eq!(found.as_deref(), expected, "{field:?}");
        };
        check("attributes.a", Some("1"));
        check("attributes.b", Some(r#"{"c":"x"}"#));
        check("attributes.b.c", Some("x"));
        check("attributes.b.d", None);
        check("attributes.a.c", None);
        check("body.x", Some(r#"[1,"y"]"#));
        check("body.x.y", None);
    }

    #[test]
    fn says_what_is_no_field() {
        for text in ["", "name", "bodyx.a", ".body", "Attributes.a"] {
            assert_eq!(
                Field::parse(text),
                Err("a field must start with body or attributes".into()),
                "{text:?}"
            );
        }
        assert_eq!(
            Field::parse(&format!("body{}", ".a".repeat(64))),
            Err("a field has at most 64 names".into())
        );
        assert!(Field::parse("body").unwrap().is_body());
        assert!(Field::parse("attributes").unwrap().is_attributes());
    }
}

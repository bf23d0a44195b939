//! Rows recorded from the collector: each file of `testdata` holds expressions with the values that they have there.
//!
//! A row is an expression, a tab, and its value; `error` and `fault` stand for one that is refused, when it runs or when
//! it is compiled. Maps are written with their keys sorted. A row with a third column is one where we differ: the column
//! is our value, and the comment above says why.

use std::collections::BTreeMap;

use wire::Signal;
use wire::view::{Any, Depth, Scratch as ViewScratch, Value, View};

use super::kit::{first, log, logs, with_env};
use crate::value::Val;
use crate::{Context, Expression, Functions};

fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\\' | '"' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out + "\""
}

fn show(value: &Val<'_>) -> String {
    match value {
        Val::Str(text) => quoted(text),
        Val::Float(f) if f.fract() != 0.0 => f.to_string(),
        Val::Map(map) => {
            let mut entries = BTreeMap::new();
            map.each(|key, value| {
                entries.insert(String::from_utf8_lossy(key).into_owned(), show_any(value));
            });
            let entries: Vec<_> = entries.into_iter().map(|(k, v)| format!("{k}: {v}")).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Val::List(_) => {
            let items: Vec<_> = value.items().into_iter().flatten().map(show_any).collect();
            format!("[{}]", items.join(", "))
        }
        other => super::kit::show(other),
    }
}

fn show_any(value: Value<'_>) -> String {
    match value.any() {
        Any::Empty => "nil".into(),
        _ => show(&Val::from_any(value)),
    }
}

fn value_of(text: &str) -> String {
    let expression = Expression::new(Signal::Logs, Functions::Transform, Some(Context::Log), text);
    let Ok(expression) = expression else {
        return "fault".into();
    };
    let bytes = logs(vec![log()]);
    let mut scratch = ViewScratch::default();
    let view = View::new(&mut scratch, Signal::Logs, &bytes, Depth::All).expect("it is well formed");
    let item = first(&view, Context::Log);
    with_env(|env| {
        expression.with(&view, item, env, |value| match value {
            Ok(value) => show(&value),
            Err(_) => "error".into(),
        })
    })
}

fn check(file: &str, rows: usize) {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for line in file
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        seen += 1;
        let mut columns = line.split('\t');
        let (text, theirs) = (columns.next().unwrap_or(""), columns.next().unwrap_or(""));
        let expected = columns.next().unwrap_or(theirs);
        let found = value_of(text);
        let refused = |value: &str| matches!(value, "error" | "fault");
        if found != expected && !(refused(&found) && refused(expected)) {
            wrong.push(format!("{text}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {seen} rows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(seen, rows);
}

#[test]
fn grok_finds_what_the_collector_finds() {
    check(include_str!("testdata/grok.txt"), 123);
}

#[test]
fn agents_are_those_of_the_collector() {
    check(include_str!("testdata/agents.txt"), 93);
}

#[test]
fn xml_is_that_of_the_collector() {
    check(include_str!("testdata/xml.txt"), 211);
}

#[test]
fn times_in_many_languages_are_those_of_the_collector() {
    check(include_str!("testdata/times.txt"), 67);
}

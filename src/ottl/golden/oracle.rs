//! Random programs on random requests: run on the view, and by a naive interpreter on prost types.

use opentelemetry_proto::tonic::common::v1::any_value::Value as V;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use wire::Signal;
use wire::test_kit::{KEYS, Request, Rng};
use wire::view::{Finished, Scratch as ViewScratch, View};

use super::kit::{any, with_env};
use crate::{Context, ErrorMode, Functions, Group, Program, Scratch};

#[derive(Clone, Copy, Debug)]
enum Level {
    Resource,
    Scope,
    Log,
}

#[derive(Clone, Debug)]
enum Path {
    Attr(Level, &'static str),
    Deep(&'static str, &'static str),
    Body,
    SeverityText,
    SeverityNumber,
    Flags,
}

#[derive(Clone, Debug)]
enum Expr {
    Literal(Option<V>),
    Path(Path),
    Sum(Box<Expr>, Box<Expr>),
}

#[derive(Clone, Debug)]
enum Edit {
    Set(Path, Expr),
    DeleteKey(Level, &'static str),
    KeepKeys(Level, Vec<&'static str>),
    Merge(Level, Level, &'static str),
    Limit(Level, usize),
}

#[derive(Clone, Debug)]
struct Statement {
    edit: Edit,
    condition: Option<(&'static str, Expr, Expr)>,
}

// --- At random, and as text ---

fn key(rng: &mut Rng) -> &'static str {
    let at = rng.below(KEYS.len());
    KEYS[at]
}

fn level(rng: &mut Rng) -> Level {
    *rng.pick(&[Level::Resource, Level::Scope, Level::Log, Level::Log])
}

fn path(rng: &mut Rng) -> Path {
    match rng.below(8) {
        0 => Path::Body,
        1 => Path::SeverityText,
        2 => Path::SeverityNumber,
        3 => Path::Flags,
        4 => Path::Deep(key(rng), key(rng)),
        _ => Path::Attr(level(rng), key(rng)),
    }
}

fn expr(rng: &mut Rng) -> Expr {
    match rng.below(9) {
        0 => Expr::Literal(None),
        1 => Expr::Literal(Some(V::IntValue(rng.below(4) as i64))),
        2 => Expr::Literal(Some(V::DoubleValue(rng.below(3) as f64 / 2.0))),
        3 => Expr::Literal(Some(V::BoolValue(rng.chance(50)))),
        4 => Expr::Literal(Some(V::StringValue(key(rng).into()))),
        5 => Expr::Sum(Box::new(number(rng)), Box::new(number(rng))),
        _ => Expr::Path(path(rng)),
    }
}

fn number(rng: &mut Rng) -> Expr {
    match rng.below(3) {
        0 => Expr::Path(Path::SeverityNumber),
        1 => Expr::Path(path(rng)),
        _ => Expr::Literal(Some(V::IntValue(rng.below(100) as i64))),
    }
}

fn statement(rng: &mut Rng) -> Statement {
    let edit = match rng.below(9) {
        0 => Edit::DeleteKey(level(rng), key(rng)),
        1 => Edit::KeepKeys(level(rng), vec![key(rng), key(rng)]),
        2 => Edit::Merge(
            level(rng),
            level(rng),
            ["insert", "update", "upsert"][rng.below(3)],
        ),
        3 => Edit::Limit(level(rng), rng.below(4)),
        _ => Edit::Set(path(rng), expr(rng)),
    };
    let op = *rng.pick(&["==", "!=", "<", "<=", ">", ">="]);
    let condition = rng.chance(50).then(|| (op, expr(rng), expr(rng)));
    Statement { edit, condition }
}

impl Level {
    fn text(self) -> &'static str {
        match self {
            Level::Resource => "resource",
            Level::Scope => "scope",
            Level::Log => "log",
        }
    }
}

fn path_text(path: &Path) -> String {
    match path {
        Path::Attr(level, key) => format!("{}.attributes[{key:?}]", level.text()),
        Path::Deep(one, two) => format!("log.attributes[{one:?}][{two:?}]"),
        Path::Body => "log.body".into(),
        Path::SeverityText => "log.severity_text".into(),
        Path::SeverityNumber => "log.severity_number".into(),
        Path::Flags => "log.flags".into(),
    }
}

fn expr_text(e: &Expr) -> String {
    match e {
        Expr::Literal(None) => "nil".into(),
        Expr::Literal(Some(V::StringValue(text))) => format!("{text:?}"),
        Expr::Literal(Some(V::IntValue(i))) => i.to_string(),
        Expr::Literal(Some(V::DoubleValue(f))) => format!("{f:?}"),
        Expr::Literal(Some(V::BoolValue(b))) => b.to_string(),
        Expr::Literal(other) => panic!("no such literal is made: {other:?}"),
        Expr::Path(path) => path_text(path),
        Expr::Sum(a, b) => format!("{} + {}", expr_text(a), expr_text(b)),
    }
}

fn text(s: &Statement) -> String {
    let edit = match &s.edit {
        Edit::Set(path, e) => format!("set({}, {})", path_text(path), expr_text(e)),
        Edit::DeleteKey(level, key) => format!("delete_key({}.attributes, {key:?})", level.text()),
        Edit::KeepKeys(level, keys) => format!("keep_keys({}.attributes, {keys:?})", level.text()),
        Edit::Merge(to, from, how) => {
            format!(
                "merge_maps({}.attributes, {}.attributes, {how:?})",
                to.text(),
                from.text()
            )
        }
        Edit::Limit(level, n) => format!("limit({}.attributes, {n}, [])", level.text()),
    };
    match &s.condition {
        Some((op, a, b)) => format!("{edit} where {} {op} {}", expr_text(a), expr_text(b)),
        None => edit,
    }
}

// --- Naive ---

struct Item<'a> {
    resource: &'a mut Resource,
    scope: &'a mut InstrumentationScope,
    log: &'a mut LogRecord,
}

fn inner(value: Option<&AnyValue>) -> Option<V> {
    value
        .and_then(|v| v.value.clone())
        .filter(|v| !matches!(v, V::StringValueStrindex(_)))
}

fn find<'a>(attrs: &'a [KeyValue], key: &str) -> Option<&'a KeyValue> {
    attrs.iter().find(|kv| kv.key == key)
}

fn put(attrs: &mut Vec<KeyValue>, key: &str, value: AnyValue) {
    match attrs.iter_mut().find(|kv| kv.key == key) {
        Some(kv) => kv.value = Some(value),
        None => attrs.push(KeyValue {
            key: key.into(),
            value: Some(value),
            ..KeyValue::default()
        }),
    }
}

impl Item<'_> {
    fn attrs(&mut self, level: Level) -> &mut Vec<KeyValue> {
        match level {
            Level::Resource => &mut self.resource.attributes,
            Level::Scope => &mut self.scope.attributes,
            Level::Log => &mut self.log.attributes,
        }
    }

    fn get(&mut self, path: &Path) -> Result<Option<V>, ()> {
        Ok(match path {
            Path::Attr(level, key) => find(self.attrs(*level), key).and_then(|kv| inner(kv.value.as_ref())),
            Path::Deep(one, two) => match find(&self.log.attributes, one) {
                None => None,
                Some(kv) => match inner(kv.value.as_ref()) {
                    Some(V::KvlistValue(map)) => {
                        find(&map.values, two).and_then(|kv| inner(kv.value.as_ref()))
                    }
                    _ => return Err(()),
                },
            },
            Path::Body => inner(self.log.body.as_ref()),
            Path::SeverityText => Some(V::StringValue(self.log.severity_text.clone())),
            Path::SeverityNumber => Some(V::IntValue(self.log.severity_number.into())),
            Path::Flags => Some(V::IntValue(self.log.flags.into())),
        })
    }

    fn eval(&mut self, e: &Expr) -> Result<Option<V>, ()> {
        match e {
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Path(path) => self.get(path),
            Expr::Sum(a, b) => match (self.eval(a)?, self.eval(b)?) {
                (Some(V::IntValue(a)), Some(V::IntValue(b))) => Ok(Some(V::IntValue(a.wrapping_add(b)))),
                (Some(V::DoubleValue(a)), Some(V::IntValue(b))) => Ok(Some(V::DoubleValue(a + b as f64))),
                (Some(V::IntValue(a)), Some(V::DoubleValue(b))) => Ok(Some(V::DoubleValue(a as f64 + b))),
                (Some(V::DoubleValue(a)), Some(V::DoubleValue(b))) => Ok(Some(V::DoubleValue(a + b))),
                _ => Err(()),
            },
        }
    }

    fn set(&mut self, path: &Path, value: V) -> Result<(), ()> {
        match (path, value) {
            (Path::Attr(level, key), value) => put(self.attrs(*level), key, any(value)),
            (Path::Deep(one, two), value) => {
                let old = find(&self.log.attributes, one).and_then(|kv| inner(kv.value.as_ref()));
                let mut map = match old {
                    None => Vec::new(),
                    Some(V::KvlistValue(map)) => map.values,
                    Some(_) => return Err(()),
                };
                put(&mut map, two, any(value));
                let map = opentelemetry_proto::tonic::common::v1::KeyValueList { values: map };
                put(&mut self.log.attributes, one, any(V::KvlistValue(map)));
            }
            (Path::Body, value) => self.log.body = Some(any(value)),
            (Path::SeverityText, V::StringValue(text)) => self.log.severity_text = text,
            (Path::SeverityNumber, V::IntValue(i)) => self.log.severity_number = i as i32,
            (Path::Flags, V::IntValue(i)) => self.log.flags = i as u32,
            _ => return Err(()),
        }
        Ok(())
    }

    fn run(&mut self, s: &Statement) -> Result<(), ()> {
        if let Some((op, a, b)) = &s.condition {
            let (a, b) = (self.eval(a)?, self.eval(b)?);
            if !holds(op, a.as_ref(), b.as_ref()) {
                return Ok(());
            }
        }
        match &s.edit {
            Edit::Set(path, e) => match self.eval(e)? {
                Some(value) => return self.set(path, value),
                None => return Ok(()),
            },
            Edit::DeleteKey(level, key) => {
                let attrs = self.attrs(*level);
                if let Some(i) = attrs.iter().position(|kv| kv.key == *key) {
                    attrs.swap_remove(i);
                }
            }
            Edit::KeepKeys(level, keys) => self.attrs(*level).retain(|kv| keys.contains(&kv.key.as_str())),
            Edit::Merge(to, from, how) => {
                let source = self.attrs(*from).clone();
                let target = self.attrs(*to);
                for kv in source {
                    let there = find(target, &kv.key).is_some();
                    if *how == "upsert" || there == (*how == "update") {
                        put(target, &kv.key, kv.value.unwrap_or_default());
                    }
                }
            }
            Edit::Limit(level, n) => self.attrs(*level).truncate(*n),
        }
        Ok(())
    }
}

fn holds(op: &str, a: Option<&V>, b: Option<&V>) -> bool {
    use std::cmp::Ordering;
    let ordering = match (a, b) {
        (None, None) => Some(Ordering::Equal),
        (Some(V::BoolValue(a)), Some(V::BoolValue(b))) => Some(a.cmp(b)),
        (Some(V::IntValue(a)), Some(V::IntValue(b))) => Some(a.cmp(b)),
        (Some(V::IntValue(a)), Some(V::DoubleValue(b))) => (*a as f64).partial_cmp(b),
        (Some(V::DoubleValue(a)), Some(V::IntValue(b))) => a.partial_cmp(&(*b as f64)),
        (Some(V::DoubleValue(a)), Some(V::DoubleValue(b))) => a.partial_cmp(b),
        (Some(V::StringValue(a)), Some(V::StringValue(b))) => Some(a.cmp(b)),
        (Some(V::BytesValue(a)), Some(V::BytesValue(b))) => Some(a.cmp(b)),
        _ => {
            let equal = same(a, b);
            return if op == "==" { equal } else { op == "!=" && !equal };
        }
    };
    match op {
        "==" => ordering == Some(Ordering::Equal),
        "!=" => ordering != Some(Ordering::Equal),
        "<" => ordering == Some(Ordering::Less),
        "<=" => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        ">" => ordering == Some(Ordering::Greater),
        _ => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
    }
}

/// Deep equality; maps have no order, and of equal keys the first counts.
fn same(a: Option<&V>, b: Option<&V>) -> bool {
    match (a, b) {
        (Some(V::ArrayValue(a)), Some(V::ArrayValue(b))) => {
            let pairs = a.values.iter().zip(&b.values);
            a.values.len() == b.values.len() && { pairs }
                .all(|(a, b)| same(inner(Some(a)).as_ref(), inner(Some(b)).as_ref()))
        }
        (Some(V::KvlistValue(a)), Some(V::KvlistValue(b))) => {
            a.values.len() == b.values.len()
                && a.values.iter().all(|kv| {
                    let other = find(&b.values, &kv.key);
                    other.is_some_and(|o| {
                        same(
                            inner(kv.value.as_ref()).as_ref(),
                            inner(o.value.as_ref()).as_ref(),
                        )
                    })
                })
        }
        _ => a == b,
    }
}

/// Runs a program on each record in turn, as the language says.
fn naive(request: &mut Request, program: &[Statement]) -> usize {
    let Request::Logs(logs) = request else {
        panic!("the request has logs");
    };
    let mut failed = 0;
    for group in &mut logs.resource_logs {
        let mut resource = group.resource.clone().unwrap_or_default();
        for scope_logs in &mut group.scope_logs {
            let mut scope = scope_logs.scope.clone().unwrap_or_default();
            for log in &mut scope_logs.log_records {
                let mut item = Item {
                    resource: &mut resource,
                    scope: &mut scope,
                    log,
                };
                failed += program.iter().filter(|s| item.run(s).is_err()).count();
            }
            // A message comes into being when something is in it.
            if scope_logs.scope.is_some() || scope != InstrumentationScope::default() {
                scope_logs.scope = Some(scope);
            }
        }
        if group.resource.is_some() || resource != Resource::default() {
            group.resource = Some(resource);
        }
    }
    failed
}

/// What means the same in two forms gets one: indices into a dictionary mean nothing in logs, and an absent value is an
/// empty one.
fn plain(request: &mut Request) {
    fn clear(attrs: &mut [KeyValue]) {
        for kv in attrs {
            kv.key_strindex = 0;
            value(kv.value.get_or_insert_default());
        }
    }
    fn value(v: &mut AnyValue) {
        match &mut v.value {
            Some(V::ArrayValue(list)) => list.values.iter_mut().for_each(value),
            Some(V::KvlistValue(map)) => clear(&mut map.values),
            _ => {}
        }
    }
    let Request::Logs(logs) = request else {
        panic!("the request has logs");
    };
    for group in &mut logs.resource_logs {
        group.resource.iter_mut().for_each(|r| clear(&mut r.attributes));
        for scope_logs in &mut group.scope_logs {
            scope_logs.scope.iter_mut().for_each(|s| clear(&mut s.attributes));
            for log in &mut scope_logs.log_records {
                clear(&mut log.attributes);
                log.body.iter_mut().for_each(value);
            }
        }
    }
}

/// Both sides of one random program; whether it did anything.
fn compare(seed: u64) -> bool {
    let rng = &mut Rng(seed);
    let mut request = Request::random(Signal::Logs, rng);
    plain(&mut request);
    let bytes = request.encode();
    let count = 1 + rng.below(6);
    let program: Vec<Statement> = (0..count).map(|_| statement(rng)).collect();
    let texts: Vec<String> = program.iter().map(text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let compiled = Program::new(&Group {
        signal: Signal::Logs,
        functions: Functions::Transform,
        context: Some(Context::Log),
        conditions: &[],
        statements: &texts,
    });
    let compiled = compiled.unwrap_or_else(|faults| panic!("{faults}"));
    let before = request.clone();
    let failed = naive(&mut request, &program);
    let mut scratch = ViewScratch::default();
    let mut view =
        View::new(&mut scratch, Signal::Logs, &bytes, compiled.depth()).expect("it is well formed");
    let mut errors = 0;
    let ran = with_env(|env| {
        compiled.run(
            &mut view,
            env,
            &mut Scratch::default(),
            ErrorMode::Ignore,
            &mut |_, _| errors += 1,
        )
    });
    assert_eq!((ran, errors), (Ok(()), failed), "{texts:?}");
    let bytes = match view.finish() {
        Finished::Unchanged => bytes,
        Finished::Edited { bytes, .. } => bytes,
    };
    let got = Request::decode(Signal::Logs, &bytes).expect("what was written can be read");
    // NaN is not equal to itself, so what is compared is the text.
    let (got, expected) = (format!("{got:?}"), format!("{request:?}"));
    if let Some(at) = got.bytes().zip(expected.bytes()).position(|(a, b)| a != b) {
        let around = |text: &str| {
            let (from, to) = (
                text.floor_char_boundary(at.saturating_sub(200)),
                text.ceil_char_boundary(at + 100),
            );
            text[from..to.min(text.len())].to_owned()
        };
        panic!(
            "{texts:?}\n     got {}\nexpected {}",
            around(&got),
            around(&expected)
        );
    }
    assert_eq!(got.len(), expected.len(), "{texts:?}");
    format!("{before:?}") != format!("{request:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn programs_do_the_same_as_on_prost_types(seed: u64) {
        compare(seed);
    }
}

/// Random programs are no good if they do nothing.
#[test]
fn most_programs_change_something() {
    let changed = (0..200).filter(|seed| compare(*seed)).count();
    assert!(changed > 60, "{changed} of 200");
}

//! Groups: which context they run in, what is wrong with them, how errors end, what a run allocates.

use wire::Signal;
use wire::view::{Depth, Finished, Scratch as ViewScratch, View};

use super::kit::{first, log, logs, metrics, request, traces, with_env};
use crate::{Context, ErrorMode, Expression, Functions, Group, Program, Scratch};

fn group<'a>(signal: Signal, conditions: &'a [&'a str], statements: &'a [&'a str]) -> Group<'a> {
    Group {
        signal,
        functions: Functions::Transform,
        context: None,
        conditions,
        statements,
    }
}

#[test]
fn contexts_are_inferred() {
    let check = |signal, statements: &[&str], expected: Result<Context, &str>| {
        let found = Program::new(&group(signal, &[], statements));
        let found = found.map(|p| p.context()).map_err(|f| f.0[0].message.clone());
        assert_eq!(found, expected.map_err(str::to_owned), "{statements:?}");
    };
    use Signal::{Logs, Metrics, Traces};
    check(
        Logs,
        &["set(resource.attributes[\"a\"], log.body)"],
        Ok(Context::Log),
    );
    check(
        Logs,
        &["set(resource.attributes[\"a\"], \"b\")"],
        Ok(Context::Resource),
    );
    check(
        Logs,
        &["set(resource.attributes[\"a\"], scope.name)"],
        Ok(Context::Scope),
    );
    check(
        Logs,
        &["set(resource.attributes[\"a\"], otelcol.client.addr)"],
        Ok(Context::Resource),
    );
    check(
        Traces,
        &["set(resource.attributes[\"a\"], \"b\") where span.name == \"x\""],
        Ok(Context::Span),
    );
    check(
        Traces,
        &["set(spanevent.name, span.name)"],
        Ok(Context::SpanEvent),
    );
    check(
        Metrics,
        &["set(metric.description, \"t\") where datapoint.attributes[\"t\"] == \"p\""],
        Ok(Context::DataPoint),
    );
    check(
        Metrics,
        &[
            "set(resource.attributes[\"t\"], \"p\")",
            "set(metric.description, \"x\")",
        ],
        Ok(Context::Metric),
    );
    check(
        Metrics,
        &["set(metric.description, \"x\") where FLAG_NONE == 1"],
        Ok(Context::DataPoint),
    );
    check(
        Traces,
        &["set(resource.attributes[\"a\"], 1) where IsRootSpan()"],
        Ok(Context::Span),
    );
    check(
        Traces,
        &["set(resource.attributes[\"a\"], STATUS_CODE_OK)"],
        Ok(Context::SpanEvent),
    );
    check(
        Logs,
        &["set(attributes[\"a\"], 1)"],
        Err("unable to infer context from statements: no path begins with a context's name"),
    );
    check(
        Logs,
        &["set(span.name, \"a\")"],
        Err("context \"span\" cannot be used with logs"),
    );
    check(
        Traces,
        &["set(spanevent.name, \"a\") where IsRootSpan()"],
        Err("inferred context \"spanevent\" does not support the function \"IsRootSpan\""),
    );
    check(
        Traces,
        &["set(span.name, \"a\") where METRIC_DATA_TYPE_SUM == 1"],
        Err("inferred context \"span\" does not support the enum symbol \"METRIC_DATA_TYPE_SUM\""),
    );
}

#[test]
fn all_faults_of_a_group_are_told_at_once() {
    let check = |context, statements: &[&str], expected: &str| {
        let group = Group {
            context,
            ..group(Signal::Logs, &[], statements)
        };
        let faults = Program::new(&group).expect_err("there are faults");
        assert_eq!(faults.to_string(), expected);
    };
    check(
        None,
        &["set(log.body, )", "sett(log.body, 1)", "set(log.body, 1"],
        "unexpected \")\"; expected a value\n  set(log.body, )\n                ^\n\
         ends too early; expected \",\" or \")\"\n  set(log.body, 1\n                 ^",
    );
    check(
        None,
        &[
            "sett(log.body, 1)",
            "set(log.bdy, 1)",
            "set(body, 1)",
            "set(log.body, 1)",
        ],
        "undefined function \"sett\"; did you mean \"set\"?\n  sett(log.body, 1)\n  ^^^^\n\
         segment \"bdy\" from path \"log.bdy\" is not a valid path nor a valid OTTL keyword for the log context; did you \
         mean \"body\"?\n  set(log.bdy, 1)\n          ^^^\n\
         missing context name for the path; write log.body\n  set(body, 1)\n      ^^^^",
    );
    check(
        Some(Context::Log),
        &[
            "set(resource.cache[\"a\"], 1)",
            "set(severity_text[\"a\"], 1)",
            "set(body, NOPE)",
            "set(body, value=1, 2)",
            "set(body, valu=1)",
            "set(body, IsMatch)",
        ],
        "the cache of another context cannot be reached; write log.cache\n  set(resource.cache[\"a\"], 1)\n      ^^^^^^^^\n\
         \"severity_text\" is no map or list that could be indexed\n  set(severity_text[\"a\"], 1)\n                    ^^^\n\
         enum symbol \"NOPE\" not found in the log context\n  set(body, NOPE)\n            ^^^^\n\
         an argument without a name cannot follow one with a name\n  set(body, value=1, 2)\n                     ^\n\
         set has no parameter \"valu\"; write set(target, value)\n  set(body, valu=1)\n            ^^^^\n\
         enum symbol \"IsMatch\" not found in the log context; to call the converter write IsMatch(...)\n  \
         set(body, IsMatch)\n            ^^^^^^^",
    );
}

/// Runs statements on two logs, of which the second has a body that is no text; gives the bodies and what failed.
fn run(
    mode: ErrorMode,
    conditions: &[&str],
    statements: &[&str],
) -> (Result<(), String>, Vec<String>, Vec<String>) {
    let mut second = log();
    second.body = None;
    let bytes = logs(vec![log(), second]);
    let program = Program::new(&group(Signal::Logs, conditions, statements)).expect("it compiles");
    let mut scratch = ViewScratch::default();
    let mut view = View::new(&mut scratch, Signal::Logs, &bytes, program.depth()).expect("it is well formed");
    let mut failed = Vec::new();
    let ran = with_env(|env| {
        program.run(
            &mut view,
            env,
            &mut Scratch::default(),
            mode,
            &mut |statement, error| {
                failed.push(format!("{statement}: {error}"));
            },
        )
    });
    let bodies = view.nodes().filter(|n| Context::Log.is_item(view.kind(*n)));
    let bodies = bodies
        .map(|n| view.body(n).map_or("none".into(), super::kit::show_any))
        .collect();
    (ran.map_err(|e| e.to_string()), failed, bodies)
}

#[test]
fn errors_end_as_the_mode_says() {
    const BAD: &str = "set(log.body, HasPrefix(log.body, \"hello\"))";
    const NEXT: &str = "set(log.body, \"none\") where log.body == nil";
    let error = "HasPrefix: expected string but got nil".to_owned();
    let (ran, failed, bodies) = run(ErrorMode::Ignore, &[], &[BAD, NEXT]);
    assert_eq!((ran, failed), (Ok(()), vec![format!("{BAD}: {error}")]));
    assert_eq!(bodies, ["true", "\"none\""]);
    let (ran, failed, bodies) = run(ErrorMode::Silent, &[], &[BAD, NEXT]);
    assert_eq!((ran, failed), (Ok(()), vec![]));
    assert_eq!(bodies, ["true", "\"none\""]);
    let (ran, failed, bodies) = run(ErrorMode::Propagate, &[], &[BAD, NEXT]);
    assert_eq!((ran, failed), (Err(error), vec![]));
    assert_eq!(bodies, ["true", "none"]);
}

#[test]
fn conditions_choose_items() {
    let (_, failed, bodies) = run(
        ErrorMode::Ignore,
        &["log.body == nil", "log.body == 5"],
        &["set(log.body, 1)"],
    );
    assert_eq!(
        (failed, bodies),
        (vec![], vec!["\"hello world\"".to_owned(), "1".to_owned()])
    );
    // A condition that fails does not hold.
    let (_, failed, bodies) = run(
        ErrorMode::Ignore,
        &["HasPrefix(log.body, \"h\")"],
        &["set(log.body, 1)"],
    );
    assert_eq!(
        failed,
        ["HasPrefix(log.body, \"h\"): HasPrefix: expected string but got nil"]
    );
    assert_eq!(bodies, ["1", "none"]);
    let (ran, ..) = run(
        ErrorMode::Propagate,
        &["HasPrefix(log.body, \"h\")"],
        &["set(log.body, 1)"],
    );
    assert_eq!(ran, Err("HasPrefix: expected string but got nil".into()));
}

#[test]
fn the_cache_is_fresh_for_each_item() {
    let (_, failed, bodies) = run(
        ErrorMode::Ignore,
        &[],
        &[
            "set(log.cache[\"n\"], 1) where log.body != nil",
            "set(log.body, Concat([log.cache[\"n\"]], \"\"))",
        ],
    );
    assert_eq!(
        (failed, bodies),
        (vec![], vec!["\"1\"".to_owned(), "\"<nil>\"".to_owned()])
    );
}

#[test]
fn matching_changes_nothing() {
    let check = |context: Context, functions, condition: &str, expected: Result<bool, &str>| {
        let (signal, bytes) = request(context);
        let program = Program::new(&Group {
            signal,
            functions,
            context: Some(context),
            conditions: &[condition],
            statements: &[],
        })
        .expect("it compiles");
        assert!(!program.writes());
        let mut scratch = ViewScratch::default();
        let view = View::new(&mut scratch, signal, &bytes, Depth::All).expect("it is well formed");
        let n = first(&view, context);
        let found = with_env(|env| {
            program.matches(
                &view,
                n,
                env,
                &mut Scratch::default(),
                ErrorMode::Propagate,
                &mut |_, _| {},
            )
        });
        assert_eq!(
            found.map_err(|e| e.to_string()),
            expected.map_err(str::to_owned),
            "{condition}"
        );
        assert_eq!(view.finish(), Finished::Unchanged);
    };
    let filter = Functions::Filter;
    check(Context::Metric, filter, "HasAttrKeyOnDatapoint(\"s\")", Ok(true));
    check(
        Context::Metric,
        filter,
        "HasAttrKeyOnDatapoint(\"none\")",
        Ok(false),
    );
    check(
        Context::Metric,
        filter,
        "HasAttrOnDatapoint(\"s\", \"text\")",
        Ok(true),
    );
    check(
        Context::Metric,
        filter,
        "HasAttrOnDatapoint(\"i\", \"5\")",
        Ok(false),
    );
    check(
        Context::Span,
        filter,
        "IsRootSpan() or kind == SPAN_KIND_SERVER",
        Ok(true),
    );
    check(
        Context::Span,
        filter,
        "attributes[\"l\"][9] == 1",
        Err("index out of range of the list"),
    );
    check(
        Context::Span,
        filter,
        "true or attributes[\"l\"][9] == 1",
        Ok(true),
    );
    check(
        Context::Span,
        filter,
        "false and attributes[\"l\"][9] == 1",
        Ok(false),
    );
    check(
        Context::Span,
        filter,
        "not (name == \"GET /\" and status.code == STATUS_CODE_ERROR)",
        Ok(false),
    );
    check(
        Context::Span,
        filter,
        "Coalesce([attributes[\"i\"]])",
        Err("expected a condition that is bool but got int64"),
    );
    check(
        Context::Log,
        filter,
        "trace_id == \"0102030405060708090a0b0c0d0e0f10\"",
        Ok(false),
    );
    check(
        Context::Log,
        filter,
        "trace_id == TraceID(0x0102030405060708090a0b0c0d0e0f10)",
        Ok(true),
    );
    check(
        Context::Log,
        filter,
        "attributes[\"m\"] == {\"deep\": {\"y\": 7}, \"x\": \"in\"}",
        Ok(true),
    );
    check(
        Context::Log,
        filter,
        "attributes[\"l\"] == [1, \"two\"]",
        Ok(true),
    );
    check(Context::Log, filter, "attributes[\"none\"] != nil", Ok(false));
}

#[test]
fn components_have_the_functions_they_have() {
    let check = |functions, condition: &[&str], statement: &[&str], expected: &str| {
        let group = Group {
            signal: Signal::Metrics,
            functions,
            context: Some(Context::Metric),
            conditions: condition,
            statements: statement,
        };
        assert_eq!(
            Program::new(&group).expect_err("it is refused").0[0].message,
            expected
        );
    };
    check(
        Functions::Filter,
        &[],
        &["set(name, \"a\")"],
        "this component does not have the function \"set\"",
    );
    check(
        Functions::Conditions,
        &["HasAttrKeyOnDatapoint(\"s\")"],
        &[],
        "this component does not have the function \"HasAttrKeyOnDatapoint\"",
    );
}

#[test]
fn items_without_their_groups_messages_can_be_written() {
    // A resource without a message, a scope without one: both come into being when they are written to.
    for (signal, bytes) in [(Signal::Traces, traces()), (Signal::Metrics, metrics())] {
        let statements = ["set(resource.attributes[\"new\"], 1)", "set(scope.name, \"s\")"];
        let program = Program::new(&group(signal, &[], &statements)).expect("it compiles");
        let mut scratch = ViewScratch::default();
        let mut view = View::new(&mut scratch, signal, &bytes, program.depth()).expect("it is well formed");
        let ran = with_env(|env| {
            program.run(
                &mut view,
                env,
                &mut Scratch::default(),
                ErrorMode::Propagate,
                &mut |_, _| {},
            )
        });
        assert_eq!(ran, Ok(()));
        let resource = first(&view, Context::Resource);
        assert_eq!(
            view.get(resource, b"new").map(super::kit::show_any).as_deref(),
            Some("1")
        );
    }
}

#[test]
fn values_are_encoded_for_others() {
    let check = |text: &str, expected: Result<Option<&str>, &str>| {
        let (signal, bytes) = request(Context::Log);
        let expression = Expression::new(signal, Functions::Conditions, None, text).expect("it compiles");
        let mut scratch = ViewScratch::default();
        let view = View::new(&mut scratch, signal, &bytes, Depth::All).expect("it is well formed");
        let n = first(&view, expression.context());
        let mut out = b">".to_vec();
        let found = with_env(|env| expression.encode(&view, n, env, &mut Scratch::default(), &mut out));
        let shown = found.map(|some| some.then(|| super::kit::show_any(wire::view::Value::new(&out[1..]))));
        let expected = expected.map(|v| v.map(str::to_owned)).map_err(str::to_owned);
        assert_eq!(shown.map_err(|e| e.to_string()), expected, "{text}");
    };
    check("log.severity_number + 1", Ok(Some("10")));
    check("resource.attributes", Ok(Some("{host: \"h1\"}")));
    check(
        "Concat([scope.name, log.body], \"/\")",
        Ok(Some("\"lib/hello world\"")),
    );
    check("log.attributes[\"none\"]", Ok(None));
    check("log.time", Err("unsupported type time for an attribute's value"));
    check("log.attributes[\"l\"][5]", Err("index out of range of the list"));
    let refused = Expression::new(Signal::Logs, Functions::Conditions, None, "Nope(log.body)")
        .expect_err("it is unknown");
    assert_eq!(
        refused.to_string(),
        "undefined function \"Nope\"\n  Nope(log.body)\n  ^^^^"
    );
}

#[test]
fn modes_have_names() {
    let check = |name, expected| assert_eq!(ErrorMode::named(name), expected, "{name}");
    check("ignore", Some(ErrorMode::Ignore));
    check("Silent", Some(ErrorMode::Silent));
    check("PROPAGATE", Some(ErrorMode::Propagate));
    check("", None);
    check("log", None);
}

/// Rooms for searches are numbered within a program; one scratch serves several all the same.
#[test]
fn a_scratch_serves_several_programs() {
    let (signal, bytes) = request(Context::Log);
    let scratch = &mut Scratch::default();
    for _ in 0..2 {
        for (pattern, expected) in [("^hello", true), ("(a|b)+c{3}\\\\d", false), ("world$", true)] {
            let condition = format!("IsMatch(log.body, \"{pattern}\")");
            let conditions = [&*condition];
            let program = Program::new(&group(signal, &conditions, &[])).expect("it compiles");
            let mut view_scratch = ViewScratch::default();
            let view =
                View::new(&mut view_scratch, signal, &bytes, program.depth()).expect("it is well formed");
            let n = first(&view, Context::Log);
            let found =
                with_env(|env| program.matches(&view, n, env, scratch, ErrorMode::Propagate, &mut |_, _| {}));
            assert_eq!(found, Ok(expected), "{pattern}");
        }
    }
}

/// More patterns out of items than are kept compiled.
#[test]
fn patterns_out_of_items_are_found_again() {
    let patterns: Vec<String> = (0..100)
        .map(|i| format!("IsMatch(\"x{i}y\", Concat([\"x\", \"{i}\", \"y$\"], log.cache[\"a\"]))"))
        .collect();
    let statements: Vec<String> =
        std::iter::once("set(log.cache[\"a\"], \"\")".to_owned())
            .chain(patterns.iter().map(|p| {
                format!("set(log.attributes[\"hits\"], Int(log.attributes[\"hits\"]) + 1) where {p}")
            }))
            .collect();
    let statements: Vec<&str> = std::iter::once("set(log.attributes[\"hits\"], 0)")
        .chain(statements.iter().map(String::as_str))
        .collect();
    assert_eq!(
        super::kit::after(Context::Log, 0, &statements, "attributes[\"hits\"]"),
        "100"
    );
}

#[test]
fn routing_tables_route() {
    use Signal::{Logs, Traces};
    let check = |signal, context, statement: &str, expected: Result<(Context, bool, bool, usize), &str>| {
        let statements = [statement];
        let group = Group {
            functions: Functions::Routing,
            context,
            ..group(signal, &[], &statements)
        };
        let found = match Program::new(&group) {
            Err(faults) => Err(faults.0[0].message.clone()),
            Ok(program) => {
                let bytes = if signal == Logs {
                    logs(vec![log()])
                } else {
                    traces()
                };
                let mut scratch = ViewScratch::default();
                let mut view =
                    View::new(&mut scratch, signal, &bytes, Depth::All).expect("it is well formed");
                let n = first(&view, program.context());
                let room = &mut Scratch::default();
                let held = with_env(|env| {
                    program.apply(&mut view, n, env, room, ErrorMode::Propagate, &mut |_, _| {})
                });
                held.map(|held| (program.context(), program.writes(), held, view.attrs(n)))
                    .map_err(|e| e.to_string())
            }
        };
        assert_eq!(found, expected.map_err(str::to_owned), "{statement}");
    };
    check(Logs, None, "route()", Ok((Context::Resource, false, true, 1)));
    check(
        Logs,
        None,
        "route() where attributes[\"host\"] == \"h1\"",
        Ok((Context::Resource, false, true, 1)),
    );
    check(
        Logs,
        None,
        "route() where attributes[\"host\"] == \"h2\"",
        Ok((Context::Resource, false, false, 1)),
    );
    check(
        Logs,
        None,
        "route() where otelcol.client.metadata[\"x-tenant\"][0] == \"a\"",
        Ok((Context::Resource, false, true, 1)),
    );
    check(
        Logs,
        None,
        "route() where log.severity_number > 5",
        Ok((Context::Log, false, true, 8)),
    );
    check(
        Traces,
        Some(Context::Span),
        "route() where name == \"GET /\"",
        Ok((Context::Span, false, true, 8)),
    );
    check(
        Logs,
        None,
        "delete_key(attributes, \"host\") where attributes[\"host\"] == \"h1\"",
        Ok((Context::Resource, true, true, 0)),
    );
    check(
        Logs,
        None,
        "delete_matching_keys(resource.attributes, \"^h\") where resource.attributes[\"host\"] == \"x\"",
        Ok((Context::Resource, true, false, 1)),
    );
    check(
        Logs,
        None,
        "route() where attributes[\"host\"][\"x\"] == 1",
        Err("string does not support string indexing"),
    );
    check(
        Logs,
        None,
        "set(attributes[\"a\"], 1)",
        Err("this component does not have the function \"set\""),
    );
    let transform = Program::new(&group(Logs, &[], &["route() where log.body == nil"]));
    let fault = transform.expect_err("only routing has it").0[0].message.clone();
    assert_eq!(fault, "this component does not have the function \"route\"");
}

//! The parser: trees as S-expressions, and every message with its caret.

use super::*;

fn expr(e: &Expr) -> String {
    let list = |name: &str, items: Vec<String>| {
        format!(
            "({name}{})",
            items.iter().map(|i| format!(" {i}")).collect::<String>()
        )
    };
    match &e.kind {
        ExprKind::Nil => "nil".into(),
        ExprKind::Bool(b) => b.to_string(),
        ExprKind::Int(i) => i.to_string(),
        ExprKind::Float(f) => format!("{f:?}"),
        ExprKind::Str(s) => format!("{:?}", String::from_utf8_lossy(s)),
        ExprKind::Bytes(b) => format!("0x{}", b.iter().map(|b| format!("{b:02x}")).collect::<String>()),
        ExprKind::Symbol(s) => s.clone(),
        ExprKind::Path(p) => {
            let fields: Vec<_> = p
                .fields
                .iter()
                .map(|f| {
                    let keys: String = f.keys.iter().map(|k| format!("[{}]", expr(k))).collect();
                    f.name.clone() + &keys
                })
                .collect();
            fields.join(".")
        }
        ExprKind::Call(c) => call(c),
        ExprKind::Neg(e) => format!("(- {})", expr(e)),
        ExprKind::Math(first, rest) => {
            let rest: String = rest
                .iter()
                .map(|(op, e)| format!(" {op:?} {}", expr(e)))
                .collect();
            format!("({}{rest})", expr(first))
        }
        ExprKind::List(items) => list("list", items.iter().map(expr).collect()),
        ExprKind::Map(entries) => list(
            "map",
            entries
                .iter()
                .map(|(k, v)| format!("{}:{}", String::from_utf8_lossy(k), expr(v)))
                .collect(),
        ),
    }
}

fn call(c: &Call) -> String {
    let args: Vec<_> = c
        .args
        .iter()
        .map(|a| match &a.name {
            Some((name, _)) => format!("{name}={}", expr(&a.value)),
            None => expr(&a.value),
        })
        .collect();
    let keys: String = c.keys.iter().map(|k| format!("[{}]", expr(k))).collect();
    format!("{}({}){keys}", c.name, args.join(", "))
}

fn boolean(b: &Bool) -> String {
    let join = |all: &[Bool], by: &str| format!("({})", all.iter().map(boolean).collect::<Vec<_>>().join(by));
    match b {
        Bool::Or(all) => join(all, " or "),
        Bool::And(all) => join(all, " and "),
        Bool::Not(b) => format!("(not {})", boolean(b)),
        Bool::Const(b) => b.to_string(),
        Bool::Compare(op, a, b) => format!("({op:?} {} {})", expr(a), expr(b)),
        Bool::Call(e) => expr(e),
    }
}

#[test]
fn reads_values() {
    let check = |text: &str, expected: &str| {
        assert_eq!(value(text).map(|e| expr(&e)).as_deref(), Ok(expected), "{text}")
    };
    check("nil", "nil");
    check("1", "1");
    check("-9223372036854775808", "-9223372036854775808");
    check("+5", "5");
    check("-1.5", "-1.5");
    check("- 1", "-1");
    check("0xFFfe", "0xfffe");
    check("\"a\\n\"", "\"a\\n\"");
    check("SPAN_KIND_SERVER", "SPAN_KIND_SERVER");
    check("SHA256", "SHA256");
    check("IsMatch", "IsMatch");
    check("name", "name");
    check("span.attributes[\"a\"][0].x", "span.attributes[\"a\"][0].x");
    check(
        "a[b[\"c\"]][1 + 2][Len(x)][-1]",
        "a[b[\"c\"]][(1 Add 2)][Len(x)][-1]",
    );
    check("1 + 2 * 3 - 4", "(1 Add (2 Mul 3) Sub 4)");
    check("(1 + 2) * 3", "((1 Add 2) Mul 3)");
    check("-(a + b)", "(- (a Add b))");
    check("-a * 2", "((- a) Mul 2)");
    check("1-1", "(1 Sub 1)");
    check("Split(body, \",\")[0]", "Split(body, \",\")[0]");
    check("F()", "F()");
    check("F(a, b=1, c=SHA256)", "F(a, b=1, c=SHA256)");
    check("[]", "(list)");
    check("[1, \"a\", [nil]]", "(list 1 \"a\" (list nil))");
    check("{}", "(map)");
    check(
        "{\"a\": 1, \"b\": {\"c\": [true]},}",
        "(map a:1 b:(map c:(list true)))",
    );
    check("{\"a\": 1 \"b\": 2}", "(map a:1 b:2)");
}

#[test]
fn reads_conditions() {
    let check = |text: &str, expected: &str| {
        assert_eq!(
            condition(text).map(|e| boolean(&e)).as_deref(),
            Ok(expected),
            "{text}"
        )
    };
    check("true", "true");
    check("not a == b", "(not (Eq a b))");
    check(
        "a == 1 or b != 2 and c < 3",
        "((Eq a 1) or ((Ne b 2) and (Lt c 3)))",
    );
    check(
        "(a == 1 or b == 2) and c >= 3",
        "(((Eq a 1) or (Eq b 2)) and (Ge c 3))",
    );
    check("(a + 1) * 2 > 3", "(Gt ((a Add 1) Mul 2) 3)");
    check("((a + 1)) <= 3", "(Le (a Add 1) 3)");
    check("((a == 1))", "(Eq a 1)");
    check("not (IsMatch(a, \"b\"))", "(not IsMatch(a, \"b\"))");
    check("IsString(a)", "IsString(a)");
    check("true == a", "(Eq true a)");
    check("F(a)[\"b\"] == nil", "(Eq F(a)[\"b\"] nil)");
    check("not (not (true))", "(not (not true))");
    check("a.b == [1, 2]", "(Eq a.b (list 1 2))");
    check(
        "kind == SPAN_KIND_SERVER or kind == SPAN_KIND_CLIENT",
        "((Eq kind SPAN_KIND_SERVER) or (Eq kind SPAN_KIND_CLIENT))",
    );
}

#[test]
fn reads_statements() {
    let check = |text: &str, expected: &str| {
        let found = statement(text).map(|s| {
            let condition = s.condition.map(|c| format!(" where {}", boolean(&c)));
            call(&s.editor) + &condition.unwrap_or_default()
        });
        assert_eq!(found.as_deref(), Ok(expected), "{text}");
    };
    check("set(name, \"a\")", "set(name, \"a\")");
    check(" set ( a , 1 )\n where  b == 2 ", "set(a, 1) where (Eq b 2)");
    check(
        "replace_pattern(a, \"x\", \"y\", SHA256, \"%s\")",
        "replace_pattern(a, \"x\", \"y\", SHA256, \"%s\")",
    );
    check("append(a, values=[1])", "append(a, values=(list 1))");
    check("convert_sum_to_gauge()", "convert_sum_to_gauge()");
}

fn refuses<T: std::fmt::Debug>(read: fn(&str) -> Result<T, Fault>, text: &str, expected: &str) {
    let fault = read(text).expect_err(text);
    assert_eq!(fault.to_string(), expected, "{text}");
}

#[test]
fn refuses_statements() {
    let check = |text: &str, expected: &str| refuses(statement, text, expected);
    check(
        "",
        "ends too early; expected an editor's call, for example set(...)\n  \n  ^",
    );
    check(
        "Set(name, 1)",
        "editor names must start with a lowercase letter but got \"Set\"; a statement is an editor's call, for example \
         set(...) or set(..., Set(...))\n  Set(name, 1)\n  ^^^",
    );
    check(
        "set",
        "ends too early; expected \"(\" behind the editor's name\n  set\n     ^",
    );
    check(
        "set(a, 1",
        "ends too early; expected \",\" or \")\"\n  set(a, 1\n          ^",
    );
    check(
        "set(a 1)",
        "unexpected \"1\"; expected \",\" or \")\"\n  set(a 1)\n        ^",
    );
    check(
        "set(a,)",
        "unexpected \")\"; expected a value\n  set(a,)\n        ^",
    );
    check(
        "set(a, 1)[0]",
        "editor \"set\" gives nothing that could be indexed\n  set(a, 1)[0]\n            ^",
    );
    check(
        "set(a, 1) if b == 1",
        "unexpected \"if\"; expected \"where\" or the end of the statement\n  set(a, 1) if b == 1\n            ^^",
    );
    check(
        "set(a, set(b, 1))",
        "converter names must start with an uppercase letter but got \"set\"; editors give no value; a converter would \
         be \"Set\"\n  set(a, set(b, 1))\n         ^^^",
    );
    check(
        "set(a, 'x')",
        "unexpected character '\\''; text stands between double quotes\n  set(a, 'x')\n         ^",
    );
    check(
        "set(a, \"\\d\")",
        "unknown escape \"\\d\"; a backslash is written twice: \"\\\\d\"\n  set(a, \"\\d\")\n          ^^",
    );
    check(
        "set(a, 0xabc)",
        "odd number of digits; each byte has two\n  set(a, 0xabc)\n         ^^^^^",
    );
    check(
        "set(a, 9223372036854775808)",
        "whole numbers have 64 bits\n  set(a, 9223372036854775808)\n         ^^^^^^^^^^^^^^^^^^^",
    );
    check(
        "set(a, \"x\" + 1)",
        "text cannot be calculated with; join texts with Concat([...], \"\")\n  set(a, \"x\" + 1)\n         ^^^",
    );
    check(
        "set(a, 1 + nil)",
        "cannot be calculated with\n  set(a, 1 + nil)\n             ^^^",
    );
    check(
        "set(a, --1)",
        "unexpected \"-\"; expected one sign only\n  set(a, --1)\n          ^",
    );
    check(
        "set(a, 1e3)",
        "unexpected \"e3\"; expected \",\" or \")\"\n  set(a, 1e3)\n          ^^",
    );
    check(
        "set(a, (x) => x)",
        "lambda expressions need the feature gate \"ottl.functions.enableLambda\", which is off; no standard function \
         takes one\n  set(a, (x) => x)\n         ^^^^^^",
    );
    check(
        "set(a.B, 1)",
        "unexpected \"B\"; expected the name of a field, in lower case\n  set(a.B, 1)\n        ^",
    );
    check(
        "set(myField, 1)",
        "names of fields are in lower case; of a map take the key: attributes[\"myKey\"]\n  set(myField, 1)\n        ^",
    );
    check(
        "set(a[nil], 1)",
        "not a key; a key is text, a whole number, a path or a converter\n  set(a[nil], 1)\n        ^^^",
    );
    check(
        "set(a[\"b\", 1)",
        "unexpected \",\"; expected \"]\"\n  set(a[\"b\", 1)\n           ^",
    );
    check(
        "set(a, {b: 1})",
        "unexpected \"b\"; expected a key in double quotes or \"}\"\n  set(a, {b: 1})\n          ^",
    );
    check(
        "set(a, {\"b\" 1})",
        "unexpected \"1\"; expected \":\"\n  set(a, {\"b\" 1})\n              ^",
    );
    check(
        "set(a, [1 2])",
        "unexpected \"2\"; expected \",\" or \"]\"\n  set(a, [1 2])\n            ^",
    );
    check(
        "set(a,\n  b c)",
        "unexpected \"c\"; expected \",\" or \")\"\n    b c)\n      ^",
    );
}

#[test]
fn refuses_conditions() {
    let check = |text: &str, expected: &str| refuses(condition, text, expected);
    check("a", "a path alone is no condition; write a == true\n  a\n  ^");
    check(
        "a[\"b\"] and c == 1",
        "a path alone is no condition; write a[\"b\"] == true\n  a[\"b\"] and c == 1\n  ^^^^^^",
    );
    check("a = 1", "\"=\" compares nothing; write \"==\"\n  a = 1\n    ^");
    check(
        "not not a == 1",
        "\"not\" may stand once only; write not (not ...)\n  not not a == 1\n      ^^^",
    );
    check(
        "a == 1 &&",
        "unexpected character '&'; write \"and\"\n  a == 1 &&\n         ^",
    );
    check(
        "1",
        "ends too early; expected a comparison, for example \"==\"\n  1\n   ^",
    );
    check("a == ", "ends too early; expected a value\n  a == \n       ^");
    check(
        "a == 1 b",
        "unexpected \"b\"; expected \"and\", \"or\" or the end of the condition\n  a == 1 b\n         ^",
    );
    check(
        "(a == 1",
        "ends too early; expected \"and\", \"or\" or \")\"\n  (a == 1\n         ^",
    );
    check(
        "a == 1 == 2",
        "unexpected \"==\"; expected \"and\", \"or\" or the end of the condition\n  a == 1 == 2\n         ^^",
    );
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    let deep = |open: &str, close: &str| open.repeat(5000) + "1" + &close.repeat(5000);
    for text in [
        deep("(", ")"),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        deep("F(", ")"),
        deep("a[", "]"),
    ] {
        assert_eq!(
            value(&text).map_err(|f| f.message),
            Err("nested more than 64 levels deep".into())
        );
    }
    let text = deep("(", " == 1)");
    assert_eq!(
        condition(&text).map_err(|f| f.message),
        Err("nested more than 64 levels deep".into())
    );
    let text = format!("\"{}\"", "x".repeat(STATEMENT_BYTES_MAX));
    assert_eq!(
        value(&text).map_err(|f| f.message),
        Err("longer than 65536 bytes".into())
    );
    // Wide is not deep.
    assert!(value(&("1+".repeat(30_000) + "1")).is_ok());
}

#[test]
fn a_long_line_is_cut_around_the_place() {
    let text = format!("set({}, 1) where {} = 2", "a".repeat(100), "b".repeat(100));
    let fault = statement(&text).expect_err("one equal sign");
    let shown = fault.excerpt();
    let lines: Vec<_> = shown.lines().collect();
    assert!(
        lines[0].starts_with("  ... bbbb") && lines[0].len() < 120,
        "{shown}"
    );
    let caret = lines[1].find('^').expect("there is a caret");
    assert_eq!(lines[0].as_bytes()[caret], b'=');
    assert_eq!(fault.place(), (1, 217));
}

proptest::proptest! {
    #[test]
    fn nothing_panics(text in "[ a-zA-Z0-9_\"\\\\.,()\\[\\]{}=<>!+*/:é-]{0,60}") {
        for fault in [statement(&text).err(), condition(&text).err(), value(&text).err()].into_iter().flatten() {
            proptest::prop_assert!(!fault.to_string().is_empty());
        }
    }
}

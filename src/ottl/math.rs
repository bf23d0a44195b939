//! Arithmetic: whole numbers wrap as Go's do, a float makes both floats, times and durations mix where that has a
//! meaning.

use crate::error::{Error, Result};
use crate::syntax::ast::MathOp;
use crate::value::Val;

/// `left op right`.
pub(crate) fn calculate(op: MathOp, left: &Val<'_>, right: &Val<'_>) -> Result<Val<'static>> {
    use MathOp::{Add, Div, Mul, Sub};
    const BY_ZERO: Error = Error::new("attempted to divide by 0");
    Ok(match (left, op, right) {
        (Val::Int(_), Div, Val::Int(0)) => return Err(BY_ZERO),
        (Val::Int(a), op, Val::Int(b)) => Val::Int(match op {
            Add => a.wrapping_add(*b),
            Sub => a.wrapping_sub(*b),
            Mul => a.wrapping_mul(*b),
            Div => a.wrapping_div(*b),
        }),
        (Val::Int(_) | Val::Float(_), op, Val::Int(_) | Val::Float(_)) => {
            let float = |v: &Val<'_>| match v {
                Val::Int(i) => *i as f64,
                Val::Float(f) => *f,
                _ => 0.0,
            };
            let (a, b) = (float(left), float(right));
            Val::Float(match op {
                Add => a + b,
                Sub => a - b,
                Mul => a * b,
                Div if b == 0.0 => return Err(BY_ZERO),
                Div => a / b,
            })
        }
        (Val::Time(a), Sub, Val::Time(b)) => Val::Duration(a.since(b)),
        (Val::Time(a), Add, Val::Duration(b)) => Val::Time(a.plus(*b)),
        (Val::Time(a), Sub, Val::Duration(b)) => Val::Time(a.plus(b.wrapping_neg())),
        (Val::Duration(a), Add, Val::Time(b)) => Val::Time(b.plus(*a)),
        (Val::Duration(a), Add, Val::Duration(b)) => Val::Duration(a.wrapping_add(*b)),
        (Val::Duration(a), Sub, Val::Duration(b)) => Val::Duration(a.wrapping_sub(*b)),
        _ => {
            let word = match op {
                Add => "add",
                Sub => "subtract",
                Mul => "multiply",
                Div => "divide",
            };
            let (a, b) = (left.type_name(), right.type_name());
            return Err(Error::text(format!("cannot {word} {a} and {b}")));
        }
    })
}

/// `-value`.
pub(crate) fn negate(value: &Val<'_>) -> Result<Val<'static>> {
    match value {
        Val::Int(i) => Ok(Val::Int(i.wrapping_neg())),
        Val::Float(f) => Ok(Val::Float(-f)),
        other => Err(Error::text(format!("cannot negate {}", other.type_name()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;
    use MathOp::{Add, Div, Mul, Sub};

    fn check(a: Val<'_>, op: MathOp, b: Val<'_>, expected: &str) {
        let found = match calculate(op, &a, &b) {
            Ok(Val::Time(t)) => t.rfc3339_nano(),
            Ok(value) => format!("{value:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{a:?} {op:?} {b:?}");
    }

    #[test]
    fn calculates_as_go_does() {
        let (int, float) = (Val::Int, Val::Float);
        let time = |secs| Val::Time(Time::new(secs, 0));
        check(int(2), Add, int(3), "Int(5)");
        check(int(i64::MAX), Add, int(1), "Int(-9223372036854775808)");
        check(int(i64::MIN), Sub, int(1), "Int(9223372036854775807)");
        check(int(i64::MAX), Mul, int(2), "Int(-2)");
        check(int(7), Div, int(-2), "Int(-3)");
        check(int(i64::MIN), Div, int(-1), "Int(-9223372036854775808)");
        check(int(1), Div, int(0), "attempted to divide by 0");
        check(int(1), Div, float(0.0), "attempted to divide by 0");
        check(float(1.0), Div, float(-0.0), "attempted to divide by 0");
        check(int(1), Add, float(0.5), "Float(1.5)");
        check(float(3.0), Div, int(2), "Float(1.5)");
        check(float(3.0), Mul, float(1.5), "Float(4.5)");
        check(float(3.0), Sub, int(5), "Float(-2.0)");
        check(time(10), Sub, time(4), "Duration(6000000000)");
        check(time(10), Add, Val::Duration(1), "1970-01-01T00:00:10.000000001Z");
        check(
            time(10),
            Sub,
            Val::Duration(1_000_000_000),
            "1970-01-01T00:00:09Z",
        );
        check(
            Val::Duration(1_000_000_000),
            Add,
            time(10),
            "1970-01-01T00:00:11Z",
        );
        check(Val::Duration(5), Add, Val::Duration(6), "Duration(11)");
        check(Val::Duration(5), Sub, Val::Duration(6), "Duration(-1)");
        check(
            Val::Duration(5),
            Sub,
            time(1),
            "cannot subtract duration and time",
        );
        check(
            Val::Duration(5),
            Mul,
            int(2),
            "cannot multiply duration and int64",
        );
        check(time(1), Add, time(1), "cannot add time and time");
        check(Val::Nil, Add, int(1), "cannot add nil and int64");
        check(
            Val::str(b"a"),
            Add,
            Val::str(b"b"),
            "cannot add string and string",
        );
        check(int(1), Div, Val::Bool(true), "cannot divide int64 and bool");
        let negate = |v| negate(&v).map(|v| format!("{v:?}")).map_err(|e| e.to_string());
        assert_eq!(negate(int(i64::MIN)), Ok("Int(-9223372036854775808)".into()));
        assert_eq!(negate(float(1.5)), Ok("Float(-1.5)".into()));
        assert_eq!(negate(Val::Duration(1)), Err("cannot negate duration".into()));
    }
}

//! Comparison as the collector does it: total over all types, never an error.

use std::cmp::Ordering;

use wire::view::{Any, DEPTH_MAX, Value};

use crate::syntax::ast::CompareOp;
use crate::value::{Map, Val};

impl CompareOp {
    /// Whether it holds of two values in this order; none if they are in no order.
    pub(crate) fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            CompareOp::Eq => ordering == Some(Ordering::Equal),
            CompareOp::Ne => ordering != Some(Ordering::Equal),
            CompareOp::Lt => ordering == Some(Ordering::Less),
            CompareOp::Le => ordering.is_some_and(Ordering::is_le),
            CompareOp::Gt => ordering == Some(Ordering::Greater),
            CompareOp::Ge => ordering.is_some_and(Ordering::is_ge),
        }
    }
}

/// Whether `left op right`. Values of different types are unequal and in no order.
pub(crate) fn compare(op: CompareOp, left: &Val<'_>, right: &Val<'_>) -> bool {
    let decide = |ordering| op.holds(ordering);
    let equality = |equal: bool| match op {
        CompareOp::Eq => equal,
        CompareOp::Ne => !equal,
        _ => false,
    };
    match (left, right) {
        (Val::Nil, Val::Nil) => decide(Some(Ordering::Equal)),
        (Val::Bool(a), Val::Bool(b)) => decide(Some(a.cmp(b))),
        (Val::Int(a), Val::Int(b)) => decide(Some(a.cmp(b))),
        (Val::Int(a), Val::Float(b)) => decide((*a as f64).partial_cmp(b)),
        (Val::Float(a), Val::Int(b)) => decide(a.partial_cmp(&(*b as f64))),
        (Val::Float(a), Val::Float(b)) => decide(a.partial_cmp(b)),
        (Val::Str(a), Val::Str(b)) | (Val::Bytes(a), Val::Bytes(b)) => decide(Some(a.cmp(b))),
        (Val::Time(a), Val::Time(b)) => decide(Some(a.instant().cmp(&b.instant()))),
        (Val::Duration(a), Val::Duration(b)) => decide(Some(a.cmp(b))),
        (Val::TraceId(a), Val::TraceId(b)) | (Val::ProfileId(a), Val::ProfileId(b)) => equality(a == b),
        (Val::SpanId(a), Val::SpanId(b)) => equality(a == b),
        (Val::Map(a), Val::Map(b)) => equality(maps_equal(a, b)),
        (Val::List(a), Val::List(b)) => equality(values_equal(Value::new(a), Value::new(b), DEPTH_MAX)),
        (Val::Opaque(a), Val::Opaque(b)) => equality(a == b),
        _ => equality(false),
    }
}

pub(crate) fn equal(left: &Val<'_>, right: &Val<'_>) -> bool {
    compare(CompareOp::Eq, left, right)
}

fn maps_equal(a: &Map<'_>, b: &Map<'_>) -> bool {
    let mut equal = a.len() == b.len();
    a.each(|key, value| {
        equal = equal
            && b.get(key)
                .is_some_and(|other| values_equal(value, other, DEPTH_MAX));
    });
    equal
}

/// Deep equality of attribute values: an integer is not a float, and maps have no order.
fn values_equal(a: Value<'_>, b: Value<'_>, depth: u32) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    match (a.any(), b.any()) {
        (Any::Empty, Any::Empty) => true,
        (Any::Str(a), Any::Str(b)) | (Any::Bytes(a), Any::Bytes(b)) => a == b,
        (Any::Bool(a), Any::Bool(b)) => a == b,
        (Any::Int(a), Any::Int(b)) => a == b,
        (Any::Double(a), Any::Double(b)) => a == b,
        (Any::List(mut a), Any::List(mut b)) => loop {
            match (a.next(), b.next()) {
                (None, None) => return true,
                (Some(a), Some(b)) if values_equal(a, b, depth) => {}
                _ => return false,
            }
        },
        (Any::Map(a), Any::Map(b)) => {
            a.count() == b.count() && { a }.all(|(key, value)| {
                let other = { b }.find(|(k, _)| *k == key);
                other.is_some_and(|(_, other)| values_equal(value, other, depth))
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::time::Time;
    use crate::value::{ListBuilder, MapBuilder};

    fn map(entries: &[(&[u8], Val<'_>)]) -> Val<'static> {
        let mut map = MapBuilder::default();
        for (key, value) in entries {
            map.put(key, value).expect("attributes have these types");
        }
        map.value()
    }

    fn list(items: &[Val<'_>]) -> Val<'static> {
        let mut list = ListBuilder::default();
        for item in items {
            list.push(item).expect("attributes have these types");
        }
        list.value()
    }

    fn str(text: &str) -> Val<'_> {
        Val::str(text.as_bytes())
    }

    /// Which of `== != < <= > >=` hold.
    fn check(a: &Val<'_>, b: &Val<'_>, expected: &str) {
        use CompareOp::{Eq, Ge, Gt, Le, Lt, Ne};
        let ops = [
            (Eq, "=="),
            (Ne, "!="),
            (Lt, "<"),
            (Le, "<="),
            (Gt, ">"),
            (Ge, ">="),
        ];
        let held: Vec<_> = ops
            .iter()
            .filter(|(op, _)| compare(*op, a, b))
            .map(|(_, name)| *name)
            .collect();
        assert_eq!(held.join(" "), expected, "{a:?} {b:?}");
    }

    #[test]
    fn compares_as_go_does() {
        const SAME: &str = "== <= >=";
        const LESS: &str = "!= < <=";
        const MORE: &str = "!= > >=";
        const OTHER: &str = "!=";
        let time = |secs, zone| Val::Time(Time::new(secs, 5).in_zone(zone));
        let bytes = |b: &'static [u8]| Val::Bytes(Cow::Borrowed(b));
        check(&Val::Nil, &Val::Nil, SAME);
        check(&Val::Nil, &Val::Int(0), OTHER);
        check(&str(""), &Val::Nil, OTHER);
        check(&Val::Bool(false), &Val::Bool(true), LESS);
        check(&Val::Bool(true), &Val::Bool(true), SAME);
        check(&Val::Int(1), &Val::Int(2), LESS);
        check(&Val::Int(i64::MAX), &Val::Int(i64::MIN), MORE);
        check(&Val::Int(1), &Val::Float(1.0), SAME);
        check(&Val::Int(1), &Val::Float(1.5), LESS);
        check(&Val::Float(2.5), &Val::Int(2), MORE);
        check(&Val::Int((1 << 53) + 1), &Val::Float((1u64 << 53) as f64), SAME);
        check(&Val::Float(f64::NAN), &Val::Float(f64::NAN), OTHER);
        check(&Val::Float(f64::NAN), &Val::Int(1), OTHER);
        check(&str("a"), &str("b"), LESS);
        check(&str("a"), &str("ab"), LESS);
        check(&str("é"), &str("z"), MORE);
        check(&bytes(&[1]), &bytes(&[1]), SAME);
        check(&bytes(&[1]), &bytes(&[0, 9]), MORE);
        check(&bytes(b"a"), &str("a"), OTHER);
        check(
            &time(1, crate::time::Zone::Utc),
            &time(1, crate::time::Zone::Fixed(3600)),
            SAME,
        );
        check(
            &time(1, crate::time::Zone::Utc),
            &time(2, crate::time::Zone::Utc),
            LESS,
        );
        check(&Val::Duration(3), &Val::Duration(2), MORE);
        check(&Val::Duration(3), &Val::Int(3), OTHER);
        check(&Val::TraceId([1; 16]), &Val::TraceId([1; 16]), "==");
        check(&Val::TraceId([1; 16]), &Val::TraceId([2; 16]), OTHER);
        check(&Val::TraceId([1; 16]), &Val::ProfileId([1; 16]), OTHER);
        check(&Val::SpanId([1; 8]), &str("0101010101010101"), OTHER);
        check(&Val::Bool(true), &Val::Int(1), OTHER);
        check(&str("1"), &Val::Int(1), OTHER);
        let ab = map(&[(b"a", Val::Int(1)), (b"b", list(&[str("x")]))]);
        check(&ab, &map(&[(b"b", list(&[str("x")])), (b"a", Val::Int(1))]), "==");
        check(
            &ab,
            &map(&[(b"b", list(&[str("y")])), (b"a", Val::Int(1))]),
            OTHER,
        );
        check(&ab, &map(&[(b"a", Val::Int(1))]), OTHER);
        check(
            &map(&[(b"a", Val::Int(1))]),
            &map(&[(b"a", Val::Float(1.0))]),
            OTHER,
        );
        check(
            &list(&[Val::Int(1), Val::Nil]),
            &list(&[Val::Int(1), Val::Nil]),
            "==",
        );
        check(&list(&[Val::Int(1)]), &list(&[Val::Int(1), Val::Nil]), OTHER);
        check(&list(&[ab.reborrow()]), &list(&[ab.reborrow()]), "==");
        check(&list(&[]), &map(&[]), OTHER);
    }
}

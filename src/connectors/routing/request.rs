//! Conditions about the request itself: `request["x-tenant"] == "a"`.

use wire::Context;

/// One comparison with a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    name: String,
    is_equal: bool,
    value: String,
}

impl Condition {
    /// Reads it; double quotes, one comparison, nothing else.
    pub(super) fn parse(text: &str) -> Option<Condition> {
        let rest = text
            .trim()
            .strip_prefix("request")?
            .trim_start()
            .strip_prefix('[')?;
        let (name, rest) = quoted(rest.trim_start())?;
        let rest = rest.trim_start().strip_prefix(']')?.trim_start();
        let (is_equal, rest) = match (rest.strip_prefix("=="), rest.strip_prefix("!=")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return None,
        };
        let (value, rest) = quoted(rest.trim_start())?;
        (rest.trim().is_empty() && !name.is_empty()).then(|| Condition {
            name: name.to_owned(),
            is_equal,
            value: value.to_owned(),
        })
    }

    /// Whether any value of the header is the one (or, with `!=`, another one). Without the header neither holds.
    pub(super) fn matches(&self, context: &Context) -> bool {
        let mut values = context.metadata(&self.name).iter();
        values.any(|value| (*value == self.value) == self.is_equal)
    }
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('"')?.split_once('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_comparison() {
        let check = |text: &str, expected: Option<(&str, bool, &str)>| {
            let read = Condition::parse(text);
            let read = read
                .as_ref()
                .map(|c| (c.name.as_str(), c.is_equal, c.value.as_str()));
            assert_eq!(read, expected, "{text}");
        };
        check(
            r#"request["X-Tenant"] == "acme""#,
            Some(("X-Tenant", true, "acme")),
        );
        check(r#" request [ "a" ]!="" "#, Some(("a", false, "")));
        check(r#"request["a"] == 'b'"#, None);
        check(r#"request["a"] == "b" or true"#, None);
        check(r#"request[""] == "b""#, None);
        check(r#"request["a"] = "b""#, None);
        check(r#"request.a == "b""#, None);
        check("", None);
    }

    #[test]
    fn any_value_of_a_header_may_match() {
        let context = Context {
            metadata: vec![("x-tenant".into(), vec!["a".into(), "b".into()])],
            ..Context::default()
        };
        let check = |text: &str, expected: bool| {
            assert_eq!(
                Condition::parse(text).unwrap().matches(&context),
                expected,
                "{text}"
            );
        };
        check(r#"request["X-Tenant"] == "a""#, true);
        check(r#"request["x-tenant"] == "b""#, true);
        check(r#"request["x-tenant"] == "c""#, false);
        check(r#"request["x-tenant"] != "a""#, true);
        check(r#"request["none"] == "a""#, false);
        check(r#"request["none"] != "a""#, false);
    }
}

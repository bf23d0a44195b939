//! Which keys of client metadata go with data that waits on disk: the computed minimum.
//!
//! Only what something behind the queue names: the keys that keep batches apart, and what the exporter or its
//! authenticator reads. What looks like a credential is not among them unless the user asked for it and the storage is
//! encrypted.

use std::collections::BTreeSet;

use wire::Context;

/// Names of metadata keys, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys(BTreeSet<String>);

impl Keys {
    pub(crate) fn of<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Keys {
        Keys(
            names
                .into_iter()
                .map(|n| n.as_ref().to_ascii_lowercase())
                .collect(),
        )
    }

    /// Takes out what looks like a credential, and returns it.
    pub(crate) fn split_secrets(&mut self) -> Vec<String> {
        let (secret, rest) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|name| is_secret(name));
        self.0 = rest;
        let secret: BTreeSet<String> = secret;
        secret.into_iter().collect()
    }

    pub(crate) fn merge(&mut self, other: &Keys) {
        self.0.extend(other.0.iter().cloned());
    }

    pub(crate) fn names(&self, name: &str) -> bool {
        self.0.contains(name)
            || (name.bytes().any(|b| b.is_ascii_uppercase()) && self.0.contains(&name.to_ascii_lowercase()))
    }

    pub(crate) fn list(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// What of a context is kept.
    pub(crate) fn pick<'a>(&'a self, context: &'a Context) -> impl Iterator<Item = (&'a str, &'a [String])> {
        let all = self.0.iter().map(|name| (name.as_str(), context.metadata(name)));
        all.filter(|(_, values)| !values.is_empty())
    }
}

/// Names of headers that carry credentials, whatever their value.
const SECRET: &[&str] = &["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// Words that make a name look like that of a credential.
const SECRET_WORDS: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "credential",
    "apikey",
    "api-key",
    "api_key",
    "signature",
    "session",
    "bearer",
    "jwt",
    "private",
];

/// Whether a key of this name is taken to hold a credential.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = || name.split(|c: char| !c.is_ascii_alphanumeric());
    SECRET.contains(&name.as_str())
        || SECRET_WORDS.iter().any(|word| name.contains(word))
        || words().any(|word| matches!(word, "auth" | "authorization" | "cookie" | "pwd" | "key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_credentials_by_their_names() {
        let check = |name: &str, expected: bool| assert_eq!(is_secret(name), expected, "{name}");
        for name in [
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "set-cookie",
            "x-api-key",
            "X-ApiKey",
            "x-amz-security-token",
            "x-auth",
            "dd-api-key",
            "x-honeycomb-key",
            "x-client-secret",
            "x-session-id",
        ] {
            check(name, true);
        }
        for name in [
            "x-tenant",
            "x-scope-orgid",
            "author",
            "x-keyboard",
            "region",
            "x-team",
        ] {
            check(name, false);
        }
    }

    #[test]
    fn keeps_only_what_is_named() {
        let mut keys = Keys::of(["X-Tenant", "authorization", "x-tenant", "Region"]);
        assert_eq!(keys.split_secrets(), ["authorization"]);
        assert_eq!(keys.list().collect::<Vec<_>>(), ["region", "x-tenant"]);
        let context = Context {
            metadata: vec![
                ("authorization".into(), vec!["Bearer x".into()]),
                ("x-tenant".into(), vec!["a".into()]),
            ],
            ..Context::default()
        };
        let kept: Vec<_> = keys.pick(&context).collect();
        assert_eq!(kept, [("x-tenant", &["a".to_owned()][..])]);
        assert!(keys.names("X-TENANT") && !keys.names("authorization"));
    }
}

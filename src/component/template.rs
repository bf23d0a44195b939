//! `%{tenant}` in what an exporter is configured with: paths, URLs, header values.
//!
//! A tenant's name has only letters, digits, `-`, `_` and `.`, and does not begin with a dot ([`is_tenant_name`]); so it
//! is one segment of a path or URL, and one header value, whatever a client says it is called. What has no tenant goes
//! where [`NOBODY`] goes. An exporter that uses a template says so ([`Push::by_tenant`](crate::Push::by_tenant)), and
//! is given batches of one tenant.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use wire::Payload;

use crate::{Code, ExportError};

/// What stands in for the tenant's name.
pub const TENANT: &str = "%{tenant}";
/// The name of what has no tenant.
pub const NOBODY: &str = "default";
/// The tenant of the gateway's own records, which nobody else is.
pub const OWN_TENANT: &str = "_weir";
/// Longest name of a tenant in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Whether a text can be the name of a tenant: 1 to [`NAME_BYTES_MAX`] letters and digits of ASCII, `-`, `_` and `.`,
/// the first of them no dot; not [`OWN_TENANT`].
pub fn is_tenant_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name != OWN_TENANT
        && (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(is_allowed)
}

/// A text with the tenant's name in it, once or more.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(String);

impl std::fmt::Debug for Template {
    /// Header values may be credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Template")
    }
}

impl Template {
    /// `None` if the text is the same for all tenants.
    pub fn parse(text: &str) -> Option<Template> {
        text.contains(TENANT).then(|| Template(text.to_owned()))
    }

    /// The text for a tenant: what [`tenant_of`] says.
    pub fn expand(&self, tenant: &str) -> String {
        debug_assert!(
            tenant == OWN_TENANT || is_tenant_name(tenant),
            "names are checked where they are given"
        );
        self.0.replace(TENANT, tenant)
    }
}

/// The headers of an exporter whose values depend on the tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantHeaders(Vec<(HeaderName, Template)>);

impl TenantHeaders {
    /// Of all headers those with a template; names and values were checked before.
    pub fn of<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> TenantHeaders {
        let parse = |(name, value): (&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, Template::parse(value)?))
        };
        TenantHeaders(headers.into_iter().filter_map(parse).collect())
    }

    /// True if all headers are the same for all tenants.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Them for a tenant, not to be shown in logs.
    pub fn expand(&self, tenant: &str) -> HeaderMap {
        let mut out = HeaderMap::with_capacity(self.0.len());
        for (name, template) in &self.0 {
            if let Ok(mut value) = HeaderValue::try_from(template.expand(tenant)) {
                value.set_sensitive(true);
                out.insert(name.clone(), value);
            }
        }
        out
    }
}

/// Whose a payload is; [`NOBODY`] if nobody's. `None` if its chunks are of several tenants: it must not go anywhere
/// that is one's.
pub fn tenant_of(payload: &Payload) -> Option<&str> {
    let mut tenants = payload.chunks.iter().map(|c| c.origin.tenant.as_deref());
    let first = tenants.next().flatten();
    tenants
        .all(|other| other == first)
        .then(|| first.unwrap_or(NOBODY))
}

/// The same for a batch that is about to be sent: the harness gives none of several tenants to who tells them apart.
pub fn one_of(batch: &Payload) -> Result<&str, ExportError> {
    tenant_of(batch).ok_or_else(|| ExportError::Rejected {
        code: Code::INTERNAL,
        source: "a batch of several tenants has no destination of its own".into(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wire::{Chunk, Shape, Signal};

    use super::*;

    #[test]
    fn a_name_is_one_segment_whoever_chose_it() {
        let check = |name: &str, expected: bool| assert_eq!(is_tenant_name(name), expected, "{name:?}");
        for name in ["a", "acme", "Acme-1_b.c", "0", "_", "-", &"x".repeat(128)] {
            check(name, true);
        }
        for name in [
            "",
            ".",
            "..",
            ".hidden",
            "../etc",
            "a/b",
            "a\\b",
            "a b",
            "a\r\nx: y",
            "a\0",
            "käse",
            "a%2e",
            "a:b",
            "a|b",
            "_weir",
            "*",
            "а",
            &"x".repeat(129),
            &"x".repeat(1 << 20),
        ] {
            check(name, false);
        }
    }

    #[test]
    fn expands_the_tenant_and_nothing_else() {
        let check = |text: &str, expected: Option<&str>| {
            let expanded = Template::parse(text).map(|template| template.expand("acme"));
            assert_eq!(expanded.as_deref(), expected, "{text}");
        };
        check("plain", None);
        check("%{other} %tenant {tenant}", None);
        check("%{tenant}", Some("acme"));
        check(
            "/var/%{tenant}/%{tenant}.json%{x}",
            Some("/var/acme/acme.json%{x}"),
        );
        assert_eq!(
            format!("{:?}", Template::parse("Bearer s3cret %{tenant}")),
            "Some(Template)"
        );
    }

    #[test]
    fn headers_of_a_tenant() {
        let headers = TenantHeaders::of([
            ("X-Scope-OrgID", "%{tenant}"),
            ("x-plain", "same"),
            ("authorization", "Bearer %{tenant}:s3cret"),
        ]);
        assert!(!format!("{headers:?}").contains("s3cret"));
        let expanded = headers.expand("acme");
        assert_eq!(
            (expanded.len(), &expanded["x-scope-orgid"]),
            (2, &"acme".parse().unwrap())
        );
        assert_eq!(expanded["authorization"].to_str().unwrap(), "Bearer acme:s3cret");
        assert!(!format!("{expanded:?}").contains("s3cret"));
        assert!(TenantHeaders::of([("x-plain", "same")]).is_empty());
    }

    #[test]
    fn a_payload_is_of_one_tenant_or_of_none_that_can_be_named() {
        let check = |tenants: &[Option<&str>], expected: Option<&str>| {
            let chunk = |tenant: &Option<&str>| {
                let mut chunk = Chunk::new("".into(), Shape::default());
                chunk.origin.tenant = tenant.map(Arc::from);
                chunk
            };
            let payload = Payload {
                signal: Signal::Logs,
                chunks: tenants.iter().map(chunk).collect(),
                items: 0,
                context: Arc::default(),
            };
            assert_eq!(tenant_of(&payload), expected, "{tenants:?}");
        };
        check(&[], Some(NOBODY));
        check(&[None, None], Some(NOBODY));
        check(&[Some("a"), Some("a")], Some("a"));
        check(&[Some("a"), Some("b")], None);
        check(&[None, Some("a")], None);
    }
}

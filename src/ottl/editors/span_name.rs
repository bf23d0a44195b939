//! Span names of low cardinality, out of the attributes that the semantic conventions name.

use wire::otlp;
use wire::view::{NewValue, NodeId, View};

use crate::error::Result;
use crate::eval::{Arg, Cx};
use crate::functions::{Def, Kind, lit_str, of, opt};
use crate::paths::{Context, Level};

/// Versions of the conventions whose attributes are read.
const MINOR: std::ops::RangeInclusive<u32> = 37..=40;

pub(super) const SET_SEMCONV_SPAN_NAME: Def = Def::edit(
    "set_semconv_span_name",
    &[
        of("semconv_version", Kind::Str),
        opt("original_span_name_attribute", Kind::Str),
    ],
    set_name,
)
.prepared(|args, _| {
    let version = lit_str(&args[0])
        .and_then(|v| std::str::from_utf8(v).ok())
        .unwrap_or("");
    let parts: Vec<Option<u32>> = version
        .strip_prefix('v')
        .unwrap_or(version)
        .split('.')
        .map(|part| part.parse().ok())
        .collect();
    let known = match parts[..] {
        [Some(1), Some(minor)] => MINOR.contains(&minor),
        [Some(1), Some(minor), Some(patch)] => MINOR.contains(&minor) && (minor < *MINOR.end() || patch == 0),
        _ => false,
    };
    if !known {
        return Err(format!(
            "unsupported semconv version {version:?}: must be between 1.37.0 and 1.40.0"
        ));
    }
    match lit_str(&args[1]) {
        Some(b"") => Err("the attribute for the original name must have a name".into()),
        _ => Ok(()),
    }
})
.in_contexts(&[Context::Span]);

fn set_name(args: &[Arg], cx: &mut Cx<'_, '_>) -> Result<()> {
    let n = cx.item[Level::Record as usize];
    let field = otlp::SPAN.named("name").map_or(0, |f| f.number);
    let kind = otlp::SPAN.named("kind").map_or(0, |f| f.number);
    let span = Span(cx.view, n);
    let name = match cx.view.number(n, kind).unwrap_or(0) {
        2 => span
            .http("http.route")
            .or_else(|| span.rpc())
            .or_else(|| span.messaging()),
        3 => span
            .http("url.template")
            .or_else(|| span.rpc())
            .or_else(|| span.db())
            .or_else(|| span.messaging()),
        4 | 5 => span.messaging(),
        _ => None,
    };
    let Some(name) = name.filter(|name| *name != cx.view.text(n, field)) else {
        return Ok(());
    };
    if let Some(key) = lit_str(&args[1]) {
        let original = cx.view.text(n, field).to_vec();
        cx.view.put(n, key, NewValue::Str(&original));
    }
    cx.view.set_text(n, field, &name);
    Ok(())
}

struct Span<'s>(&'s View<'s>, NodeId);

impl Span<'_> {
    /// The first of these attributes, as text.
    fn any(&self, keys: &[&str]) -> Option<Vec<u8>> {
        let value = keys.iter().find_map(|key| self.0.get(self.1, key.as_bytes()))?;
        let mut text = Vec::new();
        value.as_string(&mut text);
        Some(text)
    }

    fn is_true(&self, key: &str) -> bool {
        let value = self.0.get(self.1, key.as_bytes());
        value.is_some_and(|v| matches!(v.any(), wire::view::Any::Bool(true)))
    }

    fn http(&self, subject: &str) -> Option<Vec<u8>> {
        let method = self.any(&["http.request.method", "http.method"])?;
        Some(joined(Some(method), b" ", self.any(&[subject])).unwrap_or_default())
            .filter(|name| !name.is_empty())
    }

    fn rpc(&self) -> Option<Vec<u8>> {
        let system = self.any(&["rpc.system.name", "rpc.system"])?;
        let method = self.any(&["rpc.method", "rpc.grpc.method"]);
        let service = self.any(&["rpc.service", "rpc.grpc.service"]);
        let service = match method {
            None => service.map(|service| [&*service, b"/*"].concat()),
            Some(_) => service,
        };
        joined(service, b"/", method)
            .or(Some(system))
            .filter(|name| !name.is_empty())
    }

    fn db(&self) -> Option<Vec<u8>> {
        let system = self.any(&["db.system.name", "db.system"])?;
        if let Some(summary) = self.any(&["db.query.summary"]) {
            return Some(summary).filter(|name| !name.is_empty());
        }
        let filled = |text: Option<Vec<u8>>| text.filter(|text| !text.is_empty());
        let operation = filled(self.any(&["db.operation.name", "db.operation"]));
        let namespace = filled(self.any(&["db.namespace", "db.name"]));
        let inner = self
            .any(&["db.collection.name"])
            .or_else(|| self.any(&["db.stored_procedure.name"]));
        let target = match (namespace, inner) {
            (None, None) => self.server(),
            (namespace, inner) => joined(namespace, b".", inner),
        };
        joined(operation, b" ", filled(target))
            .or(Some(system))
            .filter(|name| !name.is_empty())
    }

    fn messaging(&self) -> Option<Vec<u8>> {
        let system = self.any(&["messaging.system"])?;
        let operation = self.any(&["messaging.operation.name", "messaging.operation"]);
        let destination = if self.is_true("messaging.destination.temporary") {
            Some(b"(temporary)".to_vec())
        } else if self.is_true("messaging.destination.anonymous") {
            Some(b"(anonymous)".to_vec())
        } else {
            let named = self.any(&[
                "messaging.destination.template",
                "messaging.destination.name",
                "messaging.destination",
            ]);
            named.or_else(|| self.server())
        };
        joined(operation, b" ", destination.filter(|d| !d.is_empty()))
            .or(Some(system))
            .filter(|name| !name.is_empty())
    }

    fn server(&self) -> Option<Vec<u8>> {
        let address = self.any(&["server.address"])?;
        joined(Some(address), b":", self.any(&["server.port"]))
    }
}

/// Both with something between, or the one that there is.
fn joined(a: Option<Vec<u8>>, between: &[u8], b: Option<Vec<u8>>) -> Option<Vec<u8>> {
    match (a, b) {
        (Some(a), Some(b)) => Some([&*a, between, &*b].concat()),
        (a, b) => a.or(b),
    }
}

//! Extension `headers_setter`: headers of an exporter's requests, from the configuration, a file, or the client whose
//! data is sent.
//!
//! `from_context` reads the metadata that came with the payload (`include_metadata` on the receiver; through batching
//! only the keys that it partitions by), `from_attribute` what the receiver's authenticator said. `additional_auth`
//! adds its own headers after these. Keys are contrib's.

use std::sync::OnceLock;

use component::prelude::*;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use net::auth::ClientAuth;
use net::client::BoxError;
use tracing::warn;

use crate::watched::Credential;

/// `headers_setter`.
pub(crate) static FACTORY: ExtensionFactory = ExtensionFactory {
    kind: "headers_setter",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    stability: Stability::Alpha,
    build: |section, cx| {
        let config: Config = section.parse_valid()?;
        for rule in &config.headers {
            if rule.name().is_ok_and(|name| is_reserved(&name)) {
                warn!(component = %cx.id, header = %rule.key, "the protocol sets this header itself: the rule is ignored");
            }
        }
        Ok(Arc::new(HeadersSetter {
            config,
            started: OnceLock::new(),
        }))
    },
};

/// `headers_setter`: rules, carried out in order.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// At least one.
    pub(crate) headers: Vec<Rule>,
    /// Another authenticator, whose headers are added after these.
    pub(crate) additional_auth: Option<ComponentId>,
}

#[allow(clippy::derivable_impls, reason = "every default stands in one place")]
impl Default for Config {
    fn default() -> Config {
        Config {
            headers: Vec::new(),
            additional_auth: None,
        }
    }
}

/// One header. Exactly one source, but for `delete`, which has none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rule {
    /// Default `upsert`.
    pub(crate) action: Action,
    /// Name of the header.
    pub(crate) key: String,
    /// As it is.
    pub(crate) value: Option<Secret<String>>,
    /// Content of a file; read again when it changes.
    pub(crate) value_file: Option<String>,
    /// A key of the client's metadata.
    pub(crate) from_context: Option<String>,
    /// An attribute of the authenticated client.
    pub(crate) from_attribute: Option<String>,
    /// Where the context or the identity has nothing.
    pub(crate) default_value: Option<Secret<String>>,
}

/// What is done with a header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// If it is not there.
    Insert,
    /// If it is there.
    Update,
    /// In any case.
    #[default]
    #[serde(alias = "")]
    Upsert,
    /// Taken away.
    Delete,
}

impl Rule {
    fn name(&self) -> Result<HeaderName, String> {
        HeaderName::from_bytes(self.key.as_bytes())
            .map_err(|_| format!("invalid header name \"{}\"", self.key))
    }

    fn sources(&self) -> usize {
        let given = [
            self.value.is_some(),
            self.value_file.is_some(),
            self.from_context.is_some(),
            self.from_attribute.is_some(),
        ];
        given.into_iter().filter(|given| *given).count()
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut fault = |text: String| faults.push(("headers".to_owned(), text));
        if self.headers.is_empty() {
            fault("missing headers configuration".into());
        }
        for rule in &self.headers {
            match (rule.key.as_str(), rule.action, rule.sources()) {
                ("", _, _) => fault("missing header name".into()),
                (_, Action::Delete, _) | (_, _, 1) => {
                    if let Err(text) = rule.name() {
                        fault(text);
                    }
                }
                (_, _, 0) => fault(format!(
                    "missing header source, must be 'from_context', 'from_attribute', 'value' or 'value_file' (header {})",
                    rule.key
                )),
                _ => fault(format!(
                    "invalid header source, must either 'from_context', 'from_attribute', 'value' or 'value_file' (header {})",
                    rule.key
                )),
            }
            if let Some(value) = &rule.value
                && HeaderValue::from_str(value.expose()).is_err()
            {
                fault(format!("the value of header \"{}\" is not valid", rule.key));
            }
        }
    }
}

/// What the protocols write themselves.
fn is_reserved(name: &HeaderName) -> bool {
    let framing = [
        header::TE,
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ];
    framing.contains(name) || name.as_str().starts_with("grpc-")
}

struct HeadersSetter {
    config: Config,
    started: OnceLock<Arc<Setter>>,
}

struct Setter {
    rules: Vec<Ready>,
    then: Option<Arc<dyn ClientAuth>>,
}

/// A rule whose name was read and whose file is open.
struct Ready {
    action: Action,
    name: HeaderName,
    source: Source,
    default: Secret<String>,
}

enum Source {
    /// Of `delete`.
    Nothing,
    Value(Credential),
    Metadata(String),
    Attribute(String),
}

impl HeadersSetter {
    fn open(&self, host: &dyn Host) -> Result<Setter, String> {
        let mut rules = Vec::new();
        for rule in &self.config.headers {
            let name = rule.name()?;
            if is_reserved(&name) {
                continue;
            }
            let source = match rule {
                rule if rule.action == Action::Delete => Source::Nothing,
                Rule {
                    value: Some(value), ..
                } => Source::Value(Credential::Fixed(value.clone())),
                Rule {
                    value_file: Some(file),
                    ..
                } => Source::Value(Credential::open(&Secret::default(), file)?),
                Rule {
                    from_context: Some(key),
                    ..
                } => Source::Metadata(key.clone()),
                Rule {
                    from_attribute: Some(name),
                    ..
                } => Source::Attribute(name.clone()),
                _ => Source::Nothing,
            };
            rules.push(Ready {
                action: rule.action,
                name,
                source,
                default: rule.default_value.clone().unwrap_or_default(),
            });
        }
        let then = self.config.additional_auth.as_ref().map(|id| {
            let found = host::client_auth(host, &id.to_string(), "HTTP");
            found.map_err(|fault| fault.to_string())
        });
        Ok(Setter {
            rules,
            then: then.transpose()?,
        })
    }
}

impl Extension for HeadersSetter {
    fn start<'a>(&'a self, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        ready(self.open(&*host).map_err(Fault::World).map(|setter| {
            let _ = self.started.set(Arc::new(setter));
        }))
    }

    fn after(&self) -> Vec<ComponentId> {
        self.config.additional_auth.iter().cloned().collect()
    }

    fn context_keys(&self) -> Vec<String> {
        let rules = self.config.headers.iter();
        rules.filter_map(|rule| rule.from_context.clone()).collect()
    }

    fn client_auth(&self) -> Option<Arc<dyn ClientAuth>> {
        self.started.get().map(|setter| setter.clone() as _)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}

impl Ready {
    fn value(&self, context: &Context) -> Result<Secret<String>, String> {
        let text = match &self.source {
            Source::Nothing => return Ok(Secret::default()),
            Source::Value(value) => return Ok(value.get()),
            Source::Metadata(key) => match context.metadata(key) {
                [] => None,
                [one] => Some(one.as_str()),
                several => {
                    let n = several.len();
                    return Err(format!(
                        "{n} source keys found in the context, can't determine which one to use"
                    ));
                }
            },
            Source::Attribute(name) => {
                let found = context.auth.iter().find(|(n, _)| n == name);
                found.map(|(_, value)| value.as_str())
            }
        };
        Ok(match text {
            None | Some("") => self.default.clone(),
            Some(text) => Secret::new(text.to_owned()),
        })
    }

    fn apply(&self, headers: &mut HeaderMap, context: &Context) -> Result<(), String> {
        let there = headers.get(&self.name).is_some_and(|value| !value.is_empty());
        let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
        if self.name == header::CONTENT_TYPE && headers.get(&self.name).is_some_and(is_grpc) {
            return Ok(());
        }
        match self.action {
            Action::Delete => {
                headers.remove(&self.name);
            }
            Action::Insert if there => {}
            Action::Update if !there => {}
            Action::Insert | Action::Update | Action::Upsert => {
                let text = self.value(context)?;
                let value = HeaderValue::from_str(text.expose());
                let mut value =
                    value.map_err(|_| format!("the value of header \"{}\" is not valid", self.name))?;
                value.set_sensitive(true);
                headers.insert(self.name.clone(), value);
            }
        }
        Ok(())
    }
}

impl ClientAuth for Setter {
    fn authorize<'a>(
        &'a self,
        headers: &'a mut HeaderMap,
        context: &'a Context,
    ) -> net::auth::BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            for rule in &self.rules {
                rule.apply(headers, context)
                    .map_err(|e| format!("failed to determine the source: {e}"))?;
            }
            match &self.then {
                Some(then) => then.authorize(headers, context).await,
                None => Ok(()),
            }
        })
    }

    fn refused(&self) -> net::auth::BoxFuture<'_, bool> {
        Box::pin(async move {
            let files = self.rules.iter().map(|rule| match &rule.source {
                Source::Value(value) => value.refresh(),
                _ => false,
            });
            let changed = files.fold(false, |any, changed| any | changed);
            let then = match &self.then {
                Some(then) => then.refused().await,
                None => false,
            };
            changed | then
        })
    }

    fn needs_tls(&self) -> bool {
        self.then.as_ref().is_some_and(|then| then.needs_tls())
    }
}

#[cfg(test)]
mod tests {
    use component::test_kit::{Lonely, context, faults, section};

    use super::*;

    component::component_tests!(FACTORY, "headers: [{key: x, value: y}]");

    async fn start(yaml: &str) -> Arc<dyn ClientAuth> {
        let built = (FACTORY.build)(section(yaml), &context("headers_setter"));
        let built = built.unwrap_or_else(|fault| panic!("{fault}"));
        built.start(Arc::new(Lonely::default())).await.unwrap();
        assert!(built.server_auth().is_none());
        built.client_auth().unwrap()
    }

    /// Carries rules out on a request that has `there: before`.
    async fn carried_out(yaml: &str) -> Result<Vec<(String, String)>, String> {
        let auth = start(yaml).await;
        let mut headers = HeaderMap::new();
        headers.insert("there", HeaderValue::from_static("before"));
        let context = Context {
            metadata: vec![
                ("x-tenant".into(), vec!["acme".into()]),
                ("many".into(), vec!["1".into(), "2".into()]),
                ("empty".into(), vec![String::new()]),
                ("line".into(), vec!["a\nb".into()]),
            ],
            auth: vec![("subject".into(), "me".into())],
            ..Context::default()
        };
        auth.authorize(&mut headers, &context)
            .await
            .map_err(|e| e.to_string())?;
        let all = headers.iter();
        Ok(all
            .map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()))
            .collect())
    }

    #[test]
    fn tells_faults() {
        let check = |yaml: &str, expected: &str| {
            let told = faults((FACTORY.build)(section(yaml), &context("headers_setter")));
            assert!(told.contains(expected) && !told.contains("hunter2"), "{told}");
        };
        check("{}", "missing headers configuration");
        check("headers: []", "missing headers configuration");
        check("headers: [{value: hunter2}]", "missing header name");
        check(
            "headers: [{key: a}]",
            "missing header source, must be 'from_context', 'from_attribute'",
        );
        check("headers: [{key: a, action: update}]", "missing header source");
        check(
            "headers: [{key: a, value: hunter2, from_context: b}]",
            "invalid header source, must either 'from_context'",
        );
        check(
            "headers: [{key: a, from_attribute: x, from_context: b}]",
            "invalid header source",
        );
        check(
            "headers: [{key: a, value_file: x, value: hunter2}]",
            "invalid header source",
        );
        check("headers: [{key: 'a b', value: x}]", "invalid header name");
        check(
            "headers: [{key: a, value: \"hunter2\\n\"}]",
            "the value of header \"a\" is not valid",
        );
        check("headers: [{key: a, value: x, action: replace}]", "replace");
    }

    #[tokio::test]
    async fn every_action_and_source() {
        let check = async |rule: &str, expected: &[(&str, &str)]| {
            let found = carried_out(&format!("headers: [{rule}]")).await.unwrap();
            let mut found: Vec<(&str, &str)> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{rule}");
        };
        let before = ("there", "before");
        check("{key: New, value: x}", &[("new", "x"), before]).await;
        check("{key: There, value: x}", &[("there", "x")]).await;
        check("{key: there, value: x, action: upsert}", &[("there", "x")]).await;
        check("{key: there, value: x, action: ''}", &[("there", "x")]).await;
        check("{key: there, value: x, action: insert}", &[before]).await;
        check("{key: new, value: x, action: insert}", &[("new", "x"), before]).await;
        check("{key: there, value: x, action: update}", &[("there", "x")]).await;
        check("{key: new, value: x, action: update}", &[before]).await;
        check("{key: there, action: delete}", &[]).await;
        check("{key: a, from_context: X-Tenant}", &[("a", "acme"), before]).await;
        check("{key: a, from_context: none}", &[("a", ""), before]).await;
        check(
            "{key: a, from_context: none, default_value: d}",
            &[("a", "d"), before],
        )
        .await;
        check(
            "{key: a, from_context: empty, default_value: d}",
            &[("a", "d"), before],
        )
        .await;
        check(
            "{key: a, from_attribute: subject, default_value: d}",
            &[("a", "me"), before],
        )
        .await;
        check(
            "{key: a, from_attribute: group, default_value: d}",
            &[("a", "d"), before],
        )
        .await;
        check(
            "{key: a, value: x}, {key: a, action: update, value: y}",
            &[("a", "y"), before],
        )
        .await;
        check(
            "{key: grpc-timeout, value: 1S}, {key: Content-Length, value: '5'}",
            &[before],
        )
        .await;

        let refused = async |rule: &str, expected: &str| {
            assert_eq!(
                carried_out(&format!("headers: [{rule}]")).await,
                Err(expected.to_owned())
            );
        };
        refused(
            "{key: a, from_context: many}",
            "failed to determine the source: 2 source keys found in the context, can't determine which one to use",
        )
        .await;
        refused(
            "{key: a, from_context: line}",
            "failed to determine the source: the value of header \"a\" is not valid",
        )
        .await;
    }

    #[tokio::test]
    async fn grpc_stays_grpc() {
        let auth = start("headers: [{key: Content-Type, value: text/plain}]").await;
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        auth.authorize(&mut headers, &Context::default()).await.unwrap();
        assert_eq!(headers["content-type"], "application/grpc");
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        auth.authorize(&mut headers, &Context::default()).await.unwrap();
        assert_eq!(headers["content-type"], "text/plain");
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_the_far_side_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "one\n").unwrap();
        let auth = start(&format!(
            "headers: [{{key: k, value_file: '{}'}}]",
            path.display()
        ))
        .await;
        let mut headers = HeaderMap::new();
        auth.authorize(&mut headers, &Context::default()).await.unwrap();
        assert_eq!(headers["k"], "one");
        std::fs::write(&path, "two\n").unwrap();
        assert!(auth.refused().await);
        auth.authorize(&mut headers, &Context::default()).await.unwrap();
        assert_eq!(headers["k"], "two");
        assert!(!auth.needs_tls());
    }

    #[tokio::test]
    async fn an_additional_authenticator_must_exist() {
        let yaml = "{headers: [{key: a, value: b}], additional_auth: oauth2client/x}";
        let built =
            (FACTORY.build)(section(yaml), &context("headers_setter")).unwrap_or_else(|f| panic!("{f}"));
        let after: Vec<String> = built.after().iter().map(ComponentId::to_string).collect();
        assert_eq!(after, ["oauth2client/x"]);
        let fault = built.start(Arc::new(Lonely::default())).await.unwrap_err();
        assert_eq!(
            fault.to_string(),
            "failed to resolve authenticator \"oauth2client/x\": authenticator not found"
        );
    }
}

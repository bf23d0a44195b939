//! Extension `bearertokenauth`: a token in a header, on either side.
//!
//! A server takes any of the tokens, a client says the first. Tokens stand in the configuration or in a file, one a
//! line, that is read again when it changes. Comparing takes the same time whatever is sent. Keys are contrib's; unlike
//! there an empty line of the file is no token, and a refusal does not repeat what was sent.

use std::sync::OnceLock;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use component::prelude::*;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use net::auth::{Caller, ClientAuth, Denied, Identity, ServerAuth};
use net::client::BoxError;
use tracing::warn;

use crate::watched::Watched;

/// `bearertokenauth`.
pub(crate) static FACTORY: ExtensionFactory = ExtensionFactory {
    kind: "bearertokenauth",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    stability: Stability::Alpha,
    build: |section, cx| {
        let config: Config = section.parse_valid()?;
        let inline = !config.token.expose().is_empty() || !config.tokens.is_empty();
        if inline && !config.filename.is_empty() {
            warn!(component = %cx.id, "a filename is given: the tokens of the configuration are ignored");
        }
        Ok(Arc::new(BearerToken {
            config,
            started: OnceLock::new(),
        }))
    },
};

/// `bearertokenauth`: tokens, and how they are written.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Before the token, with a space; may be empty. Default `Bearer`.
    pub(crate) scheme: String,
    /// Default `Authorization`.
    pub(crate) header: String,
    /// One token.
    pub(crate) token: Secret<String>,
    /// Several; not beside `token`.
    pub(crate) tokens: Vec<Secret<String>>,
    /// A file of tokens, one a line; wins over those above.
    pub(crate) filename: String,
    /// Whether to wait at start for a file that is not there yet.
    pub(crate) file_retry: FileRetry,
}

/// `file_retry`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileRetry {
    /// Default false: a missing file ends the start.
    pub(crate) enabled: bool,
    /// Default 5.
    pub(crate) max_retries: u32,
    /// Default `1s`.
    pub(crate) retry_interval: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            scheme: "Bearer".into(),
            header: "Authorization".into(),
            token: Secret::default(),
            tokens: Vec::new(),
            filename: String::new(),
            file_retry: FileRetry::default(),
        }
    }
}

impl Default for FileRetry {
    fn default() -> FileRetry {
        FileRetry {
            enabled: false,
            max_retries: 5,
            retry_interval: Duration(std::time::Duration::from_secs(1)),
        }
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut fault = |key: &str, text: String| faults.push((key.to_owned(), text));
        let has_token = !self.token.expose().is_empty();
        if !has_token && self.tokens.is_empty() && self.filename.is_empty() {
            fault("", "no bearer token provided".into());
        }
        if has_token && !self.tokens.is_empty() {
            fault(
                "tokens",
                "either tokens or token should be provided, not both".into(),
            );
        }
        if HeaderName::from_bytes(self.header.as_bytes()).is_err() {
            fault("header", format!("invalid header name \"{}\"", self.header));
        }
        let given = self.tokens.iter().chain(has_token.then_some(&self.token));
        if let Err(text) = Tokens::new(&self.scheme, given.map(|t| t.expose().as_str())) {
            fault(if has_token { "token" } else { "tokens" }, text);
        }
    }
}

/// What is said, and what is taken.
struct Tokens(Vec<(HeaderValue, [u8; 32])>);

impl Tokens {
    fn new<'a>(scheme: &str, tokens: impl Iterator<Item = &'a str>) -> Result<Tokens, String> {
        let value = |token: &str| {
            let text = match scheme {
                "" => token.to_owned(),
                scheme => format!("{scheme} {token}"),
            };
            let mut value = HeaderValue::from_str(&text).map_err(|_| "a token is not valid in a header")?;
            value.set_sensitive(true);
            Ok((value, fingerprint(text.as_bytes())))
        };
        let some = tokens.filter(|token| !token.is_empty());
        Ok(Tokens(some.map(value).collect::<Result<_, String>>()?))
    }

    /// All are looked at, and digests compared: the time tells neither which one was near nor how near.
    fn has(&self, sent: &[u8]) -> bool {
        let sent = fingerprint(sent);
        let same = |(_, known): &(HeaderValue, [u8; 32])| verify_slices_are_equal(known, &sent).is_ok();
        self.0.iter().fold(false, |found, token| same(token) | found)
    }
}

fn fingerprint(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

struct BearerToken {
    config: Config,
    started: OnceLock<Arc<Bearer>>,
}

struct Bearer {
    header: HeaderName,
    tokens: Source,
}

enum Source {
    Fixed(Arc<Tokens>),
    File(Watched<Tokens>),
}

impl BearerToken {
    async fn open(&self) -> Result<Bearer, String> {
        let config = &self.config;
        let tokens = if config.filename.is_empty() {
            let given = config.tokens.iter().chain([&config.token]);
            Source::Fixed(Arc::new(Tokens::new(
                &config.scheme,
                given.map(|t| t.expose().as_str()),
            )?))
        } else {
            Source::File(self.open_file().await?)
        };
        Ok(Bearer {
            header: HeaderName::from_bytes(config.header.as_bytes()).map_err(|e| e.to_string())?,
            tokens,
        })
    }

    async fn open_file(&self) -> Result<Watched<Tokens>, String> {
        let retry = &self.config.file_retry;
        let mut left = if retry.enabled { retry.max_retries } else { 0 };
        loop {
            let scheme = self.config.scheme.clone();
            let opened = Watched::open(&self.config.filename, move |text| {
                let tokens = Tokens::new(&scheme, text.lines().map(str::trim))?;
                match tokens.0.is_empty() {
                    true => Err("no bearer token provided".into()),
                    false => Ok(tokens),
                }
            });
            match opened {
                Err(error) if left > 0 => {
                    left -= 1;
                    warn!(%error, retries_left = left, "the bearer tokens cannot be read yet");
                    tokio::time::sleep(retry.retry_interval.0).await;
                }
                opened => return opened,
            }
        }
    }
}

impl Extension for BearerToken {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let bearer = self.open().await.map_err(Fault::World)?;
            let _ = self.started.set(Arc::new(bearer));
            Ok(())
        })
    }

    fn server_auth(&self) -> Option<Arc<dyn ServerAuth>> {
        self.started.get().map(|bearer| bearer.clone() as _)
    }

    fn client_auth(&self) -> Option<Arc<dyn ClientAuth>> {
        self.started.get().map(|bearer| bearer.clone() as _)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}

impl Bearer {
    fn tokens(&self) -> Arc<Tokens> {
        match &self.tokens {
            Source::Fixed(tokens) => tokens.clone(),
            Source::File(file) => file.get(),
        }
    }

    fn judge(&self, caller: Caller<'_>) -> Result<Identity, Denied> {
        let denied = |text: String| Err(Denied::Unauthenticated(text));
        match caller.value(self.header.as_str()) {
            None | Some("") => denied(format!("missing or empty authorization header: {}", self.header)),
            Some(sent) if self.tokens().has(sent.as_bytes()) => Ok(Identity::default()),
            Some(_) => denied("scheme or token does not match".into()),
        }
    }
}

impl ServerAuth for Bearer {
    fn authenticate<'a>(&'a self, caller: Caller<'a>) -> net::auth::BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(std::future::ready(self.judge(caller)))
    }
}

impl ClientAuth for Bearer {
    fn authorize<'a>(
        &'a self,
        headers: &'a mut HeaderMap,
        _: &'a Context,
    ) -> net::auth::BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let tokens = self.tokens();
            let (value, _) = tokens.0.first().ok_or("no bearer token provided")?;
            headers.insert(self.header.clone(), value.clone());
            Ok(())
        })
    }

    fn refused(&self) -> net::auth::BoxFuture<'_, bool> {
        Box::pin(std::future::ready(match &self.tokens {
            Source::Fixed(_) => false,
            Source::File(file) => file.refresh(),
        }))
    }

    fn needs_tls(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use component::test_kit::{Lonely, context, faults, section};
    use net::server::Peer;

    use super::*;

    component::component_tests!(FACTORY, "token: hunter2");

    async fn start(yaml: &str) -> Arc<dyn Extension> {
        let built = (FACTORY.build)(section(yaml), &context("bearertokenauth"));
        let built = built.unwrap_or_else(|fault| panic!("{fault}"));
        built.start(Arc::new(Lonely::default())).await.unwrap();
        built
    }

    async fn ask(extension: &dyn Extension, header: &'static str, value: &str) -> Result<Identity, Denied> {
        let mut headers = HeaderMap::new();
        headers.insert(header, value.parse().unwrap());
        let peer = Peer::default();
        let caller = Caller {
            headers: &headers,
            params: &[],
            peer: &peer,
        };
        extension.server_auth().unwrap().authenticate(caller).await
    }

    async fn said(extension: &dyn Extension, header: &str) -> String {
        let mut headers = HeaderMap::new();
        let auth = extension.client_auth().unwrap();
        auth.authorize(&mut headers, &Context::default()).await.unwrap();
        let value = headers.remove(header).unwrap();
        assert_eq!((headers.len(), format!("{value:?}")), (0, "Sensitive".to_owned()));
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn tells_faults_without_tokens() {
        let check = |yaml: &str, expected: &str| {
            let told = faults((FACTORY.build)(section(yaml), &context("bearertokenauth")));
            assert!(told.contains(expected) && !told.contains("hunter2"), "{told}");
        };
        check("{}", "no bearer token provided");
        check(
            "{token: hunter2, tokens: [hunter2]}",
            "either tokens or token should be provided, not both",
        );
        check("{token: \"hunter2\\n\"}", "a token is not valid in a header");
        check("{token: hunter2, header: 'a b'}", "invalid header name \"a b\"");
        let config: Config = section("{token: hunter2, tokens: [hunter2]}").parse().unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(Config::default().file_retry.retry_interval.0.as_secs(), 1);
    }

    #[tokio::test]
    async fn takes_any_token_and_says_the_first() {
        let extension = start("{tokens: [one, two], scheme: Token, header: X-Key}").await;
        assert!(extension.client_auth().unwrap().needs_tls());
        assert!(!extension.client_auth().unwrap().refused().await);
        assert_eq!(said(&*extension, "x-key").await, "Token one");
        assert_eq!(
            ask(&*extension, "x-key", "Token one").await,
            Ok(Identity::default())
        );
        assert_eq!(
            ask(&*extension, "x-key", "Token two").await,
            Ok(Identity::default())
        );
        let check = |told: Result<Identity, Denied>, expected: &str| {
            assert_eq!(told, Err(Denied::Unauthenticated(expected.into())));
        };
        for wrong in [
            "Token three",
            "token one",
            "Token  one",
            "one",
            "Token one ",
            "Token ",
            "Bearer one",
        ] {
            check(
                ask(&*extension, "x-key", wrong).await,
                "scheme or token does not match",
            );
        }
        let missing = "missing or empty authorization header: x-key";
        check(ask(&*extension, "x-key", "").await, missing);
        check(ask(&*extension, "authorization", "Token one").await, missing);

        let bare = start("{token: one, scheme: ''}").await;
        assert_eq!(said(&*bare, "authorization").await, "one");
        assert!(ask(&*bare, "authorization", "one").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_of_tokens_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, "one\n two \n\n").unwrap();
        let extension = start(&format!("{{filename: '{}', token: unused}}", path.display())).await;
        assert_eq!(said(&*extension, "authorization").await, "Bearer one");
        assert!(ask(&*extension, "authorization", "Bearer two").await.is_ok());
        for wrong in ["Bearer ", "Bearer unused"] {
            assert!(ask(&*extension, "authorization", wrong).await.is_err());
        }
        std::fs::write(&path, "three").unwrap();
        assert!(extension.client_auth().unwrap().refused().await);
        assert_eq!(said(&*extension, "authorization").await, "Bearer three");
        std::fs::write(&path, "four").unwrap();
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert!(ask(&*extension, "authorization", "Bearer four").await.is_ok());
        assert!(ask(&*extension, "authorization", "Bearer three").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_a_file_only_if_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("late");
        let build = |retry: &str| {
            let yaml = format!("{{filename: '{}'{retry}}}", path.display());
            (FACTORY.build)(section(&yaml), &context("bearertokenauth"))
                .unwrap_or_else(|fault| panic!("{fault}"))
        };
        let fault = build("").start(Arc::new(Lonely::default())).await.unwrap_err();
        assert!(fault.to_string().contains("No such file"), "{fault}");
        let patient = build(", file_retry: {enabled: true, max_retries: 3, retry_interval: 2s}");
        let fault = patient.start(Arc::new(Lonely::default())).await.unwrap_err();
        assert!(fault.to_string().contains("No such file"), "{fault}");
        let before = tokio::time::Instant::now();
        let write = async {
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            std::fs::write(&path, "token").unwrap();
        };
        let (started, ()) = tokio::join!(patient.start(Arc::new(Lonely::default())), write);
        started.unwrap();
        assert_eq!(before.elapsed().as_secs(), 4);
    }
}

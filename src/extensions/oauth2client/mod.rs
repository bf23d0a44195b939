//! Extension `oauth2client`: an exporter gets a token from an authorization server, and says it.
//!
//! Grants: `client_credentials` (RFC 6749, 4.4) and JWT bearer (RFC 7523). A token is kept until `expiry_buffer` before
//! its end (half its life, if that is shorter) and fetched by one request at a time, while the old one serves on as
//! long as it is good. A failure is told to the exporter, which tries again later; for a second nobody else asks. After
//! a 401 the token is fetched anew. Keys are contrib's.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration as StdDuration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use codec::base64::{self, Alphabet};
use component::prelude::*;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{StatusCode, Uri};
use net::HttpClientConfig;
use net::auth::ClientAuth;
use net::client::{BoxError, HttpClient};
use net::tls::ClientTls;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::warn;

use crate::jwt::{Claims, Signer};
use crate::watched::Credential;

/// `oauth2client`.
pub(crate) static FACTORY: ExtensionFactory = ExtensionFactory {
    kind: "oauth2client",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    stability: Stability::Alpha,
    build: |section, cx| {
        Ok(Arc::new(OAuth2Client {
            config: section.parse_valid()?,
            id: cx.id.clone(),
            agent: cx.info.user_agent(),
            started: OnceLock::new(),
        }))
    },
};

/// `oauth2client`: where tokens come from, and who asks for them.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Who asks.
    pub(crate) client_id: String,
    /// Wins over `client_id`; read again when it changes.
    pub(crate) client_id_file: String,
    /// Of `client_credentials`.
    pub(crate) client_secret: Secret<String>,
    /// Wins over `client_secret`; read again when it changes.
    pub(crate) client_secret_file: String,
    /// Whom to ask. Required.
    pub(crate) token_url: String,
    /// What the token should be good for.
    pub(crate) scopes: Vec<String>,
    /// Further parameters of the request.
    pub(crate) endpoint_params: BTreeMap<String, Values>,
    /// Of the connection to `token_url`.
    pub(crate) tls: ClientTls,
    /// For one request; 0 = 30 s.
    pub(crate) timeout: Duration,
    /// How long before its end a token is replaced. Default `5m`.
    pub(crate) expiry_buffer: Duration,
    /// `client_credentials` (default) or `urn:ietf:params:oauth:grant-type:jwt-bearer`.
    pub(crate) grant_type: String,
    /// RSA key in PEM, of the JWT grant.
    pub(crate) client_certificate_key: Secret<String>,
    /// Wins over `client_certificate_key`; read again when it changes.
    pub(crate) client_certificate_key_file: String,
    /// Its name, put into the JWT.
    pub(crate) client_certificate_key_id: String,
    /// Of the JWT; default the client's id.
    pub(crate) iss: String,
    /// Of the JWT; default `token_url`.
    pub(crate) audience: String,
    /// Further claims of the JWT.
    pub(crate) claims: BTreeMap<String, Value>,
    /// `RS256` (default), `RS384`, `RS512`.
    pub(crate) signature_algorithm: String,
}

/// One value, or several.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Values {
    /// `key: value`.
    One(String),
    /// `key: [value, ...]`.
    Many(Vec<String>),
}

impl Values {
    fn as_slice(&self) -> &[String] {
        match self {
            Values::One(one) => std::slice::from_ref(one),
            Values::Many(many) => many,
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            client_id: String::new(),
            client_id_file: String::new(),
            client_secret: Secret::default(),
            client_secret_file: String::new(),
            token_url: String::new(),
            scopes: Vec::new(),
            endpoint_params: BTreeMap::new(),
            tls: ClientTls::default(),
            timeout: Duration(StdDuration::ZERO),
            expiry_buffer: Duration(StdDuration::from_secs(300)),
            grant_type: String::new(),
            client_certificate_key: Secret::default(),
            client_certificate_key_file: String::new(),
            client_certificate_key_id: String::new(),
            iss: String::new(),
            audience: String::new(),
            claims: BTreeMap::new(),
            signature_algorithm: String::new(),
        }
    }
}

const CLIENT_CREDENTIALS: &str = "client_credentials";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

impl Config {
    fn is_jwt(&self) -> bool {
        self.grant_type == JWT_BEARER
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut rule = |holds: bool, key: &str, text: &str| {
            if !holds {
                faults.push((key.to_owned(), text.to_owned()));
            }
        };
        let given = |value: &str, file: &str| !value.is_empty() || !file.is_empty();
        rule(
            given(&self.client_id, &self.client_id_file),
            "",
            "no ClientID provided in the OAuth2 exporter configuration",
        );
        rule(
            !self.token_url.is_empty(),
            "",
            "no TokenURL provided in OAuth Client Credentials configuration",
        );
        let url: Option<Uri> = self.token_url.parse().ok();
        let is_url =
            url.is_some_and(|u| u.host().is_some() && matches!(u.scheme_str(), Some("http" | "https")));
        rule(
            self.token_url.is_empty() || is_url,
            "token_url",
            "token_url must begin with https:// or http://",
        );
        match self.grant_type.as_str() {
            "" | CLIENT_CREDENTIALS => rule(
                given(self.client_secret.expose(), &self.client_secret_file),
                "",
                "no ClientSecret provided in OAuth Client Credentials configuration",
            ),
            JWT_BEARER => {
                let key = given(
                    self.client_certificate_key.expose(),
                    &self.client_certificate_key_file,
                );
                rule(
                    key,
                    "",
                    "no ClientCertificateKey provided in the OAuth2 JWT bearer configuration",
                );
                let algorithm = Signer::algorithm(&self.signature_algorithm);
                rule(
                    algorithm.is_ok(),
                    "signature_algorithm",
                    algorithm.err().as_deref().unwrap_or(""),
                );
            }
            _ => rule(
                false,
                "grant_type",
                "invalid grant type: client_credentials or urn:ietf:params:oauth:grant-type:jwt-bearer",
            ),
        }
        for name in ["scope", "assertion", "client_id", "client_secret"] {
            rule(
                !self.endpoint_params.contains_key(name) || (name == "scope" && self.scopes.is_empty()),
                "endpoint_params",
                &format!("oauth2: cannot overwrite parameter \"{name}\""),
            );
        }
        for (key, text) in self.tls.faults() {
            rule(false, &format!("tls.{key}"), &text);
        }
    }
}

struct OAuth2Client {
    config: Config,
    id: ComponentId,
    agent: String,
    started: OnceLock<Arc<Source>>,
}

impl Extension for OAuth2Client {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        let opened = Source::open(&self.config, &self.id, &self.agent);
        ready(opened.map_err(Fault::World).map(|source| {
            let _ = self.started.set(Arc::new(source));
        }))
    }

    fn client_auth(&self) -> Option<Arc<dyn ClientAuth>> {
        self.started.get().map(|source| source.clone() as _)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}

// --- Tokens ---

/// Where tokens come from.
struct Source {
    config: Config,
    id: ComponentId,
    url: Uri,
    client: HttpClient,
    client_id: Credential,
    /// The secret, or the private key.
    secret: Credential,
    /// The server did not take credentials in the header.
    in_body: AtomicBool,
    token: ArcSwapOption<Token>,
    /// The last failure; held while a token is fetched.
    fetching: Mutex<Option<(Instant, String)>>,
}

struct Token {
    header: HeaderValue,
    since: Instant,
    /// From then on another is fetched; none = it has no end.
    replace_at: Option<Instant>,
    ends_at: Option<Instant>,
}

const FETCH_TIMEOUT: StdDuration = StdDuration::from_secs(30);
/// For so long after a failure it is the answer.
const FAILURE_PAUSE: StdDuration = StdDuration::from_secs(1);
/// A token that is refused sooner is not fetched anew: the next one would be too.
const REFUSED_AFTER: StdDuration = StdDuration::from_secs(5);
const ASSERTION_LIFE_S: u64 = 30 * 60;

impl Source {
    fn open(config: &Config, id: &ComponentId, agent: &str) -> Result<Source, String> {
        let http = HttpClientConfig {
            tls: config.tls.clone(),
            timeout: Some(config.timeout).filter(|t| !t.0.is_zero()),
            ..HttpClientConfig::default()
        };
        let url: Uri = config.token_url.parse().map_err(|e| format!("token_url: {e}"))?;
        let needs_tls = url.scheme_str() == Some("https");
        let secret = match config.is_jwt() {
            true => Credential::open(
                &config.client_certificate_key,
                &config.client_certificate_key_file,
            )?,
            false => Credential::open(&config.client_secret, &config.client_secret_file)?,
        };
        let source = Source {
            client: HttpClient::new(&http, agent, FETCH_TIMEOUT, needs_tls)?,
            client_id: Credential::open(&Secret::new(config.client_id.clone()), &config.client_id_file)?,
            secret,
            config: config.clone(),
            id: id.clone(),
            url,
            in_body: AtomicBool::new(false),
            token: ArcSwapOption::empty(),
            fetching: Mutex::default(),
        };
        if config.is_jwt() {
            source.signer()?;
        }
        Ok(source)
    }

    /// The header to say, from what is kept or from the server.
    async fn header(&self) -> Result<HeaderValue, String> {
        let kept = self.token.load_full();
        let good = |at: Option<Instant>| at.is_none_or(|at| Instant::now() < at);
        if let Some(token) = kept.as_ref().filter(|token| good(token.replace_at)) {
            return Ok(token.header.clone());
        }
        let usable = kept.filter(|token| good(token.ends_at));
        let mut failed = match (self.fetching.try_lock(), &usable) {
            (Ok(failed), _) => failed,
            // Somebody else fetches the next one.
            (Err(_), Some(token)) => return Ok(token.header.clone()),
            (Err(_), None) => self.fetching.lock().await,
        };
        if let Some(token) = self.token.load().as_ref().filter(|token| good(token.replace_at)) {
            return Ok(token.header.clone());
        }
        let recent = failed.as_ref().filter(|(at, _)| at.elapsed() < FAILURE_PAUSE);
        let error = match recent {
            Some((_, error)) => error.clone(),
            None => match self.fetch().await {
                Ok(token) => {
                    *failed = None;
                    let header = token.header.clone();
                    self.token.store(Some(Arc::new(token)));
                    return Ok(header);
                }
                Err(error) => {
                    if failed.is_none() {
                        warn!(component = %self.id, %error, "no token can be fetched");
                    }
                    *failed = Some((Instant::now(), error.clone()));
                    error
                }
            },
        };
        match usable {
            Some(token) => Ok(token.header.clone()),
            None => Err(error),
        }
    }

    async fn fetch(&self) -> Result<Token, String> {
        let asked = Instant::now();
        let in_body = self.in_body.load(Relaxed);
        let mut reply = self.ask(in_body).await?;
        let unauthorized = [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED].contains(&reply.status);
        if unauthorized && !in_body && !self.config.is_jwt() {
            // Not every server takes credentials in the header, though the standard says so.
            let second = self.ask(true).await?;
            if second.status.is_success() {
                self.in_body.store(true, Relaxed);
                reply = second;
            }
        }
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("");
        if !reply.status.is_success() {
            // The code alone: descriptions may repeat what was sent.
            let code: String = text("error")
                .chars()
                .filter(|c| c.is_ascii_graphic())
                .take(64)
                .collect();
            return Err(format!(
                "oauth2: cannot fetch token: {} {code}",
                reply.status.as_u16()
            ));
        }
        let access = Secret::new(text("access_token").to_owned());
        if access.expose().is_empty() {
            return Err("oauth2: server response missing access_token".into());
        }
        let kind = match text("token_type") {
            kind if kind.is_empty() || kind.eq_ignore_ascii_case("bearer") => "Bearer",
            kind => kind,
        };
        let mut header = HeaderValue::from_str(&format!("{kind} {}", access.expose()))
            .map_err(|_| "oauth2: the token is not valid in a header")?;
        header.set_sensitive(true);
        let life = match answer.get("expires_in") {
            Some(Value::String(text)) => text.parse().ok(),
            Some(number) => number.as_f64(),
            None => None,
        };
        let life = life
            .filter(|s| *s > 0.0)
            .map(|s| StdDuration::from_secs_f64(s.min(1e9)));
        Ok(Token {
            header,
            since: Instant::now(),
            replace_at: life.map(|life| asked + life - self.config.expiry_buffer.0.min(life / 2)),
            ends_at: life.map(|life| asked + life),
        })
    }

    async fn ask(&self, in_body: bool) -> Result<net::client::HttpReply, String> {
        let config = &self.config;
        let scope = config.scopes.join(" ");
        let mut form = Form::default();
        let grant_given = config.endpoint_params.get("grant_type");
        if grant_given.is_none() {
            form.add(
                "grant_type",
                if config.is_jwt() {
                    JWT_BEARER
                } else {
                    CLIENT_CREDENTIALS
                },
            );
        }
        if !scope.is_empty() {
            form.add("scope", &scope);
        }
        for (name, values) in &config.endpoint_params {
            for value in values.as_slice() {
                form.add(name, value);
            }
        }
        let (id, secret) = (self.client_id.get(), self.secret.get());
        let mut client = self.client.clone();
        if config.is_jwt() {
            form.add("assertion", &self.assertion(id.expose())?);
        } else if in_body {
            form.add("client_id", id.expose());
            form.add("client_secret", secret.expose());
        } else {
            let pair = format!("{}:{}", escape(id.expose()), escape(secret.expose()));
            let text = format!("Basic {}", base64::encode(Alphabet::Standard, pair.as_bytes()));
            let mut value = HeaderValue::from_str(&text).map_err(|_| "the client's id is not valid")?;
            value.set_sensitive(true);
            client = client.with_auth(Arc::new(Pair(value)));
        }
        let kind = "application/x-www-form-urlencoded";
        let body = vec![Bytes::from(form.0)];
        let reply = client
            .post(&self.url, kind, None, body, &Context::default())
            .await;
        reply.map_err(|e| format!("oauth2: cannot fetch token: {e}"))
    }

    fn signer(&self) -> Result<Signer, String> {
        let config = &self.config;
        let key = self.secret.get();
        Signer::new(
            key.expose(),
            &config.signature_algorithm,
            &config.client_certificate_key_id,
        )
    }

    fn assertion(&self, id: &str) -> Result<String, String> {
        let config = &self.config;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let or = |given: &str, default: &str| Value::from(if given.is_empty() { default } else { given });
        let mut claims = Claims::from([
            ("iss".to_owned(), or(&config.iss, id)),
            ("sub".to_owned(), Value::from(id)),
            ("aud".to_owned(), or(&config.audience, &config.token_url)),
            ("jti".to_owned(), Value::from(unique()?)),
            ("iat".to_owned(), Value::from(now)),
            ("exp".to_owned(), Value::from(now + ASSERTION_LIFE_S)),
        ]);
        if !config.scopes.is_empty() {
            claims.insert("scope".into(), Value::from(config.scopes.join(" ")));
        }
        claims.extend(config.claims.clone());
        self.signer()?.sign(&claims)
    }
}

impl ClientAuth for Source {
    fn authorize<'a>(
        &'a self,
        headers: &'a mut HeaderMap,
        _: &'a Context,
    ) -> net::auth::BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            headers.insert(AUTHORIZATION, self.header().await?);
            Ok(())
        })
    }

    fn refused(&self) -> net::auth::BoxFuture<'_, bool> {
        let kept = self.token.load_full();
        let stale = kept.is_some_and(|token| token.since.elapsed() >= REFUSED_AFTER);
        if stale {
            self.token.store(None);
        }
        Box::pin(std::future::ready(stale))
    }

    fn needs_tls(&self) -> bool {
        true
    }
}

/// Id and secret for the token server itself.
struct Pair(HeaderValue);

impl ClientAuth for Pair {
    fn authorize<'a>(
        &'a self,
        headers: &'a mut HeaderMap,
        _: &'a Context,
    ) -> net::auth::BoxFuture<'a, Result<(), BoxError>> {
        headers.insert(AUTHORIZATION, self.0.clone());
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A name that no other assertion has (UUID, version 4).
fn unique() -> Result<String, String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "no random bytes")?;
    let n = u128::from_be_bytes(bytes) & !(0xf << 76 | 0x3 << 62) | 4 << 76 | 2 << 62;
    let hex = format!("{n:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}

/// `application/x-www-form-urlencoded`.
#[derive(Default)]
struct Form(String);

impl Form {
    fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(&escape(name));
        self.0.push('=');
        self.0.push_str(&escape(value));
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;

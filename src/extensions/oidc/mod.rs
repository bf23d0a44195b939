//! Extension `oidc`: clients show a token of an OpenID Connect provider.
//!
//! A provider's keys are found by discovery, or stand in a file; they are read again every quarter of an hour, and at
//! once (but not more often than every ten seconds) when a token is signed by a key that is not among them. A token
//! must be signed by its issuer, for the audience, and in time. What it claims are attributes of the client: `subject`,
//! `membership`, `raw`, and each claim by its name. Keys and messages are contrib's; nothing of a token is repeated to
//! the client or the log.

use std::sync::OnceLock;
use std::time::{Duration as StdDuration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use component::prelude::*;
use http::{HeaderMap, Uri};
use net::HttpClientConfig;
use net::auth::{Caller, Denied, Identity, ServerAuth};
use net::client::HttpClient;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::jwt::{Claims, Key, Token};
use crate::watched::Watched;

/// `oidc`.
pub(crate) static FACTORY: ExtensionFactory = ExtensionFactory {
    kind: "oidc",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    stability: Stability::Alpha,
    build: |section, cx| {
        Ok(Arc::new(Oidc {
            config: section.parse_valid()?,
            agent: cx.info.user_agent(),
            started: OnceLock::new(),
        }))
    },
};

/// `oidc`: where the token stands, and whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The header with the token, behind a scheme and a space. Default `authorization`.
    pub(crate) attribute: String,
    /// One or several; each has its own issuer.
    pub(crate) providers: Vec<Provider>,
    /// Deprecated, as the five below: the keys of one provider.
    pub(crate) issuer_url: String,
    /// Deprecated.
    pub(crate) audience: String,
    /// Deprecated.
    pub(crate) ignore_audience: bool,
    /// Deprecated.
    pub(crate) issuer_ca_path: String,
    /// Deprecated.
    pub(crate) username_claim: String,
    /// Deprecated.
    pub(crate) groups_claim: String,
}

/// One of `providers`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Provider {
    /// As the tokens say it; discovery begins there.
    pub(crate) issuer_url: String,
    /// One of the token's audiences.
    pub(crate) audience: String,
    /// Take tokens for anybody. Default false.
    pub(crate) ignore_audience: bool,
    /// Take tokens that name another issuer, if this one's keys signed them; only with one provider. Default false.
    pub(crate) ignore_issuer: bool,
    /// Authority of the issuer's certificate; default the system's.
    pub(crate) issuer_ca_path: String,
    /// The claim that is the attribute `subject`; default `sub`.
    pub(crate) username_claim: String,
    /// The claim that is the attribute `membership`.
    pub(crate) groups_claim: String,
    /// A key set (JWKS) instead of discovery; read again when it changes.
    pub(crate) public_keys_file: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            attribute: "authorization".into(),
            providers: Vec::new(),
            issuer_url: String::new(),
            audience: String::new(),
            ignore_audience: false,
            issuer_ca_path: String::new(),
            username_claim: String::new(),
            groups_claim: String::new(),
        }
    }
}

impl Config {
    /// All of them, the deprecated one first.
    fn all(&self) -> Vec<Provider> {
        let old = Provider {
            issuer_url: self.issuer_url.clone(),
            audience: self.audience.clone(),
            ignore_audience: self.ignore_audience,
            issuer_ca_path: self.issuer_ca_path.clone(),
            username_claim: self.username_claim.clone(),
            groups_claim: self.groups_claim.clone(),
            ..Provider::default()
        };
        let old = (old != Provider::default()).then_some(old);
        old.into_iter().chain(self.providers.iter().cloned()).collect()
    }
}

const NO_ISSUER: &str = "no IssuerURL provided for the OIDC configuration";

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut fault = |key: &str, text: String| faults.push((key.to_owned(), text));
        let all = self.all();
        if all.is_empty() {
            fault("", NO_ISSUER.into());
        }
        for (i, provider) in all.iter().enumerate() {
            let issuer = provider.issuer_url.as_str();
            if provider.audience.is_empty() && !provider.ignore_audience {
                fault("", "no Audience provided for the OIDC configuration".into());
            }
            if issuer.is_empty() {
                fault("", NO_ISSUER.into());
            } else if all[..i].iter().any(|other| other.issuer_url == issuer) {
                fault("providers", format!("duplicate issuer URL found: {issuer}"));
            } else if provider.public_keys_file.is_empty()
                && !["http://", "https://"]
                    .iter()
                    .any(|scheme| issuer.starts_with(scheme))
            {
                fault(
                    "",
                    format!("issuer_url {issuer:?} must begin with https:// or http://"),
                );
            }
            if provider.ignore_issuer && all.len() > 1 {
                let text = "ignore_issuer cannot be true when multiple providers are configured";
                fault("providers", text.into());
            }
        }
        if http::HeaderName::from_bytes(self.attribute.as_bytes()).is_err() {
            fault("attribute", format!("invalid header name \"{}\"", self.attribute));
        }
    }
}

struct Oidc {
    config: Config,
    agent: String,
    started: OnceLock<Arc<Verifier>>,
}

impl Extension for Oidc {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let mut issuers = Vec::new();
            for provider in self.config.all() {
                let issuer = Issuer::open(provider, &self.agent).await.map_err(|e| {
                    let text = "failed to get configuration from at least one configured auth server";
                    Fault::World(format!("{text}: {e}"))
                })?;
                issuers.push(issuer);
            }
            let verifier = Verifier {
                attribute: self.config.attribute.clone(),
                issuers,
            };
            let _ = self.started.set(Arc::new(verifier));
            Ok(())
        })
    }

    fn server_auth(&self) -> Option<Arc<dyn ServerAuth>> {
        self.started.get().map(|verifier| verifier.clone() as _)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}

// --- Tokens ---

struct Verifier {
    attribute: String,
    issuers: Vec<Issuer>,
}

impl Verifier {
    async fn verify(&self, caller: Caller<'_>) -> Result<Identity, Denied> {
        let denied = |text: &str| Denied::Unauthenticated(text.into());
        let header = caller.value(&self.attribute).filter(|h| !h.is_empty());
        let header = header.ok_or_else(|| denied("authentication didn't succeed"))?;
        let raw = match header.split_once(' ') {
            Some((_, raw)) if !raw.is_empty() && !raw.contains(' ') => raw,
            _ => return Err(denied("invalid authorization header format")),
        };
        let token = Token::read(raw).map_err(|e| denied(&format!("failed to parse the token: {e}")))?;
        let named = |issuer: &&Issuer| {
            token.claims.get("iss") == Some(&Value::from(issuer.config.issuer_url.as_str()))
        };
        let issuer = match self.issuers.as_slice() {
            [only] => only,
            several => several
                .iter()
                .find(named)
                .ok_or_else(|| denied("no OIDC provider configured for the issuer of the token"))?,
        };
        issuer.check_signature(&token).await?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |d| d.as_secs_f64());
        let checked = issuer.check_claims(&token.claims, now);
        checked.map_err(|e| denied(&format!("failed to verify token: {e}")))?;
        issuer.identity(&token.claims, raw).map_err(|e| denied(&e))
    }
}

impl ServerAuth for Verifier {
    fn authenticate<'a>(&'a self, caller: Caller<'a>) -> net::auth::BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(self.verify(caller))
    }
}

/// A provider and its keys.
struct Issuer {
    config: Provider,
    keys: Keys,
}

enum Keys {
    File(Watched<Arc<Vec<Key>>>),
    Remote(Box<Remote>),
}

/// Clocks of issuer and gateway may differ by as much before a token that is not valid yet is refused.
const NOT_BEFORE_LEEWAY_S: f64 = 300.0;

impl Issuer {
    async fn open(config: Provider, agent: &str) -> Result<Issuer, String> {
        let file = config.public_keys_file.as_str();
        let keys = if file.is_empty() {
            let remote = Remote::new(&config, agent)?;
            match remote.fetch().await {
                Ok(keys) => remote.keys.store(Some(Arc::new(keys))),
                Err(Unfetched::Wrong(error)) => {
                    let issuer = &config.issuer_url;
                    return Err(format!("failed to create OIDC provider for {issuer:?}: {error}"));
                }
                // An issuer that is away for a while must not keep the gateway from starting.
                Err(Unfetched::Away(error)) => {
                    warn!(issuer = %config.issuer_url, %error, "the issuer cannot be reached: its clients are refused until it can be");
                }
            }
            Keys::Remote(Box::new(remote))
        } else {
            let read = |text: &str| Key::read_set(text.as_bytes()).map(Arc::new);
            let watched = Watched::open(file, read);
            Keys::File(watched.map_err(|e| format!("failed to load JWKS file: {e}"))?)
        };
        Ok(Issuer { config, keys })
    }

    async fn check_signature(&self, token: &Token<'_>) -> Result<(), Denied> {
        let signed_by = |keys: &[Key]| {
            let of_token = |key: &&Key| token.key_id.is_none() || key.id.is_none() || key.id == token.key_id;
            keys.iter().filter(of_token).any(|key| token.is_signed_by(key))
        };
        let wrong = || {
            let text = "failed to verify token: failed to verify signature";
            Err(Denied::Unauthenticated(text.into()))
        };
        let remote = match &self.keys {
            Keys::File(file) => return if signed_by(&file.get()) { Ok(()) } else { wrong() },
            Keys::Remote(remote) => remote,
        };
        remote.refresh(REFRESH_AFTER, false).await;
        if remote.keys.load().as_deref().is_some_and(|keys| signed_by(keys)) {
            return Ok(());
        }
        remote.refresh(REFRESH_PAUSE, true).await;
        match remote.keys.load().as_deref() {
            Some(keys) if signed_by(keys) => Ok(()),
            Some(_) => wrong(),
            None => Err(Denied::Unavailable(
                "the keys of the issuer cannot be read now".into(),
            )),
        }
    }

    fn check_claims(&self, claims: &Claims, now_s: f64) -> Result<(), &'static str> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let number = |name: &str| claims.get(name).and_then(Value::as_f64);
        if !self.config.ignore_issuer && text("iss") != Some(self.config.issuer_url.as_str()) {
            return Err("the token is of another issuer");
        }
        let audience = self.config.audience.as_str();
        let is_for_us = match claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        };
        if !self.config.ignore_audience && !is_for_us {
            return Err("the token is for another audience");
        }
        if number("exp").is_none_or(|expiry| expiry <= now_s) {
            return Err("token is expired");
        }
        let not_before = claims.get("nbf").map(|_| number("nbf").unwrap_or(f64::INFINITY));
        if not_before.is_some_and(|start| start > now_s + NOT_BEFORE_LEEWAY_S) {
            return Err("the token is not valid yet");
        }
        Ok(())
    }

    fn identity(&self, claims: &Claims, raw: &str) -> Result<Identity, String> {
        let subject = match self.config.username_claim.as_str() {
            "" => claims.get("sub").and_then(Value::as_str).unwrap_or(""),
            name => claims
                .get(name)
                .ok_or("failed to get subject from claims in the token: username claim from the OIDC configuration not found on the token returned by the OIDC provider")?
                .as_str()
                .ok_or("failed to get subject from claims in the token: the username returned by the OIDC provider isn't a regular string")?,
        };
        let groups = match self.config.groups_claim.as_str() {
            "" => Vec::new(),
            name => match claims.get(name) {
                None => {
                    let text = "failed to get groups from claims in the token: groups claim from the OIDC configuration not found on the token returned by the OIDC provider";
                    return Err(text.into());
                }
                Some(Value::String(one)) => vec![one.clone()],
                Some(Value::Array(several)) => several.iter().map(plain).collect(),
                Some(_) => Vec::new(),
            },
        };
        let own = [
            ("subject".to_owned(), subject.to_owned()),
            ("membership".to_owned(), serde_json::json!(groups).to_string()),
            ("raw".to_owned(), raw.to_owned()),
        ];
        let others = claims
            .iter()
            .filter(|(name, _)| !own.iter().any(|(o, _)| o == *name));
        let others = others.map(|(name, value)| (name.clone(), plain(value)));
        Ok(Identity {
            attributes: own.iter().cloned().chain(others).collect(),
        })
    }
}

/// A text as it is, everything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

// --- Keys of a provider ---

/// Keys that are found by discovery.
struct Remote {
    issuer: String,
    client: HttpClient,
    keys: ArcSwapOption<Vec<Key>>,
    /// When they were last asked for; held while they are.
    asked: Mutex<Instant>,
}

/// Why there are no keys.
enum Unfetched {
    /// Nobody answered, or not now.
    Away(String),
    /// What was answered is not what an issuer says.
    Wrong(String),
}

const FETCH_TIMEOUT: StdDuration = StdDuration::from_secs(5);
const REFRESH_AFTER: StdDuration = StdDuration::from_secs(15 * 60);
const REFRESH_PAUSE: StdDuration = StdDuration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Remote {
    fn new(config: &Provider, agent: &str) -> Result<Remote, String> {
        let mut http = HttpClientConfig::default();
        http.tls.ca_file = config.issuer_ca_path.clone();
        let needs_tls = !config.issuer_url.starts_with("http://");
        Ok(Remote {
            issuer: config.issuer_url.clone(),
            client: HttpClient::new(&http, agent, FETCH_TIMEOUT, needs_tls)?,
            keys: ArcSwapOption::empty(),
            asked: Mutex::new(Instant::now()),
        })
    }

    /// Asks again if the last time is so long ago. One asks at a time; who comes meanwhile waits if `wait`, else goes
    /// on with what there is. What there is stays if nothing better comes.
    async fn refresh(&self, after: StdDuration, wait: bool) {
        let mut asked = match self.asked.try_lock() {
            Ok(asked) => asked,
            Err(_) if wait => self.asked.lock().await,
            Err(_) => return,
        };
        if asked.elapsed() < after {
            return;
        }
        *asked = Instant::now();
        match self.fetch().await {
            Ok(keys) => {
                info!(issuer = %self.issuer, keys = keys.len(), "the keys of the issuer were read");
                self.keys.store(Some(Arc::new(keys)));
            }
            Err(Unfetched::Away(error) | Unfetched::Wrong(error)) => {
                warn!(issuer = %self.issuer, %error, "the keys of the issuer cannot be read");
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Key>, Unfetched> {
        let place = format!(
            "{}/.well-known/openid-configuration",
            self.issuer.trim_end_matches('/')
        );
        let found: Discovery = serde_json::from_slice(&self.get(&place).await?)
            .map_err(|_| Unfetched::Wrong("the answer is no OpenID Connect configuration".into()))?;
        if found.issuer != self.issuer {
            let text = format!(
                "issuer did not match: the provider calls itself {:?}",
                found.issuer
            );
            return Err(Unfetched::Wrong(text));
        }
        Key::read_set(&self.get(&found.jwks_uri).await?).map_err(Unfetched::Wrong)
    }

    async fn get(&self, url: &str) -> Result<bytes::Bytes, Unfetched> {
        let uri: Uri = url
            .parse()
            .map_err(|_| Unfetched::Wrong(format!("{url:?} is no URL")))?;
        let reply = self.client.get(&uri, &HeaderMap::new(), ANSWER_BYTES_MAX).await;
        let reply = reply.map_err(|e| Unfetched::Away(format!("{url}: {e}")))?;
        match reply.status.as_u16() {
            200 => Ok(reply.body),
            code @ (408 | 429 | 500..) => Err(Unfetched::Away(format!("{url} answered {code}"))),
            code => Err(Unfetched::Wrong(format!("{url} answered {code}"))),
        }
    }
}

#[cfg(test)]
mod tests;

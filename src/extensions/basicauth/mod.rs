//! Extension `basicauth`: user and password (RFC 7617), on either side.
//!
//! With `htpasswd` it says who calls a server; with `client_auth` it says who an exporter is. Files are read again when
//! they change. Costly checks (bcrypt and its like) run beside the threads that serve, a few at a time; a pair that was
//! good once is known again without them, until the table changes. Keys are contrib's.

mod crypt;
mod htpasswd;

use std::collections::HashSet;
use std::sync::OnceLock;

use aws_lc_rs::hmac;
use codec::base64::{self, Alphabet};
use component::prelude::*;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use net::auth::{Caller, ClientAuth as OwnClientAuth, Denied, Identity, ServerAuth};
use net::client::BoxError;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::watched::{Credential, Watched};
use htpasswd::Table;

/// `basicauth`.
pub(crate) static FACTORY: ExtensionFactory = ExtensionFactory {
    kind: "basicauth",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    stability: Stability::Alpha,
    build: |section, cx| {
        Ok(Arc::new(BasicAuth {
            config: section.parse_valid()?,
            id: cx.id.to_string(),
            server: OnceLock::new(),
            client: OnceLock::new(),
        }))
    },
};

/// `basicauth`: one of the two.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Who may send to a server.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub(crate) htpasswd: Optional<Htpasswd>,
    /// Who an exporter is.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub(crate) client_auth: Optional<ClientAuth>,
}

/// Users of a server; at least one of the two.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Htpasswd {
    /// A file of lines `user:hash`; read again when it changes.
    pub(crate) file: String,
    /// Such lines here; they win over those of the file.
    pub(crate) inline: Secret<String>,
}

/// Credentials of a client.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClientAuth {
    /// Without a colon.
    pub(crate) username: String,
    /// Wins over `username`; read again when it changes.
    pub(crate) username_file: String,
    /// As it is.
    pub(crate) password: Secret<String>,
    /// Wins over `password`; read again when it changes.
    pub(crate) password_file: String,
    /// Known, and refused: credentials come from the configuration or from files.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub(crate) aws_secrets_manager: Optional<Section>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            htpasswd: Optional::None,
            client_auth: Optional::None,
        }
    }
}

impl Default for ClientAuth {
    fn default() -> ClientAuth {
        ClientAuth {
            username: String::new(),
            username_file: String::new(),
            password: Secret::default(),
            password_file: String::new(),
            aws_secrets_manager: Optional::None,
        }
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let mut fault = |key: &str, text: &str| faults.push((key.to_owned(), text.to_owned()));
        match (self.htpasswd.get(), self.client_auth.get()) {
            (None, None) => fault("", NO_SOURCE),
            (Some(_), Some(_)) => fault(
                "client_auth",
                "only one of `htpasswd` or `client_auth` can be specified",
            ),
            (Some(table), None) if table.file.is_empty() && table.inline.expose().is_empty() => {
                fault("htpasswd", NO_SOURCE);
            }
            (None, Some(client)) if client.aws_secrets_manager.is_on() => fault(
                "client_auth.aws_secrets_manager",
                "aws_secrets_manager is not supported; use username_file and password_file",
            ),
            (None, Some(client)) if client.username.contains(':') => {
                fault(
                    "client_auth.username",
                    "invalid authorization format: a username has no colon",
                );
            }
            _ => {}
        }
    }
}

const NO_SOURCE: &str = "no credential source provided";

struct BasicAuth {
    config: Config,
    id: String,
    server: OnceLock<Arc<Server>>,
    client: OnceLock<Arc<Client>>,
}

impl BasicAuth {
    fn open(&self) -> Result<(), String> {
        if let Some(config) = self.config.htpasswd.get() {
            let _ = self.server.set(Arc::new(Server::open(config, &self.id)?));
        }
        if let Some(config) = self.config.client_auth.get() {
            let _ = self.client.set(Arc::new(Client::open(config)?));
        }
        Ok(())
    }
}

impl Extension for BasicAuth {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        ready(self.open().map_err(Fault::World))
    }

    fn server_auth(&self) -> Option<Arc<dyn ServerAuth>> {
        self.server.get().map(|server| server.clone() as _)
    }

    fn client_auth(&self) -> Option<Arc<dyn OwnClientAuth>> {
        self.client.get().map(|client| client.clone() as _)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}

// --- Server ---

struct Server {
    users: Users,
    /// Costly checks that run at once.
    checks: Semaphore,
}

enum Users {
    Inline(Arc<Known>),
    File(Watched<Arc<Known>>),
}

/// A table, and which pairs were good.
struct Known {
    table: Table,
    key: hmac::Key,
    /// Keyed digests of user and password; emptied when full.
    good: Mutex<HashSet<[u8; 32]>>,
}

const GOOD_MAX: usize = 4096;

impl Server {
    fn open(config: &Htpasswd, id: &str) -> Result<Server, String> {
        let inline = config.inline.clone();
        let id = id.to_owned();
        let read = move |file: &str| {
            let table = Table::read(&[file, inline.expose()]);
            if !table.bad_lines.is_empty() {
                let lines = &table.bad_lines[..table.bad_lines.len().min(10)];
                warn!(component = %id, ?lines, "lines of the htpasswd content cannot be read and count for nothing");
            }
            Known::new(table).map(Arc::new)
        };
        let users = match config.file.as_str() {
            "" => Users::Inline(read("")?),
            file => {
                let watched = Watched::open(file, read);
                Users::File(watched.map_err(|e| format!("open htpasswd file: {e}"))?)
            }
        };
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Server {
            users,
            checks: Semaphore::new(cpus.div_ceil(2).min(4)),
        })
    }

    async fn check(&self, user: &str, password: &str) -> Result<(), Denied> {
        let known = match &self.users {
            Users::Inline(known) => known.clone(),
            Users::File(file) => (*file.get()).clone(),
        };
        let pair = known.digest(user, password);
        if known.good.lock().contains(&pair) {
            return Ok(());
        }
        let good = if known.table.is_costly() {
            let busy = |_| Denied::Unavailable("the password cannot be checked now".into());
            let _permit = self.checks.acquire().await.map_err(busy)?;
            let (known, user, password) = (known.clone(), user.to_owned(), Secret::new(password.to_owned()));
            let work = tokio::task::spawn_blocking(move || known.table.verify(&user, password.expose()));
            work.await.unwrap_or(false)
        } else {
            known.table.verify(user, password)
        };
        if !good {
            return Err(Denied::Unauthenticated("invalid credentials".into()));
        }
        let mut all = known.good.lock();
        if all.len() >= GOOD_MAX {
            all.clear();
        }
        all.insert(pair);
        Ok(())
    }
}

impl Known {
    fn new(table: Table) -> Result<Known, String> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| "no random bytes".to_owned())?;
        Ok(Known {
            table,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            good: Mutex::default(),
        })
    }

    fn digest(&self, user: &str, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password.as_bytes());
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

impl ServerAuth for Server {
    fn authenticate<'a>(&'a self, caller: Caller<'a>) -> net::auth::BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(async move {
            let header = caller.value("authorization").filter(|h| !h.is_empty());
            let denied = |text: &str| Denied::Unauthenticated(text.into());
            let header = header.ok_or_else(|| denied("no basic auth provided"))?;
            let raw = match header.split_at_checked("Basic ".len()) {
                Some((scheme, rest)) if scheme.eq_ignore_ascii_case("Basic ") => rest,
                _ => return Err(denied("invalid authorization scheme prefix")),
            };
            let decoded = base64::decode(Alphabet::Standard, raw).and_then(|b| String::from_utf8(b).ok());
            let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
            let (user, password) = pair.ok_or_else(|| denied("invalid authorization format"))?;
            self.check(user, password).await?;
            Ok(Identity {
                attributes: vec![
                    ("username".into(), user.to_owned()),
                    ("raw".into(), raw.to_owned()),
                ],
            })
        })
    }
}

// --- Client ---

struct Client {
    username: Credential,
    password: Credential,
}

impl Client {
    fn open(config: &ClientAuth) -> Result<Client, String> {
        let username = Secret::new(config.username.clone());
        Ok(Client {
            username: Credential::open(&username, &config.username_file)?,
            password: Credential::open(&config.password, &config.password_file)?,
        })
    }

    fn header(&self) -> Result<HeaderValue, String> {
        let (username, password) = (self.username.get(), self.password.get());
        if username.expose().contains(':') {
            return Err("invalid authorization format: a username has no colon".into());
        }
        let pair = format!("{}:{}", username.expose(), password.expose());
        let text = format!("Basic {}", base64::encode(Alphabet::Standard, pair.as_bytes()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| "invalid authorization format")?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl OwnClientAuth for Client {
    fn authorize<'a>(
        &'a self,
        headers: &'a mut HeaderMap,
        _: &'a Context,
    ) -> net::auth::BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            headers.insert(AUTHORIZATION, self.header()?);
            Ok(())
        })
    }

    fn refused(&self) -> net::auth::BoxFuture<'_, bool> {
        // Both: a pair changes together.
        let changed = [self.username.refresh(), self.password.refresh()];
        Box::pin(std::future::ready(changed.contains(&true)))
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

    component::component_tests!(FACTORY, "htpasswd: {inline: 'a:b'}");

    async fn start(yaml: &str) -> Arc<dyn Extension> {
        let built = (FACTORY.build)(section(yaml), &context("basicauth"));
        let built = built.unwrap_or_else(|fault| panic!("{fault}"));
        built.start(Arc::new(Lonely::default())).await.unwrap();
        built
    }

    async fn ask(auth: &dyn ServerAuth, header: Option<&str>) -> Result<Identity, Denied> {
        let mut headers = HeaderMap::new();
        if let Some(text) = header {
            headers.insert(AUTHORIZATION, text.parse().unwrap());
        }
        let peer = Peer::default();
        let caller = Caller {
            headers: &headers,
            params: &[],
            peer: &peer,
        };
        auth.authenticate(caller).await
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", base64::encode(Alphabet::Standard, pair.as_bytes()))
    }

    #[test]
    fn tells_faults() {
        let check = |yaml: &str, expected: &str| {
            let told = faults((FACTORY.build)(section(yaml), &context("basicauth")));
            assert!(told.contains(expected), "{told}");
        };
        check("{}", "no credential source provided");
        check("htpasswd:", "no credential source provided");
        check("htpasswd: {}", "no credential source provided");
        check(
            "{htpasswd: {inline: 'a:b'}, client_auth: {username: a}}",
            "only one of `htpasswd` or `client_auth` can be specified",
        );
        check("client_auth: {username: 'a:b'}", "invalid authorization format");
        check(
            "client_auth: {aws_secrets_manager: {secret_arn: x}}",
            "aws_secrets_manager is not supported",
        );
        check("htpasswd: {inlin: x}", "inlin");
    }

    #[tokio::test]
    async fn lets_in_whom_the_table_knows() {
        let extension = start("htpasswd: {inline: \"a:secret:x\\nb:$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\"}").await;
        assert!(extension.client_auth().is_none());
        let auth = extension.server_auth().expect("a server authenticator");
        let identity = ask(&*auth, Some(&basic("a:secret:x"))).await.unwrap();
        assert_eq!(identity.attributes[0], ("username".to_owned(), "a".to_owned()));
        assert_eq!(
            identity.attributes[1],
            ("raw".to_owned(), basic("a:secret:x")[6..].to_owned())
        );
        for _ in 0..2 {
            assert!(
                ask(&*auth, Some(&basic("b:U*U").replace("Basic", "bAsIc")))
                    .await
                    .is_ok()
            );
        }
        let check = |told: Result<Identity, Denied>, expected: &str| {
            assert_eq!(told, Err(Denied::Unauthenticated(expected.into())));
        };
        check(ask(&*auth, None).await, "no basic auth provided");
        check(ask(&*auth, Some("")).await, "no basic auth provided");
        check(
            ask(&*auth, Some("Bearer x")).await,
            "invalid authorization scheme prefix",
        );
        check(
            ask(&*auth, Some("Basic")).await,
            "invalid authorization scheme prefix",
        );
        check(ask(&*auth, Some("Basic !")).await, "invalid authorization format");
        check(
            ask(&*auth, Some("Basic YQ==")).await,
            "invalid authorization format",
        );
        check(ask(&*auth, Some(&basic("a:secret"))).await, "invalid credentials");
        check(ask(&*auth, Some(&basic("b:U*u"))).await, "invalid credentials");
        check(ask(&*auth, Some(&basic("c:x"))).await, "invalid credentials");
        check(ask(&*auth, Some(&basic(":"))).await, "invalid credentials");
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_counts_at_once_for_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("htpasswd");
        std::fs::write(&path, "a:old\nb:file\n").unwrap();
        let yaml = format!("htpasswd: {{file: '{}', inline: 'b:inline'}}", path.display());
        let auth = start(&yaml).await.server_auth().unwrap();
        assert!(ask(&*auth, Some(&basic("a:old"))).await.is_ok());
        assert!(ask(&*auth, Some(&basic("b:inline"))).await.is_ok());
        assert!(ask(&*auth, Some(&basic("b:file"))).await.is_err());
        std::fs::write(&path, "a:new\n").unwrap();
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert!(ask(&*auth, Some(&basic("a:new"))).await.is_ok());
        assert!(ask(&*auth, Some(&basic("a:old"))).await.is_err());
        assert!(ask(&*auth, Some(&basic("b:inline"))).await.is_ok());
    }

    #[tokio::test]
    async fn a_client_says_its_pair_and_reads_it_again_when_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "one\n").unwrap();
        let yaml = format!(
            "client_auth: {{username: a, password: unused, password_file: '{}'}}",
            path.display()
        );
        let extension = start(&yaml).await;
        assert!(extension.server_auth().is_none());
        let auth = extension.client_auth().unwrap();
        assert!(auth.needs_tls());
        let said = async || {
            let mut headers = HeaderMap::new();
            auth.authorize(&mut headers, &Context::default()).await.unwrap();
            let value = headers.remove(AUTHORIZATION).unwrap();
            assert_eq!(format!("{value:?}"), "Sensitive");
            value.to_str().unwrap().to_owned()
        };
        assert_eq!(said().await, basic("a:one"));
        assert!(!auth.refused().await);
        std::fs::write(&path, "two").unwrap();
        assert!(auth.refused().await);
        assert_eq!(said().await, basic("a:two"));
    }

    #[test]
    fn no_secret_is_shown() {
        let yaml = "{htpasswd: {inline: 'a:hunter2'}, client_auth: {username: a, password: hunter2}}";
        let config: Config = section(yaml).parse().unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let told = faults((FACTORY.build)(section(yaml), &context("basicauth")));
        assert!(!told.contains("hunter2"), "{told}");
    }
}

//! How the API server is reached: where it is, whom it believes, and who we are.
//!
//! In a pod by the service account that is mounted there, whose token is read again every minute as it changes;
//! elsewhere by a kubeconfig. Proxies of the environment do not count: the server is the cluster's own.

use std::path::PathBuf;
use std::time::Duration;

use config::Secret;
use http::Uri;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use net::HttpClientConfig;
use net::client::{HttpClient, HttpReply, HttpStream, Means};
use net::proxy::Proxies;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::AuthType;
use super::kubeconfig;
use super::object::Kind;

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_AGE_MAX: Duration = Duration::from_secs(60);
/// Of a page of 500 pods.
const PAGE_BYTES_MAX: usize = 128 << 20;
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is needed to reach a server.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// `https://10.0.0.1:443`.
    pub(super) server: String,
    pub(super) tls: net::tls::ClientTls,
    pub(super) credential: Credential,
}

/// Who we are.
#[derive(Debug, Default)]
pub(super) enum Credential {
    /// Nobody, or whom the certificate says.
    #[default]
    None,
    /// What stands in `Authorization`.
    Fixed(Secret<String>),
    /// A bearer token that is in a file.
    File(PathBuf),
}

/// A server that can be asked.
pub(super) struct Access {
    client: HttpClient,
    server: String,
    credential: Credential,
    /// What was read of the file, and when.
    token: Mutex<Option<(HeaderValue, Instant)>>,
}

impl Settings {
    /// Out of the world around. `variable` reads the environment.
    pub(super) fn find(
        auth: AuthType,
        context: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Settings, String> {
        if auth == AuthType::KubeConfig {
            return kubeconfig::find(context, variable);
        }
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let (Some(host), Some(port)) = (set("KUBERNETES_SERVICE_HOST"), set("KUBERNETES_SERVICE_PORT"))
        else {
            return Err(
                "unable to load k8s config, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be \
                        defined: outside of a cluster use auth_type kubeConfig"
                    .into(),
            );
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        let mut tls = net::tls::ClientTls::default();
        let credential = match auth {
            AuthType::None => {
                tls.insecure_skip_verify = true;
                Credential::None
            }
            _ => {
                tls.ca_file = format!("{ACCOUNT}/ca.crt");
                tls.reload_interval = config::Duration(Duration::from_secs(300));
                Credential::File(format!("{ACCOUNT}/token").into())
            }
        };
        Ok(Settings {
            server: format!("https://{host}:{port}"),
            tls,
            credential,
        })
    }
}

impl Access {
    /// Reads certificates; connects to nothing.
    pub(super) fn new(settings: Settings, agent: &str) -> Result<Access, String> {
        let config = HttpClientConfig {
            tls: settings.tls,
            force_attempt_http2: true,
            http2_read_idle_timeout: config::Duration(Duration::from_secs(30)),
            http2_ping_timeout: config::Duration(Duration::from_secs(15)),
            ..HttpClientConfig::default()
        };
        let means = Means {
            proxies: Proxies::default(),
            ..Means::default()
        };
        let needs_tls = settings.server.starts_with("https://");
        Ok(Access {
            client: HttpClient::with(&config, agent, TIMEOUT, needs_tls, means)?,
            server: settings.server.trim_end_matches('/').to_owned(),
            credential: settings.credential,
            token: Mutex::default(),
        })
    }

    /// The whole answer.
    pub(super) async fn get(&self, kind: Kind, path_and_query: &str) -> Result<HttpReply, String> {
        let headers = self.headers(kind, true).await?;
        let uri = self.uri(path_and_query)?;
        let reply = self.client.get_here(&uri, &headers, PAGE_BYTES_MAX).await;
        let reply = reply.map_err(|e| e.to_string())?;
        self.heed(reply.status);
        Ok(reply)
    }

    /// The answer as it comes.
    pub(super) async fn open(&self, kind: Kind, path_and_query: &str) -> Result<HttpStream, String> {
        let headers = self.headers(kind, false).await?;
        let stream = self.client.open(&self.uri(path_and_query)?, &headers).await;
        let stream = stream.map_err(|e| e.to_string())?;
        self.heed(stream.status);
        Ok(stream)
    }

    /// A token that is not believed is read again.
    fn heed(&self, status: http::StatusCode) {
        if status == http::StatusCode::UNAUTHORIZED {
            *self.token.lock() = None;
        }
    }

    fn uri(&self, path_and_query: &str) -> Result<Uri, String> {
        let text = format!("{}{path_and_query}", self.server);
        text.parse()
            .map_err(|e| format!("the server's address is none: {e}"))
    }

    async fn headers(&self, kind: Kind, is_list: bool) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let accept = match (kind.is_whole(), is_list) {
            (true, _) => "application/json",
            (false, true) => {
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
            }
            (false, false) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if let Some(value) = self.authorization().await? {
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let sensitive = |text: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| "the credential is no header's value")?;
            value.set_sensitive(true);
            Ok::<HeaderValue, String>(value)
        };
        match &self.credential {
            Credential::None => Ok(None),
            Credential::Fixed(text) => sensitive(text.expose()).map(Some),
            Credential::File(path) => {
                if let Some((value, read)) = &*self.token.lock()
                    && read.elapsed() < TOKEN_AGE_MAX
                {
                    return Ok(Some(value.clone()));
                }
                let text = tokio::fs::read_to_string(path).await;
                let text = text.map_err(|e| format!("the token cannot be read: {}: {e}", path.display()))?;
                let value = sensitive(&format!("Bearer {}", text.trim()))?;
                *self.token.lock() = Some((value.clone(), Instant::now()));
                Ok(Some(value))
            }
        }
    }
}

//! `tls` of a server: who it says it is, whom it lets in, and what it reads again while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use config::{Duration, Secret};
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Error, Handshake, Identity, Tpm, certificates, identity};

/// `tls` of a server.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTls {
    /// Certificate chain, PEM file.
    pub cert_file: String,
    /// The same in line.
    pub cert_pem: Secret<String>,
    /// Its key, PEM file.
    pub key_file: String,
    /// The same in line.
    pub key_pem: Secret<String>,
    /// Authorities of clients: set = certificates are required and verified.
    pub client_ca_file: String,
    /// `client_ca_file` is read again at handshakes, at most once a second. One that cannot be used changes nothing.
    pub client_ca_file_reload: bool,
    /// Authorities of servers: servers have no use for them, and read them all the same, as the collector does.
    pub ca_file: String,
    /// The same in line.
    pub ca_pem: Secret<String>,
    /// Without effect on a server.
    pub include_system_ca_certs_pool: bool,
    /// `1.0` to `1.3`; below 1.2 means 1.2.
    pub min_version: String,
    /// `1.0` to `1.3`; empty = 1.3.
    pub max_version: String,
    /// Certificate and key are read again at the first handshake after that long; 0 = never. A pair that cannot be
    /// used changes nothing.
    pub reload_interval: Duration,
    /// TLS 1.2 suites by Go's names; empty = all that are safe.
    pub cipher_suites: Vec<String>,
    /// Names of insecure suites may stand in `cipher_suites`. None of them is ever used.
    pub include_insecure_cipher_suites: bool,
    /// Key exchange groups by Go's names, the most liked first; empty = all.
    pub curve_preferences: Vec<String>,
    /// A key in a TPM: refused.
    pub tpm: Tpm,
}

impl ServerTls {
    /// Faults that show without reading a file: key below this block, and what is wrong.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = self.handshake().faults();
        faults.extend(self.tpm.faults());
        if !self.ca_file.is_empty() && !self.ca_pem.expose().is_empty() {
            let text = "provide either a CA file or the PEM-encoded string, but not both";
            faults.push(("ca_file", text.into()));
        }
        let cert = !self.cert_file.is_empty() || !self.cert_pem.expose().is_empty();
        let key = !self.key_file.is_empty() || !self.key_pem.expose().is_empty();
        if !cert || !key {
            let text = "TLS configuration must include both certificate and key for server connections";
            faults.push((if cert { "key_file" } else { "cert_file" }, text.into()));
        }
        faults
    }

    fn handshake(&self) -> Handshake<'_> {
        Handshake {
            min_version: &self.min_version,
            max_version: &self.max_version,
            cipher_suites: &self.cipher_suites,
            include_insecure: self.include_insecure_cipher_suites,
            curves: &self.curve_preferences,
        }
    }

    /// Reads the files; what comes back reads them again as the block says. `alpn` in order of preference.
    ///
    /// Errors name the file that cannot be read, or what in it cannot be used.
    pub fn load(&self, alpn: &[&[u8]]) -> Result<Arc<Acceptor>, Error> {
        certificates(&self.ca_file, &self.ca_pem)?;
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|p| p.to_vec()).collect();
        let (identity, clients) = (self.identity()?, self.clients()?);
        let config = self.build(&identity, &clients, &alpn)?;
        let now = Instant::now();
        Ok(Arc::new(Acceptor {
            block: self.clone(),
            alpn,
            state: Mutex::new(State {
                config,
                identity,
                clients,
                identity_read: now,
                clients_read: now,
                reading: false,
                failing: false,
            }),
        }))
    }

    fn identity(&self) -> Result<Identity, Error> {
        identity(&self.cert_file, &self.cert_pem, &self.key_file, &self.key_pem)?.ok_or_else(|| {
            Error("TLS configuration must include both certificate and key for server connections".into())
        })
    }

    fn clients(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let found = certificates(&self.client_ca_file, &Secret::default())?;
        if found.is_empty() && !self.client_ca_file.is_empty() {
            return Err(Error(format!("{} holds no certificate", self.client_ca_file)));
        }
        Ok(found)
    }

    fn build(
        &self,
        (chain, key): &Identity,
        clients: &[CertificateDer<'static>],
        alpn: &[Vec<u8>],
    ) -> Result<Arc<rustls::ServerConfig>, Error> {
        let (provider, versions) = self.handshake().settle()?;
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(|e| Error(format!("TLS versions: {e}")))?;
        let builder = if clients.is_empty() {
            builder.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for certificate in clients {
                roots
                    .add(certificate.clone())
                    .map_err(|e| Error(format!("client_ca_file: {e}")))?;
            }
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|e| Error(format!("client_ca_file: {e}")))?;
            builder.with_client_cert_verifier(verifier)
        };
        let mut config = builder
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|e| Error(format!("server certificate: {e}")))?;
        config.alpn_protocols = alpn.to_vec();
        Ok(Arc::new(config))
    }
}

/// How often `client_ca_file_reload` looks.
const CLIENTS_INTERVAL: StdDuration = StdDuration::from_secs(1);

/// What a server shakes hands with; as fresh as its block wants it.
pub struct Acceptor {
    block: ServerTls,
    alpn: Vec<Vec<u8>>,
    state: Mutex<State>,
}

struct State {
    config: Arc<rustls::ServerConfig>,
    identity: Identity,
    clients: Vec<CertificateDer<'static>>,
    identity_read: Instant,
    clients_read: Instant,
    /// Somebody reads the files now.
    reading: bool,
    /// The last reading failed, and was told.
    failing: bool,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("block", &self.block).finish()
    }
}

impl Acceptor {
    /// The configuration for the next handshake. Where files are due to be read again, waits for that.
    ///
    /// A changed certificate or authority starts with an empty session cache: nobody resumes what it ended.
    pub async fn config(self: &Arc<Self>) -> Arc<rustls::ServerConfig> {
        if let Some(due) = self.due() {
            let this = self.clone();
            // A panic there leaves what was.
            let _ = tokio::task::spawn_blocking(move || this.reload(due)).await;
        }
        self.state.lock().config.clone()
    }

    fn due(&self) -> Option<Due> {
        let interval = self.block.reload_interval.0;
        let mut state = self.state.lock();
        let due = Due {
            identity: !interval.is_zero() && state.identity_read.elapsed() >= interval,
            clients: self.block.client_ca_file_reload
                && !self.block.client_ca_file.is_empty()
                && state.clients_read.elapsed() >= CLIENTS_INTERVAL,
        };
        if state.reading || !(due.identity || due.clients) {
            return None;
        }
        state.reading = true;
        Some(due)
    }

    fn reload(&self, due: Due) {
        let read = self.read(due);
        let mut state = self.state.lock();
        let now = Instant::now();
        if due.identity {
            state.identity_read = now;
        }
        if due.clients {
            state.clients_read = now;
        }
        state.reading = false;
        match read {
            Ok(fresh) => {
                if let Some(fresh) = fresh {
                    (state.config, state.identity, state.clients) = fresh;
                    tracing::info!("TLS certificates were read again");
                }
                state.failing = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut state.failing, true) {
                    tracing::warn!(%error, "TLS certificates cannot be read again; those from before stay in use");
                }
            }
        }
    }

    /// What has changed, if anything.
    fn read(&self, due: Due) -> Result<Option<Fresh>, Error> {
        let (mut identity, mut clients) = {
            let state = self.state.lock();
            let (chain, key) = &state.identity;
            ((chain.clone(), key.clone_key()), state.clients.clone())
        };
        let mut changed = false;
        if due.identity {
            let read = self.block.identity()?;
            changed |= read != identity;
            identity = read;
        }
        if due.clients {
            let read = self.block.clients()?;
            changed |= read != clients;
            clients = read;
        }
        if !changed {
            return Ok(None);
        }
        let config = self.block.build(&identity, &clients, &self.alpn)?;
        Ok(Some((config, identity, clients)))
    }
}

#[derive(Clone, Copy)]
struct Due {
    identity: bool,
    clients: bool,
}

type Fresh = (Arc<rustls::ServerConfig>, Identity, Vec<CertificateDer<'static>>);

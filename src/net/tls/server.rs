//! `tls` of a server: who it says it is, whom it lets in, and what it reads again while it runs.

use std::sync::Arc;

use config::{Duration, Secret};
use rustls::RootCertStore;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Error, Handshake, Tpm, certificates, identity};

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
    /// Read `client_ca_file` again when it changes. Only false is supported.
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
    /// How often certificates are read again. Only 0 (never) is supported.
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
        if self.client_ca_file_reload {
            faults.push(("client_ca_file_reload", "not supported yet".into()));
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

    /// Reads the files and builds the configuration; `alpn` in order of preference.
    pub fn load(&self, alpn: &[&[u8]]) -> Result<Arc<rustls::ServerConfig>, Error> {
        let (provider, versions) = self.handshake().settle()?;
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(|e| Error(format!("TLS versions: {e}")))?;
        let builder = if self.client_ca_file.is_empty() {
            builder.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&self.client_ca_file, &Secret::default())? {
                roots
                    .add(certificate)
                    .map_err(|e| Error(format!("client_ca_file: {e}")))?;
            }
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|e| Error(format!("client_ca_file: {e}")))?;
            builder.with_client_cert_verifier(verifier)
        };
        let (chain, key) = identity(&self.cert_file, &self.cert_pem, &self.key_file, &self.key_pem)?
            .ok_or_else(|| {
                Error("TLS configuration must include both certificate and key for server connections".into())
            })?;
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|e| Error(format!("server certificate: {e}")))?;
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

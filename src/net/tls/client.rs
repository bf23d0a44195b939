//! `tls` of a client: whom it believes, and who it says it is.

use std::fmt;
use std::sync::Arc;

use config::{Duration, Secret};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::warn;

use super::{Error, Handshake, Tpm, certificates, identity};

/// `tls` of a client.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// Plaintext, unless a CA is given.
    pub insecure: bool,
    /// Believes any certificate.
    pub insecure_skip_verify: bool,
    /// Name to send and to verify instead of the endpoint's host.
    pub server_name_override: String,
    /// PEM file of the authorities to believe; none = the system's.
    pub ca_file: String,
    /// The same in line.
    pub ca_pem: Secret<String>,
    /// Believe the system's authorities beside `ca_file`.
    pub include_system_ca_certs_pool: bool,
    /// Certificate chain to show, PEM file.
    pub cert_file: String,
    /// The same in line.
    pub cert_pem: Secret<String>,
    /// Its key, PEM file.
    pub key_file: String,
    /// The same in line.
    pub key_pem: Secret<String>,
    /// `1.0` to `1.3`; below 1.2 means 1.2.
    pub min_version: String,
    /// `1.0` to `1.3`; empty = 1.3.
    pub max_version: String,
    /// Files are read again for a connection that is made this long after the last reading; 0 = never.
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

impl ClientTls {
    /// Whether connections are to be encrypted.
    pub fn is_on(&self) -> bool {
        !self.insecure || !self.ca_file.is_empty() || !self.ca_pem.expose().is_empty()
    }

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
        if cert != key {
            let text = "TLS configuration must include both certificate and key (CertFile/CertPem and KeyFile/KeyPem)";
            faults.push((if cert { "key_file" } else { "cert_file" }, text.into()));
        }
        faults
    }

    /// Reads the files and builds the configuration; `alpn` in order of preference.
    pub fn load(&self, alpn: &[&[u8]]) -> Result<Arc<rustls::ClientConfig>, Error> {
        let (provider, versions) = self.handshake().settle()?;
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(|e| Error(format!("TLS versions: {e}")))?;
        let builder = if self.insecure_skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(BelieveAnyone(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut config = match identity(&self.cert_file, &self.cert_pem, &self.key_file, &self.key_pem)? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| Error(format!("client certificate: {e}")))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// The same for a client that lives: files are read again by `reload_interval`.
    pub fn reloading(&self, alpn: &[&[u8]]) -> Result<Reloading, Error> {
        Ok(Reloading {
            loaded: Mutex::new((Instant::now(), self.load(alpn)?)),
            tls: self.clone(),
            alpn: alpn.iter().map(|p| p.to_vec()).collect(),
        })
    }

    fn has_files(&self) -> bool {
        [&self.ca_file, &self.cert_file, &self.key_file]
            .iter()
            .any(|f| !f.is_empty())
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

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        let given = certificates(&self.ca_file, &self.ca_pem)?;
        let none_given = given.is_empty();
        for certificate in given {
            roots
                .add(certificate)
                .map_err(|e| Error(format!("ca_file: {e}")))?;
        }
        if none_given || self.include_system_ca_certs_pool {
            let native = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(native.certs);
            if roots.is_empty() {
                return Err(Error(
                    "no certificate authorities found on this system; set tls.ca_file".into(),
                ));
            }
        }
        Ok(roots)
    }
}

/// A client's TLS configuration, read again when it is due and a connection is to be made.
///
/// Files that cannot be used leave the old ones in use, with a warning. Other than in the collector authorities are read
/// again too.
pub struct Reloading {
    tls: ClientTls,
    alpn: Vec<Vec<u8>>,
    loaded: Mutex<(Instant, Arc<rustls::ClientConfig>)>,
}

impl Reloading {
    /// What the next handshake goes by. Files are read on a blocking thread.
    pub async fn current(&self) -> Arc<rustls::ClientConfig> {
        let every = self.tls.reload_interval.0;
        let mut loaded = self.loaded.lock().await;
        if every.is_zero() || !self.tls.has_files() || loaded.0.elapsed() < every {
            return loaded.1.clone();
        }
        let (tls, alpn) = (self.tls.clone(), self.alpn.clone());
        let read = tokio::task::spawn_blocking(move || {
            let alpn: Vec<&[u8]> = alpn.iter().map(Vec::as_slice).collect();
            tls.load(&alpn)
        });
        match read.await {
            Ok(Ok(config)) => loaded.1 = config,
            Ok(Err(error)) => warn!(%error, "cannot read certificates again, the old ones stay in use"),
            Err(error) => warn!(%error, "cannot read certificates again, the old ones stay in use"),
        }
        loaded.0 = Instant::now();
        loaded.1.clone()
    }
}

/// `insecure_skip_verify`: signatures are checked, names and chains are not.
struct BelieveAnyone(Arc<rustls::crypto::CryptoProvider>);

impl fmt::Debug for BelieveAnyone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BelieveAnyone")
    }
}

impl ServerCertVerifier for BelieveAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

//! TLS blocks of the configuration, made into rustls configurations.
//!
//! Keys and defaults are configtls's. One crypto provider (aws-lc-rs), TLS 1.2 and 1.3. `insecure_skip_verify` lives in
//! this file alone. Not supported yet, and refused: cipher suites, curve preferences, reloading, TPM keys.

use std::fmt;
use std::sync::Arc;

use config::{Duration, Secret};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use serde::Deserialize;

/// `tls` of a client.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
    /// How often certificates are read again. Only 0 (never) is supported.
    pub reload_interval: Duration,
    /// TLS 1.2 suites by Go's names. Only the empty list is supported.
    pub cipher_suites: Vec<String>,
    /// Key exchange groups. Only the empty list is supported.
    pub curve_preferences: Vec<String>,
}

/// `tls` of a server.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
    /// Unused by servers; accepted as the collector does.
    pub ca_file: String,
    /// `1.0` to `1.3`; below 1.2 means 1.2.
    pub min_version: String,
    /// `1.0` to `1.3`; empty = 1.3.
    pub max_version: String,
    /// How often certificates are read again. Only 0 (never) is supported.
    pub reload_interval: Duration,
    /// TLS 1.2 suites by Go's names. Only the empty list is supported.
    pub cipher_suites: Vec<String>,
    /// Key exchange groups. Only the empty list is supported.
    pub curve_preferences: Vec<String>,
}

/// A TLS block that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl ClientTls {
    /// Whether connections are to be encrypted.
    pub fn is_on(&self) -> bool {
        !self.insecure || !self.ca_file.is_empty() || !self.ca_pem.expose().is_empty()
    }

    /// Faults that show without reading a file: key below this block, and what is wrong.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = common_faults(
            &self.min_version,
            &self.max_version,
            self.reload_interval,
            &self.cipher_suites,
            &self.curve_preferences,
        );
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
        let versions = versions(&self.min_version, &self.max_version)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
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

impl ServerTls {
    /// Faults that show without reading a file: key below this block, and what is wrong.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = common_faults(
            &self.min_version,
            &self.max_version,
            self.reload_interval,
            &self.cipher_suites,
            &self.curve_preferences,
        );
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

    /// Reads the files and builds the configuration; `alpn` in order of preference.
    pub fn load(&self, alpn: &[&[u8]]) -> Result<Arc<rustls::ServerConfig>, Error> {
        let versions = versions(&self.min_version, &self.max_version)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
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

fn common_faults(
    min: &str,
    max: &str,
    reload_interval: Duration,
    cipher_suites: &[String],
    curve_preferences: &[String],
) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    if let Err(Error(text)) = versions(min, max) {
        faults.push(("min_version", text));
    }
    let unsupported = [
        ("reload_interval", !reload_interval.0.is_zero()),
        ("cipher_suites", !cipher_suites.is_empty()),
        ("curve_preferences", !curve_preferences.is_empty()),
    ];
    for (key, set) in unsupported {
        if set {
            faults.push((key, "not supported yet".into()));
        }
    }
    faults
}

/// The versions between two of Go's names; what is below 1.2 means 1.2.
fn versions(min: &str, max: &str) -> Result<Vec<&'static SupportedProtocolVersion>, Error> {
    let number = |key: &str, text: &str, default: u8| match text {
        "" => Ok(default),
        "1.0" => Ok(0),
        "1.1" => Ok(1),
        "1.2" => Ok(2),
        "1.3" => Ok(3),
        other => Err(Error(format!(
            "invalid TLS {key}: unsupported TLS version: \"{other}\""
        ))),
    };
    let (low, high) = (number("min_version", min, 2)?, number("max_version", max, 3)?);
    if low > high {
        return Err(Error(
            "invalid TLS configuration: min_version cannot be greater than max_version".into(),
        ));
    }
    let all = [(3, &rustls::version::TLS13), (2, &rustls::version::TLS12)];
    let picked: Vec<_> = all
        .into_iter()
        .filter(|(n, _)| (low..=high).contains(n))
        .map(|(_, v)| v)
        .collect();
    if picked.is_empty() {
        return Err(Error(format!("invalid TLS max_version: \"{max}\" is below 1.2")));
    }
    Ok(picked)
}

fn read(file: &str, pem: &Secret<String>) -> Result<Vec<u8>, Error> {
    if file.is_empty() {
        return Ok(pem.expose().clone().into_bytes());
    }
    std::fs::read(file).map_err(|e| Error(format!("cannot read {file}: {e}")))
}

fn certificates(file: &str, pem: &Secret<String>) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(file, pem)?;
    let name = if file.is_empty() { "the PEM text" } else { file };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|e| Error(format!("{name}: {e}")))?;
    if found.is_empty() && !text.is_empty() {
        return Err(Error(format!("{name} holds no certificate")));
    }
    Ok(found)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(
    cert_file: &str,
    cert_pem: &Secret<String>,
    key_file: &str,
    key_pem: &Secret<String>,
) -> Result<Option<Identity>, Error> {
    let chain = certificates(cert_file, cert_pem)?;
    if chain.is_empty() {
        return Ok(None);
    }
    let key = PrivateKeyDer::from_pem_slice(&read(key_file, key_pem)?).map_err(|e| {
        Error(format!(
            "{}: {e}",
            if key_file.is_empty() { "key_pem" } else { key_file }
        ))
    })?;
    Ok(Some((chain, key)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_versions_as_the_collector_names_them() {
        let check = |min: &str, max: &str, expected: Result<usize, &str>| {
            let got = versions(min, max).map(|v| v.len()).map_err(|e| e.0);
            assert_eq!(got, expected.map_err(str::to_owned), "{min} {max}");
        };
        check("", "", Ok(2));
        check("1.0", "", Ok(2));
        check("1.3", "", Ok(1));
        check("", "1.2", Ok(1));
        check(
            "2",
            "",
            Err("invalid TLS min_version: unsupported TLS version: \"2\""),
        );
        check(
            "1.3",
            "1.2",
            Err("invalid TLS configuration: min_version cannot be greater than max_version"),
        );
        check("1.0", "1.1", Err("invalid TLS max_version: \"1.1\" is below 1.2"));
    }

    #[test]
    fn says_when_half_of_an_identity_is_missing() {
        let server = ServerTls {
            cert_file: "x".into(),
            ..ServerTls::default()
        };
        assert_eq!(server.faults()[0].0, "key_file");
        let client = ClientTls {
            key_file: "x".into(),
            ca_file: "a".into(),
            ca_pem: Secret::new("b".into()),
            ..ClientTls::default()
        };
        let keys: Vec<_> = client.faults().iter().map(|f| f.0).collect();
        assert_eq!(keys, ["ca_file", "cert_file"]);
    }

    #[test]
    fn a_ca_turns_tls_on_in_spite_of_insecure() {
        let check = |insecure: bool, ca: &str, on: bool| {
            let tls = ClientTls {
                insecure,
                ca_file: ca.into(),
                ..ClientTls::default()
            };
            assert_eq!(tls.is_on(), on);
        };
        check(false, "", true);
        check(true, "", false);
        check(true, "ca.pem", true);
    }
}

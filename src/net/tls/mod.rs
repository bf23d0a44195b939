//! TLS blocks of the configuration, made into rustls configurations.
//!
//! Keys and defaults are configtls's. One crypto provider (aws-lc-rs), TLS 1.2 and 1.3; what Go has beyond that (CBC
//! suites, RSA key exchange, TPM keys) is told apart from typos and refused by name. `insecure_skip_verify` lives in
//! [`client`] alone.

mod client;
mod names;
mod p521;
mod server;
mod subject;

use std::sync::Arc;

use config::Secret;
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use client::{ClientTls, Reloading};
pub use server::{Acceptor, ServerTls};
pub use subject::Certificate;
pub(crate) use subject::names_of;

/// A TLS block that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// `tpm`: keys that never leave a chip. Known, so that it can be refused by name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tpm {
    /// The key is in a TPM.
    pub enabled: bool,
    /// Device or socket.
    pub path: String,
    /// Password of the owner hierarchy.
    pub owner_auth: Secret<String>,
    /// Password of the key.
    pub auth: Secret<String>,
}

impl Tpm {
    fn faults(&self) -> Option<(&'static str, String)> {
        let text = "keys in a TPM are not supported; set tpm.enabled to false and give the key as key_file";
        self.enabled.then(|| ("tpm", text.to_owned()))
    }
}

/// What both ends say about how a handshake may go.
struct Handshake<'a> {
    min_version: &'a str,
    max_version: &'a str,
    cipher_suites: &'a [String],
    include_insecure: bool,
    curves: &'a [String],
}

type Versions = Vec<&'static SupportedProtocolVersion>;

impl Handshake<'_> {
    fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let versions = versions(self.min_version, self.max_version).unwrap_or_else(|Error(text)| {
            faults.push(("min_version", text));
            Vec::new()
        });
        if let Err(Error(text)) = names::suites(self.cipher_suites, self.include_insecure, versions) {
            faults.push(("cipher_suites", text));
        }
        if let Err(Error(text)) = names::curves(self.curves) {
            faults.push(("curve_preferences", text));
        }
        faults
    }

    /// Algorithms and versions, the best first.
    fn settle(&self) -> Result<(Arc<CryptoProvider>, Versions), Error> {
        let versions = versions(self.min_version, self.max_version)?;
        let (cipher_suites, versions) = names::suites(self.cipher_suites, self.include_insecure, versions)?;
        let provider = CryptoProvider {
            cipher_suites,
            kx_groups: names::curves(self.curves)?,
            ..rustls::crypto::aws_lc_rs::default_provider()
        };
        Ok((Arc::new(provider), versions))
    }
}

/// The versions between two of Go's names; what is below 1.2 means 1.2.
fn versions(min: &str, max: &str) -> Result<Versions, Error> {
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
    let picked: Versions = all
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

#[cfg(test)]
mod tests;

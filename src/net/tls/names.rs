//! Go's names for cipher suites and curves.
//!
//! Suites that Go has and this build has not (CBC, RSA key exchange, RC4, 3DES) are known: beside one that is here they
//! are left out with a warning, alone they are refused. TLS 1.3 has no suites to choose from, as in Go.

use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{self, cipher_suite as here, kx_group};

use super::{Error, Versions, p521};

enum Suite {
    /// TLS 1.2.
    Here(SupportedCipherSuite),
    /// Always on where TLS 1.3 is.
    Tls13,
    /// Go has it, this build has not.
    Missing,
    /// The same, and Go thinks ill of it.
    Insecure,
}

const SUITES: [(&str, Suite); 25] = [
    ("TLS_AES_128_GCM_SHA256", Suite::Tls13),
    ("TLS_AES_256_GCM_SHA384", Suite::Tls13),
    ("TLS_CHACHA20_POLY1305_SHA256", Suite::Tls13),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        Suite::Here(here::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        Suite::Here(here::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        Suite::Here(here::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        Suite::Here(here::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        Suite::Here(here::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        Suite::Here(here::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", Suite::Missing),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", Suite::Missing),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", Suite::Missing),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", Suite::Missing),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", Suite::Insecure),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", Suite::Insecure),
    ("TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", Suite::Insecure),
    ("TLS_ECDHE_RSA_WITH_RC4_128_SHA", Suite::Insecure),
    ("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", Suite::Insecure),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", Suite::Insecure),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", Suite::Insecure),
    ("TLS_RSA_WITH_AES_128_CBC_SHA256", Suite::Insecure),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", Suite::Insecure),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", Suite::Insecure),
    ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", Suite::Insecure),
    ("TLS_RSA_WITH_RC4_128_SHA", Suite::Insecure),
];

/// The suites to use, in the order that this build prefers, and the versions that they leave.
///
/// An empty list takes all that this build has. Names decide about TLS 1.2 only.
pub(super) fn suites(
    names: &[String],
    include_insecure: bool,
    mut versions: Versions,
) -> Result<(Vec<SupportedCipherSuite>, Versions), Error> {
    if names.is_empty() {
        return Ok((aws_lc_rs::DEFAULT_CIPHER_SUITES.to_vec(), versions));
    }
    let mut picked = Vec::new();
    let mut missing = Vec::new();
    for name in names {
        match SUITES
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, suite)| suite)
        {
            Some(Suite::Here(suite)) => picked.push(*suite),
            Some(Suite::Tls13) => {}
            Some(Suite::Missing) => missing.push(name.as_str()),
            Some(Suite::Insecure) if include_insecure => missing.push(name),
            _ => return Err(Error(format!("invalid TLS cipher suite: \"{name}\""))),
        }
    }
    let with_12 = versions
        .iter()
        .any(|v| v.version == rustls::ProtocolVersion::TLSv1_2);
    if picked.is_empty() && with_12 {
        if let [first, ..] = missing.as_slice() {
            return Err(Error(format!(
                "\"{first}\" is not supported, and no other suite for TLS 1.2 is listed; add one with ECDHE and \
                 AES-GCM or ChaCha20, or set min_version to 1.3"
            )));
        }
        versions.retain(|v| v.version != rustls::ProtocolVersion::TLSv1_2);
        if versions.is_empty() {
            return Err(Error(
                "cipher_suites lists no suite for TLS 1.2, and max_version excludes 1.3".into(),
            ));
        }
    }
    for name in missing {
        tracing::warn!(
            suite = name,
            "TLS cipher suite is not supported and never offered"
        );
    }
    let all = aws_lc_rs::DEFAULT_CIPHER_SUITES.iter().copied();
    let kept = all.filter(|suite| suite.tls13().is_some() || picked.contains(suite));
    Ok((kept.collect(), versions))
}

/// The key exchange groups, the most liked first; an empty list takes all.
pub(super) fn curves(names: &[String]) -> Result<Vec<&'static dyn SupportedKxGroup>, Error> {
    if names.is_empty() {
        let all = aws_lc_rs::DEFAULT_KX_GROUPS.iter().copied();
        return Ok(all.chain([p521::SECP521R1]).collect());
    }
    let group = |name: &String| match name.as_str() {
        "X25519" => Ok(kx_group::X25519),
        "P256" => Ok(kx_group::SECP256R1),
        "P384" => Ok(kx_group::SECP384R1),
        "P521" => Ok(p521::SECP521R1),
        "X25519MLKEM768" => Ok(kx_group::X25519MLKEM768),
        other => Err(Error(format!(
            "invalid curve type: \"{other}\"; expected values are X25519, P256, P384, P521, X25519MLKEM768"
        ))),
    };
    names.iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn suites_go_by_their_names_in_go() {
        let check = |names: &str, insecure: bool, max: &str, expected: Result<(usize, usize), &str>| {
            let versions = super::super::versions("", max).unwrap();
            let got = suites(&list(names), insecure, versions)
                .map(|(suites, versions)| (suites.len(), versions.len()))
                .map_err(|e| e.0);
            match (&got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(*got, expected, "{names}"),
                (Err(got), Err(expected)) => assert!(got.contains(expected), "{names}: {got}"),
                (got, expected) => panic!("{names}: {got:?}, not {expected:?}"),
            }
        };
        check("", false, "", Ok((9, 2)));
        check("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", false, "", Ok((4, 2)));
        check(
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
            false,
            "1.2",
            Ok((4, 1)),
        );
        check("TLS_AES_128_GCM_SHA256", false, "", Ok((3, 1)));
        check(
            "TLS_AES_128_GCM_SHA256",
            false,
            "1.2",
            Err("max_version excludes 1.3"),
        );
        check("BANANA", false, "", Err("invalid TLS cipher suite: \"BANANA\""));
        check(
            "tls_aes_128_gcm_sha256",
            false,
            "",
            Err("invalid TLS cipher suite: \"tls_aes_128_gcm_sha256\""),
        );
        check(
            "TLS_RSA_WITH_RC4_128_SHA",
            false,
            "",
            Err("invalid TLS cipher suite: \"TLS_RSA_WITH_RC4_128_SHA\""),
        );
        check(
            "TLS_RSA_WITH_RC4_128_SHA",
            true,
            "",
            Err("set min_version to 1.3"),
        );
        check(
            "TLS_RSA_WITH_RC4_128_SHA TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            true,
            "",
            Ok((4, 2)),
        );
        check(
            "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
            false,
            "",
            Err("is not supported"),
        );
    }

    #[test]
    fn names_of_suites_are_what_rustls_calls_them() {
        for (name, suite) in SUITES {
            if let Suite::Here(suite) = suite {
                assert_eq!(format!("{:?}", suite.suite()), name);
            }
        }
    }

    #[test]
    fn curves_keep_their_order() {
        let check = |names: &str, expected: Result<&[&str], &str>| match (curves(&list(names)), expected) {
            (Ok(got), Ok(expected)) => {
                let got: Vec<_> = got.iter().map(|g| format!("{:?}", g.name())).collect();
                assert_eq!(got, expected, "{names}");
            }
            (Err(got), Err(expected)) => assert!(got.0.contains(expected), "{names}: {got}"),
            (got, expected) => panic!("{names}: {got:?}, not {expected:?}"),
        };
        check(
            "",
            Ok(&["X25519MLKEM768", "X25519", "secp256r1", "secp384r1", "secp521r1"]),
        );
        check("P384 X25519", Ok(&["secp384r1", "X25519"]));
        check("P521", Ok(&["secp521r1"]));
        check("X25519MLKEM768 P256", Ok(&["X25519MLKEM768", "secp256r1"]));
        check("P-256", Err("invalid curve type: \"P-256\""));
    }
}

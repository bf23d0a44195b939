//! JSON web tokens (RFC 7519): reading and checking signed ones, and signing with RSA.
//!
//! Signatures are asymmetric: RS, PS and ES with 256, 384 and 512 bits, and EdDSA over Ed25519. `none` and the
//! symmetric HS ones do not exist here, so that no public key can pass for a secret. Whether a token is in time and for
//! whom is the caller's to check; nothing here reads a clock.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm};
use codec::base64::{self, Alphabet};
use serde::Deserialize;
use serde_json::Value;

/// Claims by name.
pub(crate) type Claims = BTreeMap<String, Value>;

/// A token that was read, and not checked.
pub(crate) struct Token<'a> {
    /// How it is signed.
    pub(crate) algorithm: Algorithm,
    /// Which key signed it, if it says so.
    pub(crate) key_id: Option<String>,
    /// What it claims.
    pub(crate) claims: Claims,
    signed: &'a str,
    signature: Vec<u8>,
}

/// Longer tokens are refused; headers are not that long either.
const TOKEN_BYTES_MAX: usize = 16 << 10;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    /// Reads the three parts. Errors say nothing of the content.
    pub(crate) fn read(text: &'a str) -> Result<Token<'a>, &'static str> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err("the token is too long");
        }
        let malformed = "malformed token";
        let (signed, signature) = text.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(malformed)?;
        let decode = |part: &str| base64::decode(Alphabet::Url, part).ok_or(malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed)?;
        if header.crit.is_some() {
            return Err("the token has extensions that are not known here");
        }
        Ok(Token {
            algorithm: Algorithm::parse(&header.alg).ok_or("the token's algorithm is not supported")?,
            key_id: header.kid,
            claims: serde_json::from_slice(&decode(claims)?).map_err(|_| malformed)?,
            signed,
            signature: decode(signature)?,
        })
    }

    /// Whether this key signed it.
    pub(crate) fn is_signed_by(&self, key: &Key) -> bool {
        key.verify(self.algorithm, self.signed.as_bytes(), &self.signature)
    }
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    fn parse(name: &str) -> Option<Algorithm> {
        Some(match name {
            "RS256" => Algorithm::Rs256,
            "RS384" => Algorithm::Rs384,
            "RS512" => Algorithm::Rs512,
            "PS256" => Algorithm::Ps256,
            "PS384" => Algorithm::Ps384,
            "PS512" => Algorithm::Ps512,
            "ES256" => Algorithm::Es256,
            "ES384" => Algorithm::Es384,
            "ES512" => Algorithm::Es512,
            "EdDSA" => Algorithm::EdDsa,
            _ => return None,
        })
    }
}

// --- Keys ---

/// A public key out of a key set (RFC 7517).
pub(crate) struct Key {
    /// Its name in the set.
    pub(crate) id: Option<String>,
    /// The only algorithm that it is for; none = any of its kind.
    algorithm: Option<Algorithm>,
    material: Material,
}

enum Material {
    Rsa(PublicKeyComponents<Vec<u8>>),
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

/// More keys of one set are not looked at.
const KEYS_MAX: usize = 64;

impl Key {
    /// The keys of a set that can check signatures; what cannot be read or is for something else is left out.
    pub(crate) fn read_set(json: &[u8]) -> Result<Vec<Key>, String> {
        let set: KeySet = serde_json::from_slice(json).map_err(|e| format!("failed to parse JWKS: {e}"))?;
        let read = set
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value(key).ok());
        let keys: Vec<Key> = read.filter_map(|jwk: Jwk| Key::of(&jwk)).take(KEYS_MAX).collect();
        if keys.is_empty() {
            return Err("no supported keys (supported types are RSA, ECDSA, and ED25519)".into());
        }
        Ok(keys)
    }

    fn of(jwk: &Jwk) -> Option<Key> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let number = |text: &str| base64::decode(Alphabet::Url, text).filter(|bytes| !bytes.is_empty());
        // A point as X9.62 has it: 4, then both coordinates at full length.
        let point = |len: usize| {
            let mut out = vec![4];
            for text in [&jwk.x, &jwk.y] {
                out.extend(number(text).filter(|bytes| bytes.len() == len)?);
            }
            Some(out)
        };
        let material = match (jwk.kty.as_str(), jwk.crv.as_str()) {
            ("RSA", _) => Material::Rsa(PublicKeyComponents {
                n: without_zeroes(number(&jwk.n)?),
                e: without_zeroes(number(&jwk.e)?),
            }),
            ("EC", "P-256") => Material::P256(point(32)?),
            ("EC", "P-384") => Material::P384(point(48)?),
            ("EC", "P-521") => Material::P521(point(66)?),
            ("OKP", "Ed25519") => Material::Ed25519(number(&jwk.x)?),
            _ => return None,
        };
        Some(Key {
            id: jwk.kid.clone(),
            // An algorithm of encryption is not one of ours: such a key signs nothing.
            algorithm: match jwk.alg.as_deref() {
                None | Some("") => None,
                Some(name) => Some(Algorithm::parse(name)?),
            },
            material,
        })
    }

    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if self.algorithm.is_some_and(|only| only != algorithm) {
            return false;
        }
        let plain = |how: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(how, key)
                .verify(message, signature)
                .is_ok()
        };
        match (&self.material, algorithm) {
            (Material::Rsa(key), algorithm) => {
                let parameters = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                key.verify(parameters, message, signature).is_ok()
            }
            (Material::P256(key), Algorithm::Es256) => plain(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Material::P384(key), Algorithm::Es384) => plain(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Material::P521(key), Algorithm::Es512) => plain(&signature::ECDSA_P521_SHA512_FIXED, key),
            (Material::Ed25519(key), Algorithm::EdDsa) => plain(&signature::ED25519, key),
            _ => false,
        }
    }
}

fn without_zeroes(bytes: Vec<u8>) -> Vec<u8> {
    let zeroes = bytes.iter().take_while(|b| **b == 0).count();
    bytes[zeroes..].to_vec()
}

// --- Signing ---

/// A private RSA key and how it signs.
pub(crate) struct Signer {
    pair: RsaKeyPair,
    name: &'static str,
    how: &'static signature::RsaSignatureEncoding,
    key_id: String,
}

impl Signer {
    /// Reads a PEM text (PKCS#8 or PKCS#1). `algorithm` is `RS256` (also empty), `RS384` or `RS512`.
    pub(crate) fn new(pem: &str, algorithm: &str, key_id: &str) -> Result<Signer, String> {
        use rustls_pki_types::PrivateKeyDer;
        use rustls_pki_types::pem::PemObject;

        let (name, how) = Signer::algorithm(algorithm)?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| "the private key is not PEM")?;
        let pair = match &key {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err("the private key is not RSA".into()),
        };
        Ok(Signer {
            pair: pair.map_err(|_| "the private key is not RSA, or damaged")?,
            name,
            how,
            key_id: key_id.to_owned(),
        })
    }

    /// What a name stands for.
    pub(crate) fn algorithm(
        name: &str,
    ) -> Result<(&'static str, &'static signature::RsaSignatureEncoding), String> {
        Ok(match name {
            "" | "RS256" => ("RS256", &signature::RSA_PKCS1_SHA256),
            "RS384" => ("RS384", &signature::RSA_PKCS1_SHA384),
            "RS512" => ("RS512", &signature::RSA_PKCS1_SHA512),
            _ => return Err("invalid signature algorithm, must be one of RS256, RS384 or RS512".into()),
        })
    }

    /// A signed token.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, String> {
        let mut header = serde_json::json!({ "alg": self.name, "typ": "JWT" });
        if !self.key_id.is_empty() {
            header["kid"] = Value::from(self.key_id.as_str());
        }
        let claims = serde_json::to_vec(claims).map_err(|e| e.to_string())?;
        let encode = |bytes: &[u8]| base64::encode(Alphabet::Url, bytes);
        let mut token = format!("{}.{}", encode(header.to_string().as_bytes()), encode(&claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(self.how, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| "the token cannot be signed")?;
        token.push('.');
        token.push_str(&encode(&signature));
        Ok(token)
    }
}

/// Keys and tokens for tests: a set that has one key of each kind, and their private halves.
#[cfg(test)]
pub(crate) mod test_kit {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair};

    use super::*;

    /// A key pair, and how it is written.
    pub(crate) struct Pair {
        pub(crate) pem: String,
        sign: Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>,
        pub(crate) jwk: Value,
    }

    fn url(bytes: &[u8]) -> String {
        base64::encode(Alphabet::Url, bytes)
    }

    fn pem(der: &[u8]) -> String {
        let text = base64::encode(Alphabet::Standard, der);
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    /// An RSA pair for one of the RS or PS algorithms.
    pub(crate) fn rsa(id: &str, algorithm: &str) -> Pair {
        use aws_lc_rs::rsa::KeySize;
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        // SEQUENCE { INTEGER n, INTEGER e } with 2048 bits of n and 65537.
        let public = pair.public_key().as_ref();
        let (n, e) = (public[9..9 + 256].to_vec(), [1, 0, 1]);
        let how: &'static signature::RsaSignatureEncoding = match algorithm {
            "RS256" => &signature::RSA_PKCS1_SHA256,
            "RS384" => &signature::RSA_PKCS1_SHA384,
            "RS512" => &signature::RSA_PKCS1_SHA512,
            "PS256" => &signature::RSA_PSS_SHA256,
            "PS384" => &signature::RSA_PSS_SHA384,
            _ => &signature::RSA_PSS_SHA512,
        };
        Pair {
            pem: pem(der.as_ref()),
            jwk: serde_json::json!({ "kty": "RSA", "kid": id, "use": "sig", "n": url(&n), "e": url(&e) }),
            sign: Box::new(move |message| {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(how, &SystemRandom::new(), message, &mut out).unwrap();
                out
            }),
        }
    }

    /// A pair for `ES256`, `ES384` or `ES512`.
    pub(crate) fn ec(id: &str, algorithm: &str) -> Pair {
        let (how, curve) = match algorithm {
            "ES256" => (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            "ES384" => (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            _ => (&signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
        };
        let pair = EcdsaKeyPair::generate(how).unwrap();
        let point = pair.public_key().as_ref()[1..].to_vec();
        let (x, y) = point.split_at(point.len() / 2);
        Pair {
            pem: String::new(),
            jwk: serde_json::json!({ "kty": "EC", "crv": curve, "kid": id, "x": url(x), "y": url(y) }),
            sign: Box::new(move |message| {
                pair.sign(&SystemRandom::new(), message)
                    .unwrap()
                    .as_ref()
                    .to_vec()
            }),
        }
    }

    /// A pair for `EdDSA`.
    pub(crate) fn ed25519(id: &str) -> Pair {
        let pair = Ed25519KeyPair::generate().unwrap();
        Pair {
            pem: String::new(),
            jwk: serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": url(pair.public_key().as_ref()) }),
            sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
        }
    }

    impl Pair {
        /// A token with this header and these claims.
        pub(crate) fn token(&self, header: Value, claims: &Value) -> String {
            let signed = format!(
                "{}.{}",
                url(header.to_string().as_bytes()),
                url(claims.to_string().as_bytes())
            );
            format!("{signed}.{}", url(&(self.sign)(signed.as_bytes())))
        }
    }

    /// A key set.
    pub(crate) fn set(pairs: &[&Pair]) -> String {
        let keys: Vec<&Value> = pairs.iter().map(|pair| &pair.jwk).collect();
        serde_json::json!({ "keys": keys }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::test_kit::{ec, ed25519, rsa, set};
    use super::*;

    #[test]
    fn every_algorithm_checks_its_own_signatures_and_no_others() {
        let pairs = [
            ("RS256", rsa("a", "RS256")),
            ("RS384", rsa("a", "RS384")),
            ("RS512", rsa("a", "RS512")),
            ("PS256", rsa("a", "PS256")),
            ("PS384", rsa("a", "PS384")),
            ("PS512", rsa("a", "PS512")),
            ("ES256", ec("a", "ES256")),
            ("ES384", ec("a", "ES384")),
            ("ES512", ec("a", "ES512")),
            ("EdDSA", ed25519("a")),
        ];
        for (algorithm, pair) in &pairs {
            let text = pair.token(json!({ "alg": algorithm, "kid": "a" }), &json!({ "sub": "me" }));
            let token = Token::read(&text).unwrap();
            assert_eq!(token.key_id.as_deref(), Some("a"));
            assert_eq!(token.claims["sub"], "me");
            for (other, others) in &pairs {
                let keys = Key::read_set(set(&[others]).as_bytes()).unwrap();
                assert_eq!(
                    token.is_signed_by(&keys[0]),
                    algorithm == other,
                    "{algorithm} by {other}"
                );
            }
            // The same signature under another header.
            for (wrong, _) in pairs.iter().filter(|(name, _)| name != algorithm) {
                let text = pair.token(json!({ "alg": wrong }), &json!({}));
                let keys = Key::read_set(set(&[pair]).as_bytes()).unwrap();
                assert!(
                    !Token::read(&text).unwrap().is_signed_by(&keys[0]),
                    "{algorithm} as {wrong}"
                );
            }
            let mut changed = text.clone().into_bytes();
            let at = text.rfind('.').unwrap() + 1;
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            let keys = Key::read_set(set(&[pair]).as_bytes()).unwrap();
            assert!(
                !Token::read(&changed).unwrap().is_signed_by(&keys[0]),
                "{algorithm} changed"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_signed_token() {
        let url = |text: &str| base64::encode(Alphabet::Url, text.as_bytes());
        let check = |header: &str, claims: &str, expected: &str| {
            let text = format!("{}.{}.{}", url(header), url(claims), url("x"));
            assert_eq!(Token::read(&text).err(), Some(expected), "{header} {claims}");
        };
        check(
            r#"{"alg":"none"}"#,
            "{}",
            "the token's algorithm is not supported",
        );
        check(
            r#"{"alg":"HS256"}"#,
            "{}",
            "the token's algorithm is not supported",
        );
        check(
            r#"{"alg":"rs256"}"#,
            "{}",
            "the token's algorithm is not supported",
        );
        check(r#"{"kid":"x"}"#, "{}", "malformed token");
        check("x", "{}", "malformed token");
        check(r#"{"alg":"RS256"}"#, "[1]", "malformed token");
        check(r#"{"alg":"RS256"}"#, "", "malformed token");
        check(
            r#"{"alg":"RS256","crit":["b64"]}"#,
            "{}",
            "the token has extensions that are not known here",
        );
        for text in ["", ".", "..", "a.b", "a.b.c.d", "é.é.é"] {
            assert_eq!(Token::read(text).err(), Some("malformed token"), "{text}");
        }
        let long = "a".repeat(TOKEN_BYTES_MAX + 1);
        assert_eq!(Token::read(&long).err(), Some("the token is too long"));
    }

    #[test]
    fn a_set_leaves_out_what_cannot_check() {
        let good = ec("good", "ES256");
        let mut keys = vec![
            json!({ "kty": "oct", "k": "c2VjcmV0" }),
            json!({ "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" }),
            json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" }),
            json!({ "kty": "RSA", "n": "", "e": "AQAB" }),
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc" }),
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "RSA-OAEP" }),
            json!(5),
        ];
        let told = Key::read_set(json!({ "keys": keys }).to_string().as_bytes()).err();
        assert_eq!(
            told.as_deref(),
            Some("no supported keys (supported types are RSA, ECDSA, and ED25519)")
        );
        keys.push(good.jwk);
        let read = Key::read_set(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].id.as_deref(), Some("good"));
        assert!(Key::read_set(b"[]").is_err());
        assert!(Key::read_set(b"").is_err());
        // A key that names its algorithm is for nothing else.
        let mut only = rsa("x", "RS256");
        only.jwk["alg"] = json!("RS512");
        let text = only.token(json!({ "alg": "RS256" }), &json!({}));
        let keys = Key::read_set(set(&[&only]).as_bytes()).unwrap();
        assert!(!Token::read(&text).unwrap().is_signed_by(&keys[0]));
    }

    #[test]
    fn signs_what_it_can_read_again() {
        let pair = rsa("a", "RS256");
        for algorithm in ["", "RS256", "RS384", "RS512"] {
            let signer = Signer::new(&pair.pem, algorithm, "a").unwrap();
            let claims = Claims::from([("iss".to_owned(), json!("me"))]);
            let text = signer.sign(&claims).unwrap();
            let token = Token::read(&text).unwrap();
            assert_eq!(
                (token.claims.clone(), token.key_id.as_deref()),
                (claims, Some("a"))
            );
            let keys = Key::read_set(set(&[&pair]).as_bytes()).unwrap();
            assert!(token.is_signed_by(&keys[0]), "{algorithm}");
        }
        let check = |pem: &str, algorithm: &str, expected: &str| {
            let told = Signer::new(pem, algorithm, "").err();
            assert_eq!(told.as_deref(), Some(expected));
        };
        check(
            &pair.pem,
            "ES256",
            "invalid signature algorithm, must be one of RS256, RS384 or RS512",
        );
        check("hunter2", "", "the private key is not PEM");
        let ec_pem = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
        check(ec_pem, "", "the private key is not RSA");
        let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        check(broken, "", "the private key is not RSA, or damaged");
    }
}

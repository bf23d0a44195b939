//! The private half of a key. It is in memory only, is overwritten when dropped, and prints nothing.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use codec::base64::Alphabet;
use zeroize::Zeroizing;

use super::{ED25519_TYPE, KeyId, NoteError, Vkey, key_id};
use crate::digest::unhex;

/// Signs notes with an Ed25519 key, in whatever name it is asked to.
pub struct Signer {
    // The library wipes it when it is dropped.
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

/// Why there is no key. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// No PEM block `PRIVATE KEY`, and no `PRIVATE+KEY+` either.
    #[error("neither a PEM block \"PRIVATE KEY\" nor a PRIVATE+KEY+<name>+<id>+<base64>")]
    Form,
    /// The form is right, what is in it is no Ed25519 key.
    #[error("not an Ed25519 private key")]
    Key,
    /// The id does not belong to the name and the key.
    #[error("the key's id does not belong to its name and bytes")]
    Id,
    /// The system's generator gave nothing.
    #[error("no random bytes for a new key")]
    Random,
}

const PEM: [&str; 2] = ["-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"];

impl Signer {
    /// A new key.
    pub fn generate() -> Result<Signer, SignerError> {
        Ed25519KeyPair::generate()
            .map(Signer::of)
            .map_err(|_| SignerError::Random)
    }

    /// A key of its text: PKCS#8 in PEM, or `PRIVATE+KEY+<name>+<id>+<base64>`.
    pub fn from_text(text: &str) -> Result<Signer, SignerError> {
        match text.trim().strip_prefix("PRIVATE+KEY+") {
            Some(rest) => Signer::from_private_key(rest),
            None => Signer::from_pem(text),
        }
    }

    /// A key of its 32 bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Signer, SignerError> {
        Ed25519KeyPair::from_seed_unchecked(seed)
            .map(Signer::of)
            .map_err(|_| SignerError::Key)
    }

    fn from_private_key(text: &str) -> Result<Signer, SignerError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SignerError::Form);
        };
        let id: KeyId = unhex(id).ok_or(SignerError::Form)?;
        let key = codec::base64::decode(Alphabet::Standard, key).map(Zeroizing::new);
        let key = key.ok_or(SignerError::Form)?;
        let [ED25519_TYPE, seed @ ..] = &key[..] else {
            return Err(SignerError::Key);
        };
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(seed.try_into().map_err(|_| SignerError::Key)?);
        let signer = Signer::from_seed(&seed)?;
        if key_id(name, &signer.public) != id {
            return Err(SignerError::Id);
        }
        Ok(signer)
    }

    fn from_pem(text: &str) -> Result<Signer, SignerError> {
        let (_, rest) = text.split_once(PEM[0]).ok_or(SignerError::Form)?;
        let (body, _) = rest.split_once(PEM[1]).ok_or(SignerError::Form)?;
        let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
        base64.extend(body.split_ascii_whitespace());
        let der = codec::base64::decode(Alphabet::Standard, &base64).map(Zeroizing::new);
        let der = der.ok_or(SignerError::Form)?;
        // Version 1 of PKCS#8, as other tools write it, has no public key to compare with.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
        pair.map(Signer::of).map_err(|_| SignerError::Key)
    }

    fn of(pair: Ed25519KeyPair) -> Signer {
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Signer { pair, public }
    }

    /// PKCS#8 (version 1) in PEM, for a file that only its owner may read.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, SignerError> {
        let der = self.pair.to_pkcs8v1().map_err(|_| SignerError::Key)?;
        let base64 = Zeroizing::new(codec::base64::encode(Alphabet::Standard, der.as_ref()));
        Ok(Zeroizing::new(format!("{}\n{}\n{}\n", PEM[0], *base64, PEM[1])))
    }

    /// The public half.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The public half under a name.
    pub fn vkey(&self, name: &str) -> Result<Vkey, NoteError> {
        Vkey::new(name, self.public)
    }

    /// The signature over some bytes.
    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(bytes).as_ref());
        signature
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

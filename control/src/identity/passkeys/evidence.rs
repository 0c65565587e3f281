//! What a touch leaves behind, and how anybody checks it without asking us.
//!
//! The challenge that an authenticator signs is SHA-256 over the digest of the statement that the
//! person saw and a nonce. Whoever has the statement, the nonce and the assertion, which all stand
//! in the audit log, can recompute the challenge and verify the signature with the public key.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use url::Url;

use crate::model::statement::Statement;

/// User present, and user verified (WebAuthn, section 6.1).
const FLAGS: u8 = 0b0000_0101;

/// What an authenticator answered to a challenge. All bytes are base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// The public id of the credential.
    pub credential: String,
    /// Its public key.
    pub key: PublicKey,
    /// The JSON that the browser made: challenge, origin and type.
    pub client_data: String,
    /// What the authenticator adds: for which relying party, whether the person was verified.
    pub authenticator_data: String,
    /// Over the authenticator's data and the SHA-256 of the client's.
    pub signature: String,
}

/// A public key as RFC 7517 writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty")]
pub enum PublicKey {
    /// On an elliptic curve.
    #[serde(rename = "EC")]
    Curve {
        /// `P-256` or `P-384`.
        crv: String,
        /// The first coordinate.
        x: String,
        /// The second coordinate.
        y: String,
    },
    /// RSA.
    #[serde(rename = "RSA")]
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
}

/// Why an assertion doesn't prove what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EvidenceError {
    /// Something isn't written as it should be.
    #[error("the assertion is malformed")]
    Malformed,
    /// It was made for another statement or nonce.
    #[error("the assertion answers another challenge")]
    Challenge,
    /// It was made on another site.
    #[error("the assertion was made for another origin")]
    Origin,
    /// It was made for another relying party.
    #[error("the assertion was made for another relying party")]
    Party,
    /// The authenticator didn't verify the person.
    #[error("the authenticator did not verify the person")]
    Unverified,
    /// The key didn't sign this.
    #[error("the signature is not the key's")]
    Signature,
}

/// The part of the client's data that counts.
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: Url,
}

/// The challenge of a statement: `SHA-256("postern challenge v1" || digest || nonce)`.
pub(crate) fn challenge(statement: &Statement, nonce: &[u8]) -> [u8; 32] {
    let hash = Sha256::new().chain_update(b"postern challenge v1");
    hash.chain_update(statement.hash()).chain_update(nonce).finalize().into()
}

/// Checks that this key's holder, verified by their authenticator, said yes to this statement on
/// the site of this address.
///
/// # Errors
/// Where it proves something else, or nothing.
pub fn verify(
    statement: &Statement,
    nonce: &str,
    assertion: &Assertion,
    site: &Url,
) -> Result<(), EvidenceError> {
    let client_data = read(&assertion.client_data)?;
    let said: ClientData =
        serde_json::from_slice(&client_data).map_err(|_| EvidenceError::Malformed)?;
    let wanted = URL_SAFE_NO_PAD.encode(challenge(statement, &read(nonce)?));
    if said.kind != "webauthn.get" || said.challenge != wanted {
        return Err(EvidenceError::Challenge);
    }
    if said.origin.origin() != site.origin() {
        return Err(EvidenceError::Origin);
    }
    let mut signed = read(&assertion.authenticator_data)?;
    let (party, rest) = signed.split_at_checked(32).ok_or(EvidenceError::Malformed)?;
    let flags = rest.first().ok_or(EvidenceError::Malformed)?;
    if party != Sha256::digest(site.host_str().unwrap_or_default()).as_slice() {
        return Err(EvidenceError::Party);
    }
    if flags & FLAGS != FLAGS {
        return Err(EvidenceError::Unverified);
    }
    signed.extend_from_slice(&Sha256::digest(&client_data));
    assertion.key.verify(&signed, &read(&assertion.signature)?)
}

impl PublicKey {
    fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), EvidenceError> {
        let verified = match self {
            Self::Curve { crv, x, y } => {
                let algorithm = match crv.as_str() {
                    "P-256" => &ECDSA_P256_SHA256_ASN1,
                    "P-384" => &ECDSA_P384_SHA384_ASN1,
                    _ => return Err(EvidenceError::Malformed),
                };
                let point = [vec![4], read(x)?, read(y)?].concat();
                UnparsedPublicKey::new(algorithm, point).verify(signed, signature)
            }
            Self::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n: read(n)?, e: read(e)? };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature)
            }
        };
        verified.map_err(|_| EvidenceError::Signature)
    }
}

fn read(text: &str) -> Result<Vec<u8>, EvidenceError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| EvidenceError::Malformed)
}

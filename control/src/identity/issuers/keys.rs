//! The keys that an issuer signs with (RFC 7517), each good for the algorithms of its kind only.
//!
//! A secret is no signing key here, so that nobody can sign with what is published (RFC 8725, 3.1).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// More keys than this are not looked at.
const MOST: usize = 64;

/// A published set, as far as it is readable.
#[derive(Deserialize)]
pub(super) struct Published {
    keys: Vec<Value>,
}

/// The usable keys of an issuer.
pub(super) struct Keys(Vec<Key>);

struct Key {
    id: Option<String>,
    kind: Kind,
    /// The one algorithm that the issuer has set it aside for, where it says so.
    only: Option<String>,
    verifier: DecodingKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Keys {
    /// The keys of a set that can sign; the others are of no use here.
    pub(super) fn read(published: Published) -> Self {
        Self(published.keys.into_iter().take(MOST).filter_map(Key::read).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key that this token names and that fits its algorithm. A token that names none is fine
    /// where only one fits.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.fits(algorithm) && id.is_none_or(|id| key.id.as_deref() == Some(id)));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Some(&key.verifier),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }
}

impl Key {
    fn read(value: Value) -> Option<Self> {
        let only = value.get("alg").and_then(Value::as_str).map(str::to_owned);
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let signs = match &jwk.common.public_key_use {
            None | Some(PublicKeyUse::Signature) => true,
            Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)) => false,
        };
        let kind = kind(&jwk.algorithm).filter(|_| signs)?;
        let verifier = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, kind, only, verifier })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let named = || format!("{algorithm:?}");
        Kind::of(algorithm) == Some(self.kind)
            && self.only.as_ref().is_none_or(|only| *only == named())
    }
}

impl Kind {
    /// What signs with this algorithm; none where a shared secret does.
    fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Some(Self::Rsa),
            Algorithm::ES256 => Some(Self::P256),
            Algorithm::ES384 => Some(Self::P384),
            Algorithm::EdDSA => Some(Self::Ed25519),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => None,
        }
    }
}

fn kind(parameters: &AlgorithmParameters) -> Option<Kind> {
    match parameters {
        AlgorithmParameters::RSA(_) => Some(Kind::Rsa),
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => Some(Kind::P256),
            EllipticCurve::P384 => Some(Kind::P384),
            EllipticCurve::P521 | EllipticCurve::Ed25519 => None,
        },
        AlgorithmParameters::OctetKeyPair(pair) => match pair.curve {
            EllipticCurve::Ed25519 => Some(Kind::Ed25519),
            EllipticCurve::P256 | EllipticCurve::P384 | EllipticCurve::P521 => None,
        },
        AlgorithmParameters::OctetKey(_) => None,
    }
}

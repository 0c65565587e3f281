//! Signed tokens (RFC 7519, with the advice of RFC 8725): read, and believed only as a whole.
//!
//! A [`Token`] is what a text says; nothing of it is used until [`Token::verify`] has found a key of
//! the issuer for an algorithm of our list, the signature good, and every claim what is expected.
//! Every time is evaluated by the one `now` that is handed in, with a small allowance for clocks.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use policies::{Timestamp, Ttl};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use super::keys::Keys;
use crate::model::issuer_url::{IssuerError, IssuerUrl};

/// No issuer's tokens are longer.
const LONGEST: usize = 16 << 10;
/// How far two clocks may be apart.
pub(crate) const SKEW: Ttl = Ttl::from_secs(30);

/// What kind of token it has to be, by the type in its header (RFC 8725, 3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Typ {
    /// An id token, or another one of no type of its own: `JWT`, or unsaid.
    Plain,
    /// A logout token: `logout+jwt`; `JWT` or unsaid as of older issuers, since its `events` claim
    /// tells it from all others.
    Logout,
    /// An access token: `at+jwt`, or `JWT` or unsaid as of issuers that know no better.
    Access,
}

/// What a token has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expect<'a> {
    /// Whom it is for.
    pub(crate) audience: &'a str,
    /// What kind it is.
    pub(crate) typ: Typ,
    /// How long ago it may have been issued, where its end alone doesn't say.
    pub(crate) max_age: Option<Ttl>,
}

/// What a token says, once all of it is believed.
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    /// Whom it is about.
    pub(crate) subject: Option<String>,
    /// For whom it was made, where that is said.
    pub(crate) authorized_party: Option<String>,
    /// For whom it is.
    pub(crate) audience: Vec<String>,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// Its own number (`jti`).
    pub(crate) id: Option<String>,
    /// The session at the issuer (`sid`).
    pub(crate) session: Option<String>,
    pub(crate) nonce: Option<String>,
    /// All claims.
    pub(crate) all: Map<String, Value>,
}

/// Why a token is not believed.
#[derive(Debug, Error)]
pub(crate) enum JwtError {
    #[error("the token is not a signed token that can be read: {0}")]
    Malformed(&'static str),
    #[error("the token is signed by `{0}`, which is not accepted here")]
    Algorithm(String),
    #[error("the token is of the type `{0}`, which is not the one wanted here")]
    Typ(String),
    #[error("the token names a key that the issuer doesn't publish")]
    UnknownKey,
    #[error("the signature of the token is wrong")]
    Signature,
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token is for somebody else")]
    Audience,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not good yet")]
    NotYet,
    #[error("the token is too old")]
    TooOld,
    #[error("the issuer can't be asked")]
    Issuers(#[from] IssuerError),
}

impl JwtError {
    /// A short name of fixed wording, for the audit log.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed-token",
            Self::Algorithm(_) => "wrong-algorithm",
            Self::Typ(_) => "wrong-type",
            Self::UnknownKey => "unknown-key",
            Self::Signature => "wrong-signature",
            Self::Issuer => "wrong-issuer",
            Self::Audience => "wrong-audience",
            Self::Expired => "expired-token",
            Self::NotYet => "not-yet-good",
            Self::TooOld => "old-token",
            Self::Issuers(_) => "issuer-unavailable",
        }
    }

    /// Whether the issuer's word stands behind the token, so that its claims may be spoken of.
    pub(crate) fn is_of_issuer(&self) -> bool {
        match self {
            Self::Audience | Self::Expired | Self::NotYet | Self::TooOld => true,
            Self::Malformed(_)
            | Self::Algorithm(_)
            | Self::Typ(_)
            | Self::UnknownKey
            | Self::Signature
            | Self::Issuer
            | Self::Issuers(_) => false,
        }
    }
}

/// What a text says, not yet believed.
pub(super) struct Token<'t> {
    header: Header,
    claims: Map<String, Value>,
    /// What is signed.
    message: &'t str,
    signature: &'t str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    /// Extensions that have to be understood; we understand none.
    #[serde(default)]
    crit: Option<Value>,
}

impl<'t> Token<'t> {
    pub(super) fn read(text: &'t str) -> Result<Self, JwtError> {
        if text.len() > LONGEST {
            return Err(JwtError::Malformed("it is too long"));
        }
        let malformed = || JwtError::Malformed("it has not three parts");
        let (message, signature) = text.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = message.split_once('.').ok_or_else(malformed)?;
        let header: Header = part(header)?;
        if header.crit.is_some() {
            return Err(JwtError::Malformed("it wants an extension to be understood"));
        }
        Ok(Self { header, claims: part(claims)?, message, signature })
    }

    pub(super) fn verify(
        &self,
        keys: &Keys,
        issuer: &IssuerUrl,
        expect: &Expect<'_>,
        now: Timestamp,
    ) -> Result<Claims, JwtError> {
        self.of_type(expect.typ)?;
        self.signed(keys)?;
        if self.text("iss") != Some(issuer.as_str()) {
            return Err(JwtError::Issuer);
        }
        let claims = self.claims()?;
        if !claims.audience.iter().any(|one| one == expect.audience) {
            return Err(JwtError::Audience);
        }
        self.in_time(&claims, expect.max_age, now)?;
        Ok(claims)
    }

    fn of_type(&self, wanted: Typ) -> Result<(), JwtError> {
        let Some(said) = &self.header.typ else { return Ok(()) };
        let said = said.to_ascii_lowercase();
        let own = match wanted {
            Typ::Plain => "jwt",
            Typ::Logout => "logout+jwt",
            Typ::Access => "at+jwt",
        };
        let short = said.strip_prefix("application/").unwrap_or(&said);
        if short == own || short == "jwt" { Ok(()) } else { Err(JwtError::Typ(said)) }
    }

    fn signed(&self, keys: &Keys) -> Result<(), JwtError> {
        let algorithm = accepted(&self.header.alg).ok_or_else(|| {
            JwtError::Algorithm(crate::platform::sanitize::clip(&self.header.alg, 32))
        })?;
        let key = keys.find(self.header.kid.as_deref(), algorithm).ok_or(JwtError::UnknownKey)?;
        let message = self.message.as_bytes();
        match jsonwebtoken::crypto::verify(self.signature, message, key, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(JwtError::Signature),
        }
    }

    fn in_time(
        &self,
        claims: &Claims,
        max_age: Option<Ttl>,
        now: Timestamp,
    ) -> Result<(), JwtError> {
        let lately = now.after(SKEW);
        let not_before = self.time("nbf")?.unwrap_or(claims.issued_at);
        if claims.issued_at > lately || not_before > lately {
            return Err(JwtError::NotYet);
        }
        if now >= claims.expires_at.after(SKEW) {
            return Err(JwtError::Expired);
        }
        match max_age.filter(|most| now >= claims.issued_at.after(*most).after(SKEW)) {
            Some(_) => Err(JwtError::TooOld),
            None => Ok(()),
        }
    }

    fn claims(&self) -> Result<Claims, JwtError> {
        let audience = match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(several)) => {
                let texts = several.iter().map(|one| one.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or(JwtError::Malformed("`aud` is no text"))?
            }
            Some(_) | None => return Err(JwtError::Malformed("`aud` is missing")),
        };
        let owned = |name| self.text(name).map(str::to_owned);
        Ok(Claims {
            subject: owned("sub"),
            authorized_party: owned("azp"),
            audience,
            issued_at: self.time("iat")?.ok_or(JwtError::Malformed("`iat` is missing"))?,
            expires_at: self.time("exp")?.ok_or(JwtError::Malformed("`exp` is missing"))?,
            id: owned("jti"),
            session: owned("sid"),
            nonce: owned("nonce"),
            all: self.claims.clone(),
        })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// Seconds since 1970, with or without a fraction.
    fn time(&self, name: &str) -> Result<Option<Timestamp>, JwtError> {
        /// Some ten thousand years from now on.
        const LATEST: f64 = 3.0e11;
        let Some(value) = self.claims.get(name) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| (0.0..LATEST).contains(seconds));
        let seconds = seconds.ok_or(JwtError::Malformed("a time in it is no time"))?;
        #[expect(clippy::cast_possible_truncation, reason = "it was bounded above")]
        Ok(Some(Timestamp::from_millis((seconds * 1_000.0) as i64)))
    }
}

fn part<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, JwtError> {
    let bytes = URL_SAFE_NO_PAD.decode(text);
    let bytes = bytes.map_err(|_| JwtError::Malformed("a part of it is not base64url"))?;
    serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed("a part of it is not JSON"))
}

/// The algorithms of our list: signatures with a private key, and nothing else.
fn accepted(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

//! Signs and verifies webhooks by the Standard Webhooks scheme (standardwebhooks.com, version 1.0.0).
//!
//! A message has an id and the time of its sending; its signature is HMAC-SHA256 over
//! `id.timestamp.body`, written `v1,<base64>`. Several secrets may be in force, so that one can take
//! the place of another without a message lost: whoever signs, signs with all; whoever verifies takes
//! any. A signature is only good within a few minutes of its time; ids are for the receiver to
//! remember, so that one message counts once.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use policies::{Timestamp, Ttl};
use secrecy::SecretString;
use thiserror::Error;

/// How far the sender's clock may be from ours.
pub const WEBHOOK_TOLERANCE: Ttl = Ttl::from_secs(5 * 60);

const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";
/// What the scheme asks of a secret, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// How long a message's id may be.
const LONGEST_ID: usize = 256;
/// How many signatures of one message are looked at.
const MOST_SIGNATURES: usize = 16;

/// A secret that two sides share, written `whsec_` and base64. It can't be printed.
#[derive(Clone)]
pub struct WebhookSecret(Arc<hmac::Key>);

/// Why a text is not a secret for webhooks. It says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "this is no secret for webhooks: it is `whsec_` and 24 to 64 random bytes in base64, as \
     `postern notifications secret` writes one"
)]
pub struct WebhookSecretError;

/// The headers that the scheme wants, as they were received.
#[derive(Debug, Clone, Copy)]
pub struct WebhookHeaders<'h> {
    /// `webhook-id`.
    pub id: &'h str,
    /// `webhook-timestamp`: seconds since 1970.
    pub timestamp: &'h str,
    /// `webhook-signature`: one or more, with spaces between them.
    pub signature: &'h str,
}

/// Why a message is not believed. Nothing else may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WebhookSignatureError {
    /// The id is empty, too long, or not of visible ASCII.
    #[error("`webhook-id` is not the id of a message")]
    Id,
    /// The time is not a whole number of seconds.
    #[error("`webhook-timestamp` is not a number of seconds since 1970")]
    Timestamp,
    /// The time is too far from now.
    #[error("the message was signed more than {} minutes from now", WEBHOOK_TOLERANCE.millis() / 60_000)]
    Stale,
    /// None of the signatures is by one of the secrets.
    #[error("none of the signatures is right")]
    Forged,
}

impl WebhookSecret {
    /// A fresh secret, to be written to a file that only its owner may read.
    #[must_use]
    pub fn fresh() -> SecretString {
        let random: [u8; 32] = rand::random();
        format!("{PREFIX}{}", STANDARD.encode(random)).into()
    }

    fn tag(&self, id: &str, timestamp: &str, body: &[u8]) -> hmac::Tag {
        let mut signed = hmac::Context::with_key(&self.0);
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            signed.update(part);
        }
        signed.sign()
    }
}

impl FromStr for WebhookSecret {
    type Err = WebhookSecretError;

    fn from_str(text: &str) -> Result<Self, WebhookSecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(WebhookSecretError)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| WebhookSecretError)?;
        if !SECRET_BYTES.contains(&bytes.len()) {
            return Err(WebhookSecretError);
        }
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes))))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

/// The value of `webhook-timestamp`.
#[must_use]
pub fn webhook_timestamp(at: Timestamp) -> String {
    at.millis().div_euclid(1_000).to_string()
}

/// The value of `webhook-signature`: one signature by each secret.
#[must_use]
pub fn sign_webhook(secrets: &[WebhookSecret], id: &str, at: Timestamp, body: &[u8]) -> String {
    let timestamp = webhook_timestamp(at);
    let signatures = secrets.iter().map(|secret| {
        let tag = secret.tag(id, &timestamp, body);
        format!("{VERSION}{}", STANDARD.encode(tag.as_ref()))
    });
    signatures.collect::<Vec<String>>().join(" ")
}

/// Whether a message is by somebody who has one of the secrets, and was signed lately.
///
/// # Errors
/// Where it is not to be believed.
pub fn verify_webhook(
    secrets: &[WebhookSecret],
    headers: WebhookHeaders<'_>,
    body: &[u8],
    now: Timestamp,
) -> Result<(), WebhookSignatureError> {
    let id = headers.id;
    if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(WebhookSignatureError::Id);
    }
    let at = signed_at(headers.timestamp)?;
    let off = now.millis().abs_diff(at.millis());
    if off > WEBHOOK_TOLERANCE.millis().unsigned_abs() {
        return Err(WebhookSignatureError::Stale);
    }
    let tags = || headers.signature.split(' ').take(MOST_SIGNATURES).filter_map(read_tag);
    let timestamp = webhook_timestamp(at);
    let right = secrets.iter().any(|secret| {
        let expected = secret.tag(id, &timestamp, body);
        let expected = expected.as_ref();
        // Of two tags of one length, the comparison takes the same time wherever they differ.
        tags().any(|tag| aws_lc_rs::constant_time::verify_slices_are_equal(expected, &tag).is_ok())
    });
    if right { Ok(()) } else { Err(WebhookSignatureError::Forged) }
}

/// Only one way of writing a number is taken, since the number is what is signed.
fn signed_at(text: &str) -> Result<Timestamp, WebhookSignatureError> {
    let seconds: i64 = text.parse().map_err(|_| WebhookSignatureError::Timestamp)?;
    let millis = seconds.checked_mul(1_000).ok_or(WebhookSignatureError::Timestamp)?;
    if seconds.to_string() == text {
        Ok(Timestamp::from_millis(millis))
    } else {
        Err(WebhookSignatureError::Timestamp)
    }
}

fn read_tag(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.strip_prefix(VERSION)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: Timestamp = Timestamp::from_millis(1_614_265_330_000);
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn known() -> WebhookSecret {
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()
    }

    fn secret() -> WebhookSecret {
        WebhookSecret::fresh().expose_secret().parse().unwrap()
    }

    fn headers(signature: &str) -> WebhookHeaders<'_> {
        WebhookHeaders { id: ID, timestamp: "1614265330", signature }
    }

    #[test]
    fn the_vector_of_the_scheme_is_signed_and_verified() {
        assert_eq!(sign_webhook(&[known()], ID, AT, BODY), SIGNATURE);
        assert_eq!(verify_webhook(&[known()], headers(SIGNATURE), BODY, AT), Ok(()));
    }

    #[test]
    fn while_a_secret_is_replaced_either_side_may_have_only_one() {
        let (old, new) = (secret(), secret());
        let both = sign_webhook(&[new.clone(), old.clone()], ID, AT, BODY);
        assert_eq!(both.split(' ').count(), 2);
        for receiver in [old.clone(), new.clone()] {
            assert_eq!(verify_webhook(&[receiver], headers(&both), BODY, AT), Ok(()));
        }
        let by_old = sign_webhook(std::slice::from_ref(&old), ID, AT, BODY);
        assert_eq!(verify_webhook(&[new.clone(), old], headers(&by_old), BODY, AT), Ok(()));
        let refused = verify_webhook(&[new], headers(&by_old), BODY, AT);
        assert_eq!(refused, Err(WebhookSignatureError::Forged));
    }

    #[test]
    fn a_signature_is_good_for_minutes_only() {
        let minutes = |count: i64| Timestamp::from_millis(AT.millis() + count * 60_000);
        for (now, message) in [
            (minutes(5), Ok(())),
            (minutes(-5), Ok(())),
            (minutes(6), Err(WebhookSignatureError::Stale)),
            (minutes(-6), Err(WebhookSignatureError::Stale)),
        ] {
            assert_eq!(verify_webhook(&[known()], headers(SIGNATURE), BODY, now), message);
        }
    }

    #[test]
    fn what_is_not_of_the_scheme_is_refused() {
        let right = headers(SIGNATURE);
        let tag = SIGNATURE.strip_prefix("v1,").unwrap();
        let (other, cut) = (format!("v2,{tag}"), &SIGNATURE[..SIGNATURE.len() - 4]);
        for (given, message) in [
            (WebhookHeaders { id: "", ..right }, WebhookSignatureError::Id),
            (WebhookHeaders { id: "a b", ..right }, WebhookSignatureError::Id),
            (WebhookHeaders { id: "another", ..right }, WebhookSignatureError::Forged),
            (WebhookHeaders { timestamp: "", ..right }, WebhookSignatureError::Timestamp),
            (
                WebhookHeaders { timestamp: "+1614265330", ..right },
                WebhookSignatureError::Timestamp,
            ),
            (WebhookHeaders { timestamp: "1614265331", ..right }, WebhookSignatureError::Forged),
            (
                WebhookHeaders { timestamp: "9223372036854775807", ..right },
                WebhookSignatureError::Timestamp,
            ),
            (headers(""), WebhookSignatureError::Forged),
            (headers(tag), WebhookSignatureError::Forged),
            (headers(&other), WebhookSignatureError::Forged),
            (headers(cut), WebhookSignatureError::Forged),
        ] {
            assert_eq!(verify_webhook(&[known()], given, BODY, AT), Err(message), "{given:?}");
        }
        let none = verify_webhook(&[], right, BODY, AT);
        assert_eq!(none, Err(WebhookSignatureError::Forged));
    }

    #[test]
    fn a_secret_is_long_enough_and_cannot_be_printed() {
        let fresh = WebhookSecret::fresh();
        let secret: WebhookSecret = fresh.expose_secret().parse().unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret");
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_é"]
        {
            let refused = bad.parse::<WebhookSecret>().unwrap_err();
            assert!(!refused.to_string().contains("c2hv"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_was_signed_verifies_and_any_other_body_does_not(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            flip in any::<prop::sample::Index>(),
        ) {
            let secrets = [known()];
            let signature = sign_webhook(&secrets, ID, AT, &body);
            prop_assert_eq!(verify_webhook(&secrets, headers(&signature), &body, AT), Ok(()));
            let mut other = body.clone();
            if other.is_empty() { other.push(0) } else { let at = flip.index(other.len()); other[at] ^= 1 }
            let refused = verify_webhook(&secrets, headers(&signature), &other, AT);
            prop_assert_eq!(refused, Err(WebhookSignatureError::Forged));
        }

        #[test]
        fn nothing_a_stranger_sends_breaks_it(id in ".*", timestamp in ".*", signature in ".*") {
            let given = WebhookHeaders { id: &id, timestamp: &timestamp, signature: &signature };
            prop_assert!(verify_webhook(&[known()], given, b"", AT).is_err());
        }
    }
}

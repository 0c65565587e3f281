//! `OAUTHBEARER` (RFC 7628) in the protocol's SASL messages: a client shows an access token.
//!
//! It is the one mechanism that is offered, and the response is read strictly: no channel binding, no
//! other identity to act for, each key once. An empty token asks where tokens come from. A token that
//! isn't taken is answered with that, too; the client acknowledges, and then hears the refusal.

use bytes::{Bytes, BytesMut};
use pgwire::messages::startup::Authentication;
use secrecy::SecretString;
use serde::Serialize;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::wire::{Fatal, HEADER, WireError, cstring, put, read_message};

const MECHANISM: &str = "OAUTHBEARER";
/// The longest response; an access token is a few thousand bytes.
const LONGEST: usize = 16 * 1024;
/// What stands between and after the pairs, and alone acknowledges a failure.
const SEPARATOR: u8 = 0x01;

/// Why a response is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum SaslError {
    #[error("the one mechanism that is offered is OAUTHBEARER")]
    Mechanism,
    #[error("the mechanism begins with a response of the client, and there is none")]
    NoResponse,
    #[error("the length of the response is not that of the message")]
    Length,
    #[error("the mechanism has no channel binding, but the client wants one")]
    ChannelBinding,
    #[error("the client wants to act for another identity")]
    Identity,
    #[error("the response is not of the form of RFC 7628")]
    Form,
    #[error("the response names `auth` not exactly once")]
    Auth,
    #[error("the authorization is not of the form `Bearer TOKEN`")]
    Scheme,
}

impl From<&SaslError> for Fatal {
    fn from(error: &SaslError) -> Self {
        let message = format!("malformed OAUTHBEARER response: {error}");
        Self::new("08P01", message).hint("RFC 7628 says what a client sends.")
    }
}

/// What a client gets where its token isn't accepted (RFC 7628, section 3.2.2).
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    status: &'static str,
    scope: String,
    #[serde(rename = "openid-configuration")]
    openid_configuration: String,
}

impl Failure {
    pub(super) fn invalid_token(scope: String, openid_configuration: String) -> Self {
        Self { status: "invalid_token", scope, openid_configuration }
    }
}

/// Asks for a token; none where the client wants to know first where tokens come from.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
) -> Result<Result<Option<SecretString>, SaslError>, WireError> {
    say(stream, &Authentication::SASL(vec![MECHANISM.to_owned()])).await?;
    let message = read_message(stream, LONGEST).await?;
    Ok(read(body(&message)?))
}

/// The token in a client's first message.
pub(super) fn read(body: &[u8]) -> Result<Option<SecretString>, SaslError> {
    initial(body).and_then(token)
}

/// Says that the token isn't taken, and waits for the client's acknowledgement.
pub(super) async fn fail<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    failure: &Failure,
) -> Result<(), WireError> {
    let text = serde_json::to_vec(failure).map_err(std::io::Error::other)?;
    say(stream, &Authentication::SASLContinue(Bytes::from(text))).await?;
    let message = read_message(stream, LONGEST).await?;
    if body(&message)? == [SEPARATOR] { Ok(()) } else { Err(WireError::Body('p')) }
}

async fn say<S: AsyncWrite + Unpin>(
    stream: &mut S,
    message: &Authentication,
) -> Result<(), WireError> {
    let mut out = BytesMut::new();
    put(&mut out, message);
    stream.write_all(&out).await?;
    Ok(stream.flush().await?)
}

/// The body of a message that can only be of this type now.
fn body(message: &Bytes) -> Result<&[u8], WireError> {
    match message.first() {
        Some(b'p') => Ok(message.get(HEADER..).unwrap_or_default()),
        Some(other) => Err(WireError::Kind(char::from(*other))),
        None => Err(WireError::Body('p')),
    }
}

/// The response in a SASLInitialResponse.
fn initial(body: &[u8]) -> Result<&[u8], SaslError> {
    let (mechanism, rest) = cstring(body).ok_or(SaslError::Mechanism)?;
    if mechanism != MECHANISM.as_bytes() {
        return Err(SaslError::Mechanism);
    }
    let (length, response) = rest.split_first_chunk::<4>().ok_or(SaslError::Length)?;
    let length = i32::from_be_bytes(*length);
    if length == -1 && response.is_empty() {
        return Err(SaslError::NoResponse);
    }
    let fits = usize::try_from(length).is_ok_and(|length| length == response.len());
    if fits { Ok(response) } else { Err(SaslError::Length) }
}

/// The token of a client's response, where it isn't empty.
fn token(response: &[u8]) -> Result<Option<SecretString>, SaslError> {
    let text = std::str::from_utf8(response).map_err(|_| SaslError::Form)?;
    let pairs = after_header(text)?;
    let pairs = pairs.strip_suffix("\x01\x01").ok_or(SaslError::Form)?;
    let mut auth = None;
    for pair in pairs.split('\x01') {
        let (key, value) = pair.split_once('=').ok_or(SaslError::Form)?;
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic());
        if !is_key || !value.bytes().all(may_stand_in_value) {
            return Err(SaslError::Form);
        }
        if key == "auth" && auth.replace(value).is_some() {
            return Err(SaslError::Auth);
        }
    }
    bearer(auth.ok_or(SaslError::Auth)?)
}

/// What follows the GS2 header (RFC 5801, section 4) and its separator.
fn after_header(text: &str) -> Result<&str, SaslError> {
    let mut parts = text.splitn(3, ',');
    let (binding, identity) = (parts.next(), parts.next());
    match binding {
        Some("n" | "y") => {}
        Some(wanted) if wanted.starts_with("p=") => return Err(SaslError::ChannelBinding),
        Some(_) | None => return Err(SaslError::Form),
    }
    match identity {
        Some("") => {}
        Some(other) if other.starts_with("a=") => return Err(SaslError::Identity),
        Some(_) | None => return Err(SaslError::Form),
    }
    parts.next().and_then(|rest| rest.strip_prefix('\x01')).ok_or(SaslError::Form)
}

fn may_stand_in_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~')
}

/// `Bearer` and a token of the letters that RFC 6750 has for one.
fn bearer(auth: &str) -> Result<Option<SecretString>, SaslError> {
    if auth.is_empty() {
        return Ok(None);
    }
    let (scheme, token) = auth.split_once(' ').ok_or(SaslError::Scheme)?;
    let token = token.trim_start_matches(' ');
    let letters = token.trim_end_matches('=');
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    let fits = !letters.is_empty() && letters.bytes().all(letter);
    if scheme.eq_ignore_ascii_case("bearer") && fits {
        Ok(Some(SecretString::from(token)))
    } else {
        Err(SaslError::Scheme)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use secrecy::ExposeSecret;

    use super::*;

    fn read(response: &str) -> Result<Option<String>, SaslError> {
        let token = token(response.as_bytes())?;
        Ok(token.map(|token| token.expose_secret().to_owned()))
    }

    #[rstest]
    #[case::libpq("n,,\x01auth=Bearer a.b-c\x01\x01", Some("a.b-c"))]
    #[case::rfc(
        "n,,\x01host=gate\x01port=5432\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01",
        Some("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
    )]
    #[case::knows_of_binding("y,,\x01auth=bearer   a\x01\x01", Some("a"))]
    #[case::asks("n,,\x01auth=\x01\x01", None)]
    fn a_response_has_one_token_or_asks_where_to_get_one(
        #[case] response: &str,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(read(response), Ok(expected.map(str::to_owned)));
    }

    #[rstest]
    #[case("", SaslError::Form)]
    #[case("\x01", SaslError::Form)]
    #[case("n,,", SaslError::Form)]
    #[case("n,,\x01\x01", SaslError::Form)]
    #[case("n,,auth=Bearer a\x01\x01", SaslError::Form)]
    #[case("n,,\x01auth=Bearer a\x01", SaslError::Form)]
    #[case("n,,\x01auth=Bearer a\x01\x01x", SaslError::Form)]
    #[case("n,,\x01auth=Bearer a\x01\x01\x01", SaslError::Form)]
    #[case("n,,\x01auth=Bearer a\0\x01\x01", SaslError::Form)]
    #[case("n,,\x01auth=Bearer \u{e9}\x01\x01", SaslError::Form)]
    #[case("n,,\x01=Bearer a\x01\x01", SaslError::Form)]
    #[case("n,,\x01au-th=Bearer a\x01\x01", SaslError::Form)]
    #[case("n\x01auth=Bearer a\x01\x01", SaslError::Form)]
    #[case("x,,\x01auth=Bearer a\x01\x01", SaslError::Form)]
    #[case("n,b=c,\x01auth=Bearer a\x01\x01", SaslError::Form)]
    #[case("p=tls-exporter,,\x01auth=Bearer a\x01\x01", SaslError::ChannelBinding)]
    #[case("n,a=bob,\x01auth=Bearer a\x01\x01", SaslError::Identity)]
    #[case("n,,\x01host=a\x01\x01", SaslError::Auth)]
    #[case("n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01", SaslError::Auth)]
    #[case("n,,\x01auth=\x01auth=Bearer b\x01\x01", SaslError::Auth)]
    #[case("n,,\x01AUTH=Bearer a\x01\x01", SaslError::Auth)]
    #[case("n,,\x01auth=Bearer\x01\x01", SaslError::Scheme)]
    #[case("n,,\x01auth=Bearer \x01\x01", SaslError::Scheme)]
    #[case("n,,\x01auth=Bearer ==\x01\x01", SaslError::Scheme)]
    #[case("n,,\x01auth=Bearer a=b\x01\x01", SaslError::Scheme)]
    #[case("n,,\x01auth=Bearer a b\x01\x01", SaslError::Scheme)]
    #[case("n,,\x01auth=Basic YTpi\x01\x01", SaslError::Scheme)]
    fn what_has_no_clear_reading_is_no_token(#[case] response: &str, #[case] why: SaslError) {
        assert_eq!(read(response), Err(why));
    }

    #[test]
    fn the_length_of_the_response_is_that_of_the_message() {
        let message = |mechanism: &str, length: i32, response: &str| {
            [mechanism.as_bytes(), b"\0", &length.to_be_bytes(), response.as_bytes()].concat()
        };
        assert_eq!(initial(&message("OAUTHBEARER", 2, "ab")), Ok(&b"ab"[..]));
        for (body, why) in [
            (message("OAUTHBEARER", -1, ""), SaslError::NoResponse),
            (message("OAUTHBEARER", -1, "ab"), SaslError::Length),
            (message("OAUTHBEARER", 1, "ab"), SaslError::Length),
            (message("OAUTHBEARER", 3, "ab"), SaslError::Length),
            (message("OAUTHBEARER", i32::MIN, "ab"), SaslError::Length),
            (message("SCRAM-SHA-256", 2, "ab"), SaslError::Mechanism),
            (message("oauthbearer", 2, "ab"), SaslError::Mechanism),
            (b"OAUTHBEARER".to_vec(), SaslError::Mechanism),
            (b"OAUTHBEARER\0\0\0".to_vec(), SaslError::Length),
        ] {
            assert_eq!(initial(&body), Err(why), "{body:?}");
        }
    }

    #[tokio::test]
    async fn a_failure_is_sent_as_json_and_acknowledged_by_one_byte() {
        let failure = || Failure::invalid_token("openid".into(), "https://id.example.com/".into());
        for (reply, taken) in [(&b"\x01"[..], true), (b"", false), (b"\x01\x01", false)] {
            let (mut client, mut server) = tokio::io::duplex(4096);
            let mut message = vec![b'p', 0, 0, 0, 4 + u8::try_from(reply.len()).unwrap()];
            message.extend(reply);
            client.write_all(&message).await.unwrap();
            assert_eq!(fail(&mut server, &failure()).await.is_ok(), taken, "{reply:?}");
            let failure = read_message(&mut client, 1000).await.unwrap();
            let failure: serde_json::Value =
                serde_json::from_slice(&failure[HEADER + 4..]).unwrap();
            let expected = serde_json::json!({
                "status": "invalid_token", "scope": "openid",
                "openid-configuration": "https://id.example.com/",
            });
            assert_eq!(failure, expected);
        }
    }

    proptest! {
        #[test]
        fn no_response_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = initial(&bytes).and_then(token);
            let _ = token(&bytes);
        }

        #[test]
        fn what_is_read_as_a_token_was_sent_as_one(value in "[ -~]{0,60}") {
            if let Ok(Some(read)) = read(&format!("n,,\x01auth=Bearer {value}\x01\x01")) {
                prop_assert_eq!(read.as_str(), value.trim_start_matches(' '));
                prop_assert!(!read.contains(' '));
            }
        }
    }
}

//! Who looks at a page, and whether a form really came from one of ours.
//!
//! A browser keeps the login token in a cookie that no script can read and that is bound to our
//! host. A form acts only where three things agree: the browser says that our own page sent it, the
//! cookie is good, and the form carries the csrf_token that belongs to this very login.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policies::Ttl;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;

use crate::http::api::error::{Kind, Problem};
use crate::http::api::extract::Filled;
use crate::http::api::state::Api;
use crate::http::pages::page::{Next, Page, Turned};
use crate::http::presented_token::{cookie, cookie_name, is_https};
use crate::identity::proof::Proof;
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Refusal};
use crate::model::login::{LoginKind, Rank};

const UNWRITABLE: &str = "Control can't write to its disk. Access that is taken away is cut at once, and \
                          becomes durable as soon as control can write. Nothing else can be done \
                          until then.";

/// Somebody who is signed in with a browser.
pub(super) struct Visitor {
    pub(super) actor: Actor,
    pub(super) token: SecretString,
    /// What everybody has to know who is signed in.
    pub(super) notice: Option<&'static str>,
    /// The cookie that the answer has to bring, where the token is another one by now.
    fresh: Option<HeaderValue>,
}

/// What the forms of a signed-in person carry. Each uses some of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    csrf_token: String,
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) digest: String,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) shorten: String,
    #[serde(default)]
    pub(super) challenge: String,
    #[serde(default)]
    pub(super) proof: String,
    #[serde(default)]
    pub(super) totp: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) public_key: String,
    #[serde(default)]
    pub(super) signature: String,
    #[serde(default)]
    pub(super) principal: String,
    #[serde(default)]
    pub(super) resource: String,
    #[serde(default)]
    pub(super) span: String,
    #[serde(default)]
    pub(super) ticket: String,
    #[serde(default)]
    pub(super) starts_at: String,
    #[serde(default)]
    pub(super) emergency: String,
}

impl Fields {
    /// What a form of `touch` sent; none where it wasn't one of those.
    pub(super) fn proof(&mut self) -> Option<Proof> {
        let (proof, totp) = (std::mem::take(&mut self.proof), std::mem::take(&mut self.totp));
        match (self.challenge.is_empty(), proof.is_empty(), totp.is_empty()) {
            (true, _, _) => None,
            (false, true, false) => Some(Proof::Totp(totp.into())),
            (false, _, _) => Some(Proof::Passkey(proof)),
        }
    }
}

/// A form that a signed-in person sent from one of our pages.
pub(super) struct Act {
    pub(super) visitor: Visitor,
    pub(super) fields: Fields,
}

impl Visitor {
    fn new(actor: Actor, token: SecretString, api: &Api) -> Self {
        let unwritable = api.control.kernel.store_health().unwritable_since.is_some();
        Self { actor, token, notice: unwritable.then_some(UNWRITABLE), fresh: None }
    }

    /// Gives the login another token, since its person has just proved more than before: whoever had
    /// seen the one before holds nothing.
    pub(super) async fn raise(&mut self, api: &Api) -> Result<(), Turned> {
        let token = api.control.identity.raise(&self.actor).await?;
        self.go_on_with(token, api);
        Ok(())
    }

    /// Takes up the token by which the login goes on.
    pub(super) fn go_on_with(&mut self, token: SecretString, api: &Api) {
        let span = api.control.kernel.settings().sign_in.absolute;
        api.expect(&token, &self.actor);
        self.fresh = set_cookie(public_url(api), Some((&token, span)));
        self.token = token;
    }

    /// The header that an answer to them has to bring, where it has to.
    pub(super) fn cookie(&self) -> Option<[(HeaderName, HeaderValue); 1]> {
        self.fresh.clone().map(|cookie| [(header::SET_COOKIE, cookie)])
    }

    /// The csrf_token of this login's forms. It says nothing about the token, and nobody without the
    /// token can make it.
    pub(super) fn csrf_token(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"postern form v1\0");
        hash.update(self.token.expose_secret());
        URL_SAFE_NO_PAD.encode(hash.finalize())
    }

    fn check_csrf_token(&self, fields: &Fields) -> Result<(), Problem> {
        let same = self.csrf_token().as_bytes().ct_eq(fields.csrf_token.as_bytes());
        if bool::from(same) {
            return Ok(());
        }
        let detail = "this form belongs to another login, or you have proved yourself elsewhere since: \
                      open the page again";
        Err(Problem::new(Kind::Forbidden, detail))
    }
}

impl Page {
    /// With the name of the one who looks, and a way out.
    pub(super) fn of(self, visitor: &Visitor) -> Self {
        let actor = Some((visitor.actor.clone(), visitor.csrf_token()));
        Self { actor, notice: visitor.notice, cookie: visitor.cookie(), ..self }
    }
}

impl FromRequestParts<Api> for Visitor {
    type Rejection = Turned;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Turned> {
        let to_login = || Turned::SignIn(Next::of(parts.uri.path()));
        let token = cookie(&parts.headers, cookie_name(public_url(api))).ok_or_else(to_login)?;
        match api.recognise(parts, &token, LoginKind::Browser).await {
            Ok((actor, Rank::Full)) => Ok(Self::new(actor, token, api)),
            Ok((_, Rank::Enrolling)) => Err(Turned::Enrol),
            Err(ControlError::Refused(Refusal::Unauthenticated)) => Err(to_login()),
            Err(other) => Err(Problem::from(other).into()),
        }
    }
}

impl FromRequest<Api> for Act {
    type Rejection = Turned;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Turned> {
        ours(request.headers(), public_url(api))?;
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, api).await?;
        Self::read(visitor, Request::from_parts(parts, body), api).await
    }
}

impl Act {
    async fn read(visitor: Visitor, request: Request, api: &Api) -> Result<Self, Turned> {
        let Filled(fields) = Filled::<Fields>::from_request(request, api).await?;
        visitor.check_csrf_token(&fields)?;
        Ok(Self { visitor, fields })
    }
}

/// Somebody whose login may so far do nothing but register a passkey, or anybody else.
pub(super) struct Enrollee(pub(super) Visitor);

/// A form that such a person sent from one of our pages.
pub(super) struct Enrolling(pub(super) Act);

impl FromRequestParts<Api> for Enrollee {
    type Rejection = Turned;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Turned> {
        let to_login = || Turned::SignIn(Next::of(parts.uri.path()));
        let token = cookie(&parts.headers, cookie_name(public_url(api))).ok_or_else(to_login)?;
        match api.recognise(parts, &token, LoginKind::Browser).await {
            Ok((actor, _)) => Ok(Self(Visitor::new(actor, token, api))),
            Err(ControlError::Refused(Refusal::Unauthenticated)) => Err(to_login()),
            Err(other) => Err(Problem::from(other).into()),
        }
    }
}

impl FromRequest<Api> for Enrolling {
    type Rejection = Turned;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Turned> {
        ours(request.headers(), public_url(api))?;
        let (mut parts, body) = request.into_parts();
        let Enrollee(visitor) = Enrollee::from_request_parts(&mut parts, api).await?;
        Act::read(visitor, Request::from_parts(parts, body), api).await.map(Self)
    }
}

/// The address that people type.
pub(super) fn public_url(api: &Api) -> &Url {
    &api.control.kernel.settings().public_url
}

/// Whether the browser says that one of our own pages sent this.
///
/// Browsers send `Origin: null` with our forms since our pages send no referrer, so that it is
/// `Sec-Fetch-Site` that tells; where a browser doesn't know that, the origin has to be ours.
///
/// # Errors
/// Where it says otherwise, or nothing.
pub(super) fn ours(headers: &HeaderMap, public: &Url) -> Result<(), Problem> {
    let said = |name| {
        let value = headers.get(name);
        value.map(|value: &HeaderValue| value.to_str().unwrap_or("unreadable"))
    };
    let own = public.origin().ascii_serialization();
    let fits = match (said("sec-fetch-site"), said("origin")) {
        (Some("same-origin"), None | Some("null")) => true,
        (None | Some("same-origin"), Some(origin)) => origin == own,
        (Some(_), _) | (None, None) => false,
    };
    if fits {
        return Ok(());
    }
    let detail = "this form was not sent by a page of ours";
    Err(Problem::new(Kind::Forbidden, detail))
}

/// The cookie of a fresh login, or, without a token, its removal.
pub(super) fn set_cookie(public: &Url, login: Option<(&SecretString, Ttl)>) -> Option<HeaderValue> {
    let (token, age) =
        login.map_or(("", 0), |(token, span)| (token.expose_secret(), span.millis() / 1_000));
    let name = cookie_name(public);
    let secure = if is_https(public) { "; Secure" } else { "" };
    let text = format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}");
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The token that a browser sent, good or not.
pub(super) fn sent(headers: &HeaderMap, public: &Url) -> Option<SecretString> {
    cookie(headers, cookie_name(public))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const PUBLIC: &str = "https://gate.example.com/";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[rstest]
    #[case(&[("sec-fetch-site", "same-origin")], true)]
    #[case(&[("sec-fetch-site", "same-origin"), ("origin", "null")], true)]
    #[case(&[("sec-fetch-site", "same-origin"), ("origin", "https://gate.example.com")], true)]
    #[case(&[("origin", "https://gate.example.com")], true)]
    #[case(&[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example.com")], false)]
    #[case(&[("sec-fetch-site", "same-site"), ("origin", "https://gate.example.com")], false)]
    #[case(&[("sec-fetch-site", "cross-site"), ("origin", "null")], false)]
    #[case(&[("sec-fetch-site", "none")], false)]
    #[case(&[("origin", "null")], false)]
    #[case(&[("origin", "http://gate.example.com")], false)]
    #[case(&[("origin", "https://gate.example.com.evil.example")], false)]
    #[case(&[], false)]
    fn only_our_own_pages_send_forms(
        #[case] sent: &[(&'static str, &'static str)],
        #[case] fits: bool,
    ) {
        let public = Url::parse(PUBLIC).unwrap();
        assert_eq!(ours(&headers(sent), &public).is_ok(), fits, "{sent:?}");
    }

    #[test]
    fn a_cookie_is_bound_to_our_host_and_hidden_from_scripts() {
        let public = Url::parse(PUBLIC).unwrap();
        let token = SecretString::from("t");
        let value = set_cookie(&public, Some((&token, Ttl::from_secs(60)))).unwrap();
        let expected = "__Host-postern=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure";
        assert_eq!(value.to_str().unwrap(), expected);
        assert_eq!(format!("{value:?}"), "Sensitive");
    }
}

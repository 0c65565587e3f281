//! Asking an issuer about somebody: with the code that their browser brought, or with the refresh
//! token of an earlier sign-in.
//!
//! `openidconnect` writes the requests and reads the answers; the tokens in them are believed only
//! by [`Issuers::verify`].

use std::sync::Arc;

use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreErrorResponseType, CoreTokenResponse,
};
use openidconnect::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, JsonWebKeySet, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, Scope, StandardErrorResponse, TokenResponse,
    TokenUrl,
};
use policies::Ttl;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use url::Url;

use crate::identity::issuers::{Claims, Expect, Issuers, Metadata, Typ};
use crate::identity::oidc::refusal::OidcRefusal;
use crate::identity::oidc::vouched::Vouched;
use crate::model::issuer::Issuer;
use crate::platform::email_address::Email;
use crate::platform::http_client::{Http, HttpError};
use crate::platform::sanitize::clip;

/// An id token comes straight from the issuer: it can't be old.
const ID_TOKEN_AGE: Ttl = Ttl::from_secs(5 * 60);
const LONGEST_NAME: usize = 100;

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
    EndpointNotSet,
>;
type Failure = RequestTokenError<HttpError, StandardErrorResponse<CoreErrorResponseType>>;

/// An issuer with what it says about itself, ready to be asked.
pub(super) struct Asking<'a> {
    issuer: &'a Issuer,
    issuers: &'a Issuers,
    http: Arc<Http>,
    pub(super) metadata: &'a Metadata,
    client: Client,
}

/// What binds an answer to the sign-in that asked for it.
pub(super) struct Bond {
    pub(super) state: SecretString,
    pub(super) nonce: String,
    pub(super) verifier: SecretString,
}

impl<'a> Asking<'a> {
    pub(super) fn new(
        issuer: &'a Issuer,
        issuers: &'a Issuers,
        metadata: &'a Metadata,
        redirect: &str,
    ) -> Result<Self, OidcRefusal> {
        let client = client(issuer, metadata, redirect)?;
        let http = issuers.http(&issuer.url);
        Ok(Self { issuer, issuers, http, metadata, client })
    }

    /// Where the browser is sent.
    pub(super) fn url(&self, bond: &Bond) -> Url {
        let verifier = PkceCodeVerifier::new(bond.verifier.expose_secret().to_owned());
        let state = CsrfToken::new(bond.state.expose_secret().to_owned());
        let nonce = Nonce::new(bond.nonce.clone());
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let scopes = self.issuer.scopes.iter().map(|scope| Scope::new(scope.clone()));
        let mut request = self
            .client
            .authorize_url(flow, move || state, move || nonce)
            .add_scopes(scopes)
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        // A refresh token is only given where consent is asked (OpenID Connect Core 1.0, 11).
        if self.issuer.scopes.iter().any(|scope| scope == "offline_access") {
            request = request.add_extra_param("prompt", "consent");
        }
        request.url().0
    }

    /// What the issuer says of whoever brought this code.
    pub(super) async fn redeem(&self, code: String, bond: &Bond) -> Result<Vouched, OidcRefusal> {
        let verifier = PkceCodeVerifier::new(bond.verifier.expose_secret().to_owned());
        let answer = self
            .client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(verifier)
            .request_async(&*self.http)
            .await;
        let answer = answer.map_err(|failure| refused(failure, OidcRefusal::CodeRefused))?;
        let claims = self.id_claims(&answer).await?;
        let claims = claims.ok_or(OidcRefusal::Strange("it holds no id token"))?;
        if claims.nonce.as_deref() != Some(bond.nonce.as_str()) {
            return Err(OidcRefusal::WrongNonce);
        }
        let subject =
            claims.subject.clone().ok_or(OidcRefusal::Strange("the id token names nobody"))?;
        self.vouched(subject, Some(claims), &answer).await
    }

    /// What the issuer says by now of somebody who signed in earlier.
    pub(super) async fn again(
        &self,
        subject: &str,
        token: &SecretString,
    ) -> Result<Vouched, OidcRefusal> {
        let token = RefreshToken::new(token.expose_secret().to_owned());
        let answer = self.client.exchange_refresh_token(&token).request_async(&*self.http).await;
        let answer = answer.map_err(|failure| refused(failure, OidcRefusal::NoLongerVouched))?;
        let claims = self.id_claims(&answer).await?;
        self.vouched(subject.to_owned(), claims, &answer).await
    }

    /// The claims of the id token, where there is one.
    async fn id_claims(&self, answer: &CoreTokenResponse) -> Result<Option<Claims>, OidcRefusal> {
        let Some(token) = answer.id_token() else { return Ok(None) };
        let expect = Expect {
            audience: &self.issuer.client_id,
            typ: Typ::Plain,
            max_age: Some(ID_TOKEN_AGE),
        };
        let claims = self.issuers.verify(&self.issuer.url, &token.to_string(), &expect).await?;
        // A token for several was made for one of them (OpenID Connect Core 1.0, 3.1.3.7).
        let party = claims.authorized_party.as_ref();
        let ours = match party {
            Some(party) => *party == self.issuer.client_id,
            None => claims.audience.len() == 1,
        };
        if ours {
            Ok(Some(claims))
        } else {
            Err(crate::identity::issuers::JwtError::Audience.into())
        }
    }

    async fn vouched(
        &self,
        subject: String,
        claims: Option<Claims>,
        answer: &CoreTokenResponse,
    ) -> Result<Vouched, OidcRefusal> {
        if claims.as_ref().is_some_and(|claims| claims.subject.as_ref() != Some(&subject)) {
            return Err(OidcRefusal::WrongSubject);
        }
        let sid = claims.as_ref().and_then(|claims| claims.session.clone());
        let held = claims.is_some() || self.issuer.userinfo;
        let mut said = claims.map(|claims| claims.all).unwrap_or_default();
        let endpoint = self.metadata.userinfo_endpoint.as_ref();
        match endpoint.filter(|_| self.issuer.userinfo || said.is_empty()) {
            Some(url) => {
                let more = self.userinfo(url, answer.access_token().secret(), &subject).await?;
                said.extend(more);
            }
            None if self.issuer.userinfo => {
                return Err(OidcRefusal::Strange("it has no userinfo endpoint"));
            }
            None => {}
        }
        let groups = self.issuer.groups_in(&said, held).map_err(|_| OidcRefusal::BadGroups)?;
        let refresh_token = answer.refresh_token().map(|token| token.secret().clone().into());
        let (name, email) = (name(&said), verified_email(&said));
        Ok(Vouched { name, subject, groups, email, sid, refresh_token })
    }

    async fn userinfo(
        &self,
        url: &Url,
        token: &str,
        subject: &str,
    ) -> Result<Map<String, Value>, OidcRefusal> {
        let mut request = Request::new(Method::GET, url.clone());
        let bearer = HeaderValue::try_from(format!("Bearer {token}"));
        let mut bearer =
            bearer.map_err(|_| OidcRefusal::Strange("its access token is malformed"))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let answer = self.http.send(request).await.map_err(OidcRefusal::Unreachable)?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(OidcRefusal::NoLongerVouched);
            }
            other => return Err(OidcRefusal::Unreachable(HttpError::Status(other))),
        }
        let said: Map<String, Value> = serde_json::from_slice(&answer.body)
            .map_err(|_| OidcRefusal::Strange("what userinfo answers is not JSON"))?;
        // Userinfo of another person must not be used (OpenID Connect Core 1.0, 5.3.2).
        let same = said.get("sub").and_then(Value::as_str) == Some(subject);
        if same { Ok(said) } else { Err(OidcRefusal::WrongSubject) }
    }
}

fn client(issuer: &Issuer, metadata: &Metadata, redirect: &str) -> Result<Client, OidcRefusal> {
    let unfit = || OidcRefusal::Strange("it has no endpoints for people to sign in");
    let web = |url: &Option<Url>| {
        let fits = url.clone().filter(|url| matches!(url.scheme(), "https" | "http"));
        fits.ok_or_else(unfit)
    };
    let authorization = web(&metadata.authorization_endpoint)?;
    let token = web(&metadata.token_endpoint)?;
    let named = openidconnect::IssuerUrl::new(issuer.url.as_str().to_owned());
    let id = ClientId::new(issuer.client_id.clone());
    let mut client = CoreClient::new(id, named.map_err(|_| unfit())?, JsonWebKeySet::new(vec![]));
    if let Some(secret) = &issuer.client_secret {
        client = client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
    }
    let redirect = RedirectUrl::new(redirect.to_owned());
    Ok(client
        .set_auth_type(auth_type(metadata))
        .set_auth_uri(AuthUrl::from_url(authorization))
        .set_token_uri(TokenUrl::from_url(token))
        .set_redirect_uri(redirect.map_err(|_| OidcRefusal::Strange("our own address is unfit"))?))
}

/// How we prove ourselves: in the header, which all have to know, but where the issuer knows only
/// the other way.
fn auth_type(metadata: &Metadata) -> AuthType {
    let known = metadata.token_endpoint_auth_methods_supported.as_deref();
    let knows = |method: &str| known.is_some_and(|all| all.iter().any(|one| one == method));
    if knows("client_secret_post") && !knows("client_secret_basic") {
        AuthType::RequestBody
    } else {
        AuthType::BasicAuth
    }
}

/// What it means that the token endpoint didn't give tokens: `grant_refused` where it doesn't take
/// what we brought, and an outage where it says nothing that can be read.
fn refused(failure: Failure, grant_refused: OidcRefusal) -> OidcRefusal {
    match failure {
        RequestTokenError::ServerResponse(said)
            if *said.error() == CoreErrorResponseType::InvalidGrant =>
        {
            grant_refused
        }
        RequestTokenError::ServerResponse(said) => {
            OidcRefusal::Client(clip(said.error().as_ref(), 64))
        }
        RequestTokenError::Request(error) => OidcRefusal::Unreachable(error),
        RequestTokenError::Parse(_, _) => {
            OidcRefusal::Strange("it is not what a token endpoint says")
        }
        RequestTokenError::Other(_) => OidcRefusal::Strange("it is empty"),
    }
}

fn name(said: &Map<String, Value>) -> Option<String> {
    let texts = ["name", "preferred_username", "email"];
    let mut texts = texts.into_iter().filter_map(|claim| said.get(claim)?.as_str());
    texts.find(|text| !text.trim().is_empty()).map(|text| clip(text.trim(), LONGEST_NAME))
}

/// Where mail reaches them, where the issuer has made sure of it (OpenID Connect Core 1.0, 5.1). Some
/// issuers write the flag as a text.
fn verified_email(said: &Map<String, Value>) -> Option<Email> {
    let verified = match said.get("email_verified")? {
        Value::Bool(verified) => *verified,
        Value::String(text) => text == "true",
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    };
    said.get("email").filter(|_| verified)?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_address_that_the_issuer_has_verified_is_written_to() {
        for (said, email) in [
            (
                json!({ "email": "alice@example.com", "email_verified": true }),
                Some("alice@example.com"),
            ),
            (
                json!({ "email": "alice@example.com", "email_verified": "true" }),
                Some("alice@example.com"),
            ),
            (json!({ "email": "alice@example.com", "email_verified": false }), None),
            (json!({ "email": "alice@example.com", "email_verified": 1 }), None),
            (json!({ "email": "alice@example.com" }), None),
            (
                json!({ "email": "a@example.com\r\nBcc: b@example.com", "email_verified": true }),
                None,
            ),
            (json!({ "email_verified": true }), None),
        ] {
            let found = verified_email(said.as_object().unwrap());
            assert_eq!(found.as_ref().map(Email::as_str), email, "{said}");
        }
    }
}

//! Signing in and out with a browser.
//!
//! A link can fill the code in, but only a form signs in: what opens links by itself, such as a
//! mail scanner or a preview, must not spend a code that is good once.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::SecretString;
use serde::Deserialize;

use super::markup::Markup;
use super::session::{Act, ours, public_url, sent, set_cookie};
use super::{challenge_form, oidc};
use crate::http::api::error::Problem;
use crate::http::api::extract::{Asked, Filled};
use crate::http::api::front::Front;
use crate::http::api::guard::Source;
use crate::http::api::login::origin;
use crate::http::api::state::Api;
use crate::http::pages::page::{Next, Page, Turned, hidden};
use crate::model::login::{LoginKind, LoginSession, Rank};

/// What a sign-in link carries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Link {
    #[serde(default)]
    code: String,
    #[serde(default)]
    next: String,
}

/// The form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    code: SecretString,
    #[serde(default)]
    next: String,
}

/// The form of a passkey.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Touch {
    challenge: String,
    proof: String,
    #[serde(default)]
    next: String,
}

pub(super) async fn show(
    State(front): State<Front>,
    link: Result<Asked<Link>, Problem>,
) -> Result<Page, Turned> {
    let Asked(link) = link?;
    let next = Next::of(&link.next);
    let body = passkey(&front, &link)
        .piece(&oidc::buttons(&front, &next))
        .raw("<form class=\"card\" method=\"post\" action=\"/login\">")
        .piece(&hidden("next", next.path()))
        .raw("<label>The code of your sign-in link")
        .raw("<input class=\"code\" name=\"code\" required autofocus autocomplete=\"off\"")
        .raw(" autocapitalize=\"none\" spellcheck=\"false\" maxlength=\"200\" value=\"")
        .text(&link.code)
        .raw("\"></label><button>Sign in</button></form>")
        .raw("<p class=\"quiet\">The code is what stands after <code>#</code> in the link, and good")
        .raw(" once. An admin makes links, on the page Invite or by <code>postern invite</code>.</p>");
    Ok(Page::new("Sign in", body).with_script())
}

/// Nothing, where passkeys don't work at our address.
fn passkey(front: &Front, link: &Link) -> Markup {
    let challenge = front.sign_in_challenge().ok();
    let fields = hidden("next", Next::of(&link.next).path());
    let button = "Sign in with a passkey";
    let form = challenge_form::Form { action: "/login/passkey", fields, button };
    challenge.map_or_else(Markup::new, |challenge| challenge_form::prove(&challenge, &form))
}

pub(super) async fn sign_in(
    State(front): State<Front>,
    source: Source,
    headers: HeaderMap,
    form: Result<Filled<Form>, Problem>,
) -> Result<Response, Turned> {
    ours(&headers, front.public_url())?;
    front.bounds.sign_in(source)?;
    let Filled(form) = form?;
    let origin = origin(LoginKind::Browser, None, source, &headers);
    let login = front.sign_in(&form.code, origin).await?;
    enter(&front, &headers, &login, &form.next).await
}

pub(super) async fn with_passkey(
    State(front): State<Front>,
    source: Source,
    headers: HeaderMap,
    form: Result<Filled<Touch>, Problem>,
) -> Result<Response, Turned> {
    ours(&headers, front.public_url())?;
    front.bounds.sign_in(source)?;
    let Filled(form) = form?;
    let origin = origin(LoginKind::Browser, None, source, &headers);
    let login = front.sign_in_with_passkey(&form.challenge, &form.proof, origin).await?;
    enter(&front, &headers, &login, &form.next).await
}

/// Hands the browser its cookie, and ends the login that it had before.
async fn enter(
    front: &Front,
    headers: &HeaderMap,
    login: &LoginSession,
    next: &str,
) -> Result<Response, Turned> {
    let public = front.public_url();
    if let Some(former) = sent(headers, public) {
        front.leave(&former).await?;
    }
    front.expect(login);
    let span = front.now().until(login.expires_at);
    let cookie = set_cookie(public, Some((&login.token, span)));
    let next = match login.rank {
        Rank::Full => Redirect::to(Next::of(next).path()),
        Rank::Enrolling => Redirect::to("/keys"),
    };
    Ok((cookie.map(|cookie| [(header::SET_COOKIE, cookie)]), next).into_response())
}

pub(super) async fn sign_out(
    State(api): State<Api>,
    State(front): State<Front>,
    act: Act,
) -> Result<Response, Turned> {
    let farewell = api.control.identity.farewell(&act.visitor.token).await;
    front.leave(&act.visitor.token).await?;
    let gone = set_cookie(public_url(&api), None);
    let gone = gone.map(|cookie| [(header::SET_COOKIE, cookie)]);
    let onward = match farewell {
        Some(url) => oidc::onward("Signed out", &url),
        None => Redirect::to("/login").into_response(),
    };
    Ok((gone, onward).into_response())
}

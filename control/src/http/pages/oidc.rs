//! Signing in with an issuer, in a browser: the way there, the way back, and the issuer's own word
//! that somebody has signed out.
//!
//! Our pages only let forms go to ourselves, which browsers hold against redirects too. So the
//! answer to the button is a page that leads on by itself, and has a link for browsers that don't.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use policies::{IssuerName, Ttl};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::markup::Markup;
use super::session::{ours, sent, set_cookie};
use crate::http::api::error::{Kind, Problem};
use crate::http::api::extract::{Asked, At, Filled};
use crate::http::api::front::Front;
use crate::http::api::guard::Source;
use crate::http::api::login::origin;
use crate::http::pages::page::{Next, Page, Turned, capital, hidden};
use crate::http::presented_token::{cookie, is_https};
use crate::identity::oidc::flow::{Answer, Finished, LIFE, is_flow};
use crate::identity::oidc::refusal::OidcRefusal;
use crate::model::login::LoginKind;

/// The form behind an issuer's button.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    #[serde(default)]
    next: String,
}

/// What an issuer posts where somebody has signed out there.
#[derive(Deserialize)]
pub(super) struct Logout {
    logout_token: SecretString,
}

/// A button for every issuer.
pub(super) fn buttons(front: &Front, next: &Next) -> Markup {
    let names = front.issuers();
    names.iter().fold(Markup::new(), |page, name| {
        page.raw("<form class=\"card\" method=\"post\" action=\"/oidc/")
            .text(name)
            .raw("/login\">")
            .piece(&hidden("next", next.path()))
            .raw("<button>Sign in with ")
            .text(name)
            .raw("</button></form>")
    })
}

/// Begins a sign-in.
pub(super) async fn begin(
    State(front): State<Front>,
    source: Source,
    issuer: Result<At<IssuerName>, Problem>,
    headers: HeaderMap,
    form: Result<Filled<Form>, Problem>,
) -> Result<Response, Turned> {
    let (At(issuer), public) = (issuer?, front.public_url());
    ours(&headers, public)?;
    front.bounds.sign_in(source)?;
    let Filled(form) = form?;
    let next = Next::of(&form.next);
    let begun = match front.begin_flow(&issuer, next.path(), source).await {
        Ok(begun) => begun,
        Err(refusal) => return Ok(refused(&refusal).into_response()),
    };
    let cookie = flow_cookie(public, Some(&begun.cookie));
    let onward = onward("Signing in", &begun.url);
    Ok((cookie.map(|cookie| [(header::SET_COOKIE, cookie)]), onward).into_response())
}

/// Takes somebody back from the issuer.
pub(super) async fn finish(
    State(front): State<Front>,
    source: Source,
    issuer: Result<At<IssuerName>, Problem>,
    headers: HeaderMap,
    answer: Result<Asked<Answer>, Problem>,
) -> Result<Response, Turned> {
    let (At(issuer), Asked(answer), public) = (issuer?, answer?, front.public_url());
    front.bounds.sign_in(source)?;
    let held = cookie(&headers, flow_name(public));
    let held = held.filter(|held| is_flow(held.expose_secret()));
    let origin = origin(LoginKind::Browser, None, source, &headers);
    let finished = front.finish_flow(&issuer, held.as_ref(), answer, origin).await;
    let gone = flow_cookie(public, None);
    match finished {
        Ok(Finished { session, next }) => {
            if let Some(former) = sent(&headers, public) {
                front.leave(&former).await?;
            }
            front.expect(&session);
            let span = front.now().until(session.expires_at);
            let cookies = [set_cookie(public, Some((&session.token, span))), gone];
            let cookies = cookies.into_iter().flatten().map(|value| (header::SET_COOKIE, value));
            let next = Redirect::to(Next::of(&next).path());
            Ok((AppendHeaders(cookies.collect::<Vec<_>>()), next).into_response())
        }
        // Whoever has begun keeps what they hold where somebody else's answer was refused.
        Err(refusal) => Ok(refused(&refusal).into_response()),
    }
}

/// Hears from an issuer that somebody has signed out (Back-Channel Logout 1.0, 2.8).
pub(super) async fn back_channel(
    State(front): State<Front>,
    source: Source,
    issuer: Result<At<IssuerName>, Problem>,
    form: Result<Filled<Logout>, Problem>,
) -> Result<Response, Problem> {
    let (At(issuer), Filled(form)) = (issuer?, form?);
    let refusal = match front.back_channel(&issuer, form.logout_token.expose_secret()).await {
        Ok(_) => return Ok(StatusCode::OK.into_response()),
        Err(refusal) => refusal,
    };
    // Only what fails is counted, so that an issuer may tell of as many logouts as there are.
    front.bounds.sign_in(source)?;
    front.refuse_logout(&issuer, source, &refusal).await?;
    if refusal.is_outage() {
        return Err(Problem::new(Kind::Unavailable, refusal.to_string()));
    }
    let body = json!({ "error": "invalid_request", "error_description": refusal.to_string() });
    Ok((StatusCode::BAD_REQUEST, Json(body)).into_response())
}

/// A page that leads elsewhere by itself.
pub(super) fn onward(title: &'static str, url: &Url) -> Response {
    let body = Markup::new()
        .raw("<p>You are on your way to <code>")
        .text(url.host_str().unwrap_or_default())
        .raw("</code>.</p><p><a rel=\"noreferrer\" href=\"")
        .text(url)
        .raw("\">Go on</a></p>");
    let mut response = Page::new(title, body).into_response();
    if let Ok(value) = HeaderValue::try_from(format!("0; url={url}")) {
        response.headers_mut().insert(HeaderName::from_static("refresh"), value);
    }
    response
}

/// What happened, and what to do about it.
fn refused(refusal: &OidcRefusal) -> Page {
    let body = Markup::new()
        .raw("<p class=\"warn\">")
        .text(capital(&refusal.to_string()))
        .raw(".</p><p>")
        .text(refusal.remedy())
        .raw("</p><p class=\"quiet\">Reason: <code>")
        .text(refusal.code())
        .raw("</code></p><p><a href=\"/login\">Begin again</a></p>");
    let status = if refusal.is_outage() {
        StatusCode::SERVICE_UNAVAILABLE
    } else if matches!(refusal, OidcRefusal::NoIssuer(_)) {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::FORBIDDEN
    };
    Page { status, ..Page::new("You are not signed in", body) }
}

fn flow_name(public: &Url) -> &'static str {
    if is_https(public) { "__Host-postern-flow" } else { "postern-flow" }
}

/// The cookie of a sign-in under way, or its removal. The way back begins at the issuer, so that it
/// has to be `Lax`.
fn flow_cookie(public: &Url, secret: Option<&SecretString>) -> Option<HeaderValue> {
    let (value, age) =
        secret.map_or(("", Ttl::from_millis(0)), |secret| (secret.expose_secret(), LIFE));
    let (name, age) = (flow_name(public), age.millis() / 1_000);
    let secure = if is_https(public) { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}");
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_of_a_sign_in_is_for_this_host_and_no_script() {
        let secret = SecretString::from("psb_secret");
        let public = Url::parse("https://gate.example.com").unwrap();
        let set = flow_cookie(&public, Some(&secret)).unwrap();
        let wanted = "__Host-postern-flow=psb_secret; Path=/; HttpOnly; SameSite=Lax; \
                      Max-Age=600; Secure";
        assert_eq!(set.to_str().unwrap(), wanted);
        assert!(set.is_sensitive());
        let gone = flow_cookie(&public, None).unwrap();
        assert!(
            gone.to_str().unwrap().contains("=; ") && gone.to_str().unwrap().contains("Max-Age=0")
        );
    }
}

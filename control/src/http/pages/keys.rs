//! My keys: passkeys and the authenticator app, to add, name and remove.
//!
//! Whatever changes what protects the account is shown as a statement first, and takes a touch of a
//! key that is there already. Somebody without any yet just adds their first.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::ExposeSecret;

use super::challenge_form::{Form, Operation};
use super::markup::Markup;
use super::session::{Act, Enrollee, Enrolling, Fields, Visitor};
use super::{challenge_form, ssh_keys};
use crate::http::api::error::{Kind, Problem};
use crate::http::api::extract::At;
use crate::http::api::state::Api;
use crate::http::pages::factors::{agree, last_used};
use crate::http::pages::page::{Page, Turned, hidden, is_id};
use crate::model::error::ControlError;
use crate::model::view::PasskeyView;

pub(super) async fn show(
    State(api): State<Api>,
    Enrollee(visitor): Enrollee,
) -> Result<Page, Turned> {
    let keys = api.control.identity.passkeys(&visitor.actor).await?;
    let factors = api.control.identity.factors(&visitor.actor.principal.id).await?;
    let csrf_token = visitor.csrf_token();
    let head = if keys.is_empty() { none_yet() } else { Markup::new() };
    let list =
        keys.iter().fold(head, |page, key| page.piece(&card(key, keys.len() > 1, &csrf_token)));
    let body = list.piece(&plain("/keys/add\">", &csrf_token, "Add a passkey"));
    let body = if api.control.kernel.settings().totp {
        body.piece(&app(factors.totp, &csrf_token))
    } else {
        body
    };
    let body = body.piece(&ssh_keys::section(&api, &visitor).await?);
    Ok(Page::new("My keys", body).of(&visitor))
}

fn none_yet() -> Markup {
    Markup::new()
        .raw("<p>You have no passkey yet. A passkey is kept by your phone, your computer or a")
        .raw(" security key; it signs you in and confirms what you do here, and nobody can talk")
        .raw(" it out of you.</p>")
}

fn card(key: &PasskeyView, removable: bool, csrf_token: &str) -> Markup {
    let card = Markup::new()
        .raw("<div class=\"card\"><h2 class=\"name\">")
        .text(&key.name)
        .raw("</h2><dl>")
        .moment("Added", key.added_at)
        .piece(&last_used(key.used_at))
        .raw("</dl>")
        .piece(&of_key(key, "/rename\">", csrf_token))
        .raw("<label>Name<input name=\"name\" required maxlength=\"64\" autocomplete=\"off\" value=\"")
        .text(&key.name)
        .raw("\"></label><button class=\"plain\">Rename</button></form>");
    let card = if removable {
        card.piece(&of_key(key, "/remove\">", csrf_token))
            .raw("<button class=\"stop\">Remove</button></form>")
    } else {
        card.raw("<p class=\"quiet\">Your only passkey can't be removed.</p>")
    };
    card.raw("</div>")
}

fn of_key(key: &PasskeyView, verb: &'static str, csrf_token: &str) -> Markup {
    Markup::new()
        .raw("<form method=\"post\" action=\"/keys/")
        .text(&key.id)
        .raw(verb)
        .piece(&hidden("csrf_token", csrf_token))
}

fn plain(action: &'static str, csrf_token: &str, button: &'static str) -> Markup {
    Markup::new()
        .raw("<form method=\"post\" action=\"")
        .raw(action)
        .piece(&hidden("csrf_token", csrf_token))
        .raw("<button>")
        .raw(button)
        .raw("</button></form>")
}

fn app(there: bool, csrf_token: &str) -> Markup {
    let section = Markup::new().raw("<h2>Authenticator app</h2>").raw(
        "<p class=\"quiet\">Its codes are weaker than a passkey: somebody can talk you out of one.</p>",
    );
    if there {
        section.piece(&plain("/keys/totp/remove\">", csrf_token, "Remove the app"))
    } else {
        section.piece(&plain("/keys/totp/add\">", csrf_token, "Add an app"))
    }
}

fn check_csrf_token(visitor: &Visitor) -> Markup {
    hidden("csrf_token", &visitor.csrf_token())
}

/// Whether the person still has to prove themselves before this is done.
async fn unproven(api: &Api, visitor: &Visitor, fields: &Fields) -> Result<bool, ControlError> {
    let whose = &visitor.actor.principal.id;
    Ok(fields.challenge.is_empty() && api.control.identity.factors(whose).await?.any())
}

pub(super) async fn add(
    State(api): State<Api>,
    Enrolling(Act { mut visitor, mut fields }): Enrolling,
) -> Result<Page, Turned> {
    if unproven(&api, &visitor, &fields).await? {
        let statement = api.control.identity.passkey_addition(&visitor.actor);
        let button = "Confirm with a passkey that I have";
        let form = Form { action: "/keys/add", fields: check_csrf_token(&visitor), button };
        return agree(&api, &visitor, &statement, form).await;
    }
    let challenge = fields.challenge.clone();
    let proven = fields.proof().map(|proof| (challenge.as_str(), proof));
    let touched = proven.is_some();
    let challenge = api.control.identity.begin_enrolment(&visitor.actor, proven).await?;
    if touched {
        visitor.raise(&api).await?;
    }
    let fields = check_csrf_token(&visitor)
        .raw("<label>What to call it<input name=\"name\" required maxlength=\"64\"")
        .raw(" autocomplete=\"off\" autofocus placeholder=\"my laptop\"></label>");
    let form = Form { action: "/keys/register", fields, button: "Make the passkey" };
    let options = challenge.options.unwrap_or_default();
    let body = challenge_form::passkey_form(Operation::Create, &challenge.id, &options, &form);
    Ok(Page::new("A new passkey", body).of(&visitor).with_script())
}

pub(super) async fn register(
    State(api): State<Api>,
    Enrolling(Act { mut visitor, fields }): Enrolling,
) -> Result<impl IntoResponse, Turned> {
    let Fields { challenge, proof, name, .. } = fields;
    let enrolled = api.control.identity.enrol(&visitor.actor, &challenge, &proof, &name).await?;
    visitor.go_on_with(enrolled.token, &api);
    Ok((visitor.cookie(), Redirect::to("/keys")))
}

fn known(id: Result<At<String>, Problem>) -> Result<String, Problem> {
    let At(id) = id?;
    let none = || Problem::new(Kind::NotFound, "you have no such passkey");
    if is_id(&id) { Ok(id) } else { Err(none()) }
}

pub(super) async fn rename(
    State(api): State<Api>,
    id: Result<At<String>, Problem>,
    act: Act,
) -> Result<Redirect, Turned> {
    api.control.identity.rename_passkey(&act.visitor.actor, &known(id)?, &act.fields.name).await?;
    Ok(Redirect::to("/keys"))
}

pub(super) async fn remove(
    State(api): State<Api>,
    id: Result<At<String>, Problem>,
    Act { mut visitor, mut fields }: Act,
) -> Result<Response, Turned> {
    let id = known(id)?;
    let Some(proof) = fields.proof() else {
        let statement = api.control.identity.passkey_removal(&visitor.actor, &id).await?;
        let action = format!("/keys/{id}/remove");
        let button = "Remove it";
        let form = Form { action: &action, fields: check_csrf_token(&visitor), button };
        return Ok(agree(&api, &visitor, &statement, form).await?.into_response());
    };
    api.control.identity.remove_passkey(&visitor.actor, &id, &fields.challenge, proof).await?;
    visitor.raise(&api).await?;
    Ok((visitor.cookie(), Redirect::to("/keys")).into_response())
}

pub(super) async fn add_app(
    State(api): State<Api>,
    Act { mut visitor, mut fields }: Act,
) -> Result<Page, Turned> {
    if unproven(&api, &visitor, &fields).await? {
        let statement = api.control.identity.totp_addition(&visitor.actor);
        let form =
            Form { action: "/keys/totp/add", fields: check_csrf_token(&visitor), button: "Add it" };
        return agree(&api, &visitor, &statement, form).await;
    }
    let challenge = fields.challenge.clone();
    let proven = fields.proof().map(|proof| (challenge.as_str(), proof));
    let touched = proven.is_some();
    let fresh = api.control.identity.begin_totp(&visitor.actor, proven).await?;
    if touched {
        visitor.raise(&api).await?;
    }
    let body = Markup::new()
        .raw("<div class=\"card\"><p>Type this secret into your app, or <a href=\"")
        .text(fresh.url.expose_secret())
        .raw("\">open it with the app</a> on this device. It is shown this once.</p>")
        .raw("<p><code class=\"secret\">")
        .text(fresh.secret.expose_secret())
        .raw("</code></p></div><form class=\"card\" method=\"post\" action=\"/keys/totp/confirm\">")
        .piece(&check_csrf_token(&visitor))
        .raw("<label>The code that the app shows<input class=\"code\" name=\"totp\" required")
        .raw(" inputmode=\"numeric\" autocomplete=\"one-time-code\" maxlength=\"10\"></label>")
        .raw("<button>Confirm the app</button></form>");
    Ok(Page::new("A new authenticator app", body).of(&visitor))
}

pub(super) async fn confirm_app(State(api): State<Api>, act: Act) -> Result<Redirect, Turned> {
    let code = act.fields.totp.into();
    api.control.identity.confirm_totp(&act.visitor.actor, code).await?;
    Ok(Redirect::to("/keys"))
}

pub(super) async fn remove_app(
    State(api): State<Api>,
    Act { mut visitor, mut fields }: Act,
) -> Result<Response, Turned> {
    if unproven(&api, &visitor, &fields).await? {
        let statement = api.control.identity.totp_removal(&visitor.actor);
        let button = "Remove the app";
        let form = Form { action: "/keys/totp/remove", fields: check_csrf_token(&visitor), button };
        return Ok(agree(&api, &visitor, &statement, form).await?.into_response());
    }
    let challenge = fields.challenge.clone();
    let proven = fields.proof().map(|proof| (challenge.as_str(), proof));
    let touched = proven.is_some();
    api.control.identity.remove_totp(&visitor.actor, proven).await?;
    if touched {
        visitor.raise(&api).await?;
    }
    Ok((visitor.cookie(), Redirect::to("/keys")).into_response())
}

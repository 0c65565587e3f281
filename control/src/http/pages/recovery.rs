//! Recovery: an admin asks for somebody's keys to be removed, and a second person agrees.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use policies::PrincipalId;
use secrecy::ExposeSecret;

use super::challenge_form;
use super::challenge_form::Form;
use super::markup::Markup;
use super::session::{Act, Fields, Visitor};
use crate::http::api::error::{Kind, Problem};
use crate::http::api::extract::At;
use crate::http::api::state::Api;
use crate::http::pages::factors::agree;
use crate::http::pages::page::{Page, Turned, hidden, is_id};
use crate::identity::login::Invite;
use crate::model::view::RecoveryView;

pub(super) async fn show(State(api): State<Api>, visitor: Visitor) -> Result<Page, Turned> {
    let waiting = api.control.identity.recoveries(&visitor.actor).await?;
    let body = waiting.iter().fold(Markup::new(), |page, view| page.piece(&card(view)));
    let body = if waiting.is_empty() {
        body.raw("<p class=\"quiet\">No recovery waits for a second person.</p>")
    } else {
        body
    };
    let body = if visitor.actor.admin { body.piece(&asking(&visitor)) } else { body };
    Ok(Page::new("Recovery", body).of(&visitor))
}

fn card(view: &RecoveryView) -> Markup {
    challenge_form::shown(&view.statement())
        .raw("<p><a href=\"/recovery/")
        .text(&view.id)
        .raw("\">Look at it, and agree or not</a></p>")
}

fn asking(visitor: &Visitor) -> Markup {
    Markup::new()
        .raw("<h2>Somebody has lost every key</h2>")
        .raw("<form class=\"card\" method=\"post\" action=\"/recovery\">")
        .piece(&hidden("csrf_token", &visitor.csrf_token()))
        .raw("<label>Who<input name=\"principal\" required maxlength=\"200\" autocomplete=\"off\"")
        .raw(" autocapitalize=\"none\" spellcheck=\"false\"></label>")
        .raw("<label>Why, and how you know that it is them")
        .raw("<input name=\"reason\" required maxlength=\"500\"></label>")
        .raw("<button>Ask for it</button></form>")
}

pub(super) async fn ask(
    State(api): State<Api>,
    Act { mut visitor, mut fields }: Act,
) -> Result<Response, Turned> {
    let actor = &visitor.actor;
    let whom: PrincipalId = fields.principal.trim().parse().map_err(|fault| invalid(&fault))?;
    if fields.challenge.is_empty() && api.control.identity.factors(&actor.principal.id).await?.any()
    {
        let statement = api.control.identity.recovery_statement(&whom, &fields.reason);
        let carried = hidden("csrf_token", &visitor.csrf_token())
            .piece(&hidden("principal", whom.as_str()))
            .piece(&hidden("reason", &fields.reason));
        let form = Form { action: "/recovery", fields: carried, button: "Ask for it" };
        return Ok(agree(&api, &visitor, &statement, form).await?.into_response());
    }
    let proof = fields.proof();
    let proven = proof.map(|proof| (fields.challenge.as_str(), proof));
    let touched = proven.is_some();
    api.control.identity.ask_recovery(actor, &whom, &fields.reason, proven).await?;
    if touched {
        visitor.raise(&api).await?;
    }
    Ok((visitor.cookie(), Redirect::to("/recovery")).into_response())
}

fn invalid(fault: &policies::NameError) -> Problem {
    Problem::new(Kind::Invalid, fault.to_string())
}

fn known(id: Result<At<String>, Problem>) -> Result<String, Problem> {
    let At(id) = id?;
    let none = || Problem::new(Kind::NotFound, "no such recovery waits");
    if is_id(&id) { Ok(id) } else { Err(none()) }
}

pub(super) async fn look(
    State(api): State<Api>,
    id: Result<At<String>, Problem>,
    visitor: Visitor,
) -> Result<Page, Turned> {
    let view = api.control.identity.recovery(&visitor.actor, &known(id)?).await?;
    let action = format!("/recovery/{}", view.id);
    let fields = hidden("csrf_token", &visitor.csrf_token());
    if api.control.identity.factors(&visitor.actor.principal.id).await?.any() {
        let form = Form { action: &action, fields, button: "Agree, and remove them" };
        return agree(&api, &visitor, &view.statement(), form).await;
    }
    let body = challenge_form::shown(&view.statement())
        .raw("<form method=\"post\" action=\"")
        .text(&action)
        .raw("\">")
        .piece(&fields)
        .raw("<button>Agree, and remove them</button></form>");
    Ok(Page::new("Is this what you want?", body).of(&visitor))
}

pub(super) async fn consent(
    State(api): State<Api>,
    id: Result<At<String>, Problem>,
    Act { mut visitor, mut fields }: Act,
) -> Result<Page, Turned> {
    let proof = fields.proof();
    let Fields { challenge, .. } = fields;
    let proven = proof.map(|proof| (challenge.as_str(), proof));
    let touched = proven.is_some();
    let invite =
        api.control.identity.agree_to_recovery(&visitor.actor, &known(id)?, proven).await?;
    if touched {
        visitor.raise(&api).await?;
    }
    Ok(Page::new("Done", link(&invite)).of(&visitor))
}

fn link(invite: &Invite) -> Markup {
    Markup::new()
        .raw("<div class=\"card\"><p>Their keys are gone, and they are signed out everywhere. Give")
        .raw(" them this link in person, or by a way that you know to be theirs. It is good once,")
        .raw(" and is shown this once:</p><p><code class=\"secret\">")
        .text(invite.url.expose_secret())
        .raw("</code></p><dl>")
        .moment("Good until", invite.expires_at)
        .raw("</dl></div>")
}

//! A connection that waits: the person types the code that their terminal shows, reads what it
//! belongs to, and confirms.
//!
//! The address alone shows nothing and opens nothing: it can be sent to anybody. Whoever types the
//! code has the terminal before them, or was talked into it, which is why the page says what
//! differs, and why a confirmation carries the digest of what was on the page.

use axum::extract::State;
use policies::{Digest, MissingInput, Purpose, RequiredInput};

use super::ask::optional;
use super::challenge_form::Form;
use super::markup::Markup;
use super::session::{Act, Visitor};
use super::{challenge_form, request, words};
use crate::access::step_up::Way;
use crate::gateway::pending_connections::Said;
use crate::http::api::error::{Kind, Problem};
use crate::http::api::extract::At;
use crate::http::api::guard::Source;
use crate::http::api::state::Api;
use crate::http::pages::page::{Page, Turned, hidden, is_id};
use crate::model::statement;
use crate::model::waiting_connection::HoldView;

pub(super) async fn ask(
    State(api): State<Api>,
    id: Result<At<String>, Problem>,
    visitor: Visitor,
) -> Result<Page, Turned> {
    let At(id) = id?;
    if !is_id(&id) || !api.control.gateway.hold_waits(&id) {
        return Err(gone().into());
    }
    let body = Markup::new()
        .piece(&form(&id, "\">", &visitor))
        .raw("<label>The code that your terminal shows")
        .raw("<input class=\"code\" name=\"code\" required autofocus autocomplete=\"off\"")
        .raw(" autocapitalize=\"characters\" spellcheck=\"false\" placeholder=\"XXXX-XXXX\"")
        .raw(" maxlength=\"20\"></label><button>Show the connection</button></form>")
        .raw("<p class=\"warn\">Go on only if you opened a connection yourself, just now.")
        .raw(" Nobody who helps you needs you to type a code of theirs.</p>");
    Ok(Page::new("A connection waits", body).of(&visitor))
}

fn gone() -> Problem {
    Problem::new(Kind::NotFound, "no connection waits here any more: open it again")
}

fn form(id: &str, verb: &'static str, visitor: &Visitor) -> Markup {
    Markup::new()
        .raw("<form class=\"card\" method=\"post\" action=\"/c/")
        .text(id)
        .raw(verb)
        .piece(&hidden("csrf_token", &visitor.csrf_token()))
}

pub(super) async fn look(
    State(api): State<Api>,
    id: Result<At<String>, Problem>,
    source: Source,
    Act { visitor, fields }: Act,
) -> Result<Page, Turned> {
    let At(id) = id?;
    let view = api.control.gateway.hold_by_code(&visitor.actor, &fields.code).await?;
    if view.id != id {
        return Err(gone().into());
    }
    reading(&api, &visitor, &view, &fields.code, source).await
}

/// The connection as it reads: to be confirmed, once all is said that the rules want to know.
async fn reading(
    api: &Api,
    visitor: &Visitor,
    view: &HoldView,
    code: &str,
    source: Source,
) -> Result<Page, Turned> {
    let actor = &visitor.actor;
    let shown = statement::of_hold(view, actor, view.comes_from_elsewhere(source.0));
    let fields = Markup::new()
        .piece(&hidden("csrf_token", &visitor.csrf_token()))
        .piece(&hidden("code", code))
        .piece(&hidden("digest", &view.digest.to_string()));
    let words = api.control.access.words(actor, std::slice::from_ref(&view.resource));
    let say = saying(view, &fields, &words);
    if let Some(unsaid) = api.control.access.lacks(actor, view).await? {
        let body = warning(view, source)
            .piece(&challenge_form::shown(&shown))
            .piece(&wanted(view, &unsaid))
            .piece(&say);
        return Ok(Page::new("What is it for?", body).of(visitor));
    }
    let action = format!("/c/{}/confirm", view.id);
    let agree = Form { action: &action, fields, button: "Yes, this is my connection" };
    let act = match api.control.access.way_for(actor, view).await? {
        Way::Touch => request::agree(api, visitor, &shown, &agree).await?,
        Way::Enrol => challenge_form::shown(&shown).piece(&request::enrol()),
        Way::Click => challenge_form::shown(&shown).piece(&click(&agree)),
    };
    let body = warning(view, source)
        .piece(&act)
        .raw("<details><summary>Say what it is for</summary>")
        .piece(&say)
        .raw("</details>")
        .raw("<p class=\"quiet\">If it isn't yours, leave this page: it lapses by itself.</p>");
    Ok(Page::new("Is this your connection?", body).of(visitor).with_script())
}

/// Why it doesn't go on yet; what was said and isn't enough, too.
fn wanted(view: &HoldView, unsaid: &MissingInput) -> Markup {
    let said = !view.reason.is_empty() || view.ticket.is_some();
    let notice = Markup::new().raw("<p class=\"warn\" role=\"alert\">");
    let notice = match said {
        true => notice.text(unsaid.wanted()),
        false => notice.raw("The rules ask what this connection is for."),
    };
    notice.raw("</p>")
}

/// The form by which somebody says what their connection is for.
fn saying(view: &HoldView, fields: &Markup, words: &RequiredInput) -> Markup {
    let ticket = view.ticket.as_ref().map(ToString::to_string).unwrap_or_default();
    Markup::new()
        .raw("<form class=\"card\" method=\"post\" action=\"/c/")
        .text(&view.id)
        .raw("/say\">")
        .piece(fields)
        .piece(&words::reason(&view.reason, words))
        .piece(&words::ticket(&ticket, words))
        .raw("<button class=\"plain\">Say so</button></form>")
}

pub(super) async fn say(
    State(api): State<Api>,
    id: Result<At<String>, Problem>,
    source: Source,
    Act { visitor, fields }: Act,
) -> Result<Page, Turned> {
    let At(id) = id?;
    let actor = &visitor.actor;
    if api.control.gateway.hold_by_code(actor, &fields.code).await?.id != id {
        return Err(gone().into());
    }
    let said = Said { ticket: optional(&fields.ticket)?, reason: fields.reason };
    let digest = Digest::from(fields.digest);
    let view = api.control.gateway.say(actor, &fields.code, &digest, said).await?;
    reading(&api, &visitor, &view, &fields.code, source).await
}

fn click(form: &Form<'_>) -> Markup {
    Markup::new()
        .raw("<form class=\"card\" method=\"post\" action=\"")
        .text(form.action)
        .raw("\">")
        .piece(&form.fields)
        .raw("<button>")
        .raw(form.button)
        .raw("</button></form>")
}

fn warning(view: &HoldView, source: Source) -> Markup {
    if !view.comes_from_elsewhere(source.0) {
        return Markup::new();
    }
    Markup::new()
        .raw("<p class=\"warn\"><strong>This connection comes from another address than your browser.")
        .raw("</strong> That is so with a VPN or a remote machine; it is also so when somebody else")
        .raw(" opened it and wants you to confirm it.</p>")
}

pub(super) async fn confirm(
    State(api): State<Api>,
    id: Result<At<String>, Problem>,
    source: Source,
    Act { mut visitor, mut fields }: Act,
) -> Result<Page, Turned> {
    let At(id) = id?;
    let actor = &visitor.actor;
    let view = api.control.gateway.hold_by_code(actor, &fields.code).await?;
    if view.id != id {
        return Err(gone().into());
    }
    let challenge = fields.challenge.clone();
    let step_up = match fields.proof() {
        Some(proof) => {
            let digest =
                statement::of_hold(&view, actor, view.comes_from_elsewhere(source.0)).digest();
            let (purpose, place) = (Purpose::Connect, view.place);
            let proved =
                api.control.identity.prove(actor, &challenge, proof, purpose, &digest, place);
            Some(proved.await?.id)
        }
        None => None,
    };
    let (digest, touched) = (Digest::from(fields.digest), step_up.is_some());
    let view = api.control.gateway.confirm(actor, &fields.code, digest, step_up).await?;
    if touched {
        visitor.raise(&api).await?;
    }
    let body = Markup::new()
        .raw("<div class=\"card\"><h3>")
        .text(&view.resource)
        .raw("</h3><p>Your terminal goes on by itself once the rules are met, and says so.</p></div>")
        .raw("<p><a href=\"/\">Go to my access</a></p>");
    Ok(Page::new("Confirmed", body).of(&visitor))
}

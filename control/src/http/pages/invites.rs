//! Sign-in links: an admin makes one for somebody who has nothing to prove themselves with yet.

use axum::extract::State;
use policies::PrincipalId;
use secrecy::ExposeSecret;

use super::challenge_form::Form;
use super::markup::Markup;
use super::session::{Act, Visitor};
use crate::http::api::error::{Kind, Problem};
use crate::http::api::state::Api;
use crate::http::pages::factors::agree;
use crate::http::pages::page::{Page, Turned, hidden};
use crate::identity::login::Invite;

pub(super) async fn show(visitor: Visitor) -> Result<Page, Turned> {
    if !visitor.actor.admin {
        return Err(Problem::new(Kind::Forbidden, "this takes an admin").into());
    }
    let body = Markup::new()
        .raw("<form class=\"card\" method=\"post\" action=\"/invites\">")
        .piece(&hidden("csrf_token", &visitor.csrf_token()))
        .raw("<label>For whom<input name=\"principal\" required maxlength=\"200\"")
        .raw(" autocomplete=\"off\" autocapitalize=\"none\" spellcheck=\"false\"></label>")
        .raw("<button>Make a sign-in link</button></form>");
    Ok(Page::new("Sign-in link", body).of(&visitor))
}

pub(super) async fn make(
    State(api): State<Api>,
    Act { mut visitor, mut fields }: Act,
) -> Result<Page, Turned> {
    let actor = &visitor.actor;
    let whom = fields.principal.trim().parse::<PrincipalId>();
    let whom = whom.map_err(|fault| Problem::new(Kind::Invalid, fault.to_string()))?;
    if fields.challenge.is_empty() && api.control.identity.factors(&actor.principal.id).await?.any()
    {
        let statement = api.control.identity.invite_statement(&whom);
        let carried =
            hidden("csrf_token", &visitor.csrf_token()).piece(&hidden("principal", whom.as_str()));
        let form = Form { action: "/invites", fields: carried, button: "Make the link" };
        return agree(&api, &visitor, &statement, form).await;
    }
    let proof = fields.proof();
    let proven = proof.map(|proof| (fields.challenge.as_str(), proof));
    let touched = proven.is_some();
    let invite = api.control.identity.invite_by(actor, &whom, proven).await?;
    if touched {
        visitor.raise(&api).await?;
    }
    Ok(Page::new("Done", link(&invite)).of(&visitor))
}

fn link(invite: &Invite) -> Markup {
    Markup::new()
        .raw("<div class=\"card\"><p>Give them this link in person, or by a way that you know to")
        .raw(" be theirs. It is good once, and is shown this once:</p><p><code class=\"secret\">")
        .text(invite.url.expose_secret())
        .raw("</code></p><dl>")
        .moment("Good until", invite.expires_at)
        .raw("</dl></div>")
}
